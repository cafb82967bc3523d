/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An overlay in memory: "cow:" before any other target. What is written stays here, by pages of 4 KiB, and ends with the
 * VM; the disk below is only read. Pages and their index are blocks of the guests' pool, taken as they are needed. A page that
 * is discarded, or zeroed as a whole, is free again; and a block of which all pages are goes back to the pool.
 *
 * The disk may become larger than the one below: there it is zeroes. What is cut off comes again if it grows again.
 *
 * What is read and not ours is a request to the disk below. A write of a part of a page that is not ours yet has to fetch the
 * page first: until it is there the page is "being filled", other writes to it wait, and reads still go below.
 */
#include "drivers/block.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/window.h"
#include "lib/errno.h"
#include "lib/list.h"
#include "lib/string.h"
#include "vmm/config.h"
#include "vmm/vdev.h"

#define BLOCK_PAGES  (PAGE_2M / PAGE_SIZE)
#define INDEX_PAGE   (PAGE_SIZE / sizeof(u32)) /* pages of the disk that a page of the index knows */
#define BELOW	     0u	 /* in the index: the disk below has it; else 1 + the number of a page of ours, or */
#define ZEROES	     ~0u /* nobody needs to */
#define NO_PAGE	     0u
#define KIDS	     4u	     /* requests to the disk below that one of ours may need */
#define STEP_BYTES   KIB(32) /* what a call copies at most, */
#define STEP_PAGES   64u     /* and looks at */
#define COW_MAX      GIB(4096)

/* A block of data. */
struct cow_block {
	hpa_t at;     /* HPA_NONE: it has no memory, */
	u16 used;     /* pages that are in use; */
	u16 fresh;    /* so many of its pages were ever used; */
	u16 spare;    /* 1 + a page of it that is free again, whose first bytes name the next; 0: there is none */
	u16 pad;
	u32 next, prev; /* in one of the lists below; 1 + a number of a block */
};

struct block_cow {
	struct block block;
	struct block *below;
	u32 nr_index; /* blocks of the index */
	u32 nr_init;  /* pages of the index that are in use */
	u32 nr_data, max_data; /* blocks of data in the table; it has room for so many */
	u32 room, vacant; /* lists: of blocks with free pages; of those without memory */
	u32 kid_size;
	hpa_t *index;
	struct cow_block *data;
	u32 *index_page; /* by INDEX_PAGE pages of the disk: 0, or 1 + where their part of the index lies */
	struct list filling;
	bool waiting; /* a write got -EAGAIN because of one of these */
};

/* Behind a request of ours: how many of its own requests are on their way, then room for these. */
struct cow_io {
	u32 nr_kids, pending;
	int err, pad;
};
struct cow_kid {
	struct block_cow *c;
	struct block_req *parent;
	/* A fill: the page of the disk and ours for it, and the bytes that then come from the bounce page (or are zeroes). */
	struct list node;
	u64 page;
	u32 own, bounce, off, n;
	int err, pad;
	struct block_req r;
};
static_assert(sizeof(struct cow_io) % 8 == 0 && sizeof(struct cow_kid) % 8 == 0, "what follows is aligned");

static struct block_cow *cow_of(struct block *b)
{
	return container_of(b, struct block_cow, block);
}

static struct cow_io *io_of(struct block_req *r)
{
	return (struct cow_io *)(r + 1);
}

/* ---- pages ---- */

static hpa_t index_at(const struct block_cow *c, u32 i)
{
	return c->index[i / BLOCK_PAGES] + i % BLOCK_PAGES * PAGE_SIZE;
}

static hpa_t own_at(const struct block_cow *c, u32 own)
{
	return c->data[(own - 1) / BLOCK_PAGES].at + (own - 1) % BLOCK_PAGES * PAGE_SIZE;
}

static bool is_own(u32 val)
{
	return val != BELOW && val != ZEROES;
}

/* The entry for a page of the disk; *w is to be closed. NULL: that part of the index is not there. */
static u32 *entry(const struct block_cow *c, u64 page, u32 **w)
{
	u32 at = c->index_page[page / INDEX_PAGE];

	if (!at)
		return NULL;
	*w = window_open(index_at(c, at - 1));
	return *w + page % INDEX_PAGE;
}

