/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/pci.c vmm/platform/pci_func.c vmm/platform/pci_msi.c vmm/platform/pci_lpc.c vmm/platform/pci_hotplug.c vmm/platform/pci_testdev.c tests/unit/fake_vdev.c */
#include "tests/unit/fake_pci.h"
#include "lib/errno.h"

#define ID	 0x54534554u
#define RAISE	 4u
#define LOWER	 8u
#define MSI_ADDR 0xfee00000u

static struct vm vm;
static unsigned gpes;
static bool acpi;

/* Instead of acpi_pm.c's. */
bool acpi_gpe(struct vm *v, unsigned n)
{
	assert_ptr_equal(v, &vm);
	assert_int_equal(n, PLAT_GPE_HOTPLUG);
	gpes++;
	return acpi;
}

static int setup(void **state)
{
	(void)state;
	gpes = 0;
	fake_bus(&vm, 2);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fake_vm_free(&vm);
	return 0;
}

static void cfg_addr(u8 bus, u8 devfn, u8 off)
{
	pio_out(&vm, 0xcf8, 4, 1u << 31 | (u32)bus << 16 | (u32)devfn << 8 | off);
}

static u64 bar(unsigned slot, unsigned n)
{
	return cfg_in(&vm, slot, 0x10 + 4 * n, 4) & ~15u;
}

static void identity(void **state)
{
	(void)state;
	pio_out(&vm, 0xcf8, 4, 0x80000000); /* Linux's check for mechanism 1 */
	assert_int_equal(pio_in(&vm, 0xcf8, 4), 0x80000000);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x29c08086);
	assert_int_equal(pio_in(&vm, 0xcfc, 2), 0x8086);
	assert_int_equal(pio_in(&vm, 0xcfe, 2), 0x29c0);
	assert_int_equal(pio_in(&vm, 0xcff, 1), 0x29);
	assert_int_equal(pio_in(&vm, 0xcfd, 2), 0xc080);
	cfg_addr(0, PLAT_DEVFN_LPC, 0);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x29188086);
	cfg_addr(0, PLAT_DEVFN_LPC, 8);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x06010002);
	cfg_addr(0, PLAT_DEVFN_LPC, 0x40);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x601);
	cfg_addr(0, 0x18, 0);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0xda1a1b36);
	cfg_addr(0, 0x08, 0);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), ~0u);
	cfg_addr(0, 0x19, 0); /* no other function */
	assert_int_equal(pio_in(&vm, 0xcfc, 4), ~0u);
	cfg_addr(1, 0x00, 0);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), ~0u);
	pio_out(&vm, 0xcf8, 4, 0); /* not enabled */
	assert_int_equal(pio_in(&vm, 0xcfc, 4), ~0u);
}

/* The same registers through memory; nothing beyond bus 0; beyond 256 bytes no extended capability. */
static void through_memory(void **state)
{
	const u64 lpc = PLAT_ECAM_BASE + (PLAT_DEVFN_LPC << 12);

	(void)state;
	assert_int_equal(mmio_in(&vm, PLAT_ECAM_BASE, 4), 0x29c08086);
	assert_int_equal(mmio_in(&vm, PLAT_ECAM_BASE + 0x60, 8), PLAT_ECAM_BASE | 1);
	assert_int_equal(mmio_in(&vm, lpc, 2), 0x8086);
	assert_int_equal(mmio_in(&vm, lpc + 2, 2), 0x2918);
	mmio_out(&vm, lpc + 0x3c, 1, 0x0b);
	assert_int_equal(mmio_in(&vm, lpc + 0x3c, 1), 0x0b);
	mmio_out(&vm, lpc, 4, 0); /* read-only */
	assert_int_equal(mmio_in(&vm, lpc, 4), 0x29188086);
	assert_int_equal(mmio_in(&vm, lpc + 0xfc, 8), 0);
	for (u64 off = 0x100; off < 0x1000; off += 4) {
		mmio_out(&vm, lpc + off, 4, ~0u);
		assert_int_equal((u32)mmio_in(&vm, lpc + off, 4), 0);
	}
	for (unsigned size = 1; size <= 8; size *= 2) {
		u64 ones = size == 8 ? ~0ull : (1ull << 8 * size) - 1;

		assert_int_equal(mmio_in(&vm, PLAT_ECAM_BASE + (1u << 12), size) & ones, ones);
		assert_int_equal(mmio_in(&vm, PLAT_ECAM_BASE + (1u << 20), size) & ones, ones);
		assert_int_equal(mmio_in(&vm, PLAT_ECAM_BASE + PLAT_ECAM_SIZE - 8, size) & ones, ones);
	}
}

