/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hardware task switches of 32-bit guests, for CPUs that leave the guest on each (SDM vol. 3, 28.4.2):
 * those have checked gate, selector and descriptor of the new TSS by then. What is left is chapter 8:
 * until the old task is saved a fault is the old task's, after that the new one's.
 */
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/gwalk.h"
#include "vmm/vm.h"

enum { BY_CALL, BY_IRET, BY_JMP, BY_GATE }; /* vm_exit.task.source */

#define TSS_BUSY 2u
#define TSS_32	 8u
#define DESC_TYPE(d) ((u8)((d) >> 40 & 0x1f)) /* S and the type */
#define DESC_DPL(d)  ((u8)((d) >> 45 & 3))
#define DESC_P	     BIT(47)
#define TYPE_LDT     0x02
#define TYPE_S	     0x10
#define TYPE_CODE    0x08
#define TYPE_CONFORM 0x04 /* of code */
#define TYPE_RW	     0x02
#define DR7_LOCAL    (DR7_LE | 0x55) /* L0..3 too: task switches clear them (17.2.4) */
#define FLAGS_32     0x3f7fd5u

/* Figures 8-2 and 8-10. Registers in encoding order; segments ES CS SS DS FS GS. */
struct tss32 {
	u32 link, stacks[6], cr3, eip, eflags, gpr[8], seg[6], ldt;
	u16 trap, iomap;
};
struct tss16 {
	u16 link, stacks[6], ip, flags, gpr[8], seg[4], ldt;
};
static_assert(sizeof(struct tss32) == 104 && offsetof(struct tss32, eip) == 0x20, "figure 8-2");
static_assert(sizeof(struct tss16) == 44 && offsetof(struct tss16, ip) == 14, "figure 8-10");

struct task_switch {
	struct vcpu *v;
	u8 source, cpl;
	bool external; /* the EXT bit of error codes: not by an instruction of the guest's */
	struct hv_segment old;
	u16 sel; /* of the new task */
	u64 desc, desc_at;
	union {
		struct tss32 t32;
		struct tss16 t16;
	} tss; /* of the new task */
	struct emul_fault fault;
};

static int fault(struct task_switch *t, u8 vector, u16 selector)
{
	t->fault = (struct emul_fault){.vector = vector,
				       .has_error = true,
				       .error = (selector & 0xfffcu) | t->external};
	return -EFAULT;
}

/* n bytes at linear, at most two pages, both translated before either is touched. buf NULL: only find out
 * whether it could be written. Where there is no RAM, reads are ones and writes are lost. */
static int access(struct task_switch *t, u64 linear, void *buf, u32 n, bool write, bool user)
{
	u32 how = (write ? PFERR_W : 0) | (user ? PFERR_U : 0);
	u32 first = MIN((u64)n, PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
	gpa_t gpa[2];

	if (guest_translate(t->v, (u32)linear, how, &gpa[0], &t->fault) ||
	    (first < n && guest_translate(t->v, (u32)(linear + first), how, &gpa[1], &t->fault)))
		return -EFAULT;
	for (u32 i = 0; buf && i < 1 + (first < n); i++) {
		u8 *b = (u8 *)buf + (i ? first : 0);
		u32 part = i ? n - first : first;

		if (write)
			gmem_write(t->v->vm, gpa[i], b, part);
		else if (gmem_read(t->v->vm, gpa[i], b, part))
			memset(b, 0xff, part);
	}
	return 0;
}

static int read(struct task_switch *t, u64 linear, void *buf, u32 n)
{
	return access(t, linear, buf, n, false, false);
}

static int write(struct task_switch *t, u64 linear, const void *buf, u32 n)
{
	return access(t, linear, (void *)buf, n, true, false);
}

static int probe(struct task_switch *t, u64 linear, u32 n)
{
	return access(t, linear, NULL, n, true, false);
}

/* Bits of a descriptor's type byte, atomically as the CPU does: other CPUs share the table. */
static void change_type(struct task_switch *t, u64 desc_at, u8 set, u8 clear)
{
	gpa_t gpa;
	u8 *p;

	if (guest_translate(t->v, (u32)(desc_at + 5), PFERR_W, &gpa, &t->fault))
		return;
	p = gmem_map(t->v->vm, gpa, 1, true);
	if (!p)
		return;
	if (set)
		__atomic_fetch_or(p, set, __ATOMIC_SEQ_CST);
	if (clear)
		__atomic_fetch_and(p, (u8)~clear, __ATOMIC_SEQ_CST);
	gmem_unmap(t->v->vm, p);
}

/* Fails with `vector` where there is no such descriptor. */
static int descriptor(struct task_switch *t, u16 sel, u8 vector, u64 *desc, u64 *at)
{
	struct hv_segment table;

	hv->get_seg(&t->v->hv, sel & 4 ? SEG_LDTR : SEG_GDTR, &table);
	if (((sel & 4) && (table.attr & SEG_ATTR_UNUSABLE)) || (sel | 7u) > table.limit)
		return fault(t, vector, sel);
	*at = (u32)(table.base + (sel & ~7u));
	return read(t, *at, desc, 8);
}

static struct hv_segment segment(u16 sel, u64 d)
{
	struct hv_segment s = {
		.base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000),
		.limit = (u32)((d & 0xffff) | (d >> 32 & 0xf0000)), .attr = d >> 40 & 0xf0ff,
		.selector = sel,
	};

	if (s.attr & SEG_ATTR_G)
		s.limit = s.limit << 12 | 0xfff;
	return s;
}

