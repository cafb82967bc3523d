/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/sched_core.c */
/*
 * The scheduler's policy, by simulation: queues whose entities spin, or run for a while and sleep. A tick
 * is a nanosecond; the clock's interrupt is late by up to LATE, and a switch costs SWITCH.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "vmm/sched_core.h"

#define US 1000ull
#define MS (1000 * US)
#define SEC (1000 * MS)
#define SLICE (5 * MS)
#define PERIOD (10 * MS)
#define LATE (20 * US)
#define SWITCH (5 * US)

#define MAX_QUEUES 4
#define MAX_TASKS 64
#define MAX_SAMPLES 65536

struct task {
	struct sched_ent e;
	unsigned q;
	u64 busy, period; /* asks for so much each period; period 0: spins */
	u64 jitter;
	u64 left;	  /* of what it asked for */
	u64 next, woken;  /* when it asks next; when it asked and has not run since */
	u64 stop;	  /* it leaves then; 0: stays */
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
static void near(u64 a, u64 b, u64 thousandths)
{
	u64 off = a > b ? a - b : b - a;

	if (off * 1000 > b * thousandths)
		fail_msg("%lu is not within %lu/1000 of %lu", (unsigned long)a, (unsigned long)thousandths,
			 (unsigned long)b);
}

static int by_size(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static u64 p99(void)
{
	assert_true(s.samples >= 100);
	qsort(s.late, s.samples, sizeof(*s.late), by_size);
	return s.late[s.samples * 99 / 100];
}

/* --- weights and equal shares --- */

static void weights(void **state)
{
	static const u32 pairs[][2] = {{256, 512}, {512, 256}, {1, 2}, {256, 65535}, {100, 1000}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(pairs); i++) {
		u32 a = pairs[i][0], b = pairs[i][1];

		sim_init(1);
		add(0, a, 0, 0, 0);
		add(0, b, 0, 0, 0);
		run(40 * SEC);
		near(s.t[0].e.ran, 40 * SEC * a / (a + b), 30);
		near(s.t[1].e.ran, 40 * SEC * b / (a + b), 30);
		for (unsigned k = 0; k < 2; k++) { /* to the tick; the stretch that goes on is not in yet */
			struct sched_ent *e = &s.t[k].e;

			assert_int_equal(e->ran + e->waited + (s.now - e->since), 40 * SEC);
		}
	}
}

static void weights_soon(void **state)
{
	(void)state;
	sim_init(1);
	add(0, 256, 0, 0, 0);
	add(0, 512, 0, 0, 0);
	run(1 * SEC);
	near(s.t[1].e.ran, 2 * s.t[0].e.ran, 30);
}

static void equal_spinners(void **state)
{
	(void)state;
	for (unsigned n = 2; n <= 32; n++) {
		sim_init(1);
		for (unsigned i = 0; i < n; i++)
			add(0, 256, 0, 0, 0);
		run(2 * SEC);
		for (unsigned i = 0; i < n; i++)
			assert_true(s.t[i].e.ran * 10 * n >= 2 * SEC * 9);
	}
}

/* Who is alone, and not capped, needs no timer, and one is needed as soon as a second comes. */
static void no_timer_alone(void **state)
{
	u64 until;

	(void)state;
	sim_init(1);
	add(0, 256, 0, 0, 0);
	run(1 * SEC);
	assert_true(s.picks < 5);
	assert_ptr_equal(sched_pick(&s.rq[0], s.now, &until), &s.t[0].e);
	assert_int_equal(until, SCHED_NEVER);
	add(0, 256, 0, 0, 0);
	arrive(&s.t[1]);
	assert_non_null(sched_pick(&s.rq[0], s.now, &until));
	assert_int_equal(until, s.now + SLICE);
	leave(&s.t[0]);
	leave(&s.t[1]);
	assert_null(sched_pick(&s.rq[0], s.now, &until));
	assert_int_equal(until, SCHED_NEVER);
	assert_int_equal(s.rq[0].load, 0);
}

/* --- the cap --- */

static void cap_alone(void **state)
{
	static const u32 caps[] = {1, 5, 25, 50, 90, 100};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		sim_init(1);
		add(0, 256, caps[i], 0, 0);
		run(10 * SEC);
		near(s.t[0].e.ran, 10 * SEC * caps[i] / 100, 20);
		/* It is kept all along, not only in the end. */
		run(100 * MS);
		near(s.t[0].e.ran, 101 * 100 * MS * caps[i] / 100, 20);
	}
}

