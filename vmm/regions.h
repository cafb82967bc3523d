/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which device answers at which port and address: two sorted arrays of disjoint regions, searched by bisection
 * after a look at what answered last. Fixed regions are there from a VM's creation; those of PCI BARs are taken
 * out and put in anew whenever one of them moves. Guarded by the VM's device lock.
 */
#pragma once
#include "vmm/vdev.h"

#define VM_MAX_REGIONS 96

struct region_pio {
	u32 first, last;
	u32 base; /* handlers count from here: 0, or where the BAR lies */
	bool bar;
	const struct vdev_pio *r;
	struct vdev *d;
};
struct region_mmio {
	gpa_t first, last;
	bool bar;
	const struct vdev_mmio *r;
	struct vdev *d;
};
struct regions {
	u32 nr_pio, nr_mmio, pio_hit, mmio_hit; /* hit: index of what was found last; always inside the array */
	struct region_pio pio[VM_MAX_REGIONS];
	struct region_mmio mmio[VM_MAX_REGIONS];
};

/* -EEXIST: it overlaps one that is there; -ENOSPC: full. Nothing has changed then. */
int regions_add_pio(struct regions *t, const struct region_pio *n);
int regions_add_mmio(struct regions *t, const struct region_mmio *n);
void regions_drop_bars(struct regions *t);

/* The first region that ends at or after port; NULL: none. */
static inline const struct region_pio *regions_find_pio(struct regions *t, u32 port)
{
	const struct region_pio *r = &t->pio[t->pio_hit];
	u32 lo = 0, hi = t->nr_pio;

	if (likely(port - r->first <= r->last - r->first))
		return r;
	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (port > t->pio[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == t->nr_pio)
		return NULL;
	t->pio_hit = lo;
	return &t->pio[lo];
}

/* The region that holds all of an access; NULL: none. */
static inline const struct region_mmio *regions_find_mmio(struct regions *t, gpa_t gpa, unsigned size)
{
	const struct region_mmio *r = &t->mmio[t->mmio_hit];
	u32 lo = 0, hi = t->nr_mmio;

	if (unlikely(gpa - r->first > r->last - r->first)) {
		while (lo < hi) {
			u32 mid = (lo + hi) / 2;

			if (gpa > t->mmio[mid].last)
				lo = mid + 1;
			else
				hi = mid;
		}
		if (lo == t->nr_mmio)
			return NULL;
		t->mmio_hit = lo;
		r = &t->mmio[lo];
	}
	return gpa >= r->first && size - 1 <= r->last - gpa ? r : NULL;
}
