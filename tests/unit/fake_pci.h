/* SPDX-License-Identifier: BSD-2-Clause */
/* A bus with test devices, for test_pci.c and fuzz_pci.c: slots 3, 4 and so on. */
#pragma once
#include "tests/unit/fake_vdev.h"
#include "vmm/platform/pci_private.h"

#define FIRST_SLOT 3u
enum { CAP_AT_PM = 0x40, CAP_AT_EXPRESS = 0x48, CAP_AT_MSI = 0x84, CAP_AT_MSIX = 0x9c };

static inline void fake_bus(struct vm *vm, unsigned devices)
{
	fake_vm_init(vm);
	fake_attach(vm, &pci_vdev);
	fake_attach(vm, &pci_host_vdev);
	fake_attach(vm, &pci_lpc_vdev);
	fake_attach(vm, &pci_hotplug_vdev);
	for (unsigned i = 0; i < devices; i++)
		fake_attach(vm, &pci_testdev_vdev);
	pci_firmware(vm);
}

static inline u64 ecam(unsigned slot, unsigned off)
{
	return PLAT_ECAM_BASE + ((u64)slot << 15) + off;
}

static inline u32 cfg_in(struct vm *vm, unsigned slot, unsigned off, unsigned size)
{
	return (u32)mmio_in(vm, ecam(slot, off), size);
}

static inline void cfg_out(struct vm *vm, unsigned slot, unsigned off, unsigned size, u32 val)
{
	mmio_out(vm, ecam(slot, off), size, val);
}
