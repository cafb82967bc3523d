/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that looks at its PCI bus, with five test devices in slots 3..7 (testdev = 5, vmm/platform/pci_testdev.c): finds
 * them, sizes, moves and overlaps their BARs, takes their interrupts by PIC, I/O APIC, MSI and MSI-X.
 * Ends by the debug exit port: 0 if nothing failed.
 */
#include "cputest.h"
#include "pcicfg.h"

const struct known known[] = {{NULL, NULL, NULL}};

#define ECAM	  0xe0000000ul
#define IOAPIC	  0xfec00000ul
#define FIRST	  3u
#define DEVICES	  5u
#define DEVICE_ID 0xda1a1b36u
#define TEST_ID	  0x54534554u
#define FAR	  0x500000000ull /* 20 GiB, where this guest maps nothing else */
#define CAP_MSI	  5
#define CAP_MSIX  0x11
enum { RAISE = 4, LOWER = 8, LAST = 12, VALUE = 16, SCRATCH = 32 };

static struct gate idt[256] __attribute__((aligned(16)));
static u64 far_pd[512] __attribute__((aligned(4096)));
static volatile u32 irqs[256], leave_up; /* leave_up: so often a pin stays asserted over the EOI */
static u64 mem[8];			 /* of slot n: where BAR 1 is */

/* ---- accesses ---- */

static u32 ones(unsigned size)
{
	return size == 4 ? ~0u : (1u << 8 * size) - 1;
}

static u64 ecam(unsigned slot, unsigned off)
{
	return ECAM + ((u64)slot << 15) + off;
}

static void far_write(unsigned slot, unsigned off, u32 v)
{
	mmio_write(mem[slot] + off, 4, v);
}

/* ---- interrupts ---- */

/* 0x20..0x2f: the PIC; 0x40 and on: the local APIC, 0x40 and 0x41 by pins. All who may pull take back, sooner or later. */
void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	if (vector < 32)
		broken(vector, f->error, rip);
	irqs[vector & 255]++;
	if (vector < 0x42 && !leave_up)
		for (unsigned slot = FIRST; slot < FIRST + DEVICES; slot++)
			far_write(slot, LOWER, 0);
	else if (leave_up)
		leave_up--;
	if (vector >= 0x40)
		lapic_write(0xb0, 0);
	if (vector >= 0x28 && vector < 0x30)
		outb(PIC2, 0x20);
	if (vector < 0x30)
		outb(PIC1, 0x20);
}

static void window(void)
{
	__asm__ volatile("sti; nop; nop; nop; cli" ::: "memory");
}

/* How many came at this vector since it was last asked. */
static u32 came(u32 vector)
{
	u32 n;

	window();
	n = irqs[vector];
	irqs[vector] = 0;
	return n;
}

static void set_up(void)
{
	u64 *pml4 = (u64 *)read_cr(3), *pdpt = (u64 *)(pml4[0] & ~0xfffull);

	idt_init(idt, 256);
	for (u64 i = 0; i < 512; i++)
		far_pd[i] = (FAR + (i << 21)) | 0x9b; /* uncached */
	pdpt[FAR >> 30] = (u64)far_pd | 3;
	__asm__ volatile("mov %0, %%cr3" ::"r"(pml4) : "memory");
	lapic_write(0xf0, 0x1ff);
}

/* ---- what is there, and what is not ---- */

static void enumerate(void)
{
	u32 found = 0;
	bool same_ids = true, extended = true;

	for (unsigned slot = 0; slot < 32; slot++) {
		u32 id = cfg_read(slot, 0, 4);

		found |= (id != ~0u) << slot;
		same_ids = same_ids && id == mmio_read(ecam(slot, 0), 4);
		if (slot >= FIRST && slot < FIRST + DEVICES)
			same_ids = same_ids && id == DEVICE_ID;
		for (unsigned size = 1; size <= 4; size *= 2)
			extended = extended && mmio_read(ecam(slot, 0xffc), size) == (id == ~0u ? ones(size) : 0);
	}
	check2("devices", found == 0x800000f9, found, 0);
	check("ecam-as-ports", same_ids);
	check("ecam-extended", extended);
	check("ecam-other-bus", mmio_read(ECAM + 0x100000, 4) == ~0u && mmio_read(ECAM + 0x1000, 2) == 0xffff);
}

static void nothing(void)
{
	static const u64 at[] = {0xc8000000, 0xdffff000, 0xf8000000, FAR};
	bool ports = true, memory = true;

	for (unsigned size = 1; size <= 4; size *= 2) {
		port_write(0x1234, size, 0);
		ports = ports && port_read(0x1234, size) == ones(size) && port_read(0xaffd, size) == ones(size);
		for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
			mmio_write(at[i], size, 0);
			memory = memory && mmio_read(at[i], size) == ones(size) && mmio_read(at[i] + 3, size) == ones(size);
		}
	}
	mmio_write(at[0], 8, 0);
	memory = memory && *(volatile u64 *)at[0] == ~0ull;
	check("nothing-ports", ports);
	check("nothing-memory", memory);
}