static void writes(void **state)
{
	(void)state;
	cfg_addr(0, 0, 4);
	pio_out(&vm, 0xcfc, 4, ~0u);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x0547);
	cfg_addr(0, 0, 0);
	pio_out(&vm, 0xcfc, 4, 0);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0x29c08086);
	cfg_addr(0, 0, 0x3c);
	pio_out(&vm, 0xcfd, 1, 0xff);
	pio_out(&vm, 0xcfc, 1, 0x0b);
	assert_int_equal(pio_in(&vm, 0xcfc, 2), 0x000b);
	cfg_addr(0, 0, 0x10);
	pio_out(&vm, 0xcfc, 4, ~0u);
	assert_int_equal(pio_in(&vm, 0xcfc, 4), 0); /* no BAR */
	pio_out(&vm, 0xcf8, 1, 0x55); /* bytes and words do not reach the address */
	pio_out(&vm, 0xcfa, 2, 0x5555);
	assert_int_equal(pio_in(&vm, 0xcf8, 4), 0x80000010);
	assert_int_equal(pio_in(&vm, 0xcf8, 1), 0xff);
	pio_out(&vm, 0xcf8, 4, ~0u);
	assert_int_equal(pio_in(&vm, 0xcf8, 4), 0x80fffffc);
	pci_reset(&vm.devs[1]);
	assert_int_equal(cfg_in(&vm, 0, 4, 4), 0);
}

/* Both in PCI's list, each pointer inside the space, no loop. */
static void capabilities(void **state)
{
	static const u8 want[][2] = {{CAP_PM, CAP_AT_PM}, {CAP_EXPRESS, CAP_AT_EXPRESS}, {CAP_MSI, CAP_AT_MSI},
				     {CAP_MSIX, CAP_AT_MSIX}};
	unsigned n = 0;

	(void)state;
	assert_int_equal(cfg_in(&vm, 3, 6, 2), 0x10);
	for (u32 at = cfg_in(&vm, 3, 0x34, 1); at; at = cfg_in(&vm, 3, at + 1, 1), n++) {
		assert_true(n < ARRAY_SIZE(want));
		assert_int_equal(cfg_in(&vm, 3, at, 1), want[n][0]);
		assert_int_equal(at, want[n][1]);
	}
	assert_int_equal(n, ARRAY_SIZE(want));
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_EXPRESS + 2, 2), 0x92);
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_MSI + 2, 2), 0x184); /* 4 messages, 64 bits, masks */
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_MSIX + 2, 2), 3);
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_MSIX + 4, 4), 4);
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_MSIX + 8, 4), 0x804);
	/* Vendor-specific ones, until the space is full. */
	assert_int_equal(pci_add_capability(&vm.devs[4], CAP_VENDOR, 17), 0xa8);
	assert_int_equal(pci_add_capability(&vm.devs[4], CAP_VENDOR, 0x44), 0xbc);
	assert_int_equal(cfg_in(&vm, 3, 0xa8, 2), 0xbc09);
	assert_int_equal(pci_add_capability(&vm.devs[4], CAP_VENDOR, 4), 0);
}

