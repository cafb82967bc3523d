/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU on AMD-V: its control block, ASIDs, and the entry into the guest. APM vol. 2, ch. 15. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/pt.h"
#include "arch/x86_64/spec.h"
#include "arch/x86_64/svm/svm.h"
#include "arch/x86_64/timeconv.h"
#include "lib/errno.h"

/* enter.asm has these as numbers. */
static_assert(offsetof(struct hv_vcpu, gpr) == 0 && sizeof(((struct hv_vcpu *)0)->gpr[0]) == 8,
	      "enter.asm");
static_assert(REG_RAX == 0 && REG_RCX == 1 && REG_RDX == 2 && REG_RBX == 3 && REG_RSP == 4 &&
		      REG_RBP == 5 && REG_RSI == 6 && REG_RDI == 7 && REG_R8 == 8 && REG_R15 == 15,
	      "enter.asm");

/*
 * What leaves the guest always. Not here: TASK_SWITCH, RDTSC, INVLPG (the hardware does them right with
 * nested paging); PAUSE (only in a loop); VINTR, IRET (on demand); CR0, CR4, CR8 (svm_set_reg(), svm_enter()).
 * WBINVD would write back every VM's share of the caches. CR0_SEL_WRITE tells us of CD and NW.
 */
static const u8 always[] = {
	VMEXIT_INTR,	VMEXIT_NMI,	VMEXIT_SMI,	VMEXIT_INIT,	    VMEXIT_CR0_SEL_WRITE,
	VMEXIT_RDPMC,	VMEXIT_CPUID,	VMEXIT_RSM,	VMEXIT_INVD,	    VMEXIT_HLT,
	VMEXIT_INVLPGA, VMEXIT_IOIO,	VMEXIT_MSR,	VMEXIT_FERR_FREEZE, VMEXIT_SHUTDOWN,
	VMEXIT_VMRUN,	VMEXIT_VMMCALL, VMEXIT_VMLOAD,	VMEXIT_VMSAVE,	    VMEXIT_STGI,
	VMEXIT_CLGI,	VMEXIT_SKINIT,	VMEXIT_WBINVD,	VMEXIT_MONITOR,	    VMEXIT_MWAIT,
	VMEXIT_XSETBV,
};

/* 15.14.4: the intercept comes at the COUNTth PAUSE that follows the one before within THRESHOLD ticks. */
#define PAUSE_COUNT	3000
#define PAUSE_THRESHOLD 128

void svm_intercept(struct svm_vcpu *s, u32 exit_code, bool on)
{
	u32 *word = &s->vmcb->c.intercept[INTERCEPT_WORD(exit_code)];

	if (on)
		*word |= INTERCEPT_BIT(exit_code);
	else
		*word &= ~INTERCEPT_BIT(exit_code);
	svm_dirty(s, CLEAN_I);
}

static void init_control(struct hv_vcpu *v, struct svm_vcpu *s, hpa_t msrpm)
{
	struct vmcb_control *c = &s->vmcb->c;

	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		svm_intercept(s, always[i], true);
	if (svm_has_rdpru)
		svm_intercept(s, VMEXIT_RDPRU, true);
	/*
	 * A guest whose delivery of #DB or #AC raises the same exception again keeps the CPU in it
	 * for ever, and no interrupt comes through (CVE-2015-8104, CVE-2015-5307): leave on each of
	 * them. #MC is the host's.
	 */
	c->intercept_exc = SVM_EXC_INTERCEPTS;
	if ((svm_caps & SVM_CAP_PAUSE) && !v->own_cpu) {
		svm_intercept(s, VMEXIT_PAUSE, true);
		c->pause_count = PAUSE_COUNT;
		c->pause_threshold = PAUSE_THRESHOLD;
	}
	c->intercept_cr_write = BIT(4);
	c->iopm_pa = frame_pa(svm_iopm);
	c->msrpm_pa = msrpm;
	/* RFLAGS.IF and CR8 of the guest govern virtual interrupts only (15.21.1). */
	c->v_ctl = V_INTR_MASKING;
	c->v_prio = V_PRIO_MAX_IGN_TPR;
	c->nested_ctl = NESTED_NP_ENABLE;
	c->n_cr3 = v->nested_root;
}

