/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtq.c drivers/virtio/virtio_pci.c drivers/virtio/virtio_mmio.c vmm/platform/ioapic.c vmm/platform/pci.c vmm/platform/pci_func.c vmm/platform/pci_msi.c vmm/platform/pci_lpc.c vmm/platform/pci_hotplug.c vmm/platform/pci_testdev.c tests/unit/fake_vdev.c */
/* A made-up device behind each of virtio's transports: MMIO's registers at any width and offset, PCI's way through configuration space. */
#include "tests/unit/fake_pci.h"
#include "tests/unit/fake_gmem.h"
#include "drivers/virtio/virtio_pci.h"
#include "lib/log.h"

static struct vm vm;
static struct vm_config cfg;
static unsigned kicks, kicked;
static bool busy;
static u32 last_write;

const struct vm_config *vm_config(const struct vm *v) { return (void)v, &cfg; }
const char *vm_name(const struct vm *v) { return (void)v, "v"; }
void log_line(enum log_level level, const char *fmt, ...) { (void)level, (void)fmt; }
void vdev_timer_sooner(struct vdev *d, unsigned idx, u64 at) { vdev_timer_set(d, idx, at); }
bool gmem_sparse(const struct vm *v) { return (void)v, false; }
int gmem_prepare(struct vm *v, gpa_t gpa, u64 n) { return (void)v, (void)gpa, (void)n, 0; }

/* ---- the device: chains come back at once, unless it is busy ---- */

static void toy_kick(struct vdev *d, unsigned queue)
{
	struct virtq_chain c;

	kicks++;
	kicked = queue;
	while (virtio_pop(d, queue, &c))
		if (!busy)
			virtio_push(d, queue, &c, 0);
	virtio_signal(d, queue);
}
static bool toy_queue_reset(struct vdev *d, unsigned queue) { return (void)d, (void)queue, busy; }
static void toy_config(const struct vdev *d, u8 *bytes)
{
	(void)d;
	for (u8 i = 0; i < 12; i++)
		bytes[i] = 0x10 + i;
}
static void toy_config_write(struct vdev *d, unsigned off, unsigned size, u32 val)
{
	(void)d;
	last_write = off << 24 | size << 16 | (val & 0xffff);
}
static void toy_timer(struct vdev *d, unsigned idx) { (void)d, (void)idx; }
static unsigned one(const struct vm *v) { return (void)v, 1; }
struct toy {
	struct virtio virtio;
};
static const struct virtio_type toy = {
	.config_size = 12, .queue_size = 16, .max_queues = 2, .config = toy_config, .config_write = toy_config_write,
	.kick = toy_kick, .queue_reset = toy_queue_reset, .timer = toy_timer,
};
#define toy_ID 4
VIRTIO_DEVICE(toy, "virtio-toy", 1, struct toy, 0x00ff00, 3, one);

/* ---- MMIO: the second of two devices ---- */

#define BASE (PLAT_VIRTIO_BASE + PLAT_VIRTIO_SIZE)
#define PIN  (PLAT_GSI_VIRTIO + 1)
static struct vdev *dev;

static u32 rd(u64 off) { return (u32)mmio_in(&vm, BASE + off, 4); }
static void wr(u64 off, u32 val) { mmio_out(&vm, BASE + off, 4, val); }

static int setup(void **state)
{
	(void)state;
	kicks = kicked = last_write = 0;
	busy = false;
	memset(fake_ram, 0, sizeof(fake_ram));
	fake_vm_init(&vm);
	fake_attach(&vm, &ioapic_vdev);
	fake_attach(&vm, &toy_mmio.vdev);
	dev = fake_attach(&vm, &toy_mmio.vdev);
	return 0;
}
static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

