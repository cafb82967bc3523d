/* SPDX-License-Identifier: BSD-2-Clause */
#include "arch/x86_64/pcpu_arch.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"

struct pcpu *pcpus[MAX_PCPUS];
u32 nr_pcpus;

static struct pcpu_arch boot_arch;
static struct pcpu boot_cpu;

void percpu_load(struct pcpu *p)
{
	wrmsr(MSR_GS_BASE, (u64)p);
}

/* The APIC id from CPUID, so that it is right before the APIC is set up: leaf 0Bh, else leaf 1. */
static u32 initial_apic_id(void)
{
	if (cpuid(0, 0).eax >= 0xb && cpuid(0xb, 0).ebx)
		return cpuid(0xb, 0).edx;
	return cpuid(1, 0).ebx >> 24;
}

void percpu_init_boot(void)
{
	boot_cpu = (struct pcpu){.self = &boot_cpu, .arch = &boot_arch, .state = PCPU_ONLINE};
	percpu_load(&boot_cpu);
	boot_cpu.apic_id = initial_apic_id();
	pcpus[0] = &boot_cpu;
	nr_pcpus = 1;
}

struct pcpu *percpu_create(u32 apic_id, u32 acpi_uid)
{
	struct pcpu *p;

	if (nr_pcpus == MAX_PCPUS)
		return NULL;
	p = kzalloc(sizeof(*p), FRAME_PCPU, OWNER_HOST);
	if (!p)
		return NULL;
	p->arch = kzalloc(sizeof(struct pcpu_arch), FRAME_PCPU, OWNER_HOST);
	if (!p->arch) {
		kfree(p);
		return NULL;
	}
	p->self = p;
	p->index = nr_pcpus;
	p->apic_id = apic_id;
	p->acpi_uid = acpi_uid;
	p->state = PCPU_STARTING;
	pcpus[nr_pcpus++] = p;
	return p;
}
