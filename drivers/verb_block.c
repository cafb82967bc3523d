/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor's verb that makes a disk larger or smaller. */
#include "drivers/block.h"
#include "drivers/hotplug.h"
#include "lib/string.h"
#include "vmm/monitor/verbs.h"
#include "vmm/vm.h"

/* The disk of that name; NULL: there is none. */
static struct vdev *find(struct vm *vm, const char *vdev)
{
	for (u32 unit = 0; unit < VM_MAX_DISKS; unit++)
		if (!strcmp(vm->cfg.disks[unit].vdev, vdev))
			return plug_disk(vm, unit);
	return NULL;
}

/* Bytes, or with K, M, G so many of these. */
static bool size_of(const char *s, u64 *size)
{
	static const char units[] = "KMG";
	size_t n = strlen(s);
	const char *unit = n && n < 24 ? strchr(units, s[n - 1]) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	char number[24];

	str_copy(number, s, unit ? n : sizeof(number));
	if (!mon_number(number, (1ull << 53) >> shift, size))
		return false;
	*size <<= shift;
	return true;
}

enum mon_status verb_block_resize(struct mon_call *c)
{
	char why[120];
	struct vdev *d;
	u64 size;
	int err = 0;

	if (c->vm->preserved)
		return mon_fail(c, "it has ended");
	if (!size_of(c->argv[1], &size))
		return mon_fail(c, "%.32s is no size: bytes, or a number with K, M or G behind it", c->argv[1]);
	vm_devices_lock(c->vm);
	d = find(c->vm, c->argv[0]);
	if (d)
		err = blk_resize(d, size, why, sizeof(why));
	vm_devices_unlock(c->vm);
	if (!d)
		return mon_fail(c, "it has no disk %.32s", c->argv[0]);
	return err ? mon_fail(c, "%s: %s", c->argv[0], why) : MON_DONE;
}