static void queue(u32 n)
{
	wr(0x30, n);
	wr(0x38, 8);
	wr(0x80, 0x1000 + n * 0x800);
	wr(0x84, 0);
	wr(0x90, 0x1100 + n * 0x800);
	wr(0xa0, 0x1200 + n * 0x800);
	wr(0x44, 1);
}
static void start(u64 features)
{
	memset(fake_ram, 0, 0x8000);
	wr(0x70, 0);
	wr(0x70, 1);
	wr(0x70, 3);
	for (u32 i = 0; i < 2; i++) {
		wr(0x14, i);
		wr(0x24, i);
		wr(0x20, rd(0x10) & (u32)(features >> 32 * i));
	}
	wr(0x70, 11);
	assert_int_equal(rd(0x70), 11);
	queue(0);
	queue(1);
	wr(0x70, 15);
	assert_int_equal(rd(0x70), 15);
}
/* One byte for the device to read. */
static void offer(u32 q)
{
	u16 *avail = (u16 *)(fake_ram + 0x1100 + q * 0x800);

	memcpy(fake_ram + 0x1000 + q * 0x800, &(struct virtq_desc){0x8000, 1, 0, 0}, 16);
	avail[2 + avail[1]++ % 8] = 0;
	wr(0x50, q);
}
static u16 used(u32 q) { return ((u16 *)(fake_ram + 0x1200 + q * 0x800))[1]; }
#define SPLIT (~(VIRTIO_F_RING_PACKED | VIRTIO_F_EVENT_IDX))

static void identity(void **state)
{
	(void)state;
	assert_int_equal(rd(0x00), 0x74726976);
	assert_int_equal(rd(0x04), 2);
	assert_int_equal(rd(0x08), 4);
	assert_int_not_equal(rd(0x0c), 0);
	wr(0x14, 1);
	assert_true(rd(0x10) & 1); /* VERSION_1 */
	wr(0x14, 2);
	assert_int_equal(rd(0x10), 0);
	wr(0x30, 1);
	assert_int_equal(rd(0x34), 16);
	for (u32 none = 2; none; none = none == 2 ? 0x10000 : none == 0x10000 ? ~0u : 0) {
		wr(0x30, none);
		assert_int_equal(rd(0x34), 0);
		assert_int_equal(rd(0x44), 0);
		wr(0x44, 1);
		wr(0xc0, 1);
		assert_int_equal(rd(0x44) | rd(0xc0), 0);
	}
	/* There is no shared memory: its length is -1. */
	wr(0xac, 0);
	assert_int_equal(rd(0xb0) & rd(0xb4), ~0u);
	/* Two devices, two pins more. */
	mmio_out(&vm, PLAT_IOAPIC_BASE, 4, 1);
	assert_int_equal(mmio_in(&vm, PLAT_IOAPIC_BASE + 0x10, 4), 0x00190011);
	assert_true(mmio_in(&vm, PLAT_VIRTIO_BASE, 4) == 0x74726976 && mmio_in(&vm, BASE + PLAT_VIRTIO_SIZE, 4) == ~0ull);
}

/* Registers answer to aligned 32 bits alone; no other access does anything, whatever it says. */
static void widths(void **state)
{
	(void)state;
	start(SPLIT);
	for (u64 off = 0; off < 0x100; off++)
		for (unsigned size = 1; size <= 8; size *= 2) {
			if (size == 4 && off % 4 == 0)
				continue;
			assert_int_equal(mmio_in(&vm, BASE + off, size), ~0ull);
			for (u64 val = 0; val < 4; val++)
				mmio_out(&vm, BASE + off, size, val == 3 ? ~0ull : val);
		}
	assert_int_equal(kicks, 0);
	assert_int_equal(rd(0x70), 15);
	/* The configuration has fields of any width; it ends where the device's does. */
	assert_int_equal(mmio_in(&vm, BASE + 0x100, 1) & 0xff, 0x10);
	assert_int_equal(mmio_in(&vm, BASE + 0x102, 2) & 0xffff, 0x1312);
	assert_int_equal(rd(0x108), 0x1b1a1918);
	assert_int_equal(mmio_in(&vm, BASE + 0x100, 8), 0x1716151413121110);
	for (unsigned size = 1; size <= 8; size *= 2)
		for (u64 off = 0x10d - size; off <= 0x200 - size; off++)
			assert_int_equal(mmio_in(&vm, BASE + off, size), ~0ull);
	mmio_out(&vm, BASE + 0x102, 2, 0xabcd);
	assert_int_equal(last_write, 2 << 24 | 2 << 16 | 0xabcd);
	last_write = 0;
	mmio_out(&vm, BASE + 0x10b, 2, 1);
	mmio_out(&vm, BASE + 0x1f8, 8, 1);
	assert_int_equal(last_write, 0);
}

