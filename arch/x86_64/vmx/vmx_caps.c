/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which VMX controls this machine has (SDM vol. 3, appendix A). The words are chosen once, on the
 * boot CPU; every pCPU is then checked against them, so that a vCPU can move to any of them.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/vmx/vmx.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"

struct vmx_caps vmx_caps;

enum ctl_need {
	CTL_ON,   /* must be settable */
	CTL_MAY,  /* set where there is one */
	CTL_OFF,  /* must be clearable */
	CTL_LATER /* must be settable, but starts clear: vCPUs switch it */
};

struct ctl_bit {
	u32 bit;
	u8 need; /* enum ctl_need */
	const char *name;
};

static const struct ctl_bit pin_bits[] = {
	{PIN_EXTINT_EXITING, CTL_ON, "external-interrupt exiting"},
	{PIN_NMI_EXITING, CTL_ON, "NMI exiting"},
	{PIN_VIRTUAL_NMIS, CTL_ON, "virtual NMIs"},
	{}};

static const struct ctl_bit proc_bits[] = {
	{PROC_IRQ_WINDOW, CTL_LATER, "interrupt-window exiting"},
	{PROC_NMI_WINDOW, CTL_LATER, "NMI-window exiting"},
	{PROC_MOV_DR, CTL_LATER, "MOV-DR exiting"},
	{PROC_TSC_OFFSETTING, CTL_ON, "use TSC offsetting"},
	{PROC_HLT_EXITING, CTL_ON, "HLT exiting"},
	{PROC_MWAIT_EXITING, CTL_ON, "MWAIT exiting"},
	{PROC_MONITOR_EXITING, CTL_ON, "MONITOR exiting"},
	{PROC_RDPMC_EXITING, CTL_ON, "RDPMC exiting"},
	{PROC_UNCOND_IO, CTL_ON, "unconditional I/O exiting"},
	{PROC_MSR_BITMAPS, CTL_ON, "use MSR bitmaps"},
	{PROC_SECONDARY, CTL_ON, "activate secondary controls"},
	{PROC_TPR_SHADOW, CTL_MAY, "use TPR shadow"},
	/* Of the class that the first VMX processors had always on (A.3.2). With EPT the guest's
	 * CR3 and TLB are its own business. */
	{PROC_INVLPG_EXITING, CTL_OFF, "INVLPG exiting"},
	{PROC_CR3_LOAD, CTL_OFF, "CR3-load exiting"},
	{PROC_CR3_STORE, CTL_OFF, "CR3-store exiting"},
	{}};

static const struct ctl_bit proc2_bits[] = {{PROC2_EPT, CTL_ON, "enable EPT"},
					    {PROC2_UNRESTRICTED, CTL_ON, "unrestricted guest"},
					    {PROC2_VPID, CTL_ON, "enable VPID"},
					    {PROC2_RDTSCP, CTL_MAY, "enable RDTSCP"},
					    {PROC2_PAUSE_LOOP, CTL_MAY, "PAUSE-loop exiting"},
					    {PROC2_INVPCID, CTL_MAY, "enable INVPCID"},
					    {PROC2_WBINVD_EXITING, CTL_MAY, "WBINVD exiting"},
					    {PROC2_ENCLS_EXITING, CTL_MAY, "ENCLS exiting"},
					    {PROC2_TSC_SCALING, CTL_MAY, "use TSC scaling"},
					    {PROC2_ENCLV_EXITING, CTL_MAY, "ENCLV exiting"},
					    {}};

static const struct ctl_bit exit_bits[] = {{EXIT_SAVE_DEBUG, CTL_ON, "save debug controls on exit"},
					   {EXIT_HOST_64BIT, CTL_ON, "host address-space size"},
					   {EXIT_SAVE_PAT, CTL_ON, "save IA32_PAT on exit"},
					   {EXIT_LOAD_PAT, CTL_ON, "load IA32_PAT on exit"},
					   {EXIT_SAVE_EFER, CTL_ON, "save IA32_EFER on exit"},
					   {EXIT_LOAD_EFER, CTL_ON, "load IA32_EFER on exit"},
					   {}};

static const struct ctl_bit entry_bits[] = {
	{ENTRY_LOAD_DEBUG, CTL_ON, "load debug controls on entry"},
	{ENTRY_IA32E_MODE, CTL_LATER, "IA-32e mode guest"},
	{ENTRY_LOAD_PAT, CTL_ON, "load IA32_PAT on entry"},
	{ENTRY_LOAD_EFER, CTL_ON, "load IA32_EFER on entry"},
	{}};

struct ctl_word {
	const char *name;
	u32 msr, true_msr; /* true_msr 0: there is no TRUE variant */
	const struct ctl_bit *bits;
	u32 *chosen;
};

