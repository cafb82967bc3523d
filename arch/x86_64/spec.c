/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Speculation: see spec.h. Intel SDM vol. 2 CPUID and vol. 4, Intel's "Speculative Execution Side
 * Channel Mitigations"; AMD's "Software Techniques for Managing Speculation", APM vol. 2, 3.2.9.
 *
 * Our own indirect branches are plain ones, not retpolines, so they want IBRS while we run. Where
 * IBRS is of the enhanced kind (IBRS_ALL, "always on", Automatic IBRS) it is set once and SPEC_CTRL
 * is written only for a guest whose value differs from ours. The older kind acts from the moment
 * it is written after an exit, so it is written after each.
 */
#include "arch/x86_64/spec.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"

#define FLUSH_CMD_L1D BIT(0)

static_assert(offsetof(struct hv_vcpu, spec_exit) == 203 && SPEC_EXIT_CTRL == 1, "spec.inc");

bool spec_enter_needed;
u64 spec_host_ctrl; /* plan.host_ctrl, where spec.inc finds it */
static struct spec_plan plan;
static u64 enumerated; /* the boot CPU's SPEC_CTRL bits, and above them which commands exist */
static bool known;
static const struct hv_vcpu *last[MAX_PCPUS];

struct spec_plan spec_decide(const struct spec_cpuid *c, bool hw)
{
	bool ibrs = c->f7_edx & SPEC_7D_IBRS_IBPB || c->x8_ebx & SPEC_X8_IBRS;
	bool ibpb = c->f7_edx & SPEC_7D_IBRS_IBPB || c->x8_ebx & SPEC_X8_IBPB;
	bool enhanced = c->arch_caps & ARCH_CAPS_IBRS_ALL || c->x8_ebx & SPEC_X8_IBRS_ALWAYS_ON;
	struct spec_plan p = {.auto_ibrs = c->x21_eax & SPEC_X21_AUTO_IBRS};

	p.enter |= ibpb ? SPEC_IBPB : 0;
	if ((c->f7_edx & SPEC_7D_MD_CLEAR) &&
	    (!(c->arch_caps & ARCH_CAPS_MDS_NO) || !(c->arch_caps & ARCH_CAPS_TAA_NO) ||
	     c->arch_caps & ARCH_CAPS_RFDS_CLEAR))
		p.enter |= SPEC_VERW;
	if ((c->f7_edx & SPEC_7D_L1D_FLUSH) &&
	    !(c->arch_caps & (ARCH_CAPS_RDCL_NO | ARCH_CAPS_SKIP_L1DFL)))
		p.enter |= SPEC_L1D;
	p.spec_ctrl = !hw && spec_ctrl_bits(c->f7_edx, c->x8_ebx);
	if (p.auto_ibrs) /* it also clears the return predictor at exits (APM vol. 2, 3.1.7) */
		return p;
	if (ibrs) {
		p.host_ctrl = SPEC_CTRL_IBRS;
		p.exit |= enhanced ? 0 : SPEC_EXIT_CTRL;
	}
	/* A return behind the exit must not be predicted from the guest's calls. */
	if (ibpb && !(enhanced && c->arch_caps & ARCH_CAPS_PBRSB_NO))
		p.exit |= SPEC_EXIT_RSB;
	return p;
}

static struct spec_cpuid read_cpuid(void)
{
	struct spec_cpuid c = {0};
	u32 max = cpuid(0x80000000, 0).eax;

	if (cpuid(0, 0).eax >= 7)
		c.f7_edx = cpuid(7, 0).edx;
	if (max >= 0x80000008)
		c.x8_ebx = cpuid(0x80000008, 0).ebx;
	if (max >= 0x80000021)
		c.x21_eax = cpuid(0x80000021, 0).eax;
	if ((c.f7_edx & SPEC_7D_ARCH_CAPS) && !rdmsr_safe(MSR_ARCH_CAPABILITIES, &c.arch_caps))
		c.arch_caps = 0;
	return c;
}

int spec_cpu_init(bool hw, char *why, size_t n)
{
	struct spec_cpuid c = read_cpuid();
	struct spec_plan p = spec_decide(&c, hw);
	u64 bits = spec_ctrl_bits(c.f7_edx, c.x8_ebx) |
		   (u64)(p.enter & (SPEC_IBPB | SPEC_L1D)) << 32 | (u64)p.auto_ibrs << 40;

	if (known && bits != enumerated) {
		snprintf(why, n,
			 "its speculation controls (SPEC_CTRL, IBPB, L1D flush) differ from the "
			 "boot CPU's: update the firmware or its microcode");
		return -ENOSYS;
	}
	if (!known) {
		known = true;
		enumerated = bits;
		plan = p;
		spec_host_ctrl = p.host_ctrl;
	}
	/* CPUs of two kinds in one machine: what either needs is done on both. */
	plan.enter |= p.enter;
	plan.exit |= p.exit;
	if (p.auto_ibrs)
		wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_AUTOIBRS);
	if (spec_ctrl_bits(c.f7_edx, c.x8_ebx))
		wrmsr(MSR_SPEC_CTRL, plan.host_ctrl);
	if (plan.spec_ctrl || plan.exit || plan.enter & (SPEC_VERW | SPEC_L1D))
		spec_enter_needed = true;
	return 0;
}

void spec_vcpu_load(const struct hv_vcpu *v)
{
	u32 i = this_cpu()->index;

	if (READ_ONCE(last[i]) == v)
		return;
	WRITE_ONCE(last[i], v);
	if (plan.enter & SPEC_IBPB)
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

void spec_enter_slow(struct hv_vcpu *v)
{
	v->spec_exit = plan.exit;
	if (plan.spec_ctrl && v->spec_ctrl != plan.host_ctrl) {
		v->spec_exit |= SPEC_EXIT_CTRL;
		wrmsr(MSR_SPEC_CTRL, v->spec_ctrl);
	}
	if (plan.enter & SPEC_L1D)
		wrmsr(MSR_FLUSH_CMD, FLUSH_CMD_L1D);
	if (plan.enter & SPEC_VERW) {
		/* Any writable data selector; with MD_CLEAR it also overwrites the buffers. */
		static const u16 selector = KERNEL_DS;

		__asm__ volatile("verw %0" ::"m"(selector) : "cc");
	}
}
