/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The HPET (IA-PC HPET specification 1.0a): a 64-bit counter of 70 ns and three comparators, each
 * one-shot or periodic, 32 or 64 bits wide, level or edge, by a pin of the I/O APIC, as a message,
 * or (the first two) in place of the PIT and the RTC. Nothing counts: the counter is the VM's
 * clock, and a comparator has a timer only while its match would interrupt.
 */
#include "vmm/platform/isa.h"
#include "vmm/irq.h"
#include "vmm/platform_map.h"

#define NR_TIMERS        3u
#define MIN_PERIOD_TICKS (MIN_PERIOD_NS / PLAT_HPET_TICK_NS)
#define NEVER            (~0ull)
/* A timer never waits for longer (21 hours) before it looks again: nanoseconds do not overflow. */
#define LOOK_AGAIN_TICKS BIT(40)

enum { REG_CAP = 0x00, REG_CONF = 0x10, REG_STATUS = 0x20, REG_COUNTER = 0xf0, REG_TIMERS = 0x100 };
enum { T_CONF = 0x00, T_COMPARATOR = 0x08, T_FSB = 0x10, T_SIZE = 0x20 };

/* 2.3.4: period in fs, vendor, LEG_RT_CAP, COUNT_SIZE_CAP, NUM_TIM_CAP, revision. */
#define CAPABILITIES ((u64)PLAT_HPET_TICK_NS * 1000000 << 32 | PLAT_HPET_ID)
static_assert((PLAT_HPET_ID >> 8 & 31) + 1 == NR_TIMERS, "NUM_TIM_CAP");

#define CONF_ENABLE BIT(0)
#define CONF_LEGACY BIT(1)

#define T_LEVEL       BIT(1)
#define T_INTERRUPT   BIT(2)
#define T_PERIODIC    BIT(3)
#define T_VAL_SET     BIT(6)
#define T_32BIT       BIT(8)
#define T_ROUTE(conf) ((conf) >> 9 & 31)
#define T_FSB_ENABLE  BIT(14)
#define T_WRITABLE    0x7f4eul
/* Both modes, 64 bits, messages; pins that no other device drives, for lines are not shared. */
#define T_CAPS (BIT(4) | BIT(5) | BIT(15) | (u64)(1u << 10 | 1u << 11) << 32)

struct hpet_timer {
	u64 conf;       /* T_WRITABLE */
	u64 comparator; /* periodic: of the next match */
	u64 period;     /* what was written last */
	u64 fsb;        /* 31:0 data, 63:32 address */
	u64 match;      /* tick of the VM's clock at which the counter gets there */
};
struct hpet {
	u64 conf;
	u64 counter; /* enabled: ahead of the VM's clock by this; else where it stands */
	struct hpet_timer t[NR_TIMERS];
	u8 status;    /* level interrupts not yet acknowledged */
	u8 lines;     /* lines that a timer holds up, at its place of now */
	u8 displaced; /* lines of PIT (bit 0) and RTC (bit 1) */
	u8 pad[5];
};

static u64 now_ticks(struct vdev *d)
{
	return vm_time_ns(d->vm) / PLAT_HPET_TICK_NS;
}

static u64 counter(const struct hpet *s, u64 now)
{
	return s->counter + (s->conf & CONF_ENABLE ? now : 0);
}

/* ---- interrupts ---- */

static void drive(struct vdev *d, unsigned n, bool level)
{
	struct hpet *s = d->state;

	s->lines = (u8)((s->lines & ~(1u << n)) | (unsigned)level << n);
	if (s->conf & CONF_LEGACY && n < 2)
		vm_irq_set(d->vm, n ? PLAT_GSI_RTC : PLAT_GSI_PIT, level);
	else if (T_CAPS >> 32 >> T_ROUTE(s->t[n].conf) & 1)
		ioapic_set(d->vm, (unsigned)T_ROUTE(s->t[n].conf), level);
}

/* A match, or another place for the line. An edge stays up until the next one, as the PIT's. */
static void interrupt(struct vdev *d, unsigned n, bool match)
{
	struct hpet *s = d->state;
	const struct hpet_timer *t = &s->t[n];

	if (match && t->conf & T_LEVEL)
		s->status |= (u8)(1u << n);
	if (!(t->conf & T_INTERRUPT))
		return;
	if (t->conf & T_FSB_ENABLE && !(s->conf & CONF_LEGACY && n < 2)) {
		if (match)
			vm_msi(d->vm, t->fsb >> 32, (u32)t->fsb);
	} else if (t->conf & T_LEVEL) {
		drive(d, n, s->status >> n & 1);
	} else if (match) {
		drive(d, n, false);
		drive(d, n, true);
	}
}

void isa_clock_irq(struct vm *vm, unsigned gsi, bool level)
{
	struct vdev *d = vm_vdev(vm, &hpet_vdev);
	struct hpet *s = d ? d->state : NULL;
	unsigned bit = gsi == PLAT_GSI_RTC;

	if (s)
		s->displaced = (u8)((s->displaced & ~(1u << bit)) | (unsigned)level << bit);
	if (!s || !(s->conf & CONF_LEGACY))
		vm_irq_set(vm, gsi, level);
}

