/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/i8042.c vmm/platform/ps2_kbd.c vmm/platform/ps2_mouse.c vmm/platform/fw_cfg.c vmm/platform/cpu_hotplug.c */
/*
 * A guest's accesses to the keyboard controller, to the registers of CPU hotplug and to fw_cfg, with DMA requests that it
 * wrote, and keys, motion and numbers of vCPUs from outside between them. Each operation is four bytes: what, where, and a value of two. Whatever comes, the states stay
 * such as could be saved, memory is touched only inside RAM, and a step of DMA is bounded.
 */
#include <stdlib.h>
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/irq.h"
#include "vmm/loader.h"
#include "vmm/platform/isa.h"

#define RAM  65536u
#define STEP 16384u

static u8 ram[RAM];
static u64 written, now, absent;
static u32 wanted;
static bool timer_set;
static struct vdev devs[3];

static void require(bool ok)
{
	if (!ok)
		abort();
}
int gmem_read(struct vm *vm, gpa_t gpa, void *buf, size_t n)
{
	(void)vm;
	if (gpa >= RAM || n > RAM - gpa)
		return -EFAULT;
	memcpy(buf, ram + gpa, n);
	return 0;
}
int gmem_write(struct vm *vm, gpa_t gpa, const void *buf, size_t n)
{
	(void)vm;
	if (gpa >= RAM || n > RAM - gpa)
		return -EFAULT;
	memcpy(ram + gpa, buf, n);
	written += n;
	return 0;
}
unsigned guest_e820(u64 memory, struct e820_entry *e, unsigned max)
{
	(void)memory;
	for (unsigned i = 0; i < max; i++)
		e[i] = (struct e820_entry){i * 4096, 4096, E820_RAM};
	return max;
}
u64 vm_memory_bytes(const struct vm *vm) { return (void)vm, RAM; }
u32 vm_vcpu_count(const struct vm *vm) { return (void)vm, 64; }
u32 vm_vcpus_wanted(const struct vm *vm) { return (void)vm, wanted; }
bool vm_vcpu_present(const struct vm *vm, u32 i) { return (void)vm, require(i < 64), !(absent >> i & 1); }
u32 vm_vcpus_present(const struct vm *vm) { return (void)vm, 64; }
/* Only what nobody wants goes; the first never. */
void vm_vcpu_plug(struct vm *vm, u32 i, bool in)
{
	(void)vm;
	require(i && i < 64 && in == (i < wanted));
	absent = in ? absent & ~(1ull << i) : absent | 1ull << i;
}
bool acpi_gpe(struct vm *vm, unsigned n) { return (void)vm, require(n == 2), true; }
const char *vm_fw_cfg(const struct vm *vm)
{
	(void)vm;
	return "opt/a=\0opt/b=123\0opt/c=1\0opt/d=1\0opt/e=1\0opt/f=1\0opt/g=1\0opt/h=1\0opt/i=1\0opt/j=1\0"
	       "opt/k=1\0opt/l=1\0opt/m=1\0opt/n=1\0opt/o=1\0opt/p=the last\0";
}
struct vdev *vm_vdev(struct vm *vm, const struct vdev_type *type)
{
	(void)vm;
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++)
		if (devs[i].type == type)
			return &devs[i];
	return NULL;
}
void vm_irq_set(struct vm *vm, unsigned gsi, bool level) { (void)vm, (void)level, require(gsi == 1 || gsi == 12); }
void vm_request_end(struct vm *vm, enum vm_end how, u32 value) { (void)vm, (void)value, require(how == VM_END_REBOOT); }
u64 vm_time_ns(struct vm *vm) { return (void)vm, now; }
void vdev_timer_set(struct vdev *d, unsigned idx, u64 at) { (void)d, require(!idx && at > now), timer_set = true; }
void vdev_timer_stop(struct vdev *d, unsigned idx) { (void)d, (void)idx, timer_set = false; }

static void access_port(u16 port, unsigned size, bool write, u32 val)
{
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
		const struct vdev_type *t = devs[i].type;

		for (unsigned k = 0; k < t->nr_pio; k++) {
			const struct vdev_pio *r = &t->pio[k];

			if (port < r->first || port + size > r->first + r->count + 0u)
				continue;
			if (write)
				r->write(&devs[i], port, size, val);
			else
				r->read(&devs[i], port, size);
		}
	}
}

static void operation(const u8 *b)
{
	static const u16 ports[] = {0x60, 0x64, 0x510, 0x511, 0x514, 0x518, 0x516, 0x519,
				    0xcd8, 0xcdc, 0xcdd, 0xce0, 0xcda, 0xcdf, 0xcdc, 0xcdd};
	unsigned size = 1u << (b[0] >> 3 & 3) % 3;
	u32 val = b[2] | (u32)b[3] << 8;
	u64 before = written;

	switch (b[0] & 7) {
	case 0:
	case 1:
		access_port(ports[b[1] & 15], size, b[0] & 1, val);
		break;
	case 2: /* a request, or a part of one */
		memcpy(ram + (b[1] & 31), b + 2, 2);
		break;
	case 3: /* and off it goes */
		access_port(0x518, 4, true, __builtin_bswap32(b[1] & 31));
		break;
	case 4:
		i8042_key(NULL, b[2], b[3] & 1);
		break;
	case 5:
		i8042_mouse(NULL, (s16)val, (s8)b[1] * 300, (s8)b[0], b[3]);
		break;
	case 6:
		i8042_chord(NULL, b + 1, b[0] % 4);
		break;
	default:
		wanted = 1 + b[2] % 64;
		cpu_hotplug_update(NULL);
		if (timer_set) {
			timer_set = false;
			devs[1].type->timer(&devs[1], 0);
		}
	}
	require(written - before <= STEP + 4);
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++)
		require(devs[i].type->valid(devs[i].state));
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const struct vdev_type *const types[] = {&i8042_vdev, &fw_cfg_vdev, &cpu_hotplug_vdev};

	memset(ram, 0, sizeof(ram));
	timer_set = false;
	absent = 0;
	wanted = 64;
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++) {
		devs[i] = (struct vdev){.type = types[i], .state = calloc(1, types[i]->state_size)};
		require(devs[i].state);
		types[i]->reset(&devs[i]);
	}
	for (size_t i = 0; i + 4 <= size && i < 40000; i += 4)
		operation(data + i);
	for (unsigned i = 0; i < ARRAY_SIZE(devs); i++)
		free(devs[i].state);
	return 0;
}
