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

struct sched_cpu {
	struct list vcpus;    /* all that live here; only this pCPU walks it */
	struct vcpu *current; /* chosen last */
	struct list timers;   /* timer.c */
	struct timer slice;
	bool slice_over;
	u32 nr_vcpus;
	struct spinlock lock; /* guards inbox */
	struct list inbox;    /* new vCPUs, put there by any pCPU */
};

static inline struct sched_cpu *this_sched(void);

void sched_init_cpu(void);
/* Give v to the pCPU that has fewest; it starts when that pCPU sees it. Any pCPU. */
void sched_add(struct vcpu *v);
/* Take v out for good; on its own pCPU, not while it is in the guest. */
void sched_remove(struct vcpu *v);
/* How long v has been kept waiting in all, though it could have run: TSC ticks. On its own pCPU. */
u64 vcpu_waited_ticks(const struct vcpu *v);
/*
 * Let v live on pCPU `target`, soon: its own pCPU hands it over, with the timers that live there (the
 * devices' go with vCPU 0). Nothing happens if target runs no vCPUs. Any pCPU.
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
