/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtq.c */
/* Virtqueues against a driver of our own: what a good one does comes through, what a bad one does is named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "drivers/virtio/virtq.h"
#include "tests/unit/fake_gmem.h"

enum { NEXT = 1, WRITE = 2, INDIRECT = 4, AVAIL = 0x80, USED = 0x8000 };
#define DESC   0x1000ull
#define DRIVER 0x3000ull
#define DEVICE 0x5000ull
#define TABLE  0x7000ull
#define DATA   0x10000ull

static struct virtq q;
static struct virtq_chain chain;
static const char *why;

static void put(gpa_t gpa, unsigned size, u64 val)
{
	memcpy(fake_ram + gpa, &val, size);
}
static u64 get(gpa_t gpa, unsigned size)
{
	u64 val = 0;

	memcpy(&val, fake_ram + gpa, size);
	return val;
}
static void desc(gpa_t at, u64 addr, u32 len, u16 flags, u16 next)
{
	put(at, 8, addr);
	put(at + 8, 4, len);
	put(at + 12, 2, flags);
	put(at + 14, 2, next);
}
static void packed(gpa_t at, u64 addr, u32 len, u16 id, u16 flags)
{
	desc(at, addr, len, id, flags);
}

static void start(u16 size, bool is_packed, bool event_idx)
{
	memset(fake_ram, 0, sizeof(fake_ram));
	virtq_reset(&q, size);
	q.desc = DESC;
	q.driver = DRIVER;
	q.device = DEVICE;
	q.packed = is_packed;
	q.event_idx = event_idx;
	q.indirect = 1;
	assert_null(virtq_enable(NULL, &q));
	assert_true(virtq_valid(&q));
	why = NULL;
}
static void offer(u16 head)
{
	u16 idx = (u16)get(DRIVER + 2, 2);

	put(DRIVER + 4 + 2 * (idx % q.size), 2, head);
	put(DRIVER + 2, 2, (u16)(idx + 1));
}
static int pop(void)
{
	int r = virtq_pop(NULL, &q, &chain, &why);

	assert_int_equal(fake_mapped, 0);
	assert_int_equal(r < 0, why != NULL);
	return r;
}
static void broken(const char *what)
{
	assert_int_equal(pop(), -EINVAL);
	assert_string_equal(why, what);
}

/* --- split --- */

static void split_chain(void **state)
{
	char buf[16];

	(void)state;
	start(8, false, false);
	assert_int_equal(pop(), 0);
	desc(DESC + 16 * 3, DATA, 5, NEXT, 7);
	desc(DESC + 16 * 7, DATA + 100, 3, NEXT, 0);
	desc(DESC, DATA + 200, 4, WRITE | NEXT, 1);
	desc(DESC + 16, DATA + 300, 4, WRITE, 0xffff);
	memcpy(fake_ram + DATA, "hello", 5);
	memcpy(fake_ram + DATA + 100, "abc", 3);
	offer(3);
	assert_int_equal(pop(), 1);
	assert_int_equal(chain.id, 3);
	assert_int_equal(chain.nr_out, 2);
	assert_int_equal(chain.nr_in, 2);
	assert_int_equal(chain.out_len, 8);
	assert_int_equal(chain.in_len, 8);
	assert_int_equal(virtq_read(NULL, &chain, 2, buf, sizeof(buf)), 6);
	assert_memory_equal(buf, "lloabc", 6);
	assert_int_equal(virtq_read(NULL, &chain, 8, buf, 1), 0);
	assert_int_equal(virtq_write(NULL, &chain, 3, "wxyz", 4), 4);
	assert_memory_equal(fake_ram + DATA + 203, "w", 1);
	assert_memory_equal(fake_ram + DATA + 300, "xyz", 3);
	assert_int_equal(virtq_write(NULL, &chain, 6, "wxyz", 4), 2);
	assert_int_equal(pop(), 0);
	assert_int_equal(q.in_flight, 1);
	assert_int_equal(virtq_push(NULL, &q, &chain, 7), 0);
	assert_int_equal(get(DEVICE + 2, 2), 1);
	assert_int_equal(get(DEVICE + 4, 4), 3);
	assert_int_equal(get(DEVICE + 8, 4), 7);
	assert_int_equal(q.in_flight, 0);
}

