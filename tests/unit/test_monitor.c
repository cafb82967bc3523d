/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/monitor/monitor.c vmm/monitor/out.c vmm/monitor/serial.c vmm/monitor/verbs.c vmm/monitor/verb_host.c vmm/monitor/verb_vm.c lib/string.c */
/* The monitor's lines: what each verb reaches, and what is said to those that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/monitor/monitor.h"
#include "vmm/vm.h"

struct list vm_list = {&vm_list, &vm_list};
struct spinlock vm_list_lock = SPINLOCK(LOCK_VM);
static struct vm vms[2];
static struct vcpu vcpu;
static char out[4096], did[256], created[64];
static struct sched_work *work;

void console_write(u32 channel, const void *buf, size_t n)
{
	assert_int_equal(channel, CHANNEL_MONITOR);
	strncat(out, buf, n);
}
void frame_get_stats(struct frame_stats *st)
{
	*st = (struct frame_stats){.own_total = KIB(8), .own_free = KIB(4)};
}
static size_t space = 65536;
static struct timer *waits;
size_t serial_space(void) { return space; }
u64 ns_to_tsc(u64 ns) { return ns; }
void timer_init(struct timer *t, void (*fn)(struct timer *t)) { t->fn = fn; }
void timer_set(struct timer *t, u64 tsc) { (void)tsc; waits = t; }
void sched_do(struct sched_work *w) { work = w; }
const char *host_vm_file_name(u32 i) { return i ? NULL : "c"; }
void vm_request_end(struct vm *vm, enum vm_end how, u32 value)
{
	snprintf(did, sizeof(did), "end %s %d %u", vm->name, how, value);
}
void vm_stop(struct vm *vm, u32 why) { snprintf(did, sizeof(did), "stop %s %u", vm->name, why); }
void vm_unpause(struct vm *vm) { snprintf(did, sizeof(did), "unpause %s", vm->name); }
void vm_nmi_pin(struct vm *vm) { snprintf(did, sizeof(did), "nmi %s", vm->name); }
void acpi_power_button(struct vm *vm) { snprintf(did, sizeof(did), "button %s", vm->name); }
int host_create_vm(const char *name, char *why, size_t n)
{
	snprintf(created, sizeof(created), "%s", name);
	snprintf(why, n, "no file has it");
	return strcmp(name, "c") ? -ENOENT : 0;
}

static int setup(void **state)
{
	(void)state;
	list_init(&vm_list);
	for (int i = 0; i < 2; i++) {
		memset(&vms[i], 0, sizeof(vms[i]));
		vms[i].id = (u16)(i + 1);
		vms[i].ram_bytes = MIB(64);
		vms[i].nr_vcpus = 1;
		vms[i].vcpus[0] = &vcpu;
		vms[i].run.state = VM_RUNS;
		snprintf(vms[i].name, sizeof(vms[i].name), "%c", 'a' + i);
		list_insert(&vm_list, &vms[i].node);
	}
	vcpu.state = VCPU_HALTED;
	monitor_init();
	return 0;
}

/* Type a line; returns what is answered. */
static const char *line(const char *text)
{
	out[0] = did[0] = created[0] = 0;
	for (const char *p = text; *p; p++)
		monitor_input((u8)*p);
	monitor_input('\r');
	while (work) {
		struct sched_work *w = work;

		work = NULL;
		if (!w->fn(w))
			work = w;
	}
	return out;
}

static void verbs(void **state)
{
	(void)state;
	assert_string_equal(line("pause b"), "ok\r\n");
	assert_string_equal(did, "stop b 2");
	assert_string_equal(line("unpause a"), "ok\r\n");
	assert_string_equal(did, "unpause a");
	line("destroy a");
	assert_string_equal(did, "end a 4 0");
	line("reset a");
	assert_string_equal(did, "end a 5 0");
	line("shutdown b");
	assert_string_equal(did, "button b");
	assert_string_equal(line("trigger b nmi"), "ok\r\n");
	assert_string_equal(did, "nmi b");
	assert_string_equal(line("create c"), "ok\r\n");
	assert_string_equal(created, "c");
	assert_non_null(strstr(line("mem"), "ours                8            4\r\n"));
	assert_non_null(strstr(line("help"), "\r\ntrigger      NAME nmi "));
}

static void list(void **state)
{
	(void)state;
	vms[0].run.state = VM_STOPPED;
	vms[0].run.why = STOP_PAUSE;
	assert_non_null(strstr(line("list"), "a                                            1    64     1    --p---\r\n"));
	assert_non_null(strstr(out, "b                                            2    64     1    -b----\r\n"));
	vcpu.state = VCPU_RUNNING;
	vms[0].preserved = true;
	assert_non_null(strstr(line("list"), "  1    ---s--\r\n"));
	assert_non_null(strstr(out, "  1    r-----\r\nok\r\n"));
}

static void errors(void **state)
{
	char text[600];

	(void)state;
	assert_string_equal(line("frob a"), "error: frob: no such verb; `help` lists them\r\n");
	assert_string_equal(line("pause"), "error: pause: name a VM\r\n");
	assert_string_equal(line("pause zz"), "error: pause: no such VM; `list` shows them\r\n");
	assert_string_equal(line("pause a b"), "error: pause: one word too many\r\n");
	assert_string_equal(line("mem a"), "error: mem: it takes no argument\r\n");
	assert_string_equal(line("trigger a"), "error: trigger: a word is missing: trigger NAME nmi\r\n");
	assert_string_equal(line("trigger a smi"), "error: trigger: what to trigger: nmi\r\n");
	assert_string_equal(line("create a"), "error: create: there is a VM of that name\r\n");
	assert_string_equal(line("create z"), "error: create: no file has it\r\n");
	assert_string_equal(line(""), "");
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	assert_non_null(strstr(line(text), "no such verb"));
	assert_string_equal(did, "");
	/* More than the ring holds: cut, answered, and the next line is itself again. */
	for (int i = 0; i < 3000; i++)
		monitor_input('y');
	line("");
	assert_string_equal(line("pause a"), "ok\r\n");
}

/* Several lines at once are served one a step, in order. */
static void several(void **state)
{
	(void)state;
	assert_string_equal(line("pause a\nunpause zz\nunpause b"),
			    "ok\r\nerror: unpause: no such VM; `list` shows them\r\nok\r\n");
	assert_string_equal(did, "unpause b");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(verbs, setup),
		cmocka_unit_test_setup(list, setup),
		cmocka_unit_test_setup(errors, setup),
		cmocka_unit_test_setup(several, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
