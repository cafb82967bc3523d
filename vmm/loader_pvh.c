/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PVH direct boot (Xen docs/misc/pvh.pandoc, public/arch-x86/hvm/start_info.h): an ELF file whose
 * note XEN_ELFNOTE_PHYS32_ENTRY names the 32-bit entry; EBX holds the address of hvm_start_info.
 */
#include "vmm/loader_parts.h"
#include "lib/errno.h"
#include "lib/string.h"

#define XEN_ELFNOTE_PHYS32_ENTRY 18u
#define HVM_START_MAGIC          0x336ec578u

struct hvm_start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist, cmdline, rsdp;
	u64 memmap; /* version 1 */
	u32 memmap_entries, reserved;
};
static_assert(sizeof(struct hvm_start_info) == 56, "start_info.h");

struct hvm_modlist_entry {
	u64 paddr, size, cmdline, reserved;
};

struct hvm_memmap_entry {
	u64 addr, size;
	u32 type, reserved;
};

/* A kernel has a handful of notes; a stranger's file gets no longer search than this. */
#define MAX_NOTES 256

static int find_in_notes(struct load_ctx *c, u64 off, u64 end, u64 *entry)
{
	for (unsigned i = 0; i < MAX_NOTES && off < end && end - off >= 12; i++) {
		struct elf_nhdr n;
		char name[4] = {0};
		u64 desc;

		if (!load_read(c, off, &n, sizeof(n)))
			break;
		off += sizeof(n);
		desc = off + ALIGN_UP((u64)n.namesz, 4);
		if (n.type == XEN_ELFNOTE_PHYS32_ENTRY && n.namesz == 4 &&
		    (n.descsz == 4 || n.descsz == 8) && load_read(c, off, name, 4) &&
		    !memcmp(name, "Xen", 4)) {
			*entry = 0;
			return load_read(c, desc, entry, n.descsz) ? 0 : -ENOENT;
		}
		off = desc + ALIGN_UP((u64)n.descsz, 4);
	}
	return -ENOENT;
}

static int find_entry(struct load_ctx *c, const struct load_elf *e, u64 *entry)
{
	for (unsigned i = 0; i < e->phnum; i++) {
		struct elf64_phdr p;

		if (load_elf_phdr(c, e, i, &p) || p.type != ELF_PT_NOTE)
			continue;
		if (p.offset > c->kernel->size || p.filesz > c->kernel->size - p.offset)
			return load_fail_kernel(c, ENOEXEC,
						"is truncated: its notes are at %llu, "
						"the file has %llu bytes; copy it again",
						(unsigned long long)p.offset,
						(unsigned long long)c->kernel->size);
		if (!find_in_notes(c, p.offset, p.offset + p.filesz, entry))
			return 0;
	}
	return -ENOENT;
}

static int put_module(struct load_ctx *c, struct hvm_start_info *info)
{
	struct hvm_modlist_entry m = {.paddr = c->ramdisk_gpa, .cmdline = LOAD_STRINGS};
	int err;

	if (!c->ramdisk)
		return 0;
	m.size = c->ramdisk->size;
	info->nr_modules = 1;
	info->modlist = LOAD_MODULES;
	err = load_put(c, LOAD_MODULES, &m, sizeof(m));
	return err ?: load_put_string(c, LOAD_STRINGS, c->cfg->ramdisk);
}

static int put_info(struct load_ctx *c)
{
	struct hvm_start_info info = {
		.magic = HVM_START_MAGIC, .version = 1, .cmdline = LOAD_CMDLINE, .rsdp = c->rsdp,
		.memmap = LOAD_MEMMAP, .memmap_entries = c->nr_e820,
	};
	int err = put_module(c, &info);

	for (unsigned i = 0; !err && i < c->nr_e820; i++) {
		struct hvm_memmap_entry m = {c->e820[i].base, c->e820[i].size, c->e820[i].type, 0};

		err = load_put(c, LOAD_MEMMAP + i * sizeof(m), &m, sizeof(m));
	}
	err = err ?: load_put_string(c, LOAD_CMDLINE, c->cfg->cmdline);
	return err ?: load_put(c, LOAD_INFO, &info, sizeof(info));
}

int load_pvh(struct load_ctx *c)
{
	struct load_elf e;
	u64 entry;
	int err = load_elf_open(c, &e);

	err = err ?: find_entry(c, &e, &entry);
	err = err ?: load_elf_segments(c, &e, false, &entry);
	err = err ?: load_ramdisk(c, LOAD_HIGHEST, ~0ull);
	err = err ?: put_info(c);
	return err ?: load_enter32(c, "pvh", entry, 0, LOAD_INFO);
}
