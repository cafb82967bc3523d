/* SPDX-License-Identifier: BSD-2-Clause */
/* The verbs, in the order in which `help` shows them. docs/monitor.md is made from this table: `make monitor-doc`. */
#include "vmm/monitor/verbs.h"

const struct verb monitor_verbs[] = {
	{.name = "help", .args = "[VERB]", .help = "the verbs, or one of them",
	 .more = "With -j every verb answers in one line of JSON: an object, {\"error\": ...} if it failed.\n"
		 "A VM is named by its name or its id.",
	 .takes = VERB_VERB, .run = verb_help},

	{.name = "list", .args = "[-l] [NAME]", .help = "the VMs",
	 .more = "Mem in MiB. State: running, blocked (all vCPUs wait), paused, shut down and preserved,\n"
		 "crashed (killed) and preserved, dying; none of these while it starts or stops.\n"
		 "Time is what its vCPUs have run. -l: all there is to say of each.",
	 .takes = VERB_EACH, .opts = "l", .begin = list_begin, .run = verb_list},
	{.name = "create", .args = "NAME", .help = "start a VM of dalang.cfg's that is not there now",
	 .takes = VERB_FILE, .run = verb_create},
	{.name = "destroy", .args = "NAME", .help = "end a VM at once",
	 .takes = VERB_VM, .run = verb_destroy},
	{.name = "shutdown", .args = "NAME", .help = "press its power button",
	 .more = "The guest decides what it does then: most go down, and on_poweroff says what follows.",
	 .takes = VERB_VM, .run = verb_shutdown},
	{.name = "reboot", .args = "NAME", .help = "press its power button and take it for a reboot",
	 .more = "A PC has no button that asks for a reboot. So when the guest has gone down by its power\n"
		 "button, what follows is on_reboot's. `reset` does not ask.",
	 .takes = VERB_VM, .run = verb_reboot},
	{.name = "reset", .args = "NAME", .help = "start it anew, as the reset button does",
	 .takes = VERB_VM, .run = verb_reset},
	{.name = "pause", .args = "NAME", .help = "stop its vCPUs",
	 .takes = VERB_VM, .run = verb_pause},
	{.name = "unpause", .args = "NAME", .help = "let them go on",
	 .takes = VERB_VM, .run = verb_unpause},
	{.name = "rename", .args = "NAME NEW", .help = "give it another name",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_rename},
	{.name = "trigger", .args = "NAME nmi", .help = "press its NMI button",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_trigger},
	{.name = "sendkey", .args = "NAME KEYS", .help = "press keys of its keyboard and let them go",
	 .more = "KEYS as in ctrl-alt-delete, a, shift-f1, or 0x1e: a code of set 1.",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_sendkey},
	{.name = "pci-attach", .args = "NAME testdev", .help = "plug a PCI device in",
	 .more = "Says in which slot. testdev is for tests; there is no other yet.",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_pci_attach},
	{.name = "pci-detach", .args = "NAME SLOT", .help = "ask the guest to let go of the device there",
	 .more = "It goes when the guest ejects it, or when the VM is reset.",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_pci_detach},
	{.name = "block-attach", .args = "NAME DISK", .help = "plug a disk in",
	 .more = "DISK as in a VM file's disk = [...]: FILE,raw,xvdb,rw or vdev=xvdb,target=FILE, blanks for commas\n"
		 "if you like; cow:FILE and host:SERIAL, too. It stays when the VM restarts, and is gone with it.",
	 .takes = VERB_VM, .min = 1, .max = 12, .run = verb_block_attach},
	{.name = "block-detach", .args = "[-f] NAME VDEV", .help = "ask the guest to let go of a disk, and wait until it has",
	 .more = "VDEV as in its file, and in block-list. After ten seconds it is told that the guest has not; then the\n"
		 "disk goes when it does, or when the VM restarts. -f, --force: tear it out at once, whatever the guest does with it:\n"
		 "what is behind it is free, all that the guest still wants of it fails, and it is asked to let go, too.",
	 .takes = VERB_VM, .opts = "f", .min = 1, .max = 1, .run = verb_block_detach},
	{.name = "block-list", .args = "[NAME]", .help = "the disks, and what was read and written",
	 .more = "State: used by a driver, unused, or leaving: the guest has been asked to let go.",
	 .takes = VERB_EACH, .begin = block_list_begin, .run = verb_block_list},
	{.name = "block-resize", .args = "NAME VDEV SIZE", .help = "make a disk larger or smaller",
	 .more = "SIZE in bytes, or with K, M or G behind it. The guest is told. A cow: disk can have any size, a file in\n"
		 "memory no more than it was loaded with; host: disks are as large as they are. As before when the VM\n"
		 "is created anew.",
	 .takes = VERB_VM, .min = 2, .max = 2, .run = verb_block_resize},
	{.name = "cd-insert", .args = "[-f] NAME VDEV TARGET", .help = "put a medium into a CD-ROM drive",
	 .more = "In the place of the one that is in it. TARGET as in a VM file's disk = [...]: an ISO file that was loaded at\n"
		 "boot (files in dalang.cfg), or host:SERIAL. It stays when the VM restarts. For -f see cd-eject.",
	 .takes = VERB_VM, .opts = "f", .min = 2, .max = 2, .run = verb_cd_insert},
	{.name = "cd-eject", .args = "[-f] NAME VDEV", .help = "take the medium out of a CD-ROM drive",
	 .more = "Drives are named as in the VM's file, and in block-list. A guest that has it mounted keeps the drive locked;\n"
		 "then it is told that somebody pressed the button. -f, --force: take it out all the same.",
	 .takes = VERB_VM, .opts = "f", .min = 1, .max = 1, .run = verb_cd_eject},
	{.name = "sendmouse", .args = "NAME DX,DY[,DZ[,BUTTONS]]", .help = "move its mouse",
	 .more = "To the right, up, and down its wheel. BUTTONS are those that are down then: 1 left, 2 right,\n"
		 "4 middle.",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_sendmouse},
	{.name = "console", .args = "[-t serial|pv|CHANNEL] NAME", .help = "show its console and type into it; Ctrl-] leads back",
	 .more = "serial is COM1; pv virtio's (pv_console = 1), and CHANNEL a name of its `channel`.",
	 .takes = VERB_VM, .opts = "t:", .run = verb_console},
	{.name = "console-size", .args = "NAME COLUMNS ROWS", .help = "how large its paravirtual console is",
	 .takes = VERB_VM, .min = 2, .max = 2, .run = verb_console_size},

	{.name = "info", .args = "", .help = "the host: CPUs, memory, version, features, uptime",
	 .more = "Memory in MiB but for what ends in _kib. total_memory is both pools, free_memory what guests\n"
		 "could get.",
	 .takes = VERB_HOST, .run = verb_info},
	{.name = "mem", .args = "[NAME]", .help = "both memory pools by type, and what the VMs hold, in KiB",
	 .more = "Of a VM: its RAM, what the balloon may grow it to, our own memory for it, and the leaves of\n"
		 "its nested tables by size. Objects of up to 2 KiB count as the host's heap.",
	 .takes = VERB_EACH, .begin = mem_begin, .run = verb_mem},
	{.name = "dmesg", .args = "", .help = "the host's log",
	 .more = "As much as is kept: the newest 64 KiB.",
	 .takes = VERB_HOST, .begin = dmesg_begin, .run = verb_dmesg},
	{.name = "uptime", .args = "[NAME]", .help = "how long each VM has run since it last started",
	 .takes = VERB_EACH, .begin = uptime_begin, .run = verb_uptime},
	{.name = "top", .args = "[-d SECONDS] [NAME]", .help = "which VM uses how much of the CPUs",
	 .more = "CPU(%) is of one CPU, over the time IN(s): since the last `top`, or with -d over SECONDS\n"
		 "from now. EXITS, CPU(sec) and STEAL(s), the time for which vCPUs could have run and\n"
		 "had to wait, are since it was created.",
	 .takes = VERB_EACH, .opts = "d:", .begin = top_begin, .run = verb_top},

	{.name = "vcpu-list", .args = "[NAME]", .help = "the vCPUs and where they are",
	 .more = "State: running, blocked, paused or not started, absent: not plugged in, see vcpu-set.\n"
		 "Affinity: the CPUs on which it may run.",
	 .takes = VERB_EACH, .begin = vcpu_list_begin, .run = verb_vcpu_list},
	{.name = "vcpu-pin", .args = "NAME VCPU|all CPUS", .help = "let a vCPU run on these CPUs only",
	 .more = "CPUS as in a VM file: \"2-3\", \"0-7,^5\" or \"all\", without blanks. For as long as the VM is there.",
	 .takes = VERB_VM, .min = 2, .max = 2, .run = verb_vcpu_pin},
	{.name = "vcpu-set", .args = "NAME VCPUS", .help = "how many vCPUs it has: from 1 to its file's maxvcpus",
	 .more = "More are plugged in at once, and the guest is told by ACPI; Linux shows them in\n"
		 "/sys/devices/system/cpu, where its administrator, or udev, puts them online. Of fewer, the guest is\n"
		 "asked to let the last ones go: they are there until it ejects them, or until it restarts. The number\n"
		 "holds for its next lives, too. `list -l` and `vcpu-list` show what is and what is wanted.",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_vcpu_set},
	{.name = "mem-set", .args = "NAME MEMORY", .help = "how many MiB its balloon is to leave it",
	 .more = "Up to maxmem. The guest's driver gives the rest back, as it can; `list` says how far it is, and\n"
		 "`mem` what the VM holds: pages go back in blocks of 2 MiB.",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_mem_set},
	{.name = "sched", .args = "[-d NAME] [-w WEIGHT] [-c CAP]", .help = "weights and caps: show or set them",
	 .more = "As xl's sched-credit2. Weight 1 to 65535, 256 is usual. Cap: per cent of one CPU, 0 for none.",
	 .takes = VERB_EACH, .opts = "d:w:c:", .begin = sched_begin, .run = verb_sched},

	{.name = "stat", .args = "NAME [on|off]", .help = "its exits by reason, interrupts, steal, pages by size",
	 .more = "on: also time its exits from now on, in ticks of the TSC from exit to the end of what is done\n"
		 "about it; Timed says how many were. Times in seconds. Counts are since it was created. With a\n"
		 "balloon: what is in it, and what the guest's driver last said; asking has it say more.\n"
		 "device_errors: what drivers did to virtio devices that no driver may. vsock_...: its sockets.",
	 .takes = VERB_VM, .max = 1, .run = verb_stat},
	{.name = "regions", .args = "NAME", .help = "its ports and device memory, and whose they are",
	 .more = "docs/pc.md says which specification each follows.",
	 .takes = VERB_VM, .run = verb_regions},
	{.name = "trace", .args = "on|off|show [NAME] [-n COUNT]", .help = "exits and events with their times",
	 .more = "on, off: of one VM, or of all that there are now. Each CPU keeps its newest 1,024 records, also\n"
		 "after off. show: the newest 64, or COUNT. Info is a port, an address, an MSR, a CPUID leaf or\n"
		 "the hardware's own word; of inject, type and vector. Ticks are as in stat.",
	 .takes = VERB_HOST, .opts = "n:", .min = 1, .max = 2, .run = verb_trace},
	{.name = "network-attach", .args = "NAME [VIF]", .help = "plug a network card in",
	 .more = "VIF as in a VM file's vif = [...], blanks for commas if you like: bridge=lan0 mac=00:16:3e:00:00:07.\n"
		 "It stays when the VM restarts, and is gone with it.",
	 .takes = VERB_VM, .max = 12, .run = verb_network_attach},
	{.name = "network-detach", .args = "[-f] NAME INDEX|MAC", .help = "ask the guest to let go of a card, and wait until it has",
	 .more = "INDEX as in network-list. For the rest, and -f or --force, see block-detach.",
	 .takes = VERB_VM, .opts = "f", .min = 1, .max = 1, .run = verb_network_detach},
	{.name = "network-list", .args = "[-l] [NAME]", .help = "the network cards, their bridges, and what passed",
	 .more = "Of all VMs and the host's uplinks. VLAN: the untagged one, and whether there are others with tag.\n"
		 "-l: frames dropped, by reason (docs/network.md has the reasons).",
	 .takes = VERB_HOST, .opts = "l", .max = 1, .begin = network_list_begin, .run = verb_network_list},
	{.name = "network-link", .args = "NAME INDEX up|down", .help = "plug a card's cable in, or pull it out",
	 .takes = VERB_VM, .min = 2, .max = 2, .run = verb_network_link},
	{.name = "firewall", .args = "NAME [add RULE|del NR|flush]", .help = "the rules of its cards: show or change them",
	 .more = "RULE as in a VM file, without quotes: in allow tcp from 10.0.0.0/8 port 22; in default deny.\n"
		 "A new one comes last. Hits: packets that it decided, those of known connections left out.\n"
		 "A change begins the counts anew, and forgets connections.",
	 .takes = VERB_VM, .max = 14, .run = verb_firewall},
	{.name = "mirror", .args = "on|off [-s BYTES] [all|NAME [INDEX]]", .help = "what passes a card goes to the mirror, too",
	 .more = "Of all cards, of a VM's, or one. -s: so many bytes of each frame. `tools/dalang run --pcap F` writes\n"
		 "the mirror to a file; lost are frames for which the serial line was too slow.",
	 .takes = VERB_HOST, .opts = "s:", .min = 1, .max = 3, .run = verb_mirror},
	{.name = "torture", .args = "NAME SEED|off", .help = "torture mode, as torture = SEED in its file",
	 .more = "For testing Dalang itself: at random exits the VM is rebuilt from its saved state.",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_torture},
};
const u32 monitor_nr_verbs = ARRAY_SIZE(monitor_verbs);
