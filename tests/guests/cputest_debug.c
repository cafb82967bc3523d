/* SPDX-License-Identifier: BSD-2-Clause */
/* Single step and breakpoints, over instructions that make a hypervisor act and those that do not. */
#include "cputest64.h"

/* ---- single step ---- */

/* TF on, one instruction, and back; the trace must be the one of NOP. */
#define STEP(at, behind, setup, insn, ...)                                                       \
	do {                                                                                  \
		n_db = 0;                                                                         \
		__asm__ volatile(setup "; pushfq; orl $0x100, (%%rsp); popfq; 7: " insn "; 8: nop; pushfq;" \
				 "andl $~0x100, (%%rsp); popfq; movq $7b, %0; movq $8b, %1"               \
				 : "=m"(at), "=m"(behind) : __VA_ARGS__                                   \
				 : "rax", "rcx", "rdx", "rbx", "rsi", "rdi", "memory", "cc");             \
	} while (0)

static void stepped(const char *name, u64 behind, u32 more)
{
	bool ok = n_db == 5 + more && db[more].rip == behind && db[more + 1].rip == behind + 1;

	for (u32 i = 0; ok && i < n_db; i++)
		ok = (db[i].dr6 & 0x600f) == 0x4000;
	check2(name, ok, n_db, n_db ? db[more].rip - behind : 0);
}

void steps(void)
{
	static u8 buf[16];
	u64 at, b;
	bool ok;

	STEP(at, b, "", "nop", "i"(0));
	stepped("step-nop", b, 0);
	STEP(at, b, "xor %%eax, %%eax", "cpuid", "i"(0));
	stepped("step-cpuid", b, 0);
	STEP(at, b, "", "inb $0x61, %%al", "i"(0));
	stepped("step-in", b, 0);
	STEP(at, b, "xor %%eax, %%eax", "outb %%al, $0x80", "i"(0));
	stepped("step-out", b, 0);
	STEP(at, b, "", "movl 0x30(%[a]), %%eax", [a] "r"(LAPIC));
	stepped("step-mmio", b, 0);
	STEP(at, b, "mov $0x1b, %%ecx", "rdmsr", "i"(0));
	stepped("step-rdmsr", b, 0);
	STEP(at, b, "mov $0x8b, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx", "wrmsr", "i"(0));
	stepped("step-wrmsr", b, 0);
	STEP(at, b, "", "mov %%cr0, %%rax; mov %%rax, %%cr0", "i"(0));
	check2("step-cr0", n_db == 6 && db[1].rip == b, n_db, b);
	STEP(at, b, "", "mov %[a], %%cr4", [a] "r"(read_cr(4)));
	stepped("step-cr4", b, 0);
	STEP(at, b, "", "wbinvd", "i"(0));
	stepped("step-wbinvd", b, 0);
	STEP(at, b, "mov %[a], %%rdi; mov $0x61, %%edx; mov $3, %%ecx", "rep insb", [a] "r"(buf));
	ok = db[0].rip == at && db[1].rip == at;
	stepped("step-rep-insb", b, 2);
	check2("step-rep-insb-each", ok, db[0].rip - at, db[1].rip - at);
	STEP(at, b, "mov %[a], %%rsi; mov $0x80, %%edx; mov $3, %%ecx", "rep outsb", [a] "r"(buf));
	stepped("step-rep-outsb", b, 2);
	STEP(at, b, "xor %%eax, %%eax", "mov %[a], %%ss; cpuid", [a] "r"(0x10));
	check2("step-mov-ss-cpuid", n_db == 5 && db[0].rip == b, n_db, db[0].rip - b);
	/* A timer, lest a CPU that loses the trap sleeps for ever. */
	lapic_write(0x3e0, 0xb);
	lapic_write(0x320, VEC_IPI);
	lapic_write(0x380, 100000000);
	n_irq = 0;
	STEP(at, b, "", "sti; hlt; cli", "i"(0));
	lapic_write(0x380, 0);
	/* TCG forgets the trap behind STI, bare or not; the one behind HLT is what counts. */
	check2("step-hlt", !n_irq && n_db >= 6 && n_db <= 7 && db[n_db - 6].rip == b - 1, n_db, n_irq);
}

/* ---- debug registers ---- */

static void set_dr7(u64 v)
{
	__asm__ volatile("mov %0, %%dr7" ::"r"(v) : "memory");
}
static u64 get_dr7(void)
{
	u64 v;

	__asm__ volatile("mov %%dr7, %0" : "=r"(v)::"memory");
	return v;
}

