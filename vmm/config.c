/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keys of VM files and of dalang.cfg (vmm/config.h), above the syntax of lib/cfg.h. Every check
 * that needs nothing but the file is made here, so that build/dalang-cfg refuses on the build
 * machine what the hypervisor would refuse.
 */
#include "vmm/config_parse.h"
#include "vmm/xl_keys.h"
#include "arch/x86_64/timeconv.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"

#define MEMORY_MIN 16
#define MEMORY_MAX (4ll << 20) /* 4 TiB */

/* Too much for a kernel stack. Files are parsed by one pCPU at a time: at boot by the boot CPU,
 * later by the one that runs the monitor. */
static struct {
	struct cfg_space space;
	char root[CFG_STR_MAX], extra[CFG_STR_MAX];
} work;

static const struct config_place *seen(const struct config_ctx *c, const char *name)
{
	for (u32 i = 0; i < c->nr_keys; i++)
		if (!strcmp(c->keys[i].name, name))
			return &c->seen[i];
	return NULL;
}

static const char *type_name(enum cfg_type t)
{
	return t == CFG_INT ? "a number" : t == CFG_STR ? "a string" : "a list";
}

/* A string of digits counts as a number, as in xl: memory = '512' is common in old files. */
static bool string_number(const char *s, s64 *v)
{
	*v = 0;
	if (!*s)
		return false;
	for (; *s; s++) {
		if (*s < '0' || *s > '9' || *v > MEMORY_MAX * 1024)
			return false;
		*v = *v * 10 + (*s - '0');
	}
	return true;
}

static bool get_number(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k,
		       s64 *v)
{
	const struct cfg_item *it = &a->val;

	*v = it->num;
	if (it->type == CFG_LIST)
		return fail(c, it->line, it->col, "%s is a number, this is a list; write %s = %lld",
			    a->key, a->key, (long long)k->min);
	if (it->type == CFG_STR && !string_number(it->str, v))
		return fail(c, it->line, it->col,
			    "%s is a number, this is the string \"%.40s\"; write %s = %lld, say",
			    a->key, it->str, a->key, (long long)k->min);
	if (*v < k->min || *v > k->max)
		return fail(c, it->line, it->col, "%s = %lld is out of range; %lld to %lld%s",
			    a->key, (long long)*v, (long long)k->min, (long long)k->max, k->unit);
	return true;
}

/* A number or, of one byte and 0 to 1, a bool. */
static bool set_number(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	s64 v;

	if (!get_number(c, a, k, &v))
		return false;
	memcpy((char *)c->out + k->off, &v, k->size);
	return true;
}

/* A string of the key, printable: it ends up in one-line messages and in a guest's memory. */
static bool get_string(struct config_ctx *c, const struct cfg_assign *a, size_t size,
		       const char **s)
{
	const struct cfg_item *it = &a->val;

	if (it->type != CFG_STR)
		return fail(c, it->line, it->col, "%s is a string, this is %s; write %s = \"...\"",
			    a->key, type_name(it->type), a->key);
	if (it->len >= size)
		return fail(c, it->line, it->col, "%s of %zu bytes; at most %zu", a->key, it->len,
			    size - 1);
	for (size_t i = 0; i < it->len; i++)
		if (((u8)it->str[i] < 0x20 && it->str[i] != '\t') || it->str[i] == 0x7f)
			return fail(c, it->line, it->col,
				    "%s holds the control character 0x%02x; leave it out", a->key,
				    (unsigned)(u8)it->str[i]);
	*s = it->str;
	return true;
}

static bool set_string(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	const char *s;

	if (!get_string(c, a, k->size, &s))
		return false;
	memcpy((char *)c->out + k->off, s, a->val.len + 1);
	return true;
}

static bool set_path(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	if (a->val.type == CFG_STR && !a->val.len)
		return fail(c, a->val.line, a->val.col,
			    "%s is empty; write %s = \"FILE\" or leave the line out", a->key,
			    a->key);
	return set_string(c, a, k);
}

static bool set_root_extra(struct config_ctx *c, const struct cfg_assign *a,
			   const struct config_key *k)
{
	const char *s;

	(void)k;
	if (!get_string(c, a, CFG_STR_MAX, &s))
		return false;
	memcpy(a->key[0] == 'r' ? work.root : work.extra, s, a->val.len + 1);
	return true;
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
	       c == '_' || c == '-';
}

