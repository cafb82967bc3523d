/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The network card (virtio 1.2, 5.1): a port of a bridge (drivers/net/). What the driver sends is
 * read from its buffers into the receivers' rings while it holds its own VM's device lock; what
 * waits in the port's ring goes to the driver's buffers in net_work(), which the switch asks for by
 * vdev_work(), or when the driver brings buffers.
 *
 * Nothing is held between two calls, but what waits in the port, and that may be lost, as on a
 * wire.
 */
#include "arch/x86_64/asm.h"
#include "drivers/hotplug.h"
#include "drivers/virtio/net_card.h"
#include "drivers/virtio/virtio_pci.h"
#include "drivers/virtio/virtq_view.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/gmem.h"

enum { LINK_UP = 1, ANNOUNCE = 2 }; /* 5.1.4: status */
struct net_config {
	u8 mac[6];
	u16 status, max_pairs, mtu;
};
static_assert(sizeof(struct net_config) == 12, "virtio 1.2, 5.1.4");

#define MAX_BUFS  64u /* that a frame may take; ours are 64 KiB, a driver's a page at least */
/* What a call may do before others go on: in bytes; a frame counts as some more. */
#define BUDGET	   KIB(96)
#define FRAME_COST 1024u
#define RANGE_COST 64u
/* How long nothing must have been sent before the driver is told that all is sent, unless it was
 * much: other cards moderate their interrupts, too. A driver that sends or receives goes through
 * what has been sent anyway. */
#define QUIET_NS   250000u
#define LARGE	   KIB(16) /* of BUDGET */

static u32 hdr_size(const struct vdev *d)
{
	return virtio_has(d, VIRTIO_F_VERSION_1 | NET_F_MRG_RXBUF) ? 12 : 10; /* 5.1.6.1 */
}

/* 5.1.2: behind all pairs, or behind the one that a driver knows of. */
static unsigned ctrl_queue(const struct vdev *d)
{
	return virtio_has(d, NET_F_MQ) ? 2 * net_max_pairs(d) : 2;
}

/* ---- sending ---- */

struct sending {
	struct vdev *d;
	const struct virtq_chain *c;
	u32 skip; /* the header's bytes */
};

static int read_chain(const struct net_frame *f, u32 off, void *to, u32 n)
{
	const struct sending *s = f->arg;

	return virtq_read(s->d->vm, s->c, s->skip + off, to, n) == n ? 0 : -EFAULT;
}

static int read_one(const struct net_frame *f, u32 off, void *to, u32 n)
{
	if (unlikely(off > f->len || n > f->len - off))
		return -EFAULT; /* nobody asks for that; its page may end there */
	memcpy(to, (const u8 *)f->arg + off, n);
	return 0;
}

/* What a frame of len bytes that was sent counts as: a dropped one takes its time, too. */
static u64 send_cost(u32 ports, u32 len, u32 ranges)
{
	return (u64)ports * len + MAX(ports, 1u) * FRAME_COST + ranges * RANGE_COST;
}

/* The next frame, if it is one buffer: its cost. 0: there is none; -1: see virtq_look(). */
static s64 send_one(struct vdev *d, const struct virtq_view *w)
{
	u32 skip = hdr_size(d), n, ports;
	u8 buf[12 + NET_HEAD];
	struct net_frame f;
	struct virtq_one o;
	int r = virtq_look(w, false, &o);

	if (r <= 0)
		return r;
	if (unlikely(o.len < skip))
		return -1;
	n = MIN(o.len, skip + NET_HEAD);
	memcpy(buf, o.at, n);
	memcpy(&f.hdr, buf, sizeof(f.hdr));
	f.hdr.flags &= NET_NEEDS_CSUM;
	f.len = o.len - skip;
	f.head_len = n - skip;
	f.head = buf + skip;
	f.read = read_one;
	f.arg = o.at + skip;
	ports = net_send(port_of(d), &f);
	virtq_done(w, &o, 0);
	return (s64)send_cost(ports, f.len, 1);
}

