/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: arch/x86_64/acpi_parse.c */
/* The ACPI parser over tables built here, whole, cut short and scrambled. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/acpi.h"
#include "lib/errno.h"
#include "lib/string.h"

#define BASE 0x10000ul
#define SIZE 0x8000ul
static u8 mem[SIZE];
static struct acpi_info info;
static u64 at, nr_reads;

static bool reader(void *ctx, void *dst, hpa_t pa, size_t n)
{
	(void)ctx;
	nr_reads++;
	if (pa < BASE || pa > BASE + SIZE || n > BASE + SIZE - pa)
		return false;
	memcpy(dst, mem + (pa - BASE), n);
	return true;
}
static const struct acpi_reader r = {.read = reader};

static void put(hpa_t pa, u64 v, unsigned n)
{
	memcpy(mem + (pa - BASE), &v, n);
}

static void checksum(hpa_t pa, u32 len, u32 where)
{
	u8 sum = 0;

	put(pa + where, 0, 1);
	for (u32 i = 0; i < len; i++)
		sum += mem[pa - BASE + i];
	put(pa + where, (u8)-sum, 1);
}

static hpa_t table(const char *sig, const void *body, u32 n)
{
	hpa_t pa = at;

	memcpy(mem + (pa - BASE), sig, 4);
	put(pa + 4, 36 + n, 4);
	memcpy(mem + (pa - BASE) + 36, body, n);
	checksum(pa, 36 + n, 9);
	at = ALIGN_UP(pa + 36 + n, 16);
	return pa;
}

static hpa_t build_madt(void)
{
	static const u8 body[] = {
		0, 0, 0xe0, 0xfe, 1, 0, 0, 0,
		0, 8, 0, 0, 1, 0, 0, 0,			 /* CPU 0 */
		0, 8, 1, 6, 1, 0, 0, 0,			 /* CPU 6 */
		0, 8, 2, 7, 0, 0, 0, 0,			 /* disabled */
		0, 8, 3, 6, 1, 0, 0, 0,			 /* twice */
		9, 16, 0, 0, 0x2c, 1, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, /* x2APIC 300, uid 9 */
		1, 12, 4, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0,
		2, 10, 0, 0, 2, 0, 0, 0, 0, 0,		 /* IRQ 0 is GSI 2 */
		2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0,
		4, 6, 0xff, 0, 0, 1,
		0x7f, 5, 1, 2, 3,			 /* of the future */
	};

	return table("APIC", body, sizeof(body));
}

static u8 fadt_revision, boot_arch;

static hpa_t build_fadt(hpa_t dsdt)
{
	hpa_t pa;
	u8 b[276 - 36] = {[244 - 36] = 0, [245 - 36] = 8, [249 - 36] = 0xea, [250 - 36] = 0xfe};
	u32 v;

	memcpy(b + 40 - 36, &(u32){dsdt}, 4);
	v = 0xb2, memcpy(b + 48 - 36, &v, 4);
	b[52 - 36] = 0xa0;
	v = 0x600, memcpy(b + 64 - 36, &v, 4);
	v = 0x608, memcpy(b + 76 - 36, &v, 4);
	b[91 - 36] = 4;
	b[108 - 36] = 0x32;
	v = 1 << 8 | 1 << 10 | 1 << 20, memcpy(b + 112 - 36, &v, 4);
	b[116 - 36] = 1, b[117 - 36] = 8;
	v = 0xcf9, memcpy(b + 120 - 36, &v, 4);
	b[128 - 36] = 6;
	b[109 - 36] = boot_arch;
	pa = table("FACP", b, sizeof(b));
	put(pa + 8, fadt_revision, 1);
	checksum(pa, 36 + sizeof(b), 9);
	return pa;
}

static hpa_t build(unsigned s5_at, bool v2)
{
	u8 aml[2000], mcfg[24] = {[10] = 0xb0, [18] = 0, [19] = 0xff}, hpet[20] = {[10] = 0xd0, [11] = 0xfe};
	static const u8 s5[] = {8, '_', 'S', '5', '_', 0x12, 6, 4, 0x0a, 5, 1, 0, 0};
	hpa_t t[4], dsdt, root, rsdp;
	u64 ptr[4];

	memset(mem, 0, sizeof(mem));
	at = BASE + 0x100;
	memset(aml, '_', sizeof(aml));
	memcpy(aml + s5_at, s5, sizeof(s5));
	dsdt = table("DSDT", aml, sizeof(aml));
	t[0] = build_madt();
	t[1] = build_fadt(dsdt);
	t[2] = table("MCFG", mcfg, sizeof(mcfg));
	t[3] = table("HPET", hpet, sizeof(hpet));
	for (unsigned i = 0; i < 4; i++) {
		if (v2)
			ptr[i] = t[i];
		else
			((u32 *)ptr)[i] = t[i];
	}
	root = table(v2 ? "XSDT" : "RSDT", ptr, v2 ? 32 : 16);
	rsdp = BASE + 0x10;
	memcpy(mem + 0x10, "RSD PTR ", 8);
	put(rsdp + 15, v2 ? 2 : 0, 1);
	put(rsdp + 16, v2 ? 0 : root, 4);
	put(rsdp + 20, 36, 4);
	put(rsdp + 24, v2 ? root : 0, 8);
	checksum(rsdp, 20, 8);
	checksum(rsdp, 36, 32);
	return rsdp;
}

