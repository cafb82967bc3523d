/* SPDX-License-Identifier: BSD-2-Clause */
/* A hostile step as instructions of 64-bit mode (or of its compatibility mode), at CPL 0 or 3. */
#include "hostile.h"

static u8 *code;

void code_from(u64 at)
{
	code = (u8 *)at;
}
u64 code_at(void)
{
	return (u64)code;
}
void put_code(u64 value, u32 n)
{
	for (; n; n--, value >>= 8)
		*code++ = (u8)value;
}
#define B(v) put_code(v, 1)
#define W(v) put_code(v, 2)
#define T(v) put_code(v, 3)
#define D(v) put_code(v, 4)

void put_end(void)
{
	B(0xcd);
	B(VEC_DONE);
}

/* What TCG 7.2 breaks down under, bare too: INT1, MOV to CR8, SSE with a prefix that it has no use for, AVX. */
static u8 spared(u8 byte)
{
	static const u8 deadly[] = {0xf1, 0x0f, 0xc4, 0xc5, 0x62};

	for (u32 i = 0; tcg && i < sizeof(deadly); i++)
		if (byte == deadly[i])
			return 0x90;
	return byte;
}

/* OUT has acts of its own, which spare the next life. */
static u8 no_out(u8 byte)
{
	return byte == 0xe6 || byte == 0xe7 || byte == 0xee || byte == 0xef || (byte | 1) == 0x6f ? 0x90 : byte;
}

static void prefixes(void)
{
	static const u8 some[] = {0x66, 0x66, 0xf2, 0xf3, 0x64, 0x65, 0x2e, 0x67, 0x3e};

	while (!below(4))
		B(ONE_OF(some));
	if (!below(3))
		B(0x40 | below(16));
}

/* ModRM, SIB and displacement of [RDI] in one of its forms. */
static void modrm(u32 reg)
{
	u32 form = below(8);
	s32 disp;

	reg = (reg & 7) << 3;
	if (form < 4) {
		B(reg | 7);
	} else if (form == 4) {
		disp = (s32)below(256) - 128;
		run.gpr[RDI] -= (u64)(s64)disp;
		B(0x47 | reg);
		B((u8)disp);
	} else if (form == 5) {
		disp = (s32)random();
		run.gpr[RDI] -= (u64)(s64)disp;
		B(0x87 | reg);
		D((u32)disp);
	} else {
		u32 scale = below(4);

		run.gpr[RBX] = below(64);
		run.gpr[RDI] -= run.gpr[RBX] << scale;
		B(0x04 | reg);
		B(scale << 6 | RBX << 3 | RDI);
	}
}

