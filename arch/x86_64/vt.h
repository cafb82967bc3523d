/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The letters on a text screen, after a terminal's byte stream (ECMA-48, as xterm takes it): cursor movement,
 * erasing, scrolling and its region. Colours are dropped; a letter that is not ASCII becomes '?'. Pure.
 */
#pragma once
#include "lib/types.h"

#define VT_COLS 160
#define VT_ROWS 128

struct vt {
	u32 rows, cols;
	u32 row, col;	 /* of the cursor; col == cols: the row is full, the next letter wraps */
	u32 top, bottom; /* the rows that scroll */
	u32 jump;	 /* rows to scroll at once; 1 is a terminal's way */
	u32 saved_row, saved_col;
	enum { VT_TEXT, VT_ESC, VT_SKIP, VT_CSI, VT_STRING, VT_STRING_ESC } state;
	u32 param[4], nr_params; /* beyond 4 they are dropped */
	bool odd;		 /* a sequence that we do not know by its letter alone */
	char text[VT_ROWS][VT_COLS];
};

void vt_init(struct vt *vt, u32 rows, u32 cols); /* at least 2 by 2; blank */
void vt_write(struct vt *vt, const u8 *buf, size_t n);
void vt_letter(struct vt *vt, char c); /* no control character is taken for one: it is a blank */
void vt_newline(struct vt *vt);	       /* to the left edge of the next row */
