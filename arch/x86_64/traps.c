/* SPDX-License-Identifier: BSD-2-Clause */
/* The IDT and what arrives through it. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pcpu_arch.h"
#include "lib/log.h"

struct gate {
	u16 offset0, selector;
	u8 ist, type;
	u16 offset1;
	u32 offset2, reserved;
};
static_assert(sizeof(struct gate) == 16, "SDM vol. 3, figure 6-8");

extern const u64 trap_stubs[256];
extern const u64 trap_fixups[][2];

static struct gate idt[256] __aligned(4096);
static irq_handler_t handlers[256];
static u8 early_ist[IST_END][4096] __aligned(16);

static const char *const names[32] = {
	"#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow", "#BR bound",
	"#UD invalid opcode", "#NM no FPU", "#DF double fault", "FPU segment", "#TS invalid TSS",
	"#NP segment not present", "#SS stack fault", "#GP general protection", "#PF page fault",
	"vector 15", "#MF x87 error", "#AC alignment", "#MC machine check", "#XM SIMD error",
	"#VE virtualisation", "#CP control protection", "vector 22", "vector 23", "vector 24",
	"vector 25", "vector 26", "vector 27", "#HV", "#VC", "#SX security", "vector 31",
};

static void set_gate(unsigned v, unsigned ist)
{
	u64 at = trap_stubs[v];

	/* 0x8e: present, DPL 0, 64-bit interrupt gate: interrupts stay off inside. */
	idt[v] = (struct gate){.offset0 = at, .selector = KERNEL_CS, .ist = ist, .type = 0x8e,
			       .offset1 = at >> 16, .offset2 = at >> 32};
}

static void load_idt(void)
{
	struct __packed {
		u16 limit;
		u64 base;
	} reg = {IDT_LIMIT, (u64)idt};

	__asm__ volatile("lidt %0" ::"m"(reg));
}

void traps_init(void)
{
	struct pcpu_arch *a = this_arch();

	for (unsigned i = IST_NMI; i < IST_END; i++)
		a->tss.ist[i - 1] = (u64)early_ist[i] + sizeof(early_ist[i]);
	gdt_load(a);
	for (unsigned v = 0; v < 256; v++)
		set_gate(v, v == EXC_NMI ? IST_NMI : v == EXC_MC ? IST_MC : v == EXC_DF ? IST_DF : 0);
	load_idt();
}

void traps_init_ap(void)
{
	gdt_load(this_arch());
	load_idt();
}

/*
 * Firmware may leave the banks shut: an uncorrected error would then go unnoticed and its data on
 * into a guest (SDM vol. 3, 16.8). What stands in the status registers is from before our time.
 */
void machine_check_init(void)
{
	u64 cap;

	if ((cpuid(1, 0).edx & (BIT(7) | BIT(14))) != (BIT(7) | BIT(14)) ||
	    !rdmsr_safe(MSR_MCG_CAP, &cap))
		return;
	if (cap & BIT(8)) /* MCG_CTL_P */
		wrmsr_safe(MSR_MCG_CTL, ~0ull);
	for (u32 bank = 0; bank < (cap & 0xff); bank++) {
		wrmsr_safe(MSR_MC0_CTL + 4 * bank, ~0ull);
		wrmsr_safe(MSR_MC0_CTL + 4 * bank + 1, 0);
	}
	wrmsr_safe(MSR_MCG_STATUS, 0);
}

void irq_set_handler(u8 vector, irq_handler_t fn)
{
	ASSERT(vector >= 32);
	__atomic_store_n(&handlers[vector], fn, __ATOMIC_RELEASE);
}

/*
 * May come at any instruction, so it touches nothing but its own pCPU's counters. A panic or
 * power-off elsewhere stops us here.
 */
static void nmi(void)
{
	struct pcpu *p = this_cpu();

	p->nmi_count++;
	if (((struct pcpu_arch *)p->arch)->stop)
		cpu_stop();
}

static void interrupt(u8 vector)
{
	irq_handler_t fn = __atomic_load_n(&handlers[vector], __ATOMIC_ACQUIRE);

	/* The spurious vector has no bit in service and gets no EOI (SDM vol. 3, 11.9). */
	if (vector == VEC_SPURIOUS || (!fn && !apic_in_service(vector))) {
		this_arch()->spurious++;
		return;
	}
	if (fn)
		fn();
	apic_eoi();
}

static bool fixup(struct trap_regs *r)
{
	for (const u64(*f)[2] = trap_fixups; (*f)[0]; f++) {
		if (r->rip == (*f)[0]) {
			r->rip = (*f)[1];
			return true;
		}
	}
	return false;
}

void trap_dispatch(struct trap_regs *r);
void trap_dispatch(struct trap_regs *r)
{
	if (r->vector == EXC_NMI)
		nmi();
	else if (r->vector >= 32)
		interrupt(r->vector);
	else if (r->vector != EXC_GP || !fixup(r))
		panic_trap(r, names[r->vector]);
}
