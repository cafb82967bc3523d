/* SPDX-License-Identifier: BSD-2-Clause */
/* What the CPU test guests of both widths share: named checks, the machine's quiet state, the end. */
#include "cputest.h"

const char *emulator = "";
unsigned failures;

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}
void *memcpy(void *d, const void *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = ((const u8 *)s)[i];
	return d;
}
void *memset(void *d, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = (u8)c;
	return d;
}

bool same(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return *a == *b;
}

void skip(const char *name, const char *reason)
{
	say("CPUTEST: ");
	say(name);
	say(" skip (");
	say(reason);
	say(")\n");
}

bool forgiven(const char *name)
{
	for (const struct known *k = known; k->name; k++) {
		if (!same(k->emulator, emulator) || !same(k->name, name))
			continue;
		skip(name, k->reason);
		return true;
	}
	return false;
}

void check2(const char *name, bool ok, u64 a, u64 b)
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

bool has_word(const char *cmdline, const char *word)
{
	size_t n = 0;

	while (word[n])
		n++;
	for (const char *p = cmdline; *p; p++)
		if ((p == cmdline || p[-1] == ' ') && !memcmp(p, word, n) && (!p[n] || p[n] == ' '))
			return true;
	return false;
}

void begin(const char *cmdline)
{
	serial_init();
	pic_init();
	if (has_word(cmdline, "emulator=tcg"))
		emulator = "tcg";
	if (has_word(cmdline, "emulator=bochs"))
		emulator = "bochs";
}

void finish(const char *what)
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

void broken(u64 vector, u64 error, u64 at)
{
	say("CPUTEST: unexpected exception ");
	say_hex(vector);
	say(" error ");
	say_hex(error);
	say(" at ");
	say_hex(at);
	say("\n");
	failures++;
	finish("broken");
	for (;;)
		__asm__ volatile("cli; hlt");
}

ulong read_cr(int n)
{
	ulong v = 0;

	if (n == 0)
		__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	else if (n == 3)
		__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	else
		__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}
void lapic_write(u32 reg, u32 v)
{
	__asm__ volatile("movl %0, (%1)" ::"r"(v), "r"(LAPIC + reg) : "memory");
}
u32 lapic_read(u32 reg)
{
	u32 v;

	__asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(LAPIC + reg) : "memory");
	return v;
}
