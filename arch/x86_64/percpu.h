/* SPDX-License-Identifier: BSD-2-Clause */
/* Per-pCPU data, found through GS. Entry code relies on `self` and `kstack_top` being first. */
#pragma once
#include "lib/types.h"

#define MAX_PCPUS 1024

struct hv_vcpu;
struct window_state;

struct pcpu {
	struct pcpu *self;
	void *kstack_top;
	u32 index;	/* dense, 0 is the boot CPU */
	u32 apic_id;	/* 32 bits, sparse */
	u32 acpi_uid;
	u32 node;	/* NUMA node, 0 where unknown */
	volatile u32 state; /* enum pcpu_state */
	u32 hv_ready;	/* the backend is on here */
	struct hv_vcpu *loaded; /* the vCPU whose state is in the CPU */
	void *hv_priv;	/* the backend's own per-pCPU block */
	void *sched;	/* vmm's own per-pCPU block */
	void *arch;	/* arch's own: GDT, TSS, windows, frame reserve (struct pcpu_arch) */
	volatile u32 kicked; /* an IPI is on its way; cleared when it is served */
	volatile u32 ipi_work; /* requests of other pCPUs: enum ipi_work bits */
	u64 nmi_count;
};

enum pcpu_state { PCPU_ABSENT, PCPU_STARTING, PCPU_ONLINE, PCPU_OUT /* no usable extension */, PCPU_DEAD };

static inline struct pcpu *this_cpu(void)
{
	struct pcpu *p;
	__asm__("movq %%gs:0, %0" : "=r"(p));
	return p;
}
extern struct pcpu *pcpus[MAX_PCPUS];
extern u32 nr_pcpus; /* found; those with state ONLINE run vCPUs */
