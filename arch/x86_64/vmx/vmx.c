/* SPDX-License-Identifier: BSD-2-Clause */
/* Intel VT-x behind struct hv_ops: probe and entry. The other operations: see vmx.h. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/pt.h"
#include "arch/x86_64/spec.h"
#include "arch/x86_64/vmx/vmx.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"

/* vmx_entry.asm relies on these. */
static_assert(offsetof(struct hv_vcpu, gpr) == 0 && REG_R15 == 15, "vmx_run takes gpr[]");
static_assert(REG_RCX == 1 && REG_RDX == 2 && REG_RBX == 3 && REG_RBP == 5 && REG_RSI == 6 &&
		      REG_RDI == 7 && REG_R8 == 8,
	      "gpr[] is in encoding order");
static_assert(VMCS_HOST_RSP == 0x6c14, "vmx_entry.asm writes it");

/* Bits of RFLAGS that exist; entry refuses others (27.3.1.4). */
#define RFLAGS_VALID 0x3f7fd7ul

void vmx_vmcs_fault(enum vmcs_field f, u64 val)
{
	panic("vmx: VMWRITE of 0x%lx to field 0x%x failed", val, (unsigned)f);
}

static int vmx_probe(char *why, size_t n)
{
	int r;

	if (!(cpuid(1, 0).ecx & BIT(5))) {
		snprintf(why, n,
			 "this CPU does not report Intel VT-x (CPUID.1:ECX.VMX is 0); enable it "
			 "in the firmware's setup or use a CPU that has it");
		return -ENODEV;
	}
	r = vmx_feature_control_check(why, n);
	return r ? r : vmx_caps_init(why, n);
}

static void flush_before_entry(struct hv_vcpu *v, struct vmx_vcpu *x)
{
	/* INVEPT drops combined mappings as well, whatever the VPID (29.4.3.1). */
	if (x->flush_ept && !invept(INV_SINGLE, x->eptp))
		panic("vmx: INVEPT of 0x%lx failed (vCPU %u)", x->eptp, v->id);
	if (x->flush_vpid && !invvpid(INV_SINGLE, x->vpid))
		panic("vmx: INVVPID of %u failed (vCPU %u)", x->vpid, v->id);
	x->flush_ept = x->flush_vpid = false;
}

/*
 * CR8 lives in the virtual-APIC page. The threshold must not be above it (27.2.1.1): when CR8 is
 * already below, there is no fall to wait for.
 */
static void sync_tpr(const struct hv_vcpu *v, struct vmx_vcpu *x)
{
	u32 threshold = MIN(v->tpr_threshold, v->tpr);

	if (!(x->proc & PROC_TPR_SHADOW))
		return;
	*x->vtpr = (u32)v->tpr << 4;
	if (threshold == x->tpr_threshold)
		return;
	vmwrite(VMCS_TPR_THRESHOLD, threshold);
	x->tpr_threshold = threshold;
}

/* Write what the vmm changed since the exit, and nothing else. */
static void sync_to_guest(struct hv_vcpu *v, struct vmx_vcpu *x)
{
	if (unlikely(x->flush_ept | x->flush_vpid | x->step)) {
		flush_before_entry(v, x);
		if (x->step)
			vmx_step_entry(v);
	}
	if (v->rip != x->rip)
		vmwrite(VMCS_GUEST_RIP, v->rip);
	if (v->gpr[REG_RSP] != x->rsp)
		vmwrite(VMCS_GUEST_RSP, v->gpr[REG_RSP]);
	if (v->rflags != x->rflags)
		vmwrite(VMCS_GUEST_RFLAGS, (v->rflags & RFLAGS_VALID) | RFLAGS_FIXED);
	if (v->cr2 != x->cr2)
		write_cr2(v->cr2);
	if (v->dr6 != x->dr6) {
		write_dr6(v->dr6);
		x->dr6 = v->dr6;
	}
	sync_tpr(v, x);
}

#define SHUT_EXITS 512 /* some 10 ms of Bochs */

static void sync_from_guest(struct hv_vcpu *v, struct vmx_vcpu *x)
{
	v->rip = x->rip = vmread(VMCS_GUEST_RIP);
	v->gpr[REG_RSP] = x->rsp = vmread(VMCS_GUEST_RSP);
	v->rflags = x->rflags = vmread(VMCS_GUEST_RFLAGS);
	v->cr2 = x->cr2 = read_cr2();
	if (unlikely(!(v->rflags & RFLAGS_IF)) && unlikely(++x->shut_exits % SHUT_EXITS == 0))
		vmx_end_timer(v); /* see vmx_restart_timer() */
	if (unlikely(v->rflags & RFLAGS_TF)) { /* advance() may owe a single step */
		vmx_follow_dr6(v, read_dr6());
		vmx_step_exit(v);
	}
	if (x->proc & PROC_TPR_SHADOW)
		v->tpr = *x->vtpr >> 4 & 15;
}

/* VMfail: the CPU refused before it looked at the guest. Control fields or host state are wrong. */
static void entry_refused(struct vm_exit *exit, int failed)
{
	memset(exit, 0, sizeof(*exit));
	exit->code = HV_EXIT_ENTRY_FAILED;
	exit->hw_reason = ~0u;
	exit->hw_info1 = failed == VMX_FAIL_VALID ? vmread(VMCS_INSTRUCTION_ERROR) : 0;
	log_err("vmx: VM entry refused, VM-instruction error %lu (SDM table 31-1)", exit->hw_info1);
}

static void vmx_enter(struct hv_vcpu *v, struct vm_exit *exit)
{
	struct vmx_vcpu *x = vmx_of(v);
	u32 reason;
	int failed;

	sync_to_guest(v, x);
	spec_enter(v);
	failed = vmx_run(v->gpr, v->launched, &x->host_rsp);
	x->intr_valid = false;
	if (unlikely(failed)) {
		entry_refused(exit, failed);
		return;
	}
	reason = (u32)vmread(VMCS_EXIT_REASON);
	sync_from_guest(v, x);
	if (likely(!(reason & REASON_ENTRY_FAILED))) {
		/* A failed entry leaves the launch state and the event's field alone (27.8). */
		v->launched = 1;
		x->event_in = false;
	}
	vmx_exit_convert(v, reason, exit);
}

static void vmx_flush_nested(struct hv_vcpu *v)
{
	vmx_of(v)->flush_ept = true;
}

/* clang-format off */
struct hv_ops vmx_ops = {
	.name = "vmx", .desc = "Intel VT-x (VMX, EPT)", .nested_format = &pt_ept_format,
	.probe = vmx_probe, .cpu_enable = vmx_cpu_enable, .cpu_disable = vmx_cpu_disable,
	.vcpu_create = vmx_vcpu_create, .vcpu_destroy = vmx_vcpu_destroy,
	.reset = vmx_reset, .load = vmx_load, .put = vmx_put, .enter = vmx_enter,
	.get_reg = vmx_get_reg, .set_reg = vmx_set_reg, .same_code = vmx_same_code,
	.get_paging = vmx_get_paging, .get_seg = vmx_get_seg, .set_seg = vmx_set_seg,
	.advance = vmx_advance, .inject = vmx_inject, .windows = vmx_windows,
	.request_windows = vmx_request_windows,
	.get_pending = vmx_get_pending, .set_pending = vmx_set_pending,
	.flush_nested = vmx_flush_nested, .msr_pass = vmx_msr_pass,
	.set_tsc = vmx_set_tsc,
};
/* clang-format on */
