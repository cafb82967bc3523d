/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keyboard and mouse by the monitor's words. Keys have the names that QEMU's `sendkey` uses:
 * "ctrl-alt-delete", "a", "shift-f1", "0x1e".
 */
#include "vmm/vdev.h"
#include "lib/string.h"

/* Rows of keys of one character each, whose codes (set 1) follow one another. */
static const struct {
	const char *keys;
	u8 first;
} rows[] = {{"1234567890", 0x02}, {"qwertyuiop", 0x10}, {"asdfghjkl", 0x1e}, {"zxcvbnm", 0x2c}};

static const struct {
	char name[15];
	u8 code; /* bit 7: with a prefix of E0 */
} names[] = {
	{"esc", 0x01}, {"minus", 0x0c}, {"equal", 0x0d}, {"backspace", 0x0e}, {"tab", 0x0f},
	{"bracket_left", 0x1a}, {"bracket_right", 0x1b}, {"ret", 0x1c}, {"ctrl", 0x1d},
	{"semicolon", 0x27}, {"apostrophe", 0x28}, {"grave_accent", 0x29}, {"shift", 0x2a},
	{"backslash", 0x2b}, {"comma", 0x33}, {"dot", 0x34}, {"slash", 0x35}, {"shift_r", 0x36},
	{"asterisk", 0x37}, {"alt", 0x38}, {"spc", 0x39}, {"caps_lock", 0x3a}, {"f1", 0x3b},
	{"f2", 0x3c}, {"f3", 0x3d}, {"f4", 0x3e}, {"f5", 0x3f}, {"f6", 0x40}, {"f7", 0x41},
	{"f8", 0x42}, {"f9", 0x43}, {"f10", 0x44}, {"num_lock", 0x45}, {"scroll_lock", 0x46},
	{"kp_7", 0x47}, {"kp_8", 0x48}, {"kp_9", 0x49}, {"kp_subtract", 0x4a}, {"kp_4", 0x4b},
	{"kp_5", 0x4c}, {"kp_6", 0x4d}, {"kp_add", 0x4e}, {"kp_1", 0x4f}, {"kp_2", 0x50},
	{"kp_3", 0x51}, {"kp_0", 0x52}, {"kp_decimal", 0x53}, {"sysrq", 0x54}, {"less", 0x56},
	{"f11", 0x57}, {"f12", 0x58}, {"kp_enter", 0x9c}, {"ctrl_r", 0x9d}, {"kp_divide", 0xb5},
	{"print", 0xb7}, {"alt_r", 0xb8}, {"pause", 0xc6}, {"home", 0xc7}, {"up", 0xc8},
	{"pgup", 0xc9}, {"left", 0xcb}, {"right", 0xcd}, {"end", 0xcf}, {"down", 0xd0},
	{"pgdn", 0xd1}, {"insert", 0xd2}, {"delete", 0xd3}, {"meta_l", 0xdb}, {"meta_r", 0xdc},
	{"menu", 0xdd},
};

static u8 hex(const char *s, size_t n)
{
	unsigned v = 0;

	for (size_t i = 0; i < n; i++) {
		char c = s[i];
		unsigned digit = c >= '0' && c <= '9'   ? c - '0'
				 : c >= 'a' && c <= 'f' ? c - 'a' + 10
							: 256;

		v = v * 16 + digit;
		if (v > 0xff)
			return 0;
	}
	return (u8)v;
}

/* The key's code; 0: there is no such key. */
static u8 lookup(const char *s, size_t n)
{
	if (n > 2 && s[0] == '0' && s[1] == 'x')
		return hex(s + 2, n - 2);
	for (size_t i = 0; n == 1 && i < ARRAY_SIZE(rows); i++) {
		const char *at = strchr(rows[i].keys, *s);

		if (at)
			return (u8)(rows[i].first + (at - rows[i].keys));
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strlen(names[i].name) == n && !memcmp(names[i].name, s, n))
			return names[i].code;
	return 0;
}

const char *i8042_sendkey(struct vm *vm, const char *chord)
{
	u8 keys[4]; /* more would not fit the keyboard's buffer */
	unsigned nr = 0;

	for (const char *s = chord;; s++) {
		const char *end = strchr(s, '-');
		size_t n = end ? (size_t)(end - s) : strlen(s);

		if (nr == ARRAY_SIZE(keys))
			return "more than four keys at once";
		keys[nr] = lookup(s, n);
		if (!keys[nr++])
			return "no such key; they are named as in ctrl-alt-delete, a, shift-f1, "
			       "or 0x1e by their code in set 1";
		if (!end)
			break;
		s = end;
	}
	if (i8042_chord(vm, keys, nr))
		return NULL;
	return "the guest takes no keys now: its keyboard is off, or nobody reads what it says";
}

/* A decimal number of up to four digits; *s goes behind it and the comma that may follow. */
static bool number(const char **s, int *v)
{
	const char *p = *s;
	bool minus = *p == '-';
	unsigned n = 0;

	for (p += minus, *v = 0; *p >= '0' && *p <= '9' && n < 4; p++, n++)
		*v = *v * 10 + (*p - '0');
	if (minus)
		*v = -*v;
	*s = *p == ',' ? p + 1 : p;
	return n && (!*p || (*p == ',' && p[1]));
}

const char *i8042_sendmouse(struct vm *vm, const char *how)
{
	int v[4] = {0};
	const char *s = how;
	unsigned n = 0;

	do {
		if (n == ARRAY_SIZE(v) || !number(&s, &v[n++]))
			return "how it moves is DX,DY[,DZ[,BUTTONS]], as in 5,-3 or 0,0,0,1";
	} while (*s);
	if (n < 2 || v[3] < 0 || v[3] > 0x1f)
		return "how it moves is DX,DY[,DZ[,BUTTONS]], buttons 0 to 31";
	if (i8042_mouse(vm, v[0], v[1], v[2], (u8)v[3]))
		return NULL;
	return "the guest does not listen to its mouse now";
}
