/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SCSI host device (virtio 1.2, 5.6) with a VM's CD-ROM drives: target N is disk N of its file, if that is one, with one
 * logical unit. What a drive answers is scsi_cd.c's; here are the queues, and what is read from its medium.
 *
 * A drive does one thing at a time, as ATAPI's do: while it reads, further requests to it, and whatever is behind them, stay
 * in the ring; and in a packed ring all do, for there requests end in the order in which they came (2.8.6). So there is one
 * struct scsi_read a drive. From its beginning to its end it holds its VM (vm_dma_begin(), or the backend does), also while
 * it only waits for its next turn: a saved VM has none. Its chain is read anew for every turn. And so a task management
 * function has little to do: it is answered when all that was in the request queue before has been done.
 */
#include "drivers/virtio/scsi_host.h"
#include "arch/x86_64/frame.h"
#include "drivers/virtio/virtio_pci.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/gmem.h"

#define BUDGET	     KIB(64) /* what a call may read before it lets others go on; a request counts as some more */
#define REQUEST_COST 1024u
#define RANGE_COST   64u
#define SIZE_MAX_OF_BOTH 255u /* of sense_size and cdb_size */
#define CHECK_CONDITION 2u

const struct block *scsi_medium(const struct vdev *d, u32 unit)
{
	return host_of(d)->in[unit].block;
}

struct cd_drive *scsi_drive(const struct vdev *d, u32 unit)
{
	return &state_of(d)->drive[unit];
}

/* ---- answers ---- */

static void answer(struct vdev *d, const struct virtq_chain *c, u32 sense_size, const struct virtio_scsi_response *r,
		   u32 sense, u64 data)
{
	struct {
		struct virtio_scsi_response r;
		u8 sense[SIZE_MAX_OF_BOTH + 1];
	} out = {.r = *r};
	u8 fixed[CD_SENSE_SIZE];

	if (sense) {
		cd_sense(sense, fixed);
		out.r.status = CHECK_CONDITION;
		out.r.sense_len = MIN(CD_SENSE_SIZE, sense_size);
		memcpy(out.sense, fixed, out.r.sense_len);
	}
	virtq_write(d->vm, c, 0, &out, sizeof(out.r) + sense_size);
	virtio_push(d, REQUESTS, c, (u32)(sizeof(out.r) + sense_size + data));
}

/* A request that has no more to say. */
static void refuse(struct vdev *d, const struct virtq_chain *c, u8 response)
{
	const struct virtio_scsi_response r = {.response = response};

	answer(d, c, state_of(d)->sense_size, &r, 0, 0);
}

/* ---- what is being read ---- */

static void wait(struct scsi_read *q)
{
	vm_dma_begin(q->d->vm);
	q->waiting = true;
}

/* The drive is free again, and what stayed in the rings may go on. */
static void landed(struct scsi_read *q)
{
	struct vdev *d = q->d;

	q->busy = false;
	if (host_of(d)->stayed)
		virtio_turn(d, 0);
	if (!--host_of(d)->busy)
		virtio_idle(d, REQUESTS);
}

static void finish(struct scsi_read *q, const struct virtq_chain *c, int err)
{
	const struct virtio_scsi_response r = {.residual = (u32)(q->in_len - q->head - q->done)};
	struct block *b = host_of(q->d)->in[q->unit].block;

	if (err) {
		b->errors++;
	} else {
		b->reads++;
		b->read_bytes += q->total;
	}
	answer(q->d, c, q->sense_size, &r, err ? CD_SENSE_READ_ERROR : 0, q->done);
	if (virtio_queue(q->d, REQUESTS))
		virtio_signal(q->d, REQUESTS);
	landed(q);
}

/* Piece by piece, as far as it goes now. */
static void advance(struct scsi_read *q, const struct virtq_chain *c, u64 *budget)
{
	struct block *b = host_of(q->d)->in[q->unit].block;
	int r;

	while (q->done < q->total) {
		if (!*budget) {
			wait(q);
			virtio_turn(q->d, 0);
			return;
		}
		q->r.op = BLOCK_READ;
		q->r.pos = q->pos + q->done;
		q->r.len = q->total - q->done;
		q->r.range = c->range + c->nr_out;
		q->r.skip = q->head + q->done;
		r = b->ops->submit(b, &q->r);
		if (r == -EINPROGRESS) {
			if (b->ops->commit)
				b->ops->commit(b);
			return;
		}
		if (r == -EAGAIN) { /* medium_again() */
			wait(q);
			return;
		}
		if (r) {
			finish(q, c, r);
			return;
		}
		q->done += q->r.len;
		*budget -= MIN(*budget, q->r.len + RANGE_COST * c->nr_in);
	}
	finish(q, c, 0);
}

