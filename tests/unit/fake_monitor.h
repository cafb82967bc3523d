/* SPDX-License-Identifier: BSD-2-Clause */
/* What the monitor's verbs reach, for its unit test and its fuzz target: three VMs, and a note of what was done. */
#pragma once
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "drivers/block.h"
#include "drivers/hotplug.h"
#include "drivers/net/ports.h"
#include "drivers/virtio/scsi.h"
#include "drivers/virtio/virtio.h"
#include "drivers/virtio/vsock.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/monitor/monitor.h"
#include "vmm/platform/pci.h"
#include "vmm/vm.h"

#define FAKE_VMS 3
struct list vm_list = {&vm_list, &vm_list};
struct spinlock vm_list_lock = SPINLOCK(LOCK_VM);
static struct vm vms[FAKE_VMS];
static struct vcpu vcpus[FAKE_VMS][2];
static u8 arena[KIB(256)] __aligned(16);
static size_t arena_used;
static struct pcpu cpus[2];
struct pcpu *pcpus[MAX_PCPUS] = {&cpus[0], &cpus[1]};
u32 nr_pcpus = 2;
u64 tsc_khz = 2100000;
bool tsc_in_step = true;
static const struct hv_ops fake_hv = {.name = "svm", .desc = "a \"backend\""};
const struct hv_ops *hv = &fake_hv;
static char did[256];
static struct boot_info fake_boot_info;