static void sizing(void **state)
{
	static const u32 sizes[6] = {0xffffffc1, 0xfffff000, 0xffff000c, 0xffffffff, 0xfffff000, 0};

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		u32 was = cfg_in(&vm, 3, 0x10 + 4 * i, 4);

		cfg_out(&vm, 3, 0x10 + 4 * i, 4, ~0u);
		assert_int_equal(cfg_in(&vm, 3, 0x10 + 4 * i, 4), sizes[i]);
		cfg_out(&vm, 3, 0x10 + 4 * i, 4, was);
		assert_int_equal(cfg_in(&vm, 3, 0x10 + 4 * i, 4), was);
	}
}

/* As firmware left them: inside the windows, apart, decoded. */
static void assigned(void **state)
{
	(void)state;
	for (unsigned slot = 3; slot < 5; slot++) {
		u32 io = cfg_in(&vm, slot, 0x10, 4);

		assert_int_equal(cfg_in(&vm, slot, 4, 2), COMMAND_IO | COMMAND_MEMORY);
		assert_true((io & 1) && (io & ~1u) >= 0xc000 && !(io & 0x3e));
		assert_int_equal(pio_in(&vm, (u16)(io & ~1u), 4), ID);
		assert_int_equal(pio_in(&vm, (u16)((io & ~1u) + 0x18), 4), 0); /* unit */
		for (unsigned i = 1; i <= 2; i++) {
			assert_true(bar(slot, i) >= PLAT_PCI_MMIO_BASE &&
				    bar(slot, i) + 65536 <= PLAT_PCI_MMIO_BASE + PLAT_PCI_MMIO_SIZE);
			assert_int_equal(mmio_in(&vm, bar(slot, i), 4), ID);
		}
	}
	assert_int_not_equal(bar(3, 1), bar(4, 1));
	assert_int_equal(cfg_in(&vm, 3, 0x3c, 2), 0x010f); /* slot 3: PIRQ H, IRQ 15 */
	assert_int_equal(cfg_in(&vm, 4, 0x3c, 2), 0x0105);
}

static void decode(void **state)
{
	const u16 io = (u16)(cfg_in(&vm, 3, 0x10, 4) & ~1u);
	const u64 mem = bar(3, 1);

	(void)state;
	cfg_out(&vm, 3, 4, 2, COMMAND_MEMORY);
	assert_int_equal(pio_in(&vm, io, 4), ~0u);
	assert_int_equal(mmio_in(&vm, mem, 4), ID);
	cfg_out(&vm, 3, 4, 2, COMMAND_IO);
	assert_int_equal(pio_in(&vm, io, 4), ID);
	assert_int_equal(mmio_in(&vm, mem, 4), ~0ull);
	cfg_out(&vm, 3, 4, 1, 7);
	assert_int_equal(mmio_in(&vm, mem, 4), ID);
	/* D1 and D2 are none, in D3hot nothing is decoded, and nothing is lost. */
	cfg_out(&vm, 3, CAP_AT_PM + 4, 2, 2);
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_PM + 4, 2), 8);
	cfg_out(&vm, 3, CAP_AT_PM + 4, 2, 3);
	assert_int_equal(mmio_in(&vm, mem, 4), ~0ull);
	assert_int_equal(pio_in(&vm, io, 4), ~0u);
	cfg_out(&vm, 3, CAP_AT_PM + 4, 2, 1);
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_PM + 4, 2), 11);
	cfg_out(&vm, 3, CAP_AT_PM + 4, 2, 0);
	assert_int_equal(mmio_in(&vm, mem, 4), ID);
}

