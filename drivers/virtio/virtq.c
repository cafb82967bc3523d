/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/virtq.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/gmem.h"

/* Split: 2.7.5. Packed: 2.8.13. */
struct desc {
	u64 addr;
	u32 len;
	u16 flags, next;
};
struct packed_desc {
	u64 addr;
	u32 len;
	u16 id, flags;
};
struct used_elem {
	u32 id, len;
};
static_assert(sizeof(struct desc) == 16 && sizeof(struct packed_desc) == 16, "2.7.5, 2.8.13");
static_assert(sizeof(struct used_elem) == 8, "2.7.8");

enum { DESC_NEXT = BIT(0), DESC_WRITE = BIT(1), DESC_INDIRECT = BIT(2), DESC_AVAIL = BIT(7), DESC_USED = BIT(15) };
enum { SPLIT_NO_EVENT = 1 };			    /* avail.flags, used.flags */
enum { EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC };   /* 2.8.14 */
#define EVENT_WRAP BIT(15)

/* Where what lies in the areas of a split ring. */
static gpa_t avail_idx(const struct virtq *q)
{
	return q->driver + 2;
}
static gpa_t avail_ring(const struct virtq *q, u16 i)
{
	return q->driver + 4 + 2ull * (i & (q->size - 1));
}
static gpa_t used_event(const struct virtq *q)
{
	return q->driver + 4 + 2ull * q->size;
}
static gpa_t used_idx(const struct virtq *q)
{
	return q->device + 2;
}
static gpa_t used_ring(const struct virtq *q, u16 i)
{
	return q->device + 4 + 8ull * (i & (q->size - 1));
}
static gpa_t avail_event(const struct virtq *q)
{
	return q->device + 4 + 8ull * q->size;
}

/* Words that the driver's CPUs read and write meanwhile go in one access; none crosses a page, being aligned. */
static int load16(struct vm *vm, gpa_t gpa, u16 *val)
{
	u16 *p = gmem_map(vm, gpa, 2, false);

	if (!p)
		return -EFAULT;
	*val = READ_ONCE(*p);
	gmem_unmap(vm, p);
	barrier();
	return 0;
}

static int store16(struct vm *vm, gpa_t gpa, u16 val)
{
	u16 *p = gmem_map(vm, gpa, 2, true);

	if (!p)
		return -EFAULT;
	barrier(); /* x86 keeps the order of stores; the compiler must, too */
	WRITE_ONCE(*p, val);
	gmem_unmap(vm, p);
	return 0;
}

/* A store of ours before a load of what the driver stored (2.7.13.3.1): the one order that x86 does not keep. */
static void store_then_load(void)
{
	__asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");
}

void virtq_reset(struct virtq *q, u16 size)
{
	*q = (struct virtq){.size = size, .avail_wrap = 1, .used_wrap = 1};
}

static bool area_ok(struct vm *vm, gpa_t gpa, u64 n, u64 align)
{
	return IS_ALIGNED(gpa, align) && gmem_is_ram(vm, gpa, n);
}

const char *virtq_enable(struct vm *vm, struct virtq *q)
{
	u64 n = q->size, event = q->event_idx ? 2 : 0;

	if (!n || n > VIRTQ_MAX_SIZE || (!q->packed && (n & (n - 1))))
		return "the queue's size is none that it may have";
	if (!area_ok(vm, q->desc, 16 * n, 16))
		return "the descriptor area is not in RAM, or not aligned to 16";
	if (!area_ok(vm, q->driver, q->packed ? 4 : 4 + 2 * n + event, q->packed ? 4 : 2))
		return "the driver area is not in RAM, or not aligned";
	if (!area_ok(vm, q->device, q->packed ? 4 : 4 + 8 * n + event, 4))
		return "the device area is not in RAM, or not aligned to 4";
	q->enabled = 1;
	return NULL;
}

bool virtq_valid(const struct virtq *q)
{
	if (q->enabled > 1 || q->packed > 1 || q->event_idx > 1 || q->indirect > 1 || q->avail_wrap > 1 ||
	    q->used_wrap > 1 || q->told > 1 || q->resetting || !q->size || q->size > VIRTQ_MAX_SIZE || q->in_flight > q->size)
		return false;
	if (!q->packed)
		return !(q->size & (q->size - 1));
	return q->next_avail < q->size && q->next_used < q->size;
}

