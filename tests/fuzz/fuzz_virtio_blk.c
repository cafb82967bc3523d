/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/blk.c */
/* The block device, with a backend that is done at once or later, in parts, refuses, fails, or is slow. */
#define WORK_MAX MIB(1) /* four queues' budgets, and what descriptors of a few bytes take besides */
#include "tests/fuzz/virtio_driver.h"
#include "arch/x86_64/frame.h"
#include "drivers/hotplug.h"
#include "vmm/config.h"

extern const struct virtio_model blk_pci;

/* ---- the VM ---- */

static struct vm_disk disk;
static u8 heap[64 << 10] __aligned(8);
static size_t heap_used;
static int allocations; /* so many succeed yet */

struct vm_disk *vm_disk(struct vm *v, u32 i) { (void)v, (void)i; return &disk; }
unsigned vm_disks(const struct vm *v) { (void)v; return 1; }
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	u8 *p = heap + heap_used;

	(void)type, (void)owner;
	if (!allocations--)
		return NULL;
	heap_used += ALIGN_UP(size, 8u);
	require(heap_used <= sizeof(heap));
	return memset(p, 0, size);
}
void kfree(void *p) { (void)p; }

/* ---- the backend: what it is given is inside the disk, and in RAM ---- */

enum { AT_ONCE, LATER, REFUSED, FAILS, NO_MEMORY, READ_ONLY, IN_PARTS, LATER_IN_PARTS };
#define PIECE	    4096u /* what it takes at most */
#define MAX_PENDING 24u

struct part {
	gpa_t gpa;
	u64 len;
};
static struct pending {
	struct block_req *r;
	struct part part[VIRTQ_MAX_SIZE];
	unsigned parts;
} pending[MAX_PENDING];
static unsigned nr_pending, backend;
static bool refused;

/* Where its data is; now, for the driver's descriptors may be others when it is done. */
static void find_parts(const struct block_req *r, struct pending *p)
{
	const struct block_range *g = r->range;
	u64 skip = r->skip, left = r->len;

	for (p->parts = 0; left; g++) {
		u64 off = MIN(skip, g->len), n = MIN(g->len - off, left);

		skip -= off;
		left -= n;
		if (!n)
			continue;
		require(p->parts < ARRAY_SIZE(p->part));
		p->part[p->parts++] = (struct part){.gpa = g->gpa + off, .len = n};
	}
}

static void transfer(const struct block_req *r, const struct pending *p)
{
	static u8 bytes[PIECE];

	for (unsigned i = 0; i < p->parts; i++)
		require(!(r->op == BLOCK_READ ? gmem_write(&vm, p->part[i].gpa, bytes, p->part[i].len)
					      : gmem_read(&vm, p->part[i].gpa, bytes, p->part[i].len)));
}

static int submit(struct block *b, struct block_req *r)
{
	bool flush = r->op == BLOCK_FLUSH;
	struct pending now, *p = &now;

	require(flush ? !r->len : r->len && r->pos <= b->size && r->len <= b->size - r->pos);
	require(!(r->pos % b->sector) && !(r->len % b->sector) && !(b->readonly && r->op != BLOCK_READ && !flush));
	require(!r->range == (r->op > BLOCK_WRITE));
	spend(256);
	if (backend == REFUSED || (backend == LATER && nr_pending == MAX_PENDING)) {
		refused = true;
		return -EAGAIN;
	}
	if (backend >= FAILS && backend <= READ_ONLY)
		return backend == FAILS ? -EIO : backend == NO_MEMORY ? -ENOMEM : -EROFS;
	if (r->range || backend >= IN_PARTS)
		r->len = MIN(r->len, backend >= IN_PARTS ? b->sector : PIECE);
	if ((backend == LATER || backend == LATER_IN_PARTS) && nr_pending < MAX_PENDING)
		p = &pending[nr_pending];
	p->r = r;
	p->parts = 0;
	if (r->range)
		find_parts(r, p);
	if (p == &now) {
		transfer(r, p);
		return 0;
	}
	nr_pending++;
	vm_dma_begin(b->vm);
	return -EINPROGRESS;
}

