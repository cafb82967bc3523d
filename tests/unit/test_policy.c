/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/msr.c vmm/cpuid.c vmm/cpuid_policy.c */
/*
 * CPUID and MSRs of a guest: that the tables do what they say, and that docs/cpuid-msr.md says what
 * the tables do. `build/unit/policy --write` prints the tables into that file anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/spec.h"
#include "lib/string.h"
#include "vmm/cpuid_policy.h"
#include "vmm/gwalk.h"
#include "vmm/msr.h"
#include "vmm/vm.h"

#define DOC  "docs/cpuid-msr.md"
#define MARK "<!-- From here on printed by build/unit/policy --write -->\n"

static struct vm vm = {.cfg = {.paravirt = true}};
static struct vcpu v = {.vm = &vm};
static u64 regs[HV_NR_REGS], xcr0_mask, passed[8];
static unsigned nr_gp;

static u64 get_reg(struct hv_vcpu *h, enum hv_reg r)
{
	(void)h;
	return regs[r];
}
static void set_reg(struct hv_vcpu *h, enum hv_reg r, u64 val)
{
	(void)h;
	regs[r] = val;
}
static void advance(struct hv_vcpu *h, unsigned len)
{
	(void)h;
	(void)len;
}
static void msr_pass(struct hv_vcpu *h, u32 msr, bool read, bool write)
{
	(void)h;
	if (msr == MSR_PRED_CMD || msr == MSR_FLUSH_CMD)
		passed[msr == MSR_FLUSH_CMD] = (u64)read << 1 | write;
	else
		passed[2]++;
}
static const struct hv_ops ops = {.get_reg = get_reg, .set_reg = set_reg, .advance = advance,
				  .msr_pass = msr_pass};
const struct hv_ops *hv = &ops;

void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	(void)type;
	(void)owner;
	return calloc(1, size);
}
bool rdmsr_safe(u32 msr, u64 *val)
{
	*val = ~0ull;
	return msr == MSR_ARCH_CAPABILITIES;
}
u64 fpu_xcr0_mask(void)
{
	return xcr0_mask;
}
bool lapic_msr_read(struct vcpu *c, u32 msr, u64 *val)
{
	(void)c;
	(void)msr;
	*val = 0;
	return true;
}
void lapic_eoi(struct vcpu *c, struct lapic *l)
{
	(void)c;
	l->highest_isr = -1;
}
bool lapic_msr_write(struct vcpu *c, u32 msr, u64 val)
{
	(void)c;
	(void)msr;
	(void)val;
	return true;
}
void lapic_timer_rearm(struct vcpu *c)
{
	(void)c;
}
u64 tsc_khz = 2000000;
bool tsc_in_step;
/* As pv.c: the MSRs are there if the VM file does not say no. */
bool pv_msr_read(struct vcpu *c, u32 msr, u64 *val)
{
	(void)msr;
	*val = 0;
	return c->vm->cfg.paravirt;
}
bool pv_msr_write(struct vcpu *c, u32 msr, u64 val)
{
	(void)msr;
	(void)val;
	return c->vm->cfg.paravirt;
}
void pv_eoi_take_back(struct vcpu *c)
{
	(void)c;
	fail();
}
void pv_tsc_changed(struct vcpu *c)
{
	(void)c;
}
void vcpu_set_tsc_offset(struct vcpu *c, u64 offset)
{
	c->tsc_offset = offset;
}
u64 vcpu_tsc(struct vcpu *c)
{
	(void)c;
	return 0;
}
bool efer_write(struct vcpu *c, u64 val)
{
	(void)c;
	return !(val & 2);
}
unsigned guest_insn_decode_len(struct vcpu *c, const struct insn_id *id)
{
	(void)c;
	(void)id;
	return 0;
}
void vcpu_raise(struct vcpu *c, u8 vector, bool has_error, u32 error, u64 payload)
{
	(void)c;
	assert_true(vector == 13 && has_error && !error && !payload);
	nr_gp++;
}