/* Header and the frame's beginning in one piece: for a small frame that is all. Its cost. */
static u64 send(struct vdev *d, const struct virtq_chain *c)
{
	struct sending s = {.d = d, .c = c, .skip = hdr_size(d)};
	u8 buf[12 + NET_HEAD];
	struct net_frame f = {.read = read_chain, .arg = &s, .head = buf + s.skip};
	u64 n = MIN(c->out_len, s.skip + NET_HEAD);
	u32 ports;

	virtq_read(d->vm, c, 0, buf, n);
	memcpy(&f.hdr, buf, sizeof(f.hdr));
	f.hdr.flags &= NET_NEEDS_CSUM; /* 5.1.6.2.1: the others are the device's to set */
	/* The switch looks at the length first of all. */
	f.len = (u32)MIN(c->out_len - s.skip, ~0u);
	f.head_len = (u32)(n - s.skip);
	ports = net_send(port_of(d), &f);
	return send_cost(ports, f.len, c->nr_out);
}

void net_turn(struct vdev *d, u64 wait_ns)
{
	virtio_turn(d, wait_ns ? vm_time_ns(d->vm) + wait_ns : 0);
}

static void tell_later(struct vdev *d, unsigned queue, u64 cost)
{
	if (!virtio_queue(d, queue))
		return;
	if (cost > LARGE) {
		virtio_signal(d, queue);
	} else if (virtio_signal_later(d, queue)) {
		net_of(d)->sent_ns = vm_time_ns(d->vm);
		virtio_turn(d, net_of(d)->sent_ns + QUIET_NS);
	}
}

static void tell_sent(struct vdev *d)
{
	u64 at = net_of(d)->sent_ns + QUIET_NS;
	bool quiet = vm_time_ns(d->vm) >= at;

	for (unsigned i = 1; i < 2 * net_max_pairs(d); i += 2) {
		const struct virtq *q = virtio_queue(d, i);

		if (!q || q->signalled == q->next_used)
			continue;
		if (quiet)
			virtio_signal(d, i);
		else
			virtio_turn(d, at);
	}
}

static void run_tx(struct vdev *d, unsigned queue, u64 budget)
{
	struct virtq *q = virtio_queue(d, queue);
	struct net_port *p = port_of(d);
	u64 wait = 0, cost, all = budget;
	struct virtq_chain c;
	struct virtq_view w;
	bool pushed = false;
	s64 one;

	if (!q)
		return;
	virtio_set_kicks(d, queue, false);
	virtq_see(d->vm, q, &w);
	do {
		while (budget && !(p && (wait = net_send_wait(p)))) {
			one = likely(p) ? send_one(d, &w) : -1;
			if (likely(one > 0)) {
				budget -= MIN(budget, (u64)one);
				pushed = true;
				continue;
			}
			if (!one || !virtio_pop(d, queue, &c))
				break;
			if (c.out_len < hdr_size(d) || c.nr_in) {
				virtio_broken(d, "a frame to be sent has no header, or is to write");
				break;
			}
			cost = likely(p) ? send(d, &c) : FRAME_COST;
			budget -= MIN(budget, cost);
			virtio_push(d, queue, &c, 0);
			pushed = true;
		}
	} while (budget && !wait && virtio_set_kicks(d, queue, true));
	if (pushed)
		tell_later(d, queue, all - budget);
	if (p)
		net_flush(p);
	if (!budget || wait)
		net_turn(d, wait);
}

/* ---- receiving ---- */

static bool in_table(const struct net *s, bool multi, const u8 *mac)
{
	if (s->nr_macs[multi] > MAX_MACS)
		return true;
	for (u32 i = 0; i < s->nr_macs[multi]; i++)
		if (!memcmp(s->macs[multi][i], mac, 6))
			return true;
	return false;
}

/* 5.1.6.5.1 to 5.1.6.5.3. What was flooded is seldom for this one; the switch need not know for
 * whom it is. */
static bool wanted(const struct vdev *d, const struct net_rx *r)
{
	static const u8 broadcast[6] = {255, 255, 255, 255, 255, 255};
	const struct net *s = net_of(d);
	const u8 *mac = r->data;

	if (virtio_has(d, NET_F_CTRL_VLAN) && r->len >= 18 && r->data[12] == 0x81 &&
	    r->data[13] == 0) {
		u16 id = (u16)((r->data[14] << 8 | r->data[15]) & 0xfff);

		if (!(s->vlans[id / 64] >> id % 64 & 1))
			return false;
	}
	if (s->mode[CTRL_PROMISC])
		return true;
	if (!(mac[0] & 1))
		return !s->mode[CTRL_NOUNI] &&
		       (s->mode[CTRL_ALLUNI] || !memcmp(mac, s->mac, 6) || in_table(s, false, mac));
	if (!memcmp(mac, broadcast, 6))
		return !s->mode[CTRL_NOBCAST];
	return !s->mode[CTRL_NOMULTI] && (s->mode[CTRL_ALLMULTI] || in_table(s, true, mac));
}

