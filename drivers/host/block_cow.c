/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An overlay in memory: "cow:" before any other target. What is written stays here, by pages of 4 KiB, and ends with the
 * VM; the disk below is only read. Pages and their index are blocks of the guests' pool, taken as they are needed.
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

struct block_cow {
	struct block block;
	struct block *below;
	u32 nr_index, nr_data, nr_pages; /* blocks of the index, of data; pages of the latter that were ever used */
	u32 nr_init;			 /* pages of the index that are in use */
	u32 spare;			 /* a page that is free again; its first bytes name the next */
	u32 max_data, kid_size;
	hpa_t *index, *data;
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

/* One more block, if all pages of those there are are in use; false: no memory. */
static bool grow(struct block_cow *c, hpa_t *list, u32 *nr, u32 pages_in_use)
{
	if (pages_in_use < *nr * BLOCK_PAGES)
		return true;
	list[*nr] = gpool_alloc_block(vm_id(c->block.vm));
	if (list[*nr] == HPA_NONE)
		return false;
	++*nr;
	return true;
}

static hpa_t page_at(const hpa_t *list, u32 i)
{
	return list[i / BLOCK_PAGES] + i % BLOCK_PAGES * PAGE_SIZE;
}

static hpa_t own_at(const struct block_cow *c, u32 own)
{
	return page_at(c->data, own - 1);
}

/* The entry for a page of the disk; *w is to be closed. NULL: that part of the index is not there. */
static u32 *entry(const struct block_cow *c, u64 page, u32 **w)
{
	u32 at = c->index_page[page / INDEX_PAGE];

	if (!at)
		return NULL;
	*w = window_open(page_at(c->index, at - 1));
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
	if (!grow(c, c->index, &c->nr_index, c->nr_init))
		return false;
	phys_clear(page_at(c->index, c->nr_init), PAGE_SIZE);
	*at = ++c->nr_init;
	return true;
}

static u32 take_page(struct block_cow *c)
{
	u32 own = c->spare, *w;

	if (own != NO_PAGE) {
		w = window_open(own_at(c, own));
		c->spare = *w;
		window_close(w);
		return own;
	}
	if (c->nr_pages == c->max_data * BLOCK_PAGES || !grow(c, c->data, &c->nr_data, c->nr_pages))
		return NO_PAGE;
	return ++c->nr_pages;
}

static void give_page(struct block_cow *c, u32 own)
{
	u32 *w = window_open(own_at(c, own));

	*w = c->spare;
	window_close(w);
	c->spare = own;
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
	u32 val = lookup(c, page);
	struct cow_kid *k;
	int err;

	if (val != BELOW) {
		*n = MIN(*n, in_page);
		*copied += *n;
		return block_copy(c->block.vm, r, done, *n, val == ZEROES ? frame_pa(zeroes) : own_at(c, val) + pos % PAGE_SIZE);
	}
	for (u64 i = 1; i < STEP_PAGES && in_page < *n && lookup(c, page + i) == BELOW; i++)
		in_page += PAGE_SIZE;
	k = next_kid(c, r);
	k->r.pos = pos;
	k->r.len = MIN(*n, in_page);
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
	k->r.len = page_bytes(c, page);
	k->r.phys = own_at(c, own);
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
	if (val != BELOW && val != ZEROES) {
		*copied += *n;
		return put_data(c, r, done, *n, own_at(c, val) + pos % PAGE_SIZE);
	}
	if (!make_entry(c, page))
		return -ENOMEM;
	if (r->op == BLOCK_ZERO && *n == whole) {
		enter(c, page, ZEROES);
		return 0;
	}
	own = take_page(c);
	if (own == NO_PAGE)
		return -ENOMEM;
	*copied += PAGE_SIZE;
	if (*n != whole && val == BELOW)
		return fill(c, r, done, *n, page, own);
	if (*n != whole)
		phys_clear(own_at(c, own), PAGE_SIZE);
	return settle(c, page, own, put_data(c, r, done, *n, own_at(c, own) + pos % PAGE_SIZE));
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

	if (r->op == BLOCK_FLUSH || r->op == BLOCK_DISCARD)
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

		err = r->op == BLOCK_READ ? read_part(c, r, done, &n, &copied) : write_part(c, r, done, &n, &copied);
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
		gpool_put_block(c->data[i]);
	kfree(c->index);
	kfree(c->data);
	kfree(c->index_page);
	kfree(c);
}

static const struct block_ops cow_ops = {.name = "cow", .submit = cow_submit, .commit = cow_commit, .close = cow_close};

/* Tables for a disk of that size. */
static bool make_tables(struct block_cow *c)
{
	u16 owner = vm_id(c->block.vm);
	u64 pages = (c->block.size + PAGE_SIZE - 1) / PAGE_SIZE, parts = (pages + INDEX_PAGE - 1) / INDEX_PAGE;

	/* One block beside, for pages that are on their way. */
	c->max_data = (u32)((pages + BLOCK_PAGES - 1) / BLOCK_PAGES) + 1;
	c->index_page = kzalloc(parts * sizeof(u32), FRAME_DEVICE, owner);
	c->index = kzalloc((parts / BLOCK_PAGES + 1) * sizeof(hpa_t), FRAME_DEVICE, owner);
	c->data = kzalloc(c->max_data * sizeof(hpa_t), FRAME_DEVICE, owner);
	return c->index_page && c->index && c->data;
}

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
	if (make_tables(c))
		return &c->block;
	cow_close(&c->block);
no_memory:
	snprintf(why, n, "%s: out of memory of our own for its overlay", target);
	return NULL;
}

static const struct block_kind cow_kind = {.prefix = "cow:", .open = cow_open};
BLOCK_REGISTER(cow_kind);
