/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: boot/meminfo.c boot/files.c arch/x86_64/memsplit.c arch/x86_64/frame.c arch/x86_64/heap.c arch/x86_64/gpool.c */
/* The two pools over invented memory maps. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <cmocka.h>
#include "arch/x86_64/frame_priv.h"
#include "arch/x86_64/window.h"
#include "boot/boot.h"
#include "lib/log.h"
#include "lib/string.h"

#define ARENA GIB(16)
static char *arena;
static struct boot_info bi;
static u64 seed = 88172645463325252ull;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

void panic(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	abort();
}

void *window_open_block(hpa_t block)
{
	return arena + block;
}

void window_close_block(void *va)
{
	(void)va;
}

static void mem(hpa_t base, hpa_t end, u32 type)
{
	bi.mem[bi.nr_mem++] = (struct boot_mem){base, end - base, type, 0};
}

/* A PC of 4 GiB: a hole below 4 GiB, memory above, crumbs, an image and a file in the middle. */
static void pc_map(void)
{
	bi = (struct boot_info){.magic = BOOT_INFO_MAGIC, .image_phys = MIB(4), .image_size = MIB(1)};
	mem(0, 0x9f000, BOOT_MEM_USABLE);
	mem(0x9f000, MIB(1), BOOT_MEM_RESERVED);
	mem(MIB(1), MIB(4), BOOT_MEM_USABLE);
	mem(MIB(4), MIB(5), BOOT_MEM_IMAGE);
	mem(MIB(5), MIB(512) + 0x3000, BOOT_MEM_USABLE);
	mem(MIB(512) + 0x3000, MIB(700), BOOT_MEM_FILES);
	mem(MIB(700), GIB(2), BOOT_MEM_USABLE);
	mem(GIB(2), GIB(2) + 0x1000, BOOT_MEM_ACPI);
	mem(GIB(2) + 0x1000, GIB(2) + 0x100000, BOOT_MEM_USABLE);
	mem(GIB(4) + 0x5000, GIB(6), BOOT_MEM_USABLE);
}

static u32 type_at(hpa_t pa)
{
	for (u32 i = 0; i < bi.nr_mem; i++)
		if (pa - bi.mem[i].base < bi.mem[i].size)
			return bi.mem[i].type;
	return 0;
}

static void start(void)
{
	madvise(arena, ARENA, MADV_DONTNEED);
	frame_direct_base = (u64)arena;
	frame_init(&bi);
}

static int by_base(const void *a, const void *b)
{
	const struct mem_range *x = a, *y = b;

	return x->base < y->base ? -1 : x->base > y->base;
}

/* Every usable byte is in one pool or counted as lost; nothing else is. */
static void check_split(void)
{
	static struct mem_split s;
	static struct mem_range all[OWN_MAX_RANGES + GUEST_MAX_RANGES];
	u64 sum = 0, usable = 0;
	u32 n = 0;

	mem_split(&bi, &s);
	for (u32 i = 0; i < s.nr_own; i++) {
		all[n++] = s.own[i];
		assert_true(s.own[i].size && IS_ALIGNED(s.own[i].base | s.own[i].size, PAGE_SIZE));
		assert_true(s.own[i].base + s.own[i].size <= GIB(4));
	}
	for (u32 i = 0; i < s.nr_guest; i++) {
		all[n++] = s.guest[i];
		assert_true(s.guest[i].size && IS_ALIGNED(s.guest[i].base | s.guest[i].size, PAGE_2M));
	}
	qsort(all, n, sizeof(all[0]), by_base);
	for (u32 i = 0; i < n; i++) {
		assert_true(all[i].base >= MIB(1));
		assert_true(!i || all[i - 1].base + all[i - 1].size <= all[i].base);
		for (u64 o = 0; o < all[i].size; o += PAGE_SIZE)
			assert_int_equal(type_at(all[i].base + o), BOOT_MEM_USABLE);
		sum += all[i].size;
	}
	for (u32 i = 0; i < bi.nr_mem; i++)
		usable += bi.mem[i].type == BOOT_MEM_USABLE ? bi.mem[i].size : 0;
	assert_int_equal(sum + s.lost, usable);
	assert_true(s.low_page == HPA_NONE || (s.low_page && s.low_page < MIB(1) &&
					       type_at(s.low_page) == BOOT_MEM_USABLE));
}

static void test_split_pc(void **st)
{
	(void)st;
	pc_map();
	check_split();
}

