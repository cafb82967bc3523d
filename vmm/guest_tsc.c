/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's TSC: the host's, times a ratio that is 1 unless its file or its past asks for another, plus an offset. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "vmm/vm.h"

bool vm_set_tsc_khz(struct vm *vm, u64 khz)
{
	u64 ratio = tsc_ratio_for(khz, tsc_khz, hv->tsc_scaling);

	if (!ratio)
		return false;
	vm->tsc_ratio = ratio;
	vm->tsc_khz = ratio == TSC_RATIO_ONE ? tsc_khz : khz;
	return true;
}

void vcpu_set_tsc_offset(struct vcpu *v, u64 offset)
{
	v->tsc_offset = offset;
	hv->set_tsc(&v->hv, offset, v->vm->tsc_ratio);
}

u64 vcpu_tsc(struct vcpu *v)
{
	return vm_scale_tsc(v->vm, rdtsc()) + v->tsc_offset;
}

/* Not by way of nanoseconds, which lose ticks, the more the older the guest is. A deadline is unsigned: ~0 is one
 * that never comes, not one that has passed. */
void vcpu_timer_set_tsc(struct vcpu *v, u64 tsc)
{
	u64 now = rdtsc(), guest = vm_scale_tsc(v->vm, now) + v->tsc_offset, ahead = tsc > guest ? tsc - guest : 0;

	timer_set(&v->lapic_timer, now + MIN(tsc_unscale(ahead, v->vm->tsc_ratio), BIT(60)));
}
