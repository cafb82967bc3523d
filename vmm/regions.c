/* SPDX-License-Identifier: BSD-2-Clause */
/* See regions.h. */
#include "vmm/regions.h"
#include "lib/errno.h"
#include "lib/string.h"

int regions_add(struct region_table *t, const struct region *n)
{
	u32 i;

	if (t->nr == VM_MAX_REGIONS)
		return -ENOSPC;
	for (i = t->nr; i && t->r[i - 1].first > n->last; i--)
		;
	if (i && t->r[i - 1].last >= n->first)
		return -EEXIST;
	memmove(&t->r[i + 1], &t->r[i], (t->nr - i) * sizeof(t->r[0]));
	t->r[i] = *n;
	t->nr++;
	return 0;
}

void regions_drop_bars(struct region_table *t)
{
	u32 n = 0;

	for (u32 i = 0; i < t->nr; i++)
		if (!t->r[i].bar)
			t->r[n++] = t->r[i];
	t->nr = n;
	/* What was found last may lie behind the end now: the first is as good a guess, or one that nobody asks for. */
	t->hit = 0;
	if (!n)
		t->r[0] = (struct region){.first = ~0ull, .last = ~0ull};
}
