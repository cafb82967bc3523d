/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PCI function: its configuration space (PCI Local Bus 3.0, chapter 6), its BARs and where they answer, what firmware
 * would give it. Whose BAR answers where several lie: RAM, the local APIC's page and the board's fixed devices come
 * first; then functions in order of slot and BAR. A BAR that overlaps one that goes before it is not decoded at all,
 * until either moves; nor is one at 0 or past the end of its space, or in D3hot.
 */
#include "lib/errno.h"
#include "vmm/platform/pci_private.h"
#include "vmm/regions.h"

#define PM_CONTROL  4u /* offset in the capability */
#define PM_STATE    3u
#define PM_D3HOT    3u
#define PM_NO_RESET BIT(3)

#define IO_FIRST 0xc000u
#define IO_END	 0x10000u

void pci_define(struct vdev *d, unsigned off, unsigned size, u32 val, u32 writable)
{
	for (unsigned i = 0; i < size && off + i < PCI_CFG_SIZE; i++) {
		d->pci->initial[off + i] = (u8)(val >> 8 * i);
		d->pci->writable[off + i] = (u8)(writable >> 8 * i);
		pci_state(d)->config[off + i] = d->pci->initial[off + i];
	}
}

unsigned pci_add_capability(struct vdev *d, u8 id, unsigned size)
{
	struct pci_func *f = d->pci;
	unsigned at = f->next_cap, end = ALIGN_UP(at + size, 4u);

	/* A new function's next_cap is CFG_HEADER_END; once all is taken, 0. */
	if (!at || end > PCI_CFG_SIZE)
		return 0;
	pci_define(d, at, 2, id, 0);
	pci_define(d, f->last_cap ? f->last_cap + 1u : CFG_CAPABILITIES, 1, at, 0);
	pci_define(d, CFG_STATUS, 1, STATUS_CAP_LIST, 0);
	f->last_cap = (u8)at;
	f->next_cap = (u8)end;
	return at;
}

u8 *pci_config(struct vdev *d)
{
	return pci_state(d)->config;
}

unsigned pci_slot(const struct vdev *d)
{
	return d->pci->devfn >> 3;
}

static void define_header(struct vdev *d, const struct pci_ident *id)
{
	pci_define(d, CFG_VENDOR, 2, id->vendor, 0);
	pci_define(d, CFG_DEVICE, 2, id->device, 0);
	pci_define(d, CFG_COMMAND, 2, 0, COMMAND_WRITABLE);
	pci_define(d, CFG_CLASS_REV, 4, id->class_rev, 0);
	pci_define(d, CFG_CACHE_LINE, 1, 0, 0xff);
	pci_define(d, CFG_LATENCY, 1, 0, 0xf8);
	pci_define(d, CFG_HEADER_TYPE, 1, id->header_type, 0);
	pci_define(d, CFG_SUBSYS_VENDOR, 2, id->subsys_vendor, 0);
	pci_define(d, CFG_SUBSYS, 2, id->subsys, 0);
	pci_define(d, CFG_INT_LINE, 1, 0, 0xff);
	pci_define(d, CFG_INT_PIN, 1, id->int_pin, 0);
	for (unsigned i = 0; id->bar && i < PCI_BARS; i++) {
		const struct pci_bar *b = &id->bar[i];

		if (!b->size)
			continue;
		pci_define(d, CFG_BAR + 4 * i, 4, b->flags, (u32)~(b->size - 1) & ~15u);
		if (b->flags & PCI_BAR_IO)
			pci_define(d, CFG_BAR + 4 * i, 4, b->flags, (u32)~(b->size - 1) & ~3u);
		else if (b->flags & PCI_BAR_64)
			pci_define(d, CFG_BAR + 4 * i + 4, 4, 0, (u32)(~(b->size - 1) >> 32));
	}
}

/* PCI Bus Power Management 1.2, 3.2: D0 and D3hot, which loses nothing, and no PME. PCI Express Base 3.0, 7.8: an
 * endpoint integrated into the root complex, which has no link; what may be written has no effect. */
static void define_endpoint(struct vdev *d)
{
	unsigned at = pci_add_capability(d, CAP_PM, 8);

	d->pci->pm = (u8)at;
	pci_define(d, at + 2, 2, 3, 0);
	pci_define(d, at + PM_CONTROL, 2, PM_NO_RESET, PM_STATE);
	at = pci_add_capability(d, CAP_EXPRESS, 0x3c);
	pci_define(d, at + 2, 2, 2 | 9 << 4, 0);
	pci_define(d, at + 4, 4, BIT(15), 0);		/* role-based error reporting */
	pci_define(d, at + 8, 2, 2 << 12 | BIT(11) | BIT(4), 0x78ff); /* reads of up to 512 bytes */
}

