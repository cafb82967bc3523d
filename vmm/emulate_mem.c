/* SPDX-License-Identifier: BSD-2-Clause */
/* Operands: registers, segmentation, memory through the caller's callbacks, LOCK. */
#include "vmm/emulate_int.h"

/* A locked operation that loses so many races gives the guest a turn and is tried again. */
#define LOCK_TRIES 16

#define SEG_TYPE_CODE BIT(3)
#define SEG_TYPE_DOWN BIT(2) /* data: expand-down */
#define SEG_TYPE_RW   BIT(1) /* data: writable; code: readable */

int em_fault(struct emul *e, u8 vector)
{
	e->fault = (struct emul_fault){
		.vector = vector,
		/* Real mode pushes no error code; V86 mode does. */
		.has_error = vector != EM_VEC_UD &&
			     (e->protected_mode || (e->rflags & FL_VM) || e->mode == INSN_64),
	};
	return -EFAULT;
}

/* Byte registers 4..7 are AH, CH, DH, BH unless there is a REX prefix (SDM vol. 2, table 3-1). */
static bool high_byte(const struct em *m, unsigned nr, unsigned size)
{
	return size == 1 && !m->i->rex && nr >= 4;
}

u64 em_reg(struct em *m, unsigned nr, unsigned size)
{
	nr &= 15;
	if (high_byte(m, nr, size))
		return (m->e->gpr[nr & 3] >> 8) & 0xff;
	return m->e->gpr[nr] & em_mask(size);
}

void em_set_reg(struct em *m, unsigned nr, unsigned size, u64 v)
{
	u64 *r = &m->e->gpr[nr & 15];

	if (high_byte(m, nr & 15, size)) {
		r = &m->e->gpr[nr & 3];
		*r = (*r & ~0xff00ull) | ((v & 0xff) << 8);
	} else if (size >= 4) {
		*r = v & em_mask(size); /* 32 bits clear the upper half */
	} else {
		*r = (*r & ~em_mask(size)) | (v & em_mask(size));
	}
}

static bool canonical(const struct emul *e, u64 a)
{
	unsigned shift = 64 - (e->va_bits ? e->va_bits : 48);

	return (u64)((s64)(a << shift) >> shift) == a;
}

/* SDM vol. 3, 5.3 to 5.5. Limits hold in real mode too; rights only in protected mode. */
static bool segment_allows(const struct emul *e, const struct hv_segment *s, u64 ea, unsigned n,
			   bool write)
{
	u64 last = ea + n - 1;
	bool code = s->attr & SEG_TYPE_CODE;

	if (e->protected_mode) {
		if ((s->attr & SEG_ATTR_UNUSABLE) || !(s->attr & SEG_ATTR_P))
			return false;
		if (write ? code || !(s->attr & SEG_TYPE_RW) : code && !(s->attr & SEG_TYPE_RW))
			return false;
	}
	if (!code && (s->attr & SEG_TYPE_DOWN))
		return ea > s->limit && last <= (s->attr & SEG_ATTR_DB ? 0xffffffff : 0xffff);
	return last <= s->limit;
}

int em_linear(struct emul *e, enum hv_seg seg, u64 ea, unsigned n, bool write, u64 *linear)
{
	u8 vector = seg == SEG_SS ? EM_VEC_SS : EM_VEC_GP;
	struct hv_segment s;

	if (e->mode == INSN_64) {
		*linear = ea;
		if (seg >= SEG_FS) {
			e->ops->get_seg(e, seg, &s);
			*linear += s.base;
		}
		if (!canonical(e, *linear) || !canonical(e, *linear + n - 1))
			return em_fault(e, vector);
		return 0;
	}
	e->ops->get_seg(e, seg, &s);
	if (!segment_allows(e, &s, ea, n, write))
		return em_fault(e, vector);
	*linear = (u32)(s.base + ea);
	return 0;
}

