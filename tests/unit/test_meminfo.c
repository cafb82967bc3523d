/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: boot/meminfo.c boot/files.c lib/string.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "boot/boot.h"
#include "lib/string.h"

static struct boot_info bi;

static int setup(void **state)
{
	(void)state;
	memset(&bi, 0, sizeof(bi));
	return 0;
}

static void expect(u32 i, hpa_t base, hpa_t end, u32 type)
{
	assert_in_range(i, 0, bi.nr_mem - 1);
	assert_int_equal(bi.mem[i].base, base);
	assert_int_equal(bi.mem[i].base + bi.mem[i].size, end);
	assert_int_equal(bi.mem[i].type, type);
}

static void sorts_and_merges(void **state)
{
	(void)state;
	meminfo_add(&bi, 0x300000, 0x100000, BOOT_MEM_USABLE);
	meminfo_add(&bi, 0x100000, 0x100000, BOOT_MEM_USABLE);
	meminfo_add(&bi, 0x500000, 0, BOOT_MEM_RESERVED);
	assert_int_equal(bi.nr_mem, 2);
	meminfo_add(&bi, 0x200000, 0x100000, BOOT_MEM_USABLE);
	assert_int_equal(bi.nr_mem, 1);
	expect(0, 0x100000, 0x400000, BOOT_MEM_USABLE);
}

static void carves(void **state)
{
	(void)state;
	meminfo_add(&bi, 0x100000, 0x800000, BOOT_MEM_USABLE);
	meminfo_add(&bi, 0x400000, 0x200000, BOOT_MEM_IMAGE);
	meminfo_add(&bi, 0x500000, 0x300000, BOOT_MEM_RESERVED);
	assert_int_equal(bi.nr_mem, 4);
	expect(0, 0x100000, 0x400000, BOOT_MEM_USABLE);
	expect(1, 0x400000, 0x500000, BOOT_MEM_IMAGE);
	expect(2, 0x500000, 0x800000, BOOT_MEM_RESERVED);
	expect(3, 0x800000, 0x900000, BOOT_MEM_USABLE);
}

static void usable_never_wins(void **state)
{
	(void)state;
	meminfo_add(&bi, 0x2000, 0x1000, BOOT_MEM_RESERVED);
	meminfo_add(&bi, 0x4000, 0x1000, BOOT_MEM_ACPI);
	meminfo_add(&bi, 0x1000, 0x5000, BOOT_MEM_USABLE);
	assert_int_equal(bi.nr_mem, 5);
	expect(0, 0x1000, 0x2000, BOOT_MEM_USABLE);
	expect(1, 0x2000, 0x3000, BOOT_MEM_RESERVED);
	expect(2, 0x3000, 0x4000, BOOT_MEM_USABLE);
	expect(3, 0x4000, 0x5000, BOOT_MEM_ACPI);
	expect(4, 0x5000, 0x6000, BOOT_MEM_USABLE);
}

static void rounds_to_pages(void **state)
{
	(void)state;
	meminfo_add(&bi, 0, 0x9fc00, BOOT_MEM_USABLE);
	meminfo_add(&bi, 0x9fc00, 0x400, BOOT_MEM_RESERVED);
	meminfo_add(&bi, 0x100800, 0x400, BOOT_MEM_USABLE);
	assert_int_equal(bi.nr_mem, 2);
	expect(0, 0, 0x9f000, BOOT_MEM_USABLE);
	expect(1, 0x9f000, 0xa0000, BOOT_MEM_RESERVED);
}

static void cuts_the_impossible(void **state)
{
	(void)state;
	meminfo_add(&bi, ~0ull - 0x1000, 0x2000, BOOT_MEM_USABLE);
	assert_int_equal(bi.nr_mem, 0);
	meminfo_add(&bi, 0x1000, ~0ull, BOOT_MEM_RESERVED);
	expect(0, 0x1000, 1ull << 52, BOOT_MEM_RESERVED);
}

static void full_is_an_error(void **state)
{
	(void)state;
	for (u64 i = 0; i < BOOT_MAX_MEM; i++)
		meminfo_add(&bi, i * 0x2000, 0x1000, BOOT_MEM_USABLE);
	assert_int_equal(bi.nr_mem, BOOT_MAX_MEM);
	assert_int_equal(bi.error[0], 0);
	/* Splitting the first range is also one too many. */
	meminfo_add(&bi, 0x10000000, 0x1000, BOOT_MEM_USABLE);
	assert_string_equal(bi.error, "firmware's memory map has more than 512 ranges");
	assert_int_equal(bi.nr_mem, BOOT_MAX_MEM);
}

/* Against a page-by-page model. */
static void random_ranges(void **state)
{
	enum { PAGES = 200 };
	static const u8 rank[] = {0, 1, 6, 4, 5, 7, 3, 2};
	u8 model[PAGES];

	(void)state;
	srand(1);
	for (int round = 0; round < 500; round++) {
		memset(&bi, 0, sizeof(bi));
		memset(model, 0, sizeof(model));
		for (int i = 0; i < 30; i++) {
			u32 from = (u32)rand() % PAGES, n = (u32)rand() % 40;
			u8 type = (u8)(1 + rand() % 7);

			n = MIN(n, PAGES - from);
			meminfo_add(&bi, from * PAGE_SIZE, n * PAGE_SIZE, type);
			for (u32 p = from; p < from + n; p++) {
				if (rank[type] > rank[model[p]])
					model[p] = type;
			}
		}
		u32 p = 0;
		for (u32 i = 0; i < bi.nr_mem; i++) {
			for (; p * PAGE_SIZE < bi.mem[i].base; p++)
				assert_int_equal(model[p], 0);
			for (; p * PAGE_SIZE < bi.mem[i].base + bi.mem[i].size; p++)
				assert_int_equal(model[p], bi.mem[i].type);
			if (i && bi.mem[i - 1].base + bi.mem[i - 1].size == bi.mem[i].base)
				assert_int_not_equal(bi.mem[i - 1].type, bi.mem[i].type);
		}
		for (; p < PAGES; p++)
			assert_int_equal(model[p], 0);
	}
}

static void files_table(void **state)
{
	char name[200];

	(void)state;
	memset(name, 'x', sizeof(name));
	boot_add_file(&bi, "vm.cfg and more", 6, 0x1000, 5);
	assert_non_null(boot_file_find(&bi, "vm.cfg"));
	assert_null(boot_file_find(&bi, "vm"));
	boot_add_file(&bi, name, sizeof(name), 0x2000, 5);
	assert_int_equal(bi.nr_files, 1);
	assert_non_null(strstr(bi.error, "file name too long (200 characters, at most 127)"));
	bi.error[0] = 0;
	for (int i = 1; i < BOOT_MAX_FILES; i++)
		boot_add_file(&bi, "f", 1, 0, 0);
	assert_int_equal(bi.error[0], 0);
	boot_add_file(&bi, "last", 4, 0, 0);
	assert_string_equal(bi.error, "more than 256 files; the first one too many is last");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(sorts_and_merges, setup),
		cmocka_unit_test_setup(carves, setup),
		cmocka_unit_test_setup(usable_never_wins, setup),
		cmocka_unit_test_setup(rounds_to_pages, setup),
		cmocka_unit_test_setup(cuts_the_impossible, setup),
		cmocka_unit_test_setup(full_is_an_error, setup),
		cmocka_unit_test_setup(random_ranges, setup),
		cmocka_unit_test_setup(files_table, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
