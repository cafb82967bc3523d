/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The line between the neutral hypervisor (vmm/) and the two vendors' extensions (vmx/, svm/).
 * vmm/ reaches the CPU through struct hv_ops alone; a backend turns the hardware's exit into
 * struct vm_exit and never calls into vmm/.
 *
 * Unless said otherwise every operation on a struct hv_vcpu runs on the pCPU on which it is loaded
 * (between load and put), interrupts off, and cannot fail.
 */
#pragma once
#include "lib/types.h"

struct pcpu;
struct pt_format;

/* Register names. 0..15 are the general registers in their encoding order. */
enum hv_reg {
	REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
	REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	/* Below: through get_reg/set_reg. */
	REG_CR0, REG_CR3, REG_CR4, REG_DR7, REG_EFER,
	REG_PDPTE0, REG_PDPTE1, REG_PDPTE2, REG_PDPTE3, /* VMX needs them; SVM ignores them */
	REG_STAR, REG_LSTAR, REG_CSTAR, REG_SFMASK, REG_KERNEL_GS_BASE,
	REG_SYSENTER_CS, REG_SYSENTER_ESP, REG_SYSENTER_EIP,
	REG_PAT, REG_DEBUGCTL, REG_TSC_AUX, REG_SPEC_CTRL,
	HV_NR_REGS
};

enum hv_seg { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR, HV_NR_SEGS,
	      SEG_GDTR = HV_NR_SEGS, SEG_IDTR }; /* the last two use base and limit only */

/* attr as in a VMCS access-rights field: type 3:0, S 4, DPL 6:5, P 7, AVL 12, L 13, DB 14, G 15,
 * unusable 16 (SDM vol. 3, 25.4.1). The SVM backend converts. */
#define SEG_ATTR_S	  (1u << 4)
#define SEG_ATTR_DPL(a)	  (((a) >> 5) & 3)
#define SEG_ATTR_P	  (1u << 7)
#define SEG_ATTR_L	  (1u << 13)
#define SEG_ATTR_DB	  (1u << 14)
#define SEG_ATTR_G	  (1u << 15)
#define SEG_ATTR_UNUSABLE (1u << 16)

struct hv_segment {
	u64 base;
	u32 limit; /* in bytes, expanded by G */
	u32 attr;
	u16 selector;
	u16 pad[3];
};

/* Something to deliver, or something whose delivery an exit cut short. The numbers of `type` are
 * the VMX interruption types (SDM vol. 3, 25.8.3). */
enum hv_event_type {
	HV_EV_EXTINT = 0,
	HV_EV_NMI = 2,
	HV_EV_EXC = 3,
	HV_EV_SWINT = 4,
	HV_EV_PRIV_SWEXC = 5, /* INT1 */
	HV_EV_SWEXC = 6,      /* INT3, INTO */
};
struct hv_event {
	u8 valid;
	u8 type; /* enum hv_event_type */
	u8 vector;
	u8 has_error;
	u32 error;
	u8 insn_len; /* SWINT, PRIV_SWEXC, SWEXC: length of the instruction */
	u8 pad[7];
};

enum hv_exit_code {
	HV_EXIT_NONE, /* nothing for the vmm to do: the backend dealt with it */
	HV_EXIT_INTR, /* a physical interrupt waits; it is taken when the run loop opens its window */
	HV_EXIT_NMI,  /* a physical NMI came; the backend has already let the host handle it */
	HV_EXIT_IRQ_WINDOW, /* request_windows(HV_WIN_IRQ) came true */
	HV_EXIT_NMI_WINDOW,
	HV_EXIT_TPR, /* CR8 fell below tpr_threshold */
	HV_EXIT_CPUID, HV_EXIT_HLT, HV_EXIT_PAUSE, HV_EXIT_PIO, HV_EXIT_RDMSR, HV_EXIT_WRMSR,
	HV_EXIT_CR, /* MOV to/from CR, CLTS, LMSW, SMSW */
	HV_EXIT_DR, /* only with HV_DEBUG_DR */
	HV_EXIT_STEP, /* HV_DEBUG_STEP: the instruction is done. exc.payload: DR6 bits of it, not yet in DR6 */
	HV_EXIT_NPF, /* EPT violation or misconfiguration, nested page fault */
	HV_EXIT_EXCEPTION, HV_EXIT_HYPERCALL,
	HV_EXIT_WBINVD, /* and INVD */
	HV_EXIT_XSETBV,
	HV_EXIT_MONITOR, /* MONITOR, MWAIT: not offered to guests */
	HV_EXIT_RDPMC,
	HV_EXIT_RDTSC,	 /* only if asked for */
	HV_EXIT_INVLPG,	 /* only if asked for */
	HV_EXIT_TASK_SWITCH,
	HV_EXIT_DESC,	/* SGDT and friends: only if asked for */
	HV_EXIT_UD_INSN, /* VMX/SVM instructions, GETSEC, RSM, ENCLS...: the guest gets #UD */
	HV_EXIT_TRIPLE_FAULT, HV_EXIT_INIT, HV_EXIT_SIPI,
	HV_EXIT_ENTRY_FAILED, /* the guest state did not pass the CPU's checks */
	HV_EXIT_UNKNOWN,
	HV_NR_EXITS
};

