/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/pv.c vmm/platform/lapic.c vmm/platform/lapic_timer.c */
/* KVM's paravirtual interface over an array for memory and the real local APIC. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/fetch.h"
#include "vmm/gmem.h"
#include "vmm/vm.h"

#define RAM 0x10000u

static u8 ram[RAM] __aligned(64);
static struct vm vm;
static struct vcpu cpu[3];
static struct vcpu *const v = &cpu[0];
static bool stable;
static u64 waited[3];
static unsigned flushes, advanced;
static struct hv_paging paging;
static u32 requested[3];
static struct apic_msg msgs[8];
static unsigned nr_msgs, nr_eois;
static gpa_t watched; /* of a struct with a version: odd while the rest is written */

/* --- the core --- */
u64 tsc_to_ns(u64 ticks) { return ticks / 2; }
bool cpuid_guest_has(const struct cpuid_table *t, u32 leaf, char reg, unsigned bit)
{
	(void)t;
	return leaf == CPUID_PV_FEATURES && reg == 'a' && bit == CPUID_PV_STABLE && stable;
}
bool gmem_is_ram(struct vm *m, gpa_t gpa, u64 n)
{
	(void)m;
	return n <= RAM && gpa <= RAM - n;
}
int gmem_read(struct vm *m, gpa_t gpa, void *buf, size_t n)
{
	if (!gmem_is_ram(m, gpa, n))
		return -EFAULT;
	memcpy(buf, ram + gpa, n);
	return 0;
}
int gmem_write(struct vm *m, gpa_t gpa, const void *buf, size_t n)
{
	if (!gmem_is_ram(m, gpa, n))
		return -EFAULT;
	if (gpa == watched && n > 4)
		assert_true(ram[watched] & 1 && *(const u8 *)buf & 1);
	memcpy(ram + gpa, buf, n);
	return 0;
}
void *gmem_map(struct vm *m, gpa_t gpa, size_t n, bool write)
{
	assert_true(write);
	return gmem_is_ram(m, gpa, n) && (gpa & 4095) + n <= 4096 ? ram + gpa : NULL;
}
void gmem_unmap(struct vm *m, void *p) { (void)m; (void)p; }
static void flush_nested(struct hv_vcpu *h) { (void)h; flushes++; }
static void advance(struct hv_vcpu *h, unsigned len) { (void)h; advanced += len; }
static void get_paging(struct hv_vcpu *h, struct hv_paging *out) { (void)h; *out = paging; }
static const struct hv_ops ops = {.flush_nested = flush_nested, .advance = advance, .get_paging = get_paging};
const struct hv_ops *hv = &ops;
unsigned guest_insn_decode_len(struct vcpu *c, const struct insn_id *id) { (void)c; (void)id; return 0; }
u64 vcpu_waited_ticks(const struct vcpu *c) { return waited[c->id]; }
u64 vm_time_ns(struct vm *m) { (void)m; return 1500000000; }
u64 vm_wallclock_ns(struct vm *m) { (void)m; return 1000000000ull * 1800000000 + 7 + 1500000000; }
struct lapic *vcpu_lapic(struct vcpu *c) { return &c->lapic; }
struct vm *vcpu_vm(struct vcpu *c) { return c->vm; }
u64 vcpu_tsc(struct vcpu *c) { (void)c; return 4711; }
void vcpu_timer_set_tsc(struct vcpu *c, u64 tsc) { (void)c; (void)tsc; }
void vcpu_timer_set(struct vcpu *c, u64 ns) { (void)c; (void)ns; }
void vcpu_timer_stop(struct vcpu *c) { (void)c; }
void vcpu_kick(struct vcpu *c) { (void)c; }
void vcpu_nmi(struct vcpu *c) { (void)c; }
void vcpu_request(struct vcpu *c, u32 req) { requested[c->id] |= req; }
void vm_eoi(struct vm *m, u8 vector) { (void)m; (void)vector; nr_eois++; }
void vm_apic_msg(struct vm *m, struct vcpu *from, const struct apic_msg *msg)
{
	assert_true(m == &vm && from == v);
	msgs[nr_msgs++] = *msg;
}

