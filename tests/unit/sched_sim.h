/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For tests of the scheduler's policy: a simulation of queues whose entities spin, or run for a
 * while and sleep. A tick is a nanosecond; the clock's interrupt is late by up to LATE, and a
 * switch costs SWITCH.
 */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "vmm/sched_core.h"

#define US     1000ull
#define MS     (1000 * US)
#define SEC    (1000 * MS)
#define SLICE  (5 * MS)
#define PERIOD (10 * MS)
#define LATE   (20 * US)
#define SWITCH (5 * US)

#define MAX_QUEUES  4
#define MAX_TASKS   64
#define MAX_SAMPLES 65536

struct task {
	struct sched_ent e;
	unsigned q;
	u64 busy, period; /* asks for so much each period; period 0: spins */
	u64 jitter;
	u64 left;        /* of what it asked for */
	u64 next, woken; /* when it asks next; when it asked and has not run since */
	u64 stop;        /* it leaves then; 0: stays */
	u64 start;
	bool in, waits;
};

static struct sim {
	u64 now, until[MAX_QUEUES], balance_at[MAX_QUEUES];
	unsigned nq, nt, samples;
	struct sched_rq rq[MAX_QUEUES];
	struct sched_group g[MAX_TASKS];
	struct task t[MAX_TASKS];
	u64 late[MAX_SAMPLES];
	u64 moves, picks;
	bool balance;
	void (*check)(void);
} s;

static u64 seed;

static u64 rnd(u64 n)
{
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return n ? (seed >> 11) % n : 0;
}

static void sim_init(unsigned queues)
{
	s = (struct sim){.nq = queues};
	seed = 88172645463325252ull;
	for (unsigned i = 0; i < queues; i++) {
		sched_rq_init(&s.rq[i], SLICE);
		s.until[i] = SCHED_NEVER;
	}
}

static struct task *task_of(struct sched_ent *e)
{
	return container_of(e, struct task, e);
}

/* One that spins, or with a period one that asks for `busy` each period. */
static struct task *add_to(unsigned q, struct sched_group *g, u64 busy, u64 period)
{
	struct task *t = &s.t[s.nt++];

	*t = (struct task){.q = q, .busy = busy, .period = period, .left = period ? 0 : ~0ull};
	sched_ent_init(&t->e, g);
	return t;
}

static struct task *add(unsigned q, u32 weight, u32 cap, u64 busy, u64 period)
{
	struct sched_group *g = &s.g[s.nt];

	sched_group_init(g, weight, cap, 1, PERIOD);
	return add_to(q, g, busy, period);
}

static void arrive(struct task *t)
{
	t->in = true;
	sched_ent_attach(&s.rq[t->q], &t->e, s.now);
	if (t->left)
		s.until[t->q] = s.now;
	if (t->left)
		sched_ent_wake(&s.rq[t->q], &t->e, s.now);
	t->next = s.now + rnd(t->period);
}

static void leave(struct task *t)
{
	sched_ent_detach(&s.rq[t->q], &t->e, s.now);
	s.until[t->q] = s.now;
	t->in = false;
}

static void move(struct task *t, unsigned to)
{
	bool asleep = t->e.state == SCHED_ASLEEP;

	sched_ent_detach(&s.rq[t->q], &t->e, s.now);
	s.until[t->q] = s.now;
	t->q = to;
	sched_ent_attach(&s.rq[to], &t->e, s.now);
	if (!asleep)
		sched_ent_wake(&s.rq[to], &t->e, s.now);
	s.until[to] = s.now;
	s.balance_at[to] = 0;
	s.moves++;
}

static void wake(struct task *t)
{
	if (!t->left) {
		t->woken = s.now;
		t->waits = true;
		if (sched_ent_wake(&s.rq[t->q], &t->e, s.now) || s.rq[t->q].nr_ready == 1)
			s.until[t->q] = s.now;
	}
	t->left += t->busy;
	t->next += t->period + rnd(t->jitter) - t->jitter / 2;
}

static bool anyone(struct sched_ent *e, void *arg)
{
	(void)e;
	(void)arg;
	return true;
}

