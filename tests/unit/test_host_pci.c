/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: arch/x86_64/pci.c arch/x86_64/pci_dev.c */
/* The machine's PCI functions, found in a made-up configuration space: buses, bridges, capabilities, BARs, MSI-X. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/pci.h"
#include "arch/x86_64/window.h"
#include "lib/errno.h"

struct acpi_info acpi;

#define NR 16
static struct fn {
	bool there;
	u32 segment, bdf;
	u8 regs[256];
	u32 bar_size[6]; /* 0: none */
	bool sizing[6];
} fns[NR];
static unsigned reads;
static _Alignas(4) u8 bars[0x2000];
#define BARS_AT 0x1fe000000ull
static u8 bus_regs[4][256]; /* stands for the configuration space of buses of segment 1 */

static struct fn *at(volatile u8 *regs, u32 bdf)
{
	u32 segment = regs ? 1 : 0;

	reads++;
	if (regs)
		assert_ptr_equal(regs, bus_regs[bdf >> 8]);
	for (unsigned i = 0; i < NR; i++)
		if (fns[i].there && fns[i].segment == segment && fns[i].bdf == bdf)
			return &fns[i];
	return NULL;
}
volatile u8 *pci_cfg_map(u32 segment, u32 bus)
{
	assert_int_equal(segment, 1);
	return bus < 3 ? bus_regs[bus] : NULL;
}
u32 pci_cfg_read(volatile u8 *regs, u32 bdf, u32 reg, unsigned size)
{
	struct fn *f = at(regs, bdf);
	u32 v = ~0u;

	assert_true(reg % size == 0 && reg + size <= 256 && bdf < 0x10000);
	if (!f)
		return v >> (32 - 8 * size);
	v = 0;
	memcpy(&v, f->regs + reg, size);
	if (reg >= 0x10 && reg < 0x28 && f->sizing[(reg - 0x10) / 4])
		v = -f->bar_size[(reg - 0x10) / 4] | (v & 0xf);
	return v;
}
void pci_cfg_write(volatile u8 *regs, u32 bdf, u32 reg, unsigned size, u32 val)
{
	struct fn *f = at(regs, bdf);

	assert_true(f && reg % size == 0 && reg + size <= 256);
	if (reg >= 0x10 && reg < 0x28) {
		assert_false(f->regs[4] & PCI_COMMAND_MEMORY); /* nobody sizes a BAR that is decoded */
		f->sizing[(reg - 0x10) / 4] = val == ~0u;
		return;
	}
	memcpy(f->regs + reg, &val, size);
}
volatile void *io_map(hpa_t pa, size_t size)
{
	assert_true(pa >= BARS_AT && pa + size <= BARS_AT + sizeof(bars));
	return bars + (pa - BARS_AT);
}

static struct fn *add(u32 segment, u32 bdf, u32 id, u32 class, u8 header)
{
	for (unsigned i = 0; i < NR; i++) {
		struct fn *f = &fns[i];

		if (f->there)
			continue;
		*f = (struct fn){.there = true, .segment = segment, .bdf = bdf};
		memcpy(f->regs, &id, 4);
		f->regs[4] = PCI_COMMAND_BUS_MASTER | 1;
		class <<= 8;
		memcpy(f->regs + 8, &class, 4);
		f->regs[0xe] = header;
		return f;
	}
	abort();
}

