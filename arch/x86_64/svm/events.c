/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events into the guest and the windows for them: APM vol. 2, 15.20, 15.21.
 *
 * Without vNMI the CPU does not know that a guest is inside its NMI handler: NMIs stay blocked from
 * the injection until an IRET has completed. IRET is intercepted meanwhile, the exit comes before
 * it executes, and if an NMI waits then, the IRET alone is run by single-stepping. All exceptions
 * are intercepted during the step, so that our TF never gets onto a guest's stack.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/svm/svm.h"

static void set_vintr(struct svm_vcpu *s, bool on)
{
	struct vmcb_control *c = &s->vmcb->c;

	if (on == (bool)(c->v_irq & V_IRQ_PENDING))
		return;
	c->v_irq = on ? V_IRQ_PENDING : 0; /* V_TPR's byte is written at each entry */
	svm_dirty(s, CLEAN_TPR);
	svm_intercept(s, VMEXIT_VINTR, on);
	if (!on)
		irq_recheck(); /* else a guest that spins would not see its timer again */
}

void svm_events_reset(struct svm_vcpu *s)
{
	struct vmcb_control *c = &s->vmcb->c;

	c->event_inj = 0;
	c->int_shadow = 0;
	set_vintr(s, false);
	svm_intercept(s, VMEXIT_IRET, false);
	s->irq_wanted = false;
	s->nmi_blocked = s->iret_pending = false;
	s->todo &= ~(u32)(TODO_STEP | TODO_NMI);
}

static void block_nmi(struct svm_vcpu *s, bool on)
{
	s->nmi_blocked = on;
	s->iret_pending = false;
	svm_intercept(s, VMEXIT_IRET, on);
}

/* The IRET seen at iret_rip has completed once RIP is another. */
static bool nmi_is_blocked(struct hv_vcpu *v, struct svm_vcpu *s)
{
	if (s->iret_pending && v->rip != s->iret_rip)
		s->nmi_blocked = s->iret_pending = false;
	return s->nmi_blocked;
}

void svm_inject(struct hv_vcpu *v, const struct hv_event *ev)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *vmcb = s->vmcb;
	u32 e = ev->vector | EVENT_VALID;

	/* Something else comes before the IRET that was about to run: wait for one anew. */
	if (s->iret_pending && nmi_is_blocked(v, s))
		block_nmi(s, true);
	switch (ev->type) {
	case HV_EV_EXTINT:
		e |= EVENT_INTR;
		if (unlikely(svm_counts))
			s->todo |= TODO_V_IRQ;
		break;
	case HV_EV_NMI:
		e = EXC_NMI | EVENT_NMI | EVENT_VALID;
		block_nmi(s, true);
		break;
	case HV_EV_SWINT:
	case HV_EV_SWEXC:
	case HV_EV_PRIV_SWEXC:
		/* The handler returns behind the instruction. svm_interrupted() never asks for this. */
		v->rip += ev->insn_len;
		vmcb->c.next_rip = v->rip;
		s->soft_len = ev->insn_len;
		e |= ev->type == HV_EV_SWINT ? EVENT_SWINT : EVENT_EXC;
		break;
	default:
		e |= EVENT_EXC;
	}
	/* Real mode pushes no error codes. */
	if (ev->has_error && (vmcb->s.cr0 & CR0_PE)) {
		e |= EVENT_ERROR_VALID;
		vmcb->c.event_inj_error = ev->error;
	}
	vmcb->c.event_inj = e;
}

u32 svm_windows(struct hv_vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);
	u32 w = 0;

	/* The shadow holds NMIs off, too (APM vol. 2, 8.5.1 leaves MOV SS no other way). */
	if ((s->vmcb->c.event_inj & EVENT_VALID) || (s->vmcb->c.int_shadow & INT_SHADOW))
		return 0;
	if (v->rflags & RFLAGS_IF)
		w |= HV_WIN_IRQ;
	if (likely(!s->nmi_blocked) || !nmi_is_blocked(v, s))
		w |= HV_WIN_NMI;
	return w;
}

