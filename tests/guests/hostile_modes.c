/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Acts in real mode, protected mode without paging, with 32-bit and PAE paging, and in V86 mode; and task switches, of which
 * the descriptors, gates and TSSs are mostly wrong.
 */
#include "hostile_code.h"

#define CODE_END_16 0x9010ull
#define TABLE_32    0xf000ull
#define TABLE_PAE   0xe000ull
#define IVT         0x0ull
#define GATES       64u

enum { REAL, PROTECTED, PAGED, PAE, V86 };

struct tss32 {
	u32 link, esp0, ss0, stacks[4], cr3, eip, eflags, gpr[8], seg[6], ldt;
	u16 trap, iomap;
	u8 bitmap[8193];
} __attribute__((packed, aligned(16)));

extern u8 mode_gdtr[10], mode_idtr[10];
extern u32 mode_flags, mode_tss;

static struct tss32 main_tss, other[2];
static u64 idt32[256] __attribute__((aligned(16)));

static void set_table(u8 *r, u64 base, u16 limit)
{
	*(volatile u16 *)r = limit;
	*(volatile u64 *)(r + 2) = base;
}

static u64 tss_descriptor(u64 base, u32 limit, u32 type)
{
	return (limit & 0xffff) | (base & 0xffffff) << 16 | (u64)(0x80 | type) << 40 | (u64)(limit >> 16 & 15) << 48 |
	       (base >> 24 & 0xff) << 56;
}

/* What an act may have spoilt, made anew: about 300 writes. */
static void make_tables(void)
{
	u64 back = (u64)mode_back;
	u32 real = (u32)(CODE_END_16 + (u32)(real_back - mode_code));

	for (u32 i = 0; i < 256; i++) {
		idt32[i] = (back & 0xffff) | (u64)SEL_CODE32 << 16 | (i < GATES && i > 15 ? 0xeeull : 0x8eull) << 40 |
			   (back >> 16 & 0xffff) << 48;
		((volatile u32 *)IVT)[i] = real;
	}
	for (u32 i = 0; i < (u32)(mode_code_end - mode_code); i++)
		((volatile u8 *)CODE_END_16)[i] = (u8)mode_code[i];
	set_table((u8 *)0x9004, (u64)gdt, sizeof(gdt) - 1);
	set_table(mode_gdtr, (u64)gdt, sizeof(gdt) - 1);
	set_table(mode_idtr, (u64)idt32, sizeof(idt32) - 1);
	main_tss.esp0 = 0xd000;
	main_tss.ss0 = SEL_DATA;
	main_tss.cr3 = TABLE_PAE;
	main_tss.iomap = offsetof(struct tss32, bitmap);
	gdt[SEL_ODD >> 3] = tss_descriptor((u64)&main_tss, sizeof(main_tss) - 1, 9);
}

static void make_paging(u32 mode)
{
	const u64 *pdpt = (const u64 *)((*(u64 *)clean_cr3) & ~0xfffull);

	if (mode == PAGED || mode == V86)
		for (u32 i = 0; i < 1024; i++)
			((volatile u32 *)TABLE_32)[i] = i << 22 | 0x87;
	else
		for (u32 i = 0; i < 4; i++)
			((volatile u64 *)TABLE_PAE)[i] = (pdpt[i] & ~0xfffull) | 1;
}

/* Tasks to go to: 0x70 to 0x88, as right as the dice want; a task gate in the IDT and one in the GDT. */
static void make_tasks(u32 mode)
{
	static const u64 places[] = {LAPIC, HPET, 0xc0000000, RAM_TOP - 50, RAM_TOP - 4, 0xfffffff0, 0xfee00ff0, 0xa0000};

	for (u32 i = 0; i < 2; i++) {
		struct tss32 *t = &other[i];

		t->link = below(4) ? SEL_ODD : (u32)edge();
		t->cr3 = mode == PAE ? (u32)TABLE_PAE : mode == PROTECTED ? (u32)edge() : (u32)TABLE_32;
		if (!below(100))
			t->cr3 = (u32)edge();
		t->eip = below(4) ? (u32)MODE_PAGE + 0x800 : (u32)edge();
		t->eflags = (below(4) ? 2 : (u32)random() & 0x3f7fd5) | (bochs ? 0x200 : 0);
		for (u32 k = 0; k < 8; k++)
			t->gpr[k] = (u32)edge();
		for (u32 k = 0; k < 6; k++)
			t->seg[k] = below(k == 2 ? 100 : 8) ? (k == 1 ? SEL_CODE32 : SEL_DATA) : (u32)below(0x100);
		t->gpr[RSP] = below(400) ? 0xbf00 : (u32)address();
		t->ldt = below(4) ? 0 : below(0x100);
		t->trap = (u16)!below(4);
		gdt[(SEL_ODD >> 3) + 1 + i] = tss_descriptor(below(tcg ? 300 : 30) ? (u64)t : ONE_OF(places),
							    below(6) ? 103 : below(0x80), below(6) ? 9 : below(16));
	}
	gdt[(SEL_ODD >> 3) + 3] = tss_descriptor((u64)&other[0], below(8) ? 43 : below(60), below(6) ? 1 : 3);
	gdt[(SEL_ODD >> 3) + 4] = below(4) ? (u64)(SEL_ODD + 8 * (1 + below(3))) << 16 | 0xe5ull << 40 : random() & ~(9ull << 40);
	gdt[(SEL_ODD >> 3) + 5] = below(4) ? (MODE_PAGE + 0x800) | (u64)SEL_CODE32 << 16 | 0xecull << 40 : random() & ~(9ull << 40);
	for (u32 i = below(3); i; i--)
		idt32[below(20) ? 0x10 + below(16) : below(2) ? below(32) : 0x20 + below(32)] =
			(u64)(SEL_ODD + 8 * (below(20) ? 1 : 1 + below(3))) << 16 | (below(4) ? 0xe5ull : below(256)) << 40;
}

