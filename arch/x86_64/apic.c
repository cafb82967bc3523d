/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC, in the mode firmware left it: xAPIC through its page, x2APIC through MSRs (SDM
 * vol. 3, chapter 11). x2APIC is switched on by us only where ids need it.
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pcpu_arch.h"
#include "lib/log.h"

#define R_ID	  0x20
#define R_VERSION 0x30
#define R_TPR	  0x80
#define R_EOI	  0xb0
#define R_SVR	  0xf0
#define R_ISR	  0x100
#define R_ESR	  0x280
#define R_LVT_CMCI 0x2f0
#define R_ICR	  0x300
#define R_ICR_HI  0x310
#define R_LVT_TIMER 0x320
#define R_LVT_THERMAL 0x330
#define R_LVT_PMC 0x340
#define R_LVT_LINT0 0x350
#define R_LVT_LINT1 0x360
#define R_LVT_ERROR 0x370
#define R_TIMER_INIT 0x380
#define R_TIMER_COUNT 0x390
#define R_TIMER_DIV 0x3e0

#define LVT_MASKED BIT(16)
#define LVT_NMI	   (4u << 8)
#define TIMER_DEADLINE (2u << 17)
#define TIMER_DIV_1 0xb
#define SVR_ENABLE BIT(8)
#define ICR_NMI	   (4u << 8)
#define ICR_INIT   (5u << 8)
#define ICR_SIPI   (6u << 8)
#define ICR_PENDING BIT(12)
#define ICR_ASSERT BIT(14)

bool tsc_deadline_ok;
static bool x2, ready;
static volatile u32 *page;
static u64 ticks_per_tsc; /* APIC timer ticks per TSC tick, 32 binary places */

static u32 rd(u32 reg)
{
	return x2 ? (u32)rdmsr(MSR_X2APIC(reg)) : page[reg / 4];
}

static void wr(u32 reg, u32 v)
{
	if (x2)
		wrmsr(MSR_X2APIC(reg), v);
	else
		page[reg / 4] = v;
}

bool apic_ready(void)
{
	return ready;
}

u32 apic_id(void)
{
	return x2 ? rd(R_ID) : rd(R_ID) >> 24;
}

void apic_eoi(void)
{
	wr(R_EOI, 0);
}

bool apic_in_service(u8 vector)
{
	return ready && (rd(R_ISR + (vector / 32) * 0x10) & BIT(vector % 32));
}

/* What firmware left in service would block everything below it. */
static void finish_leftovers(void)
{
	for (unsigned n = 0; n < 256; n++) {
		u32 any = 0;

		for (unsigned i = 0; i < 8; i++)
			any |= rd(R_ISR + i * 0x10);
		if (!any)
			return;
		apic_eoi();
	}
}

static void set_mode(void)
{
	u64 base = rdmsr(MSR_APIC_BASE);

	/* From disabled to x2APIC in two steps: SDM vol. 3, figure 11-9. */
	if (!(base & APIC_BASE_ENABLE))
		wrmsr(MSR_APIC_BASE, base |= APIC_BASE_ENABLE);
	if (x2 && !(base & APIC_BASE_X2APIC))
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_X2APIC);
}

static void timer_mode(void)
{
	wr(R_TIMER_INIT, 0);
	wr(R_LVT_TIMER, tsc_deadline_ok ? VEC_TIMER | TIMER_DEADLINE : VEC_TIMER);
	/* The store to the page and a later write of the deadline's MSR are not ordered: 11.5.4.1. */
	__asm__ volatile("mfence" ::: "memory");
}

void apic_cpu_init(void)
{
	static const u16 lvts[] = {R_LVT_TIMER, R_LVT_LINT0, R_LVT_ERROR, R_LVT_PMC, R_LVT_THERMAL, R_LVT_CMCI};
	u32 max_lvt;

	set_mode();
	/* Written first: LVTs cannot be unmasked while the APIC is disabled by software. */
	wr(R_SVR, SVR_ENABLE | VEC_SPURIOUS);
	wr(R_TPR, 0);
	max_lvt = rd(R_VERSION) >> 16 & 0xff;
	/* The performance counters', thermal and CMCI entries exist from 4, 5 and 6 on. */
	for (unsigned i = 0; i < ARRAY_SIZE(lvts); i++)
		if (i < 3 || max_lvt > i)
			wr(lvts[i], LVT_MASKED);
	wr(R_LVT_LINT1, this_cpu()->index ? LVT_MASKED : LVT_NMI);
	wr(R_TIMER_DIV, TIMER_DIV_1);
	wr(R_ESR, 0);
	finish_leftovers();
	timer_mode();
}

