/* SPDX-License-Identifier: BSD-2-Clause */
/* Interrupt windows and shadows, and NMIs. */
#include "cputest64.h"

/* ---- shadows and windows ---- */

#define PEND() lapic_write(0x300, 0x44000 | VEC_IPI)

/* IF is 0 and an interrupt waits; it must come right behind label 8. */
#define WINDOW(name, insns, ...)                                                           \
	do {                                                                                   \
		u64 want;                                                                          \
		n_irq = 0;                                                                         \
		irq_rip = 0;                                                                       \
		PEND();                                                                            \
		__asm__ volatile(insns "nop; nop; cli; movq $8b, %0" : "=r"(want) : __VA_ARGS__    \
				 : "rax", "rcx", "rdx", "rbx", "rsi", "rdi", "memory", "cc");              \
		check2(name, n_irq == 1 && irq_rip == want, n_irq, irq_rip - want);                \
	} while (0)

void windows(void)
{
	u64 popped;

	n_irq = 0;
	PEND();
	for (volatile int i = 0; i < 1000; i++)
		;
	check2("if-0-holds", n_irq == 0, n_irq, 0);
	__asm__ volatile("sti; nop; cli");
	WINDOW("sti-nop", "sti; nop; 8:", "i"(0));
	WINDOW("sti-cpuid", "xor %%eax, %%eax; sti; cpuid; 8:", "i"(0));
	WINDOW("sti-in", "sti; inb $0x61, %%al; 8:", "i"(0));
	WINDOW("sti-mmio", "sti; movl 0x30(%1), %%eax; 8:", "r"(LAPIC));
	WINDOW("sti-rdmsr", "mov $0x1b, %%ecx; sti; rdmsr; 8:", "i"(0));
	WINDOW("sti-hlt", "sti; hlt; 8:", "i"(0));
	WINDOW("popf", "pushfq; orl $0x200, (%%rsp); popfq; 8:", "i"(0));
	if (!same(emulator, "tcg") || !forgiven("window-cr8"))
		WINDOW("window-cr8", "mov $15, %%eax; mov %%rax, %%cr8; sti; nop; nop; xor %%eax, %%eax; mov %%rax, %%cr8; 8:",
	       "i"(0));
	n_irq = 0;
	PEND();
	__asm__ volatile("sti; cli; nop; nop; mov $8f, %0; 8:" : "=r"(popped)::"memory");
	check2("sti-cli", n_irq == 0, n_irq, irq_rip - popped);
	__asm__ volatile("sti; nop; cli");
	/* STI's shadow reaches MOV SS; whether MOV SS then has its own is the CPU's choice. */
	n_irq = 0;
	PEND();
	__asm__ volatile("sti; mov %1, %%ss; cpuid; 8: nop; cli; mov $8b, %0"
			 : "=&S"(popped) : "r"(0x10) : "rax", "rbx", "rcx", "rdx", "memory");
	check2("mov-ss-cpuid", n_irq == 1 && (irq_rip == popped || irq_rip == popped - 2), n_irq, irq_rip - popped);
}

/* ---- NMI ---- */

static void send_nmi(void)
{
	lapic_write(0x310, lapic_read(0x20) & 0xff000000);
	lapic_write(0x300, 0x4400);
}
static void wait(void)
{
	for (volatile int i = 0; i < 100; i++)
		(void)inb(0x61);
}
static volatile u32 nmi_seen_inside;

static void nmi_reset(void (*hook)(void))
{
	n_nmi = nmi_depth = nmi_deepest = nmi_seen_inside = 0;
	nmi_hook = hook;
}
static void hook_send_two(void)
{
	u32 r[4];

	send_nmi();
	cpuid(0, r);
	send_nmi();
	wait();
	nmi_seen_inside = n_nmi;
}
static void hook_iret_inside(void)
{
	send_nmi();
	wait();
	nmi_seen_inside = n_nmi;
	__asm__ volatile("int3"); /* its IRET ends the blocking */
	wait();
}
static void hook_fault_inside(void)
{
	hook_send_two();
	__asm__ volatile("sti; nop; cli");
}

void nmis(void)
{
	nmi_reset(NULL);
	send_nmi();
	wait();
	check2("nmi", n_nmi == 1 && nmi_deepest == 1, n_nmi, nmi_deepest);
	nmi_reset(hook_send_two);
	send_nmi();
	wait();
	check2("nmi-blocked-until-iret", nmi_seen_inside == 1 && n_nmi == 2 && nmi_deepest == 1, n_nmi, nmi_deepest);
	nmi_reset(hook_iret_inside);
	send_nmi();
	wait();
	check2("nmi-inner-iret-unblocks", nmi_seen_inside == 1 && n_nmi == 2 && nmi_deepest == 2, n_nmi, nmi_deepest);
	/* Both an NMI and an interrupt that wait in the handler. */
	nmi_reset(hook_fault_inside);
	n_irq = 0;
	PEND();
	send_nmi();
	wait();
	check2("nmi-with-interrupt", n_nmi == 2 && n_irq == 1, n_nmi, n_irq);
	/* Blocked NMIs under single step. */
	nmi_reset(hook_send_two);
	n_db = 0;
	__asm__ volatile("pushfq; orl $0x100, (%rsp); popfq");
	send_nmi();
	__asm__ volatile("pushfq; andl $~0x100, (%%rsp); popfq" ::: "memory");
	check2("nmi-under-step", n_nmi == 2 && nmi_deepest == 1 && n_db >= 4, n_nmi, n_db);
	/* The PIT by the I/O APIC as an NMI wakes HLT with interrupts off. */
	nmi_reset(NULL);
	*(volatile u32 *)(0xfec00000 + 0ull * n_nmi) = 0x15;
	*(volatile u32 *)(0xfec00010 + 0ull * n_nmi) = lapic_read(0x20) & 0xff000000;
	*(volatile u32 *)(0xfec00000 + 0ull * n_nmi) = 0x14;
	*(volatile u32 *)(0xfec00010 + 0ull * n_nmi) = 0x400;
	outb(PIT_MODE, 0x34); /* again and again, lest the one comes before HLT */
	outb(PIT_CH0, 0xff);
	outb(PIT_CH0, 0x40);
	__asm__ volatile("cli; hlt");
	*(volatile u32 *)(0xfec00010 + 0ull * n_nmi) = 0x10000;
	outb(PIT_MODE, 0x30);
	check2("nmi-ioapic-wakes-hlt", n_nmi >= 1, n_nmi, 0);
}
