/* SPDX-License-Identifier: BSD-2-Clause */
/* The C string functions. Freestanding: ours (lib/string.c); on the build machine: libc's. */
#pragma once
#include "lib/types.h"
#include <stdarg.h>
#if __STDC_HOSTED__
#include <stdio.h>
#include <string.h>
#else
void *memcpy(void *dst, const void *src, size_t n);
void *memmove(void *dst, const void *src, size_t n);
void *memset(void *dst, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);
char *strchr(const char *s, int c);
/* stb_sprintf behind the C names: always terminated, returns the untruncated length. No floats. */
int snprintf(char *buf, size_t size, const char *fmt, ...) __format(3, 4);
int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap);
#endif
/* Copy at most size-1 bytes and always terminate (size > 0). Returns false if src was cut. */
bool str_copy(char *dst, const char *src, size_t size);
