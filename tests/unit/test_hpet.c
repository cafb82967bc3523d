/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/hpet.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"
#include "vmm/platform/isa.h"
#include "vmm/platform_map.h"

#define BASE	0xfed00000ull
#define CAP	0x00
#define CONF	0x10
#define STATUS	0x20
#define COUNTER 0xf0
#define T(n)	(0x100u + 0x20u * (n))
#define CMP(n)	(T(n) + 8)
#define FSB(n)	(T(n) + 16)

#define LEVEL	   0x002u
#define INT_ENABLE 0x004u
#define PERIODIC   0x008u
#define VAL_SET	   0x040u
#define MODE32	   0x100u
#define ROUTE(pin) ((pin) << 9)
#define FSB_ENABLE 0x4000u

static struct vm vm;

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	vm.hpet = true;
	fake_attach(&vm, &hpet_vdev);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_true(hpet_vdev.valid(vm.devs[0].state));
	fake_vm_free(&vm);
	return 0;
}

static u64 rd(u32 reg)
{
	return mmio_in(&vm, BASE + reg, 8);
}

static void wr(u32 reg, u64 val)
{
	mmio_out(&vm, BASE + reg, 8, val);
}

static void ticks(u64 n)
{
	fake_advance(&vm, NULL, n * PLAT_HPET_TICK_NS);
}

static bool armed(unsigned n)
{
	return fake_timer_armed(&vm, &hpet_vdev, n);
}

static void registers(void **state)
{
	(void)state;
	assert_int_equal(rd(CAP), PLAT_HPET_TICK_NS * 1000000ull << 32 | PLAT_HPET_ID);
	assert_int_equal(mmio_in(&vm, BASE + 4, 4), PLAT_HPET_TICK_NS * 1000000); /* fs */
	for (unsigned n = 0; n < 3; n++) {
		wr(T(n), ~0ull);
		assert_int_equal(rd(T(n)), 0xc000000ff3e);
		wr(T(n), 0);
		wr(FSB(n), 0x123456789abcdef0);
		assert_int_equal(rd(FSB(n)), 0x123456789abcdef0);
		mmio_out(&vm, BASE + FSB(n) + 4, 4, 0xfee01000);
		assert_int_equal(rd(FSB(n)), 0xfee010009abcdef0);
		assert_int_equal(mmio_in(&vm, BASE + FSB(n) + 4, 4), 0xfee01000);
	}
	/* What is not there, and what is no access. */
	wr(T(3), ~0ull);
	assert_int_equal(rd(T(3)), 0);
	assert_int_equal(rd(0x18), 0);
	wr(CONF, ~0ull);
	assert_int_equal(rd(CONF), 3);
	mmio_out(&vm, BASE + CONF, 1, 0);
	mmio_out(&vm, BASE + CONF, 2, 0);
	mmio_out(&vm, BASE + CONF + 2, 4, 0);
	assert_int_equal(rd(CONF), 3);
	assert_int_equal((u8)mmio_in(&vm, BASE + CONF, 1), 0xff);
}

static void main_counter(void **state)
{
	u64 at;

	(void)state;
	ticks(100);
	assert_int_equal(rd(COUNTER), 0);
	wr(COUNTER, 0xfffffffe);
	assert_int_equal(rd(COUNTER), 0xfffffffe);
	wr(CONF, 1);
	ticks(5);
	assert_int_equal(rd(COUNTER), 0x100000003);
	assert_int_equal(mmio_in(&vm, BASE + COUNTER + 4, 4), 1);
	wr(CONF, 0);
	at = rd(COUNTER);
	ticks(1000);
	assert_int_equal(rd(COUNTER), at);
	wr(CONF, 1);
	ticks(10);
	assert_int_equal(rd(COUNTER), at + 10);
	wr(COUNTER, 7); /* while it runs */
	ticks(10);
	assert_int_equal(rd(COUNTER), 17);
	assert_int_equal(vm.fired, 0);
}

