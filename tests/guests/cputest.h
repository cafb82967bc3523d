/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Named checks, for the guests that look at their CPU: each prints one line "CPUTEST: NAME ok" or FAIL, or
 * "skip (REASON)" where the emulator's bare CPU fails it, too. Which one that is stands on the
 * command line: emulator=tcg, emulator=bochs; without it nothing is forgiven.
 */
#pragma once
#include "pc.h"

static const char *emulator = "";
static unsigned failures;

struct known {
	const char *emulator, *name, *reason;
};

int memcmp(const void *a, const void *b, size_t n);
int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}
void *memcpy(void *d, const void *s, size_t n);
void *memcpy(void *d, const void *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = ((const u8 *)s)[i];
	return d;
}
void *memset(void *d, int c, size_t n);
void *memset(void *d, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = (u8)c;
	return d;
}

static inline bool same(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return *a == *b;
}

#define say puts_
#define say_hex putx

static const struct known known[]; /* ends with a name of NULL */

static bool forgiven(const char *name)
{
	for (const struct known *k = known; k->name; k++) {
		if (!same(k->emulator, emulator) || !same(k->name, name))
			continue;
		say("CPUTEST: ");
		say(name);
		say(" skip (");
		say(k->reason);
		say(")\n");
		return true;
	}
	return false;
}

static inline void skip(const char *name, const char *reason)
{
	say("CPUTEST: ");
	say(name);
	say(" skip (");
	say(reason);
	say(")\n");
}

/* a and b: what it saw, printed when that was wrong. */
static void check2(const char *name, bool ok, u64 a, u64 b)
{
	if (!ok && forgiven(name))
		return;
	say("CPUTEST: ");
	say(name);
	say(ok ? " ok" : " FAIL, saw ");
	if (!ok) {
		say_hex(a);
		say(" ");
		say_hex(b);
		failures++;
	}
	say("\n");
}
#define check(name, ok) check2(name, ok, 0, 0)

/* True if the word is on the command line; emulator= is noted. */
static bool has_word(const char *cmdline, const char *word)
{
	size_t n = 0;

	while (word[n])
		n++;
	for (const char *p = cmdline; *p; p++)
		if ((p == cmdline || p[-1] == ' ') && !memcmp(p, word, n) && (!p[n] || p[n] == ' '))
			return true;
	return false;
}
static void note_emulator(const char *cmdline)
{
	if (has_word(cmdline, "emulator=tcg"))
		emulator = "tcg";
	if (has_word(cmdline, "emulator=bochs"))
		emulator = "bochs";
}

static void finish(const char *what)
{
	say("CPUTEST: ");
	say(what);
	say(failures ? " done, failures: " : " done");
	if (failures)
		say_hex(failures);
	say("\n");
	outb(DEBUG_EXIT, failures ? 1 : 0);
	outb(0xcf9, 6); /* bare: there is no such port */
}