static int start(void **state)
{
	(void)state;
	memset(&vm, 0, sizeof(vm));
	memset(cpu, 0, sizeof(cpu));
	memset(ram, 0xcc, sizeof(ram));
	memset(waited, 0, sizeof(waited));
	memset(requested, 0, sizeof(requested));
	vm.cfg.paravirt = true;
	vm.nr_vcpus = 3;
	vm.t0_tsc = 1000;
	vm.tsc_khz = 2000000;
	vm.tsc_ratio = TSC_RATIO_ONE;
	for (u32 i = 0; i < 3; i++) {
		vm.vcpus[i] = &cpu[i];
		cpu[i].vm = &vm;
		cpu[i].id = i;
		cpu[i].state = VCPU_RUNNING;
		cpu[i].tsc_offset = -1000ull + i * 77777;
		lapic_reset(&cpu[i].lapic, 3 * i + 1, !i);
		lapic_virtual_wire(&cpu[i].lapic);
		pv_reset(&cpu[i]);
	}
	paging = (struct hv_paging){.mode = 8};
	stable = true;
	flushes = advanced = nr_msgs = nr_eois = 0;
	watched = ~0ull;
	return 0;
}

/* --- clocks --- */

struct clock { /* as the guest knows it */
	u32 version, pad0;
	u64 tsc, ns;
	u32 mul;
	s8 shift;
	u8 flags, pad[2];
};

/* In 64 bits and 96 for the product, as guests do. */
static u64 guest_ns(const struct clock *c, u64 tsc)
{
	u64 d = tsc - c->tsc;

	d = c->shift < 0 ? d >> -c->shift : d << c->shift;
	return c->ns + (u64)((unsigned __int128)d * c->mul >> 32);
}

static void scale(void **state)
{
	static const u64 khz[] = {1,	   3,	    999,     1000,    99999,   100000,	 999999,   1000000,
				  1000001, 1193182, 1999999, 2000000, 2094750, 3000001, 4000000, 6400000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		struct pv_scale s = pv_scale_of(khz[i]);
		struct clock c = {.mul = s.mul, .shift = s.shift};

		assert_true(s.mul >= 1u << 31);
		for (u64 second = 1; second < 10ull * 366 * 86400; second += second / 3 + 1) {
			u64 ticks = second * khz[i] * 1000, want = second * 1000000000, got = guest_ns(&c, ticks);
			u64 off = got > want ? got - want : want - got;

			assert_true(s.shift <= 0 || ticks << s.shift >> s.shift == ticks);
			assert_true(off <= (want >> 32) + 1);
		}
	}
}

static struct clock *enable_clock(struct vcpu *c, gpa_t gpa)
{
	watched = gpa;
	assert_true(pv_msr_write(c, MSR_KVM_SYSTEM_TIME_NEW, gpa | 1));
	return (struct clock *)(ram + gpa);
}

