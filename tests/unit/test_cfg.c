/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/cfg.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include "lib/cfg.h"
#include "lib/errno.h"
#include "lib/string.h"

static struct cfg_space space;
static char events[65536], diags[65536];

static void __format(2, 3) add(char *buf, const char *fmt, ...)
{
	size_t n = strlen(buf);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + n, 65536 - n, fmt, ap);
	va_end(ap);
}

static void report(void *arg, enum cfg_level level, const char *line)
{
	(void)arg;
	(void)level;
	add(diags, "%s\n", line);
}

static void item(const struct cfg_item *it)
{
	if (it->type == CFG_INT)
		add(events, "%lld", (long long)it->num);
	else
		add(events, "'%s'", it->str);
	if (it->type == CFG_STR)
		assert_int_equal(strlen(it->str), it->len);
}

static bool note(void *arg, const struct cfg_assign *a)
{
	(void)arg;
	add(events, "%u:%u %s=", a->line, a->col, a->key);
	if (a->val.type != CFG_LIST)
		item(&a->val);
	for (u32 i = 0; a->val.type == CFG_LIST && i < a->nr_items; i++) {
		add(events, "%s", i ? "," : "[");
		item(&a->items[i]);
	}
	add(events, "|");
	return strcmp(a->key, "refuse") != 0;
}

/* A copy of the exact length, so that the sanitizer sees a read past the end. */
static int parse_n(const char *text, size_t n)
{
	const struct cfg_diag diag = {.report = report};
	char *copy = malloc(n ? n : 1);
	int err;

	memcpy(copy, text, n);
	events[0] = diags[0] = 0;
	err = cfg_parse("f", copy, n, &space, note, NULL, &diag);
	free(copy);
	assert_int_equal(err, diags[0] || strstr(events, "refuse=") ? -EINVAL : 0);
	return err;
}

static void good(const char *text, const char *want)
{
	parse_n(text, strlen(text));
	assert_string_equal(diags, "");
	assert_string_equal(events, want);
}

static void bad(const char *text, const char *want_diag, const char *want_events)
{
	assert_int_equal(parse_n(text, strlen(text)), -EINVAL);
	if (strncmp(diags, want_diag, strlen(want_diag)))
		assert_string_equal(diags, want_diag);
	assert_string_equal(events, want_events);
}

static void values(void **state)
{
	(void)state;
	good("", "");
	good("\n # c\n;;\n", "");
	good("a=1", "1:1 a=1|");
	good(" name = \"x\" # c\n", "1:2 name='x'|");
	good("a='1';b=2 ; c=3", "1:1 a='1'|1:7 b=2|1:13 c=3|");
	good("a=0x1F\nb=010\nc=0\r\nd=007", "1:1 a=31|2:1 b=8|3:1 c=0|4:1 d=7|");
	good("a=9223372036854775807", "1:1 a=9223372036854775807|");
	good("\xef\xbb\xbf"
	     "a=1",
	     "1:1 a=1|");
	good("a='\"'\nb=\"'\"", "1:1 a='\"'|2:1 b='''|");
	good("a='#;]'", "1:1 a='#;]'|");
	good("a='x\\x41\\101\\t\\\\\\'\\\"'", "1:1 a='xAA\t\\'\"'|");
}

static void lists(void **state)
{
	(void)state;
	good("a=[]", "1:1 a=|");
	good("a=['x']", "1:1 a=['x'|");
	good("a = [ 'x', # one\n  \"y\"\n , 3,\n]\nb=1", "1:1 a=['x','y',3|5:1 b=1|");
	bad("a=['x' 'y']\nb=1", "f:1:8: error: ''' in a list; items are separated by ','",
	    "2:1 b=1|");
	bad("a=[,]", "f:1:4: error: ',' where a value should be", "");
	bad("a=[['x']]\nb=1", "f:1:4: error: a list inside a list", "2:1 b=1|");
	bad("a=['x',\nb=1\nc=2", "f:1:3: error: list is not closed; put ']'", "2:1 b=1|3:1 c=2|");
	bad("a=['x'", "f:1:3: error: list is not closed", "");
	bad("a=['x]\n]\nb=1", "f:1:4: error: string is not closed; put ' at its end", "3:1 b=1|");
}

