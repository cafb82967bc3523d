/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/lapic.c vmm/platform/lapic_timer.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"

#define X2(reg) (0x800u + (reg))
#define ENABLE	0x1ffu
#define BASE_EN 0xfee00800ull
#define BASE_X2 0xfee00c00ull

static struct vm vm;
static struct vcpu cpu;
static struct lapic *const l = &cpu.lapic;

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	memset(&cpu, 0, sizeof(cpu));
	cpu.vm = &vm;
	lapic_reset(l, 5, false);
	lapic_mmio_write(&cpu, 0xf0, 4, ENABLE);
	return 0;
}

static u32 rd(u64 off)
{
	return (u32)lapic_mmio_read(&cpu, off, 4);
}

static void wr(u64 off, u32 val)
{
	lapic_mmio_write(&cpu, off, 4, val);
}

static u64 msr(u32 n)
{
	u64 val = 0xdead;

	assert_true(lapic_msr_read(&cpu, n, &val));
	return val;
}

static void wrmsr_ok(u32 n, u64 val)
{
	assert_true(lapic_msr_write(&cpu, n, val));
}

static void wrmsr_gp(u32 n, u64 val)
{
	assert_false(lapic_msr_write(&cpu, n, val));
}

static void enter_x2apic(void)
{
	wrmsr_ok(0x1b, BASE_X2);
}

static void reset_state(void **state)
{
	(void)state;
	lapic_reset(l, 3, true);
	assert_int_equal(msr(0x1b), 0xfee00900);
	assert_int_equal(rd(0x20), 3u << 24);
	assert_int_equal(rd(0x30), 0x50014);
	assert_int_equal(rd(0xf0), 0xff);
	assert_int_equal(rd(0xe0), 0xffffffff);
	for (u64 off = 0x320; off <= 0x370; off += 0x10)
		assert_int_equal(rd(off), 0x10000);
	assert_false(lapic_accepts_extint(l));
	lapic_virtual_wire(l);
	assert_true(lapic_accepts_extint(l));
	assert_int_equal(rd(0x350), 0x700);
	assert_int_equal(rd(0x360), 0x400);
}

/* An ExtINT message is latched for the INTA cycle, not in the IRR; only a software-enabled APIC takes
 * it, and a reset forgets it. */
static void extint_message(void **state)
{
	(void)state;
	lapic_set_extint(l);
	assert_int_equal(l->extint, 1);
	assert_int_equal(lapic_pending(l), -1);
	lapic_reset(l, 3, true);
	assert_int_equal(l->extint, 0);
	lapic_set_extint(l);
	assert_int_equal(l->extint, 0);
}

/* LINT1 takes the pin as an NMI if it says so; an APIC that is off lets it pass. */
static void nmi_pin(void **state)
{
	(void)state;
	assert_false(lapic_accepts_nmi(l));
	wr(0x360, 0x400);
	assert_true(lapic_accepts_nmi(l));
	wr(0x360, 0x700);
	assert_false(lapic_accepts_nmi(l));
	wr(0x360, 0x10400);
	assert_false(lapic_accepts_nmi(l));
	assert_true(lapic_msr_write(&cpu, 0x1b, 0xfee00000));
	assert_true(lapic_accepts_nmi(l));
}

/* The higher of TPR and what is in service; one that is switched off takes part in nothing. */
static void arbitration(void **state)
{
	(void)state;
	assert_int_equal(lapic_arbitration(l), 0);
	wr(0x80, 0x35);
	assert_int_equal(lapic_arbitration(l), 0x35);
	lapic_latch(&cpu, 0x61, false);
	assert_int_equal(cpu.kicks, 0);
	lapic_ack(l, 0x61);
	assert_int_equal(lapic_arbitration(l), 0x60);
	lapic_reset(l, 3, true);
	assert_int_equal(lapic_arbitration(l), ~0u);
}

