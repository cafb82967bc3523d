/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which functions there are; only buses behind a bridge that was found are looked at. On the way DMA that firmware
 * or a loader left running is stopped: bus mastering of every function that is neither a bridge nor a display is cleared.
 */
#include "arch/x86_64/pci.h"
#include "arch/x86_64/acpi.h"
#include "lib/string.h"

#define PCI_ID	    0x00
#define PCI_CLASS   0x08
#define PCI_HEADER  0x0c
#define PCI_BUSES   0x18
#define CLASS_DISPLAY 0x03
#define CLASS_BRIDGE  0x06
#define CLASS_HOST_BRIDGE 0x0600

#define MAX_DEVS 256u

static struct pci_dev devs[MAX_DEVS];
static u32 nr_devs;

struct scan {
	u32 segment;
	volatile u8 *regs; /* of the bus at hand */
	u8 todo[32]; /* bitmaps of buses */
	u8 done[32];
	u32 quieted;
};

static u32 rd(const struct scan *s, u32 bdf, u32 reg)
{
	return pci_cfg_read(s->regs, bdf, reg, 4);
}

static bool present(const struct scan *s, u32 bdf)
{
	return (rd(s, bdf, PCI_ID) & 0xffff) != 0xffff;
}

static void add_bus(struct scan *s, u32 bus)
{
	s->todo[bus / 8] |= BIT(bus % 8);
}

/* Status, in the upper half, is cleared by ones: the command alone is written. */
static bool quiet(volatile u8 *regs, u32 bdf)
{
	u32 cmd = pci_cfg_read(regs, bdf, PCI_COMMAND, 2);

	if (!(cmd & PCI_COMMAND_BUS_MASTER))
		return false;
	pci_cfg_write(regs, bdf, PCI_COMMAND, 2, cmd & ~PCI_COMMAND_BUS_MASTER);
	return true;
}

/* A function that is no bridge. */
static void found(struct scan *s, u32 bdf, u32 class)
{
	u32 id = rd(s, bdf, PCI_ID);

	if (nr_devs < MAX_DEVS)
		devs[nr_devs++] = (struct pci_dev){.segment = (u16)s->segment, .bus = bdf >> 8, .devfn = bdf & 0xff,
						   .vendor = id & 0xffff, .device = id >> 16, .class = class, .regs = s->regs};
	if (class >> 16 != CLASS_DISPLAY)
		s->quieted += quiet(s->regs, bdf);
}

/* Returns whether the device has more functions. */
static bool function(struct scan *s, u32 bdf)
{
	u32 class, header;

	if (!present(s, bdf))
		return false;
	class = rd(s, bdf, PCI_CLASS) >> 8;
	header = rd(s, bdf, PCI_HEADER) >> 16 & 0xff;
	if ((header & 0x7f) == 1 || (header & 0x7f) == 2)
		add_bus(s, rd(s, bdf, PCI_BUSES) >> 8 & 0xff);
	else if (class >> 16 != CLASS_BRIDGE)
		found(s, bdf, class);
	return header & 0x80;
}

static void scan_bus(struct scan *s, u32 bus)
{
	s->regs = s->segment ? pci_cfg_map(s->segment, bus) : NULL;
	if (s->segment && !s->regs)
		return;
	for (u32 dev = 0; dev < 32; dev++)
		if (function(s, bus << 8 | dev << 3))
			for (u32 fn = 1; fn < 8; fn++)
				function(s, bus << 8 | dev << 3 | fn);
}

/* A host bridge at 00:00.N stands for root bus N where there are several (PCI Express machines with
 * several root complexes have their buses found through ACPI, which needs AML). */
static void add_roots(struct scan *s)
{
	add_bus(s, 0);
	for (u32 fn = 1; fn < 8 && (rd(s, 0, PCI_HEADER) >> 16 & 0x80); fn++)
		if (present(s, fn) && rd(s, fn, PCI_CLASS) >> 16 == CLASS_HOST_BRIDGE)
			add_bus(s, fn);
}

static u32 scan_all(struct scan *s)
{
	for (bool more = true; more;) {
		more = false;
		for (u32 bus = 0; bus < 256; bus++) {
			if (!(s->todo[bus / 8] & ~s->done[bus / 8] & BIT(bus % 8)))
				continue;
			s->done[bus / 8] |= BIT(bus % 8);
			scan_bus(s, bus);
			more = true;
		}
	}
	return s->quieted;
}

u32 pci_quiesce(void)
{
	struct scan s = {0};
	u32 n = 0;

	nr_devs = 0;
	if (rd(&s, 0, PCI_ID) != ~0u) {
		add_roots(&s);
		n = scan_all(&s);
	}
	/* Another segment begins with the first bus of its range. */
	for (u32 i = 0; i < acpi.nr_mcfg; i++) {
		if (!acpi.mcfg[i].segment)
			continue;
		s = (struct scan){.segment = acpi.mcfg[i].segment};
		add_bus(&s, acpi.mcfg[i].first_bus);
		n += scan_all(&s);
	}
	return n;
}

void pci_stop_dma(void)
{
	for (u32 i = 0; i < nr_devs; i++)
		if (devs[i].class >> 16 != CLASS_DISPLAY)
			quiet(devs[i].regs, (u32)devs[i].bus << 8 | devs[i].devfn);
}

const struct pci_dev *pci_dev(u32 i)
{
	return i < nr_devs ? &devs[i] : NULL;
}
