/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/net/switch.c drivers/net/ports.c drivers/net/parse.c drivers/net/firewall.c drivers/net/offload.c drivers/net/mirror.c */
/* Checksums that are completed and segments that are cut, for cards that do not take frames as they were sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "fake_lan.h"

static void check_tcp(const struct net_rx *r, bool v6, u32 l3)
{
	const u8 *ip = r->data + l3, *l4 = ip + (v6 ? 40 : 20);
	u32 n = r->len - (u32)(l4 - r->data), sum = 6 + n;

	if (!v6) {
		assert_int_equal(slow_fold(slow_sum(ip, 20, 0)), 0);
		assert_int_equal(be16(ip + 2), r->len - l3);
	} else {
		assert_int_equal(be16(ip + 4), n);
	}
	sum = v6 ? slow_sum(ip + 8, 32, sum) : slow_sum(ip + 12, 8, sum);
	assert_int_equal(slow_fold(slow_sum(l4, n, sum)), 0);
}

/* The pseudo header's sum, as a guest leaves it in the field. */
static void pseudo(bool v6, u32 at, u8 proto)
{
	u32 n = pkt_len - (v6 ? 54 : 34), sum = proto + n;

	sum = v6 ? slow_sum(pkt + 22, 32, sum) : slow_sum(pkt + 26, 8, sum);
	put16(pkt + at, (u16)~slow_fold(sum));
}

static void checksums(void **state)
{
	struct net_hdr h = {.flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 16};
	const struct net_rx *r;

	(void)state;
	for (u32 n = 0; n < 100; n++) {
		eth(mac_b, mac_a, 0);
		tcp(1, 2, 0x10, n * 13);
		ip4(6, IP(10, 0, 0, 1), IP(10, 0, 0, 2), 0);
		pseudo(false, 50, 6);
		send_hdr(a, h);
		r = net_peek(b);
		assert_non_null(r);
		check_tcp(r, false, 14);
		assert_int_equal(r->hdr.flags, 0);
		net_next(b);
	}
	/* Who takes it so gets it so, and a tag moves it. */
	net_set_takes(b, NET_TAKES_CSUM);
	send_hdr(a, h);
	r = net_peek(b);
	assert_int_equal(r->hdr.flags, NET_NEEDS_CSUM);
	assert_int_equal(r->hdr.csum_start, 34);
	assert_int_equal(r->hdr.csum_offset, 16);
	got(b);
	h.csum_start = 40;
	h.csum_offset = (u16)(pkt_len - 41);
	send_hdr(a, h);
	h.csum_start = 13;
	h.csum_offset = 16;
	send_hdr(a, h);
	h.csum_start = h.csum_offset = 0xffff;
	send_hdr(a, h);
	nothing(b);
	assert_int_equal(a->drops[DROP_MALFORMED], 3);
	h = (struct net_hdr){.flags = NET_DATA_VALID};
	send_hdr(a, h);
	assert_int_equal(net_peek(b)->hdr.flags, NET_DATA_VALID);
	/* UDP's zero. */
	net_set_takes(b, 0);
	eth(mac_b, mac_a, 0);
	udp(0, 0, 0);
	ip4(17, 0, 0, 0);
	put16(pkt + 40, 0xffff - 8); /* so that all sums up to ones */
	send_hdr(a, (struct net_hdr){.flags = NET_NEEDS_CSUM, .csum_start = 34, .csum_offset = 6});
	assert_int_equal(be16(net_peek(b)->data + 40), 0xffff);
}

/* From a to b; how many segments, whose payloads are the frame's. */
static u32 segments(bool v6, u32 payload, u16 mss, u8 flags, u32 l2, struct net_port *to)
{
	struct net_hdr h = {.flags = NET_NEEDS_CSUM, .gso_type = v6 ? NET_GSO_TCPV6 | NET_GSO_ECN : NET_GSO_TCPV4, .gso_size = mss,
			    .csum_start = v6 ? 54 : 34, .csum_offset = 16};
	u32 n = 0, at = 0, hdr = (v6 ? 60 : 40) + l2;
	const struct net_rx *r;

	eth(mac_b, mac_a, 0);
	tcp(1, 2, flags, payload);
	if (v6)
		ip6(6, ip6_a, ip6_x);
	else
		ip4(6, IP(10, 0, 0, 1), IP(10, 0, 0, 2), 0x4000);
	send_hdr(a, h);
	for (; (r = net_peek(to)); n++, net_next(to)) {
		const u8 *t = r->data + hdr - 20;
		bool last = at + (r->len - hdr) == payload;

		check_tcp(r, v6, l2);
		assert_int_equal(r->len - hdr, last ? payload - at : mss);
		assert_memory_equal(r->data + hdr, pkt + pkt_len - payload + at, r->len - hdr);
		assert_int_equal(be32(t + 4), 0x12345678 + at);
		assert_int_equal(t[13], (flags & ~0x89) | (last ? flags & 9 : 0) | (n ? 0 : flags & 0x80));
		if (!v6)
			assert_int_equal(be16(r->data + l2 + 4), 0x1234 + n);
		at += r->len - hdr;
	}
	if (n)
		assert_int_equal(at, payload);
	return n;
}

