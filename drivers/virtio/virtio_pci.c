/* SPDX-License-Identifier: BSD-2-Clause */
/* The PCI transport of virtio 1.2, 4.1: registers, capabilities, interrupts. */
#include "drivers/virtio/virtio_pci.h"
#include "lib/errno.h"
#include "lib/string.h"

enum { BAR_IO = 0, BAR_MSIX = 1, BAR_MEM = 4 };
enum { MEM_COMMON = 0x0000, MEM_ISR = 0x1000, MEM_CONFIG = 0x2000, MEM_SIZE = 0x4000 };
#define IO_SIZE 128u

#define AT(field) offsetof(struct virtio_pci_common, field)

/* 4.1.4.8: the legacy interface; behind it, the vectors (only while MSI-X is enabled), then the configuration. */
enum { OLD_FEATURES = 0, OLD_DRIVER_FEATURES = 4, OLD_PFN = 8, OLD_SIZE = 12, OLD_SELECT = 14, OLD_NOTIFY = 16,
       OLD_STATUS = 18, OLD_ISR = 19, OLD_CONFIG_VECTOR = 20, OLD_QUEUE_VECTOR = 22 };

/* 4.1.5.3: by message if MSI-X is enabled, else by ISR and INTx. */
static void pci_interrupt(struct vdev *d, u16 vector, u8 isr)
{
	if (pci_msix_enabled(d)) {
		if (vector != VIRTIO_NO_VECTOR)
			pci_irq(d, vector);
		return;
	}
	virtio_of(d)->isr |= isr;
	pci_intx(d, true);
}

static u8 read_isr(struct vdev *d)
{
	u8 isr = virtio_of(d)->isr;

	virtio_of(d)->isr = 0;
	pci_intx(d, false);
	return isr;
}

/* A vector that there is none of reads back as none (4.1.5.1.2.1). */
static u16 vector_of(const struct vdev *d, u64 val)
{
	return val < d->type->pci->msix ? (u16)val : VIRTIO_NO_VECTOR;
}

/* ---- common configuration ---- */

static u64 common_read(struct vdev *d, u64 off, unsigned size)
{
	struct virtio *v = virtio_of(d);
	const struct virtq *q = virtio_selected(d);
	struct virtio_pci_common c = {
		.feature_select = v->feature_select, .driver_feature_select = v->driver_feature_select,
		.config_vector = v->config_vector, .num_queues = (u16)virtio_nr_queues(d), .status = v->status,
		.generation = v->generation, .queue_select = v->queue_select,
	};
	u64 val = 0;

	if (off + size > VIRTIO_PCI_COMMON_SIZE)
		return ~0ull;
	c.feature = virtio_offered_half(d);
	if (v->driver_feature_select < 2)
		c.driver_feature = (u32)(v->features >> 32 * v->driver_feature_select);
	c.queue_vector = VIRTIO_NO_VECTOR;
	if (q) {
		c.queue_size = q->size;
		c.queue_vector = v->queue_vector[v->queue_select];
		c.queue_enable = q->enabled && !q->resetting;
		c.queue_reset = q->resetting;
		c.queue_notify_data = v->queue_select;
		c.desc = q->desc;
		c.driver = q->driver;
		c.device = q->device;
	}
	memcpy(&val, (const u8 *)&c + off, size);
	return val;
}

/* An address: whole, or by halves. true: off was one of the three. */
static bool write_address(struct virtq *q, u64 off, unsigned size, u64 val)
{
	gpa_t *field[3] = {&q->desc, &q->driver, &q->device};
	u64 in = off - AT(desc);

	if (off < AT(desc) || in >= sizeof(field))
		return false;
	if (size == 8 && in % 8 == 0)
		*field[in / 8] = val;
	else if (size == 4 && in % 4 == 0)
		memcpy((u8 *)field[in / 8] + in % 8, &val, 4);
	return true;
}

static void queue_write(struct vdev *d, struct virtq *q, u64 off, unsigned size, u64 val)
{
	struct virtio *v = virtio_of(d);

	if (off == AT(queue_vector) && size == 2)
		v->queue_vector[v->queue_select] = vector_of(d, val);
	else if (off == AT(queue_reset) && size == 2 && val == 1)
		virtio_reset_queue(d, v->queue_select);
	else if (q->enabled)
		return; /* 4.1.4.3.2: the rest only while it is not */
	else if (off == AT(queue_size) && size == 2)
		virtio_set_queue_size(d, q, val);
	else if (off == AT(queue_enable) && size == 2 && val == 1)
		virtio_enable_queue(d, v->queue_select);
	else
		write_address(q, off, size, val);
}

