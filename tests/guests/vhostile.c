/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver that does what no driver should, to every virtio device of its VM: each step takes one device, sets it up, well
 * or not, and throws some dozen acts at it, of which a part is as it should be, so that others find something under
 * way; then it mostly resets the device and asks it for something in all honesty, and that must be done. What a step does
 * is made from (seed, step) alone. For Dalang alone: 16 MiB, and any devices. Words of its command line:
 *   seed=N steps=N from=N every=N   (default 1, 1000, 0, 100)
 *   race                            a second CPU writes into the rings meanwhile
 *   trace                           says which device each step takes
 * It reports "HOSTILE: seed S at N" now and then, "HOSTILE: done N steps, lives L" at the end, and "HOSTILE: FAIL" if a
 * device no longer does what it should. Should it have overwritten itself it restarts, which counts as a life.
 */
#include "cmdline.h"
#include "vhostile.h"
#include "apstart.h"

#define MOST 16u
#define ACTS 48u

extern char image_text_end[], start[];
extern struct {
	u16 limit;
	u32 base;
} __attribute__((packed)) gdtr;
void interrupt(u64 vector, u64 rip, struct frame *f);

u64 dice_now, seed = 1;
volatile u32 step, came;
u32 requests, wrongs, resets;
static u32 broken_seen, honest_done, lives, steps;
static struct gate idt[256] __attribute__((aligned(16)));
static struct target targets[MOST];
static u32 nr_targets;
static struct target *volatile prey; /* CPU 1 writes into its rings */
static u8 ap_stack[4096] __attribute__((aligned(16)));
const struct known known[] = {{NULL, NULL, NULL}};

u64 random(void)
{
	return next_random(&dice_now);
}

u32 below(u32 n)
{
	return below_of(&dice_now, n);
}

/* --- what is said --- */

static void tell(const char *what, u64 a, const char *more, u64 b)
{
	puts_("HOSTILE: ");
	puts_(what);
	putd(a);
	puts_(more);
	putd(b);
	puts_("\n");
}

