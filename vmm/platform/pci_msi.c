/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts of PCI functions: MSI with 64-bit addresses and masks (PCI Local Bus 3.0, 6.8.1), MSI-X (6.8.2), and
 * INTx as what is left when neither is enabled. Messages are memory writes: without bus mastering none goes out.
 */
#include "vmm/irq.h"
#include "vmm/platform/pci_private.h"

/* Offsets in the capabilities. */
enum { MSI_CONTROL = 2, MSI_ADDR = 4, MSI_DATA = 12, MSI_MASK = 16, MSI_PENDING = 20, MSI_SIZE = 24 };
enum { MSIX_CONTROL = 2, MSIX_TABLE = 4, MSIX_PBA = 8, MSIX_SIZE = 12 };
#define MSI_ENABLE	BIT(0)
#define MSI_64		BIT(7)
#define MSI_MASKABLE	BIT(8)
#define MSIX_MASK_ALL	BIT(14)
#define MSIX_ENABLE	BIT(15)
#define ENTRY_MASKED	BIT(0)

static u32 msi_reg(const struct vdev *d, unsigned off, unsigned size)
{
	return pci_get(pci_state(d)->config, d->pci->msi + off, size);
}

static u32 msi_control(const struct vdev *d)
{
	return d->pci->msi ? msi_reg(d, MSI_CONTROL, 2) : 0;
}

static u32 msix_control(const struct vdev *d)
{
	return d->pci->msix ? pci_get(pci_state(d)->config, d->pci->msix + MSIX_CONTROL, 2) : 0;
}

bool pci_msix_enabled(struct vdev *d)
{
	return msix_control(d) & MSIX_ENABLE;
}

bool pci_messages(const struct vdev *d)
{
	return msi_control(d) & MSI_ENABLE || msix_control(d) & MSIX_ENABLE;
}

void pci_msi_attach(struct vdev *d)
{
	const struct pci_ident *id = d->type->pci;
	const u32 every = id->msi == 32 ? ~0u : (1u << id->msi) - 1;
	unsigned at;

	if (id->msi) {
		at = pci_add_capability(d, CAP_MSI, MSI_SIZE);
		d->pci->msi = (u8)at;
		pci_define(d, at + MSI_CONTROL, 2, MSI_64 | MSI_MASKABLE | (u32)__builtin_ctz(id->msi) << 1, 0x71);
		pci_define(d, at + MSI_ADDR, 4, 0, ~3u);
		pci_define(d, at + MSI_ADDR + 4, 4, 0, ~0u);
		pci_define(d, at + MSI_DATA, 2, 0, 0xffff);
		pci_define(d, at + MSI_MASK, 4, 0, every);
	}
	if (id->msix) {
		at = pci_add_capability(d, CAP_MSIX, MSIX_SIZE);
		d->pci->msix = (u8)at;
		pci_define(d, at + MSIX_CONTROL, 2, id->msix - 1u, MSIX_MASK_ALL | MSIX_ENABLE);
		pci_define(d, at + MSIX_TABLE, 4, id->msix_bar, 0);
		pci_define(d, at + MSIX_PBA, 4, PCI_MSIX_PBA | id->msix_bar, 0);
	}
	pci_msi_reset(d);
}

void pci_msi_reset(struct vdev *d)
{
	struct pci_state *s = pci_state(d);

	memset(s->pba, 0, sizeof(s->pba));
	for (unsigned i = 0; i < d->type->pci->msix; i++)
		s->msix[i] = (struct pci_msix_entry){.control = ENTRY_MASKED};
}

bool pci_msi_volatile(const struct vdev *d, unsigned off)
{
	return d->pci->msi && off - d->pci->msi - MSI_PENDING < 4;
}

bool pci_msi_valid(const struct vdev *d, const struct pci_state *s)
{
	for (unsigned i = 0; i < PCI_MSIX_MAX; i++)
		if (i >= d->type->pci->msix ? s->pba[i / 64] >> i % 64 & 1 : s->msix[i].control & ~ENTRY_MASKED)
			return false;
	return true;
}

/* ---- sending ---- */

static void send(struct vdev *d, u64 addr, u32 data)
{
	if (pci_state(d)->config[CFG_COMMAND] & COMMAND_MASTER)
		vm_msi(d->vm, addr, data);
}

static unsigned msi_enabled_count(const struct vdev *d)
{
	return MIN(1u << (msi_control(d) >> 4 & 7), (unsigned)d->type->pci->msi);
}

