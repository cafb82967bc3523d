/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/scsi.c drivers/virtio/scsi_control.c drivers/virtio/scsi_cd.c */
/* The SCSI host, with drives that are empty, full, or whose medium comes and goes; a backend as fuzz_virtio_blk.c has it. */
#define WORK_MAX MIB(1) /* eight drives' turns */
#include "tests/fuzz/virtio_driver.h"
#include "arch/x86_64/frame.h"
#include "drivers/virtio/scsi.h"
#include "vmm/config.h"

/* ---- the VM ---- */

static struct vm_disk disks[VM_MAX_DISKS];
static unsigned drives;
static int allocations; /* so many succeed yet */

struct vm_disk *vm_disk(struct vm *v, u32 i) { (void)v; return &disks[i]; }
unsigned vm_cdroms(const struct vm *v) { (void)v; return drives; }
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	(void)type, (void)owner;
	return allocations-- ? calloc(1, size) : NULL;
}
void kfree(void *p) { free(p); }

/* ---- the backend: what it is given is inside the disk, and in RAM ---- */

enum { AT_ONCE, LATER, REFUSED, FAILS };
#define PIECE 4096u /* what it takes at most */

struct part {
	gpa_t gpa;
	u64 len;
};
static struct pending {
	struct block *b;
	struct block_req *r;
	struct part part[VIRTQ_MAX_SIZE];
	unsigned parts;
} pending[VM_MAX_DISKS];
static unsigned nr_pending, backend, nr_open;

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

static void transfer(const struct pending *p)
{
	static u8 bytes[PIECE];

	for (unsigned i = 0; i < p->parts; i++)
		require(!gmem_write(&vm, p->part[i].gpa, bytes, p->part[i].len));
}

static int submit(struct block *b, struct block_req *r)
{
	struct pending now, *p = &now;

	require(r->op == BLOCK_READ && r->range && r->len && r->pos <= b->size && r->len <= b->size - r->pos);
	require(!(r->pos % CD_BLOCK) && !(r->len % b->sector));
	for (unsigned i = 0; i < nr_pending; i++)
		require(pending[i].b != b); /* a drive does one thing at a time */
	spend(256);
	if (backend == REFUSED)
		return -EAGAIN;
	if (backend == FAILS)
		return -EIO;
	r->len = MIN(r->len, PIECE);
	if (backend == LATER)
		p = &pending[nr_pending];
	p->b = b;
	p->r = r;
	find_parts(r, p);
	if (p == &now) {
		transfer(p);
		return 0;
	}
	nr_pending++;
	vm_dma_begin(&vm);
	return -EINPROGRESS;
}

static void come_back(unsigned i, int err)
{
	struct block_req *r = pending[i].r;

	if (!err)
		transfer(&pending[i]);
	pending[i] = pending[--nr_pending];
	r->done(r, err);
	vm_dma_end(&vm);
}

static void close(struct block *b)
{
	for (unsigned i = nr_pending; i--;) {
		if (pending[i].b != b)
			continue;
		pending[i] = pending[--nr_pending];
		vm_dma_end(&vm);
	}
	nr_open--;
	free(b);
}

static void commit(struct block *b) { (void)b; }
static const struct block_ops ops[2] = {{.name = "fake", .submit = submit, .commit = commit, .close = close},
					{.name = "fake", .submit = submit, .close = close}};

struct block *block_open(const struct vm_disk *d, struct vm *v, char *why, size_t n)
{
	struct block *b = d->target[0] == '!' ? NULL : calloc(1, sizeof(*b));

	snprintf(why, n, "none");
	if (!b)
		return NULL;
	*b = (struct block){.ops = &ops[d->target[0] & 1], .vm = v, .sector = 512, .req_size = sizeof(struct block_req) + 24, .readonly = true,
			    .size = d->target[0] == 'd' ? GIB(20000) : d->target[0] == 's' ? 512 : MIB(1) + 512};
	if (d->target[0] == 'k')
		b->sector = 4096;
	nr_open++;
	return b;
}
void block_close(struct block *b)
{
	if (b)
		b->ops->close(b);
}

