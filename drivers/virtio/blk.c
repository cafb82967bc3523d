/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The block device (virtio 1.2, 5.2). A request is carried out in steps of BLOCK_STEP bytes; how far it has come is part
 * of the state, and the request is read from the ring anew for each step. So between two steps nothing is held that a
 * saved VM would have to carry, and what a driver changes meanwhile is checked again.
 */
#include "drivers/block.h"
#include "drivers/virtio/virtio_pci.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"

#define BLK_F_SEG_MAX	   BIT(2)
#define BLK_F_RO	   BIT(5)
#define BLK_F_BLK_SIZE	   BIT(6)
#define BLK_F_FLUSH	   BIT(9)
#define BLK_F_TOPOLOGY	   BIT(10)
#define BLK_F_MQ	   BIT(12)
#define BLK_F_DISCARD	   BIT(13)
#define BLK_F_WRITE_ZEROES BIT(14)

enum { REQ_IN = 0, REQ_OUT = 1, REQ_FLUSH = 4, REQ_GET_ID = 8, REQ_DISCARD = 11, REQ_WRITE_ZEROES = 13 };
enum { STATUS_OK, STATUS_IOERR, STATUS_UNSUPP };
#define ID_SIZE 20u

struct blk_config {
	u64 capacity; /* in units of 512 bytes, as all sectors here */
	u32 size_max, seg_max;
	u16 cylinders;
	u8 heads, sectors;
	u32 blk_size;
	u8 physical_exp, alignment;
	u16 min_io;
	u32 opt_io;
	u8 writeback, unused;
	u16 num_queues;
	u32 max_discard_sectors, max_discard_seg, discard_alignment;
	u32 max_zeroes_sectors, max_zeroes_seg;
	u8 zeroes_may_unmap, pad[3];
} __packed;
static_assert(sizeof(struct blk_config) == 60, "virtio 1.2, 5.2.4");
struct blk_header {
	u32 type, reserved;
	u64 sector;
};
struct blk_range {
	u64 sector;
	u32 sectors, flags; /* 0: unmap */
};
static_assert(sizeof(struct blk_header) == 16 && sizeof(struct blk_range) == 16, "virtio 1.2, 5.2.6");

/* Descriptors of a chain beside the data: header and status. */
#define SEG_MAX	     (VIRTQ_MAX_SIZE - 2)
#define RANGE_MAX    32u	   /* of a discard or write-zeroes request */
#define RANGE_SECTORS ((u32)(GIB(1) / BLOCK_SECTOR))
#define BLK_QUEUES   4u
/* What a call may do before it lets others go on, in bytes copied; a request counts as some more. */
#define BUDGET	     (2 * BLOCK_STEP)
#define REQUEST_COST 1024u

struct blk {
	struct virtio virtio;
	u64 done[BLK_QUEUES]; /* bytes of the request at the head of the queue */
};

static struct block *block_of(const struct vdev *d)
{
	return d->priv;
}

/* ---- one step of a request: how many bytes it did; 0: nothing is left; or -errno ---- */

static bool inside(const struct block *b, u64 sector, u64 bytes)
{
	return sector <= b->size / BLOCK_SECTOR && bytes <= b->size - sector * BLOCK_SECTOR &&
	       !(sector * BLOCK_SECTOR % b->sector) && !(bytes % b->sector);
}

static s64 step_data(struct vdev *d, const struct virtq_chain *c, const struct blk_header *h, u64 done)
{
	struct block *b = block_of(d);
	bool write = h->type == REQ_OUT;
	u64 total = write ? c->out_len - sizeof(*h) : c->in_len - 1; /* the last byte is the status */
	u64 skip = write ? sizeof(*h) + done : done, pos = h->sector * BLOCK_SECTOR + done, n;
	const struct virtq_range *r = write ? c->range : c->range + c->nr_out;
	int err;

	if (!inside(b, h->sector, total) || (write && b->readonly))
		return -EIO;
	if (done >= total)
		return 0;
	for (; skip >= r->len; r++)
		skip -= r->len;
	n = MIN(MIN(r->len - skip, total - done), BLOCK_STEP);
	err = write ? b->ops->write(b, pos, d->vm, r->gpa + skip, n) : b->ops->read(b, pos, d->vm, r->gpa + skip, n);
	return err ?: (s64)n;
}