u64 tsc_to_ns(u64 ticks) { return ticks; }
void vm_devices_lock(struct vm *vm) { spin_lock(&vm->dev_lock); }
void vm_devices_unlock(struct vm *vm) { spin_unlock(&vm->dev_lock); }
u64 ns_to_tsc(u64 ns) { return ns / 1000000000; } /* nothing is waited for */
void frame_get_stats(struct frame_stats *st)
{
	*st = (struct frame_stats){.own_total = KIB(8), .own_free = KIB(4)};
}
void frame_get_owner(u16 owner, u64 by_type[FRAME_NR_TYPES])
{
	memset(by_type, 0, FRAME_NR_TYPES * sizeof(by_type[0]));
	by_type[FRAME_GUEST_RAM] = owner * MIB(1);
	by_type[FRAME_VCPU] = KIB(16);
}
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	void *p = arena + arena_used;

	(void)type;
	(void)owner;
	arena_used += ALIGN_UP(size, 16ul);
	assert(arena_used <= sizeof(arena));
	return memset(p, 0, size);
}
bool vsock_stat(u16 owner, struct vsock_stat *st)
{
	*st = (struct vsock_stat){.cid = 77, .conns = 3, .count = {.sent = 4, .sent_bytes = 500, .dropped = 6}};
	return owner == vms[0].id;
}
bool net_stat(u32 n, struct net_stat *st)
{
	*st = (struct net_stat){.kind = "virtio-net", .owner = n == 2 ? OWNER_HOST : 1, .index = (u8)n, .up = true, .bridge = "lan0"};
	st->vif.untagged = true;
	st->vif.pvid = n == 1 ? 7 : 0;
	st->vif.vlans[1] = n;
	st->drops[DROP_FULL] = st->drops[DROP_VLAN] = 2;
	st->sent = (struct net_count){3, 180};
	return n < 3;
}
int net_set_rules(u16 owner, u32 index, const struct net_rule *rules, u32 nr)
{
	(void)rules;
	snprintf(did, sizeof(did), "rules %u.%u %u", owner, index, nr);
	return 0;
}
bool net_rule_hits(u16 owner, u32 index, u32 rule, u64 *hits)
{
	*hits = owner * 100 + rule * 10 + index;
	return true;
}
int net_set_link(u16 owner, u32 index, bool up)
{
	snprintf(did, sizeof(did), "link %u.%u %d", owner, index, up);
	return 0;
}
u32 net_set_mirror(u32 owner, u32 index, bool on)
{
	snprintf(did, sizeof(did), "mirror %d.%d %d", owner, index, on);
	return 2;
}
bool net_mirror_start(u32 snap) { return snap != 77; }
u64 net_mirror_lost(void) { return 5; }
const struct boot_info *host_boot_info(void) { return &fake_boot_info; }
const char *host_vm_file_name(u32 i) { return i ? NULL : "c"; }
int host_create_vm(const char *name, char *why, size_t n)
{
	snprintf(did, sizeof(did), "create %s", name);
	snprintf(why, n, "no file has it");
	return strcmp(name, "c") ? -ENOENT : 0;
}
void vm_request_end(struct vm *vm, enum vm_end how, u32 value)
{
	snprintf(did, sizeof(did), "end %s %d %u", vm->name, how, value);
}
void vm_stop(struct vm *vm, u32 why) { snprintf(did, sizeof(did), "stop %s %u", vm->name, why); }
void vm_unpause(struct vm *vm) { snprintf(did, sizeof(did), "unpause %s", vm->name); }
void vm_nmi_pin(struct vm *vm) { snprintf(did, sizeof(did), "nmi %s", vm->name); }
const struct vdev_type pci_testdev_vdev;
/* Devices of units are in slots 4 + unit. A VM "a" lets go of them when they are looked at again, "b" never. */
const struct virtio_model blk_pci, blk_mmio, net_pci;
static struct virtio plugged_state = {.status = VIRTIO_DRIVER_OK};
static struct block fake_block = {.size = MIB(3), .readonly = true, .reads = 5};
static u32 leaving;
static bool no_acpi, in_flight;
unsigned pci_slot(const struct vdev *d) { return 4 + d->unit; }
const struct block *blk_block(const struct vdev *d) { (void)d; return &fake_block; }
bool blk_tear(struct vdev *d)
{
	snprintf(did, sizeof(did), "tear %u", d->unit);
	return !in_flight;
}
unsigned vm_disks(const struct vm *vm)
{
	unsigned units = 0;

	for (u32 i = 0; i < VM_MAX_DISKS; i++)
		units |= (unsigned)(vm->cfg.disks[i].vdev[0] && !vm->cfg.disks[i].cdrom) << i;
	return units;
}
unsigned vm_cdroms(const struct vm *vm)
{
	unsigned units = 0;

	for (u32 i = 0; i < VM_MAX_DISKS; i++)
		units |= (unsigned)vm->cfg.disks[i].cdrom << i;
	return units;
}
bool net_tear(struct vdev *d) { return blk_tear(d); }
unsigned vm_vifs(const struct vm *vm)
{
	unsigned units = 0;

	for (u32 i = 0; i < VM_MAX_VIFS; i++)
		units |= (unsigned)!!vm->cfg.vifs[i].bridge[0] << i;
	return units;
}
static void fake_plug(struct vm *vm, const struct vdev_type *type, u32 unit)
{
	assert(vm->nr_devs < VM_MAX_DEVS);
	vm->devs[vm->nr_devs++] = (struct vdev){.type = type, .vm = vm, .unit = unit, .state = &plugged_state, .pci = (void *)&plugged_state};
}
bool pci_hotplug_leaving(struct vm *vm, unsigned slot)
{
	if (vm == &vms[0] && leaving >> slot & 1) {
		vm->nr_devs = 0;
		memset(vm->cfg.disks, 0, sizeof(vm->cfg.disks));
		leaving = 0;
	}
	return leaving >> slot & 1;
}
/* Disks: whatever a test puts into vm.devs. */
int blk_resize(struct vdev *d, u64 size, char *why, size_t n)
{
	snprintf(did, sizeof(did), "resize %u %lu", d->unit, (unsigned long)size);
	snprintf(why, n, "too large");
	return size > MIB(100) ? -ENOSPC : 0;
}
/* A CD-ROM drive, disk 7: */
const struct virtio_model scsi_pci, scsi_mmio;
static struct cd_drive fake_cd;
static bool fake_cd_full, fake_cd_busy;
static __attribute__((unused)) void fake_drive(struct vm *vm)
{
	fake_plug(vm, &scsi_pci.vdev, 0);
	vm->cfg.disks[7] = (struct vm_disk){.vdev = "hdh", .cdrom = true, .readonly = true};
	fake_cd = (struct cd_drive){0};
	fake_cd_full = fake_cd_busy = false;
}
const struct block *scsi_medium(const struct vdev *d, u32 unit) { (void)d, assert(unit == 7); return fake_cd_full ? &fake_block : NULL; }
struct cd_drive *scsi_drive(const struct vdev *d, u32 unit) { (void)d, assert(unit == 7); return &fake_cd; }
int scsi_insert(struct vdev *d, u32 unit, char *why, size_t n)
{
	assert(unit == 7 && !fake_cd_full);
	snprintf(why, n, "%s: its sectors", d->vm->cfg.disks[7].target);
	fake_cd_full = strcmp(d->vm->cfg.disks[7].target, "odd.iso");
	return fake_cd_full ? 0 : -EINVAL;
}
bool scsi_eject(struct vdev *d, u32 unit)
{
	(void)d, assert(unit == 7);
	fake_cd_full &= fake_cd_busy;
	return !fake_cd_full;
}
void scsi_keep(struct vdev *d, u32 unit) { snprintf(did, sizeof(did), "keep %s %u", d->vm->name, unit); }
void scsi_eject_request(struct vdev *d, u32 unit) { snprintf(did, sizeof(did), "button %s %u", d->vm->name, unit); }
struct block *block_open(const struct vm_disk *disk, struct vm *vm, char *why, size_t n)
{
	(void)vm;
	snprintf(why, n, "%s: no such file", disk->target);
	return strcmp(disk->target, "bad.iso") ? &fake_block : NULL;
}
void block_close(struct block *b) { (void)b; }
int pci_hotplug_add(struct vm *vm, const struct vdev_type *type, u32 unit, unsigned *slot)
{
	if (type == &blk_pci.vdev && !strcmp(vm->cfg.disks[unit].target, "bad.img")) {
		snprintf(vm->dev_refused, sizeof(vm->dev_refused), "bad.img: no such file");
		return -ENODEV;
	}
	if (type == &net_pci.vdev && !strcmp(vm->cfg.vifs[unit].bridge, "full"))
		return -ENOSPC;
	if (type == &blk_pci.vdev && !strcmp(vm->cfg.disks[unit].target, "big.img"))
		return -ENOMEM;
	if (type != &pci_testdev_vdev) {
		fake_plug(vm, type, unit);
		*slot = 4 + unit;
		return 0;
	}
	snprintf(did, sizeof(did), "plug %s %u", vm->name, unit);
	*slot = 4;
	return vm == &vms[0] ? 0 : -ENOSPC;
}
int pci_hotplug_remove(struct vm *vm, unsigned slot)
{
	snprintf(did, sizeof(did), "unplug %s %u", vm->name, slot);
	for (u32 i = 0; i < vm->nr_devs; i++)
		if (pci_slot(&vm->devs[i]) == slot) {
			leaving |= 1u << slot;
			return no_acpi ? -EAGAIN : 0;
		}
	return slot == 12 ? 0 : -ENODEV;
}
u32 vm_vcpus_present(const struct vm *vm) { return vm->nr_vcpus - vm->vcpus[1]->absent; }
void cpu_hotplug_update(struct vm *vm) { snprintf(did, sizeof(did), "vcpus %s %u", vm->name, vm->cfg.vcpus); }
const char *i8042_sendkey(struct vm *vm, const char *chord)
{
	snprintf(did, sizeof(did), "keys %s %s", vm->name, chord);
	return strcmp(chord, "nokey") ? NULL : "no such key";
}
const char *i8042_sendmouse(struct vm *vm, const char *how)
{
	snprintf(did, sizeof(did), "mouse %s %s", vm->name, how);
	return NULL;
}
void vm_regions(struct vm *vm, vm_region_fn fn, void *arg)
{
	(void)vm;
	fn(arg, "port", 0x60, 0x60, "i8042");
}
void acpi_power_button(struct vm *vm) { snprintf(did, sizeof(did), "button %s %d", vm->name, vm->reboot_asked); }
void console_event(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(did, sizeof(did), fmt, ap);
	va_end(ap);
}
void log_line(enum log_level level, const char *fmt, ...)
{
	(void)level;
	(void)fmt;
}
u64 log_lost(void) { return 0; }
bool log_read(u64 *pos, char *line, size_t n)
{
	static const char *const lines[] = {"[0.000001] info a \"line\" \\ of \x1b[1m text", "broken", "[1.5] error ",
					    "[99.123456] debug x"};

	if (*pos == ARRAY_SIZE(lines))
		return false;
	snprintf(line, n, "%s", lines[(*pos)++]);
	return true;
}
u64 vcpu_ran_ticks(const struct vcpu *v) { return v->sched.ent.ran; }
u64 vcpu_waited_ticks(const struct vcpu *v) { return v->sched.ent.waited; }
int sched_pin(struct vcpu *v, const u64 *mask, char *why, size_t n)
{
	if (!(mask[0] & 3)) {
		snprintf(why, n, "no such CPU");
		return -ENOSPC;
	}
	memcpy(v->sched.cpus, mask, sizeof(v->sched.cpus));
	return 0;
}
void watch_vm(struct vm *vm, u32 bits, bool on)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		vm->vcpus[i]->watch = on ? vm->vcpus[i]->watch | bits : vm->vcpus[i]->watch & ~bits;
}
int pt_query(const struct pt *pt, u64 va, struct pt_leaf *leaf)
{
	(void)pt;
	if (va == MIB(4))
		return -ENOENT;
	*leaf = (struct pt_leaf){.size = va < MIB(2) || va == MIB(4) + 4096 ? PAGE_SIZE : PAGE_2M};
	leaf->va = ALIGN_DOWN(va, leaf->size);
	return 0;
}
bool vm_backed(const struct vm *vm, gpa_t gpa) { (void)vm; return gpa < MIB(8); }
unsigned vm_nr_ports(const struct vm *vm) { (void)vm; return 0; }
const char *vm_port_name(const struct vm *vm, unsigned port) { (void)vm, (void)port; return "pv"; }
const char *hv_exit_name(u32 code) { return code ? "port I/O" : "none"; }

