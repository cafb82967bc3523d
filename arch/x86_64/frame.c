/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Our pool: a buddy allocator over a few ranges of 4 KiB frames. Frames are numbered densely over
 * the ranges from 1 on, so that 0 ends a list; a range's blocks are aligned by physical address.
 */
#include "arch/x86_64/frame_priv.h"
#include "arch/x86_64/layout.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"

#define NR_ORDERS 14 /* up to 32 MiB: descriptor tables of large machines */

struct own_range {
	u64 pfn, nr;
	u32 first; /* index of its first frame */
};

u64 frame_direct_base = DIRECT_BASE;
static struct {
	struct spinlock lock;
	struct own_range range[OWN_MAX_RANGES];
	u32 nr_ranges, nr_frames;
	struct frame *frames;
	u32 free[NR_ORDERS];
	u64 nr_free;
	u32 account[FRAME_MAX_OWNERS][FRAME_NR_TYPES];
	u16 last_owner;
	u32 fail_in; /* frame_fail_at() */
	bool failed;
	u64 lost;
	hpa_t low_page, image_phys;
	u64 image_size;
} own = {.lock = SPINLOCK(LOCK_FRAME)};

void *frame_va(hpa_t pa)
{
	return (void *)(frame_direct_base + pa);
}

hpa_t frame_pa(const void *va)
{
	u64 in_image = (u64)va - IMAGE_BASE;

	return in_image < own.image_size ? own.image_phys + in_image : (u64)va - frame_direct_base;
}

static const struct own_range *range_of(hpa_t pa)
{
	u64 pfn = pa >> PAGE_SHIFT;

	for (u32 i = 0; i < own.nr_ranges; i++)
		if (pfn - own.range[i].pfn < own.range[i].nr)
			return &own.range[i];
	return NULL;
}

u32 frame_index(hpa_t pa)
{
	const struct own_range *r = range_of(pa);

	if (!r)
		panic("frame 0x%lx is not of the hypervisor's pool", pa);
	return r->first + (u32)((pa >> PAGE_SHIFT) - r->pfn);
}

hpa_t frame_addr(u32 index)
{
	const struct own_range *r = own.range;

	while (index - r->first >= r->nr)
		r++;
	return (r->pfn + (index - r->first)) << PAGE_SHIFT;
}

struct frame *frame_at(u32 index)
{
	return &own.frames[index];
}

struct frame *frame_of(hpa_t pa)
{
	return &own.frames[frame_index(pa)];
}

static void list_add(u32 index, unsigned order)
{
	struct frame *f = &own.frames[index];

	f->type = FRAME_FREE;
	f->head = order + 1;
	f->prev = 0;
	f->next = own.free[order];
	if (f->next)
		own.frames[f->next].prev = index;
	own.free[order] = index;
}

static void list_del(u32 index, unsigned order)
{
	struct frame *f = &own.frames[index];

	if (f->prev)
		own.frames[f->prev].next = f->next;
	else
		own.free[order] = f->next;
	if (f->next)
		own.frames[f->next].prev = f->prev;
	f->next = f->prev = 0;
	f->head = 0;
}

/* Put a block back, joined with its free neighbours. */
static void give(const struct own_range *r, u64 pfn, unsigned order)
{
	own.nr_free += 1ull << order;
	while (order + 1 < NR_ORDERS) {
		u64 other = pfn ^ (1ull << order);
		u32 oi = r->first + (u32)(other - r->pfn);

		if (other < r->pfn || other + (1ull << order) > r->pfn + r->nr)
			break;
		if (own.frames[oi].type != FRAME_FREE || own.frames[oi].head != order + 1)
			break;
		list_del(oi, order);
		pfn &= ~(1ull << order);
		order++;
	}
	list_add(r->first + (u32)(pfn - r->pfn), order);
}

