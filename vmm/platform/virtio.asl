/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SSDT of a VM whose virtio devices are on MMIO: LNRO0005 is what Linux' and QEMU's tables call one. Each is a term of its own,
 * in the order of PLAT_VIRTIO_BASE and PLAT_GSI_VIRTIO: acpi_tables.c leaves out those that the VM does not have.
 */
#define DEV(n, at, gsi) Device (\_SB.VR##n) { \
	Name (_HID, "LNRO0005") \
	Name (_UID, 0x##n) \
	Name (_CRS, ResourceTemplate () { \
		Memory32Fixed (ReadWrite, 0xfeb0##at, 0x200) \
		Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { gsi } \
	}) \
}

DefinitionBlock ("", "SSDT", 2, "DALANG", "DALANGVR", 1)
{
	DEV (00, 0000, 24) DEV (01, 0200, 25) DEV (02, 0400, 26) DEV (03, 0600, 27)
	DEV (04, 0800, 28) DEV (05, 0a00, 29) DEV (06, 0c00, 30) DEV (07, 0e00, 31)
	DEV (08, 1000, 32) DEV (09, 1200, 33) DEV (0A, 1400, 34) DEV (0B, 1600, 35)
	DEV (0C, 1800, 36) DEV (0D, 1a00, 37) DEV (0E, 1c00, 38) DEV (0F, 1e00, 39)
	DEV (10, 2000, 40) DEV (11, 2200, 41) DEV (12, 2400, 42) DEV (13, 2600, 43)
	DEV (14, 2800, 44) DEV (15, 2a00, 45) DEV (16, 2c00, 46) DEV (17, 2e00, 47)
}
