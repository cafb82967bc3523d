/* SPDX-License-Identifier: BSD-2-Clause */
/* Who runs where, and how much. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "lib/string.h"
#include "vmm/monitor/verbs.h"
#include "vmm/vm.h"

#define VCPUS_A_STEP 16

void uptime_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {{"name", "Name", -40}, {"id", "ID", 5}, {"uptime", "Uptime", -12}};

	MON_TABLE(c->out, "vms", cols, MON_COLUMNS);
}

enum mon_status verb_uptime(struct mon_call *c)
{
	mon_row(c->out);
	mon_str(c->out, c->vm->name);
	mon_u64(c->out, c->vm->id);
	mon_since(c->out, tsc_to_ns(rdtsc() - c->vm->t0_tsc) / 1000000000);
	return MON_DONE;
}

/* --- top --- */

static void top_mark(struct vm *vm)
{
	vm->top.at = rdtsc();
	vm->top.ran = mon_vm_ran(vm);
}

void top_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {
		{"name", "NAME", -24}, {"id", "ID", 5}, {"state", "STATE", 7}, {"time", "CPU(sec)", 10},
		{"cpu", "CPU(%)", 7}, {"memory", "MEM(M)", 7}, {"vcpus", "VCPUS", 5}, {"exits", "EXITS", 12},
		{"steal", "STEAL(s)", 9}, {"interval", "IN(s)", 8},
	};
	u64 seconds = 0;

	if (mon_opt(c, 'd') && (!mon_number(mon_opt(c, 'd'), 3600, &seconds) || !seconds))
		return; /* verb_top() says it */
	if (seconds) {
		spin_lock(&vm_list_lock);
		list_for_each (n, &vm_list)
			top_mark(list_entry(n, struct vm, node));
		spin_unlock(&vm_list_lock);
		c->until = rdtsc() + ns_to_tsc(seconds * 1000000000);
	}
	MON_TABLE(c->out, "vms", cols, MON_COLUMNS);
}

static u64 exits_of(const struct vm *vm)
{
	u64 sum = 0;

	for (u32 i = 0; i < vm->nr_vcpus; i++)
		for (u32 k = 0; k < HV_NR_EXITS; k++)
			sum += READ_ONCE(vm->vcpus[i]->exits[k]);
	return sum;
}

static u64 steal_of(const struct vm *vm)
{
	u64 sum = 0;

	for (u32 i = 0; i < vm->nr_vcpus; i++)
		sum += vcpu_waited_ticks(vm->vcpus[i]);
	return sum;
}

enum mon_status verb_top(struct mon_call *c)
{
	struct vm *vm = c->vm;
	struct mon_out *o = c->out;
	u64 before = vm->top.ran, ran, span = vm->top.at;

	if (mon_opt(c, 'd') && !c->until)
		return mon_fail(c, "%.32s is no number of seconds from 1 to 3600", mon_opt(c, 'd'));
	top_mark(vm);
	span = MAX(vm->top.at - span, 1ul);
	ran = vm->top.ran > before ? vm->top.ran - before : 0;
	mon_row(o);
	mon_str(o, vm->name);
	mon_u64(o, vm->id);
	mon_str(o, mon_state(vm));
	mon_seconds(o, tsc_to_ns(vm->top.ran), 1);
	mon_fixed(o, tsc_to_ns(ran) / MAX(tsc_to_ns(span) / 1000, 1ul), 1);
	mon_u64(o, vm->ram_bytes >> 20);
	mon_u64(o, vm_vcpus_present(vm));
	mon_u64(o, exits_of(vm));
	mon_seconds(o, tsc_to_ns(steal_of(vm)), 1);
	mon_seconds(o, tsc_to_ns(span), 1);
	return MON_DONE;
}

/* --- vCPUs --- */

/* "all", or ranges of those that there are. */
static void cpu_list(const u64 *cpus, char *buf, size_t n)
{
	size_t len = 0;
	u32 i = 0, count = 0;

	buf[0] = 0;
	while (i < nr_pcpus && len < n - 16) {
		u32 from = i;

		while (i < nr_pcpus && cpus[i / 64] & BIT(i % 64))
			i++;
		count += i - from;
		if (i - from == 1)
			len += (size_t)snprintf(buf + len, n - len, "%s%u", len ? "," : "", from);
		else if (i > from)
			len += (size_t)snprintf(buf + len, n - len, "%s%u-%u", len ? "," : "", from, i - 1);
		i += i == from;
	}
	if (count == nr_pcpus)
		snprintf(buf, n, "all");
}

void vcpu_list_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {
		{"name", "Name", -32}, {"id", "ID", 5}, {"vcpu", "VCPU", 5}, {"cpu", "CPU", 5},
		{"state", "State", 7}, {"time", "Time(s)", 9}, {"affinity", "Affinity", -16},
	};

	MON_TABLE(c->out, "vcpus", cols, MON_COLUMNS);
}

