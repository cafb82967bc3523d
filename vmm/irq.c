/* SPDX-License-Identifier: BSD-2-Clause */
/* The interrupt wiring between devices, controllers and vCPUs. */
#include "vmm/irq.h"
#include "vmm/vm.h"

void vm_irq_set(struct vm *vm, unsigned gsi, bool level)
{
	if (gsi < 16) {
		pic_set(vm, gsi, level);
		/* The PIT's line is I/O APIC pin 2: the MADT's one override of an edge line. */
		ioapic_set(vm, gsi ? gsi : 2, level);
	} else if (gsi < VM_NR_GSI) {
		ioapic_set(vm, gsi, level);
	}
}

void vm_pic_changed(struct vm *vm)
{
	vm->pic_intr = pic_pending(vm);
	if (vm->pic_intr && vm->vcpus[0])
		vcpu_kick(vm->vcpus[0]);
}

/* SDM vol. 3, 11.11.1: address 31:20 = FEE, destination 19:12, mode bit 2; data as in a redirection
 * entry. */
void vm_msi(struct vm *vm, u64 addr, u32 data)
{
	struct apic_msg m = {
		.dest = addr >> 12 & 0xff,
		.logical = addr >> 2 & 1,
		.vector = data & 0xff,
		.mode = data >> 8 & 7,
		.level_trig = data >> 15 & 1,
		.assert = 1,
	};

	if (addr >> 20 == 0xfee)
		vm_apic_msg(vm, NULL, &m);
}

static void deliver(struct vcpu *v, const struct apic_msg *m)
{
	switch (m->mode) {
	case 0:
	case 1:
		lapic_set_irr(v, m->vector, m->level_trig);
		break;
	case 4:
		vcpu_nmi(v);
		break;
	case 5:
		if (m->assert || !m->level_trig)
			vcpu_init_signal(v);
		break;
	case 6:
		vcpu_sipi(v, m->vector);
		break;
	case 7:
		lapic_set_extint(v);
		break;
	default: /* SMI: there is no SMM in this machine; 3 is reserved */
		break;
	}
}

static bool addressed(struct vcpu *v, const struct vcpu *from, const struct apic_msg *m)
{
	switch (m->shorthand) {
	case 1:
		return v == from;
	case 2:
		return true;
	case 3:
		return v != from;
	default:
		return lapic_match(&v->lapic, m);
	}
}

void vm_apic_msg(struct vm *vm, struct vcpu *from, const struct apic_msg *m)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		if (!addressed(vm->vcpus[i], from, m))
			continue;
		deliver(vm->vcpus[i], m);
		if (m->mode == 1) /* lowest priority: one of those addressed takes it */
			break;
	}
}
