/* SPDX-License-Identifier: BSD-2-Clause */
/* Which backend a disk's target belongs to. */
#include "drivers/block.h"
#include "lib/string.h"
#include "vmm/config.h"

extern const struct block_kind *const __start_blocks[], *const __stop_blocks[];

struct block *block_open(const struct vm_disk *disk, u16 owner, char *why, size_t n)
{
	return block_open_target(disk->target, disk, owner, why, n);
}

/* The one whose prefix fits, or the one without. */
struct block *block_open_target(const char *target, const struct vm_disk *disk, u16 owner, char *why, size_t n)
{
	const struct block_kind *any = NULL;

	for (const struct block_kind *const *k = __start_blocks; k < __stop_blocks; k++) {
		size_t len = strlen((*k)->prefix);

		if (!len)
			any = *k;
		else if (!strncmp(target, (*k)->prefix, len))
			return (*k)->open(target + len, disk, owner, why, n);
	}
	return any->open(target, disk, owner, why, n);
}

void block_close(struct block *b)
{
	if (b)
		b->ops->close(b);
}
