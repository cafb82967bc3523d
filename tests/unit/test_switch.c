/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/net/switch.c drivers/net/ports.c drivers/net/parse.c drivers/net/firewall.c drivers/net/offload.c drivers/net/mirror.c */
/* Bridges: rings, learning, VLANs, floods, anti-spoofing, limits, the mirror. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "fake_lan.h"

static void unicast(void **state)
{
	(void)state;
	text(mac_b, mac_a, 50);
	send_pkt(a);
	assert_int_equal(kicks[1], 0);
	send_pkt(a);
	net_flush(a);
	assert_int_equal(kicks[1], 1);
	got(b);
	got(b);
	nothing(b);
	nothing(c);
	nothing(up);
	nothing(a);
	text(mac_b, mac_a, 1486); /* in two pieces */
	send_pkt(a);
	got(b);
	net_flush(a);
	net_flush(a);
	assert_int_equal(kicks[1], 2);
	assert_int_equal(a->sent.packets, 3);
	assert_int_equal(b->received.bytes, 64 + 64 + 1500);
	text(mac_a, mac_a, 50); /* to itself */
	send_pkt(a);
	nothing(a);
}

static void floods(void **state)
{
	static const u8 unknown[6] = {2, 1, 1, 1, 1, 1}, pause[6] = {1, 0x80, 0xc2, 0, 0, 1};

	(void)state;
	text(broadcast, mac_a, 50);
	send_pkt(a);
	got(b);
	got(c);
	got(up);
	nothing(a);
	text(unknown, mac_a, 50);
	send_pkt(a);
	got(b);
	got(c);
	got(up);
	/* Heard from once, it is known. */
	text(mac_a, unknown, 50);
	send_pkt(up);
	got(a);
	text(unknown, mac_b, 50);
	send_pkt(b);
	got(up);
	nothing(a);
	nothing(c);
	/* Until it has been silent for long. */
	clock_ns += 400ull << 30;
	send_pkt(b);
	got(up);
	got(a);
	got(c);
	text(pause, mac_a, 50);
	send_pkt(a);
	nothing(b);
	assert_int_equal(a->drops[DROP_MALFORMED], 1);
}

static void rings(void **state)
{
	u64 full;
	u32 n = 0, sizes[] = {0, 1, 50, 1486, 777, 9000 - 14};

	(void)state;
	/* Round and round, with every remainder. */
	for (u32 i = 0; i < 5000; i++) {
		text(mac_b, mac_a, sizes[i % 5]);
		send_pkt(a);
		send_pkt(a);
		got(b);
		got(b);
	}
	nothing(b);
	text(mac_b, mac_a, 1486);
	while (!b->drops[DROP_FULL]) {
		send_pkt(a);
		n++;
	}
	full = b->drops[DROP_FULL];
	assert_in_range(n, NET_RING / 1528 - 1, NET_RING / 1528 + 1);
	for (u32 i = 1; i < n; i++)
		got(b);
	nothing(b);
	send_pkt(a);
	got(b);
	assert_int_equal(b->drops[DROP_FULL], full);
	send_pkt(a);
	net_set_takes(b, 0);
	nothing(b);
}

static void bounds(void **state)
{
	struct net_frame f = {.head = pkt};

	(void)state;
	text(mac_b, mac_a, 1500);
	send_pkt(a);
	got(b);
	text(mac_b, mac_a, 1501);
	send_pkt(a);
	nothing(b);
	assert_int_equal(a->drops[DROP_SIZE], 1);
	text(mac_b, mac_a, NET_MAX_PLAIN - 13);
	send_pkt(a);
	assert_int_equal(a->drops[DROP_SIZE], 2);
	text(mac_b, mac_a, 50);
	f.len = f.head_len = 13;
	net_send(a, &f);
	assert_int_equal(a->drops[DROP_MALFORMED], 1);
	f.len = 300, f.head_len = 100;
	net_send(a, &f);
	assert_int_equal(a->drops[DROP_MALFORMED], 2);
	f.len = 300, f.head_len = 192; /* and nothing behind it */
	net_send(a, &f);
	assert_int_equal(a->drops[DROP_MALFORMED], 3);
	nothing(b);
	assert_int_equal(net_set_link(1, 0, false), 0);
	send_pkt(a);
	assert_int_equal(a->drops[DROP_LINK], 1);
	text(mac_a, mac_b, 50);
	send_pkt(b);
	nothing(a);
	assert_int_equal(net_set_link(9, 0, false), -ENODEV);
}

