/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM into bytes and out of them: state.h. */
#include "vmm/state.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/spec.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/platform/pci.h"

size_t vm_state_size(const struct vm *vm)
{
	const size_t record = sizeof(struct state_record) + 7;
	size_t n = sizeof(struct state_header) + sizeof(struct state_vm) + 8 + 2 * record;

	n += vm->nr_vcpus * (5 * record + sizeof(struct state_vcpu) + fpu_area_size() +
			     sizeof(struct lapic) + sizeof(struct vcpu_msrs) + sizeof(struct vcpu_pv));
	for (u32 i = 0; i < vm->nr_devs; i++)
		if (vm->devs[i].type)
			n += record + sizeof(struct state_device) + vdev_state_size(vm->devs[i].type);
	return ALIGN_UP(n, 8);
}

/* --- saving --- */

/* The CPU's registers are read while the vCPU is loaded. A parked one is about to run. */
static void save_vcpu(struct vcpu *v, struct state_vcpu *s)
{
	struct hv_vcpu *h = &v->hv;

	vcpu_take_posted(v);
	hv->load(h);
	memcpy(s->gpr, h->gpr, sizeof(s->gpr));
	s->rip = h->rip;
	s->rflags = h->rflags;
	s->cr2 = h->cr2;
	s->tpr = h->tpr;
	for (unsigned r = REG_R15 + 1; r < HV_NR_REGS; r++)
		s->reg[r] = hv->get_reg(h, r);
	for (unsigned i = 0; i < ARRAY_SIZE(s->seg); i++)
		hv->get_seg(h, i, &s->seg[i]);
	hv->get_pending(h, &s->pending);
	hv->put(h);
	memcpy(s->dr, h->dr, sizeof(s->dr));
	s->dr6 = h->dr6;
	s->xcr0 = h->xcr0;
	s->reinject = v->reinject;
	s->exception = v->exception;
	s->exception_payload = v->exception_payload;
	s->nmi_pending = v->nmi_pending;
	s->nmi_wakes = v->nmi_wakes;
	s->pending_db = h->pending_db;
	s->tsc_ahead = v->tsc_offset + vm_scale_tsc(v->vm, v->vm->t0_tsc);
	s->state = v->state == VCPU_PARKED ? VCPU_RUNNING : v->state;
	s->signals = READ_ONCE(v->requests) & REQ_SIGNALS;
	s->sipi_vector = v->sipi_vector;
	s->absent = v->absent;
}

static void save_part(struct state_writer *w, enum state_tag tag, u32 i, const void *src, u32 n)
{
	void *p = state_put(w, tag, state_version(tag), i, n);

	if (p)
		memcpy(p, src, n);
}

static void save_device(struct state_writer *w, struct vm *vm, u32 i)
{
	const struct vdev *d = &vm->devs[i];
	const struct dev_timer *dt = &vm->dev_timers[i * VDEV_MAX_TIMERS];
	struct state_device *s;

	if (!d->type)
		return;
	s = state_put(w, STATE_DEVICE, d->type->version, i, sizeof(*s) + vdev_state_size(d->type));
	if (!s)
		return;
	memcpy(s->name, d->type->name, MIN(strlen(d->type->name), sizeof(s->name)));
	for (unsigned k = 0; k < d->type->nr_timers; k++)
		if (dt[k].set)
			s->timers[k] = (struct state_timer){dt[k].deadline_ns, 1};
	memcpy(s->state, d->state, vdev_state_size(d->type));
}

size_t vm_state_save(struct vm *vm, void *buf, size_t size)
{
	struct state_writer w;
	struct state_vm *s;

	state_begin(&w, buf, size);
	s = state_put(&w, STATE_VM, state_version(STATE_VM), 0, sizeof(*s));
	if (s)
		*s = (struct state_vm){.clock_ns = vm_time_ns(vm), .ram_bytes = vm->ram_bytes,
				       .tsc_khz = vm->tsc_khz, .nr_vcpus = vm->nr_vcpus,
				       .nr_devs = vm->nr_devs};
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];
		struct state_vcpu *c = state_put(&w, STATE_VCPU, state_version(STATE_VCPU), i, sizeof(*c));

		if (c)
			save_vcpu(v, c);
		save_part(&w, STATE_XSAVE, i, v->hv.xsave, fpu_area_size());
		save_part(&w, STATE_LAPIC, i, &v->lapic, sizeof(v->lapic));
		save_part(&w, STATE_MSRS, i, &v->msrs, sizeof(v->msrs));
		save_part(&w, STATE_PV, i, &v->pv, sizeof(v->pv));
	}
	for (u32 i = 0; i < vm->nr_devs; i++)
		save_device(&w, vm, i);
	return state_finish(&w);
}

/* --- restoring: every byte has been checked --- */

