/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tables in the guest's ROM area share: ACPI's (acpi_tables.c) and the MP table
 * (mp_table.c). They describe one board: its numbers are platform_map.h's, its lines those below,
 * and the id of a local APIC is its vCPU's number (vmm/vcpu.c).
 */
#pragma once
#include "lib/errno.h"
#include "vmm/loader.h"
#include "vmm/platform_map.h"

#define TABLES_ACPI  0xe0000u
#define TABLES_MP    0xf0000u /* MP 1.4, chapter 4: where a guest looks for it */
#define TABLES_END   0x100000u
#define TABLES_VCPUS 255u /* ids of 8 bits; 255 is broadcast */

/* The ISA lines that do not arrive edge-triggered, active high, at the I/O APIC pin of their own
 * number. Flags as in both specifications: polarity in 1:0, trigger mode in 3:2. */
struct isa_override {
	u8 irq, pin;
	u16 flags;
};
#define INTI_HIGH_LEVEL 0x000d
static const struct isa_override isa_overrides[] = {
	{PLAT_GSI_PIT, PLAT_IOAPIC_PIN_PIT, 0},
	{PLAT_GSI_SCI, PLAT_GSI_SCI, INTI_HIGH_LEVEL},
};
#define LINT_EXTINT 0 /* of every local APIC */
#define LINT_NMI    1
#define LAPIC_ALL   0xff

/* Tables are laid down one after another; each is streamed, and its checksum set at its end. */
struct table_writer {
	struct load_target *t;
	gpa_t table, at, end;
	u8 sum;
	int err;
};

static inline void table_put(struct table_writer *w, const void *data, size_t n)
{
	const u8 *p = data;

	if (!w->err && n > w->end - w->at)
		w->err = -ENOSPC;
	if (!w->err)
		w->err = w->t->write(w->t, w->at, data, n);
	if (w->err)
		return;
	for (size_t i = 0; i < n; i++)
		w->sum += p[i];
	w->at += n;
}

static inline void table_begin(struct table_writer *w, u32 align)
{
	w->at = w->table = ALIGN_UP(w->at, (gpa_t)align);
	w->sum = 0;
}

static inline void table_end(struct table_writer *w, size_t checksum_at)
{
	u8 sum = (u8)-w->sum;

	if (!w->err)
		w->err = w->t->write(w->t, w->table + checksum_at, &sum, 1);
}
