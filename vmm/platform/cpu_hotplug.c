/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hotplug of vCPUs by ACPI, with QEMU's registers (docs/specs/acpi_cpu_hotplug.txt there; not its older bitmap), at
 * PLAT_CPU_HOTPLUG. GPE 2 says that something has changed, and cpus.asl's \_GPE._E02 asks what.
 *
 *   00h  write, 4 bytes: selects a vCPU
 *   04h  read: the selected one is there (bit 0), has come (1), is to go (2)
 *        write: the guest knows that it has come (1), is to go (2); eject (3)
 *   05h  write: command; 0 selects the next one that has come or is to go, 3 asks for an APIC id
 *   08h  read, 4 bytes: the selected vCPU, or what the command asked for
 *
 * How many there are to be is the VM's cfg.vcpus. The first so many are plugged in at once; the others go when the guest
 * ejects them, or with a restart.
 */
#include "vmm/config.h"
#include "vmm/platform/isa.h"
#include "vmm/platform_map.h"

enum { REG_SELECT = 0, REG_FLAGS = 4, REG_COMMAND = 5, REG_DATA = 8, REG_END = 12 };
enum { PRESENT = 1, HAS_COME = 2, IS_TO_GO = 4, EJECT = 8 };
enum { CMD_NEXT = 0, CMD_APIC_ID = 3 };

struct cpu_hotplug {
	u64 come, going; /* bit n: the guest has still to be told that vCPU n has come, is to go */
	u32 selector;
	u8 command, pad[3];
};
static_assert(VM_MAX_VCPUS <= 64, "bits");

static struct vdev *find(struct vm *vm)
{
	return vm_vdev(vm, &cpu_hotplug_vdev);
}

static void tell(struct vm *vm, u64 *events, u32 i)
{
	*events |= 1ull << i;
	acpi_gpe(vm, PLAT_GPE_CPUS);
}

/* What is to stay cannot be thrown out: the guest, which gave it up, is told that it has come. The first stays always. */
static void eject(struct vdev *d, u32 i)
{
	struct cpu_hotplug *s = d->state;

	if (!i || !vm_vcpu_present(d->vm, i))
		return;
	if (i < vm_vcpus_wanted(d->vm)) {
		tell(d->vm, &s->come, i);
		return;
	}
	s->come &= ~(1ull << i);
	s->going &= ~(1ull << i);
	vm_vcpu_plug(d->vm, i, false);
}

/* From the selected one on; none: nothing changes. */
static void select_next(struct cpu_hotplug *s, u32 count)
{
	for (u32 n = 0, i = MIN(s->selector, count - 1); n < count; n++) {
		u32 next = (i + n) % count;

		if ((s->come | s->going) >> next & 1) {
			s->selector = next;
			return;
		}
	}
}

static u32 cpus_read(struct vdev *d, u16 port, unsigned size)
{
	const struct cpu_hotplug *s = d->state;
	u32 i = s->selector, reg = port - PLAT_CPU_HOTPLUG;

	if (i >= vm_vcpu_count(d->vm))
		return 0;
	if (reg == REG_FLAGS && size == 1)
		return (vm_vcpu_present(d->vm, i) ? PRESENT : 0u) | (s->come >> i & 1 ? HAS_COME : 0u) |
		       (s->going >> i & 1 ? IS_TO_GO : 0u);
	if (reg == REG_DATA && size == 4 && (s->command == CMD_NEXT || s->command == CMD_APIC_ID))
		return i; /* they are one */
	return 0;
}

static void write_flags(struct vdev *d, u32 val)
{
	struct cpu_hotplug *s = d->state;

	if (s->selector >= vm_vcpu_count(d->vm))
		return;
	if (val & HAS_COME)
		s->come &= ~(1ull << s->selector);
	if (val & IS_TO_GO)
		s->going &= ~(1ull << s->selector);
	if (val & EJECT)
		eject(d, s->selector);
}

static void cpus_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	struct cpu_hotplug *s = d->state;
	u32 reg = port - PLAT_CPU_HOTPLUG;

	if (reg == REG_SELECT && size == 4)
		s->selector = val;
	else if (reg == REG_FLAGS && size == 1)
		write_flags(d, val);
	else if (reg == REG_COMMAND && size == 1)
		s->command = (u8)val;
	if (reg == REG_COMMAND && size == 1 && val == CMD_NEXT)
		select_next(s, vm_vcpu_count(d->vm));
}

void cpu_hotplug_update(struct vm *vm)
{
	struct cpu_hotplug *s = find(vm)->state;

	for (u32 i = 1; i < vm_vcpu_count(vm); i++) {
		bool wanted = i < vm_vcpus_wanted(vm);

		if (wanted)
			s->going &= ~(1ull << i);
		if (wanted == vm_vcpu_present(vm, i))
			continue;
		if (wanted)
			vm_vcpu_plug(vm, i, true);
		tell(vm, wanted ? &s->come : &s->going, i);
	}
}

void cpu_hotplug_begin(struct vm *vm)
{
	struct cpu_hotplug *s = find(vm)->state;

	*s = (struct cpu_hotplug){};
	for (u32 i = 1; i < vm_vcpu_count(vm); i++)
		vm_vcpu_plug(vm, i, i < vm_vcpus_wanted(vm));
}

/* The monitor may have spoken since cpu_hotplug_begin(): events stay. */
static void cpus_reset(struct vdev *d)
{
	struct cpu_hotplug *s = d->state;

	s->selector = s->command = 0;
}

/* The first neither comes nor goes. */
static bool cpus_valid(const void *state)
{
	const struct cpu_hotplug *s = state;

	return !((s->come | s->going) & 1);
}

static const struct vdev_pio cpus_pio[] = {{PLAT_CPU_HOTPLUG, REG_END, cpus_read, cpus_write}};

/* clang-format off */
const struct vdev_type cpu_hotplug_vdev = {
	.name = "cpu_hotplug", .version = 1, .state_size = sizeof(struct cpu_hotplug),
	.nr_pio = ARRAY_SIZE(cpus_pio), .pio = cpus_pio,
	.reset = cpus_reset, .valid = cpus_valid,
};
/* clang-format on */
VDEV_REGISTER(cpu_hotplug_vdev);
