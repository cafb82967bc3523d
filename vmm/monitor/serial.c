/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor on channel 1: bytes come by interrupt, lines are served by a work on the same CPU. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "vmm/console.h"
#include "vmm/monitor/monitor.h"
#include "vmm/sched.h"

#define RING	1024
#define WAIT_NS 5000000ull /* the port sends 57 bytes in it */

static struct {
	u8 in[RING];
	u32 head, tail, lines;
	bool busy; /* with `call` */
	struct sched_work work;
	struct timer wait;
	struct mon_call call;
	struct mon_out out;
} mon;

static void write_channel(struct mon_out *o, const char *buf, size_t n)
{
	(void)o;
	console_write(CHANNEL_MONITOR, buf, n);
}

static size_t room(struct mon_out *o)
{
	(void)o;
	return serial_space();
}

static enum mon_status start_next(void)
{
	char line[MON_LINE_MAX];
	u32 n = 0;

	while (mon.tail != mon.head) {
		u8 b = mon.in[mon.tail++ % RING];

		if (b == '\n')
			break;
		if (n < sizeof(line) - 1)
			line[n++] = (char)b;
	}
	line[n] = 0;
	return monitor_start(&mon.call, line, &mon.out);
}

static void verdict(enum mon_status st)
{
	if (!mon.call.word)
		return;
	if (st == MON_DONE)
		mon_line(&mon.out, "ok");
	else
		mon_line(&mon.out, "error: %.32s: %s", mon.call.word, mon.call.why);
}

/* One step of one line. */
static bool serve(struct sched_work *w)
{
	enum mon_status st = mon.busy ? monitor_step(&mon.call) : start_next();

	(void)w;
	mon.busy = st == MON_MORE || st == MON_WAIT;
	if (st == MON_WAIT) {
		timer_set(&mon.wait, rdtsc() + ns_to_tsc(WAIT_NS));
		return true;
	}
	if (mon.busy)
		return false;
	verdict(st);
	return !--mon.lines;
}

static void waited(struct timer *t)
{
	(void)t;
	sched_do(&mon.work);
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
	mon.out.write = write_channel;
	mon.out.room = room;
	timer_init(&mon.wait, waited);
}
