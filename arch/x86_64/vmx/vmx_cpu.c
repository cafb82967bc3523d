/* SPDX-License-Identifier: BSD-2-Clause */
/* VMX operation on a pCPU: feature control, VMXON, VMXOFF (SDM vol. 3, 24.7, 24.11.5). */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/spec.h"
#include "arch/x86_64/vmx/vmx.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"

struct desc_ptr {
	u16 limit;
	u64 base;
} __packed;
static_assert(sizeof(struct desc_ptr) == 10, "SGDT's operand in 64-bit mode");

/* Firmware that leaves feature control open leaves it open on every CPU: set and lock each. */
static int feature_control_set(char *why, size_t n)
{
	u64 fc = rdmsr(MSR_FEATURE_CONTROL);

	if (!(fc & FEATURE_CONTROL_LOCK))
		wrmsr(MSR_FEATURE_CONTROL, fc | FEATURE_CONTROL_VMX | FEATURE_CONTROL_LOCK);
	return vmx_feature_control_check(why, n);
}

static struct vmx_pcpu *pcpu_block(struct pcpu *cpu)
{
	struct vmx_pcpu *p = cpu->hv_priv;

	if (p)
		return p;
	p = kzalloc(sizeof(*p), FRAME_PCPU, OWNER_HOST);
	if (!p)
		return NULL;
	p->vmxon_pa = frame_alloc(0, FRAME_PCPU, OWNER_HOST);
	if (p->vmxon_pa == HPA_NONE) {
		kfree(p);
		return NULL;
	}
	p->current = HPA_NONE;
	cpu->hv_priv = p;
	return p;
}

int vmx_cpu_enable(struct pcpu *cpu, char *why, size_t n)
{
	struct vmx_pcpu *p;
	struct desc_ptr d;
	int r;

	if (!(cpuid(1, 0).ecx & BIT(5))) {
		snprintf(why, n,
			 "CPU %u has no VMX though the boot CPU has it; enable VT-x for every "
			 "core in the firmware's setup",
			 cpu->index);
		return -ENODEV;
	}
	r = feature_control_set(why, n);
	if (!r)
		r = vmx_caps_check(why, n);
	if (!r)
		r = spec_cpu_init(false, why, n);
	if (r)
		return r;
	p = pcpu_block(cpu);
	if (!p) {
		snprintf(why, n,
			 "no memory for the VMXON region of CPU %u; give the host more memory",
			 cpu->index);
		return -ENOMEM;
	}
	/* Bit 31 of the first word must be clear (24.11.5). */
	*(u32 *)frame_va(p->vmxon_pa) = vmx_caps.basic & BASIC_REVISION;
	write_cr0(read_cr0() | CR0_NE);
	write_cr4(read_cr4() | CR4_VMXE);
	if (!vmxon(p->vmxon_pa)) {
		write_cr4(read_cr4() & ~CR4_VMXE);
		snprintf(why, n,
			 "VMXON failed on CPU %u: the firmware or a loader left it in VMX "
			 "operation; start Dalang after a cold reset",
			 cpu->index);
		return -EPERM;
	}
	p->on = true;
	/* Whatever an earlier hypervisor cached under the same tags (29.4.3.3). */
	invept(INV_ALL, 0);
	invvpid(INV_ALL, 0);
	__asm__ volatile("sgdt %0" : "=m"(d));
	p->gdt_base = d.base;
	__asm__ volatile("sidt %0" : "=m"(d));
	p->idt_base = d.base;
	return 0;
}

void vmx_cpu_disable(void)
{
	struct vmx_pcpu *p = this_cpu()->hv_priv;

	if (!p || !p->on)
		return;
	/* The CPU may hold parts of a current VMCS and write them back later (25.11.1). */
	if (p->current != HPA_NONE)
		vmclear(p->current);
	p->current = HPA_NONE;
	p->on = false;
	vmxoff();
	write_cr4(read_cr4() & ~CR4_VMXE);
}
