/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine's ACPI tables, read through windows. */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/window.h"
#include "lib/log.h"

struct acpi_info acpi;

/* Bounded by what the CPU can address (CPUID 80000008h). */
static bool read_phys(void *ctx, void *dst, hpa_t pa, size_t n)
{
	u64 end = 1ull << *(unsigned *)ctx;

	if (pa >= end || n > end - pa)
		return false;
	phys_read(dst, pa, n);
	return true;
}

int acpi_init(hpa_t rsdp)
{
	unsigned bits = cpuid(0x80000008, 0).eax & 0xff;
	struct acpi_reader r = {.read = read_phys, .ctx = &bits};
	u32 bad;
	int err = acpi_parse(&r, rsdp, &acpi, &bad);

	if (err) {
		log_warn("no ACPI tables: the boot CPU runs alone, interrupts of devices are polled");
		return err;
	}
	log_info("ACPI: %u CPUs, %u I/O APICs, %u MCFG ranges%s%s%s", acpi.nr_cpus, acpi.nr_ioapics,
		 acpi.nr_mcfg, acpi.hpet ? ", HPET" : "", acpi.pm_timer ? ", PM timer" : "",
		 acpi.s5 ? ", S5" : "");
	if (bad)
		log_warn("ACPI: %u damaged tables or entries were left out", bad);
	if (acpi.cpus_ignored)
		log_warn("ACPI: %u CPUs more than the %u that are supported stay off", acpi.cpus_ignored, MAX_PCPUS);
	return 0;
}
