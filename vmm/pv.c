/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KVM's paravirtual interface: pv.h. Structures and numbers are those of Linux' uapi headers
 * (asm/kvm_para.h, asm/pvclock-abi.h, linux/kvm_para.h).
 */
#include "vmm/pv.h"
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/fetch.h"
#include "vmm/gmem.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

struct pvclock_wall_clock {
	u32 version, sec, nsec;
};
struct pvclock_time_info {
	u32 version, pad0;
	u64 tsc_timestamp, system_time;
	u32 mul;
	s8 shift;
	u8 flags, pad[2];
};
#define PVCLOCK_TSC_STABLE    BIT(0)
#define PVCLOCK_GUEST_STOPPED BIT(1)
struct kvm_steal_time {
	u64 steal;
	u32 version, flags;
	u8 preempted, pad0[3];
	u32 pad[11];
};
#define KVM_VCPU_PREEMPTED BIT(0)
#define KVM_VCPU_FLUSH_TLB BIT(1)
struct kvm_clock_pairing {
	s64 sec, nsec;
	u64 tsc;
	u32 flags, pad[9];
};
static_assert(sizeof(struct pvclock_wall_clock) == 12 && sizeof(struct pvclock_time_info) == 32 &&
		      sizeof(struct kvm_steal_time) == 64 && sizeof(struct kvm_clock_pairing) == 64,
	      "layouts that guests know");

/* --- clocks --- */

static bool stable(const struct vm *vm)
{
	return cpuid_guest_has(vm->cpuid, CPUID_PV_FEATURES, 'a', CPUID_PV_STABLE);
}

/* mul has all of its 32 bits: 2^-32 off, 7 ms in a year. */
struct pv_scale pv_scale_of(u64 khz)
{
	u64 ns = 1000000, ticks = khz;
	s8 shift = 0;

	for (; ns >= ticks; shift++)
		ticks *= 2;
	for (; 2 * ns < ticks; shift--)
		ns *= 2;
	return (struct pv_scale){(u32)(((ns << 32) + ticks / 2) / ticks), shift};
}

/* A struct that begins with its version, as it stood in memory before: odd while it changes. */
static void publish(struct vcpu *v, gpa_t gpa, void *s, size_t n)
{
	u32 *version = s;

	*version |= 1;
	gmem_write(v->vm, gpa, version, sizeof(*version));
	gmem_write(v->vm, gpa, s, n);
	++*version;
	gmem_write(v->vm, gpa, version, sizeof(*version));
}

/*
 * The clock is a constant function of the guest's TSC, from that TSC's reading at the guest's time
 * 0: the same on every vCPU and pCPU, and no load, pause or move makes it jump or needs a new one.
 */
static void write_clock(struct vcpu *v, u8 flags)
{
	gpa_t gpa = v->pv.system_time & ~3ull;
	struct pv_scale s = pv_scale_of(v->vm->tsc_khz);
	struct pvclock_time_info t;

	if (!(v->pv.system_time & PV_ENABLED) || gmem_read(v->vm, gpa, &t, sizeof(t)))
		return;
	t.tsc_timestamp = v->tsc_offset + vm_scale_tsc(v->vm, v->vm->t0_tsc);
	t.system_time = 0;
	t.mul = s.mul;
	t.shift = s.shift;
	t.flags = (t.flags & PVCLOCK_GUEST_STOPPED) | flags; /* the guest's to clear */
	if (stable(v->vm))
		t.flags |= PVCLOCK_TSC_STABLE;
	publish(v, gpa, &t, sizeof(t));
}

void pv_tsc_changed(struct vcpu *v)
{
	write_clock(v, 0);
}

void pv_guest_stopped(struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		write_clock(vm->vcpus[i], PVCLOCK_GUEST_STOPPED);
}

/* Wall clock at the guest's time 0. */
static void write_wall_clock(struct vcpu *v)
{
	u64 ns = vm_wallclock_ns(v->vm) - vm_time_ns(v->vm);
	struct pvclock_wall_clock w;

	if (gmem_read(v->vm, v->pv.wall_clock, &w, sizeof(w)))
		return;
	w.sec = (u32)(ns / 1000000000);
	w.nsec = (u32)(ns % 1000000000);
	publish(v, v->pv.wall_clock, &w, sizeof(w));
}

/* --- steal time; other vCPUs write the `preempted` byte too, so it is changed in place --- */

static struct kvm_steal_time *map_steal(struct vcpu *v)
{
	if (likely(!(v->pv.steal_time & PV_ENABLED)))
		return NULL;
	return gmem_map(v->vm, v->pv.steal_time & ~PV_ENABLED, sizeof(struct kvm_steal_time), true);
}

/*
 * From now on others must interrupt this vCPU again to flush its TLB; what they asked for while they need
 * not is done here. flush_nested() is enough: it drops linear translations, too (APM vol. 2, 15.16.1;
 * with EPT the only ones are combined ones, which INVEPT drops: SDM vol. 3, 29.4.1 and 29.4.3.1).
 */