static void clock(void **state)
{
	struct clock *c[3];
	u64 val;

	(void)state;
	for (u32 i = 0; i < 3; i++) {
		c[i] = enable_clock(&cpu[i], 0xff0 + 64 * i); /* the first crosses a page */
		assert_true(!(c[i]->version & 1) && c[i]->flags & 1);
		assert_true(pv_msr_read(&cpu[i], MSR_KVM_SYSTEM_TIME, &val) && val == (0xff0 + 64 * i) + 1);
	}
	/* Whatever a vCPU's TSC says: one host time, one clock. */
	for (u64 host = vm.t0_tsc; host < 1ull << 60; host += host / 2 + 12345) {
		u64 ns = guest_ns(c[0], host + cpu[0].tsc_offset);

		assert_int_equal(ns, (host - vm.t0_tsc) / 2);
		for (u32 i = 1; i < 3; i++)
			assert_int_equal(guest_ns(c[i], host + cpu[i].tsc_offset), ns);
	}
	/* Nor does it jump when the guest sets its TSC, or when the VM has stood still for 5000 ticks. */
	val = c[0]->version;
	watched = 0xff0;
	v->tsc_offset = 1ull << 40;
	pv_tsc_changed(v);
	assert_int_equal(c[0]->version, val + 2);
	assert_int_equal(guest_ns(c[0], 3000 + v->tsc_offset), 1000);
	vm.t0_tsc += 5000;
	v->tsc_offset -= 5000;
	assert_int_equal(guest_ns(c[0], 8000 + v->tsc_offset), 1000);
	pv_guest_stopped(&vm);
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(c[i]->flags, 3);
	assert_int_equal(guest_ns(c[0], 8000 + v->tsc_offset), 1000);
	pv_tsc_changed(v); /* it is the guest that takes it away */
	assert_int_equal(c[0]->flags, 3);
	c[0]->flags = 1;
	stable = false;
	c[0]->version = 7; /* what no writer leaves */
	pv_tsc_changed(v);
	assert_int_equal(c[0]->flags, 0);
	assert_int_equal(c[0]->version, 8);
}

/* The host's TSC has 2 GHz, the guest's another frequency: the clock is the host's time. */
static void clock_scaled(void **state)
{
	static const u64 khz[] = {61234, 1000000, 1999999, 2600000, 5000000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(khz); i++) {
		struct clock *c;

		vm.tsc_khz = khz[i];
		vm.tsc_ratio = tsc_ratio_for(khz[i], 2000000, true);
		vm.t0_tsc = i & 1 ? -123456789012345ull : 1ull << 50;
		v->tsc_offset = 4711 - tsc_scale(vm.t0_tsc, vm.tsc_ratio);
		c = enable_clock(v, 0x200);
		assert_int_equal(c->tsc, 4711);
		for (u64 ns = 0; ns < 366ull * 86400 * 1000000000; ns += ns / 2 + 12345) {
			u64 host = vm.t0_tsc + 2 * ns, got = guest_ns(c, tsc_scale(host, vm.tsc_ratio) + v->tsc_offset);
			u64 off = got > ns ? got - ns : ns - got;

			assert_true(off <= (ns >> 27) + 1000000 / khz[i] + 1);
		}
	}
}

static void clock_off(void **state)
{
	struct clock *c = enable_clock(v, 0x100);

	(void)state;
	assert_true(pv_msr_write(v, MSR_KVM_SYSTEM_TIME, 0));
	memset(c, 0xcc, sizeof(*c));
	pv_tsc_changed(v);
	pv_guest_stopped(&vm);
	assert_memory_equal(c, ram + RAM - sizeof(*c), sizeof(*c));
}

static void wall(void **state)
{
	u32 *w = (u32 *)(ram + 0x200);

	(void)state;
	watched = 0x200;
	w[0] = 4;
	assert_true(pv_msr_write(v, MSR_KVM_WALL_CLOCK_NEW, 0x200));
	assert_int_equal(w[0], 6);
	assert_int_equal(w[1], 1800000000);
	assert_int_equal(w[2], 7);
	assert_int_equal(w[3], 0xcccccccc);
	assert_true(pv_msr_write(v, MSR_KVM_WALL_CLOCK, 0));
	assert_int_equal(w[0], 6);
}

/* --- MSRs --- */

