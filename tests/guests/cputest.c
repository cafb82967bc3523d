/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that checks what exceptions, interrupts, debug and control registers do in 64-bit mode, with and
 * without instructions that make a hypervisor act. Runs on a bare machine as well (multiboot1).
 * Ends by the debug exit port: 0 if nothing failed. cputest32.c is its sister for the older modes.
 */
#include "cputest.h"

static const struct known known[] = {
	{"tcg", "exc-int1", "TCG: INT1 stops the emulator"},
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

extern char isr_table[], leave_user[];
extern u64 kernel_rsp;
void enter_user(u64 rip, u64 rsp, u64 rflags);

static struct gate idt[64] __attribute__((aligned(16)));
static u64 gdt[9] __attribute__((aligned(16)));
static struct tss tss __attribute__((aligned(16)));
static u8 stacks[3][4096] __attribute__((aligned(16)));
static u8 xsave_page[4096] __attribute__((aligned(4096)));

#define SEL_NOT_PRESENT 0x38
#define SEL_TSS		0x28
#define USER_PAGE	0x800000ull /* a 2 MiB page that CPL 3 may use */
#define HOLE		0xa00000ull /* and one that is not mapped */
#define VEC_IPI		0x31
#define VEC_USER	0x38
#define LAPIC		0xfee00000ull
#define TF		0x100ull
#define RF		0x10000ull

/* What the handler saw last, and of #DB all. */
static volatile struct {
	u32 n;
	u64 vector, error, rip, rflags, cr2;
} got;
static volatile u64 resume; /* where a fault goes on; 0: it is the end */
#define MAX_DBS 40
static volatile struct {
	u64 rip, dr6;
} db[MAX_DBS];
static volatile u32 n_db;
static volatile u32 n_irq;
static volatile u64 irq_rip;
static volatile u32 n_nmi, nmi_depth, nmi_deepest, nmi_seen_inside;
static void (*volatile nmi_hook)(void);

static u64 read_cr(int n)
{
	u64 v = 0;

	if (n == 0)
		__asm__ volatile("mov %%cr0, %0" : "=r"(v));
	else if (n == 3)
		__asm__ volatile("mov %%cr3, %0" : "=r"(v));
	else
		__asm__ volatile("mov %%cr4, %0" : "=r"(v));
	return v;
}
static void lapic_write(u32 reg, u32 v)
{
	__asm__ volatile("movl %0, (%1)" ::"r"(v), "r"(LAPIC + reg) : "memory");
}
static u32 lapic_read(u32 reg)
{
	u32 v;

	__asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(LAPIC + reg) : "memory");
	return v;
}

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
		if (!resume && !(f->cs & 3)) {
			say("CPUTEST: unexpected exception ");
			say_hex(vector);
			say(" error ");
			say_hex(f->error);
			say(" at ");
			say_hex(rip);
			say("\n");
			failures++;
			finish("broken");
			for (;;)
				__asm__ volatile("cli; hlt");
		}
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

/* Run it; a fault goes on behind it. 8b is its address. */
#define TRY(insn, ...)                                                                   \
	do {                                                                                 \
		got.n = 0;                                                                       \
		got.vector = got.error = ~0ull;                                                  \
		__asm__ volatile("movq $9f, %0; 8: " insn "; 9: nop" : "=m"(resume) : __VA_ARGS__ \
				 : "rax", "rcx", "rdx", "rbx", "memory", "cc");                          \
		resume = 0;                                                                      \
	} while (0)
static void fault(const char *name, u64 vector, u64 error)
{
	check2(name, got.n == 1 && got.vector == vector && got.error == error, got.vector, got.error);
}
static void no_fault(const char *name, bool ok)
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

