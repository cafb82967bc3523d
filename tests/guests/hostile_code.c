/* SPDX-License-Identifier: BSD-2-Clause */
/* A hostile step as instructions of 64-bit mode, at CPL 0 or 3: devices and ports; hostile_insns.c has the CPU. */
#include "hostile_code.h"

static u8 *code;
bool legacy;

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
void put_end(void)
{
	B(0xcd);
	B(VEC_DONE);
}

/*
 * What TCG 7.2 breaks down under, bare too: MOV to CR8, SSE with a prefix that it has no use for, AVX. And Bochs 2.7
 * takes no interrupt from a guest that was entered with interrupts shut until it opens them: one that loops would keep
 * the host. So every step there begins with them open, and few instructions shut them.
 */
u8 spared(u8 byte)
{
	static const u8 deadly[] = {0x0f, 0xc4, 0xc5, 0x62};

	for (u32 i = 0; tcg && i < sizeof(deadly); i++)
		if (byte == deadly[i])
			return 0x90;
	if (bochs && (byte == 0xfa || byte == 0x9d || byte == 0xcf))
		return 0x90;
	return byte;
}

/* OUT has acts of its own, which spare the next life. */
u8 no_out(u8 byte)
{
	if (!user_mode && (byte & 0xf8) == 0xd8) /* nor x87 upon devices, which ends the machine at CPL 0 */
		return 0x90;
	return byte == 0xe6 || byte == 0xe7 || byte == 0xee || byte == 0xef || (byte | 1) == 0x6f ? 0x90 : byte;
}

void prefixes(void)
{
	static const u8 some[] = {0x66, 0x66, 0xf2, 0xf3, 0x64, 0x65, 0x2e, 0x67, 0x3e};

	while (!below(4))
		B(ONE_OF(some));
	if (!below(3))
		B(0x40 | below(16));
}

/* ModRM, SIB and displacement of [RDI] in one of its forms. */
void modrm(u32 reg)
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

	if (legacy && reg == RSP)
		reg = RDX;
	switch (below(12)) {
	case 0 ... 4:
		prefixes();
		if (!below(8))
			run.gpr[0] = edge();
		op = ONE_OF(one);
		B(legacy && op == 0x63 ? 0x8b : op); /* ARPL */
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

	switch (below(user_mode ? 7 : 8)) {
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
		n = ONE_OF(((const u32[]){0, 1, 8, 0x18, 0x18, 0x20, 0xf8, 0xf9, 0xfa}));
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
	case 5: /* i8042: not its reset line */
		do {
			n = (u32)random() & 0xff;
		} while (n == 0xd1 || n >= 0xf0);
		out8(0x64, n);
		for (i = below(3); i; i--)
			out8(0x60, (u32)random());
		B(0xe4), B(0x60 + 4 * below(2));
		break;
	case 7: /* fw_cfg, by bytes and by DMA into where a step may write */
		B(0x66), B(0xba), W(0x510), B(0xb8), D(below(2) ? below(0x40) : (u32)random()), B(0x66), B(0xef);
		for (i = below(3); i; i--)
			B(0x66), B(0xba), W(0x511), B(0xec);
		n = (u32)(DATA + 0x200 + below(64));
		((volatile u32 *)(u64)n)[0] = below(2) ? __builtin_bswap32(below(32) | below(0x30) << 16) : (u32)random();
		((volatile u32 *)(u64)n)[1] = below(4) ? __builtin_bswap32(below(0x2000)) : (u32)random();
		((volatile u64 *)(u64)n)[1] = __builtin_bswap64(below(2) ? ram_address() : 0xf000000000000000ull | device_address());
		out32(0x514, 0);
		out32(0x518, __builtin_bswap32(n));
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
		if (user_mode) /* with jumps between them no code is known any more: the bitmap decides */
			run.rflags &= ~0x3000ull;
		break;
	}
	put_end();
	return dirty;
}
