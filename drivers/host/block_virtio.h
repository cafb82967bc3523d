/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine's own virtio disks: what block_virtio.c (finding, opening) and block_virtio_io.c (requests) share. */
#pragma once
#include "drivers/block.h"
#include "drivers/host/hvirtio.h"
#include "lib/list.h"
#include "lib/spinlock.h"

#define MAX_SLOTS  64u
#define MAX_SEGS   126u /* of data, in a request */
#define MAX_BYTES  KIB(512)

struct slot {
	struct virtq_desc table[MAX_SEGS + 2];
	struct virtio_blk_header header;
	struct virtio_blk_range range;
	u8 status, pad[7];
	struct opened *by;     /* NULL: it has closed the disk */
	struct block_req *req;
	struct vm *vm;	       /* NULL: the slot is free, or asks for the disk's name */
	u16 next, nr_pins;     /* next: of the free slots */
	hpa_t pins[MAX_SEGS];
};
#define NO_SLOT 0xffffu

struct disk {
	struct hvirtio v;
	struct spinlock lock;
	struct hvq q;
	struct slot *slots;
	u16 free;
	bool told_error, writer;
	char id[BLK_ID_SIZE + 1];
	u32 number, sector, size_max, seg_max, max_discard, max_zeroes;
	u64 size;
	struct list opens;
};
struct opened {
	struct block block;
	struct disk *disk;
	struct list node;
	bool waiting; /* it was told -EAGAIN */
};

static inline struct opened *opened_of(struct block *b)
{
	return container_of(b, struct opened, block);
}

struct slot *slot_take(struct disk *d, u16 *n); /* NULL: none is free */
void slot_give(struct disk *d, struct slot *s);
/* Submit and commit of struct block_ops. */
int disk_submit(struct block *blk, struct block_req *r);
void disk_commit(struct block *blk);
/* Tell of what the disk has answered; true: there is more. From the interrupt, no locks held. */
bool disk_serve(struct disk *d);