static bool is_32(const struct task_switch *t)
{
	return DESC_TYPE(t->desc) & TSS_32;
}

static u32 new_base(const struct task_switch *t)
{
	return (u32)segment(t->sel, t->desc).base;
}

static u32 tss_size(bool is32)
{
	return is32 ? sizeof(struct tss32) : sizeof(struct tss16);
}

/* All that can be found out before anything changes (8.3, steps 2 to 6). */
static int check(struct task_switch *t)
{
	u8 none = t->source == BY_IRET ? EXC_TS : EXC_GP;
	bool links = t->source == BY_CALL || t->source == BY_GATE;
	bool old32 = t->old.attr & TSS_32;
	u64 old_at;
	struct hv_segment gdt;
	int r = t->sel & 4 ? fault(t, none, t->sel)
			   : descriptor(t, t->sel, none, &t->desc, &t->desc_at);

	if (r)
		return r;
	if ((DESC_TYPE(t->desc) & 0x15) != 1 ||
	    !(DESC_TYPE(t->desc) & TSS_BUSY) != (t->source != BY_IRET))
		return fault(t, none, t->sel);
	if (!(t->desc & DESC_P))
		return fault(t, EXC_NP, t->sel);
	if (segment(t->sel, t->desc).limit < tss_size(is_32(t)) - 1)
		return fault(t, EXC_TS, t->sel);
	if (t->old.limit < tss_size(old32) - 1)
		return fault(t, EXC_TS, t->old.selector);
	hv->get_seg(&t->v->hv, SEG_GDTR, &gdt);
	old_at = gdt.base + (t->old.selector & ~7u);
	if (read(t, new_base(t), &t->tss, tss_size(is_32(t))) ||
	    probe(t, t->old.base, tss_size(old32)) || (links && probe(t, new_base(t), 2)) ||
	    (t->source != BY_IRET && probe(t, t->desc_at, 8)) || (!links && probe(t, old_at, 8)))
		return -EFAULT;
	return 0;
}

/* The old task as it is to go on: at `eip`. */
static int save(struct task_switch *t, u32 eip, u32 eflags)
{
	struct vcpu *v = t->v;
	struct hv_segment s;
	struct tss32 o = {.eip = eip, .eflags = eflags};
	struct tss16 o16 = {.ip = (u16)eip, .flags = (u16)eflags};

	for (unsigned i = 0; i < 8; i++)
		o16.gpr[i] = (u16)(o.gpr[i] = (u32)v->hv.gpr[i]);
	for (unsigned i = 0; i < 6; i++) {
		hv->get_seg(&v->hv, (enum hv_seg)i, &s);
		o.seg[i] = s.selector;
		if (i < 4)
			o16.seg[i] = s.selector;
	}
	if (t->old.attr & TSS_32)
		return write(t, t->old.base + offsetof(struct tss32, eip), &o.eip,
			     offsetof(struct tss32, ldt) - offsetof(struct tss32, eip));
	return write(t, t->old.base + offsetof(struct tss16, ip), &o16.ip,
		     offsetof(struct tss16, ldt) - offsetof(struct tss16, ip));
}

