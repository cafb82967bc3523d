/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio over PCI (virtio 1.2, 4.1): what a device's file needs to be one. The BARs are the same for all:
 *
 *   BAR0  I/O      the legacy interface, whose notify register is the modern one's, too: a write to a port says all
 *                  about itself, so a doorbell's exit decodes nothing
 *   BAR1  memory   the MSI-X table
 *   BAR4  memory   common configuration, ISR, device configuration
 */
#pragma once
#include "drivers/virtio/virtio.h"
#include "vmm/pci.h"

struct virtio_pci_type {
	struct vdev_type vdev;
	struct pci_ident ident;
	struct virtio_type virtio;
};

extern const struct pci_bar virtio_pci_bars[PCI_BARS];
int virtio_pci_init(struct vdev *d);
void virtio_pci_reset(struct vdev *d);
bool virtio_pci_valid_state(const struct virtio_type *t, const void *state);
void virtio_pci_restored(struct vdev *d);

#define VIRTIO_PCI_VENDOR  0x1af4
#define VIRTIO_PCI_DEVICE  0x1040 /* and the type: 4.1.2 */

/* The start of a struct virtio_pci_type: VDEV(name, size of the state, version), IDENT(type, PCI class, queues). */
#define VIRTIO_PCI_IDENT(type, class_code, vectors)                                                                  \
	{.vendor = VIRTIO_PCI_VENDOR, .device = VIRTIO_PCI_DEVICE + (type), .subsys_vendor = VIRTIO_PCI_VENDOR,       \
	 .subsys = 0x1100, .class_rev = (class_code) << 8 | 1, .int_pin = 1, .endpoint = true, .msix = (vectors),     \
	 .msix_bar = 1, .bar = virtio_pci_bars}
