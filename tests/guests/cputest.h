/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Named checks, for the guests that look at their CPU: each prints one line "CPUTEST: NAME ok" or FAIL, or
 * "skip (REASON)" where the emulator's bare CPU fails it, too. Which one that is stands on the
 * command line: emulator=tcg, emulator=bochs; without it nothing is forgiven.
 */
#pragma once
#include "pc.h"

typedef unsigned long ulong; /* as wide as the guest's registers */

extern const char *emulator;
extern unsigned failures;

struct known {
	const char *emulator, *name, *reason;
};
extern const struct known known[]; /* ends with a name of NULL */

#define say	puts_
#define say_hex putx
#define LAPIC	0xfee00000ul
#define VEC_IPI 0x31
#define TF	0x100u
#define RF	0x10000u

int memcmp(const void *a, const void *b, size_t n);
void *memcpy(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);
bool same(const char *a, const char *b);

bool forgiven(const char *name); /* and says so */
void skip(const char *name, const char *reason);
/* a and b: what it saw, printed when that was wrong. */
void check2(const char *name, bool ok, u64 a, u64 b);
#define check(name, ok) check2(name, ok, 0, 0)

bool has_word(const char *cmdline, const char *word); /* is it one of the words */
void begin(const char *cmdline); /* COM1, a masked PIC, the emulator's name */
void finish(const char *what);
void broken(u64 vector, u64 error, u64 at) __attribute__((noreturn)); /* an exception that nobody waits for */

ulong read_cr(int n);
void lapic_write(u32 reg, u32 v);
u32 lapic_read(u32 reg);