static u64 effective_address(const struct emul *e, const struct insn *i)
{
	u64 ea = i->disp;

	if (i->base == 16)
		ea += e->rip + i->len;
	else if (i->base >= 0)
		ea += e->gpr[i->base & 15];
	if (i->index >= 0)
		ea += e->gpr[i->index & 15] * i->scale;
	return ea;
}

static int operand_linear(struct emul *e, const struct insn *i, unsigned size, bool write,
			  s64 adjust, u64 *linear)
{
	u64 ea = (effective_address(e, i) + (u64)adjust) & em_mask(i->addr_size);

	return em_linear(e, i->seg, ea, size, write, linear);
}

int emul_operand_address(struct emul *e, const struct insn *i, unsigned size, bool write,
			 u64 *linear)
{
	if (!i->has_moffs && (!i->has_modrm || i->mod == 3))
		return em_fault(e, EM_VEC_UD);
	return operand_linear(e, i, size, write, 0, linear);
}

int em_read(struct em *m, u64 linear, unsigned n, u64 *v)
{
	*v = 0;
	return m->e->ops->read(m->e, linear, v, n);
}

int em_write(struct em *m, u64 linear, unsigned n, u64 v)
{
	return m->e->ops->write(m->e, linear, &v, n);
}

int em_probe_write(struct em *m, u64 linear, unsigned n)
{
	return m->e->ops->probe_write ? m->e->ops->probe_write(m->e, linear, n) : 0;
}

int em_operand(struct em *m, unsigned size, bool write, s64 adjust, struct em_operand *o)
{
	const struct insn *i = m->i;

	o->size = size;
	o->mem = i->has_moffs || i->mod != 3;
	o->reg = i->rm;
	o->linear = 0;
	return o->mem ? operand_linear(m->e, i, size, write, adjust, &o->linear) : 0;
}

int em_get(struct em *m, const struct em_operand *o, u64 *v)
{
	if (o->mem)
		return em_read(m, o->linear, o->size, v);
	*v = em_reg(m, o->reg, o->size);
	return 0;
}

int em_rm(struct em *m, unsigned size, u64 *v)
{
	struct em_operand o;
	int r = em_operand(m, size, false, 0, &o);

	return r ? r : em_get(m, &o, v);
}

int em_put(struct em *m, const struct em_operand *o, u64 v)
{
	if (o->mem)
		return em_write(m, o->linear, o->size, v);
	em_set_reg(m, o->reg, o->size, v);
	return 0;
}

/* old is what the first read saw. Bounded: another CPU that keeps writing costs a guest entry. */
static int modify_locked(struct em *m, const struct em_operand *o, enum alu_op op, u64 src,
			 u8 count, u64 *old)
{
	for (unsigned k = 0; k < LOCK_TRIES; k++) {
		u64 flags = m->e->rflags, seen = *old;
		u64 new_ = em_alu(op, *old, src, count, o->size, &flags);
		int r = m->e->ops->cmpxchg(m->e, o->linear, &seen, &new_, o->size);

		if (r)
			return r;
		if (seen == *old) {
			m->flags = flags;
			return 0;
		}
		*old = seen;
	}
	return -EAGAIN;
}

int em_modify(struct em *m, const struct em_operand *o, enum alu_op op, u64 src, u8 count, u64 *old)
{
	u64 flags = m->e->rflags, v;
	int r;

	r = o->mem ? em_probe_write(m, o->linear, o->size) : 0;
	if (!r)
		r = em_get(m, o, old);
	if (r)
		return r;
	/* XCHG with memory is locked without the prefix (SDM vol. 3, 9.1.2.1). */
	if (o->mem && ((m->i->prefixes & INSN_PFX_LOCK) || op == ALU_MOV))
		return modify_locked(m, o, op, src, count, old);
	v = em_alu(op, *old, src, count, o->size, &flags);
	r = em_put(m, o, v);
	if (!r)
		m->flags = flags;
	return r;
}