static const struct vm_exit e = {.insn_len = 2};

static bool wrmsr_ok(u32 msr, u64 val)
{
	unsigned before = nr_gp;

	v.hv.gpr[REG_RCX] = msr;
	v.hv.gpr[REG_RAX] = (u32)val;
	v.hv.gpr[REG_RDX] = val >> 32;
	exit_wrmsr(&v, &e);
	return nr_gp == before;
}
static bool rdmsr_ok(u32 msr, u64 *val)
{
	unsigned before = nr_gp;

	v.hv.gpr[REG_RCX] = msr;
	exit_rdmsr(&v, &e);
	*val = (u32)v.hv.gpr[REG_RAX] | v.hv.gpr[REG_RDX] << 32;
	return nr_gp == before;
}

static void as_vendor(u32 ebx)
{
	vm.cpuid->basic[0].ebx = ebx;
}

static int start(void **state)
{
	(void)state;
	xcr0_mask = 0xe7;
	vm.cfg.maxvcpus = 1;
	free(vm.cpuid);
	return cpuid_build(&vm);
}

/* --- the policy does what it says --- */

static const struct cpuid_bits *row_of(u32 leaf, char reg, unsigned bit)
{
	for (u32 i = 0; i < cpuid_policy_size; i++) {
		const struct cpuid_bits *b = &cpuid_policy[i];

		if (b->leaf == leaf && b->reg == reg && bit >= b->first && bit <= b->last)
			return b;
	}
	return NULL;
}

static bool can_hold(enum cpuid_how how)
{
	return how == CPUID_PASS || (how == CPUID_XSAVE && xcr0_mask & XCR0_SSE) ||
	       (how == CPUID_AVX && xcr0_mask & XCR0_AVX) ||
	       (how == CPUID_AVX512 && (xcr0_mask & XCR0_AVX512) == XCR0_AVX512);
}

static void check_leaf(u32 leaf, const struct cpuid *got)
{
	struct cpuid h = {0};

	if (leaf <= cpuid(leaf & 0x80000000u, 0).eax)
		h = cpuid(leaf, 0);
	for (char reg = 'a'; reg <= 'd'; reg++)
		for (unsigned bit = 0; bit < 32; bit++) {
			const struct cpuid_bits *b = row_of(leaf, reg, bit);
			bool is = (&got->eax)[reg - 'a'] >> bit & 1;
			bool host = (&h.eax)[reg - 'a'] >> bit & 1;

			if (!b || b->how == CPUID_HIDE)
				assert_false(is);
			else if (b->how == CPUID_MADE)
				assert_true(is);
			else if (b->how != CPUID_LIVE && is != (host && can_hold(b->how)))
				fail_msg("leaf %x E%cX bit %u (%s) is %d", leaf, reg - 32, bit, b->name, is);
		}
}

static void test_cpuid(void **state)
{
	static const u32 masks[] = {0, 3, 7, 0xe7};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(masks); i++) {
		free(vm.cpuid);
		xcr0_mask = masks[i];
		assert_int_equal(cpuid_build(&vm), 0);
		for (u32 l = 0; l < CPUID_BASIC; l++)
			check_leaf(l, &vm.cpuid->basic[l]);
		for (u32 l = 0; l < CPUID_EXT; l++)
			check_leaf(0x80000000u + l, &vm.cpuid->ext[l]);
	}
	assert_true((vm.cpuid->ext[8].eax & 0xff) <= 48 && vm.cpuid->ext[8].eax >> 8 == 48);
	check_leaf(CPUID_PV_FEATURES, &vm.cpuid->hv[4]);
	assert_memory_equal(&vm.cpuid->hv[0].ebx, "DalangDalang", 12);
	/* No bit twice, and a leaf's rows together. */
	for (u32 i = 0; i < cpuid_policy_size; i++) {
		const struct cpuid_bits *b = &cpuid_policy[i];

		for (unsigned bit = b->first; bit <= b->last; bit++)
			assert_ptr_equal(row_of(b->leaf, b->reg, bit), b);
		assert_true(!i || b->leaf >= b[-1].leaf);
	}
}

