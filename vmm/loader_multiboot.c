/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot 1 (Multiboot Specification 0.6.96): a header in the first 8 KiB of an ELF32 file, or of
 * any file whose header holds the addresses to load it to (flag 16).
 */
#include "vmm/loader_parts.h"
#include "lib/errno.h"
#include "lib/string.h"

#define MB_HEADER_MAGIC 0x1badb002u
#define MB_BOOT_MAGIC   0x2badb002u
#define MB_SEARCH       8192u

/* Header flags (3.1.2). The low 16 are demands: one that is not known must be refused. */
#define MB_PAGE_ALIGN (1u << 0)
#define MB_MEMORY     (1u << 1)
#define MB_VIDEO      (1u << 2)
#define MB_ADDRESSES  (1u << 16)

/* Information flags (3.3). */
#define MBI_MEMORY      (1u << 0)
#define MBI_CMDLINE     (1u << 2)
#define MBI_MODS        (1u << 3)
#define MBI_MMAP        (1u << 6)
#define MBI_LOADER_NAME (1u << 9)

struct mb_header {
	u32 magic, flags, checksum;
	u32 header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr; /* flag 16 */
};

struct mb_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	u32 mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
};
static_assert(offsetof(struct mb_info, boot_loader_name) == 64, "multiboot 0.6.96, 3.3");

struct mb_mmap {
	u32 size; /* of the rest */
	struct e820_entry e;
} __packed;
static_assert(sizeof(struct mb_mmap) == 24, "multiboot 0.6.96, 3.3");

struct mb_module {
	u32 start, end, string, reserved;
};

#define MB_LOADER_NAME (LOAD_INFO + 0x100u)

/* 0 and its offset, or -ENOENT. */
static int find_header(const struct load_ctx *c, struct mb_header *h, u64 *off)
{
	u8 buf[256 + sizeof(*h)];
	u64 limit = MIN(c->kernel->size, (u64)MB_SEARCH);

	for (u64 base = 0; base + 12 <= limit; base += 256) {
		size_t n = MIN(limit - base, sizeof(buf));

		load_read(c, base, buf, n);
		for (size_t i = 0; i < 256 && i + 12 <= n; i += 4) {
			memset(h, 0, sizeof(*h));
			memcpy(h, buf + i, MIN(n - i, sizeof(*h)));
			*off = base + i;
			if (h->magic == MB_HEADER_MAGIC && !(h->magic + h->flags + h->checksum))
				return 0;
		}
	}
	return -ENOENT;
}

static int check_flags(struct load_ctx *c, const struct mb_header *h, u64 off)
{
	u32 unknown = h->flags & 0xffff & ~(MB_PAGE_ALIGN | MB_MEMORY);

	if (unknown)
		return load_fail_kernel(c, ENOEXEC,
					"multiboot1 header demands 0x%x%s, which is "
					"not offered; build it without",
					unknown, unknown & MB_VIDEO ? " (a video mode)" : "");
	if ((h->flags & MB_ADDRESSES) && off + sizeof(*h) > MIN(c->kernel->size, (u64)MB_SEARCH))
		return load_fail_kernel(c, ENOEXEC,
					"is truncated in its multiboot1 header; copy "
					"it again");
	return 0;
}

/* Load by the header's addresses (3.1.3). */
static int load_addresses(struct load_ctx *c, const struct mb_header *h, u64 off, u64 *entry)
{
	u64 before = (u64)h->header_addr - h->load_addr, start = off - before, size, room;

	if (h->load_addr > h->header_addr || before > off)
		return load_fail_kernel(c, ENOEXEC,
					"multiboot1 header at %llu of the file says "
					"header_addr 0x%x, load_addr 0x%x; link it "
					"anew",
					(unsigned long long)off, h->header_addr, h->load_addr);
	size = h->load_end_addr ? (u64)h->load_end_addr - h->load_addr : c->kernel->size - start;
	room = h->bss_end_addr ? (u64)h->bss_end_addr - h->load_addr : size;
	if ((h->load_end_addr && h->load_end_addr <= h->header_addr) ||
	    (h->bss_end_addr && h->bss_end_addr < h->load_addr + size))
		return load_fail_kernel(c, ENOEXEC,
					"multiboot1 header says load_addr 0x%x, "
					"load_end_addr 0x%x, bss_end_addr 0x%x, which "
					"do not follow each other; link it anew",
					h->load_addr, h->load_end_addr, h->bss_end_addr);
	if (h->entry_addr < h->load_addr || h->entry_addr >= h->load_addr + room)
		return load_fail_kernel(c, ENOEXEC,
					"entry 0x%x lies outside of what is loaded "
					"(0x%x to 0x%llx); link it anew",
					h->entry_addr, h->load_addr,
					(unsigned long long)(h->load_addr + room));
	*entry = h->entry_addr;
	return load_segment(c, h->load_addr, room, start, size);
}

