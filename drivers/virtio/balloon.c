/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory balloon (virtio 1.2, 5.5): pages that the guest puts in, and free ones that it reports, go back to the host
 * (vmm/backing.c: in blocks of 2 MiB). A driver is told that it may use its pages again, or that they are in the balloon,
 * only after the blocks have left all TLBs: so long the chain is held, one at a time.
 */
#include "drivers/virtio/virtio_pci.h"
#include "lib/errno.h"
#include "lib/string.h"

#define BALLOON_F_MUST_TELL_HOST BIT(0)
#define BALLOON_F_STATS_VQ	 BIT(1)
#define BALLOON_F_DEFLATE_ON_OOM BIT(2)
#define BALLOON_F_REPORTING	 BIT(5)
#define FEATURES (BALLOON_F_MUST_TELL_HOST | BALLOON_F_STATS_VQ | BALLOON_F_DEFLATE_ON_OOM | BALLOON_F_REPORTING)

struct balloon_config {
	u32 num_pages, actual;
};
static_assert(sizeof(struct balloon_config) == 8, "virtio 1.2, 5.5.4");
struct balloon_stat {
	u16 tag;
	u64 val;
} __packed;
static_assert(sizeof(struct balloon_stat) == 10, "virtio 1.2, 5.5.6.3");

enum { INFLATE, DEFLATE, STATS, REPORT, NOTHING };
#define QUEUES	  4u
#define TURN	  256u /* pages or blocks of one call */
#define BATCH	  64u  /* pages that are read in one piece */
#define HELD_NS	  50000000ull /* so long a chain may be held before we ask anew */
#define NO_CHAIN  0xffffu

struct held {
	u16 queue, id, nr_ring, pad; /* queue: NO_CHAIN: none */
};

struct balloon {
	struct virtio virtio;
	u32 target, actual;
	u32 done[QUEUES]; /* of the chain that is next: pages, or ranges */
	u32 ticket;	  /* what `held` waits for */
	struct held held, stats; /* stats: the buffer that the driver's next statistics are asked with */
	u16 known, ask;		 /* ask: as soon as there is that buffer */
	u32 pad;
	u64 stat[BALLOON_STATS];
};

static struct balloon *balloon_of(const struct vdev *d)
{
	return d->state;
}

/* Queues of features that were not accepted do not exist (5.5.2), and those behind them move up, as all drivers have it. */
static unsigned role(const struct vdev *d, unsigned queue)
{
	bool stats = virtio_has(d, BALLOON_F_STATS_VQ);

	if (queue <= DEFLATE)
		return queue;
	if (queue == STATS && stats)
		return STATS;
	return queue == 2u + stats && virtio_has(d, BALLOON_F_REPORTING) ? REPORT : NOTHING;
}

/* --- statistics --- */

static void give(struct vdev *d, struct held *h)
{
	struct virtq_chain c;

	c.id = h->id;
	c.nr_ring = h->nr_ring;
	if (virtio_queue(d, h->queue))
		virtio_push(d, h->queue, &c, 0);
	if (virtio_queue(d, h->queue))
		virtio_signal(d, h->queue);
	h->queue = NO_CHAIN;
}

static void hold(struct vdev *d, struct held *h, unsigned queue, const struct virtq_chain *c)
{
	*h = (struct held){.queue = (u16)queue, .id = c->id};
	if (virtio_of(d)->queue[queue].packed) /* elsewhere it says nothing */
		h->nr_ring = c->nr_ring;
}

static void take_stats(struct vdev *d, unsigned queue)
{
	struct balloon *s = balloon_of(d);
	struct balloon_stat one;
	struct virtq_chain c;

	if (!virtio_pop(d, queue, &c))
		return;
	if (s->stats.queue != NO_CHAIN || c.out_len % sizeof(one) || c.out_len > 64 * sizeof(one)) {
		virtio_broken(d, "statistics are no list of up to 64, or nobody asked for them");
		return;
	}
	for (u64 at = 0; at < c.out_len; at += sizeof(one)) {
		virtq_read(d->vm, &c, at, &one, sizeof(one));
		if (one.tag >= BALLOON_STATS)
			continue;
		s->stat[one.tag] = one.val;
		s->known |= (u16)(1u << one.tag);
	}
	hold(d, &s->stats, queue, &c);
	if (s->ask)
		give(d, &s->stats);
	s->ask = 0;
}