static u32 lookup(const struct block_cow *c, u64 page)
{
	u32 *w, *e = entry(c, page, &w), val;

	if (!e)
		return BELOW;
	val = *e;
	window_close(w);
	return val;
}

static void enter(struct block_cow *c, u64 page, u32 val)
{
	u32 *w, *e = entry(c, page, &w);

	*e = val;
	window_close(w);
}

/* Let there be an entry for it. */
static bool make_entry(struct block_cow *c, u64 page)
{
	u32 *at = &c->index_page[page / INDEX_PAGE];

	if (*at)
		return true;
	if (c->nr_init == c->nr_index * BLOCK_PAGES) {
		c->index[c->nr_index] = gpool_alloc_block(vm_id(c->block.vm));
		if (c->index[c->nr_index] == HPA_NONE)
			return false;
		c->nr_index++;
	}
	phys_clear(index_at(c, c->nr_init), PAGE_SIZE);
	*at = ++c->nr_init;
	return true;
}

static void link_block(struct block_cow *c, u32 *list, u32 i)
{
	c->data[i - 1].next = *list;
	c->data[i - 1].prev = 0;
	if (*list)
		c->data[*list - 1].prev = i;
	*list = i;
}

static void unlink_block(struct block_cow *c, u32 *list, u32 i)
{
	struct cow_block *b = &c->data[i - 1];

	if (b->next)
		c->data[b->next - 1].prev = b->prev;
	if (b->prev)
		c->data[b->prev - 1].next = b->next;
	else
		*list = b->next;
}

/* One more block of free pages. */
static bool add_block(struct block_cow *c)
{
	u32 i = c->vacant ?: c->nr_data + 1;
	hpa_t at;

	if (i > c->max_data)
		return false;
	at = gpool_alloc_block(vm_id(c->block.vm));
	if (at == HPA_NONE)
		return false;
	if (i == c->vacant)
		unlink_block(c, &c->vacant, i);
	else
		c->nr_data++;
	c->data[i - 1] = (struct cow_block){.at = at};
	link_block(c, &c->room, i);
	return true;
}

static u32 take_page(struct block_cow *c)
{
	struct cow_block *b;
	u32 i, page;
	u16 *w;

	if (!c->room && !add_block(c))
		return NO_PAGE;
	i = c->room;
	b = &c->data[i - 1];
	page = b->spare;
	if (page) {
		w = window_open(b->at + (page - 1) * PAGE_SIZE);
		b->spare = *w;
		window_close(w);
	} else {
		page = ++b->fresh;
	}
	if (++b->used == BLOCK_PAGES)
		unlink_block(c, &c->room, i);
	return (i - 1) * (u32)BLOCK_PAGES + page;
}

static void give_page(struct block_cow *c, u32 own)
{
	u32 i = (own - 1) / BLOCK_PAGES + 1;
	struct cow_block *b = &c->data[i - 1];
	u16 *w;

	if (b->used-- == BLOCK_PAGES)
		link_block(c, &c->room, i);
	if (!b->used) {
		unlink_block(c, &c->room, i);
		gpool_put_block(b->at);
		b->at = HPA_NONE;
		link_block(c, &c->vacant, i);
		return;
	}
	w = window_open(own_at(c, own));
	*w = b->spare;
	window_close(w);
	b->spare = (u16)((own - 1) % BLOCK_PAGES + 1);
}

/* A new page of ours has its content, or not. */
static int settle(struct block_cow *c, u64 page, u32 own, int err)
{
	if (err)
		give_page(c, own);
	else
		enter(c, page, own);
	return err;
}

/* ---- the disk below ---- */

