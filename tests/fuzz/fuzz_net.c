/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/net/switch.c drivers/net/ports.c drivers/net/parse.c drivers/net/firewall.c drivers/net/offload.c drivers/net/mirror.c drivers/net/config_rule.c */
/*
 * Frames of guests that send anything, through a switch that has to look at all of them: addresses checked, rules,
 * VLANs, offloads undone. Or, if the first byte is a letter's, a line of a firewall. What comes out keeps its promises.
 */
#include "tests/unit/fake_net.h"

static struct net_port *ports[4];

static void check(struct net_port *p)
{
	const struct net_rx *r;

	for (; (r = net_peek(p)); net_next(p)) {
		u8 sum = 0;

		if (r->len < NET_ETH_HDR || r->len > NET_MAX_FRAME + 4 || (u8 *)r + sizeof(*r) + r->len > p->ring + NET_RING)
			abort();
		if (r->hdr.flags & NET_NEEDS_CSUM && (!(p->takes & NET_TAKES_CSUM) || r->hdr.csum_start + r->hdr.csum_offset + 2u > r->len))
			abort();
		if (r->hdr.gso_type && (!(p->takes & NET_TAKES_TSO4) || !r->hdr.gso_size || r->hdr.hdr_len > r->len))
			abort();
		if (!r->hdr.gso_type && r->len > NET_ETH_HDR + 4u + p->vif.mtu)
			abort();
		for (u32 i = 0; i < r->len; i++)
			sum = (u8)(sum + r->data[i]);
		nr_sent = sum & 1; /* what is mirrored need not be kept */
	}
}

static struct net_rule rules[5];

/* Once: their rings are large. */
static void open_ports(void)
{
	static const char *const lines[] = {"in default deny", "in allow tcp port 22-80", "out deny to fd00::/8", "in allow icmp",
					    "in deny udp sport 53"};
	struct vm_vif v = fake_vif(mac_a);
	char why[160];

	for (u32 i = 0; i < ARRAY_SIZE(lines); i++)
		if (!net_rule_parse(lines[i], &rules[i], why, sizeof(why)))
			abort();
	v.nr_ips = 2;
	v.ip[0] = (struct net_prefix){.family = 4, .len = 8, .addr = {10}};
	v.ip[1] = (struct net_prefix){.family = 6, .len = 7, .addr = {0xfc}};
	v.mirror = true;
	ports[0] = net_open(&fake_ops, NULL, &v, 1, 0, why, sizeof(why));
	v = fake_vif(mac_b);
	v.antispoof = false;
	v.vlans[0] = BIT(5);
	ports[1] = net_open(&fake_ops, NULL, &v, 2, 1, why, sizeof(why));
	v = fake_vif(NULL);
	v.queues = 4;
	v.vlans[0] = BIT(5);
	v.mtu = 9000;
	ports[2] = net_open(&fake_ops, NULL, &v, OWNER_HOST, 2, why, sizeof(why));
	v = fake_vif(mac_c);
	v.antispoof = false;
	ports[3] = net_open(&fake_ops, NULL, &v, 3, 3, why, sizeof(why));
}

/* As if they had just been. */
static void begin(void)
{
	if (!ports[0])
		open_ports();
	memset(ports[0]->bridge->fdb, 0, sizeof(ports[0]->bridge->fdb));
	clock_ns = 1000000000000;
	for (u32 k = 0; k < 4; k++) {
		ports[k]->head = ports[k]->tail = ports[k]->head_seen = ports[k]->learned = ports[k]->nr_learned = 0;
		net_set_takes(ports[k], k == 3 ? 15 : 0);
		net_fix(ports[k]);
	}
	if (net_set_rules(1, 0, rules, ARRAY_SIZE(rules)) || net_set_rules(3, 3, rules, 1))
		abort();
}

static void rule(const u8 *data, size_t size)
{
	char line[256], text[200], again[200], why[120];
	struct net_rule r;

	memcpy(line, data, size < 255 ? size : 255);
	line[size < 255 ? size : 255] = 0;
	if (!net_rule_parse(line, &r, why, sizeof(why)))
		return;
	if (net_rule_format(&r, text, sizeof(text)) >= (int)sizeof(text) || !net_rule_parse(text, &r, why, sizeof(why)))
		abort();
	net_rule_format(&r, again, sizeof(again));
	if (strcmp(text, again))
		abort();
}

/* Each frame: length (2), which port, who it is said to be from and for, seconds gone by; the header; bytes. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size && data[0] >= 'a' && data[0] <= 'z') {
		rule(data, size);
		return 0;
	}
	begin();
	while (size > 14) {
		struct net_hdr h;
		u32 n = data[0] | data[1] << 8, i = data[2] & 3, have;

		memcpy(&h, data + 4, 10);
		clock_ns += (u64)data[3] * 100000000;
		data += 14;
		size -= 14;
		have = (u32)MIN(size, n);
		memcpy(pkt, data, have);
		memset(pkt + have, 0x5a, n - have);
		pkt_len = n; /* longer ones are not all in the input */
		data += have;
		size -= have;
		if (pkt_len && net_send_wait(ports[i]) == 0)
			send_hdr(ports[i], h);
		net_flush(ports[i]);
		for (u32 k = 0; k < 4; k++)
			check(ports[k]);
	}
	return 0;
}
