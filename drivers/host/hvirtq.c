/* SPDX-License-Identifier: BSD-2-Clause */
/* Split rings from the driver's side (virtio 1.2, 2.7). */
#include "drivers/host/hvirtio.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/string.h"

/* In units of 16 bits. */
#define AVAIL_IDX   1u
#define AVAIL_RING  2u

static u16 *used_word(const struct hvq *q, size_t off)
{
	return (u16 *)(q->used + off);
}

#define USED_IDX(q)    READ_ONCE(*used_word(q, 2))
#define AVAIL_EVENT(q) READ_ONCE(*used_word(q, 4 + sizeof(struct virtq_used_elem) * (q)->size))
#define USED_EVENT(q)  ((q)->avail[AVAIL_RING + (q)->size])

static size_t avail_off(u16 size)
{
	return sizeof(struct virtq_desc) * size;
}

static size_t used_off(u16 size)
{
	return ALIGN_UP(avail_off(size) + 2ul * (AVAIL_RING + size + 1u), 64ul);
}

size_t hvq_bytes(u16 size)
{
	return used_off(size) + 4 + sizeof(struct virtq_used_elem) * size + 2;
}

hpa_t hvq_avail_at(const struct hvq *q)
{
	return frame_pa(q->avail);
}

hpa_t hvq_used_at(const struct hvq *q)
{
	return frame_pa(q->used);
}

void hvq_init(struct hvq *q, u16 size, void *memory, bool event_idx)
{
	memset(memory, 0, hvq_bytes(size));
	q->desc = memory;
	q->avail = (u16 *)((u8 *)memory + avail_off(size));
	q->used = (u8 *)memory + used_off(size);
	q->size = q->nr_free = size;
	q->free = q->avail_idx = q->used_idx = q->kicked_idx = 0;
	q->event_idx = event_idx;
	q->dead = false;
	for (u16 i = 0; i < size; i++) {
		q->next[i] = i + 1;
		q->token[i] = HVQ_NOBODY;
	}
}

/* n descriptors from the free ones, beginning with `head`, up to before `end`. */
static void enqueue(struct hvq *q, u16 head, u32 n, u16 end, u16 token)
{
	q->free = end;
	q->nr_free -= n;
	q->chain[head] = n;
	q->token[head] = token;
	q->avail[AVAIL_RING + q->avail_idx % q->size] = head;
	q->avail_idx++;
}

int hvq_add(struct hvq *q, const struct hvq_seg *segs, u32 n, u32 nr_out, u16 token)
{
	u16 head = q->free, at = head;

	if (q->dead)
		return -EIO;
	if (n > q->nr_free || !n)
		return -ENOSPC;
	for (u32 i = 0; i < n; i++) {
		struct virtq_desc *d = &q->desc[at];

		d->addr = segs[i].addr;
		d->len = segs[i].len;
		d->flags = (i + 1 < n ? DESC_NEXT : 0) | (i >= nr_out ? DESC_WRITE : 0);
		d->next = at = q->next[at];
	}
	enqueue(q, head, n, at, token);
	return 0;
}

void hvq_fill(struct virtq_desc *table, const struct hvq_seg *segs, u32 n, u32 nr_out)
{
	for (u32 i = 0; i < n; i++)
		table[i] = (struct virtq_desc){.addr = segs[i].addr, .len = segs[i].len, .next = i + 1 < n ? i + 1 : 0,
					     .flags = (i + 1 < n ? DESC_NEXT : 0) | (i >= nr_out ? DESC_WRITE : 0)};
}

int hvq_add_table(struct hvq *q, hpa_t table, u32 n, u16 token)
{
	u16 head = q->free;
	struct virtq_desc *d = &q->desc[head];

	if (q->dead)
		return -EIO;
	if (!q->nr_free)
		return -ENOSPC;
	d->addr = table;
	d->len = n * (u32)sizeof(*d);
	d->flags = DESC_INDIRECT;
	enqueue(q, head, 1, q->next[head], token);
	return 0;
}

bool hvq_publish(struct hvq *q)
{
	u16 old = q->kicked_idx, now = q->avail_idx;

	if (now == old)
		return false;
	__atomic_store_n(&q->avail[AVAIL_IDX], now, __ATOMIC_RELEASE);
	/* Our index is to be seen before we look whether the device sleeps (2.7.13.4.1). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	q->kicked_idx = now;
	if (q->event_idx)
		return (u16)(now - AVAIL_EVENT(q) - 1) < (u16)(now - old);
	return !(READ_ONCE(*used_word(q, 0)) & VIRTQ_NO_EVENT);
}

static void release(struct hvq *q, u16 head)
{
	u16 last = head;

	for (u16 n = 1; n < q->chain[head]; n++)
		last = q->next[last];
	q->next[last] = q->free;
	q->free = head;
	q->nr_free += q->chain[head];
}

bool hvq_get(struct hvq *q, u16 *token, u32 *len)
{
	struct virtq_used_elem *e;
	u16 idx = USED_IDX(q);
	u32 id;

	if (q->dead || idx == q->used_idx)
		return false;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	e = (struct virtq_used_elem *)(q->used + 4) + q->used_idx % q->size;
	id = READ_ONCE(e->id);
	/* More finished than there can be, or something that is not under way. */
	if ((u16)(idx - q->used_idx) > q->size || id >= q->size || q->token[id] == HVQ_NOBODY) {
		q->dead = true;
		return false;
	}
	*token = q->token[id];
	*len = READ_ONCE(e->len);
	q->token[id] = HVQ_NOBODY;
	release(q, (u16)id);
	q->used_idx++;
	return true;
}

bool hvq_more(struct hvq *q)
{
	if (q->event_idx)
		WRITE_ONCE(USED_EVENT(q), q->used_idx);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !q->dead && USED_IDX(q) != q->used_idx;
}
