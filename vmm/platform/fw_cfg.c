/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QEMU's firmware configuration device (QEMU, docs/specs/fw_cfg.rst): a selector, the bytes of the
 * item that it names, and the same by DMA. The items are read-only.
 *
 * A DMA request may ask for 4 GiB. It is carried out in steps: the first within the guest's OUT,
 * which is all that ordinary ones need, the others by a timer, while the guest waits for the
 * control word to become 0, as it must. A new request takes the place of one that is under way.
 */
#include "vmm/platform/isa.h"
#include "vmm/gmem.h"
#include "vmm/loader.h"
#include "vmm/platform_map.h"
#include "lib/string.h"

#define PORT_SELECT PLAT_FW_CFG_PORT
#define PORT_DATA   (PLAT_FW_CFG_PORT + 1)

enum { KEY_SIGNATURE = 0x00, KEY_ID = 0x01, KEY_RAM_SIZE = 0x03, KEY_NOGRAPHIC = 0x04,
       KEY_NB_CPUS = 0x05, KEY_MAX_CPUS = 0x0f, KEY_FILE_DIR = 0x19, KEY_FILE_FIRST = 0x20 };
enum { ID_TRADITIONAL = 1 << 0, ID_DMA = 1 << 1 };

#define DMA_ERROR  BIT(0)
#define DMA_READ   BIT(1)
#define DMA_SKIP   BIT(2)
#define DMA_SELECT BIT(3)
#define DMA_WRITE  BIT(4)

#define STEP_BYTES 16384u
#define STEP_NS	   1000000ull /* no item is longer than a step: what goes on is zeros, and not urgent */

/* All of it big-endian. */
struct dma_request {
	u32 control, length;
	u64 address;
} __packed;
static_assert(sizeof(struct dma_request) == 16, "fw_cfg.rst, FWCfgDmaAccess");
struct dir_entry {
	u32 size;
	u16 select, reserved;
	char name[56];
} __packed;
static_assert(sizeof(struct dir_entry) == 64, "fw_cfg.rst, FWCfgFile");

#define ITEM_MAX (4 + (1 + VM_MAX_FW_CFG) * sizeof(struct dir_entry))
static_assert(ITEM_MAX <= STEP_BYTES, "an item is read at once");
static_assert(ITEM_MAX >= LOAD_MAX_E820 * sizeof(struct e820_entry) && ITEM_MAX >= VM_FW_CFG_MAX,
	      "room for any item");

struct fw_cfg {
	u64 dma_high;	 /* what was written to the upper half of the DMA address */
	u64 request, to; /* DMA under way: where its request lies, where its next byte goes */
	u32 left;
	u32 off, size; /* of the selected item: next byte, and all of them */
	u8 item[ITEM_MAX];
};

static const char e820_name[] = "etc/e820";

/* ---- items ---- */

static u32 put_file(struct dir_entry *e, u32 i, const char *name, size_t n, u32 size)
{
	*e = (struct dir_entry){.size = __builtin_bswap32(size),
				.select = __builtin_bswap16((u16)(KEY_FILE_FIRST + i))};
	memcpy(e->name, name, n);
	return i + 1;
}

static u32 directory(struct vm *vm, u8 *item)
{
	struct dir_entry *e = (struct dir_entry *)(item + 4);
	struct e820_entry map[LOAD_MAX_E820];
	u32 n = put_file(e, 0, e820_name, sizeof(e820_name) - 1,
			 guest_e820(vm_memory_bytes(vm), map, LOAD_MAX_E820) * (u32)sizeof(map[0]));

	for (const char *s = vm_fw_cfg(vm); *s; s += strlen(s) + 1) {
		size_t name = (size_t)(strchr(s, '=') - s);

		n = put_file(e + n, n, s, name, (u32)(strlen(s) - name - 1));
	}
	*(u32 *)item = __builtin_bswap32(n);
	return 4 + n * (u32)sizeof(*e);
}

static u32 file(struct vm *vm, u32 i, u8 *item)
{
	const char *s = vm_fw_cfg(vm);
	struct e820_entry map[LOAD_MAX_E820];
	u32 n;

	if (!i) {
		n = guest_e820(vm_memory_bytes(vm), map, LOAD_MAX_E820) * (u32)sizeof(map[0]);
		memcpy(item, map, n);
		return n;
	}
	while (*s && --i)
		s += strlen(s) + 1;
	if (!*s)
		return 0;
	s = strchr(s, '=') + 1;
	n = (u32)strlen(s);
	memcpy(item, s, n);
	return n;
}

static u32 number(u8 *item, u64 val, u32 n)
{
	memcpy(item, &val, n);
	return n;
}

