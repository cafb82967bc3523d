/* SPDX-License-Identifier: BSD-2-Clause */
/* Hostile acts upon the CPU: registers, privileged and odd instructions, code in odd places. */
#include "hostile_code.h"

/* For instructions that are not emulated: those of CPL 0 with a device as operand end the machine, so they are few. */
static u64 operand(void)
{
	if (user_mode || !below(5000))
		return address();
	return below(8) ? ram_address() : 1ull << (44 + below(19)); /* not mapped, not canonical */
}

u32 msr(void)
{
	u32 nr = a_msr(), dirty = nr == 0xc0000080 ? DIRTY_EFER : nr == 0x277 ? DIRTY_PAT : 0;
	u64 val = edge();

	if (nr == 0xc0000080 && below(2))
		val = 0xd01 ^ 1ull << below(16);
	if (nr == 0x1b && below(2))
		val = LAPIC | 0x900 | below(2) << 10;
	if (nr - 0x4b564d00 < 8) /* it will be written to: not where this guest's own code is */
		val = below(4) ? ram_address() | 1 : edge() | 1ull << 40;
	if (nr - 0x11 < 2)
		val = ram_address();
	run.gpr[RCX] = nr | (tcg || below(8) ? 0 : random() << 32); /* SUPPORT.md: TCG would let it through to the host */
	run.gpr[RAX] = (u32)val | (below(8) ? 0 : random() << 32);
	run.gpr[RDX] = val >> 32;
	B(0x0f);
	B(below(3) ? 0x30 : 0x32);
	if (nr >= 0x800 && nr < 0x900)
		dirty |= DIRTY_APIC | DIRTY_CPUS;
	if (nr == 0x1b || nr == 0x6e0)
		dirty |= DIRTY_BASE | DIRTY_APIC;
	return dirty;
}

/* x2APIC mode, and some registers of it. */
u32 x2apic(void)
{
	B(0xb9), D(0x1b), B(0x0f), B(0x32); /* RDMSR */
	B(0x0d), D(0xc00);		    /* OR EAX, EXTD | EN */
	B(0x0f), B(0x30);
	for (u32 i = below(4); i; i--) {
		B(0xb9), D(0x800 + below(0x40));
		if (below(3)) {
			B(0xb8), D((u32)edge());
			B(0xba), D(below(2) ? 0 : (u32)edge());
			B(0x0f), B(0x30);
		} else {
			B(0x0f), B(0x32);
		}
	}
	return DIRTY_APIC | DIRTY_CPUS | DIRTY_BASE;
}

u32 cpuid_(void)
{
	static const u32 leaves[] = {0, 1, 2, 4, 5, 6, 7, 0xa, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x15, 0x16, 0x18, 0x1f, 0x20,
				     0x40000000, 0x40000001, 0x40000010, 0x40000100, 0x40000101, 0x80000000, 0x80000001,
				     0x80000008, 0x8000000a, 0x8000001d, 0x8000001e, 0x8000001f, 0x80000021, 0x80860000};

	run.gpr[RAX] = below(4) ? ONE_OF(leaves) + below(3) - 1 : edge();
	run.gpr[RCX] = below(2) ? below(8) : edge();
	prefixes();
	B(0x0f), B(0xa2);
	return 0;
}

u32 hypercall(void)
{
	run.gpr[RAX] = below(4) ? below(16) : edge();
	run.gpr[RBX] = edge();
	run.gpr[RCX] = below(2) ? below(4) : edge();
	run.gpr[RDX] = below(2) ? below(4) : edge();
	run.gpr[RSI] = below(2) ? 0x400 | below(0x100) : edge();
	T(below(4) ? (tcg ? 0xd9010f : 0xc1010f) : (tcg ? 0xc1010f : 0xd9010f));
	return DIRTY_APIC | DIRTY_CPUS;
}

u32 control_registers(void)
{
	u32 cr = ONE_OF(((const u8[]){0, 0, 0, 2, 3, 4, 4, 4, 8, 1, 5, 15}));
	u64 now = 0, bit = 1ull << below(below(4) ? 32 : 64);

	if (tcg && cr == 8)
		cr = 0; /* see SUPPORT.md: aborts the emulator */
	if (user_mode) {
		run.gpr[RAX] = edge();
	} else {
		if (cr == 0)
			__asm__ volatile("mov %%cr0, %0" : "=r"(now));
		else if (cr == 3)
			now = clean_cr3;
		else if (cr == 4)
			__asm__ volatile("mov %%cr4, %0" : "=r"(now));
		if (cr == 3)
			bit = tcg || below(2) ? below(0x1000) : 1ull << (52 + below(12)); /* SUPPORT.md */
		run.gpr[RAX] = now ^ bit ^ (below(4) ? 0 : 1ull << below(32));
		if (cr == 3)
			run.gpr[RAX] = now ^ bit;
	}
	switch (below(8)) {
	case 0: /* LMSW, SMSW */
		run.gpr[RDI] = operand();
		B(0x0f), B(0x01);
		if (below(2))
			B(0xf0); /* LMSW AX */
		else
			modrm(4 + 2 * below(2));
		return DIRTY_CR;
	case 1:
		B(0x0f), B(0x06);
		return DIRTY_CR;
	case 2:
		B(cr >= 8 ? 0x44 : 0x40), B(0x0f), B(0x20), B(0xc0 | (cr & 7) << 3);
		return 0;
	default:
		B(cr >= 8 ? 0x44 : 0x40), B(0x0f), B(0x22), B(0xc0 | (cr & 7) << 3);
		return DIRTY_CR;
	}
}

