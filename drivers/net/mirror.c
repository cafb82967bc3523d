/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mirror: what passes at ports that are mirrored leaves the host as a pcap file (its sections of nanoseconds, LINKTYPE
 * 1) on channel CHANNEL_MIRROR of docs/console.md. The serial line is slow: what finds no room in the ring is counted
 * and lost. The ring is emptied from a timer, in pieces, with what room the port has beside everybody else's needs.
 */
#include "drivers/net/ports.h"
#include "arch/x86_64/frame.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/timer.h"

#define RING	KIB(256)
#define STEP	4096u
#define STEP_NS 1000000ull

struct pcap_header {
	u32 magic;
	u16 major, minor;
	u32 zone, sigfigs, snap, link;
};
struct pcap_record {
	u32 sec, nsec, kept, len;
};
static_assert(sizeof(struct pcap_header) == 24 && sizeof(struct pcap_record) == 16, "the file's");

static struct {
	struct spinlock lock;
	u8 *ring;
	u64 head, tail;
	u32 snap;
	u64 lost;
	struct timer timer;
	bool on_its_way; /* the timer is set */
} mirror = {.lock = SPINLOCK(LOCK_MIRROR)};

static void put(const void *p, u32 n)
{
	u64 off = mirror.tail & (RING - 1);
	u32 part = (u32)MIN(n, RING - off);

	memcpy(mirror.ring + off, p, part);
	memcpy(mirror.ring, (const u8 *)p + part, n - part);
	mirror.tail += n;
}

static void come_back(void)
{
	if (mirror.on_its_way)
		return;
	mirror.on_its_way = true;
	timer_set(&mirror.timer, rdtsc() + ns_to_tsc(STEP_NS));
}

static void drain(struct timer *t)
{
	u64 n, off;

	(void)t;
	spin_lock(&mirror.lock);
	mirror.on_its_way = false;
	off = mirror.head & (RING - 1);
	n = MIN(MIN(mirror.tail - mirror.head, RING - off), STEP);
	mirror.head += console_send(CHANNEL_MIRROR, mirror.ring + off, n);
	if (mirror.head != mirror.tail)
		come_back();
	spin_unlock(&mirror.lock);
}

bool net_mirror_start(u32 snap)
{
	const struct pcap_header h = {.magic = 0xa1b23c4d, .major = 2, .minor = 4, .snap = NET_MAX_FRAME, .link = 1};

	spin_lock(&mirror.lock);
	if (!mirror.ring) {
		mirror.ring = kzalloc(RING, FRAME_DEVICE, OWNER_HOST);
		timer_init(&mirror.timer, drain);
	}
	if (mirror.ring && !mirror.tail) {
		put(&h, sizeof(h)); /* once: then it is one file, whatever is turned on and off */
		come_back();
	}
	mirror.snap = snap ?: mirror.snap ?: NET_MAX_FRAME;
	spin_unlock(&mirror.lock);
	return mirror.ring;
}

/* Before any VM: what is created with them is theirs. */
static void start(void)
{
	if (host_config()->mirror && !net_mirror_start(0))
		log_err("dalang.cfg: mirror = %u, but no memory of our own is left for it", host_config()->mirror);
}
HOST_DRIVER(start);

u64 net_mirror_lost(void)
{
	return READ_ONCE(mirror.lost);
}

void net_mirror(struct net_pkt *pk)
{
	const struct net_frame *f = pk->f;
	u64 now = wallclock_ns(), room;
	struct pcap_record r = {.sec = (u32)(now / 1000000000), .nsec = (u32)(now % 1000000000), .len = f->len};
	u8 piece[256];

	if (pk->mirrored)
		return;
	pk->mirrored = true;
	spin_lock(&mirror.lock);
	r.kept = MIN(f->len, mirror.snap);
	room = mirror.ring ? RING - (mirror.tail - mirror.head) : 0;
	if (room < sizeof(r) + r.kept) {
		mirror.lost++;
	} else {
		put(&r, sizeof(r));
		for (u32 at = 0; at < r.kept; at += sizeof(piece)) {
			u32 n = MIN((u32)sizeof(piece), r.kept - at);

			if (net_copy(f, at, piece, n))
				memset(piece, 0, n);
			put(piece, n);
		}
		come_back();
	}
	spin_unlock(&mirror.lock);
}
