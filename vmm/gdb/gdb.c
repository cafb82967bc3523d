/* SPDX-License-Identifier: BSD-2-Clause */
/* GDB's remote protocol, the upper half: what each packet asks for ("Debugging with GDB", E.2). Nothing of the VM is in
 * here; what a debugger sends is as little to be trusted as what a guest does. */
#include "vmm/gdb/gdb_int.h"
#include "lib/string.h"

/* --- numbers --- */

/* A hexadecimal number; false: there is none, or it has more than 64 bits. */
static bool number(const char **p, u64 *val)
{
	const char *s = *p;

	for (*val = 0; gdb_digit(*s) >= 0; s++) {
		if (*val >> 60)
			return false;
		*val = *val << 4 | (u64)gdb_digit(*s);
	}
	if (s == *p)
		return false;
	*p = s;
	return true;
}

static bool skip(const char **p, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(*p, word, n))
		return false;
	*p += n;
	return true;
}

/* "ADDR,LEN" */
static bool range(const char **p, u64 *addr, u64 *len)
{
	return number(p, addr) && skip(p, ",") && number(p, len);
}

/* n bytes of two digits each, and nothing behind them. */
static bool bytes(const char *p, u8 *buf, size_t n)
{
	for (size_t i = 0; i < n; i++, p += 2) {
		if (gdb_digit(p[0]) < 0 || gdb_digit(p[1]) < 0)
			return false;
		buf[i] = (u8)(gdb_digit(p[0]) << 4 | gdb_digit(p[1]));
	}
	return !*p;
}

/* A thread: 0 any, -1 all, else the index of a vCPU plus 1. */
static bool thread(struct gdb *g, const char **p, int *id)
{
	u64 n;

	if (skip(p, "-1")) {
		*id = -1;
		return true;
	}
	if (!number(p, &n) || n > gdb_nr_cpus(g))
		return false;
	*id = (int)n;
	return true;
}

static void ok_if(struct gdb *g, bool ok)
{
	gdb_reply(g, ok ? "OK" : "E01");
}

void gdb_tell_stop(struct gdb *g)
{
	g->owed = false;
	g->cpu = g->stop_cpu;
	gdb_begin(g);
	gdb_raw(g, 'T');
	gdb_put_hex(g, &g->signal, 1);
	gdb_put(g, "thread:");
	gdb_put_number(g, g->stop_cpu + 1);
	gdb_put(g, ";");
	gdb_put(g, g->stop_why);
	gdb_end(g);
}

void gdb_tell_end(struct gdb *g, char how)
{
	const char text[] = {how, '0', how == 'X' ? '9' : '0', 0};

	if (g->owed)
		gdb_reply(g, text);
	g->owed = false;
}

/* --- memory and registers --- */

static void read_memory(struct gdb *g, const char *p)
{
	u8 buf[GDB_PACKET / 2];
	u64 addr, len;
	size_t n;

	if (!range(&p, &addr, &len) || *p) {
		gdb_reply(g, "E01");
		return;
	}
	n = gdb_read(g, addr, buf, MIN(len, sizeof(buf)));
	if (len && !n) {
		gdb_reply(g, "E14"); /* EFAULT */
		return;
	}
	gdb_begin(g);
	gdb_put_hex(g, buf, n);
	gdb_end(g);
}

/* M ADDR,LEN:HEX, X ADDR,LEN:BINARY. A write of nothing asks whether X is known. */
static void write_memory(struct gdb *g, const char *p, bool binary)
{
	u8 buf[GDB_PACKET];
	u64 addr, len;
	bool ok = range(&p, &addr, &len) && skip(&p, ":") && len <= sizeof(buf);

	if (ok && binary) {
		ok = (u64)(g->in + g->in_len - p) == len;
		if (ok)
			memcpy(buf, p, len);
	} else if (ok) {
		ok = bytes(p, buf, len);
	}
	if (ok && gdb_write(g, addr, buf, len) != len)
		gdb_reply(g, "E14");
	else
		ok_if(g, ok);
}

static void read_registers(struct gdb *g)
{
	u8 buf[GDB_REG_MAX];

	gdb_begin(g);
	for (unsigned r = 0, n; (n = gdb_reg_size(r)); r++) {
		gdb_reg_get(g, r, buf);
		gdb_put_hex(g, buf, n);
	}
	gdb_end(g);
}

/* All at once: those that may not be set, or not to that, stay as they are, as GDB sends them unasked. */
static void write_registers(struct gdb *g, const char *p)
{
	u8 buf[GDB_REG_MAX];
	char text[2 * GDB_REG_MAX + 1];

	for (unsigned r = 0, n; (n = gdb_reg_size(r)); r++, p += 2 * n) {
		str_copy(text, p, 2 * n + 1);
		if (!bytes(text, buf, n)) {
			gdb_reply(g, "E01");
			return;
		}
		gdb_reg_set(g, r, buf);
	}
	ok_if(g, !*p);
}

