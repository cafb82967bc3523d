/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RAM without memory behind it: blocks that the guest gave back through its balloon, or that it has not yet come to use
 * (maxmem above memory). What is given back is blocks of 2 MiB, as the guests' pool hands them out; of a block whose
 * pages come one by one each counts, and it goes with the last. Whoever touches a block that has gone gets a zeroed
 * one: the guest by nested faults, each of which zeroes a part; we ourselves (gmem.c) at once.
 *
 * A block leaves in two steps. vm_release_...(), under the device lock, takes it out of the slots and the nested tables.
 * Then a vCPU flushes (REQ_RELEASE), after which no CPU has it in its TLB, nor any vCPU's handler in a window; devices' own
 * accesses are under the lock. Only now it goes to the pool, and only now the device may tell its driver.
 */
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/vm.h"

#define RETRY_NS 10000000ull /* no memory: until the vCPU tries again */

/* --- a block comes --- */

bool vm_backed(const struct vm *vm, gpa_t gpa)
{
	const struct slot *s = vm_slot(vm, gpa);

	return !s || READ_ONCE(s->obj->blocks[slot_block(s, gpa)]) != HPA_NONE;
}

/* It is zeroed. Another pCPU may have been faster. */
static hpa_t publish(struct vm *vm, hpa_t *place, hpa_t block)
{
	hpa_t there;

	spin_lock(&vm->nested_lock);
	there = *place;
	if (there == HPA_NONE)
		WRITE_ONCE(*place, block);
	spin_unlock(&vm->nested_lock);
	if (there == HPA_NONE)
		return block;
	gpool_put_block(block);
	return there;
}

hpa_t vm_back_block(struct vm *vm, hpa_t *place)
{
	hpa_t block = gpool_alloc_block(vm->id);
	u64 pos = 0;

	if (block == HPA_NONE)
		return HPA_NONE;
	while (!gpool_zero_block(block, &pos))
		;
	return publish(vm, place, block);
}

/* A step for each fault; what one has begun is ended before another begins. */
void vcpu_back(struct vcpu *v, gpa_t gpa)
{
	struct vcpu_backing *b = &v->backing;
	const struct slot *s = vm_slot(v->vm, gpa);

	if (!b->place) {
		b->block = gpool_alloc_block(v->vm->id);
		b->pos = 0;
		if (b->block == HPA_NONE) {
			if (!v->vm->lacked_memory)
				log_warn("%s: touches memory that it had given back, and the host has none left; it waits",
					 v->vm->name);
			v->vm->lacked_memory = true;
			vcpu_park(v, RETRY_NS);
			return;
		}
		b->place = &s->obj->blocks[slot_block(s, gpa)];
	}
	if (!gpool_zero_block(b->block, &b->pos))
		return;
	publish(v->vm, b->place, b->block);
	b->place = NULL;
	v->vm->lacked_memory = false;
}

void vcpu_back_drop(struct vcpu *v)
{
	if (v->backing.place)
		gpool_put_block(v->backing.block);
	v->backing.place = NULL;
}

bool gmem_sparse(const struct vm *vm)
{
	return vm->given;
}

int gmem_prepare(struct vm *vm, gpa_t gpa, u64 n)
{
	for (gpa_t at = gpa; at - gpa < n; at = ALIGN_DOWN(at, PAGE_2M) + PAGE_2M) {
		const struct slot *s = vm_slot(vm, at);

		if (vm_backed(vm, at))
			continue;
		return vm_back_block(vm, &s->obj->blocks[slot_block(s, at)]) == HPA_NONE ? -ENOMEM : -EAGAIN;
	}
	return 0;
}

/* --- a block goes; the device lock is held --- */

/* All of the block at gpa: 0: done, or it has gone already; -EAGAIN: first flush. The first one has ROM in it. */
static int release(struct vm *vm, const struct slot *s, gpa_t gpa)
{
	struct vm_release *r = &vm->release;
	hpa_t *place = &s->obj->blocks[slot_block(s, gpa)];
	gpa_t first = ALIGN_DOWN(gpa, PAGE_2M);
	bool flush = false;
	int err = 0;

	if (!first)
		return 0;
	spin_lock(&vm->nested_lock);
	if (*place != HPA_NONE) {
		err = -EAGAIN;
		vm->in_exit = true;
		if (r->nr < ARRAY_SIZE(r->block) &&
		    !pt_unmap(&vm->nested, first, MIN(PAGE_2M, s->gpa + s->size - first), &flush)) {
			r->block[r->nr++] = *place;
			WRITE_ONCE(*place, HPA_NONE);
			err = 0;
		}
		vm->in_exit = false;
	}
	spin_unlock(&vm->nested_lock);
	return err;
}

static unsigned pages_of(const struct slot *s, gpa_t gpa)
{
	return (unsigned)(MIN(PAGE_2M, s->gpa + s->size - ALIGN_DOWN(gpa, PAGE_2M)) / PAGE_SIZE);
}

int vm_release_page(struct vm *vm, gpa_t gpa)
{
	const struct slot *s = vm_slot(vm, gpa);
	u16 *given = s ? &vm->given[slot_block(s, gpa)] : NULL;
	int r = 0;

	if (!s)
		return -EFAULT;
	if (*given + 1u == pages_of(s, gpa))
		r = release(vm, s, gpa);
	if (!r && *given < pages_of(s, gpa)) /* else it gives one twice */
		++*given;
	return r;
}

int vm_claim_page(struct vm *vm, gpa_t gpa)
{
	const struct slot *s = vm_slot(vm, gpa);

	if (!s)
		return -EFAULT;
	if (vm->given[slot_block(s, gpa)])
		vm->given[slot_block(s, gpa)]--;
	return 0;
}

int vm_release_block(struct vm *vm, gpa_t gpa)
{
	const struct slot *s = vm_slot(vm, gpa);

	return s ? release(vm, s, gpa) : -EFAULT;
}

bool vm_release_waits(const struct vm *vm)
{
	return vm->release.nr;
}

void vm_release_forget(struct vm *vm)
{
	memset(vm->given, 0, vm->slots[0].obj->nr_blocks * sizeof(vm->given[0]));
}

u32 vm_release_flush(struct vm *vm)
{
	struct vcpu *v = vcpu_current();

	vcpu_request(v && v->vm == vm ? v : vm->vcpus[0], REQ_RELEASE | REQ_REFILL);
	return ++vm->release.asked;
}

void vcpu_release(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct vm_release old;

	spin_lock(&vm->dev_lock);
	old = vm->release;
	vm->release.nr = 0;
	spin_unlock(&vm->dev_lock);
	vm_nested_flush(v);
	for (u32 i = 0; i < old.nr; i++)
		gpool_put_block(old.block[i]);
	spin_lock(&vm->dev_lock);
	if (vm->balloon.ops && !vm->between_lives)
		vm->balloon.ops->released(vm->balloon.d, old.asked);
	spin_unlock(&vm->dev_lock);
}

struct vm_balloon *vm_balloon(struct vm *vm)
{
	return &vm->balloon;
}
