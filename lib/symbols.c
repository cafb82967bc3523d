/* SPDX-License-Identifier: BSD-2-Clause */
/* tools/symtab.awk writes the table: a header, entries sorted by address, then the names. */
#include "lib/symbols.h"

struct symbol {
	u32 offset; /* from the start of the image */
	u32 name;   /* from the start of the table */
};
struct symbol_table {
	u32 nr;
	u32 pad;
	struct symbol sym[];
};
_Static_assert(sizeof(struct symbol) == 8 && offsetof(struct symbol_table, sym) == 8,
	       "as tools/symtab.awk writes it");

extern const char __image_start[], __text_start[], __text_end[];
extern const char __symbols_start[], __symbols_end[];

const char *symbol_lookup(u64 addr, u64 *offset)
{
	const struct symbol_table *t = (const void *)__symbols_start;
	u64 rel = addr - (uintptr_t)__image_start;
	u32 lo = 0, hi;

	/* In the first of the two links the table is empty. */
	if (__symbols_end - __symbols_start < (ptrdiff_t)sizeof(*t))
		return NULL;
	if (addr < (uintptr_t)__text_start || addr >= (uintptr_t)__text_end)
		return NULL;
	for (hi = t->nr; lo < hi;) {
		u32 mid = lo + (hi - lo) / 2;

		if (t->sym[mid].offset <= rel)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo)
		return NULL;
	*offset = rel - t->sym[lo - 1].offset;
	return __symbols_start + t->sym[lo - 1].name;
}
