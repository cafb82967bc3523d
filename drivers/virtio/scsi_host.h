/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the SCSI host share: scsi.c (requests, media) and scsi_control.c (the other two queues). */
#pragma once
#include "drivers/virtio/scsi.h"
#include "drivers/virtio/virtio_pci.h"

enum { CONTROL, EVENTS, REQUESTS, QUEUES };

struct scsi {
	struct virtio virtio;
	u32 sense_size, cdb_size; /* 5.6.4: as the driver wants them */
	struct cd_drive drive[VM_MAX_DISKS];
};

struct scsi_read {
	struct vdev *d;
	u32 unit;
	bool busy, waiting; /* waiting: no piece of it is in flight */
	int err;
	u16 id, nr_ring, start;
	u32 head;	 /* bytes of its answer before the data */
	u32 sense_size;
	u64 in_len, tag; /* tag: the driver's, in 5.6.6.1 the id */
	u64 pos, done, total;
	struct block_req r; /* the last: the backend's bytes follow */
};

/* What is no state. */
struct scsi_host {
	struct scsi_medium {
		struct block *block; /* NULL: the drive is empty */
		struct scsi_read *read;
		bool leaving;
	} in[VM_MAX_DISKS];
	unsigned busy; /* drives that read */
	bool stayed;   /* something waits in the rings until one of them is free */
};

static inline struct scsi *state_of(const struct vdev *d)
{
	return d->state;
}
static inline struct scsi_host *host_of(const struct vdev *d)
{
	return d->priv;
}

/* Whom 8 bytes of 5.6.6.1 name: 1, target, and a single level LUN, of which there is 0. false: no target of ours. */
bool scsi_target(const struct vdev *d, const u8 lun[8], u32 *unit, bool *lun0);
void scsi_reset_drive(struct cd_drive *drive);
/* A turn of the control queue, and of the event queue. */
void scsi_run_control(struct vdev *d);
void scsi_run_events(struct vdev *d);
