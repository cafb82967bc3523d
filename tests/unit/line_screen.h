/* SPDX-License-Identifier: BSD-2-Clause */
/* As much of a terminal as the line editor speaks to: one row, and the rows that were left behind. */
#pragma once
#include <stdlib.h>
#include "lib/string.h"
#include "vmm/monitor/lineedit.h"

#define SCREEN_COLS 40

static struct {
	char row[SCREEN_COLS + 1], log[8192];
	size_t n;
	unsigned at, state, number;
} scr;

static void screen_need(bool ok)
{
	if (!ok)
		abort(); /* a byte that a terminal of 40 columns does not take on this row */
}

static void screen_csi(char c)
{
	switch (c) {
	case 'K':
		memset(scr.row + scr.at, ' ', SCREEN_COLS - scr.at);
		break;
	case 'D':
		screen_need(scr.number && scr.number <= scr.at);
		scr.at -= scr.number;
		break;
	case 'H':
	case 'J':
		scr.at = 0;
		memset(scr.row, ' ', SCREEN_COLS);
		break;
	default:
		screen_need(false);
	}
}

static void screen_byte(char c)
{
	if (scr.state == 1) {
		screen_need(c == '[');
		scr.state = 2;
		scr.number = 0;
	} else if (scr.state == 2) {
		if (c >= '0' && c <= '9') {
			scr.number = scr.number * 10 + (unsigned)(c - '0');
			return;
		}
		scr.state = 0;
		screen_csi(c);
	} else if (c == 0x1b) {
		scr.state = 1;
	} else if (c == '\r') {
		scr.at = 0;
	} else if (c == '\n') {
		for (int end = SCREEN_COLS; end && scr.row[end - 1] == ' '; end--)
			scr.row[end - 1] = 0;
		scr.n += (size_t)snprintf(scr.log + scr.n, sizeof(scr.log) - scr.n, "%s\n", scr.row);
		scr.n = MIN(scr.n, sizeof(scr.log) / 2); /* enough for what is looked at */
		memset(scr.row, ' ', SCREEN_COLS);
	} else {
		screen_need(c >= ' ' && c <= '~' && scr.at < SCREEN_COLS);
		scr.row[scr.at++] = c;
	}
}

static void screen_put(struct lineedit *ed, const char *buf, size_t n)
{
	(void)ed;
	for (size_t i = 0; i < n; i++)
		screen_byte(buf[i]);
}

static void screen_clear(void)
{
	memset(&scr, 0, sizeof(scr));
	memset(scr.row, ' ', SCREEN_COLS);
}

/* What is seen is the line, or the part of it around the cursor, and the cursor stands where it should. */
static void screen_check(const struct lineedit *ed)
{
	unsigned prompt = (unsigned)strlen(ed->prompt), n = MIN(ed->len - ed->first, SCREEN_COLS - 2 - prompt);

	screen_need(ed->len < LINEEDIT_MAX && ed->at <= ed->len && ed->first <= ed->at);
	screen_need(!ed->len || strlen(ed->line) == ed->len);
	screen_need(!memcmp(scr.row, ed->prompt, prompt));
	screen_need(!n || !memcmp(scr.row + prompt, ed->line + ed->first, n));
	for (unsigned i = prompt + n; i < SCREEN_COLS; i++)
		screen_need(scr.row[i] == ' ');
	screen_need(scr.at == prompt + ed->at - ed->first);
}
