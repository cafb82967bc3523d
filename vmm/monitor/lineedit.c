/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/monitor/lineedit.h"
#include "lib/string.h"

#define CTRL(c)	  ((c) & 0x1f)
#define WORD_MAX  64 /* of a completion */
#define TAB_MOST  256u

static void put(struct lineedit *ed, const char *s)
{
	ed->put(ed, s, strlen(s));
}

static u32 window(const struct lineedit *ed)
{
	return MIN(ed->cols - (u32)strlen(ed->prompt) - 2, (u32)LINEEDIT_MAX); /* and room for ^C */
}

size_t lineedit_row(const struct lineedit *ed, char *buf)
{
	u32 n = MIN(ed->len - ed->first, window(ed)), right = ed->first + n - ed->at;
	int k = snprintf(buf, LINEEDIT_SHOWN, "\r%s%.*s\x1b[K", ed->prompt, (int)n, ed->line + ed->first);

	if (right)
		k += snprintf(buf + k, LINEEDIT_SHOWN - k, "\x1b[%uD", right);
	return k;
}

void lineedit_show(struct lineedit *ed)
{
	char row[LINEEDIT_SHOWN];

	if (ed->at < ed->first)
		ed->first = ed->at;
	if (ed->at > ed->first + window(ed))
		ed->first = ed->at - window(ed);
	ed->put(ed, row, lineedit_row(ed, row));
}

static void clear(struct lineedit *ed)
{
	ed->len = ed->at = ed->first = ed->back = 0;
	ed->line[0] = 0;
}

void lineedit_init(struct lineedit *ed)
{
	clear(ed);
	ed->state = KEY_PLAIN;
	ed->cr = ed->tab = false;
	ed->nr_old = 0;
}

/* --- changes --- */

static void insert(struct lineedit *ed, const char *s, u32 n)
{
	if (ed->len + n >= LINEEDIT_MAX)
		return;
	memmove(ed->line + ed->at + n, ed->line + ed->at, ed->len - ed->at + 1);
	memcpy(ed->line + ed->at, s, n);
	ed->len += n;
	ed->at += n;
	/* By far the usual case costs its own bytes alone. */
	if (ed->at == ed->len && ed->at - ed->first <= window(ed))
		ed->put(ed, s, n);
	else
		lineedit_show(ed);
}

static void erase(struct lineedit *ed, u32 from, u32 to)
{
	memmove(ed->line + from, ed->line + to, ed->len - to + 1);
	ed->len -= to - from;
	ed->at = from;
	lineedit_show(ed);
}

static void move(struct lineedit *ed, u32 at)
{
	if (at == ed->at)
		return;
	ed->at = at;
	lineedit_show(ed);
}

static u32 word_left(const struct lineedit *ed)
{
	u32 i = ed->at;

	while (i && ed->line[i - 1] == ' ')
		i--;
	while (i && ed->line[i - 1] != ' ')
		i--;
	return i;
}

static void remember(struct lineedit *ed)
{
	if (!ed->len || (ed->nr_old && !strcmp(ed->old[0], ed->line)))
		return;
	memmove(ed->old[1], ed->old[0], (LINEEDIT_HISTORY - 1) * sizeof(ed->old[0]));
	memcpy(ed->old[0], ed->line, LINEEDIT_MAX);
	ed->nr_old = MIN(ed->nr_old + 1, LINEEDIT_HISTORY);
}

static void look_back(struct lineedit *ed, u32 back)
{
	if (back > ed->nr_old)
		return;
	if (!ed->back)
		memcpy(ed->typed, ed->line, LINEEDIT_MAX);
	ed->back = back;
	memcpy(ed->line, back ? ed->old[back - 1] : ed->typed, LINEEDIT_MAX);
	ed->at = ed->len = strlen(ed->line);
	ed->first = 0;
	lineedit_show(ed);
}

/* --- completion --- */

struct matches {
	u32 word, from; /* which word; where it begins */
	u32 n, common;	/* how many; how long the text is that they share */
	char text[WORD_MAX];
};

/* The i-th candidate if it goes on as the word began. */
static bool candidate(struct lineedit *ed, const struct matches *m, u32 i, char *buf, bool *fits)
{
	if (i == TAB_MOST || !ed->complete(ed->line, m->word, i, buf, WORD_MAX))
		return false;
	*fits = !strncmp(buf, ed->line + m->from, ed->at - m->from);
	return true;
}

static void find_matches(struct lineedit *ed, struct matches *m)
{
	char buf[WORD_MAX];
	bool fits;

	*m = (struct matches){0};
	for (u32 i = 0; i < ed->at; i++) {
		if (ed->line[i] != ' ')
			continue;
		if (i && ed->line[i - 1] != ' ')
			m->word++;
		m->from = i + 1;
	}
	for (u32 i = 0; candidate(ed, m, i, buf, &fits); i++) {
		u32 k = 0;

		if (!fits)
			continue;
		if (!m->n++) {
			memcpy(m->text, buf, WORD_MAX);
			m->common = strlen(buf);
		}
		while (k < m->common && buf[k] == m->text[k])
			k++;
		m->common = k;
	}
}