static struct cpuid ask(u32 leaf, u32 sub)
{
	v.hv.gpr[REG_RAX] = leaf;
	v.hv.gpr[REG_RCX] = sub;
	exit_cpuid(&v, &e);
	return (struct cpuid){(u32)v.hv.gpr[REG_RAX], (u32)v.hv.gpr[REG_RBX],
			      (u32)v.hv.gpr[REG_RCX], (u32)v.hv.gpr[REG_RDX]};
}

/* The caches of a leaf: none shared but those of the third level, by all. */
static void check_caches(u32 leaf, u32 sharing, u32 cores)
{
	for (u32 sub = 0; sub < 8; sub++) {
		struct cpuid c = ask(leaf, sub), host = {0};

		if (leaf <= cpuid(leaf & 0x80000000u, 0).eax)
			host = cpuid(leaf, sub);
		assert_int_equal(c.eax & 0x3fff, host.eax & 0x3fff);
		assert_int_equal(c.ebx, host.ebx);
		assert_int_equal(c.eax >> 14 & 0xfff, (c.eax >> 5 & 7) == 3 ? sharing - 1 : 0);
		assert_int_equal(c.eax >> 26, c.eax & 31 ? cores - 1 : 0);
	}
}

/* One package of n cores, one thread each, by every leaf that says so. */
static void test_topology(void **state)
{
	static const struct {
		u32 n, ids, bits;
	} t[] = {{1, 1, 0}, {2, 2, 1}, {3, 4, 2}, {8, 8, 3}, {33, 64, 6}, {64, 64, 6}};

	(void)state;
	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		bool amd, extensions;

		free(vm.cpuid);
		vm.cfg.maxvcpus = t[i].n;
		assert_int_equal(cpuid_build(&vm), 0);
		amd = vm.cpuid->basic[0].ebx != CPUID_GENU;
		extensions = amd && ask(0x80000001, 0).ecx & BIT(22);
		for (v.lapic.id = 0; v.lapic.id < t[i].n; v.lapic.id++) {
			struct cpuid c = ask(1, 0);

			assert_int_equal(c.ebx >> 16, v.lapic.id << 8 | t[i].n);
			assert_int_equal(c.edx >> 28 & 1, t[i].n > 1);
			c = ask(0xb, 0);
			assert_true(!c.eax && c.ebx == 1 && c.ecx == 0x100 && c.edx == v.lapic.id);
			c = ask(0xb, 1);
			assert_true(c.eax == t[i].bits && c.ebx == t[i].n && c.ecx == 0x201);
			assert_int_equal(c.edx, v.lapic.id);
			c = ask(0xb, 2);
			assert_true(!c.eax && !c.ebx && c.ecx == 2 && c.edx == v.lapic.id);
			check_caches(4, t[i].ids, t[i].ids);
			assert_int_equal(ask(0x80000001, 0).ecx >> 1 & 1, amd && t[i].n > 1);
			assert_int_equal(ask(0x80000008, 0).ecx, amd ? t[i].bits << 12 | (t[i].n - 1) : 0);
			c = ask(0x8000001e, 0);
			assert_true(c.eax == (extensions ? v.lapic.id : 0) && c.ebx == c.eax && !c.ecx && !c.edx);
			if (extensions)
				check_caches(0x8000001d, t[i].n, 1);
			else
				assert_false(ask(0x8000001d, 0).eax);
		}
	}
	v.lapic.id = 0;
}

/* The compacted format has no gaps, so it is no larger; a CPU without XSAVEC has no such size. */
static void test_xsave_size(void **state)
{
	struct cpuid whole = ask(0xd, 0), c = ask(0xd, 1);

	(void)state;
	if (!(ask(1, 0).ecx >> 26 & 1))
		return;
	assert_true(c.eax & 2 ? c.ebx >= 576 && c.ebx <= whole.ebx && c.ebx <= cpuid(0xd, 1).ebx : !c.ebx);
}

