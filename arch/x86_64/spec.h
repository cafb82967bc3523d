/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one place for what is done against speculation across the border of a guest. Both
 * backends call it: spec_cpu_init() from cpu_enable, spec_vcpu_load() from load, spec_vcpu_gone()
 * from vcpu_destroy, spec_enter() right before the entry stub, and the stub's spec_after_exit
 * (spec.inc) before its first RET. What is needed is worked out once, from what the CPU enumerates.
 */
#pragma once
#include "arch/x86_64/hv.h"
#include "arch/x86_64/x86.h"

/* CPUID 7.0 EDX */
#define SPEC_7D_MD_CLEAR  BIT(10)
#define SPEC_7D_IBRS_IBPB BIT(26)
#define SPEC_7D_STIBP	  BIT(27)
#define SPEC_7D_L1D_FLUSH BIT(28)
#define SPEC_7D_ARCH_CAPS BIT(29)
#define SPEC_7D_SSBD	  BIT(31)
/* CPUID 8000_0008 EBX */
#define SPEC_X8_IBPB	       BIT(12)
#define SPEC_X8_IBRS	       BIT(14)
#define SPEC_X8_STIBP	       BIT(15)
#define SPEC_X8_IBRS_ALWAYS_ON BIT(16)
#define SPEC_X8_SSBD	       BIT(24)
#define SPEC_X8_PSFD	       BIT(28)
/* CPUID 8000_0021 EAX */
#define SPEC_X21_AUTO_IBRS BIT(8)
/* IA32_ARCH_CAPABILITIES */
#define ARCH_CAPS_RDCL_NO    BIT(0)
#define ARCH_CAPS_IBRS_ALL   BIT(1)
#define ARCH_CAPS_SKIP_L1DFL BIT(3)
#define ARCH_CAPS_MDS_NO     BIT(5)
#define ARCH_CAPS_TAA_NO     BIT(8)
#define ARCH_CAPS_PBRSB_NO   BIT(24)
#define ARCH_CAPS_RFDS_CLEAR BIT(28)
/* Those that speak of the CPU's immunity; the others announce MSRs that guests do not get: TSX_CTRL,
 * MISC_PACKAGE_CTLS, ENERGY_FILTERING, DOITM, MCU_*, FB_CLEAR_CTRL, XAPIC_DISABLE, OVERCLOCKING. */
#define ARCH_CAPS_GUEST                                                                            \
	(0x3full | BIT(6) | BIT(8) | BIT(13) | BIT(14) | BIT(15) | BIT(17) | BIT(19) | BIT(20) |   \
	 BIT(24) | BIT(26) | BIT(27) | BIT(28))

struct spec_cpuid {
	u32 f7_edx, x8_ebx, x21_eax;
	u64 arch_caps;
};
enum { SPEC_IBPB = 1, SPEC_VERW = 2, SPEC_L1D = 4 };	/* spec_plan.enter */
enum { SPEC_EXIT_CTRL = 1, SPEC_EXIT_RSB = 2 };	/* spec_plan.exit; spec.inc */
struct spec_plan {
	u8 enter; /* at a vCPU's load (IBPB), at each entry */
	u8 exit;  /* at each exit */
	bool spec_ctrl; /* IA32_SPEC_CTRL is there, and we must switch it */
	bool auto_ibrs; /* EFER.AIBRSE is to be set */
	u64 host_ctrl;	/* SPEC_CTRL while we run */
};

/* Pure: what a CPU that enumerates this needs. hw: it switches SPEC_CTRL itself
 * (APM vol. 2, ch. 15, "SPEC_CTRL virtualization"; ours and the guest's are then ORed). */
struct spec_plan spec_decide(const struct spec_cpuid *c, bool hw);
/* The bits of SPEC_CTRL that exist; 0: the MSR does not. Of the host, or of a guest's CPUID. */
static inline u64 spec_ctrl_bits(u32 f7_edx, u32 x8_ebx)
{
	u64 bits = 0;

	/* Where IBRS is, STIBP may be written: it is ignored (SDM vol. 4, table 2-2). */
	if (f7_edx & (SPEC_7D_IBRS_IBPB | SPEC_7D_STIBP))
		bits |= SPEC_CTRL_IBRS | SPEC_CTRL_STIBP;
	bits |= x8_ebx & SPEC_X8_IBRS ? SPEC_CTRL_IBRS : 0;
	bits |= x8_ebx & SPEC_X8_STIBP ? SPEC_CTRL_STIBP : 0;
	bits |= f7_edx & SPEC_7D_SSBD || x8_ebx & SPEC_X8_SSBD ? SPEC_CTRL_SSBD : 0;
	return bits | (x8_ebx & SPEC_X8_PSFD ? SPEC_CTRL_PSFD : 0);
}

/* This pCPU's. -ENOSYS: it has other controls than the boot CPU, so stays out. */
int spec_cpu_init(bool hw, char *why, size_t n);
/* Another vCPU than the last one on this pCPU: its branch predictions are not for this one. */
void spec_vcpu_load(const struct hv_vcpu *v);
/* v's memory will be freed: a later vCPU at the same address is another one. Not loaded. */
void spec_vcpu_gone(const struct hv_vcpu *v);

extern bool spec_enter_needed; /* there is something to do at entries or exits */
void spec_enter_slow(struct hv_vcpu *v);
/* Before each entry: SPEC_CTRL, L1D (L1TF), and buffers that the guest could sample (VERW). */
static inline void spec_enter(struct hv_vcpu *v)
{
	if (unlikely(spec_enter_needed))
		spec_enter_slow(v);
}