static void cap_beside_spinners(void **state)
{
	(void)state;
	sim_init(1);
	add(0, 256, 25, 0, 0);
	add(0, 256, 0, 0, 0);
	add(0, 256, 0, 0, 0);
	run(10 * SEC);
	near(s.t[0].e.ran, 10 * SEC / 4, 20);
	near(s.t[1].e.ran, s.t[2].e.ran, 10);
	/* With ten more its share is less than its cap, and what it was owed meanwhile is no hoard. */
	for (unsigned i = 0; i < 10; i++)
		add(0, 256, 0, 0, 0);
	run(13 * SEC);
	assert_true(s.t[0].e.ran - 10 * SEC / 4 < SEC + 60 * MS);
	assert_true(s.t[0].e.ran - 10 * SEC / 4 > SEC - 60 * MS);
}

/* Two entities of one VM on two queues share the budget, evenly when both want it; one gets all of it alone. */
static void cap_of_a_group(void **state)
{
	static const u32 caps[] = {25, 60, 150};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(caps); i++) {
		sim_init(2);
		sched_group_init(&s.g[0], 256, caps[i], 2, PERIOD);
		add_to(0, &s.g[0], 0, 0);
		add_to(1, &s.g[0], 0, 0);
		run(10 * SEC);
		near(s.t[0].e.ran + s.t[1].e.ran, 10 * SEC * caps[i] / 100, 20);
		for (unsigned k = 0; k < 100; k++) {
			u64 a = s.t[0].e.ran, b = s.t[1].e.ran;

			run(100 * MS);
			near(s.t[0].e.ran - a, s.t[1].e.ran - b, 200);
		}
		if (caps[i] > 100)
			continue;
		leave(&s.t[1]);
		s.t[1].stop = 1;
		s.t[0].e.ran = 0;
		run(10 * SEC);
		near(s.t[0].e.ran, 10 * SEC * caps[i] / 100, 20);
	}
}

/* A sleeper under a cap: what it does not use is not saved up, nor is what it may use withheld. */
static void cap_of_a_sleeper(void **state)
{
	(void)state;
	sim_init(1);
	add(0, 256, 25, 1 * MS, 10 * MS);
	run(10 * SEC);
	near(s.t[0].e.ran, 1 * SEC, 10);
	s.t[0].busy = 500 * US; /* four times a period, and each time it gives back what it drew too much */
	s.t[0].period = 2500 * US;
	s.t[0].e.ran = 0;
	s.samples = 0;
	run(10 * SEC);
	near(s.t[0].e.ran, 2 * SEC, 20);
	assert_true(p99() <= 1 * MS);
	s.t[0].busy = 9 * MS;
	s.t[0].period = 10 * MS;
	s.t[0].e.ran = 0;
	run(10 * SEC);
	near(s.t[0].e.ran, 10 * SEC / 4, 20);
}

/* --- sleepers --- */

static void wake_latency(void **state)
{
	(void)state;
	for (unsigned n = 1; n <= 32; n++) {
		sim_init(1);
		for (unsigned i = 0; i < n; i++)
			add(0, 256, 0, 0, 0);
		add(0, 256, 0, 50 * US, 10 * MS)->jitter = 9 * MS;
		run(10 * SEC);
		assert_true(p99() <= 1 * MS);
		assert_true(s.samples > 900);
		assert_true(s.t[n].e.waited <= s.samples * MS); /* asleep is not waiting */
	}
}

