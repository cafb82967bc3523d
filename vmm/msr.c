/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MSRs of a guest: one sorted table, from which docs/cpuid-msr.md is printed. Everything that is
 * not in it raises #GP, reads and writes alike, and so does a reserved bit.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/spec.h"
#include "arch/x86_64/x86.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/fetch.h"
#include "vmm/msr.h"
#include "vmm/vm.h"

#define PAT_TYPES 0xf3 /* UC WC WT WP WB UC-: values 0, 1, 4, 5, 6, 7 (SDM vol. 3, 12.12.2) */

static bool valid_types(u64 val, u32 types)
{
	for (int i = 0; i < 64; i += 8)
		if ((val >> i & 0xff) > 7 || !(types >> (val >> i & 7) & 1))
			return false;
	return true;
}

static bool read_zero(struct vcpu *v, u32 msr, u64 *val)
{
	(void)v;
	(void)msr;
	*val = 0;
	return true;
}

static bool read_tsc(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = vcpu_tsc(v);
	return true;
}

static bool write_tsc(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	vcpu_set_tsc_offset(v, val - vm_scale_tsc(v->vm, rdtsc()));
	lapic_timer_rearm(v); /* a TSC deadline lies elsewhere in time now */
	pv_tsc_changed(v);
	return true;
}

static bool read_lapic(struct vcpu *v, u32 msr, u64 *val)
{
	if (v->pv.eoi_lent)
		pv_eoi_take_back(v);
	return lapic_msr_read(v, msr, val);
}

static bool read_apic_base(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = v->lapic.base_msr;
	return true;
}

static bool write_lapic(struct vcpu *v, u32 msr, u64 val)
{
	if (v->pv.eoi_lent)
		pv_eoi_take_back(v);
	return lapic_msr_write(v, msr, val);
}

static bool read_efer(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = hv->get_reg(&v->hv, REG_EFER);
	return true;
}

static bool write_efer(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	return efer_write(v, val);
}

static bool read_pat(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = hv->get_reg(&v->hv, REG_PAT);
	return true;
}

static bool write_pat(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	if (!valid_types(val, PAT_TYPES))
		return false;
	hv->set_reg(&v->hv, REG_PAT, val);
	return true;
}

static bool read_tsc_aux(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	if (!cpuid_guest_has(v->vm->cpuid, 0x80000001, 'd', 27))
		return false;
	*val = hv->get_reg(&v->hv, REG_TSC_AUX);
	return true;
}

static bool write_tsc_aux(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	if (val >> 32 || !cpuid_guest_has(v->vm->cpuid, 0x80000001, 'd', 27))
		return false;
	hv->set_reg(&v->hv, REG_TSC_AUX, val);
	return true;
}

/* --- MTRRs: eight variable pairs, the fixed ones, WC; they read back (SDM vol. 3, 12.11) --- */

static bool read_mtrrcap(struct vcpu *v, u32 msr, u64 *val)
{
	(void)v;
	(void)msr;
	*val = 8 | BIT(8) | BIT(10);
	return true;
}

static bool write_mtrr_var(struct vcpu *v, u32 msr, u64 val)
{
	u64 phys = BIT(v->vm->cpuid->ext[8].eax & 0xff) - 1, ok = phys & ~0xfffull;

	if (msr & 1)
		ok |= BIT(11);
	else if (!(MTRR_TYPES >> (val & 7) & 1))
		return false;
	else
		ok |= 7;
	if (val & ~ok)
		return false;
	v->msrs.mtrr_var[msr - MSR_MTRR_PHYSBASE(0)] = val;
	return true;
}

static bool read_mtrr_var(struct vcpu *v, u32 msr, u64 *val)
{
	*val = v->msrs.mtrr_var[msr - MSR_MTRR_PHYSBASE(0)];
	return true;
}

static unsigned fixed_index(u32 msr)
{
	if (msr == MSR_MTRR_FIX64K_00000)
		return 0;
	return msr <= MSR_MTRR_FIX16K_A0000 ? msr - MSR_MTRR_FIX16K_80000 + 1
					    : msr - MSR_MTRR_FIX4K_C0000 + 3;
}