u32 debug_registers(void)
{
	u64 dr7 = (u32)random() & 0xffff27ff;

	if (tcg) /* GD does nothing there; code at 0 and 1, data at 2 and 3: SUPPORT.md */
		dr7 = (dr7 & ~0x332000ull) | 0x11000000;
	for (u32 i = below(4); i; i--) {
		u32 reg = below(8);

		B(0x48), B(0xb8);
		put_code(reg == 7 ? dr7 : reg > 3 ? edge() : below(2) ? run.rip + below(24) : address(), 8);
		B(0x0f), B(below(4) ? 0x23 : 0x21), B(0xc0 | reg << 3);
	}
	if (below(2))
		put_device_insn(false);
	else
		B(0xe4), B(0x80);
	return DIRTY_SEG;
}

u32 extended_state(void)
{
	switch (below(3)) {
	case 0:
		run.gpr[RCX] = below(8) ? 0 : edge();
		run.gpr[RAX] = below(2) ? below(8) | below(2) << 5 : edge();
		run.gpr[RDX] = below(4) ? 0 : edge();
		T(below(4) ? 0xd1010f : 0xd0010f);
		return DIRTY_SEG;
	case 1: /* the areas, well aligned and not, in RAM and elsewhere */
		run.gpr[RDI] = operand() & (below(4) ? ~63ull : ~0ull);
		run.gpr[RAX] = below(4) ? 7 : edge();
		run.gpr[RDX] = below(4) ? 0 : edge();
		if (below(2))
			B(0x48);
		B(0x0f), B(0xae);
		B(7 | ONE_OF(((const u8[]){0, 1, 2, 3, 4, 5, 6})) << 3);
		return DIRTY_SEG;
	default:
		run.gpr[RDI] = operand();
		B(0xd8 | below(8));
		if (below(2))
			B(0xc0 | below(64));
		else
			modrm(below(8));
		return DIRTY_SEG;
	}
}

/* Instructions of hypervisors, firmware and idle loops. */
u32 privileged(void)
{
	static const u32 insns[] = {
		0xc1010f, 0xc2010f, 0xc3010f, 0xc4010f, 0xc8010f, 0xc9010f, 0xca010f, 0xcb010f, 0xcf010f, 0xd0010f, 0xd4010f,
		0xd5010f, 0xd6010f, 0xd8010f, 0xd9010f, 0xda010f, 0xdb010f, 0xdc010f, 0xdd010f, 0xde010f, 0xdf010f, 0xee010f,
		0xef010f, 0xf8010f, 0xf9010f, 0xfa010f, 0xfb010f, 0xfc010f, 0xfd010f, 0xfe010f, 0xff010f, 0x90aa0f, 0x90370f,
		0x90330f, 0x90090f, 0x90080f, 0x90310f, 0x90770f, 0x780f90, 0x790f90, 0x90050f, 0x90340f, 0xf8c70f, 0xf0c70f,
		0x90a20f, 0x9090f3, 0x90ccfb,
	};
	u32 insn = ONE_OF(insns);

	run.gpr[RAX] = below(2) ? ram_address() & ~0xfffull : edge();
	run.gpr[RCX] = below(2) ? 0 : edge();
	run.gpr[RDI] = operand();
	switch (below(8)) {
	case 0: /* VMPTRLD, VMCLEAR, VMXON, INVEPT and their like */
		B(ONE_OF(((const u8[]){0x66, 0xf3, 0x90})));
		B(0x0f), B(0xc7);
		modrm(6 + below(2));
		return DIRTY_SEG;
	case 1:
		B(0x66), B(0x0f), B(0x38), B(0x80 + below(3));
		modrm(below(8));
		return 0;
	case 2: /* INVLPG, CLFLUSH, PREFETCH */
		W(ONE_OF(((const u16[]){0x010f, 0xae0f, 0x180f, 0x0d0f})));
		modrm(7);
		return 0;
	default:
		T(insn);
		return DIRTY_SEG;
	}
}

