/* SPDX-License-Identifier: BSD-2-Clause */
/* A vCPU's pages, its VMCS's controls and host state, and its coming to and leaving a pCPU. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/spec.h"
#include "arch/x86_64/timeconv.h"
#include "arch/x86_64/vmx/vmx.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"

#define VTPR_OFFSET            0x80 /* SDM 30.1.1 */
/* SDM 25.6.13, 26.1.3, in TSC ticks: PAUSEs that come closer than GAP are one loop, and WINDOW is how long
 * it may last: most locks are free before, and the exit costs no more than the wait did. */
#define PLE_GAP    128
#define PLE_WINDOW 4096

/* VPIDs in use, all pCPUs together; 0 is the host's (29.1). A VPID taken again is flushed at its
 * new owner's first load on each pCPU. */
static u64 vpids[65536 / 64] = {1};

static u16 vpid_alloc(void)
{
	for (unsigned i = 0; i < ARRAY_SIZE(vpids); i++) {
		u64 used = __atomic_load_n(&vpids[i], __ATOMIC_RELAXED);

		while (~used) {
			unsigned b = (unsigned)__builtin_ctzl(~used);

			if (__atomic_compare_exchange_n(&vpids[i], &used, used | BIT(b), false,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED))
				return (u16)(i * 64 + b);
		}
	}
	return 0;
}

static void vpid_free(u16 vpid)
{
	if (vpid)
		__atomic_fetch_and(&vpids[vpid / 64], ~BIT(vpid % 64), __ATOMIC_RELAXED);
}

static void free_page(hpa_t pa)
{
	if (pa != HPA_NONE)
		frame_free(pa, 0);
}

void vmx_vcpu_destroy(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);

	spec_vcpu_gone(v);
	free_page(x->vmcs_pa);
	free_page(x->msr_bitmap_pa);
	free_page(x->vapic_pa);
	vpid_free(x->vpid);
	kfree(x);
	v->priv = NULL;
}

int vmx_vcpu_create(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = kzalloc(sizeof(*x), FRAME_VCPU, v->id);

	if (!x)
		return -ENOMEM;
	v->priv = x;
	x->vmcs_pa = frame_alloc(0, FRAME_VCPU, v->id);
	x->msr_bitmap_pa = frame_alloc(0, FRAME_VCPU, v->id);
	x->vapic_pa = frame_alloc(0, FRAME_VCPU, v->id);
	x->vpid = vpid_alloc();
	if (x->vmcs_pa == HPA_NONE || x->msr_bitmap_pa == HPA_NONE || x->vapic_pa == HPA_NONE ||
	    !x->vpid) {
		vmx_vcpu_destroy(v);
		return -ENOMEM;
	}
	*(u32 *)frame_va(x->vmcs_pa) = vmx_caps.basic & BASIC_REVISION;
	x->msr_bitmap = frame_va(x->msr_bitmap_pa);
	memset(x->msr_bitmap, 0xff, PAGE_SIZE); /* every access exits */
	x->vtpr = (volatile u32 *)((u8 *)frame_va(x->vapic_pa) + VTPR_OFFSET);
	v->launched = 0;
	v->cpu = NULL;
	v->last_cpu = NULL;
	x->tsc_ratio = TSC_RATIO_ONE;
	vmx_reset_plain(v);
	return 0;
}

u64 vmx_eptp(const struct hv_vcpu *v)
{
	return v->nested_root | EPTP_WB | EPTP_WALK4 |
	       (vmx_caps.ept_vpid & EPT_CAP_AD ? EPTP_AD : 0);
}

/* SDM 25.6.5, 26.3; the multiplier has 48 binary places behind its point. */
static void write_tsc(const struct vmx_vcpu *x)
{
	u32 off = x->tsc_ratio == TSC_RATIO_ONE ? PROC2_TSC_SCALING : 0;

	vmwrite(VMCS_TSC_OFFSET, x->tsc_offset);
	if (!(vmx_caps.proc2 & PROC2_TSC_SCALING))
		return;
	vmwrite(VMCS_TSC_MULTIPLIER, x->tsc_ratio << 16);
	vmwrite(VMCS_PROC2_CTLS, vmx_caps.proc2 & ~off);
}

void vmx_set_tsc(struct hv_vcpu *v, u64 offset, u64 ratio)
{
	vmx_of(v)->tsc_offset = offset;
	vmx_of(v)->tsc_ratio = ratio;
	if (v->cpu)
		write_tsc(vmx_of(v));
}

/*
 * The host's interrupts end a guest's run by themselves. But Bochs 2.7 forgets them while a guest has interrupts shut, and
 * then one that loops would keep the pCPU for ever: so it leaves after 10 ms of its own time at the latest, unless the pCPU is its
 * own. (Saved at exits, the timer runs on over any number of them; but what exits at every other instruction has hardly a time of
 * its own, so SHUT_EXITS of them end it, too.) SDM 26.5.1, A.6.
 */
