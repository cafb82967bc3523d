/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PCI bus through configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2) and through memory
 * (ECAM: PCI Express Base 3.0, 7.2.2), the host bridge at 00:00.0, and the reset control register at
 * 0xcf9, which lies inside the address register's dword (ICH9 datasheet 13.7.5). Bus 0 is all there is. Where no
 * function answers, all bits read as 1.
 */
#include "vmm/platform/pci_private.h"

#define ADDR_ENABLE	  (1u << 31)
#define ADDR_BITS	  0x80fffffcu

/* Bit 2's rising edge resets; bits 1 and 3 say how much, which is all the same here. */
#define RESET_SYS  BIT(1)
#define RESET_CPU  BIT(2)
#define RESET_FULL BIT(3)

struct pci {
	u32 addr;
	u8 reset_ctl, pad[3];
};

static struct vdev *function(struct vdev *d, u8 devfn)
{
	return devfn & 7 ? NULL : vm_pci_slots(d->vm)[devfn >> 3];
}

/* Bus 27:20, device and function 19:12, register 11:0. */
static struct vdev *ecam_function(struct vdev *d, u64 off)
{
	return off >> 20 ? NULL : function(d, (u8)(off >> 12));
}

static u64 ecam_read(struct vdev *d, u64 off, unsigned size)
{
	return pci_config_read(ecam_function(d, off), off & 0xfff, size);
}

static void ecam_write(struct vdev *d, u64 off, unsigned size, u64 val)
{
	pci_config_write(ecam_function(d, off), off & 0xfff, size, val);
}

/* ---- the ports ---- */

/* The function that the address register names. */
static struct vdev *addressed(struct vdev *d)
{
	const struct pci *s = d->state;

	return !(s->addr & ADDR_ENABLE) || (s->addr >> 16 & 0xff) ? NULL : function(d, (u8)(s->addr >> 8));
}

static void reset_control(struct vdev *d, u8 val)
{
	struct pci *s = d->state;
	bool rises = (val & RESET_CPU) && !(s->reset_ctl & RESET_CPU);

	s->reset_ctl = val & (RESET_SYS | RESET_CPU | RESET_FULL);
	if (rises)
		vm_request_end(d->vm, VM_END_REBOOT, 0);
}

/* The address register answers to dwords alone; other widths are for what lies beneath it. */
static u32 pci_in(struct vdev *d, u16 port, unsigned size)
{
	struct pci *s = d->state;

	if (port >= PLAT_PCI_DATA)
		return (u32)pci_config_read(addressed(d), (s->addr & 0xfc) + port - PLAT_PCI_DATA, size);
	if (port == PLAT_PCI_ADDR && size == 4)
		return s->addr;
	if (port == PLAT_RESET_PORT && size == 1)
		return s->reset_ctl;
	return ~0u;
}

static void pci_out(struct vdev *d, u16 port, unsigned size, u32 val)
{
	struct pci *s = d->state;

	if (port >= PLAT_PCI_DATA)
		pci_config_write(addressed(d), (s->addr & 0xfc) + port - PLAT_PCI_DATA, size, val);
	else if (port == PLAT_PCI_ADDR && size == 4)
		s->addr = val & ADDR_BITS;
	else if (port == PLAT_RESET_PORT && size == 1)
		reset_control(d, (u8)val);
}

/* ---- the host bridge ---- */

/* PCIEXBAR (3 Series Express datasheet 5.1.14): the ECAM, enabled, of 256 MiB, fixed. */
static int host_init(struct vdev *d)
{
	pci_define(d, 0x60, 4, PLAT_ECAM_BASE | 1, 0);
	return 0;
}

static void bus_reset(struct vdev *d)
{
	*(struct pci *)d->state = (struct pci){};
}

static const struct vdev_pio pci_pio[] = {{PLAT_PCI_ADDR, 8, pci_in, pci_out}};

static const struct vdev_mmio pci_mmio[] = {
	{PLAT_ECAM_BASE, PLAT_ECAM_SIZE, ecam_read, ecam_write}};

static const struct pci_ident host_bridge = {
	.vendor = 0x8086, .device = 0x29c0, .class_rev = 0x06000000,
	.subsys_vendor = 0x1af4, .subsys = 0x1100, .fixed = true, .devfn = PLAT_DEVFN_HOST,
};

/* clang-format off */
const struct vdev_type pci_vdev = {
	.name = "pci", .version = 2, .state_size = sizeof(struct pci),
	.nr_pio = ARRAY_SIZE(pci_pio), .pio = pci_pio,
	.nr_mmio = ARRAY_SIZE(pci_mmio), .mmio = pci_mmio,
	.reset = bus_reset,
};
const struct vdev_type pci_host_vdev = {
	.name = "pci_host", .version = 1, .pci = &host_bridge, .init = host_init,
};
/* clang-format on */
VDEV_REGISTER(pci_vdev);
VDEV_REGISTER(pci_host_vdev);
