/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's life: creation, the ends it can come to, and what follows them (xl's on_... words). */
#include "vmm/vm.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/sched.h"

struct list vm_list = {&vm_list, &vm_list};
struct spinlock vm_list_lock = SPINLOCK(LOCK_VM);

/* A VM that dies or reboots at once, for ever, must not fill the log nor zero its memory all day: so many lives without
 * a wait, then four a second; and with half of them gone, its registers are no longer shown. */
#define LIFE_NS    250000000ull
#define LIVES_FREE 40

struct vm_console *vm_console_by_channel(struct vm *vm, u32 channel)
{
	if (vm->console.channel == channel)
		return &vm->console;
	for (unsigned i = 0; i < VM_MAX_PORTS; i++)
		if (vm->port[i] && vm->port[i]->channel == channel)
			return vm->port[i];
	return NULL;
}

struct vm *vm_by_channel(u32 channel)
{
	list_for_each (n, &vm_list) {
		struct vm *vm = list_entry(n, struct vm, node);

		if (vm_console_by_channel(vm, channel))
			return vm;
	}
	return NULL;
}

static bool vm_stopped(struct sched_work *w);

/*
 * Give back what a VM has, which nobody can find any more, a step of at most some 20,000 instructions a call; true:
 * it is gone. It may be half built.
 */
static bool vm_free(struct vm *vm)
{
	sched_vm_destroy(vm);
	if (vm->torture || vm->dev_timers || vm->mmio) {
		torture_destroy(vm);
		vm_devices_destroy(vm);
		return false;
	}
	if (READ_ONCE(vm->dma)) /* an interrupt of a disk just found that its device has gone */
		return false;
	if (vm->nr_vcpus) {
		vcpu_destroy(vm->vcpus[--vm->nr_vcpus]);
		return false;
	}
	if (!vm_memory_destroy(vm))
		return false;
	kfree(vm->gdb);
	kfree(vm->cpuid);
	kfree(vm->console.ring);
	for (unsigned i = 0; i < VM_MAX_PORTS; i++) {
		if (vm->port[i])
			kfree(vm->port[i]->ring);
		kfree(vm->port[i]);
	}
	kfree(vm);
	return true;
}

static int choose_tsc(struct vm *vm, char *why, size_t n)
{
	u64 khz = vm->cfg.tsc_khz ?: tsc_khz;

	if (vm_set_tsc_khz(vm, khz))
		return 0;
	snprintf(why, n, "%s: tsc_khz = %lu, but the TSC here has %lu kHz and this CPU %s; take the line out", vm->name,
		 (unsigned long)khz, (unsigned long)tsc_khz,
		 hv->tsc_scaling ? "scales it by less than 256" : "cannot scale it");
	return -EINVAL;
}

void vm_unbuild(struct vm *vm)
{
	u16 id = vm->id;

	while (!vm_free(vm))
		;
	frame_drop_owner(id);
}

static int make_ports(struct vm *vm)
{
	for (unsigned i = 0; i < vm_nr_ports(vm); i++) {
		vm->port[i] = kzalloc(sizeof(*vm->port[i]), FRAME_VM, vm->id);
		if (!vm->port[i])
			return -ENOMEM;
		vm->port[i]->ring = kzalloc(CONSOLE_RING, FRAME_VM, vm->id);
		if (!vm->port[i]->ring)
			return -ENOMEM;
	}
	return 0;
}

static int build(struct vm *vm, char *why, size_t n)
{
	int r = choose_tsc(vm, why, n);

	if (!r)
		r = sched_vm_create(vm, why, n);
	if (r)
		return r;
	r = cpuid_build(vm);
	if (r) {
		snprintf(why, n, "%s: no memory of our own is left for its CPUID", vm->name);
		return r;
	}
	r = vm_memory_create(vm, why, n);
	if (r)
		return r;
	for (u32 i = 0; !r && i < vm->cfg.maxvcpus; i++)
		r = vcpu_create(vm, i);
	if (r) {
		snprintf(why, n, "%s: no memory of our own is left for its vCPUs", vm->name);
		return r;
	}
	vm->console.ring = kzalloc(CONSOLE_RING, FRAME_VM, vm->id);
	if (!vm->console.ring || make_ports(vm)) {
		snprintf(why, n, "%s: no memory of our own is left for its console", vm->name);
		return -ENOMEM;
	}
	r = vm_devices_create(vm, why, n);
	if (!r && torture_create(vm)) {
		snprintf(why, n, "%s: no memory of our own is left for torture mode", vm->name);
		r = -ENOMEM;
	}
	if (!r && !gdb_create(vm)) {
		snprintf(why, n, "%s: no memory of our own is left for its debugger", vm->name);
		r = -ENOMEM;
	}
	return r;
}