bool config_name_ok(const char *s)
{
	size_t n = strnlen(s, VM_NAME_MAX);

	for (size_t i = 0; i < n; i++)
		if (!name_char(s[i]))
			return false;
	return n && n < VM_NAME_MAX;
}

static bool set_name(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	const char *s;

	if (!get_string(c, a, k->size, &s))
		return false;
	if (!*s)
		return fail(c, a->val.line, a->val.col,
			    "name is empty; write letters, digits, '.', '_' and '-'");
	for (; *s; s++)
		if (!name_char(*s))
			return fail(c, a->val.line, a->val.col,
				    "name \"%s\" holds '%c'; write letters, digits, '.', '_' and "
				    "'-' only",
				    a->val.str, *s);
	return set_string(c, a, k);
}

int config_word(const char *s, const char *const *words)
{
	for (int i = 0; words[i]; i++)
		if (!strcmp(s, words[i]))
			return i;
	return -1;
}

/* A string, and which of the words it is, or -1. false: it is none, which has been said. */
static bool get_word(struct config_ctx *c, const struct cfg_assign *a, const char *const *words, const char **s, int *i)
{
	if (!get_string(c, a, CFG_STR_MAX, s))
		return false;
	*i = config_word(*s, words);
	return true;
}

static bool set_type(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	static const char *const words[] = {"hvm", "pvh", NULL};
	struct vm_config *vm = c->out;
	const char *s;
	int i;

	(void)k;
	if (!get_word(c, a, words, &s, &i))
		return false;
	if (i < 0)
		return fail(c, a->val.line, a->val.col,
			    "type \"%.40s\"%s; write \"hvm\" or \"pvh\"", s,
			    strcmp(s, "pv") ? "" : ": paravirtual guests are Xen's own");
	vm->type = i ? VM_TYPE_PVH : VM_TYPE_HVM;
	return true;
}

static bool set_virtio_transport(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	static const char *const words[] = {"pci", "pci-transitional", "mmio", NULL};
	const char *s;
	int i;

	(void)k;
	if (!get_word(c, a, words, &s, &i))
		return false;
	if (i < 0)
		return fail(c, a->val.line, a->val.col, "%s \"%.40s\"; write \"pci\", \"pci-transitional\" or \"mmio\"", a->key, s);
	((struct vm_config *)c->out)->virtio_transport = (enum vm_virtio)i;
	return true;
}

static bool set_action(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	static const char *const words[] = {[ACTION_DESTROY] = "destroy",
					    [ACTION_RESTART] = "restart",
					    [ACTION_RENAME_RESTART] = "rename-restart",
					    [ACTION_PRESERVE] = "preserve", NULL};
	static const char *const others[] = {"coredump-destroy", "coredump-restart", "soft-reset",
					     NULL};
	const char *s;
	int i;

	if (!get_word(c, a, words, &s, &i))
		return false;
	if (i < 0)
		return fail(c, a->val.line, a->val.col,
			    "%s = \"%.40s\"%s; write \"destroy\", \"restart\", \"rename-restart\" "
			    "or \"preserve\"",
			    a->key, s,
			    config_word(s, others) < 0 ? " is no action of xl"
						       : " is known to xl but not supported");
	*(enum vm_action *)((char *)c->out + k->off) = (enum vm_action)i;
	return true;
}

/* The items of a list of printable strings, each to fn. */
static bool each_string(struct config_ctx *c, const struct cfg_assign *a, u32 max,
			bool (*fn)(struct config_ctx *c, const struct cfg_item *it))
{
	bool ok = true;

	if (a->val.type != CFG_LIST)
		return fail(c, a->val.line, a->val.col,
			    "%s is a list, this is %s; write %s = [ \"...\" ]", a->key,
			    type_name(a->val.type), a->key);
	if (a->nr_items > max)
		return fail(c, a->items[max].line, a->items[max].col, "%u items in %s; at most %u",
			    a->nr_items, a->key, max);
	for (u32 i = 0; i < a->nr_items; i++) {
		struct cfg_assign one = {.key = a->key, .val = a->items[i]};
		const char *s;

		ok = get_string(c, &one, CFG_STR_MAX, &s) && fn(c, &a->items[i]) && ok;
	}
	return ok;
}

static bool set_disks(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	(void)k;
	return each_string(c, a, VM_MAX_DISKS, config_add_disk);
}

static bool add_vif(struct config_ctx *c, const struct cfg_item *it)
{
	struct vm_config *vm = c->out;

	return config_vif(c, it, false, &vm->vifs[vm->nr_vifs++]);
}

