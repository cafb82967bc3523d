/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VMX backend's own: what it knows of the CPUs, a pCPU's and a vCPU's block, and the VMX
 * instructions. Included in vmx/ only.
 *
 *   vmx_caps.c   which controls this machine has, and which we set
 *   vmx_cpu.c    a pCPU: VMXON, VMXOFF
 *   vmx_vcpu.c   a vCPU: its pages, its VMCS's controls and host state, load and put
 *   vmx_regs.c   guest registers, segments, reset state, MSR bitmap
 *   vmx_event.c  injection, windows, advance
 *   vmx_exit.c   the hardware's exit to struct vm_exit
 *   vmx_entry.asm, vmx.c (enter)
 */
#pragma once
#include "arch/x86_64/hv.h"
#include "arch/x86_64/vmx/vmcs.h"
#include "arch/x86_64/x86.h"
#include "lib/log.h"

/* What probe() found on the boot CPU. Every pCPU is checked against it in cpu_enable(). */
struct vmx_caps {
	u64 basic;                         /* IA32_VMX_BASIC */
	u64 ept_vpid;                      /* IA32_VMX_EPT_VPID_CAP, what all pCPUs have */
	u32 pin, proc, proc2, exit, entry; /* control words, optional bits included */
	bool rdtscp;                       /* IA32_TSC_AUX exists */
};
extern struct vmx_caps vmx_caps;

int vmx_caps_init(char *why, size_t n);  /* boot CPU: choose the control words */
int vmx_caps_check(char *why, size_t n); /* each pCPU: are they possible here? */
int vmx_feature_control_check(char *why, size_t n);

struct vmx_pcpu {
	hpa_t vmxon_pa;
	hpa_t current; /* the VMCS loaded here, HPA_NONE: none */
	u64 gdt_base, idt_base;
	bool on;
};

/* The MSRs that no VMCS field holds and the hypervisor does not use itself: the guest's values stay
 * in the CPU from load to put. Order of REG_STAR .. REG_KERNEL_GS_BASE, then TSC_AUX. */
enum { LIVE_STAR, LIVE_LSTAR, LIVE_CSTAR, LIVE_SFMASK, LIVE_KERNEL_GS_BASE, LIVE_TSC_AUX,
       NR_LIVE_MSRS };

/*
 * CR0 and CR4 bits that the guest cannot change without an exit. Of CR0: PE and PG (the vmm follows
 * the mode; LMA hangs on PG), NE (VMX operation wants it set), CD and NW (kept clear: the vmm tells
 * the guest's cache mode from the shadow). Of CR4: all that CPUID may hide, VMXE, and MCE,
 * without which a machine check in the guest would shut the machine down.
 */
#define CR4_GUEST_OWNED                                                                    \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PGE | CR4_PCE | CR4_OSFXSR | \
	 CR4_OSXMMEXCPT)
#define VMX_CR0_OWNED (CR0_PE | CR0_PG | CR0_NE | CR0_CD | CR0_NW)
#define VMX_CR4_OWNED (~CR4_GUEST_OWNED)

struct vmx_vcpu {
	hpa_t vmcs_pa, msr_bitmap_pa, vapic_pa;
	u8 *msr_bitmap;
	volatile u32 *vtpr; /* VTPR in the virtual-APIC page; bits 7:4 are CR8 */
	u16 vpid;
	bool configured;   /* the VMCS has been filled in, at the first load */
	bool event_in;     /* an event waits in the entry fields */
	bool intr_valid;   /* intr_state was read since the last exit */
	bool flush_ept, flush_vpid;
	/* vmx_step_entry(): each entry is a step; this one was; TF was the guest's own, it was set at the exit */
	bool step, stepped, step_guest_tf, step_tf;
	u32 intr_state;  /* interruptibility */
	u32 proc, entry; /* the words that change in a vCPU's life, as last written */
	u32 debug; /* HV_DEBUG_*, as in force */
	u32 tpr_threshold;
	u32 shut_exits; /* with interrupts shut */
	/* What the VMCS, or the CPU, holds; written again only when hv_vcpu says otherwise. */
	u64 rip, rsp, rflags, cr2, dr6;
	u64 host_rsp, eptp;
	u64 cr0_shadow, cr4_shadow;
	u64 tsc_offset, tsc_ratio;
	u64 dr7; /* the guest's, with HV_DEBUG_DR */
	u64 live_msr[NR_LIVE_MSRS];
	struct pcpu *host_cpu; /* whose host state the VMCS holds */
};

static inline struct vmx_vcpu *vmx_of(const struct hv_vcpu *v)
{
	return v->priv;
}

/* Assembly: enter, and return after the exit: 0, or VMX_FAIL_* when the CPU did not enter. */
#define VMX_FAIL_VALID   2 /* VM-instruction error field says why */
int vmx_run(u64 *gpr, u64 launched, u64 *host_rsp);
void vmx_exit_point(void);

void vmx_vmcs_fault(enum vmcs_field f, u64 val) __noreturn;

static inline u64 vmread(enum vmcs_field f)
{
	u64 v;
	__asm__ volatile("vmread %1, %0" : "=rm"(v) : "r"((u64)f) : "cc");
	return v;
}

