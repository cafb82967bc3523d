/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a sender left to the device (virtio 1.2, 5.1.6.2) and the receiver does not take: checksums, and TCP's
 * segmentation. All that the header says is the guest's word, and holds only if the frame bears it out.
 */
#include "drivers/net/switch.h"
#include "lib/errno.h"
#include "lib/string.h"

#define MAX_SEGMENTS 128u /* 64 KiB at the least MSS that everybody has (536) */
enum { TCP_FIN = 1, TCP_PSH = 8, TCP_CWR = 0x80 };

u64 net_sum(const void *p, u32 n, u64 sum)
{
	const u8 *b = p;
	u64 last = 0;

	for (; n >= 32; n -= 32, b += 32)
		__asm__("addq (%1), %0\n\tadcq 8(%1), %0\n\tadcq 16(%1), %0\n\tadcq 24(%1), %0\n\tadcq $0, %0"
			: "+r"(sum) : "r"(b), "m"(*(const u8(*)[32])b) : "cc");
	for (; n >= 8; n -= 8, b += 8)
		__asm__("addq (%1), %0\n\tadcq $0, %0" : "+r"(sum) : "r"(b), "m"(*(const u8(*)[8])b) : "cc");
	memcpy(&last, b, n);
	__asm__("addq %1, %0\n\tadcq $0, %0" : "+r"(sum) : "r"(last) : "cc");
	return sum;
}

/* In memory order, as it was summed: it is stored as it is. */
u16 net_fold(u64 sum)
{
	sum = (sum >> 32) + (u32)sum;
	sum = (sum >> 16) + (u16)sum;
	sum = (sum >> 16) + (u16)sum;
	sum = (sum >> 16) + (u16)sum;
	return (u16)~sum;
}

void net_checksum(u8 *p, u32 len, const struct net_hdr *h)
{
	u32 start = h->csum_start;
	/* The field holds the pseudo header's sum already. UDP has 0 for none (RFC 768). */
	u16 csum = net_fold(net_sum(p + start, len - start, 0));

	if (!csum && h->csum_offset == 6)
		csum = 0xffff;
	memcpy(p + start + h->csum_offset, &csum, 2);
}

u32 net_headers(const struct net_pkt *pk)
{
	return pk->l3.l4 + (u32)(pk->f->head[pk->l3.l4 + 12] >> 4) * 4;
}

bool net_hdr_ok(struct net_pkt *pk)
{
	const struct net_hdr *h = &pk->f->hdr;
	u8 type = h->gso_type & (u8)~NET_GSO_ECN;
	u32 len = pk->f->len, end, payload;

	if (h->flags & NET_NEEDS_CSUM &&
	    (h->csum_start < NET_ETH_HDR + pk->tag || h->csum_start + (u32)h->csum_offset + 2 > len))
		return false;
	if (!h->gso_type)
		return true;
	if (!(h->flags & NET_NEEDS_CSUM) || (type != NET_GSO_TCPV4 && type != NET_GSO_TCPV6) || !h->gso_size)
		return false;
	if (!net_parse(pk) || pk->l3.kind != (type == NET_GSO_TCPV4 ? L3_V4 : L3_V6) || pk->l3.proto != PROTO_TCP ||
	    pk->l3.frag != FRAG_NONE || h->csum_start != pk->l3.l4 || h->csum_offset != 16)
		return false;
	/* hdr_len is but a hint (5.1.6.2): what counts is what the headers say, and they are all in head. */
	end = net_headers(pk);
	if (end > len || end > pk->f->head_len || end > NET_HEAD)
		return false;
	payload = len - end;
	return payload && (payload + h->gso_size - 1) / h->gso_size <= MAX_SEGMENTS;
}

/* ---- segments ---- */

struct segmenter {
	struct net_pkt *pk;
	struct net_port *to;
	u32 headers;	/* bytes of them in the frame, */
	int change;	/* and how many more in a segment, for its tag */
	u32 l3, l4;	/* in a segment */
	u32 seq;
	u16 id;
};

