/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/gwalk.c vmm/fetch.c lib/insn.c lib/insn_tables.c */
/* The guest's page tables as the CPU walks them, over a guest of 1 MiB in an array. */
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdarg.h>
#include <cmocka.h>
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/fetch.h"
#include "vmm/vm.h"

#define RAM 0x100000
static _Alignas(4096) u8 ram[RAM];
static u64 regs[HV_NR_REGS];
static struct cpuid_table cpuid_table;
static struct vm vm = { .cpuid = &cpuid_table };
static struct vcpu v = { .vm = &vm };
static int raised_vector;

static u8 mode = 8;
static void fake_get_paging(struct hv_vcpu *h, struct hv_paging *p)
{
	(void)h;
	*p = (struct hv_paging){ .cr0 = regs[REG_CR0], .cr3 = regs[REG_CR3], .cr4 = regs[REG_CR4],
				 .efer = regs[REG_EFER], .mode = mode };
}
static bool fake_same_code(struct hv_vcpu *h, const struct hv_paging *p)
{
	struct hv_paging now;

	fake_get_paging(h, &now);
	return now.cr0 == p->cr0 && now.cr3 == p->cr3 && now.cr4 == p->cr4 && now.efer == p->efer &&
	       now.mode == p->mode;
}
static struct hv_ops fake_ops = { .get_paging = fake_get_paging, .same_code = fake_same_code };
const struct hv_ops *hv = &fake_ops;

static unsigned pins, unpinned;
static bool ram_hidden; /* from walks */

void *gmem_map(struct vm *m, gpa_t gpa, size_t n, bool write)
{
	(void)m;
	(void)write;
	return gpa + n <= RAM && !ram_hidden ? ram + gpa : NULL;
}
void gmem_unmap(struct vm *m, void *p)
{
	(void)m;
	(void)p;
}
bool gmem_to_phys(struct vm *m, gpa_t gpa, size_t n, hpa_t *hpa)
{
	(void)m;
	*hpa = gpa;
	return gpa + n <= RAM;
}
void *window_pin(unsigned n, hpa_t pa)
{
	pins++;
	assert_true(n < WINDOW_PINS);
	return ram + pa;
}
void window_unpin(unsigned first)
{
	unpinned = first;
}
int gmem_read(struct vm *m, gpa_t gpa, void *buf, size_t n)
{
	(void)m;
	if (gpa + n > RAM)
		return -EFAULT;
	memcpy(buf, ram + gpa, n);
	return 0;
}
void vcpu_raise(struct vcpu *c, u8 vector, bool has_error, u32 error, u64 payload)
{
	(void)c;
	(void)has_error;
	(void)error;
	(void)payload;
	raised_vector = vector;
}

static void put64(gpa_t at, u64 val)
{
	memcpy(ram + at, &val, 8);
}
static u64 get64(gpa_t at)
{
	u64 val;

	memcpy(&val, ram + at, 8);
	return val;
}
static void put32(gpa_t at, u32 val)
{
	memcpy(ram + at, &val, 4);
}

static int setup(void **state)
{
	(void)state;
	memset(ram, 0, sizeof(ram));
	memset(regs, 0, sizeof(regs));
	cpuid_table.ext[8].eax = 0x3028; /* 40 physical bits */
	v.hv.rflags = 2;
	guest_code_init(&v);
	raised_vector = -1;
	ram_hidden = false;
	return 0;
}

/* PML4 at 0x1000, PDPT 0x2000, PD 0x3000, PT 0x4000; linear 0x40201000 -> 0x5000. */
#define LIN 0x40201000ull
static void long_mode(u64 leaf)
{
	regs[REG_CR0] = CR0_PE | CR0_PG | CR0_WP;
	regs[REG_CR4] = CR4_PAE;
	regs[REG_EFER] = EFER_LME | EFER_LMA | EFER_NXE;
	regs[REG_CR3] = 0x1000;
	put64(0x1000, 0x2007);
	put64(0x2000 + 8, 0x3007);
	put64(0x3000 + 8, 0x4007);
	put64(0x4000 + 8, leaf);
}

static int walk(u64 linear, u32 access, gpa_t *gpa, u32 *err)
{
	struct emul_fault f = { 0 };
	int r = guest_translate(&v, linear, access, gpa, &f);

	if (r) {
		assert_int_equal(f.vector, EXC_PF);
		assert_int_equal(f.cr2, linear);
	}
	*err = f.error;
	return r;
}

static void test_no_paging(void **state)
{
	gpa_t g;
	u32 e;

	(void)state;
	assert_int_equal(walk(0x12345678, PFERR_W, &g, &e), 0);
	assert_int_equal(g, 0x12345678);
}

