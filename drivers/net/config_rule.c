/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines of a firewall, for VM files and for the monitor, and addresses:
 *
 *   [vif N] in|out allow|deny [tcp|udp|icmp|PROTOCOL] [from ADDR[/LEN]] [to ADDR[/LEN]] [sport N[-M]] [port N[-M]]
 *   [vif N] in|out default allow|deny
 */
#include "vmm/config.h"
#include "lib/string.h"

#define PROTO_TCP 6
#define PROTO_UDP 17

struct words {
	const char *s; /* what is left */
	const char *word;
	size_t len; /* 0: there are no more */
};

static void next(struct words *w)
{
	while (*w->s == ' ' || *w->s == '\t')
		w->s++;
	w->word = w->s;
	while (*w->s && *w->s != ' ' && *w->s != '\t')
		w->s++;
	w->len = (size_t)(w->s - w->word);
}

static bool is(const struct words *w, const char *word)
{
	return strlen(word) == w->len && !memcmp(w->word, word, w->len);
}

static bool decimal(const char **s, const char *end, u32 max, u32 *out)
{
	const char *p = *s;

	for (*out = 0; p < end && *p >= '0' && *p <= '9'; p++) {
		*out = *out * 10 + (u32)(*p - '0');
		if (*out > max)
			return false;
	}
	if (p == *s)
		return false;
	*s = p;
	return true;
}

/* ---- addresses ---- */

static bool parse_v4(const char **s, const char *end, u8 addr[4])
{
	u32 v;

	for (unsigned i = 0; i < 4; i++) {
		if (i && (*s == end || *(*s)++ != '.'))
			return false;
		if (!decimal(s, end, 255, &v))
			return false;
		addr[i] = (u8)v;
	}
	return true;
}

/* RFC 4291, 2.2: groups of four hexadecimal digits, `::` once for as many of 0 as are missing. */
static bool parse_v6(const char **s, const char *end, u8 addr[16])
{
	u16 group[8] = {0};
	unsigned n = 0, gap = 8, tail;

	if (end - *s >= 2 && (*s)[0] == ':' && (*s)[1] == ':') {
		gap = 0;
		*s += 2;
	}
	while (n < 8 && *s < end && **s != '/') {
		unsigned digits = 0;
		u32 v = 0;

		for (; *s < end && digits < 5; (*s)++, digits++) {
			char c = (char)(**s | 0x20);
			unsigned d = c >= '0' && c <= '9' ? (unsigned)(c - '0') : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;

			if (d == 16)
				break;
			v = v << 4 | d;
		}
		if (!digits || digits > 4)
			return false;
		group[n++] = (u16)v;
		if (*s == end || **s != ':')
			break;
		if (++*s < end && **s == ':') {
			if (gap < 8)
				return false;
			gap = n;
			++*s;
		} else if (*s == end || **s == '/') {
			return false;
		}
	}
	if (gap == 8 ? n != 8 : n == 8)
		return false;
	tail = gap < n ? n - gap : 0;
	for (unsigned i = 0; i < n; i++) {
		unsigned at = i < gap ? i : 8 - tail + (i - gap);

		addr[2 * at] = (u8)(group[i] >> 8);
		addr[2 * at + 1] = (u8)group[i];
	}
	return true;
}

bool net_prefix_parse(const char *s, size_t n, struct net_prefix *p)
{
	const char *end = s + n;
	u32 len, max = 32;

	*p = (struct net_prefix){0};
	for (const char *k = s; k < end && max == 32; k++)
		max = *k == ':' ? 128 : 32;
	if (max == 128) {
		if (!parse_v6(&s, end, p->addr))
			return false;
	} else if (!parse_v4(&s, end, p->addr)) {
		return false;
	}
	len = max;
	if (s < end && (*s++ != '/' || !decimal(&s, end, max, &len)))
		return false;
	p->family = max == 32 ? 4 : 6;
	p->len = (u8)len;
	return s == end;
}

int net_prefix_format(const struct net_prefix *p, char *buf, size_t n)
{
	const u8 *a = p->addr;
	char len[8] = "";

	if (p->len != (p->family == 4 ? 32 : 128))
		snprintf(len, sizeof(len), "/%u", p->len);
	if (p->family == 4)
		return snprintf(buf, n, "%u.%u.%u.%u%s", a[0], a[1], a[2], a[3], len);
	return snprintf(buf, n, "%x:%x:%x:%x:%x:%x:%x:%x%s", a[0] << 8 | a[1], a[2] << 8 | a[3], a[4] << 8 | a[5],
			a[6] << 8 | a[7], a[8] << 8 | a[9], a[10] << 8 | a[11], a[12] << 8 | a[13], a[14] << 8 | a[15], len);
}

/* ---- rules ---- */

static bool ports(const struct words *w, u16 range[2])
{
	const char *s = w->word, *end = s + w->len;
	u32 first, last;

	if (!decimal(&s, end, 65535, &first))
		return false;
	last = first;
	if (s < end && (*s++ != '-' || !decimal(&s, end, 65535, &last)))
		return false;
	range[0] = (u16)first;
	range[1] = (u16)last;
	return s == end && first <= last;
}

