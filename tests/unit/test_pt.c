/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: arch/x86_64/pt.c arch/x86_64/pt_format.c */
/* The page-table walker against a flat model: one record a 4 KiB page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/pt_format.h"
#include "lib/errno.h"
#include "lib/string.h"

#define NR_PAGES (3u << 18) /* 3 GiB */
#define BASE_LOW GIB(509)
#define BASE_HIGH (0xffff808000000000ul - GIB(1))
#define ADMASK (fmt->a | fmt->d)

struct page {
	u64 pa;
	u8 present, prot, type, dirty;
};

static struct page *model;
static const struct pt_format *fmt;
static struct pt_env env;
static struct pt pt;
static u64 base, seed, nr_live;
static struct pt_retired taken;
static unsigned fail_in; /* an allocation fails every so many; 0: never */

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static hpa_t t_alloc(void *ctx)
{
	void *p;

	(void)ctx;
	if (fail_in && rnd() % fail_in == 0)
		return HPA_NONE;
	p = aligned_alloc(PAGE_SIZE, PAGE_SIZE);
	assert_non_null(p);
	memset(p, 0, PAGE_SIZE);
	nr_live++;
	return (hpa_t)p;
}

static void t_free(void *ctx, hpa_t t)
{
	(void)ctx;
	free((void *)t);
	nr_live--;
}

static void *t_access(void *ctx, hpa_t t)
{
	(void)ctx;
	return (void *)t;
}

/* As the CPU would: find the leaf's entry. */
static u64 *raw_leaf(u64 va, unsigned *level)
{
	u64 *t = (u64 *)pt.root;

	for (unsigned l = pt.levels;; l--) {
		u64 *e = &t[(va >> (12 + 9 * (l - 1))) & 511];

		if (!(*e & fmt->present))
			return NULL;
		if (l == 1 || (*e & fmt->large)) {
			*level = l;
			return e;
		}
		t = (u64 *)(*e & fmt->addr_mask);
	}
}

static u32 visible(u32 prot)
{
	prot &= PT_RWX | PT_COW | (fmt->u ? PT_U : 0) | (fmt->g ? PT_G : 0) |
		(fmt->ipat ? PT_IGNORE_PAT : 0);
	return prot | PT_R | (fmt == &pt_npt_format ? PT_U : 0);
}

static void check_page(u64 i)
{
	struct pt_leaf l;
	u64 va = base + i * PAGE_SIZE;
	int err = pt_query(&pt, va + rnd() % PAGE_SIZE, &l);

	if (!model[i].present) {
		assert_int_equal(err, -ENOENT);
		return;
	}
	assert_int_equal(err, 0);
	assert_true(l.va <= va && va - l.va < l.size);
	assert_true(IS_ALIGNED(l.va, l.size) && IS_ALIGNED(l.pa, l.size));
	assert_int_equal(l.pa + (va - l.va), model[i].pa);
	assert_int_equal(l.prot, model[i].prot);
	assert_int_equal(l.memtype, model[i].type);
	assert_int_equal(l.dirty, model[i].dirty);
}

struct all {
	u64 next, leaves[3];
};

static bool check_leaf(void *arg, const struct pt_leaf *l)
{
	struct all *a = arg;
	u64 i = (l->va - base) / PAGE_SIZE;

	a->leaves[l->size == PAGE_1G ? 2 : l->size == PAGE_2M]++;
	for (; a->next < i; a->next++)
		assert_false(model[a->next].present);
	for (u64 k = 0; k < l->size / PAGE_SIZE; k++, a->next++) {
		const struct page *p = &model[a->next];

		assert_true(p->present && p->pa == l->pa + k * PAGE_SIZE && p->prot == l->prot &&
			    p->type == l->memtype && p->dirty == l->dirty);
	}
	return true;
}

static u64 count_tables(const u64 *t, unsigned level)
{
	u64 n = 1, used = 0;

	for (unsigned i = 0; i < 512; i++) {
		used += t[i] != 0;
		if (level > 1 && (t[i] & fmt->present) && !(t[i] & fmt->large))
			n += count_tables((u64 *)(t[i] & fmt->addr_mask), level - 1);
	}
	assert_true(used || level == pt.levels);
	return n;
}

