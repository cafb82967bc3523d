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
#include "vmm/gmem.h"
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
	v->pcpu = SCHED_NOWHERE;
	sched_ent_init(&v->sched.ent, &vm->sched.group);
	memcpy(v->sched.cpus, vm->sched.cpus, sizeof(v->sched.cpus));
	lapic_reset(&v->lapic, id, id == 0);
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
	timer_stop_sync(&v->lapic_timer);
	timer_stop_sync(&v->park_timer);
	vcpu_hv_destroy(&v->hv);
	vcpu_back_drop(v);
	if (v->watching.time)
		kfree(v->watching.time);
	kfree(v);
}

/* What a reset of either kind drops. */
static void drop_events(struct vcpu *v)
{
	vcpu_timer_stop(v);
	v->reinject.valid = v->exception.valid = 0;
	v->hv.pending_db = 0;
	v->nmi_pending = v->nmi_wakes = false;
	memset(v->hv.dr, 0, sizeof(v->hv.dr));
	v->hv.dr6 = DR6_FIXED;
}

void vcpu_reset(struct vcpu *v)
{
	drop_events(v);
	fpu_area_init(v->hv.xsave);
	v->hv.xcr0 = XCR0_X87;
	hv->reset(&v->hv);
	hv->request_windows(&v->hv, v->windows = 0);
	msrs_reset(v);
	pv_reset(v);
	lapic_reset(&v->lapic, v->id, v->id == 0);
	vcpu_set_tsc_offset(v, -vm_scale_tsc(v->vm, v->vm->t0_tsc));
}

/* INIT (SDM vol. 3, table 10-1): as vcpu_reset(), but the FPU, XCR0, the TSC, most MSRs and CR0.CD and NW stay. */
static void vcpu_init(struct vcpu *v)
{
	u64 keep[REG_TSC_AUX - REG_STAR + 1], cr0 = hv->get_reg(&v->hv, REG_CR0);

	for (unsigned i = 0; i < ARRAY_SIZE(keep); i++)
		keep[i] = hv->get_reg(&v->hv, REG_STAR + i);
	fpu_save(&v->hv);
	drop_events(v);
	hv->reset(&v->hv);
	hv->request_windows(&v->hv, v->windows = 0);
	hv->set_reg(&v->hv, REG_CR0, CR0_ET | (cr0 & (CR0_CD | CR0_NW)));
	for (unsigned i = 0; i < ARRAY_SIZE(keep); i++)
		hv->set_reg(&v->hv, REG_STAR + i, keep[i]);
	vcpu_set_tsc_offset(v, v->tsc_offset);
	lapic_init_signal(&v->lapic);
	pv_reset(v);
	v->state = VCPU_WAIT_SIPI;
}

/* In real mode, as vcpu_init() left it. */
static void go_to(struct vcpu *v, u16 selector, u16 ip)
{
	struct hv_segment cs;

	hv->get_seg(&v->hv, SEG_CS, &cs);
	cs.selector = selector;
	cs.base = (u64)selector << 4;
	hv->set_seg(&v->hv, SEG_CS, &cs);
	v->hv.rip = ip;
	v->state = VCPU_RUNNING;
}

/*
 * INIT sends the boot CPU to the reset vector, where a BIOS looks at the shutdown code: 05h and 0Ah mean
 * that the guest wants to go on where the warm-reset vector at 40h:67h points (MultiProcessor Specification 1.4,
 * B.4). There is no BIOS here, so this does it; any other code is a reboot.
 */
static void warm_reset(struct vcpu *v)
{
	u16 vector[2];
	u8 code;

	spin_lock(&v->vm->dev_lock);
	code = rtc_shutdown_code(v->vm);
	spin_unlock(&v->vm->dev_lock);
	if ((code == 5 || code == 10) && !gmem_read(v->vm, 0x467, vector, sizeof(vector)))
		go_to(v, vector[1], vector[0]);
	else
		vm_request_end(v->vm, VM_END_REBOOT, RESET_BY_INIT);
}

struct vcpu *vcpu_current(void)
{
	struct hv_vcpu *h = this_cpu()->loaded;

	return h ? container_of(h, struct vcpu, hv) : NULL;
}

