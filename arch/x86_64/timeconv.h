/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ticks to nanoseconds and back, and the host's TSC ticks to a guest's and back, by multiplication; the product
 * has 128 bits, so nothing overflows.
 */
#pragma once
#include "lib/types.h"

struct time_scale {
	u64 to_ns;   /* ns per tick, 32 binary places */
	u64 to_tick; /* ticks per ns, 32 binary places */
};

static inline struct time_scale time_scale_of(u64 khz)
{
	return (struct time_scale){.to_ns = (1000000ull << 32) / khz, .to_tick = (khz << 32) / 1000000};
}

/* Saturates, for a far deadline must not wrap into the past. */
static inline u64 scale32(u64 v, u64 mult)
{
	unsigned __int128 p = (unsigned __int128)v * mult >> 32;

	return p > ~0ull ? ~0ull : (u64)p;
}

/*
 * A guest's TSC is the host's, times a ratio, plus an offset. The ratio has 8 binary places before the point and 32
 * behind it, as AMD's (APM vol. 2, 15.30.5): Intel's (SDM vol. 3, 25.6.5) has more of both, but a saved VM
 * is to run on either alike, and 2^-33 is 4 ms in a year.
 */
#define TSC_RATIO_ONE (1ull << 32)
#define TSC_RATIO_BITS 40
#define TSC_KHZ_MIN 1000
#define TSC_KHZ_MAX 100000000
/* Crystals differ by as much, and what disciplines a guest's clock makes up for twice that. */
#define TSC_TOLERANCE_PPM 250

/* The ratio for a guest whose TSC is to have guest_khz, which is within these bounds; without scaling the host's frequency must do. 0:
 * the CPU cannot. */
static inline u64 tsc_ratio_for(u64 guest_khz, u64 host_khz, bool scaling)
{
	u64 off = guest_khz > host_khz ? guest_khz - host_khz : host_khz - guest_khz;
	u64 ratio = ((guest_khz << 32) + host_khz / 2) / host_khz;

	if (!scaling)
		return off * 1000000 <= host_khz * TSC_TOLERANCE_PPM ? TSC_RATIO_ONE : 0;
	return ratio >> TSC_RATIO_BITS ? 0 : ratio;
}

/* As the CPU does it. Signed, for a guest that is older than its host began before that one's TSC was 0. */
static inline u64 tsc_scale(u64 host, u64 ratio)
{
	return (u64)((__int128)(s64)host * (s64)ratio >> 32);
}

/* How many of the host's ticks pass while the guest's TSC counts so many: rounded up, for a timer must not come
 * early; saturates. */
static inline u64 tsc_unscale(u64 guest_ticks, u64 ratio)
{
	u64 ticks;

	if (ratio == TSC_RATIO_ONE)
		return guest_ticks;
	ticks = scale32(guest_ticks, ~0ull / ratio + 1);
	return ticks + (ticks != ~0ull);
}
