/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio's rings with a watch on them: each chain that a device pops, puts back and pushes is known, and so is where it may
 * write. What goes wrong ends the program with its line. For virtio_driver.h alone.
 */
#pragma once
#include <stdio.h>
#include "tests/unit/fake_virtio.h"

static __attribute__((noinline)) void failed(unsigned line, const char *what)
{
	fprintf(stderr, "line %u: not so: %s\n", line, what);
	abort();
}
#define require(ok) ((ok) ? (void)0 : failed(__LINE__, #ok))

/* The rings' functions, with a look at what goes through them. */
#define virtq_reset  real_virtq_reset
#define virtq_pop    real_virtq_pop
#define virtq_unpop  real_virtq_unpop
#define virtq_reread real_virtq_reread
#define virtq_push   real_virtq_push
#define virtq_set_kicks real_virtq_set_kicks
#define virtq_look   real_virtq_look
#define virtq_done   real_virtq_done
bool real_virtq_set_kicks(struct vm *vm, struct virtq *q, bool on);
#include "drivers/virtio/virtq.c"
#undef virtq_reset
#undef virtq_pop
#undef virtq_unpop
#undef virtq_reread
#undef virtq_push
#undef virtq_set_kicks
#undef virtq_look
#undef virtq_done

/* ---- what is known of the rings ---- */

struct popped {
	u16 queue, id, start, nr; /* nr: what it takes of in_flight; 0: the chain before, as it was read anew */
	u32 in_len, first, ranges;
};
static struct popped popped[1024];
static struct block_range named[8192]; /* ranges that the device may write */
static unsigned nr_popped, nr_named, held[VIRTIO_MAX_QUEUES];
static bool foreign; /* the state came from elsewhere, or there was more than fits above: less is looked at */
static enum { ADD_AT_POP = 1, ADD_AT_KICKS = 2 } adding; /* another CPU of the guest's adds a chain whenever the device looks */
static u64 work;
#ifndef WORK_MAX /* that a call may make: bytes copied, and 64 for each access and chain */
#define WORK_MAX KIB(128)
#endif

static void spend(u64 n)
{
	work += n;
	require(work < WORK_MAX);
}

static unsigned queue_of(const struct virtq *q)
{
	return (unsigned)(q - virtio_of(&dev)->queue);
}

static void remove_popped(unsigned i)
{
	held[popped[i].queue] -= popped[i].nr;
	memmove(&popped[i], &popped[i + 1], (--nr_popped - i) * sizeof(popped[0]));
	if (!nr_popped)
		nr_named = 0;
}

/* A device may put back what it popped last by bringing back the whole ring as it was. */
static void settle(const struct virtq *q)
{
	unsigned k = queue_of(q);

	for (unsigned i = nr_popped; i-- && held[k] > q->in_flight && !foreign;)
		if (popped[i].queue == k)
			remove_popped(i);
}

static void note(const struct virtq *q, const struct virtq_chain *c, unsigned nr)
{
	struct popped *p = &popped[nr_popped];
	u64 sum = 0;

	for (unsigned i = 0; i < c->nr_out + c->nr_in; i++) {
		require(c->range[i].len && gmem_is_ram(NULL, c->range[i].gpa, c->range[i].len));
		sum += c->range[i].len;
	}
	spend(16ull * (c->nr_out + c->nr_in));
	require(sum && sum == c->out_len + c->in_len && sum <= UINT32_MAX && c->nr_ring <= q->size);
	if (nr_popped == ARRAY_SIZE(popped) || nr_named + c->nr_in > ARRAY_SIZE(named)) {
		foreign = true;
		return;
	}
	*p = (struct popped){.queue = (u16)queue_of(q), .id = c->id, .start = c->start, .nr = (u16)nr, .in_len = (u32)c->in_len,
			     .first = nr_named, .ranges = c->nr_in};
	memcpy(&named[nr_named], c->range + c->nr_out, c->nr_in * sizeof(named[0]));
	nr_named += c->nr_in;
	held[p->queue] += nr;
	nr_popped++;
}

/* The chain that the device looks for next is there, for the ring is never empty. */
static void add_one(const struct virtq *q)
{
	u16 next = (u16)(q->next_avail + 1), flags = (u16)(q->avail_wrap ? DESC_AVAIL : DESC_USED);
	bool was = foreign;

	foreign = true; /* the driver's own writes are not the device's */
	if (!q->packed)
		gmem_write(NULL, q->driver + 2, &next, 2);
	else
		gmem_write(NULL, q->desc + 16ull * q->next_avail + 14, &flags, 2);
	foreign = was;
}

