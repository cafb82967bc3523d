/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/uart.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"

enum { DATA = 0x3f8, IER, IIR, LCR, MCR, LSR, MSR, SCR };
#define FCR IIR

static struct vm vm;

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	fake_attach(&vm, &uart_vdev);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

static u8 rd(u16 port)
{
	return (u8)pio_in(&vm, port, 1);
}

static void wr(u16 port, u8 val)
{
	pio_out(&vm, port, 1, val);
}

static size_t type(const char *s)
{
	return uart_input(&vm, (const u8 *)s, strlen(s));
}

static void output(void **state)
{
	(void)state;
	for (const char *s = "hello"; *s; s++) {
		assert_int_equal(rd(LSR) & 0x60, 0x60);
		wr(DATA, (u8)*s);
	}
	assert_int_equal(vm.console_len, 5);
	assert_memory_equal(vm.console, "hello", 5);
	assert_int_equal(vm.rises[4], 0);
}

static void registers(void **state)
{
	(void)state;
	assert_int_equal(rd(IIR), 0x01);
	assert_int_equal(rd(MSR), 0xb0);
	wr(SCR, 0x5a);
	assert_int_equal(rd(SCR), 0x5a);
	wr(IER, 0xff);
	assert_int_equal(rd(IER), 0x0f);
	wr(IER, 0);
	wr(LCR, 0x83);
	wr(DATA, 0x34);
	wr(IER, 0x12);
	assert_int_equal(rd(DATA), 0x34);
	assert_int_equal(rd(IER), 0x12);
	assert_int_equal(vm.console_len, 0);
	wr(LCR, 3);
	assert_int_equal(rd(IER), 0);
	wr(MCR, 0xff);
	assert_int_equal(rd(MCR), 0x1f);
	wr(MCR, 0);
	pio_out(&vm, SCR - 1, 2, 0x7700); /* a word reaches two registers */
	assert_int_equal(rd(SCR), 0x77);
	assert_int_equal(pio_in(&vm, SCR - 1, 2) >> 8, 0x77);
}

/* The steps of Linux's autoconfig() and autoconfig_16550a(). */
static void linux_autoconfig(void **state)
{
	(void)state;
	wr(IER, 0);
	wr(0x80, 0);
	assert_int_equal(rd(IER) & 0x0f, 0);
	wr(IER, 0x0f);
	assert_int_equal(rd(IER) & 0x0f, 0x0f);
	wr(IER, 0);
	wr(MCR, 0x10 | 0x0a);
	assert_int_equal(rd(MSR) & 0xf0, 0x90);
	wr(MCR, 0);
	wr(LCR, 0xbf);
	wr(FCR, 0);
	wr(LCR, 0);
	wr(FCR, 1);
	assert_int_equal(rd(IIR) >> 6, 3); /* 16550A or better */
	wr(LCR, 0xbf);
	assert_int_not_equal(rd(FCR), 0); /* no EFR */
	wr(LCR, 0);
	wr(FCR, 0x21);
	assert_int_equal(rd(IIR) >> 5, 6); /* not a 16750 */
	wr(FCR, 1);
	wr(IER, 0x40);
	assert_int_equal(rd(IER), 0); /* not an XScale */
	wr(FCR, 0);
	assert_int_equal(rd(IIR) >> 6, 0);
}

/* Linux's test for UART_BUG_THRE, and for UART_BUG_TXEN. */
static void linux_thre_tests(void **state)
{
	(void)state;
	wr(MCR, 0x08);
	wr(IER, 2);
	assert_int_equal(rd(IIR), 2);
	wr(IER, 0);
	wr(IER, 2);
	assert_int_equal(rd(IIR), 2);
	wr(IER, 0);
	assert_int_equal(rd(IIR), 1);
	wr(IER, 2);
	assert_int_equal(rd(LSR) & 0x40, 0x40);
	assert_int_equal(rd(IIR), 2);
}

static void thre_interrupt(void **state)
{
	(void)state;
	wr(MCR, 0x08);
	wr(IER, 2);
	assert_true(vm.level[4]);
	assert_int_equal(rd(IIR), 2);
	assert_false(vm.level[4]); /* reading it ends it */
	assert_int_equal(rd(IIR), 1);
	wr(DATA, 'x');
	assert_true(vm.level[4]);
	assert_int_equal(vm.rises[4], 2);
	wr(DATA, 'y'); /* each byte gives an edge */
	assert_int_equal(vm.rises[4], 3);
	wr(IER, 0);
	assert_false(vm.level[4]);
	wr(IER, 2);
	assert_true(vm.level[4]);
	wr(IER, 2); /* no change: nothing new once seen */
	rd(IIR);
	wr(IER, 2);
	assert_false(vm.level[4]);
}

static void out2_gates(void **state)
{
	(void)state;
	wr(IER, 2);
	assert_false(vm.level[4]);
	assert_int_equal(rd(IIR) & 1, 0);
	wr(IER, 0);
	wr(IER, 2);
	wr(MCR, 8);
	assert_true(vm.level[4]);
	wr(MCR, 0x18); /* loop mode holds OUT2 inactive */
	assert_false(vm.level[4]);
}