static void bad_msrs(void **state)
{
	static const struct {
		u32 msr;
		u64 good, bad;
	} t[] = {
		{MSR_KVM_WALL_CLOCK, 0xfff4, 0xfff8},
		{MSR_KVM_WALL_CLOCK_NEW, 0x1000, 0x1001},
		{MSR_KVM_WALL_CLOCK_NEW, 4, ~3ull},
		{MSR_KVM_SYSTEM_TIME, 0xffe1, 0xffe5},
		{MSR_KVM_SYSTEM_TIME_NEW, 0x1001, 0x1003},
		{MSR_KVM_SYSTEM_TIME_NEW, 0xfffffff0, 0xfffffff1},
		{MSR_KVM_STEAL_TIME, 0xffc1, 0x10001},
		{MSR_KVM_STEAL_TIME, 0x1001, 0x1021},
		{MSR_KVM_STEAL_TIME, 0, 2},
		{MSR_KVM_PV_EOI_EN, 0xfffd, 0x10001},
		{MSR_KVM_PV_EOI_EN, 0xfffffffffffffffc, 0xfffffffffffffffd},
		{MSR_KVM_PV_EOI_EN, 0, 2},
		{MSR_KVM_POLL_CONTROL, 1, 2},
		{MSR_KVM_POLL_CONTROL, 0, 1ull << 63},
	};
	u64 val;

	(void)state;
	assert_true(pv_msr_read(v, MSR_KVM_POLL_CONTROL, &val) && val == 1);
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		if (!pv_msr_write(v, t[i].msr, t[i].good) || pv_msr_write(v, t[i].msr, t[i].bad))
			fail_msg("row %u", i);
		assert_true(pv_msr_read(v, t[i].msr, &val) && val == t[i].good);
		assert_true(pv_valid(&v->pv));
	}
	assert_false(pv_msr_read(v, 0x4b564d02, &val) || pv_msr_write(v, 0x4b564d02, 0)); /* ASYNC_PF */
	pv_reset(v);
	assert_true(pv_msr_read(v, MSR_KVM_SYSTEM_TIME_NEW, &val) && !val);
	vm.cfg.paravirt = false;
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++)
		assert_false(pv_msr_read(v, t[i].msr, &val) || pv_msr_write(v, t[i].msr, t[i].good));
}

/* --- steal time --- */

struct steal {
	u64 ns;
	u32 version, flags;
	u8 preempted;
};

static void steal(void **state)
{
	struct steal *s = (struct steal *)(ram + 0x400);

	(void)state;
	memset(s, 0, 64);
	waited[0] = 600; /* before there was a struct */
	assert_true(pv_msr_write(v, MSR_KVM_STEAL_TIME, 0x401));
	assert_int_equal(s->ns | s->version, 0);
	pv_put(v);
	assert_int_equal(s->preempted, 1);
	waited[0] += 2000;
	pv_load(v);
	assert_int_equal(s->preempted, 0);
	assert_int_equal(s->ns, 1000);
	assert_int_equal(s->version, 2);
	assert_int_equal(flushes, 0);
	pv_put(v);
	s->preempted |= 2; /* another vCPU: flush when you come */
	pv_load(v);
	assert_int_equal(flushes, 1);
	assert_int_equal(s->preempted, 0);
	assert_int_equal(s->version, 2);
	v->state = VCPU_HALTED; /* one that wants nothing is not preempted */
	pv_put(v);
	assert_int_equal(s->preempted, 0);
	pv_load(v);
	v->state = VCPU_RUNNING;
	s->ns = 5; /* the sum is the guest's memory */
	waited[0] += 20;
	pv_load(v);
	assert_int_equal(s->ns, 15);
	/* Switched off, nothing is written; nor after a reset, be it that its VM is loaded anew. */
	for (int reset = 0; reset < 2; reset++) {
		assert_true(pv_msr_write(v, MSR_KVM_STEAL_TIME, 0x401));
		memset(s, 0xcc, 64);
		if (reset)
			pv_reset(v);
		else
			assert_true(pv_msr_write(v, MSR_KVM_STEAL_TIME, 0x400));
		waited[0] += 20;
		pv_put(v);
		pv_load(v);
		assert_memory_equal(s, ram + RAM - 64, 64);
	}
}