/* Every width reaches the device, at its offset, from each BAR; beyond its end nothing does. */
static void widths(void **state)
{
	const u64 base[3] = {cfg_in(&vm, 3, 0x10, 4) & ~1u, bar(3, 1), bar(3, 2)};

	(void)state;
	for (unsigned b = 0; b < 3; b++)
		for (unsigned size = 1; size <= (b ? 8 : 4); size *= 2) {
			u64 val = 0x1122334455667788ull & (size == 8 ? ~0ull : (1ull << 8 * size) - 1);

			if (b)
				mmio_out(&vm, base[b] + 0x23, size, val);
			else
				pio_out(&vm, (u16)(base[b] + 0x23), size, (u32)val);
			assert_int_equal(mmio_in(&vm, base[1] + 0x0c, 4), 0x23 | size << 16 | b << 24);
			assert_int_equal(mmio_in(&vm, base[1] + 0x10, 8), val);
			assert_int_equal(mmio_in(&vm, base[2] + 0x23, size), val);
			assert_int_equal(pio_in(&vm, (u16)(base[0] + 0x23), 1), val & 0xff);
		}
	assert_int_equal(mmio_in(&vm, base[1] + 0xfff, 4), ~0ull);
	assert_int_equal(mmio_in(&vm, base[1] + 0x40, 8), 0);
	assert_int_equal(pio_in(&vm, (u16)(base[0] + 62), 4), ~0u);
}

static void move_64(unsigned slot, u64 to)
{
	cfg_out(&vm, slot, 0x18, 4, (u32)to);
	cfg_out(&vm, slot, 0x1c, 4, (u32)(to >> 32));
}

static void moves(void **state)
{
	const u64 mem = bar(3, 1), other = bar(4, 1);

	(void)state;
	cfg_out(&vm, 3, 0x14, 4, 0xd0000000);
	assert_int_equal(mmio_in(&vm, mem, 4), ~0ull);
	assert_int_equal(mmio_in(&vm, 0xd0000000, 4), ID);
	move_64(3, 0x123400000000);
	assert_int_equal(mmio_in(&vm, 0x123400000000, 4), ID);
	assert_int_equal(mmio_in(&vm, 0x12340000ffff, 1), 0);
	assert_int_equal(mmio_in(&vm, 0x123400010000, 1), ~0ull);
	cfg_out(&vm, 3, 0x10, 4, 0x1234); /* as far as the size lets it */
	assert_int_equal(cfg_in(&vm, 3, 0x10, 4), 0x1201);
	assert_int_equal(pio_in(&vm, 0x1200, 4), ID);
	/* At 0, at the end of the space, beyond it: not decoded. */
	cfg_out(&vm, 3, 0x10, 4, 0);
	assert_int_equal(regions_find(&vm.pio, 0x20)->first, 0xcc0);
	cfg_out(&vm, 3, 0x10, 4, 0x10000);
	cfg_out(&vm, 3, 0x10, 4, ~0u);
	assert_int_equal(pio_in(&vm, 0xffc0, 4), ~0u);
	move_64(3, ~0ull);
	assert_int_equal(mmio_in(&vm, ~0xffffull, 4), ID); /* the last 64 KiB there are */
	move_64(3, 0);
	assert_int_equal(mmio_in(&vm, 0, 4), ~0ull);
	/* Over a fixed device: that one answers, and only it. */
	cfg_out(&vm, 3, 0x14, 4, PLAT_ECAM_BASE);
	assert_int_equal(cfg_in(&vm, 0, 0, 4), 0x29c08086);
	cfg_out(&vm, 3, 0x10, 4, 0xcc1);
	assert_int_equal(pio_in(&vm, 0xcf8, 4), 0); /* 0xcc0..0xcff overlaps: not decoded */
	assert_int_equal(pio_in(&vm, 0xce0, 4), ~0u);
	/* Over another BAR: the lower slot answers, and when it goes away the other one is back. */
	cfg_out(&vm, 3, 0x14, 4, (u32)other);
	mmio_out(&vm, other + 0x20, 4, 33);
	assert_int_equal(cfg_in(&vm, 3, 0x14, 4), other);
	cfg_out(&vm, 3, 0x14, 4, (u32)mem);
	assert_int_equal(mmio_in(&vm, mem + 0x20, 4), 33);
	assert_int_equal(mmio_in(&vm, other + 0x20, 4), 0);
	assert_int_equal(mmio_in(&vm, other, 4), ID);
}