/* Both requests stand until they are withdrawn: VINTR exits again, svm_seek_nmi() runs again. */
void svm_request_windows(struct hv_vcpu *v, u32 windows)
{
	struct svm_vcpu *s = svm_of(v);

	s->irq_wanted = windows & HV_WIN_IRQ;
	set_vintr(s, s->irq_wanted);
	if (windows & HV_WIN_NMI)
		s->todo |= TODO_NMI;
	else
		s->todo &= ~(u32)TODO_NMI;
}

/* A step of our own is never under way between exits; an IRET that was seen has not run, and will be
 * seen again. */
void svm_get_pending(struct hv_vcpu *v, struct hv_pending *out)
{
	struct svm_vcpu *s = svm_of(v);

	*out = (struct hv_pending){0};
	if (s->vmcb->c.int_shadow & INT_SHADOW)
		out->blocking |= HV_BLOCK_STI;
	if (nmi_is_blocked(v, s))
		out->blocking |= HV_BLOCK_NMI;
}

void svm_set_pending(struct hv_vcpu *v, const struct hv_pending *in)
{
	struct svm_vcpu *s = svm_of(v);

	s->vmcb->c.int_shadow =
		in->blocking & (HV_BLOCK_STI | HV_BLOCK_MOVSS) ? INT_SHADOW : 0;
	block_nmi(s, in->blocking & HV_BLOCK_NMI);
}

/* Right before VMRUN: run one instruction and come back. */
static void step_begin(struct hv_vcpu *v, enum svm_step step)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *vmcb = s->vmcb;

	if (vmcb->c.event_inj & EVENT_VALID)
		return; /* TF would be pushed with the event, and its handler runs first anyway */
	s->step = (u8)step;
	s->step_dr6 = v->dr6;
	s->step_guest_tf = v->rflags & RFLAGS_TF;
	vmcb->s.rflags |= RFLAGS_TF;
	vmcb->c.intercept_exc = ~(u32)BIT(EXC_NMI);
	set_vintr(s, false);
	svm_dirty(s, CLEAN_I);
}

void svm_step_shadow(struct hv_vcpu *v)
{
	step_begin(v, STEP_SHADOW);
}

/* What exits besides SVM_EXC_INTERCEPTS. */
static u32 debug_exceptions(const struct svm_vcpu *s)
{
	return s->debug & (HV_DEBUG_BP | HV_DEBUG_STEP) ? (u32)BIT(EXC_BP) : 0;
}

/* INT n is intercepted as well: TCG knows INT3 by no other name, and a step must not push TF with one. */
void svm_follow_debug(struct hv_vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *vmcb = s->vmcb;
	u32 flags = v->debug.flags;

	if (!(s->debug & HV_DEBUG_DR))
		s->dr7 = vmcb->s.dr7;
	vmcb->s.dr7 = flags & HV_DEBUG_DR ? v->debug.dr7 : s->dr7;
	vmcb->c.intercept_dr_read = vmcb->c.intercept_dr_write = flags & HV_DEBUG_DR ? 0xffff : 0;
	s->debug = flags;
	s->soft_len = 0;
	vmcb->c.intercept_exc = SVM_EXC_INTERCEPTS | debug_exceptions(s);
	svm_intercept(s, VMEXIT_SWINT, debug_exceptions(s));
	s->todo = flags ? s->todo | TODO_DEBUG : s->todo & ~(u32)TODO_DEBUG;
	svm_dirty(s, CLEAN_I | CLEAN_DR);
}

bool svm_on_tcg(void)
{
	return cpuid(1, 0).ecx & BIT(31) && cpuid(0x40000000, 0).ebx == 0x54474354; /* "TCGT" */
}

/*
 * The processor gives VMCB.DR7 to the guest at VMRUN and clears the host's at #VMEXIT (15.5.1, 15.6). TCG 7.2 only
 * notes it, looks for the breakpoints that the last MOV to DR7 has set, and brings the host's value back: so there
 * the host has the same one for as long as the vCPU is loaded. Elsewhere it could meet them itself.
 */
void svm_debug_host_dr7(const struct hv_vcpu *v, bool loaded)
{
	if (svm_on_tcg())
		write_dr7(loaded ? v->debug.dr7 : DR7_FIXED);
}

