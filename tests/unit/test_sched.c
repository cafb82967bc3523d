/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/sched_core.c */
/* The scheduler's policy: what it promises, one by one. */
#include "tests/unit/sched_sim.h"

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
		for (unsigned k = 0; k < 2;
		     k++) { /* to the tick; the stretch that goes on is not in yet */
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
	/* With ten more its share is less than its cap, and what it was owed meanwhile is no hoard.
	 */
	for (unsigned i = 0; i < 10; i++)
		add(0, 256, 0, 0, 0);
	run(13 * SEC);
	assert_true(s.t[0].e.ran - 10 * SEC / 4 < SEC + 60 * MS);
	assert_true(s.t[0].e.ran - 10 * SEC / 4 > SEC - 60 * MS);
}

/* Two entities of one VM on two queues share the budget, evenly when both want it; one gets all of
 * it alone. */
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
	s.t[0].busy =
		500 *
		US; /* four times a period, and each time it gives back what it drew too much */
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

/* Whatever the rhythm in which it sleeps, nobody gets more than its share of what others want, too.
 */
static void sleeper_share(void **state)
{
	static const u64 rhythms[][2] = {{4 * MS, 5 * MS},
					 {5 * MS, 5 * MS + US},
					 {100 * US, 110 * US},
					 {40 * MS, 41 * MS},
					 {9 * MS, 10 * MS}};

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

/* What it is owed goes along: an entity that is moved for ever gets neither more nor less for it.
 */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(weights),        cmocka_unit_test(weights_soon),
		cmocka_unit_test(equal_spinners), cmocka_unit_test(no_timer_alone),
		cmocka_unit_test(cap_alone),      cmocka_unit_test(cap_beside_spinners),
		cmocka_unit_test(cap_of_a_group), cmocka_unit_test(cap_of_a_sleeper),
		cmocka_unit_test(wake_latency),   cmocka_unit_test(wake_latency_of_many),
		cmocka_unit_test(sleeper_share),  cmocka_unit_test(wake_together),
		cmocka_unit_test(no_hoard),       cmocka_unit_test(long_times),
		cmocka_unit_test(yields),         cmocka_unit_test(moving),
		cmocka_unit_test(balanced),       cmocka_unit_test(balanced_weights),
		cmocka_unit_test(surplus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
