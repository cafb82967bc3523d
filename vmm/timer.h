/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One-shot timers, sorted by deadline on the pCPU that set them; the earliest is in its hardware. Any
 * pCPU may set and stop a timer, but its user sees to it that two never do so at once (a vCPU's
 * timers belong to the pCPU it lives on, a device's to the holder of its VM's device lock). Interrupts
 * off. Callbacks run from the timer interrupt, without locks, on the pCPU that set the timer; only the run
 * loop's and the idle loop's windows let it in.
 */
#pragma once
#include "lib/list.h"

struct sched_cpu;

struct timer {
	struct list node;
	u64 tsc;		 /* host TSC of the deadline */
	struct sched_cpu *on;	 /* whose list it is on; NULL: not armed */
	void (*fn)(struct timer *t);
};

void timers_init_cpu(void); /* this pCPU; also installs the vector's handler */
void timer_init(struct timer *t, void (*fn)(struct timer *t));
void timer_set(struct timer *t, u64 tsc); /* here; replaces an earlier deadline */
void timer_stop(struct timer *t);
/* Stop it, and come back only when its callback is not running on another pCPU: before it is freed. The caller
 * holds no lock that the callback takes. */
void timer_stop_sync(struct timer *t);
/* A vCPU leaves its pCPU: put t on `list` if it is armed; where the vCPU goes on arm all of the list again, or
 * forget them. Timers on such a list count as not armed. */
void timer_detach(struct timer *t, struct list *list);
void timers_attach(struct list *list);
void timers_drop(struct list *list);
static inline bool timer_armed(const struct timer *t)
{
	return READ_ONCE(t->on) != NULL;
}
