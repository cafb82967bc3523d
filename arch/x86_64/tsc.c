/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The clock: the TSC, calibrated against the HPET, else the ACPI PM timer, else the PIT, else what CPUID
 * tells, else the seconds of the CMOS RTC: a machine need have none of the old parts. The local APIC's
 * timer in the same breath. Short, because boot time counts: 1 ms where the reference ticks
 * every 20 ns or faster, else 2 ms; what was disturbed is measured again. Then CPUID 15h, exact where it tells the truth, is
 * believed if it is within 0.1 % (emulators and some products' tables do not).
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pcpu_arch.h"
#include "arch/x86_64/timeconv.h"
#include "lib/log.h"
#include "lib/string.h"

#define PM_HZ  3579545ull
#define PIT_HZ 1193182ull
#define HPET_PERIOD 0x004
#define HPET_CONFIG 0x010
#define HPET_COUNT  0x0f0
#define MAX_POLLS 1000000

u64 tsc_khz;
static struct time_scale scale;
static u64 wall_base_ns; /* the wall clock at TSC 0 */
static volatile u32 *hpet;

u64 tsc_to_ns(u64 ticks)
{
	return scale32(ticks, scale.to_ns);
}

u64 ns_to_tsc(u64 ns)
{
	return scale32(ns, scale.to_tick);
}

void udelay(u64 us)
{
	u64 from = rdtsc(), ticks = ns_to_tsc(us * 1000);

	while (rdtsc() - from < ticks)
		cpu_relax();
}

static u32 read_hpet(void)
{
	return hpet[HPET_COUNT / 4];
}

static u32 read_pm(void)
{
	return inl(acpi.pm_timer);
}

struct reference {
	const char *name;
	u32 (*read)(void);
	u64 khz;
	u32 mask;
	bool (*wrapped)(void); /* or NULL: has it gone round since it was last asked? Starts it anew, too */
};

/* ACPI's HPET table, 100 ns at most a tick by its specification, 2.3.4. */
static bool try_hpet(struct reference *r)
{
	u64 fs;

	if (!acpi.hpet)
		return false;
	hpet = io_map(acpi.hpet, 1024);
	if (!hpet)
		return false;
	fs = hpet[HPET_PERIOD / 4];
	if (!fs || fs > 100000000)
		return false;
	hpet[HPET_CONFIG / 4] |= 1;
	*r = (struct reference){"HPET", read_hpet, 1000000000000ull / fs, ~0u, NULL};
	return true;
}

static bool try_pm(struct reference *r)
{
	if (!acpi.pm_timer)
		return false;
	*r = (struct reference){"PM timer", read_pm, PM_HZ / 1000, acpi.pm_timer_32 ? ~0u : 0xffffff, NULL};
	return true;
}

/*
 * The PIT's channel 2, whose gate and output are bits 0 and 5 of port 0x61, in mode 0: it counts down and on
 * through 0. The output is low until then; a bus on which nobody answers stays high.
 */
static u32 read_pit(void)
{
	u32 count;

	outb(0x43, 0x80); /* latch */
	count = inb(0x42);
	count |= inb(0x42) << 8;
	return -count;
}

/* After 55 ms, which a busy emulator can well let pass. */
static bool pit_wrapped(void)
{
	bool wrapped = inb(0x61) & 0x20;

	outb(0x43, 0xb0);
	outb(0x42, 0xff);
	outb(0x42, 0xff);
	return wrapped;
}

struct sample {
	u64 tsc, apic, ticks, khz; /* of the reference: ticks at khz */
	u64 error;		   /* in ticks of the TSC, at most */
};

/* A moment by all three counters: the one of several readings that took the least time, so that nothing (SMM, an
 * emulator that had to wait for a CPU) came between them. */
struct mark {
	u64 tsc, width;
	u32 ref, apic;
};
static struct mark mark(const struct reference *r)
{
	struct mark best = {.width = ~0ull};

	for (unsigned i = 0; i < 8; i++) {
		struct mark m = {.tsc = rdtsc_ordered()};

		m.ref = r->read();
		m.apic = apic_timer_count();
		m.width = rdtsc_ordered() - m.tsc;
		m.tsc += m.width / 2;
		if (m.width < best.width)
			best = m;
	}
	return best;
}

/* False if the reference does not move. One that went round leaves all open. */
static bool measure_once(const struct reference *r, u32 want, struct sample *s)
{
	struct mark from, to;
	u32 polls = 0;

	apic_timer_free_run();
	from = mark(r);
	while (((r->read() - from.ref) & r->mask) < want && ++polls < MAX_POLLS)
		;
	to = mark(r);
	*s = (struct sample){.tsc = to.tsc - from.tsc, .apic = from.apic - to.apic, .ticks = (to.ref - from.ref) & r->mask,
			     .khz = r->khz, .error = (from.width + to.width) / 2};
	if (r->wrapped && r->wrapped())
		s->error = s->tsc;
	return polls < MAX_POLLS && s->ticks;
}

/* Again while the ends are known to less than 1 in 256; the best counts. */
static bool measure(const struct reference *r, struct sample *s)
{
	u32 want = r->khz >= 50000 ? r->khz : 2 * r->khz;
	struct sample again;

	if (!measure_once(r, want, s))
		return false;
	for (unsigned n = 0; n < 8 && s->error > s->tsc / 256; n++)
		if (measure_once(r, want, &again) && again.error * s->tsc < s->error * again.tsc)
			*s = again;
	return s->error < s->tsc;
}

static bool measure_pit(struct reference *r, struct sample *s)
{
	u8 gate = inb(0x61);
	bool ok;

	*r = (struct reference){"PIT", read_pit, PIT_HZ / 1000, 0xffff, pit_wrapped};
	outb(0x61, (gate & ~2) | 1);
	pit_wrapped();
	ok = !(inb(0x61) & 0x20) && measure(r, s);
	outb(0x61, gate);
	return ok;
}

/* SDM vol. 3, 19.7.3: crystal times ratio; 0 where not told. */
static u64 cpuid_khz(void)
{
	struct cpuid c = cpuid(0, 0).eax >= 0x15 ? cpuid(0x15, 0) : (struct cpuid){0};

	return c.eax && c.ebx && c.ecx ? (u64)c.ecx * c.ebx / c.eax / 1000 : 0;
}

static u32 read_tsc(void)
{
	return rdtsc_ordered();
}

/* Where nothing else counts: also 16h, the base frequency that the TSC of such CPUs runs at, and the
 * leaf in which hypervisors tell it. The APIC's timer is then measured by the TSC. */
static bool try_cpuid(struct reference *r, u64 khz)
{
	if (!khz && cpuid(0, 0).eax >= 0x16)
		khz = (cpuid(0x16, 0).eax & 0xffff) * 1000ull;
	if (!khz && (cpuid(1, 0).ecx & BIT(31)) && cpuid(0x40000000, 0).eax >= 0x40000010)
		khz = cpuid(0x40000010, 0).eax;
	*r = (struct reference){"CPUID", read_tsc, khz, ~0u, NULL};
	return khz;
}

static u8 cmos(u8 reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

/* Register D of an RTC never reads as all ones (MC146818A: bits 6:0 are 0; chipsets' day alarm: bit 6). */
static bool have_rtc(void)
{
	return !acpi.no_rtc && cmos(0x0d) != 0xff;
}

/* False when it does not come: a second is fewer ticks than this, if the TSC counts at less than 10 GHz. Reads
 * of the port are no measure: an emulator does more than ten million of them in a second. */
#define SECOND_TICKS 10000000000ull
static bool next_second(void)
{
	u64 end = rdtsc() + 2 * SECOND_TICKS;
	u8 from = cmos(0);

	while (inb(0x71) == from)
		if (rdtsc() > end)
			return false;
	return true;
}

static bool measure_rtc(struct reference *r, struct sample *s)
{
	u64 t0;

	*r = (struct reference){.name = "RTC"};
	if (!have_rtc() || !next_second())
		return false;
	t0 = rdtsc_ordered();
	apic_timer_free_run();
	if (!next_second())
		return false;
	*s = (struct sample){.tsc = rdtsc_ordered() - t0, .apic = ~0u - apic_timer_count(), .ticks = 1000, .khz = 1};
	return true;
}

static bool calibrate(struct reference *r, struct sample *s, u64 told)
{
	return (try_hpet(r) && measure(r, s)) || (try_pm(r) && measure(r, s)) || measure_pit(r, s) ||
	       (try_cpuid(r, told) && measure(r, s)) || measure_rtc(r, s);
}

static u32 bcd(u8 v, bool binary)
{
	return binary ? v : (v >> 4) * 10u + (v & 15);
}

/* Days since 1970-01-01 of a date of the Gregorian calendar; years begin in March. */
static u64 days(u32 y, u32 m, u32 d)
{
	y -= m <= 2;
	m = m <= 2 ? m + 9 : m - 3;
	return 365ull * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + d - 1 - 719468;
}

/* Seconds since 1970 by the CMOS RTC; 0 without one. */
static u64 read_rtc(void)
{
	u8 r[7] = {0}, again[7], b;
	bool binary;
	u32 hour, year;

	if (!have_rtc())
		return 0;
	/* Read until two readings agree: an update in between shows as a difference. */
	for (unsigned n = 0; n < 10; n++) {
		static const u8 regs[6] = {0, 2, 4, 7, 8, 9};

		for (unsigned polls = 0; polls < 10000 && (cmos(0x0a) & 0x80); polls++)
			;
		memcpy(again, r, sizeof(r));
		for (unsigned i = 0; i < 6; i++)
			r[i] = cmos(regs[i]);
		r[6] = acpi.century ? cmos(acpi.century) : 0;
		if (n && !memcmp(r, again, sizeof(r)))
			break;
	}
	b = cmos(0x0b);
	binary = b & 4;
	hour = bcd(r[2] & 0x7f, binary);
	if (!(b & 2)) /* 12 hours: 12 is 0, bit 7 is afternoon */
		hour = hour % 12 + (r[2] & 0x80 ? 12 : 0);
	year = bcd(r[5], binary) + 100 * (r[6] ? bcd(r[6], binary) : 20);
	return ((days(year, bcd(r[4], binary), bcd(r[3], binary)) * 24 + hour) * 60 + bcd(r[1], binary)) * 60 +
	       bcd(r[0], binary);
}

/* The RTC is read once: it is slow, its two ports are one for all pCPUs, and the TSC counts on. */
u64 wallclock_ns(void)
{
	return wall_base_ns + tsc_to_ns(rdtsc());
}

void clock_init(void)
{
	struct reference r;
	struct sample s;
	u64 told = cpuid_khz(), apic_khz;

	if (!calibrate(&r, &s, told))
		boot_refuse("nothing tells how fast the TSC counts: neither HPET, ACPI PM timer, PIT, CPUID leaves "
			    "15h and 16h nor the RTC; enable one in the firmware's setup");
	tsc_khz = s.tsc * s.khz / s.ticks;
	apic_khz = s.apic * s.khz / s.ticks;
	if (!tsc_khz)
		panic("the TSC does not count");
	if (told && told - tsc_khz + tsc_khz / 1000 <= tsc_khz / 500)
		tsc_khz = told;
	else if (told)
		log_info("CPUID tells a TSC of %lu kHz, measured are %lu: the measure holds", told, tsc_khz);
	scale = time_scale_of(tsc_khz);
	apic_timer_calibrated(apic_khz);
	wall_base_ns = read_rtc() * 1000000000ull - tsc_to_ns(rdtsc());
	log_info("TSC %lu.%03lu MHz, measured with the %s", tsc_khz / 1000, tsc_khz % 1000, r.name);
}