static void check_all(void)
{
	struct all a = {0};

	pt_walk(&pt, check_leaf, &a);
	for (; a.next < NR_PAGES; a.next++)
		assert_false(model[a.next].present);
	assert_memory_equal(a.leaves, pt.nr_leaves, sizeof(a.leaves));
	assert_int_equal(pt.nr_tables, count_tables((u64 *)pt.root, pt.levels));
	assert_int_equal(nr_live, pt.nr_tables + pt.nr_retired + taken.nr);
}

static u64 flat_changed; /* pages whose translation an operation changed */

static void set_page(u64 i, struct page new)
{
	struct page *p = &model[i];

	if (p->present && memcmp(p, &new, sizeof(new)))
		flat_changed++;
	*p = new;
}

/* After -ENOMEM every page is as before or as asked for: take over what is there. */
static void resync(u64 i, u64 n, const struct page *want)
{
	for (u64 k = 0; k < n; k++) {
		struct pt_leaf l;
		u64 va = base + (i + k) * PAGE_SIZE;
		struct page now = {0};

		if (!pt_query(&pt, va, &l))
			now = (struct page){l.pa + (va - l.va), 1, l.prot, l.memtype, l.dirty};
		assert_true(!memcmp(&now, &model[i + k], sizeof(now)) ||
			    !memcmp(&now, &want[k], sizeof(now)));
		model[i + k] = now;
	}
}

static struct page want[NR_PAGES];
static u64 harvest_lo, harvest_n;

static void harvested(void *arg, const struct pt_leaf *l)
{
	u64 i = (l->va - base) / PAGE_SIZE;

	(void)arg;
	assert_true(l->dirty);
	assert_true(l->va < base + (harvest_lo + harvest_n) * PAGE_SIZE &&
		    l->va + l->size > base + harvest_lo * PAGE_SIZE);
	for (u64 k = 0; k < l->size / PAGE_SIZE; k++) {
		assert_true(model[i + k].dirty);
		model[i + k].dirty = 0;
	}
}

static void pick_range(u64 *i, u64 *n)
{
	unsigned order = rnd() % 64 ? rnd() % 12 : rnd() % 20;

	*n = 1ull << order;
	if (rnd() % 2)
		*n += rnd() % *n;
	*n = MIN(*n, NR_PAGES);
	*i = rnd() % (NR_PAGES - *n + 1);
	if (rnd() % 2) /* on a boundary */
		*i = ALIGN_DOWN(*i, 1ull << (rnd() % 2 ? 9 : order));
}

static void op_range(unsigned op)
{
	static const u8 types[] = {PT_UC, PT_WC, PT_WT, PT_WP, PT_WB};
	u32 prot = PT_R | (rnd() & 0x7f), type = types[rnd() % 5];
	u64 i, n, pa = (rnd() & 0xffffffful) << 12;
	bool flush = false;
	int err;

	pick_range(&i, &n);
	if (rnd() % 4) /* so that large leaves come about */
		pa = ALIGN_DOWN(pa, GIB(1)) + i * PAGE_SIZE;
	for (u64 k = 0; k < n; k++) {
		const struct page *p = &model[i + k];
		u32 v = visible(prot);

		want[k] = *p;
		if (op == 0)
			want[k] = (struct page){pa + k * PAGE_SIZE, 1, v, type, 0};
		else if (op == 1)
			want[k] = (struct page){0};
		else if (p->present && op == 2)
			want[k].prot = (v & ~PT_IGNORE_PAT) | (p->prot & PT_IGNORE_PAT);
		else if (p->present)
			want[k].prot &= ~PT_W;
	}
	u64 va = base + i * PAGE_SIZE, size = n * PAGE_SIZE;

	err = op == 0	? pt_map(&pt, va, pa, size, prot, type, &flush)
	      : op == 1 ? pt_unmap(&pt, va, size, &flush)
	      : op == 2 ? pt_protect(&pt, va, size, prot, &flush)
			: pt_write_protect(&pt, va, size, &flush);
	if (err) {
		assert_int_equal(err, -ENOMEM);
		assert_true(fail_in);
		resync(i, n, want);
		return;
	}
	flat_changed = 0;
	for (u64 k = 0; k < n; k++)
		set_page(i + k, want[k]);
	assert_true(flush || !flat_changed);
	check_page(i);
	check_page(i + n - 1);
}

