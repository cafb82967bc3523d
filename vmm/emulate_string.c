/* SPDX-License-Identifier: BSD-2-Clause */
/* String instructions with their REP prefixes, and port I/O. */
#include "vmm/emulate_int.h"

#define TSS_IOMAP_BASE 0x66 /* SDM vol. 3, figures 8-2 and 8-11 */
#define TSS_MIN_LIMIT  103
#define TSS_TYPE_32    0x9 /* available; busy has bit 1 too; the same number in 64-bit mode */

/*
 * SDM vol. 1, 19.5: IOPL, then the I/O permission bitmap. Reads of the TSS are the CPU's own, made
 * with supervisor rights whatever the CPL (SDM vol. 3, 4.6.1).
 */
static int tss_allows(struct em *m, u16 port, unsigned n)
{
	struct emul *e = m->e;
	struct hv_segment tr;
	u64 base, bits;
	u8 cpl = e->cpl;
	int r;

	e->ops->get_seg(e, SEG_TR, &tr);
	if ((tr.attr & SEG_ATTR_UNUSABLE) || (tr.attr & 0xd) != TSS_TYPE_32 ||
	    tr.limit < TSS_MIN_LIMIT)
		return em_fault(e, EM_VEC_GP);
	e->cpl = 0;
	r = em_read(m, tr.base + TSS_IOMAP_BASE, 2, &base);
	/* The CPU reads two bytes, since a port range may cross a byte: both must be in the limit.
	 */
	if (!r && base + port / 8 + 1 > tr.limit)
		r = em_fault(e, EM_VEC_GP);
	if (!r)
		r = em_read(m, tr.base + base + port / 8, 2, &bits);
	e->cpl = cpl;
	if (!r && ((bits >> (port & 7)) & (BIT(n) - 1)))
		r = em_fault(e, EM_VEC_GP);
	return r;
}

static int io_allowed(struct em *m, u16 port, unsigned n)
{
	const struct emul *e = m->e;
	bool v86 = (e->rflags & FL_VM) && e->mode != INSN_64;

	if (!v86 && (!e->protected_mode || e->cpl <= e->iopl))
		return 0;
	return tss_allows(m, port, n);
}

int em_in_out(struct em *m)
{
	struct emul *e = m->e;
	u8 op = m->i->opcode;
	unsigned n = op & 1 ? MIN(m->i->op_size, 4) : 1;
	u16 port = op & 8 ? e->gpr[REG_RDX] : m->i->imm;
	u32 v = 0;
	int r = io_allowed(m, port, n);

	if (r)
		return r;
	if (op & 2)
		return e->ops->pio_out(e, port, n, em_reg(m, REG_RAX, n));
	r = e->ops->pio_in(e, port, n, &v);
	if (!r)
		em_set_reg(m, REG_RAX, n, v);
	return r;
}

/* The element at SI (segment may be overridden) or DI (always ES). */
static int element(struct em *m, bool dest, unsigned n, bool write, u64 *linear)
{
	u64 ea = em_reg(m, dest ? REG_RDI : REG_RSI, m->i->addr_size);

	return em_linear(m->e, dest ? SEG_ES : (enum hv_seg)m->i->seg, ea, n, write, linear);
}

static void step(struct em *m, unsigned reg, unsigned n)
{
	u64 delta = m->e->rflags & FL_DF ? -(u64)n : n;

	em_set_reg(m, reg, m->i->addr_size, m->e->gpr[reg] + delta);
}

static int load_element(struct em *m, bool dest, unsigned n, u64 *v)
{
	u64 linear;
	int r = element(m, dest, n, false, &linear);

	return r ? r : em_read(m, linear, n, v);
}

static int store_element(struct em *m, unsigned n, u64 v)
{
	u64 linear;
	int r = element(m, true, n, true, &linear);

	return r ? r : em_write(m, linear, n, v);
}

