/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's memory types by physical address: SDM vol. 3, 12.11; APM vol. 2, 7.7 to 7.9. With EPT
 * the MTRRs no longer act on what a guest does (SDM vol. 3, 29.3.7.2): the leaf's type stands in
 * their place, so it must be what they say of the page behind it. With NPT they act still (APM
 * vol. 2, 15.25.8), and a leaf of the same type changes nothing.
 */
#pragma once
#include "arch/x86_64/pt.h"

#define MTRR_MAX_VAR 32

struct mtrr {
	bool present; /* without MTRRs all memory is cached */
	u8 nr_var;
	u64 cap, def;
	u8 fixed[88]; /* types: eight of 64 KiB, sixteen of 16 KiB, sixty-four of 4 KiB */
	struct {
		u64 base, mask; /* as in the MSRs; those that are off are left out */
	} var[MTRR_MAX_VAR];
	/* AMD's SYSCFG can make write-back the default type from 4 GiB to here; 0: it does not. */
	hpa_t wb_top;
};

typedef bool (*mtrr_read_fn)(u32 msr, u64 *val); /* false: the MSR does not exist */

/* Pure: the MTRRs as `rd` reads them; `amd`: SYSCFG and TOP_MEM2 are read too. */
void mtrr_read(struct mtrr *m, bool amd, mtrr_read_fn rd);
/* The type at pa, and in *run how many of the `size` bytes from there have it. */
enum pt_memtype mtrr_type(const struct mtrr *m, hpa_t pa, u64 size, u64 *run);

extern struct mtrr host_mtrr;
void mtrr_init(void); /* on the boot CPU; firmware gives all CPUs the same (SDM vol. 3, 12.11.8) */
