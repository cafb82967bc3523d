/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/host/hvirtq.c drivers/host/block_virtio_io.c drivers/block.c */
/* The machine's disks against a made-up device, with the real rings: requests of any shape answered in any order, a device
 * that fails, one that is closed or dies with requests in flight, and who may open what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "tests/unit/fake_hostdrv.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/window.h"
#include "drivers/host/block_virtio.c" /* its init() is known to the linker script alone */
#include "tests/unit/fake_gmem.h"

#define DISK  (MIB(1) + 4096)
#define PHYS  (1ull << 50) /* where the guest's memory is; its pages lie one behind the other */
#define VM(i) ((struct vm *)(0x77000ull + (i)))

static u8 store[DISK], model[DISK];
static irq_handler_t handler;
static int pins, dma, locked, kicks;
static struct sched_work *work;
static u64 indirect = VIRTIO_F_INDIRECT_DESC, features = BIT(2) | BIT(6) | BIT(9) | BIT(13) | BIT(14);
static u32 sector = 512, seg_max = 126;

/* ---- the hypervisor ---- */



u64 ns_to_tsc(u64 ns)
{
	return ns;
}
void irq_set_handler(u8 vector, irq_handler_t fn)
{
	assert_int_equal(vector, VEC_DISK);
	handler = fn;
}
void sched_do(struct sched_work *w)
{
	assert_null(work);
	work = w;
}
u16 vm_id(const struct vm *vm)
{
	return (u16)(u64)vm;
}
void vm_dma_begin(struct vm *vm)
{
	(void)vm;
	dma++;
}
void vm_dma_end(struct vm *vm)
{
	(void)vm;
	assert_true(dma-- > 0);
}
void vm_devices_lock(struct vm *vm)
{
	(void)vm;
	assert_int_equal(locked++, 0);
	assert_true(dma > 0);
}
void vm_devices_unlock(struct vm *vm)
{
	(void)vm;
	assert_int_equal(--locked, 0);
}
void gpool_pin(hpa_t block)
{
	assert_true(IS_ALIGNED(block, PAGE_2M));
	pins++;
}
int gmem_pin(struct vm *vm, gpa_t gpa, u64 n, bool write, hpa_t *hpa, u64 *len)
{
	(void)write;
	if (!gmem_is_ram(vm, gpa, 1))
		return -EFAULT;
	*hpa = PHYS + gpa;
	*len = MIN(n, PAGE_SIZE - gpa % PAGE_SIZE); /* as if only pages were in one piece */
	if (gpa / PAGE_SIZE % 2)
		*hpa += GIB(1);
	pins++;
	return 0;
}
void gmem_unpin(hpa_t hpa)
{
	(void)hpa;
	assert_true(pins-- > 0);
}
int gmem_copy_from_phys(struct vm *vm, gpa_t gpa, hpa_t src, u64 n)
{
	(void)vm, (void)gpa, (void)src, (void)n;
	return -EFAULT;
}
/* Physical memory is not copied here: disks do that themselves. */
void *gmem_hold_phys(unsigned hold, hpa_t pa) { (void)hold, (void)pa; abort(); }
void phys_copy(hpa_t dst, hpa_t src, size_t n)
{
	(void)dst, (void)src, (void)n;
	fail();
}

/* ---- the device ---- */

static struct hvq *ring;
static u16 heads[512], seen;
static unsigned nr_heads;
static u8 answer_status;
static bool stopped;

static u8 *mem(u64 addr, u32 len)
{
	if (addr < PHYS)
		return (u8 *)addr; /* the driver's own */
	addr -= PHYS;
	if (addr >= GIB(1))
		addr -= GIB(1);
	assert_true(addr + len <= FAKE_RAM);
	return fake_ram + addr;
}

