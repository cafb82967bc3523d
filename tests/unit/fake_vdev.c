/* SPDX-License-Identifier: BSD-2-Clause */
/* See fake_vdev.h. The guest's TSC runs at 2 GHz here. */
#include "tests/unit/fake_vdev.h"
#include "vmm/platform/isa.h"
#include "vmm/regions.c" /* the real one, so that not every test must name it */

void fake_vm_init(struct vm *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->memory = MIB(256);
	vm->now = 1000000;
}

void fake_vm_free(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_devs; i++)
		if (vm->devs[i].type)
			vdev_destroy(&vm->devs[i]);
}

static void add_regions(struct vdev *d)
{
	const struct vdev_type *t = d->type;

	for (unsigned j = 0; j < t->nr_pio; j++)
		assert_int_equal(regions_add(&d->vm->pio, &(struct region){
			.first = t->pio[j].first, .last = t->pio[j].first + t->pio[j].count - 1u, .pio = &t->pio[j], .d = d}), 0);
	for (unsigned j = 0; j < t->nr_mmio; j++)
		assert_int_equal(regions_add(&d->vm->mmio, &(struct region){
			.first = t->mmio[j].base, .last = t->mmio[j].base + t->mmio[j].size - 1, .base = t->mmio[j].base,
			.mmio = &t->mmio[j], .d = d}), 0);
}

int vdev_create(struct vm *vm, const struct vdev_type *type, u32 unit, struct vdev **out)
{
	struct vdev *d = vm->devs;
	int err = 0;

	while (d < vm->devs + vm->nr_devs && d->type)
		d++;
	if (d == vm->devs + FAKE_MAX_DEVS)
		return -28;
	if (d == vm->devs + vm->nr_devs)
		vm->nr_devs++;
	*d = (struct vdev){.type = type, .vm = vm, .unit = unit};
	d->state = calloc(1, vdev_state_size(type) ? vdev_state_size(type) : 1);
	if (type->pci) {
		d->pci = calloc(1, sizeof(*d->pci));
		err = pci_attach(d);
		if (err) {
			free(d->pci);
			d->pci = NULL;
		}
	}
	if (!err)
		add_regions(d);
	if (!err && type->init)
		err = type->init(d);
	if (err)
		vdev_destroy(d);
	else if (out)
		*out = d;
	return err;
}

void vdev_destroy(struct vdev *d)
{
	if (d->pci)
		pci_detach(d);
	free(d->pci);
	free(d->state);
	*d = (struct vdev){.vm = d->vm};
}

struct vdev *fake_attach(struct vm *vm, const struct vdev_type *type)
{
	struct vdev *d;

	assert_true(type->nr_timers <= VDEV_MAX_TIMERS);
	assert_int_equal(vdev_create(vm, type, 0, &d), 0);
	if (d->pci)
		pci_reset(d);
	if (type->reset)
		type->reset(d);
	return d;
}

/* Tests of other devices link no PCI. */
__attribute__((weak)) int pci_attach(struct vdev *d)
{
	(void)d;
	abort();
}
__attribute__((weak)) void pci_detach(struct vdev *d)
{
	(void)d;
}
__attribute__((weak)) void pci_reset(struct vdev *d)
{
	(void)d;
}
struct region_table *vm_pio_regions(struct vm *vm)
{
	return &vm->pio;
}
struct region_table *vm_mmio_regions(struct vm *vm)
{
	return &vm->mmio;
}
struct vdev **vm_pci_slots(struct vm *vm)
{
	return vm->pci_slots;
}

static struct fake_timer *dev_timer(struct vdev *d, unsigned idx)
{
	assert_true(idx < d->type->nr_timers);
	return &d->vm->timers[d - d->vm->devs][idx];
}

static void consider(struct fake_timer *t, struct fake_timer **best)
{
	if (t->armed && (!*best || t->deadline < (*best)->deadline))
		*best = t;
}

