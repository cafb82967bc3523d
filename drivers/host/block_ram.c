/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk in memory: a file that was loaded at boot, by its name, "ram:" before it or not. VMs that only read may share it.
 * It lives as long as the host runs, so a VM that starts anew finds what it wrote.
 */
#include "drivers/block.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/window.h"
#include "lib/errno.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "vmm/config.h"
#include "vmm/gmem.h"
#include "vmm/host.h"

struct block_ram {
	struct block block;
	u32 file; /* index in boot_info */
	hpa_t base;
};

/* Who has a file open: ~0: one that writes. */
static struct spinlock lock = SPINLOCK(LOCK_HEAP);
static u32 users[BOOT_MAX_FILES];
#define WRITER (~0u)

static struct block_ram *ram_of(struct block *b)
{
	return container_of(b, struct block_ram, block);
}

static int ram_read(struct block *b, u64 pos, struct vm *vm, gpa_t to, u64 n)
{
	return gmem_copy_from_phys(vm, to, ram_of(b)->base + pos, n) ? -EIO : 0;
}

static int ram_read_phys(struct block *b, u64 pos, hpa_t to, u64 n)
{
	phys_copy(to, ram_of(b)->base + pos, n);
	return 0;
}

static int ram_write(struct block *b, u64 pos, struct vm *vm, gpa_t from, u64 n)
{
	return gmem_copy_to_phys(vm, ram_of(b)->base + pos, from, n) ? -EIO : 0;
}

static int ram_zero(struct block *b, u64 pos, u64 n)
{
	hpa_t at = ram_of(b)->base + pos;

	while (n) {
		u64 part = MIN(n, PAGE_SIZE - (at & (PAGE_SIZE - 1)));
		void *w = window_open(at);

		memset(w, 0, part);
		window_close(w);
		at += part;
		n -= part;
	}
	return 0;
}

static void ram_close(struct block *b)
{
	u32 *u = &users[ram_of(b)->file];

	spin_lock(&lock);
	*u = *u == WRITER ? 0 : *u - 1;
	spin_unlock(&lock);
	kfree(ram_of(b));
}

static const struct block_ops ram_ops = {
	.name = "ram", .read = ram_read, .read_phys = ram_read_phys, .write = ram_write, .zero = ram_zero, .close = ram_close,
};

/* NULL, or who stands in the way. */
static const char *take(u32 *u, bool readonly)
{
	const char *wrong = NULL;

	spin_lock(&lock);
	if (*u == WRITER)
		wrong = "another VM writes to it";
	else if (*u && !readonly)
		wrong = "another VM reads it";
	else
		*u = readonly ? *u + 1 : WRITER;
	spin_unlock(&lock);
	return wrong;
}

static struct block *ram_open(const char *target, const struct vm_disk *disk, u16 owner, char *why, size_t n)
{
	const struct boot_info *bi = host_boot_info();
	const struct boot_file *f = boot_file_find(bi, target);
	struct block_ram *r;
	const char *wrong;

	if (!f || f->size < BLOCK_SECTOR) {
		snprintf(why, n, "%s: %s; load it beside dalang.cfg", target, f ? "the file has no sector" : "no such file was loaded");
		return NULL;
	}
	r = kzalloc(sizeof(*r), FRAME_DEVICE, owner);
	if (!r) {
		snprintf(why, n, "%s: out of memory of our own", target);
		return NULL;
	}
	r->file = (u32)(f - bi->files);
	r->base = f->addr;
	r->block = (struct block){.ops = &ram_ops, .size = ALIGN_DOWN(f->size, (u64)BLOCK_SECTOR), .sector = BLOCK_SECTOR,
				  .readonly = disk->readonly};
	wrong = take(&users[r->file], disk->readonly);
	if (!wrong)
		return &r->block;
	snprintf(why, n, "%s: %s; write ro as its access, or cow: before its name, in all of them", target, wrong);
	kfree(r);
	return NULL;
}

static const struct block_kind ram_kind = {.prefix = "ram:", .open = ram_open};
BLOCK_REGISTER(ram_kind);
static const struct block_kind file_kind = {.prefix = "", .open = ram_open};
BLOCK_REGISTER(file_kind);
