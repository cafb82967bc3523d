/* SPDX-License-Identifier: BSD-2-Clause */
#include "arch/x86_64/vt.h"
#include "lib/string.h"

#define PARAM_MAX 9999u

static void blank(struct vt *vt, u32 row, u32 from, u32 to)
{
	memset(vt->text[row] + from, ' ', to - from);
}

static void blank_rows(struct vt *vt, u32 from, u32 to)
{
	for (; from < to; from++)
		blank(vt, from, 0, vt->cols);
}

static void reset(struct vt *vt)
{
	vt->row = vt->col = vt->saved_row = vt->saved_col = 0;
	vt->top = 0;
	vt->bottom = vt->rows - 1;
	blank_rows(vt, 0, vt->rows);
}

void vt_init(struct vt *vt, u32 rows, u32 cols)
{
	*vt = (struct vt){.rows = rows, .cols = cols, .jump = 1};
	reset(vt);
}

/* Rows from to bottom move n up; those that come in are blank. */
static void scroll_up(struct vt *vt, u32 from, u32 n)
{
	u32 keep = vt->bottom + 1 - from;

	n = MIN(n, keep);
	keep -= n;
	memmove(vt->text[from], vt->text[from + n], keep * sizeof(vt->text[0]));
	blank_rows(vt, from + keep, vt->bottom + 1);
}

static void scroll_down(struct vt *vt, u32 from, u32 n)
{
	u32 keep = vt->bottom + 1 - from;

	n = MIN(n, keep);
	keep -= n;
	memmove(vt->text[from + n], vt->text[from], keep * sizeof(vt->text[0]));
	blank_rows(vt, from, from + n);
}

static void line_feed(struct vt *vt)
{
	if (vt->row == vt->bottom) {
		u32 n = MIN(vt->jump, vt->bottom - vt->top + 1);

		scroll_up(vt, vt->top, n);
		vt->row -= n - 1;
	} else if (vt->row + 1 < vt->rows) {
		vt->row++;
	}
}

void vt_newline(struct vt *vt)
{
	line_feed(vt);
	vt->col = 0;
}

void vt_letter(struct vt *vt, char c)
{
	if (vt->col == vt->cols)
		vt_newline(vt);
	vt->text[vt->row][vt->col++] = c < ' ' || c > '~' ? ' ' : c;
}

/* --- sequences --- */

/* A count of at least one. */
static u32 count(const struct vt *vt)
{
	return MAX(vt->param[0], 1u);
}

static void go(struct vt *vt, u32 row, u32 col)
{
	vt->row = MIN(row, vt->rows - 1);
	vt->col = MIN(col, vt->cols - 1);
}

static void erase_line(struct vt *vt, u32 how)
{
	u32 col = MIN(vt->col, vt->cols - 1);

	blank(vt, vt->row, how ? 0 : col, how == 1 ? col + 1 : vt->cols);
}

static void erase_display(struct vt *vt, u32 how)
{
	if (how < 2)
		erase_line(vt, how);
	blank_rows(vt, how ? 0 : vt->row + 1, how == 1 ? vt->row : vt->rows);
}

static void shift_letters(struct vt *vt, bool left)
{
	u32 col = MIN(vt->col, vt->cols - 1), n = MIN(count(vt), vt->cols - col), keep = vt->cols - col - n;
	char *p = vt->text[vt->row] + col;

	memmove(left ? p : p + n, left ? p + n : p, keep);
	memset(left ? p + keep : p, ' ', n);
}

static void set_region(struct vt *vt)
{
	u32 top = count(vt) - 1, bottom = MIN(vt->param[1] ?: vt->rows, vt->rows) - 1;

	if (top >= bottom)
		return;
	vt->top = top;
	vt->bottom = bottom;
	go(vt, 0, 0);
}

static void save(struct vt *vt)
{
	vt->saved_row = vt->row;
	vt->saved_col = vt->col;
}

static void move_cursor(struct vt *vt, u8 c)
{
	u32 n = count(vt), col = MIN(vt->col, vt->cols - 1);

	switch (c) {
	case 'A':
		go(vt, vt->row - MIN(n, vt->row), col);
		break;
	case 'B':
		go(vt, vt->row + n, col);
		break;
	case 'C':
		go(vt, vt->row, col + n);
		break;
	case 'D':
		go(vt, vt->row, col - MIN(n, col));
		break;
	case 'E':
		go(vt, vt->row + n, 0);
		break;
	case 'F':
		go(vt, vt->row - MIN(n, vt->row), 0);
		break;
	case 'G':
		go(vt, vt->row, n - 1);
		break;
	case 'd':
		go(vt, n - 1, col);
		break;
	case 'H':
	case 'f':
		go(vt, n - 1, MAX(vt->param[1], 1u) - 1);
		break;
	case 's':
		save(vt);
		break;
	case 'u':
		go(vt, vt->saved_row, vt->saved_col);
		break;
	}
}