/* Sixteen VMs that are nearly idle, beside spinners that weigh much more. */
static void wake_latency_of_many(void **state)
{
	(void)state;
	sim_init(1);
	for (unsigned i = 0; i < 4; i++)
		add(0, 1024, 0, 0, 0);
	for (unsigned i = 0; i < 16; i++)
		add(0, 256, 0, 50 * US, 40 * MS)->jitter = 30 * MS;
	run(10 * SEC);
	assert_true(p99() <= 1 * MS);
}

/* Whatever the rhythm in which it sleeps, nobody gets more than its share of what others want, too. */
static void sleeper_share(void **state)
{
	static const u64 rhythms[][2] = {{4 * MS, 5 * MS}, {5 * MS, 5 * MS + US}, {100 * US, 110 * US},
					 {40 * MS, 41 * MS}, {9 * MS, 10 * MS}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(rhythms); i++)
		for (unsigned n = 1; n <= 8; n *= 2) {
			sim_init(1);
			for (unsigned k = 0; k < n; k++)
				add(0, 256, 0, 0, 0);
			add(0, 256, 0, rhythms[i][0], rhythms[i][1]);
			run(20 * SEC);
			assert_true(s.t[n].e.ran <= 20 * SEC / (n + 1) + 2 * SLICE);
			for (unsigned k = 0; k < n; k++)
				assert_true(s.t[k].e.ran + 2 * SLICE >= 20 * SEC / (n + 1));
		}
}

/* Forty that wake together have a slice each in hand, not one more than the one before. */
static void wake_together(void **state)
{
	(void)state;
	sim_init(1);
	add(0, 256, 0, 0, 0);
	for (unsigned i = 0; i < 40; i++)
		add(0, 256, 0, 0, 0)->start = 3600 * SEC;
	run(2 * SEC);
	for (unsigned i = 0; i < 40; i++) {
		s.t[1 + i].in = true;
		sched_ent_attach(&s.rq[0], &s.t[1 + i].e, s.now);
		s.t[1 + i].e.vtime -= 1ull << 40; /* it slept long */
		sched_ent_wake(&s.rq[0], &s.t[1 + i].e, s.now);
	}
	s.until[0] = s.now;
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(s.t[1 + i].e.vtime, s.t[1].e.vtime);
	s.t[0].e.ran = 0;
	run(41 * 100 * MS);
	assert_true(s.t[0].e.ran >= 100 * MS - 2 * SLICE);
}

/* One that slept for an hour does not take an hour back; one that owes does not sleep it away. */
static void no_hoard(void **state)
{
	u64 until;

	(void)state;
	sim_init(1);
	add(0, 256, 0, 0, 0);
	add(0, 256, 0, 0, 0)->start = 3600 * SEC;
	run(3600 * SEC + 100 * MS);
	near(s.t[1].e.ran, 50 * MS + SLICE / 2, 60);

	sim_init(1);
	add(0, 256, 0, 0, 0);
	add(0, 1, 0, 0, 0); /* its slice is worth 256 of the other's */
	run(20 * MS);
	assert_true(s.t[1].e.ran >= SLICE);
	s.t[0].e.ran = s.t[1].e.ran = 0;
	for (unsigned i = 0; i < 100; i++) {
		sched_ent_sleep(&s.rq[0], &s.t[1].e, s.now);
		sched_pick(&s.rq[0], s.now, &s.until[0]);
		run(1 * MS);
		sched_ent_wake(&s.rq[0], &s.t[1].e, s.now);
		sched_pick(&s.rq[0], s.now, &until);
	}
	assert_int_equal(s.t[1].e.ran, 0);
}