/* Each field at its own width (4.1.3.1); what comes otherwise means nothing. */
static void common_write(struct vdev *d, u64 off, unsigned size, u64 val)
{
	struct virtio *v = virtio_of(d);

	if (off == AT(feature_select) && size == 4)
		v->feature_select = (u32)val;
	else if (off == AT(driver_feature_select) && size == 4)
		v->driver_feature_select = (u32)val;
	else if (off == AT(driver_feature) && size == 4)
		virtio_accept_half(d, (u32)val);
	else if (off == AT(config_vector) && size == 2)
		v->config_vector = vector_of(d, val);
	else if (off == AT(status) && size == 1)
		virtio_set_status(d, (u8)val);
	else if (off == AT(queue_select) && size == 2)
		v->queue_select = (u16)val;
	else if (virtio_selected(d))
		queue_write(d, virtio_selected(d), off, size, val);
}

/* ---- BAR4 ---- */

static u64 mem_read(struct vdev *d, u64 off, unsigned size)
{
	if (off < MEM_ISR)
		return common_read(d, off, size);
	if (off >= MEM_CONFIG)
		return virtio_config_read(d, off - MEM_CONFIG, size);
	return off == MEM_ISR ? read_isr(d) : ~0ull;
}

static void mem_write(struct vdev *d, u64 off, unsigned size, u64 val)
{
	if (off < MEM_ISR)
		common_write(d, off, size, val);
	else if (off >= MEM_CONFIG)
		virtio_config_write(d, off - MEM_CONFIG, size, val);
}

/* ---- BAR0: doorbell and legacy interface ---- */

/* A driver that knows no modern interface puts a queue in one piece: 2.7.2, with pages of 4096. */
static void old_set_pfn(struct vdev *d, struct virtq *q, u32 pfn)
{
	struct virtio *v = virtio_of(d);

	if (!pfn) {
		virtio_drop_queue(d, v->queue_select);
		return;
	}
	if (q->enabled || v->resetting)
		return;
	v->legacy = 1;
	v->features &= virtio_offered(d) & 0xffffffff;
	q->desc = (gpa_t)pfn << 12;
	q->driver = q->desc + 16ull * q->size;
	q->device = ALIGN_UP(q->driver + 6 + 2ull * q->size, 4096);
	virtio_enable_queue(d, v->queue_select);
}

static unsigned old_config(struct vdev *d)
{
	return pci_msix_enabled(d) ? 24 : 20;
}

static u32 io_read(struct vdev *d, u16 port, unsigned size)
{
	struct virtio *v = virtio_of(d);
	const struct virtq *q = virtio_selected(d);

	if (port >= old_config(d))
		return (u32)virtio_config_read(d, port - old_config(d), size);
	switch (port) {
	case OLD_FEATURES: return (u32)((virtio_offered(d) | VIRTIO_F_ANY_LAYOUT) & 0xffffffff);
	case OLD_DRIVER_FEATURES: return (u32)v->features;
	case OLD_PFN: return q && q->enabled ? (u32)(q->desc >> 12) : 0;
	case OLD_SIZE: return q ? q->size : 0;
	case OLD_SELECT: return v->queue_select;
	case OLD_STATUS: return v->status;
	case OLD_ISR: return read_isr(d);
	case OLD_CONFIG_VECTOR: return v->config_vector;
	case OLD_QUEUE_VECTOR: return q ? v->queue_vector[v->queue_select] : VIRTIO_NO_VECTOR;
	}
	return ~0u;
}

static void io_write_slow(struct vdev *d, u16 port, unsigned size, u32 val)
{
	struct virtio *v = virtio_of(d);
	struct virtq *q = virtio_selected(d);

	if (port >= old_config(d)) {
		virtio_config_write(d, port - old_config(d), size, val);
		return;
	}
	switch (port) {
	case OLD_DRIVER_FEATURES: virtio_accept(d, val & ~(u32)VIRTIO_F_ANY_LAYOUT); break;
	case OLD_PFN:
		if (q)
			old_set_pfn(d, q, val);
		break;
	case OLD_SELECT: v->queue_select = (u16)val; break;
	case OLD_STATUS:
		/* 3.1.1: who sets DRIVER_OK without FEATURES_OK is a legacy driver. */
		if (val & VIRTIO_DRIVER_OK && !(v->status & VIRTIO_FEATURES_OK))
			v->legacy = 1;
		virtio_set_status(d, (u8)val);
		break;
	case OLD_CONFIG_VECTOR: v->config_vector = vector_of(d, val & 0xffff); break;
	case OLD_QUEUE_VECTOR:
		if (q)
			v->queue_vector[v->queue_select] = vector_of(d, val & 0xffff);
		break;
	}
}

static void io_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	if (likely(port == OLD_NOTIFY))
		virtio_kick(d, val & 0xffff);
	else
		io_write_slow(d, port, size, val);
}

const struct pci_bar virtio_pci_bars[PCI_BARS] = {
	[BAR_IO] = {.flags = PCI_BAR_IO, .size = IO_SIZE, .pio = {.read = io_read, .write = io_write}},
	[BAR_MSIX] = PCI_MSIX_BAR,
	[BAR_MEM] = {.flags = PCI_BAR_64 | PCI_BAR_PREFETCH, .size = MEM_SIZE,
		     .mmio = {.read = mem_read, .write = mem_write}},
};

/* ---- the function ---- */

#define CAP_SIZE offsetof(struct virtio_pci_cap, multiplier)

