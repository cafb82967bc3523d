/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's ACPI tables (ACPI 5.0, chapter 5; the MADT as in 6.3), written into the ROM area where a guest that was
 * given no pointer finds the RSDP by itself (5.2.5.1). The board is vmm/platform_map.h.
 */
#include "lib/string.h"
#include "vmm/platform/isa.h"
#include "vmm/platform/tables.h"
#include "vmm/platform/dsdt_aml.h" /* built from dsdt.asl */
#include "vmm/platform/cpus_aml.h" /* from cpus.asl */
#include "vmm/platform/virtio_aml.h" /* and from virtio.asl */

struct acpi_header {
	char signature[4];
	u32 length;
	u8 revision, checksum;
	char oem_id[6], oem_table_id[8];
	u32 oem_revision;
	char creator_id[4];
	u32 creator_revision;
} __packed;
static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");

struct acpi_rsdp {
	char signature[8];
	u8 checksum;
	char oem_id[6];
	u8 revision;
	u32 rsdt, length;
	u64 xsdt;
	u8 extended_checksum, reserved[3];
} __packed;
static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 5.2.5.3");

struct acpi_gas {
	u8 space, bit_width, bit_offset, access_size;
	u64 address;
} __packed;

struct acpi_fadt {
	struct acpi_header h;
	u32 facs, dsdt;
	u8 reserved0, profile;
	u16 sci_int;
	u32 smi_cmd;
	u8 acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	u32 pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_tmr, gpe0, gpe1;
	u8 pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_tmr_len, gpe0_len, gpe1_len, gpe1_base,
		cst_cnt;
	u16 p_lvl2_lat, p_lvl3_lat, flush_size, flush_stride;
	u8 duty_offset, duty_width, day_alarm, month_alarm, century;
	u16 iapc_boot_arch;
	u8 reserved1;
	u32 flags;
	struct acpi_gas reset_reg;
	u8 reset_value, reserved2[3];
	u64 x_facs, x_dsdt;
	struct acpi_gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_tmr, x_gpe0,
		x_gpe1, sleep_control, sleep_status;
} __packed;
static_assert(offsetof(struct acpi_fadt, flags) == 112, "ACPI 5.2.9");
static_assert(offsetof(struct acpi_fadt, x_dsdt) == 140, "ACPI 5.2.9");
static_assert(sizeof(struct acpi_fadt) == 268, "ACPI 5.0, 5.2.9, revision 5");

struct acpi_facs {
	char signature[4];
	u32 length, hardware_signature, waking_vector, global_lock, flags;
	u64 x_waking_vector;
	u8 version, reserved[31];
} __packed;
static_assert(sizeof(struct acpi_facs) == 64, "ACPI 5.2.10");

struct acpi_madt {
	struct acpi_header h;
	u32 lapic_address, flags;
} __packed;

struct madt_lapic {
	u8 type, length, processor, id;
	u32 flags;
} __packed;

struct madt_tail {
	struct {
		u8 type, length, id, reserved;
		u32 address, gsi_base;
	} __packed ioapic;
	struct {
		u8 type, length, bus, source;
		u32 gsi;
		u16 flags;
	} __packed override[ARRAY_SIZE(isa_overrides)];
	struct {
		u8 type, length, processor;
		u16 flags;
		u8 lint;
	} __packed nmi;
} __packed;
static_assert(sizeof(struct madt_tail) == 12 + 2 * 10 + 6, "ACPI 5.2.12");

struct acpi_mcfg {
	struct acpi_header h;
	u64 reserved;
	u64 base;
	u16 segment;
	u8 first_bus, last_bus;
	u32 reserved2;
} __packed;
static_assert(sizeof(struct acpi_mcfg) == 60, "PCI Firmware 3.0, 4.1.2");

struct acpi_hpet {
	struct acpi_header h;
	u32 id;
	struct acpi_gas base;
	u8 number;
	u16 min_period; /* of a periodic timer, in ticks */
	u8 attributes;
} __packed;
static_assert(sizeof(struct acpi_hpet) == 56, "IA-PC HPET 1.0a, 3.2.4");