/* What a hypervisor may be asked to emulate, with [RDI] as its operand. */
static void known_device_insn(void)
{
	static const u8 one[] = {0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x19, 0x21, 0x22, 0x29, 0x2b, 0x31,
				 0x33, 0x38, 0x39, 0x3a, 0x3b, 0x63, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x88,
				 0x89, 0x8a, 0x8b, 0x88, 0x89, 0x8a, 0x8b};
	static const u8 two[] = {0x40, 0x44, 0x4f, 0x90, 0x95, 0x9f, 0xa3, 0xab, 0xb3, 0xbb, 0xa5, 0xad, 0xaf, 0xb0, 0xb1,
				 0xb6, 0xb7, 0xbe, 0xbf, 0xc0, 0xc1, 0xc3};
	static const u8 strings[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
	u32 reg = below(8), op;

	switch (below(12)) {
	case 0 ... 4:
		prefixes();
		if (!below(8))
			run.gpr[0] = edge();
		B(ONE_OF(one));
		modrm(reg);
		break;
	case 5:
		prefixes();
		B(0xf0);
		B(ONE_OF(((const u8[]){0x00, 0x01, 0x09, 0x11, 0x21, 0x29, 0x31, 0x86, 0x87})));
		modrm(reg);
		break;
	case 6:
		B(below(2) ? 0xf0 : 0x90);
		if (below(2))
			B(0x40 | below(16));
		B(0x0f);
		B(ONE_OF(((const u8[]){0xab, 0xb3, 0xbb, 0xb0, 0xb1, 0xc0, 0xc1, 0xc7})));
		modrm(code[-1] == 0xc7 ? 1 : reg);
		break;
	case 7:
		prefixes();
		B(0x0f);
		B(ONE_OF(two));
		op = code[-1];
		modrm(reg);
		if (op == 0xa4 || op == 0xac)
			B(random());
		break;
	case 8: /* with an immediate operand */
		op = ONE_OF(((const u8[]){0x80, 0x83, 0xc0, 0xc1, 0xc6, 0x6b}));
		B(op);
		modrm(op == 0xc6 ? 0 : reg);
		B(random());
		break;
	case 9:
		if (below(2))
			B(0x48);
		op = ONE_OF(((const u8[]){0x81, 0xc7, 0x69, 0xf7}));
		B(op);
		modrm(op == 0xc7 || op == 0xf7 ? 0 : reg);
		D(random());
		break;
	case 10:
		if (below(2))
			B(ONE_OF(((const u8[]){0xf2, 0xf3})));
		if (below(2))
			B(ONE_OF(((const u8[]){0x66, 0x48, 0x67, 0x64})));
		B(ONE_OF(strings));
		run.gpr[RCX] = below(16) ? below(20) : below(8) ? below(3000) : edge();
		run.gpr[RSI] = address();
		if (!below(4))
			run.rflags |= 0x400;
		break;
	default:
		prefixes();
		op = ONE_OF(((const u8[]){0x8f, 0xff, 0xff, 0xfe, 0xd0, 0xd1, 0xd2, 0xd3, 0xf6, 0x8c}));
		B(op);
		if (op == 0xff)
			reg = ONE_OF(((const u8[]){0, 1, 2, 4, 6}));
		modrm(op == 0x8f ? 0 : op == 0xfe ? reg & 1 : op == 0xf6 ? 2 + (reg & 3) : op == 0x8c ? reg % 6 : reg);
		break;
	}
}

/* Any opcode of any map with [RDI]: what is not emulated must not end the machine at CPL 3. */
static void any_device_insn(void)
{
	u32 map = tcg ? 3 + below(5) : below(8);
	bool sse;
	u8 op;

	if (!below(3))
		prefixes();
	if (!below(8))
		B(0xf0);
	if (map == 0) {
		B(0xc5);
		B(random());
	} else if (map == 1) {
		B(0xc4);
		B((below(8) ? 0xe0 : below(8) << 5) | 1 | below(3));
		B(random());
	} else if (map == 2) {
		B(0x0f);
		B(below(2) ? 0x38 : 0x3a);
	} else if (map < 6) {
		B(0x0f);
	}
	do {
		op = (u8)random();
		sse = (op >= 0x10 && op < 0x18) || op == 0x22 || (op >= 0x28 && op < 0x30) || (op >= 0x50 && op < 0x80) ||
		      (op >= 0xc2 && op < 0xc7 && op != 0xc3) || op >= 0xd0 || op == 0x38 || op == 0x3a;
	} while (tcg && map < 6 && sse);
	B(map >= 6 ? spared(no_out(op)) : op);
	modrm(below(8));
	D(random());
}

void put_device_insn(bool any)
{
	run.gpr[RDI] = address();
	if (any)
		any_device_insn();
	else
		known_device_insn();
}

/* --- ports --- */

static u32 string_io(void)
{
	bool out = below(2);

	run.gpr[RDX] = a_port();
	run.gpr[RDI] = address();
	run.gpr[RSI] = address();
	run.gpr[RCX] = below(16) ? below(12) : below(8) ? below(2000) : edge();
	if (!below(4))
		run.rflags |= 0x400;
	if (below(3))
		B(below(2) ? 0xf3 : 0xf2);
	if (below(3) == 0)
		B(ONE_OF(((const u8[]){0x66, 0x67, 0x64, 0x48})));
	B(0x6c | out << 1 | below(2));
	return DIRTY_APIC;
}

/* OUT val to port as a sequence that does not depend on what the step began with. */
static void out8(u32 port, u32 val)
{
	B(0x66), B(0xba), W(port); /* MOV DX, port */
	B(0xb0), B(val);
	B(0xee);
}
static void out32(u32 port, u32 val)
{
	B(0x66), B(0xba), W(port);
	B(0xb8), D(val);
	B(0xef);
}

static void io_dx(u32 port, u32 val)
{
	B(0x66), B(0xba), W(port);
	B(0xb8), D(val);
	if (below(3) == 0)
		B(0x66);
	B(0xec | below(4));
}

/* A device's own language: index and data, command and counts. */
static u32 device_words(void)
{
	u32 n, i;

	switch (below(6)) {
	case 0: /* CMOS, but not where the next life looks */
		do {
			n = below(4) ? below(0x10) : below(0x80);
		} while (n == 0xf || (n >= 0x40 && n < 0x60));
		out8(0x70, n | (below(8) ? 0 : 0x80));
		if (below(2))
			out8(0x71, (u32)random());
		else
			B(0xe4), B(0x71);
		break;
	case 1: /* PCI */
		n = ONE_OF(((const u32[]){0, 1, 2, 3, 0xf8, 0xf9, 0xfa}));
		out32(0xcf8, (below(8) ? 0x80000000u | n << 8 | below(0x100) : (u32)random()));
		io_dx(0xcfc + below(4), (u32)edge());
		break;
	case 2: /* PIT */
		out8(0x43, (u32)random());
		n = 0x40 + below(3);
		for (i = below(3); i; i--)
			out8(n, (u32)edge());
		B(0xe4), B(n);
		break;
	case 3: /* PIC */
		n = below(2) ? 0x20 : 0xa0;
		out8(n, below(2) ? 0x10 | below(16) : (u32)random());
		for (i = below(4); i; i--)
			out8(n + 1, (u32)random());
		B(0xe4), B(n + below(2));
		break;
	case 4: /* UART, whose letters are few */
		n = 0x3f9 + below(7);
		if (below(2))
			out8(n, (u32)random());
		else
			B(0x66), B(0xba), W(n), B(0xec);
		break;
	default: /* ACPI's block; its sleep is an act of its own */
		n = below(2) ? 0x600 + below(2) : 0x606 + below(0x30);
		io_dx(n, (u32)random() & (n < 0x606 ? 0xffff : ~0u));
		if (n < 0x606)
			code[-1] = 0xec; /* 0x600 wide would reach the control register */
		break;
	}
	return DIRTY_APIC;
}

static u32 ports(void)
{
	u32 port;

	if (user_mode && below(2)) /* every port is open then, so only code that spares those which end the machine */
		run.rflags |= 0x3000;
	switch (below(6)) {
	case 0:
		return string_io();
	case 1 ... 2:
		return device_words();
	case 3:
		port = a_port();
		if (port < 0x100) {
			if (!below(3))
				B(0x66);
			B(0xe4 | below(4));
			B(port);
			return DIRTY_APIC;
		}
		/* fall through */
	default:
		run.gpr[RDX] = a_port() | (below(2) ? 0 : random() << 16);
		run.gpr[RAX] = edge();
		if (!below(3))
			B(ONE_OF(((const u8[]){0x66, 0x66, 0xf3, 0x67, 0x48, 0xf2})));
		B(0xec | below(4));
		return DIRTY_APIC;
	}
}

/* --- the CPU --- */

/* For instructions that are not emulated: those of CPL 0 with a device as operand end the machine, so they are few. */
static u64 operand(void)
{
	if (user_mode || !below(5000))
		return address();
	return below(8) ? ram_address() : 1ull << (44 + below(19)); /* not mapped, not canonical */
}

static u32 msr(void)
{
	u32 nr = a_msr(), dirty = DIRTY_MSR;
	u64 val = edge();

	if (nr == 0xc0000080 && below(2))
		val = 0xd01 ^ 1ull << below(16);
	if (nr == 0x1b && below(2))
		val = LAPIC | 0x900 | below(2) << 10;
	if (nr - 0x4b564d00 < 8) /* it will be written to: not where this guest's own code is */
		val = below(4) ? ram_address() | 1 : edge() | 1ull << 40;
	if (nr - 0x11 < 2)
		val = ram_address();
	run.gpr[RCX] = nr | (below(8) ? 0 : random() << 32);
	run.gpr[RAX] = (u32)val | (below(8) ? 0 : random() << 32);
	run.gpr[RDX] = val >> 32;
	B(0x0f);
	B(below(3) ? 0x30 : 0x32);
	if (nr >= 0x800 && nr < 0x900)
		dirty |= DIRTY_APIC | DIRTY_CPUS;
	if (nr == 0x1b || nr == 0x6e0)
		dirty |= DIRTY_APIC;
	return dirty;
}

/* x2APIC mode, and some registers of it. */
static u32 x2apic(void)
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
	return DIRTY_APIC | DIRTY_CPUS | DIRTY_MSR;
}