/* Right before VMRUN. An event comes first: an interrupt to ourselves, pending at VMRUN, makes the guest leave before
 * the first instruction of its handler. */
void svm_debug_entry(struct hv_vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	s->step_dr6 = v->dr6;
	if (!(v->debug.flags & HV_DEBUG_STEP))
		return;
	if (s->vmcb->c.event_inj & EVENT_VALID)
		ipi_send(this_cpu()->index, VEC_KICK);
	else
		step_begin(v, STEP_DEBUG);
}

/* Right before VMRUN, while the vmm waits to inject an NMI. */
void svm_seek_nmi(struct hv_vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	if (!nmi_is_blocked(v, s))
		/*
		 * Only a shadow or another event is in the way. An interrupt to ourselves, pending at
		 * VMRUN, makes the guest leave as soon as that has passed.
		 */
		ipi_send(this_cpu()->index, VEC_KICK);
	else if (s->iret_pending)
		step_begin(v, STEP_IRET);
	/* else the IRET will exit */
}

void svm_advance(struct hv_vcpu *v, unsigned len)
{
	struct svm_vcpu *s = svm_of(v);
	u64 from = v->rip;

	v->rip += len;
	/* Only where it crosses 4 GiB does the mode matter: not CS.L. */
	if (unlikely((v->rip ^ from) >> 32) &&
	    (!(s->vmcb->s.efer & EFER_LMA) || !(s->vmcb->s.cs.attr & BIT(9))))
		v->rip = (u32)v->rip;
	s->vmcb->c.int_shadow = 0;
	v->rflags &= ~RFLAGS_RF;
	if (unlikely(v->rflags & RFLAGS_TF))
		v->pending_db |= DR6_BS;
}

/*
 * EXITINTINFO: an exit cut the delivery of an event short. INT n, INT3 and INTO are left out: RIP is
 * still at the instruction, which raises the event again when the guest goes on; to inject INT n
 * takes a next RIP, which TCG never gives.
 */
void svm_interrupted(struct hv_vcpu *v, struct hv_event *ev)
{
	struct svm_vcpu *s = svm_of(v);
	u32 info = s->vmcb->c.exit_int_info, kind = info & (7u << 8);

	*ev = (struct hv_event){.vector = EVENT_VECTOR(info)};
	/* As long as there is a soft_len, these come from svm_inject() alone, which went behind the instruction. */
	if (kind == EVENT_SWINT || (kind == EVENT_EXC && (ev->vector == EXC_BP || ev->vector == EXC_OF)))
		v->rip -= s->soft_len;
	switch (kind) {
	case EVENT_INTR:
		ev->type = HV_EV_EXTINT;
		break;
	case EVENT_NMI:
		ev->type = HV_EV_NMI; /* blocked from here on, whatever delivery ends in */
		break;
	case EVENT_EXC:
		if (ev->vector == EXC_BP || ev->vector == EXC_OF)
			return;
		ev->type = HV_EV_EXC;
		break;
	default:
		return;
	}
	ev->valid = 1;
	ev->has_error = (info & EVENT_ERROR_VALID) != 0;
	ev->error = ev->has_error ? s->vmcb->c.exit_int_error : 0;
}

/*
 * TCG 7.2 with -icount: VMRUN leaves the vector of an interrupt in EVENTINJ in the CPU's exception_index, from where it
 * is delivered once more, be IF 0, if the count of instructions that were to be run ends before the guest leaves. Linux
 * then waits for ever for a lock of the interrupt that it has interrupted. A virtual interrupt (APM vol. 2, 15.21.4) has
 * no such trace. One that waits for its window has V_IRQ for that already.
 */
void svm_irq_by_v_irq(struct hv_vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb_control *c = &s->vmcb->c;

	if (s->irq_wanted || v->debug.flags || (c->event_inj & ~0xffu) != (EVENT_VALID | EVENT_INTR))
		return;
	c->v_vector = (u8)c->event_inj;
	c->v_irq = V_IRQ_PENDING;
	c->event_inj = 0;
	s->step = STEP_V_IRQ;
	svm_dirty(s, CLEAN_TPR);
}

