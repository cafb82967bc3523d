/* SPDX-License-Identifier: BSD-2-Clause */
/* Is SVM there, and switching it on and off on a pCPU. APM vol. 2, 15.4, 15.30. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/spec.h"
#include "arch/x86_64/svm/svm.h"
#include "arch/x86_64/timeconv.h"
#include "lib/errno.h"
#include "lib/string.h"

u32 svm_caps;
u32 svm_clean_mask;
bool svm_has_tsc_aux, svm_has_rdpru, svm_counts;

/* Every port of every VM exits, so all of them share this map (15.10.1: bit set = intercept). */
u8 svm_iopm[IOPM_SIZE] __aligned(PAGE_SIZE);

#define CPUID_1_ECX_SVM	      BIT(2)  /* 8000_0001 ECX */
#define CPUID_1_EDX_1G	      BIT(26) /* 8000_0001 EDX: host and nested tables alike (15.25.5) */
#define CPUID_1_EDX_RDTSCP    BIT(27) /* 8000_0001 EDX */
#define CPUID_8_EBX_RDPRU     BIT(4)  /* 8000_0008 EBX */
#define CAPS_USED                                                                                  \
	(SVM_CAP_NP | SVM_CAP_NRIPS | SVM_CAP_TSC_RATE | SVM_CAP_CLEAN | SVM_CAP_FLUSH_ASID |      \
	 SVM_CAP_DECODE | SVM_CAP_PAUSE | SVM_CAP_SPEC_CTRL)

static const struct {
	u32 bit;
	const char *name;
} cap_names[] = {
	{SVM_CAP_NP, "nested paging (NPT)"},
	{SVM_CAP_NRIPS, "next-RIP save"},
	{SVM_CAP_TSC_RATE, "TSC scaling"},
	{SVM_CAP_CLEAN, "VMCB clean bits"},
	{SVM_CAP_FLUSH_ASID, "flush by ASID"},
	{SVM_CAP_DECODE, "decode assists"},
	{SVM_CAP_PAUSE, "the pause filter with its threshold"},
	{SVM_CAP_SPEC_CTRL, "SPEC_CTRL virtualization"},
};

struct svm_cpuid {
	u32 caps, nr_asids;
	bool tsc_aux, rdpru, leaf_1g;
};

/* What this CPU offers. -ENODEV: no SVM at all. */
static int read_cpuid(struct svm_cpuid *c, char *why, size_t n)
{
	u32 max = cpuid(0x80000000, 0).eax;
	struct cpuid ext, svm;

	if (max < 0x8000000a || max > 0x8000ffff) {
		snprintf(why, n, "no AMD-V: CPUID ends at leaf %#x, before the SVM leaf 0x8000000a", max);
		return -ENODEV;
	}
	ext = cpuid(0x80000001, 0);
	if (!(ext.ecx & CPUID_1_ECX_SVM)) {
		snprintf(why, n, "no AMD-V: CPUID 0x80000001 ECX is %#x, without SVM (bit 2)", ext.ecx);
		return -ENODEV;
	}
	svm = cpuid(0x8000000a, 0);
	c->caps = svm.edx & CAPS_USED;
	if ((c->caps & SVM_CAP_PAUSE) != SVM_CAP_PAUSE) /* without the threshold it counts every PAUSE */
		c->caps &= ~(u32)SVM_CAP_PAUSE;
	c->nr_asids = svm.ebx;
	c->tsc_aux = ext.edx & CPUID_1_EDX_RDTSCP;
	c->leaf_1g = ext.edx & CPUID_1_EDX_1G;
	c->rdpru = max >= 0x80000008 && (cpuid(0x80000008, 0).ebx & CPUID_8_EBX_RDPRU);
	return 0;
}

/* Is SVM switched off by firmware? Clears SVMDIS where it may (15.30.1). */
static int check_locked(char *why, size_t n)
{
	u64 vm_cr;

	/* A hypervisor that offers SVM need not offer the MSR. */
	if (!rdmsr_safe(MSR_VM_CR, &vm_cr) || !(vm_cr & VM_CR_SVMDIS))
		return 0;
	if (!(vm_cr & VM_CR_LOCK) && wrmsr_safe(MSR_VM_CR, vm_cr & ~VM_CR_SVMDIS) &&
	    rdmsr_safe(MSR_VM_CR, &vm_cr) && !(vm_cr & VM_CR_SVMDIS))
		return 0;
	snprintf(why, n,
		 "AMD-V is locked by firmware (VM_CR is %#lx): enable SVM (\"SVM Mode\", "
		 "\"Virtualization\") in the firmware's setup",
		 vm_cr);
	return -EPERM;
}

