/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that does what no guest should, a million times, from a seed: each step is one hostile act, made by the
 * dice from (seed, step) alone. It outlives its acts where hardware lets it: every exception has a handler on a stack
 * of its own, a second CPU ends what takes too long (hostile_cpus.c), and what it does to its CPU is put right behind
 * the step. Where the machine ends - killed, reset, triple fault - its file says "restart", and the CMOS tells the next
 * life where to go on. For Dalang alone: it has 16 MiB, two CPUs and test devices. Words of its command line:
 *   seed=N steps=N from=N   (default 1, 1000, 0)
 *   user                    all acts at CPL 3: the machine must not end by them, and it says so if it did
 *   every=N                 how often it reports where it is (16384)
 *   pci                     half of the acts are those of hostile_pci.c
 *   trace                   prints each step before it is made
 *   emulator=tcg            spares that emulator what it breaks down under, bare, too
 * It reports "HOSTILE: seed S at N" now and then and "HOSTILE: done N steps, L lives, W warm" at the end.
 */
#include "cmdline.h"
#include "hostile.h"
#include "noted.h"

void dice(u64 from);
void interrupt(u64 vector, u64 rip, struct frame *f);

struct tss {
	u32 zero;
	u64 rsp[3], zero1, ist[7], zero2;
	u16 zero3, iomap;
	u8 bitmap[8193];
} __attribute__((packed));

bool user_mode, tcg, bochs, trace;
static bool pci;
u64 seed = 1, clean_cr3;
volatile bool finished;
volatile u32 step, beat, stuck, last_vector, interrupts;
static u32 steps = 1000, every, lives, warms, quiet_until;
struct run run;
u64 gdt[32] __attribute__((aligned(16)));
static struct gate idt[256] __attribute__((aligned(16)));
static struct tss tss[2] __attribute__((aligned(16)));
static u8 ist_stacks[2][4][2048] __attribute__((aligned(16)));
static u64 tables[16][512] __attribute__((aligned(4096)));
static u8 clean_fpu[512] __attribute__((aligned(16)));

/* The compiler may call these by name. */
void *memcpy(void *d, const void *s, size_t n);
void *memcpy(void *d, const void *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = ((const u8 *)s)[i];
	return d;
}
void *memset(void *d, int c, size_t n);
void *memset(void *d, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = (u8)c;
	return d;
}

/* --- what is said --- */

static void say(const char *what, u64 a, const char *more, u64 b)
{
	serial_init();
	puts_("\nHOSTILE: ");
	puts_(what);
	putd(a);
	puts_(more);
	putd(b);
	puts_("\n");
}

void give_up(const char *why)
{
	say(why, step, ", seed ", seed);
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* --- exceptions and interrupts --- */

static bool on_watchdog(void)
{
	u16 tr;

	__asm__ volatile("str %0" : "=r"(tr));
	return tr == SEL_TSS_AP;
}

static void to_recovery(struct frame *f)
{
	f->rip = (u64)recover;
	f->cs = SEL_CODE;
	f->rflags = 2;
	f->rsp = saved_rsp;
	f->ss = SEL_DATA;
}

/* A step ends here, whatever ended it; only interrupts of devices go back, and not for ever. */
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	__asm__ volatile("mov %0, %%dr7" ::"r"(0x400ull));
	if (on_watchdog()) {
		mmio_write(LAPIC + 0xb0, 0);
		return;
	}
	last_vector = (u32)vector;
	if (!running) { /* the watchdog came too late or an interrupt too early; anything else is the end of this life */
		if (vector < 32 && vector != 2) {
			say("own exception ", vector, " at ", rip);
			outb(0xcf9, 6);
		}
		return;
	}
	if (vector >= 32 && vector != VEC_DONE && ++interrupts < 8) {
		mmio_write(LAPIC + 0xb0, 0);
		return;
	}
	to_recovery(f);
}

/* --- set-up --- */

static void set_gates(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (u64)idt};

	for (u32 n = 0; n < 256; n++) {
		u64 a = (u64)isr_table + 16 * n;

		idt[n] = (struct gate){.off0 = (u16)a, .sel = SEL_CODE, .ist = n == 2 ? 2 : n == 8 ? 3 : n == 1 ? 4 : 1,
				       .type = n == VEC_DONE || n == 3 || n == 4 ? 0xee : 0x8e, .off1 = (u16)(a >> 16),
				       .off2 = (u32)(a >> 32)};
	}
	__asm__ volatile("lidt %0" ::"m"(idtr));
}

