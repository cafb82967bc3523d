/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a second CPU starts: apstart.asm, copied to a page below 1 MiB. */
#pragma once
#include "pc.h"

/* At PARAM of apstart.asm. */
struct start_param {
	u16 gdt_limit;
	u32 gdt_base;
	u16 pad;
	u32 cr3;
	u64 rsp, rip;
} __attribute__((packed));
_Static_assert(offsetof(struct start_param, rsp) == 12, "apstart.asm");

extern char start_code[], start_code_end[];

/* The page's address is the SIPI's vector; 64-bit code is the GDT's selector 8, data 16. */
static inline void start_page(u64 page, void (*entry)(void), u8 *top, const void *gdt_at, u16 limit, u64 cr3)
{
	struct start_param *p = (struct start_param *)(page + 0xf00);

	for (u32 i = 0; i < (u32)(start_code_end - start_code); i++)
		((volatile u8 *)page)[i] = (u8)start_code[i];
	p->gdt_limit = limit;
	p->gdt_base = (u32)(u64)gdt_at;
	p->cr3 = (u32)cr3;
	p->rsp = (u64)top - 8;
	p->rip = (u64)entry;
}
