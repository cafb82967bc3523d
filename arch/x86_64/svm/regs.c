/* SPDX-License-Identifier: BSD-2-Clause */
/* Registers of a vCPU that live in its VMCB, and their state after reset. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/svm/svm.h"
#include "lib/string.h"

/*
 * The guest does not get to switch caching off: CR0.CD of one hardware thread may act on its
 * neighbours, and nested paging leaves the guest nothing to gain by it. And it runs with CR4.MCE
 * set: with MCE clear a machine check of the host's would be a shutdown (APM vol. 2, 9.1.2).
 */
#define CR0_HIDDEN (CR0_CD | CR0_NW)
/* Changes that must drop guest translations (SDM vol. 3, 4.10.4.1; APM vol. 2, 5.5.1). */
#define CR0_FLUSH (CR0_PG | CR0_PE | CR0_WP)
#define CR4_FLUSH                                                                                  \
	(CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP | CR4_PKE)

static void flush_if(struct svm_vcpu *s, u64 changed)
{
	if (changed)
		s->todo |= TODO_FLUSH;
}

static void update_efer(struct svm_vcpu *s, u64 val)
{
	struct vmcb_save *save = &s->vmcb->s;

	val &= ~EFER_LMA;
	if ((val & EFER_LME) && (save->cr0 & CR0_PG))
		val |= EFER_LMA;
	val |= EFER_SVME; /* VMRUN refuses a guest without it (15.5.1) */
	flush_if(s, (save->efer ^ val) & (EFER_NXE | EFER_LMA));
	save->efer = val;
	svm_dirty(s, CLEAN_CR);
}

static void set_cr0(struct svm_vcpu *s, u64 val)
{
	struct vmcb *vmcb = s->vmcb;
	u64 safe = (val & ~CR0_HIDDEN) | CR0_ET;

	flush_if(s, (vmcb->s.cr0 ^ safe) & CR0_FLUSH);
	vmcb->s.cr0 = safe;
	s->cr0_hidden = val & CR0_HIDDEN;
	/* The selective intercept compares with the real CR0. While that differs from what the guest
	 * believes it to be, it must neither read it nor write it unseen. */
	if (s->cr0_hidden) {
		vmcb->c.intercept_cr_read |= BIT(0);
		vmcb->c.intercept_cr_write |= BIT(0);
	} else {
		vmcb->c.intercept_cr_read &= (u16)~BIT(0);
		vmcb->c.intercept_cr_write &= (u16)~BIT(0);
	}
	svm_dirty(s, CLEAN_I | CLEAN_CR);
	update_efer(s, vmcb->s.efer);
}

static void set_cr4(struct svm_vcpu *s, u64 val)
{
	struct vmcb *vmcb = s->vmcb;

	flush_if(s, (vmcb->s.cr4 ^ val) & CR4_FLUSH);
	vmcb->s.cr4 = val | CR4_MCE;
	s->cr4_mce = val & CR4_MCE;
	if (s->cr4_mce)
		vmcb->c.intercept_cr_read &= (u16)~BIT(4);
	else
		vmcb->c.intercept_cr_read |= BIT(4);
	svm_dirty(s, CLEAN_I | CLEAN_CR);
}

/* Registers that are just a field which VMRUN or VMLOAD loads, uncached or with `clean`. */
#define FIELD(name, bits) {offsetof(struct vmcb_save, name), bits}
/* clang-format off */
static const struct {
	u16 offset; /* 0: not such a register */
	u16 clean;
} fields[HV_NR_REGS] = {
	[REG_CR3] = FIELD(cr3, CLEAN_CR), [REG_DR7] = FIELD(dr7, CLEAN_DR),
	[REG_PAT] = FIELD(g_pat, CLEAN_NP),
	[REG_STAR] = FIELD(star, 0), [REG_LSTAR] = FIELD(lstar, 0), [REG_CSTAR] = FIELD(cstar, 0),
	[REG_SFMASK] = FIELD(sfmask, 0), [REG_KERNEL_GS_BASE] = FIELD(kernel_gs_base, 0),
	[REG_SYSENTER_CS] = FIELD(sysenter_cs, 0), [REG_SYSENTER_ESP] = FIELD(sysenter_esp, 0),
	[REG_SYSENTER_EIP] = FIELD(sysenter_eip, 0),
};
/* clang-format on */

static u64 *field(struct vmcb_save *save, enum hv_reg r)
{
	return fields[r].offset ? (u64 *)((u8 *)save + fields[r].offset) : NULL;
}

