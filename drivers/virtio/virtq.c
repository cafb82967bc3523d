/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/virtq_view.h"
#include "lib/errno.h"
#include "lib/string.h"

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
static inline int load16(struct vm *vm, unsigned hold, gpa_t gpa, u16 *val)
{
	u16 *p = gmem_hold(vm, hold, gpa, 2);

	if (!p)
		return -EFAULT;
	*val = READ_ONCE(*p);
	barrier();
	return 0;
}

static inline int store16(struct vm *vm, unsigned hold, gpa_t gpa, u16 val)
{
	u16 *p = gmem_hold_write(vm, hold, gpa, 2);

	if (!p)
		return -EFAULT;
	barrier(); /* x86 keeps the order of stores; the compiler must, too */
	WRITE_ONCE(*p, val);
	return 0;
}

/* A descriptor, all of it at once. */
static inline int load_desc(struct vm *vm, unsigned hold, gpa_t gpa, struct virtq_desc *d)
{
	const struct virtq_desc *p;

	if (unlikely(!IS_ALIGNED(gpa, 8) || !virtq_in_page(gpa, sizeof(*d)))) /* an indirect table may lie anywhere */
		return gmem_read(vm, gpa, d, sizeof(*d));
	p = gmem_hold(vm, hold, gpa, sizeof(*d));
	if (!p)
		return -EFAULT;
	virtq_copy_desc(d, p);
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
	    q->used_wrap > 1 || q->told > 1 || q->resetting || q->live > q->enabled || q->quiet > 1 || q->waits > 1 ||
	    q->size > VIRTQ_MAX_SIZE)
		return false;
	if (!q->enabled) /* its size is looked at when it is; the rest is as virtq_reset() left it */
		return !q->packed && !q->next_avail && !q->next_used && !q->in_flight && !q->seen && !q->told;
	if (!q->size || q->in_flight > q->size || !IS_ALIGNED(q->desc, 16) || !IS_ALIGNED(q->driver, q->packed ? 4 : 2) ||
	    !IS_ALIGNED(q->device, 4))
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

/* A table of descriptors, if it is in one page, as the rings of most drivers are: else NULL, and each is looked for. */
static const void *whole_table(struct vm *vm, unsigned hold, gpa_t table, u32 entries)
{
	return IS_ALIGNED(table, 8) && virtq_in_page(table, 16ull * entries) ? gmem_hold(vm, hold, table, 16ull * entries) : NULL;
}

/* What a walk along a chain needs. */
struct walk {
	struct vm *vm;
	const struct virtq *q;
	struct virtq_chain *c;
	const char **why;
	gpa_t ram; /* most buffers lie here */
	u64 ram_size;
};

static inline bool is_ram(const struct walk *w, gpa_t gpa, u32 len)
{
	u64 in = gpa - w->ram;

	return likely(in < w->ram_size && len <= w->ram_size - in) || gmem_is_ram(w->vm, gpa, len);
}

/* A chain as far as it has been walked. */
struct sum {
	unsigned nr, nr_out;
	u64 len, out_len;
};

static inline __attribute__((always_inline)) int add_range(const struct walk *w, struct sum *s, gpa_t gpa, u32 len, bool in)
{
	const char **why = w->why;

	if (unlikely(s->nr == VIRTQ_MAX_SIZE))
		return bad(why, "a chain is longer than the queue");
	if (unlikely(!len))
		return bad(why, "a buffer has no bytes");
	if (unlikely(!is_ram(w, gpa, len)))
		return bad(why, "a buffer is not in RAM");
	w->c->range[s->nr].gpa = gpa;
	w->c->range[s->nr].len = len;
	s->len += len;
	s->nr++;
	if (in)
		return 0;
	s->nr_out++;
	s->out_len = s->len;
	return likely(s->nr_out == s->nr) ? 0 : bad(why, "a buffer to be read stands behind one to be written");
}

static int add_up(const struct walk *w, const struct sum *s)
{
	w->c->nr_out = (u16)s->nr_out;
	w->c->nr_in = (u16)(s->nr - s->nr_out);
	w->c->out_len = s->out_len;
	w->c->in_len = s->len - s->out_len;
	return likely(s->len <= UINT32_MAX) ? 0 : bad(w->why, "a chain has 4 GiB and more");
}

/* How many descriptors a table of this length holds; 0: it is no table. (2.7.5.3.1: no more than the queue has.) */
static u32 table_entries(const struct virtq *q, u32 len)
{
	return len % 16 || len / 16 > q->size ? 0 : len / 16;
}

