/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC: registers, priorities, interprocessor interrupts. The timer is in
 * lapic_timer.c. SDM vol. 3, chapter 11; section numbers below are of that chapter.
 */
#include "vmm/platform/lapic_regs.h"
#include "vmm/irq.h"
#include "lib/string.h"

#define BASE_ADDR_MASK 0x000ffffffffff000ull
#define BASE_VALID     (BASE_ADDR_MASK | APIC_BASE_BSP | APIC_BASE_EXTD | APIC_BASE_EN)

/* Version 0x14, highest LVT entry 5, no suppression of EOI broadcasts (bit 24). */
#define APIC_VERSION (0x14u | (LAPIC_NR_LVT - 1) << 16)

#define ICR_XAPIC_MASK	  0x000ccfffu
#define ICR_X2APIC_RSVD	  0xfff32000ull /* bit 12 was the delivery status: ignored, not #GP */
#define ICR_STATUS	  BIT(12)

/* Writable bits of each LVT entry (figure 11-8); bits 12 and 14 are read-only. */
static const u32 lvt_mask[LAPIC_NR_LVT] = {
	[LAPIC_LVT_TIMER] = 0x700ff,   [LAPIC_LVT_THERMAL] = 0x107ff, [LAPIC_LVT_PMC] = 0x107ff,
	[LAPIC_LVT_LINT0] = 0x1a7ff,   [LAPIC_LVT_LINT1] = 0x1a7ff,   [LAPIC_LVT_ERROR] = 0x100ff,
};
#define LVT_STATUS     BIT(12)
#define LVT_REMOTE_IRR BIT(14)

static unsigned top_bit(u32 x) /* x != 0 */
{
	return 31u - (unsigned)__builtin_clz(x);
}

static bool x2apic(const struct lapic *l)
{
	return l->base_msr & APIC_BASE_EXTD;
}

static bool globally_enabled(const struct lapic *l)
{
	return l->base_msr & APIC_BASE_EN;
}

static bool software_enabled(const struct lapic *l)
{
	return l->svr & SVR_ENABLE;
}

/* Everything but identity and IA32_APIC_BASE (11.4.7.1). */
static void reset_registers(struct lapic *l)
{
	u32 id = l->id;
	u64 base = l->base_msr;

	memset(l, 0, sizeof(*l));
	l->id = id;
	l->base_msr = base;
	l->svr = 0xff;
	l->dfr = ~0u;
	l->highest_isr = -1;
	for (unsigned i = 0; i < LAPIC_NR_LVT; i++)
		l->lvt[i] = LVT_MASKED;
}

void lapic_reset(struct lapic *l, u32 id, bool bsp)
{
	l->id = id;
	l->base_msr = LAPIC_DEFAULT_BASE | APIC_BASE_EN | (bsp ? APIC_BASE_BSP : 0);
	reset_registers(l);
}

void lapic_init_signal(struct lapic *l)
{
	reset_registers(l);
}

void lapic_virtual_wire(struct lapic *l)
{
	l->svr = SVR_ENABLE | 0xff;
	l->lvt[LAPIC_LVT_LINT0] = MODE_EXTINT << 8;
	l->lvt[LAPIC_LVT_LINT1] = MODE_NMI << 8;
}

/* ---- priorities ---- */

int lapic_highest_irr(const struct lapic *l)
{
	unsigned w;

	if (!l->irr_any)
		return -1;
	w = top_bit(l->irr_any);
	return (int)(w * 32 + top_bit(l->irr[w]));
}

/* 11.8.3.1: the higher class of TPR and the highest vector in service. */
static u32 ppr(const struct lapic *l)
{
	u32 isrv = l->highest_isr < 0 ? 0 : (u32)l->highest_isr & 0xf0;

	return (l->tpr & 0xf0) >= isrv ? l->tpr : isrv;
}

u32 lapic_arbitration(const struct lapic *l)
{
	return software_enabled(l) ? ppr(l) : ~0u;
}

/* A software-disabled APIC still delivers what it had latched (11.4.7.2). */
int lapic_pending(const struct lapic *l)
{
	int v;

	if (likely(!l->irr_any))
		return -1;
	v = lapic_highest_irr(l);
	return ((u32)v & 0xf0) > (ppr(l) & 0xf0) ? v : -1;
}

