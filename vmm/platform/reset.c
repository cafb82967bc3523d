/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is left of the keyboard controller and its neighbours: the two old ways to reset a PC, the
 * A20 gate and the POST port. (The reset control register 0xcf9 shares its dword with PCI's
 * address register, so it is in pci.c.)
 */
#include "vmm/vdev.h"
#include "vmm/platform_map.h"

#define I8042_PULSE_RESET 0xfeu
#define PORT92_FAST_RESET BIT(0)
#define PORT92_A20	  BIT(1)

struct reset {
	u8 port92, post;
};

/*
 * There is no keyboard controller: status and data float. Drivers know 0xff, and Linux gives up
 * after 16 bytes ("No controller found") because the output buffer does not drain.
 */
static u32 i8042_read(struct vdev *d, u16 port, unsigned size)
{
	(void)d, (void)port, (void)size;
	return ~0u;
}

/* But the pulse on its reset pin has been heard on every PC since the AT. */
static void i8042_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	(void)size;
	if (port == PLAT_I8042_CMD && (val & 0xff) == I8042_PULSE_RESET)
		vm_request_end(d->vm, VM_END_REBOOT, VM_RESET_REGISTER);
}

/* A20 is always open: no guest of today wants memory to wrap. */
static u32 port92_read(struct vdev *d, u16 port, unsigned size)
{
	(void)port, (void)size;
	return ((struct reset *)d->state)->port92 | PORT92_A20;
}

static void port92_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	struct reset *s = d->state;
	bool rises = (val & PORT92_FAST_RESET) && !(s->port92 & PORT92_FAST_RESET);

	(void)port, (void)size;
	s->port92 = val & 0xff;
	if (rises)
		vm_request_end(d->vm, VM_END_REBOOT, VM_RESET_REGISTER);
}

static u32 post_read(struct vdev *d, u16 port, unsigned size)
{
	(void)port, (void)size;
	return ((struct reset *)d->state)->post;
}

/* Kernels write here to pass a microsecond, so this is short. */
static void post_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	(void)port, (void)size;
	((struct reset *)d->state)->post = val & 0xff;
}

static void reset_reset(struct vdev *d)
{
	*(struct reset *)d->state = (struct reset){.port92 = PORT92_A20};
}

static const struct vdev_pio reset_pio[] = {
	{PLAT_I8042_DATA, 1, i8042_read, i8042_write},
	{PLAT_I8042_CMD, 1, i8042_read, i8042_write},
	{PLAT_PORT92, 1, port92_read, port92_write},
	{PLAT_POST_PORT, 1, post_read, post_write},
};

/* clang-format off */
const struct vdev_type reset_vdev = {
	.name = "reset", .version = 1, .state_size = sizeof(struct reset),
	.nr_pio = ARRAY_SIZE(reset_pio), .pio = reset_pio,
	.reset = reset_reset,
};
/* clang-format on */
VDEV_REGISTER(reset_vdev);
