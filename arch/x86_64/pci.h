/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's own PCI functions (PCI Local Bus 3.0, chapter 6; PCI Express Base 5.0, 7.5): found once, at boot, by
 * pci_quiesce(); then whoever drives one takes it from the list. Boot CPU, while the host comes up, unless said otherwise.
 */
#pragma once
#include "lib/types.h"

#define PCI_COMMAND 0x04
#define PCI_COMMAND_MEMORY     BIT(1)
#define PCI_COMMAND_BUS_MASTER BIT(2)
#define PCI_COMMAND_NO_INTX    BIT(10)
#define PCI_CAP_VENDOR 0x09
#define PCI_CAP_MSIX   0x11

struct pci_dev {
	u16 segment;
	u8 bus, devfn; /* devfn: device * 8 + function */
	u16 vendor, device;
	u32 class; /* base class, subclass, interface: 24 bits */
	volatile u8 *regs; /* its bus's configuration space; NULL: segment 0, by ports */
};

/* Find all functions and take bus mastering from those that are neither bridges nor displays, lest firmware's drivers go on
 * writing to memory; returns how many had it. */
u32 pci_quiesce(void);
/* The same without a look for new ones: before the machine is left, from a panic, too: the other pCPUs are stopped. */
void pci_stop_dma(void);
/* The i-th function that is no bridge, in order of segment and address; NULL: there are no more. */
const struct pci_dev *pci_dev(u32 i);

/* Configuration space; size 1, 2 or 4, aligned. Of segment 0 the first 256 bytes, of others 4 KiB. Absent: ones. */
u32 pci_read(const struct pci_dev *d, u32 reg, unsigned size);
void pci_write(const struct pci_dev *d, u32 reg, unsigned size, u32 val);
/* Where the first capability of that id behind `after` (0: at all) begins; 0: there is none. */
u8 pci_find_cap(const struct pci_dev *d, u8 id, u8 after);
/* Memory BAR n: where it is and how large. false: there is none, or firmware gave it no address. Decoding is off meanwhile. */
bool pci_bar(const struct pci_dev *d, unsigned n, hpa_t *base, u64 *size);
/* Map bytes [off, off + len) of memory BAR n, uncached. NULL: it has not so many, or there is no room. */
volatile void *pci_map_bar(const struct pci_dev *d, unsigned n, u64 off, u64 len);
/* PCI_COMMAND_MEMORY and _BUS_MASTER, those of `bits` on, else off; INTx stays off. */
void pci_set_command(const struct pci_dev *d, u32 bits);
/* Switch MSI-X on with all entries masked. The table, *nr entries of it; NULL: it has none. */
volatile u32 *pci_msix_enable(const struct pci_dev *d, u32 *nr);
/* Let entry n interrupt that CPU (-ENODEV: not without interrupt remapping) by that vector, edge, fixed. */
int pci_msix_set(volatile u32 *table, u32 n, u32 apic_id, u8 vector);

/* pci_cfg.c: how configuration space is reached. bdf: bus * 256 + devfn; regs: of that bus, or NULL as above. One at a time. */
volatile u8 *pci_cfg_map(u32 segment, u32 bus); /* NULL: MCFG does not know it */
u32 pci_cfg_read(volatile u8 *regs, u32 bdf, u32 reg, unsigned size);
void pci_cfg_write(volatile u8 *regs, u32 bdf, u32 reg, unsigned size, u32 val);
/* Device registers of size 1, 2 or 4. */
u32 pci_mmio_read(volatile const void *at, unsigned size);
void pci_mmio_write(volatile void *at, unsigned size, u32 val);
