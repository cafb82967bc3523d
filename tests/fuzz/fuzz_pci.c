/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/pci.c vmm/platform/pci_func.c vmm/platform/pci_msi.c vmm/platform/pci_lpc.c vmm/platform/pci_hotplug.c vmm/platform/pci_testdev.c tests/unit/fake_vdev.c libs: -lcmocka */
/*
 * Accesses of all widths to configuration space and ports, and to wherever BARs have been moved, with devices that
 * come and go. Whatever happens: constants stay, regions are sorted and apart, what is decoded is what COMMAND says,
 * and the state could be saved and read back.
 */
#include "tests/unit/fake_pci.h"

struct step {
	u8 what, slot, off, size;
	u32 val;
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void check_regions(const struct region_table *t, u32 command)
{
	for (u32 i = 0; i < t->nr; i++) {
		require(t->r[i].first <= t->r[i].last && (!i || t->r[i - 1].last < t->r[i].first));
		require(!t->r[i].bar || pci_config(t->r[i].d)[CFG_COMMAND] & command);
	}
}

static void check(struct vm *vm)
{
	check_regions(&vm->pio, COMMAND_IO);
	check_regions(&vm->mmio, COMMAND_MEMORY);
	require(cfg_in(vm, 0, 0, 4) == 0x29c08086 && cfg_in(vm, 31, 0, 4) == 0x29188086);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct vdev *d = vm->pci_slots[slot];

		require(!d || (pci_slot(d) == slot && pci_state_valid(d, d->state)));
	}
}

static void step(struct vm *vm, const struct step *s)
{
	const unsigned slot = s->slot % PCI_SLOTS, width = 1u << s->size % 4;
	u64 at = (u64)cfg_in(vm, slot, 0x10 + 4 * (s->size / 4 % 6), 4);

	switch (s->what % 8) {
	case 0:
	case 1:
		cfg_out(vm, slot, s->off, width, s->val);
		break;
	case 2:
		pio_out(vm, PLAT_PCI_ADDR, 4, 0x80000000 | slot << 11 | s->off);
		pio_out(vm, (u16)(PLAT_PCI_DATA + (s->off & 3)), MIN(width, 4u), s->val);
		break;
	case 3:
		mmio_out(vm, (at & ~15ull) + s->off, width, s->val);
		mmio_in(vm, (at & ~15ull) + s->off, width);
		break;
	case 4:
		pio_out(vm, (u16)((at & ~3ull) + s->off), MIN(width, 4u), s->val);
		pio_in(vm, (u16)((at & ~3ull) + s->off), MIN(width, 4u));
		break;
	case 5:
		pio_out(vm, (u16)(PLAT_PCI_HOTPLUG + s->off % 16), 4, s->val);
		pio_in(vm, (u16)(PLAT_PCI_HOTPLUG + s->off % 16), 4);
		break;
	case 6: {
		unsigned where;

		pci_hotplug_add(vm, &pci_testdev_vdev, s->val, &where);
		break;
	}
	default:
		pci_hotplug_remove(vm, slot);
		break;
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct vm vm;

	fake_bus(&vm, 2);
	for (size_t i = 0; i + sizeof(struct step) <= size; i += sizeof(struct step)) {
		struct step s;

		memcpy(&s, data + i, sizeof(s));
		step(&vm, &s);
	}
	check(&vm);
	pci_restored(&vm);
	check(&vm);
	fake_vm_free(&vm);
	return 0;
}
