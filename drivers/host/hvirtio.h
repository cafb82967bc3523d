/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's own virtio devices (virtio 1.2; modern ones and the modern side of transitional ones), as their drivers
 * here see them: finding and starting one (hvirtio.c), its split rings (hvirtq.c).
 *
 * A device is trusted with our memory, for it could write anywhere; but nothing that it says is used as an index or a length
 * before it has been looked at. One that breaks a ring is dead: hvq_get() says so, and its driver resets it.
 */
#pragma once
#include "arch/x86_64/pci.h"
#include "drivers/virtio/abi.h"

struct hvirtio {
	struct pci_dev pci;
	volatile u8 *common, *notify, *config; /* 4.1.4 */
	u32 notify_multiplier, notify_len, config_len;
	u64 features;
	volatile u32 *msix;
	u32 nr_msix;
};

/* A split ring (2.7) and what is in it. */
#define HVQ_MAX_SIZE 256u
#define HVQ_NOBODY   0xffffu
struct hvq {
	volatile u8 *notify;
	struct virtq_desc *desc;
	u16 *avail;	    /* flags, idx, ring[size], used_event */
	u8 *used;	    /* flags, idx, {id, len}[size], avail_event */
	u16 index, size, free, nr_free;
	u16 avail_idx, used_idx, kicked_idx;
	bool event_idx, dead;
	u16 token[HVQ_MAX_SIZE]; /* by head: the driver's; HVQ_NOBODY: not in flight */
	u16 chain[HVQ_MAX_SIZE]; /* by head: its descriptors */
	u16 next[HVQ_MAX_SIZE];	 /* what follows in a chain or among the free: where the device cannot reach it */
};

struct hvq_seg {
	hpa_t addr;
	u32 len;
};

/* The i-th of the machine's devices of that kind: a PCI function; NULL: there are no more. */
const struct pci_dev *hvirtio_find(u32 kind, u32 i);
/* Reset it, map its registers and agree on those of `wanted` that it has. NULL, or what is wrong with it. */
const char *hvirtio_start(struct hvirtio *v, const struct pci_dev *pci, u64 wanted);
/* A ring for queue `index`, of at most max descriptors (a power of two), whose interrupts come to the boot CPU by `vector`.
 * Before hvirtio_ready(). NULL, or what is wrong. */
const char *hvirtio_queue(struct hvirtio *v, struct hvq *q, u16 index, u16 max, u8 vector);
void hvirtio_ready(struct hvirtio *v);
/* Reset: when this returns the device no longer touches memory: if it does not answer, it is kept from it. */
void hvirtio_stop(struct hvirtio *v);
/* Device-specific configuration: size 1, 2, 4 or 8; 0 for what it has not. What is longer is read again if it changed. */
u64 hvirtio_config(const struct hvirtio *v, u32 off, unsigned size);
static inline bool hvirtio_has(const struct hvirtio *v, u64 feature)
{
	return v->features & feature;
}

/* --- hvirtq.c: callers have a lock a queue --- */
size_t hvq_bytes(u16 size); /* of memory that a ring takes, one behind the other, aligned as a page is */
void hvq_init(struct hvq *q, u16 size, void *memory, bool event_idx);
hpa_t hvq_avail_at(const struct hvq *q);
hpa_t hvq_used_at(const struct hvq *q);
/* Queue n segments, the first nr_out of them for the device to read. `token` is what hvq_get() gives back. 0; -ENOSPC: not
 * so many descriptors are free; -EIO: dead. The device sees it after hvq_publish(). */
int hvq_add(struct hvq *q, const struct hvq_seg *segs, u32 n, u32 nr_out, u16 token);
/* The same with one descriptor, for a table of n that lies at `table` (hvq_fill() writes one). */
int hvq_add_table(struct hvq *q, hpa_t table, u32 n, u16 token);
void hvq_fill(struct virtq_desc *table, const struct hvq_seg *segs, u32 n, u32 nr_out);
/* Show the device what was queued; true: it wants to be notified (hvq_kick()). */
bool hvq_publish(struct hvq *q);
void hvq_kick(const struct hvq *q);
/* The next that the device has finished, with the bytes it says it wrote. false: none, or dead. */
bool hvq_get(struct hvq *q, u16 *token, u32 *len);
/* Ask for an interrupt when there is more; true: there is already. */
bool hvq_more(struct hvq *q);