/* ---- BARs ---- */

static void sizes(void)
{
	static const u32 want[6] = {0xffffffc1, 0xfffff000, 0xffff000c, 0xffffffff, 0xfffff000, 0};

	for (unsigned slot = FIRST; slot < FIRST + DEVICES; slot++) {
		bool ok = true;

		for (unsigned i = 0; i < 6; i++) {
			u32 was = cfg_read(slot, 0x10 + 4 * i, 4);

			cfg_write(slot, 0x10 + 4 * i, 4, ~0u);
			ok = ok && cfg_read(slot, 0x10 + 4 * i, 4) == want[i];
			cfg_write(slot, 0x10 + 4 * i, 4, was);
			ok = ok && cfg_read(slot, 0x10 + 4 * i, 4) == was;
		}
		mem[slot] = cfg_read(slot, 0x14, 4);
		check2("bars", ok && mem[slot] >= 0xc0000000 && mem[slot] < 0xe0000000, slot, mem[slot]);
		check2("bar-answers", mmio_read(mem[slot], 4) == TEST_ID &&
		       inl((u16)(cfg_read(slot, 0x10, 4) & ~3u)) == TEST_ID && mmio_read(cfg_read(slot, 0x18, 4) & ~15u, 4) == TEST_ID,
		       slot, mmio_read(mem[slot], 4));
	}
}

static void widths(void)
{
	const u16 io = (u16)(cfg_read(FIRST, 0x10, 4) & ~3u);
	bool ok = true;

	for (unsigned size = 1; size <= 8; size *= 2) {
		mmio_write(mem[FIRST] + SCRATCH + 8, size, 0x1122334455667788);
		ok = ok && mmio_read(mem[FIRST] + LAST, 4) == (size << 16 | (SCRATCH + 8) | 1u << 24) &&
		     mmio_read(mem[FIRST] + SCRATCH + 8, size < 4 ? size : 4) == (0x55667788 & ones(size < 4 ? size : 4));
	}
	check("widths-memory", ok);
	for (unsigned size = 1; size <= 4; size *= 2) {
		port_write((u16)(io + SCRATCH + 1), size, 0x99aabbcc);
		ok = ok && mmio_read(mem[FIRST] + LAST, 4) == (size << 16 | (SCRATCH + 1)) &&
		     port_read((u16)(io + SCRATCH + 1), size) == (0x99aabbcc & ones(size));
	}
	check("widths-ports", ok);
	/* Across the end of the I/O BAR: byte by byte, to whom it belongs. */
	port_write((u16)(io + 63), 1, 0x5a);
	cfg_write(FIRST + 1, 0x10, 4, 0xd000);
	check2("ports-past-end", port_read((u16)(io + 62), 4) == 0xffff5a00, port_read((u16)(io + 62), 4), 0);
}

static void moves(void)
{
	u64 far = FAR;
	bool ok = true;

	for (unsigned i = 0; i < 64; i++) {
		u64 to = 0xd0000000 + (i * 7 % 64 << 12);
		u16 io = (u16)(0xd100 + (i * 5 % 16 << 6));

		cfg_write(FIRST, 0x14, 4, (u32)to);
		cfg_write(FIRST, 0x10, 4, io);
		far = FAR + ((u64)i << 16);
		cfg_write(FIRST, 0x18, 4, (u32)far);
		cfg_write(FIRST, 0x1c, 4, (u32)(far >> 32));
		ok = ok && mmio_read(to, 4) == TEST_ID && inl(io) == TEST_ID && mmio_read(far, 4) == TEST_ID &&
		     mmio_read(mem[FIRST] == to ? FAR - 4096 + (1 << 30) : mem[FIRST], 4) == ~0u;
		mmio_write(far + SCRATCH, 4, i);
		ok = ok && mmio_read(to + SCRATCH, 4) == i && inl((u16)(io + SCRATCH)) == i;
		mem[FIRST] = to;
	}
	check("moves", ok);
	cfg_write(FIRST, 4, 2, 1);
	check("memory-off", mmio_read(mem[FIRST], 4) == ~0u && mmio_read(far, 4) == ~0u);
	cfg_write(FIRST, 4, 2, 2);
	check("ports-off", inl((u16)(cfg_read(FIRST, 0x10, 4) & ~3u)) == ~0u && mmio_read(far, 4) == TEST_ID);
	cfg_write(FIRST, 4, 2, 7);
}

static u32 victim[1024] __attribute__((aligned(4096)));

