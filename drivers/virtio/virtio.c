/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/virtio.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/irq.h"

#define MEMORY_WAIT_NS 10000000ull /* the host has none: until the next try */

unsigned virtio_nr_queues(const struct vdev *d)
{
	const struct virtio_type *t = virtio_type_of(d);

	return t->nr_queues ? t->nr_queues(d) : t->max_queues;
}

/* ---- for devices ---- */

static bool queues_well(const struct virtio *v)
{
	return !v->resetting && v->status & VIRTIO_DRIVER_OK && !(v->status & (VIRTIO_NEEDS_RESET | VIRTIO_FAILED));
}

/* After each change of what it follows from: which queues may be worked on. */
static void note_live(struct virtio *v)
{
	bool well = queues_well(v);

	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		v->queue[i].live = well && v->queue[i].enabled && !v->queue[i].resetting;
}

/* What it names may have to be given memory first, of which a turn gives one block: then it stays in the ring. */
bool virtio_prepared(struct vdev *d, const struct virtq_chain *c)
{
	for (unsigned i = 0; i < c->nr_out + c->nr_in; i++) {
		int r = gmem_prepare(d->vm, c->range[i].gpa, c->range[i].len);

		if (!r)
			continue;
		virtio_turn(d, r == -ENOMEM ? vm_time_ns(d->vm) + MEMORY_WAIT_NS : 0);
		return false;
	}
	return true;
}

static inline bool take(struct vdev *d, unsigned queue, struct virtq_chain *c)
{
	struct virtq *q = virtio_queue(d, queue);
	const char *why;
	int r = q ? virtq_pop(d->vm, q, c, &why) : 0;

	if (unlikely(r < 0))
		virtio_broken(d, why);
	return r == 1;
}

bool virtio_take(struct vdev *d, unsigned queue, struct virtq_chain *c)
{
	return take(d, queue, c);
}

bool virtio_pop(struct vdev *d, unsigned queue, struct virtq_chain *c)
{
	struct virtq *q = &virtio_of(d)->queue[queue];

	if (!take(d, queue, c))
		return false;
	if (likely(!gmem_sparse(d->vm)))
		return true;
	q->waits = !virtio_prepared(d, c);
	if (q->waits)
		virtq_unpop(q, c);
	return !q->waits;
}

void virtio_push(struct vdev *d, unsigned queue, const struct virtq_chain *c, u32 written)
{
	if (virtq_push(d->vm, &virtio_of(d)->queue[queue], c, written))
		virtio_broken(d, "the used ring is not in RAM");
}

void virtio_signal(struct vdev *d, unsigned queue)
{
	struct virtio *v = virtio_of(d);

	if (virtq_wants_irq(d->vm, &v->queue[queue]))
		virtio_model_of(d)->transport->interrupt(d, v->queue_vector[queue], VIRTIO_ISR_QUEUE);
}

bool virtio_signal_later(struct vdev *d, unsigned queue)
{
	struct virtio *v = virtio_of(d);
	struct virtq *q = &v->queue[queue];
	u16 signalled = q->signalled;
	u8 told = q->told;

	if (!virtq_wants_irq(d->vm, q))
		return false;
	if ((u16)(q->next_used - signalled) > q->size / 4) {
		virtio_model_of(d)->transport->interrupt(d, v->queue_vector[queue],
							 VIRTIO_ISR_QUEUE);
		return false;
	}
	q->signalled = signalled;
	q->told = told;
	return true;
}

void virtio_config_changed(struct vdev *d)
{
	struct virtio *v = virtio_of(d);

	v->generation++;
	if (v->status & VIRTIO_DRIVER_OK)
		virtio_model_of(d)->transport->interrupt(d, v->config_vector, VIRTIO_ISR_CONFIG);
}

void virtio_broken(struct vdev *d, const char *what)
{
	struct virtio *v = virtio_of(d);

	v->errors++;
	vdev_error(d);
	if (v->status & VIRTIO_NEEDS_RESET)
		return;
	/* A driver may do it again and again: the 1st, 2nd, 4th, 8th... time is said. */
	if (!(v->errors & (v->errors - 1)))
		log_warn("%s: %s: %s; the device waits for its driver to reset it", vm_name(d->vm), d->type->name, what);
	v->status |= VIRTIO_NEEDS_RESET;
	note_live(v);
	/* 2.1.2: a driver that had not said DRIVER_OK is not told. */
	if (v->status & VIRTIO_DRIVER_OK)
		virtio_model_of(d)->transport->interrupt(d, v->config_vector, VIRTIO_ISR_CONFIG);
}