static void kid_done(struct block_req *kr, int err)
{
	struct cow_kid *k = container_of(kr, struct cow_kid, r);
	struct block_req *r = k->parent;
	struct cow_io *io = io_of(r);
	struct block_cow *c = k->c;
	bool again = false;

	err = err ?: k->err;
	if (k->own != NO_PAGE) {
		list_del(&k->node);
		if (!err && k->bounce != NO_PAGE)
			phys_copy(own_at(c, k->own) + k->off, own_at(c, k->bounce) + k->off, k->n);
		else if (!err)
			phys_clear(own_at(c, k->own) + k->off, k->n);
		settle(c, k->page, k->own, err);
		if (k->bounce != NO_PAGE)
			give_page(c, k->bounce);
		again = c->waiting;
		c->waiting = false;
	}
	io->err = io->err ?: err;
	if (!--io->pending)
		r->done(r, io->err);
	if (again)
		c->block.again(&c->block);
}

/* The next request of r's to the disk below, to be filled in. */
static struct cow_kid *next_kid(struct block_cow *c, struct block_req *r)
{
	struct cow_io *io = io_of(r);
	struct cow_kid *k = (struct cow_kid *)((u8 *)(io + 1) + (size_t)io->nr_kids * c->kid_size);

	*k = (struct cow_kid){.c = c, .parent = r, .r = {.op = BLOCK_READ, .done = kid_done}};
	return k;
}

static int send(struct block_cow *c, struct cow_kid *k)
{
	struct cow_io *io = io_of(k->parent);
	int err = c->below->ops->submit(c->below, &k->r);

	if (err == -EINPROGRESS) {
		io->nr_kids++;
		io->pending++;
	}
	return err;
}

/* ---- reading ---- */

/* From byte `done` of r on; *n: at most so many, becomes how many. */
static int read_part(struct block_cow *c, struct block_req *r, u64 done, u64 *n, u64 *copied)
{
	static const u8 zeroes[PAGE_SIZE] __aligned(PAGE_SIZE);
	u64 pos = r->pos + done, page = pos / PAGE_SIZE, in_page = PAGE_SIZE - pos % PAGE_SIZE;
	u64 end = c->below->size;
	u32 val = lookup(c, page);
	struct cow_kid *k;
	int err;

	if (val == BELOW && pos >= end)
		val = ZEROES;
	if (val != BELOW) {
		*n = MIN(*n, in_page);
		*copied += *n;
		return block_copy(c->block.vm, r, done, *n, val == ZEROES ? frame_pa(zeroes) : own_at(c, val) + pos % PAGE_SIZE);
	}
	for (u64 i = 1; i < STEP_PAGES && in_page < *n && lookup(c, page + i) == BELOW; i++)
		in_page += PAGE_SIZE;
	k = next_kid(c, r);
	k->r.pos = pos;
	k->r.len = MIN(MIN(*n, in_page), end - pos);
	k->r.range = r->range;
	k->r.skip = r->skip + done;
	k->r.phys = r->phys + done;
	err = send(c, k);
	*n = k->r.len;
	*copied += PAGE_SIZE + k->r.len; /* a request costs something, too */
	return err == -EINPROGRESS ? 0 : err;
}

/* ---- writing ---- */

static u64 page_bytes(const struct block_cow *c, u64 page)
{
	return MIN(PAGE_SIZE, c->block.size - page * PAGE_SIZE);
}

static int put_data(struct block_cow *c, struct block_req *r, u64 done, u64 n, hpa_t at)
{
	if (r->op == BLOCK_WRITE)
		return block_copy(c->block.vm, r, done, n, at);
	phys_clear(at, n);
	return 0;
}

/* A part of a page is written that the disk below has, for now into a page aside: that of ours is first filled from there. */
static int fill(struct block_cow *c, struct block_req *r, u64 done, u64 n, u64 page, u32 own)
{
	struct cow_kid *k = next_kid(c, r);
	u32 off = (r->pos + done) % PAGE_SIZE;
	int err;

	k->r.pos = page * PAGE_SIZE;
	k->r.len = MIN(PAGE_SIZE, c->below->size - page * PAGE_SIZE);
	k->r.phys = own_at(c, own);
	if (k->r.len < PAGE_SIZE)
		phys_clear(own_at(c, own), PAGE_SIZE);
	err = send(c, k);
	if (err != -EINPROGRESS)
		return settle(c, page, own, err ?: put_data(c, r, done, n, own_at(c, own) + off));
	k->page = page;
	k->own = own;
	k->off = off;
	k->n = (u32)n;
	list_insert(&c->filling, &k->node);
	if (r->op == BLOCK_ZERO)
		return 0;
	k->bounce = take_page(c);
	k->err = k->bounce == NO_PAGE ? -ENOMEM : put_data(c, r, done, n, own_at(c, k->bounce) + off);
	return 0;
}

