/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory map of boot_info: kept sorted, disjoint and merged with every range entered. */
#include "boot/boot.h"
#include "lib/string.h"

/* Which of two overlapping claims holds: the one that risks less. */
static int rank(u32 type)
{
	switch (type) {
	case BOOT_MEM_USABLE:
		return 0;
	case BOOT_MEM_FILES:
		return 1;
	case BOOT_MEM_IMAGE:
		return 2;
	case BOOT_MEM_ACPI:
		return 3;
	case BOOT_MEM_NVS:
		return 4;
	case BOOT_MEM_BAD:
		return 6;
	default:
		return 5;
	}
}

static bool insert_at(struct boot_info *bi, u32 i, hpa_t base, hpa_t end, u32 type)
{
	if (base >= end)
		return true;
	if (bi->nr_mem >= BOOT_MAX_MEM) {
		boot_error(bi, "firmware's memory map has more than %d ranges", BOOT_MAX_MEM);
		return false;
	}
	memmove(&bi->mem[i + 1], &bi->mem[i], (bi->nr_mem - i) * sizeof(bi->mem[0]));
	bi->mem[i] = (struct boot_mem){.base = base, .size = end - base, .type = type};
	bi->nr_mem++;
	return true;
}

/* Join entries first..last with equal neighbours. */
static void merge(struct boot_info *bi)
{
	u32 out = 0;

	for (u32 i = 1; i < bi->nr_mem; i++) {
		struct boot_mem *m = &bi->mem[out];

		if (m->type == bi->mem[i].type && m->base + m->size == bi->mem[i].base)
			m->size += bi->mem[i].size;
		else
			bi->mem[++out] = bi->mem[i];
	}
	if (bi->nr_mem)
		bi->nr_mem = out + 1;
}

/* Entry i overlaps [from, to) and loses there: cut it and put the new type in. Returns how many
 * entries stand in its place, 0 if the table is full. */
static u32 replace_part(struct boot_info *bi, u32 i, hpa_t from, hpa_t to, u32 type)
{
	struct boot_mem old = bi->mem[i];
	hpa_t end = old.base + old.size;
	u32 n = 1;

	bi->mem[i] = (struct boot_mem){.base = from, .size = to - from, .type = type};
	if (old.base < from) {
		if (!insert_at(bi, i, old.base, from, old.type))
			return 0;
		n++;
	}
	if (end > to) {
		if (!insert_at(bi, i + n, to, end, old.type))
			return 0;
		n++;
	}
	return n;
}

static void enter(struct boot_info *bi, hpa_t base, hpa_t end, u32 type)
{
	u32 i = 0;

	while (i < bi->nr_mem && base < end) {
		hpa_t m_base = bi->mem[i].base, m_end = m_base + bi->mem[i].size;

		if (m_end <= base) {
			i++;
			continue;
		}
		if (base < m_base) {
			hpa_t gap_end = MIN(end, m_base);

			if (!insert_at(bi, i, base, gap_end, type))
				return;
			base = gap_end;
			i++;
			continue;
		}
		if (rank(type) > rank(bi->mem[i].type)) {
			u32 n = replace_part(bi, i, base, MIN(end, m_end), type);

			if (!n)
				return;
			i += n;
		} else {
			i++;
		}
		base = MIN(end, m_end);
	}
	insert_at(bi, i, base, end, type);
}

void meminfo_add(struct boot_info *bi, hpa_t base, u64 size, enum boot_mem_type type)
{
	/* No processor has more than 52 physical address bits; what claims to reach further is cut.
	 */
	const hpa_t limit = 1ull << 52;
	hpa_t end;

	if (!size || base >= limit)
		return;
	end = size > limit - base ? limit : base + size;
	if (type == BOOT_MEM_USABLE) {
		base = ALIGN_UP(base, PAGE_SIZE);
		end = ALIGN_DOWN(end, PAGE_SIZE);
	} else {
		base = ALIGN_DOWN(base, PAGE_SIZE);
		end = ALIGN_UP(end, PAGE_SIZE);
	}
	enter(bi, base, end, type);
	merge(bi);
}

enum boot_mem_type meminfo_from_e820(u32 type)
{
	switch (type) {
	case 1:
		return BOOT_MEM_USABLE;
	case 3:
		return BOOT_MEM_ACPI;
	case 4:
		return BOOT_MEM_NVS;
	case 5:
		return BOOT_MEM_BAD;
	default: /* whatever it is, it is not for us */
		return BOOT_MEM_RESERVED;
	}
}
