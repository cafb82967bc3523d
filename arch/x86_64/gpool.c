/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guests' pool: 2 MiB blocks that no global mapping reaches. Blocks belong to groups, one for each GiB of
 * addresses; a group with all its 512 blocks free can be had in one run, for a leaf of 1 GiB. Single blocks come
 * from groups that are broken already, as long as there is one: from a group first what came back to it, last
 * in, first out, then what was never handed out, in order.
 */
#include "arch/x86_64/frame_priv.h"
#include "arch/x86_64/window.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"

#define ZERO_STEP (PAGE_2M / 16)

struct gblock {
	u32 refs;
	u32 next; /* free list: index + 1 */
	u32 pins;
	u16 owner;
	u16 in_use; /* handed out: refs or pins keep it */
};
static_assert(sizeof(struct gblock) == 16, "16 bytes a block");

struct ggroup {
	hpa_t base;
	u32 first;	/* index of its first block */
	u32 free;	/* index + 1 of the block that came back last */
	u32 next, prev; /* groups of one list: index + 1 */
	u16 nr, nr_free, fresh; /* blocks; of them never handed out from `fresh` on */
	u16 pad;
};
static_assert(sizeof(struct ggroup) == 32, "32 bytes a GiB");

enum { WHOLE, BROKEN, NR_LISTS }; /* groups with nothing free are on neither list */

static struct {
	struct spinlock lock;
	struct {
		hpa_t base;
		u32 nr; /* blocks */
		u32 first, group;
	} range[GUEST_MAX_RANGES];
	u32 nr_ranges, nr_blocks, nr_groups, nr_free;
	u32 list[NR_LISTS];
	u32 fail_in; /* gpool_fail_at() */
	bool failed;
	struct gblock *blocks;
	struct ggroup *groups;
} pool = {.lock = SPINLOCK(LOCK_GPOOL)};

static u64 nr_gib(const struct mem_range *m)
{
	return (ALIGN_UP(m->base + m->size, PAGE_1G) - ALIGN_DOWN(m->base, PAGE_1G)) / PAGE_1G;
}

u64 gpool_table_size(const struct mem_split *s)
{
	u64 n = 0;

	for (u32 i = 0; i < s->nr_guest; i++)
		n += s->guest[i].size / PAGE_2M * sizeof(struct gblock) +
		     nr_gib(&s->guest[i]) * sizeof(struct ggroup);
	return n;
}

static unsigned list_of(const struct ggroup *g)
{
	return !g->nr_free ? NR_LISTS : g->nr_free == PAGE_1G / PAGE_2M ? WHOLE : BROKEN;
}

static void list_in(struct ggroup *g, unsigned list)
{
	u32 me = g - pool.groups + 1;

	if (list == NR_LISTS)
		return;
	g->prev = 0;
	g->next = pool.list[list];
	if (g->next)
		pool.groups[g->next - 1].prev = me;
	pool.list[list] = me;
}

static void list_out(struct ggroup *g, unsigned list)
{
	if (list == NR_LISTS)
		return;
	if (g->prev)
		pool.groups[g->prev - 1].next = g->next;
	else
		pool.list[list] = g->next;
	if (g->next)
		pool.groups[g->next - 1].prev = g->prev;
}

/* n blocks of g more, or fewer, are free. */
static void recount(struct ggroup *g, int n)
{
	unsigned was = list_of(g), now;

	g->nr_free += n;
	pool.nr_free += n;
	now = list_of(g);
	if (was == now)
		return;
	list_out(g, was);
	list_in(g, now);
}

void gpool_init(const struct mem_split *s, void *table)
{
	pool.nr_ranges = s->nr_guest;
	pool.nr_blocks = pool.nr_groups = pool.nr_free = 0;
	memset(pool.list, 0, sizeof(pool.list));
	/* From the lowest range up: mem_split() lists the highest first. */
	for (u32 i = 0; i < s->nr_guest; i++) {
		const struct mem_range *m = &s->guest[s->nr_guest - 1 - i];

		pool.range[i].base = m->base;
		pool.range[i].nr = m->size / PAGE_2M;
		pool.range[i].first = pool.nr_blocks;
		pool.range[i].group = pool.nr_groups;
		pool.nr_blocks += pool.range[i].nr;
		pool.nr_groups += nr_gib(m);
	}
	pool.blocks = table;
	pool.groups = (struct ggroup *)(pool.blocks + pool.nr_blocks);
	/* Down from the last, so that the lists begin with the lowest. */
	for (u32 i = pool.nr_ranges, n = pool.nr_groups; i-- > 0;) {
		hpa_t base = pool.range[i].base, end = base + pool.range[i].nr * PAGE_2M;

		while (n > pool.range[i].group) {
			struct ggroup *g = &pool.groups[--n];

			*g = (struct ggroup){.base = MAX(base, ALIGN_DOWN(end - 1, PAGE_1G))};
			g->nr = (end - g->base) / PAGE_2M;
			g->first = pool.range[i].first + (g->base - base) / PAGE_2M;
			recount(g, g->nr);
			end = g->base;
		}
	}
}

