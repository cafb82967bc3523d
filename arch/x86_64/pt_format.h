/* SPDX-License-Identifier: BSD-2-Clause */
/* What a page-table format is made of. Only pt.c and pt_format.c look inside. */
#pragma once
#include "arch/x86_64/pt.h"

struct pt_format {
	const char *name;
	u64 present;	/* an entry is present if any of these is set */
	u64 addr_mask;	/* physical address field */
	u64 table;	/* bits of an entry that points to a table */
	u64 r, w, u, g; /* right granted when set; 0: the format has no such bit */
	u64 x, nx;	/* execute granted by x, or taken away by nx */
	u64 ipat;	/* ignore the guest's PAT */
	u64 cow;	/* software bit */
	u64 large;	/* leaf above level 1 */
	u64 a, d;
	bool canonical;	/* addresses are sign-extended */
	u64 always;	/* set in every leaf */
	/* Memory-type field by enum pt_memtype. In a 4 KiB leaf and in a large one. */
	u64 mt_small[8], mt_large[8];
	u64 mt_small_mask, mt_large_mask;
};
