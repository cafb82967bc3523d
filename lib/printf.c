/* SPDX-License-Identifier: BSD-2-Clause */
/* snprintf and vsnprintf: stb_sprintf (a public-domain single header) without its floats. */
#include "lib/string.h"

#if !__STDC_HOSTED__

#define STB_SPRINTF_IMPLEMENTATION
#define STB_SPRINTF_STATIC
#define STB_SPRINTF_NOFLOAT
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_sprintf.h>
#pragma GCC diagnostic pop

int vsnprintf(char *buf, size_t size, const char *fmt, va_list ap)
{
	/* stb counts in int, and writes the terminator even into a buffer of no bytes. */
	return stbsp_vsnprintf(size ? buf : NULL, size > INT32_MAX ? INT32_MAX : (int)size, fmt,
			       ap);
}

int snprintf(char *buf, size_t size, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(buf, size, fmt, ap);
	va_end(ap);
	return n;
}

#endif
