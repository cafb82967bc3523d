/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/sched_core.h"

#define VTIME_SHIFT 16
/* Virtual times are compared as differences; over spans like these they stay far from wrapping. */
#define CHARGE_MAX  (1ull << 46) /* 6 h at 3 GHz: who runs as long, was alone */
#define STALE       (1ull << 40) /* 6 min: who slept as long, owes nothing more */
#define PERIODS_MAX 1000

static u64 scaled(const struct sched_ent *e, u64 ticks)
{
	return (MIN(ticks, CHARGE_MAX) << VTIME_SHIFT) / e->group->weight;
}

static bool before(u64 a, u64 b)
{
	return (s64)(a - b) < 0;
}

static struct sched_ent *first(const struct sched_rq *rq)
{
	return list_empty(&rq->ready) ? NULL : list_entry(rq->ready.next, struct sched_ent, node);
}

void sched_rq_init(struct sched_rq *rq, u64 slice)
{
	*rq = (struct sched_rq){.slice = slice};
	list_init(&rq->ready);
	list_init(&rq->capped);
}

void sched_group_init(struct sched_group *g, u32 weight, u32 cap, u32 nr, u64 period)
{
	*g = (struct sched_group){.weight = weight, .lock = SPINLOCK(LOCK_SCHED), .period = period};
	g->quota = (s64)(period * cap / 100);
	/* To each the same, but not so little that the switches cost more. */
	g->chunk = MAX(g->quota / (s64)nr, MIN(g->quota, (s64)period / 100));
}

void sched_ent_init(struct sched_ent *e, struct sched_group *g)
{
	*e = (struct sched_ent){.group = g};
	list_init(&e->node);
}

static void set_state(struct sched_ent *e, u32 state, u64 now)
{
	u64 spent = now - e->since;

	if (e->state == SCHED_RUNNING)
		e->ran += spent;
	else if (e->state != SCHED_ASLEEP)
		e->waited += spent;
	e->state = state;
	e->since = now;
}

/* --- the cap --- */

static bool draw(struct sched_ent *e, u64 now)
{
	struct sched_group *g = e->group;

	if (!g->quota)
		return true;
	spin_lock(&g->lock);
	if (now >= g->refill) {
		u64 n = (now - g->refill) / g->period + 1;

		g->refill += n * g->period;
		g->budget = MIN(g->budget + g->quota * (s64)MIN(n, (u64)PERIODS_MAX), g->quota);
	}
	e->drawn = MAX(MIN(g->budget, g->chunk), 0);
	g->budget -= e->drawn;
	e->capped_until = g->refill;
	spin_unlock(&g->lock);
	return e->drawn > 0;
}

/* What was not used goes back; what was used beyond it, because the clock is coarse, is owed. */
static void give_back(struct sched_ent *e)
{
	if (!e->drawn)
		return;
	spin_lock(&e->group->lock);
	e->group->budget += e->drawn;
	spin_unlock(&e->group->lock);
	e->drawn = 0;
}

/* --- the queue --- */

static void insert(struct sched_rq *rq, struct sched_ent *e)
{
	struct list *pos = &rq->ready;

	/* Wakers go to the front, nearly always, and who has had its slice near the end. */
	if (first(rq) && before(e->vtime, first(rq)->vtime))
		pos = rq->ready.next;
	else
		while (pos->prev != &rq->ready &&
		       before(e->vtime, list_entry(pos->prev, struct sched_ent, node)->vtime))
			pos = pos->prev;
	list_insert(pos, &e->node);
	rq->load += e->group->weight;
	rq->nr_ready++;
}

static void take_out(struct sched_rq *rq, struct sched_ent *e)
{
	list_del(&e->node);
	rq->load -= e->group->weight;
	rq->nr_ready--;
}

/* The current one's use up to now, and the queue's virtual time after it. */
static void charge(struct sched_rq *rq, u64 now)
{
	struct sched_ent *e = rq->cur, *f = first(rq);
	u64 least;

	if (e) {
		u64 ticks = now - e->since;

		e->vtime += scaled(e, ticks);
		if (e->group->quota)
			e->drawn -= (s64)ticks;
		set_state(e, SCHED_RUNNING, now);
	} else if (!f) {
		return;
	}
	least = !e || (f && before(f->vtime, e->vtime)) ? f->vtime : e->vtime;
	if (before(rq->vtime, least))
		rq->vtime = least;
}

/* No more than a slice may be saved up by not running. */
static void place(struct sched_rq *rq, struct sched_ent *e, u64 now)
{
	u64 earliest = rq->vtime - scaled(e, rq->slice);

	if (before(e->vtime, earliest) || (e->state == SCHED_ASLEEP && now - e->since > STALE))
		e->vtime = earliest;
}

