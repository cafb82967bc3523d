/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/balloon.c */
/* The balloon, with a host that takes pages or does not, answers early, late or never, and asks for statistics. */
#define FAKE_RAM      0x800000ull /* blocks of 2 MiB; what lies above the buffers is only named */
#define FAKE_HOLE     0x1e000ull
#define FAKE_HOLE_END 0x1f000ull
#include "tests/fuzz/virtio_driver.h"

static void choose(void) {}

/* Pages' numbers, few of which there are none of; or statistics. */
static unsigned compose(unsigned queue, u8 *buf)
{
	unsigned n = (unsigned)take(1), first = (unsigned)take(1);

	if (queue == 2) {
		for (unsigned i = 0; i < n % 12; i++) {
			u8 stat[10] = {(u8)(first + i), 0, (u8)n};

			memcpy(buf + 10 * i, stat, 10);
		}
		return n % 12 * 10;
	}
	for (unsigned i = 0; i < n % 32; i++)
		memcpy(buf + 4 * i, &(u32){first + i}, 4);
	return n % 32 * 4 + (n == 0xff);
}

static void act(void)
{
	unsigned what = (unsigned)take(1);
	struct balloon_info info;

	switch (what & 7) {
	case 0: case 1: vm.balloon.ops->released(&dev, vm.ticket - (what >> 3 & 1)); break;
	case 2: vm.balloon.ops->set(&dev, what); break;
	case 3: vm.balloon.ops->ask(&dev); break;
	case 4: vm.release_fails = what & 8; break;
	case 5:
		vm.balloon.ops->info(&dev, &info);
		require(info.known < 1u << BALLOON_STATS);
		break;
	}
}

static bool drain(void) { return false; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz(&balloon_pci, data, size);
	return 0;
}
