/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One-shot timers of a pCPU, sorted by deadline; the earliest is in the hardware. Set, stopped and
 * fired on the pCPU they belong to, interrupts off, so there is no lock. Callbacks run from the
 * timer interrupt, which only the run loop's and the idle loop's windows let in.
 */
#pragma once
#include "lib/list.h"

struct timer {
	struct list node; /* self-linked when not armed */
	u64 tsc;          /* host TSC of the deadline */
	void (*fn)(struct timer *t);
};

void timers_init_cpu(void); /* this pCPU; also installs the vector's handler */
void timer_init(struct timer *t, void (*fn)(struct timer *t));
void timer_set(struct timer *t, u64 tsc); /* replaces an earlier deadline */
void timer_stop(struct timer *t);
/* A vCPU moves: put t on `list` if it is armed; on the other pCPU arm all of a list again. */
void timer_detach(struct timer *t, struct list *list);
void timers_attach(struct list *list);
static inline bool timer_armed(const struct timer *t)
{
	return !list_empty(&t->node);
}
