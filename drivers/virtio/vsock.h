/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How guests' socket devices (virtio 1.2, 5.10) meet: vsock.c is the device, with its queues; each has a port of the hub
 * (vsock_hub.c), which knows who may talk with whom and which connections there are; vsock_monitor.c is who answers at CID 2.
 *
 * A packet is copied from its sender's buffers into the receiver's inbox, a ring of bytes, and from there into the receiver's
 * buffers, for nobody holds the device locks of two VMs. Nothing is lost on the way: who finds no room is told so, keeps the
 * packet in its queue, and has vdev_work() called when there is some.
 *
 * All of it with interrupts off and the device lock of the port's VM held. The hub's own lock (LOCK_SWITCH) is inside.
 */
#pragma once
#include "drivers/virtio/virtio.h"
#include "lib/list.h"

struct vm_vsock;

#define VSOCK_INBOX	KIB(256)
#define VSOCK_MAX_DATA	KIB(64) /* of a packet: what drivers send at most */
#define VSOCK_REPLIES	64u	/* as many find room in an inbox that is full for others */
#define VSOCK_CONNS	256u	/* of a port, and */
#define VSOCK_PER_PEER	64u	/* with one peer */
#define VSOCK_MONITOR	2u	/* the port at CID 2 */

/* As one of its two ends has it. */
struct vsock_conn {
	u32 cid; /* the other end's; 0: the place is free */
	u32 port, peer_port;
	u32 rst_at; /* dying: when the inbox has been emptied up to here the guest is told */
	bool dying;
};

struct vsock_count {
	u64 sent, sent_bytes, received, received_bytes; /* bytes of data alone */
	u64 refused;				       /* packets that were answered by RST */
	u64 dropped;				       /* in another's name */
	u64 resets; /* connections that the host ended: their other end was gone, or did not take what came */
};

struct vsock_port {
	struct list node;
	struct vdev *d;
	u32 cid;
	u64 epoch; /* no two ports of the host's have the same */
	bool up;   /* a driver runs */
	bool waits, wanted; /* it has packets for an inbox without room; others have some for its own */
	bool mid;	    /* a part of the packet `cur` has been taken from the inbox, and cur.len is what is left */
	struct vsock_hdr cur;
	u32 head, tail; /* of the inbox; free-running */
	u32 nr_dying;
	struct vsock_count count;
	struct vsock_conn conns[VSOCK_CONNS];
	u8 *inbox;
};

/* A packet for the guest, hdr.len bytes of data in two pieces, which are valid until vsock_took(). */
struct vsock_packet {
	struct vsock_hdr hdr;
	const u8 *part[2];
	u32 part_len[2];
	void *from; /* a session of the monitor's; NULL: the inbox; the port itself: one that was not in it */
};

/* NULL: `why` (size n) says it. */
struct vsock_port *vsock_open(struct vdev *d, const struct vm_vsock *cfg, char *why, size_t n);
void vsock_close(struct vsock_port *p); /* p may be NULL */
/* All its connections have ended, and nothing is on its way to it. up: a driver is there that may have new ones. */
void vsock_hang_up(struct vsock_port *p, bool up);

enum vsock_sent { VSOCK_SENT, VSOCK_WAIT };
/* The packet with this header, whose data lies behind it in c, which has that many bytes. SENT: it is in an inbox, or was
 * answered by RST. There is room for an answer (vsock_may_send()). */
enum vsock_sent vsock_send(struct vsock_port *p, const struct vsock_hdr *h, const struct virtq_chain *c);
bool vsock_may_send(const struct vsock_port *p);
/* The same for one that has waited too long: its connection ends. */
void vsock_give_up(struct vsock_port *p, const struct vsock_hdr *h);

/* What the guest is to get next; false: nothing. */
bool vsock_next(struct vsock_port *p, struct vsock_packet *k);
void vsock_took(struct vsock_port *p, const struct vsock_packet *k, u32 n); /* and n bytes of data */

/* --- for the monitor's verbs, no lock of LOCK_SWITCH or later held: of the VM with this id; false: it has no such device --- */
struct vsock_stat {
	u32 cid, conns;
	struct vsock_count count;
};
bool vsock_stat(u16 owner, struct vsock_stat *st);

/* --- vsock_monitor.c, under the hub's lock --- */
void vsock_monitor_open(void); /* a VM is there that may talk to it; the boot CPU */
/* A packet to CID 2 from a VM that may talk to it, or one that is none (bad). false: RST is the answer. */
bool vsock_monitor_send(struct vsock_port *p, const struct vsock_hdr *h, const struct virtq_chain *c, bool bad);
bool vsock_monitor_next(struct vsock_port *p, struct vsock_packet *k);
void vsock_monitor_took(const struct vsock_packet *k, u32 n);
void vsock_monitor_hang_up(struct vsock_port *p);
void vsock_lock(void);
void vsock_unlock(void);