static int check_controls(const struct svm_cpuid *c, char *why, size_t n)
{
	u32 missing = (SVM_CAP_NP | svm_caps) & ~c->caps;

	for (size_t i = 0; i < ARRAY_SIZE(cap_names); i++) {
		if (!(missing & cap_names[i].bit))
			continue;
		snprintf(why, n, "AMD-V here lacks %s%s (CPUID 0x8000000a EDX): %s",
			 cap_names[i].name,
			 cap_names[i].bit == SVM_CAP_NP ? "" : ", which the boot CPU has",
			 cap_names[i].bit == SVM_CAP_NP ? "a newer CPU, or -cpu ...,+npt, is needed" :
							  "this CPU stays out");
		return -ENOSYS;
	}
	if (c->nr_asids < 2) { /* ASID 0 is the host's */
		snprintf(why, n, "AMD-V has %u ASIDs (CPUID 0x8000000a EBX); at least 2 are needed",
			 c->nr_asids);
		return -ENOSYS;
	}
	/* Nested tables have as many levels as the host's at VMRUN (15.25.3); ours have four. */
	if (read_cr4() & CR4_LA57) {
		snprintf(why, n, "CR4.LA57 is on, but nested tables have 4 levels: switch 5-level "
				 "paging off in the firmware's setup");
		return -ENOSYS;
	}
	if (svm_caps && (svm_has_tsc_aux != c->tsc_aux || svm_has_rdpru != c->rdpru ||
			 svm_ops.nested_1g != c->leaf_1g)) {
		snprintf(why, n, "RDTSCP, RDPRU or 1 GiB pages differ from the boot CPU's: this CPU stays out");
		return -ENOSYS;
	}
	return 0;
}

static int check_cpu(struct svm_cpuid *c, char *why, size_t n)
{
	int err = read_cpuid(c, why, n);

	if (!err)
		err = check_locked(why, n);
	return err ? err : check_controls(c, why, n);
}

int svm_probe(char *why, size_t n)
{
	struct svm_cpuid c;
	int err = check_cpu(&c, why, n);

	if (err)
		return err;
	svm_caps = c.caps;
	svm_ops.tsc_scaling = c.caps & SVM_CAP_TSC_RATE;
	svm_clean_mask = c.caps & SVM_CAP_CLEAN ? CLEAN_ALL & ~(u32)(CLEAN_CR2 | CLEAN_TPR) : 0;
	svm_has_tsc_aux = c.tsc_aux;
	svm_has_rdpru = c.rdpru;
	svm_counts = svm_on_tcg() && tsc_khz == 1000000; /* -icount shift=0 */
	svm_ops.nested_1g = c.leaf_1g;
	memset(svm_iopm, 0xff, sizeof(svm_iopm));
	return 0;
}

static struct svm_cpu *alloc_cpu(void)
{
	struct svm_cpu *sc = kzalloc(sizeof(*sc), FRAME_PCPU, OWNER_HOST);

	if (!sc)
		return NULL;
	sc->hsave = frame_alloc(0, FRAME_PCPU, OWNER_HOST);
	sc->host_vmcb = frame_alloc(0, FRAME_PCPU, OWNER_HOST);
	if (sc->hsave != HPA_NONE && sc->host_vmcb != HPA_NONE)
		return sc;
	if (sc->hsave != HPA_NONE)
		frame_free(sc->hsave, 0);
	if (sc->host_vmcb != HPA_NONE)
		frame_free(sc->host_vmcb, 0);
	kfree(sc);
	return NULL;
}

int svm_cpu_enable(struct pcpu *cpu, char *why, size_t n)
{
	struct svm_cpu *sc = cpu->hv_priv;
	struct svm_cpuid c;
	int err = check_cpu(&c, why, n);

	if (!err)
		err = spec_cpu_init(c.caps & SVM_CAP_SPEC_CTRL, why, n);
	if (err)
		return err;
	if (!sc)
		sc = alloc_cpu();
	if (!sc) {
		snprintf(why, n, "no memory for the 8 KiB that AMD-V needs for each CPU");
		return -ENOMEM;
	}
	if (!wrmsr_safe(MSR_EFER, rdmsr(MSR_EFER) | EFER_SVME)) {
		snprintf(why, n, "EFER refuses SVME (EFER is %#lx): AMD-V is disabled by firmware or "
				 "by a hypervisor below", rdmsr(MSR_EFER));
		return -EPERM;
	}
	wrmsr(MSR_VM_HSAVE_PA, sc->hsave);
	/* A ratio that an earlier system left would scale the guests' TSC. */
	if (c.caps & SVM_CAP_TSC_RATE)
		wrmsr_safe(MSR_TSC_RATIO, TSC_RATIO_ONE);
	sc->tsc_ratio = TSC_RATIO_ONE;
	/* FS, GS, TR, LDTR and the syscall MSRs of a pCPU do not change from here on, so one image
	 * of them serves every exit. */
	__asm__ volatile("vmsave %0" ::"a"(sc->host_vmcb) : "memory");
	/* Full, so that the first vCPU starts a generation and flushes what was there before us. */
	sc->max_asid = c.nr_asids - 1;
	sc->next_asid = c.nr_asids;
	cpu->hv_priv = sc;
	return 0;
}

void svm_cpu_disable(void)
{
	u64 efer = rdmsr(MSR_EFER);

	if (!(efer & EFER_SVME))
		return;
	/* A panic may have come with GIF clear; STGI is legal only while SVME is set. */
	irq_disable();
	__asm__ volatile("stgi" ::: "memory");
	wrmsr(MSR_VM_HSAVE_PA, 0);
	wrmsr(MSR_EFER, efer & ~EFER_SVME);
}
