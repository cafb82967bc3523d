/* SPDX-License-Identifier: BSD-2-Clause */
/* The debug exit port (debug_exit = 1 in the VM file): writing v, at any width, ends the VM. */
#include "vmm/vdev.h"
#include "vmm/platform_map.h"

static u32 debug_exit_read(struct vdev *d, u16 port, unsigned size)
{
	(void)d, (void)port, (void)size;
	return ~0u;
}

/* The region has four ports so that a dword fits; only the first one means anything. */
static void debug_exit_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	if (port != PLAT_DEBUG_EXIT_PORT)
		return;
	if (size < 4)
		val &= (1u << 8 * size) - 1;
	vm_request_end(d->vm, VM_END_DEBUG_EXIT, val);
}

static const struct vdev_pio debug_exit_pio[] = {
	{PLAT_DEBUG_EXIT_PORT, 4, debug_exit_read, debug_exit_write}};

/* clang-format off */
const struct vdev_type debug_exit_vdev = {
	.name = "debug_exit", .version = 1,
	.nr_pio = ARRAY_SIZE(debug_exit_pio), .pio = debug_exit_pio,
	.wanted = vm_debug_exit_wanted,
};
/* clang-format on */
VDEV_REGISTER(debug_exit_vdev);