static unsigned add_cap(struct vdev *d, u8 type, u8 bar, u32 offset, u32 length, unsigned size)
{
	unsigned at = pci_add_capability(d, 0x09, size);

	if (!at)
		return 0;
	pci_define(d, at + offsetof(struct virtio_pci_cap, len), 1, size, 0);
	pci_define(d, at + offsetof(struct virtio_pci_cap, type), 1, type, 0);
	pci_define(d, at + offsetof(struct virtio_pci_cap, bar), 1, bar, 0);
	pci_define(d, at + offsetof(struct virtio_pci_cap, offset), 4, offset, 0);
	pci_define(d, at + offsetof(struct virtio_pci_cap, length), 4, length, 0);
	return at;
}

/* 4.1.4.9: a BAR's registers for those who cannot reach the BAR. NULL: what the driver named is none, or lies across their end. */
static const struct pci_bar *windowed(struct vdev *d, struct virtio_pci_cap *c)
{
	const struct pci_bar *b;

	memcpy(c, pci_config(d) + d->place, sizeof(*c));
	b = c->bar < PCI_BARS ? &virtio_pci_bars[c->bar] : NULL;
	if (!b || (c->length != 1 && c->length != 2 && c->length != 4) || c->offset % c->length || c->offset >= b->size)
		return NULL;
	return b;
}

static bool touches_data(const struct vdev *d, unsigned off, unsigned size)
{
	unsigned data = d->place + offsetof(struct virtio_pci_cap, data);

	return d->place && off < data + sizeof(u32) && data < off + size;
}

void virtio_pci_wanted(struct vdev *d, unsigned off, unsigned size)
{
	struct virtio_pci_cap c;
	const struct pci_bar *b;
	u64 val = ~0ull;

	if (!touches_data(d, off, size))
		return;
	b = windowed(d, &c);
	if (b)
		val = b->flags & PCI_BAR_IO ? b->pio.read(d, (u16)c.offset, c.length) : b->mmio.read(d, c.offset, c.length);
	memcpy(pci_config(d) + d->place + offsetof(struct virtio_pci_cap, data), &val, b ? c.length : sizeof(u32));
}

void virtio_pci_written(struct vdev *d, unsigned off, unsigned size)
{
	struct virtio_pci_cap c;
	const struct pci_bar *b;

	if (!touches_data(d, off, size))
		return;
	b = windowed(d, &c);
	if (!b)
		return;
	c.data &= (u32)((1ull << 8 * c.length) - 1);
	if (b->flags & PCI_BAR_IO)
		b->pio.write(d, (u16)c.offset, c.length, c.data);
	else
		b->mmio.write(d, c.offset, c.length, c.data);
}

static void silence(struct vdev *d)
{
	pci_intx(d, false);
}

/* 4.1.2.1, 4.1.2.3: numbers of their own, by which they are found, and that of their kind as the subsystem's; revision 0. */
static void make_transitional(struct vdev *d)
{
	static const u8 numbers[] = {[1] = 0, [2] = 1, [3] = 3, [4] = 5, [5] = 2, [8] = 4};
	u32 id = virtio_model_of(d)->id;

	if (id >= ARRAY_SIZE(numbers))
		return; /* younger than the legacy interface */
	pci_define(d, 0x02, 2, VIRTIO_PCI_TRANSITIONAL + numbers[id], 0);
	pci_define(d, 0x08, 1, 0, 0);
	pci_define(d, 0x2e, 2, id, 0);
}

static int init(struct vdev *d)
{
	if (vm_config(d->vm)->virtio_transport == VIRTIO_ON_PCI_TRANSITIONAL)
		make_transitional(d);
	add_cap(d, VIRTIO_CAP_COMMON, BAR_MEM, MEM_COMMON, VIRTIO_PCI_COMMON_SIZE, CAP_SIZE);
	add_cap(d, VIRTIO_CAP_ISR, BAR_MEM, MEM_ISR, 1, CAP_SIZE);
	if (virtio_type_of(d)->config_size)
		add_cap(d, VIRTIO_CAP_DEVICE, BAR_MEM, MEM_CONFIG, virtio_type_of(d)->config_size, CAP_SIZE);
	/* The multiplier behind it stays 0: all queues ring at one port, by their numbers. */
	add_cap(d, VIRTIO_CAP_NOTIFY, BAR_IO, OLD_NOTIFY, 2, sizeof(struct virtio_pci_cap));
	d->place = add_cap(d, VIRTIO_CAP_PCI_CFG, 0, 0, 0, sizeof(struct virtio_pci_cap));
	if (!d->place)
		return -ENOSPC;
	pci_define(d, d->place + offsetof(struct virtio_pci_cap, bar), 1, 0, 0xff);
	for (unsigned at = offsetof(struct virtio_pci_cap, offset); at < sizeof(struct virtio_pci_cap); at += 4)
		pci_define(d, d->place + at, 4, 0, ~0u);
	return 0;
}

const struct virtio_transport virtio_pci_transport = {.init = init, .interrupt = pci_interrupt, .silence = silence};