/* The CPU clears V_IRQ when it has delivered the interrupt. TCG calls one that was cut short an exception. */
static void end_v_irq(struct svm_vcpu *s, struct hv_event *interrupted)
{
	struct vmcb_control *c = &s->vmcb->c;

	s->step = STEP_NONE;
	if (c->v_irq & V_IRQ_PENDING)
		*interrupted = (struct hv_event){.valid = 1, .type = HV_EV_EXTINT, .vector = c->v_vector};
	c->v_irq = 0;
}

bool svm_step_end(struct hv_vcpu *v, struct vm_exit *exit)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *vmcb = s->vmcb;
	/* Hardware sets DR6 before the intercept, Bochs 2.7 does not: a new RIP will do as well. */
	bool trap = vmcb->c.exit_code == VMEXIT_EXC + EXC_DB &&
		    ((v->dr6 & DR6_BS) || v->rip != s->entry_rip);
	enum svm_step step = s->step;
	u64 hits = v->dr6 & ~s->step_dr6 & DR6_B0_B3;
	bool loaded;

	if (step == STEP_V_IRQ) {
		end_v_irq(s, &exit->interrupted);
		return false;
	}
	s->step = STEP_NONE;
	vmcb->c.intercept_exc = SVM_EXC_INTERCEPTS | debug_exceptions(s);
	set_vintr(s, s->irq_wanted);
	svm_dirty(s, CLEAN_I);
	/* A completed IRET took TF from the stack; otherwise it is ours or the guest's own. */
	loaded = step == STEP_IRET || (step == STEP_DEBUG && v->debug.flags & HV_DEBUG_LOADS_FLAGS);
	if (!(trap && loaded) && !s->step_guest_tf)
		v->rflags &= ~RFLAGS_TF;
	if (!trap) {
		if (step == STEP_SHADOW && v->rip == s->entry_rip)
			vmcb->c.int_shadow |= INT_SHADOW; /* not yet past it: as keep_shadow() */
		return false;
	}
	if (step == STEP_DEBUG) {
		v->dr6 = s->step_dr6;
		exit->exc.payload = hits | (s->step_guest_tf ? DR6_BS : 0);
		exit->code = HV_EXIT_STEP;
		return true;
	}
	if (step == STEP_IRET)
		block_nmi(s, false);
	if (s->step_guest_tf)
		return false; /* the guest steps itself: its #DB */
	v->dr6 = s->step_dr6 | hits;
	if (hits)
		return false; /* and this is its breakpoint */
	exit->code = step == STEP_IRET ? HV_EXIT_NMI_WINDOW : HV_EXIT_IRQ_WINDOW;
	return true;
}

/*
 * TCG 7.2 ignores the interrupt shadow at VMRUN, and so forgets it when it leaves again before the
 * shadowed instruction has run: an interrupt between STI and HLT would be a lost wake-up, one
 * between MOV SS and MOV SP a push to nowhere. Hardware keeps the shadow in the VMCB.
 */
static bool keep_shadow(struct hv_vcpu *v, struct svm_vcpu *s)
{
	if (likely(!(s->entry_shadow & INT_SHADOW)) || v->rip != s->entry_rip)
		return false;
	s->vmcb->c.int_shadow |= INT_SHADOW;
	return true;
}

/* INTR, NMI: they can come before the guest has run a single instruction. */
void svm_exit_async(struct hv_vcpu *v, struct vm_exit *exit)
{
	(void)exit;
	keep_shadow(v, svm_of(v));
}

void svm_exit_vintr(struct hv_vcpu *v, struct vm_exit *exit)
{
	struct svm_vcpu *s = svm_of(v);

	if (!keep_shadow(v, s))
		return;
	/* It would exit at once again: step over the shadowed instruction. */
	s->todo |= TODO_STEP;
	exit->code = HV_EXIT_NONE;
}

void svm_exit_iret(struct hv_vcpu *v, struct vm_exit *exit)
{
	struct svm_vcpu *s = svm_of(v);

	(void)exit;
	svm_intercept(s, VMEXIT_IRET, false);
	s->iret_pending = true;
	s->iret_rip = v->rip;
}