static void set_gdt(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) gdtr = {sizeof(gdt) - 1, (u64)gdt};

	gdt[SEL_CODE >> 3] = 0x00af9b000000ffff;
	gdt[SEL_DATA >> 3] = 0x00cf93000000ffff;
	gdt[SEL_USER32 >> 3] = 0x00cffb000000ffff;
	gdt[SEL_USERD >> 3] = 0x00cff3000000ffff;
	gdt[SEL_USER64 >> 3] = 0x00affb000000ffff;
	gdt[SEL_CODE32 >> 3] = 0x00cf9b000000ffff;
	gdt[SEL_CODE16 >> 3] = 0x00009b000000ffff;
	gdt[SEL_DATA16 >> 3] = 0x000093000000ffff;
	for (u32 i = 0; i < 2; i++) {
		u64 t = (u64)&tss[i];

		gdt[(SEL_TSS >> 3) + 2 * i] =
			(sizeof(tss[0]) - 1) | (t & 0xffffff) << 16 | 0x89ull << 40 | (t >> 24 & 0xff) << 56;
		gdt[(SEL_TSS >> 3) + 2 * i + 1] = t >> 32;
		for (u32 k = 0; k < 4; k++)
			tss[i].ist[k] = (u64)ist_stacks[i][k] + sizeof(ist_stacks[0][0]);
		tss[i].rsp[0] = tss[i].ist[0];
		tss[i].iomap = offsetof(struct tss, bitmap);
	}
	__asm__ volatile("lgdt %0" ::"m"(gdtr));
}

/* 4 GiB one to one; for CPL 3 the arena, the end of RAM and all devices. The window, and the end of the lower half. */
static void set_tables(void)
{
	u64(*t)[512] = tables;

	clean_cr3 = (u64)t[0];
	t[0][0] = (u64)t[1] | 7;
	for (u32 i = 0; i < 4; i++) {
		t[1][i] = (u64)t[2 + i] | 7;
		for (u32 k = 0; k < 512; k++) {
			u64 pa = (u64)(i * 512 + k) << 21;

			t[2 + i][k] = pa | (pa == CODE || pa >= RAM_TOP - 0x200000 ? 0x87 : 0x83);
		}
	}
	if (user_mode) /* who has the local APIC can start CPU 1 anywhere, in real mode: that is no CPL 3 any more */
		t[5][LAPIC >> 21 & 511] &= ~4ull;
	t[5][511] = (u64)t[6] | 7; /* the last page below 4 GiB is code */
	for (u32 k = 0; k < 512; k++)
		t[6][k] = (0xffe00000ull + 0x1000 * k) | 7;
	t[6][511] = CODE | 7;
	t[0][WINDOW >> 39] = (u64)t[7] | 7;
	t[7][0] = (u64)t[8] | 7;
	t[0][255] = (u64)t[9] | 7;
	t[9][511] = (u64)t[10] | 7;
	t[10][511] = (u64)t[11] | 7;
	t[11][510] = CODE | 7;
	t[11][511] = (CODE + 0x1000) | 7;
	__asm__ volatile("mov %0, %%cr3" ::"r"(clean_cr3) : "memory");
}

#define CR0 0x80010033ull
static u64 clean_cr4 = 0x620;

/* Put right what a step may have left. */
void restore(u32 dirty)
{
	u64 cr0, cr3, cr4 = clean_cr4;

	if (dirty & DIRTY_CR4)
		__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	if (dirty & DIRTY_SEG) {
		__asm__ volatile("mov %%cr0, %0; mov %%cr3, %1" : "=r"(cr0), "=r"(cr3));
		if (cr0 != CR0)
			__asm__ volatile("mov %0, %%cr0" ::"r"(CR0));
		if (cr3 != clean_cr3)
			__asm__ volatile("mov %0, %%cr3" ::"r"(clean_cr3) : "memory");
		if (cr4 != clean_cr4)
			__asm__ volatile("mov %0, %%cr4" ::"r"(clean_cr4));
		set_gdt();
		gdt[SEL_TSS >> 3] &= ~(2ull << 40);
		__asm__ volatile("ltr %w0; mov %w1, %%ds; mov %w1, %%es; mov %w1, %%ss; mov %w2, %%fs; mov %w2, %%gs; lldt %w2"
				 ::"r"(SEL_TSS), "r"(SEL_DATA), "r"(0));
		__asm__ volatile("lidt %0" ::"m"(((struct {
			u16 limit;
			u64 base;
		} __attribute__((packed))){sizeof(idt) - 1, (u64)idt})));
		__asm__ volatile("fxrstor %0" ::"m"(clean_fpu));
	}
	if (dirty & DIRTY_EFER)
		wrmsr(0xc0000080, 0xd01 & ~0x400u);
	if (dirty & DIRTY_PAT)
		wrmsr(0x277, 0x0007040600070406ull);
	if (dirty & DIRTY_BASE && rdmsr(0x1b) != (LAPIC | 0x900)) {
		wrmsr(0x1b, LAPIC | 0x100);
		wrmsr(0x1b, LAPIC | 0x900);
	}
}

