/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest registers. What the guest sees of CR0 and CR4 is the read shadow in the bits that we own
 * and the register itself in the others (SDM vol. 3, 25.6.6); setting one keeps EFER.LMA and the
 * entry control "IA-32e mode guest" in step.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/vmx/vmx.h"
#include "arch/x86_64/x86.h"
#include "lib/string.h"

/* A change of these makes cached translations wrong; the CPU flushes only for MOV to CR itself. */
#define CR4_PAGING \
	(CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_LA57 | CR4_PKE)

#define TYPE_BUSY_TSS   11u
#define TYPE_BUSY_TSS16 3u

/* clang-format off */
static const u32 live_msrs[NR_LIVE_MSRS] = {
	[LIVE_STAR] = MSR_STAR, [LIVE_LSTAR] = MSR_LSTAR, [LIVE_CSTAR] = MSR_CSTAR,
	[LIVE_SFMASK] = MSR_SFMASK, [LIVE_KERNEL_GS_BASE] = MSR_KERNEL_GS_BASE,
	[LIVE_TSC_AUX] = MSR_TSC_AUX,
};
/* clang-format on */
static_assert(REG_KERNEL_GS_BASE - REG_STAR == LIVE_KERNEL_GS_BASE,
	      "live_msrs follows enum hv_reg");

/* LIVE_TSC_AUX is the last, and the one that may be missing. */
static unsigned nr_live(void)
{
	return vmx_caps.rdtscp ? NR_LIVE_MSRS : LIVE_TSC_AUX;
}

void vmx_live_msrs_load(struct vmx_vcpu *x)
{
	/* The vmm has checked the values; a restored one that the CPU refuses is worth no #GP of
	 * ours. */
	for (unsigned i = 0; i < nr_live(); i++)
		wrmsr_safe(live_msrs[i], x->live_msr[i]);
}

/* All, not only those that exit: SWAPGS changes KERNEL_GS_BASE, and the vmm may pass the others. */
void vmx_live_msrs_save(struct vmx_vcpu *x)
{
	for (unsigned i = 0; i < nr_live(); i++)
		x->live_msr[i] = rdmsr(live_msrs[i]);
}

static u64 live_get(struct hv_vcpu *v, unsigned i)
{
	return v->cpu && i < nr_live() ? rdmsr(live_msrs[i]) : vmx_of(v)->live_msr[i];
}

static void live_set(struct hv_vcpu *v, unsigned i, u64 val)
{
	if (!v->cpu || i >= nr_live() || wrmsr_safe(live_msrs[i], val))
		vmx_of(v)->live_msr[i] = val;
}

/* Registers that are read, and but for EFER written, as a VMCS field. */
/* clang-format off */
static const u16 fields[HV_NR_REGS] = {
	[REG_CR3] = VMCS_GUEST_CR3, [REG_DR7] = VMCS_GUEST_DR7, [REG_EFER] = VMCS_GUEST_EFER,
	[REG_PDPTE0] = VMCS_GUEST_PDPTE0, [REG_PDPTE1] = VMCS_GUEST_PDPTE0 + 2,
	[REG_PDPTE2] = VMCS_GUEST_PDPTE0 + 4, [REG_PDPTE3] = VMCS_GUEST_PDPTE0 + 6,
	[REG_SYSENTER_CS] = VMCS_GUEST_SYSENTER_CS, [REG_SYSENTER_ESP] = VMCS_GUEST_SYSENTER_ESP,
	[REG_SYSENTER_EIP] = VMCS_GUEST_SYSENTER_EIP,
	[REG_PAT] = VMCS_GUEST_PAT, [REG_DEBUGCTL] = VMCS_GUEST_DEBUGCTL,
};
/* clang-format on */