/* A refused write is our own mistake (a field this CPU does not have): CF or ZF, SDM 31.2. */
static inline void vmwrite(enum vmcs_field f, u64 v)
{
	__asm__ goto("vmwrite %1, %0; jna %l2" ::"r"((u64)f), "rm"(v) : "cc", "memory" : fault);
	return;
fault:
	vmx_vmcs_fault(f, v);
}

/* The n-th of a row of fields that lie two apart (segments, PDPTEs). */
static inline enum vmcs_field vmcs_nth(enum vmcs_field first, unsigned n)
{
	return (enum vmcs_field)(first + 2 * n);
}

#define DEFINE_VMX_INSN(name, insn)                                              \
	static inline bool name(hpa_t pa)                                        \
	{                                                                        \
		bool ok;                                                         \
		__asm__ volatile(insn " %1" : "=@cca"(ok) : "m"(pa) : "memory"); \
		return ok;                                                       \
	}
DEFINE_VMX_INSN(vmxon, "vmxon")
DEFINE_VMX_INSN(vmclear, "vmclear")
DEFINE_VMX_INSN(vmptrld, "vmptrld")
#undef DEFINE_VMX_INSN

static inline void vmxoff(void)
{
	__asm__ volatile("vmxoff" ::: "cc", "memory");
}

static inline bool invept(u64 type, u64 eptp)
{
	struct {
		u64 eptp, zero;
	} d = {eptp, 0};
	bool ok;
	__asm__ volatile("invept %1, %2" : "=@cca"(ok) : "m"(d), "r"(type) : "memory");
	return ok;
}

static inline bool invvpid(u64 type, u16 vpid)
{
	struct {
		u64 vpid, linear;
	} d = {vpid, 0};
	bool ok;
	__asm__ volatile("invvpid %1, %2" : "=@cca"(ok) : "m"(d), "r"(type) : "memory");
	return ok;
}

/* vmx_cpu.c */
int vmx_cpu_enable(struct pcpu *cpu, char *why, size_t n);
void vmx_cpu_disable(void);

/* vmx_vcpu.c */
/* #DB and #AC: an exception whose handler raises it again would hold the CPU for ever, deaf even to
 * interrupts (CVE-2015-5307, CVE-2015-8104). #MC is the host's. */
#define EXCEPTIONS_INTERCEPTED (BIT(EXC_DB) | BIT(EXC_AC) | BIT(EXC_MC))
int vmx_vcpu_create(struct hv_vcpu *v);
void vmx_vcpu_destroy(struct hv_vcpu *v);
void vmx_load(struct hv_vcpu *v);
void vmx_put(struct hv_vcpu *v);
u64 vmx_eptp(const struct hv_vcpu *v);
void vmx_set_tsc(struct hv_vcpu *v, u64 offset, u64 ratio);

/* vmx_regs.c */
void vmx_reset(struct hv_vcpu *v);
void vmx_follow_debug(struct hv_vcpu *v); /* v->debug is another than what is in force, or may be */
void vmx_reset_plain(struct hv_vcpu *v); /* the part that needs no loaded VMCS */
void vmx_reset_vmcs(struct hv_vcpu *v);  /* the part in the VMCS */
void vmx_restart_timer(const struct hv_vcpu *v);
void vmx_end_timer(const struct hv_vcpu *v); /* the next entry is none */
void vmx_live_msrs_load(struct vmx_vcpu *x);
void vmx_live_msrs_save(struct vmx_vcpu *x);
u64 vmx_get_reg(struct hv_vcpu *v, enum hv_reg r);
void vmx_set_reg(struct hv_vcpu *v, enum hv_reg r, u64 val);
void vmx_get_seg(struct hv_vcpu *v, enum hv_seg s, struct hv_segment *out);
bool vmx_same_code(struct hv_vcpu *v, const struct hv_paging *p);
void vmx_get_paging(struct hv_vcpu *v, struct hv_paging *out);
void vmx_set_seg(struct hv_vcpu *v, enum hv_seg s, const struct hv_segment *in);
void vmx_msr_pass(struct hv_vcpu *v, u32 msr, bool read, bool write);

/* The guest writes DR6 without exits: v->dr6 counts where a #DB may be due, after this. */
static inline void vmx_follow_dr6(struct hv_vcpu *v, u64 dr6)
{
	v->dr6 = vmx_of(v)->dr6 = dr6;
}

/* vmx_event.c */
void vmx_step_entry(struct hv_vcpu *v);
void vmx_step_exit(struct hv_vcpu *v);
u32 vmx_intr_state(struct vmx_vcpu *x);
void vmx_set_intr_state(struct vmx_vcpu *x, u32 state);
/* rip as the code that runs has it: outside 64-bit code it is EIP, which wraps at 4 GiB. */
u64 vmx_wrap_rip(struct hv_vcpu *v, u64 rip);
void vmx_advance(struct hv_vcpu *v, unsigned len);
void vmx_inject(struct hv_vcpu *v, const struct hv_event *ev);
u32 vmx_windows(struct hv_vcpu *v);
void vmx_get_pending(struct hv_vcpu *v, struct hv_pending *out);
void vmx_set_pending(struct hv_vcpu *v, const struct hv_pending *in);
void vmx_request_windows(struct hv_vcpu *v, u32 windows);

/* vmx_exit.c */
void vmx_exit_convert(struct hv_vcpu *v, u32 reason, struct vm_exit *exit);
