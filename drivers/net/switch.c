/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bridges: who gets a frame. They learn from the source addresses which port is where (IEEE 802.1Q,
 * 8), per VLAN, and flood what they do not know. A guest's own MAC is known from its VM file, so
 * that nobody can take it away from it; beside it a port may teach them only so many, and never at
 * the cost of what others taught.
 *
 * No rules, no VLANs, one receiver: parse(), find(), put(), and the frame's copy.
 */
#include "drivers/net/switch.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/string.h"

#define AGE_S		300u /* 802.1Q, table 8-3 */
#define LEARN_AGAIN_NS	1000000000ull
#define LEARN_MAX	64u  /* addresses that a guest's port may teach, */
#define LEARN_MAX_UPLINK 512u
#define MAX_WAIT_US	10000000ull /* rate= has no longer interval */
#define SKIP		~0u /* net_rx.len: the ring goes on at its start */
#define GROUP		1ull /* of a MAC as mac_of() has it */
#define ETH_VLAN	0x8100u

/* ---- the rings ---- */

struct net_rx *net_reserve(struct net_port *p, u32 len)
{
	u64 off = p->tail & (NET_RING - 1), need = sizeof(struct net_rx) + ALIGN_UP(len, 8u);
	u64 skip = NET_RING - off < need ? NET_RING - off : 0;

	if (unlikely(NET_RING - (p->tail - p->head_seen) < skip + need)) {
		p->head_seen = __atomic_load_n(&p->head, __ATOMIC_ACQUIRE);
		if (NET_RING - (p->tail - p->head_seen) < skip + need) {
			net_dropped(p, DROP_FULL);
			return NULL;
		}
	}
	if (skip)
		((struct net_rx *)(p->ring + off))->len = SKIP;
	return (struct net_rx *)(p->ring + (skip ? 0 : off));
}

void net_commit(struct net_port *p, struct net_rx *r)
{
	u64 off = p->tail & (NET_RING - 1), at = (u64)((u8 *)r - p->ring);
	u64 skip = at == off ? 0 : NET_RING - off;

	p->received.packets++;
	p->received.bytes += r->len;
	__atomic_store_n(&p->tail, p->tail + skip + sizeof(*r) + ALIGN_UP(r->len, 8u),
			 __ATOMIC_RELEASE);
	if (!p->due) {
		p->due = true;
		p->next_due = p->bridge->due;
		p->bridge->due = p;
	}
}

const struct net_rx *net_peek(struct net_port *p)
{
	u64 tail = __atomic_load_n(&p->tail, __ATOMIC_ACQUIRE);
	struct net_rx *r;

	if (p->head == tail)
		return NULL;
	r = (struct net_rx *)(p->ring + (p->head & (NET_RING - 1)));
	if (r->len != SKIP)
		return r;
	__atomic_store_n(&p->head, ALIGN_UP(p->head, NET_RING), __ATOMIC_RELEASE);
	return (struct net_rx *)p->ring; /* a frame follows always: both were made known together */
}

void net_next(struct net_port *p)
{
	const struct net_rx *r = (struct net_rx *)(p->ring + (p->head & (NET_RING - 1)));

	if (p->head != p->tail) /* else the receiver has dropped all */
		__atomic_store_n(&p->head, p->head + sizeof(*r) + ALIGN_UP(r->len, 8u),
				 __ATOMIC_RELEASE);
}

/* ---- who is where ---- */

static struct fdb_entry *fdb_set(struct net_bridge *b, u64 key)
{
	u64 h = key * b->seed;

	/* The last bytes of an address are the key's highest, and move nothing below themselves. */
	return b->fdb[(h ^ h >> 32) * b->seed >> 56];
}
static_assert(FDB_SETS == 256, "eight bits of the product");

static u64 fdb_key(u64 mac, u16 vlan)
{
	return mac | (u64)vlan << 48;
}

static u32 seconds(u64 ns)
{
	return (u32)(ns >> 30) + 1;
}

static bool stale(const struct fdb_entry *e, u32 now)
{
	return !e->key || (!e->fixed && now - e->seen > AGE_S);
}

static struct net_port *find(struct net_bridge *b, u64 key)
{
	struct fdb_entry *e = fdb_set(b, key);

	for (unsigned i = 0; i < FDB_WAYS; i++, e++)
		if (e->key == key)
			return stale(e, seconds(net_now())) ? NULL : b->ports[e->port];
	return NULL;
}