/* ---- matches ---- */

static u64 mask_of(const struct hpet_timer *t)
{
	return t->conf & T_32BIT ? 0xffffffffu : ~0ull;
}

/* When does the counter reach the comparator? Equal already: now. */
static void find_match(struct hpet *s, struct hpet_timer *t, u64 now)
{
	u64 ahead = (t->comparator - counter(s, now)) & mask_of(t);

	t->match = s->conf & CONF_ENABLE && ahead < NEVER - now ? now + ahead : NEVER;
}

/*
 * What follows a match. 2.3.9.2: a one-shot matches again when the counter has gone once round, a
 * periodic one a period later. Of matches that are past, or closer than anyone could serve, the
 * periodic one skips as many as it must, in step.
 */
static void pass_match(struct hpet_timer *t, u64 now)
{
	u64 period = t->conf & T_PERIODIC ? t->period & mask_of(t) : mask_of(t) + 1;
	u64 earliest = now + (period < MIN_PERIOD_TICKS ? MIN_PERIOD_TICKS : 1), n;

	if (!period || period >= NEVER - earliest) {
		t->match = NEVER;
		return;
	}
	n = (earliest - t->match + period - 1) / period;
	t->match += n * period;
	if (t->conf & T_PERIODIC)
		t->comparator = (t->comparator + n * period) & mask_of(t);
}

static void arm(struct vdev *d, unsigned n, u64 now)
{
	const struct hpet_timer *t = &((struct hpet *)d->state)->t[n];

	if (t->match == NEVER || !(t->conf & T_INTERRUPT))
		vdev_timer_stop(d, n);
	else
		vdev_timer_set(d, n, MIN(t->match, now + LOOK_AGAIN_TICKS) * PLAT_HPET_TICK_NS);
}

/* Raise what has come due: before anything is looked at or changed, and when the timer says so. */
static bool sync_timer(struct vdev *d, unsigned n, u64 now)
{
	struct hpet_timer *t = &((struct hpet *)d->state)->t[n];

	if (now < t->match)
		return false;
	pass_match(t, now);
	interrupt(d, n, true);
	arm(d, n, now);
	return true;
}

static void hpet_timer(struct vdev *d, unsigned n)
{
	u64 now = now_ticks(d);

	if (!sync_timer(d, n, now))
		arm(d, n, now);
}

/* ---- registers ---- */

/* Before and after a change of what decides where a line goes: down there, up here. */
static void release(struct vdev *d, unsigned n)
{
	if (((struct hpet *)d->state)->lines >> n & 1)
		drive(d, n, false);
}

static void restart(struct vdev *d, u64 now)
{
	struct hpet *s = d->state;

	for (unsigned n = 0; n < NR_TIMERS; n++) {
		find_match(s, &s->t[n], now);
		arm(d, n, now);
	}
}

static void write_conf(struct vdev *d, u64 val, u64 now)
{
	struct hpet *s = d->state;
	u64 count = counter(s, now), changed = s->conf ^ val;
	bool to_legacy = val & CONF_LEGACY;

	for (unsigned n = 0; n < 2 && changed & CONF_LEGACY; n++) {
		release(d, n);
		/* The line is the other's from here on: PIT or RTC stands aside, or comes back. */
		vm_irq_set(d->vm, n ? PLAT_GSI_RTC : PLAT_GSI_PIT,
			   !to_legacy && s->displaced >> n & 1);
	}
	s->conf = val & (CONF_ENABLE | CONF_LEGACY);
	for (unsigned n = 0; n < 2 && changed & CONF_LEGACY; n++)
		interrupt(d, n, false);
	if (!(changed & CONF_ENABLE))
		return;
	s->counter = val & CONF_ENABLE ? count - now : count;
	restart(d, now);
}

static void write_timer_conf(struct vdev *d, unsigned n, u64 val, u64 now)
{
	struct hpet *s = d->state;
	struct hpet_timer *t = &s->t[n];

	release(d, n);
	t->conf = val & T_WRITABLE;
	if (!(t->conf & T_LEVEL))
		s->status &= (u8) ~(1u << n);
	t->comparator &= mask_of(t);
	interrupt(d, n, false);
	find_match(s, t, now);
	arm(d, n, now);
}

/* 2.3.9.2.2: a periodic timer's period is written; its comparator only if VAL_SET asks for it. */
static void write_comparator(struct vdev *d, unsigned n, u64 val, u64 mask, u64 now)
{
	struct hpet *s = d->state;
	struct hpet_timer *t = &s->t[n];

	t->period = ((t->period & ~mask) | (val & mask)) & mask_of(t);
	if (t->conf & T_PERIODIC && !(t->conf & T_VAL_SET))
		return;
	t->comparator = ((t->comparator & ~mask) | (val & mask)) & mask_of(t);
	t->conf &= ~T_VAL_SET;
	find_match(s, t, now);
	arm(d, n, now);
}

