/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSRs of a guest as data: msr.c acts on them, docs/cpuid-msr.md is printed from them. */
#pragma once
#include "lib/types.h"

struct vcpu;

#define MSR_PASSED "*" /* begins `what` of one that the guest reads and writes without an exit */

struct msr_desc {
	u32 first, last;
	/* false, or no function: #GP */
	bool (*read)(struct vcpu *v, u32 msr, u64 *val);
	bool (*write)(struct vcpu *v, u32 msr, u64 val);
	const char *what;
};
extern const struct msr_desc msr_table[]; /* sorted */
extern const u32 msr_table_size;
