/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: arch/x86_64/vt.c lib/string.c */
/* The terminal's letters: each case is a byte stream and what stands on 5 rows of 10 afterwards. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "arch/x86_64/vt.h"
#include "lib/string.h"

static struct vt vt;

/* Rows without the blanks at their ends, with '|' between; and '@' ROW,COL of the cursor. */
static const char *seen(void)
{
	static char out[128];
	size_t n = 0, full = 0;

	for (u32 r = 0; r < vt.rows; r++) {
		size_t end = vt.cols;

		while (end && vt.text[r][end - 1] == ' ')
			end--;
		memcpy(out + n, vt.text[r], end);
		n += end;
		if (end)
			full = n;
		out[n++] = '|';
	}
	snprintf(out + full, sizeof(out) - full, "@%u,%u", vt.row, vt.col);
	return out;
}

static void check(const char *in, const char *want)
{
	vt_init(&vt, 5, 10);
	for (size_t i = 0; in[i]; i++) /* byte by byte, and so never a whole sequence at once */
		vt_write(&vt, (const u8 *)in + i, 1);
	assert_string_equal(seen(), want);
	vt_init(&vt, 5, 10);
	vt_write(&vt, (const u8 *)in, strlen(in));
	assert_string_equal(seen(), want);
}

#define FIVE "1\r\n2\r\n3\r\n4\r\n5"

static void test_text(void **s)
{
	(void)s;
	check("one\r\ntwo", "one|two@1,3");
	check("one\ntwo", "one|   two@1,6");
	check("abc\b\bX\rY", "YXc@0,1");
	check("a\tb\tc\td", "a       bd@0,10"); /* the last column is the last tab stop */
	check("0123456789", "0123456789@0,10");
	check("0123456789\r\nx", "0123456789|x@1,1"); /* a full row does not wrap before it must */
	check("0123456789ab", "0123456789|ab@1,2");
	check("0123456789\bx", "01234567x9@0,9");
	check(FIVE "\r\n6", "2|3|4|5|6@4,1");
	check("\xc3\xa4\xe2\x82\xac.\x7f\a", "??.@0,3");
}

static void test_cursor(void **s)
{
	(void)s;
	check("\x1b[3;4Hx\x1b[2Ay\x1b[9Dz\x1b[B.\x1b[2Cc\x1b[Ed\x1b[Fe\x1b[5Gf\x1b[2d!", "z   y|e.  f!|d  x@1,6");
	check("\x1b[99;99Hx\x1b[99A\x1b[99D\x1b[Cy", " y||||         x@0,2");
	check("ab\x1b[s\x1b[3;3Hc\x1b[ud\x1b" "7\r\nx\x1b" "8e", "abde|x|  c@0,4");
	check("\x1b[;5Hx\x1b[0;0Hy\x1b[4fz", "y   x|||z@3,1");
}

static void test_erase(void **s)
{
	(void)s;
	check("abcdef\x1b[3D\x1b[K", "abc@0,3");
	check("abcdef\x1b[3D\x1b[1K", "    ef@0,3");
	check("abcdef\x1b[2Kx", "      x@0,7");
	check("0123456789\x1b[Kx", "012345678|x@1,1");
	check(FIVE "\x1b[3;1H\x1b[J", "1|2@2,0");
	check(FIVE "\x1b[3;1H\x1b[1J", "|||4|5@2,0");
	check(FIVE "\x1b[2J", "@4,1");
	check("abcdef\x1b[1;2H\x1b[2P", "adef@0,1");
	check("abcdef\x1b[1;2H\x1b[2@", "a  bcdef@0,1");
	check("abcdef\x1b[1;2H\x1b[2X", "a  def@0,1");
	check("abcdef\x1b[1;2H\x1b[99P\x1b[99@\x1b[99X", "a@0,1");
}

static void test_scroll(void **s)
{
	(void)s;
	check(FIVE "\x1b[2;4r\x1b[4;1H\r\nx", "1|3|4|x|5@3,1");
	check(FIVE "\x1b[2;4r\x1b[2;1H\x1bMx", "1|x|2|3|5@1,1");
	check(FIVE "\x1b[2;4r\x1b[3;1H\x1b[L", "1|2||3|5@2,0");
	check(FIVE "\x1b[2;4r\x1b[3;1H\x1b[M", "1|2|4||5@2,0");
	check(FIVE "\x1b[2;4r\x1b[1;1H\x1b[L\x1b[M", "1|2|3|4|5@0,0");
	check(FIVE "\x1b[2S", "3|4|5@4,1");
	check(FIVE "\x1b[9T", "@4,1");
	check(FIVE "\x1b[3;3r\x1b[4;2r\r\nx", "2|3|4|5|x@4,1"); /* no regions */
	check(FIVE "\x1b[2;3r\x1b[5;1H\nx", "1|2|3|4|x@4,1"); /* below the region nothing scrolls */
	check(FIVE "\x1b" "cx", "x@0,1");
	check("\x1b" "Ma\x1b" "Db\x1b" "Ec", "a| b|c@2,1");
}

/* What is none of our business leaves nothing behind. */
static void test_dropped(void **s)
{
	(void)s;
	check("\x1b[1;31ma\x1b[0m\x1b[?25lb\x1b[?1049h\x1b[>c\x1b[6n\x1b[!p", "ab@0,2");
	check("\x1b]0;title\ax\x1b]2;t\x1b\\y\x1b_d0\x1b\\z\x1bPq\x1b\x1b\\!", "xyz!@0,4");
	check("\x1b(Bx\x1b)0y\x1b=\x1b>z", "xyz@0,3");
	check("\x1b[3\x18x\x1b]abc\x1ay", "xy@0,2");
	check("\x1b[1;2;3;4;5;6;7;8;99999999999999Hx", " x@0,2");
	check("\x1b[2\r\nCx", "|  x@1,3"); /* controls work inside of a sequence */
}

static void test_host_line(void **s)
{
	(void)s;
	vt_init(&vt, 5, 10);
	vt.jump = 2;
	vt_write(&vt, (const u8 *)FIVE, strlen(FIVE));
	vt_newline(&vt);
	for (const char *p = "\x1b[2Jx\xff"; *p; p++)
		vt_letter(&vt, *p);
	assert_string_equal(seen(), "3|4|5| [2Jx@3,6");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),   cmocka_unit_test(test_cursor),	 cmocka_unit_test(test_erase),
		cmocka_unit_test(test_scroll), cmocka_unit_test(test_dropped), cmocka_unit_test(test_host_line),
	};

	return cmocka_run_group_tests_name("vt", tests, NULL, NULL);
}
