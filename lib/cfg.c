/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The syntax of xl.cfg as Xen's libxlu reads it (lib/cfg.h). A file may come from anyone: one pass,
 * no recursion, no allocation, every buffer bounded. After a mistake the parser finds the next
 * statement and goes on, so that one run tells all mistakes of a file.
 */
#include <stdarg.h>
#include "lib/cfg.h"
#include "lib/errno.h"
#include "lib/string.h"

/* A file that is no configuration at all (a disk image, say) must not flood the console. */
#define CFG_MAX_ERRORS 50

struct parser {
	const char *file;
	const char *p, *end;
	u32 line, col;
	struct cfg_space *sp;
	size_t used; /* of sp->pool */
	const struct cfg_diag *diag;
	u32 errors;
	bool stmt_bad; /* reported in this statement: it is not handed to the caller */
};

static void emit(const struct cfg_diag *diag, enum cfg_level level, const char *file, u32 line,
		 u32 col, const char *fmt, va_list ap)
{
	char buf[512];
	int n = snprintf(buf, sizeof(buf), "%s:%u:%u: %s: ", file, line, col,
			 level == CFG_ERROR ? "error" : "warning");

	if (n < 0)
		return;
	if ((size_t)n < sizeof(buf))
		vsnprintf(buf + n, sizeof(buf) - (size_t)n, fmt, ap);
	/* What a file says is quoted in messages: it must not steer the reader's terminal. */
	for (char *c = buf; *c; c++)
		if ((u8)*c < 0x20 || *c == 0x7f)
			*c = '?';
	diag->report(diag->arg, level, buf);
}

void cfg_report(const struct cfg_diag *diag, enum cfg_level level, const char *file, u32 line,
		u32 col, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(diag, level, file, line, col, fmt, ap);
	va_end(ap);
}

static void __format(4, 5) error_at(struct parser *ps, u32 line, u32 col, const char *fmt, ...)
{
	va_list ap;

	ps->stmt_bad = true;
	if (ps->errors++ >= CFG_MAX_ERRORS)
		return;
	va_start(ap, fmt);
	emit(ps->diag, CFG_ERROR, ps->file, line, col, fmt, ap);
	va_end(ap);
}

#define error_here(ps, ...) error_at(ps, (ps)->line, (ps)->col, __VA_ARGS__)

/* The byte at the cursor, or -1 at the end. */
static int peek(const struct parser *ps)
{
	return ps->p < ps->end ? (u8)*ps->p : -1;
}

