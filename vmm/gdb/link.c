/* SPDX-License-Identifier: BSD-2-Clause */
/* GDB's remote protocol, the lower half: bytes to packets and back ("Debugging with GDB", E.1). */
#include "vmm/gdb/gdb_int.h"
#include "lib/string.h"

enum { RX_IDLE, RX_DATA, RX_ESCAPE, RX_SUM, RX_SUM2 };

int gdb_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* --- out --- */

void gdb_begin(struct gdb *g)
{
	g->out[0] = '$';
	g->out_len = 1;
}

/* What does not fit is left out; what is asked for is bounded so that it does. */
void gdb_raw(struct gdb *g, char c)
{
	if (g->out_len < GDB_PACKET + 1)
		g->out[g->out_len++] = c;
}

void gdb_put(struct gdb *g, const char *s)
{
	while (*s)
		gdb_raw(g, *s++);
}

void gdb_put_hex(struct gdb *g, const void *buf, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		u8 b = ((const u8 *)buf)[i];

		gdb_raw(g, "0123456789abcdef"[b >> 4]);
		gdb_raw(g, "0123456789abcdef"[b & 15]);
	}
}

void gdb_put_number(struct gdb *g, u32 n)
{
	char text[12];

	snprintf(text, sizeof(text), "%x", n);
	gdb_put(g, text);
}

void gdb_end(struct gdb *g)
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

void gdb_reply(struct gdb *g, const char *text)
{
	gdb_begin(g);
	gdb_put(g, text);
	gdb_end(g);
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
		gdb_reply(g, "E01");
	else
		gdb_packet(g);
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
		gdb_leave(g);
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
	int d = gdb_digit((char)b);

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
