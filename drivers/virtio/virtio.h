/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio device (virtio 1.2, section 2) as its two neighbours see it. Above, a transport (virtio_pci.c, virtio_mmio.c) shows
 * it to the guest. Below, a kind of device (blk.c, net.c...), one const struct each, does what the queues ask for. What the
 * two share is here: status, features, queues, and the end of all of it, DEVICE_NEEDS_RESET.
 *
 * struct virtio begins each device's state: plain data. Called with the VM's device lock held.
 */
#pragma once
#include "drivers/virtio/abi.h"
#include "drivers/virtio/virtq.h"
#include "vmm/platform/pci.h"
#include "vmm/vdev.h"

/* What every device here offers to a modern driver. */
#define VIRTIO_F_COMMON (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX | VIRTIO_F_VERSION_1 | \
			 VIRTIO_F_RING_PACKED | VIRTIO_F_RING_RESET)

#define VIRTIO_MAX_QUEUES 18u /* net: 8 pairs and the control queue */
#define VIRTIO_MAX_CONFIG 64u

enum { VIRTIO_ISR_QUEUE = 1, VIRTIO_ISR_CONFIG = 2 }; /* 4.1.4.5 */

/* The state that all devices have. */
struct virtio {
	u64 features;	  /* that the driver has accepted */
	u32 feature_select, driver_feature_select;
	u32 errors;	  /* rings and requests that were none, since power-on */
	u16 queue_select, config_vector;
	u8 status, isr, generation, legacy; /* legacy: the driver uses the legacy interface */
	u8 resetting; /* 2.4.1: the driver wants a reset, which waits until nothing is in flight */
	u8 pad0[7];
	u16 queue_vector[VIRTIO_MAX_QUEUES];
	u16 pad[2];
	struct virtq queue[VIRTIO_MAX_QUEUES];
};

#define VIRTIO_TIMERS 1u /* each device has */

/* A kind of device. Callbacks may be NULL where there is nothing to do. */
struct virtio_type {
	u16 config_size; /* at most VIRTIO_MAX_CONFIG */
	u16 queue_size;	 /* of every queue: a power of two up to VIRTQ_MAX_SIZE */
	u16 max_queues;	 /* at most VIRTIO_MAX_QUEUES */
	unsigned (*nr_queues)(const struct vdev *d); /* at most max_queues; NULL: so many */
	u64 (*features)(const struct vdev *d);	     /* of its own, that this one offers */
	void (*reset)(struct vdev *d);		     /* by the driver or the board; queues are reset already */
	void (*config)(const struct vdev *d, u8 *bytes); /* fill in config_size of them */
	void (*config_write)(struct vdev *d, unsigned off, unsigned size, u32 val);
	void (*started)(struct vdev *d); /* DRIVER_OK */
	void (*kick)(struct vdev *d, unsigned queue);	 /* the driver has added to an enabled queue; DRIVER_OK is set */
	/*
	 * A queue is going to be reset: let go of its chains, none of them is to be pushed any more. true: some are in flight;
	 * the device calls virtio_idle() when none is.
	 */
	bool (*queue_reset)(struct vdev *d, unsigned queue);
	bool (*valid)(const void *state); /* as vdev_type.valid, of what lies behind struct virtio */
	/* As those of struct vdev_type, but that no registers are made in init(). */
	int (*init)(struct vdev *d);
	void (*destroy)(struct vdev *d);
	void (*timer)(struct vdev *d, unsigned idx); /* 0: look at the queues again; virtio_pop() may set it, too */
	void (*work)(struct vdev *d);
};

/* --- for devices --- */
static inline struct virtio *virtio_of(const struct vdev *d)
{
	return d->state;
}
static inline bool virtio_has(const struct vdev *d, u64 feature)
{
	return virtio_of(d)->features & feature;
}
/* The queue, if it may be worked on: enabled, not being reset, driver and device both well. Else NULL. */
static inline struct virtq *virtio_queue(const struct vdev *d, unsigned queue)
{
	struct virtio *v = virtio_of(d);

	return likely(queue < VIRTIO_MAX_QUEUES && v->queue[queue].live) ? &v->queue[queue] : NULL;
}
/* The next chain of it: false: there is none, or the ring is broken, which has been dealt with. */
bool virtio_pop(struct vdev *d, unsigned queue, struct virtq_chain *c);
/* Say whether the driver is to notify of more chains. true: there are some already, look again - but not if they wait for
 * memory, for then timer 0 is set. */
