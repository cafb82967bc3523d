/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The devices of a VM: instances of every struct vdev_type in the image's .vdevs section, and of those
 * that were plugged in later; the accesses to their regions; their timers.
 */
#include "vmm/vdev.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/platform/pci.h"
#include "vmm/platform_map.h"
#include "vmm/vm.h"

extern const struct vdev_type *const __vdevs_start[], *const __vdevs_end[];

/* Between its coming due and our having the lock it may have been stopped, or set anew. */
static void dev_timer_fired(struct timer *t)
{
	struct dev_timer *dt = container_of(t, struct dev_timer, t);
	struct vm *vm = dt->d->vm;
	unsigned idx = (dt - vm->dev_timers) % VDEV_MAX_TIMERS;

	spin_lock(&vm->dev_lock);
	if (dt->set && !timer_armed(t)) {
		dt->set = false;
		/* What a disk has in flight comes to its end, also when the VM does. Between two lives the rings of the old
		 * one would be looked for in memory that is the next one's. */
		if (!vm->between_lives && (!vm->ending || vm->dma))
			dt->d->type->timer(dt->d, idx);
		gmem_release();
	}
	spin_unlock(&vm->dev_lock);
}

static struct dev_timer *dev_timer(struct vdev *d, unsigned idx)
{
	ASSERT(idx < d->type->nr_timers);
	return &d->vm->dev_timers[(d - d->vm->devs) * VDEV_MAX_TIMERS + idx];
}

void vdev_timer_set(struct vdev *d, unsigned idx, u64 deadline_ns)
{
	struct dev_timer *dt = dev_timer(d, idx);

	dt->deadline_ns = deadline_ns;
	dt->set = true;
	/* Not in the past: who asks for another turn gets it when others have had theirs (timer.c). */
	timer_set(&dt->t, MAX(d->vm->t0_tsc + ns_to_tsc(deadline_ns), rdtsc()));
}

void vdev_timer_sooner(struct vdev *d, unsigned idx, u64 deadline_ns)
{
	struct dev_timer *dt = dev_timer(d, idx);

	if (!dt->set || dt->deadline_ns > deadline_ns)
		vdev_timer_set(d, idx, deadline_ns);
}

void vdev_timer_stop(struct vdev *d, unsigned idx)
{
	struct dev_timer *dt = dev_timer(d, idx);

	dt->set = false;
	timer_stop(&dt->t);
}

int vdev_add_pio(struct vdev *d, const struct vdev_pio *r)
{
	return regions_add(&d->vm->pio, &(struct region){
		.first = r->first, .last = r->first + r->count - 1u, .d = d, .pio = r});
}

int vdev_add_mmio(struct vdev *d, const struct vdev_mmio *r)
{
	return regions_add(d->vm->mmio, &(struct region){
		.first = r->base, .last = r->base + r->size - 1, .base = r->base, .d = d, .mmio = r});
}

void vm_regions(struct vm *vm, vm_region_fn fn, void *arg)
{
	const struct region_table *t = &vm->pio;

	for (u32 i = 0; i < t->nr; i++)
		fn(arg, "port", t->r[i].first, t->r[i].last, t->r[i].d->type->name);
	t = vm->mmio;
	for (u32 i = 0; t && i < t->nr; i++)
		fn(arg, "memory", t->r[i].first, t->r[i].last, t->r[i].d->type->name);
	/* Each vCPU's own, where its base MSR says: above all devices, unless the guest moves it. */
	fn(arg, "memory", PLAT_LAPIC_BASE, PLAT_LAPIC_BASE + PLAT_LAPIC_SIZE - 1, "lapic");
}