static void put_task_switch(void)
{
	u32 sel = SEL_ODD + 8 * below(6) + (below(8) ? 0 : below(8));

	switch (below(5)) {
	case 0 ... 1:
		put_code(below(2) ? 0xea : 0x9a, 1);
		put_code((u32)edge(), 4);
		put_code(sel, 2);
		break;
	case 2:
		put_code(0xcd, 1);
		put_code(below(64), 1);
		break;
	case 3: /* IRET with NT */
		main_tss.link = sel;
		put_code(0x9c, 1);
		put_code(0x240c81, 3);
		put_code(0x4000, 4);
		put_code(0xcf9d, 2);
		break;
	default: /* exceptions, which may have a task gate */
		put_code(below(2) ? 0x0b0f : 0xf7f7, 2);
		break;
	}
}

static void put_port_insn(void)
{
	run.gpr[RDX] = a_port();
	if (below(2))
		put_code(0x66, 1);
	if (below(4) == 0) {
		put_code(below(2) ? 0xf3 : 0x67, 1);
		run.gpr[RCX] = below(12);
		put_code(0x6c | below(4), 1);
		return;
	}
	put_code(0xec | below(4), 1);
}

static void put_mode_insn(u32 mode)
{
	if (mode == REAL || mode == V86)
		put_code(0x67, 1);
	legacy = true; /* a spoilt stack pointer has no IST to save it */
	put_device_insn(false);
	legacy = false;
}

/* In real mode this one is emulated nowhere: CPUID, a control register, a jump to the end of the segment. */
static void put_odd_insn(void)
{
	static const u32 some[] = {0x90a20f, 0xc0200f, 0xe0200f, 0x90310f, 0xd9010f, 0xc1010f, 0x320f90, 0x300f90, 0x90060f,
				   0xf0010f, 0xe0010f, 0x90f4fb, 0xfeffe9, 0xd08e90, 0xd88e90, 0x17cd90, 0xd0230f, 0xf8230f,
				   0x90ccfb, 0x9090cc, 0xd0010f, 0xd1010f, 0x9090f3, 0x90080f};
	u32 insn = ONE_OF(some);

	if ((insn == 0x90f4fb && below(8)) || (tcg && (insn == 0xd0230f || insn == 0xf8230f)))
		insn = 0x909090;
	run.gpr[RCX] = a_msr();
	put_code(insn, 3);
}

void modes_set_up(void)
{
	make_tables();
	memset(main_tss.bitmap, 0, sizeof(main_tss.bitmap));
}

u32 other_mode(void)
{
	u32 mode = below(5), gpr[8];
	volatile u8 *target = (volatile u8 *)(MODE_PAGE + 0x800);

	prepare();
	make_tables();
	make_paging(mode);
	if (mode != REAL && mode != V86)
		make_tasks(mode);
	if (mode == REAL && below(2)) /* 4 GiB segments */
		((volatile u8 *)CODE_END_16)[mode == REAL ? 1 : 0] = SEL_DATA;
	code_from(MODE_PAGE);
	for (u32 n = 1 + below(3); n; n--) {
		u32 k = below(10);

		if (k < 2)
			put_port_insn();
		else if (k < 4)
			put_odd_insn();
		else if (k < 7 || mode == REAL || mode == V86)
			put_mode_insn(mode);
		else
			put_task_switch();
	}
	put_end();
	target[0] = 0xcd; /* what other tasks run */
	target[1] = VEC_DONE;
	for (u32 i = 0; i < 8; i++)
		gpr[i] = (u32)run.gpr[i];
	*(volatile u32 *)&mode_flags = (bochs ? 0x202 : 2) | below(4) << 12 | (below(8) ? 0 : 0x100);
	*(volatile u32 *)&mode_tss = SEL_ODD;
	if (trace) {
		run.rip = MODE_PAGE;
		puts_("HOSTILE: mode ");
		putd(mode);
		puts_("\n");
		show();
	}
	saved_rsp = 0;
	run_mode(mode, gpr);
	return DIRTY_CR | DIRTY_EFER | DIRTY_APIC;
}