static u32 cpuid_(void)
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

static u32 hypercall(void)
{
	run.gpr[RAX] = below(4) ? below(16) : edge();
	run.gpr[RBX] = edge();
	run.gpr[RCX] = below(2) ? below(4) : edge();
	run.gpr[RDX] = below(2) ? below(4) : edge();
	run.gpr[RSI] = below(2) ? 0x400 | below(0x100) : edge();
	T(below(4) ? (tcg ? 0xd9010f : 0xc1010f) : (tcg ? 0xc1010f : 0xd9010f));
	return DIRTY_APIC | DIRTY_CPUS;
}

static u32 control_registers(void)
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

static u32 debug_registers(void)
{
	u64 dr7 = (u32)random() & 0xffff27ff;

	if (tcg)
		dr7 &= ~0x2000ull; /* GD does nothing there */
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
	return DIRTY_CR;
}

static u32 extended_state(void)
{
	switch (below(3)) {
	case 0:
		run.gpr[RCX] = below(8) ? 0 : edge();
		run.gpr[RAX] = below(2) ? below(8) | below(2) << 5 : edge();
		run.gpr[RDX] = below(4) ? 0 : edge();
		T(below(4) ? 0xd1010f : 0xd0010f);
		return DIRTY_CR;
	case 1: /* the areas, well aligned and not, in RAM and elsewhere */
		run.gpr[RDI] = operand() & (below(4) ? ~63ull : ~0ull);
		run.gpr[RAX] = below(4) ? 7 : edge();
		run.gpr[RDX] = below(4) ? 0 : edge();
		if (below(2))
			B(0x48);
		B(0x0f), B(0xae);
		B(7 | ONE_OF(((const u8[]){0, 1, 2, 3, 4, 5, 6})) << 3);
		return DIRTY_CR;
	default:
		run.gpr[RDI] = operand();
		B(0xd8 | below(8));
		if (below(2))
			B(0xc0 | below(64));
		else
			modrm(below(8));
		return DIRTY_CR;
	}
}

