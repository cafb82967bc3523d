/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What firmware left us, in one form. The UEFI application, the multiboot2 entry and the PVH entry
 * each fill exactly this and call hv_main(); nothing behind it asks which of them ran (`loader`
 * is for the log only).
 */
#pragma once
#include "lib/types.h"

#define BOOT_INFO_MAGIC 0x316f666e69676e6cull /* "lnginfo1" */
#define BOOT_MAX_MEM 512
#define BOOT_MAX_FILES 256
#define BOOT_NAME_MAX 128

enum boot_mem_type {
	BOOT_MEM_USABLE = 1, /* ours from the moment hv_main runs */
	BOOT_MEM_RESERVED,   /* leave alone */
	BOOT_MEM_ACPI,	     /* ACPI tables: readable, reclaimable, we never reclaim it */
	BOOT_MEM_NVS,	     /* ACPI NVS, firmware run-time: leave alone */
	BOOT_MEM_BAD,
	BOOT_MEM_IMAGE, /* Dalang's own image */
	BOOT_MEM_FILES, /* the files below and this structure */
};

struct boot_mem {
	hpa_t base;
	u64 size;
	u32 type;
	u32 pad;
};

/* A file of \dalang\, by its name relative to that directory, '/' between parts. */
struct boot_file {
	hpa_t addr;
	u64 size;
	char name[BOOT_NAME_MAX];
};

struct boot_fb {
	hpa_t addr; /* 0: none */
	u32 width, height, pitch /* bytes */, bpp;
	u8 red_shift, green_shift, blue_shift, pad[5];
};

struct boot_info {
	u64 magic;
	hpa_t image_phys; /* 2 MiB aligned */
	u64 image_size;
	hpa_t rsdp;	/* 0: none found, run on the boot CPU alone */
	u64 entry_tsc;	/* TSC when the first instruction of Dalang's own ran after the loader */
	char loader[16]; /* "uefi", "multiboot2", "pvh" */
	char error[192]; /* set by the loader: one line to print before we refuse to go on */
	struct boot_fb fb;
	u32 nr_mem;   /* sorted by base, no overlap, adjacent ranges of one type merged */
	u32 nr_files;
	struct boot_mem mem[BOOT_MAX_MEM];
	struct boot_file files[BOOT_MAX_FILES];
};

/* Find a file by name; NULL if it was not loaded. */
static inline const struct boot_file *boot_file_find(const struct boot_info *bi, const char *name)
{
	for (u32 i = 0; i < bi->nr_files; i++) {
		const char *a = bi->files[i].name, *b = name;
		while (*a && *a == *b)
			a++, b++;
		if (*a == *b)
			return &bi->files[i];
	}
	return NULL;
}

/*
 * The hypervisor proper. Runs on the boot CPU, interrupts off, on the boot stack, with the image
 * mapped at its link address and the first 4 GiB of physical memory mapped one to one
 * (read-write-execute, until arch builds its own tables). `bi` is reachable in both mappings and
 * lies below 4 GiB. Never returns.
 */
void hv_main(struct boot_info *bi) __noreturn;
