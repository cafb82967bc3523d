/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks that come and go while a VM runs, by xl's verbs; and what network cards (drivers/net/verb_plug.c) do alike. What is
 * plugged in becomes part of the VM's configuration, as in xl: so it is there after a restart. It leaves that when its
 * device is destroyed, by its destroy().
 */
#include "drivers/hotplug.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "drivers/virtio/scsi.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/config_parse.h"
#include "vmm/platform/pci.h"
#include "vmm/vm.h"

#define WAIT_S	10u /* as long as xl waits for a guest */
#define LOOK_NS 20000000u

/* --- what both have --- */

/* Behind "FILE:LINE:COLUMN: error: ", which mean nothing here. */
static void report(void *arg, enum cfg_level level, const char *line)
{
	struct mon_call *c = arg;

	for (unsigned colons = 0; colons < 4 && *line; line++)
		colons += *line == ':';
	line += *line == ' ';
	if (level == CFG_ERROR)
		mon_fail(c, "%s", line);
	else
		log_warn("%s: %s: %s", c->vm->name, c->verb->name, line);
}

bool plug_read(struct mon_call *c, bool (*add)(struct config_ctx *ctx, const struct cfg_item *it), void *out)
{
	const struct cfg_diag diag = {.report = report, .arg = c};
	struct config_ctx ctx = {.file = "", .diag = &diag, .out = out};
	struct cfg_item it = {.type = CFG_STR};
	char spec[MON_LINE_MAX] = "";

	for (u32 i = 0; i < c->argc; i++)
		it.len += (size_t)snprintf(spec + it.len, sizeof(spec) - it.len, "%s%s", i ? "," : "", c->argv[i]);
	it.str = spec;
	return add(&ctx, &it);
}

struct vdev *plug_find(struct vm *vm, const struct vdev_type *type, u32 unit)
{
	for (u32 i = 0; i < vm->nr_devs; i++)
		if (vm->devs[i].type == type && vm->devs[i].unit == unit)
			return &vm->devs[i];
	return NULL;
}

enum mon_status plug_in(struct mon_call *c, const struct vdev_type *type, u32 unit, const char *name)
{
	static const struct mon_col cols[] = {{"device", "Device", -17}, {"slot", "Slot", 4}};
	struct vm *vm = c->vm;
	unsigned slot;
	int err;

	vm->dev_refused[0] = 0;
	err = pci_hotplug_add(vm, type, unit, &slot);
	if (err)
		return mon_fail(c, "%s", vm->dev_refused[0] ? vm->dev_refused
					 : err == -ENOSPC   ? "no PCI slot is free; a detach frees one"
							    : "no memory of our own is left for it");
	log_info("%s: %s plugged into slot %u", vm->name, name, slot);
	MON_TABLE(c->out, "devices", cols, MON_COLUMNS);
	mon_row(c->out);
	mon_str(c->out, name);
	mon_u64(c->out, slot);
	return MON_DONE;
}

enum mon_status plug_out(struct mon_call *c, const struct vdev_type *type, u32 unit, bool (*tear)(struct vdev *d))
{
	struct vdev *d = plug_find(c->vm, type, c->pos ? (u32)c->sum[0] : unit);
	const unsigned slot = d ? pci_slot(d) : 0;
	u64 now = rdtsc();

	if (c->vm->preserved)
		return mon_fail(c, "it has ended");
	if (!c->pos) {
		c->pos = 1;
		c->sum[0] = unit;
		c->sum[1] = now + ns_to_tsc(WAIT_S * 1000000000ull);
		if (pci_hotplug_remove(c->vm, slot) && !mon_opt(c, 'f'))
			return mon_fail(c, "its guest does not listen to ACPI's events, or not yet; it goes when the guest lets go "
					"of it, or when the VM restarts; -f takes it out at once");
	} else if (!d || !pci_hotplug_leaving(c->vm, slot)) {
		return MON_DONE;
	}
	if (mon_opt(c, 'f') && tear(d))
		return MON_DONE;
	if (now >= c->sum[1])
		return mon_fail(c, mon_opt(c, 'f') ? "what it has in flight has not ended within %u s; it goes then"
				: "the guest has not let go of it within %u s; it goes when the guest does so, or when the VM "
				"restarts; -f takes it out at once", WAIT_S);
	c->until = now + ns_to_tsc(LOOK_NS);
	return MON_MORE;
}

/* --- disks --- */

struct vdev *plug_disk(struct vm *vm, u32 unit)
{
	return plug_find(vm, &blk_pci.vdev, unit) ?: plug_find(vm, &blk_mmio.vdev, unit);
}