static const struct ctl_word words[] = {
	{"pin-based", MSR_VMX_PINBASED_CTLS, MSR_VMX_TRUE_PINBASED_CTLS, pin_bits, &vmx_caps.pin},
	{"primary", MSR_VMX_PROCBASED_CTLS, MSR_VMX_TRUE_PROCBASED_CTLS, proc_bits, &vmx_caps.proc},
	/* After the primary word: the MSR exists only with "activate secondary controls" (A.3.3).
	 */
	{"secondary", MSR_VMX_PROCBASED_CTLS2, 0, proc2_bits, &vmx_caps.proc2},
	{"VM-exit", MSR_VMX_EXIT_CTLS, MSR_VMX_TRUE_EXIT_CTLS, exit_bits, &vmx_caps.exit},
	{"VM-entry", MSR_VMX_ENTRY_CTLS, MSR_VMX_TRUE_ENTRY_CTLS, entry_bits, &vmx_caps.entry},
};

/* Low half: bits that must be 1; high half: bits that may be 1 (A.3.1). */
static u64 word_msr(const struct ctl_word *w, u64 basic)
{
	return rdmsr(w->true_msr && (basic & BASIC_TRUE_CTLS) ? w->true_msr : w->msr);
}

static int missing(char *why, size_t n, const char *word, const char *name, const char *verb)
{
	snprintf(why, n,
		 "this CPU's VMX cannot %s the %s control \"%s\"; use a CPU with EPT and "
		 "unrestricted guest (Westmere or later)",
		 verb, word, name);
	return -ENOSYS;
}

static int choose_word(const struct ctl_word *w, u64 basic, char *why, size_t n)
{
	u64 msr = word_msr(w, basic);
	u32 must = (u32)msr, may = (u32)(msr >> 32), chosen = must;

	for (const struct ctl_bit *b = w->bits; b->name; b++) {
		if ((b->need == CTL_ON || b->need == CTL_LATER) && !(may & b->bit))
			return missing(why, n, w->name, b->name, "set");
		if (b->need != CTL_ON && b->need != CTL_MAY && (must & b->bit))
			return missing(why, n, w->name, b->name, "clear");
		if (b->need == CTL_ON || b->need == CTL_MAY)
			chosen |= b->bit & may;
	}
	*w->chosen = chosen;
	return 0;
}

static const char *bit_name(const struct ctl_word *w, u32 bit)
{
	for (const struct ctl_bit *b = w->bits; b->name; b++)
		if (b->bit & bit)
			return b->name;
	return "a bit that Dalang does not name";
}

/* The word chosen on the boot CPU on this one; the bits that vCPUs switch count both ways. */
static int check_word(const struct ctl_word *w, u64 basic, char *why, size_t n)
{
	u64 msr = word_msr(w, basic);
	u32 later = 0, wrong_0, wrong_1;

	for (const struct ctl_bit *b = w->bits; b->name; b++)
		later |= b->need == CTL_LATER ? b->bit : 0;
	wrong_0 = (u32)msr & (~*w->chosen | later);
	wrong_1 = ~(u32)(msr >> 32) & (*w->chosen | later);
	if (!wrong_0 && !wrong_1)
		return 0;
	snprintf(
		why, n,
		"VMX %s controls differ from the boot CPU's: \"%s\" cannot be %s here (MSR 0x%x = 0x%lx);"
		" update the firmware or its microcode",
		w->name, bit_name(w, wrong_0 | wrong_1), wrong_1 ? "set" : "cleared", w->msr, msr);
	return -ENOSYS;
}

static const struct {
	u64 bit;
	const char *name;
} ept_needs[] = {
	{EPT_CAP_WALK4, "EPT page-walk length 4"},
	{EPT_CAP_WB, "EPT memory type write-back"},
	{EPT_CAP_2M, "EPT 2 MiB pages"},
	{EPT_CAP_INVEPT, "INVEPT"},
	{EPT_CAP_INVEPT_ONE, "INVEPT single-context"},
	{EPT_CAP_INVEPT_ALL, "INVEPT all-context"},
	{EPT_CAP_INVVPID, "INVVPID"},
	{EPT_CAP_INVVPID_ONE, "INVVPID single-context"},
	{EPT_CAP_INVVPID_ALL, "INVVPID all-context"},
};

static int check_ept(u64 cap, char *why, size_t n)
{
	for (size_t i = 0; i < ARRAY_SIZE(ept_needs); i++)
		if (!(cap & ept_needs[i].bit)) {
			snprintf(
				why, n,
				"this CPU's VMX lacks %s (IA32_VMX_EPT_VPID_CAP = 0x%lx); Dalang needs a "
				"CPU that has it",
				ept_needs[i].name, cap);
			return -ENOSYS;
		}
	return 0;
}

