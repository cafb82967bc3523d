/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests of every kind of device, as chains of every kind of ring: as they should be, or wrong in one way and another.
 * Nothing here may name the image (vhostile.h), for devices write where they are told to.
 */
#include "vhostile.h"

/* --- the rings' memory: written only where it is ours --- */

bool ours(u64 at, u32 n)
{
	return (at >= ARENA && at + n <= RAM_TOP && at + n > at) || at < LOW_END - n;
}

static void put16(u64 at, u16 v)
{
	if (ours(at, 2))
		*(volatile u16 *)at = v;
}

static void put64(u64 at, u64 v)
{
	if (ours(at, 8))
		*(volatile u64 *)at = v;
}

static void put_desc(u64 at, const struct vdesc *d)
{
	put64(at, d->addr);
	put64(at + 8, d->len | (u64)d->flags << 32 | (u64)d->next << 48);
}

/* --- numbers --- */

static u64 data_address(u64 *dice)
{
	return DATA + below_of(dice, (u32)(RAM_TOP - DATA - 0x20000));
}

static u64 any_address(u64 *dice)
{
	switch (below_of(dice, 8)) {
	case 0 ... 1: /* in a ring */
		return RINGS + below_of(dice, NR_RINGS * RING);
	case 2:
		return RAM_TOP - below_of(dice, 4096);
	case 3:
		return below_of(dice, LOW_END);
	case 4 ... 5:
		return device_place(dice);
	case 6:
		return tame(next_random(dice) >> below_of(dice, 64));
	default:
		return data_address(dice);
	}
}

static u32 any_length(u64 *dice)
{
	static const u32 lengths[] = {0, 0, 1, 2, 9, 11, 12, 15, 16, 17, 511, 512, 513, 4096, 4097, 65536, 0x900000, 0x7fffffff,
				      0x80000000, 0xfffff000, 0xfffffff0, 0xffffffff};

	return below_of(dice, 3) ? lengths[below_of(dice, sizeof(lengths) / sizeof(lengths[0]))]
				 : (u32)(next_random(dice) >> (32 + below_of(dice, 32)));
}

/* --- requests --- */

static u32 blk_request(struct target *t, struct part *p)
{
	static const u8 types[] = {0, 0, 0, 1, 1, 1, 4, 8, 11, 13, 2, 255};
	u64 head = data_address(&dice_now) & ~15ull;
	u32 type = ONE_OF(types), n = 0, data = below(6);
	bool in = type == 0 || type == 8 || !below(16);

	if (type == 4)
		data = 0;
	put64(head, type | (below(16) ? 0 : random()));
	put64(head + 8, below(8) ? below((u32)t->sectors) : below(2) ? t->sectors - below(9) : random());
	p[n++] = (struct part){head, 16, false};
	while (data--)
		p[n++] = (struct part){data_address(&dice_now), below(8) ? 512 * (1 + below(below(8) ? 8 : 128)) : any_length(&dice_now), in};
	if (type == 11 || type == 13) { /* ranges */
		p[1] = (struct part){data_address(&dice_now) & ~15ull, 16 * (1 + below(below(8) ? 4 : 40)), false};
		for (u32 i = 0; i < p[1].len; i += 16) {
			put64(p[1].at + i, below((u32)t->sectors) & ~7u);
			put64(p[1].at + i + 8, (below(4) ? below(64) * 8 : random()) | (below(4) ? 0 : 1ull << 32));
		}
		n = 2;
	}
	p[n++] = (struct part){data_address(&dice_now), 1, true};
	return n;
}

static u32 net_control(struct part *p)
{
	u64 at = data_address(&dice_now);
	u32 len = 2 + below(16);

	put64(at, random());
	put64(at + 8, random());
	put16(at, (u16)(below(7) | below(6) << 8));
	if (!below(3)) { /* a table of addresses */
		len = 2 + below(0x400);
		put16(at, 0x0001);
		put64(at + 2, below(200));
	}
	p[0] = (struct part){at, len, false};
	p[1] = (struct part){data_address(&dice_now), 1, true};
	return 2;
}

