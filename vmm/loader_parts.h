/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What vmm/loader*.c share. The loader's own structures lie below 64 KiB, page 0 left alone (a
 * guest takes 0 for NULL), so that no kernel at 64 KiB or above meets them:
 *
 *	0x1000	GDT
 *	0x2000	boot_params, multiboot info or hvm_start_info
 *	0x3000	lists: memory map, modules, their strings
 *	0x4000	command line
 *	0x6000	page tables of LOAD_LONG64: PML4, PDPT, four PDs
 *	0xc000	stack, down from 0x10000
 */
#pragma once
#include "vmm/loader.h"
#include "lib/elf.h"

#define LOAD_GDT        0x1000u
#define LOAD_INFO       0x2000u
#define LOAD_MODULES    0x3000u
#define LOAD_MEMMAP     0x3200u
#define LOAD_STRINGS    0x3800u
#define LOAD_CMDLINE    0x4000u
#define LOAD_PML4       0x6000u
#define LOAD_PDPT       0x7000u
#define LOAD_PD         0x8000u
#define LOAD_STACK_TOP  0x10000u
#define LOAD_KERNEL_MIN 0x10000u
#define LOW_RAM_END     0x9fc00u /* the EBDA begins */
#define HIGH_RAM_START  0x100000u

#define SEL_CODE 0x10
#define SEL_DATA 0x18
#define SEL_TSS  0x20

struct load_ctx {
	const struct vm_config *cfg;
	const struct load_file *kernel, *ramdisk;
	struct load_target *t;
	gpa_t rsdp;
	struct load_state *out;
	char *why;
	size_t why_size;
	struct e820_entry e820[LOAD_MAX_E820];
	unsigned nr_e820;
	u64 kernel_end; /* end of the highest address that the kernel occupies */
	gpa_t ramdisk_gpa;
};

/* Say why in one line that begins with the file's name; returns -err. */
int load_fail(struct load_ctx *c, int err, const char *what, const char *file, const char *fmt, ...)
	__format(5, 6);
#define load_fail_kernel(c, err, ...)  load_fail(c, err, "kernel", (c)->cfg->kernel, __VA_ARGS__)
#define load_fail_ramdisk(c, err, ...) load_fail(c, err, "ramdisk", (c)->cfg->ramdisk, __VA_ARGS__)

/* Bytes [off, off+n) of the kernel file; false if the file ends before. */
bool load_read(const struct load_ctx *c, u64 off, void *buf, size_t n);
/* The target's functions, with the reason set on failure. */
int load_put(struct load_ctx *c, gpa_t gpa, const void *buf, size_t n);
int load_put_string(struct load_ctx *c, gpa_t gpa, const char *s);

/* May the kernel occupy [gpa, gpa+size)? 0, or -ENOSPC with the reason. Raises kernel_end. */
int load_claim(struct load_ctx *c, u64 gpa, u64 size);
/* File bytes to gpa, the rest of memsz zero. Claims the range. */
int load_segment(struct load_ctx *c, u64 gpa, u64 memsz, u64 off, u64 filesz);
/* Put the ramdisk, if any, above the kernel: as high as `last` allows, or right behind it. */
enum load_where { LOAD_HIGHEST, LOAD_BEHIND_KERNEL };
int load_ramdisk(struct load_ctx *c, enum load_where where, u64 last);
/* Flat protected mode with paging off: segments, stack, entry. */
int load_enter32(struct load_ctx *c, const char *protocol, u64 entry, u64 eax, u64 ebx);
int load_enter64(struct load_ctx *c, const char *protocol, u64 entry, u64 rsi);

struct load_elf {
	bool is64;
	u16 phnum, phentsize;
	u64 entry, phoff;
};
/* Is the kernel an ELF file? 0: yes and its header is sound. -ENOENT: no. Or an error. */
int load_elf_open(struct load_ctx *c, struct load_elf *e);
int load_elf_phdr(struct load_ctx *c, const struct load_elf *e, unsigned i,
		  struct elf64_phdr *p); /* ELF32's are widened */
/* All PT_LOAD to their physical addresses. *entry is moved from virtual to physical where it lies
 * in a segment's virtual range and `virt` says so; it must lie in a segment. */
int load_elf_segments(struct load_ctx *c, const struct load_elf *e, bool virt, u64 *entry);

/* Each protocol: -ENOENT: the file is not of this kind. Else 0 or an error with its reason. */
int load_linux(struct load_ctx *c);
int load_multiboot1(struct load_ctx *c);
int load_pvh(struct load_ctx *c);