/* Runs of days and sleeps of years leave the arithmetic sound. */
static void long_times(void **state)
{
	(void)state;
	sim_init(1);
	add(0, 1, 0, 0, 0);
	add(0, 256, 0, 0, 0);
	arrive(&s.t[0]);
	arrive(&s.t[1]);
	run(1 * SEC);
	for (unsigned i = 0; i < 200; i++) {
		sched_ent_sleep(&s.rq[0], &s.t[1].e, s.now);
		for (unsigned k = 0; k < 1 + i % 7; k++) {
			pick(0);
			s.now += 1ull << (44 + i % 8);
		}
		pick(0);
		if (i & 16)
			move(&s.t[1], 0);
		sched_ent_wake(&s.rq[0], &s.t[1].e, s.now);
		pick(0);
		assert_ptr_equal(s.rq[0].cur, &s.t[1].e);
		s.t[0].e.ran = s.t[1].e.ran = 0;
		run(100 * MS);
		assert_true(s.t[1].e.ran >= 85 * MS);
	}
}

/* A yield lets the next go first, costs nothing else, and is nothing when nobody waits. */
static void yields(void **state)
{
	u64 until;

	(void)state;
	sim_init(1);
	add(0, 256, 0, 0, 0);
	arrive(&s.t[0]);
	pick(0);
	sched_rq_yield(&s.rq[0]);
	assert_ptr_equal(sched_pick(&s.rq[0], s.now, &until), &s.t[0].e);
	add(0, 256, 0, 0, 0);
	s.now += 1 * MS;
	arrive(&s.t[1]);
	pick(0);
	while (s.rq[0].cur != &s.t[1].e)
		run(1 * MS);
	run(7 * MS); /* both have begun */
	for (unsigned i = 0; i < 100; i++) {
		struct sched_ent *cur = s.rq[0].cur;

		s.now += 10 * US;
		sched_rq_yield(&s.rq[0]);
		pick(0);
		assert_ptr_not_equal(s.rq[0].cur, cur);
	}
	run(1 * SEC);
	near(s.t[0].e.ran, s.t[1].e.ran, 20);
}

/* --- several queues --- */

/* What it is owed goes along: an entity that is moved for ever gets neither more nor less for it. */
static void moving(void **state)
{
	(void)state;
	sim_init(2);
	for (unsigned i = 0; i < 9; i++)
		add(i % 2, 256, 0, 0, 0);
	for (unsigned i = 0; i < 4000; i++) {
		run(3 * MS);
		move(&s.t[8], !s.t[8].q);
	}
	near(s.t[8].e.ran, s.now / 5, 30);
	for (unsigned i = 0; i < 8; i++)
		near(s.t[i].e.ran, s.now * 2 / 9, 40);
}

/* Three on two pCPUs, 33 on four: nobody is the one that always shares. */
static void balanced(void **state)
{
	static const unsigned sizes[][2] = {{3, 2}, {5, 4}, {33, 4}, {7, 3}, {64, 4}};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned n = sizes[i][0], q = sizes[i][1];

		sim_init(q);
		s.balance = true;
		for (unsigned k = 0; k < n; k++)
			add(0, 256, 0, 0, 0);
		run(10 * SEC); /* all began on one queue */
		s.moves = 0;
		for (unsigned k = 0; k < n; k++)
			s.t[k].e.ran = 0;
		run(60 * SEC);
		for (unsigned k = 0; k < n; k++)
			near(s.t[k].e.ran * n, 60 * SEC * q, 10);
		assert_true(s.moves <= 60 * 10 * q / 2);
	}
}

static void balanced_weights(void **state)
{
	u32 w[] = {512, 512, 256, 256, 256, 256}, sum = 0;

	(void)state;
	sim_init(2);
	s.balance = true;
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		add(i % 2, w[i], 0, 0, 0);
		sum += w[i];
	}
	run(30 * SEC);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		near(s.t[i].e.ran, 30 * SEC * 2 * w[i] / sum, 30);
	assert_true(s.moves <= 2); /* what is even stays */
}