/* Its next turn: with its chain, as it is now. It ends unseen when its queue is being reset. */
static void resume(struct scsi_read *q, u64 *budget)
{
	struct vdev *d = q->d;
	struct virtq *v = virtio_queue(d, REQUESTS);
	struct virtq_chain c;
	const char *why;

	if (vm_has_ended(d->vm) || !v) {
		landed(q);
		return;
	}
	c.id = q->id;
	c.nr_ring = q->nr_ring;
	c.start = q->start;
	if (virtq_reread(d->vm, v, &c, &why) || c.in_len != q->in_len) {
		virtio_broken(d, "a chain changed while the device had it");
		landed(q);
	} else if (gmem_sparse(d->vm) && !virtio_prepared(d, &c)) {
		wait(q);
	} else if (q->err) {
		finish(q, &c, q->err);
	} else {
		advance(q, &c, budget);
	}
}

static void medium_done(struct block_req *r, int err)
{
	struct scsi_read *q = container_of(r, struct scsi_read, r);
	u64 budget = BUDGET;

	q->err = err;
	if (!err)
		q->done += r->len;
	resume(q, &budget);
}

static void medium_again(struct block *b)
{
	virtio_turn(b->arg, 0);
}

/* ---- the request queue ---- */

static u64 blocks_of(const struct scsi_medium *m)
{
	return m->block && !m->leaving ? MIN(m->block->size / CD_BLOCK, 0xffffffffull) : 0;
}

static void begin_read(struct vdev *d, u32 unit, const struct virtq_chain *c, const struct cd_call *call, u64 tag,
		       u64 *budget)
{
	struct scsi_read *q = host_of(d)->in[unit].read;
	u32 sense_size = state_of(d)->sense_size;

	q->busy = true;
	q->waiting = false;
	q->err = 0;
	q->id = c->id;
	q->nr_ring = c->nr_ring;
	q->start = c->start;
	q->sense_size = sense_size;
	q->head = (u32)sizeof(struct virtio_scsi_response) + sense_size;
	q->in_len = c->in_len;
	q->tag = tag;
	q->pos = (u64)call->lba * CD_BLOCK;
	q->total = (u64)call->count * CD_BLOCK;
	q->done = 0;
	host_of(d)->busy++;
	advance(q, c, budget);
}

/* What a drive, or what there is none of, says to a command. */
static void command(struct vdev *d, u32 unit, bool lun0, const struct virtq_chain *c, struct cd_call *call, u64 tag,
		    u64 *budget)
{
	const struct vm_disk *disk = vm_disk(d->vm, unit);
	struct scsi_medium *m = &host_of(d)->in[unit];
	struct virtio_scsi_response r = {0};
	u64 head = sizeof(r) + state_of(d)->sense_size, room = c->in_len - head;

	call->drive = scsi_drive(d, unit);
	call->serial = disk->serial[0] ? disk->serial : disk->vdev;
	call->blocks = blocks_of(m);
	if (lun0)
		cd_command(call);
	else
		cd_command_no_unit(call);
	if (MAX((u64)call->count * CD_BLOCK, call->len) > room) {
		refuse(d, c, SCSI_OVERRUN);
	} else if (call->count) {
		begin_read(d, unit, c, call, tag, budget);
	} else {
		virtq_write(d->vm, c, head, call->data, call->len);
		r.residual = (u32)(room - call->len);
		answer(d, c, state_of(d)->sense_size, &r, call->sense, call->len);
	}
}

/* false: not now, it is to stay in the ring. */
static bool serve(struct vdev *d, const struct virtq_chain *c, u64 *budget)
{
	const struct scsi *s = state_of(d);
	struct virtio_scsi_request h;
	struct cd_call call;
	bool lun0;
	u32 unit;

	if (c->out_len < sizeof(h) + s->cdb_size || c->in_len < sizeof(struct virtio_scsi_response) + s->sense_size) {
		virtio_broken(d, "a request is too short for its header, or has no room for the answer's");
		return true;
	}
	virtq_read(d->vm, c, 0, &h, sizeof(h));
	if (!scsi_target(d, h.lun, &unit, &lun0)) {
		refuse(d, c, SCSI_BAD_TARGET);
		return true;
	}
	if (host_of(d)->in[unit].block && host_of(d)->in[unit].read->busy)
		return false;
	memset(call.cdb, 0, sizeof(call.cdb));
	virtq_read(d->vm, c, sizeof(h), call.cdb, MIN(s->cdb_size, sizeof(call.cdb)));
	command(d, unit, lun0, c, &call, h.id, budget);
	return true;
}