static bool add_rule(struct config_ctx *c, const struct cfg_item *it)
{
	struct vm_config *vm = c->out;
	char why[120];

	return net_rule_parse(it->str, &vm->rules[vm->nr_rules++], why, sizeof(why)) ||
	       fail(c, it->line, it->col, "firewall \"%.60s\": %s", it->str, why);
}

static bool add_uplink(struct config_ctx *c, const struct cfg_item *it)
{
	struct host_config *h = c->out;

	return config_vif(c, it, true, &h->uplinks[h->nr_uplinks++]);
}

static bool set_net(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	return each_string(c, a, (u32)k->max, a->key[0] == 'v' ? add_vif : a->key[0] == 'f' ? add_rule : add_uplink);
}

static bool set_vsock(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	return each_string(c, a, (u32)k->max, config_vsock);
}

static bool set_channels(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	(void)k;
	return each_string(c, a, VM_MAX_CHANNELS, config_add_channel);
}

/* Whoever loads files has loaded them: the UEFI application by this list, GRUB by its own. */
static bool a_file(struct config_ctx *c, const struct cfg_item *it)
{
	return it->str[0] || fail(c, it->line, it->col, "files: an empty name; write a file's name, or take it out");
}

static bool set_files(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	return each_string(c, a, (u32)k->max, a_file);
}

static size_t fw_cfg_name(const char *s)
{
	const char *end = strchr(s, '=');

	return end ? (size_t)(end - s) : 0;
}

/* QEMU leaves everything but opt/ to itself, and so do guests' drivers. */
static bool add_fw_cfg(struct config_ctx *c, const struct cfg_item *it)
{
	struct vm_config *vm = c->out;
	size_t name = fw_cfg_name(it->str);
	char *at = vm->fw_cfg;

	if (name <= 4 || name > VM_FW_CFG_NAME_MAX || memcmp(it->str, "opt/", 4))
		return fail(c, it->line, it->col,
			    "fw_cfg \"%.60s\": no name of opt/ and up to %d characters; write \"opt/org.example/name=text\"",
			    it->str, VM_FW_CFG_NAME_MAX - 4);
	for (; *at; at += strlen(at) + 1)
		if (fw_cfg_name(at) == name && !memcmp(at, it->str, name))
			return fail(c, it->line, it->col, "fw_cfg %.*s stands twice; remove one of the two",
				    (int)name, it->str);
	if (it->len + 2 > (size_t)(vm->fw_cfg + sizeof(vm->fw_cfg) - at))
		return fail(c, it->line, it->col, "fw_cfg: more than %zu bytes in all; shorten the strings",
			    sizeof(vm->fw_cfg) - 2);
	memcpy(at, it->str, it->len + 1);
	return true;
}

static bool set_fw_cfg(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	(void)k;
	return each_string(c, a, VM_MAX_FW_CFG, add_fw_cfg);
}

static bool add_vm(struct config_ctx *c, const struct cfg_item *it)
{
	struct host_config *h = c->out;

	if (!it->len || it->len >= sizeof(h->vms[0]))
		return fail(c, it->line, it->col, "VM file name of %zu bytes; 1 to %zu", it->len,
			    sizeof(h->vms[0]) - 1);
	for (u32 i = 0; i < h->nr_vms; i++)
		if (!strcmp(h->vms[i], it->str))
			return fail(c, it->line, it->col,
				    "VM file \"%s\" stands twice; a VM is started once, write "
				    "another file with another name",
				    it->str);
	memcpy(h->vms[h->nr_vms++], it->str, it->len + 1);
	return true;
}

/* xl's list, of one string a vCPU, would pin each by itself. */
static bool set_cpus(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	const char *s;

	(void)k;
	if (a->val.type == CFG_LIST)
		return fail(c, a->val.line, a->val.col,
			    "cpus as a list: vCPUs are not pinned one by one; write cpus = \"2-3\", say, for all");
	return get_string(c, a, CFG_STR_MAX, &s) &&
	       config_cpus(c, &a->val, ((struct vm_config *)c->out)->cpus);
}

static bool set_vms(struct config_ctx *c, const struct cfg_assign *a, const struct config_key *k)
{
	(void)k;
	return each_string(c, a, HOST_MAX_VMS, add_vm);
}

