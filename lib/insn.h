/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x86 instruction decoder: length, prefixes, operands. A pure function of bytes and mode; no
 * hypervisor header. It covers the legacy maps, 3DNow!, VEX, EVEX and XOP for length; SDM vol. 2,
 * chapter 2 and appendix A, APM vol. 3, appendix A.
 *
 * What counts as defined is judged by map, opcode and, in the groups where it changes the length or
 * the meaning, the reg field. Forms that the CPU refuses for other reasons (a vector opcode with a
 * prefix that selects nothing, LEA with a register operand, LOCK where it may not stand) decode as
 * their bytes lie: the CPU has raised #UD for them before any exit.
 */
#pragma once
#include "lib/types.h"

#define INSN_MAX 15
enum insn_mode { INSN_16 = 2, INSN_32 = 4, INSN_64 = 8 };
/*
 * Or'ed to the mode: near branches in 64-bit mode obey 66 (16-bit displacement, operand and IP) as
 * AMD's CPUs do; without it 66 is ignored there as Intel's do (APM vol. 3, 1.2.3; SDM vol. 2, Jcc).
 */
#define INSN_AMD_BRANCHES 0x10
enum insn_map { INSN_MAP_1, INSN_MAP_0F, INSN_MAP_0F38, INSN_MAP_0F3A, INSN_MAP_OTHER };
enum insn_enc { INSN_LEGACY, INSN_VEX, INSN_EVEX, INSN_XOP };

#define INSN_PFX_LOCK  BIT(0)
#define INSN_PFX_REP   BIT(1) /* F3 */
#define INSN_PFX_REPNE BIT(2) /* F2 */
#define INSN_PFX_OPSZ  BIT(3) /* 66 */
#define INSN_PFX_ADSZ  BIT(4) /* 67 */
#define INSN_PFX_SEG   BIT(5) /* one that counts: in 64-bit mode FS or GS */

struct insn {
	u8 bytes[INSN_MAX]; /* those after `len` are not part of the instruction */
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
	u8 has_moffs;
	u8 vex_pp;	/* VEX, EVEX, XOP: the implied prefix 0 none, 1 66, 2 F3, 3 F2 */
	u8 vex_v;	/* and the register vvvv, not inverted */
	u8 vex_l;	/* and the vector length L or L'L */
	s64 disp;	/* sign-extended; moffs: the whole address. EVEX: disp8 is not scaled by N */
	u64 imm;	/* sign-extended to 64 bits where the instruction does so */
	u64 imm2;	/* ENTER's level, far pointer's selector; EXTRQ's and INSERTQ's second byte */
};

enum insn_status {
	INSN_OK,
	INSN_MORE,	/* n bytes are not enough (n < 15) */
	INSN_UD,	/* not a defined encoding */
	INSN_TOO_LONG,	/* longer than 15 bytes: #GP */
};

/*
 * Decode the instruction at bytes[0..n). Each byte is read once, so bytes may lie in memory that
 * another CPU writes. MOV to and from CR and DR: mod is reported as 3, reg is the number of the
 * control register (LOCK MOV CR0, AMD's other name for CR8, gives 8), rm the general register.
 */
enum insn_status insn_decode(struct insn *i, const u8 *bytes, size_t n, enum insn_mode mode);
