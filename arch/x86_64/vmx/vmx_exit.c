/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From the hardware's exit to struct vm_exit. One table, indexed by the basic exit reason (SDM vol.
 * 3, appendix C), says the neutral code and which fields are worth a VMREAD.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/vmx/vmx.h"
#include "arch/x86_64/x86.h"
#include "lib/string.h"

#define F_LEN  BIT(0) /* the instruction length field is valid (28.2.5) */
#define F_QUAL BIT(1) /* the qualification means something (28.2.1) */

struct exit_row {
	u8 code; /* enum hv_exit_code */
	u8 flags;
	void (*convert)(struct hv_vcpu *v, struct vm_exit *e);
};

static void event_from_info(struct hv_event *ev, u32 info, enum vmcs_field error_field,
			    enum vmcs_field len_field)
{
	memset(ev, 0, sizeof(*ev));
	ev->valid = 1;
	ev->type = INFO_TYPE(info);
	ev->vector = INFO_VECTOR(info);
	if (info & INFO_ERROR) {
		ev->has_error = 1;
		ev->error = (u32)vmread(error_field);
	}
	if (ev->type >= HV_EV_SWINT)
		ev->insn_len = (u8)vmread(len_field);
}

/*
 * IRET ended the blocking of NMIs and then faulted: it will run again, so NMIs must be blocked
 * again (28.2.3). Not if the exit cut an event's delivery short: then it was not IRET's fault.
 */
static void block_nmi_again(struct hv_vcpu *v, const struct vm_exit *e)
{
	struct vmx_vcpu *x = vmx_of(v);

	if (!e->interrupted.valid)
		vmx_set_intr_state(x, vmx_intr_state(x) | INTR_NMI);
}

/*
 * A #DB that exits has not touched DR6, DR7.GD and DEBUGCTL.LBR, and injection does not do it
 * either (28.1, 27.6.1.1): it is done here, so that the vmm need only inject the event. Bits 11
 * and 16 of DR6 have the inverse sense.
 */
static void debug_exception(struct hv_vcpu *v, struct vm_exit *e)
{
	const u64 inverse = BIT(11) | DR6_RTM;
	u64 dr6 = read_dr6();

	dr6 = ((dr6 & ~DR6_B0_B3) | inverse | (e->hw_info1 & ~inverse)) ^ (e->hw_info1 & inverse);
	write_dr6(dr6);
	vmx_follow_dr6(v, dr6);
	vmwrite(VMCS_GUEST_DR7, vmread(VMCS_GUEST_DR7) & ~DR7_GD);
	vmwrite(VMCS_GUEST_DEBUGCTL, vmread(VMCS_GUEST_DEBUGCTL) & ~DEBUGCTL_LBR);
}

/* The trap of our TF. DR6 is as before it. */
static void step_done(struct hv_vcpu *v, struct vm_exit *e)
{
	struct vmx_vcpu *x = vmx_of(v);

	if (x->step_tf && v->debug.flags & HV_DEBUG_LOADS_FLAGS)
		v->rflags |= RFLAGS_TF; /* the guest has just set it */
	e->exc.payload = (e->hw_info1 & DR6_B0_B3) | (x->step_guest_tf ? DR6_BS : 0);
	e->code = HV_EXIT_STEP;
	vmwrite(VMCS_GUEST_PENDING_DEBUG, 0); /* Bochs 2.7 leaves there what the exit has reported */
}

static void conv_exception(struct hv_vcpu *v, struct vm_exit *e)
{
	u32 info = (u32)vmread(VMCS_EXIT_INTR_INFO);

	e->hw_info2 = info;
	/*
	 * The exit left NMIs blocked in the host until the next IRET (28.5.5 and 7.7.1): the host's
	 * own handler is called through its gate, and its IRET ends that.
	 */
	if (INFO_TYPE(info) == HV_EV_NMI) {
		__asm__ volatile("int $2" ::: "memory");
		e->code = HV_EXIT_NMI;
		return;
	}
	if ((info & INFO_NMI_UNBLOCK) && INFO_VECTOR(info) != EXC_DF)
		block_nmi_again(v, e);
	if (INFO_VECTOR(info) == EXC_MC) {
		__asm__ volatile("int $18" ::: "memory");
		e->code = HV_EXIT_NONE;
		return;
	}
	event_from_info(&e->exc.ev, info, VMCS_EXIT_INTR_ERROR, VMCS_EXIT_INSN_LEN);
	e->exc.payload = e->exc.ev.vector == EXC_PF ? e->hw_info1 : 0;
	if (e->exc.ev.vector != EXC_DB || e->exc.ev.type != HV_EV_EXC) /* INT1 leaves DR6 alone */
		return;
	if (unlikely(vmx_of(v)->stepped && e->hw_info1 & DR6_BS))
		step_done(v, e);
	else if (unlikely(v->debug.flags & HV_DEBUG_DR))
		e->exc.payload = e->hw_info1 & (DR6_B0_B3 | DR6_BS | DR6_BT);
	else
		debug_exception(v, e);
}

