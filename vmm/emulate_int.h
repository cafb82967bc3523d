/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by the emulator's files only. */
#pragma once
#include "vmm/emulate.h"

#define FL_CF BIT(0)
#define FL_PF BIT(2)
#define FL_AF BIT(4)
#define FL_ZF BIT(6)
#define FL_SF BIT(7)
#define FL_TF BIT(8)
#define FL_DF BIT(10)
#define FL_OF BIT(11)
#define FL_RF BIT(16)
#define FL_VM BIT(17)

/* Exceptions that instructions raise themselves. */
enum { EM_VEC_UD = 6, EM_VEC_SS = 12, EM_VEC_GP = 13 };

/* Beside 0, -EFAULT and -EAGAIN: not one of ours. */
#define EM_UNHANDLED 1

/* The first eight are in the order of opcodes 00..3F, the next eight in that of C0, C1, D0..D3. */
enum alu_op {
	ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP,
	ALU_ROL, ALU_ROR, ALU_RCL, ALU_RCR, ALU_SHL, ALU_SHR, ALU_SAL, ALU_SAR,
	ALU_BT, ALU_BTS, ALU_BTR, ALU_BTC, /* in the order of 0F BA /4../7 */
	ALU_INC, ALU_DEC, ALU_NOT, ALU_NEG, ALU_MOV, ALU_SHLD, ALU_SHRD,
};

/* a OP b of `size` bytes; shifts take the count in `count` (SHLD, SHRD: b is what is shifted in).
 * Undefined flags keep their value or follow the formula. */
u64 em_alu(enum alu_op op, u64 a, u64 b, u8 count, unsigned size, u64 *flags);
/* MUL, IMUL: the product's halves of `size` bytes each; CF and OF. */
void em_mul(bool is_signed, u64 a, u64 b, unsigned size, u64 *lo, u64 *hi, u64 *flags);
/* The condition of Jcc, SETcc, CMOVcc. */
bool em_condition(unsigned cc, u64 flags);

/* One instruction on its way. */
struct em {
	struct emul *e;
	const struct insn *i;
	u64 flags;    /* the new RFLAGS, committed at the end */
	u64 next_rip; /* likewise */
};

/* The r/m operand. */
struct em_operand {
	bool mem;
	u8 reg;
	u8 size;
	u64 linear;
};

static inline u64 em_mask(unsigned size)
{
	return size == 8 ? ~0ull : BIT(8 * size) - 1;
}

static inline u64 em_sext(u64 v, unsigned size)
{
	unsigned shift = 64 - 8 * size;

	return (u64)((s64)(v << shift) >> shift);
}

/* emulate_mem.c. Those that return int: 0, -EFAULT (e->fault is filled) or -EAGAIN. */
int em_fault(struct emul *e, u8 vector);
u64 em_reg(struct em *m, unsigned nr, unsigned size);
void em_set_reg(struct em *m, unsigned nr, unsigned size, u64 v);
int em_linear(struct emul *e, enum hv_seg seg, u64 ea, unsigned n, bool write, u64 *linear);
int em_read(struct em *m, u64 linear, unsigned n, u64 *v);
int em_write(struct em *m, u64 linear, unsigned n, u64 v);
int em_probe_write(struct em *m, u64 linear, unsigned n);
/* adjust is added to the effective address: bit strings, POP. */
int em_operand(struct em *m, unsigned size, bool write, s64 adjust, struct em_operand *o);
int em_get(struct em *m, const struct em_operand *o, u64 *v);
/* The r/m operand, only read. */
int em_rm(struct em *m, unsigned size, u64 *v);
int em_put(struct em *m, const struct em_operand *o, u64 v);
/* o = o OP src, with LOCK (or for an exchange) atomically; *old: what was there before. */
int em_modify(struct em *m, const struct em_operand *o, enum alu_op op, u64 src, u8 count,
	      u64 *old);

/* emulate_string.c */
int em_string(struct em *m);
int em_in_out(struct em *m);

/* emulate_stack.c */
int em_branch(struct em *m, bool call);
int em_push_rm(struct em *m);
int em_pop_rm(struct em *m);

/* emulate_cmpxchg.c */
int em_cmpxchg(struct em *m);
int em_cmpxchg_wide(struct em *m);

/* Operand size of the many opcodes whose lowest bit says byte or not. */
static inline unsigned em_size(const struct insn *i)
{
	return i->opcode & 1 ? i->op_size : 1;
}

/* The flags of a OP b without its result: CMP, TEST, BT. */
static inline void em_compare(struct em *m, enum alu_op op, u64 a, u64 b, unsigned size)
{
	u64 flags = m->e->rflags;

	em_alu(op, a, b, 0, size, &flags);
	m->flags = flags;
}
