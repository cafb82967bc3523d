/* SPDX-License-Identifier: BSD-2-Clause */
/* From a line to a verb, and a verb step by step. */
#include "vmm/monitor/monitor.h"
#include "arch/x86_64/asm.h"
#include "lib/string.h"
#include "vmm/host.h"
#include "vmm/monitor/verbs.h"
#include "vmm/vm.h"

enum mon_status mon_fail(struct mon_call *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->why, sizeof(c->why), fmt, ap);
	va_end(ap);
	return MON_FAILED;
}

bool mon_number(const char *s, u64 max, u64 *out)
{
	u64 v = 0;

	if (!*s)
		return false;
	for (; *s; s++) {
		u64 digit = (u64)*s - '0';

		if (digit > 9 || digit > max || v > (max - digit) / 10)
			return false;
		v = v * 10 + digit;
	}
	*out = v;
	return true;
}

/* --- the line --- */

static const struct verb *find_verb(const char *name)
{
	for (u32 i = 0; i < monitor_nr_verbs; i++)
		if (!strcmp(monitor_verbs[i].name, name))
			return &monitor_verbs[i];
	return NULL;
}

/* Cuts c->line at its blanks. The number of words, MON_WORDS + 1 if there are more. */
static u32 split(struct mon_call *c, const char **words)
{
	u32 n = 0;

	for (char *p = c->line;;) {
		while (*p == ' ' || *p == '\t')
			*p++ = 0;
		if (!*p || n > MON_WORDS)
			return n;
		if (n < MON_WORDS)
			words[n] = p;
		n++;
		while (*p && *p != ' ' && *p != '\t')
			p++;
	}
}

/* An option and, if it takes one, the word behind it: how many words that is; 0: it is wrong. */
static u32 option(struct mon_call *c, const char *word, const char *next)
{
	const char *known;

	word = strcmp(word, "--force") ? word : "-f"; /* as xl has it, too */
	known = word[1] >= 'a' && word[1] <= 'z' && !word[2] ? strchr(c->verb->opts ?: "", word[1]) : NULL;

	if (!known) {
		mon_fail(c, "no such option: %.32s; `help %s` lists them", word, c->verb->name);
		return 0;
	}
	if (known[1] != ':') {
		c->opt[word[1] - 'a'] = "";
		return 1;
	}
	if (!next) {
		mon_fail(c, "%s needs a word behind it", word);
		return 0;
	}
	c->opt[word[1] - 'a'] = next;
	return 2;
}

static enum mon_status parse_words(struct mon_call *c, const char **words, u32 n)
{
	const struct verb *v = c->verb;

	for (u32 i = 1; i < n;) {
		if (!strcmp(words[i], "-j")) {
			i++;
		} else if (words[i][0] == '-' && words[i][1]) {
			u32 used = option(c, words[i], i + 1 < n ? words[i + 1] : NULL);

			if (!used)
				return MON_FAILED;
			i += used;
		} else if (v->takes != VERB_HOST && !c->name) {
			c->name = words[i++];
		} else {
			c->argv[c->argc++] = words[i++];
		}
	}
	if ((v->takes == VERB_VM || v->takes == VERB_FILE) && !c->name)
		return mon_fail(c, "name a VM");
	if (c->argc < v->min)
		return mon_fail(c, "a word is missing: %s %s", v->name, v->args);
	if (c->argc > v->max && v->takes == VERB_HOST && !v->max)
		return mon_fail(c, "it takes no argument");
	if (c->argc > v->max)
		return mon_fail(c, "one word too many");
	return MON_MORE;
}

enum mon_status monitor_start(struct mon_call *c, const char *line, struct mon_out *o)
{
	const char *words[MON_WORDS];
	bool json = false;
	u32 n;

