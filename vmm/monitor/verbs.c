/* SPDX-License-Identifier: BSD-2-Clause */
/* The verbs, in the order in which `help` shows them. docs/monitor.md is made from this table. */
#include "vmm/monitor/verbs.h"

const struct verb monitor_verbs[] = {
	{.name = "help", .args = "[VERB]", .help = "the verbs, or one of them",
	 .more = "With -j every verb answers in one line of JSON: an object, {\"error\": ...} if it failed.\n"
		 "A VM is named by its name or its id.",
	 .takes = VERB_VERB, .run = verb_help},
	{.name = "list", .args = "[NAME]", .help = "the VMs",
	 .more = "Mem in MiB. State: running, blocked (all vCPUs wait), paused, shut down and preserved,\n"
		 "crashed (killed) and preserved, dying; none of these while it starts.",
	 .takes = VERB_EACH, .begin = list_begin, .run = verb_list},
	{.name = "create", .args = "NAME", .help = "start a VM of dalang.cfg's that is not there now",
	 .takes = VERB_FILE, .run = verb_create},
	{.name = "destroy", .args = "NAME", .help = "end a VM at once",
	 .takes = VERB_VM, .run = verb_destroy},
	{.name = "shutdown", .args = "NAME", .help = "press its power button",
	 .takes = VERB_VM, .run = verb_shutdown},
	{.name = "reset", .args = "NAME", .help = "start it anew, as the reset button does",
	 .takes = VERB_VM, .run = verb_reset},
	{.name = "trigger", .args = "NAME nmi", .help = "press its NMI button",
	 .takes = VERB_VM, .min = 1, .max = 1, .run = verb_trigger},
	{.name = "pause", .args = "NAME", .help = "stop its vCPUs",
	 .takes = VERB_VM, .run = verb_pause},
	{.name = "unpause", .args = "NAME", .help = "let them go on",
	 .takes = VERB_VM, .run = verb_unpause},
	{.name = "console", .args = "NAME", .help = "show its console and type into it; Ctrl-] leads back",
	 .takes = VERB_VM, .run = verb_console},
	{.name = "mem", .args = "", .help = "both memory pools, in KiB",
	 .takes = VERB_HOST, .run = verb_mem},
};
const u32 monitor_nr_verbs = ARRAY_SIZE(monitor_verbs);