static inline bool virtio_set_kicks(struct vdev *d, unsigned queue, bool on)
{
	struct virtq *q = virtio_queue(d, queue);

	return q && virtq_set_kicks(d->vm, q, on) && !q->waits;
}
/* Timer 0 at the latest at `at`; 0: as soon as others have had their turn. */
static inline void virtio_turn(struct vdev *d, u64 at)
{
	vdev_timer_sooner(d, 0, at);
}
/* Is there memory behind all that c names? false: not yet, a block has been given a turn, and timer 0 is set. */
bool virtio_prepared(struct vdev *d, const struct virtq_chain *c);
/* The same as virtio_pop(), as it is: its ranges may have no memory behind them (gmem_prepare()). */
bool virtio_take(struct vdev *d, unsigned queue, struct virtq_chain *c);
void virtio_push(struct vdev *d, unsigned queue, const struct virtq_chain *c, u32 written);
/* Nothing of this queue is in flight any more: a reset that waits for it may go on. */
void virtio_idle(struct vdev *d, unsigned queue);
/* Chains have been pushed: interrupt the driver if it wants to be. */
void virtio_signal(struct vdev *d, unsigned queue);
/* The same for what can wait, but for a quarter of the ring. true: the driver wants an interrupt and
 * has not got it; virtio_signal() is to come, if next_used still is not `signalled`. */
bool virtio_signal_later(struct vdev *d, unsigned queue);
/* The device's configuration has changed (2.5): a new generation, and an interrupt. */
void virtio_config_changed(struct vdev *d);
/* The driver did what no driver may: DEVICE_NEEDS_RESET, counted, and in the log the 1st, 2nd, 4th, 8th... time. */
void virtio_broken(struct vdev *d, const char *what);

/* --- for transports --- */

struct virtio_transport {
	int (*init)(struct vdev *d); /* the registers; 0 or -errno */
	void (*interrupt)(struct vdev *d, u16 vector, u8 isr);
	void (*silence)(struct vdev *d); /* reset: no interrupt is pending any more */
};
/* A kind of device behind one transport: what stands in the section of devices. */
struct virtio_model {
	struct vdev_type vdev;
	struct pci_ident ident; /* of the PCI transport */
	u32 id;			/* 5 */
	const struct virtio_type *virtio;
	const struct virtio_transport *transport;
};
static inline const struct virtio_model *virtio_model_of(const struct vdev *d)
{
	return container_of(d->type, struct virtio_model, vdev);
}
static inline const struct virtio_type *virtio_type_of(const struct vdev *d)
{
	return virtio_model_of(d)->virtio;
}

/* What struct vdev_type of every model has. */
int virtio_init(struct vdev *d);
void virtio_destroy(struct vdev *d);
void virtio_timer(struct vdev *d, unsigned idx);
void virtio_work(struct vdev *d);
void virtio_reset(struct vdev *d);
unsigned virtio_nr_queues(const struct vdev *d);
u64 virtio_offered(const struct vdev *d);
struct virtq *virtio_selected(const struct vdev *d); /* by queue_select; NULL: there is none of that number */
void virtio_set_queue_size(const struct vdev *d, struct virtq *q, u64 size); /* whether it is a good one, enabling says */
u32 virtio_offered_half(const struct vdev *d); /* that feature_select names; and what the driver writes into its half: */
void virtio_accept_half(struct vdev *d, u32 val);
void virtio_accept(struct vdev *d, u64 features); /* what the driver writes; ignored once FEATURES_OK is set */
void virtio_set_status(struct vdev *d, u8 status); /* 0 resets */
void virtio_enable_queue(struct vdev *d, unsigned queue);
void virtio_reset_queue(struct vdev *d, unsigned queue); /* if the driver has RING_RESET */
void virtio_drop_queue(struct vdev *d, unsigned queue);
void virtio_kick(struct vdev *d, unsigned queue); /* any number */
u64 virtio_config_read(struct vdev *d, u64 off, unsigned size); /* all ones behind its end */
void virtio_config_write(struct vdev *d, u64 off, unsigned size, u64 val);
bool virtio_valid(const struct virtio_type *t, const void *state);
