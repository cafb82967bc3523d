/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the PCI bus share: platform/pci*.c. */
#pragma once
#include "lib/string.h"
#include "vmm/platform/pci.h"
#include "vmm/platform/isa.h"
#include "vmm/platform_map.h"

/* Offsets of a type 0 header (PCI Local Bus 3.0, 6.1). */
enum { CFG_VENDOR = 0x00, CFG_DEVICE = 0x02, CFG_COMMAND = 0x04, CFG_STATUS = 0x06, CFG_CLASS_REV = 0x08,
       CFG_CACHE_LINE = 0x0c, CFG_LATENCY = 0x0d, CFG_HEADER_TYPE = 0x0e, CFG_BAR = 0x10, CFG_SUBSYS_VENDOR = 0x2c,
       CFG_SUBSYS = 0x2e, CFG_CAPABILITIES = 0x34, CFG_INT_LINE = 0x3c, CFG_INT_PIN = 0x3d, CFG_HEADER_END = 0x40 };
#define COMMAND_IO	 BIT(0)
#define COMMAND_MEMORY	 BIT(1)
#define COMMAND_MASTER	 BIT(2)
#define COMMAND_NO_INTX	 BIT(10)
#define COMMAND_WRITABLE 0x0547u /* I/O, memory, bus master, parity, SERR, INTx disable */
#define STATUS_INTX	 BIT(3)
#define STATUS_CAP_LIST	 BIT(4)
#define CAP_PM		 0x01
#define CAP_MSI		 0x05
#define CAP_VENDOR	 0x09
#define CAP_EXPRESS	 0x10
#define CAP_MSIX	 0x11

static inline struct pci_state *pci_state(const struct vdev *d)
{
	return (struct pci_state *)((u8 *)d->state + vdev_pci_offset(d->type));
}

static inline u32 pci_get(const u8 *config, unsigned off, unsigned size)
{
	u32 val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (u32)config[off + i] << 8 * i;
	return val;
}

static inline void pci_put(u8 *config, unsigned off, unsigned size, u32 val)
{
	for (unsigned i = 0; i < size; i++)
		config[off + i] = (u8)(val >> 8 * i);
}

/* Does [off, off + size) touch [reg, reg + n)? */
static inline bool pci_touches(unsigned off, unsigned size, unsigned reg, unsigned n)
{
	return off < reg + n && reg < off + size;
}

/* pci_func.c. d NULL: nobody answers. off below 4096, size 1, 2, 4 or 8. */
u64 pci_config_read(struct vdev *d, unsigned off, unsigned size);
void pci_config_write(struct vdev *d, unsigned off, unsigned size, u64 val);
void pci_remap(struct vm *vm); /* BARs or their decoding have changed */

/* pci_msi.c */
void pci_msi_attach(struct vdev *d);
void pci_msi_reset(struct vdev *d);
bool pci_msi_valid(const struct vdev *d, const struct pci_state *s);
bool pci_msi_volatile(const struct vdev *d, unsigned off); /* read-only, and yet not constant */
void pci_msi_written(struct vdev *d, unsigned off, unsigned size);
bool pci_messages(const struct vdev *d); /* MSI or MSI-X is enabled: no INTx */

/* pci_lpc.c: a function's INTx, or where it goes, may have changed. */
#define LPC_NR_PIRQS 8u
unsigned pci_pirq(const struct vdev *d); /* what its pin is wired to; it has one */
void pci_drive_pirq(struct vm *vm, unsigned pirq);
