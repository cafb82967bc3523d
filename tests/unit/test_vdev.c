/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/vdev.c vmm/regions.c lib/string.c lib/printf.c */
/* Dispatch by the table of regions: any width, over the edges, and where nobody is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/vm.h"

static struct vm vm;
static struct vcpu vcpu = {.vm = &vm};
static struct {
	u64 at, val;
	unsigned size;
} log[16];
static unsigned nr;

static u32 pio_in(struct vdev *d, u16 port, unsigned size)
{
	(void)d;
	log[nr++] = (__typeof__(log[0])){port, 0, size};
	return 0x44332211;
}
static void pio_out(struct vdev *d, u16 port, unsigned size, u32 val)
{
	(void)d;
	log[nr++] = (__typeof__(log[0])){port, val, size};
}
static u64 mem_in(struct vdev *d, u64 off, unsigned size)
{
	(void)d;
	log[nr++] = (__typeof__(log[0])){off, 0, size};
	return 0x8877665544332211;
}
static void mem_out(struct vdev *d, u64 off, unsigned size, u64 val)
{
	(void)d;
	log[nr++] = (__typeof__(log[0])){off, val, size};
}

static const struct vdev_pio pio[] = {
	{0x100, 4, pio_in, pio_out}, {0x60, 1, pio_in, pio_out}, {0x104, 2, NULL, NULL}, {0xffff, 1, pio_in, pio_out},
};
static const struct vdev_mmio mmio[] = {
	{0xd0001000, 0x1000, mem_in, mem_out}, {0xd0000000, 0x400, mem_in, mem_out}, {0xd0002000, 16, NULL, NULL},
};
static int worked, asked;
static void work(struct vdev *d) { worked += d->type != NULL; }
static const struct vdev_type one = {.work = work, .name = "one", .nr_pio = ARRAY_SIZE(pio), .pio = pio, .nr_mmio = ARRAY_SIZE(mmio),
				     .mmio = mmio, .nr_timers = 1};
const struct vdev_type *const vdevs[] __asm__("__vdevs_start") = {&one};
extern const struct vdev_type *const vdevs_end[] __asm__("__vdevs_end");
__asm__(".globl __vdevs_end\n.set __vdevs_end, __vdevs_start + 8");

u64 tsc_khz = 1000000;
void gmem_release(void) {}
void *kzalloc(size_t n, enum frame_type type, u16 owner) { (void)type, (void)owner; return calloc(1, n); }
void kfree(void *p) { free(p); }
void timer_init(struct timer *t, void (*fn)(struct timer *t)) { t->fn = fn; }
void timer_set(struct timer *t, u64 tsc) { (void)t, (void)tsc; }
void timer_stop(struct timer *t) { (void)t; }
void timer_stop_sync(struct timer *t) { (void)t; }
u64 ns_to_tsc(u64 ns) { return ns; }
u64 tsc_to_ns(u64 tsc) { return tsc; }
u64 wallclock_ns(void) { return 0; }
int pci_attach(struct vdev *d) { (void)d; abort(); }
void pci_detach(struct vdev *d) { (void)d; }
void pci_reset(struct vdev *d) { (void)d; }
void pci_firmware(struct vm *v) { (void)v; }
void pv_eoi_take_back(struct vcpu *v) { (void)v; }
u64 lapic_mmio_read(struct vcpu *v, u64 off, unsigned size) { (void)v, (void)size; return off; }
void lapic_mmio_write(struct vcpu *v, u64 off, unsigned size, u64 val) { (void)v, (void)off, (void)size, (void)val; }
void vcpu_request(struct vcpu *v, u32 req) { asked += v == &vcpu && req == REQ_DEVICE; }
void panic(const char *fmt, ...) { (void)fmt; abort(); }

static int setup(void **state)
{
	char why[80];

	(void)state;
	nr = 0;
	return vm_devices_create(&vm, why, sizeof(why));
}
static int teardown(void **state)
{
	(void)state;
	vm_devices_destroy(&vm);
	return 0;
}

static void seen(unsigned i, u64 at, unsigned size, u64 val)
{
	assert_true(i < nr);
	assert_int_equal(log[i].at, at);
	assert_int_equal(log[i].size, size);
	assert_int_equal(log[i].val, val);
}

static void ports(void **state)
{
	(void)state;
	assert_int_equal(vm_pio_read(&vm, 0x100, 4), 0x44332211);
	assert_int_equal(vm_pio_read(&vm, 0x101, 1), 0x11);
	assert_int_equal(vm_pio_read(&vm, 0x102, 2), 0x2211);
	assert_int_equal(nr, 3);
	seen(2, 0x102, 2, 0);
	assert_int_equal(vm_pio_read(&vm, 0xfe, 4), 0x1111ffff); /* over the lower edge */
	seen(3, 0x100, 1, 0);
	seen(4, 0x101, 1, 0);
	assert_int_equal(vm_pio_read(&vm, 0x103, 4), 0xffffff11); /* the upper one; 104 is there, but write-only */
	assert_int_equal(vm_pio_read(&vm, 0x5f, 4), 0xffff11ff);
	assert_int_equal(nr, 7);
	vm_pio_write(&vm, 0x103, 2, 0xbbaa);
	seen(7, 0x103, 1, 0xaa);
	vm_pio_write(&vm, 0x5d, 4, 0x44332211);
	seen(8, 0x60, 1, 0x44);
	vm_pio_write(&vm, 0x100, 1, 0x1234);
	seen(9, 0x100, 1, 0x34);
	assert_int_equal(nr, 10);
}

