/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instruction emulator: which instruction it is, and what it does in terms of the operations in
 * the other emulate_*.c files. Each handler reads, computes, writes memory, and touches registers
 * last, so that a fault on the way leaves the state as it was.
 *
 * Moves between memory and the SSE, AVX and x87 registers are EMUL_UNHANDLED: the guest's vector
 * state is not among the emulator's operands.
 */
#include "vmm/emulate_int.h"

/* r/m OP= src, or the flags of r/m OP src. */
static int alu_rm(struct em *m, enum alu_op op, u64 src, unsigned size)
{
	bool test = op == ALU_CMP || op == ALU_BT;
	struct em_operand o;
	u64 v;
	int r = em_operand(m, size, !test, 0, &o);

	if (r)
		return r;
	if (!test)
		return em_modify(m, &o, op, src, 0, &v);
	r = em_get(m, &o, &v);
	if (!r)
		em_compare(m, op, v, src, size);
	return r;
}

/* reg OP= r/m */
static int alu_reg(struct em *m, enum alu_op op, unsigned size)
{
	u64 flags = m->e->rflags, v;
	int r = em_rm(m, size, &v);

	if (r)
		return r;
	v = em_alu(op, em_reg(m, m->i->reg, size), v, 0, size, &flags);
	if (op != ALU_CMP)
		em_set_reg(m, m->i->reg, size, v);
	m->flags = flags;
	return 0;
}

static int arith(struct em *m)
{
	const struct insn *i = m->i;
	enum alu_op op = i->opcode >> 3;
	unsigned size = em_size(i);
	u64 flags = m->e->rflags, v;

	switch (i->opcode & 6) {
	case 0:
		return alu_rm(m, op, em_reg(m, i->reg, size), size);
	case 2:
		return alu_reg(m, op, size);
	default:
		v = em_alu(op, em_reg(m, REG_RAX, size), i->imm, 0, size, &flags);
		if (op != ALU_CMP)
			em_set_reg(m, REG_RAX, size, v);
		m->flags = flags;
		return 0;
	}
}

static int test_rm(struct em *m, u64 src)
{
	unsigned size = em_size(m->i);
	u64 v;
	int r = em_rm(m, size, &v);

	if (!r)
		em_compare(m, ALU_AND, v, src, size);
	return r;
}

static int load_to(struct em *m, unsigned reg, unsigned size)
{
	u64 v;
	int r = em_rm(m, size, &v);

	if (!r)
		em_set_reg(m, reg, size, v);
	return r;
}

static int store(struct em *m, u64 v, unsigned size)
{
	struct em_operand o;
	int r = em_operand(m, size, true, 0, &o);

	return r ? r : em_put(m, &o, v);
}

/* MOVZX, MOVSX, MOVSXD */
static int extend(struct em *m, unsigned from, bool sign)
{
	u64 v;
	int r = em_rm(m, from, &v);

	if (!r)
		em_set_reg(m, m->i->reg, m->i->op_size, sign ? em_sext(v, from) : v);
	return r;
}

static int exchange(struct em *m, enum alu_op op)
{
	unsigned size = em_size(m->i);
	u64 src = em_reg(m, m->i->reg, size), old;
	struct em_operand o;
	int r = em_operand(m, size, true, 0, &o);

	if (r)
		return r;
	if (o.mem) {
		r = em_modify(m, &o, op, src, 0, &old);
		if (!r)
			em_set_reg(m, m->i->reg, size, old);
		return r;
	}
	/* Registers, perhaps one and the same: the source is written first (XADD's page). */
	old = em_reg(m, o.reg, size);
	em_set_reg(m, m->i->reg, size, old);
	em_set_reg(m, o.reg, size, em_alu(op, old, src, 0, size, &m->flags));
	return 0;
}