/* Harmless: RAM stays RAM, the APICs and the firmware's ports stay themselves, of two BARs the lower slot's answers. */
static void overlaps(void)
{
	const u64 was = mem[FIRST];
	u32 version = lapic_read(0x30), other;

	for (unsigned i = 0; i < 1024; i++)
		victim[i] = i;
	cfg_write(FIRST, 0x14, 4, (u32)(u64)victim);
	((volatile u32 *)victim)[SCRATCH / 4] = 77;
	check("over-ram", ((volatile u32 *)victim)[0] == 0 && ((volatile u32 *)victim)[SCRATCH / 4] == 77);
	cfg_write(FIRST, 0x14, 4, LAPIC);
	check("over-lapic", lapic_read(0x30) == version);
	cfg_write(FIRST, 0x14, 4, IOAPIC);
	mmio_write(IOAPIC, 4, 1);
	check2("over-ioapic", mmio_read(IOAPIC + 16, 4) == 0x170011, mmio_read(IOAPIC + 16, 4), 0);
	cfg_write(FIRST, 0x14, 4, ECAM);
	check("over-ecam", mmio_read(ECAM, 4) == 0x29c08086);
	cfg_write(FIRST, 0x10, 4, COM1 & ~63);
	puts_("");
	check("over-uart", (inb(COM1 + 5) & 0x60) && inb(COM1 + 5) != 0xff);
	cfg_write(FIRST, 0x10, 4, 0xd100);
	/* Slot 4 over slot 3, then slot 3 over slot 4: the lower one wins, either way. */
	cfg_write(FIRST, 0x14, 4, (u32)was);
	other = cfg_read(FIRST + 1, 0x14, 4);
	cfg_write(FIRST + 1, 0x14, 4, (u32)was);
	mmio_write(was + SCRATCH, 4, 1234);
	check("overlap-lower-wins", mmio_read(was + 24, 4) == 0 && mmio_read(was + SCRATCH, 4) == 1234);
	cfg_write(FIRST, 0x14, 4, 0xd0800000);
	check("overlap-other-back", mmio_read(was + 24, 4) == 1 && mmio_read(was + SCRATCH, 4) != 1234);
	cfg_write(FIRST + 1, 0x14, 4, other);
	cfg_write(FIRST, 0x14, 4, (u32)was);
	check("overlap-undone", mmio_read(was + SCRATCH, 4) == 1234 && mmio_read(other + 24, 4) == 1);
}

/* ---- interrupts ---- */

/* Slots 3 and 7 pull PIRQ H (IRQ 15 as firmware routed it), slot 4 A (IRQ 5). */
static void by_pic(void)
{
	outb(PIC1 + 1, 0xff & ~(1 << 2 | 1 << 5 | 1 << 6));
	outb(PIC2 + 1, 0xff & ~(1 << 6 | 1 << 7));
	check2("pic-line", cfg_read(3, 0x3c, 2) == 0x10f && cfg_read(4, 0x3c, 2) == 0x105, cfg_read(3, 0x3c, 2),
	       cfg_read(4, 0x3c, 2));
	far_write(3, RAISE, 0);
	check("pic-irq15", came(0x2f) == 1);
	far_write(4, RAISE, 0);
	check("pic-irq5", came(0x25) == 1);
	leave_up = 2;
	far_write(4, RAISE, 0);
	check("pic-level", came(0x25) + came(0x25) + came(0x25) == 3 && came(0x25) == 0);
	/* Two on one line: what one takes back the other holds up. */
	leave_up = 1;
	far_write(3, RAISE, 0);
	far_write(7, RAISE, 0);
	far_write(3, LOWER, 0);
	check("pic-shared", came(0x2f) + came(0x2f) == 2 && came(0x2f) == 0);
	cfg_write(31, 0x6b, 1, 6);
	far_write(3, RAISE, 0);
	check("pic-routed", came(0x26) == 1 && came(0x2f) == 0);
	cfg_write(31, 0x6b, 1, 0x86);
	far_write(3, RAISE, 0);
	check("pic-route-off", came(0x26) == 0 && came(0x2f) == 0);
	far_write(3, LOWER, 0);
	cfg_write(31, 0x6b, 1, 15);
	cfg_write(3, 4, 2, 0x407);
	far_write(3, RAISE, 0);
	check2("pic-intx-disabled", came(0x2f) == 0 && cfg_read(3, 6, 2) == 0x18, cfg_read(3, 6, 2), 0);
	far_write(3, LOWER, 0);
	cfg_write(3, 4, 2, 7);
	outb(PIC1 + 1, 0xff);
	outb(PIC2 + 1, 0xff);
}

static void ioapic_route(unsigned pin, u32 lo)
{
	mmio_write(IOAPIC, 4, 0x11 + 2 * pin);
	mmio_write(IOAPIC + 16, 4, lapic_read(0x20) & 0xff000000);
	mmio_write(IOAPIC, 4, 0x10 + 2 * pin);
	mmio_write(IOAPIC + 16, 4, lo);
}