/* The n-th segment's headers at p: lengths, numbers, flags. `from` is the first byte of its payload. */
static void headers(const struct segmenter *s, u8 *p, u32 n, u32 from, u32 size, bool last)
{
	u8 *ip = p + s->l3, *tcp = p + s->l4;
	u32 len = s->headers + (u32)s->change + size, seq = s->seq + from;

	if (s->pk->l3.kind == L3_V4) {
		u16 csum = 0;

		put16(ip + 2, len - s->l3);
		put16(ip + 4, s->id + n);
		memcpy(ip + 10, &csum, 2);
		csum = net_fold(net_sum(ip, s->l4 - s->l3, 0));
		memcpy(ip + 10, &csum, 2);
	} else {
		put16(ip + 4, len - s->l3 - 40);
	}
	put16(tcp + 4, seq >> 16);
	put16(tcp + 6, seq);
	if (!last)
		tcp[13] &= (u8)~(TCP_FIN | TCP_PSH);
	if (n)
		tcp[13] &= (u8)~TCP_CWR; /* RFC 3168: once */
}

/* RFC 9293, 3.1, with the pseudo header. */
static void tcp_checksum(const struct segmenter *s, u8 *p, u32 len)
{
	const u8 *ip = p + s->l3;
	u8 *tcp = p + s->l4;
	u32 n = len - s->l4;
	u8 pseudo[8] = {0, 0, 0, PROTO_TCP, (u8)(n >> 24), (u8)(n >> 16), (u8)(n >> 8), (u8)n};
	u64 sum = net_sum(pseudo, 8, 0);
	u16 csum = 0;

	sum = s->pk->l3.kind == L3_V4 ? net_sum(ip + 12, 8, sum) : net_sum(ip + 8, 32, sum);
	memcpy(tcp + 16, &csum, 2);
	csum = net_fold(net_sum(tcp, n, sum));
	memcpy(tcp + 16, &csum, 2);
}

static bool segment(const struct segmenter *s, u32 n, u32 from, u32 size, bool last)
{
	u32 hdr = s->headers + (u32)s->change;
	struct net_rx *r = net_reserve(s->to, hdr + size);

	if (!r)
		return false;
	net_copy_head(s->pk, r->data, s->headers, s->change);
	if (net_copy(s->pk->f, s->headers + from, r->data + hdr, size)) {
		net_dropped(s->pk->from, DROP_MALFORMED);
		return false;
	}
	headers(s, r->data, n, from, size, last);
	r->len = hdr + size;
	tcp_checksum(s, r->data, r->len);
	r->hash = s->to->vif.queues > 1 ? net_flow_hash(s->pk) : 0;
	r->hdr = (struct net_hdr){.flags = s->to->takes & NET_TAKES_CSUM ? NET_DATA_VALID : 0};
	net_commit(s->to, r);
	return true;
}

void net_segment(struct net_pkt *pk, struct net_port *to)
{
	const u8 *head = pk->f->head;
	struct segmenter s = {.pk = pk, .to = to, .headers = net_headers(pk), .change = net_tag_change(pk, to)};
	u32 payload = pk->f->len - s.headers, mss = pk->f->hdr.gso_size, n = 0;

	/* net_hdr_ok() has looked at all of it. */
	s.l3 = pk->l3.l3 + (u32)s.change;
	s.l4 = pk->l3.l4 + (u32)s.change;
	s.seq = be32(head + pk->l3.l4 + 4);
	s.id = be16(head + pk->l3.l3 + 4);
	if (s.headers + MIN(mss, payload) > NET_ETH_HDR + pk->tag + to->vif.mtu) {
		net_dropped(pk->from, DROP_SIZE);
		return;
	}
	for (u32 from = 0; from < payload; from += mss, n++)
		if (!segment(&s, n, from, MIN(mss, payload - from), payload - from <= mss))
			return;
}