struct vm *vm_build(const struct vm_config *cfg, char *why, size_t n)
{
	u16 id = frame_new_owner();
	struct vm *vm = id == OWNER_HOST ? NULL : kzalloc(sizeof(*vm), FRAME_VM, id);

	if (!vm) {
		snprintf(why, n, "%s: no memory of our own is left for one more VM", cfg->name);
		frame_drop_owner(id);
		return NULL;
	}
	vm->id = id;
	vm->cfg = *cfg;
	str_copy(vm->name, cfg->name, sizeof(vm->name));
	vm->t0_tsc = vm->top.at = rdtsc();
	vm->dev_lock = (struct spinlock)SPINLOCK(LOCK_DEVICES);
	vm->nested_lock = (struct spinlock)SPINLOCK(LOCK_NESTED);
	vm->run.lock = (struct spinlock)SPINLOCK(LOCK_RUN);
	list_init(&vm->sched.node); /* for vm_free() */
	if (!build(vm, why, n))
		return vm;
	vm_unbuild(vm);
	return NULL;
}

int vm_create(const struct vm_config *cfg, u32 channel, struct vm **out, char *why, size_t n)
{
	struct vm *vm = vm_build(cfg, why, n);

	if (!vm)
		return -ENOMEM;
	vm->run.work.fn = vm_stopped;
	vm->console.channel = channel ?: console_new_channel();
	for (unsigned i = 0; i < vm_nr_ports(vm); i++)
		vm->port[i]->channel = console_new_channel();
	vm->run.queued = true; /* until vm_start() */
	vm_boot_restart(vm, 0);
	host_vm_started();
	spin_lock(&vm_list_lock);
	list_insert(&vm_list, &vm->node);
	spin_unlock(&vm_list_lock);
	console_event("vm-start %s %u", vm->name, vm->console.channel);
	for (unsigned i = 0; i < vm_nr_ports(vm); i++)
		console_event("vm-port %s %s %u", vm->name, vm_port_name(vm, i), vm->port[i]->channel);
	*out = vm;
	return 0;
}

void vm_start(struct vm *vm)
{
	sched_do(&vm->run.work);
}

/* --- stopping and going on --- */

/* run.lock is held: it is stopped, and there is something new to do. true: sched_do() it. */
static bool queue_work(struct vm_run *run)
{
	bool now = run->state == VM_STOPPED && !run->queued;

	run->queued |= now;
	return now;
}

void vm_stop(struct vm *vm, u32 why)
{
	struct vm_run *run = &vm->run;
	bool first, work;

	spin_lock(&run->lock);
	run->why |= why;
	first = run->state == VM_RUNS;
	if (first) {
		run->state = VM_STOPPING;
		run->to_stop = 0;
		for (u32 i = 0; i < vm->nr_vcpus; i++)
			run->to_stop += !vm->vcpus[i]->gdb.held;
		/* Under the lock: when the last vCPU has stopped, the VM may be gone. */
		for (u32 i = 0; i < vm->nr_vcpus; i++)
			if (!vm->vcpus[i]->gdb.held)
				vcpu_request(vm->vcpus[i], REQ_STOP);
	}
	work = queue_work(run);
	spin_unlock(&run->lock);
	if (work)
		sched_do(&run->work);
}

void vm_unpause(struct vm *vm)
{
	bool work;

	spin_lock(&vm->run.lock);
	vm->run.paused |= vm->run.why & STOP_PAUSE;
	vm->run.why &= ~STOP_PAUSE;
	work = queue_work(&vm->run);
	spin_unlock(&vm->run.lock);
	if (work)
		sched_do(&vm->run.work);
}

void vm_hold(struct vcpu *v)
{
	struct vm_run *run = &v->vm->run;
	bool last;

	__atomic_fetch_and(&v->requests, ~(u32)REQ_STOP, __ATOMIC_SEQ_CST);
	sched_remove(v);
	spin_lock(&run->lock);
	last = !--run->to_stop;
	if (last) {
		run->state = VM_STOPPED;
		run->stopped_at = rdtsc();
		run->queued = true;
	}
	spin_unlock(&run->lock);
	if (last)
		sched_do(&run->work);
}