static int one_ins(struct em *m, unsigned n)
{
	u64 linear;
	u32 v = 0;
	int r = element(m, true, n, true, &linear);

	/* A byte taken from a device cannot be put back: the write must not fail afterwards. */
	if (!r)
		r = em_probe_write(m, linear, n);
	if (!r)
		r = m->e->ops->pio_in(m->e, (u16)m->e->gpr[REG_RDX], n, &v);
	if (!r)
		r = em_write(m, linear, n, v);
	if (!r)
		step(m, REG_RDI, n);
	return r;
}

static int one_outs(struct em *m, unsigned n)
{
	u64 v;
	int r = load_element(m, false, n, &v);

	if (!r)
		r = m->e->ops->pio_out(m->e, (u16)m->e->gpr[REG_RDX], n, (u32)v);
	if (!r)
		step(m, REG_RSI, n);
	return r;
}

static int one_movs(struct em *m, unsigned n)
{
	u64 v, linear;
	int r = element(m, true, n, true, &linear);

	if (!r)
		r = load_element(m, false, n, &v);
	if (!r)
		r = em_write(m, linear, n, v);
	if (!r) {
		step(m, REG_RSI, n);
		step(m, REG_RDI, n);
	}
	return r;
}

static int one_compare(struct em *m, bool cmps, unsigned n)
{
	u64 a = em_reg(m, REG_RAX, n), b, flags = m->e->rflags;
	int r = cmps ? load_element(m, false, n, &a) : 0;

	if (!r)
		r = load_element(m, true, n, &b);
	if (r)
		return r;
	em_alu(ALU_CMP, a, b, 0, n, &flags);
	m->e->rflags = m->flags = flags;
	if (cmps)
		step(m, REG_RSI, n);
	step(m, REG_RDI, n);
	return 0;
}

/* One iteration; registers change only if all of it succeeded. */
static int one(struct em *m, unsigned n)
{
	u64 v;
	int r;

	switch (m->i->opcode & ~1) {
	case 0x6c:
		return one_ins(m, n);
	case 0x6e:
		return one_outs(m, n);
	case 0xa4:
		return one_movs(m, n);
	case 0xa6:
		return one_compare(m, true, n);
	case 0xae:
		return one_compare(m, false, n);
	case 0xaa:
		r = store_element(m, n, em_reg(m, REG_RAX, n));
		if (!r)
			step(m, REG_RDI, n);
		return r;
	default: /* LODS */
		r = load_element(m, false, n, &v);
		if (r)
			return r;
		em_set_reg(m, REG_RAX, n, v);
		step(m, REG_RSI, n);
		return 0;
	}
}

/* REPE and REPNE end with the comparison; for the other instructions both prefixes are REP. */
static bool comparison_ends(const struct em *m)
{
	bool zf = m->e->rflags & FL_ZF;

	if ((m->i->opcode & 0xf6) != 0xa6)
		return false;
	return m->i->last_rep == 0xf3 ? !zf : zf;
}

int em_string(struct em *m)
{
	const struct insn *i = m->i;
	bool io = i->opcode < 0x70;
	unsigned n = !(i->opcode & 1) ? 1 : io ? MIN(i->op_size, 4) : i->op_size;
	u32 budget = m->e->rflags & FL_TF ? 1 : MAX(m->e->rep_budget, 1u), done = 0;
	u64 count = em_reg(m, REG_RCX, i->addr_size);
	int r;

	if (i->last_rep && count == 0)
		return 0;
	r = io ? io_allowed(m, (u16)m->e->gpr[REG_RDX], n) : 0;
	for (; !r; done++) {
		if (done == budget) {
			r = -EAGAIN;
			break;
		}
		r = one(m, n);
		if (r)
			break;
		if (!i->last_rep)
			return 0;
		em_set_reg(m, REG_RCX, i->addr_size, --count);
		if (count == 0 || comparison_ends(m))
			return 0;
	}
	if (r == -EAGAIN && done)
		m->e->rflags |= FL_RF;
	return r;
}