static void run_requests(struct vdev *d, u64 *budget)
{
	struct virtq *q = virtio_queue(d, REQUESTS);
	struct virtq_chain c;
	bool pushed = false;

	while (q && *budget && virtio_pop(d, REQUESTS, &c)) {
		if ((q->packed && host_of(d)->busy) || !serve(d, &c, budget)) {
			virtq_unpop(q, &c);
			host_of(d)->stayed = true;
			break;
		}
		pushed = true;
		*budget -= MIN(*budget, REQUEST_COST + RANGE_COST * (c.nr_out + c.nr_in));
	}
	if (pushed && virtio_queue(d, REQUESTS))
		virtio_signal(d, REQUESTS);
	if (!*budget)
		virtio_turn(d, 0);
}

static void run(struct vdev *d, u64 *budget)
{
	if (vm_has_ended(d->vm))
		return;
	host_of(d)->stayed = false;
	run_requests(d, budget);
	scsi_run_control(d);
	scsi_run_events(d);
}

static void scsi_kick(struct vdev *d, unsigned queue)
{
	u64 budget = BUDGET;

	(void)queue; /* a task management function waits for what is in the request queue */
	run(d, &budget);
}

static void scsi_timer(struct vdev *d, unsigned idx)
{
	u64 budget = BUDGET;

	(void)idx;
	for (u32 unit = 0; unit < VM_MAX_DISKS; unit++) {
		struct scsi_medium *m = &host_of(d)->in[unit];

		if (!m->block || !m->read->waiting)
			continue;
		m->read->waiting = false;
		resume(m->read, &budget);
		vm_dma_end(d->vm);
	}
	run(d, &budget);
}

/* ---- media ---- */

static void has_event(struct vdev *d, u32 unit, u8 event)
{
	struct cd_drive *drive = scsi_drive(d, unit);

	drive->event = event;
	drive->notify = drive->subscribed;
	if (drive->notify)
		virtio_turn(d, 0); /* not from a verb: the VM may be between two lives */
}

/* Without a word to the driver. */
static int put_in(struct vdev *d, u32 unit, char *why, size_t n)
{
	struct scsi_medium *m = &host_of(d)->in[unit];
	struct block *b = block_open(vm_disk(d->vm, unit), d->vm, why, n);

	if (!b)
		return -ENODEV;
	if (cd_unfit(b)) {
		snprintf(why, n, "%s: %s", vm_disk(d->vm, unit)->target, cd_unfit(b));
		block_close(b);
		return -EINVAL;
	}
	m->read = kzalloc(offsetof(struct scsi_read, r) + b->req_size, FRAME_DEVICE, vm_id(d->vm));
	if (!m->read) {
		snprintf(why, n, "out of memory of our own");
		block_close(b);
		return -ENOMEM;
	}
	m->read->d = d;
	m->read->unit = unit;
	m->read->r.done = medium_done;
	b->again = medium_again;
	b->arg = d;
	m->block = b;
	m->leaving = false;
	return 0;
}

static void take_out(struct scsi_medium *m, struct vm *vm)
{
	if (!m->block)
		return;
	block_close(m->block);
	if (m->read->waiting)
		vm_dma_end(vm);
	kfree(m->read);
	*m = (struct scsi_medium){0};
}

int scsi_insert(struct vdev *d, u32 unit, char *why, size_t n)
{
	int err = put_in(d, unit, why, n);

	if (err)
		return err;
	scsi_drive(d, unit)->open = 0;
	scsi_drive(d, unit)->attention |= CD_MEDIUM_CHANGED;
	has_event(d, unit, CD_NEW_MEDIA);
	return 0;
}

bool scsi_eject(struct vdev *d, u32 unit)
{
	struct scsi_medium *m = &host_of(d)->in[unit];

	m->leaving = true;
	if (m->block && m->read->busy)
		return false;
	take_out(m, d->vm);
	scsi_drive(d, unit)->locked = 0;
	scsi_drive(d, unit)->attention |= CD_MEDIUM_CHANGED;
	has_event(d, unit, CD_MEDIA_REMOVAL);
	return true;
}