static void one_register(struct gdb *g, const char *p, bool write)
{
	u8 buf[GDB_REG_MAX];
	u64 r;
	unsigned n = number(&p, &r) && r < 1000 ? gdb_reg_size((unsigned)r) : 0;

	if (write) {
		ok_if(g, n && skip(&p, "=") && bytes(p, buf, n) && gdb_reg_set(g, (unsigned)r, buf));
	} else if (!n || *p) {
		gdb_reply(g, "E01");
	} else {
		gdb_reg_get(g, (unsigned)r, buf);
		gdb_begin(g);
		gdb_put_hex(g, buf, n);
		gdb_end(g);
	}
}

/* Z TYPE,ADDR,KIND; conditions and commands were not offered. */
static void breakpoint(struct gdb *g, const char *p, bool insert)
{
	u64 type, addr, len;

	if (!number(&p, &type) || !skip(&p, ",") || !range(&p, &addr, &len) || *p)
		gdb_reply(g, "E01");
	else if (type > 4)
		gdb_reply(g, "");
	else
		ok_if(g, gdb_breakpoint(g, (unsigned)type, addr, len, insert));
}

/* --- going on --- */

static void go_on(struct gdb *g)
{
	g->held = false;
	g->owed = true;
	gdb_resume(g);
}

/* One action, for those of its thread that have none yet: the leftmost that matches counts. */
static bool action(struct gdb *g, const char **p, bool *given)
{
	struct gdb_action a = {0};
	u64 signal;
	int id = -1;
	char c = *(*p)++;

	a.what = c == 'c' || c == 'C' ? GDB_CONTINUE : GDB_STEP;
	if (!c || !strchr("cCsSr", c) || ((c == 'C' || c == 'S') && !number(p, &signal)))
		return false;
	if (c == 'r' && !range(p, &a.from, &a.to))
		return false;
	if (skip(p, ":") && !thread(g, p, &id))
		return false;
	for (u32 i = 0; i < gdb_nr_cpus(g); i++)
		if (!given[i] && (id == -1 || id == (int)i + 1 || (!id && i == g->cpu))) {
			g->act[i] = a;
			given[i] = true;
		}
	return true;
}

static void v_cont(struct gdb *g, const char *p)
{
	bool given[VM_MAX_VCPUS] = {false}, any = false;

	memset(g->act, 0, sizeof(g->act));
	while (skip(&p, ";"))
		if (!action(g, &p, given))
			break;
	for (u32 i = 0; i < gdb_nr_cpus(g); i++)
		any |= given[i];
	if (*p || !any)
		gdb_reply(g, "E01");
	else
		go_on(g);
}

/* c and s, for those that know no vCont: an address to go on at is not taken. */
static void continue_all(struct gdb *g, const char *p, bool step)
{
	if (*p) {
		gdb_reply(g, "E01");
		return;
	}
	memset(g->act, 0, sizeof(g->act));
	for (u32 i = 0; i < gdb_nr_cpus(g); i++)
		g->act[i].what = step && i == g->cpu ? GDB_STEP : GDB_CONTINUE;
	go_on(g);
}

/* --- questions --- */

static void all_threads(struct gdb *g)
{
	gdb_begin(g);
	for (u32 i = 0; i < gdb_nr_cpus(g); i++) {
		gdb_put(g, i ? "," : "m");
		gdb_put_number(g, i + 1);
	}
	gdb_end(g);
}

static void thread_info(struct gdb *g, const char *p)
{
	int id;
	char text[48];

	if (!thread(g, &p, &id) || id < 1) {
		gdb_reply(g, "E01");
		return;
	}
	snprintf(text, sizeof(text), "vCPU %d, %s", id - 1, gdb_cpu_state(g, (u32)id - 1));
	gdb_begin(g);
	gdb_put_hex(g, text, strlen(text));
	gdb_end(g);
}

static void features(struct gdb *g, const char *p)
{
	char text[GDB_PACKET / 2];
	u64 off, len;
	size_t n;

	if (!skip(&p, "target.xml:") || !range(&p, &off, &len) || *p || off > 1u << 20) {
		gdb_reply(g, "E00");
		return;
	}
	len = MIN(len, sizeof(text));
	n = gdb_description(text, off, len);
	gdb_begin(g);
	gdb_raw(g, n == len ? 'm' : 'l');
	for (size_t i = 0; i < n; i++) {
		if (strchr("#$}*", text[i])) {
			gdb_raw(g, '}');
			text[i] ^= 0x20;
		}
		gdb_raw(g, text[i]);
	}
	gdb_end(g);
}

