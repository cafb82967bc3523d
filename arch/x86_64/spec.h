/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one place for what is done against speculation across the border of a guest. Both
 * backends call it: spec_cpu_init() from cpu_enable, spec_vcpu_load() from load, spec_vcpu_gone()
 * from vcpu_destroy, spec_enter() right before the entry stub.
 */
#pragma once
#include "lib/types.h"

struct hv_vcpu;

void spec_cpu_init(void); /* this pCPU's needs */
/* Another vCPU than the last one on this pCPU: its branch predictions are not for this one. */
void spec_vcpu_load(const struct hv_vcpu *v);
/* v's memory will be freed: a later vCPU at the same address is another one. Not loaded. */
void spec_vcpu_gone(const struct hv_vcpu *v);

extern bool spec_enter_needed; /* some pCPU needs spec_enter_slow() */
void spec_enter_slow(void);
/* Before each entry: buffers that the guest could sample (VERW) and L1D (L1TF). */
static inline void spec_enter(void)
{
	if (unlikely(spec_enter_needed))
		spec_enter_slow();
}