u64 vmx_get_reg(struct hv_vcpu *v, enum hv_reg r)
{
	struct vmx_vcpu *x = vmx_of(v);

	switch (r) {
	case REG_RAX ... REG_R15:
		return v->gpr[r];
	case REG_CR0:
		return (vmread(VMCS_GUEST_CR0) & ~VMX_CR0_OWNED) | (x->cr0_shadow & VMX_CR0_OWNED);
	case REG_CR4:
		return (vmread(VMCS_GUEST_CR4) & ~VMX_CR4_OWNED) | (x->cr4_shadow & VMX_CR4_OWNED);
	case REG_STAR ... REG_KERNEL_GS_BASE:
		return live_get(v, r - REG_STAR);
	case REG_TSC_AUX:
		return live_get(v, LIVE_TSC_AUX);
	case REG_SPEC_CTRL:
		return v->spec_ctrl;
	case REG_DR7:
		return x->debug & HV_DEBUG_DR ? x->dr7 : vmread(VMCS_GUEST_DR7);
	default:
		if (r >= HV_NR_REGS || !fields[r])
			panic("vmx: register %u does not exist", r);
		return vmread(fields[r]);
	}
}

/*
 * EFER in the VMCS, LMA computed; entry wants LMA, the IA-32e control, CR0.PG and LME to agree
 * (27.2.1.1, 27.3.1.1).
 */
static void guest_efer_write(struct vmx_vcpu *x, u64 efer)
{
	u64 old = vmread(VMCS_GUEST_EFER);
	bool lma = (efer & EFER_LME) && (x->cr0_shadow & CR0_PG);
	u32 entry = x->entry & ~(u32)ENTRY_IA32E_MODE;
	u64 tr;

	efer &= ~EFER_LMA;
	if (lma) {
		efer |= EFER_LMA;
		entry |= ENTRY_IA32E_MODE;
	}
	if (efer != old) {
		vmwrite(VMCS_GUEST_EFER, efer);
		x->flush_vpid = true;
	}
	if (entry == x->entry)
		return;
	x->entry = entry;
	vmwrite(VMCS_ENTRY_CTLS, entry);
	/* In IA-32e mode TR must be a 64-bit busy TSS (27.3.1.2); a 16-bit one may still be there.
	 */
	tr = vmread(vmcs_nth(VMCS_GUEST_ES_ATTR, SEG_TR));
	if (lma && (tr & 15) == TYPE_BUSY_TSS16)
		vmwrite(vmcs_nth(VMCS_GUEST_ES_ATTR, SEG_TR), (tr & ~15ul) | TYPE_BUSY_TSS);
}

static void guest_cr0_write(struct vmx_vcpu *x, u64 val)
{
	u64 real = (val | CR0_NE | CR0_ET) & ~(CR0_CD | CR0_NW);
	u64 old = vmread(VMCS_GUEST_CR0);

	if ((real ^ old) & (CR0_PG | CR0_WP | CR0_PE))
		x->flush_vpid = true;
	vmwrite(VMCS_GUEST_CR0, real);
	vmwrite(VMCS_CR0_SHADOW, val);
	x->cr0_shadow = val;
	guest_efer_write(x, vmread(VMCS_GUEST_EFER));
}

static void guest_cr4_write(struct vmx_vcpu *x, u64 val)
{
	u64 real = val | CR4_VMXE | CR4_MCE;

	if ((real ^ vmread(VMCS_GUEST_CR4)) & CR4_PAGING)
		x->flush_vpid = true;
	vmwrite(VMCS_GUEST_CR4, real);
	vmwrite(VMCS_CR4_SHADOW, val);
	x->cr4_shadow = val;
}

