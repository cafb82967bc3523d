/* SPDX-License-Identifier: BSD-2-Clause */
/* As much of the I/O APICs as the host itself needs: everything masked, and one ISA line (82093AA). */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pcpu_arch.h"
#include "lib/errno.h"

#define REG_VERSION 1
#define REG_PIN(n)  (0x10 + 2 * (n))
#define PIN_MASKED  BIT(16)
#define PIN_LEVEL   BIT(15)
#define PIN_LOW	    BIT(13)

static volatile u32 *regs[ACPI_MAX_IOAPICS];
static u32 nr_pins[ACPI_MAX_IOAPICS];

static u32 rd(u32 i, u32 reg)
{
	regs[i][0] = reg;
	return regs[i][4];
}

static void wr(u32 i, u32 reg, u32 v)
{
	regs[i][0] = reg;
	regs[i][4] = v;
}

/* Before LINT0 is masked: an ExtINT that is under way finds its 8259 still wired to the CPU. */
void pic_mask(void)
{
	outb(0xa1, 0xff);
	outb(0x21, 0xff);
}

void ioapic_init(void)
{
	for (u32 i = 0; i < acpi.nr_ioapics; i++) {
		regs[i] = io_map(acpi.ioapic[i].addr, 0x20);
		if (!regs[i])
			continue;
		nr_pins[i] = (rd(i, REG_VERSION) >> 16 & 0xff) + 1;
		for (u32 n = 0; n < nr_pins[i]; n++)
			wr(i, REG_PIN(n), PIN_MASKED);
	}
}

int ioapic_route_isa(u8 irq, u8 vector, u32 dest)
{
	u32 gsi = acpi.isa[irq].gsi, flags = acpi.isa[irq].flags, low = vector;

	/* Polarity and trigger: 3 is active low, level; ISA's own way is high, edge. */
	low |= (flags & 3) == 3 ? PIN_LOW : 0;
	low |= (flags >> 2 & 3) == 3 ? PIN_LEVEL : 0;
	for (u32 i = 0; i < acpi.nr_ioapics; i++) {
		u32 n = gsi - acpi.ioapic[i].gsi_base;

		if (!regs[i] || n >= nr_pins[i] || dest > 0xff)
			continue;
		wr(i, REG_PIN(n) + 1, dest << 24);
		wr(i, REG_PIN(n), low);
		return 0;
	}
	return -ENODEV;
}
