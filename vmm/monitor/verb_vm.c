/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's life, by hand. */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/host.h"
#include "vmm/monitor/verbs.h"
#include "vmm/platform/isa.h"
#include "vmm/platform/pci.h"
#include "vmm/vm.h"

const char *mon_state(const struct vm *vm)
{
	if (vm->preserved)
		return vm->end == VM_END_KILLED ? "----c-" : "---s--";
	if (vm->ending)
		return "-----d";
	if (vm->run.state == VM_STOPPED)
		return vm->run.why & STOP_STAYS ? "--p---" : "------";
	if (vm->run.state == VM_STOPPING)
		return "------";
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (READ_ONCE(vm->vcpus[i]->state) == VCPU_RUNNING)
			return "r-----";
	return "-b----";
}

u64 mon_vm_ran(const struct vm *vm)
{
	u64 sum = 0;

	for (u32 i = 0; i < vm->nr_vcpus; i++)
		sum += vcpu_ran_ticks(vm->vcpus[i]);
	return sum;
}

u64 mon_vm_memory(struct vm *vm)
{
	struct balloon_info i = {0};

	vm_devices_lock(vm);
	if (vm->balloon.d)
		vm->balloon.ops->info(vm->balloon.d, &i);
	vm_devices_unlock(vm);
	return vm->ram_bytes - MIN((u64)i.actual * PAGE_SIZE, vm->ram_bytes);
}

#define LIST_COLS                                                                         \
	{"name", "Name", -40}, {"id", "ID", 5}, {"memory", "Mem", 5}, {"vcpus", "VCPUs", 5}, \
	{"state", "State", 10}, {"time", "Time(s)", 9}

void list_begin(struct mon_call *c)
{
	static const struct mon_col cols[] = {LIST_COLS};
	static const struct mon_col more[] = {
		LIST_COLS,
		{"vcpus_wanted", NULL, 0}, {"maxvcpus", NULL, 0}, {"uptime", NULL, 0}, {"cpu_weight", NULL, 0}, {"cap", NULL, 0}, {"dedicated", NULL, 0},
		{"channel", NULL, 0}, {"torture", NULL, 0}, {"trace", NULL, 0}, {"file", NULL, 0},
		{"kernel", NULL, 0}, {"ramdisk", NULL, 0}, {"cmdline", NULL, 0},
	};

	if (mon_opt(c, 'l'))
		MON_TABLE(c->out, "vms", more, MON_LINES);
	else
		MON_TABLE(c->out, "vms", cols, MON_COLUMNS);
}

enum mon_status verb_list(struct mon_call *c)
{
	struct vm *vm = c->vm;
	struct mon_out *o = c->out;

	mon_row(o);
	mon_str(o, vm->name);
	mon_u64(o, vm->id);
	mon_u64(o, mon_vm_memory(vm) >> 20);
	mon_u64(o, vm_vcpus_present(vm));
	mon_str(o, mon_state(vm));
	mon_seconds(o, tsc_to_ns(mon_vm_ran(vm)), 1);
	if (!mon_opt(c, 'l'))
		return MON_DONE;
	mon_u64(o, vm->cfg.vcpus);
	mon_u64(o, vm->nr_vcpus);
	mon_since(o, tsc_to_ns(rdtsc() - vm->t0_tsc) / 1000000000);
	mon_u64(o, vm->cfg.cpu_weight);
	mon_u64(o, vm->cfg.cap);
	mon_bool(o, vm->cfg.dedicated);
	mon_u64(o, vm->console.channel);
	mon_u64(o, vm->cfg.torture);
	mon_bool(o, vm->vcpus[0]->watch & WATCH_TRACE);
	mon_str(o, vm->cfg.file);
	mon_str(o, vm->cfg.kernel);
	mon_str(o, vm->cfg.ramdisk);
	mon_str(o, vm->cfg.cmdline);
	return MON_DONE;
}

enum mon_status verb_create(struct mon_call *c)
{
	struct vm *there;

