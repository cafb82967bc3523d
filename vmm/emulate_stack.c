/* SPDX-License-Identifier: BSD-2-Clause */
/* PUSH, POP, CALL and JMP with an r/m operand. */
#include "vmm/emulate_int.h"

/* Width of the stack pointer: SDM vol. 1, 6.2.3. */
static unsigned stack_width(struct em *m)
{
	struct hv_segment ss;

	if (m->e->mode == INSN_64)
		return 8;
	m->e->ops->get_seg(m->e, SEG_SS, &ss);
	return ss.attr & SEG_ATTR_DB ? 4 : 2;
}

static int push(struct em *m, unsigned size, u64 v)
{
	unsigned width = stack_width(m);
	u64 sp = (m->e->gpr[REG_RSP] - size) & em_mask(width), linear;
	int r = em_linear(m->e, SEG_SS, sp, size, true, &linear);

	if (!r)
		r = em_write(m, linear, size, v);
	if (!r)
		em_set_reg(m, REG_RSP, width, sp);
	return r;
}

static int stack_top(struct em *m, unsigned size, u64 *v)
{
	u64 sp = m->e->gpr[REG_RSP] & em_mask(stack_width(m)), linear;
	int r = em_linear(m->e, SEG_SS, sp, size, false, &linear);

	return r ? r : em_read(m, linear, size, v);
}

static void add_rsp(struct em *m, s64 delta)
{
	em_set_reg(m, REG_RSP, stack_width(m), m->e->gpr[REG_RSP] + (u64)delta);
}

/* Near indirect JMP and CALL. The target is checked before anything is pushed. */
int em_branch(struct em *m, bool call)
{
	struct emul *e = m->e;
	unsigned size = m->i->op_size;
	struct hv_segment cs;
	u64 target, linear;
	int r = em_rm(m, size, &target);

	if (r)
		return r;
	if (e->mode == INSN_64) {
		r = em_linear(e, SEG_CS, target, 1, false, &linear);
	} else {
		e->ops->get_seg(e, SEG_CS, &cs);
		r = target > cs.limit ? em_fault(e, EM_VEC_GP) : 0;
	}
	if (!r && call)
		r = push(m, size, m->next_rip);
	if (!r)
		m->next_rip = target;
	return r;
}

int em_push_rm(struct em *m)
{
	u64 v;
	int r = em_rm(m, m->i->op_size, &v);

	return r ? r : push(m, m->i->op_size, v);
}

/* An address by way of RSP is computed after the increment (POP's page). */
int em_pop_rm(struct em *m)
{
	unsigned size = m->i->op_size;
	struct em_operand o;
	u64 v;
	int r = stack_top(m, size, &v);

	if (!r)
		r = em_operand(m, size, true, m->i->base == REG_RSP ? size : 0, &o);
	if (r)
		return r;
	if (!o.mem) { /* POP RSP: the value popped wins */
		add_rsp(m, size);
		return em_put(m, &o, v);
	}
	r = em_put(m, &o, v);
	if (!r)
		add_rsp(m, size);
	return r;
}
