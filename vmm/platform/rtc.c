/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MC146818 clock with its CMOS memory (Motorola MC146818 datasheet; ICH9 datasheet 13.6). The
 * time is the host's wall clock plus an offset that writes to the clock change; while the clock is
 * stopped (SET, or the divider in reset) it is what the registers hold. Flags are worked out when
 * somebody looks; timers run only for interrupts that are enabled and not yet raised.
 */
#include "vmm/platform/isa.h"
#include "vmm/platform/civil_time.h"
#include "vmm/platform_map.h"

#define RTC_HZ	 32768u
#define UIP_NS	 244000u /* UIP is set that long before an update */
#define HALF_SEC (NS_PER_SEC / 2)

enum { R_SEC, R_SEC_ALARM, R_MIN, R_MIN_ALARM, R_HOUR, R_HOUR_ALARM, R_WEEKDAY, R_DAY, R_MONTH,
       R_YEAR, R_A, R_B, R_C, R_D, R_CENTURY = 0x32 };

#define A_UIP	  BIT(7)
#define A_DIVIDER 0x70u
#define A_RUNNING 0x20u
#define A_RATE	  0x0fu
#define B_SET	  BIT(7)
#define B_BINARY  BIT(2)
#define B_24H	  BIT(1)
#define FLAG_PERIODIC BIT(6) /* the same bits in B (enable) and C (flag) */
#define FLAG_ALARM    BIT(5)
#define FLAG_UPDATE   BIT(4)
#define FLAGS	      (FLAG_PERIODIC | FLAG_ALARM | FLAG_UPDATE)
#define C_IRQF	      BIT(7)
#define D_VALID	      BIT(7)
#define HOUR_PM	      BIT(7)
#define ALARM_ANY     0xc0u /* both top bits set: don't care */

enum { TIMER_PERIODIC, TIMER_SECOND };

struct rtc {
	s64 offset_ns;	  /* our clock = vm_wallclock_ns + offset */
	u64 seen_second;  /* seconds of our clock up to which update and alarm flags are raised */
	u64 seen_period;  /* the same for the periodic flag */
	u8 index;	  /* with the NMI mask in bit 7 */
	u8 line;
	u8 pad[6];
	u8 cmos[128];
};

static bool running(const struct rtc *s)
{
	return !(s->cmos[R_B] & B_SET) && (s->cmos[R_A] & A_DIVIDER) == A_RUNNING;
}

static u64 clock_ns(struct vdev *d)
{
	return vm_wallclock_ns(d->vm) + (u64)((struct rtc *)d->state)->offset_ns;
}

/* ---- number formats ---- */

static u8 encode(const struct rtc *s, unsigned n)
{
	return (u8)(s->cmos[R_B] & B_BINARY ? n : n / 10 << 4 | n % 10);
}

static unsigned decode(const struct rtc *s, u8 x)
{
	return s->cmos[R_B] & B_BINARY ? x : (x >> 4) * 10u + (x & 15u);
}

static u8 encode_hour(const struct rtc *s, unsigned hour)
{
	u8 pm = hour >= 12 ? HOUR_PM : 0;

	if (s->cmos[R_B] & B_24H)
		return encode(s, hour);
	return encode(s, hour % 12 ? hour % 12 : 12) | pm;
}

static unsigned decode_hour(const struct rtc *s, u8 x)
{
	if (s->cmos[R_B] & B_24H)
		return decode(s, x);
	return decode(s, x & ~HOUR_PM) % 12 + (x & HOUR_PM ? 12 : 0);
}

/* Clock to registers. */
static void store_time(struct rtc *s, u64 seconds)
{
	struct civil_time t;

	civil_from_seconds(seconds, &t);
	s->cmos[R_SEC] = encode(s, t.sec);
	s->cmos[R_MIN] = encode(s, t.min);
	s->cmos[R_HOUR] = encode_hour(s, t.hour);
	s->cmos[R_WEEKDAY] = encode(s, t.weekday + 1);
	s->cmos[R_DAY] = encode(s, t.day);
	s->cmos[R_MONTH] = encode(s, t.month);
	s->cmos[R_YEAR] = encode(s, t.year % 100);
	s->cmos[R_CENTURY] = encode(s, t.year / 100 % 100);
}

