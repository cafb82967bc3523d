/* SPDX-License-Identifier: BSD-2-Clause */
/* GDB's remote protocol: packets, and what each asks for. Nothing of the VM is in here; what a debugger sends is as
 * little to be trusted as what a guest does. */
#include "vmm/gdb.h"
#include "lib/string.h"

enum { RX_IDLE, RX_DATA, RX_ESCAPE, RX_SUM, RX_SUM2 };

/* --- numbers --- */

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A hexadecimal number; false: there is none, or it has more than 64 bits. */
static bool number(const char **p, u64 *val)
{
	const char *s = *p;

	for (*val = 0; digit(*s) >= 0; s++) {
		if (*val >> 60)
			return false;
		*val = *val << 4 | (u64)digit(*s);
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
		if (digit(p[0]) < 0 || digit(p[1]) < 0)
			return false;
		buf[i] = (u8)(digit(p[0]) << 4 | digit(p[1]));
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

/* --- out --- */

static void begin(struct gdb *g)
{
	g->out[0] = '$';
	g->out_len = 1;
}

/* What does not fit is left out; what is asked for is bounded so that it does. */
static void raw(struct gdb *g, char c)
{
	if (g->out_len < GDB_PACKET + 1)
		g->out[g->out_len++] = c;
}

static void put(struct gdb *g, const char *s)
{
	while (*s)
		raw(g, *s++);
}

static void put_hex(struct gdb *g, const void *buf, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		u8 b = ((const u8 *)buf)[i];

		raw(g, "0123456789abcdef"[b >> 4]);
		raw(g, "0123456789abcdef"[b & 15]);
	}
}

static void put_number(struct gdb *g, u32 n)
{
	char text[12];

	snprintf(text, sizeof(text), "%x", n);
	put(g, text);
}

static void end(struct gdb *g)
{
	u8 sum = 0;

	for (u32 i = 1; i < g->out_len; i++)
		sum += (u8)g->out[i];
	g->out[g->out_len++] = '#';
	for (int shift = 4; shift >= 0; shift -= 4)
		g->out[g->out_len++] = "0123456789abcdef"[sum >> shift & 15];
	gdb_send(g, g->out, g->out_len);
}
static_assert(sizeof(((struct gdb *)0)->out) >= GDB_PACKET + 1 + 3, "$ and #xx");

static void reply(struct gdb *g, const char *text)
{
	begin(g);
	put(g, text);
	end(g);
}

static void ok_if(struct gdb *g, bool ok)
{
	reply(g, ok ? "OK" : "E01");
}

void gdb_tell_stop(struct gdb *g)
{
	g->owed = false;
	g->cpu = g->stop_cpu;
	begin(g);
	raw(g, 'T');
	put_hex(g, &g->signal, 1);
	put(g, "thread:");
	put_number(g, g->stop_cpu + 1);
	put(g, ";");
	put(g, g->stop_why);
	end(g);
}

void gdb_tell_end(struct gdb *g, char how)
{
	const char text[] = {how, '0', how == 'X' ? '9' : '0', 0};

	if (g->owed)
		reply(g, text);
	g->owed = false;
}

/* --- memory and registers --- */

static void read_memory(struct gdb *g, const char *p)
{
	u8 buf[GDB_PACKET / 2];
	u64 addr, len;
	size_t n;

	if (!range(&p, &addr, &len) || *p) {
		reply(g, "E01");
		return;
	}
	n = gdb_read(g, addr, buf, MIN(len, sizeof(buf)));
	if (len && !n) {
		reply(g, "E14"); /* EFAULT */
		return;
	}
	begin(g);
	put_hex(g, buf, n);
	end(g);
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
		reply(g, "E14");
	else
		ok_if(g, ok);
}

static void read_registers(struct gdb *g)
{
	u8 buf[GDB_REG_MAX];

	begin(g);
	for (unsigned r = 0, n; (n = gdb_reg_size(r)); r++) {
		gdb_reg_get(g, r, buf);
		put_hex(g, buf, n);
	}
	end(g);
}

/* All at once: those that may not be set, or not to that, stay as they are, as GDB sends them unasked. */
static void write_registers(struct gdb *g, const char *p)
{
	u8 buf[GDB_REG_MAX];
	char text[2 * GDB_REG_MAX + 1];

	for (unsigned r = 0, n; (n = gdb_reg_size(r)); r++, p += 2 * n) {
		str_copy(text, p, 2 * n + 1);
		if (!bytes(text, buf, n)) {
			reply(g, "E01");
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
		reply(g, "E01");
	} else {
		gdb_reg_get(g, (unsigned)r, buf);
		begin(g);
		put_hex(g, buf, n);
		end(g);
	}
}

/* Z TYPE,ADDR,KIND; conditions and commands were not offered. */
static void breakpoint(struct gdb *g, const char *p, bool insert)
{
	u64 type, addr, len;

	if (!number(&p, &type) || !skip(&p, ",") || !range(&p, &addr, &len) || *p)
		reply(g, "E01");
	else if (type > 4)
		reply(g, "");
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
		reply(g, "E01");
	else
		go_on(g);
}

/* c and s, for those that know no vCont: an address to go on at is not taken. */
static void continue_all(struct gdb *g, const char *p, bool step)
{
	if (*p) {
		reply(g, "E01");
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
	begin(g);
	for (u32 i = 0; i < gdb_nr_cpus(g); i++) {
		put(g, i ? "," : "m");
		put_number(g, i + 1);
	}
	end(g);
}

static void thread_info(struct gdb *g, const char *p)
{
	int id;
	char text[48];

	if (!thread(g, &p, &id) || id < 1) {
		reply(g, "E01");
		return;
	}
	snprintf(text, sizeof(text), "vCPU %d, %s", id - 1, gdb_cpu_state(g, (u32)id - 1));
	begin(g);
	put_hex(g, text, strlen(text));
	end(g);
}

static void features(struct gdb *g, const char *p)
{
	char text[GDB_PACKET / 2];
	u64 off, len;
	size_t n;

	if (!skip(&p, "target.xml:") || !range(&p, &off, &len) || *p || off > 1u << 20) {
		reply(g, "E00");
		return;
	}
	len = MIN(len, sizeof(text));
	n = gdb_description(text, off, len);
	begin(g);
	raw(g, n == len ? 'm' : 'l');
	for (size_t i = 0; i < n; i++) {
		if (strchr("#$}*", text[i])) {
			raw(g, '}');
			text[i] ^= 0x20;
		}
		raw(g, text[i]);
	}
	end(g);
}

static void monitor(struct gdb *g, const char *p)
{
	char line[128], answer[GDB_PACKET / 2];
	size_t n = strlen(p) / 2;

	if (n >= sizeof(line) || !bytes(p, (u8 *)line, n)) {
		reply(g, "E01");
		return;
	}
	line[n] = 0;
	answer[0] = 0;
	gdb_monitor(g, line, answer, sizeof(answer));
	begin(g);
	if (answer[0])
		put_hex(g, answer, strlen(answer));
	else
		put(g, "OK");
	end(g);
}

static void supported(struct gdb *g)
{
	char text[160];

	snprintf(text, sizeof(text), "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+;"
				     "swbreak+;hwbreak+;qqemu.PhyMemMode+", GDB_PACKET);
	reply(g, text);
}

static void phys_mode(struct gdb *g, const char *p)
{
	bool on = *p == '1';

	if ((*p != '0' && *p != '1') || p[1]) {
		reply(g, "E01");
		return;
	}
	g->phys = on;
	reply(g, "OK");
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
		reply(g, "l");
	else if (skip(&p, "qThreadExtraInfo,"))
		thread_info(g, p);
	else if (skip(&p, "qRcmd,"))
		monitor(g, p);
	else if (skip(&p, "qAttached"))
		reply(g, "1");
	else if (skip(&p, "qqemu.PhyMemMode"))
		reply(g, g->phys ? "1" : "0");
	else if (!strcmp(p, "qC")) {
		begin(g);
		put(g, "QC");
		put_number(g, g->cpu + 1);
		end(g);
	} else {
		reply(g, "");
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
		reply(g, "vCont;c;C;s;S;r");
	else if (skip(&p, "vCont"))
		v_cont(g, p);
	else if (skip(&p, "vKill;")) {
		reply(g, "OK");
		gdb_kill(g);
	} else {
		reply(g, "");
	}
}

static void set_packet(struct gdb *g, const char *p)
{
	if (skip(&p, "Qqemu.PhyMemMode:")) {
		phys_mode(g, p);
	} else if (skip(&p, "QStartNoAckMode")) {
		reply(g, "OK");
		g->no_ack = true;
	} else {
		reply(g, "");
	}
}

static void leave(struct gdb *g)
{
	gdb_detach(g);
	g->held = g->owed = g->phys = g->no_ack = false;
}

static void packet(struct gdb *g)
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
		reply(g, "OK");
		leave(g);
		break;
	case 'k':
		gdb_kill(g);
		break;
	default:
		reply(g, "");
	}
}

/* --- in --- */

static void whole_packet(struct gdb *g, bool sum_right)
{
	g->rx = RX_IDLE;
	g->in[g->in_len] = 0;
	/* Who begins a session does not know of the one before it, which may have ended without a word. */
	if (!strncmp(g->in, "qSupported", 10))
		g->no_ack = g->phys = false;
	if (!g->no_ack)
		gdb_send(g, sum_right ? "+" : "-", 1);
	if (!sum_right)
		return;
	gdb_hold(g);
	g->owed = false;
	if (g->too_long)
		reply(g, "E01");
	else
		packet(g);
}

static void add(struct gdb *g, char c)
{
	if (g->in_len < GDB_PACKET)
		g->in[g->in_len++] = c;
	else
		g->too_long = true;
}

static void between_packets(struct gdb *g, u8 b)
{
	if (b == '-' && !g->no_ack && g->out_len) {
		gdb_send(g, g->out, g->out_len);
	} else if (b == GDB_GONE) {
		leave(g);
	} else if (b == GDB_BREAK && g->owed) {
		gdb_hold(g);
		gdb_tell_stop(g);
	} else if (b == '$') {
		g->rx = RX_DATA;
		g->in_len = g->sum = 0;
		g->too_long = false;
	}
}

bool gdb_byte(struct gdb *g, u8 b)
{
	int d = digit((char)b);

	switch (g->rx) {
	case RX_IDLE:
		between_packets(g, b);
		return false;
	case RX_DATA:
		if (b == '#' || b == '}')
			g->rx = b == '#' ? RX_SUM : RX_ESCAPE;
		else
			add(g, (char)b);
		g->sum += b == '#' ? 0 : b;
		return false;
	case RX_ESCAPE:
		add(g, (char)(b ^ 0x20));
		g->sum += b;
		g->rx = RX_DATA;
		return false;
	case RX_SUM:
		g->got = (u8)d;
		g->rx = RX_SUM2;
		return false;
	default:
		whole_packet(g, d >= 0 && g->got < 16 && (g->got << 4 | d) == g->sum);
		return true;
	}
}
