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
#include "vmm/vdev.h"

#define STEP KIB(32) /* what a call copies at most */

struct block_ram {
	struct block block;
	u32 file; /* index in boot_info */
	hpa_t base;
	u64 loaded; /* bytes that there are */
};

/* Who has a file open: ~0: one that writes. */
static struct spinlock lock = SPINLOCK(LOCK_HEAP);
static u32 users[BOOT_MAX_FILES];
#define WRITER (~0u)

static int ram_submit(struct block *b, struct block_req *r)
{
	hpa_t at = container_of(b, struct block_ram, block)->base + r->pos;

	if (r->op == BLOCK_FLUSH || r->op == BLOCK_DISCARD)
		return 0;
	if (b->readonly && r->op != BLOCK_READ)
		return -EROFS;
	r->len = MIN(r->len, STEP);
	if (r->op == BLOCK_ZERO)
		phys_clear(at, r->len);
	else
		return block_copy(b->vm, r, 0, r->len, at);
	return 0;
}

static void ram_close(struct block *b)
{
	struct block_ram *ram = container_of(b, struct block_ram, block);
	u32 *u = &users[ram->file];

	spin_lock(&lock);
	*u = *u == WRITER ? 0 : *u - 1;
	spin_unlock(&lock);
	kfree(ram);
}

/* It lies where it was loaded, in one piece. */
static int ram_resize(struct block *b, u64 size, char *why, size_t n)
{
	u64 loaded = container_of(b, struct block_ram, block)->loaded;

	if (size > loaded) {
		snprintf(why, n, "it can have up to the %lu bytes of its file; with cow: before its name it could grow", (unsigned long)loaded);
		return -ENOSPC;
	}
	b->size = size;
	return 0;
}

static const struct block_ops ram_ops = {.name = "ram", .submit = ram_submit, .close = ram_close, .resize = ram_resize};

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

static struct block *ram_open(const char *target, const struct vm_disk *disk, struct vm *vm, char *why, size_t n)
{
	const struct boot_info *bi = host_boot_info();
	const struct boot_file *f = boot_file_find(bi, target);
	struct block_ram *r;
	const char *wrong;

	if (!f || f->size < disk->sector) {
		snprintf(why, n, "%s: %s; load it beside dalang.cfg", target, f ? "the file has no sector" : "no such file was loaded");
		return NULL;
	}
	r = kzalloc(sizeof(*r), FRAME_DEVICE, vm_id(vm));
	if (!r) {
		snprintf(why, n, "%s: out of memory of our own", target);
		return NULL;
	}
	r->file = (u32)(f - bi->files);
	r->base = f->addr;
	r->loaded = f->size;
	r->block = (struct block){.ops = &ram_ops, .vm = vm, .size = ALIGN_DOWN(f->size, (u64)disk->sector),
				  .sector = disk->sector, .req_size = sizeof(struct block_req), .readonly = disk->readonly};
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