static void split_indirect(void **state)
{
	(void)state;
	start(4, false, false);
	desc(TABLE, DATA, 8, NEXT, 2);
	desc(TABLE + 32, DATA + 64, 8, WRITE, 0);
	desc(DESC, DATA + 128, 16, NEXT, 1);
	desc(DESC + 16, TABLE, 48, INDIRECT | WRITE, 0); /* WRITE says nothing here */
	offer(0);
	assert_int_equal(pop(), 1);
	assert_int_equal(chain.nr_out, 2);
	assert_int_equal(chain.nr_in, 1);
	assert_int_equal(chain.range[2].gpa, DATA + 64);
}

static void split_hostile(void **state)
{
	static const struct {
		const char *what;
		u64 addr;
		u32 len;
		u16 flags, next;
	} rows[] = {
		{"a chain is longer than its table: it is a loop", DATA, 4, NEXT, 0},
		{"a descriptor's next one is beyond the table", DATA, 4, NEXT, 8},
		{"a buffer has no bytes", DATA, 0, 0, 0},
		{"a buffer is not in RAM", FAKE_HOLE, 1, 0, 0},
		{"a buffer is not in RAM", FAKE_HOLE - 1, 2, 0, 0},
		{"a buffer is not in RAM", FAKE_RAM - 1, 2, WRITE, 0},
		{"a buffer is not in RAM", ~0ull - 3, 8, WRITE, 0},
		{"a buffer is not in RAM", DATA, 0xffffffff, 0, 0},
		{"an indirect descriptor stands where none may", TABLE, 16, INDIRECT | NEXT, 1},
		{"an indirect table has no length that one may have", TABLE, 0, INDIRECT, 0},
		{"an indirect table has no length that one may have", TABLE, 17, INDIRECT, 0},
		{"an indirect table has no length that one may have", TABLE, 9 * 16, INDIRECT, 0},
		{"a table of descriptors is not in RAM", FAKE_HOLE, 16, INDIRECT, 0},
		{"a table of descriptors is not in RAM", ~0ull - 7, 16, INDIRECT, 0},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		start(8, false, false);
		desc(DESC, rows[i].addr, rows[i].len, rows[i].flags, rows[i].next);
		offer(0);
		broken(rows[i].what);
	}
	start(8, false, false);
	offer(8);
	broken("an available chain's head is beyond the queue");
	start(8, false, false);
	put(DRIVER + 2, 2, 9);
	broken("more chains are available than the queue has descriptors");
	start(8, false, false);
	desc(DESC, DATA, 4, WRITE | NEXT, 1);
	desc(DESC + 16, DATA, 4, 0, 0);
	offer(0);
	broken("a buffer to be read stands behind one to be written");
	start(8, false, false); /* indirect in indirect */
	desc(TABLE, TABLE, 16, INDIRECT, 0);
	desc(DESC, TABLE, 16, INDIRECT, 0);
	offer(0);
	broken("an indirect descriptor stands where none may");
	start(8, false, false); /* not negotiated */
	q.indirect = 0;
	desc(DESC, TABLE, 16, INDIRECT, 0);
	offer(0);
	broken("an indirect descriptor stands where none may");
	start(8, false, false); /* one head again and again */
	desc(DESC, DATA, 4, 0, 0);
	for (int i = 0; i < 8; i++) {
		offer(0);
		assert_int_equal(pop(), 1);
	}
	offer(0);
	broken("more chains are available than the queue has descriptors");
}

/* --- packed --- */

static void packed_chain(void **state)
{
	(void)state;
	start(4, true, false);
	assert_int_equal(pop(), 0);
	packed(DESC, DATA, 4, 0, NEXT | AVAIL);
	packed(DESC + 16, DATA + 8, 4, 77, WRITE | AVAIL);
	assert_int_equal(pop(), 1);
	assert_int_equal(chain.id, 77);
	assert_int_equal(chain.nr_ring, 2);
	assert_int_equal(pop(), 0);
	/* Its successor goes round the end of the ring: its flags are those of the next round there. */
	packed(DESC + 32, DATA, 4, 0, NEXT | AVAIL);
	packed(DESC + 48, DATA, 4, 5, AVAIL);
	assert_int_equal(pop(), 1);
	assert_int_equal(q.next_avail, 0);
	assert_int_equal(q.avail_wrap, 0);
	assert_int_equal(virtq_push(NULL, &q, &chain, 0), 0);
	assert_int_equal(get(DESC + 12, 2), 5);
	assert_int_equal(get(DESC + 14, 2), AVAIL | USED);
	chain.id = 77;
	assert_int_equal(virtq_push(NULL, &q, &chain, 3), 0);
	assert_int_equal(get(DESC + 32 + 8, 4), 3);
	assert_int_equal(get(DESC + 32 + 14, 2), AVAIL | USED | WRITE);
	assert_int_equal(q.next_used, 0);
	assert_int_equal(q.used_wrap, 0);
	packed(DESC, DATA, 4, 9, USED);
	assert_int_equal(pop(), 1);
	assert_int_equal(chain.id, 9);
	assert_int_equal(virtq_push(NULL, &q, &chain, 0), 0);
	assert_int_equal(get(DESC + 14, 2), 0);
	assert_true(virtq_valid(&q));
}

