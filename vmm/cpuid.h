/* SPDX-License-Identifier: BSD-2-Clause */
/* What CPUID tells a guest. One policy table (cpuid.c); each VM gets the answers worked out at
 * creation. */
#pragma once
#include "arch/x86_64/asm.h"
#include "arch/x86_64/x86.h"

#define CPUID_BASIC 0x20
#define CPUID_EXT   0x22
#define CPUID_HV    5

struct cpuid_table {
	u32 max_basic, max_ext;
	struct cpuid basic[CPUID_BASIC]; /* 0.. */
	struct cpuid ext[CPUID_EXT];     /* 0x80000000.. */
	struct cpuid hv[CPUID_HV];       /* 0x40000000, ..01, ..10, 0x40000100, ..01 */
};

struct vm;
int cpuid_build(struct vm *vm); /* -ENOMEM */
/* Features the rest of the vmm asks about: those the guest was told of. */
bool cpuid_guest_has(const struct cpuid_table *t, u32 leaf, char reg, unsigned bit);
