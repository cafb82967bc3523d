/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/platform/acpi_tables.c vmm/platform/mp_table.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>
#include "tests/unit/loader_ram.h"
#include "vmm/platform_map.h"
#include "vmm/platform/dsdt_aml.h"
#include "vmm/platform/cpus_aml.h"
#include "vmm/platform/virtio_aml.h"

static u32 get(u64 gpa, int n)
{
	u32 v = 0;

	memcpy(&v, ram + gpa, (size_t)n);
	return v;
}

static u8 sum(u64 gpa, u32 n)
{
	u8 s = 0;

	while (n--)
		s += ram[gpa++];
	return s;
}

static u32 nr_virtio; /* MMIO devices of virtio's */

static gpa_t make_some(u32 vcpus, u32 present)
{
	struct load_target t = ram_new(RAM_SIZE);
	gpa_t rsdp;

	ram_rom = true;
	t.vcpus = vcpus;
	t.vcpus_present = present;
	t.hpet = vcpus > 1;
	t.nr_virtio = nr_virtio;
	t.cpu_signature = 0x806f8;
	t.cpu_features = 0x1783fbff;
	assert_int_equal(guest_acpi_tables(&t, &rsdp), 0);
	assert_true(rsdp >= 0xe0000 && rsdp < 0xf0000 && rsdp % 16 == 0);
	assert_int_equal(guest_mp_table(&t), 0);
	return rsdp;
}

static gpa_t make(u32 vcpus)
{
	return make_some(vcpus, vcpus);
}

/* The table of that signature, through the XSDT, with a good checksum; 0: there is none. */
static u64 lookup(gpa_t rsdp, const char *signature)
{
	u64 xsdt = get(rsdp + 24, 4), rsdt = get(rsdp + 16, 4), found = 0;

	assert_memory_equal(ram + rsdp, "RSD PTR ", 8);
	assert_int_equal(sum(rsdp, 20), 0);
	assert_int_equal(sum(rsdp, 36), 0);
	assert_memory_equal(ram + xsdt, "XSDT", 4);
	assert_memory_equal(ram + rsdt, "RSDT", 4);
	assert_int_equal(sum(xsdt, get(xsdt + 4, 4)), 0);
	assert_int_equal(sum(rsdt, get(rsdt + 4, 4)), 0);
	assert_int_equal((get(xsdt + 4, 4) - 36) / 8, (get(rsdt + 4, 4) - 36) / 4);
	for (u32 i = 0; i < (get(xsdt + 4, 4) - 36) / 8; i++) {
		u64 table = get(xsdt + 36 + i * 8, 4);

		assert_int_equal(table, get(rsdt + 36 + i * 4, 4));
		assert_int_equal(sum(table, get(table + 4, 4)), 0);
		if (!memcmp(ram + table, signature, 4))
			found = table;
	}
	return found;
}

static u64 find(gpa_t rsdp, const char *signature)
{
	u64 found = lookup(rsdp, signature);

	assert_int_not_equal(found, 0);
	return found;
}

static void fadt(void **state)
{
	u64 f = find(make(1), "FACP"), dsdt = get(f + 40, 4), facs = get(f + 36, 4);

	(void)state;
	assert_memory_equal(ram + facs, "FACS", 4);
	assert_int_equal(facs % 64, 0);
	assert_memory_equal(ram + dsdt, "DSDT", 4);
	assert_int_equal(get(f + 140, 4), dsdt);
	assert_int_equal(sum(dsdt, get(dsdt + 4, 4)), 0);
	assert_int_equal(get(dsdt + 4, 4), 36 + sizeof(dsdt_aml));
	assert_int_equal(get(f + 46, 2), 9);           /* SCI_INT */
	assert_int_equal(get(f + 56, 4), 0x600);       /* PM1a_EVT */
	assert_int_equal(get(f + 64, 4), 0x604);       /* PM1a_CNT */
	assert_int_equal(get(f + 76, 4), 0x608);       /* PM_TMR */
	assert_int_equal(get(f + 112, 4) >> 8 & 5, 4); /* 24-bit timer, reset register */
	assert_int_equal(get(f + 120, 4), 0xcf9);
	assert_int_equal(get(f + 128, 1), 6);
	assert_int_equal(get(f + 109, 2), 7); /* legacy devices, 8042, no VGA */
}