static int walk_split(const struct walk *w, u32 i)
{
	const struct virtq *q = w->q;
	const char **why = w->why;
	u32 entries = q->size, left = entries;
	gpa_t table = q->desc;
	const struct virtq_desc *t = whole_table(w->vm, HOLD_DESC, table, entries);
	bool indirect = false;
	struct sum s = {0};

	for (;;) {
		struct virtq_desc d;
		int err;

		if (!left--)
			return bad(why, "a chain is longer than its table: it is a loop");
		if (likely(t))
			virtq_copy_desc(&d, &t[i]);
		else if (load_desc(w->vm, indirect ? HOLD_TABLE : HOLD_DESC, table + 16ull * i, &d))
			return bad(why, "a table of descriptors is not in RAM");
		if (unlikely(d.flags & DESC_INDIRECT)) {
			if (indirect || !q->indirect || d.flags & DESC_NEXT)
				return bad(why, "an indirect descriptor stands where none may");
			indirect = true;
			entries = left = table_entries(q, d.len);
			if (!entries)
				return bad(why, "an indirect table has no length that one may have");
			table = d.addr;
			t = whole_table(w->vm, HOLD_TABLE, table, entries);
			i = 0;
			continue;
		}
		err = add_range(w, &s, d.addr, d.len, d.flags & DESC_WRITE);
		if (unlikely(err))
			return err;
		if (!(d.flags & DESC_NEXT))
			return add_up(w, &s);
		i = d.next;
		if (i >= entries)
			return bad(why, "a descriptor's next one is beyond the table");
	}
}

static int pop_split(const struct walk *w, struct virtq *q)
{
	const char **why = w->why;
	struct vm *vm = w->vm;
	u16 head;
	int err;

	if (q->seen == q->next_avail) {
		if (load16(vm, HOLD_DRIVER, avail_idx(q), &q->seen))
			return bad(why, "the available ring is not in RAM");
		if (q->seen == q->next_avail)
			return 0;
	}
	if ((u16)(q->seen - q->next_avail) > q->size || q->in_flight == q->size)
		return bad(why, "more chains are available than the queue has descriptors");
	if (load16(vm, HOLD_DRIVER, avail_ring(q, q->next_avail), &head))
		return bad(why, "the available ring is not in RAM");
	if (head >= q->size)
		return bad(why, "an available chain's head is beyond the queue");
	w->c->id = head;
	err = walk_split(w, head);
	if (err)
		return err;
	q->next_avail++;
	return 1;
}

static inline int load_packed(struct vm *vm, unsigned hold, const struct virtq_desc *t, gpa_t table, u32 i, struct packed_desc *d)
{
	struct virtq_desc raw;
	int err = 0;

	if (likely(t))
		virtq_copy_desc(&raw, &t[i]);
	else
		err = load_desc(vm, hold, table + 16ull * i, &raw);
	*d = (struct packed_desc){.addr = raw.addr, .len = raw.len, .id = raw.flags, .flags = raw.next};
	return err;
}

/* 2.8.7: the whole table belongs to the chain; only WRITE counts in it. */
static int walk_packed_table(const struct walk *w, struct sum *s, const struct packed_desc *t)
{
	const struct virtq *q = w->q;
	const char **why = w->why;
	u32 entries = table_entries(q, t->len);
	const struct virtq_desc *table;
	int err = 0;

	if (!q->indirect || t->flags & DESC_NEXT || w->c->nr_ring > 1)
		return bad(why, "an indirect descriptor stands where none may");
	if (!entries)
		return bad(why, "an indirect table has no length that one may have");
	table = whole_table(w->vm, HOLD_TABLE, t->addr, entries);
	for (u32 i = 0; i < entries && !err; i++) {
		struct packed_desc d;

		if (load_packed(w->vm, HOLD_TABLE, table, t->addr, i, &d))
			return bad(why, "a table of descriptors is not in RAM");
		if (d.flags & DESC_INDIRECT)
			return bad(why, "an indirect descriptor stands where none may");
		err = add_range(w, s, d.addr, d.len, d.flags & DESC_WRITE);
	}
	return err;
}

