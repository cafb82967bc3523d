/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BARs that move while they are accessed: CPU 1 moves, sizes and disables those of the test devices
 * (`testdev = N`, vmm/platform/pci_testdev.c) and turns their messages on and off, by dice that CPU 0
 * gave it, while CPU 0 reads and writes where they are, were and will be.
 */
#include "hostile_code.h"

#define FIRST_SLOT 3u
#define MOST	   8u
#define TEST_ID	   0xda1a1b36u
#define COMMAND	   4u
#define BAR(i)	   (0x10u + 4 * (i))
enum { CAP_PM = 1, CAP_MSI = 5, CAP_MSIX = 0x11 };

static u32 slots, pm, msi, msix; /* devices that there are; capabilities, in each at the same place */
static volatile u32 moves;	 /* that CPU 1 shall make */
static u64 mover;		 /* its dice */

/* Of the bridge's window, of others' memory, of nothing: BARs of 4 KiB (1 and 4) and 64 KiB (2 and 3). */
static const u32 places[] = {
	0xc0000000, 0xc0000000, 0xc0001000, 0xc0002000, 0xc0010000, 0xc0010000, 0xc0020000, 0xdffff000,
	0xe0010000, ECAM + (FIRST_SLOT << 15), HPET, IOAPIC, LAPIC, 0xffff0000, DATA, RAM_TOP - 0x1000,
	RAM_TOP, 0xa0000, 0,
};
static const u16 io_places[] = {0xc000, 0xc000, 0xc040, 0xc080, 0xff80, 0xffc0, 0x600, 0x40, 0};

static u32 capability(u32 id)
{
	u64 config = ECAM + (FIRST_SLOT << 15);
	u32 at = *(volatile u8 *)(config + 0x34);

	for (u32 n = 0; at && n < 16; n++, at = *(volatile u8 *)(config + at + 1))
		if (*(volatile u8 *)(config + at) == id)
			return at;
	return 0;
}

void pci_set_up(void)
{
	while (slots < MOST && mmio_read(ECAM + ((FIRST_SLOT + slots) << 15)) == TEST_ID)
		slots++;
	pm = slots ? capability(CAP_PM) : 0;
	msi = slots ? capability(CAP_MSI) : 0;
	msix = slots ? capability(CAP_MSIX) : 0;
}

/* --- CPU 1 --- */

static u32 of(u32 n)
{
	return below_of(&mover, n);
}

/* By ECAM, or by the ports, whose address register the other CPU may change in between. */
static u32 config(u32 function, u32 off, u32 size, bool write, u32 val)
{
	volatile void *at = (volatile void *)(ECAM + ((u64)function << 12) + off);

	if (of(2)) {
		outl(0xcf8, 0x80000000u | function << 8 | (off & 0xfc));
		if (write && size == 4)
			outl(0xcfc, val);
		else if (write)
			outb((u16)(0xcfc | (off & 3)), (u8)val);
		return write ? 0 : inw((u16)(0xcfc | (off & 2)));
	}
	if (write && size == 4)
		*(volatile u32 *)at = val;
	else if (write && size == 2)
		*(volatile u16 *)at = (u16)val;
	else if (write)
		*(volatile u8 *)at = (u8)val;
	return write ? 0 : *(volatile u32 *)at;
}

static void move_bar(u32 function)
{
	u32 i = of(5), to = places[of(sizeof(places) / sizeof(places[0]))];

	if (i == 0)
		to = io_places[of(sizeof(io_places) / sizeof(io_places[0]))];
	if (i == 3)
		to = of(4) ? 0 : (u32)next_random(&mover);
	if (!of(3)) { /* how large is it? */
		config(function, BAR(i), 4, true, ~0u);
		config(function, BAR(i), 4, false, 0);
	}
	config(function, BAR(i), 4, true, to);
}

/* Address and data: mostly a fixed interrupt for either CPU, else anything. */
static void messages(u32 function)
{
	u32 vector = 0x60 + of(0x80), data = of(8) ? vector : (u32)next_random(&mover) & 0xffff;
	u32 to = of(8) ? 0xfee00000 | of(3) << 12 | of(4) << 2 : (u32)next_random(&mover);
	u64 table = places[of(6)] + 16 * of(5);

	switch (of(4)) {
	case 0:
		config(function, msi + 4, 4, true, to);
		config(function, msi + 12, 2, true, data);
		config(function, msi + 2, 1, true, of(2) | of(8) << 4);
		break;
	case 1:
		config(function, msi + 16, 4, true, of(16));
		break;
	case 2: /* an entry of the table, if the BAR is there now */
		mmio_write(table, to);
		mmio_write(table + 8, data);
		mmio_write(table + 12, of(2));
		break;
	default:
		config(function, msix + 3, 1, true, of(4) << 6);
		break;
	}
}

static void a_move(void)
{
	u32 function = (FIRST_SLOT + of(slots)) << 3;

	switch (of(12)) {
	case 0 ... 3:
		move_bar(function);
		break;
	case 4 ... 6:
		config(function, COMMAND, 2, true, of(2) ? 7 : of(8) | of(2) << 10);
		break;
	case 7 ... 9:
		messages(function);
		break;
	case 10:
		config(function, pm + 4, 1, true, of(3) ? 0 : of(4));
		break;
	default: /* any register of any function */
		function = of(2) ? function : of(256);
		config(function, of(2) ? 4 * of(64) : of(256), 1u << of(3), true, (u32)next_random(&mover));
		break;
	}
}

bool pci_moves(void)
{
	u32 n = moves;

	moves = 0;
	for (u32 i = 0; i < n; i++)
		a_move();
	return n;
}

/* --- CPU 0 --- */

static void put_access(void)
{
	static const u32 kinds[] = {0x90078a, 0x900788, 0x078b66, 0x078966, 0x90078b, 0x900789, 0x078b48, 0x078948,
				    0x0701f0, 0x900787, 0x900700, 0x90073b, 0xa4f390, 0xa5f390, 0xaaf390, 0xabf348};
	static const u16 offsets[] = {0, 4, 4, 8, 0xc, 0x10, 0x1e, 0x20, 0x3c, 0x3e, 0xff8, 0xffe, 0xfff};
	u32 to = ONE_OF(places) + ONE_OF(offsets);

	if (!below(5)) { /* IN and OUT */
		B(0x66), B(0xba), W(0xc000 + 0x40 * below(3) + ONE_OF(offsets) % 0x41);
		if (below(2))
			B(0x66);
		B(0xec | below(4));
		return;
	}
	B(0xb9), D(below(24)); /* MOV ECX, MOV ESI, MOV EDI */
	B(0xbe), D(below(2) ? DATA : ONE_OF(places));
	B(0xbf), D(to);
	T(ONE_OF(kinds));
}

u32 bar_race(void)
{
	u64 top;

	if (!slots)
		return 0;
	mover = random();
	moves = 1 + below(40);
	prepare();
	B(0xbb), D(1 + below(16)); /* MOV EBX: so many rounds */
	top = code_at();
	for (u32 n = 1 + below(4); n; n--)
		put_access();
	B(0xff), B(0xcb), B(0x0f), B(0x85), D((u32)(top - code_at() - 4)); /* DEC EBX, JNZ */
	put_end();
	if (trace)
		show();
	wake_watchdog();
	run_code(&run);
	return DIRTY_APIC | DIRTY_CPUS;
}
