/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An overlay in memory: "cow:" before any other target. What is written stays here, by pages of 4 KiB, and ends with the
 * VM; the disk below is only read. Pages and their index are blocks of the guests' pool, taken as they are needed.
 */
#include "drivers/block.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/window.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/config.h"
#include "vmm/gmem.h"

#define BLOCK_PAGES  (PAGE_2M / PAGE_SIZE)
#define INDEX_PAGE   (PAGE_SIZE / sizeof(u32)) /* pages of the disk that a page of the index knows */
#define BELOW 0u  /* in the index: the disk below has it */
#define ZEROES ~0u /* nobody needs to */

struct block_cow {
	struct block block;
	struct block *below;
	u16 owner;
	u32 nr_index, nr_data, nr_pages; /* blocks of the index, of data; pages in use of the latter */
	u32 nr_init;			 /* pages of the index that are in use: place in index[] of those of the disk */
	hpa_t *index, *data;
	u32 *index_page;		 /* by INDEX_PAGE pages of the disk: 0, or 1 + where their part of the index lies */
	u32 max_data;
};

static struct block_cow *cow_of(struct block *b)
{
	return container_of(b, struct block_cow, block);
}

/* One more page of the block list; false: no memory. */
static bool grow(struct block_cow *c, hpa_t *list, u32 *nr, u32 pages_in_use)
{
	if (pages_in_use < *nr * BLOCK_PAGES)
		return true;
	list[*nr] = gpool_alloc_block(c->owner);
	if (list[*nr] == HPA_NONE)
		return false;
	++*nr;
	return true;
}

static hpa_t page_at(const hpa_t *list, u32 i)
{
	return list[i / BLOCK_PAGES] + i % BLOCK_PAGES * PAGE_SIZE;
}

static u32 lookup(const struct block_cow *c, u64 page)
{
	u32 at = c->index_page[page / INDEX_PAGE], *w, val;

	if (!at)
		return BELOW;
	w = window_open(page_at(c->index, at - 1));
	val = w[page % INDEX_PAGE];
	window_close(w);
	return val;
}

static bool enter(struct block_cow *c, u64 page, u32 val)
{
	u32 *at = &c->index_page[page / INDEX_PAGE], *w;

	if (!*at) {
		if (!grow(c, c->index, &c->nr_index, c->nr_init))
			return false;
		w = window_open(page_at(c->index, c->nr_init));
		memset(w, 0, PAGE_SIZE);
		window_close(w);
		*at = ++c->nr_init;
	}
	w = window_open(page_at(c->index, *at - 1));
	w[page % INDEX_PAGE] = val;
	window_close(w);
	return true;
}

static void clear(hpa_t at, u64 n)
{
	void *w = window_open(at);

	memset(w, 0, n);
	window_close(w);
}

static u64 page_bytes(const struct block_cow *c, u64 page)
{
	return MIN(PAGE_SIZE, c->block.size - page * PAGE_SIZE);
}

/* The page of ours for a page of the disk, made if there is none, with what the disk has unless all of it will be
 * written. HPA_NONE: no memory, or the disk below fails. */
static hpa_t own_page(struct block_cow *c, u64 page, bool whole)
{
	u32 val = lookup(c, page);
	hpa_t at;

	if (val != BELOW && val != ZEROES)
		return page_at(c->data, val - 1);
	if (c->nr_pages == c->max_data * BLOCK_PAGES || !grow(c, c->data, &c->nr_data, c->nr_pages))
		return HPA_NONE;
	at = page_at(c->data, c->nr_pages);
	if (!whole && val == ZEROES)
		clear(at, PAGE_SIZE);
	else if (!whole && c->below->ops->read_phys(c->below, page * PAGE_SIZE, at, page_bytes(c, page)))
		return HPA_NONE;
	if (!enter(c, page, c->nr_pages + 1))
		return HPA_NONE;
	c->nr_pages++;
	return at;
}

static int read_part(struct block_cow *c, u64 pos, struct vm *vm, gpa_t to, u64 n)
{
	static const u8 zeroes[PAGE_SIZE];
	u32 val = lookup(c, pos / PAGE_SIZE);

	if (val == BELOW)
		return c->below->ops->read(c->below, pos, vm, to, n);
	if (val == ZEROES)
		return gmem_write(vm, to, zeroes, n) ? -EIO : 0;
	return gmem_copy_from_phys(vm, to, page_at(c->data, val - 1) + pos % PAGE_SIZE, n) ? -EIO : 0;
}