/* The range's frames from pfn on become free, in the largest aligned blocks. */
static void give_span(const struct own_range *r, u64 pfn, u64 end)
{
	while (pfn < end) {
		unsigned order = NR_ORDERS - 1;

		while (!IS_ALIGNED(pfn, 1ull << order) || pfn + (1ull << order) > end)
			order--;
		give(r, pfn, order);
		pfn += 1ull << order;
	}
}

static void number_ranges(const struct mem_split *s)
{
	u32 next = 1;

	own.nr_ranges = s->nr_own;
	own.nr_free = 0;
	memset(own.free, 0, sizeof(own.free));
	memset(own.account, 0, sizeof(own.account));
	for (u32 i = 0; i < s->nr_own; i++) {
		own.range[i] = (struct own_range){.pfn = s->own[i].base >> PAGE_SHIFT,
						  .nr = s->own[i].size >> PAGE_SHIFT,
						  .first = next};
		next += own.range[i].nr;
	}
	own.nr_frames = next;
}

void frame_init(const struct boot_info *bi)
{
	static struct mem_split split; /* 3 KiB: not for the boot stack */
	const struct own_range *home = NULL;
	u64 bytes, table, pages;

	mem_split(bi, &split);
	number_ranges(&split);
	own.image_phys = bi->image_phys;
	own.image_size = bi->image_size;
	own.low_page = split.low_page;
	own.lost = split.lost;
	for (u32 i = 0; i < own.nr_ranges; i++)
		if (!home || own.range[i].nr > home->nr)
			home = &own.range[i];
	table = ALIGN_UP((u64)own.nr_frames * sizeof(struct frame), 64);
	bytes = table + gpool_table_size(&split);
	pages = ALIGN_UP(bytes, PAGE_SIZE) >> PAGE_SHIFT;
	if (!home || home->nr < pages || own.nr_frames < pages + 1024)
		panic("too little memory below 4 GiB: %u pages, %lu of them in one piece; %lu needed, %lu in one piece",
		      own.nr_frames - 1, home ? home->nr : 0, pages + 1024, pages);
	/* Both descriptor tables at the start of the largest range. */
	own.frames = frame_va(home->pfn << PAGE_SHIFT);
	memset(own.frames, 0, pages << PAGE_SHIFT);
	for (u32 i = 0; i < pages; i++)
		own.frames[home->first + i].type = FRAME_BOOT;
	frame_account(OWNER_HOST, FRAME_BOOT, (s32)pages);
	gpool_init(&split, (char *)own.frames + table);
	for (u32 i = 0; i < own.nr_ranges; i++) {
		const struct own_range *r = &own.range[i];

		give_span(r, r->pfn + (r == home ? pages : 0), r->pfn + r->nr);
	}
}

void frame_account(u16 owner, enum frame_type type, s32 frames)
{
	__atomic_fetch_add(&own.account[owner % FRAME_MAX_OWNERS][type], (u32)frames, __ATOMIC_RELAXED);
}

void frame_get_owner(u16 owner, u64 by_type[FRAME_NR_TYPES])
{
	for (unsigned t = 0; t < FRAME_NR_TYPES; t++)
		by_type[t] = (u64)READ_ONCE(own.account[owner % FRAME_MAX_OWNERS][t]) << PAGE_SHIFT;
}

/* Two at once find different numbers, and accounts that they share 1,024 numbers later. */
u16 frame_new_owner(void)
{
	for (unsigned n = 0; n < 2 * FRAME_MAX_OWNERS; n++) {
		u16 id = __atomic_add_fetch(&own.last_owner, 1, __ATOMIC_RELAXED);
		u64 held = 0, by_type[FRAME_NR_TYPES];

		frame_get_owner(id, by_type);
		for (unsigned t = 0; t < FRAME_NR_TYPES; t++)
			held |= by_type[t];
		if (id % FRAME_MAX_OWNERS && !held)
			return id;
	}
	return OWNER_HOST;
}

