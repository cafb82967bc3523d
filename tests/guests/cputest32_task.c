/* SPDX-License-Identifier: BSD-2-Clause */
/* Hardware task switches: by CALL, JMP, IRET and gates; to 32-bit tasks, 16-bit ones and V86 mode. */
#include "cputest32.h"

extern char task_entry[], task_entry_error[];
extern u32 jump_back;

static struct tss32 tss2 __attribute__((aligned(256)));
static const char *const mode_names[] = {"flat", "pse", "pae"};


static u8 desc_type(u16 sel)
{
	return (u8)(((volatile u64 *)gdt)[sel >> 3] >> 40);
}

static volatile struct {
	u32 n, tr, link, nt, ts, word, type1, type2, error, dr7, ds;
} seen;
static int mode_now;

/* In the second task. */
void task_hook(u32 error);
void task_hook(u32 error)
{
	u32 flags, dr7, ds = 0;

	__asm__ volatile("pushfl; popl %0; mov %%dr7, %1; mov %%fs, %w2" : "=r"(flags), "=r"(dr7), "+r"(ds));
	seen.n++;
	seen.tr = get_tr();
	seen.link = tss2.link & 0xffff;
	seen.nt = !!(flags & NT);
	seen.ts = !!(read_cr(0) & 8);
	seen.word = *(volatile u32 *)WINDOW;
	seen.type1 = desc_type(SEL_TASK1);
	seen.type2 = desc_type(SEL_TASK2);
	seen.error = error;
	seen.dr7 = dr7;
	seen.ds = ds;
	if (error && resume)
		((volatile struct tss32 *)&tss1)->eip = resume;
	__asm__ volatile("clts");
}

static void task2(const void *entry)
{
	memset(&tss2, 0, sizeof(tss2));
	tss2.cr3 = cr3_of(mode_now, 1);
	tss2.eip = (u32)entry;
	tss2.eflags = 2;
	tss2.gpr[4] = (u32)stacks[2] + 4096;
	for (unsigned i = 0; i < 6; i++)
		tss2.seg[i] = i == 1 ? 8 : 0x10;
	tss2.ldt = SEL_LDT;
	tss2.seg[4] = 0xc; /* FS from the LDT */
	tss2.iomap = 0x68;
	gdt[SEL_TASK2 >> 3] = system(&tss2, sizeof(tss2) - 1, 0x89);
	gdt[SEL_NP_TSS >> 3] = system(&tss2, sizeof(tss2) - 1, 0x09);
	gdt[SEL_SHORT_TSS >> 3] = system(&tss2, 0x66, 0x89);
	tss1.cr3 = cr3_of(mode_now, 0);
	seen.n = 0;
	jump_back = 0;
}

static const char *name_of(const char *what)
{
	static char buf[64];
	const char *parts[] = {"task-", mode_names[mode_now], "-", what};
	unsigned n = 0;

	for (unsigned i = 0; i < 4; i++)
		for (const char *p = parts[i]; *p; p++)
			buf[n++] = *p;
	buf[n] = 0;
	return buf;
}

/* Back in the first task, as it was? */
static bool back(bool nt_free)
{
	u32 flags;

	__asm__ volatile("pushfl; popl %0" : "=r"(flags));
	return get_tr() == SEL_TASK1 && desc_type(SEL_TASK1) == 0x8b && desc_type(SEL_TASK2) == 0x89 &&
	       !(nt_free && flags & NT) && *(volatile u32 *)WINDOW == 0xaaaa;
}
static bool in_task2(bool linked)
{
	return seen.tr == SEL_TASK2 && seen.ts && seen.ds == 0xc &&
	       seen.word == (mode_now == NONE ? 0xaaaau : 0xbbbbu) && seen.type2 == 0x8b &&
	       (linked ? seen.link == SEL_TASK1 && seen.nt && seen.type1 == 0x8b
		       : !seen.nt && seen.type1 == 0x89);
}