/* Discard and write zeroes: the ranges one behind the other. */
static s64 step_ranges(struct vdev *d, const struct virtq_chain *c, u32 type, u64 done)
{
	struct block *b = block_of(d);
	u64 nr = (c->out_len - sizeof(struct blk_header)) / sizeof(struct blk_range);

	if ((c->out_len - sizeof(struct blk_header)) % sizeof(struct blk_range) || !nr || nr > RANGE_MAX || b->readonly)
		return -EIO;
	for (u64 i = 0; i < nr; i++) {
		struct blk_range r;
		u64 bytes, n;
		int err;

		virtq_read(d->vm, c, sizeof(struct blk_header) + i * sizeof(r), &r, sizeof(r));
		bytes = (u64)r.sectors * BLOCK_SECTOR;
		/* 5.2.6.2: flags that there are none of, or that discard has none of. */
		if (r.flags & ~(type == REQ_DISCARD ? 0u : 1u))
			return -ENOSYS;
		if (r.sectors > RANGE_SECTORS || !inside(b, r.sector, bytes))
			return -EIO;
		if (done >= bytes) {
			done -= bytes;
			continue;
		}
		n = MIN(bytes - done, BLOCK_STEP);
		if (type == REQ_WRITE_ZEROES)
			err = b->ops->zero(b, r.sector * BLOCK_SECTOR + done, n);
		else
			err = b->ops->discard ? b->ops->discard(b, r.sector * BLOCK_SECTOR + done, n) : 0;
		return err ?: (s64)n;
	}
	return 0;
}

/* 5.2.6: 20 bytes, not terminated when all are used. */
static s64 get_id(struct vdev *d, const struct virtq_chain *c, u64 done)
{
	char id[ID_SIZE] = {0};

	if (done)
		return 0;
	snprintf(id, sizeof(id), "dalang-%u", d->unit);
	virtq_write(d->vm, c, 0, id, MIN(sizeof(id), c->in_len - 1));
	return ID_SIZE;
}

static s64 step(struct vdev *d, const struct virtq_chain *c, const struct blk_header *h, u64 done)
{
	struct block *b = block_of(d);

	switch (h->type) {
	case REQ_IN:
	case REQ_OUT: return step_data(d, c, h, done);
	case REQ_FLUSH: b->flushes++; return b->ops->flush ? b->ops->flush(b) : 0;
	case REQ_GET_ID: return get_id(d, c, done);
	case REQ_DISCARD:
	case REQ_WRITE_ZEROES: return step_ranges(d, c, h->type, done);
	}
	return -ENOSYS;
}

/* ---- requests ---- */

static void count(struct block *b, const struct blk_header *h, const struct virtq_chain *c, s64 result)
{
	if (result < 0) {
		b->errors++;
	} else if (h->type == REQ_IN) {
		b->reads++;
		b->read_bytes += c->in_len - 1;
	} else if (h->type == REQ_OUT) {
		b->writes++;
		b->written_bytes += c->out_len - sizeof(*h);
	}
}

static void finish(struct vdev *d, unsigned queue, const struct virtq_chain *c, s64 result)
{
	u8 status = result == -ENOSYS ? STATUS_UNSUPP : result < 0 ? STATUS_IOERR : STATUS_OK;

	virtq_write(d->vm, c, c->in_len - 1, &status, 1);
	virtio_push(d, queue, c, (u32)c->in_len);
	((struct blk *)d->state)->done[queue] = 0;
}

