/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/virtq.c drivers/virtio/scsi.c drivers/virtio/scsi_control.c drivers/virtio/scsi_cd.c */
/*
 * The SCSI host with two CD-ROM drives, targets 1 (with a medium of 300 blocks) and 2 (empty): what a drive says to each
 * command, what the host says to requests that are none, and what happens while a backend takes its time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "tests/unit/fake_virtio.h"
#include "arch/x86_64/frame.h"
#include "drivers/virtio/scsi.h"
#include "lib/errno.h"
#include "vmm/config.h"

#define BLOCKS 300u
enum { CONTROL, EVENTS, REQUESTS };
#define HEAD 108u /* of an answer: the header and 96 bytes of sense data */

static struct vm_disk disks[VM_MAX_DISKS];
static enum { AT_ONCE, LATER, REFUSES, FAILS } backend;
static struct block_req *in_flight[4];
static unsigned nr_in_flight, nr_open;
static bool no_memory;

struct vm_disk *vm_disk(struct vm *v, u32 i) { (void)v; return &disks[i]; }
unsigned vm_cdroms(const struct vm *v) { (void)v; return 6; }
void *kzalloc(size_t size, enum frame_type type, u16 owner) { (void)type, (void)owner; return no_memory ? NULL : calloc(1, size); }
void kfree(void *p) { free(p); }

static u8 content(u64 pos)
{
	return (u8)(pos + pos / CD_BLOCK * 7);
}

/* A page at once. */
static int submit(struct block *b, struct block_req *r)
{
	const struct block_range *g = r->range;
	u64 at = r->skip;

	assert_int_equal(r->op, BLOCK_READ);
	assert_true(r->len && !(r->len % CD_BLOCK) && r->pos + r->len <= b->size);
	if (backend == REFUSES)
		return -EAGAIN;
	if (backend == FAILS)
		return -EIO;
	r->len = MIN(r->len, 2 * CD_BLOCK);
	for (u64 i = 0; i < r->len; i++, at++) {
		for (; at >= g->len; g++)
			at -= g->len;
		fake_ram[g->gpa + at] = content(r->pos + i);
	}
	if (backend == AT_ONCE)
		return 0;
	in_flight[nr_in_flight++] = r;
	vm_dma_begin(&vm);
	return -EINPROGRESS;
}

static void done(unsigned i, int err)
{
	struct block_req *r = in_flight[i];

	in_flight[i] = in_flight[--nr_in_flight];
	r->done(r, err);
	vm_dma_end(&vm);
}

static void commit(struct block *b) { (void)b; }
static void close(struct block *b)
{
	nr_open--;
	free(b);
}
static const struct block_ops ops = {.name = "fake", .submit = submit, .commit = commit, .close = close};

struct block *block_open(const struct vm_disk *d, struct vm *v, char *why, size_t n)
{
	struct block *b;

	(void)v;
	snprintf(why, n, "it is not there");
	if (!strcmp(d->target, "none"))
		return NULL;
	b = calloc(1, sizeof(*b));
	*b = (struct block){.ops = &ops, .size = BLOCKS * CD_BLOCK + 512, .sector = 512, .req_size = sizeof(struct block_req) + 8};
	if (!strcmp(d->target, "4k"))
		b->sector = 4096;
	if (!strcmp(d->target, "short"))
		b->size = CD_BLOCK - 512;
	if (!strcmp(d->target, "dvd"))
		b->size = 2000000ull * CD_BLOCK;
	nr_open++;
	return b;
}
void block_close(struct block *b) { b->ops->close(b); }

/* ---- a driver: one request at a time ---- */

#define OUT_AT 0x4000ull
#define IN_AT  0x5000ull
static u16 slots[3];
static u8 target = 1, lun_byte;
static struct virtio_scsi_response *const resp = (void *)(fake_ram + IN_AT);
static const u8 *const sense_at = fake_ram + IN_AT + 12, *const data = fake_ram + IN_AT + HEAD;

/* A chain of what the driver writes at `out` and the device at `in`, into a split ring of 8. */
static void put(unsigned queue, u64 out, u32 out_len, u64 in, u32 in_len)
{
	struct virtq_desc *d = (void *)(fake_ram + RING(queue));
	u16 *avail = (void *)(fake_ram + RING(queue) + 0x100), at = (u16)(2 * (slots[queue] % 4));

	d[at] = (struct virtq_desc){.addr = out, .len = out_len, .flags = DESC_NEXT, .next = (u16)(at + 1)};
	d[at + 1] = (struct virtq_desc){.addr = in, .len = in_len, .flags = DESC_WRITE};
	if (!out_len)
		d[at] = d[at + 1];
	avail[2 + slots[queue] % 8] = at;
	avail[1] = ++slots[queue];
}

