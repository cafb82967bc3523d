/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine for one device under test: a clock that moves when the test says so, timers, recorders
 * for whatever the device does to its VM, and dispatch by region, so that tests poke ports.
 */
#pragma once
#include "vmm/irq.h"
#include "vmm/lapic.h"
#include "vmm/platform/pci.h"
#include "vmm/regions.h"
#include "lib/string.h"
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>

#define FAKE_MAX_DEVS 40
#define FAKE_MAX_MSGS 64

/* The devices, for fake_attach(). */
extern const struct vdev_type acpi_pm_vdev, cpu_hotplug_vdev, debug_exit_vdev, debugcon_vdev, fw_cfg_vdev, hpet_vdev, i8042_vdev,
	ioapic_vdev, pci_vdev, pci_host_vdev, pci_hotplug_vdev, pci_lpc_vdev,
	pci_testdev_vdev, pic_vdev, pit_vdev, ports_vdev, rtc_vdev, uart_vdev;

struct fake_timer {
	bool armed;
	u64 deadline;
};

struct vm {
	u64 now;      /* vm_time_ns */
	u64 wall_off; /* vm_wallclock_ns - now */
	u64 memory;
	bool debug_exit, hpet;
	const char *fw_cfg;
	unsigned testdevs;
	u32 vcpus_wanted, vcpus_absent; /* of 3; those that are out, as bits */
	unsigned plugs;
	struct vm_irqchip chip;
	struct vdev devs[FAKE_MAX_DEVS];
	struct fake_timer timers[FAKE_MAX_DEVS][VDEV_MAX_TIMERS];
	unsigned nr_devs;
	struct region_table pio, mmio;
	struct vdev *pci_slots[PCI_SLOTS];
	u64 fired; /* timer callbacks so far */
	/* recorders */
	bool level[VM_NR_GSI];
	unsigned rises[VM_NR_GSI];
	bool pin_level[VM_NR_GSI];     /* ioapic_set(), if no I/O APIC is linked in */
	unsigned pin_rises[VM_NR_GSI];
	unsigned pic_changes, want_input, nr_ends, nr_msgs, nr_eois;
	enum vm_end end;
	u32 end_value;
	u8 last_eoi;
	struct apic_msg msgs[FAKE_MAX_MSGS];
	u16 pirqs; /* pic_set_pirqs(), if no PIC is linked in */
	unsigned nr_msis;
	u64 msi_addr;
	u32 msi_data;
	char console[256];
	size_t console_len;
};

struct vcpu {
	struct vm *vm;
	struct lapic lapic;
	struct fake_timer timer;
	unsigned kicks;
	u64 fired;
};

void fake_vm_init(struct vm *vm);
void fake_vm_free(struct vm *vm);
/* Create the device in the VM: init and reset, as the core does; of PCI functions pci_firmware() is not called. */
struct vdev *fake_attach(struct vm *vm, const struct vdev_type *type);
/* Move time; timers fire in order on the way. v may be NULL. */
void fake_advance(struct vm *vm, struct vcpu *v, u64 ns);
bool fake_timer_armed(struct vm *vm, const struct vdev_type *type, unsigned idx);

u32 pio_in(struct vm *vm, u16 port, unsigned size);
void pio_out(struct vm *vm, u16 port, unsigned size, u32 val);
u64 mmio_in(struct vm *vm, u64 gpa, unsigned size);
void mmio_out(struct vm *vm, u64 gpa, unsigned size, u64 val);