	memset(c, 0, sizeof(*c));
	c->out = o;
	str_copy(c->line, line, sizeof(c->line));
	n = split(c, words);
	for (u32 i = 1; i < MIN(n, (u32)MON_WORDS); i++)
		json |= !strcmp(words[i], "-j");
	mon_begin(o, json);
	if (!n)
		return MON_DONE;
	c->word = words[0];
	c->verb = find_verb(words[0]);
	if (!c->verb)
		mon_fail(c, "no such verb; `help` lists them");
	else if (n > MON_WORDS)
		mon_fail(c, "more than %u words", MON_WORDS);
	else if (parse_words(c, words, n) == MON_MORE)
		return MON_MORE;
	mon_end(o, c->why);
	return MON_FAILED;
}

/* --- steps --- */

struct vm *mon_vm(const char *name)
{
	u64 id;

	list_for_each (n, &vm_list)
		if (!strcmp(list_entry(n, struct vm, node)->name, name))
			return list_entry(n, struct vm, node);
	if (!mon_number(name, 0xffff, &id))
		return NULL;
	list_for_each (n, &vm_list)
		if (list_entry(n, struct vm, node)->id == id)
			return list_entry(n, struct vm, node);
	return NULL;
}

/* VMs come and go between two steps, so the place in their list is an id: each is met once. */
struct vm *mon_vm_after(u32 id)
{
	struct vm *best = NULL;

	list_for_each (n, &vm_list) {
		struct vm *vm = list_entry(n, struct vm, node);

		if (vm->id > id && (!best || vm->id < best->id))
			best = vm;
	}
	return best;
}

static enum mon_status run_locked(struct mon_call *c)
{
	bool each = c->verb->takes == VERB_EACH && !c->name;
	enum mon_status st;

	c->vm = each ? mon_vm_after(c->each) : mon_vm(c->name);
	if (!c->vm && each)
		return MON_DONE;
	if (!c->vm)
		return mon_fail(c, "no such VM; `list` shows them");
	if (c->vm->id != c->cur) { /* another than at the last step */
		c->cur = c->vm->id;
		c->pos = 0;
		memset(c->sum, 0, sizeof(c->sum));
	}
	st = c->verb->run(c);
	if (!each || st == MON_FAILED)
		return st;
	if (st == MON_DONE)
		c->each = c->cur;
	return MON_MORE;
}

enum mon_status monitor_step(struct mon_call *c)
{
	struct mon_out *o = c->out;
	enum mon_status st;

	if (o->room && o->room(o) < MON_STEP_BYTES)
		return MON_WAIT;
	if (!c->begun && c->verb->begin)
		c->verb->begin(c);
	c->begun = true;
	if (c->until && rdtsc() < c->until)
		return MON_WAIT;
	if (c->verb->takes == VERB_VM || c->verb->takes == VERB_EACH) {
		spin_lock(&vm_list_lock);
		st = run_locked(c);
		c->vm = NULL;
		spin_unlock(&vm_list_lock);
	} else {
		st = c->verb->run(c);
	}
	if (st == MON_MORE)
		mon_flush(o);
	else
		mon_end(o, st == MON_FAILED ? c->why : NULL);
	return st;
}

enum mon_status monitor_line(struct mon_call *c, const char *line, struct mon_out *o)
{
	enum mon_status st = monitor_start(c, line, o);

	while (st == MON_MORE)
		st = monitor_step(c);
	return st;
}

/* --- for completion --- */

bool monitor_name(enum verb_takes takes, u32 i, char *name, size_t n)
{
	const char *s = NULL;

	if (takes == VERB_VERB && i < monitor_nr_verbs)
		s = monitor_verbs[i].name;
	if (takes == VERB_FILE)
		s = host_vm_file_name(i);
	if (s)
		return str_copy(name, s, n);
	if (takes != VERB_VM && takes != VERB_EACH)
		return false;
	spin_lock(&vm_list_lock);
	list_for_each (node, &vm_list)
		if (!i--) {
			s = list_entry(node, struct vm, node)->name;
			str_copy(name, s, n);
			break;
		}
	spin_unlock(&vm_list_lock);
	return s;
}
