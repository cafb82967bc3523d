/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MMIO transport of virtio 1.2, 4.2 (version 2): registers, interrupt. Nothing here is found by asking a bus: the
 * VM's ACPI tables (platform/virtio.asl) say where the devices are.
 */
#include "drivers/virtio/virtio_pci.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/irq.h"
#include "vmm/platform_map.h"
#include "vmm/regions.h"

/* 4.2.2 */
enum { MAGIC = 0x000, VERSION = 0x004, DEVICE_ID = 0x008, VENDOR_ID = 0x00c, DEVICE_FEATURES = 0x010,
       DEVICE_FEATURES_SEL = 0x014, DRIVER_FEATURES = 0x020, DRIVER_FEATURES_SEL = 0x024, QUEUE_SEL = 0x030,
       QUEUE_NUM_MAX = 0x034, QUEUE_NUM = 0x038, QUEUE_READY = 0x044, QUEUE_NOTIFY = 0x050, INTERRUPT_STATUS = 0x060,
       INTERRUPT_ACK = 0x064, STATUS = 0x070, QUEUE_DESC = 0x080, QUEUE_DRIVER = 0x090, QUEUE_DEVICE = 0x0a0,
       QUEUE_RESET = 0x0c0, GENERATION = 0x0fc, CONFIG = 0x100 };
#define MAGIC_VALUE 0x74726976u /* "virt" */
#define OUR_VENDOR  0x474e4c44u /* "DLNG" */

static_assert(PLAT_GSI_VIRTIO + PLAT_VIRTIO_MAX == VM_NR_GSI, "each has a line of its own");

/* The line is level-triggered: high as long as the driver has something to acknowledge (4.2.3.4 with 4.2.2, InterruptACK). */
static void drive_line(struct vdev *d)
{
	vm_irq_set(d->vm, PLAT_GSI_VIRTIO + d->place, virtio_of(d)->isr);
}

static void mmio_interrupt(struct vdev *d, u16 vector, u8 isr)
{
	(void)vector;
	virtio_of(d)->isr |= isr;
	drive_line(d);
}

/*
 * QueueReady stays 1 until a queue that is being stopped or reset has let go of all it had: the driver "MUST read the value
 * back to ensure synchronization" (4.2.2.2), and 2.6.1.1 has both registers become 0 together. What there is none of -
 * write-only and unknown registers, and shared memory, whose length is then all ones (4.2.2) - reads as ones.
 */
static u32 queue_read(const struct vdev *d, const struct virtq *q, u64 off)
{
	switch (off) {
	case QUEUE_NUM_MAX: return q ? virtio_type_of(d)->queue_size : 0;
	case QUEUE_READY: return q && q->enabled;
	case QUEUE_RESET: return q && q->resetting;
	}
	return ~0u;
}

static u32 register_read(struct vdev *d, u64 off)
{
	const struct virtio *v = virtio_of(d);

	switch (off) {
	case MAGIC: return MAGIC_VALUE;
	case VERSION: return 2;
	case DEVICE_ID: return virtio_model_of(d)->id;
	case VENDOR_ID: return OUR_VENDOR;
	case DEVICE_FEATURES: return virtio_offered_half(d);
	case INTERRUPT_STATUS: return v->isr;
	case STATUS: return v->status;
	case GENERATION: return v->generation;
	}
	return queue_read(d, virtio_selected(d), off);
}

static void queue_write(struct vdev *d, struct virtq *q, u64 off, u32 val)
{
	gpa_t *field[3] = {&q->desc, &q->driver, &q->device};
	u64 in = off - QUEUE_DESC;

	if (off == QUEUE_READY && !val)
		virtio_drop_queue(d, virtio_of(d)->queue_select);
	else if (off == QUEUE_RESET && val == 1)
		virtio_reset_queue(d, virtio_of(d)->queue_select);
	else if (q->enabled)
		return; /* 4.2.2.2: the rest only while it is not */
	else if (off == QUEUE_NUM)
		virtio_set_queue_size(d, q, val);
	else if (off == QUEUE_READY && val == 1)
		virtio_enable_queue(d, virtio_of(d)->queue_select);
	else if (off >= QUEUE_DESC && in / 16 < ARRAY_SIZE(field) && in % 16 < sizeof(gpa_t))
		memcpy((u8 *)field[in / 16] + in % 16, &val, sizeof(val));
}

static void register_write(struct vdev *d, u64 off, u32 val)
{
	struct virtio *v = virtio_of(d);

	switch (off) {
	case DEVICE_FEATURES_SEL: v->feature_select = val; return;
	case DRIVER_FEATURES_SEL: v->driver_feature_select = val; return;
	case DRIVER_FEATURES: virtio_accept_half(d, val); return;
	case QUEUE_SEL: v->queue_select = (u16)MIN(val, 0xffffu); return;
	case INTERRUPT_ACK:
		v->isr &= (u8)~val;
		drive_line(d);
		return;
	case STATUS: virtio_set_status(d, (u8)val); return;
	}
	if (virtio_selected(d))
		queue_write(d, virtio_selected(d), off, val);
}

/* 4.2.2.2: registers by 32 bits, aligned; what comes otherwise means nothing. The configuration as its fields are wide. */
static u64 mmio_read(struct vdev *d, u64 off, unsigned size)
{
	if (off >= CONFIG)
		return virtio_config_read(d, off - CONFIG, size);
	return size == 4 && off % 4 == 0 ? register_read(d, off) : ~0ull;
}

static void mmio_write(struct vdev *d, u64 off, unsigned size, u64 val)
{
	if (likely(off == QUEUE_NOTIFY && size == 4))
		virtio_kick(d, (u32)val);
	else if (off >= CONFIG)
		virtio_config_write(d, off - CONFIG, size, val);
	else if (size == 4 && off % 4 == 0)
		register_write(d, off, (u32)val);
}

/* The places in the order in which devices are made; none is ever given back while the VM lives. */
static int init(struct vdev *d)
{
	static const struct vdev_mmio registers = {.read = mmio_read, .write = mmio_write};
	struct region r = {.d = d, .mmio = &registers};

	if (vm_irqchip(d->vm)->nr_virtio == PLAT_VIRTIO_MAX)
		return -ENOSPC;
	d->place = vm_irqchip(d->vm)->nr_virtio++;
	r.first = r.base = PLAT_VIRTIO_BASE + d->place * PLAT_VIRTIO_SIZE;
	r.last = r.first + PLAT_VIRTIO_SIZE - 1;
	return regions_add(vm_mmio_regions(d->vm), &r);
}

const struct virtio_transport virtio_mmio_transport = {.init = init, .interrupt = mmio_interrupt, .silence = drive_line};
