/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nested faults on RAM: the guest may use all of it, so whatever the nested tables lack is put right
 * and the guest tries again. A write to a write-protected leaf comes here (dirty logging and
 * copy-on-write will hang on it), by the guest's program or by the CPU's walk of the guest's tables,
 * which counts as a write (APM vol. 2, 15.25.5; SDM vol. 3, 29.3.3.2 with A/D flags).
 */
#include "arch/x86_64/frame.h"
#include "vmm/vm.h"

/* Faults in a row at one address with nothing to mend. After the first one everything is flushed. */
#define SAME_FAULTS_MAX 64

static int allow_all(struct vm *vm, const struct pt_leaf *l)
{
	bool flush = false; /* rights that grow need none: a CPU that has the old ones faults once more */

	return pt_protect(&vm->nested, l->va, l->size, PT_RWX | PT_U, &flush);
}

/* The tables allow it: they did not when the CPU looked (another vCPU may have mended them meanwhile), or it
 * looked into its TLB. */
static void spurious(struct vcpu *v, gpa_t gpa)
{
	hv->flush_nested(&v->hv);
	if (gpa != v->fault_gpa)
		v->same_faults = 0;
	v->fault_gpa = gpa;
	if (++v->same_faults > SAME_FAULTS_MAX)
		vm_kill(v->vm, "the CPU faults at %#lx, which its nested tables allow",
			(unsigned long)gpa);
}

void fault_ram(struct vcpu *v, const struct vm_exit *e)
{
	struct vm *vm = v->vm;
	u32 need = e->npf.write ? PT_W : e->npf.fetch ? PT_X : PT_R;
	bool there, lacks, allowed = false;
	struct pt_leaf l;
	int r = 0;

	spin_lock(&vm->nested_lock);
	vm->in_exit = true;
	there = !pt_query(&vm->nested, e->npf.gpa, &l);
	lacks = !there && !vm_backed(vm, e->npf.gpa);
	if (!there && !lacks)
		r = vm_nested_populate(vm, e->npf.gpa);
	else if (there && (l.prot & need) != need)
		r = allow_all(vm, &l);
	else
		allowed = there;
	vm->in_exit = false;
	spin_unlock(&vm->nested_lock);
	if (allowed) {
		spurious(v, e->npf.gpa);
		return;
	}
	v->same_faults = 0;
	if (lacks)
		vcpu_back(v, e->npf.gpa); /* it faults again */
	if (!r)
		return;
	/* Out of frames: the guest stays out until there are some, and faults here again. */
	v->state = VCPU_PARKED;
	vcpu_request(v, REQ_REFILL);
}

void fault_before_write(struct vm *vm, gpa_t gpa, u64 n)
{
	spin_lock(&vm->nested_lock);
	for (gpa_t at = gpa; at - gpa < n;) {
		struct pt_leaf l;

		if (pt_query(&vm->nested, at, &l)) { /* not shown to the guest now: nothing to ask */
			at = ALIGN_DOWN(at, PAGE_SIZE) + PAGE_SIZE;
			continue;
		}
		if (!(l.prot & PT_W))
			allow_all(vm, &l); /* a whole leaf: takes no frame, so cannot fail */
		at = l.va + l.size;
	}
	spin_unlock(&vm->nested_lock);
}
