/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: arch/x86_64/fbcon.c arch/x86_64/vt.c arch/x86_64/font.c lib/string.c */
/* The screen console, over framebuffers of ordinary memory that are read back letter by letter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/font.h"
#include "lib/log.h"
#include "lib/string.h"

static u8 *mem;
static hpa_t mapped_at;
static u64 mapped_size, overlap;
static unsigned warnings;
static struct boot_fb fb;
static u32 scale;
static bool cursor; /* one is somewhere, below a letter */

void *io_map_wc(hpa_t pa, size_t size)
{
	mapped_at = pa;
	mapped_size = size;
	return mem;
}
bool gpool_overlaps(hpa_t pa, u64 size)
{
	return overlap >= pa && overlap < pa + size;
}
void log_line(enum log_level level, const char *fmt, ...)
{
	(void)fmt;
	warnings += level == LOG_WARN;
}

/* A screen above 4 GiB, in memory of exactly its size. */
static void screen(u32 width, u32 height, u32 bpp, u32 slack)
{
	free(mem);
	fb = (struct boot_fb){.addr = 0x4000000000, .width = width, .height = height, .bpp = bpp,
			      .pitch = width * bpp / 8 + slack, .red_shift = 16, .green_shift = 8};
	mem = malloc((size_t)fb.pitch * height);
	memset(mem, 0x5a, (size_t)fb.pitch * height);
	scale = MAX((width + 320) / 640, 1u);
	mapped_size = 0;
	fbcon_init(&fb);
}

static u32 pixel(u32 x, u32 y)
{
	u32 v = 0;

	memcpy(&v, mem + (size_t)y * fb.pitch + x * fb.bpp / 8, fb.bpp / 8);
	assert_true(v == 0 || v == 0xc0c0c0);
	return v;
}

static bool dot_of(u32 c, u32 x, u32 y)
{
	return x < FONT_COLS && y < FONT_ROWS && font_row(c, y)[x] == '#';
}

static bool cell_is(u32 col, u32 row, u32 c)
{
	for (u32 y = 0; y < (cursor ? 9 : 10) * scale; y++)
		for (u32 x = 0; x < 6 * scale; x++) {
			if (dot_of(c, x / scale, y / scale) !=
			    !!pixel(col * 6 * scale + x, row * 10 * scale + y))
				return false;
		}
	return true;
}

static char read_cell(u32 col, u32 row)
{
	for (u32 c = 0; c < 95; c++)
		if (cell_is(col, row, c))
			return ' ' + c;
	return 0;
}

static void expect_row(u32 row, const char *want)
{
	u32 cols = fb.width / (6 * scale), len = strlen(want);

	for (u32 col = 0; col < cols; col++)
		assert_int_equal(read_cell(col, row), col < len ? want[col] : ' ');
}

static void test_font(void **s)
{
	(void)s;
	for (u32 i = 0; i < ARRAY_SIZE(font); i++) {
		u32 n = strlen(font[i]), band = i / FONT_ROWS;

		assert_int_equal(n, MIN(FONT_BAND, FONT_LETTERS - band * FONT_BAND) * 6 - 1);
		for (u32 k = 0; k < n; k++)
			assert_true(k % 6 == 5 ? font[i][k] == ' ' : font[i][k] == '#' || font[i][k] == '.');
	}
	for (u32 i = 0; i < FONT_LETTERS; i++) {
		bool blank = true;

		for (u32 at = 0; at < FONT_ROWS * FONT_COLS; at++)
			blank = blank && !dot_of(i, at % FONT_COLS, at / FONT_COLS);
		assert_true(blank == !i); /* ' ' alone */
		for (u32 k = 0; k < i; k++) { /* no two letters look alike */
			bool same = true;

			for (u32 y = 0; y < FONT_ROWS; y++)
				same = same && !memcmp(font_row(i, y), font_row(k, y), FONT_COLS);
			assert_false(same);
		}
	}
}

static void test_screens(void **s)
{
	static const u32 sizes[][4] = {{640, 480, 32, 0}, {800, 600, 24, 0}, {1024, 768, 32, 64}, {1366, 768, 32, 40},
				       {1920, 1080, 24, 13}, {3840, 2160, 32, 0}, {97, 83, 32, 0}, {1200, 1920, 32, 0}};

	(void)s;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		screen(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3]);
		fbcon_line("said before");
		assert_int_equal(mem[0], 0x5a); /* out of reach, so untouched */
		fbcon_map();
		assert_int_equal(mapped_at, 0x4000000000);
		assert_int_equal(mapped_size, (u64)fb.pitch * fb.height);
		fbcon_line("[0.1] Hi, {g}~");
		fbcon_attach(NULL);
		fbcon_line("meanwhile");
		fbcon_attach(mem);
		expect_row(0, "said before");
		expect_row(1, "[0.1] Hi, {g}~");
		expect_row(2, "meanwhile");
		expect_row(3, "");
		for (u32 y = 0; y < fb.height; y++)
			for (u32 x = 0; x < fb.width; x++)
				pixel(x, y);
	}
}

