/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory type range registers: see mtrr.h. */
#include "arch/x86_64/mtrr.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/x86.h"
#include "lib/string.h"

#define CAP_VCNT(cap)	 ((cap) & 0xff)
#define CAP_FIX		 BIT(8)
#define MASK_VALID	 BIT(11)
#define SYSCFG_TOM2	 BIT(21) /* APM vol. 2, 7.9.1 */
#define SYSCFG_TOM2_WB	 BIT(22)
#define MSR_TOP_MEM2	 0xc001001d
#define ADDR(r)		 ((r) & 0x000ffffffffff000ull)
#define CPUID_1_EDX_MTRR BIT(12)

struct mtrr host_mtrr;

static const u32 fixed_msrs[] = {
	MSR_MTRR_FIX64K_00000,    MSR_MTRR_FIX16K_80000,    MSR_MTRR_FIX16K_A0000,
	MSR_MTRR_FIX4K_C0000,     MSR_MTRR_FIX4K_C0000 + 1, MSR_MTRR_FIX4K_C0000 + 2,
	MSR_MTRR_FIX4K_C0000 + 3, MSR_MTRR_FIX4K_C0000 + 4, MSR_MTRR_FIX4K_C0000 + 5,
	MSR_MTRR_FIX4K_C0000 + 6, MSR_MTRR_FIX4K_C0000 + 7,
};

static void read_var(struct mtrr *m, mtrr_read_fn rd)
{
	unsigned n = MIN(CAP_VCNT(m->cap), (u64)MTRR_MAX_VAR);

	for (unsigned i = 0; i < n; i++) {
		u64 base, mask;

		if (!rd(MSR_MTRR_PHYSBASE(i), &base) || !rd(MSR_MTRR_PHYSMASK(i), &mask) ||
		    !(mask & MASK_VALID))
			continue;
		m->var[m->nr_var].base = base;
		m->var[m->nr_var++].mask = mask;
	}
}

void mtrr_read(struct mtrr *m, bool amd, mtrr_read_fn rd)
{
	u64 v;

	memset(m, 0, sizeof(*m));
	if (!rd(MSR_MTRRCAP, &m->cap) || !rd(MSR_MTRR_DEF_TYPE, &m->def))
		return;
	m->present = true;
	read_var(m, rd);
	if (m->cap & CAP_FIX)
		/* AMD keeps DRAM routing in bits 4:3 of each byte (APM vol. 2, 7.9.1). */
		for (unsigned i = 0; i < ARRAY_SIZE(fixed_msrs); i++)
			for (unsigned k = 0; rd(fixed_msrs[i], &v) && k < 8; k++)
				m->fixed[8 * i + k] = v >> 8 * k & 7;
	if (amd && rd(MSR_SYSCFG, &v) && (v & SYSCFG_TOM2) && (v & SYSCFG_TOM2_WB) &&
	    rd(MSR_TOP_MEM2, &v))
		m->wb_top = ADDR(v);
}

void mtrr_init(void)
{
	u32 vendor = cpuid(0, 0).ebx;

	if (cpuid(1, 0).edx & CPUID_1_EDX_MTRR)
		mtrr_read(&host_mtrr, vendor == CPUID_AUTH || vendor == CPUID_HYGO, rdmsr_safe);
}

/* 12.11.4.1: UC wins, WT wins over WB; what the manual leaves undefined is not cached. */
static unsigned combine(unsigned a, unsigned b)
{
	if (a == b)
		return a;
	return (a == PT_WT && b == PT_WB) || (a == PT_WB && b == PT_WT) ? PT_WT : PT_UC;
}

/* Above 1 MiB or with the fixed ranges off. *step: the type cannot change before the next multiple. */
static unsigned var_type(const struct mtrr *m, hpa_t pa, u64 *step)
{
	unsigned type = 0;
	bool hit = false;

	for (unsigned i = 0; i < m->nr_var; i++) {
		u64 mask = ADDR(m->var[i].mask), base = ADDR(m->var[i].base);

		if (mask) /* masks need not be contiguous (12.11.3) */
			*step = MIN(*step, mask & -mask);
		if ((pa & mask) != (base & mask))
			continue;
		type = hit ? combine(type, m->var[i].base & 7) : m->var[i].base & 7;
		hit = true;
	}
	if (hit)
		return type;
	if (m->wb_top > GIB(4))
		*step = MIN(*step, MIN(GIB(4), m->wb_top & -m->wb_top));
	return pa >= GIB(4) && pa < m->wb_top ? PT_WB : m->def & 7;
}

static unsigned fixed_type(const struct mtrr *m, hpa_t pa, u64 *step)
{
	*step = pa < 0x80000 ? 0x10000 : pa < 0xc0000 ? 0x4000 : 0x1000;
	if (pa < 0x80000)
		return m->fixed[pa >> 16];
	if (pa < 0xc0000)
		return m->fixed[8 + ((pa - 0x80000) >> 14)];
	return m->fixed[24 + ((pa - 0xc0000) >> 12)];
}

static unsigned type_at(const struct mtrr *m, hpa_t pa, u64 *step)
{
	*step = pa < MIB(1) ? MIB(1) : GIB(1); /* 1 MiB is where the fixed ranges end */
	if (!m->present)
		return PT_WB;
	if (!(m->def & MTRR_DEF_E))
		return PT_UC;
	if (pa < MIB(1) && (m->def & MTRR_DEF_FE) && (m->cap & CAP_FIX))
		return fixed_type(m, pa, step);
	return var_type(m, pa, step);
}

enum pt_memtype mtrr_type(const struct mtrr *m, hpa_t pa, u64 size, u64 *run)
{
	u64 step, end = pa + size, at;
	unsigned type = type_at(m, pa, &step);

	for (at = ALIGN_DOWN(pa, step) + step; at < end; at = ALIGN_DOWN(at, step) + step)
		if (type_at(m, at, &step) != type)
			break;
	*run = MIN(at, end) - pa;
	return MTRR_TYPES >> type & 1 ? type : PT_UC;
}
