/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor's verbs of the network. */
#include "drivers/net/ports.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/monitor/verbs.h"
#include "vmm/vm.h"

#define SNAP_MAX 65535u

/* --- network-list: a port a step --- */

static void vif_vlans(const struct vm_vif *v, char *buf, size_t n)
{
	size_t len = 0;
	bool any = false;

	if (v->untagged && v->pvid)
		len = (size_t)snprintf(buf, n, "%u", v->pvid);
	for (u32 i = 0; i < 64; i++)
		any |= v->vlans[i] != 0;
	snprintf(buf + len, n - len, "%s", any ? len ? "p/..." : "tagged" : len ? "" : "-");
}

void network_list_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {
		{"vm", "VM", -20}, {"id", "ID", 4}, {"index", "Idx", 3}, {"kind", "Kind", -10}, {"bridge", "Bridge", -15},
		{"mac", "MAC", -17}, {"vlan", "VLAN", -8}, {"link", "Link", -4}, {"mirror", "Mirror", -6},
		{"firewall", "Firewall", -8}, {"sent", "Sent", 10}, {"sent_bytes", "Bytes", 14}, {"received", "Received", 10},
		{"received_bytes", "Bytes", 14}, {"dropped", "Dropped", 10},
		/* -l, in enum net_drop's order */
		{"malformed", "Malformed", 9}, {"size", "Size", 9}, {"link_down", "LinkDown", 9}, {"vlan_drop", "VLANdrop", 9},
		{"spoofed", "Spoofed", 9}, {"firewall_drop", "FWout", 9}, {"flood", "Flood", 9}, {"full", "Full", 9},
		{"denied", "FWin", 9}, {"refused", "Refused", 9},
	};
	static_assert(ARRAY_SIZE(cols) == 15 + NR_DROPS, "a column for each");

	mon_table(c->out, "ports", cols, mon_opt(c, 'l') ? ARRAY_SIZE(cols) : ARRAY_SIZE(cols) - NR_DROPS,
		  mon_opt(c, 'l') ? MON_LINES : MON_COLUMNS);
}

static void owner_name(u16 owner, char *buf, size_t n)
{
	spin_lock(&vm_list_lock);
	snprintf(buf, n, "%s", owner == OWNER_HOST ? "(host)" : "?");
	list_for_each (l, &vm_list) {
		const struct vm *vm = list_entry(l, struct vm, node);

		if (vm->id == owner)
			str_copy(buf, vm->name, n);
	}
	spin_unlock(&vm_list_lock);
}