/* --- ends --- */

/* One that is preserved has ended already and is stopped: now it goes. */
static void destroy_preserved(struct vm *vm)
{
	spin_lock(&vm->run.lock);
	vm->end = VM_END_DESTROY;
	vm->run.why |= STOP_END;
	vm->run.queued = true;
	spin_unlock(&vm->run.lock);
	sched_do(&vm->run.work);
}

/* One that is about to end otherwise, or to restart, but waits for its disks. */
static void destroy_instead(struct vm *vm)
{
	spin_lock(&vm->run.lock);
	if (vm->run.why & STOP_END)
		vm->end = VM_END_DESTROY;
	spin_unlock(&vm->run.lock);
}

void vm_request_end(struct vm *vm, enum vm_end how, u32 value)
{
	if (__atomic_exchange_n(&vm->ending, true, __ATOMIC_SEQ_CST)) {
		/* It stays in the list, whose lock the monitor holds, until it has gone. */
		if (how == VM_END_DESTROY && vm->preserved && vm->end != VM_END_DESTROY)
			destroy_preserved(vm);
		else if (how == VM_END_DESTROY)
			destroy_instead(vm);
		return;
	}
	if (how == VM_END_POWEROFF && vm->reboot_asked)
		how = VM_END_REBOOT;
	vm->reboot_asked = false;
	vm->end = how;
	vm->end_value = value;
	vm_stop(vm, STOP_END);
}

void vm_kill(struct vm *vm, const char *fmt, ...)
{
	struct vcpu *v = vcpu_current();
	char reason[sizeof(vm->end_reason)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	if (__atomic_exchange_n(&vm->ending, true, __ATOMIC_SEQ_CST))
		return;
	memcpy(vm->end_reason, reason, sizeof(reason));
	log_err("%s: killed: %s", vm->name, vm->end_reason);
	if (v && v->vm == vm && v->state != VCPU_OFF &&
	    vm->lives_paid_ns < tsc_to_ns(rdtsc()) + LIVES_FREE / 2 * LIFE_NS)
		hv_dump(&v->hv, NULL);
	vm->end = VM_END_KILLED;
	vm_stop(vm, STOP_END);
}

void vm_refuse(struct vm *vm, const char *why)
{
	char line[256];

	vm->refused = true;
	snprintf(line, sizeof(line), "%s: %s", vm->name, why);
	host_refuse(line);
	vm_request_end(vm, VM_END_KILLED, 0);
}

/* What the end asks for, by the VM's file or by the monitor. */
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
	case VM_END_RESET:
		return ACTION_RESTART;
	default:
		return ACTION_DESTROY;
	}
}

static const char *reset_by(const struct vm *vm)
{
	static const char *const by[] = {
		[RESET_BY_CF9] = "the reset control register", [RESET_BY_I8042] = "the keyboard controller",
		[RESET_BY_PORT92] = "port 0x92", [RESET_BY_TRIPLE_FAULT] = "a triple fault",
		[RESET_BY_INIT] = "INIT",
	};

	return by[vm->end_value];
}

