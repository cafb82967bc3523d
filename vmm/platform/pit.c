/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8254 interval timer and port 61h (Intel 8254 datasheet 231164; ICH9 datasheet 13.3, 13.7.1).
 * Nothing counts: a channel knows the clock tick at which its count began, and the rest is worked
 * out on access. Only channel 0 has a timer, and only in modes that will give another edge.
 */
#include "vmm/platform/isa.h"
#include "vmm/platform_map.h"

#define PIT_HZ	       1193182u
#define REFRESH_NS     15085u /* port 61h bit 4 turns at each refresh of the memory */
#define MIN_TICKS      (MIN_PERIOD_NS * PIT_HZ / NS_PER_SEC + 1)
#define PORT61_GATE2   BIT(0)
#define PORT61_KEPT    0x0fu
#define PORT61_REFRESH BIT(4)
#define PORT61_OUT2    BIT(5)
#define CONTROL	       3u

enum { RW_LATCH, RW_LSB, RW_MSB, RW_BOTH };

struct pit_channel {
	u64 start;	   /* tick at which this sequence of periods began */
	u64 frozen;	   /* gate low: ticks gone by when it fell */
	u64 takeover;	   /* modes 2, 3: tick at which next_count takes over */
	u32 count;	   /* 1..65536 */
	u32 next_count;	   /* 2, 3: written while counting, 1, 5: of the next trigger; 0: none */
	u16 latch;
	u8 mode, rw, bcd;
	u8 gate, running;  /* running: count is loaded (and triggered, in modes 1 and 5) */
	u8 write_msb, low; /* the first byte of two has come */
	u8 read_msb;
	u8 latched;	   /* bytes of latch still to be read, as in rw */
	u8 status, status_latched;
	u8 null_count;
	u8 next_low;	   /* mode 3: next_count begins with its low half */
	u8 pad[3];
};
struct pit {
	struct pit_channel ch[3];
	u8 port61;
	u8 pad[7];
};

/* Ticks do not begin at 0, so that a count may have begun up to a period before the VM did. */
#define TICK_BIAS 65536u

static u64 now_ticks(struct vdev *d)
{
	return ns_to_ticks(vm_time_ns(d->vm), PIT_HZ) + TICK_BIAS;
}