/* To a neighbour, to all, to nobody; with headers that are true, or not. */
static u32 net_frame(struct target *t, struct part *p)
{
	static const u16 kinds[] = {0x0008, 0x0008, 0xdd86, 0x0608, 0x0081, 0xb588};
	u64 at = data_address(&dice_now) & ~15ull, f = at + 12;
	u32 len = 12 + (below(4) ? 14 + below(1500) : any_length(&dice_now) & 0x1ffff);

	for (u32 i = 0; i < 96; i += 8)
		put64(at + i, random());
	put64(at, below(2) ? 0 : random());
	put64(at + 8, (u32)(below(2) ? 0 : random()) | (below(2) ? 0xffffffffull : 0x02000000ull) << 32);
	if (!below(2))
		put64(f, random() | 0x02ull);
	put64(f + 6, *(volatile u64 *)t->d.config); /* from its own address */
	put16(f + 12, ONE_OF(kinds));
	put16(f + 14, (u16)(0x45 | below(2) << 8)); /* IPv4's first byte */
	put16(f + 16, (u16)(below(2) ? 0x3c00 : random()));
	put16(f + 22, (u16)(0x40 | (below(3) ? 6u : below(2) ? 17u : below(256)) << 8));
	p[0] = (struct part){at, 12, false};
	p[1] = (struct part){f, len - 12, false};
	if (below(2))
		return 2;
	p[0].len = len;
	return 1;
}

static u32 room(struct part *p, u32 len)
{
	u32 n = 1 + below(3);

	for (u32 i = 0; i < n; i++)
		p[i] = (struct part){data_address(&dice_now), len, true};
	return n;
}

static u32 console_request(u32 queue, struct part *p)
{
	u64 at = data_address(&dice_now);

	if (queue % 2 == 0)
		return room(p, 1 + below(64));
	put64(at, queue == 3 ? below(4) | (u64)below(8) << 32 | (u64)below(2) << 48 : 0x0a2e2e2e2e2e2e2eull);
	p[0] = (struct part){at, 8, false};
	return 1;
}

static u32 balloon_request(u32 queue, struct part *p)
{
	u64 at = data_address(&dice_now);
	u32 n = 1 + below(below(4) ? 16 : 600);

	if (queue == 3) { /* free pages: blocks */
		p[0] = (struct part){DATA + 0x100000 * below(8), 0x1000 << below(11), true};
		return 1;
	}
	if (queue == 2) { /* statistics */
		for (u32 i = 0; i < n; i++)
			put16(at + 10 * i, (u16)below(12));
		p[0] = (struct part){at, 10 * n, false};
		return 1;
	}
	for (u32 i = 0; i < n; i++) {
		u32 pfn = (u32)(DATA >> 12) + below((u32)((RAM_TOP - DATA) >> 12));

		if (!below(32))
			pfn = below(2) ? (u32)(RAM_TOP >> 12) : (u32)random() | 0x1000;
		put16(at + 4 * i, (u16)pfn);
		put16(at + 4 * i + 2, (u16)(pfn >> 16));
	}
	p[0] = (struct part){at, 4 * n, false};
	return 1;
}

/* To the monitor, to itself, to nobody; few ports, so that there are connections. */
static u32 vsock_request(struct target *t, u32 queue, struct part *p)
{
	u64 at = data_address(&dice_now), me = *(volatile u32 *)t->d.config;
	u32 len = below(4) ? 0 : below(below(8) ? 600 : 70000);

	if (queue != 1)
		return room(p, below(4) ? 44 + below(4096) : 1 + below(64));
	put64(at, below(16) ? me : random());
	put64(at + 8, below(4) ? 2 : below(2) ? me : random());
	put64(at + 16, below(4) | (u64)(below(4) ? 2 : below(4)) << 32);
	put64(at + 24, (below(16) ? len : random()) | (u64)(below(16) ? 1 : below(3)) << 32 | (u64)(len ? 5 : below(9)) << 48);
	put64(at + 32, below(4) | (u64)below(0x10000) << 32);
	put64(at + 40, below(below(2) ? 2 : 0x10000));
	p[0] = (struct part){at, 44 + len, false};
	return 1;
}

/* To the control queue, for events, or a command. */
static u32 scsi_request(u32 queue, struct part *p)
{
	static const u8 codes[] = {0x28, 0x28, 0x28, 0x28, 0x08, 0xa8, 0x88, 0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x42, 0x43, 0x46, 0x4a, 0x51,
				   0x5a, 0x9e, 0xa0, 0xbd, 0xff};
	u64 at = data_address(&dice_now) & ~15ull, lun = 1 | CD_TARGET << 8 | (below(8) ? 0 : random());
	u8 code = ONE_OF(codes);

	if (queue == 1)
		return room(p, below(4) ? 16 : below(32));
	if (queue == 0) {
		put64(at, below(4) | (u64)below(9) << 32);
		put64(at + (below(2) ? 8 : 4), lun);
		p[0] = (struct part){at, below(8) ? 24 : below(32), false};
		p[1] = (struct part){data_address(&dice_now), below(8) ? 5 : 1, true};
		return 2;
	}
	put64(at, lun);
	for (u32 i = 0; i < 48; i += 8)
		put64(at + 8 + i, below(3) ? 0 : random());
	put16(at + 19, (u16)(code | below(4) << 8));
	if (code == 0x28) { /* READ(10): block and count */
		put64(at + 21, (u64)below(256) << 24 | (u64)(below(8) ? below(20) : random() & 0xffff) << 48);
		put16(at + 19, code);
	}
	p[0] = (struct part){at, below(16) ? 51 : below(64), false};
	p[1] = (struct part){data_address(&dice_now), below(16) ? 108 : below(128), true};
	p[2] = (struct part){data_address(&dice_now), below(8) ? 2048 * (1 + below(16)) : any_length(&dice_now), true};
	return 2 + !!below(8);
}