/* Registers to clock. A guest may have written any nonsense: it is brought into range. */
static u64 load_time(const struct rtc *s)
{
	struct civil_time t = {
		.sec = MIN(decode(s, s->cmos[R_SEC]), 59u),
		.min = MIN(decode(s, s->cmos[R_MIN]), 59u),
		.hour = MIN(decode_hour(s, s->cmos[R_HOUR]), 23u),
		.day = MAX(MIN(decode(s, s->cmos[R_DAY]), 31u), 1u),
		.month = MAX(MIN(decode(s, s->cmos[R_MONTH]), 12u), 1u),
		.year = MIN(decode(s, s->cmos[R_CENTURY]), 99u) * 100 +
			MIN(decode(s, s->cmos[R_YEAR]), 99u),
	};

	t.year = MAX(MIN(t.year, 2499u), 1970u); /* 64 bits of nanoseconds end in 2554 */
	return civil_to_seconds(&t);
}

/* Let the clock go on from `seconds` and a fraction. */
static void set_clock(struct vdev *d, u64 seconds, u64 fraction_ns)
{
	struct rtc *s = d->state;

	s->offset_ns = (s64)(seconds * NS_PER_SEC + fraction_ns - vm_wallclock_ns(d->vm));
	s->seen_second = seconds;
}

/* ---- flags ---- */

/* An alarm field matches: don't care, or equal. */
static bool field_matches(const struct rtc *s, unsigned reg, unsigned value)
{
	u8 x = s->cmos[reg];

	if ((x & ALARM_ANY) == ALARM_ANY)
		return true;
	return (reg == R_HOUR_ALARM ? decode_hour(s, x) : decode(s, x)) == value;
}

/* Seconds from t (excluded) to the next alarm; 0: never. At most 25 + 60 + 60 steps: a field that
 * does not match skips all that it contains. */
static u64 alarm_after(const struct rtc *s, u64 t)
{
	u64 end = t + 86400;

	for (t++; t <= end;) {
		if (!field_matches(s, R_HOUR_ALARM, t / 3600 % 24))
			t += 3600 - t % 3600;
		else if (!field_matches(s, R_MIN_ALARM, t / 60 % 60))
			t += 60 - t % 60;
		else if (!field_matches(s, R_SEC_ALARM, t % 60))
			t++;
		else
			return t;
	}
	return 0;
}

/* log2 of the periodic rate's divisor of 32768 Hz, or 0: off. Rates 1 and 2 are slow ones. */
static unsigned period_shift(const struct rtc *s)
{
	unsigned rate = s->cmos[R_A] & A_RATE;

	if (!rate || !running(s))
		return 0;
	return rate <= 2 ? rate + 6 : rate - 1;
}

static u64 periods(struct vdev *d)
{
	return ns_to_ticks(vm_time_ns(d->vm), RTC_HZ) >> period_shift(d->state);
}

/* Bring register C up to date with the clock. */
static void sync_flags(struct vdev *d)
{
	struct rtc *s = d->state;
	u64 second, period;

	if (!running(s))
		return;
	second = clock_ns(d) / NS_PER_SEC;
	if (second > s->seen_second) {
		u64 alarm = alarm_after(s, s->seen_second);
		s->cmos[R_C] |= FLAG_UPDATE;
		if (alarm && alarm <= second)
			s->cmos[R_C] |= FLAG_ALARM;
	}
	s->seen_second = second;
	if (!period_shift(s))
		return;
	period = periods(d);
	if (period != s->seen_period)
		s->cmos[R_C] |= FLAG_PERIODIC;
	s->seen_period = period;
}

/* ---- interrupts ---- */

static void arm_periodic(struct vdev *d)
{
	struct rtc *s = d->state;
	unsigned shift = period_shift(s);

	if (shift && (s->cmos[R_B] & ~s->cmos[R_C] & FLAG_PERIODIC))
		vdev_timer_set(d, TIMER_PERIODIC,
			       ticks_to_ns((s->seen_period + 1) << shift, RTC_HZ));
	else
		vdev_timer_stop(d, TIMER_PERIODIC);
}