static bool periodic(const struct pit_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

static bool gate_stops(const struct pit_channel *c)
{
	return c->mode != 1 && c->mode != 5;
}

/* Ticks since the count began; 0 before that. */
static u64 elapsed(const struct pit_channel *c, u64 now)
{
	if (!c->gate && gate_stops(c))
		return c->frozen;
	return now > c->start ? now - c->start : 0;
}

/* Let a count that was written during a period take over once that period is through. */
static void sync_channel(struct pit_channel *c, u64 now)
{
	if (!periodic(c) || !c->next_count || !c->gate || now < c->takeover)
		return;
	c->start = c->takeover - (c->next_low ? (c->next_count + 1) / 2 : 0);
	c->count = c->next_count;
	c->next_count = 0;
	c->null_count = 0;
}

static bool output(const struct pit_channel *c, u64 now)
{
	u64 e = elapsed(c, now);

	if (!c->running)
		return c->mode != 0;
	switch (c->mode) {
	case 0:
	case 1:
		return e >= c->count;
	case 2:
		return !c->gate || e % c->count != c->count - 1;
	case 3:
		return !c->gate || e % c->count < (c->count + 1) / 2;
	default:
		return e != c->count;
	}
}

static u16 to_bcd(u32 n)
{
	return (u16)(n % 10 | n / 10 % 10 << 4 | n / 100 % 10 << 8 | n / 1000 % 10 << 12);
}

/* The counting element as a read sees it. */
static u16 counter(const struct pit_channel *c, u64 now)
{
	u64 e = elapsed(c, now);
	u32 wrap = c->bcd ? 10000 : 65536, n, half;

	switch (c->running ? c->mode : 0xff) {
	case 2:
		n = (u32)(c->count - e % c->count);
		break;
	case 3: /* counts down by two, twice a period */
		half = (c->count + 1) / 2;
		n = (u32)(e % c->count);
		n = (c->count & ~1u) - 2 * (n < half ? n : n - half);
		break;
	case 0xff:
		n = c->count;
		break;
	default: /* goes on round after the end */
		n = (u32)((c->count % wrap + wrap - e % wrap) % wrap);
	}
	return c->bcd ? to_bcd(n % 10000) : (u16)n;
}

/* ---- channel 0's interrupt ---- */

/*
 * Set the timer for the next rising edge of OUT. The line is not lowered when OUT falls but just
 * before it rises: controllers look at edges, and a request must not vanish half a period early.
 */
static void arm(struct vdev *d, u64 now)
{
	struct pit_channel *c = &((struct pit *)d->state)->ch[0];
	u64 e = elapsed(c, now), t;

	vdev_timer_stop(d, 0);
	if (!c->running)
		return;
	if (periodic(c)) {
		u64 earliest = e + (c->count < MIN_TICKS ? MIN_TICKS : 1);
		t = c->start + (earliest + c->count - 1) / c->count * c->count;
		if (c->next_count) /* the high half is what follows the takeover, or its low half */
			t = c->takeover + (c->next_low ? c->next_count / 2 : 0);
	} else if (c->mode == 0 && e < c->count) {
		t = c->start + c->count;
	} else if (c->mode == 4 && e <= c->count) {
		t = c->start + c->count + 1;
	} else {
		return;
	}
	vdev_timer_set(d, 0, ticks_to_ns(t - TICK_BIAS, PIT_HZ));
}

static void pit_timer(struct vdev *d, unsigned idx)
{
	u64 now = now_ticks(d);

	(void)idx;
	sync_channel(&((struct pit *)d->state)->ch[0], now);
	isa_clock_irq(d->vm, PLAT_GSI_PIT, false);
	isa_clock_irq(d->vm, PLAT_GSI_PIT, true);
	arm(d, now);
}

/* ---- writing counts ---- */

static void start_count(struct pit_channel *c, u32 count, u64 now)
{
	c->count = count;
	c->next_count = 0;
	c->start = now;
	c->frozen = 0;
	c->null_count = 0;
	c->running = 1;
}

/* A new count of a running mode 2 waits for the end of the period; of mode 3, of the half. */
static void queue_count(struct pit_channel *c, u32 count, u64 now)
{
	u64 e = elapsed(c, now), begin = now - e % c->count, half = (c->count + 1) / 2;

	c->next_count = count;
	c->next_low = c->mode == 3 && e % c->count < half;
	c->takeover = begin + (c->next_low ? half : c->count);
}

static u32 decode_count(const struct pit_channel *c, u16 raw)
{
	u32 n = raw;

	if (!c->bcd)
		return n ? n : 65536;
	n = (raw & 15) + (raw >> 4 & 15) * 10 + (raw >> 8 & 15) * 100 + (u32)(raw >> 12) * 1000;
	n %= 10000; /* digits above 9 are not defined */
	return n ? n : 10000;
}

static void load(struct vdev *d, unsigned n, u16 raw, u64 now)
{
	struct pit_channel *c = &((struct pit *)d->state)->ch[n];
	u32 count = decode_count(c, raw);

	c->null_count = 1;
	if (!gate_stops(c)) /* waits for the gate to rise */
		c->next_count = count;
	else if (periodic(c) && c->running && c->gate)
		queue_count(c, count, now);
	else
		start_count(c, count, now);
	if (n == 0)
		arm(d, now);
}

static void count_write(struct vdev *d, unsigned n, u8 val)
{
	struct pit_channel *c = &((struct pit *)d->state)->ch[n];
	u64 now = now_ticks(d);

	sync_channel(c, now);
	if (c->rw == RW_LSB) {
		load(d, n, val, now);
	} else if (c->rw == RW_MSB) {
		load(d, n, (u16)(val << 8), now);
	} else if (!c->write_msb) {
		c->low = val;
		c->write_msb = 1;
		/* In mode 0 the first byte stops the count (datasheet, mode 0). */
		if (c->mode == 0) {
			c->running = 0;
			if (n == 0)
				arm(d, now);
		}
	} else {
		c->write_msb = 0;
		load(d, n, (u16)(val << 8 | c->low), now);
	}
}

/* ---- control word, latches, reads ---- */

static void latch_count(struct pit_channel *c, u64 now)
{
	if (c->latched)
		return; /* a second latch before the read is ignored */
	c->latch = counter(c, now);
	c->latched = c->rw;
}

static void latch_status(struct pit_channel *c, u64 now)
{
	if (c->status_latched)
		return;
	c->status = (u8)(output(c, now) << 7 | c->null_count << 6 | c->rw << 4 | c->mode << 1 |
			 c->bcd);
	c->status_latched = 1;
}

static void set_mode(struct vdev *d, unsigned n, u8 val, u64 now)
{
	struct pit_channel *c = &((struct pit *)d->state)->ch[n];
	u8 mode = val >> 1 & 7, gate = c->gate;

	*c = (struct pit_channel){.mode = mode > 5 ? mode - 4 : mode, .rw = val >> 4 & 3,
				  .bcd = val & 1, .gate = gate, .count = 65536, .start = now,
				  .null_count = 1};
	if (c->bcd)
		c->count = 10000;
	if (n == 0) {
		vdev_timer_stop(d, 0);
		isa_clock_irq(d->vm, PLAT_GSI_PIT, false);
	}
}

static void control_write(struct vdev *d, u8 val)
{
	struct pit *s = d->state;
	u64 now = now_ticks(d);
	unsigned n = val >> 6;

	if (n < 3) {
		sync_channel(&s->ch[n], now);
		if ((val >> 4 & 3) == RW_LATCH)
			latch_count(&s->ch[n], now);
		else
			set_mode(d, n, val, now);
		return;
	}
	for (n = 0; n < 3; n++) { /* read-back */
		if (!(val & 2u << n))
			continue;
		sync_channel(&s->ch[n], now);
		if (!(val & 0x20))
			latch_count(&s->ch[n], now);
		if (!(val & 0x10))
			latch_status(&s->ch[n], now);
	}
}

static u8 count_read(struct vdev *d, unsigned n)
{
	struct pit_channel *c = &((struct pit *)d->state)->ch[n];
	u64 now = now_ticks(d);
	u16 val;

	sync_channel(c, now);
	if (c->status_latched) {
		c->status_latched = 0;
		return c->status;
	}
	val = c->latched ? c->latch : counter(c, now);
	if (c->rw == RW_BOTH) {
		c->read_msb ^= 1;
		if (c->read_msb)
			return (u8)val;
	}
	c->latched = 0;
	return c->rw == RW_LSB ? (u8)val : (u8)(val >> 8);
}

/* ---- port 61h ---- */

static void set_gate2(struct vdev *d, u8 gate)
{
	struct pit_channel *c = &((struct pit *)d->state)->ch[2];
	u64 now = now_ticks(d);

	if (gate == c->gate)
		return;
	sync_channel(c, now);
	if (!gate) {
		c->frozen = elapsed(c, now);
		c->gate = 0;
		return;
	}
	c->gate = 1;
	if (gate_stops(c) && !periodic(c))
		c->start = now - c->frozen; /* modes 0, 4 go on */
	else if (c->running || c->next_count)	      /* the others begin anew */
		start_count(c, c->next_count ? c->next_count : c->count, now);
}

static u8 port61_read(struct vdev *d)
{
	struct pit *s = d->state;
	u64 now = now_ticks(d);
	u8 val = s->port61;

	sync_channel(&s->ch[2], now);
	if (vm_time_ns(d->vm) / REFRESH_NS & 1)
		val |= PORT61_REFRESH;
	if (output(&s->ch[2], now))
		val |= PORT61_OUT2;
	return val;
}

static u8 read_byte(struct vdev *d, u16 port)
{
	if (port == PLAT_PORTB_PORT)
		return port61_read(d);
	port &= 3;
	return port == CONTROL ? 0xff : count_read(d, port); /* the control word is write-only */
}

static void write_byte(struct vdev *d, u16 port, u8 val)
{
	if (port == PLAT_PORTB_PORT) {
		((struct pit *)d->state)->port61 = val & PORT61_KEPT;
		set_gate2(d, val & PORT61_GATE2);
	} else if ((port & 3) == CONTROL) {
		control_write(d, val);
	} else {
		count_write(d, port & 3, val);
	}
}

static u32 pit_in(struct vdev *d, u16 port, unsigned size)
{
	return isa_read_bytes(d, port, size, read_byte);
}

static void pit_out(struct vdev *d, u16 port, unsigned size, u32 val)
{
	isa_write_bytes(d, port, size, val, write_byte);
}

static void pit_reset(struct vdev *d)
{
	struct pit *s = d->state;

	*s = (struct pit){0};
	for (unsigned n = 0; n < 3; n++) {
		s->ch[n].mode = n == 1 ? 2 : 3;
		s->ch[n].rw = RW_BOTH;
		s->ch[n].count = 65536;
		s->ch[n].gate = n < 2; /* gates 0 and 1 are tied high */
	}
	isa_clock_irq(d->vm, PLAT_GSI_PIT, false);
}

/* Ticks that nanoseconds of 64 bits can name (36 years): a deadline beyond would wrap into the past,
 * and a timer that is always due would hold the CPU. */
#define TICKS_MAX BIT(50)

static bool pit_valid(const void *state)
{
	const struct pit *s = state;

	for (unsigned n = 0; n < 3; n++) {
		const struct pit_channel *c = &s->ch[n];

		if (c->mode > 5 || c->rw < RW_LSB || c->rw > RW_BOTH || !c->count ||
		    c->count > 65536 || c->next_count > 65536 || c->bcd > 1 || c->gate > 1)
			return false;
		if (c->start > TICKS_MAX || c->takeover > TICKS_MAX || c->frozen > TICKS_MAX)
			return false;
		/* sync_channel() relies on it: only channel 2 has a gate. */
		if (n < 2 && !c->gate)
			return false;
	}
	return true;
}

static const struct vdev_pio pit_pio[] = {
	{PLAT_PIT_PORT, 4, pit_in, pit_out},
	{PLAT_PORTB_PORT, 1, pit_in, pit_out},
};

/* clang-format off */
const struct vdev_type pit_vdev = {
	.name = "pit", .version = 1, .nr_timers = 1, .state_size = sizeof(struct pit),
	.nr_pio = ARRAY_SIZE(pit_pio), .pio = pit_pio,
	.reset = pit_reset, .valid = pit_valid, .timer = pit_timer,
};
/* clang-format on */
VDEV_REGISTER(pit_vdev);