struct buf {
	u16 id, nr_ring;
	u32 written;
};

/* The frame's bytes from `done` on, into a chain from `off` on; how many bytes of the chain that
 * used. */
static u32 fill(struct vdev *d, const struct virtq_chain *c, u32 off, const struct net_rx *r,
		u32 *done)
{
	u32 n = (u32)MIN(c->in_len - off, r->len - *done);

	virtq_write(d->vm, c, off, r->data + *done, n);
	*done += n;
	return off + n;
}

/* A small frame and its header go in one piece, which is one walk of the guest's memory. */
static u32 fill_first(struct vdev *d, const struct virtq_chain *c, const struct net_rx *r,
		      u32 *done)
{
	u32 hdr = hdr_size(d), n = MIN(r->len, 256u);
	u8 buf[12 + 256];
	u16 one = 1;

	memcpy(buf, &r->hdr, sizeof(r->hdr));
	memcpy(buf + 10, &one, 2);
	n = (u32)MIN(c->in_len - hdr, n);
	memcpy(buf + hdr, r->data, n);
	virtq_write(d->vm, c, 0, buf, hdr + n);
	*done = n;
	return n < r->len ? fill(d, c, hdr + n, r, done) : hdr + n;
}

/* Where the header says how many buffers there are; a driver may have cut it anywhere. */
static void find_num(const struct virtq_chain *c, gpa_t at[2])
{
	for (u32 i = 0; i < 2; i++) {
		const struct block_range *r = c->range;
		u32 off = 10 + i;

		for (; off >= r->len; r++)
			off -= r->len;
		at[i] = r->gpa + off;
	}
}

enum put { PUT, PUT_NO_ROOM, PUT_AGAIN, PUT_NEVER };

/* Too few buffers. The driver is to say when it has brought more than these; it may have done so
 * this moment. */
static enum put no_room(struct vdev *d, unsigned queue, const struct virtq *before)
{
	struct virtq *q = virtio_queue(d, queue);
	bool more;

	if (!q)
		return PUT_NEVER;
	more = virtio_set_kicks(d, queue, true);
	*q = *before;
	return more ? PUT_AGAIN : PUT_NO_ROOM;
}

/*
 * Into as many buffers as it takes, if the driver merges them. None is given back before all are
 * filled, so that what the first says of their number is there in time. No room: the queue is as it
 * was.
 */
static enum put put(struct vdev *d, unsigned queue, const struct net_rx *r)
{
	struct virtq *q = &virtio_of(d)->queue[queue], before = *q;
	bool merge = virtio_has(d, NET_F_MRG_RXBUF);
	struct buf bufs[MAX_BUFS];
	struct virtq_chain c;
	u32 n = 0, done = 0, ranges = 0;
	gpa_t num_at[2] = {0};

	do {
		if (!virtio_pop(d, queue, &c))
			return no_room(d, queue, &before);
		if (c.nr_out || (!n && c.in_len < hdr_size(d))) {
			virtio_broken(d, "a buffer for frames is too small, or is to be read");
			return PUT_NEVER;
		}
		ranges += c.nr_in;
		if ((!merge && c.in_len < hdr_size(d) + r->len) || ranges > VIRTQ_MAX_SIZE) {
			*q = before;
			return PUT_NEVER;
		}
		bufs[n] = (struct buf){.id = c.id, .nr_ring = c.nr_ring};
		if (!n && merge)
			find_num(&c, num_at);
		bufs[n].written = n ? fill(d, &c, 0, r, &done) : fill_first(d, &c, r, &done);
		n++;
	} while (done < r->len && n < MAX_BUFS);
	if (done < r->len) {
		*q = before;
		return PUT_NEVER;
	}
	if (n > 1)
		for (u32 i = 0; i < 2; i++)
			gmem_write(d->vm, num_at[i], (u8 *)&n + i, 1);
	for (u32 i = 0; i < n; i++) {
		c.id = bufs[i].id;
		c.nr_ring = bufs[i].nr_ring;
		virtio_push(d, queue, &c, bufs[i].written);
	}
	return PUT;
}