/* The vmm makes the guest's access: are there breakpoints that it may hit? */
static void follow_breakpoints(struct hv_vcpu *v)
{
	v->dr7_armed = vmread(VMCS_GUEST_DR7) & DR7_ENABLES;
	if (unlikely(v->dr7_armed))
		vmx_follow_dr6(v, read_dr6());
}

static void conv_io(struct hv_vcpu *v, struct vm_exit *e)
{
	u64 q = e->hw_info1;
	u32 info;

	follow_breakpoints(v);
	e->pio.port = (u16)(q >> 16);
	e->pio.size = (q & 7) + 1;
	e->pio.in = q >> 3 & 1;
	e->pio.string = q >> 4 & 1;
	e->pio.rep = q >> 5 & 1;
	e->pio.addr_size = 0;
	e->pio.seg = 0xff;
	if (!e->pio.string || !(vmx_caps.basic & BASIC_INS_OUTS))
		return;
	info = (u32)vmread(VMCS_EXIT_INSN_INFO); /* table 28-10 */
	e->pio.addr_size = (u8)(2u << (info >> 7 & 3));
	e->pio.seg = e->pio.in ? SEG_ES : info >> 15 & 7; /* INS has ES, and the field undefined */
}

static void conv_cr(struct hv_vcpu *v, struct vm_exit *e)
{
	u64 q = e->hw_info1; /* table 28-3 */
	unsigned type = q >> 4 & 3;

	(void)v;
	e->cr.cr = q & 15;
	e->cr.write = type != 1;
	e->cr.kind = type < 2 ? 0 : (u8)(type - 1);
	e->cr.gpr = q >> 8 & 15;
	e->cr.lmsw = (u16)(q >> 16);
}

static void conv_dr(struct hv_vcpu *v, struct vm_exit *e)
{
	u64 q = e->hw_info1; /* table 28-4 */

	(void)v;
	e->dr.dr = q & 7;
	e->dr.write = !(q & BIT(4));
	e->dr.gpr = q >> 8 & 15;
}

static void conv_ept(struct hv_vcpu *v, struct vm_exit *e)
{
	u64 q = e->hw_info1;

	memset(&e->npf, 0, sizeof(e->npf));
	follow_breakpoints(v);
	e->npf.gpa = e->hw_info2 = vmread(VMCS_GUEST_PHYSICAL_ADDR);
	if (REASON_BASIC(e->hw_reason) == REASON_EPT_MISCONFIG) {
		/* No qualification, so the kind of access is not known (28.2.1). */
		e->npf.misconfig = e->npf.present = e->npf.read = 1;
		return;
	}
	if (q & EPTQ_GLA_VALID) {
		e->npf.gva_valid = 1;
		e->npf.gva = vmread(VMCS_GUEST_LINEAR_ADDR);
		e->npf.during_walk = !(q & EPTQ_FINAL);
	}
	/* With A/D flags a walk's access to a guest table is a read and a write (29.3.3.2). */
	if (q & EPTQ_WRITE)
		e->npf.write = 1;
	else if (q & EPTQ_FETCH)
		e->npf.fetch = 1;
	else
		e->npf.read = 1;
	e->npf.present = (q & EPTQ_RIGHTS) != 0;
	if (q & EPTQ_NMI_UNBLOCK)
		block_nmi_again(v, e);
}

