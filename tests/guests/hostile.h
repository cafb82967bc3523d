/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the hostile guest share; hostile.c says what the guest does. */
#pragma once
#include "apstart.h"
#include "dice.h"

typedef int32_t s32;
typedef int64_t s64;

/* Guest-physical, mapped one to one. What CPL 3 may touch lies in whole pages of 2 MiB. */
#define RAM_TOP     0x1000000ull /* of 16 MiB */
#define CODE        0x400000ull  /* what a step runs */
#define DATA        0x410000ull  /* what it may write */
#define DATA_SIZE   0x20000ull
#define STACK       0x448000ull  /* its top */
#define TABLES      0x600000ull  /* page tables that are wrong on purpose: supervisor's */
#define MODE_PAGE   0x8000ull    /* code of the 16- and 32-bit modes */
#define TOP_CODE    0x7fffffffe000ull /* two pages, the second the last that is canonical: CODE again */
#define WINDOW      0x8000000000ull   /* 2 MiB of any guest-physical address: set_window() */
#define LAPIC       0xfee00000ull
#define IOAPIC      0xfec00000ull
#define HPET        0xfed00000ull
#define ECAM        0xe0000000ull
#define AP_PAGE     0x6000ull
#define WARM_PAGE   0x7000ull

#define SEL_CODE    0x08
#define SEL_DATA    0x10
#define SEL_USER32  0x1b
#define SEL_USERD   0x23
#define SEL_USER64  0x2b
#define SEL_TSS     0x30
#define SEL_TSS_AP  0x40
#define SEL_CODE32  0x50
#define SEL_CODE16  0x58
#define SEL_DATA16  0x60
#define SEL_ODD     0x68 /* and on: descriptors that tests of the modes make */

#define VEC_DONE    0x38 /* a step's last instruction */
#define VEC_TICK    0x51 /* the watchdog's */

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };

/* What a step starts with: hostile.asm knows the layout. */
struct run {
	u64 gpr[16], rip, cs, rflags, ss;
};
_Static_assert(offsetof(struct run, rip) == 128 && offsetof(struct run, ss) == 152, "hostile.asm");

/* How much of the machine a step may have left in disorder. */
#define DIRTY_SEG   1u  /* descriptor tables, segments, x87 and SSE, CR0, CR3: to look at those makes no exit */
#define DIRTY_CR4   2u
#define DIRTY_EFER  4u
#define DIRTY_PAT   8u
#define DIRTY_BASE  16u /* the local APIC's mode and address */
#define DIRTY_APIC  32u /* local APIC, interrupts */
#define DIRTY_CPUS  64u /* the other CPU may have been stopped */
#define MAY_END     128u /* the machine may end by this step: note it first */
#define DIRTY_CR    (DIRTY_SEG | DIRTY_CR4)

extern bool user_mode, tcg, bochs, trace;
extern u64 seed;
extern volatile u32 step;
extern volatile u32 beat, stuck; /* the watchdog's: ticks, and how often it interfered */
extern struct run run;
extern volatile u32 last_vector, interrupts;
extern u64 gdt[32];

/* hostile.asm */
void run_code(const struct run *r);
void run_mode(u32 mode, const u32 gpr[8]);
extern char recover[], mode_code[], mode_code_end[], mode_back[], real_back[];
extern volatile u64 saved_rsp, mode_rsp;
extern volatile bool finished;
extern volatile bool running; /* in run_code() */
void watchdog_entry(void);
void warm_entry(void);

/* hostile_random.c */
u64 random(void);
u32 below(u32 n);
u64 edge(void);            /* a number at which something changes */
u64 address(void);         /* of memory or a device, of any kind */
u64 device_address(void);  /* of a device, or of nothing */
u64 ram_address(void);     /* what a step may write */
u64 wrong_address(void);   /* not mapped, not canonical, at an end */
u32 a_port(void);
bool forbidden(u32 port);
u32 a_msr(void);
void set_window(u64 gpa);

/* hostile_code.c: a step's instructions; returns what it may leave in disorder */
u32 make_code(void);
void put_code(u64 value, u32 n); /* n bytes more */
void code_from(u64 at);
u64 code_at(void);
void put_device_insn(bool any);
void put_end(void);

/* hostile_modes.c, hostile_cpus.c, hostile_tables.c, hostile_pci.c: acts that are no code of 64-bit mode */
u32 other_mode(void);
void modes_set_up(void);
u32 bad_tables(void);
u32 cpu_storm(void);
u32 timers_and_irqs(void);
u32 bar_race(void);
void pci_set_up(void);
bool pci_moves(void); /* CPU 1's share of bar_race() */
void start_watchdog(void);
void wake_watchdog(void);
void cpus_set_up(void);
void calm(void);       /* all devices, about 100 exits */
void calm_lapic(void); /* and what has the CPU interrupted: 20 */
void watchdog(void) __attribute__((noreturn));

/* hostile.c */
void prepare(void); /* run, as every step begins */
void restore(u32 dirty);
void show(void); /* for the word `trace`: what is about to run */
void give_up(const char *why) __attribute__((noreturn));
extern u64 clean_cr3;

void *memset(void *d, int c, size_t n);

static inline u32 mmio_read(u64 a)
{
	return *(volatile u32 *)a;
}
static inline void mmio_write(u64 a, u32 v)
{
	*(volatile u32 *)a = v;
}
