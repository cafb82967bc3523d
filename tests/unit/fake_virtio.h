/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM for virtio's kinds of devices under test, with a transport that only counts, and a driver's side of split rings. */
#pragma once
#include "drivers/virtio/virtio_pci.h"
#include "lib/log.h"
#include "tests/unit/fake_gmem.h"

struct vm {
	struct vm_balloon balloon;
	struct port_device port;
	u64 now, timer; /* timer: ~0: not set */
	u32 ticket, released, claimed, forgot, interrupts;
	bool release_fails, waits, busy;
	gpa_t last;
	char out[4096], typed[64];
	size_t nr_out, nr_typed;
	unsigned nr_ports;
};
static struct vm vm;
static struct vdev dev;
static u8 state[8192] __aligned(8);

extern const struct virtio_model balloon_pci, console_pci;
static const struct virtio_model *const models[] = {NULL, &balloon_pci, &console_pci};

static int no_registers(struct vdev *d) { (void)d; return 0; }
static void interrupt(struct vdev *d, u16 vector, u8 isr)
{
	(void)vector, (void)isr;
	d->vm->interrupts++;
}
static void silence(struct vdev *d) { (void)d; }
const struct virtio_transport virtio_pci_transport = {no_registers, interrupt, silence}, virtio_mmio_transport;
const struct pci_bar virtio_pci_bars[PCI_BARS];
void virtio_pci_wanted(struct vdev *d, unsigned off, unsigned size) { (void)d, (void)off, (void)size; }
void virtio_pci_written(struct vdev *d, unsigned off, unsigned size) { (void)d, (void)off, (void)size; }

void log_line(enum log_level level, const char *fmt, ...) { (void)level, (void)fmt; }
void vdev_error(struct vdev *d) { (void)d; }
const char *vm_name(const struct vm *v) { (void)v; return "v"; }
const struct vm_config *vm_config(const struct vm *v) { (void)v; abort(); }
u16 vm_id(const struct vm *v) { (void)v; return 1; }
u64 vm_time_ns(struct vm *v) { return v->now; }
void vdev_timer_set(struct vdev *d, unsigned idx, u64 at) { if (idx) abort(); d->vm->timer = at; }
void vdev_timer_sooner(struct vdev *d, unsigned idx, u64 at) { if (idx) abort(); d->vm->timer = MIN(d->vm->timer, at); }
void vdev_timer_stop(struct vdev *d, unsigned idx) { if (idx) abort(); d->vm->timer = ~0ull; }
bool gmem_sparse(const struct vm *v) { (void)v; return true; }
int gmem_prepare(struct vm *v, gpa_t gpa, u64 n) { (void)gpa, (void)n; return v->busy ? -EAGAIN : 0; }
/* the balloon's VM */
bool vm_balloon_wanted(const struct vm *v) { (void)v; return true; }
u64 vm_balloon_start(const struct vm *v) { (void)v; return 256; }
struct vm_balloon *vm_balloon(struct vm *v) { return &v->balloon; }
int vm_release_page(struct vm *v, gpa_t gpa)
{
	if (!gmem_is_ram(v, gpa, PAGE_SIZE))
		return -EFAULT;
	if (v->release_fails)
		return -EAGAIN;
	v->released++;
	v->last = gpa;
	v->waits = true;
	return 0;
}
int vm_release_block(struct vm *v, gpa_t gpa) { return vm_release_page(v, gpa); }
int vm_claim_page(struct vm *v, gpa_t gpa) { v->claimed++; return gmem_is_ram(v, gpa, PAGE_SIZE) ? 0 : -EFAULT; }
bool vm_release_waits(const struct vm *v) { return v->waits; }
void vm_release_forget(struct vm *v) { v->forgot++; }
u32 vm_release_flush(struct vm *v) { v->waits = false; return ++v->ticket; }
/* the console's */
unsigned vm_nr_ports(const struct vm *v) { return v->nr_ports; }
const char *vm_port_name(const struct vm *v, unsigned port) { (void)v; return port ? "org.x" : "pv"; }
struct port_device *vm_port_device(struct vm *v) { return &v->port; }
u64 vm_port_write(struct vm *v, unsigned port, const void *buf, u64 n)
{
	if (port >= v->nr_ports || v->busy)
		return port >= v->nr_ports ? (abort(), 0) : 0;
	for (u64 i = 0; i < n && v->nr_out < sizeof(v->out); i++)
		v->out[v->nr_out++] = ((const char *)buf)[i];
	return n;
}
size_t vm_port_typed(struct vm *v, unsigned port, u8 *buf, size_t n)
{
	if (port >= v->nr_ports)
		abort();
	n = n < v->nr_typed ? n : v->nr_typed;
	if (!n)
		return v->nr_typed;
	memcpy(buf, v->typed, n);
	memmove(v->typed, v->typed + n, v->nr_typed - n);
	v->nr_typed -= n;
	return n;
}

/* The entry'th device; its queues lie one behind the other from 0x1000 on, 0x800 each, of 8 descriptors. */
#define RING(q) (0x1000ull + (q) * 0x800ull)
static void attach(unsigned entry, unsigned nr_ports)
{
	vm = (struct vm){.timer = ~0ull, .nr_ports = nr_ports};
	memset(fake_ram, 0, sizeof(fake_ram));
	memset(state, 0, sizeof(state));
	dev = (struct vdev){.type = &models[entry]->vdev, .vm = &vm, .state = state};
	if (dev.type->state_size > sizeof(state) || dev.type->init(&dev))
		abort();
	dev.type->reset(&dev);
}
#define SPLIT (~VIRTIO_F_RING_PACKED) /* all features but this */
static void drive(u64 features)
{
	virtio_set_status(&dev, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
	virtio_accept(&dev, (features & virtio_offered(&dev)) | VIRTIO_F_VERSION_1);
	virtio_set_status(&dev, VIRTIO_FEATURES_OK);
	for (unsigned i = 0; i < virtio_nr_queues(&dev); i++) {
		struct virtq *q = &virtio_of(&dev)->queue[i];

		q->size = 8;
		q->desc = RING(i);
		q->driver = RING(i) + 0x100;
		q->device = RING(i) + 0x200;
		virtio_enable_queue(&dev, i);
	}
	virtio_set_status(&dev, VIRTIO_DRIVER_OK);
}
/* The timer comes due, again and again. */
static __attribute__((unused)) void due(void)
{
	for (unsigned n = 0; vm.timer != ~0ull && n < 50; n++) {
		vm.now = vm.now > vm.timer ? vm.now : vm.timer;
		vm.timer = ~0ull;
		dev.type->timer(&dev, 0);
	}
}
