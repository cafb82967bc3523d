/* SPDX-License-Identifier: BSD-2-Clause */
/* Into the guest, and from a #VMEXIT to struct vm_exit: APM vol. 2, 15.5 to 15.14, appendix C. */
#include "arch/x86_64/spec.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/string.h"

/* Length from the next RIP that the CPU stored; 0 if that makes no sense. */
static u8 length_to(const struct hv_vcpu *v, u64 next_rip)
{
	u64 len = next_rip - v->rip;

	return len <= 15 ? (u8)len : 0;
}

static const struct vmcb_control *control(const struct hv_vcpu *v)
{
	return &svm_of(v)->vmcb->c;
}

static void exit_pio(struct hv_vcpu *v, struct vm_exit *e)
{
	u64 info = control(v)->exit_info1;

	e->insn_len = length_to(v, control(v)->exit_info2); /* without nRIP, too */
	e->pio.port = IOIO_PORT(info);
	e->pio.size = IOIO_SIZE(info);
	e->pio.in = (info & IOIO_IN) != 0;
	e->pio.string = (info & IOIO_STRING) != 0;
	e->pio.rep = (info & IOIO_REP) != 0;
	e->pio.addr_size = (u8)(IOIO_ADDR(info) * 2);
	/* The segment came with decode assists. */
	e->pio.seg = svm_caps & SVM_CAP_DECODE ? IOIO_SEGMENT(info) : 0xff;
	v->dr7_armed = svm_of(v)->vmcb->s.dr7 & DR7_ENABLES;
}

static void exit_msr(struct hv_vcpu *v, struct vm_exit *e)
{
	e->code = control(v)->exit_info1 & 1 ? HV_EXIT_WRMSR : HV_EXIT_RDMSR;
}

static u8 crdr_gpr(const struct hv_vcpu *v)
{
	u64 info = control(v)->exit_info1;

	return (svm_caps & SVM_CAP_DECODE) && (info & CRDR_IS_MOV) ? CRDR_GPR(info) : 0xff;
}

/* CLTS, LMSW and SMSW come here, too: only with decode assists would we know, so decode. */
static void exit_cr(struct hv_vcpu *v, struct vm_exit *e)
{
	u32 code = control(v)->exit_code;

	e->cr.cr = code & 15;
	e->cr.write = code >= VMEXIT_CR_WRITE;
	if (code == VMEXIT_CR0_SEL_WRITE)
		e->cr.cr = 0;
	e->cr.kind = 0;
	e->cr.gpr = crdr_gpr(v);
	e->cr.lmsw = 0;
}

static void exit_dr(struct hv_vcpu *v, struct vm_exit *e)
{
	u32 code = control(v)->exit_code;

	e->dr.dr = code & 15;
	e->dr.write = code >= VMEXIT_DR_WRITE;
	e->dr.gpr = crdr_gpr(v);
}

/* DR6 and DR7 are as the handler of a #DB is to find them (APM vol. 2, 15.12.2). */
static void exit_exception(struct hv_vcpu *v, struct vm_exit *e)
{
	const struct vmcb_control *c = control(v);
	u8 vector = (u8)(c->exit_code - VMEXIT_EXC);

	if (vector == EXC_MC) {
		/* The machine's, not the guest's. The exit has consumed it: call our handler. */
		__asm__ volatile("int $18" ::: "memory");
		e->code = HV_EXIT_NONE;
		return;
	}
	e->exc.ev = (struct hv_event){.valid = 1, .type = HV_EV_EXC, .vector = vector};
	e->exc.payload = 0;
	if (EXC_HAS_ERROR_MASK & BIT(vector)) {
		e->exc.ev.has_error = 1;
		e->exc.ev.error = (u32)c->exit_info1;
	}
	if (vector == EXC_PF)
		e->exc.payload = c->exit_info2;
	if (vector == EXC_BP) {
		e->exc.ev.type = HV_EV_SWEXC;
		e->exc.ev.insn_len = length_to(v, c->next_rip) ?: 1;
	}
	if (vector == EXC_DB && unlikely(v->debug.flags & HV_DEBUG_DR)) {
		e->exc.payload = v->dr6 & (DR6_B0_B3 | DR6_BS | DR6_BT);
		v->dr6 = svm_of(v)->step_dr6;
	}
}

static void exit_swint(struct hv_vcpu *v, struct vm_exit *e)
{
	(void)v;
	e->exc.ev = (struct hv_event){.valid = 1, .type = HV_EV_SWINT};
	e->exc.payload = 0;
}

