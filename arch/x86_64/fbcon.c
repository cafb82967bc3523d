/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's log on the screen. Text only: what is to be seen and what is seen stand in ordinary memory,
 * and only cells that differ are drawn, for reading a framebuffer is slow and writing it is not quick.
 * A full screen moves up by a quarter at once, so that most lines cost no more than their own letters.
 */
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/font.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/window.h"
#include "lib/log.h"
#include "lib/string.h"

#define MAX_COLS 160
#define MAX_ROWS 128
#define CELL_W (FONT_COLS + 1)
#define CELL_H (FONT_ROWS + 1)
#define GREY 0xc0u
#define FB_MAX MIB(256)

static struct {
	struct boot_fb mode;
	u8 *mem; /* NULL: cannot be reached now; what is said meanwhile is shown later */
	u32 scale, cols, rows, next; /* next: row of the next line */
	u32 pixel; /* of a dot */
	char text[MAX_ROWS][MAX_COLS], shown[MAX_ROWS][MAX_COLS];
} con;

static u64 fb_bytes(void)
{
	return (u64)con.mode.pitch * con.mode.height;
}

/* One row of a cell's dots, a bit each, the leftmost highest. */
static u32 dots(char c, u32 row)
{
	u32 bits = 0;

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

static void draw_cell(u32 row, u32 col, char c)
{
	u8 *p = con.mem + (u64)row * CELL_H * con.scale * con.mode.pitch;

	p += (u64)col * CELL_W * con.scale * (con.mode.bpp / 8);
	for (u32 y = 0; y < CELL_H; y++) {
		u32 bits = dots(c, y);

		for (u32 n = 0; n < con.scale; n++, p += con.mode.pitch)
			draw_span(p, bits);
	}
}

static void show(u32 row)
{
	for (u32 col = 0; con.mem && col < con.cols; col++) {
		if (con.shown[row][col] == con.text[row][col])
			continue;
		con.shown[row][col] = con.text[row][col];
		draw_cell(row, col, con.text[row][col]);
	}
}

static void scroll(void)
{
	u32 n = con.rows / 4 + 1;

	memmove(con.text[0], con.text[n], (con.rows - n) * sizeof(con.text[0]));
	memset(con.text[con.rows - n], ' ', n * sizeof(con.text[0]));
	con.next -= n;
	for (u32 row = 0; row < con.rows; row++)
		show(row);
}

void fbcon_line(const char *s)
{
	size_t left = strlen(s);

	while (con.cols && left) {
		u32 n = MIN(left, con.cols);

		if (con.next == con.rows)
			scroll();
		memcpy(con.text[con.next], s, n);
		show(con.next++);
		s += n;
		left -= n;
	}
}

void fbcon_init(const struct boot_fb *fb)
{
	u64 line = (u64)fb->width * (fb->bpp / 8);

	con.mode = *fb;
	con.cols = 0;
	if (!fb->addr || fb->addr >> (cpuid(0x80000008, 0).eax & 0xff) || (fb->bpp != 32 && fb->bpp != 24) ||
	    line > fb->pitch || fb_bytes() > FB_MAX)
		return;
	/* About 100 letters a line, whatever the screen has. */
	con.scale = MAX((fb->width + 320) / 640, 1u);
	con.rows = MIN(fb->height / (CELL_H * con.scale), MAX_ROWS);
	con.cols = con.rows < 8 ? 0 : MIN(fb->width / (CELL_W * con.scale), MAX_COLS);
	con.next = 0;
	con.pixel = GREY << fb->red_shift | GREY << fb->green_shift | GREY << fb->blue_shift;
	memset(con.text, ' ', sizeof(con.text));
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
	for (u32 row = 0; row < con.next; row++)
		show(row);
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
		 con.cols, con.rows);
}