/* Back link, busy bits, TR (8.3, steps 7 to 12). */
static int change_task(struct task_switch *t)
{
	struct hv_segment gdt, tr = segment(t->sel, t->desc);
	u16 link = t->old.selector;

	hv->get_seg(&t->v->hv, SEG_GDTR, &gdt);
	if (t->source == BY_JMP || t->source == BY_IRET)
		change_type(t, gdt.base + (t->old.selector & ~7u), 0, TSS_BUSY);
	else if (write(t, new_base(t), &link, 2))
		return -EFAULT;
	if (t->source != BY_IRET)
		change_type(t, t->desc_at, TSS_BUSY, 0);
	/* Once more: what was saved may lie in it, as when IRET returns to its own task. */
	if (read(t, new_base(t), &t->tss, tss_size(is_32(t))))
		return -EFAULT;
	tr.attr |= TSS_BUSY;
	hv->set_seg(&t->v->hv, SEG_TR, &tr);
	return 0;
}

/* A 16-bit TSS as a 32-bit one: FS and GS null. */
static void widen(struct task_switch *t)
{
	struct tss16 n = t->tss.t16;
	struct tss32 *w = &t->tss.t32;

	if (is_32(t))
		return;
	*w = (struct tss32){.eip = n.ip, .eflags = n.flags, .ldt = n.ldt};
	for (unsigned i = 0; i < 8; i++)
		w->gpr[i] = n.gpr[i] | 0xffff0000u; /* undefined by the manual; CPUs read ones */
	for (unsigned i = 0; i < 4; i++)
		w->seg[i] = n.seg[i];
}

/*
 * Segments that the new task's first fault can be delivered from, whichever of its own turns out
 * bad: an entry wants a valid CS whatever happens, and the CPL is CS's RPL from now on (8.3).
 */
static void place_segments(struct task_switch *t)
{
	const struct tss32 *n = &t->tss.t32;
	bool v86 = n->eflags & RFLAGS_VM;

	t->cpl = v86 ? 3 : n->seg[SEG_CS] & 3;
	for (unsigned i = 0; i < 6; i++) {
		struct hv_segment s = {.selector = (u16)n->seg[i]};

		if (v86) {
			s.base = (u32)s.selector << 4;
			s.limit = 0xffff;
			s.attr = 0xf3;
		} else if (i == SEG_CS) {
			s.limit = ~0u;
			s.attr = 0xc09b | (u32)t->cpl << 5;
		} else {
			s.attr = SEG_ATTR_UNUSABLE | (i == SEG_SS ? (u32)t->cpl << 5 : 0);
		}
		hv->set_seg(&t->v->hv, (enum hv_seg)i, &s);
	}
}

static int load_ldtr(struct task_switch *t)
{
	u16 sel = (u16)t->tss.t32.ldt;
	struct hv_segment s = {.selector = sel, .attr = SEG_ATTR_UNUSABLE};
	u64 d, at;
	int r = 0;

	hv->set_seg(&t->v->hv, SEG_LDTR, &s);
	if (!(sel & ~3u))
		return 0;
	r = sel & 4 ? fault(t, EXC_TS, sel) : descriptor(t, sel, EXC_TS, &d, &at);
	if (r)
		return r;
	if (DESC_TYPE(d) != TYPE_LDT || !(d & DESC_P))
		return fault(t, EXC_TS, sel);
	s = segment(sel, d);
	hv->set_seg(&t->v->hv, SEG_LDTR, &s);
	return 0;
}

/* Is the descriptor fit for this register (table 8-1)? */
static bool fits(const struct task_switch *t, enum hv_seg i, u16 sel, u64 d)
{
	u8 type = DESC_TYPE(d), dpl = DESC_DPL(d), rpl = sel & 3;
	bool code = type & TYPE_CODE, conforming = code && (type & TYPE_CONFORM);

	if (!(type & TYPE_S))
		return false;
	switch (i) {
	case SEG_CS:
		return code && (conforming ? dpl <= t->cpl : dpl == t->cpl);
	case SEG_SS:
		return !code && (type & TYPE_RW) && dpl == t->cpl && rpl == t->cpl;
	default:
		return (!code || (type & TYPE_RW)) &&
		       (conforming || (dpl >= rpl && dpl >= t->cpl));
	}
}

static int load_segment(struct task_switch *t, enum hv_seg i)
{
	u16 sel = (u16)t->tss.t32.seg[i];
	struct hv_segment s;
	u64 d, at;

	if (!(sel & ~3u))
		return i == SEG_CS || i == SEG_SS ? fault(t, EXC_TS, sel) : 0;
	if (descriptor(t, sel, EXC_TS, &d, &at))
		return -EFAULT;
	if (!fits(t, i, sel, d))
		return fault(t, EXC_TS, sel);
	if (!(d & DESC_P))
		return fault(t, i == SEG_SS ? EXC_SS : EXC_NP, sel);
	if (!(d >> 40 & 1))
		change_type(t, at, 1, 0);
	s = segment(sel, d | BIT(40));
	hv->set_seg(&t->v->hv, i, &s);
	return 0;
}