static const struct pci_dev pci = {.device = 0x1042};
static u32 nr_pci = 1;
const struct pci_dev *hvirtio_find(u32 kind, u32 i)
{
	assert_int_equal(kind, VIRTIO_ID_BLK);
	return i < nr_pci ? &pci : NULL;
}
const char *hvirtio_start(struct hvirtio *v, const struct pci_dev *p, u64 wanted)
{
	*v = (struct hvirtio){.pci = *p, .features = wanted & (features | indirect), .common = store};
	return NULL;
}
const char *hvirtio_queue(struct hvirtio *v, struct hvq *q, u16 index, u16 max, u8 vector)
{
	assert_int_equal(index, 0);
	assert_int_equal(vector, VEC_DISK);
	(void)v;
	*q = (struct hvq){.notify = NULL};
	hvq_init(q, max, kzalloc(hvq_bytes(max), FRAME_DEVICE, 0), false);
	ring = q;
	seen = 0;
	nr_heads = 0;
	return NULL;
}
void hvirtio_ready(struct hvirtio *v)
{
	(void)v;
}
void hvirtio_stop(struct hvirtio *v)
{
	(void)v;
	stopped = true;
}
u64 hvirtio_config(const struct hvirtio *v, u32 off, unsigned size)
{
	(void)v, (void)size;
	switch (off) {
	case 0: return DISK / 512;
	case 12: return seg_max;
	case 20: return sector;
	case 36: return 100;
	case 48: return 64;
	}
	fail();
	return 0;
}

static void device_work(struct virtq_desc *d, const struct virtq_desc *end)
{
	struct {
		u32 type, reserved;
		u64 sector;
	} h;
	struct {
		u64 sector;
		u32 sectors, flags;
	} x;
	u32 total = 0, n = 0;
	u8 *status;

	assert_true(d->len == 16 && !(d->flags & 2));
	memcpy(&h, mem(d->addr, 16), 16);
	for (struct virtq_desc *base = d;; n++) {
		d = n ? d : base;
		if (!(d->flags & 1))
			break;
		d = end ? base + d->next : &ring->desc[d->next];
		assert_true(!end || d < end);
		if (!(d->flags & 1))
			break;
		assert_true(d->len && !!(d->flags & 2) == (h.type == 0 || h.type == 8));
		if (h.type == 11 || h.type == 13) {
			assert_int_equal(d->len, 16);
			memcpy(&x, mem(d->addr, 16), 16);
			assert_true(x.sectors && x.sectors <= (h.type == 13 ? 64 : 100) && !x.flags);
			if (!answer_status && h.type == 13)
				memset(store + x.sector * 512, 0, x.sectors * 512);
		} else if (h.type == 8) {
			memcpy(mem(d->addr, 20), "disk one 012345678901", 20);
		} else if (!answer_status) {
			u8 *s = store + h.sector * 512 + total, *m = mem(d->addr, d->len);

			assert_true(h.type < 2 && h.sector * 512 + total + d->len <= DISK);
			memcpy(h.type ? s : m, h.type ? m : s, d->len);
		}
		total += d->len;
	}
	if (h.type < 2)
		assert_true(total % sector == 0 && total && n <= seg_max);
	status = mem(d->addr, 1);
	assert_true(d->len == 1 && d->flags & 2);
	*status = answer_status;
}

static void take_available(void)
{
	while (seen != ring->avail[1]) {
		heads[nr_heads++] = ring->avail[2 + seen % ring->size];
		seen++;
	}
}

static void answer_one(void)
{
	unsigned i = (unsigned)rand() % nr_heads;
	struct virtq_desc *d = &ring->desc[heads[i]];
	u16 *idx = (u16 *)(ring->used + 2);
	u32 *e = (u32 *)(ring->used + 4) + *idx % ring->size * 2;

	if (d->flags & 4)
		device_work((struct virtq_desc *)d->addr, (struct virtq_desc *)(d->addr + d->len));
	else
		device_work(d, NULL);
	e[0] = heads[i];
	e[1] = 1;
	++*idx;
	heads[i] = heads[--nr_heads];
}

