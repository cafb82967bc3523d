/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue of which most chains are one buffer inside a page, as a network card's are: for the
 * length of a turn its parts are at hand, and such a chain takes no more than its few loads and
 * stores. Whatever is not as usual - a longer chain, memory that may be missing or that must not be
 * written unasked, an error - is left to virtq_pop(), which may be used in between as well.
 */
#pragma once
#include "drivers/virtio/abi.h"
#include "drivers/virtio/virtq.h"
#include "lib/types.h"
#include "vmm/gmem.h"

/* What of a queue's memory is kept at hand (gmem_hold()). */
enum { HOLD_DESC, HOLD_DRIVER, HOLD_DEVICE, HOLD_TABLE, HOLD_BUFFER };

/* 2.8.13 */
struct packed_desc {
	u64 addr;
	u32 len;
	u16 id, flags;
};
static_assert(sizeof(struct packed_desc) == 16, "2.8.13");
enum { DESC_AVAIL = BIT(7), DESC_USED = BIT(15) }; /* 2.8.1 */

struct virtq_view {
	struct vm *vm;
	struct virtq *q; /* NULL: it cannot be seen so */
	struct virtq_desc *desc; /* packed: struct packed_desc */
	const u16 *driver;	 /* these two: split */
	u8 *device;
};

/* The next chain. */
struct virtq_one {
	u8 *at; /* good until the next one is looked at */
	u32 len;
	u16 id;
};

/* Do n bytes from here on lie inside a page? */
static inline bool virtq_in_page(gpa_t gpa, u64 n)
{
	return (gpa & (PAGE_SIZE - 1)) + n <= PAGE_SIZE;
}

/* Once: what the driver changes behind our back is not seen twice. */
static inline void virtq_copy_desc(struct virtq_desc *d, const struct virtq_desc *from)
{
	const volatile u64 *p = (const void *)from;
	u64 quad[2] = {p[0], p[1]};

	__builtin_memcpy(d, quad, sizeof(*d));
}

/* Of a live queue. Good as gmem_hold() is, and until another queue is worked on. */
static inline void virtq_see(struct vm *vm, struct virtq *q, struct virtq_view *w)
{
	u64 n = q->size;

	*w = (struct virtq_view){.vm = vm};
	if (unlikely(!gmem_usual(vm) || !virtq_in_page(q->desc, 16 * n)))
		return;
	if (q->packed) {
		w->desc = gmem_hold_write(vm, HOLD_DESC, q->desc, 16 * n);
		if (likely(w->desc))
			w->q = q;
		return;
	}
	/* With the words of EVENT_IDX behind them: virtq.c must not move a hold while we look. */
	if (unlikely(!virtq_in_page(q->driver, 6 + 2 * n) ||
		     !virtq_in_page(q->device, 6 + 8 * n)))
		return;
	w->desc = gmem_hold(vm, HOLD_DESC, q->desc, 16 * n);
	w->driver = gmem_hold(vm, HOLD_DRIVER, q->driver, 4 + 2 * n);
	w->device = gmem_hold_write(vm, HOLD_DEVICE, q->device, 4 + 8 * n);
	if (likely(w->desc && w->driver && w->device))
		w->q = q;
}

/* len, id and flags of a packed descriptor are one quadword: what it says is of one moment, and the
 * address is of an earlier store of the driver's. */
static inline int virtq_next_packed(const struct virtq_view *w, struct virtq_desc *d, u16 *id)
{
	const struct virtq *q = w->q;
	const volatile u64 *p = (const void *)&w->desc[q->next_avail];
	u64 rest = p[1];
	u16 flags = (u16)(rest >> 48);

	if (!(flags & DESC_AVAIL) != !q->avail_wrap || !(flags & DESC_USED) == !q->avail_wrap)
		return 0;
	if (unlikely(q->in_flight)) /* they end in their order */
		return -1;
	barrier();
	d->addr = p[0];
	d->len = (u32)rest;
	d->flags = flags;
	*id = (u16)(rest >> 32);
	return 1;
}

static inline int virtq_next_split(const struct virtq_view *w, struct virtq_desc *d, u16 *id)
{
	struct virtq *q = w->q;

	if (q->seen == q->next_avail) {
		q->seen = READ_ONCE(w->driver[1]);
		barrier();
		if (q->seen == q->next_avail)
			return 0;
	}
	if (unlikely((u16)(q->seen - q->next_avail) > q->size || q->in_flight == q->size))
		return -1;
	*id = READ_ONCE(w->driver[2 + (q->next_avail & (q->size - 1))]);
	if (unlikely(*id >= q->size))
		return -1;
	virtq_copy_desc(d, &w->desc[*id]);
	return 1;
}

/* The next chain, which stays in the ring: 1; 0: there is none; -1: virtq_pop() has to look. */
static inline __attribute__((always_inline)) int virtq_look(const struct virtq_view *w, bool write,
							    struct virtq_one *o)
{
	const struct virtq *q = w->q;
	struct virtq_desc d;
	int r;

	if (unlikely(!q || !q->live || !q->quiet))
		return -1;
	r = q->packed ? virtq_next_packed(w, &d, &o->id) : virtq_next_split(w, &d, &o->id);
	if (r <= 0)
		return r;
	d.flags &= DESC_NEXT | DESC_INDIRECT | DESC_WRITE;
	if (unlikely(d.flags != (write ? DESC_WRITE : 0) || !d.len))
		return -1;
	o->len = d.len;
	o->at = write ? gmem_hold_write(w->vm, HOLD_BUFFER, d.addr, d.len) :
			gmem_hold(w->vm, HOLD_BUFFER, d.addr, d.len);
	return likely(o->at) ? 1 : -1;
}

/* 2.8.6, as virtq_push() does it; nothing is in flight, so both indices are one. */
static inline void virtq_done_packed(const struct virtq_view *w, const struct virtq_one *o,
				     u32 written)
{
	struct virtq *q = w->q;
	u64 flags = (q->used_wrap ? DESC_AVAIL | DESC_USED : 0) | (written ? DESC_WRITE : 0);
	volatile u64 *p = (volatile void *)&w->desc[q->next_used];

	barrier();
	p[1] = written | (u64)o->id << 32 | flags << 48;
	if (++q->next_avail == q->size) {
		q->next_avail = 0;
		q->avail_wrap ^= 1;
	}
	if (++q->next_used == q->size) {
		q->next_used = 0;
		q->used_wrap ^= 1;
		q->signalled = (u16)(q->signalled - q->size);
	}
}

/* Take the one that was looked at, and give it back. */
static inline void virtq_done(const struct virtq_view *w, const struct virtq_one *o, u32 written)
{
	struct virtq *q = w->q;
	struct virtq_used_elem *used;

	if (q->packed) {
		virtq_done_packed(w, o, written);
		return;
	}
	used = (void *)(w->device + 4);
	q->next_avail++;
	used[q->next_used & (q->size - 1)] = (struct virtq_used_elem){.id = o->id, .len = written};
	barrier(); /* x86 keeps the order of stores; the compiler must, too */
	WRITE_ONCE(*(u16 *)(w->device + 2), ++q->next_used);
}
