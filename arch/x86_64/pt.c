/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page-table walker. Entries are read and written atomically because CPUs set accessed and dirty
 * bits in them meanwhile; an entry that must keep its dirty bit is changed by compare-and-exchange.
 *
 * Offsets ("off") are addresses cut to the table's width, so that the end of the address space does
 * not overflow. No table in the tree is empty, but for the root.
 */
#include "arch/x86_64/pt_format.h"
#include "lib/errno.h"

#define ENTRIES 512u

static u64 span(unsigned level)
{
	return 1ull << (PAGE_SHIFT + 9 * (level - 1));
}

static unsigned index_of(u64 off, unsigned level)
{
	return (off >> (PAGE_SHIFT + 9 * (level - 1))) & (ENTRIES - 1);
}

static u64 *entry(const struct pt *pt, hpa_t table, unsigned i)
{
	return (u64 *)pt->env->access(pt->env->ctx, table) + i;
}

static u64 get(const struct pt *pt, hpa_t table, unsigned i)
{
	return __atomic_load_n(entry(pt, table, i), __ATOMIC_RELAXED);
}

static u64 swap(const struct pt *pt, hpa_t table, unsigned i, u64 new)
{
	return __atomic_exchange_n(entry(pt, table, i), new, __ATOMIC_ACQ_REL);
}

static bool replace(const struct pt *pt, hpa_t table, unsigned i, u64 old, u64 new)
{
	return __atomic_compare_exchange_n(entry(pt, table, i), &old, new, false, __ATOMIC_ACQ_REL,
					   __ATOMIC_RELAXED);
}

static bool present(const struct pt *pt, u64 e)
{
	return e & pt->fmt->present;
}

static bool is_leaf(const struct pt *pt, u64 e, unsigned level)
{
	return level == 1 || (e & pt->fmt->large);
}

static hpa_t leaf_pa(const struct pt *pt, u64 e, unsigned level)
{
	return e & pt->fmt->addr_mask & ~(span(level) - 1);
}

static hpa_t child_of(const struct pt *pt, u64 e)
{
	return e & pt->fmt->addr_mask;
}

static bool leaf_level(const struct pt *pt, unsigned level)
{
	return level <= 2 || (level == 3 && pt->env->leaf_1g);
}

static u64 prot_bits(const struct pt_format *f, u32 prot)
{
	u64 e = f->r | f->always;

	e |= prot & PT_W ? f->w : 0;
	e |= prot & PT_X ? f->x : f->nx;
	e |= prot & PT_U ? f->u : 0;
	e |= prot & PT_G ? f->g : 0;
	e |= prot & PT_COW ? f->cow : 0;
	e |= prot & PT_IGNORE_PAT ? f->ipat : 0;
	return e;
}

static u64 prot_mask(const struct pt_format *f)
{
	return f->r | f->w | f->x | f->nx | f->u | f->g | f->cow | f->ipat | f->always;
}

static u32 prot_of(const struct pt_format *f, u64 e)
{
	u32 p = PT_R;

	p |= e & f->w ? PT_W : 0;
	p |= (f->nx ? !(e & f->nx) : !!(e & f->x)) ? PT_X : 0;
	p |= (e & f->u) || (f->always & BIT(2)) ? PT_U : 0;
	p |= e & f->g ? PT_G : 0;
	p |= e & f->cow ? PT_COW : 0;
	p |= e & f->ipat ? PT_IGNORE_PAT : 0;
	return p;
}

static const u64 *type_codes(const struct pt_format *f, unsigned level, u64 *mask)
{
	*mask = level == 1 ? f->mt_small_mask : f->mt_large_mask;
	return level == 1 ? f->mt_small : f->mt_large;
}

static bool type_ok(u32 t)
{
	return t == PT_UC || t == PT_WC || t == PT_WT || t == PT_WP || t == PT_WB;
}

static u32 type_of(const struct pt_format *f, u64 e, unsigned level)
{
	u64 mask;
	const u64 *codes = type_codes(f, level, &mask);

	for (u32 t = 0; t < 8; t++)
		if (type_ok(t) && codes[t] == (e & mask))
			return t;
	return PT_UC;
}

static u64 make_leaf(const struct pt *pt, hpa_t pa, u32 prot, u32 type, unsigned level)
{
	u64 mask;

	return pa | prot_bits(pt->fmt, prot) | type_codes(pt->fmt, level, &mask)[type] |
	       (level > 1 ? pt->fmt->large : 0);
}

