/* SPDX-License-Identifier: BSD-2-Clause */
/* One serial port, many talkers: docs/console.md. */
#include "vmm/console.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/machine.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "vmm/gdb/gdb.h"
#include "vmm/monitor/lineedit.h"
#include "vmm/monitor/monitor.h"
#include "vmm/monitor/term.h"
#include "vmm/timer.h"
#include "vmm/vm.h"

#define CHANNEL_LOG         0
#define CHANNEL_FIRST_GUEST 2
/* A guest that writes faster than the port sends waits when less than this is free. */
#define SPACE_LOW 8192
#define PARK_NS   2000000ull
#define REPLAY_STEP 1024

static struct {
	struct spinlock lock;
	u32 out_channel;
	bool plain;	 /* a person is at the port: no marks, no events, and of the guests the one that he looks at */
	bool unfinished; /* the last byte sent was a guest's, and no newline */
	u8 last;         /* last byte of guest data: an ESC may not be followed by '_' */
	u32 next_channel;
	bool drawing; /* draw_work is under way */
	/* What terminals show. */
	struct {
		u32 channel; /* whose console; 0: the monitor */
		u64 pos;     /* what is before it in that VM's ring has been shown */
		bool live;   /* all of it has: what comes is shown as it comes */
		bool aside;  /* typed to, and the port shows it with all the others */
		u32 row_len; /* the row with the prompt, which the log leaves as it was */
		char row[LINEEDIT_SHOWN];
	} term[NR_TERMS];
} con = {.lock = SPINLOCK(LOCK_CONSOLE), .next_channel = CHANNEL_FIRST_GUEST};

static struct {
	u32 channel, number;
	enum { IN_DATA, IN_MARK, IN_NUMBER } state;
	bool framed; /* who types speaks docs/console.md */
	bool person; /* who types does not; neither: nobody knows yet */
	bool left;   /* before anybody knew, a Ctrl-] went to the terminal */
} input = {.channel = CHANNEL_FIRST_GUEST};

static void put_str(const char *s)
{
	serial_write(s, strlen(s));
}

