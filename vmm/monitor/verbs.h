/* SPDX-License-Identifier: BSD-2-Clause */
/* The verbs' functions, for the table in verbs.c; private to vmm/monitor/. */
#pragma once
#include "vmm/monitor/monitor.h"

/* Returns MON_FAILED; fmt says why, without the verb's name. */
enum mon_status mon_fail(struct mon_call *c, const char *fmt, ...) __format(2, 3);
static inline const char *mon_opt(const struct mon_call *c, char letter)
{
	return c->opt[letter - 'a'];
}
/* A decimal number, at most max. */
bool mon_number(const char *s, u64 max, u64 *out);

#define MON_TABLE(o, key, cols, style) mon_table(o, key, cols, ARRAY_SIZE(cols), style)

/* verb_vm.c */
void list_begin(struct mon_call *c);
enum mon_status verb_list(struct mon_call *c);
enum mon_status verb_create(struct mon_call *c);
enum mon_status verb_destroy(struct mon_call *c);
enum mon_status verb_shutdown(struct mon_call *c);
enum mon_status verb_reboot(struct mon_call *c);
enum mon_status verb_reset(struct mon_call *c);
enum mon_status verb_pause(struct mon_call *c);
enum mon_status verb_unpause(struct mon_call *c);
enum mon_status verb_trigger(struct mon_call *c);
enum mon_status verb_console(struct mon_call *c);
/* verb_host.c */
enum mon_status verb_help(struct mon_call *c);
enum mon_status verb_mem(struct mon_call *c);
