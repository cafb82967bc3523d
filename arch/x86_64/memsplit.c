/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Divide the usable memory into our pool and the guests'. Ours is 1/64 of it, 24 to 512 MiB, taken
 * from the top of what lies below 4 GiB: there the boot mappings reach it, and a starting CPU
 * can load its tables in 32-bit mode. What does not fill 2 MiB goes to our pool as well.
 */
#include "arch/x86_64/frame_priv.h"

#define OWN_MIN MIB(24)
#define OWN_MAX MIB(512)
#define LOW_END MIB(1)

u64 frame_usable_bytes(const struct boot_info *bi)
{
	u64 sum = 0;

	for (u32 i = 0; i < bi->nr_mem; i++) {
		const struct boot_mem *m = &bi->mem[i];
		u64 end = m->base + m->size;

		if (m->type == BOOT_MEM_USABLE && end > LOW_END)
			sum += end - MAX(m->base, LOW_END);
	}
	return sum;
}

static void add_own(struct mem_split *s, hpa_t base, hpa_t end)
{
	if (base >= end)
		return;
	if (base >= GIB(4) || s->nr_own == OWN_MAX_RANGES)
		s->lost += end - base;
	else
		s->own[s->nr_own++] = (struct mem_range){base, end - base};
}

/* Hand the piece [base, end) out: whole 2 MiB blocks to the guests, the crumbs to us. */
static void add_rest(struct mem_split *s, hpa_t base, hpa_t end)
{
	hpa_t lo = ALIGN_UP(base, PAGE_2M), hi = ALIGN_DOWN(end, PAGE_2M);

	if (lo >= hi || s->nr_guest == GUEST_MAX_RANGES) {
		add_own(s, base, end);
		return;
	}
	add_own(s, base, lo);
	s->guest[s->nr_guest++] = (struct mem_range){lo, hi - lo};
	add_own(s, hi, end);
}

/* Page 0 stays out: a null pointer's target, and the real-mode vector table. */
static void split_low(struct mem_split *s, const struct boot_mem *m)
{
	hpa_t lo = MAX(ALIGN_UP(m->base, PAGE_SIZE), PAGE_SIZE);
	hpa_t hi = ALIGN_DOWN(MIN(m->base + m->size, LOW_END), PAGE_SIZE);

	if (lo < hi)
		s->low_page = hi - PAGE_SIZE;
	if (m->base < LOW_END)
		s->lost += MIN(m->base + m->size, LOW_END) - m->base;
}

/* From the top of one range below 4 GiB, up to `want` bytes; returns the new end of the range. */
static hpa_t take_own(struct mem_split *s, hpa_t base, hpa_t end, u64 want)
{
	hpa_t from = end - MIN(want, end - base);

	/* 2 MiB aligned if there is room, so that large leaves map it. */
	from = MAX(ALIGN_DOWN(from, PAGE_2M), base);
	add_own(s, from, end);
	return from;
}

void mem_split(const struct boot_info *bi, struct mem_split *s)
{
	u64 want = MIN(MAX(frame_usable_bytes(bi) / 64, OWN_MIN), OWN_MAX);

	*s = (struct mem_split){.low_page = HPA_NONE};
	for (u32 i = bi->nr_mem; i-- > 0;) {
		const struct boot_mem *m = &bi->mem[i];
		hpa_t base = ALIGN_UP(MAX(m->base, LOW_END), PAGE_SIZE);
		hpa_t end = ALIGN_DOWN(m->base + m->size, PAGE_SIZE);

		if (m->type != BOOT_MEM_USABLE)
			continue;
		if (s->low_page == HPA_NONE)
			split_low(s, m);
		else if (m->base < LOW_END)
			s->lost += MIN(m->base + m->size, LOW_END) - m->base;
		if (base >= end)
			continue;
		if (end > GIB(4)) {
			add_rest(s, MAX(base, GIB(4)), end);
			end = GIB(4);
		}
		if (base < end && want) {
			hpa_t from = take_own(s, base, end, want);

			want -= MIN(want, end - from);
			end = from;
		}
		if (base < end)
			add_rest(s, base, end);
	}
}
