/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPUID as the guest sees it: the policy (cpuid_policy.c) worked out for this host when a VM is
 * created, and the leaves whose answer depends on the vCPU or the subleaf.
 */
#include "vmm/cpuid.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/cpuid_policy.h"
#include "vmm/fetch.h"
#include "vmm/vm.h"

#define MAX_BASIC 0xd
#define MAX_EXT	  0x80000021u

/*
 * Nested tables have four levels, on both vendors: guest-physical addresses have 48 bits (SDM vol.
 * 3, 29.3.2; APM vol. 2, 15.25.5). A guest's own tables may have five where the CPU can: linear addresses
 * are not the nested tables' business.
 */
#define NESTED_BITS 48u

static struct cpuid *slot_of(struct cpuid_table *t, u32 leaf)
{
	static const u32 hv_leaves[CPUID_HV] = {0x40000000, 0x40000001, 0x40000010, 0x40000100, CPUID_PV_FEATURES};

	if (leaf < CPUID_BASIC)
		return &t->basic[leaf];
	if (leaf - 0x80000000u < CPUID_EXT)
		return &t->ext[leaf - 0x80000000u];
	for (u32 i = 0; i < CPUID_HV; i++)
		if (leaf == hv_leaves[i])
			return &t->hv[i];
	return NULL;
}

/* AVX and what builds on it only where XCR0 can hold its state. */
static bool can_pass(enum cpuid_how how)
{
	u64 mask = fpu_xcr0_mask();

	return how == CPUID_PASS || (how == CPUID_XSAVE && mask & XCR0_SSE) ||
	       (how == CPUID_AVX && mask & XCR0_AVX) ||
	       (how == CPUID_AVX512 && (mask & XCR0_AVX512) == XCR0_AVX512);
}

static void apply_policy(struct cpuid_table *t)
{
	struct cpuid host = {0};
	u32 leaf = ~0u;

	for (u32 i = 0; i < cpuid_policy_size; i++) {
		const struct cpuid_bits *b = &cpuid_policy[i];
		u32 mask = (u32)(BIT(b->last + 1) - BIT(b->first));
		struct cpuid *out = slot_of(t, b->leaf);

		if (!out)
			continue;
		if (b->leaf != leaf) { /* a leaf's rows stand together */
			leaf = b->leaf;
			host = (struct cpuid){0};
			if (leaf <= cpuid(leaf & 0x80000000u, 0).eax)
				host = cpuid(leaf, 0);
		}
		if (can_pass(b->how))
			(&out->eax)[b->reg - 'a'] |= (&host.eax)[b->reg - 'a'] & mask;
		else if (b->how == CPUID_MADE)
			(&out->eax)[b->reg - 'a'] |= mask;
	}
}

/* A CPU without the leaf has 36 and 48 bits (SDM vol. 3, 4.1.4). */
static u32 address_bits(const struct cpuid_table *t)
{
	u32 phys = 36, linear = cpuid_guest_has(t, 7, 'c', 16) ? 57 : 48;

	if (cpuid(0x80000000u, 0).eax >= 0x80000008u)
		phys = cpuid(0x80000008u, 0).eax & 0xff;
	return MIN(phys, NESTED_BITS) | linear << 8;
}

/* Bits of an APIC id that number the package's cores; ids are vCPU numbers (vmm/vcpu.c). */
static u32 core_bits(u32 cores)
{
	return cores > 1 ? 32 - (u32)__builtin_clz(cores - 1) : 0;
}

/*
 * One package, a core a vCPU, a thread a core (SDM vol. 3, 9.9; APM vol. 3, E.5), whatever the
 * host's are. AMD's older fields tell a core from a thread by CMP_LEGACY; the newer ones are
 * offered where the host has them, as they want a description of the caches.
 */
static void topology(struct cpuid_table *t, u32 cores)
{
	t->basic[1].ebx |= cores << 16;
	if (cores > 1)
		t->basic[1].edx |= BIT(28); /* HTT: EBX 23:16 counts */
	if (t->basic[0].ebx == CPUID_GENU)
		return;
	if (cores > 1)
		t->ext[1].ecx |= BIT(1); /* CMP_LEGACY */
	t->ext[8].ecx = (cores - 1) | core_bits(cores) << 12;
	if (t->max_ext >= 0x8000001e)
		t->ext[1].ecx |= cpuid(0x80000001u, 0).ecx & BIT(22);
}

