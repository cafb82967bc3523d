/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtq.c drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/balloon.c drivers/virtio/console.c */
/* virtio's small devices: what a good driver asks for is done, a bad one waits for its reset. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/fake_virtio.h"

#define DATA(n) (0x10000ull + (n) * 0x1000ull)

/* One buffer into queue q, and a kick. */
static void offer(unsigned q, gpa_t gpa, u32 len, bool device_writes)
{
	u16 *avail = (u16 *)(fake_ram + RING(q) + 0x100), at = avail[1] % 8;

	memcpy(fake_ram + RING(q) + 16 * at, &gpa, 8);
	memcpy(fake_ram + RING(q) + 16 * at + 8, &len, 4);
	memcpy(fake_ram + RING(q) + 16 * at + 12, &(u16[2]){device_writes ? 2 : 0, 0}, 4);
	avail[2 + at] = at;
	avail[1]++;
	virtio_kick(&dev, q);
}
static u16 used(unsigned q)
{
	return ((u16 *)(fake_ram + RING(q) + 0x200))[1];
}
static bool broken(void)
{
	return virtio_of(&dev)->status & VIRTIO_NEEDS_RESET;
}
static void put(gpa_t gpa, const void *p, size_t n)
{
	memcpy(fake_ram + gpa, p, n);
}

static void test_inflate(void **s)
{
	(void)s;
	attach(&balloon_pci, 0);
	drive(SPLIT);
	assert_int_equal(virtio_config_read(&dev, 0, 4), 256);
	put(DATA(0), (u32[]){0x10, 0x11, 0x12}, 12);
	offer(0, DATA(0), 12, false);
	assert_int_equal(vm.released, 3);
	assert_int_equal(vm.last, 0x12000);
	/* Nobody is told before the flush; an answer to an older one does not count. */
	assert_int_equal(used(0), 0);
	vm.balloon.ops->released(&dev, vm.ticket - 1);
	assert_int_equal(used(0), 0);
	vm.balloon.ops->released(&dev, vm.ticket);
	assert_int_equal(used(0), 1);
	virtio_config_write(&dev, 4, 4, 3);
	/* None can go now: the chain stays, and is begun where it was left. */
	vm.release_fails = true;
	offer(0, DATA(0), 12, false);
	assert_int_equal(vm.released, 3);
	vm.release_fails = false;
	vm.balloon.ops->released(&dev, vm.ticket);
	due();
	vm.balloon.ops->released(&dev, vm.ticket);
	assert_int_equal(vm.released, 6);
	assert_int_equal(used(0), 2);
	due();
	offer(1, DATA(0), 12, false);
	assert_int_equal(vm.claimed, 3);
	assert_int_equal(used(1), 1);
	struct balloon_info i;

	vm.balloon.ops->info(&dev, &i);
	assert_true(i.driver && i.actual == 3 && i.target == 256);
	vm.balloon.ops->set(&dev, 7);
	assert_int_equal(virtio_config_read(&dev, 0, 4), 7);
	assert_false(broken());
	/* Its reset empties it. */
	virtio_set_status(&dev, 0);
	vm.balloon.ops->info(&dev, &i);
	assert_true(!i.driver && !i.actual && i.target == 7 && vm.forgot == 2);
	assert_true(virtio_valid(virtio_type_of(&dev), state));
}

/* A packed queue that is none: what the device is then may be saved and restored, like all that a driver can make of it. */
static void test_no_queue(void **s)
{
	struct virtio *v = virtio_of(&dev);

	(void)s;
	attach(&balloon_pci, 0);
	virtio_accept(&dev, virtio_offered(&dev));
	virtio_set_status(&dev, VIRTIO_FEATURES_OK);
	v->queue[0].desc = 8;
	virtio_enable_queue(&dev, 0);
	assert_true(broken() && !v->queue[0].enabled);
	assert_true(virtio_valid(virtio_type_of(&dev), state));
}

static void test_statistics(void **s)
{
	struct { u16 tag; u64 val; } __packed stat[] = {{4, 1000}, {5, 4000}, {99, 1}};
	struct balloon_info i;

	(void)s;
	attach(&balloon_pci, 0);
	drive(SPLIT);
	put(DATA(0), stat, sizeof(stat));
	offer(2, DATA(0), sizeof(stat), false);
	assert_int_equal(used(2), 0); /* it is kept until somebody asks */
	vm.balloon.ops->info(&dev, &i);
	assert_true(i.known == 0x30 && i.stat[4] == 1000 && i.stat[5] == 4000);
	vm.balloon.ops->ask(&dev);
	assert_int_equal(used(2), 1);
	vm.balloon.ops->ask(&dev);
	offer(2, DATA(0), sizeof(stat), false);
	assert_int_equal(used(2), 2);
	offer(2, DATA(0), 9, false);
	assert_true(broken());
}