static u32 used(unsigned queue, u32 *written)
{
	const u16 *idx = (void *)(fake_ram + RING(queue) + 0x202);
	const struct virtq_used_elem *e = (void *)(fake_ram + RING(queue) + 0x204);

	if (written && *idx)
		*written = e[(*idx - 1) % 8].len;
	return *idx;
}

static void put_request(u64 out, u64 in, const u8 *cdb, unsigned n, u32 room, u64 id)
{
	struct virtio_scsi_request h = {.lun = {1, target, lun_byte}, .id = id};

	memset(fake_ram + out, 0, 0x100);
	memset(fake_ram + in, 0xee, HEAD + room);
	memcpy(fake_ram + out, &h, sizeof(h));
	memcpy(fake_ram + out + sizeof(h), cdb, n);
	put(REQUESTS, out, 51, in, HEAD + room);
}

/* A command, its answer: response << 8 | status. */
static unsigned ask(const char *cdb, unsigned n, u32 room)
{
	u32 before = used(REQUESTS, NULL), written = 0;

	put_request(OUT_AT, IN_AT, (const u8 *)cdb, n, room, 7);
	virtio_kick(&dev, REQUESTS);
	due();
	assert_int_equal(used(REQUESTS, &written), before + 1);
	assert_int_equal(written, HEAD + (resp->response ? 0 : room - resp->residual));
	return (unsigned)resp->response << 8 | resp->status;
}
#define ASK(cdb, room) ask(cdb, sizeof(cdb) - 1, room)
#define GOOD(cdb, room) assert_int_equal(ASK(cdb, room), 0)
/* CHECK CONDITION, with this sense data in the fixed format. */
#define SENSE(cdb, sense)                                                                                                 \
	do {                                                                                                              \
		assert_int_equal(ASK(cdb, 64), 2);                                                                        \
		assert_int_equal(resp->sense_len, 18);                                                                    \
		assert_int_equal(sense_at[0], 0x70);                                                                      \
		assert_int_equal(CD_SENSE(sense_at[2], sense_at[12], sense_at[13]), sense);                               \
		assert_int_equal(resp->residual, 64);                                                                     \
	} while (0)

#define READY "\0\0\0\0\0\0"
#define INVALID_FIELD CD_SENSE(5, 0x24, 0)
#define WAS_RESET     CD_SENSE(6, 0x29, 0)
#define CHANGED	      CD_SENSE(6, 0x28, 0)

static void start_driver(void)
{
	memset(fake_ram + RING(0), 0, 0x2000);
	memset(slots, 0, sizeof(slots));
	drive(SPLIT & ~VIRTIO_F_EVENT_IDX);
}

static int start(void **test)
{
	(void)test;
	memset(disks, 0, sizeof(disks));
	disks[1] = (struct vm_disk){.vdev = "hdb", .target = "a.iso", .cdrom = true};
	disks[2] = (struct vm_disk){.vdev = "hdc", .serial = "s2", .cdrom = true};
	backend = AT_ONCE;
	nr_in_flight = nr_open = 0;
	no_memory = false;
	target = 1;
	lun_byte = 0;
	attach(&scsi_pci, 0);
	vm.dense = true;
	start_driver();
	SENSE(READY, WAS_RESET);
	return 0;
}

static int stop(void **test)
{
	(void)test;
	dev.type->destroy(&dev);
	assert_int_equal(nr_open, 0);
	assert_int_equal(vm.dma, 0);
	return 0;
}

static u32 be32_at(unsigned off)
{
	return (u32)data[off] << 24 | (u32)data[off + 1] << 16 | (u32)data[off + 2] << 8 | data[off + 3];
}

/* ---- commands ---- */