void lapic_ack(struct lapic *l, u8 vector)
{
	unsigned w = vector / 32;
	u32 bit = 1u << (vector % 32);

	l->irr[w] &= ~bit;
	if (!l->irr[w])
		l->irr_any &= ~(1u << w);
	l->isr[w] |= bit;
	l->isr_any |= 1u << w;
	if (vector > l->highest_isr)
		l->highest_isr = vector;
}

/* 11.8.5: the highest vector in service is done; a level interrupt's EOI goes to the I/O APIC. */
void lapic_eoi(struct vcpu *v, struct lapic *l)
{
	u8 vector;
	unsigned w;
	u32 bit;

	if (l->highest_isr < 0)
		return;
	vector = (u8)l->highest_isr;
	w = vector / 32;
	bit = 1u << (vector % 32);
	l->isr[w] &= ~bit;
	if (!l->isr[w])
		l->isr_any &= ~(1u << w);
	if (l->isr_any) {
		unsigned top = top_bit(l->isr_any);
		l->highest_isr = (s32)(top * 32 + top_bit(l->isr[top]));
	} else {
		l->highest_isr = -1;
	}
	if (l->tmr[w] & bit)
		vm_eoi(vcpu_vm(v), vector);
}

/* 11.5.3: errors gather until the ESR is written; only the first of them interrupts. */
static void apic_error(struct vcpu *v, struct lapic *l, u32 bit)
{
	bool armed = !l->esr_pending;

	l->esr_pending |= bit;
	if (armed)
		lapic_lvt_deliver(v, LAPIC_LVT_ERROR);
}

void lapic_latch(struct vcpu *v, u8 vector, bool level_trig)
{
	struct lapic *l = vcpu_lapic(v);
	unsigned w = vector / 32;
	u32 bit = 1u << (vector % 32);

	if (unlikely(!software_enabled(l)))
		return;
	if (unlikely(vector < 16)) {
		apic_error(v, l, ESR_RECV_ILLEGAL_VECTOR);
		return;
	}
	l->irr[w] |= bit;
	l->irr_any |= 1u << w;
	if (level_trig)
		l->tmr[w] |= bit;
	else
		l->tmr[w] &= ~bit;
}

void lapic_set_irr(struct vcpu *v, u8 vector, bool level_trig)
{
	lapic_latch(v, vector, level_trig);
	vcpu_kick(v);
}

/* A software-disabled APIC answers INIT, NMI, SMI and SIPI alone (11.4.7.2). */
void lapic_set_extint(struct lapic *l)
{
	l->extint |= software_enabled(l);
}

void lapic_lvt_deliver(struct vcpu *v, unsigned entry)
{
	u32 lvt = vcpu_lapic(v)->lvt[entry];

	if (!(lvt & LVT_MASKED))
		lapic_set_irr(v, (u8)lvt, false);
}

/*
 * Every word in step with its caches, and a running timer with a period: lapic_timer_fire() divides by
 * it.
 */
bool lapic_valid(const struct lapic *l)
{
	u32 irr_any = 0, isr_any = 0, mode = l->lvt[LAPIC_LVT_TIMER] & LVT_TIMER_MODE;
	int highest = -1;

	if (l->tpr > 0xff || l->extint > 1 || (l->base_msr & APIC_BASE_MODE) == APIC_BASE_EXTD)
		return false;
	for (unsigned w = 0; w < 8; w++) {
		irr_any |= l->irr[w] ? 1u << w : 0;
		isr_any |= l->isr[w] ? 1u << w : 0;
		if (l->isr[w])
			highest = (int)(w * 32 + top_bit(l->isr[w]));
	}
	if (l->irr_any != irr_any || l->isr_any != isr_any || l->highest_isr != highest)
		return false;
	if (l->timer_deadline_ns && (mode == LVT_TIMER_TSC || !l->tmict))
		return false;
	return !l->tsc_deadline || mode == LVT_TIMER_TSC;
}

static bool pin_is(const struct lapic *l, unsigned entry, u32 mode)
{
	return !(l->lvt[entry] & LVT_MASKED) && (l->lvt[entry] >> 8 & 7) == mode;
}

