/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVM's paravirtual interface, as stock Linux uses it (Linux: Documentation/virt/kvm/x86, cpuid.rst,
 * msr.rst, hypercalls.rst): clock, steal time, EOI without an exit, hypercalls. CPUID offers it unless
 * the VM file says `paravirt = 0`; then its MSRs do not exist.
 */
#pragma once
#include "lib/types.h"

struct lapic;
struct vcpu;
struct vm;
struct vm_exit;

#define MSR_KVM_WALL_CLOCK	0x11
#define MSR_KVM_SYSTEM_TIME	0x12
#define MSR_KVM_WALL_CLOCK_NEW	0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01
#define MSR_KVM_STEAL_TIME	0x4b564d03
#define MSR_KVM_PV_EOI_EN	0x4b564d04
#define MSR_KVM_POLL_CONTROL	0x4b564d05

#define PV_ENABLED	   BIT(0)
#define PV_CLOCK_RESERVED  BIT(1)
#define PV_STEAL_RESERVED  0x3eull
#define PV_EOI_RESERVED	   BIT(1)
#define PV_POLL_RESERVED   (~1ull)
#define PV_WALL_RESERVED   3ull
#define CPUID_PV_FEATURES  0x40000101u
#define CPUID_PV_STABLE	   24 /* bit of its EAX: the clock needs no care across vCPUs */

/* A vCPU's part, saved as it is: the MSRs as they were written, and two promises. */
struct vcpu_pv {
	u64 wall_clock, system_time, steal_time, eoi, poll_control;
	u8 unhalted;  /* KICK_CPU came: the HLT that it is in, or else the next, ends at once */
	u8 eoi_lent;  /* the guest may do the EOI of the vector in service by clearing the word at `eoi` */
	u8 pad[6];
};

/* May this be a vCPU's? The addresses are checked at each use. */
static inline bool pv_valid(const struct vcpu_pv *p)
{
	return !(p->wall_clock & PV_WALL_RESERVED) && !(p->system_time & PV_CLOCK_RESERVED) &&
	       !(p->steal_time & PV_STEAL_RESERVED) && !(p->eoi & PV_EOI_RESERVED) &&
	       !(p->poll_control & PV_POLL_RESERVED) && p->unhalted <= 1 &&
	       p->eoi_lent <= (p->eoi & PV_ENABLED);
}

void pv_reset(struct vcpu *v);
bool pv_msr_read(struct vcpu *v, u32 msr, u64 *val); /* false: #GP */
bool pv_msr_write(struct vcpu *v, u32 msr, u64 val);
/* The guest's TSC was set: so is the clock that is made from it. */
void pv_tsc_changed(struct vcpu *v);
/* The VM stood still and goes on: its watchdogs shall not wonder. None of its vCPUs is in the guest. */
void pv_guest_stopped(struct vm *vm);

/* v has come to this pCPU, v leaves it: called between load and put. */
void pv_load(struct vcpu *v);
void pv_put(struct vcpu *v);

/* v just took an interrupt: lend it the EOI, if nothing needs to know of it. */
void pv_eoi_lend(struct vcpu *v);
/* Take it back, done or not: before anybody looks at what is in service. */
void pv_eoi_take_back(struct vcpu *v);

void exit_hypercall(struct vcpu *v, const struct vm_exit *e);

/* --- the pure parts --- */

/* ns = (ticks << shift, or >> -shift) * mul >> 32 */
struct pv_scale {
	u32 mul;
	s8 shift;
};
struct pv_scale pv_scale_of(u64 khz);
bool pv_eoi_lendable(const struct lapic *l);
/* Is APIC id `id` in a SEND_IPI's two words of `width` bits, the first of which is for id `min`? */
bool pv_ipi_names(u64 low, u64 high, u64 min, unsigned width, u32 id);
