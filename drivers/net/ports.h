/* SPDX-License-Identifier: BSD-2-Clause */
/* What the monitor (verb_net.c) says to ports and hears of them. Interrupts off, no lock of LOCK_BRIDGES or later held. */
#pragma once
#include "drivers/net/switch.h"

#define NET_ALL ~0u /* as owner, as index */

struct net_stat {
	const char *kind;
	u16 owner;
	u8 index;
	bool up, mirrored, filtered;
	u32 learned;
	struct net_count sent, received;
	u64 drops[NR_DROPS];
	char bridge[sizeof(((struct vm_vif *)0)->bridge)];
	struct vm_vif vif;
};

bool net_stat(u32 n, struct net_stat *st); /* of the n-th port of all; false: there are no more */
bool net_rule_hits(u16 owner, u32 index, u32 rule, u64 *hits); /* packets that the rule decided; false: no such port */
int net_set_link(u16 owner, u32 index, bool up); /* 0 or -ENODEV */
u32 net_set_mirror(u32 owner, u32 index, bool on); /* how many ports that are */

/* mirror.c */
bool net_mirror_start(u32 snap); /* keep so many bytes of each frame, 0: as before; the file's header comes first. false: no memory */
u64 net_mirror_lost(void); /* frames that found no room since */