/* Instructions of hypervisors, firmware and idle loops. */
static u32 privileged(void)
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
		return DIRTY_CR;
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
		return DIRTY_CR;
	}
}

static u32 segments(void)
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
			B(0x68), D(below(2) ? (u32)edge() : i == 3 ? (u32)sel : (u32)run.rip);
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
			B(0xc0 | below(8) << 3);
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
	return DIRTY_CR;
}

static u32 software_interrupts(void)
{
	static const u8 some[] = {0xcc, 0xce, 0xf1, 0xf4, 0x62, 0xd6};
	u8 op = ONE_OF(some);

	if (below(3)) {
		B(0xcd);
		B(random());
		return 0;
	}
	if (tcg && op == 0xf1)
		op = 0xcc;
	if (op == 0xf4 && below(20))
		op = 0xcc; /* HLT without interrupts waits for the watchdog */
	B(op);
	return DIRTY_CR;
}

/* Bytes, and a second pass over them that changes them. */
static u32 self_modified(void)
{
	u32 n = 1 + below(6);

	for (u32 i = 0; i < n; i++) {
		B(0xc6), B(0x05), D(7 * (n - 1 - i) + below(12)); /* MOV BYTE [RIP + x], imm */
		B(spared((u8)random()));
	}
	for (u32 i = 0; i < 12; i++)
		B(0x90);
	put_device_insn(false);
	return DIRTY_CR | DIRTY_MSR;
}

static u32 any_bytes(void)
{
	u32 n = 1 + below(24);

	for (u32 i = 0; i < 16; i++)
		if (i != RSP)
			run.gpr[i] = operand();
	for (u32 i = 0; i < n; i++) {
		B(spared(no_out((u8)random())));
	}
	return DIRTY_CR | DIRTY_MSR;
}

/* Code that is no memory, or ends where memory, or the address space, ends. */
static u32 code_elsewhere(void)
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
	return DIRTY_CR;
}

u32 make_code(void)
{
	u32 dirty = 0;

	switch (below(64)) {
	case 0 ... 11:
		dirty = ports();
		break;
	case 12 ... 27:
		put_device_insn(user_mode && below(2));
		dirty = DIRTY_APIC | DIRTY_CPUS;
		break;
	case 28 ... 33:
		dirty = msr();
		break;
	case 34 ... 35:
		dirty = x2apic();
		break;
	case 36 ... 37:
		dirty = cpuid_();
		break;
	case 38 ... 39:
		dirty = hypercall();
		break;
	case 40 ... 43:
		dirty = control_registers();
		break;
	case 44 ... 45:
		dirty = debug_registers();
		break;
	case 46 ... 48:
		dirty = extended_state();
		break;
	case 49 ... 51:
		dirty = privileged();
		break;
	case 52 ... 54:
		dirty = segments();
		break;
	case 55:
		dirty = software_interrupts();
		break;
	case 56:
		dirty = self_modified();
		break;
	case 57:
		dirty = any_bytes();
		break;
	case 58 ... 59:
		dirty = code_elsewhere();
		break;
	default: /* some in a row */
		for (u32 i = 1 + below(3); i; i--) {
			put_device_insn(user_mode && below(2));
			if (below(2))
				dirty |= ports();
		}
		dirty |= DIRTY_APIC | DIRTY_CPUS;
		break;
	}
	put_end();
	return dirty;
}