	spin_lock(&vm_list_lock);
	there = mon_vm(c->name);
	spin_unlock(&vm_list_lock);
	if (there)
		return mon_fail(c, "there is a VM of that name");
	return host_create_vm(c->name, c->why, sizeof(c->why)) ? MON_FAILED : MON_DONE;
}

enum mon_status verb_destroy(struct mon_call *c)
{
	vm_request_end(c->vm, VM_END_DESTROY, 0);
	return MON_DONE;
}

static enum mon_status press(struct mon_call *c, bool reboot)
{
	if (c->vm->preserved)
		return mon_fail(c, "it has ended");
	spin_lock(&c->vm->dev_lock);
	c->vm->reboot_asked = reboot;
	acpi_power_button(c->vm);
	spin_unlock(&c->vm->dev_lock);
	return MON_DONE;
}

enum mon_status verb_shutdown(struct mon_call *c)
{
	return press(c, false);
}

/* There is no button by which a PC is asked to restart. */
enum mon_status verb_reboot(struct mon_call *c)
{
	return press(c, true);
}

enum mon_status verb_reset(struct mon_call *c)
{
	vm_request_end(c->vm, VM_END_RESET, 0);
	return MON_DONE;
}

enum mon_status verb_pause(struct mon_call *c)
{
	vm_stop(c->vm, STOP_PAUSE);
	return MON_DONE;
}

enum mon_status verb_unpause(struct mon_call *c)
{
	vm_unpause(c->vm);
	return MON_DONE;
}

/* Others may be printing the old name: it ends at all times. */
enum mon_status verb_rename(struct mon_call *c)
{
	const char *name = c->argv[0];
	char *places[] = {c->vm->name, c->vm->cfg.name};
	struct vm *other = mon_vm(name);

	if (!config_name_ok(name))
		return mon_fail(c, "write up to %u letters, digits, '.', '_' and '-'", VM_NAME_MAX - 1);
	if (other && !strcmp(other->name, name))
		return mon_fail(c, "there is a VM of that name");
	log_info("%s: its name is %s now", c->vm->name, name);
	console_event("vm-rename %s %s", c->vm->name, name);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		memset(places[i], 0, VM_NAME_MAX);
		memcpy(places[i], name, strlen(name));
	}
	return MON_DONE;
}

enum mon_status verb_trigger(struct mon_call *c)
{
	if (strcmp(c->argv[0], "nmi"))
		return mon_fail(c, "what to trigger: nmi");
	vm_nmi_pin(c->vm);
	return MON_DONE;
}

static enum mon_status send(struct mon_call *c, const char *(*fn)(struct vm *vm, const char *what))
{
	const char *wrong;

	spin_lock(&c->vm->dev_lock);
	wrong = fn(c->vm, c->argv[0]);
	spin_unlock(&c->vm->dev_lock);
	return wrong ? mon_fail(c, "%s", wrong) : MON_DONE;
}

enum mon_status verb_sendkey(struct mon_call *c)
{
	return send(c, i8042_sendkey);
}

enum mon_status verb_sendmouse(struct mon_call *c)
{
	return send(c, i8042_sendmouse);
}

enum mon_status verb_pci_attach(struct mon_call *c)
{
	static const struct mon_col cols[] = {{"slot", "Slot", 4}};
	unsigned slot;
	int err;

	if (strcmp(c->argv[0], "testdev"))
		return mon_fail(c, "what to plug in: testdev");
	spin_lock(&c->vm->dev_lock);
	err = pci_hotplug_add(c->vm, &pci_testdev_vdev, 100, &slot);
	spin_unlock(&c->vm->dev_lock);
	if (err)
		return mon_fail(c, "%s", err == -ENOSPC ? "no slot is free; pci-detach frees one"
							: "no memory of our own is left for it");
	MON_TABLE(c->out, "devices", cols, MON_COLUMNS);
	mon_row(c->out);
	mon_u64(c->out, slot);
	return MON_DONE;
}

enum mon_status verb_pci_detach(struct mon_call *c)
{
	u64 slot;
	int err = -ENODEV;