static void arm_second(struct vdev *d)
{
	struct rtc *s = d->state;
	u8 wanted = s->cmos[R_B] & ~s->cmos[R_C] & (FLAG_UPDATE | FLAG_ALARM);
	u64 second = 0, now, delay;

	if (running(s) && (wanted & FLAG_UPDATE))
		second = s->seen_second + 1;
	else if (running(s) && wanted)
		second = alarm_after(s, s->seen_second);
	if (!second) {
		vdev_timer_stop(d, TIMER_SECOND);
		return;
	}
	/* Wall clock and VM time may drift apart: the timer looks again, but not too often. */
	now = clock_ns(d);
	delay = second * NS_PER_SEC > now ? second * NS_PER_SEC - now : 0;
	vdev_timer_set(d, TIMER_SECOND, vm_time_ns(d->vm) + MAX(delay, MIN_PERIOD_NS));
}

static void update(struct vdev *d)
{
	struct rtc *s = d->state;
	u8 line = !!(s->cmos[R_B] & s->cmos[R_C] & FLAGS);

	if (line)
		s->cmos[R_C] |= C_IRQF;
	else
		s->cmos[R_C] &= ~C_IRQF;
	if (line != s->line) {
		s->line = line;
		isa_clock_irq(d->vm, PLAT_GSI_RTC, line);
	}
	arm_periodic(d);
	arm_second(d);
}

static void rtc_timer(struct vdev *d, unsigned idx)
{
	(void)idx;
	sync_flags(d);
	update(d);
}

/* ---- registers ---- */

static bool is_time(unsigned reg)
{
	return reg == R_SEC || reg == R_MIN || reg == R_HOUR ||
	       (reg >= R_WEEKDAY && reg <= R_YEAR) || reg == R_CENTURY;
}

/* A or B changed: stop the clock into its registers, or start it from them. */
static void write_control(struct vdev *d, unsigned reg, u8 val)
{
	struct rtc *s = d->state;
	bool was = running(s), divider_was = (s->cmos[R_A] & A_DIVIDER) == A_RUNNING;
	u64 now = clock_ns(d), fraction = now % NS_PER_SEC;

	if (was)
		store_time(s, now / NS_PER_SEC);
	/* Setting SET clears the update interrupt's enable. */
	s->cmos[reg] = reg == R_A ? val & ~A_UIP : val & B_SET ? val & ~FLAG_UPDATE : val;
	if (was || !running(s))
		goto out;
	/* Once the divider is let go, the first update comes half a second later. */
	set_clock(d, load_time(s), divider_was ? fraction : HALF_SEC);
out:
	/* A new rate counts from here. */
	if (period_shift(s))
		s->seen_period = periods(d);
	update(d);
}

static void write_time(struct vdev *d, unsigned reg, u8 val)
{
	struct rtc *s = d->state;
	u64 now = clock_ns(d);

	if (!running(s)) {
		s->cmos[reg] = val;
		return;
	}
	store_time(s, now / NS_PER_SEC);
	s->cmos[reg] = val;
	set_clock(d, load_time(s), now % NS_PER_SEC);
	update(d);
}

static u8 read_reg(struct vdev *d, unsigned reg)
{
	struct rtc *s = d->state;
	u64 now;
	u8 val;

	if (is_time(reg) && running(s))
		store_time(s, clock_ns(d) / NS_PER_SEC);
	if (reg == R_A && running(s)) {
		now = clock_ns(d);
		return s->cmos[R_A] | (now % NS_PER_SEC >= NS_PER_SEC - UIP_NS ? A_UIP : 0);
	}
	if (reg != R_C)
		return s->cmos[reg];
	sync_flags(d);
	update(d);
	val = s->cmos[R_C];
	s->cmos[R_C] = 0;
	update(d);
	return val;
}