/* Of KVM's interface all or nothing; the stable clock only on a machine whose TSCs are in step. */
static void test_paravirt(void **state)
{
	const u32 always = 0x3aeb, stable = BIT(CPUID_PV_STABLE);

	(void)state;
	vm.tsc_khz = 1234567;
	for (unsigned i = 0; i < 4; i++) {
		free(vm.cpuid);
		tsc_in_step = i & 1;
		vm.cfg.paravirt = i & 2;
		assert_int_equal(cpuid_build(&vm), 0);
		assert_int_equal(vm.cpuid->hv[0].eax, 0x40000010);
		assert_int_equal(vm.cpuid->hv[2].eax, 1234567);
		assert_int_equal(vm.cpuid->hv[3].eax, i & 2 ? CPUID_PV_FEATURES : 0);
		assert_memory_equal(&vm.cpuid->hv[3].ebx, i & 2 ? "KVMKVMKVM\0\0" : "\0\0\0\0\0\0\0\0\0\0\0", 12);
		assert_int_equal(vm.cpuid->hv[4].eax, i == 3 ? always | stable : i == 2 ? always : 0);
	}
}

static void test_table(void **state)
{
	u64 val;

	(void)state;
	for (u32 i = 0; i < msr_table_size; i++)
		assert_true(msr_table[i].first <= msr_table[i].last &&
			    (!i || msr_table[i - 1].last < msr_table[i].first));
	for (u32 msr = 0; msr < 0x2000; msr++) {
		unsigned k = 0;

		while (k < msr_table_size && (msr < msr_table[k].first || msr > msr_table[k].last))
			k++;
		if (k == msr_table_size) {
			assert_false(rdmsr_ok(msr, &val));
			assert_false(wrmsr_ok(msr, 0));
		}
	}
	assert_false(rdmsr_ok(0xffffffff, &val));
	msrs_pass(&v);
	assert_int_equal(passed[2], 10);
}

static void test_reserved_bits(void **state)
{
	static const struct {
		u32 msr;
		u64 good, bad;
	} t[] = {
		{MSR_PAT, 0x0007040600070406, 0x0007040600070402},
		{MSR_PAT, 0x0107050401070504, 0x0807040600070406},
		{MSR_PAT, 0, 0x0000000300000000},
		{MSR_MTRR_DEF_TYPE, 0xc06, 0xc02},
		{MSR_MTRR_DEF_TYPE, 0, 0x1c06},
		{MSR_MTRR_DEF_TYPE, 0x805, 0xc16},
		{MSR_MTRR_PHYSBASE(0), 0xc0000006, 0xc0000003},
		{MSR_MTRR_PHYSBASE(7), 0xc0000000, 0xc0000100},
		{MSR_MTRR_PHYSBASE(1), 0xc0000001, 1ull << 52},
		{MSR_MTRR_PHYSMASK(0), 0xc0000800, 0xc0000801},
		{MSR_MTRR_PHYSMASK(7), 0, 1ull << 63},
		{MSR_MTRR_FIX64K_00000, 0x0606050401000606, 0x0606060606060607},
		{MSR_MTRR_FIX16K_A0000, 0, 0x0200000000000000},
		{MSR_MTRR_FIX4K_C0000 + 7, 0x0505050505050505, 0x0000000000160000},
		{MSR_TSC_AUX, 0xffffffff, 0x100000000},
		{MSR_DEBUGCTL, 0, 1},
		{MSR_MCG_STATUS, 0, 4},
	};
	u64 val;

	(void)state;
	vm.cpuid->ext[1].edx |= BIT(27);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		if (!wrmsr_ok(t[i].msr, t[i].good) || wrmsr_ok(t[i].msr, t[i].bad))
			fail_msg("row %u", i);
		assert_true(rdmsr_ok(t[i].msr, &val));
		assert_int_equal(val, t[i].good);
	}
	assert_false(wrmsr_ok(MSR_MTRRCAP, 0));
	assert_true(rdmsr_ok(MSR_MTRRCAP, &val) && val == 0x508);
}