/* ---- interrupts ---- */

static void raise(unsigned slot, u32 vector)
{
	mmio_out(&vm, bar(slot, 1) + RAISE, 4, vector);
}

static void lower(unsigned slot)
{
	mmio_out(&vm, bar(slot, 1) + LOWER, 4, 0);
}

static void intx(void **state)
{
	(void)state;
	raise(3, 0); /* slot 3, INTA: PIRQ H, pin 23, IRQ 15 */
	assert_true(vm.level[23]);
	assert_int_equal(vm.pirqs, 1u << 15);
	assert_int_equal(cfg_in(&vm, 3, 6, 2), 0x18);
	cfg_out(&vm, 3, 4, 2, 7 | COMMAND_NO_INTX);
	assert_false(vm.level[23]);
	assert_int_equal(vm.pirqs, 0);
	assert_int_equal(cfg_in(&vm, 3, 6, 2), 0x18); /* the status says it all the same */
	cfg_out(&vm, 3, 4, 2, 7);
	assert_true(vm.level[23]);
	lower(3);
	assert_false(vm.level[23]);
	assert_int_equal(cfg_in(&vm, 3, 6, 2), 0x10);
	/* Routes: E..H at 68h. Off, onto a line that is none, onto the one of another. */
	raise(3, 0);
	cfg_out(&vm, 31, 0x6b, 1, 0x80);
	assert_int_equal(vm.pirqs, 0);
	assert_true(vm.level[23]);
	cfg_out(&vm, 31, 0x6b, 1, 0x02);
	assert_int_equal(vm.pirqs, 0);
	cfg_out(&vm, 31, 0x6b, 1, 0x05);
	assert_int_equal(vm.pirqs, 1u << 5);
	raise(4, 0); /* slot 4: PIRQ A, IRQ 5 */
	assert_true(vm.level[16]);
	lower(3);
	assert_int_equal(vm.pirqs, 1u << 5);
	lower(4);
	assert_int_equal(vm.pirqs, 0);
}

/* Slots 3 and 7 share a PIRQ: the line falls with the last of them. */
static void intx_shared(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++)
		fake_attach(&vm, &pci_testdev_vdev);
	pci_firmware(&vm);
	raise(3, 0);
	raise(7, 0);
	assert_int_equal(vm.rises[23], 1);
	lower(3);
	assert_true(vm.level[23]);
	vdev_destroy(vm.pci_slots[7]);
	assert_false(vm.level[23]);
	assert_int_equal(cfg_in(&vm, 7, 0, 4), ~0u);
}

static void msi_on(unsigned slot, u32 control)
{
	cfg_out(&vm, slot, 4, 2, 7);
	cfg_out(&vm, slot, CAP_AT_MSI + 4, 4, MSI_ADDR | 0x3003); /* low bits are none */
	cfg_out(&vm, slot, CAP_AT_MSI + 12, 2, 0x41);
	cfg_out(&vm, slot, CAP_AT_MSI + 2, 2, control);
}