void vmx_set_reg(struct hv_vcpu *v, enum hv_reg r, u64 val)
{
	struct vmx_vcpu *x = vmx_of(v);

	switch (r) {
	case REG_RAX ... REG_R15:
		v->gpr[r] = val;
		return;
	case REG_CR0:
		guest_cr0_write(x, val);
		return;
	case REG_CR4:
		guest_cr4_write(x, val);
		return;
	case REG_EFER:
		guest_efer_write(x, val);
		return;
	case REG_STAR ... REG_KERNEL_GS_BASE:
		live_set(v, r - REG_STAR, val);
		return;
	case REG_TSC_AUX:
		live_set(v, LIVE_TSC_AUX, val);
		return;
	case REG_SPEC_CTRL:
		v->spec_ctrl = val;
		return;
	case REG_CR3:
		val &= ~CR3_NOFLUSH; /* that bit is MOV's, not CR3's */
		x->flush_vpid = true;
		break;
	case REG_DR7:
		val = (u32)val | DR7_FIXED; /* 63:32 must be 0 (27.3.1.1) */
		x->dr7 = val;
		if (x->debug & HV_DEBUG_DR)
			return;
		break;
	case REG_SYSENTER_CS:
		val = (u32)val;
		break;
	default:
		break;
	}
	if (r >= HV_NR_REGS || !fields[r])
		panic("vmx: register %u does not exist", r);
	vmwrite(fields[r], val);
}

void vmx_get_seg(struct hv_vcpu *v, enum hv_seg s, struct hv_segment *out)
{
	(void)v;
	memset(out, 0, sizeof(*out));
	if (s >= SEG_GDTR) {
		out->base = vmread(s == SEG_GDTR ? VMCS_GUEST_GDTR_BASE : VMCS_GUEST_IDTR_BASE);
		out->limit =
			(u32)vmread(s == SEG_GDTR ? VMCS_GUEST_GDTR_LIMIT : VMCS_GUEST_IDTR_LIMIT);
		return;
	}
	out->selector = (u16)vmread(vmcs_nth(VMCS_GUEST_ES_SELECTOR, s));
	out->base = vmread(vmcs_nth(VMCS_GUEST_ES_BASE, s));
	out->limit = (u32)vmread(vmcs_nth(VMCS_GUEST_ES_LIMIT, s));
	out->attr = (u32)vmread(vmcs_nth(VMCS_GUEST_ES_ATTR, s));
}

/*
 * Entry is stricter than the guest's own view (27.3.1.2): usable code and data segments must be
 * marked accessed, TR usable and busy, reserved bits clear, and G must fit the limit.
 */
static u32 entry_attr(enum hv_seg s, const struct hv_segment *in)
{
	u32 attr = in->attr & 0x1f0ff;

	if (s == SEG_TR) {
		attr &= ~(u32)SEG_ATTR_UNUSABLE;
		if ((attr & 15) != TYPE_BUSY_TSS16)
			attr = (attr & ~15u) | TYPE_BUSY_TSS;
		attr |= SEG_ATTR_P;
	} else if (!(attr & SEG_ATTR_P)) {
		return attr | SEG_ATTR_UNUSABLE;
	} else if (attr & SEG_ATTR_S) {
		attr |= 1;
	}
	if (in->limit >> 20)
		attr |= SEG_ATTR_G;
	else if ((in->limit & 0xfff) != 0xfff)
		attr &= ~(u32)SEG_ATTR_G;
	return attr;
}

void vmx_set_seg(struct hv_vcpu *v, enum hv_seg s, const struct hv_segment *in)
{
	(void)v;
	if (s >= SEG_GDTR) {
		vmwrite(s == SEG_GDTR ? VMCS_GUEST_GDTR_BASE : VMCS_GUEST_IDTR_BASE, in->base);
		vmwrite(s == SEG_GDTR ? VMCS_GUEST_GDTR_LIMIT : VMCS_GUEST_IDTR_LIMIT,
			in->limit & 0xffff);
		return;
	}
	vmwrite(vmcs_nth(VMCS_GUEST_ES_SELECTOR, s), in->selector);
	vmwrite(vmcs_nth(VMCS_GUEST_ES_BASE, s), in->base);
	vmwrite(vmcs_nth(VMCS_GUEST_ES_LIMIT, s), in->limit);
	vmwrite(vmcs_nth(VMCS_GUEST_ES_ATTR, s), entry_attr(s, in));
}