void fake_advance(struct vm *vm, struct vcpu *v, u64 ns)
{
	u64 end = vm->now + ns;

	for (;;) {
		struct fake_timer *best = NULL;
		for (unsigned i = 0; i < vm->nr_devs; i++)
			for (unsigned j = 0; j < VDEV_MAX_TIMERS; j++)
				consider(&vm->timers[i][j], &best);
		if (v)
			consider(&v->timer, &best);
		if (!best || best->deadline > end)
			break;
		if (best->deadline > vm->now)
			vm->now = best->deadline;
		best->armed = false;
		if (v && best == &v->timer) {
			v->fired++;
			lapic_timer_fire(v);
		} else {
			size_t n = (size_t)(best - &vm->timers[0][0]);
			struct vdev *d = &vm->devs[n / VDEV_MAX_TIMERS];
			vm->fired++;
			d->type->timer(d, n % VDEV_MAX_TIMERS);
		}
	}
	vm->now = end;
}

bool fake_timer_armed(struct vm *vm, const struct vdev_type *type, unsigned idx)
{
	return dev_timer(vm_vdev(vm, type), idx)->armed;
}

/* ---- dispatch ---- */

u32 pio_in(struct vm *vm, u16 port, unsigned size)
{
	const struct region *r = regions_find(&vm->pio, port);
	u32 val = region_covers(r, port, size) && r->pio->read ? r->pio->read(r->d, (u16)(port - r->base), size) : ~0u;

	return size < 4 ? val & ((1u << 8 * size) - 1) : val;
}

void pio_out(struct vm *vm, u16 port, unsigned size, u32 val)
{
	const struct region *r = regions_find(&vm->pio, port);

	if (region_covers(r, port, size) && r->pio->write)
		r->pio->write(r->d, (u16)(port - r->base), size, val);
}

u64 mmio_in(struct vm *vm, u64 gpa, unsigned size)
{
	const struct region *r = regions_find(&vm->mmio, gpa);

	return region_covers(r, gpa, size) && r->mmio->read ? r->mmio->read(r->d, gpa - r->base, size) : ~0ull;
}

void mmio_out(struct vm *vm, u64 gpa, unsigned size, u64 val)
{
	const struct region *r = regions_find(&vm->mmio, gpa);

	if (region_covers(r, gpa, size) && r->mmio->write)
		r->mmio->write(r->d, gpa - r->base, size, val);
}

/* ---- what the core gives to devices ---- */

struct vdev *vm_vdev(struct vm *vm, const struct vdev_type *type)
{
	for (unsigned i = 0; i < vm->nr_devs; i++)
		if (vm->devs[i].type == type)
			return &vm->devs[i];
	return NULL;
}

void vdev_timer_set(struct vdev *d, unsigned idx, u64 deadline_ns)
{
	*dev_timer(d, idx) = (struct fake_timer){true, deadline_ns};
}

void vdev_timer_stop(struct vdev *d, unsigned idx)
{
	dev_timer(d, idx)->armed = false;
}

void vdev_error(struct vdev *d)
{
	(void)d;
}

u64 vm_time_ns(struct vm *vm)
{
	return vm->now;
}

u64 vm_wallclock_ns(struct vm *vm)
{
	return vm->now + vm->wall_off;
}

u64 vm_memory_bytes(const struct vm *vm)
{
	return vm->memory;
}

bool vm_debug_exit_wanted(const struct vm *vm)
{
	return vm->debug_exit;
}

unsigned vm_testdevs(const struct vm *vm)
{
	return (1u << vm->testdevs) - 1;
}

bool vm_debugcon_wanted(const struct vm *vm)
{
	return vm->debug_exit;
}

u32 vm_vcpu_count(const struct vm *vm)
{
	(void)vm;
	return 3;
}

u32 vm_vcpus_wanted(const struct vm *vm)
{
	return vm->vcpus_wanted;
}