static void msi(void **state)
{
	(void)state;
	raise(3, 1);
	assert_true(vm.level[23]);
	msi_on(3, 1);
	assert_false(vm.level[23]); /* no pin while messages are on */
	raise(3, 2);
	assert_int_equal(vm.nr_msis, 1);
	assert_int_equal(vm.msi_addr, MSI_ADDR | 0x3000);
	assert_int_equal(vm.msi_data, 0x41); /* one message enabled: all share it */
	cfg_out(&vm, 3, CAP_AT_MSI + 2, 2, 0x21);
	raise(3, 2);
	assert_int_equal(vm.msi_data, 0x42);
	raise(3, 200);
	assert_int_equal(vm.msi_data, 0x43);
	cfg_out(&vm, 3, CAP_AT_MSI + 2, 2, 0x71); /* more than there are */
	raise(3, 200);
	assert_int_equal(vm.msi_data, 0x43);
	cfg_out(&vm, 3, CAP_AT_MSI + 8, 4, 0x12);
	raise(3, 0);
	assert_int_equal(vm.msi_addr, 0x1200000000ull | MSI_ADDR | 0x3000);
	assert_int_equal(vm.nr_msis, 5);
	/* Masked ones wait, once each. */
	cfg_out(&vm, 3, CAP_AT_MSI + 16, 4, ~0u);
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_MSI + 16, 4), 15);
	raise(3, 1);
	raise(3, 1);
	raise(3, 3);
	assert_int_equal(vm.nr_msis, 5);
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_MSI + 20, 4), 10);
	cfg_out(&vm, 3, CAP_AT_MSI + 16, 4, 8);
	assert_int_equal(vm.nr_msis, 6);
	assert_int_equal(vm.msi_data, 0x41);
	cfg_out(&vm, 3, CAP_AT_MSI + 16, 1, 0);
	assert_int_equal(vm.nr_msis, 7);
	assert_int_equal(cfg_in(&vm, 3, CAP_AT_MSI + 20, 4), 0);
	cfg_out(&vm, 3, 4, 2, 3); /* no bus master: no message */
	raise(3, 1);
	assert_int_equal(vm.nr_msis, 7);
	cfg_out(&vm, 3, CAP_AT_MSI + 2, 2, 0);
	assert_true(vm.level[23]); /* the pin was never taken back */
}

static void msix_entry(unsigned n, u64 addr, u32 data, u32 control)
{
	const u64 at = bar(3, 4) + 16 * n;

	mmio_out(&vm, at, 8, addr);
	mmio_out(&vm, at + 8, 4, data);
	mmio_out(&vm, at + 12, 4, control);
}

static void msix(void **state)
{
	const u64 table = bar(3, 4), pba = table + 0x800;

	(void)state;
	cfg_out(&vm, 3, 4, 2, 7);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(mmio_in(&vm, table + 16 * i + 12, 4), 1); /* masked at reset */
	assert_int_equal(mmio_in(&vm, table + 64, 8), 0);
	msix_entry(0, MSI_ADDR, 0x50, 0);
	msix_entry(3, 0x700000000ull | MSI_ADDR, 0x53, ~0u);
	assert_int_equal(mmio_in(&vm, table + 48 + 12, 4), 1);
	assert_int_equal(mmio_in(&vm, table + 48, 8), 0x700000000ull | MSI_ADDR);
	raise(3, 0);
	assert_true(vm.level[23]);
	cfg_out(&vm, 3, CAP_AT_MSIX + 2, 2, 0x8000);
	assert_false(vm.level[23]);
	raise(3, 0);
	assert_int_equal(vm.nr_msis, 1);
	assert_int_equal(vm.msi_data, 0x50);
	raise(3, 3);
	raise(3, 4); /* there is no such vector */
	raise(3, 255);
	assert_int_equal(vm.nr_msis, 1);
	assert_int_equal(mmio_in(&vm, pba, 8), 8);
	mmio_out(&vm, pba, 8, 0); /* read-only */
	assert_int_equal(mmio_in(&vm, pba, 8), 8);
	mmio_out(&vm, table + 48 + 12, 4, 0);
	assert_int_equal(vm.nr_msis, 2);
	assert_int_equal(vm.msi_addr, 0x700000000ull | MSI_ADDR);
	assert_int_equal(mmio_in(&vm, pba, 8), 0);
	/* The function's mask, over the vectors'. */
	cfg_out(&vm, 3, CAP_AT_MSIX + 3, 1, 0xc0);
	raise(3, 0);
	raise(3, 3);
	assert_int_equal(mmio_in(&vm, pba, 4), 9);
	mmio_out(&vm, table + 12, 4, 0);
	assert_int_equal(vm.nr_msis, 2);
	cfg_out(&vm, 3, CAP_AT_MSIX + 3, 1, 0x80);
	assert_int_equal(vm.nr_msis, 4);
	/* What is neither a dword nor a qword, or not aligned, is lost. */
	mmio_out(&vm, table, 2, 0xffff);
	mmio_out(&vm, table + 2, 4, ~0u);
	mmio_out(&vm, table + 4, 8, ~0u);
	assert_int_equal(mmio_in(&vm, table, 8), MSI_ADDR);
	mmio_out(&vm, table + 64, 8, ~0ull);
	assert_int_equal(mmio_in(&vm, table + 64, 8), 0);
	assert_int_equal(mmio_in(&vm, pba + 12, 8), 0);
}