u64 svm_get_reg(struct hv_vcpu *v, enum hv_reg r)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb_save *save = &s->vmcb->s;
	u64 *f;

	if (r <= REG_R15)
		return v->gpr[r];
	switch (r) {
	case REG_CR0:
		return save->cr0 | s->cr0_hidden;
	case REG_CR4:
		return (save->cr4 & ~CR4_MCE) | s->cr4_mce;
	case REG_EFER:
		return save->efer & ~EFER_SVME;
	case REG_TSC_AUX:
		return v->cpu && svm_has_tsc_aux ? rdmsr(MSR_TSC_AUX) : s->tsc_aux;
	case REG_SPEC_CTRL:
		return v->spec_ctrl;
	case REG_DR7:
		return s->debug & HV_DEBUG_DR ? s->dr7 : save->dr7;
	default:
		/* PDPTEs: nested paging reads them from memory. DEBUGCTL: not virtualised, 0. */
		f = field(save, r);
		return f ? *f : 0;
	}
}

void svm_set_reg(struct hv_vcpu *v, enum hv_reg r, u64 val)
{
	struct svm_vcpu *s = svm_of(v);
	u64 *f;

	if (r <= REG_R15) {
		v->gpr[r] = val;
		return;
	}
	switch (r) {
	case REG_CR0:
		set_cr0(s, val);
		return;
	case REG_CR4:
		set_cr4(s, val);
		return;
	case REG_EFER:
		update_efer(s, val);
		return;
	case REG_TSC_AUX:
		s->tsc_aux = (u32)val;
		if (v->cpu && svm_has_tsc_aux)
			wrmsr(MSR_TSC_AUX, (u32)val);
		return;
	case REG_SPEC_CTRL:
		v->spec_ctrl = s->vmcb->s.spec_ctrl = val;
		return;
	case REG_CR3:
		s->todo |= TODO_FLUSH;
		break;
	case REG_DR7:
		val = (u32)val | DR7_FIXED; /* VMRUN refuses set bits above 31 */
		s->dr7 = val;
		if (s->debug & HV_DEBUG_DR)
			val = v->debug.dr7;
		break;
	default:
		break;
	}
	f = field(&s->vmcb->s, r);
	if (f)
		*f = val;
	svm_dirty(s, fields[r].clean);
}

static struct vmcb_seg *segment(struct vmcb_save *save, enum hv_seg seg)
{
	switch (seg) {
	case SEG_LDTR:
		return &save->ldtr;
	case SEG_TR:
		return &save->tr;
	case SEG_GDTR:
		return &save->gdtr;
	case SEG_IDTR:
		return &save->idtr;
	default:
		return &save->es + seg; /* ES CS SS DS FS GS in encoding order */
	}
}
static_assert(offsetof(struct vmcb_save, gs) == SEG_GS * sizeof(struct vmcb_seg), "segment()");

void svm_get_seg(struct hv_vcpu *v, enum hv_seg seg, struct hv_segment *out)
{
	struct vmcb_save *save = &svm_of(v)->vmcb->s;
	const struct vmcb_seg *in = segment(save, seg);

	*out = (struct hv_segment){.base = in->base, .limit = in->limit};
	if (seg >= SEG_GDTR)
		return;
	out->selector = in->selector;
	out->attr = (in->attr & 0xffu) | (in->attr & 0xf00u) << 4;
	if (!(out->attr & SEG_ATTR_P))
		out->attr |= SEG_ATTR_UNUSABLE;
	/* Some CPUs do not keep G of CS (others: they do) and the busy bit of TR. The limit tells. */
	if (seg == SEG_CS && in->limit > 0xfffff)
		out->attr |= SEG_ATTR_G;
	if (seg == SEG_TR)
		out->attr |= 2;
	/* The CPL is a field of its own; SYSRET leaves SS.DPL alone. Neutral code takes SS.DPL. */
	if (seg == SEG_SS)
		out->attr = (out->attr & ~(3u << 5)) | (u32)(save->cpl & 3) << 5;
}

void svm_set_seg(struct hv_vcpu *v, enum hv_seg seg, const struct hv_segment *in)
{
	struct svm_vcpu *s = svm_of(v);
	struct vmcb_seg *out = segment(&s->vmcb->s, seg);
	u32 attr = in->attr;

	out->base = in->base;
	out->limit = in->limit;
	svm_dirty(s, CLEAN_SEG | CLEAN_DT);
	if (seg >= SEG_GDTR)
		return;
	/* TCG 7.2 keeps TR without its busy bit; leaving CPL 3 by a busy 32-bit TSS aborts it. */
	if (seg == SEG_TR)
		attr &= ~2u;
	/* An SVM segment is unusable when it is not present. */
	if (attr & SEG_ATTR_UNUSABLE)
		attr &= ~SEG_ATTR_P;
	out->selector = in->selector;
	out->attr = (u16)((attr & 0xff) | (attr >> 4 & 0xf00));
	if (seg == SEG_SS)
		s->vmcb->s.cpl = SEG_ATTR_DPL(attr);
}

