/* SPDX-License-Identifier: BSD-2-Clause */
/* What the parts of the 64-bit CPU test share. */
#pragma once
#include "cputest.h"

/* What the handler saw last, and of #DB all. */
extern volatile struct got {
	u32 n;
	u64 vector, error, rip, rflags, cr2;
} got;
extern volatile u64 resume; /* where a fault goes on; 0: it is the end */
#define MAX_DBS 40
extern volatile struct db {
	u64 rip, dr6;
} db[MAX_DBS];
extern volatile u32 n_db, n_irq, n_nmi, nmi_depth, nmi_deepest;
extern volatile u64 irq_rip;
extern void (*volatile nmi_hook)(void); /* what the first NMI's handler does */

/* Run it; a fault goes on behind it. 8b is its address. */
#define TRY(insn, ...)                                                                   \
	do {                                                                                 \
		got.n = 0;                                                                       \
		got.vector = got.error = ~0ull;                                                  \
		__asm__ volatile("movq $9f, %0; 8: " insn "; 9: nop" : "=m"(resume) : __VA_ARGS__ \
				 : "rax", "rcx", "rdx", "rbx", "memory", "cc");                          \
		resume = 0;                                                                      \
	} while (0)
void fault(const char *name, u64 vector, u64 error); /* it raised this */
void no_fault(const char *name, bool ok);

/* A program of cputest64.asm at CPL 3: it must end in this vector. */
void user(const char *name, const char *from, const char *end, u64 rflags, u64 vector, u64 error);
#define USER(name, flags, vector, error)                                    \
	do {                                                                    \
		extern char user_##name[], user_##name##_end[];                     \
		user("user-" #name, user_##name, user_##name##_end, flags, vector, error); \
	} while (0)


/* cputest_debug.c, cputest_irq.c, cputest_regs.c */
void steps(void);
void breakpoints(void);
void windows(void);
void nmis(void);
void registers(void);
