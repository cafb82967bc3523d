/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/acpi_pm.c vmm/platform/ports.c vmm/platform/debugexit.c vmm/platform/pci.c vmm/platform/pci_func.c vmm/platform/pci_msi.c vmm/platform/pci_lpc.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"
#include "vmm/platform/isa.h"
#include "vmm/platform_map.h"
#include "lib/errno.h"

#define PM_HZ 3579545u

static struct vm vm;

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	fake_attach(&vm, &acpi_pm_vdev);
	fake_attach(&vm, &ports_vdev);
	fake_attach(&vm, &debug_exit_vdev);
	fake_attach(&vm, &pci_vdev);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

/* ---- ACPI ---- */

static void pm_timer(void **state)
{
	u32 a, b;

	(void)state;
	a = pio_in(&vm, PLAT_PM_TMR, 4);
	fake_advance(&vm, NULL, NS_PER_SEC);
	b = pio_in(&vm, PLAT_PM_TMR, 4);
	assert_in_range(b - a, PM_HZ - 1, PM_HZ + 1);
	fake_advance(&vm, NULL, 4 * NS_PER_SEC);
	assert_true(pio_in(&vm, PLAT_PM_TMR, 4) < 1u << 24);
	b = pio_in(&vm, PLAT_PM_TMR, 4);
	assert_int_equal(pio_in(&vm, PLAT_PM_TMR + 1, 1), b >> 8 & 0xff);
	assert_int_equal(pio_in(&vm, PLAT_PM_TMR, 2), b & 0xffff);
	pio_out(&vm, PLAT_PM_TMR, 4, 0);
	assert_int_equal(pio_in(&vm, PLAT_PM_TMR, 4), b);
}

static void timer_overflow(void **state)
{
	u64 half = ticks_to_ns(1u << 23, PM_HZ);

	(void)state;
	assert_int_equal(pio_in(&vm, PLAT_PM1_EVT, 2), 0);
	fake_advance(&vm, NULL, half);
	assert_int_equal(vm.fired, 0); /* not enabled: no timer, */
	assert_int_equal(pio_in(&vm, PLAT_PM1_EVT, 2), 1); /* but the status is there */
	assert_false(vm.level[9]);
	pio_out(&vm, PLAT_PM1_EVT + 2, 2, 1);
	assert_true(vm.level[9]);
	pio_out(&vm, PLAT_PM1_EVT, 2, 1);
	assert_false(vm.level[9]);
	fake_advance(&vm, NULL, half);
	assert_true(vm.level[9]);
	assert_int_equal(vm.fired, 1);
	fake_advance(&vm, NULL, 10 * half);
	assert_int_equal(vm.fired, 1); /* until it is cleared */
	pio_out(&vm, PLAT_SMI_CMD, 1, PLAT_ACPI_DISABLE);
	assert_false(vm.level[9]);
	assert_int_equal(pio_in(&vm, PLAT_PM1_CNT, 2), 0);
	pio_out(&vm, PLAT_SMI_CMD, 1, PLAT_ACPI_ENABLE);
	assert_true(vm.level[9]);
}

/* Who has enabled nothing is not listening; the event waits all the same. */
static void events(void **state)
{
	(void)state;
	assert_false(acpi_gpe(&vm, PLAT_GPE_HOTPLUG));
	assert_false(vm.level[9]);
	pio_out(&vm, PLAT_GPE0 + PLAT_GPE0_LEN / 2, 1, 1u << PLAT_GPE_HOTPLUG);
	assert_true(vm.level[9]);
	pio_out(&vm, PLAT_GPE0, 1, 1u << PLAT_GPE_HOTPLUG);
	assert_false(vm.level[9]);
	assert_true(acpi_gpe(&vm, PLAT_GPE_HOTPLUG));
	assert_true(vm.level[9]);
	/* While it serves one event, a driver has it disabled; others say that it is there. */
	pio_out(&vm, PLAT_GPE0 + PLAT_GPE0_LEN / 2, 1, 0);
	assert_false(acpi_gpe(&vm, PLAT_GPE_HOTPLUG));
	pio_out(&vm, PLAT_PM1_EVT + 3, 1, 1);
	assert_true(acpi_gpe(&vm, PLAT_GPE_HOTPLUG));
}

static void power_button(void **state)
{
	(void)state;
	acpi_power_button(&vm);
	assert_false(vm.level[9]);
	assert_int_equal(pio_in(&vm, PLAT_PM1_EVT + 1, 1), 1);
	pio_out(&vm, PLAT_PM1_EVT + 3, 1, 1); /* PWRBTN_EN by its byte */
	assert_true(vm.level[9]);
	pio_out(&vm, PLAT_PM1_EVT, 4, 0x01000100); /* status and enable in one dword */
	assert_false(vm.level[9]);
	assert_int_equal(pio_in(&vm, PLAT_PM1_EVT, 4), 0x01000000);
}