void fail(struct target *t, const char *what, u64 a, u64 b)
{
	static const char *const names[] = {
		"", "net ", "blk ", "console ", "rng ", "balloon ", [SCSI] = "scsi ", [VSOCK] = "vsock "};

	prey = NULL;
	puts_("HOSTILE: FAIL ");
	puts_(names[t->type]);
	putd(t->nth);
	puts_(": ");
	puts_(what);
	puts_(": ");
	putx(a);
	puts_(" ");
	putx(b);
	puts_("\n");
	tell("seed ", seed, ", failed at step ", step);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void restart(void)
{
	outb(0xcf9, 6);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void interrupt(u64 vector, u64 rip, struct frame *f)
{
	(void)f;
	if (vector < 32 && vector != 2) {
		tell("own exception ", vector, " at ", rip);
		restart();
	}
	came += vector == VEC_QUEUE;
	mmio_write(LAPIC + 0xb0, 4, 0);
}

/* --- addresses --- */

u64 tame(u64 v)
{
	return v >= LOW_END && v < ARENA ? v + ARENA : v;
}

u64 device_place(u64 *dice)
{
	static const u64 places[] = {
		LOW_END, LOW_END - 1, LOW_END - 16, RAM_TOP, RAM_TOP - 1, RAM_TOP - 2, RAM_TOP - 16, RAM_TOP - 4096, 0xc0000000, 0xc0001000,
		0xc0004000, 0xe0000000, 0xfec00000, 0xfed00000, 0xfee00000, 0xfee00300, 0xfffffff0, 0x100000000ull, 0xfffffff000ull,
		0x10000000000ull, 0x8000000000000ull, 0x7ffffffffffffff0ull, 0x8000000000000000ull, ~0ull, ~1ull, ~15ull, ~4095ull,
	};

	return places[below_of(dice, sizeof(places) / sizeof(places[0]))] + (below_of(dice, 4) ? 0 : below_of(dice, 0x2000));
}

/* --- a device is set up --- */

void reset(struct target *t)
{
	u64 since = vio_now_ns();

	put_right(t);
	resets++;
	mmio_write(t->d.common + C_STATUS, 1, 0);
	while (vdrv_status(&t->d))
		if (vio_now_ns() - since > VIO_PATIENCE_NS)
			fail(t, "it is not reset within a minute, its status is", vdrv_status(&t->d), 0);
	t->legacy = false;
}

bool is_broken(struct target *t)
{
	u8 s = vdrv_status(&t->d);

	if (s == 0xff || !(s & 64)) /* 0xff: it is not decoded now */
		return false;
	broken_seen++;
	return true;
}

static u64 own_ring(u32 slot)
{
	return RINGS + RING * slot;
}

/* The three areas: in a slot of their own, or one of them where it should not be. */
static void place(struct target *t, u32 i)
{
	struct hq *q = &t->q[i];
	u64 *area[] = {&q->desc, &q->driver, &q->device}, *one = area[below(3)];

	*q = (struct hq){.index = (u16)i, .wrap = true, .packed = t->d.features & F_PACKED};
	q->size = (u16)(1u << below(9));
	if (!below(4) && q->packed)
		q->size = (u16)(1 + below(256));
	if (!below(32))
		q->size = (u16)random();
	if (q->size > t->max_size && below(8))
		q->size = t->max_size;
	q->desc = own_ring(i);
	q->driver = q->desc + 0x1000 + 2 * below(16);
	q->device = q->desc + 0x2000 + 4 * below(16);
	if (q->packed)
		q->driver &= ~3ull;
	switch (below(24)) {
	case 0:
		*one = device_place(&dice_now);
		break;
	case 1: /* ring in ring, of this queue or another */
		q->device = own_ring(below(NR_RINGS)) + 8 * below(0x200) + 4;
		break;
	case 2:
		q->driver = own_ring(below(NR_RINGS)) + 4 * below(0x800);
		break;
	case 3: /* up to the last byte of RAM, or a bit beyond */
		q->desc = RAM_TOP - 16 * (u64)q->size + 16 * below(2);
		break;
	case 4:
		q->device = RAM_TOP - 4 - 8 * (u64)q->size - (below(2) ? 2 : 0) + below(4);
		break;
	case 5:
		*one += below(16);
		break;
	case 6:
		q->device = q->driver + 4 * below(8);
		break;
	case 7:
		q->desc = 16 * below(0x9000);
		break;
	}
	q->device = tame(q->device);
}

static void clear(u64 at, u32 n)
{
	if (ours(at, n) && at >= ARENA)
		memset((void *)at, 0, n);
}

static void program(struct target *t, u32 i)
{
	const struct hq *q = &t->q[i];
	u64 c = t->d.common;

	clear(q->desc, 16 * (u32)MIN_OF(q->size, 256));
	clear(q->driver, 0x400);
	clear(q->device, 0x800);
	mmio_write(c + C_SELECT, 2, i);
	mmio_write(c + C_SIZE, 2, q->size);
	mmio_write(c + C_DESC, 8, q->desc);
	mmio_write(c + C_AVAIL, 8, q->driver);
	mmio_write(c + C_USED, 8, q->device);
	if (!below(4))
		mmio_write(c + C_VECTOR, 2, below(2) ? below(8) : random());
	if (below(24))
		mmio_write(c + C_ENABLE, 2, 1);
}

/* 4.1.5.1.3 of an old driver: a queue is one piece, of the size that the device says. */
static void set_up_legacy(struct target *t)
{
	t->legacy = true;
	t->d.features = t->offered & random() & 0xffffffff;
	outb((u16)(t->io + 18), 1);
	outb((u16)(t->io + 18), 3);
	outl((u16)(t->io + 4), (u32)(below(8) ? t->d.features : random()));
	for (u32 i = 0; i < t->nr_queues; i++) {
		struct hq *q = &t->q[i];

		*q = (struct hq){.index = (u16)i, .size = t->max_size, .desc = own_ring(i)};
		q->driver = q->desc + 16ull * q->size;
		q->device = (q->driver + 6 + 2ull * q->size + 4095) & ~4095ull;
		clear(q->desc, RING);
		outw((u16)(t->io + 14), (u16)i);
		outl((u16)(t->io + 8), (u32)((below(24) ? q->desc : device_place(&dice_now) & ~0x3fffull) >> 12));
	}
	outb((u16)(t->io + 18), below(8) ? 7 : 15);
}

void set_up(struct target *t)
{
	u64 c = t->d.common;
	bool early = !below(24), late = !below(24);

	reset(t);
	if (t->io && !below(6)) {
		set_up_legacy(t);
		return;
	}
	t->d.features = F_VERSION_1 | (t->offered & random());
	if (!below(32))
		t->d.features = random();
	mmio_write(c + C_STATUS, 1, 1);
	mmio_write(c + C_STATUS, 1, 3);
	for (u32 i = 0; early && i < t->nr_queues; i++) {
		place(t, i);
		program(t, i);
	}
	for (u32 i = 0; i < 2; i++) {
		mmio_write(c + C_DRIVER_SELECT, 4, i);
		mmio_write(c + C_DRIVER, 4, (u32)(t->d.features >> 32 * i));
	}
	mmio_write(c + C_STATUS, 1, 11);
	if (late)
		mmio_write(c + C_STATUS, 1, 15);
	for (u32 i = 0; !early && i < t->nr_queues; i++) {
		place(t, i);
		program(t, i);
	}
	if (below(32))
		mmio_write(c + C_STATUS, 1, 15);
}

/* --- steps --- */

/* Let others run, and timers come; and take the interrupts that wait. */
static void wait_a_bit(void)
{
	u64 until = vio_now_ns() + 1000ull * below(below(16) ? 50 : 3000);

	__asm__ volatile("sti");
	while (vio_now_ns() < until)
		__asm__ volatile("pause");
	__asm__ volatile("cli");
}

static void act(struct target *t)
{
	switch (below(32)) {
	case 0 ... 9:
		request(t, false);
		break;
	case 10 ... 18:
		request(t, true);
		break;
	case 19 ... 22:
		poke(t);
		break;
	case 23 ... 24:
		status_or_reset(t);
		break;
	case 25 ... 26:
		pci_act(t);
		break;
	case 27:
		jump(t);
		break;
	case 28:
		scribble(t, &dice_now);
		break;
	case 29:
		kick(t, below(4) ? below(t->nr_queues) : (u32)random());
		break;
	case 30: /* a reset with requests in flight */
		set_up(t);
		break;
	default:
		wait_a_bit();
	}
}

static void one_step(bool race, bool trace)
{
	struct target *t = &targets[below(nr_targets)], *peer = NULL;
	u32 n = 1 + below(ACTS);

	for (u32 i = 0; i < nr_targets; i++)
		if (t->type == NET && t->nth < 2 && targets[i].type == NET && targets[i].nth == (t->nth ^ 1))
			peer = &targets[i];
	if (trace)
		tell("step ", step, " device ", (u64)(t - targets));
	set_up(t);
	prey = race ? t : NULL;
	for (u32 i = 0; i < n; i++) {
		act(t);
		if (i % 4 == 3 && is_broken(t) && below(4))
			set_up(t);
	}
	prey = NULL;
	put_right(t);
	(void)is_broken(t);
	if (!below(4)) /* it stays as it is, and the next one comes */
		return;
	if (peer)
		reset(peer);
	reset(t);
	honest(t, peer);
	honest_done++;
	reset(t);
	if (peer)
		reset(peer);
}

static u64 sum_of_image(void)
{
	u64 sum = 0;

	for (const u64 *p = (const u64 *)((u64)start & ~7ull); p < (const u64 *)image_text_end; p++)
		sum = sum * 31 + *p;
	return sum;
}

static void steps_from(u32 from, u32 every, bool race, bool trace)
{
	u64 sum = sum_of_image();

	for (step = from; step < steps; step++) {
		dice_now = seed * 0x9e3779b97f4a7c15ull + step;
		note_step(step);
		one_step(race, trace);
		if (sum != sum_of_image()) {
			tell("it has overwritten itself, seed ", seed, " at ", step);
			restart();
		}
		if (step % every == 0) {
			tell("seed ", seed, " at ", step);
			tell("broken ", broken_seen, ", did as it should ", honest_done);
		}
	}
}

/* --- CPU 1: writes into rings while the device reads them --- */

static void second_cpu(void)
{
	u64 dice = seed;

	idt_load(idt, 256);
	for (;;) {
		struct target *t = prey;

		if (t)
			scribble(t, &dice);
		for (u32 i = 0; i < (t ? 200u : 2000u); i++)
			__asm__ volatile("pause");
	}
}

static void start_second_cpu(void)
{
	u64 cr3;

	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	start_page(AP_PAGE, second_cpu, ap_stack + sizeof(ap_stack), (void *)(u64)gdtr.base, gdtr.limit, cr3);
	mmio_write(LAPIC + 0x310, 4, 1u << 24);
	mmio_write(LAPIC + 0x300, 4, 0x4500);
	mmio_write(LAPIC + 0x310, 4, 1u << 24);
	mmio_write(LAPIC + 0x300, 4, 0x4600 | (u32)(AP_PAGE >> 12));
}

/* --- set-up --- */

static void find_targets(void)
{
	for (u16 type = NET; type <= VSOCK; type++)
		for (u32 nth = 0; nr_targets < MOST; nth++) {
			struct target *t = &targets[nr_targets];

			if (!vdrv_find(&t->d, type, nth))
				break;
			t->type = type;
			t->nth = nth;
			for (u32 i = 0; i < 6; i++)
				t->bar[i] = cfg_read(t->d.slot, 0x10 + 4 * i, 4);
			t->msix = capability(t->d.slot, 0x11, 0);
			t->pm = capability(t->d.slot, 1, 0);
			t->io = (u16)(t->bar[0] & ~3u);
			t->nr_queues = mmio_read(t->d.common + C_QUEUES, 2);
			t->nr_queues = t->nr_queues > VDRV_QUEUES ? VDRV_QUEUES : t->nr_queues;
			t->max_size = (u16)mmio_read(t->d.common + C_SIZE, 2);
			t->offered = vdrv_offered(&t->d);
			t->sectors = type == BLK ? *(volatile u64 *)t->d.config : 0;
			t->readonly = type == BLK && t->offered >> 5 & 1;
			nr_targets++;
		}
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	static char line[256];
	const struct mb1_info *mb = (const struct mb1_info *)info;
	u32 from;
	bool race;

	for (u32 i = 0; magic == MB1_MAGIC && mb->flags & 4 && i < sizeof(line) - 1; i++)
		if (!(line[i] = ((const char *)(u64)mb->cmdline)[i]))
			break;
	begin(line);
	idt_init(idt, 256);
	mmio_write(LAPIC + 0xf0, 4, 0x1ff);
	seed = number(line, "seed=", 1);
	steps = (u32)number(line, "steps=", 1000);
	race = has_word(line, "race");
	from = (u32)number(line, "from=", 0);
	/* The CMOS counts lives by one byte and its complement, and says where the one before ended. */
	lives = (cmos_read(0x48) ^ cmos_read(0x49)) == 0xff ? cmos_read(0x48) + 1u : 1;
	if (lives > 1)
		from = noted_step() + 1;
	cmos_write(0x48, (u8)lives);
	cmos_write(0x49, (u8)~lives);
	find_targets();
	tell("devices ", nr_targets, ", lives ", lives);
	if (race)
		start_second_cpu();
	steps_from(from, (u32)number(line, "every=", 100), race, has_word(line, "trace"));
	tell("requests ", requests, ", wrong ones ", wrongs);
	tell("broken ", broken_seen, ", did as it should ", honest_done);
	tell("resets ", resets, ", seed ", seed);
	tell("done ", steps, " steps, lives ", lives);
	for (;;)
		__asm__ volatile("cli; hlt");
}