static void priorities(void **state)
{
	(void)state;
	assert_int_equal(lapic_pending(l), -1);
	lapic_set_irr(&cpu, 0x31, false);
	lapic_set_irr(&cpu, 0x45, false);
	lapic_set_irr(&cpu, 0x42, false);
	assert_int_equal(cpu.kicks, 3);
	assert_int_equal(lapic_pending(l), 0x45);
	lapic_ack(l, 0x45);
	assert_int_equal(rd(0xa0), 0x40);
	assert_int_equal(lapic_pending(l), -1); /* 0x42 is of the same class */
	assert_int_equal(lapic_highest_irr(l), 0x42);
	wr(0x80, 0x53);
	assert_int_equal(rd(0xa0), 0x53);
	wr(0xb0, 0);
	assert_int_equal(lapic_pending(l), -1); /* the TPR bars it */
	wr(0x80, 0x3f);
	assert_int_equal(lapic_pending(l), 0x42);
	lapic_ack(l, 0x42);
	lapic_set_irr(&cpu, 0xf0, false);
	lapic_ack(l, 0xf0); /* nested */
	assert_int_equal(rd(0x100 + 7 * 0x10), 1u << 16);
	assert_int_equal(rd(0xa0), 0xf0);
	wr(0xb0, 0);
	assert_int_equal(rd(0xa0), 0x40);
	wr(0xb0, 0);
	wr(0xb0, 0); /* one too many */
	wr(0x80, 0);
	assert_int_equal(lapic_pending(l), 0x31);
	lapic_ack(l, 0x31);
	assert_int_equal(l->irr_any, 0);
	assert_int_equal(lapic_highest_irr(l), -1);
}

static void level_eoi(void **state)
{
	(void)state;
	lapic_set_irr(&cpu, 0x50, true);
	assert_int_equal(rd(0x180 + 2 * 0x10), 1u << 16);
	lapic_ack(l, 0x50);
	wr(0xb0, 0);
	assert_int_equal(vm.nr_eois, 1);
	assert_int_equal(vm.last_eoi, 0x50);
	lapic_set_irr(&cpu, 0x50, false);
	assert_int_equal(rd(0x180 + 2 * 0x10), 0);
	lapic_ack(l, 0x50);
	wr(0xb0, 0);
	assert_int_equal(vm.nr_eois, 1);
}

static void software_disable(void **state)
{
	(void)state;
	wr(0x350, 0x700);
	wr(0x320, 0x40);
	lapic_set_irr(&cpu, 0x60, false);
	wr(0xf0, 0xff);
	assert_int_equal(rd(0x350), 0x10700);
	wr(0x350, 0x700);
	assert_int_equal(rd(0x350), 0x10700);
	assert_int_equal(lapic_pending(l), 0x60); /* what was latched is held */
	lapic_set_irr(&cpu, 0x70, false);	 /* what comes is lost */
	assert_int_equal(lapic_highest_irr(l), 0x60);
	wr(0xf0, ENABLE);
	assert_int_equal(rd(0x320), 0x10040); /* masks stay until written */
}

static void errors(void **state)
{
	(void)state;
	wr(0x370, 0xfe);
	wr(0x300, 0x4005); /* fixed, vector 5 */
	assert_int_equal(vm.nr_msgs, 0);
	assert_int_equal(rd(0x280), 0);
	assert_int_equal(lapic_pending(l), 0xfe);
	lapic_ack(l, 0xfe);
	lapic_set_irr(&cpu, 3, false);
	assert_int_equal(lapic_pending(l), -1); /* not armed again yet */
	wr(0x280, 0);
	assert_int_equal(rd(0x280), 0x60);
	wr(0x280, 0);
	assert_int_equal(rd(0x280), 0);
	rd(0x40); /* no such register */
	wr(0x280, 0);
	assert_int_equal(rd(0x280), 0x80);
	wr(0x370, 0x01); /* an error vector that is itself illegal must not recurse */
	rd(0x40);
	wr(0x280, 0);
	assert_int_equal(rd(0x280), 0xc0);
}

static void odd_accesses(void **state)
{
	(void)state;
	assert_int_equal(lapic_mmio_read(&cpu, 0x20, 1), ~0ull);
	assert_int_equal(lapic_mmio_read(&cpu, 0x24, 4), ~0ull);
	assert_int_equal(lapic_mmio_read(&cpu, 0x1000, 4), ~0ull);
	lapic_mmio_write(&cpu, 0x80, 8, 0xff);
	assert_int_equal(rd(0x80), 0);
	wr(0x20, 0x12000000);
	assert_int_equal(rd(0x20), 5u << 24);
}