static void segmentation(void **state)
{
	struct net_hdr h = {.flags = NET_NEEDS_CSUM, .gso_type = NET_GSO_TCPV4, .gso_size = 1000, .csum_start = 34, .csum_offset = 16};

	(void)state;
	assert_int_equal(segments(false, 64000, 1460, 0x99, 14, b), 44);
	assert_int_equal(segments(false, 1460 * 3, 1460, 0x18, 14, b), 3);
	assert_int_equal(segments(true, 65000, 1440, 0x91, 14, b), 46);
	assert_int_equal(segments(false, 100, 1460, 0x10, 14, b), 1);
	assert_int_equal(segments(false, 64000, 64000 / 128, 0x10, 14, b), 128);
	/* Too many, too large, not to be sent at all. */
	assert_int_equal(segments(false, 64000, 64000 / 128 - 1, 0x10, 14, b), 0);
	assert_int_equal(segments(false, 64000, 1461, 0x10, 14, b), 0);
	assert_int_equal(segments(false, 64000, 0, 0x10, 14, b), 0);
	/* With a tag for the one who wants it. */
	b->vif.untagged = a->vif.untagged = true;
	b->vif.pvid = 0;
	a->vif.pvid = 7;
	b->vif.vlans[0] = BIT(7);
	b->vif.untagged = false;
	net_fix(a);
	text(mac_a, mac_b, 10);
	tagged(7);
	send_pkt(b);
	net_set_takes(a, 0);
	assert_int_equal(segments(false, 64000, 1460, 0x10, 18, b), 44);
	a->vif.pvid = 0;
	b->vif.untagged = true;
	/* Whole, for who takes it: with the headers' length as it is. */
	net_set_takes(b, NET_TAKES_CSUM | NET_TAKES_TSO4);
	send_hdr(a, h);
	got(b);
	assert_int_equal(segments(true, 65000, 1440, 0x91, 14, b), 46); /* not that kind */
	net_set_takes(b, NET_TAKES_CSUM | NET_TAKES_TSO6);
	assert_int_equal(segments(true, 65000, 1440, 0x91, 14, b), 46); /* not with ECN */
	net_set_takes(b, NET_TAKES_CSUM | NET_TAKES_TSO6 | NET_TAKES_ECN);
	h = (struct net_hdr){.flags = 1, .gso_type = NET_GSO_TCPV6 | NET_GSO_ECN, .gso_size = 1440, .csum_start = 54, .csum_offset = 16,
			     .hdr_len = 5};
	send_hdr(a, h);
	assert_int_equal(net_peek(b)->hdr.hdr_len, 74);
	assert_int_equal(net_peek(b)->hdr.gso_type, NET_GSO_TCPV6 | NET_GSO_ECN);
	got(b);
	/* Nobody knows where he is: that would be many copies. */
	pkt[0] = 6;
	send_hdr(a, h);
	assert_int_equal(a->drops[DROP_FLOOD], 1);
}

static void false_headers(void **state)
{
	const struct net_hdr good = {.flags = 1, .gso_type = NET_GSO_TCPV4, .gso_size = 500, .csum_start = 34, .csum_offset = 16};
	struct net_hdr h;
	u32 n = 0;

	(void)state;
#define BAD(change, ...)                                                                                                       \
	do {                                                                                                                   \
		h = good;                                                                                                      \
		eth(mac_b, mac_a, 0);                                                                                          \
		tcp(1, 2, 0x10, 2000);                                                                                         \
		ip4(6, IP(10, 0, 0, 1), IP(10, 0, 0, 2), 0);                                                                   \
		change;                                                                                                        \
		send_hdr(a, h);                                                                                                \
		nothing(b);                                                                                                    \
		assert_int_equal(a->drops[DROP_MALFORMED], ++n);                                                               \
	} while (0)
	BAD(h.flags = 0);
	BAD(h.gso_type = NET_GSO_TCPV6);
	BAD(h.gso_type = 3);
	BAD(h.gso_type = 5);
	BAD(h.gso_type = NET_GSO_ECN);
	BAD(h.csum_start = 35);
	BAD(h.csum_offset = 6);
	BAD(pkt[14] = 0x65);
	BAD(pkt[14] = 0x4f);
	BAD(pkt[14] = 0x44);
	BAD(pkt[23] = 17);
	BAD(pkt[20] = 0x20);
	BAD(pkt[46] = 0x40);
	BAD(pkt_len = 54);
	BAD(pkt_len = 50);
	BAD(pkt[12] = 0x86);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, three, gone)
int main(void)
{
	const struct CMUnitTest tests[] = {T(checksums), T(segmentation), T(false_headers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
