/* SPDX-License-Identifier: BSD-2-Clause */
/* Each CPU's timer, the one time they have, and the PIT's interrupt to each. Nothing must come
 * early; how late it may be, the guest does not know: the host may have other things to do. */
#include "smp.h"

#define PIT_CH2      0x42
#define PIT_GATE     0x61
#define MSR_DEADLINE 0x6e0

u64 tsc_per_ms, apic_per_ms, patience;

static volatile u64 stamp[MAX_CPUS];
static u32 early[MAX_CPUS], miscounted[MAX_CPUS], kept[MAX_CPUS];

/* The timer's count and the TSC at one moment, as near as 20 tries get. */
static u64 both(u32 *count)
{
	u64 best = ~0ull, at = 0;

	for (u32 i = 0; i < 20; i++) {
		u64 t = rdtsc_ordered();
		u32 n = apic_read(REG_CURRENT);
		u64 took = rdtsc_ordered() - t;

		if (took < best)
			best = took, *count = n, at = t + took / 2;
	}
	return at;
}

/* TSC and APIC timer against 20 ms of the PIT's channel 2. */
void calibrate(void)
{
	u32 c0 = 0, c1 = 0;
	u64 t0, t1;

	apic_setup(&cpus[0]);
	apic_write(REG_TIMER, 0x10000);
	apic_write(REG_INITIAL, ~0u);
	outb(PIT_GATE, (inb(PIT_GATE) & ~2) | 1);
	outb(PIT_MODE, 0xb0);
	outb(PIT_CH2, 23864 & 0xff);
	outb(PIT_CH2, 23864 >> 8);
	t0 = both(&c0);
	while (!(inb(PIT_GATE) & 0x20))
		pause();
	t1 = both(&c1);
	tsc_per_ms = (t1 - t0) / 20;
	apic_per_ms = (c0 - c1) / 20;
	patience = tsc_per_ms * (one_way ? 5000 : 60000); /* Bochs works 20 seconds for 5 */
	apic_tick(true);
}

void delay_us(u64 us)
{
	u64 end = rdtsc() + us * tsc_per_ms / 1000;

	while (rdtsc() < end)
		pause();
}

/* --- timers --- */

static void note_time(struct cpu *c, u32 vector)
{
	(void)vector;
	stamp[c->index] = rdtsc();
}

/* APs sleep; CPU 0 looks at the clock, for it has no tick now. */
static void await(struct cpu *c, u32 n)
{
	u64 end = rdtsc() + patience;

	if (c->index == 0) {
		while ((int)(c->got[VEC_TIMER] - n) < 0) {
			if (rdtsc() > end)
				give_up("CPU 0's timer does not come, count",
					apic_read(REG_CURRENT));
			pause();
		}
		return;
	}
	cli();
	while ((int)(c->got[VEC_TIMER] - n) < 0)
		sti_hlt_cli();
	sti();
}

static void see(struct cpu *c, u32 n, u64 from, u64 ticks)
{
	u64 took = stamp[c->index] - from;

	/* 1/20: for what the two clocks were measured with */
	early[c->index] += took < ticks * tsc_per_ms / apic_per_ms * 19 / 20;
	miscounted[c->index] += c->got[VEC_TIMER] != n;
}

static void one_shot(struct cpu *c, u64 unused)
{
	u32 n = c->got[VEC_TIMER] + 1, ticks = (u32)apic_per_ms * (5 + c->index % 7);
	u64 from;

	(void)unused;
	apic_write(REG_TIMER, VEC_TIMER);
	from = rdtsc_ordered();
	apic_write(REG_INITIAL, ticks);
	await(c, n);
	see(c, n, from, ticks);
	miscounted[c->index] += apic_read(REG_CURRENT) != 0;
	delay_us(1000);
	miscounted[c->index] += c->got[VEC_TIMER] != n;
}

