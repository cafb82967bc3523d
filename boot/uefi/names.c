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

static void pass_trimmed(const struct search *s, const char *name, size_t len)
{
	while (len && (name[len - 1] == ' ' || name[len - 1] == '\t'))
		len--;
	pass_on(s, name, len);
}

static bool has_equals(const char *param, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (param[i] == '=')
			return true;
	}
	return false;
}

/* Parameters that stand without a value and take no position. */
static bool is_flag(const char *param, size_t len)
{
	static const char *const flags[] = {"cdrom",      "direct-io-safe", "discard",
					    "no-discard", "trusted",        "untrusted"};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		if (strlen(flags[i]) == len && !memcmp(flags[i], param, len))
			return true;
	}
	return false;
}

/* A file, behind the prefixes of what serves it; the machine's own disks are none (drivers/block.h). */
static void pass_target(const struct search *s, const char *p, size_t len)
{
	while (len >= 4 && (!memcmp(p, "cow:", 4) || !memcmp(p, "ram:", 4))) {
		p += 4;
		len -= 4;
	}
	if (len < 5 || memcmp(p, "host:", 5))
		pass_trimmed(s, p, len);
}

/*
 * The target of a disk (xl-disk-configuration(5)): the first parameter by position, or target=,
 * which takes the rest of the string, commas and all.
 */
static void disk_target(const struct search *s, const char *spec)
{
	u32 position = 0;

	while (*spec) {
		const char *comma;
		size_t len;

		while (*spec == ' ' || *spec == '\t')
			spec++;
		if (!strncmp(spec, "target=", 7)) {
			pass_target(s, spec + 7, strlen(spec + 7));
			return;
		}
		comma = strchr(spec, ',');
		len = comma ? (size_t)(comma - spec) : strlen(spec);
		if (!has_equals(spec, len) && !is_flag(spec, len) && position++ == 0)
			pass_target(s, spec, len);
		spec += len + (comma != NULL);
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
	const struct cfg_diag diag = {.report = ignore};

	cfg_parse("", text, n, sp, look, s, &diag);
}

void names_of_host(const char *text, size_t n, struct cfg_space *sp, name_fn fn, void *arg)
{
	static const char *const keys[] = {"vms", NULL};

	find(text, n, sp, &(struct search){keys, fn, arg});
}

void names_of_files(const char *text, size_t n, struct cfg_space *sp, name_fn fn, void *arg)
{
	static const char *const keys[] = {"files", NULL};

	find(text, n, sp, &(struct search){keys, fn, arg});
}

void names_of_vm(const char *text, size_t n, struct cfg_space *sp, name_fn fn, void *arg)
{
	static const char *const keys[] = {"kernel", "ramdisk", "disk", NULL};

	find(text, n, sp, &(struct search){keys, fn, arg});
}
