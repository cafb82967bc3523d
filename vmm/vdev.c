/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The devices of a VM: instances of every struct vdev_type in the image's .vdevs section, their
 * regions in two sorted arrays searched by bisection, their timers.
 */
#include "vmm/vdev.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
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
		if (!vm->ending)
			dt->d->type->timer(dt->d, idx);
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
	timer_set(&dt->t, d->vm->t0_tsc + ns_to_tsc(deadline_ns));
}

void vdev_timer_stop(struct vdev *d, unsigned idx)
{
	struct dev_timer *dt = dev_timer(d, idx);

	dt->set = false;
	timer_stop(&dt->t);
}

static int add_region(struct region_table *t, const struct region *new)
{
	u32 i;

	if (t->nr == VM_MAX_REGIONS)
		return -ENOSPC;
	for (i = t->nr; i && t->r[i - 1].first > new->last; i--)
		;
	if (i && t->r[i - 1].last >= new->first)
		return -EEXIST;
	memmove(&t->r[i + 1], &t->r[i], (t->nr - i) * sizeof(t->r[0]));
	t->r[i] = *new;
	t->nr++;
	return 0;
}

int vdev_add_pio(struct vdev *d, const struct vdev_pio *r)
{
	return add_region(&d->vm->pio, &(struct region){r->first, r->first + r->count - 1u, d, .pio = r});
}

int vdev_add_mmio(struct vdev *d, const struct vdev_mmio *r)
{
	return add_region(&d->vm->mmio, &(struct region){r->base, r->base + r->size - 1, d, .mmio = r});
}

void vm_regions(struct vm *vm, vm_region_fn fn, void *arg)
{
	const struct region_table *t = &vm->pio;

	for (u32 i = 0; i < t->nr; i++)
		fn(arg, "port", t->r[i].first, t->r[i].last, t->r[i].d->type->name);
	t = &vm->mmio;
	for (u32 i = 0; i < t->nr; i++)
		fn(arg, "memory", t->r[i].first, t->r[i].last, t->r[i].d->type->name);
	/* Each vCPU's own, where its base MSR says: above all devices, unless the guest moves it. */
	fn(arg, "memory", PLAT_LAPIC_BASE, PLAT_LAPIC_BASE + PLAT_LAPIC_SIZE - 1, "lapic");
}

static int device_create(struct vm *vm, const struct vdev_type *type)
{
	struct vdev *d = &vm->devs[vm->nr_devs];
	int r = 0;

	*d = (struct vdev){.type = type, .vm = vm};
	d->state = kzalloc(MAX(type->state_size, 1u), FRAME_DEVICE, vm->id);
	if (!d->state)
		return -ENOMEM;
	for (unsigned t = 0; t < VDEV_MAX_TIMERS; t++) {
		struct dev_timer *dt = &vm->dev_timers[vm->nr_devs * VDEV_MAX_TIMERS + t];

		timer_init(&dt->t, dev_timer_fired);
		dt->d = d;
	}
	vm->nr_devs++;
	for (unsigned i = 0; !r && i < type->nr_pio; i++)
		r = vdev_add_pio(d, &type->pio[i]);
	for (unsigned i = 0; !r && i < type->nr_mmio; i++)
		r = vdev_add_mmio(d, &type->mmio[i]);
	if (!r && type->init)
		r = type->init(d);
	return r;
}

int vm_devices_create(struct vm *vm, char *why, size_t n)
{
	vm->dev_timers = kzalloc(VM_MAX_DEVS * VDEV_MAX_TIMERS * sizeof(struct dev_timer),
				 FRAME_DEVICE, vm->id);
	if (!vm->dev_timers) {
		snprintf(why, n, "%s: no memory of our own is left for devices", vm->name);
		return -ENOMEM;
	}
	for (const struct vdev_type *const *t = __vdevs_start; t < __vdevs_end; t++) {
		int r;

		if ((*t)->wanted && !(*t)->wanted(vm))
			continue;
		ASSERT(vm->nr_devs < VM_MAX_DEVS);
		r = device_create(vm, *t);
		if (r) {
			snprintf(why, n, "%s: device %s could not be made (error %d)", vm->name,
				 (*t)->name, -r);
			return r;
		}
	}
	return 0;
}

void vm_devices_stop(struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_devs; i++)
		for (unsigned t = 0; t < vm->devs[i].type->nr_timers; t++)
			vdev_timer_stop(&vm->devs[i], t);
}

void vm_devices_destroy(struct vm *vm)
{
	spin_lock(&vm->dev_lock);
	vm_devices_stop(vm);
	spin_unlock(&vm->dev_lock);
	for (u32 i = 0; i < vm->nr_devs * VDEV_MAX_TIMERS; i++)
		timer_stop_sync(&vm->dev_timers[i].t);
	for (u32 i = 0; i < vm->nr_devs; i++)
		kfree(vm->devs[i].state);
	vm->nr_devs = vm->pio.nr = vm->mmio.nr = 0;
	if (vm->dev_timers)
		kfree(vm->dev_timers);
	vm->dev_timers = NULL;
}

