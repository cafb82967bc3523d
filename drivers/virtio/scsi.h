/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A CD-ROM drive's commands (scsi_cd.c), of which the SCSI host (scsi.c) knows nothing but their answers; and what the
 * monitor does to a drive.
 */
#pragma once
#include "drivers/block.h"
#include "drivers/virtio/virtio.h"

#define CD_BLOCK 2048u

/* Conditions that the next command is told of (SPC-4, 5.14). */
enum { CD_WAS_RESET = 1, CD_MEDIUM_CHANGED = 2 };
/* Media events (MMC-6, 6.6.2.5.3). */
enum { CD_NO_EVENT, CD_EJECT_REQUEST, CD_NEW_MEDIA, CD_MEDIA_REMOVAL };

/* A drive's state: plain data, of which every value is a good one but for the bools. */
struct cd_drive {
	u8 attention; /* of the conditions above */
	u8 event;     /* the newest that has not been asked for */
	u8 open;      /* bool: its tray is out */
	u8 locked;    /* bool: the driver wants the medium to stay */
	u8 subscribed, notify; /* bools: the driver wants to hear of media events; there is one to be told */
	u8 pad[2];
};

/* Key, additional sense code and its qualifier (SPC-4, annex D). */
#define CD_SENSE(key, asc, ascq) ((u32)(key) << 16 | (asc) << 8 | (ascq))
#define CD_SENSE_READ_ERROR	 CD_SENSE(3, 0x11, 0x00)
#define CD_SENSE_SIZE		 18u
#define CD_CDB_SIZE		 16u
#define CD_READ_MAX		 8192u /* blocks of a command */

struct cd_call {
	u8 cdb[CD_CDB_SIZE];
	struct cd_drive *drive;
	const char *serial;
	u64 blocks; /* of the medium; 0: there is none, or the driver is not to see it */
	/* The answer: */
	u32 sense;	/* 0: all went well */
	u32 len;	/* bytes of data[] that go to the driver; */
	u32 lba, count; /* or blocks of the medium, inside it */
	u8 data[256];
};

/* Carry it out, for the drive or for a logical unit that it does not have. */
void cd_command(struct cd_call *c);
void cd_command_no_unit(struct cd_call *c);
/* Sense data in the fixed format. */
void cd_sense(u32 sense, u8 out[CD_SENSE_SIZE]);

/* What keeps it from being a medium; NULL: nothing. */
static inline const char *cd_unfit(const struct block *b)
{
	return b->sector > CD_BLOCK ? "its sectors are larger than a CD's, which have 2048 bytes"
	       : b->size < CD_BLOCK ? "it has not one sector of 2048 bytes" : NULL;
}

/* --- scsi.c, for the monitor; the VM's device lock is held --- */

extern const struct virtio_model scsi_pci, scsi_mmio;
const struct block *scsi_medium(const struct vdev *d, u32 unit); /* NULL: none is in */
struct cd_drive *scsi_drive(const struct vdev *d, u32 unit);
/* Put in what the VM's configuration says, and close the tray; the drive is empty. 0 or -errno: `why` (size n) says it. */
int scsi_insert(struct vdev *d, u32 unit, char *why, size_t n);
/* Take the medium out, whether it is locked or not. false: it is being read; none but what is under way is begun any more,
 * so ask again soon, or take it back by scsi_keep(). */
bool scsi_eject(struct vdev *d, u32 unit);
void scsi_keep(struct vdev *d, u32 unit);
/* Somebody pressed the button of a locked drive: the driver is told. */
void scsi_eject_request(struct vdev *d, u32 unit);