/* Disabled as a whole, the APIC is not there: its pins are the CPU's INTR and NMI (11.4.3). */
bool lapic_accepts_extint(const struct lapic *l)
{
	return !globally_enabled(l) || pin_is(l, LAPIC_LVT_LINT0, MODE_EXTINT);
}

bool lapic_accepts_nmi(const struct lapic *l)
{
	return !globally_enabled(l) || pin_is(l, LAPIC_LVT_LINT1, MODE_NMI);
}

/* ---- addressing (11.6.2, 11.12.10) ---- */

static u32 x2apic_ldr(const struct lapic *l)
{
	return (l->id >> 4) << 16 | 1u << (l->id & 15);
}

static bool match_logical(const struct lapic *l, u32 dest)
{
	u32 ldr = l->ldr >> 24;

	if (x2apic(l)) {
		ldr = x2apic_ldr(l);
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	}
	if (dest > 0xff)
		return false;
	if (l->dfr >> 28 == 0xf)
		return dest & ldr;
	return dest >> 4 == ldr >> 4 && (dest & ldr & 0xf);
}

bool lapic_match(const struct lapic *l, const struct apic_msg *m)
{
	u32 dest = m->x2apic_dest ? m->dest : m->dest & 0xff;

	if (!globally_enabled(l))
		return false;
	if (dest == (m->x2apic_dest ? ~0u : 0xffu))
		return true;
	if (m->logical)
		return match_logical(l, dest);
	return dest == (x2apic(l) ? l->id : l->id & 0xff);
}

/* ---- interprocessor interrupts (11.6.1) ---- */

static void self_ipi(struct vcpu *v, struct lapic *l, u8 vector)
{
	if (unlikely(vector < 16))
		apic_error(v, l, ESR_SEND_ILLEGAL_VECTOR);
	else
		lapic_set_irr(v, vector, false);
}

/* Combinations that the manual calls invalid (table 11-3), or that no CPU of today still does. */
static bool ipi_invalid(u32 mode, u32 shorthand, u32 lo)
{
	bool startup = mode == MODE_INIT || mode == MODE_SIPI;

	if (mode == MODE_REMOTE_READ || mode == MODE_EXTINT)
		return true;
	if (startup && (shorthand == SHORT_SELF || shorthand == SHORT_ALL))
		return true;
	/* INIT level de-assert: not supported since the Pentium 4 (11.6.1). */
	return mode == MODE_INIT && (lo & ICR_TRIG_LEVEL) && !(lo & ICR_ASSERT);
}

static void send_ipi(struct vcpu *v, struct lapic *l, u64 icr)
{
	u32 lo = (u32)icr, mode = lo >> 8 & 7, shorthand = lo >> 18 & 3;
	struct apic_msg m = {
		.vector = (u8)lo,
		.mode = (u8)mode,
		.logical = !!(lo & ICR_LOGICAL),
		/* The trigger mode counts for INIT alone; every other IPI is an edge. */
		.level_trig = mode == MODE_INIT && (lo & ICR_TRIG_LEVEL),
		.assert = !!(lo & ICR_ASSERT),
		.shorthand = (u8)shorthand,
		.x2apic_dest = x2apic(l),
		.dest = x2apic(l) ? (u32)(icr >> 32) : (u32)(icr >> 56),
	};

	if (mode == MODE_FIXED && shorthand == SHORT_SELF) {
		self_ipi(v, l, m.vector);
		return;
	}
	if (ipi_invalid(mode, shorthand, lo))
		return;
	if (m.vector < 16 && (mode == MODE_FIXED || mode == MODE_LOWEST)) {
		apic_error(v, l, ESR_SEND_ILLEGAL_VECTOR);
		return;
	}
	vm_apic_msg(vcpu_vm(v), v, &m);
}

/* ---- registers, by number: MMIO offset / 16, x2APIC MSR - 0x800 ---- */

static int lvt_entry(unsigned reg)
{
	if (reg < REG_LVT_TIMER || reg > REG_LVT_ERROR)
		return -1;
	return (int)(reg - REG_LVT_TIMER);
}

