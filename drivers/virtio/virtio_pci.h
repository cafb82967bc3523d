/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The transports, and how a device's file registers its kind behind each of them.
 *
 * PCI (virtio 1.2, 4.1): the BARs are the same for all devices:
 *
 *   BAR0  I/O      the legacy interface, whose notify register is the modern one's, too: a write to a port says all
 *                  about itself, so a doorbell's exit decodes nothing
 *   BAR1  memory   the MSI-X table
 *   BAR4  memory   common configuration, ISR, device configuration
 *
 * With `virtio_transport = "pci-transitional"` they have the numbers that drivers look for which know the legacy interface alone.
 *
 * MMIO (4.2), with `virtio_transport = "mmio"` in the VM file: devices lie one behind the other from PLAT_VIRTIO_BASE on, in
 * the order in which the VM has them, each with an I/O APIC line of its own.
 */
#pragma once
#include "drivers/virtio/virtio.h"
#include "vmm/config.h"

extern const struct virtio_transport virtio_pci_transport, virtio_mmio_transport;
extern const struct pci_bar virtio_pci_bars[PCI_BARS];
void virtio_pci_wanted(struct vdev *d, unsigned off, unsigned size);
void virtio_pci_written(struct vdev *d, unsigned off, unsigned size);
static inline bool virtio_by_mmio(const struct vm *vm)
{
	return vm_config(vm)->virtio_transport == VIRTIO_ON_MMIO;
}
static inline bool virtio_by_pci(const struct vm *vm)
{
	return !virtio_by_mmio(vm);
}

/*
 * Register `type`, a struct virtio_type of this file, behind both; a VM has it behind one. name: for people; state: the struct
 * that begins with struct virtio; class_code: PCI's, three bytes; vectors: of MSI-X, one more than queues; which: of them a VM
 * has, as vdev_type.units.
 */
#define VIRTIO_VDEV(type, label, vers, state, which)                                                                      \
	.name = label, .version = vers, .state_size = sizeof(state), .nr_timers = VIRTIO_TIMERS, .units = which,         \
	.init = virtio_init, .destroy = virtio_destroy, .reset = virtio_reset, .valid = type##_state_valid,           \
	.timer = virtio_timer, .work = virtio_work
#define VIRTIO_DEVICE(type, label, vers, state, class_code, vectors, which)                                               \
	static bool type##_state_valid(const void *s)                                                                 \
	{                                                                                                             \
		return virtio_valid(&type, s);                                                                        \
	}                                                                                                             \
	const struct virtio_model type##_pci = {                                                                      \
		.vdev = {VIRTIO_VDEV(type, label, vers, state, which), .wanted = virtio_by_pci, .pci = &type##_pci.ident}, \
		.ident = {.vendor = VIRTIO_PCI_VENDOR, .device = VIRTIO_PCI_MODERN + type##_ID,                       \
			  .subsys_vendor = VIRTIO_PCI_VENDOR, .subsys = 0x1100, .class_rev = (class_code) << 8 | 1,    \
			  .int_pin = 1, .endpoint = true, .msix = (vectors), .msix_bar = 1, .bar = virtio_pci_bars,    \
			  .config_wanted = virtio_pci_wanted, .config_written = virtio_pci_written},                  \
		.id = type##_ID, .virtio = &type, .transport = &virtio_pci_transport};                                \
	const struct virtio_model type##_mmio = {                                                                     \
		.vdev = {VIRTIO_VDEV(type, label, vers, state, which), .wanted = virtio_by_mmio},                        \
		.id = type##_ID, .virtio = &type, .transport = &virtio_mmio_transport};                               \
	static const struct vdev_type *const type##_pci_entry __used __section(".vdevs") = &type##_pci.vdev;           \
	static const struct vdev_type *const type##_mmio_entry __used __section(".vdevs") = &type##_mmio.vdev