static void test_spec(void **state)
{
	u64 val;

	(void)state;
	vm.cpuid->basic[7].edx = 0;
	vm.cpuid->ext[8].ebx = 0;
	assert_false(rdmsr_ok(MSR_SPEC_CTRL, &val) || wrmsr_ok(MSR_SPEC_CTRL, 0));
	assert_false(wrmsr_ok(MSR_PRED_CMD, 0) || wrmsr_ok(MSR_FLUSH_CMD, 0));
	assert_false(rdmsr_ok(MSR_ARCH_CAPABILITIES, &val));
	msrs_pass(&v);
	assert_int_equal(passed[0] | passed[1], 0);
	vm.cpuid->basic[7].edx = SPEC_7D_IBRS_IBPB | SPEC_7D_ARCH_CAPS | SPEC_7D_L1D_FLUSH;
	assert_true(wrmsr_ok(MSR_SPEC_CTRL, 3) && regs[REG_SPEC_CTRL] == 3);
	assert_true(rdmsr_ok(MSR_SPEC_CTRL, &val) && val == 3);
	assert_false(wrmsr_ok(MSR_SPEC_CTRL, 4));
	assert_int_equal(regs[REG_SPEC_CTRL], 3);
	assert_true(wrmsr_ok(MSR_PRED_CMD, 0) && wrmsr_ok(MSR_FLUSH_CMD, 0));
	assert_false(wrmsr_ok(MSR_PRED_CMD, 2) || wrmsr_ok(MSR_FLUSH_CMD, 3) || rdmsr_ok(MSR_PRED_CMD, &val));
	assert_true(rdmsr_ok(MSR_ARCH_CAPABILITIES, &val));
	assert_int_equal(val, ARCH_CAPS_GUEST | ARCH_CAPS_SKIP_L1DFL);
	assert_false(wrmsr_ok(MSR_ARCH_CAPABILITIES, 0));
	msrs_pass(&v);
	assert_int_equal(passed[0], 1);
	assert_int_equal(passed[1], 1);
	vm.cpuid->basic[7].edx = 0;
	vm.cpuid->ext[8].ebx = SPEC_X8_SSBD;
	assert_true(wrmsr_ok(MSR_SPEC_CTRL, 4));
	assert_false(wrmsr_ok(MSR_SPEC_CTRL, 1) || wrmsr_ok(MSR_PRED_CMD, 0));
}

/* --- the document --- */

static const char *const group[] = {"passed", "made", "worked out", "hidden"};

static unsigned group_of(enum cpuid_how how)
{
	return how == CPUID_HIDE ? 3 : how == CPUID_LIVE ? 2 : how == CPUID_MADE;
}

static void print_bits(FILE *f, const struct cpuid_bits *b)
{
	static const char *const need[] = {[CPUID_XSAVE] = ", with SSE in XCR0", [CPUID_AVX] = ", with AVX in XCR0",
					   [CPUID_AVX512] = ", with AVX-512 in XCR0", [CPUID_HIDE] = NULL};

	fprintf(f, "%s", b->name);
	if (b->first == b->last)
		fprintf(f, " (%u%s)", b->first, need[b->how] ? need[b->how] : "");
	else if (b->last - b->first < 31)
		fprintf(f, " (%u to %u%s)", b->first, b->last, need[b->how] ? need[b->how] : "");
}

