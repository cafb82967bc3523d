/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Small objects: pages cut into objects of 16 to 2048 bytes, a power of two, aligned to their size.
 * A free object's first two bytes are the number of the next one in its page. Larger objects are
 * blocks of frames.
 */
#include "arch/x86_64/frame_priv.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"

#define SLAB_MIN 4
#define SLAB_MAX 11
#define NO_OBJECT 0xffff
#define NO_MEMORY (~0u)

static struct {
	struct spinlock lock;
	u32 partial[SLAB_MAX + 1]; /* pages with a free object, by log2 of the size */
	u64 used; /* bytes of objects handed out */
} heap = {.lock = SPINLOCK(LOCK_HEAP)};

static unsigned log2_up(size_t n)
{
	return n <= 1 ? 0 : 64 - (unsigned)__builtin_clzl(n - 1);
}

static void partial_add(u32 i, unsigned shift)
{
	struct frame *f = frame_at(i);

	f->prev = 0;
	f->next = heap.partial[shift];
	if (f->next)
		frame_at(f->next)->prev = i;
	heap.partial[shift] = i;
}

static void partial_del(u32 i, unsigned shift)
{
	struct frame *f = frame_at(i);

	if (f->prev)
		frame_at(f->prev)->next = f->next;
	else
		heap.partial[shift] = f->next;
	if (f->next)
		frame_at(f->next)->prev = f->prev;
	f->next = f->prev = 0;
}

static u16 *object(u32 page, unsigned shift, u16 n)
{
	return (u16 *)((char *)frame_va(frame_addr(page)) + ((size_t)n << shift));
}

static u32 new_slab(unsigned shift)
{
	hpa_t pa = frame_alloc(0, FRAME_HEAP, OWNER_HOST);
	u16 nr = PAGE_SIZE >> shift;
	u32 i;

	if (pa == HPA_NONE)
		return NO_MEMORY;
	i = frame_index(pa);
	frame_at(i)->slab = shift;
	frame_at(i)->used = 0;
	frame_at(i)->first_free = 0;
	for (u16 n = 0; n < nr; n++)
		*object(i, shift, n) = n + 1 < nr ? n + 1 : NO_OBJECT;
	partial_add(i, shift);
	return i;
}

static void *slab_alloc(unsigned shift)
{
	u64 flags = spin_lock_irq(&heap.lock);
	u32 i = heap.partial[shift] ? heap.partial[shift] : new_slab(shift);
	u16 *p = NULL;

	if (i != NO_MEMORY) {
		struct frame *f = frame_at(i);

		p = object(i, shift, f->first_free);
		f->first_free = *p;
		f->used++;
		heap.used += 1ul << shift;
		if (f->first_free == NO_OBJECT)
			partial_del(i, shift);
	}
	spin_unlock_irq(&heap.lock, flags);
	if (p)
		memset(p, 0, 1ul << shift);
	return p;
}

u64 heap_used(void)
{
	return READ_ONCE(heap.used);
}

void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	unsigned shift = MAX(log2_up(size), (unsigned)SLAB_MIN);
	hpa_t pa;

	if (size > KZALLOC_MAX || frame_fails())
		return NULL;
	if (shift <= SLAB_MAX)
		return slab_alloc(shift);
	pa = frame_alloc(shift > PAGE_SHIFT ? shift - PAGE_SHIFT : 0, type, owner);
	return pa == HPA_NONE ? NULL : frame_va(pa);
}

void kfree(void *p)
{
	hpa_t pa;
	struct frame *f;
	bool empty;
	u64 flags;
	u32 i;

	if (!p)
		return;
	pa = frame_pa(p);
	i = frame_index(pa);
	f = frame_at(i);
	if (!f->slab) {
		if (!IS_ALIGNED(pa, PAGE_SIZE) || !f->head)
			panic("kfree(%p): not the start of an object", p);
		frame_free(pa, f->head - 1u);
		return;
	}
	flags = spin_lock_irq(&heap.lock);
	if (!f->used || !IS_ALIGNED(pa, 1ul << f->slab))
		panic("kfree(%p): not an object in use", p);
	if (f->first_free == NO_OBJECT)
		partial_add(i, f->slab);
	*(u16 *)p = f->first_free;
	f->first_free = (pa & (PAGE_SIZE - 1)) >> f->slab;
	heap.used -= 1ul << f->slab;
	empty = --f->used == 0;
	if (empty) {
		partial_del(i, f->slab);
		f->slab = 0;
		f->owner = OWNER_HOST; /* it was the number of a free object */
	}
	spin_unlock_irq(&heap.lock, flags);
	if (empty)
		frame_free(ALIGN_DOWN(pa, PAGE_SIZE), 0);
}