static void ipi_xapic(void **state)
{
	const struct apic_msg *m = vm.msgs;

	(void)state;
	wr(0x310, 0x07ffffff);
	wr(0x300, 0x000008f1u | 0x100);
	assert_int_equal(vm.nr_msgs, 1);
	assert_int_equal(m->dest, 7);
	assert_int_equal(m->vector, 0xf1);
	assert_int_equal(m->mode, 1);
	assert_int_equal(m->logical, 1);
	assert_int_equal(m->x2apic_dest, 0);
	assert_int_equal(rd(0x310), 0x07000000);
	assert_int_equal(rd(0x300), 0x9f1);
	wr(0x300, 0x40041); /* self */
	assert_int_equal(vm.nr_msgs, 1);
	assert_int_equal(lapic_pending(l), 0x41);
	wr(0x300, 0xc4500); /* INIT, all but self */
	assert_int_equal(m[1].mode, 5);
	assert_int_equal(m[1].shorthand, 3);
	wr(0x300, 0x8500); /* INIT level de-assert */
	wr(0x300, 0x44500); /* INIT to self */
	wr(0x300, 0x4300);  /* remote read */
	assert_int_equal(vm.nr_msgs, 2);
	wr(0x300, 0x4608);
	assert_int_equal(vm.nr_msgs, 3);
	assert_int_equal(m[2].vector, 8);
}

static void base_transitions(void **state)
{
	(void)state;
	wrmsr_gp(0x1b, 0xfee00400); /* EXTD without EN */
	wrmsr_gp(0x1b, BASE_EN | 1);
	wrmsr_gp(0x1b, BASE_EN | 1ull << 52);
	wrmsr_ok(0x1b, 0xfed01800); /* moved */
	assert_int_equal(msr(0x1b), 0xfed01800);
	wrmsr_ok(0x1b, BASE_X2);
	wrmsr_gp(0x1b, BASE_EN); /* x2APIC to xAPIC */
	assert_int_equal(lapic_mmio_read(&cpu, 0x20, 4), ~0ull);
	assert_int_equal(msr(X2(0x0f)), ENABLE); /* the rest of the state stayed */
	wrmsr_ok(0x1b, 0xfee00000);
	assert_true(lapic_accepts_extint(l));
	assert_int_equal(lapic_mmio_read(&cpu, 0x20, 4), ~0ull);
	wrmsr_gp(0x1b, BASE_X2); /* disabled to x2APIC */
	wrmsr_ok(0x1b, BASE_EN);
	assert_int_equal(rd(0xf0), 0xff); /* as after reset */
	assert_int_equal(rd(0x20), 5u << 24);
}

static void disable_stops_timer(void **state)
{
	(void)state;
	wr(0x320, 0x40);
	wr(0x380, 1000);
	assert_true(cpu.timer.armed);
	wrmsr_ok(0x1b, 0xfee00000);
	assert_false(cpu.timer.armed);
}

