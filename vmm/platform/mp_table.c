/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MP table (MultiProcessor Specification 1.4, chapter 4) for guests that know or want no ACPI:
 * the floating pointer, and behind it the configuration table. It says what the MADT says.
 */
#include "vmm/platform/tables.h"

struct mp_pointer {
	char signature[4];
	u32 table;
	u8 length, revision, checksum, features[5];
} __packed;
static_assert(sizeof(struct mp_pointer) == 16, "MP 4.1");

struct mp_header {
	char signature[4];
	u16 length;
	u8 revision, checksum;
	char oem[8], product[12];
	u32 oem_table;
	u16 oem_size, entries;
	u32 lapic;
	u16 extended_length;
	u8 extended_checksum, reserved;
} __packed;
static_assert(sizeof(struct mp_header) == 44, "MP 4.2");

struct mp_processor {
	u8 type, lapic_id, lapic_version, flags;
	u32 signature, features, reserved[2];
} __packed;
static_assert(sizeof(struct mp_processor) == 20, "MP 4.3.1");

struct mp_bus {
	u8 type, id;
	char name[6];
} __packed;
static_assert(sizeof(struct mp_bus) == 8, "MP 4.3.2");

struct mp_ioapic {
	u8 type, id, version, flags;
	u32 address;
} __packed;
static_assert(sizeof(struct mp_ioapic) == 8, "MP 4.3.3");

struct mp_interrupt { /* of the I/O APIC, and local */
	u8 type, kind;
	u16 flags;
	u8 bus, irq, apic, pin;
} __packed;
static_assert(sizeof(struct mp_interrupt) == 8, "MP 4.3.4, 4.3.5");

enum { MP_PROCESSOR, MP_BUS, MP_IOAPIC, MP_IO_INTERRUPT, MP_LOCAL_INTERRUPT };
enum { KIND_INT, KIND_NMI, KIND_EXTINT = 3 };
enum { CPU_ENABLED = 1, CPU_BOOT = 2 };
enum { BUS_PCI, BUS_ISA }; /* a PCI bus has its own number */

#define REVISION       4 /* 1.4 */
#define LAPIC_VERSION  0x14
#define IOAPIC_VERSION 0x11
#define ISA_IRQS       16u
#define ISA_CASCADE    2u
#define PCI_DEVICES    32u
#define PCI_PINS       4u
/* Two buses, the I/O APIC, the ISA lines but the cascade, four of each PCI device, two local. */
#define BOARD_ENTRIES (2 + 1 + ISA_IRQS - 1 + PCI_DEVICES * PCI_PINS + 2)
#define BOARD_SIZE    (BOARD_ENTRIES * sizeof(struct mp_interrupt))

static void put_processors(struct table_writer *w)
{
	for (u32 i = 0; i < w->t->vcpus; i++) {
		const struct mp_processor p = {.type = MP_PROCESSOR, .lapic_id = (u8)i,
					       .lapic_version = LAPIC_VERSION,
					       .flags = (i < w->t->vcpus_present ? CPU_ENABLED : 0) | (i ? 0 : CPU_BOOT),
					       .signature = w->t->cpu_signature,
					       .features = w->t->cpu_features};

		table_put(w, &p, sizeof(p));
	}
}

static void put_isa_lines(struct table_writer *w)
{
	static const struct mp_interrupt isa = {
		.type = MP_IO_INTERRUPT, .bus = BUS_ISA, .apic = PLAT_IOAPIC_ID};

	for (u8 irq = 0; irq < ISA_IRQS; irq++) {
		struct mp_interrupt m = isa;

		m.irq = m.pin = irq;
		if (irq == ISA_CASCADE)
			continue;
		for (u32 i = 0; i < ARRAY_SIZE(isa_overrides); i++)
			if (isa_overrides[i].irq == irq) {
				m.pin = isa_overrides[i].pin;
				m.flags = isa_overrides[i].flags;
			}
		table_put(w, &m, sizeof(m));
	}
}

/* Appendix D.3: a source is the device's number and, in bits 1:0, its pin. */
static void put_pci_lines(struct table_writer *w)
{
	for (u8 dev = 0; dev < PCI_DEVICES; dev++)
		for (u8 pin = 0; pin < PCI_PINS; pin++) {
			const struct mp_interrupt m = {.type = MP_IO_INTERRUPT, .bus = BUS_PCI,
						       .irq = (u8)(dev << 2 | pin),
						       .apic = PLAT_IOAPIC_ID,
						       .pin = PLAT_GSI_PCI(dev, pin + 1u)};

			table_put(w, &m, sizeof(m));
		}
}

static void put_board(struct table_writer *w)
{
	static const struct mp_bus buses[] = {{MP_BUS, BUS_PCI, "PCI   "},
					      {MP_BUS, BUS_ISA, "ISA   "}};
	static const struct mp_ioapic ioapic = {MP_IOAPIC, PLAT_IOAPIC_ID, IOAPIC_VERSION, 1,
						PLAT_IOAPIC_BASE};
	static const struct mp_interrupt local[] = {
		{MP_LOCAL_INTERRUPT, KIND_EXTINT, 0, BUS_ISA, 0, LAPIC_ALL, LINT_EXTINT},
		{MP_LOCAL_INTERRUPT, KIND_NMI, 0, BUS_ISA, 0, LAPIC_ALL, LINT_NMI}};

	table_put(w, buses, sizeof(buses));
	table_put(w, &ioapic, sizeof(ioapic));
	put_isa_lines(w);
	put_pci_lines(w);
	table_put(w, local, sizeof(local));
}

int guest_mp_table(struct load_target *t)
{
	struct table_writer w = {.t = t, .at = TABLES_MP, .end = TABLES_END};
	const struct mp_pointer p = {.signature = {'_', 'M', 'P', '_'},
				     .table = TABLES_MP + sizeof(p),
				     .length = sizeof(p) / 16, .revision = REVISION};
	const struct mp_header h = {
		.signature = {'P', 'C', 'M', 'P'},
		.length = (u16)(sizeof(h) + t->vcpus * sizeof(struct mp_processor) + BOARD_SIZE),
		.revision = REVISION, .oem = "DALANG  ", .product = "VM          ",
		.entries = (u16)(t->vcpus + BOARD_ENTRIES), .lapic = PLAT_LAPIC_BASE,
	};

	if (t->vcpus > TABLES_VCPUS)
		return -ENOSPC;
	table_begin(&w, 16);
	table_put(&w, &p, sizeof(p));
	table_end(&w, offsetof(struct mp_pointer, checksum));
	table_begin(&w, 1);
	table_put(&w, &h, sizeof(h));
	put_processors(&w);
	put_board(&w);
	table_end(&w, offsetof(struct mp_header, checksum));
	return w.err;
}