static void madt(void **state)
{
	u64 m = find(make(3), "APIC"), p = m + 44;

	(void)state;
	assert_int_equal(get(m + 36, 4), PLAT_LAPIC_BASE);
	for (u32 i = 0; i < 3; i++, p += 8) {
		assert_int_equal(get(p, 2), 0x0800);
		assert_int_equal(get(p + 3, 1), i);
		assert_int_equal(get(p + 4, 4), 1);
	}
	assert_int_equal(get(p, 2), 0x0c01);
	assert_int_equal(get(p + 4, 4), PLAT_IOAPIC_BASE);
	assert_memory_equal(ram + p + 12, "\2\12\0\0\2\0\0\0\0\0", 10);
	assert_memory_equal(ram + p + 22, "\2\12\0\11\11\0\0\0\15\0", 10);
	assert_memory_equal(ram + p + 32, "\4\6\377\0\0\1", 6);
	assert_int_equal(p + 38, m + get(m + 4, 4));
	assert_int_equal(get(m + 8, 1), 5); /* ACPI 6.3, for online capable */
}

/* The AML of a processor, and of how many: names are C000 and so on. */
static u32 processors(u64 ssdt)
{
	static const char path[] = "\\/\3_SB_CPUSC0";
	u32 n = 0, end = (u32)ssdt + get(ssdt + 4, 4);

	for (u32 at = (u32)ssdt + 36; at + sizeof(path) - 1 + 2 < end; at++)
		if (!memcmp(ram + at, path, sizeof(path) - 1)) {
			char name[3] = {(char)ram[at + sizeof(path) - 1], (char)ram[at + sizeof(path)], 0};

			assert_int_equal(strtoul(name, NULL, 16), n);
			n++;
		}
	return n;
}

/* Those that may come: online capable; in the MP table, not to be used; and in the SSDT as many as there may be. */
static void hotplug(void **state)
{
	static const u32 counts[][2] = {{2, 1}, {2, 2}, {3, 1}, {17, 5}, {64, 1}, {64, 64}};

	(void)state;
	assert_int_equal(lookup(make(1), "SSDT"), 0);
	for (size_t k = 0; k < ARRAY_SIZE(counts); k++) {
		u32 all = counts[k][0], present = counts[k][1];
		gpa_t rsdp = make_some(all, present);
		u64 m = find(rsdp, "APIC") + 44, mp = get(0xf0004, 4) + 44, ssdt = find(rsdp, "SSDT");

		for (u32 i = 0; i < all; i++) {
			assert_int_equal(get(m + i * 8 + 4, 4), i < present ? 1 : 2);
			assert_int_equal(get(mp + i * 20 + 3, 1), (i < present ? 1 : 0) | (i ? 0 : 2));
		}
		assert_int_equal(processors(ssdt), all);
		assert_memory_equal(ram + ssdt + 36, cpus_aml, get(ssdt + 4, 4) - 36);
		assert_int_equal(get(ssdt + 4, 4) == 36 + sizeof(cpus_aml), all == 64);
	}
}

/* As many as there are: window and interrupt of each, where virtio_mmio.c has them. */
static void virtio_mmio(void **state)
{
	(void)state;
	for (nr_virtio = 1; nr_virtio <= PLAT_VIRTIO_MAX; nr_virtio++) {
		u64 ssdt = find(make(1), "SSDT"), at = ssdt + 36, end = ssdt + get(ssdt + 4, 4);
		u32 n = 0;

		for (; at + 17 < end; at++) {
			if (get(at, 4) != 0x01000986) /* Memory32Fixed, read-write */
				continue;
			assert_int_equal(get(at + 4, 4), PLAT_VIRTIO_BASE + n * PLAT_VIRTIO_SIZE);
			assert_int_equal(get(at + 8, 4), PLAT_VIRTIO_SIZE);
			assert_memory_equal(ram + at + 12, "\x89\6\0\1\1", 5); /* consumer, level, active high, exclusive */
			assert_int_equal(get(at + 17, 4), PLAT_GSI_VIRTIO + n);
			n++;
		}
		assert_int_equal(n, nr_virtio);
		assert_memory_equal(ram + ssdt + 36, virtio_aml, end - ssdt - 36);
		assert_int_equal(end - ssdt == 36 + sizeof(virtio_aml), nr_virtio == PLAT_VIRTIO_MAX);
	}
	nr_virtio = 0;
	assert_int_equal(lookup(make(1), "SSDT"), 0);
}

static void mcfg(void **state)
{
	u64 m = find(make(1), "MCFG");

	(void)state;
	assert_int_equal(get(m + 4, 4), 60);
	assert_int_equal(get(m + 44, 4), PLAT_ECAM_BASE);
	assert_int_equal(get(m + 48, 4), 0);
	assert_int_equal(get(m + 52, 4), 0xff000000); /* segment 0, buses 0 to 255 */
}

