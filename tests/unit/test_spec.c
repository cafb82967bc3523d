/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: arch/x86_64/spec.c */
/* What is done against speculation on CPUs that no emulator shows us. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/spec.h"

u32 nr_pcpus = 1;
bool rdmsr_safe(u32 msr, u64 *v);
bool rdmsr_safe(u32 msr, u64 *v)
{
	(void)msr;
	(void)v;
	return false;
}

static const struct {
	const char *cpu;
	struct spec_cpuid c;
	bool hw;
	struct spec_plan want;
} cpus[] = {
	{"before 2018, and emulators", {0}, false, {0}},
	{"Skylake, new microcode", /* vulnerable to all of it: IBRS anew after each exit */
	 {SPEC_7D_IBRS_IBPB | SPEC_7D_STIBP | SPEC_7D_SSBD | SPEC_7D_L1D_FLUSH | SPEC_7D_MD_CLEAR, 0, 0, 0},
	 false,
	 {SPEC_IBPB | SPEC_VERW | SPEC_L1D, SPEC_EXIT_CTRL | SPEC_EXIT_RSB, true, false, SPEC_CTRL_IBRS}},
	{"Cascade Lake: TAA remains",
	 {SPEC_7D_IBRS_IBPB | SPEC_7D_MD_CLEAR | SPEC_7D_L1D_FLUSH | SPEC_7D_ARCH_CAPS, 0, 0,
	  ARCH_CAPS_RDCL_NO | ARCH_CAPS_IBRS_ALL | ARCH_CAPS_SKIP_L1DFL | ARCH_CAPS_MDS_NO},
	 false,
	 {SPEC_IBPB | SPEC_VERW, SPEC_EXIT_RSB, true, false, SPEC_CTRL_IBRS}},
	{"Sapphire Rapids",
	 {SPEC_7D_IBRS_IBPB | SPEC_7D_MD_CLEAR | SPEC_7D_L1D_FLUSH | SPEC_7D_ARCH_CAPS, 0, 0,
	  ARCH_CAPS_RDCL_NO | ARCH_CAPS_IBRS_ALL | ARCH_CAPS_SKIP_L1DFL | ARCH_CAPS_MDS_NO |
		  ARCH_CAPS_TAA_NO | ARCH_CAPS_PBRSB_NO},
	 false,
	 {SPEC_IBPB, 0, true, false, SPEC_CTRL_IBRS}},
	{"Gracemont: RFDS",
	 {SPEC_7D_IBRS_IBPB | SPEC_7D_MD_CLEAR | SPEC_7D_ARCH_CAPS, 0, 0,
	  ARCH_CAPS_RDCL_NO | ARCH_CAPS_IBRS_ALL | ARCH_CAPS_MDS_NO | ARCH_CAPS_TAA_NO |
		  ARCH_CAPS_PBRSB_NO | ARCH_CAPS_RFDS_CLEAR},
	 false,
	 {SPEC_IBPB | SPEC_VERW, 0, true, false, SPEC_CTRL_IBRS}},
	{"Zen 1: IBPB alone", {0, SPEC_X8_IBPB, 0, 0}, false, {SPEC_IBPB, SPEC_EXIT_RSB, false, false, 0}},
	{"Zen 3: always-on IBRS, SPEC_CTRL switched by the CPU",
	 {0, SPEC_X8_IBPB | SPEC_X8_IBRS | SPEC_X8_STIBP | SPEC_X8_IBRS_ALWAYS_ON | SPEC_X8_SSBD, 0, 0},
	 true,
	 {SPEC_IBPB, SPEC_EXIT_RSB, false, false, SPEC_CTRL_IBRS}},
	{"Zen 4: Automatic IBRS",
	 {0, SPEC_X8_IBPB | SPEC_X8_IBRS | SPEC_X8_STIBP | SPEC_X8_SSBD, SPEC_X21_AUTO_IBRS, 0},
	 true,
	 {SPEC_IBPB, 0, false, true, 0}},
};

static void test_decide(void **state)
{
	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(cpus); i++) {
		struct spec_plan p = spec_decide(&cpus[i].c, cpus[i].hw);
		const struct spec_plan *w = &cpus[i].want;

		if (p.enter != w->enter || p.exit != w->exit || p.spec_ctrl != w->spec_ctrl ||
		    p.auto_ibrs != w->auto_ibrs || p.host_ctrl != w->host_ctrl)
			fail_msg("%s: enter %x exit %x ctrl %d auto %d host %llx", cpus[i].cpu, p.enter,
				 p.exit, p.spec_ctrl, p.auto_ibrs, (unsigned long long)p.host_ctrl);
	}
}

static void test_bits(void **state)
{
	(void)state;
	assert_int_equal(spec_ctrl_bits(0, 0), 0);
	assert_int_equal(spec_ctrl_bits(SPEC_7D_MD_CLEAR | SPEC_7D_ARCH_CAPS, SPEC_X8_IBPB), 0);
	assert_int_equal(spec_ctrl_bits(SPEC_7D_IBRS_IBPB, 0), 3);
	assert_int_equal(spec_ctrl_bits(SPEC_7D_SSBD, 0), 4);
	assert_int_equal(spec_ctrl_bits(0, SPEC_X8_IBRS), 1);
	assert_int_equal(spec_ctrl_bits(0, SPEC_X8_STIBP), 2);
	assert_int_equal(spec_ctrl_bits(0, SPEC_X8_SSBD | SPEC_X8_PSFD), 0x84);
	/* What a guest's ARCH_CAPABILITIES may show never names an MSR that it does not get. */
	assert_int_equal(ARCH_CAPS_GUEST & (BIT(7) | BIT(10) | BIT(11) | BIT(12) | BIT(18) | BIT(21) |
					    BIT(23) | BIT(25)), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_decide), cmocka_unit_test(test_bits)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