u32 segments(void)
{
	u64 sel = below(2) ? below(0x100) : (u16)edge();

	run.gpr[RAX] = sel;
	run.gpr[RDI] = operand();
	switch (below(10)) {
	case 0 ... 2:
		B(0x8e), B(0xc0 | below(6) << 3);
		break;
	case 3: /* far JMP, CALL and LSS from memory */
		*(volatile u32 *)(DATA + 0x100) = (u32)run.rip + 64;
		*(volatile u16 *)(DATA + 0x104) = (u16)sel;
		if (below(2))
			B(0xff), B(below(2) ? 0x2c : 0x1c);
		else
			B(0x0f), B(ONE_OF(((const u8[]){0xb2, 0xb4, 0xb5}))), B(0x04);
		B(0x25), D(DATA + 0x100); /* SIB: no base, no index */
		break;
	case 4: /* IRETQ, RETF of anything */
		for (u32 i = 0; i < 5; i++)
			B(0x68), D((below(2) ? (u32)edge() : i == 3 ? (u32)sel : (u32)run.rip) | (i == 2 && bochs ? 0x200 : 0));
		B(0x48);
		B(below(2) ? 0xcf : 0xcb);
		break;
	case 5:
		B(0x48);
		W(ONE_OF(((const u16[]){0x070f, 0x050f, 0x350f, 0x340f})));
		break;
	case 6:
		B(0x0f), B(0x00);
		if (below(2))
			B(0xc0 | (tcg ? ONE_OF(((const u8[]){0, 1, 2, 4, 5, 6, 7})) : below(8)) << 3); /* 3: LTR */
		else
			modrm(4 + below(4));
		break;
	case 7:
		T(0xf8010f); /* SWAPGS */
		B(0xf3), B(0x48), B(0x0f), B(0xae), B(0xc0 | below(4) << 3);
		break;
	case 8:
		B(0x9c), B(0x48), B(0x81), B(0x34), B(0x24), D((u32)random() & 0x247fd5), B(0x9d); /* POPF */
		break;
	default: /* SLDT, STR, SIDT, SGDT */
		B(0x0f), B(below(2));
		modrm(below(2));
		break;
	}
	return DIRTY_SEG;
}

u32 software_interrupts(void)
{
	static const u8 some[] = {0xcc, 0xce, 0xf1, 0xf4, 0x62, 0xd6};
	u8 op = ONE_OF(some);

	if (below(3)) {
		B(0xcd);
		B(random());
		return 0;
	}
	if (op == 0xf4 && below(20))
		op = 0xcc; /* HLT without interrupts waits for the watchdog */
	B(op);
	return DIRTY_SEG;
}

/* Bytes, and a second pass over them that changes them. */
u32 self_modified(void)
{
	u32 n = 1 + below(6);

	for (u32 i = 0; i < n; i++) {
		B(0xc6), B(0x05), D(7 * (n - 1 - i) + below(12)); /* MOV BYTE [RIP + x], imm */
		B(spared((u8)random()));
	}
	for (u32 i = 0; i < 12; i++)
		B(0x90);
	put_device_insn(false);
	return DIRTY_CR | MAY_END;
}

u32 any_bytes(void)
{
	u32 n = 1 + below(24);

	for (u32 i = 0; i < 16; i++)
		if (i != RSP)
			run.gpr[i] = operand();
	for (u32 i = 0; i < n; i++) {
		B(spared(no_out((u8)random())));
	}
	return DIRTY_CR | MAY_END;
}

/* Code that is no memory, or ends where memory, or the address space, ends. */
u32 code_elsewhere(void)
{
	u64 to = below(2) ? device_address() : wrong_address();

	run.gpr[RAX] = to;
	run.gpr[RDI] = below(2) ? to : ram_address();
	switch (below(6)) {
	case 0: /* JMP, CALL */
		B(0xff), B(0xe0 - 0x10 * below(2));
		return 0;
	case 1: /* at the end of the lower half; the page behind it is not canonical */
		run.rip = TOP_CODE + 0x2000 - 1 - below(15);
		code_from(CODE + 0x1000 + (run.rip & 0xfff));
		break;
	case 2: /* at the end of 4 GiB, in compatibility mode */
		run.rip = 0xffffffffull - below(15);
		code_from(CODE + (run.rip & 0xfff));
		run.cs = user_mode ? SEL_USER32 : SEL_CODE32;
		break;
	case 3: /* at the end of RAM */
		run.rip = RAM_TOP - 1 - below(15);
		code_from(run.rip);
		break;
	case 4: /* across a page */
		run.rip = TOP_CODE + 0x1000 - 1 - below(15);
		code_from(CODE + (run.rip & 0xfff));
		break;
	default: /* the stack */
		run.gpr[RSP] = operand();
		B(ONE_OF(((const u8[]){0x50, 0x58, 0x9c, 0x9d, 0xc3, 0xc9, 0xcb, 0xcf})));
		/* PUSH and POP of devices are not emulated: at CPL 0 that ends the machine */
		return user_mode ? 0 : run.gpr[RSP] >> 31 == 1 ? MAY_END : 0;
	}
	for (u32 i = 0; i < 4; i++) {
		u32 k = below(6);

		if (k == 0)
			B(0x0f), B(0xa2);
		else if (k == 1)
			B(0xe4), B(0x80);
		else if (k == 2)
			put_device_insn(user_mode);
		else if (k == 3)
			B(0xf3), B(0x90);
		else
			B(0x90);
	}
	return DIRTY_SEG;
}