void frame_drop_owner(u16 owner)
{
	__atomic_compare_exchange_n(&own.last_owner, &owner, owner - 1, false, __ATOMIC_RELAXED,
				    __ATOMIC_RELAXED);
}

bool frame_fail_at(u32 n)
{
	u64 flags = spin_lock_irq(&own.lock);
	bool failed = own.failed;

	own.fail_in = n;
	own.failed = false;
	spin_unlock_irq(&own.lock, flags);
	return failed;
}

bool frame_fails(void)
{
	bool fails = false;

	if (likely(!READ_ONCE(own.fail_in)))
		return false;
	u64 flags = spin_lock_irq(&own.lock);

	if (own.fail_in && !--own.fail_in)
		fails = own.failed = true;
	spin_unlock_irq(&own.lock, flags);
	return fails;
}

hpa_t frame_alloc(unsigned order, enum frame_type type, u16 owner)
{
	unsigned o = order;
	hpa_t pa = HPA_NONE;
	u64 flags;

	if (order >= NR_ORDERS || (type != FRAME_PCPU && frame_fails()))
		return HPA_NONE;
	flags = spin_lock_irq(&own.lock);
	while (o < NR_ORDERS && !own.free[o])
		o++;
	if (o < NR_ORDERS) {
		u32 i = own.free[o];

		list_del(i, o);
		while (o > order) {
			o--;
			list_add(i + (1u << o), o);
		}
		own.frames[i].type = type;
		own.frames[i].head = order + 1;
		own.frames[i].owner = owner;
		own.nr_free -= 1ull << order;
		frame_account(owner, type, 1 << order);
		pa = frame_addr(i);
	}
	spin_unlock_irq(&own.lock, flags);
	if (pa != HPA_NONE)
		memset(frame_va(pa), 0, PAGE_SIZE << order);
	return pa;
}

void frame_free(hpa_t pa, unsigned order)
{
	struct frame *f = frame_of(pa);
	u64 flags = spin_lock_irq(&own.lock);

	if (f->type == FRAME_FREE || f->head != order + 1)
		panic("frame_free(0x%lx, %u): type %u, head %u", pa, order, f->type, f->head);
	frame_account(f->owner, f->type, -(1 << order));
	f->type = FRAME_FREE;
	f->head = 0;
	f->owner = OWNER_HOST;
	give(range_of(pa), pa >> PAGE_SHIFT, order);
	spin_unlock_irq(&own.lock, flags);
}

/* The caller owns the frame, so only the counters are shared. */
void frame_retype(hpa_t pa, enum frame_type type, u16 owner)
{
	struct frame *f = frame_of(pa);

	frame_account(f->owner, f->type, -1);
	frame_account(owner, type, 1);
	f->type = type;
	f->owner = owner;
}

hpa_t frame_low_page(void)
{
	return own.low_page;
}

void frame_for_each_range(void (*fn)(void *arg, hpa_t base, u64 size), void *arg)
{
	for (u32 i = 0; i < own.nr_ranges; i++)
		fn(arg, own.range[i].pfn << PAGE_SHIFT, own.range[i].nr << PAGE_SHIFT);
}

void frame_get_stats(struct frame_stats *st)
{
	u64 flags = spin_lock_irq(&own.lock), of_one[FRAME_NR_TYPES];

	*st = (struct frame_stats){.own_total = (u64)(own.nr_frames - 1) << PAGE_SHIFT,
				   .own_free = own.nr_free << PAGE_SHIFT,
				   .lost = own.lost};
	spin_unlock_irq(&own.lock, flags);
	for (unsigned o = 0; o < FRAME_MAX_OWNERS; o++) {
		frame_get_owner(o, of_one);
		for (unsigned t = 0; t < FRAME_NR_TYPES; t++)
			st->by_type[t] += of_one[t];
	}
	st->by_type[FRAME_FREE] = st->own_free;
	st->heap_used = heap_used();
	gpool_get_stats(st);
}
