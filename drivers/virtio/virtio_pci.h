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
 */
#pragma once
#include "drivers/virtio/virtio.h"

extern const struct virtio_transport virtio_pci_transport;
extern const struct pci_bar virtio_pci_bars[PCI_BARS];

/*
 * Register `type`, a struct virtio_type of this file. name: for people; state: the struct that begins with struct virtio;
 * class_code: PCI's, three bytes; vectors: of MSI-X, one more than queues; which: of them a VM has, as vdev_type.units.
 */
#define VIRTIO_DEVICE(type, label, vers, state, class_code, vectors, which)                                             \
	static bool type##_state_valid(const void *s)                                                                 \
	{                                                                                                             \
		return virtio_valid(&type, s);                                                                        \
	}                                                                                                             \
	const struct virtio_model type##_pci = {                                                                      \
		.vdev = {.name = label, .version = vers, .state_size = sizeof(state), .nr_timers = VIRTIO_TIMERS,      \
			 .pci = &type##_pci.ident, .units = which, .init = virtio_init, .destroy = virtio_destroy,        \
			 .reset = virtio_reset, .valid = type##_state_valid, .timer = virtio_timer,          \
			 .work = virtio_work},                                                                         \
		.ident = {.vendor = VIRTIO_PCI_VENDOR, .device = VIRTIO_PCI_MODERN + type##_ID,                       \
			  .subsys_vendor = VIRTIO_PCI_VENDOR, .subsys = 0x1100, .class_rev = (class_code) << 8 | 1,    \
			  .int_pin = 1, .endpoint = true, .msix = (vectors), .msix_bar = 1, .bar = virtio_pci_bars},   \
		.virtio = &type, .transport = &virtio_pci_transport};                                                 \
	static const struct vdev_type *const type##_pci_entry __used __section(".vdevs") = &type##_pci.vdev