/* --- EOI --- */

static void take(u8 vector, bool level)
{
	lapic_set_irr(v, vector, level);
	lapic_ack(&v->lapic, vector);
	pv_eoi_lend(v);
}

static void eoi(void **state)
{
	u8 *word = ram + 0x600;

	(void)state;
	*word = 0;
	assert_true(pv_msr_write(v, MSR_KVM_PV_EOI_EN, 0x601));
	take(0x41, false);
	assert_true(*word == 1 && v->pv.eoi_lent);
	*word = 0; /* the guest does it */
	pv_eoi_take_back(v);
	assert_true(!v->pv.eoi_lent && v->lapic.highest_isr == -1);
	take(0x41, false);
	pv_eoi_take_back(v); /* it has not yet: it will do it by the register */
	assert_true(*word == 0 && !v->pv.eoi_lent && v->lapic.highest_isr == 0x41);
	take(0x61, false); /* inside the first */
	assert_true(*word == 0 && !v->pv.eoi_lent);
	lapic_eoi(v, &v->lapic);
	lapic_eoi(v, &v->lapic);
	take(0x51, true); /* the I/O APIC waits for it */
	assert_true(*word == 0 && !v->pv.eoi_lent && !nr_eois);
	lapic_eoi(v, &v->lapic);
	assert_int_equal(nr_eois, 1);
	lapic_set_irr(v, 0x31, false); /* would wait behind it */
	take(0x51, false);
	assert_true(*word == 0 && !v->pv.eoi_lent);
	lapic_eoi(v, &v->lapic);
	lapic_ack(&v->lapic, 0x31);
	lapic_eoi(v, &v->lapic);
	assert_false(pv_eoi_lendable(&v->lapic)); /* nothing in service */
	/* Switched off while it is lent: the old word counts. */
	take(0x41, false);
	*word = 0;
	assert_true(pv_msr_write(v, MSR_KVM_PV_EOI_EN, 0));
	assert_true(!v->pv.eoi_lent && v->lapic.highest_isr == -1);
	/* From a saved state: a word that is no RAM is nobody's. */
	v->pv.eoi = 0x10000001;
	take(0x41, false);
	assert_false(v->pv.eoi_lent);
	v->pv.eoi_lent = 1;
	pv_eoi_take_back(v);
	assert_true(!v->pv.eoi_lent && v->lapic.highest_isr == 0x41);
}

/* --- hypercalls --- */

static s64 call(u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	static const struct vm_exit e = {.insn_len = 3};

	v->hv.gpr[REG_RAX] = nr;
	v->hv.gpr[REG_RBX] = a;
	v->hv.gpr[REG_RCX] = b;
	v->hv.gpr[REG_RDX] = c;
	v->hv.gpr[REG_RSI] = d;
	advanced = nr_msgs = 0;
	exit_hypercall(v, &e);
	assert_int_equal(advanced, 3);
	return (s64)v->hv.gpr[REG_RAX];
}

static void ipi_names(void **state)
{
	(void)state;
	assert_true(pv_ipi_names(1, 0, 0, 64, 0) && pv_ipi_names(1ull << 63, 0, 0, 64, 63));
	assert_true(pv_ipi_names(0, 1, 0, 64, 64) && pv_ipi_names(0, 1ull << 63, 100, 64, 227));
	assert_false(pv_ipi_names(~0ull, ~0ull, 1, 64, 0) || pv_ipi_names(~0ull, ~0ull, 1, 64, 129));
	assert_true(pv_ipi_names(1u << 31, 0, 0, 32, 31) && pv_ipi_names(0, 1, 0, 32, 32));
	assert_false(pv_ipi_names(~0ull, 0, 0, 32, 32) || pv_ipi_names(~0ull, ~0ull, 0, 32, 64));
	assert_false(pv_ipi_names(~0ull, ~0ull, 0xffffffff, 64, 0)); /* no wrap */
	assert_true(pv_ipi_names(1, 0, 0xffffffff, 64, 0xffffffff));
	for (u32 id = 0; id < 200; id++)
		assert_int_equal(pv_ipi_names(0x5555555555555555, 0xaaaaaaaaaaaaaaaa, 10, 64, id),
				 id >= 10 && id < 138 && (id - 10) % 2 == (id >= 74));
}