static void print_cpuid(FILE *f)
{
	const struct cpuid_bits *b = cpuid_policy, *end = b + cpuid_policy_size, *next;

	fprintf(f, "\n## CPUID\n\nBit numbers in parentheses.\n\n| leaf | register | | bits |\n|---|---|---|---|\n");
	for (; b < end; b = next) {
		for (next = b; next < end && next->leaf == b->leaf && next->reg == b->reg; next++)
			;
		for (unsigned g = 0; g < ARRAY_SIZE(group); g++) {
			unsigned n = 0;

			for (const struct cpuid_bits *i = b; i < next; i++) {
				if (group_of(i->how) != g)
					continue;
				if (n++)
					fprintf(f, "; ");
				else
					fprintf(f, "| %xh | E%cX | %s | ", b->leaf, b->reg - 32, group[g]);
				print_bits(f, i);
			}
			fprintf(f, n ? " |\n" : "");
		}
	}
}

static const char *who(bool intel, bool amd)
{
	return intel && amd ? "yes" : intel ? "Intel" : amd ? "AMD" : "#GP";
}

static void print_msrs(FILE *f)
{
	static const u32 vendors[] = {CPUID_GENU, CPUID_AUTH};
	u64 val;

	vm.cpuid->basic[7].edx = SPEC_7D_IBRS_IBPB | SPEC_7D_ARCH_CAPS | SPEC_7D_L1D_FLUSH;
	vm.cpuid->ext[1].edx |= BIT(27);
	fprintf(f, "\n## MSRs\n\n| MSR | read | write | |\n|---|---|---|---|\n");
	for (u32 i = 0; i < msr_table_size; i++) {
		const struct msr_desc *d = &msr_table[i];
		bool p = d->what[0] == MSR_PASSED[0], r[2], w[2];

		for (unsigned k = 0; k < 2; k++) {
			as_vendor(vendors[k]);
			r[k] = p || rdmsr_ok(d->first, &val);
			w[k] = p || wrmsr_ok(d->first, 0);
		}
		fprintf(f, "| %x", d->first);
		if (d->last != d->first)
			fprintf(f, " to %x", d->last);
		fprintf(f, " | %s | %s | %s%s |\n", who(r[0], r[1]), who(w[0], w[1]), d->what + p,
			p ? ": without an exit" : "");
	}
}

static char *generated(size_t *n)
{
	char *text = NULL;
	FILE *f = open_memstream(&text, n);

	print_cpuid(f);
	print_msrs(f);
	fclose(f);
	return text;
}

/* The file up to and with the mark; *rest is what follows. */
static char *read_doc(char **rest)
{
	static char doc[65536];
	FILE *f = fopen(DOC, "r");
	size_t n = f ? fread(doc, 1, sizeof(doc) - 1, f) : 0;

	if (f)
		fclose(f);
	doc[n] = 0;
	*rest = strstr(doc, MARK);
	if (*rest)
		*rest += strlen(MARK);
	return doc;
}

static void test_document(void **state)
{
	size_t n;
	char *want = generated(&n), *rest;

	(void)state;
	read_doc(&rest);
	if (!rest || strcmp(rest, want))
		fail_msg(DOC " is out of date: run build/unit/policy --write");
	free(want);
}

static int write_doc(void)
{
	size_t n;
	char *rest, *doc = read_doc(&rest), *text;
	FILE *f;

	if (!rest) {
		fprintf(stderr, DOC " has no line %s", MARK);
		return 1;
	}
	start(NULL);
	text = generated(&n);
	*rest = 0;
	f = fopen(DOC, "w");
	if (!f)
		return 1;
	fprintf(f, "%s%s", doc, text);
	free(text);
	return fclose(f);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_cpuid, start),
		cmocka_unit_test_setup(test_topology, start),
		cmocka_unit_test_setup(test_xsave_size, start),
		cmocka_unit_test_setup(test_paravirt, start),
		cmocka_unit_test_setup(test_table, start),
		cmocka_unit_test_setup(test_reserved_bits, start),
		cmocka_unit_test_setup(test_spec, start),
		cmocka_unit_test_setup(test_document, start),
	};

	if (argc > 1 && !strcmp(argv[1], "--write"))
		return write_doc();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