/* ---- taking a chain ---- */

static int bad(const char **why, const char *what)
{
	*why = what;
	return -EINVAL;
}

static int add_range(struct vm *vm, struct virtq_chain *c, gpa_t gpa, u32 len, bool in, const char **why)
{
	unsigned n = c->nr_out + c->nr_in;

	if (n == VIRTQ_MAX_SIZE)
		return bad(why, "a chain is longer than the queue");
	if (!len)
		return bad(why, "a buffer has no bytes");
	if (!in && c->nr_in)
		return bad(why, "a buffer to be read stands behind one to be written");
	if (!gmem_is_ram(vm, gpa, len))
		return bad(why, "a buffer is not in RAM");
	c->range[n] = (struct block_range){.gpa = gpa, .len = len};
	if (in) {
		c->nr_in++;
		c->in_len += len;
	} else {
		c->nr_out++;
		c->out_len += len;
	}
	return c->in_len + c->out_len > UINT32_MAX ? bad(why, "a chain has 4 GiB and more") : 0;
}

/* How many descriptors a table of this length holds; 0: it is no table. (2.7.5.3.1: no more than the queue has.) */
static u32 table_entries(const struct virtq *q, u32 len)
{
	return len % 16 || len / 16 > q->size ? 0 : len / 16;
}

static int walk_split(struct vm *vm, const struct virtq *q, struct virtq_chain *c, u32 i, const char **why)
{
	gpa_t table = q->desc;
	u32 entries = q->size, left = entries;
	bool indirect = false;

	for (;;) {
		struct desc d;
		int err;

		if (!left--)
			return bad(why, "a chain is longer than its table: it is a loop");
		if (gmem_read(vm, table + 16ull * i, &d, sizeof(d)))
			return bad(why, "a table of descriptors is not in RAM");
		if (d.flags & DESC_INDIRECT) {
			if (indirect || !q->indirect || d.flags & DESC_NEXT)
				return bad(why, "an indirect descriptor stands where none may");
			indirect = true;
			entries = left = table_entries(q, d.len);
			if (!entries)
				return bad(why, "an indirect table has no length that one may have");
			table = d.addr;
			i = 0;
			continue;
		}
		err = add_range(vm, c, d.addr, d.len, d.flags & DESC_WRITE, why);
		if (err || !(d.flags & DESC_NEXT))
			return err;
		i = d.next;
		if (i >= entries)
			return bad(why, "a descriptor's next one is beyond the table");
	}
}

static int pop_split(struct vm *vm, struct virtq *q, struct virtq_chain *c, const char **why)
{
	u16 idx, head, waiting;
	int err;

	if (load16(vm, avail_idx(q), &idx))
		return bad(why, "the available ring is not in RAM");
	waiting = (u16)(idx - q->next_avail);
	if (!waiting)
		return 0;
	if (waiting > q->size || q->in_flight == q->size)
		return bad(why, "more chains are available than the queue has descriptors");
	if (load16(vm, avail_ring(q, q->next_avail), &head))
		return bad(why, "the available ring is not in RAM");
	if (head >= q->size)
		return bad(why, "an available chain's head is beyond the queue");
	c->id = head;
	err = walk_split(vm, q, c, head, why);
	if (err)
		return err;
	q->next_avail++;
	return 1;
}

/* 2.8.7: the whole table belongs to the chain; only WRITE counts in it. */
static int walk_packed_table(struct vm *vm, const struct virtq *q, struct virtq_chain *c, const struct packed_desc *t,
			     const char **why)
{
	u32 entries = table_entries(q, t->len);
	int err = 0;

	if (!q->indirect || t->flags & DESC_NEXT || c->nr_ring > 1)
		return bad(why, "an indirect descriptor stands where none may");
	if (!entries)
		return bad(why, "an indirect table has no length that one may have");
	for (u32 i = 0; i < entries && !err; i++) {
		struct packed_desc d;

		if (gmem_read(vm, t->addr + 16ull * i, &d, sizeof(d)))
			return bad(why, "a table of descriptors is not in RAM");
		if (d.flags & DESC_INDIRECT)
			return bad(why, "an indirect descriptor stands where none may");
		err = add_range(vm, c, d.addr, d.len, d.flags & DESC_WRITE, why);
	}
	return err;
}

