/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that checks what exceptions, interrupts, debug and control registers do in 64-bit mode, with and
 * without instructions that make a hypervisor act. Runs on a bare machine as well (multiboot1).
 * Ends by the debug exit port: 0 if nothing failed. cputest32.c is its sister for the older modes.
 */
#include "cputest64.h"

const struct known known[] = {
	{"tcg", "exc-int1", "TCG: INT1 is #UD"},
	{"tcg", "exc-fault-rf", "TCG: faults push RF as it is"},
	{"tcg", "exc-ss-canonical", "TCG: #GP instead of #SS"},
	{"tcg", "exc-gp-idt-limit", "TCG: error code is 16 times the vector"},
	{"tcg", "exc-np-gate", "TCG: error code is 16 times the vector"},
	{"tcg", "exc-pf-reserved", "TCG: error code without P"},
	{"tcg", "exc-xm", "TCG: no #XM"},
	{"tcg", "df-gp-of-msr-np", "TCG: faults of an injected exception's delivery are not combined"},
	{"tcg", "nested-ud-np", "TCG: error code is 16 times the vector, without EXT"},
	{"tcg", "user-ac", "TCG: no alignment checks"},
	{"tcg", "dr-general-detect", "TCG: DR7.GD does nothing"},
	{"tcg", "cr0-high-gp", "TCG: bits 63:32 of CR0 are dropped"},
	{"tcg", "window-cr8", "TCG: MOV to CR8 with a virtual interrupt pending aborts the emulator"},
	{NULL, NULL, NULL},
};

struct tss {
	u32 zero;
	u64 rsp[3], zero1, ist[7], zero2;
	u16 zero3, iomap;
} __attribute__((packed));

extern char leave_user[];
extern u64 kernel_rsp;
void enter_user(u64 rip, u64 rsp, u64 rflags);

static struct gate idt[64] __attribute__((aligned(16)));
static u64 gdt[9] __attribute__((aligned(16)));
static struct tss tss __attribute__((aligned(16)));
static u8 stacks[3][4096] __attribute__((aligned(16)));

#define SEL_NOT_PRESENT 0x38
#define SEL_TSS		0x28
#define USER_PAGE	0x800000ull /* a 2 MiB page that CPL 3 may use */
#define HOLE		0xa00000ull /* and one that is not mapped */
#define VEC_USER	0x38

volatile struct got got;
volatile u64 resume;
volatile struct db db[MAX_DBS];
volatile u32 n_db, n_irq, n_nmi, nmi_depth, nmi_deepest;
volatile u64 irq_rip;
void (*volatile nmi_hook)(void);

static void on_nmi(void)
{
	n_nmi++;
	nmi_depth++;
	if (nmi_depth > nmi_deepest)
		nmi_deepest = nmi_depth;
	if (n_nmi == 1 && nmi_hook)
		nmi_hook();
	nmi_depth--;
}

static void on_db(struct frame *f)
{
	u64 dr6;

	__asm__ volatile("mov %%dr6, %0" : "=r"(dr6));
	if (n_db < MAX_DBS) {
		db[n_db].rip = f->rip;
		db[n_db].dr6 = dr6;
	} else {
		f->rflags &= ~TF;
	}
	n_db++;
	__asm__ volatile("mov %0, %%dr6" ::"r"(0xffff0ff0ull));
	f->rflags |= RF;
}

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	if (vector == 1) {
		on_db(f);
	} else if (vector == 2) {
		on_nmi();
	} else if (vector == VEC_USER) {
		got.n++;
		got.vector = vector;
	} else if (vector >= 32) {
		n_irq++;
		irq_rip = rip;
		if (vector == VEC_IPI)
			lapic_write(0xb0, 0);
		return;
	} else {
		u64 cr2;

		__asm__ volatile("mov %%cr2, %0" : "=r"(cr2));
		got.n++;
		got.vector = vector;
		got.error = f->error;
		got.rip = rip;
		got.rflags = f->rflags;
		got.cr2 = cr2;
		if (vector == 3)
			return;
		if (!resume && !(f->cs & 3))
			broken(vector, f->error, rip);
		f->rip = resume;
	}
	if ((f->cs & 3) && vector != 1) {
		f->cs = 8;
		f->ss = 0x10;
		f->rip = (u64)leave_user;
		f->rsp = kernel_rsp;
		f->rflags = 2;
	}
}

void fault(const char *name, u64 vector, u64 error)
{
	check2(name, got.n == 1 && got.vector == vector && got.error == error, got.vector, got.error);
}
void no_fault(const char *name, bool ok)
{
	check2(name, !got.n && ok, got.vector, got.error);
}

