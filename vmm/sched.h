/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which vCPU runs where. A run queue a pCPU, round robin with a time slice that ticks only while
 * two or more want to run; a vCPU stays on the pCPU it was given until sched_move(). (Weights,
 * balancing, pinning come with SMP guests; they change this file alone.)
 */
#pragma once
#include "lib/list.h"
#include "lib/spinlock.h"
#include "vmm/timer.h"

struct vcpu;

#define SCHED_NOWHERE (~0u) /* vcpu.pcpu of one that is in no run queue */

struct sched_cpu {
	struct list vcpus;    /* all that live here; only this pCPU walks it */
	struct vcpu *current; /* chosen last */
	struct list timers;   /* timer.c, which alone knows these three */
	struct spinlock timer_lock;
	struct timer *timer_running;
	struct timer slice;
	bool slice_over;
	u32 nr_vcpus;
	struct spinlock lock; /* guards inbox and works */
	struct list inbox;    /* new vCPUs, put there by any pCPU */
	struct list works;
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
/* Give v to the pCPU that has fewest; it starts when that pCPU sees it. Any pCPU. */
void sched_add(struct vcpu *v);
/* Take v out, with its timers (v->moving), until sched_add(); on its own pCPU, not while it is in the guest. */
void sched_remove(struct vcpu *v);
/* Do w on this pCPU. It is on no list yet. Any context with interrupts off. */
void sched_do(struct sched_work *w);
/* Take off whatever vCPU's state is in this pCPU: a work wants to load others. */
void sched_unload(void);
/* How long v has been kept waiting in all, though it could have run: TSC ticks. On its own pCPU. */
u64 vcpu_waited_ticks(const struct vcpu *v);
/*
 * Let v live on pCPU `target`, soon: its own pCPU hands it over, with its timers. Nothing happens if
 * target runs no vCPUs. Any pCPU.
 */
void sched_move(struct vcpu *v, u32 target);
bool sched_can_run(u32 pcpu); /* does this pCPU run vCPUs */
/* Run vCPUs for ever; idle when there are none. */
void sched_loop(void) __noreturn;
/* Let waiting host interrupts in; the only windows are this and the idle loop. */
void sched_irq_window(void);

#include "arch/x86_64/percpu.h"
static inline struct sched_cpu *this_sched(void)
{
	return this_cpu()->sched;
}

/* Has something come up that takes the pCPU once through sched_loop()? */
static inline bool sched_pending(void)
{
	return READ_ONCE(this_sched()->slice_over);
}

/* A vCPU of this pCPU may have become runnable: choose again after the current exit. */
static inline void sched_wake(void)
{
	this_sched()->slice_over = true;
}
