/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that lives beside a hostile one and must not notice: it holds patterns in its memory, its registers of every kind
 * (general, x87, SSE, AVX, DR0 to DR3, segment bases, XCR0, CR8, CR2, the MSRs that no exit guards) and watches its clocks,
 * again and again, while others run. It prints "VICTIM: round N" every `every` rounds, "VICTIM: FAIL what" at the first
 * difference, and ends by the debug exit port: 1 then, 0 when a byte is typed.
 * If it has a disk of the tests' content (vio.h), or two network cards on one bridge, it writes and reads, and sends itself frames.
 * Words: memory=KIB (default 4096), seed=N, every=N, tick=US: of its timer, for one to three ticks of which it waits in each
 * round (2000)
 */
#include "cmdline.h"
#include "vio.h"

#define LAPIC     0xfee00000ull
#define VEC_TICK  0x40
#define MEMORY    0x400000ull /* from here on */
#define PART      0x8000u     /* bytes looked at in a round */

void hold(const u64 *pattern, u64 *seen, u64 spins, u64 halts);

static struct gate idt[256] __attribute__((aligned(16)));
static u8 area[2][4096] __attribute__((aligned(64)));
static u64 seed = 1, state, round, ticks;
static bool avx, xsave;

void *memcpy(void *d, const void *s, size_t n);
void *memcpy(void *d, const void *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = ((const u8 *)s)[i];
	return d;
}
void *memset(void *d, int c, size_t n);
void *memset(void *d, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = (u8)c;
	return d;
}

void interrupt(u64 vector, u64 rip, struct frame *f);