void scsi_keep(struct vdev *d, u32 unit)
{
	host_of(d)->in[unit].leaving = false;
}

void scsi_eject_request(struct vdev *d, u32 unit)
{
	has_event(d, unit, CD_EJECT_REQUEST);
}

/* ---- the device ---- */

static int scsi_init(struct vdev *d)
{
	char why[120];

	d->priv = kzalloc(sizeof(struct scsi_host), FRAME_DEVICE, vm_id(d->vm));
	if (!d->priv)
		return -ENOMEM;
	for (u32 unit = 0; unit < VM_MAX_DISKS; unit++) {
		int err = vm_cdroms(d->vm) >> unit & 1 && vm_disk(d->vm, unit)->target[0] ? put_in(d, unit, why, sizeof(why)) : 0;

		if (err) {
			vdev_refuse(d, "%s", why);
			return err;
		}
	}
	return 0;
}

static void scsi_destroy(struct vdev *d)
{
	if (!d->priv)
		return;
	for (u32 unit = 0; unit < VM_MAX_DISKS; unit++)
		take_out(&host_of(d)->in[unit], d->vm);
	kfree(d->priv);
}

/* A tray that is out stays out. */
static void scsi_reset(struct vdev *d)
{
	struct scsi *s = state_of(d);

	s->sense_size = SCSI_SENSE_SIZE;
	s->cdb_size = SCSI_CDB_SIZE;
	for (u32 unit = 0; unit < VM_MAX_DISKS; unit++) {
		scsi_reset_drive(&s->drive[unit]);
		s->drive[unit].subscribed = s->drive[unit].notify = 0;
	}
	vdev_timer_stop(d, 0);
}

static bool scsi_queue_reset(struct vdev *d, unsigned queue)
{
	if (queue != REQUESTS || !host_of(d)->busy)
		return false;
	virtio_turn(d, 0); /* for those that wait */
	return true;
}

static void scsi_config(const struct vdev *d, u8 *bytes)
{
	const struct virtio_scsi_config c = {
		.num_queues = 1, .seg_max = VIRTQ_MAX_SIZE - 2, .max_sectors = 2048, .cmd_per_lun = 1,
		.event_info_size = sizeof(struct virtio_scsi_event),
		.sense_size = state_of(d)->sense_size, .cdb_size = state_of(d)->cdb_size, .max_target = VM_MAX_DISKS - 1,
	};

	memcpy(bytes, &c, sizeof(c));
}

static void scsi_config_write(struct vdev *d, unsigned off, unsigned size, u32 val)
{
	struct scsi *s = state_of(d);
	u32 both[2] = {s->sense_size, s->cdb_size};

	off -= offsetof(struct virtio_scsi_config, sense_size);
	if (off > sizeof(both) - size)
		return;
	memcpy((u8 *)both + off, &val, size);
	if (MAX(both[0], both[1]) > SIZE_MAX_OF_BOTH) {
		virtio_broken(d, "sense_size or cdb_size is above 255");
		return;
	}
	s->sense_size = both[0];
	s->cdb_size = both[1];
}

static bool scsi_valid(const void *state)
{
	const struct scsi *s = state;

	for (u32 unit = 0; unit < VM_MAX_DISKS; unit++) {
		const struct cd_drive *c = &s->drive[unit];

		if (c->open > 1 || c->locked > 1 || c->subscribed > 1 || c->notify > 1)
			return false;
	}
	return s->sense_size <= SIZE_MAX_OF_BOTH && s->cdb_size <= SIZE_MAX_OF_BOTH;
}

static unsigned scsi_units(const struct vm *vm)
{
	return !!vm_cdroms(vm);
}

static const struct virtio_type scsi = {
	.config_size = sizeof(struct virtio_scsi_config), .queue_size = VIRTQ_MAX_SIZE, .max_queues = QUEUES,
	.init = scsi_init, .destroy = scsi_destroy, .reset = scsi_reset, .valid = scsi_valid,
	.config = scsi_config, .config_write = scsi_config_write, .kick = scsi_kick, .queue_reset = scsi_queue_reset,
	.timer = scsi_timer,
};
#define scsi_ID 8
VIRTIO_DEVICE(scsi, "virtio-scsi", 1, struct scsi, 0x010000, QUEUES + 1, scsi_units);
