/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/console.c */
/*
 * The framing of docs/console.md. Guests write any bytes in any pieces, between them come log lines and
 * events: a reader that goes by the document gets each guest's bytes back, none forged, none lost.
 * What is typed reaches the guest that the document says. Each operation of the input is a byte of
 * what and how much, then its bytes.
 */
#include <stdarg.h>
#include <stdlib.h>
#include "arch/x86_64/machine.h"
#include "lib/string.h"
#include "arch/x86_64/fbcon.h"
#include "vmm/console.h"
#include "vmm/monitor/monitor.h"
#include "vmm/monitor/term.h"
#include "vmm/vm.h"

#define LIMIT 65536
#define NR  2

static u8 out[16 * LIMIT];
static size_t out_len;
static struct vcpu vcpus[NR];
static struct vm vms[NR];
static u8 rings[NR][CONSOLE_RING];
static void (*log_sink)(int level, const char *line);
static void (*rx)(u8 byte);
static struct text {
	u8 b[LIMIT];
	size_t n;
} wrote[NR], read_back[NR], typed[NR], expected[NR];
struct spinlock vm_list_lock;

static void require(bool ok)
{
	if (!ok)
		abort();
}
size_t serial_write(const void *buf, size_t n)
{
	require(out_len + n <= sizeof(out));
	if (n)
		memcpy(out + out_len, buf, n);
	out_len += n;
	return n;
}
size_t serial_space(void)
{
	return LIMIT;
}
void serial_set_rx(void (*fn)(u8 byte))
{
	rx = fn;
}
void log_set_sink(void (*fn)(int level, const char *line))
{
	log_sink = fn;
}
struct vm_console *vm_console_by_channel(struct vm *vm, u32 channel)
{
	return vm->console.channel == channel ? &vm->console : NULL;
}
struct vm *vm_by_channel(u32 channel)
{
	for (int i = 0; i < NR; i++)
		if (vms[i].console.channel == channel)
			return &vms[i];
	return NULL;
}
void vcpu_request(struct vcpu *v, u32 req)
{
	(void)req;
	console_feed(&vms[v - vcpus]);
}
void monitor_input(u8 byte)
{
	(void)byte;
}
void gdb_input(struct vm *vm, u8 byte)
{
	(void)vm;
	(void)byte;
}
struct vcpu *vcpu_current(void)
{
	return NULL;
}
void vcpu_park(struct vcpu *v, u64 ns)
{
	(void)v;
	(void)ns;
}
bool serial_must_poll(void)
{
	return false;
}
bool serial_idle(void)
{
	return true;
}
void serial_poll_rx(void)
{
}
void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	t->fn = fn;
}
void timer_set(struct timer *t, u64 tsc)
{
	(void)t;
	(void)tsc;
}
u64 ns_to_tsc(u64 ns)
{
	return ns;
}
bool sched_ready(void)
{
	return false;
}
void sched_do(struct sched_work *w)
{
	(void)w;
}
void fbcon_line(const char *s)
{
	(void)s;
}
void fbcon_write(const void *buf, size_t n)
{
	(void)buf;
	(void)n;
}
void fbcon_later(bool later)
{
	(void)later;
}
bool fbcon_draw(void)
{
	return true;
}
/* The terminal's keys are not looked at here: a person at the port is a matter of its own. */
void term_input(enum console_term t, u8 byte)
{
	(void)t;
	(void)byte;
}
static void add(struct text *t, const u8 *b, size_t n)
{
	require(t->n + n <= LIMIT);
	if (n)
		memcpy(t->b + t->n, b, n);
	t->n += n;
}
size_t uart_input(struct vm *vm, const u8 *buf, size_t n)
{
	add(&typed[vm - vms], buf, n);
	return n;
}

/* "In", by the document. */
static bool framed; /* no person is at the port */
static bool person; /* one was: the text has no marks then */

static void expect_typed(const u8 *b, size_t n)
{
	static u32 channel = 2, number;
	static int state; /* 0: data, 1: behind 0x1d, 2: in a number */

	for (size_t i = 0; i < n; i++) {
		bool digit = b[i] >= '0' && b[i] <= '9', data = false;

		if (state == 0 && b[i] == 0x1d) {
			state = 1;
		} else if (state == 0) {
			data = framed;
		} else if (state == 1 && digit) {
			number = b[i] - '0';
			state = 2;
		} else if (state == 2 && digit && number < 100000) {
			number = number * 10 + b[i] - '0';
		} else {
			data = state == 1 && b[i] == 0x1d && framed;
			if (state == 2 && b[i] == ';') {
				channel = number;
				framed = true;
			} else if (state == 1 && b[i] != 0x1d) {
				framed = false;
				person = true;
			}
			state = 0;
		}
		if (data && channel - 2 < NR)
			add(&expected[channel - 2], &b[i], 1);
	}
}

/* "Out", by the document. */
static void read_out(void)
{
	static u32 channel;

	for (size_t i = 0; i < out_len;) {
		if (out_len - i >= 3 && !memcmp(out + i, "\x1b_d", 3)) {
			u8 *p = out + i + 3, *end = p;

			while (end + 2 <= out + out_len && memcmp(end, "\x1b\\", 2))
				end++;
			require(end + 2 <= out + out_len);
			if (*p != '!' && !(*p == 'q' && end == p + 1)) {
				for (channel = 0; p < end; p++) {
					require(*p >= '0' && *p <= '9');
					channel = channel * 10 + *p - '0';
				}
				require(channel < 2 + NR && channel != 1);
			}
			i = (size_t)(end - out) + 2;
			continue;
		}
		if (channel >= 2)
			add(&read_back[channel - 2], out + i, 1);
		i++;
	}
}

static void operation(u8 op, const u8 *b, size_t n)
{
	char line[17] = "";

	switch (op & 3) {
	case 0:
	case 1:
		add(&wrote[op & 1], b, n);
		vm_console_write(&vms[op & 1], b, n);
		break;
	case 2:
		expect_typed(b, n);
		for (size_t i = 0; i < n; i++)
			rx(b[i]);
		break;
	default:
		for (size_t i = 0; i < n; i++)
			line[i] = (char)b[i];
		if (op & 4)
			console_event("%s", line);
		else
			log_sink(0, "a line");
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	if (!rx) {
		console_init();
		for (int i = 0; i < NR; i++) {
			vms[i].vcpus[0] = &vcpus[i];
			vms[i].console.channel = console_new_channel();
			vms[i].console.ring = rings[i];
		}
	}
	expect_typed((const u8 *)";\x1d" "2;", 4); /* what was begun ends; a tool opens the session */
	for (const char *p = ";\x1d" "2;"; *p; p++)
		rx((u8)*p);
	person = false;
	out_len = 0;
	for (int i = 0; i < NR; i++)
		wrote[i].n = read_back[i].n = typed[i].n = expected[i].n = 0;
	while (size && size < LIMIT / 8) {
		size_t n = MIN((size_t)(data[0] >> 4), size - 1);

		operation(data[0] & 15, data + 1, n);
		data += 1 + n;
		size -= 1 + n;
	}
	log_sink(0, "end");
	if (!person)
		read_out();
	for (int i = 0; i < NR; i++) {
		require((person || read_back[i].n == wrote[i].n) && typed[i].n == expected[i].n);
		require(person || !wrote[i].n || !memcmp(read_back[i].b, wrote[i].b, wrote[i].n));
		require(!typed[i].n || !memcmp(typed[i].b, expected[i].b, typed[i].n));
	}
	return 0;
}