static void identity(void **test)
{
	(void)test;
	GOOD("\x12\0\0\0\x24\0", 36);
	assert_memory_equal(data, "\x05\x80\x05\x02\x1f\0\0\0DALANG  CD-ROM          1.0 ", 36);
	GOOD("\x12\0\0\0\x05\0", 36);
	assert_int_equal(resp->residual, 31);
	assert_int_equal(data[5], 0xee);
	SENSE("\x12\0\x80\0\x24\0", INVALID_FIELD);
	GOOD("\x12\x01\0\0\xff\0", 64);
	assert_memory_equal(data, "\x05\0\0\x03\0\x80\x83", 7);
	assert_int_equal(resp->residual, 57);
	GOOD("\x12\x01\x80\0\xff\0", 64);
	assert_memory_equal(data, "\x05\x80\0\x03hdb", 7);
	GOOD("\x12\x01\x83\0\xff\0", 64);
	assert_memory_equal(data, "\x05\x83\0\x0f\x02\x01\0\x0b" "DALANG  hdb", 19);
	SENSE("\x12\x01\xb0\0\xff\0", INVALID_FIELD);
	target = 2;
	GOOD("\x12\x01\x80\0\xff\0", 64);
	assert_memory_equal(data, "\x05\x80\0\x02s2", 6);
	GOOD("\xa0\0\0\0\0\0\0\0\0\x40\0\0", 64);
	assert_memory_equal(data, "\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0", 16);
	GOOD("\xa0\0\x01\0\0\0\0\0\0\x40\0\0", 64);
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
	SENSE("\xa0\0\x03\0\0\0\0\0\0\x40\0\0", INVALID_FIELD);
	SENSE("\xa0\0\0\0\0\0\0\0\0\x0f\0\0", INVALID_FIELD);
}

static void capacity(void **test)
{
	(void)test;
	GOOD(READY, 0);
	GOOD("\x25\0\0\0\0\0\0\0\0\0", 8);
	assert_int_equal(be32_at(0), BLOCKS - 1);
	assert_int_equal(be32_at(4), 2048);
	GOOD("\x9e\x10\0\0\0\0\0\0\0\0\0\0\0\x20\0\0", 32);
	assert_int_equal(be32_at(0), 0);
	assert_int_equal(be32_at(4), BLOCKS - 1);
	assert_int_equal(be32_at(8), 2048);
	SENSE("\x9e\x11\0\0\0\0\0\0\0\0\0\0\0\x20\0\0", INVALID_FIELD);
	SENSE("\x2a\0\0\0\0\0\0\0\x01\0", CD_SENSE(5, 0x20, 0)); /* it does not write */
	GOOD("\x35\0\0\0\0\0\0\0\0\0", 0);
	GOOD("\xbb\0\xff\xff\0\0\0\0\0\0\0\0", 0);
	GOOD("\x2b\0\0\0\x01\x2c\0\0\0\0", 0);
	SENSE("\x2b\0\0\0\x01\x2d\0\0\0\0", CD_SENSE(5, 0x21, 0));
	GOOD("\x2f\0\0\0\x01\0\0\0\x2c\0", 0);
	SENSE("\x2f\0\0\0\x01\0\0\0\x2d\0", CD_SENSE(5, 0x21, 0));
	SENSE("\x2f\x02\0\0\x01\0\0\0\x01\0", INVALID_FIELD);
}

static void is_read(u32 lba, u32 count)
{
	for (u64 i = 0; i < (u64)count * CD_BLOCK; i++)
		if (data[i] != content((u64)lba * CD_BLOCK + i))
			fail_msg("byte %lu of %u blocks from %u on", (unsigned long)i, count, lba);
}

static void reads(void **test)
{
	const struct block *b = scsi_medium(&dev, 1);

	(void)test;
	GOOD("\x28\0\0\0\0\x05\0\0\x03\0", 3 * CD_BLOCK);
	is_read(5, 3);
	assert_true(b->reads == 1 && b->read_bytes == 3 * CD_BLOCK);
	GOOD("\x08\0\0\x07\x01\0", CD_BLOCK + 100);
	is_read(7, 1);
	assert_int_equal(resp->residual, 100);
	GOOD("\xa8\0\0\0\x01\x2b\0\0\0\x01\0\0", CD_BLOCK);
	is_read(BLOCKS - 1, 1);
	GOOD("\x88\0\0\0\0\0\0\0\0\x09\0\0\0\x28\0\0", 40 * CD_BLOCK); /* more than a turn's */
	is_read(9, 40);
	GOOD("\x28\0\0\0\0\x05\0\0\0\0", 16);
	assert_int_equal(resp->residual, 16);
	SENSE("\x28\0\0\0\x01\x2b\0\0\x02\0", CD_SENSE(5, 0x21, 0));
	SENSE("\x08\0\x01\x2c\0\0", CD_SENSE(5, 0x21, 0)); /* 0: 256 */
	SENSE("\x88\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0", CD_SENSE(5, 0x21, 0));
	SENSE("\x28\x20\0\0\0\0\0\0\x01\0", INVALID_FIELD);
	assert_int_equal(ASK("\x28\0\0\0\0\x05\0\0\x03\0", 3 * CD_BLOCK - 1), SCSI_OVERRUN << 8);
	assert_int_equal(ASK("\x12\0\0\0\x24\0", 35), SCSI_OVERRUN << 8);
	backend = FAILS;
	assert_int_equal(ASK("\x28\0\0\0\0\x05\0\0\x01\0", CD_BLOCK), 2);
	assert_true(sense_at[2] == 3 && sense_at[12] == 0x11 && resp->residual == CD_BLOCK && b->errors == 1);
}

