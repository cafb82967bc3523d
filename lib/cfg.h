/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * xl.cfg's syntax: KEY=VALUE lines, strings in single or double quotes with xl's escapes, integers,
 * lists of strings (nested lists are refused by name), comments with #, several on a line with ';'. One pass, no
 * allocation: the caller's callback gets each assignment. Pure; runs in boot/, in the core and on
 * the build machine.
 */
#pragma once
#include "lib/types.h"

enum cfg_level { CFG_ERROR, CFG_WARNING };
struct cfg_diag {
	/* line is "FILE:LINE:COLUMN: error: what is wrong; what would be right" */
	void (*report)(void *arg, enum cfg_level level, const char *line);
	void *arg;
};

#define CFG_KEY_MAX 64
#define CFG_STR_MAX 2048
#define CFG_LIST_MAX 64

enum cfg_type { CFG_INT, CFG_STR, CFG_LIST };
struct cfg_item { /* one string or integer with the place it began */
	enum cfg_type type;
	u32 line, col;
	s64 num;
	const char *str; /* terminated; escapes resolved; valid during the callback */
	size_t len;
};
struct cfg_assign {
	const char *key;
	u32 line, col;	/* of the key */
	struct cfg_item val; /* CFG_LIST: see items */
	u32 nr_items;
	const struct cfg_item *items;
};

/* Work space: about 200 KiB would not fit a kernel stack, so the caller gives it. */
struct cfg_space {
	char key[CFG_KEY_MAX];
	char pool[16384];
	struct cfg_item items[CFG_LIST_MAX];
};

/* Calls fn for every assignment in order; fn returns false if it reported an error (parsing goes on,
 * so that all mistakes of a file are told at once). 0, or -EINVAL if anything was reported. */
int cfg_parse(const char *file, const char *text, size_t n, struct cfg_space *sp,
	      bool (*fn)(void *arg, const struct cfg_assign *a), void *arg, const struct cfg_diag *diag);
/* Format one message in the form above and report it. */
void cfg_report(const struct cfg_diag *diag, enum cfg_level level, const char *file, u32 line,
		u32 col, const char *fmt, ...) __format(6, 7);