static void make_ready(struct sched_rq *rq, struct sched_ent *e, u64 now)
{
	place(rq, e, now);
	set_state(e, SCHED_READY, now);
	insert(rq, e);
	if (rq->cur && before(e->vtime, rq->cur->vtime))
		rq->preempt = true;
}

bool sched_ent_wake(struct sched_rq *rq, struct sched_ent *e, u64 now)
{
	if (e->state == SCHED_ASLEEP) {
		charge(rq, now);
		make_ready(rq, e, now);
	}
	return !rq->cur || rq->preempt;
}

void sched_ent_sleep(struct sched_rq *rq, struct sched_ent *e, u64 now)
{
	charge(rq, now);
	if (e->state == SCHED_READY)
		take_out(rq, e);
	list_del(&e->node);
	if (e == rq->cur) {
		give_back(e);
		rq->cur = NULL;
		rq->load -= e->group->weight;
	}
	set_state(e, SCHED_ASLEEP, now);
}

/*
 * Where the others on the queue stand, by weight. What e is ahead or behind of that is what it owes
 * or is owed; against the queue's virtual time nobody ever seems owed anything who waits, for it
 * waits, too.
 */
static u64 centre(const struct sched_rq *rq, const struct sched_ent *e)
{
	const struct sched_ent *o = rq->cur;
	s64 sum = 0, weights = 0;

	for (struct list *n = rq->ready.next;; n = n->next) {
		if (o && o != e) {
			sum += (s64)(o->vtime - rq->vtime) * o->group->weight;
			weights += o->group->weight;
		}
		if (n == &rq->ready)
			break;
		o = list_entry(n, struct sched_ent, node);
	}
	return rq->vtime + (u64)(weights ? sum / weights : 0);
}

void sched_ent_attach(struct sched_rq *rq, struct sched_ent *e, u64 now)
{
	charge(rq, now);
	e->vtime += centre(rq, e);
	e->since = e->arrived = now;
}

void sched_ent_detach(struct sched_rq *rq, struct sched_ent *e, u64 now)
{
	charge(rq, now);
	place(rq, e, now);
	e->vtime -= centre(rq, e);
	sched_ent_sleep(rq, e, now);
}

/* The first that has budget; who has none waits for its group's next period. */
static void choose(struct sched_rq *rq, u64 now)
{
	struct sched_ent *e;

	while ((e = first(rq))) {
		take_out(rq, e);
		if (draw(e, now)) {
			set_state(e, SCHED_RUNNING, now);
			rq->load += e->group->weight;
			rq->cur = e;
			rq->slice_end = now + rq->slice;
			return;
		}
		set_state(e, SCHED_CAPPED, now);
		list_insert(&rq->capped, &e->node);
	}
}

/* Whose period has begun is ready again. */
static void uncap(struct sched_rq *rq, u64 now)
{
	for (struct list *n = rq->capped.next, *after; n != &rq->capped; n = after) {
		struct sched_ent *e = list_entry(n, struct sched_ent, node);

		after = n->next;
		if (now < e->capped_until)
			continue;
		list_del(n);
		make_ready(rq, e, now);
	}
}

struct sched_ent *sched_pick(struct sched_rq *rq, u64 now, u64 *until)
{
	struct sched_ent *cur = rq->cur;

	charge(rq, now);
	uncap(rq, now);
	if (cur && (rq->preempt || rq->yield || now >= rq->slice_end ||
		    (cur->group->quota && cur->drawn <= 0))) {
		give_back(cur);
		rq->cur = NULL;
		rq->load -= cur->group->weight;
		set_state(cur, SCHED_READY, now);
		if (rq->yield)
			choose(rq, now);
		insert(rq, cur);
	}
	if (!rq->cur)
		choose(rq, now);
	rq->preempt = rq->yield = false;
	*until = rq->nr_ready ? rq->slice_end : SCHED_NEVER;
	if (rq->cur && rq->cur->group->quota)
		*until = MIN(*until, now + (u64)rq->cur->drawn);
	list_for_each (n, &rq->capped)
		*until = MIN(*until, list_entry(n, struct sched_ent, node)->capped_until);
	return rq->cur;
}

struct sched_ent *sched_surplus(struct sched_rq *rq, u64 gap,
				bool (*may)(struct sched_ent *e, void *arg), void *arg)
{
	struct sched_ent *best = rq->cur;

	if (best && (best->group->weight > gap || !may(best, arg)))
		best = NULL;
	list_for_each (n, &rq->ready) {
		struct sched_ent *e = list_entry(n, struct sched_ent, node);

		if (e->group->weight <= gap && (!best || e->arrived < best->arrived) && may(e, arg))
			best = e;
	}
	return best;
}