static void one_shot(void **state)
{
	(void)state;
	wr(CONF, 1);
	wr(T(2), INT_ENABLE | ROUTE(10));
	wr(CMP(2), rd(COUNTER) + 500);
	ticks(499);
	assert_int_equal(vm.pin_rises[10], 0);
	ticks(1);
	assert_int_equal(vm.pin_rises[10], 1);
	ticks(1ull << 33);
	assert_int_equal(vm.pin_rises[10], 1);
	assert_false(armed(2));
	/* A comparator that is passed already waits for the counter to come round: never, in 64 bits. */
	wr(CMP(2), rd(COUNTER) - 1);
	ticks(1ull << 33);
	assert_int_equal(vm.pin_rises[10], 1);
	/* Far away: the timer looks again every 21 hours. */
	wr(CMP(2), rd(COUNTER) + (1ull << 41));
	ticks((1ull << 41) - 1);
	assert_int_equal(vm.pin_rises[10], 1);
	ticks(1);
	assert_int_equal(vm.pin_rises[10], 2);
	/* Stopped, it has no match; it goes on from there. */
	wr(CMP(2), rd(COUNTER) + 100);
	ticks(40);
	wr(CONF, 0);
	assert_false(armed(2));
	ticks(1000);
	wr(CONF, 1);
	ticks(59);
	assert_int_equal(vm.pin_rises[10], 2);
	ticks(1);
	assert_int_equal(vm.pin_rises[10], 3);
}

static void one_shot_32(void **state)
{
	(void)state;
	wr(COUNTER, 0x123456789a);
	wr(CONF, 1);
	wr(T(1), INT_ENABLE | MODE32 | ROUTE(11));
	wr(CMP(1), 0xaaaaaaaa55555555);
	assert_int_equal(rd(CMP(1)), 0x55555555);
	ticks(0x55555555 - 0x3456789a);
	assert_int_equal(vm.pin_rises[11], 1);
	ticks((1ull << 32) - 1);
	assert_int_equal(vm.pin_rises[11], 1);
	ticks(1);
	assert_int_equal(vm.pin_rises[11], 2);
	/* As Linux programs its events: a comparison of the low halves, round the end. */
	wr(COUNTER, 0xfffffff0);
	mmio_out(&vm, BASE + CMP(1), 4, 0x10);
	ticks(0x1f);
	assert_int_equal(vm.pin_rises[11], 2);
	ticks(1);
	assert_int_equal(vm.pin_rises[11], 3);
}

static void periodic(void **state)
{
	(void)state;
	wr(CONF, 1);
	wr(T(0), INT_ENABLE | PERIODIC | VAL_SET | ROUTE(10));
	assert_false(armed(0)); /* at ~0 */
	wr(CMP(0), 5000);
	assert_int_equal(rd(T(0)) & VAL_SET, 0);
	wr(CMP(0), 3000); /* the period alone */
	assert_int_equal(rd(CMP(0)), 5000);
	ticks(5000);
	assert_int_equal(vm.pin_rises[10], 1);
	assert_int_equal(rd(CMP(0)), 8000);
	ticks(3000 * 9);
	assert_int_equal(vm.pin_rises[10], 10);
	/* Late by many periods: once, and on in step. */
	vm.now += PLAT_HPET_TICK_NS * (3000 * 20 + 123);
	fake_advance(&vm, NULL, 0);
	assert_int_equal(vm.pin_rises[10], 11);
	assert_int_equal(rd(CMP(0)), 5000 + 3000 * 30);
	/* A new period counts from the next match. */
	wr(CMP(0), 4000);
	ticks(3000 - 123);
	assert_int_equal(vm.pin_rises[10], 12);
	assert_int_equal(rd(CMP(0)), 5000 + 3000 * 30 + 4000);
	/* Period 0 never comes again. */
	wr(CMP(0), 0);
	ticks(100000);
	assert_int_equal(vm.pin_rises[10], 13);
	assert_false(armed(0));
}

