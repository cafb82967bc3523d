/* SPDX-License-Identifier: BSD-2-Clause */
/* Registers of devices at any width and place, device status, and the PCI function below: BARs, decoding, messages. */
#include "vhostile.h"

#define ECAM	0xe0000000ull
#define COMMAND 4u

static u64 any_value(void)
{
	static const u64 values[] = {0, 1, 2, 3, 4, 7, 8, 15, 0x40, 0x7f, 0x80, 0xff, 0x100, 0x101, 0x7fff, 0x8000, 0xffff,
				     0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 0x8000000000000000ull, ~0ull};

	return below(2) ? ONE_OF(values) : tame(random() >> below(64));
}

static u64 wide_read(u64 at, u32 size)
{
	return size == 8 ? *(volatile u64 *)at : mmio_read(at, size);
}

/* The legacy interface; a queue's page is written elsewhere (set_up()). */
static void poke_ports(struct target *t)
{
	u16 off = (u16)below(below(2) ? 24 : 128);
	u32 size = 1u << below(3);

	if (off == 8 || below(2))
		(void)port_read((u16)(t->io + off), size);
	else
		port_write((u16)(t->io + off), size, (u32)any_value());
}

void poke(struct target *t)
{
	u32 size = 1u << below(4), off;
	u64 at, v = any_value();

	switch (below(5)) {
	case 0: /* common configuration */
		off = below(4) ? below(C_END + 4) : below(0x4000);
		at = t->d.common + off;
		break;
	case 1: /* a field of it, as it should be accessed */
		at = t->d.common + C_SELECT;
		size = 2;
		v = below(t->nr_queues + 2);
		break;
	case 2:
		mmio_write(t->d.common + C_SELECT, 2, below(t->nr_queues + 1));
		at = t->d.common + (below(2) ? C_RESET : C_ENABLE);
		size = 2;
		v = 1;
		break;
	case 3: /* the device's own */
		at = t->d.config + below(below(4) ? 64 : 0x1000);
		break;
	default:
		poke_ports(t);
		return;
	}
	/* The parts of an address would be put together: the device area has a place where it may be (vhostile.h). */
	if (at >= t->d.common + C_DESC - 7 && at < t->d.common + C_USED + 8)
		v = below(2) ? v | 1ull << 63 | 1u << 31 : (size == 8 ? RINGS + RING * below(NR_RINGS) + 4 : 0xffffffff);
	if (below(4))
		mmio_write(at, size, v);
	else
		(void)wide_read(at, size);
}

void status_or_reset(struct target *t)
{
	switch (below(4)) {
	case 0: /* a reset that nobody waits for, and on */
		resets++;
		mmio_write(t->d.common + C_STATUS, 1, 0);
		if (below(2))
			mmio_write(t->d.common + C_STATUS, 1, 15);
		break;
	case 1:
		mmio_write(t->d.common + C_STATUS, 1, (u8)random());
		break;
	case 2: /* of a queue, and at once on */
		mmio_write(t->d.common + C_SELECT, 2, below(t->nr_queues));
		mmio_write(t->d.common + C_RESET, 2, 1);
		if (below(2))
			mmio_write(t->d.common + C_ENABLE, 2, 1);
		break;
	default:
		if (t->io)
			outb((u16)(t->io + 18), (u8)below(2) ? 0 : (u8)random());
	}
}

/* --- PCI --- */

static void move_bar(struct target *t)
{
	static const u32 places[] = {0xc0000000, 0xc0004000, 0xc0008000, 0xc0010000, 0xd0000000, 0xdfffc000, 0xe0000000, 0xfec00000,
				     0xfed00000, 0xfee00000, 0xfffff000, 0, 0x1000000};
	static const u16 ports[] = {0xc000, 0xc080, 0xc100, 0xff80, 0x3f8, 0x600, 0xcf8, 0};
	u32 i = below(6);

	cfg_write(t->d.slot, 0x10 + 4 * i, 4, i == 0 ? ONE_OF(ports) : i == 5 ? below(2) : below(8) ? ONE_OF(places) : ~0u);
	if (below(2)) /* and back, while requests are in flight */
		cfg_write(t->d.slot, 0x10 + 4 * i, 4, t->bar[i]);
}

/* An entry of the table: a fixed interrupt or NMI, for who listens, or garbage. No INIT, which would end the driver. */
static void message(struct target *t)
{
	u32 where = cfg_read(t->d.slot, t->msix + 4, 4), bar = where & 7;
	u64 table = (t->bar[bar] & ~15u) + (where & ~7u) + 16 * below(24);

	if (bar > 5)
		return;
	switch (below(4)) {
	case 0:
		cfg_write(t->d.slot, t->msix + 2, 2, below(4) << 14);
		break;
	case 1:
		mmio_write(table + 12, 4, below(2));
		break;
	case 2:
		mmio_write(table + 4 * below(2), 4, below(2) ? 0xfee00000 : random());
		break;
	default:
		mmio_write(table + 8, 4, (0x60 + below(0x80)) | (below(16) ? 0 : 0x400));
		mmio_write(table, 4, 0xfee00000);
		mmio_write(table + 4, 4, 0);
		mmio_write(table + 12, 4, 0);
		cfg_write(t->d.slot, t->msix + 2, 2, 0x8000);
		mmio_write(t->d.common + (below(2) ? C_VECTOR : C_CONFIG_VECTOR), 2, below(4) ? below(8) : random());
	}
}

void pci_act(struct target *t)
{
	u32 size = 1u << below(3), off;

	t->moved = true;
	switch (below(6)) {
	case 0: /* decoding, mastering; off, or off and on again */
		cfg_write(t->d.slot, COMMAND, 2, below(8) | (below(8) ? 0 : 0x400));
		if (below(2))
			cfg_write(t->d.slot, COMMAND, 2, 7);
		break;
	case 1:
		move_bar(t);
		break;
	case 2 ... 3:
		message(t);
		break;
	case 4: /* D3hot and back */
		if (t->pm)
			cfg_write(t->d.slot, t->pm + 4, 2, below(4));
		break;
	default:
		off = below(0x100) & ~(size - 1);
		if (below(2))
			mmio_write(ECAM + ((u64)t->d.slot << 15) + off, size, any_value());
		else
			(void)wide_read(ECAM + ((u64)t->d.slot << 15) + below(0x1000 - 8), 1u << below(4));
	}
}

void put_right(struct target *t)
{
	if (!t->moved)
		return;
	t->moved = false;
	if (t->pm)
		cfg_write(t->d.slot, t->pm + 4, 2, 0);
	cfg_write(t->d.slot, COMMAND, 2, 0);
	if (t->msix)
		cfg_write(t->d.slot, t->msix + 2, 2, 0);
	for (u32 i = 0; i < 6; i++)
		cfg_write(t->d.slot, 0x10 + 4 * i, 4, t->bar[i]);
	cfg_write(t->d.slot, COMMAND, 2, 7);
}