/* A frame that fits into the next buffer, which is one piece. */
static bool put_one(struct vdev *d, const struct virtq_view *w, const struct net_rx *r)
{
	u32 hdr = hdr_size(d);
	struct virtq_one o;
	u16 one = 1;

	if (virtq_look(w, true, &o) <= 0 || unlikely(o.len < hdr + r->len))
		return false;
	memcpy(o.at, &r->hdr, sizeof(r->hdr));
	if (likely(hdr == 12))
		memcpy(o.at + sizeof(r->hdr), &one, sizeof(one));
	memcpy(o.at + hdr, r->data, r->len);
	virtq_done(w, &o, hdr + r->len);
	return true;
}

/* What the driver has taken of offloads; the port is told when that changes, also by a restored
 * state. */
static u32 takes(const struct vdev *d)
{
	u64 o = net_of(d)->offloads;

	if (!(virtio_of(d)->status & VIRTIO_DRIVER_OK) || !(o & NET_F_GUEST_CSUM))
		return 0;
	return NET_TAKES_CSUM | (o & NET_F_GUEST_TSO4 ? NET_TAKES_TSO4 : 0) |
	       (o & NET_F_GUEST_TSO6 ? NET_TAKES_TSO6 : 0) |
	       (o & NET_F_GUEST_ECN ? NET_TAKES_ECN : 0);
}

void net_tell_takes(struct vdev *d)
{
	if (port_of(d))
		net_set_takes(port_of(d), takes(d));
}

static bool link_of(const struct vdev *d)
{
	return port_of(d) && net_link(port_of(d));
}

static unsigned pairs_in_use(const struct vdev *d)
{
	return virtio_has(d, NET_F_MQ) ? MIN(net_of(d)->pairs, net_max_pairs(d)) : 1;
}

/* One frame after the other, until there are no more, or no buffers. */
static void run_rx(struct vdev *d)
{
	struct net_port *p = port_of(d);
	u64 budget = BUDGET, used = 0;
	struct virtq_view w = {.q = NULL};
	const struct net_rx *r;
	unsigned queue, seen = VIRTIO_MAX_QUEUES;

	if (!p)
		return;
	if (net_takes(p) != takes(d))
		net_tell_takes(d);
	while (budget && (r = net_peek(p))) {
		struct virtq *q;

		queue = 2 * (r->hash % pairs_in_use(d));
		q = virtio_queue(d, queue);
		if (q && wanted(d, r)) {
			enum put res;

			if (unlikely(queue != seen))
				virtq_see(d->vm, q, &w);
			seen = queue;
			res = likely(put_one(d, &w, r)) ? PUT : put(d, queue, r);

			if (res == PUT_NO_ROOM)
				break;
			if (res == PUT_AGAIN) { /* most of it may have been copied already */
				budget -= MIN(budget, r->len + FRAME_COST);
				continue;
			}
			used |= res == PUT ? BIT(queue) : 0;
			if (res == PUT_NEVER)
				net_refused(p);
		}
		budget -= MIN(budget, r->len + FRAME_COST);
		net_next(p);
	}
	for (; used; used &= used - 1)
		if (virtio_queue(d, (unsigned)__builtin_ctzl(used)))
			virtio_signal(d, (unsigned)__builtin_ctzl(used));
	if (!budget)
		net_turn(d, 0);
}

/* ---- the device ---- */

/* run_rx() asks to be told when it needs some. */
static void more_buffers(struct vdev *d, unsigned queue)
{
	virtio_set_kicks(d, queue, false);
	run_rx(d);
}

static void net_kick(struct vdev *d, unsigned queue)
{
	if (queue == ctrl_queue(d))
		net_run_ctrl(d, queue);
	else if (queue & 1)
		run_tx(d, queue, BUDGET);
	else
		more_buffers(d, queue);
}

static unsigned net_queues(const struct vdev *d)
{
	return 2 * net_max_pairs(d) + 1;
}

static void net_timer(struct vdev *d, unsigned idx)
{
	(void)idx;
	virtio_kick(d, ctrl_queue(d));
	for (unsigned i = 0; i < net_max_pairs(d); i++)
		run_tx(d, 2 * i + 1, BUDGET / net_max_pairs(d));
	tell_sent(d);
	run_rx(d);
}

/* Frames wait, or the link has changed. One that comes up again may be elsewhere: the guest tells
 * its neighbours. */
static void net_work(struct vdev *d)
{
	struct net *s = net_of(d);
	u8 link = link_of(d);

	if (s->link != link) {
		s->link = link;
		s->announce = link && virtio_has(d, NET_F_ANNOUNCE);
		virtio_config_changed(d);
	}
	run_rx(d);
}