static bool set_loglevel(struct config_ctx *c, const struct cfg_assign *a,
			 const struct config_key *k)
{
	static const char *const words[] = {[LOG_ERR] = "error",
					    [LOG_WARN] = "warning",
					    [LOG_INFO] = "info",
					    [LOG_DEBUG] = "debug",
					    NULL};
	struct host_config *h = c->out;
	const char *s;
	int i;

	(void)k;
	if (!get_word(c, a, words, &s, &i))
		return false;
	if (i < 0)
		return fail(c, a->val.line, a->val.col,
			    "loglevel \"%.40s\"; write \"error\", \"warning\", \"info\" or "
			    "\"debug\"",
			    s);
	h->loglevel = i;
	return true;
}

#define MEMBER(s, f) offsetof(struct s, f), sizeof(((struct s *)0)->f)
#define VMS(f)	     MEMBER(vm_config, f)
#define HOSTS(f)     MEMBER(host_config, f)
#define MEMORY	     MEMORY_MIN, MEMORY_MAX, " MiB"
#define BOOLEAN	     0, 1, ""

static const struct config_key vm_keys[] = {
	{"name", set_name, VMS(name), 0, 0, NULL},
	{"memory", set_number, VMS(memory), MEMORY},
	{"maxmem", set_number, VMS(maxmem), MEMORY},
	{"vcpus", set_number, VMS(vcpus), 1, VM_MAX_VCPUS, ""},
	{"maxvcpus", set_number, VMS(maxvcpus), 1, VM_MAX_VCPUS, ""},
	{"cpus", set_cpus, 0, 0, 0, 0, NULL},
	{"cpu_weight", set_number, VMS(cpu_weight), 1, 65535, ""},
	{"cap", set_number, VMS(cap), 0, 6400, " per cent of one CPU, 0 for none"},
	{"dedicated", set_number, VMS(dedicated), BOOLEAN},
	{"type", set_type, 0, 0, 0, 0, NULL},
	{"kernel", set_path, VMS(kernel), 0, 0, NULL},
	{"ramdisk", set_path, VMS(ramdisk), 0, 0, NULL},
	{"cmdline", set_string, VMS(cmdline), 0, 0, NULL},
	{"root", set_root_extra, 0, 0, 0, 0, NULL},
	{"extra", set_root_extra, 0, 0, 0, 0, NULL},
	{"disk", set_disks, 0, 0, 0, 0, NULL},
	{"vif", set_net, 0, 0, 0, VM_MAX_VIFS, NULL},
	{"vsock", set_vsock, 0, 0, 0, 1, NULL},
	{"firewall", set_net, 0, 0, 0, VM_MAX_RULES, NULL},
	{"on_poweroff", set_action, VMS(on_poweroff), 0, 0, NULL},
	{"on_reboot", set_action, VMS(on_reboot), 0, 0, NULL},
	{"on_crash", set_action, VMS(on_crash), 0, 0, NULL},
	{"debug_exit", set_number, VMS(debug_exit), BOOLEAN},
	{"gdb", set_number, VMS(gdb), BOOLEAN},
	{"debugcon", set_number, VMS(debugcon), BOOLEAN},
	{"fw_cfg", set_fw_cfg, 0, 0, 0, 0, NULL},
	{"hpet", set_number, VMS(hpet), BOOLEAN},
	{"balloon", set_number, VMS(balloon), BOOLEAN},
	{"pv_console", set_number, VMS(pv_console), BOOLEAN},
	{"channel", set_channels, 0, 0, 0, 0, NULL},
	{"virtio_transport", set_virtio_transport, 0, 0, 0, 0, NULL},
	{"rng", set_number, VMS(rng), BOOLEAN},
	{"paravirt", set_number, VMS(paravirt), BOOLEAN},
	{"testdev", set_number, VMS(testdev), 0, 8, ""},
	{"tsc_khz", set_number, VMS(tsc_khz), TSC_KHZ_MIN, TSC_KHZ_MAX, " kHz"},
	{"torture", set_number, VMS(torture), 0, INT64_MAX, ""},
};

static const struct config_key host_keys[] = {
	{"vms", set_vms, 0, 0, 0, 0, NULL},
	{"files", set_files, 0, 0, 0, CFG_LIST_MAX, NULL},
	{"uplink", set_net, 0, 0, 0, HOST_MAX_UPLINKS, NULL},
	{"mirror", set_number, HOSTS(mirror), 0, MIRROR_MARKED, ""},
	{"exit_when_empty", set_number, HOSTS(exit_when_empty), BOOLEAN},
	{"loglevel", set_loglevel, 0, 0, 0, 0, NULL},
};