static u64 read_reg(const struct hpet *s, unsigned reg, u64 now)
{
	unsigned n = (reg - REG_TIMERS) / T_SIZE;

	if (reg == REG_CAP)
		return CAPABILITIES;
	if (reg == REG_CONF)
		return s->conf;
	if (reg == REG_STATUS)
		return s->status;
	if (reg == REG_COUNTER)
		return counter(s, now);
	if (reg < REG_TIMERS || n >= NR_TIMERS)
		return 0;
	switch (reg % T_SIZE) {
	case T_CONF:
		return (s->t[n].conf & ~T_VAL_SET) | T_CAPS;
	case T_COMPARATOR:
		return s->t[n].comparator;
	case T_FSB:
		return s->t[n].fsb;
	default:
		return 0;
	}
}

static void write_reg(struct vdev *d, unsigned reg, u64 val, u64 mask, u64 now)
{
	struct hpet *s = d->state;
	unsigned n = (reg - REG_TIMERS) / T_SIZE;
	u64 whole = (read_reg(s, reg, now) & ~mask) | (val & mask);

	if (reg == REG_CONF) {
		write_conf(d, whole, now);
	} else if (reg == REG_STATUS) { /* a 1 clears; whole would clear all */
		s->status &= (u8) ~(val & mask);
		for (n = 0; n < NR_TIMERS; n++)
			interrupt(d, n, false);
	} else if (reg == REG_COUNTER) {
		s->counter = s->conf & CONF_ENABLE ? whole - now : whole;
		restart(d, now);
	} else if (reg < REG_TIMERS || n >= NR_TIMERS) {
		return;
	} else if (reg % T_SIZE == T_CONF) {
		write_timer_conf(d, n, whole, now);
	} else if (reg % T_SIZE == T_COMPARATOR) {
		write_comparator(d, n, val, mask, now);
	} else if (reg % T_SIZE == T_FSB) {
		s->t[n].fsb = whole;
	}
}

/* 2.2: 32 or 64 bits, aligned. */
static bool is_access(u64 off, unsigned size)
{
	return size >= 4 && !(off & (size - 1));
}

static u64 hpet_read(struct vdev *d, u64 off, unsigned size)
{
	u64 now = now_ticks(d);
	unsigned reg = off & ~7u;

	if (!is_access(off, size))
		return ~0ull;
	if (likely(reg == REG_COUNTER)) /* what guests read again and again changes nothing */
		return counter(d->state, now) >> (off & 4) * 8;
	for (unsigned n = 0; n < NR_TIMERS; n++)
		sync_timer(d, n, now);
	return read_reg(d->state, reg, now) >> (off & 4) * 8;
}

static void hpet_write(struct vdev *d, u64 off, unsigned size, u64 val)
{
	u64 now = now_ticks(d), mask = size == 8 ? ~0ull : 0xffffffffull << (off & 4) * 8;

	if (!is_access(off, size))
		return;
	for (unsigned n = 0; n < NR_TIMERS; n++)
		sync_timer(d, n, now);
	write_reg(d, off & ~7u, val << (off & 4) * 8, mask, now);
}

static void hpet_reset(struct vdev *d)
{
	struct hpet *s = d->state;

	for (unsigned n = 0; n < NR_TIMERS; n++)
		release(d, n);
	*s = (struct hpet){0};
	for (unsigned n = 0; n < NR_TIMERS; n++) {
		s->t[n].comparator = ~0ull;
		s->t[n].match = NEVER;
	}
}

static bool hpet_valid(const void *state)
{
	const struct hpet *s = state;

	for (unsigned n = 0; n < NR_TIMERS; n++)
		if (s->t[n].conf & ~T_WRITABLE)
			return false;
	return !(s->conf & ~(CONF_ENABLE | CONF_LEGACY)) && s->status < 1u << NR_TIMERS &&
	       s->lines < 1u << NR_TIMERS && s->displaced < 4;
}

static void hpet_restored(struct vdev *d)
{
	const struct hpet *s = d->state;

	for (unsigned n = 0; n < NR_TIMERS; n++)
		if (s->lines >> n & 1)
			drive(d, n, true);
}

static const struct vdev_mmio hpet_mmio[] = {
	{PLAT_HPET_BASE, PLAT_HPET_SIZE, hpet_read, hpet_write}};

/* clang-format off */
const struct vdev_type hpet_vdev = {
	.name = "hpet", .version = 1, .nr_timers = NR_TIMERS, .state_size = sizeof(struct hpet),
	.nr_mmio = ARRAY_SIZE(hpet_mmio), .mmio = hpet_mmio,
	.wanted = vm_hpet_wanted, .reset = hpet_reset, .valid = hpet_valid,
	.restored = hpet_restored, .timer = hpet_timer,
};
/* clang-format on */
VDEV_REGISTER(hpet_vdev);