static void periodic_fast_and_wrapping(void **state)
{
	u64 fired;

	(void)state;
	wr(CONF, 1);
	wr(T(0), INT_ENABLE | PERIODIC | VAL_SET | ROUTE(10));
	wr(CMP(0), 7);
	fired = vm.fired;
	fake_advance(&vm, NULL, 10000000);
	assert_in_range(vm.fired - fired, 8 * (10000000 / MIN_PERIOD_NS) / 10, 10000000 / MIN_PERIOD_NS + 1);
	assert_int_equal(rd(CMP(0)) % 7, 0);
	/* 32 bits: the comparator wraps as the counter's low half does. By two halves, VAL_SET before each. */
	wr(COUNTER, 0x1fffff000);
	wr(T(0), INT_ENABLE | PERIODIC | VAL_SET | MODE32 | ROUTE(10));
	mmio_out(&vm, BASE + CMP(0), 4, 0xfffff800);
	wr(CMP(0), 0x1000);
	vm.pin_rises[10] = 0;
	ticks(0x800);
	assert_int_equal(vm.pin_rises[10], 1);
	assert_int_equal(rd(CMP(0)), 0x800);
	ticks(0x1000);
	assert_int_equal(vm.pin_rises[10], 2);
	wr(T(0), INT_ENABLE | PERIODIC | VAL_SET | ROUTE(10));
	mmio_out(&vm, BASE + CMP(0), 4, 0x10000);
	wr(T(0), INT_ENABLE | PERIODIC | VAL_SET | ROUTE(10));
	mmio_out(&vm, BASE + CMP(0) + 4, 4, 2);
	assert_int_equal(rd(CMP(0)), 0x200010000);
}

static void level(void **state)
{
	(void)state;
	wr(CONF, 1);
	wr(T(0), LEVEL | INT_ENABLE | PERIODIC | VAL_SET | ROUTE(10));
	wr(CMP(0), 10000);
	ticks(10000);
	assert_true(vm.pin_level[10]);
	assert_int_equal(rd(STATUS), 1);
	ticks(25000);
	assert_int_equal(vm.pin_rises[10], 1);
	wr(STATUS, 6); /* not ours */
	assert_true(vm.pin_level[10]);
	wr(STATUS, 1);
	assert_false(vm.pin_level[10]);
	assert_int_equal(rd(STATUS), 0);
	ticks(10000);
	assert_int_equal(vm.pin_rises[10], 2);
	/* The line moves with its route, and falls when the interrupt is off; the status stays. */
	wr(T(0), LEVEL | INT_ENABLE | PERIODIC | ROUTE(11));
	assert_true(!vm.pin_level[10] && vm.pin_level[11]);
	wr(T(0), LEVEL | PERIODIC | ROUTE(11));
	assert_false(vm.pin_level[11]);
	assert_int_equal(rd(STATUS), 1);
	assert_false(armed(0));
	/* Without the interrupt the status is set all the same, and no timer runs for it. */
	wr(STATUS, 1);
	ticks(10000);
	assert_int_equal(rd(STATUS), 1);
	/* A pin that is not offered leads nowhere. */
	wr(T(0), LEVEL | INT_ENABLE | PERIODIC | ROUTE(31));
	wr(T(0), LEVEL | INT_ENABLE | PERIODIC | ROUTE(4));
	assert_false(vm.pin_level[4] || vm.level[4]);
}

static void messages(void **state)
{
	(void)state;
	wr(CONF, 1);
	assert_true(rd(T(1)) & 0x8000);
	wr(FSB(1), 0xfee0300000000041);
	wr(T(1), INT_ENABLE | FSB_ENABLE | ROUTE(10));
	wr(CMP(1), rd(COUNTER) + 10);
	ticks(10);
	assert_int_equal(vm.nr_msis, 1);
	assert_int_equal(vm.msi_addr, 0xfee03000);
	assert_int_equal(vm.msi_data, 0x41);
	assert_int_equal(vm.pin_rises[10], 0);
}