static void mistakes(void **state)
{
	(void)state;
	bad("a", "f:1:2: error: the end of the file where '=' should be; a line is KEY = VALUE\n",
	    "");
	bad("a=\nb=1", "f:1:3: error: the end of the line where a value should be", "2:1 b=1|");
	bad("a=foo\nb=1", "f:1:3: error: 'foo' stands without quotes; write", "2:1 b=1|");
	bad("a='x\nb=1", "f:1:3: error: string is not closed; put ' at its end", "2:1 b=1|");
	bad("a='x\\", "f:1:3: error: string is not closed", "");
	bad("a=1 b=2\nc=3", "f:1:5: error: 'b' after the value of 'a'; begin a new line",
	    "2:1 c=3|");
	bad("a+=1\nb=1", "f:1:2: error: '+=' is not supported; write the whole value", "2:1 b=1|");
	bad("a += [ 'x',\n'y' ]\nb=1", "f:1:3: error: '+=' is", "3:1 b=1|");
	bad("a=08\nb=1", "f:1:3: error: '08' is not a number: '8' is no digit of base 8",
	    "2:1 b=1|");
	bad("a=0x\nb=1", "f:1:3: error: '0x' has no digits", "2:1 b=1|");
	bad("a=9223372036854775808", "f:1:3: error: number '9223372036854775808' is too large", "");
	bad("a=-1", "f:1:3: error: negative number", "");
	bad("a='\\q'\nb=1", "f:1:4: error: unknown escape: backslash and 'q'", "2:1 b=1|");
	bad("a='\\x4'", "f:1:4: error: \\x without two hex digits", "");
	bad("a='\\0'", "f:1:4: error: escape gives the byte 0; a string holds", "");
	bad("a='\\777'", "f:1:4: error: escape gives the byte 511", "");
	bad("1a=1\nb=2", "f:1:1: error: '1a' where a key should be", "2:1 b=2|");
	bad("a-b=['x',\n'y']\nb=2", "f:1:2: error: '-' where '=' should be", "3:1 b=2|");
	bad("a='\x1b[2J'", "f:1:4: error: byte 0x1b in a string; write \\x1b", "");
	bad("refuse=1\nb=2", "", "1:1 refuse=1|2:1 b=2|");
	/* All of a file's mistakes, each once. */
	bad("a=x\nb=y\nc=1\nd=z",
	    "f:1:3: error: 'x' stands without quotes; write a string as "
	    "\"...\", or a number\nf:2:3: error: 'y' stands",
	    "3:1 c=1|");
	assert_non_null(strstr(diags, "f:4:3: error: 'z'"));
}

static void binary(void **state)
{
	(void)state;
	assert_int_equal(parse_n("a=1\nb\0c", 7), -EINVAL);
	assert_string_equal(diags, "f:2:2: error: byte 0x00: this is not a text file\n");
	assert_string_equal(events, "");
}

static void limits(void **state)
{
	static char text[400000];
	size_t n;

	(void)state;
	n = (size_t)snprintf(text, sizeof(text), "a='%*s'", CFG_STR_MAX - 1, "x");
	assert_int_equal(parse_n(text, n), 0);
	n = (size_t)snprintf(text, sizeof(text), "a='%*s'", CFG_STR_MAX, "x");
	assert_int_equal(parse_n(text, n), -EINVAL);
	assert_string_equal(diags, "f:1:3: error: string of 2048 bytes; at most 2047\n");
	n = (size_t)snprintf(text, sizeof(text), "%0*d=1", CFG_KEY_MAX, 0);
	memset(text, 'k', CFG_KEY_MAX);
	assert_int_equal(parse_n(text, n), -EINVAL);
	assert_string_equal(diags, "f:1:1: error: key of 64 bytes; at most 63\n");
	assert_int_equal(parse_n(text + 1, n - 1), 0);
	/* The pool of one list. */
	n = (size_t)snprintf(text, sizeof(text), "a=[");
	for (int i = 0; i < 9; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "'%*s',", CFG_STR_MAX - 1, "x");
	n += (size_t)snprintf(text + n, sizeof(text) - n, "]");
	assert_int_equal(parse_n(text, n), -EINVAL);
	assert_non_null(strstr(diags, "strings of this list have more than 16384 bytes"));
	/* Items of one list: 64, then 65. */
	n = (size_t)snprintf(text, sizeof(text), "a=[%*s", 0, "");
	for (int i = 0; i < CFG_LIST_MAX; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "1,");
	text[n] = ']';
	assert_int_equal(parse_n(text, n + 1), 0);
	n += (size_t)snprintf(text + n, sizeof(text) - n, "1]");
	assert_int_equal(parse_n(text, n), -EINVAL);
	assert_non_null(strstr(diags, "list of more than 64 items"));
	/* A flood of mistakes ends. */
	memset(text, '=', 100000);
	for (int i = 1; i < 100000; i += 2)
		text[i] = '\n';
	assert_int_equal(parse_n(text, 100000), -EINVAL);
	assert_non_null(strstr(diags, "50 mistakes, stopped reading here"));
}

static void cut_anywhere(void **state)
{
	static const char text[] =
		"name = \"x\\x41\" # c\nl = [ 'a', 0x12, \"b\",\n]\nn=010; m='y'";

	(void)state;
	for (size_t n = 0; n < sizeof(text); n++)
		parse_n(text, n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values), cmocka_unit_test(lists),  cmocka_unit_test(mistakes),
		cmocka_unit_test(binary), cmocka_unit_test(limits), cmocka_unit_test(cut_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
