/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x87/SSE/AVX state. The hypervisor itself is built without those registers, so a guest's state
 * stays in the CPU from load to put; it is switched eagerly when the vCPU changes.
 */
#pragma once
#include "lib/types.h"

struct hv_vcpu;
/* Every CPU: set CR4.OSXSAVE, learn the size of the area. Features are the boot CPU's; a pCPU that lacks one stays out (-ENOSYS). */
int fpu_cpu_init(void);
u64 fpu_xcr0_mask(void);     /* the XCR0 bits guests may set */
u32 fpu_area_size(void);     /* bytes of the XSAVE area for that mask (standard format) */
/* The state after reset (FCW 37Fh... SDM vol. 3, table 10-1), XCR0 = 1. Area: fpu_area_size(), 64-byte aligned. */
void fpu_area_init(void *area);
/* Would XRSTOR take it? Anything else raises #GP (SDM vol. 1, 13.8): in the host, so it is asked of
 * every area that did not come from fpu_save(). */
bool fpu_area_valid(const void *area);
/* Something wrote to its x87 or SSE part: it is to be loaded. */
void fpu_area_changed(void *area);
/* Load / store v->xsave, v->xcr0, v->dr, v->dr6 to and from the CPU. XSAVE with all bits of the mask. A backend's load() and put() call them. */
void fpu_load(struct hv_vcpu *v);
void fpu_save(struct hv_vcpu *v);
/* Is val a legal XCR0 for a guest (SDM vol. 1, 13.3; what the mask allows)? */
bool fpu_xcr0_valid(u64 val);
