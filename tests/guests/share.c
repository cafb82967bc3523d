/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that measures what the scheduler gives it. Best on a machine where one TSC tick is one
 * instruction and a nanosecond (--icount --boot direct), and for that its milliseconds are meant.
 * It does what the words of its command line say: spin=MS  spin until MS ms after its start, and
 * say which part of the time from 500 ms on to 500 ms before the end it ran, in millionths; how
 * often it did not, and for how long pause=MS the same, by PAUSE after PAUSE wait=N   halt until a
 * timer comes, N times, 2 to 12 ms from now; say how late it ran then hang     halt for good, with
 * nothing that would wake it and leaves by the debug exit port.
 */
#include "pc.h"

#define MS  1000000ull
#define VEC 0x30
#define MAX 8192

static struct gate idt[64] __attribute__((aligned(16)));
static volatile u64 woke;
static u64 samples[MAX], awake[MAX];

static void say(const char *what, u64 v)
{
	char buf[20];
	int n = 0;

	puts_(what);
	do {
		buf[n++] = (char)('0' + v % 10);
	} while (v /= 10);
	while (n)
		put(buf[--n]);
}

static void lapic_write(u32 reg, u32 v)
{
	u64 a = 0xfee00000ull + reg;

	__asm__ volatile("movl %0, (%1)" ::"r"(v), "r"(a) : "memory");
}

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	woke = rdtsc();
	(void)rip;
	(void)f;
	if (vector != VEC) {
		say("SHARE: interrupt ", vector);
		puts_("\n");
		outb(DEBUG_EXIT, 30);
	}
	lapic_write(0xb0, 0);
}

static void set_up(void)
{
	idt_init(idt, 64);
	outb(PIC1 + 1, 0xff);
	outb(PIC2 + 1, 0xff);
	lapic_write(0xf0, 0x100 | 0x3f);
	lapic_write(0x320, 2u << 17 | VEC); /* TSC deadline */
}

static void sort(u64 *v, unsigned n)
{
	for (unsigned gap = n / 2; gap; gap /= 2)
		for (unsigned i = gap; i < n; i++)
			for (unsigned k = i; k >= gap && v[k - gap] > v[k]; k -= gap) {
				u64 t = v[k];

				v[k] = v[k - gap];
				v[k - gap] = t;
			}
}

static void spin(u64 end, bool pause)
{
	u64 from = 500 * MS, to = end - 500 * MS, last = rdtsc(), now, own = 0, begun = 0,
	    quick = ~0ull;
	unsigned n = 0;

	__asm__ volatile("sti"); /* nothing comes; but Bochs 2.7 lets no host interrupt in that
				    finds IF clear at entry */
	while ((now = rdtsc()) < from) {
		for (int i = 0; i < 63; i++)
			last = rdtsc();
		quick = last - now < quick ? last - now : quick;
	}
	/* Somebody came between two readings that are further apart; without --icount they vary a
	 * lot. */
	quick = quick < 64 * 16 ? 150 : 200000;
	last = rdtsc();
	begun = now;
	while ((now = rdtsc()) < to) {
		if (now - last < quick)
			own += now - last;
		else if (n < MAX)
			samples[n++] = now - last;
		last = now;
		for (int i = 0; pause && i < 20; i++)
			__asm__ volatile("pause");
	}
	own = own * 1000000 / (now - begun);
	while (rdtsc() < end)
		;
	__asm__ volatile("cli");
	sort(samples, n);
	say("SHARE: ran ", own);
	say(" gaps ", n);
	say(" median ", n ? samples[n / 2] : 0);
	puts_("\n");
}

static void wait(unsigned count)
{
	u64 seed = 88172645463325252ull;

	for (unsigned i = 0; i < count && i < MAX; i++) {
		u64 at;

		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		at = rdtsc() + 2 * MS + seed % (10 * MS);
		wrmsr(0x6e0, at);
		awake[i] = rdtsc() - woke;
		sti_hlt_cli();
		samples[i] = woke - at;
	}
	sort(samples, count);
	sort(awake, count);
	say("SHARE: late median ", samples[count / 2]);
	say(" p99 ", samples[count * 99 / 100]);
	say(" most ", samples[count - 1]);
	say(" awake ", awake[count / 2]);
	puts_("\n");
}

static u64 number(const char *s)
{
	u64 v = 0;

	for (; *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (u64)(*s - '0');
	return v;
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	const struct mb1_info *mb = (const struct mb1_info *)info;
	const char *w = magic == MB1_MAGIC && mb->flags & 4 ? (const char *)(u64)mb->cmdline : "";

	set_up();
	while (*w && *w != ' ') /* the file's name */
		w++;
	for (; *w; w++) {
		if (w[-1] != ' ')
			continue;
		if (*w == 's')
			spin(number(w + 5) * MS, false);
		else if (*w == 'p')
			spin(number(w + 6) * MS, true);
		else if (*w == 'w')
			wait((unsigned)number(w + 5));
		else if (*w == 'h')
			for (;;)
				__asm__ volatile("cli; hlt");
	}
	outl(DEBUG_EXIT, 0);
}
