/* SPDX-License-Identifier: BSD-2-Clause */
/* Events into the guest: injection, windows, interruptibility (SDM vol. 3, 25.8.3, 27.3, 27.6). */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/vmx/vmx.h"
#include "arch/x86_64/x86.h"

u32 vmx_intr_state(struct vmx_vcpu *x)
{
	if (!x->intr_valid) {
		x->intr_state = (u32)vmread(VMCS_GUEST_INTERRUPTIBILITY);
		x->intr_valid = true;
	}
	return x->intr_state;
}

void vmx_set_intr_state(struct vmx_vcpu *x, u32 state)
{
	if (vmx_intr_state(x) == state)
		return;
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, state);
	x->intr_state = state;
}

/*
 * Debug traps of a MOV SS wait in their own field while its shadow lasts (SDM vol. 3,
 * 25.4.2): the emulated instruction ended it, and they come together with its own.
 */
static void take_pending_debug(struct hv_vcpu *v)
{
	u64 pending = vmread(VMCS_GUEST_PENDING_DEBUG);

	if (!pending)
		return;
	vmx_follow_dr6(v, read_dr6());
	v->pending_db |= pending & (DR6_B0_B3 | DR6_BS);
	vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
}

u64 vmx_wrap_rip(struct hv_vcpu *v, u64 rip)
{
	u64 cs = vmread(vmcs_nth(VMCS_GUEST_ES_ATTR, SEG_CS));

	return vmx_of(v)->entry & ENTRY_IA32E_MODE && cs & SEG_ATTR_L ? rip : (u32)rip;
}

void vmx_advance(struct hv_vcpu *v, unsigned len)
{
	struct vmx_vcpu *x = vmx_of(v);
	u64 rip = v->rip + len;

	/* Only an address that crosses 4 GiB needs to know the mode. */
	if (unlikely((v->rip ^ rip) >> 32))
		rip = vmx_wrap_rip(v, rip);
	v->rip = rip;
	v->rflags &= ~RFLAGS_RF; /* a completed instruction clears it (SDM 18.3.1.1) */
	if (unlikely(vmx_intr_state(x) & (INTR_STI | INTR_MOVSS))) {
		take_pending_debug(v);
		vmx_set_intr_state(x, x->intr_state & ~(INTR_STI | INTR_MOVSS));
	}
	/* Guests cannot set DEBUGCTL.BTF, so each instruction is a step. */
	if (unlikely(v->rflags & RFLAGS_TF))
		v->pending_db |= DR6_BS;
}

/*
 * HV_DEBUG_STEP, right before entry: TF for one instruction. (The monitor trap flag would need no care, but Bochs
 * has none, and nothing should run that no machine at hand can.) An event comes first: an interrupt to ourselves,
 * pending at entry, makes the guest leave before its handler's first instruction.
 */
void vmx_step_entry(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	u32 state = vmx_intr_state(x);

	x->stepped = !x->event_in;
	x->step_tf = false;
	x->step_guest_tf = v->rflags & RFLAGS_TF;
	if (x->event_in) {
		ipi_send(this_cpu()->index, VEC_KICK);
		return;
	}
	v->rflags |= RFLAGS_TF;
	/* In a shadow entry wants a pending trap to go with TF (27.3.1.5). That of MOV SS holds it off until the
	 * instruction is done, that of STI would not: it goes, since nothing is injected now. */
	vmx_set_intr_state(x, state & ~(u32)INTR_STI);
	if (state & INTR_MOVSS)
		vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) | DR6_BS);
}

/* TF is set at an exit: if it is ours, and all that hangs on it, nobody is to see it. */
void vmx_step_exit(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);

	if (!x->step || !x->stepped || x->step_guest_tf)
		return;
	x->step_tf = true;
	v->rflags &= ~RFLAGS_TF;
	/* As put there for a shadow; and Bochs 2.7 saves it with any exit under TF. */
	vmwrite(VMCS_GUEST_PENDING_DEBUG, vmread(VMCS_GUEST_PENDING_DEBUG) & ~DR6_BS);
}

/*
 * "Deliver error code" is not the caller's choice: entry wants it set for the vectors that have
 * one in protected mode, and clear otherwise, unless IA32_VMX_BASIC[56] (SDM 27.2.1.3).
 */