/* Pins 23 (slots 3 and 7) and 16 (slot 4): level-triggered, active low, as _PRT means. */
static void by_ioapic(void)
{
	ioapic_route(23, 0xa040);
	ioapic_route(16, 0xa041);
	far_write(3, RAISE, 0);
	check("ioapic-pin23", came(0x40) == 1);
	far_write(4, RAISE, 0);
	check("ioapic-pin16", came(0x41) == 1);
	leave_up = 1;
	far_write(3, RAISE, 0);
	far_write(7, RAISE, 0);
	far_write(7, LOWER, 0);
	check("ioapic-shared", came(0x40) + came(0x40) == 2 && came(0x40) == 0);
	ioapic_route(23, 0x10000);
	ioapic_route(16, 0x10000);
}

static void by_msi(void)
{
	const u32 at = capability(3, CAP_MSI, 0);

	check2("msi-there", at && cfg_read(3, at + 2, 2) == 0x184, at, cfg_read(3, at + 2, 2));
	cfg_write(3, at + 4, 4, LAPIC | (lapic_read(0x20) >> 24) << 12);
	cfg_write(3, at + 8, 4, 0);
	cfg_write(3, at + 12, 2, 0x50);
	cfg_write(3, at + 2, 2, 0x21); /* all four */
	for (u32 i = 0; i < 4; i++) {
		far_write(3, RAISE, i);
		check2("msi", came(0x50 + i) == 1, i, 0);
	}
	cfg_write(3, at + 16, 4, 2);
	far_write(3, RAISE, 1);
	far_write(3, RAISE, 1);
	check("msi-masked", came(0x51) == 0 && cfg_read(3, at + 20, 4) == 2);
	cfg_write(3, at + 16, 4, 0);
	check("msi-unmasked", came(0x51) == 1 && cfg_read(3, at + 20, 4) == 0);
	cfg_write(3, 4, 2, 3);
	far_write(3, RAISE, 0);
	check("msi-no-bus-master", came(0x50) == 0);
	cfg_write(3, 4, 2, 7);
	cfg_write(3, at + 2, 2, 0);
}

static void by_msix(void)
{
	const u32 at = capability(5, CAP_MSIX, 0), pending = 0x800;
	u64 table;

	check2("msix-there", at && cfg_read(5, at + 2, 2) == 3 && cfg_read(5, at + 8, 4) == 0x804, at, 0);
	cfg_write(5, 4, 2, 7);
	cfg_write(5, 0x20, 4, 0xd0900000); /* the table moves, too */
	table = cfg_read(5, 0x20, 4);
	for (u32 i = 0; i < 4; i++) {
		mmio_write(table + 16 * i, 8, LAPIC | (lapic_read(0x20) >> 24) << 12);
		mmio_write(table + 16 * i + 8, 4, 0x60 + i);
		mmio_write(table + 16 * i + 12, 4, 0);
	}
	cfg_write(5, at + 2, 2, 0x8000);
	for (u32 i = 0; i < 4; i++) {
		far_write(5, RAISE, i);
		check2("msix", came(0x60 + i) == 1, i, 0);
	}
	mmio_write(table + 12, 4, 1);
	far_write(5, RAISE, 0);
	check("msix-masked", came(0x60) == 0 && mmio_read(table + pending, 4) == 1);
	mmio_write(table + 12, 4, 0);
	check("msix-unmasked", came(0x60) == 1 && mmio_read(table + pending, 4) == 0);
	cfg_write(5, at + 2, 2, 0xc000);
	far_write(5, RAISE, 2);
	far_write(5, RAISE, 3);
	check("msix-function-masked", came(0x62) + came(0x63) == 0 && mmio_read(table + pending, 4) == 12);
	cfg_write(5, at + 2, 2, 0x8000);
	check("msix-function-unmasked", came(0x62) == 1 && came(0x63) == 1);
	/* A storm: none is lost when each is awaited. */
	for (u32 i = 0; i < 200; i++) {
		far_write(5, RAISE, i & 3);
		while (!came(0x60 + (i & 3)))
			__asm__ volatile("sti; hlt; cli" ::: "memory");
	}
	check("msix-200", true);
	cfg_write(5, at + 2, 2, 0);
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	const struct mb1_info *mb = (const struct mb1_info *)info;

	begin(magic == MB1_MAGIC && mb->flags & 4 ? (const char *)(u64)mb->cmdline : "");
	set_up();
	enumerate();
	nothing();
	sizes();
	widths();
	moves();
	overlaps();
	by_pic();
	by_ioapic();
	by_msi();
	by_msix();
	finish("pcitest");
	for (;;)
		__asm__ volatile("cli; hlt");
}