static void check_whole(void)
{
	assert_true(info.found && info.fadt);
	assert_int_equal(info.nr_cpus, 3);
	assert_int_equal(info.cpu[1].apic_id, 6);
	assert_int_equal(info.cpu[2].apic_id, 300);
	assert_int_equal(info.cpu[2].uid, 9);
	assert_int_equal(info.max_apic_id, 300);
	assert_int_equal(info.nr_ioapics, 1);
	assert_int_equal(info.ioapic[0].addr, 0xfec00000);
	assert_int_equal(info.isa[0].gsi, 2);
	assert_int_equal(info.isa[4].gsi, 4);
	assert_int_equal(info.isa[9].flags, 0xd);
	assert_int_equal(info.nr_mcfg, 1);
	assert_int_equal(info.mcfg[0].base, 0xb00000);
	assert_int_equal(info.mcfg[0].last_bus, 0xff);
	assert_int_equal(info.hpet, 0xfed00000);
	assert_int_equal(info.pm1a_cnt, 0x600);
	assert_int_equal(info.pm_timer, 0x608);
	assert_true(info.pm_timer_32 && info.has_reset);
	assert_int_equal(info.reset.addr, 0xcf9);
	assert_int_equal(info.reset_value, 6);
	assert_true(info.has_sleep);
	assert_int_equal(info.sleep.addr, 0xfeea00);
	assert_true(info.s5);
	assert_int_equal(info.s5_typ_a, 5);
	assert_int_equal(info.s5_typ_b, 1);
}

/* _S5_ at every place, so also across the pieces in which the table is read. */
static void test_whole(void **s)
{
	u32 bad;

	(void)s;
	for (unsigned i = 0; i < 1980; i++) {
		assert_int_equal(acpi_parse(&r, build(i, i & 1), &info, &bad), 0);
		assert_int_equal(bad, 0);
		check_whole();
	}
}

/* IAPC_BOOT_ARCH says that a machine has no keyboard controller, or no RTC, since it exists. */
static void test_legacy(void **s)
{
	static const struct {
		u8 revision, arch;
		bool no_i8042, no_rtc;
	} t[] = {{1, 0, false, false}, {3, 0, true, false}, {3, 2, false, false}, {6, 0x22, false, true}, {6, 0x20, true, true}};
	u32 bad;

	(void)s;
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		fadt_revision = t[i].revision;
		boot_arch = t[i].arch;
		assert_int_equal(acpi_parse(&r, build(0, true), &info, &bad), 0);
		assert_int_equal(bad, 0);
		assert_int_equal(info.no_i8042, t[i].no_i8042);
		assert_int_equal(info.no_rtc, t[i].no_rtc);
	}
	fadt_revision = boot_arch = 0;
}

static void test_none(void **s)
{
	hpa_t rsdp = build(0, true);
	u32 bad;

	(void)s;
	assert_int_equal(acpi_parse(&r, 0, &info, &bad), -ENOENT);
	assert_int_equal(acpi_parse(&r, rsdp + 16, &info, &bad), -ENOENT);
	assert_int_equal(acpi_parse(&r, ~0ul, &info, &bad), -ENOENT);
	put(rsdp + 9, 0x55, 1);
	assert_int_equal(acpi_parse(&r, rsdp, &info, &bad), -ENOENT);
	assert_false(info.found);
}

/* Right checksums over wrong contents, and plain noise: every run ends, soon, within the memory. */
static void test_hostile(void **s)
{
	u32 bad;

	(void)s;
	srand(1);
	for (unsigned round = 0; round < 30000; round++) {
		hpa_t rsdp = build(rand() % 1900, round & 1), end = at;

		for (unsigned n = rand() % 6; n-- > 0;)
			mem[0x100 + rand() % (end - BASE - 0x100)] = rand() % 3 ? rand() : rand() % 2 ? 0 : 0xff;
		/* Mend the checksums of all that still looks like a table. */
		for (hpa_t p = BASE + 0x100; p < end && rand() % 8; p += 16) {
			u32 len;

			memcpy(&len, mem + (p - BASE) + 4, 4);
			if (len >= 36 && len < SIZE - (p - BASE))
				checksum(p, len, 9);
		}
		nr_reads = 0;
		acpi_parse(&r, rsdp, &info, &bad);
		assert_true(nr_reads < 200000);
		assert_true(info.nr_cpus <= MAX_PCPUS && info.nr_ioapics <= ACPI_MAX_IOAPICS);
	}
}

