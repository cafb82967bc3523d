/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The C string functions. Copies and fills use the string instructions by quadwords: as fast as
 * anything on current processors (SDM vol. 1, 7.3.9.3, fast-string operation), small, and without a
 * vector register, which belong to guests. Compilers call memcpy, memmove, memset and memcmp
 * by themselves even in a freestanding program.
 */
#include "lib/string.h"

#if !__STDC_HOSTED__

void *memcpy(void *dst, const void *src, size_t n)
{
	void *d = dst;
	size_t quads = n / 8;

	__asm__ volatile("rep movsq\n\t"
			 "movq %3, %%rcx\n\t"
			 "rep movsb"
			 : "+D"(d), "+S"(src), "+c"(quads)
			 : "r"(n % 8)
			 : "memory");
	return dst;
}

void *memmove(void *dst, const void *src, size_t n)
{
	u8 *d = dst;
	const u8 *s = src;

	if ((uintptr_t)d - (uintptr_t)s >= n)
		return memcpy(dst, src, n);
	/* The destination begins inside the source: from the end, downwards. */
	while (n >= 8) {
		u64 quad;

		n -= 8;
		__builtin_memcpy(&quad, s + n, 8);
		__builtin_memcpy(d + n, &quad, 8);
	}
	while (n--)
		d[n] = s[n];
	return dst;
}

void *memset(void *dst, int c, size_t n)
{
	void *d = dst;
	size_t quads = n / 8;

	__asm__ volatile("rep stosq\n\t"
			 "movq %2, %%rcx\n\t"
			 "rep stosb"
			 : "+D"(d), "+c"(quads)
			 : "r"(n % 8), "a"((u8)c * 0x0101010101010101ull)
			 : "memory");
	return dst;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *x = a, *y = b;

	for (; n; n--, x++, y++) {
		if (*x != *y)
			return *x - *y;
	}
	return 0;
}

size_t strlen(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

size_t strnlen(const char *s, size_t max)
{
	size_t n = 0;

	while (n < max && s[n])
		n++;
	return n;
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (u8)*a - (u8)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; n--, a++, b++) {
		if (*a != *b || !*a)
			return (u8)*a - (u8)*b;
	}
	return 0;
}

char *strchr(const char *s, int c)
{
	for (;; s++) {
		if (*s == (char)c)
			return (char *)(uintptr_t)s;
		if (!*s)
			return NULL;
	}
}

#endif

bool str_copy(char *dst, const char *src, size_t size)
{
	size_t n = strnlen(src, size);
	bool whole = n < size;

	if (!whole)
		n = size - 1;
	memcpy(dst, src, n);
	dst[n] = 0;
	return whole;
}