static void sleep_states(void **state)
{
	(void)state;
	assert_int_equal(pio_in(&vm, PLAT_PM1_CNT, 2), 1); /* SCI_EN */
	pio_out(&vm, PLAT_PM1_CNT, 2, 1 << 10 | 1);
	assert_int_equal(pio_in(&vm, PLAT_PM1_CNT, 2), 1 << 10 | 1);
	pio_out(&vm, PLAT_PM1_CNT, 2, 3 << 10 | 1 << 13 | 1); /* S3: there is none */
	pio_out(&vm, PLAT_PM1_CNT, 2, 5 << 10);
	assert_int_equal(vm.nr_ends, 0);
	assert_int_equal(pio_in(&vm, PLAT_PM1_CNT, 2), 5 << 10 | 1); /* SCI_EN stays */
	pio_out(&vm, PLAT_PM1_CNT, 2, 5 << 10 | 1 << 13);
	assert_int_equal(vm.nr_ends, 1);
	assert_int_equal(vm.end, VM_END_POWEROFF);
	pio_out(&vm, PLAT_PM1_CNT + 1, 1, 0x34); /* by its byte */
	assert_int_equal(vm.nr_ends, 2);
}

static void gpe(void **state)
{
	(void)state;
	pio_out(&vm, PLAT_GPE0 + 8, 4, 0x12345678);
	assert_int_equal(pio_in(&vm, PLAT_GPE0 + 8, 4), 0x12345678);
	assert_int_equal(pio_in(&vm, PLAT_GPE0, 4), 0);
	assert_int_equal(pio_in(&vm, PLAT_PM_BASE + 0x40, 4), 0);
}

/* ---- resets, debug exit ---- */

static void resets(void **state)
{
	(void)state;
	assert_int_equal(pio_in(&vm, 0x92, 1), 2);
	pio_out(&vm, 0x92, 1, 0);
	assert_int_equal(pio_in(&vm, 0x92, 1), 2);
	pio_out(&vm, 0x92, 1, 3);
	assert_int_equal(vm.nr_ends, 1);
	assert_int_equal(vm.end, VM_END_REBOOT);
	assert_int_equal(vm.end_value, RESET_BY_PORT92);
	pio_out(&vm, 0x92, 1, 3); /* no new edge */
	assert_int_equal(vm.nr_ends, 1);
	pio_out(&vm, 0xcf9, 1, 2);
	assert_int_equal(vm.nr_ends, 1);
	assert_int_equal(pio_in(&vm, 0xcf9, 1), 2);
	pio_out(&vm, PLAT_RESET_PORT, 1, PLAT_RESET_VALUE);
	assert_int_equal(vm.nr_ends, 2);
	assert_int_equal(vm.end_value, RESET_BY_CF9);
	pio_out(&vm, 0x80, 1, 0x5a);
	assert_int_equal(pio_in(&vm, 0x80, 1), 0x5a);
}

static void debug_exit(void **state)
{
	(void)state;
	assert_false(debug_exit_vdev.wanted(&vm));
	vm.debug_exit = true;
	assert_true(debug_exit_vdev.wanted(&vm));
	pio_out(&vm, 0xf4, 1, 0xffffff10);
	assert_int_equal(vm.end, VM_END_DEBUG_EXIT);
	assert_int_equal(vm.end_value, 0x10);
	pio_out(&vm, 0xf4, 2, 0xffff1234);
	assert_int_equal(vm.end_value, 0x1234);
	pio_out(&vm, 0xf4, 4, 0x12345678);
	assert_int_equal(vm.end_value, 0x12345678);
	pio_out(&vm, 0xf5, 1, 1);
	assert_int_equal(vm.nr_ends, 3);
	assert_int_equal(pio_in(&vm, 0xf4, 1), 0xff);
}

static void noise(void **state)
{
	static const u16 ports[] = {0x80, 0x80, 0x80, 0x92, 0xb2, 0xb3, 0xf4, 0xf6, 0xcf8, 0xcf9, 0xcfb,
				    0xcfc, 0xcfd, 0xcff};

	(void)state;
	srand(7);
	for (unsigned i = 0; i < 300000; i++) {
		u16 port = rand() % 2 ? ports[rand() % 14] : (u16)(0x600 + rand() % 0x80);
		unsigned size = 1u << rand() % 3;
		if (rand() % 2)
			pio_out(&vm, port, size, (u32)rand() << 1);
		else
			pio_in(&vm, port, size);
		if (rand() % 16 == 0)
			fake_advance(&vm, NULL, (u64)rand());
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(pm_timer), T(timer_overflow), T(events), T(power_button), T(sleep_states), T(gpe), T(resets),
		T(debug_exit), T(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