static int fill(struct vdev *d)
{
	const struct vdev_type *type = d->type;
	int r = 0;

	d->state = kzalloc(MAX(vdev_state_size(type), 1u), FRAME_DEVICE, d->vm->id);
	if (!d->state)
		return -ENOMEM;
	if (type->pci) {
		ASSERT(!type->nr_pio && !type->nr_mmio);
		d->pci = kzalloc(sizeof(*d->pci), FRAME_DEVICE, d->vm->id);
		r = d->pci ? pci_attach(d) : -ENOMEM;
		if (r && d->pci) {
			kfree(d->pci);
			d->pci = NULL;
		}
	}
	for (unsigned i = 0; !r && i < type->nr_pio; i++)
		r = vdev_add_pio(d, &type->pio[i]);
	for (unsigned i = 0; !r && i < type->nr_mmio; i++)
		r = vdev_add_mmio(d, &type->mmio[i]);
	if (!r && type->init)
		r = type->init(d);
	return r;
}

void vdev_refuse(struct vdev *d, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(d->vm->dev_refused, sizeof(d->vm->dev_refused), fmt, ap);
	va_end(ap);
}

/* The bit first, then the request: who takes the bits has taken the request before. */
void vdev_work(struct vdev *d)
{
	struct vm *vm = d->vm;

	__atomic_fetch_or(&vm->dev_work, BIT(d - vm->devs), __ATOMIC_SEQ_CST);
	vcpu_request(vm->vcpus[0], REQ_DEVICE);
}
static_assert(VM_MAX_DEVS <= 64, "dev_work has a bit for each");

void vm_devices_work(struct vm *vm)
{
	u64 work = __atomic_exchange_n(&vm->dev_work, 0, __ATOMIC_SEQ_CST);

	spin_lock(&vm->dev_lock);
	for (; work && !vm->ending; work &= work - 1) {
		struct vdev *d = &vm->devs[__builtin_ctzl(work)];

		if (d->type && d->type->work)
			d->type->work(d);
	}
	spin_unlock(&vm->dev_lock);
}

static struct vdev *free_place(struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_devs; i++)
		if (!vm->devs[i].type)
			return &vm->devs[i];
	return vm->nr_devs < VM_MAX_DEVS ? &vm->devs[vm->nr_devs] : NULL;
}

int vdev_create(struct vm *vm, const struct vdev_type *type, u32 unit, struct vdev **out)
{
	struct vdev *d = free_place(vm);
	int r;

	if (!d)
		return -ENOSPC;
	*d = (struct vdev){.type = type, .vm = vm, .unit = unit};
	if (d == &vm->devs[vm->nr_devs])
		vm->nr_devs++;
	r = fill(d);
	if (r)
		vdev_destroy(d);
	else if (out)
		*out = d;
	return r;
}

static void free_device(struct vdev *d)
{
	if (d->type && d->type->destroy)
		d->type->destroy(d);
	if (d->pci)
		kfree(d->pci);
	if (d->state)
		kfree(d->state);
	*d = (struct vdev){.vm = d->vm};
}

void vdev_destroy(struct vdev *d)
{
	/* A timer that has come due already finds that it is not set. */
	for (unsigned t = 0; t < d->type->nr_timers; t++)
		vdev_timer_stop(d, t);
	if (d->pci)
		pci_detach(d);
	free_device(d);
}

