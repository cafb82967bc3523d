/* SPDX-License-Identifier: BSD-2-Clause */
/* Is a text one value of JSON (RFC 8259), and nothing behind it? Strict, also about UTF-8: ASCII only. */
#pragma once
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static bool json_value(const char **s, int depth);

static bool json_string(const char **s)
{
	const char *p = *s;

	if (*p++ != '"')
		return false;
	for (; *p != '"'; p++) {
		if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7e)
			return false;
		if (*p != '\\')
			continue;
		p++;
		if (*p == 'u') {
			for (int i = 0; i < 4; i++)
				if (!isxdigit((unsigned char)*++p))
					return false;
		} else if (!*p || !strchr("\"\\/bfnrt", *p)) {
			return false;
		}
	}
	*s = p + 1;
	return true;
}

static bool json_number(const char **s)
{
	const char *p = *s;

	p += *p == '-';
	if (!isdigit((unsigned char)*p))
		return false;
	if (*p == '0' && isdigit((unsigned char)p[1]))
		return false;
	while (isdigit((unsigned char)*p))
		p++;
	if (*p == '.') {
		if (!isdigit((unsigned char)*++p))
			return false;
		while (isdigit((unsigned char)*p))
			p++;
	}
	*s = p;
	return true;
}

/* Members or elements up to `end`, separated by commas. */
static bool json_list(const char **s, char end, int depth)
{
	++*s;
	if (**s == end)
		return ++*s;
	for (;;) {
		if (end == '}' && (!json_string(s) || *(*s)++ != ':'))
			return false;
		if (!json_value(s, depth + 1))
			return false;
		if (**s == end)
			return ++*s;
		if (*(*s)++ != ',')
			return false;
	}
}

static bool json_value(const char **s, int depth)
{
	static const char *const words[] = {"true", "false", "null"};

	if (depth > 8)
		return false;
	for (int i = 0; i < 3; i++)
		if (!strncmp(*s, words[i], strlen(words[i]))) {
			*s += strlen(words[i]);
			return true;
		}
	if (**s == '{' || **s == '[')
		return json_list(s, **s == '{' ? '}' : ']', depth);
	return **s == '"' ? json_string(s) : json_number(s);
}

/* One line of it: with CR LF at its end. */
static bool json_line(const char *s)
{
	return *s == '{' && json_value(&s, 0) && !strcmp(s, "\r\n");
}