#define LONGEST_RUN_MS 10

static bool has_timer(const struct hv_vcpu *v)
{
	return vmx_caps.pin & PIN_PREEMPTION_TIMER && vmx_caps.exit & EXIT_SAVE_TIMER && !v->own_cpu;
}

void vmx_restart_timer(const struct hv_vcpu *v)
{
	if (has_timer(v))
		vmwrite(VMCS_PREEMPTION_TIMER, MIN(tsc_khz * LONGEST_RUN_MS >> (rdmsr(MSR_VMX_MISC) & 31), ~0u));
}

void vmx_end_timer(const struct hv_vcpu *v)
{
	if (has_timer(v))
		vmwrite(VMCS_PREEMPTION_TIMER, 0);
}

/* Neither of the two controls without the other (SDM 27.2.1.1, 27.2.1.2). */
static void write_run_controls(const struct hv_vcpu *v)
{
	bool timer = has_timer(v);

	vmwrite(VMCS_PIN_CTLS, timer ? vmx_caps.pin : vmx_caps.pin & ~(u32)PIN_PREEMPTION_TIMER);
	vmwrite(VMCS_EXIT_CTLS, timer ? vmx_caps.exit : vmx_caps.exit & ~(u32)EXIT_SAVE_TIMER);
}

/* The fields that stay as they are for the vCPU's life, and the guest's state after reset. */
static void configure(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);

	x->proc = vmx_caps.proc;
	x->entry = vmx_caps.entry;
	write_run_controls(v);
	vmwrite(VMCS_PROC_CTLS, x->proc);
	vmwrite(VMCS_PROC2_CTLS, vmx_caps.proc2);
	vmwrite(VMCS_ENTRY_CTLS, x->entry);
	vmwrite(VMCS_EXCEPTION_BITMAP, EXCEPTIONS_INTERCEPTED);
	vmwrite(VMCS_PF_ERROR_MASK, 0);
	vmwrite(VMCS_PF_ERROR_MATCH, 0);
	vmwrite(VMCS_CR3_TARGET_COUNT, 0);
	vmwrite(VMCS_EXIT_MSR_STORE_COUNT, 0);
	vmwrite(VMCS_EXIT_MSR_LOAD_COUNT, 0);
	vmwrite(VMCS_ENTRY_MSR_LOAD_COUNT, 0);
	vmwrite(VMCS_MSR_BITMAP, x->msr_bitmap_pa);
	write_tsc(x);
	vmwrite(VMCS_VPID, x->vpid);
	if (x->proc & PROC_TPR_SHADOW) {
		vmwrite(VMCS_VIRTUAL_APIC_ADDR, x->vapic_pa);
		vmwrite(VMCS_TPR_THRESHOLD, 0);
	}
	if (vmx_caps.proc2 & PROC2_ENCLS_EXITING)
		vmwrite(VMCS_ENCLS_BITMAP, ~0ull);
	if (vmx_caps.proc2 & PROC2_ENCLV_EXITING)
		vmwrite(VMCS_ENCLV_BITMAP, ~0ull);
	if (vmx_caps.proc2 & PROC2_PAUSE_LOOP) {
		vmwrite(VMCS_PLE_GAP, PLE_GAP);
		vmwrite(VMCS_PLE_WINDOW, v->own_cpu ? ~0u : PLE_WINDOW);
	}
	vmx_restart_timer(v);
	vmwrite(VMCS_LINK_POINTER, ~0ull); /* no shadow VMCS (27.3.1.5) */
	vmwrite(VMCS_CR0_MASK, VMX_CR0_OWNED);
	vmwrite(VMCS_CR4_MASK, VMX_CR4_OWNED);
	vmx_reset_vmcs(v);
	/* Nothing of what hv_vcpu holds is in the VMCS yet: the first entry writes it. */
	x->rip = ~v->rip;
	x->rsp = ~v->gpr[REG_RSP];
	x->rflags = ~v->rflags;
	x->configured = true;
}

static u64 tr_base(u64 gdt_base, u16 tr)
{
	const u64 *d = (const u64 *)(gdt_base + (tr & ~7u)); /* a 16-byte system descriptor */

	return (d[0] >> 16 & 0xffffff) | (d[0] >> 56 & 0xff) << 24 | d[1] << 32;
}

#define READ_SEL(reg)                                             \
	({                                                        \
		u16 s_;                                           \
		__asm__ volatile("mov %%" reg ", %0" : "=r"(s_)); \
		s_ & 0xfff8u; /* RPL and TI must be 0 (27.2.3) */ \
	})

