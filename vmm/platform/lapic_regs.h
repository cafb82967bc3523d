/* SPDX-License-Identifier: BSD-2-Clause */
/* The local APIC's register numbers and bits, and what lapic.c and lapic_timer.c share. */
#pragma once
#include "vmm/lapic.h"

#define MSR_APIC_BASE	 0x1bu
#define MSR_TSC_DEADLINE 0x6e0u

#define APIC_BASE_BSP  BIT(8)
#define APIC_BASE_EXTD BIT(10)
#define APIC_BASE_EN   BIT(11)
#define APIC_BASE_MODE (APIC_BASE_EN | APIC_BASE_EXTD)

enum {
	REG_ID = 0x02, REG_VERSION = 0x03, REG_TPR = 0x08, REG_APR = 0x09, REG_PPR = 0x0a,
	REG_EOI = 0x0b, REG_RRD = 0x0c, REG_LDR = 0x0d, REG_DFR = 0x0e, REG_SVR = 0x0f,
	REG_ISR = 0x10, REG_TMR = 0x18, REG_IRR = 0x20, REG_ESR = 0x28, REG_ICR = 0x30,
	REG_ICR_HIGH = 0x31, REG_LVT_TIMER = 0x32, REG_LVT_ERROR = 0x37, REG_TMICT = 0x38,
	REG_TMCCT = 0x39, REG_TDCR = 0x3e, REG_SELF_IPI = 0x3f,
};
static_assert(REG_LVT_ERROR - REG_LVT_TIMER + 1 == LAPIC_NR_LVT, "LVT registers");

#define SVR_ENABLE   BIT(8)
#define SVR_WRITABLE 0x3ffu /* vector, enable, focus checking */

#define LVT_MASKED	     BIT(16)
#define LVT_TIMER_MODE	     (3u << 17)
#define LVT_TIMER_ONESHOT    (0u << 17)
#define LVT_TIMER_PERIODIC   (1u << 17)
#define LVT_TIMER_TSC	     (2u << 17)
#define TDCR_WRITABLE	     0xbu

#define ESR_SEND_ILLEGAL_VECTOR BIT(5)
#define ESR_RECV_ILLEGAL_VECTOR BIT(6)
#define ESR_ILLEGAL_REGISTER	BIT(7)

/* Delivery modes and ICR bits. */
enum { MODE_FIXED, MODE_LOWEST, MODE_SMI, MODE_REMOTE_READ, MODE_NMI, MODE_INIT, MODE_SIPI,
       MODE_EXTINT };
enum { SHORT_NONE, SHORT_SELF, SHORT_ALL, SHORT_OTHERS };
#define ICR_LOGICAL    BIT(11)
#define ICR_ASSERT     BIT(14)
#define ICR_TRIG_LEVEL BIT(15)

/* lapic.c */
void lapic_lvt_deliver(struct vcpu *v, unsigned entry);

/* lapic_timer.c */
u32 lapic_timer_count(struct vcpu *v);
void lapic_timer_write_initial(struct vcpu *v, u32 val);
void lapic_timer_write_divide(struct vcpu *v, u32 val);
void lapic_timer_write_deadline(struct vcpu *v, u64 tsc);
void lapic_timer_mode_changed(struct vcpu *v);