/* The address of an offset: sign-extended where the format's addresses are. */
static u64 to_va(const struct pt *pt, u64 off)
{
	unsigned drop = 64 - (PAGE_SHIFT + 9 * pt->levels);

	return pt->fmt->canonical ? (u64)((s64)(off << drop) >> drop) : off;
}

static u64 to_off(const struct pt *pt, u64 va)
{
	return va & (span(pt->levels + 1) - 1);
}

static bool range_ok(const struct pt *pt, u64 va, u64 size)
{
	u64 last = va + size - 1;

	if (!size || !IS_ALIGNED(va | size, PAGE_SIZE) || last < va)
		return false;
	return to_va(pt, to_off(pt, va)) == va && to_va(pt, to_off(pt, last)) == last &&
	       to_off(pt, va) <= to_off(pt, last) && to_off(pt, last) - to_off(pt, va) == last - va;
}

static void fill_leaf(const struct pt *pt, struct pt_leaf *l, u64 off, u64 e, unsigned level)
{
	*l = (struct pt_leaf){
		.va = to_va(pt, ALIGN_DOWN(off, span(level))), .pa = leaf_pa(pt, e, level),
		.size = span(level), .prot = prot_of(pt->fmt, e),
		.memtype = type_of(pt->fmt, e, level), .accessed = e & pt->fmt->a,
		.dirty = e & pt->fmt->d,
	};
}

static hpa_t new_table(struct pt *pt)
{
	hpa_t t = pt->env->alloc(pt->env->ctx);

	if (t != HPA_NONE)
		pt->nr_tables++;
	return t;
}

/* The list of retired tables runs through their entries 0: an aligned address has no present bit. */
static void retire(struct pt *pt, hpa_t table)
{
	swap(pt, table, 0, pt->retired);
	pt->retired = table;
	pt->nr_retired++;
	pt->nr_tables--;
}

/* The first entry from i on that is not zero; ENTRIES if there is none. */
static unsigned next_used(const struct pt *pt, hpa_t table, unsigned i)
{
	const u64 *t = entry(pt, table, 0);

	while (i < ENTRIES && !t[i])
		i++;
	return i;
}

static void retire_tree(struct pt *pt, hpa_t table, unsigned level)
{
	for (unsigned i = 0; (i = next_used(pt, table, i)) < ENTRIES; i++) {
		u64 e = get(pt, table, i);

		if (present(pt, e) && !is_leaf(pt, e, level))
			retire_tree(pt, child_of(pt, e), level - 1);
		else if (present(pt, e))
			pt->nr_leaves[level - 1]--;
	}
	retire(pt, table);
}

static void drop_if_empty(struct pt *pt, hpa_t table, unsigned i)
{
	hpa_t child = child_of(pt, get(pt, table, i));

	if (next_used(pt, child, 0) == ENTRIES) {
		swap(pt, table, i, 0);
		retire(pt, child);
	}
}

/* Put a table of 512 smaller leaves in place of the leaf at entry i. Translations do not change. */
static int split_entry(struct pt *pt, hpa_t table, unsigned i, unsigned level)
{
	const struct pt_format *f = pt->fmt;
	hpa_t child = new_table(pt);
	u64 e, keep = prot_mask(f) | f->a | f->d;

	if (child == HPA_NONE)
		return -ENOMEM;
	do {
		e = get(pt, table, i);
		u64 c = make_leaf(pt, leaf_pa(pt, e, level), PT_R, type_of(f, e, level), level - 1);
		u64 *t = entry(pt, child, 0);

		c = (c & ~prot_mask(f)) | (e & keep);
		for (unsigned k = 0; k < ENTRIES; k++)
			t[k] = c + k * span(level - 1);
	} while (!replace(pt, table, i, e, child | f->table));
	pt->nr_leaves[level - 1]--;
	pt->nr_leaves[level - 2] += ENTRIES;
	return 0;
}

int pt_init(struct pt *pt, const struct pt_format *fmt, const struct pt_env *env, u8 levels)
{
	if (levels != 4 && levels != 5)
		return -EINVAL;
	*pt = (struct pt){.fmt = fmt, .env = env, .levels = levels};
	pt->root = new_table(pt);
	return pt->root == HPA_NONE ? -ENOMEM : 0;
}

struct pt_retired pt_take_retired(struct pt *pt)
{
	struct pt_retired old = {pt->retired, pt->nr_retired};

	pt->retired = pt->nr_retired = 0;
	return old;
}