static void packed_indirect(void **state)
{
	(void)state;
	start(4, true, false);
	packed(TABLE, DATA, 4, 0, NEXT); /* NEXT says nothing here */
	packed(TABLE + 16, DATA + 8, 4, 0, WRITE);
	packed(DESC, TABLE, 32, 3, INDIRECT | AVAIL);
	assert_int_equal(pop(), 1);
	assert_int_equal(chain.id, 3);
	assert_int_equal(chain.nr_ring, 1);
	assert_int_equal(chain.nr_out, 1);
	assert_int_equal(chain.nr_in, 1);
}

static void packed_hostile(void **state)
{
	(void)state;
	start(4, true, false); /* a loop: all have NEXT */
	for (int i = 0; i < 4; i++)
		packed(DESC + 16 * i, DATA, 4, 0, NEXT | AVAIL);
	broken("a chain runs into descriptors that are in use");
	start(4, true, false);
	packed(DESC, TABLE, 16, 0, INDIRECT | NEXT | AVAIL);
	broken("an indirect descriptor stands where none may");
	start(4, true, false); /* behind a plain one */
	packed(DESC, DATA, 4, 0, NEXT | AVAIL);
	packed(DESC + 16, TABLE, 16, 0, INDIRECT | AVAIL);
	broken("an indirect descriptor stands where none may");
	start(4, true, false);
	packed(TABLE, TABLE, 16, 0, INDIRECT);
	packed(DESC, TABLE, 16, 0, INDIRECT | AVAIL);
	broken("an indirect descriptor stands where none may");
	start(4, true, false);
	packed(DESC, TABLE, 80, 0, INDIRECT | AVAIL);
	broken("an indirect table has no length that one may have");
	start(4, true, false);
	packed(DESC, FAKE_HOLE, 16, 0, INDIRECT | AVAIL);
	broken("a table of descriptors is not in RAM");
	start(4, true, false);
	packed(DESC, DATA, 0, 0, AVAIL);
	broken("a buffer has no bytes");
	start(4, true, false); /* as long as the ring, then one more of it */
	for (int i = 0; i < 4; i++)
		packed(DESC + 16 * i, DATA, 4, 0, (i < 3 ? NEXT : 0) | AVAIL);
	assert_int_equal(pop(), 1);
	packed(DESC, DATA, 4, 0, USED);
	broken("a chain runs into descriptors that are in use");
}

/* --- telling --- */

static void split_events(void **state)
{
	bool each = true;

	(void)state;
	start(4, false, false);
	desc(DESC, DATA, 4, 0, 0);
	assert_true(virtq_wants_irq(NULL, &q));
	put(DRIVER, 2, 1);
	assert_false(virtq_wants_irq(NULL, &q));
	assert_false(virtq_set_kicks(NULL, &q, false));
	assert_int_equal(get(DEVICE, 2), 1);
	offer(0);
	assert_true(virtq_set_kicks(NULL, &q, true));
	assert_int_equal(get(DEVICE, 2), 0);

	start(4, false, true);
	desc(DESC, DATA, 4, 0, 0);
	q.next_used = q.next_avail = 0xfffd; /* over the end of 16 bits */
	put(DRIVER + 2, 2, 0xfffd);
	put(DRIVER + 4 + 8, 2, 0); /* an interrupt behind the fourth */
	virtq_wants_irq(NULL, &q);
	for (int i = 0; i < 4; i++) {
		offer(0);
		assert_int_equal(pop(), 1);
		assert_int_equal(virtq_push(NULL, &q, &chain, 0), 0);
		each = virtq_wants_irq(NULL, &q);
		assert_int_equal(each, i == 3);
	}
	assert_false(virtq_set_kicks(NULL, &q, true));
	assert_int_equal(get(DEVICE + 4 + 32, 2), 1);
}

