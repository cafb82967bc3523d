/* SPDX-License-Identifier: BSD-2-Clause */
/* The host, and the monitor itself. */
#include "arch/x86_64/frame.h"
#include "lib/string.h"
#include "vmm/monitor/verbs.h"

static enum mon_status help_verb(struct mon_call *c)
{
	for (u32 i = 0; i < monitor_nr_verbs; i++) {
		const struct verb *v = &monitor_verbs[i];
		char usage[128];

		if (strcmp(v->name, c->name))
			continue;
		snprintf(usage, sizeof(usage), "%s%s%s", v->name, *v->args ? " " : "", v->args);
		mon_text(c->out, "usage", usage);
		mon_text(c->out, "help", v->help);
		if (v->more)
			mon_text(c->out, "more", v->more);
		return MON_DONE;
	}
	return mon_fail(c, "no such verb; `help` lists them");
}

enum mon_status verb_help(struct mon_call *c)
{
	static const struct mon_col cols[] = {{"verb", NULL, -12}, {"args", NULL, -32}, {"help", NULL, 0}};

	if (c->name)
		return help_verb(c);
	if (!c->pos)
		MON_TABLE(c->out, "verbs", cols, MON_COLUMNS);
	for (u32 n = 0; n < 8 && c->pos < monitor_nr_verbs; n++, c->pos++) {
		mon_row(c->out);
		mon_str(c->out, monitor_verbs[c->pos].name);
		mon_str(c->out, monitor_verbs[c->pos].args);
		mon_str(c->out, monitor_verbs[c->pos].help);
	}
	return c->pos < monitor_nr_verbs ? MON_MORE : MON_DONE;
}

enum mon_status verb_mem(struct mon_call *c)
{
	static const struct mon_col pools[] = {{"pool", "Pool", -8}, {"total_kib", "KiB", 12}, {"free_kib", "Free", 12}};
	static const struct mon_col types[] = {{"type", "Ours", -14}, {"kib", "KiB", 12}};
	static const char *const names[FRAME_NR_TYPES] = {
		[FRAME_BOOT] = "boot",	   [FRAME_PT] = "page-tables", [FRAME_NESTED_PT] = "nested-tables",
		[FRAME_VM] = "VMs",	   [FRAME_VCPU] = "vCPUs",     [FRAME_PCPU] = "CPUs",
		[FRAME_DEVICE] = "devices", [FRAME_HEAP] = "heap",
	};
	struct mon_out *o = c->out;
	struct frame_stats st;

	frame_get_stats(&st);
	MON_TABLE(o, "pools", pools, MON_COLUMNS);
	mon_row(o);
	mon_str(o, "ours");
	mon_u64(o, st.own_total >> 10);
	mon_u64(o, st.own_free >> 10);
	mon_row(o);
	mon_str(o, "guests'");
	mon_u64(o, st.guest_total >> 10);
	mon_u64(o, st.guest_free >> 10);
	MON_TABLE(o, "types", types, MON_COLUMNS);
	for (unsigned i = 0; i < FRAME_NR_TYPES; i++) {
		if (!names[i])
			continue;
		mon_row(o);
		mon_str(o, names[i]);
		mon_u64(o, st.by_type[i] >> 10);
	}
	return MON_DONE;
}