static void op_harvest(void)
{
	bool flush = false;

	pick_range(&harvest_lo, &harvest_n);
	assert_int_equal(pt_harvest_dirty(&pt, base + harvest_lo * PAGE_SIZE,
					  harvest_n * PAGE_SIZE, harvested, NULL, &flush), 0);
	for (u64 k = 0; k < harvest_n; k++)
		assert_false(model[harvest_lo + k].dirty);
}

/* The CPU writes to a page: accessed and dirty of its leaf. */
static void op_cpu_write(void)
{
	unsigned level;
	u64 i = rnd() % NR_PAGES, *e = raw_leaf(base + i * PAGE_SIZE, &level), n;

	assert_int_equal(e != NULL, model[i].present);
	if (!e)
		return;
	*e |= ADMASK;
	n = 1ull << (9 * (level - 1));
	for (u64 k = 0, first = ALIGN_DOWN(i, n); k < n; k++)
		model[first + k].dirty = 1;
}

static void op_split(void)
{
	u64 i = rnd() % NR_PAGES, size = rnd() % 2 ? PAGE_SIZE : PAGE_2M;
	struct pt_leaf l;
	int err = pt_split(&pt, base + i * PAGE_SIZE, size);

	if (err == -ENOMEM && fail_in)
		return;
	assert_int_equal(err, model[i].present ? 0 : -ENOENT);
	if (err)
		return;
	assert_int_equal(pt_query(&pt, base + i * PAGE_SIZE, &l), 0);
	assert_true(l.size <= size);
}

static void op_merge(void)
{
	u64 size = rnd() % 4 ? PAGE_2M : PAGE_1G, n = size / PAGE_SIZE;
	u64 i = ALIGN_DOWN(rnd() % NR_PAGES, n);
	bool flush = false, dirty = false;
	struct pt_leaf l;

	if (pt_merge(&pt, base + i * PAGE_SIZE, size, &flush) || !flush)
		return;
	assert_int_equal(pt_query(&pt, base + i * PAGE_SIZE, &l), 0);
	assert_int_equal(l.size, size);
	for (u64 k = 0; k < n; k++) {
		assert_true(model[i + k].pa == l.pa + k * PAGE_SIZE);
		dirty |= model[i + k].dirty || (model[i + k].prot & PT_W);
	}
	for (u64 k = 0; k < n; k++)
		model[i + k].dirty = dirty;
}

static void storm(const struct pt_format *f, u64 at, u8 levels, bool leaf_1g, unsigned nr_ops)
{
	bool flush = false;

	fmt = f;
	base = at;
	fail_in = 0;
	env = (struct pt_env){.alloc = t_alloc, .free = t_free, .access = t_access, .leaf_1g = leaf_1g};
	model = calloc(NR_PAGES, sizeof(*model));
	assert_int_equal(pt_init(&pt, f, &env, levels), 0);
	for (unsigned n = 0; n < nr_ops; n++) {
		unsigned op = rnd() % 10;

		fail_in = n > nr_ops / 2 ? 50 : 0;
		if (op < 4)
			op_range(op);
		else if (op == 4)
			op_harvest();
		else if (op < 7)
			op_cpu_write();
		else if (op == 7)
			op_split();
		else
			op_merge();
		check_page(rnd() % NR_PAGES);
		if (rnd() % 16 == 0) {
			pt_free_retired(&pt, taken);
			taken = pt_take_retired(&pt);
		}
		if (n % 4000 == 0)
			check_all();
	}
	check_all();
	pt_free_retired(&pt, taken);
	taken = (struct pt_retired){0};
	fail_in = 0;
	if (f != &pt_ept_format) { /* others are destroyed as they are, table by table */
		assert_int_equal(pt_unmap(&pt, base, NR_PAGES * PAGE_SIZE, &flush), 0);
		assert_int_equal(pt.nr_tables, 1);
		assert_int_equal(pt.nr_leaves[0] + pt.nr_leaves[1] + pt.nr_leaves[2], 0);
		pt_destroy(&pt);
	}
	for (u64 was = nr_live; was; was = nr_live) {
		assert_true(!pt_destroy_step(&pt) || was == 1);
		assert_true(nr_live == was - 1);
	}
	assert_true(pt_destroy_step(&pt));
	assert_int_equal(pt.nr_tables, 0);
	free(model);
}

