/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The block device (virtio 1.2, 5.2).
 *
 * A request is carried out in pieces, as large as the backend takes them. As long as the backend is done at once, a
 * request that takes too long for one turn goes back to the ring: how far it has come is part of the state, and it is
 * read from the ring anew in the next turn. Once a piece is in flight, the request lives in a struct blk_req until its end;
 * a saved VM has none of these (vm_dma_begin()). Its chain is read anew for every piece behind the first, so what a
 * driver changes meanwhile is checked again. A packed ring's used descriptor stands where the oldest request has its own
 * (2.8.6), so there requests end in the order in which they came: one that is done before an older one is held.
 */
#include "arch/x86_64/frame.h"
#include "drivers/block.h"
#include "drivers/hotplug.h"
#include "drivers/virtio/virtio_pci.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/config.h"
#include "vmm/gmem.h"

/* Descriptors of a chain beside the data: header and status. */
#define SEG_MAX	      (VIRTQ_MAX_SIZE - 2)
#define RANGE_MAX     32u /* of a discard or write-zeroes request */
#define RANGE_SECTORS ((u32)(GIB(1) / BLOCK_SECTOR))
#define BLK_QUEUES    4u
#define BLK_REQS      64u /* that may be in flight */
/* What a call may do before it lets others go on, in bytes; a request counts as some more. */
#define BUDGET	      KIB(64)
#define REQUEST_COST  1024u
#define RANGE_COST    64u
/* How much of a second a disk with a limit may be ahead of it. */
#define BURST_NS      100000000ull

struct blk {
	struct virtio virtio;
	u64 done[BLK_QUEUES]; /* bytes of the request that is next in the queue */
	/* The limits: when the operations and bytes that there were would have been done at the rate allowed. */
	u64 ops_until, bytes_until;
};

struct blk_req {
	struct blk_req *next; /* in the list of free, waiting or held ones */
	struct vdev *d;
	u16 queue, id, nr_ring, start;
	bool dropped; /* its queue has been reset */
	int result;   /* of one that is held */
	struct virtio_blk_header h;
	u32 in_len;
	gpa_t status;
	u64 done, total; /* bytes; something that has none: 1 */
	struct block_req r; /* the last: the backend's bytes follow */
};

/* What is no state. */
struct blk_host {
	struct block *block;
	int (*submit)(struct block *b, struct block_req *r); /* its, or gone_submit() */
	struct blk_req *free, *waiting, *held; /* waiting: in flight, but no piece of it is; held: done, but an older one is not */
	u8 *pool;
	size_t stride;
	u32 in_flight[BLK_QUEUES];
	bool limited;  /* by iops or bps */
	bool torn;     /* the disk has been torn out: nothing new is submitted, */
	struct block gone; /* and when nothing is in flight this stands in its place: what it looked like */
	bool short_of; /* a queue found no free one, or the backend took none */
};

static struct blk_host *host_of(const struct vdev *d)
{
	return d->priv;
}
static struct block *block_of(const struct vdev *d)
{
	return host_of(d)->block;
}

/* ---- the next piece of a request: 1: q->r is it; 0: nothing is left; -errno ---- */

static bool inside(const struct block *b, u64 sector, u64 bytes)
{
	return sector <= b->size / BLOCK_SECTOR && bytes <= b->size - sector * BLOCK_SECTOR &&
	       !(sector * BLOCK_SECTOR % b->sector) && !(bytes % b->sector);
}

static void piece(struct blk_req *q, enum block_op op, u64 pos, u64 len)
{
	q->r.op = op;
	q->r.pos = pos;
	q->r.len = len;
	q->r.range = NULL;
}