enum { GAS_IO = 1, GAS_BYTE = 1, GAS_WORD = 2, GAS_DWORD = 3 };
enum { /* FADT flags, ACPI table 5-35 */
       FADT_WBINVD = 1 << 0,
       FADT_PROC_C1 = 1 << 2,
       FADT_SLP_BUTTON = 1 << 5, /* none as fixed hardware */
       FADT_FIX_RTC = 1 << 6,    /* no wake status as fixed hardware */
       FADT_RESET_REG_SUP = 1 << 10,
};
enum { BOOT_LEGACY_DEVICES = 1 << 0, BOOT_8042 = 1 << 1, BOOT_NO_VGA = 1 << 2 };
enum { AML_EXT_OP = 0x5b, CPUS_COMMON = 2 };
enum { MADT_LAPIC, MADT_IOAPIC, MADT_OVERRIDE, MADT_NMI = 4 };
enum { MADT_PCAT_COMPAT = 1, LAPIC_ENABLED = 1, LAPIC_ONLINE_CAPABLE = 2 /* ACPI 6.3, table 5-47 */ };

static struct acpi_header header(const char *signature, u8 revision, size_t length)
{
	struct acpi_header h = {
		.length = (u32)length, .revision = revision,
		.oem_id = {'D', 'A', 'L', 'A', 'N', 'G'}, .oem_revision = 1,
		.oem_table_id = {'D', 'A', 'L', 'A', 'N', 'G', 'V', 'M'},
		.creator_id = {'D', 'L', 'N', 'G'}, .creator_revision = 1,
	};

	memcpy(h.signature, signature, 4);
	return h;
}

static u32 table_done(struct table_writer *w)
{
	table_end(w, offsetof(struct acpi_header, checksum));
	return (u32)w->table;
}

static u32 put_table(struct table_writer *w, const void *table, size_t n)
{
	table_begin(w, 16);
	table_put(w, table, n);
	return table_done(w);
}

static u32 put_facs(struct table_writer *w)
{
	const struct acpi_facs f = {
		.signature = {'F', 'A', 'C', 'S'}, .length = sizeof(f), .version = 2};

	table_begin(w, 64);
	table_put(w, &f, sizeof(f));
	return (u32)w->table;
}

/* The window for 64-bit BARs in the host bridge's _CRS: dsdt.asl has these two in its place, one behind the other. */
static const u64 window64[2] = {1ull << 62, (1ull << 62) + PLAT_PCI_MMIO64_SIZE - 1};

static size_t find_window64(void)
{
	for (size_t i = 0; i + sizeof(window64) <= sizeof(dsdt_aml); i++)
		if (!memcmp(dsdt_aml + i, window64, sizeof(window64)))
			return i;
	return 0;
}

static u32 put_dsdt(struct table_writer *w)
{
	const struct acpi_header h = header("DSDT", 2, sizeof(h) + sizeof(dsdt_aml));
	const struct load_target *t = w->t;
	const u64 base = PLAT_PCI_MMIO64_BASE(t->ram_low + (t->ram_high ? t->ram_high - GIB(4) : 0));
	const u64 window[2] = {base, base + PLAT_PCI_MMIO64_SIZE - 1};
	const size_t at = find_window64(), after = at + sizeof(window);

	table_begin(w, 16);
	table_put(w, &h, sizeof(h));
	table_put(w, dsdt_aml, at);
	table_put(w, window, sizeof(window));
	table_put(w, dsdt_aml + after, sizeof(dsdt_aml) - after);
	return table_done(w);
}

