/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/ustar.c lib/string.c */
#include <stdlib.h>
#include "lib/string.h"
#include "lib/ustar.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct ustar_entry e;
	u64 pos = 0, before = 0;

	while (ustar_next(data, size, &pos, &e) > 0) {
		/* Every entry lies inside the archive, its name is a string, and we get on. */
		if (pos <= before || pos > size || e.data < data || e.data > data + size ||
		    e.size > (u64)(data + size - e.data) ||
		    strnlen(e.name, sizeof(e.name)) == sizeof(e.name))
			abort();
		before = pos;
	}
	return 0;
}