static void forget(struct net_bridge *b, struct fdb_entry *e)
{
	if (e->key && !e->fixed)
		b->ports[e->port]->nr_learned--;
	e->key = 0;
}

static u32 learn_max(const struct net_port *p)
{
	return p->owner ? LEARN_MAX : LEARN_MAX_UPLINK;
}

/* Where it may be noted: its own place, a free one, or one that the same port taught. */
static struct fdb_entry *place_for(struct net_bridge *b, u64 key, const struct net_port *p, u32 now)
{
	struct fdb_entry *set = fdb_set(b, key), *best = NULL;

	for (unsigned i = 0; i < FDB_WAYS; i++) {
		struct fdb_entry *e = &set[i];

		if (e->key == key)
			return e;
		if (stale(e, now) ? p->nr_learned < learn_max(p)
				  : !best && !e->fixed && e->port == p->place)
			best = e;
	}
	return best;
}

static bool is_others(const struct net_bridge *b, const struct net_port *p, u64 mac)
{
	for (u32 i = 0; i < NET_MAX_PORTS; i++)
		if (b->ports[i] && b->ports[i] != p && b->ports[i]->mac == mac)
			return true;
	return false;
}

/* Its own that nobody has heard of for long make room for new ones; a look a second at most. */
static void age(struct net_port *p, u32 now)
{
	struct fdb_entry *e = p->bridge->fdb[0];

	if (p->aged == now)
		return;
	p->aged = now;
	for (u32 i = 0; i < FDB_SETS * FDB_WAYS; i++, e++)
		if (e->key && e->port == p->place && stale(e, now))
			forget(p->bridge, e);
}

/* false: it is another port's own. */
static bool learn(struct net_port *p, u64 mac, u16 vlan, u64 now)
{
	struct net_bridge *b = p->bridge;
	u64 key = fdb_key(mac, vlan);
	struct fdb_entry *e;

	if (is_others(b, p, mac))
		return false;
	p->learned = key;
	p->learned_at = now;
	if (p->nr_learned >= learn_max(p))
		age(p, seconds(now));
	e = place_for(b, key, p, seconds(now));
	if (!e || (e->key == key && e->fixed))
		return true;
	if (e->key != key || e->port != p->place) {
		forget(b, e);
		*e = (struct fdb_entry){.key = key, .port = p->place};
		p->nr_learned++;
	}
	e->seen = seconds(now);
	return true;
}

/* A card's own address, on its untagged VLAN; it takes the place of one that was learned. */
void net_fix(struct net_port *p)
{
	struct fdb_entry *set, *e = NULL;
	u64 key = fdb_key(p->mac, p->vif.pvid);

	if (!p->mac || !p->vif.untagged)
		return; /* it is learned where it speaks */
	set = fdb_set(p->bridge, key);
	for (unsigned i = 0; i < FDB_WAYS; i++) {
		if (set[i].key == key) {
			e = &set[i];
			break;
		}
		if (!set[i].fixed)
			e = &set[i];
	}
	if (!e)
		return; /* four of them share the set: it is learned, too */
	forget(p->bridge, e);
	*e = (struct fdb_entry){.key = key, .port = p->place, .fixed = true};
}

void net_forget_port(struct net_port *p)
{
	for (u32 i = 0; i < FDB_SETS * FDB_WAYS; i++) {
		struct fdb_entry *e = &p->bridge->fdb[i / FDB_WAYS][i % FDB_WAYS];

		if (e->key && e->port == p->place)
			e->key = 0;
	}
}

/* ---- what a port may send ---- */

int net_copy(const struct net_frame *f, u32 off, void *to, u32 n)
{
	u32 part = off < f->head_len ? MIN(n, f->head_len - off) : 0;

	memcpy(to, f->head + off, part);
	if (part == n)
		return 0;
	return f->read ? f->read(f, off + part, (u8 *)to + part, n - part) : -EINVAL;
}

static bool refuse(struct net_port *p, enum net_drop why)
{
	net_dropped(p, why);
	return false;
}

static bool carries(const struct net_port *p, u16 vlan)
{
	return (p->vif.untagged && vlan == p->vif.pvid) || p->vif.vlans[vlan / 64] >> vlan % 64 & 1;
}