static int next_data(struct blk_req *q, const struct virtq_chain *c)
{
	bool write = q->h.type == BLK_OUT;

	q->total = write ? c->out_len - sizeof(q->h) : c->in_len - 1; /* the last byte is the status */
	if (!inside(block_of(q->d), q->h.sector, q->total))
		return -EIO;
	if (q->done >= q->total)
		return 0;
	piece(q, write ? BLOCK_WRITE : BLOCK_READ, q->h.sector * BLOCK_SECTOR + q->done, q->total - q->done);
	q->r.range = write ? c->range : c->range + c->nr_out;
	q->r.skip = write ? sizeof(q->h) + q->done : q->done;
	return 1;
}

/* Discard and write zeroes: the ranges one behind the other. */
static int next_range(struct blk_req *q, const struct virtq_chain *c)
{
	struct block *b = block_of(q->d);
	u64 skip = q->done, len = c->out_len - sizeof(q->h), nr = len / sizeof(struct virtio_blk_range);
	struct virtio_blk_range all[RANGE_MAX];
	int have = 0;

	if (len % sizeof(struct virtio_blk_range) || !nr || nr > RANGE_MAX)
		return -EIO;
	virtq_read(q->d->vm, c, sizeof(q->h), all, len);
	q->total = 0;
	for (u64 i = 0; i < nr; i++) {
		struct virtio_blk_range r = all[i];
		u64 bytes = (u64)r.sectors * BLOCK_SECTOR;

		/* 5.2.6.2: flags that there are none of, or that discard has none of. */
		if (r.flags & ~(q->h.type == BLK_DISCARD ? 0u : 1u))
			return -ENOSYS;
		if (r.sectors > RANGE_SECTORS || !inside(b, r.sector, bytes))
			return -EIO;
		q->total += bytes;
		if (have || skip >= bytes) {
			skip -= have ? 0 : bytes;
			continue;
		}
		piece(q, q->h.type == BLK_DISCARD ? BLOCK_DISCARD : BLOCK_ZERO, r.sector * BLOCK_SECTOR + skip, bytes - skip);
		have = 1;
	}
	return have;
}

/* 5.2.6: 20 bytes, not terminated when all are used. */
static int get_id(struct blk_req *q, const struct virtq_chain *c)
{
	const struct vm_disk *disk = vm_disk(q->d->vm, q->d->unit);
	const char *serial = disk->serial[0] ? disk->serial : disk->vdev;
	char id[BLK_ID_SIZE] = {0};

	memcpy(id, serial, MIN(strlen(serial), sizeof(id)));
	virtq_write(q->d->vm, c, 0, id, MIN(sizeof(id), c->in_len - 1));
	return 0;
}

static int next_piece(struct blk_req *q, const struct virtq_chain *c)
{
	struct block *b = block_of(q->d);

	switch (q->h.type) {
	case BLK_OUT:
		if (b->readonly)
			return -EIO;
		return next_data(q, c);
	case BLK_IN: return next_data(q, c);
	case BLK_FLUSH:
		q->total = 1;
		piece(q, BLOCK_FLUSH, 0, 0);
		return !q->done;
	case BLK_GET_ID: return get_id(q, c);
	case BLK_DISCARD:
	case BLK_WRITE_ZEROES: return b->readonly ? -EIO : next_range(q, c);
	}
	return -ENOSYS;
}

/* ---- requests ---- */

static void came_further(struct blk_req *q)
{
	q->done += q->r.len ?: 1;
}

/* What a look at its chain counts as. */
static u64 cost(const struct virtq_chain *c)
{
	return REQUEST_COST + RANGE_COST * (c->nr_out + c->nr_in);
}

/* Piece by piece, as long as they are done at once. 0: all of it is; -EINPROGRESS; -EAGAIN: not now, or the budget is
 * used up; or what went wrong. */
static int advance(struct blk_req *q, const struct virtq_chain *c, u64 *budget)
{
	struct block *b = block_of(q->d);

	for (;;) {
		int r = next_piece(q, c);

		if (r <= 0)
			return r;
		r = host_of(q->d)->submit(b, &q->r);
		if (r)
			return r;
		came_further(q);
		if (q->done >= q->total)
			return 0;
		*budget -= MIN(*budget, q->r.len + cost(c));
		if (!*budget)
			return -EAGAIN;
	}
}