static void modes(void **test)
{
	(void)test;
	GOOD("\x1a\0\x2a\0\xff\0", 64);
	assert_memory_equal(data, "\x19\0\0\0\x2a\x14\x0b\0\x70\0\x29", 11);
	GOOD("\x5a\0\x2a\0\0\0\0\0\xff\0", 64);
	assert_memory_equal(data, "\0\x1c\0\0\0\0\0\0\x2a\x14\x0b", 11);
	GOOD("\x1e\0\0\0\x01\0", 0);
	GOOD("\x1a\0\x3f\0\xff\0", 64);
	assert_memory_equal(data, "\x25\0\0\0\x01\x0a\0\0\0\0\0\0\0\0\0\0\x2a\x14\x0b\0\x70\0\x2b", 23);
	GOOD("\x1a\0\x6a\0\xff\0", 64);
	assert_memory_equal(data, "\x19\0\0\0\x2a\x14\0\0\0\0\0", 11);
	SENSE("\x1a\0\xea\0\xff\0", CD_SENSE(5, 0x39, 0));
	SENSE("\x1a\0\x08\0\xff\0", INVALID_FIELD);
	SENSE("\x1a\0\x2a\x01\xff\0", INVALID_FIELD);
}

static void discs(void **test)
{
	(void)test;
	GOOD("\x43\0\0\0\0\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x12\x01\x01\0\x14\x01\0\0\0\0\0\0\x14\xaa\0\0\0\x01\x2c", 20);
	GOOD("\x43\x02\0\0\0\0\xaa\0\x40\0", 64);
	assert_memory_equal(data, "\0\x0a\x01\x01\0\x14\xaa\0\0\0\x06\0", 12); /* 300 + 150 frames */
	GOOD("\x43\0\x01\0\0\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x0a\x01\x01\0\x14\x01\0\0\0\0\0", 12);
	SENSE("\x43\0\0\0\0\0\x02\0\x40\0", INVALID_FIELD);
	SENSE("\x43\0\x02\0\0\0\0\0\x40\0", INVALID_FIELD);
	GOOD("\x51\0\0\0\0\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x20\x0e\x01\x01\x01\x01\x20", 8);
	SENSE("\x51\x01\0\0\0\0\0\0\x40\0", INVALID_FIELD);
	GOOD("\x42\0\0\0\0\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x15\0\0", 4);
	GOOD("\x42\0\x40\x01\0\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x15\0\x0c\x01\x14\x01\x01", 8);
	SENSE("\x42\0\x40\x02\0\0\0\0\x40\0", INVALID_FIELD);
	SENSE("\xad\0\0\0\0\0\0\0\x08\0\0\0", CD_SENSE(5, 0x30, 2));
	GOOD("\xbd\0\0\0\0\0\0\0\0\x08\0\0", 64);
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
}

static void configuration(void **test)
{
	char why[80];

	(void)test;
	GOOD("\x46\0\0\0\0\0\0\0\xff\0", 255);
	assert_memory_equal(data, "\0\0\0\x44\0\0\0\x08\0\0\x03\x08\0\x10\0\0\0\x08\x01\0\0\x01\x0b\x08", 24);
	assert_int_equal(255 - resp->residual, 0x48);
	GOOD("\x46\x02\0\x10\0\0\0\0\xff\0", 255);
	assert_memory_equal(data, "\0\0\0\x10\0\0\0\x08\0\x10\x01\x08\0\0\x08\0\0\x01\0\0", 20);
	GOOD("\x46\x01\0\x1e\0\0\0\0\xff\0", 255); /* of those from there on, the current ones */
	assert_memory_equal(data, "\0\0\0\x0c\0\0\0\x08\0\x1e\x09\x04", 12);
	SENSE("\x46\x03\0\0\0\0\0\0\xff\0", INVALID_FIELD);
	target = 2;
	GOOD("\x46\0\0\0\0\0\0\0\x08\0", 64);
	assert_memory_equal(data, "\0\0\0\x44\0\0\0\0", 8);
	strcpy(disks[2].target, "dvd");
	assert_int_equal(scsi_insert(&dev, 2, why, sizeof(why)), 0);
	GOOD("\x46\x02\0\x1f\0\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\0\0\x08\0\0\0\x10\0\x1f\x01\0", 12);
}

/* ---- the medium comes and goes ---- */

