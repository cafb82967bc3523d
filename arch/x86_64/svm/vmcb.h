/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual machine control block, its intercepts and exit codes: AMD APM vol. 2, appendices B
 * and C. Nothing outside svm/ includes this.
 */
#pragma once
#include "lib/types.h"

/* Layout of a segment register in the state-save area. attr is bits 55:52 and 47:40 of a
 * descriptor, packed to 12 bits. */
struct vmcb_seg {
	u16 selector, attr;
	u32 limit;
	u64 base;
};
static_assert(sizeof(struct vmcb_seg) == 16, "APM table B-2");

struct vmcb_control {
	u16 intercept_cr_read, intercept_cr_write; /* bit n: CRn */
	u16 intercept_dr_read, intercept_dr_write;
	u32 intercept_exc; /* bit n: vector n */
	u32 intercept[3];  /* INTERCEPT(): bits of words 3, 4, 5 */
	u8 reserved0[0x3c - 0x18];
	u16 pause_threshold, pause_count;
	hpa_t iopm_pa, msrpm_pa;
	u64 tsc_offset;
	u32 asid;
	u8 tlb_control; /* enum vmcb_tlb */
	u8 reserved1[3];
	/* 060h, one quadword in the manual: V_TPR 7:0, V_IRQ 8, ... */
	u8 v_tpr;
	u8 v_irq;  /* bit 0 is V_IRQ (8) */
	u8 v_prio; /* V_INTR_PRIO 19:16, V_IGN_TPR 20 */
	u8 v_ctl;  /* V_INTR_MASKING 24 */
	u8 v_vector;
	u8 reserved2[3];
	u64 int_shadow; /* bit 0: in the shadow of STI or MOV SS */
	/* Exit codes fit 32 bits. TCG 7.2 writes VMEXIT_INVALID (-1) as 32 bits only, so the upper
	 * half must not take part in comparisons. */
	u32 exit_code, exit_code_high;
	u64 exit_info1, exit_info2;
	u32 exit_int_info, exit_int_error;
	u64 nested_ctl; /* bit 0: NP_ENABLE */
	u64 avic_apic_bar, ghcb_pa;
	u32 event_inj, event_inj_error;
	hpa_t n_cr3;
	u64 lbr_ctl;
	u32 clean; /* CLEAN_* */
	u32 reserved3;
	u64 next_rip;
	u8 nr_insn_bytes;
	u8 insn_bytes[15];
	u8 reserved4[0x400 - 0xe0];
};

struct vmcb_save {
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	u8 reserved0[0xcb - 0xa0];
	u8 cpl;
	u8 reserved1[4];
	u64 efer;
	u8 reserved2[0x148 - 0xd8];
	u64 cr4, cr3, cr0, dr7, dr6, rflags, rip;
	u8 reserved3[0x1d8 - 0x180];
	u64 rsp;
	u8 reserved4[0x1f8 - 0x1e0];
	u64 rax;
	u64 star, lstar, cstar, sfmask, kernel_gs_base;
	u64 sysenter_cs, sysenter_esp, sysenter_eip;
	u64 cr2;
	u8 reserved5[0x268 - 0x248];
	u64 g_pat, dbgctl;
	u8 reserved6[0x2e0 - 0x278];
	u64 spec_ctrl; /* with SVM_CAP_SPEC_CTRL */
	u8 reserved7[0xc00 - 0x2e8];
};

struct vmcb {
	struct vmcb_control c;
	struct vmcb_save s;
};