static int write_part(struct block_cow *c, struct block_req *r, u64 done, u64 *n, u64 *copied)
{
	u64 pos = r->pos + done, page = pos / PAGE_SIZE, whole = page_bytes(c, page);
	u32 val = lookup(c, page), own;

	*n = MIN(*n, PAGE_SIZE - pos % PAGE_SIZE);
	if (r->op == BLOCK_ZERO && val == ZEROES)
		return 0;
	if (!make_entry(c, page))
		return -ENOMEM;
	if (r->op == BLOCK_ZERO && *n == whole) {
		if (is_own(val))
			give_page(c, val);
		enter(c, page, ZEROES);
		return 0;
	}
	if (is_own(val)) {
		*copied += *n;
		return put_data(c, r, done, *n, own_at(c, val) + pos % PAGE_SIZE);
	}
	own = take_page(c);
	if (own == NO_PAGE)
		return -ENOMEM;
	*copied += PAGE_SIZE;
	if (*n != whole && val == BELOW && page * PAGE_SIZE < c->below->size)
		return fill(c, r, done, *n, page, own);
	if (*n != PAGE_SIZE) /* behind the disk's end, too: it may grow */
		phys_clear(own_at(c, own), PAGE_SIZE);
	return settle(c, page, own, put_data(c, r, done, *n, own_at(c, own) + pos % PAGE_SIZE));
}

/* Pages that are discarded as a whole are zeroes from now on, if they were ours. */
static void discard_part(struct block_cow *c, const struct block_req *r, u64 done, u64 *n)
{
	u64 pos = r->pos + done, page = pos / PAGE_SIZE;
	u32 val;

	if (!c->index_page[page / INDEX_PAGE]) {
		*n = MIN(*n, INDEX_PAGE * PAGE_SIZE - pos % (INDEX_PAGE * PAGE_SIZE));
		return;
	}
	*n = MIN(*n, PAGE_SIZE - pos % PAGE_SIZE);
	val = lookup(c, page);
	if (*n != page_bytes(c, page) || !is_own(val))
		return;
	give_page(c, val);
	enter(c, page, ZEROES);
}

static bool being_filled(struct block_cow *c, const struct block_req *r)
{
	u64 first = r->pos / PAGE_SIZE, last = (r->pos + r->len - 1) / PAGE_SIZE;

	for (struct list *l = c->filling.next; l != &c->filling; l = l->next) {
		u64 page = list_entry(l, struct cow_kid, node)->page;

		if (page >= first && page <= last)
			return true;
	}
	return false;
}

static int cow_submit(struct block *b, struct block_req *r)
{
	struct block_cow *c = cow_of(b);
	struct cow_io *io = io_of(r);
	u64 done = 0, copied = 0;
	int err = 0;

	if (r->op == BLOCK_FLUSH)
		return 0;
	if (r->op != BLOCK_READ && b->readonly)
		return -EROFS;
	if (r->op != BLOCK_READ && being_filled(c, r)) {
		c->waiting = true;
		return -EAGAIN;
	}
	*io = (struct cow_io){0};
	for (u32 i = 0; i < STEP_PAGES && done < r->len && copied < STEP_BYTES && io->nr_kids < KIDS; i++) {
		u64 n = r->len - done;

		if (r->op == BLOCK_DISCARD)
			discard_part(c, r, done, &n);
		else if (r->op == BLOCK_READ)
			err = read_part(c, r, done, &n, &copied);
		else
			err = write_part(c, r, done, &n, &copied);
		if (err)
			break; /* what is done is done; the error comes when the rest is tried */
		done += n;
	}
	if (!done)
		return err;
	r->len = done;
	return io->pending ? -EINPROGRESS : 0;
}

static void cow_commit(struct block *b)
{
	struct block *below = cow_of(b)->below;

	if (below->ops->commit)
		below->ops->commit(below);
}