bool vm_vcpu_present(const struct vm *vm, u32 i)
{
	assert_true(i < vm_vcpu_count(vm));
	return !(vm->vcpus_absent >> i & 1);
}

u32 vm_vcpus_present(const struct vm *vm)
{
	return 3u - (u32)__builtin_popcount(vm->vcpus_absent);
}

void vm_vcpu_plug(struct vm *vm, u32 i, bool in)
{
	assert_in_range(i, 1, 2);
	vm->vcpus_absent = in ? vm->vcpus_absent & ~(1u << i) : vm->vcpus_absent | 1u << i;
	vm->plugs++;
}

const char *vm_fw_cfg(const struct vm *vm)
{
	return vm->fw_cfg;
}

bool vm_hpet_wanted(const struct vm *vm)
{
	return vm->hpet;
}

void vm_request_end(struct vm *vm, enum vm_end how, u32 value)
{
	vm->nr_ends++;
	vm->end = how;
	vm->end_value = value;
}

void vm_console_write(struct vm *vm, const void *buf, size_t n)
{
	if (vm->console_len + n > sizeof(vm->console))
		vm->console_len = 0;
	memcpy(vm->console + vm->console_len, buf, n);
	vm->console_len += n;
}

void vm_console_want_input(struct vm *vm)
{
	vm->want_input++;
}

struct vm_irqchip *vm_irqchip(struct vm *vm)
{
	return &vm->chip;
}

void vm_irq_set(struct vm *vm, unsigned gsi, bool level)
{
	assert_true(gsi < VM_NR_GSI);
	if (level && !vm->level[gsi])
		vm->rises[gsi]++;
	vm->level[gsi] = level;
}

void vm_msi(struct vm *vm, u64 addr, u32 data)
{
	vm->nr_msis++;
	vm->msi_addr = addr;
	vm->msi_data = data;
}

void vm_pic_changed(struct vm *vm)
{
	vm->pic_changes++;
}

void vm_apic_msg(struct vm *vm, struct vcpu *from, const struct apic_msg *m)
{
	(void)from;
	vm->msgs[vm->nr_msgs++ % FAKE_MAX_MSGS] = *m;
}

/* Tests that link the real HPET or I/O APIC get that one. */
__attribute__((weak)) void isa_clock_irq(struct vm *vm, unsigned gsi, bool level)
{
	vm_irq_set(vm, gsi, level);
}

__attribute__((weak)) void ioapic_set(struct vm *vm, unsigned pin, bool level)
{
	vm->pin_rises[pin] += level && !vm->pin_level[pin];
	vm->pin_level[pin] = level;
}

__attribute__((weak)) void pic_set_pirqs(struct vm *vm, u16 irqs)
{
	vm->pirqs = irqs;
}

__attribute__((weak)) bool acpi_gpe(struct vm *vm, unsigned n)
{
	return (void)vm, (void)n, true;
}

__attribute__((weak)) void vm_eoi(struct vm *vm, u8 vector)
{
	vm->nr_eois++;
	vm->last_eoi = vector;
}

__attribute__((weak)) void lapic_timer_fire(struct vcpu *v)
{
	(void)v;
}

struct lapic *vcpu_lapic(struct vcpu *v)
{
	return &v->lapic;
}

struct vm *vcpu_vm(struct vcpu *v)
{
	return v->vm;
}

u64 vcpu_tsc(struct vcpu *v)
{
	return v->vm->now * 2;
}

void vcpu_timer_set_tsc(struct vcpu *v, u64 tsc)
{
	v->timer = (struct fake_timer){true, tsc / 2 > v->vm->now ? tsc / 2 + (tsc & 1) : v->vm->now};
}

void vcpu_timer_set(struct vcpu *v, u64 deadline_ns)
{
	v->timer = (struct fake_timer){true, deadline_ns};
}

void vcpu_timer_stop(struct vcpu *v)
{
	v->timer.armed = false;
}

void vcpu_kick(struct vcpu *v)
{
	v->kicks++;
}
