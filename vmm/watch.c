/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/watch.h"
#include "arch/x86_64/asm.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

void watch_vm(struct vm *vm, u32 bits, bool on)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		if (on)
			__atomic_fetch_or(&v->watch, bits, __ATOMIC_SEQ_CST);
		else
			__atomic_fetch_and(&v->watch, ~bits, __ATOMIC_SEQ_CST);
		sched_look_around(v); /* vcpu_run() anew */
	}
}

static void trace(struct vcpu *v, u8 code, u64 tsc, u64 info, u64 ticks)
{
	struct trace_rec r = {.tsc = tsc, .rip = v->hv.rip, .info = info, .ticks = (u32)MIN(ticks, ~0u),
			      .vm = v->vm->id, .vcpu = (u8)v->id, .code = code};

	if (code < HV_NR_EXITS)
		r.rip = v->watching.rip;
	trace_put(v->pcpu, &r);
}

/* The number that says most. Registers are the guest's as it left. */
static u64 detail(const struct vcpu *v, const struct vm_exit *e)
{
	switch (e->code) {
	case HV_EXIT_PIO:
		return e->pio.port;
	case HV_EXIT_NPF:
		return e->npf.gpa;
	case HV_EXIT_RDMSR:
	case HV_EXIT_WRMSR:
		return (u32)v->hv.gpr[REG_RCX];
	case HV_EXIT_CPUID:
		return (u32)v->hv.gpr[REG_RAX];
	case HV_EXIT_HYPERCALL:
		return v->hv.gpr[REG_RAX];
	case HV_EXIT_EXCEPTION:
		return e->exc.ev.vector;
	default:
		return e->hw_info1;
	}
}

void watch_exit(struct vcpu *v, const struct vm_exit *e)
{
	v->watching.at = rdtsc();
	v->watching.rip = v->hv.rip;
	v->watching.detail = detail(v, e);
}

void watch_handled(struct vcpu *v, const struct vm_exit *e)
{
	u64 ticks = rdtsc() - v->watching.at;
	u32 watch = READ_ONCE(v->watch);

	if (watch & WATCH_TIME) {
		v->watching.time[e->code].n++;
		v->watching.time[e->code].ticks += ticks;
	}
	if (watch & WATCH_TRACE)
		trace(v, (u8)e->code, v->watching.at, v->watching.detail, ticks);
	if (watch & WATCH_STEP)
		gdb_after_exit(v);
	if (watch & WATCH_TORTURE && !--v->watching.torture_in)
		torture_step(v);
}

void watch_run(struct vcpu *v)
{
	if (v->watch & WATCH_TRACE)
		trace(v, TRACE_RUN, rdtsc(), v->requests, 0);
}

void watch_leave(struct vcpu *v)
{
	if (v->watch & WATCH_TRACE)
		trace(v, TRACE_LEAVE, rdtsc(), v->state, 0);
}

void watch_inject(struct vcpu *v, const struct hv_event *ev)
{
	if (v->watch & WATCH_TRACE)
		trace(v, TRACE_INJECT, rdtsc(), (u64)ev->type << 8 | ev->vector, 0);
}