/* ---- hotplug ---- */

static void hotplug(void **state)
{
	unsigned slot = 0;

	(void)state;
	acpi = true;
	assert_int_equal(pci_hotplug_add(&vm, &pci_testdev_vdev, 7, &slot), 0);
	assert_int_equal(slot, 5);
	assert_int_equal(gpes, 1);
	assert_int_equal(cfg_in(&vm, 5, 0, 4), 0xda1a1b36);
	assert_int_equal(cfg_in(&vm, 5, 4, 4), 0x100000); /* as it comes: not decoded, no address */
	assert_int_equal(cfg_in(&vm, 5, 0x14, 4), 0);
	cfg_out(&vm, 5, 0x14, 4, 0xd1000000);
	cfg_out(&vm, 5, 4, 2, 2);
	assert_int_equal(mmio_in(&vm, 0xd1000018, 4), 7); /* unit */
	assert_int_equal(pio_in(&vm, 0xcc0, 4), 1u << 5);
	assert_int_equal(pio_in(&vm, 0xcc0, 4), 0);
	pio_out(&vm, 0xcc8, 4, ~0u); /* nobody asked */
	assert_int_equal(cfg_in(&vm, 5, 0, 4), 0xda1a1b36);
	assert_int_equal(pci_hotplug_remove(&vm, 0), -ENODEV);
	assert_int_equal(pci_hotplug_remove(&vm, 31), -ENODEV);
	assert_int_equal(pci_hotplug_remove(&vm, 6), -ENODEV);
	assert_int_equal(pci_hotplug_remove(&vm, 1000), -ENODEV);
	assert_false(pci_hotplug_leaving(&vm, 5));
	acpi = false; /* nobody hears it, but it has been said */
	assert_int_equal(pci_hotplug_remove(&vm, 5), -EAGAIN);
	assert_true(pci_hotplug_leaving(&vm, 5));
	acpi = true;
	assert_int_equal(pci_hotplug_remove(&vm, 5), 0);
	assert_int_equal(gpes, 3);
	assert_int_equal(pio_in(&vm, 0xcc4, 4), 1u << 5);
	pio_out(&vm, 0xcc8, 4, 1u << 5);
	assert_int_equal(pio_in(&vm, 0xcc4, 4), 0);
	assert_int_equal(cfg_in(&vm, 5, 0, 4), ~0u);
	assert_int_equal(mmio_in(&vm, 0xd1000000, 4), ~0ull);
	assert_int_equal(pio_in(&vm, 0xccc, 4), 0x7ffffff8);
	assert_false(pci_hotplug_leaving(&vm, 5));
	/* What is about to go is gone after a reset. */
	assert_int_equal(pci_hotplug_remove(&vm, 4), 0);
	pci_hotplug_vdev.reset(vm_vdev(&vm, &pci_hotplug_vdev));
	assert_int_equal(cfg_in(&vm, 4, 0, 4), ~0u);
	assert_int_equal(cfg_in(&vm, 3, 0, 4), 0xda1a1b36);
	/* All slots, and one more. */
	for (unsigned i = 4; i <= 30; i++)
		assert_int_equal(pci_hotplug_add(&vm, &pci_testdev_vdev, i, &slot), 0);
	assert_int_equal(pci_hotplug_add(&vm, &pci_testdev_vdev, 0, &slot), -ENOSPC);
	pci_firmware(&vm);
	assert_int_equal(mmio_in(&vm, bar(30, 1) + 0x18, 4), 30);
	/* Where the table of regions is full, a BAR is not decoded, and that is all. */
	assert_true(vm.mmio.nr == VM_MAX_REGIONS || vm.mmio.nr == 1 + 28 * 3);
}