void breakpoints(void)
{
	static volatile u32 var[2];
	u64 want, dr0, dr1;
	u32 r[4];

	n_db = 0;
	__asm__ volatile("mov $8f, %%rax; mov %%rax, %%dr0; mov $0x401, %%eax; mov %%rax, %%dr7; 8: xor %%eax, %%eax;"
			 "mov $0x400, %%eax; mov %%rax, %%dr7; mov $8b, %0" : "=r"(want)::"rax");
	check2("dr-execute", n_db == 1 && db[0].rip == want && (db[0].dr6 & 0x600f) == 1, n_db, db[0].dr6);
	n_db = 0;
	__asm__ volatile("mov $8f, %%rax; mov %%rax, %%dr0; mov $0x401, %%eax; mov %%rax, %%dr7; xor %%eax, %%eax;"
			 "8: cpuid; mov $0x400, %%eax; mov %%rax, %%dr7; mov $8b, %0"
			 : "=&S"(want)::"rax", "rbx", "rcx", "rdx");
	check2("dr-execute-cpuid", n_db == 1 && db[0].rip == want && (db[0].dr6 & 0x600f) == 1, n_db, db[0].dr6);

	__asm__ volatile("mov %0, %%dr1" ::"r"(var));
	set_dr7(0x400 | 4 | 13ull << 20); /* DR1: write, 4 bytes */
	n_db = 0;
	cpuid(0, r);
	(void)inb(0x61);
	(void)var[0];
	__asm__ volatile("movl $5, (%1); 8: nop; mov $8b, %0" : "=r"(want) : "r"(var) : "memory");
	var[1] = 6;
	check2("dr-write", n_db == 1 && db[0].rip == want && (db[0].dr6 & 0x600f) == 2, n_db, db[0].dr6);
	set_dr7(0x400 | 4 | 15ull << 20); /* read and write */
	n_db = 0;
	(void)var[0];
	check2("dr-read", n_db == 1 && (db[0].dr6 & 0x600f) == 2, n_db, db[0].dr6);
	cpuid(0, r);
	(void)lapic_read(0x30);
	__asm__ volatile("mov %%dr0, %0; mov %%dr1, %1" : "=r"(dr0), "=r"(dr1));
	check2("dr-kept", dr1 == (u64)var && get_dr7() == (0x404 | 15ull << 20), dr1, get_dr7());

	__asm__ volatile("mov %0, %%dr2" ::"r"(LAPIC + 0x80));
	set_dr7(0x400 | 0x10 | 13ull << 24); /* DR2: writes to a device */
	n_db = 0;
	__asm__ volatile("movl %2, (%1); 8: nop; mov $8b, %0" : "=r"(want) : "r"(LAPIC + 0x80), "r"(0) : "memory");
	check2("dr-write-mmio", n_db == 1 && db[0].rip == want && (db[0].dr6 & 0x600f) == 4, n_db, db[0].dr6);

	__asm__ volatile("mov %0, %%cr4" ::"r"(read_cr(4) | 8));
	__asm__ volatile("mov %0, %%dr3" ::"r"(0x80ull));
	set_dr7(0x400 | 0x40 | 2ull << 28); /* DR3: a port, 1 byte */
	n_db = 0;
	outb(0x81, 0);
	__asm__ volatile("xor %%eax, %%eax; outb %%al, $0x80; 8: nop; mov $8b, %0" : "=r"(want)::"rax");
	check2("dr-io", n_db == 1 && db[0].rip == want && (db[0].dr6 & 0x600f) == 8, n_db, db[0].dr6);
	set_dr7(0x400);
	n_db = 0;
	outb(0x80, 0);
	var[0] = 1;
	check2("dr-off", n_db == 0, n_db, 0);
	TRY("mov %%dr4, %%rax", "i"(0));
	fault("dr4-de-ud", 6, 0);
	__asm__ volatile("mov %0, %%cr4" ::"r"(read_cr(4) & ~8ull));
	TRY("mov %%dr5, %%rax", "i"(0));
	no_fault("dr5-alias", true);
	TRY("mov %[a], %%dr7", [a] "r"(1ull << 32));
	fault("dr7-high-gp", 13, 0);
	TRY("mov %[a], %%dr6", [a] "r"(1ull << 32));
	fault("dr6-high-gp", 13, 0);
	n_db = 0;
	set_dr7(0x2400);
	__asm__ volatile("8: mov %%dr0, %%rax; mov $8b, %0" : "=r"(want)::"rax");
	check2("dr-general-detect", n_db == 1 && db[0].rip == want && (db[0].dr6 & 0x2000) && !(get_dr7() & 0x2000),
	       n_db, db[0].dr6);
	set_dr7(0x400);
}
