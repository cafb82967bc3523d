/* SPDX-License-Identifier: BSD-2-Clause */
/* The CPUID policy as data: cpuid.c works it out for a VM, docs/cpuid-msr.md is printed from it. */
#pragma once
#include "lib/types.h"

enum cpuid_how {
	CPUID_PASS,   /* the host's */
	CPUID_XSAVE,  /* the host's, if XCR0 can hold SSE state */
	CPUID_AVX,    /* ... AVX state */
	CPUID_AVX512, /* ... AVX-512 state */
	CPUID_MADE,   /* ours, whatever the host has: a feature bit is set */
	CPUID_LIVE,   /* worked out when it is read, or when the VM is created */
	CPUID_HIDE,   /* zero; named so that one sees it was not forgotten */
};
struct cpuid_bits {
	u32 leaf;
	char reg;      /* 'a' to 'd' */
	u8 first, last; /* bits */
	u8 how;
	const char *name;
};
extern const struct cpuid_bits cpuid_policy[];
extern const u32 cpuid_policy_size;