static void csi(struct vt *vt, u8 c)
{
	bool inside = vt->row >= vt->top && vt->row <= vt->bottom;

	switch (c) {
	case 'J':
		erase_display(vt, vt->param[0]);
		break;
	case 'K':
		erase_line(vt, vt->param[0]);
		break;
	case 'L':
		if (inside)
			scroll_down(vt, vt->row, count(vt));
		break;
	case 'M':
		if (inside)
			scroll_up(vt, vt->row, count(vt));
		break;
	case 'S':
		scroll_up(vt, vt->top, count(vt));
		break;
	case 'T':
		scroll_down(vt, vt->top, count(vt));
		break;
	case 'P':
	case '@':
		shift_letters(vt, c == 'P');
		break;
	case 'X':
		vt->col = MIN(vt->col, vt->cols - 1);
		blank(vt, vt->row, vt->col, vt->col + MIN(count(vt), vt->cols - vt->col));
		break;
	case 'r':
		set_region(vt);
		break;
	default:
		move_cursor(vt, c);
	}
}

static void csi_byte(struct vt *vt, u8 c)
{
	u32 *p = &vt->param[MIN(vt->nr_params, 3u)];

	if (c >= '0' && c <= '9') {
		if (vt->nr_params < 4)
			*p = MIN(*p * 10 + c - '0', PARAM_MAX);
	} else if (c == ';') {
		vt->nr_params += vt->nr_params < 4;
	} else if (c < 0x40) {
		vt->odd = true; /* "?" and its like: modes of a terminal that we are not */
	} else {
		vt->state = VT_TEXT;
		if (!vt->odd)
			csi(vt, c);
	}
}

static void esc_byte(struct vt *vt, u8 c)
{
	vt->state = VT_TEXT;
	switch (c) {
	case '[':
		vt->state = VT_CSI;
		memset(vt->param, 0, sizeof(vt->param));
		vt->nr_params = 0;
		vt->odd = false;
		break;
	case ']': /* OSC, DCS, SOS, PM, APC: up to ST or BEL */
	case 'P':
	case 'X':
	case '^':
	case '_':
		vt->state = VT_STRING;
		break;
	case '7':
		save(vt);
		break;
	case '8':
		go(vt, vt->saved_row, vt->saved_col);
		break;
	case 'D':
		line_feed(vt);
		break;
	case 'E':
		vt_newline(vt);
		break;
	case 'M':
		if (vt->row == vt->top)
			scroll_down(vt, vt->top, 1);
		else
			go(vt, vt->row - MIN(1u, vt->row), vt->col);
		break;
	case 'c':
		reset(vt);
		break;
	default:
		if (c >= 0x20 && c < 0x30)
			vt->state = VT_SKIP; /* a character set: one more byte */
	}
}

static void control(struct vt *vt, u8 c)
{
	switch (c) {
	case '\b':
		vt->col = MIN(vt->col, vt->cols - 1);
		vt->col -= MIN(1u, vt->col);
		break;
	case '\t':
		vt->col = MIN((vt->col | 7) + 1, vt->cols - 1);
		break;
	case '\n':
	case '\v':
	case '\f':
		line_feed(vt);
		break;
	case '\r':
		vt->col = 0;
		break;
	case 0x18: /* CAN, SUB */
	case 0x1a:
		vt->state = VT_TEXT;
		break;
	case 0x1b:
		vt->state = VT_ESC;
		break;
	}
}

static void string_byte(struct vt *vt, u8 c)
{
	if (c == '\a' || c == 0x18 || c == 0x1a || (vt->state == VT_STRING_ESC && c == '\\'))
		vt->state = VT_TEXT;
	else
		vt->state = c == 0x1b ? VT_STRING_ESC : VT_STRING;
}

static void byte(struct vt *vt, u8 c)
{
	if (vt->state >= VT_STRING)
		string_byte(vt, c);
	else if (c < 0x20)
		control(vt, c); /* also inside of a sequence */
	else if (vt->state == VT_ESC)
		esc_byte(vt, c);
	else if (vt->state == VT_CSI)
		csi_byte(vt, c);
	else if (vt->state == VT_SKIP)
		vt->state = VT_TEXT;
	else if (c < 0x7f)
		vt_letter(vt, (char)c);
	else if (c >= 0xc0)
		vt_letter(vt, '?'); /* of UTF-8, the first byte of each letter */
}

void vt_write(struct vt *vt, const u8 *buf, size_t n)
{
	for (size_t i = 0; i < n; i++)
		byte(vt, buf[i]);
}