static void queues(void **state)
{
	(void)state;
	start(SPLIT);
	assert_int_equal(rd(0x44), 1);
	/* 4.2.2.2: while it is ready, nothing of it changes. */
	wr(0x38, 4);
	wr(0x80, 0x7000);
	wr(0x94, 1);
	assert_true(virtio_of(dev)->queue[1].size == 8 && virtio_of(dev)->queue[1].desc == 0x1800);
	assert_int_equal(virtio_of(dev)->queue[1].driver, 0x1900);
	wr(0x44, 2);
	assert_int_equal(rd(0x44), 1);
	offer(1);
	assert_true(kicks == 1 && kicked == 1 && used(1) == 1);
	wr(0x50, 2);
	wr(0x50, ~0u);
	assert_int_equal(kicks, 1);
	/* Stopped: nothing comes back any more, and it may be set up anew, at high addresses, too. */
	wr(0x44, 0);
	assert_int_equal(rd(0x44), 0);
	offer(1);
	assert_int_equal(kicks, 1);
	wr(0x84, 0x12);
	wr(0x80, 0x3450);
	wr(0x38, 1000);
	assert_true(virtio_of(dev)->queue[1].desc == 0x1200003450 && virtio_of(dev)->queue[1].size == 16);
	wr(0x44, 1); /* not in RAM */
	assert_int_equal(rd(0x70), 15 | VIRTIO_NEEDS_RESET);
	/* Before FEATURES_OK there are none. */
	wr(0x70, 0);
	assert_int_equal(rd(0x70), 0);
	wr(0x70, 3);
	queue(0);
	assert_int_equal(rd(0x44), 0);
	assert_int_equal(rd(0x70), 3 | VIRTIO_NEEDS_RESET);
}

static void ring_reset(void **state)
{
	(void)state;
	start(SPLIT & ~VIRTIO_F_RING_RESET);
	wr(0xc0, 1);
	assert_int_equal(rd(0x44), 1); /* not without the feature */
	start(SPLIT);
	wr(0xc0, 0);
	wr(0xc0, 2);
	assert_true(rd(0x44) == 1 && rd(0xc0) == 0);
	wr(0xc0, 1);
	assert_true(rd(0x44) == 0 && rd(0xc0) == 0);
	memset(fake_ram + 0x1800, 0, 0x800);
	queue(1);
	offer(1);
	assert_int_equal(used(1), 1);
	/* With chains in flight it takes until the last is let go of. */
	busy = true;
	offer(1);
	wr(0xc0, 1);
	assert_true(rd(0x44) == 1 && rd(0xc0) == 1);
	queue(1);
	assert_int_equal(rd(0xc0), 1);
	virtio_idle(dev, 1);
	assert_true(rd(0x44) == 0 && rd(0xc0) == 0);
	/* And so does the device's. */
	queue(1);
	offer(1);
	wr(0x70, 0);
	assert_int_equal(rd(0x70), 15);
	virtio_idle(dev, 1);
	assert_int_equal(rd(0x70), 15);
	virtio_idle(dev, 0);
	assert_int_equal(rd(0x70), 0);
}

static u32 pin(void)
{
	mmio_out(&vm, PLAT_IOAPIC_BASE, 4, 0x10 + 2 * PIN);
	return (u32)mmio_in(&vm, PLAT_IOAPIC_BASE + 0x10, 4);
}

