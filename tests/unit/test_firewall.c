/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/net/switch.c drivers/net/ports.c drivers/net/parse.c drivers/net/firewall.c drivers/net/offload.c drivers/net/mirror.c drivers/net/config_rule.c */
/* A port's firewall: rules, defaults, connections, fragments, floods. a is the guest behind it, up the world. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "fake_net.h"

static char why[160];
static struct net_port *a, *up;
static const u8 mac_up[6] = {2, 0, 0, 0, 0, 0xf};

#define GUEST 0x0a000005u
#define PEER  0x0a000009u
#define FAR   0xc0000201u

static void rules(const char *const *lines, u32 nr)
{
	struct net_rule r[VM_MAX_RULES];

	for (u32 i = 0; i < nr; i++)
		if (!net_rule_parse(lines[i], &r[i], why, sizeof(why)))
			fail_msg("%s: %s", lines[i], why);
	assert_int_equal(net_set_rules(1, 0, r, nr), 0);
}
#define RULES(...) rules((const char *const[]){__VA_ARGS__}, ARRAY_SIZE(((const char *const[]){__VA_ARGS__})))

static int two(void **state)
{
	struct vm_vif v = fake_vif(mac_a);

	(void)state;
	a = net_open(&fake_ops, NULL, &v, 1, 0, why, sizeof(why));
	v = fake_vif(mac_up);
	up = net_open(&fake_ops, NULL, &v, 2, 1, why, sizeof(why));
	clock_ns += 100000ull * 1000000000;
	return !a || !up;
}

static int gone(void **state)
{
	(void)state;
	net_close(a);
	net_close(up);
	return 0;
}

/* Does it arrive? */
static bool through(bool out)
{
	struct net_port *from = out ? a : up, *to = out ? up : a;
	bool ok;

	send_pkt(from);
	ok = net_peek(to);
	net_set_takes(to, 0);
	return ok;
}

#define PKT(out, proto, src, dst, frag, l4) \
	(eth((out) ? mac_up : mac_a, (out) ? mac_a : mac_up, 0), l4, ip4(proto, src, dst, frag), through(out))
#define OUT(l4, proto, to) PKT(true, proto, GUEST, to, 0, l4)
#define IN(l4, proto, from) PKT(false, proto, from, GUEST, 0, l4)
enum { SYN = 2, ACK = 16, FIN = 1, RST = 4 };

static void plain_rules(void **state)
{
	(void)state;
	assert_true(IN(tcp(1000, 22, SYN, 0), 6, PEER));
	RULES("in default deny", "in deny tcp from 10.0.0.8/31 port 23", "in allow tcp from 10.0.0.0/8 port 20-23",
	      "in allow udp sport 53", "in allow icmp from 10.0.0.9", "in allow 47", "out deny to 192.0.2.0/24");
	assert_true(IN(tcp(1000, 22, SYN, 0), 6, PEER));
	assert_true(IN(tcp(1000, 20, SYN, 0), 6, PEER));
	assert_false(IN(tcp(1000, 24, SYN, 0), 6, PEER));
	assert_false(IN(tcp(1000, 23, SYN, 0), 6, PEER)); /* the first that fits */
	assert_true(IN(tcp(1000, 23, SYN, 0), 6, PEER + 1));
	assert_false(IN(tcp(1000, 22, SYN, 0), 6, FAR));
	assert_false(IN(udp(1000, 22, 0), 17, PEER));
	assert_true(IN(udp(53, 1000, 0), 17, FAR));
	assert_true(IN(fill(20), 47, FAR));
	assert_false(IN(fill(20), 50, FAR));
	assert_false(OUT(tcp(2000, 80, SYN, 0), 6, FAR));
	assert_true(OUT(tcp(2000, 80, SYN, 0), 6, PEER));
	assert_int_equal(a->drops[DROP_DENIED], 5);
	assert_int_equal(a->drops[DROP_FIREWALL], 1);
	/* What it says of how often each decided. */
	for (u32 i = 0; i < 7; i++) {
		static const u64 want[] = {4, 1, 3, 1, 0, 1, 1};
		u64 hits;

		assert_true(net_rule_hits(1, 0, i, &hits));
		assert_int_equal(hits, want[i]);
	}
	/* No IP is by default, ARP always. */
	eth(mac_a, mac_up, 0x88b5);
	fill(40);
	assert_false(through(false));
	eth(mac_a, mac_up, 0x806);
	arp4(mac_up, PEER);
	assert_true(through(false));
	eth(mac_a, mac_up, 0x800); /* cut off */
	fill(10);
	assert_false(through(false));
	assert_int_equal(net_set_rules(1, 0, NULL, 0), 0);
	assert_true(IN(tcp(1000, 24, SYN, 0), 6, PEER));
	assert_int_equal(net_set_rules(7, 0, NULL, 0), -ENODEV);
}

