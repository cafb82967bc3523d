/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the 32-bit CPU test share. */
#pragma once
#include "cputest.h"

struct frame32 {
	u32 edi, esi, ebp, esp0, ebx, edx, ecx, eax, vector, error, eip, cs, eflags;
	u32 esp, ss, es, ds, fs, gs; /* V86; of ring 3 the first two */
};
struct tss32 {
	u32 link, esp0, ss0, stacks[4], cr3, eip, eflags, gpr[8], seg[6], ldt; /* ES CS SS DS FS GS */
	u16 trap, iomap;
	u8 redirect[32], bitmap[33];
} __attribute__((packed));

#define SEL_TASK1	0x38
#define SEL_TASK2	0x40
#define SEL_LDT		0x48
#define SEL_NP_TSS	0x50
#define SEL_SHORT_TSS	0x58
#define SEL_NP_DATA	0x60
#define VEC_RM		0x50
#define VEC_TASK	0x30
#define SEL_TASK16	0x70
#define LOW		0x8000u
#define NT		0x4000u
#define VM		0x20000u
#define WINDOW		0xc00000u  /* the address that the two tasks' tables map apart: */
#define OTHER		0x1000000u /* in the second task to here */

extern u64 gdt[15];
extern struct tss32 tss1; /* the first task's */
extern u8 stacks[4][4096];
extern u32 kernel_esp;

/* What the handler saw last; of #DB apart. */
extern volatile struct got {
	u32 n, vector, error, eip, eflags, cr2, tr;
} got;
extern volatile u32 resume; /* where a fault goes on; 0: it is the end */
extern volatile u32 n_db, db_eip[20], db_dr6;
extern volatile u32 v86_seen; /* a V86 program reached its HLT */

u32 get_tr(void);
void set_gate(unsigned n, u8 type, u16 sel);
u64 system(const void *base, u32 limit, u8 type); /* a system descriptor */
void low_copy(void); /* cputest32.asm's 16-bit code to LOW */

#define TRY(insn, ...)                                                             \
	do {                                                                           \
		got.n = 0;                                                                 \
		got.vector = got.error = ~0u;                                              \
		__asm__ volatile("movl $9f, %0; " insn "; 9: nop" : "=m"(resume) : __VA_ARGS__ \
				 : "eax", "ecx", "edx", "memory", "cc");                           \
		resume = 0;                                                                \
	} while (0)
void fault(const char *name, u32 vector, u32 error); /* it raised this */

enum { NONE, PSE, PAE };
void paging_on(int mode);
void paging_off(void);
u32 cr3_of(int mode, int task);

void tasks(int mode); /* cputest32_task.c */