static void no_ports(void **state)
{
	(void)state;
	assert_int_equal(vm_pio_read(&vm, 0x200, 1), 0xff);
	assert_int_equal(vm_pio_read(&vm, 0x200, 2), 0xffff);
	assert_int_equal(vm_pio_read(&vm, 0x200, 4), ~0u);
	assert_int_equal(vm_pio_read(&vm, 0xfc, 4), ~0u); /* up to the edge */
	assert_int_equal(vm_pio_read(&vm, 0x104, 2), 0xffff);
	vm_pio_write(&vm, 0x200, 4, 0);
	vm_pio_write(&vm, 0x104, 2, 0);
	assert_int_equal(nr, 0);
	/* Behind the last port there is no port 0. */
	assert_int_equal(vm_pio_read(&vm, 0xffff, 4), 0xffffff11);
	vm_pio_write(&vm, 0xffff, 2, 0x2211);
	assert_int_equal(nr, 2);
	seen(1, 0xffff, 1, 0x11);
}

static void memory(void **state)
{
	(void)state;
	assert_int_equal(vm_mmio_read(&vcpu, 0xd0000000, 8), 0x8877665544332211);
	assert_int_equal(vm_mmio_read(&vcpu, 0xd00003fe, 2) & 0xffff, 0x2211);
	assert_int_equal((u32)vm_mmio_read(&vcpu, 0xd00003fe, 4), 0xffff1111);
	assert_int_equal(vm_mmio_read(&vcpu, 0xd0000ffc, 8), 0x11111111ffffffff);
	assert_int_equal(nr, 8);
	seen(7, 3, 1, 0);
	vm_mmio_write(&vcpu, 0xd0000ffe, 4, 0x44332211);
	seen(8, 0, 1, 0x33);
	seen(9, 1, 1, 0x44);
	vm_mmio_write(&vcpu, 0xd0001ff8, 8, 0x8877665544332211);
	seen(10, 0xff8, 8, 0x8877665544332211);
	assert_int_equal(nr, 11);
}

static void no_memory(void **state)
{
	(void)state;
	for (unsigned size = 1; size <= 8; size *= 2) {
		assert_int_equal(vm_mmio_read(&vcpu, 0xd0000800, size) << (64 - 8 * size), ~0ull << (64 - 8 * size));
		assert_int_equal(vm_mmio_read(&vcpu, 0xd0002000, size) << (64 - 8 * size), ~0ull << (64 - 8 * size));
		assert_int_equal(vm_mmio_read(&vcpu, ~0ull - 7, size) << (64 - 8 * size), ~0ull << (64 - 8 * size));
		vm_mmio_write(&vcpu, 0xd0000800, size, 0);
		vm_mmio_write(&vcpu, 0xd0002000, size, 0);
	}
	assert_int_equal(nr, 0);
	vcpu.lapic.base_msr = 0xfee00900;
	assert_int_equal(vm_mmio_read(&vcpu, 0xfee00030, 4), 0x30);
	vcpu.lapic.base_msr = 0xfee00d00; /* x2APIC mode: the page is not there */
	assert_int_equal((u32)vm_mmio_read(&vcpu, 0xfee00030, 4), ~0u);
}

static void tell(void *arg, const char *space, u64 first, u64 last, const char *device)
{
	char line[64];

	snprintf(line, sizeof(line), "%s %lx-%lx %s\n", space, (unsigned long)first, (unsigned long)last, device);
	strcat(arg, line);
}

static void table(void **state)
{
	static const struct vdev_pio over = {0x103, 2, pio_in, NULL}, inside = {0x101, 1, pio_in, NULL};
	static const struct vdev_mmio round = {0xd0000000, 0x10000, mem_in, NULL};
	char text[400] = "";

	(void)state;
	vm_regions(&vm, tell, text);
	assert_string_equal(text, "port 60-60 one\nport 100-103 one\nport 104-105 one\nport ffff-ffff one\n"
				  "memory d0000000-d00003ff one\nmemory d0001000-d0001fff one\n"
				  "memory d0002000-d000200f one\nmemory fee00000-fee00fff lapic\n");
	assert_int_equal(vdev_add_pio(&vm.devs[0], &over), -EEXIST);
	assert_int_equal(vdev_add_pio(&vm.devs[0], &inside), -EEXIST);
	assert_int_equal(vdev_add_mmio(&vm.devs[0], &round), -EEXIST);
	for (u32 i = vm.pio.nr; i < VM_MAX_REGIONS; i++) {
		static struct vdev_pio more[VM_MAX_REGIONS];

		more[i] = (struct vdev_pio){(u16)(0x8000 - i), 1, pio_in, NULL};
		assert_int_equal(vdev_add_pio(&vm.devs[0], &more[i]), 0);
	}
	assert_int_equal(vdev_add_pio(&vm.devs[0], &over), -ENOSPC);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* Another pCPU asks for a device's work: once, however often it does, where vCPU 0 lives; not of one that has ended. */
static void asked_work(void **state)
{
	(void)state;
	vm.vcpus[0] = &vcpu;
	worked = asked = 0;
	vdev_work(&vm.devs[0]);
	vdev_work(&vm.devs[0]);
	assert_int_equal(asked, 2);
	assert_int_equal(worked, 0);
	vm_devices_work(&vm);
	vm_devices_work(&vm);
	assert_int_equal(worked, 1);
	vdev_work(&vm.devs[0]);
	vm.ending = true;
	vm_devices_work(&vm);
	vm.ending = false;
	assert_int_equal(worked, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {T(ports), T(no_ports), T(memory), T(no_memory), T(table), T(asked_work)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