static void x2apic_registers(void **state)
{
	u64 val;

	(void)state;
	assert_false(lapic_msr_read(&cpu, X2(2), &val)); /* not in xAPIC mode */
	lapic_reset(l, 0x123, false);
	enter_x2apic();
	assert_int_equal(msr(X2(2)), 0x123);
	assert_int_equal(msr(X2(0x0d)), 0x12u << 16 | 1u << 3);
	wrmsr_gp(X2(2), 0);
	wrmsr_gp(X2(3), 0);
	wrmsr_gp(X2(0x0a), 0);
	wrmsr_gp(X2(0x0d), 0);
	wrmsr_gp(X2(0x0e), 0);
	wrmsr_gp(X2(0x31), 0);
	wrmsr_gp(X2(0x2f), 0);
	wrmsr_gp(X2(0x39), 0);
	wrmsr_gp(X2(8), 0x100);
	wrmsr_gp(X2(8), 1ull << 32);
	wrmsr_gp(X2(0x0b), 1);
	wrmsr_gp(X2(0x28), 1);
	wrmsr_gp(X2(0x0f), 0x1000);
	wrmsr_gp(X2(0x32), 0x80000);
	wrmsr_gp(X2(0x37), 0x400);
	wrmsr_gp(X2(0x3e), 4);
	wrmsr_gp(X2(0x38), 1ull << 32);
	wrmsr_gp(X2(0x30), 1u << 13);
	wrmsr_gp(X2(0x30), 1u << 20);
	wrmsr_gp(X2(0x3f), 0x100);
	for (u32 n = 0; n < 0x40; n++) {
		bool hole = n < 2 || (n > 3 && n < 8) || n == 9 || n == 0xb || n == 0xc || n == 0xe ||
			    (n > 0x28 && n < 0x30) || n == 0x31 || (n > 0x39 && n < 0x3e) || n == 0x3f;
		assert_int_equal(lapic_msr_read(&cpu, X2(n), &val), !hole);
	}
	wrmsr_ok(X2(0x0f), ENABLE);
	wrmsr_ok(X2(8), 0x20);
	wrmsr_ok(X2(0x35), 0x700);
	assert_int_equal(msr(X2(0x35)), 0x700);
	wrmsr_ok(X2(0x3f), 0x99);
	assert_int_equal(lapic_pending(l), 0x99);
	wrmsr_ok(X2(0x30), 0x12345678000c40f2ull & ~0x2000ull);
	assert_int_equal(msr(X2(0x30)), 0x12345678000c40f2ull);
	assert_int_equal(vm.msgs[0].dest, 0x12345678);
	assert_int_equal(vm.msgs[0].x2apic_dest, 1);
	assert_int_equal(vm.msgs[0].shorthand, 3);
}

static void init_keeps_x2apic(void **state)
{
	(void)state;
	enter_x2apic();
	wrmsr_ok(X2(8), 0x20);
	lapic_set_irr(&cpu, 0x55, false);
	lapic_init_signal(l);
	assert_int_equal(msr(0x1b), BASE_X2);
	assert_int_equal(msr(X2(8)), 0);
	assert_int_equal(msr(X2(2)), 5);
	assert_int_equal(lapic_highest_irr(l), -1);
}

static bool match(u32 dest, bool logical, bool wide)
{
	struct apic_msg m = {.dest = dest, .logical = logical, .x2apic_dest = wide};

	return lapic_match(l, &m);
}

static void addressing(void **state)
{
	(void)state;
	assert_true(match(5, false, false));
	assert_true(match(0xff, false, false));
	assert_false(match(4, false, false));
	assert_true(match(5, false, true));
	assert_false(match(0x105, false, true));
	assert_true(match(~0u, false, true));
	wr(0xd0, 0x12ffffff);
	assert_int_equal(rd(0xd0), 0x12000000);
	assert_true(match(0x02, true, false)); /* flat */
	assert_true(match(0x30, true, false));
	assert_false(match(0x05, true, false));
	wr(0xe0, 0); /* cluster 1, member 2 */
	assert_int_equal(rd(0xe0), 0x0fffffff);
	assert_true(match(0x13, true, false));
	assert_false(match(0x11, true, false));
	assert_false(match(0x22, true, false));
	enter_x2apic();
	assert_true(match(0x20, true, false)); /* cluster 0, bit 5 */
	assert_true(match(0x0021, true, true));
	assert_false(match(0x10020, true, true));
	assert_true(match(~0u, true, true));
	wrmsr_ok(0x1b, 0xfee00000);
	assert_false(match(0xff, false, false)); /* globally disabled: deaf */
}

static void oneshot(void **state)
{
	(void)state;
	wr(0x3e0, 0x3); /* by 16 */
	wr(0x320, 0x40);
	wr(0x380, 1000);
	assert_int_equal(rd(0x390), 1000);
	fake_advance(&vm, &cpu, 8000);
	assert_int_equal(rd(0x390), 500);
	fake_advance(&vm, &cpu, 7999);
	assert_int_equal(lapic_pending(l), -1);
	fake_advance(&vm, &cpu, 1);
	assert_int_equal(lapic_pending(l), 0x40);
	assert_int_equal(rd(0x390), 0);
	assert_int_equal(rd(0x380), 1000);
	lapic_ack(l, 0x40);
	fake_advance(&vm, &cpu, 1000000);
	assert_int_equal(cpu.fired, 1);
	wr(0x380, 1000);
	wr(0x380, 0);
	assert_false(cpu.timer.armed);
	wr(0x3e0, 0xb);
	wr(0x380, 0xffffffff);
	fake_advance(&vm, &cpu, 0xfffffffe);
	assert_int_equal(rd(0x390), 1);
}

