/* SPDX-License-Identifier: BSD-2-Clause */
/* The dice of the hostile guests: splitmix64. Who sets them anew for each step makes it the same whatever went before. */
#pragma once
#include "pc.h"

#define ONE_OF(t) ((t)[below(sizeof(t) / sizeof((t)[0]))])

static inline u64 next_random(u64 *dice)
{
	u64 z = *dice += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

/* Below n, by these dice. */
static inline u32 below_of(u64 *dice, u32 n)
{
	return (u32)((next_random(dice) >> 32) * n >> 32);
}
