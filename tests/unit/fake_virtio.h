/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM for virtio's kinds of devices under test, behind the real transport on a PCI bus that only counts. */
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
	bool dense, no_memory; /* of gmem_sparse(), gmem_prepare() */
	bool msix, intx, ended;
	bool any_vector; /* the device may say one that it does not have: pci_irq() looks */
	unsigned next_cap;
	int dma;
	gpa_t last;
	char out[4096], typed[64];
	size_t nr_out, nr_typed;
	unsigned nr_ports;
};
static struct vm vm;
static struct vdev dev;
static u8 state[8192] __aligned(8);

/* the bus */
unsigned pci_add_capability(struct vdev *d, u8 id, unsigned size)
{
	unsigned at = 0x40 + d->vm->next_cap;

	(void)id;
	d->vm->next_cap += ALIGN_UP(size, 4);
	return at + size <= PCI_CFG_SIZE ? at : 0;
}
void pci_define(struct vdev *d, unsigned off, unsigned size, u32 val, u32 writable)
{
	(void)d, (void)val, (void)writable;
	if (off < 0x40 || off + size > PCI_CFG_SIZE)
		abort();
}
bool pci_msix_enabled(struct vdev *d) { return d->vm->msix; }
void pci_irq(struct vdev *d, unsigned vector)
{
	if (vector >= d->type->pci->msix && !d->vm->any_vector)
		abort();
	d->vm->interrupts++;
}
void pci_intx(struct vdev *d, bool level)
{
	d->vm->intx = level;
	d->vm->interrupts += level;
}
u64 pci_msix_read(struct vdev *d, u64 off, unsigned size) { (void)d, (void)off, (void)size; abort(); }
void pci_msix_write(struct vdev *d, u64 off, unsigned size, u64 val) { (void)d, (void)off, (void)size, (void)val; abort(); }
u8 *pci_config(struct vdev *d)
{
	static u8 bytes[PCI_CFG_SIZE];

	(void)d;
	return bytes;
}
const struct virtio_transport virtio_mmio_transport; /* the other one is not looked at here */

void log_line(enum log_level level, const char *fmt, ...) { (void)level, (void)fmt; }
void vdev_error(struct vdev *d) { (void)d; }
const char *vm_name(const struct vm *v) { (void)v; return "v"; }
static struct vm_config cfg;
const struct vm_config *vm_config(const struct vm *v) { (void)v; return &cfg; }
u16 vm_id(const struct vm *v) { (void)v; return 1; }
u64 vm_time_ns(struct vm *v) { return v->now; }
void vdev_timer_set(struct vdev *d, unsigned idx, u64 at) { if (idx) abort(); d->vm->timer = at; }
void vdev_timer_sooner(struct vdev *d, unsigned idx, u64 at) { if (idx) abort(); d->vm->timer = MIN(d->vm->timer, at); }
void vdev_timer_stop(struct vdev *d, unsigned idx) { if (idx) abort(); d->vm->timer = ~0ull; }
bool gmem_sparse(const struct vm *v) { return !v->dense; }
bool gmem_usual(const struct vm *v) { return v->dense; }
int gmem_prepare(struct vm *v, gpa_t gpa, u64 n)
{
	(void)gpa, (void)n;
	return v->no_memory ? -ENOMEM : v->busy ? -EAGAIN : 0;
}
void vm_dma_begin(struct vm *v) { v->dma++; }
void vm_dma_end(struct vm *v)
{
	if (--v->dma < 0)
		abort();
}
bool vm_has_ended(const struct vm *v) { return v->ended; }
void vdev_refuse(struct vdev *d, const char *fmt, ...) { (void)d, (void)fmt; }
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

extern const struct virtio_model balloon_pci, console_pci;
/* Its queues lie one behind the other from 0x1000 on, 0x800 each, of 8 descriptors. */
#define RING(q) (0x1000ull + (q) * 0x800ull)
static __attribute__((unused)) void attach(const struct virtio_model *m, unsigned nr_ports)
{
	vm = (struct vm){.timer = ~0ull, .nr_ports = nr_ports};
	memset(fake_ram, 0, sizeof(fake_ram));
	memset(state, 0, sizeof(state));
	dev = (struct vdev){.type = &m->vdev, .vm = &vm, .state = state};
	if (dev.type->state_size > sizeof(state) || dev.type->init(&dev))
		abort();
	dev.type->reset(&dev);
}
#define SPLIT (~VIRTIO_F_RING_PACKED) /* all features but this */
static __attribute__((unused)) void drive(u64 features)
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
