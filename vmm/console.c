/* SPDX-License-Identifier: BSD-2-Clause */
/* One serial port, many talkers: docs/console.md. */
#include "vmm/console.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "vmm/gdb/gdb.h"
#include "vmm/monitor/monitor.h"
#include "vmm/timer.h"
#include "vmm/vm.h"

#define CHANNEL_LOG         0
#define CHANNEL_FIRST_GUEST 2
/* A guest that writes faster than the port sends waits when less than this is free. */
#define SPACE_LOW 8192
#define PARK_NS   2000000ull

static struct {
	struct spinlock lock;
	u32 out_channel;
	bool unfinished; /* the last byte sent was a guest's, and no newline */
	u8 last;         /* last byte of guest data: an ESC may not be followed by '_' */
	u32 next_channel;
} con = {.lock = SPINLOCK(LOCK_CONSOLE), .next_channel = CHANNEL_FIRST_GUEST};

static struct {
	u32 channel, number;
	enum { IN_DATA, IN_MARK, IN_NUMBER } state;
} input = {.channel = CHANNEL_FIRST_GUEST};

static void put_str(const char *s)
{
	serial_write(s, strlen(s));
}

static void select_channel(u32 channel)
{
	char mark[24];

	if (con.out_channel == channel)
		return;
	serial_write(mark, snprintf(mark, sizeof(mark), "\x1b_d%u\x1b\\", channel));
	con.out_channel = channel;
	con.last = 0;
}

static void finish_guest_line(void)
{
	select_channel(CHANNEL_LOG);
	if (con.unfinished)
		put_str("\r\n");
	con.unfinished = false;
}

/* The log's sink: one whole line, time and level already in it. */
static void log_sink(int level, const char *line)
{
	u64 flags = spin_lock_irq(&con.lock);

	(void)level;
	finish_guest_line();
	put_str(line);
	put_str("\r\n");
	spin_unlock_irq(&con.lock, flags);
}

void console_event(const char *fmt, ...)
{
	char text[256];
	va_list ap;
	u64 flags;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++) /* a reason may quote what a guest or a file said */
		if ((u8)*p < 0x20 || (u8)*p >= 0x7f)
			*p = '?';
	flags = spin_lock_irq(&con.lock);
	put_str("\x1b_d!");
	put_str(text);
	put_str("\x1b\\");
	spin_unlock_irq(&con.lock, flags);
}

static void guest_bytes(const u8 *b, size_t n)
{
	for (size_t i = 0, from = 0; i <= n; i++) {
		if (i == n) {
			serial_write(b + from, n - from);
			break;
		}
		if (b[i] == '_' && con.last == 0x1b) {
			serial_write(b + from, i - from);
			put_str("\x1b_dq\x1b\\");
			from = i;
		}
		con.last = b[i];
	}
}

void console_write(u32 channel, const void *buf, size_t n)
{
	u64 flags = spin_lock_irq(&con.lock);

	select_channel(channel);
	guest_bytes(buf, n);
	if (n)
		con.unfinished = ((const u8 *)buf)[n - 1] != '\n';
	spin_unlock_irq(&con.lock, flags);
}

void vm_console_write(struct vm *vm, const void *buf, size_t n)
{
	struct vcpu *v = vcpu_current();

	console_write(vm->console.channel, buf, n);
	/* The port is slower than the guest: let it wait rather than lose bytes. */
	if (serial_space() < SPACE_LOW && v && v->vm == vm && v->state == VCPU_RUNNING)
		vcpu_park(v, PARK_NS);
}

u32 console_new_channel(void)
{
	return __atomic_fetch_add(&con.next_channel, 1, __ATOMIC_RELAXED);
}

static void to_channel(u8 byte)
{
	struct vm *vm;

	if (input.channel == CHANNEL_MONITOR) {
		monitor_input(byte);
		return;
	}
	spin_lock(&vm_list_lock);
	vm = vm_by_channel(input.channel % CHANNEL_GDB);
	if (vm && input.channel / CHANNEL_GDB == 1) {
		gdb_input(vm, byte);
	} else if (vm && input.channel < CHANNEL_GDB) {
		struct vm_console *c = &vm->console;

		if (c->in_head - c->in_tail < CONSOLE_IN_SIZE) {
			c->in[c->in_head % CONSOLE_IN_SIZE] = byte;
			__atomic_store_n(&c->in_head, c->in_head + 1, __ATOMIC_RELEASE);
		}
		vcpu_request(vm->vcpus[0], REQ_CONSOLE);
	}
	spin_unlock(&vm_list_lock);
}

/* From the serial interrupt, boot CPU. */
static void input_byte(u8 b)
{
	switch (input.state) {
	case IN_DATA:
		if (b == 0x1d)
			input.state = IN_MARK;
		else
			to_channel(b);
		break;
	case IN_MARK:
		input.state = IN_DATA;
		if (b == 0x1d) {
			to_channel(b);
		} else if (b >= '0' && b <= '9') {
			input.number = b - '0';
			input.state = IN_NUMBER;
		}
		break;
	case IN_NUMBER:
		if (b >= '0' && b <= '9' && input.number < 100000) {
			input.number = input.number * 10 + b - '0';
			break;
		}
		if (b == ';')
			input.channel = input.number;
		input.state = IN_DATA;
		break;
	}
}

void console_feed(struct vm *vm)
{
	struct vm_console *c = &vm->console;

	while (c->in_tail != __atomic_load_n(&c->in_head, __ATOMIC_ACQUIRE)) {
		u8 b = c->in[c->in_tail % CONSOLE_IN_SIZE];
		size_t taken;

		spin_lock(&vm->dev_lock);
		taken = uart_input(vm, &b, 1);
		spin_unlock(&vm->dev_lock);
		if (!taken)
			return; /* its FIFO is full: vm_console_want_input() calls again */
		c->in_tail++;
	}
}

void vm_console_want_input(struct vm *vm)
{
	if (vm->console.in_tail != vm->console.in_head)
		vcpu_request(vm->vcpus[0], REQ_CONSOLE);
}

/* A FIFO of 16 bytes is empty after 1.4 ms: while output waits, the port is fed that often. */
#define POLL_IDLE_NS 10000000ull
#define POLL_BUSY_NS 1000000ull

static void poll(struct timer *t)
{
	serial_poll_rx();
	timer_set(t, rdtsc() + ns_to_tsc(serial_idle() ? POLL_IDLE_NS : POLL_BUSY_NS));
}

void console_start(void)
{
	static struct timer timer;

	if (!serial_must_poll())
		return;
	timer_init(&timer, poll);
	poll(&timer);
}

void console_init(void)
{
	log_set_sink(log_sink);
	serial_set_rx(input_byte);
}