static void connections(void **state)
{
	(void)state;
	RULES("in default deny");
	assert_false(IN(tcp(80, 2000, SYN | ACK, 0), 6, FAR));
	assert_true(OUT(tcp(2000, 80, SYN, 0), 6, FAR));
	assert_true(IN(tcp(80, 2000, SYN | ACK, 0), 6, FAR));
	assert_false(IN(tcp(80, 2001, SYN | ACK, 0), 6, FAR));
	assert_false(IN(tcp(80, 2000, SYN | ACK, 0), 6, FAR + 1));
	assert_false(IN(udp(80, 2000, 0), 17, FAR));
	assert_true(OUT(tcp(2000, 80, ACK, 100), 6, FAR));
	clock_ns += 7000ull * 1000000000;
	assert_true(IN(tcp(80, 2000, ACK, 100), 6, FAR));
	clock_ns += 7300ull * 1000000000;
	assert_false(IN(tcp(80, 2000, ACK, 100), 6, FAR));
	/* Never answered. */
	assert_true(OUT(tcp(2002, 80, SYN, 0), 6, FAR));
	clock_ns += 32ull * 1000000000;
	assert_false(IN(tcp(80, 2002, SYN | ACK, 0), 6, FAR));
	/* Ended; and begun once more. */
	assert_true(OUT(tcp(2003, 80, SYN, 0), 6, FAR));
	assert_true(IN(tcp(80, 2003, SYN | ACK, 0), 6, FAR));
	assert_true(IN(tcp(80, 2003, FIN | ACK, 0), 6, FAR));
	assert_true(IN(tcp(80, 2003, ACK, 0), 6, FAR));
	clock_ns += 62ull * 1000000000;
	assert_false(IN(tcp(80, 2003, ACK, 0), 6, FAR));
	assert_true(OUT(tcp(2003, 80, RST, 0), 6, FAR)); /* begins nothing */
	assert_false(IN(tcp(80, 2003, ACK, 0), 6, FAR));
	/* UDP and echo. */
	assert_true(OUT(udp(5000, 53, 20), 17, FAR));
	assert_true(IN(udp(53, 5000, 20), 17, FAR));
	clock_ns += 170ull * 1000000000;
	assert_true(IN(udp(53, 5000, 20), 17, FAR));
	static const u8 ask[12] = {8, 0, 0, 0, 0x12, 0x34}, answer[12] = {0, 0, 0, 0, 0x12, 0x34}, other[12] = {0, 0, 0, 0, 0x12, 0x35};

	assert_false(IN(add(answer, 12), 1, FAR));
	assert_true(OUT(add(ask, 12), 1, FAR));
	assert_true(IN(add(answer, 12), 1, FAR));
	assert_false(IN(add(other, 12), 1, FAR));
	/* New rules forget. */
	RULES("in default deny");
	assert_false(IN(udp(53, 5000, 20), 17, FAR));
}

/* An error about a packet of the guest's, from a router. */
static bool error_about(u8 type, u16 sport, u16 dport, u8 proto)
{
	u8 m[36] = {type, 1, [8] = 0x45, [8 + 9] = proto};

	put16(m + 8 + 12, GUEST >> 16);
	put16(m + 8 + 14, GUEST & 0xffff);
	put16(m + 8 + 16, FAR >> 16);
	put16(m + 8 + 18, FAR & 0xffff);
	put16(m + 28, sport);
	put16(m + 30, dport);
	return IN(add(m, 36), 1, PEER);
}

static void errors(void **state)
{
	(void)state;
	RULES("in default deny");
	assert_true(OUT(tcp(2000, 80, SYN, 0), 6, FAR));
	assert_true(error_about(3, 2000, 80, 6));
	assert_true(error_about(11, 2000, 80, 6));
	assert_false(error_about(5, 2000, 80, 6)); /* a redirect is none */
	assert_false(error_about(3, 2001, 80, 6));
	assert_false(error_about(3, 2000, 80, 17));
	assert_false(error_about(3, 80, 2000, 6)); /* it went the other way */
	eth(mac_a, mac_up, 0);
	static const u8 cut[8] = {3};

	add(cut, 8);
	ip4(1, PEER, GUEST, 0);
	assert_false(through(false));
}