static void legacy(void **state)
{
	(void)state;
	isa_clock_irq(&vm, PLAT_GSI_PIT, true);
	isa_clock_irq(&vm, PLAT_GSI_RTC, false);
	assert_true(vm.level[0]);
	wr(CONF, 3);
	assert_false(vm.level[0]);
	isa_clock_irq(&vm, PLAT_GSI_RTC, true);
	assert_false(vm.level[8]);
	/* Route and messages do not count for timers 0 and 1. */
	vm.rises[0] = 0;
	wr(T(0), INT_ENABLE | PERIODIC | VAL_SET | ROUTE(10));
	wr(CMP(0), 10000);
	wr(T(1), INT_ENABLE | FSB_ENABLE);
	wr(CMP(1), 10000);
	wr(T(2), INT_ENABLE | ROUTE(11));
	wr(CMP(2), 10000);
	ticks(30000);
	assert_int_equal(vm.rises[0], 3);
	assert_int_equal(vm.rises[8], 1);
	assert_int_equal(vm.pin_rises[11], 1);
	assert_int_equal(vm.pin_rises[10] + vm.nr_msis, 0);
	/* Back: the RTC's line is up by its own will, the PIT's too. */
	wr(CONF, 1);
	assert_true(vm.level[0] && vm.level[8]);
	isa_clock_irq(&vm, PLAT_GSI_PIT, false);
	assert_false(vm.level[0]);
	ticks(10000);
	assert_int_equal(vm.pin_rises[10], 1);
	/* Reset in legacy mode gives the lines back. */
	wr(CONF, 3);
	ticks(10000);
	assert_true(vm.level[0]);
	hpet_vdev.reset(&vm.devs[0]);
	assert_false(vm.level[0] || vm.pin_level[10] || vm.pin_level[11]);
	isa_clock_irq(&vm, PLAT_GSI_PIT, true);
	assert_true(vm.level[0]);
}

static void without(void **state)
{
	struct vm bare;

	(void)state;
	fake_vm_init(&bare);
	assert_false(hpet_vdev.wanted(&bare));
	isa_clock_irq(&bare, PLAT_GSI_RTC, true);
	assert_true(bare.level[8]);
	assert_true(hpet_vdev.wanted(&vm));
}

static void restored(void **state)
{
	(void)state;
	wr(CONF, 1);
	wr(T(0), LEVEL | INT_ENABLE | ROUTE(10));
	wr(CMP(0), rd(COUNTER) + 100);
	ticks(100);
	vm.pin_level[10] = false;
	hpet_vdev.restored(&vm.devs[0]);
	assert_true(vm.pin_level[10]);
}

/* Random accesses and random states that valid() lets through: no crash, no flood. */
static void noise(void **state)
{
	u8 *s = vm.devs[0].state, bytes[sizeof(vm.console)];
	u64 fired;

	(void)state;
	assert_true(hpet_vdev.state_size <= sizeof(bytes));
	srandom(1);
	for (unsigned i = 0; i < 300000; i++) {
		u32 reg = (u32)random() % 0x180 & ~3u;
		unsigned size = reg % 8 ? 4 : 4u << random() % 2;
		u64 val = (u64)random() >> random() % 32;

		if (random() % 3)
			mmio_out(&vm, BASE + reg, size, val);
		else
			mmio_in(&vm, BASE + reg, size);
		if (random() % 64 == 0)
			ticks((u64)random() % 100000);
		if (random() % 1024)
			continue;
		memcpy(bytes, s, hpet_vdev.state_size);
		for (unsigned k = 0; k < hpet_vdev.state_size; k++)
			if (random() % 8 == 0)
				s[k] = (u8)random();
		if (!hpet_vdev.valid(s))
			memcpy(s, bytes, hpet_vdev.state_size);
		hpet_vdev.restored(&vm.devs[0]);
	}
	fired = vm.fired;
	fake_advance(&vm, NULL, 10000000);
	assert_in_range(vm.fired - fired, 0, 3 * (10000000 / MIN_PERIOD_NS + 1));
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(registers), TEST(main_counter), TEST(one_shot), TEST(one_shot_32),
		TEST(periodic),	 TEST(periodic_fast_and_wrapping), TEST(level),
		TEST(messages),	 TEST(legacy), TEST(without), TEST(restored), TEST(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