/* Ours, and KVM's where Linux, FreeBSD and others look for it: they try every 100h. */
static void hypervisor_leaves(const struct vm *vm, struct cpuid_table *t)
{
	t->hv[0] = (struct cpuid){0x40000010, 0, 0, 0};
	memcpy(&t->hv[0].ebx, "DalangDalang", 12);
	t->hv[2] = (struct cpuid){(u32)vm->tsc_khz, LAPIC_TIMER_HZ / 1000, 0, 0};
	if (!vm->cfg.paravirt) {
		t->hv[4].eax = 0;
		return;
	}
	t->hv[3] = (struct cpuid){CPUID_PV_FEATURES, 0, 0, 0};
	memcpy(&t->hv[3].ebx, "KVMKVMKVM\0\0", 12);
	if (tsc_in_step)
		t->hv[4].eax |= BIT(CPUID_PV_STABLE);
}

int cpuid_build(struct vm *vm)
{
	struct cpuid_table *t = kzalloc(sizeof(*t), FRAME_VM, vm->id);

	if (!t)
		return -ENOMEM;
	apply_policy(t);
	t->max_basic = MAX_BASIC;
	t->max_ext = MIN(MAX_EXT, cpuid(0x80000000u, 0).eax);
	t->basic[0].eax = t->max_basic;
	t->ext[0].eax = t->max_ext;
	t->ext[8].eax = address_bits(t);
	topology(t, vm->cfg.maxvcpus);
	hypervisor_leaves(vm, t);
	vm->cpuid = t;
	vm->insn_flags = t->basic[0].ebx == CPUID_GENU ? 0 : INSN_AMD_BRANCHES;
	return 0;
}

bool cpuid_guest_has(const struct cpuid_table *t, u32 leaf, char reg, unsigned bit)
{
	const struct cpuid *c = slot_of((struct cpuid_table *)t, leaf);
	const u32 *r = &c->eax;

	return r[reg - 'a'] >> bit & 1;
}

/* The host's caches in our topology: the third level is the package's, the others are a core's. */
static void caches(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid *out)
{
	u32 cores = v->vm->cfg.maxvcpus, ids = 1u << core_bits(cores);

	*out = (struct cpuid){0};
	if (cpuid(leaf & 0x80000000u, 0).eax < leaf)
		return;
	*out = cpuid(leaf, sub);
	out->eax &= 0x3fff;
	if ((out->eax >> 5 & 7) == 3)
		out->eax |= (leaf == 4 ? ids - 1 : cores - 1) << 14;
	if (leaf == 4 && out->eax & 31)
		out->eax |= (ids - 1) << 26;
}

static void leaf_b(const struct vcpu *v, u32 sub, struct cpuid *out)
{
	u32 cores = v->vm->cfg.maxvcpus;

	*out = (struct cpuid){0, 0, sub, v->lapic.id};
	if (sub == 0)
		*out = (struct cpuid){0, 1, 1 << 8 | sub, v->lapic.id}; /* SMT */
	else if (sub == 1)
		*out = (struct cpuid){core_bits(cores), cores, 2 << 8 | sub, v->lapic.id};
}

/* The leaves that TOPOLOGY_EXTENSIONS announces. */
static void topology_extension(const struct vcpu *v, u32 leaf, u32 sub, struct cpuid *out)
{
	if (leaf == 0x8000001du)
		caches(v, leaf, sub, out);
	else if (leaf == 0x8000001eu)
		*out = (struct cpuid){v->lapic.id, v->lapic.id, 0, 0}; /* core: of 1 thread; node 0 of 1 */
}

