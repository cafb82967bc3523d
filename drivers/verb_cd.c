/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor's verbs that change a CD-ROM drive's medium, as xl's. What is in is part of the VM's configuration. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "drivers/hotplug.h"
#include "drivers/virtio/scsi.h"
#include "lib/string.h"
#include "vmm/vm.h"

#define WAIT_S	10u /* for what is being read */
#define LOOK_NS 20000000u

/* The drive that is meant; NULL: c->why says that there is none. */
static struct vdev *find(struct mon_call *c, u32 *unit)
{
	const struct vm_config *cfg = &c->vm->cfg;

	for (*unit = 0; *unit < VM_MAX_DISKS; ++*unit)
		if (cfg->disks[*unit].cdrom && !strcmp(cfg->disks[*unit].vdev, c->argv[0]))
			return plug_cdroms(c->vm);
	mon_fail(c, "it has no CD-ROM drive %.32s; `block-list` shows them", c->argv[0]);
	return NULL;
}

/* A step of emptying the drive: MON_DONE: it is. */
static enum mon_status empty(struct mon_call *c, struct vdev *d, u32 unit)
{
	u64 now = rdtsc();

	if (!scsi_medium(d, unit))
		return MON_DONE;
	if (scsi_drive(d, unit)->locked && !mon_opt(c, 'f')) {
		scsi_eject_request(d, unit);
		return mon_fail(c, "its guest holds the drive locked, for it has the medium mounted, say; it has been told that "
				"somebody pressed the button; -f takes the medium out all the same");
	}
	if (!c->pos) {
		c->pos = 1;
		c->sum[1] = now + ns_to_tsc(WAIT_S * 1000000000ull);
	}
	if (scsi_eject(d, unit)) {
		c->vm->cfg.disks[unit].target[0] = 0;
		return MON_DONE;
	}
	if (now >= c->sum[1]) {
		scsi_keep(d, unit);
		return mon_fail(c, "what is being read of it has not ended within %u s", WAIT_S);
	}
	c->until = now + ns_to_tsc(LOOK_NS);
	return MON_MORE;
}

enum mon_status verb_cd_eject(struct mon_call *c)
{
	enum mon_status st = MON_FAILED;
	struct vdev *d;
	u32 unit;

	if (c->vm->preserved)
		return mon_fail(c, "it has ended");
	vm_devices_lock(c->vm);
	d = find(c, &unit);
	if (d && !c->pos && !scsi_medium(d, unit))
		mon_fail(c, "%s is empty", c->argv[0]);
	else if (d)
		st = empty(c, d, unit);
	vm_devices_unlock(c->vm);
	return st;
}

/* Could it be put in? So that what is in stays if not. */
static bool try_open(struct mon_call *c, u32 unit)
{
	struct vm_disk disk = c->vm->cfg.disks[unit];
	const char *wrong;
	struct block *b;

	if (strlen(c->argv[1]) >= sizeof(disk.target)) {
		mon_fail(c, "its name has more than %zu bytes", sizeof(disk.target) - 1);
		return false;
	}
	str_copy(disk.target, c->argv[1], sizeof(disk.target));
	b = block_open(&disk, c->vm, c->why, sizeof(c->why));
	if (!b)
		return false;
	wrong = cd_unfit(b);
	block_close(b);
	if (wrong)
		mon_fail(c, "%s: %s", c->argv[1], wrong);
	return !wrong;
}

static enum mon_status insert(struct mon_call *c, struct vdev *d, u32 unit)
{
	char *target = c->vm->cfg.disks[unit].target, why[120];

	str_copy(target, c->argv[1], VM_PATH_MAX);
	if (!scsi_insert(d, unit, why, sizeof(why)))
		return MON_DONE;
	target[0] = 0;
	return mon_fail(c, "%s", why);
}

enum mon_status verb_cd_insert(struct mon_call *c)
{
	enum mon_status st = MON_FAILED;
	struct vdev *d;
	u32 unit;

	if (c->vm->preserved)
		return mon_fail(c, "it has ended");
	vm_devices_lock(c->vm);
	d = find(c, &unit);
	if (d && (c->pos || try_open(c, unit)))
		st = empty(c, d, unit);
	if (st == MON_DONE)
		st = insert(c, d, unit);
	vm_devices_unlock(c->vm);
	return st;
}
