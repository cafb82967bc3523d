/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of drivers/net/ share: ports, bridges, a frame on its way. Under the bridge's lock, all of it. */
#pragma once
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "drivers/net/net.h"
#include "lib/list.h"
#include "lib/spinlock.h"
#include "vmm/config.h"

#define NET_RING      KIB(256) /* of each port */
#define NET_MAX_PORTS 64u      /* of a bridge */

enum net_drop {
	DROP_MALFORMED, DROP_SIZE, DROP_LINK, DROP_VLAN, DROP_SPOOFED, DROP_FIREWALL, DROP_FLOOD, /* the sender's */
	DROP_FULL, DROP_DENIED, DROP_REFUSED, /* the receiver's: its ring, its firewall, its own word */
	NR_DROPS
};

struct net_count {
	u64 packets, bytes;
};

struct filter;
struct net_bridge;

struct net_port {
	struct net_bridge *bridge;
	const struct net_port_ops *ops;
	void *priv;
	u16 owner;
	u8 index, place; /* place: in bridge->ports */
	bool up, due, mirrored;
	u32 takes;
	u64 mac;		/* of its vif, as mac_of() has them */
	struct filter *filter;	/* NULL: no firewall */
	struct net_port *next_due;
	u64 learned, learned_at; /* the source that was learned last */
	u32 nr_learned, aged; /* aged: the second of the last look for stale ones */
	s64 credit; /* rate=: bytes it may send now */
	u64 credit_at;
	struct net_count sent, received;
	u64 drops[NR_DROPS];
	struct vm_vif vif;
	u8 *ring;
	u64 tail, head_seen;	     /* filling side */
	u64 head __aligned(64); /* emptying side */
};

/* Who was seen where. A set of four is a cache line. */
struct fdb_entry {
	u64 key; /* MAC and VLAN; 0: none */
	u32 seen; /* seconds */
	u8 port;
	bool fixed; /* a vif's own MAC */
	u8 pad[2];
};
#define FDB_SETS 256u
#define FDB_WAYS 4u
static_assert(sizeof(struct fdb_entry) * FDB_WAYS == 64, "a set is a cache line");

struct net_bridge {
	struct spinlock lock;
	struct list node;
	char name[sizeof(((struct vm_vif *)0)->bridge)];
	u64 seed; /* odd: nobody knows what collides */
	u32 nr_ports;
	struct net_port *ports[NET_MAX_PORTS];
	struct net_port *due; /* to be kicked */
	struct fdb_entry fdb[FDB_SETS][FDB_WAYS] __aligned(64);
};

/* The headers behind Ethernet's, as far as they are understood. parse.c */
enum { L3_OTHER, L3_V4 = 4, L3_V6 = 6, L3_ARP };
enum { FRAG_NONE, FRAG_FIRST, FRAG_LATER };
enum { PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ICMP6 = 58 };
struct net_l3 {
	u8 kind, proto, frag;
	u8 icmp_type;
	u8 tcp_flags;
	u16 l3, l4;	    /* where they begin; l4 0: there is none to be seen */
	u16 sport, dport;   /* ICMP's echo: its id, twice */
	u8 src[16], dst[16];
};

/* A frame on its way. */
struct net_pkt {
	const struct net_frame *f;
	struct net_port *from;
	u64 dst, src;
	u16 vlan, tci;
	u8 tag;	 /* bytes of its tag: 0 or 4 */
	u8 parsed; /* 1: l3 is filled in; 2: it cannot be, the headers are cut off or contradict one another */
	bool mirrored;
	struct net_l3 l3;
};

static inline u64 net_now(void)
{
	return tsc_to_ns(rdtsc());
}
static inline u64 mac_of(const u8 *p) /* 8 bytes are there */
{
	u64 v;

	__builtin_memcpy(&v, p, 8);
	return v & 0xffffffffffffull;
}
static inline u16 be16(const u8 *p)
{
	return (u16)(p[0] << 8 | p[1]);
}
static inline u32 be32(const u8 *p)
{
	return (u32)be16(p) << 16 | be16(p + 2);
}
static inline void put16(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 8);
	p[1] = (u8)v;
}

/* --- switch.c --- */
static inline void net_dropped(struct net_port *p, enum net_drop why)
{
	p->drops[why]++;
}
/* Room for a frame of len bytes in the port's ring; NULL: there is none, which is counted. */
struct net_rx *net_reserve(struct net_port *p, u32 len);
void net_commit(struct net_port *p, struct net_rx *r); /* it goes out to the port */
/* Copy n bytes of the frame from off on; 0, or not. */
int net_copy(const struct net_frame *f, u32 off, void *to, u32 n);
/* The first n bytes, with the tag that `to` is to see; how many bytes longer (4), shorter (-4) that makes them. */
int net_tag_change(const struct net_pkt *pk, const struct net_port *to);
void net_copy_head(const struct net_pkt *pk, u8 *out, u32 n, int change);

void net_fix(struct net_port *p);	    /* a port's own MAC into the table of who is where */
void net_forget_port(struct net_port *p); /* all that is said there of this one */

/* --- parse.c --- */
/* Its l3, looked at once. false: it cannot be told what it is. */
bool net_parse(struct net_pkt *pk);
bool net_parse_l3(const u8 *p, u32 n, u16 type, u32 at, struct net_l3 *l); /* p[at], of n bytes */
bool net_prefix_has(const struct net_prefix *x, u8 family, const u8 *addr);
u32 net_flow_hash(struct net_pkt *pk);
/* May its sender say that this comes from him? (ip= in its vif) */
bool net_address_ok(struct net_pkt *pk);

/* --- firewall.c --- */
/* Does the port's firewall let it through, out of the guest or in? */
bool net_filter(struct net_port *p, struct net_pkt *pk, bool out);
void net_filter_free(struct net_port *p);
int net_filter_set(struct net_port *p, const struct net_rule *rules, u32 nr);
u64 net_filter_hits(const struct net_port *p, u32 rule);

/* --- offload.c --- */
/* Ones' complement sum of n bytes, begun with `sum`; net_fold() makes a checksum of it (RFC 1071). */
u64 net_sum(const void *p, u32 n, u64 sum);
u16 net_fold(u64 sum);
/* What a guest wrote into the header: can it be so for this frame? */
bool net_hdr_ok(struct net_pkt *pk);
/* Of one with segmentation to be done: bytes of its headers, TCP's included. */
u32 net_headers(const struct net_pkt *pk);
/* Write the checksum that hdr, which is net_hdr_ok(), asks for into the whole frame at p. */
void net_checksum(u8 *p, u32 len, const struct net_hdr *h);
/* Put a frame with TCP segmentation to be done into the port's ring, segment by segment. */
void net_segment(struct net_pkt *pk, struct net_port *to);

/* --- mirror.c --- */
void net_mirror(struct net_pkt *pk);