static void empty_drive(void **test)
{
	(void)test;
	target = 2;
	SENSE(READY, WAS_RESET);
	SENSE(READY, CD_SENSE(2, 0x3a, 1));
	SENSE("\x28\0\0\0\0\x05\0\0\x03\0", CD_SENSE(2, 0x3a, 1));
	GOOD("\x03\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\x70\0\x02\0\0\0\0\x0a\0\0\0\0\x3a\x01", 14);
	GOOD("\x4a\x01\0\0\x10\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x06\x04\x10\0\0\0\0", 8);
	GOOD("\x1e\0\0\0\x01\0", 0);
	SENSE("\x1b\0\0\0\x02\0", CD_SENSE(2, 0x53, 2));
}

static void media(void **test)
{
	static const char *const bad[] = {"none", "4k", "short"};
	char why[80];

	(void)test;
	/* The driver's own doing: locked it stays, else the tray comes out. */
	GOOD("\x1e\0\0\0\x01\0", 0);
	SENSE("\x1b\0\0\0\x02\0", CD_SENSE(5, 0x53, 2));
	GOOD("\x1e\0\0\0\0\0", 0);
	GOOD("\x1b\0\0\0\x02\0", 0);
	SENSE(READY, CD_SENSE(2, 0x3a, 2));
	GOOD("\x4a\x01\0\0\x10\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x06\x04\x10\x03\x01\0\0", 8);
	GOOD("\xbd\0\0\0\0\0\0\0\0\x08\0\0", 64);
	assert_int_equal(data[1], 0x10);
	virtio_set_status(&dev, 0); /* a reset does not push it in */
	start_driver();
	SENSE(READY, WAS_RESET);
	SENSE(READY, CD_SENSE(2, 0x3a, 2));
	GOOD("\x1b\0\0\0\x03\0", 0);
	GOOD("\x1b\0\0\0\x03\0", 0);
	GOOD(READY, 0);
	GOOD("\x4a\x01\0\0\x10\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x06\x04\x10\x02\x02\0\0", 8);
	GOOD("\x4a\x01\0\0\x10\0\0\0\x40\0", 64);
	assert_int_equal(data[4], 0);
	GOOD("\x4a\x01\0\0\x40\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x02\x80\x10", 4);
	SENSE("\x4a\0\0\0\x10\0\0\0\x40\0", INVALID_FIELD);
	GOOD("\x1b\0\0\0\x01\0", 0);
	GOOD("\x1b\0\0\0\x32\0", 0);
	/* The monitor's. */
	scsi_eject_request(&dev, 1);
	GOOD("\x4a\x01\0\0\x10\0\0\0\x40\0", 64);
	assert_memory_equal(data, "\0\x06\x04\x10\x01\x02\0\0", 8);
	GOOD("\x1e\0\0\0\x01\0", 0);
	assert_true(scsi_eject(&dev, 1));
	assert_true(!scsi_medium(&dev, 1) && !scsi_drive(&dev, 1)->locked);
	SENSE(READY, CHANGED);
	SENSE(READY, CD_SENSE(2, 0x3a, 1));
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		strcpy(disks[1].target, bad[i]);
		assert_int_not_equal(scsi_insert(&dev, 1, why, sizeof(why)), 0);
	}
	strcpy(disks[1].target, "b.iso");
	no_memory = true;
	assert_int_equal(scsi_insert(&dev, 1, why, sizeof(why)), -ENOMEM);
	no_memory = false;
	assert_int_equal(scsi_insert(&dev, 1, why, sizeof(why)), 0);
	GOOD("\x03\0\0\0\x40\0", 64); /* told so, it is over */
	assert_memory_equal(data, "\x70\0\x06\0\0\0\0\x0a\0\0\0\0\x28\0", 14);
	GOOD(READY, 0);
	SENSE("\x03\x01\0\0\x40\0", INVALID_FIELD);
}

/* ---- addresses, and requests that are none ---- */

static void addresses(void **test)
{
	(void)test;
	lun_byte = 0x40; /* flat space addressing, of unit 0 */
	GOOD(READY, 0);
	lun_byte = 0x01;
	SENSE(READY, CD_SENSE(5, 0x25, 0));
	GOOD("\x12\0\0\0\x24\0", 36);
	assert_int_equal(data[0], 0x7f);
	SENSE("\x12\x01\0\0\x24\0", INVALID_FIELD);
	GOOD("\x03\0\0\0\x40\0", 64);
	assert_int_equal(data[12], 0x25);
	GOOD("\xa0\0\0\0\0\0\0\0\0\x40\0\0", 64);
	lun_byte = 0;
	for (unsigned i = 0; i < 256; i++) {
		if (i == 1 || i == 2)
			continue;
		target = (u8)i;
		assert_int_equal(ASK(READY, 0), SCSI_BAD_TARGET << 8);
	}
}

