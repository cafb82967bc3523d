/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APICs, in both modes. */
#include "smp.h"

bool cluster_model, xapic_only, one_way;

u32 apic_read(u32 reg)
{
	u32 v;

	if (this_cpu()->x2)
		return (u32)rdmsr(0x800 + (reg >> 4));
	__asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(0xfee00000ull + reg) : "memory");
	return v;
}
void apic_write(u32 reg, u32 v)
{
	if (this_cpu()->x2)
		wrmsr(0x800 + (reg >> 4), v);
	else
		__asm__ volatile("movl %0, (%1)" ::"r"(v), "r"(0xfee00000ull + reg) : "memory");
}

/* Handlers send, too, so the two halves of the xAPIC's register are written with interrupts off. */
void icr(u32 dest, u32 low)
{
	u64 flags;

	if (this_cpu()->x2) {
		__asm__ volatile("mfence; lfence" ::
					 : "memory"); /* SDM vol. 3, 10.12.3: not serializing */
		wrmsr(0x830, (u64)dest << 32 | low);
		return;
	}
	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags)::"memory");
	while (apic_read(0x300) & 0x1000)
		pause();
	apic_write(0x310, dest << 24);
	apic_write(0x300, low);
	if (flags & 0x200)
		sti();
}

bool has_x2apic(void)
{
	u32 r[4];

	cpuid(1, r);
	return !xapic_only && (r[2] >> 21 & 1);
}

/*
 * x2APIC: fixed, SDM vol. 3, 10.12.10.2. xAPIC: flat, one bit for each of the first 8 CPUs; or
 * clusters of 4, of which there may be 15. Who is beyond that has none.
 */
static u32 xapic_logical_id(u32 i)
{
	if (cluster_model)
		return i < 60 ? i / 4 << 4 | 1u << i % 4 : 0;
	return i < 8 ? 1u << i : 0;
}

u32 logical_id(u32 i)
{
	return cpus[0].x2 ? cpus[i].id >> 4 << 16 | 1u << (cpus[i].id & 15) : xapic_logical_id(i);
}

/* CPU 0's tick ends its waits for what sends no interrupt. */
void apic_tick(bool on)
{
	apic_write(REG_DIVIDE, 0xb); /* by 1 */
	apic_write(REG_TIMER, on ? 0x20000 | VEC_TICK : 0x10000);
	apic_write(REG_INITIAL, on ? (u32)apic_per_ms * 10 : 0);
}

void apic_setup(struct cpu *c)
{
	apic_write(REG_SVR, VEC_SPURIOUS); /* off while its logical id changes */
	if (!c->x2) {
		apic_write(REG_DFR, cluster_model ? 0x0fffffff : ~0u);
		/* CPU 0 may still be on its way from the other mode. */
		apic_write(REG_LDR, xapic_logical_id(c->index) << 24);
	}
	apic_write(REG_SVR, 0x100 | VEC_SPURIOUS);
	apic_write(REG_TPR, 0);
	apic_write(REG_LINT0, 0x10000);
	apic_write(REG_LINT1, 0x10000);
	apic_tick(c->index == 0);
}

/* From x2APIC mode the way back leads through a disabled APIC, SDM vol. 3, figure 10-27. */
void to_mode(struct cpu *c, u64 x2)
{
	u64 base = rdmsr(MSR_APIC_BASE) & ~0xc00ull;

	cli();
	if (x2 && !c->x2) {
		wrmsr(MSR_APIC_BASE, base | 0xc00);
		if (one_way) /* Bochs sets the logical id by the mode before */
			wrmsr(MSR_APIC_BASE, base | 0xc00);
		c->x2 = true;
	} else if (!x2 && c->x2 && !one_way) {
		wrmsr(MSR_APIC_BASE, base);
		wrmsr(MSR_APIC_BASE, base | 0x800);
		c->x2 = false;
	}
	apic_setup(c);
	sti();
}

void all_to_mode(bool x2, bool cluster)
{
	cluster_model = cluster;
	on_all(to_mode, x2);
}

/* When it returns, every interrupt of VEC_TEST that was sent before has been counted. */
void fence(void)
{
	u32 before[MAX_CPUS];

	for (u32 i = 0; i < nr_cpus; i++) {
		before[i] = cpus[i].got[VEC_FENCE];
		icr(cpus[i].id, ICR_FIXED | VEC_FENCE);
	}
	for (u32 i = 0; i < nr_cpus; i++)
		if (!WAIT(cpus[i].got[VEC_FENCE] == before[i] + 1))
			give_up("a plain IPI got lost to CPU", i);
}
