/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/state.c vmm/platform/lapic.c vmm/platform/lapic_timer.c */
/* A saved VM from anywhere: refused, or all of it lies inside the bytes. */
#include "tests/unit/fake_state.h"
#include "tests/unit/fake_apic_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct state_view view;
	char why[128] = "";
	u8 *copy = malloc(size ? size : 1);
	int err;

	if (!copy)
		abort();
	memcpy(copy, data, size);
	for (int sealed = 0; sealed < 2; sealed++) {
		if (sealed) { /* else the sum would refuse nearly everything */
			if (size >= sizeof(struct state_header))
				((struct state_header *)copy)->size = (u32)size;
			fake_seal(copy, size);
		}
		err = state_parse(copy, size, &fake_shape, &view, why, sizeof(why));
		if ((err && !why[0]) || (err && err != -22))
			abort();
		if (!err && fake_read_all(&view) == 0)
			abort();
	}
	free(copy);
	return 0;
}
