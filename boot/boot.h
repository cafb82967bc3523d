/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside boot/: what the entries share. */
#pragma once
#include "boot/boot_info.h"

/* --- meminfo.c: the memory map in boot_info. Pure. --- */
/*
 * Enter [base, base+size) into the map, which stays sorted, disjoint and merged after each call,
 * whatever order and overlaps firmware gives. Where two entries overlap the more restrictive one
 * holds: usable < files < image < ACPI < NVS < reserved < bad. Usable memory shrinks to whole
 * pages, all else grows to them. Sets bi->error when the map is full.
 */
void meminfo_add(struct boot_info *bi, hpa_t base, u64 size, enum boot_mem_type type);
/* E820's numbers, which PVH and multiboot2 use too (ACPI 6.4, table 15.4). */
enum boot_mem_type meminfo_from_e820(u32 type);

/* --- files.c --- */
/* Append a file; sets bi->error if the name or the table is too long. The memory is the caller's.
 */
void boot_add_file(struct boot_info *bi, const char *name, size_t name_len, hpa_t addr, u64 size);
/* The first error stays. */
void boot_error(struct boot_info *bi, const char *fmt, ...) __format(2, 3);

/* --- the entries: each fills a zeroed boot_info from its loader's structure --- */
void pvh_fill(struct boot_info *bi, u64 start_info);
void multiboot2_fill(struct boot_info *bi, u64 mbi);
