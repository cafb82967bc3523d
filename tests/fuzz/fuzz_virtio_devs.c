/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtq.c drivers/virtio/virtio.c drivers/virtio/balloon.c drivers/virtio/console.c */
/*
 * The balloon and the console with a driver that does anything: rings and requests are the bytes, and what follows kicks,
 * writes the configuration, resets, and changes memory meanwhile. The state stays one that may be saved.
 */
#include "tests/unit/fake_virtio.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 8)
		return 0;
	attach(1 + data[0] % 2, 1 + data[1] % VM_MAX_PORTS);
	memcpy(fake_ram + 0x1000, data, size < 0x8000 ? size : 0x8000);
	drive(data[2] | (u64)(data[3] & 3) << 28 | (u64)(data[3] >> 2 & 1) << 34);
	for (size_t i = 4; i + 4 <= size && i < 600; i += 4) {
		u16 at = (u16)(data[i + 1] | data[i + 2] << 8);

		switch (data[i] % 12) {
		case 0: case 1: case 2: virtio_kick(&dev, at % (VIRTIO_MAX_QUEUES + 1)); break;
		case 3: virtio_config_write(&dev, at % 80, 1u << data[i + 3] % 4, at); break;
		case 4: virtio_config_read(&dev, at % 80, 1u << data[i + 3] % 4); break;
		case 5: due(); break;
		case 6:
			vm.release_fails = at & 1;
			vm.busy = at & 2;
			vm.nr_typed = data[i + 3] % sizeof(vm.typed);
			break;
		case 7:
			if (vm.balloon.d) {
				struct balloon_info info;

				vm.balloon.ops->released(&dev, vm.ticket);
				vm.balloon.ops->set(&dev, at);
				vm.balloon.ops->info(&dev, &info);
				vm.balloon.ops->ask(&dev);
			}
			if (vm.port.d) {
				vm.port.ops->feed(&dev, at % vm.nr_ports);
				vm.port.ops->resize(&dev, at, at);
			}
			break;
		case 8: virtio_reset_queue(&dev, at % VIRTIO_MAX_QUEUES); break;
		case 9: virtio_enable_queue(&dev, at % VIRTIO_MAX_QUEUES); break;
		case 10:
			virtio_set_status(&dev, data[i + 3] & 0x80 ? 0 : data[i + 3]);
			if (!virtio_of(&dev)->status)
				drive(at | (u64)(data[i + 3] & 3) << 28);
			break;
		case 11: fake_ram[0x1000 + at % 0xa000] = data[i + 3]; break;
		}
		if (fake_mapped || (!virtio_of(&dev)->resetting && !virtio_valid(virtio_type_of(&dev), state)))
			abort();
	}
	dev.type->destroy(&dev);
	return 0;
}