static void periodic(struct cpu *c, u64 unused)
{
	u32 n = c->got[VEC_TIMER], ticks = (u32)apic_per_ms * (2 + c->index % 3);
	u64 from;

	(void)unused;
	apic_write(REG_TIMER, 0x20000 | VEC_TIMER);
	from = rdtsc_ordered();
	apic_write(REG_INITIAL, ticks);
	await(c, n + 5);
	early[c->index] += stamp[c->index] - from < 5 * ticks * tsc_per_ms / apic_per_ms * 19 / 20;
	apic_write(REG_INITIAL, 0);
	delay_us(100);
	n = c->got[VEC_TIMER];
	delay_us(10000);
	miscounted[c->index] += c->got[VEC_TIMER] != n;
}

/* SDM vol. 3, 10.5.4.1: never before the deadline; one that has passed comes at once; 0 disarms. */
static void deadline(struct cpu *c, u64 unused)
{
	u32 n = c->got[VEC_TIMER] + 1;
	u64 at;

	(void)unused;
	apic_write(REG_TIMER, 0x40000 | VEC_TIMER);
	__asm__ volatile("mfence" ::: "memory");
	at = rdtsc() + tsc_per_ms * (5 + c->index % 7);
	wrmsr(MSR_DEADLINE, at);
	await(c, n);
	early[c->index] += stamp[c->index] < at;
	miscounted[c->index] += c->got[VEC_TIMER] != n;
	kept[c->index] = rdmsr(MSR_DEADLINE) != 0;
	wrmsr(MSR_DEADLINE, 1);
	await(c, n + 1);
	miscounted[c->index] += c->got[VEC_TIMER] != n + 1;
	do {
		n = c->got[VEC_TIMER];
		at = rdtsc() + tsc_per_ms * 5;
		wrmsr(MSR_DEADLINE, at);
		wrmsr(MSR_DEADLINE, 0);
	} while (rdtsc() > at); /* it may have come while the host did something else */
	delay_us(8000);
	miscounted[c->index] += c->got[VEC_TIMER] != n;
	apic_write(REG_TIMER, 0x10000);
}

static bool on_each(const char *name, void (*job)(struct cpu *, u64))
{
	u64 sum = 0;

	memset(early, 0, sizeof(early));
	memset(miscounted, 0, sizeof(miscounted));
	on_vector[VEC_TIMER] = note_time;
	on_all(job, 0);
	apic_tick(true);
	for (u32 i = 0; i < nr_cpus; i++)
		sum += (u64)early[i] << 32 | miscounted[i];
	return check(name, !sum, "early, miscounted", sum);
}

static bool has_deadline(void)
{
	u32 r[4];

	cpuid(1, r);
	return r[2] >> 24 & 1;
}

static bool deadlines(void)
{
	u32 sum = 0;
	bool ok = on_each("timer-deadline", deadline);

	for (u32 i = 0; i < nr_cpus; i++)
		sum += kept[i];
	return check("timer-deadline-reads-0", !sum, "CPUs", sum) && ok;
}

bool timers_some(void)
{
	return on_each("timer-one-shot", one_shot) && (!has_deadline() || deadlines());
}

void timers(u64 unused)
{
	(void)unused;
	on_each("timer-one-shot", one_shot);
	on_each("timer-periodic", periodic);
	if (has_deadline())
		deadlines();
	else
		skip("timer-deadline", "CPUID has none");
}

/* --- TSC --- */

static volatile u64 last, back; /* the latest time, and by how much one was before another */
static volatile u32 hops_left, turn;

static void compare(u64 before)
{
	u64 now = rdtsc_ordered();

	if (now < before && before - now > back)
		back = before - now;
	last = now;
}

/* A token from CPU to CPU, by IPIs to sleepers. */
static void hop(struct cpu *c, u32 vector)
{
	compare(last);
	if (--hops_left)
		icr(cpus[(c->index + 1) % nr_cpus].id, ICR_FIXED | vector);
}