static void spoofed(void **state)
{
	static const u8 group[6] = {3, 0, 0, 0, 0, 1};

	(void)state;
	text(mac_b, mac_c, 50);
	send_pkt(a);
	nothing(b);
	assert_int_equal(a->drops[DROP_SPOOFED], 1);
	/* Who may send for others may not for those who are here. */
	send_pkt(up);
	nothing(b);
	assert_int_equal(up->drops[DROP_SPOOFED], 1);
	text(mac_c, mac_b, 50);
	send_pkt(b);
	got(c);
	text(mac_b, group, 50);
	send_pkt(up);
	assert_int_equal(up->drops[DROP_MALFORMED], 1);
}

static void a_flood_of_macs(void **state)
{
	struct vm_vif v = fake_vif(NULL);
	struct net_port *bad = port(&v, 4, 4);
	u8 mac[6] = {2, 9, 9, 9}, good[6] = {2, 8, 0, 0, 0, 0};
	u32 known = 0;

	(void)state;
	for (u32 i = 0; i < 100; i++) {
		good[5] = (u8)i;
		text(mac_a, good, 50);
		send_pkt(up);
		got(a);
	}
	for (u32 i = 0; i < 100000; i++) {
		put16(mac + 4, i);
		mac[3] = (u8)(i >> 16);
		text(mac_a, mac, 0);
		send_pkt(bad);
		got(a);
		assert_true(bad->nr_learned <= 64);
	}
	for (u32 i = 0; i < 100; i++) {
		good[5] = (u8)i;
		text(good, mac_a, 50);
		send_pkt(a);
		got(up);
		known += !net_peek(b);
		net_set_takes(b, 0);
		net_set_takes(c, 0);
		net_set_takes(bad, 0);
	}
	assert_int_equal(known, 100);
	text(mac_c, mac_a, 50);
	send_pkt(a);
	nothing(b);
	got(c);
	net_close(bad);
	/* What it taught has gone with it. */
	text(mac, mac_a, 50);
	send_pkt(a);
	got(b);
}

static struct net_port *vlan_port(u32 index, u16 pvid, u16 t1, u16 t2)
{
	u8 mac[6] = {2, 7, 0, 0, 0, (u8)index};
	struct vm_vif v = fake_vif(mac);

	v.untagged = pvid;
	v.pvid = pvid;
	if (t1)
		v.vlans[t1 / 64] |= BIT(t1 % 64);
	if (t2)
		v.vlans[t2 / 64] |= BIT(t2 % 64);
	return port(&v, 5, index);
}

static void vlans(void **state)
{
	static const u8 mac4[6] = {2, 7, 0, 0, 0, 4}, mac6[6] = {2, 7, 0, 0, 0, 6};
	struct net_port *p10 = vlan_port(4, 10, 0, 0), *q10 = vlan_port(5, 10, 0, 0), *trunk = vlan_port(6, 0, 10, 20),
			*native = vlan_port(7, 10, 20, 0);

	(void)state;
	text(broadcast, mac4, 300);
	send_pkt(p10);
	got(q10);
	got(native);
	tagged(10);
	got(trunk);
	nothing(a);
	nothing(up);
	/* From the trunk, with its priority: the tag goes where none is wanted. */
	text(mac4, mac6, 300);
	tagged(0xa00a);
	send_pkt(trunk);
	text(mac4, mac6, 300);
	got(p10);
	text(broadcast, mac6, 40);
	tagged(20);
	send_pkt(trunk);
	got(native);
	nothing(p10);
	/* What a port has no part in. */
	text(broadcast, mac6, 40);
	send_pkt(trunk);
	tagged(30);
	send_pkt(trunk);
	text(broadcast, mac4, 40);
	tagged(10);
	send_pkt(p10);
	text(broadcast, mac_a, 40);
	tagged(10);
	send_pkt(a);
	nothing(native);
	nothing(q10);
	nothing(trunk);
	assert_int_equal(trunk->drops[DROP_VLAN], 2);
	assert_int_equal(p10->drops[DROP_VLAN], 1);
	assert_int_equal(a->drops[DROP_VLAN], 1);
	/* Priority alone is no VLAN. */
	text(mac_b, mac_a, 40);
	tagged(0x6000);
	send_pkt(a);
	text(mac_b, mac_a, 40);
	got(b);
	eth(mac_b, mac_a, 0x8100);
	send_pkt(a);
	assert_int_equal(a->drops[DROP_VLAN], 2);
	net_close(p10);
	net_close(q10);
	net_close(trunk);
	net_close(native);
}

