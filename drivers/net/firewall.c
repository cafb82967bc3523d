/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The firewall of a port: rules in order, a default for each direction, and the connections that they let begin. What
 * belongs to one of these passes, both ways, and so do ICMP's errors about it.
 *
 * The table of connections is the port's own and of fixed size. New ones push out only what has ended or was never
 * answered, and those from outside none of the guest's; of the places that one may have, they take half at most. So a flood costs
 * others nothing, and the guest's own connections stay. One that finds no place is judged packet by packet.
 *
 * ARP and neighbour discovery pass always: without them nothing else would. Fragments behind the first have no ports:
 * a rule that has some never lets them pass, and always keeps them off.
 */
#include "drivers/net/switch.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/string.h"

enum conn_state { CONN_NONE, CONN_NEW, CONN_ANSWERED, CONN_ENDING };
enum { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4 };

struct conn_key {
	u8 src[16], dst[16]; /* as its first packet had them */
	u16 sport, dport;
	u8 kind, proto; /* L3_V4 or L3_V6 */
	u8 pad[2];
};
struct conn {
	struct conn_key key;
	u8 state;
	bool out; /* the guest began it */
	u8 pad[2];
	u32 until; /* seconds */
};
static_assert(sizeof(struct conn) == 48, "sets are compact");
#define CONN_SETS    512u
#define CONN_WAYS    4u
#define CONN_WAYS_IN 4u /* of two sets' eight, for those that others began */

struct filter {
	u32 nr;
	bool deny[2]; /* by default: in, out */
	u64 seed;
	struct net_rule rules[VM_MAX_RULES];
	u64 hits[VM_MAX_RULES];
	struct conn conns[CONN_SETS][CONN_WAYS];
};

/* Seconds that a connection is remembered behind its last packet. */
static u32 lifetime(const struct conn *c)
{
	if (c->key.proto == PROTO_TCP)
		return c->state == CONN_NEW ? 30 : c->state == CONN_ENDING ? 60 : 7200;
	return c->key.proto == PROTO_UDP && c->state == CONN_ANSWERED ? 180 : 30;
}

static bool tracked(const struct net_l3 *l)
{
	if (l->frag == FRAG_LATER || (l->kind != L3_V4 && l->kind != L3_V6))
		return false;
	return l->proto == PROTO_TCP || l->proto == PROTO_UDP || ((l->proto == PROTO_ICMP || l->proto == PROTO_ICMP6) && l->sport);
}

static struct conn_key key_of(const struct net_l3 *l)
{
	struct conn_key k = {.sport = l->sport, .dport = l->dport, .kind = l->kind, .proto = l->proto};

	memcpy(k.src, l->src, 16);
	memcpy(k.dst, l->dst, 16);
	return k;
}

static struct conn_key reversed(const struct conn_key *k)
{
	struct conn_key r = *k;

	memcpy(r.src, k->dst, 16);
	memcpy(r.dst, k->src, 16);
	r.sport = k->dport;
	r.dport = k->sport;
	return r;
}

/* Where it may be: two sets, the same for both directions. */
struct conn_place {
	struct conn *set[2];
};

static struct conn_place conn_place(struct filter *f, const struct conn_key *k)
{
	u64 a[2], b[2], h;

	memcpy(a, k->src, 16);
	memcpy(b, k->dst, 16);
	h = (a[0] ^ k->sport) * f->seed + (b[0] ^ k->dport) * f->seed;
	h ^= (a[1] + k->proto) * f->seed + (b[1] + k->proto) * f->seed;
	h = (h ^ h >> 29) * f->seed;
	return (struct conn_place){{f->conns[h >> 55], f->conns[h >> 46 & (CONN_SETS - 1)]}};
}
static_assert(CONN_SETS == 512, "nine bits of the product");

/* The connection that a packet with this key belongs to, in the direction out or in. */
static struct conn *conn_find(struct filter *f, const struct conn_key *k, bool out, u32 now)
{
	struct conn_place p = conn_place(f, k);
	struct conn_key r = reversed(k);

