/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the bytes of a disk are: what virtio's blk and scsi ask, and what files in memory, overlays and the host's own
 * disks answer. A backend is one file that defines one struct block_ops.
 */
#pragma once
#include "lib/types.h"

struct vm;
struct block;

struct block_ops {
	const char *name; /* for `stat` */
	/*
	 * Copy n bytes at pos, all of them on the disk, to or from guest memory that is RAM. 0 or -EIO, -ENOMEM (there is no
	 * room for what is written). Called with a VM's device lock held; at most BLOCK_STEP bytes, so that it ends soon.
	 */
	int (*read)(struct block *b, u64 pos, struct vm *vm, gpa_t to, u64 n);
	int (*write)(struct block *b, u64 pos, struct vm *vm, gpa_t from, u64 n); /* NULL: read-only */
	int (*read_phys)(struct block *b, u64 pos, hpa_t to, u64 n); /* for an overlay, into memory of its own */
	int (*zero)(struct block *b, u64 pos, u64 n);
	int (*discard)(struct block *b, u64 pos, u64 n); /* NULL: it has no use for it */
	int (*flush)(struct block *b); /* NULL: what is written is as safe as it gets */
	void (*close)(struct block *b);
};

#define BLOCK_STEP KIB(32)
#define BLOCK_SECTOR 512u

struct block {
	const struct block_ops *ops;
	u64 size; /* bytes, whole sectors */
	u32 sector;    /* logical: 512 or 4096 */
	bool readonly;
	u64 reads, writes, read_bytes, written_bytes, flushes, errors; /* for `stat` */
};

/* Open what a disk of a VM file names, for VM `owner` (frames are its). NULL: `why` (size n) says it. */
struct vm_disk;
struct block *block_open(const struct vm_disk *disk, u16 owner, char *why, size_t n);
/* The same for what stands behind another backend's prefix. */
struct block *block_open_target(const char *target, const struct vm_disk *disk, u16 owner, char *why, size_t n);
void block_close(struct block *b);

/* A backend registers itself in a linker section, as devices do. */
struct block_kind {
	const char *prefix; /* of its targets, with the colon; "": of those that have no other's */
	struct block *(*open)(const char *target, const struct vm_disk *disk, u16 owner, char *why, size_t n);
};
#define BLOCK_REGISTER(k) static const struct block_kind *const k##_entry __used __section("blocks") = &(k)
