/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/cpu_hotplug.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"
#include "vmm/platform/isa.h"
#include "vmm/platform_map.h"

enum { SELECT = 0xcd8, FLAGS = 0xcdc, COMMAND = 0xcdd, DATA = 0xce0 };

static struct vm vm; /* of 3 vCPUs */
static unsigned gpes;

bool acpi_gpe(struct vm *of, unsigned n)
{
	assert_ptr_equal(of, &vm);
	assert_int_equal(n, PLAT_GPE_CPUS);
	gpes++;
	return true;
}

static void want(u32 n)
{
	vm.vcpus_wanted = n;
	cpu_hotplug_update(&vm);
}

static u32 flags(u32 i)
{
	pio_out(&vm, SELECT, 4, i);
	return pio_in(&vm, FLAGS, 1);
}

static bool valid(void)
{
	return cpu_hotplug_vdev.valid(vm_vdev(&vm, &cpu_hotplug_vdev)->state);
}

static int start(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	fake_attach(&vm, &cpu_hotplug_vdev);
	vm.vcpus_wanted = 1;
	cpu_hotplug_begin(&vm);
	gpes = 0;
	return 0;
}

static int stop(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

static void comes(void **state)
{
	(void)state;
	assert_int_equal(vm.vcpus_absent, 6);
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(flags(i), i == 0);
	want(3);
	assert_int_equal(vm.vcpus_absent, 0);
	assert_int_equal(gpes, 2);
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(flags(i), i == 0 ? 1 : i < 3 ? 3 : 0);
	/* The next with an event, from the selected one on and round. */
	flags(0);
	pio_out(&vm, COMMAND, 1, 0);
	assert_int_equal(pio_in(&vm, DATA, 4), 1);
	pio_out(&vm, FLAGS, 1, 2);
	assert_int_equal(flags(1), 1);
	pio_out(&vm, COMMAND, 1, 0);
	assert_int_equal(pio_in(&vm, DATA, 4), 2);
	pio_out(&vm, FLAGS, 1, 2);
	pio_out(&vm, COMMAND, 1, 0); /* none: it stays selected */
	assert_int_equal(pio_in(&vm, DATA, 4), 2);
	assert_int_equal(pio_in(&vm, FLAGS, 1), 1);
	pio_out(&vm, COMMAND, 1, 3);
	assert_int_equal(pio_in(&vm, DATA, 4), 2);
	assert_int_equal(pio_in(&vm, SELECT, 4), 0);
	pio_out(&vm, COMMAND, 1, 1); /* _OST: not noted */
	pio_out(&vm, DATA, 4, 3);
	assert_int_equal(pio_in(&vm, DATA, 4), 0);
	want(3); /* as it is */
	assert_int_equal(gpes, 2);
}

static void goes(void **state)
{
	(void)state;
	want(3);
	for (u32 i = 1; i < 3; i++) {
		flags(i);
		pio_out(&vm, FLAGS, 1, 2);
	}
	gpes = 0;
	want(2);
	assert_int_equal(gpes, 1);
	assert_int_equal(flags(2), 5);
	pio_out(&vm, FLAGS, 1, 4);
	assert_int_equal(flags(2), 1);
	assert_int_equal(vm.vcpus_absent, 0); /* only asked */
	pio_out(&vm, FLAGS, 1, 8);
	assert_int_equal(vm.vcpus_absent, 4);
	assert_int_equal(flags(2), 0);
	vm.plugs = 0;
	pio_out(&vm, FLAGS, 1, 8); /* once is enough */
	assert_int_equal(vm.plugs, 0);
	/* Asked to go, and to stay again before it went: what it throws out comes back. */
	want(1);
	want(2);
	assert_int_equal(flags(1), 1);
	gpes = 0;
	pio_out(&vm, FLAGS, 1, 8);
	assert_int_equal(vm.vcpus_absent, 4);
	assert_int_equal(flags(1), 3);
	assert_int_equal(gpes, 1);
	/* The first one, never; nor one that is none. */
	flags(0);
	pio_out(&vm, FLAGS, 1, 0xff);
	assert_int_equal(flags(0), 1);
	assert_true(valid());
	flags(3);
	pio_out(&vm, FLAGS, 1, 0xff);
	flags(~0u);
	pio_out(&vm, FLAGS, 1, 0xff);
	assert_int_equal(vm.vcpus_absent, 4);
	pio_out(&vm, COMMAND, 1, 0);
	assert_int_equal(pio_in(&vm, DATA, 4), 1);
}

/* Who was asked to go and did not is gone in the next life; what is asked while that begins is not forgotten. */
static void next_life(void **state)
{
	struct vdev *d = vm_vdev(&vm, &cpu_hotplug_vdev);

	(void)state;
	want(3);
	want(2);
	cpu_hotplug_begin(&vm);
	assert_int_equal(vm.vcpus_absent, 4);
	assert_int_equal(flags(1), 1);
	want(3);
	cpu_hotplug_vdev.reset(d);
	assert_int_equal(pio_in(&vm, DATA, 4), 0);
	assert_int_equal(flags(2), 3);
}

/* Other widths and places: nothing happens, and 0 is read. */
static void widths(void **state)
{
	(void)state;
	want(3);
	flags(1);
	for (u16 port = SELECT; port < SELECT + 12; port++)
		for (unsigned size = 1; size <= 4; size *= 2) {
			bool known = (size == 4 && (port == SELECT || port == DATA)) ||
				     (size == 1 && (port == FLAGS || port == COMMAND));

			if (known || port + size > SELECT + 12)
				continue;
			pio_out(&vm, port, size, ~0u);
			assert_int_equal(pio_in(&vm, port, size), 0);
			assert_int_equal(pio_in(&vm, FLAGS, 1), 3);
		}
}

static void saved(void **state)
{
	u64 *events = vm_vdev(&vm, &cpu_hotplug_vdev)->state;

	(void)state;
	want(3);
	assert_true(valid());
	for (u32 i = 0; i < 2; i++) {
		events[i] |= 1;
		assert_false(valid());
		events[i] = ~1ull; /* of vCPUs that this VM does not have: nobody finds them */
		assert_true(valid());
		pio_out(&vm, COMMAND, 1, 0);
		assert_in_range(pio_in(&vm, DATA, 4), 0, 2);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(comes, start, stop),
		cmocka_unit_test_setup_teardown(goes, start, stop),
		cmocka_unit_test_setup_teardown(next_life, start, stop),
		cmocka_unit_test_setup_teardown(widths, start, stop),
		cmocka_unit_test_setup_teardown(saved, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
