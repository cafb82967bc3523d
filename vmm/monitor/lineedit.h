/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A line editor: bytes of a terminal in, an edited line and what the terminal is to show out. Pure. ASCII
 * only; on one row, which moves sideways when the line is longer. Keys are those of a shell: cursor keys, Home,
 * End, Delete, Backspace, Ctrl-A B C D E F H K L N P U W, Tab; up and down go through the lines before.
 */
#pragma once
#include "lib/types.h"

#define LINEEDIT_MAX	 256 /* bytes of a line with its end */
#define LINEEDIT_HISTORY 16u
#define LINEEDIT_SHOWN	 (LINEEDIT_MAX + 64)

struct lineedit {
	/* The caller's: set before lineedit_init(). */
	const char *prompt;
	u32 cols; /* of the terminal; at least 20 more than the prompt has */
	void (*put)(struct lineedit *ed, const char *buf, size_t n);
	/* The i-th thing that may stand as word number `word` (from 0) of this line; false: there are no more. */
	bool (*complete)(const char *line, u32 word, u32 i, char *buf, size_t size);
	/* Ours. */
	char line[LINEEDIT_MAX];
	u32 len, at, first; /* at: the cursor; first: the first byte that is shown */
	enum { KEY_PLAIN, KEY_ESC, KEY_CSI, KEY_SS3 } state;
	u32 number;	  /* first parameter of an escape sequence */
	bool cr, tab;	  /* the byte before was a CR, a Tab */
	char typed[LINEEDIT_MAX]; /* the new line, while older ones are looked at */
	u32 nr_old, back;	  /* lines in old; how far back the one at hand lies, 0: the new one */
	char old[LINEEDIT_HISTORY][LINEEDIT_MAX];
};

void lineedit_init(struct lineedit *ed);
/* Take one byte. true: the line is finished and stands in ed->line until the next call; what follows on the
 * terminal begins a new row, and lineedit_show() asks for the next line. */
bool lineedit_key(struct lineedit *ed, u8 byte);
/* The row as it is now, from the left edge; buf: LINEEDIT_SHOWN bytes. Returns how many it is. */
size_t lineedit_row(const struct lineedit *ed, char *buf);
void lineedit_show(struct lineedit *ed);
