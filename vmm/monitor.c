/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/monitor.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/vm.h"

#define LINE_MAX 256
#define RING	 1024

/* Bytes come by interrupt; lines are served by a work on the same CPU. */
static struct {
	u8 in[RING];
	u32 head, tail, lines;
	const char *word; /* of the line at hand, behind the name; "" if there is none */
	struct sched_work work;
} mon;

static void say(const char *fmt, ...) __format(1, 2);
static void say(const char *fmt, ...)
{
	char line[256];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 2, fmt, ap);
	va_end(ap);
	n = MIN(n, (int)sizeof(line) - 3);
	line[n] = '\r';
	line[n + 1] = '\n';
	console_write(CHANNEL_MONITOR, line, (size_t)n + 2);
}

/* --- the verbs: each returns NULL, or what went wrong --- */

/* xl's letters: r runs, b waits, p paused, s shut down (preserved); - is being started or stopped. */
static char state_letter(const struct vm *vm)
{
	if (vm->preserved)
		return 's';
	if (vm->run.state == VM_STOPPED)
		return vm->run.why & STOP_PAUSE ? 'p' : '-';
	if (vm->run.state == VM_STOPPING)
		return '-';
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (READ_ONCE(vm->vcpus[i]->state) == VCPU_RUNNING)
			return 'r';
	return 'b';
}

static const char *verb_list(struct vm *vm)
{
	(void)vm;
	say("%-40s %5s %5s %5s %5s", "Name", "ID", "Mem", "VCPUs", "State");
	spin_lock(&vm_list_lock);
	list_for_each (n, &vm_list) {
		vm = list_entry(n, struct vm, node);
		say("%-40s %5u %5lu %5u %5c", vm->name, vm->id, (unsigned long)(vm->ram_bytes >> 20),
		    vm->nr_vcpus, state_letter(vm));
	}
	spin_unlock(&vm_list_lock);
	return NULL;
}

static const char *verb_mem(struct vm *vm)
{
	static const char *const names[FRAME_NR_TYPES] = {
		[FRAME_BOOT] = "boot",	   [FRAME_PT] = "page tables", [FRAME_NESTED_PT] = "nested tables",
		[FRAME_VM] = "VMs",	   [FRAME_VCPU] = "vCPUs",     [FRAME_PCPU] = "CPUs",
		[FRAME_DEVICE] = "devices", [FRAME_HEAP] = "heap",
	};
	struct frame_stats st;

	(void)vm;
	frame_get_stats(&st);
	say("ours: %lu KiB, free %lu", (unsigned long)(st.own_total >> 10), (unsigned long)(st.own_free >> 10));
	say("guests': %lu KiB, free %lu", (unsigned long)(st.guest_total >> 10),
	    (unsigned long)(st.guest_free >> 10));
	for (unsigned i = 0; i < FRAME_NR_TYPES; i++)
		if (names[i])
			say("%s: %lu KiB", names[i], (unsigned long)(st.by_type[i] >> 10));
	return NULL;
}

static const char *verb_destroy(struct vm *vm)
{
	vm_request_end(vm, VM_END_DESTROY, 0);
	return NULL;
}

static const char *verb_reset(struct vm *vm)
{
	vm_request_end(vm, VM_END_RESET, 0);
	return NULL;
}

static const char *verb_pause(struct vm *vm)
{
	vm_stop(vm, STOP_PAUSE);
	return NULL;
}

static const char *verb_unpause(struct vm *vm)
{
	vm_unpause(vm);
	return NULL;
}

static const char *verb_trigger(struct vm *vm)
{
	if (strcmp(mon.word, "nmi"))
		return "what to trigger: nmi";
	vm_nmi_pin(vm);
	return NULL;
}

static const char *verb_sendkey(struct vm *vm)
{
	const char *wrong;

	spin_lock(&vm->dev_lock);
	wrong = i8042_sendkey(vm, mon.word);
	spin_unlock(&vm->dev_lock);
	return wrong;
}

static const char *verb_shutdown(struct vm *vm)
{
	spin_lock(&vm->dev_lock);
	acpi_power_button(vm);
	spin_unlock(&vm->dev_lock);
	return NULL;
}