static void packed_events(void **state)
{
	(void)state;
	start(4, true, true);
	assert_true(virtq_wants_irq(NULL, &q)); /* EVENT_ENABLE */
	put(DRIVER + 2, 2, 1);
	assert_false(virtq_wants_irq(NULL, &q));
	put(DRIVER + 2, 2, 2);
	put(DRIVER, 2, 0x8000 | 2); /* behind descriptor 2 of this round */
	for (u16 i = 0; i < 4; i++) {
		packed(DESC + 16 * i, DATA, 4, i, AVAIL);
		assert_int_equal(pop(), 1);
		assert_int_equal(virtq_push(NULL, &q, &chain, 0), 0);
		assert_int_equal(virtq_wants_irq(NULL, &q), i == 2);
	}
	put(DRIVER, 2, 0); /* behind the first of the next one, whose wrap counter is 0 */
	assert_false(virtq_wants_irq(NULL, &q));
	packed(DESC, DATA, 4, 0, USED);
	assert_true(virtq_set_kicks(NULL, &q, true));
	assert_int_equal(get(DEVICE, 2), 0);
	assert_int_equal(get(DEVICE + 2, 2), 2);
	assert_int_equal(pop(), 1);
	assert_int_equal(virtq_push(NULL, &q, &chain, 0), 0);
	assert_true(virtq_wants_irq(NULL, &q));
	virtq_set_kicks(NULL, &q, false);
	assert_int_equal(get(DEVICE + 2, 2), 1);
}

/* A chain that is still the device's is read once more; what the driver made of it meanwhile is seen. */
static void read_anew(void **state)
{
	struct virtq_chain was;

	(void)state;
	start(8, false, false);
	desc(DESC + 16 * 3, DATA, 64, NEXT, 5);
	desc(DESC + 16 * 5, DATA + 64, 32, WRITE, 0);
	offer(3);
	assert_int_equal(pop(), 1);
	was = chain;
	memset(chain.range, 0xa5, sizeof(chain.range));
	assert_int_equal(virtq_reread(NULL, &q, &chain, &why), 0);
	assert_int_equal(chain.id, 3);
	assert_memory_equal(chain.range, was.range, 2 * sizeof(was.range[0]));
	desc(DESC + 16 * 5, FAKE_HOLE, 32, WRITE, 0);
	assert_int_equal(virtq_reread(NULL, &q, &chain, &why), -EINVAL);

	start(8, true, false);
	q.next_avail = q.next_used = 7;
	packed(DESC + 16 * 7, DATA, 64, 0, AVAIL | NEXT);
	packed(DESC, DATA + 64, 32, 9, USED | WRITE);
	assert_int_equal(pop(), 1);
	assert_int_equal(chain.start, 7);
	was = chain;
	assert_int_equal(virtq_reread(NULL, &q, &chain, &why), 0);
	assert_memory_equal(&chain.id, &was.id, sizeof(u16));
	assert_memory_equal(chain.range, was.range, 2 * sizeof(was.range[0]));
	packed(DESC, DATA + 64, 32, 8, USED | WRITE);
	assert_int_equal(virtq_reread(NULL, &q, &chain, &why), -EINVAL);
	assert_string_equal(why, "a chain changed while the device had it");
}

static void enabling(void **state)
{
	(void)state;
	start(8, false, true);
	q.size = 6;
	assert_non_null(virtq_enable(NULL, &q));
	q.packed = 1;
	assert_null(virtq_enable(NULL, &q));
	q.size = 0;
	assert_non_null(virtq_enable(NULL, &q));
	start(8, false, true);
	q.desc = DESC + 8;
	assert_non_null(virtq_enable(NULL, &q));
	start(8, false, true);
	q.device = FAKE_RAM - (4 + 64); /* used_event does not fit */
	assert_non_null(virtq_enable(NULL, &q));
	q.event_idx = 0;
	assert_null(virtq_enable(NULL, &q));
	q.driver = DRIVER + 1;
	assert_non_null(virtq_enable(NULL, &q));
	start(8, true, true);
	q.next_used = 8;
	assert_false(virtq_valid(&q));
	q.next_used = 0;
	q.in_flight = 9;
	assert_false(virtq_valid(&q));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_chain), cmocka_unit_test(split_indirect), cmocka_unit_test(split_hostile),
		cmocka_unit_test(packed_chain), cmocka_unit_test(packed_indirect), cmocka_unit_test(packed_hostile),
		cmocka_unit_test(split_events), cmocka_unit_test(packed_events), cmocka_unit_test(enabling),
		cmocka_unit_test(read_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