static void exit_npf(struct hv_vcpu *v, struct vm_exit *e)
{
	const struct vmcb_control *c = control(v);
	u64 info = c->exit_info1;

	e->npf.gpa = c->exit_info2;
	e->npf.gva = 0;
	e->npf.gva_valid = 0;
	e->npf.write = (info & PFERR_W) != 0;
	e->npf.fetch = !e->npf.write && (info & PFERR_I);
	e->npf.read = !e->npf.write && !e->npf.fetch;
	e->npf.present = (info & PFERR_P) != 0;
	e->npf.during_walk = (info & PFERR_GUEST_WALK) != 0;
	e->npf.misconfig = (info & PFERR_RSVD) != 0;
	e->npf.nr_bytes = 0;
	v->dr7_armed = svm_of(v)->vmcb->s.dr7 & DR7_ENABLES;
	/* Of data accesses only (15.33.5). */
	if ((svm_caps & SVM_CAP_DECODE) && c->nr_insn_bytes && c->nr_insn_bytes <= 15) {
		e->npf.nr_bytes = c->nr_insn_bytes;
		memcpy(e->npf.bytes, c->insn_bytes, sizeof(c->insn_bytes));
	}
}

/* The state-save area holds no guest any more: what was to be delivered is gone with it. */
static void exit_dead(struct hv_vcpu *v, struct vm_exit *e)
{
	(void)v;
	e->interrupted.valid = 0;
}

struct conversion {
	u8 code; /* enum hv_exit_code */
	u8 insn; /* an instruction was intercepted: next_rip is its end */
	void (*convert)(struct hv_vcpu *v, struct vm_exit *e);
};

#define INSN(c)	   {(c), 1, NULL}
#define EVENT(c)   {(c), 0, NULL}
#define UNEXPECTED {HV_EXIT_UNKNOWN, 0, NULL} /* not intercepted by us: the vmm ends the VM */

static const struct conversion conversions[VMEXIT_DENSE_END] = {
	[VMEXIT_CR_READ ... VMEXIT_DR_READ - 1] = {HV_EXIT_CR, 1, exit_cr},
	[VMEXIT_DR_READ ... VMEXIT_EXC - 1] = {HV_EXIT_DR, 1, exit_dr},
	[VMEXIT_EXC ... VMEXIT_INTR - 1] = {HV_EXIT_EXCEPTION, 0, exit_exception},
	[VMEXIT_INTR] = {HV_EXIT_INTR, 0, svm_exit_async},
	[VMEXIT_NMI] = {HV_EXIT_NMI, 0, svm_exit_async}, /* handled when STGI let it in */
	[VMEXIT_SMI] = {HV_EXIT_NONE, 0, svm_exit_async}, /* so was this, by the firmware */
	[VMEXIT_INIT] = EVENT(HV_EXIT_NONE), /* if INIT is redirected; else we are reset at STGI */
	[VMEXIT_VINTR] = {HV_EXIT_IRQ_WINDOW, 0, svm_exit_vintr},
	[VMEXIT_CR0_SEL_WRITE] = {HV_EXIT_CR, 1, exit_cr},
	[VMEXIT_IDTR_READ ... VMEXIT_TR_WRITE] = INSN(HV_EXIT_DESC),
	[VMEXIT_RDTSC] = INSN(HV_EXIT_RDTSC),
	[VMEXIT_RDPMC] = INSN(HV_EXIT_RDPMC),
	[VMEXIT_PUSHF ... VMEXIT_POPF] = UNEXPECTED,
	[VMEXIT_CPUID] = INSN(HV_EXIT_CPUID),
	[VMEXIT_RSM] = INSN(HV_EXIT_UD_INSN),
	[VMEXIT_IRET] = {HV_EXIT_NONE, 0, svm_exit_iret},
	[VMEXIT_SWINT] = {HV_EXIT_EXCEPTION, 0, exit_swint},
	[VMEXIT_INVD] = INSN(HV_EXIT_WBINVD),
	[VMEXIT_PAUSE] = INSN(HV_EXIT_PAUSE),
	[VMEXIT_HLT] = INSN(HV_EXIT_HLT),
	[VMEXIT_INVLPG] = INSN(HV_EXIT_INVLPG),
	[VMEXIT_INVLPGA] = INSN(HV_EXIT_UD_INSN),
	[VMEXIT_IOIO] = {HV_EXIT_PIO, 0, exit_pio},
	[VMEXIT_MSR] = {HV_EXIT_RDMSR, 1, exit_msr},
	[VMEXIT_TASK_SWITCH] = UNEXPECTED,
	/* An x87 error with CR0.NE clear stops the CPU until an interrupt: that ends the exit, too. */
	[VMEXIT_FERR_FREEZE] = EVENT(HV_EXIT_INTR),
	[VMEXIT_SHUTDOWN] = {HV_EXIT_TRIPLE_FAULT, 0, exit_dead},
	[VMEXIT_VMRUN] = INSN(HV_EXIT_UD_INSN),
	[VMEXIT_VMMCALL] = INSN(HV_EXIT_HYPERCALL),
	[VMEXIT_VMLOAD ... VMEXIT_SKINIT] = INSN(HV_EXIT_UD_INSN),
	[VMEXIT_RDTSCP] = INSN(HV_EXIT_RDTSC),
	[VMEXIT_ICEBP] = UNEXPECTED,
	[VMEXIT_WBINVD] = INSN(HV_EXIT_WBINVD),
	[VMEXIT_MONITOR ... VMEXIT_MWAIT_ARMED] = INSN(HV_EXIT_MONITOR),
	[VMEXIT_XSETBV] = INSN(HV_EXIT_XSETBV),
	[VMEXIT_RDPRU] = INSN(HV_EXIT_UD_INSN),
	[VMEXIT_EFER_WRITE_TRAP ... VMEXIT_INVLPGB - 1] = UNEXPECTED,
	[VMEXIT_INVLPGB ... VMEXIT_INVLPGB_ILLEGAL] = INSN(HV_EXIT_UD_INSN),
	[VMEXIT_INVPCID] = UNEXPECTED,
	[VMEXIT_MCOMMIT ... VMEXIT_TLBSYNC] = INSN(HV_EXIT_UD_INSN),
	[VMEXIT_BUSLOCK ... VMEXIT_IDLE_HLT] = UNEXPECTED,
};
static const struct conversion conversion_npf = {HV_EXIT_NPF, 0, exit_npf};
static const struct conversion conversion_invalid = {HV_EXIT_ENTRY_FAILED, 0, exit_dead};
static const struct conversion conversion_unknown = UNEXPECTED;