/* Twenty screens full: the newest line is always to be seen, those above it in order. */
static void test_scroll(void **s)
{
	u32 rows, row = 0;
	char line[32];

	(void)s;
	screen(640, 480, 32, 0);
	fbcon_map();
	rows = 480 / 10;
	for (u32 n = 0; n < 20 * rows; n++, row++) {
		snprintf(line, sizeof(line), "line %u", n);
		fbcon_line(line);
		if (row == rows)
			row -= rows / 4 + 1;
		expect_row(row, line);
		for (u32 up = 1; up <= row && up <= 3; up++) {
			snprintf(line, sizeof(line), "line %u", n - up);
			expect_row(row - up, line);
		}
		if (row + 1 < rows)
			expect_row(row + 1, "");
	}
}

static void test_wrap(void **s)
{
	char line[300], part[107] = "";

	(void)s;
	screen(640, 480, 32, 0); /* 106 columns */
	fbcon_map();
	for (u32 i = 0; i < 299; i++)
		line[i] = '0' + i % 75;
	line[299] = 0;
	fbcon_line(line);
	for (u32 row = 0; row < 3; row++) {
		memset(part, 0, sizeof(part));
		memcpy(part, line + 106 * row, MIN(106u, 299 - 106 * row));
		expect_row(row, part);
	}
	fbcon_line("\001\377"); /* not printable: blank, and inside the font */
	expect_row(3, "");
}

/* Somebody else draws, a bounded piece at a time, and a cursor shows where. */
static void test_later(void **s)
{
	u32 pieces = 1;

	(void)s;
	screen(640, 480, 32, 0);
	fbcon_map();
	fbcon_line("first");
	expect_row(0, "first");
	fbcon_later(true);
	cursor = true;
	fbcon_write("\x1b[1;31mab\x1b[K\xc3\xa4", 14);
	for (u32 i = 0; i < 500; i++)
		fbcon_write("0123456789", 10);
	fbcon_write("\r\n$ ", 4);
	expect_row(1, "");
	for (; !fbcon_draw(); pieces++)
		;
	assert_in_range(pieces, 50, 200); /* of 66 letters */
	assert_true(fbcon_draw());
	expect_row(47, "$ ");
	assert_true(pixel(2 * 6 + 1, 47 * 10 + 9) && !pixel(6 + 1, 47 * 10 + 9));
	fbcon_write("x", 1);
	fbcon_draw();
	expect_row(47, "$ x");
	assert_true(pixel(3 * 6, 47 * 10 + 9) && !pixel(2 * 6, 47 * 10 + 9));
	fbcon_line("a line of the log");
	fbcon_write("y", 1);
	fbcon_line("panic: at once");
	fbcon_later(false);
	cursor = false;
	expect_row(44, "$ x");
	expect_row(45, "a line of the log");
	expect_row(46, "y");
	expect_row(47, "panic: at once");
	assert_false(pixel(14 * 6, 47 * 10 + 9));
}

/* What no screen can be is left alone, whoever describes it. */
static void test_refused(void **s)
{
	static const struct boot_fb bad[] = {
		{.addr = 0},
		{.addr = ~0ul - 4095, .width = 640, .height = 480, .pitch = 2560, .bpp = 32},
		{.addr = GIB(8), .width = 640, .height = 480, .pitch = 1280, .bpp = 16},
		{.addr = GIB(8), .width = 640, .height = 480, .pitch = 2559, .bpp = 32},
		{.addr = GIB(8), .width = 0x40000001, .height = 480, .pitch = 4, .bpp = 32},
		{.addr = GIB(8), .width = 640, .height = 0x80000000, .pitch = 0x80000000, .bpp = 32},
		{.addr = GIB(8), .width = 4, .height = 480, .pitch = 16, .bpp = 32},
		{.addr = GIB(8), .width = 640, .height = 40, .pitch = 2560, .bpp = 32},
		{.addr = GIB(8), .width = 0, .height = 0, .pitch = 0, .bpp = 32},
	};

	(void)s;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		mapped_size = 0;
		fbcon_init(&bad[i]);
		fbcon_line("x");
		fbcon_map();
		fbcon_line("y");
		fbcon_later(true);
		fbcon_write("z", 1);
		assert_true(fbcon_draw());
		assert_int_equal(mapped_size, 0);
	}
	assert_int_equal(warnings, 0);
	screen(640, 480, 32, 0);
	overlap = fb.addr + 4096; /* memory that guests may get */
	fbcon_map();
	fbcon_line("z");
	assert_int_equal(mapped_size, 0);
	assert_int_equal(warnings, 1);
	overlap = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_font),
		cmocka_unit_test(test_screens),
		cmocka_unit_test(test_scroll),
		cmocka_unit_test(test_wrap),
		cmocka_unit_test(test_later),
		cmocka_unit_test(test_refused),
	};
	int failed = cmocka_run_group_tests_name("fbcon", tests, NULL, NULL);

	free(mem);
	return failed;
}