/* A step by TF has all exceptions exit, that none is delivered with it: vmx_step_entry(). */
void vmx_follow_debug(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	u32 flags = v->debug.flags;

	if (!(x->debug & HV_DEBUG_DR))
		x->dr7 = vmread(VMCS_GUEST_DR7);
	vmwrite(VMCS_GUEST_DR7, flags & HV_DEBUG_DR ? v->debug.dr7 : x->dr7);
	vmwrite(VMCS_EXCEPTION_BITMAP, flags & HV_DEBUG_STEP ? ~0u
				       : EXCEPTIONS_INTERCEPTED | (flags & HV_DEBUG_BP ? BIT(EXC_BP) : 0));
	x->proc &= ~(u32)PROC_MOV_DR;
	x->proc |= flags & HV_DEBUG_DR ? (u32)PROC_MOV_DR : 0;
	vmwrite(VMCS_PROC_CTLS, x->proc);
	x->step = flags & HV_DEBUG_STEP;
	x->stepped = false;
	x->debug = flags;
}

/* --- reset: SDM vol. 3, table 10-1 --- */

void vmx_reset_plain(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);

	memset(v->gpr, 0, sizeof(v->gpr));
	v->gpr[REG_RDX] = cpuid(1, 0).eax; /* the processor's signature */
	v->rip = 0xfff0;
	v->rflags = RFLAGS_FIXED;
	v->cr2 = 0;
	memset(v->dr, 0, sizeof(v->dr));
	v->dr6 = DR6_FIXED;
	v->tpr = 0;
	v->tpr_threshold = 0;
	v->spec_ctrl = 0;
	memset(x->live_msr, 0, sizeof(x->live_msr));
}

static void reset_segments(struct hv_vcpu *v)
{
	/* Real-mode data, read-write and accessed; code the same but executable. */
	struct hv_segment data = {.limit = 0xffff, .attr = SEG_ATTR_P | SEG_ATTR_S | 3};
	struct hv_segment code = {.limit = 0xffff, .attr = SEG_ATTR_P | SEG_ATTR_S | 11,
				  .base = 0xffff0000, .selector = 0xf000};
	struct hv_segment ldt = {.limit = 0xffff, .attr = SEG_ATTR_P | 2};
	struct hv_segment tss = {.limit = 0xffff, .attr = SEG_ATTR_P | TYPE_BUSY_TSS};

	for (enum hv_seg s = SEG_ES; s <= SEG_GS; s++)
		vmx_set_seg(v, s, s == SEG_CS ? &code : &data);
	vmx_set_seg(v, SEG_LDTR, &ldt);
	vmx_set_seg(v, SEG_TR, &tss);
	vmx_set_seg(v, SEG_GDTR, &data);
	vmx_set_seg(v, SEG_IDTR, &data);
}

void vmx_reset_vmcs(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);

	reset_segments(v);
	vmwrite(VMCS_GUEST_EFER, 0);
	guest_cr0_write(x, CR0_CD | CR0_NW | CR0_ET);
	guest_cr4_write(x, 0);
	vmwrite(VMCS_GUEST_CR3, 0);
	for (unsigned i = 0; i < 4; i++)
		vmwrite(vmcs_nth(VMCS_GUEST_PDPTE0, i), 0);
	vmx_set_reg(v, REG_DR7, DR7_FIXED);
	vmwrite(VMCS_GUEST_DEBUGCTL, 0);
	vmwrite(VMCS_GUEST_PAT, PAT_RESET);
	vmwrite(VMCS_GUEST_SYSENTER_CS, 0);
	vmwrite(VMCS_GUEST_SYSENTER_ESP, 0);
	vmwrite(VMCS_GUEST_SYSENTER_EIP, 0);
	vmwrite(VMCS_GUEST_INTERRUPTIBILITY, 0);
	vmwrite(VMCS_GUEST_ACTIVITY, 0); /* active: HLT exits, so the guest is never seen halted */
	vmwrite(VMCS_GUEST_PENDING_DEBUG, 0);
	vmwrite(VMCS_ENTRY_INTR_INFO, 0);
	x->event_in = false;
	x->intr_valid = false;
	x->flush_vpid = true;
}

