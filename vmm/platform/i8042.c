/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keyboard controller with its mouse port (Intel 8042; IBM PS/2 Hardware Interface Technical
 * Reference, "Keyboard and Auxiliary Device Controller"). What the two devices say, ps2_kbd.c and
 * ps2_mouse.c know. A byte is in the output buffer as soon as there is one and the buffer is empty.
 */
#include "vmm/platform/isa.h"
#include "vmm/platform/ps2.h"
#include "vmm/irq.h"
#include "vmm/platform_map.h"

#define STATUS_OBF     BIT(0)
#define STATUS_SYS     BIT(2) /* as in the command byte */
#define STATUS_CMD     BIT(3) /* the last write was to port 64h */
#define STATUS_NO_LOCK BIT(4)
#define STATUS_AUX     BIT(5)

#define CTR_KBD_INT BIT(0)
#define CTR_AUX_INT BIT(1)
#define CTR_SYS	    BIT(2)
#define CTR_KBD_OFF BIT(4)
#define CTR_AUX_OFF BIT(5)
#define CTR_XLATE   BIT(6)
/* As a BIOS leaves it, which has asked the keyboard and not yet the mouse. */
#define CTR_DEFAULT (CTR_KBD_INT | CTR_SYS | CTR_AUX_OFF | CTR_XLATE)

/* The output port. Bits 4 and 5 are the interrupt requests; the others are held high. */
#define OUT_NO_RESET BIT(0)
#define OUT_A20	     BIT(1)
#define OUT_KBD_FULL BIT(4)
#define OUT_AUX_FULL BIT(5)
#define OUT_HIGH     0xccu

enum { CMD_READ_RAM = 0x20, CMD_WRITE_RAM = 0x60, CMD_HAS_PASSWORD = 0xa4, CMD_AUX_OFF = 0xa7,
       CMD_AUX_ON = 0xa8, CMD_AUX_TEST = 0xa9, CMD_SELF_TEST = 0xaa, CMD_KBD_TEST = 0xab,
       CMD_KBD_OFF = 0xad, CMD_KBD_ON = 0xae, CMD_READ_IN = 0xc0, CMD_READ_OUT = 0xd0,
       CMD_WRITE_OUT = 0xd1, CMD_AS_KBD = 0xd2, CMD_AS_AUX = 0xd3, CMD_TO_AUX = 0xd4,
       CMD_PULSE = 0xf0 };
#define RAM_SIZE 32

struct i8042 {
	u8 ram[RAM_SIZE]; /* byte 0: the command byte (CTR_*) */
	u8 full, aux, data; /* the output buffer, whose byte it is */
	u8 has_reply, reply_aux, reply; /* of the controller's own: next */
	u8 cmd; /* waits for its argument; 0: none */
	u8 status_cmd;
	u8 released; /* a break prefix was swallowed: the next code is one */
	u8 pad;
	struct ps2_kbd kbd;
	struct ps2_mouse mouse;
};

/* Its next byte, in the set that the guest wants: a break prefix of set 2 becomes bit 7 of what
 * follows. */
static bool kbd_byte(struct i8042 *s, u8 *b)
{
	while (ps2_pop(&s->kbd.q, b)) {
		if (!(s->ram[0] & CTR_XLATE))
			return true;
		if (*b == 0xf0) {
			s->released = 0x80;
			continue;
		}
		*b = ps2_translate(*b) | s->released;
		s->released = 0;
		return true;
	}
	return false;
}

/* Fill the buffer if it is empty, and drive both lines. */
static void update(struct vdev *d)
{
	struct i8042 *s = d->state;

	if (!s->full && s->has_reply) {
		s->data = s->reply;
		s->aux = s->reply_aux;
		s->has_reply = 0;
		s->full = 1;
	} else if (!s->full && !(s->ram[0] & CTR_KBD_OFF) && kbd_byte(s, &s->data)) {
		s->aux = 0;
		s->full = 1;
	} else if (!s->full && !(s->ram[0] & CTR_AUX_OFF)) {
		ps2_mouse_report(&s->mouse);
		s->aux = s->full = ps2_pop(&s->mouse.q, &s->data);
	}
	vm_irq_set(d->vm, PLAT_GSI_KBD, s->full && !s->aux && (s->ram[0] & CTR_KBD_INT));
	vm_irq_set(d->vm, PLAT_GSI_MOUSE, s->full && s->aux && (s->ram[0] & CTR_AUX_INT));
}

/* ---- reading ---- */

static u8 read_data(struct vdev *d)
{
	struct i8042 *s = d->state;
	u8 data = s->data;

	s->full = 0;
	/* Each byte is an edge of its own. */
	vm_irq_set(d->vm, s->aux ? PLAT_GSI_MOUSE : PLAT_GSI_KBD, false);
	update(d);
	return data;
}

static u8 status(const struct i8042 *s)
{
	return STATUS_NO_LOCK | (s->full ? STATUS_OBF | (s->aux ? STATUS_AUX : 0) : 0) |
	       (s->ram[0] & CTR_SYS ? STATUS_SYS : 0) | (s->status_cmd ? STATUS_CMD : 0);
}

static u32 i8042_read(struct vdev *d, u16 port, unsigned size)
{
	(void)size;
	return port == PLAT_I8042_DATA ? read_data(d) : status(d->state);
}

/* ---- commands ---- */

static void say(struct i8042 *s, u8 byte, bool aux)
{
	s->reply = byte;
	s->reply_aux = aux;
	s->has_reply = 1;
}

/* A20 is always open, so bit 1 does nothing; bit 0 holds the CPU in reset. */
static void write_out(struct vdev *d, u8 val)
{
	if (!(val & OUT_NO_RESET))
		vm_request_end(d->vm, VM_END_REBOOT, RESET_BY_I8042);
}