static bool write_mtrr_fixed(struct vcpu *v, u32 msr, u64 val)
{
	if (!valid_types(val, MTRR_TYPES))
		return false;
	v->msrs.mtrr_fixed[fixed_index(msr)] = val;
	return true;
}

static bool read_mtrr_fixed(struct vcpu *v, u32 msr, u64 *val)
{
	*val = v->msrs.mtrr_fixed[fixed_index(msr)];
	return true;
}

static bool write_mtrr_def(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	if (val & ~(MTRR_DEF_E | MTRR_DEF_FE | 7ull) || !(MTRR_TYPES >> (val & 7) & 1))
		return false;
	v->msrs.mtrr_def = val;
	return true;
}

static bool read_mtrr_def(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = v->msrs.mtrr_def;
	return true;
}

static bool read_misc_enable(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = v->msrs.misc_enable;
	return v->vm->cpuid->basic[0].ebx == CPUID_GENU;
}

static bool write_misc_enable(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	v->msrs.misc_enable = val;
	return v->vm->cpuid->basic[0].ebx == CPUID_GENU;
}

/* The microcode revision: 0 is written before CPUID 1 is run to read it (SDM vol. 3, 10.11.7.1). */
static bool write_bios_sign(struct vcpu *v, u32 msr, u64 val)
{
	(void)v;
	(void)msr;
	return val == 0;
}

static bool read_bios_sign(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = v->msrs.bios_sign;
	return true;
}

/* No machine-check banks are offered; status reads back. */
static bool read_mcg_status(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = v->msrs.mcg_status;
	return true;
}

static bool write_mcg_status(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	if (!val)
		v->msrs.mcg_status = 0;
	return !val;
}

/* Last-branch and single-step-on-branch tracing are not virtualised: only 0 may be written. */
static bool write_debugctl(struct vcpu *v, u32 msr, u64 val)
{
	(void)v;
	(void)msr;
	return val == 0;
}

static bool is_amd(const struct vcpu *v)
{
	u32 b = v->vm->cpuid->basic[0].ebx;

	return b == CPUID_AUTH || b == CPUID_HYGO;
}

/* SYSCFG, TOP_MEM, DE_CFG and others that kernels for AMD read without asking CPUID. */
static bool read_amd(struct vcpu *v, u32 msr, u64 *val)
{
	*val = msr == MSR_HWCR ? v->msrs.hwcr : 0;
	return is_amd(v);
}

static bool write_amd(struct vcpu *v, u32 msr, u64 val)
{
	if (msr == MSR_HWCR)
		v->msrs.hwcr = val;
	return is_amd(v);
}

static bool read_intel_zero(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = 0;
	return !is_amd(v);
}

/* Locked with VMX off: what firmware does that hides it. */
static bool read_feature_control(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = FEATURE_CONTROL_LOCK;
	return !is_amd(v);
}

/* VM_CR: SVM is disabled and locked, which is what hiding it means (APM vol. 2, 15.30.1). */
static bool read_vm_cr(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = VM_CR_LOCK | VM_CR_SVMDIS;
	return is_amd(v);
}

/* --- speculation: what the guest's CPUID says is there; the switching is in spec.c --- */

static u64 spec_bits(const struct vcpu *v)
{
	return spec_ctrl_bits(v->vm->cpuid->basic[7].edx, v->vm->cpuid->ext[8].ebx);
}

static bool read_spec_ctrl(struct vcpu *v, u32 msr, u64 *val)
{
	(void)msr;
	*val = hv->get_reg(&v->hv, REG_SPEC_CTRL);
	return spec_bits(v);
}

static bool write_spec_ctrl(struct vcpu *v, u32 msr, u64 val)
{
	(void)msr;
	if (!spec_bits(v) || val & ~spec_bits(v))
		return false;
	hv->set_reg(&v->hv, REG_SPEC_CTRL, val);
	return true;
}

static bool has_ibpb(const struct vcpu *v)
{
	return v->vm->cpuid->basic[7].edx & SPEC_7D_IBRS_IBPB ||
	       v->vm->cpuid->ext[8].ebx & SPEC_X8_IBPB;
}

