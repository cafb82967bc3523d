/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/gdb/gdb.c vmm/gdb/link.c lib/string.c */
/* GDB's remote protocol over a VM that is none: packets whole and broken, and what each asks for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "gdb_fake.h"

static void feed(const char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		gdb_byte(&g, (u8)b[i]);
}

static void packet(const char *body, size_t n)
{
	char sum[4];
	u8 s = 0;

	for (size_t i = 0; i < n; i++)
		s += (u8)body[i];
	snprintf(sum, sizeof(sum), "#%02x", s);
	sent_n = 0;
	feed("$", 1);
	feed(body, n);
	feed(sum, 3);
	sent[sent_n] = 0;
}

/* The answer to a packet, without its frame, which is checked. */
static const char *ask_n(const char *body, size_t n)
{
	static char got[2 * GDB_PACKET];
	const char *p = sent;
	size_t len = 0;
	u8 s = 0;
	char sum[3];

	packet(body, n);
	if (!g.no_ack || !strncmp(body, "QStart", 6))
		assert_int_equal(*p++, '+');
	got[0] = 0;
	if (!*p)
		return got;
	assert_int_equal(*p++, '$');
	for (; *p != '#'; p++) {
		assert_true(*p && *p != '$' && len < sizeof(got) - 1);
		s += (u8)*p;
		got[len++] = *p;
	}
	got[len] = 0;
	snprintf(sum, sizeof(sum), "%02x", s);
	assert_string_equal(p + 1, sum);
	assert_true(len <= GDB_PACKET);
	return got;
}
static const char *ask(const char *body)
{
	return ask_n(body, strlen(body));
}

static int setup(void **state)
{
	(void)state;
	memset(&g, 0, sizeof(g));
	g.signal = 5;
	memset(memory, 0, sizeof(memory));
	memset(registers, 0, sizeof(registers));
	memset(breakpoints, 0, sizeof(breakpoints));
	resumed = detached = killed = 0;
	sent_n = 0;
	return 0;
}

static void frames(void **state)
{
	(void)state;
	feed("+++abc$qC#b4", 12);
	assert_memory_equal(sent, "+$QC1#c5", sent_n);
	sent_n = 0;
	feed("-", 1); /* once more */
	assert_memory_equal(sent, "$QC1#c5", sent_n);
	sent_n = 0;
	feed("$qC#b5", 6); /* a wrong sum */
	assert_int_equal(sent_n, 1);
	assert_int_equal(sent[0], '-');
	sent_n = 0;
	feed("$qC#zz$qC#B4", 12); /* no sum; capitals will do */
	assert_memory_equal(sent, "-+$QC1#c5", sent_n);
	assert_string_equal(ask("QStartNoAckMode"), "OK");
	assert_string_equal(ask("qC"), "QC1");
	sent_n = 0;
	feed("-$qC#b5", 7); /* nobody is told now */
	assert_int_equal(sent_n, 0);
	/* The next session begins without having ended this one. */
	assert_memory_equal(ask("qSupported:x+"), "PacketSize=800;", 15);
	assert_false(g.no_ack);
}

static void too_long(void **state)
{
	static char body[GDB_PACKET + 2];

	(void)state;
	memset(body, '1', sizeof(body));
	body[0] = 'm';
	assert_string_equal(ask_n(body, GDB_PACKET + 1), "E01");
	assert_string_equal(ask_n(body, GDB_PACKET), "E01"); /* a number of too many digits */
	assert_string_equal(ask("qC"), "QC1");
}

static void memory_access(void **state)
{
	static char big[3 * GDB_PACKET];

	(void)state;
	assert_string_equal(ask("M1000,4:01aBfF7f"), "OK");
	assert_string_equal(ask("m1000,6"), "01abff7f0000");
	assert_string_equal(ask("m0,1"), "E14");
	assert_string_equal(ask("m1000,0"), "");
	assert_string_equal(ask("m2ffe,10"), "0000"); /* as much as there is */
	assert_string_equal(ask("M2ffe,4:01020304"), "E14");
	assert_string_equal(ask_n("X1000,4:}\x03}\x5d\x00$}\n", 12), "E01"); /* five bytes, it says four */
	assert_string_equal(ask_n("X1000,4:}\x03}\x5d\x00\x04", 14), "OK");
	assert_memory_equal(memory, "#}\0\4", 4);
	assert_string_equal(ask("X1000,0:"), "OK");
	for (const char *const *p = (const char *const[]){"m", "m1000", "m1000,", "m,1", "m1000,1x", "M1000,1", "M1000,1:", "M1000,1:1",
							  "M1000,2:11", "M1000,1:zz", "M1000,1:1111", "M1000,ffffffff:11",
							  "m11111111111111111,1", NULL}; *p; p++)
		assert_string_equal(ask(*p), "E01");
	assert_int_equal(strlen(ask("m1000,ffffffffffffffff")), GDB_PACKET); /* and no more */
	memset(big, '1', sizeof(big));
	memcpy(big, "M1000,3f0:", 10);
	assert_string_equal(ask_n(big, 10 + 2 * 0x3f0), "OK");
	assert_int_equal(memory[0x3ef], 0x11);
}

