/* SPDX-License-Identifier: BSD-2-Clause */
/* ACPI tables as a 64-bit tiny guest finds them, and power-off by them. */
#pragma once
#include "pc.h"

int memcmp(const void *a, const void *b, size_t n);

/* ACPI 6.4, 5.2.5: the RSDP is on a 16-byte boundary in 0xe0000..0xfffff. */
static inline const char *find_rsdp(void)
{
	for (u64 a = 0xe0000; a < 0x100000; a += 16)
		if (!memcmp((const void *)a, "RSD PTR ", 8))
			return (const char *)a;
	return NULL;
}
static inline u32 get32(const char *p)
{
	u32 v;
	__builtin_memcpy(&v, p, 4);
	return v;
}
static inline const char *find_table(const char *sig)
{
	const char *rsdp = find_rsdp(), *rsdt;

	if (!rsdp)
		return NULL;
	rsdt = (const char *)(u64)get32(rsdp + 16);
	for (u32 i = 36; i + 4 <= get32(rsdt + 4); i += 4) {
		const char *t = (const char *)(u64)get32(rsdt + i);

		if (!memcmp(t, sig, 4))
			return t;
	}
	return NULL;
}

/* \_S5_ is Package { SLP_TYPa, SLP_TYPb, ... }: NameOp, name, PackageOp, length, count, numbers.
 * Returns when the machine does not go off, or has no FADT. */
static inline void acpi_power_off(void)
{
	const char *fadt = find_table("FACP"), *dsdt;

	if (!fadt)
		return;
	dsdt = (const char *)(u64)get32(fadt + 40);
	for (u32 i = 36; i + 12 < get32(dsdt + 4); i++) {
		const char *p = dsdt + i;
		u8 type;

		if (memcmp(p, "_S5_\x12", 5))
			continue;
		p += 7; /* behind the one-byte package length and the count */
		type = *p == 0x0a ? (u8)p[1] : (u8)*p; /* BytePrefix, ZeroOp, OneOp */
		outw((u16)get32(fadt + 64), (u16)(1 << 13 | type << 10));
		for (volatile int wait = 0; wait < 100000000; wait++)
			;
	}
}