static void command(struct vdev *d, u8 cmd)
{
	struct i8042 *s = d->state;
	u8 *ctr = &s->ram[0];

	s->cmd = 0;
	switch (cmd) {
	case CMD_READ_RAM ... CMD_READ_RAM + RAM_SIZE - 1:
		say(s, s->ram[cmd - CMD_READ_RAM], false);
		break;
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + RAM_SIZE - 1:
	case CMD_WRITE_OUT ... CMD_TO_AUX: s->cmd = cmd; break;
	case CMD_HAS_PASSWORD: say(s, 0xf1, false); break; /* none */
	case CMD_AUX_OFF: *ctr |= CTR_AUX_OFF; break;
	case CMD_AUX_ON: *ctr &= ~CTR_AUX_OFF; break;
	case CMD_AUX_TEST: say(s, 0x00, false); break;
	case CMD_SELF_TEST:
		*ctr |= CTR_SYS;
		say(s, 0x55, false);
		break;
	case CMD_KBD_TEST: say(s, 0x00, false); break;
	case CMD_KBD_OFF: *ctr |= CTR_KBD_OFF; break;
	case CMD_KBD_ON: *ctr &= ~CTR_KBD_OFF; break;
	case CMD_READ_IN: say(s, 0x80, false); break; /* not locked */
	case CMD_READ_OUT:
		say(s, OUT_HIGH | OUT_NO_RESET | OUT_A20 |
			       (!s->full ? 0 : s->aux ? OUT_AUX_FULL : OUT_KBD_FULL), false);
		break;
	case CMD_PULSE ... 0xff: /* those of bits 3:0 that are 0 */
		if (!(cmd & OUT_NO_RESET))
			vm_request_end(d->vm, VM_END_REBOOT, RESET_BY_I8042);
		break;
	}
}

/* What is written to a device switches its port on (as the 8042 does to be able to send). */
static void argument(struct vdev *d, u8 val)
{
	struct i8042 *s = d->state;
	u8 cmd = s->cmd;

	s->cmd = 0;
	switch (cmd) {
	case CMD_WRITE_RAM ... CMD_WRITE_RAM + RAM_SIZE - 1:
		s->ram[cmd - CMD_WRITE_RAM] = val;
		s->released = 0;
		break;
	case CMD_WRITE_OUT: write_out(d, val); break;
	case CMD_AS_KBD: say(s, val, false); break;
	case CMD_AS_AUX: say(s, val, true); break;
	case CMD_TO_AUX:
		s->ram[0] &= ~CTR_AUX_OFF;
		ps2_mouse_write(&s->mouse, val);
		break;
	default:
		s->ram[0] &= ~CTR_KBD_OFF;
		ps2_kbd_write(&s->kbd, val);
		break;
	}
}

static void i8042_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	struct i8042 *s = d->state;

	(void)size;
	s->status_cmd = port == PLAT_I8042_CMD;
	if (s->status_cmd)
		command(d, (u8)val);
	else
		argument(d, (u8)val);
	update(d);
}

/* ---- what comes from outside ---- */

bool i8042_key(struct vm *vm, u8 key, bool down)
{
	struct vdev *d = vm_vdev(vm, &i8042_vdev);
	bool taken = d && ps2_kbd_key(&((struct i8042 *)d->state)->kbd, key, down);

	if (taken)
		update(d);
	return taken;
}

bool i8042_chord(struct vm *vm, const u8 *keys, unsigned n)
{
	struct vdev *d = vm_vdev(vm, &i8042_vdev);
	struct ps2_kbd *k, before;
	bool taken = true;

	if (!d)
		return false;
	k = &((struct i8042 *)d->state)->kbd;
	before = *k;
	for (unsigned i = 0; i < n; i++)
		taken = taken && ps2_kbd_key(k, keys[i], true);
	for (unsigned i = n; i--;)
		taken = taken && ps2_kbd_key(k, keys[i], false);
	if (!taken)
		*k = before;
	update(d);
	return taken;
}

bool i8042_mouse(struct vm *vm, int dx, int dy, int dz, u8 buttons)
{
	struct vdev *d = vm_vdev(vm, &i8042_vdev);
	bool taken = d && ps2_mouse_move(&((struct i8042 *)d->state)->mouse, dx, dy, dz, buttons);

	if (taken)
		update(d);
	return taken;
}

static void i8042_reset(struct vdev *d)
{
	struct i8042 *s = d->state;

	*s = (struct i8042){.ram = {CTR_DEFAULT}};
	ps2_kbd_reset(&s->kbd);
	ps2_mouse_reset(&s->mouse);
	update(d);
}

static bool in_motion_range(s16 v)
{
	return v >= -PS2_MOTION_MAX && v <= PS2_MOTION_MAX;
}

static bool i8042_valid(const void *state)
{
	const struct i8042 *s = state;

	return ps2_queue_valid(&s->kbd.q) && ps2_queue_valid(&s->mouse.q) &&
	       in_motion_range(s->mouse.dx) && in_motion_range(s->mouse.dy) &&
	       in_motion_range(s->mouse.dz);
}

static const struct vdev_pio i8042_pio[] = {
	{PLAT_I8042_DATA, 1, i8042_read, i8042_write},
	{PLAT_I8042_CMD, 1, i8042_read, i8042_write},
};

/* clang-format off */
const struct vdev_type i8042_vdev = {
	.name = "i8042", .version = 1, .state_size = sizeof(struct i8042),
	.nr_pio = ARRAY_SIZE(i8042_pio), .pio = i8042_pio,
	.reset = i8042_reset, .valid = i8042_valid,
};
/* clang-format on */
VDEV_REGISTER(i8042_vdev);
