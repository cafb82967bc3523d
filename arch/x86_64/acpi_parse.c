/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser of ACPI tables: firmware wrote them, so every length is checked before use and every loop
 * is bounded by it. Fields are read one by one from physical memory through the caller's reader.
 */
#include "arch/x86_64/acpi.h"
#include "lib/errno.h"
#include "lib/string.h"

#define MAX_TABLE MIB(4)
#define HEADER	  36u /* of every table but RSDP and FACS */
#define MAX_TABLES 256u

struct parse {
	const struct acpi_reader *r;
	struct acpi_info *out;
	u32 bad;
};
struct table {
	hpa_t pa;
	u32 len;
	char sig[4];
};

static u64 field(const struct parse *p, hpa_t pa, unsigned size)
{
	u64 v = 0;

	return p->r->read(p->r->ctx, &v, pa, size) ? v : 0;
}

static bool sums_to_zero(const struct parse *p, hpa_t pa, u32 len)
{
	u8 buf[256], sum = 0;

	while (len) {
		u32 n = MIN(len, (u32)sizeof(buf));

		if (!p->r->read(p->r->ctx, buf, pa, n))
			return false;
		for (u32 i = 0; i < n; i++)
			sum += buf[i];
		pa += n;
		len -= n;
	}
	return sum == 0;
}

static bool open_table(struct parse *p, hpa_t pa, struct table *t)
{
	t->pa = pa;
	t->len = field(p, pa + 4, 4);
	if (!pa || !p->r->read(p->r->ctx, t->sig, pa, 4) || t->len < HEADER || t->len > MAX_TABLE ||
	    !sums_to_zero(p, pa, t->len)) {
		p->bad++;
		return false;
	}
	return true;
}

static bool is(const struct table *t, const char *sig)
{
	return !memcmp(t->sig, sig, 4);
}

/* A field of the table, 0 beyond its end: older revisions are shorter. */
static u64 in_table(const struct parse *p, const struct table *t, u32 off, unsigned size)
{
	return off + size <= t->len ? field(p, t->pa + off, size) : 0;
}

static void add_cpu(struct acpi_info *o, u32 apic_id, u32 uid, u32 flags)
{
	/* Bit 0: enabled. Bit 1 alone: could be plugged in later, is not there now. */
	if (!(flags & 1) || apic_id == ~0u)
		return;
	for (u32 i = 0; i < o->nr_cpus; i++)
		if (o->cpu[i].apic_id == apic_id)
			return;
	if (o->nr_cpus == MAX_PCPUS) {
		o->cpus_ignored++;
		return;
	}
	o->cpu[o->nr_cpus].apic_id = apic_id;
	o->cpu[o->nr_cpus++].uid = uid;
	o->max_apic_id = MAX(o->max_apic_id, apic_id);
}

static void madt_entry(struct parse *p, hpa_t e, u8 type, u8 len)
{
	struct acpi_info *o = p->out;
	u8 irq;

	if (type == 0 && len >= 8 && field(p, e + 3, 1) != 0xff) {
		add_cpu(o, field(p, e + 3, 1), field(p, e + 2, 1), field(p, e + 4, 4));
	} else if (type == 9 && len >= 16) {
		add_cpu(o, field(p, e + 4, 4), field(p, e + 12, 4), field(p, e + 8, 4));
	} else if (type == 1 && len >= 12 && o->nr_ioapics < ACPI_MAX_IOAPICS) {
		o->ioapic[o->nr_ioapics].id = field(p, e + 2, 1);
		o->ioapic[o->nr_ioapics].addr = field(p, e + 4, 4);
		o->ioapic[o->nr_ioapics++].gsi_base = field(p, e + 8, 4);
	} else if (type == 2 && len >= 10 && field(p, e + 2, 1) == 0) {
		irq = field(p, e + 3, 1);
		if (irq < 16) {
			o->isa[irq].gsi = field(p, e + 4, 4);
			o->isa[irq].flags = field(p, e + 8, 2);
		}
	}
}

static void madt(struct parse *p, const struct table *t)
{
	for (u32 off = 44; off + 2 <= t->len;) {
		u8 len = field(p, t->pa + off + 1, 1);

		if (len < 2 || off + len > t->len) {
			p->bad++;
			return;
		}
		madt_entry(p, t->pa + off, field(p, t->pa + off, 1), len);
		off += len;
	}
}

