/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/host/hvirtq.c drivers/host/hvirtio.c */
/* The host's virtio core against made-up devices: rings with a device that answers in any order, and one that lies; finding
 * registers and agreeing on features. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "drivers/host/hvirtio.h"
#include "lib/errno.h"

/* ---- the machine ---- */

struct pcpu *pcpus[MAX_PCPUS];
static struct pcpu cpu0 = {.apic_id = 3};
u64 ns_to_tsc(u64 ns)
{
	return ns;
}
hpa_t frame_pa(const void *va)
{
	return (hpa_t)va;
}
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	assert_int_equal(type, FRAME_DEVICE);
	assert_int_equal(owner, OWNER_HOST);
	return aligned_alloc(4096, ALIGN_UP(size, 4096ul));
}

/* ---- rings ---- */

#define SIZE 16u
static struct hvq q;
static _Alignas(4096) u8 memory[8192];

struct used {
	u16 flags, idx;
	struct {
		u32 id, len;
	} ring[SIZE];
	u16 avail_event;
};
static struct used *used(void)
{
	return (struct used *)q.used;
}

static void device_used(u32 id, u32 len)
{
	used()->ring[used()->idx % SIZE].id = id;
	used()->ring[used()->idx % SIZE].len = len;
	used()->idx++;
}

static void start(bool event_idx)
{
	assert_true(hvq_bytes(SIZE) <= sizeof(memory));
	memset(memory, 0xee, sizeof(memory));
	memset(&q, 0xee, sizeof(q));
	hvq_init(&q, SIZE, memory, event_idx);
}

/* Chains of random length, answered in random order: each comes back once, with what it was. */
static void in_any_order(void **state)
{
	u16 heads[SIZE], nr = 0, seen = 0, next_token = 0, got;
	u32 lens[1000], len, done = 0;
	bool open[1000] = {false};

	(void)state;
	srand(1);
	start(false);
	while (done < 1000) {
		if (next_token < 1000 && rand() % 2) {
			struct hvq_seg segs[5];
			u32 n = 1 + (u32)rand() % 5, out = (u32)rand() % (n + 1);
			int err;

			for (u32 i = 0; i < n; i++)
				segs[i] = (struct hvq_seg){.addr = next_token * 100 + i, .len = 7 + i};
			err = hvq_add(&q, segs, n, out, next_token);
			assert_int_equal(err, n > q.nr_free && err ? -ENOSPC : 0);
			if (!err) {
				u16 head = q.avail[2 + (u16)(q.avail_idx - 1) % SIZE], at = head;

				assert_true(hvq_publish(&q));
				assert_false(hvq_publish(&q));
				assert_int_equal(q.avail[1], (u16)(seen + 1));
				seen++;
				for (u32 i = 0; i < n; i++) {
					assert_int_equal(q.desc[at].addr, next_token * 100 + i);
					assert_int_equal(q.desc[at].len, 7 + i);
					assert_int_equal(q.desc[at].flags, (i + 1 < n) | (i >= out) << 1);
					at = q.desc[at].next;
				}
				open[next_token++] = true;
				heads[nr++] = head;
			}
		} else if (nr) {
			u16 i = (u16)((u32)rand() % nr);

			lens[q.token[heads[i]]] = (u32)rand();
			device_used(heads[i], lens[q.token[heads[i]]]);
			heads[i] = heads[--nr];
		}
		while (rand() % 3 == 0 && hvq_get(&q, &got, &len)) {
			assert_true(open[got]);
			open[got] = false;
			assert_int_equal(len, lens[got]);
			done++;
		}
	}
	assert_int_equal(q.nr_free, SIZE);
	assert_false(q.dead);
}

static void tables(void **state)
{
	static const struct hvq_seg segs[] = {{0x1000, 16}, {0x2000, 512}, {0x3000, 1}};
	struct virtq_desc table[3];
	u16 token;
	u32 len;

	(void)state;
	start(true);
	hvq_fill(table, segs, 3, 1);
	assert_true(table[0].addr == 0x1000 && table[0].len == 16 && table[0].flags == 1 && table[0].next == 1);
	assert_true(table[1].flags == 3 && table[1].next == 2);
	assert_true(table[2].addr == 0x3000 && table[2].flags == 2);
	for (u16 i = 0; i < SIZE; i++)
		assert_int_equal(hvq_add_table(&q, 0x5000 + i, 3, i), 0);
	assert_int_equal(hvq_add_table(&q, 0x6000, 3, 99), -ENOSPC);
	assert_int_equal(q.desc[q.avail[2]].flags, 4);
	assert_int_equal(q.desc[q.avail[2]].len, 48);
	used()->avail_event = 3; /* it wants to hear of the fourth */
	assert_true(hvq_publish(&q));
	device_used(q.avail[2 + 5], 1);
	assert_true(hvq_get(&q, &token, &len));
	assert_int_equal(token, 5);
	assert_false(hvq_get(&q, &token, &len));
	assert_false(hvq_more(&q));
	assert_int_equal(q.avail[2 + SIZE], 1); /* used_event */
	device_used(q.avail[2 + 6], 1);
	assert_true(hvq_more(&q));
	assert_int_equal(hvq_add_table(&q, 0x7000, 3, 99), 0);
	assert_false(hvq_publish(&q)); /* it has not looked since */
}