static void test_balloon_malformed(void **s)
{
	(void)s;
	for (unsigned way = 0; way < 3; way++) {
		attach(&balloon_pci, 0);
		drive(SPLIT);
		put(DATA(0), (u32[]){0x10, way == 2 ? 0x10 : 0xffffff}, 8);
		offer(way == 1, DATA(0), way == 2 ? 7 : 8, false);
		assert_true(broken());
		assert_int_equal(virtio_of(&dev)->errors, 1);
	}
	/* Without statistics the queue of reports moves up; no block lies in a range as small as this. */
	attach(&balloon_pci, 0);
	drive(SPLIT & ~2ull);
	offer(2, DATA(0), 0x1000, true);
	assert_int_equal(used(2), 1);
	assert_int_equal(vm.released, 0);
	offer(3, DATA(0), 0x1000, true);
	assert_int_equal(used(3), 0);
}

static void test_console(void **s)
{
	(void)s;
	attach(&console_pci, 1);
	drive(SPLIT);
	assert_int_equal(virtio_config_read(&dev, 0, 2), 80);
	put(DATA(0), "hello", 5);
	offer(1, DATA(0), 5, false);
	assert_int_equal(used(1), 1);
	vm.busy = true;
	offer(1, DATA(0), 5, false);
	assert_int_equal(used(1), 1);
	vm.busy = false;
	due();
	assert_int_equal(used(1), 2);
	assert_memory_equal(vm.out, "hellohello", 10);
	memcpy(vm.typed, "abc", vm.nr_typed = 3);
	vm.port.ops->feed(&dev, 0);
	assert_int_equal(vm.nr_typed, 3); /* no room yet */
	offer(0, DATA(1), 2, true);
	offer(0, DATA(2), 2, true);
	due();
	assert_int_equal(vm.nr_typed, 0);
	assert_memory_equal(fake_ram + DATA(1), "ab", 2);
	assert_memory_equal(fake_ram + DATA(2), "c", 1);
	vm.port.ops->resize(&dev, 133, 37);
	assert_int_equal(virtio_config_read(&dev, 0, 4), 133 | 37 << 16);
	virtio_config_write(&dev, 8, 4, '!');
	assert_int_equal(vm.out[10], '!');
	assert_false(broken());
}

static void say(u32 id, u16 event, u16 value)
{
	struct { u32 id; u16 event, value; } m = {id, event, value};

	put(DATA(0), &m, sizeof(m));
	offer(3, DATA(0), sizeof(m), false);
}

static void test_ports(void **s)
{
	static const u16 want[][2] = {{0, 1}, {1, 1}, {0, 4}, {0, 5}, {0, 6}, {1, 7}, {1, 6}};

	(void)s;
	attach(&console_pci, 2);
	drive(SPLIT);
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++)
		offer(2, DATA(1 + i), 32, true);
	say(0, 0, 1);
	assert_int_equal(used(2), 2);
	say(0, 3, 1);
	say(1, 3, 1);
	assert_int_equal(used(2), ARRAY_SIZE(want));
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		const u8 *m = fake_ram + DATA(1 + i);

		assert_int_equal(m[0], want[i][0]);
		assert_int_equal(m[4], want[i][1]);
	}
	assert_memory_equal(fake_ram + DATA(6) + 8, "org.x", 5);
	/* Nothing is given to a port that nobody has open. */
	offer(4, DATA(20), 16, true);
	memcpy(vm.typed, "abc", vm.nr_typed = 3);
	vm.port.ops->feed(&dev, 1);
	assert_int_equal(vm.nr_typed, 3);
	say(1, 6, 1);
	due();
	assert_int_equal(vm.nr_typed, 0);
	offer(5, DATA(21), 4, false);
	assert_int_equal(vm.nr_out, 4);
	assert_false(broken());
	say(2, 3, 1);
	assert_true(broken());
}

/* A block that has to be given memory first: the chain stays in the ring. */
static void test_sparse(void **s)
{
	(void)s;
	attach(&console_pci, 1);
	drive(SPLIT);
	vm.busy = true;
	offer(1, DATA(0), 5, false);
	assert_true(!used(1) && vm.timer != ~0ull && !virtio_of(&dev)->queue[1].in_flight);
	vm.busy = false;
	due();
	assert_int_equal(used(1), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inflate), cmocka_unit_test(test_statistics), cmocka_unit_test(test_no_queue), cmocka_unit_test(test_balloon_malformed),
		cmocka_unit_test(test_console), cmocka_unit_test(test_ports), cmocka_unit_test(test_sparse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
