/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every kind of IPI, counted: after each check all CPUs have got what was sent to them and nothing
 * else. One vector is on its way at a time, since the APIC makes one of two that wait.
 */
#include "smp.h"

static u32 want[MAX_CPUS][256], want_nmis[MAX_CPUS];
static bool lost; /* since begin() */
static u8 vector = VEC_TEST;

static u32 next_vector(void)
{
	vector = vector + 1 == VEC_TEST_END ? VEC_TEST : vector + 1;
	return vector;
}

static void begin(void)
{
	fence();
	for (u32 i = 0; i < nr_cpus; i++) {
		for (u32 v = 0; v < 256; v++)
			want[i][v] = cpus[i].got[v];
		want_nmis[i] = cpus[i].nmis;
	}
	lost = false;
}

/* Exact on every CPU, the PIC's vectors too. why: which CPU and vector first differs. */
static bool finish(const char *name)
{
	u64 differs = 0;

	fence();
	for (u32 i = 0; i < nr_cpus; i++) {
		if (cpus[i].nmis != want_nmis[i])
			differs = differs ? differs : 1ull << 32 | i << 8 | 2;
		for (u32 v = 0; v < VEC_TEST_END; v++)
			if ((v < VEC_FENCE || v >= VEC_TEST) && cpus[i].got[v] != want[i][v])
				differs = differs ? differs : 1ull << 32 | i << 8 | v;
	}
	return check(name, !differs && !lost,
		     lost ? "lost, CPU and vector" : "wrong count, CPU and vector",
		     differs & ~(1ull << 32));
}

struct sending {
	u32 dest, low;
};
static void do_send(struct cpu *c, u64 arg)
{
	const struct sending *s = (const struct sending *)arg;

	(void)c;
	icr(s->dest, s->low);
}
static void send_self_msr(struct cpu *c, u64 v)
{
	(void)c;
	wrmsr(0x83f, v);
}

static void expect(u64 set, u32 v)
{
	for (u32 i = 0; i < nr_cpus; i++)
		if (set >> i & 1)
			want[i][v]++;
}
static void arrive(u64 set, u32 v)
{
	for (u32 i = 0; i < nr_cpus && !lost; i++)
		if ((set >> i & 1) && !WAIT(cpus[i].got[v] >= want[i][v]))
			lost = true;
}

/* By one CPU to a set of them. */
static void send(u32 from, u32 dest, u32 low, u64 set)
{
	u32 v = next_vector();
	struct sending s = {dest, low | v};

	if (lost)
		return;
	expect(set, v);
	on_cpu(from, do_send, (u64)&s);
	arrive(set, v);
}

/* The CPUs that a logical destination means. */
static u64 logical_set(u32 dest)
{
	u64 set = 0;
	u32 shift = cpus[0].x2 ? 16 : 4, cluster = dest >> shift, bits = dest & ((1u << shift) - 1);

	for (u32 i = 0; i < nr_cpus; i++) {
		u32 id = logical_id(i);

		if (!cpus[0].x2 && !cluster_model)
			set |= (u64) !!(id & dest) << i;
		else if (id && id >> shift == cluster && (id & bits))
			set |= 1ull << i;
	}
	return set;
}
/* All ones mean all, also those that have no logical id: avoided. */
static u32 random_logical(u32 *seed)
{
	u32 some = logical_id(random_below(seed, nr_cpus)), more = 1u << random_below(seed, 4);

	if (!some)
		return logical_id(0);
	return (some | more) == 0xff ? some : some | more;
}

static void physical(u32 *seed, u32 times)
{
	for (u32 n = 0; n < times; n++) {
		u32 from = random_below(seed, nr_cpus), to = random_below(seed, nr_cpus);

		send(from, cpus[to].id, ICR_FIXED, 1ull << to);
	}
}
static void logical(u32 *seed, u32 times)
{
	for (u32 n = 0; n < times; n++) {
		u32 dest = random_logical(seed);

		send(random_below(seed, nr_cpus), dest, ICR_FIXED | ICR_LOGICAL, logical_set(dest));
	}
}
static void shorthands(u32 from)
{
	send(from, 0, ICR_FIXED | ICR_SELF, 1ull << from);
	send(from, 0, ICR_FIXED | ICR_ALL, ALL_CPUS);
	send(from, 0, ICR_FIXED | ICR_OTHERS, ALL_CPUS & ~(1ull << from));
}

static u32 received(u64 set, u32 v)
{
	u32 sum = 0;

	for (u32 i = 0; i < nr_cpus; i++)
		if (set >> i & 1)
			sum += cpus[i].got[v] - want[i][v];
	return sum;
}
/* Exactly one of the set gets it. */
static void lowest_priority(u32 *seed, u32 times)
{
	for (u32 n = 0; n < times && !lost; n++) {
		u32 v = next_vector(), dest = random_logical(seed);
		u64 set = logical_set(dest);
		struct sending s = {dest, ICR_LOWEST | ICR_LOGICAL | v};

		on_cpu(random_below(seed, nr_cpus), do_send, (u64)&s);
		if (!WAIT(received(set, v)))
			lost = true;
		fence();
		if (received(set, v) != 1)
			return; /* the sum that is wrong stays wrong */
		for (u32 i = 0; i < nr_cpus; i++)
			if (set >> i & 1)
				want[i][v] = cpus[i].got[v];
	}
}

