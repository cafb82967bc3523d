/* SPDX-License-Identifier: BSD-2-Clause */
/* The host, and the monitor itself. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/hv.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "lib/list.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "vmm/host.h"
#include "vmm/monitor/verbs.h"
#include "vmm/vm.h"

#define LINES_A_STEP 8

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

/* The pools, and the title of a line for each VM. */
void mem_begin(struct mon_call *c)
{
	static const struct mon_col pools[] = {{"pool", "Pool", -8}, {"total_kib", "KiB", 12}, {"free_kib", "Free", 12}};
	static const struct mon_col types[] = {{"type", "Ours", -14}, {"kib", "KiB", 12}};
	static const char *const names[FRAME_NR_TYPES] = {
		[FRAME_BOOT] = "boot",	   [FRAME_PT] = "page-tables", [FRAME_NESTED_PT] = "nested-tables",
		[FRAME_VM] = "VMs",	   [FRAME_VCPU] = "vCPUs",     [FRAME_PCPU] = "CPUs",
		[FRAME_DEVICE] = "devices", [FRAME_HEAP] = "heap",
	};
	static const struct mon_col vms[] = {
		{"name", "Name", -24}, {"ram_kib", "RAM", 9}, {"maxmem_kib", "maxmem", 9},
		{"nested_tables_kib", "nested", 7}, {"vm_kib", "VM", 5}, {"vcpus_kib", "vCPUs", 6},
		{"devices_kib", "devices", 8}, {"leaves_1g", "1 GiB", 6}, {"leaves_2m", "2 MiB", 7},
		{"leaves_4k", "4 KiB", 8},
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
	MON_TABLE(o, "vms", vms, MON_COLUMNS);
}

enum mon_status verb_mem(struct mon_call *c)
{
	static const enum frame_type types[] = {FRAME_NESTED_PT, FRAME_VM, FRAME_VCPU, FRAME_DEVICE};
	u64 held[FRAME_NR_TYPES];

	frame_get_owner(c->vm->id, held);
	mon_row(c->out);
	mon_str(c->out, c->vm->name);
	mon_u64(c->out, held[FRAME_GUEST_RAM] >> 10);
	mon_u64(c->out, c->vm->cfg.maxmem << 10);
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		mon_u64(c->out, held[types[i]] >> 10);
	for (unsigned i = 3; i-- > 0;)
		mon_u64(c->out, c->vm->nested.nr_leaves[i]);
	return MON_DONE;
}

/* --- info --- */

/* "AuthenticAMD, ...": CPUID 8000_0002 to 8000_0004, without the blanks around it. */
static void cpu_model(char *buf) /* 49 bytes */
{
	size_t n = 0;

	memset(buf, 0, 49);
	if (cpuid(0x80000000, 0).eax >= 0x80000004)
		for (u32 i = 0; i < 3; i++) {
			struct cpuid r = cpuid(0x80000002 + i, 0);

			memcpy(buf + 16 * i, &(u32[4]){r.eax, r.ebx, r.ecx, r.edx}, 16);
		}
	while (buf[n] == ' ')
		n++;
	memmove(buf, buf + n, 49 - n);
	for (n = strlen(buf); n && buf[n - 1] == ' '; n--)
		buf[n - 1] = 0;
}

/* What of the CPU changes how guests run here. */
static void features(char *buf, size_t n)
{
	static const struct {
		u32 leaf, sub;
		u8 reg, bit; /* reg: eax, ebx, ecx, edx */
		const char *name;
	} list[] = {
		{1, 0, 2, 21, "x2apic"}, {1, 0, 2, 24, "tsc_deadline"}, {1, 0, 2, 26, "xsave"}, {1, 0, 2, 28, "avx"},
		{7, 0, 1, 5, "avx2"}, {7, 0, 1, 16, "avx512f"}, {0x80000001, 0, 3, 26, "pdpe1gb"},
		{0x80000007, 0, 3, 8, "invariant_tsc"},
	};
	size_t len = 0;

	buf[0] = 0;
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++) {
		struct cpuid r = cpuid(list[i].leaf, list[i].sub);
		u32 regs[4] = {r.eax, r.ebx, r.ecx, r.edx};

		if (cpuid(list[i].leaf & 0x80000000, 0).eax >= list[i].leaf && regs[list[i].reg] & 1u << list[i].bit)
			len += (size_t)snprintf(buf + len, n - len, "%s%s", len ? " " : "", list[i].name);
	}
}

