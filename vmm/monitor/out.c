/* SPDX-License-Identifier: BSD-2-Clause */
/* An answer is one object: fields, and tables of rows. RFC 8259, or text for people. */
#include "vmm/monitor/monitor.h"
#include "lib/string.h"

void mon_flush(struct mon_out *o)
{
	if (o->used)
		o->write(o, o->buf, o->used);
	o->used = 0;
}

static void put(struct mon_out *o, char c)
{
	if (o->used == sizeof(o->buf))
		mon_flush(o);
	o->buf[o->used++] = c;
}

static void text(struct mon_out *o, const char *s)
{
	while (*s)
		put(o, *s++);
}

static void pad(struct mon_out *o, int n)
{
	while (n-- > 0)
		put(o, ' ');
}

static void new_line(struct mon_out *o)
{
	text(o, "\r\n");
}

/* Bytes beyond ASCII are taken for Latin-1, so that the line is UTF-8 whatever s is. */
static void put_quoted(struct mon_out *o, const char *s)
{
	static const char hex[] = "0123456789abcdef";

	put(o, '"');
	for (u8 c; (c = (u8)*s); s++) {
		if (c == '"' || c == '\\') {
			put(o, '\\');
			put(o, (char)c);
		} else if (c == '\n') {
			text(o, "\\n");
		} else if (c < 0x20 || c >= 0x7f) {
			text(o, "\\u00");
			put(o, hex[c >> 4]);
			put(o, hex[c & 15]);
		} else {
			put(o, (char)c);
		}
	}
	put(o, '"');
}

/* A terminal obeys what it should show: nothing but what has a glyph. */
static void put_plain(struct mon_out *o, const char *s)
{
	for (; *s; s++)
		put(o, (u8)*s < 0x20 || (u8)*s >= 0x7f ? '?' : *s);
}

static void end_row(struct mon_out *o)
{
	if (!o->in_row)
		return;
	o->in_row = false;
	if (o->json)
		put(o, '}');
	else if (!o->lines)
		new_line(o);
}

static void end_table(struct mon_out *o)
{
	if (!o->in_table)
		return;
	end_row(o);
	o->in_table = false;
	if (o->json)
		put(o, ']');
}

/* A member of the object follows. */
static void member(struct mon_out *o, const char *key)
{
	end_table(o);
	if (o->json) {
		put(o, o->opened ? ',' : '{');
		put_quoted(o, key);
		put(o, ':');
	}
	o->opened = true;
}

static void titles(struct mon_out *o)
{
	for (u32 i = 0; i < o->nr_cols; i++) {
		const char *t = o->cols[i].title;
		int w = o->cols[i].width, n = (int)strlen(t);

		if (i)
			put(o, ' ');
		pad(o, w - n);
		text(o, t);
		if (i + 1 < o->nr_cols)
			pad(o, -w - n);
	}
	new_line(o);
}

void mon_table(struct mon_out *o, const char *key, const struct mon_col *cols, u32 n, enum mon_style style)
{
	bool first = !o->opened;

	member(o, key);
	o->in_table = true;
	o->rows = 0;
	o->cols = cols;
	o->nr_cols = n;
	o->lines = style == MON_LINES;
	if (o->json) {
		put(o, '[');
		return;
	}
	if (!first)
		new_line(o);
	if (!o->lines && cols[0].title)
		titles(o);
}

void mon_row(struct mon_out *o)
{
	end_row(o);
	if (o->json)
		text(o, o->rows ? ",{" : "{");
	else if (o->lines && o->rows)
		new_line(o);
	o->rows++;
	o->in_row = true;
	o->col = 0;
}

void mon_field(struct mon_out *o, const char *key)
{
	member(o, key);
	o->field = key;
}

static void labelled(struct mon_out *o, const char *key, const char *s)
{
	text(o, key);
	pad(o, 22 - (int)strlen(key));
	text(o, " : ");
	put_plain(o, s);
	new_line(o);
}