/* What made the CPU leave the guest. Numbers only, no pointers: it is traced and serialised. */
struct vm_exit {
	u32 code;	/* enum hv_exit_code */
	u32 hw_reason;	/* the vendor's own number, for messages only */
	u8 insn_len;	/* length of the exiting instruction; 0: not known, decode it */
	u8 pad[7];
	u64 hw_info1, hw_info2; /* qualification, EXITINFO1/2: for messages only */
	struct hv_event interrupted; /* delivery that the exit cut short: deliver again */
	union {
		struct {
			u16 port;
			u8 size; /* 1, 2, 4 */
			u8 in, string, rep;
			u8 addr_size; /* string: 2, 4, 8 bytes; 0: not known, decode */
			u8 seg;	      /* string: enum hv_seg of the memory operand; 0xff: not known, decode */
		} pio;
		struct {
			u8 cr;
			u8 write;   /* MOV to CR */
			u8 kind;    /* 0 MOV, 1 CLTS, 2 LMSW, 3 SMSW */
			u8 gpr;	    /* register operand; 0xff: not known, decode */
			u16 lmsw;   /* source of LMSW if known, else decode (gpr == 0xff) */
		} cr;
		struct {
			u8 dr, write, gpr; /* gpr 0xff: decode */
		} dr;
		struct {
			gpa_t gpa;
			u64 gva;
			u8 gva_valid;
			u8 read, write, fetch; /* the access; one is set */
			u8 present;	 /* the nested tables had a present translation */
			u8 during_walk;	 /* the access was to a guest page-table entry */
			u8 misconfig;	 /* EPT misconfiguration, reserved bit */
			u8 nr_bytes;	 /* instruction bytes the CPU supplied (decode assist), else 0 */
			u8 bytes[16];
		} npf;
		struct {
			struct hv_event ev;
			u64 payload; /* #PF: address; #DB: DR6-style bits that are not yet in DR6 */
		} exc;
		struct {
			u16 selector;
			u8 source; /* 0 CALL, 1 IRET, 2 JMP, 3 gate */
			u8 has_error;
			u32 error;
		} task;
		struct {
			u8 vector;
		} sipi;
	};
};

/*
 * What holds events off beside RFLAGS.IF, and what hangs over the next instruction: the part of a
 * vCPU that is no register. SVM does not tell the two shadows apart: there either bit is both.
 */
#define HV_BLOCK_STI   BIT(0) /* shadow of STI */
#define HV_BLOCK_MOVSS BIT(1) /* shadow of MOV SS, POP SS */
#define HV_BLOCK_NMI   BIT(2) /* inside an NMI handler, before its IRET */
#define HV_BLOCK_ALL   (HV_BLOCK_STI | HV_BLOCK_MOVSS | HV_BLOCK_NMI)
struct hv_pending {
	u32 blocking; /* HV_BLOCK_* */
	u32 pad;
	u64 debug; /* VMX: debug traps that wait for a MOV SS shadow's end (SDM vol. 3, 25.4.2) */
};

/*
 * What a debugger outside of the guest wants of a vCPU. It changes while the vCPU is not loaded, and load() puts it
 * into force; only STEP may be taken away, and LOADS_FLAGS change, at any time.
 */