void virtq_reset(struct virtq *q, u16 size)
{
	for (unsigned i = nr_popped; i--;)
		if (popped[i].queue == queue_of(q))
			remove_popped(i);
	held[queue_of(q)] = 0;
	real_virtq_reset(q, size);
}

int virtq_pop(struct vm *v, struct virtq *q, struct virtq_chain *c, const char **why)
{
	u64 before;
	int r;

	settle(q);
	if (adding & ADD_AT_POP)
		add_one(q);
	*why = NULL;
	before = work;
	r = real_virtq_pop(v, q, c, why);
	work = before; /* a table that is held is not all looked at */
	spend(64);
	require(r >= 0 || *why);
	if (r == 1)
		note(q, c, q->packed ? c->nr_ring : 1);
	return r;
}

void virtq_unpop(struct virtq *q, const struct virtq_chain *c)
{
	real_virtq_unpop(q, c);
	settle(q);
}

int virtq_reread(struct vm *v, const struct virtq *q, struct virtq_chain *c, const char **why)
{
	u64 before = work;
	int r = real_virtq_reread(v, q, c, why);

	work = before;
	spend(64);
	if (!r)
		note(q, c, 0);
	return r;
}

bool virtq_set_kicks(struct vm *v, struct virtq *q, bool on)
{
	if (on && adding & ADD_AT_KICKS)
		add_one(q);
	return real_virtq_set_kicks(v, q, on);
}

/* The driver has a chain back, and all that was said of it. One that it made available twice it does not have yet. */
static void back(unsigned i)
{
	unsigned queue = popped[i].queue, id = popped[i].id;

	held[queue] -= popped[i].nr;
	popped[i].nr = 0;
	for (i = 0; i < nr_popped; i++)
		if (popped[i].queue == queue && popped[i].id == id && popped[i].nr)
			return;
	while (i--)
		if (popped[i].queue == queue && popped[i].id == id)
			remove_popped(i);
}

/* What the device pushes; of two with the same number, the one that it fits best, for either may be meant. */
static unsigned find_popped(unsigned queue, u16 id, u16 nr, u32 written)
{
	unsigned best = nr_popped;

	for (unsigned i = 0; i < nr_popped; i++) {
		const struct popped *p = &popped[i];

		if (p->queue == queue && p->id == id && p->nr == nr && p->in_len >= written &&
		    (best == nr_popped || p->in_len < popped[best].in_len))
			best = i;
	}
	require(best < nr_popped);
	return best;
}

int virtq_push(struct vm *v, struct virtq *q, const struct virtq_chain *c, u32 written)
{
	u64 before = work;
	int r;

	settle(q);
	if (!foreign)
		back(find_popped(queue_of(q), c->id, q->packed ? c->nr_ring : 1, written));
	r = real_virtq_push(v, q, c, written);
	work = before;
	spend(64);
	return r;
}

static bool within(gpa_t gpa, u64 n, gpa_t area, u64 size)
{
	return gpa >= area && gpa - area <= size && n <= size - (gpa - area);
}

static bool may_write(gpa_t gpa, u64 n)
{
	for (unsigned i = 0; i < virtio_nr_queues(&dev); i++) {
		const struct virtq *q = &virtio_of(&dev)->queue[i];
		u64 size = q->packed ? 4 : 4 + 8ull * q->size + (q->event_idx ? 2 : 0);

		if (q->enabled && (within(gpa, n, q->device, size) || (q->packed && within(gpa, n, q->desc, 16ull * q->size))))
			return true;
	}
	for (unsigned i = 0; i < nr_popped; i++)
		for (unsigned k = 0; k < popped[i].ranges; k++)
			if (within(gpa, n, named[popped[i].first + k].gpa, named[popped[i].first + k].len))
				return true;
	return false;
}

/* ---- the same for a view; the file of a device that uses one is included behind this ---- */

static inline int virtq_look(const struct virtq_view *w, bool write, struct virtq_one *o)
{
	u64 before = work;
	bool was = foreign;
	int r;

	if (w->q)
		settle(w->q);
	if (w->q && adding & ADD_AT_POP)
		add_one(w->q);
	foreign = true; /* it may write there from now on */
	r = real_virtq_look(w, write, o);
	foreign = was;
	work = before;
	spend(64);
	if (r == 1) {
		gpa_t at = (gpa_t)(o->at - fake_ram);

		require(o->len && gmem_is_ram(NULL, at, o->len));
		require(at / PAGE_SIZE == (at + o->len - 1) / PAGE_SIZE);
		require((w->q->packed || o->id < w->q->size) && w->q->live);
	}
	return r;
}

static inline void virtq_done(const struct virtq_view *w, const struct virtq_one *o, u32 written)
{
	require(written <= o->len && (foreign || !held[queue_of(w->q)]));
	spend(o->len);
	real_virtq_done(w, o, written);
}