bool tsc_some(u32 hops)
{
	last = back = 0;
	hops_left = hops;
	on_vector[VEC_PING] = hop;
	icr(cpus[nr_cpus - 1].id, ICR_FIXED | VEC_PING);
	if (!WAIT(!hops_left))
		give_up("the TSC's token was lost, hops left", hops_left);
	on_vector[VEC_PING] = NULL;
	return check("tsc-ring", !back, "back by", back);
}

/* Two CPUs in turn, spinning. CPU 0 ends it: after 1000 rounds or a quarter of a second. */
static void ping_pong(struct cpu *c, u64 other)
{
	u32 me = c->index;
	u64 end = rdtsc() + tsc_per_ms * 250;

	for (u32 n = 0; turn != ~0u;) {
		if (turn != me) {
			pause();
			continue;
		}
		compare(last);
		turn = me == 0 && (n++ == 1000 || rdtsc() > end) ? ~0u : (u32)other;
	}
}

/* All at once: who reads the time behind one that was published must not read an earlier one. */
static void publish(struct cpu *c, u64 rounds)
{
	(void)c;
	for (u64 n = 0; n < rounds; n++) {
		u64 before = last, now = rdtsc_ordered();

		if (now < before && before - now > back)
			back = before - now;
		while (before < now && !__sync_bool_compare_and_swap(&last, before, now))
			before = last;
	}
}

void tsc(u64 unused)
{
	(void)unused;
	if (nr_cpus == 1) {
		skip("tsc", "one CPU");
		return;
	}
	tsc_some(nr_cpus * 20);
	last = back = 0;
	for (u32 i = 1; i < nr_cpus && i < 8; i++) {
		turn = i;
		job_start(&cpus[i], ping_pong, 0);
		ping_pong(&cpus[0], i);
		job_wait(&cpus[i]);
	}
	check("tsc-ping-pong", !back, "back by", back);
	last = back = 0;
	on_all(publish, 5000);
	check("tsc-all", !back, "back by", back);
}

/* What CPUID tells of the TSC is what the VM file says, and what the PIT says. */
void tsc_khz(u64 want)
{
	u64 measured = tsc_per_ms;
	u32 r[4];

	cpuid(0x40000010, r);
	check("tsc-khz-told", r[0] == want, "kHz", r[0]);
	check("tsc-khz-measured", measured > want - want / 20 && measured < want + want / 20, "kHz", measured);
}

#define MSR_TSC 0x10
static u64 soonest[MAX_CPUS]; /* how late the timeliest deadline came */
static u32 differ[MAX_CPUS], rounds[MAX_CPUS];

/* The TSC is set while a deadline waits, forward and back: it comes when the TSC is there, not before. */
static void set_then_deadline(struct cpu *c, u64 unused)
{
	u64 by = tsc_per_ms * 5;

	(void)unused;
	rounds[c->index] = 0;
	soonest[c->index] = ~0ull;
	apic_write(REG_TIMER, 0x40000 | VEC_TIMER);
	__asm__ volatile("mfence" ::: "memory");
	for (u32 i = 0; i < 12; i++, by = -by) {
		u32 n = c->got[VEC_TIMER] + 1;
		u64 at, before, msr;
		bool armed;

		cli();
		at = rdtsc() + tsc_per_ms * 6 + (i & 1 ? 0 : by);
		wrmsr(MSR_DEADLINE, at);
		wrmsr(MSR_TSC, rdtsc() + by);
		armed = rdmsr(MSR_DEADLINE) == at; /* else the host did something else meanwhile */
		before = rdtsc_ordered();
		msr = rdmsr(MSR_TSC);
		differ[c->index] += msr < before || msr > rdtsc_ordered();
		sti();
		await(c, n);
		if (!armed)
			continue;
		rounds[c->index]++;
		early[c->index] += stamp[c->index] < at;
		if (stamp[c->index] - at < soonest[c->index])
			soonest[c->index] = stamp[c->index] - at;
	}
	apic_write(REG_TIMER, 0x10000);
}

