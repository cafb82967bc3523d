/* SPDX-License-Identifier: BSD-2-Clause */
/* What follows each opcode: SDM vol. 2, appendix A; APM vol. 3, appendix A. */
#include "lib/insn_tables.h"

#define __  0
#define M   INSN_A_MODRM
#define MB  (INSN_A_MODRM | IMM_B)
#define MU  (INSN_A_MODRM | IMM_UB)
#define MZ  (INSN_A_MODRM | IMM_Z)
#define B   IMM_B
#define U   IMM_UB
#define Z   IMM_Z
#define V   IMM_V
#define MO  IMM_MOFFS
#define XX  INSN_A_UD
#define P   INSN_A_PFX
#define R   INSN_A_REX
#define E   INSN_A_ESC
#define S   INSN_A_DEF64
#define SB  (INSN_A_DEF64 | IMM_B)
#define SZ  (INSN_A_DEF64 | IMM_Z)
#define JB  (INSN_A_NEAR | IMM_B)
#define JZ  (INSN_A_NEAR | IMM_Z)
#define O   INSN_A_NO64
#define OM  (INSN_A_NO64 | INSN_A_MODRM)
#define OU  (INSN_A_NO64 | IMM_UB)
#define OF  (INSN_A_NO64 | IMM_FAR)
#define OMU (INSN_A_NO64 | INSN_A_MODRM | IMM_UB)
#define G   (INSN_A_GROUP | INSN_A_MODRM)

const u16 insn_map1[256] = {
	/* 00 */ M, M, M, M, U, Z, O, O, M, M, M, M, U, Z, O, E,
	/* 10 */ M, M, M, M, U, Z, O, O, M, M, M, M, U, Z, O, O,
	/* 20 */ M, M, M, M, U, Z, P, O, M, M, M, M, U, Z, P, O,
	/* 30 */ M, M, M, M, U, Z, P, O, M, M, M, M, U, Z, P, O,
	/* 40 */ R, R, R, R, R, R, R, R, R, R, R, R, R, R, R, R,
	/* 50 */ S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
	/* 60 */ O, O, OM | E, M, P, P, P, P, SZ, MZ, SB, MB, __, __, __, __,
	/* 70 */ JB, JB, JB, JB, JB, JB, JB, JB, JB, JB, JB, JB, JB, JB, JB, JB,
	/* 80 */ MU, MZ, OMU, MB, M, M, M, M, M, M, M, M, G, M, G, G | E,
	/* 90 */ __, __, __, __, __, __, __, __, __, __, OF, __, S, S, __, __,
	/* a0 */ MO, MO, MO, MO, __, __, __, __, U, Z, __, __, __, __, __, __,
	/* b0 */ U, U, U, U, U, U, U, U, V, V, V, V, V, V, V, V,
	/* c0 */ MU, MU, INSN_A_NEAR | IMM_W, INSN_A_NEAR, OM | E, OM | E, G | IMM_UB, G | IMM_Z,
	/* c8 */ S | IMM_WB, S, IMM_W, __, __, U, O, __,
	/* d0 */ M, M, M, M, OU, OU, O, __, M, M, M, M, M, M, M, M,
	/* e0 */ JB, JB, JB, JB, U, U, U, U, JZ, JZ, OF, JB, __, __, __, __,
	/* f0 */ P, __, P, P, __, __, G, G, __, __, __, __, __, __, G, G,
};

const u16 insn_map0f[256] = {
	/* 00 */ M, M, M, M, XX, __, __, __, __, __, XX, __, XX, M, __, MU,
	/* 10 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 20 */ G, G, G, G, XX, XX, XX, XX, M, M, M, M, M, M, M, M,
	/* 30 */ __, __, __, __, __, __, XX, __, E, XX, E, XX, XX, XX, XX, XX,
	/* 40 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 50 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 60 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* 70 */ MU, MU, MU, MU, M, M, M, __, G, M, XX, XX, M, M, M, M,
	/* 80 */ JZ, JZ, JZ, JZ, JZ, JZ, JZ, JZ, JZ, JZ, JZ, JZ, JZ, JZ, JZ, JZ,
	/* 90 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* a0 */ S, S, __, M, MU, M, XX, XX, S, S, __, M, MU, M, M, M,
	/* b0 */ M, M, M, M, M, M, M, M, G, M, G | IMM_UB, M, M, M, M, M,
	/* c0 */ M, M, MU, M, MU, MU, MU, M, __, __, __, __, __, __, __, __,
	/* d0 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* e0 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
	/* f0 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
};

/* Word w, bit b: opcode 32 * w + b. */
const u32 insn_defined[BM_COUNT][8] = {
	[BM_0F38] = { 0x70b10fff, 0xffbf0f3f, 0x00000003, 0x00000000,
		      0x00000007, 0x00000000, 0xf900bf00, 0x1f630000 },
	[BM_0F3A] = { 0x00f0ff00, 0x00000007, 0x00000017, 0x0000000f,
		      0x00000000, 0x00000000, 0x8000d000, 0x00010000 },
	[BM_VEX1] = { 0x00ff0000, 0x0000ff00, 0xffff0cf6, 0xf0ffffff,
		      0x030f0000, 0x00004000, 0xffff0074, 0x7fffffff },
	[BM_VEX2] = { 0x77c8ffff, 0xffffff3f, 0x570f0ae3, 0x03041000,
		      0xffcf5000, 0xfff3ffc0, 0xfc0cb800, 0x00ecffff },
	[BM_VEX3] = { 0x23f0ff77, 0x030f0007, 0xf0001f57, 0xff00ff0f,
		      0x00000000, 0x00000000, 0xc000c000, 0x00010000 },
	[BM_XOP8] = { 0x00000000, 0x00000000, 0x00000000, 0x00000000,
		      0xc0e0c0e0, 0x0040004c, 0x0000f00f, 0x0000f000 },
	[BM_XOP9] = { 0x00040006, 0x00000000, 0x00000000, 0x00000000,
		      0x0fff000f, 0x00000000, 0x08ce08ce, 0x0000000e },
	[BM_XOP10] = { 0x00050000, 0x00000000, 0x00000000, 0x00000000,
		       0x00000000, 0x00000000, 0x00000000, 0x00000000 },
	[BM_EVEX1] = { 0x00ff0000, 0x0000ff00, 0xfff20000, 0xcf7fffff,
		       0x00000000, 0x00000000, 0xff7e0074, 0x7f7effff },
	[BM_EVEX2] = { 0xff7f3811, 0xffff3fff, 0x0f3ff0fd, 0xffef017c,
		       0xffcfaf08, 0xfff0ffcf, 0xf000bdd0, 0x00000000 },
	[BM_EVEX3] = { 0xeff08f3b, 0xcf0000ef, 0x00f3001c, 0x000f00c0,
		       0x00000000, 0x00000000, 0x0000c004, 0x00000000 },
	[BM_EVEX5] = { 0x20030000, 0x0000f400, 0xff020000, 0x7f004000,
		       0x00000000, 0x00000000, 0x00000000, 0x00000000 },
	[BM_EVEX6] = { 0x00080000, 0x00003000, 0x00c0f00c, 0x00000000,
		       0xffc00000, 0xffc0ffc0, 0x00c00000, 0x00000000 },
};