static void count(struct block *b, const struct blk_req *q, int result)
{
	if (result < 0) {
		b->errors++;
	} else if (q->h.type == BLK_IN) {
		b->reads++;
		b->read_bytes += q->total;
	} else if (q->h.type == BLK_OUT) {
		b->writes++;
		b->written_bytes += q->total;
	} else if (q->h.type == BLK_FLUSH) {
		b->flushes++;
	}
}

static void release(struct blk_req *q)
{
	struct blk_host *h = host_of(q->d);

	q->next = h->free;
	h->free = q;
}

/* To the driver. */
static void finish(struct blk_req *q, int result)
{
	u8 status = result == -ENOSYS ? BLK_UNSUPP : result < 0 ? BLK_IOERR : BLK_OK;
	struct virtq_chain c;

	c.id = q->id;
	c.nr_ring = q->nr_ring;
	count(block_of(q->d), q, result);
	if (virtq_store8(q->d->vm, q->status, status))
		virtio_broken(q->d, "the place of a request's status is not in RAM any more");
	else
		virtio_push(q->d, q->queue, &c, q->in_len);
}

/* ---- requests in flight ---- */

static void landed(struct blk_req *q)
{
	struct vdev *d = q->d;
	unsigned queue = q->queue;

	release(q);
	if (host_of(d)->torn)
		virtio_turn(d, 0); /* blk_tear(), but not from within the backend's call */
	if (!--host_of(d)->in_flight[queue])
		virtio_idle(d, queue);
}

/* Is it the oldest, if it has to be? */
static bool in_turn(const struct blk_req *q)
{
	const struct virtq *v = &virtio_of(q->d)->queue[q->queue];

	return !v->packed || v->next_used == q->start;
}

static void hold(struct blk_req *q, int result)
{
	struct blk_host *h = host_of(q->d);

	q->result = result;
	q->next = h->held;
	h->held = q;
}

/* It is done: its end, or it is held. */
static void end(struct blk_req *q, int result)
{
	bool live = !q->dropped && virtio_queue(q->d, q->queue);

	if (live && !in_turn(q)) {
		hold(q, result);
		return;
	}
	if (live) {
		finish(q, result);
		if (virtio_queue(q->d, q->queue))
			virtio_signal(q->d, q->queue);
	}
	landed(q);
}

/* Those held whose turn has come, or whose queue has gone. */
static void end_held(struct vdev *d)
{
	struct blk_req **at = &host_of(d)->held, *q;

	while ((q = *at)) {
		q->dropped |= vm_has_ended(d->vm);
		if (!q->dropped && virtio_queue(d, q->queue) && !in_turn(q)) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		end(q, q->result);
		at = &host_of(d)->held; /* from the start: it may be any one's turn now */
	}
}

static void wait(struct blk_req *q)
{
	struct blk_host *h = host_of(q->d);

	vm_dma_begin(q->d->vm); /* no piece of it is in flight, but it is */
	q->next = h->waiting;
	h->waiting = q;
}

/* A piece of it is done: the next one, or its end. */
static void go_on(struct blk_req *q, int err, u64 *budget)
{
	struct virtq_chain c;
	const char *why;

	q->dropped |= vm_has_ended(q->d->vm);
	if (!err && !q->dropped && q->done < q->total) {
		c.id = q->id;
		c.nr_ring = q->nr_ring;
		c.start = q->start;
		if (virtq_reread(q->d->vm, &virtio_of(q->d)->queue[q->queue], &c, &why) || c.in_len != q->in_len) {
			virtio_broken(q->d, "a chain changed while the device had it");
			q->dropped = true;
		} else if (gmem_sparse(q->d->vm) && !virtio_prepared(q->d, &c)) {
			wait(q);
			return;
		} else {
			err = advance(q, &c, budget);
			if (err == -EINPROGRESS)
				return;
			if (err == -EAGAIN) {
				wait(q);
				return;
			}
		}
	}
	end(q, err);
}

