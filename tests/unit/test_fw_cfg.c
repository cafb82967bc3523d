/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/fw_cfg.c vmm/platform/debugcon.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_vdev.h"
#include "lib/errno.h"
#include "vmm/gmem.h"
#include "vmm/loader.h"

#define RAM	MIB(1)
#define REQUEST 0x1000u
#define STEP	16384u

static struct vm vm;
static struct vdev *dev;
static u8 ram[RAM];
static u64 written;

int gmem_read(struct vm *m, gpa_t gpa, void *buf, size_t n)
{
	(void)m;
	if (gpa >= RAM || n > RAM - gpa)
		return -EFAULT;
	memcpy(buf, ram + gpa, n);
	return 0;
}
int gmem_write(struct vm *m, gpa_t gpa, const void *buf, size_t n)
{
	(void)m;
	if (gpa >= RAM || n > RAM - gpa)
		return -EFAULT;
	memcpy(ram + gpa, buf, n);
	written += n;
	return 0;
}
unsigned guest_e820(u64 memory, struct e820_entry *e, unsigned max)
{
	assert_true(max >= 2);
	e[0] = (struct e820_entry){0, 0xa0000, E820_RAM};
	e[1] = (struct e820_entry){MIB(1), memory - MIB(1), E820_RAM};
	return 2;
}

static int setup(void **state)
{
	(void)state;
	fake_vm_init(&vm);
	vm.fw_cfg = "opt/org.example/a=hello\0opt/b=\0opt/c=x=y\0";
	dev = fake_attach(&vm, &fw_cfg_vdev);
	memset(ram, 0xcc, sizeof(ram));
	written = 0;
	return 0;
}
static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

static void key(u16 k)
{
	pio_out(&vm, 0x510, 2, k);
}
static void bytes(const void *want, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(pio_in(&vm, 0x511, 1), ((const u8 *)want)[i]);
}
#define BYTES(s) bytes(s, sizeof(s) - 1)

static void items(void **state)
{
	(void)state;
	BYTES("QEMU"); /* as after reset */
	key(0);
	BYTES("QEMU\0\0");
	key(1);
	BYTES("\x03\0\0\0\0");
	key(3);
	BYTES("\0\0\0\x10\0\0\0\0\0");
	key(5);
	BYTES("\x03\0\0");
	key(0x0f);
	BYTES("\x03\0");
	key(0x19);
	BYTES("\0\0\0\4"
	      "\0\0\0\x28\0\x20\0\0etc/e820");
	for (int i = 0; i < 48; i++)
		BYTES("\0");
	BYTES("\0\0\0\5\0\x21\0\0opt/org.example/a\0");
	key(0x20);
	BYTES("\0\0\0\0\0\0\0\0\0\0\x0a\0\0\0\0\0\1\0\0\0\0\0\x10\0\0\0\0\0\0\0\xf0\x0f\0\0\0\0\1\0\0\0\0");
	key(0x21);
	BYTES("hello\0\0");
	key(0x22);
	BYTES("\0");
	key(0x23);
	BYTES("x=y\0");
	key(0x24);
	BYTES("\0\0");
	key(0x30);
	BYTES("\0");
	key(0x8001);
	BYTES("\0");
	key(0x21);
	pio_out(&vm, 0x511, 1, 'J'); /* read-only */
	pio_out(&vm, 0x510, 1, 0);   /* no selector of one byte */
	BYTES("hello");
	assert_int_equal(pio_in(&vm, 0x510, 2), 0xffff);
}

static void no_strings(void **state)
{
	(void)state;
	vm.fw_cfg = "";
	key(0x19);
	BYTES("\0\0\0\1");
	key(0x21);
	BYTES("\0");
}

static void request(u32 control, u32 length, u64 address)
{
	const u32 w[] = {__builtin_bswap32(control), __builtin_bswap32(length), __builtin_bswap32((u32)(address >> 32)),
			 __builtin_bswap32((u32)address)};

	memcpy(ram + REQUEST, w, sizeof(w));
}
static void dma_at(u64 gpa)
{
	if (gpa >> 32)
		pio_out(&vm, 0x514, 4, __builtin_bswap32((u32)(gpa >> 32)));
	pio_out(&vm, 0x518, 4, __builtin_bswap32((u32)gpa));
}
static u32 dma(u32 control, u32 length, u64 address)
{
	u32 w;

	request(control, length, address);
	dma_at(REQUEST);
	memcpy(&w, ram + REQUEST, 4);
	return __builtin_bswap32(w);
}

