/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/pit.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"
#include "vmm/platform/isa.h"

#define HZ 1193182u

static struct vm vm;

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	vm.now = ticks_to_ns(1000, HZ);
	fake_attach(&vm, &pit_vdev);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

/* Move to exactly n ticks further. */
static void tick(u64 n)
{
	u64 target = ticks_to_ns(ns_to_ticks(vm.now, HZ) + n, HZ);

	fake_advance(&vm, NULL, target - vm.now);
}

static void start(unsigned ch, u8 mode, u16 count)
{
	pio_out(&vm, 0x43, 1, ch << 6 | 0x30 | mode << 1);
	pio_out(&vm, (u16)(0x40 + ch), 1, count & 0xff);
	pio_out(&vm, (u16)(0x40 + ch), 1, count >> 8);
}

static u16 latch(unsigned ch)
{
	u16 lo;

	pio_out(&vm, 0x43, 1, ch << 6);
	lo = (u16)pio_in(&vm, (u16)(0x40 + ch), 1);
	return (u16)(lo | pio_in(&vm, (u16)(0x40 + ch), 1) << 8);
}

static u8 status(unsigned ch)
{
	pio_out(&vm, 0x43, 1, 0xe0 | 2u << ch);
	return (u8)pio_in(&vm, (u16)(0x40 + ch), 1);
}

static bool out2(void)
{
	return pio_in(&vm, 0x61, 1) & 0x20;
}

static void clock_arithmetic(void **state)
{
	(void)state;
	for (u64 t = 1; t < 1ull << 40; t = t * 3 + 1) {
		assert_int_equal(ns_to_ticks(ticks_to_ns(t, HZ), HZ), t);
		assert_int_equal(ns_to_ticks(ticks_to_ns(t, HZ) - 1, HZ), t - 1);
	}
}

static void mode0(void **state)
{
	(void)state;
	start(0, 0, 1000);
	assert_int_equal(latch(0), 1000);
	tick(400);
	assert_int_equal(latch(0), 600);
	assert_int_equal(status(0), 0x30);
	tick(599);
	assert_int_equal(vm.rises[0], 0);
	tick(1);
	assert_int_equal(vm.rises[0], 1);
	assert_int_equal(status(0), 0xb0);
	tick(10);
	assert_int_equal(latch(0), 0xfff6); /* goes on round */
	tick(200000);
	assert_int_equal(vm.rises[0], 1);
	assert_false(fake_timer_armed(&vm, &pit_vdev, 0));
	start(0, 0, 0); /* 65536 */
	assert_false(vm.level[0]);
	tick(65535);
	assert_int_equal(vm.rises[0], 1);
	tick(1);
	assert_int_equal(vm.rises[0], 2);
}

static void mode0_two_bytes(void **state)
{
	(void)state;
	start(0, 0, 1000);
	tick(500);
	pio_out(&vm, 0x40, 1, 100); /* the first byte stops it */
	tick(2000);
	assert_int_equal(vm.rises[0], 0);
	pio_out(&vm, 0x40, 1, 0);
	tick(100);
	assert_int_equal(vm.rises[0], 1);
}

static void mode2(void **state)
{
	(void)state;
	start(0, 2, 1000);
	tick(999);
	assert_int_equal(latch(0), 1);
	assert_int_equal(status(0), 0x34); /* OUT low for one clock */
	assert_int_equal(vm.rises[0], 0);
	tick(1);
	assert_int_equal(latch(0), 1000);
	assert_int_equal(vm.rises[0], 1);
	tick(5000);
	assert_int_equal(vm.rises[0], 6);
	/* A new count waits for the end of the period. */
	tick(100);
	pio_out(&vm, 0x40, 1, 200);
	pio_out(&vm, 0x40, 1, 0);
	assert_int_equal(status(0), 0xf4); /* null count */
	assert_int_equal(latch(0), 900);
	tick(900);
	assert_int_equal(vm.rises[0], 7);
	assert_int_equal(status(0), 0xb4);
	assert_int_equal(latch(0), 200);
	tick(400);
	assert_int_equal(vm.rises[0], 9);
}

