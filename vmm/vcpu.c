/* SPDX-License-Identifier: BSD-2-Clause */
/* vCPUs: life, requests, the run loop. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

static void lapic_timer_due(struct timer *t)
{
	lapic_timer_fire(container_of(t, struct vcpu, lapic_timer));
}

static void park_timer_due(struct timer *t)
{
	vcpu_request(container_of(t, struct vcpu, park_timer), REQ_UNPARK);
}

int vcpu_hv_create(struct hv_vcpu *h)
{
	h->xsave = kzalloc(ALIGN_UP(fpu_area_size(), 64), FRAME_VCPU, h->id);
	if (!h->xsave)
		return -ENOMEM;
	fpu_area_init(h->xsave);
	h->xcr0 = XCR0_X87;
	h->dr6 = DR6_FIXED;
	if (hv->vcpu_create(h)) {
		kfree(h->xsave);
		return -ENOMEM;
	}
	return 0;
}

void vcpu_hv_destroy(struct hv_vcpu *h)
{
	hv->vcpu_destroy(h);
	kfree(h->xsave);
}

int vcpu_create(struct vm *vm, u32 id)
{
	struct vcpu *v = kzalloc(sizeof(*v), FRAME_VCPU, vm->id);
	int r;

	if (!v)
		return -ENOMEM;
	v->vm = vm;
	v->id = id;
	v->state = VCPU_OFF;
	v->hv.id = vm->id;
	v->hv.own_cpu = vm->cfg.dedicated;
	v->hv.nested_root = vm->nested.root;
	guest_code_init(v);
	timer_init(&v->lapic_timer, lapic_timer_due);
	timer_init(&v->park_timer, park_timer_due);
	list_init(&v->sched.node);
	list_init(&v->moving);
	r = vcpu_hv_create(&v->hv);
	if (r) {
		kfree(v);
		return r;
	}
	msrs_pass(v);
	vm->vcpus[id] = v;
	vm->nr_vcpus++;
	return 0;
}

void vcpu_destroy(struct vcpu *v)
{
	timer_stop(&v->lapic_timer);
	timer_stop(&v->park_timer);
	vcpu_hv_destroy(&v->hv);
	kfree(v);
}

void vcpu_reset(struct vcpu *v)
{
	vcpu_timer_stop(v);
	v->reinject.valid = v->exception.valid = 0;
	v->hv.pending_db = 0;
	v->nmi_pending = v->nmi_wakes = false;
	fpu_area_init(v->hv.xsave);
	v->hv.xcr0 = XCR0_X87;
	memset(v->hv.dr, 0, sizeof(v->hv.dr));
	v->hv.dr6 = DR6_FIXED;
	hv->reset(&v->hv);
	fpu_load(&v->hv);
	hv->request_windows(&v->hv, v->windows = 0);
	msrs_reset(v);
	lapic_reset(&v->lapic, v->id, v->id == 0);
	v->tsc_offset = -v->vm->t0_tsc;
	hv->set_tsc_offset(&v->hv, v->tsc_offset);
}

void vcpu_request(struct vcpu *v, u32 req)
{
	__atomic_fetch_or(&v->requests, req, __ATOMIC_SEQ_CST);
	/* Only after the bit is there: sched.c says why neither sleep nor a move can lose it. */
	sched_wake(v);
}

void vcpu_kick(struct vcpu *v)
{
	/* Here and running, it looks for interrupts before it next enters anyway. */
	if (v->pcpu != this_cpu()->index || v->state != VCPU_RUNNING)
		vcpu_request(v, REQ_EVENT);
}

void vcpu_nmi(struct vcpu *v)
{
	v->nmi_pending = true;
	vcpu_kick(v);
}

/* INIT sends the boot CPU to the reset vector: with no firmware there, that is a reboot. */
void vcpu_init_signal(struct vcpu *v)
{
	if (v->id == 0)
		vm_request_end(v->vm, VM_END_REBOOT, 0);
}

/* Only a CPU that waits for it takes a SIPI (SDM vol. 3, 11.4.3); the boot CPU never does. */
void vcpu_sipi(struct vcpu *v, u8 vector)
{
	(void)v;
	(void)vector;
}