static int find_place(struct vdev *d)
{
	struct vdev **slots = vm_pci_slots(d->vm);

	if (d->type->pci->fixed) {
		d->pci->devfn = d->type->pci->devfn;
		return slots[pci_slot(d)] ? -EEXIST : 0;
	}
	for (u8 slot = PCI_SLOT_FIRST; slot <= PCI_SLOT_LAST; slot++)
		if (!slots[slot]) {
			d->pci->devfn = (u8)(slot << 3);
			return 0;
		}
	return -ENOSPC;
}

int pci_attach(struct vdev *d)
{
	int err = find_place(d);

	if (err)
		return err;
	vm_pci_slots(d->vm)[pci_slot(d)] = d;
	pci_state(d)->devfn = d->pci->devfn;
	d->pci->next_cap = CFG_HEADER_END;
	define_header(d, d->type->pci);
	if (d->type->pci->endpoint)
		define_endpoint(d);
	pci_msi_attach(d);
	return 0;
}

void pci_detach(struct vdev *d)
{
	vm_pci_slots(d->vm)[pci_slot(d)] = NULL;
	if (d->type->pci->int_pin)
		pci_drive_pirq(d->vm, pci_pirq(d));
	pci_remap(d->vm);
}

void pci_reset(struct vdev *d)
{
	struct pci_state *s = pci_state(d);

	memcpy(s->config, d->pci->initial, sizeof(s->config));
	s->intx = 0;
	pci_msi_reset(d);
}

/* ---- where BARs answer ---- */

static u64 bar_base(const struct vdev *d, unsigned i, const struct pci_bar *b)
{
	const u8 *config = pci_state(d)->config;
	u64 val = pci_get(config, CFG_BAR + 4 * i, 4);

	if (b->flags & PCI_BAR_64)
		val |= (u64)pci_get(config, CFG_BAR + 4 * i + 4, 4) << 32;
	return val & ~(b->size - 1);
}

static void map_bar(struct vdev *d, unsigned i, const struct pci_bar *b)
{
	const u32 command = pci_get(pci_state(d)->config, CFG_COMMAND, 2);
	const u64 base = bar_base(d, i, b), last = base + b->size - 1;
	struct region r = {.first = base, .last = last, .base = base, .d = d, .bar = true};

	if (!base || last < base)
		return;
	/* Where another one is, or the table full, it is not decoded: see above. */
	if (!(b->flags & PCI_BAR_IO)) {
		r.mmio = &b->mmio;
		if (command & COMMAND_MEMORY)
			regions_add(vm_mmio_regions(d->vm), &r);
	} else if (command & COMMAND_IO && last < IO_END) {
		r.pio = &b->pio;
		regions_add(vm_pio_regions(d->vm), &r);
	}
}

static bool asleep(const struct vdev *d)
{
	return d->pci->pm && (pci_state(d)->config[d->pci->pm + PM_CONTROL] & PM_STATE) == PM_D3HOT;
}

void pci_remap(struct vm *vm)
{
	regions_drop_bars(vm_pio_regions(vm));
	regions_drop_bars(vm_mmio_regions(vm));
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct vdev *d = vm_pci_slots(vm)[slot];
		const struct pci_bar *bars = d ? d->type->pci->bar : NULL;

		if (!bars || asleep(d))
			continue;
		for (unsigned i = 0; i < PCI_BARS; i++)
			if (bars[i].size)
				map_bar(d, i, &bars[i]);
	}
}

/* ---- configuration space ---- */

u64 pci_config_read(struct vdev *d, unsigned off, unsigned size)
{
	const u8 *config;
	u64 val = 0;

	if (!d)
		return ~0ull;
	if (d->type->pci->config_wanted)
		d->type->pci->config_wanted(d, off, size);
	config = pci_state(d)->config;
	for (unsigned i = 0; i < size && off + i < PCI_CFG_SIZE; i++)
		val |= (u64)config[off + i] << 8 * i;
	return val;
}

/* D1 and D2 do not exist: a write of them is none (PCI Power Management 1.2, 3.2.4). */
static void fix_power_state(struct vdev *d, u8 was)
{
	u8 *now = &pci_state(d)->config[d->pci->pm + PM_CONTROL];

	if ((*now & PM_STATE) == 1 || (*now & PM_STATE) == 2)
		*now = was;
}