void pv_load(struct vcpu *v)
{
	struct kvm_steal_time *s = map_steal(v);
	u64 waited;

	if (!s)
		return;
	if (__atomic_exchange_n(&s->preempted, 0, __ATOMIC_SEQ_CST) & KVM_VCPU_FLUSH_TLB)
		hv->flush_nested(&v->hv);
	waited = vcpu_waited_ticks(v);
	if (waited != v->waited_seen) {
		u32 version = s->version | 1;

		__atomic_store_n(&s->version, version, __ATOMIC_SEQ_CST);
		WRITE_ONCE(s->steal, s->steal + tsc_to_ns(waited - v->waited_seen));
		__atomic_store_n(&s->version, version + 1, __ATOMIC_RELEASE);
		v->waited_seen = waited;
	}
	gmem_unmap(v->vm, s);
}

/* One that waits in HLT is not preempted: whoever wants it wakes it. */
void pv_put(struct vcpu *v)
{
	struct kvm_steal_time *s = v->state == VCPU_RUNNING ? map_steal(v) : NULL;

	if (!s)
		return;
	__atomic_store_n(&s->preempted, KVM_VCPU_PREEMPTED, __ATOMIC_SEQ_CST);
	gmem_unmap(v->vm, s);
}

/* --- EOI --- */

/* An edge, alone in service, and nothing waits that its EOI would let through. */
bool pv_eoi_lendable(const struct lapic *l)
{
	unsigned w = (unsigned)l->highest_isr / 32;
	u32 bit = 1u << (l->highest_isr & 31);

	return !l->irr_any && l->highest_isr >= 0 && l->isr_any == 1u << w && l->isr[w] == bit &&
	       !(l->tmr[w] & bit);
}

void pv_eoi_lend(struct vcpu *v)
{
	static const u8 one = 1;

	if (pv_eoi_lendable(&v->lapic))
		v->pv.eoi_lent = !gmem_write(v->vm, v->pv.eoi & ~PV_ENABLED, &one, 1);
}

void pv_eoi_take_back(struct vcpu *v)
{
	u8 *word = gmem_map(v->vm, v->pv.eoi & ~PV_ENABLED, 1, true);
	bool done = word && !(*word & 1);

	if (word) {
		*word &= ~1;
		gmem_unmap(v->vm, word);
	}
	v->pv.eoi_lent = 0;
	if (done)
		lapic_eoi(v, &v->lapic);
}

/* --- MSRs --- */

#define FIELD(f) offsetof(struct vcpu_pv, f)
static const struct pv_msr {
	u32 msr, same; /* two numbers for one */
	u16 field;
	u16 size; /* of the memory that it points to */
	u64 reserved;
} pv_msrs[] = {
	{MSR_KVM_WALL_CLOCK, MSR_KVM_WALL_CLOCK_NEW, FIELD(wall_clock),
	 sizeof(struct pvclock_wall_clock), PV_WALL_RESERVED},
	{MSR_KVM_SYSTEM_TIME, MSR_KVM_SYSTEM_TIME_NEW, FIELD(system_time),
	 sizeof(struct pvclock_time_info), PV_CLOCK_RESERVED},
	{MSR_KVM_STEAL_TIME, MSR_KVM_STEAL_TIME, FIELD(steal_time), sizeof(struct kvm_steal_time),
	 PV_STEAL_RESERVED},
	{MSR_KVM_PV_EOI_EN, MSR_KVM_PV_EOI_EN, FIELD(eoi), sizeof(u32), PV_EOI_RESERVED},
	{MSR_KVM_POLL_CONTROL, MSR_KVM_POLL_CONTROL, FIELD(poll_control), 0, PV_POLL_RESERVED},
};

void pv_reset(struct vcpu *v)
{
	v->pv = (struct vcpu_pv){.poll_control = 1};
}

static const struct pv_msr *find(struct vcpu *v, u32 msr, u64 **place)
{
	for (u32 i = 0; v->vm->cfg.paravirt && i < ARRAY_SIZE(pv_msrs); i++)
		if (msr == pv_msrs[i].msr || msr == pv_msrs[i].same) {
			*place = (u64 *)((u8 *)&v->pv + pv_msrs[i].field);
			return &pv_msrs[i];
		}
	return NULL;
}

bool pv_msr_read(struct vcpu *v, u32 msr, u64 *val)
{
	u64 *place;

	if (!find(v, msr, &place))
		return false;
	*val = *place;
	return true;
}

/* Is val, for m, an address to use? Only the wall clock has no bit that says so: any but 0 is one. */
static bool points(const struct pv_msr *m, u64 val)
{
	return m->size && (m->field == FIELD(wall_clock) ? val != 0 : val & PV_ENABLED);
}

