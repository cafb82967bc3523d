/* SPDX-License-Identifier: BSD-2-Clause */
/* Bytes come by interrupt; keys, verbs and the replay of a console are steps of a work on the same CPU. */
#include "vmm/monitor/term.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/machine.h"
#include "lib/string.h"
#include "vmm/monitor/lineedit.h"
#include "vmm/monitor/monitor.h"
#include "vmm/vm.h"

#define INPUT	1024u
#define WAIT_NS 5000000ull /* the port sends 57 bytes in it */
#define LEAVE	0x1d	   /* Ctrl-] */

static struct term {
	enum console_term id;
	struct lineedit ed;
	u8 in[INPUT];
	u32 head, tail;
	bool queued;	/* `work`, or its wait */
	bool waiting;
	bool prompted;	/* the prompt has been shown */
	bool busy;	/* with `call` */
	bool replaying; /* the console's older output */
	u32 wanted;	/* channel of the console that a verb asked for; 0: none */
	u32 left;	/* channel of the console that the byte before left; 0: it did not */
	u64 left_at;
	struct mon_call call;
	struct mon_out out;
	struct sched_work work;
	struct timer wait;
	char text[1024]; /* of the editor, not yet written */
	u32 used;
} terms[NR_TERMS];

/* --- output --- */

static void flush(struct term *t, bool prompt)
{
	char row[LINEEDIT_SHOWN];
	size_t n = prompt ? lineedit_row(&t->ed, row) : 0;

	console_term_write(t->id, t->text, t->used, row, n);
	t->used = 0;
}

static void ed_put(struct lineedit *ed, const char *buf, size_t n)
{
	struct term *t = container_of(ed, struct term, ed);

	if (t->used + n > sizeof(t->text))
		flush(t, false);
	memcpy(t->text + t->used, buf, n);
	t->used += n;
}

static void out_write(struct mon_out *o, const char *buf, size_t n)
{
	console_term_write(container_of(o, struct term, out)->id, buf, n, "", 0);
}

static void prompt(struct term *t)
{
	t->prompted = true;
	lineedit_show(&t->ed);
	flush(t, true);
}

/* --- consoles --- */

static const char *want_console(struct mon_out *o, u32 channel)
{
	struct term *t = container_of(o, struct term, out);

	t->wanted = channel;
	return t->wanted ? NULL : "its console went to its successor";
}

static void attach(struct term *t, u32 channel, u64 pos)
{
	console_attach(t->id, channel, pos);
	t->replaying = true;
	t->left = 0;
}

static void detach(struct term *t)
{
	t->left = console_attached(t->id);
	t->left_at = console_detach(t->id);
	t->replaying = false;
	console_term_write(t->id, "\r\n", 2, "", 0);
	prompt(t);
}

static void new_line(struct term *t)
{
	lineedit_key(&t->ed, 'E' & 0x1f);
	lineedit_key(&t->ed, 'U' & 0x1f);
	prompt(t);
}

static void replay(struct term *t)
{
	struct vm *vm;

	spin_lock(&vm_list_lock);
	vm = vm_by_channel(console_attached(t->id));
	if (vm)
		t->replaying = !console_replay(t->id, vm);
	spin_unlock(&vm_list_lock);
	if (!vm && console_attached(t->id))
		detach(t); /* it ended between two steps */
	t->replaying &= vm != NULL;
}

/* --- the monitor --- */

static bool completion(const char *line, u32 word, u32 i, char *buf, size_t n)
{
	size_t len = strchr(line, ' ') ? (size_t)(strchr(line, ' ') - line) : strlen(line);

	if (!word)
		return monitor_name(VERB_VERB, i, buf, n);
	for (u32 v = 0; word == 1 && v < monitor_nr_verbs; v++)
		if (strlen(monitor_verbs[v].name) == len && !strncmp(monitor_verbs[v].name, line, len))
			return monitor_name(monitor_verbs[v].takes, i, buf, n);
	return false;
}

static void wait(struct term *t)
{
	t->waiting = true;
	timer_set(&t->wait, rdtsc() + ns_to_tsc(WAIT_NS));
}

static void verb_step(struct term *t, enum mon_status st)
{
	t->busy = st == MON_MORE || st == MON_WAIT;
	if (st == MON_WAIT)
		wait(t);
	if (t->busy)
		return;
	if (st == MON_FAILED)
		mon_line(&t->out, "error: %.32s: %s", t->call.word, t->call.why);
	if (!t->wanted) {
		prompt(t);
		return;
	}
	mon_line(&t->out, "[console of %s; Ctrl-] leads back]", t->call.name);
	attach(t, t->wanted, 0);
	t->wanted = 0;
}

static void monitor_key(struct term *t, u8 b)
{
	if (!t->prompted)
		prompt(t);
	if (lineedit_key(&t->ed, b)) {
		flush(t, false);
		verb_step(t, monitor_start(&t->call, t->ed.line, &t->out));
	} else {
		flush(t, true);
	}
}

/* One byte that was typed. */
static void take(struct term *t, u8 b)
{
	u32 channel = console_attached(t->id), left = t->left;

	t->left = 0;
	if (channel && (b == LEAVE || b == TERM_RESET)) {
		detach(t);
		t->left *= b == LEAVE;
	} else if (channel) {
		console_type(channel, &b, b != TERM_UNDO);
	} else if (left && b == TERM_UNDO) {
		console_aside(t->id, left);
	} else if (left && b == LEAVE) {
		console_term_write(t->id, "\r\n", 2, "", 0);
		attach(t, left, t->left_at);
		console_type(left, &b, 1);
	} else if (b == LEAVE || b == TERM_RESET) {
		new_line(t); /* it left no console */
	} else {
		monitor_key(t, b);
	}
}

static bool serve(struct sched_work *w)
{
	struct term *t = container_of(w, struct term, work);

	t->waiting = false;
	if (t->id == TERM_SERIAL && serial_space() < MON_STEP_BYTES)
		wait(t);
	else if (t->busy)
		verb_step(t, monitor_step(&t->call));
	else if (t->tail != t->head)
		take(t, t->in[t->tail++ % INPUT]);
	else if (t->replaying)
		replay(t);
	else
		t->queued = false;
	return t->waiting || !t->queued;
}

static void waited(struct timer *timer)
{
	sched_do(&container_of(timer, struct term, wait)->work);
}

void term_input(enum console_term id, u8 byte)
{
	struct term *t = &terms[id];

	if (t->head - t->tail == INPUT)
		return;
	t->in[t->head++ % INPUT] = byte;
	if (!t->queued)
		sched_do(&t->work);
	t->queued = true;
}

void terms_init(void)
{
	for (enum console_term id = 0; id < NR_TERMS; id++) {
		struct term *t = &terms[id];

		t->id = id;
		t->ed.prompt = CONSOLE_PROMPT;
		t->ed.cols = id == TERM_SCREEN ? MAX(fbcon_cols(), 40u) : 80;
		t->ed.put = ed_put;
		t->ed.complete = completion;
		lineedit_init(&t->ed);
		t->out.write = out_write;
		t->out.console = want_console;
		t->work.fn = serve;
		timer_init(&t->wait, waited);
	}
}
