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
#define MOST	  MIB(7) /* what it grows to */
#define POOL	  6u
#define ZERO_PAGE  GIB(1)
#define BELOW_PHYS GIB(2)
#define VM	   ((struct vm *)0x77000)
#define AT	   0x2000ull /* where data is in the guest */
static u8 pool[POOL][PAGE_2M], below[DISK], model[MOST];
static unsigned pool_limit, pool_used;
static bool taken[POOL];
static u64 size; /* of the disk now */
static bool no_tables;
static u8 zero_page[PAGE_SIZE];
static int open_windows, below_closed;

u8 *fake_phys(hpa_t pa)
{
	if (pa >= BELOW_PHYS) {
		assert_true(pa - BELOW_PHYS < DISK);
		return below + (pa - BELOW_PHYS);
	}
	if (pa >= ZERO_PAGE)
		return zero_page;
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
void phys_clear(hpa_t dst, size_t n)
{
	memset(fake_phys(dst), 0, n);
}
void *gmem_hold_phys(unsigned hold, hpa_t pa)
{
	(void)hold;
	return fake_phys(pa);
}
hpa_t gpool_alloc_block(u16 owner)
{
	assert_int_equal(owner, 7);
	for (unsigned i = 0; i < pool_limit; i++)
		if (!taken[i]) {
			taken[i] = true;
			pool_used++;
			memset(pool[i], 0xee, PAGE_2M); /* what somebody left */
			return (i + 1) * PAGE_2M;
		}
	return HPA_NONE;
}
void gpool_put_block(hpa_t block)
{
	assert_true(block / PAGE_2M >= 1 && block / PAGE_2M <= POOL && taken[block / PAGE_2M - 1]);
	taken[block / PAGE_2M - 1] = false;
	pool_used--;
}
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	assert_int_equal(type, FRAME_DEVICE);
	assert_int_equal(owner, 7);
	return no_tables ? NULL : calloc(1, size);
}
void kfree(void *p)
{
	free(p);
}

hpa_t frame_pa(const void *va)
{
	(void)va;
	return ZERO_PAGE;
}
u16 vm_id(const struct vm *vm)
{
	assert_ptr_equal(vm, VM);
	return 7;
}

/* The disk below: answers at once, or later and in any order; now and then it has no room. */
static bool later, fails;
static struct block_req *queue[64];
static unsigned queued;
static int below_submit(struct block *b, struct block_req *r)
{
	assert_int_equal(r->op, BLOCK_READ);
	assert_true(r->len && r->pos + r->len <= DISK && r->pos % 512 == 0 && r->len % 512 == 0);
	if (r->len > 3 * PAGE_SIZE)
		r->len = 3 * PAGE_SIZE;
	if (later && (queued == ARRAY_SIZE(queue) || rand() % 8 == 0))
		return -EAGAIN;
	if (!later)
		return fails ? -EIO : block_copy(b->vm, r, 0, r->len, BELOW_PHYS + r->pos);
	if (r->range)
		memcpy(r + 1, r->range, 3 * sizeof(struct block_range));
	queue[queued++] = r;
	return -EINPROGRESS;
}
static void below_close(struct block *b)
{
	(void)b;
	below_closed++;
}
static const struct block_ops below_ops = {.submit = below_submit, .close = below_close};
static struct block below_block;

/* Answer one of those that wait. */
static void answer(void)
{
	unsigned i = (unsigned)rand() % queued;
	struct block_req *r = queue[i];

	queue[i] = queue[--queued];
	r->range = r->range ? (struct block_range *)(r + 1) : NULL;
	if (!fails)
		assert_int_equal(block_copy(VM, r, 0, r->len, BELOW_PHYS + r->pos), 0);
	r->done(r, fails ? -EIO : 0);
	if (rand() % 2)
		below_block.again(&below_block);
}

static struct block *below_open(const char *target, const struct vm_disk *disk, struct vm *vm, char *why, size_t n)
{
	assert_true(disk->readonly);
	below_block = (struct block){.ops = &below_ops, .vm = vm, .size = DISK, .sector = 512,
				     .req_size = sizeof(struct block_req) + 3 * sizeof(struct block_range)};
	if (!strcmp(target, "disk.img"))
		return &below_block;
	snprintf(why, n, "no %s", target);
	return NULL;
}
static const struct block_kind below_kind = {.prefix = "", .open = below_open};
BLOCK_REGISTER(below_kind);

