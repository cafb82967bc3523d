/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The names that the processor manuals give to bits, MSRs and vectors. Constants only, so assembly
 * rooms and unit tests may use it too. SDM = Intel SDM vol. 3 and 4, APM = AMD APM vol. 2.
 */
#pragma once
#include "lib/types.h"

/* Our GDT (gdt.c). The TSS descriptor takes two slots. Null, code, data, TSS; nothing of ring 3. */
#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define KERNEL_TSS 0x18
#define GDT_ENTRIES 5
#define GDT_LIMIT (GDT_ENTRIES * 8 - 1)
#define IDT_LIMIT (256 * 16 - 1)
#define TSS_LIMIT 0x67 /* no I/O bitmap: VMX restores TR with exactly this limit (SDM 28.5.2) */

/* EBX of CPUID leaf 0 by vendor: "Genu", "Auth", "Hygo" */
#define CPUID_GENU 0x756e6547u
#define CPUID_AUTH 0x68747541u
#define CPUID_HYGO 0x6f677948u

/* CR0 (SDM 2.5) */
#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)

/* CR3 */
#define CR3_NOFLUSH BIT(63)

/* CR4 */
#define CR4_VME BIT(0)
#define CR4_PVI BIT(1)
#define CR4_TSD BIT(2)
#define CR4_DE BIT(3)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_MCE BIT(6)
#define CR4_PGE BIT(7)
#define CR4_PCE BIT(8)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_UMIP BIT(11)
#define CR4_LA57 BIT(12)
#define CR4_VMXE BIT(13)
#define CR4_FSGSBASE BIT(16)
#define CR4_PCIDE BIT(17)
#define CR4_OSXSAVE BIT(18)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define CR4_PKE BIT(22)

/* EFER */
#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)
#define EFER_SVME BIT(12)
#define EFER_FFXSR BIT(14)
#define EFER_AUTOIBRS BIT(21)

/* RFLAGS */
#define RFLAGS_CF BIT(0)
#define RFLAGS_FIXED BIT(1) /* always 1 */
#define RFLAGS_ZF BIT(6)
#define RFLAGS_TF BIT(8)
#define RFLAGS_IF BIT(9)
#define RFLAGS_NT BIT(14)
#define RFLAGS_RF BIT(16)
#define RFLAGS_VM BIT(17)
#define RFLAGS_AC BIT(18)

/* DR6, DR7 (SDM 17.2): reset values, and the bits that read as 1 */
#define DR6_B0_B3 0xful
#define DR6_BS BIT(14)
#define DR6_BT BIT(15)
#define DR6_RTM BIT(16) /* 1 outside transactional regions */
#define DR6_FIXED 0xffff0ff0ul
#define DR7_FIXED 0x400ul
#define DR7_LE BIT(8)
#define DR7_GD BIT(13)
#define DR7_ENABLES 0xfful

/* XCR0 (SDM vol. 1, 13.3) */
#define XCR0_X87 BIT(0)
#define XCR0_SSE BIT(1)
#define XCR0_AVX BIT(2)
#define XCR0_OPMASK BIT(5)
#define XCR0_ZMM_HI256 BIT(6)
#define XCR0_HI16_ZMM BIT(7)
#define XCR0_AVX512 (XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)

/* Exception vectors (SDM table 6-1) */
enum x86_vector {
	EXC_DE = 0, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF,
	EXC_TS = 10, EXC_NP, EXC_SS, EXC_GP, EXC_PF,
	EXC_MF = 16, EXC_AC, EXC_MC, EXC_XM, EXC_VE, EXC_CP,
	EXC_HV = 28, EXC_VC, EXC_SX
};
/* Those that push an error code: DF, TS, NP, SS, GP, PF, AC, CP, VC, SX. */
#define EXC_HAS_ERROR_MASK                                                                         \
	(BIT(EXC_DF) | BIT(EXC_TS) | BIT(EXC_NP) | BIT(EXC_SS) | BIT(EXC_GP) | BIT(EXC_PF) |       \
	 BIT(EXC_AC) | BIT(EXC_CP) | BIT(EXC_VC) | BIT(EXC_SX))

/* Page-fault error code (SDM 4.7) */
#define PFERR_P BIT(0)
#define PFERR_W BIT(1)
#define PFERR_U BIT(2)
#define PFERR_RSVD BIT(3)
#define PFERR_I BIT(4)
/* Nested page fault, EXITINFO1 (APM 15.25.6) */
#define PFERR_GUEST_WALK BIT(33)

