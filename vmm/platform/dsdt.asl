/* SPDX-License-Identifier: BSD-2-Clause */
/* The DSDT of the virtual PC (numbers: vmm/platform_map.h); the build compiles it, behind C's preprocessor, to dsdt_aml.h. */

/* A line of _PRT: APIC or PIC (adr, pin, PIRQ). All devices of bus 0: INTA of device n is PIRQ n & 3, of the upper four if n is odd. */
#define GSI_A 16
#define GSI_B 17
#define GSI_C 18
#define GSI_D 19
#define GSI_E 20
#define GSI_F 21
#define GSI_G 22
#define GSI_H 23
#define APIC(adr, pin, x) Package () { adr, pin, 0, GSI_##x }
#define PIC(adr, pin, x) Package () { adr, pin, ^LPC.LNK##x, 0 }
#define PINS(R, adr, a, b, c, d) R (adr, 0, a), R (adr, 1, b), R (adr, 2, c), R (adr, 3, d)
#define FOUR(R, k, l, m, n) PINS (R, 0x##k##FFFF, A, B, C, D), PINS (R, 0x##l##FFFF, F, G, H, E), \
	PINS (R, 0x##m##FFFF, C, D, A, B), PINS (R, 0x##n##FFFF, H, E, F, G)
#define DEVICES(R) FOUR (R, 00, 01, 02, 03), FOUR (R, 04, 05, 06, 07), FOUR (R, 08, 09, 0A, 0B), FOUR (R, 0C, 0D, 0E, 0F), \
	FOUR (R, 10, 11, 12, 13), FOUR (R, 14, 15, 16, 17), FOUR (R, 18, 19, 1A, 1B), FOUR (R, 1C, 1D, 1E, 1F)

/* Where a PIRQ goes on the PIC: bit 7 nowhere. Lines that no ISA device has. */
#define LINK(x, uid) Device (LNK##x) { \
	Name (_HID, EisaId ("PNP0C0F")) \
	Name (_UID, uid) \
	Name (_PRS, ResourceTemplate () { IRQ (Level, ActiveLow, Shared) { 5, 6, 14, 15 } }) \
	Name (CRS, ResourceTemplate () { IRQ (Level, ActiveLow, Shared) { 5 } }) \
	Method (_STA, 0) { If (PRQ##x & 0x80) { Return (9) } Return (11) } \
	Method (_DIS, 0) { PRQ##x |= 0x80 } \
	Method (_CRS, 0, Serialized) { \
		CreateWordField (CRS, 1, IRQS) \
		IRQS = 0 \
		If (!(PRQ##x & 0x80)) { IRQS = 1 << (PRQ##x & 15) } \
		Return (CRS) \
	} \
	Method (_SRS, 1, Serialized) { \
		CreateWordField (Arg0, 1, IRQS) \
		FindSetRightBit (IRQS, Local0) \
		If (Local0) { PRQ##x = Local0 - 1 } \
	} \
}

/* A slot in which devices come and go; what has changed in it. */
#define SLOT(n) Device (S##n) { \
	Name (_ADR, 0x##n##0000) \
	Name (_SUN, 0x##n) \
	Method (_EJ0, 1) { PCIE = (1 << 0x##n) } \
}
#define CHANGE(n) If (Local0 & (1 << 0x##n)) { Notify (S##n, 1) } If (Local1 & (1 << 0x##n)) { Notify (S##n, 3) }

DefinitionBlock ("", "DSDT", 2, "DALANG", "DALANGVM", 1)
{
	/* How interrupts arrive: 0 by the PIC, 1 by the I/O APIC (ACPI 6.4, 5.8.1). */
	Name (PICF, 0)
	Method (\_PIC, 1) { PICF = Arg0 }

	Scope (\_GPE)
	{
		Method (_E01, 0) { \_SB.PCI0.TELL () }
	}

	/* Soft-off: SLP_TYP 5 in PM1a_CNT. */
	Name (\_S5, Package () { 5, 5, 0, 0 })

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08"))
			Name (_CID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_BBN, 0)
			Name (_CRS, ResourceTemplate () {
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0xff, 0, 0x100)
				IO (Decode16, 0xcf8, 0xcf8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0, 0xcf7, 0, 0xcf8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0xd00, 0xffff, 0, 0xf300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, 0xc0000000, 0xdfffffff, 0, 0x20000000)
				/* acpi_tables.c puts the VM's own in the place of 1 << 62. */
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
					0, 0x4000000000000000, 0x40000003ffffffff, 0, 0x400000000)
			})

			/* vmm/platform/pci_hotplug.c: bits of slots whose devices have come, are to go, are let go. */
			OperationRegion (HPCR, SystemIO, 0xcc0, 16)
			Field (HPCR, DWordAcc, NoLock, WriteAsZeros) { PCIU, 32, PCID, 32, PCIE, 32 }

			SLOT (03) SLOT (04) SLOT (05) SLOT (06) SLOT (07) SLOT (08) SLOT (09)
			SLOT (0A) SLOT (0B) SLOT (0C) SLOT (0D) SLOT (0E) SLOT (0F) SLOT (10)
			SLOT (11) SLOT (12) SLOT (13) SLOT (14) SLOT (15) SLOT (16) SLOT (17)
			SLOT (18) SLOT (19) SLOT (1A) SLOT (1B) SLOT (1C) SLOT (1D) SLOT (1E)

			Method (TELL, 0, Serialized)
			{
				Local0 = PCIU
				Local1 = PCID
				CHANGE (03) CHANGE (04) CHANGE (05) CHANGE (06) CHANGE (07) CHANGE (08) CHANGE (09)
				CHANGE (0A) CHANGE (0B) CHANGE (0C) CHANGE (0D) CHANGE (0E) CHANGE (0F) CHANGE (10)
				CHANGE (11) CHANGE (12) CHANGE (13) CHANGE (14) CHANGE (15) CHANGE (16) CHANGE (17)
				CHANGE (18) CHANGE (19) CHANGE (1A) CHANGE (1B) CHANGE (1C) CHANGE (1D) CHANGE (1E)
			}

			/* INTA..INTD: to I/O APIC pins 16..23 (PLAT_GSI_PCI), or by the LPC bridge's routes to the PIC. */
			Method (_PRT, 0, Serialized)
			{
				If (PICF) { Return (Package () { DEVICES (APIC) }) }
				Return (Package () { DEVICES (PIC) })
			}

			Device (LPC)
			{
				Name (_ADR, 0x001f0000)
				OperationRegion (ROUT, PCI_Config, 0x60, 12)
				Field (ROUT, ByteAcc, NoLock, Preserve)
				{
					PRQA, 8, PRQB, 8, PRQC, 8, PRQD, 8, Offset (8), PRQE, 8, PRQF, 8, PRQG, 8, PRQH, 8
				}
				LINK (A, 1) LINK (B, 2) LINK (C, 3) LINK (D, 4) LINK (E, 5) LINK (F, 6) LINK (G, 7) LINK (H, 8)

				Device (COM1)
				{
					Name (_HID, EisaId ("PNP0501"))
					Name (_UID, 1)
					Name (_CRS, ResourceTemplate () {
						IO (Decode16, 0x3f8, 0x3f8, 1, 8)
						IRQNoFlags () { 4 }
					})
				}

				Device (KBD)
				{
					Name (_HID, EisaId ("PNP0303"))
					Name (_CRS, ResourceTemplate () {
						IO (Decode16, 0x60, 0x60, 1, 1)
						IO (Decode16, 0x64, 0x64, 1, 1)
						IRQNoFlags () { 1 }
					})
				}

				Device (MOU)
				{
					Name (_HID, EisaId ("PNP0F13"))
					Name (_CRS, ResourceTemplate () {
						IRQNoFlags () { 12 }
					})
				}

				Device (RTC)
				{
					Name (_HID, EisaId ("PNP0B00"))
					Name (_CRS, ResourceTemplate () {
						IO (Decode16, 0x70, 0x70, 1, 2)
						IRQNoFlags () { 8 }
					})
				}

				Device (TIMR)
				{
					Name (_HID, EisaId ("PNP0100"))
					Name (_CRS, ResourceTemplate () {
						IO (Decode16, 0x40, 0x40, 1, 4)
						IRQNoFlags () { 0 }
					})
				}

				Device (PIC)
				{
					Name (_HID, EisaId ("PNP0000"))
					Name (_CRS, ResourceTemplate () {
						IO (Decode16, 0x20, 0x20, 1, 2)
						IO (Decode16, 0xa0, 0xa0, 1, 2)
						IO (Decode16, 0x4d0, 0x4d0, 1, 2)
						IRQNoFlags () { 2 }
					})
				}

				Device (FWCF)
				{
					Name (_HID, "QEMU0002")
					Name (_STA, 0x0b)
					Name (_CRS, ResourceTemplate () {
						IO (Decode16, 0x510, 0x510, 1, 12)
					})
				}

				/* Where there is none (hpet = 0) nobody answers. */
				Device (HPET)
				{
					Name (_HID, EisaId ("PNP0103"))
					OperationRegion (REGS, SystemMemory, 0xfed00000, 4)
					Field (REGS, DWordAcc, NoLock, Preserve) { CAPS, 32 }
					Method (_STA, 0, NotSerialized)
					{
						If (CAPS == 0xffffffff) { Return (0) }
						Return (0x0f)
					}
					Name (_CRS, ResourceTemplate () {
						Memory32Fixed (ReadOnly, 0xfed00000, 0x400)
					})
				}

				/* What no other device may be put over. */
				Device (MBRD)
				{
					Name (_HID, EisaId ("PNP0C02"))
					Name (_CRS, ResourceTemplate () {
						IO (Decode16, 0x61, 0x61, 1, 1)
						IO (Decode16, 0x80, 0x80, 1, 1)
						IO (Decode16, 0x92, 0x92, 1, 1)
						IO (Decode16, 0xb2, 0xb2, 1, 2)
						IO (Decode16, 0x600, 0x600, 1, 0x80)
						IO (Decode16, 0xcc0, 0xcc0, 1, 16)
						IO (Decode16, 0xcd8, 0xcd8, 1, 12)
						Memory32Fixed (ReadWrite, 0xe0000000, 0x10000000)
						Memory32Fixed (ReadWrite, 0xfec00000, 0x1000)
						Memory32Fixed (ReadWrite, 0xfee00000, 0x1000)
					})
				}
			}
		}
	}
}