static void port_row(struct mon_call *c, const struct net_stat *st, const char *name)
{
	struct mon_out *o = c->out;
	const u8 *m = st->vif.mac;
	char vlan[24];
	u64 dropped = 0;

	for (u32 i = 0; i < NR_DROPS; i++)
		dropped += st->drops[i];
	vif_vlans(&st->vif, vlan, sizeof(vlan));
	mon_row(o);
	mon_str(o, name);
	mon_u64(o, st->owner);
	mon_u64(o, st->index);
	mon_str(o, st->kind);
	mon_str(o, st->bridge);
	mon_strf(o, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
	mon_str(o, vlan);
	mon_str(o, st->up ? "up" : "down");
	mon_bool(o, st->mirrored);
	mon_bool(o, st->filtered);
	mon_u64(o, st->sent.packets);
	mon_u64(o, st->sent.bytes);
	mon_u64(o, st->received.packets);
	mon_u64(o, st->received.bytes);
	mon_u64(o, dropped);
	for (u32 i = 0; mon_opt(c, 'l') && i < NR_DROPS; i++)
		mon_u64(o, st->drops[i]);
}

enum mon_status verb_network_list(struct mon_call *c)
{
	struct net_stat st;
	char name[VM_NAME_MAX];
	u64 id;

	if (!net_stat((u32)c->pos++, &st))
		return MON_DONE;
	owner_name(st.owner, name, sizeof(name));
	if (!c->argc || !strcmp(name, c->argv[0]) || (mon_number(c->argv[0], 65535, &id) && id == st.owner))
		port_row(c, &st, name);
	return MON_MORE;
}

/* --- what is set --- */

static bool card(struct mon_call *c, const char *word, u64 *index)
{
	return mon_number(word, VM_MAX_VIFS - 1, index) && *index < c->vm->cfg.nr_vifs;
}

enum mon_status verb_network_link(struct mon_call *c)
{
	bool up = !strcmp(c->argv[1], "up");
	u64 index;

	if (!card(c, c->argv[0], &index))
		return mon_fail(c, "it has no card %.32s; `network-list` shows them", c->argv[0]);
	if (!up && strcmp(c->argv[1], "down"))
		return mon_fail(c, "%.32s is neither up nor down", c->argv[1]);
	return net_set_link(c->vm->id, (u32)index, up) ? mon_fail(c, "that card is not plugged in") : MON_DONE;
}

/* The rules are the VM's; each of its ports has a copy of those for it. */
static enum mon_status apply(struct mon_call *c)
{
	const struct vm_config *cfg = &c->vm->cfg;
	enum mon_status s = MON_DONE;

	for (u32 i = 0; i < cfg->nr_vifs; i++)
		if (net_set_rules(c->vm->id, i, cfg->rules, cfg->nr_rules) == -ENOMEM)
			s = mon_fail(c, "no memory of our own is left; the card %u has the rules that it had", i);
	return s;
}

static enum mon_status add_rule(struct mon_call *c)
{
	struct vm_config *cfg = &c->vm->cfg;
	char line[MON_LINE_MAX] = "", why[120];
	struct net_rule r;

	for (u32 i = 1, n = 0; i < c->argc; i++)
		n += (u32)snprintf(line + n, sizeof(line) - n, "%s ", c->argv[i]);
	if (!net_rule_parse(line, &r, why, sizeof(why)))
		return mon_fail(c, "%s", why);
	if (r.vif != RULE_ALL_VIFS && r.vif >= cfg->nr_vifs)
		return mon_fail(c, "it has no vif %u", r.vif);
	if (cfg->nr_rules == VM_MAX_RULES)
		return mon_fail(c, "it has %u rules, and may have no more", VM_MAX_RULES);
	cfg->rules[cfg->nr_rules++] = r;
	return apply(c);
}

static enum mon_status remove_rule(struct mon_call *c)
{
	struct vm_config *cfg = &c->vm->cfg;
	u64 i;

	if (c->argc != 2 || !mon_number(c->argv[1], VM_MAX_RULES, &i) || !i || i > cfg->nr_rules)
		return mon_fail(c, "say which rule: 1 to %u", cfg->nr_rules);
	for (cfg->nr_rules--; i <= cfg->nr_rules; i++)
		cfg->rules[i - 1] = cfg->rules[i];
	return apply(c);
}

static void show_rules(struct mon_call *c)
{
	static const struct mon_col cols[] = {{"number", "Nr", 3}, {"hits", "Hits", 12}, {"rule", "Rule", -40}};
	const struct vm_config *cfg = &c->vm->cfg;
	char line[200];

	MON_TABLE(c->out, "rules", cols, MON_COLUMNS);
	for (u32 i = 0; i < cfg->nr_rules; i++) {
		u64 sum = 0, hits;

		for (u32 k = 0; k < cfg->nr_vifs; k++)
			sum += net_rule_hits(c->vm->id, k, i, &hits) ? hits : 0;
		net_rule_format(&cfg->rules[i], line, sizeof(line));
		mon_row(c->out);
		mon_u64(c->out, i + 1);
		mon_u64(c->out, sum);
		mon_str(c->out, line);
	}
}

enum mon_status verb_firewall(struct mon_call *c)
{
	if (!c->argc) {
		show_rules(c);
		return MON_DONE;
	}
	if (!strcmp(c->argv[0], "add"))
		return add_rule(c);
	if (!strcmp(c->argv[0], "del"))
		return remove_rule(c);
	if (strcmp(c->argv[0], "flush") || c->argc > 1)
		return mon_fail(c, "%.32s is none of add, del and flush", c->argv[0]);
	c->vm->cfg.nr_rules = 0;
	return apply(c);
}

/* The VM's id, or NET_ALL for "all"; false: there is no such VM. */
static bool whose(const char *word, u32 *owner)
{
	struct vm *vm;

	*owner = NET_ALL;
	if (!strcmp(word, "all"))
		return true;
	spin_lock(&vm_list_lock);
	vm = mon_vm(word);
	*owner = vm ? vm->id : 0;
	spin_unlock(&vm_list_lock);
	return vm;
}

enum mon_status verb_mirror(struct mon_call *c)
{
	u64 index = NET_ALL, snap = SNAP_MAX;
	u32 owner = NET_ALL;
	bool on = !strcmp(c->argv[0], "on");

	if (!on && strcmp(c->argv[0], "off"))
		return mon_fail(c, "%.32s is neither on nor off", c->argv[0]);
	if (mon_opt(c, 's') && (!mon_number(mon_opt(c, 's'), SNAP_MAX, &snap) || snap < 14))
		return mon_fail(c, "%.32s is no number of bytes from 14 to %u", mon_opt(c, 's'), SNAP_MAX);
	if (c->argc > 1 && !whose(c->argv[1], &owner))
		return mon_fail(c, "no such VM; `list` shows them");
	if (c->argc > 2 && !mon_number(c->argv[2], VM_MAX_VIFS - 1, &index))
		return mon_fail(c, "%.32s is no card's index", c->argv[2]);
	if (on && !net_mirror_start((u32)snap))
		return mon_fail(c, "no memory of our own is left");
	mon_field(c->out, "ports");
	mon_u64(c->out, net_set_mirror(owner, (u32)index, on));
	mon_field(c->out, "lost");
	mon_u64(c->out, net_mirror_lost());
	return MON_DONE;
}