static void conv_task_switch(struct hv_vcpu *v, struct vm_exit *e)
{
	struct vmx_vcpu *x = vmx_of(v);
	u64 q = e->hw_info1; /* table 28-2 */

	e->task.selector = (u16)q;
	e->task.source = q >> 30 & 3;
	e->task.has_error = e->task.source == 3 && e->interrupted.valid && e->interrupted.has_error;
	e->task.error = e->task.has_error ? e->interrupted.error : 0;
	vmx_follow_dr6(v, read_dr6()); /* for the T bit of the new TSS */
	/* IRET ends the blocking of NMIs, even if it faults later (SDM vol. 3, 6.7.1). */
	if (e->task.source == 1)
		vmx_set_intr_state(x, vmx_intr_state(x) & ~INTR_NMI);
}

static void conv_timer(struct hv_vcpu *v, struct vm_exit *e)
{
	(void)e;
	vmx_restart_timer(v);
}

static void conv_sipi(struct hv_vcpu *v, struct vm_exit *e)
{
	(void)v;
	e->sipi.vector = (u8)e->hw_info1;
}

/* A reason that is not here, or comes from a control that we leave off, is HV_EXIT_UNKNOWN. */
/* clang-format off */
#define UNKNOWN	   {HV_EXIT_UNKNOWN, F_QUAL, NULL}
#define UD	   {HV_EXIT_UD_INSN, F_LEN, NULL}
#define INSN(code) {code, F_LEN, NULL}
static const struct exit_row rows[REASON_NR] = {
	[REASON_EXCEPTION_NMI] = {HV_EXIT_EXCEPTION, F_QUAL, conv_exception},
	[REASON_EXTINT] = {HV_EXIT_INTR, 0, NULL},
	[REASON_TRIPLE_FAULT] = {HV_EXIT_TRIPLE_FAULT, 0, NULL},
	[REASON_INIT] = {HV_EXIT_INIT, 0, NULL},
	[REASON_SIPI] = {HV_EXIT_SIPI, F_QUAL, conv_sipi},
	[REASON_IO_SMI ... REASON_OTHER_SMI] = UNKNOWN,
	[REASON_IRQ_WINDOW] = {HV_EXIT_IRQ_WINDOW, 0, NULL},
	[REASON_NMI_WINDOW] = {HV_EXIT_NMI_WINDOW, 0, NULL},
	[REASON_TASK_SWITCH] = {HV_EXIT_TASK_SWITCH, F_LEN | F_QUAL, conv_task_switch},
	[REASON_CPUID] = INSN(HV_EXIT_CPUID), [REASON_GETSEC] = UD,
	[REASON_HLT] = INSN(HV_EXIT_HLT), [REASON_INVD] = INSN(HV_EXIT_WBINVD),
	[REASON_INVLPG] = {HV_EXIT_INVLPG, F_LEN | F_QUAL, NULL},
	[REASON_RDPMC] = INSN(HV_EXIT_RDPMC), [REASON_RDTSC] = INSN(HV_EXIT_RDTSC),
	[REASON_RSM] = UD, [REASON_VMCALL] = INSN(HV_EXIT_HYPERCALL),
	[REASON_VMCLEAR ... REASON_VMXON] = UD,
	[REASON_CR] = {HV_EXIT_CR, F_LEN | F_QUAL, conv_cr},
	[REASON_MOV_DR] = {HV_EXIT_DR, F_LEN | F_QUAL, conv_dr},
	[REASON_IO] = {HV_EXIT_PIO, F_LEN | F_QUAL, conv_io},
	[REASON_RDMSR] = INSN(HV_EXIT_RDMSR), [REASON_WRMSR] = INSN(HV_EXIT_WRMSR),
	[REASON_ENTRY_GUEST_STATE] = {HV_EXIT_ENTRY_FAILED, F_QUAL, NULL},
	[REASON_ENTRY_MSR_LOAD] = {HV_EXIT_ENTRY_FAILED, F_QUAL, NULL}, [35] = UNKNOWN,
	[REASON_MWAIT] = INSN(HV_EXIT_MONITOR), [REASON_MTF] = UNKNOWN, [38] = UNKNOWN,
	[REASON_MONITOR] = INSN(HV_EXIT_MONITOR), [REASON_PAUSE] = INSN(HV_EXIT_PAUSE),
	[REASON_ENTRY_MCE] = {HV_EXIT_ENTRY_FAILED, F_QUAL, NULL}, [42] = UNKNOWN,
	[REASON_TPR] = {HV_EXIT_TPR, 0, NULL},
	[REASON_APIC_ACCESS ... REASON_VIRTUAL_EOI] = UNKNOWN,
	[REASON_GDTR_IDTR ... REASON_LDTR_TR] = {HV_EXIT_DESC, F_LEN | F_QUAL, NULL},
	/* EPT violations: the instruction length is not defined (28.2.5), the vmm decodes. */
	[REASON_EPT_VIOLATION] = {HV_EXIT_NPF, F_QUAL, conv_ept},
	[REASON_EPT_MISCONFIG] = {HV_EXIT_NPF, 0, conv_ept}, [REASON_INVEPT] = UD,
	[REASON_RDTSCP] = INSN(HV_EXIT_RDTSC), [REASON_PREEMPTION_TIMER] = {HV_EXIT_INTR, 0, conv_timer},
	[REASON_INVVPID] = UD, [REASON_WBINVD] = INSN(HV_EXIT_WBINVD),
	[REASON_XSETBV] = INSN(HV_EXIT_XSETBV),
	[REASON_APIC_WRITE ... REASON_INVPCID] = UNKNOWN,
	[REASON_VMFUNC ... REASON_ENCLS] = UD,
	[REASON_RDSEED ... REASON_PML_FULL] = UNKNOWN,
	[REASON_XSAVES ... REASON_PCONFIG] = UD, [REASON_SPP] = UNKNOWN,
	[REASON_UMWAIT ... REASON_ENCLV] = UD, [71] = UNKNOWN,
	[REASON_ENQCMD_PASID ... REASON_ENQCMDS_PASID] = UD,
	[REASON_BUS_LOCK ... REASON_NOTIFY] = UNKNOWN,
	[REASON_SEAMCALL ... REASON_TDCALL] = UD,
};
/* clang-format on */