static int load_segments(struct task_switch *t)
{
	static const u8 order[] = {SEG_CS, SEG_SS, SEG_DS, SEG_ES, SEG_FS, SEG_GS};
	int r = load_ldtr(t);

	if (t->tss.t32.eflags & RFLAGS_VM)
		return r;
	for (unsigned i = 0; !r && i < ARRAY_SIZE(order); i++)
		r = load_segment(t, (enum hv_seg)order[i]);
	return r;
}

/* Everything of the new task but its segments. */
static int load_registers(struct task_switch *t)
{
	const struct tss32 *n = &t->tss.t32;
	struct hv_vcpu *h = &t->v->hv;
	u64 cr0 = hv->get_reg(h, REG_CR0);
	u32 nt = t->source == BY_CALL || t->source == BY_GATE ? RFLAGS_NT : 0;

	hv->set_reg(h, REG_CR0, cr0 | CR0_TS);
	hv->set_reg(h, REG_DR7, hv->get_reg(h, REG_DR7) & ~DR7_LOCAL);
	hv->advance(h, 1); /* for what else the end of an instruction ends */
	h->pending_db = 0; /* the old task's TF steps nobody */
	h->rip = n->eip;
	h->rflags = (n->eflags & FLAGS_32) | nt | RFLAGS_FIXED;
	for (unsigned i = 0; i < 8; i++)
		h->gpr[i] = n->gpr[i];
	if (is_32(t) && (cr0 & CR0_PG) && !cr3_write(t->v, n->cr3))
		return fault(t, EXC_TS, t->sel);
	return 0;
}

/* An exception's error code, as wide as the new TSS. */
static int push_error(struct task_switch *t, u32 error)
{
	u32 n = is_32(t) ? 4 : 2, sp, mask;
	struct hv_segment ss;
	bool down;

	hv->get_seg(&t->v->hv, SEG_SS, &ss);
	mask = ss.attr & SEG_ATTR_DB ? ~0u : 0xffff;
	down = !(t->tss.t32.eflags & RFLAGS_VM) && (ss.attr & 4);
	sp = ((u32)t->v->hv.gpr[REG_RSP] - n) & mask;
	if (down ? sp <= ss.limit : sp + n - 1 > ss.limit || sp + n - 1 < sp)
		return fault(t, EXC_SS, 0);
	if (access(t, (u32)(ss.base + sp), &error, n, true, t->cpl == 3))
		return -EFAULT;
	t->v->hv.gpr[REG_RSP] = (t->v->hv.gpr[REG_RSP] & ~(u64)mask) | sp;
	return 0;
}

static int new_task(struct task_switch *t, const struct vm_exit *e)
{
	int r;

	widen(t);
	r = load_registers(t);
	place_segments(t);
	if (!r)
		r = load_segments(t);
	if (!r && e->task.has_error)
		r = push_error(t, e->task.error);
	if (!r && is_32(t) && (t->tss.t32.trap & 1))
		t->v->hv.pending_db |= DR6_BT;
	return r;
}

void exit_task_switch(struct vcpu *v, const struct vm_exit *e)
{
	const struct hv_event *ev = &e->interrupted;
	bool gate = e->task.source == BY_GATE, insn = !gate || ev->type >= HV_EV_SWINT;
	struct task_switch t = {
		.v = v, .source = e->task.source, .sel = e->task.selector, .external = !insn,
	};
	u32 flags = (u32)v->hv.rflags;
	int r;

	hv->get_seg(&v->hv, SEG_TR, &t.old);
	if (t.source == BY_IRET)
		flags &= ~(u32)RFLAGS_NT;
	/* As a fault's handler finds it on the stack; INT n and the like leave it clear. */
	if (gate && ev->type == HV_EV_EXC && ev->vector != EXC_DB && ev->vector != EXC_DF)
		flags |= RFLAGS_RF;
	else if (insn)
		flags &= ~(u32)RFLAGS_RF;
	r = check(&t);
	if (!r) {
		v->reinject.valid = 0; /* the switch is its delivery */
		r = save(&t, (u32)v->hv.rip + (insn ? e->insn_len : 0), flags);
		if (!r)
			r = change_task(&t);
		if (!r)
			r = new_task(&t, e);
	}
	if (r)
		vcpu_raise(v, t.fault.vector, t.fault.has_error, t.fault.error, t.fault.cr2);
}
