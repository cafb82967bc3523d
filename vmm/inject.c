/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The only place that puts events into a guest. Order (SDM vol. 3, 6.9 and 28.2.4; APM vol.
 * 2, 8.5): what an exit cut short, exceptions of the instruction at RIP, NMI, external interrupts.
 */
#include "arch/x86_64/x86.h"
#include "vmm/vm.h"

/* The PIC's INTR reaches the boot CPU by its LINT0, or as an ExtINT message through I/O APIC pin 0. */
static bool extint_waits(struct vcpu *v)
{
	if (v->lapic.extint)
		return true;
	return v->vm->pic_intr && v->id == 0 && lapic_accepts_extint(&v->lapic);
}

bool vcpu_has_event(struct vcpu *v)
{
	if ((v->nmi_pending && v->nmi_wakes) || v->exception.valid || v->reinject.valid ||
	    v->hv.pending_db || v->pv.unhalted)
		return true;
	if (v->pv.eoi_lent)
		pv_eoi_take_back(v);
	if (!(v->hv.rflags & RFLAGS_IF))
		return false;
	return (v->lapic.irr_any && lapic_pending(&v->lapic) >= 0) || extint_waits(v);
}

/* Exceptions that combine into #DF (SDM vol. 3, table 6-5; APM vol. 2, table 8-3). */
static bool contributory(u8 vector)
{
	return vector == EXC_DE || (vector >= EXC_TS && vector <= EXC_GP) || vector == EXC_CP;
}

void vcpu_raise(struct vcpu *v, u8 vector, bool has_error, u32 error, u64 payload)
{
	struct hv_event *prev = NULL;

	if (v->exception.valid)
		prev = &v->exception;
	else if (v->reinject.valid && v->reinject.type == HV_EV_EXC)
		prev = &v->reinject;
	if (prev && prev->vector == EXC_DF) {
		vm_request_end(v->vm, VM_END_REBOOT, RESET_BY_TRIPLE_FAULT); /* triple fault: shutdown, then reset */
		return;
	}
	if (prev && ((contributory(prev->vector) && contributory(vector)) ||
		     (prev->vector == EXC_PF && (vector == EXC_PF || contributory(vector))))) {
		vector = EXC_DF;
		has_error = true;
		error = 0;
	}
	/*
	 * What was being delivered made this fault: it is part of #DF now, or gone. An interrupt that could not be
	 * delivered is lost, INT n is run again when its handler returns (SDM vol. 3, 6.15, 28.2.4).
	 */
	v->reinject.valid = 0;
	v->exception = (struct hv_event){
		.valid = 1,
		.type = HV_EV_EXC,
		.vector = vector,
		.has_error = has_error,
		.error = error,
	};
	v->exception_payload = payload;
}

static void put_in(struct vcpu *v, const struct hv_event *ev)
{
	v->injected[ev->type]++;
	if (unlikely(v->watch))
		watch_inject(v, ev);
	hv->inject(&v->hv, ev);
}

/*
 * What the CPU does besides when it delivers by itself: CR2 and DR6; DR7.GD (17.2.4); and RF in the
 * image that a fault pushes, so that an instruction breakpoint does not hit twice (17.3.1.1).
 */
static void inject_exception(struct vcpu *v, struct hv_event *ev, u64 payload)
{
	if (ev->vector == EXC_PF)
		v->hv.cr2 = payload;
	if (ev->vector == EXC_DB) {
		u64 dr7 = hv->get_reg(&v->hv, REG_DR7);

		v->hv.dr6 |= payload;
		if (dr7 & DR7_GD)
			hv->set_reg(&v->hv, REG_DR7, dr7 & ~DR7_GD);
	} else if (ev->type == HV_EV_EXC && ev->vector != EXC_DF) {
		v->hv.rflags |= RFLAGS_RF;
	}
	put_in(v, ev);
	ev->valid = 0;
}

/* A debugger's step is of one instruction: what comes from outside waits. */
static bool holds_irqs(const struct vcpu *v)
{
	return unlikely(v->hv.debug.flags & HV_DEBUG_STEP) && v->gdb.hold_irqs;
}

/* One of the rare kinds, or nothing; true: the entry's one place is taken. */
static bool inject_special(struct vcpu *v, u32 *want)
{
	/* Behind all else that is here, and not forgotten under a stream of exceptions. */
	*want |= v->nmi_pending ? HV_WIN_NMI : 0;
	if (v->reinject.valid) {
		hv->inject(&v->hv, &v->reinject);
		v->reinject.valid = 0;
		return true;
	}
	if (v->exception.valid) {
		inject_exception(v, &v->exception, v->exception_payload);
		return true;
	}
	if (v->hv.pending_db) { /* traps of the last instruction come before what arrived since */
		struct hv_event db = {.valid = 1, .type = HV_EV_EXC, .vector = EXC_DB};

		inject_exception(v, &db, v->hv.pending_db);
		v->hv.pending_db = 0;
		return true;
	}
	if (holds_irqs(v) || !(hv->windows(&v->hv) & HV_WIN_NMI))
		return false;
	*want = 0;
	put_in(v, &(struct hv_event){.valid = 1, .type = HV_EV_NMI, .vector = EXC_NMI});
	v->nmi_pending = false;
	return true;
}

static void inject_irq(struct vcpu *v, bool taken, u32 *want)
{
	bool ext = extint_waits(v);
	int vec = v->lapic.irr_any ? lapic_pending(&v->lapic) : -1;
	struct hv_event ev = {.valid = 1, .type = HV_EV_EXTINT};

	if (!ext && vec < 0)
		return;
	if (taken || !(hv->windows(&v->hv) & HV_WIN_IRQ)) {
		*want |= HV_WIN_IRQ;
		return;
	}
	if (ext) { /* ExtINT bypasses the APIC's priorities (SDM vol. 3, 11.8.1) */
		/* Before the INTA cycle, which may bring the next message. */
		v->lapic.extint = 0;
		vec = vm_pic_ack(v->vm);
	} else {
		lapic_ack(&v->lapic, vec);
		if (v->pv.eoi & PV_ENABLED)
			pv_eoi_lend(v);
	}
	ev.vector = vec;
	put_in(v, &ev);
}

/* A vector that only CR8 holds back: leave the guest when CR8 falls below its class. */
static u8 tpr_threshold(const struct lapic *l)
{
	int vec = l->irr_any ? lapic_highest_irr(l) : -1;

	if (vec < 0 || (vec & 0xf0) > (int)(l->tpr & 0xf0))
		return 0;
	if (l->highest_isr >= 0 && (vec & 0xf0) <= (l->highest_isr & 0xf0))
		return 0;
	return vec >> 4;
}

void vcpu_inject_slow(struct vcpu *v)
{
	u32 want = 0;
	bool taken = false;

	if (unlikely(v->reinject.valid | v->exception.valid | v->nmi_pending | v->hv.pending_db))
		taken = inject_special(v, &want);
	if ((v->lapic.irr_any | v->vm->pic_intr | v->lapic.extint) && !holds_irqs(v)) {
		if (v->pv.eoi_lent)
			pv_eoi_take_back(v);
		inject_irq(v, taken, &want);
		v->hv.tpr_threshold = tpr_threshold(&v->lapic);
	} else {
		v->hv.tpr_threshold = 0;
	}
	v->hv.tpr = v->lapic.tpr >> 4;
	if (holds_irqs(v))
		want = 0;
	if (unlikely(want != v->windows)) {
		v->windows = want;
		hv->request_windows(&v->hv, want);
	}
}
