/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/virtq.c drivers/virtio/blk.c */
/* The block device and a backend that is done later, a sector at a time, in the order that a test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/unit/fake_virtio.h"
#include "arch/x86_64/frame.h"
#include "drivers/hotplug.h"
#include "lib/errno.h"
#include "vmm/config.h"

extern const struct virtio_model blk_pci;

static struct vm_disk disk = {.vdev = "vda"};
static struct block_req *in_flight[4];
static unsigned nr_in_flight;

struct vm_disk *vm_disk(struct vm *v, u32 i) { (void)v, (void)i; return &disk; }
unsigned vm_disks(const struct vm *v) { (void)v; return 1; }
void *kzalloc(size_t size, enum frame_type type, u16 owner) { (void)type, (void)owner; return calloc(1, size); }
void kfree(void *p) { free(p); }

static int submit(struct block *b, struct block_req *r)
{
	r->len = MIN(r->len, b->sector);
	in_flight[nr_in_flight++] = r;
	return -EINPROGRESS;
}
static void done(unsigned i)
{
	struct block_req *r = in_flight[i];

	in_flight[i] = in_flight[--nr_in_flight];
	r->done(r, 0);
}
static void close(struct block *b) { (void)b; }
static const struct block_ops ops = {.name = "fake", .submit = submit, .close = close};
static struct block block = {.ops = &ops, .size = MIB(1), .sector = 512, .req_size = sizeof(struct block_req)};
struct block *block_open(const struct vm_disk *d, struct vm *v, char *why, size_t n) { (void)d, (void)v, (void)why, (void)n; return &block; }
void block_close(struct block *b) { b->ops->close(b); }

/* A packed ring of eight; request n is at its descriptors 3 * n, and reads two sectors. */
struct desc {
	u64 addr;
	u32 len;
	u16 id, flags;
};
enum { NEXT = 1, WRITE = 2, AVAIL = 0x80, USED = 0x8000 };
#define DATA(n) (0x8000ull + (n) * 0x1000ull)

static struct desc *descs(void)
{
	return (struct desc *)(fake_ram + RING(0));
}

static void put_read(unsigned n)
{
	const struct virtio_blk_header h = {.type = BLK_IN, .sector = 8 * n};
	struct desc *d = descs() + 3 * n;

	memcpy(fake_ram + DATA(n), &h, sizeof(h));
	fake_ram[DATA(n) + 0xfff] = 0xff;
	d[2] = (struct desc){DATA(n) + 0xfff, 1, (u16)(100 + n), WRITE | AVAIL};
	d[1] = (struct desc){DATA(n) + 0x100, 1024, 0, NEXT | WRITE | AVAIL};
	d[0] = (struct desc){DATA(n), sizeof(h), 0, NEXT | AVAIL};
}

static bool is_used(unsigned n)
{
	return descs()[3 * n].flags & USED && descs()[3 * n].id == 100 + n && !fake_ram[DATA(n) + 0xfff];
}

static int start(void **test)
{
	(void)test;
	nr_in_flight = 0;
	attach(&blk_pci, 0);
	vm.dense = true;
	drive(~0ull);
	put_read(0);
	put_read(1);
	virtio_kick(&dev, 0);
	return nr_in_flight == 2 ? 0 : -1;
}

static int stop(void **test)
{
	(void)test;
	dev.type->destroy(&dev);
	return 0;
}

/* The second is done first: were it told of at once, that would stand where the first one's chain is (2.8.6). */
static void order(void **test)
{
	(void)test;
	done(1);
	assert_int_equal(nr_in_flight, 2);
	done(1);
	assert_int_equal(nr_in_flight, 1);
	assert_true(!is_used(0) && !(descs()[0].flags & USED) && descs()[0].addr == DATA(0));
	done(0);
	assert_int_equal(nr_in_flight, 1);
	assert_int_equal(in_flight[0]->pos, 512);
	assert_false(is_used(1));
	done(0);
	assert_true(is_used(0) && is_used(1));
	assert_int_equal(virtio_of(&dev)->errors, 0);
	assert_int_equal(virtio_of(&dev)->queue[0].in_flight, 0);
}

/* A reset meanwhile ends when the older one has, and nothing is told of either. */
static void reset(void **test)
{
	(void)test;
	done(1);
	done(1);
	virtio_set_status(&dev, 0);
	due();
	assert_true(virtio_of(&dev)->resetting);
	done(0);
	due();
	assert_int_equal(nr_in_flight, 0);
	assert_false(virtio_of(&dev)->resetting);
	assert_true(!(descs()[0].flags & USED) && !(descs()[3].flags & USED));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(order, start, stop),
		cmocka_unit_test_setup_teardown(reset, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
