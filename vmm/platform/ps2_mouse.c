/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The mouse (PS/2 Technical Reference, "Mouse"), with the wheel of Microsoft's IntelliMouse and the
 * five buttons of its Explorer, which a driver finds by setting three rates in a row and asking for
 * the id.
 */
#include "vmm/platform/ps2.h"

enum { CMD_SCALE_1 = 0xe6, CMD_SCALE_2 = 0xe7, CMD_RESOLUTION = 0xe8, CMD_STATUS = 0xe9,
       CMD_STREAM = 0xea, CMD_READ = 0xeb, CMD_WRAP_OFF = 0xec, CMD_WRAP_ON = 0xee,
       CMD_REMOTE = 0xf0, CMD_ID = 0xf2, CMD_RATE = 0xf3, CMD_ENABLE = 0xf4, CMD_DISABLE = 0xf5,
       CMD_DEFAULTS = 0xf6, CMD_RESEND = 0xfe, CMD_RESET = 0xff };
enum { ID_PLAIN = 0, ID_WHEEL = 3, ID_EXPLORER = 4 };

#define PACKET_ALWAYS BIT(3)
#define PACKET_X_SIGN BIT(4)
#define PACKET_Y_SIGN BIT(5)
#define STATUS_REMOTE  BIT(6)
#define STATUS_ENABLED BIT(5)
#define STATUS_DOUBLE  BIT(4)

static void defaults(struct ps2_mouse *m)
{
	m->rate = 100;
	m->rate_before = 0;
	m->resolution = 2;
	m->double_scale = m->reporting = m->remote = 0;
	m->dx = m->dy = m->dz = 0;
	m->q.n = 0;
}

void ps2_mouse_reset(struct ps2_mouse *m)
{
	u8 buttons = m->buttons;

	*m = (struct ps2_mouse){.buttons = buttons, .told = buttons};
	defaults(m);
}

static int clamp(int v, int low, int high)
{
	return v < low ? low : v > high ? high : v;
}

static void gather(s16 *sum, int v)
{
	v = clamp(v, -PS2_MOTION_MAX, PS2_MOTION_MAX);
	*sum = (s16)clamp(*sum + v, -PS2_MOTION_MAX, PS2_MOTION_MAX);
}

/* Scaling 2:1, in stream mode only. */
static int scaled(const struct ps2_mouse *m, int v)
{
	static const u8 small[] = {0, 1, 1, 3, 6, 9};
	int a = v < 0 ? -v : v;

	if (!m->double_scale || m->remote)
		return v;
	a = a < (int)ARRAY_SIZE(small) ? small[a] : MIN(2 * a, 255);
	return v < 0 ? -a : a;
}

/* The next packet, and what it tells is told. */
static unsigned packet(struct ps2_mouse *m, u8 *b)
{
	int dx = clamp(m->dx, -255, 255), dy = clamp(m->dy, -255, 255), dz = clamp(m->dz, -8, 7);
	int x = scaled(m, dx), y = scaled(m, dy);

	m->dx = (s16)(m->dx - dx);
	m->dy = (s16)(m->dy - dy);
	m->told = m->buttons;
	b[0] = PACKET_ALWAYS | (m->buttons & 7) | (x < 0 ? PACKET_X_SIGN : 0) |
	       (y < 0 ? PACKET_Y_SIGN : 0);
	b[1] = (u8)x;
	b[2] = (u8)y;
	if (m->id == ID_PLAIN)
		return 3;
	m->dz = (s16)(m->dz - dz);
	b[3] = m->id == ID_WHEEL ? (u8)dz : (u8)((dz & 15) | (m->buttons & 0x18) << 1);
	return 4;
}

void ps2_mouse_report(struct ps2_mouse *m)
{
	u8 b[4];

	if (!m->reporting || m->remote || m->wrap)
		return;
	while (PS2_QUEUE - m->q.n >= 4 && (m->dx || m->dy || m->dz || m->buttons != m->told))
		ps2_put(&m->q, b, packet(m, b));
}

bool ps2_mouse_move(struct ps2_mouse *m, int dx, int dy, int dz, u8 buttons)
{
	m->buttons = buttons & (m->id == ID_EXPLORER ? 0x1f : 7);
	if (!m->remote && !m->reporting) {
		m->told = m->buttons;
		return false;
	}
	gather(&m->dx, dx);
	gather(&m->dy, dy);
	gather(&m->dz, m->id == ID_PLAIN ? 0 : dz);
	ps2_mouse_report(m);
	return true;
}

static void set_rate(struct ps2_mouse *m, u8 rate)
{
	if (m->rate_before == 200 && m->rate == 100 && rate == 80)
		m->id = ID_WHEEL;
	else if (m->rate_before == 200 && m->rate == 200 && rate == 80)
		m->id = ID_EXPLORER;
	m->rate_before = m->rate;
	m->rate = rate;
}

static void send_status(struct ps2_mouse *m)
{
	u8 b = m->buttons;

	ps2_reply(&m->q, (m->remote ? STATUS_REMOTE : 0) | (m->reporting ? STATUS_ENABLED : 0) |
				 (m->double_scale ? STATUS_DOUBLE : 0) | (b & 1) << 2 | (b & 4) >> 1 |
				 (b & 2) >> 1);
	ps2_reply(&m->q, m->resolution);
	ps2_reply(&m->q, m->rate);
}

static void command(struct ps2_mouse *m, u8 cmd)
{
	ps2_reply(&m->q, PS2_ACK);
	switch (cmd) {
	case CMD_SCALE_1:
	case CMD_SCALE_2:
		m->double_scale = cmd == CMD_SCALE_2;
		break;
	case CMD_RESOLUTION:
	case CMD_RATE:
		m->cmd = cmd;
		break;
	case CMD_STATUS:
		send_status(m);
		break;
	case CMD_STREAM:
	case CMD_REMOTE:
		m->remote = cmd == CMD_REMOTE;
		m->q.n = 0;
		m->dx = m->dy = m->dz = 0;
		break;
	case CMD_READ: {
		u8 b[4];
		unsigned n = packet(m, b);

		for (unsigned i = 0; i < n; i++)
			ps2_reply(&m->q, b[i]);
		break;
	}
	case CMD_WRAP_OFF:
	case CMD_WRAP_ON:
		m->wrap = cmd == CMD_WRAP_ON;
		m->q.n = 0;
		break;
	case CMD_ID:
		ps2_reply(&m->q, m->id);
		break;
	case CMD_ENABLE:
		m->reporting = 1;
		m->told = m->buttons;
		break;
	case CMD_DISABLE:
		m->reporting = 0;
		break;
	case CMD_DEFAULTS:
		defaults(m);
		break;
	case CMD_RESET:
		ps2_mouse_reset(m);
		ps2_reply(&m->q, PS2_ACK);
		ps2_reply(&m->q, PS2_BAT_OK);
		ps2_reply(&m->q, ID_PLAIN);
		break;
	default:
		m->q.reply[0] = cmd == CMD_RESEND ? m->q.last : PS2_AGAIN;
	}
}

void ps2_mouse_write(struct ps2_mouse *m, u8 byte)
{
	u8 cmd = m->cmd;

	m->cmd = 0;
	m->q.nr_replies = 0;
	if (m->wrap && byte != CMD_RESET && byte != CMD_WRAP_OFF) {
		ps2_reply(&m->q, byte);
	} else if (cmd) {
		ps2_reply(&m->q, PS2_ACK);
		if (cmd == CMD_RATE)
			set_rate(m, byte);
		else
			m->resolution = byte & 3;
	} else {
		command(m, byte);
	}
}
