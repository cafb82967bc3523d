/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/cfg.c */
/* The syntax of configuration files: any bytes are parsed or refused with a message. */
#include <stdlib.h>
#include <string.h>
#include "lib/cfg.h"

static unsigned reports;

static void report(void *arg, enum cfg_level level, const char *line)
{
	(void)arg;
	(void)level;
	reports++;
	for (; *line; line++)
		if ((u8)*line < 0x20 || *line == 0x7f)
			abort();
}

static void check(const struct cfg_item *it)
{
	if (it->type == CFG_STR && (strlen(it->str) != it->len || it->len >= CFG_STR_MAX))
		abort();
	if (!it->line || !it->col || (it->type == CFG_INT && it->num < 0))
		abort();
}

static bool assign(void *arg, const struct cfg_assign *a)
{
	(void)arg;
	if (!a->key[0] || strlen(a->key) >= CFG_KEY_MAX || a->nr_items > CFG_LIST_MAX)
		abort();
	check(&a->val);
	for (u32 i = 0; i < a->nr_items; i++)
		check(&a->items[i]);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cfg_space space;
	const struct cfg_diag diag = {.report = report};

	reports = 0;
	if (!cfg_parse("f", (const char *)data, size, &space, assign, NULL, &diag) != !reports)
		abort();
	return 0;
}
