/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: boot/multiboot2.c boot/pvh.c boot/files.c boot/meminfo.c lib/ustar.c lib/string.c */
/*
 * What a loader hands over: the multiboot2 information, or PVH's start info with its tables and its
 * archive. Loaders are trusted with their pointers, so those are made to lie in the input; lengths,
 * types and contents are as they come. The memory map must keep its promises whatever they are.
 */
#include <stdlib.h>
#include "boot/boot.h"
#include "lib/string.h"

#define PVH_MAGIC 0x336ec578

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void check(const struct boot_info *bi)
{
	require(bi->nr_mem <= BOOT_MAX_MEM && bi->nr_files <= BOOT_MAX_FILES);
	require(strnlen(bi->error, sizeof(bi->error)) < sizeof(bi->error) && !strchr(bi->error, '\n'));
	for (u32 i = 0; i < bi->nr_mem; i++) {
		const struct boot_mem *m = &bi->mem[i], *next = m + 1;

		require(m->size && m->base + m->size - 1 >= m->base);
		if (i + 1 == bi->nr_mem)
			break;
		require(m->base + m->size <= next->base && m->base + m->size);
		require(m->type != next->type || m->base + m->size != next->base);
	}
	for (u32 i = 0; i < bi->nr_files; i++)
		require(strnlen(bi->files[i].name, BOOT_NAME_MAX) < BOOT_NAME_MAX && bi->files[i].name[0]);
}

static void multiboot2(struct boot_info *bi, const u8 *data, size_t size)
{
	u32 total = (u32)size + 8;
	u8 *copy = aligned_alloc(8, ALIGN_UP(size + 8, 8));

	require(copy);
	memcpy(copy, &total, 4);
	if (size)
		memcpy(copy + 8, data, size);
	multiboot2_fill(bi, (u64)copy);
	check(bi);
	free(copy);
}

/* Two counts, the head's first 12 bytes, memory map, module list; the rest is what modules lie in. */
static void pvh(struct boot_info *bi, const u8 *data, size_t size)
{
	u64 info[7] = {0}, mod[4 * 4], *mem;
	u32 nr_mem, nr_mod;
	u8 *rest;

	if (size < 14)
		return;
	nr_mem = MIN((size_t)data[0], (size - 14) / 24);
	nr_mod = MIN((size_t)(data[1] & 3), (size - 14 - 24 * nr_mem) / 32);
	memcpy(info, data + 2, 12);
	data += 14;
	size -= 14 + 24 * nr_mem + 32 * nr_mod;
	mem = malloc(24 * nr_mem + 1);
	rest = malloc(size + 1);
	require(mem && rest);
	memcpy(mem, data, 24 * nr_mem);
	memcpy(mod, data + 24 * nr_mem, 32 * nr_mod);
	memcpy(rest, data + 24 * nr_mem + 32 * nr_mod, size);
	for (u32 i = 0; i < nr_mod; i++) {
		mod[4 * i] = size ? mod[4 * i] % size : 0;
		mod[4 * i + 1] = MIN(mod[4 * i + 1], size - mod[4 * i]);
		mod[4 * i] += (u64)rest;
	}
	info[1] = (info[1] & ~0xffffffff00000000ull) | (u64)nr_mod << 32;
	info[2] = (u64)mod;
	info[5] = (u64)mem;
	info[6] = nr_mem;
	pvh_fill(bi, (u64)info);
	check(bi);
	for (u32 i = 0; i < bi->nr_files; i++)
		require(bi->files[i].addr >= (u64)rest && bi->files[i].size <= size &&
			bi->files[i].addr - (u64)rest <= size - bi->files[i].size);
	free(mem);
	free(rest);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct boot_info bi;

	if (!size)
		return 0;
	memset(&bi, 0, sizeof(bi));
	if (data[0] & 1)
		multiboot2(&bi, data + 1, size - 1);
	else
		pvh(&bi, data + 1, size - 1);
	return 0;
}
