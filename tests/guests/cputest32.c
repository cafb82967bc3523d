/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cputest.c's sister: exceptions in 32-bit mode, real mode with 64 KiB and with 4 GiB segments, V86
 * mode under a monitor, paging with 4-byte entries and PAE, hardware task switches in each of them.
 */
#include "cputest32.h"

const struct known known[] = {
	{"tcg", "real-gp", "TCG: no segment limits"},
	{"tcg", "v86-gp-to-monitor", "TCG: no segment limits"},
	{"tcg", "task-flat-t-bit", "TCG: the TSS's T bit does nothing"},
	{"tcg", "task-pse-t-bit", "TCG: the TSS's T bit does nothing"},
	{"tcg", "task-pae-t-bit", "TCG: the TSS's T bit does nothing"},
	{NULL, NULL, NULL},
};

struct gate {
	u16 off0, sel;
	u8 zero, type;
	u16 off1;
};

extern char isr_table[], rm_start[], rm_end[], v86_code[], v86_stack_code[];
extern u16 rm_vectors[][2];
u32 real_mode(void);
void enter_v86(u32 eip, u32 esp, u32 eflags);

u64 gdt[15] __attribute__((aligned(16)));
struct tss32 tss1 __attribute__((aligned(256)));
u8 stacks[4][4096] __attribute__((aligned(16)));
static struct gate idt[64] __attribute__((aligned(16)));
static u64 ldt[2] __attribute__((aligned(16)));
static u32 pse[2][1024] __attribute__((aligned(4096)));
static u32 pt[1024] __attribute__((aligned(4096)));
static u64 pae_pd[5][512] __attribute__((aligned(4096)));
static u64 pdpt[2][4] __attribute__((aligned(32)));

volatile struct got got;
volatile u32 resume;
volatile u32 n_db, db_eip[20], db_dr6;
volatile u32 v86_seen;
static volatile u32 v86_gp;

u32 get_tr(void)
{
	u32 v = 0;

	__asm__ volatile("str %w0" : "+r"(v));
	return v;
}

/* The V86 program's faults, one after the other: skip what the monitor would emulate. */
static bool v86_fault(struct frame32 *f)
{
	const u8 *code = (const u8 *)(f->cs * 16 + f->eip);

	if (f->vector != 13 || f->error)
		return false;
	v86_gp++;
	switch (*code) {
	case 0xfa: /* CLI */
	case 0x9c: /* PUSHF */
		f->eip++;
		return true;
	case 0xcd: /* INT n; by CR4.VME it is no fault of IOPL */
		if (read_cr(4) & 1)
			return false;
		f->eip += 2;
		return true;
	case 0xe4: /* IN AL, imm8 */
	case 0x8b: /* MOV AX, [BX] */
		f->eip += 2;
		return true;
	case 0xf4: /* HLT: the end. Leave to ring 0 by a frame that IRETD takes. */
		v86_seen = 1;
		return false;
	default:
		return false;
	}
}

void interrupt(struct frame32 *f);
void interrupt(struct frame32 *f)
{
	if (f->vector >= 32) {
		if (f->vector == VEC_IPI)
			lapic_write(0xb0, 0);
		return;
	}
	if (f->vector == 1) {
		__asm__ volatile("mov %%dr6, %0; mov %1, %%dr6" : "=&r"(db_dr6) : "r"(0xffff0ff0));
		if (n_db < 20)
			db_eip[n_db] = f->eip;
		else
			f->eflags &= ~TF;
		n_db++;
		return;
	}
	if (f->eflags & VM && v86_fault(f))
		return;
	__asm__ volatile("mov %%cr2, %0" : "=r"(got.cr2));
	got.n++;
	got.vector = f->vector;
	got.error = f->error;
	got.eip = f->eip;
	got.eflags = f->eflags;
	got.tr = get_tr();
	if (f->eflags & VM && got.tr != SEL_TASK1) { /* a task of its own, which nobody wants again */
		__asm__ volatile("ljmp %0, $0" ::"i"(SEL_TASK1) : "memory");
		__builtin_unreachable();
	}
	if (f->eflags & VM) {
		__asm__ volatile("mov %0, %%esp; jmp leave_v86" ::"r"(kernel_esp));
		__builtin_unreachable();
	}
	if (f->vector == 3 || f->vector == 4)
		return;
	if (!resume)
		broken(f->vector, f->error, f->eip);
	f->eip = resume;
}

void fault(const char *name, u32 vector, u32 error)
{
	check2(name, got.n == 1 && got.vector == vector && got.error == error, got.vector, got.error);
}