static void isolated(void **state)
{
	(void)state;
	a->vif.isolated = b->vif.isolated = true;
	text(broadcast, mac_a, 50);
	send_pkt(a);
	nothing(b);
	got(c);
	got(up);
	text(mac_b, mac_a, 50);
	send_pkt(a);
	nothing(b);
	text(mac_b, mac_c, 50);
	send_pkt(c);
	got(b);
}

static void rate(void **state)
{
	u64 wait;

	(void)state;
	a->vif.rate = 1000000; /* a byte a microsecond */
	a->vif.burst = 10000;
	a->credit = 10000;
	a->credit_at = clock_ns;
	text(mac_b, mac_a, 1486);
	for (u32 i = 0; i < 7; i++) {
		assert_int_equal(net_send_wait(a), 0);
		send_pkt(a);
	}
	wait = net_send_wait(a); /* 500 in debt */
	assert_in_range(wait, 500000, 502000);
	clock_ns += wait - 1000;
	assert_int_not_equal(net_send_wait(a), 0);
	clock_ns += 1000;
	assert_int_equal(net_send_wait(a), 0);
	clock_ns += 3600ull * 1000000000 * 24 * 365;
	assert_int_equal(net_send_wait(a), 0);
	assert_int_equal(a->credit, 10000);
	assert_int_equal(net_send_wait(b), 0);
}

/* ---- addresses ---- */

static const u8 none[16], local_a[16] = {0xfe, 0x80, [8] = 0, 0, 0, 0xff, 0xfe, 0, 0, 0xa}, all[16] = {0xff, 2, [15] = 1};

static bool passes(void)
{
	bool ok;

	send_pkt(a);
	ok = net_peek(b) || net_peek(c);
	net_set_takes(b, 0);
	net_set_takes(c, 0);
	net_set_takes(up, 0);
	return ok;
}

static void nd(u8 type, const u8 *target, u8 opt, const u8 *mac)
{
	u8 m[32] = {type, [24] = opt, [25] = 1};

	memcpy(m + 8, target, 16);
	memcpy(m + 26, mac, 6);
	add(m, opt ? 32 : 24);
}

static void own_addresses(void **state)
{
	static const u8 rs[8] = {133}, ra[16] = {134};

	(void)state;
	a->vif.nr_ips = 2;
	a->vif.ip[0] = (struct net_prefix){.family = 4, .len = 31, .addr = {10, 0, 0, 4}};
	a->vif.ip[1] = (struct net_prefix){.family = 6, .len = 128};
	memcpy(a->vif.ip[1].addr, ip6_a, 16);
#define V4(proto, src, frag, l4) (eth(mac_b, mac_a, 0), l4, ip4(proto, src, IP(10, 0, 0, 9), frag), passes())
	assert_true(V4(17, IP(10, 0, 0, 5), 0, udp(1, 2, 30)));
	assert_true(V4(17, IP(10, 0, 0, 4), 0, udp(1, 2, 30)));
	assert_false(V4(17, IP(10, 0, 0, 6), 0, udp(1, 2, 30)));
	assert_false(V4(17, IP(11, 0, 0, 5), 0x2000, udp(1, 2, 30)));
	assert_true(V4(17, 0, 0, udp(68, 67, 240)));
	assert_false(V4(17, 0, 0, udp(68, 68, 240)));
	assert_false(V4(6, 0, 0, tcp(68, 67, 2, 0)));
#define ARP(mac, ip) (eth(broadcast, mac_a, 0x806), arp4(mac, ip), passes())
	assert_true(ARP(mac_a, IP(10, 0, 0, 5)));
	assert_true(ARP(mac_a, 0));
	assert_false(ARP(mac_b, IP(10, 0, 0, 5)));
	assert_false(ARP(mac_a, IP(10, 0, 0, 9)));
#define V6(proto, src, l4) (eth(broadcast, mac_a, 0), l4, ip6(proto, src, all), passes())
	assert_true(V6(17, ip6_a, udp(1, 2, 30)));
	assert_true(V6(17, local_a, udp(1, 2, 30)));
	assert_false(V6(17, ip6_x, udp(1, 2, 30)));
	assert_false(V6(17, none, udp(1, 2, 30)));
	assert_true(V6(58, ip6_a, nd(135, ip6_x, 1, mac_a)));  /* who has it? */
	assert_false(V6(58, ip6_a, nd(135, ip6_x, 1, mac_b)));
	assert_true(V6(58, none, nd(135, ip6_a, 0, mac_a)));   /* is it free? */
	assert_false(V6(58, none, nd(135, ip6_x, 0, mac_a)));
	assert_true(V6(58, local_a, nd(136, ip6_a, 2, mac_a)));
	assert_false(V6(58, ip6_a, nd(136, ip6_x, 2, mac_a))); /* it is mine */
	assert_false(V6(58, ip6_a, nd(136, ip6_a, 2, mac_c)));
	assert_true(V6(58, local_a, add(rs, 8)));
	assert_false(V6(58, local_a, add(ra, 16)));
	/* Nothing else can be seen to be honest. */
	text(mac_b, mac_a, 40);
	assert_false(passes());
	eth(mac_b, mac_a, 0x0800);
	bytes(19);
	assert_false(passes());
}