static void monitor(struct gdb *g, const char *p)
{
	char line[128], answer[GDB_PACKET / 2];
	size_t n = strlen(p) / 2;

	if (n >= sizeof(line) || !bytes(p, (u8 *)line, n)) {
		gdb_reply(g, "E01");
		return;
	}
	line[n] = 0;
	answer[0] = 0;
	gdb_monitor(g, line, answer, sizeof(answer));
	gdb_begin(g);
	if (answer[0])
		gdb_put_hex(g, answer, strlen(answer));
	else
		gdb_put(g, "OK");
	gdb_end(g);
}

static void supported(struct gdb *g)
{
	char text[160];

	snprintf(text, sizeof(text), "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+;"
				     "swbreak+;hwbreak+;qqemu.PhyMemMode+", GDB_PACKET);
	gdb_reply(g, text);
}

static void phys_mode(struct gdb *g, const char *p)
{
	bool on = *p == '1';

	if ((*p != '0' && *p != '1') || p[1]) {
		gdb_reply(g, "E01");
		return;
	}
	g->phys = on;
	gdb_reply(g, "OK");
}

static void question(struct gdb *g, const char *p)
{
	if (skip(&p, "qSupported"))
		supported(g);
	else if (skip(&p, "qXfer:features:read:"))
		features(g, p);
	else if (skip(&p, "qfThreadInfo"))
		all_threads(g);
	else if (skip(&p, "qsThreadInfo"))
		gdb_reply(g, "l");
	else if (skip(&p, "qThreadExtraInfo,"))
		thread_info(g, p);
	else if (skip(&p, "qRcmd,"))
		monitor(g, p);
	else if (skip(&p, "qAttached"))
		gdb_reply(g, "1");
	else if (skip(&p, "qqemu.PhyMemMode"))
		gdb_reply(g, g->phys ? "1" : "0");
	else if (!strcmp(p, "qC")) {
		gdb_begin(g);
		gdb_put(g, "QC");
		gdb_put_number(g, g->cpu + 1);
		gdb_end(g);
	} else {
		gdb_reply(g, "");
	}
}

/* Hg, Hc, T: a thread is chosen, or asked after. */
static void choose(struct gdb *g, const char *p, bool set)
{
	int id;
	bool ok = thread(g, &p, &id) && !*p;

	if (ok && set && id > 0)
		g->cpu = (u32)id - 1;
	ok_if(g, ok && (set || id > 0));
}

static void v_packet(struct gdb *g, const char *p)
{
	if (!strcmp(p, "vCont?"))
		gdb_reply(g, "vCont;c;C;s;S;r");
	else if (skip(&p, "vCont"))
		v_cont(g, p);
	else if (skip(&p, "vKill;")) {
		gdb_reply(g, "OK");
		gdb_kill(g);
	} else {
		gdb_reply(g, "");
	}
}

static void set_packet(struct gdb *g, const char *p)
{
	if (skip(&p, "Qqemu.PhyMemMode:")) {
		phys_mode(g, p);
	} else if (skip(&p, "QStartNoAckMode")) {
		gdb_reply(g, "OK");
		g->no_ack = true;
	} else {
		gdb_reply(g, "");
	}
}

void gdb_leave(struct gdb *g)
{
	gdb_detach(g);
	g->held = g->owed = g->phys = g->no_ack = false;
}

void gdb_packet(struct gdb *g)
{
	const char *p = g->in;

	switch (*p) {
	case '?':
		gdb_tell_stop(g);
		break;
	case 'g':
		read_registers(g);
		break;
	case 'G':
		write_registers(g, p + 1);
		break;
	case 'p':
	case 'P':
		one_register(g, p + 1, *p == 'P');
		break;
	case 'm':
		read_memory(g, p + 1);
		break;
	case 'M':
	case 'X':
		write_memory(g, p + 1, *p == 'X');
		break;
	case 'Z':
	case 'z':
		breakpoint(g, p + 1, *p == 'Z');
		break;
	case 'c':
	case 's':
		continue_all(g, p + 1, *p == 's');
		break;
	case 'H':
		choose(g, p[1] ? p + 2 : p + 1, p[1] == 'g');
		break;
	case 'T':
		choose(g, p + 1, false);
		break;
	case 'v':
		v_packet(g, p);
		break;
	case 'q':
		question(g, p);
		break;
	case 'Q':
		set_packet(g, p);
		break;
	case 'D':
		gdb_reply(g, "OK");
		gdb_leave(g);
		break;
	case 'k':
		gdb_kill(g);
		break;
	default:
		gdb_reply(g, "");
	}
}
