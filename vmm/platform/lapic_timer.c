/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC's timer (SDM vol. 3, 11.5.4). Nothing counts: the current count is worked out from
 * the start time when it is read. With LAPIC_TIMER_HZ at 1 GHz a tick at divide-by-1 is 1 ns.
 */
#include "vmm/platform/lapic_regs.h"
#include "vmm/platform/isa.h"

static_assert(LAPIC_TIMER_HZ == NS_PER_SEC, "ticks are taken for nanoseconds below");

/* Of a vCPU that takes them all, in its own time: lapic_timer_fire(). */
#define MIN_TICK_NS 20000ull

static u32 timer_mode(const struct lapic *l)
{
	return l->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_MODE;
}

/* log2 of the divisor: bits 3, 1, 0 of the register, 111 being 1 (figure 11-10). */
static unsigned divide_shift(const struct lapic *l)
{
	unsigned code = (l->tdcr & 3) | (l->tdcr >> 1 & 4);

	return (code + 1) & 7;
}

static u64 period_ns(const struct lapic *l)
{
	return (u64)l->tmict << divide_shift(l);
}

/*
 * The next multiple of the period after now. A vCPU that was late by many periods gets one
 * interrupt and goes on in step; short periods are stretched to MIN_TICK_NS.
 */
static u64 next_period(const struct lapic *l, u64 now)
{
	u64 period = period_ns(l), earliest = now + (period < MIN_TICK_NS ? MIN_TICK_NS : 1);
	u64 n = (earliest - l->timer_start_ns + period - 1) / period;

	return l->timer_start_ns + n * period;
}

static void disarm(struct vcpu *v, struct lapic *l)
{
	if (l->timer_deadline_ns || l->tsc_deadline)
		vcpu_timer_stop(v);
	l->timer_deadline_ns = 0;
	l->tsc_deadline = 0;
}

/* 0 while disarmed and in TSC-deadline mode. A periodic timer's deadline may lie several periods
 * ahead or already behind us. */
u32 lapic_timer_count(struct vcpu *v)
{
	const struct lapic *l = vcpu_lapic(v);
	u64 now, elapsed, period = period_ns(l);

	if (!l->timer_deadline_ns || !period)
		return 0;
	now = vm_time_ns(vcpu_vm(v));
	elapsed = now > l->timer_start_ns ? now - l->timer_start_ns : 0;
	if (timer_mode(l) == LVT_TIMER_PERIODIC)
		elapsed %= period;
	else if (elapsed >= period)
		return 0;
	return (u32)((period - elapsed) >> divide_shift(l));
}

/* Arm as if the count had started at start. */
static void start_at(struct vcpu *v, struct lapic *l, u64 start)
{
	u64 period = period_ns(l);

	l->timer_start_ns = start;
	if (timer_mode(l) == LVT_TIMER_PERIODIC)
		l->timer_deadline_ns = next_period(l, vm_time_ns(vcpu_vm(v)));
	else
		l->timer_deadline_ns = start + period;
	vcpu_timer_set(v, l->timer_deadline_ns);
}

void lapic_timer_write_initial(struct vcpu *v, u32 val)
{
	struct lapic *l = vcpu_lapic(v);

	if (timer_mode(l) == LVT_TIMER_TSC)
		return;
	l->tmict = val;
	if (val)
		start_at(v, l, vm_time_ns(vcpu_vm(v)));
	else
		disarm(v, l);
}

/* A running count goes on from where it is, at the new pace. */
void lapic_timer_write_divide(struct vcpu *v, u32 val)
{
	struct lapic *l = vcpu_lapic(v);
	u32 count = lapic_timer_count(v);
	u64 now, gone;

	l->tdcr = val & TDCR_WRITABLE;
	if (!count)
		return;
	now = vm_time_ns(vcpu_vm(v));
	gone = (u64)(l->tmict - count) << divide_shift(l);
	/* The VM's clock may be younger than the time that would have gone by at the new pace. */
	start_at(v, l, now > gone ? now - gone : 0);
}

void lapic_timer_write_deadline(struct vcpu *v, u64 tsc)
{
	struct lapic *l = vcpu_lapic(v);

	if (timer_mode(l) != LVT_TIMER_TSC)
		return;
	if (!tsc) {
		disarm(v, l);
		return;
	}
	if (tsc <= vcpu_tsc(v)) {
		disarm(v, l);
		lapic_lvt_deliver(v, LAPIC_LVT_TIMER);
		return;
	}
	l->tsc_deadline = tsc;
	vcpu_timer_set_tsc(v, tsc);
}

/* 11.5.4.1: changing the mode disarms the timer. */
void lapic_timer_mode_changed(struct vcpu *v)
{
	struct lapic *l = vcpu_lapic(v);

	disarm(v, l);
	l->tmict = 0;
}

/* Masked, or still to be taken: another interrupt would change nothing. */
static bool tick_is_lost(const struct lapic *l)
{
	u32 lvt = l->lvt[LAPIC_LVT_TIMER];

	if ((u8)lvt < 16) /* no interrupt but an error, noted already */
		return lvt & LVT_MASKED || l->esr_pending;
	return lvt & LVT_MASKED || l->irr[(u8)lvt / 32] >> (lvt & 31) & 1;
}

/* The next period, unless nobody would notice: then the deadline stays behind us, and lapic_timer_go_on() sets the next
 * when somebody may. So the timers of a vCPU that does not run, or that shuts its interrupts out, take no time from
 * others, however short their periods. */
void lapic_timer_fire(struct vcpu *v)
{
	struct lapic *l = vcpu_lapic(v);

	if (!l->timer_deadline_ns && !l->tsc_deadline)
		return;
	if (timer_mode(l) == LVT_TIMER_PERIODIC) {
		if (tick_is_lost(l))
			return;
		l->timer_deadline_ns = next_period(l, vm_time_ns(vcpu_vm(v)));
		vcpu_timer_set(v, l->timer_deadline_ns);
	} else {
		l->timer_deadline_ns = 0;
		l->tsc_deadline = 0;
	}
	lapic_lvt_deliver(v, LAPIC_LVT_TIMER);
}

void lapic_timer_go_on(struct vcpu *v)
{
	struct lapic *l = vcpu_lapic(v);
	u64 now;

	if (timer_mode(l) != LVT_TIMER_PERIODIC || !l->timer_deadline_ns || tick_is_lost(l))
		return;
	now = vm_time_ns(vcpu_vm(v));
	if (l->timer_deadline_ns > now)
		return; /* it is armed */
	l->timer_deadline_ns = next_period(l, now);
	vcpu_timer_set(v, l->timer_deadline_ns);
}

void lapic_timer_rearm(struct vcpu *v)
{
	const struct lapic *l = vcpu_lapic(v);

	if (l->timer_deadline_ns)
		vcpu_timer_set(v, l->timer_deadline_ns);
	else if (l->tsc_deadline)
		vcpu_timer_set_tsc(v, l->tsc_deadline);
	else
		vcpu_timer_stop(v);
}
