/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables that are wrong: in devices, beyond RAM, in loops, with reserved bits, changing under the walk. */
#include "hostile.h"

#define BAD 0x10000000000ull /* 1 TiB: PML4 entry 2 */

static volatile u64 *table(u32 n)
{
	return (volatile u64 *)(TABLES + 0x1000 * n);
}

static u64 an_entry(u32 next)
{
	static const u64 places[] = {LAPIC, IOAPIC, HPET, ECAM, 0xc0000000, 0xa0000, RAM_TOP, RAM_TOP - 0x1000, 0x100000000ull,
				     0x7ffffff000ull, 0xffffffffff000ull, 0xfffff000, DATA, CODE};
	u64 e;

	switch (below(8)) {
	case 0:
		e = ONE_OF(places);
		break;
	case 1:
		return edge();
	case 2: /* a loop */
		e = TABLES + 0x1000 * below(4);
		break;
	default:
		e = TABLES + 0x1000 * next;
	}
	e |= below(8) ? 7 : below(0x1000);
	if (!below(8))
		e ^= 1ull << below(64);
	if (!below(8))
		e |= 0x80;
	return e;
}

u32 bad_tables(void)
{
	volatile u64 *pml4 = (volatile u64 *)clean_cr3;
	u64 at = BAD | (random() & 0x7fffffffffull);
	u64 e[4];

	prepare();
	for (u32 i = 0; i < 4; i++)
		e[i] = an_entry(i + 1);
	if (below(2)) /* often enough it leads to a device, by the last entry */
		e[3] = (device_address() & ~0xfffull) | 7 | (below(4) ? 0 : edge());
	pml4[2] = e[0];
	for (u32 i = 0; i < 3; i++)
		for (u32 k = 0; k < 512; k += below(4) ? 512 : 1)
			table(i + 1)[k ? k : at >> (30 - 9 * i) & 0x1ff] = e[i + 1];
	if (!below(3)) /* page tables seen as memory, and walked at the same time */
		table(3)[at >> 12 & 0x1ff] = (TABLES + 0x1000 * below(4)) | 7;
	run.gpr[RDI] = at;
	run.gpr[RSI] = at ^ below(0x2000);
	switch (below(8)) {
	case 0: /* code there */
		put_code(0xe7ff, 2);
		break;
	case 1: /* a stack there, for an exception without IST there is none */
		put_code(0x5c8d48 | 0x27ull << 24, 3);
		break;
	case 2:
		put_code(0xf3, 1);
		put_code(below(2) ? 0xa4 : 0xaa, 1);
		run.gpr[RCX] = below(0x2000);
		break;
	case 3:
		run.gpr[RDX] = a_port();
		put_code(0x6cf3, 2);
		run.gpr[RCX] = below(8);
		break;
	case 4: /* an entry changes between two accesses */
		put_code(0x078b, 2);
		put_code(0x04c748 | 0x25ull << 24, 4);
		put_code(TABLES + 0x3000 + (at >> 12 & 0x1ff) * 8, 4);
		put_code(ONE_OF(((const u32[]){7, LAPIC & 0x7fffffff, 0x410007, 0})), 4);
		put_code(0x3f010f, 3); /* INVLPG */
		put_code(0x0789, 2);
		break;
	default: {
		u64 keep = run.gpr[RDI];

		put_device_insn(false);
		run.gpr[RDI] += at - keep + (keep - run.gpr[RDI]);
		break;
	}
	}
	put_end();
	run_code(&run);
	pml4[2] = 0;
	return DIRTY_SEG | DIRTY_APIC;
}