/* To write where code has run is dear in an emulator. */
static void fill(u32 i)
{
	volatile u64 *to = (volatile u64 *)CODE + i;

	if (*to != 0x38cd38cd38cd38cd)
		*to = 0x38cd38cd38cd38cd;
}

void prepare(void)
{
	for (u32 i = 0; i < 16; i++)
		run.gpr[i] = below(4) ? random() : edge();
	run.gpr[RSP] = STACK;
	run.cs = user_mode ? SEL_USER64 : SEL_CODE;
	run.ss = user_mode ? SEL_USERD : SEL_DATA;
	run.rip = CODE + below(64);
	run.rflags = bochs ? 0x202 : 2;
	if (!below(16))
		run.rflags |= 0x100; /* TF */
	if (!below(16))
		run.rflags |= 0x40000; /* AC */
	/* What strays beyond the step's code ends it. */
	for (u32 i = 0; i < 24; i++)
		fill(i), fill(0x1000 / 8 + i);
	for (u32 i = 1; i < 5; i++)
		fill(0x1000 / 8 - i);
	code_from(run.rip);
}

/* --- steps --- */

#define NOTE_EVERY 32
#define CALM_EVERY 512
/* So many TSC ticks, some 10 ms, without a beat of the watchdog's, and it is started anew. */
#define PATIENCE   (bochs ? 1000000 : 20000000)

/* trace: what run_code() is about to run. */
void show(void)
{
	const u8 *code = (const u8 *)((run.rip < RAM_TOP ? run.rip & ~0xfffull : CODE) | (run.rip & 0xfff));

	puts_("HOSTILE: code at ");
	putx(run.rip);
	for (u32 i = 0; i < 32; i++) {
		puts_(i ? " " : ": ");
		putx(code[i]);
	}
	for (u32 i = 0; i < 8; i++) {
		puts_(i ? " " : "\nHOSTILE: registers ");
		putx(run.gpr[i]);
	}
	puts_(" flags ");
	putx(run.rflags);
	puts_("\n");
}

/* Each way in which a machine's program ends it. */
static u32 end_it(void)
{
	note_step(step);
	switch (below(5)) {
	case 0:
		outb(0xcf9, 2), outb(0xcf9, 6);
		break;
	case 1:
		outw(0x604, 1 << 13 | 5 << 10);
		break;
	case 2:
		outb(0x92, 1);
		break;
	case 3:
		outb(0x64, 0xfe);
		break;
	default:
		triple_fault();
	}
	return 0;
}

static u32 one_act(void)
{
	u32 dirty;

	if (!user_mode && !below(30000))
		return end_it();
	if (pci && below(2))
		return bar_race();
	if (!user_mode) {
		switch (below(64)) {
		case 0 ... 1:
			return timers_and_irqs();
		case 2 ... 4:
			return bad_tables();
		case 5:
			note_step(step);
			return other_mode();
		case 6:
			return bar_race();
		case 7:
			if (below(2))
				return cpu_storm();
		}
	}
	prepare();
	dirty = make_code();
	if (dirty & MAY_END)
		note_step(step);
	if (trace)
		show();
	run_code(&run);
	return dirty;
}

