/* SPDX-License-Identifier: BSD-2-Clause */
/* Control registers, EFER, XCR0 and what CPUID makes of them: legal and illegal writes. */
#include "cputest64.h"

static void bit_toggles(const char *name, int cr, u64 bits)
{
	u64 old = read_cr(cr), now;
	bool ok;

	if (cr == 0)
		TRY("mov %[a], %%cr0", [a] "r"(old ^ bits));
	else
		TRY("mov %[a], %%cr4", [a] "r"(old ^ bits));
	now = read_cr(cr);
	ok = !got.n && now == (old ^ bits);
	if (cr == 0)
		TRY("mov %[a], %%cr0", [a] "r"(old));
	else
		TRY("mov %[a], %%cr4", [a] "r"(old));
	check2(name, ok && !got.n && read_cr(cr) == old, old, now);
}

static void cr0_bits(void)
{
	u64 old = read_cr(0), v;
	u32 sw;

	bit_toggles("cr0-mp", 0, 2);
	bit_toggles("cr0-em", 0, 4);
	bit_toggles("cr0-ts", 0, 8);
	bit_toggles("cr0-ne", 0, 0x20);
	bit_toggles("cr0-wp", 0, 1 << 16);
	bit_toggles("cr0-am", 0, 1 << 18);
	bit_toggles("cr0-cd", 0, 1u << 30);
	bit_toggles("cr0-cd-nw", 0, 3u << 29);
	TRY("mov %[a], %%cr0", [a] "r"((old & ~(1ull << 30)) | 1u << 29));
	fault("cr0-nw-gp", 13, 0);
	TRY("mov %[a], %%cr0", [a] "r"(old & ~1ull));
	fault("cr0-pg-without-pe-gp", 13, 0);
	TRY("mov %[a], %%cr0", [a] "r"(old & ~(1ull << 31)));
	fault("cr0-pg-off-gp", 13, 0);
	TRY("mov %[a], %%cr0", [a] "r"(old | 1ull << 32));
	fault("cr0-high-gp", 13, 0);
	__asm__ volatile("lmsw %w0" ::"r"(0xe)); /* MP EM TS, and PE that cannot be cleared */
	__asm__ volatile("smsw %0" : "=r"(sw));
	v = read_cr(0);
	check2("lmsw-smsw", (v & 0xf) == 0xf && (sw & 0xffff) == (v & 0xffff), v, sw);
	__asm__ volatile("clts");
	check2("clts", read_cr(0) == (v & ~8ull), read_cr(0), v);
	__asm__ volatile("mov %0, %%cr0" ::"r"(old));
}

static void cr4_bits(void)
{
	static const struct {
		const char *name;
		u8 bit, leaf;
		char reg;
		u8 feature;
	} b[] = {
		{"cr4-vme", 0, 1, 'd', 1}, {"cr4-pvi", 1, 1, 'd', 1}, {"cr4-tsd", 2, 1, 'd', 4},
		{"cr4-de", 3, 1, 'd', 2}, {"cr4-pse", 4, 1, 'd', 3}, {"cr4-mce", 6, 1, 'd', 7},
		{"cr4-pge", 7, 1, 'd', 13}, {"cr4-pce", 8, 1, 'd', 0}, {"cr4-osfxsr", 9, 1, 'd', 24},
		{"cr4-osxmmexcpt", 10, 1, 'd', 25}, {"cr4-umip", 11, 7, 'c', 2}, {"cr4-vmxe", 13, 1, 'c', 5},
		{"cr4-smxe", 14, 1, 'c', 6}, {"cr4-fsgsbase", 16, 7, 'b', 0}, {"cr4-pcide", 17, 1, 'c', 17},
		{"cr4-osxsave", 18, 1, 'c', 26}, {"cr4-smep", 20, 7, 'b', 7}, {"cr4-smap", 21, 7, 'b', 20},
		{"cr4-pke", 22, 7, 'c', 3}, {"cr4-bit15", 15, 1, '-', 0}, {"cr4-bit31", 31, 1, '-', 0},
	};
	u64 old = read_cr(4);

	/* SMEP and SMAP forbid what user pages map; all that runs here is the supervisor's. */
	for (unsigned i = 0; i < sizeof(b) / sizeof(b[0]); i++) {
		u32 r[4] = {0, 0, 0, 0};

		if (b[i].reg != '-')
			cpuid(b[i].leaf, r);
		if (b[i].reg != '-' && r[b[i].reg - 'a'] >> b[i].feature & 1) {
			bit_toggles(b[i].name, 4, 1ull << b[i].bit);
			continue;
		}
		TRY("mov %[a], %%cr4", [a] "r"(old | 1ull << b[i].bit));
		fault(b[i].name, 13, 0);
	}
	TRY("mov %[a], %%cr4", [a] "r"(old | 1ull << 40));
	fault("cr4-high-gp", 13, 0);
	TRY("mov %[a], %%cr4", [a] "r"(old & ~0x20ull));
	fault("cr4-pae-off-gp", 13, 0);
	TRY("mov %[a], %%cr4", [a] "r"(old | 1 << 12));
	fault("cr4-la57-on-gp", 13, 0);
}

