/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The board of the virtual PC: every address, port, line and magic value that a device and the
 * tables describing it (ACPI, E820) must agree on. A q35 with its ICH9, at the places where
 * guests' drivers know them. Numbers only: safe for asm-free tools on the build machine too.
 */
#pragma once

/* Guest-physical memory. RAM ends below PLAT_PCI_MMIO_BASE (GUEST_LOW_RAM_MAX, loader.h). */
#define PLAT_PCI_MMIO_BASE 0xc0000000u /* 32-bit BARs: 512 MiB up to the ECAM */
#define PLAT_PCI_MMIO_SIZE 0x20000000u
/* 64-bit BARs that find no room there, and what the guest puts there: 16 GiB above all RAM, aligned to that. */
#define PLAT_PCI_MMIO64_SIZE 0x400000000ull
#define PLAT_PCI_MMIO64_BASE(ram_bytes)                                                            \
	(((ram_bytes) + (0x100000000ull - PLAT_PCI_MMIO_BASE) + PLAT_PCI_MMIO64_SIZE - 1) &        \
	 ~(PLAT_PCI_MMIO64_SIZE - 1))
#define PLAT_ECAM_BASE	   0xe0000000u /* 256 buses of configuration space, MCFG */
#define PLAT_ECAM_SIZE	   0x10000000u
/* virtio_transport = "mmio": where QEMU's microvm has them, each with a line behind the PC's own */
#define PLAT_VIRTIO_BASE   0xfeb00000u
#define PLAT_VIRTIO_SIZE   0x200u
#define PLAT_VIRTIO_MAX	   24u
#define PLAT_IOAPIC_BASE   0xfec00000u
#define PLAT_IOAPIC_SIZE   0x1000u
#define PLAT_IOAPIC_ID	   0u
#define PLAT_HPET_BASE	   0xfed00000u
#define PLAT_HPET_SIZE	   0x400u
#define PLAT_HPET_TICK_NS  70u /* about a real one's 14.318 MHz: drivers reckon margins in ticks */
#define PLAT_HPET_ID	   0x8086a201u /* Intel, legacy replacement, 64 bits, 3 timers, revision 1 */
#define PLAT_LAPIC_BASE	   0xfee00000u
#define PLAT_LAPIC_SIZE	   0x1000u

/* Global system interrupts. ISA IRQ n is GSI n; IRQ 0 arrives at I/O APIC pin 2 (MADT override). */
#define PLAT_GSI_PIT	    0u
#define PLAT_IOAPIC_PIN_PIT 2u
#define PLAT_GSI_KBD	    1u
#define PLAT_GSI_COM1	    4u
#define PLAT_GSI_RTC	    8u
#define PLAT_GSI_SCI	    9u /* level, active high (MADT override) */
#define PLAT_GSI_MOUSE	    12u
#define PLAT_GSI_PCI_FIRST  16u
#define PLAT_GSI_PCI_LAST   23u
#define PLAT_GSI_VIRTIO	    24u
/* PIRQ A..H of the LPC bridge are pins 16..23. INTA..INTD (pin 1..4) of device dev on bus 0, as the
 * DSDT's _PRT must say: the usual swizzle. */
#define PLAT_GSI_PCI(dev, pin)                                                                     \
	(PLAT_GSI_PCI_FIRST + (((dev) + (pin) - 1u) & 3u) + 4u * ((dev) & 1u))

/* Where PIRQs go on the PIC: lines that no ISA device here has. */
#define PLAT_PIRQ_IRQ(pirq) ((pirq) % 4u == 0 ? 5u : (pirq) % 4u == 1 ? 6u : (pirq) % 4u == 2 ? 14u : 15u)
#define PLAT_PIRQ_IRQS	    0xc060u /* their bits */

/* Ports of the ISA world. */
#define PLAT_PIC1_PORT	0x20u
#define PLAT_PIC2_PORT	0xa0u
#define PLAT_ELCR_PORT	0x4d0u
#define PLAT_PIT_PORT	0x40u
#define PLAT_PORTB_PORT 0x61u /* NMI status and control, speaker */
#define PLAT_RTC_PORT	0x70u
#define PLAT_I8042_DATA 0x60u
#define PLAT_I8042_CMD	0x64u
#define PLAT_POST_PORT	0x80u
#define PLAT_PORT92	0x92u
#define PLAT_COM1_PORT	0x3f8u
#define PLAT_PCI_HOTPLUG 0xcc0u /* up, down, eject: 4 bytes each; see pci_hotplug.c */
#define PLAT_CPU_HOTPLUG 0xcd8u /* 12 bytes; see cpu_hotplug.c */
#define PLAT_PCI_ADDR	0xcf8u
#define PLAT_PCI_DATA	0xcfcu

/* Reset control register (ICH9 datasheet 13.7.5); the FADT's RESET_REG and RESET_VALUE. */
#define PLAT_RESET_PORT	 0xcf9u
#define PLAT_RESET_VALUE 0x06u

/* debug_exit = 1: writing v here, at any width, ends the VM with value v. */
#define PLAT_DEBUG_EXIT_PORT 0xf4u

/* debugcon = 1 */
#define PLAT_DEBUGCON_PORT 0xe9u
/* QEMU's fw_cfg: selector and data, DMA address. */
#define PLAT_FW_CFG_PORT 0x510u
#define PLAT_FW_CFG_DMA	 0x514u

/* ACPI fixed hardware (ACPI 6.4, 4.8.3): one block of 128 ports. */
#define PLAT_PM_BASE	 0x600u
#define PLAT_PM_LEN	 0x80u
#define PLAT_PM1_EVT	 0x600u /* status, enable: 2 bytes each */
#define PLAT_PM1_EVT_LEN 4u
#define PLAT_PM1_CNT	 0x604u
#define PLAT_PM1_CNT_LEN 2u
#define PLAT_PM_TMR	 0x608u /* 3.579545 MHz, 24 bits (FADT TMR_VAL_EXT = 0) */
#define PLAT_PM_TMR_LEN	 4u
#define PLAT_GPE0	 0x620u /* 8 bytes status, 8 bytes enable */
#define PLAT_GPE0_LEN	 16u
#define PLAT_GPE_HOTPLUG 1u /* \_GPE._E01: slots have changed */
#define PLAT_GPE_CPUS	 2u /* \_GPE._E02: vCPUs have */
#define PLAT_SLP_TYP_S5	 5u /* _S5_ = { 5, 5, 0, 0 } */
/* There is no SMM, and ACPI mode is on from reset (SCI_EN = 1): the FADT may say SMI_CMD = 0. With
 * the port below the two values work as on hardware. */
#define PLAT_SMI_CMD	  0xb2u
#define PLAT_ACPI_ENABLE  0x02u
#define PLAT_ACPI_DISABLE 0x03u

/* PCI functions on bus 0 (device << 3 | function). */
#define PLAT_DEVFN_HOST 0x00u /* 8086:29c0, q35 host bridge */
#define PLAT_DEVFN_LPC	0xf8u /* 8086:2918, ICH9 LPC bridge, 00:1f.0 */