void pt_free_retired(struct pt *pt, struct pt_retired old)
{
	for (; old.nr; old.nr--) {
		hpa_t next = get(pt, old.first, 0);

		pt->env->free(pt->env->ctx, old.first);
		old.first = next;
	}
}

void pt_reclaim(struct pt *pt)
{
	pt_free_retired(pt, pt_take_retired(pt));
}

/* Onto the list of its level, which runs through the entries 0; so what a table's entry 0 leads to comes along. */
static void bury(struct pt *pt, hpa_t table, unsigned level)
{
	for (;; level--) {
		u64 e = swap(pt, table, 0, pt->dead[level]);

		pt->dead[level] = table;
		if (!present(pt, e) || is_leaf(pt, e, level))
			return;
		table = child_of(pt, e);
	}
}

bool pt_destroy_step(struct pt *pt)
{
	unsigned level = 1;
	hpa_t table;

	if (pt->root != HPA_NONE) {
		bury(pt, pt->root, pt->levels);
		pt->root = HPA_NONE;
		pt->nr_leaves[0] = pt->nr_leaves[1] = pt->nr_leaves[2] = 0;
	}
	while (level <= pt->levels && !pt->dead[level])
		level++;
	if (level > pt->levels) { /* what was retired last goes first */
		struct pt_retired one = {pt->retired, !!pt->nr_retired};

		if (one.nr) {
			pt->retired = get(pt, one.first, 0);
			pt->nr_retired--;
			pt_free_retired(pt, one);
		}
		return !pt->nr_retired;
	}
	table = pt->dead[level];
	pt->dead[level] = get(pt, table, 0);
	for (unsigned i = 1; level > 1 && (i = next_used(pt, table, i)) < ENTRIES; i++) {
		u64 e = get(pt, table, i);

		if (present(pt, e) && !is_leaf(pt, e, level))
			bury(pt, child_of(pt, e), level - 1);
	}
	pt->env->free(pt->env->ctx, table);
	pt->nr_tables--;
	return false;
}

void pt_destroy(struct pt *pt)
{
	while (!pt_destroy_step(pt))
		;
}

struct map {
	struct pt *pt;
	u32 prot, type;
	bool *flush;
};

static int map_range(const struct map *m, hpa_t table, unsigned level, u64 lo, u64 hi, hpa_t pa);

static int map_below(const struct map *m, hpa_t table, unsigned i, unsigned level, u64 lo, u64 hi,
		     hpa_t pa)
{
	struct pt *pt = m->pt;
	u64 e = get(pt, table, i);
	int err = 0;

	if (!present(pt, e)) {
		hpa_t child = new_table(pt);

		if (child == HPA_NONE)
			return -ENOMEM;
		swap(pt, table, i, child | pt->fmt->table);
	} else if (is_leaf(pt, e, level)) {
		err = split_entry(pt, table, i, level);
	}
	if (err)
		return err;
	err = map_range(m, child_of(pt, get(pt, table, i)), level - 1, lo, hi, pa);
	if (err)
		drop_if_empty(pt, table, i);
	return err;
}

static int map_range(const struct map *m, hpa_t table, unsigned level, u64 lo, u64 hi, hpa_t pa)
{
	struct pt *pt = m->pt;

	for (u64 off = lo, next; off < hi; pa += next - off, off = next) {
		unsigned i = index_of(off, level);

		next = MIN(ALIGN_DOWN(off, span(level)) + span(level), hi);
		if (next - off < span(level) || !leaf_level(pt, level) || !IS_ALIGNED(pa, span(level))) {
			int err = map_below(m, table, i, level, off, next, pa);

			if (err)
				return err;
			continue;
		}
		u64 new = make_leaf(pt, pa, m->prot, m->type, level);
		u64 old = swap(pt, table, i, new);

		pt->nr_leaves[level - 1]++;
		if (!present(pt, old))
			continue;
		*m->flush |= old != new;
		if (!is_leaf(pt, old, level))
			retire_tree(pt, child_of(pt, old), level - 1);
		else
			pt->nr_leaves[level - 1]--;
	}
	return 0;
}

