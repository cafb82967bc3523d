/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PVH boot ABI (Xen's public header arch-x86/hvm/start_info.h), as QEMU's -kernel speaks it for an
 * ELF64 with the note. One module: a tar archive of the files.
 */
#include "boot/boot.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "lib/ustar.h"

#define HVM_START_MAGIC 0x336ec578

struct hvm_start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist, cmdline, rsdp;
	/* from version 1 on */
	u64 memmap;
	u32 memmap_entries, reserved;
};
_Static_assert(sizeof(struct hvm_start_info) == 56, "start_info.h");
struct hvm_modlist_entry {
	u64 addr, size, cmdline, reserved;
};
_Static_assert(sizeof(struct hvm_modlist_entry) == 32, "start_info.h");
struct hvm_memmap_entry {
	u64 addr, size;
	u32 type, reserved;
};
_Static_assert(sizeof(struct hvm_memmap_entry) == 24, "start_info.h");

static void unpack(struct boot_info *bi, hpa_t addr, u64 size)
{
	const u8 *archive = (const u8 *)addr;
	struct ustar_entry e;
	u64 pos = 0;
	int r;

	while ((r = ustar_next(archive, size, &pos, &e)) > 0)
		boot_add_file(bi, e.name, strlen(e.name), (hpa_t)e.data, e.size);
	if (r == -ENOSYS)
		boot_error(
			bi,
			"the archive (-initrd) uses tar extensions; make it by tar --format=ustar");
	else if (r < 0)
		boot_error(
			bi,
			"the archive (-initrd) is not a whole tar file: bad at byte %llu of %llu",
			(unsigned long long)pos, (unsigned long long)size);
}

void pvh_fill(struct boot_info *bi, u64 start_info)
{
	const struct hvm_start_info *si = (const void *)start_info;
	const struct hvm_memmap_entry *mem;
	const struct hvm_modlist_entry *mod;

	str_copy(bi->loader, "pvh", sizeof(bi->loader));
	if (si->magic != HVM_START_MAGIC || si->version < 1 || !si->memmap) {
		boot_error(
			bi,
			"PVH start info has magic %#x, version %u: version 1 with a memory map is "
			"needed",
			si->magic, si->version);
		return;
	}
	bi->rsdp = si->rsdp;
	mem = (const void *)si->memmap;
	for (u32 i = 0; i < si->memmap_entries; i++)
		meminfo_add(bi, mem[i].addr, mem[i].size, meminfo_from_e820(mem[i].type));
	mod = (const void *)si->modlist;
	for (u32 i = 0; i < si->nr_modules; i++) {
		meminfo_add(bi, mod[i].addr, mod[i].size, BOOT_MEM_FILES);
		unpack(bi, mod[i].addr, mod[i].size);
	}
}