static void hpet(void **state)
{
	u64 h = find(make(2), "HPET");

	(void)state;
	assert_int_equal(get(h + 4, 4), 56);
	assert_int_equal(get(h + 36, 4), 0x8086a201);
	assert_int_equal(get(h + 40, 4), 0x4000); /* memory, 64 bits wide */
	assert_int_equal(get(h + 44, 4), 0xfed00000);
	assert_int_equal(get(h + 48, 4), 0);
	assert_int_equal(get(h + 53, 2), 100000 / PLAT_HPET_TICK_NS); /* 100 us */
	assert_int_equal(lookup(make(1), "HPET"), 0);
}

struct source {
	u32 pin, flags;
	bool is;
};

/* The MP table of n processors: each entry is what the spec says, and what the MADT says. */
static void mp_table(void **state)
{
	static const u32 counts[] = {1, 2, 64, 255};

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(counts); k++) {
		u64 m = find(make(counts[k]), "APIC"), at = get(0xf0004, 4), e = at + 44, l = m + 44;
		u32 n[5] = {0}, last = 0, entries = get(at + 34, 2);
		struct source isa[16] = {{0}};
		bool pci[128] = {0};

		assert_memory_equal(ram + 0xf0000, "_MP_", 4);
		assert_int_equal(get(0xf0008, 4) & 0xffff, 0x0401); /* 16 bytes, 1.4 */
		assert_int_equal(get(0xf000b, 1) | get(0xf000c, 4), 0); /* a table; no PIC mode */
		assert_int_equal(sum(0xf0000, 16), 0);
		assert_memory_equal(ram + at, "PCMP", 4);
		assert_int_equal(sum(at, get(at + 4, 2)), 0);
		assert_int_equal(get(at + 36, 4), get(m + 36, 4));
		for (u32 i = 0; i < entries; i++, e += get(e, 1) ? 8 : 20) {
			u32 type = get(e, 1), irq = get(e + 5, 1);

			assert_in_range(type, last, 4);
			last = type;
			n[type]++;
			if (type == 0) {
				assert_int_equal(get(l, 2), 0x0800);
				assert_int_equal(get(e + 1, 1), get(l + 3, 1));
				assert_int_equal(get(e + 2, 1), 0x14);
				assert_int_equal(get(e + 3, 1), i ? 1 : 3);
				assert_int_equal(get(e + 4, 4), 0x806f8);
				assert_int_equal(get(e + 8, 4), 0x1783fbff);
				l += 8;
			} else if (type == 1) {
				assert_int_equal(get(e + 1, 1), n[1] - 1);
				assert_memory_equal(ram + e + 2, n[1] == 1 ? "PCI   " : "ISA   ", 6);
			} else if (type == 2) {
				assert_int_equal(get(l, 1), 1);
				assert_int_equal(get(e + 1, 1), get(l + 2, 1));
				assert_int_equal(get(e + 3, 1), 1);
				assert_int_equal(get(e + 4, 4), get(l + 4, 4));
			} else if (type == 3 && get(e + 4, 1)) {
				assert_false(isa[irq].is);
				isa[irq] = (struct source){get(e + 7, 1), get(e + 2, 2), true};
			} else if (type == 3) {
				assert_false(pci[irq]);
				pci[irq] = true;
				assert_int_equal(get(e + 7, 1), PLAT_GSI_PCI(irq >> 2, (irq & 3) + 1));
			} else {
				assert_memory_equal(ram + e + 1, n[4] == 1 ? "\3\0\0\1\0\377\0" : "\1\0\0\1\0\377\1", 7);
			}
		}
		assert_int_equal(e, at + get(at + 4, 2));
		assert_true(n[0] == counts[k] && n[1] == 2 && n[2] == 1 && n[3] == 15 + 128 && n[4] == 2);
		/* ISA lines as the overrides say, the others straight. */
		for (l += 12; get(l, 1) == 2; l += 10) {
			struct source *s = &isa[get(l + 3, 1)];

			assert_true(s->is && s->pin == get(l + 4, 4) && s->flags == get(l + 8, 2));
			s->is = false;
		}
		for (u32 i = 0; i < 16; i++)
			assert_true(!isa[i].is || (isa[i].pin == i && !isa[i].flags && i != 2));
	}
}

static bool aml_has(const u8 *bytes, size_t n)
{
	for (size_t i = 0; i + n <= sizeof(dsdt_aml); i++)
		if (!memcmp(dsdt_aml + i, bytes, n))
			return true;
	return false;
}