static void test_four_level(void **state)
{
	gpa_t g;
	u32 e;

	(void)state;
	long_mode(0x5003);
	assert_int_equal(walk(LIN + 0x123, 0, &g, &e), 0);
	assert_int_equal(g, 0x5123);
	assert_int_equal(get64(0x4008), 0x5023); /* accessed, not dirty */
	assert_int_equal(get64(0x1000), 0x2027);
	assert_int_equal(walk(LIN, PFERR_W, &g, &e), 0);
	assert_int_equal(get64(0x4008), 0x5063);
	assert_int_equal(walk(LIN, PFERR_U, &g, &e), -EFAULT);
	assert_int_equal(e, PFERR_P | PFERR_U);
	assert_int_equal(walk(LIN + 0x1000, PFERR_W, &g, &e), -EFAULT);
	assert_int_equal(e, PFERR_W);
}

static void test_rights(void **state)
{
	gpa_t g;
	u32 e;

	(void)state;
	long_mode(0x5001 | PFERR_U | BIT(63)); /* user, read-only, no execute */
	assert_int_equal(walk(LIN, PFERR_W, &g, &e), -EFAULT);
	assert_int_equal(e, PFERR_P | PFERR_W);
	regs[REG_CR0] &= ~CR0_WP;
	assert_int_equal(walk(LIN, PFERR_W, &g, &e), 0);
	assert_int_equal(walk(LIN, PFERR_W | PFERR_U, &g, &e), -EFAULT);
	assert_int_equal(walk(LIN, PFERR_I | PFERR_U, &g, &e), -EFAULT);
	assert_int_equal(e, PFERR_P | PFERR_I | PFERR_U);
	regs[REG_CR4] |= CR4_SMAP;
	assert_int_equal(walk(LIN, 0, &g, &e), -EFAULT);
	v.hv.rflags |= RFLAGS_AC;
	assert_int_equal(walk(LIN, 0, &g, &e), 0);
	put64(0x4008, 0x5007);
	assert_int_equal(walk(LIN, PFERR_I, &g, &e), 0);
	regs[REG_CR4] |= CR4_SMEP;
	assert_int_equal(walk(LIN, PFERR_I, &g, &e), -EFAULT);
	regs[REG_EFER] &= ~EFER_NXE; /* now NX is a reserved bit */
	put64(0x4008, 0x5007 | BIT(63));
	assert_int_equal(walk(LIN, PFERR_U, &g, &e), -EFAULT);
	assert_int_equal(e, PFERR_P | PFERR_RSVD | PFERR_U);
}

static void test_large_pages(void **state)
{
	gpa_t g;
	u32 e;

	(void)state;
	long_mode(0);
	put64(0x3000 + 8, 0x200083);
	assert_int_equal(walk(LIN + 0x5678, 0, &g, &e), 0);
	assert_int_equal(g, 0x206678);
	put64(0x2000 + 8, 0x40000083);
	assert_int_equal(walk(LIN + 0x5678, 0, &g, &e), 0);
	assert_int_equal(g, LIN + 0x5678);
	put64(0x2000 + 8, BIT(41) | 0x83);
	assert_int_equal(walk(LIN, 0, &g, &e), -EFAULT);
	assert_int_equal(e, PFERR_P | PFERR_RSVD);
}

/* Tables that lie where no RAM is read as ones: reserved bits, never a host access. */
static void test_table_outside(void **state)
{
	gpa_t g;
	u32 e;

	(void)state;
	long_mode(0x5003);
	put64(0x2000 + 8, 0x900000007ull);
	assert_int_equal(walk(LIN, 0, &g, &e), -EFAULT);
	assert_int_equal(e, PFERR_P | PFERR_RSVD);
}

static void test_pae_and_32bit(void **state)
{
	gpa_t g;
	u32 e;

	(void)state;
	regs[REG_CR0] = CR0_PE | CR0_PG;
	regs[REG_CR4] = CR4_PAE;
	regs[REG_CR3] = 0x1020; /* 32-byte aligned */
	put64(0x1020 + 8, 0x3001);
	put64(0x3000 + 8, 0x4007);
	put64(0x4000 + 8, 0x5007);
	assert_int_equal(walk(LIN + 4, PFERR_U | PFERR_W, &g, &e), 0);
	assert_int_equal(g, 0x5004);
	assert_int_equal(get64(0x1028), 0x3001); /* PDPTEs have no accessed bit */
	regs[REG_CR4] = CR4_PSE;
	regs[REG_CR3] = 0x6000;
	put32(0x6000 + 4 * (LIN >> 22), 0x7007);
	put32(0x7000 + 4 * (LIN >> 12 & 0x3ff), 0x8007);
	assert_int_equal(walk(LIN + 8, PFERR_W, &g, &e), 0);
	assert_int_equal(g, 0x8008);
	put32(0x6000 + 4 * (LIN >> 22), 0x00402083); /* 4 MiB page, PSE-36 bit 32 */
	assert_int_equal(walk(LIN + 8, 0, &g, &e), 0);
	assert_int_equal(g, 0x100000000ull + 0x400000 + ((LIN + 8) & 0x3fffff));
}