static void mode2_late_and_fast(void **state)
{
	(void)state;
	start(0, 2, 1000);
	vm.now += 50000000;
	fake_advance(&vm, NULL, 0);
	assert_int_equal(vm.fired, 1); /* late by many periods: one edge */
	assert_int_equal(vm.rises[0], 1);
	vm.fired = 0;
	for (u16 count = 1; count < 24; count++) {
		start(0, 2, count);
		vm.fired = 0;
		fake_advance(&vm, NULL, 10000000);
		assert_in_range(vm.fired, 1, 501); /* never more often than every 20 us */
		start(0, 3, count);
		vm.fired = 0;
		fake_advance(&vm, NULL, 10000000);
		assert_in_range(vm.fired, 1, 501);
	}
}

static void mode3(void **state)
{
	(void)state;
	start(0, 3, 1000);
	assert_int_equal(latch(0), 1000);
	tick(100);
	assert_int_equal(latch(0), 800); /* counts by two */
	assert_int_equal(status(0) & 0x80, 0x80);
	tick(400);
	assert_int_equal(latch(0), 1000);
	assert_int_equal(status(0) & 0x80, 0);
	assert_int_equal(vm.rises[0], 0);
	tick(500);
	assert_int_equal(vm.rises[0], 1);
	/* Written in the high half: the low half is already of the new count. */
	tick(100);
	pio_out(&vm, 0x40, 1, 200);
	pio_out(&vm, 0x40, 1, 0);
	tick(400);
	assert_int_equal(status(0) & 0x80, 0);
	tick(99);
	assert_int_equal(vm.rises[0], 1);
	tick(1);
	assert_int_equal(vm.rises[0], 2);
	tick(200);
	assert_int_equal(vm.rises[0], 3);
	/* Odd counts: high for one clock more. */
	start(2, 3, 5);
	pio_out(&vm, 0x61, 1, 1);
	tick(2);
	assert_true(out2());
	tick(1);
	assert_false(out2());
	tick(2);
	assert_true(out2());
}

static void mode4(void **state)
{
	(void)state;
	start(0, 4, 100);
	assert_int_equal(status(0) & 0x80, 0x80);
	tick(100);
	assert_int_equal(status(0) & 0x80, 0);
	assert_int_equal(vm.rises[0], 0);
	tick(1);
	assert_int_equal(vm.rises[0], 1);
	tick(70000);
	assert_int_equal(vm.rises[0], 1);
}

/* Modes 1 and 5 wait for the gate, which is tied high on channel 0. */
static void triggered(void **state)
{
	(void)state;
	start(0, 1, 100);
	start(0, 5, 100);
	tick(100000);
	assert_int_equal(vm.rises[0], 0);
	start(2, 1, 100);
	assert_true(out2());
	tick(500);
	assert_true(out2());
	pio_out(&vm, 0x61, 1, 1);
	assert_false(out2());
	tick(50);
	pio_out(&vm, 0x61, 1, 0);
	pio_out(&vm, 0x61, 1, 1); /* triggered anew */
	tick(99);
	assert_false(out2());
	tick(1);
	assert_true(out2());
	start(2, 5, 10);
	pio_out(&vm, 0x61, 1, 0);
	pio_out(&vm, 0x61, 1, 1);
	tick(10);
	assert_false(out2());
	tick(1);
	assert_true(out2());
}

/* How Linux calibrates the TSC. */
static void gate_and_out2(void **state)
{
	(void)state;
	pio_out(&vm, 0x61, 1, 0);
	start(2, 0, 59659);
	tick(100);
	assert_int_equal(latch(2), 59659); /* gate low: no count */
	pio_out(&vm, 0x61, 1, 1);
	tick(59658);
	assert_false(out2());
	tick(1);
	assert_true(out2());
	start(2, 0, 1000);
	tick(300);
	pio_out(&vm, 0x61, 1, 0);
	tick(5000);
	assert_int_equal(latch(2), 700);
	pio_out(&vm, 0x61, 1, 3);
	assert_int_equal(pio_in(&vm, 0x61, 1) & 0x0f, 3);
	tick(699);
	assert_false(out2());
	tick(1);
	assert_true(out2());
	start(2, 2, 100);
	tick(50);
	pio_out(&vm, 0x61, 1, 0);
	tick(49);
	assert_true(out2());
	pio_out(&vm, 0x61, 1, 1); /* begins anew */
	assert_int_equal(latch(2), 100);
}

