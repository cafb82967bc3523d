/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPUID as the guest sees it. The policy is one table: what of the host's bits is passed and which
 * bits we set because we make the feature ourselves. A leaf that is not in the table reads as zero,
 * so that a new CPU's new features stay hidden until somebody has looked at them.
 */
#include "vmm/cpuid.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/fetch.h"
#include "vmm/vm.h"

#define MAX_BASIC    0xd
#define AVX512_7_EBX 0xdc230000u
#define MAX_EXT      0x80000021u
#define ALL          0xffffffffu

struct cpuid_rule {
	u32 leaf;
	struct cpuid pass, set;
};

/* Columns eax, ebx, ecx, edx. */
static const struct cpuid_rule policy[] = {
	{0x0, {0, ALL, ALL, ALL}, {0}}, /* vendor; eax is made */
	/* 1: family; features. Hidden: MONITOR, DTES64, DS-CPL, VMX, SMX, EIST, TM2, xTPR, PDCM,
	 * DCA, PSN, DS, ACPI, HTT, TM, PBE. Made: x2APIC, TSC-deadline, hypervisor. */
	{0x1, {ALL, 0x0000ff00, 0x76da3203, 0x0f8bfbff}, {0, 0, 0x81200000, 0x00000200}},
	{0x2, {ALL, ALL, ALL, ALL}, {0}}, /* caches, TLBs */
	{0x4, {0}, {0}},                  /* by subleaf: cpuid_read() */
	{0x6, {0}, {0x4, 0, 0, 0}},       /* ARAT: the APIC timer never stops */
	/* 7: hidden are TSC_ADJUST, SGX, HLE, RTM, PQM, MPX, PT, PKU, CET, LA57, SPEC_CTRL and kin.
	 */
	{0x7, {0, 0x219c07a9 | AVX512_7_EBX, 0x00405f46, 0x0000041c}, {0}},
	{0xb, {0}, {0}}, /* topology: by subleaf */
	{0xd, {0}, {0}}, /* XSAVE: by subleaf and XCR0 */
	{0x80000000, {0, ALL, ALL, ALL}, {0}},
	/* Hidden: CMP_LEGACY, SVM, EXTAPIC, OSVW, IBS, SKINIT, WDT, LWP, TOPOEXT, PERFCTR, ... */
	{0x80000001, {ALL, 0, 0x002109f1, 0x2fd3fbff}, {0}},
	{0x80000002, {ALL, ALL, ALL, ALL}, {0}},
	{0x80000003, {ALL, ALL, ALL, ALL}, {0}},
	{0x80000004, {ALL, ALL, ALL, ALL}, {0}},
	{0x80000005, {ALL, ALL, ALL, ALL}, {0}},
	{0x80000006, {ALL, ALL, ALL, ALL}, {0}},
	{0x80000007, {0, 0, 0, 0x00000100}, {0}}, /* invariant TSC */
	/* Address sizes; CLZERO, XSAVEERPTR, WBNOINVD. */
	{0x80000008, {0x0000ffff, 0x00000205, 0, 0}, {0}},
	{0x80000021, {0x00000044, 0, 0, 0}, {0}}, /* LFENCE serialises, null selector clears base */
};

static struct cpuid *slot_of(struct cpuid_table *t, u32 leaf)
{
	if (leaf < CPUID_BASIC)
		return &t->basic[leaf];
	if (leaf - 0x80000000u < CPUID_EXT)
		return &t->ext[leaf - 0x80000000u];
	return NULL;
}

static void apply(struct cpuid_table *t, const struct cpuid_rule *r)
{
	u32 max = cpuid(r->leaf & 0x80000000u, 0).eax;
	struct cpuid h = {0}, *out = slot_of(t, r->leaf);

	if (r->leaf <= max)
		h = cpuid(r->leaf, 0);
	out->eax = (h.eax & r->pass.eax) | r->set.eax;
	out->ebx = (h.ebx & r->pass.ebx) | r->set.ebx;
	out->ecx = (h.ecx & r->pass.ecx) | r->set.ecx;
	out->edx = (h.edx & r->pass.edx) | r->set.edx;
}

/* AVX and what builds on it only where XCR0 can hold its state. */
static void follow_xcr0(struct cpuid_table *t)
{
	u64 mask = fpu_xcr0_mask();

	if (!(mask & XCR0_SSE))
		t->basic[1].ecx &= ~BIT(26);
	if (!(mask & XCR0_AVX)) {
		t->basic[1].ecx &= ~(BIT(12) | BIT(28) | BIT(29));
		t->basic[7].ebx &= ~BIT(5);
		t->basic[7].ecx &= ~(BIT(9) | BIT(10));
		t->ext[1].ecx &= ~(BIT(11) | BIT(16));
	}
	if ((mask & XCR0_AVX512) != XCR0_AVX512) {
		t->basic[7].ebx &= ~AVX512_7_EBX;
		t->basic[7].ecx &= ~(BIT(1) | BIT(6) | BIT(11) | BIT(12) | BIT(14));
		t->basic[7].edx &= ~0xcu;
	}
}

int cpuid_build(struct vm *vm)
{
	struct cpuid_table *t = kzalloc(sizeof(*t), FRAME_VM, vm->id);

	if (!t)
		return -ENOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(policy); i++)
		apply(t, &policy[i]);
	follow_xcr0(t);
	t->max_basic = MAX_BASIC;
	t->max_ext = MIN(MAX_EXT, cpuid(0x80000000u, 0).eax);
	t->basic[0].eax = t->max_basic;
	t->ext[0].eax = t->max_ext;
	if (!t->ext[8].eax)
		t->ext[8].eax = 0x3024; /* 36 and 48 bits, what a CPU without the leaf has */
	t->hv[0] = (struct cpuid){0x40000001, 0, 0, 0};
	memcpy(&t->hv[0].ebx, "DalangDalang", 12);
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

/* Caches of one core, unshared: the host's sizes, our topology. */
static void leaf_4(u32 sub, struct cpuid *out)
{
	if (cpuid(0, 0).eax < 4)
		return;
	*out = cpuid(4, sub);
	out->eax &= 0x3fff;
}

static void leaf_b(const struct vcpu *v, u32 sub, struct cpuid *out)
{
	*out = (struct cpuid){0, 0, sub, v->lapic.id};
	if (sub < 2) {
		out->ebx = 1;
		out->ecx |= (sub + 1) << 8; /* SMT, then core */
	}
}

static u32 xsave_size(u64 xcr0)
{
	u32 size = 576; /* legacy area and header */

	for (unsigned i = 2; i < 63; i++) {
		struct cpuid c;

		if (!(xcr0 >> i & 1))
			continue;
		c = cpuid(0xd, i);
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
		*out = (struct cpuid){mask, xsave_size(guest_xcr0(v)), xsave_size(mask),
				      mask >> 32};
	} else if (sub == 1) {
		out->eax = cpuid(0xd, 1).eax & 7; /* XSAVEOPT, XSAVEC, XGETBV 1; no XSAVES */
		out->ebx = xsave_size(guest_xcr0(v));
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
		out->ebx |= 1u << 16 | v->lapic.id << 24;
		if (hv->get_reg(&v->hv, REG_CR4) & CR4_OSXSAVE)
			out->ecx |= BIT(27);
		if (!(v->lapic.base_msr & APIC_BASE_ENABLE))
			out->edx &= ~BIT(9);
		break;
	case 4:
		leaf_4(sub, out);
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
	} else if (leaf - 0x40000000u < CPUID_HV) {
		*out = t->hv[leaf - 0x40000000u];
	} else {
		*out = (struct cpuid){0};
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