int vm_devices_create(struct vm *vm, char *why, size_t n)
{
	vm->dev_timers = kzalloc(VM_MAX_DEVS * VDEV_MAX_TIMERS * sizeof(struct dev_timer),
				 FRAME_DEVICE, vm->id);
	vm->mmio = kzalloc(sizeof(*vm->mmio), FRAME_DEVICE, vm->id);
	if (!vm->dev_timers || !vm->mmio) {
		snprintf(why, n, "%s: no memory of our own is left for devices", vm->name);
		return -ENOMEM;
	}
	for (u32 i = 0; i < VM_MAX_DEVS * VDEV_MAX_TIMERS; i++) {
		timer_init(&vm->dev_timers[i].t, dev_timer_fired);
		vm->dev_timers[i].d = &vm->devs[i / VDEV_MAX_TIMERS];
	}
	for (const struct vdev_type *const *t = __vdevs_start; t < __vdevs_end; t++) {
		u32 units = (*t)->wanted && !(*t)->wanted(vm) ? 0 : (*t)->units ? (*t)->units(vm) : 1;

		for (; units; units &= units - 1) {
			u32 unit = (u32)__builtin_ctz(units);
			int r = vdev_create(vm, *t, unit, NULL);

			if (r && vm->dev_refused[0]) {
				snprintf(why, n, "%s: %s %u: %s", vm->name, (*t)->name, unit, vm->dev_refused);
				return r;
			}
			if (r) {
				snprintf(why, n, "%s: device %s could not be made (error %d)", vm->name,
					 (*t)->name, -r);
				return r;
			}
		}
	}
	return 0;
}

void vm_devices_stop(struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_devs; i++)
		for (unsigned t = 0; vm->devs[i].type && t < vm->devs[i].type->nr_timers; t++)
			vdev_timer_stop(&vm->devs[i], t);
}

void vm_devices_destroy(struct vm *vm)
{
	u32 nr = vm->nr_devs;

	/* Under the lock: a disk's interrupt may be about to wake one of them. */
	spin_lock(&vm->dev_lock);
	vm_devices_stop(vm);
	for (u32 i = 0; i < nr; i++)
		free_device(&vm->devs[i]);
	vm->nr_devs = vm->pio.nr = vm->pio.hit = 0;
	spin_unlock(&vm->dev_lock);
	for (u32 i = 0; i < nr * VDEV_MAX_TIMERS; i++)
		timer_stop_sync(&vm->dev_timers[i].t);
	if (vm->dev_timers)
		kfree(vm->dev_timers);
	if (vm->mmio)
		kfree(vm->mmio);
	vm->dev_timers = NULL;
	vm->mmio = NULL;
}

void vm_devices_reset(struct vm *vm)
{
	vm_devices_stop(vm);
	for (u32 i = 0; i < vm->nr_devs; i++) {
		struct vdev *d = &vm->devs[i];

		if (d->pci)
			pci_reset(d);
		if (d->type && d->type->reset)
			d->type->reset(d);
	}
	pci_firmware(vm);
}

static u32 ones(unsigned size)
{
	return size == 4 ? ~0u : (1u << size * 8) - 1;
}

/*
 * An access that is only partly inside a region is what a bus makes of it: byte by byte, and where
 * nobody answers, ones. Behind port 0xffff there is nobody. Each byte is looked up for itself: the one before
 * may have moved a BAR. These are apart, so that the usual access has no registers to save for them.
 */
static __attribute__((noinline)) u32 pio_read_bytes(struct vm *vm, u32 port, unsigned size)
{
	u32 val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (port + i > 0xffff ? 0xff : vm_pio_read(vm, (u16)(port + i), 1)) << i * 8;
	return val;
}

static __attribute__((noinline)) void pio_write_bytes(struct vm *vm, u32 port, unsigned size, u32 val)
{
	for (unsigned i = 0; i < size && port + i <= 0xffff; i++)
		vm_pio_write(vm, (u16)(port + i), 1, val >> i * 8 & 0xff);
}

static __attribute__((noinline)) u64 mmio_read_bytes(struct vcpu *v, gpa_t gpa, unsigned size)
{
	u64 val = 0;

	for (unsigned i = 0; i < size; i++)
		val |= (vm_mmio_read(v, gpa + i, 1) & 0xff) << i * 8;
	return val;
}

static __attribute__((noinline)) void mmio_write_bytes(struct vcpu *v, gpa_t gpa, unsigned size, u64 val)
{
	for (unsigned i = 0; i < size; i++)
		vm_mmio_write(v, gpa + i, 1, val >> i * 8 & 0xff);
}