static int load_image(struct load_ctx *c, const struct mb_header *h, u64 off, u64 *entry)
{
	struct load_elf e;
	int err;

	if (h->flags & MB_ADDRESSES)
		return load_addresses(c, h, off, entry);
	err = load_elf_open(c, &e);
	if (err == -ENOENT)
		return load_fail_kernel(c, ENOEXEC,
					"has a multiboot1 header without addresses "
					"(flag 16) and is no ELF file; link it as "
					"ELF32");
	if (!err && e.is64)
		return load_fail_kernel(c, ENOEXEC,
					"is an ELF64 file with a multiboot1 header "
					"without addresses (flag 16); link it as "
					"ELF32");
	*entry = e.entry;
	return err ?: load_elf_segments(c, &e, true, entry);
}

static int put_module(struct load_ctx *c, struct mb_info *info)
{
	struct mb_module m = {.start = (u32)c->ramdisk_gpa, .string = LOAD_STRINGS};
	int err;

	info->flags |= MBI_MODS;
	info->mods_addr = LOAD_MODULES;
	if (!c->ramdisk)
		return 0;
	m.end = (u32)(c->ramdisk_gpa + c->ramdisk->size);
	info->mods_count = 1;
	err = load_put(c, LOAD_MODULES, &m, sizeof(m));
	return err ?: load_put_string(c, LOAD_STRINGS, c->cfg->ramdisk);
}

static int put_mmap(struct load_ctx *c, struct mb_info *info)
{
	info->flags |= MBI_MMAP;
	info->mmap_addr = LOAD_MEMMAP;
	info->mmap_length = c->nr_e820 * (u32)sizeof(struct mb_mmap);
	for (unsigned i = 0; i < c->nr_e820; i++) {
		struct mb_mmap m = {.size = sizeof(m.e), .e = c->e820[i]};
		int err = load_put(c, LOAD_MEMMAP + i * sizeof(m), &m, sizeof(m));

		if (err)
			return err;
	}
	return 0;
}

/* The command line begins with the file's name, as from GRUB. */
static int put_cmdline(struct load_ctx *c, struct mb_info *info)
{
	size_t len = strlen(c->cfg->kernel);
	int err = load_put_string(c, LOAD_CMDLINE, c->cfg->kernel);

	info->flags |= MBI_CMDLINE;
	info->cmdline = LOAD_CMDLINE;
	if (!err && c->cfg->cmdline[0]) {
		err = load_put(c, LOAD_CMDLINE + len, " ", 1);
		err = err ?: load_put_string(c, LOAD_CMDLINE + len + 1, c->cfg->cmdline);
	}
	return err;
}

static int put_info(struct load_ctx *c)
{
	struct mb_info info = {
		.flags = MBI_MEMORY | MBI_LOADER_NAME,
		.mem_lower = LOW_RAM_END >> 10,
		.mem_upper = (u32)((MAX(c->t->ram_low, (u64)HIGH_RAM_START) - HIGH_RAM_START) >> 10),
		.boot_loader_name = MB_LOADER_NAME,
	};
	int err = load_put_string(c, MB_LOADER_NAME, "Dalang");

	err = err ?: put_module(c, &info);
	err = err ?: put_mmap(c, &info);
	err = err ?: put_cmdline(c, &info);
	return err ?: load_put(c, LOAD_INFO, &info, sizeof(info));
}

int load_multiboot1(struct load_ctx *c)
{
	struct mb_header h;
	u64 off, entry;
	int err = find_header(c, &h, &off);

	err = err ?: check_flags(c, &h, off);
	err = err ?: load_image(c, &h, off, &entry);
	err = err ?: load_ramdisk(c, LOAD_BEHIND_KERNEL, ~0ull);
	err = err ?: put_info(c);
	return err ?: load_enter32(c, "multiboot1", entry, MB_BOOT_MAGIC, LOAD_INFO);
}