	for (unsigned i = 0; i < 2 * CONN_WAYS; i++) {
		struct conn *c = &p.set[i / CONN_WAYS][i % CONN_WAYS];

		if (c->state && (s32)(c->until - now) >= 0 && !memcmp(&c->key, c->out == out ? k : &r, sizeof(*k)))
			return c;
	}
	return NULL;
}

static void conn_seen(struct conn *c, const struct net_l3 *l, bool out, u32 now)
{
	if (c->state == CONN_NEW && c->out != out)
		c->state = CONN_ANSWERED;
	if (c->key.proto == PROTO_TCP && l->tcp_flags & (TCP_FIN | TCP_RST))
		c->state = CONN_ENDING;
	else if (c->state == CONN_ENDING && (l->tcp_flags & TCP_SYN) && c->out == out)
		c->state = CONN_NEW; /* the same ports once more */
	c->until = now + lifetime(c);
}

static bool gives_way(const struct conn *c, bool out)
{
	return c->state == CONN_NONE || (c->state != CONN_ANSWERED && (out || !c->out));
}

/* In the set that has more places to be had: a free one, or else what would end first. */
static void conn_add(struct filter *f, const struct net_l3 *l, bool out, u32 now)
{
	struct conn_key k = key_of(l);
	struct conn_place p = conn_place(f, &k);
	unsigned places[2] = {0, 0}, in = 0;
	struct conn *best = NULL, *set;

	for (unsigned i = 0; i < 2 * CONN_WAYS; i++) {
		struct conn *c = &p.set[i / CONN_WAYS][i % CONN_WAYS];

		if ((s32)(c->until - now) < 0)
			c->state = CONN_NONE;
		places[i / CONN_WAYS] += gives_way(c, out);
		in += c->state && !c->out;
	}
	set = p.set[places[1] > places[0]];
	for (struct conn *c = set; c < set + CONN_WAYS; c++) {
		bool free = c->state == CONN_NONE;

		if ((free && !out && in >= CONN_WAYS_IN) || !gives_way(c, out))
			continue;
		if (!best || free || (best->state && (s32)(c->until - best->until) < 0))
			best = c;
	}
	if (!best)
		return;
	*best = (struct conn){.key = k, .state = CONN_NEW, .out = out};
	best->until = now + lifetime(best);
}

/* ---- ICMP's errors: they carry the packet that they are about (RFC 792, RFC 4443) ---- */

static bool is_error(const struct net_l3 *l)
{
	return l->frag == FRAG_NONE && (l->proto == PROTO_ICMP ? l->icmp_type == 3 || l->icmp_type == 11 || l->icmp_type == 12
							       : l->proto == PROTO_ICMP6 && l->icmp_type >= 1 && l->icmp_type <= 4);
}

/* The packet inside went the other way. Of TCP there may be 8 bytes only, which have the ports. */
static bool about_known(struct filter *f, const struct net_pkt *pk, bool out, u32 now)
{
	const u8 *p = pk->f->head;
	u32 n = MIN(pk->f->len, pk->f->head_len), at = pk->l3.l4 + 8u;
	bool v4 = pk->l3.kind == L3_V4;
	struct net_l3 l = {0};
	struct conn_key k;

	if (at + (v4 ? 20 : 40) > n || p[at] >> 4 != (v4 ? 4 : 6))
		return false;
	l.kind = pk->l3.kind;
	l.proto = p[at + (v4 ? 9 : 6)];
	l.l4 = (u16)(at + (v4 ? (p[at] & 15u) * 4 : 40));
	if (l.l4 + 8u > n || (l.proto != PROTO_TCP && l.proto != PROTO_UDP))
		return false;
	memcpy(l.src, p + at + (v4 ? 12 : 8), v4 ? 4 : 16);
	memcpy(l.dst, p + at + (v4 ? 16 : 24), v4 ? 4 : 16);
	l.sport = be16(p + l.l4);
	l.dport = be16(p + l.l4 + 2);
	k = key_of(&l);
	return conn_find(f, &k, !out, now);
}

/* ---- rules ---- */

static bool is_for(const struct net_port *p, const struct net_rule *r)
{
	return r->vif == RULE_ALL_VIFS || r->vif == p->index;
}