/* --- pages --- */

static int one_page(struct vdev *d, unsigned what, u32 pfn)
{
	gpa_t gpa = (gpa_t)pfn * PAGE_SIZE;

	if (what == INFLATE)
		return vm_release_page(d->vm, gpa);
	return vm_claim_page(d->vm, gpa);
}

/* 0: done with the chain; 1: enough for one turn; -EAGAIN: not before what was released is; -EFAULT: that is no RAM. */
static int pages(struct vdev *d, unsigned what, const struct virtq_chain *c, u32 *done)
{
	u64 nr = c->out_len / sizeof(u32);

	for (u32 turn = 0; *done < nr; turn++) {
		u32 pfn[BATCH], n = (u32)MIN(nr - *done, BATCH);

		if (turn == TURN / BATCH)
			return 1;
		virtq_read(d->vm, c, *done * sizeof(u32), pfn, n * sizeof(u32));
		for (u32 i = 0; i < n; i++) {
			int r = one_page(d, what, pfn[i]);

			if (r)
				return r;
			++*done;
		}
	}
	return 0;
}

/* The blocks that lie in the ranges, counted through; returns as pages() does. */
static int blocks(struct vdev *d, const struct virtq_chain *c, u32 *done)
{
	u32 skip = *done, budget = TURN;

	for (unsigned i = 0; i < c->nr_in; i++) {
		const struct block_range *r = &c->range[c->nr_out + i];
		gpa_t first = ALIGN_UP(r->gpa, PAGE_2M), end = ALIGN_DOWN(r->gpa + r->len, PAGE_2M);
		u32 nr = end > first ? (u32)((end - first) / PAGE_2M) : 0;

		for (; skip < nr; skip++) {
			int err = budget-- ? vm_release_block(d->vm, first + skip * PAGE_2M) : 1;

			if (err)
				return err;
			++*done;
		}
		skip -= nr;
	}
	return 0;
}

static void flush(struct vdev *d)
{
	balloon_of(d)->ticket = vm_release_flush(d->vm);
	vdev_timer_set(d, 0, vm_time_ns(d->vm) + HELD_NS);
}

/* The next chain of a queue of pages. false: no more now. */
static bool serve(struct vdev *d, unsigned queue, unsigned what)
{
	struct balloon *s = balloon_of(d);
	struct virtq *q = virtio_queue(d, queue), before;
	struct virtq_chain c;
	int r;

	if (!q || s->held.queue != NO_CHAIN)
		return false;
	before = *q;
	if (!virtio_take(d, queue, &c)) /* what it names is not to be given memory first */
		return false;
	if (what != REPORT && c.out_len % sizeof(u32)) {
		virtio_broken(d, "a list of pages ends in the middle of one");
		return false;
	}
	r = what == REPORT ? blocks(d, &c, &s->done[queue]) : pages(d, what, &c, &s->done[queue]);
	if (r == -EFAULT) {
		virtio_broken(d, "a page for the balloon is not RAM");
		return false;
	}
	if (r) {
		*q = before; /* to be read anew */
		if (r > 0)
			virtio_turn(d, 0);
		else
			flush(d);
		return false;
	}
	s->done[queue] = 0;
	hold(d, &s->held, queue, &c);
	if (vm_release_waits(d->vm))
		flush(d);
	else
		give(d, &s->held);
	return true;
}

static void balloon_kick(struct vdev *d, unsigned queue)
{
	unsigned what = role(d, queue), n = 0;

	if (what == STATS)
		take_stats(d, queue);
	else if (what != NOTHING)
		while (n < 4 && serve(d, queue, what))
			n++;
	if (n == 4)
		virtio_turn(d, 0);
}

static void balloon_timer(struct vdev *d, unsigned idx)
{
	(void)idx;
	if (balloon_of(d)->held.queue != NO_CHAIN) { /* in a VM restored from bytes nobody else asks */
		flush(d);
		return;
	}
	for (unsigned i = 0; i < QUEUES; i++)
		virtio_kick(d, i);
}