static void test_split_random(void **st)
{
	(void)st;
	for (unsigned round = 0; round < 300; round++) {
		hpa_t at = 0;

		bi = (struct boot_info){0};
		for (unsigned i = 0; i < 1 + rnd() % 200; i++) {
			u64 size = (1 + rnd() % (rnd() % 4 ? 700 : 9000)) * PAGE_SIZE;

			if (rnd() % 8 == 0)
				at += rnd() % 3 ? PAGE_SIZE * (rnd() % 100) : GIB(1);
			mem(at, at + size, rnd() % 3 ? BOOT_MEM_USABLE : 1 + rnd() % 7);
			at += size;
		}
		check_split();
	}
}

/* Random blocks: disjoint, zeroed, aligned, all back in the end. */
/* 64 MiB to 1 TiB, with the PC's hole below 4 GiB and reserved ranges wherever firmware likes them:
 * the pools account for every byte, and their tables fit and work. */
static void test_sizes(void **st)
{
	(void)st;
	for (u64 size = MIB(64); size <= GIB(1024); size *= 2) {
		for (unsigned holes = 0; holes <= 60; holes += 20) {
			u64 low = MIN(size, GIB(3)), want = MIN(MAX(size / 64, MIB(24)), MIB(512));
			struct frame_stats s;
			hpa_t pa, block;

			bi = (struct boot_info){.magic = BOOT_INFO_MAGIC};
			meminfo_add(&bi, 0, low, BOOT_MEM_USABLE);
			if (size > low)
				meminfo_add(&bi, GIB(4), size - low, BOOT_MEM_USABLE);
			/* Small ones, anywhere above the first 16 MiB. */
			for (unsigned n = 0; n < holes; n++) {
				hpa_t at = MIB(16) + rnd() % (size - MIB(16));

				meminfo_add(&bi, at < low ? at : at - low + GIB(4), rnd() % KIB(64) + 1,
					    n % 2 ? BOOT_MEM_RESERVED : BOOT_MEM_NVS);
			}
			assert_int_equal(bi.error[0], 0);
			if (size <= GIB(1)) /* it looks at each page */
				check_split();
			start();
			frame_get_stats(&s);
			assert_true(s.own_total + s.guest_total + s.lost >= size - MIB(9));
			/* A hole costs the guests at most the two blocks that it touches. */
			assert_true(s.guest_total + want + MIB(4) + holes * MIB(4) >= size);
			assert_true(s.lost <= MIB(1) + holes * MIB(4));
			pa = frame_alloc(8, FRAME_VM, 1); /* and there is room beside the tables */
			assert_true(pa != HPA_NONE && type_at(pa) == BOOT_MEM_USABLE);
			frame_free(pa, 8);
			block = gpool_alloc_block(1);
			assert_true(block != HPA_NONE && type_at(block) == BOOT_MEM_USABLE);
			gpool_put_block(block);
		}
	}
}

static void test_buddy(void **st)
{
	static struct { hpa_t pa; unsigned order; u64 tag; } held[512];
	struct frame_stats before, after;
	unsigned nr = 0;

	(void)st;
	pc_map();
	start();
	frame_get_stats(&before);
	assert_int_equal(before.own_total - before.own_free, before.by_type[FRAME_BOOT]);
	for (unsigned n = 0; n < 400000; n++) {
		if (nr < 512 && rnd() % 2) {
			unsigned order = rnd() % (rnd() % 8 ? 3 : 10);
			hpa_t pa = frame_alloc(order, FRAME_VM, 7);

			if (pa == HPA_NONE)
				continue;
			assert_true(IS_ALIGNED(pa, PAGE_SIZE << order));
			for (u64 o = 0; o < PAGE_SIZE << order; o += PAGE_SIZE) {
				u64 *p = frame_va(pa + o);

				assert_true(!p[0] && !p[511] && !p[n % 512]);
				p[0] = p[511] = p[n % 512] = n + 1;
			}
			held[nr].pa = pa;
			held[nr].order = order;
			held[nr++].tag = n + 1;
		} else if (nr) {
			unsigned k = rnd() % nr;

			for (u64 o = 0; o < PAGE_SIZE << held[k].order; o += PAGE_SIZE)
				assert_int_equal(*(u64 *)frame_va(held[k].pa + o), held[k].tag);
			frame_free(held[k].pa, held[k].order);
			held[k] = held[--nr];
		}
	}
	while (nr--)
		frame_free(held[nr].pa, held[nr].order);
	frame_get_stats(&after);
	assert_int_equal(before.own_free, after.own_free);
	assert_int_equal(after.by_type[FRAME_VM], 0);
	assert_int_not_equal(frame_alloc(9, FRAME_VM, 1), HPA_NONE);
}

static void test_exhaust(void **st)
{
	u64 n = 0;
	struct frame_stats s;

	(void)st;
	pc_map();
	start();
	frame_get_stats(&s);
	while (frame_alloc(0, FRAME_PT, 0) != HPA_NONE)
		n++;
	assert_int_equal(n * PAGE_SIZE, s.own_free);
	assert_null(kzalloc(100, FRAME_HEAP, 0));
}

