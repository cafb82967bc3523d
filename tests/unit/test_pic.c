/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/pic.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"

static struct vm vm;

static void program(u8 icw4)
{
	static const u16 port[2] = {0x20, 0xa0};

	for (unsigned i = 0; i < 2; i++) {
		pio_out(&vm, port[i], 1, 0x11);
		pio_out(&vm, port[i] + 1, 1, i ? 0x28 : 0x20);
		pio_out(&vm, port[i] + 1, 1, i ? 2 : 4);
		pio_out(&vm, port[i] + 1, 1, icw4);
	}
}

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	fake_attach(&vm, &pic_vdev);
	program(1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

static void pulse(unsigned irq)
{
	pic_set(&vm, irq, false);
	pic_set(&vm, irq, true);
}

static u8 irr(u16 port)
{
	pio_out(&vm, port, 1, 0x0a);
	return (u8)pio_in(&vm, port, 1);
}

static u8 isr(u16 port)
{
	pio_out(&vm, port, 1, 0x0b);
	return (u8)pio_in(&vm, port, 1);
}

static void edges_and_eoi(void **state)
{
	(void)state;
	assert_false(pic_pending(&vm));
	pic_set(&vm, 4, true);
	assert_true(pic_pending(&vm));
	assert_int_equal(irr(0x20), 0x10);
	assert_int_equal(vm.pic_changes, 2); /* reset, and now */
	assert_int_equal(vm.pin_rises[0], 1);
	assert_int_equal(pic_ack(&vm), 0x24);
	assert_int_equal(isr(0x20), 0x10);
	assert_int_equal(irr(0x20), 0);
	assert_false(pic_pending(&vm));
	pic_set(&vm, 4, true); /* no new edge */
	pio_out(&vm, 0x20, 1, 0x20);
	assert_int_equal(isr(0x20), 0);
	assert_false(pic_pending(&vm));
	pulse(4);
	assert_int_equal(pic_ack(&vm), 0x24);
}

static void nesting(void **state)
{
	(void)state;
	pulse(3);
	assert_int_equal(pic_ack(&vm), 0x23);
	pulse(5);
	assert_false(pic_pending(&vm));
	pulse(1);
	assert_true(pic_pending(&vm));
	assert_int_equal(pic_ack(&vm), 0x21);
	pio_out(&vm, 0x20, 1, 0x20); /* ends 1 */
	assert_int_equal(isr(0x20), 0x08);
	pio_out(&vm, 0x20, 1, 0x63); /* specific: 3 */
	assert_int_equal(pic_ack(&vm), 0x25);
}

static void masks(void **state)
{
	(void)state;
	pio_out(&vm, 0x21, 1, 0x10);
	assert_int_equal(pio_in(&vm, 0x21, 1), 0x10);
	pulse(4);
	assert_false(pic_pending(&vm));
	assert_int_equal(irr(0x20), 0x10); /* latched behind the mask */
	pio_out(&vm, 0x21, 1, 0);
	assert_true(pic_pending(&vm));
	pio_out(&vm, 0x21, 1, 0xff);
	assert_false(pic_pending(&vm));
}

static void cascade(void **state)
{
	(void)state;
	pulse(8);
	assert_int_equal(irr(0x20), 4);
	assert_int_equal(pic_ack(&vm), 0x28);
	assert_int_equal(isr(0x20), 4);
	assert_int_equal(isr(0xa0), 1);
	pulse(12); /* lower: waits for both ends */
	assert_false(pic_pending(&vm));
	pio_out(&vm, 0xa0, 1, 0x20);
	assert_false(pic_pending(&vm));
	pio_out(&vm, 0x20, 1, 0x20);
	assert_int_equal(pic_ack(&vm), 0x2c);
	pulse(8); /* higher, of the same slave: not before the master's end... */
	assert_false(pic_pending(&vm));
	pio_out(&vm, 0x20, 1, 0x20);
	assert_int_equal(pic_ack(&vm), 0x28);
}

static void special_fully_nested(void **state)
{
	(void)state;
	program(0x11);
	pulse(12);
	assert_int_equal(pic_ack(&vm), 0x2c);
	pulse(8); /* ...unless the master is in special fully nested mode */
	assert_int_equal(pic_ack(&vm), 0x28);
}

static void two_at_once_give_two_edges(void **state)
{
	(void)state;
	pulse(10);
	pulse(11);
	assert_int_equal(pic_ack(&vm), 0x2a);
	pio_out(&vm, 0xa0, 1, 0x20);
	pio_out(&vm, 0x20, 1, 0x20);
	assert_int_equal(pic_ack(&vm), 0x2b);
	pio_out(&vm, 0xa0, 1, 0x20);
	pio_out(&vm, 0x20, 1, 0x20);
	pulse(1);
	pulse(3);
	vm.pin_rises[0] = 0;
	pic_ack(&vm);
	pio_out(&vm, 0x20, 1, 0x20);
	assert_int_equal(vm.pin_rises[0], 1); /* INTR fell at INTA and rose again */
}

static void spurious(void **state)
{
	(void)state;
	pic_set(&vm, 5, true);
	pic_set(&vm, 5, false); /* gone before INTA */
	assert_int_equal(pic_ack(&vm), 0x27);
	assert_int_equal(isr(0x20), 0);
	/* The slave's request goes while the master has latched it: level inputs do that. */
	assert_int_equal(pio_in(&vm, 0x4d1, 1), 0xc2); /* SCI and PIRQs are level from reset */
	assert_int_equal(pio_in(&vm, 0x4d0, 1), 0x60);
	pic_set(&vm, 9, true);
	assert_true(pic_pending(&vm));
	pic_set(&vm, 9, false);
	assert_int_equal(pic_ack(&vm), 0x27);
}

/* An ISA device and PCI's interrupts on one line: its level is their OR. */
static void wired_or(void **state)
{
	(void)state;
	pic_set_pirqs(&vm, 1u << 5 | 1u << 14);
	assert_int_equal(irr(0x20), 0x24); /* IRQ 5, and the slave */
	assert_int_equal(irr(0xa0), 0x40);
	pic_set(&vm, 5, true);
	pic_set_pirqs(&vm, 1u << 14);
	assert_int_equal(irr(0x20), 0x24);
	pic_set(&vm, 5, false);
	assert_int_equal(irr(0x20), 0x04);
	pic_set_pirqs(&vm, 1u << 2); /* the cascade is nobody's */
	assert_false(pic_pending(&vm));
	pic_set_pirqs(&vm, 1u << 5);
	pic_set(&vm, 5, true);
	pic_set(&vm, 5, false);
	assert_int_equal(pic_ack(&vm), 0x25);
	pio_out(&vm, 0x20, 1, 0x20); /* EOI: the level is still there */
	assert_true(pic_pending(&vm));
	pic_vdev.reset(&vm.devs[0]);
	pic_set_pirqs(&vm, 0);
	assert_int_equal(irr(0x20), 0);
}

static void levels(void **state)
{
	(void)state;
	pio_out(&vm, 0x4d0, 2, 0xffff);
	assert_int_equal(pio_in(&vm, 0x4d0, 2), 0xdef8);
	pic_set(&vm, 5, true);
	assert_int_equal(pic_ack(&vm), 0x25);
	pio_out(&vm, 0x20, 1, 0x20);
	assert_true(pic_pending(&vm)); /* still high */
	assert_int_equal(pic_ack(&vm), 0x25);
	pic_set(&vm, 5, false);
	pio_out(&vm, 0x20, 1, 0x20);
	assert_false(pic_pending(&vm));
	pic_set(&vm, 11, true);
	assert_int_equal(pic_ack(&vm), 0x2b);
	pio_out(&vm, 0x20, 1, 0x20);
	assert_false(pic_pending(&vm)); /* in service at the slave */
	pio_out(&vm, 0xa0, 1, 0x20);
	assert_int_equal(pic_ack(&vm), 0x2b);
}

static void automatic_eoi(void **state)
{
	(void)state;
	program(3);
	pulse(4);
	assert_int_equal(pic_ack(&vm), 0x24);
	assert_int_equal(isr(0x20), 0);
	pio_out(&vm, 0x20, 1, 0x80); /* rotate in AEOI mode */
	pulse(4);
	pic_ack(&vm);
	pulse(4);
	pulse(6);
	assert_int_equal(pic_ack(&vm), 0x26); /* 4 is the lowest now */
}

static void rotation(void **state)
{
	(void)state;
	pio_out(&vm, 0x20, 1, 0xc3); /* 3 is the lowest, 4 the highest */
	pulse(0);
	pulse(4);
	pulse(3);
	assert_int_equal(pic_ack(&vm), 0x24);
	pio_out(&vm, 0x20, 1, 0xa0); /* rotate on non-specific: 4 is the lowest */
	assert_int_equal(isr(0x20), 0);
	pulse(4);
	assert_int_equal(pic_ack(&vm), 0x20);
	pio_out(&vm, 0x20, 1, 0xe0); /* rotate on specific EOI of 0 */
	assert_int_equal(pic_ack(&vm), 0x23);
	pio_out(&vm, 0x20, 1, 0x20);
	assert_int_equal(pic_ack(&vm), 0x24);
}

static void special_mask(void **state)
{
	(void)state;
	pulse(3);
	pic_ack(&vm);
	pulse(6);
	assert_false(pic_pending(&vm));
	pio_out(&vm, 0x21, 1, 0x08);
	assert_false(pic_pending(&vm));
	pio_out(&vm, 0x20, 1, 0x68);
	assert_true(pic_pending(&vm));
	assert_int_equal(pic_ack(&vm), 0x26);
	pio_out(&vm, 0x20, 1, 0x20); /* passes the masked 3 over */
	assert_int_equal(isr(0x20), 0x08);
	pio_out(&vm, 0x20, 1, 0x48);
	pio_out(&vm, 0x20, 1, 0x20);
	assert_int_equal(isr(0x20), 0);
}

static void poll_mode(void **state)
{
	(void)state;
	pio_out(&vm, 0x20, 1, 0x0c);
	assert_int_equal(pio_in(&vm, 0x20, 1) & 0x80, 0);
	pulse(6);
	pulse(10);
	pio_out(&vm, 0x20, 1, 0x0c);
	assert_int_equal(pio_in(&vm, 0x20, 1), 0x82);
	pio_out(&vm, 0xa0, 1, 0x0c);
	assert_int_equal(pio_in(&vm, 0xa0, 1), 0x82);
	assert_int_equal(isr(0xa0), 4);
	pio_out(&vm, 0xa0, 1, 0x20);
	pio_out(&vm, 0x20, 1, 0x20);
	assert_int_equal(pic_ack(&vm), 0x26);
}

static void initialisation(void **state)
{
	(void)state;
	pulse(3);
	pic_ack(&vm);
	pulse(1);
	pio_out(&vm, 0x21, 1, 0xaa);
	pio_out(&vm, 0x20, 1, 0x13); /* single, with ICW4 */
	assert_false(pic_pending(&vm));
	pio_out(&vm, 0x21, 1, 0x47);
	pio_out(&vm, 0x21, 1, 0x01);
	assert_int_equal(pio_in(&vm, 0x21, 1), 0);
	assert_int_equal(irr(0x20), 0); /* edges are forgotten */
	assert_int_equal(isr(0x20), 0);
	pulse(1);
	assert_int_equal(pic_ack(&vm), 0x41);
	pio_out(&vm, 0x20, 1, 0x10); /* without ICW4 */
	pio_out(&vm, 0x21, 1, 0x50);
	pio_out(&vm, 0x21, 1, 0x04);
	pio_out(&vm, 0x21, 1, 0xfe); /* OCW1 again */
	assert_int_equal(pio_in(&vm, 0x21, 1), 0xfe);
}

/* Linux looks for the chip by writing a mask and reading it back, before it initialises it. */
static void linux_probe(void **state)
{
	(void)state;
	vm.devs[0].type->reset(&vm.devs[0]);
	pio_out(&vm, 0xa1, 1, 0xff);
	pio_out(&vm, 0x21, 1, 0xfb);
	assert_int_equal(pio_in(&vm, 0x21, 1), 0xfb);
}

/* A request that was up when the machine was reset must not linger in the core's copy of INTR. */
static void reset_drops_intr(void **state)
{
	unsigned changes;

	(void)state;
	pulse(4);
	assert_true(pic_pending(&vm));
	changes = vm.pic_changes;
	vm.devs[0].type->reset(&vm.devs[0]);
	assert_false(pic_pending(&vm));
	assert_true(vm.pic_changes > changes);
}

static void noise(void **state)
{
	static const u16 ports[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1};

	(void)state;
	srand(2);
	for (unsigned i = 0; i < 300000; i++) {
		switch (rand() % 4) {
		case 0: pio_out(&vm, ports[rand() % 6], 1 + rand() % 2, (u32)rand()); break;
		case 1: pio_in(&vm, ports[rand() % 6], 1 + rand() % 2); break;
		case 2: pic_set(&vm, (unsigned)rand() % 18, rand() & 1); break;
		default: assert_in_range(pic_ack(&vm), 0, 255);
		}
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(edges_and_eoi), T(nesting), T(masks), T(cascade), T(special_fully_nested),
		T(two_at_once_give_two_edges), T(spurious), T(levels), T(wired_or), T(automatic_eoi), T(rotation),
		T(special_mask), T(poll_mode), T(initialisation), T(linux_probe),
		T(reset_drops_intr), T(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