u32 vm_pio_read(struct vm *vm, u16 port, unsigned size)
{
	const struct region *r;
	u32 val = ~0u;
	bool partly;

	spin_lock(&vm->dev_lock);
	r = regions_find(&vm->pio, port);
	if (likely(region_covers(r, port, size))) {
		if (likely(r->pio->read))
			val = r->pio->read(r->d, (u16)(port - r->base), size);
		spin_unlock(&vm->dev_lock);
		return val & ones(size);
	}
	partly = region_touches(r, port, size);
	spin_unlock(&vm->dev_lock);
	return partly ? pio_read_bytes(vm, port, size) : ones(size);
}

void vm_pio_write(struct vm *vm, u16 port, unsigned size, u32 val)
{
	const struct region *r;
	bool partly = false;

	spin_lock(&vm->dev_lock);
	r = regions_find(&vm->pio, port);
	if (unlikely(!region_covers(r, port, size)))
		partly = region_touches(r, port, size);
	else if (likely(r->pio->write))
		r->pio->write(r->d, (u16)(port - r->base), size, val & ones(size));
	spin_unlock(&vm->dev_lock);
	if (unlikely(partly))
		pio_write_bytes(vm, port, size, val);
}

static bool is_lapic(const struct vcpu *v, gpa_t gpa)
{
	/* Enabled and not in x2APIC mode, in which the page is as if it were not there. */
	return ((gpa ^ v->lapic.base_msr) & 0xffffffffff000ull) == 0 &&
	       (v->lapic.base_msr & (3u << 10)) == 1u << 11;
}

u64 vm_mmio_read(struct vcpu *v, gpa_t gpa, unsigned size)
{
	struct vm *vm = v->vm;
	const struct region *r;
	u64 val = ~0ull;
	bool partly = false;

	if (is_lapic(v, gpa)) {
		if (v->pv.eoi_lent)
			pv_eoi_take_back(v);
		return lapic_mmio_read(v, gpa & 0xfff, size);
	}
	spin_lock(&vm->dev_lock);
	r = regions_find(vm->mmio, gpa);
	if (unlikely(!region_covers(r, gpa, size)))
		partly = size > 1 && region_touches(r, gpa, size);
	else if (likely(r->mmio->read))
		val = r->mmio->read(r->d, gpa - r->base, size);
	spin_unlock(&vm->dev_lock);
	return unlikely(partly) ? mmio_read_bytes(v, gpa, size) : val;
}

void vm_mmio_write(struct vcpu *v, gpa_t gpa, unsigned size, u64 val)
{
	struct vm *vm = v->vm;
	const struct region *r;
	bool partly = false;

	if (is_lapic(v, gpa)) {
		if (v->pv.eoi_lent)
			pv_eoi_take_back(v);
		lapic_mmio_write(v, gpa & 0xfff, size, val);
		return;
	}
	spin_lock(&vm->dev_lock);
	r = regions_find(vm->mmio, gpa);
	if (unlikely(!region_covers(r, gpa, size)))
		partly = size > 1 && region_touches(r, gpa, size);
	else if (likely(r->mmio->write))
		r->mmio->write(r->d, gpa - r->base, size, val);
	spin_unlock(&vm->dev_lock);
	if (unlikely(partly))
		mmio_write_bytes(v, gpa, size, val);
}

u64 vm_time_ns(struct vm *vm)
{
	return tsc_to_ns(rdtsc() - vm->t0_tsc);
}

u64 vm_wallclock_ns(struct vm *vm)
{
	(void)vm;
	return wallclock_ns();
}

struct vm_irqchip *vm_irqchip(struct vm *vm)
{
	return &vm->irqchip;
}

u64 vm_memory_bytes(const struct vm *vm)
{
	return vm->ram_bytes;
}

unsigned vm_nr_ports(const struct vm *vm)
{
	return vm->cfg.pv_console || vm->cfg.nr_channels ? 1 + vm->cfg.nr_channels : 0;
}