static void msi_raise(struct vdev *d, unsigned vector)
{
	const unsigned n = msi_enabled_count(d);
	u8 *pending = pci_state(d)->config + d->pci->msi + MSI_PENDING;

	vector = MIN(vector, n - 1);
	if (msi_reg(d, MSI_MASK, 4) >> vector & 1)
		pending[vector / 8] |= (u8)(1u << vector % 8);
	else
		send(d, msi_reg(d, MSI_ADDR, 4) | (u64)msi_reg(d, MSI_ADDR + 4, 4) << 32,
		     (msi_reg(d, MSI_DATA, 2) & ~(n - 1)) | vector);
}

static void msix_raise(struct vdev *d, unsigned vector)
{
	struct pci_state *s = pci_state(d);
	const struct pci_msix_entry *e;

	if (vector >= d->type->pci->msix)
		return;
	e = &s->msix[vector];
	if (msix_control(d) & MSIX_MASK_ALL || e->control & ENTRY_MASKED)
		s->pba[vector / 64] |= 1ull << vector % 64;
	else
		send(d, e->addr_lo | (u64)e->addr_hi << 32, e->data);
}

void pci_irq(struct vdev *d, unsigned vector)
{
	if (msix_control(d) & MSIX_ENABLE)
		msix_raise(d, vector);
	else if (msi_control(d) & MSI_ENABLE)
		msi_raise(d, vector);
	else
		pci_intx(d, true);
}

void pci_intx(struct vdev *d, bool level)
{
	struct pci_state *s = pci_state(d);

	if (s->intx == level || !d->type->pci->int_pin)
		return;
	s->intx = level;
	s->config[CFG_STATUS] = (u8)((s->config[CFG_STATUS] & ~STATUS_INTX) | (level ? STATUS_INTX : 0));
	pci_drive_pirq(d->vm, pci_pirq(d));
}

/* ---- what masks held back ---- */

static void flush_msi(struct vdev *d)
{
	u32 due = msi_reg(d, MSI_PENDING, 4) & ~msi_reg(d, MSI_MASK, 4);

	if (!(msi_control(d) & MSI_ENABLE))
		return;
	for (; due; due &= due - 1) {
		unsigned vector = (unsigned)__builtin_ctz(due);

		pci_state(d)->config[d->pci->msi + MSI_PENDING + vector / 8] &= (u8)~(1u << vector % 8);
		msi_raise(d, vector);
	}
}

static void flush_msix(struct vdev *d, unsigned vector)
{
	struct pci_state *s = pci_state(d);
	u64 bit = 1ull << vector % 64;

	if (!(s->pba[vector / 64] & bit) || s->msix[vector].control & ENTRY_MASKED ||
	    (msix_control(d) & (MSIX_ENABLE | MSIX_MASK_ALL)) != MSIX_ENABLE)
		return;
	s->pba[vector / 64] &= ~bit;
	msix_raise(d, vector);
}

void pci_msi_written(struct vdev *d, unsigned off, unsigned size)
{
	if (d->pci->msi && pci_touches(off, size, d->pci->msi, MSI_SIZE))
		flush_msi(d);
	if (d->pci->msix && pci_touches(off, size, d->pci->msix, MSIX_SIZE))
		for (unsigned i = 0; i < d->type->pci->msix; i++)
			flush_msix(d, i);
}

/* ---- table and pending bits ---- */

u64 pci_msix_read(struct vdev *d, u64 off, unsigned size)
{
	const struct pci_state *s = pci_state(d);
	const u64 table = d->type->pci->msix * sizeof(s->msix[0]);
	u64 val = 0;

	if (off + size <= table)
		memcpy(&val, (const u8 *)s->msix + off, size);
	else if (off >= PCI_MSIX_PBA && off + size <= PCI_MSIX_PBA + sizeof(s->pba))
		memcpy(&val, (const u8 *)s->pba + off - PCI_MSIX_PBA, size);
	return val;
}

/* Whole dwords and qwords (6.8.2); what else is written is lost. */
void pci_msix_write(struct vdev *d, u64 off, unsigned size, u64 val)
{
	struct pci_state *s = pci_state(d);
	const unsigned vector = (unsigned)(off / sizeof(s->msix[0]));

	if (size < 4 || off % size || vector >= d->type->pci->msix)
		return;
	memcpy((u8 *)s->msix + off, &val, size);
	s->msix[vector].control &= ENTRY_MASKED;
	flush_msix(d, vector);
}
