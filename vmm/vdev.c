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

int vdev_add_pio(struct vdev *d, const struct vdev_pio *r)
{
	struct vm *vm = d->vm;
	u32 first = r->first, last = first + r->count - 1, i;

	if (vm->nr_pio == VM_MAX_REGIONS)
		return -ENOSPC;
	for (i = vm->nr_pio; i && vm->pio[i - 1].first > last; i--)
		;
	if (i && vm->pio[i - 1].last >= first)
		return -EEXIST;
	memmove(&vm->pio[i + 1], &vm->pio[i], (vm->nr_pio - i) * sizeof(vm->pio[0]));
	vm->pio[i] = (struct region_pio){first, last, r, d};
	vm->nr_pio++;
	return 0;
}

int vdev_add_mmio(struct vdev *d, const struct vdev_mmio *r)
{
	struct vm *vm = d->vm;
	gpa_t first = r->base, last = first + r->size - 1;
	u32 i;

	if (vm->nr_mmio == VM_MAX_REGIONS)
		return -ENOSPC;
	for (i = vm->nr_mmio; i && vm->mmio[i - 1].first > last; i--)
		;
	if (i && vm->mmio[i - 1].last >= first)
		return -EEXIST;
	memmove(&vm->mmio[i + 1], &vm->mmio[i], (vm->nr_mmio - i) * sizeof(vm->mmio[0]));
	vm->mmio[i] = (struct region_mmio){first, last, r, d};
	vm->nr_mmio++;
	return 0;
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
	vm->nr_devs = vm->nr_pio = vm->nr_mmio = 0;
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

/* The first region that ends at or after port; NULL: none. */
static const struct region_pio *find_pio(const struct vm *vm, u32 port)
{
	u32 lo = 0, hi = vm->nr_pio;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (port > vm->pio[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < vm->nr_pio ? &vm->pio[lo] : NULL;
}

static bool covers(const struct region_pio *r, u32 port, unsigned size)
{
	return r && port >= r->first && port + size - 1 <= r->last;
}

static u32 ones(unsigned size)
{
	return size == 4 ? ~0u : (1u << size * 8) - 1;
}

/*
 * An access that is only partly inside a region is what a bus makes of it: byte by byte, and where
 * nobody answers, ones.
 */
u32 vm_pio_read(struct vm *vm, u16 port, unsigned size)
{
	const struct region_pio *r = find_pio(vm, port);
	u32 val = 0;

	if (likely(covers(r, port, size))) {
		if (!r->r->read)
			return ones(size);
		spin_lock(&vm->dev_lock);
		val = r->r->read(r->d, port, size) & ones(size);
		spin_unlock(&vm->dev_lock);
		return val;
	}
	if (!r || r->first > port + size - 1u)
		return ones(size);
	for (unsigned i = 0; i < size; i++)
		val |= vm_pio_read(vm, port + i, 1) << i * 8;
	return val;
}

void vm_pio_write(struct vm *vm, u16 port, unsigned size, u32 val)
{
	const struct region_pio *r = find_pio(vm, port);

	if (likely(covers(r, port, size))) {
		if (!r->r->write)
			return;
		spin_lock(&vm->dev_lock);
		r->r->write(r->d, port, size, val & ones(size));
		spin_unlock(&vm->dev_lock);
		return;
	}
	if (!r || r->first > port + size - 1u)
		return;
	for (unsigned i = 0; i < size; i++)
		vm_pio_write(vm, port + i, 1, val >> i * 8 & 0xff);
}

static const struct region_mmio *find_mmio(const struct vm *vm, gpa_t gpa, unsigned size)
{
	u32 lo = 0, hi = vm->nr_mmio;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (gpa > vm->mmio[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == vm->nr_mmio || gpa < vm->mmio[lo].first || gpa + size - 1 > vm->mmio[lo].last)
		return NULL;
	return &vm->mmio[lo];
}

static bool is_lapic(const struct vcpu *v, gpa_t gpa)
{
	/* Enabled and not in x2APIC mode, in which the page is as if it were not there. */
	return ((gpa ^ v->lapic.base_msr) & 0xffffffffff000ull) == 0 &&
	       (v->lapic.base_msr & (3u << 10)) == 1u << 11;
}

u64 vm_mmio_read(struct vcpu *v, gpa_t gpa, unsigned size)
{
	const struct region_mmio *r;
	u64 val;

	if (is_lapic(v, gpa)) {
		if (v->pv.eoi_lent)
			pv_eoi_take_back(v);
		return lapic_mmio_read(v, gpa & 0xfff, size);
	}
	r = find_mmio(v->vm, gpa, size);
	if (!r || !r->r->read)
		return ~0ull;
	spin_lock(&v->vm->dev_lock);
	val = r->r->read(r->d, gpa - r->first, size);
	spin_unlock(&v->vm->dev_lock);
	return val;
}

void vm_mmio_write(struct vcpu *v, gpa_t gpa, unsigned size, u64 val)
{
	const struct region_mmio *r;

	if (is_lapic(v, gpa)) {
		if (v->pv.eoi_lent)
			pv_eoi_take_back(v);
		lapic_mmio_write(v, gpa & 0xfff, size, val);
		return;
	}
	r = find_mmio(v->vm, gpa, size);
	if (!r || !r->r->write)
		return;
	spin_lock(&v->vm->dev_lock);
	r->r->write(r->d, gpa - r->first, size, val);
	spin_unlock(&v->vm->dev_lock);
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
