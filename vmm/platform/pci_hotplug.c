/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hotplug of PCI devices by ACPI, with QEMU's registers (docs/specs/acpi_pci_hotplug.txt there), at PLAT_PCI_HOTPLUG; bit n
 * of each is slot n. GPE 1 says that something has changed, and the DSDT's \_GPE._E01 asks what.
 *
 *   00h  devices that have come; reading clears it
 *   04h  devices that are to go
 *   08h  write: eject
 *   0ch  read: slots in which hotplug works
 */
#include "lib/errno.h"
#include "vmm/platform/pci_private.h"

enum { REG_UP = 0, REG_DOWN = 4, REG_EJECT = 8, REG_SLOTS = 12, REG_END = 16 };
#define SLOTS_HOT ((2u << PCI_SLOT_LAST) - (1u << PCI_SLOT_FIRST))

struct hotplug {
	u32 up, down;
};

static struct hotplug *hotplug(struct vm *vm)
{
	return vm_vdev(vm, &pci_hotplug_vdev)->state;
}

static void eject(struct vm *vm, u32 slots)
{
	for (slots &= SLOTS_HOT; slots; slots &= slots - 1) {
		unsigned slot = (unsigned)__builtin_ctz(slots);
		struct vdev *d = vm_pci_slots(vm)[slot];

		hotplug(vm)->up &= ~(1u << slot);
		hotplug(vm)->down &= ~(1u << slot);
		if (d)
			vdev_destroy(d);
	}
}

static u32 hotplug_read(struct vdev *d, u16 port, unsigned size)
{
	struct hotplug *s = d->state;
	u32 was = s->up;

	if (size != 4)
		return ~0u;
	switch (port - PLAT_PCI_HOTPLUG) {
	case REG_UP:
		s->up = 0;
		return was;
	case REG_DOWN:
		return s->down;
	case REG_SLOTS:
		return SLOTS_HOT;
	default:
		return 0;
	}
}

/* Only what was asked to go can be ejected: a guest does not throw its devices away by itself. */
static void hotplug_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	struct hotplug *s = d->state;

	if (size == 4 && port == PLAT_PCI_HOTPLUG + REG_EJECT)
		eject(d->vm, val & s->down);
}

/* Who was asked to go and has not gone yet goes now: nobody uses it any more. */
static void hotplug_reset(struct vdev *d)
{
	struct hotplug *s = d->state;

	eject(d->vm, s->down);
	*s = (struct hotplug){};
}

static bool hotplug_valid(const void *state)
{
	const struct hotplug *s = state;

	return !((s->up | s->down) & ~SLOTS_HOT);
}

int pci_hotplug_add(struct vm *vm, const struct vdev_type *type, u32 unit, unsigned *slot)
{
	struct vdev *d;
	int err = vdev_create(vm, type, unit, &d);

	if (err)
		return err;
	pci_reset(d);
	if (type->reset)
		type->reset(d);
	*slot = pci_slot(d);
	hotplug(vm)->up |= 1u << *slot;
	acpi_gpe(vm, PLAT_GPE_HOTPLUG);
	return 0;
}

int pci_hotplug_remove(struct vm *vm, unsigned slot)
{
	if (slot < PCI_SLOT_FIRST || slot > PCI_SLOT_LAST || !vm_pci_slots(vm)[slot])
		return -ENODEV;
	hotplug(vm)->down |= 1u << slot;
	return acpi_gpe(vm, PLAT_GPE_HOTPLUG) ? 0 : -EAGAIN;
}

bool pci_hotplug_leaving(struct vm *vm, unsigned slot)
{
	return hotplug(vm)->down >> slot & 1;
}

static const struct vdev_pio hotplug_pio[] = {{PLAT_PCI_HOTPLUG, REG_END, hotplug_read, hotplug_write}};

/* clang-format off */
const struct vdev_type pci_hotplug_vdev = {
	.name = "pci_hotplug", .version = 1, .state_size = sizeof(struct hotplug),
	.nr_pio = ARRAY_SIZE(hotplug_pio), .pio = hotplug_pio,
	.reset = hotplug_reset, .valid = hotplug_valid,
};
/* clang-format on */
VDEV_REGISTER(pci_hotplug_vdev);