static void serve_waiting(struct vdev *d, u64 *budget)
{
	struct blk_host *h = host_of(d);
	struct blk_req *q = h->waiting;

	h->waiting = NULL;
	while (q) {
		struct blk_req *next = q->next;

		if (*budget || q->dropped)
			go_on(q, 0, budget);
		else
			wait(q);
		vm_dma_end(d->vm);
		q = next;
	}
}

static void commit(struct vdev *d)
{
	struct block *b = block_of(d);

	if (b->ops->commit)
		b->ops->commit(b);
}

static void blk_done(struct block_req *r, int err)
{
	struct blk_req *q = container_of(r, struct blk_req, r);
	struct vdev *d = q->d;
	u64 budget = BUDGET;

	came_further(q);
	go_on(q, err, &budget);
	if (unlikely(host_of(d)->held))
		end_held(d);
	commit(d);
	if (host_of(d)->short_of || host_of(d)->waiting)
		virtio_turn(d, 0);
}

static int gone_submit(struct block *b, struct block_req *r)
{
	(void)b, (void)r;
	return -EIO;
}

static void gone_close(struct block *b)
{
	(void)b;
}

static const struct block_ops gone_ops = {.name = "gone", .submit = gone_submit, .close = gone_close};

bool blk_tear(struct vdev *d)
{
	struct blk_host *h = host_of(d);

	h->torn = true;
	h->submit = gone_submit;
	if (h->waiting) /* to be failed */
		virtio_turn(d, 0);
	for (unsigned i = 0; i < BLK_QUEUES; i++)
		if (h->in_flight[i])
			return false;
	if (h->block == &h->gone)
		return true;
	h->gone = *h->block;
	h->gone.ops = &gone_ops;
	block_close(h->block);
	h->block = &h->gone;
	return true;
}

/* ---- the rings ---- */

/* Chain c becomes a request; false: none is free. */
static bool take(struct vdev *d, unsigned queue, const struct virtq_chain *c, struct blk_req **out)
{
	struct blk_host *h = host_of(d);
	struct blk_req *q = h->free;
	const struct block_range *last = &c->range[c->nr_out + c->nr_in - 1];

	if (!q)
		return false;
	h->free = q->next;
	q->queue = (u16)queue;
	q->id = c->id;
	q->nr_ring = c->nr_ring;
	q->start = c->start;
	q->dropped = false;
	q->in_len = (u32)c->in_len;
	q->status = last->gpa + last->len - 1;
	q->total = 0;
	*out = q;
	return true;
}

/* Work on the chain at hand. false: not now, it is to stay in the ring. */
static bool serve(struct vdev *d, unsigned queue, const struct virtq_chain *c, u64 *budget)
{
	u64 *done = &((struct blk *)d->state)->done[queue];
	struct blk_req *q;
	int r;

	if (c->out_len < sizeof(q->h) || !c->in_len) {
		virtio_broken(d, "a request has no header, or no room for its status");
		return true;
	}
	if (!take(d, queue, c, &q)) {
		host_of(d)->short_of = true;
		return false;
	}
	virtq_read(d->vm, c, 0, &q->h, sizeof(q->h));
	q->done = *done;
	r = advance(q, c, budget);
	if (r == -EAGAIN) {
		*done = q->done;
		host_of(d)->short_of |= *budget != 0;
		release(q);
		return false;
	}
	*done = 0;
	*budget -= MIN(*budget, cost(c));
	if (r == -EINPROGRESS) {
		host_of(d)->in_flight[queue]++;
		return true;
	}
	if (unlikely(host_of(d)->in_flight[queue]) && !in_turn(q)) {
		host_of(d)->in_flight[queue]++;
		hold(q, r);
		return true;
	}
	finish(q, r);
	release(q);
	return true;
}