/* 20.2.4: a term of one or two bytes of opcode and a PkgLength, whose bits 7:6 say how many bytes follow the first. */
static size_t aml_term(const u8 *aml)
{
	const u8 *p = aml + (aml[0] == AML_EXT_OP ? 2 : 1);
	unsigned more = p[0] >> 6;
	size_t n = p[0] & (more ? 15 : 63);

	for (unsigned i = 1; i <= more; i++)
		n |= (size_t)p[i] << (8 * i - 4);
	return (size_t)(p - aml) + n;
}

/* An SSDT of the first terms of such a one: what is there n times has a term for each, behind what all have in common. */
static u32 put_ssdt(struct table_writer *w, const u8 *aml, size_t size, u32 terms)
{
	struct acpi_header h = header("SSDT", 2, 0);
	size_t n = 0;

	for (; terms && n < size; terms--)
		n += aml_term(aml + n);
	h.length = (u32)(sizeof(h) + n);
	table_begin(w, 16);
	table_put(w, &h, sizeof(h));
	table_put(w, aml, n);
	return table_done(w);
}

static struct acpi_gas port(u32 address, u32 bytes, u8 access)
{
	return (struct acpi_gas){GAS_IO, (u8)(bytes * 8), 0, access, address};
}

/* SMI_CMD is 0: there is no legacy mode to leave, ACPI mode is on from reset (5.2.9). */
static u32 put_fadt(struct table_writer *w, u32 facs, u32 dsdt)
{
	const struct acpi_fadt f = {
		.h = header("FACP", 5, sizeof(f)), .facs = facs, .dsdt = dsdt,
		.sci_int = PLAT_GSI_SCI, .pm1a_evt = PLAT_PM1_EVT, .pm1a_cnt = PLAT_PM1_CNT,
		.pm_tmr = PLAT_PM_TMR, .gpe0 = PLAT_GPE0,
		.pm1_evt_len = PLAT_PM1_EVT_LEN, .pm1_cnt_len = PLAT_PM1_CNT_LEN,
		.pm_tmr_len = PLAT_PM_TMR_LEN, .gpe0_len = PLAT_GPE0_LEN,
		.p_lvl2_lat = 101,  /* more than 100: no C2 */
		.p_lvl3_lat = 1001, /* more than 1000: no C3 */
		.iapc_boot_arch = BOOT_LEGACY_DEVICES | BOOT_8042 | BOOT_NO_VGA,
		.flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_FIX_RTC |
			 FADT_RESET_REG_SUP,
		.reset_reg = port(PLAT_RESET_PORT, 1, GAS_BYTE), .reset_value = PLAT_RESET_VALUE,
		.x_dsdt = dsdt,
		.x_pm1a_evt = port(PLAT_PM1_EVT, PLAT_PM1_EVT_LEN, GAS_WORD),
		.x_pm1a_cnt = port(PLAT_PM1_CNT, PLAT_PM1_CNT_LEN, GAS_WORD),
		.x_pm_tmr = port(PLAT_PM_TMR, PLAT_PM_TMR_LEN, GAS_DWORD),
		.x_gpe0 = port(PLAT_GPE0, PLAT_GPE0_LEN, GAS_BYTE),
	};

	return put_table(w, &f, sizeof(f));
}

static u32 put_madt(struct table_writer *w)
{
	const u32 vcpus = w->t->vcpus;
	const struct acpi_madt m = {
		.h = header("APIC", 5,
			    sizeof(m) + vcpus * sizeof(struct madt_lapic) +
				    sizeof(struct madt_tail)),
		.lapic_address = PLAT_LAPIC_BASE,
		.flags = MADT_PCAT_COMPAT,
	};
	struct madt_tail tail = {
		.ioapic = {MADT_IOAPIC, sizeof(tail.ioapic), PLAT_IOAPIC_ID, 0, PLAT_IOAPIC_BASE,
			   0},
		.nmi = {MADT_NMI, sizeof(tail.nmi), LAPIC_ALL, 0, LINT_NMI},
	};

	for (u32 i = 0; i < ARRAY_SIZE(isa_overrides); i++) {
		const struct isa_override *o = &isa_overrides[i];

		tail.override[i] = (__typeof__(tail.override[i])){
			MADT_OVERRIDE, sizeof(tail.override[i]), 0, o->irq, o->pin, o->flags};
	}
	table_begin(w, 16);
	table_put(w, &m, sizeof(m));
	for (u32 i = 0; i < vcpus; i++) {
		struct madt_lapic l = {MADT_LAPIC, sizeof(l), (u8)i, (u8)i,
				       i < w->t->vcpus_present ? LAPIC_ENABLED : LAPIC_ONLINE_CAPABLE};

		table_put(w, &l, sizeof(l));
	}
	table_put(w, &tail, sizeof(tail));
	return table_done(w);
}

