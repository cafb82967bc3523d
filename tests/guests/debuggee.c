/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest to be debugged (tests/system/debug.py): places to break at, memory to watch, instructions to step over,
 * a second CPU. What the debugger is to change it prints at its end, and whether anything of the debugger was seen.
 */
#include "pc.h"

#define LAPIC	   0xfee00000ull
#define VEC_TIMER  0x30
#define VEC_SOFT   0x40
#define MSR_EFER   0xc0000080
#define MSR_STAR   0xc0000081
#define MSR_LSTAR  0xc0000082
#define MSR_SFMASK 0xc0000084
#define MSR_FS     0xc0000100
#define MSR_KGS    0xc0000102

extern char gdtr[], ap_code[], ap_code_end[], ap_cr3[], system_call[];
static struct gate idt[256] __attribute__((aligned(16)));
volatile u64 watched, other, ap_count, go, calls, traps[256], seen_tf, dr7_seen;
u64 patch_me = 0x1111;

/* debuggee.asm */
void walk(void);
u64 give_back(u64 unused);

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	(void)rip;
	traps[vector & 255]++;
	seen_tf |= f->rflags & 0x100;
	if (vector == VEC_TIMER)
		*(volatile u32 *)(LAPIC + 0xb0) = 0;
	else if (vector < 32 && vector != 3) {
		puts_("DEBUGGEE: exception ");
		putd(vector);
		puts_("\n");
		outb(DEBUG_EXIT, 30);
	}
}

static void say(const char *what, u64 n)
{
	puts_("DEBUGGEE: ");
	puts_(what);
	puts_(" ");
	putx(n);
	puts_("\n");
}

__attribute__((noinline)) void here(u64 n)
{
	calls += n;
	__asm__ volatile("" ::: "memory");
}

static void set_up(void)
{
	idt_init(idt, 256);
	serial_init();
	pic_init();
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
	wrmsr(MSR_STAR, 8ull << 32);
	wrmsr(MSR_LSTAR, (u64)system_call);
	wrmsr(MSR_SFMASK, 0x300);
	*(volatile u32 *)(LAPIC + 0xf0) = 0x1ff;
}

/* The second CPU, if there is one, counts for ever. */
static void start_ap(void)
{
	u64 cr3, n = 100000;

	for (char *s = ap_code, *d = (char *)0x8000; s < ap_code_end; s++, d++)
		*(volatile char *)d = *s;
	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	*(volatile u32 *)(0x8000 + (ap_cr3 - ap_code)) = (u32)cr3;
	*(volatile u32 *)(LAPIC + 0x300) = 0xc4500;
	*(volatile u32 *)(LAPIC + 0x300) = 0xc4608;
	while (!ap_count && n--)
		__asm__ volatile("pause");
}

static void one_timer_tick(void)
{
	*(volatile u32 *)(LAPIC + 0x320) = VEC_TIMER;
	*(volatile u32 *)(LAPIC + 0x3e0) = 0xb;
	*(volatile u32 *)(LAPIC + 0x380) = 1000;
}

void main(u64 magic, u64 info);
void main(u64 magic, u64 info)
{
	u64 dr7;

	(void)magic;
	(void)info;
	set_up();
	start_ap();
	puts_("DEBUGGEE: ready\n");
	here(1);
	watched = 5;
	other = watched + 1;
	here(2);
	one_timer_tick();
	walk();
	here(3);
	__asm__ volatile("mov %%dr7, %0" : "=r"(dr7));
	say("register", give_back(0));
	say("memory", patch_me);
	say("kgs", rdmsr(MSR_KGS));
	say("dr7", dr7);
	say("tf", seen_tf);
	say("int3", traps[3]);
	say("soft", traps[VEC_SOFT]);
	say("timer", traps[VEC_TIMER]);
	puts_("DEBUGGEE: waits\n");
	while (!go)
		__asm__ volatile("pause");
	here(4);
	puts_("DEBUGGEE: free\n");
	outb(DEBUG_EXIT, 5);
}