/* What the exit loads: this pCPU's own tables and bases, the CPU's present control registers. */
static void write_host_state(const struct vmx_pcpu *p)
{
	u16 tr;

	__asm__ volatile("str %0" : "=r"(tr));
	vmwrite(VMCS_HOST_CR0, read_cr0());
	vmwrite(VMCS_HOST_CR3, read_cr3());
	vmwrite(VMCS_HOST_CR4, read_cr4());
	vmwrite(VMCS_HOST_EFER, rdmsr(MSR_EFER));
	vmwrite(VMCS_HOST_PAT, rdmsr(MSR_PAT));
	vmwrite(VMCS_HOST_CS_SELECTOR, READ_SEL("cs"));
	vmwrite(VMCS_HOST_SS_SELECTOR, READ_SEL("ss"));
	vmwrite(VMCS_HOST_DS_SELECTOR, READ_SEL("ds"));
	vmwrite(VMCS_HOST_ES_SELECTOR, READ_SEL("es"));
	vmwrite(VMCS_HOST_FS_SELECTOR, READ_SEL("fs"));
	vmwrite(VMCS_HOST_GS_SELECTOR, READ_SEL("gs"));
	vmwrite(VMCS_HOST_TR_SELECTOR, tr);
	vmwrite(VMCS_HOST_FS_BASE, rdmsr(MSR_FS_BASE));
	vmwrite(VMCS_HOST_GS_BASE, rdmsr(MSR_GS_BASE));
	vmwrite(VMCS_HOST_TR_BASE, tr_base(p->gdt_base, tr));
	vmwrite(VMCS_HOST_GDTR_BASE, p->gdt_base);
	vmwrite(VMCS_HOST_IDTR_BASE, p->idt_base);
	vmwrite(VMCS_HOST_SYSENTER_CS, 0);
	vmwrite(VMCS_HOST_SYSENTER_ESP, 0);
	vmwrite(VMCS_HOST_SYSENTER_EIP, 0);
	vmwrite(VMCS_HOST_RIP, (u64)vmx_exit_point);
}

void vmx_load(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	struct pcpu *cpu = this_cpu();
	struct vmx_pcpu *p = cpu->hv_priv;
	u64 eptp = vmx_eptp(v);

	/* A region's launch state is undefined until its first VMCLEAR (25.11.3). */
	if (!x->configured && !vmclear(x->vmcs_pa))
		panic("vmx: VMCLEAR of 0x%lx failed", x->vmcs_pa);
	if (!vmptrld(x->vmcs_pa))
		panic("vmx: VMPTRLD of 0x%lx failed", x->vmcs_pa);
	p->current = x->vmcs_pa;
	v->cpu = cpu;
	v->launched = 0;
	cpu->loaded = v;
	if (!x->configured)
		configure(v);
	if (x->host_cpu != cpu) {
		write_host_state(p);
		x->host_cpu = cpu;
		/* Translations from an earlier stay here, or of an earlier owner of VPID or root.
		 */
		x->flush_ept = x->flush_vpid = true;
	}
	if (x->eptp != eptp) {
		vmwrite(VMCS_EPTP, eptp);
		x->eptp = eptp;
		x->flush_ept = true;
	}
	if (unlikely(v->debug.flags | x->debug))
		vmx_follow_debug(v);
	spec_vcpu_load(v);
	fpu_load(v);
	x->dr6 = v->dr6;
	x->cr2 = ~v->cr2; /* the CPU holds another vCPU's */
	vmx_live_msrs_load(x);
}

static void load_table_limits(const struct vmx_pcpu *p)
{
	struct {
		u16 limit;
		u64 base;
	} __packed gdt = {GDT_LIMIT, p->gdt_base}, idt = {IDT_LIMIT, p->idt_base};

	__asm__ volatile("lgdt %0; lidt %1" ::"m"(gdt), "m"(idt));
}

void vmx_put(struct hv_vcpu *v)
{
	struct vmx_vcpu *x = vmx_of(v);
	struct pcpu *cpu = this_cpu();
	struct vmx_pcpu *p = cpu->hv_priv;

	if (v->dr6 != x->dr6) /* changed by the vmm since the exit */
		write_dr6(v->dr6);
	fpu_save(v);
	vmx_live_msrs_save(x);
	/*
	 * VMCLEAR now rather than when another pCPU asks: the vCPU can then be loaded anywhere, and
	 * destroyed, without a word to this pCPU. The price is VMLAUNCH at the next load.
	 */
	if (!vmclear(x->vmcs_pa))
		panic("vmx: VMCLEAR of 0x%lx failed", x->vmcs_pa);
	p->current = HPA_NONE;
	v->launched = 0;
	v->last_cpu = cpu;
	v->cpu = NULL;
	cpu->loaded = NULL;
	/*
	 * Each exit leaves both limits at 0xffff and TR's at 0x67 (28.5.2). Meanwhile that is
	 * harmless: the IDT is full size, the TSS is 0x67 long, and nothing loads a selector that
	 * is not ours. Still a table's limit is a guard, so it does not stay off.
	 */
	load_table_limits(p);
}
static_assert(IDT_LIMIT == 0xfff && TSS_LIMIT == 0x67, "what an exit loads is harmless");
