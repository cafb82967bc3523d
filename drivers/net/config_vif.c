/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One network card of a VM file, after xl-network-configuration(5), or one uplink of dalang.cfg: KEY=VALUE, separated by
 * commas. Ours beside xl's: antispoof=, isolated=, queues=. docs/network.md has them all.
 */
#include "vmm/config_parse.h"
#include "lib/string.h"

#define VLAN_MAX     4094u
#define DEFAULT_MTU  1500u
#define BURST_US     50000u /* xl's default interval */
#define RATE_MAX     (1ull << 40)

struct vif_spec {
	struct config_ctx *c;
	const struct cfg_item *it;
	struct vm_vif *vif;
	bool host;
	const char *key; /* at hand */
	const char *val;
	size_t len;
};

#define vif_fail(v, ...) fail((v)->c, (v)->it->line, (v)->it->col, __VA_ARGS__)
#define VAL(v)		 (int)MIN((v)->len, 60), (v)->val

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A decimal number at *s, before end, at most max: *s goes behind it. */
static bool take_number(const char **s, const char *end, u64 max, u64 *out)
{
	const char *p = *s;
	u64 v = 0;

	for (; p < end && is_digit(*p); p++) {
		v = v * 10 + (u64)(*p - '0');
		if (v > max)
			return false;
	}
	*out = v;
	if (p == *s)
		return false;
	*s = p;
	return true;
}

static bool take_word(const char **s, const char *end, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(end - *s) < n || memcmp(*s, word, n))
		return false;
	*s += n;
	return true;
}

static bool take_vlan(const char **s, const char *end, u64 *out)
{
	return take_number(s, end, VLAN_MAX, out) && *out;
}

/* One term of xl's vlan=: N, Np, N-M or N+OFFSETxCOUNT. */
static bool vlan_term(struct vm_vif *vif, const char *s, const char *end)
{
	u64 first, last, step = 1, count;

	if (!take_vlan(&s, end, &first))
		return false;
	last = first;
	if (take_word(&s, end, "p")) {
		if (vif->untagged || s != end)
			return false;
		vif->untagged = true;
		vif->pvid = (u16)first;
		return true;
	}
	if (take_word(&s, end, "-")) {
		if (!take_vlan(&s, end, &last) || last < first)
			return false;
	} else if (take_word(&s, end, "+")) {
		if (!take_vlan(&s, end, &step) || !take_word(&s, end, "x") || !take_number(&s, end, VLAN_MAX, &count))
			return false;
		last = first + step * count;
	}
	if (s != end || last > VLAN_MAX)
		return false;
	for (; first <= last; first += step)
		vif->vlans[first / 64] |= BIT(first % 64);
	return true;
}

static bool set_vlan(struct vif_spec *v)
{
	const char *s = v->val, *end = s + v->len;
	u64 only;

	if (v->vif->pvid || !v->vif->untagged)
		return vif_fail(v, "vif: vlan= beside a bridge with VLANs; write one of the two");
	v->vif->untagged = false;
	if (take_vlan(&s, end, &only) && s == end) {
		v->vif->untagged = true;
		v->vif->pvid = (u16)only;
		return true;
	}
	for (s = v->val; s <= end; s++) {
		const char *e = s;

		while (e < end && *e != '/')
			e++;
		if (!vlan_term(v->vif, s, e))
			return vif_fail(v, "vif: vlan=%.*s; write vlan=10, or vlan=10p/20/30-35: 10 without tag, the others "
					"(1 to 4094) with it", VAL(v));
		s = e;
	}
	return true;
}

/* NAME, NAME.VLAN, NAME.VLAN:TAGGED:TAGGED or NAME:TAGGED:TAGGED, as xl's script for Open vSwitch takes it. */
static bool set_bridge(struct vif_spec *v)
{
	const char *s = v->val, *end = s + v->len, *name;
	struct vm_vif *vif = v->vif;
	bool ok = true, vlans;
	u64 id;

	while (s < end && *s != '.' && *s != ':' && *s > ' ' && *s < 0x7f)
		s++;
	name = s;
	vlans = s < end;
	if (vlans && (vif->pvid || !vif->untagged))
		return vif_fail(v, "vif: a bridge with VLANs beside vlan=; write one of the two");
	if (take_word(&s, end, ".")) {
		ok = take_vlan(&s, end, &id);
		vif->pvid = ok ? (u16)id : 0;
	} else if (vlans) {
		vif->untagged = false;
	}
	while (ok && s < end) {
		ok = take_word(&s, end, ":") && take_vlan(&s, end, &id);
		if (ok)
			vif->vlans[id / 64] |= BIT(id % 64);
	}
	if (!ok || name == v->val || (size_t)(name - v->val) >= sizeof(vif->bridge))
		return vif_fail(v, "vif: bridge=%.*s; write a name of up to %zu characters, or NAME.10 for VLAN 10, or "
				"NAME.10:20:30 for 20 and 30 with tag as well", VAL(v), sizeof(vif->bridge) - 1);
	memset(vif->bridge, 0, sizeof(vif->bridge));
	memcpy(vif->bridge, v->val, (size_t)(name - v->val));
	return true;
}

