/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/rtc.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"
#include "vmm/platform/civil_time.h"
#include <time.h>

#define SEC 1000000000ull
/* Wednesday 2024-02-28 23:59:50 UTC */
#define START 1709164790ull

static struct vm vm;

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	vm.wall_off = START * SEC - vm.now;
	fake_attach(&vm, &rtc_vdev);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

static u8 rd(u8 reg)
{
	pio_out(&vm, 0x70, 1, reg);
	return (u8)pio_in(&vm, 0x71, 1);
}

static void wr(u8 reg, u8 val)
{
	pio_out(&vm, 0x70, 1, reg);
	pio_out(&vm, 0x71, 1, val);
}

static void expect_time(u8 c, u8 y, u8 mo, u8 d, u8 h, u8 mi, u8 s)
{
	assert_int_equal(rd(0x32), c);
	assert_int_equal(rd(9), y);
	assert_int_equal(rd(8), mo);
	assert_int_equal(rd(7), d);
	assert_int_equal(rd(4), h);
	assert_int_equal(rd(2), mi);
	assert_int_equal(rd(0), s);
}

static void calendar(void **state)
{
	(void)state;
	for (u64 t = 0; t < 17000000000ull; t += 86400 * 13 + 3601) {
		time_t x = (time_t)t;
		struct tm tm;
		struct civil_time c;

		gmtime_r(&x, &tm);
		civil_from_seconds(t, &c);
		assert_int_equal(c.year, tm.tm_year + 1900);
		assert_int_equal(c.month, tm.tm_mon + 1);
		assert_int_equal(c.day, tm.tm_mday);
		assert_int_equal(c.hour, tm.tm_hour);
		assert_int_equal(c.min, tm.tm_min);
		assert_int_equal(c.sec, tm.tm_sec);
		assert_int_equal(c.weekday, tm.tm_wday);
		assert_int_equal(civil_to_seconds(&c), t);
	}
}

static void formats(void **state)
{
	(void)state;
	expect_time(0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x50);
	assert_int_equal(rd(6), 4); /* Wednesday */
	fake_advance(&vm, NULL, 10 * SEC);
	expect_time(0x20, 0x24, 0x02, 0x29, 0x00, 0x00, 0x00);
	wr(0x0b, 0x06);
	expect_time(20, 24, 2, 29, 0, 0, 0);
	wr(0x0b, 0x04); /* 12 hours */
	assert_int_equal(rd(4), 12);
	fake_advance(&vm, NULL, 12 * 3600 * SEC);
	assert_int_equal(rd(4), 0x8c);
	fake_advance(&vm, NULL, 3600 * SEC);
	wr(0x0b, 0x00);
	assert_int_equal(rd(4), 0x81);
	assert_int_equal(rd(0x0d), 0x80);
	assert_int_equal(pio_in(&vm, 0x70, 1), 0xff);
	pio_out(&vm, 0x70, 1, 0x8d); /* with the NMI mask */
	assert_int_equal(pio_in(&vm, 0x71, 1), 0x80);
}

static void set_by_set(void **state)
{
	(void)state;
	wr(0x0b, 0x82);
	fake_advance(&vm, NULL, 5 * SEC); /* stands still */
	assert_int_equal(rd(0), 0x50);
	wr(9, 0x99), wr(8, 0x12), wr(7, 0x31), wr(4, 0x23), wr(2, 0x59), wr(0, 0x58), wr(0x32, 0x19);
	assert_int_equal(rd(0x0a) & 0x80, 0);
	wr(0x0b, 0x02);
	expect_time(0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x58);
	fake_advance(&vm, NULL, 2 * SEC);
	expect_time(0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00);
	/* Without SET, each write counts at once. */
	wr(4, 0x07);
	expect_time(0x20, 0x00, 0x01, 0x01, 0x07, 0x00, 0x00);
}

/* Linux sets the clock with SET and the divider in reset; then the next update is 500 ms away. */
static void divider_reset(void **state)
{
	(void)state;
	wr(0x0b, 0x82);
	wr(0x0a, 0x76);
	wr(0, 0x30);
	wr(0x0b, 0x02);
	fake_advance(&vm, NULL, 3 * SEC);
	assert_int_equal(rd(0), 0x30);
	wr(0x0a, 0x26);
	fake_advance(&vm, NULL, SEC / 2 - 1);
	assert_int_equal(rd(0), 0x30);
	fake_advance(&vm, NULL, 1);
	assert_int_equal(rd(0), 0x31);
}

static void update_in_progress(void **state)
{
	(void)state;
	assert_int_equal(rd(0x0a), 0x26);
	fake_advance(&vm, NULL, SEC - 244001);
	assert_int_equal(rd(0x0a), 0x26);
	fake_advance(&vm, NULL, 1);
	assert_int_equal(rd(0x0a), 0xa6);
	fake_advance(&vm, NULL, 244000);
	assert_int_equal(rd(0x0a), 0x26);
}

static void flags_without_interrupts(void **state)
{
	(void)state;
	assert_int_equal(rd(0x0c), 0);
	fake_advance(&vm, NULL, 3 * SEC);
	assert_false(fake_timer_armed(&vm, &rtc_vdev, 0));
	assert_false(fake_timer_armed(&vm, &rtc_vdev, 1));
	assert_int_equal(rd(0x0c), 0x50); /* PF and UF, no IRQF */
	assert_int_equal(rd(0x0c), 0);
	assert_int_equal(vm.rises[8], 0);
}