static_assert(ARRAY_SIZE(vm_keys) <= CONFIG_MAX_KEYS && ARRAY_SIZE(host_keys) <= CONFIG_MAX_KEYS,
	      "places for all keys");

/* Levenshtein distance of two keys, each shorter than CFG_KEY_MAX. */
static u32 distance(const char *a, const char *b)
{
	u32 row[CFG_KEY_MAX + 1], n = (u32)strlen(b);

	for (u32 j = 0; j <= n; j++)
		row[j] = j;
	for (u32 i = 0; a[i]; i++) {
		u32 diagonal = row[0];

		row[0] = i + 1;
		for (u32 j = 0; j < n; j++) {
			u32 cost = diagonal + (a[i] != b[j]);

			diagonal = row[j + 1];
			row[j + 1] = MIN(cost, MIN(row[j], diagonal) + 1);
		}
	}
	return row[n];
}

static void nearer(const char *key, const char *known, const char **near, u32 *best)
{
	u32 d = distance(key, known);

	if (d < *best) {
		*best = d;
		*near = known;
	}
}

static bool unknown_key(struct config_ctx *c, const struct cfg_assign *a, bool xl)
{
	const char *near = NULL;
	/* Half a word changed is another word. */
	u32 best = MIN((u32)strlen(a->key) / 2 + 1, 4u);

	for (u32 i = 0; i < c->nr_keys; i++)
		nearer(a->key, c->keys[i].name, &near, &best);
	for (u32 i = 0; xl && i < ARRAY_SIZE(xl_keys); i++)
		nearer(a->key, xl_keys[i], &near, &best);
	if (near)
		return fail(c, a->line, a->col, "unknown key '%s'; did you mean '%s'?", a->key,
			    near);
	return fail(c, a->line, a->col, "unknown key '%s'; remove the line, or see %s", a->key,
		    xl ? "xl.cfg(5) for the names" : "README for dalang.cfg's keys");
}

static bool assign(void *arg, const struct cfg_assign *a)
{
	struct config_ctx *c = arg;
	bool xl = c->keys == vm_keys;

	for (u32 i = 0; i < c->nr_keys; i++) {
		struct config_place *p = &c->seen[i];

		if (strcmp(a->key, c->keys[i].name))
			continue;
		if (p->line)
			return fail(c, a->line, a->col,
				    "'%s' is already set in line %u; remove one of the two", a->key,
				    p->line);
		*p = (struct config_place){a->line, a->col};
		return c->keys[i].set(c, a, &c->keys[i]);
	}
	for (u32 i = 0; xl && i < ARRAY_SIZE(xl_keys); i++) {
		if (!strcmp(a->key, xl_keys[i])) {
			warn(c, a->line, a->col, "'%s' is known to xl, not used by Dalang", a->key);
			return true;
		}
	}
	return unknown_key(c, a, xl);
}

/* cmdline, or else root and extra put together, as xl does. */
static bool make_cmdline(struct config_ctx *c, struct vm_config *vm)
{
	const struct config_place *r = seen(c, "root"), *e = seen(c, "extra"), *p = r->line ? r : e;
	int n;

	if (!p->line)
		return true;
	if (seen(c, "cmdline")->line) {
		warn(c, p->line, p->col, "root and extra are ignored because cmdline is set");
		return true;
	}
	n = snprintf(vm->cmdline, sizeof(vm->cmdline), "%s%s%s%s", r->line ? "root=" : "",
		     work.root, r->line && e->line ? " " : "", work.extra);
	if (n < 0 || (size_t)n >= sizeof(vm->cmdline))
		return fail(c, p->line, p->col, "root and extra make %d bytes; at most %zu", n,
			    sizeof(vm->cmdline) - 1);
	return true;
}