static u32 make(struct target *t, u32 queue, struct part *p)
{
	switch (t->type) {
	case BLK:
		return blk_request(t, p);
	case NET:
		if (queue + 1 == t->nr_queues || (queue == 2 && below(2)))
			return net_control(p);
		return queue % 2 ? net_frame(t, p) : room(p, below(4) ? 1526 : 12 + below(70000));
	case CONSOLE:
		return console_request(queue, p);
	case BALLOON:
		return balloon_request(queue, p);
	case VSOCK:
		return vsock_request(t, queue, p);
	case SCSI:
		return scsi_request(queue, p);
	default:
		return room(p, 1 + below(2000));
	}
}

/* --- what can be wrong --- */

/* Of the request's parts. Their number then. */
static u32 spoil_parts(struct part *p, u32 n)
{
	struct part *one = &p[below(n)];

	switch (below(9)) {
	case 0 ... 1:
		one->at = any_address(&dice_now);
		break;
	case 2 ... 3:
		one->len = any_length(&dice_now);
		break;
	case 4:
		one->in = !one->in;
		break;
	case 5: /* in the ring itself */
		one->at = RINGS + below(NR_RINGS * RING);
		break;
	case 6: /* longer than a queue */
		while (n < MAX_PARTS)
			p[n] = p[below(n)], n++;
		break;
	case 7:
		return below(n);
	case 8: /* byte by byte: nothing is wrong with that */
		for (u32 i = 1; i < 16 && p[0].len > 1; i++, n++) {
			for (u32 k = n; k > i; k--)
				p[k] = p[k - 1];
			p[i] = (struct part){p[i - 1].at + 1, p[i - 1].len - 1, p[i - 1].in};
			p[i - 1].len = 1;
		}
		break;
	}
	return n;
}

static u64 desc_at(const struct hq *q, u32 i)
{
	return q->desc + 16ull * (q->size ? i % q->size : i);
}

/* One descriptor, of a ring or a table, in one of its fields. */
static void spoil_desc(u64 at, u64 *dice)
{
	switch (below_of(dice, 6)) {
	case 0:
		put64(at, any_address(dice));
		break;
	case 1:
		put16(at + 8, (u16)any_length(dice));
		break;
	case 2:
		put16(at + 10, (u16)(any_length(dice) >> 16));
		break;
	case 3: /* NEXT, WRITE, INDIRECT; packed: an id */
		put16(at + 12, (u16)(below_of(dice, 4) ? below_of(dice, 8) : next_random(dice)));
		break;
	default: /* next: a loop, or beyond; packed: flags */
		put16(at + 14, (u16)(below_of(dice, 2) ? below_of(dice, 300) : next_random(dice)));
		break;
	}
}

/* --- into the ring --- */

static void chain_desc(const struct part *p, u32 i, u32 n, struct vdesc *d)
{
	*d = (struct vdesc){p[i].at, p[i].len, (u16)((p[i].in ? VDESC_WRITE : 0) | (i + 1 < n ? VDESC_NEXT : 0)), (u16)(i + 1)};
}

/* A table somewhere; what names it. */
static struct vdesc table(const struct part *p, u32 n, bool wrong)
{
	u64 at = below(8) ? data_address(&dice_now) & ~15ull : data_address(&dice_now);
	struct vdesc d;

	for (u32 i = 0; i < n; i++) {
		chain_desc(p, i, n, &d);
		put_desc(at + 16 * i, &d);
	}
	d = (struct vdesc){at, 16 * n, VDESC_INDIRECT, 0};
	if (!wrong)
		return d;
	switch (below(6)) {
	case 0: /* indirect in indirect, or in a ring */
		put16(at + 16 * below(n) + 12, VDESC_INDIRECT);
		break;
	case 1:
		d.len = any_length(&dice_now);
		break;
	case 2:
		d.addr = any_address(&dice_now);
		break;
	case 3:
		d.flags |= (u16)below(8);
		break;
	default:
		spoil_desc(at + 16 * below(n), &dice_now);
		break;
	}
	return d;
}