/* --- limits: an operation, or bytes, may begin while what there was lies no further ahead than BURST_NS --- */

static u64 ahead(u64 until, u64 now)
{
	return until > now + BURST_NS ? until - BURST_NS : 0;
}

/* 0: go on; else when. */
static u64 held_until(const struct vdev *d)
{
	const struct blk *s = d->state;
	u64 now;

	if (likely(!host_of(d)->limited))
		return 0;
	now = vm_time_ns(d->vm);
	return MAX(ahead(s->ops_until, now), ahead(s->bytes_until, now));
}

static void spend(struct vdev *d, const struct virtq_chain *c)
{
	const struct vm_disk *disk = vm_disk(d->vm, d->unit);
	struct blk *s = d->state;
	u64 now;

	now = vm_time_ns(d->vm);
	if (disk->iops)
		s->ops_until = MAX(s->ops_until, now) + 1000000000 / disk->iops;
	if (disk->bps)
		s->bytes_until = MAX(s->bytes_until, now) + (c->out_len + c->in_len) * 1000000000 / disk->bps;
}

static void run_queue(struct vdev *d, unsigned queue, u64 *budget)
{
	struct virtq *q = virtio_queue(d, queue);
	struct virtq_chain c;
	bool pushed = false, stay = false;
	u64 held;

	if (!q || vm_has_ended(d->vm)) /* what is in flight of it may keep it for long */
		return;
	virtio_set_kicks(d, queue, false);
	do {
		while (*budget && !stay) {
			held = held_until(d);
			if (held) {
				virtio_turn(d, held);
				stay = true;
				break;
			}
			if (!virtio_pop(d, queue, &c))
				break;
			if (serve(d, queue, &c, budget)) {
				if (unlikely(host_of(d)->limited))
					spend(d, &c);
				pushed = true;
			} else {
				virtq_unpop(q, &c); /* to be read anew */
				stay = true;
			}
		}
	} while (*budget && !stay && virtio_set_kicks(d, queue, true));
	if (pushed && virtio_queue(d, queue))
		virtio_signal(d, queue);
	if (!*budget)
		virtio_turn(d, 0);
}

static void blk_kick(struct vdev *d, unsigned queue)
{
	u64 budget = BUDGET;

	run_queue(d, queue, &budget);
	commit(d);
}

static void blk_timer(struct vdev *d, unsigned idx)
{
	u64 budget = BUDGET;

	(void)idx;
	if (unlikely(host_of(d)->torn))
		blk_tear(d);
	host_of(d)->short_of = false;
	serve_waiting(d, &budget);
	end_held(d);
	for (unsigned i = 0; i < BLK_QUEUES; i++)
		run_queue(d, i, &budget);
	commit(d);
	if (host_of(d)->waiting && !budget)
		virtio_turn(d, 0);
}

static void blk_again(struct block *b)
{
	if (host_of(b->arg)->short_of || host_of(b->arg)->waiting)
		virtio_turn(b->arg, 0);
}

/* ---- the device ---- */

static int make_requests(struct vdev *d, struct blk_host *h)
{
	h->stride = ALIGN_UP(offsetof(struct blk_req, r) + h->block->req_size, 8u);
	h->pool = kzalloc(BLK_REQS * h->stride, FRAME_DEVICE, vm_id(d->vm));
	if (!h->pool)
		return -ENOMEM;
	for (unsigned i = 0; i < BLK_REQS; i++) {
		struct blk_req *q = (void *)(h->pool + i * h->stride);

		q->d = d;
		q->r.done = blk_done;
		release(q);
	}
	return 0;
}

static int blk_init(struct vdev *d)
{
	const struct vm_disk *disk = vm_disk(d->vm, d->unit);
	char why[120];

	d->priv = kzalloc(sizeof(struct blk_host), FRAME_DEVICE, vm_id(d->vm));
	if (!d->priv)
		return -ENOMEM;
	host_of(d)->block = block_open(disk, d->vm, why, sizeof(why));
	if (!block_of(d)) {
		vdev_refuse(d, "%s", why);
		return -ENODEV;
	}
	host_of(d)->submit = block_of(d)->ops->submit;
	host_of(d)->limited = disk->iops || disk->bps;
	block_of(d)->again = blk_again;
	block_of(d)->arg = d;
	return make_requests(d, host_of(d));
}