static void receive(void **state)
{
	(void)state;
	wr(FCR, 0x81); /* trigger 8 */
	wr(MCR, 0x0b);
	wr(IER, 1);
	assert_int_equal(type("abc"), 3);
	assert_false(vm.level[4]);
	assert_int_equal(rd(LSR) & 1, 1);
	fake_advance(&vm, NULL, 400000);
	assert_true(vm.level[4]); /* timeout */
	assert_int_equal(rd(IIR), 0xcc);
	assert_int_equal(rd(DATA), 'a');
	assert_false(vm.level[4]); /* starts the timeout anew */
	fake_advance(&vm, NULL, 400000);
	assert_int_equal(rd(IIR), 0xcc);
	assert_int_equal(rd(DATA), 'b');
	assert_int_equal(rd(DATA), 'c');
	assert_false(vm.level[4]);
	assert_false(fake_timer_armed(&vm, &uart_vdev, 0));
	assert_int_equal(rd(DATA), 0);
	assert_int_equal(type("12345678"), 8);
	assert_int_equal(rd(IIR), 0xc4);
	rd(DATA);
	assert_int_equal(rd(IIR), 0xc1);
	assert_int_equal(type("9"), 1);
	assert_int_equal(rd(IIR), 0xc4);
	wr(FCR, 0x83); /* clear */
	assert_int_equal(rd(LSR) & 1, 0);
	assert_false(vm.level[4]);
}

static void flow(void **state)
{
	(void)state;
	wr(FCR, 1);
	wr(MCR, 0x0b);
	assert_int_equal(type("0123456789abcdefXYZ"), 16);
	assert_int_equal(vm.want_input, 0);
	for (int i = 0; i < 15; i++)
		rd(DATA);
	assert_int_equal(vm.want_input, 0);
	assert_int_equal(rd(DATA), 'f');
	assert_int_equal(vm.want_input, 1);
	assert_int_equal(type("XYZ"), 3);
	rd(DATA), rd(DATA), rd(DATA);
	assert_int_equal(vm.want_input, 1);
	wr(FCR, 0); /* no FIFO: one byte */
	assert_int_equal(type("pq"), 1);
	wr(FCR, 1); /* clears, and there is room */
	assert_int_equal(vm.want_input, 2);
}

/* What is typed while the driver starts must not be lost in its FIFO clearing. */
static void typed_ahead(void **state)
{
	(void)state;
	assert_int_equal(type("root\n"), 0);
	wr(MCR, 0x1a);
	wr(MCR, 0x08);
	wr(FCR, 0x07);
	assert_int_equal(vm.want_input, 0);
	wr(MCR, 0x0b);
	assert_int_equal(vm.want_input, 1);
	assert_int_equal(type("root\n"), 5);
}

/* A small guest that only polls the LSR is heard, too. */
static void polling_guest(void **state)
{
	(void)state;
	assert_int_equal(type("x"), 0);
	assert_int_equal(rd(LSR) & 1, 0);
	assert_int_equal(vm.want_input, 1);
	assert_int_equal(type("x"), 1);
	assert_int_equal(rd(LSR) & 1, 1);
	assert_int_equal(rd(DATA), 'x');
}

static void loopback(void **state)
{
	(void)state;
	wr(FCR, 1);
	wr(MCR, 0x10);
	wr(IER, 0x0f);
	wr(DATA, 'L');
	assert_int_equal(vm.console_len, 0);
	assert_int_equal(rd(LSR), 0x61);
	assert_int_equal(rd(DATA), 'L');
	for (int i = 0; i < 17; i++)
		wr(DATA, (u8)i);
	assert_int_equal(rd(IIR), 0xc6); /* line status comes first */
	assert_int_equal(rd(LSR), 0x63);
	assert_int_equal(rd(LSR), 0x61); /* the overrun is cleared by the read */
	assert_int_equal(rd(IIR), 0xc4);
	assert_int_equal(type("x"), 0);
	for (int i = 0; i < 16; i++)
		assert_int_equal(rd(DATA), i);
	rd(MSR);
	assert_int_equal(rd(MSR), 0);
	assert_int_equal(rd(IIR), 0xc2);
	wr(MCR, 0x14); /* RI rises: no delta */
	assert_int_equal(rd(MSR), 0x40);
	wr(MCR, 0x11); /* RI falls, DSR rises */
	assert_int_equal(rd(IIR), 0xc0);
	assert_int_equal(rd(MSR), 0x26);
	assert_int_equal(rd(IIR), 0xc1);
}

static void noise(void **state)
{
	(void)state;
	srand(5);
	for (unsigned i = 0; i < 300000; i++) {
		u16 port = (u16)(DATA + rand() % 8);
		unsigned size = 1u << rand() % 3;
		switch (rand() % 4) {
		case 0: pio_out(&vm, port, size, (u32)rand()); break;
		case 1: pio_in(&vm, port, size); break;
		case 2: assert_true(type("0123456789abcdefghij") <= 16); break;
		default: fake_advance(&vm, NULL, (u64)rand() % 1000000);
		}
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(output), T(registers), T(linux_autoconfig), T(linux_thre_tests), T(thre_interrupt),
		T(out2_gates), T(receive), T(flow), T(typed_ahead), T(polling_guest), T(loopback),
		T(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