#define HV_DEBUG_BP   BIT(0) /* INT3 exits. Type HV_EV_SWINT with length 0: it, INTO or INT n, decode */
#define HV_DEBUG_DR   BIT(1) /* dr and dr7 are in the CPU in place of the guest's; MOV DR exits */
#define HV_DEBUG_STEP BIT(2) /* HV_EXIT_STEP after one instruction. One that exits, or an event put in: the vmm sees */
#define HV_DEBUG_LOADS_FLAGS BIT(3) /* STEP: the instruction at RIP loads RFLAGS */
struct hv_debug {
	u32 flags, pad;
	u64 dr[4], dr7;
};

#define HV_WIN_IRQ BIT(0)
#define HV_WIN_NMI BIT(1)

/* What the vmm sees of a vCPU's CPU side. Embedded in struct vcpu; plain data but for `priv`. */
struct hv_vcpu {
	/* Valid between exits; the vmm may change them, the backend loads them on entry. */
	u64 gpr[16];	/* gpr[REG_RSP] included */
	u64 rip, rflags;
	u64 cr2;	/* VMX: kept by the entry path; SVM: copied from/to its control block */
	u64 dr[4];	/* DR0..3: live in the CPU while loaded, unless HV_DEBUG_DR */
	u64 dr6;
	u64 xcr0;	/* the guest's XCR0: live in the CPU while loaded */
	u8 tpr;		/* CR8 (0..15), kept in step by the backend on exit and on entry */
	u8 tpr_threshold; /* != 0: exit with HV_EXIT_TPR (or CR8 write) when CR8 falls below it */
	u8 launched;
	u8 spec_exit;	/* spec.c: what the entry stub does after the exit */
	u8 pad[4];
	u64 spec_ctrl;	/* the guest's SPEC_CTRL, through get_reg/set_reg */
	void *xsave;	/* fpu.h */
	void *priv;	/* the backend's own (its page(s), shadow fields) */
	struct pcpu *cpu; /* where loaded; NULL: nowhere */
	struct pcpu *last_cpu;
	hpa_t nested_root;
	u16 id;		/* the VM's, for messages and as the owner of frames */
	/* DR6 bits of a #DB trap that is due before the next instruction: BS by advance(), B0..B3 by
	 * the vmm, for breakpoints on what it does in the guest's stead. The vmm injects it. */
	u16 pending_db;
	u8 dr7_armed; /* after HV_EXIT_PIO and HV_EXIT_NPF: DR7 has a breakpoint enabled */
	u8 own_cpu; /* set before vcpu_create(): it has a pCPU to itself, so its PAUSEs concern nobody */
	u8 pad2[2];
	struct hv_debug debug;
};

/* All that a walk of the guest's page tables and a fetch at RIP depend on. */
struct hv_paging {
	u64 cr0, cr3, cr4, efer;
	u64 code_base; /* of CS; 0 in 64-bit mode */
	u8 mode;       /* operand size of the code segment: 2, 4, 8 bytes (enum insn_mode of lib/insn.h) */
	u8 cpl;
	u8 pad[2];
	u32 context; /* the backend's: what mode, cpl and code_base were made from */
};

struct hv_ops {
	const char *name; /* "svm", "vmx" */
	const char *desc; /* "AMD-V (SVM, NPT)", "Intel VT-x (VMX, EPT)" */

	/* Data, set by probe(): the nested page-table format and what the backend can do. */
	const struct pt_format *nested_format;
	bool nested_1g; /* nested tables may have leaves of 1 GiB */
	bool tsc_scaling; /* set_tsc() takes any ratio */

	/*
	 * Is this CPU one of ours and usable? Boot CPU, once. Returns 0; -ENODEV: not this vendor's or
	 * no extension; -EPERM: locked by firmware; -ENOSYS: a required control is missing. On an
	 * error `why` (size n) holds one line that names the thing and the mend.
	 */
	int (*probe)(char *why, size_t n);
	/* Switch the extension on, on this pCPU, after checking every required control on it. Errors
	 * as probe(). The pCPU stays out of use when this fails. */
	int (*cpu_enable)(struct pcpu *cpu, char *why, size_t n);
	/* Switch it off again (power-off, reset, kexec). Any context, also from panic(). */
	void (*cpu_disable)(void);

