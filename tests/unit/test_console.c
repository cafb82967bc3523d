/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/string.c */
/* The framing of docs/console.md, over a serial port that is a buffer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdint.h>
#include <cmocka.h>
#include "vmm/console.c" /* its state is set back between two tests */

static char out[4096];
static size_t out_len, space = 65536;
static void (*rx)(u8 byte);
static struct vcpu vcpus[2];
static u8 rings[2][CONSOLE_RING];
static struct vm vms[2] = {{.name = "a", .vcpus = {&vcpus[0]}, .console.ring = rings[0]},
			   {.name = "b", .vcpus = {&vcpus[1]}, .console.ring = rings[1]}};
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
	assert_ptr_equal(fn, log_sink);
}
static struct vm_console port; /* of VM 0, if it has one */
struct vm_console *vm_console_by_channel(struct vm *vm, u32 channel)
{
	if (vm->port[0] && port.channel == channel)
		return &port;
	return vm->console.channel == channel ? &vm->console : NULL;
}
struct vm *vm_by_channel(u32 channel)
{
	for (int i = 0; i < 2; i++)
		if (vm_console_by_channel(&vms[i], channel))
			return &vms[i];
	return NULL;
}
void vcpu_request(struct vcpu *v, u32 req)
{
	requested[v - vcpus] |= req;
}
/* What went to the terminals: the serial one's bytes, and what the screen was given. */
static char keys[64], shown[4096];
static size_t nr_keys, nr_shown;
static struct sched_work *works[4];
static unsigned nr_works, draws;
void term_input(enum console_term t, u8 byte)
{
	assert_int_equal(t, TERM_SERIAL);
	keys[nr_keys++] = byte == TERM_UNDO ? '~' : byte == 0x1d ? ']' : (char)byte;
	keys[nr_keys] = 0;
}
void fbcon_line(const char *line)
{
	nr_shown += (size_t)snprintf(shown + nr_shown, sizeof(shown) - nr_shown, "{%s}", line);
}
void fbcon_write(const void *buf, size_t n)
{
	memcpy(shown + nr_shown, buf, n);
	nr_shown += n;
}
void fbcon_later(bool later)
{
	assert_true(later);
}
bool fbcon_draw(void)
{
	return draws++ % 2;
}
bool sched_ready(void)
{
	return true;
}
void sched_do(struct sched_work *w)
{
	works[nr_works++] = w;
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
	type("\x1d" "2;a\x1d\x1d"
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

/* A port of virtio's console is a console like the other; it is told that bytes wait, and takes nothing while the port is busy. */
static u32 fed;
static void port_feed(struct vdev *d, unsigned n)
{
	(void)d;
	fed |= 1u << n;
}

static void test_ports(void **state)
{
	static const struct port_ops ops = {.feed = port_feed};
	static u8 ring[CONSOLE_RING];
	u8 buf[8];
	u64 was = space;

	(void)state;
	port = (struct vm_console){.channel = 50, .ring = ring};
	vms[0].port[0] = &port;
	vms[0].port_device = (struct port_device){(struct vdev *)&fed, &ops};
	assert_int_equal(vm_port_write(&vms[0], 0, "p\n", 2), 2);
	expect("\x1b_d50\x1b\\p\n");
	assert_memory_equal(ring, "p\n", 2);
	space = 100;
	assert_int_equal(vm_port_write(&vms[0], 0, "q", 1), 0);
	assert_int_equal(port.written, 2);
	space = was;
	type("\x1d" "50;xyz\x1d" "2;");
	console_feed(&vms[0]);
	assert_int_equal(fed, 1);
	assert_int_equal(vm_port_typed(&vms[0], 0, NULL, 0), 3);
	assert_int_equal(vm_port_typed(&vms[0], 0, buf, 2), 2);
	assert_int_equal(vm_port_typed(&vms[0], 0, buf + 2, 8), 1);
	assert_memory_equal(buf, "xyz", 3);
	fed = 0;
	console_feed(&vms[0]);
	assert_int_equal(fed, 0);
	vms[0].port[0] = NULL;
	vms[0].port_device.d = NULL;
	vm_console_write(&vms[0], "", 0);
	expect("\x1b_d2\x1b\\");
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

static void replay_all(enum console_term t, u32 channel, u64 from, unsigned steps)
{
	console_attach(t, channel, from);
	while (!console_replay(t, &vms[channel - 2]))
		steps--;
	assert_int_equal(steps, 1);
}

/* The terminal of a tool: a channel of its own. The prompt's row makes way for the log. */
static void test_terminal(void **state)
{
	(void)state;
	out_len = 0;
	current = NULL;
	space = 65536;
	console_term_write(TERM_SERIAL, "hi\r\n", 4, "\rrow", 4);
	expect("\x1b_d65535\x1b\\hi\r\n");
	log_sink(0, "log");
	expect("\r\x1b[K\x1b_d0\x1b\\log\r\n\x1b_d65535\x1b\\\rrow");
	console_write(CHANNEL_MONITOR, "ok\r\n", 4);
	expect("\x1b_d1\x1b\\ok\r\n");
	/* A console: older output, then what comes, and others' too on their channels. */
	vms[0].console.written = vms[1].console.written = 0;
	vm_console_write(&vms[1], "old\n", 4);
	expect("\x1b_d3\x1b\\old\n");
	replay_all(TERM_SERIAL, 3, 0, 1);
	assert_int_equal(console_attached(TERM_SERIAL), 3);
	expect("\x1b_d65535\x1b\\old\n\x1b_d!terminal 3\x1b\\");
	vm_console_write(&vms[1], "$ ", 2); /* said once, for both */
	expect("\x1b_d3\x1b\\$ ");
	vm_console_write(&vms[0], "x\n", 2);
	expect("\x1b_d2\x1b\\x\n");
	log_sink(0, "log"); /* no prompt is there to come back */
	expect("\x1b_d0\x1b\\log\r\n");
	assert_int_equal(console_detach(TERM_SERIAL), 6);
	expect("\x1b_d!terminal 0\x1b\\");
	vm_console_write(&vms[1], "more", 4);
	expect("\x1b_d3\x1b\\more");
	replay_all(TERM_SERIAL, 3, 6, 1); /* only what was missed */
	expect("\x1b_d65535\x1b\\more\x1b_d!terminal 3\x1b\\");
	console_vm_gone(&vms[0]);
	expect("");
	console_vm_gone(&vms[1]);
	expect("\x1b_d!terminal 0\x1b\\\r\n[b is gone]\r\n" CONSOLE_ROW);
	assert_int_equal(console_attached(TERM_SERIAL), 0);
	console_term_write(TERM_SERIAL, "", 0, "", 0);
}

/* The ring: of much output the last 16 KiB, in bounded steps, whatever came meanwhile. */
static void test_ring(void **state)
{
	char block[1000];

	(void)state;
	for (u32 i = 0; i < 40; i++) {
		memset(block, 'a' + i % 26, sizeof(block));
		block[0] = '\n';
		vm_console_write(&vms[0], block, sizeof(block));
		out_len = 0;
	}
	nr_shown = 0;
	shown[0] = 0;
	console_attach(TERM_SCREEN, 2, 0);
	assert_false(console_replay(TERM_SCREEN, &vms[0]));
	assert_in_range(nr_shown, 1, 1024);
	assert_int_equal(shown[0], 'a' + (40002 - 16384) / 1000 % 26); /* 2 bytes stood there before */
	vm_console_write(&vms[0], "THE END", 7); /* not shown before what is older */
	assert_null(strstr(shown, "END"));
	for (nr_shown = 0; !console_replay(TERM_SCREEN, &vms[0]); nr_shown = 0)
		;
	shown[nr_shown] = 0;
	assert_string_equal(shown + nr_shown - 8, "nTHE END");
	vm_console_write(&vms[0], "!", 1);
	assert_int_equal(shown[nr_shown - 1], '!');
	/* From now on. */
	console_attach(TERM_SCREEN, 2, CONSOLE_NOW);
	nr_shown = 0;
	assert_true(console_replay(TERM_SCREEN, &vms[0]));
	assert_int_equal(nr_shown, 0);
	vms[0].console.written = 0; /* a successor on the same channel */
	vm_console_write(&vms[0], "new", 3);
	nr_shown = 0;
	console_attach(TERM_SCREEN, 2, 5000);
	assert_true(console_replay(TERM_SCREEN, &vms[0]));
	shown[nr_shown] = 0;
	assert_string_equal(shown, "new");
	console_detach(TERM_SCREEN);
	out_len = 0;
}

static void test_screen(void **state)
{
	(void)state;
	con.drawing = false;
	nr_shown = nr_works = 0;
	log_sink(0, "one");
	console_term_write(TERM_SCREEN, "hi", 2, "\rrow", 4);
	log_sink(0, "two");
	shown[nr_shown] = 0;
	assert_string_equal(shown, "{one}hi\r\x1b[K{two}\rrow");
	assert_int_equal(nr_works, 1); /* one draws for all */
	assert_false(works[0]->fn(works[0]));
	assert_true(con.drawing);
	assert_true(works[0]->fn(works[0]));
	assert_false(con.drawing);
	con.term[TERM_SCREEN].row_len = 0;
	out_len = 0;
}

/* Nobody knows who types; a person; a tool; a person again. */
static void test_person(void **state)
{
	(void)state;
	type("\x1d" "9;"); /* a channel of nobody */
	nr_keys = 0;
	type("\x1d\r"); /* no mark: so it is a person */
	type("list\r");
	assert_string_equal(keys, "]\rlist\r");
	out_len = 0;
	/* No marks, no events, no guest that is not looked at. */
	console_event("vm-start x 9");
	vm_console_write(&vms[0], "unseen", 6);
	console_term_write(TERM_SERIAL, "hi\r\n", 4, "\rrow", 4);
	log_sink(0, "log");
	expect("hi\r\n\r\x1b[Klog\r\n\rrow");
	replay_all(TERM_SERIAL, 3, CONSOLE_NOW, 1);
	vm_console_write(&vms[1], "seen\x1b_d0\x1b\\", 11);
	expect("seen\x1b\x1b_dq\x1b\\_d0\x1b\\");
	console_detach(TERM_SERIAL);
	nr_keys = 0;
	type("\x1d\x1d" "a\x1d" "bc");
	assert_string_equal(keys, "]]a]bc");
	/* A tool comes: marks again, and the first one is said. */
	replay_all(TERM_SERIAL, 3, CONSOLE_NOW, 1);
	type("\x1d" "1;m");
	expect("\x1b_d!terminal 3\x1b\\");
	console_detach(TERM_SERIAL);
	expect("\x1b_d!terminal 0\x1b\\");
	assert_int_equal(monitored[(nr_monitored - 1) % sizeof(monitored)], 'm');
	assert_string_equal(keys, "]]a]bc]");
	vm_console_write(&vms[0], "x", 1);
	expect("\x1b_d2\x1b\\x");
	type("\x1d" "65535;\x1d\x1dq");
	assert_string_equal(keys, "]]a]bc]]q");
}

static void nobody_yet(void)
{
	input = (typeof(input)){.channel = CHANNEL_FIRST_GUEST};
	con.plain = false;
	vms[0].console.in_tail = vms[0].console.in_head;
	nr_keys = 0;
	console_init();
}

/* Before anybody typed: the first guest has the keys, a tool's mark is no Ctrl-], and a person's is one. */
static void test_nobody(void **state)
{
	(void)state;
	nobody_yet();
	keys[0] = 0;
	type("g");
	assert_int_equal(vms[0].console.in[(vms[0].console.in_head - 1) % CONSOLE_IN_SIZE], 'g');
	assert_int_equal(console_attached(TERM_SERIAL), 2);
	console_vm_gone(&vms[0]); /* the port showed it with all the others: no words */
	expect("");
	vms[0].console.channel = 0;
	type("x");
	assert_string_equal(keys, "x"); /* no guest, so a person at the monitor */
	vms[0].console.channel = 2;
}

static void test_tool_first(void **state)
{
	(void)state;
	nobody_yet();
	type("\x1d" "2;h");
	console_detach(TERM_SERIAL); /* as term.c does when it comes to that */
	console_aside(TERM_SERIAL, 2);
	vm_console_write(&vms[0], "x", 1);
	expect("x");
	assert_int_equal(console_detach(TERM_SERIAL), CONSOLE_NOW);
	assert_string_equal(keys, "]~");
	assert_int_equal(vms[0].console.in[(vms[0].console.in_head - 1) % CONSOLE_IN_SIZE], 'h');
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_output),
		cmocka_unit_test(test_forgery),
		cmocka_unit_test(test_input),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_full_port),
		cmocka_unit_test(test_port_without_interrupt),
		cmocka_unit_test(test_terminal),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_screen),
		cmocka_unit_test(test_person),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_tool_first),
	};

	return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}