/* False: there is no such register to read. */
static bool reg_read(struct vcpu *v, const struct lapic *l, unsigned reg, u32 *val)
{
	int e = lvt_entry(reg);

	*val = 0;
	if (e >= 0) {
		*val = l->lvt[e];
		return true;
	}
	switch (reg) {
	case REG_ID: *val = x2apic(l) ? l->id : l->id << 24; return true;
	case REG_VERSION: *val = APIC_VERSION; return true;
	case REG_TPR: *val = l->tpr; return true;
	case REG_PPR: *val = ppr(l); return true;
	case REG_LDR: *val = x2apic(l) ? x2apic_ldr(l) : l->ldr; return true;
	case REG_SVR: *val = l->svr; return true;
	case REG_ISR ... REG_ISR + 7: *val = l->isr[reg - REG_ISR]; return true;
	case REG_TMR ... REG_TMR + 7: *val = l->tmr[reg - REG_TMR]; return true;
	case REG_IRR ... REG_IRR + 7: *val = l->irr[reg - REG_IRR]; return true;
	case REG_ESR: *val = l->esr; return true;
	case REG_ICR: *val = (u32)l->icr; return true;
	case REG_TMICT: *val = l->tmict; return true;
	case REG_TMCCT: *val = lapic_timer_count(v); return true;
	case REG_TDCR: *val = l->tdcr; return true;
	}
	/* Registers that x2APIC mode does not have. APR, EOI and RRD read as 0. */
	if (x2apic(l))
		return false;
	if (reg == REG_DFR)
		*val = l->dfr;
	else if (reg == REG_ICR_HIGH)
		*val = (u32)(l->icr >> 32);
	return reg == REG_DFR || reg == REG_ICR_HIGH || reg == REG_APR || reg == REG_EOI ||
	       reg == REG_RRD;
}

static void write_svr(struct vcpu *v, struct lapic *l, u32 val)
{
	l->svr = val & SVR_WRITABLE;
	if (software_enabled(l))
		return;
	/* 11.4.7.2: every LVT mask bit is set, and stays so until it is software-enabled again. */
	for (unsigned i = 0; i < LAPIC_NR_LVT; i++)
		l->lvt[i] |= LVT_MASKED;
	vcpu_kick(v); /* LINT0 is shut now */
}

static void write_lvt(struct vcpu *v, struct lapic *l, unsigned entry, u32 val)
{
	u32 old = l->lvt[entry];

	val &= lvt_mask[entry];
	if (!software_enabled(l))
		val |= LVT_MASKED;
	l->lvt[entry] = val;
	if (entry == LAPIC_LVT_TIMER && (old ^ val) & LVT_TIMER_MODE)
		lapic_timer_mode_changed(v);
	else if (entry == LAPIC_LVT_TIMER)
		lapic_timer_go_on(v);
	if (entry == LAPIC_LVT_LINT0)
		vcpu_kick(v); /* the PIC's INTR may pass now */
}

static void write_esr(struct lapic *l)
{
	l->esr = l->esr_pending;
	l->esr_pending = 0;
}

/* Registers that both modes write in the same way. False: not one of them. */
static bool reg_write(struct vcpu *v, struct lapic *l, unsigned reg, u32 val)
{
	int e = lvt_entry(reg);

	if (e >= 0) {
		write_lvt(v, l, (unsigned)e, val);
		return true;
	}
	switch (reg) {
	case REG_EOI: lapic_eoi(v, l); return true;
	case REG_TPR: l->tpr = val & 0xff; return true;
	case REG_SVR: write_svr(v, l, val); return true;
	case REG_ESR: write_esr(l); lapic_timer_go_on(v); return true;
	case REG_TMICT: lapic_timer_write_initial(v, val); return true;
	case REG_TDCR: lapic_timer_write_divide(v, val); return true;
	}
	return false;
}

/* ---- xAPIC: the MMIO page (11.4.1) ---- */

static bool mmio_register(const struct lapic *l, u64 off, unsigned size)
{
	return size == 4 && !(off & 0xf) && off < 0x1000 && globally_enabled(l) && !x2apic(l);
}

u64 lapic_mmio_read(struct vcpu *v, u64 off, unsigned size)
{
	struct lapic *l = vcpu_lapic(v);
	u32 val;

	if (!mmio_register(l, off, size))
		return ~0ull;
	if (!reg_read(v, l, (unsigned)(off >> 4), &val))
		apic_error(v, l, ESR_ILLEGAL_REGISTER);
	return val;
}

