/* SPDX-License-Identifier: BSD-2-Clause */
/* What the network card's two files share (virtio 1.2, 5.1). The VM's device lock is held. */
#pragma once
#include "drivers/net/net.h"
#include "drivers/virtio/virtio.h"
#include "vmm/config.h"

#define NET_F_OFFLOADS (NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN)

/* 5.1.6.5: class << 8 | command */
enum {
	CTRL_PROMISC = 0x000, CTRL_ALLMULTI, CTRL_ALLUNI, CTRL_NOMULTI, CTRL_NOUNI, CTRL_NOBCAST,
	CTRL_MAC_TABLE = 0x100, CTRL_MAC_ADDR,
	CTRL_VLAN_ADD = 0x200, CTRL_VLAN_DEL,
	CTRL_ANNOUNCE_ACK = 0x300,
	CTRL_MQ_PAIRS = 0x400,
	CTRL_OFFLOADS = 0x500
};
enum { CTRL_OK, CTRL_ERR };
#define NR_MODES (CTRL_NOBCAST + 1)

#define MAX_PAIRS 8u
#define MAX_MACS  32u /* of each kind; more of them: all are let in, as 5.1.6.5.2 allows */

struct net {
	struct virtio virtio;
	u64 offloads; /* of NET_F_OFFLOADS: those in use */
	u64 sent_ns;  /* when a frame went of which the driver has not been told */
	u16 pairs;    /* in use */
	u8 mac[6];    /* as the driver has set it */
	u8 mode[NR_MODES], link, announce;
	u16 nr_macs[2]; /* unicast, multicast; MAX_MACS + 1: all */
	u8 macs[2][MAX_MACS][6];
	u32 pad;
	u64 vlans[64];
};

static inline struct net *net_of(const struct vdev *d)
{
	return d->state;
}

/* NULL: it has been torn out. */
static inline struct net_port *port_of(const struct vdev *d)
{
	return d->priv;
}

static inline const struct vm_vif *vif_of(const struct vdev *d)
{
	return vm_vif(d->vm, d->unit);
}

static inline unsigned net_max_pairs(const struct vdev *d)
{
	return vif_of(d)->queues;
}

/* --- net.c --- */
/* The device has its next turn when others have had theirs; wait_ns later, if that is not 0. */
void net_turn(struct vdev *d, u64 wait_ns);
/* Tell the port what the driver has taken of offloads. */
void net_tell_takes(struct vdev *d);
/* --- net_ctrl.c --- */
void net_run_ctrl(struct vdev *d, unsigned queue); /* the driver has put commands into its queue */
