/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The local APIC of a vCPU (platform/lapic.c): xAPIC and x2APIC, timer with one-shot, periodic and
 * TSC-deadline mode. SDM vol. 3, chapter 11. State is plain data, embedded in struct vcpu. Only the
 * pCPU that runs the vCPU calls these, but for lapic_match(), lapic_arbitration() and lapic_accepts_nmi().
 */
#pragma once
#include "lib/types.h"

struct vm;
struct vcpu;

enum { LAPIC_LVT_TIMER, LAPIC_LVT_THERMAL, LAPIC_LVT_PMC, LAPIC_LVT_LINT0, LAPIC_LVT_LINT1, LAPIC_LVT_ERROR, LAPIC_NR_LVT };

struct lapic {
	u64 base_msr;	/* IA32_APIC_BASE */
	u32 id;		/* x2APIC id; xAPIC id is its low 8 bits << 24 */
	u32 tpr, svr, ldr, dfr, esr, esr_pending;
	u64 icr;
	u32 lvt[LAPIC_NR_LVT];
	u32 tmict, tdcr;
	u64 tsc_deadline;	/* 0: disarmed */
	u64 timer_start_ns, timer_deadline_ns; /* of one-shot and periodic; deadline 0: disarmed */
	u32 irr[8], isr[8], tmr[8];
	s32 highest_isr;	/* cache: highest vector in service, -1 none */
	u32 irr_any, isr_any;	/* caches: bit w is set if irr[w], isr[w] is not 0 */
	u32 extint;		/* an ExtINT message has come: the next INTA is for the PIC */
};

#define LAPIC_DEFAULT_BASE 0xfee00000ull
/* The timer's input clock before the divide register; CPUID leaf 15H may name it to the guest. */
#define LAPIC_TIMER_HZ 1000000000ull

/* Power-on reset; bsp sets the BSP bit and LINT0 stays masked (Linux finds virtual-wire set up by the loader through lapic_virtual_wire()). */
void lapic_reset(struct lapic *l, u32 id, bool bsp);
/* The INIT signal: as at power-on, but the id and IA32_APIC_BASE stay (so x2APIC mode does). After
 * this and after lapic_reset() the caller stops the vCPU's timer (lapic_timer_rearm()). */
void lapic_init_signal(struct lapic *l);
/* What a BIOS leaves on the boot CPU: software-enabled, LINT0 = ExtINT, LINT1 = NMI. */
void lapic_virtual_wire(struct lapic *l);

/* xAPIC page accesses (off 0..0xfff, size 1..8; only aligned 32-bit ones reach registers). */
u64 lapic_mmio_read(struct vcpu *v, u64 off, unsigned size);
void lapic_mmio_write(struct vcpu *v, u64 off, unsigned size, u64 val);
/* MSRs 0x1b, 0x800..0x83f, 0x6e0. false: #GP. */
bool lapic_msr_read(struct vcpu *v, u32 msr, u64 *val);
bool lapic_msr_write(struct vcpu *v, u32 msr, u64 val);
/* A write to the EOI register; in x2APIC mode 0 to MSR_X2APIC_EOI. */
#define MSR_X2APIC_EOI 0x80bu
void lapic_eoi(struct vcpu *v, struct lapic *l);

/* May this be an APIC's state? For one that comes from outside. */
bool lapic_valid(const struct lapic *l);
/* Latch a fixed or lowest-priority interrupt; lapic_set_irr() also kicks. */
void lapic_latch(struct vcpu *v, u8 vector, bool level_trig);
void lapic_set_irr(struct vcpu *v, u8 vector, bool level_trig);
/* An ExtINT message (I/O APIC, MSI): latched until the CPU runs its INTA cycle. */
void lapic_set_extint(struct lapic *l);
/* Highest vector that may be delivered now (class above PPR), or -1. */
int lapic_pending(const struct lapic *l);
/* Highest requested vector whatever the priority, or -1 (for the TPR threshold). */
int lapic_highest_irr(const struct lapic *l);
/* The CPU takes vector: IRR -> ISR. */
void lapic_ack(struct lapic *l, u8 vector);
/* Does LINT0 let the PIC's INTR through (ExtINT unmasked, or APIC globally disabled)? */
bool lapic_accepts_extint(const struct lapic *l);
/* The same of the NMI pin and LINT1. */
bool lapic_accepts_nmi(const struct lapic *l);
/* Does msg address this APIC (flat, cluster, physical, x2APIC, broadcast)? */
struct apic_msg;
bool lapic_match(const struct lapic *l, const struct apic_msg *m);
/* Its priority when one of several is to take an interrupt: the lowest does; ~0: it takes none. */
u32 lapic_arbitration(const struct lapic *l);
/* The vCPU's timer came due. */
void lapic_timer_fire(struct vcpu *v);
/* Arm the vCPU's timer again from the state (after restore or migration to another pCPU). */
void lapic_timer_rearm(struct vcpu *v);
/* A periodic timer's interrupt has been taken, or may be from now on. */
void lapic_timer_go_on(struct vcpu *v);

/* Given by the core (vmm/vcpu.c, guest_tsc.c). */
struct lapic *vcpu_lapic(struct vcpu *v);
struct vm *vcpu_vm(struct vcpu *v);
u64 vcpu_tsc(struct vcpu *v);		    /* what RDTSC gives the guest now */
void vcpu_timer_set(struct vcpu *v, u64 deadline_ns); /* calls lapic_timer_fire(v) */
void vcpu_timer_set_tsc(struct vcpu *v, u64 tsc); /* the same when the guest's TSC is not below tsc */
void vcpu_timer_stop(struct vcpu *v);
void vcpu_kick(struct vcpu *v);		    /* something to deliver has changed */
void vcpu_nmi(struct vcpu *v);		    /* these three: any pCPU */
void vcpu_init_signal(struct vcpu *v);
void vcpu_sipi(struct vcpu *v, u8 vector);