void hvq_kick(const struct hvq *q)
{
	assert_ptr_equal(q, ring);
	kicks++;
	take_available();
	while (!dma && nr_heads) /* the name, at boot */
		answer_one();
}

/* ---- whoever asks ---- */

#define IOS 100
struct io {
	struct block_req r;
	struct block_range range[300];
	bool busy;
	int err;
	u64 pos, len;
	gpa_t at;
};
static struct io ios[IOS];
static unsigned agains;

static void io_done(struct block_req *r, int err)
{
	struct io *io = container_of(r, struct io, r);

	assert_true(locked == 1 && io->busy);
	io->busy = false;
	io->err = err;
}
static void io_again(struct block *b)
{
	(void)b;
	assert_int_equal(locked, 1);
	agains++;
}

static char why[200];
static struct block *open_as(struct vm *vm, const char *target, bool readonly)
{
	struct vm_disk disk = {.readonly = readonly};
	struct block *b;

	snprintf(disk.target, sizeof(disk.target), "%s", target);
	why[0] = '\0';
	b = block_open(&disk, vm, why, sizeof(why));
	if (b)
		b->again = io_again;
	return b;
}

static void boot(void)
{
	nr_disks = 0;
	answer_status = 0;
	stopped = false;
	init();
	for (size_t i = 0; i < DISK; i++)
		store[i] = model[i] = (u8)(rand() >> 5);
}

static void shut_down(void)
{
	assert_true(dma == 0 && pins == 0);
	for (u32 i = 0; i < nr_disks; i++) {
		free(disks[i]->slots);
		free(disks[i]->q.desc);
		free(disks[i]);
	}
	nr_disks = 0;
}

/* In ranges of random length, empty ones among them, from an odd place on. */
static int submit(struct block *b, struct io *io, enum block_op op)
{
	u64 left = io->len + 5;
	gpa_t at = io->at - 5;
	unsigned n = 0;
	int err;

	while (left) {
		u32 part = rand() % 4 ? (u32)rand() % 3000 : 0;

		if (n == ARRAY_SIZE(io->range) - 1 || part > left)
			part = (u32)left;
		io->range[n++] = (struct block_range){.gpa = at, .len = part};
		left -= part;
		at += part;
	}
	io->r = (struct block_req){.op = op, .pos = io->pos, .len = op == BLOCK_FLUSH ? 0 : io->len, .skip = 5, .done = io_done,
				   .range = op == BLOCK_READ || op == BLOCK_WRITE ? io->range : NULL};
	err = b->ops->submit(b, &io->r);
	memset(io->range, 0xff, sizeof(io->range));
	io->busy = err == -EINPROGRESS;
	if (io->busy && op != BLOCK_FLUSH)
		assert_true(io->r.len && io->r.len % sector == 0 && io->r.len <= io->len);
	return err;
}

static void any_shape(void)
{
	struct block *b;
	struct io *io = &ios[0];

	srand(1);
	boot();
	b = open_as(VM(1), "host:disk_one_01234567890", false);
	assert_non_null(b);
	assert_true(b->size == DISK && b->sector == sector);
	for (int i = 0; i < 3000; i++) {
		u64 max = i % 7 ? 40000 : 130000;

		io->len = sector * (1 + (u64)rand() % (max / sector));
		io->pos = sector * ((u64)rand() % ((DISK - io->len) / sector + 1));
		io->at = 0x1000 + (u64)rand() % 50;
		if (io->at + io->len > FAKE_HOLE)
			io->len = ALIGN_DOWN(FAKE_HOLE - io->at, sector);
		switch (rand() % 4) {
		case 0:
			assert_int_equal(submit(b, io, BLOCK_READ), -EINPROGRESS);
			break;
		case 1:
			for (u64 k = 0; k < io->len; k++)
				fake_ram[io->at + k] = (u8)(rand() >> 3);
			assert_int_equal(submit(b, io, BLOCK_WRITE), -EINPROGRESS);
			memcpy(model + io->pos, fake_ram + io->at, io->r.len);
			break;
		case 2:
			assert_int_equal(submit(b, io, BLOCK_ZERO), -EINPROGRESS);
			memset(model + io->pos, 0, io->r.len);
			break;
		default:
			assert_int_equal(submit(b, io, BLOCK_DISCARD), features & BLK_F_DISCARD ? -EINPROGRESS : 0);
			if (!io->busy)
				continue;
		}
		assert_int_equal(dma, 1);
		b->ops->commit(b);
		assert_int_equal(nr_heads, 1);
		answer_one();
		handler();
		assert_true(!io->busy && !io->err && !dma && !pins);
		if (io->r.op == BLOCK_READ)
			assert_memory_equal(fake_ram + io->at, model + io->pos, io->r.len);
	}
	assert_memory_equal(store, model, DISK);
	assert_int_equal(submit(b, io, BLOCK_FLUSH), -EINPROGRESS);
	b->ops->commit(b);
	answer_one();
	handler();
	block_close(b);
	shut_down();
}

