/* SPDX-License-Identifier: BSD-2-Clause */
/* CMPXCHG, CMPXCHG8B, CMPXCHG16B. */
#include "vmm/emulate_int.h"

int em_cmpxchg(struct em *m)
{
	const struct insn *i = m->i;
	unsigned size = em_size(i);
	u64 acc = em_reg(m, REG_RAX, size), src = em_reg(m, i->reg, size), old = acc;
	struct em_operand o;
	int r = em_operand(m, size, true, 0, &o);

	if (r)
		return r;
	if (i->prefixes & INSN_PFX_LOCK) {
		r = m->e->ops->cmpxchg(m->e, o.linear, &old, &src, size);
	} else {
		r = o.mem ? em_probe_write(m, o.linear, size) : 0;
		if (!r)
			r = em_get(m, &o, &old);
		/* Without LOCK too memory is written in any case; a register is not (its upper half
		 * keeps its value). */
		if (!r && (o.mem || old == acc))
			r = em_put(m, &o, old == acc ? src : old);
	}
	if (r)
		return r;
	em_compare(m, ALU_CMP, acc, old, size);
	if (old != acc)
		em_set_reg(m, REG_RAX, size, old);
	return 0;
}

int em_cmpxchg_wide(struct em *m)
{
	const struct insn *i = m->i;
	unsigned half = i->op_size == 8 ? 8 : 4;
	u64 want[2] = {em_reg(m, REG_RAX, half), em_reg(m, REG_RDX, half)};
	u64 new_[2] = {em_reg(m, REG_RBX, half), em_reg(m, REG_RCX, half)};
	u64 old[2], *out;
	struct em_operand o;
	bool equal;
	int r;

	if (i->mod == 3)
		return EM_UNHANDLED; /* RDRAND and others */
	r = em_operand(m, 2 * half, true, 0, &o);
	if (r)
		return r;
	if (half == 8 && (o.linear & 15))
		return em_fault(m->e, EM_VEC_GP);
	if (half == 4) { /* the pair as it lies in memory */
		want[0] |= want[1] << 32;
		new_[0] |= new_[1] << 32;
		want[1] = new_[1] = 0;
	}
	old[0] = want[0];
	old[1] = want[1];
	if (i->prefixes & INSN_PFX_LOCK) {
		r = m->e->ops->cmpxchg(m->e, o.linear, old, new_, 2 * half);
	} else {
		r = em_probe_write(m, o.linear, 2 * half);
		if (!r)
			r = m->e->ops->read(m->e, o.linear, old, 2 * half);
		out = old[0] == want[0] && old[1] == want[1] ? new_ : old;
		if (!r)
			r = m->e->ops->write(m->e, o.linear, out, 2 * half);
	}
	if (r)
		return r;
	equal = old[0] == want[0] && old[1] == want[1];
	m->flags = equal ? m->flags | FL_ZF : m->flags & ~FL_ZF;
	if (!equal) {
		em_set_reg(m, REG_RAX, half, old[0]);
		em_set_reg(m, REG_RDX, half, half == 8 ? old[1] : old[0] >> 32);
	}
	return 0;
}