static void __attribute__((noreturn)) steps_from(u32 from)
{
	u32 last_beat = beat, dirty;
	u64 since = rdtsc();

	for (step = from; step < steps; step++) {
		dice(seed * 0x9e3779b97f4a7c15ull + step);
		interrupts = 0;
		/* Behind a restart each step is noted: the one that ends the machine twice is passed over. */
		if (step % NOTE_EVERY == 0 || step < quiet_until)
			note_step(step);
		if (trace)
			say("seed ", seed, " step ", step);
		dirty = one_act();
		restore(dirty);
		if (step % CALM_EVERY == CALM_EVERY - 1)
			calm();
		else if (step % 64 == 63)
			calm_lapic(), restore(DIRTY_EFER | DIRTY_PAT);
		if (beat != last_beat) {
			last_beat = beat;
			since = rdtsc();
		} else if (rdtsc() - since > PATIENCE) {
			start_watchdog();
			since = rdtsc();
		}
		if (step % every == 0)
			say("seed ", seed, " at ", step), say("stuck ", stuck, ", warm starts ", warms);
	}
	finished = true;
	calm();
	say("done ", steps, " steps, lives ", lives);
	say("warm starts ", warms, ", seed ", seed);
	note_step(0);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void cpu_set_up(void)
{
	u32 r[4];

	set_gdt();
	gdt[SEL_TSS >> 3] &= ~(2ull << 40);
	__asm__ volatile("ltr %w0" ::"r"(SEL_TSS));
	set_gates();
	clean_cr4 = 0x620;
	cpuid(1, r);
	clean_cr4 |= r[2] >> 26 & 1 ? 1u << 18 : 0; /* OSXSAVE */
	cpuid(7, r);
	clean_cr4 |= r[1] & 1 ? 1u << 16 : 0; /* FSGSBASE */
	__asm__ volatile("mov %1, %%cr4; fninit; fxsave %0" : "=m"(clean_fpu) : "r"(clean_cr4) : "memory");
	restore(DIRTY_CR | DIRTY_EFER | DIRTY_PAT | DIRTY_BASE);
	if (user_mode) { /* SYSCALL is a way out of CPL 3: it ends the step */
		wrmsr(0xc0000081, (u64)SEL_CODE << 32);
		wrmsr(0xc0000082, (u64)recover);
		wrmsr(0xc0000083, (u64)recover);
		wrmsr(0xc0000084, 0x47700);
	}
}

/* CPU 0 after an INIT. */
void warm_main(void);
void warm_main(void)
{
	warms++;
	cpu_set_up();
	calm();
	start_watchdog();
	steps_from(step + 1);
}

void watchdog_main(void);
void watchdog_main(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (u64)idt};

	gdt[SEL_TSS_AP >> 3] &= ~(2ull << 40);
	__asm__ volatile("lidt %0" ::"m"(idtr));
	watchdog();
}

static bool has(const char *line, const char *word)
{
	return number(line, word, 1) != 1;
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	static char line[256];
	const struct mb1_info *mb = (const struct mb1_info *)info;
	u32 from, open;

	for (u32 i = 0; magic == MB1_MAGIC && mb->flags & 4 && i < sizeof(line) - 1; i++)
		if (!(line[i] = ((const char *)(u64)mb->cmdline)[i]))
			break;
	seed = number(line, "seed=", 1);
	steps = (u32)number(line, "steps=", 1000);
	user_mode = has(line, "user");
	pci = has(line, "pci");
	trace = has(line, "trace");
	tcg = has(line, "emulator=tcg");
	bochs = has(line, "emulator=bochs");
	from = (u32)number(line, "from=", 0);
	every = (u32)number(line, "every=", 16384);
	open = seed & 1;
	/* For CPL 3: an odd seed opens all ports but those that end the machine or hide where it goes on. */
	memset(tss[0].bitmap, open ? 0 : 0xff, sizeof(tss[0].bitmap));
	for (u32 port = 0; port < 0x10000; port++)
		if (forbidden(port))
			tss[0].bitmap[port / 8] |= (u8)(1u << port % 8);
	tss[0].bitmap[8192] = 0xff;
	set_tables();
	cpu_set_up();
	modes_set_up();
	pci_set_up();
	/* The CMOS counts lives, too, by two bytes and their complements. */
	lives = cmos_read(0x48) | (u32)cmos_read(0x4c) << 8;
	lives = (lives ^ cmos_read(0x49) ^ (u32)cmos_read(0x4d) << 8) == 0xffff ? lives + 1 : 1;
	if (lives == 1 && noted_step()) /* code gone astray has been there */
		lives = 2, say("the count of lives is spoilt at ", noted_step(), ", seed ", seed);
	if (lives > 1) {
		u32 noted = noted_step(), again = cmos_read(0x4a);

		/* It ended there twice, or was sure to. */
		from = noted;
		if (again == (u8)(noted * 7 + 1) || noted % NOTE_EVERY)
			from++;
		cmos_write(0x4a, (u8)(noted * 7 + 1));
		quiet_until = from + NOTE_EVERY;
		say(cmos_read(0x4b) == 1 ? "restarted by the watchdog at " : "restarted at ", noted, ", life ", lives);
		cmos_write(0x4b, 0);
	} else {
		cmos_write(0x4a, 0);
	}
	cmos_write(0x48, (u8)lives);
	cmos_write(0x49, (u8)~lives);
	cmos_write(0x4c, (u8)(lives >> 8));
	cmos_write(0x4d, (u8)~(lives >> 8));
	calm();
	start_watchdog();
	note_step(from);
	say("seed ", seed, " from ", from);
	steps_from(from);
}