static void write_reg(struct vdev *d, unsigned reg, u8 val)
{
	struct rtc *s = d->state;

	if (reg == R_C || reg == R_D)
		return;
	sync_flags(d);
	if (reg == R_A || reg == R_B) {
		write_control(d, reg, val);
	} else if (is_time(reg)) {
		write_time(d, reg, val);
	} else {
		s->cmos[reg] = val;
		if (reg <= R_HOUR_ALARM)
			update(d);
	}
}

static u8 read_byte(struct vdev *d, u16 port)
{
	const struct rtc *s = d->state;

	return port & 1 ? read_reg(d, s->index & 0x7f) : 0xff; /* the index is write-only */
}

static void write_byte(struct vdev *d, u16 port, u8 val)
{
	struct rtc *s = d->state;

	if (port & 1)
		write_reg(d, s->index & 0x7f, val);
	else
		s->index = val;
}

static u32 rtc_in(struct vdev *d, u16 port, unsigned size)
{
	return isa_read_bytes(d, port, size, read_byte);
}

static void rtc_out(struct vdev *d, u16 port, unsigned size, u32 val)
{
	isa_write_bytes(d, port, size, val, write_byte);
}

static void put16(struct rtc *s, unsigned reg, u64 val)
{
	val = MIN(val, 0xffffull);
	s->cmos[reg] = (u8)val;
	s->cmos[reg + 1] = (u8)(val >> 8);
}

/* The memory sizes where firmware of the last decades has left them. */
static void store_memory_sizes(struct rtc *s, u64 memory)
{
	u64 low = MIN(memory, PLAT_PCI_MMIO_BASE), high = (memory - low) / KIB(64);
	u64 ext = low > MIB(1) ? (low - MIB(1)) / KIB(1) : 0;
	u16 sum = 0;

	put16(s, 0x15, 640);
	put16(s, 0x17, ext);
	put16(s, 0x30, ext);
	put16(s, 0x34, low > MIB(16) ? (low - MIB(16)) / KIB(64) : 0);
	put16(s, 0x5b, high & 0xffff);
	s->cmos[0x5d] = (u8)(high >> 16);
	s->cmos[0x14] = 0x02; /* equipment: an FPU, no floppy, no video */
	for (unsigned i = 0x10; i <= 0x2d; i++)
		sum += s->cmos[i];
	s->cmos[0x2e] = (u8)(sum >> 8);
	s->cmos[0x2f] = (u8)sum;
}

u8 rtc_shutdown_code(struct vm *vm)
{
	const struct vdev *d = vm_vdev(vm, &rtc_vdev);

	return d ? ((const struct rtc *)d->state)->cmos[0x0f] : 0;
}

static int rtc_init(struct vdev *d)
{
	struct rtc *s = d->state;

	s->cmos[R_A] = A_RUNNING | 6;
	s->cmos[R_B] = B_24H;
	s->cmos[R_D] = D_VALID;
	store_memory_sizes(s, vm_memory_bytes(d->vm));
	return 0;
}

/* The battery keeps clock and memory; RESET clears enables and flags (datasheet, "RESET"). */
static void rtc_reset(struct vdev *d)
{
	struct rtc *s = d->state;

	s->index = 0;
	s->line = 0;
	s->cmos[R_B] &= ~(FLAGS | BIT(3));
	s->cmos[R_C] = 0;
	s->seen_second = clock_ns(d) / NS_PER_SEC;
	s->seen_period = period_shift(s) ? periods(d) : 0;
	isa_clock_irq(d->vm, PLAT_GSI_RTC, false);
}

static const struct vdev_pio rtc_pio[] = {{PLAT_RTC_PORT, 2, rtc_in, rtc_out}};

/* clang-format off */
const struct vdev_type rtc_vdev = {
	.name = "rtc", .version = 1, .nr_timers = 2, .state_size = sizeof(struct rtc),
	.nr_pio = ARRAY_SIZE(rtc_pio), .pio = rtc_pio,
	.init = rtc_init, .reset = rtc_reset, .timer = rtc_timer,
};
/* clang-format on */
VDEV_REGISTER(rtc_vdev);