/* SDM vol. 1, 13.4.2 and 13.4.3: where CPUID says, or one behind the other, some at multiples of 64 (ECX bit 1). */
static u32 xsave_size(u64 xcr0, bool compacted)
{
	u32 size = 576; /* legacy area and header */

	for (unsigned i = 2; i < 63; i++) {
		struct cpuid c;

		if (!(xcr0 >> i & 1))
			continue;
		c = cpuid(0xd, i);
		if (compacted)
			size = (c.ecx & 2 ? ALIGN_UP(size, 64u) : size) + c.eax;
		else
			size = MAX(size, c.eax + c.ebx);
	}
	return size;
}

static u64 guest_xcr0(const struct vcpu *v)
{
	/* Live in the CPU while loaded; not every machine below tells us of XSETBV. */
	return fpu_xcr0_mask() & XCR0_SSE ? xgetbv(0) : v->hv.xcr0;
}

static void leaf_d(const struct vcpu *v, u32 sub, struct cpuid *out)
{
	u64 mask = fpu_xcr0_mask();

	if (!cpuid_guest_has(v->vm->cpuid, 1, 'c', 26))
		return;
	if (sub == 0) {
		*out = (struct cpuid){mask, xsave_size(guest_xcr0(v), false), xsave_size(mask, false),
				      mask >> 32};
	} else if (sub == 1) {
		out->eax = cpuid(0xd, 1).eax & 7; /* XSAVEOPT, XSAVEC, XGETBV 1; no XSAVES */
		out->ebx = out->eax & 2 ? xsave_size(guest_xcr0(v), true) : 0; /* XSAVEC's */
	} else if (sub < 63 && mask >> sub & 1) {
		*out = cpuid(0xd, sub);
	}
}

/* Leaves whose answer depends on the vCPU or on the subleaf. */
#define LEAVES_BY_STATE (BIT(1) | BIT(4) | BIT(7) | BIT(0xb) | BIT(0xd))

static void by_state(struct vcpu *v, u32 leaf, u32 sub, struct cpuid *out)
{
	switch (leaf) {
	case 1:
		out->ebx |= v->lapic.id << 24;
		if (hv->get_reg(&v->hv, REG_CR4) & CR4_OSXSAVE)
			out->ecx |= BIT(27);
		if (!(v->lapic.base_msr & APIC_BASE_ENABLE))
			out->edx &= ~BIT(9);
		break;
	case 4:
		caches(v, leaf, sub, out);
		break;
	case 7:
		if (sub)
			*out = (struct cpuid){0};
		break;
	case 0xb:
		leaf_b(v, sub, out);
		break;
	case 0xd:
		leaf_d(v, sub, out);
		break;
	}
}

static inline void cpuid_read(struct vcpu *v, u32 leaf, u32 sub, struct cpuid *out)
{
	const struct cpuid_table *t = v->vm->cpuid;

	if (leaf <= t->max_basic) {
		*out = t->basic[leaf];
		if (LEAVES_BY_STATE >> leaf & 1)
			by_state(v, leaf, sub, out);
	} else if (leaf - 0x80000000u < CPUID_EXT) {
		*out = t->ext[leaf - 0x80000000u];
		if (leaf == 0x80000001u && !(v->lapic.base_msr & APIC_BASE_ENABLE))
			out->edx &= ~BIT(9);
		else if (leaf >= 0x8000001du && t->ext[1].ecx & BIT(22))
			topology_extension(v, leaf, sub, out);
	} else {
		const struct cpuid *c = slot_of((struct cpuid_table *)t, leaf);

		*out = c ? *c : (struct cpuid){0};
	}
}

void exit_cpuid(struct vcpu *v, const struct vm_exit *e)
{
	static const struct insn_id id = {2, {0x0f, 0xa2}};
	unsigned len = guest_insn_len(v, e, &id);
	u32 leaf = v->hv.gpr[REG_RAX];
	struct cpuid r;

	if (!len)
		return;
	cpuid_read(v, leaf, v->hv.gpr[REG_RCX], &r);
	v->hv.gpr[REG_RAX] = r.eax;
	v->hv.gpr[REG_RBX] = r.ebx;
	v->hv.gpr[REG_RCX] = r.ecx;
	v->hv.gpr[REG_RDX] = r.edx;
	hv->advance(&v->hv, len);
}
