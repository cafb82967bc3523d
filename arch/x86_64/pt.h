/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The page-table walker. One walker; formats (host, EPT, NPT, later the IOMMU's) are data. It takes
 * its allocator and its accessor to tables as parameters, so that unit tests run it on the build
 * machine. It knows nothing of locks and TLBs: the caller holds the table's writer lock and
 * flushes when a call says so.
 */
#pragma once
#include "lib/types.h"

#define PT_R  BIT(0)
#define PT_W  BIT(1)
#define PT_X  BIT(2) /* also for user pages where the format tells the two apart */
#define PT_U  BIT(3) /* host format: user access. NPT leaves always have U set (APM vol. 2, 15.25.5) */
#define PT_G  BIT(4) /* global; formats without it ignore it */
#define PT_COW BIT(5) /* software bit: write-protected because shared, not because read-only */
#define PT_IGNORE_PAT BIT(6) /* EPT only: the memory type is ours whatever the guest's PAT says */
#define PT_RW  (PT_R | PT_W)
#define PT_RX  (PT_R | PT_X)
#define PT_RWX (PT_R | PT_W | PT_X)

/* Memory types by their PAT/MTRR encoding (SDM vol. 3, table 12-10). */
enum pt_memtype { PT_UC = 0, PT_WC = 1, PT_WT = 4, PT_WP = 5, PT_WB = 6 };

struct pt_format; /* pt_host, pt_npt, pt_ept: data in pt_format.c */
extern const struct pt_format pt_host_format, pt_npt_format, pt_ept_format;
/* 1 GiB leaves are an optional feature in all three: set by CPU detection before first use. */
struct pt_env {
	hpa_t (*alloc)(void *ctx);	     /* one zeroed table; HPA_NONE: out of memory */
	void (*free)(void *ctx, hpa_t table); /* a table no walk can reach any more */
	void *(*access)(void *ctx, hpa_t table); /* table as 512 u64; valid until the next call */
	void *ctx;
	bool leaf_1g; /* may 1 GiB leaves be used */
};

struct pt {
	const struct pt_format *fmt;
	const struct pt_env *env;
	hpa_t root;
	u8 levels; /* 4 or 5 */
	u64 nr_tables; /* root included; retired ones not */
	u64 nr_leaves[3]; /* of 4 KiB, 2 MiB, 1 GiB */
	hpa_t retired;  /* tables out of the tree that a CPU may still have cached: pt_reclaim() */
	u64 nr_retired;
	hpa_t dead[6]; /* pt_destroy_step(): tables still to be looked through, by level; 0 ends a list */
};

struct pt_leaf {
	u64 va;	  /* start of the leaf */
	hpa_t pa; /* of its start */
	u64 size; /* 4K, 2M, 1G */
	u32 prot;
	u32 memtype;
	bool accessed, dirty;
};

int pt_init(struct pt *pt, const struct pt_format *fmt, const struct pt_env *env, u8 levels);
/* Free every table, in the tree or retired, one a call; true: none is left. No CPU walks them any more. */
bool pt_destroy_step(struct pt *pt);
void pt_destroy(struct pt *pt); /* all at once */
/*
 * A table that leaves the tree (pt_map, pt_unmap, pt_merge) is kept until pt_reclaim(): CPUs may
 * walk it through their paging-structure caches until they have been flushed (SDM vol. 3, 4.10.4).
 * Call it after the flush; pt_destroy() does too. Until the flush a CPU may see a spurious fault.
 */
void pt_reclaim(struct pt *pt);
/* In two halves, where others may retire tables during the flush: what is taken before it is freed after it. */
struct pt_retired {
	hpa_t first;
	u64 nr;
};
struct pt_retired pt_take_retired(struct pt *pt);
void pt_free_retired(struct pt *pt, struct pt_retired old); /* needs no writer lock */
/* EPTP/nCR3/CR3-ready value is made by the backend from pt->root. */

/*
 * Map [va, va+size) to pa with the largest leaves that fit; replaces what was there, splits larger
 * leaves at the edges. 4 KiB granularity. Returns 0, -EINVAL (alignment, range), -ENOMEM (what was
 * mapped before the failure stays). *flush is set to true if a present translation changed.
 */
int pt_map(struct pt *pt, u64 va, hpa_t pa, u64 size, u32 prot, u32 memtype, bool *flush);
/* Unmap; holes are fine. Empty tables are freed. */
int pt_unmap(struct pt *pt, u64 va, u64 size, bool *flush);
/* Change the rights of what is mapped in the range; splits at the edges. */
int pt_protect(struct pt *pt, u64 va, u64 size, u32 prot, bool *flush);
/* Take the write right from all of a range in place, without splitting more than the edges: the
 * start of dirty logging and copy-on-write. */
int pt_write_protect(struct pt *pt, u64 va, u64 size, bool *flush);
/* Look va up. Returns 0 and fills leaf, or -ENOENT. */
int pt_query(const struct pt *pt, u64 va, struct pt_leaf *leaf);
/* Split the leaf at va until it is `size` (4K or 2M); merge 512 equal-righted contiguous entries
 * back into one leaf of `size` (2M or 1G). 0, -ENOENT, -EINVAL (not mergeable), -ENOMEM. */
int pt_split(struct pt *pt, u64 va, u64 size);
int pt_merge(struct pt *pt, u64 va, u64 size, bool *flush);
/* Call fn for each dirty leaf in the range and clear its dirty bit (formats with A/D bits). */
int pt_harvest_dirty(struct pt *pt, u64 va, u64 size,
		     void (*fn)(void *arg, const struct pt_leaf *leaf), void *arg, bool *flush);
/* Call fn for every leaf in order; stops when fn returns false. */
void pt_walk(const struct pt *pt, bool (*fn)(void *arg, const struct pt_leaf *leaf), void *arg);