static void update_interrupt(void **state)
{
	(void)state;
	fake_advance(&vm, NULL, SEC / 4);
	rd(0x0c);
	wr(0x0b, 0x12);
	fake_advance(&vm, NULL, SEC * 3 / 4 - 1);
	assert_int_equal(vm.rises[8], 0);
	fake_advance(&vm, NULL, 1);
	assert_true(vm.level[8]);
	fake_advance(&vm, NULL, 10 * SEC); /* nobody reads C: nothing more happens */
	assert_int_equal(vm.rises[8], 1);
	assert_int_equal(vm.fired, 1);
	assert_int_equal(rd(0x0c) & 0x90, 0x90);
	assert_false(vm.level[8]);
	fake_advance(&vm, NULL, SEC);
	assert_int_equal(vm.rises[8], 2);
	wr(0x0b, 0x92); /* SET clears UIE */
	assert_int_equal(rd(0x0b), 0x82);
	assert_false(vm.level[8]);
}

static void alarm(void **state)
{
	(void)state;
	wr(5, 0x00), wr(3, 0x01), wr(1, 0x05); /* 00:01:05 */
	wr(0x0b, 0x22);
	fake_advance(&vm, NULL, 75 * SEC - 1);
	assert_int_equal(vm.rises[8], 0);
	fake_advance(&vm, NULL, 1);
	assert_int_equal(vm.rises[8], 1);
	assert_int_equal(vm.fired, 1);
	assert_int_equal(rd(0x0c) & 0xa0, 0xa0);
	fake_advance(&vm, NULL, 86400 * SEC); /* tomorrow again */
	assert_int_equal(vm.rises[8], 2);
	rd(0x0c);
	wr(5, 0xff), wr(3, 0xc0); /* any hour, any minute */
	fake_advance(&vm, NULL, 60 * SEC);
	assert_int_equal(vm.rises[8], 3);
	rd(0x0c);
	wr(1, 0xff); /* each second */
	fake_advance(&vm, NULL, SEC);
	assert_int_equal(vm.rises[8], 4);
	rd(0x0c);
	wr(3, 0x77); /* there is no such minute */
	fake_advance(&vm, NULL, 2 * 86400 * SEC);
	assert_int_equal(vm.rises[8], 4);
	assert_false(fake_timer_armed(&vm, &rtc_vdev, 1));
	assert_int_equal(rd(0x0c) & 0x20, 0);
}

static void periodic_interrupt(void **state)
{
	unsigned n = 0;

	(void)state;
	wr(0x0a, 0x26); /* 1024 Hz */
	wr(0x0b, 0x42);
	for (unsigned i = 0; i < 10000; i++) {
		fake_advance(&vm, NULL, 100000);
		if (vm.level[8]) {
			assert_int_equal(rd(0x0c) & 0xc0, 0xc0);
			n++;
		}
	}
	assert_in_range(n, 1023, 1025);
	wr(0x0a, 0x23); /* 8192 Hz, the fastest; nobody reads C */
	vm.fired = 0;
	fake_advance(&vm, NULL, SEC);
	assert_int_equal(vm.fired, 1);
	rd(0x0c);
	wr(0x0a, 0x20); /* off */
	fake_advance(&vm, NULL, SEC);
	assert_int_equal(vm.fired, 1);
	wr(0x0a, 0x21); /* 256 Hz */
	vm.rises[8] = 0;
	for (unsigned i = 0; i < 256; i++) {
		fake_advance(&vm, NULL, SEC / 256);
		rd(0x0c);
	}
	assert_in_range(vm.rises[8], 255, 256);
}

static void memory_sizes(void **state)
{
	struct vm big;
	unsigned sum = 0;

	(void)state;
	assert_int_equal(rd(0x15) | rd(0x16) << 8, 640);
	assert_int_equal(rd(0x17) | rd(0x18) << 8, 0xffff);
	assert_int_equal(rd(0x30) | rd(0x31) << 8, 0xffff);
	assert_int_equal(rd(0x34) | rd(0x35) << 8, 240 * 16);
	assert_int_equal(rd(0x5b) | rd(0x5c) << 8 | rd(0x5d) << 16, 0);
	for (u8 i = 0x10; i <= 0x2d; i++)
		sum += rd(i);
	assert_int_equal(rd(0x2e) << 8 | rd(0x2f), sum & 0xffff);
	wr(0x40, 0x77);
	vm.devs[0].type->reset(&vm.devs[0]);
	assert_int_equal(rd(0x40), 0x77); /* the battery keeps it */
	fake_vm_init(&big);
	big.memory = GIB(5);
	fake_attach(&big, &rtc_vdev);
	pio_out(&big, 0x70, 1, 0x34);
	assert_int_equal(pio_in(&big, 0x71, 1), (GIB(3) - MIB(16)) / KIB(64) & 0xff);
	pio_out(&big, 0x70, 1, 0x5c);
	assert_int_equal(pio_in(&big, 0x71, 1), GIB(2) / KIB(64) >> 8);
	fake_vm_free(&big);
}

static void noise(void **state)
{
	(void)state;
	srand(6);
	for (unsigned i = 0; i < 100000; i++) {
		switch (rand() % 4) {
		case 0: wr((u8)(rand() % 16), (u8)rand()); break;
		case 1: pio_out(&vm, 0x70 + rand() % 2, 1 + rand() % 2, (u32)rand()); break;
		case 2: rd((u8)rand()); break;
		default: fake_advance(&vm, NULL, (u64)rand() * (rand() % 20));
		}
		if (i % 1000 == 0)
			wr(0x0a, 0x21), wr(0x0b, 0x72);
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(calendar), T(formats), T(set_by_set), T(divider_reset), T(update_in_progress),
		T(flags_without_interrupts), T(update_interrupt), T(alarm), T(periodic_interrupt),
		T(memory_sizes), T(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
