/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guests' pool: 2 MiB blocks that no global mapping reaches. A range's blocks are handed out in
 * order first; those that came back are taken again before that, last in, first out.
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

static struct {
	struct spinlock lock;
	struct {
		hpa_t base;
		u32 nr, fresh; /* blocks; of them never handed out from `fresh` on */
		u32 first;
	} range[GUEST_MAX_RANGES];
	u32 nr_ranges, nr_blocks, nr_free;
	u32 free; /* index + 1 of the last block that came back */
	struct gblock *blocks;
} pool = {.lock = SPINLOCK(LOCK_GPOOL)};

u64 gpool_table_size(const struct mem_split *s)
{
	u64 n = 0;

	for (u32 i = 0; i < s->nr_guest; i++)
		n += s->guest[i].size / PAGE_2M;
	return n * sizeof(struct gblock);
}

void gpool_init(const struct mem_split *s, void *table)
{
	pool.nr_ranges = s->nr_guest;
	pool.nr_blocks = 0;
	pool.free = 0;
	pool.blocks = table;
	/* From the lowest range up: mem_split() lists the highest first. */
	for (u32 i = 0; i < s->nr_guest; i++) {
		const struct mem_range *m = &s->guest[s->nr_guest - 1 - i];

		pool.range[i].base = m->base;
		pool.range[i].nr = m->size / PAGE_2M;
		pool.range[i].fresh = 0;
		pool.range[i].first = pool.nr_blocks;
		pool.nr_blocks += pool.range[i].nr;
	}
	pool.nr_free = pool.nr_blocks;
}

static struct gblock *block_of(hpa_t pa)
{
	for (u32 i = 0; i < pool.nr_ranges; i++) {
		u64 n = (pa - pool.range[i].base) / PAGE_2M;

		if (pa >= pool.range[i].base && n < pool.range[i].nr && IS_ALIGNED(pa, PAGE_2M))
			return &pool.blocks[pool.range[i].first + n];
	}
	panic("0x%lx is not a block of the guests' pool", pa);
}

static hpa_t block_addr(u32 index)
{
	u32 i = 0;

	while (index - pool.range[i].first >= pool.range[i].nr)
		i++;
	return pool.range[i].base + (u64)(index - pool.range[i].first) * PAGE_2M;
}

static struct gblock *take_fresh(void)
{
	for (u32 i = 0; i < pool.nr_ranges; i++)
		if (pool.range[i].fresh < pool.range[i].nr)
			return &pool.blocks[pool.range[i].first + pool.range[i].fresh++];
	return NULL;
}

hpa_t gpool_alloc_block(u16 owner)
{
	u64 flags = spin_lock_irq(&pool.lock);
	struct gblock *b;

	if (pool.free) {
		b = &pool.blocks[pool.free - 1];
		pool.free = b->next;
	} else {
		b = take_fresh();
	}
	if (b) {
		*b = (struct gblock){.refs = 1, .owner = owner, .in_use = 1};
		pool.nr_free--;
	}
	spin_unlock_irq(&pool.lock, flags);
	return b ? block_addr(b - pool.blocks) : HPA_NONE;
}

/* Change the counts; the block goes back when both are zero. */
static void count(hpa_t block, int refs, int pins)
{
	struct gblock *b = block_of(block);
	u64 flags = spin_lock_irq(&pool.lock);

	if (!b->in_use || (refs < 0 && !b->refs) || (pins < 0 && !b->pins) || (refs > 0 && !b->refs))
		panic("block 0x%lx: %u references, %u pins, in use %u", block, b->refs, b->pins, b->in_use);
	b->refs += refs;
	b->pins += pins;
	if (!b->refs && !b->pins) {
		b->in_use = 0;
		b->owner = OWNER_HOST;
		b->next = pool.free;
		pool.free = b - pool.blocks + 1;
		pool.nr_free++;
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