/* A root table with this one table in it. */
static hpa_t build_one(const char *sig, const void *body, u32 n)
{
	hpa_t root, rsdp = BASE + 0x10;
	u64 ptr;

	memset(mem, 0, sizeof(mem));
	at = BASE + 0x100;
	ptr = table(sig, body, n);
	root = table("XSDT", &ptr, 8);
	memcpy(mem + 0x10, "RSD PTR ", 8);
	put(rsdp + 15, 2, 1);
	put(rsdp + 20, 36, 4);
	put(rsdp + 24, root, 8);
	checksum(rsdp, 20, 8);
	checksum(rsdp, 36, 32);
	return rsdp;
}

/* APIC ids that are sparse, large, out of order, told twice, and more of them than we take. */
static void test_apic_ids(void **s)
{
	static u8 body[8 + 8 * 256 + 16 * (MAX_PCPUS + 8)];
	u32 n = 8, bad;

	(void)s;
	for (u32 id = 0; id <= 255; id += 3) { /* 0xff, the last, is no id */
		memcpy(body + n, (u8[]){0, 8, id, id, 1, 0, 0, 0}, 8);
		n += 8;
	}
	for (u32 i = 0; i < 8; i++) { /* the first four are known from above */
		u32 id = i < 4 ? i * 3 : 0xfffffff0u - (i << 20);

		memcpy(body + n, (u32[]){16 << 8 | 9, id, 1, i}, 16);
		n += 16;
	}
	assert_int_equal(acpi_parse(&r, build_one("APIC", body, n), &info, &bad), 0);
	assert_int_equal(bad, 0);
	assert_int_equal(info.nr_cpus, 85 + 4);
	assert_int_equal(info.cpu[84].apic_id, 252);
	assert_int_equal(info.cpu[85].apic_id, 0xffbffff0);
	assert_int_equal(info.max_apic_id, 0xffbffff0);

	n = 8;
	for (u32 i = 0; i < MAX_PCPUS + 8; i++) {
		memcpy(body + n, (u32[]){16 << 8 | 9, i * 1000, 1, i}, 16);
		n += 16;
	}
	assert_int_equal(acpi_parse(&r, build_one("APIC", body, n), &info, &bad), 0);
	assert_int_equal(info.nr_cpus, MAX_PCPUS);
	assert_int_equal(info.cpus_ignored, 8);
}

static u32 parse_iommus(const char *sig, const u8 *body, u32 n)
{
	u32 bad;

	assert_int_equal(acpi_parse(&r, build_one(sig, body, n), &info, &bad), 0);
	return bad;
}

static void test_iommus(void **s)
{
	static const u8 dmar[] = {
		38, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0xd9, 0xfe, 0, 0, 0, 0, 1, 8, 0, 0, 0, 0, 0x1f, 0, /* DRHD */
		1, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0,				   /* RMRR */
		0, 0, 16, 0, 1, 0, 0, 0, 0, 0x10, 0xd9, 0xfe, 1, 0, 0, 0,			   /* > 4 GiB */
	};
	static const u8 ivrs[] = {
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0x10, 0, 24, 0, 2, 0, 0x40, 0, 0, 0, 0xd8, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0x11, 0, 40, 0, 2, 0, 0x40, 0, 0, 0, 0xd8, 0xfe, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0x20, 0, 4, 0, /* of a kind that is none of ours */
	};
	u8 torn[sizeof(dmar)];

	(void)s;
	assert_int_equal(parse_iommus("DMAR", dmar, sizeof(dmar)), 0);
	assert_int_equal(info.nr_iommus, 2);
	assert_int_equal(info.iommu[0].base, 0xfed90000);
	assert_int_equal(info.iommu[1].base, 0x1fed91000);
	assert_false(info.iommu[0].amd);
	assert_int_equal(parse_iommus("IVRS", ivrs, sizeof(ivrs)), 0);
	assert_int_equal(info.nr_iommus, 1); /* one unit in two blocks */
	assert_int_equal(info.iommu[0].base, 0xfed80000);
	assert_true(info.iommu[0].amd);
	for (u32 n = 12; n < sizeof(dmar); n++) { /* cut anywhere: never more than was there */
		parse_iommus("DMAR", dmar, n);
		assert_int_equal(info.nr_iommus, (n >= 36) + (n >= 68));
	}
	memcpy(torn, dmar, sizeof(dmar));
	torn[14] = 0; /* an entry of length 0 would be walked for ever */
	assert_int_equal(parse_iommus("DMAR", torn, sizeof(torn)), 1);
	assert_int_equal(info.nr_iommus, 0);
	torn[14] = 24;
	torn[20] = 1; /* not on a page */
	assert_int_equal(parse_iommus("DMAR", torn, sizeof(torn)), 1);
	assert_int_equal(info.nr_iommus, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_legacy),
		cmocka_unit_test(test_none),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_apic_ids),
		cmocka_unit_test(test_iommus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
