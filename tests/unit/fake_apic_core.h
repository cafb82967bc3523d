/* SPDX-License-Identifier: BSD-2-Clause */
/* What lapic.c links against, for tests that only want lapic_valid(). None of it is ever called. */
#pragma once
#include <stdlib.h>
#include "vmm/irq.h"
#include "vmm/lapic.h"
#include "vmm/vdev.h"

struct lapic *vcpu_lapic(struct vcpu *v) { (void)v; abort(); }
struct vm *vcpu_vm(struct vcpu *v) { (void)v; abort(); }
u64 vcpu_tsc(struct vcpu *v) { (void)v; abort(); }
void vcpu_timer_set_tsc(struct vcpu *v, u64 tsc) { (void)v; (void)tsc; abort(); }
void vcpu_timer_set(struct vcpu *v, u64 ns) { (void)v; (void)ns; abort(); }
void vcpu_timer_stop(struct vcpu *v) { (void)v; abort(); }
void vcpu_kick(struct vcpu *v) { (void)v; abort(); }
void vcpu_nmi(struct vcpu *v) { (void)v; abort(); }
u64 vm_time_ns(struct vm *vm) { (void)vm; abort(); }
void vm_eoi(struct vm *vm, u8 vector) { (void)vm; (void)vector; abort(); }
void vm_apic_msg(struct vm *vm, struct vcpu *from, const struct apic_msg *m)
{
	(void)vm;
	(void)from;
	(void)m;
	abort();
}