/* From c->start on, at most `limit` of the ring's descriptors. */
static int walk_packed(const struct walk *w, u16 limit)
{
	const struct virtq *q = w->q;
	struct virtq_chain *c = w->c;
	const char **why = w->why;
	u16 i = c->start;
	const struct virtq_desc *ring = whole_table(w->vm, HOLD_DESC, q->desc, q->size);
	struct packed_desc d;
	struct sum s = {0};
	int err;

	c->nr_ring = 0;
	do {
		if (c->nr_ring == limit)
			return bad(why, "a chain runs into descriptors that are in use");
		if (load_packed(w->vm, HOLD_DESC, ring, q->desc, i, &d))
			return bad(why, "the descriptor ring is not in RAM");
		c->nr_ring++;
		if (++i == q->size)
			i = 0;
		err = d.flags & DESC_INDIRECT ? walk_packed_table(w, &s, &d)
					      : add_range(w, &s, d.addr, d.len, d.flags & DESC_WRITE);
		if (err)
			return err;
	} while (d.flags & DESC_NEXT);
	c->id = d.id; /* of the last (2.8.6) */
	return add_up(w, &s);
}

/* Descriptors follow one another round the ring; the flags of the first were stored last (2.8.21). */
static int pop_packed(const struct walk *w, struct virtq *q)
{
	struct virtq_chain *c = w->c;
	struct vm *vm = w->vm;
	u8 wrap = q->avail_wrap;
	u16 flags;
	int err;

	if (load16(vm, HOLD_DESC, q->desc + 16ull * q->next_avail + offsetof(struct packed_desc, flags), &flags))
		return bad(w->why, "the descriptor ring is not in RAM");
	if (!(flags & DESC_AVAIL) != !wrap || !(flags & DESC_USED) == !wrap)
		return 0;
	c->start = q->next_avail;
	err = walk_packed(w, q->size - q->in_flight);
	if (err)
		return err;
	q->next_avail = (u16)(q->next_avail + c->nr_ring);
	if (q->next_avail >= q->size) {
		q->next_avail = (u16)(q->next_avail - q->size);
		q->avail_wrap ^= 1;
	}
	return 1;
}

static struct walk walk(struct vm *vm, const struct virtq *q, struct virtq_chain *c, const char **why)
{
	struct walk w = {.vm = vm, .q = q, .c = c, .why = why};

	w.ram = gmem_main_ram(vm, &w.ram_size);
	return w;
}

int virtq_pop(struct vm *vm, struct virtq *q, struct virtq_chain *c, const char **why)
{
	struct walk w = walk(vm, q, c, why);
	unsigned again = 1;
	int r;

	c->nr_ring = 0;
	do { /* 2.7.10: with EVENT_IDX the driver tells of its next chain only if it is asked to; looked at again once */
		r = q->packed ? pop_packed(&w, q) : pop_split(&w, q);
	} while (unlikely(!q->quiet && q->event_idx && !q->packed && r >= 0) && virtq_set_kicks(vm, q, true) && !r && again--);
	if (r == 1)
		q->in_flight += q->packed ? c->nr_ring : 1;
	return r;
}

void virtq_unpop(struct virtq *q, const struct virtq_chain *c)
{
	if (!q->packed) {
		q->next_avail--;
		q->in_flight--;
		return;
	}
	q->avail_wrap ^= c->start + c->nr_ring >= q->size;
	q->next_avail = c->start;
	q->in_flight = (u16)(q->in_flight - c->nr_ring);
}

int virtq_reread(struct vm *vm, const struct virtq *q, struct virtq_chain *c, const char **why)
{
	struct walk w = walk(vm, q, c, why);
	u16 nr = c->nr_ring, id = c->id;
	int err;

	if (!q->enabled || (q->packed ? c->start : id) >= q->size)
		return bad(why, "a chain of a queue that is another one now");
	if (!q->packed)
		return walk_split(&w, id);
	err = walk_packed(&w, nr);
	if (!err && (c->nr_ring != nr || c->id != id))
		return bad(why, "a chain changed while the device had it");
	return err;
}

/* ---- giving it back ---- */

static int push_split(struct vm *vm, struct virtq *q, const struct virtq_chain *c, u32 written)
{
	struct virtq_used_elem e = {.id = c->id, .len = written};
	u64 at = used_ring(q, q->next_used) - q->device;
	u8 *p;

	if (likely(virtq_in_page(q->device, 4 + 8ull * q->size))) {
		p = gmem_hold_write(vm, HOLD_DEVICE, q->device, 4 + 8ull * q->size);
		if (!p)
			return -EFAULT;
		*(struct virtq_used_elem *)(p + at) = e;
		barrier(); /* x86 keeps the order of stores; the compiler must, too */
		WRITE_ONCE(*(u16 *)(p + 2), (u16)(q->next_used + 1));
	} else if (gmem_write(vm, q->device + at, &e, sizeof(e)) ||
		   store16(vm, HOLD_DEVICE, used_idx(q), (u16)(q->next_used + 1))) {
		return -EFAULT;
	}
	q->next_used++;
	q->in_flight--;
	return 0;
}