static int cow_read(struct block *b, u64 pos, struct vm *vm, gpa_t to, u64 n)
{
	int err = 0;

	for (u64 part; n && !err; pos += part, to += part, n -= part) {
		part = MIN(n, PAGE_SIZE - pos % PAGE_SIZE);
		err = read_part(cow_of(b), pos, vm, to, part);
	}
	return err;
}

static int cow_write(struct block *b, u64 pos, struct vm *vm, gpa_t from, u64 n)
{
	struct block_cow *c = cow_of(b);

	for (u64 part; n; pos += part, from += part, n -= part) {
		hpa_t at;

		part = MIN(n, PAGE_SIZE - pos % PAGE_SIZE);
		at = own_page(c, pos / PAGE_SIZE, part == page_bytes(c, pos / PAGE_SIZE));
		if (at == HPA_NONE)
			return -ENOMEM;
		if (gmem_copy_to_phys(vm, at + pos % PAGE_SIZE, from, part)) {
			clear(at, PAGE_SIZE); /* a page just made holds what somebody left */
			return -EIO;
		}
	}
	return 0;
}

static int cow_read_phys(struct block *b, u64 pos, hpa_t to, u64 n)
{
	struct block_cow *c = cow_of(b);
	int err = 0;

	for (u64 part; n && !err; pos += part, to += part, n -= part) {
		u32 val = lookup(c, pos / PAGE_SIZE);

		part = MIN(n, PAGE_SIZE - pos % PAGE_SIZE);
		if (val == BELOW)
			err = c->below->ops->read_phys(c->below, pos, to, part);
		else if (val == ZEROES)
			clear(to, part);
		else
			phys_copy(to, page_at(c->data, val - 1) + pos % PAGE_SIZE, part);
	}
	return err;
}

static int cow_zero(struct block *b, u64 pos, u64 n)
{
	struct block_cow *c = cow_of(b);

	for (u64 part; n; pos += part, n -= part) {
		u64 page = pos / PAGE_SIZE;
		u32 val = lookup(c, page);
		hpa_t at;

		part = MIN(n, PAGE_SIZE - pos % PAGE_SIZE);
		if (val == ZEROES)
			continue;
		if (val == BELOW && part == page_bytes(c, page)) {
			if (!enter(c, page, ZEROES))
				return -ENOMEM;
			continue;
		}
		at = own_page(c, page, false);
		if (at == HPA_NONE)
			return -ENOMEM;
		clear(at + pos % PAGE_SIZE, part);
	}
	return 0;
}

static void cow_close(struct block *b)
{
	struct block_cow *c = cow_of(b);

	for (u32 i = 0; i < c->nr_index; i++)
		gpool_put_block(c->index[i]);
	for (u32 i = 0; i < c->nr_data; i++)
		gpool_put_block(c->data[i]);
	block_close(c->below);
	kfree(c->index);
	kfree(c->data);
	kfree(c->index_page);
	kfree(c);
}

static const struct block_ops cow_ops = {
	.name = "cow", .read = cow_read, .write = cow_write, .read_phys = cow_read_phys, .zero = cow_zero,
	.close = cow_close,
};

static struct block *cow_open(const char *target, const struct vm_disk *disk, u16 owner, char *why, size_t n)
{
	struct block_cow *c = kzalloc(sizeof(*c), FRAME_DEVICE, owner);
	struct vm_disk below = *disk;
	u64 pages, parts;

	below.readonly = true;
	if (!c)
		goto no_memory;
	c->below = block_open_target(target, &below, owner, why, n);
	if (!c->below) {
		kfree(c);
		return NULL;
	}
	c->owner = owner;
	c->block = (struct block){.ops = &cow_ops, .size = c->below->size, .sector = c->below->sector,
				  .readonly = disk->readonly};
	pages = (c->block.size + PAGE_SIZE - 1) / PAGE_SIZE;
	parts = (pages + INDEX_PAGE - 1) / INDEX_PAGE;
	c->max_data = (u32)((pages + BLOCK_PAGES - 1) / BLOCK_PAGES);
	c->index_page = kzalloc(parts * sizeof(u32), FRAME_DEVICE, owner);
	c->index = kzalloc((parts / BLOCK_PAGES + 1) * sizeof(hpa_t), FRAME_DEVICE, owner);
	c->data = kzalloc(c->max_data * sizeof(hpa_t), FRAME_DEVICE, owner);
	if (c->index_page && c->index && c->data)
		return &c->block;
	cow_close(&c->block);
no_memory:
	snprintf(why, n, "%s: out of memory of our own for its overlay", target);
	return NULL;
}

static const struct block_kind cow_kind = {.prefix = "cow:", .open = cow_open};
BLOCK_REGISTER(cow_kind);
