/* SPDX-License-Identifier: BSD-2-Clause */
/* IBM PC/AT technical reference, keyboard: scan codes of set 1, which an i8042 makes of set 2. */
#include "drivers/host/scancode.h"
#include "lib/string.h"

#define BREAK 0x80
#define LEFT  1u
#define RIGHT 2u

/* By scancode; NUL: no letter. */
static const char plain[] = "\0\033" "1234567890-=\177\tqwertyuiop[]\r\0asdfghjkl;'`\0\\zxcvbnm,./\0*\0 ";
static const char shifted[] = "\0\033!@#$%^&*()_+\177\tQWERTYUIOP{}\r\0ASDFGHJKL:\"~\0|ZXCVBNM<>?\0*\0 ";
static_assert(sizeof(plain) == 0x3a + 1 && sizeof(shifted) == sizeof(plain), "up to the space bar");

/* What the cursor block sends, and the keypad while Num Lock is off: scancodes 0x47 to 0x53. */
static const char *const pad[] = {"\033[H", "\033[A", "\033[5~", "-",	   "\033[D", NULL,    "\033[C",
				  "+",	    "\033[F", "\033[B",	 "\033[6~", "\033[2~", "\033[3~"};
static const char pad_digits[] = "789-456+1230.";

static const char *const functions[] = {"\033OP",   "\033OQ",	"\033OR",   "\033OS",	"\033[15~",
					"\033[17~", "\033[18~", "\033[19~", "\033[20~", "\033[21~"};

static size_t say(char *out, const char *s)
{
	size_t n = s ? strlen(s) : 0;

	memcpy(out, s ?: "", n);
	return n;
}

static size_t letter(const struct scancode *s, char c, char out[])
{
	size_t n = 0;

	if (!c)
		return 0;
	if (s->ctrl && (c >= '@' || c == ' '))
		c &= 0x1f;
	if (s->alt)
		out[n++] = 033;
	out[n++] = c;
	return n;
}

/* Keys that do something while they are down; true: it was one. */
static bool modifier(struct scancode *s, u8 key, bool extended, bool down)
{
	u8 *held, side = extended ? RIGHT : LEFT;

	switch (key) {
	case 0x2a:
	case 0x36:
		if (extended)
			return true; /* sent around cursor keys, pressed by nobody */
		held = &s->shift;
		side = key == 0x36 ? RIGHT : LEFT;
		break;
	case 0x1d:
		held = &s->ctrl;
		break;
	case 0x38:
		held = &s->alt;
		break;
	default:
		return false;
	}
	*held = down ? *held | side : *held & ~side;
	return true;
}

static size_t extended_key(const struct scancode *s, u8 key, char out[])
{
	if (key == 0x1c || key == 0x35)
		return letter(s, key == 0x1c ? '\r' : '/', out);
	if (key < 0x47 || key > 0x53 || key == 0x4a || key == 0x4e)
		return 0;
	return say(out, pad[key - 0x47]);
}

static size_t key_pressed(struct scancode *s, u8 key, char out[])
{
	bool shift = s->shift;

	if (key < sizeof(plain) - 1) {
		if (plain[key] >= 'a' && plain[key] <= 'z')
			shift ^= s->caps;
		return letter(s, shift ? shifted[key] : plain[key], out);
	}
	s->caps ^= key == 0x3a;
	s->num ^= key == 0x45;
	if (key >= 0x3b && key <= 0x44)
		return say(out, functions[key - 0x3b]);
	if (key >= 0x47 && key <= 0x53)
		return s->num != shift ? letter(s, pad_digits[key - 0x47], out) : say(out, pad[key - 0x47]);
	if (key == 0x56) /* beside the left Shift, on keyboards with one key more */
		return letter(s, shift ? '|' : '\\', out);
	return key == 0x57 || key == 0x58 ? say(out, key == 0x57 ? "\033[23~" : "\033[24~") : 0;
}

size_t scancode_byte(struct scancode *s, u8 code, char out[SCANCODE_MAX])
{
	bool extended = s->prefix == 0xe0, down = !(code & BREAK);
	u8 key = code & ~BREAK;

	if (s->skip) {
		s->skip--;
		return 0;
	}
	s->prefix = 0;
	if (code == 0xe0) {
		s->prefix = code;
		return 0;
	}
	if (code == 0xe1) {
		s->skip = 2;
		return 0;
	}
	if (modifier(s, key, extended, down) || !down)
		return 0;
	return extended ? extended_key(s, key, out) : key_pressed(s, key, out);
}