static void shapes(void **state)
{
	(void)state;
	any_shape();
	sector = 4096;
	any_shape();
	sector = 512;
	seg_max = 9;
	indirect = 0; /* chains in the ring itself */
	features &= ~(BIT(13) | BIT(14)); /* zeroes are written, nothing is discarded */
	any_shape();
	seg_max = 126;
	indirect = VIRTIO_F_INDIRECT_DESC;
	features |= BIT(13) | BIT(14);
}

/* More than there is room for, answered in any order, several in an interrupt; some wait and are called. */
/* An interrupt, and the turns that follow. */
static void all_turns(void)
{
	handler();
	while (work)
		if (work->fn(work))
			work = NULL;
}

static void many(bool direct)
{
	struct block *b, *c;
	unsigned waits = 0, done = 0;

	srand(3);
	indirect = direct ? 0 : VIRTIO_F_INDIRECT_DESC;
	boot();
	b = open_as(VM(1), "host:vbd0", true);
	c = open_as(VM(2), "host:vbd0", true);
	assert_true(b && c);
	agains = kicks = 0;
	memset(ios, 0, sizeof(ios));
	for (unsigned i = 0; i < IOS; i++)
		ios[i] = (struct io){.err = -EAGAIN, .len = 512, .at = 0x1000 + i * 512};
	while (done < 3000) {
		struct io *io = &ios[rand() % IOS];

		if (!io->busy) {
			if (!io->err) {
				assert_memory_equal(fake_ram + io->at, model + io->pos, 512);
				done++;
			}
			io->pos = 512 * (u64)(rand() % (int)(DISK / 512));
			io->err = submit(rand() % 2 ? b : c, io, BLOCK_READ);
			assert_true(io->err == -EAGAIN || io->err == -EINPROGRESS);
			waits += io->err == -EAGAIN;
		}
		if (rand() % 4 == 0) {
			b->ops->commit(b);
			take_available();
		}
		if (rand() % 200 == 0) {
			while (nr_heads)
				answer_one();
			all_turns();
		}
	}
	assert_true(waits > 50 && agains > 20 && kicks > 20);
	c->ops->commit(c);
	while (nr_heads)
		answer_one();
	all_turns();
	block_close(b);
	block_close(c);
	shut_down();
	indirect = VIRTIO_F_INDIRECT_DESC;
}

static void in_flight(void **state)
{
	(void)state;
	many(false);
	many(true);
}

