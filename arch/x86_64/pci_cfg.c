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

u32 pci_mmio_read(volatile const void *at, unsigned size)
{
	return size == 1 ? *(volatile const u8 *)at : size == 2 ? *(volatile const u16 *)at : *(volatile const u32 *)at;
}

void pci_mmio_write(volatile void *at, unsigned size, u32 val)
{
	if (size == 1)
		*(volatile u8 *)at = (u8)val;
	else if (size == 2)
		*(volatile u16 *)at = (u16)val;
	else
		*(volatile u32 *)at = val;
}

u32 pci_cfg_read(volatile u8 *regs, u32 bdf, u32 reg, unsigned size)
{
	if (regs)
		return pci_mmio_read(regs + (bdf & 0xff) * 4096 + reg, size);
	outl(0xcf8, 0x80000000u | bdf << 8 | (reg & 0xfc));
	return size == 1 ? inb(0xcfc + (reg & 3)) : size == 2 ? inw(0xcfc + (reg & 2)) : inl(0xcfc);
}

void pci_cfg_write(volatile u8 *regs, u32 bdf, u32 reg, unsigned size, u32 val)
{
	if (regs) {
		pci_mmio_write(regs + (bdf & 0xff) * 4096 + reg, size, val);
		return;
	}
	outl(0xcf8, 0x80000000u | bdf << 8 | (reg & 0xfc));
	if (size == 1)
		outb(0xcfc + (reg & 3), val);
	else if (size == 2)
		outw(0xcfc + (reg & 2), val);
	else
		outl(0xcfc, val);
}