static bool in_range(const u16 range[2], u16 port)
{
	return port >= range[0] && port <= range[1];
}

static bool fits(const struct net_port *p, const struct net_rule *r, const struct net_l3 *l, bool out)
{
	u8 family = l->kind == L3_V4 ? 4 : l->kind == L3_V6 ? 6 : 0;
	bool ports = r->sport[0] || r->sport[1] != 65535 || r->port[0] || r->port[1] != 65535;

	if (r->is_default || r->out != out || !is_for(p, r))
		return false;
	if (r->proto == RULE_ICMP ? l->proto != PROTO_ICMP && l->proto != PROTO_ICMP6 : r->proto && r->proto != l->proto)
		return false;
	if ((r->from.family && !net_prefix_has(&r->from, family, l->src)) ||
	    (r->to.family && !net_prefix_has(&r->to, family, l->dst)))
		return false;
	if (!ports)
		return true;
	if (l->frag == FRAG_LATER)
		return !r->allow;
	return in_range(r->sport, l->sport) && in_range(r->port, l->dport);
}

static bool judge(struct net_port *p, const struct net_l3 *l, bool out)
{
	struct filter *f = p->filter;

	for (u32 i = 0; i < f->nr; i++)
		if (fits(p, &f->rules[i], l, out)) {
			f->hits[i]++;
			return f->rules[i].allow;
		}
	for (u32 i = 0; i < f->nr; i++)
		f->hits[i] += f->rules[i].is_default && f->rules[i].out == out && is_for(p, &f->rules[i]);
	return !f->deny[out];
}

static bool always(const struct net_l3 *l)
{
	return l->kind == L3_ARP || (l->kind == L3_V6 && l->proto == PROTO_ICMP6 && l->frag == FRAG_NONE &&
				     l->icmp_type >= 133 && l->icmp_type <= 137);
}

bool net_filter(struct net_port *p, struct net_pkt *pk, bool out)
{
	struct filter *f = p->filter;
	u32 now = (u32)(net_now() / 1000000000);
	const struct net_l3 *l = &pk->l3;
	struct conn *c;
	struct conn_key k;

	if (!net_parse(pk))
		return false;
	if (always(l))
		return true;
	if (is_error(l) && about_known(f, pk, out, now))
		return true;
	if (!tracked(l))
		return judge(p, l, out);
	k = key_of(l);
	c = conn_find(f, &k, out, now);
	if (c) {
		conn_seen(c, l, out, now);
		return true;
	}
	if (!judge(p, l, out))
		return false;
	/* What ends or refuses a connection begins none. */
	if (!(l->proto == PROTO_TCP && l->tcp_flags & (TCP_FIN | TCP_RST)))
		conn_add(f, l, out, now);
	return true;
}

void net_filter_free(struct net_port *p)
{
	if (p->filter)
		kfree(p->filter);
	p->filter = NULL;
}

/* The connections are forgotten: the new rules say anew what may be. */
int net_filter_set(struct net_port *p, const struct net_rule *rules, u32 nr)
{
	struct filter *f = p->filter;
	bool any = false;

	for (u32 i = 0; i < nr; i++)
		any |= is_for(p, &rules[i]);
	if (!any) {
		net_filter_free(p);
		return 0;
	}
	if (!f)
		f = kzalloc(sizeof(*f), FRAME_DEVICE, p->owner);
	if (!f)
		return -ENOMEM;
	memset(f, 0, sizeof(*f));
	f->nr = MIN(nr, (u32)VM_MAX_RULES);
	f->seed = (net_now() * 0x9e3779b97f4a7c15ull) | 1;
	memcpy(f->rules, rules, f->nr * sizeof(*rules));
	for (u32 i = 0; i < f->nr; i++)
		if (rules[i].is_default && is_for(p, &rules[i]))
			f->deny[rules[i].out] = !rules[i].allow;
	p->filter = f;
	return 0;
}

u64 net_filter_hits(const struct net_port *p, u32 rule)
{
	return p->filter && rule < p->filter->nr ? p->filter->hits[rule] : 0;
}
