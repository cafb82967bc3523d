/* SPDX-License-Identifier: BSD-2-Clause */
/* The trace (watch.h): on, off, and what it holds. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "lib/string.h"
#include "vmm/host.h"
#include "vmm/monitor/verbs.h"
#include "vmm/vm.h"

#define SHOW_DEFAULT   64
#define RECORDS_A_STEP 32

/* A VM a step. c->each: up to which they are done. */
static enum mon_status switch_vms(struct mon_call *c, bool on)
{
	const char *name = c->argc > 1 ? c->argv[1] : NULL;
	struct vm *vm;

	spin_lock(&vm_list_lock);
	vm = name ? mon_vm(name) : mon_vm_after(c->each);
	if (vm) {
		watch_vm(vm, WATCH_TRACE, on);
		c->each = vm->id;
	}
	spin_unlock(&vm_list_lock);
	if (!vm && name)
		return mon_fail(c, "no such VM; `list` shows them");
	return vm && !name ? MON_MORE : MON_DONE;
}

/* First a ring a step; c->pos: how many there are. */
static enum mon_status trace_on(struct mon_call *c)
{
	if (c->pos == nr_pcpus)
		return switch_vms(c, true);
	return trace_make((u32)c->pos++) ? mon_fail(c, "no memory of our own is left for a ring") : MON_MORE;
}

/* --- show: from `count` records back up to when the verb began --- */

/* Its state. */
enum { AT_TSC, AT_PCPU, LEFT };

static enum mon_status show_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {
		{"time", "Time(s)", 13}, {"cpu", "CPU", 4}, {"vm", "VM", -16}, {"vcpu", "VCPU", 4},
		{"event", "Event", -18}, {"info", "Info", -18}, {"rip", "RIP", -18}, {"ticks", "Ticks", 10},
	};
	const char *n = mon_opt(c, 'n');
	struct vm *vm;

	c->sum[LEFT] = SHOW_DEFAULT;
	if (n && (!mon_number(n, 1000000, &c->sum[LEFT]) || !c->sum[LEFT]))
		return mon_fail(c, "%.32s is no number of records from 1", n);
	if (c->argc > 1) {
		spin_lock(&vm_list_lock);
		vm = mon_vm(c->argv[1]);
		c->each = vm ? vm->id : 0;
		spin_unlock(&vm_list_lock);
		if (!vm)
			return mon_fail(c, "no such VM; `list` shows them");
	}
	c->pos = c->sum[AT_TSC] = rdtsc();
	MON_TABLE(c->out, "records", cols, MON_COLUMNS);
	return MON_MORE;
}

static bool next(struct mon_call *c, bool newer, struct trace_rec *r, u32 *pcpu)
{
	struct trace_pos at = {c->sum[AT_TSC], (u32)c->sum[AT_PCPU]};

	if (!trace_next(&at, newer, r))
		return false;
	c->sum[AT_TSC] = at.tsc;
	c->sum[AT_PCPU] = *pcpu = at.pcpu;
	return true;
}

static void vm_cell(struct mon_out *o, u16 id)
{
	list_for_each (n, &vm_list) {
		struct vm *vm = list_entry(n, struct vm, node);

		if (vm->id == id) {
			mon_str(o, vm->name);
			return;
		}
	}
	mon_strf(o, "%u", id); /* it has gone */
}

static void show_record(struct mon_out *o, const struct trace_rec *r, u32 pcpu)
{
	static const char *const events[] = {"run", "leave", "inject"};

	mon_row(o);
	mon_seconds(o, tsc_to_ns(r->tsc - host_boot_info()->entry_tsc), 6);
	mon_u64(o, pcpu);
	vm_cell(o, r->vm);
	mon_u64(o, r->vcpu);
	mon_str(o, r->code < TRACE_RUN ? hv_exit_name(r->code) : events[r->code - TRACE_RUN]);
	mon_hex(o, r->info);
	mon_hex(o, r->rip);
	if (r->code < TRACE_RUN)
		mon_u64(o, r->ticks);
	else
		mon_none(o);
}

/* What is behind here comes next. */
static void turn(struct mon_call *c)
{
	c->sum[LEFT] = 0;
	c->sum[AT_TSC]--;
	c->sum[AT_PCPU] = ~0u;
}

static void go_back(struct mon_call *c)
{
	struct trace_rec r;
	u32 pcpu;

	if (!next(c, false, &r, &pcpu))
		turn(c);
	else if ((!c->each || r.vm == c->each) && !--c->sum[LEFT])
		turn(c);
}

static enum mon_status trace_show(struct mon_call *c)
{
	enum mon_status st = MON_MORE;

	if (!c->pos)
		return show_begin(c);
	spin_lock(&vm_list_lock);
	for (u32 n = 0; n < RECORDS_A_STEP && st == MON_MORE; n++) {
		struct trace_rec r;
		u32 pcpu;

		if (c->sum[LEFT])
			go_back(c);
		else if (!next(c, true, &r, &pcpu) || r.tsc > c->pos)
			st = MON_DONE;
		else if (!c->each || r.vm == c->each)
			show_record(c->out, &r, pcpu);
	}
	spin_unlock(&vm_list_lock);
	return st;
}

enum mon_status verb_trace(struct mon_call *c)
{
	if (!strcmp(c->argv[0], "on"))
		return trace_on(c);
	if (!strcmp(c->argv[0], "off"))
		return switch_vms(c, false);
	if (!strcmp(c->argv[0], "show"))
		return trace_show(c);
	return mon_fail(c, "%.32s is none of on, off and show", c->argv[0]);
}