static u32 put_mcfg(struct table_writer *w)
{
	const struct acpi_mcfg m = {
		.h = header("MCFG", 1, sizeof(m)), .base = PLAT_ECAM_BASE,
		.last_bus = (PLAT_ECAM_SIZE >> 20) - 1,
	};

	return put_table(w, &m, sizeof(m));
}

static u32 put_hpet(struct table_writer *w)
{
	const struct acpi_hpet t = {
		.h = header("HPET", 1, sizeof(t)),
		.id = PLAT_HPET_ID,
		.base = {.bit_width = 64, .address = PLAT_HPET_BASE},
		.min_period = MIN_PERIOD_NS / PLAT_HPET_TICK_NS,
	};

	return put_table(w, &t, sizeof(t));
}

static u32 put_sdt(struct table_writer *w, const char *signature, size_t width, const u32 *table, u32 n)
{
	const struct acpi_header h = header(signature, 1, sizeof(h) + n * width);

	table_begin(w, 16);
	table_put(w, &h, sizeof(h));
	for (u32 i = 0; i < n; i++) {
		u64 address = table[i];

		table_put(w, &address, width);
	}
	return table_done(w);
}

/* Two checksums: of the first 20 bytes (ACPI 1.0's structure) and of all. */
static void put_rsdp(struct table_writer *w, u32 rsdt, u32 xsdt)
{
	const struct acpi_rsdp r = {
		.signature = {'R', 'S', 'D', ' ', 'P', 'T', 'R', ' '},
		.oem_id = {'D', 'A', 'L', 'A', 'N', 'G'}, .revision = 2,
		.length = sizeof(r), .rsdt = rsdt, .xsdt = xsdt,
	};

	table_begin(w, 16);
	table_put(w, &r, 20);
	table_end(w, offsetof(struct acpi_rsdp, checksum));
	w->sum = 0; /* what the first 20 bytes now add up to */
	table_put(w, (const u8 *)&r + 20, sizeof(r) - 20);
	table_end(w, offsetof(struct acpi_rsdp, extended_checksum));
}

int guest_acpi_tables(struct load_target *t, gpa_t *rsdp)
{
	struct table_writer w = {.t = t, .at = TABLES_ACPI, .end = TABLES_MP};
	u32 tables[6], n = 0, facs, dsdt, rsdt, xsdt;

	if (t->vcpus > TABLES_VCPUS)
		return -ENOSPC;
	facs = put_facs(&w);
	dsdt = put_dsdt(&w);
	tables[n++] = put_fadt(&w, facs, dsdt);
	tables[n++] = put_madt(&w);
	if (t->vcpus > 1)
		tables[n++] = put_ssdt(&w, cpus_aml, sizeof(cpus_aml), CPUS_COMMON + t->vcpus);
	if (t->nr_virtio)
		tables[n++] = put_ssdt(&w, virtio_aml, sizeof(virtio_aml), t->nr_virtio);
	tables[n++] = put_mcfg(&w);
	if (t->hpet)
		tables[n++] = put_hpet(&w);
	rsdt = put_sdt(&w, "RSDT", 4, tables, n);
	xsdt = put_sdt(&w, "XSDT", 8, tables, n);
	put_rsdp(&w, rsdt, xsdt);
	*rsdp = w.table;
	return w.err;
}