static void board(void)
{
	struct fn *f;

	memset(fns, 0, sizeof(fns));
	memset(&acpi, 0, sizeof(acpi));
	add(0, 0x0000, 0x29c08086, 0x060000, 0);
	add(0, 0x0008, 0x11111234, 0x030000, 0);
	f = add(0, 0x0010, 0x000c1b36, 0x060400, 0x81);
	f->regs[0x19] = 2;
	f = add(0, 0x0011, 0x000c1b36, 0x060400, 0x81);
	f->regs[0x19] = 2; /* the same again, and a loop: */
	add(0, 0x0200, 0x10411af4, 0x020000, 0);
	f = add(0, 0x0208, 0x00011b36, 0x060400, 1);
	f->regs[0x19] = 2;
	add(0, 0x00fa, 0x29228086, 0x010601, 0); /* function 2; function 0 has the bit: */
	add(0, 0x00f8, 0x29188086, 0x060100, 0x80);
	add(0, 0x0020, 0x10421af4, 0x010000, 0);
	add(0, 0x0021, 0x10421af4, 0x010000, 0); /* function 1 of a device that says it has one */
	add(1, 0x0100, 0x10001af4, 0x020000, 0);
	acpi.nr_mcfg = 2;
	acpi.mcfg[1].segment = 1;
	acpi.mcfg[1].first_bus = 1;
	acpi.mcfg[1].last_bus = 2;
}

static void scanning(void **state)
{
	static const struct {
		u16 segment, bdf, device;
	} want[] = {{0, 0x08, 0x1111}, {0, 0x20, 0x1042}, {0, 0xfa, 0x2922}, {0, 0x200, 0x1041}, {1, 0x100, 0x1000}};

	(void)state;
	board();
	reads = 0;
	assert_int_equal(pci_quiesce(), 4);
	assert_true(reads < 300); /* no bus that nobody leads to */
	for (unsigned i = 0; i < ARRAY_SIZE(want); i++) {
		const struct pci_dev *d = pci_dev(i);

		assert_non_null(d);
		assert_int_equal(d->segment, want[i].segment);
		assert_int_equal(d->bus << 8 | d->devfn, want[i].bdf);
		assert_int_equal(d->device, want[i].device);
	}
	assert_null(pci_dev(ARRAY_SIZE(want)));
	assert_int_equal(pci_dev(1)->class, 0x010000);
	for (unsigned i = 0; i < NR; i++) /* bridges and the display go on */
		if (fns[i].there && fns[i].bdf != 0x21)
			assert_int_equal(!!(fns[i].regs[4] & PCI_COMMAND_BUS_MASTER),
					 fns[i].regs[0xb] == 6 || fns[i].regs[0xb] == 3);
	assert_int_equal(pci_quiesce(), 0);
	pci_set_command(pci_dev(3), PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER);
	assert_int_equal(at(NULL, 0x200)->regs[4], 7);
	assert_int_equal(at(NULL, 0x200)->regs[5], 4);
	pci_stop_dma();
	assert_int_equal(at(NULL, 0x200)->regs[4], 3);
	memset(fns, 0, sizeof(fns));
	acpi.nr_mcfg = 0;
	assert_int_equal(pci_quiesce(), 0);
	assert_null(pci_dev(0));
}

static const struct pci_dev *one(struct fn **f)
{
	memset(fns, 0, sizeof(fns));
	memset(&acpi, 0, sizeof(acpi));
	add(0, 0, 0x29c08086, 0x060000, 0);
	*f = add(0, 0x20, 0x10421af4, 0x010000, 0);
	pci_quiesce();
	assert_non_null(pci_dev(0));
	return pci_dev(0);
}

static void capabilities(void **state)
{
	struct fn *f;
	const struct pci_dev *d = one(&f);

	(void)state;
	f->regs[0x34] = 0x40;
	f->regs[0x40] = PCI_CAP_VENDOR;
	assert_int_equal(pci_find_cap(d, PCI_CAP_VENDOR, 0), 0); /* the status says that there are none */
	f->regs[6] = 0x10;
	assert_int_equal(pci_find_cap(d, PCI_CAP_VENDOR, 0), 0x40);
	f->regs[0x41] = 0x53; /* the two lowest bits are no part of it */
	f->regs[0x50] = PCI_CAP_MSIX;
	f->regs[0x51] = 0x60;
	f->regs[0x60] = PCI_CAP_VENDOR;
	assert_int_equal(pci_find_cap(d, PCI_CAP_MSIX, 0), 0x50);
	assert_int_equal(pci_find_cap(d, PCI_CAP_VENDOR, 0x40), 0x60);
	assert_int_equal(pci_find_cap(d, PCI_CAP_VENDOR, 0x60), 0);
	f->regs[0x61] = 0x40; /* round and round */
	assert_int_equal(pci_find_cap(d, 0x10, 0), 0);
	f->regs[0x61] = 0x08; /* into the header */
	assert_int_equal(pci_find_cap(d, 0x10, 0), 0);
}