static void divide_change(void **state)
{
	(void)state;
	wr(0x3e0, 0xb);
	wr(0x320, 0x40);
	wr(0x380, 100000);
	fake_advance(&vm, &cpu, 40000);
	wr(0x3e0, 0x0); /* by 2 */
	assert_int_equal(rd(0x390), 60000);
	fake_advance(&vm, &cpu, 100000);
	assert_int_equal(rd(0x390), 10000);
	fake_advance(&vm, &cpu, 20000);
	assert_int_equal(lapic_pending(l), 0x40);
}

/* Time passes, and the guest takes each tick, as vcpu_inject() has it do. */
static void advance_and_take(u64 ns)
{
	for (u64 step = 1000; ns; ns -= step) {
		step = MIN(step, ns);
		fake_advance(&vm, &cpu, step);
		if (lapic_pending(l) != 0x40)
			continue;
		lapic_ack(l, 0x40);
		lapic_timer_go_on(&cpu);
		wr(0xb0, 0);
	}
}

static void periodic(void **state)
{
	u64 start;

	(void)state;
	wr(0x3e0, 0xb);
	wr(0x320, 0x20040);
	start = vm.now;
	wr(0x380, 100000);
	advance_and_take(350000);
	assert_int_equal(cpu.fired, 3);
	assert_int_equal(rd(0x390), 50000);
	/* Late by many periods: once, and in step afterwards. */
	vm.now += 1000000;
	advance_and_take(1);
	assert_int_equal(cpu.fired, 4);
	assert_int_equal((cpu.timer.deadline - start) % 100000, 0);
	assert_true(cpu.timer.deadline > vm.now);
	/* Too fast a period is thinned out to multiples of it. */
	cpu.fired = 0;
	start = vm.now;
	wr(0x380, 7);
	advance_and_take(10000000);
	assert_in_range(cpu.fired, 470, 500);
	assert_int_equal((cpu.timer.deadline - start) % 7, 0);
	wr(0x320, 0x40); /* a change of mode disarms */
	assert_false(cpu.timer.armed);
	assert_int_equal(rd(0x390), 0);
}

/* A tick that is not taken, or is masked, is the last: the timer costs nothing until somebody may notice. */
static void periodic_nobody_takes(void **state)
{
	u64 start = vm.now;

	(void)state;
	wr(0x320, 0x20040);
	wr(0x380, 1);
	fake_advance(&vm, &cpu, 10000000);
	assert_int_equal(cpu.fired, 2);
	assert_false(cpu.timer.armed);
	assert_int_equal(lapic_pending(l), 0x40);
	lapic_ack(l, 0x40);
	lapic_timer_go_on(&cpu);
	assert_true(cpu.timer.armed && cpu.timer.deadline > vm.now);
	assert_int_equal((cpu.timer.deadline - start) % 2, 0); /* in step: at divide-by-2 */
	wr(0x320, 0x30040);
	fake_advance(&vm, &cpu, 10000000);
	assert_int_equal(cpu.fired, 3);
	assert_false(cpu.timer.armed);
	wr(0x320, 0x20041); /* unmasked, by another vector */
	assert_true(cpu.timer.armed);
	wr(0x320, 0x20005); /* an illegal one is an error, once */
	wr(0xb0, 0);
	fake_advance(&vm, &cpu, 10000000);
	assert_in_range(cpu.fired, 4, 5);
	wr(0x280, 0);
	assert_true(cpu.timer.armed);
}

