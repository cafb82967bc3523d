/* SPDX-License-Identifier: BSD-2-Clause */
/* GDT and TSS, one pair a pCPU. Accessed and busy bits are set from the start where they may be. */
#include "arch/x86_64/pcpu_arch.h"

struct __packed table_reg {
	u16 limit;
	u64 base;
};

static void set_tss(struct pcpu_arch *a)
{
	u64 base = (u64)&a->tss;

	/* 64-bit available TSS (type 9), present: SDM vol. 3, 8.2.3. LTR makes it busy. */
	a->gdt[KERNEL_TSS / 8] = TSS_LIMIT | (base & 0xffffff) << 16 | 0x89ul << 40 |
				 (base >> 24 & 0xff) << 56;
	a->gdt[KERNEL_TSS / 8 + 1] = base >> 32;
	a->tss.iomap_base = TSS_LIMIT + 1;
}

void gdt_load(struct pcpu_arch *a)
{
	struct table_reg reg = {.limit = GDT_LIMIT, .base = (u64)a->gdt};

	a->gdt[KERNEL_CS / 8] = 0x00af9b000000ffff;
	a->gdt[KERNEL_DS / 8] = 0x00cf93000000ffff;
	set_tss(a);
	/* FS and GS keep their bases: loading a null selector into them could clear them. */
	__asm__ volatile("lgdt %0\n\t"
			 "pushq %1\n\t"
			 "leaq 1f(%%rip), %%rax\n\t"
			 "pushq %%rax\n\t"
			 "lretq\n"
			 "1:\tmovl %2, %%ds\n\t"
			 "movl %2, %%es\n\t"
			 "movl %2, %%ss\n\t"
			 "ltr %w3\n\t"
			 "lldt %w4"
			 :
			 : "m"(reg), "i"(KERNEL_CS), "r"(KERNEL_DS), "r"(KERNEL_TSS), "r"(0)
			 : "rax", "memory");
}
