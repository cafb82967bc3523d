/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The headers of a frame, for who must know more of it than where it goes: firewall, anti-spoofing, offloads. All of
 * them are a guest's, so each length is checked against what is there, and what is not understood is said to be so.
 */
#include "drivers/net/switch.h"
#include "lib/string.h"

enum { ETH_IPV4 = 0x0800, ETH_ARP = 0x0806, ETH_IPV6 = 0x86dd };
enum { IP6_HOP = 0, IP6_ROUTING = 43, IP6_FRAGMENT = 44, IP6_DEST = 60 };
#define IP6_MAX_EXT 8u

/* Ports, flags, ICMP's type and id: those that are inside n bytes. */
static bool layer4(const u8 *p, u32 n, struct net_l3 *l)
{
	u32 at = l->l4, min = l->proto == PROTO_TCP ? 20 : 8;

	if (l->proto != PROTO_TCP && l->proto != PROTO_UDP && l->proto != PROTO_ICMP && l->proto != PROTO_ICMP6)
		return true;
	if (at + min > n)
		return false;
	if (l->proto == PROTO_TCP || l->proto == PROTO_UDP) {
		l->sport = be16(p + at);
		l->dport = be16(p + at + 2);
		l->tcp_flags = l->proto == PROTO_TCP ? p[at + 13] : 0;
		return l->proto == PROTO_UDP || (p[at + 12] >> 4) >= 5;
	}
	l->icmp_type = p[at];
	if (l->proto == PROTO_ICMP ? l->icmp_type == 8 || l->icmp_type == 0 : l->icmp_type == 128 || l->icmp_type == 129)
		l->sport = l->dport = be16(p + at + 4);
	return true;
}

/* RFC 791. The first fragment must hold layer 4's header, and the second may not begin inside it (RFC 3128). */
static bool ipv4(const u8 *p, u32 n, u32 at, struct net_l3 *l)
{
	u32 header, total, frag;

	if (at + 20 > n || p[at] >> 4 != 4)
		return false;
	header = (p[at] & 15u) * 4;
	total = be16(p + at + 2);
	if (header < 20 || at + header > n || (total && total < header))
		return false;
	frag = be16(p + at + 6);
	l->kind = L3_V4;
	l->proto = p[at + 9];
	memcpy(l->src, p + at + 12, 4);
	memcpy(l->dst, p + at + 16, 4);
	l->l4 = (u16)(at + header);
	l->frag = frag & 0x1fff ? FRAG_LATER : frag & 0x2000 ? FRAG_FIRST : FRAG_NONE;
	if (l->frag == FRAG_LATER) {
		l->l4 = 0;
		return (frag & 0x1fff) > 7; /* 56 bytes: behind the longest part of a header that anybody looks at */
	}
	return layer4(p, total ? MIN(n, at + total) : n, l);
}

/* RFC 8200, 4. Routing headers of type 0 are dropped, as RFC 5095 wants. */
static bool ipv6(const u8 *p, u32 n, u32 at, struct net_l3 *l)
{
	u32 next, l4 = at + 40;

	if (at + 40 > n || p[at] >> 4 != 6)
		return false;
	l->kind = L3_V6;
	memcpy(l->src, p + at + 8, 16);
	memcpy(l->dst, p + at + 24, 16);
	next = p[at + 6];
	n = be16(p + at + 4) ? MIN(n, at + 40 + be16(p + at + 4)) : n;
	for (unsigned i = 0; next == IP6_HOP || next == IP6_ROUTING || next == IP6_FRAGMENT || next == IP6_DEST; i++) {
		if (i == IP6_MAX_EXT || l4 + 8 > n || (next == IP6_ROUTING && !p[l4 + 2]))
			return false;
		if (next == IP6_FRAGMENT) {
			u32 frag = be16(p + l4 + 2);

			next = p[l4];
			l4 += 8;
			l->frag = frag & 0xfff8 ? FRAG_LATER : frag & 1 ? FRAG_FIRST : FRAG_NONE;
			if (l->frag == FRAG_LATER)
				break;
			continue;
		}
		next = p[l4];
		l4 += 8 + p[l4 + 1] * 8u;
	}
	l->proto = (u8)next;
	l->l4 = 0;
	if (l->frag == FRAG_LATER)
		return true;
	if (l4 > n)
		return false;
	l->l4 = (u16)l4;
	return layer4(p, n, l);
}

/* RFC 826, of Ethernet and IPv4. src is who it says that he has which address. */
static bool arp(const u8 *p, u32 n, u32 at, struct net_l3 *l)
{
	if (at + 28 > n || be16(p + at) != 1 || be16(p + at + 2) != ETH_IPV4 || p[at + 4] != 6 || p[at + 5] != 4)
		return false;
	l->kind = L3_ARP;
	memcpy(l->src, p + at + 14, 4);
	memcpy(l->dst, p + at + 24, 4);
	return true;
}

bool net_parse_l3(const u8 *p, u32 n, u16 type, u32 at, struct net_l3 *l)
{
	*l = (struct net_l3){.kind = L3_OTHER, .l3 = (u16)at};
	switch (type) {
	case ETH_IPV4: return ipv4(p, n, at, l);
	case ETH_IPV6: return ipv6(p, n, at, l);
	case ETH_ARP: return arp(p, n, at, l);
	}
	return true;
}

