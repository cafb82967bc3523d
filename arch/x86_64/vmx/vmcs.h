/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMX as the Intel SDM vol. 3 numbers it: VMCS field encodings (appendix B), control bits (chapter
 * 25), capability bits (appendix A), basic exit reasons (appendix C). Included in vmx/ only.
 */
#pragma once
#include "lib/types.h"

/* Field encodings, SDM appendix B. Names as in the manual. */
/* clang-format off */
enum vmcs_field {
	/* 16 bits, control */
	VMCS_VPID = 0x0000,
	/* 16 bits, guest: ES CS SS DS FS GS LDTR TR, two apart, in the order of enum hv_seg */
	VMCS_GUEST_ES_SELECTOR = 0x0800,
	/* 16 bits, host */
	VMCS_HOST_ES_SELECTOR = 0x0c00, VMCS_HOST_CS_SELECTOR = 0x0c02,
	VMCS_HOST_SS_SELECTOR = 0x0c04, VMCS_HOST_DS_SELECTOR = 0x0c06,
	VMCS_HOST_FS_SELECTOR = 0x0c08, VMCS_HOST_GS_SELECTOR = 0x0c0a,
	VMCS_HOST_TR_SELECTOR = 0x0c0c,
	/* 64 bits, control */
	VMCS_MSR_BITMAP = 0x2004, VMCS_EXIT_MSR_STORE_ADDR = 0x2006,
	VMCS_EXIT_MSR_LOAD_ADDR = 0x2008, VMCS_ENTRY_MSR_LOAD_ADDR = 0x200a,
	VMCS_TSC_OFFSET = 0x2010, VMCS_VIRTUAL_APIC_ADDR = 0x2012, VMCS_EPTP = 0x201a,
	VMCS_ENCLS_BITMAP = 0x202e, VMCS_TSC_MULTIPLIER = 0x2032, VMCS_ENCLV_BITMAP = 0x2036,
	/* 64 bits, read-only */
	VMCS_GUEST_PHYSICAL_ADDR = 0x2400,
	/* 64 bits, guest */
	VMCS_LINK_POINTER = 0x2800, VMCS_GUEST_DEBUGCTL = 0x2802, VMCS_GUEST_PAT = 0x2804,
	VMCS_GUEST_EFER = 0x2806, VMCS_GUEST_PDPTE0 = 0x280a, /* .. PDPTE3, two apart */
	/* 64 bits, host */
	VMCS_HOST_PAT = 0x2c00, VMCS_HOST_EFER = 0x2c02,
	/* 32 bits, control */
	VMCS_PIN_CTLS = 0x4000, VMCS_PROC_CTLS = 0x4002, VMCS_EXCEPTION_BITMAP = 0x4004,
	VMCS_PF_ERROR_MASK = 0x4006, VMCS_PF_ERROR_MATCH = 0x4008, VMCS_CR3_TARGET_COUNT = 0x400a,
	VMCS_EXIT_CTLS = 0x400c, VMCS_EXIT_MSR_STORE_COUNT = 0x400e,
	VMCS_EXIT_MSR_LOAD_COUNT = 0x4010, VMCS_ENTRY_CTLS = 0x4012,
	VMCS_ENTRY_MSR_LOAD_COUNT = 0x4014, VMCS_ENTRY_INTR_INFO = 0x4016,
	VMCS_ENTRY_ERROR_CODE = 0x4018, VMCS_ENTRY_INSN_LEN = 0x401a, VMCS_TPR_THRESHOLD = 0x401c,
	VMCS_PROC2_CTLS = 0x401e, VMCS_PLE_GAP = 0x4020, VMCS_PLE_WINDOW = 0x4022,
	/* 32 bits, read-only */
	VMCS_INSTRUCTION_ERROR = 0x4400, VMCS_EXIT_REASON = 0x4402, VMCS_EXIT_INTR_INFO = 0x4404,
	VMCS_EXIT_INTR_ERROR = 0x4406, VMCS_IDT_VECTORING_INFO = 0x4408,
	VMCS_IDT_VECTORING_ERROR = 0x440a, VMCS_EXIT_INSN_LEN = 0x440c,
	VMCS_EXIT_INSN_INFO = 0x440e,
	/* 32 bits, guest: limits and rights two apart, in the order of enum hv_seg */
	VMCS_GUEST_ES_LIMIT = 0x4800, VMCS_GUEST_GDTR_LIMIT = 0x4810,
	VMCS_GUEST_IDTR_LIMIT = 0x4812, VMCS_GUEST_ES_ATTR = 0x4814,
	VMCS_GUEST_INTERRUPTIBILITY = 0x4824, VMCS_GUEST_ACTIVITY = 0x4826,
	VMCS_GUEST_SYSENTER_CS = 0x482a,
	/* 32 bits, host */
	VMCS_HOST_SYSENTER_CS = 0x4c00,
	/* natural width, control */
	VMCS_CR0_MASK = 0x6000, VMCS_CR4_MASK = 0x6002, VMCS_CR0_SHADOW = 0x6004,
	VMCS_CR4_SHADOW = 0x6006,
	/* natural width, read-only */
	VMCS_EXIT_QUALIFICATION = 0x6400, VMCS_GUEST_LINEAR_ADDR = 0x640a,
	/* natural width, guest */
	VMCS_GUEST_CR0 = 0x6800, VMCS_GUEST_CR3 = 0x6802, VMCS_GUEST_CR4 = 0x6804,
	VMCS_GUEST_ES_BASE = 0x6806, /* .. TR, two apart */
	VMCS_GUEST_GDTR_BASE = 0x6816, VMCS_GUEST_IDTR_BASE = 0x6818, VMCS_GUEST_DR7 = 0x681a,
	VMCS_GUEST_RSP = 0x681c, VMCS_GUEST_RIP = 0x681e, VMCS_GUEST_RFLAGS = 0x6820,
	VMCS_GUEST_PENDING_DEBUG = 0x6822, VMCS_GUEST_SYSENTER_ESP = 0x6824,
	VMCS_GUEST_SYSENTER_EIP = 0x6826,
	/* natural width, host */
	VMCS_HOST_CR0 = 0x6c00, VMCS_HOST_CR3 = 0x6c02, VMCS_HOST_CR4 = 0x6c04,
	VMCS_HOST_FS_BASE = 0x6c06, VMCS_HOST_GS_BASE = 0x6c08, VMCS_HOST_TR_BASE = 0x6c0a,
	VMCS_HOST_GDTR_BASE = 0x6c0c, VMCS_HOST_IDTR_BASE = 0x6c0e,
	VMCS_HOST_SYSENTER_ESP = 0x6c10, VMCS_HOST_SYSENTER_EIP = 0x6c12,
	VMCS_HOST_RSP = 0x6c14, /* written by vmx_entry.asm, which knows the number */
	VMCS_HOST_RIP = 0x6c16,
};
/* clang-format on */

