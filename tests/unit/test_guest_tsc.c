/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's TSC at another pace than the host's, over a clock that is a variable. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/asm.h"
#include "lib/string.h"

static u64 host_tsc;
#define rdtsc() host_tsc
#include "vmm/guest_tsc.c"

u64 tsc_khz = 2400000;
static u64 offset, ratio, due;
static void set_tsc(struct hv_vcpu *h, u64 o, u64 r) { (void)h; offset = o, ratio = r; }
static struct hv_ops ops = {.set_tsc = set_tsc};
const struct hv_ops *hv = &ops;
void timer_set(struct timer *t, u64 tsc) { (void)t; due = tsc; }

static const u64 khz[] = {TSC_KHZ_MIN, 61234, 1200000, 2399999, 2400000, 2400001, 3600000, 7777777, 100000000};

/* As the two manuals say: SDM vol. 3, 26.3, and APM vol. 2, 15.30.5. */
static u64 intel(u64 host) { return (u64)((unsigned __int128)host * (ratio << 16) >> 48) + offset; }
static u64 amd(u64 host)
{
	u64 whole = ratio >> 32, part = ratio & 0xffffffff;

	return host * whole + (host >> 32) * part + ((host & 0xffffffff) * part >> 32) + offset;
}

static struct vm vm;
static struct vcpu v = {.vm = &vm};

static void pace(void **state)
{
	(void)state;
	ops.tsc_scaling = true;
	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		assert_true(vm_set_tsc_khz(&vm, khz[i]));
		assert_int_equal(vm.tsc_khz, khz[i]);
		assert_int_equal(vm.tsc_ratio == TSC_RATIO_ONE, khz[i] == tsc_khz);
		for (u64 t0 = 0; t0 < 1ull << 50; t0 += t0 / 2 + 4711) {
			/* 0 when the guest begins; a day later, what it should. */
			vcpu_set_tsc_offset(&v, -vm_scale_tsc(&vm, t0));
			assert_int_equal(ratio, vm.tsc_ratio);
			host_tsc = t0;
			assert_int_equal(vcpu_tsc(&v), 0);
			host_tsc += 86400 * tsc_khz * 1000;
			assert_in_range(vcpu_tsc(&v), 86400 * (khz[i] * 1000 - 1), 86400 * (khz[i] * 1000 + 1));
			assert_int_equal(vcpu_tsc(&v), intel(host_tsc));
			assert_int_equal(vcpu_tsc(&v), amd(host_tsc));
		}
	}
}

/* Never early, and late by no more than ticks of the slower clock and 2^-32 of the time till then, times the ratio. */
static void deadlines(void **state)
{
	(void)state;
	ops.tsc_scaling = true;
	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		assert_true(vm_set_tsc_khz(&vm, khz[i]));
		for (u64 ahead = 1; ahead < 1ull << 48; ahead += ahead / 3 + 1) {
			u64 at, slack;

			host_tsc = (u64)rand() << 20;
			vcpu_set_tsc_offset(&v, (u64)rand() << 30);
			at = vcpu_tsc(&v) + ahead;
			vcpu_timer_set_tsc(&v, at);
			assert_true(intel(due) >= at);
			slack = ((due - host_tsc) >> 32) * ((ratio >> 32) + 1) + ratio / TSC_RATIO_ONE + tsc_khz / khz[i] + 2;
			if (due - host_tsc > slack)
				assert_true(intel(due - slack) < at);
			if (khz[i] == tsc_khz)
				assert_int_equal(due, host_tsc + ahead);
		}
		vcpu_timer_set_tsc(&v, vcpu_tsc(&v) - 1);
		assert_in_range(due, host_tsc, host_tsc + 1);
		vcpu_set_tsc_offset(&v, -vm_scale_tsc(&vm, host_tsc));
		vcpu_timer_set_tsc(&v, ~0ull);
		assert_true(due > host_tsc + (1ull << 47) && due <= host_tsc + (1ull << 60));
	}
}

static void can(void **state)
{
	(void)state;
	ops.tsc_scaling = false;
	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		bool near = khz[i] / 10 == 240000 || khz[i] == 2399999;

		vm.tsc_khz = vm.tsc_ratio = 1;
		assert_int_equal(vm_set_tsc_khz(&vm, khz[i]), near);
		assert_int_equal(vm.tsc_khz, near ? tsc_khz : 1);
		assert_int_equal(vm.tsc_ratio, near ? TSC_RATIO_ONE : 1);
	}
	assert_true(vm_set_tsc_khz(&vm, 2400600) && vm_set_tsc_khz(&vm, 2399400));
	assert_false(vm_set_tsc_khz(&vm, 2400601) || vm_set_tsc_khz(&vm, 2399399));
	ops.tsc_scaling = true;
	tsc_khz = 100000;
	assert_true(vm_set_tsc_khz(&vm, 25599999) && vm.tsc_ratio < 1ull << 40);
	assert_false(vm_set_tsc_khz(&vm, 25600000));
	tsc_khz = TSC_KHZ_MAX;
	assert_true(vm_set_tsc_khz(&vm, TSC_KHZ_MIN) && vm.tsc_ratio);
	tsc_khz = 2400000;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pace),
		cmocka_unit_test(deadlines),
		cmocka_unit_test(can),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
