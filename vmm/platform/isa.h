/* SPDX-License-Identifier: BSD-2-Clause */
/* What the platform's devices share: byte-wide ports under wider accesses, and clocks as data. */
#pragma once
#include "vmm/vdev.h"

/* The devices, by the names under which vm_vdev() finds them. */
extern const struct vdev_type acpi_pm_vdev, cpu_hotplug_vdev, debug_exit_vdev, debugcon_vdev, fw_cfg_vdev, hpet_vdev, i8042_vdev,
	ioapic_vdev, pci_vdev, pci_host_vdev, pci_hotplug_vdev, pci_lpc_vdev, pci_testdev_vdev,
	pic_vdev, pit_vdev, ports_vdev, rtc_vdev, uart_vdev;

/* In acpi_pm.c: general-purpose event n has happened. false: the guest has not enabled events, it has no driver for ACPI
 * or has not come so far. */
bool acpi_gpe(struct vm *vm, unsigned n);

/* The lines of PIT and RTC pass through the HPET (hpet.c), which may take their places. */
void isa_clock_irq(struct vm *vm, unsigned gsi, bool level);

#define NS_PER_SEC 1000000000ull

/*
 * A guest can program a periodic source faster than anyone could serve it. Periods below this are
 * realigned: the source fires at the next multiple of its period that is at least this far away. A device's timer fires
 * whether its VM runs or not, in whosever time: five of them take 2 or 3 per cent of a CPU at the most. (The local APIC's
 * has a bound of its own.)
 */
#define MIN_PERIOD_NS 100000ull

/* The ISA bus turns an access wider than the device into byte cycles, lowest address first. */
static inline u32 isa_read_bytes(struct vdev *d, u16 port, unsigned size,
				 u8 (*rd)(struct vdev *d, u16 port))
{
	u32 v = 0;

	for (unsigned i = 0; i < size; i++)
		v |= (u32)rd(d, (u16)(port + i)) << (8 * i);
	return v;
}

static inline void isa_write_bytes(struct vdev *d, u16 port, unsigned size, u32 val,
				   void (*wr)(struct vdev *d, u16 port, u8 val))
{
	for (unsigned i = 0; i < size; i++)
		wr(d, (u16)(port + i), (u8)(val >> (8 * i)));
}

/*
 * A clock of hz (below 1 GHz) that started with the VM. Exact: no drift, no 128-bit division.
 * ns_to_ticks(ticks_to_ns(t)) == t, so a timer set for tick t sees tick t.
 */
static inline u64 ns_to_ticks(u64 ns, u32 hz)
{
	return ns / NS_PER_SEC * hz + ns % NS_PER_SEC * hz / NS_PER_SEC;
}

static inline u64 ticks_to_ns(u64 t, u32 hz)
{
	return t / hz * NS_PER_SEC + (t % hz * NS_PER_SEC + hz - 1) / hz;
}