static void mcfg(struct parse *p, const struct table *t)
{
	struct acpi_info *o = p->out;

	for (u32 off = 44; off + 16 <= t->len && o->nr_mcfg < ACPI_MAX_MCFG; off += 16) {
		hpa_t e = t->pa + off;

		o->mcfg[o->nr_mcfg].base = field(p, e, 8);
		o->mcfg[o->nr_mcfg].segment = field(p, e + 8, 2);
		o->mcfg[o->nr_mcfg].first_bus = field(p, e + 10, 1);
		o->mcfg[o->nr_mcfg++].last_bus = field(p, e + 11, 1);
	}
}

/* An AMD IOMMU stands in up to three blocks, each newer one with more in it: it counts once. */
static void add_iommu(struct parse *p, hpa_t base, bool amd)
{
	struct acpi_info *o = p->out;

	for (u32 i = 0; i < o->nr_iommus; i++)
		if (o->iommu[i].base == base)
			return;
	if (!base || !IS_ALIGNED(base, PAGE_SIZE) || o->nr_iommus == ACPI_MAX_IOMMUS) {
		p->bad++;
		return;
	}
	o->iommu[o->nr_iommus].base = base;
	o->iommu[o->nr_iommus++].amd = amd;
}

/* DMAR (VT-d specification, 8.2): type 0, DRHD. IVRS (AMD IOMMU specification, 5.2.2): IVHD. Both tables'
 * entries begin at 48, have a length at 2 and a unit's register base at 8; the type has two bytes and one. */
static void iommu_table(struct parse *p, const struct table *t, bool amd)
{
	for (u32 off = 48; off + 4 <= t->len;) {
		hpa_t e = t->pa + off;
		u32 type = field(p, e, amd ? 1 : 2), len = field(p, e + 2, 2);
		bool unit = amd ? type == 0x10 || type == 0x11 || type == 0x40 : type == 0;

		if (len < 4 || off + len > t->len || (unit && len < 16)) {
			p->bad++;
			return;
		}
		if (unit)
			add_iommu(p, field(p, e + 8, 8), amd);
		off += len;
	}
}

static void read_gas(const struct parse *p, const struct table *t, u32 off, struct acpi_gas *g)
{
	*g = (struct acpi_gas){.space = in_table(p, t, off, 1), .bits = in_table(p, t, off + 1, 1),
			       .offset = in_table(p, t, off + 2, 1), .access = in_table(p, t, off + 3, 1),
			       .addr = in_table(p, t, off + 4, 8)};
}

/* An extended block holds if it is in I/O space; else the old 32-bit field does. */
static u32 io_block(const struct parse *p, const struct table *t, u32 old, u32 extended)
{
	struct acpi_gas g;

	read_gas(p, t, extended, &g);
	return g.addr && g.space == ACPI_SPACE_IO ? (u32)g.addr : (u32)in_table(p, t, old, 4);
}

/* PkgLength: the top two bits of the first byte count the bytes that follow (ACPI 6.4, 20.2.4). */
static u32 package_header(const u8 *b)
{
	return 1 + (b[0] >> 6) + 1; /* and NumElements */
}

/* One integer of the package; returns its encoded length, 0 if it is no integer. */
static u32 aml_integer(const u8 *b, u8 *v)
{
	*v = b[0] == 0x0a || b[0] == 0x0b || b[0] == 0x0c ? b[1] : b[0];
	switch (b[0]) {
	case 0: /* ZeroOp, OneOp */
	case 1:
		return 1;
	case 0x0a: /* byte, word, dword: the low byte comes first */
		return 2;
	case 0x0b:
		return 3;
	case 0x0c:
		return 5;
	}
	return 0;
}

/* Name(_S5_, Package { SLP_TYPa, SLP_TYPb, ... }) at b, which has room for the longest form. */
static bool match_s5(struct acpi_info *o, const u8 *b)
{
	u32 at, n;

	if (b[0] != '_' || b[1] != 'S' || b[2] != '5' || b[3] != '_' || b[4] != 0x12)
		return false;
	at = 5 + package_header(b + 5);
	n = aml_integer(b + at, &o->s5_typ_a);
	if (!n)
		return false;
	at += n;
	o->s5 = aml_integer(b + at, &o->s5_typ_b) != 0;
	return o->s5;
}

#define S5_LONGEST 24 /* name 4, package 1, length 4, count 1, two dwords 10, and some */