/* A request of the user's: what becomes of it, and where its data is in the guest. */
struct io {
	bool busy;
	enum block_op op;
	u64 pos, len;
	gpa_t at;
	struct block_range range[3];
	int err;
	struct block_req *r;
};
static struct io ios[8];
static unsigned agains;

static void io_done(struct block_req *r, int err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(ios); i++) {
		if (ios[i].r != r)
			continue;
		assert_true(ios[i].busy);
		ios[i].busy = false;
		ios[i].err = err;
		return;
	}
	fail();
}
static void io_again(struct block *b)
{
	(void)b;
	agains++;
}

static struct block *open_disk(void)
{
	static const struct vm_disk disk = {.target = "cow:disk.img"};
	char why[80] = "";
	struct block *b = block_open(&disk, VM, why, sizeof(why));

	assert_non_null(b);
	b->again = io_again;
	for (unsigned i = 0; i < ARRAY_SIZE(ios); i++) {
		free(ios[i].r);
		ios[i] = (struct io){.r = malloc(b->req_size)};
	}
	return b;
}

static void close_disk(struct block *b)
{
	block_close(b);
	for (unsigned i = 0; i < ARRAY_SIZE(ios); i++) {
		free(ios[i].r);
		ios[i].r = NULL;
	}
}

/* The data in three ranges, one of them empty, and some bytes before that are skipped. */
static int submit(struct block *b, struct io *io)
{
	u64 cut = 16 + io->len / 3;
	int err;

	io->range[0] = (struct block_range){.gpa = io->at - 16, .len = (u32)cut};
	io->range[1] = (struct block_range){.gpa = FAKE_HOLE};
	io->range[2] = (struct block_range){.gpa = io->at - 16 + cut, .len = (u32)(io->len + 16 - cut)};
	*io->r = (struct block_req){.op = io->op, .pos = io->pos, .len = io->len, .range = io->range, .skip = 16, .done = io_done};
	err = b->ops->submit(b, io->r);
	memset(io->range, 0xff, sizeof(io->range)); /* nobody looks again */
	io->busy = err == -EINPROGRESS;
	io->err = err;
	return err;
}

/* All of it, in pieces. 0 or the error. */
static int whole(struct block *b, enum block_op op, u64 pos, gpa_t at, u64 n)
{
	while (n) {
		struct io *io = &ios[0];
		int err;

		*io = (struct io){.op = op, .pos = pos, .len = n, .at = at, .r = io->r};
		err = submit(b, io);
		while (io->busy || (err == -EAGAIN && queued))
			answer(), err = 0;
		if (io->err == -EAGAIN)
			continue;
		if (io->err)
			return io->err;
		assert_true(io->r->len && io->r->len <= n);
		pos += io->r->len;
		at += io->r->len;
		n -= io->r->len;
	}
	return 0;
}

static void start(unsigned limit)
{
	pool_limit = limit;
	pool_used = below_closed = 0;
	memset(taken, 0, sizeof(taken));
	size = DISK;
	later = fails = false;
	queued = 0;
	memset(model, 0, sizeof(model));
	for (size_t i = 0; i < DISK; i++)
		model[i] = below[i] = (u8)(rand() >> 4);
}

static void compare(struct block *b)
{
	for (u64 pos = 0; pos < size; pos += KIB(32)) {
		u64 n = MIN(KIB(32), size - pos);

		assert_int_equal(whole(b, BLOCK_READ, pos, AT, n), 0);
		assert_memory_equal(fake_ram + AT, model + pos, n);
	}
	assert_int_equal(open_windows, 0);
	assert_int_equal(queued, 0);
}

static void fill_random(u8 *p, u8 *q, u64 n)
{
	for (u64 k = 0; k < n; k++)
		p[k] = q[k] = (u8)(rand() >> 3);
}

static void resize(struct block *b, u64 to)
{
	char why[120] = "";

	assert_int_equal(b->ops->resize(b, to, why, sizeof(why)), 0);
	assert_int_equal(b->size, to);
	size = to;
}