/* Whatever stands in the used ring: no index of ours comes from it unchecked, and the queue is dead at once. */
static void liars(void **state)
{
	static const struct hvq_seg seg = {0x1000, 16};
	u16 token;
	u32 len;

	(void)state;
	for (unsigned lie = 0; lie < 5; lie++) {
		start(lie & 1);
		assert_int_equal(hvq_add(&q, &seg, 1, 0, 42), 0);
		hvq_publish(&q);
		switch (lie) {
		case 0: device_used(SIZE, 1); break;	   /* out of range */
		case 1: device_used(0xffff0000u, 1); break;
		case 2: device_used(1, 1); break;	   /* not under way */
		case 3: used()->idx = SIZE + 1; break;	   /* more than there are */
		default:				   /* the same twice */
			device_used(q.avail[2], 1);
			device_used(q.avail[2], 1);
			assert_true(hvq_get(&q, &token, &len));
		}
		memset(q.desc, 0xff, SIZE * sizeof(*q.desc)); /* and it wrote where it should not */
		assert_false(hvq_get(&q, &token, &len));
		assert_true(q.dead);
		assert_false(hvq_more(&q));
		assert_int_equal(hvq_add(&q, &seg, 1, 0, 43), -EIO);
		assert_int_equal(hvq_add_table(&q, 0x1000, 1, 43), -EIO);
	}
}

/* ---- a device ---- */

static u8 cfg[256], bar[0x4000];
static u64 offered, accepted;
static u32 device_select, driver_select, status, refuse, resets, nr_mapped;
static u8 generation;
static u16 queue_size = 256, queue_vector, notify_off, kicked = 0xffff;
static struct pci_dev dev = {.vendor = 0x1af4, .device = 0x1042};
static const struct pci_dev *devs[4];

const struct pci_dev *pci_dev(u32 i)
{
	return i < ARRAY_SIZE(devs) ? devs[i] : NULL;
}
u32 pci_read(const struct pci_dev *d, u32 reg, unsigned size)
{
	u32 v = 0;

	(void)d;
	assert_true(reg + size <= 256);
	memcpy(&v, cfg + reg, size);
	return v;
}
u8 pci_find_cap(const struct pci_dev *d, u8 id, u8 after)
{
	(void)d;
	assert_int_equal(id, PCI_CAP_VENDOR);
	return cfg[after ? after + 1 : 0x34];
}
volatile void *pci_map_bar(const struct pci_dev *d, unsigned n, u64 off, u64 len)
{
	(void)d;
	nr_mapped++;
	return n == 4 && off + len <= sizeof(bar) ? bar + off : NULL;
}
static bool master, stuck;
void pci_set_command(const struct pci_dev *d, u32 bits)
{
	(void)d;
	assert_true(!(bits & PCI_COMMAND_BUS_MASTER) || (bits & PCI_COMMAND_MEMORY));
	master = bits & PCI_COMMAND_BUS_MASTER;
}
static u32 table[8];
volatile u32 *pci_msix_enable(const struct pci_dev *d, u32 *nr)
{
	(void)d;
	*nr = 2;
	return table;
}
int pci_msix_set(volatile u32 *t, u32 n, u32 apic_id, u8 vector)
{
	assert_ptr_equal(t, table);
	assert_int_equal(apic_id, 3);
	assert_int_equal(vector, 0xe2);
	return n < 2 ? 0 : -ENODEV;
}
u32 pci_mmio_read(volatile const void *p, unsigned size)
{
	size_t off = (size_t)((const u8 *)p - bar);
	u32 v = 0;

	assert_true(off + size <= sizeof(bar));
	switch (off) {
	case 0x04: return (u32)(offered >> 32 * device_select);
	case 0x12: return 2;
	case 0x14: return status;
	case 0x15: return generation ? generation-- : 0;
	case 0x18: return queue_size;
	case 0x1a: return queue_vector;
	case 0x1c: return 0;
	case 0x1e: return notify_off;
	}
	memcpy(&v, bar + off, size);
	return v;
}
void pci_mmio_write(volatile void *p, unsigned size, u32 val)
{
	size_t off = (size_t)((u8 *)p - bar);

	assert_true(off + size <= sizeof(bar));
	switch (off) {
	case 0x00: device_select = val; break;
	case 0x08: driver_select = val; break;
	case 0x0c: accepted = (accepted & ~(0xffffffffull << 32 * driver_select)) | (u64)val << 32 * driver_select; break;
	case 0x14:
		resets += !val;
		if (val || !stuck)
			status = val & ~refuse;
		break;
	case 0x1a: queue_vector = (u16)val; break;
	default:
		if (off >= 0x3000)
			kicked = (u16)val;
		else
			memcpy(bar + off, &val, size);
	}
}

