/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/acpi_pm.c vmm/platform/ports.c vmm/platform/debugexit.c vmm/platform/pci.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"
#include "vmm/platform/pci.h"
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

/* ---- PCI ---- */

static void cfg_addr(u8 bus, u8 devfn, u8 off)
{
	pio_out(&vm, 0xcf8, 4, 1u << 31 | (u32)bus << 16 | (u32)devfn << 8 | off);
}

static void pci_identity(void **state)
{
	(void)state;
	pio_out(&vm, 0xcf8, 4, 0x80000000); /* Linux's check for mechanism 1 */
	assert_int_equal(pio_in(&vm, 0xcf8, 4), 0x80000000);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x29c08086);
	assert_int_equal(pio_in(&vm, 0xcfc, 2), 0x8086);
	assert_int_equal(pio_in(&vm, 0xcfe, 2), 0x29c0);
	assert_int_equal(pio_in(&vm, 0xcff, 1), 0x29);
	assert_int_equal(pio_in(&vm, 0xcfd, 2), 0xc080);
	cfg_addr(0, PLAT_DEVFN_LPC, 0);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x29188086);
	cfg_addr(0, PLAT_DEVFN_LPC, 8);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x06010002);
	cfg_addr(0, PLAT_DEVFN_LPC, 0x40);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x601);
	cfg_addr(0, 0x08, 0);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), ~0u);
	cfg_addr(1, 0x00, 0);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), ~0u);
	pio_out(&vm, 0xcf8, 4, 0); /* not enabled */
	assert_int_equal(pio_in(&vm, 0xcfc, 4), ~0u);
}

/* The same registers through memory; nothing beyond bus 0 and the first 256 bytes. */
static void pci_ecam(void **state)
{
	const u64 lpc = PLAT_ECAM_BASE + (PLAT_DEVFN_LPC << 12);

	(void)state;
	assert_int_equal(mmio_in(&vm, PLAT_ECAM_BASE, 4), 0x29c08086);
	assert_int_equal(mmio_in(&vm, PLAT_ECAM_BASE + 0x60, 8), PLAT_ECAM_BASE | 1);
	assert_int_equal(mmio_in(&vm, lpc, 2), 0x8086);
	assert_int_equal(mmio_in(&vm, lpc + 2, 2), 0x2918);
	mmio_out(&vm, lpc + 0x3c, 1, 0x0b);
	assert_int_equal(mmio_in(&vm, lpc + 0x3c, 1), 0x0b);
	mmio_out(&vm, lpc, 4, 0); /* read-only */
	assert_int_equal(mmio_in(&vm, lpc, 4), 0x29188086);
	assert_int_equal((u32)mmio_in(&vm, lpc + 0x100, 4), ~0u);
	mmio_out(&vm, lpc + 0x100, 4, 0);
	assert_int_equal((u32)mmio_in(&vm, PLAT_ECAM_BASE + (1u << 12), 4), ~0u);
	assert_int_equal((u32)mmio_in(&vm, PLAT_ECAM_BASE + (1u << 20), 4), ~0u);
	assert_int_equal((u32)mmio_in(&vm, PLAT_ECAM_BASE + PLAT_ECAM_SIZE - 4, 4), ~0u);
}

static void pci_writes(void **state)
{
	(void)state;
	cfg_addr(0, 0, 4);
	pio_out(&vm, 0xcfc, 4, ~0u);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x0547);
	cfg_addr(0, 0, 0);
	pio_out(&vm, 0xcfc, 4, 0);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x29c08086);
	cfg_addr(0, 0, 0x3c);
	pio_out(&vm, 0xcfd, 1, 0xff);
	pio_out(&vm, 0xcfc, 1, 0x0b);
	assert_int_equal(pio_in(&vm, 0xcfc, 2), 0x000b);
	cfg_addr(0, 0, 0x10);
	pio_out(&vm, 0xcfc, 4, ~0u);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0); /* no BAR */
	pio_out(&vm, 0xcf8, 1, 0x55); /* bytes and words do not reach the address */
	pio_out(&vm, 0xcfa, 2, 0x5555);
	assert_int_equal(pio_in(&vm, 0xcf8, 4), 0x80000010);
	assert_int_equal(pio_in(&vm, 0xcf8, 1), 0xff);
	pio_out(&vm, 0xcf8, 4, ~0u);
	assert_int_equal(pio_in(&vm, 0xcf8, 4), 0x80fffffc);
	vm.devs[3].type->reset(&vm.devs[3]);
	cfg_addr(0, 0, 4);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0);
}

static void pci_functions(void **state)
{
	const struct pci_ident id = {.vendor = 0x1af4, .device = 0x1042, .class_rev = 0x01000001,
				     .subsys_vendor = 0x1af4, .subsys = 2, .int_pin = 1};

	(void)state;
	assert_int_equal(pci_add_function(&vm, 0x10, &id), 0);
	assert_int_equal(pci_add_function(&vm, 0x10, &id), -EEXIST);
	pci_define(&vm, 0x10, 0x10, 4, 0, 0xfffff000);
	pci_define(&vm, 0x10, 0xfe, 4, ~0u, ~0u); /* cut off at the end */
	cfg_addr(0, 0x10, 0x10);
	pio_out(&vm, 0xcfc, 4, ~0u);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0xfffff000);
	cfg_addr(0, 0x10, 0x2c);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x00021af4);
	cfg_addr(0, 0x10, 0x3c);
	assert_int_equal(pio_in(&vm, 0xcfd, 1), 1);
	for (u8 devfn = 0x18; devfn < 0x18 + 13 * 8; devfn += 8)
		assert_int_equal(pci_add_function(&vm, devfn, &id), 0);
	assert_int_equal(pci_add_function(&vm, 0xe0, &id), -ENOSPC);
	vm.nr_devs = 0; /* a VM without a bus */
	assert_int_equal(pci_add_function(&vm, 0x10, &id), -ENODEV);
	vm.nr_devs = 4;
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
		T(pm_timer), T(timer_overflow), T(power_button), T(sleep_states), T(gpe), T(resets),
		T(debug_exit), T(pci_identity), T(pci_ecam), T(pci_writes), T(pci_functions), T(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
