/* SPDX-License-Identifier: BSD-2-Clause */
/* Power-off and reset. Both try what firmware describes first and never come back. */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pci.h"
#include "arch/x86_64/pcpu_arch.h"
#include "arch/x86_64/window.h"

#define PM1_SCI_EN BIT(0)
#define PM1_SLP_TYP(t) ((u16)((t) & 7) << 10)
#define PM1_SLP_TYP_MASK PM1_SLP_TYP(7)
#define PM1_SLP_EN BIT(13)

/* About a microsecond each, on any PC: reads of an unused port. */
static void wait_ports(unsigned n)
{
	while (n--)
		inb(0x80);
}

/* Firmware that still has the machine in legacy mode hands it over on SMI_CMD (ACPI 6.4, 4.8.1). */
static void acpi_mode(void)
{
	if ((inw(acpi.pm1a_cnt) & PM1_SCI_EN) || !acpi.smi_cmd || !acpi.acpi_enable)
		return;
	outb(acpi.smi_cmd, acpi.acpi_enable);
	for (unsigned n = 0; n < 3000 && !(inw(acpi.pm1a_cnt) & PM1_SCI_EN); n++)
		wait_ports(100);
}

static void write_gas(const struct acpi_gas *g, u8 v)
{
	volatile u8 *p;

	if (g->space == ACPI_SPACE_IO) {
		outb(g->addr, v);
	} else if (g->space == ACPI_SPACE_MEMORY && paging_live()) {
		p = io_map(g->addr, 1);
		if (p)
			*p = v;
	} else if (g->space == ACPI_SPACE_PCI) {
		/* Segment 0, bus 0: device 47:32, function 31:16, register 15:0 (ACPI 6.4, 4.8.4.6). */
		outl(0xcf8, 0x80000000u | (g->addr >> 32 & 31) << 11 | (g->addr >> 16 & 7) << 8 |
			    (g->addr & 0xfc));
		outb(0xcfc + (g->addr & 3), v);
	}
}

static void acpi_s5(void)
{
	u16 a, b;

	if (acpi.s5 && acpi.has_sleep) /* SLP_TYPx 4:2, SLP_EN 5 (ACPI 6.4, 4.8.3.7) */
		write_gas(&acpi.sleep, (acpi.s5_typ_a & 7) << 2 | BIT(5));
	if (!acpi.s5 || !acpi.pm1a_cnt)
		return;
	acpi_mode();
	a = (inw(acpi.pm1a_cnt) & ~(PM1_SLP_TYP_MASK | PM1_SLP_EN)) | PM1_SLP_TYP(acpi.s5_typ_a);
	outw(acpi.pm1a_cnt, a);
	if (acpi.pm1b_cnt) {
		b = (inw(acpi.pm1b_cnt) & ~(PM1_SLP_TYP_MASK | PM1_SLP_EN)) | PM1_SLP_TYP(acpi.s5_typ_b);
		outw(acpi.pm1b_cnt, b);
		outw(acpi.pm1a_cnt, a | PM1_SLP_EN);
		outw(acpi.pm1b_cnt, b | PM1_SLP_EN);
	} else {
		outw(acpi.pm1a_cnt, a | PM1_SLP_EN);
	}
	wait_ports(100000);
}

/* Bochs reads a word on its port 0x8900; QEMU's PM1a is at 0x604 (q35) or 0xb004 (old ones). The
 * latter two are written only if CPUID says that there is a hypervisor. */
void power_off_emulator(void)
{
	for (const char *s = "Shutdown"; *s; s++)
		outb(0x8900, *s);
	if (cpuid(1, 0).ecx & BIT(31)) {
		outw(0x604, 0x2000);
		outw(0xb004, 0x2000);
		wait_ports(1000);
	}
}

void machine_give_up(void)
{
	serial_drain();
	power_off_emulator();
	cpu_park();
}

void power_off(void)
{
	irq_disable();
	pci_stop_dma();
	serial_drain();
	acpi_s5();
	power_off_emulator();
	cpu_park();
}

static void acpi_reset(void)
{
	if (!acpi.has_reset)
		return;
	write_gas(&acpi.reset, acpi.reset_value);
	wait_ports(15000);
}

void power_reset(void)
{
	struct __packed {
		u16 limit;
		u64 base;
	} none = {0, 0};

	irq_disable();
	pci_stop_dma();
	serial_drain();
	acpi_reset();
	outb(0xcf9, 0x02);
	outb(0xcf9, 0x06);
	wait_ports(15000);
	for (unsigned n = 0; n < 10000 && (inb(0x64) & 2); n++)
		wait_ports(1);
	outb(0x64, 0xfe);
	wait_ports(15000);
	__asm__ volatile("lidt %0; int3" ::"m"(none)); /* no IDT: triple fault */
	cpu_park();
}
