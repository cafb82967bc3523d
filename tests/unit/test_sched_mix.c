/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/sched_core.c */
/* The scheduler's policy: anything at all, by random seeds, against the ideal. */
#include "tests/unit/sched_sim.h"

/* Goyal, Vin and Cheng's theorem: two that both want to run all the while differ by no more than
 * what one slice is worth to each; here with the clock's lateness, and a slice saved up while they
 * were away. */
static void theorem(void)
{
	for (unsigned i = 0; i < s.nt; i++)
		for (unsigned k = 0; k < i; k++) {
			struct task *a = &s.t[i], *b = &s.t[k];
			double x = (double)a->e.ran / a->e.group->weight,
			       y = (double)b->e.ran / b->e.group->weight;
			double bound = (double)(SLICE + LATE) / a->e.group->weight +
				       (double)(SLICE + LATE) / b->e.group->weight;

			if (a->period || b->period || x - y <= bound)
				continue;
			if (a->e.state != SCHED_RUNNING && b->e.state != SCHED_RUNNING)
				fail_msg("spinners %u and %u are apart", i, k);
		}
}

/* The ideal fluid: at every moment all that want to run do, each at its weight's part of the CPU.
 */
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
		double ran = (double)t->e.ran +
			     (t->e.state == SCHED_RUNNING ? (double)(s.now - t->e.since) : 0);
		double off = f_got[i] - ran, w = t->e.group->weight;
		/* Each of the others may be a slice ahead, and it bears its weight's part of that.
		 */
		double bound = (SLICE + LATE) * (2 + s.nt * w / (spinners + w));

		/* What it asked for since the last event, as wake() counted it. */
		if (t->period && t->next != f_asked[i]) {
			f_want[i] += (double)t->busy * (double)((t->next - f_asked[i]) / t->period);
			f_asked[i] = t->next;
		}
		if (off > bound)
			fail_msg("entity %u of %u got %g ms less than its ideal", i, s.nt,
				 off / 1e6);
	}
	theorem();
}

/* Spinners, and sleepers that want less than their share, with any weights: nobody falls behind the
 * ideal by more than a few slices, at any moment. */
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

/* Anything at all, on four queues, with caps, moves, arrivals and departures: every tick is
 * accounted for, no queue idles while one waits on it, and sums come out. */
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
					load += o->e.state == SCHED_READY ||
								o->e.state == SCHED_RUNNING
							? o->e.group->weight
							: 0;
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
				assert_true((s64)t->e.ran <=
					    t->e.group->quota * (s64)(s.now / PERIOD + 2));
		}
		assert_true(ran <= 4 * s.now);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_mixes),
		cmocka_unit_test(random_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