static int shift(struct em *m)
{
	const struct insn *i = m->i;
	struct em_operand o;
	u64 old;
	u8 count = i->imm;
	int r = em_operand(m, em_size(i), true, 0, &o);

	if (r)
		return r;
	if (i->opcode >= 0xd0)
		count = i->opcode & 2 ? m->e->gpr[REG_RCX] : 1;
	return em_modify(m, &o, ALU_ROL + ((i->modrm >> 3) & 7), 0, count, &old);
}

static int double_shift(struct em *m)
{
	const struct insn *i = m->i;
	struct em_operand o;
	u64 old;
	u8 count = i->opcode & 1 ? m->e->gpr[REG_RCX] : i->imm;
	int r = em_operand(m, i->op_size, true, 0, &o);

	if (r)
		return r;
	return em_modify(m, &o, i->opcode & 8 ? ALU_SHRD : ALU_SHLD, em_reg(m, i->reg, i->op_size),
			 count, &old);
}

/* BT, BTS, BTR, BTC with a register: its signed value picks a bit beyond the operand too. */
static int bit_string(struct em *m, enum alu_op op)
{
	unsigned size = m->i->op_size;
	u64 bit = em_reg(m, m->i->reg, size), old;
	/* Element number: divide, rounding down, by 16, 32 or 64 bits. */
	s64 element = (s64)em_sext(bit, size) >> (size == 2 ? 4 : size == 4 ? 5 : 6);
	struct em_operand o;
	int r = em_operand(m, size, op != ALU_BT, element * size, &o);

	if (r)
		return r;
	if (op != ALU_BT)
		return em_modify(m, &o, op, bit, 0, &old);
	r = em_get(m, &o, &old);
	if (!r)
		em_compare(m, op, old, bit, size);
	return r;
}

static int multiply(struct em *m, bool is_signed)
{
	unsigned size = em_size(m->i);
	u64 v, lo, hi;
	int r = em_rm(m, size, &v);

	if (r)
		return r;
	em_mul(is_signed, em_reg(m, REG_RAX, size), v, size, &lo, &hi, &m->flags);
	if (size == 1) {
		em_set_reg(m, REG_RAX, 2, lo | hi << 8);
		return 0;
	}
	em_set_reg(m, REG_RAX, size, lo);
	em_set_reg(m, REG_RDX, size, hi);
	return 0;
}

/* IMUL with a destination register of its own. */
static int multiply_reg(struct em *m, bool has_imm)
{
	unsigned size = m->i->op_size;
	u64 v, lo, hi;
	int r = em_rm(m, size, &v);

	if (r)
		return r;
	em_mul(true, has_imm ? m->i->imm : em_reg(m, m->i->reg, size), v, size, &lo, &hi,
	       &m->flags);
	em_set_reg(m, m->i->reg, size, lo);
	return 0;
}

static int group_f6(struct em *m)
{
	switch ((m->i->modrm >> 3) & 7) {
	case 0:
	case 1:
		return test_rm(m, m->i->imm);
	case 2:
		return alu_rm(m, ALU_NOT, 0, em_size(m->i));
	case 3:
		return alu_rm(m, ALU_NEG, 0, em_size(m->i));
	case 4:
		return multiply(m, false);
	case 5:
		return multiply(m, true);
	default:
		return EM_UNHANDLED; /* DIV, IDIV */
	}
}

static int group_ff(struct em *m)
{
	switch ((m->i->modrm >> 3) & 7) {
	case 0:
		return alu_rm(m, ALU_INC, 0, em_size(m->i));
	case 1:
		return alu_rm(m, ALU_DEC, 0, em_size(m->i));
	case 2:
		return em_branch(m, true);
	case 4:
		return em_branch(m, false);
	case 6:
		return em_push_rm(m);
	default:
		return EM_UNHANDLED; /* far CALL and JMP */
	}
}

/* MOV r/m, Sreg: 16 bits to memory, zero-extended to a register. */
static int store_selector(struct em *m)
{
	struct hv_segment s;

	m->e->ops->get_seg(m->e, m->i->reg, &s);
	return store(m, s.selector, m->i->mod == 3 ? m->i->op_size : 2);
}

