/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VM files (xl.cfg's syntax and key names) and dalang.cfg. The same code runs in the UEFI loader
 * (syntax only, lib/cfg.h), in the hypervisor and, as build/dalang-cfg, on the build machine. A
 * file is accepted or refused whole, before anything starts.
 */
#pragma once
#include "lib/types.h"
#include "lib/cfg.h"

#define VM_NAME_MAX  64
#define VM_MAX_VCPUS 64
/* The build machine reads these files too, before names are made relative: room for its paths. */
#define VM_PATH_MAX    256
#define VM_MAX_DISKS   8
#define VM_MAX_CHANNELS 7 /* ports of virtio's console behind the first */
#define VM_CHANNEL_MAX 48
#define HOST_MAX_VMS   64
#define VM_CMDLINE_MAX 2048
/* fw_cfg: so many strings, so many bytes with their ends, names so long (fw_cfg.rst). */
#define VM_MAX_FW_CFG	   16
#define VM_FW_CFG_MAX	   1024
#define VM_FW_CFG_NAME_MAX 55
#define VM_CPUS_MAX    1024 /* host CPUs that can be named */

/* on_poweroff, on_reboot, on_crash: xl's words. */
enum vm_action { ACTION_DESTROY, ACTION_RESTART, ACTION_RENAME_RESTART, ACTION_PRESERVE };
/* xl's `type`: how a kernel is entered. HVM and unset: by what the file is (bzImage, multiboot1,
 * then PVH note). */
enum vm_type { VM_TYPE_AUTO, VM_TYPE_HVM, VM_TYPE_PVH };

struct vm_disk {
	char target[VM_PATH_MAX]; /* file name as in boot_info */
	char vdev[16];
	char serial[21]; /* what the guest sees; "": vdev */
	bool readonly, cdrom;
	u32 sector; /* bytes of a logical sector: 512 or 4096 */
	u64 iops, bps; /* at most so many operations, bytes a second; 0: no limit */
};

struct vm_config {
	char file[VM_PATH_MAX]; /* the VM file, for messages */
	char name[VM_NAME_MAX];
	u64 memory, maxmem; /* MiB */
	u32 vcpus, maxvcpus;
	u64 cpus[VM_CPUS_MAX / 64]; /* bit n: may run on pCPU n */
	u64 cpu_weight, cap;	    /* xl's: 256 is usual; per cent of one pCPU, 0: none */
	bool dedicated; /* dedicated = 1: one pCPU for each vCPU, and for nothing else */
	enum vm_type type;
	char kernel[VM_PATH_MAX], ramdisk[VM_PATH_MAX];
	char cmdline[VM_CMDLINE_MAX];
	u32 nr_disks;
	struct vm_disk disks[VM_MAX_DISKS];
	enum vm_action on_poweroff, on_reboot, on_crash;
	bool debug_exit, debugcon, hpet, rng, balloon, gdb;
	bool pv_console; /* pv_console = 1: virtio's console, hvc0 to Linux */
	u32 nr_channels;
	char channels[VM_MAX_CHANNELS][VM_CHANNEL_MAX]; /* names of its further ports */
	char fw_cfg[VM_FW_CFG_MAX]; /* strings "opt/NAME=CONTENT" one behind the other; an empty one ends them */
	u32 testdev; /* testdev = N: as many PCI devices for tests (platform/pci_testdev.c) */
	bool paravirt; /* paravirt = 0: do not offer KVM's paravirtual interface (pv.h) */
	u64 tsc_khz; /* of the guest's TSC; 0: the host's */
	u64 torture; /* torture = SEED: state rebuilt and memory protected at random exits; 0: off */
};

struct host_config {
	u32 nr_vms;
	char vms[HOST_MAX_VMS][128]; /* VM file names as in boot_info */
	bool exit_when_empty; /* exit_when_empty = 1: power the host off when every VM has ended */
	int loglevel;         /* loglevel = "error" | "warning" | "info" | "debug" */
};

/* xl's CPU list s into mask[VM_CPUS_MAX / 64]: NULL, or what is wrong with it. */
const char *config_cpu_list(const char *s, u64 *mask);
bool config_name_ok(const char *s); /* may it be a VM's name: letters, digits, '.', '_', '-', not empty, not too long */
/* Each calls diag once a message (cfg.h), warnings included. 0 or -EINVAL (refused). */
int config_parse_vm(const char *file, const char *text, size_t n, struct vm_config *out,
		    const struct cfg_diag *diag);
int config_parse_host(const char *file, const char *text, size_t n, struct host_config *out,
		      const struct cfg_diag *diag);