/* ---- for transports ---- */

void virtio_reset(struct vdev *d)
{
	const struct virtio_type *t = virtio_type_of(d);
	struct virtio *v = virtio_of(d);
	u32 errors = v->errors;

	*v = (struct virtio){.errors = errors, .config_vector = VIRTIO_NO_VECTOR};
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		v->queue_vector[i] = VIRTIO_NO_VECTOR;
		virtq_reset(&v->queue[i], t->queue_size);
	}
	virtio_model_of(d)->transport->silence(d);
	if (t->reset)
		t->reset(d);
}

int virtio_init(struct vdev *d)
{
	const struct virtio_type *t = virtio_type_of(d);
	int r = t->init ? t->init(d) : 0;

	return r ?: virtio_model_of(d)->transport->init(d);
}

void virtio_destroy(struct vdev *d)
{
	if (virtio_type_of(d)->destroy)
		virtio_type_of(d)->destroy(d);
}

void virtio_timer(struct vdev *d, unsigned idx)
{
	virtio_type_of(d)->timer(d, idx);
}

void virtio_work(struct vdev *d)
{
	if (virtio_type_of(d)->work)
		virtio_type_of(d)->work(d);
}

u64 virtio_offered(const struct vdev *d)
{
	const struct virtio_type *t = virtio_type_of(d);

	return VIRTIO_F_COMMON | (t->features ? t->features(d) : 0);
}

/* NULL: it selected none that is there. */
struct virtq *virtio_selected(const struct vdev *d)
{
	struct virtio *v = virtio_of(d);

	return v->queue_select < virtio_nr_queues(d) ? &v->queue[v->queue_select] : NULL;
}

void virtio_set_queue_size(const struct vdev *d, struct virtq *q, u64 size)
{
	q->size = (u16)MIN(size, virtio_type_of(d)->queue_size);
}

u32 virtio_offered_half(const struct vdev *d)
{
	u32 half = virtio_of(d)->feature_select;

	return half < 2 ? (u32)(virtio_offered(d) >> 32 * half) : 0;
}

void virtio_accept_half(struct vdev *d, u32 val)
{
	struct virtio *v = virtio_of(d);

	if (v->driver_feature_select < 2) {
		unsigned shift = 32 * v->driver_feature_select;

		virtio_accept(d, (v->features & ~(0xffffffffull << shift)) | (u64)val << shift);
	}
}

void virtio_accept(struct vdev *d, u64 features)
{
	struct virtio *v = virtio_of(d);

	if (!(v->status & VIRTIO_FEATURES_OK))
		v->features = features;
}

/* 2.2.2: FEATURES_OK stays clear when the driver took what was not offered, or speaks no virtio 1. */
static bool features_ok(const struct vdev *d)
{
	u64 f = virtio_of(d)->features;

	return !(f & ~virtio_offered(d)) && f & VIRTIO_F_VERSION_1;
}

/* true: done; else virtio_idle() will be called. */
static bool let_go(struct vdev *d, unsigned queue)
{
	const struct virtio_type *t = virtio_type_of(d);

	return !t->queue_reset || !t->queue_reset(d, queue);
}

static void clear_queue(struct vdev *d, unsigned queue)
{
	virtq_reset(&virtio_of(d)->queue[queue], virtio_type_of(d)->queue_size);
	virtio_of(d)->queue_vector[queue] = VIRTIO_NO_VECTOR;
}

void virtio_drop_queue(struct vdev *d, unsigned queue)
{
	struct virtio *v = virtio_of(d);

	if (v->resetting || v->queue[queue].resetting)
		return;
	if (let_go(d, queue))
		clear_queue(d, queue);
	else
		v->queue[queue].resetting = 1;
	note_live(v);
}

/* 2.6.1 */
void virtio_reset_queue(struct vdev *d, unsigned queue)
{
	if (queue < virtio_nr_queues(d) && virtio_has(d, VIRTIO_F_RING_RESET))
		virtio_drop_queue(d, queue);
}

