/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's life, by hand. */
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/monitor/verbs.h"
#include "vmm/vm.h"

/* xl's six letters: running, blocked, paused, shut down (preserved), crashed (the same), dying. None of them:
 * it is being started. */
static const char *state_letters(const struct vm *vm)
{
	if (vm->preserved)
		return vm->end == VM_END_KILLED ? "----c-" : "---s--";
	if (vm->ending)
		return "-----d";
	if (vm->run.state == VM_STOPPED)
		return vm->run.why & STOP_PAUSE ? "--p---" : "------";
	if (vm->run.state == VM_STOPPING)
		return "------";
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (READ_ONCE(vm->vcpus[i]->state) == VCPU_RUNNING)
			return "r-----";
	return "-b----";
}

void list_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {
		{"name", "Name", -40}, {"id", "ID", 5}, {"memory", "Mem", 5},
		{"vcpus", "VCPUs", 5}, {"state", "State", 9},
	};

	MON_TABLE(c->out, "vms", cols, MON_COLUMNS);
}

enum mon_status verb_list(struct mon_call *c)
{
	struct mon_out *o = c->out;

	mon_row(o);
	mon_str(o, c->vm->name);
	mon_u64(o, c->vm->id);
	mon_u64(o, c->vm->ram_bytes >> 20);
	mon_u64(o, c->vm->nr_vcpus);
	mon_str(o, state_letters(c->vm));
	return MON_DONE;
}

enum mon_status verb_create(struct mon_call *c)
{
	bool there = false;

	spin_lock(&vm_list_lock);
	list_for_each (n, &vm_list)
		there |= !strcmp(list_entry(n, struct vm, node)->name, c->name);
	spin_unlock(&vm_list_lock);
	if (there)
		return mon_fail(c, "there is a VM of that name");
	return host_create_vm(c->name, c->why, sizeof(c->why)) ? MON_FAILED : MON_DONE;
}

enum mon_status verb_destroy(struct mon_call *c)
{
	vm_request_end(c->vm, VM_END_DESTROY, 0);
	return MON_DONE;
}

enum mon_status verb_reset(struct mon_call *c)
{
	vm_request_end(c->vm, VM_END_RESET, 0);
	return MON_DONE;
}

enum mon_status verb_pause(struct mon_call *c)
{
	vm_stop(c->vm, STOP_PAUSE);
	return MON_DONE;
}

enum mon_status verb_unpause(struct mon_call *c)
{
	vm_unpause(c->vm);
	return MON_DONE;
}

enum mon_status verb_trigger(struct mon_call *c)
{
	if (strcmp(c->argv[0], "nmi"))
		return mon_fail(c, "what to trigger: nmi");
	vm_nmi_pin(c->vm);
	return MON_DONE;
}

enum mon_status verb_shutdown(struct mon_call *c)
{
	spin_lock(&c->vm->dev_lock);
	acpi_power_button(c->vm);
	spin_unlock(&c->vm->dev_lock);
	return MON_DONE;
}

enum mon_status verb_console(struct mon_call *c)
{
	const char *wrong = c->out->console ? c->out->console(c->out, c->vm)
					    : "not from here; at a terminal, Ctrl-] leads to every console";

	return wrong ? mon_fail(c, "%s", wrong) : MON_DONE;
}
