/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard: scancode sets 1 and 2, and its commands (PS/2 Technical Reference, "Keyboards"). No
 * set 3, which drivers ask for and do without, and no typematic repeat: who holds a key down
 * outside repeats it.
 */
#include "vmm/platform/ps2.h"

enum { CMD_LEDS = 0xed, CMD_ECHO = 0xee, CMD_SET = 0xf0, CMD_ID = 0xf2, CMD_RATE = 0xf3,
       CMD_ENABLE = 0xf4, CMD_DISABLE = 0xf5, CMD_DEFAULTS = 0xf6, CMD_SET3_FIRST = 0xf7,
       CMD_SET3_LAST = 0xfa, CMD_RESEND = 0xfe, CMD_RESET = 0xff };
enum { CODE_EXTENDED = 0xe0, CODE_BREAK = 0xf0 };
#define RATE_DEFAULT 0x2b /* 10.9 a second after half a second */

/* The 8042's own table of set 2 to set 1; 80h and above stay as they are, but for two keys. */
static const u8 set1[128] = {
	0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58,
	0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59,
	0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a,
	0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b,
	0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c,
	0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d,
	0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e,
	0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f,
	0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60,
	0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61,
	0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e,
	0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76,
	0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b,
	0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f,
	0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45,
	0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54,
};
#define SET2_F7	   0x83
#define SET2_SYSRQ 0x84
#define SET1_F7	   0x41
#define SET1_SYSRQ 0x54

u8 ps2_translate(u8 byte)
{
	if (byte < ARRAY_SIZE(set1))
		return set1[byte];
	return byte == SET2_F7 ? SET1_F7 : byte == SET2_SYSRQ ? SET1_SYSRQ : byte;
}

static u8 set2(u8 code)
{
	if (code == SET1_F7)
		return SET2_F7;
	if (code == SET1_SYSRQ)
		return SET2_SYSRQ;
	for (u8 i = 0; i < ARRAY_SIZE(set1); i++)
		if (set1[i] == code)
			return i;
	return 0; /* no key */
}

bool ps2_kbd_key(struct ps2_kbd *k, u8 key, bool down)
{
	u8 code = key & 0x7f, b[3];
	unsigned n = 0;

	if (!k->scanning || !code)
		return false;
	if (key & 0x80)
		b[n++] = CODE_EXTENDED;
	if (k->set == 1) {
		b[n++] = code | (down ? 0 : 0x80);
	} else {
		if (!down)
			b[n++] = CODE_BREAK;
		b[n++] = set2(code);
	}
	return ps2_put(&k->q, b, n);
}

static void defaults(struct ps2_kbd *k)
{
	k->q.n = 0;
	k->set = 2;
	k->rate = RATE_DEFAULT;
	k->scanning = 1;
}

void ps2_kbd_reset(struct ps2_kbd *k)
{
	*k = (struct ps2_kbd){0};
	defaults(k);
}

static void argument(struct ps2_kbd *k, u8 cmd, u8 val)
{
	if (cmd == CMD_SET && val > 2) {
		ps2_reply(&k->q, PS2_AGAIN);
		return;
	}
	ps2_reply(&k->q, PS2_ACK);
	if (cmd == CMD_LEDS)
		k->leds = val;
	else if (cmd == CMD_RATE)
		k->rate = val;
	else if (val)
		k->set = val;
	else
		ps2_reply(&k->q, k->set);
}

static void command(struct ps2_kbd *k, u8 cmd)
{
	switch (cmd) {
	case CMD_ECHO:
		ps2_reply(&k->q, CMD_ECHO);
		return;
	case CMD_RESEND:
		ps2_reply(&k->q, k->q.last);
		return;
	case CMD_LEDS:
	case CMD_SET:
	case CMD_RATE:
		k->cmd = cmd;
		break;
	case CMD_ENABLE:
		k->q.n = 0;
		k->scanning = 1;
		break;
	case CMD_DISABLE:
		defaults(k);
		k->scanning = 0;
		break;
	case CMD_DEFAULTS:
		defaults(k);
		break;
	case CMD_RESET:
		ps2_kbd_reset(k);
		break;
	case CMD_ID:
	case CMD_SET3_FIRST ... CMD_SET3_LAST:
		break;
	default:
		ps2_reply(&k->q, PS2_AGAIN);
		return;
	}
	ps2_reply(&k->q, PS2_ACK);
	if (cmd == CMD_ID) {
		ps2_reply(&k->q, 0xab);
		ps2_reply(&k->q, 0x83);
	} else if (cmd == CMD_RESET) {
		ps2_reply(&k->q, PS2_BAT_OK);
	}
}

/* A command takes the place of one whose argument or reply was still to come. */
void ps2_kbd_write(struct ps2_kbd *k, u8 byte)
{
	u8 cmd = k->cmd;

	k->cmd = 0;
	k->q.nr_replies = 0;
	if (cmd && byte < 0x80)
		argument(k, cmd, byte);
	else
		command(k, byte);
}