static void register_access(void **state)
{
	(void)state;
	assert_string_equal(ask("P1=0807060504030201"), "OK");
	assert_string_equal(ask("p1"), "0807060504030201");
	assert_string_equal(ask("P2=0807060504030201"), "E01"); /* not settable */
	assert_string_equal(ask("Hg2"), "OK");
	assert_string_equal(ask("p1"), "0000000000000000"); /* another's */
	assert_string_equal(ask("G1111111111111111222222222222222233333333333333334444444"), "E01");
	assert_string_equal(ask("G11111111111111112222222222222222333333333333333344444444"), "OK");
	assert_string_equal(ask("g"), "11111111111111112222222222222222000000000000000044444444");
	assert_string_equal(ask("G111111111111111122222222222222223333333333333333444444445"), "E01");
	for (const char *const *p = (const char *const[]){"p", "p4", "p1x", "pffffffffffffffffff", "P1", "P1=", "P1=00", "P9=00", "G", "Gzz",
							  "P1=08070605040302zz", NULL}; *p; p++)
		assert_string_equal(ask(*p), "E01");
}

static void threads(void **state)
{
	(void)state;
	assert_string_equal(ask("qfThreadInfo"), "m1,2,3");
	assert_string_equal(ask("qsThreadInfo"), "l");
	assert_string_equal(ask("qThreadExtraInfo,2"), "7643505520312c2068616c746564"); /* vCPU 1, halted */
	assert_string_equal(ask("qThreadExtraInfo,4"), "E01");
	assert_string_equal(ask("T3"), "OK");
	assert_string_equal(ask("T4"), "E01");
	assert_string_equal(ask("Hg3"), "OK");
	assert_string_equal(ask("qC"), "QC3");
	assert_string_equal(ask("Hc1"), "OK"); /* vCont says it better */
	assert_string_equal(ask("qC"), "QC3");
	assert_string_equal(ask("Hg-1"), "OK");
	assert_string_equal(ask("Hg0"), "OK");
	assert_string_equal(ask("qC"), "QC3");
	assert_string_equal(ask("H"), "E01");
	assert_string_equal(ask("Hg4"), "E01");
	assert_string_equal(ask("?"), "T05thread:1;");
}

/* What each vCPU does: c, s, r, or - for staying. */
static const char *actions(const char *body)
{
	static char text[NR_CPUS + 1];
	u32 before = resumed;

	g.held = true;
	if (*ask(body) || resumed != before + 1 || g.held || !g.owed)
		return "refused";
	for (u32 i = 0; i < NR_CPUS; i++)
		text[i] = g.act[i].what == GDB_HOLD ? '-' : g.act[i].what == GDB_CONTINUE ? 'c' : g.act[i].to ? 'r' : 's';
	return text;
}

static void going_on(void **state)
{
	(void)state;
	assert_string_equal(ask("vCont?"), "vCont;c;C;s;S;r");
	assert_string_equal(actions("vCont;c"), "ccc");
	assert_string_equal(actions("vCont;s:2;c"), "csc");
	assert_string_equal(actions("vCont;s:2"), "-s-");
	assert_string_equal(actions("vCont;C05:1;S0b:-1"), "css");
	assert_string_equal(actions("vCont;r1000,1010:3;c:1"), "c-r");
	assert_int_equal(g.act[2].from, 0x1000);
	assert_int_equal(g.act[2].to, 0x1010);
	assert_string_equal(ask("Hg2"), "OK");
	assert_string_equal(actions("vCont;s:0"), "-s-");
	assert_string_equal(actions("c"), "ccc");
	assert_string_equal(actions("s"), "csc");
	for (const char *const *p = (const char *const[]){"vCont", "vCont;", "vCont;x", "vCont;c:4", "vCont;C", "vCont;r1000", "vCont;r1000,",
							  "vCont;c;", "vCont;c:", "vCont;cc", "c1000", "vCont;s:-2", NULL}; *p; p++)
		assert_string_equal(actions(*p), "refused");
}

