/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/host/block_cow.c drivers/block.c */
/* The overlay against an array: random reads, writes and zeroings of any place and length, and memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "arch/x86_64/frame.h"
#include "arch/x86_64/window.h"
#include "drivers/block.h"
#include "tests/unit/fake_gmem.h"
#include "vmm/config.h"

#define DISK	  (MIB(5) + 512 * 3) /* more than one page of the index, and a crumb */
#define POOL	  6u
static u8 pool[POOL][PAGE_2M], below[DISK], model[DISK];
static unsigned pool_limit, pool_used, put;
static int open_windows, below_closed;

u8 *fake_phys(hpa_t pa)
{
	assert_true(pa / PAGE_2M >= 1 && pa / PAGE_2M <= POOL);
	return pool[pa / PAGE_2M - 1] + pa % PAGE_2M;
}
void *window_open(hpa_t pa)
{
	open_windows++;
	return fake_phys(pa);
}
void window_close(void *va)
{
	(void)va;
	open_windows--;
}
void phys_copy(hpa_t dst, hpa_t src, size_t n)
{
	memcpy(fake_phys(dst), fake_phys(src), n);
}
int gmem_copy_from_phys(struct vm *vm, gpa_t gpa, hpa_t src, u64 n)
{
	(void)vm;
	return fake_copy(gpa, src, n, false);
}
int gmem_copy_to_phys(struct vm *vm, hpa_t dst, gpa_t gpa, u64 n)
{
	(void)vm;
	return fake_copy(gpa, dst, n, true);
}
hpa_t gpool_alloc_block(u16 owner)
{
	assert_int_equal(owner, 7);
	if (pool_used == pool_limit)
		return HPA_NONE;
	memset(pool[pool_used], 0xee, PAGE_2M); /* what somebody left */
	return ++pool_used * PAGE_2M;
}
void gpool_put_block(hpa_t block)
{
	assert_true(block / PAGE_2M >= 1 && block / PAGE_2M <= pool_used);
	put++;
}
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	assert_int_equal(type, FRAME_DEVICE);
	assert_int_equal(owner, 7);
	return calloc(1, size);
}
void kfree(void *p)
{
	free(p);
}

static int below_read(struct block *b, u64 pos, struct vm *vm, gpa_t to, u64 n)
{
	(void)b;
	assert_true(pos + n <= DISK);
	return gmem_write(vm, to, below + pos, n);
}
static int below_read_phys(struct block *b, u64 pos, hpa_t to, u64 n)
{
	(void)b;
	assert_true(pos + n <= DISK);
	memcpy(fake_phys(to), below + pos, n);
	return 0;
}
static void below_close(struct block *b)
{
	(void)b;
	below_closed++;
}
static const struct block_ops below_ops = {.read = below_read, .read_phys = below_read_phys, .close = below_close};
static struct block below_block = {.ops = &below_ops, .size = DISK, .sector = 512};
static struct block *below_open(const char *target, const struct vm_disk *disk, u16 owner, char *why, size_t n)
{
	(void)owner;
	assert_true(disk->readonly);
	if (!strcmp(target, "disk.img"))
		return &below_block;
	snprintf(why, n, "no %s", target);
	return NULL;
}
static const struct block_kind below_kind = {.prefix = "", .open = below_open};
BLOCK_REGISTER(below_kind);

static struct block *open_disk(void)
{
	static const struct vm_disk disk = {.target = "cow:disk.img"};
	char why[80] = "";
	struct block *b = block_open(&disk, 7, why, sizeof(why));

	assert_non_null(b);
	return b;
}

static void start(unsigned limit)
{
	pool_limit = limit;
	pool_used = put = 0;
	below_closed = 0;
	for (size_t i = 0; i < DISK; i++)
		model[i] = below[i] = (u8)(rand() >> 4);
}