static void select(struct vdev *d, u16 key)
{
	struct fw_cfg *s = d->state;

	s->off = s->size = 0;
	switch (key) {
	case KEY_SIGNATURE:
		memcpy(s->item, "QEMU", 4);
		s->size = 4;
		break;
	case KEY_ID: s->size = number(s->item, ID_TRADITIONAL | ID_DMA, 4); break;
	case KEY_RAM_SIZE: s->size = number(s->item, vm_memory_bytes(d->vm), 8); break;
	case KEY_NOGRAPHIC: s->size = number(s->item, 1, 2); break;
	case KEY_NB_CPUS: s->size = number(s->item, vm_vcpus_present(d->vm), 2); break;
	case KEY_MAX_CPUS: s->size = number(s->item, vm_vcpu_count(d->vm), 2); break;
	case KEY_FILE_DIR: s->size = directory(d->vm, s->item); break;
	case KEY_FILE_FIRST ... KEY_FILE_FIRST + VM_MAX_FW_CFG:
		s->size = file(d->vm, key - KEY_FILE_FIRST, s->item);
		break;
	}
}

/* ---- DMA ---- */

static void finish(struct vdev *d, u32 control)
{
	struct fw_cfg *s = d->state;

	vdev_timer_stop(d, 0);
	s->left = 0;
	control = __builtin_bswap32(control);
	gmem_write(d->vm, s->request, &control, sizeof(control)); /* if it fails nobody looks */
}

/* What lies behind the end of an item reads as 0. */
static void dma_step(struct vdev *d)
{
	static const u8 zeros[1024];
	struct fw_cfg *s = d->state;

	for (u32 budget = STEP_BYTES; s->left && budget;) {
		u32 n = MIN(s->left, budget), there = s->size - s->off;

		n = MIN(n, there ? there : (u32)sizeof(zeros));
		if (gmem_write(d->vm, s->to, there ? s->item + s->off : zeros, n)) {
			finish(d, DMA_ERROR);
			return;
		}
		if (there)
			s->off += n;
		s->to += n;
		s->left -= n;
		budget -= n;
	}
	if (s->left)
		vdev_timer_set(d, 0, vm_time_ns(d->vm) + STEP_NS);
	else
		finish(d, 0);
}

static void dma_begin(struct vdev *d, gpa_t gpa)
{
	struct fw_cfg *s = d->state;
	struct dma_request r;
	u32 control;

	if (gmem_read(d->vm, gpa, &r, sizeof(r)))
		return; /* as if nobody had seen it */
	control = __builtin_bswap32(r.control);
	s->request = gpa;
	s->left = 0;
	if (control & DMA_SELECT)
		select(d, (u16)(control >> 16));
	if (control & DMA_READ) {
		s->to = __builtin_bswap64(r.address);
		s->left = __builtin_bswap32(r.length);
		dma_step(d);
		return;
	}
	if (control & DMA_WRITE) {
		finish(d, DMA_ERROR);
		return;
	}
	if (control & DMA_SKIP)
		s->off += MIN(__builtin_bswap32(r.length), s->size - s->off);
	finish(d, 0);
}

static void dma_timer(struct vdev *d, unsigned idx)
{
	(void)idx;
	dma_step(d);
}

/* ---- ports ---- */

static u32 fw_cfg_read(struct vdev *d, u16 port, unsigned size)
{
	struct fw_cfg *s = d->state;

	if (port != PORT_DATA || size != 1)
		return ~0u;
	return s->off < s->size ? s->item[s->off++] : 0;
}

static void fw_cfg_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	if (port == PORT_SELECT && size == 2)
		select(d, (u16)val);
}

static u32 dma_read(struct vdev *d, u16 port, unsigned size)
{
	static const char signature[8] = {'Q', 'E', 'M', 'U', ' ', 'C', 'F', 'G'};
	u32 val = 0;

	(void)d;
	memcpy(&val, &signature[port - PLAT_FW_CFG_DMA], size);
	return val;
}

/* Big-endian, the upper half first, which is 0 unless it was written just before. */
static void dma_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	struct fw_cfg *s = d->state;

	if (size != 4 || (port & 3))
		return;
	val = __builtin_bswap32(val);
	if (port == PLAT_FW_CFG_DMA) {
		s->dma_high = (u64)val << 32;
	} else {
		gpa_t gpa = s->dma_high | val;

		s->dma_high = 0;
		dma_begin(d, gpa);
	}
}

static void fw_cfg_reset(struct vdev *d)
{
	struct fw_cfg *s = d->state;

	memset(s, 0, sizeof(*s));
	select(d, KEY_SIGNATURE);
}

static bool fw_cfg_valid(const void *state)
{
	const struct fw_cfg *s = state;

	return s->size <= ITEM_MAX && s->off <= s->size;
}

static const struct vdev_pio fw_cfg_pio[] = {
	{PLAT_FW_CFG_PORT, 2, fw_cfg_read, fw_cfg_write},
	{PLAT_FW_CFG_DMA, 8, dma_read, dma_write},
};

/* clang-format off */
const struct vdev_type fw_cfg_vdev = {
	.name = "fw_cfg", .version = 1, .nr_timers = 1, .state_size = sizeof(struct fw_cfg),
	.nr_pio = ARRAY_SIZE(fw_cfg_pio), .pio = fw_cfg_pio,
	.reset = fw_cfg_reset, .valid = fw_cfg_valid, .timer = dma_timer,
};
/* clang-format on */
VDEV_REGISTER(fw_cfg_vdev);