static void tsc_deadline(void **state)
{
	(void)state;
	wrmsr_ok(0x6e0, 1); /* not in this mode: ignored */
	assert_int_equal(msr(0x6e0), 0);
	wr(0x320, 0x40040);
	wrmsr_ok(0x6e0, vm.now * 2 + 5000);
	assert_int_equal(msr(0x6e0), vm.now * 2 + 5000);
	wr(0x380, 1000); /* ignored */
	assert_int_equal(rd(0x380), 0);
	assert_int_equal(rd(0x390), 0);
	fake_advance(&vm, &cpu, 2499);
	assert_int_equal(lapic_pending(l), -1);
	fake_advance(&vm, &cpu, 1);
	assert_int_equal(lapic_pending(l), 0x40);
	assert_int_equal(msr(0x6e0), 0);
	lapic_ack(l, 0x40);
	wr(0xb0, 0);
	wrmsr_ok(0x6e0, 1); /* long past */
	assert_int_equal(lapic_pending(l), 0x40);
	assert_int_equal(msr(0x6e0), 0);
	wrmsr_ok(0x6e0, vm.now * 2 + 5000);
	wrmsr_ok(0x6e0, 0);
	assert_false(cpu.timer.armed);
	wrmsr_ok(0x6e0, ~0ull);
	assert_true(cpu.timer.armed);
	wr(0x320, 0x10040);
	assert_false(cpu.timer.armed);
	assert_int_equal(msr(0x6e0), 0);
}

static void rearm(void **state)
{
	(void)state;
	wr(0x320, 0x40);
	wr(0x380, 1000);
	cpu.timer.armed = false;
	lapic_timer_rearm(&cpu);
	assert_true(cpu.timer.armed);
	wr(0x320, 0x40040);
	lapic_timer_rearm(&cpu);
	assert_false(cpu.timer.armed);
	wrmsr_ok(0x6e0, vm.now * 2 + 100);
	cpu.timer.armed = false;
	lapic_timer_rearm(&cpu);
	assert_true(cpu.timer.armed);
}

/* A hostile guest: anything anywhere. What is checked: the caches agree with the bits. */
static void noise(void **state)
{
	(void)state;
	srand(1);
	for (unsigned i = 0; i < 200000; i++) {
		u64 r = (u64)rand() << 31 ^ (u64)rand() << 8 ^ (u64)rand(), val = r >> (rand() % 64);
		int vec = lapic_pending(l);
		switch (rand() % 6) {
		case 0: lapic_mmio_write(&cpu, r & 0xff0, 4, val); break;
		case 1: lapic_mmio_read(&cpu, r & 0xfff, 1u << rand() % 4); break;
		case 2: lapic_msr_write(&cpu, X2(r & 0x3f), val & 0xfffff); break;
		case 3: lapic_msr_write(&cpu, rand() % 50 ? 0x6e0 : 0x1b, rand() % 2 ? val : BASE_X2); break;
		case 4: lapic_set_irr(&cpu, (u8)r, r & 256); break;
		default: fake_advance(&vm, &cpu, r % 100000);
		}
		if (vec >= 0 && lapic_pending(l) == vec)
			lapic_ack(l, (u8)vec);
		for (unsigned w = 0; w < 8; w++) {
			assert_int_equal(!!(l->irr_any & 1u << w), !!l->irr[w]);
			assert_int_equal(!!(l->isr_any & 1u << w), !!l->isr[w]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(reset_state, setup),
		cmocka_unit_test_setup(extint_message, setup),
		cmocka_unit_test_setup(nmi_pin, setup),
		cmocka_unit_test_setup(arbitration, setup),
		cmocka_unit_test_setup(priorities, setup),
		cmocka_unit_test_setup(level_eoi, setup),
		cmocka_unit_test_setup(software_disable, setup),
		cmocka_unit_test_setup(errors, setup),
		cmocka_unit_test_setup(odd_accesses, setup),
		cmocka_unit_test_setup(ipi_xapic, setup),
		cmocka_unit_test_setup(base_transitions, setup),
		cmocka_unit_test_setup(disable_stops_timer, setup),
		cmocka_unit_test_setup(x2apic_registers, setup),
		cmocka_unit_test_setup(init_keeps_x2apic, setup),
		cmocka_unit_test_setup(addressing, setup),
		cmocka_unit_test_setup(oneshot, setup),
		cmocka_unit_test_setup(divide_change, setup),
		cmocka_unit_test_setup(periodic, setup),
		cmocka_unit_test_setup(periodic_nobody_takes, setup),
		cmocka_unit_test_setup(tsc_deadline, setup),
		cmocka_unit_test_setup(rearm, setup),
		cmocka_unit_test_setup(noise, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