/* Commands: bit 0 does it. They exit only where the backend cannot pass them. */
static bool command(u32 msr, u64 val, bool has)
{
	if (!has || val & ~1ull)
		return false;
	if (val)
		wrmsr(msr, val);
	return true;
}

static bool write_pred_cmd(struct vcpu *v, u32 msr, u64 val)
{
	return command(msr, val, has_ibpb(v));
}

static bool write_flush_cmd(struct vcpu *v, u32 msr, u64 val)
{
	return command(msr, val, cpuid_guest_has(v->vm->cpuid, 7, 'd', 28));
}

static bool read_arch_caps(struct vcpu *v, u32 msr, u64 *val)
{
	if (!cpuid_guest_has(v->vm->cpuid, 7, 'd', 29) || !rdmsr_safe(msr, val))
		return false;
	/* Nobody enters guests of a guest: no L1D flush is owed before that. */
	*val = (*val & ARCH_CAPS_GUEST) | ARCH_CAPS_SKIP_L1DFL;
	return true;
}

#define PASSED(msr, what) {msr, msr, NULL, NULL, MSR_PASSED what}

/* clang-format off: columns */
const struct msr_desc msr_table[] = {
	{MSR_TSC, MSR_TSC, read_tsc, write_tsc, "TIME_STAMP_COUNTER: 0 at the guest's first instruction"},
	{MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, pv_msr_read, pv_msr_write, "as 4b564d00 and 4b564d01"},
	{MSR_PLATFORM_ID, MSR_PLATFORM_ID, read_intel_zero, NULL, "PLATFORM_ID: 0"},
	{MSR_APIC_BASE, MSR_APIC_BASE, read_apic_base, write_lapic, "APIC_BASE: enable, x2APIC mode, address"},
	{MSR_FEATURE_CONTROL, MSR_FEATURE_CONTROL, read_feature_control, NULL, "FEATURE_CONTROL: locked, VMX off"},
	{MSR_SPEC_CTRL, MSR_SPEC_CTRL, read_spec_ctrl, write_spec_ctrl,
	 "SPEC_CTRL: IBRS, STIBP, SSBD, PSFD as CPUID says; switched at entry and exit"},
	{MSR_PRED_CMD, MSR_PRED_CMD, NULL, write_pred_cmd, "PRED_CMD: IBPB, if CPUID has it"},
	{MSR_BIOS_SIGN_ID, MSR_BIOS_SIGN_ID, read_bios_sign, write_bios_sign, "microcode revision: 0; only 0 is written"},
	{MSR_PLATFORM_INFO, MSR_PLATFORM_INFO, read_intel_zero, NULL, "PLATFORM_INFO: 0"},
	{MSR_MTRRCAP, MSR_MTRRCAP, read_mtrrcap, NULL, "MTRRCAP: 8 variable ranges, fixed ranges, WC"},
	{MSR_ARCH_CAPABILITIES, MSR_ARCH_CAPABILITIES, read_arch_caps, NULL,
	 "ARCH_CAPABILITIES: the host's immunities, if CPUID has it"},
	{MSR_FLUSH_CMD, MSR_FLUSH_CMD, NULL, write_flush_cmd, "FLUSH_CMD: L1D flush, if CPUID has it"},
	PASSED(MSR_SYSENTER_CS, "SYSENTER_CS"),
	PASSED(MSR_SYSENTER_ESP, "SYSENTER_ESP"),
	PASSED(MSR_SYSENTER_EIP, "SYSENTER_EIP"),
	{MSR_MCG_CAP, MSR_MCG_CAP, read_zero, NULL, "MCG_CAP: no machine-check banks"},
	{MSR_MCG_STATUS, MSR_MCG_STATUS, read_mcg_status, write_mcg_status, "MCG_STATUS: 0; only 0 is written"},
	{MSR_PERF_STATUS, MSR_PERF_STATUS, read_intel_zero, NULL, "PERF_STATUS: 0"},
	{MSR_MISC_ENABLE, MSR_MISC_ENABLE, read_misc_enable, write_misc_enable, "MISC_ENABLE: fast strings; reads back"},
	{MSR_DEBUGCTL, MSR_DEBUGCTL, read_zero, write_debugctl, "DEBUGCTL: 0; only 0 is written"},
	{MSR_LASTBRANCHFROMIP, MSR_LASTINTTOIP, read_zero, NULL, "last branch and interrupt records: 0"},
	{MSR_MTRR_PHYSBASE(0), MSR_MTRR_PHYSMASK(7), read_mtrr_var, write_mtrr_var,
	 "variable MTRRs: read back; types and address bits are checked"},
	{MSR_MTRR_FIX64K_00000, MSR_MTRR_FIX64K_00000, read_mtrr_fixed, write_mtrr_fixed, "fixed MTRRs: read back, likewise"},
	{MSR_MTRR_FIX16K_80000, MSR_MTRR_FIX16K_A0000, read_mtrr_fixed, write_mtrr_fixed, "fixed MTRRs"},
	{MSR_MTRR_FIX4K_C0000, MSR_MTRR_FIX4K_C0000 + 7, read_mtrr_fixed, write_mtrr_fixed, "fixed MTRRs"},
	{MSR_PAT, MSR_PAT, read_pat, write_pat, "PAT: acts"},
	{MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE, read_mtrr_def, write_mtrr_def, "MTRR_DEF_TYPE: type, FE, E; reads back"},
	{MSR_TSC_DEADLINE, MSR_TSC_DEADLINE, read_lapic, write_lapic, "TSC_DEADLINE"},
	{MSR_X2APIC_BASE, MSR_X2APIC_BASE + 0xff, read_lapic, write_lapic, "x2APIC registers, in x2APIC mode"},
	{MSR_KVM_WALL_CLOCK_NEW, MSR_KVM_SYSTEM_TIME_NEW, pv_msr_read, pv_msr_write, "KVM: WALL_CLOCK_NEW, SYSTEM_TIME_NEW"},
	{MSR_KVM_STEAL_TIME, MSR_KVM_POLL_CONTROL, pv_msr_read, pv_msr_write, "KVM: STEAL_TIME, PV_EOI_EN, POLL_CONTROL"},
	{MSR_EFER, MSR_EFER, read_efer, write_efer, "EFER: SCE, LME, LMA, NXE, FFXSR if CPUID has it"},
	PASSED(MSR_STAR, "STAR"),
	PASSED(MSR_LSTAR, "LSTAR"),
	PASSED(MSR_CSTAR, "CSTAR"),
	PASSED(MSR_SFMASK, "SFMASK"),
	PASSED(MSR_FS_BASE, "FS_BASE"),
	PASSED(MSR_GS_BASE, "GS_BASE"),
	PASSED(MSR_KERNEL_GS_BASE, "KERNEL_GS_BASE"),
	{MSR_TSC_AUX, MSR_TSC_AUX, read_tsc_aux, write_tsc_aux, "TSC_AUX, if CPUID has RDTSCP"},
	{MSR_SYSCFG, MSR_SYSCFG, read_amd, write_amd, "SYSCFG: 0, writes are ignored"},
	{MSR_HWCR, MSR_HWCR, read_amd, write_amd, "HWCR: reads back"},
	{0xc001001a, 0xc001001a, read_amd, NULL, "TOP_MEM: 0"},
	{0xc001001d, 0xc001001d, read_amd, NULL, "TOP_MEM2: 0"},
	{0xc001001f, 0xc001001f, read_amd, write_amd, "NB_CFG: 0, writes are ignored"},
	{0xc0010055, 0xc0010055, read_amd, NULL, "interrupt pending message: 0"},
	{0xc0010112, 0xc0010113, read_amd, NULL, "SMM TSEG: 0"},
	{MSR_VM_CR, MSR_VM_CR, read_vm_cr, NULL, "VM_CR: SVM disabled and locked"},
	{0xc0010140, 0xc0010141, read_amd, NULL, "OSVW: 0"},
	{0xc0011020, 0xc0011020, read_amd, write_amd, "LS_CFG: 0, writes are ignored"},
	{0xc0011022, 0xc0011022, read_amd, write_amd, "DC_CFG: 0, writes are ignored"},
	{0xc0011029, 0xc0011029, read_amd, write_amd, "DE_CFG: 0, writes are ignored"},
};
/* clang-format on */
const u32 msr_table_size = ARRAY_SIZE(msr_table);

