/* SPDX-License-Identifier: BSD-2-Clause */
#pragma once

/* From ' ' to '~'. Rows of FONT_COLS dots, a space between rows; rows at the end may be missing. */
extern const char *const font[95];
#define FONT_COLS 5
#define FONT_ROWS 9