static void test_heap(void **st)
{
	static struct { u8 *p; size_t n; u8 tag; } held[2000];
	struct frame_stats before, after;
	unsigned nr = 0;

	(void)st;
	pc_map();
	start();
	frame_get_stats(&before);
	for (unsigned n = 0; n < 340000; n++) {
		if (nr < 2000 && rnd() % 2) {
			size_t size = 1 + rnd() % (rnd() % 16 ? 600 : 20000);
			u8 *p = kzalloc(size, FRAME_DEVICE, 3);

			assert_non_null(p);
			for (size_t i = 0; i < size; i++)
				assert_int_equal(p[i], 0);
			memset(p, n, size);
			held[nr].p = p;
			held[nr].n = size;
			held[nr++].tag = n;
		} else if (nr) {
			unsigned k = rnd() % nr;

			for (size_t i = 0; i < held[k].n; i++)
				assert_int_equal(held[k].p[i], held[k].tag);
			kfree(held[k].p);
			held[k] = held[--nr];
		}
	}
	while (nr--)
		kfree(held[nr].p);
	kfree(NULL);
	frame_get_stats(&after);
	assert_int_equal(before.own_free, after.own_free);
	assert_null(kzalloc(KZALLOC_MAX + 1, FRAME_HEAP, 0));
}

static void test_gpool(void **st)
{
	static hpa_t b[4096];
	struct frame_stats s;
	u64 n = 0, pos = 0;

	(void)st;
	pc_map();
	start();
	while ((b[n] = gpool_alloc_block(1)) != HPA_NONE) {
		assert_true(IS_ALIGNED(b[n], PAGE_2M));
		assert_int_equal(type_at(b[n]), BOOT_MEM_USABLE);
		assert_int_equal(type_at(b[n] + PAGE_2M - 1), BOOT_MEM_USABLE);
		assert_true(gpool_overlaps(b[n] + PAGE_2M - PAGE_SIZE, PAGE_SIZE));
		assert_true(!n || b[n] > b[n - 1]);
		n++;
	}
	frame_get_stats(&s);
	assert_int_equal(s.guest_total, n * PAGE_2M);
	assert_int_equal(s.guest_free, 0);
	assert_true(n * PAGE_2M > MIB(3300));
	gpool_get_block(b[5]);
	gpool_put_block(b[5]);
	assert_int_equal(gpool_alloc_block(2), HPA_NONE);
	gpool_pin(b[5]);
	gpool_put_block(b[5]);
	assert_int_equal(gpool_alloc_block(2), HPA_NONE);
	gpool_unpin(b[5]);
	assert_int_equal(gpool_alloc_block(2), b[5]);
	memset(arena + b[5], 0x5a, PAGE_2M);
	for (unsigned i = 0; i < 15; i++)
		assert_false(gpool_zero_block(b[5], &pos));
	assert_true(gpool_zero_block(b[5], &pos));
	for (u64 i = 0; i < PAGE_2M; i++)
		assert_int_equal(arena[b[5] + i], 0);
	for (u64 i = 0; i < n; i++)
		gpool_put_block(b[i]);
	frame_get_stats(&s);
	assert_int_equal(s.guest_free, s.guest_total);
}

