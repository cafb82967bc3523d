/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: arch/x86_64/mtrr.c */
/* Memory types from MTRRs as firmware sets them up, and against a slow model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "arch/x86_64/mtrr.h"
#include "arch/x86_64/x86.h"

static u64 regs[0x300], syscfg, tom2;
static bool none;
static struct mtrr m;
static u64 seed = 88172645463325252ull;

bool rdmsr_safe(u32 msr, u64 *v);
bool rdmsr_safe(u32 msr, u64 *v)
{
	if (none)
		return false;
	*v = msr == MSR_SYSCFG ? syscfg : msr == 0xc001001d ? tom2 : msr < 0x300 ? regs[msr] : 0;
	return msr < 0x300 || msr == MSR_SYSCFG || msr == 0xc001001d;
}

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static int start(void **state)
{
	(void)state;
	memset(regs, 0, sizeof(regs));
	none = false;
	syscfg = tom2 = 0;
	regs[MSR_MTRRCAP] = 0x508; /* WC, fixed, eight variable ones */
	return 0;
}

/* A range of a power of two, on a CPU of 39 bits. */
static void var(unsigned i, u64 base, u64 size, unsigned type)
{
	regs[MSR_MTRR_PHYSBASE(i)] = base | type;
	regs[MSR_MTRR_PHYSMASK(i)] = (BIT(39) - size) | BIT(11);
}

static void is(hpa_t pa, unsigned type)
{
	u64 run;

	assert_int_equal(mtrr_type(&m, pa, 1, &run), type);
	assert_int_equal(run, 1);
}

static void test_off(void **state)
{
	(void)state;
	none = true;
	mtrr_read(&m, true, rdmsr_safe);
	is(0, PT_WB);
	is(GIB(9), PT_WB);
	none = false;
	mtrr_read(&m, false, rdmsr_safe); /* there, and disabled: all is uncached */
	is(0, PT_UC);
	is(GIB(9), PT_UC);
}

/* What SeaBIOS and many a vendor's firmware leave: WB by default, the PCI hole and VGA uncached. */
static void test_pc(void **state)
{
	u64 run;

	(void)state;
	regs[MSR_MTRR_DEF_TYPE] = MTRR_DEF_E | MTRR_DEF_FE | PT_WB;
	regs[MSR_MTRR_FIX64K_00000] = regs[MSR_MTRR_FIX16K_80000] = 0x0606060606060606;
	regs[MSR_MTRR_FIX4K_C0000] = 0x0505050505050505;
	regs[MSR_MTRR_FIX4K_C0000 + 7] = 0x0600000000000006;
	var(0, GIB(3), GIB(1), PT_UC);
	mtrr_read(&m, false, rdmsr_safe);
	assert_int_equal(mtrr_type(&m, 0, MIB(2), &run), PT_WB);
	assert_int_equal(run, 0xa0000);
	assert_int_equal(mtrr_type(&m, 0xa1000, MIB(2), &run), PT_UC);
	assert_int_equal(run, 0x1f000);
	is(0xc7fff, PT_WP);
	is(0xc8000, PT_UC);
	is(0xf8000, PT_WB);
	is(0xf9000, PT_UC);
	is(0xff000, PT_WB);
	is(MIB(1), PT_WB);
	assert_int_equal(mtrr_type(&m, GIB(3) - 0x1000, MIB(2), &run), PT_WB);
	assert_int_equal(run, 0x1000);
	assert_int_equal(mtrr_type(&m, GIB(3), GIB(2), &run), PT_UC);
	assert_int_equal(run, GIB(1));
	is(GIB(4), PT_WB);
	regs[MSR_MTRR_DEF_TYPE] &= ~MTRR_DEF_FE;
	mtrr_read(&m, false, rdmsr_safe);
	is(0xa0000, PT_WB);
	regs[MSR_MTRR_DEF_TYPE] |= MTRR_DEF_FE;
	regs[MSR_MTRRCAP] = 8; /* enabled where there are none */
	mtrr_read(&m, false, rdmsr_safe);
	is(0xa0000, PT_WB);
}