static struct gblock *block_of(hpa_t pa, struct ggroup **group)
{
	for (u32 i = 0; i < pool.nr_ranges; i++) {
		hpa_t base = pool.range[i].base;
		u64 n = (pa - base) / PAGE_2M;

		if (pa < base || n >= pool.range[i].nr || !IS_ALIGNED(pa, PAGE_2M))
			continue;
		*group = &pool.groups[pool.range[i].group + pa / PAGE_1G - base / PAGE_1G];
		return &pool.blocks[pool.range[i].first + n];
	}
	panic("0x%lx is not a block of the guests' pool", pa);
}

static void hand_out(struct gblock *b, u16 owner)
{
	*b = (struct gblock){.refs = 1, .owner = owner, .in_use = 1};
	frame_account(owner, FRAME_GUEST_RAM, PAGE_2M / PAGE_SIZE);
}

/* The lock is held: is this one to fail? */
static bool fails(void)
{
	if (likely(!pool.fail_in) || --pool.fail_in)
		return false;
	return pool.failed = true;
}

bool gpool_fail_at(u32 n)
{
	u64 flags = spin_lock_irq(&pool.lock);
	bool failed = pool.failed;

	pool.fail_in = n;
	pool.failed = false;
	spin_unlock_irq(&pool.lock, flags);
	return failed;
}

hpa_t gpool_alloc_block(u16 owner)
{
	u64 flags = spin_lock_irq(&pool.lock);
	u32 from = pool.list[BROKEN] ? pool.list[BROKEN] : pool.list[WHOLE];
	hpa_t pa = HPA_NONE;

	if (from && !fails()) {
		struct ggroup *g = &pool.groups[from - 1];
		struct gblock *b = &pool.blocks[g->first + g->fresh];

		if (g->free) {
			b = &pool.blocks[g->free - 1];
			g->free = b->next;
		} else {
			g->fresh++;
		}
		hand_out(b, owner);
		recount(g, -1);
		pa = g->base + (b - pool.blocks - g->first) * PAGE_2M;
	}
	spin_unlock_irq(&pool.lock, flags);
	return pa;
}

hpa_t gpool_alloc_gib(u16 owner)
{
	u64 flags = spin_lock_irq(&pool.lock);
	hpa_t pa = HPA_NONE;

	if (pool.list[WHOLE] && !fails()) {
		struct ggroup *g = &pool.groups[pool.list[WHOLE] - 1];

		for (u32 i = 0; i < g->nr; i++)
			hand_out(&pool.blocks[g->first + i], owner);
		g->fresh = g->nr;
		g->free = 0;
		recount(g, -g->nr);
		pa = g->base;
	}
	spin_unlock_irq(&pool.lock, flags);
	return pa;
}

/* Change the counts; the block goes back when both are zero. */
static void count(hpa_t block, int refs, int pins)
{
	struct ggroup *g;
	struct gblock *b = block_of(block, &g);
	u64 flags = spin_lock_irq(&pool.lock);

	if (!b->in_use || (refs < 0 && !b->refs) || (pins < 0 && !b->pins) || (refs > 0 && !b->refs))
		panic("block 0x%lx: %u references, %u pins, in use %u", block, b->refs, b->pins, b->in_use);
	b->refs += refs;
	b->pins += pins;
	if (!b->refs && !b->pins) {
		frame_account(b->owner, FRAME_GUEST_RAM, -(s32)(PAGE_2M / PAGE_SIZE));
		b->in_use = 0;
		b->owner = OWNER_HOST;
		b->next = g->free;
		g->free = b - pool.blocks + 1;
		recount(g, 1);
	}
	spin_unlock_irq(&pool.lock, flags);
}

void gpool_get_block(hpa_t block)
{
	count(block, 1, 0);
}

void gpool_put_block(hpa_t block)
{
	count(block, -1, 0);
}

void gpool_pin(hpa_t block)
{
	count(block, 0, 1);
}

void gpool_unpin(hpa_t block)
{
	count(block, 0, -1);
}

bool gpool_zero_block(hpa_t block, u64 *pos)
{
	char *va = window_open_block(block);

	memset(va + *pos, 0, ZERO_STEP);
	window_close_block(va);
	*pos += ZERO_STEP;
	return *pos >= PAGE_2M;
}

bool gpool_overlaps(hpa_t pa, u64 size)
{
	for (u32 i = 0; i < pool.nr_ranges; i++)
		if (pa < pool.range[i].base + pool.range[i].nr * PAGE_2M && pa + size > pool.range[i].base)
			return true;
	return false;
}

void gpool_get_stats(struct frame_stats *st)
{
	st->guest_total = pool.nr_blocks * PAGE_2M;
	st->guest_free = READ_ONCE(pool.nr_free) * PAGE_2M;
}