/* From c->start on, at most `limit` of the ring's descriptors. */
static int walk_packed(struct vm *vm, const struct virtq *q, struct virtq_chain *c, u16 limit, const char **why)
{
	u16 i = c->start;
	struct packed_desc d;
	int err;

	c->nr_ring = 0;
	do {
		if (c->nr_ring == limit)
			return bad(why, "a chain runs into descriptors that are in use");
		if (gmem_read(vm, q->desc + 16ull * i, &d, sizeof(d)))
			return bad(why, "the descriptor ring is not in RAM");
		c->nr_ring++;
		if (++i == q->size)
			i = 0;
		err = d.flags & DESC_INDIRECT ? walk_packed_table(vm, q, c, &d, why)
					      : add_range(vm, c, d.addr, d.len, d.flags & DESC_WRITE, why);
		if (err)
			return err;
	} while (d.flags & DESC_NEXT);
	c->id = d.id; /* of the last (2.8.6) */
	return 0;
}

/* Descriptors follow one another round the ring; the flags of the first were stored last (2.8.21). */
static int pop_packed(struct vm *vm, struct virtq *q, struct virtq_chain *c, const char **why)
{
	u8 wrap = q->avail_wrap;
	u16 flags;
	int err;

	if (load16(vm, q->desc + 16ull * q->next_avail + offsetof(struct packed_desc, flags), &flags))
		return bad(why, "the descriptor ring is not in RAM");
	if (!(flags & DESC_AVAIL) != !wrap || !(flags & DESC_USED) == !wrap)
		return 0;
	c->start = q->next_avail;
	err = walk_packed(vm, q, c, q->size - q->in_flight, why);
	if (err)
		return err;
	q->next_avail = (u16)(q->next_avail + c->nr_ring);
	if (q->next_avail >= q->size) {
		q->next_avail = (u16)(q->next_avail - q->size);
		q->avail_wrap ^= 1;
	}
	return 1;
}

static void empty(struct virtq_chain *c)
{
	c->nr_out = c->nr_in = 0;
	c->out_len = c->in_len = 0;
}

int virtq_pop(struct vm *vm, struct virtq *q, struct virtq_chain *c, const char **why)
{
	int r;

	empty(c);
	r = q->packed ? pop_packed(vm, q, c, why) : pop_split(vm, q, c, why);
	if (r == 1)
		q->in_flight += q->packed ? c->nr_ring : 1;
	return r;
}

int virtq_reread(struct vm *vm, const struct virtq *q, struct virtq_chain *c, const char **why)
{
	u16 nr = c->nr_ring, id = c->id;
	int err;

	empty(c);
	if (!q->packed)
		return walk_split(vm, q, c, id, why);
	err = walk_packed(vm, q, c, nr, why);
	if (!err && (c->nr_ring != nr || c->id != id))
		return bad(why, "a chain changed while the device had it");
	return err;
}

/* ---- giving it back ---- */

static int push_split(struct vm *vm, struct virtq *q, const struct virtq_chain *c, u32 written)
{
	struct used_elem e = {.id = c->id, .len = written};

	if (gmem_write(vm, used_ring(q, q->next_used), &e, sizeof(e)) ||
	    store16(vm, used_idx(q), (u16)(q->next_used + 1)))
		return -EFAULT;
	q->next_used++;
	q->in_flight--;
	return 0;
}

static int push_packed(struct vm *vm, struct virtq *q, const struct virtq_chain *c, u32 written)
{
	gpa_t at = q->desc + 16ull * q->next_used;
	struct used {
		u32 len;
		u16 id;
	} __packed u = {written, c->id};
	u16 flags = (u16)((q->used_wrap ? DESC_AVAIL | DESC_USED : 0) | (written ? DESC_WRITE : 0));

	if (gmem_write(vm, at + offsetof(struct packed_desc, len), &u, sizeof(u)) ||
	    store16(vm, at + offsetof(struct packed_desc, flags), flags))
		return -EFAULT;
	q->next_used = (u16)(q->next_used + c->nr_ring);
	if (q->next_used >= q->size) {
		q->next_used = (u16)(q->next_used - q->size);
		q->used_wrap ^= 1;
		q->signalled = (u16)(q->signalled - q->size);
	}
	q->in_flight = (u16)(q->in_flight - c->nr_ring);
	return 0;
}

