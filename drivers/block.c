/* SPDX-License-Identifier: BSD-2-Clause */
/* Which backend a disk's target belongs to. */
#include "drivers/block.h"
#include "arch/x86_64/window.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/config.h"
#include "vmm/gmem.h"

extern const struct block_kind *const __start_blocks[], *const __stop_blocks[];

struct block *block_open(const struct vm_disk *disk, struct vm *vm, char *why, size_t n)
{
	return block_open_target(disk->target, disk, vm, why, n);
}

/* The one whose prefix fits, or the one without. */
struct block *block_open_target(const char *target, const struct vm_disk *disk, struct vm *vm, char *why, size_t n)
{
	const struct block_kind *any = NULL;

	for (const struct block_kind *const *k = __start_blocks; k < __stop_blocks; k++) {
		size_t len = strlen((*k)->prefix);

		if (!len)
			any = *k;
		else if (!strncmp(target, (*k)->prefix, len))
			return (*k)->open(target + len, disk, vm, why, n);
	}
	return any->open(target, disk, vm, why, n);
}

void block_close(struct block *b)
{
	if (b)
		b->ops->close(b);
}

int block_copy(struct vm *vm, const struct block_req *r, u64 off, u64 n, hpa_t pa)
{
	const struct block_range *g = r->range;
	int err = 0;

	if (!g) {
		if (r->op == BLOCK_READ)
			phys_copy(r->phys + off, pa, n);
		else
			phys_copy(pa, r->phys + off, n);
		return 0;
	}
	for (off += r->skip; off >= g->len; g++)
		off -= g->len;
	for (u64 part; n && !err; g++, off = 0, n -= part, pa += part) {
		part = MIN(n, g->len - off);
		err = r->op == BLOCK_READ ? gmem_copy_from_phys(vm, g->gpa + off, pa, part)
					  : gmem_copy_to_phys(vm, pa, g->gpa + off, part);
	}
	return err ? -EIO : 0;
}
