/* SPDX-License-Identifier: BSD-2-Clause */
/* The one accessor to guest memory: range check first, then windows, page by page. */
#include "vmm/gmem.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/window.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/vm.h"

/* RAM that the guest has given back, and which is touched in its stead. HPA_NONE: the VM ends. */
static __attribute__((noinline)) hpa_t back(struct vm *vm, const struct slot *s, gpa_t gpa)
{
	hpa_t block = vm_back_block(vm, &s->obj->blocks[slot_block(s, gpa)]);

	if (block != HPA_NONE)
		return block + (gpa & (PAGE_2M - 1));
	vm_kill(vm,
		"it makes use of memory at %#lx that it had given back, and the host has none left",
		(unsigned long)gpa);
	return HPA_NONE;
}

/* HPA_NONE: there is no memory for it. */
static inline hpa_t slot_hpa(struct vm *vm, const struct slot *s, gpa_t gpa)
{
	hpa_t block = READ_ONCE(s->obj->blocks[slot_block(s, gpa)]);

	return likely(block != HPA_NONE) ? block + (gpa & (PAGE_2M - 1)) : back(vm, s, gpa);
}

bool gmem_is_ram(struct vm *vm, gpa_t gpa, u64 n)
{
	while (n) {
		const struct slot *s = vm_slot(vm, gpa);
		u64 part;

		if (!s)
			return false;
		part = s->size - (gpa - s->gpa);
		if (part >= n)
			return true;
		gpa += part;
		n -= part;
	}
	return true;
}

gpa_t gmem_main_ram(struct vm *vm, u64 *size)
{
	*size = vm->slots[1].size; /* as in vm_slot() */
	return vm->slots[1].gpa;
}

bool gmem_usual(const struct vm *vm)
{
	return !vm->write_protected && !gmem_sparse(vm);
}

/* Copy-on-write and dirty logging hang here, as the guest's own writes do in fault.c. */
static inline void before_write(struct vm *vm, gpa_t gpa, u64 n)
{
	if (unlikely(vm->write_protected))
		fault_before_write(vm, gpa, n);
}

static int transfer(struct vm *vm, gpa_t gpa, void *buf, u64 n, bool write)
{
	if (!gmem_is_ram(vm, gpa, n))
		return -EFAULT;
	if (write)
		before_write(vm, gpa, n);
	while (n) {
		u64 part = MIN(n, PAGE_SIZE - (gpa & (PAGE_SIZE - 1)));
		hpa_t at = slot_hpa(vm, vm_slot(vm, gpa), gpa);
		void *w;

		if (unlikely(at == HPA_NONE))
			return -EFAULT;
		w = window_open(at);
		memcpy(write ? w : buf, write ? buf : w, part);
		window_close(w);
		gpa += part;
		n -= part;
		buf = (u8 *)buf + part;
	}
	return 0;
}

int gmem_read(struct vm *vm, gpa_t gpa, void *buf, size_t n)
{
	return transfer(vm, gpa, buf, n, false);
}

int gmem_write(struct vm *vm, gpa_t gpa, const void *buf, size_t n)
{
	return transfer(vm, gpa, (void *)buf, n, true);
}

int gmem_copy_from_phys(struct vm *vm, gpa_t gpa, hpa_t src, u64 n)
{
	if (!gmem_is_ram(vm, gpa, n))
		return -EFAULT;
	before_write(vm, gpa, n);
	while (n) {
		u64 part = MIN(n, PAGE_SIZE - (gpa & (PAGE_SIZE - 1)));
		hpa_t at = slot_hpa(vm, vm_slot(vm, gpa), gpa);

		if (unlikely(at == HPA_NONE))
			return -EFAULT;
		phys_copy(at, src, part);
		gpa += part;
		src += part;
		n -= part;
	}
	return 0;
}

bool gmem_to_phys(struct vm *vm, gpa_t gpa, size_t n, hpa_t *hpa)
{
	const struct slot *s = vm_slot(vm, gpa);

	if (!s || n > PAGE_SIZE - (gpa & (PAGE_SIZE - 1)) || gpa - s->gpa + n > s->size)
		return false;
	*hpa = slot_hpa(vm, s, gpa);
	return *hpa != HPA_NONE;
}

void *gmem_map(struct vm *vm, gpa_t gpa, size_t n, bool write)
{
	hpa_t hpa;

	if (!gmem_to_phys(vm, gpa, n, &hpa))
		return NULL;
	if (write)
		before_write(vm, gpa, n);
	return window_open(hpa);
}

void gmem_unmap(struct vm *vm, void *p)
{
	(void)vm;
	window_close(p);
}

static __attribute__((noinline)) void *hold_slow(struct vm *vm, unsigned hold, gpa_t gpa, size_t n,
						 bool write)
{
	hpa_t hpa;

	if (!gmem_to_phys(vm, gpa, n, &hpa))
		return NULL;
	if (write)
		before_write(vm, gpa, n);
	return window_pin(GMEM_FIRST_HOLD + hold, hpa);
}

/* The place of n bytes in one page of the main run of RAM, as in vm_slot(); HPA_NONE: something is
 * not as usual. */
static inline hpa_t usual_hpa(struct vm *vm, gpa_t gpa, size_t n)
{
	const struct slot *s = &vm->slots[1];
	hpa_t block;

	if (unlikely(gpa - s->gpa >= s->size || n > PAGE_SIZE - (gpa & (PAGE_SIZE - 1))))
		return HPA_NONE; /* slots are whole pages */
	block = READ_ONCE(s->obj->blocks[slot_block(s, gpa)]);
	return likely(block != HPA_NONE) ? block + (gpa & (PAGE_2M - 1)) : HPA_NONE;
}

/* Both are on the way of every descriptor: no call but the last, so nothing is saved. */
void *gmem_hold(struct vm *vm, unsigned hold, gpa_t gpa, size_t n)
{
	hpa_t hpa = usual_hpa(vm, gpa, n);

	if (unlikely(hpa == HPA_NONE))
		return hold_slow(vm, hold, gpa, n, false);
	return window_pin(GMEM_FIRST_HOLD + hold, hpa);
}

void *gmem_hold_write(struct vm *vm, unsigned hold, gpa_t gpa, size_t n)
{
	hpa_t hpa = unlikely(vm->write_protected) ? HPA_NONE : usual_hpa(vm, gpa, n);

	if (unlikely(hpa == HPA_NONE))
		return hold_slow(vm, hold, gpa, n, true);
	return window_pin(GMEM_FIRST_HOLD + hold, hpa);
}

void *gmem_hold_phys(unsigned hold, hpa_t pa)
{
	return window_pin(GMEM_FIRST_HOLD + hold, pa);
}

void gmem_release(void)
{
	window_unpin(GMEM_FIRST_HOLD);
}

int gmem_pin(struct vm *vm, gpa_t gpa, u64 n, bool write, hpa_t *hpa, u64 *len)
{
	const struct slot *s = vm_slot(vm, gpa);

	if (!s)
		return -EFAULT;
	*hpa = slot_hpa(vm, s, gpa);
	if (*hpa == HPA_NONE)
		return -EFAULT;
	*len = MIN(MIN(n, s->size - (gpa - s->gpa)), PAGE_2M - (*hpa & (PAGE_2M - 1)));
	if (write)
		before_write(vm, gpa, *len);
	gpool_pin(ALIGN_DOWN(*hpa, PAGE_2M));
	return 0;
}

void gmem_unpin(hpa_t hpa)
{
	gpool_unpin(ALIGN_DOWN(hpa, PAGE_2M));
}
