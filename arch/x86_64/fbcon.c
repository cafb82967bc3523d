/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The screen: the host's log, and what vmm/ shows beside it. What is to be seen (vt.c) and what is seen stand
 * in ordinary memory, and only cells that differ are drawn, for reading a framebuffer is slow and writing it is
 * not quick. At first each line is drawn at once, and a full screen moves up by a quarter, so that most lines
 * cost no more than their own letters; later somebody draws a bounded piece at a time.
 */
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/font.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/vt.h"
#include "arch/x86_64/window.h"
#include "lib/log.h"
#include "lib/string.h"

#define CELL_W (FONT_COLS + 1)
#define CELL_H (FONT_ROWS + 1)
#define GREY 0xc0u
#define FB_MAX MIB(256)
#define CURSOR 0x80 /* beside a letter */
#define STEP_DOTS 4000u /* of a piece: some 20,000 instructions */

static struct {
	struct boot_fb mode;
	u8 *mem; /* NULL: cannot be reached now; what is said meanwhile is shown later */
	u32 scale, cols;
	u32 pixel; /* of a dot */
	bool later, newline; /* somebody calls fbcon_draw(); the last was a line without its newline */
	u32 draw_row; /* rows above are as they should be */
	struct vt vt;
	u8 shown[VT_ROWS][VT_COLS];
} con;

static u64 fb_bytes(void)
{
	return (u64)con.mode.pitch * con.mode.height;
}

/* One row of a cell's dots, a bit each, the leftmost highest. */
static u32 dots(u8 c, u32 row)
{
	u32 bits = 0;

	if (c & CURSOR && row == FONT_ROWS)
		return BIT(CELL_W) - 1;
	c &= ~CURSOR;
	if (c <= ' ' || c > '~' || row >= FONT_ROWS)
		return 0;
	for (u32 x = 0; x < FONT_COLS; x++)
		bits |= font_row(c - ' ', row)[x] == '#' ? BIT(CELL_W - 1 - x) : 0;
	return bits;
}

static void draw_span(u8 *p, u32 bits)
{
	u32 bytes = con.mode.bpp / 8;

	for (u32 x = 0; x < CELL_W; x++) {
		u32 v = bits & BIT(CELL_W - 1 - x) ? con.pixel : 0;

		for (u32 n = 0; n < con.scale; n++, p += bytes) {
			if (bytes == 4) {
				*(volatile u32 *)p = v;
				continue;
			}
			for (u32 b = 0; b < bytes; b++)
				((volatile u8 *)p)[b] = v >> 8 * b;
		}
	}
}

static void draw_cell(u32 row, u32 col, u8 c)
{
	u8 *p = con.mem + (u64)row * CELL_H * con.scale * con.mode.pitch;

	p += (u64)col * CELL_W * con.scale * (con.mode.bpp / 8);
	for (u32 y = 0; y < CELL_H; y++) {
		u32 bits = dots(c, y);

		for (u32 n = 0; n < con.scale; n++, p += con.mode.pitch)
			draw_span(p, bits);
	}
}

static u8 wanted(u32 row, u32 col)
{
	const struct vt *vt = &con.vt;
	bool cursor = con.later && row == vt->row && col == MIN(vt->col, vt->cols - 1);

	return (u8)vt->text[row][col] | (cursor ? CURSOR : 0);
}

bool fbcon_draw(void)
{
	u32 left = MAX(STEP_DOTS / (CELL_W * CELL_H * MAX(con.scale * con.scale, 1u)), 4u);

	for (; con.cols && con.mem && con.draw_row < con.vt.rows; con.draw_row++)
		for (u32 row = con.draw_row, col = 0; col < con.cols; col++) {
			u8 c = wanted(row, col);

			if (con.shown[row][col] == c)
				continue;
			if (!left--)
				return false;
			con.shown[row][col] = c;
			draw_cell(row, col, c);
		}
	return true;
}

/* Something changed. */
static void show(void)
{
	con.draw_row = 0;
	while (!con.later && !fbcon_draw())
		;
}

void fbcon_line(const char *s)
{
	if (!con.cols)
		return;
	if (con.newline || con.vt.col)
		vt_newline(&con.vt);
	while (*s)
		vt_letter(&con.vt, *s++);
	con.newline = true;
	show();
}

void fbcon_write(const void *buf, size_t n)
{
	if (!con.cols)
		return;
	if (con.newline)
		vt_newline(&con.vt);
	con.newline = false;
	vt_write(&con.vt, buf, n);
	show();
}

u32 fbcon_cols(void)
{
	return con.cols;
}

void fbcon_later(bool later)
{
	con.later = later;
	con.vt.jump = later ? 1 : con.vt.rows / 4 + 1;
	show();
}

void fbcon_init(const struct boot_fb *fb)
{
	u64 line = (u64)fb->width * (fb->bpp / 8);
	u32 rows;

	con.mode = *fb;
	con.mem = NULL;
	con.cols = 0;
	if (!fb->addr || fb->addr >> (cpuid(0x80000008, 0).eax & 0xff) || (fb->bpp != 32 && fb->bpp != 24) ||
	    line > fb->pitch || fb_bytes() > FB_MAX)
		return;
	/* About 100 letters a line, whatever the screen has. */
	con.scale = MAX((fb->width + 320) / 640, 1u);
	rows = MIN(fb->height / (CELL_H * con.scale), VT_ROWS);
	con.cols = rows < 8 ? 0 : MIN(fb->width / (CELL_W * con.scale), VT_COLS);
	if (con.cols < 8)
		con.cols = 0;
	vt_init(&con.vt, MAX(rows, 2u), MAX(con.cols, 2u));
	con.newline = false;
	fbcon_later(false);
	con.pixel = GREY << fb->red_shift | GREY << fb->green_shift | GREY << fb->blue_shift;
	/* The boot mappings reach the low 4 GiB, and a refusal this early must be seen. */
	if (con.cols && fb->addr < GIB(4) && fb_bytes() <= GIB(4) - fb->addr)
		fbcon_attach((void *)fb->addr);
}

void fbcon_attach(void *mem)
{
	con.mem = mem;
	if (!con.cols || !mem)
		return;
	for (u32 y = 0; y < con.mode.height; y++)
		memset(con.mem + (u64)y * con.mode.pitch, 0, con.mode.width * (con.mode.bpp / 8));
	memset(con.shown, ' ', sizeof(con.shown));
	show();
}

void fbcon_map(void)
{
	if (!con.cols)
		return;
	if (gpool_overlaps(con.mode.addr, fb_bytes())) {
		con.cols = 0; /* that is no framebuffer, or no memory */
		log_warn("framebuffer at 0x%lx lies in what firmware calls usable memory: not used", con.mode.addr);
		return;
	}
	fbcon_attach(io_map_wc(con.mode.addr, fb_bytes()));
	log_info("screen: %ux%u at 0x%lx, %u columns, %u rows", con.mode.width, con.mode.height, con.mode.addr,
		 con.cols, con.vt.rows);
}