static void latches(void **state)
{
	u8 lo;

	(void)state;
	start(0, 2, 0x1234);
	pio_out(&vm, 0x43, 1, 0x00);
	tick(0x100);
	pio_out(&vm, 0x43, 1, 0x00); /* ignored: the first stands */
	lo = (u8)pio_in(&vm, 0x40, 1);
	assert_int_equal(lo | pio_in(&vm, 0x40, 1) << 8, 0x1234);
	assert_int_equal(latch(0), 0x1134);
	/* Status and count at once: status first. */
	pio_out(&vm, 0x43, 1, 0xc2);
	tick(0x34);
	assert_int_equal(pio_in(&vm, 0x40, 1), 0xb4);
	assert_int_equal(pio_in(&vm, 0x40, 1), 0x34);
	assert_int_equal(pio_in(&vm, 0x40, 1), 0x11);
	/* Unlatched: alternates. */
	assert_int_equal(pio_in(&vm, 0x40, 1), 0x00);
	assert_int_equal(pio_in(&vm, 0x40, 1), 0x11);
	/* One byte only. */
	pio_out(&vm, 0x43, 1, 0x24);
	pio_out(&vm, 0x40, 1, 0x05);
	tick(1);
	assert_int_equal(pio_in(&vm, 0x40, 1), 0x04);
	assert_int_equal(pio_in(&vm, 0x40, 1), 0x04);
	assert_int_equal(status(0) & 0x3f, 0x24);
	assert_int_equal(pio_in(&vm, 0x43, 1), 0xff);
}

static void bcd(void **state)
{
	(void)state;
	pio_out(&vm, 0x43, 1, 0x35);
	pio_out(&vm, 0x40, 1, 0x00);
	pio_out(&vm, 0x40, 1, 0x10); /* 1000 */
	tick(1);
	assert_int_equal(latch(0), 0x0999);
	tick(999);
	assert_int_equal(vm.rises[0], 1);
	pio_out(&vm, 0x43, 1, 0x31);
	pio_out(&vm, 0x40, 1, 0);
	pio_out(&vm, 0x40, 1, 0); /* 10000 */
	tick(1);
	assert_int_equal(latch(0), 0x9999);
	pio_out(&vm, 0x43, 1, 0x31);
	pio_out(&vm, 0x40, 1, 0xff);
	pio_out(&vm, 0x40, 1, 0xff); /* nonsense */
	tick(100000);
	latch(0);
}

static void refresh_toggles(void **state)
{
	unsigned toggles = 0;
	u8 last = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		u8 now = pio_in(&vm, 0x61, 1) & 0x10;
		toggles += now != last;
		last = now;
		fake_advance(&vm, NULL, 15085);
	}
	assert_in_range(toggles, 98, 100);
}

static void noise(void **state)
{
	static const u16 ports[] = {0x40, 0x41, 0x42, 0x43, 0x61};

	(void)state;
	srand(4);
	for (unsigned i = 0; i < 100000; i++) {
		switch (rand() % 4) {
		case 0:
		case 1: pio_out(&vm, ports[rand() % 5], 1u << rand() % 3, (u32)rand()); break;
		case 2: pio_in(&vm, ports[rand() % 5], 1u << rand() % 3); break;
		default: fake_advance(&vm, NULL, (u64)rand() % 100000);
		}
	}
	assert_true(vm.fired < vm.now / 20000 + 100000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(clock_arithmetic), T(mode0), T(mode0_two_bytes), T(mode2), T(mode2_late_and_fast),
		T(mode3), T(mode4), T(triggered), T(gate_and_out2), T(latches), T(bcd),
		T(refresh_toggles), T(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
