/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The two PS/2 devices behind the i8042 (IBM PS/2 Hardware Interface Technical Reference, 1991,
 * "Keyboards" and "Mouse"). Plain state and pure functions; i8042.c holds both in its own state and
 * moves the bytes.
 */
#pragma once
#include "lib/types.h"
#include "lib/string.h"

/* With the byte in the controller's buffer these are 16, which is what drivers are ready to throw
 * away before they believe that there is no controller. */
#define PS2_QUEUE   15u
#define PS2_REPLIES 5

enum { PS2_ACK = 0xfa, PS2_AGAIN = 0xfe, PS2_BAT_OK = 0xaa };

/* What a device has to say: the reply to a command first, then scancodes or packets. */
struct ps2_queue {
	u8 reply[PS2_REPLIES], nr_replies;
	u8 byte[PS2_QUEUE], n;
	u8 last; /* sent: what "resend" asks for */
};

static inline bool ps2_queue_valid(const struct ps2_queue *q)
{
	return q->nr_replies <= PS2_REPLIES && q->n <= PS2_QUEUE;
}

static inline void ps2_reply(struct ps2_queue *q, u8 byte)
{
	if (q->nr_replies < PS2_REPLIES)
		q->reply[q->nr_replies++] = byte;
}

/* All of it or nothing. */
static inline bool ps2_put(struct ps2_queue *q, const u8 *b, unsigned n)
{
	if (n > PS2_QUEUE - q->n)
		return false;
	memcpy(q->byte + q->n, b, n);
	q->n = (u8)(q->n + n);
	return true;
}

static inline bool ps2_pop(struct ps2_queue *q, u8 *byte)
{
	u8 *from = q->nr_replies ? q->reply : q->byte, *n = q->nr_replies ? &q->nr_replies : &q->n;

	if (!*n)
		return false;
	q->last = *byte = from[0];
	memmove(from, from + 1, --*n);
	return true;
}

struct ps2_kbd {
	struct ps2_queue q;
	u8 cmd; /* waits for its argument; 0: none */
	u8 set, leds, rate, scanning;
};
void ps2_kbd_reset(struct ps2_kbd *k);
void ps2_kbd_write(struct ps2_kbd *k, u8 byte);
/* key: its make code in set 1, bit 7 for a prefix of E0. false: not taken, as the queue is full or
 * scanning is off. */
bool ps2_kbd_key(struct ps2_kbd *k, u8 key, bool down);
/* Set 2 into set 1, as the controller does; also for replies. */
u8 ps2_translate(u8 byte);

/* Motion that waits beyond this is lost. */
#define PS2_MOTION_MAX 4096
struct ps2_mouse {
	struct ps2_queue q;
	u8 cmd;
	u8 id, rate, resolution, double_scale;
	u8 reporting, remote, wrap;
	u8 buttons, told;   /* now, and as the guest knows them: left, right, middle, 4th, 5th */
	u8 rate_before;	    /* what `rate` was */
	u8 pad;
	s16 dx, dy, dz;	    /* not told yet; y grows upwards */
};
void ps2_mouse_reset(struct ps2_mouse *m);
void ps2_mouse_write(struct ps2_mouse *m, u8 byte);
/* false: nobody listens. */
bool ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz, u8 buttons);
/* As many packets as there is something to tell and room for. */
void ps2_mouse_report(struct ps2_mouse *m);