static void step(struct parser *ps)
{
	if (*ps->p++ == '\n') {
		ps->line++;
		ps->col = 1;
	} else {
		ps->col++;
	}
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static bool is_word(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_';
}

static int digit_value(int c)
{
	if (is_digit(c))
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

/* Blanks and comments; line ends too where the grammar allows them (inside a list). CR counts as
 * a blank: files are edited on a FAT volume, with whatever editor is at hand. */
static void skip_blank(struct parser *ps, bool newlines)
{
	for (int c; (c = peek(ps)) >= 0;) {
		if (c == ' ' || c == '\t' || c == '\r' || (newlines && c == '\n')) {
			step(ps);
		} else if (c == '#') {
			while (peek(ps) >= 0 && peek(ps) != '\n')
				step(ps);
		} else {
			return;
		}
	}
}

/* Name what stands at the cursor, for messages. */
static const char *what_is_here(const struct parser *ps, char buf[32])
{
	int c = peek(ps);

	if (c < 0)
		return "the end of the file";
	if (c == '\n')
		return "the end of the line";
	if (c == '#')
		return "a comment";
	if (is_word(c)) {
		int n = 0;
		while (n < 20 && ps->p + n < ps->end && is_word((u8)ps->p[n]))
			n++;
		snprintf(buf, 32, "'%.*s'", n, ps->p);
	} else if (c > 0x20 && c < 0x7f) {
		snprintf(buf, 32, "'%c'", c);
	} else {
		snprintf(buf, 32, "byte 0x%02x", (unsigned)c);
	}
	return buf;
}

static void skip_quoted(struct parser *ps)
{
	int quote = peek(ps);

	for (step(ps); peek(ps) >= 0 && peek(ps) != '\n'; step(ps)) {
		if (peek(ps) == quote) {
			step(ps);
			return;
		}
		if (peek(ps) == '\\' && ps->p + 1 < ps->end && ps->p[1] != '\n')
			step(ps);
	}
}

/* Does KEY = or KEY += stand at the cursor? */
static bool at_assignment(const struct parser *ps)
{
	const char *p = ps->p;

	if (p == ps->end || is_digit(*p))
		return false;
	/* A key longer than this ends the search: the scan stays linear on hostile input. */
	while (p < ps->end && p - ps->p < 2 * CFG_KEY_MAX && is_word((u8)*p))
		p++;
	if (p == ps->p)
		return false;
	while (p < ps->end && p - ps->p < 4 * CFG_KEY_MAX && (*p == ' ' || *p == '\t'))
		p++;
	return p < ps->end && (*p == '=' || (*p == '+' && p + 1 < ps->end && p[1] == '='));
}

/* After a mistake: to the end of the statement. In a list that is after its ']', or before a line
 * that begins like an assignment (the ']' itself may be what was forgotten). */
static void resync(struct parser *ps, bool in_list)
{
	if (in_list && at_assignment(ps))
		return;
	for (int c; (c = peek(ps)) >= 0;) {
		if (c == '"' || c == '\'') {
			skip_quoted(ps);
			continue;
		}
		if (c == '#') {
			skip_blank(ps, false);
			continue;
		}
		if (!in_list && (c == '\n' || c == ';'))
			return;
		if (c == '[')
			in_list = true;
		if (c == ']')
			in_list = false;
		step(ps);
		if (c == '\n') {
			skip_blank(ps, false);
			if (at_assignment(ps))
				return;
		}
	}
}

/* \ooo and \xhh. Returns the byte, or -1 after reporting. The cursor is behind the backslash. */
static int numeric_escape(struct parser *ps, u32 line, u32 col)
{
	bool hex = peek(ps) == 'x';
	int v = 0, n = 0, base = hex ? 16 : 8;

	if (hex)
		step(ps);
	while (n < (hex ? 2 : 3) && digit_value(peek(ps)) < base) {
		v = v * base + digit_value(peek(ps));
		step(ps);
		n++;
	}
	if (hex && n != 2) {
		error_at(ps, line, col,
			 "\\x without two hex digits; write \\x41, or \\\\ for a "
			 "backslash");
		return -1;
	}
	if (!v || v > 255) {
		error_at(ps, line, col, "escape gives the byte %d; a string holds bytes 1 to 255",
			 v);
		return -1;
	}
	return v;
}

static int escape(struct parser *ps)
{
	static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
	u32 line = ps->line, col = ps->col;
	char buf[32];
	int c;

	step(ps);
	c = peek(ps);
	if (c == 'x' || (c >= '0' && c <= '7'))
		return numeric_escape(ps, line, col);
	for (size_t i = 0; i < sizeof(from) - 1; i++) {
		if (c == from[i]) {
			step(ps);
			return (u8)to[i];
		}
	}
	if (c < 0 || c == '\n')
		return -1; /* the caller reports the open string */
	error_at(ps, line, col,
		 "unknown escape: backslash and %s; known are \\a \\b \\f \\n \\r \\t \\v \\\\ \\' "
		 "\\\" \\ooo \\xhh, and \\\\ gives a backslash",
		 what_is_here(ps, buf));
	if (c != '"' && c != '\'')
		step(ps);
	return -1;
}

/* False if the parser lost its place (the quote is never closed). */
static bool parse_string(struct parser *ps, struct cfg_item *it)
{
	char *pool = ps->sp->pool, quote = (char)peek(ps);
	size_t start = ps->used, room = sizeof(ps->sp->pool) - start;

	it->type = CFG_STR;
	it->len = 0;
	for (step(ps); peek(ps) != quote;) {
		int c = peek(ps);

		if (c < 0 || c == '\n') {
			error_at(ps, it->line, it->col,
				 "string is not closed; put %c at its end, on the same line",
				 quote);
			return false;
		}
		if (c == '\\') {
			c = escape(ps);
			if (c < 0)
				continue;
		} else {
			if (c < 0x20 && c != '\t' && c != '\r')
				error_here(ps, "byte 0x%02x in a string; write \\x%02x",
					   (unsigned)c, (unsigned)c);
			step(ps);
		}
		/* Counted beyond the room, stored within it. */
		if (it->len < room && it->len < CFG_STR_MAX)
			pool[start + it->len] = (char)c;
		it->len++;
	}
	step(ps);
	if (it->len >= CFG_STR_MAX) {
		error_at(ps, it->line, it->col, "string of %zu bytes; at most %d", it->len,
			 CFG_STR_MAX - 1);
	} else if (it->len >= room) {
		error_at(ps, it->line, it->col,
			 "strings of this list have more than %zu bytes "
			 "together; shorten them",
			 sizeof(ps->sp->pool));
	} else {
		pool[start + it->len] = '\0';
		it->str = pool + start;
		ps->used = start + it->len + 1;
	}
	return true;
}

/* Decimal, 0x hexadecimal, 0 octal: strtol's base 0, as in xl. The whole word is taken. */
static void parse_number(struct parser *ps, struct cfg_item *it)
{
	const char *word = ps->p;
	u64 v = 0, base = 10;
	int len, i = 0;

	while (is_word(peek(ps)))
		step(ps);
	len = (int)MIN(ps->p - word, 40);
	it->type = CFG_INT;
	if (len > 1 && word[0] == '0') {
		i = word[1] == 'x' || word[1] == 'X' ? 2 : 1;
		base = i == 2 ? 16 : 8;
	}
	if (i == len)
		error_at(ps, it->line, it->col, "'%.*s' has no digits; write 0x10, say", len, word);
	for (; word + i < ps->p; i++) {
		u64 d = (u64)digit_value((u8)word[i]);

		if (d >= base) {
			error_at(ps, it->line, it->col,
				 "'%.*s' is not a number: '%c' is no digit of base %u; strings "
				 "stand in quotes",
				 len, word, word[i], (unsigned)base);
			return;
		}
		if (v > (INT64_MAX - d) / base) {
			error_at(ps, it->line, it->col, "number '%.*s' is too large; at most %lld",
				 len, word, (long long)INT64_MAX);
			return;
		}
		v = v * base + d;
	}
	it->num = (s64)v;
}

/* A string or a number. False if the parser lost its place. */
static bool parse_atom(struct parser *ps, struct cfg_item *it, bool in_list)
{
	int c = peek(ps);
	char buf[32];

	*it = (struct cfg_item){.line = ps->line, .col = ps->col};
	if (c == '"' || c == '\'')
		return parse_string(ps, it);
	if (is_digit(c)) {
		parse_number(ps, it);
		return true;
	}
	if (c == '-' && ps->p + 1 < ps->end && is_digit((u8)ps->p[1]))
		error_here(ps, "negative number; no key takes one, write 0 or more");
	else if (c == '[' && in_list)
		error_here(ps, "a list inside a list; no key takes one, write strings or numbers "
			       "separated by ','");
	else if (is_word(c))
		error_here(ps, "%s stands without quotes; write a string as \"...\", or a number",
			   what_is_here(ps, buf));
	else
		error_here(ps, "%s where a value should be; write a \"string\", a number%s",
			   what_is_here(ps, buf), in_list ? ", or ']'" : " or a [ list ]");
	return false;
}

/* The cursor is behind '['. Line ends, comments and a trailing comma may stand anywhere in it. */
static bool parse_list(struct parser *ps, struct cfg_assign *a)
{
	for (;;) {
		char buf[32];
		struct cfg_item it;

		skip_blank(ps, true);
		if (peek(ps) == ']')
			break;
		if (peek(ps) < 0 || at_assignment(ps)) {
			error_at(ps, a->val.line, a->val.col,
				 "list is not closed; put ']' at its end");
			return false;
		}
		if (!parse_atom(ps, &it, true))
			return false;
		if (a->nr_items < CFG_LIST_MAX)
			ps->sp->items[a->nr_items] = it;
		else if (a->nr_items == CFG_LIST_MAX)
			error_at(ps, it.line, it.col, "list of more than %d items; shorten it",
				 CFG_LIST_MAX);
		a->nr_items++;
		skip_blank(ps, true);
		if (peek(ps) == ',') {
			step(ps);
		} else if (peek(ps) != ']') {
			if (peek(ps) < 0 || at_assignment(ps))
				continue; /* reported above as not closed */
			error_here(ps,
				   "%s in a list; items are separated by ',' and the list ends "
				   "with ']'",
				   what_is_here(ps, buf));
			return false;
		}
	}
	step(ps);
	return true;
}

static bool parse_key(struct parser *ps, struct cfg_assign *a)
{
	const char *word = ps->p;
	size_t len;
	char buf[32];

	a->line = ps->line;
	a->col = ps->col;
	if (!is_word(peek(ps)) || is_digit(peek(ps))) {
		error_here(ps, "%s where a key should be; a line is KEY = VALUE",
			   what_is_here(ps, buf));
		return false;
	}
	while (is_word(peek(ps)))
		step(ps);
	len = (size_t)(ps->p - word);
	if (len >= CFG_KEY_MAX) {
		error_at(ps, a->line, a->col, "key of %zu bytes; at most %d", len, CFG_KEY_MAX - 1);
		return false;
	}
	memcpy(ps->sp->key, word, len);
	ps->sp->key[len] = '\0';
	a->key = ps->sp->key;
	skip_blank(ps, false);
	if (peek(ps) == '+' && ps->p + 1 < ps->end && ps->p[1] == '=') {
		error_here(ps, "'+=' is not supported; write the whole value of '%s' with '='",
			   a->key);
		return false;
	}
	if (peek(ps) != '=') {
		error_here(ps, "%s where '=' should be; a line is KEY = VALUE",
			   what_is_here(ps, buf));
		return false;
	}
	step(ps);
	return true;
}

/* KEY = VALUE and what may follow on the line. False if the parser lost its place; *in_list then
 * says whether that was inside a list. */
static bool parse_statement(struct parser *ps, struct cfg_assign *a, bool *in_list)
{
	char buf[32];

	*a = (struct cfg_assign){.items = ps->sp->items};
	*in_list = false;
	ps->used = 0;
	if (!parse_key(ps, a))
		return false;
	skip_blank(ps, false);
	if (peek(ps) == '[') {
		a->val = (struct cfg_item){.type = CFG_LIST, .line = ps->line, .col = ps->col};
		step(ps);
		*in_list = true;
		if (!parse_list(ps, a))
			return false;
		*in_list = false;
	} else if (!parse_atom(ps, &a->val, false)) {
		return false;
	}
	skip_blank(ps, false);
	if (peek(ps) < 0 || peek(ps) == '\n' || peek(ps) == ';')
		return true;
	error_here(ps, "%s after the value of '%s'; begin a new line or write ';' between two keys",
		   what_is_here(ps, buf), a->key);
	return false;
}

/* A kernel or a disk image named by mistake gets one message, not fifty. */
static bool is_text(const struct parser *ps)
{
	struct parser scan = *ps;

	for (; peek(&scan) >= 0; step(&scan)) {
		if (!peek(&scan)) {
			error_here(&scan, "byte 0x00: this is not a text file");
			return false;
		}
	}
	return true;
}

int cfg_parse(const char *file, const char *text, size_t n, struct cfg_space *sp,
	      bool (*fn)(void *arg, const struct cfg_assign *a), void *arg,
	      const struct cfg_diag *diag)
{
	struct parser ps = {.file = file, .p = text, .end = text + n, .line = 1, .col = 1,
			    .sp = sp, .diag = diag};

	/* Some editors begin a UTF-8 file with a byte order mark. */
	if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3))
		ps.p += 3;
	if (!is_text(&ps))
		return -EINVAL;
	while (ps.errors < CFG_MAX_ERRORS) {
		struct cfg_assign a;
		bool in_list;

		skip_blank(&ps, true);
		if (peek(&ps) < 0)
			break;
		if (peek(&ps) == ';') {
			step(&ps);
			continue;
		}
		ps.stmt_bad = false;
		if (!parse_statement(&ps, &a, &in_list))
			resync(&ps, in_list);
		else if (!ps.stmt_bad && !fn(arg, &a))
			ps.errors++;
	}
	if (ps.errors >= CFG_MAX_ERRORS)
		cfg_report(diag, CFG_ERROR, file, ps.line, ps.col,
			   "%d mistakes, stopped reading here; is this a configuration file?",
			   CFG_MAX_ERRORS);
	return ps.errors ? -EINVAL : 0;
}