/* Runs of a GiB: whole, aligned, never of a GiB that has lent a block, and there again when all came back. */
static void test_gib(void **st)
{
	struct { hpa_t pa; u64 owner; } b[4096];
	u64 held[FRAME_NR_TYPES], sum[8] = {0};
	struct frame_stats s;
	hpa_t run;
	u32 n = 0;

	(void)st;
	pc_map();
	mem(GIB(8) - MIB(4), GIB(10) + MIB(6), BOOT_MEM_USABLE);
	start();
	while ((run = gpool_alloc_gib(7)) != HPA_NONE) {
		assert_true(IS_ALIGNED(run, GIB(1)));
		assert_true(run == GIB(5) || run == GIB(8) || run == GIB(9));
		frame_get_owner(7, held);
		assert_int_equal(held[FRAME_GUEST_RAM], GIB(++n));
		for (u64 o = 0; o < GIB(1); o += PAGE_2M)
			assert_int_equal(type_at(run + o), BOOT_MEM_USABLE);
	}
	assert_int_equal(n, 3);
	for (u64 o = 0; o < GIB(1); o += PAGE_2M)
		gpool_put_block(GIB(8) + o);
	assert_int_equal(gpool_alloc_gib(7), GIB(8)); /* put together again */
	for (u64 o = 0; o < GIB(1); o += PAGE_2M) {
		gpool_put_block(GIB(5) + o);
		gpool_put_block(GIB(8) + o);
		gpool_put_block(GIB(9) + o);
	}
	/* Single ones come from broken groups until there are none. */
	frame_get_stats(&s);
	for (n = 0; n < (s.guest_total - GIB(3)) / PAGE_2M; n++) {
		b[n].pa = gpool_alloc_block(1);
		assert_false(b[n].pa - GIB(5) < GIB(1) || b[n].pa - GIB(8) < GIB(2));
	}
	run = gpool_alloc_block(1);
	assert_true(run - GIB(5) < GIB(1) || run - GIB(8) < GIB(2));
	assert_int_not_equal(gpool_alloc_gib(1), HPA_NONE);
	assert_int_not_equal(gpool_alloc_gib(1), HPA_NONE);
	assert_int_equal(gpool_alloc_gib(1), HPA_NONE); /* the third has lent that one */
	pc_map();
	start();
	n = 0;
	/* Whatever the order: each block once, and all come back. */
	for (unsigned round = 0; round < 20000; round++) {
		u64 owner = 1 + rnd() % 7;

		if (n > 4096 - 512 || rnd() % 2) {
			u32 k = n ? rnd() % n : 0;

			if (!n)
				continue;
			gpool_put_block(b[k].pa);
			sum[b[k].owner] -= PAGE_2M;
			b[k] = b[--n];
		} else if (rnd() % 64 == 0 && (run = gpool_alloc_gib(owner)) != HPA_NONE) {
			for (u64 o = 0; o < GIB(1); o += PAGE_2M, n++)
				b[n].pa = run + o, b[n].owner = owner;
			sum[owner] += GIB(1);
		} else if ((run = gpool_alloc_block(owner)) != HPA_NONE) {
			b[n].pa = run, b[n++].owner = owner;
			sum[owner] += PAGE_2M;
		}
	}
	for (unsigned o = 1; o < 8; o++) {
		frame_get_owner(o, held);
		assert_int_equal(held[FRAME_GUEST_RAM], sum[o]);
	}
	for (u32 i = 0; i < n; i++)
		for (u32 k = 0; k < i; k++)
			assert_true(b[i].pa != b[k].pa);
	while (n)
		gpool_put_block(b[--n].pa);
	frame_get_stats(&s);
	assert_int_equal(s.guest_free, s.guest_total);
	assert_int_equal(gpool_alloc_gib(1), GIB(5));
}

/* Who holds what, and allocations that fail when they are told to. */
static void test_owners(void **st)
{
	u64 held[FRAME_NR_TYPES];
	struct frame_stats s;
	void *small, *big;
	u16 id, next;
	hpa_t pa;

	(void)st;
	pc_map();
	start();
	id = frame_new_owner();
	big = kzalloc(5000, FRAME_VM, id);
	small = kzalloc(100, FRAME_VM, id);
	pa = frame_alloc(1, FRAME_VCPU, id);
	frame_get_owner(id, held);
	assert_true(held[FRAME_VM] == 8192 && held[FRAME_VCPU] == 8192);
	frame_get_stats(&s);
	assert_true(s.heap_used == 128 && s.by_type[FRAME_HEAP] == PAGE_SIZE && s.by_type[FRAME_VM] == 8192);
	for (unsigned i = 1; i < 3 * FRAME_MAX_OWNERS; i++) {
		next = frame_new_owner();
		assert_true(next % FRAME_MAX_OWNERS && next % FRAME_MAX_OWNERS != id % FRAME_MAX_OWNERS);
	}
	frame_drop_owner(next);
	assert_int_equal(frame_new_owner(), next);
	assert_false(frame_fail_at(2));
	assert_false(gpool_fail_at(1));
	assert_int_equal(gpool_alloc_block(1), HPA_NONE);
	assert_true(gpool_fail_at(0));
	kfree(kzalloc(128, FRAME_VM, id));
	assert_null(kzalloc(128, FRAME_VM, id));
	kfree(kzalloc(128, FRAME_VM, id));
	assert_true(frame_fail_at(0));
	assert_false(frame_fail_at(0));
	kfree(big);
	kfree(small);
	frame_free(pa, 1);
	frame_get_owner(id, held);
	for (unsigned t = 0; t < FRAME_NR_TYPES; t++)
		assert_int_equal(held[t], 0);
	frame_get_stats(&s);
	assert_true(!s.heap_used && !s.by_type[FRAME_HEAP]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_pc), cmocka_unit_test(test_split_random),
		cmocka_unit_test(test_buddy),	 cmocka_unit_test(test_exhaust),
		cmocka_unit_test(test_heap),	 cmocka_unit_test(test_gpool),
		cmocka_unit_test(test_sizes), cmocka_unit_test(test_gib),
		cmocka_unit_test(test_owners),
	};

	arena = mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena == MAP_FAILED)
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
