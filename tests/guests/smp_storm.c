/* SPDX-License-Identifier: BSD-2-Clause */
/* IPIs from all to all at once, and how long one takes. */
#include "smp.h"

/*
 * Who wants to send a vector to a CPU first takes its slot here, so that no two are one in the IRR;
 * the handler empties the slot. A sender waits for that in turns: looking at the slot, or in HLT
 * for the receiver's answer, VEC_ACK.
 */
static volatile u32 slots[MAX_CPUS][256];
#define WANTS_ANSWER 0x100

static volatile u32 taken, bad, finished;
static u32 storm_times;

static void take(struct cpu *c, u32 vector)
{
	u32 slot = __atomic_exchange_n(&slots[c->index][vector], 0, __ATOMIC_SEQ_CST);

	__sync_fetch_and_add(slot ? &taken : &bad, 1);
	if (slot & WANTS_ANSWER)
		icr(cpus[slot & 0xff].id, ICR_FIXED | VEC_ACK);
}

static void rain(struct cpu *c, u64 unused)
{
	(void)unused;
	for (u32 n = 0; n < storm_times; n++) {
		u32 to = random_below(&c->seed, nr_cpus - 1), acks = c->got[VEC_ACK], none;
		u32 v = VEC_TEST + random_below(&c->seed, VEC_TEST_END - VEC_TEST);
		bool answer = n & 1;
		u32 mark = (c->index & 0xff) | 0x200 | (answer ? WANTS_ANSWER : 0);

		to += to >= c->index;
		for (none = 0; !__atomic_compare_exchange_n(&slots[to][v], &none, mark, false,
							    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
		     none = 0)
			v = v + 1 == VEC_TEST_END ? VEC_TEST : v + 1;
		icr(cpus[to].id, ICR_FIXED | v);
		if (!answer) {
			while (slots[to][v] == mark)
				pause();
			continue;
		}
		cli();
		while (c->got[VEC_ACK] == acks)
			sti_hlt_cli();
		sti();
	}
	__sync_fetch_and_add(&finished, 1);
}

bool storm(u32 times)
{
	u32 want = nr_cpus * times;
	bool ok;

	if (nr_cpus == 1)
		return true;
	taken = bad = finished = 0;
	storm_times = times;
	for (u32 v = VEC_TEST; v < VEC_TEST_END; v++)
		on_vector[v] = take;
	on_all(rain, 0);
	fence();
	for (u32 v = VEC_TEST; v < VEC_TEST_END; v++)
		on_vector[v] = NULL;
	ok = taken == want && !bad && finished == nr_cpus;
	return check("ipistorm", ok, "arrived twice, and at all", (u64)bad << 32 | taken);
}

void ipi_storm(u64 times)
{
	if (nr_cpus == 1)
		skip("ipistorm", "one CPU");
	else
		storm(times ? (u32)times : 1000);
}

/* For the machine's end amid interrupts. */
void storm_for_ever(struct cpu *c, u64 unused)
{
	(void)unused;
	for (;;) {
		icr(cpus[random_below(&c->seed, nr_cpus)].id,
		    ICR_FIXED | (VEC_TEST + random_below(&c->seed, VEC_TEST_END - VEC_TEST)));
		pause();
	}
}

/* --- round trip --- */

#define TRIPS 1000
static u64 trip[TRIPS];

static void answer(struct cpu *c, u32 vector)
{
	(void)c, (void)vector;
	icr(cpus[0].id, ICR_FIXED | VEC_PONG);
}

static volatile bool stop;
static void answer_spinning(struct cpu *c, u64 unused)
{
	u32 seen = c->got[VEC_PING];

	(void)unused;
	while (!stop) {
		if (c->got[VEC_PING] == seen) {
			pause();
			continue;
		}
		seen++;
		answer(c, 0);
	}
}

static void say_median(const char *name, u32 n)
{
	for (u32 i = 1; i < n; i++)
		for (u32 k = i; k && trip[k - 1] > trip[k]; k--) {
			u64 t = trip[k];

			trip[k] = trip[k - 1];
			trip[k - 1] = t;
		}
	puts_("SMP: ");
	puts_(name);
	puts_(" ");
	putd(n ? trip[n / 2] : 0);
	if (n < TRIPS) {
		puts_(" of ");
		putd(n);
	}
	puts_("\n");
}

/* From CPU 0 to CPU 1, whose handler answers; both sleep meanwhile. Then both spinning, for 5
 * seconds at most. */
void round_trip(u64 unused)
{
	u64 begun;
	u32 n;

	(void)unused;
	if (nr_cpus == 1) {
		skip("rtt", "one CPU");
		return;
	}
	apic_tick(false);
	on_vector[VEC_PING] = answer;
	delay_us(20000);
	cli();
	for (n = 0; n < TRIPS; n++) {
		u32 seen = cpus[0].got[VEC_PONG];
		u64 t = rdtsc();

		icr(cpus[1].id, ICR_FIXED | VEC_PING);
		while (cpus[0].got[VEC_PONG] == seen)
			sti_hlt_cli();
		trip[n] = rdtsc() - t;
	}
	sti();
	on_vector[VEC_PING] = NULL;
	say_median("rtt", n);
	stop = false;
	job_start(&cpus[1], answer_spinning, 0);
	delay_us(20000);
	begun = rdtsc();
	for (n = 0; n < TRIPS && rdtsc() - begun < 5000 * tsc_per_ms; n++) {
		u32 seen = cpus[0].got[VEC_PONG];
		u64 t = rdtsc();

		icr(cpus[1].id, ICR_FIXED | VEC_PING);
		while (cpus[0].got[VEC_PONG] == seen)
			pause();
		trip[n] = rdtsc() - t;
	}
	stop = true;
	apic_tick(true);
	job_wait(&cpus[1]);
	say_median("rtt-spin", n);
	check("rtt", n > 0, "no trips", n);
}
