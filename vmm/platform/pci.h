/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a device is a PCI function on bus 0 of its VM: vdev_type.pci says what it is, platform/pci*.c does the rest -
 * configuration space, BARs that move, INTx, MSI, MSI-X - and saves, checks, restores and resets its part of the state,
 * which lies behind the device's own. Same context as vdev callbacks: the device lock is held.
 *
 * A doorbell (virtio's notify register) is cheapest as an I/O BAR of its own: the exit names port, width and direction,
 * so nothing is fetched or decoded, the port that was hit last is looked at first, and the handler has one thing to do.
 */
#pragma once
#include "vmm/vdev.h"

#define PCI_BARS     6u
#define PCI_CFG_SIZE 256u /* of 4096; the rest reads 0: there are no extended capabilities */
#define PCI_MSIX_MAX 128u
#define PCI_MSI_MAX  32u

/* In the register's low bits (PCI Local Bus 3.0, 6.2.5.1). */
enum { PCI_BAR_IO = 1, PCI_BAR_64 = 4, PCI_BAR_PREFETCH = 8 };
/* Of pio or mmio only the handlers count; they get offsets into the BAR (as `port` too). A BAR of 64 bits takes two
 * places, the second one empty. size: a power of two, at least 4 (I/O, at most 256) or 16 (memory). */
struct pci_bar {
	u32 flags;
	u64 size; /* 0: there is none */
	struct vdev_pio pio;
	struct vdev_mmio mmio;
};

struct pci_ident {
	u16 vendor, device, subsys_vendor, subsys;
	u32 class_rev;	 /* class, subclass, interface, revision: offset 8 */
	u8 header_type;
	u8 int_pin;	 /* 1..4 INTA..INTD, 0 none */
	bool fixed;	 /* at devfn, a function 0; else in the first free slot */
	u8 devfn;
	bool endpoint;	 /* has PM and PCI Express capabilities, as an endpoint integrated into the root complex */
	u8 msi;		 /* messages: a power of two up to PCI_MSI_MAX; 0 none */
	u16 msix;	 /* vectors, up to PCI_MSIX_MAX; 0 none */
	u8 msix_bar;	 /* where bar[] has PCI_MSIX_BAR */
	const struct pci_bar *bar; /* PCI_BARS of them, or NULL */
	/* Optional: these bytes are going to be read from the configuration space; have been written to it. */
	void (*config_wanted)(struct vdev *d, unsigned off, unsigned size);
	void (*config_written)(struct vdev *d, unsigned off, unsigned size);
};

/* Slots that only the board's own functions have, and that a device may get. */
#define PCI_SLOTS      32u
#define PCI_SLOT_FIRST 3u
#define PCI_SLOT_LAST  30u

/* --- for devices --- */

/* Set bytes of the configuration space and which of their bits the guest may write: what every reset brings back. From
 * init(); val and writable are little-endian, size 1, 2 or 4. */
void pci_define(struct vdev *d, unsigned off, unsigned size, u32 val, u32 writable);
/* Room for one more capability, its id and link set: its offset; 0: there is none. From init(). */
unsigned pci_add_capability(struct vdev *d, u8 id, unsigned size);
u8 *pci_config(struct vdev *d); /* PCI_CFG_SIZE bytes as they are now */
unsigned pci_slot(const struct vdev *d);

/*
 * Something has happened that `vector` stands for: an MSI-X message, or an MSI (vectors beyond those that the guest
 * enabled share the last), or INTx asserted, whichever the guest has enabled. INTx stays asserted until pci_intx(d, false).
 */
void pci_irq(struct vdev *d, unsigned vector);
/* What the device's INTx pin says; it is not seen while MSI or MSI-X is enabled. */
void pci_intx(struct vdev *d, bool level);
bool pci_msix_enabled(struct vdev *d);

/* The BAR with MSI-X table and pending bits: bar[ident.msix_bar] = PCI_MSIX_BAR. */
#define PCI_MSIX_BAR_SIZE 4096u
#define PCI_MSIX_PBA	  2048u
u64 pci_msix_read(struct vdev *d, u64 off, unsigned size);
void pci_msix_write(struct vdev *d, u64 off, unsigned size, u64 val);
#define PCI_MSIX_BAR {.size = PCI_MSIX_BAR_SIZE, .mmio = {.read = pci_msix_read, .write = pci_msix_write}}

/* --- for vdev.c, state.c --- */

struct pci_msix_entry {
	u32 addr_lo, addr_hi, data, control;
};
/* What is saved of a function, behind the device's own state. */
struct pci_state {
	u8 devfn;
	u8 intx; /* what the device says */
	u8 pad[6];
	u64 pba[PCI_MSIX_MAX / 64];
	u8 config[PCI_CFG_SIZE];
	struct pci_msix_entry msix[];
};
/* What is not: it follows from the device's type and init(). */
struct pci_func {
	u8 devfn;
	u8 last_cap, next_cap; /* offsets: of the last one, and of the room behind it */
	u8 pm, msi, msix;      /* of the capabilities; 0: none */
	u8 initial[PCI_CFG_SIZE], writable[PCI_CFG_SIZE];
};

static inline u32 vdev_pci_offset(const struct vdev_type *t)
{
	return ALIGN_UP(t->state_size, 8u);
}

/* The bytes of a device's state, PCI's part included. */
static inline u32 vdev_state_size(const struct vdev_type *t)
{
	if (!t->pci)
		return t->state_size;
	return vdev_pci_offset(t) + (u32)sizeof(struct pci_state) +
	       t->pci->msix * (u32)sizeof(struct pci_msix_entry);
}

/* d->pci is zeroed; before init(). -EEXIST: its place is taken, -ENOSPC: all are. */
int pci_attach(struct vdev *d);
void pci_detach(struct vdev *d);
void pci_reset(struct vdev *d);
/* As firmware: give every function its addresses and lines. After the reset of all. */
void pci_firmware(struct vm *vm);
bool pci_state_valid(const struct vdev *d, const void *state);
/* All devices' states have just been replaced. */
void pci_restored(struct vm *vm);

/* --- platform/pci_hotplug.c; the device lock is held --- */

/* Plug a device into a running VM: *slot says where. -ENOSPC, -ENOMEM, or what its init() says. */
int pci_hotplug_add(struct vm *vm, const struct vdev_type *type, u32 unit, unsigned *slot);
/* Ask the guest to let go of it; it goes when the guest ejects it, or at the next reset. -ENODEV: nothing there that
 * could go; -EAGAIN: the guest does not listen to ACPI's events (it asks all the same, should it once do so). */
int pci_hotplug_remove(struct vm *vm, unsigned slot);
/* Has it been asked to? */
bool pci_hotplug_leaving(struct vm *vm, unsigned slot);
