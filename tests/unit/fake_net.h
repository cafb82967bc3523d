/* SPDX-License-Identifier: BSD-2-Clause */
/* What drivers/net/ reaches, for its unit tests and fuzz target: memory, a clock, the console; and frames. */
#pragma once
#include <stdlib.h>
#include "arch/x86_64/frame.h"
#include "drivers/net/ports.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/timer.h"

static u64 clock_ns = 1000000000000;
static int fail_alloc = -1; /* so many allocations succeed yet */
u64 tsc_to_ns(u64 ticks) { return ticks ? clock_ns : 0; }
u64 ns_to_tsc(u64 ns) { return ns; }
u64 wallclock_ns(void) { return 1700000000123456789 + clock_ns; }
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	(void)type;
	(void)owner;
	void *p = fail_alloc >= 0 && !fail_alloc-- ? NULL : aligned_alloc(64, ALIGN_UP(size, 64ul));

	return p ? memset(p, 0, size) : NULL;
}
void kfree(void *p) { free(p); }
bool str_copy(char *dst, const char *src, size_t size)
{
	snprintf(dst, size, "%s", src);
	return strlen(src) < size;
}
static struct timer *timer_now;
void timer_init(struct timer *t, void (*fn)(struct timer *t)) { t->fn = fn; }
void timer_set(struct timer *t, u64 tsc)
{
	(void)tsc;
	timer_now = t;
}
static u8 sent[1 << 20]; /* on the mirror's channel */
static size_t nr_sent, send_room = sizeof(sent);
size_t console_send(u32 channel, const void *buf, size_t n)
{
	(void)channel;
	n = MIN(n, send_room - nr_sent);
	memcpy(sent + nr_sent, buf, n);
	nr_sent += n;
	return n;
}

static struct host_config fake_host;
const struct host_config *host_config(void) { return &fake_host; }

static int kicks[16]; /* by index of the card */
static void kick(struct net_port *p) { kicks[p->index]++; }
static const struct net_port_ops fake_ops = {.kind = "fake", .kick = kick};

static const u8 mac_a[6] = {2, 0, 0, 0, 0, 0xa}, mac_b[6] = {2, 0, 0, 0, 0, 0xb}, mac_c[6] = {2, 0, 0, 0, 0, 0xc},
		broadcast[6] = {255, 255, 255, 255, 255, 255};

static inline struct vm_vif fake_vif(const u8 *mac)
{
	struct vm_vif v = {.bridge = "lan0", .antispoof = true, .untagged = true, .mtu = 1500, .queues = 1};

	if (mac)
		memcpy(v.mac, mac, 6);
	v.antispoof = mac;
	return v;
}

/* ---- frames ---- */

static u8 pkt[70000];
static u32 pkt_len;

static inline void eth(const u8 *dst, const u8 *src, u16 type)
{
	memcpy(pkt, dst, 6);
	memcpy(pkt + 6, src, 6);
	put16(pkt + 12, type);
	pkt_len = 14;
}

static inline void add(const void *p, u32 n)
{
	memcpy(pkt + pkt_len, p, n);
	pkt_len += n;
}

static inline void fill(u32 n)
{
	for (u32 i = 0; i < n; i++)
		pkt[pkt_len++] = (u8)(i * 7 + (i >> 8));
}

static inline u32 slow_sum(const u8 *p, u32 n, u32 sum)
{
	for (u32 i = 0; i < n; i++)
		sum += i & 1 ? p[i] : (u32)p[i] << 8;
	return sum;
}

static inline u16 slow_fold(u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (u16)~sum;
}

/* An IPv4 header in front of what is there from pkt[14] on. */
static inline void ip4(u8 proto, u32 src, u32 dst, u16 frag)
{
	u32 n = pkt_len - 14;
	u8 h[20] = {0x45, 0, 0, 0, 0x12, 0x34, (u8)(frag >> 8), (u8)frag, 64, proto};

	memmove(pkt + 34, pkt + 14, n);
	put16(h + 2, n + 20);
	put16(h + 12, src >> 16);
	put16(h + 14, src);
	put16(h + 16, dst >> 16);
	put16(h + 18, dst);
	put16(h + 10, slow_fold(slow_sum(h, 20, 0)));
	memcpy(pkt + 14, h, 20);
	pkt_len += 20;
	put16(pkt + 12, 0x0800);
}

static inline void ip6(u8 proto, const u8 *src, const u8 *dst)
{
	u32 n = pkt_len - 14;
	u8 h[40] = {0x60, 0, 0, 0, 0, 0, proto, 64};

	memmove(pkt + 54, pkt + 14, n);
	put16(h + 4, n);
	memcpy(h + 8, src, 16);
	memcpy(h + 24, dst, 16);
	memcpy(pkt + 14, h, 40);
	pkt_len += 40;
	put16(pkt + 12, 0x86dd);
}

static inline void tcp(u16 sport, u16 dport, u8 flags, u32 payload)
{
	u8 h[20] = {0, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0, 0x50, flags, 255, 255};

	put16(h, sport);
	put16(h + 2, dport);
	add(h, 20);
	fill(payload);
}

static inline void udp(u16 sport, u16 dport, u32 payload)
{
	u8 h[8];

	put16(h, sport);
	put16(h + 2, dport);
	put16(h + 4, 8 + payload);
	put16(h + 6, 0);
	add(h, 8);
	fill(payload);
}

static inline void arp4(const u8 *mac, u32 ip)
{
	u8 h[28] = {0, 1, 8, 0, 6, 4, 0, 1};

	memcpy(h + 8, mac, 6);
	put16(h + 14, ip >> 16);
	put16(h + 16, ip);
	add(h, 28);
}

static int read_rest(const struct net_frame *f, u32 off, void *to, u32 n)
{
	memcpy(to, (const u8 *)f->arg + off, n);
	return 0;
}

/* pkt, in two pieces if it is long enough, as a guest's card has it. */
static inline void send_hdr(struct net_port *p, struct net_hdr h)
{
	u8 *copy = malloc(pkt_len), *head = malloc(MIN(pkt_len, NET_HEAD)); /* for the sanitizer */
	struct net_frame f = {.hdr = h, .len = pkt_len, .head_len = MIN(pkt_len, NET_HEAD), .head = head, .read = read_rest,
			      .arg = copy};

	memcpy(copy, pkt, pkt_len);
	memcpy(head, pkt, f.head_len);
	net_send(p, &f);
	free(copy);
	free(head);
}

static inline void send_pkt(struct net_port *p)
{
	send_hdr(p, (struct net_hdr){.flags = 0});
}