static int hex(char c)
{
	return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool set_mac(struct vif_spec *v)
{
	u8 *mac = v->vif->mac, any = 0;
	bool ok = v->len == 17;

	for (unsigned i = 0; ok && i < 6; i++) {
		const char *s = v->val + 3 * i;

		ok = hex(s[0]) >= 0 && hex(s[1]) >= 0 && (i == 5 || s[2] == ':');
		mac[i] = ok ? (u8)(hex(s[0]) << 4 | hex(s[1])) : 0;
		any |= mac[i];
	}
	if (!ok || !any || mac[0] & 1)
		return vif_fail(v, "vif: mac=%.*s; write six bytes as in 00:16:3e:12:34:56, the first one even", VAL(v));
	v->vif->mac_given = true;
	return true;
}

/* RATE/s or RATE/s@INTERVAL; 1 Kb is 1,000 bits, as in xl. */
static bool set_rate(struct vif_spec *v)
{
	static const struct { const char *unit; u32 us; } units[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {"", 1}};
	const char *s = v->val, *end = s + v->len;
	u64 rate = 0, us = BURST_US;
	bool ok = take_number(&s, end, 10000000000, &rate), bits; /* times a giga it fits */

	rate *= take_word(&s, end, "G") ? 1000000000 : take_word(&s, end, "M") ? 1000000 : take_word(&s, end, "K") ? 1000 : 1;
	bits = take_word(&s, end, "b");
	ok = ok && (bits || take_word(&s, end, "B")) && take_word(&s, end, "/s");
	if (ok && take_word(&s, end, "@")) {
		ok = take_number(&s, end, 10000000, &us);
		for (unsigned i = 0; ok && i < ARRAY_SIZE(units); i++)
			if (take_word(&s, end, units[i].unit)) {
				us *= units[i].us;
				break;
			}
	}
	rate /= bits ? 8 : 1;
	if (!ok || s != end || rate < 1000 || rate > RATE_MAX || !us || us > 10000000)
		return vif_fail(v, "vif: rate=%.*s; write 10Mb/s or 1MB/s@20ms, say: 1KB/s to 1000GB/s, in 1us to 10s", VAL(v));
	v->vif->rate = rate;
	v->vif->burst = MAX(rate * us / 1000000, 1ull);
	return true;
}

static bool set_ip(struct vif_spec *v)
{
	const char *s = v->val, *end = s + v->len;

	while (s < end) {
		const char *e = s;

		while (e < end && *e != ' ')
			e++;
		if (e > s && v->vif->nr_ips == VIF_MAX_IPS)
			return vif_fail(v, "vif: more than %d addresses in ip=; write a prefix, as in 10.0.0.0/24", VIF_MAX_IPS);
		if (e > s && !net_prefix_parse(s, (size_t)(e - s), &v->vif->ip[v->vif->nr_ips++]))
			return vif_fail(v, "vif: ip=%.*s; write 10.0.0.5 or fd00::5 or 10.0.0.0/24, several with blanks between",
					VAL(v));
		s = e + (e < end);
	}
	return true;
}

static bool number(struct vif_spec *v, u64 min, u64 max, u64 *out)
{
	const char *s = v->val;

	return (take_number(&s, v->val + v->len, max, out) && s == v->val + v->len && *out >= min) ||
	       vif_fail(v, "vif: %s=%.*s; write %llu to %llu", v->key, VAL(v), (unsigned long long)min,
			(unsigned long long)max);
}

static bool set_numbers(struct vif_spec *v)
{
	u64 n;

	if (!strcmp(v->key, "mtu")) {
		if (!number(v, 68, 9216, &n))
			return false;
		v->vif->mtu = (u16)n;
	} else {
		if (!number(v, 1, 8, &n))
			return false;
		v->vif->queues = (u8)n;
	}
	return true;
}

static bool set_bool(struct vif_spec *v)
{
	u64 n;

	if (!number(v, 0, 1, &n))
		return false;
	*(!strcmp(v->key, "antispoof") ? &v->vif->antispoof
	  : !strcmp(v->key, "isolated") ? &v->vif->isolated
					: &v->vif->mirror) = n;
	return true;
}

static bool is_val(const struct vif_spec *v, const char *word)
{
	return v->len == strlen(word) && !memcmp(v->val, word, v->len);
}

/* xl's models are emulated cards, which a guest that knows virtio does without. */
static bool set_model(struct vif_spec *v)
{
	if (!is_val(v, "virtio") && !is_val(v, "virtio-net") && !is_val(v, "vif") && !is_val(v, "ioemu"))
		warn(v->c, v->it->line, v->it->col, "vif: %s=%.*s is not emulated: the guest sees a virtio-net card", v->key,
		     VAL(v));
	return true;
}

static bool unused(struct vif_spec *v)
{
	warn(v->c, v->it->line, v->it->col, "vif parameter '%s' is known to xl, not used by Dalang", v->key);
	return true;
}

static const struct {
	const char *key;
	bool (*set)(struct vif_spec *v);
	bool of_guests; /* makes no sense for an uplink */
} vif_keys[] = {
	{"bridge", set_bridge, false},	   {"vlan", set_vlan, false},	     {"isolated", set_bool, false},     {"mirror", set_bool, false},
	{"rate", set_rate, true},	   {"mtu", set_numbers, false},	     {"mac", set_mac, true},
	{"ip", set_ip, true},		   {"antispoof", set_bool, true}, {"queues", set_numbers, true},
	{"model", set_model, true},	   {"type", set_model, true},	     {"script", unused, true},
	{"vifname", unused, true},	   {"backend", unused, true},	     {"gatewaydev", unused, true},
	{"netdev", unused, true},	   {"devid", unused, true},	     {"trusted", unused, true},
	{"untrusted", unused, true},	   {"accel", unused, true},
};

static bool parameter(struct vif_spec *v, const char *s, size_t n, u32 *seen)
{
	size_t k = 0;

	while (k < n && s[k] != '=')
		k++;
	for (u32 i = 0; i < ARRAY_SIZE(vif_keys); i++) {
		if (strlen(vif_keys[i].key) != k || memcmp(vif_keys[i].key, s, k) || (v->host && vif_keys[i].of_guests))
			continue;
		v->key = vif_keys[i].key;
		v->val = s + k + (k < n);
		v->len = n - k - (k < n);
		if (*seen & BIT(i))
			return vif_fail(v, "vif: %s is given twice; write it once", v->key);
		*seen |= (u32)BIT(i);
		return vif_keys[i].set(v);
	}
	return vif_fail(v, "%s: unknown parameter '%.*s'; known are bridge=, vlan=, mtu=, isolated=, mirror=%s",
			v->host ? "uplink" : "vif", (int)MIN(k, 40), s, v->host ? "" : ", rate=, mac=, ip=, antispoof=, queues=, model=");
}

bool config_vif(struct config_ctx *c, const struct cfg_item *it, bool host, struct vm_vif *vif)
{
	struct vif_spec v = {.c = c, .it = it, .vif = vif, .host = host};
	const char *s = it->str, *end = s + it->len;
	u32 seen = 0;

	*vif = (struct vm_vif){.bridge = "xenbr0", .antispoof = !host, .untagged = true, .mtu = DEFAULT_MTU, .queues = 1};
	while (s < end) {
		const char *e = s, *next;

		while (e < end && *e != ',')
			e++;
		next = e + (e < end);
		while (s < e && *s == ' ')
			s++;
		while (e > s && e[-1] == ' ')
			e--;
		if (e > s && !parameter(&v, s, (size_t)(e - s), &seen))
			return false;
		s = next;
	}
	return true;
}

/* Locally administered, and the same at every start: FNV-1a of name and index. */
static void make_mac(const char *name, u32 i, u8 *mac)
{
	u64 h = 0xcbf29ce484222325ull;

	for (const char *s = name; *s; s++)
		h = (h ^ (u8)*s) * 0x100000001b3ull;
	h = (h ^ (i + 1)) * 0x100000001b3ull;
	h ^= h >> 32;
	for (unsigned k = 1; k < 6; k++)
		mac[k] = (u8)(h >> 8 * k);
	mac[0] = 2;
}

bool config_vif_macs(struct config_ctx *c, const struct config_place *at, struct vm_config *vm)
{
	for (u32 i = 0; i < vm->nr_vifs; i++) {
		if (!vm->vifs[i].mac_given)
			make_mac(vm->name, i, vm->vifs[i].mac);
		for (u32 k = 0; k < i; k++)
			if (!memcmp(vm->vifs[i].mac, vm->vifs[k].mac, 6))
				return fail(c, at->line, at->col, "vif %u and vif %u have the same MAC; give one of them another", k, i);
	}
	return true;
}

bool config_add_vif(struct config_ctx *c, const struct cfg_item *it)
{
	struct vm_config *vm = c->out;
	struct vm_vif vif;
	u32 place = 0;

	if (!config_vif(c, it, false, &vif))
		return false;
	while (place < VM_MAX_VIFS && vm->vifs[place].bridge[0])
		place++;
	if (place == VM_MAX_VIFS)
		return fail(c, it->line, it->col, "vif: it has %d cards, and may have no more", VM_MAX_VIFS);
	if (!vif.mac_given)
		make_mac(vm->name, place, vif.mac);
	for (u32 k = 0; k < VM_MAX_VIFS; k++)
		if (vm->vifs[k].bridge[0] && !memcmp(vm->vifs[k].mac, vif.mac, 6))
			return fail(c, it->line, it->col, "vif: its vif %u has this MAC; write another mac=", k);
	vm->vifs[place] = vif;
	vm->nr_vifs = MAX(vm->nr_vifs, place + 1);
	return true;
}