static void stops(void **state)
{
	(void)state;
	actions("vCont;c");
	g.stop_cpu = 1;
	str_copy(g.stop_why, "watch:1234;", sizeof(g.stop_why));
	sent_n = 0;
	gdb_tell_stop(&g);
	assert_memory_equal(sent, "$T05thread:2;watch:1234;#", 25);
	assert_false(g.owed);
	assert_string_equal(ask("qC"), "QC2"); /* the one that stopped */
	/* Ctrl-C, twice: one answer. */
	actions("vCont;c");
	g.signal = 2;
	sent_n = 0;
	feed("\x03\x03", 2);
	assert_memory_equal(sent, "$T02thread:2;watch:1234;#", 25);
	assert_int_equal(sent_n, 27);
	assert_true(g.held);
	/* A packet while it runs: somebody new, who waits for nothing. */
	actions("vCont;c");
	assert_string_equal(ask("qC"), "QC2");
	assert_true(g.held && !g.owed);
	actions("vCont;c");
	sent_n = 0;
	gdb_tell_end(&g, 'X');
	gdb_tell_end(&g, 'X');
	assert_memory_equal(sent, "$X09#c1", sent_n);
}

static void breaks(void **state)
{
	(void)state;
	assert_string_equal(ask("Z0,1000,1"), "OK");
	assert_string_equal(ask("Z4,1000,8"), "OK");
	assert_string_equal(ask("z4,1000,8"), "OK");
	assert_int_equal(breakpoints[0], 1);
	assert_int_equal(breakpoints[4], 0);
	assert_string_equal(ask("Z1,bad,1"), "E01");
	assert_string_equal(ask("Z5,1000,1"), "");
	for (const char *const *p = (const char *const[]){"Z", "Z0", "Z0,1000", "Z0,1000,1;X1,2", "z0,,1", NULL}; *p; p++)
		assert_string_equal(ask(*p), "E01");
}

static void ends(void **state)
{
	(void)state;
	g.held = true;
	assert_string_equal(ask("D"), "OK");
	assert_int_equal(detached, 1);
	assert_false(g.held);
	assert_string_equal(ask("QStartNoAckMode"), "OK");
	feed("$M10", 4);
	feed("##00\x04", 5); /* it went in the middle of a packet */
	assert_int_equal(detached, 2);
	assert_false(g.held || g.no_ack);
	feed("$X1000,4:}", 10);
	feed("##00\x04", 5);
	feed("$X1000,4:#", 10);
	feed("##00\x04", 5);
	feed("$X1000,4:#0", 11);
	feed("##00\x04", 5);
	assert_int_equal(detached, 5);
	packet("k", 1);
	assert_int_equal(killed, 1);
	assert_string_equal(ask("vKill;1"), "OK");
	assert_int_equal(killed, 2);
}

static void the_rest(void **state)
{
	(void)state;
	assert_string_equal(ask("qXfer:features:read:target.xml:0,800"), "l<a>}\x03}\x04}]}\n</a>");
	assert_string_equal(ask("qXfer:features:read:target.xml:2,2"), "m>}\x03");
	assert_string_equal(ask("qXfer:features:read:target.xml:100,2"), "l");
	assert_string_equal(ask("qXfer:features:read:other.xml:0,2"), "E00");
	assert_string_equal(ask("qXfer:features:read:target.xml:ffffffffffffffff,2"), "E00");
	assert_string_equal(ask("qRcmd,74616c6b"), "68656c6c6f0a");
	assert_string_equal(ask("qRcmd,7265736574"), "OK");
	assert_string_equal(monitored, "reset");
	assert_string_equal(ask("qRcmd,7"), "E01");
	assert_string_equal(ask("qAttached"), "1");
	assert_string_equal(ask("qqemu.PhyMemMode"), "0");
	assert_string_equal(ask("Qqemu.PhyMemMode:1"), "OK");
	assert_true(g.phys);
	assert_string_equal(ask("qqemu.PhyMemMode"), "1");
	assert_string_equal(ask("Qqemu.PhyMemMode:2"), "E01");
	for (const char *const *p = (const char *const[]){"", "!", "vMustReplyEmpty", "qSymbol::", "qTStatus", "QPassSignals:1", "R00", "vFile:x",
							  NULL}; *p; p++)
		assert_string_equal(ask(*p), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(frames, setup),	   cmocka_unit_test_setup(too_long, setup),
		cmocka_unit_test_setup(memory_access, setup), cmocka_unit_test_setup(register_access, setup),
		cmocka_unit_test_setup(threads, setup),	   cmocka_unit_test_setup(going_on, setup),
		cmocka_unit_test_setup(stops, setup),	   cmocka_unit_test_setup(breaks, setup),
		cmocka_unit_test_setup(ends, setup),	   cmocka_unit_test_setup(the_rest, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