static void list_matches(struct lineedit *ed, const struct matches *m)
{
	u32 col = 0;
	char buf[WORD_MAX];
	bool fits;

	put(ed, "\r\n");
	for (u32 i = 0; candidate(ed, m, i, buf, &fits); i++) {
		u32 n = strlen(buf);

		if (!fits)
			continue;
		if (col && col + n + 2 >= ed->cols) {
			put(ed, "\r\n");
			col = 0;
		}
		put(ed, col ? "  " : "");
		put(ed, buf);
		col += n + 2;
	}
	put(ed, "\r\n");
	lineedit_show(ed);
}

/* As far as the candidates agree; pressed again, all of them. */
static void complete(struct lineedit *ed, bool again)
{
	struct matches m;
	u32 have;

	find_matches(ed, &m);
	have = ed->at - m.from;
	if (m.n && m.common > have)
		insert(ed, m.text + have, m.common - have);
	if (m.n == 1)
		insert(ed, " ", 1);
	else if (m.n && m.common == have && again)
		list_matches(ed, &m);
}

/* --- keys --- */

/* A cursor key's letter, as of ESC [ and of ESC O. */
static void key_letter(struct lineedit *ed, u8 c)
{
	switch (c) {
	case 'A':
		look_back(ed, ed->back + 1);
		break;
	case 'B':
		if (ed->back)
			look_back(ed, ed->back - 1);
		break;
	case 'C':
		move(ed, MIN(ed->at + 1, ed->len));
		break;
	case 'D':
		move(ed, ed->at ? ed->at - 1 : 0);
		break;
	case 'H':
		move(ed, 0);
		break;
	case 'F':
		move(ed, ed->len);
		break;
	case '~':
		if (ed->number == 1 || ed->number == 7)
			move(ed, 0);
		else if (ed->number == 4 || ed->number == 8)
			move(ed, ed->len);
		else if (ed->number == 3 && ed->at < ed->len)
			erase(ed, ed->at, ed->at + 1);
		break;
	}
}

/* true: the byte belongs to an escape sequence. */
static bool key_sequence(struct lineedit *ed, u8 c)
{
	if (ed->state == KEY_PLAIN || c < 0x20)
		return false; /* a control character breaks one off */
	if (ed->state == KEY_ESC) {
		ed->state = c == '[' ? KEY_CSI : c == 'O' ? KEY_SS3 : KEY_PLAIN;
		ed->number = 0;
		return true;
	}
	if (ed->state == KEY_CSI && c < 0x40) {
		if (c >= '0' && c <= '9' && ed->number < 100)
			ed->number = ed->number * 10 + c - '0';
		else
			ed->number = 1000; /* more parameters: some key with Shift or Ctrl */
		return true;
	}
	ed->state = KEY_PLAIN;
	key_letter(ed, c);
	return true;
}

static void key_control(struct lineedit *ed, u8 c, bool tab)
{
	static const struct {
		char key, letter; /* cursor keys' other names */
	} same[] = {{CTRL('A'), 'H'}, {CTRL('B'), 'D'}, {CTRL('E'), 'F'}, {CTRL('F'), 'C'}, {CTRL('N'), 'B'},
		    {CTRL('P'), 'A'}};

	for (u32 i = 0; i < ARRAY_SIZE(same); i++)
		if (c == same[i].key)
			key_letter(ed, same[i].letter);
	switch (c) {
	case CTRL('H'):
	case 0x7f:
		if (ed->at)
			erase(ed, ed->at - 1, ed->at);
		break;
	case CTRL('D'):
		if (ed->at < ed->len)
			erase(ed, ed->at, ed->at + 1);
		break;
	case CTRL('K'):
		erase(ed, ed->at, ed->len);
		break;
	case CTRL('U'):
		erase(ed, 0, ed->at);
		break;
	case CTRL('W'):
		erase(ed, word_left(ed), ed->at);
		break;
	case CTRL('C'):
		put(ed, "^C\r\n");
		clear(ed);
		lineedit_show(ed);
		break;
	case CTRL('L'):
		put(ed, "\x1b[H\x1b[2J");
		lineedit_show(ed);
		break;
	case '\t':
		complete(ed, tab);
		break;
	case 0x1b:
		ed->state = KEY_ESC;
		break;
	}
}

/* The caller has the line until the next key, which finds an empty one. */
static bool finish(struct lineedit *ed)
{
	move(ed, ed->len);
	put(ed, "\r\n");
	remember(ed);
	ed->len = ed->at = ed->first = ed->back = 0;
	return true;
}

bool lineedit_key(struct lineedit *ed, u8 c)
{
	bool cr = ed->cr, tab = ed->tab;

	ed->cr = c == '\r';
	ed->tab = c == '\t';
	if (!ed->len)
		ed->line[0] = 0;
	if (key_sequence(ed, c))
		return false;
	ed->state = KEY_PLAIN;
	if (c == '\n' && cr)
		return false; /* the second half of one key */
	if (c == '\r' || c == '\n')
		return finish(ed);
	if (c < 0x20 || c == 0x7f)
		key_control(ed, c, tab);
	else if (c < 0x7f)
		insert(ed, (const char *)&c, 1);
	return false;
}