/* SDM vol. 3, 12.11.4.1: identical, UC, WT with WB, and what is undefined. */
static void test_overlap(void **state)
{
	static const u8 types[] = {PT_UC, PT_WC, PT_WT, PT_WP, PT_WB};

	(void)state;
	regs[MSR_MTRR_DEF_TYPE] = MTRR_DEF_E | PT_WC;
	for (unsigned a = 0; a < 5; a++)
		for (unsigned b = 0; b < 5; b++) {
			unsigned want = types[a] == types[b] ? types[a] : PT_UC;

			if (types[a] + types[b] == PT_WT + PT_WB && a != b)
				want = PT_WT;
			var(0, GIB(1), GIB(1), types[a]);
			var(7, GIB(1), MIB(16), types[b]);
			mtrr_read(&m, false, rdmsr_safe);
			assert_int_equal(m.nr_var, 2);
			is(GIB(1), want);
			is(GIB(1) + MIB(16), types[a]);
			is(GIB(2), PT_WC);
		}
}

/* AMD boards leave the default uncached and let SYSCFG say that memory above 4 GiB is not. */
static void test_tom2(void **state)
{
	u64 run;

	(void)state;
	regs[MSR_MTRR_DEF_TYPE] = MTRR_DEF_E | PT_UC;
	var(0, 0, GIB(2), PT_WB);
	var(1, GIB(5), MIB(1), PT_WP);
	syscfg = BIT(21) | BIT(22);
	tom2 = GIB(8) + MIB(512);
	mtrr_read(&m, true, rdmsr_safe);
	is(GIB(2), PT_UC);
	assert_int_equal(mtrr_type(&m, GIB(4), GIB(9), &run), PT_WB);
	assert_int_equal(run, GIB(1));
	is(GIB(5), PT_WP);
	assert_int_equal(mtrr_type(&m, GIB(6), GIB(9), &run), PT_WB);
	assert_int_equal(run, GIB(2) + MIB(512));
	is(tom2, PT_UC);
	mtrr_read(&m, false, rdmsr_safe); /* Intel has no SYSCFG */
	is(GIB(4), PT_UC);
	syscfg = BIT(21);
	mtrr_read(&m, true, rdmsr_safe);
	is(GIB(4), PT_UC);
}

/* Page by page, with no step to go wrong. */
static unsigned model(hpa_t pa)
{
	unsigned seen = 0;

	for (unsigned i = 0; i < 8; i++) {
		u64 base = regs[MSR_MTRR_PHYSBASE(i)], mask = regs[MSR_MTRR_PHYSMASK(i)];

		if (mask & BIT(11) && !((pa ^ base) & mask & ~0xfffull))
			seen |= 1u << (base & 7);
	}
	if (!seen)
		return regs[MSR_MTRR_DEF_TYPE] & 7;
	if (seen == (1u << PT_WT | 1u << PT_WB))
		return PT_WT;
	return seen & (seen - 1) ? PT_UC : (unsigned)__builtin_ctz(seen);
}

static void test_random(void **state)
{
	static const u8 types[] = {PT_UC, PT_WC, PT_WT, PT_WP, PT_WB, PT_WB, PT_WT};

	(void)state;
	for (unsigned n = 0; n < 300; n++) {
		hpa_t pa = MIB(1);

		regs[MSR_MTRR_DEF_TYPE] = MTRR_DEF_E | types[rnd() % 7];
		for (unsigned i = 0; i < 8; i++) {
			/* Any mask, contiguous or not, within 64 MiB of pages. */
			regs[MSR_MTRR_PHYSBASE(i)] = (rnd() & 0x3fff000) | types[rnd() % 7];
			regs[MSR_MTRR_PHYSMASK(i)] = (rnd() & rnd() & 0x3fff000) | 0x7ffc000000 |
						     (rnd() & BIT(11));
			if (rnd() & 1)
				regs[MSR_MTRR_PHYSMASK(i)] &= ~(BIT(12 + rnd() % 14) - 0x1000);
		}
		mtrr_read(&m, false, rdmsr_safe);
		while (pa < MIB(66)) {
			u64 run, size = PAGE_SIZE * (1 + rnd() % 2000);
			unsigned t = mtrr_type(&m, pa, size, &run);

			assert_true(run && run <= size);
			for (u64 o = 0; o < run; o += PAGE_SIZE)
				assert_int_equal(model(pa + o), t);
			if (run < size)
				assert_int_not_equal(model(pa + run), t);
			pa += run;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_off, start),   cmocka_unit_test_setup(test_pc, start),
		cmocka_unit_test_setup(test_overlap, start), cmocka_unit_test_setup(test_tom2, start),
		cmocka_unit_test_setup(test_random, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
