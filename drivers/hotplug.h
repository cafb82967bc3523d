/* SPDX-License-Identifier: BSD-2-Clause */
/* What the monitor's verbs that plug disks and network cards in and out share. vm_list_lock is held, as in all verbs. */
#pragma once
#include "drivers/block.h"
#include "drivers/virtio/virtio.h"
#include "lib/cfg.h"
#include "vmm/monitor/verbs.h"

struct config_ctx; /* vmm/config_parse.h */

extern const struct virtio_model blk_pci, blk_mmio, net_pci; /* drivers/virtio/blk.c, net.c */
const struct block *blk_block(const struct vdev *d); /* what a disk's device reads; its VM's device lock is held */
/*
 * What is behind a device is torn out: new requests fail, and it is let go of as soon as none is in flight. true: that is
 * done. The device stays, a husk, until the guest ejects it: drivers of 6.1 wait for ever for one whose registers have
 * gone. The device lock is held.
 */
bool blk_tear(struct vdev *d);
bool net_tear(struct vdev *d);

/* Read the words behind the VM's name as one item of its file, by `add`, which puts it into ctx.out. false: c->why says
 * what is wrong with it. The device lock is held. */
bool plug_read(struct mon_call *c, bool (*add)(struct config_ctx *ctx, const struct cfg_item *it), void *out);
/* Plug in what the VM's configuration now has in place `unit`, and say so: as `name`. The device lock is held. */
enum mon_status plug_in(struct mon_call *c, const struct vdev_type *type, u32 unit, const char *name);
/*
 * A step of taking out: ask the guest, and come back until it has let go; or by force, tear(). unit is looked at in the
 * first step only (c->pos is 0), when there is such a device. The device lock is held.
 */
enum mon_status plug_out(struct mon_call *c, const struct vdev_type *type, u32 unit, bool (*tear)(struct vdev *d));
/* The device of that unit; NULL: there is none. The device lock is held. */
struct vdev *plug_find(struct vm *vm, const struct vdev_type *type, u32 unit);
/* The same of a disk, by PCI or by MMIO. */
struct vdev *plug_disk(struct vm *vm, u32 unit);
/* The SCSI host of its CD-ROM drives; NULL: it has none. */
struct vdev *plug_cdroms(struct vm *vm);