#define VMCB_AT(member, offset) static_assert(offsetof(struct vmcb, member) == (offset), #member)
VMCB_AT(c.intercept_exc, 0x008);
VMCB_AT(c.intercept, 0x00c);
VMCB_AT(c.pause_threshold, 0x03c);
VMCB_AT(c.iopm_pa, 0x040);
VMCB_AT(c.msrpm_pa, 0x048);
VMCB_AT(c.tsc_offset, 0x050);
VMCB_AT(c.asid, 0x058);
VMCB_AT(c.tlb_control, 0x05c);
VMCB_AT(c.v_tpr, 0x060);
VMCB_AT(c.v_vector, 0x064);
VMCB_AT(c.int_shadow, 0x068);
VMCB_AT(c.exit_code, 0x070);
VMCB_AT(c.exit_info1, 0x078);
VMCB_AT(c.exit_info2, 0x080);
VMCB_AT(c.exit_int_info, 0x088);
VMCB_AT(c.nested_ctl, 0x090);
VMCB_AT(c.ghcb_pa, 0x0a0);
VMCB_AT(c.event_inj, 0x0a8);
VMCB_AT(c.n_cr3, 0x0b0);
VMCB_AT(c.lbr_ctl, 0x0b8);
VMCB_AT(c.clean, 0x0c0);
VMCB_AT(c.next_rip, 0x0c8);
VMCB_AT(c.nr_insn_bytes, 0x0d0);
VMCB_AT(c.insn_bytes, 0x0d1);
VMCB_AT(s.es, 0x400);
VMCB_AT(s.gdtr, 0x460);
VMCB_AT(s.ldtr, 0x470);
VMCB_AT(s.idtr, 0x480);
VMCB_AT(s.tr, 0x490);
VMCB_AT(s.cpl, 0x4cb);
VMCB_AT(s.efer, 0x4d0);
VMCB_AT(s.cr4, 0x548);
VMCB_AT(s.cr3, 0x550);
VMCB_AT(s.cr0, 0x558);
VMCB_AT(s.dr7, 0x560);
VMCB_AT(s.dr6, 0x568);
VMCB_AT(s.rflags, 0x570);
VMCB_AT(s.rip, 0x578);
VMCB_AT(s.rsp, 0x5d8);
VMCB_AT(s.rax, 0x5f8);
VMCB_AT(s.star, 0x600);
VMCB_AT(s.kernel_gs_base, 0x620);
VMCB_AT(s.sysenter_cs, 0x628);
VMCB_AT(s.cr2, 0x640);
VMCB_AT(s.g_pat, 0x668);
VMCB_AT(s.dbgctl, 0x670);
VMCB_AT(s.spec_ctrl, 0x6e0);
static_assert(sizeof(struct vmcb) == 4096, "a VMCB is one page");

/* Exit codes. Those from 60h to A6h are also intercept bits: see INTERCEPT(). */
/* clang-format off */
enum vmcb_exit {
	VMEXIT_CR_READ = 0x00, /* + number */
	VMEXIT_CR_WRITE = 0x10, VMEXIT_DR_READ = 0x20, VMEXIT_DR_WRITE = 0x30,
	VMEXIT_EXC = 0x40, /* + vector */
	VMEXIT_INTR = 0x60, VMEXIT_NMI, VMEXIT_SMI, VMEXIT_INIT, VMEXIT_VINTR,
	VMEXIT_CR0_SEL_WRITE, VMEXIT_IDTR_READ, VMEXIT_GDTR_READ, VMEXIT_LDTR_READ,
	VMEXIT_TR_READ, VMEXIT_IDTR_WRITE, VMEXIT_GDTR_WRITE, VMEXIT_LDTR_WRITE,
	VMEXIT_TR_WRITE, VMEXIT_RDTSC, VMEXIT_RDPMC, VMEXIT_PUSHF, VMEXIT_POPF, VMEXIT_CPUID,
	VMEXIT_RSM, VMEXIT_IRET, VMEXIT_SWINT, VMEXIT_INVD, VMEXIT_PAUSE, VMEXIT_HLT,
	VMEXIT_INVLPG, VMEXIT_INVLPGA, VMEXIT_IOIO, VMEXIT_MSR, VMEXIT_TASK_SWITCH,
	VMEXIT_FERR_FREEZE, VMEXIT_SHUTDOWN,
	VMEXIT_VMRUN = 0x80, VMEXIT_VMMCALL, VMEXIT_VMLOAD, VMEXIT_VMSAVE, VMEXIT_STGI,
	VMEXIT_CLGI, VMEXIT_SKINIT, VMEXIT_RDTSCP, VMEXIT_ICEBP, VMEXIT_WBINVD,
	VMEXIT_MONITOR, VMEXIT_MWAIT, VMEXIT_MWAIT_ARMED, VMEXIT_XSETBV, VMEXIT_RDPRU,
	VMEXIT_EFER_WRITE_TRAP,
	VMEXIT_CR_WRITE_TRAP = 0x90, /* + number */
	VMEXIT_INVLPGB = 0xa0, VMEXIT_INVLPGB_ILLEGAL, VMEXIT_INVPCID, VMEXIT_MCOMMIT,
	VMEXIT_TLBSYNC, VMEXIT_BUSLOCK, VMEXIT_IDLE_HLT,
	VMEXIT_DENSE_END, /* codes from here on are sparse */
	VMEXIT_NPF = 0x400, VMEXIT_INVALID = 0xffffffff,
};
/* clang-format on */
static_assert(VMEXIT_SHUTDOWN == 0x7f && VMEXIT_EFER_WRITE_TRAP == 0x8f, "APM table C-1");
static_assert(VMEXIT_IOIO == 0x7b && VMEXIT_IDLE_HLT == 0xa6, "APM table C-1");

