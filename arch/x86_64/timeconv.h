/* SPDX-License-Identifier: BSD-2-Clause */
/* Ticks to nanoseconds and back by multiplication; the product has 128 bits, so nothing overflows. */
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