int pt_map(struct pt *pt, u64 va, hpa_t pa, u64 size, u32 prot, u32 memtype, bool *flush)
{
	struct map m = {.pt = pt, .prot = prot, .type = memtype, .flush = flush};

	if (!range_ok(pt, va, size) || !IS_ALIGNED(pa, PAGE_SIZE) || pa + size < pa ||
	    ((pa + size - 1) & ~(pt->fmt->addr_mask | (PAGE_SIZE - 1))))
		return -EINVAL;
	if (!(prot & PT_R) || !type_ok(memtype))
		return -EINVAL;
	return map_range(&m, pt->root, pt->levels, to_off(pt, va), to_off(pt, va) + size, pa);
}

enum change_kind { UNMAP, PROTECT, WRITE_PROTECT, HARVEST };
struct change {
	struct pt *pt;
	enum change_kind kind;
	u32 prot;
	bool *flush;
	void (*fn)(void *arg, const struct pt_leaf *leaf);
	void *arg;
};

static u64 changed(const struct change *c, u64 e)
{
	const struct pt_format *f = c->pt->fmt;

	switch (c->kind) {
	case UNMAP:
		return 0;
	case PROTECT: /* ignore-PAT belongs to the memory type: it stays */
		return (e & (~prot_mask(f) | f->ipat)) | (prot_bits(f, c->prot) & ~f->ipat);
	case WRITE_PROTECT:
		return e & ~f->w;
	case HARVEST:
		return e & ~f->d;
	}
	return e;
}

static void change_leaf(const struct change *c, hpa_t table, unsigned i, unsigned level, u64 off)
{
	u64 old, new;

	do {
		old = get(c->pt, table, i);
		new = changed(c, old);
		if (old == new)
			return;
	} while (!replace(c->pt, table, i, old, new));
	*c->flush = true;
	if (c->kind == UNMAP)
		c->pt->nr_leaves[level - 1]--;
	if (c->kind == HARVEST) {
		struct pt_leaf l;

		fill_leaf(c->pt, &l, off, old, level);
		c->fn(c->arg, &l);
	}
}

static int change_range(const struct change *c, hpa_t table, unsigned level, u64 lo, u64 hi)
{
	struct pt *pt = c->pt;

	for (u64 off = lo, next; off < hi; off = next) {
		unsigned i = index_of(off, level);
		u64 e = get(pt, table, i);
		int err = 0;

		next = MIN(ALIGN_DOWN(off, span(level)) + span(level), hi);
		bool whole = next - off == span(level);

		if (!present(pt, e))
			continue;
		if (is_leaf(pt, e, level)) {
			if (whole || c->kind == HARVEST || changed(c, e) == e) {
				change_leaf(c, table, i, level, off);
				continue;
			}
			err = split_entry(pt, table, i, level);
			if (err)
				return err;
		} else if (whole && c->kind == UNMAP) {
			swap(pt, table, i, 0);
			retire_tree(pt, child_of(pt, e), level - 1);
			*c->flush = true;
			continue;
		}
		err = change_range(c, child_of(pt, get(pt, table, i)), level - 1, off, next);
		if (c->kind == UNMAP)
			drop_if_empty(pt, table, i);
		if (err)
			return err;
	}
	return 0;
}

static int change(const struct change *c, u64 va, u64 size)
{
	u64 lo = to_off(c->pt, va);

	if (!range_ok(c->pt, va, size))
		return -EINVAL;
	return change_range(c, c->pt->root, c->pt->levels, lo, lo + size);
}

int pt_unmap(struct pt *pt, u64 va, u64 size, bool *flush)
{
	return change(&(struct change){.pt = pt, .kind = UNMAP, .flush = flush}, va, size);
}

int pt_protect(struct pt *pt, u64 va, u64 size, u32 prot, bool *flush)
{
	if (!(prot & PT_R))
		return -EINVAL;
	return change(&(struct change){.pt = pt, .kind = PROTECT, .prot = prot, .flush = flush}, va, size);
}

int pt_write_protect(struct pt *pt, u64 va, u64 size, bool *flush)
{
	return change(&(struct change){.pt = pt, .kind = WRITE_PROTECT, .flush = flush}, va, size);
}

int pt_harvest_dirty(struct pt *pt, u64 va, u64 size,
		     void (*fn)(void *arg, const struct pt_leaf *leaf), void *arg, bool *flush)
{
	struct change c = {.pt = pt, .kind = HARVEST, .fn = fn, .arg = arg, .flush = flush};

	return change(&c, va, size);
}

struct place {
	hpa_t table;
	unsigned i, level;
	u64 e;
};