static const char *vcpu_state(const struct vcpu *v)
{
	u32 state = READ_ONCE(v->state);

	if (READ_ONCE(v->absent))
		return "absent";
	if (v->vm->run.state != VM_RUNS || state == VCPU_OFF || state == VCPU_WAIT_SIPI)
		return "--p";
	return state == VCPU_RUNNING ? "r--" : "-b-";
}

enum mon_status verb_vcpu_list(struct mon_call *c)
{
	struct mon_out *o = c->out;
	char affinity[128];

	for (u32 n = 0; n < VCPUS_A_STEP && c->pos < c->vm->nr_vcpus; n++, c->pos++) {
		const struct vcpu *v = c->vm->vcpus[c->pos];
		u32 pcpu = READ_ONCE(v->pcpu);

		mon_row(o);
		mon_str(o, c->vm->name);
		mon_u64(o, c->vm->id);
		mon_u64(o, v->id);
		if (pcpu == SCHED_NOWHERE || READ_ONCE(v->absent))
			mon_none(o);
		else
			mon_u64(o, pcpu);
		mon_str(o, vcpu_state(v));
		mon_seconds(o, tsc_to_ns(vcpu_ran_ticks(v)), 1);
		cpu_list(v->sched.cpus, affinity, sizeof(affinity));
		mon_str(o, affinity);
	}
	return c->pos < c->vm->nr_vcpus ? MON_MORE : MON_DONE;
}

enum mon_status verb_vcpu_pin(struct mon_call *c)
{
	bool all = !strcmp(c->argv[0], "all");
	u64 cpus[VM_CPUS_MAX / 64], first = 0, last = c->vm->nr_vcpus - 1;
	const char *why = config_cpu_list(c->argv[1], cpus);

	if (!all && !mon_number(c->argv[0], last, &first))
		return mon_fail(c, "%.32s is none of its vCPUs: a number from 0 to %lu, or all", c->argv[0],
				(unsigned long)last);
	if (why)
		return mon_fail(c, "%.64s: %s; write 2-3 or 0-7,^5, say", c->argv[1], why);
	for (u64 i = first; i <= (all ? last : first); i++)
		if (sched_pin(c->vm->vcpus[i], cpus, c->why, sizeof(c->why)))
			return MON_FAILED;
	return MON_DONE;
}

enum mon_status verb_vcpu_set(struct mon_call *c)
{
	struct vm *vm = c->vm;
	u64 n;

	if (!mon_number(c->argv[0], vm->nr_vcpus, &n) || !n)
		return mon_fail(c, "%.32s is no number from 1 to %u, the maxvcpus of its file", c->argv[0], vm->nr_vcpus);
	if (vm->preserved)
		return mon_fail(c, "it has ended");
	spin_lock(&vm->dev_lock);
	vm->cfg.vcpus = (u32)n;
	cpu_hotplug_update(vm);
	spin_unlock(&vm->dev_lock);
	return MON_DONE;
}

/* --- weight and cap: xl's sched-credit2 --- */

void sched_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {
		{"name", "Name", -32}, {"id", "ID", 5}, {"cpu_weight", "Weight", 7}, {"cap", "Cap", 5},
		{"dedicated", "Dedicated", 10},
	};

	if (mon_opt(c, 'd'))
		c->name = mon_opt(c, 'd');
	if (!mon_opt(c, 'w') && !mon_opt(c, 'c'))
		MON_TABLE(c->out, "vms", cols, MON_COLUMNS);
}

static enum mon_status sched_set(struct mon_call *c)
{
	struct vm *vm = c->vm;
	u64 weight = vm->cfg.cpu_weight, cap = vm->cfg.cap, most = 100 * vm->nr_vcpus;

	if (!c->name)
		return mon_fail(c, "whose? -d NAME");
	if (mon_opt(c, 'w') && (!mon_number(mon_opt(c, 'w'), SCHED_WEIGHT_MAX, &weight) || !weight))
		return mon_fail(c, "%.32s is no weight from 1 to %u", mon_opt(c, 'w'), SCHED_WEIGHT_MAX);
	if (mon_opt(c, 'c') && !mon_number(mon_opt(c, 'c'), most, &cap))
		return mon_fail(c, "%.32s is no cap: per cent of one CPU, up to %lu for its vCPUs; 0 for none",
				mon_opt(c, 'c'), (unsigned long)most);
	if (vm->cfg.dedicated)
		return mon_fail(c, "dedicated = 1 gave it whole CPUs");
	if (vm->preserved)
		return mon_fail(c, "it has ended");
	WRITE_ONCE(vm->cfg.cpu_weight, weight);
	WRITE_ONCE(vm->cfg.cap, cap);
	vm_stop(vm, STOP_TUNE);
	return MON_DONE;
}

enum mon_status verb_sched(struct mon_call *c)
{
	struct mon_out *o = c->out;

	if (mon_opt(c, 'w') || mon_opt(c, 'c'))
		return sched_set(c);
	mon_row(o);
	mon_str(o, c->vm->name);
	mon_u64(o, c->vm->id);
	mon_u64(o, c->vm->cfg.cpu_weight);
	mon_u64(o, c->vm->cfg.cap);
	mon_bool(o, c->vm->cfg.dedicated);
	return MON_DONE;
}