static void svm_vcpu_destroy(struct hv_vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);

	spec_vcpu_gone(v);
	if (!s)
		return;
	if (s->msrpm)
		frame_free(frame_pa(s->msrpm), 1);
	if (s->vmcb)
		frame_free(s->vmcb_pa, 0);
	kfree(s);
	v->priv = NULL;
}

static int svm_vcpu_create(struct hv_vcpu *v)
{
	struct svm_vcpu *s = kzalloc(sizeof(*s), FRAME_VCPU, v->id);
	hpa_t msrpm;

	v->priv = s;
	if (!s)
		return -ENOMEM;
	s->vmcb_pa = frame_alloc(0, FRAME_VCPU, v->id);
	if (s->vmcb_pa != HPA_NONE)
		s->vmcb = frame_va(s->vmcb_pa);
	msrpm = frame_alloc(1, FRAME_VCPU, v->id);
	if (msrpm != HPA_NONE)
		s->msrpm = frame_va(msrpm);
	if (!s->vmcb || !s->msrpm) {
		svm_vcpu_destroy(v);
		return -ENOMEM;
	}
	s->tsc_ratio = TSC_RATIO_ONE;
	svm_msrpm_init(s->msrpm);
	init_control(v, s, msrpm);
	svm_reset_regs(v);
	return 0;
}

static void svm_reset(struct hv_vcpu *v)
{
	svm_reset_regs(v);
	fpu_load(v);
}

/* The MSR scales what guests read and nothing else (15.30.5), so it stays until the next vCPU wants another ratio. */
static void load_tsc_ratio(const struct svm_vcpu *s, struct svm_cpu *sc)
{
	if (likely(s->tsc_ratio == sc->tsc_ratio))
		return;
	wrmsr(MSR_TSC_RATIO, s->tsc_ratio);
	sc->tsc_ratio = s->tsc_ratio;
}

/* TSC_AUX is in no control block: it is switched with the vCPU. */
static void svm_load(struct hv_vcpu *v)
{
	struct pcpu *cpu = this_cpu();
	struct svm_cpu *sc = cpu->hv_priv;
	struct svm_vcpu *s = svm_of(v);

	v->cpu = cpu;
	cpu->loaded = v;
	s->host_vmcb = sc->host_vmcb;
	if (s->asid_cpu != cpu) {
		/* Clean bits speak of the CPU that the VMCB ran on last (15.15.4). */
		s->vmcb->c.clean = 0;
		s->todo |= TODO_ASID;
	} else if (s->asid_generation != sc->generation) {
		s->todo |= TODO_ASID;
	}
	load_tsc_ratio(s, sc);
	if (unlikely(v->debug.flags | s->debug))
		svm_follow_debug(v);
	spec_vcpu_load(v);
	fpu_load(v);
	if (unlikely(s->debug & HV_DEBUG_DR))
		svm_debug_host_dr7(v, true);
	if (svm_has_tsc_aux)
		wrmsr(MSR_TSC_AUX, s->tsc_aux);
}

static void svm_put(struct hv_vcpu *v)
{
	struct pcpu *cpu = this_cpu();
	u64 dr6 = v->dr6;

	if (svm_has_tsc_aux)
		svm_of(v)->tsc_aux = rdmsr(MSR_TSC_AUX);
	if (unlikely(svm_of(v)->debug & HV_DEBUG_DR))
		svm_debug_host_dr7(v, false);
	fpu_save(v);
	v->dr6 = dr6; /* the control block's, not what the host's CPU holds */
	v->last_cpu = cpu;
	v->cpu = NULL;
	cpu->loaded = NULL;
}

