/* SPDX-License-Identifier: BSD-2-Clause */
/* Bridges and their ports come and go; what the monitor says to them and hears of them. */
#include "drivers/net/ports.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/host.h"

static struct list bridges = {&bridges, &bridges};
static struct spinlock bridges_lock = SPINLOCK(LOCK_BRIDGES);
static bool mirror_all;

/* bridges_lock is held. */
static struct net_bridge *bridge_of(const char *name)
{
	struct net_bridge *b;

	list_for_each(n, &bridges)
		if (!strcmp(list_entry(n, struct net_bridge, node)->name, name))
			return list_entry(n, struct net_bridge, node);
	b = kzalloc(sizeof(*b), FRAME_DEVICE, 0);
	if (!b)
		return NULL;
	b->lock = (struct spinlock)SPINLOCK(LOCK_SWITCH);
	b->seed = (net_now() * 0x9e3779b97f4a7c15ull) | 1;
	str_copy(b->name, name, sizeof(b->name));
	list_insert(&bridges, &b->node);
	return b;
}

static void free_if_empty(struct net_bridge *b)
{
	if (b->nr_ports)
		return;
	list_del(&b->node);
	kfree(b);
}

static void free_port(struct net_port *p)
{
	net_filter_free(p);
	if (p->ring)
		kfree(p->ring);
	kfree(p);
}

/* NULL, or why there is no place for it. The bridge's lock is held. */
static const char *plug_in(struct net_bridge *b, struct net_port *p)
{
	u32 place = 0;

	while (place < NET_MAX_PORTS && b->ports[place])
		place++;
	if (place == NET_MAX_PORTS)
		return "has all the ports that it can have; write another bridge";
	for (u32 i = 0; p->mac && i < NET_MAX_PORTS; i++) {
		struct net_port *other = b->ports[i];

		if (!other || other->mac != p->mac)
			continue;
		if (!other->ops->ended || !other->ops->ended(other))
			return "has a card with this MAC already; write another mac=";
		other->mac = 0;
	}
	p->bridge = b;
	p->place = (u8)place;
	b->ports[place] = p;
	b->nr_ports++;
	net_fix(p);
	return NULL;
}

struct net_port *net_open(const struct net_port_ops *ops, void *priv, const struct vm_vif *vif, u16 owner, u32 index,
			  char *why, size_t n)
{
	struct net_port *p = kzalloc(sizeof(*p), FRAME_DEVICE, owner);
	const char *wrong = "needs more memory of our own than there is";
	struct net_bridge *b = NULL;

	if (p)
		p->ring = kzalloc(NET_RING, FRAME_DEVICE, owner);
	spin_lock(&bridges_lock);
	if (p && p->ring)
		b = bridge_of(vif->bridge);
	if (b) {
		u8 mac[8] = {0};

		memcpy(mac, vif->mac, 6);
		p->ops = ops;
		p->priv = priv;
		p->owner = owner;
		p->index = (u8)index;
		p->vif = *vif;
		p->mac = mac_of(mac);
		p->up = true;
		p->credit = (s64)vif->burst;
		p->credit_at = net_now();
		p->mirrored = vif->mirror || mirror_all || host_config()->mirror;
		spin_lock(&b->lock);
		wrong = plug_in(b, p);
		spin_unlock(&b->lock);
		free_if_empty(b);
	}
	spin_unlock(&bridges_lock);
	if (!wrong && p->mirrored)
		net_mirror_start(0);
	if (!wrong)
		return p;
	snprintf(why, n, "vif %u: bridge %s %s", index, vif->bridge, wrong);
	if (p)
		free_port(p);
	return NULL;
}

void net_close(struct net_port *p)
{
	struct net_bridge *b;

	if (!p)
		return;
	b = p->bridge;
	spin_lock(&bridges_lock);
	spin_lock(&b->lock);
	net_forget_port(p);
	b->ports[p->place] = NULL;
	b->nr_ports--;
	for (struct net_port **d = &b->due; *d; d = &(*d)->next_due)
		if (*d == p) {
			*d = p->next_due;
			break;
		}
	spin_unlock(&b->lock);
	free_if_empty(b);
	spin_unlock(&bridges_lock);
	free_port(p);
}

void *net_priv(const struct net_port *p)
{
	return p->priv;
}

bool net_link(const struct net_port *p)
{
	return READ_ONCE(p->up);
}

u32 net_takes(const struct net_port *p)
{
	return READ_ONCE(p->takes);
}

/* Nobody else writes this counter of a port that receives. */
void net_refused(struct net_port *p)
{
	p->drops[DROP_REFUSED]++;
}

void net_set_takes(struct net_port *p, u32 takes)
{
	spin_lock(&p->bridge->lock);
	p->takes = takes;
	__atomic_store_n(&p->head, p->tail, __ATOMIC_RELEASE);
	spin_unlock(&p->bridge->lock);
}

/* ---- for the monitor ---- */

/* The n-th port that fits (owner NET_ANY: of all), its bridge locked. NULL: there is none. */
#define ANY ~0u
static struct net_port *lock_port(u32 owner, u32 index, u32 n)
{
	spin_lock(&bridges_lock);
	list_for_each(l, &bridges) {
		struct net_bridge *b = list_entry(l, struct net_bridge, node);

		for (u32 i = 0; i < NET_MAX_PORTS; i++) {
			struct net_port *p = b->ports[i];

			if (!p || (owner != ANY && p->owner != owner) || (index != ANY && p->index != index) || n--)
				continue;
			spin_lock(&b->lock);
			return p;
		}
	}
	spin_unlock(&bridges_lock);
	return NULL;
}

static void unlock_port(struct net_port *p)
{
	spin_unlock(&p->bridge->lock);
	spin_unlock(&bridges_lock);
}

int net_set_rules(u16 owner, u32 index, const struct net_rule *rules, u32 nr)
{
	struct net_port *p = lock_port(owner, index, 0);
	int r = -ENODEV;

	if (p) {
		r = net_filter_set(p, rules, nr);
		unlock_port(p);
	}
	return r;
}

bool net_rule_hits(u16 owner, u32 index, u32 rule, u64 *hits)
{
	struct net_port *p = lock_port(owner, index, 0);

	if (p) {
		*hits = net_filter_hits(p, rule);
		unlock_port(p);
	}
	return p;
}

int net_set_link(u16 owner, u32 index, bool up)
{
	struct net_port *p = lock_port(owner, index, 0);

	if (!p)
		return -ENODEV;
	if (p->up != up) {
		WRITE_ONCE(p->up, up);
		if (p->ops->link)
			p->ops->link(p);
	}
	unlock_port(p);
	return 0;
}

u32 net_set_mirror(u32 owner, u32 index, bool on)
{
	struct net_port *p;
	u32 n = 0;

	if (owner == ANY)
		mirror_all = on;
	for (; (p = lock_port(owner, index, n)); n++) {
		p->mirrored = on;
		unlock_port(p);
	}
	return n;
}

bool net_stat(u32 n, struct net_stat *st)
{
	struct net_port *p = lock_port(ANY, ANY, n);

	if (!p)
		return false;
	*st = (struct net_stat){.kind = p->ops->kind, .owner = p->owner, .index = p->index, .up = p->up, .vif = p->vif,
				.mirrored = p->mirrored, .filtered = p->filter, .learned = p->nr_learned, .sent = p->sent,
				.received = p->received};
	memcpy(st->drops, p->drops, sizeof(st->drops));
	str_copy(st->bridge, p->bridge->name, sizeof(st->bridge));
	unlock_port(p);
	return true;
}
