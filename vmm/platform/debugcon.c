/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The debug console of Bochs and QEMU at port e9h (debugcon = 1 in the VM file): it reads e9h, and
 * what is written comes out on the VM's own console, byte by byte, beside COM1's, so that it costs
 * no other VM anything.
 */
#include "vmm/platform/isa.h"
#include "vmm/platform_map.h"

static u32 debugcon_read(struct vdev *d, u16 port, unsigned size)
{
	(void)d, (void)port, (void)size;
	return PLAT_DEBUGCON_PORT;
}

static void debugcon_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	u8 byte = (u8)val;

	(void)port, (void)size;
	vm_console_write(d->vm, &byte, 1);
}

static const struct vdev_pio debugcon_pio[] = {
	{PLAT_DEBUGCON_PORT, 1, debugcon_read, debugcon_write}};

/* clang-format off */
const struct vdev_type debugcon_vdev = {
	.name = "debugcon", .version = 1,
	.nr_pio = ARRAY_SIZE(debugcon_pio), .pio = debugcon_pio,
	.wanted = vm_debugcon_wanted,
};
/* clang-format on */
VDEV_REGISTER(debugcon_vdev);
