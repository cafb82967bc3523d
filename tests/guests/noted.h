/* SPDX-License-Identifier: BSD-2-Clause */
/* What a hostile guest tells its next life by the CMOS: the step it is at, in bytes 40h to 47h. */
#pragma once
#include "pc.h"

static inline u8 cmos_read(u8 i)
{
	outb(0x70, i);
	return inb(0x71);
}
static inline void cmos_write(u8 i, u8 v)
{
	outb(0x70, i);
	outb(0x71, v);
}

/* 4 bytes, with their complement; only those that change. */
static inline void note_step(u32 n)
{
	static u32 there[4] = {~0u, ~0u, ~0u, ~0u};

	for (u32 i = 0; i < 4; i++) {
		u8 b = (u8)(n >> 8 * i);

		if (there[i] == b)
			continue;
		there[i] = ~0u; /* an INIT may come in between */
		cmos_write((u8)(0x40 + i), b);
		cmos_write((u8)(0x44 + i), (u8)~b);
		there[i] = b;
	}
}

/* 0: none, or it is spoilt. */
static inline u32 noted_step(void)
{
	u32 n = 0, not = 0;

	for (u32 i = 0; i < 4; i++) {
		n |= (u32)cmos_read((u8)(0x40 + i)) << 8 * i;
		not |= (u32)cmos_read((u8)(0x44 + i)) << 8 * i;
	}
	return n == ~not ? n : 0;
}
