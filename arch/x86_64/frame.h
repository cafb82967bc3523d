/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Physical memory, split at boot into two pools.
 *
 * Ours: mapped in the direct map, 4 KiB frames, buddy allocator. Page tables, VM structures, files
 * are NOT in it (they stay where the loader put them and are read through windows).
 * The guests': in no global map, handed out in 2 MiB blocks that can be split into 4 KiB frames;
 * reached through windows (window.h) only.
 */
#pragma once
#include "lib/types.h"
#include "boot/boot_info.h"

enum frame_type {
	FRAME_FREE, FRAME_BOOT, FRAME_PT, FRAME_NESTED_PT, FRAME_VM, FRAME_VCPU, FRAME_PCPU,
	FRAME_DEVICE, FRAME_HEAP, FRAME_GUEST_RAM, FRAME_BAD, FRAME_NR_TYPES
};
#define OWNER_HOST 0 /* owners above are VM ids */
/* Owners have accounts, by their number modulo this: of those that hold something no two may share one. */
#define FRAME_MAX_OWNERS 1024

/* Build both pools from the memory map. Boot CPU, once, with the boot mappings. Panics only if
 * bi gives less than `FRAME_MIN_MEMORY`; call frame_check_memory() first for the polite refusal. */
void frame_init(const struct boot_info *bi);
#define FRAME_MIN_MEMORY MIB(48)
u64 frame_usable_bytes(const struct boot_info *bi);

/*
 * Our pool. 2^order contiguous zeroed frames; HPA_NONE when there are none. Any pCPU (a spinlock
 * inside, not for the exit path: see frame_reserve). `owner` is a VM id or OWNER_HOST.
 */
hpa_t frame_alloc(unsigned order, enum frame_type type, u16 owner);
void frame_free(hpa_t pa, unsigned order);
void *frame_va(hpa_t pa);	 /* direct-map address of a frame of our pool */
hpa_t frame_pa(const void *va);	 /* and back; also for addresses inside the image */
/* Zeroed objects of our own, from our pool: small ones, and tables of up to KZALLOC_MAX (the blocks
 * of a VM of 8 TiB). NULL when out of memory. */
#define KZALLOC_MAX MIB(32)
void *kzalloc(size_t size, enum frame_type type, u16 owner);
void kfree(void *p);

/*
 * The exit path's per-pCPU reserve of single frames: takes no lock. HPA_NONE when empty: the vCPU
 * parks until frame_reserve_refill() (run from the run loop) has been called.
 */
hpa_t frame_reserve_take(enum frame_type type, u16 owner);
bool frame_reserve_refill(void); /* false: our pool is empty too */

/* The guests' pool. 2 MiB aligned block, not zeroed; HPA_NONE when there is none. */
hpa_t gpool_alloc_block(u16 owner);
/* Drop one reference; the block goes back to the pool when none is left and nothing is pinned.
 * Its content is zeroed before it is handed out to another owner (gpool_zero_block). */
void gpool_put_block(hpa_t block);
/* 512 blocks that make up one aligned GiB, each with a reference of its own; HPA_NONE when there is no such run. */
hpa_t gpool_alloc_gib(u16 owner);
void gpool_get_block(hpa_t block);
void gpool_pin(hpa_t block);
void gpool_unpin(hpa_t block);
/* Zero a block through a window, in steps: about 2 MiB / 16 a call; returns true when done.
 * *pos starts at 0 and is the caller's to keep. */
bool gpool_zero_block(hpa_t block, u64 *pos);

/* Does the range touch the guests' pool? For paging_check(). */
bool gpool_overlaps(hpa_t pa, u64 size);
/* A page below 1 MiB that nothing else uses, for starting CPUs; HPA_NONE if firmware left none. */
hpa_t frame_low_page(void);
/* Call fn for each range of our pool, in no order. */
void frame_for_each_range(void (*fn)(void *arg, hpa_t base, u64 size), void *arg);
/* Where physical address 0 would be in the direct map; unit tests put their arena there. */
extern u64 frame_direct_base;

struct frame_stats {
	u64 own_total, own_free, guest_total, guest_free; /* bytes */
	u64 lost; /* usable bytes in neither pool: crumbs above 4 GiB, below 1 MiB, too many ranges */
	u64 heap_used; /* of FRAME_HEAP: in objects that are handed out */
	u64 by_type[FRAME_NR_TYPES]; /* FRAME_GUEST_RAM is the guests' pool's */
};
void frame_get_stats(struct frame_stats *st);
/* What one owner holds of both pools, in bytes by type. (Small objects count as the host's heap.) */
void frame_get_owner(u16 owner, u64 by_type[FRAME_NR_TYPES]);
/* A number above OWNER_HOST whose account is empty; OWNER_HOST if there is none. Any pCPU. */
u16 frame_new_owner(void);
/* Nobody has seen this number that frame_new_owner() gave: it may give it again. */
void frame_drop_owner(u16 owner);

/*
 * For tests of what happens when memory is used up: the nth allocation from now on, of our pool or of the
 * guests', fails as if there was none; 0: none will. Returns whether the one set before did. The exit path's
 * reserve does not count.
 */
bool frame_fail_at(u32 n);
bool gpool_fail_at(u32 n);