static int push_packed(struct vm *vm, struct virtq *q, const struct virtq_chain *c, u32 written)
{
	gpa_t at = q->desc + 16ull * q->next_used;
	struct packed_desc *d = gmem_hold_write(vm, HOLD_DESC, at, sizeof(*d)); /* aligned: inside a page */
	u16 flags = (u16)((q->used_wrap ? DESC_AVAIL | DESC_USED : 0) | (written ? DESC_WRITE : 0));

	if (!d)
		return -EFAULT;
	d->len = written;
	d->id = c->id;
	barrier(); /* x86 keeps the order of stores; the compiler must, too */
	WRITE_ONCE(d->flags, flags);
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
		return load16(vm, HOLD_DRIVER, q->driver, &flags) || !(flags & VIRTQ_NO_EVENT);
	return load16(vm, HOLD_DRIVER, used_event(q), &event) || !told || passed(event, q->next_used, before);
}

static bool wants_irq_packed(struct vm *vm, const struct virtq *q, u16 before, bool told)
{
	u16 off, flags, event;

	if (load16(vm, HOLD_DRIVER, q->driver + 2, &flags) || load16(vm, HOLD_DRIVER, q->driver, &off))
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
		return q->seen != q->next_avail || (!load16(vm, HOLD_DRIVER, avail_idx(q), &now) && now != q->next_avail);
	return !load16(vm, HOLD_DESC, q->desc + 16ull * q->next_avail + offsetof(struct packed_desc, flags), &now) &&
	       !(now & DESC_AVAIL) == !q->avail_wrap && !(now & DESC_USED) != !q->avail_wrap;
}

bool virtq_set_kicks(struct vm *vm, struct virtq *q, bool on)
{
	int err;

	q->quiet = !on;
	if (q->packed) {
		err = on && q->event_idx ?
			      store16(vm, HOLD_DEVICE, q->device, (u16)(q->next_avail | (q->avail_wrap ? EVENT_WRAP : 0))) : 0;
		err = err ?: store16(vm, HOLD_DEVICE, q->device + 2, !on ? EVENT_DISABLE : q->event_idx ? EVENT_DESC : EVENT_ENABLE);
	} else if (q->event_idx) {
		err = on ? store16(vm, HOLD_DEVICE, avail_event(q), q->next_avail) : 0; /* off: the event lies behind */
	} else {
		err = store16(vm, HOLD_DEVICE, q->device, on ? 0 : VIRTQ_NO_EVENT);
	}
	if (!on || err)
		return false;
	store_then_load();
	return more(vm, q);
}

/* ---- the bytes ---- */

static int copy_part(struct vm *vm, gpa_t gpa, void *buf, u64 n, bool write)
{
	void *p = write ? gmem_hold_write(vm, HOLD_BUFFER, gpa, n) : gmem_hold(vm, HOLD_BUFFER, gpa, n);

	if (unlikely(!p))
		return write ? gmem_write(vm, gpa, buf, n) : gmem_read(vm, gpa, buf, n);
	memcpy(write ? p : buf, write ? buf : p, n);
	return 0;
}

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
		if (copy_part(vm, r->gpa + off, (u8 *)buf + done, part, write))
			break;
		done += part;
		off = 0;
	}
	return done;
}

u64 virtq_read(struct vm *vm, const struct virtq_chain *c, u64 off, void *buf, u64 n)
{
	/* A header, most of the time. */
	if (likely(c->nr_out && off + n <= c->range[0].len))
		return copy_part(vm, c->range[0].gpa + off, buf, n, false) ? 0 : n;
	return copy(vm, c->range, c->nr_out, off, buf, n, false);
}

u64 virtq_write(struct vm *vm, const struct virtq_chain *c, u64 off, const void *buf, u64 n)
{
	return copy(vm, c->range + c->nr_out, c->nr_in, off, (void *)buf, n, true);
}

int virtq_store8(struct vm *vm, gpa_t gpa, u8 val)
{
	u8 *p = gmem_hold_write(vm, HOLD_BUFFER, gpa, 1);

	if (!p)
		return -EFAULT;
	*p = val;
	return 0;
}

bool virtq_idle(struct vm *vm, const struct virtq *q)
{
	return !more(vm, q);
}