static void balloon_released(struct vdev *d, u32 ticket)
{
	struct balloon *s = balloon_of(d);

	if (s->held.queue != NO_CHAIN && (s32)(ticket - s->ticket) < 0)
		return;
	if (s->held.queue != NO_CHAIN)
		give(d, &s->held);
	virtio_turn(d, 0);
}

/* --- the monitor's side --- */

static void balloon_set(struct vdev *d, u32 n)
{
	if (balloon_of(d)->target == n)
		return;
	balloon_of(d)->target = n;
	virtio_config_changed(d);
}

static void balloon_info(struct vdev *d, struct balloon_info *i)
{
	struct balloon *s = balloon_of(d);

	*i = (struct balloon_info){.target = s->target, .actual = s->actual, .known = s->known,
				   .driver = s->virtio.status & VIRTIO_DRIVER_OK};
	memcpy(i->stat, s->stat, sizeof(i->stat));
}

static void balloon_ask(struct vdev *d)
{
	struct balloon *s = balloon_of(d);

	if (s->stats.queue != NO_CHAIN && virtio_queue(d, s->stats.queue))
		give(d, &s->stats);
	else
		s->ask = 1;
}

static const struct balloon_ops balloon_ops = {.set = balloon_set, .info = balloon_info, .ask = balloon_ask,
						.released = balloon_released};

/* --- the device --- */

static int balloon_init(struct vdev *d)
{
	*vm_balloon(d->vm) = (struct vm_balloon){.d = d, .ops = &balloon_ops};
	balloon_of(d)->target = (u32)vm_balloon_start(d->vm);
	return 0;
}

static void balloon_destroy(struct vdev *d)
{
	*vm_balloon(d->vm) = (struct vm_balloon){0};
}

static void balloon_reset(struct vdev *d)
{
	struct balloon *s = balloon_of(d);

	s->actual = 0;
	s->known = s->ask = 0;
	memset(s->done, 0, sizeof(s->done));
	s->held.queue = s->stats.queue = NO_CHAIN;
	vdev_timer_stop(d, 0);
	vm_release_forget(d->vm);
}

/* What was released for a chain that is held goes its way; only nobody is told. */
static bool balloon_queue_reset(struct vdev *d, unsigned queue)
{
	struct balloon *s = balloon_of(d);

	s->done[queue] = 0;
	if (s->held.queue == queue)
		s->held.queue = NO_CHAIN;
	if (s->stats.queue == queue)
		s->stats.queue = NO_CHAIN;
	return false;
}

static bool balloon_valid(const void *state)
{
	const struct balloon *s = state;

	return (s->held.queue < QUEUES || s->held.queue == NO_CHAIN) && s->held.nr_ring <= VIRTQ_MAX_SIZE &&
	       (s->stats.queue < QUEUES || s->stats.queue == NO_CHAIN) && s->stats.nr_ring <= VIRTQ_MAX_SIZE;
}

static void balloon_config(const struct vdev *d, u8 *bytes)
{
	memcpy(bytes, &(struct balloon_config){.num_pages = balloon_of(d)->target, .actual = balloon_of(d)->actual},
	       sizeof(struct balloon_config));
}

/* By any width, of `actual` alone. */
static void balloon_config_write(struct vdev *d, unsigned off, unsigned size, u32 val)
{
	unsigned at = offsetof(struct balloon_config, actual);

	if (off >= at)
		memcpy((u8 *)&balloon_of(d)->actual + off - at, &val, size);
}

static u64 balloon_features(const struct vdev *d)
{
	(void)d;
	return FEATURES;
}

static unsigned balloon_units(const struct vm *vm)
{
	return vm_balloon_wanted(vm);
}

static const struct virtio_type balloon = {
	.config_size = sizeof(struct balloon_config), .queue_size = VIRTQ_MAX_SIZE, .max_queues = QUEUES,
	.features = balloon_features, .init = balloon_init, .destroy = balloon_destroy, .reset = balloon_reset,
	.config = balloon_config, .config_write = balloon_config_write, .kick = balloon_kick,
	.queue_reset = balloon_queue_reset, .valid = balloon_valid, .timer = balloon_timer,
};
#define balloon_ID 5
VIRTIO_DEVICE(balloon, "virtio-balloon", 1, struct balloon, 0x050000, QUEUES + 1, balloon_units);
