/* SPDX-License-Identifier: BSD-2-Clause */
/* What a VM's exits are, and what they cost. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/string.h"
#include "vmm/monitor/verbs.h"
#include "vmm/vm.h"

#define LEAVES_A_STEP 64

/* --- the time of exits: `stat NAME on` --- */

static enum mon_status time_exits(struct mon_call *c)
{
	struct vm *vm = c->vm;

	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		struct exit_time **t = &vm->vcpus[i]->watching.time;

		if (!*t)
			WRITE_ONCE(*t, kzalloc(HV_NR_EXITS * sizeof(**t), FRAME_VCPU, vm->id));
		if (!*t)
			return mon_fail(c, "no memory of our own is left");
	}
	watch_vm(vm, WATCH_TIME, true);
	return MON_DONE;
}

/* --- the numbers --- */

/* Counts the nested leaves from c->pos on by size; true: that was all of them. */
static bool count_leaves(struct mon_call *c)
{
	struct vm *vm = c->vm;
	bool all = false;

	spin_lock(&vm->nested_lock);
	for (u32 n = 0; n < LEAVES_A_STEP; n++) {
		const struct slot *s = vm->slots;
		struct pt_leaf l;

		while (s < vm->slots + vm->nr_slots && s->gpa + s->size <= c->pos)
			s++;
		all = s == vm->slots + vm->nr_slots;
		if (all)
			break;
		c->pos = MAX(c->pos, s->gpa);
		if (pt_query(&vm->nested, c->pos, &l)) {
			c->pos += vm_backed(vm, c->pos) ? PAGE_SIZE : PAGE_2M - (c->pos & (PAGE_2M - 1));
			continue;
		}
		c->sum[l.size == PAGE_SIZE ? 0 : l.size == PAGE_2M ? 1 : 2]++;
		c->pos = l.va + l.size;
	}
	spin_unlock(&vm->nested_lock);
	return all;
}

static u64 injected(const struct vm *vm, u32 first, u32 last)
{
	u64 sum = 0;

	for (u32 i = 0; i < vm->nr_vcpus; i++)
		for (u32 k = first; k <= last; k++)
			sum += READ_ONCE(vm->vcpus[i]->injected[k]);
	return sum;
}

/* Each once: they go on growing while the answer is made, and its total is to be that of its rows. */
static u64 count_exits(const struct vm *vm, u64 count[HV_NR_EXITS])
{
	u64 sum = 0;

	for (u32 k = 0; k < HV_NR_EXITS; k++) {
		count[k] = 0;
		for (u32 i = 0; i < vm->nr_vcpus; i++)
			count[k] += READ_ONCE(vm->vcpus[i]->exits[k]);
		sum += count[k];
	}
	return sum;
}

static void exit_rows(struct mon_out *o, const struct vm *vm, const u64 count[HV_NR_EXITS])
{
	static const struct mon_col cols[] = {
		{"reason", "Exit", -18}, {"count", "Count", 14}, {"timed", "Timed", 14}, {"mean_ticks", "Mean ticks", 12},
	};

	MON_TABLE(o, "exits", cols, MON_COLUMNS);
	for (u32 k = 0; k < HV_NR_EXITS; k++) {
		u64 timed = 0, ticks = 0;

		for (u32 i = 0; i < vm->nr_vcpus; i++) {
			const struct exit_time *t = vm->vcpus[i]->watching.time;

			timed += t ? READ_ONCE(t[k].n) : 0;
			ticks += t ? READ_ONCE(t[k].ticks) : 0;
		}
		if (!count[k])
			continue;
		mon_row(o);
		mon_str(o, hv_exit_name(k));
		mon_u64(o, count[k]);
		mon_u64(o, timed);
		if (timed)
			mon_u64(o, ticks / timed);
		else
			mon_none(o);
	}
}