static void come_back(unsigned i, int err)
{
	struct block_req *r = pending[i].r;

	if (!err)
		transfer(r, &pending[i]);
	pending[i] = pending[--nr_pending];
	r->done(r, err);
	vm_dma_end(&vm);
}

static void commit(struct block *b) { (void)b; }
static int resize(struct block *b, u64 size, char *why, size_t n)
{
	(void)why, (void)n;
	require(size && !(size % b->sector));
	b->size = size;
	return 0;
}
static void close(struct block *b)
{
	refused = false;
	for (; nr_pending; nr_pending--)
		vm_dma_end(b->vm);
}

static const struct block_ops ops[2] = {
	{.name = "fake", .submit = submit, .commit = commit, .resize = resize, .close = close},
	{.name = "fake", .submit = submit, .close = close},
};
static struct block block;

struct block *block_open(const struct vm_disk *d, struct vm *v, char *why, size_t n)
{
	(void)v, (void)why, (void)n;
	return d->cdrom ? NULL : &block;
}
void block_close(struct block *b)
{
	if (b)
		b->ops->close(b);
}

/* ---- the target ---- */

static void choose(void)
{
	u8 kind = (u8)take(1);

	memset(&disk, 0, sizeof(disk));
	memcpy(disk.vdev, "vda", 4);
	heap_used = 0;
	allocations = kind >= 0xfe ? kind - 0xfe : 99;
	nr_pending = backend = 0;
	refused = false;
	disk.cdrom = kind == 0xfd; /* this one is not there */
	if (kind & 1)
		memcpy(disk.serial, "01234567890123456789", 21);
	if (kind & 2)
		disk.iops = 1 + (kind >> 4) * 1000u;
	if (kind & 4)
		disk.bps = 1000 + (kind >> 4) * 100000u;
	block = (struct block){.ops = &ops[kind >> 6 & 1], .vm = &vm, .size = MIB(4) + (kind & 16 ? 0 : 512),
			       .sector = kind & 16 ? 4096 : 512, .req_size = sizeof(struct block_req) + 24, .readonly = kind & 8};
}

static unsigned compose(unsigned queue, u8 *buf)
{
	static const u32 types[8] = {BLK_IN, BLK_OUT, BLK_FLUSH, BLK_GET_ID, BLK_DISCARD, BLK_WRITE_ZEROES, BLK_IN, 99};
	unsigned what = (unsigned)take(1), n = what >> 6;
	struct virtio_blk_header h = {.type = types[what & 7], .sector = what & 8 ? take(8) : take(1) & 0xf8};
	struct virtio_blk_range r[3];

	(void)queue;
	memcpy(buf, &h, sizeof(h));
	if (h.type != BLK_DISCARD && h.type != BLK_WRITE_ZEROES)
		return sizeof(h);
	for (unsigned i = 0; i < n; i++)
		r[i] = (struct virtio_blk_range){.sector = take(1) * 8, .sectors = (u32)take(what & 16 ? 4 : 1) & ~7u,
						 .flags = what & 32 ? (u32)take(1) : 0};
	memcpy(buf + sizeof(h), r, n * sizeof(r[0]));
	return (unsigned)(sizeof(h) + n * sizeof(r[0]));
}

static void act(void)
{
	unsigned what = (unsigned)take(1);
	char why[160];

	if (what >= 0xf8) { /* the disk is taken away, once nothing is in flight */
		if (blk_tear(&dev))
			require(!nr_pending && !vm.dma);
	} else if (what >= 0xf0) {
		blk_resize(&dev, take(2) * 256, why, sizeof(why));
	} else if (what & 0x80) {
		backend = what & 7;
	} else if (refused && what & 0x40) {
		refused = false;
		block.again(&block);
	} else if (nr_pending) {
		come_back((what & 15) % nr_pending, what & 0x20 ? -EIO : 0);
	}
}

static bool drain(void)
{
	if (!nr_pending)
		return false;
	come_back(0, 0);
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz(&blk_pci, data, size);
	return 0;
}