static bool protocol(const struct words *w, struct net_rule *r)
{
	const char *s = w->word;
	u32 n;

	if (is(w, "tcp"))
		r->proto = PROTO_TCP;
	else if (is(w, "udp"))
		r->proto = PROTO_UDP;
	else if (is(w, "icmp"))
		r->proto = RULE_ICMP;
	else if (decimal(&s, w->word + w->len, 254, &n) && n && s == w->word + w->len)
		r->proto = (u8)n;
	else
		return false;
	return true;
}

static bool no(char *why, size_t n, const struct words *w, const char *mend)
{
	if (w->len)
		snprintf(why, n, "'%.*s'; %s", (int)MIN(w->len, 40u), w->word, mend);
	else
		snprintf(why, n, "it ends too early; %s", mend);
	return false;
}

static bool action(struct words *w, struct net_rule *r, char *why, size_t n)
{
	r->allow = is(w, "allow");
	if (!r->allow && !is(w, "deny"))
		return no(why, n, w, "write allow or deny");
	next(w);
	return true;
}

static bool matches(struct words *w, struct net_rule *r, char *why, size_t n)
{
	bool ok = true;

	if (w->len && protocol(w, r))
		next(w);
	for (; w->len; next(w)) {
		struct words key = *w;

		next(w);
		if (is(&key, "from") || is(&key, "to"))
			ok = net_prefix_parse(w->word, w->len, is(&key, "to") ? &r->to : &r->from);
		else if (is(&key, "port") || is(&key, "sport"))
			ok = ports(w, is(&key, "port") ? r->port : r->sport);
		else
			return no(why, n, &key, "write a protocol (tcp, udp, icmp or its number), then from, to, port or sport");
		if (!ok)
			return no(why, n, w, is(&key, "from") || is(&key, "to") ? "write an address, as in 10.0.0.0/8 or fd00::1"
									 : "write a port or first-last");
	}
	if (r->from.family && r->to.family && r->from.family != r->to.family) {
		snprintf(why, n, "from and to are of two kinds, IPv4 and IPv6; write two rules");
		return false;
	}
	if ((r->port[1] - r->port[0] != 65535 || r->sport[1] - r->sport[0] != 65535) && r->proto != PROTO_TCP &&
	    r->proto != PROTO_UDP) {
		snprintf(why, n, "ports are tcp's and udp's; write one of these before");
		return false;
	}
	return true;
}

bool net_rule_parse(const char *s, struct net_rule *r, char *why, size_t n)
{
	struct words w = {.s = s};
	const char *end;
	u32 vif;

	*r = (struct net_rule){.vif = RULE_ALL_VIFS, .sport = {0, 65535}, .port = {0, 65535}};
	next(&w);
	if (is(&w, "vif")) {
		next(&w);
		end = w.word;
		if (!decimal(&end, w.word + w.len, VM_MAX_VIFS - 1, &vif) || end != w.word + w.len)
			return no(why, n, &w, "write the card's index: 0 is the first");
		r->vif = (u8)vif;
		next(&w);
	}
	r->out = is(&w, "out");
	if (!r->out && !is(&w, "in"))
		return no(why, n, &w, "write in (to the guest) or out (from it)");
	next(&w);
	r->is_default = is(&w, "default");
	if (!r->is_default)
		return action(&w, r, why, n) && matches(&w, r, why, n);
	next(&w);
	return action(&w, r, why, n) && (!w.len || no(why, n, &w, "nothing stands behind a default"));
}

static int put_ports(char *buf, size_t n, const char *what, const u16 range[2])
{
	if (range[0] == 0 && range[1] == 65535)
		return 0;
	return range[0] == range[1] ? snprintf(buf, n, " %s %u", what, range[0])
				    : snprintf(buf, n, " %s %u-%u", what, range[0], range[1]);
}

static int put_prefix(char *buf, size_t n, const char *what, const struct net_prefix *p)
{
	int k = 0;

	if (!p->family)
		return 0;
	k = snprintf(buf, n, " %s ", what);
	return k + net_prefix_format(p, buf + k, n - (size_t)k);
}

/* The longest has 160 characters. */
int net_rule_format(const struct net_rule *r, char *buf, size_t n)
{
	int k = 0;

	if (r->vif != RULE_ALL_VIFS)
		k += snprintf(buf, n, "vif %u ", r->vif);
	k += snprintf(buf + k, n - (size_t)k, "%s %s%s", r->out ? "out" : "in", r->is_default ? "default " : "",
		      r->allow ? "allow" : "deny");
	if (r->proto)
		k += r->proto == PROTO_TCP   ? snprintf(buf + k, n - (size_t)k, " tcp")
		     : r->proto == PROTO_UDP ? snprintf(buf + k, n - (size_t)k, " udp")
		     : r->proto == RULE_ICMP ? snprintf(buf + k, n - (size_t)k, " icmp")
					     : snprintf(buf + k, n - (size_t)k, " %u", r->proto);
	k += put_prefix(buf + k, n - (size_t)k, "from", &r->from);
	k += put_prefix(buf + k, n - (size_t)k, "to", &r->to);
	k += put_ports(buf + k, n - (size_t)k, "sport", r->sport);
	return k + put_ports(buf + k, n - (size_t)k, "port", r->port);
}