/* Pages and statistics of the guest in KiB, but for what counts events; null: the guest has not said. */
static void balloon_fields(struct mon_call *c)
{
	static const char *const names[BALLOON_STATS] = {
		"guest_swap_in_kib", "guest_swap_out_kib", "guest_major_faults", "guest_minor_faults", "guest_free_kib",
		"guest_total_kib", "guest_available_kib", "guest_caches_kib", "guest_hugetlb_allocs", "guest_hugetlb_fails",
	};
	const u16 bytes = 0xf3; /* which of them are */
	struct vm *vm = c->vm;
	struct mon_out *o = c->out;
	struct balloon_info i;

	vm_devices_lock(vm);
	if (vm->balloon.d) {
		vm->balloon.ops->info(vm->balloon.d, &i);
		vm->balloon.ops->ask(vm->balloon.d);
	}
	vm_devices_unlock(vm);
	if (!vm->balloon.d)
		return;
	mon_field(o, "balloon_driver");
	mon_bool(o, i.driver);
	mon_field(o, "balloon_target_kib");
	mon_u64(o, (u64)i.target << 2);
	mon_field(o, "balloon_kib");
	mon_u64(o, (u64)i.actual << 2);
	for (u32 k = 0; k < BALLOON_STATS; k++) {
		mon_field(o, names[k]);
		if (i.known & 1u << k)
			mon_u64(o, bytes & 1u << k ? i.stat[k] >> 10 : i.stat[k]);
		else
			mon_none(o);
	}
}

static void fields(struct mon_call *c, u64 exits)
{
	static const char *const sizes[] = {"pages_4k", "pages_2m", "pages_1g"};
	const struct vm *vm = c->vm;
	struct mon_out *o = c->out;
	u64 steal = 0;

	for (u32 i = 0; i < vm->nr_vcpus; i++)
		steal += vcpu_waited_ticks(vm->vcpus[i]);
	mon_field(o, "name");
	mon_str(o, vm->name);
	mon_field(o, "id");
	mon_u64(o, vm->id);
	mon_field(o, "vcpus");
	mon_u64(o, vm_vcpus_present(vm));
	mon_field(o, "maxvcpus");
	mon_u64(o, vm->nr_vcpus);
	mon_field(o, "ran");
	mon_seconds(o, tsc_to_ns(mon_vm_ran(vm)), 3);
	mon_field(o, "steal");
	mon_seconds(o, tsc_to_ns(steal), 3);
	mon_field(o, "exits_total");
	mon_u64(o, exits);
	mon_field(o, "injected_interrupts");
	mon_u64(o, injected(vm, HV_EV_EXTINT, HV_EV_EXTINT));
	mon_field(o, "injected_nmis");
	mon_u64(o, injected(vm, HV_EV_NMI, HV_EV_NMI));
	mon_field(o, "injected_exceptions");
	mon_u64(o, injected(vm, HV_EV_EXC, HV_EV_SWEXC));
	mon_field(o, "device_errors");
	mon_u64(o, READ_ONCE(vm->device_errors));
	for (u32 i = 0; i < 3; i++) {
		mon_field(o, sizes[i]);
		mon_u64(o, c->sum[i]);
	}
	mon_field(o, "timing");
	mon_bool(o, vm->vcpus[0]->watch & WATCH_TIME);
	balloon_fields(c);
	vsock_fields(c);
}

enum mon_status verb_stat(struct mon_call *c)
{
	u64 count[HV_NR_EXITS];

	if (c->argc && !strcmp(c->argv[0], "on"))
		return time_exits(c);
	if (c->argc && strcmp(c->argv[0], "off"))
		return mon_fail(c, "%.32s is neither on nor off", c->argv[0]);
	if (c->argc) {
		watch_vm(c->vm, WATCH_TIME, false);
		return MON_DONE;
	}
	if (!count_leaves(c))
		return MON_MORE;
	fields(c, count_exits(c->vm, count));
	exit_rows(c->out, c->vm, count);
	return MON_DONE;
}