static void restore_regs(struct hv_vcpu *h, const struct state_vcpu *s)
{
	/* LMA, and with it what the others may be, follows CR0.PG, which follows these two. */
	static const u8 first[] = {REG_CR4, REG_EFER, REG_CR0};

	for (unsigned i = 0; i < ARRAY_SIZE(first); i++)
		hv->set_reg(h, first[i], s->reg[first[i]]);
	for (unsigned r = REG_R15 + 1; r < HV_NR_REGS; r++)
		if (r != REG_CR4 && r != REG_EFER && r != REG_CR0)
			hv->set_reg(h, r, s->reg[r]);
	for (unsigned i = 0; i < ARRAY_SIZE(s->seg); i++)
		hv->set_seg(h, i, &s->seg[i]);
	hv->set_pending(h, &s->pending);
}

static void restore_vcpu(struct vcpu *v, const struct state_vcpu_view *view, u64 tsc_more)
{
	const struct state_vcpu *s = view->regs;
	struct hv_vcpu *h = &v->hv;

	memcpy(h->gpr, s->gpr, sizeof(h->gpr));
	h->rip = s->rip;
	h->rflags = s->rflags;
	h->cr2 = s->cr2;
	h->tpr = s->tpr;
	memcpy(h->dr, s->dr, sizeof(h->dr));
	h->dr6 = s->dr6;
	h->xcr0 = s->xcr0;
	memcpy(h->xsave, view->xsave, fpu_area_size());
	hv->load(h);
	restore_regs(h, s);
	v->lapic = *view->lapic;
	v->msrs = *view->msrs;
	v->pv = *view->pv;
	v->reinject = s->reinject;
	v->exception = s->exception;
	v->exception_payload = s->exception_payload;
	v->nmi_pending = s->nmi_pending;
	v->nmi_wakes = s->nmi_wakes;
	h->pending_db = s->pending_db;
	v->state = s->state;
	v->absent = s->absent;
	v->windows = 0;
	vcpu_set_tsc_offset(v, s->tsc_ahead + tsc_more - vm_scale_tsc(v->vm, v->vm->t0_tsc));
	hv->put(h);
	v->sipi_vector = s->sipi_vector;
	__atomic_fetch_and(&v->requests, ~(u32)REQ_SIGNALS, __ATOMIC_SEQ_CST);
	__atomic_fetch_or(&v->requests, s->signals, __ATOMIC_SEQ_CST);
	timers_drop(&v->moving);
	lapic_timer_rearm(v);
	timer_detach(&v->lapic_timer, &v->moving); /* to where it goes on */
}

/* Where the frequency is not quite what it was, for want of scaling: what the TSC had counted beyond what it would
 * have here, for it goes on from where it was. */
static u64 tsc_more(const struct vm *vm, const struct state_vm *s)
{
	return scale32(s->clock_ns, time_scale_of(s->tsc_khz).to_tick) -
	       scale32(s->clock_ns, time_scale_of(vm->tsc_khz).to_tick);
}

static void restore_device(struct vdev *d, const struct state_device *s)
{
	memcpy(d->state, s->state, vdev_state_size(d->type));
	for (unsigned k = 0; k < d->type->nr_timers; k++)
		if (s->timers[k].armed)
			vdev_timer_set(d, k, s->timers[k].deadline_ns);
}

int vm_state_restore(struct vm *vm, const void *buf, size_t n, char *why, size_t why_n)
{
	const struct state_shape shape = {
		.ram_bytes = vm->ram_bytes, .cr4_allowed = cr4_allowed(vm),
		.spec_ctrl_allowed = spec_ctrl_bits(vm->cpuid->basic[7].edx, vm->cpuid->ext[8].ebx),
		.tsc_khz = tsc_khz, .tsc_scaling = hv->tsc_scaling,
		.nr_vcpus = vm->nr_vcpus, .nr_devs = vm->nr_devs, .devs = vm->devs,
		.xsave_size = fpu_area_size(), .xsave_valid = fpu_area_valid, .xcr0_valid = fpu_xcr0_valid,
	};
	struct state_view *view = kzalloc(sizeof(*view), FRAME_VM, vm->id);
	int err;

	if (!view) {
		snprintf(why, why_n, "saved state: no memory to read it");
		return -ENOMEM;
	}
	err = state_parse(buf, n, &shape, view, why, why_n);
	if (!err) {
		vm_set_tsc_khz(vm, view->vm->tsc_khz);
		vm->cpuid->hv[2].eax = (u32)vm->tsc_khz;
		for (u32 i = 0; i < vm->nr_vcpus; i++)
			restore_vcpu(vm->vcpus[i], &view->vcpus[i], tsc_more(vm, view->vm));
		for (u32 i = 0; i < vm->nr_devs; i++)
			if (vm->devs[i].type)
				restore_device(&vm->devs[i], view->devs[i]);
		pci_restored(vm);
		/* Only now: what a device drives again finds its controllers as they were. */
		for (u32 i = 0; i < vm->nr_devs; i++)
			if (vm->devs[i].type && vm->devs[i].type->restored)
				vm->devs[i].type->restored(&vm->devs[i]);
	}
	kfree(view);
	return err;
}