static void ipv6(void **state)
{
	static const u8 g[16] = {0xfd, 0, [15] = 5}, f[16] = {0x20, 1, 0xd, 0xb8, [15] = 1}, r0[8] = {6, 0, 0, 1},
			hop[16] = {58, 0, [8] = 135}, ns[24] = {135}, nested[72] = {60};

	(void)state;
	RULES("in default deny", "in allow tcp from 2001:db8::/32 port 22");
#define IN6(l4, proto) (eth(mac_a, mac_up, 0), l4, ip6(proto, f, g), through(false))
#define OUT6(l4, proto) (eth(mac_up, mac_a, 0), l4, ip6(proto, g, f), through(true))
	assert_true(IN6(tcp(1000, 22, SYN, 0), 6));
	assert_false(IN6(tcp(1000, 23, SYN, 0), 6));
	assert_true(OUT6(udp(5000, 53, 4), 17));
	assert_true(IN6(udp(53, 5000, 4), 17));
	assert_true(IN6(add(ns, 24), 58));	   /* discovery of neighbours */
	assert_true(IN6(add(hop, 16), 0));	   /* behind an extension header, too */
	assert_false(IN6((add(r0, 8), tcp(1000, 22, SYN, 0)), 43)); /* a routing header of type 0 */
	assert_false(IN6(add(nested, 72), 60));	   /* more extension headers than anybody needs */
	/* Fragments: the first is judged by its ports, those behind it by none. */
	static const u8 first[8] = {6, 0, 0, 1}, later[8] = {6, 0, 1, 0};

	assert_true(IN6((add(first, 8), tcp(1000, 22, SYN, 0)), 44));
	assert_false(IN6((add(later, 8), tcp(1000, 22, SYN, 0)), 44));
}

static void fragments(void **state)
{
	(void)state;
	RULES("in deny udp port 53", "in allow udp port 1000", "in default deny");
	assert_true(PKT(false, 17, FAR, GUEST, 0x2000, udp(1, 1000, 64)));
	assert_false(PKT(false, 17, FAR, GUEST, 0x2008, fill(64)));
	RULES("in deny udp port 53", "in allow from 192.0.2.1");
	assert_false(PKT(false, 17, FAR, GUEST, 0x0008, fill(64))); /* it might be to port 53 */
	assert_true(PKT(false, 6, FAR, GUEST, 0x0008, fill(64)));
	assert_false(PKT(false, 6, FAR, GUEST, 0x0001, fill(64))); /* it would overwrite ports or flags */
	assert_false(PKT(false, 6, FAR, GUEST, 0x2000, fill(16))); /* has not all of the header */
	assert_false(PKT(false, 6, FAR, GUEST, 0, fill(19)));
}

/* Whoever may open connections to the guest opens as many as there is room for; the guest's own stay, and new ones work. */
static void a_flood(void **state)
{
	u32 lost = 0;

	(void)state;
	RULES("in default deny", "in allow tcp port 80");
	for (u16 i = 0; i < 200; i++) {
		assert_true(OUT(tcp((u16)(3000 + i), 443, SYN, 0), 6, FAR));
		assert_true(IN(tcp(443, (u16)(3000 + i), SYN | ACK, 0), 6, FAR));
	}
	for (u32 i = 0; i < 60000; i++)
		assert_true(IN(tcp((u16)i, 80, SYN, 0), 6, FAR + 1 + i / 100));
	for (u16 i = 0; i < 200; i++)
		assert_true(IN(tcp(443, (u16)(3000 + i), ACK, 0), 6, FAR));
	/* New ones of the guest's have half of the places for themselves. */
	for (u16 i = 0; i < 100; i++) {
		assert_true(OUT(tcp((u16)(9000 + i), 443, SYN, 0), 6, FAR));
		lost += !IN(tcp(443, (u16)(9000 + i), SYN | ACK, 0), 6, FAR);
	}
	assert_int_equal(lost, 0);
	/* As many as a busy server has. */
	for (u16 i = 0; i < 800; i++) {
		assert_true(OUT(tcp((u16)(10000 + i), 443, SYN, 0), 6, FAR));
		lost += !IN(tcp(443, (u16)(10000 + i), SYN | ACK, 0), 6, FAR);
	}
	assert_int_equal(lost, 0);
	/* Nor does a guest that floods lose those that were answered. */
	for (u32 i = 0; i < 60000; i++)
		OUT(tcp((u16)i, 80, SYN, 0), 6, FAR + 1 + i / 100);
	for (u16 i = 0; i < 200; i++)
		assert_true(IN(tcp(443, (u16)(3000 + i), ACK, 0), 6, FAR));
}

static void no_memory(void **state)
{
	struct net_rule r = {.out = true};

	(void)state;
	fail_alloc = 0;
	assert_int_equal(net_set_rules(1, 0, &r, 1), -ENOMEM);
	fail_alloc = -1;
	assert_true(OUT(tcp(1, 2, SYN, 0), 6, FAR));
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, two, gone)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(plain_rules), T(connections), T(errors), T(ipv6), T(fragments), T(a_flood), T(no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