static bool take_tag(struct net_pkt *pk)
{
	const struct net_port *p = pk->from;

	pk->tag = 0;
	pk->tci = 0;
	if (unlikely(be16(pk->f->head + 12) == ETH_VLAN)) {
		if (pk->f->len < NET_ETH_HDR + 4)
			return false;
		pk->tag = 4;
		pk->tci = be16(pk->f->head + 14);
	}
	pk->vlan = pk->tci & 0xfff;
	if (likely(!pk->vlan)) { /* no tag, or one of priority alone */
		pk->vlan = p->vif.pvid;
		return p->vif.untagged;
	}
	return p->vif.vlans[pk->vlan / 64] >> pk->vlan % 64 & 1;
}

/* 802.1Q, table 8-1: from 01:80:c2:00:00:00 to :0f, what a bridge never passes on. */
static bool is_reserved(u64 mac)
{
	return (mac & 0xf0ffffffffffull) == 0x0000c28001ull;
}

/* Fills pk in. false: it goes no further, and that has been counted. */
static bool accept(struct net_port *p, const struct net_frame *f, struct net_pkt *pk)
{
	u64 now = net_now();

	pk->f = f;
	pk->from = p;
	pk->parsed = 0;
	pk->mirrored = false;
	if (unlikely(!p->up))
		return refuse(p, DROP_LINK);
	if (unlikely(f->len < NET_ETH_HDR || f->head_len < MIN(f->len, NET_HEAD)))
		return refuse(p, DROP_MALFORMED);
	if (unlikely(f->len > (f->hdr.gso_type ? NET_MAX_FRAME : NET_MAX_PLAIN)))
		return refuse(p, DROP_SIZE);
	pk->dst = mac_of(f->head);
	pk->src = mac_of(f->head + 6);
	if (unlikely(pk->src & GROUP || !pk->src || is_reserved(pk->dst)))
		return refuse(p, DROP_MALFORMED);
	if (unlikely(!take_tag(pk)))
		return refuse(p, DROP_VLAN);
	if (unlikely(f->hdr.flags & NET_NEEDS_CSUM || f->hdr.gso_type) && !net_hdr_ok(pk))
		return refuse(p, DROP_MALFORMED);
	if (p->vif.antispoof &&
	    (pk->src != p->mac || (unlikely(p->vif.nr_ips) && !net_address_ok(pk))))
		return refuse(p, DROP_SPOOFED);
	if (unlikely(p->learned != fdb_key(pk->src, pk->vlan) ||
		     now - p->learned_at > LEARN_AGAIN_NS) &&
	    !learn(p, pk->src, pk->vlan, now))
		return refuse(p, DROP_SPOOFED);
	if (unlikely(p->filter) && !net_filter(p, pk, true))
		return refuse(p, DROP_FIREWALL);
	p->sent.packets++;
	p->sent.bytes += f->len;
	if (p->vif.rate)
		p->credit -= f->len;
	return true;
}

/* ---- what a port gets ---- */

int net_tag_change(const struct net_pkt *pk, const struct net_port *to)
{
	bool tag = pk->vlan && !(to->vif.untagged && pk->vlan == to->vif.pvid);

	return (tag ? 4 : 0) - pk->tag;
}

/* The tag stands behind the two addresses. */
void net_copy_head(const struct net_pkt *pk, u8 *out, u32 n, int change)
{
	const u8 *head = pk->f->head;
	u8 tagged = (u8)(pk->tag + change);

	memcpy(out, head, 12);
	if (tagged) {
		put16(out + 12, ETH_VLAN);
		put16(out + 14, (pk->tci & 0xf000) | pk->vlan);
	}
	memcpy(out + 12 + tagged, head + 12 + pk->tag, n - 12 - pk->tag);
}

static bool takes_gso(const struct net_port *to, u8 type)
{
	u32 need = (type & ~NET_GSO_ECN) == NET_GSO_TCPV4 ? NET_TAKES_TSO4 : NET_TAKES_TSO6;

	if (type & NET_GSO_ECN)
		need |= NET_TAKES_ECN;
	return !(need & ~to->takes);
}