void vm_devices_reset(struct vm *vm)
{
	vm_devices_stop(vm);
	for (u32 i = 0; i < vm->nr_devs; i++)
		if (vm->devs[i].type->reset)
			vm->devs[i].type->reset(&vm->devs[i]);
}

/* The first region that ends at or after `at`; NULL: none. */
static inline const struct region *find_region(const struct region_table *t, u64 at)
{
	u32 lo = 0, hi = t->nr;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (at > t->r[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < t->nr ? &t->r[lo] : NULL;
}

/* All of the access, or a part of it. */
static inline bool covers(const struct region *r, u64 at, unsigned size)
{
	return r && at >= r->first && at + size - 1 <= r->last;
}
static inline bool touches(const struct region *r, u64 at, unsigned size)
{
	return r && r->first <= at + size - 1;
}

static u32 ones(unsigned size)
{
	return size == 4 ? ~0u : (1u << size * 8) - 1;
}

/*
 * An access that is only partly inside a region is what a bus makes of it: byte by byte, and where
 * nobody answers, ones. Behind port 0xffff there is nobody.
 */
static u32 pio_read(struct vm *vm, u32 port, unsigned size)
{
	const struct region *r = find_region(&vm->pio, port);
	u32 val = 0;

	if (likely(covers(r, port, size))) {
		if (!r->pio->read)
			return ones(size);
		spin_lock(&vm->dev_lock);
		val = r->pio->read(r->d, (u16)port, size) & ones(size);
		spin_unlock(&vm->dev_lock);
		return val;
	}
	if (!touches(r, port, size))
		return ones(size);
	for (unsigned i = 0; i < size; i++)
		val |= pio_read(vm, port + i, 1) << i * 8;
	return val;
}

static void pio_write(struct vm *vm, u32 port, unsigned size, u32 val)
{
	const struct region *r = find_region(&vm->pio, port);

	if (likely(covers(r, port, size))) {
		if (!r->pio->write)
			return;
		spin_lock(&vm->dev_lock);
		r->pio->write(r->d, (u16)port, size, val & ones(size));
		spin_unlock(&vm->dev_lock);
		return;
	}
	if (!touches(r, port, size))
		return;
	for (unsigned i = 0; i < size; i++)
		pio_write(vm, port + i, 1, val >> i * 8 & 0xff);
}

u32 vm_pio_read(struct vm *vm, u16 port, unsigned size)
{
	return pio_read(vm, port, size);
}

void vm_pio_write(struct vm *vm, u16 port, unsigned size, u32 val)
{
	pio_write(vm, port, size, val);
}

static bool is_lapic(const struct vcpu *v, gpa_t gpa)
{
	/* Enabled and not in x2APIC mode, in which the page is as if it were not there. */
	return ((gpa ^ v->lapic.base_msr) & 0xffffffffff000ull) == 0 &&
	       (v->lapic.base_msr & (3u << 10)) == 1u << 11;
}

u64 vm_mmio_read(struct vcpu *v, gpa_t gpa, unsigned size)
{
	const struct region *r;
	u64 val = 0;

	if (is_lapic(v, gpa)) {
		if (v->pv.eoi_lent)
			pv_eoi_take_back(v);
		return lapic_mmio_read(v, gpa & 0xfff, size);
	}
	r = find_region(&v->vm->mmio, gpa);
	if (likely(covers(r, gpa, size)) && r->mmio->read) {
		spin_lock(&v->vm->dev_lock);
		val = r->mmio->read(r->d, gpa - r->first, size);
		spin_unlock(&v->vm->dev_lock);
		return val;
	}
	if (size == 1 || !touches(r, gpa, size))
		return ~0ull;
	for (unsigned i = 0; i < size; i++)
		val |= (vm_mmio_read(v, gpa + i, 1) & 0xff) << i * 8;
	return val;
}

void vm_mmio_write(struct vcpu *v, gpa_t gpa, unsigned size, u64 val)
{
	const struct region *r;

	if (is_lapic(v, gpa)) {
		if (v->pv.eoi_lent)
			pv_eoi_take_back(v);
		lapic_mmio_write(v, gpa & 0xfff, size, val);
		return;
	}
	r = find_region(&v->vm->mmio, gpa);
	if (likely(covers(r, gpa, size)) && r->mmio->write) {
		spin_lock(&v->vm->dev_lock);
		r->mmio->write(r->d, gpa - r->first, size, val);
		spin_unlock(&v->vm->dev_lock);
		return;
	}
	if (size > 1 && touches(r, gpa, size))
		for (unsigned i = 0; i < size; i++)
			vm_mmio_write(v, gpa + i, 1, val >> i * 8 & 0xff);
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

const char *vm_fw_cfg(const struct vm *vm)
{
	return vm->cfg.fw_cfg;
}

bool vm_hpet_wanted(const struct vm *vm)
{
	return vm->cfg.hpet;
}

struct vdev *vm_vdev(struct vm *vm, const struct vdev_type *type)
{
	for (u32 i = 0; i < vm->nr_devs; i++)
		if (vm->devs[i].type == type)
			return &vm->devs[i];
	return NULL;
}