static void compare(struct block *b)
{
	for (u64 pos = 0; pos < DISK; pos += BLOCK_STEP) {
		u64 n = MIN(BLOCK_STEP, DISK - pos);

		assert_int_equal(b->ops->read(b, pos, NULL, 0, n), 0);
		assert_memory_equal(fake_ram, model + pos, n);
	}
	assert_int_equal(open_windows, 0);
}

static void like_an_array(void **state)
{
	struct block *b;

	(void)state;
	srand(1);
	start(POOL);
	b = open_disk();
	assert_int_equal(b->size, DISK);
	for (int i = 0; i < 4000; i++) {
		u64 n = 1 + (u64)rand() % (i % 3 ? 5000 : BLOCK_STEP), pos = (u64)rand() % (DISK - n + 1);

		if (i % 5 == 0) { /* whole pages, too */
			pos = ALIGN_DOWN(pos, PAGE_SIZE);
			n = MIN(ALIGN_UP(n, PAGE_SIZE), DISK - pos);
			n = MIN(n, BLOCK_STEP);
		}
		switch (rand() % 3) {
		case 0:
			assert_int_equal(b->ops->read(b, pos, NULL, 100, n), 0);
			assert_memory_equal(fake_ram + 100, model + pos, n);
			break;
		case 1:
			for (u64 k = 0; k < n; k++)
				fake_ram[k] = model[pos + k] = (u8)(rand() >> 3);
			assert_int_equal(b->ops->write(b, pos, NULL, 0, n), 0);
			break;
		default:
			memset(model + pos, 0, n);
			assert_int_equal(b->ops->zero(b, pos, n), 0);
		}
	}
	compare(b);
	assert_int_equal(b->ops->read_phys(b, 4000, pool_used * PAGE_2M, 3000), 0);
	block_close(b);
	assert_int_equal(put, pool_used);
	assert_int_equal(below_closed, 1);
}

/* A write that finds no memory fails, and what was there before is there still. */
static void memory_runs_out(void **state)
{
	struct block *b;

	(void)state;
	start(2); /* one for the index, one for data */
	b = open_disk();
	for (u64 page = 0; page < PAGE_2M / PAGE_SIZE; page++) {
		memset(fake_ram, (int)page, 16);
		memset(model + page * PAGE_SIZE + 8, (int)page, 16);
		assert_int_equal(b->ops->write(b, page * PAGE_SIZE + 8, NULL, 0, 16), 0);
	}
	assert_int_equal(b->ops->write(b, MIB(3), NULL, 0, 16), -ENOMEM);
	assert_int_equal(b->ops->zero(b, MIB(3), 16), -ENOMEM);
	assert_int_equal(b->ops->zero(b, MIB(3), PAGE_SIZE), 0); /* needs none */
	memset(model + MIB(3), 0, PAGE_SIZE);
	compare(b);
	block_close(b);
	start(0);
	b = open_disk();
	assert_int_equal(b->ops->write(b, 0, NULL, 0, 16), -ENOMEM);
	compare(b);
	block_close(b);
}

/* What an earlier owner of the memory left never comes up, not even when a copy fails half way. */
static void nothing_leaks(void **state)
{
	struct block *b;

	(void)state;
	start(POOL);
	b = open_disk();
	assert_int_equal(b->ops->write(b, 0, NULL, FAKE_HOLE, PAGE_SIZE), -EIO);
	assert_int_equal(b->ops->read(b, 0, NULL, 0, PAGE_SIZE), 0);
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		assert_true(fake_ram[i] != 0xee || below[i] == 0xee);
	block_close(b);
}

static void refused(void **state)
{
	static const struct vm_disk disk = {.target = "cow:other.img"};
	char why[80] = "";

	(void)state;
	assert_null(block_open(&disk, 7, why, sizeof(why)));
	assert_string_equal(why, "no other.img");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(like_an_array), cmocka_unit_test(memory_runs_out), cmocka_unit_test(nothing_leaks),
		cmocka_unit_test(refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