/* Not one whose going would only turn the difference round. */
static void surplus(void **state)
{
	static const u32 w[] = {1000, 300, 256, 200};

	(void)state;
	sim_init(1);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		add(0, w[i], 0, 0, 0);
	run(100 * MS);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++)
		s.t[i].e.arrived = i;
	assert_null(sched_surplus(&s.rq[0], 199, anyone, NULL));
	assert_ptr_equal(sched_surplus(&s.rq[0], 255, anyone, NULL), &s.t[3].e);
	assert_ptr_equal(sched_surplus(&s.rq[0], 256, anyone, NULL), &s.t[2].e);
	assert_ptr_equal(sched_surplus(&s.rq[0], 999, anyone, NULL), &s.t[1].e);
	assert_ptr_equal(sched_surplus(&s.rq[0], 1000, anyone, NULL), &s.t[0].e);
}

/* --- mixes by random seeds --- */

/* Goyal, Vin and Cheng's theorem: two that both want to run all the while differ by no more than what one
 * slice is worth to each; here with the clock's lateness, and a slice saved up while they were away. */
static void theorem(void)
{
	for (unsigned i = 0; i < s.nt; i++)
		for (unsigned k = 0; k < i; k++) {
			struct task *a = &s.t[i], *b = &s.t[k];
			double x = (double)a->e.ran / a->e.group->weight, y = (double)b->e.ran / b->e.group->weight;
			double bound = (double)(SLICE + LATE) / a->e.group->weight +
				       (double)(SLICE + LATE) / b->e.group->weight;

			if (a->period || b->period || x - y <= bound)
				continue;
			if (a->e.state != SCHED_RUNNING && b->e.state != SCHED_RUNNING)
				fail_msg("spinners %u and %u are apart", i, k);
		}
}

/* The ideal fluid: at every moment all that want to run do, each at its weight's part of the CPU. */
static void fluid(double *got, double *want, u64 ticks, bool *spins)
{
	double left = (double)ticks;

	while (left > 1) {
		double sum = 0, step = left;

		for (unsigned i = 0; i < s.nt; i++)
			sum += spins[i] || want[i] > 0 ? s.t[i].e.group->weight : 0;
		if (sum == 0)
			return;
		for (unsigned i = 0; i < s.nt; i++)
			if (!spins[i] && want[i] > 0)
				step = MIN(step, want[i] * sum / s.t[i].e.group->weight);
		for (unsigned i = 0; i < s.nt; i++) {
			double part = step * s.t[i].e.group->weight / sum;

			if (spins[i]) {
				got[i] += part;
			} else if (want[i] > 0) {
				got[i] += part;
				want[i] = want[i] - part < 1 ? 0 : want[i] - part;
			}
		}
		left -= step;
	}
}

static double f_got[MAX_TASKS], f_want[MAX_TASKS];
static bool f_spins[MAX_TASKS];
static u64 f_at, f_asked[MAX_TASKS];

static void beside_fluid(void)
{
	double spinners = 0;

	for (unsigned i = 0; i < s.nt; i++)
		spinners += f_spins[i] ? s.t[i].e.group->weight : 0;
	fluid(f_got, f_want, s.now - f_at, f_spins);
	f_at = s.now;
	for (unsigned i = 0; i < s.nt; i++) {
		struct task *t = &s.t[i];
		double ran = (double)t->e.ran + (t->e.state == SCHED_RUNNING ? (double)(s.now - t->e.since) : 0);
		double off = f_got[i] - ran, w = t->e.group->weight;
		/* Each of the others may be a slice ahead, and it bears its weight's part of that. */
		double bound = (SLICE + LATE) * (2 + s.nt * w / (spinners + w));

		/* What it asked for since the last event, as wake() counted it. */
		if (t->period && t->next != f_asked[i]) {
			f_want[i] += (double)t->busy * (double)((t->next - f_asked[i]) / t->period);
			f_asked[i] = t->next;
		}
		if (off > bound)
			fail_msg("entity %u of %u got %g ms less than its ideal", i, s.nt, off / 1e6);
	}
	theorem();
}

/* Spinners, and sleepers that want less than their share, with any weights: nobody falls behind the ideal
 * by more than a few slices, at any moment. */
