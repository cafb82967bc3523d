/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PCI device for tests, `testdev = N` in a VM file or plugged in by the monitor: each kind of BAR, with the same registers
 * in each, and each kind of interrupt. Not for anything else.
 *
 *   00h  id, read-only
 *   04h  write: raise the interrupt that vector means; read: how often
 *   08h  write: take INTx back; read: INTx as the device says it
 *   0ch  the last write, wherever it went: offset 15:0, width in bytes 23:16, BAR 31:24
 *   10h  the value it had, 64 bits
 *   18h  unit number, read-only
 *   20h  32 bytes that keep what is written, at any width
 */
#include "vmm/platform/pci_private.h"

#define TESTDEV_ID 0x54534554u /* "TEST" */
enum { REG_ID = 0x00, REG_RAISE = 0x04, REG_LOWER = 0x08, REG_LAST = 0x0c, REG_VALUE = 0x10, REG_UNIT = 0x18,
       REG_SCRATCH = 0x20, REG_END = 0x40 };
enum { BAR_IO = 0, BAR_32 = 1, BAR_64 = 2, BAR_MSIX = 4 };

struct testdev {
	u32 raised, last;
	u64 value;
	u8 scratch[REG_END - REG_SCRATCH];
};

static u64 read_reg(struct vdev *d, u64 off, unsigned size)
{
	const struct testdev *s = d->state;
	u32 regs[REG_SCRATCH / 4] = {
		[REG_ID / 4] = TESTDEV_ID, [REG_RAISE / 4] = s->raised, [REG_LOWER / 4] = pci_state(d)->intx,
		[REG_LAST / 4] = s->last, [REG_VALUE / 4] = (u32)s->value,
		[REG_VALUE / 4 + 1] = (u32)(s->value >> 32), [REG_UNIT / 4] = d->unit,
	};
	u64 val = 0;

	for (unsigned i = 0; i < size && off + i < REG_END; i++) {
		u64 at = off + i, byte = at < REG_SCRATCH ? ((u8 *)regs)[at] : s->scratch[at - REG_SCRATCH];

		val |= byte << 8 * i;
	}
	return val;
}

static void write_reg(struct vdev *d, u64 off, unsigned size, u64 val, u32 bar)
{
	struct testdev *s = d->state;

	s->last = (u32)(off & 0xffff) | size << 16 | bar << 24;
	s->value = val;
	if (off == REG_RAISE) {
		s->raised++;
		pci_irq(d, (unsigned)(val & 0xff));
	} else if (off == REG_LOWER) {
		pci_intx(d, false);
	}
	for (unsigned i = 0; i < size; i++)
		if (off + i >= REG_SCRATCH && off + i < REG_END)
			s->scratch[off + i - REG_SCRATCH] = (u8)(val >> 8 * i);
}

static u32 io_read(struct vdev *d, u16 port, unsigned size)
{
	return (u32)read_reg(d, port, size);
}
static void io_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	write_reg(d, port, size, val, BAR_IO);
}
static void write_32(struct vdev *d, u64 off, unsigned size, u64 val)
{
	write_reg(d, off, size, val, BAR_32);
}
static void write_64(struct vdev *d, u64 off, unsigned size, u64 val)
{
	write_reg(d, off, size, val, BAR_64);
}

static void testdev_reset(struct vdev *d)
{
	*(struct testdev *)d->state = (struct testdev){};
}

static const struct pci_bar bars[PCI_BARS] = {
	[BAR_IO] = {.flags = PCI_BAR_IO, .size = 64, .pio = {.read = io_read, .write = io_write}},
	[BAR_32] = {.size = 4096, .mmio = {.read = read_reg, .write = write_32}},
	[BAR_64] = {.flags = PCI_BAR_64 | PCI_BAR_PREFETCH, .size = 65536, .mmio = {.read = read_reg, .write = write_64}},
	[BAR_MSIX] = PCI_MSIX_BAR,
};
static const struct pci_ident ident = {
	.vendor = 0x1b36, .device = 0xda1a, .subsys_vendor = 0x1af4, .subsys = 0x1100, .class_rev = 0x00ff0001,
	.int_pin = 1, .endpoint = true, .msi = 4, .msix = 4, .msix_bar = BAR_MSIX, .bar = bars,
};

/* clang-format off */
const struct vdev_type pci_testdev_vdev = {
	.name = "pci_testdev", .version = 1, .state_size = sizeof(struct testdev), .pci = &ident,
	.units = vm_testdevs, .reset = testdev_reset,
};
/* clang-format on */
VDEV_REGISTER(pci_testdev_vdev);