static inline const struct conversion *find_conversion(u32 code)
{
	if (likely(code < VMEXIT_DENSE_END))
		return &conversions[code];
	if (code == VMEXIT_NPF)
		return &conversion_npf;
	return code == VMEXIT_INVALID ? &conversion_invalid : &conversion_unknown;
}

/* What the VMCB holds anew at each entry. CR2 and V_TPR are never marked clean. */
static inline void write_guest(const struct hv_vcpu *v, struct svm_vcpu *s, struct vmcb *vmcb)
{
	vmcb->s.rax = v->gpr[REG_RAX];
	vmcb->s.rsp = v->gpr[REG_RSP];
	vmcb->s.rip = v->rip;
	vmcb->s.rflags = v->rflags;
	vmcb->s.cr2 = v->cr2;
	vmcb->c.v_tpr = v->tpr;
	if (unlikely(vmcb->s.dr6 != v->dr6)) {
		vmcb->s.dr6 = v->dr6;
		svm_dirty(s, CLEAN_DR);
	}
	s->entry_rip = v->rip;
	s->entry_shadow = (u8)vmcb->c.int_shadow;
}

static inline void read_guest(struct hv_vcpu *v, const struct vmcb *vmcb)
{
	v->gpr[REG_RAX] = vmcb->s.rax;
	v->gpr[REG_RSP] = vmcb->s.rsp;
	v->rip = vmcb->s.rip;
	v->rflags = vmcb->s.rflags;
	v->cr2 = vmcb->s.cr2;
	v->dr6 = vmcb->s.dr6;
	v->tpr = vmcb->c.v_tpr & 15;
}

/* Short on purpose, and in one piece with the conversion: every exit pays for it. */
void svm_enter(struct hv_vcpu *v, struct vm_exit *exit)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb *vmcb = s->vmcb;
	struct vmcb_control *c = &vmcb->c;
	const struct conversion *conv;

	write_guest(v, s, vmcb);
	if (unlikely(s->todo || v->tpr_threshold != s->tpr_threshold))
		svm_prepare(v);
	spec_enter(v);
	svm_vmrun(v->gpr, s->vmcb_pa, s->host_vmcb);

	conv = find_conversion(c->exit_code);
	/* A guest that was never entered left no state: TCG's VMCB then even holds the host's. */
	if (likely(conv != &conversion_invalid))
		read_guest(v, vmcb);
	c->tlb_control = TLB_KEEP;
	c->clean = svm_clean_mask;
	exit->hw_reason = c->exit_code;
	exit->hw_info1 = c->exit_info1;
	exit->hw_info2 = c->exit_info2;
	exit->insn_len = 0;
	/* TCG copies EVENTINJ here at every exit, valid or not: only the valid bit tells. */
	exit->interrupted.valid = 0;
	if (unlikely(c->exit_int_info & EVENT_VALID))
		svm_interrupted(v, &exit->interrupted);
	c->event_inj = 0; /* #VMEXIT does so, but for VMEXIT_INVALID it is not said */
	if (unlikely(s->step) && svm_step_end(v, exit))
		return;
	exit->code = conv->code;
	if (conv->insn && (svm_caps & SVM_CAP_NRIPS))
		exit->insn_len = length_to(v, c->next_rip);
	if (conv->convert)
		conv->convert(v, exit);
}