static void reset_segments(struct hv_vcpu *v)
{
	static const struct hv_segment code = {
		.base = 0xffff0000, .limit = 0xffff, .attr = 0x9b, .selector = 0xf000};
	static const struct hv_segment data = {.limit = 0xffff, .attr = 0x93};
	static const struct hv_segment ldtr = {.limit = 0xffff, .attr = 0x82};
	static const struct hv_segment tr = {.limit = 0xffff, .attr = 0x8b};

	for (int i = SEG_ES; i <= SEG_GS; i++)
		svm_set_seg(v, (enum hv_seg)i, i == SEG_CS ? &code : &data);
	svm_set_seg(v, SEG_LDTR, &ldtr);
	svm_set_seg(v, SEG_TR, &tr);
	svm_set_seg(v, SEG_GDTR, &data);
	svm_set_seg(v, SEG_IDTR, &data);
}

/* SDM vol. 3, table 10-1; APM vol. 2, table 14-1. The VMCB's control area stays. */
void svm_reset_regs(struct hv_vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	memset(&s->vmcb->s, 0, sizeof(s->vmcb->s));
	memset(v->gpr, 0, sizeof(v->gpr));
	memset(v->dr, 0, sizeof(v->dr));
	v->gpr[REG_RDX] = cpuid(1, 0).eax; /* family, model, stepping */
	v->rip = 0xfff0;
	v->rflags = RFLAGS_FIXED;
	v->cr2 = 0;
	v->dr6 = DR6_FIXED;
	v->tpr = 0;
	reset_segments(v);
	set_cr0(s, CR0_CD | CR0_NW | CR0_ET);
	set_cr4(s, 0);
	svm_set_reg(v, REG_DR7, DR7_FIXED);
	svm_set_reg(v, REG_PAT, PAT_RESET);
	svm_set_reg(v, REG_TSC_AUX, 0);
	svm_set_reg(v, REG_SPEC_CTRL, 0);
	s->todo |= TODO_FLUSH;
	s->vmcb->c.clean = 0;
	svm_events_reset(s);
}

/* What a fetch depends on (SDM vol. 3, 4.1, 4.6). */
#define CR0_FETCH  (CR0_PE | CR0_PG)
#define CR4_FETCH  (CR4_PAE | CR4_PSE | CR4_LA57 | CR4_SMEP)
#define EFER_FETCH (EFER_LMA | EFER_NXE)

static u32 code_context(const struct hv_vcpu *v, const struct vmcb_save *save)
{
	return save->cs.attr | (u32)save->cpl << 16 | (u32)(v->rflags & RFLAGS_VM) << 8;
}
static_assert((u64)RFLAGS_VM << 8 == BIT(25), "beside the CPL");

bool svm_same_code(struct hv_vcpu *v, const struct hv_paging *p)
{
	const struct vmcb_save *save = &svm_of(v)->vmcb->s;
	u64 differs = (save->cr3 ^ p->cr3) | ((save->cr0 ^ p->cr0) & CR0_FETCH) |
		      ((save->cr4 ^ p->cr4) & CR4_FETCH) | ((save->efer ^ p->efer) & EFER_FETCH) |
		      (code_context(v, save) ^ p->context);

	return !differs && (p->mode == 8 || save->cs.base == p->code_base);
}

void svm_get_paging(struct hv_vcpu *v, struct hv_paging *out)
{
	struct svm_vcpu *s = svm_of(v);
	const struct vmcb_save *save = &s->vmcb->s;
	bool real = !(save->cr0 & CR0_PE), v86 = v->rflags & RFLAGS_VM;

	out->cr0 = save->cr0;
	out->cr3 = save->cr3;
	out->cr4 = save->cr4;
	out->efer = save->efer;
	out->cpl = v86 ? 3 : real ? 0 : save->cpl & 3;
	out->code_base = save->cs.base;
	out->context = code_context(v, save);
	if ((save->efer & EFER_LMA) && (save->cs.attr & BIT(9))) { /* L */
		out->code_base = 0;
		out->mode = 8;
	} else {
		out->mode = !real && !v86 && (save->cs.attr & BIT(10)) ? 4 : 2; /* D */
	}
}