/* Work on the request at hand until it is finished (true) or the budget is used up. */
static bool serve(struct vdev *d, unsigned queue, const struct virtq_chain *c, u64 *budget)
{
	u64 *done = &((struct blk *)d->state)->done[queue];
	struct blk_header h;
	s64 r;

	if (c->out_len < sizeof(h) || !c->in_len) {
		virtio_broken(d, "a request has no header, or no room for its status");
		return true;
	}
	virtq_read(d->vm, c, 0, &h, sizeof(h));
	for (;;) {
		r = step(d, c, &h, *done);
		if (r <= 0)
			break;
		*done += (u64)r;
		if (*budget <= (u64)r) {
			*budget = 0;
			return false;
		}
		*budget -= (u64)r;
	}
	count(block_of(d), &h, c, r);
	finish(d, queue, c, r);
	*budget -= MIN(*budget, REQUEST_COST);
	return true;
}

/* true: there may be more. */
static bool run_queue(struct vdev *d, unsigned queue, u64 *budget)
{
	struct virtq *q = virtio_queue(d, queue), before;
	struct virtq_chain c;
	bool pushed = false;

	if (!q)
		return false;
	virtq_set_kicks(d->vm, q, false);
	do {
		while (*budget && (before = *q, virtio_pop(d, queue, &c))) {
			if (serve(d, queue, &c, budget)) {
				pushed = true;
				continue;
			}
			*q = before; /* to be read anew */
		}
	} while (*budget && virtio_queue(d, queue) && virtq_set_kicks(d->vm, q, true));
	if (pushed && virtio_queue(d, queue))
		virtio_signal(d, queue);
	return !*budget;
}

static void blk_kick(struct vdev *d, unsigned queue)
{
	u64 budget = BUDGET;

	if (run_queue(d, queue, &budget))
		vdev_timer_set(d, 0, 0); /* go on as soon as others have had their turn */
}

static void blk_timer(struct vdev *d, unsigned idx)
{
	u64 budget = BUDGET;

	(void)idx;
	for (unsigned i = 0; i < BLK_QUEUES; i++)
		if (run_queue(d, i, &budget))
			vdev_timer_set(d, 0, 0);
}

/* ---- the device ---- */

static int blk_init(struct vdev *d)
{
	char why[160];

	d->priv = block_open(vm_disk(d->vm, d->unit), vm_id(d->vm), why, sizeof(why));
	if (!d->priv) {
		log_err("%s: disk %u: %s", vm_name(d->vm), d->unit, why);
		return -ENODEV;
	}
	return 0;
}

static void blk_destroy(struct vdev *d)
{
	block_close(d->priv);
}

static unsigned blk_queues(const struct vdev *d)
{
	(void)d;
	return BLK_QUEUES;
}

static u64 blk_features(const struct vdev *d)
{
	return BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH | BLK_F_TOPOLOGY | BLK_F_MQ |
	       (block_of(d)->readonly ? BLK_F_RO : BLK_F_DISCARD | BLK_F_WRITE_ZEROES);
}

static void blk_config(const struct vdev *d, u8 *bytes)
{
	const struct block *b = block_of(d);
	struct blk_config c = {
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
	memset(((struct blk *)d->state)->done, 0, sizeof(((struct blk *)d->state)->done));
	vdev_timer_stop(d, 0);
}

static void blk_queue_reset(struct vdev *d, unsigned queue)
{
	((struct blk *)d->state)->done[queue] = 0;
}

static const struct virtio_type blk = {
	.config_size = sizeof(struct blk_config), .queue_size = VIRTQ_MAX_SIZE, .nr_queues = blk_queues,
	.features = blk_features, .init = blk_init, .destroy = blk_destroy, .reset = blk_reset, .config = blk_config,
	.kick = blk_kick, .queue_reset = blk_queue_reset, .timer = blk_timer,
};
#define blk_ID 2
VIRTIO_DEVICE(blk, "virtio-blk", 1, struct blk, 0x010000, BLK_QUEUES + 1, vm_nr_disks);