static int map_1(struct em *m)
{
	const struct insn *i = m->i;
	unsigned size = em_size(i);

	if (i->opcode < 0x40)
		return (i->opcode & 7) < 6 ? arith(m) : EM_UNHANDLED;
	switch (i->opcode) {
	case 0x63:
		return i->mode == INSN_64 ? extend(m, MIN(i->op_size, 4), true) : EM_UNHANDLED;
	case 0x69:
	case 0x6b:
		return multiply_reg(m, true);
	case 0x6c ... 0x6f:
	case 0xa4 ... 0xa7:
	case 0xaa ... 0xaf:
		return em_string(m);
	case 0x80 ... 0x83:
		return alu_rm(m, (i->modrm >> 3) & 7, i->imm, size);
	case 0x84:
	case 0x85:
		return test_rm(m, em_reg(m, i->reg, size));
	case 0x86:
	case 0x87:
		return exchange(m, ALU_MOV);
	case 0x88:
	case 0x89:
		return store(m, em_reg(m, i->reg, size), size);
	case 0x8a:
	case 0x8b:
		return load_to(m, i->reg, size);
	case 0x8c:
		return store_selector(m);
	case 0x8f:
		return em_pop_rm(m);
	case 0xa0:
	case 0xa1:
		return load_to(m, REG_RAX, size);
	case 0xa2:
	case 0xa3:
		return store(m, em_reg(m, REG_RAX, size), size);
	case 0xa8:
	case 0xa9:
		em_compare(m, ALU_AND, em_reg(m, REG_RAX, size), i->imm, size);
		return 0;
	case 0xc0:
	case 0xc1:
	case 0xd0 ... 0xd3:
		return shift(m);
	case 0xc6:
	case 0xc7:
		return (i->modrm & 0x38) ? EM_UNHANDLED : store(m, i->imm, size); /* not XABORT */
	case 0xe4 ... 0xe7:
	case 0xec ... 0xef:
		return em_in_out(m);
	case 0xf6:
	case 0xf7:
		return group_f6(m);
	case 0xfe:
	case 0xff:
		return group_ff(m);
	default:
		return EM_UNHANDLED;
	}
}

static int cmov(struct em *m)
{
	u64 v;
	int r = em_rm(m, m->i->op_size, &v);

	/* Memory is read, and 32 bits clear the upper half, whatever the condition. */
	if (r)
		return r;
	if (!em_condition(m->i->opcode, m->e->rflags))
		v = em_reg(m, m->i->reg, m->i->op_size);
	em_set_reg(m, m->i->reg, m->i->op_size, v);
	return 0;
}

static int movnti(struct em *m)
{
	const struct insn *i = m->i;

	if (i->mod == 3 || i->last_rep || (i->prefixes & INSN_PFX_OPSZ))
		return em_fault(m->e, EM_VEC_UD);
	return store(m, em_reg(m, i->reg, i->op_size), i->op_size);
}

/* CLFLUSH /7, CLFLUSHOPT 66 /7, CLWB 66 /6: uncached memory holds no line; only the address counts.
 */
static int flush_line(struct em *m)
{
	const struct insn *i = m->i;
	unsigned reg = (i->modrm >> 3) & 7;
	struct em_operand o;

	if (i->mod == 3 || i->last_rep ||
	    !(reg == 7 || (reg == 6 && (i->prefixes & INSN_PFX_OPSZ))))
		return EM_UNHANDLED;
	return em_operand(m, 1, false, 0, &o);
}

