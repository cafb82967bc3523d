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

enum { HOLD_GUEST = 6, HOLD_OURS };

static int copy_range(struct vm *vm, bool read, gpa_t gpa, hpa_t pa, u64 n)
{
	for (u64 part; n; n -= part, gpa += part, pa += part) {
		void *guest, *ours = gmem_hold_phys(HOLD_OURS, pa);

		part = MIN(n, PAGE_SIZE - MAX(gpa & (PAGE_SIZE - 1), pa & (PAGE_SIZE - 1)));
		guest = read ? gmem_hold_write(vm, HOLD_GUEST, gpa, part) : gmem_hold(vm, HOLD_GUEST, gpa, part);
		if (!guest)
			return -EFAULT;
		memcpy(read ? guest : ours, read ? ours : guest, part);
	}
	return 0;
}

int block_copy(struct vm *vm, const struct block_req *r, u64 off, u64 n, hpa_t pa)
{
	const struct block_range *g = r->range;

	if (!g) {
		if (r->op == BLOCK_READ)
			phys_copy(r->phys + off, pa, n);
		else
			phys_copy(pa, r->phys + off, n);
		return 0;
	}
	for (off += r->skip; off >= g->len; g++)
		off -= g->len;
	for (u64 part; n; g++, off = 0, n -= part, pa += part) {
		part = MIN(n, g->len - off);
		if (copy_range(vm, r->op == BLOCK_READ, g->gpa + off, pa, part))
			return -EIO;
	}
	return 0;
}