static void tell_end(const struct vm *vm)
{
	if (vm->torture)
		torture_report(vm);
	if (vm->gdb)
		gdb_tell_end(vm->gdb, vm->end == VM_END_KILLED ? 'X' : 'W');
	switch (vm->end) {
	case VM_END_POWEROFF:
		log_info("%s: powered off", vm->name);
		console_event("vm-end %s poweroff", vm->name);
		break;
	case VM_END_REBOOT:
		log_info("%s: ended by a reboot, by %s", vm->name, reset_by(vm));
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
	default:
		log_info("%s: destroyed", vm->name);
		console_event("vm-end %s destroyed", vm->name);
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
	for (unsigned i = 0; i < vm_nr_ports(vm); i++)
		vm->port[i]->channel = 0;
	spin_unlock(&vm_list_lock);
	sched_vm_destroy(vm); /* its successor may need what it has */
	if (vm_create(cfg, channel, &successor, why, sizeof(why)))
		host_refuse(why);
	else
		vm_start(successor);
}

/* A step of giving its memory back, as a work. */
static bool reap_step(struct sched_work *w)
{
	struct vm *vm = container_of(w, struct vm, run.work);
	bool counted = !vm->preserved; /* one that was preserved has been counted as ended before */

	if (!vm_free(vm))
		return false;
	if (counted)
		host_vm_ended();
	return true;
}

/* Its vCPUs are nowhere, so nobody but its device timers knows of it: and those end here. */
static void reap(struct vm *vm)
{
	/* Who found it in the list holds the lock for as long as he uses it. */
	spin_lock(&vm_list_lock);
	list_del(&vm->node);
	console_vm_gone(vm);
	spin_unlock(&vm_list_lock);
	vm->run.work.fn = reap_step;
}

/* Each life costs LIFE_NS of credit, of which there are LIVES_FREE: ns until the next may begin. */
static u64 wait_for_next_life(struct vm *vm)
{
	u64 now = tsc_to_ns(rdtsc()), free = LIVES_FREE * LIFE_NS;

	vm->lives_paid_ns = MAX(vm->lives_paid_ns, now) + LIFE_NS;
	return vm->lives_paid_ns > now + free ? vm->lives_paid_ns - now - free : 0;
}

/*
 * The VM has come to an end: what its file says happens now. END_STAYS: as it is, for good; END_REAPED: its work goes
 * on with reap_step().
 */
enum end { END_RESTARTS, END_STAYS, END_REAPED };
static enum end serve_end(struct vm *vm)
{
	enum vm_action action = action_for(vm);

	spin_lock(&vm->dev_lock);
	vm_devices_stop(vm);
	spin_unlock(&vm->dev_lock);
	if (action == ACTION_RESTART) {
		if (vm->end == VM_END_REBOOT)
			log_info("%s: restarts, reset by %s", vm->name, reset_by(vm));
		else
			log_info("%s: restarts", vm->name);
		console_event("vm-restart %s", vm->name);
		vm->ending = false;
		vm_boot_restart(vm, wait_for_next_life(vm));
		return END_RESTARTS;
	}
	tell_end(vm);
	if (action == ACTION_DESTROY) {
		reap(vm);
		return END_REAPED;
	}
	if (action == ACTION_RENAME_RESTART)
		rename_restart(vm);
	WRITE_ONCE(vm->preserved, true);
	host_vm_ended();
	return END_STAYS;
}

/* The clocks ran on: the guest is told, and what its busy vCPUs missed was stolen from them. */
static void was_paused(struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpus[i]->state == VCPU_RUNNING)
			vm->vcpus[i]->sched.ent.waited += rdtsc() - vm->run.stopped_at;
	pv_guest_stopped(vm);
}

/* Nobody is in the VM, so what disks do for it comes to its end. An ending VM's timers begin nothing once that is 0. */
static bool dma_under_way(struct vm *vm)
{
	bool some;

	spin_lock(&vm->dev_lock);
	some = READ_ONCE(vm->dma);
	spin_unlock(&vm->dev_lock);
	return some;
}

/* What the VM was stopped for. */
static bool vm_stopped(struct sched_work *w)
{
	struct vm *vm = container_of(w, struct vm, run.work);
	struct vm_run *run = &vm->run;
	bool start = false, hold, stood_still, more;
	enum end end;
	u32 why;

	if ((READ_ONCE(run->why) & (STOP_END | STOP_TORTURE)) && dma_under_way(vm))
		return false;
	spin_lock(&run->lock);
	why = run->why;
	run->why &= STOP_STAYS;
	spin_unlock(&run->lock);
	end = why & STOP_END ? serve_end(vm) : END_RESTARTS;
	if (end != END_RESTARTS)
		return end == END_STAYS;
	if (why & STOP_TORTURE)
		torture_rebuild(vm);
	if (why & STOP_TUNE) {
		sched_vm_tune(vm);
		torture_tune(vm);
	}
	hold = why & STOP_GDB ? gdb_serve(vm) : why & STOP_DEBUG;
	spin_lock(&run->lock);
	run->why = (run->why & ~STOP_DEBUG) | (hold ? STOP_DEBUG : 0);
	run->paused |= hold;
	more = run->why & ~STOP_STAYS;
	if (!more) {
		run->queued = false;
		start = !run->why;
	}
	if (start)
		run->state = VM_RUNS;
	stood_still = start && run->paused;
	run->paused &= !start;
	spin_unlock(&run->lock);
	if (stood_still)
		was_paused(vm);
	/* The last one that we add may end the VM. */
	for (u32 i = 0, n = start ? vm->nr_vcpus : 0; i < n; i++)
		if (!vm->vcpus[i]->gdb.held)
			sched_add(vm->vcpus[i]);
	return !more;
}
