/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration space: by mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2), which reaches segment 0 on every PC; other segments
 * by memory, where MCFG says (PCI Firmware 3.3, 4.1). No lock: while the host comes up only the boot CPU is here, and when
 * it ends only the one that ends it.
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/pci.h"
#include "arch/x86_64/window.h"

volatile u8 *pci_cfg_map(u32 segment, u32 bus)
{
	for (u32 i = 0; i < acpi.nr_mcfg; i++)
		if (acpi.mcfg[i].segment == segment && bus >= acpi.mcfg[i].first_bus && bus <= acpi.mcfg[i].last_bus)
			return io_map(acpi.mcfg[i].base + MIB(bus), MIB(1)); /* the base is that of bus 0 */
	return NULL;
}

u32 pci_cfg_read(volatile u8 *regs, u32 bdf, u32 reg, unsigned size)
{
	if (regs) {
		regs += (bdf & 0xff) * 4096 + reg;
		return size == 1 ? *regs : size == 2 ? *(volatile u16 *)regs : *(volatile u32 *)regs;
	}
	outl(0xcf8, 0x80000000u | bdf << 8 | (reg & 0xfc));
	return size == 1 ? inb(0xcfc + (reg & 3)) : size == 2 ? inw(0xcfc + (reg & 2)) : inl(0xcfc);
}

void pci_cfg_write(volatile u8 *regs, u32 bdf, u32 reg, unsigned size, u32 val)
{
	if (regs)
		regs += (bdf & 0xff) * 4096 + reg;
	else
		outl(0xcf8, 0x80000000u | bdf << 8 | (reg & 0xfc));
	if (size == 1)
		regs ? (void)(*regs = (u8)val) : outb(0xcfc + (reg & 3), val);
	else if (size == 2)
		regs ? (void)(*(volatile u16 *)regs = (u16)val) : outw(0xcfc + (reg & 2), val);
	else
		regs ? (void)(*(volatile u32 *)regs = val) : outl(0xcfc, val);
}