/* MSRs */
#define MSR_TSC 0x10
#define MSR_PLATFORM_ID 0x17
#define MSR_APIC_BASE 0x1b
#define MSR_FEATURE_CONTROL 0x3a
#define MSR_SPEC_CTRL 0x48
#define MSR_PRED_CMD 0x49
#define MSR_BIOS_SIGN_ID 0x8b
#define MSR_PLATFORM_INFO 0xce
#define MSR_MPERF 0xe7
#define MSR_APERF 0xe8
#define MSR_MTRRCAP 0xfe
#define MSR_ARCH_CAPABILITIES 0x10a
#define MSR_FLUSH_CMD 0x10b
#define MSR_SYSENTER_CS 0x174
#define MSR_SYSENTER_ESP 0x175
#define MSR_SYSENTER_EIP 0x176
#define MSR_MCG_CAP 0x179
#define MSR_MCG_STATUS 0x17a
#define MSR_MCG_CTL 0x17b
#define MSR_PERF_STATUS 0x198
#define MSR_MISC_ENABLE 0x1a0
#define MSR_DEBUGCTL 0x1d9
#define MSR_LASTBRANCHFROMIP 0x1db
#define MSR_LASTINTTOIP 0x1de
#define MSR_MTRR_PHYSBASE(n) (0x200 + 2 * (n))
#define MSR_MTRR_PHYSMASK(n) (0x201 + 2 * (n))
#define MSR_MTRR_FIX64K_00000 0x250
#define MSR_MTRR_FIX16K_80000 0x258
#define MSR_MTRR_FIX16K_A0000 0x259
#define MSR_MTRR_FIX4K_C0000 0x268 /* .. 0x26f */
#define MSR_PAT 0x277
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_TYPES 0x73 /* UC WC WT WP WB: 0, 1, 4, 5, 6 */
#define MTRR_DEF_FE BIT(10)
#define MTRR_DEF_E BIT(11)
#define MSR_MC0_CTL 0x400
#define MSR_VMX_BASIC 0x480
#define MSR_VMX_PINBASED_CTLS 0x481
#define MSR_VMX_PROCBASED_CTLS 0x482
#define MSR_VMX_EXIT_CTLS 0x483
#define MSR_VMX_ENTRY_CTLS 0x484
#define MSR_VMX_MISC 0x485
#define MSR_VMX_CR0_FIXED0 0x486
#define MSR_VMX_CR0_FIXED1 0x487
#define MSR_VMX_CR4_FIXED0 0x488
#define MSR_VMX_CR4_FIXED1 0x489
#define MSR_VMX_PROCBASED_CTLS2 0x48b
#define MSR_VMX_EPT_VPID_CAP 0x48c
#define MSR_VMX_TRUE_PINBASED_CTLS 0x48d
#define MSR_VMX_TRUE_PROCBASED_CTLS 0x48e
#define MSR_VMX_TRUE_EXIT_CTLS 0x48f
#define MSR_VMX_TRUE_ENTRY_CTLS 0x490
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_BASE 0x800
#define MSR_X2APIC(reg) (MSR_X2APIC_BASE + ((reg) >> 4)) /* reg: offset in the xAPIC page */
#define MSR_EFER 0xc0000080
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_CSTAR 0xc0000083
#define MSR_SFMASK 0xc0000084
#define MSR_FS_BASE 0xc0000100
#define MSR_GS_BASE 0xc0000101
#define MSR_KERNEL_GS_BASE 0xc0000102
#define MSR_TSC_AUX 0xc0000103
#define MSR_SYSCFG 0xc0010010
#define MSR_HWCR 0xc0010015
#define MSR_VM_CR 0xc0010114
#define MSR_VM_HSAVE_PA 0xc0010117

/* IA32_APIC_BASE */
#define APIC_BASE_BSP BIT(8)
#define APIC_BASE_X2APIC BIT(10)
#define APIC_BASE_ENABLE BIT(11)
#define APIC_BASE_ADDR_MASK 0x000ffffffffff000ul
/* IA32_FEATURE_CONTROL */
#define FEATURE_CONTROL_LOCK BIT(0)
#define FEATURE_CONTROL_VMX BIT(2)
/* VM_CR (APM 15.30.1) */
#define VM_CR_LOCK BIT(3)
#define VM_CR_SVMDIS BIT(4)
/* SPEC_CTRL, PRED_CMD */
#define SPEC_CTRL_IBRS BIT(0)
#define SPEC_CTRL_STIBP BIT(1)
#define SPEC_CTRL_SSBD BIT(2)
#define SPEC_CTRL_PSFD BIT(7)
#define PRED_CMD_IBPB BIT(0)

/* PAT at reset, and ours: WB WT UC- UC in 0..3 as at reset; entry 4 write-combining (window.h's
 * io_map_wc), 5 WP, 6 and 7 as 2 and 3. Both nested and host tables use it (pt_format.c). */
#define PAT_RESET 0x0007040600070406ul
#define PAT_HOST 0x0007050100070406ul