/* ---- the target ---- */

static const char targets[8] = {'a', 'b', 'd', 'a', 's', 'k', '!', 0};

static void choose(void)
{
	u8 kind = (u8)take(1);

	memset(disks, 0, sizeof(disks));
	drives = (unsigned)take(1);
	drives = (drives & (drives & 0x80 ? 0xff : 7)) | 1;
	for (unsigned i = 0; i < VM_MAX_DISKS; i++) {
		memcpy(disks[i].vdev, "hda", 4);
		disks[i].target[0] = kind >> 4 == 15 ? targets[kind & 7] : targets[kind >> i & 1 ? 7 : i & 3];
		if (i & 1)
			memcpy(disks[i].serial, "01234567890123456789", 21);
	}
	allocations = kind >> 4 == 14 ? kind & 15 : 99;
	nr_pending = nr_open = backend = 0;
}

static unsigned compose_control(u8 *buf)
{
	u32 what = (u32)take(1), type = what >> 6;
	u8 lun[8] = {1, (u8)(take(1) & 15), what & 16 ? 0x40 : 0, what & 32 ? 1 : 0};
	struct virtio_scsi_tmf t = {0};

	if (type) {
		struct virtio_scsi_an a = {.type = type, .events = (u32)take(1)};

		memcpy(a.lun, lun, 8);
		memcpy(buf, &a, sizeof(a));
		return sizeof(a);
	}
	t.subtype = what & 15;
	t.id = take(1);
	memcpy(t.lun, lun, 8);
	memcpy(buf, &t, sizeof(t));
	return sizeof(t);
}

static unsigned compose(unsigned queue, u8 *buf)
{
	static const u8 codes[32] = {0x28, 0x28, 0x28, 0x08, 0xa8, 0x88, 0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x25, 0x2b, 0x2f, 0x35,
				     0x42, 0x43, 0x46, 0x4a, 0x51, 0x5a, 0x9e, 0xa0, 0xad, 0xbb, 0xbd, 0x2a, 0x28, 0x12, 0x4a, 0x1b};
	u32 what = (u32)take(1), n, at;
	struct virtio_scsi_request h = {.lun = {1, (u8)(what >> 5)}};
	u8 *cdb = buf + sizeof(h);

	if (!queue)
		return compose_control(buf);
	memcpy(buf, &h, sizeof(h));
	cdb[0] = codes[what & 31];
	if (cdb[0] == 0x28) { /* a read that may well be one: the block, how many */
		cdb[5] = (u8)take(1);
		cdb[8] = (u8)(take(1) & 15);
	}
	if (cdb[0] != 0x28)
		for (n = (u32)take(1) & 7; n; n--) {
			at = (u32)take(1);
			cdb[1 + (at & 15) % 15] = (u8)take(1);
			if (at & 0x80)
				buf[at >> 4 & 7] ^= 1; /* of the address */
		}
	return sizeof(h) + 32;
}

static void act(void)
{
	unsigned what = (unsigned)take(1), unit = (unsigned)take(1) & 7;
	char why[160];

	if (what & 0x80) {
		backend = what & 3;
	} else if (nr_pending && what & 0x40) {
		come_back((what & 7) % nr_pending, what & 0x20 ? -EIO : 0);
	} else if (!(drives >> unit & 1)) {
		return;
	} else if (what & 0x10) {
		if (!scsi_medium(&dev, unit)) {
			disks[unit].target[0] = targets[what & 7];
			if (disks[unit].target[0])
				scsi_insert(&dev, unit, why, sizeof(why));
		}
	} else if (what & 8) {
		if (scsi_eject(&dev, unit))
			require(!scsi_medium(&dev, unit));
		else if (what & 4)
			scsi_keep(&dev, unit);
	} else if (what & 4) {
		scsi_eject_request(&dev, unit);
	} else if (scsi_medium(&dev, unit)) {
		((struct block *)(uintptr_t)scsi_medium(&dev, unit))->again((struct block *)(uintptr_t)scsi_medium(&dev, unit));
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
	fuzz(&scsi_pci, data, size);
	require(!nr_open && !nr_pending);
	return 0;
}
