/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: arch/x86_64/acpi_parse.c */
/*
 * Firmware's ACPI tables. The input is cut into tables: a byte of which kind, two of how long, then the
 * body. They get headers, sums that fit and a root table, so that what lies behind the checks is
 * reached; with the first byte odd the input is memory as it stands.
 */
#include <stdlib.h>
#include "arch/x86_64/acpi.h"
#include "lib/string.h"

#define BASE   0x100000ul
#define STRIDE 0x1000ul
#define TABLES 15u
#define SIZE   ((TABLES + 1) * STRIDE)

static u8 mem[SIZE];
static u64 bytes_read;

static void require(bool ok)
{
	if (!ok)
		abort();
}

static bool reader(void *ctx, void *dst, hpa_t pa, size_t n)
{
	(void)ctx;
	bytes_read += n + 1;
	if (pa < BASE || pa > BASE + SIZE || n > BASE + SIZE - pa)
		return false;
	memcpy(dst, mem + (pa - BASE), n);
	return true;
}

static void sum(u8 *p, u32 n, u32 where)
{
	u8 s = 0;

	p[where] = 0;
	for (u32 i = 0; i < n; i++)
		s += p[i];
	p[where] = (u8)-s;
}

static void head(u8 *p, const char *sig, u32 len)
{
	memcpy(p, sig, 4);
	memcpy(p + 4, &len, 4);
	sum(p, len, 9);
}

/* RSDP at BASE, XSDT behind it, table k (from 1) at BASE + k * STRIDE. */
static void build(const u8 *data, size_t size)
{
	static const char *const sigs[] = {"APIC", "FACP", "MCFG", "HPET", "DSDT", "SSDT", "FACS", "XSDT"};
	u64 xsdt = BASE + 0x40;
	u32 n = 0;

	while (size >= 3 && n < TABLES) {
		u32 len = (data[1] | (u32)data[2] << 8) % (STRIDE - 36);
		u8 *t = mem + ++n * STRIDE;
		u64 at = BASE + n * STRIDE;

		len = MIN((size_t)len, size - 3);
		memcpy(t + 36, data + 3, len);
		head(t, sigs[data[0] & 7], 36 + len);
		memcpy(mem + 0x40 + 36 + 8 * (n - 1), &at, 8);
		data += 3 + len;
		size -= 3 + len;
	}
	head(mem + 0x40, "XSDT", 36 + 8 * n);
	memcpy(mem, "RSD PTR ", 8);
	mem[15] = 2;
	mem[20] = 36;
	memcpy(mem + 24, &xsdt, 8);
	sum(mem, 20, 8);
	sum(mem, 36, 32);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const struct acpi_reader r = {.read = reader};
	static struct acpi_info a;
	u32 bad;

	if (!size)
		return 0;
	memset(mem, 0, sizeof(mem));
	if (data[0] & 1)
		memcpy(mem, data + 1, MIN(size - 1, sizeof(mem)));
	else
		build(data + 1, size - 1);
	bytes_read = 0;
	if (acpi_parse(&r, BASE, &a, &bad)) {
		require(!a.found && (data[0] & 1));
		return 0;
	}
	require(a.found && a.nr_cpus <= MAX_PCPUS && a.nr_ioapics <= ACPI_MAX_IOAPICS && a.nr_mcfg <= ACPI_MAX_MCFG);
	for (u32 i = 0; i < a.nr_cpus; i++) {
		require(a.cpu[i].apic_id != ~0u && a.cpu[i].apic_id <= a.max_apic_id);
		for (u32 k = 0; k < i; k++)
			require(a.cpu[k].apic_id != a.cpu[i].apic_id);
	}
	/* A root table may name one large table 256 times; each is read a few times over. */
	require(bytes_read < 256 * 64 * SIZE);
	return 0;
}