static void one_by_one(bool asynchronous)
{
	struct block *b;

	srand(1);
	start(POOL);
	later = asynchronous;
	b = open_disk();
	assert_int_equal(b->size, DISK);
	for (int i = 0; i < 4000; i++) {
		u64 n = 512 * (1 + (u64)rand() % (i % 3 ? 10 : 200)), pos = 512 * ((u64)rand() % ((size - n) / 512 + 1));

		if (i % 200 == 199 && size < MOST - 512 * 500) /* larger each time, by crumbs */
			resize(b, size + 512 * (1 + (u64)rand() % 500));
		if (i % 5 == 0) { /* whole pages, too */
			pos = ALIGN_DOWN(pos, PAGE_SIZE);
			n = MIN(ALIGN_UP(n, PAGE_SIZE), size - pos);
		}
		switch (rand() % 3) {
		case 0:
			assert_int_equal(whole(b, BLOCK_READ, pos, AT, n), 0);
			assert_memory_equal(fake_ram + AT, model + pos, n);
			break;
		case 1:
			fill_random(fake_ram + AT, model + pos, n);
			assert_int_equal(whole(b, BLOCK_WRITE, pos, AT, n), 0);
			break;
		default:
			memset(model + pos, 0, n);
			assert_int_equal(whole(b, BLOCK_ZERO, pos, AT, n), 0);
		}
	}
	compare(b);
	assert_true(size > DISK + MIB(1));
	close_disk(b);
	assert_int_equal(pool_used, 0);
	assert_int_equal(below_closed, 1);
}

static void like_an_array(void **state)
{
	(void)state;
	one_by_one(false);
}

static void like_an_array_later(void **state)
{
	(void)state;
	one_by_one(true);
}

/* Many at once, none of which overlap, but in the same pages: each has its own sectors of a few pages. */
static void in_flight(void **state)
{
	struct block *b = NULL;
	unsigned waits = 0;

	(void)state;
	srand(2);
	for (int round = 0; round < 300; round++) {
		u64 base = MIB(1) + PAGE_SIZE * 8 * (u64)(round % 100);

		if (round % 100 == 0) {
			if (round)
				close_disk(b);
			start(POOL);
			later = true;
			b = open_disk();
		}
		for (unsigned i = 0; i < ARRAY_SIZE(ios); i++) {
			struct io *io = &ios[i];
			u64 sectors = 1 + (u64)rand() % 7;

			*io = (struct io){.r = io->r, .at = AT + i * KIB(16), .len = 512 * sectors,
					  .pos = base + i * 7 * 512, .err = -EAGAIN,
					  .op = rand() % 3 ? BLOCK_WRITE : rand() % 2 ? BLOCK_ZERO : BLOCK_READ};
			memset(fake_ram + io->at, 0xdd, io->len);
			if (io->op == BLOCK_WRITE)
				fill_random(fake_ram + io->at, model + io->pos, io->len);
			else if (io->op == BLOCK_ZERO)
				memset(model + io->pos, 0, io->len);
		}
		for (unsigned left = ARRAY_SIZE(ios); left;) {
			struct io *io = &ios[(unsigned)rand() % ARRAY_SIZE(ios)];

			if (queued && rand() % 3 == 0)
				answer();
			if (io->busy || !io->len)
				continue;
			if (io->err == -EAGAIN) {
				waits += submit(b, io) == -EAGAIN;
				if (io->err)
					continue;
			}
			/* A piece is done, perhaps all. */
			assert_int_equal(io->err, 0);
			if (io->op == BLOCK_READ)
				assert_memory_equal(fake_ram + io->at, model + io->pos, io->r->len);
			io->pos += io->r->len;
			io->at += io->r->len;
			io->len -= io->r->len;
			io->err = -EAGAIN;
			left -= !io->len;
		}
		assert_int_equal(queued, 0);
	}
	assert_true(waits > 100 && agains > 100);
	compare(b);
	close_disk(b);
}