void vcpu_request(struct vcpu *v, u32 req)
{
	u32 old = __atomic_fetch_or(&v->requests, req, __ATOMIC_SEQ_CST);

	/* Only after the bit is there: sched.c says why neither sleep nor a move can lose it. Who set it before
	 * wakes, too. */
	if ((old & req) != req)
		sched_wake(v);
}

void vcpu_kick(struct vcpu *v)
{
	/* Here and running, it looks for interrupts before it next enters anyway. */
	if (v->pcpu != this_cpu()->index || v->state != VCPU_RUNNING)
		vcpu_request(v, REQ_EVENT);
}

void vcpu_irq(struct vcpu *v, u8 vector, bool level_trig)
{
	unsigned w = vector / 32 + (level_trig ? 8 : 0);

	/* Where it lives nobody else touches its APIC. */
	if (READ_ONCE(v->pcpu) == this_cpu()->index) {
		lapic_set_irr(v, vector, level_trig);
		return;
	}
	__atomic_fetch_or(&v->posted[w], 1u << vector % 32, __ATOMIC_RELAXED);
	__atomic_fetch_or(&v->posted_any, 1u << w, __ATOMIC_RELEASE);
	vcpu_request(v, REQ_EVENT);
}

void vcpu_take_posted(struct vcpu *v)
{
	u32 words = __atomic_exchange_n(&v->posted_any, 0, __ATOMIC_ACQUIRE);

	for (; words; words &= words - 1) {
		unsigned w = (unsigned)__builtin_ctz(words);
		u32 bits = __atomic_exchange_n(&v->posted[w], 0, __ATOMIC_RELAXED);

		for (; bits; bits &= bits - 1)
			lapic_latch(v, (u8)(w % 8 * 32 + __builtin_ctz(bits)), w >= 8);
	}
}

void vcpu_nmi(struct vcpu *v)
{
	vcpu_request(v, REQ_NMI);
}

void vcpu_init_signal(struct vcpu *v)
{
	/* What came before is gone with it: an NMI would find a CPU in real mode without a handler. */
	__atomic_fetch_and(&v->requests, ~(u32)(REQ_SIPI | REQ_NMI | REQ_EXTINT), __ATOMIC_SEQ_CST);
	vcpu_request(v, REQ_INIT);
}