/* vm_irq_set() is the fake's; the I/O APIC is the real one. */
static void interrupts(void **state)
{
	u32 generation;

	(void)state;
	start(SPLIT);
	offer(0);
	assert_int_equal(rd(0x60), 1);
	assert_true(vm.level[PIN] && !vm.level[PIN - 1]);
	virtio_config_changed(dev);
	assert_int_equal(rd(0x60), 3);
	wr(0x64, 1);
	assert_true(rd(0x60) == 2 && vm.level[PIN]);
	wr(0x64, ~0u);
	assert_true(rd(0x60) == 0 && !vm.level[PIN]);
	generation = rd(0xfc);
	virtio_config_changed(dev);
	assert_int_not_equal(rd(0xfc), generation);
	assert_true(vm.level[PIN]);
	wr(0x70, 0); /* a reset takes it back */
	assert_true(rd(0x60) == 0 && !vm.level[PIN]);
	start(SPLIT);
	((u16 *)(fake_ram + 0x1100))[0] = VIRTQ_NO_EVENT;
	offer(0);
	assert_true(rd(0x60) == 0 && !vm.level[PIN]);
	/* The pin: level, until the EOI; then again, if it is still high. */
	mmio_out(&vm, PLAT_IOAPIC_BASE, 4, 0x10 + 2 * PIN);
	mmio_out(&vm, PLAT_IOAPIC_BASE + 0x10, 4, 0x8033);
	ioapic_set(&vm, PIN, true);
	assert_true(vm.nr_msgs == 1 && vm.msgs[0].vector == 0x33 && vm.msgs[0].level_trig && pin() & 0x4000);
	ioapic_eoi(&vm, 0x33);
	assert_int_equal(vm.nr_msgs, 2);
	ioapic_set(&vm, PIN, false);
	ioapic_eoi(&vm, 0x33);
	assert_true(vm.nr_msgs == 2 && !(pin() & 0x4000));
	ioapic_set(&vm, PIN + 1, true); /* there is none */
	assert_int_equal(vm.nr_msgs, 2);
}

static void saved(void **state)
{
	static struct toy s;
	u64 *ioapic = calloc(1, ioapic_vdev.state_size);

	(void)state;
	start(SPLIT);
	s = *(struct toy *)dev->state;
	assert_true(toy_mmio.vdev.valid(&s));
	s.virtio.queue[0].size = 32;
	assert_false(toy_mmio.vdev.valid(&s));
	assert_true(ioapic_vdev.valid(ioapic));
	ioapic[1] = BIT(PLAT_GSI_VIRTIO + PLAT_VIRTIO_MAX); /* lines */
	assert_false(ioapic_vdev.valid(ioapic));
	free(ioapic);
	for (unsigned i = 2; i < PLAT_VIRTIO_MAX; i++)
		fake_attach(&vm, &toy_mmio.vdev);
	assert_int_equal(vdev_create(&vm, &toy_mmio.vdev, 0, NULL), -ENOSPC);
	cfg.virtio_transport = VIRTIO_ON_MMIO;
	assert_true(toy_mmio.vdev.wanted(&vm) && !toy_pci.vdev.wanted(&vm));
	cfg.virtio_transport = VIRTIO_ON_PCI_TRANSITIONAL;
	assert_true(toy_pci.vdev.wanted(&vm) && !toy_mmio.vdev.wanted(&vm));
	cfg.virtio_transport = VIRTIO_ON_PCI;
	assert_true(toy_pci.vdev.wanted(&vm) && !toy_mmio.vdev.wanted(&vm));
}

/* ---- PCI: 4.1.4.9 ---- */

#define SLOT FIRST_SLOT
static unsigned cap;

static int setup_pci(void **state)
{
	setup(state);
	fake_vm_free(&vm);
	fake_bus(&vm, 0);
	dev = fake_attach(&vm, &toy_pci.vdev);
	pci_firmware(&vm);
	for (cap = cfg_in(&vm, SLOT, 0x34, 1); cap; cap = cfg_in(&vm, SLOT, cap + 1, 1))
		if (cfg_in(&vm, SLOT, cap, 1) == 9 && cfg_in(&vm, SLOT, cap + 3, 1) == VIRTIO_CAP_PCI_CFG)
			break;
	assert_true(cap && cfg_in(&vm, SLOT, cap + 2, 1) == 20);
	cfg_out(&vm, SLOT, 4, 2, 0); /* the BARs answer nowhere */
	return 0;
}
static void window(u8 bar, u32 off, u32 len)
{
	cfg_out(&vm, SLOT, cap + 4, 1, bar);
	cfg_out(&vm, SLOT, cap + 8, 4, off);
	cfg_out(&vm, SLOT, cap + 12, 4, len);
}
static u32 get(u8 bar, u32 off, u32 len)
{
	window(bar, off, len);
	return cfg_in(&vm, SLOT, cap + 16, len);
}
static void set(u8 bar, u32 off, u32 len, u32 val)
{
	window(bar, off, len);
	cfg_out(&vm, SLOT, cap + 16, len, val);
}

