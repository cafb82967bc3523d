/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/ioapic.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"

#define BASE 0xfec00000ull

static struct vm vm;

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	ioapic_set(&vm, 3, true); /* before there is one: nothing happens */
	ioapic_eoi(&vm, 3);
	fake_attach(&vm, &ioapic_vdev);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

static u32 rd(u8 reg)
{
	mmio_out(&vm, BASE, 4, reg);
	return (u32)mmio_in(&vm, BASE + 0x10, 4);
}

static void wr(u8 reg, u32 val)
{
	mmio_out(&vm, BASE, 4, reg);
	mmio_out(&vm, BASE + 0x10, 4, val);
}

static void registers(void **state)
{
	(void)state;
	assert_int_equal(rd(0), 0);
	assert_int_equal(rd(1), 0x00170011);
	wr(0, 0xffffffff);
	assert_int_equal(rd(0), 0x0f000000);
	wr(1, 0);
	assert_int_equal(rd(1), 0x00170011);
	assert_int_equal(rd(0x10), 0x10000);
	wr(0x3f, 0xffffffff);
	assert_int_equal(rd(0x3f), 0xff000000);
	wr(0x3e, 0xffffffff);
	assert_int_equal(rd(0x3e), 0x1afff);
	assert_int_equal(rd(0x40), ~0u);
	wr(0x40, 0);
	assert_int_equal(rd(5), ~0u);
	mmio_out(&vm, BASE, 1, 0x3f);
	assert_int_equal(mmio_in(&vm, BASE + 0x10, 4), 0xff000000);
	assert_int_equal(mmio_in(&vm, BASE + 0x10, 1), ~0ull);
	assert_int_equal(mmio_in(&vm, BASE + 0x40, 4), ~0ull); /* no EOI register */
}

static void edge(void **state)
{
	(void)state;
	ioapic_set(&vm, 4, true);
	wr(0x19, 0x03000000);
	wr(0x18, 0x931); /* lowest priority, logical */
	assert_int_equal(vm.nr_msgs, 0); /* the edge came while it was masked */
	ioapic_set(&vm, 4, true);
	assert_int_equal(vm.nr_msgs, 0);
	ioapic_set(&vm, 4, false);
	ioapic_set(&vm, 4, true);
	assert_int_equal(vm.nr_msgs, 1);
	assert_int_equal(vm.msgs[0].dest, 3);
	assert_int_equal(vm.msgs[0].vector, 0x31);
	assert_int_equal(vm.msgs[0].mode, 1);
	assert_int_equal(vm.msgs[0].logical, 1);
	assert_int_equal(vm.msgs[0].level_trig, 0);
	assert_int_equal(vm.msgs[0].assert, 1);
	assert_int_equal(rd(0x18), 0x931);
	ioapic_eoi(&vm, 0x31);
	assert_int_equal(vm.nr_msgs, 1);
	ioapic_set(&vm, 24, true);
	ioapic_set(&vm, 4000, true);
}

static void level(void **state)
{
	(void)state;
	wr(0x10 + 2 * 9, 0x18050); /* masked, level */
	ioapic_set(&vm, 9, true);
	assert_int_equal(vm.nr_msgs, 0);
	wr(0x10 + 2 * 9, 0x8050);
	assert_int_equal(vm.nr_msgs, 1); /* a level is not lost */
	assert_int_equal(vm.msgs[0].level_trig, 1);
	assert_int_equal(rd(0x10 + 2 * 9), 0xc050);
	ioapic_set(&vm, 9, false);
	ioapic_set(&vm, 9, true);
	assert_int_equal(vm.nr_msgs, 1); /* remote IRR holds it back */
	ioapic_eoi(&vm, 0x51);
	assert_int_equal(vm.nr_msgs, 1);
	ioapic_eoi(&vm, 0x50);
	assert_int_equal(vm.nr_msgs, 2); /* still high */
	ioapic_set(&vm, 9, false);
	ioapic_eoi(&vm, 0x50);
	assert_int_equal(vm.nr_msgs, 2);
	assert_int_equal(rd(0x10 + 2 * 9), 0x8050);
	ioapic_set(&vm, 9, true);
	wr(0x10 + 2 * 9, 0x18050); /* masked with the EOI outstanding */
	ioapic_eoi(&vm, 0x50);
	assert_int_equal(vm.nr_msgs, 3);
	wr(0x10 + 2 * 9, 0x8050);
	assert_int_equal(vm.nr_msgs, 4);
	wr(0x10 + 2 * 9, 0x10050); /* to edge and back: the remote IRR is gone */
	wr(0x10 + 2 * 9, 0x8050);
	assert_int_equal(vm.nr_msgs, 5);
}

static void shared_vector(void **state)
{
	(void)state;
	wr(0x10 + 2 * 16, 0x8060);
	wr(0x10 + 2 * 17, 0x8060);
	ioapic_set(&vm, 16, true);
	ioapic_set(&vm, 17, true);
	assert_int_equal(vm.nr_msgs, 2);
	ioapic_set(&vm, 17, false);
	ioapic_eoi(&vm, 0x60);
	assert_int_equal(vm.nr_msgs, 3);
}

static void extint(void **state)
{
	(void)state;
	wr(0x10, 0x8700); /* even if marked level, it has no remote IRR */
	ioapic_set(&vm, 0, true);
	assert_int_equal(vm.nr_msgs, 1);
	assert_int_equal(vm.msgs[0].mode, 7);
	assert_int_equal(vm.msgs[0].level_trig, 0);
	assert_int_equal(rd(0x10), 0x8700);
}

static void noise(void **state)
{
	(void)state;
	srand(3);
	for (unsigned i = 0; i < 300000; i++) {
		switch (rand() % 4) {
		case 0: mmio_out(&vm, BASE + (rand() & 0xfff), 1u << rand() % 4, (u64)rand()); break;
		case 1: mmio_in(&vm, BASE + (rand() & 0x1f), 1u << rand() % 4); break;
		case 2: ioapic_set(&vm, (unsigned)rand() % 26, rand() & 1); break;
		default: ioapic_eoi(&vm, (u8)rand());
		}
		wr((u8)rand(), (u32)rand());
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(registers), T(edge), T(level), T(shared_vector), T(extint), T(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
