/* SPDX-License-Identifier: BSD-2-Clause */
/* One of the machine's PCI functions, for whoever drives it: capabilities, BARs, MSI-X. */
#include "arch/x86_64/pci.h"
#include "arch/x86_64/window.h"
#include "lib/errno.h"

#define PCI_STATUS   0x06
#define STATUS_CAPS  BIT(4)
#define PCI_BAR(n)   (0x10 + 4 * (n))
#define PCI_CAP_PTR  0x34
#define BAR_IO	     BIT(0)
#define BAR_64	     (2u << 1)
#define BAR_TYPE     (3u << 1)
#define MAX_CAPS     48u /* of 4 bytes behind the header: more are a loop */

/* MSI-X (PCI Local Bus 3.0, 6.8.2) */
#define MSIX_CONTROL	 2
#define MSIX_TABLE	 4
#define MSIX_ENABLE	 BIT(15)
#define MSIX_MASK_ALL	 BIT(14)
#define MSIX_ENTRY	 16u
#define MSIX_MASKED	 BIT(0)
#define MSI_ADDRESS	 0xfee00000u /* SDM vol. 3, 11.11.1 */

static u32 bdf_of(const struct pci_dev *d)
{
	return (u32)d->bus << 8 | d->devfn;
}

u32 pci_read(const struct pci_dev *d, u32 reg, unsigned size)
{
	return pci_cfg_read(d->regs, bdf_of(d), reg, size);
}

void pci_write(const struct pci_dev *d, u32 reg, unsigned size, u32 val)
{
	pci_cfg_write(d->regs, bdf_of(d), reg, size, val);
}

u8 pci_find_cap(const struct pci_dev *d, u8 id, u8 after)
{
	u8 at;

	if (!(pci_read(d, PCI_STATUS, 2) & STATUS_CAPS))
		return 0;
	at = (u8)pci_read(d, after ? after + 1u : PCI_CAP_PTR, 1) & 0xfc;
	for (u32 n = 0; n < MAX_CAPS && at >= 0x40; n++) {
		if ((u8)pci_read(d, at, 1) == id)
			return at;
		at = (u8)pci_read(d, at + 1u, 1) & 0xfc;
	}
	return 0;
}

bool pci_bar(const struct pci_dev *d, unsigned n, hpa_t *base, u64 *size)
{
	u32 low, mask, high = 0, mask_high = ~0u, cmd;
	bool wide;

	if (n >= 6)
		return false;
	low = pci_read(d, PCI_BAR(n), 4);
	wide = (low & BAR_TYPE) == BAR_64;
	if (low & BAR_IO || (wide && n == 5))
		return false;
	cmd = pci_read(d, PCI_COMMAND, 2);
	pci_write(d, PCI_COMMAND, 2, cmd & ~PCI_COMMAND_MEMORY);
	pci_write(d, PCI_BAR(n), 4, ~0u);
	mask = pci_read(d, PCI_BAR(n), 4) & ~0xfu;
	pci_write(d, PCI_BAR(n), 4, low);
	if (wide) {
		high = pci_read(d, PCI_BAR(n + 1), 4);
		pci_write(d, PCI_BAR(n + 1), 4, ~0u);
		mask_high = pci_read(d, PCI_BAR(n + 1), 4);
		pci_write(d, PCI_BAR(n + 1), 4, high);
	}
	pci_write(d, PCI_COMMAND, 2, cmd);
	*base = (u64)high << 32 | (low & ~0xfu);
	*size = -((u64)mask_high << 32 | mask);
	/* A BAR without bits is none; one at 0 nobody has given an address. */
	return (mask || (wide && mask_high)) && *base && *base + *size - 1 > *base;
}

volatile void *pci_map_bar(const struct pci_dev *d, unsigned n, u64 off, u64 len)
{
	hpa_t base;
	u64 size;

	if (!pci_bar(d, n, &base, &size) || !len || off > size || len > size - off)
		return NULL;
	return io_map(base + off, len);
}

void pci_set_command(const struct pci_dev *d, u32 bits)
{
	u32 others = pci_read(d, PCI_COMMAND, 2) & ~(u32)(PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER);

	pci_write(d, PCI_COMMAND, 2, others | bits | PCI_COMMAND_NO_INTX);
}

volatile u32 *pci_msix_enable(const struct pci_dev *d, u32 *nr)
{
	u8 cap = pci_find_cap(d, PCI_CAP_MSIX, 0);
	volatile u32 *table;
	u32 control, where;

	if (!cap)
		return NULL;
	control = pci_read(d, cap + MSIX_CONTROL, 2);
	where = pci_read(d, cap + MSIX_TABLE, 4);
	*nr = (control & 0x7ff) + 1;
	table = pci_map_bar(d, where & 7, where & ~7u, *nr * MSIX_ENTRY);
	if (!table)
		return NULL;
	/* The table may be reached only while memory is decoded; nothing is signalled before all entries are masked. */
	pci_write(d, PCI_COMMAND, 2, pci_read(d, PCI_COMMAND, 2) | PCI_COMMAND_MEMORY);
	pci_write(d, cap + MSIX_CONTROL, 2, control | MSIX_ENABLE | MSIX_MASK_ALL);
	for (u32 i = 0; i < *nr; i++)
		table[i * MSIX_ENTRY / 4 + 3] |= MSIX_MASKED;
	pci_write(d, cap + MSIX_CONTROL, 2, (control | MSIX_ENABLE) & ~MSIX_MASK_ALL);
	return table;
}

int pci_msix_set(volatile u32 *table, u32 n, u32 apic_id, u8 vector)
{
	volatile u32 *e = table + n * MSIX_ENTRY / 4;

	if (apic_id > 0xff)
		return -ENODEV;
	e[3] |= MSIX_MASKED;
	e[0] = MSI_ADDRESS | apic_id << 12;
	e[1] = 0;
	e[2] = vector;
	e[3] &= ~(u32)MSIX_MASKED;
	return 0;
}
