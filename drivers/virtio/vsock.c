/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The socket device (virtio 1.2, 5.10): stream sockets to other guests and to the monitor. Here are its queues; who may talk
 * with whom, and what lies between, is vsock.h's.
 *
 * What goes to a peer whose inbox is full stays in the queue, parked: packets for others overtake it, as a device may use
 * chains in any order. When all places for that are taken a connection that needs one more ends, so a peer that takes nothing
 * stops nobody else's packets.
 */
#include "drivers/virtio/virtio_pci.h"
#include "drivers/virtio/vsock.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/config.h"

enum { RX, TX, EVENT, QUEUES };
#define QUEUE_SIZE 128u
#define PARKED	   32u
/* What a call may do before others go on: in bytes; a packet counts as some more. */
#define BUDGET	    KIB(96)
#define PACKET_COST 1024u
#define RANGE_COST  64u

struct vsock_config {
	u64 guest_cid;
};
static_assert(sizeof(struct vsock_config) == 8, "5.10.4");

struct vsock {
	struct virtio virtio;
	u64 epoch; /* of the port whose connections the driver knows; 0: of none yet */
	u8 nr_parked, lost, pad[6]; /* lost: the driver is still to be told that its connections are gone */
	struct parked {
		u32 cid; /* whom it is for */
		u16 id, nr_ring, start, pad;
	} parked[PARKED];
};

static struct vsock *vsock_of(const struct vdev *d)
{
	return d->state;
}
static struct vsock_port *port_of(const struct vdev *d)
{
	return d->priv;
}

/* ---- sending ---- */

/* A turn's: what it may still do, and who takes nothing, so that packets to one peer stay in order. */
struct turn {
	u64 budget;
	bool any; /* chains went back */
	u32 nr_stuck;
	u32 stuck[PARKED];
};

static bool is_stuck(const struct turn *t, u64 cid)
{
	for (u32 i = 0; i < t->nr_stuck; i++)
		if (t->stuck[i] == cid)
			return true;
	return false;
}

static void pay(u64 *budget, u64 bytes, u32 ranges)
{
	u64 cost = MIN(bytes, VSOCK_MAX_DATA) + PACKET_COST + ranges * RANGE_COST;

	*budget -= MIN(*budget, cost);
}

enum did { DID, DID_NOT, BROKEN };

/* DID: the chain has gone back. DID_NOT: it waits for room at *cid. give_up: it must not. */
static enum did send(struct vdev *d, const struct virtq_chain *c, struct turn *t, bool give_up, u32 *cid)
{
	struct vsock_hdr h;

	if (c->nr_in || virtq_read(d->vm, c, 0, &h, sizeof(h)) < sizeof(h) || h.len > c->out_len - sizeof(h)) {
		virtio_broken(d, "a packet has no whole header, less data than it says, or a buffer to be written");
		return BROKEN;
	}
	if (is_stuck(t, h.dst_cid) || vsock_send(port_of(d), &h, c) == VSOCK_WAIT) {
		*cid = (u32)h.dst_cid;
		if (!give_up) {
			pay(&t->budget, 0, 0);
			return DID_NOT;
		}
		vsock_give_up(port_of(d), &h);
	}
	pay(&t->budget, h.len, c->nr_out);
	virtio_push(d, TX, c, 0);
	t->any = true;
	return DID;
}

/* Those that waited, in their order. false: the ring is broken. */
static bool run_parked(struct vdev *d, struct turn *t)
{
	struct virtq *q = virtio_queue(d, TX);
	struct vsock *s = vsock_of(d);
	struct virtq_chain c;
	u32 kept = 0, cid;

	for (u32 i = 0; i < s->nr_parked; i++) {
		struct parked p = s->parked[i];
		enum did did = DID_NOT;
		const char *why;

		if (t->budget && vsock_may_send(port_of(d)) && !is_stuck(t, p.cid)) {
			c.id = p.id;
			c.nr_ring = p.nr_ring;
			c.start = p.start;
			if (virtq_reread(d->vm, q, &c, &why)) {
				virtio_broken(d, why);
				return false;
			}
			did = send(d, &c, t, false, &cid);
			if (did == DID_NOT)
				t->stuck[t->nr_stuck++] = p.cid;
		}
		if (did == BROKEN)
			return false;
		if (did == DID_NOT)
			s->parked[kept++] = p;
	}
	s->nr_parked = (u8)kept;
	return true;
}

static void run_tx(struct vdev *d)
{
	struct turn t = {.budget = BUDGET};
	struct vsock *s = vsock_of(d);
	struct virtq_chain c;
	u32 cid;

	if (!virtio_queue(d, TX) || !run_parked(d, &t))
		return;
	/* An answer must find room: a guest that does not take any sends nothing. */
	while (t.budget && vsock_may_send(port_of(d)) && virtio_pop(d, TX, &c)) {
		enum did did = send(d, &c, &t, s->nr_parked == PARKED, &cid);

		if (did == BROKEN)
			return;
		if (did == DID)
			continue;
		s->parked[s->nr_parked++] = (struct parked){.cid = cid, .id = c.id, .nr_ring = c.nr_ring, .start = c.start};
		if (!is_stuck(&t, cid))
			t.stuck[t.nr_stuck++] = cid;
	}
	if (t.any && virtio_queue(d, TX))
		virtio_signal(d, TX);
	if (!t.budget) /* of which those that wait cannot use up all */
		virtio_turn(d, 0);
}