/* As vmm/sched.c does it: who has others waiting gives to the least busy, ten times a second. */
static void balance(unsigned q)
{
	unsigned to = q;
	struct sched_ent *e;

	if (!s.rq[q].nr_ready) {
		s.balance_at[q] = 0;
		return;
	}
	if (!s.balance_at[q])
		s.balance_at[q] = s.now + 100 * MS;
	if (s.now < s.balance_at[q])
		return;
	s.balance_at[q] = s.now + 100 * MS;
	for (unsigned i = 1; i < s.nq; i++)
		if (s.rq[(q + i) % s.nq].load < s.rq[to].load)
			to = (q + i) % s.nq;
	e = sched_surplus(&s.rq[q], s.rq[q].load - s.rq[to].load, anyone, NULL);
	if (e && to != q)
		move(task_of(e), to);
}

static void pick(unsigned q)
{
	struct sched_rq *rq = &s.rq[q];
	struct sched_ent *before = rq->cur, *e;

	if (s.balance)
		balance(q);
	e = sched_pick(rq, s.now, &s.until[q]);
	s.picks++;
	if (s.until[q] != SCHED_NEVER)
		s.until[q] += rnd(LATE);
	if (!e)
		return;
	if (e != before && task_of(e)->left != ~0ull)
		task_of(e)->left += SWITCH;
	if (task_of(e)->waits) {
		task_of(e)->waits = false;
		if (s.samples < MAX_SAMPLES)
			s.late[s.samples++] = s.now - task_of(e)->woken;
	}
}

/* What the current ones have done since the last event. */
static void work(u64 ticks)
{
	for (unsigned q = 0; q < s.nq; q++) {
		struct task *t = s.rq[q].cur ? task_of(s.rq[q].cur) : NULL;

		if (!t || t->left == ~0ull)
			continue;
		t->left -= MIN(t->left, ticks);
		if (!t->left) {
			sched_ent_sleep(&s.rq[q], &t->e, s.now);
			s.until[q] = s.now;
		}
	}
}

static u64 next_event(u64 end)
{
	for (unsigned q = 0; q < s.nq; q++) {
		end = MIN(end, s.until[q]);
		if (s.rq[q].cur && task_of(s.rq[q].cur)->left != ~0ull)
			end = MIN(end, s.now + task_of(s.rq[q].cur)->left);
	}
	for (unsigned i = 0; i < s.nt; i++) {
		if (!s.t[i].in && s.t[i].start >= s.now)
			end = MIN(end, s.t[i].start);
		if (s.t[i].in && s.t[i].period)
			end = MIN(end, s.t[i].next);
		if (s.t[i].in && s.t[i].stop)
			end = MIN(end, s.t[i].stop);
	}
	return MAX(end, s.now);
}

static void run(u64 ticks)
{
	u64 end = s.now + ticks;

	while (s.now < end) {
		u64 at = next_event(end), passed = at - s.now;

		s.now = at;
		work(passed);
		for (unsigned i = 0; i < s.nt; i++) {
			struct task *t = &s.t[i];

			if (!t->in && t->start == s.now)
				arrive(t);
			else if (!t->in && t->start == 0 && !t->stop)
				arrive(t);
			if (t->in && t->stop && t->stop <= s.now)
				leave(t);
			while (t->in && t->period && t->next <= s.now)
				wake(t);
		}
		for (unsigned q = 0; q < s.nq; q++)
			if (s.until[q] <= s.now)
				pick(q);
		if (s.check)
			s.check();
	}
	for (unsigned q = 0; q < s.nq; q++)
		pick(q); /* charges */
}

/* Is a within so many thousandths of b? */
static inline void near(u64 a, u64 b, u64 thousandths)
{
	u64 off = a > b ? a - b : b - a;

	if (off * 1000 > b * thousandths)
		fail_msg("%lu is not within %lu/1000 of %lu", (unsigned long)a,
			 (unsigned long)thousandths, (unsigned long)b);
}

static inline int by_size(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static inline u64 p99(void)
{
	assert_true(s.samples >= 100);
	qsort(s.late, s.samples, sizeof(*s.late), by_size);
	return s.late[s.samples * 99 / 100];
}
