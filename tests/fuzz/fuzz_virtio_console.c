/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/console.c */
/* The console and its ports, with a host's port that is busy, and somebody who types and changes the window's size. */
#include "tests/fuzz/virtio_driver.h"

static void choose(void)
{
	vm.nr_ports = 1 + take(1) % 3;
}

/* A control message, for a port that there is, or is not. */
static unsigned compose(unsigned queue, u8 *buf)
{
	u8 what = (u8)take(1);

	if (queue != 3) {
		memset(buf, what, COMPOSE_MAX);
		return COMPOSE_MAX;
	}
	buf[0] = what & 3;
	buf[4] = what >> 2 & 7;
	buf[6] = what >> 5 & 1;
	buf[3] = what >> 7;
	return 8;
}

static void act(void)
{
	unsigned what = (unsigned)take(1);

	vm.nr_out = 0;
	if (what & 1) {
		memset(vm.typed, 'x', sizeof(vm.typed));
		vm.nr_typed = what >> 2;
		vm.port.ops->feed(&dev, (what >> 1) % vm.nr_ports);
	} else {
		vm.port.ops->resize(&dev, (u16)(what >> 1), 25);
	}
}

static bool drain(void) { return false; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz(&console_pci, data, size);
	return 0;
}
