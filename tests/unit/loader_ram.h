/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's RAM for tests of vmm/loader.c, which aborts on what a loader must never do: write
 * outside of RAM, to page 0, to 0xa0000..0xfffff (unless `rom`), or to a page that it has given
 * to something else.
 */
#pragma once
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/loader.h"
#include "lib/errno.h"

#define RAM_SIZE (16u << 20)

static u8 ram[RAM_SIZE];
static const void *ram_owner[RAM_SIZE / 4096];
static const char owner_loader, owner_kernel;
static bool ram_rom; /* writes to 0xe0000..0xfffff are right (ACPI tables) */

struct mem_file {
	struct load_file f;
	const u8 *data;
};

static void ram_die(const char *what, u64 gpa, u64 n)
{
	fprintf(stderr, "loader: %s: 0x%llx + 0x%llx\n", what, (unsigned long long)gpa,
		(unsigned long long)n);
	abort();
}

static bool ram_take(const struct load_target *t, u64 gpa, u64 n, const void *owner)
{
	if (!n)
		return true;
	if (gpa > t->ram_low || n > t->ram_low - gpa)
		return false;
	if (gpa < 4096)
		ram_die("page 0", gpa, n);
	if (gpa < 0x100000 && gpa + n > 0x9fc00 && !(ram_rom && gpa >= 0xe0000))
		ram_die("the hole below 1 MiB", gpa, n);
	for (u64 p = gpa / 4096; p <= (gpa + n - 1) / 4096; p++) {
		if (ram_owner[p] && ram_owner[p] != owner)
			ram_die("overlap", gpa, n);
		ram_owner[p] = owner;
	}
	return true;
}

static int ram_write(struct load_target *t, gpa_t gpa, const void *buf, size_t n)
{
	if (!ram_take(t, gpa, n, &owner_loader))
		return -EFAULT;
	memcpy(ram + gpa, buf, n);
	return 0;
}

static void file_read(const struct load_file *f, u64 off, void *buf, size_t n)
{
	const struct mem_file *m = (const struct mem_file *)f;

	if (off > f->size || n > f->size - off)
		ram_die("read past the file's end", off, n);
	memcpy(buf, m->data + off, n);
}

static int ram_copy(struct load_target *t, gpa_t gpa, const struct load_file *f, u64 off, u64 n)
{
	if (!ram_take(t, gpa, n, f->arg ? (const void *)f : &owner_kernel))
		return -EFAULT;
	file_read(f, off, ram + gpa, n);
	return 0;
}

static int ram_zero(struct load_target *t, gpa_t gpa, u64 n)
{
	if (!ram_take(t, gpa, n, &owner_kernel))
		return -EFAULT;
	memset(ram + gpa, 0, n);
	return 0;
}

/* arg 1: a ramdisk; 0: a kernel. */
static inline struct mem_file mem_file(const void *data, size_t n, u64 arg)
{
	return (struct mem_file){{.size = n, .read = file_read, .arg = arg}, data};
}

/* As it is when a VM begins: zero, with no owners. */
static struct load_target ram_new(u64 low)
{
	for (size_t p = 0; p < RAM_SIZE / 4096; p++) {
		if (ram_owner[p])
			memset(ram + p * 4096, 0, 4096);
		ram_owner[p] = NULL;
	}
	return (struct load_target){
		.ram_low = low, .vcpus = 1, .write = ram_write, .copy = ram_copy, .zero = ram_zero};
}
