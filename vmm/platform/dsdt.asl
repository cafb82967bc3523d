/* SPDX-License-Identifier: BSD-2-Clause */
/* The DSDT of the virtual PC (numbers: vmm/platform_map.h); the build compiles it to dsdt_aml.h. */
DefinitionBlock ("", "DSDT", 2, "DALANG", "DALANGVM", 1)
{
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
			})

			/* INTA..INTD of bus 0 to I/O APIC pins 16..23: PLAT_GSI_PCI. */
			Name (_PRT, Package () {
				Package () { 0x0000FFFF, 0, 0, 16 }, Package () { 0x0000FFFF, 1, 0, 17 },
				Package () { 0x0000FFFF, 2, 0, 18 }, Package () { 0x0000FFFF, 3, 0, 19 },
				Package () { 0x0001FFFF, 0, 0, 21 }, Package () { 0x0001FFFF, 1, 0, 22 },
				Package () { 0x0001FFFF, 2, 0, 23 }, Package () { 0x0001FFFF, 3, 0, 20 },
				Package () { 0x0002FFFF, 0, 0, 18 }, Package () { 0x0002FFFF, 1, 0, 19 },
				Package () { 0x0002FFFF, 2, 0, 16 }, Package () { 0x0002FFFF, 3, 0, 17 },
				Package () { 0x0003FFFF, 0, 0, 23 }, Package () { 0x0003FFFF, 1, 0, 20 },
				Package () { 0x0003FFFF, 2, 0, 21 }, Package () { 0x0003FFFF, 3, 0, 22 },
				Package () { 0x0004FFFF, 0, 0, 16 }, Package () { 0x0004FFFF, 1, 0, 17 },
				Package () { 0x0004FFFF, 2, 0, 18 }, Package () { 0x0004FFFF, 3, 0, 19 },
				Package () { 0x0005FFFF, 0, 0, 21 }, Package () { 0x0005FFFF, 1, 0, 22 },
				Package () { 0x0005FFFF, 2, 0, 23 }, Package () { 0x0005FFFF, 3, 0, 20 },
				Package () { 0x0006FFFF, 0, 0, 18 }, Package () { 0x0006FFFF, 1, 0, 19 },
				Package () { 0x0006FFFF, 2, 0, 16 }, Package () { 0x0006FFFF, 3, 0, 17 },
				Package () { 0x0007FFFF, 0, 0, 23 }, Package () { 0x0007FFFF, 1, 0, 20 },
				Package () { 0x0007FFFF, 2, 0, 21 }, Package () { 0x0007FFFF, 3, 0, 22 },
				Package () { 0x0008FFFF, 0, 0, 16 }, Package () { 0x0008FFFF, 1, 0, 17 },
				Package () { 0x0008FFFF, 2, 0, 18 }, Package () { 0x0008FFFF, 3, 0, 19 },
				Package () { 0x0009FFFF, 0, 0, 21 }, Package () { 0x0009FFFF, 1, 0, 22 },
				Package () { 0x0009FFFF, 2, 0, 23 }, Package () { 0x0009FFFF, 3, 0, 20 },
				Package () { 0x000AFFFF, 0, 0, 18 }, Package () { 0x000AFFFF, 1, 0, 19 },
				Package () { 0x000AFFFF, 2, 0, 16 }, Package () { 0x000AFFFF, 3, 0, 17 },
				Package () { 0x000BFFFF, 0, 0, 23 }, Package () { 0x000BFFFF, 1, 0, 20 },
				Package () { 0x000BFFFF, 2, 0, 21 }, Package () { 0x000BFFFF, 3, 0, 22 },
				Package () { 0x000CFFFF, 0, 0, 16 }, Package () { 0x000CFFFF, 1, 0, 17 },
				Package () { 0x000CFFFF, 2, 0, 18 }, Package () { 0x000CFFFF, 3, 0, 19 },
				Package () { 0x000DFFFF, 0, 0, 21 }, Package () { 0x000DFFFF, 1, 0, 22 },
				Package () { 0x000DFFFF, 2, 0, 23 }, Package () { 0x000DFFFF, 3, 0, 20 },
				Package () { 0x000EFFFF, 0, 0, 18 }, Package () { 0x000EFFFF, 1, 0, 19 },
				Package () { 0x000EFFFF, 2, 0, 16 }, Package () { 0x000EFFFF, 3, 0, 17 },
				Package () { 0x000FFFFF, 0, 0, 23 }, Package () { 0x000FFFFF, 1, 0, 20 },
				Package () { 0x000FFFFF, 2, 0, 21 }, Package () { 0x000FFFFF, 3, 0, 22 },
				Package () { 0x0010FFFF, 0, 0, 16 }, Package () { 0x0010FFFF, 1, 0, 17 },
				Package () { 0x0010FFFF, 2, 0, 18 }, Package () { 0x0010FFFF, 3, 0, 19 },
				Package () { 0x0011FFFF, 0, 0, 21 }, Package () { 0x0011FFFF, 1, 0, 22 },
				Package () { 0x0011FFFF, 2, 0, 23 }, Package () { 0x0011FFFF, 3, 0, 20 },
				Package () { 0x0012FFFF, 0, 0, 18 }, Package () { 0x0012FFFF, 1, 0, 19 },
				Package () { 0x0012FFFF, 2, 0, 16 }, Package () { 0x0012FFFF, 3, 0, 17 },
				Package () { 0x0013FFFF, 0, 0, 23 }, Package () { 0x0013FFFF, 1, 0, 20 },
				Package () { 0x0013FFFF, 2, 0, 21 }, Package () { 0x0013FFFF, 3, 0, 22 },
				Package () { 0x0014FFFF, 0, 0, 16 }, Package () { 0x0014FFFF, 1, 0, 17 },
				Package () { 0x0014FFFF, 2, 0, 18 }, Package () { 0x0014FFFF, 3, 0, 19 },
				Package () { 0x0015FFFF, 0, 0, 21 }, Package () { 0x0015FFFF, 1, 0, 22 },
				Package () { 0x0015FFFF, 2, 0, 23 }, Package () { 0x0015FFFF, 3, 0, 20 },
				Package () { 0x0016FFFF, 0, 0, 18 }, Package () { 0x0016FFFF, 1, 0, 19 },
				Package () { 0x0016FFFF, 2, 0, 16 }, Package () { 0x0016FFFF, 3, 0, 17 },
				Package () { 0x0017FFFF, 0, 0, 23 }, Package () { 0x0017FFFF, 1, 0, 20 },
				Package () { 0x0017FFFF, 2, 0, 21 }, Package () { 0x0017FFFF, 3, 0, 22 },
				Package () { 0x0018FFFF, 0, 0, 16 }, Package () { 0x0018FFFF, 1, 0, 17 },
				Package () { 0x0018FFFF, 2, 0, 18 }, Package () { 0x0018FFFF, 3, 0, 19 },
				Package () { 0x0019FFFF, 0, 0, 21 }, Package () { 0x0019FFFF, 1, 0, 22 },
				Package () { 0x0019FFFF, 2, 0, 23 }, Package () { 0x0019FFFF, 3, 0, 20 },
				Package () { 0x001AFFFF, 0, 0, 18 }, Package () { 0x001AFFFF, 1, 0, 19 },
				Package () { 0x001AFFFF, 2, 0, 16 }, Package () { 0x001AFFFF, 3, 0, 17 },
				Package () { 0x001BFFFF, 0, 0, 23 }, Package () { 0x001BFFFF, 1, 0, 20 },
				Package () { 0x001BFFFF, 2, 0, 21 }, Package () { 0x001BFFFF, 3, 0, 22 },
				Package () { 0x001CFFFF, 0, 0, 16 }, Package () { 0x001CFFFF, 1, 0, 17 },
				Package () { 0x001CFFFF, 2, 0, 18 }, Package () { 0x001CFFFF, 3, 0, 19 },
				Package () { 0x001DFFFF, 0, 0, 21 }, Package () { 0x001DFFFF, 1, 0, 22 },
				Package () { 0x001DFFFF, 2, 0, 23 }, Package () { 0x001DFFFF, 3, 0, 20 },
				Package () { 0x001EFFFF, 0, 0, 18 }, Package () { 0x001EFFFF, 1, 0, 19 },
				Package () { 0x001EFFFF, 2, 0, 16 }, Package () { 0x001EFFFF, 3, 0, 17 },
				Package () { 0x001FFFFF, 0, 0, 23 }, Package () { 0x001FFFFF, 1, 0, 20 },
				Package () { 0x001FFFFF, 2, 0, 21 }, Package () { 0x001FFFFF, 3, 0, 22 }
			})

			Device (LPC)
			{
				Name (_ADR, 0x001f0000)

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
						Memory32Fixed (ReadWrite, 0xe0000000, 0x10000000)
						Memory32Fixed (ReadWrite, 0xfec00000, 0x1000)
						Memory32Fixed (ReadWrite, 0xfee00000, 0x1000)
					})
				}
			}
		}
	}
}