static void set_gate(unsigned n, u8 ist, u8 type)
{
	u64 a = (u64)isr_table + 16 * n;

	idt[n] = (struct gate){.off0 = (u16)a, .sel = 8, .ist = ist, .type = type,
			       .off1 = (u16)(a >> 16), .off2 = (u32)(a >> 32)};
}

static u64 *table(u64 entry)
{
	return (u64 *)(entry & 0xffffffffff000ull);
}
static u64 *pd0(void)
{
	return table(*table(*table(read_cr(3))));
}
static void flush(void)
{
	__asm__ volatile("mov %0, %%cr3" ::"r"(read_cr(3)) : "memory");
}

static void set_up(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (u64)idt}, gdtr = {sizeof(gdt) - 1, (u64)gdt};
	u64 t = (u64)&tss, *pml4 = table(read_cr(3));

	for (unsigned i = 0; i < 64; i++)
		set_gate(i, 0, 0x8e);
	set_gate(VEC_USER, 0, 0xee);
	set_gate(8, 1, 0x8e);
	tss.rsp[0] = (u64)stacks[0] + 4096;
	tss.ist[0] = (u64)stacks[1] + 4096;
	tss.ist[1] = HOLE + 0x1000;
	tss.iomap = sizeof(tss);
	gdt[1] = 0x00af9b000000ffff;
	gdt[2] = 0x00cf93000000ffff;
	gdt[3] = 0x00cff3000000ffff;
	gdt[4] = 0x00affb000000ffff;
	gdt[5] = (sizeof(tss) - 1) | (t & 0xffffff) << 16 | 0x89ull << 40 | (t >> 24 & 0xff) << 56;
	gdt[6] = t >> 32;
	gdt[7] = 0x00cf13000000ffff; /* data, not present */
	__asm__ volatile("lgdt %0; lidt %1; ltr %w2" ::"m"(gdtr), "m"(idtr), "r"(SEL_TSS));
	pml4[0] |= 4;
	*table(pml4[0]) |= 4;
	pd0()[USER_PAGE >> 21] |= 4;
	pd0()[HOLE >> 21] = 0;
	flush();
	lapic_write(0xf0, 0x1ff);
	__asm__ volatile("mov %0, %%cr0; fninit" ::"r"(read_cr(0) | 0x20)); /* NE: x87 errors are #MF */
}

/* ---- exceptions ---- */

static void df_by_not_present(void)
{
	idt[13].type = 0x0e;
	TRY("mov (%[a]), %%eax", [a] "r"(0x8000000000000000ull)); /* #GP, whose gate gives #NP */
	fault("df-gp-np", 8, 0);
	set_gate(13, 0, 0x8e);
	set_gate(14, 2, 0x8e); /* #PF on a stack that is not there */
	TRY("mov (%[a]), %%eax", [a] "r"(HOLE));
	fault("df-pf-pf", 8, 0);
	set_gate(14, 0, 0x8e);
	idt[13].type = 0x0e;
	TRY("movl $0x2ff, %%ecx; xor %%eax, %%eax; mov $1, %%edx; wrmsr", "i"(0));
	fault("df-gp-of-msr-np", 8, 0);
	set_gate(13, 0, 0x8e);
	idt[6].type = 0x0e; /* benign, then contributory: one after the other */
	TRY("ud2", "i"(0));
	fault("nested-ud-np", 11, 6 * 8 + 2 + 1);
	set_gate(6, 0, 0x8e);
	idt[0].type = 0x0e; /* contributory, then #NP */
	TRY("xor %%ecx, %%ecx; xor %%edx, %%edx; div %%ecx", "i"(0));
	fault("df-de-np", 8, 0);
	set_gate(0, 0, 0x8e);
}