void vmx_reset(struct hv_vcpu *v)
{
	vmx_reset_plain(v);
	vmx_reset_vmcs(v);
	vmx_request_windows(v, 0);
	vmx_live_msrs_load(vmx_of(v));
	fpu_load(v); /* the debug registers with it */
	vmx_of(v)->dr6 = v->dr6;
}

/* --- MSR bitmap, SDM 25.6.9: read low, read high, write low, write high, 1024 bytes each --- */

/* Those the guest may touch itself: in the VMCS or in live_msrs, or without state at all. */
static bool may_pass(u32 msr, bool write)
{
	switch (msr) {
	case MSR_SYSENTER_CS ... MSR_SYSENTER_EIP:
	case MSR_PAT:
	case MSR_STAR ... MSR_SFMASK: /* and LSTAR, CSTAR */
	case MSR_FS_BASE ... MSR_KERNEL_GS_BASE: /* and GS_BASE */
	case MSR_PRED_CMD:
	case MSR_FLUSH_CMD:
		return true;
	case MSR_TSC_AUX:
		return vmx_caps.rdtscp;
	case MSR_TSC: /* RDMSR adds the TSC offset (26.3); a write would move the host's */
		return !write;
	default:
		return false;
	}
}

void vmx_msr_pass(struct hv_vcpu *v, u32 msr, bool read, bool write)
{
	u8 *map = vmx_of(v)->msr_bitmap + (msr >> 31) * 1024;
	u32 byte = (msr & 0x1fff) / 8;
	u8 bit = (u8)(1u << (msr % 8));

	if (!may_pass(msr, false))
		return;
	map[byte] = read ? map[byte] & ~bit : map[byte] | bit;
	map += 2048;
	write = write && may_pass(msr, true);
	map[byte] = write ? map[byte] & ~bit : map[byte] | bit;
}

/* SS.DPL is the CPL; in V86 mode it is 3, in real mode 0 (SDM vol. 3, 25.4.1, 27.3.1.2). */
void vmx_get_paging(struct hv_vcpu *v, struct hv_paging *out)
{
	u32 cs = (u32)vmread(vmcs_nth(VMCS_GUEST_ES_ATTR, SEG_CS));
	bool plain;

	out->cr0 = vmread(VMCS_GUEST_CR0);
	out->cr3 = vmread(VMCS_GUEST_CR3);
	out->cr4 = vmread(VMCS_GUEST_CR4);
	out->efer = vmread(VMCS_GUEST_EFER);
	out->context = 0;
	plain = (out->cr0 & CR0_PE) && !(v->rflags & RFLAGS_VM);
	out->cpl = SEG_ATTR_DPL(vmread(vmcs_nth(VMCS_GUEST_ES_ATTR, SEG_SS)));
	if ((out->efer & EFER_LMA) && (cs & SEG_ATTR_L)) {
		out->code_base = 0;
		out->mode = 8;
	} else {
		out->code_base = vmread(vmcs_nth(VMCS_GUEST_ES_BASE, SEG_CS));
		out->mode = plain && (cs & SEG_ATTR_DB) ? 4 : 2;
	}
}

/* The CPU tells instruction lengths; this is for MMIO, and reads no less than get_paging(). */
bool vmx_same_code(struct hv_vcpu *v, const struct hv_paging *p)
{
	struct hv_paging now;

	vmx_get_paging(v, &now);
	return now.cr3 == p->cr3 && now.cr0 == p->cr0 && now.cr4 == p->cr4 && now.efer == p->efer &&
	       now.mode == p->mode && now.cpl == p->cpl && now.code_base == p->code_base;
}
