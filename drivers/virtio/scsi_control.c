/* SPDX-License-Identifier: BSD-2-Clause */
/* The SCSI host: its control queue (virtio 1.2, 5.6.6.2), task management and notification, and its event queue (5.6.6.3). */
#include "drivers/virtio/scsi_host.h"
#include "lib/string.h"

#define TURN 8u /* control requests of a call */

bool scsi_target(const struct vdev *d, const u8 lun[8], u32 *unit, bool *lun0)
{
	*unit = lun[1];
	*lun0 = !(lun[2] & 0xbf) && !lun[3] && !lun[4] && !lun[5] && !lun[6] && !lun[7];
	return lun[0] == 1 && *unit < VM_MAX_DISKS && vm_cdroms(d->vm) >> *unit & 1;
}

void scsi_reset_drive(struct cd_drive *drive)
{
	drive->attention |= CD_WAS_RESET;
	drive->locked = 0;
}

/* All that came before it has been done? What still waits has a turn coming, or is held by a drive, whose end gives one. */
static bool all_done(struct vdev *d, u32 unit)
{
	const struct virtq *q = virtio_queue(d, REQUESTS);
	const struct scsi_medium *m = &host_of(d)->in[unit];

	return !(m->block && m->read->busy) && (!q || virtq_idle(d->vm, q));
}

/* The answer; -1: later. */
static int manage_tasks(struct vdev *d, const struct virtio_scsi_tmf *t)
{
	bool lun0, query = t->subtype == TMF_QUERY_TASK || t->subtype == TMF_QUERY_TASK_SET;
	const struct scsi_medium *m;
	u32 unit;

	if (!scsi_target(d, t->lun, &unit, &lun0))
		return SCSI_BAD_TARGET;
	if (!lun0 && t->subtype != TMF_I_T_NEXUS_RESET)
		return SCSI_INCORRECT_LUN;
	if (t->subtype > TMF_QUERY_TASK_SET || t->subtype == TMF_CLEAR_ACA)
		return SCSI_REJECTED;
	m = &host_of(d)->in[unit];
	if (query && m->block && m->read->busy && (t->subtype == TMF_QUERY_TASK_SET || m->read->tag == t->id))
		return SCSI_SUCCEEDED;
	if (!all_done(d, unit))
		return -1;
	if (t->subtype == TMF_LOGICAL_UNIT_RESET || t->subtype == TMF_I_T_NEXUS_RESET)
		scsi_reset_drive(scsi_drive(d, unit));
	return SCSI_OK;
}

static struct virtio_scsi_an_answer notification(struct vdev *d, const struct virtio_scsi_an *a)
{
	struct virtio_scsi_an_answer r = {.events = a->events & SCSI_AN_MEDIA_CHANGE};
	bool lun0;
	u32 unit;

	if (!scsi_target(d, a->lun, &unit, &lun0))
		return (struct virtio_scsi_an_answer){.response = SCSI_BAD_TARGET};
	if (!lun0)
		return (struct virtio_scsi_an_answer){.response = SCSI_INCORRECT_LUN};
	if (a->type == SCSI_AN_SUBSCRIBE) {
		scsi_drive(d, unit)->subscribed = !!r.events;
		scsi_drive(d, unit)->notify &= scsi_drive(d, unit)->subscribed;
	}
	return r;
}

/* false: it is to stay. */
static bool control(struct vdev *d, const struct virtq_chain *c)
{
	struct virtio_scsi_an_answer an;
	union {
		u32 type;
		struct virtio_scsi_tmf tmf;
		struct virtio_scsi_an an;
	} in = {0};
	u64 n = virtq_read(d->vm, c, 0, &in, sizeof(in)), room = in.type == SCSI_TMF ? 1 : sizeof(an);
	int r = SCSI_FAILURE;

	if (n < (in.type == SCSI_TMF ? sizeof(in.tmf) : sizeof(in.an)) || c->in_len < room) {
		virtio_broken(d, "a control request is too short, or has no room for its answer");
		return true;
	}
	if (in.type == SCSI_TMF) {
		r = manage_tasks(d, &in.tmf);
		if (r < 0)
			return false;
		an.response = (u8)r;
		virtq_write(d->vm, c, 0, &an.response, 1);
	} else {
		an = in.type <= SCSI_AN_SUBSCRIBE ? notification(d, &in.an)
						  : (struct virtio_scsi_an_answer){.response = SCSI_FAILURE};
		virtq_write(d->vm, c, 0, &an, sizeof(an));
	}
	virtio_push(d, CONTROL, c, (u32)room);
	return true;
}

void scsi_run_control(struct vdev *d)
{
	struct virtq_chain c;
	unsigned n = 0;

	while (n < TURN && virtio_pop(d, CONTROL, &c)) {
		if (!control(d, &c)) {
			virtq_unpop(virtio_queue(d, CONTROL), &c);
			host_of(d)->stayed = true;
			break;
		}
		n++;
	}
	if (n && virtio_queue(d, CONTROL))
		virtio_signal(d, CONTROL);
	if (n == TURN)
		virtio_turn(d, 0);
}

/* ---- the event queue ---- */

void scsi_run_events(struct vdev *d)
{
	bool pushed = false;
	struct virtq_chain c;

	for (u32 unit = 0; unit < VM_MAX_DISKS; unit++) {
		const struct virtio_scsi_event e = {.event = SCSI_EVENT_ASYNC_NOTIFY, .lun = {1, (u8)unit},
						    .reason = SCSI_AN_MEDIA_CHANGE};

		if (!scsi_drive(d, unit)->notify || !virtio_pop(d, EVENTS, &c))
			continue;
		if (c.in_len < sizeof(e)) {
			virtio_broken(d, "an event has no room");
			return;
		}
		virtq_write(d->vm, &c, 0, &e, sizeof(e));
		virtio_push(d, EVENTS, &c, sizeof(e));
		scsi_drive(d, unit)->notify = 0;
		pushed = true;
	}
	if (pushed && virtio_queue(d, EVENTS))
		virtio_signal(d, EVENTS);
}