void vcpu_park(struct vcpu *v, u64 ns)
{
	v->state = VCPU_PARKED;
	timer_set(&v->park_timer, rdtsc() + ns_to_tsc(ns));
}

bool vcpu_runnable(struct vcpu *v)
{
	switch (v->state) {
	case VCPU_RUNNING:
		return true;
	case VCPU_HALTED:
		return v->requests || vcpu_has_event(v);
	case VCPU_OFF:
	case VCPU_PARKED:
		return v->requests != 0;
	default:
		return false;
	}
}

#define REFILL_WAIT_NS 10000000ull /* our pool is empty: 10 ms until we look again */

/* It may only be topped up, or be what a parked vCPU waits for. */
static void refill(struct vcpu *v)
{
	bool any = frame_reserve_refill();

	if (v->state != VCPU_PARKED)
		return;
	if (any)
		v->state = VCPU_RUNNING;
	else
		vcpu_park(v, REFILL_WAIT_NS);
}

/* The one place where requests are drained, but for REQ_MOVE. */
static void vcpu_serve_requests(struct vcpu *v)
{
	u32 req = __atomic_exchange_n(&v->requests, 0, __ATOMIC_SEQ_CST);

	if (req & REQ_END) {
		vm_serve_end(v);
		return;
	}
	/* A vCPU that is off waits for nothing but its next life (vm_boot_restart()). */
	if ((req & REQ_BOOT) || ((req & REQ_UNPARK) && v->state == VCPU_OFF)) {
		if (vm_boot_step(v->vm))
			v->state = VCPU_RUNNING;
		else
			__atomic_fetch_or(&v->requests, REQ_BOOT, __ATOMIC_SEQ_CST);
	}
	if (req & REQ_REFILL)
		refill(v);
	if (req & REQ_CONSOLE)
		console_feed(v->vm);
	if ((req & REQ_UNPARK) && v->state == VCPU_PARKED)
		v->state = VCPU_RUNNING;
	/* REQ_EVENT asked for no more than that we look again. */
}

/* Requests, or a state other than running. false: it cannot go on here. */
static bool vcpu_ready(struct vcpu *v)
{
	if (v->requests) {
		if (v->requests & REQ_MOVE)
			return false;
		vcpu_serve_requests(v);
	}
	if (v->state == VCPU_RUNNING)
		return true;
	if (v->state != VCPU_HALTED || !vcpu_has_event(v))
		return false;
	v->state = VCPU_RUNNING;
	return true;
}

void vcpu_run(struct vcpu *v)
{
	struct vm_exit exit;

	do {
		if (unlikely(v->requests | (v->state ^ VCPU_RUNNING)) && !vcpu_ready(v))
			return;
		vcpu_inject(v);
		hv->enter(&v->hv, &exit);
		v->exits[exit.code]++;
		if (unlikely(v->hv.tpr != v->lapic.tpr >> 4))
			v->lapic.tpr = v->hv.tpr << 4;
		if (unlikely(exit.interrupted.valid))
			v->reinject = exit.interrupted;
		exit_table[exit.code](v, &exit);
		if (unlikely(v->torture_in) && !--v->torture_in)
			torture_step(v);
	} while (likely(!sched_pending()));
}

/* --- what platform/lapic.c asks of its vCPU --- */

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
	return rdtsc() + v->tsc_offset;
}

/* The guest's TSC and its clock both read 0 at t0, unless the guest moved its TSC since. A deadline
 * is unsigned: ~0 is one that never comes, not one that has passed. */
u64 vcpu_tsc_to_ns(struct vcpu *v, u64 tsc)
{
	u64 now = rdtsc(), guest = now + v->tsc_offset, ahead = tsc > guest ? tsc - guest : 0;

	return tsc_to_ns(now - v->vm->t0_tsc + MIN(ahead, BIT(60)));
}

void vcpu_timer_set(struct vcpu *v, u64 deadline_ns)
{
	timer_set(&v->lapic_timer, v->vm->t0_tsc + ns_to_tsc(deadline_ns));
}

void vcpu_timer_stop(struct vcpu *v)
{
	timer_stop(&v->lapic_timer);
}