#define WRITE_REG(insn, number, v)                                                                  \
	TRY("mov %[n], %%ecx; mov %k[a], %%eax; mov %[a], %%rdx; shr $32, %%rdx; " insn, [n] "r"(number), \
	    [a] "r"((u64)(v)))
#define WRMSR(msr, v) WRITE_REG("wrmsr", msr, v)

static void efer_bits(void)
{
	u64 old = rdmsr(0xc0000080);

	WRMSR(0xc0000080, old ^ 1);
	no_fault("efer-sce", rdmsr(0xc0000080) == (old ^ 1));
	WRMSR(0xc0000080, old ^ 0x800);
	no_fault("efer-nxe", rdmsr(0xc0000080) == (old ^ 0x800));
	WRMSR(0xc0000080, old);
	no_fault("efer-restored", rdmsr(0xc0000080) == old);
	WRMSR(0xc0000080, old & ~0x100ull);
	fault("efer-lme-off-gp", 13, 0);
	WRMSR(0xc0000080, old | 2);
	fault("efer-reserved-gp", 13, 0);
	WRMSR(0xc0000080, old | 1ull << 40);
	fault("efer-high-gp", 13, 0);
}

#define XSETBV(index, v) WRITE_REG("xsetbv", index, v)

static void xcr0(void)
{
	u32 r[4], size1, size3, mask;

	cpuid(1, r);
	if (!(r[2] >> 26 & 1)) {
		skip("xcr0", "no XSAVE");
		return;
	}
	check("osxsave-0", !(r[2] >> 27 & 1));
	XSETBV(0, 1);
	fault("xsetbv-ud", 6, 0);
	__asm__ volatile("mov %0, %%cr4" ::"r"(read_cr(4) | 1 << 18));
	cpuid(1, r);
	check("osxsave-1", r[2] >> 27 & 1);
	cpuid(0xd, r);
	mask = r[0];
	XSETBV(0, 1);
	cpuid(0xd, r);
	size1 = r[1];
	no_fault("xsetbv-x87", r[2] >= size1);
	XSETBV(0, 3);
	cpuid(0xd, r);
	size3 = r[1];
	no_fault("xsetbv-sse", size3 == 576 && size1 == 576);
	if (mask & 4) {
		XSETBV(0, 7);
		cpuid(0xd, r);
		no_fault("cpuid-d-follows-xcr0", r[1] > size3 && r[1] <= r[2]);
		XSETBV(0, 5);
		fault("xsetbv-avx-without-sse-gp", 13, 0);
	}
	XSETBV(0, 0);
	fault("xsetbv-0-gp", 13, 0);
	XSETBV(0, 2);
	fault("xsetbv-no-x87-gp", 13, 0);
	XSETBV(0, 3 | 1ull << 62);
	fault("xsetbv-reserved-gp", 13, 0);
	XSETBV(1, 1);
	fault("xsetbv-index-gp", 13, 0);
	USER(xsetbv, 2, 13, 0);
	XSETBV(0, 1);
	__asm__ volatile("mov %0, %%cr4" ::"r"(read_cr(4) & ~(1ull << 18)));
}

static void cpuid_apic(void)
{
	u64 old = rdmsr(0x1b);
	u32 r[4];
	bool on, off;

	cpuid(1, r);
	on = r[3] >> 9 & 1;
	wrmsr(0x1b, old & ~0x800ull);
	cpuid(1, r);
	off = !(r[3] >> 9 & 1);
	wrmsr(0x1b, old);
	cpuid(1, r);
	check2("cpuid-apic-follows-base", on && off && (r[3] >> 9 & 1), on, off);
}

void registers(void)
{
	u32 r[4];

	cr0_bits();
	cr4_bits();
	efer_bits();
	xcr0();
	cpuid(7, r);
	if (!(r[2] >> 16 & 1))
		skip("la57", "the CPU has no 5-level paging");
	cpuid_apic();
}