static void user(const char *name, const char *from, const char *end, u64 rflags, u64 vector, u64 error)
{
	for (const char *p = from; p < end; p++)
		*(volatile char *)(USER_PAGE + (u64)(p - from)) = *p;
	got.n = 0;
	got.vector = got.error = ~0ull;
	enter_user(USER_PAGE, USER_PAGE + 0x10000, rflags);
	check2(name, got.n == 1 && got.vector == vector && (vector == VEC_USER || got.error == error), got.vector,
	       got.error);
}
#define USER(name, flags, vector, error)                                    \
	do {                                                                    \
		extern char user_##name[], user_##name##_end[];                     \
		user("user-" #name, user_##name, user_##name##_end, flags, vector, error); \
	} while (0)

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

static void steps(void)
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

static void windows(void)
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

static void nmis(void)
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

static void breakpoints(void)
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

/* ---- control registers, EFER, XCR0, CPUID ---- */

static void bit_toggles(const char *name, int cr, u64 bits)
{
	u64 old = read_cr(cr), now;
	bool ok;

	if (cr == 0)
		TRY("mov %[a], %%cr0", [a] "r"(old ^ bits));
	else
		TRY("mov %[a], %%cr4", [a] "r"(old ^ bits));
	now = read_cr(cr);
	ok = !got.n && now == (old ^ bits);
	if (cr == 0)
		TRY("mov %[a], %%cr0", [a] "r"(old));
	else
		TRY("mov %[a], %%cr4", [a] "r"(old));
	check2(name, ok && !got.n && read_cr(cr) == old, old, now);
}

static void cr0_bits(void)
{
	u64 old = read_cr(0), v;
	u32 sw;

	bit_toggles("cr0-mp", 0, 2);
	bit_toggles("cr0-em", 0, 4);
	bit_toggles("cr0-ts", 0, 8);
	bit_toggles("cr0-ne", 0, 0x20);
	bit_toggles("cr0-wp", 0, 1 << 16);
	bit_toggles("cr0-am", 0, 1 << 18);
	bit_toggles("cr0-cd", 0, 1u << 30);
	bit_toggles("cr0-cd-nw", 0, 3u << 29);
	TRY("mov %[a], %%cr0", [a] "r"((old & ~(1ull << 30)) | 1u << 29));
	fault("cr0-nw-gp", 13, 0);
	TRY("mov %[a], %%cr0", [a] "r"(old & ~1ull));
	fault("cr0-pg-without-pe-gp", 13, 0);
	TRY("mov %[a], %%cr0", [a] "r"(old & ~(1ull << 31)));
	fault("cr0-pg-off-gp", 13, 0);
	TRY("mov %[a], %%cr0", [a] "r"(old | 1ull << 32));
	fault("cr0-high-gp", 13, 0);
	__asm__ volatile("lmsw %w0" ::"r"(0xe)); /* MP EM TS, and PE that cannot be cleared */
	__asm__ volatile("smsw %0" : "=r"(sw));
	v = read_cr(0);
	check2("lmsw-smsw", (v & 0xf) == 0xf && (sw & 0xffff) == (v & 0xffff), v, sw);
	__asm__ volatile("clts");
	check2("clts", read_cr(0) == (v & ~8ull), read_cr(0), v);
	__asm__ volatile("mov %0, %%cr0" ::"r"(old));
}

static void cr4_bits(void)
{
	static const struct {
		const char *name;
		u8 bit, leaf;
		char reg;
		u8 feature;
	} b[] = {
		{"cr4-vme", 0, 1, 'd', 1}, {"cr4-pvi", 1, 1, 'd', 1}, {"cr4-tsd", 2, 1, 'd', 4},
		{"cr4-de", 3, 1, 'd', 2}, {"cr4-pse", 4, 1, 'd', 3}, {"cr4-mce", 6, 1, 'd', 7},
		{"cr4-pge", 7, 1, 'd', 13}, {"cr4-pce", 8, 1, 'd', 0}, {"cr4-osfxsr", 9, 1, 'd', 24},
		{"cr4-osxmmexcpt", 10, 1, 'd', 25}, {"cr4-umip", 11, 7, 'c', 2}, {"cr4-vmxe", 13, 1, 'c', 5},
		{"cr4-smxe", 14, 1, 'c', 6}, {"cr4-fsgsbase", 16, 7, 'b', 0}, {"cr4-pcide", 17, 1, 'c', 17},
		{"cr4-osxsave", 18, 1, 'c', 26}, {"cr4-smep", 20, 7, 'b', 7}, {"cr4-smap", 21, 7, 'b', 20},
		{"cr4-pke", 22, 7, 'c', 3}, {"cr4-bit15", 15, 1, '-', 0}, {"cr4-bit31", 31, 1, '-', 0},
	};
	u64 old = read_cr(4);

	/* SMEP and SMAP forbid what user pages map; all that runs here is the supervisor's. */
	for (unsigned i = 0; i < sizeof(b) / sizeof(b[0]); i++) {
		u32 r[4] = {0, 0, 0, 0};

		if (b[i].reg != '-')
			cpuid(b[i].leaf, r);
		if (b[i].reg != '-' && r[b[i].reg - 'a'] >> b[i].feature & 1) {
			bit_toggles(b[i].name, 4, 1ull << b[i].bit);
			continue;
		}
		TRY("mov %[a], %%cr4", [a] "r"(old | 1ull << b[i].bit));
		fault(b[i].name, 13, 0);
	}
	TRY("mov %[a], %%cr4", [a] "r"(old | 1ull << 40));
	fault("cr4-high-gp", 13, 0);
	TRY("mov %[a], %%cr4", [a] "r"(old & ~0x20ull));
	fault("cr4-pae-off-gp", 13, 0);
	TRY("mov %[a], %%cr4", [a] "r"(old | 1 << 12));
	fault("cr4-la57-on-gp", 13, 0);
}

#define WRITE_REG(insn, number, v)                                                                  \
	TRY("mov %[n], %%ecx; mov %k[a], %%eax; mov %[a], %%rdx; shr $32, %%rdx; " insn, [n] "r"(number), \
	    [a] "r"((u64)(v)))
#define WRMSR(msr, v) WRITE_REG("wrmsr", msr, v)

static void efer_bits(void)
{
	u64 old = rdmsr(0xc0000080);

	WRMSR(0xc0000080, old ^ 1);
	no_fault("efer-sce", rdmsr(0xc0000080) == (old ^ 1));
	WRMSR(0xc0000080, old ^ 0x800);
	no_fault("efer-nxe", rdmsr(0xc0000080) == (old ^ 0x800));
	WRMSR(0xc0000080, old);
	no_fault("efer-restored", rdmsr(0xc0000080) == old);
	WRMSR(0xc0000080, old & ~0x100ull);
	fault("efer-lme-off-gp", 13, 0);
	WRMSR(0xc0000080, old | 2);
	fault("efer-reserved-gp", 13, 0);
	WRMSR(0xc0000080, old | 1ull << 40);
	fault("efer-high-gp", 13, 0);
}

#define XSETBV(index, v) WRITE_REG("xsetbv", index, v)

static void xcr0(void)
{
	u32 r[4], size1, size3, mask;

	cpuid(1, r);
	if (!(r[2] >> 26 & 1)) {
		skip("xcr0", "no XSAVE");
		return;
	}
	check("osxsave-0", !(r[2] >> 27 & 1));
	XSETBV(0, 1);
	fault("xsetbv-ud", 6, 0);
	__asm__ volatile("mov %0, %%cr4" ::"r"(read_cr(4) | 1 << 18));
	cpuid(1, r);
	check("osxsave-1", r[2] >> 27 & 1);
	cpuid(0xd, r);
	mask = r[0];
	XSETBV(0, 1);
	cpuid(0xd, r);
	size1 = r[1];
	no_fault("xsetbv-x87", r[2] >= size1);
	XSETBV(0, 3);
	cpuid(0xd, r);
	size3 = r[1];
	no_fault("xsetbv-sse", size3 == 576 && size1 == 576);
	if (mask & 4) {
		XSETBV(0, 7);
		cpuid(0xd, r);
		no_fault("cpuid-d-follows-xcr0", r[1] > size3 && r[1] <= r[2]);
		XSETBV(0, 5);
		fault("xsetbv-avx-without-sse-gp", 13, 0);
	}
	XSETBV(0, 0);
	fault("xsetbv-0-gp", 13, 0);
	XSETBV(0, 2);
	fault("xsetbv-no-x87-gp", 13, 0);
	XSETBV(0, 3 | 1ull << 62);
	fault("xsetbv-reserved-gp", 13, 0);
	XSETBV(1, 1);
	fault("xsetbv-index-gp", 13, 0);
	USER(xsetbv, 2, 13, 0);
	XSETBV(0, 1);
	__asm__ volatile("mov %0, %%cr4" ::"r"(read_cr(4) & ~(1ull << 18)));
	(void)xsave_page;
}

static void cpuid_apic(void)
{
	u64 old = rdmsr(0x1b);
	u32 r[4];
	bool on, off;

	cpuid(1, r);
	on = r[3] >> 9 & 1;
	wrmsr(0x1b, old & ~0x800ull);
	cpuid(1, r);
	off = !(r[3] >> 9 & 1);
	wrmsr(0x1b, old);
	cpuid(1, r);
	check2("cpuid-apic-follows-base", on && off && (r[3] >> 9 & 1), on, off);
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	const struct mb1_info *mb = (const struct mb1_info *)info;
	const char *words = magic == MB1_MAGIC && mb->flags & 4 ? (const char *)(u64)mb->cmdline : "";
	u32 r[4];

	serial_init();
	pic_init();
	note_emulator(words);
	set_up();
	say("CPUTEST: 64-bit\n");
	exceptions();
	user_mode();
	steps();
	windows();
	nmis();
	breakpoints();
	cr0_bits();
	cr4_bits();
	efer_bits();
	xcr0();
	cpuid(7, r);
	if (!(r[2] >> 16 & 1))
		skip("la57", "the CPU has no 5-level paging");
	cpuid_apic();
	finish("64-bit");
}