/* A fresh ASID: no translation carries it. Called right before VMRUN, so that the flush which begins
 * a generation happens before any of its ASIDs is used. */
static void assign_asid(struct svm_vcpu *s, struct pcpu *cpu)
{
	struct svm_cpu *sc = cpu->hv_priv;
	struct vmcb_control *c = &s->vmcb->c;

	if (sc->next_asid > sc->max_asid) {
		sc->generation++;
		sc->next_asid = 1;
		c->tlb_control = TLB_FLUSH_ALL;
	}
	c->asid = sc->next_asid++;
	s->asid_generation = sc->generation;
	s->asid_cpu = cpu;
	svm_dirty(s, CLEAN_ASID);
}

/* CR8 lives in V_TPR without exits, unless the vmm waits for it to fall. */
static void follow_tpr_threshold(struct hv_vcpu *v, struct svm_vcpu *s)
{
	s->tpr_threshold = v->tpr_threshold;
	if (s->tpr_threshold)
		s->vmcb->c.intercept_cr_write |= BIT(8);
	else
		s->vmcb->c.intercept_cr_write &= (u16)~BIT(8);
	svm_dirty(s, CLEAN_I);
}

void svm_prepare(struct hv_vcpu *v)
{
	struct svm_vcpu *s = svm_of(v);
	u32 todo = s->todo;

	s->todo = todo & (TODO_NMI | TODO_DEBUG);
	if (v->tpr_threshold != s->tpr_threshold)
		follow_tpr_threshold(v, s);
	if ((todo & TODO_ASID) || ((todo & TODO_FLUSH) && !(svm_caps & SVM_CAP_FLUSH_ASID)))
		assign_asid(s, v->cpu);
	else if (todo & TODO_FLUSH)
		s->vmcb->c.tlb_control = TLB_FLUSH_ASID;
	if (todo & TODO_DEBUG)
		svm_debug_entry(v);
	if (v->debug.flags & HV_DEBUG_STEP)
		return;
	if (todo & TODO_STEP)
		svm_step_shadow(v);
	else if (todo & TODO_NMI)
		svm_seek_nmi(v);
	else if (todo & TODO_V_IRQ)
		svm_irq_by_v_irq(v);
}

static void svm_flush_nested(struct hv_vcpu *v)
{
	/* Guest and nested translations are tagged alike (15.16): one flush does for both. */
	svm_of(v)->todo |= TODO_FLUSH;
}

static void svm_set_tsc(struct hv_vcpu *v, u64 offset, u64 ratio)
{
	struct svm_vcpu *s = svm_of(v);

	s->vmcb->c.tsc_offset = offset;
	svm_dirty(s, CLEAN_I);
	s->tsc_ratio = ratio;
	if (v->cpu)
		load_tsc_ratio(s, v->cpu->hv_priv);
}

/* clang-format off */
struct hv_ops svm_ops = {
	.name = "svm", .desc = "AMD-V (SVM, NPT)", .nested_format = &pt_npt_format,
	.probe = svm_probe, .cpu_enable = svm_cpu_enable, .cpu_disable = svm_cpu_disable,
	.vcpu_create = svm_vcpu_create, .vcpu_destroy = svm_vcpu_destroy,
	.reset = svm_reset, .load = svm_load, .put = svm_put, .enter = svm_enter,
	.get_reg = svm_get_reg, .set_reg = svm_set_reg, .same_code = svm_same_code,
	.get_paging = svm_get_paging, .get_seg = svm_get_seg, .set_seg = svm_set_seg,
	.advance = svm_advance, .inject = svm_inject, .windows = svm_windows,
	.request_windows = svm_request_windows,
	.get_pending = svm_get_pending, .set_pending = svm_set_pending,
	.flush_nested = svm_flush_nested, .msr_pass = svm_msr_pass,
	.set_tsc = svm_set_tsc,
};
/* clang-format on */
