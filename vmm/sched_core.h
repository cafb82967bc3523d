/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scheduler's policy, pure: whom to run, until when, at what price. Start-time fair queueing
 * (Goyal, Vin, Cheng 1996) with the wake-up rule of borrowed virtual time (Duda, Cheriton 1999):
 * each entity has a virtual time, which advances by what it ran divided by its weight; the one with
 * the least runs, for a slice. Who wakes is placed at most one slice of its own before the queue's
 * virtual time, never earlier than it left, and preempts whoever is ahead of it: so it waits for
 * nothing, and still nobody is ever ahead of its share by more than two slices. Weight and cap mean
 * what they mean in Xen's credit2.
 *
 * A run queue belongs to one pCPU, and only that pCPU calls this for it and for the entities on it;
 * only a group is shared. Time is ticks of a clock that does not go back there.
 */
#pragma once
#include "lib/list.h"
#include "lib/spinlock.h"

#define SCHED_NEVER          (~0ull)
#define SCHED_WEIGHT_DEFAULT 256
#define SCHED_WEIGHT_MAX     65535

/* What the vCPUs of a VM share: each has the weight; the budget of a cap is drawn from by all. */
struct sched_group {
	u32 weight;
	struct spinlock lock;
	s64 quota, chunk; /* ticks of budget a period, 0: no cap; how many are drawn at once */
	u64 period;
	s64 budget; /* left of this period's, guarded by lock like the next; below 0: overdrawn */
	u64 refill; /* when the next period begins */
};

enum sched_state { SCHED_ASLEEP, SCHED_READY, SCHED_CAPPED, SCHED_RUNNING };

struct sched_ent {
	struct list node; /* in ready or capped */
	struct sched_group *group;
	u32 state;
	u64 vtime;        /* ticks run, times 2^16, divided by weight; relative while on no queue */
	u64 since;        /* when it came into its state */
	u64 arrived;      /* when it came to this queue */
	u64 ran, waited;  /* ticks spent running; ready or capped, but not running */
	s64 drawn;        /* what is left of the budget that it drew */
	u64 capped_until; /* when there is more */
};

struct sched_rq {
	struct list ready, capped; /* ready: by virtual time */
	struct sched_ent *cur;
	u64 vtime; /* the least of ready and cur; never goes back */
	u64 slice, slice_end;
	u64 load;     /* weights of ready and cur */
	u32 nr_ready; /* not cur */
	bool preempt, yield;
};

void sched_rq_init(struct sched_rq *rq, u64 slice);
/* cap: per cent of one pCPU for all nr entities together, 0: none. */
void sched_group_init(struct sched_group *g, u32 weight, u32 cap, u32 nr, u64 period);
void sched_ent_init(struct sched_ent *e, struct sched_group *g);

/* Come to a queue, asleep, and leave it in whatever state. What e is owed or owes goes with it. */
void sched_ent_attach(struct sched_rq *rq, struct sched_ent *e, u64 now);
void sched_ent_detach(struct sched_rq *rq, struct sched_ent *e, u64 now);
/* e wants to run; true: it preempts the current one, sched_pick() is due at once. No matter if it
 * did already. */
bool sched_ent_wake(struct sched_rq *rq, struct sched_ent *e, u64 now);
/* e no longer wants to. */
void sched_ent_sleep(struct sched_rq *rq, struct sched_ent *e, u64 now);
/* At the next sched_pick() let another go first; what it is owed stays. */
static inline void sched_rq_yield(struct sched_rq *rq)
{
	rq->yield = true;
}
/*
 * Charge the current one and say who runs now, NULL: nobody. *until: when to ask again at the
 * latest; SCHED_NEVER unless another waits or a cap is in force.
 */
struct sched_ent *sched_pick(struct sched_rq *rq, u64 now, u64 *until);
/*
 * Whom to give to a queue whose load is less by `gap`: of those whose going makes the two more
 * alike, or just exchanges them, the one that has been here longest, so that what cannot be divided
 * goes round. Between a run and the next pick.
 */
struct sched_ent *sched_surplus(struct sched_rq *rq, u64 gap,
				bool (*may)(struct sched_ent *e, void *arg), void *arg);
