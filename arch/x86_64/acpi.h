/* SPDX-License-Identifier: BSD-2-Clause */
/* What we take from the ACPI tables (ACPI 6.4, chapter 5). No AML but a bounded search for _S5_. */
#pragma once
#include "arch/x86_64/percpu.h"

#define ACPI_MAX_IOAPICS 64
#define ACPI_MAX_MCFG 64
#define ACPI_MAX_IOMMUS 64

struct acpi_gas {
	u8 space, bits, offset, access;
	hpa_t addr;
};
#define ACPI_SPACE_MEMORY 0
#define ACPI_SPACE_IO 1
#define ACPI_SPACE_PCI 2

struct acpi_info {
	bool found;
	u32 nr_cpus; /* enabled ones */
	struct {
		u32 apic_id, uid;
	} cpu[MAX_PCPUS];
	u32 cpus_ignored; /* more than MAX_PCPUS */
	u32 max_apic_id;
	u32 nr_ioapics;
	struct {
		hpa_t addr;
		u32 gsi_base;
		u8 id;
	} ioapic[ACPI_MAX_IOAPICS];
	struct {
		u32 gsi;
		u16 flags; /* polarity 1:0, trigger 3:2 (table 5.26) */
	} isa[16];
	u32 nr_mcfg;
	struct {
		hpa_t base;
		u16 segment;
		u8 first_bus, last_bus;
	} mcfg[ACPI_MAX_MCFG];
	u32 nr_iommus;
	struct {
		hpa_t base;
		bool amd; /* IVRS; else DMAR */
	} iommu[ACPI_MAX_IOMMUS];
	bool fadt, no_rtc, no_i8042;
	u32 pm1a_cnt, pm1b_cnt, pm_timer; /* I/O ports; 0: none */
	bool pm_timer_32;
	u32 smi_cmd;
	u8 acpi_enable, century;
	bool has_reset;
	struct acpi_gas reset;
	u8 reset_value;
	bool has_sleep;
	struct acpi_gas sleep; /* sleep control register, where the PM1 block is missing (hardware-reduced ACPI) */
	hpa_t hpet;
	bool s5;
	u8 s5_typ_a, s5_typ_b;
};

/* Reads n bytes of physical memory; false if that is not to be read. */
struct acpi_reader {
	bool (*read)(void *ctx, void *dst, hpa_t pa, size_t n);
	void *ctx;
};

/* Pure. 0; -ENOENT: no valid RSDP or root table. A damaged table is left out, and `bad` counts it. */
int acpi_parse(const struct acpi_reader *r, hpa_t rsdp, struct acpi_info *out, u32 *bad);

extern struct acpi_info acpi;