void pci_config_write(struct vdev *d, unsigned off, unsigned size, u64 val)
{
	const struct pci_func *f;
	u8 *config, was[PCI_CFG_SIZE];
	bool changed = false;

	if (!d || off >= PCI_CFG_SIZE)
		return;
	f = d->pci;
	config = pci_state(d)->config;
	size = MIN(size, PCI_CFG_SIZE - off);
	memcpy(was + off, config + off, size);
	for (unsigned i = off; i < off + size; i++) {
		config[i] = (u8)((config[i] & ~f->writable[i]) | ((u8)(val >> 8 * (i - off)) & f->writable[i]));
		changed |= config[i] != was[i];
	}
	if (f->pm && pci_touches(off, size, f->pm + PM_CONTROL, 1))
		fix_power_state(d, was[f->pm + PM_CONTROL]);
	if (changed && (pci_touches(off, size, CFG_COMMAND, 2) ||
			(pci_touches(off, size, CFG_BAR, 4 * PCI_BARS) &&
			 config[CFG_COMMAND] & (COMMAND_IO | COMMAND_MEMORY)) ||
			(f->pm && pci_touches(off, size, f->pm + PM_CONTROL, 1))))
		pci_remap(d->vm);
	pci_msi_written(d, off, size);
	if (changed && d->type->pci->int_pin && (off >= CFG_HEADER_END || pci_touches(off, size, CFG_COMMAND, 2)))
		pci_drive_pirq(d->vm, pci_pirq(d));
	if (d->type->pci->config_written)
		d->type->pci->config_written(d, off, size);
}

/* ---- firmware ---- */

/* What is still free of the bridge's windows. */
struct windows {
	u64 io, mem, mem64, mem64_end;
};

static u64 take(u64 *next, u64 end, u64 size)
{
	u64 at = ALIGN_UP(*next, size);

	if (at < *next || at > end || size > end - at)
		return 0;
	*next = at + size;
	return at;
}

/* Below 4 GiB if there is room, for guests that know no other. Pages of their own, so that they can be mapped apart. */
static u64 place_bar(struct windows *w, const struct pci_bar *b)
{
	u64 at;

	if (b->flags & PCI_BAR_IO)
		return take(&w->io, IO_END, b->size);
	at = take(&w->mem, (u64)PLAT_PCI_MMIO_BASE + PLAT_PCI_MMIO_SIZE, MAX(b->size, 4096ull));
	if (!at && b->flags & PCI_BAR_64)
		at = take(&w->mem64, w->mem64_end, b->size);
	return at;
}

static void place_bars(struct vdev *d, struct windows *w)
{
	u8 *config = pci_state(d)->config;

	for (unsigned i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *b = &d->type->pci->bar[i];
		u64 at = b->size ? place_bar(w, b) : 0;

		if (!at)
			continue;
		pci_put(config, CFG_BAR + 4 * i, 4, (u32)at | b->flags);
		if (b->flags & PCI_BAR_64)
			pci_put(config, CFG_BAR + 4 * i + 4, 4, (u32)(at >> 32));
		config[CFG_COMMAND] |= b->flags & PCI_BAR_IO ? COMMAND_IO : COMMAND_MEMORY;
	}
}

void pci_firmware(struct vm *vm)
{
	const u64 mem64 = PLAT_PCI_MMIO64_BASE(vm_memory_bytes(vm));
	struct windows w = {IO_FIRST, PLAT_PCI_MMIO_BASE, mem64, mem64 + PLAT_PCI_MMIO64_SIZE};

	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct vdev *d = vm_pci_slots(vm)[slot];

		if (!d)
			continue;
		if (d->type->pci->bar)
			place_bars(d, &w);
		if (d->type->pci->int_pin)
			pci_state(d)->config[CFG_INT_LINE] = (u8)PLAT_PIRQ_IRQ(pci_pirq(d));
	}
	pci_remap(vm);
	for (unsigned i = 0; i < LPC_NR_PIRQS; i++)
		pci_drive_pirq(vm, i);
}

/* ---- saved state ---- */

/* What the guest could have made of it: constants are as they were, and what indexes is in range. */
bool pci_state_valid(const struct vdev *d, const void *state)
{
	const struct pci_state *s = (const void *)((const u8 *)state + vdev_pci_offset(d->type));
	const struct pci_func *f = d->pci;

	if (s->devfn != f->devfn || s->intx > 1)
		return false;
	for (unsigned i = 0; i < PCI_CFG_SIZE; i++)
		if ((s->config[i] ^ f->initial[i]) & ~f->writable[i] && !pci_msi_volatile(d, i) &&
		    !(i == CFG_STATUS && (s->config[i] ^ f->initial[i]) == STATUS_INTX))
			return false;
	return pci_msi_valid(d, s);
}

/* Lines are in the state of those whom they reach. */
void pci_restored(struct vm *vm)
{
	pci_remap(vm);
}