static void test_storm_host(void **s) { (void)s; storm(&pt_host_format, BASE_HIGH, 4, true, 60000); }
static void test_storm_host_5(void **s) { (void)s; storm(&pt_host_format, BASE_HIGH, 5, false, 40000); }
static void test_storm_npt(void **s) { (void)s; storm(&pt_npt_format, BASE_LOW, 4, true, 60000); }
static void test_storm_ept(void **s) { (void)s; storm(&pt_ept_format, BASE_LOW, 4, true, 60000); }
static void test_storm_ept_no_1g(void **s) { (void)s; storm(&pt_ept_format, 0, 4, false, 40000); }

static void setup(const struct pt_format *f)
{
	fmt = f;
	fail_in = 0;
	env = (struct pt_env){.alloc = t_alloc, .free = t_free, .access = t_access, .leaf_1g = true};
	assert_int_equal(pt_init(&pt, f, &env, 4), 0);
}

/* The bits as the manuals print them. */
static void test_encodings(void **s)
{
	bool flush = false;
	unsigned level;

	(void)s;
	setup(&pt_ept_format);
	pt_map(&pt, 0, 0x1000, PAGE_SIZE, PT_RWX | PT_IGNORE_PAT, PT_WB, &flush);
	assert_int_equal(*raw_leaf(0, &level), 0x1077);
	pt_map(&pt, PAGE_2M, PAGE_2M, PAGE_2M, PT_R, PT_UC, &flush);
	assert_int_equal(*raw_leaf(PAGE_2M, &level), 0x200081);
	pt_map(&pt, PAGE_1G, PAGE_1G, PAGE_1G, PT_RX, PT_WB, &flush);
	assert_int_equal(*raw_leaf(PAGE_1G, &level), 0x400000b5);
	pt_destroy(&pt);

	setup(&pt_npt_format);
	pt_map(&pt, 0, 0x1000, PAGE_SIZE, PT_RWX, PT_WC, &flush);
	assert_int_equal(*raw_leaf(0, &level), 0x1087);
	pt_map(&pt, PAGE_2M, PAGE_2M, PAGE_2M, PT_RW, PT_WC, &flush);
	assert_int_equal(*raw_leaf(PAGE_2M, &level), 0x8000000000201087);
	pt_map(&pt, 0, 0x1000, PAGE_SIZE, PT_RX, PT_UC, &flush);
	assert_int_equal(*raw_leaf(0, &level), 0x101d);
	pt_destroy(&pt);

	setup(&pt_host_format);
	flush = false;
	pt_map(&pt, 0, 0x1000, PAGE_SIZE, PT_RW | PT_G, PT_WB, &flush);
	assert_int_equal(*raw_leaf(0, &level), 0x8000000000001103);
	assert_false(flush);
	pt_destroy(&pt);
	assert_int_equal(nr_live, 0);
}

/* Map and unmap one page: how many tables this retires. */
static u64 retire(u64 n)
{
	u64 before = pt.nr_retired;
	bool flush = false;

	assert_int_equal(pt_map(&pt, PAGE_1G * n, 0, PAGE_SIZE, PT_R, PT_WB, &flush), 0);
	assert_int_equal(pt_unmap(&pt, PAGE_1G * n, PAGE_SIZE, &flush), 0);
	return pt.nr_retired - before;
}