/* The intercept vector's word (of intercept[]) and bit for an exit code from 60h on. */
#define INTERCEPT_WORD(code) (((code)-0x60) / 32)
#define INTERCEPT_BIT(code)  (1u << (((code)-0x60) % 32))

enum vmcb_tlb {
	TLB_KEEP = 0,
	TLB_FLUSH_ALL = 1,
	TLB_FLUSH_ASID = 3, /* only with flush-by-ASID (CPUID 8000_000A EDX[6]) */
};

#define V_IRQ_PENDING	   BIT(0) /* in v_irq */
#define V_PRIO_MAX_IGN_TPR 0x1f	  /* in v_prio: highest priority, ignore V_TPR */
#define V_INTR_MASKING	   BIT(0) /* in v_ctl */
#define INT_SHADOW	   BIT(0)
#define NESTED_NP_ENABLE   BIT(0)

/* VMCB clean bits (APM 15.15.3): set = unchanged since the last VMRUN of this VMCB on this CPU. */
#define CLEAN_I	   BIT(0) /* intercepts, TSC offset, pause filter */
#define CLEAN_IOPM BIT(1) /* base addresses of both permission maps */
#define CLEAN_ASID BIT(2)
#define CLEAN_TPR  BIT(3) /* V_TPR, V_IRQ and their neighbours */
#define CLEAN_NP   BIT(4) /* N_CR3, G_PAT, NP_ENABLE */
#define CLEAN_CR   BIT(5) /* CR0, CR3, CR4, EFER */
#define CLEAN_DR   BIT(6) /* DR6, DR7 */
#define CLEAN_DT   BIT(7) /* GDT, IDT */
#define CLEAN_SEG  BIT(8) /* CS, DS, SS, ES, CPL */
#define CLEAN_CR2  BIT(9)
#define CLEAN_LBR  BIT(10)
#define CLEAN_ALL  0x7ffu

/* EVENTINJ and EXITINTINFO (APM 15.20, 15.7.2). */
#define EVENT_VECTOR(e)	  ((e)&0xff)
#define EVENT_INTR	  (0u << 8)
#define EVENT_NMI	  (2u << 8)
#define EVENT_EXC	  (3u << 8)
#define EVENT_SWINT	  (4u << 8)
#define EVENT_ERROR_VALID (1u << 11)
#define EVENT_VALID	  (1u << 31)

/* EXITINFO1 of IOIO (APM 15.10.2) */
#define IOIO_IN		BIT(0)
#define IOIO_STRING	BIT(2)
#define IOIO_REP	BIT(3)
#define IOIO_SIZE(i)	(((i) >> 4) & 7) /* one of bits: 1, 2, 4 bytes */
#define IOIO_ADDR(i)	(((i) >> 7) & 7) /* one of bits: 16, 32, 64 bits */
#define IOIO_SEGMENT(i) (((i) >> 10) & 7)
#define IOIO_PORT(i)	((i) >> 16 & 0xffff)
/* EXITINFO1 of MOV CR and MOV DR with decode assists (APM 15.33.1) */
#define CRDR_IS_MOV BIT(63)
#define CRDR_GPR(i) ((i)&15)

/* CPUID 8000_000A EDX: what the extension can do */
#define SVM_CAP_NP	   BIT(0)
#define SVM_CAP_NRIPS	   BIT(3)
#define SVM_CAP_TSC_RATE   BIT(4)
#define SVM_CAP_CLEAN	   BIT(5)
#define SVM_CAP_FLUSH_ASID BIT(6)
#define SVM_CAP_DECODE	   BIT(7)
#define SVM_CAP_PAUSE	   (BIT(10) | BIT(12)) /* pause filter, and its threshold */
#define SVM_CAP_SPEC_CTRL  BIT(20) /* the CPU switches SPEC_CTRL itself */

#define MSR_TSC_RATIO 0xc0000104 /* 15.30.5, in timeconv.h's format */

/* Permission maps (APM 15.10.1, 15.11): one bit a port and one byte more; two bits an MSR. */
#define IOPM_SIZE  (3 * PAGE_SIZE)
#define MSRPM_SIZE (2 * PAGE_SIZE)