static void failures(void **state)
{
	struct block *b;
	struct io *io = &ios[0];

	(void)state;
	boot();
	b = open_as(VM(1), "host:vbd0", false);
	*io = (struct io){.len = 1024, .at = 0x1000};
	for (answer_status = 1; answer_status < 4; answer_status++) {
		assert_int_equal(submit(b, io, BLOCK_WRITE), -EINPROGRESS);
		b->ops->commit(b);
		answer_one();
		handler();
		assert_int_equal(io->err, -EIO);
	}
	io->at = FAKE_HOLE - 100; /* not RAM: nothing happens */
	assert_int_equal(submit(b, io, BLOCK_READ), -EIO);
	assert_true(!pins && !dma);
	/* One sector in more pieces than the disk takes. */
	for (unsigned i = 0; i < 300; i++)
		io->range[i] = (struct block_range){.gpa = 0x1000 + i * 8, .len = 2};
	io->r = (struct block_req){.op = BLOCK_READ, .len = 512, .range = io->range, .done = io_done};
	assert_int_equal(b->ops->submit(b, &io->r), -EIO);
	assert_true(!pins && !dma && io->r.len == 512);
	/* The device breaks its ring with three under way. */
	io->at = 0x1000;
	for (unsigned i = 0; i < 3; i++) {
		ios[i] = (struct io){.len = 512, .at = 0x1000, .pos = i * 512, .err = 0};
		assert_int_equal(submit(b, &ios[i], BLOCK_READ), -EINPROGRESS);
	}
	b->ops->commit(b);
	*(u16 *)(ring->used + 2) += 300;
	handler();
	assert_true(stopped);
	for (unsigned i = 0; i < 3; i++)
		assert_true(!ios[i].busy && ios[i].err == -EIO);
	assert_int_equal(submit(b, io, BLOCK_READ), -EIO);
	handler();
	block_close(b);
	assert_null(open_as(VM(1), "host:vbd0", true));
	shut_down();
}

/* Who closes is not told any more; what the device still does holds the memory until it is done. */
static void closed(void **state)
{
	struct block *b;
	struct io *io = &ios[0];

	(void)state;
	boot();
	b = open_as(VM(1), "host:vbd0", false);
	*io = (struct io){.len = 8192, .at = 0x1000};
	assert_int_equal(submit(b, io, BLOCK_READ), -EINPROGRESS);
	b->ops->commit(b);
	block_close(b);
	memset(io, 0xee, sizeof(*io));
	assert_true(dma == 1 && pins > 0);
	b = open_as(VM(2), "host:vbd0", false);
	assert_non_null(b);
	answer_one();
	handler();
	assert_true(dma == 0 && pins == 0);
	block_close(b);
	shut_down();
}

static void who_may(void **state)
{
	struct block *a, *b;

	(void)state;
	ios[0] = (struct io){.len = 512, .at = 0x1000};
	boot();
	assert_null(open_as(VM(1), "host:vbd1", true));
	assert_non_null(strstr(why, "has 1 virtio disks"));
	assert_null(open_as(VM(1), "host:", true));
	a = open_as(VM(1), "host:vbd0", true);
	b = open_as(VM(2), "host:disk_one_01234567890", true);
	assert_true(a && b);
	assert_int_equal(submit(a, &ios[0], BLOCK_WRITE), -EROFS);
	assert_int_equal(submit(a, &ios[0], BLOCK_ZERO), -EROFS);
	assert_null(open_as(VM(3), "host:vbd0", false));
	assert_non_null(strstr(why, "another VM reads it"));
	block_close(a);
	block_close(b);
	a = open_as(VM(3), "host:vbd0", false);
	assert_non_null(a);
	assert_null(open_as(VM(1), "host:vbd0", true));
	assert_non_null(strstr(why, "another VM writes to it"));
	block_close(a);
	shut_down();
	features |= BLK_F_RO;
	boot();
	assert_null(open_as(VM(3), "host:vbd0", false));
	a = open_as(VM(3), "host:vbd0", true);
	assert_non_null(a);
	block_close(a);
	shut_down();
	features &= ~BLK_F_RO;
	nr_pci = 0;
	init();
	assert_int_equal(nr_disks, 0);
	nr_pci = 1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shapes), cmocka_unit_test(in_flight), cmocka_unit_test(failures),
		cmocka_unit_test(closed), cmocka_unit_test(who_may),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
