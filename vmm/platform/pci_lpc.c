/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The LPC bridge at 00:1f.0 (ICH9 datasheet 13.1): what is fixed in it, and the routes of PIRQ A..H, which carry the
 * INTx of all functions, to the PIC's lines. They reach the I/O APIC's pins 16..23 whatever the routes say.
 */
#include "vmm/irq.h"
#include "vmm/platform/pci_private.h"

#define LPC_SLOT    (PLAT_DEVFN_LPC >> 3)
#define ROUTE_A	    0x60u /* PIRQ A..D */
#define ROUTE_E	    0x68u /* E..H */
#define ROUTE_OFF   BIT(7)
#define ROUTE_LINES 0xdef8u /* the lines of the PIC that a route may name (13.1.17) */

unsigned pci_pirq(const struct vdev *d)
{
	return PLAT_GSI_PCI(pci_slot(d), d->type->pci->int_pin) - PLAT_GSI_PCI_FIRST;
}

static unsigned route_reg(unsigned pirq)
{
	return pirq < 4 ? ROUTE_A + pirq : ROUTE_E + pirq - 4;
}

/* Does this function pull its PIRQ? */
static bool pulls(const struct vdev *d)
{
	const struct pci_state *s = pci_state(d);

	return s->intx && !(pci_get(s->config, CFG_COMMAND, 2) & COMMAND_NO_INTX) && !pci_messages(d);
}

/* Wired OR: who shares a PIRQ, and whose PIRQs share a line of the PIC. */
static u8 pulled(struct vm *vm)
{
	u8 pirqs = 0;

	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		const struct vdev *d = vm_pci_slots(vm)[slot];

		if (d && pci_state(d)->intx && d->type->pci->int_pin && pulls(d))
			pirqs |= (u8)(1u << pci_pirq(d));
	}
	return pirqs;
}

static void drive_pic(struct vm *vm, u8 pirqs)
{
	const struct vdev *lpc = vm_pci_slots(vm)[LPC_SLOT];
	u16 lines = 0;

	for (unsigned i = 0; lpc && i < LPC_NR_PIRQS; i++) {
		u8 route = pci_state(lpc)->config[route_reg(i)];

		if (pirqs >> i & 1 && !(route & ROUTE_OFF))
			lines |= (u16)(1u << (route & 15));
	}
	pic_set_pirqs(vm, lines & ROUTE_LINES);
}

void pci_drive_pirq(struct vm *vm, unsigned pirq)
{
	u8 pirqs = pulled(vm);

	drive_pic(vm, pirqs);
	vm_irq_set(vm, PLAT_GSI_PCI_FIRST + pirq, pirqs >> pirq & 1);
}

static int lpc_init(struct vdev *d)
{
	/* PMBASE with its I/O bit, ACPI_CNTL enabled with the SCI on IRQ 9. */
	pci_define(d, 0x40, 4, PLAT_PM_BASE | 1, 0);
	pci_define(d, 0x44, 1, 0x80, 0);
	for (unsigned i = 0; i < LPC_NR_PIRQS; i++)
		pci_define(d, route_reg(i), 1, PLAT_PIRQ_IRQ(i), 0x8f);
	return 0;
}

static void lpc_written(struct vdev *d, unsigned off, unsigned size)
{
	if (pci_touches(off, size, ROUTE_A, ROUTE_E + 4 - ROUTE_A))
		drive_pic(d->vm, pulled(d->vm));
}

static const struct pci_ident lpc_bridge = {
	.vendor = 0x8086, .device = 0x2918, .class_rev = 0x06010002, .header_type = 0x80,
	.subsys_vendor = 0x1af4, .subsys = 0x1100, .fixed = true, .devfn = PLAT_DEVFN_LPC,
	.config_written = lpc_written,
};

/* clang-format off */
const struct vdev_type pci_lpc_vdev = {
	.name = "pci_lpc", .version = 1, .pci = &lpc_bridge, .init = lpc_init,
};
/* clang-format on */
VDEV_REGISTER(pci_lpc_vdev);
