/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stop DMA that firmware or a loader left running: clear bus mastering of every function that is neither
 * a bridge nor a display. By configuration mechanism 1, which reaches segment 0 on every PC; only
 * buses behind a bridge that was found are looked at.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/pcpu_arch.h"

#define PCI_ID	    0x00
#define PCI_COMMAND 0x04
#define PCI_CLASS   0x08
#define PCI_HEADER  0x0c
#define PCI_BUSES   0x18
#define COMMAND_BUS_MASTER BIT(2)
#define CLASS_DISPLAY 0x03
#define CLASS_BRIDGE  0x06
#define SUBCLASS_HOST 0x00

struct scan {
	u8 todo[32]; /* bitmaps of buses */
	u8 done[32];
	u32 quieted;
};

static void select_reg(u32 bus, u32 dev, u32 fn, u32 reg)
{
	outl(0xcf8, 0x80000000u | bus << 16 | dev << 11 | fn << 8 | reg);
}

static u32 rd(u32 bus, u32 dev, u32 fn, u32 reg)
{
	select_reg(bus, dev, fn, reg);
	return inl(0xcfc);
}

static void add_bus(struct scan *s, u32 bus)
{
	s->todo[bus / 8] |= BIT(bus % 8);
}

static void quiet(struct scan *s, u32 bus, u32 dev, u32 fn)
{
	u32 cmd = rd(bus, dev, fn, PCI_COMMAND);

	if (!(cmd & COMMAND_BUS_MASTER))
		return;
	/* Status, in the upper half, is cleared by ones: write the command alone. */
	select_reg(bus, dev, fn, PCI_COMMAND);
	outw(0xcfc, cmd & ~COMMAND_BUS_MASTER);
	s->quieted++;
}

/* Returns whether the device has more functions. */
static bool function(struct scan *s, u32 bus, u32 dev, u32 fn)
{
	u32 class, header;

	if ((rd(bus, dev, fn, PCI_ID) & 0xffff) == 0xffff)
		return false;
	class = rd(bus, dev, fn, PCI_CLASS) >> 24;
	header = rd(bus, dev, fn, PCI_HEADER) >> 16 & 0xff;
	if ((header & 0x7f) == 1 || (header & 0x7f) == 2)
		add_bus(s, rd(bus, dev, fn, PCI_BUSES) >> 8 & 0xff);
	else if (class != CLASS_DISPLAY && class != CLASS_BRIDGE)
		quiet(s, bus, dev, fn);
	return header & 0x80;
}

static void scan_bus(struct scan *s, u32 bus)
{
	for (u32 dev = 0; dev < 32; dev++)
		if (function(s, bus, dev, 0))
			for (u32 fn = 1; fn < 8; fn++)
				function(s, bus, dev, fn);
}

/* A host bridge at 00:00.N stands for root bus N where there are several (PCI Express machines with
 * several root complexes have their buses found through ACPI, which needs AML). */
static void add_roots(struct scan *s)
{
	add_bus(s, 0);
	for (u32 fn = 1; fn < 8 && (rd(0, 0, 0, PCI_HEADER) >> 16 & 0x80); fn++)
		if ((rd(0, 0, fn, PCI_ID) & 0xffff) != 0xffff &&
		    rd(0, 0, fn, PCI_CLASS) >> 16 == (CLASS_BRIDGE << 8 | SUBCLASS_HOST))
			add_bus(s, fn);
}

u32 pci_quiesce(void)
{
	struct scan s = {0};
	bool more = true;

	if (rd(0, 0, 0, PCI_ID) == ~0u)
		return 0;
	add_roots(&s);
	while (more) {
		more = false;
		for (u32 bus = 0; bus < 256; bus++) {
			if (!(s.todo[bus / 8] & ~s.done[bus / 8] & BIT(bus % 8)))
				continue;
			s.done[bus / 8] |= BIT(bus % 8);
			scan_bus(&s, bus);
			more = true;
		}
	}
	return s.quieted;
}
