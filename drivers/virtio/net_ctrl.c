/* SPDX-License-Identifier: BSD-2-Clause */
/* The network card's control queue (virtio 1.2, 5.1.6.5): what the driver wants of what comes. */
#include "drivers/virtio/net_card.h"

struct command {
	struct vdev *d;
	const struct virtq_chain *c;
	u64 at, end; /* what is left of its data */
};

static bool get(struct command *m, void *buf, u32 n)
{
	if (m->end - m->at < n)
		return false;
	virtq_read(m->d->vm, m->c, m->at, buf, n);
	m->at += n;
	return true;
}

/* Two lists: unicast, multicast. */
static bool set_macs(struct command *m)
{
	struct net *s = net_of(m->d);

	for (u32 k = 0; k < 2; k++) {
		u32 n;

		if (!get(m, &n, 4) || (u64)n * 6 > m->end - m->at)
			return false;
		s->nr_macs[k] = (u16)MIN(n, MAX_MACS + 1);
		if (n <= MAX_MACS)
			get(m, s->macs[k], n * 6);
		else
			m->at += (u64)n * 6;
	}
	return true;
}

static bool set_vlan(struct command *m, bool on)
{
	u16 id;

	if (!get(m, &id, 2) || id >= 4096)
		return false;
	if (on)
		net_of(m->d)->vlans[id / 64] |= BIT(id % 64);
	else
		net_of(m->d)->vlans[id / 64] &= ~BIT(id % 64);
	return true;
}

static bool set_offloads(struct command *m)
{
	u64 o;

	if (!get(m, &o, 8) || o & ~(virtio_of(m->d)->features & NET_F_OFFLOADS))
		return false;
	net_of(m->d)->offloads = o;
	net_tell_takes(m->d);
	return true;
}

static bool command(struct command *m)
{
	struct net *s = net_of(m->d);
	u8 head[2], on;
	u16 what, pairs;

	if (!get(m, head, 2))
		return false;
	what = (u16)(head[0] << 8 | head[1]);
	switch (what) {
	case CTRL_PROMISC ... CTRL_NOBCAST:
		if (!get(m, &on, 1))
			return false;
		s->mode[what] = !!on;
		return true;
	case CTRL_MAC_TABLE: return set_macs(m);
	case CTRL_MAC_ADDR: return virtio_has(m->d, NET_F_CTRL_MAC) && get(m, s->mac, 6);
	case CTRL_VLAN_ADD:
	case CTRL_VLAN_DEL: return set_vlan(m, what == CTRL_VLAN_ADD);
	case CTRL_ANNOUNCE_ACK: s->announce = 0; return true;
	case CTRL_MQ_PAIRS:
		if (!virtio_has(m->d, NET_F_MQ) || !get(m, &pairs, 2) || !pairs ||
		    pairs > net_max_pairs(m->d))
			return false;
		s->pairs = pairs;
		return true;
	case CTRL_OFFLOADS: return virtio_has(m->d, NET_F_GUEST_OFFLOADS) && set_offloads(m);
	}
	return false;
}

void net_run_ctrl(struct vdev *d, unsigned queue)
{
	struct virtq_chain c;
	u32 left = 16;

	while (left && virtio_pop(d, queue, &c)) {
		struct command m = {.d = d, .c = &c, .end = c.out_len};
		u8 ack;

		if (!c.in_len) {
			virtio_broken(d, "a command has no room for its answer");
			return;
		}
		ack = command(&m) ? CTRL_OK : CTRL_ERR;
		virtq_write(d->vm, &c, 0, &ack, 1);
		virtio_push(d, queue, &c, 1);
		left--;
	}
	if (left < 16 && virtio_queue(d, queue))
		virtio_signal(d, queue);
	if (!left)
		net_turn(d, 0);
}