static void work_for(struct net_port *p)
{
	vdev_work(net_priv(p));
}

static bool has_ended(const struct net_port *p)
{
	const struct vdev *d = net_priv(p);

	return vm_has_ended(d->vm);
}

static const struct net_port_ops port_ops = {
	.kind = "virtio-net", .kick = work_for, .link = work_for, .ended = has_ended};

static int net_init(struct vdev *d)
{
	const struct vm_config *cfg = vm_config(d->vm);
	char why[120];

	d->priv = net_open(&port_ops, d, vif_of(d), vm_id(d->vm), d->unit, why, sizeof(why));
	if (!d->priv) {
		vdev_refuse(d, "%s", why);
		return -ENODEV;
	}
	return net_set_rules(vm_id(d->vm), d->unit, cfg->rules, cfg->nr_rules);
}

static void net_destroy(struct vdev *d)
{
	net_close(port_of(d));
	*vm_vif(d->vm, d->unit) = (struct vm_vif){0}; /* its place is empty */
}

bool net_tear(struct vdev *d)
{
	net_close(port_of(d));
	d->priv = NULL;
	net_work(d);
	return true;
}

static u64 net_features(const struct vdev *d)
{
	return NET_F_CSUM | NET_F_OFFLOADS | NET_F_GUEST_OFFLOADS | NET_F_MTU | NET_F_MAC |
	       NET_F_HOST_TSO4 | NET_F_HOST_TSO6 | NET_F_HOST_ECN | NET_F_MRG_RXBUF | NET_F_STATUS |
	       NET_F_CTRL_VQ | NET_F_CTRL_RX | NET_F_CTRL_VLAN | NET_F_CTRL_RX_EXTRA |
	       NET_F_ANNOUNCE | (net_max_pairs(d) > 1 ? NET_F_MQ : 0) |
	       (vif_of(d)->antispoof ? 0 : NET_F_CTRL_MAC);
}

static void net_config(const struct vdev *d, u8 *bytes)
{
	const struct net *s = net_of(d);
	struct net_config c = {
		.status = (u16)((s->link ? LINK_UP : 0) | (s->announce ? ANNOUNCE : 0)),
		.max_pairs = (u16)net_max_pairs(d),
		.mtu = vif_of(d)->mtu};

	memcpy(c.mac, s->mac, 6);
	memcpy(bytes, &c, sizeof(c));
}

/* Legacy drivers write the MAC here (5.1.4); it is theirs only if they may send from it. */
static void net_config_write(struct vdev *d, unsigned off, unsigned size, u32 val)
{
	if (virtio_of(d)->legacy && !vif_of(d)->antispoof && off + size <= 6)
		memcpy(net_of(d)->mac + off, &val, size);
}

static void net_reset(struct vdev *d)
{
	struct net *s = net_of(d);

	memset((u8 *)s + sizeof(s->virtio), 0, sizeof(*s) - sizeof(s->virtio));
	memcpy(s->mac, vif_of(d)->mac, 6);
	s->pairs = 1;
	s->mode[CTRL_PROMISC] = 1; /* a driver that sets no filter gets all */
	s->link = link_of(d);
	vdev_timer_stop(d, 0);
	net_tell_takes(d);
}

static void net_started(struct vdev *d)
{
	net_of(d)->offloads = virtio_of(d)->features & NET_F_OFFLOADS;
	net_tell_takes(d);
}

static bool net_valid(const void *state)
{
	const struct net *s = state;

	return s->pairs >= 1 && s->pairs <= MAX_PAIRS && s->nr_macs[0] <= MAX_MACS + 1 &&
	       s->nr_macs[1] <= MAX_MACS + 1;
}

static const struct virtio_type net = {
	.config_size = sizeof(struct net_config),
	.queue_size = VIRTQ_MAX_SIZE, .max_queues = VIRTIO_MAX_QUEUES, .nr_queues = net_queues,
	.features = net_features, .init = net_init, .destroy = net_destroy, .reset = net_reset,
	.config = net_config, .config_write = net_config_write, .started = net_started,
	.kick = net_kick, .timer = net_timer, .work = net_work,
	.valid = net_valid,
};
#define net_ID 1
VIRTIO_DEVICE(net, "virtio-net", 1, struct net, 0x020000, 2 * MAX_PAIRS + 2, vm_vifs);
