/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot2 specification 2.0, 3.6 "Boot information format". Every module is a file; the first
 * word of its command line is its name.
 */
#include "boot/boot.h"
#include "lib/string.h"

enum { MBI_END = 0, MBI_MODULE = 3, MBI_MEMMAP = 6, MBI_FRAMEBUFFER = 8, MBI_ACPI_OLD = 14,
       MBI_ACPI_NEW = 15 };

struct mbi_tag {
	u32 type, size;
};
struct mbi_module {
	struct mbi_tag tag;
	u32 start, end;
	char cmdline[];
};
_Static_assert(sizeof(struct mbi_module) == 16, "multiboot2 3.6.6");
struct mbi_memmap {
	struct mbi_tag tag;
	u32 entry_size, entry_version;
};
struct mbi_memmap_entry {
	u64 base, size;
	u32 type, reserved;
};
_Static_assert(sizeof(struct mbi_memmap_entry) == 24, "multiboot2 3.6.8");
struct mbi_framebuffer {
	struct mbi_tag tag;
	u64 addr;
	u32 pitch, width, height;
	u8 bpp, type;
	u16 reserved;
	u8 red_pos, red_size, green_pos, green_size, blue_pos, blue_size;
} __packed;
_Static_assert(offsetof(struct mbi_framebuffer, red_pos) == 32, "multiboot2 3.6.12");

#define FB_TYPE_RGB 1

static void add_module(struct boot_info *bi, const struct mbi_module *m)
{
	size_t len = 0, max = m->tag.size - sizeof(*m);

	while (len < max && m->cmdline[len] && m->cmdline[len] != ' ')
		len++;
	if (!len) {
		boot_error(bi, "a module has no name; write: module2 /dalang/FILE FILE");
		return;
	}
	if (m->end < m->start) {
		boot_error(bi, "module %.*s ends at %#x, before its start %#x", (int)MIN(len, (size_t)64),
			   m->cmdline, m->end, m->start);
		return;
	}
	meminfo_add(bi, m->start, m->end - m->start, BOOT_MEM_FILES);
	boot_add_file(bi, m->cmdline, len, m->start, m->end - m->start);
}

static void add_memmap(struct boot_info *bi, const struct mbi_memmap *map)
{
	const u8 *p = (const u8 *)(map + 1), *end = (const u8 *)map + map->tag.size;

	if (map->entry_size < sizeof(struct mbi_memmap_entry) || map->entry_size & 7) {
		boot_error(bi, "memory map with entries of %u bytes; use a loader that keeps to multiboot2 3.6.8",
			   map->entry_size);
		return;
	}
	for (; (size_t)(end - p) >= map->entry_size; p += map->entry_size) {
		const struct mbi_memmap_entry *e = (const void *)p;

		meminfo_add(bi, e->base, e->size, meminfo_from_e820(e->type));
	}
}

static void add_framebuffer(struct boot_info *bi, const struct mbi_framebuffer *fb)
{
	if (fb->tag.size < sizeof(*fb) || fb->type != FB_TYPE_RGB)
		return;
	bi->fb = (struct boot_fb){.addr = fb->addr, .width = fb->width, .height = fb->height,
				  .pitch = fb->pitch, .bpp = fb->bpp, .red_shift = fb->red_pos,
				  .green_shift = fb->green_pos, .blue_shift = fb->blue_pos};
}

/* The tag holds a copy of the RSDP: it is given on by address, in memory that must then stay ours.
 */
static void add_rsdp(struct boot_info *bi, const struct mbi_tag *tag, bool is_new)
{
	if (bi->rsdp && !is_new)
		return;
	bi->rsdp = (hpa_t)(tag + 1);
	meminfo_add(bi, bi->rsdp, tag->size - sizeof(*tag), BOOT_MEM_FILES);
}

void multiboot2_fill(struct boot_info *bi, u64 mbi)
{
	u32 total = *(const u32 *)mbi;
	u64 pos = 8;

	str_copy(bi->loader, "multiboot2", sizeof(bi->loader));
	while (pos + sizeof(struct mbi_tag) <= total) {
		const struct mbi_tag *tag = (const void *)(mbi + pos);

		if (tag->type == MBI_END || tag->size < sizeof(*tag) || tag->size > total - pos)
			break;
		if (tag->type == MBI_MODULE && tag->size > sizeof(struct mbi_module))
			add_module(bi, (const void *)tag);
		else if (tag->type == MBI_MEMMAP && tag->size >= sizeof(struct mbi_memmap))
			add_memmap(bi, (const void *)tag);
		else if (tag->type == MBI_FRAMEBUFFER)
			add_framebuffer(bi, (const void *)tag);
		else if (tag->type == MBI_ACPI_OLD || tag->type == MBI_ACPI_NEW)
			add_rsdp(bi, tag, tag->type == MBI_ACPI_NEW);
		pos += ALIGN_UP((u64)tag->size, 8);
	}
}