void lapic_mmio_write(struct vcpu *v, u64 off, unsigned size, u64 val)
{
	struct lapic *l = vcpu_lapic(v);
	unsigned reg = (unsigned)(off >> 4);
	u32 x = (u32)val;

	if (!mmio_register(l, off, size) || reg_write(v, l, reg, x))
		return;
	switch (reg) {
	case REG_ICR:
		l->icr = (l->icr & ~0xffffffffull) | (x & ICR_XAPIC_MASK);
		send_ipi(v, l, l->icr);
		break;
	case REG_ICR_HIGH:
		l->icr = (u32)l->icr | (u64)(x & 0xff000000) << 32;
		break;
	case REG_LDR:
		l->ldr = x & 0xff000000;
		break;
	case REG_DFR:
		l->dfr = x | 0x0fffffff;
		break;
	default:
		/* Read-only registers swallow writes; the rest of the page is not there. */
		if (!reg_read(v, l, reg, &x))
			apic_error(v, l, ESR_ILLEGAL_REGISTER);
	}
}

/* ---- IA32_APIC_BASE (11.4.4, 11.12.5) ---- */

static bool write_base(struct vcpu *v, struct lapic *l, u64 val)
{
	u64 old_mode = l->base_msr & APIC_BASE_MODE, new_mode = val & APIC_BASE_MODE;

	if (val & ~BASE_VALID || new_mode == APIC_BASE_EXTD)
		return false;
	/* x2APIC is entered from xAPIC alone and left only by disabling. */
	if (old_mode == 0 && new_mode == APIC_BASE_MODE)
		return false;
	if (old_mode == APIC_BASE_MODE && new_mode == APIC_BASE_EN)
		return false;
	l->base_msr = val;
	if (old_mode == new_mode)
		return true;
	if (new_mode == 0) {
		reset_registers(l);
		lapic_timer_rearm(v);
		vcpu_kick(v); /* INTR reaches the CPU directly now */
	} else if (new_mode == APIC_BASE_MODE) {
		l->icr = (u32)l->icr;
	}
	return true;
}

/* ---- x2APIC MSRs (11.12.1.2) ---- */

static bool x2apic_write(struct vcpu *v, struct lapic *l, unsigned reg, u64 val)
{
	int e = lvt_entry(reg);
	u64 valid;

	switch (reg) {
	case REG_ICR:
		if (val & ICR_X2APIC_RSVD)
			return false;
		l->icr = val & ~ICR_STATUS;
		send_ipi(v, l, l->icr);
		return true;
	case REG_SELF_IPI:
		if (val & ~0xffull)
			return false;
		self_ipi(v, l, (u8)val);
		return true;
	case REG_EOI:
	case REG_ESR: valid = 0; break;
	case REG_TPR: valid = 0xff; break;
	case REG_SVR: valid = SVR_WRITABLE; break;
	case REG_TMICT: valid = ~0u; break;
	case REG_TDCR: valid = TDCR_WRITABLE; break;
	default:
		if (e < 0)
			return false;
		valid = lvt_mask[e] | LVT_STATUS;
		if (e == LAPIC_LVT_LINT0 || e == LAPIC_LVT_LINT1)
			valid |= LVT_REMOTE_IRR;
	}
	return !(val & ~valid) && reg_write(v, l, reg, (u32)val);
}

bool lapic_msr_write(struct vcpu *v, u32 msr, u64 val)
{
	struct lapic *l = vcpu_lapic(v);

	if (msr >= 0x800 && msr <= 0x83f)
		return x2apic(l) && x2apic_write(v, l, msr - 0x800, val);
	if (msr == MSR_TSC_DEADLINE) {
		lapic_timer_write_deadline(v, val);
		return true;
	}
	return msr == MSR_APIC_BASE && write_base(v, l, val);
}

bool lapic_msr_read(struct vcpu *v, u32 msr, u64 *val)
{
	struct lapic *l = vcpu_lapic(v);
	u32 x;

	if (msr == MSR_APIC_BASE) {
		*val = l->base_msr;
		return true;
	}
	if (msr == MSR_TSC_DEADLINE) {
		*val = l->tsc_deadline;
		return true;
	}
	if (msr < 0x800 || msr > 0x83f || !x2apic(l) || !reg_read(v, l, msr - 0x800, &x))
		return false;
	*val = msr - 0x800 == REG_ICR ? l->icr : x;
	return true;
}