static void say_region(void *arg, const char *space, u64 first, u64 last, const char *device)
{
	(void)arg;
	say("%-6s %8lx-%-8lx %s", space, (unsigned long)first, (unsigned long)last, device);
}

static const char *verb_regions(struct vm *vm)
{
	spin_lock(&vm->dev_lock);
	vm_regions(vm, say_region, NULL);
	spin_unlock(&vm->dev_lock);
	return NULL;
}

static const char *verb_help(struct vm *vm);

static const struct verb {
	const char *name, *help;
	bool takes_vm;
	const char *(*fn)(struct vm *vm); /* with vm_list_lock held if takes_vm */
} verbs[] = {
	{"help", "these lines", false, verb_help},
	{"list", "the VMs: id, memory in MiB, vCPUs, state", false, verb_list},
	{"mem", "both memory pools", false, verb_mem},
	{"create", "NAME: start a VM of dalang.cfg's that is not there now", true, NULL},
	{"destroy", "NAME: end a VM at once", true, verb_destroy},
	{"shutdown", "NAME: press its power button", true, verb_shutdown},
	{"reset", "NAME: start it anew, as the reset button does", true, verb_reset},
	{"trigger", "NAME nmi: press its NMI button", true, verb_trigger},
	{"sendkey", "NAME KEYS: press and release them, as in ctrl-alt-delete", true, verb_sendkey},
	{"pause", "NAME: stop its vCPUs", true, verb_pause},
	{"regions", "NAME: its ports and device memory, and whose they are", true, verb_regions},
	{"unpause", "NAME: let them go on", true, verb_unpause},
};

static const char *verb_help(struct vm *vm)
{
	(void)vm;
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		say("%-9s %s", verbs[i].name, verbs[i].help);
	return NULL;
}

/* --- lines --- */

static struct vm *vm_by_name(const char *name) /* vm_list_lock held */
{
	list_for_each (n, &vm_list) {
		struct vm *vm = list_entry(n, struct vm, node);

		if (!strcmp(vm->name, name))
			return vm;
	}
	return NULL;
}

static const char *on_vm(const struct verb *v, const char *name)
{
	static char why[256]; /* one line is served at a time */
	const char *wrong = "no such VM; `list` shows them";
	struct vm *vm;

	spin_lock(&vm_list_lock);
	vm = vm_by_name(name);
	if (vm && v->fn)
		wrong = v->fn(vm);
	spin_unlock(&vm_list_lock);
	if (v->fn)
		return wrong;
	if (vm)
		return "there is a VM of that name";
	return host_create_vm(name, why, sizeof(why)) ? why : NULL;
}

static const char *run_line(char *line)
{
	char *arg = strchr(line, ' '), *word = arg ? strchr(arg + 1, ' ') : NULL;

	if (arg)
		*arg++ = 0;
	if (word)
		*word++ = 0;
	mon.word = word ?: "";
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		const struct verb *v = &verbs[i];

		if (strcmp(v->name, line))
			continue;
		if (v->takes_vm != (arg && *arg))
			return v->takes_vm ? "name a VM" : "it takes no argument";
		if (word && v->fn != verb_trigger && v->fn != verb_sendkey)
			return "one word too many";
		return v->takes_vm ? on_vm(v, arg) : v->fn(NULL);
	}
	return "no such verb; `help` lists them";
}

/* One line a step. */
static bool serve(struct sched_work *w)
{
	char line[LINE_MAX];
	const char *wrong;
	u32 n = 0;

	(void)w;
	while (mon.tail != mon.head) {
		u8 b = mon.in[mon.tail++ % RING];

		if (b == '\n')
			break;
		if (n < sizeof(line) - 1)
			line[n++] = (char)b;
	}
	line[n] = 0;
	if (n) {
		wrong = run_line(line);
		if (wrong)
			say("error: %.32s: %s", line, wrong);
		else
			say("ok");
	}
	return !--mon.lines;
}

void monitor_input(u8 byte)
{
	if (byte == '\r')
		byte = '\n';
	/* The last place is a newline's: what is cut short ends all the same. */
	if (mon.head - mon.tail >= RING - (byte == '\n' ? 0 : 1))
		return;
	mon.in[mon.head++ % RING] = byte;
	if (byte == '\n' && !mon.lines++)
		sched_do(&mon.work);
}

void monitor_init(void)
{
	mon.work.fn = serve;
}
