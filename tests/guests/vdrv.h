/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A minimal driver for virtio devices (virtio 1.2), for guests of our own: finds one on the PCI bus or on MMIO, negotiates, sets up
 * split or packed queues, adds chains, takes them back, by MSI-X or by looking. It checks nothing that it need not: what it
 * is for is to ask the device for things, wrong ones included.
 */
#pragma once
#include "pcicfg.h"

#define F_INDIRECT  (1ull << 28)
#define F_EVENT_IDX (1ull << 29)
#define F_VERSION_1 (1ull << 32)
#define F_PACKED    (1ull << 34)
#define F_RESET	    (1ull << 40)

/* 4.1.4.3 */
enum { C_DEVICE_SELECT = 0, C_DEVICE = 4, C_DRIVER_SELECT = 8, C_DRIVER = 12, C_CONFIG_VECTOR = 16, C_QUEUES = 18, C_STATUS = 20,
       C_SELECT = 22, C_SIZE = 24, C_VECTOR = 26, C_ENABLE = 28, C_DESC = 32, C_AVAIL = 40, C_USED = 48, C_RESET = 58, C_END = 60 };

enum { VDESC_NEXT = 1, VDESC_WRITE = 2, VDESC_INDIRECT = 4, VDESC_AVAIL = 0x80, VDESC_USED = 0x8000 };

#define VQ_SIZE 256u
#define VDRV_QUEUES 10u
#define MIN_OF(a, b) ((a) < (b) ? (a) : (b))

struct vdesc {
	u64 addr;
	u32 len;
	u16 flags, next; /* packed: id, flags */
};
struct vused {
	u32 id, len;
};
/* The memory of a queue, as the device sees it; of VQ_SIZE it is the legacy interface's, too (2.7.2). */
struct vring {
	struct vdesc desc[VQ_SIZE];
	u16 driver[4 + VQ_SIZE]; /* avail ring, or driver event suppression */
	u16 device[4 + 4 * VQ_SIZE] __attribute__((aligned(4096)));
} __attribute__((aligned(4096)));

struct vq {
	struct vring *ring;
	u16 index, size, next, used; /* next: free descriptor; used: how far we have taken chains back */
	u16 avail;		     /* split: what avail.idx is to become */
	bool packed, event_idx, avail_wrap, used_wrap;
	u16 taken[VQ_SIZE];	     /* packed: descriptors of buffer id */
};

struct vdrv {
	unsigned slot;
	u16 notify; /* port */
	u64 mmio;   /* the registers, if it is on MMIO; else 0 */
	u8 pin;	    /* of the I/O APIC, then */
	u64 common, isr, config;
	u64 features;
	struct vq q[VDRV_QUEUES];
};

struct vbuf {
	void *at;
	u32 len;
};

void *memset(void *d, int c, size_t n);

/* The nth device of this type (virtio 1.2, 5). */
bool vdrv_find(struct vdrv *d, u16 type, unsigned nth);
/* The same among the places where Dalang has those on MMIO. */
bool vdrv_find_mmio(struct vdrv *d, u16 type, unsigned nth);
/* Reset it, take of `want` what it offers, set up nr queues of `size`, vector `vec` for each (0: none). */
bool vdrv_start(struct vdrv *d, u64 want, unsigned nr, u16 size, u8 vec);
/* The same by the legacy interface, from a device that is reset: queues have VQ_SIZE. */
bool vdrv_start_legacy(struct vdrv *d, u64 want, unsigned nr);
void vdrv_reset(struct vdrv *d);
u64 vdrv_offered(struct vdrv *d);
u8 vdrv_status(struct vdrv *d);
/* On MMIO an interrupt's handler tells the device that it has been here. */
void vdrv_ack(struct vdrv *d);
/* Reset queue i alone (F_RESET); it has nothing left when this returns. */
void vq_reset(struct vdrv *d, unsigned i);
/* Queue i anew, after its reset. */
void vq_setup(struct vdrv *d, unsigned i, u16 size, u8 vec);
/* Add a chain: out buffers first. Its id. The device sees it from vq_publish() on. */
u16 vq_add(struct vq *q, const struct vbuf *b, unsigned out, unsigned in);
void vq_publish(struct vq *q);
/* Does it want to be notified? */
bool vq_should_kick(const struct vq *q);
static inline void vq_kick(const struct vdrv *d, const struct vq *q)
{
	if (d->mmio)
		mmio_write(d->mmio + 0x50, 4, q->index);
	else
		outw(d->notify, q->index);
}
/* A chain that came back: true; its id and bytes written. */
bool vq_take(struct vq *q, u16 *id, u32 *len);
/* Interrupt when the next one comes back, or never. */
void vq_interrupts(struct vq *q, bool on);
/* Interrupt when n more have come back than were taken. Has it EVENT_IDX; else with the next. */
void vq_wake_after(struct vq *q, u32 n);
/* Have n more come back than were taken? Packed: of one descriptor each. */
bool vq_has(const struct vq *q, u32 n);
/* Does it want to hear of what was added since q->avail was `before`? Packed: as vq_should_kick(). */
bool vq_wants_kick(const struct vq *q, u16 before);