/* Pin-based controls, SDM 25.6.1 */
#define PIN_EXTINT_EXITING BIT(0)
#define PIN_NMI_EXITING    BIT(3)
#define PIN_VIRTUAL_NMIS   BIT(5)

/* Primary processor-based controls, SDM 25.6.2 */
#define PROC_IRQ_WINDOW      BIT(2)
#define PROC_TSC_OFFSETTING  BIT(3)
#define PROC_HLT_EXITING     BIT(7)
#define PROC_INVLPG_EXITING  BIT(9)
#define PROC_MWAIT_EXITING   BIT(10)
#define PROC_RDPMC_EXITING   BIT(11)
#define PROC_CR3_LOAD        BIT(15)
#define PROC_CR3_STORE       BIT(16)
#define PROC_CR8_LOAD        BIT(19)
#define PROC_CR8_STORE       BIT(20)
#define PROC_TPR_SHADOW      BIT(21)
#define PROC_NMI_WINDOW      BIT(22)
#define PROC_MOV_DR          BIT(23)
#define PROC_UNCOND_IO       BIT(24)
#define PROC_MSR_BITMAPS     BIT(28)
#define PROC_MONITOR_EXITING BIT(29)
#define PROC_SECONDARY       BIT(31)

/* Secondary processor-based controls, SDM 25.6.2 */
#define PROC2_EPT            BIT(1)
#define PROC2_RDTSCP         BIT(3)
#define PROC2_VPID           BIT(5)
#define PROC2_WBINVD_EXITING BIT(6)
#define PROC2_UNRESTRICTED   BIT(7)
#define PROC2_PAUSE_LOOP     BIT(10)
#define PROC2_INVPCID        BIT(12)
#define PROC2_ENCLS_EXITING  BIT(15)
#define PROC2_TSC_SCALING    BIT(25)
#define PROC2_ENCLV_EXITING  BIT(28)

/* VM-exit controls, SDM 25.7.1 */
#define EXIT_SAVE_DEBUG BIT(2)
#define EXIT_HOST_64BIT BIT(9)
#define EXIT_SAVE_PAT   BIT(18)
#define EXIT_LOAD_PAT   BIT(19)
#define EXIT_SAVE_EFER  BIT(20)
#define EXIT_LOAD_EFER  BIT(21)

/* VM-entry controls, SDM 25.8.1 */
#define ENTRY_LOAD_DEBUG BIT(2)
#define ENTRY_IA32E_MODE BIT(9)
#define ENTRY_LOAD_PAT   BIT(14)
#define ENTRY_LOAD_EFER  BIT(15)

/* IA32_VMX_BASIC, SDM A.1 */
#define BASIC_REVISION   0x7fffffffu
#define BASIC_32BIT_ADDR BIT(48)
#define BASIC_INS_OUTS   BIT(54) /* instruction information is valid for INS and OUTS */
#define BASIC_TRUE_CTLS  BIT(55)
#define BASIC_ERROR_CODE BIT(56) /* any exception may be injected with or without error code */
#define BASIC_MEMTYPE(b) (((b) >> 50) & 15)