/* Of two the first counts. */
void vcpu_sipi(struct vcpu *v, u8 vector)
{
	if (READ_ONCE(v->requests) & REQ_SIPI)
		return;
	WRITE_ONCE(v->sipi_vector, vector);
	vcpu_request(v, REQ_SIPI);
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
	default:
		return v->requests != 0;
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

/* In this order: a SIPI that came before an INIT was taken back (vcpu_init_signal()). */
static void serve_signals(struct vcpu *v, u32 req)
{
	if (req & REQ_RESET) {
		vcpu_reset(v);
		v->state = VCPU_WAIT_SIPI;
	}
	if (READ_ONCE(v->absent))
		return;
	if (req & REQ_INIT) {
		vcpu_init(v);
		if (v->id == 0)
			warm_reset(v);
	}
	/* Only a CPU that waits for it takes a SIPI (SDM vol. 3, 11.4.3). */
	if (req & REQ_SIPI && v->state == VCPU_WAIT_SIPI)
		go_to(v, (u16)(v->sipi_vector << 8), 0); /* 9.4.4.2 */
	if (req & REQ_NMI && v->state != VCPU_WAIT_SIPI)
		v->nmi_pending = true;
	if (req & REQ_EXTINT)
		lapic_set_extint(&v->lapic);
	if (req & REQ_UNHALT)
		v->pv.unhalted = 1;
}

/* The one place where requests are drained, but for REQ_OUTSIDE. */
static void vcpu_serve_requests(struct vcpu *v)
{
	u32 req = __atomic_fetch_and(&v->requests, REQ_OUTSIDE, __ATOMIC_SEQ_CST);

	if (req & REQ_FLUSH) {
		hv->flush_nested(&v->hv);
		guest_code_forget(v); /* pinned windows are translations, too */
	}
	if (req & REQ_EVENT)
		vcpu_take_posted(v);
	if (req & REQ_SIGNALS)
		serve_signals(v, req);
	/* A vCPU that is off waits for nothing but its next life (vm_boot_restart()). */
	if ((req & REQ_BOOT) || ((req & REQ_UNPARK) && v->state == VCPU_OFF)) {
		if (vm_boot_step(v->vm))
			v->state = VCPU_RUNNING;
		else
			__atomic_fetch_or(&v->requests, REQ_BOOT, __ATOMIC_SEQ_CST);
	}
	if (req & REQ_REFILL)
		refill(v);
	if (req & REQ_RELEASE)
		vcpu_release(v);
	/* Between two lives the devices are still the old one's. ready() asks anew. */
	if (req & REQ_DEVICE && v->state != VCPU_OFF)
		vm_devices_work(v->vm);
	if (req & REQ_CONSOLE && v->state != VCPU_OFF)
		console_feed(v->vm);
	if ((req & REQ_UNPARK) && v->state == VCPU_PARKED)
		v->state = VCPU_RUNNING;
}

/* Requests, or a state other than running. false: it cannot go on here. */
static bool vcpu_ready(struct vcpu *v)
{
	if (v->requests) {
		if (v->requests & REQ_OUTSIDE)
			return false;
		vcpu_serve_requests(v);
		if (v->requests & REQ_OUTSIDE) /* by what was served */
			return false;
	}
	if (v->state == VCPU_RUNNING)
		return true;
	if (v->state != VCPU_HALTED || !vcpu_has_event(v))
		return false;
	v->state = VCPU_RUNNING;
	v->pv.unhalted = 0;
	return true;
}

static inline __attribute__((always_inline)) void run_loop(struct vcpu *v, bool watched)
{
	struct vm_exit exit;

	do {
		if (unlikely(v->requests | (v->state ^ VCPU_RUNNING)) && !vcpu_ready(v))
			break;
		vcpu_inject(v);
		hv->enter(&v->hv, &exit);
		v->exits[exit.code]++;
		if (watched)
			watch_exit(v, &exit);
		if (unlikely(v->hv.tpr != v->lapic.tpr >> 4))
			v->lapic.tpr = v->hv.tpr << 4;
		if (unlikely(exit.interrupted.valid))
			v->reinject = exit.interrupted;
		exit_table[exit.code](v, &exit);
		if (watched)
			watch_handled(v, &exit);
	} while (likely(!sched_pending()));
}

/* Who sets v->watch makes us come here anew (watch_vm()). */
static void run_watched(struct vcpu *v)
{
	watch_run(v);
	run_loop(v, true);
	watch_leave(v);
}

void vcpu_run(struct vcpu *v)
{
	/* Before the first look at requests: vm_nested_flush(). */
	__atomic_store_n(&v->in_run, true, __ATOMIC_SEQ_CST);
	if (unlikely(READ_ONCE(v->watch)))
		run_watched(v);
	else
		run_loop(v, false);
	__atomic_store_n(&v->in_run, false, __ATOMIC_RELEASE);
}

/* --- what platform/cpu_hotplug.c asks --- */

u32 vm_vcpus_wanted(const struct vm *vm)
{
	return vm->cfg.vcpus;
}

bool vm_vcpu_present(const struct vm *vm, u32 i)
{
	return !READ_ONCE(vm->vcpus[i]->absent);
}

u32 vm_vcpus_present(const struct vm *vm)
{
	u32 n = 0;

	for (u32 i = 0; i < vm->nr_vcpus; i++)
		n += vm_vcpu_present(vm, i);
	return n;
}

/* It is reset as it goes, and hears of nothing while it is out: so it comes as from power-on. */
void vm_vcpu_plug(struct vm *vm, u32 i, bool in)
{
	WRITE_ONCE(vm->vcpus[i]->absent, !in);
	if (!in)
		vcpu_request(vm->vcpus[i], REQ_RESET);
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

void vcpu_timer_set(struct vcpu *v, u64 deadline_ns)
{
	timer_set(&v->lapic_timer, v->vm->t0_tsc + ns_to_tsc(deadline_ns));
}

void vcpu_timer_stop(struct vcpu *v)
{
	timer_stop(&v->lapic_timer);
}
