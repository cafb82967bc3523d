/* SPDX-License-Identifier: BSD-2-Clause */
/* From a PC keyboard's scancodes (set 1, US layout) to what a terminal would send. Pure. */
#pragma once
#include "lib/types.h"

struct scancode {
	u8 prefix;	   /* 0xe0 after that byte */
	u8 skip;	   /* bytes of Pause that are still to come */
	u8 shift, ctrl, alt; /* keys that are down: bit 0 left, bit 1 right */
	bool caps, num;
};

#define SCANCODE_MAX 8 /* bytes of a key */

/* Take a byte from the keyboard; returns how many bytes the key gives. */
size_t scancode_byte(struct scancode *s, u8 code, char out[SCANCODE_MAX]);