/* Go down to off until a leaf, a hole or `level`. */
static void find(const struct pt *pt, u64 off, unsigned level, struct place *p)
{
	hpa_t table = pt->root;

	for (unsigned l = pt->levels;; l--) {
		unsigned i = index_of(off, l);
		u64 e = get(pt, table, i);

		*p = (struct place){.table = table, .i = i, .level = l, .e = e};
		if (l == level || !present(pt, e) || is_leaf(pt, e, l))
			return;
		table = child_of(pt, e);
	}
}

int pt_query(const struct pt *pt, u64 va, struct pt_leaf *leaf)
{
	struct place p;
	u64 page = ALIGN_DOWN(va, PAGE_SIZE);

	if (!range_ok(pt, page, PAGE_SIZE))
		return -ENOENT;
	find(pt, to_off(pt, va), 1, &p);
	if (!present(pt, p.e))
		return -ENOENT;
	fill_leaf(pt, leaf, to_off(pt, va), p.e, p.level);
	return 0;
}

int pt_split(struct pt *pt, u64 va, u64 size)
{
	struct place p;

	if (!range_ok(pt, ALIGN_DOWN(va, PAGE_SIZE), PAGE_SIZE) || (size != PAGE_SIZE && size != PAGE_2M))
		return -EINVAL;
	for (;;) {
		find(pt, to_off(pt, va), 1, &p);
		if (!present(pt, p.e))
			return -ENOENT;
		if (span(p.level) <= size)
			return 0;
		int err = split_entry(pt, p.table, p.i, p.level);

		if (err)
			return err;
	}
}

/* Do the 512 entries of a table make up one leaf? Then *leaf is it, without A and D; *ad are theirs. */
static bool mergeable(const struct pt *pt, hpa_t table, unsigned level, u64 *leaf, u64 *ad)
{
	const struct pt_format *f = pt->fmt;
	u64 first = get(pt, table, 0) & ~(f->a | f->d);

	*ad = 0;
	for (unsigned k = 0; k < ENTRIES; k++) {
		u64 e = get(pt, table, k);

		if (!present(pt, e) || !is_leaf(pt, e, level) ||
		    (e & ~(f->a | f->d)) != first + k * span(level))
			return false;
		*ad |= e & (f->a | f->d);
	}
	if (!IS_ALIGNED(leaf_pa(pt, first, level), span(level + 1)))
		return false;
	*leaf = make_leaf(pt, leaf_pa(pt, first, level), prot_of(f, first), type_of(f, first, level),
			  level + 1);
	return true;
}

int pt_merge(struct pt *pt, u64 va, u64 size, bool *flush)
{
	unsigned level = size == PAGE_2M ? 2 : 3;
	struct place p;
	u64 leaf, ad;

	if (!range_ok(pt, va, size) || (size != PAGE_2M && size != PAGE_1G) || !IS_ALIGNED(va, size))
		return -EINVAL;
	find(pt, to_off(pt, va), level, &p);
	if (!present(pt, p.e))
		return -ENOENT;
	if (is_leaf(pt, p.e, p.level))
		return 0;
	if (!leaf_level(pt, level) || !mergeable(pt, child_of(pt, p.e), level - 1, &leaf, &ad))
		return -EINVAL;
	/* A CPU may write through a cached small leaf, and mark that one, until it has been flushed:
	 * so what is writable counts as dirty. */
	if (leaf & pt->fmt->w)
		ad |= pt->fmt->a | pt->fmt->d;
	swap(pt, p.table, p.i, leaf | ad);
	pt->nr_leaves[level - 1]++;
	pt->nr_leaves[level - 2] -= ENTRIES;
	retire(pt, child_of(pt, p.e));
	*flush = true;
	return 0;
}

static bool walk(const struct pt *pt, hpa_t table, unsigned level, u64 base,
		 bool (*fn)(void *arg, const struct pt_leaf *leaf), void *arg)
{
	for (unsigned i = 0; (i = next_used(pt, table, i)) < ENTRIES; i++) {
		u64 e = get(pt, table, i), off = base + i * span(level);
		struct pt_leaf l;

		if (!present(pt, e))
			continue;
		if (!is_leaf(pt, e, level)) {
			if (!walk(pt, child_of(pt, e), level - 1, off, fn, arg))
				return false;
			continue;
		}
		fill_leaf(pt, &l, off, e, level);
		if (!fn(arg, &l))
			return false;
	}
	return true;
}

void pt_walk(const struct pt *pt, bool (*fn)(void *arg, const struct pt_leaf *leaf), void *arg)
{
	walk(pt, pt->root, pt->levels, 0, fn, arg);
}