static bool check_memory(struct config_ctx *c, struct vm_config *vm)
{
	const struct config_place *m = seen(c, "memory"), *max = seen(c, "maxmem");

	if (!m->line && !max->line && c->syntax_errors)
		return false;
	if (!m->line && !max->line)
		return fail(c, 1, 1, "no memory; add a line memory = 256 (MiB)");
	if (!m->line)
		vm->memory = vm->maxmem;
	if (!max->line)
		vm->maxmem = vm->memory;
	/* A value of 0 was refused above: say nothing more about it. */
	if (vm->memory && vm->maxmem && vm->maxmem < vm->memory)
		return fail(c, max->line, max->col,
			    "maxmem = %llu is less than memory = %llu; write at least %llu",
			    (unsigned long long)vm->maxmem, (unsigned long long)vm->memory,
			    (unsigned long long)vm->memory);
	if (vm->memory && vm->maxmem > vm->memory && !seen(c, "balloon")->line)
		vm->balloon = true;
	if (vm->memory && vm->maxmem > vm->memory && !vm->balloon)
		return fail(c, max->line, max->col, "maxmem = %llu beside balloon = 0, without which memory does not grow; take one of the two out",
			    (unsigned long long)vm->maxmem);
	return true;
}

static bool check_vcpus(struct config_ctx *c, struct vm_config *vm)
{
	const struct config_place *max = seen(c, "maxvcpus");

	if (!max->line || !vm->maxvcpus)
		vm->maxvcpus = vm->vcpus;
	if (vm->maxvcpus < vm->vcpus)
		return fail(c, max->line, max->col,
			    "maxvcpus = %u is less than vcpus = %u; write at least %u",
			    vm->maxvcpus, vm->vcpus, vm->vcpus);
	return true;
}

/* What lib/cfg.c reports passes through here; what this file reports does not. */
static void syntax_report(void *arg, enum cfg_level level, const char *line)
{
	struct config_ctx *c = arg;

	c->syntax_errors = true;
	c->diag->report(c->diag->arg, level, line);
}

static bool parse(struct config_ctx *c, const char *text, size_t n)
{
	struct cfg_diag diag = {.report = syntax_report, .arg = c};

	work.root[0] = work.extra[0] = '\0';
	return !cfg_parse(c->file, text, n, &work.space, assign, c, &diag);
}

int config_parse_vm(const char *file, const char *text, size_t n, struct vm_config *out,
		    const struct cfg_diag *diag)
{
	struct config_ctx c = {.file = file, .diag = diag, .keys = vm_keys,
			       .nr_keys = ARRAY_SIZE(vm_keys), .out = out};
	bool ok;

	memset(out, 0, sizeof(*out));
	snprintf(out->file, sizeof(out->file), "%s", file);
	out->vcpus = 1;
	out->hpet = true;
	out->cpu_weight = 256;
	memset(out->cpus, 0xff, sizeof(out->cpus));
	out->on_poweroff = out->on_crash = ACTION_DESTROY;
	out->on_reboot = ACTION_RESTART;
	out->paravirt = true;
	ok = parse(&c, text, n);
	if (!seen(&c, "name")->line && !c.syntax_errors)
		ok = fail(&c, 1, 1, "no name; add a line name = \"NAME\"");
	if (!seen(&c, "kernel")->line && !c.syntax_errors)
		ok = fail(&c, 1, 1, "no kernel; add a line kernel = \"FILE\"");
	if (out->dedicated && out->cap)
		ok = fail(&c, seen(&c, "cap")->line, seen(&c, "cap")->col,
			  "cap = %llu beside dedicated = 1, which gives whole CPUs; take one of the two out",
			  (unsigned long long)out->cap);
	ok = check_memory(&c, out) && ok;
	ok = check_vcpus(&c, out) && ok;
	ok = make_cmdline(&c, out) && ok;
	ok = config_vif_macs(&c, seen(&c, "vif"), out) && ok;
	for (u32 i = 0; i < out->nr_rules; i++)
		if (out->rules[i].vif != RULE_ALL_VIFS && out->rules[i].vif >= out->nr_vifs)
			ok = fail(&c, seen(&c, "firewall")->line, seen(&c, "firewall")->col,
				  "firewall: there is no vif %u; the first is vif 0, and there are %u", out->rules[i].vif,
				  out->nr_vifs);
	return ok ? 0 : -EINVAL;
}

int config_parse_host(const char *file, const char *text, size_t n, struct host_config *out,
		      const struct cfg_diag *diag)
{
	struct config_ctx c = {.file = file, .diag = diag, .keys = host_keys,
			       .nr_keys = ARRAY_SIZE(host_keys), .out = out};

	memset(out, 0, sizeof(*out));
	out->loglevel = LOG_INFO;
	if (!parse(&c, text, n))
		return -EINVAL;
	if (!out->nr_vms)
		warn(&c, 1, 1, "no VM to start; add a line vms = [ \"FILE.cfg\" ]");
	return 0;
}
