/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The I/O APIC: 24 pins (Intel 82093AA datasheet 3.1, ICH9 datasheet 13.5), and one for each of virtio's MMIO devices. Lines are logical
 * levels, so the polarity bit is kept and has no effect. Messages always arrive, so nothing is
 * latched here but the remote IRR of level interrupts.
 */
#include "vmm/vdev.h"
#include "vmm/irq.h"
#include "vmm/platform_map.h"

#define IOAPIC_VERSION 0x11u

enum { REG_ID = 0x00, REG_VERSION = 0x01, REG_ARB = 0x02, REG_REDIR = 0x10 };
enum { OFF_SELECT = 0x00, OFF_WINDOW = 0x10 };

#define REDIR_MODE(lo)	((lo) >> 8 & 7)
#define REDIR_LOGICAL	BIT(11)
#define REDIR_REMOTE	BIT(14)
#define REDIR_LEVEL	BIT(15)
#define REDIR_MASKED	BIT(16)
#define REDIR_WRITABLE	0x1afffu /* not: delivery status 12, remote IRR 14 */
enum { MODE_FIXED = 0, MODE_LOWEST = 1 };

struct ioapic {
	u32 select, id;
	u64 lines;  /* bit n: level of pin n */
	u64 remote; /* bit n: remote IRR of pin n */
	struct {
		u32 lo, hi;
	} redir[VM_NR_GSI];
};

static unsigned nr_pins(struct vm *vm)
{
	return PLAT_GSI_VIRTIO + vm_irqchip(vm)->nr_virtio;
}

static bool has_remote_irr(u32 lo)
{
	return (lo & REDIR_LEVEL) && REDIR_MODE(lo) <= MODE_LOWEST;
}

static void deliver(struct vdev *d, unsigned pin)
{
	struct ioapic *s = d->state;
	u32 lo = s->redir[pin].lo;
	struct apic_msg m = {
		.dest = s->redir[pin].hi >> 24, .vector = (u8)lo, .mode = REDIR_MODE(lo),
		.logical = !!(lo & REDIR_LOGICAL), .level_trig = has_remote_irr(lo), .assert = 1,
	};

	if (has_remote_irr(lo))
		s->remote |= BIT(pin);
	vm_apic_msg(d->vm, NULL, &m);
}

/* A level pin asks as long as its line is high and the last request is not yet ended. */
static void service_level(struct vdev *d, unsigned pin)
{
	struct ioapic *s = d->state;
	u32 lo = s->redir[pin].lo;

	if (has_remote_irr(lo) && !(lo & REDIR_MASKED) && (s->lines & ~s->remote & BIT(pin)))
		deliver(d, pin);
}

void ioapic_set(struct vm *vm, unsigned pin, bool level)
{
	struct vdev *d = vm_irqchip(vm)->ioapic;
	struct ioapic *s;
	u64 bit;

	if (!d || pin >= nr_pins(vm))
		return;
	s = d->state;
	bit = BIT(pin);
	if (!!(s->lines & bit) == level)
		return;
	s->lines ^= bit;
	if (!level)
		return;
	if (has_remote_irr(s->redir[pin].lo))
		service_level(d, pin);
	else if (!(s->redir[pin].lo & REDIR_MASKED))
		deliver(d, pin); /* an edge while masked is lost (82093AA 3.2.4) */
}

void ioapic_eoi(struct vm *vm, u8 vector)
{
	struct vdev *d = vm_irqchip(vm)->ioapic;
	struct ioapic *s;

	if (!d)
		return;
	s = d->state;
	for (u64 pins = s->remote; pins; pins &= pins - 1) {
		unsigned pin = (unsigned)__builtin_ctzl(pins);
		if ((u8)s->redir[pin].lo != vector)
			continue;
		s->remote &= ~BIT(pin);
		service_level(d, pin);
	}
}

static void write_redir_low(struct vdev *d, unsigned pin, u32 val)
{
	struct ioapic *s = d->state;

	s->redir[pin].lo = val & REDIR_WRITABLE;
	/* Switching to edge drops the remote IRR; kernels use it to free a pin that hangs. */
	if (!has_remote_irr(val))
		s->remote &= ~BIT(pin);
	service_level(d, pin);
}

static void write_window(struct vdev *d, u32 val)
{
	struct ioapic *s = d->state;
	unsigned n = s->select - REG_REDIR;

	if (s->select == REG_ID)
		s->id = val & 0x0f000000;
	else if (s->select < REG_REDIR || n >= 2 * nr_pins(d->vm))
		return;
	else if (n & 1)
		s->redir[n / 2].hi = val & 0xff000000;
	else
		write_redir_low(d, n / 2, val);
}

static u32 read_window(const struct vdev *d)
{
	const struct ioapic *s = d->state;
	unsigned n = s->select - REG_REDIR;

	if (s->select == REG_ID || s->select == REG_ARB)
		return s->id;
	if (s->select == REG_VERSION)
		return IOAPIC_VERSION | (nr_pins(d->vm) - 1) << 16;
	if (s->select < REG_REDIR || n >= 2 * nr_pins(d->vm))
		return ~0u;
	if (n & 1)
		return s->redir[n / 2].hi;
	return s->redir[n / 2].lo | (s->remote & BIT(n / 2) ? REDIR_REMOTE : 0);
}

/* IOREGSEL takes any width, since 8 bits of it exist; IOWIN is read and written as 32 bits. */
static u64 ioapic_read(struct vdev *d, u64 off, unsigned size)
{
	const struct ioapic *s = d->state;

	if (off == OFF_SELECT)
		return s->select;
	if (off == OFF_WINDOW && size == 4)
		return read_window(d);
	return ~0ull;
}

static void ioapic_write(struct vdev *d, u64 off, unsigned size, u64 val)
{
	struct ioapic *s = d->state;

	if (off == OFF_SELECT)
		s->select = val & 0xff;
	else if (off == OFF_WINDOW && size == 4)
		write_window(d, (u32)val);
}

static int ioapic_init(struct vdev *d)
{
	vm_irqchip(d->vm)->ioapic = d;
	return 0;
}

static void ioapic_reset(struct vdev *d)
{
	struct ioapic *s = d->state;

	*s = (struct ioapic){.id = PLAT_IOAPIC_ID << 24};
	for (unsigned i = 0; i < VM_NR_GSI; i++)
		s->redir[i].lo = REDIR_MASKED;
}

static bool ioapic_valid(const void *state)
{
	const struct ioapic *s = state;

	return !((s->lines | s->remote) >> VM_NR_GSI);
}

static const struct vdev_mmio ioapic_mmio[] = {
	{PLAT_IOAPIC_BASE, PLAT_IOAPIC_SIZE, ioapic_read, ioapic_write}};

/* clang-format off */
const struct vdev_type ioapic_vdev = {
	.name = "ioapic", .version = 2, .state_size = sizeof(struct ioapic),
	.nr_mmio = ARRAY_SIZE(ioapic_mmio), .mmio = ioapic_mmio,
	.init = ioapic_init, .reset = ioapic_reset, .valid = ioapic_valid,
};
/* clang-format on */
VDEV_REGISTER(ioapic_vdev);