bool net_parse(struct net_pkt *pk)
{
	const struct net_frame *f = pk->f;
	u32 at = NET_ETH_HDR + pk->tag;

	if (!pk->parsed)
		pk->parsed = net_parse_l3(f->head, MIN(f->len, f->head_len), be16(f->head + at - 2), at, &pk->l3) ? 1 : 2;
	return pk->parsed == 1;
}

/* Both directions of a flow have the same. */
u32 net_flow_hash(struct net_pkt *pk)
{
	const struct net_l3 *l = &pk->l3;
	u64 h = 0, a[2], b[2];

	if (!net_parse(pk) || l->kind == L3_OTHER)
		return (u32)((pk->src ^ pk->dst) * 0x9e3779b97f4a7c15ull >> 32);
	memcpy(a, l->src, 16);
	memcpy(b, l->dst, 16);
	h = a[0] ^ b[0] ^ (a[1] ^ b[1]) * 31;
	/* Not the ports of a packet that comes in fragments: those behind the first have none. */
	if (l->frag == FRAG_NONE)
		h ^= (u64)(l->sport ^ l->dport) << 16 ^ l->proto;
	return (u32)(h * 0x9e3779b97f4a7c15ull >> 32);
}

/* ---- may its sender say that? ---- */

bool net_prefix_has(const struct net_prefix *x, u8 family, const u8 *addr)
{
	u32 bytes = x->len / 8, bits = x->len % 8;

	return x->family == family && !memcmp(x->addr, addr, bytes) && !(bits && (x->addr[bytes] ^ addr[bytes]) >> (8 - bits));
}

static bool is_zero(const u8 *p, u32 n)
{
	while (n && !*p++)
		n--;
	return !n;
}

/* One of its vif's; or the link-local one that belongs to its MAC (RFC 4291, appendix A). */
static bool is_own(const struct net_port *p, u8 family, const u8 *addr)
{
	const u8 *m = p->vif.mac;
	const u8 local[16] = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};

	for (u32 i = 0; i < p->vif.nr_ips; i++)
		if (net_prefix_has(&p->vif.ip[i], family, addr))
			return true;
	return family == 6 && !memcmp(addr, local, 16);
}

/* A neighbour solicitation or advertisement's link-layer address, if it has one, must be the card's (RFC 4861, 4.6.1). */
static bool options_ok(const struct net_pkt *pk, u32 at)
{
	u32 n = MIN(pk->f->len, pk->f->head_len);

	for (unsigned i = 0; at + 8 <= n && i < 8; i++) {
		const u8 *o = pk->f->head + at;

		if (!o[1] || (o[0] <= 2 && memcmp(o + 2, pk->from->vif.mac, 6)))
			return false;
		at += o[1] * 8u;
	}
	return true;
}

/* Neighbour discovery (RFC 4861): what it says of itself; and it is no router. */
static bool nd_ok(const struct net_pkt *pk)
{
	const struct net_l3 *l = &pk->l3;
	const u8 *p = pk->f->head + l->l4;

	if (l->frag != FRAG_NONE)
		return l->icmp_type < 133 || l->icmp_type > 137; /* RFC 6980 */
	switch (l->icmp_type) {
	case 133: return options_ok(pk, l->l4 + 8u); /* router solicitation */
	case 134:
	case 137: return false; /* router advertisement, redirect */
	case 135:
	case 136:
		if (l->l4 + 24u > MIN(pk->f->len, pk->f->head_len))
			return false;
		/* Asking whether anybody has an address that is not its own yet (RFC 4862, 5.4) is asking for its own. */
		if ((l->icmp_type == 136 || is_zero(l->src, 16)) && !is_own(pk->from, 6, p + 8))
			return false;
		return options_ok(pk, l->l4 + 24u);
	}
	return true;
}

/* From no address yet: the questions that one is got by. */
static bool may_be_nobody(const struct net_l3 *l)
{
	if (l->kind == L3_V4)
		return l->proto == PROTO_UDP && l->frag == FRAG_NONE && l->sport == 68 && l->dport == 67; /* DHCP */
	return l->proto == PROTO_ICMP6 && (l->icmp_type == 135 || l->icmp_type == 133 || l->icmp_type == 143);
}

bool net_address_ok(struct net_pkt *pk)
{
	const struct net_port *p = pk->from;
	const struct net_l3 *l = &pk->l3;

	if (!net_parse(pk))
		return false;
	switch (l->kind) {
	case L3_V4: return is_own(p, 4, l->src) || (is_zero(l->src, 4) && may_be_nobody(l));
	case L3_ARP: /* its sender's hardware address, too; 0.0.0.0 asks whether an address is free (RFC 5227) */
		return !memcmp(pk->f->head + l->l3 + 8, p->vif.mac, 6) && (is_own(p, 4, l->src) || is_zero(l->src, 4));
	case L3_V6:
		if (!is_own(p, 6, l->src) && !(is_zero(l->src, 16) && may_be_nobody(l)))
			return false;
		return l->proto != PROTO_ICMP6 || l->frag == FRAG_LATER || nd_ok(pk);
	}
	return false; /* no IP: what it says of itself cannot be seen */
}
