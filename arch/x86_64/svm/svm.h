/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of this folder share. APM = AMD APM vol. 2. */
#pragma once
#include "arch/x86_64/hv.h"
#include "arch/x86_64/x86.h"
#include "arch/x86_64/svm/vmcb.h"

/* Per pCPU, struct pcpu's hv_priv. */
struct svm_cpu {
	hpa_t host_vmcb; /* VMSAVE image of the host's FS, GS, TR, LDTR and syscall MSRs */
	hpa_t hsave;	 /* VM_HSAVE_PA: where VMRUN keeps the rest of the host */
	u64 tsc_ratio;	 /* in its TSC ratio MSR */
	/*
	 * ASIDs (APM 15.16): each vCPU that runs here holds one of the current generation. When they
	 * run out, a new generation starts with one flush of everything.
	 */
	u64 generation;
	u32 next_asid, max_asid;
};

/* What svm_prepare() has to do before the next VMRUN. 0 on the fast path. */
enum svm_todo {
	TODO_FLUSH = 1 << 0, /* of this vCPU's translations, guest and nested */
	TODO_ASID = 1 << 1,  /* the one it holds is not of this pCPU and generation */
	TODO_STEP = 1 << 2,  /* run the shadowed instruction alone: events.c */
	TODO_NMI = 1 << 3,   /* stands as long as the vmm waits to inject an NMI */
	TODO_DEBUG = 1 << 4, /* stands as long as v->debug asks for anything */
	TODO_V_IRQ = 1 << 5, /* the interrupt in EVENTINJ goes in by V_IRQ: svm_irq_by_v_irq() */
};

/* Why a vCPU is single-stepped; STEP_V_IRQ: it is not, but the end wants a look. */
enum svm_step { STEP_NONE, STEP_IRET, STEP_SHADOW, STEP_DEBUG, STEP_V_IRQ };

/* Per vCPU, struct hv_vcpu's priv. */
struct svm_vcpu {
	struct vmcb *vmcb;
	hpa_t vmcb_pa;
	hpa_t host_vmcb; /* of the pCPU where it is loaded */
	u8 *msrpm;
	u32 todo;	/* enum svm_todo */
	u8 tpr_threshold; /* as put into the intercepts */
	/* As they were at the last VMRUN, for async_exit(). */
	u8 entry_shadow;
	u64 entry_rip;

	/* Where its ASID is valid. */
	u64 asid_generation;
	struct pcpu *asid_cpu;

	/* What the guest believes of CR0.CD and NW and of CR4.MCE: regs.c. */
	u64 cr0_hidden, cr4_mce;
	u64 tsc_aux; /* while not loaded */
	u64 tsc_ratio;

	/* Events: events.c */
	bool irq_wanted;   /* the window was asked for */
	bool nmi_blocked;  /* an NMI was injected and its IRET has not completed */
	bool iret_pending; /* ... but was seen, at iret_rip */
	u64 iret_rip;
	bool step_guest_tf; /* TF was the guest's own already */
	u64 step_dr6;	   /* DR6 before the step */
	u8 step;	   /* enum svm_step: what the VMRUN just made was */
	u8 soft_len;	   /* length of INT n, INT3 or INTO, if the event put in is one */
	u32 debug;	   /* HV_DEBUG_*, as in force */
	u64 dr7;	   /* the guest's, with HV_DEBUG_DR */
};

extern u32 svm_caps;	   /* SVM_CAP_* that every pCPU in use has */
extern u32 svm_clean_mask; /* what VMCB.clean becomes after an exit: 0 without clean bits */
extern bool svm_has_tsc_aux, svm_has_rdpru;
extern bool svm_counts; /* the machine is QEMU with -icount */
extern u8 svm_iopm[IOPM_SIZE];

static inline struct svm_vcpu *svm_of(const struct hv_vcpu *v)
{
	return v->priv;
}
/* Every write to a cached VMCB field goes with one of these. */
static inline void svm_dirty(struct svm_vcpu *s, u32 clean_bits)
{
	s->vmcb->c.clean &= ~clean_bits;
}

/* cpu.c */
int svm_probe(char *why, size_t n);
int svm_cpu_enable(struct pcpu *cpu, char *why, size_t n);
void svm_cpu_disable(void);

/* vcpu.c */
void svm_intercept(struct svm_vcpu *s, u32 exit_code, bool on);
void svm_prepare(struct hv_vcpu *v); /* the rare part of an entry */

/* regs.c */
u64 svm_get_reg(struct hv_vcpu *v, enum hv_reg r);
void svm_set_reg(struct hv_vcpu *v, enum hv_reg r, u64 val);
void svm_get_seg(struct hv_vcpu *v, enum hv_seg seg, struct hv_segment *out);
bool svm_same_code(struct hv_vcpu *v, const struct hv_paging *p);
void svm_get_paging(struct hv_vcpu *v, struct hv_paging *out);
void svm_set_seg(struct hv_vcpu *v, enum hv_seg seg, const struct hv_segment *in);
void svm_reset_regs(struct hv_vcpu *v);

/* msr.c */
void svm_msrpm_init(u8 *msrpm);
void svm_msr_pass(struct hv_vcpu *v, u32 msr, bool read, bool write);

/* events.c */
#define SVM_EXC_INTERCEPTS ((u32)(BIT(EXC_DB) | BIT(EXC_AC) | BIT(EXC_MC)))
void svm_events_reset(struct svm_vcpu *s);
void svm_inject(struct hv_vcpu *v, const struct hv_event *ev);
u32 svm_windows(struct hv_vcpu *v);
void svm_get_pending(struct hv_vcpu *v, struct hv_pending *out);
void svm_set_pending(struct hv_vcpu *v, const struct hv_pending *in);
void svm_request_windows(struct hv_vcpu *v, u32 windows);
void svm_advance(struct hv_vcpu *v, unsigned len);
void svm_interrupted(struct hv_vcpu *v, struct hv_event *ev);
void svm_step_shadow(struct hv_vcpu *v);
void svm_follow_debug(struct hv_vcpu *v); /* v->debug is another than what is in force, or may be */
void svm_debug_entry(struct hv_vcpu *v);
bool svm_on_tcg(void);
void svm_debug_host_dr7(const struct hv_vcpu *v, bool loaded);
void svm_seek_nmi(struct hv_vcpu *v);
void svm_irq_by_v_irq(struct hv_vcpu *v);
/* True if the exit was the end of the step and nothing is left to convert. */
bool svm_step_end(struct hv_vcpu *v, struct vm_exit *exit);
void svm_exit_async(struct hv_vcpu *v, struct vm_exit *exit);
void svm_exit_vintr(struct hv_vcpu *v, struct vm_exit *exit);
void svm_exit_iret(struct hv_vcpu *v, struct vm_exit *exit);

/* exit.c */
void svm_enter(struct hv_vcpu *v, struct vm_exit *exit);

/*
 * enter.asm. gpr: hv_vcpu.gpr. Runs the guest; interrupts off before and after. A pending NMI, SMI
 * or INIT is taken before it returns; a pending interrupt stays pending.
 */
void svm_vmrun(u64 *gpr, hpa_t vmcb, hpa_t host_vmcb);