static bool broken(void)
{
	bool is = virtio_of(&dev)->status & VIRTIO_NEEDS_RESET;

	virtio_set_status(&dev, 0);
	start_driver();
	return is;
}

static void malformed(void **test)
{
	(void)test;
	put(REQUESTS, OUT_AT, 50, IN_AT, HEAD);
	virtio_kick(&dev, REQUESTS);
	assert_true(broken());
	put(REQUESTS, OUT_AT, 51, IN_AT, HEAD - 1);
	virtio_kick(&dev, REQUESTS);
	assert_true(broken());
	put(CONTROL, OUT_AT, 23, IN_AT, 1); /* type 0: a task management function has 24 */
	memset(fake_ram + OUT_AT, 0, 64);
	virtio_kick(&dev, CONTROL);
	assert_true(broken());
	put(CONTROL, OUT_AT, 3, IN_AT, 5);
	virtio_kick(&dev, CONTROL);
	assert_true(broken());
	fake_ram[OUT_AT] = SCSI_AN_QUERY;
	put(CONTROL, OUT_AT, 16, IN_AT, 4);
	virtio_kick(&dev, CONTROL);
	assert_true(broken());
	scsi_drive(&dev, 1)->notify = 1;
	put(EVENTS, 0, 0, IN_AT, 15);
	virtio_kick(&dev, EVENTS);
	assert_true(broken());
	assert_false(broken());
}

/* The driver may choose how long CDBs and sense data are (5.6.4). */
static void sizes(void **test)
{
	u32 written;

	(void)test;
	assert_int_equal(virtio_config_read(&dev, 20, 4), 96);
	assert_int_equal(virtio_config_read(&dev, 24, 4), 32);
	virtio_config_write(&dev, 20, 4, 10);
	virtio_config_write(&dev, 24, 1, 6); /* by bytes, as an old driver does */
	virtio_config_write(&dev, 0, 4, 99);
	virtio_config_write(&dev, 28, 4, 99);
	virtio_config_write(&dev, 18, 4, 0x990099); /* across its beginning */
	assert_int_equal(virtio_config_read(&dev, 20, 4), 10);
	assert_int_equal(virtio_config_read(&dev, 24, 4), 6);
	assert_int_equal(virtio_config_read(&dev, 0, 4), 1);
	memset(fake_ram + IN_AT, 0xee, 64);
	memcpy(fake_ram + OUT_AT, "\x01\x01\0\0\0\0\0\0" "12345678" "\0\0\0" "\x99\0\0\0\0\0", 25);
	put(REQUESTS, OUT_AT, 25, IN_AT, 22);
	virtio_kick(&dev, REQUESTS);
	assert_int_equal(used(REQUESTS, &written), 2);
	assert_int_equal(written, 22);
	assert_int_equal(resp->sense_len, 10);
	assert_int_equal(sense_at[2], 5);
	assert_int_equal(fake_ram[IN_AT + 22], 0xee);
	virtio_config_write(&dev, 24, 2, 256);
	assert_true(broken());
	assert_int_equal(virtio_config_read(&dev, 24, 4), 32);
	virtio_config_write(&dev, 20, 4, 0xffffffff);
	assert_true(broken());
}

/* ---- a backend that takes its time ---- */

#define READ_3 "\x28\0\0\0\0\x05\0\0\x03\0"

static unsigned tmf(u32 subtype, u64 id)
{
	struct virtio_scsi_tmf t = {.type = SCSI_TMF, .subtype = subtype, .lun = {1, target, lun_byte}, .id = id};
	u32 before = used(CONTROL, NULL);

	memcpy(fake_ram + 0x7000, &t, sizeof(t));
	fake_ram[0x7100] = 0xee;
	put(CONTROL, 0x7000, sizeof(t), 0x7100, 1);
	virtio_kick(&dev, CONTROL);
	due();
	return used(CONTROL, NULL) == before ? ~0u : fake_ram[0x7100];
}

