/* SPDX-License-Identifier: BSD-2-Clause */
/* xl's CPU lists: "all", "2-3", "0-7,^5", "1,3". What stands later counts, as in xl. */
#include "vmm/config_parse.h"
#include "lib/string.h"

static bool number(const char **s, u32 *n)
{
	const char *from = *s;

	for (*n = 0; **s >= '0' && **s <= '9' && *n <= VM_CPUS_MAX; (*s)++)
		*n = *n * 10 + (u32)(**s - '0');
	return *s != from;
}

/* One piece between commas: [^] all | N | N-M. The reason why not, or NULL. */
static const char *piece(const char **s, u64 *mask)
{
	bool out = **s == '^';
	u32 first = 0, last = VM_CPUS_MAX - 1;

	*s += out;
	if (!strncmp(*s, "node", 4))
		return "nodes are not known here, name their CPUs";
	if (!strncmp(*s, "all", 3)) {
		*s += 3;
	} else {
		if (!number(s, &first))
			return "a CPU's number, a range or \"all\" is missing";
		last = first;
		if (**s == '-' && (++*s, !number(s, &last)))
			return "a range has no end";
		if (last < first)
			return "a range runs backwards";
		if (last >= VM_CPUS_MAX)
			return "the number is too large";
	}
	for (u32 i = first; i <= last; i++) {
		if (out)
			mask[i / 64] &= ~BIT(i % 64);
		else
			mask[i / 64] |= BIT(i % 64);
	}
	return NULL;
}

static void skip_blanks(const char **s)
{
	while (**s == ' ' || **s == '\t')
		(*s)++;
}

const char *config_cpu_list(const char *s, u64 *mask)
{
	const char *why;
	u64 any = 0;

	memset(mask, 0, VM_CPUS_MAX / 8);
	for (;; s++) {
		skip_blanks(&s);
		why = piece(&s, mask);
		skip_blanks(&s);
		if (!why && *s && *s != ',')
			why = "numbers, ranges and \"all\" are separated by commas";
		if (why)
			return why;
		if (!*s)
			break;
	}
	for (u32 i = 0; i < VM_CPUS_MAX / 64; i++)
		any |= mask[i];
	return any ? NULL : "no CPU is left";
}

bool config_cpus(struct config_ctx *c, const struct cfg_item *it, u64 *mask)
{
	const char *why = config_cpu_list(it->str, mask);

	return !why || fail(c, it->line, it->col, "cpus \"%.40s\": %s; write \"2-3\" or \"0-7,^5\", say",
			    it->str, why);
}
