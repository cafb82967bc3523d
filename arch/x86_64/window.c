/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Windows: a few page-table entries of each pCPU's own. Opening writes an entry that was not
 * present, which no TLB holds (SDM vol. 3, 4.10.2.3), so only closing has to invalidate.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/pcpu_arch.h"
#include "arch/x86_64/pt.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"

#define WINDOW_BITS (BIT(0) | BIT(1) | BIT(5) | BIT(6) | BIT(63)) /* P W A D NX, write-back */
#define LARGE	    BIT(7)
#define MAX_PA	    BIT(52)

void *window_open(hpa_t pa)
{
	struct pcpu_arch *a = this_arch();
	unsigned slot = a->window_depth++;

	ASSERT(slot < WINDOW_MAX && pa < MAX_PA);
	WRITE_ONCE(a->window_pte[slot], (pa & ~(PAGE_SIZE - 1)) | WINDOW_BITS);
	return a->window_base + slot * PAGE_SIZE + (pa & (PAGE_SIZE - 1));
}

void window_close(void *va)
{
	struct pcpu_arch *a = this_arch();
	unsigned slot = --a->window_depth;

	ASSERT(((char *)va - a->window_base) >> PAGE_SHIFT == slot);
	WRITE_ONCE(a->window_pte[slot], 0);
	invlpg(va);
}

/* The pins' entries follow those of the stack of windows. */
static void set_pin(struct pcpu_arch *a, unsigned n, u64 entry)
{
	unsigned slot = WINDOW_MAX + n;

	if (likely(a->window_pte[slot] == entry))
		return;
	ASSERT(n < WINDOW_PINS && (entry & ~(PAGE_SIZE - 1) & ~BIT(63)) < MAX_PA);
	WRITE_ONCE(a->window_pte[slot], entry);
	invlpg(a->window_base + slot * PAGE_SIZE);
}

void *window_pin(unsigned n, hpa_t pa)
{
	struct pcpu_arch *a = this_arch();

	set_pin(a, n, (pa & ~(PAGE_SIZE - 1)) | WINDOW_BITS);
	return a->window_base + (WINDOW_MAX + n) * PAGE_SIZE + (pa & (PAGE_SIZE - 1));
}

void window_unpin(unsigned first)
{
	struct pcpu_arch *a = this_arch();

	/* Most are not in use. */
	for (unsigned n = first; n < WINDOW_PINS; n++)
		if (unlikely(a->window_pte[WINDOW_MAX + n]))
			set_pin(a, n, 0);
}

void *window_open_block(hpa_t block)
{
	struct pcpu_arch *a = this_arch();

	ASSERT(!a->block_open && IS_ALIGNED(block, PAGE_2M) && block < MAX_PA);
	a->block_open = true;
	WRITE_ONCE(*a->block_pde, block | WINDOW_BITS | LARGE);
	return a->window_base + PAGE_2M;
}

void window_close_block(void *va)
{
	struct pcpu_arch *a = this_arch();

	ASSERT(a->block_open && va == a->window_base + PAGE_2M);
	a->block_open = false;
	WRITE_ONCE(*a->block_pde, 0);
	invlpg(va);
}

static size_t to_page_end(hpa_t pa, size_t n)
{
	return MIN(PAGE_SIZE - (pa & (PAGE_SIZE - 1)), n);
}

void phys_read(void *dst, hpa_t src, size_t n)
{
	for (size_t k; n; n -= k, src += k, dst = (char *)dst + k) {
		void *p = window_open(src);

		k = to_page_end(src, n);
		memcpy(dst, p, k);
		window_close(p);
	}
}

void phys_copy(hpa_t dst, hpa_t src, size_t n)
{
	for (size_t k; n; n -= k, dst += k, src += k) {
		void *s = window_open(src), *d = window_open(dst);

		k = to_page_end(dst, to_page_end(src, n));
		memcpy(d, s, k);
		window_close(d);
		window_close(s);
	}
}

void phys_clear(hpa_t dst, size_t n)
{
	for (size_t k; n; n -= k, dst += k) {
		void *d = window_open(dst);

		k = to_page_end(dst, n);
		memset(d, 0, k);
		window_close(d);
	}
}

/* An unmapped page stands between two areas. */
static void *map_device(hpa_t pa, size_t size, enum pt_memtype type)
{
	static struct spinlock lock = SPINLOCK(LOCK_IO);
	static u64 used;
	hpa_t first = ALIGN_DOWN(pa, PAGE_SIZE);
	u64 flags, va, len = ALIGN_UP(pa + size, PAGE_SIZE) - first;

	if (!size || pa + size < pa || len > IO_SIZE)
		return NULL;
	flags = spin_lock_irq(&lock);
	va = IO_BASE + used;
	if (used + len + PAGE_SIZE > IO_SIZE)
		va = 0;
	else
		used += len + PAGE_SIZE;
	spin_unlock_irq(&lock, flags);
	if (!va || paging_map_kernel(va, first, len, PT_RW, type))
		return NULL;
	return (char *)va + (pa - first);
}

volatile void *io_map(hpa_t pa, size_t size)
{
	return map_device(pa, size, PT_UC);
}

void *io_map_wc(hpa_t pa, size_t size)
{
	return map_device(pa, size, PT_WC);
}
