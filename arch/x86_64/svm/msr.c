/* SPDX-License-Identifier: BSD-2-Clause */
/* The MSR permission map: APM vol. 2, 15.11. */
#include "arch/x86_64/svm/svm.h"
#include "lib/string.h"

/*
 * MSRs that hold the guest's own value whenever it runs: those of VMLOAD and VMSAVE, and TSC_AUX
 * (load and put). No others may be passed: EFER would show SVME, PAT is left to the exit
 * because not every implementation loads G_PAT, the rest is the host's.
 */
/* clang-format off */
static const struct {
	u32 msr;
	bool write;
} passable[] = {
	{MSR_TSC, false}, /* reads have TSC_OFFSET added, writes would move the host's */
	{MSR_SYSENTER_CS, true}, {MSR_SYSENTER_ESP, true}, {MSR_SYSENTER_EIP, true},
	{MSR_STAR, true}, {MSR_LSTAR, true}, {MSR_CSTAR, true}, {MSR_SFMASK, true},
	{MSR_FS_BASE, true}, {MSR_GS_BASE, true}, {MSR_KERNEL_GS_BASE, true}, {MSR_TSC_AUX, true},
	/* Commands without state; the CPU refuses bits that it does not have. */
	{MSR_PRED_CMD, true}, {MSR_FLUSH_CMD, true},
	{MSR_MPERF, false}, {MSR_APERF, false},
};
/* clang-format on */

/* Bit of the read right in the map, the write right is the next; -1: the MSR always exits. */
static int msrpm_bit(u32 msr)
{
	static const u32 bases[] = {0, 0xc0000000, 0xc0010000};

	for (unsigned i = 0; i < ARRAY_SIZE(bases); i++)
		if (msr - bases[i] < 0x2000)
			return (int)(i * 0x800 * 8 + (msr - bases[i]) * 2);
	return -1;
}

void svm_msrpm_init(u8 *msrpm)
{
	memset(msrpm, 0xff, MSRPM_SIZE);
}

void svm_msr_pass(struct hv_vcpu *v, u32 msr, bool read, bool write)
{
	struct svm_vcpu *s = svm_of(v);
	int bit = msrpm_bit(msr);
	unsigned stop = 3; /* bit 0: reads exit; bit 1: writes */

	if (bit < 0)
		return;
	for (unsigned i = 0; i < ARRAY_SIZE(passable); i++) {
		if (passable[i].msr != msr)
			continue;
		if (read)
			stop &= ~1u;
		if (write && passable[i].write)
			stop &= ~2u;
	}
	if (msr == MSR_TSC_AUX && !svm_has_tsc_aux)
		return;
	s->msrpm[bit / 8] &= (u8) ~(3u << bit % 8);
	s->msrpm[bit / 8] |= (u8)(stop << bit % 8);
	svm_dirty(s, CLEAN_IOPM);
}