static void cell(struct mon_out *o, const char *s)
{
	int n = (int)strlen(s), w = o->cols[o->col].width;

	if (o->col)
		put(o, ' ');
	pad(o, w - n);
	put_plain(o, s);
	if (o->col + 1 < o->nr_cols)
		pad(o, -w - n);
}

static void value(struct mon_out *o, const char *plain, const char *json)
{
	const char *key = o->field;

	if (!key) {
		if (!o->in_row || o->col >= o->nr_cols)
			return;
		key = o->cols[o->col].key;
		if (o->json) {
			if (o->col)
				put(o, ',');
			put_quoted(o, key);
			put(o, ':');
		}
	}
	if (!o->json) {
		if (o->field || o->lines)
			labelled(o, key, plain);
		else
			cell(o, plain);
	} else if (json) {
		text(o, json);
	} else {
		put_quoted(o, plain);
	}
	if (!o->field)
		o->col++;
	o->field = NULL;
}

void mon_str(struct mon_out *o, const char *s)
{
	value(o, s, NULL);
}

void mon_strf(struct mon_out *o, const char *fmt, ...)
{
	char s[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	value(o, s, NULL);
}

void mon_u64(struct mon_out *o, u64 v)
{
	mon_fixed(o, v, 0);
}

void mon_fixed(struct mon_out *o, u64 v, unsigned decimals)
{
	char s[24];
	u64 unit = 1;

	for (unsigned i = 0; i < decimals; i++)
		unit *= 10;
	if (decimals)
		snprintf(s, sizeof(s), "%lu.%0*lu", (unsigned long)(v / unit), (int)decimals,
			 (unsigned long)(v % unit));
	else
		snprintf(s, sizeof(s), "%lu", (unsigned long)v);
	value(o, s, s);
}

void mon_seconds(struct mon_out *o, u64 ns, unsigned decimals)
{
	u64 unit = 1000000000;

	for (unsigned i = 0; i < decimals; i++)
		unit /= 10;
	mon_fixed(o, ns / unit, decimals);
}

void mon_since(struct mon_out *o, u64 seconds)
{
	char plain[48], json[24];
	unsigned long days = seconds / 86400, s = seconds % 86400;
	int n = days ? snprintf(plain, sizeof(plain), "%lu day%s, ", days, days == 1 ? "" : "s") : 0;

	snprintf(plain + n, sizeof(plain) - (size_t)n, "%lu:%02lu:%02lu", s / 3600, s / 60 % 60, s % 60);
	snprintf(json, sizeof(json), "%lu", (unsigned long)seconds);
	value(o, plain, json);
}

void mon_hex(struct mon_out *o, u64 v)
{
	mon_strf(o, "0x%lx", (unsigned long)v);
}

void mon_bool(struct mon_out *o, bool b)
{
	value(o, b ? "yes" : "no", b ? "true" : "false");
}

void mon_none(struct mon_out *o)
{
	value(o, "-", "null");
}

void mon_text(struct mon_out *o, const char *key, const char *text)
{
	member(o, key);
	if (o->json) {
		put_quoted(o, text);
		return;
	}
	for (; *text; text++) {
		if (*text == '\n')
			put(o, '\r');
		put(o, *text);
	}
	new_line(o);
}

void mon_line(struct mon_out *o, const char *fmt, ...)
{
	char s[384];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s, sizeof(s), fmt, ap);
	va_end(ap);
	put_plain(o, s);
	new_line(o);
	mon_flush(o);
}

void mon_begin(struct mon_out *o, bool json)
{
	o->json = json;
	o->opened = o->in_table = o->in_row = false;
	o->field = NULL;
	o->used = 0;
}

void mon_end(struct mon_out *o, const char *error)
{
	if (error && o->json) {
		member(o, "error");
		put_quoted(o, error);
	}
	end_table(o);
	if (o->json) {
		text(o, o->opened ? "}" : "{}");
		new_line(o);
	}
	mon_flush(o);
}
