/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who answers at ports or at addresses that are no RAM: sorted arrays of disjoint regions, searched by bisection after
 * a look at what answered last. Fixed regions are there from a VM's creation; those of PCI BARs are taken out and put in
 * anew whenever one of them moves. Guarded by the VM's device lock. All there is but the local APICs is in here.
 */
#pragma once
#include "vmm/vdev.h"

#define VM_MAX_REGIONS 85 /* a table takes a page */

struct region {
	u64 first, last;
	u64 base; /* handlers count from here: `first`, but 0 for fixed ports */
	struct vdev *d;
	union {
		const struct vdev_pio *pio;
		const struct vdev_mmio *mmio;
	};
	bool bar;
};
struct region_table {
	u32 nr, hit; /* hit: index of what was found last; always inside the array */
	struct region r[VM_MAX_REGIONS];
};
static_assert(sizeof(struct region_table) <= PAGE_SIZE, "see VM_MAX_REGIONS");

/* -EEXIST: it overlaps one that is there; -ENOSPC: full. Nothing has changed then. */
int regions_add(struct region_table *t, const struct region *n);
void regions_drop_bars(struct region_table *t);

/* The first region that ends at or after `at`; NULL: none. */
static inline const struct region *regions_find(struct region_table *t, u64 at)
{
	const struct region *r = &t->r[t->hit];
	u32 lo = 0, hi = t->nr;

	if (likely(at - r->first <= r->last - r->first))
		return r;
	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (at > t->r[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == t->nr)
		return NULL;
	t->hit = lo;
	return &t->r[lo];
}

/* Does the region found for `at` hold all of the access, or a part of it? */
static inline bool region_covers(const struct region *r, u64 at, unsigned size)
{
	return r && at >= r->first && size - 1 <= r->last - at;
}
static inline bool region_touches(const struct region *r, u64 at, unsigned size)
{
	return r && r->first <= at + size - 1;
}
