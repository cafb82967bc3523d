/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interrupt wiring of the virtual PC, between the devices, the PIC pair, the I/O APIC and the
 * local APICs. The three controllers implement what carries their name; everybody else calls
 * vm_irq_set(). Same context as vdev callbacks: the device lock is held. Only vm_apic_msg() needs no lock.
 */
#pragma once
#include "lib/types.h"

struct vm;
struct vcpu;
struct vdev;

#define VM_NR_GSI 48

/* Drive a line (global system interrupt). GSI 0..15 reach the PIC (GSI 0..15 = IRQ 0..15) and the
 * I/O APIC (pin = GSI, but IRQ 0 is pin 2, as the MADT's override says); 16..23, and those of
 * virtio's MMIO devices from 24 on, the I/O APIC only. A line has one caller: those that share one are PCI's, whose OR platform/pci_lpc.c makes. */
void vm_irq_set(struct vm *vm, unsigned gsi, bool level);
/* A message-signalled interrupt (address/data as in SDM vol. 3, 11.11). */
void vm_msi(struct vm *vm, u64 addr, u32 data);

/* platform/pic.c */
void pic_set(struct vm *vm, unsigned irq, bool level); /* by the ISA device */
void pic_set_pirqs(struct vm *vm, u16 irqs); /* by PCI: bits of all the lines it pulls; OR with the ISA device's */
bool pic_pending(struct vm *vm);     /* INTR output of the master */
int pic_ack(struct vm *vm);	     /* INTA cycle: the vector (spurious included) */

/* platform/ioapic.c */
void ioapic_set(struct vm *vm, unsigned pin, bool level);
void ioapic_eoi(struct vm *vm, u8 vector); /* broadcast EOI of a level interrupt */
/* vmm/irq.c: the same for a local APIC, which does not hold the devices' lock. */
void vm_eoi(struct vm *vm, u8 vector);

/* vmm/irq.c: the bus between APICs. Deliver to every vCPU that (dest, logical) names. delivery mode and vector as in an
 * ICR (SDM vol. 3, 11.6.1). */
struct apic_msg {
	u32 dest;	/* 8 or 32 bits */
	u8 vector;
	u8 mode;	/* 0 fixed, 1 lowest, 2 SMI, 4 NMI, 5 INIT, 6 SIPI, 7 ExtINT */
	u8 logical, level_trig, assert, shorthand /* 0 none, 1 self, 2 all, 3 others */;
	u8 x2apic_dest; /* dest is 32 bits wide */
};
void vm_apic_msg(struct vm *vm, struct vcpu *from, const struct apic_msg *m);

/* Where the controllers keep their per-VM instance (set in their init()). */
struct vm_irqchip {
	struct vdev *pic, *ioapic;
	u32 nr_virtio; /* devices behind virtio_mmio.c: the I/O APIC has a pin for each */
};
struct vm_irqchip *vm_irqchip(struct vm *vm);
/* The board's NMI pin, LINT1 of every local APIC (vmm/irq.c). Any context. */
void vm_nmi_pin(struct vm *vm);
/* The PIC's INTR line changed: tell the boot vCPU (vmm/irq.c). */
void vm_pic_changed(struct vm *vm);
