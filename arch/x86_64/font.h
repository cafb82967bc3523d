/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once
#include "lib/types.h"

/* The letters from ' ' to '~' in bands of FONT_BAND side by side, a space between two. */
#define FONT_LETTERS 95u
#define FONT_BAND    15u
#define FONT_BANDS   7u
#define FONT_COLS    5u
#define FONT_ROWS    9u
extern const char *const font[FONT_BANDS * FONT_ROWS];

/* FONT_COLS dots, '#' or '.', of one row of a letter: 0 is ' '. */
static inline const char *font_row(u32 letter, u32 row)
{
	return font[letter / FONT_BAND * FONT_ROWS + row] + letter % FONT_BAND * (FONT_COLS + 1);
}
