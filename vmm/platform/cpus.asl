/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SSDT of a VM with several vCPUs: processors that come and go by the registers of vmm/platform/cpu_hotplug.c. Each is a term
 * of its own at the top, in their order and behind all others: acpi_tables.c leaves out those that the VM does not have.
 */
#define EIGHT(R, t) R (t##0) R (t##1) R (t##2) R (t##3) R (t##4) R (t##5) R (t##6) R (t##7)
#define TENS(R, t) EIGHT (R, t) R (t##8) R (t##9) R (t##A) R (t##B) R (t##C) R (t##D) R (t##E) R (t##F)
#define IF_CPU(n) If (Arg0 == 0x##n) { Notify (C0##n, Arg1) }

/* _UID is the vCPU's number, as in the MADT; the first cannot go. */
#define CPU(n, more) Device (\_SB.CPUS.C0##n) { \
	Name (_HID, "ACPI0007") \
	Name (_UID, 0x##n) \
	Method (_STA, 0) { Return (CSTA (0x##n)) } \
	Method (_MAT, 0) { Return (CMAT (0x##n)) } \
	more \
}
#define HOT(n) CPU (n, Method (_EJ0, 1) { CEJ0 (0x##n) })

DefinitionBlock ("", "SSDT", 2, "DALANG", "DALANGCP", 1)
{
	Device (\_SB.CPUS)
	{
		Name (_HID, "ACPI0010")
		Mutex (ONE_, 0)
		OperationRegion (REGS, SystemIO, 0xcd8, 12)
		Field (REGS, DWordAcc, NoLock, WriteAsZeros) { CSEL, 32, Offset (8), CDAT, 32 }
		Field (REGS, ByteAcc, NoLock, WriteAsZeros) { Offset (4), CFLG, 8, CCMD, 8 }

		/* Bit 0 of CFLG: it is there. */
		Method (CSTA, 1, Serialized)
		{
			Acquire (ONE_, 0xffff)
			CSEL = Arg0
			Local0 = CFLG & 1
			Release (ONE_)
			Return (Local0 * 15)
		}

		/* Its entry in the MADT: enabled, or online capable. */
		Method (CMAT, 1, Serialized)
		{
			Local0 = Buffer (8) { 0, 8, 0, 0, 2, 0, 0, 0 }
			Local0[2] = Arg0
			Local0[3] = Arg0
			If (CSTA (Arg0)) { Local0[4] = 1 }
			Return (Local0)
		}

		Method (CEJ0, 1, Serialized)
		{
			Acquire (ONE_, 0xffff)
			CSEL = Arg0
			CFLG = 8
			Release (ONE_)
		}

		Method (TELL, 2, Serialized) { TENS (IF_CPU, 0) TENS (IF_CPU, 1) TENS (IF_CPU, 2) TENS (IF_CPU, 3) }

		/* Command 0 selects one with something to tell: bit 1, it has come, bit 2, it is to go; writing the bit says that it is told.
		 * In order: a guest numbers them as they come. */
		Method (SCAN, 0, Serialized)
		{
			Acquire (ONE_, 0xffff)
			CSEL = 0
			While (1)
			{
				CCMD = 0
				Local0 = CFLG & 6
				If (!Local0) { Break }
				CFLG = Local0
				If (Local0 & 2) { TELL (CDAT, 1) }
				If (Local0 & 4) { TELL (CDAT, 3) }
			}
			Release (ONE_)
		}
	}

	Method (\_GPE._E02, 0) { \_SB.CPUS.SCAN () }

	CPU (00, ) HOT (01) HOT (02) HOT (03) HOT (04) HOT (05) HOT (06) HOT (07)
	HOT (08) HOT (09) HOT (0A) HOT (0B) HOT (0C) HOT (0D) HOT (0E) HOT (0F)
	TENS (HOT, 1) TENS (HOT, 2) TENS (HOT, 3)
}
