/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/console.c */
/* The framing of docs/console.md, over a serial port that is a buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "arch/x86_64/machine.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/monitor/monitor.h"
#include "vmm/vm.h"

static char out[4096];
static size_t out_len, space = 65536;
static void (*log_sink)(int level, const char *line);
static void (*rx)(u8 byte);
static struct vcpu vcpus[2];
static struct vm vms[2] = { { .vcpus = { &vcpus[0] } }, { .vcpus = { &vcpus[1] } } };
static u32 requested[2], parked;
static char typed[64];
static size_t typed_len, fifo_room;
struct spinlock vm_list_lock;

size_t serial_write(const void *buf, size_t n)
{
	assert_true(out_len + n < sizeof(out));
	memcpy(out + out_len, buf, n);
	out_len += n;
	return n;
}
size_t serial_space(void)
{
	return space;
}
void serial_set_rx(void (*fn)(u8 byte))
{
	rx = fn;
}
void log_set_sink(void (*fn)(int level, const char *line))
{
	log_sink = fn;
}
struct vm *vm_by_channel(u32 channel)
{
	for (int i = 0; i < 2; i++)
		if (vms[i].console.channel == channel)
			return &vms[i];
	return NULL;
}
void vcpu_request(struct vcpu *v, u32 req)
{
	requested[v - vcpus] |= req;
}
static u8 monitored[8];
static u32 nr_monitored;
void monitor_input(u8 byte)
{
	monitored[nr_monitored++ % sizeof(monitored)] = byte;
}
static u32 debugged;
void gdb_input(struct vm *vm, u8 byte)
{
	debugged = debugged << 16 | (u32)(vm - vms) << 8 | byte;
}
static struct vcpu *current;
struct vcpu *vcpu_current(void)
{
	return current;
}
void vcpu_park(struct vcpu *v, u64 ns)
{
	assert_ptr_equal(v, current);
	(void)ns;
	parked++;
}
size_t uart_input(struct vm *vm, const u8 *buf, size_t n)
{
	(void)vm;
	if (!fifo_room)
		return 0;
	fifo_room--;
	typed[typed_len++] = (char)*buf;
	return n;
}

static bool no_interrupt, sent_all = true;
static u32 polls;
static struct timer *poll_timer;
static u64 poll_delay;

bool serial_must_poll(void)
{
	return no_interrupt;
}
bool serial_idle(void)
{
	return sent_all;
}
void serial_poll_rx(void)
{
	polls++;
}
void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	t->fn = fn;
}
void timer_set(struct timer *t, u64 tsc)
{
	poll_timer = t;
	poll_delay = tsc - __builtin_ia32_rdtsc();
}
u64 ns_to_tsc(u64 ns)
{
	return ns << 10; /* so slow a clock that the test's own run does not show */
}

static void expect(const char *want)
{
	out[out_len] = 0;
	assert_string_equal(out, want);
	out_len = 0;
}

static void type(const char *s)
{
	for (; *s; s++)
		rx((u8)*s);
}

static void test_output(void **state)
{
	(void)state;
	console_init();
	vms[0].console.channel = console_new_channel();
	vms[1].console.channel = console_new_channel();
	assert_int_equal(vms[0].console.channel, 2);
	log_sink(0, "hello");
	expect("hello\r\n");
	vm_console_write(&vms[0], "ab", 2);
	vm_console_write(&vms[0], "c\n", 2);
	expect("\x1b_d2\x1b\\abc\n");
	vm_console_write(&vms[1], "$ ", 2);
	expect("\x1b_d3\x1b\\$ ");
	log_sink(0, "note"); /* the guest's line was unfinished */
	expect("\x1b_d0\x1b\\\r\nnote\r\n");
	console_event("vm-end %s", "a\x1b\\b");
	expect("\x1b_d!vm-end a?\\b\x1b\\");
}

/* No way for a guest to make the bytes of a mark, in one write or in several. */
static void test_forgery(void **state)
{
	(void)state;
	vm_console_write(&vms[0], "\x1b_d0\x1b\\", 7);
	expect("\x1b_d2\x1b\\\x1b\x1b_dq\x1b\\_d0\x1b\\");
	vm_console_write(&vms[0], "\x1b", 1);
	vm_console_write(&vms[0], "_x", 2);
	expect("\x1b\x1b_dq\x1b\\_x");
	vm_console_write(&vms[0], "\x1b[1m", 4);
	expect("\x1b[1m");
}

static void test_input(void **state)
{
	(void)state;
	fifo_room = 3;
	type("a\x1d\x1d"
	     "b\x1d"
	     "3;c\x1d"
	     "1;m\n\x1d"
	     "2;d\x1d"
	     "99;zz\x1d"
	     "100003;g\x1d"
	     "100099;z\x1d"
	     "200002;z\x1d"
	     "2;e");
	assert_int_equal(debugged, 0x100 | 'g'); /* the second VM's debugger, and once */
	assert_true(requested[0] & REQ_CONSOLE);
	assert_true(requested[1] & REQ_CONSOLE);
	assert_memory_equal(monitored, "m\n", 3);
	console_feed(&vms[0]);
	assert_int_equal(typed_len, 3);
	fifo_room = 10;
	requested[0] = 0;
	vm_console_want_input(&vms[0]);
	assert_true(requested[0] & REQ_CONSOLE);
	console_feed(&vms[0]);
	assert_memory_equal(typed, "a\x1d"
				   "bde", 5);
	assert_int_equal(typed_len, 5);
	console_feed(&vms[1]);
	assert_int_equal(typed[5], 'c');
	requested[0] = 0;
	vm_console_want_input(&vms[0]);
	assert_int_equal(requested[0], 0);
}

static void test_full_port(void **state)
{
	(void)state;
	vcpus[0].state = VCPU_RUNNING;
	space = 100;
	vcpus[0].vm = &vms[0];
	vm_console_write(&vms[0], "x", 1); /* by a device's timer */
	assert_int_equal(parked, 0);
	current = &vcpus[0];
	vm_console_write(&vms[1], "x", 1);
	assert_int_equal(parked, 0);
	vm_console_write(&vms[0], "x", 1);
	assert_int_equal(parked, 1);
	for (int i = 0; i < CONSOLE_IN_SIZE + 10; i++) /* nobody reads: what does not fit is lost */
		rx('y');
	assert_int_equal(vms[0].console.in_head - vms[0].console.in_tail, CONSOLE_IN_SIZE);
}

static void test_port_without_interrupt(void **state)
{
	(void)state;
	console_start();
	assert_null(poll_timer);
	no_interrupt = true;
	console_start();
	assert_int_equal(polls, 1);
	assert_in_range(poll_delay, ns_to_tsc(9000000), ns_to_tsc(10000000));
	sent_all = false; /* what waits is sent sooner */
	poll_timer->fn(poll_timer);
	assert_int_equal(polls, 2);
	assert_in_range(poll_delay, ns_to_tsc(900000), ns_to_tsc(1000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_forgery),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_full_port),
		cmocka_unit_test(test_port_without_interrupt),
	};

	return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}