/* A flush in two halves: what was taken before it goes, what is retired during it stays. */
static void test_retired(void **s)
{
	struct pt_retired old, later;
	u64 n, m, live;

	(void)s;
	setup(&pt_ept_format);
	old = pt_take_retired(&pt);
	assert_int_equal(old.nr, 0);
	pt_free_retired(&pt, old);
	n = retire(1) + retire(2);
	live = nr_live;
	old = pt_take_retired(&pt);
	assert_int_equal(old.nr, n);
	assert_true(!pt.nr_retired && !pt.retired);
	pt_reclaim(&pt); /* of what it no longer has */
	assert_int_equal(nr_live, live);
	m = retire(3);
	assert_true(m && m < n);
	later = (struct pt_retired){pt.retired, pt.nr_retired};
	assert_int_equal(nr_live, live + m);
	pt_free_retired(&pt, old);
	assert_int_equal(nr_live, live + m - n);
	assert_true(pt.retired == later.first && pt.nr_retired == m);
	old = pt_take_retired(&pt);
	assert_true(old.first == later.first && old.nr == m);
	retire(4);
	pt_destroy(&pt); /* frees what it has retired itself, not what another took */
	assert_int_equal(nr_live, m);
	pt_free_retired(&pt, old);
	assert_int_equal(nr_live, 0);
}

static void test_refusals(void **s)
{
	bool flush = false;
	struct pt_leaf l;

	(void)s;
	setup(&pt_ept_format);
	assert_int_equal(pt_map(&pt, 1, 0, PAGE_SIZE, PT_R, PT_WB, &flush), -EINVAL);
	assert_int_equal(pt_map(&pt, 0, 1, PAGE_SIZE, PT_R, PT_WB, &flush), -EINVAL);
	assert_int_equal(pt_map(&pt, 0, 0, 0, PT_R, PT_WB, &flush), -EINVAL);
	assert_int_equal(pt_map(&pt, 0, 0, PAGE_SIZE, PT_W, PT_WB, &flush), -EINVAL);
	assert_int_equal(pt_map(&pt, 0, 0, PAGE_SIZE, PT_R, 2, &flush), -EINVAL);
	assert_int_equal(pt_map(&pt, 1ul << 48, 0, PAGE_SIZE, PT_R, PT_WB, &flush), -EINVAL);
	assert_int_equal(pt_map(&pt, (1ul << 48) - PAGE_SIZE, 0, 2 * PAGE_SIZE, PT_R, PT_WB, &flush), -EINVAL);
	assert_int_equal(pt_map(&pt, 0, 1ul << 52, PAGE_SIZE, PT_R, PT_WB, &flush), -EINVAL);
	assert_int_equal(pt_unmap(&pt, -PAGE_SIZE, 2 * PAGE_SIZE, &flush), -EINVAL);
	assert_int_equal(pt_protect(&pt, 0, PAGE_SIZE, 0, &flush), -EINVAL);
	assert_int_equal(pt_merge(&pt, 0, PAGE_2M, &flush), -ENOENT);
	assert_int_equal(pt_query(&pt, 1ul << 48, &l), -ENOENT);
	pt_destroy(&pt);
	setup(&pt_host_format);
	assert_int_equal(pt_map(&pt, 1ul << 47, 0, PAGE_SIZE, PT_R, PT_WB, &flush), -EINVAL);
	assert_int_equal(pt_map(&pt, (1ul << 47) - PAGE_SIZE, 0, 2 * PAGE_SIZE, PT_R, PT_WB, &flush), -EINVAL);
	assert_int_equal(pt_map(&pt, -PAGE_SIZE, 0, PAGE_SIZE, PT_R, PT_WB, &flush), 0);
	assert_int_equal(pt_query(&pt, -1ul, &l), 0);
	assert_true(l.va == -PAGE_SIZE);
	pt_destroy(&pt);
	assert_int_equal(nr_live, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encodings),   cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_retired),
		cmocka_unit_test(test_storm_host),  cmocka_unit_test(test_storm_host_5),
		cmocka_unit_test(test_storm_npt),   cmocka_unit_test(test_storm_ept),
		cmocka_unit_test(test_storm_ept_no_1g),
	};

	seed = 0x1234567;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
