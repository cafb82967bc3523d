/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's life: creation, the ends it can come to, and what follows them (xl's on_... words). */
#include "vmm/vm.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/sched.h"

struct list vm_list = {&vm_list, &vm_list};
struct spinlock vm_list_lock = SPINLOCK(LOCK_VM);
static u16 last_id;

/* A VM that dies at once and restarts for ever must not fill the log: a second between two lives. */
#define CRASH_RESTART_NS 1000000000ull

struct vm *vm_by_channel(u32 channel)
{
	list_for_each (n, &vm_list) {
		struct vm *vm = list_entry(n, struct vm, node);

		if (vm->console.channel == channel)
			return vm;
	}
	return NULL;
}

static void vm_free(struct vm *vm)
{
	sched_vm_destroy(vm);
	torture_destroy(vm);
	vm_devices_destroy(vm);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		vcpu_destroy(vm->vcpus[i]);
	if (vm->nested.env)
		vm_memory_destroy(vm);
	if (vm->cpuid)
		kfree(vm->cpuid);
	kfree(vm);
}

int vm_create(const struct vm_config *cfg, u32 channel, struct vm **out, char *why, size_t n)
{
	u16 id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	struct vm *vm = kzalloc(sizeof(*vm), FRAME_VM, id);
	int r;

	if (!vm) {
		snprintf(why, n, "%s: no memory of our own is left for one more VM", cfg->name);
		return -ENOMEM;
	}
	vm->id = id;
	vm->cfg = *cfg;
	str_copy(vm->name, cfg->name, sizeof(vm->name));
	vm->t0_tsc = rdtsc();
	r = sched_vm_create(vm, why, n);
	if (r) {
		kfree(vm);
		return r;
	}
	r = cpuid_build(vm);
	if (r)
		snprintf(why, n, "%s: no memory of our own is left for its CPUID", vm->name);
	else
		r = vm_memory_create(vm, why, n);
	if (r) {
		sched_vm_destroy(vm);
		kfree(vm->cpuid);
		kfree(vm);
		return r;
	}
	for (u32 i = 0; !r && i < cfg->vcpus; i++)
		r = vcpu_create(vm, i);
	if (r)
		snprintf(why, n, "%s: no memory of our own is left for its vCPUs", vm->name);
	else
		r = vm_devices_create(vm, why, n);
	if (!r && torture_create(vm)) {
		snprintf(why, n, "%s: no memory of our own is left for torture mode", vm->name);
		r = -ENOMEM;
	}
	if (r) {
		vm_free(vm);
		return r;
	}
	vm->console.channel = channel ?: console_new_channel();
	vm->vcpus[0]->requests = REQ_BOOT; /* typed bytes set bits too, from now on */
	host_vm_started();
	spin_lock(&vm_list_lock);
	list_insert(&vm_list, &vm->node);
	spin_unlock(&vm_list_lock);
	console_event("vm-start %s %u", vm->name, vm->console.channel);
	*out = vm;
	return 0;
}

void vm_request_end(struct vm *vm, enum vm_end how, u32 value)
{
	if (vm->ending)
		return;
	vm->ending = true;
	vm->end = how;
	vm->end_value = value;
	vcpu_request(vm->vcpus[0], REQ_END);
}

void vm_kill(struct vm *vm, const char *fmt, ...)
{
	struct vcpu *v = vm->vcpus[0];
	va_list ap;

	if (vm->ending)
		return;
	va_start(ap, fmt);
	vsnprintf(vm->end_reason, sizeof(vm->end_reason), fmt, ap);
	va_end(ap);
	log_err("%s: killed: %s", vm->name, vm->end_reason);
	if (v->hv.cpu == this_cpu() && v->state != VCPU_OFF)
		hv_dump(&v->hv, NULL);
	vm_request_end(vm, VM_END_KILLED, 0);
}

void vm_refuse(struct vm *vm, const char *why)
{
	char line[256];

	vm->refused = true;
	snprintf(line, sizeof(line), "%s: %s", vm->name, why);
	host_refuse(line);
	vm_request_end(vm, VM_END_KILLED, 0);
}

static enum vm_action action_for(const struct vm *vm)
{
	if (vm->refused)
		return ACTION_DESTROY;
	switch (vm->end) {
	case VM_END_POWEROFF:
		return vm->cfg.on_poweroff;
	case VM_END_REBOOT:
		return vm->cfg.on_reboot;
	case VM_END_KILLED:
		return vm->cfg.on_crash;
	default:
		return ACTION_DESTROY;
	}
}

static void tell_end(const struct vm *vm)
{
	if (vm->torture)
		torture_report(vm);
	switch (vm->end) {
	case VM_END_POWEROFF:
		log_info("%s: powered off", vm->name);
		console_event("vm-end %s poweroff", vm->name);
		break;
	case VM_END_REBOOT:
		log_info("%s: ended by a reboot", vm->name);
		console_event("vm-end %s reboot", vm->name);
		break;
	case VM_END_DEBUG_EXIT:
		log_info("%s: debug exit, value %u", vm->name, vm->end_value);
		console_event("vm-end %s exit %u", vm->name, vm->end_value);
		break;
	case VM_END_KILLED:
		if (!vm->refused)
			console_event("vm-end %s killed %s", vm->name, vm->end_reason);
		break;
	}
}

/* rename-restart: the dead VM stays under a new name, and a new one takes its place and console. */
static void rename_restart(struct vm *vm)
{
	struct vm_config *cfg = &vm->cfg;
	struct vm *successor;
	char why[256];
	u32 channel = vm->console.channel;

	snprintf(vm->name, sizeof(vm->name), "%.48s-%u", cfg->name, vm->id);
	log_info("%s: kept as %s", cfg->name, vm->name);
	spin_lock(&vm_list_lock);
	vm->console.channel = 0;
	spin_unlock(&vm_list_lock);
	sched_vm_destroy(vm); /* its successor may need what it has */
	if (vm_create(cfg, channel, &successor, why, sizeof(why)))
		host_refuse(why);
	else
		sched_add(successor->vcpus[0]);
}

static void stop_timers(struct vm *vm)
{
	vm_devices_stop(vm);
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		timer_stop(&vm->vcpus[i]->lapic_timer);
		timer_stop(&vm->vcpus[i]->park_timer);
	}
}

/* The VM has come to an end; what its file says happens now. */
void vm_serve_end(struct vcpu *v)
{
	struct vm *vm = v->vm;
	enum vm_action action = action_for(vm);

	stop_timers(vm);
	if (action == ACTION_RESTART) {
		log_info("%s: restarts", vm->name);
		console_event("vm-restart %s", vm->name);
		vm->ending = false;
		vm_boot_restart(vm, vm->end == VM_END_KILLED ? CRASH_RESTART_NS : 0);
		return;
	}
	tell_end(vm);
	v->state = VCPU_DEAD;
	vm->preserved = action != ACTION_DESTROY;
	if (action == ACTION_RENAME_RESTART)
		rename_restart(vm);
}

void vm_reap(struct vm *vm)
{
	sched_remove(vm->vcpus[0]);
	if (!vm->preserved) {
		/* Who found it in the list holds the lock for as long as he uses it. */
		spin_lock(&vm_list_lock);
		list_del(&vm->node);
		spin_unlock(&vm_list_lock);
		vm_free(vm);
	}
	host_vm_ended();
}