bool pv_msr_write(struct vcpu *v, u32 msr, u64 val)
{
	u64 *place;
	const struct pv_msr *m = find(v, msr, &place);

	if (!m || val & m->reserved ||
	    (points(m, val) && !gmem_is_ram(v->vm, val & ~PV_ENABLED, m->size)))
		return false;
	if (m->field == FIELD(eoi) && v->pv.eoi_lent)
		pv_eoi_take_back(v);
	*place = val;
	if (m->field == FIELD(wall_clock) && val) {
		write_wall_clock(v);
	} else if (m->field == FIELD(system_time)) {
		write_clock(v, 0);
	} else if (m->field == FIELD(steal_time)) {
		v->waited_seen = vcpu_waited_ticks(v); /* what came before was not this struct's */
		pv_load(v);
	}
	return true;
}

/* --- hypercalls: number in RAX, arguments in RBX, RCX, RDX, RSI; the answer comes in RAX --- */

#define KVM_HC_KICK_CPU	     5
#define KVM_HC_CLOCK_PAIRING 9
#define KVM_HC_SEND_IPI	     10
#define KVM_HC_SCHED_YIELD   11
#define KVM_ENOSYS	     1000
#define KVM_EOPNOTSUPP	     95

static s64 kick_cpu(struct vcpu *v, u32 id)
{
	for (u32 i = 0; i < v->vm->nr_vcpus; i++)
		if (v->vm->vcpus[i]->lapic.id == id)
			vcpu_request(v->vm->vcpus[i], REQ_UNHALT);
	return 0;
}

/* What the wall clock and the guest's TSC read at one moment; type 0 is the only one there is. */
static s64 clock_pairing(struct vcpu *v, gpa_t gpa, u64 type)
{
	struct kvm_clock_pairing p = {.tsc = vcpu_tsc(v)};
	u64 ns = vm_wallclock_ns(v->vm);

	if (type || !stable(v->vm))
		return -KVM_EOPNOTSUPP;
	p.sec = (s64)(ns / 1000000000);
	p.nsec = (s64)(ns % 1000000000);
	return gmem_write(v->vm, gpa, &p, sizeof(p)) ? -EFAULT : 0;
}

bool pv_ipi_names(u64 low, u64 high, u64 min, unsigned width, u32 id)
{
	u64 n = id - min;

	return id >= min && n < 2 * width && (n < width ? low >> n : high >> (n - width)) & 1;
}

/* Fixed and NMI alone: Linux sends no others so. */
static s64 send_ipi(struct vcpu *v, const u64 arg[4], unsigned width)
{
	struct apic_msg m = {.vector = (u8)arg[3], .mode = arg[3] >> 8 & 7, .assert = 1, .x2apic_dest = 1};
	s64 sent = 0;

	if (arg[3] & ~0x47ffull || (m.mode ? m.mode != 4 : m.vector < 16))
		return -EINVAL;
	for (u32 i = 0; i < v->vm->nr_vcpus; i++) {
		m.dest = v->vm->vcpus[i]->lapic.id;
		if (!pv_ipi_names(arg[0], arg[1], (u32)arg[2], width, m.dest))
			continue;
		vm_apic_msg(v->vm, v, &m);
		sent++;
	}
	return sent;
}

static s64 hypercall(struct vcpu *v, u64 nr, const u64 arg[4], unsigned width)
{
	if (!v->vm->cfg.paravirt)
		return -KVM_ENOSYS;
	switch (nr) {
	case KVM_HC_KICK_CPU:
		return kick_cpu(v, (u32)arg[1]);
	case KVM_HC_CLOCK_PAIRING:
		return clock_pairing(v, arg[0], arg[1]);
	case KVM_HC_SEND_IPI:
		return send_ipi(v, arg, width);
	case KVM_HC_SCHED_YIELD:
		sched_yield(); /* to whoever has waited longest: the one it names is among them */
		return 0;
	default:
		return -KVM_ENOSYS;
	}
}

/* VMCALL or VMMCALL, whichever the CPU's vendor has: the other raises #UD by itself. */
void exit_hypercall(struct vcpu *v, const struct vm_exit *e)
{
	static const struct insn_id vmmcall = {3, {0x0f, 0x01, 0xd9}};
	const u64 *gpr = v->hv.gpr;
	unsigned len = guest_insn_len(v, e, &vmmcall);
	struct hv_paging p;
	u64 mask;
	s64 r = -EPERM;

	if (!len)
		return;
	hv->get_paging(&v->hv, &p);
	mask = p.mode == 8 ? ~0ull : ~0u;
	if (p.cpl == 0) {
		const u64 arg[4] = {gpr[REG_RBX] & mask, gpr[REG_RCX] & mask, gpr[REG_RDX] & mask,
				    gpr[REG_RSI] & mask};

		r = hypercall(v, gpr[REG_RAX] & mask, arg, p.mode == 8 ? 64 : 32);
	}
	v->hv.gpr[REG_RAX] = (u64)r & mask;
	hv->advance(&v->hv, len);
}
