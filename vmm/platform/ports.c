/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Single ports that belong to no larger device: port 92h with the second A20 gate and a reset bit
 * (ICH9 datasheet 13.7.3), and the POST code at 80h. (The reset control register 0xcf9 shares its
 * dword with PCI's address register, so it is in pci.c; port 61h with channel 2 of the timer in
 * pit.c.)
 */
#include "vmm/platform/isa.h"
#include "vmm/platform_map.h"

#define PORT92_RESET BIT(0)
#define PORT92_A20   BIT(1)

struct ports {
	u8 port92, post;
};

/* A20 is always open: no guest of today wants memory to wrap. */
static u32 port92_read(struct vdev *d, u16 port, unsigned size)
{
	(void)port, (void)size;
	return ((struct ports *)d->state)->port92 | PORT92_A20;
}

static void port92_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	struct ports *s = d->state;
	bool rises = (val & PORT92_RESET) && !(s->port92 & PORT92_RESET);

	(void)port, (void)size;
	s->port92 = val & 0xff;
	if (rises)
		vm_request_end(d->vm, VM_END_REBOOT, RESET_BY_PORT92);
}

static u32 post_read(struct vdev *d, u16 port, unsigned size)
{
	(void)port, (void)size;
	return ((struct ports *)d->state)->post;
}

/* Kernels write here to pass a microsecond, so this is short. */
static void post_write(struct vdev *d, u16 port, unsigned size, u32 val)
{
	(void)port, (void)size;
	((struct ports *)d->state)->post = val & 0xff;
}

static void ports_reset(struct vdev *d)
{
	*(struct ports *)d->state = (struct ports){.port92 = PORT92_A20};
}

static const struct vdev_pio ports_pio[] = {
	{PLAT_PORT92, 1, port92_read, port92_write},
	{PLAT_POST_PORT, 1, post_read, post_write},
};

/* clang-format off */
const struct vdev_type ports_vdev = {
	.name = "ports", .version = 1, .state_size = sizeof(struct ports),
	.nr_pio = ARRAY_SIZE(ports_pio), .pio = ports_pio,
	.reset = ports_reset,
};
/* clang-format on */
VDEV_REGISTER(ports_vdev);