static void later(void **test)
{
	(void)test;
	backend = LATER;
	put_request(0x8000, 0x9000, (const u8 *)READ_3, 10, 3 * CD_BLOCK, 77);
	put_request(OUT_AT, IN_AT, (const u8 *)READY, 6, 0, 78); /* waits behind it */
	virtio_kick(&dev, REQUESTS);
	due();
	assert_int_equal(nr_in_flight, 1);
	assert_int_equal(used(REQUESTS, NULL), 1);
	assert_int_equal(tmf(TMF_QUERY_TASK, 77), SCSI_SUCCEEDED);
	assert_int_equal(tmf(TMF_QUERY_TASK_SET, 1), SCSI_SUCCEEDED);
	/* It is answered when both have been done. */
	assert_int_equal(tmf(TMF_ABORT_TASK, 77), ~0u);
	assert_false(scsi_eject(&dev, 1));
	scsi_keep(&dev, 1);
	backend = REFUSES;
	done(0, 0);
	due();
	assert_int_equal(vm.dma, 1);
	backend = LATER;
	((struct block *)(uintptr_t)scsi_medium(&dev, 1))->again((struct block *)(uintptr_t)scsi_medium(&dev, 1));
	due();
	assert_int_equal(nr_in_flight, 1);
	assert_int_equal(used(REQUESTS, NULL), 1);
	done(0, 0);
	assert_int_equal(vm.dma, 0);
	due();
	assert_int_equal(used(REQUESTS, NULL), 3);
	for (u64 i = 0; i < 3 * CD_BLOCK; i++)
		assert_int_equal(fake_ram[0x9000 + HEAD + i], content(5 * CD_BLOCK + i));
	assert_int_equal(resp->status, 0);
	assert_int_equal(fake_ram[0x7100], SCSI_OK);
	/* One that fails; and one whose medium goes meanwhile. */
	put_request(OUT_AT, IN_AT, (const u8 *)READ_3, 10, 3 * CD_BLOCK, 79);
	virtio_kick(&dev, REQUESTS);
	done(0, -EIO);
	due();
	assert_int_equal(resp->status, 2);
	assert_int_equal(sense_at[2], 3);
	assert_int_equal(scsi_medium(&dev, 1)->errors, 1);
	assert_int_equal(resp->residual, 3 * CD_BLOCK);
	assert_true(scsi_eject(&dev, 1));
}

static void task_management(void **test)
{
	(void)test;
	GOOD("\x1e\0\0\0\x01\0", 0);
	assert_int_equal(tmf(TMF_ABORT_TASK, 1), SCSI_OK);
	assert_int_equal(tmf(TMF_QUERY_TASK, 1), SCSI_OK);
	assert_int_equal(tmf(TMF_CLEAR_ACA, 0), SCSI_REJECTED);
	assert_int_equal(tmf(99, 0), SCSI_REJECTED);
	GOOD(READY, 0);
	assert_int_equal(tmf(TMF_LOGICAL_UNIT_RESET, 0), SCSI_OK);
	SENSE(READY, WAS_RESET);
	GOOD("\x1b\0\0\0\x02\0", 0); /* the lock is gone */
	lun_byte = 1;
	assert_int_equal(tmf(TMF_LOGICAL_UNIT_RESET, 0), SCSI_INCORRECT_LUN);
	assert_int_equal(tmf(TMF_I_T_NEXUS_RESET, 0), SCSI_OK);
	target = 3;
	assert_int_equal(tmf(TMF_ABORT_TASK_SET, 0), SCSI_BAD_TARGET);
}

/* A reset by the driver waits for what is in flight, which ends unseen. */
static void resets(void **test)
{
	(void)test;
	backend = LATER;
	put_request(OUT_AT, IN_AT, (const u8 *)READ_3, 10, 3 * CD_BLOCK, 1);
	virtio_kick(&dev, REQUESTS);
	virtio_set_status(&dev, 0);
	assert_true(virtio_of(&dev)->resetting);
	done(0, 0);
	assert_false(virtio_of(&dev)->resetting);
	assert_int_equal(nr_in_flight, 0);
	assert_int_equal(used(REQUESTS, NULL), 1);
	/* One that only waits for its turn does not keep it for long. */
	start_driver();
	backend = REFUSES;
	scsi_drive(&dev, 1)->attention = 0;
	put_request(OUT_AT, IN_AT, (const u8 *)READ_3, 10, 3 * CD_BLOCK, 1);
	virtio_kick(&dev, REQUESTS);
	assert_int_equal(vm.dma, 1);
	virtio_set_status(&dev, 0);
	due();
	assert_int_equal(vm.dma, 0);
	assert_false(virtio_of(&dev)->resetting);
	/* The chain has another shape when its turn comes. */
	start_driver();
	backend = LATER;
	scsi_drive(&dev, 1)->attention = 0;
	put_request(OUT_AT, IN_AT, (const u8 *)READ_3, 10, 3 * CD_BLOCK, 1);
	virtio_kick(&dev, REQUESTS);
	((struct virtq_desc *)(fake_ram + RING(REQUESTS)))[1].len--;
	done(0, 0);
	assert_int_equal(nr_in_flight, 0);
	assert_true(broken());
	/* And one is left when the VM goes. */
	backend = REFUSES;
	scsi_drive(&dev, 1)->attention = 0;
	put_request(OUT_AT, IN_AT, (const u8 *)READ_3, 10, 3 * CD_BLOCK, 1);
	virtio_kick(&dev, REQUESTS);
	assert_int_equal(vm.dma, 1);
}

