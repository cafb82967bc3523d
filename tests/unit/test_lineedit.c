/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/monitor/lineedit.c lib/string.c */
/* The line editor, before a terminal of 40 columns that is looked at after each key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "tests/unit/line_screen.h"

static bool words(const char *line, u32 word, u32 i, char *buf, size_t size)
{
	static const char *const verbs[] = {"list", "pause", "unpause", "destroy", "dmesg", "console"};
	static const char *const names[] = {"web-1", "web-2", "mail"};

	if (word > 1 || (word && !strncmp(line, "list", 4)) || i >= (word ? ARRAY_SIZE(names) : ARRAY_SIZE(verbs)))
		return false;
	str_copy(buf, word ? names[i] : verbs[i], size);
	return true;
}

static struct lineedit ed;

static int setup(void **state)
{
	(void)state;
	memset(&ed, 0x5a, sizeof(ed));
	ed.prompt = "> ";
	ed.cols = SCREEN_COLS;
	ed.put = screen_put;
	ed.complete = words;
	lineedit_init(&ed);
	screen_clear();
	lineedit_show(&ed);
	return 0;
}

/* Type; returns the last line that was finished, or NULL. */
static const char *type(const char *s)
{
	static char got[LINEEDIT_MAX];
	bool any = false;

	for (; *s; s++) {
		if (lineedit_key(&ed, (u8)*s)) {
			any = true;
			str_copy(got, ed.line, sizeof(got));
			lineedit_show(&ed);
		}
		screen_check(&ed);
	}
	return any ? got : NULL;
}

#define LEFT  "\x1b[D"
#define RIGHT "\x1b[C"
#define UP    "\x1b[A"
#define DOWN  "\x1bOB"

static void test_edit(void **s)
{
	static const struct {
		const char *keys, *line;
	} t[] = {
		{"list\r", "list"},
		{"lisst" LEFT "\bt" "\x7f\r", "list"},
		{"ist\x01l\x05 \r", "list "},
		{"\x1b[Habc\x1b[1~1\x1b[4~2\x1bOH3\x1bOF4\x1b[7~5\x1b[8~6\r", "531abc246"},
		{"abcdef" LEFT LEFT "\x1b[3~\r", "abcdf"},
		{"abcdef\x02\x02\x04\x06" "x\r", "abcdfx"},
		{"abcdef" LEFT LEFT "\x0b\r", "abcd"},
		{"abcdef" LEFT LEFT "\x15\r", "ef"},
		{"one two  \x17three\r", "one three"},
		{"\x17\x15\x0b\b\x04" LEFT RIGHT "x\r", "x"},
		{"a" RIGHT LEFT LEFT LEFT "b\r", "ba"},
		{"gone\x03left\r", "left"},
		{"a\x0c" "b\r", "ab"},
		{"a\xc3\xa4\xff\x80z\r", "az"},		      /* not ASCII: nothing */
		{"a\x1b[1;5Cb\x1b[200~c\x1bxd\x1b[Ze\r", "abcde"}, /* keys that we do not have */
		{"a\x1b[\x01" "b\x1b\x05" "c\r", "bac"},	      /* broken off */
		{"\r", ""},
	};

	(void)s;
	for (u32 i = 0; i < ARRAY_SIZE(t); i++)
		assert_string_equal(type(t[i].keys), t[i].line);
	assert_non_null(strstr(scr.log, "> gone^C\n"));
	assert_null(type("x"));
	assert_string_equal(type("\r\n\n"), ""); /* CR LF is one key, LF alone is one */
}

static void test_history(void **s)
{
	char line[16];

	(void)s;
	assert_null(type(UP DOWN));
	type("one\rtwo\rtwo\r\rthree\r");
	assert_string_equal(type(UP UP UP "\r"), "one");
	assert_string_equal(type("new" UP UP UP UP DOWN DOWN DOWN DOWN DOWN "er\r"), "newer");
	assert_string_equal(type(UP "!\r"), "newer!");
	assert_string_equal(type("\x10\x10\x10\x0e\r"), "newer");
	for (u32 i = 0; i < 40; i++) {
		snprintf(line, sizeof(line), "line %u\r", i);
		type(line);
	}
	for (u32 i = 0; i < 40; i++)
		type(UP);
	assert_string_equal(type("\r"), "line 24");
}

static void test_complete(void **s)
{
	(void)s;
	assert_string_equal(type("l\t\r"), "list ");
	assert_string_equal(type("pau\tw\t1\t\r"), "pause web-1 ");
	assert_string_equal(type("d\te\t\r"), "destroy ");
	assert_string_equal(type("x\t\t\r"), "x");
	assert_string_equal(type("list w\t\t\r"), "list w");
	assert_string_equal(type("pause web-1 w\t\r"), "pause web-1 w");
	assert_string_equal(type("web-1" "\x01pause \tx\r"), "pause xweb-1");
	assert_null(strstr(scr.log, "destroy  dmesg"));
	assert_string_equal(type("d\t\te\t\r"), "destroy ");
	assert_non_null(strstr(scr.log, "> d\ndestroy  dmesg\n> destroy"));
	type("\t\t");
	assert_non_null(strstr(scr.log, "\nlist  pause  unpause  destroy  dmesg\nconsole\n"));
}

/* Longer than the row, and longer than there is room for. */
static void test_long(void **s)
{
	const char *got;

	(void)s;
	for (u32 i = 0; i < 400; i++)
		type("x");
	type("\x01" "a" RIGHT RIGHT RIGHT);
	type("\x05\x01\x7f\x1b[3~" "a\x05\x7f" LEFT LEFT);
	for (u32 i = 0; i < 100; i++)
		type(LEFT);
	got = type("-\r");
	assert_int_equal(strlen(got), LINEEDIT_MAX - 1);
	assert_int_equal(got[0], 'a');
	assert_int_equal(strchr(got, '-') - got, LINEEDIT_MAX - 1 - 1 - 102);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_edit, setup),
		cmocka_unit_test_setup(test_history, setup),
		cmocka_unit_test_setup(test_complete, setup),
		cmocka_unit_test_setup(test_long, setup),
	};

	return cmocka_run_group_tests_name("lineedit", tests, NULL, NULL);
}
