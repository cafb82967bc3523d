/* SPDX-License-Identifier: BSD-2-Clause */
/* The decoder's tables: what follows each opcode. Private to lib/insn.c. */
#pragma once
#include "lib/types.h"

/* Low nibble of an entry: the immediate. */
enum insn_imm {
	IMM_NONE,
	IMM_B,	 /* 8 bits, sign-extended */
	IMM_UB,	 /* 8 bits, as it is */
	IMM_W,	 /* 16 bits, as it is */
	IMM_Z,	 /* operand size, at most 32 bits, sign-extended */
	IMM_V,	 /* operand size: MOV r64, imm64 */
	IMM_MOFFS, /* address size */
	IMM_FAR, /* offset of operand size, selector */
	IMM_WB,	 /* ENTER */
	IMM_BB,	 /* EXTRQ, INSERTQ */
	IMM_D,	 /* 32 bits: XOP map 10 */
};
#define INSN_A_IMM   0x000fu
#define INSN_A_MODRM 0x0010u
#define INSN_A_UD    0x0020u
#define INSN_A_NO64  0x0040u /* #UD in 64-bit mode */
#define INSN_A_DEF64 0x0080u /* operand size 64 by default in 64-bit mode (stack) */
#define INSN_A_NEAR  0x0100u /* near branch: 64 always (Intel) or by default (AMD) */
#define INSN_A_PFX   0x0200u
#define INSN_A_REX   0x0400u /* REX in 64-bit mode */
#define INSN_A_ESC   0x0800u /* not an opcode yet: escape, or perhaps VEX, EVEX, XOP */
#define INSN_A_GROUP 0x1000u /* ModRM or a prefix changes something: insn.c looks */

extern const u16 insn_map1[256], insn_map0f[256];

/* Maps in which only the existence of an opcode is in question: a bit for each opcode. */
enum insn_bitmap {
	BM_0F38, BM_0F3A,
	BM_VEX1, BM_VEX2, BM_VEX3,
	BM_XOP8, BM_XOP9, BM_XOP10,
	BM_EVEX1, BM_EVEX2, BM_EVEX3, BM_EVEX5, BM_EVEX6,
	BM_COUNT
};
extern const u32 insn_defined[BM_COUNT][8];
