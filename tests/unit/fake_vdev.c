/* SPDX-License-Identifier: BSD-2-Clause */
/* See fake_vdev.h. The guest's TSC runs at 2 GHz here. */
#include "tests/unit/fake_vdev.h"
#include "vmm/platform/isa.h"

void fake_vm_init(struct vm *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->memory = MIB(256);
	vm->now = 1000000;
}

void fake_vm_free(struct vm *vm)
{
	for (unsigned i = 0; i < vm->nr_devs; i++)
		free(vm->devs[i].state);
}

struct vdev *fake_attach(struct vm *vm, const struct vdev_type *type)
{
	struct vdev *d = &vm->devs[vm->nr_devs++];

	assert_true(vm->nr_devs <= FAKE_MAX_DEVS);
	assert_true(type->nr_timers <= VDEV_MAX_TIMERS);
	d->type = type;
	d->vm = vm;
	d->state = calloc(1, type->state_size ? type->state_size : 1);
	if (type->init)
		assert_int_equal(type->init(d), 0);
	if (type->reset)
		type->reset(d);
	return d;
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

static const struct vdev_pio *find_pio(struct vm *vm, u16 port, unsigned size, struct vdev **d)
{
	for (unsigned i = 0; i < vm->nr_devs; i++) {
		const struct vdev_type *t = vm->devs[i].type;
		for (unsigned j = 0; j < t->nr_pio; j++) {
			*d = &vm->devs[i];
			u32 first = t->pio[j].first, end = first + t->pio[j].count;
			if (port >= first && port + size <= end)
				return &t->pio[j];
		}
	}
	return NULL;
}

u32 pio_in(struct vm *vm, u16 port, unsigned size)
{
	struct vdev *d;
	const struct vdev_pio *r = find_pio(vm, port, size, &d);
	u32 val = r ? r->read(d, port, size) : ~0u;

	return size < 4 ? val & ((1u << 8 * size) - 1) : val;
}

void pio_out(struct vm *vm, u16 port, unsigned size, u32 val)
{
	struct vdev *d;
	const struct vdev_pio *r = find_pio(vm, port, size, &d);

	if (r)
		r->write(d, port, size, val);
}

static const struct vdev_mmio *find_mmio(struct vm *vm, u64 gpa, unsigned size, struct vdev **d)
{
	for (unsigned i = 0; i < vm->nr_devs; i++) {
		const struct vdev_type *t = vm->devs[i].type;
		for (unsigned j = 0; j < t->nr_mmio; j++) {
			*d = &vm->devs[i];
			u64 base = t->mmio[j].base, end = base + t->mmio[j].size;
			if (gpa >= base && gpa + size <= end)
				return &t->mmio[j];
		}
	}
	return NULL;
}

u64 mmio_in(struct vm *vm, u64 gpa, unsigned size)
{
	struct vdev *d;
	const struct vdev_mmio *r = find_mmio(vm, gpa, size, &d);

	return r ? r->read(d, gpa - r->base, size) : ~0ull;
}

void mmio_out(struct vm *vm, u64 gpa, unsigned size, u64 val)
{
	struct vdev *d;
	const struct vdev_mmio *r = find_mmio(vm, gpa, size, &d);

	if (r)
		r->write(d, gpa - r->base, size, val);
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

bool vm_debugcon_wanted(const struct vm *vm)
{
	return vm->debug_exit;
}

u32 vm_vcpu_count(const struct vm *vm)
{
	(void)vm;
	return 3;
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
