/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtqueue as the device sees it, split or packed (virtio 1.2, 2.7 and 2.8). What a driver may get wrong in a ring
 * is checked here and nowhere else: virtq_pop() copies each descriptor once and returns a bounded vector of
 * ranges that are RAM. Whoever gets an error sets DEVICE_NEEDS_RESET and leaves the queue alone until reset.
 *
 * Called with the VM's device lock held. Guest memory is little-endian, and so are we.
 */
#pragma once
#include "drivers/block.h"
#include "lib/types.h"

struct vm;

/* Also the longest chain (2.7.5.3.1), and so the bound of what one request may name. */
#define VIRTQ_MAX_SIZE 256u

/* As the driver has set it up, and how far we are: plain data, saved with the device. */
struct virtq {
	gpa_t desc, driver, device; /* 4.1.4.3: descriptor area, driver area, device area */
	u16 size;
	u8 enabled, packed, event_idx, indirect; /* the last three: negotiated features */
	u16 next_avail, next_used;  /* split: free-running; packed: below size */
	u8 avail_wrap, used_wrap;   /* packed: 2.8.1 */
	u8 told;		    /* `signalled` holds */
	u8 resetting;		    /* 2.6.1: until nothing is in flight */
	u16 signalled;		    /* next_used when the driver was last interrupted */
	u16 in_flight;		    /* chains (packed: descriptors) popped and not pushed yet */
	u16 seen;		    /* split: the driver's index when we last looked; ours until next_avail is there */
	u8 live;		    /* virtio.c: it may be worked on */
	u8 quiet;		    /* the driver is not to notify */
	u8 waits;		    /* its next chain waits for memory */
	u8 pad[3];
};

struct virtq_chain {
	u16 id;	     /* to be pushed: head (split) or buffer id (packed), */
	u16 nr_ring; /* and descriptors that it takes in a packed ring, */
	u16 start;   /* from this one on */
	u16 nr_out, nr_in; /* ranges that the driver wrote (first) and that the device may write */
	u64 out_len, in_len;
	struct block_range range[VIRTQ_MAX_SIZE];
};

/* The state of reset: disabled, of this size. */
void virtq_reset(struct virtq *q, u16 size);
/* Take the queue into use with its addresses and features as set: NULL, or what is wrong with them (2.7: size and
 * alignment; all of the ring must be RAM). */
const char *virtq_enable(struct vm *vm, struct virtq *q);
/* May these bytes from a saved state become the queue? */
bool virtq_valid(const struct virtq *q);

/* The next chain: 1; 0: none; -EINVAL: the driver broke the ring, *why says how. */
int virtq_pop(struct vm *vm, struct virtq *q, struct virtq_chain *c, const char **why);
/* Put the chain that was popped last, and not pushed, back into the ring. */
void virtq_unpop(struct virtq *q, const struct virtq_chain *c);
/* Read a chain anew that was popped and not pushed: id, start and nr_ring say which. 0 or -EINVAL, as above. */
int virtq_reread(struct vm *vm, const struct virtq *q, struct virtq_chain *c, const char **why);
/* Give a chain back, `written` bytes of it written. Any order. 0 or -EFAULT: the ring is no longer RAM. */
int virtq_push(struct vm *vm, struct virtq *q, const struct virtq_chain *c, u32 written);
/* After pushing: does the driver want an interrupt? (2.7.7, 2.7.10, 2.8.10) */
bool virtq_wants_irq(struct vm *vm, struct virtq *q);
/* Say whether the driver is to notify when it adds a chain. true: one is there already, look again. */
bool virtq_set_kicks(struct vm *vm, struct virtq *q, bool on);

/* Copy from what the driver wrote, from byte `off` of it; how many bytes there were, up to n. */
u64 virtq_read(struct vm *vm, const struct virtq_chain *c, u64 off, void *buf, u64 n);
/* Copy to what the device may write. */
u64 virtq_write(struct vm *vm, const struct virtq_chain *c, u64 off, const void *buf, u64 n);
/* A byte to what a chain named that is not at hand any more: 0 or -EFAULT. */
int virtq_store8(struct vm *vm, gpa_t gpa, u8 val);
/* Nothing is in the ring: what virtq_pop() would say, for less. */
bool virtq_idle(struct vm *vm, const struct virtq *q);
