/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/ustar.c lib/string.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "lib/errno.h"
#include "lib/string.h"
#include "lib/ustar.h"

static u8 archive[16384] __aligned(512);
static u64 length;

static void seal(u8 *h)
{
	unsigned sum = 0;

	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
}

static u8 *add(const char *prefix, const char *name, char type, const char *content)
{
	u8 *h = archive + length;
	size_t n = strlen(content);

	memset(h, 0, 512);
	memcpy(h, name, strlen(name));
	memcpy(h + 345, prefix, strlen(prefix));
	snprintf((char *)h + 124, 12, "%011o", (unsigned)n);
	memcpy(h + 257, "ustar\00000", 8);
	h[156] = (u8)type;
	seal(h);
	memcpy(h + 512, content, n);
	length += 512 + ALIGN_UP(n, (size_t)512);
	return h;
}

static int setup(void **state)
{
	(void)state;
	memset(archive, 0, sizeof(archive));
	length = 0;
	return 0;
}

static void reads_files(void **state)
{
	struct ustar_entry e;
	u64 pos = 0;

	(void)state;
	add("", "./", '5', "");
	add("", "./dalang.cfg", '0', "vms = []\n");
	add("some/dir", "kernel", 0, "");
	length += 1024;
	assert_int_equal(ustar_next(archive, length, &pos, &e), 1);
	assert_string_equal(e.name, "dalang.cfg");
	assert_int_equal(e.size, 9);
	assert_memory_equal(e.data, "vms = []\n", 9);
	assert_int_equal(ustar_next(archive, length, &pos, &e), 1);
	assert_string_equal(e.name, "some/dir/kernel");
	assert_int_equal(e.size, 0);
	assert_int_equal(ustar_next(archive, length, &pos, &e), 0);
}

static void full_length_names(void **state)
{
	struct ustar_entry e;
	char name[101] = "", prefix[156] = "";
	u64 pos = 0;

	(void)state;
	memset(name, 'n', 100);
	memset(prefix, 'p', 155);
	add(prefix, name, '0', "x");
	assert_int_equal(ustar_next(archive, length, &pos, &e), 1);
	assert_int_equal(strlen(e.name), 256);
}

static void refuses(void **state)
{
	struct ustar_entry e;
	u64 pos = 0;
	u8 *h;

	(void)state;
	assert_int_equal(ustar_next((const u8 *)"070701", 6, &pos, &e), -EINVAL);
	h = add("", "a", '0', "0123456789");
	pos = 0; /* cut inside the content */
	assert_int_equal(ustar_next(archive, 512 + 9, &pos, &e), -EINVAL);
	pos = 0; /* whole content, padding cut */
	assert_int_equal(ustar_next(archive, 512 + 10, &pos, &e), 1);
	assert_int_equal(ustar_next(archive, 512 + 10, &pos, &e), 0);
	h[0] = 'b';
	pos = 0;
	assert_int_equal(ustar_next(archive, length, &pos, &e), -EINVAL);
	memset(h + 124, 0xff, 12); /* GNU's base-256 size */
	seal(h);
	pos = 0;
	assert_int_equal(ustar_next(archive, length, &pos, &e), -EINVAL);
	setup(NULL);
	add("", "pax", 'x', "20 path=longer\n");
	pos = 0;
	assert_int_equal(ustar_next(archive, length, &pos, &e), -ENOSYS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(reads_files, setup),
		cmocka_unit_test_setup(full_length_names, setup),
		cmocka_unit_test_setup(refuses, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