static void blk_destroy(struct vdev *d)
{
	struct blk_host *h = d->priv;

	*vm_disk(d->vm, d->unit) = (struct vm_disk){0}; /* its place is empty */
	if (!h)
		return;
	block_close(h->block);
	for (; h->waiting; h->waiting = h->waiting->next)
		vm_dma_end(d->vm);
	if (h->pool)
		kfree(h->pool);
	kfree(h);
}

const struct block *blk_block(const struct vdev *d)
{
	return block_of(d);
}

int blk_resize(struct vdev *d, u64 size, char *why, size_t n)
{
	struct block *b = block_of(d);
	int err = -EINVAL;

	if (!b->ops->resize)
		snprintf(why, n, "a %s disk is as large as what is behind it; with cow: before its name it could be another size", b->ops->name);
	else if (!size || size % b->sector)
		snprintf(why, n, "%lu bytes are not whole sectors of %u", (unsigned long)size, b->sector);
	else
		err = b->ops->resize(b, size, why, n);
	if (!err)
		virtio_config_changed(d);
	return err;
}

static u64 blk_features(const struct vdev *d)
{
	return BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH | BLK_F_TOPOLOGY | BLK_F_MQ |
	       (block_of(d)->readonly ? BLK_F_RO : BLK_F_DISCARD | BLK_F_WRITE_ZEROES);
}

static void blk_config(const struct vdev *d, u8 *bytes)
{
	const struct block *b = block_of(d);
	struct virtio_blk_config c = {
		.capacity = b->size / BLOCK_SECTOR, .seg_max = SEG_MAX, .blk_size = b->sector,
		.physical_exp = b->sector == 512 ? 3 : 0, /* 4096 */
		.min_io = (u16)(4096 / b->sector), .num_queues = BLK_QUEUES,
		.max_discard_sectors = RANGE_SECTORS, .max_discard_seg = RANGE_MAX,
		.discard_alignment = b->sector / BLOCK_SECTOR,
		.max_zeroes_sectors = RANGE_SECTORS, .max_zeroes_seg = RANGE_MAX, .zeroes_may_unmap = 1,
	};

	memcpy(bytes, &c, sizeof(c));
}

static void blk_reset(struct vdev *d)
{
	struct blk *s = d->state;

	memset(s->done, 0, sizeof(s->done));
	vdev_timer_stop(d, 0);
	if (host_of(d)->torn)
		virtio_turn(d, 0);
}

/* What is in flight of it ends unseen. */
static bool blk_queue_reset(struct vdev *d, unsigned queue)
{
	struct blk_host *h = host_of(d);

	((struct blk *)d->state)->done[queue] = 0;
	if (!h->in_flight[queue])
		return false;
	for (unsigned i = 0; i < BLK_REQS; i++) {
		struct blk_req *q = (void *)(h->pool + i * h->stride);

		q->dropped |= q->queue == queue;
	}
	if (h->waiting || h->held)
		virtio_turn(d, 0);
	return true;
}

static const struct virtio_type blk = {
	.config_size = sizeof(struct virtio_blk_config), .queue_size = VIRTQ_MAX_SIZE, .max_queues = BLK_QUEUES,
	.features = blk_features, .init = blk_init, .destroy = blk_destroy, .reset = blk_reset, .config = blk_config,
	.kick = blk_kick, .queue_reset = blk_queue_reset, .timer = blk_timer,
};
#define blk_ID 2
VIRTIO_DEVICE(blk, "virtio-blk", 1, struct blk, 0x010000, BLK_QUEUES + 1, vm_disks);