/* 2.4.1: all queues let go first, and device_status does not read 0 before they have. */
static void driver_reset(struct vdev *d)
{
	struct virtio *v = virtio_of(d);
	bool busy = false;

	if (v->resetting)
		return;
	for (unsigned i = 0; i < virtio_nr_queues(d); i++) {
		v->queue[i].resetting = !let_go(d, i);
		busy |= v->queue[i].resetting;
	}
	v->resetting = busy;
	note_live(v);
	if (!busy)
		virtio_reset(d);
}

void virtio_idle(struct vdev *d, unsigned queue)
{
	struct virtio *v = virtio_of(d);

	if (!v->queue[queue].resetting)
		return;
	clear_queue(d, queue);
	note_live(v);
	for (unsigned i = 0; i < virtio_nr_queues(d); i++)
		if (v->queue[i].resetting)
			return;
	if (v->resetting)
		virtio_reset(d);
}

void virtio_set_status(struct vdev *d, u8 status)
{
	const struct virtio_type *t = virtio_type_of(d);
	struct virtio *v = virtio_of(d);
	u8 before = v->status;

	if (!status || v->resetting) {
		driver_reset(d);
		return;
	}
	/* Bits are only ever set, and NEEDS_RESET by us alone. */
	status = (u8)(before | (status & ~VIRTIO_NEEDS_RESET));
	if (!v->legacy && status & ~before & VIRTIO_FEATURES_OK && !features_ok(d))
		status &= ~VIRTIO_FEATURES_OK;
	if (!v->legacy && !(status & VIRTIO_FEATURES_OK))
		status &= ~VIRTIO_DRIVER_OK;
	v->status = status;
	note_live(v);
	if (!(status & ~before & VIRTIO_DRIVER_OK))
		return;
	if (t->started)
		t->started(d);
	for (unsigned i = 0; i < virtio_nr_queues(d); i++) /* it may have added before it said so */
		virtio_kick(d, i);
}

void virtio_enable_queue(struct vdev *d, unsigned queue)
{
	struct virtio *v = virtio_of(d);
	struct virtq *q;
	const char *wrong;

	if (queue >= virtio_nr_queues(d) || v->queue[queue].enabled)
		return;
	if (!v->legacy && !(v->status & VIRTIO_FEATURES_OK)) {
		virtio_broken(d, "a queue is enabled before FEATURES_OK");
		return;
	}
	q = &v->queue[queue];
	q->packed = !!(v->features & VIRTIO_F_RING_PACKED);
	q->event_idx = !!(v->features & VIRTIO_F_EVENT_IDX);
	q->indirect = !!(v->features & VIRTIO_F_INDIRECT_DESC);
	wrong = virtq_enable(d->vm, q);
	if (wrong) {
		q->packed = 0; /* as in all that are not enabled */
		virtio_broken(d, wrong);
	}
	note_live(v);
}

void virtio_kick(struct vdev *d, unsigned queue)
{
	struct virtq *q = virtio_queue(d, queue);

	if (q && !virtq_idle(d->vm, q))
		virtio_type_of(d)->kick(d, queue);
}

u64 virtio_config_read(struct vdev *d, u64 off, unsigned size)
{
	const struct virtio_type *t = virtio_type_of(d);
	u8 bytes[VIRTIO_MAX_CONFIG] = {0};
	u64 val = ~0ull;

	if (off > t->config_size || size > t->config_size - off)
		return val;
	t->config(d, bytes);
	val = 0;
	memcpy(&val, bytes + off, size);
	return val;
}

void virtio_config_write(struct vdev *d, u64 off, unsigned size, u64 val)
{
	const struct virtio_type *t = virtio_type_of(d);

	if (t->config_write && off <= t->config_size && size <= t->config_size - off && size <= 4)
		t->config_write(d, (unsigned)off, size, (u32)val);
}

bool virtio_valid(const struct virtio_type *t, const void *state)
{
	const struct virtio *v = state;
	bool well = queues_well(v);

	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++) {
		const struct virtq *q = &v->queue[i];

		if (!virtq_valid(q) || q->size > t->queue_size || q->enabled > (i < t->max_queues) ||
		    q->live != (well && q->enabled))
			return false;
	}
	return v->legacy <= 1 && !v->resetting && (!t->valid || t->valid(state));
}