static void task_faults(void)
{
	u32 nt;

	task2(task_entry);
	TRY("lcall %[s], $0", [s] "i"(SEL_NP_TSS));
	fault(name_of("np"), 11, SEL_NP_TSS);
	TRY("lcall %[s], $0", [s] "i"(SEL_SHORT_TSS));
	fault(name_of("short-ts"), 10, SEL_SHORT_TSS);
	TRY("ljmp %[s], $0", [s] "i"(SEL_TASK1));
	fault(name_of("busy-gp"), 13, SEL_TASK1);
	tss1.link = SEL_TASK2; /* not busy */
	TRY("pushfl; orl $0x4000, (%%esp); popfl; iretl", "i"(0));
	nt = got.eflags & NT;
	__asm__ volatile("pushfl; andl $~0x4000, (%esp); popfl");
	check2(name_of("iret-ts"), got.n == 1 && got.vector == 10 && got.error == SEL_TASK2 && nt, got.vector, got.error);
	/* A bad segment: the fault is the new task's. Its handler goes on in task_entry. */
	tss2.seg[3] = 0x1230;
	got.n = 0;
	resume = (u32)task_entry;
	__asm__ volatile("lcall %0, $0" ::"i"(SEL_TASK2) : "memory");
	resume = 0;
	check2(name_of("ds-ts"), got.n == 1 && got.vector == 10 && got.error == 0x1230 && got.tr == SEL_TASK2 &&
				  back(true), got.vector, got.error);
}

/* ---- other kinds of task ---- */

/* SDM vol. 3, figure 8-10. */
static struct tss16 {
	u16 link, stacks[6], ip, flags, gpr[8], seg[4], ldt;
} tss16 __attribute__((aligned(64)));
extern char task16_entry[], task16_entry_error[], task16_again[], task16_seen[], task_v86_entry[];

static void task16(const char *entry)
{
	memset(&tss16, 0, sizeof(tss16));
	tss16.ip = (u16)(u32)entry;
	tss16.flags = 2;
	tss16.gpr[3] = 0x3333;
	tss16.gpr[4] = 0x7000;
	for (unsigned i = 0; i < 4; i++)
		tss16.seg[i] = i == 1 ? 0x18 : 0x20;
	gdt[SEL_TASK16 >> 3] = system(&tss16, sizeof(tss16) - 1, 0x81);
}

/* It ran, nested in the first task; and its state is back in its TSS, to go on behind IRET. */
static bool task16_ran(void)
{
	const volatile u16 *s = (const volatile u16 *)task16_seen;
	bool there = s[0] == SEL_TASK16 && s[1] & NT && tss16.link == SEL_TASK1 && s[2] == 0x3333 && s[3] == 0x7000;

	__asm__ volatile("clts");
	return there && tss16.ip == (u16)(u32)task16_again && tss16.gpr[3] == 0x4444 && !(tss16.flags & NT) &&
	       get_tr() == SEL_TASK1 && desc_type(SEL_TASK1) == 0x8b && desc_type(SEL_TASK16) == 0x81;
}

static void tasks16(void)
{
	const volatile u16 *s = (const volatile u16 *)task16_seen;
	u32 ebx, esi;

	low_copy();
	task16(task16_entry);
	__asm__ volatile("mov $0x11112222, %%ebx; mov $0x33334444, %%esi; lcall %2, $0"
			 : "=&b"(ebx), "=&S"(esi) : "i"(SEL_TASK16) : "memory", "eax", "ecx", "edx", "edi");
	check2(name_of("16-call-iret"), task16_ran(), s[0], tss16.ip);
	check2(name_of("16-registers"), ebx == 0x11112222 && esi == 0x33334444, ebx, esi);
	task16(task16_entry);
	set_gate(VEC_TASK, 0x85, SEL_TASK16);
	__asm__ volatile("int %0" ::"i"(VEC_TASK) : "memory");
	check2(name_of("16-int-gate"), task16_ran(), s[0], tss16.ip);
	task16(task16_entry_error);
	((volatile u32 *)s)[3] = (u32)&resume;
	((volatile u32 *)s)[4] = (u32)&tss1.eip;
	set_gate(13, 0x85, SEL_TASK16);
	TRY("mov %[s], %%ds", [s] "r"(0x1230));
	set_gate(13, 0x8e, 8);
	check2(name_of("16-error-gate"), task16_ran() && s[4] == 0x1230, s[0], s[4]);
}