static void fake_resize(struct vdev *d, u16 cols, u16 rows)
{
	(void)d;
	snprintf(did, sizeof(did), "resize %u %u", cols, rows);
}
static const struct port_ops fake_port_ops = {.resize = fake_resize};

/* Names that no file and no `rename` lets through: the answers must hold all the same. */
static void fake_setup(void)
{
	static const char *const names[FAKE_VMS] = {"a", "b", "\"},\\\n\r\t\x01\x1b[2J\x7f\xc3\xa9{"};
	static struct sched_cpu sched[2];

	list_init(&vm_list);
	memset(sched, 0, sizeof(sched));
	memset(vms, 0, sizeof(vms));
	memset(vcpus, 0, sizeof(vcpus));
	for (u32 i = 0; i < FAKE_VMS; i++) {
		struct vm *vm = &vms[i];

		vm->id = (u16)(i + 1);
		vm->ram_bytes = MIB(64);
		vm->cfg.cpu_weight = 256;
		vm->cfg.nr_vifs = 2;
		vm->cfg.vcpus = vm->nr_vcpus = 2;
		vm->run.state = VM_RUNS;
		vm->nr_slots = 2;
		if (i == 1)
			vm->port_device = (struct port_device){(struct vdev *)&fake_port_ops, &fake_port_ops};
		vm->slots[0] = (struct slot){.gpa = 0, .size = KIB(640)};
		vm->slots[1] = (struct slot){.gpa = MIB(2), .size = MIB(62)};
		for (u32 k = 0; k < 2; k++) {
			vm->vcpus[k] = &vcpus[i][k];
			vcpus[i][k] = (struct vcpu){.vm = vm, .id = k, .state = VCPU_HALTED, .pcpu = k ? SCHED_NOWHERE : 1};
			vcpus[i][k].sched.cpus[0] = ~0ul;
			vcpus[i][k].exits[HV_EXIT_PIO] = 7;
		}
		snprintf(vm->name, sizeof(vm->name), "%s", names[i]);
		list_insert(&vm_list, &vm->node);
	}
	for (u32 i = 0; i < 2; i++) {
		cpus[i].sched = &sched[i];
		cpus[i].state = PCPU_ONLINE;
		cpus[i].hv_ready = 1;
	}
	did[0] = 0;
	arena_used = leaving = 0;
	no_acpi = in_flight = false;
}
