/* SPDX-License-Identifier: BSD-2-Clause */
/* Network cards that come and go while a VM runs, by xl's verbs. */
#include "drivers/hotplug.h"
#include "lib/string.h"
#include "vmm/config_parse.h"
#include "vmm/vm.h"

#define MAC_CHARS 18u

static void mac_text(const struct vm_vif *vif, char *text)
{
	const u8 *m = vif->mac;

	snprintf(text, MAC_CHARS, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
}

enum mon_status verb_network_attach(struct mon_call *c)
{
	struct vm *vm = c->vm;
	enum mon_status st = MON_FAILED;
	unsigned before, unit;
	char mac[MAC_CHARS];

	if (vm->preserved)
		return mon_fail(c, "it has ended");
	vm_devices_lock(vm);
	before = vm_vifs(vm);
	if (plug_read(c, config_add_vif, &vm->cfg)) {
		unit = (unsigned)__builtin_ctz(vm_vifs(vm) & ~before);
		mac_text(&vm->cfg.vifs[unit], mac);
		st = plug_in(c, &net_pci.vdev, unit, mac);
		if (st == MON_FAILED)
			vm->cfg.vifs[unit] = (struct vm_vif){0};
	}
	vm_devices_unlock(vm);
	return st;
}

/* By its index or its MAC; VM_MAX_VIFS: there is none. */
static u32 card_named(struct vm *vm, const char *word)
{
	char mac[MAC_CHARS], lower[MAC_CHARS];
	u64 index;
	u32 unit = 0;

	if (mon_number(word, VM_MAX_VIFS - 1, &index))
		return plug_find(vm, &net_pci.vdev, (u32)index) ? (u32)index : VM_MAX_VIFS;
	if (!str_copy(lower, word, sizeof(lower)))
		return VM_MAX_VIFS;
	for (char *s = lower; *s; s++)
		*s |= *s >= 'A' && *s <= 'F' ? 0x20 : 0;
	for (; unit < VM_MAX_VIFS; unit++) {
		mac_text(&vm->cfg.vifs[unit], mac);
		if (plug_find(vm, &net_pci.vdev, unit) && !strcmp(mac, lower))
			break;
	}
	return unit;
}

enum mon_status verb_network_detach(struct mon_call *c)
{
	struct vm *vm = c->vm;
	enum mon_status st;
	u32 unit = 0;

	vm_devices_lock(vm);
	if (!c->pos)
		unit = card_named(vm, c->argv[0]);
	st = unit < VM_MAX_VIFS ? plug_out(c, &net_pci.vdev, unit, net_tear)
				: mon_fail(c, "it has no card %.32s; `network-list` shows them", c->argv[0]);
	vm_devices_unlock(vm);
	return st;
}
