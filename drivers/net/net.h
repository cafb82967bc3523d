/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How network cards meet: a guest's (drivers/virtio/net.c) and the machine's (an uplink) are both ports of a bridge
 * (switch.c), and know of each other no more than this.
 *
 * A port has a ring of frames that go out to it. Who sends, sends with net_send(): the switch decides whose rings the
 * frame goes to and copies it there, once. At the end of a batch net_flush() tells each port that got something, by its
 * kick(). The port's owner then takes frames out, whenever he can, with net_peek() and net_next().
 *
 * Locks: one a bridge (LOCK_SWITCH), inside net_send(), net_flush() and what opens and closes ports; so a sender may hold
 * the device lock of his VM. kick() is called with it held, on the sender's pCPU: it takes no lock of class LOCK_SWITCH
 * or before, no device lock above all, and calls nothing here but net_peek() and net_next(). A guest's card has
 * vdev_work() called for it, an uplink may put frames into its hardware at once. Interrupts off, everywhere.
 */
#pragma once
#include "lib/types.h"

struct net_port;
struct net_rule;
struct vm_vif; /* vmm/config.h: bridge, VLANs, MAC, limits */

/* struct virtio_net_hdr without num_buffers (virtio 1.2, 5.1.6), which says what is still to be done to a frame. */
struct net_hdr {
	u8 flags, gso_type;
	u16 hdr_len, gso_size, csum_start, csum_offset;
};
static_assert(sizeof(struct net_hdr) == 10, "virtio 1.2, 5.1.6");
enum { NET_NEEDS_CSUM = 1, NET_DATA_VALID = 2 };			     /* flags */
enum { NET_GSO_NONE = 0, NET_GSO_TCPV4 = 1, NET_GSO_TCPV6 = 4, NET_GSO_ECN = 0x80 }; /* gso_type */

#define NET_ETH_HDR   14u
#define NET_MAX_FRAME 65550u /* Ethernet header and 64 KiB: with segmentation still to be done */
#define NET_MAX_PLAIN 9234u  /* without: MTU 9216 and a VLAN tag */
#define NET_HEAD      192u   /* as much of a frame as anybody looks at but to copy or sum it up */

/*
 * A frame to be sent, from its Ethernet header on, without preamble or FCS. head has the first head_len bytes: all of
 * it, or at least NET_HEAD; the switch believes nothing else. read() copies n bytes from off on, for what is behind
 * head; not 0: it cannot, and the frame is dropped. It is called with the bridge's lock held.
 */
struct net_frame {
	struct net_hdr hdr;
	u32 len, head_len;
	const u8 *head;
	int (*read)(const struct net_frame *f, u32 off, void *to, u32 n); /* NULL: head has all */
	void *arg;							   /* read()'s own */
};

/* A frame that waits in a port's ring. */
struct net_rx {
	u32 len;  /* of data */
	u32 hash; /* of its flow: the same for all of a flow, to choose a queue by */
	struct net_hdr hdr; /* only what the port said that it takes (NET_TAKES_*); DATA_VALID may be set */
	u16 pad[3];
	u8 data[];
};
static_assert(sizeof(struct net_rx) == 24, "data is aligned to 8");

/* What its owner takes in frames, beside whole ones: virtio's GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_ECN. */
enum { NET_TAKES_CSUM = 1, NET_TAKES_TSO4 = 2, NET_TAKES_TSO6 = 4, NET_TAKES_ECN = 8 };

struct net_port_ops {
	const char *kind; /* "virtio-net", "uplink": for `stat` */
	/* Frames wait; see above. Called again only after a later net_send(), so take all, or come back by yourself. */
	void (*kick)(struct net_port *p);
	/* The link goes up or down by the monitor's word (net_link()). May be NULL. As kick(). */
	void (*link)(struct net_port *p);
	/* Its VM has ended and is only there to be looked at: its MAC may be another's. May be NULL: never. */
	bool (*ended)(const struct net_port *p);
};

/*
 * A port on the bridge that vif names, which is made when it is the first one. owner, index: which card of which VM (or
 * OWNER_HOST and which NIC); its memory is the owner's. NULL: `why` (size n) says it: no memory, the bridge has all its
 * ports, or one with this MAC. No lock of class LOCK_BRIDGES or later is held. It takes plain frames
 * (net_set_takes()), and its link is up.
 */
struct net_port *net_open(const struct net_port_ops *ops, void *priv, const struct vm_vif *vif, u16 owner, u32 index,
			  char *why, size_t n);
/* When this returns nobody calls the port any more. p may be NULL. */
void net_close(struct net_port *p);
void *net_priv(const struct net_port *p);
/* What its owner takes from now on; what waits in its ring is dropped, for it may be more. After a reset: 0. */
void net_set_takes(struct net_port *p, u32 takes);
u32 net_takes(const struct net_port *p);
void net_refused(struct net_port *p); /* its owner could not take a frame, which is counted */
bool net_link(const struct net_port *p);
/* The lines of its firewall that are for this card (config.h); 0: it has none. 0 or -ENOMEM. */
int net_set_rules(u16 owner, u32 index, const struct net_rule *rules, u32 nr);

/* --- sending --- */
/* Send one frame: it is copied, or dropped and counted. Bounded: a copy for each port that gets it; returns of how many
 * ports it was looked at whether they do. */
u32 net_send(struct net_port *p, const struct net_frame *f);
void net_flush(struct net_port *p);
/* rate= in its vif: how many ns it has to wait before it sends the next frame; 0: none, nearly always. */
u64 net_send_wait(struct net_port *p);

/* --- receiving: one at a time for each port, by a lock of its owner's. Needs no lock of the bridge's. --- */
const struct net_rx *net_peek(struct net_port *p); /* the oldest frame; NULL: none. Valid until net_next() */
void net_next(struct net_port *p);		    /* done with it */