/* A write that finds no memory fails, and what was there before is there still. */
static void memory_runs_out(void **state)
{
	struct block *b;

	(void)state;
	start(2); /* one for the index, one for data */
	b = open_disk();
	for (u64 page = 0; page < PAGE_2M / PAGE_SIZE; page++) {
		memset(fake_ram + AT, (int)page, 512);
		memset(model + page * PAGE_SIZE + 512, (int)page, 512);
		assert_int_equal(whole(b, BLOCK_WRITE, page * PAGE_SIZE + 512, AT, 512), 0);
	}
	assert_int_equal(whole(b, BLOCK_WRITE, MIB(3), AT, 512), -ENOMEM);
	assert_int_equal(whole(b, BLOCK_ZERO, MIB(3), AT, 512), -ENOMEM);
	assert_int_equal(whole(b, BLOCK_ZERO, MIB(3), AT, PAGE_SIZE), 0); /* needs none */
	memset(model + MIB(3), 0, PAGE_SIZE);
	compare(b);
	close_disk(b);
	start(0);
	b = open_disk();
	assert_int_equal(whole(b, BLOCK_WRITE, 0, AT, 512), -ENOMEM);
	compare(b);
	close_disk(b);
}

/* A page that cannot be filled, for want of a page aside or for an error below, leaves the disk as it was. */
static void not_filled(void **state)
{
	struct block *b;

	(void)state;
	start(2);
	b = open_disk();
	for (u64 page = 0; page < PAGE_2M / PAGE_SIZE - 1; page++) {
		fill_random(fake_ram + AT, model + page * PAGE_SIZE, PAGE_SIZE);
		assert_int_equal(whole(b, BLOCK_WRITE, page * PAGE_SIZE, AT, PAGE_SIZE), 0);
	}
	later = true;
	assert_int_equal(whole(b, BLOCK_WRITE, MIB(3), AT, 512), -ENOMEM);
	fails = true;
	assert_int_equal(whole(b, BLOCK_ZERO, MIB(3), AT, 512), -EIO);
	assert_int_equal(whole(b, BLOCK_READ, MIB(4), AT, 512), -EIO);
	fails = false;
	memset(model + MIB(3), 0, 512);
	assert_int_equal(whole(b, BLOCK_ZERO, MIB(3), AT, 512), 0); /* the page was given back each time */
	compare(b);
	close_disk(b);
}

/* What an earlier owner of the memory left never comes up, not even when a copy fails half way. */
static void nothing_leaks(void **state)
{
	struct block *b;

	(void)state;
	start(POOL);
	b = open_disk();
	assert_int_equal(whole(b, BLOCK_WRITE, 0, FAKE_HOLE_END - 512, PAGE_SIZE), -EIO);
	compare(b);
	close_disk(b);
}

/* Closed with requests in flight: none of them is heard of again. */
static void closed_in_flight(void **state)
{
	struct block *b;

	(void)state;
	start(POOL);
	later = true;
	b = open_disk();
	ios[0] = (struct io){.r = ios[0].r, .op = BLOCK_WRITE, .pos = 512, .len = 512, .at = AT};
	while (submit(b, &ios[0]) == -EAGAIN)
		;
	assert_true(ios[0].busy);
	queued = 0;
	close_disk(b);
	assert_int_equal(pool_used, 0);
}