/* ---- state ---- */

static void saved(void **state)
{
	struct vdev *d = vm.pci_slots[3];
	u8 bytes[1024];
	struct pci_state *s = (void *)(bytes + vdev_pci_offset(d->type));
	u32 n = vdev_state_size(d->type);

	(void)state;
	assert_true(n <= sizeof(bytes));
	cfg_out(&vm, 3, 0x14, 4, 0xd0000000);
	msi_on(3, 1);
	cfg_out(&vm, 3, CAP_AT_MSI + 16, 4, 15);
	raise(3, 0);
	cfg_out(&vm, 3, CAP_AT_MSI + 2, 2, 0);
	raise(3, 1);
	memcpy(bytes, d->state, n);
	assert_true(pci_state_valid(d, bytes));
	/* Elsewhere, and back. */
	cfg_out(&vm, 3, 0x14, 4, 0xd2000000);
	lower(3);
	memcpy(d->state, bytes, n);
	pci_restored(&vm);
	assert_int_equal(mmio_in(&vm, 0xd0000000, 4), ID);
	assert_int_equal(mmio_in(&vm, 0xd2000000, 4), ~0ull);
	/* What cannot be. */
#define REFUSED(change)                              \
	do {                                         \
		memcpy(bytes, d->state, n);          \
		change;                              \
		assert_false(pci_state_valid(d, bytes)); \
	} while (0)
	REFUSED(s->devfn = 0x20);
	REFUSED(s->intx = 2);
	REFUSED(s->config[0]++);
	REFUSED(s->config[6] ^= 1);
	REFUSED(s->config[0x10] ^= 2);
	REFUSED(s->config[0x34] = 0x50);
	REFUSED(s->msix[3].control = 2);
	REFUSED(s->pba[0] = 16);
	REFUSED(s->pba[1] = 1);
}

static void big_memory(void **state)
{
	(void)state;
	assert_int_equal(PLAT_PCI_MMIO64_BASE(MIB(64)), GIB(16));
	assert_int_equal(PLAT_PCI_MMIO64_BASE(GIB(15)), GIB(16));
	assert_int_equal(PLAT_PCI_MMIO64_BASE(GIB(15) + MIB(1)), GIB(32));
}

static void noise(void **state)
{
	(void)state;
	srand(11);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned slot = (unsigned)rand() % 6, off = (unsigned)rand() % 256, size = 1u << rand() % 4;
		u32 val = (u32)rand() << 1 ^ (u32)rand();

		if (rand() % 4 == 0)
			cfg_out(&vm, slot == 5 ? 31 : slot, off, size, val);
		else if (rand() % 2)
			mmio_out(&vm, bar(slot, (unsigned)rand() % 6) + (unsigned)rand() % 4096, size, val);
		else
			pio_out(&vm, (u16)((rand() % 2 ? bar(slot, 0) : 0xc000) + (unsigned)rand() % 256), MIN(size, 4u), val);
		if (i % 1024 == 0)
			for (unsigned k = 0; k < vm.nr_devs; k++)
				assert_true(!vm.devs[k].pci || pci_state_valid(&vm.devs[k], vm.devs[k].state));
	}
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(identity), T(through_memory), T(writes), T(capabilities), T(sizing), T(assigned), T(decode), T(widths),
		T(moves), T(intx), T(intx_shared), T(msi), T(msix), T(hotplug), T(saved), T(big_memory), T(noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
