/* SPDX-License-Identifier: BSD-2-Clause */
/* Four cards on one bridge, a, b and c of three VMs and an uplink, and what they get. For files of tests to include. */
#pragma once
#include "fake_net.h"

void log_line(enum log_level level, const char *fmt, ...) { (void)level, (void)fmt; }

static char why[160];
static struct net_port *a, *b, *c, *up;

static struct net_port *port(const struct vm_vif *v, u16 owner, u32 index)
{
	struct net_port *p = net_open(&fake_ops, NULL, v, owner, index, why, sizeof(why));

	assert_non_null(p);
	return p;
}

static int three(void **state)
{
	struct vm_vif v;

	(void)state;
	memset(kicks, 0, sizeof(kicks));
	v = fake_vif(mac_a);
	a = port(&v, 1, 0);
	v = fake_vif(mac_b);
	b = port(&v, 2, 1);
	v = fake_vif(mac_c);
	c = port(&v, 3, 2);
	v = fake_vif(NULL);
	up = port(&v, OWNER_HOST, 3);
	return 0;
}

static int gone(void **state)
{
	struct net_stat st;

	(void)state;
	net_close(a);
	net_close(b);
	net_close(c);
	net_close(up);
	assert_false(net_stat(0, &st));
	return 0;
}

/* What waits is n bytes that are pkt's; taken out. */
static void got(struct net_port *p)
{
	const struct net_rx *r = net_peek(p);

	assert_non_null(r);
	assert_int_equal(r->len, pkt_len);
	assert_memory_equal(r->data, pkt, pkt_len);
	net_next(p);
}

static inline void nothing(struct net_port *p)
{
	assert_null(net_peek(p));
}

static void text(const u8 *dst, const u8 *src, u32 n)
{
	eth(dst, src, 0x88b5);
	bytes(n);
}

static inline void tagged(u16 tci)
{
	memmove(pkt + 16, pkt + 12, pkt_len - 12);
	put16(pkt + 12, 0x8100);
	put16(pkt + 14, tci);
	pkt_len += 4;
}

#define IP(x, y, z, w) ((u32)(x) << 24 | (y) << 16 | (z) << 8 | (w))
static const u8 ip6_a[16] = {0xfd, 0, [15] = 5}, ip6_x[16] = {0xfd, 0, [15] = 6};
