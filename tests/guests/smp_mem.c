/* SPDX-License-Identifier: BSD-2-Clause */
/* One memory for all: page tables changed under other CPUs, and counters that all add to. */
#include "smp.h"

#define PAGES    16
#define LIVE     PAGES /* one more page, for the readers that do not wait */
#define FRAMES   24
#define BASE     (5ull << 30)
#define WRITABLE 2

static u64 pt[512] __attribute__((aligned(4096))), pd[512] __attribute__((aligned(4096)));
static u64 frames[FRAMES][512] __attribute__((aligned(4096)));
static u64 live[4][512] __attribute__((aligned(4096)));

static volatile u32 acks, wrong;
static volatile u64 wrong_page, page_to_flush;

static u64 address(u64 page)
{
	return BASE + page * 4096;
}
static void invlpg(u64 page)
{
	__asm__ volatile("invlpg (%0)" ::"r"(address(page)) : "memory");
}

static void flush_one(struct cpu *c, u32 vector)
{
	(void)c, (void)vector;
	invlpg(page_to_flush);
	__sync_fetch_and_add(&acks, 1);
}

static void map_region(void)
{
	u64 cr3, *pdpt;

	__asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
	pdpt = (u64 *)(*(u64 *)cr3 & ~0xfffull);
	pd[0] = (u64)pt | 3;
	pdpt[BASE >> 30] = (u64)pd | 3;
	for (u32 f = 0; f < FRAMES; f++)
		frames[f][0] = 0x5eed0000 + f;
	on_vector[VEC_TLB] = flush_one;
}

/* The new entry, and all other CPUs told; odd pages by one IPI a CPU. */
static void shoot(struct cpu *c, u64 page, u64 entry)
{
	u64 end = rdtsc() + patience;

	((volatile u64 *)pt)[page] = entry;
	invlpg(page);
	acks = 0;
	page_to_flush = page;
	__sync_synchronize();
	for (u32 i = 0; (page & 1) && i < nr_cpus; i++)
		if (i != c->index)
			icr(cpus[i].id, ICR_FIXED | VEC_TLB);
	if (!(page & 1) && nr_cpus > 1)
		icr(0, ICR_OTHERS | ICR_FIXED | VEC_TLB);
	while (acks != nr_cpus - 1) {
		if (rdtsc() > end)
			give_up("shootdown without answer, acks", acks);
		pause();
	}
}

struct change {
	u64 page, entry;
};
static void do_change(struct cpu *c, u64 arg)
{
	const struct change *ch = (const struct change *)arg;

	shoot(c, ch->page, ch->entry);
}

/* What a CPU sees of a page must be what its entry says. */
static void look(struct cpu *c, u64 page)
{
	u64 entry = ((volatile u64 *)pt)[page], seen = 0, value = 0;
	bool can_read = try_read(address(page), &seen);
	bool can_write = try_write(address(page) + 8 + 8 * c->index, page);

	if (entry & 1)
		value = *(volatile u64 *)(entry & ~0xfffull);
	if (can_read == (entry & 1) && seen == value && can_write == ((entry & 3) == 3))
		return;
	__sync_fetch_and_add(&wrong, 1);
	wrong_page = (u64)c->index << 32 | page << 8 | (u64)can_read << 1 | can_write;
}

/* Unmapped, mapped elsewhere, made read-only or writable again, by any CPU. */
bool tlb_some(u32 *seed, u32 rounds)
{
	map_region();
	wrong = 0;
	for (u32 n = 0; n < rounds && !wrong; n++) {
		u32 page = random_below(seed, PAGES), kind = random_below(seed, 4);
		u64 was = pt[page];
		struct change ch = {page, (u64)frames[random_below(seed, FRAMES)] | 3};

		if (kind == 0)
			ch.entry = 0;
		else if (kind == 1 && (was & 1))
			ch.entry = was ^ WRITABLE;
		on_cpu(random_below(seed, nr_cpus), do_change, (u64)&ch);
		on_all(look, page);
		on_all(look, random_below(seed, PAGES));
	}
	return check("tlb", !wrong, "CPU, page, access", wrong_page);
}

/* A reader may see the page as it was until the shootdown has ended, and never after. */
static volatile u64 published;
static volatile bool stop;
static void read_on(struct cpu *c, u64 unused)
{
	volatile u64 *at = (u64 *)address(LIVE);

	(void)unused;
	while (!stop) {
		u64 least = published;

		__sync_synchronize();
		if (*at < least) {
			__sync_fetch_and_add(&wrong, 1);
			wrong_page = c->index;
		}
	}
}

static void tlb_live(u32 rounds)
{
	u32 readers = nr_cpus - 1 < 7 ? nr_cpus - 1 : 7;

	published = live[0][0] = 0;
	shoot(&cpus[0], LIVE, (u64)live[0] | 1);
	stop = false;
	for (u32 i = 1; i <= readers; i++)
		job_start(&cpus[i], read_on, 0);
	for (u64 n = 1; n <= rounds && !wrong; n++) {
		u64 *frame = live[n % 4];

		((volatile u64 *)frame)[0] = n;
		shoot(&cpus[0], LIVE, (u64)frame | 1);
		published = n;
	}
	stop = true;
	for (u32 i = 1; i <= readers; i++)
		job_wait(&cpus[i]);
	check("tlb-live", !wrong, "CPU", wrong_page);
}

/* --- counters --- */

static struct {
	volatile u64 inc, xadd, cmpxchg, guarded, shadow;
	volatile u32 lock, torn;
} counters;

static void add(struct cpu *c, u64 rounds)
{
	(void)c;
	for (u64 n = 0; n < rounds; n++) {
		u64 old = counters.cmpxchg;

		__asm__ volatile("lock incq %0" : "+m"(counters.inc)::"cc");
		(void)__sync_fetch_and_add(&counters.xadd, n);
		while (!__sync_bool_compare_and_swap(&counters.cmpxchg, old, old + 3)) {
			pause();
			old = counters.cmpxchg;
		}
		while (__sync_lock_test_and_set(&counters.lock, 1))
			pause();
		counters.torn += counters.guarded != ~counters.shadow;
		counters.guarded++;
		counters.shadow = ~counters.guarded;
		__sync_lock_release(&counters.lock);
	}
}

bool locks(u32 rounds)
{
	u64 n = (u64)nr_cpus * rounds, each = (u64)rounds * (rounds - 1) / 2;
	bool ok;

	memset(&counters, 0, sizeof(counters));
	counters.shadow = ~0ull;
	on_all(add, rounds);
	ok = counters.inc == n && counters.xadd == nr_cpus * each && counters.cmpxchg == 3 * n &&
	     counters.guarded == n && !counters.torn;
	return check("locks", ok, "LOCK INC made it", counters.inc);
}

void tlb(u64 rounds)
{
	u32 seed = 11;

	if (nr_cpus == 1) {
		skip("tlb", "one CPU");
		return;
	}
	if (tlb_some(&seed, rounds ? (u32)rounds : 200))
		tlb_live(rounds ? (u32)rounds : 100);
	locks(1000);
}