void set_gate(unsigned n, u8 type, u16 sel)
{
	u32 a = (u32)isr_table + 16 * n;

	idt[n] = (struct gate){.off0 = (u16)a, .sel = sel, .type = type, .off1 = (u16)(a >> 16)};
}
u64 system(const void *base, u32 limit, u8 type)
{
	u32 b = (u32)base;

	return (limit & 0xffff) | (u64)(b & 0xffffff) << 16 | (u64)type << 40 | (u64)(b >> 24) << 56;
}
static void set_up(void)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (u32)idt}, gdtr = {sizeof(gdt) - 1, (u32)gdt};

	for (unsigned i = 0; i < 64; i++)
		set_gate(i, 0x8e, 8);
	gdt[1] = 0x00cf9b000000ffff;
	gdt[2] = 0x00cf93000000ffff;
	gdt[3] = 0x00009b000000ffff;
	gdt[4] = 0x000093000000ffff;
	gdt[5] = 0x00cff3000000ffff;
	gdt[6] = 0x00cffb000000ffff;
	gdt[SEL_TASK1 >> 3] = system(&tss1, sizeof(tss1) - 1, 0x89);
	gdt[SEL_LDT >> 3] = system(ldt, sizeof(ldt) - 1, 0x82);
	gdt[SEL_NP_DATA >> 3] = 0x00cf13000000ffff;
	ldt[1] = 0x00cf93000000ffff;
	__asm__ volatile("lgdt %0; lidt %1; ljmp $8, $1f; 1: mov %2, %%ds; mov %2, %%es; mov %2, %%ss;"
			 "mov %2, %%fs; mov %2, %%gs" ::"m"(gdtr), "m"(idtr), "r"(0x10));
	tss1.esp0 = (u32)stacks[0] + 4096;
	tss1.ss0 = 0x10;
	tss1.iomap = 0x88;
	memset(tss1.bitmap, 0xff, 33);
	tss1.bitmap[0x61 / 8] = (u8)~(1 << (0x61 & 7));
	__asm__ volatile("ltr %w0" ::"r"(SEL_TASK1));
	lapic_write(0xf0, 0x1ff);
	__asm__ volatile("mov %0, %%cr0" ::"r"((read_cr(0) | 0x20) & ~4u));
	__asm__ volatile("fninit");
	for (u32 i = 0; i < 1024; i++)
		pse[0][i] = pse[1][i] = i << 22 | 0x83;
	pse[1][WINDOW >> 22] = OTHER | 0x83;
	for (u32 i = 0; i < 2048; i++)
		pae_pd[i / 512][i % 512] = (u64)i << 21 | 0x83;
	pse[0][0] |= 4; /* V86 mode is CPL 3 */
	pse[1][0] |= 4;
	pae_pd[0][0] |= 4;
	memcpy(pae_pd[4], pae_pd[0], 4096);
	pae_pd[4][WINDOW >> 21] = OTHER | 0x83;
	for (u32 i = 0; i < 4; i++)
		pdpt[0][i] = pdpt[1][i] = (u32)pae_pd[i] | 1;
	pdpt[1][0] = (u32)pae_pd[4] | 1;
	*(volatile u32 *)WINDOW = 0xaaaa;
	*(volatile u32 *)OTHER = 0xbbbb;
}

static void exceptions(void)
{
	static const u32 bounds[2] = {1, 2};
	u32 behind;

	TRY("xor %%edx, %%edx; xor %%ecx, %%ecx; div %%ecx", "i"(0));
	fault("32-de", 0, 0);
	TRY("int3", "i"(0));
	fault("32-bp", 3, 0);
	TRY("mov $0x7fffffff, %%eax; inc %%eax; into", "i"(0));
	fault("32-of", 4, 0);
	TRY("xor %%eax, %%eax; bound %%eax, %[b]", [b] "m"(bounds));
	fault("32-br", 5, 0);
	TRY("ud2", "i"(0));
	fault("32-ud", 6, 0);
	TRY("mov %[s], %%ds", [s] "r"(SEL_NP_DATA));
	fault("32-np", 11, SEL_NP_DATA);
	TRY("mov %[s], %%ss", [s] "r"(SEL_NP_DATA));
	fault("32-ss", 12, SEL_NP_DATA);
	TRY("mov %[s], %%ds", [s] "r"(0x1230));
	fault("32-gp", 13, 0x1230);
	TRY("int $0x77", "i"(0));
	fault("32-gp-idt-limit", 13, 0x77 * 8 + 2);
	idt[13].type = 0x0e;
	TRY("mov %[s], %%ds", [s] "r"(0x1230));
	fault("32-df", 8, 0);
	set_gate(13, 0x8e, 8);
	n_db = 0;
	__asm__ volatile("pushfl; orl $0x100, (%%esp); popfl; cpuid; 8: nop; pushfl; andl $~0x100, (%%esp); popfl;"
			 "movl $8b, %0" : "=m"(behind) : "a"(0) : "ebx", "ecx", "edx", "memory", "cc");
	check2("32-step-cpuid", n_db == 5 && db_eip[0] == behind, n_db, db_eip[0] - behind);
}

void low_copy(void)
{
	memcpy((void *)LOW, rm_start, (size_t)(rm_end - rm_start));
}

static void real(void)
{
	static const char *const names[] = {
		"real-int", "real-de", "real-ud", "real-gp", "real-cpuid", "real-4gib-segment", "real-mmio",
		"real-sti-interrupt", "real-step", "real-cr0"};
	volatile u32 *ivt; /* at 0, which GCC would take for a mistake */
	u32 r;

	__asm__("xor %0, %0" : "=r"(ivt));
	low_copy();
	for (unsigned i = 0; rm_vectors[i][0] != 0xffff; i++)
		ivt[rm_vectors[i][0]] = rm_vectors[i][1];
	lapic_write(0x300, 0x44000 | VEC_RM);
	r = real_mode();
	lapic_write(0xb0, 0);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		check2(names[i], r >> i & 1, r, 0);
}

