/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program for Linux on amd64 without a C library: calls, words, and its begin(stack), where stack[0] is argc, with argv behind it.
 */
#pragma once

static inline long call6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return r;
}
#define call_of(nr, a, b, c, d, e, f, ...) call6(nr, a, b, c, d, e, f)
#define call(nr, ...)			   call_of(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0, 0) /* up to six */

static inline long length(const char *s)
{
	long n = 0;

	while (s[n])
		n++;
	return n;
}

static inline void say(const char *s)
{
	call(1 /* write */, 1, (long)s, length(s));
}

static inline void say_number(unsigned long v)
{
	char text[24] = {0};
	int at = 22;

	do
		text[at--] = (char)('0' + v % 10);
	while (v /= 10);
	say(text + at + 1);
}

static inline void __attribute__((noreturn)) end(int status)
{
	for (;;)
		call(60 /* exit */, status);
}

static inline long must(const char *what, long result)
{
	if (result >= 0)
		return result;
	say(what);
	say(" failed: ");
	say_number((unsigned long)-result);
	say("\n");
	end(1);
}

static inline unsigned long number(const char *s)
{
	unsigned long v = 0;

	while (*s)
		v = v * 10 + (unsigned long)(*s++ - '0');
	return v;
}

void begin(const long *stack);
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