static bool wants_error(const struct hv_event *ev)
{
	const u64 always = BIT(EXC_DF) | BIT(EXC_TS) | BIT(EXC_NP) | BIT(EXC_SS) | BIT(EXC_GP) |
			   BIT(EXC_PF) | BIT(EXC_AC);

	if (ev->type != HV_EV_EXC || !(vmread(VMCS_GUEST_CR0) & CR0_PE))
		return false;
	if (vmx_caps.basic & BASIC_ERROR_CODE)
		return ev->has_error;
	return ev->vector < 32 && (always >> ev->vector & 1);
}

void vmx_inject(struct hv_vcpu *v, const struct hv_event *ev)
{
	struct vmx_vcpu *x = vmx_of(v);
	u32 info = ev->vector | (u32)ev->type << INFO_TYPE_SHIFT | (u32)INFO_VALID;
	u32 clear = INTR_STI | INTR_MOVSS;

	ASSERT(!x->event_in);
	/*
	 * Delivery ends a shadow. Entry would refuse interrupts and NMIs in one (27.3.1.5), and for
	 * the rest it would want pending debug exceptions to agree with RFLAGS.TF. An NMI whose
	 * delivery was cut short left NMIs blocked, and cannot be injected again like that.
	 */
	if (ev->type == HV_EV_NMI)
		clear |= INTR_NMI;
	vmx_set_intr_state(x, vmx_intr_state(x) & ~clear);
	if (wants_error(ev)) {
		info |= INFO_ERROR;
		vmwrite(VMCS_ENTRY_ERROR_CODE, ev->error & 0xffff); /* 31:16 must be 0 */
	}
	if (ev->type >= HV_EV_SWINT)
		vmwrite(VMCS_ENTRY_INSN_LEN, ev->insn_len);
	vmwrite(VMCS_ENTRY_INTR_INFO, info);
	x->event_in = true;
}

u32 vmx_windows(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	u32 state, open = 0;

	if (x->event_in)
		return 0;
	state = vmx_intr_state(x);
	if ((v->rflags & RFLAGS_IF) && !(state & (INTR_STI | INTR_MOVSS)))
		open |= HV_WIN_IRQ;
	/* Some processors block NMIs in the shadow of STI as well (27.3.1.5). */
	if (!(state & (INTR_STI | INTR_MOVSS | INTR_NMI)))
		open |= HV_WIN_NMI;
	return open;
}

#define PENDING_DEBUG_ALL (DR6_B0_B3 | BIT(12) | DR6_BS | BIT(16)) /* table 25-4 */

void vmx_get_pending(struct hv_vcpu *v, struct hv_pending *out)
{
	u32 state = vmx_intr_state(vmx_of(v));

	*out = (struct hv_pending){.debug = vmread(VMCS_GUEST_PENDING_DEBUG)};
	out->blocking = (state & INTR_STI ? HV_BLOCK_STI : 0) |
			(state & INTR_MOVSS ? HV_BLOCK_MOVSS : 0) |
			(state & INTR_NMI ? HV_BLOCK_NMI : 0);
}

void vmx_set_pending(struct hv_vcpu *v, const struct hv_pending *in)
{
	vmx_set_intr_state(vmx_of(v), (in->blocking & HV_BLOCK_STI ? INTR_STI : 0) |
					      (in->blocking & HV_BLOCK_MOVSS ? INTR_MOVSS : 0) |
					      (in->blocking & HV_BLOCK_NMI ? INTR_NMI : 0));
	vmwrite(VMCS_GUEST_PENDING_DEBUG, in->debug & PENDING_DEBUG_ALL);
}

void vmx_request_windows(struct hv_vcpu *v, u32 windows)
{
	struct vmx_vcpu *x = vmx_of(v);
	u32 proc = x->proc & ~(u32)(PROC_IRQ_WINDOW | PROC_NMI_WINDOW);

	if (windows & HV_WIN_IRQ)
		proc |= PROC_IRQ_WINDOW;
	if (windows & HV_WIN_NMI)
		proc |= PROC_NMI_WINDOW;
	if (proc == x->proc)
		return;
	x->proc = proc;
	vmwrite(VMCS_PROC_CTLS, proc);
}