/* ---- events ---- */

static void notifications(void **test)
{
	struct virtio_scsi_an a = {.type = SCSI_AN_SUBSCRIBE, .lun = {1, 1}, .events = 0xff};
	const struct virtio_scsi_event *e = (void *)(fake_ram + IN_AT);
	char why[80];

	(void)test;
	assert_true(scsi_eject(&dev, 1)); /* nobody wants to hear of it */
	memcpy(fake_ram + OUT_AT, &a, sizeof(a));
	put(CONTROL, OUT_AT, sizeof(a), IN_AT, 5);
	virtio_kick(&dev, CONTROL);
	assert_memory_equal(fake_ram + IN_AT, "\x10\0\0\0\0", 5);
	put(EVENTS, 0, 0, IN_AT, 16);
	virtio_kick(&dev, EVENTS);
	assert_int_equal(used(EVENTS, NULL), 0);
	assert_int_equal(scsi_insert(&dev, 1, why, sizeof(why)), 0);
	assert_int_equal(used(EVENTS, NULL), 0);
	due();
	assert_int_equal(used(EVENTS, NULL), 1);
	assert_true(e->event == SCSI_EVENT_ASYNC_NOTIFY && e->reason == SCSI_AN_MEDIA_CHANGE && e->lun[0] == 1 && e->lun[1] == 1);
	/* Kept until there is room for it. */
	assert_true(scsi_eject(&dev, 1));
	due();
	memset(fake_ram + IN_AT, 0, 16);
	put(EVENTS, 0, 0, IN_AT, 16);
	virtio_kick(&dev, EVENTS);
	assert_int_equal(used(EVENTS, NULL), 2);
	a.type = SCSI_AN_QUERY;
	a.lun[1] = 5;
	memcpy(fake_ram + OUT_AT, &a, sizeof(a));
	put(CONTROL, OUT_AT, sizeof(a), IN_AT, 5);
	virtio_kick(&dev, CONTROL);
	assert_int_equal(fake_ram[IN_AT + 4], SCSI_BAD_TARGET);
	a.lun[1] = a.lun[2] = 1;
	memcpy(fake_ram + OUT_AT, &a, sizeof(a));
	put(CONTROL, OUT_AT, sizeof(a), IN_AT, 5);
	virtio_kick(&dev, CONTROL);
	assert_int_equal(fake_ram[IN_AT + 4], SCSI_INCORRECT_LUN);
	fake_ram[OUT_AT] = 3;
	put(CONTROL, OUT_AT, sizeof(a), IN_AT, 5);
	virtio_kick(&dev, CONTROL);
	assert_int_equal(fake_ram[IN_AT + 4], SCSI_FAILURE);
	assert_int_equal(used(CONTROL, NULL), 4);
}

/* What no drive says of itself is no state. */
static void saved(void **test)
{
	struct cd_drive *c = scsi_drive(&dev, 7);

	(void)test;
	assert_true(dev.type->valid(state));
	c->open = 2;
	assert_false(dev.type->valid(state));
	c->open = 0;
	c->notify = 2;
	assert_false(dev.type->valid(state));
	c->notify = 0;
	assert_true(dev.type->valid(state));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(identity, start, stop),
		cmocka_unit_test_setup_teardown(capacity, start, stop),
		cmocka_unit_test_setup_teardown(reads, start, stop),
		cmocka_unit_test_setup_teardown(modes, start, stop),
		cmocka_unit_test_setup_teardown(discs, start, stop),
		cmocka_unit_test_setup_teardown(configuration, start, stop),
		cmocka_unit_test_setup_teardown(empty_drive, start, stop),
		cmocka_unit_test_setup_teardown(media, start, stop),
		cmocka_unit_test_setup_teardown(addresses, start, stop),
		cmocka_unit_test_setup_teardown(malformed, start, stop),
		cmocka_unit_test_setup_teardown(sizes, start, stop),
		cmocka_unit_test_setup_teardown(later, start, stop),
		cmocka_unit_test_setup_teardown(task_management, start, stop),
		cmocka_unit_test_setup_teardown(resets, start, stop),
		cmocka_unit_test_setup_teardown(notifications, start, stop),
		cmocka_unit_test_setup_teardown(saved, start, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
