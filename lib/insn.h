/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x86 instruction decoder: length, prefixes, operands. A pure function of bytes and mode; no
 * hypervisor header. It covers the legacy, 0F, 0F38, 0F3A, VEX and EVEX maps for length; SDM vol. 2,
 * chapter 2 and appendix A.
 */
#pragma once
#include "lib/types.h"

#define INSN_MAX 15
enum insn_mode { INSN_16 = 2, INSN_32 = 4, INSN_64 = 8 };
enum insn_map { INSN_MAP_1, INSN_MAP_0F, INSN_MAP_0F38, INSN_MAP_0F3A, INSN_MAP_OTHER };
enum insn_enc { INSN_LEGACY, INSN_VEX, INSN_EVEX, INSN_XOP };

#define INSN_PFX_LOCK  BIT(0)
#define INSN_PFX_REP   BIT(1) /* F3 */
#define INSN_PFX_REPNE BIT(2) /* F2 */
#define INSN_PFX_OPSZ  BIT(3) /* 66 */
#define INSN_PFX_ADSZ  BIT(4) /* 67 */
#define INSN_PFX_SEG   BIT(5)

struct insn {
	u8 bytes[INSN_MAX];
	u8 len;
	u8 mode;	/* enum insn_mode */
	u8 enc, map, opcode;
	u8 prefixes;
	u8 last_rep;	/* 0, 0xf2, 0xf3: the one that counts */
	u8 seg;		/* 0..5 ES CS SS DS FS GS: override, or the default of the memory operand */
	u8 rex;		/* 0: none. VEX/EVEX bits are folded in as REX bits */
	u8 op_size;	/* 2, 4, 8 after prefixes (byte opcodes: the opcode says so) */
	u8 addr_size;	/* 2, 4, 8 */
	u8 has_modrm, modrm, mod, reg, rm; /* reg and rm extended by REX */
	u8 has_sib, sib;
	s8 base, index;	/* register numbers, -1: none; base 16: RIP */
	u8 scale;	/* 1, 2, 4, 8 */
	u8 disp_len, imm_len, imm2_len;
	s64 disp;	/* sign-extended; moffs: the whole address */
	u64 imm;	/* sign-extended to 64 bits where the instruction does so */
	u64 imm2;	/* ENTER's level, far pointer's selector */
	u8 has_moffs;
};

enum insn_status {
	INSN_OK,
	INSN_MORE,	/* n bytes are not enough (n < 15) */
	INSN_UD,	/* not a defined encoding */
	INSN_TOO_LONG,	/* longer than 15 bytes: #GP */
};

/* Decode the instruction at bytes[0..n). */
enum insn_status insn_decode(struct insn *i, const u8 *bytes, size_t n, enum insn_mode mode);