static void info_cpus(struct mon_out *o)
{
	u32 ready = 0, node = 0;
	char text[128];

	for (u32 i = 0; i < nr_pcpus; i++) {
		ready += pcpus[i]->state == PCPU_ONLINE && pcpus[i]->hv_ready;
		node = MAX(node, pcpus[i]->node);
	}
	mon_field(o, "nr_cpus");
	mon_u64(o, ready);
	mon_field(o, "cpus_found");
	mon_u64(o, nr_pcpus);
	mon_field(o, "nr_nodes");
	mon_u64(o, node + 1);
	mon_field(o, "cpu_mhz");
	mon_fixed(o, tsc_khz, 3);
	cpu_model(text);
	mon_field(o, "cpu_model");
	mon_str(o, text);
	features(text, sizeof(text));
	mon_field(o, "features");
	mon_str(o, text);
	mon_field(o, "tsc_in_step");
	mon_bool(o, tsc_in_step);
}

enum mon_status verb_info(struct mon_call *c)
{
	struct mon_out *o = c->out;
	struct frame_stats st;
	u32 n = 0;

	frame_get_stats(&st);
	mon_field(o, "dalang_version");
	mon_str(o, DALANG_VERSION);
	mon_field(o, "machine");
	mon_str(o, "x86_64");
	mon_field(o, "backend");
	mon_str(o, hv->name);
	mon_field(o, "virtualization");
	mon_str(o, hv->desc);
	info_cpus(o);
	mon_field(o, "total_memory"); /* MiB, as xl has it */
	mon_u64(o, (st.own_total + st.guest_total) >> 20);
	mon_field(o, "free_memory");
	mon_u64(o, st.guest_free >> 20);
	mon_field(o, "own_memory_kib");
	mon_u64(o, st.own_total >> 10);
	mon_field(o, "own_free_kib");
	mon_u64(o, st.own_free >> 10);
	spin_lock(&vm_list_lock);
	list_for_each (node, &vm_list)
		n++;
	spin_unlock(&vm_list_lock);
	mon_field(o, "nr_vms");
	mon_u64(o, n);
	mon_field(o, "uptime");
	mon_since(o, tsc_to_ns(rdtsc() - host_boot_info()->entry_tsc) / 1000000000);
	mon_field(o, "log_lines_lost");
	mon_u64(o, log_lost());
	return MON_DONE;
}

/* --- dmesg --- */

/* "[SECONDS.MICROSECONDS] level text" */
static void dmesg_line(struct mon_out *o, char *line)
{
	char *us = strchr(line, '.'), *level = us ? strchr(us, ' ') : NULL, *text = level ? strchr(level + 1, ' ') : NULL;
	u64 whole, part;

	if (!text)
		return;
	*us = level[-1] = *level = *text = 0;
	if (!mon_number(line + 1, ~0u, &whole) || !mon_number(us + 1, 999999, &part))
		return;
	mon_row(o);
	mon_fixed(o, whole * 1000000 + part, 6);
	mon_str(o, level + 1);
	mon_str(o, text + 1);
}

void dmesg_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {{"time", NULL, 12}, {"level", NULL, -7}, {"text", NULL, 0}};

	MON_TABLE(c->out, "lines", cols, MON_COLUMNS);
}

enum mon_status verb_dmesg(struct mon_call *c)
{
	char line[512];

	for (u32 n = 0; n < LINES_A_STEP; n++) {
		if (!log_read(&c->pos, line, sizeof(line)))
			return MON_DONE;
		dmesg_line(c->out, line);
	}
	return MON_MORE;
}