static void nmi(u32 from, u32 dest, u32 low, u64 set)
{
	struct sending s = {dest, low};

	for (u32 i = 0; i < nr_cpus; i++)
		want_nmis[i] += set >> i & 1;
	on_cpu(from, do_send, (u64)&s);
	for (u32 i = 0; i < nr_cpus && !lost; i++)
		lost = !WAIT(cpus[i].nmis >= want_nmis[i]);
}
static void nmis(void)
{
	for (u32 i = 1; i < nr_cpus; i++) {
		nmi(0, cpus[i].id, ICR_NMI, 1ull << i);
		nmi(i, cpus[0].id, ICR_NMI, 1);
	}
	nmi(0, 0, ICR_NMI | ICR_OTHERS, ALL_CPUS & ~1ull);
	nmi(nr_cpus - 1, 0, ICR_NMI | ICR_OTHERS, ALL_CPUS & ~(1ull << (nr_cpus - 1)));
}

/* Delivery mode 7 is reserved in the ICR: nobody takes an interrupt, or acknowledges one at the
 * PIC. */
static void extint(void)
{
	struct sending s = {cpus[nr_cpus - 1].id, ICR_EXTINT | next_vector()};

	on_cpu(0, do_send, (u64)&s);
	delay_us(2000);
}

/* Ids that nobody has, one of them as it would look if bits were dropped. */
static void nobody(void)
{
	u32 unused = 0xfe;

	for (u32 i = 0; i < nr_cpus; i++)
		if (cpus[i].id == unused)
			unused--, i = 0;
	send(0, unused, ICR_FIXED, 0);
	if (!cpus[0].x2)
		return;
	send(0, cpus[nr_cpus - 1].id | 0x100, ICR_FIXED, 0);
	send(0, cpus[nr_cpus - 1].id | 0x80000000, ICR_FIXED, 0);
	send(0, 0xff, ICR_FIXED, 0); /* broadcast in the other mode */
	send(0, 0xffff0000 | 1, ICR_FIXED | ICR_LOGICAL, 0);
}

static void in_this_mode(const char *with, u32 *seed)
{
	bool x2 = cpus[0].x2;

	prefix = with;
	begin();
	for (u32 i = 0; i < nr_cpus; i++) {
		send(0, cpus[i].id, ICR_FIXED, 1ull << i);
		send(i, cpus[0].id, ICR_FIXED, 1);
		send(i, cpus[(i + 1) % nr_cpus].id, ICR_FIXED, 1ull << (i + 1) % nr_cpus);
	}
	physical(seed, 100);
	finish("physical");
	begin();
	for (u32 i = 0; i < nr_cpus; i++)
		if (logical_id(i))
			send(0, logical_id(i), ICR_FIXED | ICR_LOGICAL, 1ull << i);
	logical(seed, 100);
	finish("logical");
	begin();
	for (u32 i = 0; i < 5; i++)
		send(random_below(seed, nr_cpus), x2 ? ~0u : 0xff, ICR_FIXED, ALL_CPUS);
	finish("broadcast");
	begin();
	shorthands(0);
	for (u32 i = 0; i < 5; i++)
		shorthands(random_below(seed, nr_cpus));
	finish("shorthands");
	begin();
	lowest_priority(seed, 50);
	finish("lowest-priority");
	begin();
	nmis();
	finish("nmi");
	begin();
	extint();
	finish("extint");
	begin();
	nobody();
	finish("nobody");
	if (!x2)
		return;
	begin();
	for (u32 i = 0; i < nr_cpus; i++) {
		u32 v = next_vector();

		expect(1ull << i, v);
		on_cpu(i, send_self_msr, v);
		arrive(1ull << i, v);
	}
	finish("self");
}

static u32 wrong_ldr;
static void look_at_ldr(struct cpu *c, u64 unused)
{
	(void)unused;
	if (apic_read(REG_LDR) != logical_id(c->index))
		__sync_fetch_and_add(&wrong_ldr, 1);
}

void ipi(u64 unused)
{
	u32 seed = 7;

	(void)unused;
	all_to_mode(false, false);
	if (!cpus[0].x2) {
		in_this_mode("ipi-flat-", &seed);
		all_to_mode(false, true);
		in_this_mode("ipi-cluster-", &seed);
	}
	if (has_x2apic()) {
		all_to_mode(true, false);
		in_this_mode("ipi-x2-", &seed);
		wrong_ldr = 0;
		on_all(look_at_ldr, 0);
		check("ldr", !wrong_ldr, "CPUs", wrong_ldr);
	}
	prefix = "";
	if (!has_x2apic())
		skip("ipi-x2", "no x2APIC");
	all_to_mode(false, false);
}

/* In whatever mode the CPUs are. */
bool ipi_some(u32 *seed, u32 times)
{
	begin();
	physical(seed, times);
	logical(seed, times);
	shorthands(random_below(seed, nr_cpus));
	lowest_priority(seed, 3);
	nmis();
	return finish("ipi-some");
}