/* Registers that the CPU keeps for the guest, and commands without state, need no exits. */
void msrs_pass(struct vcpu *v)
{
	for (u32 i = 0; i < msr_table_size; i++)
		if (msr_table[i].what[0] == MSR_PASSED[0])
			hv->msr_pass(&v->hv, msr_table[i].first, true, true);
	hv->msr_pass(&v->hv, MSR_PRED_CMD, false, has_ibpb(v));
	hv->msr_pass(&v->hv, MSR_FLUSH_CMD, false, cpuid_guest_has(v->vm->cpuid, 7, 'd', 28));
}

static const struct msr_desc *bisect(u32 msr)
{
	u32 lo = 0, hi = msr_table_size;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (msr > msr_table[mid].last)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < msr_table_size && msr >= msr_table[lo].first ? &msr_table[lo] : NULL;
}

static const struct msr_desc *find_slow(struct vcpu *v, u32 msr)
{
	const struct msr_desc *d = bisect(msr);

	if (d)
		v->last_msr = d;
	return d;
}

/* A guest tends to use one MSR, or one APIC, many times in a row. */
static inline __attribute__((always_inline)) const struct msr_desc *find(struct vcpu *v, u32 msr)
{
	const struct msr_desc *d = v->last_msr;

	if (likely(d && msr >= d->first && msr <= d->last))
		return d;
	return find_slow(v, msr);
}