static void dma_reads(void **state)
{
	(void)state;
	assert_int_equal(pio_in(&vm, 0x514, 4), 0x554d4551);
	assert_int_equal(pio_in(&vm, 0x518, 4), 0x47464320);
	assert_int_equal(pio_in(&vm, 0x515, 1), 'E');
	assert_int_equal(dma(0x210000 | 8 | 2, 7, 0x2000), 0); /* select and read, two bytes too many */
	assert_memory_equal(ram + 0x2000, "hello\0\0\xcc", 8);
	key(0x21);
	assert_int_equal(dma(4, 1, 0), 0);
	assert_int_equal(dma(2, 2, 0x2000), 0);
	assert_memory_equal(ram + 0x2000, "ello", 2);
	BYTES("lo\0");
	assert_int_equal(dma(0x210000 | 8 | 4, ~0u, 0), 0); /* skips to the end and no further */
	BYTES("\0");
	assert_int_equal(dma(0x210000 | 8, 100, 0x2000), 0); /* selects only */
	BYTES("hello");
	assert_int_equal(dma(2, 0, ~0ull), 0);
	assert_int_equal(dma(0x210000 | 8 | 16, 5, 0x2000), 1); /* nothing can be written */
	BYTES("hello");
	pio_out(&vm, 0x518, 2, 0xffff); /* not a dword */
	pio_out(&vm, 0x516, 4, 0xffff);
	assert_int_equal(vm.fired, 0);
}

static void dma_errors(void **state)
{
	(void)state;
	assert_int_equal(dma(0x210000 | 8 | 2, 5, RAM - 4), 1);
	assert_int_equal(dma(0x210000 | 8 | 2, 5, RAM), 1);
	assert_int_equal(dma(0x210000 | 8 | 2, 5, ~0ull - 2), 1);
	assert_int_equal(dma(0x210000 | 8 | 2, ~0u, ~0ull << 32), 1);
	written = 0;
	request(2, 4, 0x2000);
	dma_at(RAM - 8); /* the request itself is not in RAM */
	dma_at(~0ull - 7);
	dma_at((1ull << 32) + REQUEST); /* the upper half counts, once */
	assert_int_equal(written, 0);
	dma_at(REQUEST);
	assert_int_equal(written, 8);
}

/* Long ones: a step at a time, by the timer, until the control word is 0. */
static void dma_long(void **state)
{
	u32 control, steps = 0;

	(void)state;
	assert_int_equal(dma(0x210000 | 8 | 2, 10 * STEP + 5, 0x10000), 0x210000 | 8 | 2);
	assert_int_equal(written, STEP);
	do {
		u64 before = written;

		assert_true(fake_timer_armed(&vm, &fw_cfg_vdev, 0));
		fake_advance(&vm, NULL, 1000000);
		assert_in_range(written - before, 5, STEP + 4);
		steps++;
		memcpy(&control, ram + REQUEST, 4);
	} while (control);
	assert_int_equal(steps, 10);
	assert_int_equal(written, 10 * STEP + 5 + 4);
	assert_false(fake_timer_armed(&vm, &fw_cfg_vdev, 0));
	assert_memory_equal(ram + 0x10000, "hello\0\0\0", 8);
	assert_int_equal(ram[0x10000 + 10 * STEP + 4], 0);
	assert_int_equal(ram[0x10000 + 10 * STEP + 5], 0xcc);
	/* 4 GiB end at the end of RAM, with an error. */
	assert_int_equal(dma(2, ~0u, 0x10000), 2);
	fake_advance(&vm, NULL, 100000000);
	memcpy(&control, ram + REQUEST, 4);
	assert_int_equal(__builtin_bswap32(control), 1);
	/* A new one takes the place of the old one; a reset ends it. */
	dma(2, ~0u, 0x10000);
	assert_int_equal(dma(0x210000 | 8 | 2, 5, 0x2000), 0);
	assert_false(fake_timer_armed(&vm, &fw_cfg_vdev, 0));
	dma(2, ~0u, 0x10000);
	vdev_timer_stop(dev, 0); /* as the core does before a reset */
	fw_cfg_vdev.reset(dev);
	BYTES("QEMU");
}

static void valid(void **state)
{
	u8 *s = dev->state;

	(void)state;
	assert_true(fw_cfg_vdev.valid(s));
	srand(5);
	for (int i = 0; i < 5000; i++) {
		for (unsigned k = 0; k < fw_cfg_vdev.state_size; k++)
			s[k] = (u8)(rand() % 4 ? 0 : rand());
		if (!fw_cfg_vdev.valid(s))
			continue;
		dma(2, 3000, 0x2000);
		pio_in(&vm, 0x511, 1);
		fw_cfg_vdev.timer(dev, 0);
		assert_true(fw_cfg_vdev.valid(s));
	}
}

static void debug_console(void **state)
{
	(void)state;
	assert_false(debugcon_vdev.wanted(&vm));
	vm.debug_exit = true;
	assert_true(debugcon_vdev.wanted(&vm));
	fake_attach(&vm, &debugcon_vdev);
	assert_int_equal(pio_in(&vm, 0xe9, 1), 0xe9);
	pio_out(&vm, 0xe9, 1, 'h');
	pio_out(&vm, 0xe9, 1, 'i');
	assert_int_equal(vm.console_len, 2);
	assert_memory_equal(vm.console, "hi", 2);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(items), T(no_strings), T(dma_reads), T(dma_errors), T(dma_long), T(valid), T(debug_console),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