/* ---- receiving ---- */

static bool deliver(struct vdev *d, struct vsock_packet *k, u64 *budget)
{
	struct virtq_chain c;
	u64 at = sizeof(k->hdr);
	u32 n;

	if (!virtio_pop(d, RX, &c))
		return false;
	if (c.nr_out || c.in_len < sizeof(k->hdr) + !!k->hdr.len) {
		virtio_broken(d, "a buffer for packets has no room for the header and a byte, or is to be read");
		return false;
	}
	n = (u32)MIN(k->hdr.len, c.in_len - at); /* of a stream any part may go */
	k->hdr.len = n;
	virtq_write(d->vm, &c, 0, &k->hdr, sizeof(k->hdr));
	for (u32 i = 0; i < 2 && at < sizeof(k->hdr) + n; i++)
		at += virtq_write(d->vm, &c, at, k->part[i], MIN(k->part_len[i], sizeof(k->hdr) + n - at));
	virtio_push(d, RX, &c, (u32)(sizeof(k->hdr) + n));
	vsock_took(port_of(d), k, n);
	pay(budget, n, c.nr_in);
	return true;
}

static void run_rx(struct vdev *d)
{
	bool could = vsock_may_send(port_of(d)), any = false;
	u64 budget = BUDGET;
	struct vsock_packet k;

	if (!virtio_queue(d, RX))
		return;
	while (budget && vsock_next(port_of(d), &k) && deliver(d, &k, &budget))
		any = true;
	if (any && virtio_queue(d, RX))
		virtio_signal(d, RX);
	if (!budget || (any && !could)) /* there is room for answers again */
		virtio_turn(d, 0);
}

/* 5.10.6.7 */
static void run_events(struct vdev *d)
{
	struct vsock *s = vsock_of(d);
	u32 event = VSOCK_EVENT_RESET;
	struct virtq_chain c;

	if (!s->lost || !virtio_pop(d, EVENT, &c))
		return;
	if (c.nr_out || c.in_len < sizeof(event)) {
		virtio_broken(d, "a buffer for events has no room for one, or is to be read");
		return;
	}
	virtq_write(d->vm, &c, 0, &event, sizeof(event));
	virtio_push(d, EVENT, &c, sizeof(event));
	s->lost = 0;
	if (virtio_queue(d, EVENT))
		virtio_signal(d, EVENT);
}

/* ---- the device ---- */

/* A state that was saved under another port has connections that this one knows nothing of; and perhaps another CID. */
static void look_at_epoch(struct vdev *d)
{
	struct vsock *s = vsock_of(d);
	struct vsock_port *p = port_of(d);

	if (!(virtio_of(d)->status & VIRTIO_DRIVER_OK) || s->epoch == p->epoch)
		return;
	s->lost = s->epoch != 0;
	s->epoch = p->epoch;
	vsock_hang_up(p, true);
}

static void serve(struct vdev *d)
{
	look_at_epoch(d);
	run_events(d);
	run_tx(d);
	run_rx(d);
}

static void vsock_kick(struct vdev *d, unsigned queue)
{
	(void)queue;
	serve(d);
}

static void vsock_timer(struct vdev *d, unsigned idx)
{
	(void)idx;
	serve(d);
}

static int vsock_init(struct vdev *d)
{
	char why[120];

	d->priv = vsock_open(d, &vm_config(d->vm)->vsock, why, sizeof(why));
	if (d->priv)
		return 0;
	vdev_refuse(d, "%s", why);
	return -ENODEV;
}

static void vsock_destroy(struct vdev *d)
{
	vsock_close(port_of(d));
}

static void vsock_reset(struct vdev *d)
{
	struct vsock *s = vsock_of(d);

	memset((u8 *)s + sizeof(s->virtio), 0, sizeof(*s) - sizeof(s->virtio));
	vdev_timer_stop(d, 0);
	vsock_hang_up(port_of(d), false);
}

/* What is parked goes with its queue. */
static bool vsock_queue_reset(struct vdev *d, unsigned queue)
{
	if (queue == TX)
		vsock_of(d)->nr_parked = 0;
	return false;
}

static void vsock_config(const struct vdev *d, u8 *bytes)
{
	memcpy(bytes, &(struct vsock_config){.guest_cid = port_of(d)->cid}, sizeof(struct vsock_config));
}

static u64 vsock_features(const struct vdev *d)
{
	(void)d;
	return VSOCK_F_STREAM;
}

static unsigned vsock_units(const struct vm *vm)
{
	return vm_config(vm)->vsock.wanted;
}

static bool vsock_valid(const void *state)
{
	const struct vsock *s = state;

	return s->nr_parked <= PARKED && s->lost <= 1;
}

static const struct virtio_type vsock = {
	.config_size = sizeof(struct vsock_config), .queue_size = QUEUE_SIZE, .max_queues = QUEUES, .features = vsock_features,
	.init = vsock_init, .destroy = vsock_destroy, .reset = vsock_reset, .config = vsock_config, .started = look_at_epoch,
	.kick = vsock_kick, .queue_reset = vsock_queue_reset, .timer = vsock_timer, .work = serve, .valid = vsock_valid,
};
#define vsock_ID 19
VIRTIO_DEVICE(vsock, "virtio-vsock", 1, struct vsock, 0x078000, QUEUES + 1, vsock_units);