static u8 cap(u8 at, u8 next, u8 type, u8 b, u32 off, u32 len)
{
	cfg[at] = PCI_CAP_VENDOR;
	cfg[at + 1] = next;
	cfg[at + 2] = 20;
	cfg[at + 3] = type;
	cfg[at + 4] = b;
	memcpy(cfg + at + 8, &off, 4);
	memcpy(cfg + at + 12, &len, 4);
	return at;
}

static void device(void)
{
	memset(cfg, 0, sizeof(cfg));
	memset(bar, 0, sizeof(bar));
	cfg[0x34] = cap(0x40, 0x60, 1, 7, 0, 0x1000);	/* a BAR that there is none of: not to be used, */
	cap(0x60, 0x80, 1, 4, 0, 0x37);			/* too short, */
	cap(0x80, 0xa0, 1, 4, 0, 0x1000);		/* this one */
	cap(0xa0, 0xc0, 2, 4, 0x3000, 0x1000);
	cfg[0xb0] = 4;
	cap(0xc0, 0, 4, 4, 0x2000, 0x40);
	offered = VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | 0xff;
	refuse = resets = 0;
	status = 15;
	queue_size = 256;
	notify_off = 1;
}

static void agreeing(void **state)
{
	struct hvirtio v;
	struct hvq hq;

	(void)state;
	device();
	assert_null(hvirtio_start(&v, &dev, VIRTIO_F_INDIRECT_DESC | 0x11));
	assert_true(resets == 1 && master);
	assert_true(accepted == (VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC | 0x11) && v.features == accepted);
	assert_int_equal(status, 11);
	assert_null(hvirtio_queue(&v, &hq, 1, 64, 0xe2));
	assert_int_equal(hq.size, 64);
	hvirtio_ready(&v);
	assert_int_equal(status, 15);
	assert_memory_equal(bar + 0x20, &hq.desc, 8);
	assert_memory_equal(bar + 0x28, &hq.avail, 8);
	assert_memory_equal(bar + 0x30, &hq.used, 8);
	hvq_kick(&hq);
	assert_int_equal(kicked, 1);
	stuck = true; /* it does not answer: it gets to no memory */
	hvirtio_stop(&v);
	assert_true(resets == 2 && !master);
	stuck = false;
	memcpy(bar + 0x2008, "\1\2\3\4\5\6\7\10", 8);
	generation = 3; /* it changes while it is read */
	assert_true(hvirtio_config(&v, 8, 8) == 0x0807060504030201ull);
	assert_int_equal(hvirtio_config(&v, 0x3c, 4), 0);
	assert_int_equal(hvirtio_config(&v, 0x40, 4), 0); /* it has no more */
	assert_int_equal(hvirtio_config(&v, 0x3e, 4), 0);
	free(hq.desc);
}

static void refused(void **state)
{
	struct hvirtio v;
	struct hvq hq;

	(void)state;
	device();
	offered &= ~VIRTIO_F_VERSION_1;
	assert_non_null(hvirtio_start(&v, &dev, 0));
	device();
	refuse = 8; /* FEATURES_OK does not stay */
	assert_non_null(hvirtio_start(&v, &dev, 0));
	device();
	cfg[0x61] = 0; /* no registers that fit */
	assert_non_null(hvirtio_start(&v, &dev, 0));
	device();
	cfg[0x81] = 0xc0; /* no notifications */
	assert_non_null(hvirtio_start(&v, &dev, 0));
	device();
	assert_null(hvirtio_start(&v, &dev, 0));
	assert_non_null(hvirtio_queue(&v, &hq, 2, 64, 0xe2));
	notify_off = 0x400;
	assert_non_null(hvirtio_queue(&v, &hq, 0, 64, 0xe2));
	notify_off = 0;
	queue_size = 48;
	assert_non_null(hvirtio_queue(&v, &hq, 0, 64, 0xe2));
	queue_size = 0;
	assert_non_null(hvirtio_queue(&v, &hq, 0, 64, 0xe2));
}

static void finding(void **state)
{
	static const struct pci_dev net = {.vendor = 0x1af4, .device = 0x1000}, blk = {.vendor = 0x1af4, .device = 0x1001},
				    other = {.vendor = 0x8086, .device = 0x1042};

	(void)state;
	devs[0] = &net, devs[1] = &other, devs[2] = &blk, devs[3] = &dev;
	assert_ptr_equal(hvirtio_find(VIRTIO_ID_BLK, 0), &blk);
	assert_ptr_equal(hvirtio_find(VIRTIO_ID_BLK, 1), &dev);
	assert_null(hvirtio_find(VIRTIO_ID_BLK, 2));
	assert_ptr_equal(hvirtio_find(VIRTIO_ID_NET, 0), &net);
	assert_null(hvirtio_find(VIRTIO_ID_NET, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_any_order), cmocka_unit_test(tables), cmocka_unit_test(liars),
		cmocka_unit_test(agreeing), cmocka_unit_test(refused), cmocka_unit_test(finding),
	};

	pcpus[0] = &cpu0;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