static void test_insn_len(void **state)
{
	static const struct insn_id cpuid_id = { 2, { 0x0f, 0xa2 } };
	struct vm_exit x = { .code = HV_EXIT_CPUID };

	(void)state;
	long_mode(0x5003);
	v.hv.rip = LIN + 0x10;
	memcpy(ram + 0x5010, "\x0f\xa2\x90", 3);
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 2);
	memcpy(ram + 0x5010, "\x66\x48\x0f\xa2", 4); /* prefixes count */
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 4);
	memcpy(ram + 0x5010, "\x0f\x32", 2); /* somebody rewrote it: nothing happens */
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 0);
	assert_int_equal(raised_vector, -1);
	put64(0x4008, 0); /* or unmapped it */
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 0);
	assert_int_equal(raised_vector, EXC_PF);
	x.insn_len = 3;
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 3);
}

/* The kept code page follows the tables at every level without a word from the guest. */
static void test_code_cache(void **state)
{
	static const struct insn_id cpuid_id = { 2, { 0x0f, 0xa2 } };
	struct vm_exit x = { .code = HV_EXIT_CPUID };

	(void)state;
	long_mode(0x5003);
	v.hv.rip = LIN + 0x10;
	memcpy(ram + 0x5010, "\x0f\xa2\x90", 3);
	memcpy(ram + 0x6010, "\x66\x0f\xa2", 3);
	memcpy(ram + 0x7010, "\x66\x66\x0f\xa2", 4);
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 2);
	assert_int_equal(v.code.pages[LIN >> 12 & 3].page, LIN);
	put64(0x4008, 0x6003); /* the leaf */
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 3);
	put64(0x8000 + 8, 0x7003);
	put64(0x3000 + 8, 0x8007); /* a table */
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 4);
	regs[REG_CR3] = 0x9000; /* the root */
	put64(0x9000, 0x2007);
	put64(0x3000 + 8, 0x4007);
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 3);
	memcpy(ram + 0x6010, "\x0f\xa2\x90", 3); /* the code itself */
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 2);
	put64(0x4008, 0x6003 | BIT(63)); /* the right to run it */
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 0);
	assert_int_equal(raised_vector, EXC_PF);
	guest_code_forget(&v);
	assert_int_equal(v.code.pages[LIN >> 12 & 3].page, ~0ull);
}

/* Unloaded and loaded again: the page is found without a walk, if what led to it is the same. */
static void test_kept_while_unloaded(void **state)
{
	static const struct insn_id cpuid_id = { 2, { 0x0f, 0xa2 } };
	struct code_page *c = &v.code.pages[LIN >> 12 & 3];
	struct vm_exit x = { .code = HV_EXIT_CPUID };

	(void)state;
	long_mode(0x5003);
	v.hv.rip = LIN + 0x10;
	memcpy(ram + 0x5010, "\x0f\xa2\x90", 3);
	memcpy(ram + 0x6010, "\x66\x0f\xa2", 3);
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 2);
	pins = 0;
	guest_code_put(&v);
	assert_int_equal(c->page, ~0ull);
	assert_int_equal(unpinned, 0);
	ram_hidden = true; /* a walk would fault */
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 2);
	assert_int_equal(pins, 5);
	assert_int_equal(c->page, LIN);
	ram_hidden = false;
	/* Twice unloaded: it was not asked for in between. */
	guest_code_put(&v);
	guest_code_put(&v);
	put64(0x4008, 0x6003); /* the leaf */
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 3);
	guest_code_put(&v);
	regs[REG_CR3] = 0x9000; /* the root */
	put64(0x9000, 0x2007);
	put64(0x4008, 0x5003);
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 2);
	/* Its memory may be elsewhere. */
	guest_code_put(&v);
	guest_code_forget(&v);
	ram_hidden = true;
	assert_int_equal(guest_insn_len(&v, &x, &cpuid_id), 0);
	assert_int_equal(raised_vector, EXC_PF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_no_paging, setup),
		cmocka_unit_test_setup(test_four_level, setup),
		cmocka_unit_test_setup(test_rights, setup),
		cmocka_unit_test_setup(test_large_pages, setup),
		cmocka_unit_test_setup(test_table_outside, setup),
		cmocka_unit_test_setup(test_pae_and_32bit, setup),
		cmocka_unit_test_setup(test_insn_len, setup),
		cmocka_unit_test_setup(test_code_cache, setup),
		cmocka_unit_test_setup(test_kept_while_unloaded, setup),
	};

	return cmocka_run_group_tests_name("gwalk", tests, NULL, NULL);
}