/* Last of all: no two TSCs are in step after this. */
void tsc_set(u64 unused)
{
	u64 late = 0;
	u32 wrong = 0, none = 0;

	(void)unused;
	on_each("tsc-set-deadline", set_then_deadline);
	for (u32 i = 0; i < nr_cpus; i++) {
		wrong += differ[i];
		none += !rounds[i];
		late = soonest[i] > late ? soonest[i] : late;
	}
	check("tsc-set-reads", !wrong, "times", wrong);
	check("tsc-set-rounds", !none, "CPUs without", none);
	check("tsc-set-on-time", late < 2 * tsc_per_ms, "ticks late", late);
}

/* --- I/O APIC --- */

static void ioapic_write(u32 reg, u32 v)
{
	*(volatile u32 *)(u64)ioapic_addr = reg;
	*(volatile u32 *)(u64)(ioapic_addr + 0x10) = v;
}

static u32 pin_total(u64 set)
{
	u32 sum = 0;

	for (u32 i = 0; i < nr_cpus; i++)
		if (set >> i & 1)
			sum += cpus[i].got[VEC_PIN];
	return sum;
}

/* One edge of the PIT (mode 0, 1 ms) to a destination; true if exactly `want` interrupts came, all
 * in the set. */
static bool one_edge(u32 dest, u32 low, u64 set, u32 want)
{
	u32 before = pin_total(set), all = pin_total(ALL_CPUS);

	outb(PIT_MODE, 0x30);
	ioapic_write(0x11 + 2 * ioapic_pin, dest << 24);
	ioapic_write(0x10 + 2 * ioapic_pin, low | VEC_PIN);
	outb(PIT_CH0, 1193 & 0xff);
	outb(PIT_CH0, 1193 >> 8);
	WAIT(pin_total(set) - before >= want);
	fence();
	ioapic_write(0x10 + 2 * ioapic_pin, 0x10000);
	return pin_total(set) - before == want && pin_total(ALL_CPUS) - all == want;
}

static bool to_logical(u32 dest)
{
	u64 set = 0;
	u32 n = 0;

	for (u32 i = 0; i < nr_cpus; i++)
		if (cluster_model ? logical_id(i) >> 4 == dest >> 4 && (logical_id(i) & dest & 15)
				  : logical_id(i) & dest)
			set |= 1ull << i, n++;
	return !n || (one_edge(dest, 0x800, set, n) && one_edge(dest, 0x900, set, 1));
}

bool ioapic_some(void)
{
	u32 i = random_below(&cpus[0].seed, nr_cpus);

	return one_edge(cpus[i].id, 0, 1ull << i, 1) || check("ioapic", false, "CPU", i);
}

void ioapic(u64 unused)
{
	u32 bad = ~0u;

	(void)unused;
	for (u32 i = 0; i < nr_cpus; i++)
		for (u32 n = 0; n < 2; n++)
			if (!one_edge(cpus[i].id, 0, 1ull << i, 1))
				bad = i;
	check("ioapic-physical", bad == ~0u, "CPU", bad);
	for (u32 cluster = 0; cluster < 2 && !cpus[0].x2; cluster++) {
		bad = ~0u;
		all_to_mode(false, cluster);
		for (u32 i = 0; i < nr_cpus; i++)
			if (logical_id(i) && !(to_logical(logical_id(i)) &&
					       to_logical(logical_id(i) | 1u << (i + 1) % 4)))
				bad = i;
		check(cluster ? "ioapic-cluster" : "ioapic-flat", bad == ~0u, "CPU", bad);
	}
	all_to_mode(false, false);
}

/* --- fairness --- */

static u64 counted[MAX_CPUS];
static void count_until(struct cpu *c, u64 end)
{
	u64 n = 0;

	while (rdtsc() < end)
		n++;
	counted[c->index] = n;
}

void spinners(u64 million_ticks)
{
	on_all(count_until, rdtsc() + million_ticks * 1000000);
	for (u32 i = 0; i < nr_cpus; i++) {
		puts_("SMP: spinner ");
		putd(i);
		puts_(" ");
		putd(counted[i]);
		puts_("\n");
	}
}
