/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/host/scancode.c lib/string.c */
/* Keys as a PC keyboard sends them (scancode set 1), and what a terminal would have sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "drivers/host/scancode.h"
#include "lib/string.h"

static struct scancode keys;

static void check(const char *codes, size_t n, const char *want)
{
	char out[256];
	size_t got = 0;

	for (size_t i = 0; i < n; i++)
		got += scancode_byte(&keys, (u8)codes[i], out + got);
	out[got] = 0;
	assert_string_equal(out, want);
}
#define CHECK(codes, want) check(codes, sizeof(codes) - 1, want)

#define SHIFT	 "\x2a"
#define SHIFT_UP "\xaa"
#define CTRL	 "\x1d"
#define CTRL_UP	 "\x9d"
#define CAPS	 "\x3a\xba"
#define NUM	 "\x45\xc5"

static void test_letters(void **s)
{
	(void)s;
	CHECK("\x26\xa6\x17\x97\x1f\x9f\x14\x94\x39\xb9\x1c\x9c", "list \r");
	CHECK("\x29\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d", "`1234567890-=");
	CHECK("\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b", "qwertyuiop[]");
	CHECK("\x1e\x1f\x20\x21\x22\x23\x24\x25\x26\x27\x28\x2b", "asdfghjkl;'\\");
	CHECK("\x2c\x2d\x2e\x2f\x30\x31\x32\x33\x34\x35\x56\x0e\x0f", "zxcvbnm,./\\\x7f\t");
	CHECK(SHIFT "\x1e\x9e" SHIFT_UP "\x1e\x9e\x36\x1f\x9f\xb6\x1f", "AaSs");
	CHECK(SHIFT "\x36\x1e" SHIFT_UP "\x1e\xb6\x1e", "AAa"); /* both, one goes up */
	CHECK(SHIFT "\x29\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x1a\x1b\x27\x28\x2b\x33\x34\x35\x56" SHIFT_UP,
	      "~!@#$%^&*()_+{}:\"|<>?|");
	CHECK(CAPS "\x1e\x02" SHIFT "\x1e\x02" SHIFT_UP CAPS "\x1e", "A1a!a");
}

static void test_control(void **s)
{
	(void)s;
	CHECK(CTRL "\x1e\x1b\x2b" CTRL_UP "\x1b", "\x01\x1d\x1c]");
	CHECK("\xe0" CTRL "\x11\xe0" CTRL_UP "\x11", "\x17w");
	CHECK(CTRL SHIFT "\x0c\x1e" SHIFT_UP "\x02" CTRL_UP, "\x1f\x01" "1");
	CHECK("\x38\x1e\xb8\x1e\xe0\x38\x1e\xe0\xb8", "\033aa\033a");
	CHECK("\x01", "\033");
}

static void test_cursor(void **s)
{
	(void)s;
	CHECK("\xe0\x48\xe0\xc8\xe0\x50\xe0\x4b\xe0\x4d\xe0\x47\xe0\x4f\xe0\x53",
	      "\033[A\033[B\033[D\033[C\033[H\033[F\033[3~");
	CHECK("\xe0\x49\xe0\x51\xe0\x52\xe0\x1c\xe0\x35", "\033[5~\033[6~\033[2~\r/");
	CHECK("\xe0\x2a\xe0\x48\xe0\xc8\xe0\xaa\x1e", "\033[Aa"); /* a Shift that nobody pressed */
	CHECK("\x48\x50\x4a\x4e\x37\x4c\x53", "\033[A\033[B-+*\033[3~");
	CHECK(NUM "\x47\x48\x49\x4b\x4c\x4d\x4f\x50\x51\x52\x53" SHIFT "\x48" SHIFT_UP NUM, "78945612" "30.\033[A");
	CHECK("\x3b\x3e\x3f\x40\x44\x57\x58", "\033OP\033OS\033[15~\033[17~\033[21~\033[23~\033[24~");
	CHECK("\xe1\x1d\x45\xe1\x9d\xc5\x1e\xe0\x5b\xe0\xdb\xe0\x4a\xe0\x46", "a"); /* Pause, a logo key, Break */
}

/* Any two bytes after any state: within the room, no more. */
static void test_any(void **s)
{
	char out[SCANCODE_MAX];

	(void)s;
	for (u32 i = 0; i < 65536 * 3; i++) {
		u32 x = i * 2654435761u >> 8;

		assert_true(scancode_byte(&keys, (u8)x, out) <= SCANCODE_MAX);
		assert_true(scancode_byte(&keys, (u8)(x >> 8), out) <= SCANCODE_MAX);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_letters),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_cursor),
		cmocka_unit_test(test_any),
	};

	return cmocka_run_group_tests_name("scancode", tests, NULL, NULL);
}