int virtq_push(struct vm *vm, struct virtq *q, const struct virtq_chain *c, u32 written)
{
	return q->packed ? push_packed(vm, q, c, written) : push_split(vm, q, c, written);
}

/* ---- telling one another ---- */

/* 2.7.7.2: has the index gone past `event` since it was `before`? */
static bool passed(u16 event, u16 now, u16 before)
{
	return (u16)(now - event - 1) < (u16)(now - before);
}

static bool wants_irq_split(struct vm *vm, const struct virtq *q, u16 before, bool told)
{
	u16 flags, event;

	if (!q->event_idx)
		return load16(vm, q->driver, &flags) || !(flags & SPLIT_NO_EVENT);
	return load16(vm, used_event(q), &event) || !told || passed(event, q->next_used, before);
}

static bool wants_irq_packed(struct vm *vm, const struct virtq *q, u16 before, bool told)
{
	u16 off, flags, event;

	if (load16(vm, q->driver + 2, &flags) || load16(vm, q->driver, &off))
		return true;
	if (!q->event_idx || (flags & 3) != EVENT_DESC)
		return (flags & 3) != EVENT_DISABLE;
	event = off & (u16)~EVENT_WRAP;
	if (!(off & EVENT_WRAP) != !q->used_wrap)
		event = (u16)(event - q->size); /* of the round before */
	return !told || passed(event, q->next_used, before);
}

bool virtq_wants_irq(struct vm *vm, struct virtq *q)
{
	u16 before = q->signalled;
	bool told = q->told;

	store_then_load();
	q->signalled = q->next_used;
	q->told = 1;
	return q->packed ? wants_irq_packed(vm, q, before, told) : wants_irq_split(vm, q, before, told);
}

static bool more(struct vm *vm, const struct virtq *q)
{
	u16 now;

	if (!q->packed)
		return !load16(vm, avail_idx(q), &now) && now != q->next_avail;
	return !load16(vm, q->desc + 16ull * q->next_avail + offsetof(struct packed_desc, flags), &now) &&
	       !(now & DESC_AVAIL) == !q->avail_wrap && !(now & DESC_USED) != !q->avail_wrap;
}

bool virtq_set_kicks(struct vm *vm, struct virtq *q, bool on)
{
	int err;

	if (q->packed) {
		err = on && q->event_idx ?
			      store16(vm, q->device, (u16)(q->next_avail | (q->avail_wrap ? EVENT_WRAP : 0))) : 0;
		err = err ?: store16(vm, q->device + 2, !on ? EVENT_DISABLE : q->event_idx ? EVENT_DESC : EVENT_ENABLE);
	} else if (q->event_idx) {
		err = on ? store16(vm, avail_event(q), q->next_avail) : 0; /* off: the event lies behind */
	} else {
		err = store16(vm, q->device, on ? 0 : SPLIT_NO_EVENT);
	}
	if (!on || err)
		return false;
	store_then_load();
	return more(vm, q);
}

/* ---- the bytes ---- */

static u64 copy(struct vm *vm, const struct block_range *r, unsigned nr, u64 off, void *buf, u64 n, bool write)
{
	u64 done = 0;

	for (; nr && done < n; nr--, r++) {
		u64 part;

		if (off >= r->len) {
			off -= r->len;
			continue;
		}
		part = MIN(r->len - off, n - done);
		if (write ? gmem_write(vm, r->gpa + off, (u8 *)buf + done, part)
			  : gmem_read(vm, r->gpa + off, (u8 *)buf + done, part))
			break;
		done += part;
		off = 0;
	}
	return done;
}

u64 virtq_read(struct vm *vm, const struct virtq_chain *c, u64 off, void *buf, u64 n)
{
	return copy(vm, c->range, c->nr_out, off, buf, n, false);
}

u64 virtq_write(struct vm *vm, const struct virtq_chain *c, u64 off, const void *buf, u64 n)
{
	return copy(vm, c->range + c->nr_out, c->nr_in, off, (void *)buf, n, true);
}