static void __attribute__((noreturn)) end(u32 value)
{
	outl(DEBUG_EXIT, value);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void __attribute__((noreturn)) fail(const char *what, u64 want, u64 got)
{
	puts_("VICTIM: FAIL ");
	puts_(what);
	puts_(", wanted ");
	putx(want);
	puts_(", is ");
	putx(got);
	puts_(", round ");
	putd(round);
	puts_("\n");
	end(1);
}

static void equal(const char *what, u64 want, u64 got)
{
	if (want != got)
		fail(what, want, got);
}

void interrupt(u64 vector, u64 rip, struct frame *f)
{
	(void)f;
	if (vector != VEC_TICK)
		fail("an exception or an interrupt of nobody's", vector, rip);
	ticks++;
	*(volatile u32 *)(LAPIC + 0xb0) = 0;
}

static u64 random(void)
{
	u64 z = state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	return z ^ z >> 31;
}

/* --- registers: written before it waits, read after it --- */

#define MSR_READ_WRITE(X) X(0xc0000081) X(0xc0000082) X(0xc0000083) X(0xc0000102) X(0x176) X(0x175)

static u64 canonical(u64 v)
{
	return (u64)((int64_t)(v << 17) >> 17);
}

static u64 kept[32];

static void write_registers(void)
{
	u32 n = 0;
#define X(msr) kept[n] = msr == 0xc0000081 ? random() : canonical(random()); wrmsr(msr, kept[n++]);
	MSR_READ_WRITE(X)
#undef X
	kept[n] = random() & 0x47700; /* SFMASK */
	wrmsr(0xc0000084, kept[n++]);
	kept[n] = canonical(random());
	wrmsr(0xc0000100, kept[n++]);
	kept[n] = canonical(random());
	wrmsr(0xc0000101, kept[n++]);
	kept[n] = 0x0007040600070406ull ^ (random() & 1 ? 0x0100000000000000ull : 0);
	wrmsr(0x277, kept[n++]);
	kept[n] = (u32)random();
	wrmsr(0xc0000103, kept[n++]);
	kept[n] = canonical(random());
	__asm__ volatile("mov %0, %%dr0" ::"r"(kept[n++]));
	kept[n] = canonical(random());
	__asm__ volatile("mov %0, %%dr1" ::"r"(kept[n++]));
	kept[n] = canonical(random());
	__asm__ volatile("mov %0, %%dr2" ::"r"(kept[n++]));
	kept[n] = canonical(random());
	__asm__ volatile("mov %0, %%dr3" ::"r"(kept[n++]));
	kept[n] = canonical(random());
	__asm__ volatile("mov %0, %%cr2" ::"r"(kept[n++]));
}

static void check_registers(void)
{
	u32 n = 0;
	u64 v;
#define X(msr) equal("MSR " #msr, kept[n], rdmsr(msr)); n++;
	MSR_READ_WRITE(X)
#undef X
	equal("SFMASK", kept[n], rdmsr(0xc0000084)), n++;
	equal("FS base", kept[n], rdmsr(0xc0000100)), n++;
	equal("GS base", kept[n], rdmsr(0xc0000101)), n++;
	equal("PAT", kept[n], rdmsr(0x277)), n++;
	equal("TSC_AUX", kept[n], rdmsr(0xc0000103)), n++;
#define DR(i)                                      \
	__asm__ volatile("mov %%dr" #i ", %0" : "=r"(v)); \
	equal("DR" #i, kept[n++], v);
	DR(0) DR(1) DR(2) DR(3)
#undef DR
	__asm__ volatile("mov %%cr2, %0" : "=r"(v));
	equal("CR2", kept[n++], v);
	__asm__ volatile("mov %%dr7, %0" : "=r"(v));
	equal("DR7", 0x400, v);
	__asm__ volatile("mov %%cr8, %0" : "=r"(v));
	equal("CR8", 0, v);
	equal("EFER", 0x500, rdmsr(0xc0000080));
}

static void xsave_to(u8 *to)
{
	if (xsave)
		__asm__ volatile("xsave64 (%0)" ::"r"(to), "a"(7), "d"(0) : "memory");
	else
		__asm__ volatile("fxsave64 (%0)" ::"r"(to) : "memory");
}

/* All of the vector and x87 registers, at random; the header and the control words are what the CPU made them. */
static void write_vectors(void)
{
	u8 *a = area[0];

	memset(a, 0, sizeof(area[0]));
	xsave_to(a);
	a[4] = 0xff; /* no x87 register is empty */
	for (u32 i = 0; i < 8; i++) {
		*(u64 *)(a + 32 + 16 * i) = random() | 1ull << 63;
		*(u16 *)(a + 40 + 16 * i) = (u16)(random() % 0x7ffe + 1);
	}
	for (u32 i = 0; i < 32; i++)
		*(u64 *)(a + 160 + 8 * i) = random();
	if (avx)
		for (u32 i = 0; i < 32; i++)
			*(u64 *)(a + 576 + 8 * i) = random();
	if (xsave) {
		*(u64 *)(a + 512) = avx ? 7 : 3;
		__asm__ volatile("xrstor64 (%0)" ::"r"(a), "a"(7), "d"(0) : "memory");
	} else {
		__asm__ volatile("fxrstor64 (%0)" ::"r"(a) : "memory");
	}
}

static void check_vectors(void)
{
	u8 *a = area[0], *b = area[1];
	u32 lo, hi;

	memset(b, 0, 1024);
	xsave_to(b);
	for (u32 i = 32; i < 416; i += 8)
		if (i >= 160 || i % 16 == 0)
			equal(i < 160 ? "x87" : "SSE", *(u64 *)(a + i), *(u64 *)(b + i));
	for (u32 i = 576; avx && i < 832; i += 8)
		equal("AVX", *(u64 *)(a + i), *(u64 *)(b + i));
	if (xsave) {
		__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
		equal("XCR0", avx ? 7 : 3, lo);
	}
}

/* --- memory and time --- */

static u64 word_of(u64 at)
{
	u64 z = at * 0xbf58476d1ce4e5b9ull ^ seed;

	return z ^ z >> 29;
}

static void check_memory(u64 size)
{
	u64 from = MEMORY + round * PART % size;

	for (u64 at = from; at < from + PART; at += 8)
		equal("memory", word_of(at), *(volatile u64 *)at);
}

static u32 pm_timer(void)
{
	u32 v;

	__asm__ volatile("inl %w1, %0" : "=a"(v) : "d"(0x608));
	return v & 0xffffff;
}

/* The TSC and the ACPI timer go the same way, and never back. */
static void check_time(void)
{
	static u64 tsc, hpet;
	u64 now = rdtsc(), h = *(volatile u64 *)(0xfed00000ull + 0xf0);
	u32 a, b;

	if (now <= tsc)
		fail("the TSC went back", tsc, now);
	if (hpet && h <= hpet)
		fail("the HPET went back", hpet, h);
	tsc = now;
	hpet = h;
	a = pm_timer();
	b = pm_timer();
	if (((b - a) & 0xffffff) > 0x800000)
		fail("the ACPI timer went back", a, b);
}

/* --- its devices --- */

#define BLOCKS 128u

static struct vdrv disk, card[2];
static u8 versions[BLOCKS], page[4096] __attribute__((aligned(4096)));

static void find_devices(void)
{
	if (vdrv_find(&disk, 2, 0)) {
		if (!vdrv_start(&disk, F_VERSION_1 | F_PACKED, 1, 8, 0))
			fail("its disk cannot be set up", 15, vdrv_status(&disk));
		puts_("VICTIM: has a disk\n");
	}
	if (!vdrv_find(&card[0], 1, 0) || !vdrv_find(&card[1], 1, 1)) {
		card[0].common = 0;
		return;
	}
	puts_("VICTIM: has network cards\n");
	for (u32 i = 0; i < 2; i++)
		if (!vdrv_start(&card[i], F_VERSION_1, 2, 8, 0))
			fail("a card cannot be set up", 15, vdrv_status(&card[i]));
	vio_listen(&card[1]);
}

/* What was written last, or the file's content. */
static u64 word_of_disk(u64 at)
{
	u8 n = versions[at / 4096];

	return n ? word_of(at * 256 + n) : vio_file_word(at);
}

static void check_disk(void)
{
	u64 block = random() % BLOCKS;

	equal("the disk's answer to a read", 0, vio_block(&disk, 0, block * 8, page));
	for (u64 i = 0; i < 4096; i += 8)
		equal("what is on the disk", word_of_disk(block * 4096 + i), *(u64 *)(page + i));
	block = random() % BLOCKS;
	versions[block] = (u8)(random() % 255 + 1);
	for (u64 i = 0; i < 4096; i += 8)
		*(u64 *)(page + i) = word_of_disk(block * 4096 + i);
	equal("the disk's answer to a write", 0, vio_block(&disk, 1, block * 8, page));
}

static void check_net(void)
{
	u32 len = 12 + 60 + (u32)(random() % 1400);

	for (u32 i = 26; i < len; i++)
		page[i] = (u8)random();
	vio_address(&card[0], &card[1], page);
	if (!vio_frame(&card[0], &card[1], page, len))
		fail("a frame did not come", len, 0);
}

/* --- */

static void set_up(u32 tick)
{
	u32 r[4];
	u64 cr4;

	idt_init(idt, 256);
	cpuid(1, r);
	xsave = r[2] >> 26 & 1;
	avx = xsave && r[2] >> 28 & 1;
	if (xsave) {
		__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
		__asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | 1u << 18));
		__asm__ volatile("xsetbv" ::"a"(avx ? 7 : 3), "d"(0), "c"(0));
	}
	__asm__ volatile("fninit");
	*(volatile u32 *)(LAPIC + 0xf0) = 0x1ff;
	*(volatile u32 *)(LAPIC + 0x3e0) = 0xb;
	*(volatile u32 *)(LAPIC + 0x320) = VEC_TICK | 1u << 17;
	*(volatile u32 *)(LAPIC + 0x380) = tick * 1000;
	*(volatile u64 *)(0xfed00000ull + 0x10) = 1; /* the HPET counts */
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	static const char none[] = "";
	const struct mb1_info *mb = (const struct mb1_info *)info;
	const char *line = magic == MB1_MAGIC && mb->flags & 4 ? (const char *)(u64)mb->cmdline : none;
	u64 size = number(line, "memory=", 4096) * 1024, every = number(line, "every=", 200), pattern[16], seen[16];

	state = seed = number(line, "seed=", 1);
	serial_init();
	pic_init();
	set_up((u32)number(line, "tick=", 2000));
	for (u64 at = MEMORY; at < MEMORY + size; at += 8)
		*(volatile u64 *)at = word_of(at);
	find_devices();
	puts_("VICTIM: ready\n");
	for (round = 0;; round++) {
		for (u32 i = 0; i < 16; i++)
			pattern[i] = random();
		write_registers();
		write_vectors();
		/* Some spinning, which others interrupt, and a wait, in which they run. */
		hold(pattern, seen, 1 + random() % 2000, 1 + round % 3);
		for (u32 i = 0; i < 16; i++)
			if (i != 4)
				equal("a general register", pattern[i], seen[i]);
		check_registers();
		check_vectors();
		check_memory(size);
		check_time();
		if (disk.common)
			check_disk();
		if (card[0].common)
			check_net();
		if (round % every == every - 1) {
			puts_("VICTIM: round ");
			putd(round + 1);
			puts_("\n");
		}
		if (inb(COM1 + 5) & 1) {
			puts_("VICTIM: intact, rounds ");
			putd(round + 1);
			puts_(", ticks ");
			putd(ticks);
			puts_("\n");
			end(0);
		}
	}
}