void exit_rdmsr(struct vcpu *v, const struct vm_exit *e)
{
	static const struct insn_id id = {2, {0x0f, 0x32}};
	const struct msr_desc *d = find(v, v->hv.gpr[REG_RCX]);
	unsigned len;
	u64 val;

	if (!d || !d->read) {
		vcpu_raise_gp(v);
		return;
	}
	len = guest_insn_len(v, e, &id);
	if (!len)
		return;
	if (!d->read(v, v->hv.gpr[REG_RCX], &val)) {
		vcpu_raise_gp(v);
		return;
	}
	v->hv.gpr[REG_RAX] = (u32)val;
	v->hv.gpr[REG_RDX] = val >> 32;
	hv->advance(&v->hv, len);
}

void exit_wrmsr(struct vcpu *v, const struct vm_exit *e)
{
	static const struct insn_id id = {2, {0x0f, 0x30}};
	u64 val = (u32)v->hv.gpr[REG_RAX] | v->hv.gpr[REG_RDX] << 32;
	unsigned len = guest_insn_len(v, e, &id);
	u32 msr = v->hv.gpr[REG_RCX];
	const struct msr_desc *d;

	if (!len)
		return;
	/* By far the most frequent one goes without the table. */
	if (msr == MSR_X2APIC_EOI && !val && v->lapic.base_msr & APIC_BASE_X2APIC && !v->pv.eoi_lent) {
		lapic_eoi(v, &v->lapic);
		hv->advance(&v->hv, len);
		return;
	}
	d = find(v, msr);
	if (d && d->write && d->write(v, msr, val))
		hv->advance(&v->hv, len);
	else
		vcpu_raise_gp(v);
}

/* Write-back by default, the PCI hole uncached, VGA uncached: what a PC's firmware sets up. */
void msrs_reset(struct vcpu *v)
{
	struct vcpu_msrs *m = &v->msrs;
	u64 phys = BIT(v->vm->cpuid->ext[8].eax & 0xff) - 1;

	memset(m, 0, sizeof(*m));
	m->mtrr_def = MTRR_DEF_E | MTRR_DEF_FE | PT_WB;
	for (int i = 0; i < 11; i++)
		m->mtrr_fixed[i] = i == 2 ? 0 : 0x0606060606060606ull;
	m->mtrr_var[0] = GUEST_LOW_RAM_MAX | PT_UC;
	m->mtrr_var[1] = (phys & ~(GIB(1) - 1)) | BIT(11);
	m->misc_enable = BIT(0); /* fast strings */
}