/* ---- the mirror ---- */

static u32 le32(size_t at)
{
	u32 v;

	memcpy(&v, sent + at, 4);
	return v;
}

static void pcap(void **state)
{
	u64 when = wallclock_ns();

	(void)state;
	assert_true(net_mirror_start(100));
	assert_int_equal(net_set_mirror(2, 1, true), 1);
	text(mac_c, mac_a, 50);
	send_pkt(a);
	text(mac_b, mac_a, 50);
	send_pkt(a); /* what b is sent */
	text(mac_a, mac_b, 200);
	send_pkt(b); /* and what it sends, cut */
	send_room = 30;
	timer_now->fn(timer_now);
	assert_int_equal(nr_sent, 30);
	send_room = sizeof(sent);
	timer_now->fn(timer_now);
	assert_int_equal(nr_sent, 24 + 16 + 64 + 16 + 100);
	assert_int_equal(le32(0), 0xa1b23c4d);
	assert_int_equal(le32(20), 1);
	assert_int_equal(le32(24), when / 1000000000);
	assert_int_equal(le32(28), when % 1000000000);
	assert_int_equal(le32(32), 64);
	assert_int_equal(le32(36), 64);
	assert_int_equal(le32(24 + 80 + 8), 100);
	assert_int_equal(le32(24 + 80 + 12), 214);
	assert_memory_equal(sent + 24 + 96, pkt, 100);
	/* Each once, though all of them see it; what finds no room is lost. */
	assert_int_equal(net_set_mirror(NET_ALL, NET_ALL, true), 4);
	nr_sent = 0;
	text(broadcast, mac_a, 50);
	send_pkt(a);
	timer_now->fn(timer_now);
	assert_int_equal(nr_sent, 80);
	send_room = nr_sent = 0;
	for (u32 i = 0; i < 5000; i++)
		send_pkt(a);
	assert_int_equal(net_mirror_lost(), 5000 - KIB(256) / 80);
	net_set_mirror(NET_ALL, NET_ALL, false);
	send_pkt(a);
	assert_int_equal(net_mirror_lost(), 5000 - KIB(256) / 80);
}

static void places(void **state)
{
	struct net_port *many[NET_MAX_PORTS] = {0};
	struct vm_vif v = fake_vif(mac_a);
	struct net_stat st;

	(void)state;
	assert_null(net_open(&fake_ops, NULL, &v, 9, 0, why, sizeof(why)));
	assert_string_equal(why, "vif 0: bridge lan0 has a card with this MAC already; write another mac=");
	v = fake_vif(NULL);
	for (u32 i = 4; i < NET_MAX_PORTS; i++)
		many[i] = port(&v, 9, 0);
	assert_null(net_open(&fake_ops, NULL, &v, 9, 1, why, sizeof(why)));
	assert_non_null(strstr(why, "all the ports"));
	for (u32 i = 4; i < NET_MAX_PORTS; i++)
		net_close(many[i]);
	net_close(NULL);
	str_copy(v.bridge, "other", sizeof(v.bridge));
	for (int i = 0; i < 3; i++) {
		fail_alloc = i;
		assert_null(net_open(&fake_ops, NULL, &v, 9, 1, why, sizeof(why)));
		assert_non_null(strstr(why, "more memory"));
		fail_alloc = -1;
	}
	/* One that is to be kicked goes away. */
	text(broadcast, mac_a, 50);
	send_pkt(a);
	net_close(c);
	memset(kicks, 0, sizeof(kicks));
	net_flush(a);
	assert_int_equal(kicks[2], 0);
	assert_int_equal(kicks[1], 1);
	c = NULL;
	assert_true(net_stat(1, &st));
	assert_string_equal(st.bridge, "lan0");
	assert_int_equal(st.received.packets, 1);
	assert_false(net_stat(3, &st));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, three, gone)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(unicast), T(floods), T(rings), T(bounds), T(spoofed), T(a_flood_of_macs), T(vlans), T(isolated), T(rate),
		T(own_addresses), T(pcap), T(places),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
