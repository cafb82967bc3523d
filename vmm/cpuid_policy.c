/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest's CPUID says, bit by bit: this table is the policy, and docs/cpuid-msr.md is
 * printed from it. A bit that is not here reads as zero, as does a leaf that is not here, so a new
 * CPU's new features stay hidden until somebody has looked at them.
 */
#include "vmm/cpuid_policy.h"
#include "lib/types.h"

#define PASS CPUID_PASS
#define MADE CPUID_MADE
#define LIVE CPUID_LIVE
#define HIDE CPUID_HIDE
#define SSE  CPUID_XSAVE
#define AVX  CPUID_AVX
#define A512 CPUID_AVX512

/* clang-format off: columns */
const struct cpuid_bits cpuid_policy[] = {
	{0x0, 'a', 0, 31, LIVE, "highest leaf: 0Dh"}, {0x0, 'b', 0, 31, PASS, "vendor"},
	{0x0, 'c', 0, 31, PASS, "vendor"}, {0x0, 'd', 0, 31, PASS, "vendor"},

	{0x1, 'a', 0, 31, PASS, "family, model, stepping"}, {0x1, 'b', 0, 7, HIDE, "brand index"},
	{0x1, 'b', 8, 15, PASS, "CLFLUSH line"}, {0x1, 'b', 16, 23, LIVE, "number of vCPUs"},
	{0x1, 'b', 24, 31, LIVE, "APIC id"},
	{0x1, 'c', 0, 0, PASS, "SSE3"}, {0x1, 'c', 1, 1, PASS, "PCLMULQDQ"}, {0x1, 'c', 2, 2, HIDE, "DTES64"},
	{0x1, 'c', 3, 3, HIDE, "MONITOR"}, {0x1, 'c', 4, 4, HIDE, "DS-CPL"}, {0x1, 'c', 5, 5, HIDE, "VMX"},
	{0x1, 'c', 6, 6, HIDE, "SMX"}, {0x1, 'c', 7, 7, HIDE, "EIST"}, {0x1, 'c', 8, 8, HIDE, "TM2"},
	{0x1, 'c', 9, 9, PASS, "SSSE3"}, {0x1, 'c', 10, 10, HIDE, "CNXT-ID"}, {0x1, 'c', 12, 12, AVX, "FMA"},
	{0x1, 'c', 13, 13, PASS, "CMPXCHG16B"}, {0x1, 'c', 14, 14, HIDE, "xTPR"}, {0x1, 'c', 15, 15, HIDE, "PDCM"},
	{0x1, 'c', 17, 17, PASS, "PCID"}, {0x1, 'c', 18, 18, HIDE, "DCA"}, {0x1, 'c', 19, 19, PASS, "SSE4.1"},
	{0x1, 'c', 20, 20, PASS, "SSE4.2"}, {0x1, 'c', 21, 21, MADE, "x2APIC"}, {0x1, 'c', 22, 22, PASS, "MOVBE"},
	{0x1, 'c', 23, 23, PASS, "POPCNT"}, {0x1, 'c', 24, 24, MADE, "TSC-deadline"}, {0x1, 'c', 25, 25, PASS, "AES"},
	{0x1, 'c', 26, 26, SSE, "XSAVE"}, {0x1, 'c', 27, 27, LIVE, "OSXSAVE"}, {0x1, 'c', 28, 28, AVX, "AVX"},
	{0x1, 'c', 29, 29, AVX, "F16C"}, {0x1, 'c', 30, 30, PASS, "RDRAND"}, {0x1, 'c', 31, 31, MADE, "hypervisor"},
	{0x1, 'd', 0, 8, PASS, "FPU VME DE PSE TSC MSR PAE MCE CX8"}, {0x1, 'd', 9, 9, MADE, "APIC, while IA32_APIC_BASE enables it"},
	{0x1, 'd', 11, 17, PASS, "SEP MTRR PGE MCA CMOV PAT PSE36"}, {0x1, 'd', 18, 18, HIDE, "PSN"},
	{0x1, 'd', 19, 19, PASS, "CLFSH"}, {0x1, 'd', 21, 21, HIDE, "DS"}, {0x1, 'd', 22, 22, HIDE, "ACPI"},
	{0x1, 'd', 23, 27, PASS, "MMX FXSR SSE SSE2 SS"}, {0x1, 'd', 28, 28, LIVE, "HTT: more than one vCPU"},
	{0x1, 'd', 29, 29, HIDE, "TM"}, {0x1, 'd', 31, 31, HIDE, "PBE"},

	{0x2, 'a', 0, 31, PASS, "caches, TLBs"}, {0x2, 'b', 0, 31, PASS, "caches, TLBs"},
	{0x2, 'c', 0, 31, PASS, "caches, TLBs"}, {0x2, 'd', 0, 31, PASS, "caches, TLBs"},
	{0x4, 'a', 0, 31, LIVE, "caches, the third level shared by all cores, the others by none; number of cores (all registers, by subleaf)"},
	{0x6, 'a', 2, 2, MADE, "ARAT: the APIC timer never stops"},

	{0x7, 'b', 0, 0, PASS, "FSGSBASE"}, {0x7, 'b', 1, 1, HIDE, "TSC_ADJUST"}, {0x7, 'b', 2, 2, HIDE, "SGX"},
	{0x7, 'b', 3, 3, PASS, "BMI1"}, {0x7, 'b', 4, 4, HIDE, "HLE"}, {0x7, 'b', 5, 5, AVX, "AVX2"},
	{0x7, 'b', 7, 7, PASS, "SMEP"}, {0x7, 'b', 8, 8, PASS, "BMI2"}, {0x7, 'b', 9, 9, PASS, "ERMS"},
	{0x7, 'b', 10, 10, PASS, "INVPCID"}, {0x7, 'b', 11, 11, HIDE, "RTM"}, {0x7, 'b', 12, 12, HIDE, "PQM"},
	{0x7, 'b', 14, 14, HIDE, "MPX"}, {0x7, 'b', 15, 15, HIDE, "PQE"}, {0x7, 'b', 16, 17, A512, "AVX512F, DQ"},
	{0x7, 'b', 18, 18, PASS, "RDSEED"}, {0x7, 'b', 19, 19, PASS, "ADX"}, {0x7, 'b', 20, 20, PASS, "SMAP"},
	{0x7, 'b', 21, 21, A512, "AVX512_IFMA"}, {0x7, 'b', 23, 23, PASS, "CLFLUSHOPT"},
	{0x7, 'b', 24, 24, PASS, "CLWB"}, {0x7, 'b', 25, 25, HIDE, "PT"}, {0x7, 'b', 26, 28, A512, "AVX512PF, ER, CD"},
	{0x7, 'b', 29, 29, PASS, "SHA"}, {0x7, 'b', 30, 31, A512, "AVX512BW, VL"},
	{0x7, 'c', 1, 1, A512, "AVX512_VBMI"}, {0x7, 'c', 2, 2, PASS, "UMIP"}, {0x7, 'c', 3, 3, HIDE, "PKU"},
	{0x7, 'c', 5, 5, HIDE, "WAITPKG"}, {0x7, 'c', 6, 6, A512, "AVX512_VBMI2"}, {0x7, 'c', 7, 7, HIDE, "CET_SS"},
	{0x7, 'c', 8, 8, PASS, "GFNI"}, {0x7, 'c', 9, 10, AVX, "VAES, VPCLMULQDQ"},
	{0x7, 'c', 11, 12, A512, "AVX512_VNNI, BITALG"}, {0x7, 'c', 14, 14, A512, "AVX512_VPOPCNTDQ"},
	{0x7, 'c', 16, 16, PASS, "LA57"}, {0x7, 'c', 22, 22, PASS, "RDPID"}, {0x7, 'c', 31, 31, HIDE, "PKS"},
	{0x7, 'd', 2, 3, A512, "AVX512_4VNNIW, 4FMAPS"}, {0x7, 'd', 4, 4, PASS, "FSRM"},
	{0x7, 'd', 10, 10, PASS, "MD_CLEAR"}, {0x7, 'd', 15, 15, HIDE, "hybrid"}, {0x7, 'd', 20, 20, HIDE, "CET_IBT"},
	{0x7, 'd', 22, 25, HIDE, "AMX, AVX512_FP16"}, {0x7, 'd', 26, 26, PASS, "IBRS, IBPB"},
	{0x7, 'd', 27, 27, PASS, "STIBP"}, {0x7, 'd', 28, 28, PASS, "L1D_FLUSH"},
	{0x7, 'd', 29, 29, PASS, "ARCH_CAPABILITIES"}, {0x7, 'd', 30, 30, HIDE, "CORE_CAPABILITIES"},
	{0x7, 'd', 31, 31, PASS, "SSBD"},

	{0xa, 'a', 0, 31, HIDE, "performance counters"},
	{0xb, 'a', 0, 31, LIVE, "topology: one thread a core, a core a vCPU (all registers, by subleaf)"},
	{0xd, 'a', 0, 31, LIVE, "XSAVE areas of what XCR0 may hold (all registers, by subleaf)"},

	{0x40000000, 'a', 0, 31, LIVE, "highest hypervisor leaf: 40000010h"},
	{0x40000000, 'b', 0, 31, LIVE, "DalangDalang in EBX, ECX, EDX"},
	{0x40000001, 'a', 0, 31, LIVE, "0: no interface of our own"},
	{0x40000010, 'a', 0, 31, LIVE, "kHz of the TSC"}, {0x40000010, 'b', 0, 31, LIVE, "kHz of the APIC's timer"},
	{0x40000100, 'a', 0, 31, LIVE, "highest leaf of KVM's interface: 40000101h"},
	{0x40000100, 'b', 0, 31, LIVE, "KVMKVMKVM in EBX, ECX, EDX"},
	{0x40000101, 'a', 0, 1, MADE, "CLOCKSOURCE, NOP_IO_DELAY"}, {0x40000101, 'a', 3, 3, MADE, "CLOCKSOURCE2"},
	{0x40000101, 'a', 4, 4, HIDE, "ASYNC_PF"}, {0x40000101, 'a', 5, 7, MADE, "STEAL_TIME, PV_EOI, PV_UNHALT"},
	{0x40000101, 'a', 9, 9, MADE, "PV_TLB_FLUSH"}, {0x40000101, 'a', 10, 10, HIDE, "ASYNC_PF_VMEXIT"},
	{0x40000101, 'a', 11, 13, MADE, "PV_SEND_IPI, POLL_CONTROL, PV_SCHED_YIELD"},
	{0x40000101, 'a', 14, 17, HIDE, "ASYNC_PF_INT, MSI_EXT_DEST_ID, HC_MAP_GPA_RANGE, MIGRATION_CONTROL"},
	{0x40000101, 'a', 24, 24, LIVE, "CLOCKSOURCE_STABLE, if the CPUs' TSCs are in step"},
	{0x40000101, 'd', 0, 0, HIDE, "REALTIME"},

	{0x80000000, 'a', 0, 31, LIVE, "highest leaf: the host's, at most 80000021h"},
	{0x80000000, 'b', 0, 31, PASS, "vendor"}, {0x80000000, 'c', 0, 31, PASS, "vendor"},
	{0x80000000, 'd', 0, 31, PASS, "vendor"},
	{0x80000001, 'a', 0, 31, PASS, "family, model, stepping"},
	{0x80000001, 'c', 0, 0, PASS, "LAHF in 64-bit mode"}, {0x80000001, 'c', 1, 1, LIVE, "CMP_LEGACY: AMD, more than one vCPU"},
	{0x80000001, 'c', 2, 2, HIDE, "SVM"}, {0x80000001, 'c', 3, 3, HIDE, "extended APIC space"},
	{0x80000001, 'c', 4, 8, PASS, "CR8_LEGACY LZCNT SSE4A MISALIGNSSE PREFETCHW"},
	{0x80000001, 'c', 9, 10, HIDE, "OSVW, IBS"}, {0x80000001, 'c', 11, 11, AVX, "XOP"},
	{0x80000001, 'c', 12, 15, HIDE, "SKINIT, WDT, LWP"}, {0x80000001, 'c', 16, 16, AVX, "FMA4"},
	{0x80000001, 'c', 21, 21, PASS, "TBM"}, {0x80000001, 'c', 22, 22, LIVE, "topology extensions: AMD, the host's"},
	{0x80000001, 'c', 23, 29, HIDE, "performance counters, breakpoint extensions, MONITORX"},
	{0x80000001, 'd', 0, 8, PASS, "as leaf 1 EDX"}, {0x80000001, 'd', 9, 9, PASS, "APIC, likewise"},
	{0x80000001, 'd', 11, 17, PASS, "SYSCALL, as leaf 1 EDX"}, {0x80000001, 'd', 20, 20, PASS, "NX"},
	{0x80000001, 'd', 22, 25, PASS, "MMXEXT MMX FXSR FFXSR"}, {0x80000001, 'd', 26, 26, PASS, "1 GiB pages"},
	{0x80000001, 'd', 27, 27, PASS, "RDTSCP"}, {0x80000001, 'd', 29, 29, PASS, "long mode"},
#define NAME(leaf) {leaf, 'a', 0, 31, PASS, "brand"}, {leaf, 'b', 0, 31, PASS, "brand"}, \
	{leaf, 'c', 0, 31, PASS, "brand"}, {leaf, 'd', 0, 31, PASS, "brand"}
	NAME(0x80000002), NAME(0x80000003), NAME(0x80000004),
#define CACHES(leaf) {leaf, 'a', 0, 31, PASS, "caches, TLBs"}, {leaf, 'b', 0, 31, PASS, "caches, TLBs"}, \
	{leaf, 'c', 0, 31, PASS, "caches, TLBs"}, {leaf, 'd', 0, 31, PASS, "caches, TLBs"}
	CACHES(0x80000005), CACHES(0x80000006),
	{0x80000007, 'd', 8, 8, PASS, "invariant TSC"},
	{0x80000008, 'a', 0, 7, LIVE, "physical address bits: the host's, at most 48"},
	{0x80000008, 'a', 8, 15, LIVE, "linear address bits: 48"},
	{0x80000008, 'b', 0, 0, PASS, "CLZERO"}, {0x80000008, 'b', 2, 2, PASS, "XSAVEERPTR"},
	{0x80000008, 'b', 4, 4, HIDE, "RDPRU"}, {0x80000008, 'b', 9, 9, PASS, "WBNOINVD"},
	{0x80000008, 'b', 12, 12, PASS, "IBPB"}, {0x80000008, 'b', 14, 14, PASS, "IBRS"},
	{0x80000008, 'b', 15, 15, PASS, "STIBP"}, {0x80000008, 'b', 16, 19, PASS, "how IBRS, STIBP are best used"},
	{0x80000008, 'b', 24, 24, PASS, "SSBD"}, {0x80000008, 'b', 25, 25, HIDE, "VIRT_SPEC_CTRL"},
	{0x80000008, 'b', 26, 26, PASS, "SSB_NO"}, {0x80000008, 'b', 28, 28, PASS, "PSFD"},
	{0x80000008, 'b', 29, 30, PASS, "BTC_NO, IBPB_RET"}, {0x80000008, 'c', 0, 7, LIVE, "AMD: number of cores less 1"},
	{0x80000008, 'c', 12, 15, LIVE, "AMD: bits of an APIC id that number cores"},
	{0x8000000a, 'a', 0, 31, HIDE, "SVM"},
	{0x8000001d, 'a', 0, 31, LIVE, "AMD: caches, as leaf 4 (all registers, by subleaf)"},
	{0x8000001e, 'a', 0, 31, LIVE, "AMD: APIC id; EBX: core; ECX: one node"},
	{0x80000021, 'a', 2, 2, PASS, "LFENCE serialises"}, {0x80000021, 'a', 6, 6, PASS, "null selector clears base"},
	{0x80000021, 'a', 8, 8, HIDE, "Automatic IBRS"},
};
/* clang-format on */
const u32 cpuid_policy_size = ARRAY_SIZE(cpuid_policy);
