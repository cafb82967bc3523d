/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which vCPU runs where. Each pCPU has a run queue (sched_core.h says who runs next) that nobody
 * else touches. What others want of a pCPU they leave at its door, and kick it: a vCPU in its
 * inbox, or a sleeper of its own on its list of the woken. Work goes to idle pCPUs by itself:
 * whoever has more than it runs hands over, at once when one is idle, ten times a second when one
 * is merely less busy.
 */
#pragma once
#include "lib/list.h"
#include "lib/spinlock.h"
#include "vmm/config.h"
#include "vmm/sched_core.h"
#include "vmm/timer.h"

struct trace_ring;
struct vcpu;
struct vm;

#define SCHED_NOWHERE (~0u) /* vcpu.pcpu of one that is in no run queue */

/* Of a vCPU. */
struct vcpu_sched {
	struct sched_ent ent;
	struct list node; /* in its pCPU's vcpus or inbox */
	/* Whoever sets asleep from 1 to 0 puts it on its pCPU's list of the woken; as long as it is
	 * 1 or it is on that list, it stays where it is. */
	u32 asleep;
	struct vcpu *next_woken;
	u32 moves; /* for the log */
	u64 cpus[VM_CPUS_MAX / 64]; /* where it may run: its VM's, until sched_pin() */
};

/* Of a VM. */
struct vm_sched {
	struct sched_group group;
	struct list node;           /* of all VMs that hold a place */
	u64 cpus[VM_CPUS_MAX / 64]; /* where its vCPUs may run at first; with dedicated = 1, what it was given */
};

struct sched_cpu {
	struct sched_rq rq;
	struct list vcpus;  /* all that live here; only this pCPU walks it */
	struct list timers; /* timer.c, which alone knows these three */
	struct spinlock timer_lock;
	struct timer *timer_running;
	struct timer slice;
	bool slice_over;
	bool crowded;   /* some wait here, as the others were told */
	bool evict;     /* some may no longer be here */
	u64 balance_at; /* while some wait */
	u64 ask_at;     /* when it is idle */
	u32 nr_vcpus;
	struct spinlock lock; /* guards inbox */
	struct list inbox;    /* vCPUs that come to live here, put there by any pCPU */
	struct vcpu *woken;   /* pushed by any pCPU */
	struct vcpu *owner;   /* dedicated to it */
	struct list works;    /* only this pCPU puts some there */
	struct trace_ring *trace; /* watch.h; NULL: there was no trace yet */
};

/*
 * Something to be done outside of any vCPU, by sched_loop(), between two runs: fn(w) returns true when it has
 * done all, false to be called again after others had their turn (a step is bounded, as a vCPU's is).
 */
struct sched_work {
	struct list node;
	bool (*fn)(struct sched_work *w);
};

static inline struct sched_cpu *this_sched(void);

void sched_init_cpu(void);
/* A VM's weight, cap and places. 0, or -ENOSPC: no CPU is left for it, `why` says what to do. */
int sched_vm_create(struct vm *vm, char *why, size_t n);
void sched_vm_destroy(struct vm *vm); /* may be called twice */
/* Give v to the pCPU that has fewest of those where it may be; it starts when that pCPU sees it, and may be gone
 * before this returns. Any pCPU. */
void sched_add(struct vcpu *v);
/* Take v out, with its timers (v->moving), until sched_add(): on its own pCPU, when sched_loop() has chosen it. */
void sched_remove(struct vcpu *v);
bool sched_ready(void); /* sched_init_cpu() has run here */
/* Do w on this pCPU. It is on no list yet. Interrupts off. */
void sched_do(struct sched_work *w);
/* Take off whatever vCPU's state is in this pCPU: a work wants to load others. */
void sched_unload(void);
/* v may run on these CPUs only, from soon on. 0; -EPERM: it has one of its own; -ENOSPC: none of these runs vCPUs of
 * the pool; `why` says so. Any pCPU, vm_list_lock held. */
int sched_pin(struct vcpu *v, const u64 *cpus, char *why, size_t n);
void sched_vm_tune(struct vm *vm); /* its weight and cap are those of vm->cfg from now on; it is stopped */
u64 vcpu_ran_ticks(const struct vcpu *v); /* how long v has run in all: TSC ticks. Any pCPU */
/* How long v has been kept waiting in all, though it could have run: TSC ticks. On its own pCPU. */
u64 vcpu_waited_ticks(const struct vcpu *v);
/*
 * Let v live on pCPU `target`, soon: its own pCPU hands it over, with its timers. Nothing happens if target
 * runs no vCPUs or v may not be there. Any pCPU.
 */
void sched_move(struct vcpu *v, u32 target);
bool sched_can_run(u32 pcpu); /* does this pCPU run vCPUs */
/* If v runs, let it leave its run loop once. Any pCPU. */
void sched_look_around(const struct vcpu *v);
/* v has a request that it had not: wake it, or make it leave the guest. Any pCPU. */
void sched_wake(struct vcpu *v);
/* Run vCPUs for ever; idle when there are none. */
void sched_loop(void) __noreturn;
/* Let waiting host interrupts in; the only windows are this and the idle loop. */
void sched_irq_window(void);

#include "arch/x86_64/percpu.h"
static_assert(VM_CPUS_MAX == MAX_PCPUS, "each pCPU can be named");

static inline struct sched_cpu *this_sched(void)
{
	return this_cpu()->sched;
}

/* Has something come up that takes the pCPU once through sched_loop()? */
static inline bool sched_pending(void)
{
	return READ_ONCE(this_sched()->slice_over);
}

/* The current vCPU spins on what another must do: let others go first. */
static inline void sched_yield(void)
{
	sched_rq_yield(&this_sched()->rq);
	this_sched()->slice_over = true;
}