	if (mon_number(c->argv[0], PCI_SLOTS - 1, &slot)) {
		spin_lock(&c->vm->dev_lock);
		err = pci_hotplug_remove(c->vm, (unsigned)slot);
		spin_unlock(&c->vm->dev_lock);
	}
	return err == -ENODEV ? mon_fail(c, "nothing in slot %.32s that could be taken out", c->argv[0]) : MON_DONE;
}

static void say_region(void *arg, const char *space, u64 first, u64 last, const char *device)
{
	struct mon_out *o = arg;

	mon_row(o);
	mon_str(o, space);
	mon_strf(o, "%lx-%lx", (unsigned long)first, (unsigned long)last);
	mon_str(o, device);
}

enum mon_status verb_regions(struct mon_call *c)
{
	static const struct mon_col cols[] = {{"space", NULL, -6}, {"range", NULL, 17}, {"device", NULL, -16}};

	MON_TABLE(c->out, "regions", cols, MON_COLUMNS);
	spin_lock(&c->vm->dev_lock);
	vm_regions(c->vm, say_region, c->out);
	spin_unlock(&c->vm->dev_lock);
	return MON_DONE;
}

enum mon_status verb_console(struct mon_call *c)
{
	const char *which = mon_opt(c, 't') ?: "serial", *wrong;
	struct vm *vm = c->vm;
	const struct vm_console *con = strcmp(which, "serial") ? NULL : &vm->console;

	for (unsigned i = 0; !con && i < vm_nr_ports(vm); i++)
		if (!strcmp(which, vm_port_name(vm, i)))
			con = vm->port[i];
	if (!con)
		return mon_fail(c, "it has no console %.32s; pv_console = 1 or channel = [...] in its file gives more", which);
	wrong = c->out->console ? c->out->console(c->out, con->channel)
				: "not from here: this way to the monitor shows no consoles";
	return wrong ? mon_fail(c, "%s", wrong) : MON_DONE;
}

enum mon_status verb_console_size(struct mon_call *c)
{
	struct vm *vm = c->vm;
	u64 cols, rows;
	bool there;

	if (!mon_number(c->argv[0], 0xffff, &cols) || !mon_number(c->argv[1], 0xffff, &rows))
		return mon_fail(c, "columns and rows are numbers up to 65535");
	vm_devices_lock(vm);
	there = vm->port_device.d;
	if (there)
		vm->port_device.ops->resize(vm->port_device.d, (u16)cols, (u16)rows);
	vm_devices_unlock(vm);
	return there ? MON_DONE : mon_fail(c, "it has no paravirtual console; write pv_console = 1 in its file");
}

enum mon_status verb_mem_set(struct mon_call *c)
{
	struct vm *vm = c->vm;
	u64 mib, most = vm->ram_bytes >> 20;
	bool there;

	if (!mon_number(c->argv[0], 1ull << 40, &mib))
		return mon_fail(c, "%.32s is no number of MiB", c->argv[0]);
	if (mib > most || !mib)
		return mon_fail(c, "it may have 1 to %lu MiB; a higher maxmem in its file lets it have more", (unsigned long)most);
	spin_lock(&vm->dev_lock);
	there = vm->balloon.d;
	if (there)
		vm->balloon.ops->set(vm->balloon.d, (u32)((most - mib) << 8));
	spin_unlock(&vm->dev_lock);
	return there || mib == most ? MON_DONE
				    : mon_fail(c, "it has no balloon device; write balloon = 1 in its file");
}

enum mon_status verb_torture(struct mon_call *c)
{
	u64 seed = 0;

	if (c->vm->preserved)
		return mon_fail(c, "it has ended");
	if (strcmp(c->argv[0], "off") && (!mon_number(c->argv[0], INT64_MAX, &seed) || !seed))
		return mon_fail(c, "%.32s is no seed: a number from 1, or off", c->argv[0]);
	WRITE_ONCE(c->vm->cfg.torture, seed);
	vm_stop(c->vm, STOP_TUNE);
	return MON_DONE;
}