void apic_init(void)
{
	struct cpuid f1 = cpuid(1, 0);
	u64 base = rdmsr(MSR_APIC_BASE);

	x2 = base & APIC_BASE_X2APIC;
	if (!x2 && acpi.max_apic_id > 254 && (f1.ecx & BIT(21)))
		x2 = true;
	tsc_deadline_ok = f1.ecx & BIT(24);
	if (!x2) {
		page = io_map(base & APIC_BASE_ADDR_MASK, PAGE_SIZE);
		if (!page)
			panic("no address space for the local APIC at 0x%lx", base);
	}
	apic_cpu_init();
	this_cpu()->apic_id = apic_id();
	ready = true;
	log_info("local APIC: %s, id %u, timer %s", x2 ? "x2APIC" : "xAPIC", apic_id(),
		 tsc_deadline_ok ? "TSC deadline" : "one-shot");
}

/* One command at a time; a destination that does not take it must not hang the sender. */
static void send(u32 dest, u32 low)
{
	u64 flags = irq_save();

	if (x2) {
		/* WRMSR to x2APIC registers does not wait for earlier stores: 11.12.3. */
		__asm__ volatile("mfence; lfence" ::: "memory");
		wrmsr(MSR_X2APIC(R_ICR), (u64)dest << 32 | low);
	} else {
		for (unsigned n = 0; n < 100000 && (rd(R_ICR) & ICR_PENDING); n++)
			cpu_relax();
		wr(R_ICR_HI, dest << 24);
		wr(R_ICR, low);
	}
	irq_restore(flags);
}

void ipi_send(u32 pcpu_index, u8 vector)
{
	send(pcpus[pcpu_index]->apic_id, ICR_ASSERT | vector);
}

/*
 * QEMU 7.2's TCG: VMRUN with V_IRQ set changes the CPU's word of requests by a read and a write,
 * under no lock. An interrupt that another thread requests in between is lost: its bit stays in the
 * IRR, and nothing looks there, be the CPU halted, until the APIC has cause to. A write to TPR is
 * one; hardware does not mind.
 */
void irq_recheck(void)
{
	wr(R_TPR, 0);
}

void apic_send_nmi(u32 dest)
{
	send(dest, ICR_ASSERT | ICR_NMI);
}

void apic_send_init(u32 dest)
{
	send(dest, ICR_ASSERT | ICR_INIT);
}

void apic_send_sipi(u32 dest, u8 start_page)
{
	send(dest, ICR_ASSERT | ICR_SIPI | start_page);
}

void apic_timer_free_run(void)
{
	wr(R_LVT_TIMER, LVT_MASKED);
	wr(R_TIMER_INIT, ~0u);
}

u32 apic_timer_count(void)
{
	return rd(R_TIMER_COUNT);
}

void apic_timer_calibrated(u64 khz)
{
	timer_mode();
	ticks_per_tsc = (khz << 32) / tsc_khz;
}

void host_timer_arm(u64 tsc)
{
	u64 now, delta, count;

	if (tsc_deadline_ok) {
		wrmsr(MSR_TSC_DEADLINE, tsc == ~0ull ? 0 : MAX(tsc, 1ull));
		return;
	}
	if (tsc == ~0ull) {
		wr(R_TIMER_INIT, 0);
		return;
	}
	now = rdtsc();
	delta = tsc > now ? tsc - now : 0;
	/* A far deadline comes early: the counter has 32 bits. */
	count = (u64)((unsigned __int128)delta * ticks_per_tsc >> 32) + 1;
	wr(R_TIMER_INIT, MIN(count, 0xffffffffull));
}
