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

void vm_nmi_pin(struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (lapic_accepts_nmi(&vm->vcpus[i]->lapic))
			vcpu_nmi(vm->vcpus[i]);
}

/* SDM vol. 3, 11.11.1: address 31:20 = FEE, destination 19:12, mode bit 2; data as in a redirection
 * entry. */
void vm_msi(struct vm *vm, u64 addr, u32 data)
{
	struct apic_msg m = {
		.dest = addr >> 12 & 0xff, .logical = addr >> 2 & 1, .vector = data & 0xff,
		.mode = data >> 8 & 7, .level_trig = data >> 15 & 1, .assert = 1,
	};

	if (addr >> 20 == 0xfee)
		vm_apic_msg(vm, NULL, &m);
}

void vm_eoi(struct vm *vm, u8 vector)
{
	spin_lock(&vm->dev_lock);
	ioapic_eoi(vm, vector);
	spin_unlock(&vm->dev_lock);
}

/* A request that the PIC has withdrawn since gives its spurious vector. */
int vm_pic_ack(struct vm *vm)
{
	int vector;

	spin_lock(&vm->dev_lock);
	vector = pic_ack(vm);
	vm->pic_intr = pic_pending(vm);
	spin_unlock(&vm->dev_lock);
	return vector;
}

static void deliver(struct vcpu *v, const struct apic_msg *m)
{
	if (m->mode < 2) { /* the APIC of an absent one is software-disabled: it latches nothing */
		vcpu_irq(v, m->vector, m->level_trig);
		return;
	}
	if (READ_ONCE(v->absent))
		return;
	switch (m->mode) {
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
		vcpu_request(v, REQ_EXTINT);
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
		return !READ_ONCE(v->absent);
	case 3:
		return v != from && !READ_ONCE(v->absent);
	default:
		return lapic_match(&v->lapic, m);
	}
}

/* One of those addressed takes it; among equals they take turns (SDM vol. 3, 11.6.2.4). */
static void deliver_lowest(struct vm *vm, struct vcpu *from, const struct apic_msg *m)
{
	u32 start = __atomic_fetch_add(&vm->lowest_next, 1, __ATOMIC_RELAXED), best_ppr = ~0u;
	struct vcpu *best = NULL;

	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[(start + i) % vm->nr_vcpus];
		u32 ppr = lapic_arbitration(&v->lapic);

		if (ppr < best_ppr && addressed(v, from, m)) {
			best = v;
			best_ppr = ppr;
		}
	}
	if (best)
		deliver(best, m);
}

/*
 * The other vCPUs' APICs are read while they run: as on a bus, a message meets them before or after
 * a write to their registers.
 */
void vm_apic_msg(struct vm *vm, struct vcpu *from, const struct apic_msg *m)
{
	if (m->mode == 1) {
		deliver_lowest(vm, from, m);
		return;
	}
	/* The usual one, to one CPU by its id, which is its number. */
	if (!(m->shorthand | m->logical) && m->dest < vm->nr_vcpus) {
		if (lapic_match(&vm->vcpus[m->dest]->lapic, m))
			deliver(vm->vcpus[m->dest], m);
		return;
	}
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (addressed(vm->vcpus[i], from, m))
			deliver(vm->vcpus[i], m);
}