static void exceptions(void)
{
	u32 mxcsr = 0x1f80 & ~0x200u, cw = 0x37f & ~4u;
	u64 cr0 = read_cr(0);

	TRY("xor %%edx, %%edx; xor %%ecx, %%ecx; mov $1, %%eax; div %%ecx", "i"(0));
	fault("exc-de", 0, 0);
	TRY("int3", "i"(0));
	fault("exc-bp", 3, 0);
	TRY("ud2", "i"(0));
	fault("exc-ud", 6, 0);
	check("exc-fault-rf", got.rflags & RF);
	TRY("mov %[a], %%cr0; fldz", [a] "r"(cr0 | 8));
	__asm__ volatile("clts");
	fault("exc-nm", 7, 0);
	TRY("mov %[a], %%ds", [a] "r"(SEL_NOT_PRESENT));
	fault("exc-np", 11, SEL_NOT_PRESENT);
	TRY("mov %[a], %%ss", [a] "r"(SEL_NOT_PRESENT));
	fault("exc-ss", 12, SEL_NOT_PRESENT);
	TRY("mov (%%rsp,%[a]), %%eax", [a] "r"(0x7000000000000000ull));
	fault("exc-ss-canonical", 12, 0);
	TRY("mov %[a], %%ds", [a] "r"(0x1230));
	fault("exc-gp-selector", 13, 0x1230);
	TRY("mov (%[a]), %%eax", [a] "r"(0x8000000000000000ull));
	fault("exc-gp-canonical", 13, 0);
	TRY("int $0x77", "i"(0));
	fault("exc-gp-idt-limit", 13, 0x77 * 8 + 2);
	idt[50].type = 0x0e;
	TRY("int $50", "i"(0));
	fault("exc-np-gate", 11, 50 * 8 + 2);
	set_gate(50, 0, 0x8e);
	TRY("mov (%[a]), %%eax", [a] "r"(HOLE + 0x123));
	check2("exc-pf-read", got.n == 1 && got.vector == 14 && got.error == 0 && got.cr2 == HOLE + 0x123,
	       got.error, got.cr2);
	TRY("movb $1, (%[a])", [a] "r"(HOLE + 0xfff));
	check2("exc-pf-write", got.n == 1 && got.vector == 14 && got.error == 2 && got.cr2 == HOLE + 0xfff,
	       got.error, got.cr2);
	pd0()[HOLE >> 21] = HOLE | 0x81;
	flush();
	TRY("movb $1, (%[a])", [a] "r"(HOLE));
	fault("exc-pf-readonly", 14, 3);
	pd0()[HOLE >> 21] = HOLE | 0x83 | 1ull << 51;
	flush();
	TRY("movb (%[a]), %%al", [a] "r"(HOLE));
	fault("exc-pf-reserved", 14, 9);
	pd0()[HOLE >> 21] = 0;
	flush();
	TRY("fldcw %[a]; fldz; fld1; fdiv %%st(1), %%st; fwait", [a] "m"(cw));
	fault("exc-mf", 16, 0);
	__asm__ volatile("fnclex; fninit");
	TRY("ldmxcsr %[a]; pxor %%xmm0, %%xmm0; pcmpeqd %%xmm1, %%xmm1; psrld $25, %%xmm1; pslld $23, %%xmm1;"
	    "divps %%xmm0, %%xmm1", [a] "m"(mxcsr));
	fault("exc-xm", 19, 0);
	if (same(emulator, "tcg")) {
		forgiven("exc-int1");
	} else {
		u64 after;

		n_db = 0;
		__asm__ volatile(".byte 0xf1; 1: movq $1b, %0" : "=r"(after));
		check2("exc-int1", n_db == 1 && db[0].rip == after, n_db, db[0].rip);
	}
	df_by_not_present();
}

void user(const char *name, const char *from, const char *end, u64 rflags, u64 vector, u64 error)
{
	for (const char *p = from; p < end; p++)
		*(volatile char *)(USER_PAGE + (u64)(p - from)) = *p;
	got.n = 0;
	got.vector = got.error = ~0ull;
	enter_user(USER_PAGE, USER_PAGE + 0x10000, rflags);
	check2(name, got.n == 1 && got.vector == vector && (vector == VEC_USER || got.error == error), got.vector,
	       got.error);
}
static void user_mode(void)
{
	u64 cr0 = read_cr(0);

	__asm__ volatile("mov %0, %%cr0" ::"r"(cr0 | 1 << 18));
	USER(ac, 2, 17, 0);
	__asm__ volatile("mov %0, %%cr0" ::"r"(cr0));
	USER(cli, 2, 13, 0);
	USER(hlt, 2, 13, 0);
	USER(in, 2, 13, 0);
	USER(in, 0x3002, VEC_USER, 0); /* IOPL 3 */
	USER(rdmsr, 2, 13, 0);
	USER(cr, 2, 13, 0);
	USER(read, 2, 14, 5);
	USER(cpuid, 2, VEC_USER, 0);
	n_db = 0;
	USER(cpuid, 2 | TF, VEC_USER, 0);
	check2("user-cpuid-step", n_db == 2 && db[0].rip == USER_PAGE + 2 && db[1].rip == USER_PAGE + 4 &&
					  (db[1].dr6 & 0x4000), n_db, db[1].rip);
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	const struct mb1_info *mb = (const struct mb1_info *)info;
	const char *words = magic == MB1_MAGIC && mb->flags & 4 ? (const char *)(u64)mb->cmdline : "";

	begin(words);
	set_up();
	say("CPUTEST: 64-bit\n");
	exceptions();
	user_mode();
	steps();
	windows();
	nmis();
	breakpoints();
	registers();
	finish("64-bit");
}