static void through_config(void **state)
{
	(void)state;
	/* Each of the three BARs: status by memory and by port, a vector's data. */
	set(4, 20, 1, 1);
	set(4, 20, 1, 3);
	assert_int_equal(get(4, 20, 1), 3);
	assert_int_equal(get(0, 18, 1), 3);
	set(1, 16 + 8, 4, 0x12345678);
	assert_int_equal(get(1, 16 + 8, 4), 0x12345678);
	set(4, 0, 4, 1);
	assert_true(get(4, 4, 4) & 1);
	assert_int_equal(get(4, 0x2002, 2), 0x1312);
	set(4, 0x2002, 2, 0xaabbccdd);
	assert_int_equal(last_write, 2 << 24 | 2 << 16 | 0xccdd);
	/* All of it by one access, of the window alone, and of a byte of it. */
	window(4, 0x2004, 4);
	assert_int_equal(mmio_in(&vm, ecam(SLOT, cap + 12), 8), 0x1716151400000004);
	assert_int_equal(cfg_in(&vm, SLOT, cap + 18, 1), 0x16);
	/* ISR is read once a read. */
	virtio_of(dev)->isr = 1;
	assert_int_equal(get(4, 0x1000, 1), 1);
	assert_int_equal(get(4, 0x1000, 1), 0);
	/* What is no access reads as ones and writes nothing. */
	static const struct { u8 bar; u32 off, len; } bad[] = {
		{4, 20, 0}, {4, 20, 3}, {4, 20, 8}, {4, 21, 2}, {4, 0x4000, 1}, {4, ~0u, 1}, {4, ~3u, 4}, {2, 0, 1}, {5, 0, 1}, {6, 0, 1},
		{255, 0, 4}, {0, 128, 1}, {0, 0x10012, 1}, {1, 0x1000, 4}};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		window(bad[i].bar, bad[i].off, bad[i].len);
		cfg_out(&vm, SLOT, cap + 16, 4, 0);
		assert_int_equal(cfg_in(&vm, SLOT, cap + 16, 4), ~0u);
	}
	assert_int_equal(get(4, 20, 1), 3);
	assert_true(pci_state_valid(dev, dev->state));
	/* The doorbell. */
	set(0, 16, 2, 1);
	assert_int_equal(kicks, 0); /* not before DRIVER_OK */
}

static void transitional(void **state)
{
	(void)state;
	assert_int_equal(cfg_in(&vm, SLOT, 0, 4), 0x10441af4);
	cfg.virtio_transport = VIRTIO_ON_PCI_TRANSITIONAL;
	fake_attach(&vm, &toy_pci.vdev);
	cfg.virtio_transport = VIRTIO_ON_PCI;
	pci_firmware(&vm);
	assert_int_equal(cfg_in(&vm, SLOT + 1, 0, 4), 0x10051af4);
	assert_int_equal(cfg_in(&vm, SLOT + 1, 8, 1), 0);
	assert_int_equal(cfg_in(&vm, SLOT + 1, 0x2e, 2), 4);
	assert_int_equal(cfg_in(&vm, SLOT + 1, 0x34, 1), cfg_in(&vm, SLOT, 0x34, 1)); /* else all alike */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(identity, setup, teardown),
		cmocka_unit_test_setup_teardown(widths, setup, teardown),
		cmocka_unit_test_setup_teardown(queues, setup, teardown),
		cmocka_unit_test_setup_teardown(ring_reset, setup, teardown),
		cmocka_unit_test_setup_teardown(interrupts, setup, teardown),
		cmocka_unit_test_setup_teardown(saved, setup, teardown),
		cmocka_unit_test_setup_teardown(through_config, setup_pci, teardown),
		cmocka_unit_test_setup_teardown(transitional, setup_pci, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
