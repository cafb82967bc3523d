/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the bytes of a disk are: what virtio's blk and scsi ask, and what files in memory, overlays and the host's own
 * disks answer. A backend is one file that defines one struct block_ops.
 *
 * A request is done when submit() returns (files in memory), or later (a disk): then its done() is called. All calls, in
 * both directions, are made with the lock of the VM's devices held and interrupts off, so neither side needs a lock of
 * its own for what belongs to one open disk; done() and again() come from an interrupt, never from within a call.
 */
#pragma once
#include "lib/types.h"

struct vm;
struct vm_disk;
struct vdev;
struct block;

/* ZERO: as if zeroes were written; DISCARD: what is there may become anything. Neither has data, nor has FLUSH. */
enum block_op { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZERO };

/* Guest memory, all of it RAM. The same as virtq's. */
struct block_range {
	gpa_t gpa;
	u32 len, pad;
};

struct block_req {
	enum block_op op;
	u64 pos, len; /* bytes, whole sectors, inside the disk; FLUSH: 0 */
	/*
	 * READ, WRITE: the data is `len` bytes of these ranges laid end to end, from byte `skip` of them on; there are at
	 * least so many. They are looked at by submit() only. NULL: it is `len` bytes at `phys`, in one block of the guests' pool (for overlays);
	 * of these the first 4 KiB are never cut off.
	 */
	const struct block_range *range;
	u64 skip;
	hpa_t phys;
	void (*done)(struct block_req *r, int err); /* err: 0, -EIO or -ENOMEM */
	/* Behind it come the backend's own bytes: a request takes block.req_size in all. */
};
static_assert(sizeof(struct block_req) % 8 == 0, "what follows is aligned");

struct block_ops {
	const char *name; /* for `stat` */
	/*
	 * 0: done; -EINPROGRESS: done() will be called, r stays as it is until then; or it failed: -EIO; -ENOMEM: there is no
	 * room for what is written (an overlay); -EROFS. -EAGAIN: it cannot be taken now, nothing was done; submit it again when
	 * b->again() is called. In the first two cases r->len may have become smaller, by whole sectors and never 0: only so
	 * much is (being) done, and the rest is another request. A call takes some 20,000 instructions at most.
	 *
	 * Requests in flight are done in any order; those that overlap were the guest's to keep apart. A FLUSH makes safe what
	 * was done when it was submitted.
	 */
	int (*submit)(struct block *b, struct block_req *r);
	void (*commit)(struct block *b); /* NULL: needless. What was submitted may wait for this: once after several */
	/* At once, with requests in flight, too: none of their done() is called any more, and their memory is the caller's. What
	 * a device still does to the guest's memory holds that (vm_dma_begin()). */
	void (*close)(struct block *b);
	/*
	 * NULL: it cannot be. b->size becomes `size`, whole sectors; what is there stays, what is new reads as zeroes if it has
	 * never been written. 0; -ENOSPC, -ENOMEM: `why` (size n) says it, nothing has changed. Requests may be in flight.
	 */
	int (*resize)(struct block *b, u64 size, char *why, size_t n);
};

#define BLOCK_SECTOR 512u

struct block {
	const struct block_ops *ops;
	struct vm *vm; /* who opened it */
	u64 size;      /* bytes, whole sectors */
	u32 sector;    /* logical: 512 or 4096 */
	u32 req_size;  /* bytes of a request, what the backend adds included; alignment of 8 */
	bool readonly;
	/* Set by whoever opened it: requests that got -EAGAIN may be submitted again. Needless calls occur. */
	void (*again)(struct block *b);
	void *arg; /* of whoever opened it */
	u64 reads, writes, read_bytes, written_bytes, flushes, errors; /* kept by whoever opened it, for `stat` */
};

/* Open what a disk of a VM file names, for this VM (memory is accounted to it). NULL: `why` (size n) says it. Never
 * blocks: disks of the host were found at boot. */
struct block *block_open(const struct vm_disk *disk, struct vm *vm, char *why, size_t n);
/* The same for what stands behind another backend's prefix. */
struct block *block_open_target(const char *target, const struct vm_disk *disk, struct vm *vm, char *why, size_t n);
void block_close(struct block *b);
/* drivers/virtio/blk.c, of a disk's device (its VM's device lock is held): block_ops.resize(), and its driver is told. */
int blk_resize(struct vdev *d, u64 size, char *why, size_t n);

/* For backends in memory: copy bytes [off, off + n) of a request's data from pa (READ) or to it. 0 or -EIO: no RAM. */
int block_copy(struct vm *vm, const struct block_req *r, u64 off, u64 n, hpa_t pa);

/* A backend registers itself in a linker section, as devices do. */
struct block_kind {
	const char *prefix; /* of its targets, with the colon; "": of those that have no other's */
	struct block *(*open)(const char *target, const struct vm_disk *disk, struct vm *vm, char *why, size_t n);
};
#define BLOCK_REGISTER(k) static const struct block_kind *const k##_entry __used __section("blocks") = &(k)