static void select_channel(u32 channel)
{
	char mark[24];

	if (con.out_channel == channel || con.plain)
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

static void port_bytes(u32 channel, const void *buf, size_t n)
{
	select_channel(channel);
	guest_bytes(buf, n);
	if (n)
		con.unfinished = ((const u8 *)buf)[n - 1] != '\n';
}

/* --- the screen is drawn piece by piece --- */

static bool draw(struct sched_work *w)
{
	u64 flags = spin_lock_irq(&con.lock);
	bool done = fbcon_draw();

	(void)w;
	con.drawing = !done;
	spin_unlock_irq(&con.lock, flags);
	return done;
}

static void screen_changed(void)
{
	static struct sched_work work = {.fn = draw};

	/* On a CPU that is still coming up: the next change shows it. */
	if (con.drawing || !sched_ready())
		return;
	con.drawing = true;
	sched_do(&work);
}

/* --- terminals --- */

static void term_bytes(enum console_term t, const void *buf, size_t n)
{
	if (t == TERM_SERIAL) {
		port_bytes(CHANNEL_TERMINAL, buf, n);
	} else {
		fbcon_write(buf, n);
		screen_changed();
	}
}

static void term_text(enum console_term t, const char *s)
{
	term_bytes(t, s, strlen(s));
}

/* The prompt's row makes way for a line of the log, and comes back. */
static void hide_row(enum console_term t)
{
	if (!con.term[t].row_len)
		return;
	term_text(t, "\r\x1b[K");
	con.unfinished &= t != TERM_SERIAL;
}

static void show_row(enum console_term t)
{
	if (con.term[t].row_len)
		term_bytes(t, con.term[t].row, con.term[t].row_len);
}

static void set_row(enum console_term t, const char *row, size_t n)
{
	memcpy(con.term[t].row, row, n);
	con.term[t].row_len = n;
}

void console_term_write(enum console_term t, const void *buf, size_t n, const char *row, size_t row_n)
{
	u64 flags = spin_lock_irq(&con.lock);

	term_bytes(t, buf, n);
	set_row(t, row, row_n);
	spin_unlock_irq(&con.lock, flags);
}

u32 console_attached(enum console_term t)
{
	return READ_ONCE(con.term[t].channel);
}

/* Who speaks the framing sees the channel of that console anyway, and need not get it twice. */
static void tell_copy(u32 channel)
{
	char mark[32];

	if (!con.plain)
		serial_write(mark, snprintf(mark, sizeof(mark), "\x1b_d!terminal %u\x1b\\", channel));
}

static void set_live(enum console_term t, bool live)
{
	if (t == TERM_SERIAL && con.term[t].live != live)
		tell_copy(live ? con.term[t].channel : 0);
	con.term[t].live = live;
}

void console_attach(enum console_term t, u32 channel, u64 pos)
{
	u64 flags = spin_lock_irq(&con.lock);

	set_live(t, false);
	con.term[t].channel = channel;
	con.term[t].pos = pos;
	con.term[t].aside = false;
	set_row(t, "", 0);
	spin_unlock_irq(&con.lock, flags);
}

u64 console_detach(enum console_term t)
{
	u64 flags = spin_lock_irq(&con.lock), pos = con.term[t].aside ? CONSOLE_NOW : con.term[t].pos;

	set_live(t, false);
	con.term[t].channel = 0;
	con.term[t].aside = false;
	spin_unlock_irq(&con.lock, flags);
	return pos;
}

void console_aside(enum console_term t, u32 channel)
{
	u64 flags = spin_lock_irq(&con.lock);

	con.term[t].channel = channel;
	con.term[t].aside = true;
	set_row(t, "", 0);
	spin_unlock_irq(&con.lock, flags);
}

void console_vm_gone(struct vm *vm)
{
	u64 flags = spin_lock_irq(&con.lock);

	for (enum console_term t = 0; t < NR_TERMS; t++) {
		if (!con.term[t].channel || !vm_console_by_channel(vm, con.term[t].channel))
			continue;
		set_live(t, false);
		con.term[t].channel = 0;
		if (con.term[t].aside)
			continue;
		term_text(t, "\r\n[");
		term_text(t, vm->name);
		term_text(t, " is gone]\r\n");
		set_row(t, CONSOLE_ROW, strlen(CONSOLE_ROW));
		show_row(t);
	}
	spin_unlock_irq(&con.lock, flags);
}

/* --- each guest's output is kept --- */

static void keep(struct vm_console *c, const u8 *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		c->ring[c->written++ % CONSOLE_RING] = b[i];
}

bool console_replay(enum console_term t, struct vm *vm)
{
	u64 flags = spin_lock_irq(&con.lock), pos = con.term[t].pos;
	const struct vm_console *c = vm_console_by_channel(vm, con.term[t].channel) ?: &vm->console;
	u32 from, n;
	bool done;

	if (pos == CONSOLE_NOW)
		pos = c->written;
	else if (pos > c->written || c->written - pos > CONSOLE_RING) /* another's, or the oldest is lost */
		pos = c->written - MIN(c->written, CONSOLE_RING);
	from = pos % CONSOLE_RING;
	n = MIN(MIN(c->written - pos, CONSOLE_RING - from), REPLAY_STEP);
	if (con.term[t].channel == c->channel) {
		term_bytes(t, c->ring + from, n);
		con.term[t].pos = pos + n;
		set_live(t, pos + n == c->written);
	}
	done = con.term[t].live || con.term[t].channel != c->channel;
	spin_unlock_irq(&con.lock, flags);
	return done;
}

/* --- writers --- */

/* The log's sink: one whole line, time and level already in it. */
static void log_sink(int level, const char *line)
{
	u64 flags = spin_lock_irq(&con.lock);

	(void)level;
	hide_row(TERM_SERIAL);
	finish_guest_line();
	put_str(line);
	put_str("\r\n");
	show_row(TERM_SERIAL);
	hide_row(TERM_SCREEN);
	fbcon_line(line);
	show_row(TERM_SCREEN);
	screen_changed();
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
	if (!con.plain) {
		put_str("\x1b_d!");
		put_str(text);
		put_str("\x1b\\");
	}
	spin_unlock_irq(&con.lock, flags);
}

void console_write(u32 channel, const void *buf, size_t n)
{
	u64 flags = spin_lock_irq(&con.lock);

	port_bytes(channel, buf, n);
	spin_unlock_irq(&con.lock, flags);
}

size_t console_send(u32 channel, const void *buf, size_t n)
{
	u64 flags = spin_lock_irq(&con.lock);
	size_t space = serial_space();
	bool unfinished = con.unfinished;

	if (!con.plain) {
		/* An ESC may become six bytes more, and the marks around it have some. */
		n = MIN(n, space > SPACE_LOW ? (space - SPACE_LOW) / 8 : 0);
		if (n)
			port_bytes(channel, buf, n);
		con.unfinished = unfinished;
	}
	spin_unlock_irq(&con.lock, flags);
	return n;
}

/* Does the host's port get it, too? */
static bool write_console(struct vm_console *c, const void *buf, size_t n)
{
	u32 channel = c->channel;
	u64 flags = spin_lock_irq(&con.lock);
	bool sent = !con.plain;

	keep(c, buf, n);
	if (sent)
		port_bytes(channel, buf, n);
	for (enum console_term t = 0; t < NR_TERMS; t++) {
		if (!channel || con.term[t].channel != channel || !con.term[t].live)
			continue;
		con.term[t].pos = c->written;
		if (t == TERM_SCREEN || con.plain)
			term_bytes(t, buf, n);
		sent |= t == TERM_SERIAL;
	}
	spin_unlock_irq(&con.lock, flags);
	return sent;
}

void vm_console_write(struct vm *vm, const void *buf, size_t n)
{
	struct vcpu *v = vcpu_current();

	/* The port is slower than the guest: let it wait rather than lose bytes. */
	if (write_console(&vm->console, buf, n) && serial_space() < SPACE_LOW && v && v->vm == vm &&
	    v->state == VCPU_RUNNING)
		vcpu_park(v, PARK_NS);
}

u64 vm_port_write(struct vm *vm, unsigned port, const void *buf, u64 n)
{
	if (serial_space() < SPACE_LOW)
		return 0;
	write_console(vm->port[port], buf, n);
	return n;
}

u32 console_new_channel(void)
{
	u32 n = __atomic_fetch_add(&con.next_channel, 1, __ATOMIC_RELAXED);

	return n == CHANNEL_TERMINAL || n == CHANNEL_MIRROR ? console_new_channel() : n;
}

/* --- what is typed --- */

bool console_type(u32 channel, const u8 *b, size_t n)
{
	struct vm *vm;

	spin_lock(&vm_list_lock);
	vm = vm_by_channel(channel % CHANNEL_GDB);
	if (vm && channel / CHANNEL_GDB == 1) {
		while (n--)
			gdb_input(vm, *b++);
	} else if (vm && channel < CHANNEL_GDB) {
		struct vm_console *c = vm_console_by_channel(vm, channel);

		for (; n && c->in_head - c->in_tail < CONSOLE_IN_SIZE; n--) {
			c->in[c->in_head % CONSOLE_IN_SIZE] = *b++;
			__atomic_store_n(&c->in_head, c->in_head + 1, __ATOMIC_RELEASE);
		}
		vcpu_request(vm->vcpus[0], REQ_CONSOLE);
	}
	spin_unlock(&vm_list_lock);
	return vm;
}

/* Who types speaks the framing, or is a person at a plain terminal. */
static void set_framed(bool framed)
{
	u64 flags = spin_lock_irq(&con.lock);

	if (con.plain && framed)
		con.out_channel = ~0u; /* who did not see the last mark sees one */
	con.plain = !framed;
	if (con.term[TERM_SERIAL].live)
		tell_copy(con.term[TERM_SERIAL].channel);
	spin_unlock_irq(&con.lock, flags);
	input.framed = framed;
	input.person = !framed;
	if (input.left && framed)
		term_input(TERM_SERIAL, TERM_UNDO);
	input.left = false;
}

static void person(u8 byte)
{
	if (!input.person)
		set_framed(false);
	term_input(TERM_SERIAL, byte);
}

static void data_byte(u8 byte)
{
	if (input.framed && input.channel == CHANNEL_MONITOR)
		monitor_input(byte);
	else if (input.framed && input.channel == CHANNEL_TERMINAL)
		term_input(TERM_SERIAL, byte);
	else if (input.person || input.left || (!console_type(input.channel, &byte, 1) && !input.framed))
		person(byte); /* or there is no guest to type to */
}

static void mark_byte(u8 b)
{
	input.state = IN_DATA;
	if (b >= '0' && b <= '9') {
		input.number = b - '0';
		input.state = IN_NUMBER;
	} else if (input.framed && b == 0x1d) {
		data_byte(b);
	} else {
		if (input.framed)
			person(0x1d);
		person(b);
	}
}

/* From the serial interrupt, boot CPU. */
static void input_byte(u8 b)
{
	switch (input.state) {
	case IN_DATA:
		if (b != 0x1d) {
			data_byte(b);
			break;
		}
		input.state = IN_MARK;
		input.left |= !input.framed && !input.person;
		if (!input.framed) /* at once: one key is enough */
			term_input(TERM_SERIAL, b);
		break;
	case IN_MARK:
		mark_byte(b);
		break;
	case IN_NUMBER:
		if (b >= '0' && b <= '9' && input.number < 100000) {
			input.number = input.number * 10 + b - '0';
			break;
		}
		if (b == ';') {
			input.channel = input.number;
			set_framed(true);
		}
		input.state = IN_DATA;
		break;
	}
}

size_t vm_port_typed(struct vm *vm, unsigned port, u8 *buf, size_t n)
{
	struct vm_console *c = vm->port[port];
	size_t have = __atomic_load_n(&c->in_head, __ATOMIC_ACQUIRE) - c->in_tail;

	if (!n)
		return have;
	n = MIN(n, have);
	for (size_t i = 0; i < n; i++)
		buf[i] = c->in[c->in_tail++ % CONSOLE_IN_SIZE];
	return n;
}

static void feed_ports(struct vm *vm)
{
	spin_lock(&vm->dev_lock);
	for (unsigned i = 0; vm->port_device.d && i < VM_MAX_PORTS; i++)
		if (vm->port[i] && vm_port_typed(vm, i, NULL, 0))
			vm->port_device.ops->feed(vm->port_device.d, i);
	spin_unlock(&vm->dev_lock);
}

void console_feed(struct vm *vm)
{
	struct vm_console *c = &vm->console;

	if (unlikely(vm->port_device.d))
		feed_ports(vm);

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

	fbcon_later(true);
	if (!serial_must_poll())
		return;
	timer_init(&timer, poll);
	poll(&timer);
}

void console_init(void)
{
	con.term[TERM_SERIAL].channel = CHANNEL_FIRST_GUEST;
	con.term[TERM_SERIAL].aside = true;
	log_set_sink(log_sink);
	serial_set_rx(input_byte);
}