/*
 * Two failures of an entry let it be tried again: a machine check, which is the host's; and an EIP beyond 32 bits, which
 * the CPU does not take (27.3.1.4) but Bochs 2.7 leaves where code outside 64-bit mode runs over the end of 4 GiB. The event
 * that was to be injected is still in its field (27.8): it goes back as one cut short.
 */
static void entry_failed(struct hv_vcpu *v, u32 basic, struct vm_exit *e)
{
	u32 info = (u32)vmread(VMCS_ENTRY_INTR_INFO);
	u64 rip = vmx_wrap_rip(v, v->rip);

	if (basic == REASON_ENTRY_MCE)
		__asm__ volatile("int $18" ::: "memory");
	else if (basic != REASON_ENTRY_GUEST_STATE || rip == v->rip)
		return;
	v->rip = rip;
	e->code = HV_EXIT_NONE;
	if (!(info & INFO_VALID))
		return;
	event_from_info(&e->interrupted, info, VMCS_ENTRY_ERROR_CODE, VMCS_ENTRY_INSN_LEN);
	vmwrite(VMCS_ENTRY_INTR_INFO, 0);
	vmx_of(v)->event_in = false;
}

void vmx_exit_convert(struct hv_vcpu *v, u32 reason, struct vm_exit *e)
{
	static const struct exit_row unknown = UNKNOWN;
	u32 basic = REASON_BASIC(reason);
	const struct exit_row *row = basic < REASON_NR ? &rows[basic] : &unknown;
	u32 info = (u32)vmread(VMCS_IDT_VECTORING_INFO);

	e->code = row->code;
	e->hw_reason = reason;
	e->hw_info1 = row->flags & F_QUAL ? vmread(VMCS_EXIT_QUALIFICATION) : 0;
	e->hw_info2 = 0;
	e->insn_len = row->flags & F_LEN ? (u8)vmread(VMCS_EXIT_INSN_LEN) : 0;
	e->interrupted.valid = 0;
	if (unlikely(reason & REASON_ENTRY_FAILED)) {
		entry_failed(v, basic, e);
		return;
	}
	/* What this exit cut short will be delivered again (28.2.4). */
	if (unlikely(info & INFO_VALID))
		event_from_info(&e->interrupted, info, VMCS_IDT_VECTORING_ERROR,
				VMCS_EXIT_INSN_LEN);
	if (row->convert)
		row->convert(v, e);
}
