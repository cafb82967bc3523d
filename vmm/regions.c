/* SPDX-License-Identifier: BSD-2-Clause */
/* See regions.h. */
#include "vmm/regions.h"
#include "lib/errno.h"
#include "lib/string.h"

int regions_add_pio(struct regions *t, const struct region_pio *n)
{
	u32 i;

	if (t->nr_pio == VM_MAX_REGIONS)
		return -ENOSPC;
	for (i = t->nr_pio; i && t->pio[i - 1].first > n->last; i--)
		;
	if (i && t->pio[i - 1].last >= n->first)
		return -EEXIST;
	memmove(&t->pio[i + 1], &t->pio[i], (t->nr_pio - i) * sizeof(t->pio[0]));
	t->pio[i] = *n;
	t->nr_pio++;
	return 0;
}

int regions_add_mmio(struct regions *t, const struct region_mmio *n)
{
	u32 i;

	if (t->nr_mmio == VM_MAX_REGIONS)
		return -ENOSPC;
	for (i = t->nr_mmio; i && t->mmio[i - 1].first > n->last; i--)
		;
	if (i && t->mmio[i - 1].last >= n->first)
		return -EEXIST;
	memmove(&t->mmio[i + 1], &t->mmio[i], (t->nr_mmio - i) * sizeof(t->mmio[0]));
	t->mmio[i] = *n;
	t->nr_mmio++;
	return 0;
}

void regions_drop_bars(struct regions *t)
{
	u32 n = 0;

	for (u32 i = 0; i < t->nr_pio; i++)
		if (!t->pio[i].bar)
			t->pio[n++] = t->pio[i];
	t->nr_pio = n;
	n = 0;
	for (u32 i = 0; i < t->nr_mmio; i++)
		if (!t->mmio[i].bar)
			t->mmio[n++] = t->mmio[i];
	t->nr_mmio = n;
	/* What was found last may lie behind the end now: the first is as good a guess, or one that nobody asks for. */
	t->pio_hit = t->mmio_hit = 0;
	if (!t->nr_pio)
		t->pio[0] = (struct region_pio){.first = ~0u, .last = ~0u};
	if (!t->nr_mmio)
		t->mmio[0] = (struct region_mmio){.first = ~0ull, .last = ~0ull};
}