static void set(struct fn *f, unsigned reg, u32 v)
{
	memcpy(f->regs + reg, &v, 4);
}

static void base_addresses(void **state)
{
	struct fn *f;
	const struct pci_dev *d = one(&f);
	hpa_t base;
	u64 size;

	(void)state;
	f->regs[4] = 3;
	set(f, 0x10, 0xc001);
	f->bar_size[0] = 0x80;
	set(f, 0x14, 0xfebd1000);
	f->bar_size[1] = 0x1000;
	set(f, 0x20, 0xfe00000c);
	set(f, 0x24, 1);
	f->bar_size[4] = 0x4000;
	f->bar_size[5] = 1; /* its upper half has all bits */
	assert_false(pci_bar(d, 0, &base, &size)); /* ports */
	assert_true(pci_bar(d, 1, &base, &size));
	assert_true(base == 0xfebd1000 && size == 0x1000);
	assert_true(pci_bar(d, 4, &base, &size));
	assert_true(base == 0x1fe000000 && size == 0x4000);
	assert_false(pci_bar(d, 2, &base, &size)); /* none */
	assert_false(pci_bar(d, 6, &base, &size));
	assert_int_equal(f->regs[4], 3);
	set(f, 0x24, 0);
	set(f, 0x20, 0xc);
	assert_false(pci_bar(d, 4, &base, &size)); /* nobody gave it an address */
	set(f, 0x24, 0xc);
	assert_false(pci_bar(d, 5, &base, &size)); /* no room for its upper half */
	set(f, 0x20, 0xfe00000c);
	set(f, 0x24, 1);
	assert_ptr_equal(pci_map_bar(d, 4, 0x1000, 0x1000), bars + 0x1000);
	assert_null(pci_map_bar(d, 4, 0x4000, 4));
	assert_null(pci_map_bar(d, 4, 0x1000, 0x3001));
	assert_null(pci_map_bar(d, 4, ~0ull, 2));
	assert_null(pci_map_bar(d, 4, 0, 0));
}

static void message_interrupts(void **state)
{
	struct fn *f;
	const struct pci_dev *d = one(&f);
	volatile u32 *table;
	u32 nr;

	(void)state;
	f->regs[6] = 0x10;
	f->regs[4] = 0;
	assert_null(pci_msix_enable(d, &nr));
	f->regs[0x34] = 0x98;
	f->regs[0x98] = PCI_CAP_MSIX;
	f->regs[0x9a] = 2; /* three entries */
	set(f, 0x9c, 0x1000 | 4);
	assert_null(pci_msix_enable(d, &nr)); /* no such BAR */
	set(f, 0x20, 0xfe00000c);
	set(f, 0x24, 1);
	f->bar_size[4] = 0x2000;
	f->bar_size[5] = 1;
	memset(bars, 0, sizeof(bars));
	table = pci_msix_enable(d, &nr);
	assert_ptr_equal(table, bars + 0x1000);
	assert_int_equal(nr, 3);
	assert_int_equal(f->regs[0x9b], 0x80);
	assert_true(f->regs[4] & PCI_COMMAND_MEMORY);
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(table[i * 4 + 3], 1);
	assert_int_equal(pci_msix_set(table, 1, 0x12, 0xe2), 0);
	assert_int_equal(table[4], 0xfee12000);
	assert_int_equal(table[5], 0);
	assert_int_equal(table[6], 0xe2);
	assert_int_equal(table[7], 0);
	assert_int_equal(table[11], 1);
	assert_int_equal(pci_msix_set(table, 2, 0x100, 0xe2), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scanning), cmocka_unit_test(capabilities), cmocka_unit_test(base_addresses),
		cmocka_unit_test(message_interrupts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