static void below_again(struct block *below)
{
	struct block_cow *c = below->arg;

	c->block.again(&c->block);
}

static void cow_close(struct block *b)
{
	struct block_cow *c = cow_of(b);

	block_close(c->below);
	for (u32 i = 0; i < c->nr_index; i++)
		gpool_put_block(c->index[i]);
	for (u32 i = 0; i < c->nr_data; i++)
		if (c->data[i].at != HPA_NONE)
			gpool_put_block(c->data[i].at);
	kfree(c->index);
	kfree(c->data);
	kfree(c->index_page);
	kfree(c);
}

/* A table of `size` bytes in the place of one of `was`. */
static bool larger(struct block_cow *c, void **table, size_t was, size_t size)
{
	void *t = kzalloc(size, FRAME_DEVICE, vm_id(c->block.vm));

	if (!t)
		return false;
	if (*table) {
		memcpy(t, *table, was);
		kfree(*table);
	}
	*table = t;
	return true;
}

static size_t parts_of(u64 max_data)
{
	return (max_data * BLOCK_PAGES + INDEX_PAGE - 1) / INDEX_PAGE;
}

/* Tables for a disk of that size. false: no memory; what there is is as good as before. */
static bool make_tables(struct block_cow *c, u64 size)
{
	/* One block beside, for pages that are on their way. */
	u32 blocks = (u32)((size + PAGE_2M - 1) / PAGE_2M) + 1;
	size_t parts = parts_of(blocks), had = parts_of(c->max_data);

	if (blocks <= c->max_data)
		return true;
	if (!larger(c, (void **)&c->index_page, had * sizeof(u32), parts * sizeof(u32)) ||
	    !larger(c, (void **)&c->index, (had / BLOCK_PAGES + 1) * sizeof(hpa_t), (parts / BLOCK_PAGES + 1) * sizeof(hpa_t)) ||
	    !larger(c, (void **)&c->data, c->max_data * sizeof(*c->data), blocks * sizeof(*c->data)))
		return false;
	c->max_data = blocks;
	return true;
}

static int cow_resize(struct block *b, u64 size, char *why, size_t n)
{
	if (size > COW_MAX) {
		snprintf(why, n, "an overlay may have %lu GiB", (unsigned long)(COW_MAX >> 30));
		return -ENOSPC;
	}
	if (!make_tables(cow_of(b), size)) {
		snprintf(why, n, "no memory of our own is left for the tables of an overlay of that size");
		return -ENOMEM;
	}
	b->size = size;
	return 0;
}

static const struct block_ops cow_ops = {.name = "cow", .submit = cow_submit, .commit = cow_commit, .close = cow_close,
					 .resize = cow_resize};

static struct block *cow_open(const char *target, const struct vm_disk *disk, struct vm *vm, char *why, size_t n)
{
	struct vm_disk below = *disk;
	struct block_cow *c;

	if (!strncmp(target, "cow:", 4)) {
		snprintf(why, n, "%s: an overlay over an overlay that nobody else has; write cow: once", target);
		return NULL;
	}
	below.readonly = true;
	c = kzalloc(sizeof(*c), FRAME_DEVICE, vm_id(vm));
	if (!c)
		goto no_memory;
	c->below = block_open_target(target, &below, vm, why, n);
	if (!c->below) {
		kfree(c);
		return NULL;
	}
	c->below->again = below_again;
	c->below->arg = c;
	c->kid_size = (u32)sizeof(struct cow_kid) + c->below->req_size - (u32)sizeof(struct block_req);
	c->block = (struct block){.ops = &cow_ops, .vm = vm, .size = c->below->size, .sector = c->below->sector,
				  .readonly = disk->readonly};
	c->block.req_size = (u32)(sizeof(struct block_req) + sizeof(struct cow_io)) + KIDS * c->kid_size;
	list_init(&c->filling);
	if (make_tables(c, c->block.size))
		return &c->block;
	cow_close(&c->block);
no_memory:
	snprintf(why, n, "%s: out of memory of our own for its overlay", target);
	return NULL;
}

static const struct block_kind cow_kind = {.prefix = "cow:", .open = cow_open};
BLOCK_REGISTER(cow_kind);
