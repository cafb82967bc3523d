/* SPDX-License-Identifier: BSD-2-Clause */
/* What vmm/config*.c share with each other. */
#pragma once
#include "vmm/config.h"

#define CONFIG_MAX_KEYS 40

struct config_ctx;
struct config_key {
	const char *name;
	bool (*set)(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k);
	size_t off, size; /* where in the result, for the setters that serve several keys */
	s64 min, max;
	const char *unit;
};

struct config_place {
	u32 line, col;
};

struct config_ctx {
	const char *file;
	const struct cfg_diag *diag;
	const struct config_key *keys;
	u32 nr_keys;
	void *out;
	struct config_place seen[CONFIG_MAX_KEYS]; /* line 0: not yet */
	bool syntax_errors;                        /* a key may be missing for that reason */
};

/* Report and be false. */
#define fail(c, line, col, ...) \
	(cfg_report((c)->diag, CFG_ERROR, (c)->file, line, col, __VA_ARGS__), false)
#define warn(c, line, col, ...) \
	cfg_report((c)->diag, CFG_WARNING, (c)->file, line, col, __VA_ARGS__)

/* The number of s in a list of words that ends with NULL, or -1. */
int config_word(const char *s, const char *const *words);
/* One more disk of xl-disk-configuration(5) in c->out (struct vm_config), in its first empty place. */
bool config_add_disk(struct config_ctx *c, const struct cfg_item *it);
/* The same of one of its channels. */
bool config_add_channel(struct config_ctx *c, const struct cfg_item *it);
/* A card of xl-network-configuration(5). host: an uplink, which has no MAC of its own and sends in others' names. */
bool config_vif(struct config_ctx *c, const struct cfg_item *it, bool host, struct vm_vif *vif);
/* The same for a VM that runs, in the first empty place of c->out (struct vm_config). */
bool config_add_vif(struct config_ctx *c, const struct cfg_item *it);
/* The MACs that were not given, which no two cards may share; false: reported. */
bool config_vif_macs(struct config_ctx *c, const struct config_place *at, struct vm_config *vm);
/* Its socket device. */
bool config_vsock(struct config_ctx *c, const struct cfg_item *it);
/* The CPUs that xl's list in `it` names, into mask[VM_CPUS_MAX / 64]. */
bool config_cpus(struct config_ctx *c, const struct cfg_item *it, u64 *mask);