/* The numbers in the AML are the board's: platform_map.h. */
static void board(void **state)
{
	/* NameOp _S5_, PackageOp, length, 4 elements, two byte constants. */
	const u8 s5[] = {
		8, '_', 'S', '5', '_', 0x12, 8, 4, 0x0a, PLAT_SLP_TYP_S5, 0x0a, PLAT_SLP_TYP_S5};

	(void)state;
	assert_true(aml_has(s5, sizeof(s5)));
	assert_false(aml_has((const u8 *)"_S3_", 4)); /* nothing sleeps */
	assert_true(aml_has((const u8 *)"\x41\xd0\x03\x03", 4)); /* PNP0303, PNP0F13 */
	assert_true(aml_has((const u8 *)"\x41\xd0\x0f\x13", 4));
	for (u8 dev = 0; dev < 32; dev++) {
		for (u8 pin = 0; pin < 4; pin++) {
			u8 b[12], n = 0;

			b[n++] = 4; /* elements */
			if (dev) {
				b[n++] = 0x0c; /* DWordPrefix */
				b[n++] = 0xff, b[n++] = 0xff, b[n++] = dev, b[n++] = 0;
			} else {
				b[n++] = 0x0b; /* WordPrefix */
				b[n++] = 0xff, b[n++] = 0xff;
			}
			if (pin > 1)
				b[n++] = 0x0a; /* BytePrefix; 0 and 1 are ZeroOp and OneOp */
			b[n++] = pin;
			b[n++] = 0;
			b[n++] = 0x0a;
			b[n++] = (u8)PLAT_GSI_PCI(dev, pin + 1u);
			assert_true(aml_has(b, n));
		}
	}
}

static void limits(void **state)
{
	struct load_target t = ram_new(RAM_SIZE);
	gpa_t rsdp;

	(void)state;
	make(255);
	t = ram_new(RAM_SIZE);
	t.vcpus = 256;
	assert_int_equal(guest_acpi_tables(&t, &rsdp), -ENOSPC);
	assert_int_equal(guest_mp_table(&t), -ENOSPC);
	t = ram_new(0xe0100);
	assert_int_equal(guest_acpi_tables(&t, &rsdp), -EFAULT);
	assert_int_equal(guest_mp_table(&t), -EFAULT);
}

static size_t slurp(const char *name, u8 *buf, size_t n)
{
	FILE *f = fopen(name, "rb");

	assert_non_null(f);
	n = fread(buf, 1, n, f);
	fclose(f);
	return n;
}

/* iasl takes each table apart without a complaint. */
static void disassemble(void **state)
{
	gpa_t rsdp = (nr_virtio = 3, make(2));
	const u64 tables[] = {find(rsdp, "FACP"),
			      find(rsdp, "APIC"),
			      find(rsdp, "MCFG"),
			      find(rsdp, "HPET"),
			      get(find(rsdp, "FACP") + 40, 4),
			      get(find(rsdp, "FACP") + 36, 4),
			      get(rsdp + 24, 4),
			      get(rsdp + 16, 4),
			      get(get(rsdp + 24, 4) + 36 + 2 * 8, 4), /* both SSDTs */
			      get(get(rsdp + 24, 4) + 36 + 3 * 8, 4)};

	(void)state;
	nr_virtio = 0;
	assert_memory_equal(ram + tables[8], "SSDT", 4);
	assert_memory_equal(ram + tables[9], "SSDT", 4);
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		char dir[] = "/tmp/acpi-XXXXXX", cmd[256], name[64];
		static u8 log[65536];
		FILE *f;

		assert_non_null(mkdtemp(dir));
		snprintf(name, sizeof(name), "%s/t.dat", dir);
		f = fopen(name, "wb");
		assert_non_null(f);
		fwrite(ram + tables[i], 1, get(tables[i] + 4, 4), f);
		fclose(f);
		snprintf(cmd, sizeof(cmd), "iasl -d %s >%s/log 2>&1 && cat %s/t.dsl >>%s/log", name,
			 dir, dir, dir);
		assert_int_equal(system(cmd), 0);
		snprintf(name, sizeof(name), "%s/log", dir);
		memset(log, 0, sizeof(log));
		slurp(name, log, sizeof(log) - 1);
		assert_null(strstr((char *)log, "rror:"));
		assert_null(strstr((char *)log, "rror in"));
		assert_null(strstr((char *)log, "ncorrect"));
		assert_null(strstr((char *)log, "arning:"));
		assert_null(strstr((char *)log, "nvalid"));
		snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
		assert_int_equal(system(cmd), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fadt),
		cmocka_unit_test(madt),
		cmocka_unit_test(virtio_mmio),
		cmocka_unit_test(hotplug),
		cmocka_unit_test(mcfg),
		cmocka_unit_test(hpet),
		cmocka_unit_test(mp_table),
		cmocka_unit_test(board),
		cmocka_unit_test(limits),
		cmocka_unit_test(disassemble),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
