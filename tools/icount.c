/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A plugin for QEMU's TCG (docs/devel/tcg-plugins.rst, interface 1): how often each instruction was run, by its linear
 * address, as lines "ADDRESS COUNT" in the file that the environment's ICOUNT_OUT names. `tools/dalang bench --where` reads it.
 * Debian has no package with qemu-plugin.h; what is used of it stands here.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 };
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*cb)(plugin_id id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_atexit_cb(plugin_id id, void (*cb)(plugin_id id, void *arg), void *arg);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int op, void *to, uint64_t n);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t i);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

#define SLOTS (1u << 20) /* many more than one run has instructions */
static struct {
	uint64_t at, count;
} table[SLOTS];

EXPORT int qemu_plugin_version = 1;

static uint64_t *count_of(uint64_t at)
{
	uint64_t i = at * 0x9e3779b97f4a7c15ull >> 44;

	while (table[i].at && table[i].at != at)
		i = (i + 1) % SLOTS;
	table[i].at = at;
	return &table[i].count;
}

static void translated(plugin_id id, struct qemu_plugin_tb *tb)
{
	(void)id;
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);

		qemu_plugin_register_vcpu_insn_exec_inline(insn, INLINE_ADD_U64, count_of(qemu_plugin_insn_vaddr(insn)), 1);
	}
}

static void ended(plugin_id id, void *arg)
{
	FILE *f = fopen(arg, "w");

	(void)id;
	for (size_t i = 0; f && i < SLOTS; i++)
		if (table[i].count)
			fprintf(f, "%lx %lu\n", table[i].at, table[i].count);
	if (!f || fclose(f))
		perror(arg);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	char *out = getenv("ICOUNT_OUT");

	(void)info, (void)argc, (void)argv;
	if (!out)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, out);
	return 0;
}
