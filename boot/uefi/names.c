/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/uefi/names.h"
#include "lib/string.h"

struct search {
	const char *const *keys;
	name_fn fn;
	void *arg;
};

static void pass_on(const struct search *s, const char *name, size_t len)
{
	char copy[NAME_MAX_LEN + 1];

	len = MIN(len, NAME_MAX_LEN);
	memcpy(copy, name, len);
	copy[len] = 0;
	if (len)
		s->fn(s->arg, copy);
}

/*
 * The target of a disk (xl-disk-configuration(5)): the first parameter without '=', or target=, which
 * takes the rest of the string, commas and all.
 */
static void disk_target(const struct search *s, const char *spec)
{
	for (;;) {
		size_t len;

		spec += *spec == ' ' || *spec == '\t';
		if (*spec == ' ' || *spec == '\t')
			continue;
		if (!strncmp(spec, "target=", 7)) {
			spec += 7;
			len = strlen(spec);
		} else {
			for (len = 0; spec[len] && spec[len] != ',';)
				len++;
			for (size_t i = 0; i < len; i++) {
				if (spec[i] != '=')
					continue;
				/* Another KEY=VALUE; the target may follow. */
				if (!spec[len])
					return;
				spec += len + 1;
				len = 0;
				break;
			}
			if (!len && *spec && *spec != ',')
				continue;
		}
		while (len && (spec[len - 1] == ' ' || spec[len - 1] == '\t'))
			len--;
		pass_on(s, spec, len);
		return;
	}
}

static bool look(void *arg, const struct cfg_assign *a)
{
	const struct search *s = arg;
	bool disk = !strcmp(a->key, "disk");

	for (u32 k = 0; s->keys[k]; k++) {
		if (strcmp(a->key, s->keys[k]))
			continue;
		for (u32 i = 0; a->val.type == CFG_LIST && i < a->nr_items; i++) {
			if (a->items[i].type != CFG_STR)
				continue;
			if (disk)
				disk_target(s, a->items[i].str);
			else
				pass_on(s, a->items[i].str, strlen(a->items[i].str));
		}
		if (a->val.type == CFG_STR)
			pass_on(s, a->val.str, strlen(a->val.str));
	}
	return true;
}

static void ignore(void *arg, enum cfg_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static void find(const char *text, size_t n, struct cfg_space *sp, struct search *s)
{
	const struct cfg_diag diag = { .report = ignore };

	cfg_parse("", text, n, sp, look, s, &diag);
}

void names_of_host(const char *text, size_t n, struct cfg_space *sp, name_fn fn, void *arg)
{
	static const char *const keys[] = { "vms", NULL };

	find(text, n, sp, &(struct search){ keys, fn, arg });
}

void names_of_vm(const char *text, size_t n, struct cfg_space *sp, name_fn fn, void *arg)
{
	static const char *const keys[] = { "kernel", "ramdisk", "disk", NULL };

	find(text, n, sp, &(struct search){ keys, fn, arg });
}