static void hypercalls(void **state)
{
	s64 *pairing = (s64 *)(ram + 0x800);

	(void)state;
	assert_int_equal(call(10, 0x91, 0, 0, 0x41), 2); /* ids 0, 4, 7; there are 1, 4, 7 */
	assert_true(nr_msgs == 2 && msgs[0].dest == 4 && msgs[1].dest == 7 && msgs[1].vector == 0x41 &&
		    !msgs[1].mode && msgs[1].x2apic_dest && !msgs[1].shorthand && !msgs[1].logical);
	assert_int_equal(call(10, 1, 0, 4, 0x4400), 1);
	assert_true(nr_msgs == 1 && msgs[0].dest == 4 && msgs[0].mode == 4);
	assert_int_equal(call(10, 0, 0, 0, 0x41), 0);
	assert_int_equal(call(10, 1, 0, 1, 0x0f), -EINVAL); /* an illegal vector */
	assert_int_equal(call(10, 1, 0, 1, 0x541), -EINVAL); /* INIT */
	assert_int_equal(call(10, 1, 0, 1, 0x841), -EINVAL); /* logical */
	assert_int_equal(call(10, 1, 0, 1, 0x40041), -EINVAL); /* a shorthand */
	assert_int_equal(nr_msgs, 0);
	assert_int_equal(call(5, 0, 7, 0, 0), 0);
	assert_true(requested[2] == REQ_UNHALT && !requested[0] && !requested[1]);
	assert_int_equal(call(5, 0, 99, 0, 0), 0);
	assert_int_equal(call(9, 0x800, 0, 0, 0), 0);
	assert_true(pairing[0] == 1800000001 && pairing[1] == 500000007 && pairing[2] == 4711 && !pairing[7]);
	assert_int_equal(call(9, 0x800, 1, 0, 0), -95);
	assert_int_equal(call(9, RAM - 63, 0, 0, 0), -EFAULT);
	stable = false;
	assert_int_equal(call(9, 0x800, 0, 0, 0), -95);
	assert_int_equal(call(1, 0, 0, 0, 0), -1000);
	assert_int_equal(call(~0ull, 0, 0, 0, 0), -1000);
	paging.cpl = 3;
	assert_int_equal(call(10, 0x92, 0, 0, 0x41), -EPERM);
	assert_int_equal(nr_msgs, 0);
	/* 32-bit code: half registers, half words. */
	paging = (struct hv_paging){.mode = 4};
	assert_int_equal(call(0xff0000000aull, 0xff00000000 | 0x10, 1, 3ull << 32, 0x41), 1);
	assert_true(nr_msgs == 1 && msgs[0].dest == 4);
	assert_int_equal(call(10, 0, 1, 0xffffffffu - 24, 0x41), 0); /* no wrap here either */
	assert_int_equal(call(77, 0, 0, 0, 0), (u32)-1000);
	vm.cfg.paravirt = false;
	assert_int_equal(call(5, 0, 7, 0, 0), (u32)-1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scale),
		cmocka_unit_test_setup(clock, start),
		cmocka_unit_test_setup(clock_scaled, start),
		cmocka_unit_test_setup(clock_off, start),
		cmocka_unit_test_setup(wall, start),
		cmocka_unit_test_setup(bad_msrs, start),
		cmocka_unit_test_setup(steal, start),
		cmocka_unit_test_setup(eoi, start),
		cmocka_unit_test(ipi_names),
		cmocka_unit_test_setup(hypercalls, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