static void random_mixes(void **state)
{
	(void)state;
	for (u64 n = 1; n <= 60; n++) {
		unsigned tasks;

		sim_init(1);
		seed = n * 0x9e3779b97f4a7c15ull;
		tasks = 2 + (unsigned)rnd(14);
		for (unsigned i = 0; i < tasks; i++) {
			u32 w = 64 + (u32)rnd(960);
			bool sleeps = rnd(2);
			u64 period = sleeps ? 1 * MS + rnd(40 * MS) : 0;
			struct task *t = add(0, w, 0, period / (20 + 20 * tasks), period);

			f_got[i] = f_want[i] = 0;
			f_spins[i] = !sleeps;
			t->start = 0;
		}
		for (unsigned i = 0; i < tasks; i++) {
			arrive(&s.t[i]);
			f_asked[i] = s.t[i].next;
		}
		f_at = 0;
		s.check = beside_fluid;
		run(5 * SEC);
	}
}

/* Anything at all, on four queues, with caps, moves, arrivals and departures: every tick is accounted for,
 * no queue idles while one waits on it, and sums come out. */
static void random_anything(void **state)
{
	(void)state;
	for (u64 n = 1; n <= 40; n++) {
		u64 ran = 0;

		sim_init(4);
		seed = n * 0xd1342543de82ef95ull;
		s.balance = rnd(2);
		for (unsigned i = 0; i < 24; i++) {
			u64 period = rnd(2) ? 100 * US + rnd(30 * MS) : 0;
			struct task *t = add((unsigned)rnd(4), 1 + (u32)rnd(rnd(2) ? 65535 : 512),
					     rnd(3) ? 0 : 1 + (u32)rnd(100), rnd(period), period);

			t->start = rnd(3) ? 0 : 1 + rnd(500 * MS);
		}
		for (unsigned k = 0; k < 300; k++) {
			struct task *t = &s.t[rnd(s.nt)];

			run(1 + rnd(5 * MS));
			if (t->in && rnd(2))
				move(t, (unsigned)rnd(4));
			for (unsigned q = 0; q < 4; q++) {
				u64 load = 0;
				u32 ready = 0;

				pick(q);
				for (unsigned i = 0; i < s.nt; i++) {
					struct task *o = &s.t[i];

					if (!o->in || o->q != q)
						continue;
					load += o->e.state == SCHED_READY || o->e.state == SCHED_RUNNING ?
							o->e.group->weight : 0;
					ready += o->e.state == SCHED_READY;
					assert_int_equal(o->e.state == SCHED_ASLEEP, !o->left);
				}
				assert_int_equal(s.rq[q].load, load);
				assert_int_equal(s.rq[q].nr_ready, ready);
				assert_true(s.rq[q].cur || !ready);
			}
		}
		for (unsigned i = 0; i < s.nt; i++) {
			struct task *t = &s.t[i];

			ran += t->e.ran;
			if (t->in && t->e.group->quota)
				assert_true((s64)t->e.ran <= t->e.group->quota * (s64)(s.now / PERIOD + 2));
		}
		assert_true(ran <= 4 * s.now);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weights),
		cmocka_unit_test(weights_soon),
		cmocka_unit_test(equal_spinners),
		cmocka_unit_test(no_timer_alone),
		cmocka_unit_test(cap_alone),
		cmocka_unit_test(cap_beside_spinners),
		cmocka_unit_test(cap_of_a_group),
		cmocka_unit_test(cap_of_a_sleeper),
		cmocka_unit_test(wake_latency),
		cmocka_unit_test(wake_latency_of_many),
		cmocka_unit_test(sleeper_share),
		cmocka_unit_test(wake_together),
		cmocka_unit_test(no_hoard),
		cmocka_unit_test(long_times),
		cmocka_unit_test(yields),
		cmocka_unit_test(moving),
		cmocka_unit_test(balanced),
		cmocka_unit_test(balanced_weights),
		cmocka_unit_test(surplus),
		cmocka_unit_test(random_mixes),
		cmocka_unit_test(random_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
