/* SPDX-License-Identifier: BSD-2-Clause */
/* How a device becomes a PCI function on bus 0 of its VM (platform/pci.c). */
#pragma once
#include "lib/types.h"

struct vm;

/* Plain numbers: it is copied into the bus's saved state. */
struct pci_ident {
	u16 vendor, device;
	u16 subsys_vendor, subsys;
	u32 class_rev;	/* class, subclass, interface, revision: offset 8 */
	u8 header_type;
	u8 int_pin;	/* 1..4 INTA..INTD, 0 none */
	u8 pad[2];
};

/* From a device's init(). -EEXIST: devfn is taken; -ENOSPC: the table is full; -ENODEV: the VM has
 * no PCI bus. */
int pci_add_function(struct vm *vm, u8 devfn, const struct pci_ident *id);
/* Set bytes of a function's configuration space and which of their bits the guest may write; both
 * are what every reset brings back. From init(), after pci_add_function(); val and writable are
 * little-endian, size 1, 2 or 4. */
void pci_define(struct vm *vm, u8 devfn, unsigned off, unsigned size, u32 val, u32 writable);
