/* SPDX-License-Identifier: BSD-2-Clause */
/* Between frame.c (the buddy allocator), heap.c, gpool.c and memsplit.c, which divides memory. */
#pragma once
#include "arch/x86_64/frame.h"

/* One a frame of our pool. */
struct frame {
	u32 next, prev; /* free blocks of one order; partly used slabs of one size. 0: end */
	union {
		u16 owner;
		u16 first_free; /* slab: number of the first free object */
	};
	u8 type; /* enum frame_type */
	u8 head; /* order + 1 in the first frame of a block, free or not; 0 in the others */
	u16 used; /* slab: objects handed out */
	u8 slab; /* slab: log2 of the object size; 0: not a slab */
	u8 pad;
};
static_assert(sizeof(struct frame) == 16, "16 bytes a frame: 0.4 % of our pool");

void frame_account(u16 owner, enum frame_type type, s32 frames); /* any pCPU */
bool frame_fails(void); /* is this allocation to fail? */
u64 heap_used(void);
struct frame *frame_of(hpa_t pa); /* panics if pa is not of our pool */
hpa_t frame_addr(u32 index);
u32 frame_index(hpa_t pa);
void frame_retype(hpa_t pa, enum frame_type type, u16 owner); /* a single frame, allocated */
struct frame *frame_at(u32 index);

struct mem_range {
	hpa_t base;
	u64 size;
};
#define OWN_MAX_RANGES 64
#define GUEST_MAX_RANGES 128
struct mem_split {
	u32 nr_own, nr_guest;
	struct mem_range own[OWN_MAX_RANGES];	  /* page aligned, below 4 GiB */
	struct mem_range guest[GUEST_MAX_RANGES]; /* 2 MiB aligned */
	hpa_t low_page;
	u64 lost;
};
/* Divide what the memory map calls usable. Pure. */
void mem_split(const struct boot_info *bi, struct mem_split *s);

/* Take over the ranges; table: zeroed memory for gpool_table_size() bytes. */
u64 gpool_table_size(const struct mem_split *s);
void gpool_init(const struct mem_split *s, void *table);
void gpool_get_stats(struct frame_stats *st);
