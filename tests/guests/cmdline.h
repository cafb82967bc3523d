/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's command line. */
#pragma once
#include "pc.h"

/* The decimal number behind the first `name` in it. */
static inline u64 number(const char *line, const char *name, u64 otherwise)
{
	u64 n = 0;
	u32 i;

	for (; *line; line++) {
		for (i = 0; name[i] && line[i] == name[i]; i++)
			;
		if (name[i])
			continue;
		for (line += i; *line >= '0' && *line <= '9'; line++)
			n = n * 10 + (u64)(*line - '0');
		return n;
	}
	return otherwise;
}