	/* Allocate the control block(s); v->nested_root is set. State is that of reset (SDM vol. 3,
	 * table 10-1). Not loaded yet. Returns 0 or -ENOMEM. */
	int (*vcpu_create)(struct hv_vcpu *v);
	void (*vcpu_destroy)(struct hv_vcpu *v); /* not loaded */
	void (*reset)(struct hv_vcpu *v);	 /* loaded; reset state, pending events dropped */

	/* Make v the pCPU's current vCPU / take it off (VMPTRLD, VMCLEAR, the MSRs that are not
	 * switched at each exit, XSAVE state, XCR0, DR0..3, DR6). Between the two, v belongs to this pCPU. */
	void (*load)(struct hv_vcpu *v);
	void (*put)(struct hv_vcpu *v);

	/* Run the guest until it exits. Interrupts off before and after. */
	void (*enter)(struct hv_vcpu *v, struct vm_exit *exit);

	u64 (*get_reg)(struct hv_vcpu *v, enum hv_reg r);
	/* Writes the register as the guest will see it; keeps EFER.LMA, the entry controls and read
	 * shadows consistent. The caller has checked that the architecture allows the value. */
	void (*set_reg)(struct hv_vcpu *v, enum hv_reg r, u64 val);
	/* Would get_paging() give p again, as far as a fetch is concerned (bits like CR0.TS aside)? */
	bool (*same_code)(struct hv_vcpu *v, const struct hv_paging *p);
	void (*get_paging)(struct hv_vcpu *v, struct hv_paging *out); /* in one call: the exit path's */
	void (*get_seg)(struct hv_vcpu *v, enum hv_seg s, struct hv_segment *out);
	void (*set_seg)(struct hv_vcpu *v, enum hv_seg s, const struct hv_segment *in);

	/* Move RIP past an emulated instruction; ends an STI or MOV SS shadow; a single step
	 * (RFLAGS.TF) goes to pending_db. len must not be 0. */
	void (*advance)(struct hv_vcpu *v, unsigned len);

	/* Put an event into the entry. At most one between two entries; windows() said it may. */
	void (*inject)(struct hv_vcpu *v, const struct hv_event *ev);
	/* Which of HV_WIN_IRQ, HV_WIN_NMI could be injected at the next entry: RFLAGS.IF, shadows, NMI
	 * blocking, an event already put in. */
	u32 (*windows)(struct hv_vcpu *v);
	/* Ask for (or with 0, no longer ask for) an exit as soon as these could be injected. */
	void (*request_windows)(struct hv_vcpu *v, u32 windows);

	/* For saving and restoring a vCPU, with no event put in. set_pending() is for one just reset. */
	void (*get_pending)(struct hv_vcpu *v, struct hv_pending *out);
	void (*set_pending)(struct hv_vcpu *v, const struct hv_pending *in);

	/* The nested tables of this VM lost rights since the vCPU last ran on this or any pCPU: flush before entry. */
	void (*flush_nested)(struct hv_vcpu *v);
	/* Let the guest read/write an MSR without exits; the backend refuses those it must keep.
	 * The default is that every access exits. */
	void (*msr_pass)(struct hv_vcpu *v, u32 msr, bool read, bool write);
	/* Guest TSC = TSC * ratio + offset; the ratio is timeconv.h's. Loaded or not. */
	void (*set_tsc)(struct hv_vcpu *v, u64 offset, u64 ratio);
};

/* Number of function pointers in hv_ops: DESIGN's bound is 24. */
static_assert((sizeof(struct hv_ops) - offsetof(struct hv_ops, probe)) / sizeof(void *) <= 24, "hv_ops grew");

extern struct hv_ops svm_ops, vmx_ops;
extern const struct hv_ops *hv; /* the one in use, set once at boot by hv_select() */

/* Choose the backend for this machine. Returns 0 or the errors of probe(), `why` as there. */
int hv_select(char *why, size_t n);

/* The register dump of vm_kill() and of debug output: one call, both vendors, several log lines. */
void hv_dump(struct hv_vcpu *v, const struct vm_exit *exit);
const char *hv_exit_name(u32 code);