/* What is written and discarded again and again fits into memory for once; whole blocks of it go back. */
static void discards(void **state)
{
	struct block *b;

	(void)state;
	srand(5);
	start(4); /* one is the index */
	b = open_disk();
	for (int round = 0; round < 6; round++) {
		u64 first = (u64)(round % 3) * MIB(1), n = MIB(3) - MIB(1) * (u64)(round % 2);

		for (u64 pos = first; pos < first + n; pos += KIB(64)) {
			fill_random(fake_ram + AT, model + pos, KIB(64));
			assert_int_equal(whole(b, BLOCK_WRITE, pos, AT, KIB(64)), 0);
		}
		compare(b);
		assert_int_equal(pool_used, 1 + (n + PAGE_2M - 1) / PAGE_2M);
		/* Pieces of pages stay as they are, pages of the disk below, too. */
		assert_int_equal(whole(b, BLOCK_DISCARD, first + 512, 0, PAGE_SIZE), 0);
		if (first + n < MIB(5))
			assert_int_equal(whole(b, BLOCK_DISCARD, MIB(5) - KIB(8), 0, KIB(8)), 0);
		compare(b);
		assert_int_equal(whole(b, round % 2 ? BLOCK_ZERO : BLOCK_DISCARD, first, 0, n - PAGE_SIZE), 0);
		memset(model + first, 0, n - PAGE_SIZE);
		assert_int_equal(pool_used, 2); /* for one page */
		compare(b);
		assert_int_equal(whole(b, BLOCK_DISCARD, first, 0, n), 0);
		memset(model + first, 0, n);
		assert_int_equal(pool_used, 1);
		compare(b);
	}
	close_disk(b);
	assert_int_equal(pool_used, 0);
	/* In any order: the model knows what is ours, which a discarded page is no more. */
	start(4);
	b = open_disk();
	static u8 ours[MIB(4) / PAGE_SIZE];
	memset(ours, 0, sizeof(ours));
	for (int i = 0; i < 6000; i++) {
		u64 page = (u64)rand() % ARRAY_SIZE(ours), pos = page * PAGE_SIZE;

		if (rand() % 2) {
			fill_random(fake_ram + AT, model + pos, PAGE_SIZE);
			assert_int_equal(whole(b, BLOCK_WRITE, pos, AT, PAGE_SIZE), 0);
			ours[page] = 1;
		} else {
			assert_int_equal(whole(b, BLOCK_DISCARD, pos, 0, PAGE_SIZE), 0);
			if (ours[page])
				memset(model + pos, 0, PAGE_SIZE);
		}
	}
	compare(b);
	close_disk(b);
	assert_int_equal(pool_used, 0);
}

static void sizes(void **state)
{
	char why[120] = "";
	struct block *b;

	(void)state;
	start(POOL);
	b = open_disk();
	/* No more than there are tables for, and then it is as it was. */
	no_tables = true;
	assert_int_equal(b->ops->resize(b, MIB(100), why, sizeof(why)), -ENOMEM);
	assert_non_null(strstr(why, "tables"));
	no_tables = false;
	assert_int_equal(b->ops->resize(b, GIB(4097), why, sizeof(why)), -ENOSPC);
	assert_string_equal(why, "an overlay may have 4096 GiB");
	assert_int_equal(b->size, DISK);
	compare(b);
	/* What is new is zeroes, behind half a page that is ours, too: nothing of what the memory had. */
	fill_random(fake_ram + AT, model + DISK - 512 * 3, 512 * 3);
	assert_int_equal(whole(b, BLOCK_WRITE, DISK - 512 * 3, AT, 512 * 3), 0);
	resize(b, MIB(6));
	compare(b);
	fill_random(fake_ram + AT, model + MIB(6) - 512, 512);
	assert_int_equal(whole(b, BLOCK_WRITE, MIB(6) - 512, AT, 512), 0);
	resize(b, MOST);
	compare(b);
	/* Smaller, into the disk below; and back again. */
	resize(b, MIB(2) + 512);
	compare(b);
	resize(b, MOST);
	compare(b);
	/* With a request on its way, which ends as it would have. */
	later = true;
	ios[0] = (struct io){.r = ios[0].r, .op = BLOCK_WRITE, .pos = MIB(3) + 512, .len = 512, .at = AT};
	fill_random(fake_ram + AT, model + MIB(3) + 512, 512);
	while (submit(b, &ios[0]) == -EAGAIN)
		;
	assert_true(ios[0].busy);
	resize(b, MIB(1));
	resize(b, MIB(40));
	size = MOST;
	while (queued)
		answer();
	assert_true(!ios[0].busy && !ios[0].err);
	compare(b);
	close_disk(b);
	assert_int_equal(pool_used, 0);
}

static void refused(void **state)
{
	static const struct vm_disk disk = {.target = "cow:other.img"};
	char why[80] = "";

	(void)state;
	assert_null(block_open(&disk, VM, why, sizeof(why)));
	assert_string_equal(why, "no other.img");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(like_an_array), cmocka_unit_test(like_an_array_later), cmocka_unit_test(in_flight),
		cmocka_unit_test(memory_runs_out), cmocka_unit_test(not_filled), cmocka_unit_test(nothing_leaks),
		cmocka_unit_test(closed_in_flight), cmocka_unit_test(refused), cmocka_unit_test(discards),
		cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