static int map_0f(struct em *m)
{
	const struct insn *i = m->i;

	switch (i->opcode) {
	case 0x40 ... 0x4f:
		return cmov(m);
	case 0x90 ... 0x9f:
		return store(m, em_condition(i->opcode, m->e->rflags), 1);
	case 0xa3:
	case 0xab:
	case 0xb3:
	case 0xbb:
		return bit_string(m, ALU_BT + ((i->opcode >> 3) & 3));
	case 0xba:
		return alu_rm(m, ALU_BT + ((i->modrm >> 3) & 3), i->imm, i->op_size);
	case 0xa4:
	case 0xa5:
	case 0xac:
	case 0xad:
		return double_shift(m);
	case 0xae:
		return flush_line(m);
	case 0xaf:
		return multiply_reg(m, false);
	case 0xb0:
	case 0xb1:
		return em_cmpxchg(m);
	case 0xb6:
	case 0xbe:
		return extend(m, 1, i->opcode & 8);
	case 0xb7:
	case 0xbf:
		return extend(m, 2, i->opcode & 8);
	case 0xc0:
	case 0xc1:
		return exchange(m, ALU_ADD);
	case 0xc3:
		return movnti(m);
	case 0xc7:
		return ((i->modrm >> 3) & 7) == 1 ? em_cmpxchg_wide(m) : EM_UNHANDLED;
	default:
		return EM_UNHANDLED;
	}
}

/* MOVBE */
static int map_0f38(struct em *m)
{
	const struct insn *i = m->i;
	unsigned size = i->op_size, shift = 64 - 8 * size;
	u64 v;
	int r;

	if ((i->opcode & 0xfe) != 0xf0 || i->last_rep || i->mod == 3)
		return EM_UNHANDLED; /* CRC32 among others */
	if (i->opcode == 0xf1)
		return store(m, __builtin_bswap64(em_reg(m, i->reg, size)) >> shift, size);
	r = em_rm(m, size, &v);
	if (!r)
		em_set_reg(m, i->reg, size, __builtin_bswap64(v) >> shift);
	return r;
}

/* SDM vol. 2, LOCK: these, with a memory destination. */
static bool lockable(const struct insn *i)
{
	unsigned reg = (i->modrm >> 3) & 7;

	if (i->enc != INSN_LEGACY || !i->has_modrm || i->mod == 3)
		return false;
	if (i->map == INSN_MAP_0F)
		return i->opcode == 0xab || i->opcode == 0xb3 || i->opcode == 0xbb ||
		       (i->opcode == 0xba && reg >= 5) || (i->opcode & 0xfe) == 0xb0 ||
		       (i->opcode & 0xfe) == 0xc0 || (i->opcode == 0xc7 && reg == 1);
	if (i->map != INSN_MAP_1)
		return false;
	if (i->opcode < 0x38)
		return (i->opcode & 7) < 2;
	switch (i->opcode & 0xfe) {
	case 0x80:
	case 0x82:
		return reg != 7;
	case 0x86:
		return true;
	case 0xf6:
		return reg == 2 || reg == 3;
	case 0xfe:
		return reg < 2;
	default:
		return false;
	}
}

static int run(struct em *m)
{
	const struct insn *i = m->i;
	/* LOCK MOV CR0 is AMD's MOV CR8: not ours, but not #UD either. */
	bool mov_cr = i->map == INSN_MAP_0F && (i->opcode & 0xfd) == 0x20;

	if ((i->prefixes & INSN_PFX_LOCK) && !mov_cr && !lockable(i))
		return em_fault(m->e, EM_VEC_UD);
	if (i->enc != INSN_LEGACY)
		return EM_UNHANDLED;
	switch (i->map) {
	case INSN_MAP_1:
		return map_1(m);
	case INSN_MAP_0F:
		return map_0f(m);
	case INSN_MAP_0F38:
		return map_0f38(m);
	default:
		return EM_UNHANDLED;
	}
}

enum emul_result emulate(struct emul *e, const struct insn *i)
{
	struct em m = {.e = e, .i = i, .flags = e->rflags};

	m.next_rip = e->rip + i->len;
	if (e->mode != INSN_64)
		m.next_rip = (u32)m.next_rip;
	switch (run(&m)) {
	case 0:
		e->rip = m.next_rip;
		e->rflags = m.flags & ~FL_RF;
		return EMUL_OK;
	case -EFAULT:
		return EMUL_FAULT;
	case EM_UNHANDLED:
		return EMUL_UNHANDLED;
	default:
		return EMUL_RETRY;
	}
}
