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
#define VM_MAX_VIFS    8
#define VM_MAX_RULES   64 /* of its firewall */
#define VIF_MAX_IPS    8
#define VM_MAX_CHANNELS 7 /* ports of virtio's console behind the first */
#define VM_CHANNEL_MAX 48
#define HOST_MAX_VMS   64
#define HOST_MAX_UPLINKS 4
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
	char target[VM_PATH_MAX]; /* file name as in boot_info; "": a CD-ROM drive without a medium */
	char vdev[16]; /* "": this place is free */
	char serial[21]; /* what the guest sees; "": vdev */
	bool readonly, cdrom;
	u32 sector; /* bytes of a logical sector: 512 or 4096; of a CD-ROM 2048 */
	u64 iops, bps; /* at most so many operations, bytes a second; 0: no limit */
};

/* An address, or all that begin with its first len bits; family 0: any. IPv4 in the first four bytes. */
struct net_prefix {
	u8 family, len; /* 4 or 6 */
	u8 addr[16];
};

/* A network card, after xl-network-configuration(5), and where an uplink is (dalang.cfg). */
struct vm_vif {
	char bridge[16];
	u8 mac[6];
	bool mac_given; /* else it is made of the VM's name */
	bool antispoof; /* it may send from its own MAC only; and, if there are any, from its `ip` only */
	bool mirror;	/* what passes it goes to the mirror, too */
	bool isolated;	/* it hears from, and is heard by, those ports of its bridge only that are not */
	u8 queues;	/* pairs */
	bool untagged;	/* frames without a tag are in VLAN pvid (0: no VLAN), else they are dropped */
	u16 pvid, mtu;
	u64 vlans[64]; /* bit n: VLAN n, with its tag */
	u64 rate;      /* bytes a second that it may send; 0: any */
	u64 burst;     /* bytes at once */
	u32 nr_ips;
	struct net_prefix ip[VIF_MAX_IPS];
};

/* A line of a firewall. The first that fits decides; else the default of its direction does. */
struct net_rule {
	u8 vif;	     /* index, or RULE_ALL_VIFS */
	bool out;    /* what the guest sends; else what it is sent */
	bool allow, is_default;
	u8 proto;    /* IP's number; 0: any; RULE_ICMP: ICMP or ICMPv6 */
	struct net_prefix from, to;
	u16 sport[2], port[2]; /* first, last; 0, 65535: any */
};
#define RULE_ALL_VIFS 255
#define RULE_ICMP     255

/* virtio's sockets (docs/vsock.md). */
struct vm_vsock {
	bool wanted, monitor; /* monitor: it may talk to the host's */
	u32 cid;	      /* 0: one that is free */
	char peers[192];      /* names of VMs with blanks between, or "*" */
};

enum vm_virtio { VIRTIO_ON_PCI, VIRTIO_ON_PCI_TRANSITIONAL, VIRTIO_ON_MMIO };

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
	u32 nr_vifs, nr_rules;
	struct vm_vif vifs[VM_MAX_VIFS];
	struct net_rule rules[VM_MAX_RULES];
	struct vm_vsock vsock;
	enum vm_action on_poweroff, on_reboot, on_crash;
	bool debug_exit, debugcon, hpet, rng, balloon, gdb;
	enum vm_virtio virtio_transport; /* "pci", "pci-transitional", "mmio" */
	bool pv_console; /* pv_console = 1: virtio's console, hvc0 to Linux */
	u32 nr_channels;
	char channels[VM_MAX_CHANNELS][VM_CHANNEL_MAX]; /* names of its further ports */
	char fw_cfg[VM_FW_CFG_MAX]; /* strings "opt/NAME=CONTENT" one behind the other; an empty one ends them */
	u32 testdev; /* testdev = N: as many PCI devices for tests (platform/pci_testdev.c) */
	bool paravirt; /* paravirt = 0: do not offer KVM's paravirtual interface (pv.h) */
	u64 tsc_khz; /* of the guest's TSC; 0: the host's */
	u64 torture; /* torture = SEED: state rebuilt and memory protected at random exits; 0: off */
};

enum { MIRROR_NONE, MIRROR_ALL, MIRROR_MARKED };
struct host_config {
	u32 nr_vms;
	char vms[HOST_MAX_VMS][128]; /* VM file names as in boot_info */
	u32 nr_uplinks;
	struct vm_vif uplinks[HOST_MAX_UPLINKS]; /* the n-th is where the host's n-th NIC is plugged in */
	u8 mirror; /* mirror = 1, 2: there is one (drivers/net/mirror.c) from the start, of all network cards, or of those
		    * whose vif says mirror=1 */
	bool exit_when_empty; /* exit_when_empty = 1: power the host off when every VM has ended */
	int loglevel;         /* loglevel = "error" | "warning" | "info" | "debug" */
};

/* xl's CPU list s into mask[VM_CPUS_MAX / 64]: NULL, or what is wrong with it. */
const char *config_cpu_list(const char *s, u64 *mask);
bool config_name_ok(const char *s); /* may it be a VM's name: letters, digits, '.', '_', '-', not empty, not too long */
/* A line of a firewall, by words (docs/network.md); false: `why` (size n) says what is wrong. And back. */
bool net_rule_parse(const char *s, struct net_rule *r, char *why, size_t n);
int net_rule_format(const struct net_rule *r, char *buf, size_t n);
/* ADDRESS or ADDRESS/LENGTH, n bytes of it. */
bool net_prefix_parse(const char *s, size_t n, struct net_prefix *p);
int net_prefix_format(const struct net_prefix *p, char *buf, size_t n);
/* Each calls diag once a message (cfg.h), warnings included. 0 or -EINVAL (refused). */
int config_parse_vm(const char *file, const char *text, size_t n, struct vm_config *out,
		    const struct cfg_diag *diag);
int config_parse_host(const char *file, const char *text, size_t n, struct host_config *out,
		      const struct cfg_diag *diag);
