/* SPDX-License-Identifier: BSD-2-Clause */
/* Speculation: see spec.h. Intel SDM vol. 2 CPUID, AMD's "Indirect Branch Control Extension". */
#include "arch/x86_64/spec.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/x86.h"

#define CPUID_7_EDX_MD_CLEAR	BIT(10)
#define CPUID_7_EDX_IBRS_IBPB	BIT(26)
#define CPUID_7_EDX_L1D_FLUSH	BIT(28)
#define CPUID_7_EDX_ARCH_CAPS	BIT(29)
#define CPUID_X8_EBX_IBPB	BIT(12) /* leaf 8000_0008 */
#define ARCH_CAPS_RDCL_NO	BIT(0)
#define ARCH_CAPS_SKIP_L1DFL	BIT(3)
#define ARCH_CAPS_MDS_NO	BIT(5)
#define ARCH_CAPS_TAA_NO	BIT(8)
#define FLUSH_CMD_L1D		BIT(0)

enum { NEED_IBPB = 1, NEED_VERW = 2, NEED_L1D = 4 };

bool spec_enter_needed;
static u8 needs[MAX_PCPUS];
static const struct hv_vcpu *last[MAX_PCPUS];

void spec_cpu_init(void)
{
	u64 arch_caps = 0;
	u32 edx = 0;
	u8 need = 0;

	if (cpuid(0, 0).eax >= 7)
		edx = cpuid(7, 0).edx;
	if ((edx & CPUID_7_EDX_ARCH_CAPS) && !rdmsr_safe(MSR_ARCH_CAPABILITIES, &arch_caps))
		arch_caps = 0;
	if ((edx & CPUID_7_EDX_IBRS_IBPB) ||
	    (cpuid(0x80000000, 0).eax >= 0x80000008 &&
	     (cpuid(0x80000008, 0).ebx & CPUID_X8_EBX_IBPB)))
		need |= NEED_IBPB;
	if ((edx & CPUID_7_EDX_MD_CLEAR) &&
	    !((arch_caps & ARCH_CAPS_MDS_NO) && (arch_caps & ARCH_CAPS_TAA_NO)))
		need |= NEED_VERW;
	if ((edx & CPUID_7_EDX_L1D_FLUSH) &&
	    !(arch_caps & (ARCH_CAPS_RDCL_NO | ARCH_CAPS_SKIP_L1DFL)))
		need |= NEED_L1D;
	needs[this_cpu()->index] = need;
	if (need & (NEED_VERW | NEED_L1D))
		spec_enter_needed = true;
}

void spec_vcpu_load(const struct hv_vcpu *v)
{
	u32 i = this_cpu()->index;

	if (READ_ONCE(last[i]) == v)
		return;
	WRITE_ONCE(last[i], v);
	if (needs[i] & NEED_IBPB)
		wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
}

void spec_vcpu_gone(const struct hv_vcpu *v)
{
	/* v runs nowhere, so a pCPU that changes its entry meanwhile does not change it to v. */
	for (u32 i = 0; i < nr_pcpus; i++) {
		const struct hv_vcpu *expected = v;

		__atomic_compare_exchange_n(&last[i], &expected, NULL, false, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED);
	}
}

void spec_enter_slow(void)
{
	u8 need = needs[this_cpu()->index];

	if (need & NEED_L1D)
		wrmsr(MSR_FLUSH_CMD, FLUSH_CMD_L1D);
	if (need & NEED_VERW) {
		/* Any writable data selector; with MD_CLEAR it also overwrites the buffers. */
		static const u16 selector = KERNEL_DS;

		__asm__ volatile("verw %0" ::"m"(selector) : "cc");
	}
}