/* IA32_VMX_EPT_VPID_CAP, SDM A.10 */
#define EPT_CAP_WALK4       BIT(6)
#define EPT_CAP_WB          BIT(14)
#define EPT_CAP_2M          BIT(16)
#define EPT_CAP_1G          BIT(17)
#define EPT_CAP_INVEPT      BIT(20)
#define EPT_CAP_AD          BIT(21)
#define EPT_CAP_INVEPT_ONE  BIT(25)
#define EPT_CAP_INVEPT_ALL  BIT(26)
#define EPT_CAP_INVVPID     BIT(32)
#define EPT_CAP_INVVPID_ONE BIT(41)
#define EPT_CAP_INVVPID_ALL BIT(42)

/* EPTP, SDM 25.6.11 */
#define EPTP_WB    6ul
#define EPTP_WALK4 (3ul << 3)
#define EPTP_AD    BIT(6)

/* INVEPT and INVVPID types, SDM 31.3 */
#define INV_SINGLE 1ul
#define INV_ALL    2ul

/* Interruptibility state, SDM 25.4.2 */
#define INTR_STI   BIT(0)
#define INTR_MOVSS BIT(1)
#define INTR_NMI   BIT(3)

#define DEBUGCTL_LBR BIT(0)

/* Interruption information: entry, exit and IDT-vectoring fields share it, SDM 25.8.3, 25.9.2 */
#define INFO_VECTOR(i)   ((u8)(i))
#define INFO_TYPE(i)     (((i) >> 8) & 7)
#define INFO_TYPE_SHIFT  8
#define INFO_ERROR       BIT(11)
#define INFO_NMI_UNBLOCK BIT(12) /* exit field only: the exit cut an IRET short, SDM 28.2.3 */
#define INFO_VALID       BIT(31)

/* Exit reason field, SDM 25.9.1 */
#define REASON_BASIC(r)     ((r)&0xffffu)
#define REASON_ENTRY_FAILED BIT(31)

/* Qualification of an EPT violation, SDM table 28-7 */
#define EPTQ_READ        BIT(0)
#define EPTQ_WRITE       BIT(1)
#define EPTQ_FETCH       BIT(2)
#define EPTQ_RIGHTS      (7ul << 3) /* what the entries allowed; all clear: not present */
#define EPTQ_GLA_VALID   BIT(7)
#define EPTQ_FINAL       BIT(8) /* the access was to the translation of the linear address */
#define EPTQ_NMI_UNBLOCK BIT(12)

/* Basic exit reasons, SDM appendix C */
/* clang-format off */
enum vmx_reason {
	REASON_EXCEPTION_NMI = 0, REASON_EXTINT = 1, REASON_TRIPLE_FAULT = 2, REASON_INIT = 3,
	REASON_SIPI = 4, REASON_IO_SMI = 5, REASON_OTHER_SMI = 6, REASON_IRQ_WINDOW = 7,
	REASON_NMI_WINDOW = 8, REASON_TASK_SWITCH = 9, REASON_CPUID = 10, REASON_GETSEC = 11,
	REASON_HLT = 12, REASON_INVD = 13, REASON_INVLPG = 14, REASON_RDPMC = 15,
	REASON_RDTSC = 16, REASON_RSM = 17, REASON_VMCALL = 18, REASON_VMCLEAR = 19,
	REASON_VMLAUNCH = 20, REASON_VMPTRLD = 21, REASON_VMPTRST = 22, REASON_VMREAD = 23,
	REASON_VMRESUME = 24, REASON_VMWRITE = 25, REASON_VMXOFF = 26, REASON_VMXON = 27,
	REASON_CR = 28, REASON_MOV_DR = 29, REASON_IO = 30, REASON_RDMSR = 31,
	REASON_WRMSR = 32, REASON_ENTRY_GUEST_STATE = 33, REASON_ENTRY_MSR_LOAD = 34,
	REASON_MWAIT = 36, REASON_MTF = 37, REASON_MONITOR = 39, REASON_PAUSE = 40,
	REASON_ENTRY_MCE = 41, REASON_TPR = 43, REASON_APIC_ACCESS = 44, REASON_VIRTUAL_EOI = 45,
	REASON_GDTR_IDTR = 46, REASON_LDTR_TR = 47, REASON_EPT_VIOLATION = 48,
	REASON_EPT_MISCONFIG = 49, REASON_INVEPT = 50, REASON_RDTSCP = 51,
	REASON_PREEMPTION_TIMER = 52, REASON_INVVPID = 53, REASON_WBINVD = 54, REASON_XSETBV = 55,
	REASON_APIC_WRITE = 56, REASON_RDRAND = 57, REASON_INVPCID = 58, REASON_VMFUNC = 59,
	REASON_ENCLS = 60, REASON_RDSEED = 61, REASON_PML_FULL = 62, REASON_XSAVES = 63,
	REASON_XRSTORS = 64, REASON_PCONFIG = 65, REASON_SPP = 66, REASON_UMWAIT = 67,
	REASON_TPAUSE = 68, REASON_LOADIWKEY = 69, REASON_ENCLV = 70, REASON_ENQCMD_PASID = 72,
	REASON_ENQCMDS_PASID = 73, REASON_BUS_LOCK = 74, REASON_NOTIFY = 75, REASON_SEAMCALL = 76,
	REASON_TDCALL = 77, REASON_NR
};
/* clang-format on */