static void find_s5(struct parse *p, const struct table *t)
{
	u8 buf[512 + S5_LONGEST];

	for (u32 off = HEADER; off < t->len && !p->out->s5; off += 512) {
		u32 n = MIN(t->len - off, (u32)sizeof(buf));

		memset(buf + n, 0, sizeof(buf) - n);
		if (!p->r->read(p->r->ctx, buf, t->pa + off, n))
			return;
		for (u32 i = 0; i < 512 && i < n; i++)
			if (buf[i] == '_' && match_s5(p->out, buf + i))
				return;
	}
}

static void fadt(struct parse *p, const struct table *t)
{
	struct acpi_info *o = p->out;
	u32 flags = in_table(p, t, 112, 4);
	hpa_t dsdt = in_table(p, t, 140, 8);
	struct table d;

	o->fadt = true;
	o->smi_cmd = in_table(p, t, 48, 4);
	o->acpi_enable = in_table(p, t, 52, 1);
	o->pm1a_cnt = io_block(p, t, 64, 172);
	o->pm1b_cnt = io_block(p, t, 68, 184);
	o->pm_timer = in_table(p, t, 91, 1) == 4 ? io_block(p, t, 76, 208) : 0;
	o->pm_timer_32 = flags & BIT(8);
	o->century = in_table(p, t, 108, 1);
	o->no_rtc = in_table(p, t, 8, 1) >= 4 && (in_table(p, t, 109, 2) & BIT(5)); /* IAPC_BOOT_ARCH */
	o->no_i8042 = in_table(p, t, 8, 1) >= 2 && !(in_table(p, t, 109, 2) & BIT(1));
	o->has_reset = (flags & BIT(10)) && t->len >= 129;
	read_gas(p, t, 116, &o->reset);
	o->reset_value = in_table(p, t, 128, 1);
	o->has_sleep = (flags & BIT(20)) && t->len >= 256;
	read_gas(p, t, 244, &o->sleep);
	if (open_table(p, dsdt ? dsdt : in_table(p, t, 40, 4), &d) && is(&d, "DSDT"))
		find_s5(p, &d);
}

static void one_table(struct parse *p, hpa_t pa)
{
	struct table t;

	if (!open_table(p, pa, &t))
		return;
	if (is(&t, "APIC"))
		madt(p, &t);
	else if (is(&t, "MCFG"))
		mcfg(p, &t);
	else if (is(&t, "FACP"))
		fadt(p, &t);
	else if (is(&t, "DMAR"))
		iommu_table(p, &t, false);
	else if (is(&t, "IVRS"))
		iommu_table(p, &t, true);
	else if (is(&t, "SSDT") && !p->out->s5)
		find_s5(p, &t);
	else if (is(&t, "HPET") && !in_table(p, &t, 40, 1))
		p->out->hpet = in_table(p, &t, 44, 8);
}

/* The root table: XSDT with 8-byte pointers if there is one, else RSDT with 4-byte ones. */
static bool open_root(struct parse *p, hpa_t rsdp, struct table *root, unsigned *width)
{
	char sig[8];
	bool v2;

	if (!rsdp || !p->r->read(p->r->ctx, sig, rsdp, 8) || memcmp(sig, "RSD PTR ", 8) ||
	    !sums_to_zero(p, rsdp, 20))
		return false;
	v2 = field(p, rsdp + 15, 1) >= 2 && field(p, rsdp + 20, 4) == 36 && sums_to_zero(p, rsdp, 36);
	*width = 8;
	if (v2 && open_table(p, field(p, rsdp + 24, 8), root) && is(root, "XSDT"))
		return true;
	*width = 4;
	return open_table(p, field(p, rsdp + 16, 4), root) && is(root, "RSDT");
}

int acpi_parse(const struct acpi_reader *r, hpa_t rsdp, struct acpi_info *out, u32 *bad)
{
	struct parse p = {.r = r, .out = out};
	struct table root;
	unsigned width, n = 0;

	memset(out, 0, sizeof(*out));
	for (u32 i = 0; i < 16; i++)
		out->isa[i].gsi = i;
	*bad = 0;
	if (!open_root(&p, rsdp, &root, &width))
		return -ENOENT;
	out->found = true;
	for (u32 off = HEADER; off + width <= root.len && n < MAX_TABLES; off += width, n++)
		one_table(&p, field(&p, root.pa + off, width));
	*bad = p.bad;
	return 0;
}