const char *vm_port_name(const struct vm *vm, unsigned port)
{
	return port ? vm->cfg.channels[port - 1] : "pv";
}

struct port_device *vm_port_device(struct vm *vm)
{
	return &vm->port_device;
}

bool vm_balloon_wanted(const struct vm *vm)
{
	return vm->cfg.balloon;
}

u64 vm_balloon_start(const struct vm *vm)
{
	return MIB(vm->cfg.maxmem - vm->cfg.memory) / PAGE_SIZE;
}

bool vm_debug_exit_wanted(const struct vm *vm)
{
	return vm->cfg.debug_exit;
}

bool vm_debugcon_wanted(const struct vm *vm)
{
	return vm->cfg.debugcon;
}

u32 vm_vcpu_count(const struct vm *vm)
{
	return vm->nr_vcpus;
}

void vm_dma_begin(struct vm *vm)
{
	__atomic_add_fetch(&vm->dma, 1, __ATOMIC_SEQ_CST);
}

void vm_dma_end(struct vm *vm)
{
	__atomic_sub_fetch(&vm->dma, 1, __ATOMIC_SEQ_CST);
}

void vm_devices_lock(struct vm *vm)
{
	spin_lock(&vm->dev_lock);
}

void vm_devices_unlock(struct vm *vm)
{
	gmem_release();
	spin_unlock(&vm->dev_lock);
}

const char *vm_fw_cfg(const struct vm *vm)
{
	return vm->cfg.fw_cfg;
}

bool vm_hpet_wanted(const struct vm *vm)
{
	return vm->cfg.hpet;
}

bool vm_rng_wanted(const struct vm *vm)
{
	return vm->cfg.rng;
}

unsigned vm_vifs(const struct vm *vm)
{
	unsigned units = 0;

	for (u32 i = 0; i < VM_MAX_VIFS; i++)
		units |= (unsigned)!!vm->cfg.vifs[i].bridge[0] << i;
	return units;
}

const struct vm_config *vm_config(const struct vm *vm)
{
	return &vm->cfg;
}

void vdev_error(struct vdev *d)
{
	d->vm->device_errors++;
}

bool vm_has_ended(const struct vm *vm)
{
	return READ_ONCE(vm->ending) || READ_ONCE(vm->preserved);
}

unsigned vm_disks(const struct vm *vm)
{
	unsigned units = 0;

	for (u32 i = 0; i < VM_MAX_DISKS; i++)
		units |= (unsigned)(vm->cfg.disks[i].vdev[0] && !vm->cfg.disks[i].cdrom) << i;
	return units;
}

unsigned vm_cdroms(const struct vm *vm)
{
	unsigned units = 0;

	for (u32 i = 0; i < VM_MAX_DISKS; i++)
		units |= (unsigned)vm->cfg.disks[i].cdrom << i;
	return units;
}

struct vm_disk *vm_disk(struct vm *vm, u32 i)
{
	return &vm->cfg.disks[i];
}

struct vm_vif *vm_vif(struct vm *vm, u32 i)
{
	return &vm->cfg.vifs[i];
}

const char *vm_name(const struct vm *vm)
{
	return vm->name;
}

u16 vm_id(const struct vm *vm)
{
	return vm->id;
}

unsigned vm_testdevs(const struct vm *vm)
{
	return (1u << vm->cfg.testdev) - 1;
}

struct region_table *vm_pio_regions(struct vm *vm)
{
	return &vm->pio;
}

struct region_table *vm_mmio_regions(struct vm *vm)
{
	return vm->mmio;
}

struct vdev **vm_pci_slots(struct vm *vm)
{
	return vm->pci_slots;
}

struct vdev *vm_vdev(struct vm *vm, const struct vdev_type *type)
{
	for (u32 i = 0; i < vm->nr_devs; i++)
		if (vm->devs[i].type == type)
			return &vm->devs[i];
	return NULL;
}
