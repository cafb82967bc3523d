/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the hostile driver share; vhostile.c says what the guest does. */
#pragma once
#include "cputest.h"
#include "dice.h"
#include "noted.h"
#include "vio.h"

/*
 * Guest-physical, of 16 MiB. The image lies where nothing that a device is told names it, nor what a device makes of that
 * by writing into rings: a status byte into an address leads below 0xa0000 (where RAM ends) or to 6 MiB and more, and
 * so does a used ring that lies 4 or 12 bytes behind a descriptor's beginning.
 */
#define LOW_END	 0xa0000ull
#define ARENA	 0x600000ull
#define RINGS	 ARENA /* of the queues set up to be broken */
#define RING	 0x4000ull
#define NR_RINGS 16u
#define DATA	 0x700000ull
#define RAM_TOP	 0x1000000ull
#define AP_PAGE	 0x8000ull

#define VEC_QUEUE 0x50

enum { NET = 1, BLK, CONSOLE, RNG, BALLOON, SCSI = 8, VSOCK = 19 };
#define CD_TARGET 4u /* of SCSI: the place of the CD-ROM among the disks of the VM's file */

/* A queue as it was last set up, whatever the device thought of it. */
struct hq {
	u64 desc, driver, device;
	u16 index, size, next, avail;
	bool packed, wrap;
};

struct target {
	struct vdrv d;
	u16 type, max_size;
	u32 nth, nr_queues, bar[6], msix, pm;
	u64 offered, sectors;
	u16 io; /* the legacy interface */
	bool readonly, moved, legacy;
	struct hq q[VDRV_QUEUES];
};

struct part {
	u64 at;
	u32 len;
	bool in;
};
#define MAX_PARTS 300u

/* vhostile.c */
extern u64 dice_now, seed;
extern volatile u32 step, came;
extern u32 requests, wrongs, resets;
u64 random(void);
u32 below(u32 n);
void fail(struct target *t, const char *what, u64 a, u64 b) __attribute__((noreturn));
void reset(struct target *t); /* and until it is done */
bool is_broken(struct target *t);
void set_up(struct target *t);
u64 device_place(u64 *dice);  /* where there is no RAM */
u64 tame(u64 v);	      /* the same, if it names no part of the image */

/* vhostile_ring.c */
bool ours(u64 at, u32 n); /* may the guest itself write there? */
void request(struct target *t, bool wrong);
void scribble(struct target *t, u64 *dice); /* one word of a ring or a table */
void kick(struct target *t, u32 queue);
void jump(struct target *t); /* the driver's index, or what it says of events */

/* vhostile_regs.c */
void poke(struct target *t);
void status_or_reset(struct target *t);
void pci_act(struct target *t);
void put_right(struct target *t); /* all that pci_act() may have left */

/* vhostile_honest.c: what a driver does that means well. It fails if the device does not do its part. */
void honest(struct target *t, struct target *peer);