/* CR0 and CR4 must hold the values that VMX operation fixes (SDM A.7, A.8). */
static int check_fixed(char *why, size_t n)
{
	/* What VMXON finds: vmx_cpu.c sets these two before it. */
	u64 cr0 = read_cr0() | CR0_NE, cr4 = read_cr4() | CR4_VMXE;
	u64 cr0_0 = rdmsr(MSR_VMX_CR0_FIXED0), cr0_1 = rdmsr(MSR_VMX_CR0_FIXED1);
	u64 cr4_0 = rdmsr(MSR_VMX_CR4_FIXED0), cr4_1 = rdmsr(MSR_VMX_CR4_FIXED1);

	if ((cr0_0 & ~cr0) | (cr0 & ~cr0_1)) {
		snprintf(why, n,
			 "VMX operation wants CR0 bits 0x%lx set and 0x%lx clear, CR0 is 0x%lx",
			 cr0_0 & ~cr0, cr0 & ~cr0_1, cr0);
		return -ENOSYS;
	}
	if ((cr4_0 & ~cr4) | (cr4 & ~cr4_1)) {
		snprintf(why, n,
			 "VMX operation wants CR4 bits 0x%lx set and 0x%lx clear, CR4 is 0x%lx",
			 cr4_0 & ~cr4, cr4 & ~cr4_1, cr4);
		return -ENOSYS;
	}
	return 0;
}

int vmx_feature_control_check(char *why, size_t n)
{
	u64 fc = rdmsr(MSR_FEATURE_CONTROL);

	/* Unlocked is no obstacle: cpu_enable() sets and locks it (SDM 24.7). */
	if (!(fc & FEATURE_CONTROL_LOCK) || (fc & FEATURE_CONTROL_VMX))
		return 0;
	snprintf(
		why, n,
		"VT-x is switched off and locked by the firmware (IA32_FEATURE_CONTROL = 0x%lx); enable "
		"\"Intel Virtualization Technology\" (VMX, VT-x) in the firmware's setup",
		fc);
	return -EPERM;
}

int vmx_caps_init(char *why, size_t n)
{
	u64 basic = rdmsr(MSR_VMX_BASIC);
	int r;

	if ((basic & BASIC_32BIT_ADDR) || BASIC_MEMTYPE(basic) != 6) {
		snprintf(
			why, n,
			"this CPU wants its VMCS below 4 GiB or not cached (IA32_VMX_BASIC = 0x%lx); "
			"Dalang needs a 64-bit VMX with write-back VMCS",
			basic);
		return -ENOSYS;
	}
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		r = choose_word(&words[i], basic, why, n);
		if (r)
			return r;
	}
	if (!(vmx_caps.proc & PROC_TPR_SHADOW))
		vmx_caps.proc |= PROC_CR8_LOAD | PROC_CR8_STORE;
	/* Only now is it known that this MSR exists (A.10). */
	vmx_caps.ept_vpid = rdmsr(MSR_VMX_EPT_VPID_CAP);
	vmx_ops.nested_1g = vmx_caps.ept_vpid & EPT_CAP_1G;
	vmx_caps.basic = basic;
	vmx_caps.rdtscp = vmx_caps.proc2 & PROC2_RDTSCP;
	vmx_ops.tsc_scaling = vmx_caps.proc2 & PROC2_TSC_SCALING;
	r = check_ept(vmx_caps.ept_vpid, why, n);
	return r ? r : check_fixed(why, n);
}

int vmx_caps_check(char *why, size_t n)
{
	u64 basic = rdmsr(MSR_VMX_BASIC), ept_vpid;
	int r;

	if (basic != vmx_caps.basic) {
		snprintf(
			why, n,
			"IA32_VMX_BASIC is 0x%lx here and 0x%lx on the boot CPU; all CPUs must be of one "
			"kind: update the firmware or its microcode",
			basic, vmx_caps.basic);
		return -ENOSYS;
	}
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		r = check_word(&words[i], basic, why, n);
		if (r)
			return r;
	}
	ept_vpid = rdmsr(MSR_VMX_EPT_VPID_CAP);
	if (vmx_caps.ept_vpid & ~ept_vpid) {
		snprintf(
			why, n,
			"IA32_VMX_EPT_VPID_CAP is 0x%lx here and 0x%lx on the boot CPU; all CPUs must be "
			"of one kind: update the firmware or its microcode",
			ept_vpid, vmx_caps.ept_vpid);
		return -ENOSYS;
	}
	return check_fixed(why, n);
}