/* By JMP, so that the handler of its #GP may jump back to the first task. */
static void task_v86(void)
{
	volatile u16 *saw = (volatile u16 *)0x9000;

	low_copy();
	task2(task_v86_entry);
	tss2.eflags = VM | 2;
	tss2.gpr[4] = 0x1000;
	for (unsigned i = 0; i < 6; i++)
		tss2.seg[i] = i == 1 ? LOW >> 4 : i == 2 ? 0x700 : 0x900;
	tss2.esp0 = (u32)stacks[3] + 4096;
	tss2.ss0 = 0x10;
	saw[0] = v86_seen = got.n = 0;
	__asm__ volatile("ljmp %0, $0" ::"i"(SEL_TASK2) : "memory");
	__asm__ volatile("clts");
	check2(name_of("v86"), saw[0] == 0x700 && v86_seen && got.tr == SEL_TASK2 && got.vector == 13 && back(true),
	       saw[0], got.tr);
}

void tasks(int mode)
{
	u32 regs[3];

	mode_now = mode;
	paging_on(mode);
	task2(task_entry);
	__asm__ volatile("mov %0, %%dr7" ::"r"(0x401)); /* L0: off after a switch; DR0 is nowhere */
	__asm__ volatile("mov $0x1111, %%ebx; mov $0x2222, %%esi; mov $0x3333, %%edi; lcall %3, $0"
			 : "=&b"(regs[0]), "=&S"(regs[1]), "=&D"(regs[2]) : "i"(SEL_TASK2) : "memory", "eax", "ecx", "edx");
	check2(name_of("call-iret"), seen.n == 1 && in_task2(true) && back(true), seen.tr, seen.type1 << 8 | seen.type2);
	check2(name_of("registers"), regs[0] == 0x1111 && regs[1] == 0x2222 && regs[2] == 0x3333, regs[0], regs[1]);
	check2(name_of("dr7-local"), !(seen.dr7 & 0x3ff), seen.dr7, 0);
	__asm__ volatile("lcall %0, $0" ::"i"(SEL_TASK2) : "memory");
	check2(name_of("call-again"), seen.n == 2 && in_task2(true) && back(true), seen.n, seen.tr);

	task2(task_entry);
	jump_back = 1;
	__asm__ volatile("ljmp %0, $0" ::"i"(SEL_TASK2) : "memory");
	check2(name_of("jmp"), seen.n == 1 && in_task2(false) && back(true), seen.type1, seen.nt);

	task2(task_entry);
	set_gate(VEC_TASK, 0x85, SEL_TASK2);
	__asm__ volatile("int %0" ::"i"(VEC_TASK) : "memory");
	check2(name_of("int-gate"), seen.n == 1 && in_task2(true) && back(true), seen.n, seen.tr);

	task2(task_entry);
	set_gate(VEC_IPI, 0x85, SEL_TASK2);
	lapic_write(0x300, 0x44000 | VEC_IPI);
	__asm__ volatile("sti; nop; nop; cli" ::: "memory");
	lapic_write(0xb0, 0);
	set_gate(VEC_IPI, 0x8e, 8);
	check2(name_of("irq-gate"), seen.n == 1 && in_task2(true) && back(true), seen.n, seen.tr);

	task2(task_entry_error);
	set_gate(13, 0x85, SEL_TASK2);
	TRY("mov %[s], %%ds", [s] "r"(0x1230));
	set_gate(13, 0x8e, 8);
	check2(name_of("error-gate"), seen.n == 1 && in_task2(true) && seen.error == 0x1230 && back(true), seen.n, seen.error);

	task2(task_entry);
	tss2.trap = 1;
	n_db = 0;
	__asm__ volatile("lcall %0, $0" ::"i"(SEL_TASK2) : "memory");
	check2(name_of("t-bit"), n_db == 1 && db_eip[0] == (u32)task_entry && db_dr6 & 0x8000 && seen.n == 1, n_db, db_dr6);
	task_faults();
	tasks16();
	task_v86();
	if (mode != NONE)
		paging_off();
}
