/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/rng.c */
/* The entropy device, on a CPU that has RDRAND; on another its init() refuses, and that is all. */
#include "tests/fuzz/virtio_driver.h"

extern const struct virtio_model rng_pci;

bool vm_rng_wanted(const struct vm *v) { (void)v; return true; }

static void choose(void) {}
static unsigned compose(unsigned queue, u8 *buf) { (void)queue, (void)buf; return 0; }
static void act(void) {}
static bool drain(void) { return false; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz(&rng_pci, data, size);
	return 0;
}