static void v86(void)
{
	volatile u16 *seen = (volatile u16 *)0x9000;
	u32 r[4];

	low_copy();
	v86_gp = v86_seen = 0;
	seen[0] = seen[1] = seen[2] = 0;
	got.n = 0;
	enter_v86((u32)v86_code, 0x1000, VM | 2);
	check2("v86-runs", seen[0] == 0x1111 && v86_seen, seen[0], v86_seen);
	check2("v86-cpuid-io", seen[1] && seen[2] == 0x2222, seen[1], seen[2]);
	check2("v86-gp-to-monitor", v86_gp == 6, v86_gp, got.vector);
	cpuid(1, r);
	if (!(r[3] >> 1 & 1)) {
		skip("v86-stack-in-no-ram", "the CPU has no VME");
		return;
	}
	got.n = 0;
	__asm__ volatile("mov %0, %%cr4" ::"r"(read_cr(4) | 1));
	enter_v86((u32)v86_stack_code, 0x1000, VM | 2);
	__asm__ volatile("mov %0, %%cr4" ::"r"(read_cr(4) & ~1u));
	check2("v86-stack-in-no-ram", got.n == 1, got.n, got.vector);
}

/* ---- paging ---- */

void paging_on(int mode)
{
	u32 cr4 = read_cr(4) & ~0x30u;

	if (mode == NONE)
		return;
	__asm__ volatile("mov %0, %%cr4; mov %1, %%cr3; mov %2, %%cr0" ::"r"(cr4 | (mode == PSE ? 0x10 : 0x20)),
			 "r"(mode == PSE ? (u32)pse[0] : (u32)pdpt[0]), "r"(read_cr(0) | 1u << 31) : "memory");
}
void paging_off(void)
{
	__asm__ volatile("mov %0, %%cr0" ::"r"(read_cr(0) & ~(1u << 31)) : "memory");
}
u32 cr3_of(int mode, int task)
{
	return mode == NONE ? 0 : mode == PSE ? (u32)pse[task] : (u32)pdpt[task];
}

static void paging(void)
{
	volatile u32 *w = (volatile u32 *)WINDOW;
	u32 a, b;

	paging_on(PSE);
	a = *w;
	__asm__ volatile("mov %0, %%cr3" ::"r"(cr3_of(PSE, 1)) : "memory");
	b = *w;
	check2("paging-pse", a == 0xaaaa && b == 0xbbbb, a, b);
	for (u32 i = 0; i < 1024; i++)
		pt[i] = (WINDOW + (i << 12)) | 3;
	pt[1] = 0;
	pse[1][WINDOW >> 22] = (u32)pt | 3;
	__asm__ volatile("mov %0, %%cr3" ::"r"(cr3_of(PSE, 1)) : "memory");
	a = *w;
	TRY("movl %[w], %%eax", [w] "m"(w[1024]));
	check2("paging-32-pf", a == 0xaaaa && got.n == 1 && got.vector == 14 && got.cr2 == WINDOW + 4096, a, got.cr2);
	pse[1][WINDOW >> 22] = OTHER | 0x83;
	paging_off();

	paging_on(PAE);
	a = *w;
	__asm__ volatile("mov %0, %%cr3" ::"r"(cr3_of(PAE, 1)) : "memory");
	b = *w;
	check2("paging-pae", a == 0xaaaa && b == 0xbbbb, a, b);
	pae_pd[4][WINDOW >> 21] = 0;
	__asm__ volatile("mov %0, %%cr3" ::"r"(cr3_of(PAE, 1)) : "memory");
	TRY("movl %[w], %%eax", [w] "m"(w[1]));
	check2("paging-pae-pf", got.n == 1 && got.vector == 14 && got.cr2 == WINDOW + 4, got.vector, got.cr2);
	pae_pd[4][WINDOW >> 21] = OTHER | 0x83;
	__asm__ volatile("mov %0, %%cr3" ::"r"(cr3_of(PAE, 0)) : "memory");
	TRY("mov %%cr0, %%eax; and $0x7fffffff, %%eax; mov %%eax, %%cr0; or $0x80000000, %%eax; mov %%eax, %%cr0", "i"(0));
	check2("paging-toggle", !got.n && *w == 0xaaaa, got.vector, *w);
	paging_off();
}

void main(u32 magic, u32 info);
void main(u32 magic, u32 info)
{
	const struct mb1_info *mb = (const struct mb1_info *)info;

	begin(magic == MB1_MAGIC && mb->flags & 4 ? (const char *)mb->cmdline : "");
	set_up();
	say("CPUTEST: 32-bit\n");
	exceptions();
	real();
	v86();
	paging();
	tasks(NONE);
	tasks(PSE);
	tasks(PAE);
	finish("32-bit");
}