static void add_split(struct hq *q, const struct part *p, u32 n, bool indirect, bool wrong)
{
	u16 head = q->next, mask = q->size ? (u16)(q->size - 1) : 0xff;
	struct vdesc d;

	if (indirect) {
		d = table(p, n, wrong);
		put_desc(desc_at(q, head), &d);
		q->next = (u16)(q->next + 1);
	} else {
		for (u32 i = 0; i < n; i++) {
			chain_desc(p, i, n, &d);
			d.next = (u16)((q->next + 1) & mask);
			put_desc(desc_at(q, q->next & mask), &d);
			q->next = (u16)(q->next + 1);
		}
		if (wrong)
			spoil_desc(desc_at(q, (head + below(n)) & mask), &dice_now);
	}
	if (wrong && !below(16))
		head = (u16)random();
	put16(q->driver + 4 + 2ull * (q->avail & mask), wrong && !below(16) ? head : head & mask);
	q->avail++;
	__asm__ volatile("" ::: "memory");
	put16(q->driver + 2, q->avail);
}

static void add_packed(struct hq *q, const struct part *p, u32 n, bool indirect, bool wrong)
{
	u16 first = q->next, flags = 0, first_flags = 0, size = q->size ? q->size : 1;
	struct vdesc d, t = {0};

	if (indirect) {
		t = table(p, n, wrong);
		n = 1;
	}
	for (u32 i = 0; i < n; i++) {
		if (indirect)
			d = t;
		else
			chain_desc(p, i, n, &d);
		flags = (u16)(d.flags | (q->wrap ? VDESC_AVAIL : VDESC_USED));
		d.flags = first;
		d.next = i ? flags : first_flags;
		if (!i) {
			first_flags = flags;
			d.next = (u16)(q->wrap ? VDESC_USED : VDESC_AVAIL);
		}
		put_desc(desc_at(q, q->next), &d);
		if (++q->next >= size) {
			q->next = 0;
			q->wrap = !q->wrap;
		}
	}
	if (wrong && !indirect)
		spoil_desc(desc_at(q, first + below(n)), &dice_now);
	__asm__ volatile("" ::: "memory");
	put16(desc_at(q, first) + 14, first_flags);
}

/* By the modern interface's register, by the legacy one's: they are one. */
void kick(struct target *t, u32 queue)
{
	outw(t->d.notify, (u16)queue);
}

void request(struct target *t, bool wrong)
{
	static struct part p[MAX_PARTS + 16];
	u32 queue = below(t->nr_queues), n = make(t, queue, p);
	struct hq *q = &t->q[queue];
	bool here = wrong && below(2), indirect = t->d.features & F_INDIRECT ? below(2) : !below(64);

	requests++;
	wrongs += wrong;
	if (wrong && !here)
		n = spoil_parts(p, n);
	if (!n)
		return;
	if (q->packed)
		add_packed(q, p, n, indirect, here);
	else
		add_split(q, p, n, indirect, here);
	if (below(8))
		kick(t, queue);
}

void jump(struct target *t)
{
	struct hq *q = &t->q[below(t->nr_queues)];

	switch (below(4)) {
	case 0:
		q->avail = (u16)(q->avail + (below(2) ? below(300) : random()));
		put16(q->driver + 2, q->avail);
		break;
	case 1: /* flags; packed: where the event is */
		put16(q->driver, (u16)random());
		break;
	case 2: /* the index at which an interrupt is wanted; packed: which kind of event */
		put16(q->packed ? q->driver + 2 : q->driver + 4 + 2ull * q->size, (u16)(below(2) ? below(4) : random()));
		break;
	default: /* the driver forgets how far it was */
		q->next = (u16)random();
		q->wrap = below(2);
	}
	kick(t, q->index);
}

void scribble(struct target *t, u64 *dice)
{
	struct hq *q = &t->q[below_of(dice, t->nr_queues)];

	switch (below_of(dice, 4)) {
	case 0:
		put16(q->driver + 2 * below_of(dice, 64), (u16)below_of(dice, 300));
		break;
	case 1: /* where tables are, perhaps */
		spoil_desc(data_address(dice) & ~15ull, dice);
		break;
	default:
		spoil_desc(desc_at(q, below_of(dice, 2) ? q->next - 1u - below_of(dice, 4) : below_of(dice, 256)), dice);
		break;
	}
}
