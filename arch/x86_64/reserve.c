/* SPDX-License-Identifier: BSD-2-Clause */
/* The exit path's frames: a small stack of them on each pCPU, so that it takes no lock. */
#include "arch/x86_64/frame_priv.h"
#include "arch/x86_64/pcpu_arch.h"

hpa_t frame_reserve_take(enum frame_type type, u16 owner)
{
	struct pcpu_arch *a = this_arch();
	hpa_t pa;

	if (!a->nr_reserve)
		return HPA_NONE;
	pa = a->reserve[--a->nr_reserve];
	frame_retype(pa, type, owner);
	return pa;
}

/* Zeroing a frame is 512 stores: a few at a call keep the step short. */
#define REFILL_STEP 16

bool frame_reserve_refill(void)
{
	struct pcpu_arch *a = this_arch();

	for (unsigned n = 0; n < REFILL_STEP && a->nr_reserve < RESERVE_FRAMES; n++) {
		hpa_t pa = frame_alloc(0, FRAME_PCPU, OWNER_HOST);

		if (pa == HPA_NONE)
			break;
		a->reserve[a->nr_reserve++] = pa;
	}
	return a->nr_reserve != 0;
}