struct vdev *plug_cdroms(struct vm *vm)
{
	return plug_find(vm, &scsi_pci.vdev, 0) ?: plug_find(vm, &scsi_mmio.vdev, 0);
}

enum mon_status verb_block_attach(struct mon_call *c)
{
	struct vm *vm = c->vm;
	enum mon_status st = MON_FAILED;
	unsigned before, unit;

	if (vm->preserved)
		return mon_fail(c, "it has ended");
	vm_devices_lock(vm);
	before = vm_disks(vm) | vm_cdroms(vm);
	if (plug_read(c, config_add_disk, &vm->cfg)) {
		unit = (unsigned)__builtin_ctz((vm_disks(vm) | vm_cdroms(vm)) & ~before);
		st = vm->cfg.disks[unit].cdrom ? mon_fail(c, "CD-ROM drives come with the VM's file, empty if need be: "
							     "'vdev=hdc,devtype=cdrom,target='; `cd-insert` fills them")
					       : plug_in(c, &blk_pci.vdev, unit, vm->cfg.disks[unit].vdev);
		if (st == MON_FAILED)
			vm->cfg.disks[unit] = (struct vm_disk){0};
	}
	vm_devices_unlock(vm);
	return st;
}

enum mon_status verb_block_detach(struct mon_call *c)
{
	struct vm *vm = c->vm;
	enum mon_status st;
	u32 unit = 0;

	vm_devices_lock(vm);
	while (!c->pos && unit < VM_MAX_DISKS && strcmp(vm->cfg.disks[unit].vdev, c->argv[0]))
		unit++;
	if (unit == VM_MAX_DISKS)
		st = mon_fail(c, "it has no disk %.32s; `block-list` shows them", c->argv[0]);
	else if (!c->pos && vm->cfg.disks[unit].cdrom)
		st = mon_fail(c, "%.32s is a CD-ROM drive, which stays; `cd-eject` takes the medium out", c->argv[0]);
	else if (!c->pos && !plug_find(vm, &blk_pci.vdev, unit))
		st = mon_fail(c, "%.32s is a disk by MMIO, which stays where it is", c->argv[0]);
	else
		st = plug_out(c, &blk_pci.vdev, unit, blk_tear);
	vm_devices_unlock(vm);
	return st;
}

void block_list_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {
		{"vm", "VM", -20}, {"id", "ID", 4}, {"vdev", "Vdev", -5}, {"slot", "Slot", 4}, {"state", "State", -7},
		{"access", "RW", -2}, {"size", "Size(KiB)", 10}, {"reads", "Reads", 9}, {"writes", "Writes", 9},
		{"errors", "Errors", 6}, {"target", "Target", -24},
	};

	MON_TABLE(c->out, "disks", cols, MON_COLUMNS);
}

/* b: NULL: a CD-ROM drive without a medium. */
static void disk_row(struct mon_call *c, const struct vdev *d, const struct vm_disk *disk, const struct block *b)
{
	static const struct block none = {.readonly = true};
	struct mon_out *o = c->out;

	b = b ?: &none;
	mon_row(o);
	mon_str(o, c->vm->name);
	mon_u64(o, c->vm->id);
	mon_str(o, disk->vdev);
	if (d->pci)
		mon_u64(o, pci_slot(d));
	else
		mon_none(o);
	mon_str(o, d->pci && pci_hotplug_leaving(c->vm, pci_slot(d)) ? "leaving"
		   : virtio_of(d)->status & VIRTIO_DRIVER_OK ? "used" : "unused");
	mon_str(o, b->readonly ? "ro" : "rw");
	mon_u64(o, b->size >> 10);
	mon_u64(o, b->reads);
	mon_u64(o, b->writes);
	mon_u64(o, b->errors);
	if (disk->target[0])
		mon_str(o, disk->target);
	else
		mon_none(o);
}

enum mon_status verb_block_list(struct mon_call *c)
{
	struct vm *vm = c->vm;

	vm_devices_lock(vm);
	for (u32 unit = 0; unit < VM_MAX_DISKS; unit++) {
		const struct vm_disk *disk = &vm->cfg.disks[unit];
		const struct vdev *d = disk->cdrom ? plug_cdroms(vm) : plug_disk(vm, unit);

		if (d)
			disk_row(c, d, disk, disk->cdrom ? scsi_medium(d, unit) : blk_block(d));
	}
	vm_devices_unlock(vm);
	return MON_DONE;
}