static void put(struct net_pkt *pk, struct net_port *to)
{
	const struct net_frame *f = pk->f;
	int change = net_tag_change(pk, to);
	u32 head = MIN(f->head_len, f->len);
	struct net_rx *r;

	if (unlikely(f->hdr.gso_type) && !takes_gso(to, f->hdr.gso_type)) {
		net_segment(pk, to);
		return;
	}
	r = net_reserve(to, f->len + (u32)change);
	if (unlikely(!r))
		return;
	if (likely(!change && !pk->tag))
		memcpy(r->data, f->head, head);
	else
		net_copy_head(pk, r->data, head, change);
	if (f->len > head &&
	    unlikely(net_copy(f, head, r->data + (int)head + change, f->len - head))) {
		net_dropped(pk->from, DROP_MALFORMED);
		return;
	}
	r->len = f->len + (u32)change;
	r->hash = to->vif.queues > 1 ? net_flow_hash(pk) : 0;
	r->hdr = f->hdr;
	if (unlikely(f->hdr.flags & NET_NEEDS_CSUM)) {
		r->hdr.csum_start = (u16)(f->hdr.csum_start + change);
		r->hdr.hdr_len = f->hdr.gso_type ? (u16)(net_headers(pk) + (u32)change) : 0;
		if (!(to->takes & NET_TAKES_CSUM)) {
			net_checksum(r->data, r->len, &r->hdr);
			r->hdr = (struct net_hdr){.flags = 0};
		}
	} else {
		r->hdr = (struct net_hdr){
			.flags = to->takes & NET_TAKES_CSUM ? f->hdr.flags & NET_DATA_VALID : 0};
	}
	net_commit(to, r);
}

static void deliver(struct net_pkt *pk, struct net_port *to)
{
	if (unlikely(!to->up || to == pk->from || !carries(to, pk->vlan) ||
		     (to->vif.isolated && pk->from->vif.isolated)))
		return;
	/* With segmentation to be done it is each segment that has to fit. */
	if (unlikely(!pk->f->hdr.gso_type && pk->f->len > NET_ETH_HDR + pk->tag + to->vif.mtu)) {
		net_dropped(pk->from, DROP_SIZE);
		return;
	}
	if (unlikely(to->filter) && !net_filter(to, pk, false)) {
		net_dropped(to, DROP_DENIED);
		return;
	}
	if (unlikely(to->mirrored))
		net_mirror(pk);
	put(pk, to);
}

/* A large frame's copies would take too long; it is one of TCP's, which asks again with a small
 * one. */
static u32 flood(struct net_pkt *pk)
{
	struct net_bridge *b = pk->from->bridge;

	if (pk->f->hdr.gso_type) {
		net_dropped(pk->from, DROP_FLOOD);
		return 1;
	}
	for (u32 i = 0, n = b->nr_ports; n; i++)
		if (b->ports[i]) {
			n--;
			deliver(pk, b->ports[i]);
		}
	return b->nr_ports;
}

u32 net_send(struct net_port *p, const struct net_frame *f)
{
	struct net_pkt pk;
	struct net_port *to;
	u32 ports = 1;

	spin_lock(&p->bridge->lock);
	if (likely(accept(p, f, &pk))) {
		if (unlikely(p->mirrored))
			net_mirror(&pk);
		to = pk.dst & GROUP ? NULL : find(p->bridge, fdb_key(pk.dst, pk.vlan));
		if (likely(to))
			deliver(&pk, to);
		else
			ports = flood(&pk);
	}
	spin_unlock(&p->bridge->lock);
	return ports;
}

void net_flush(struct net_port *p)
{
	struct net_bridge *b = p->bridge;

	if (!READ_ONCE(b->due))
		return;
	spin_lock(&b->lock);
	while (b->due) {
		struct net_port *to = b->due;

		b->due = to->next_due;
		to->due = false;
		to->ops->kick(to);
	}
	spin_unlock(&b->lock);
}

/* It may send as long as it has credit, and goes into debt by a frame at most. */
u64 net_send_wait(struct net_port *p)
{
	u64 us, gained;

	if (likely(!p->vif.rate))
		return 0;
	us = (net_now() - p->credit_at) / 1000;
	if (us > MAX_WAIT_US) { /* all that it can have by now; and then the products below fit */
		p->credit_at += (us - MAX_WAIT_US) * 1000;
		us = MAX_WAIT_US;
	}
	gained = us * p->vif.rate / 1000000;
	p->credit = MIN(p->credit + (s64)gained, (s64)p->vif.burst);
	p->credit_at += gained * 1000000 / p->vif.rate * 1000; /* the rest of a byte is not lost */
	return p->credit > 0 ? 0 : (u64)(1 - p->credit) * 1000000000 / p->vif.rate + 1;
}
