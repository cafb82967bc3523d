/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of virtio devices that does anything, for fuzz_virtio_*.c: the bytes say which registers it touches, at any width
 * and in any order, what it puts into its rings, what it writes into its memory meanwhile, and when time goes by. The
 * device, its transport and the rings are the real ones. Whatever the driver does:
 *
 *   - what comes out of a ring is RAM and adds up; it goes back once at most, with no more written than there was room
 *   - the device writes where the driver has put a ring or a buffer that it has not been given back, and nowhere else
 *   - a ring's counts fit one another, and are 0 after a reset, and so is what is in flight
 *   - the state may be saved at any moment at which nothing is in flight; and one from elsewhere that is valid does no harm
 *   - a call has an end: an amount of work, also with a driver that adds as fast as the device takes
 *
 * A target includes this, includes its device's file if it wants to see inside, and defines the functions below.
 */
#pragma once
#ifndef FAKE_RAM
#define FAKE_RAM      0x20000ull
#define FAKE_HOLE     0x1e000ull
#define FAKE_HOLE_END 0x1f000ull
#endif
#include "tests/fuzz/virtio_rings.h"

/* --- the target's --- */
static void choose(void);			     /* what kind of backend and VM, by bytes of the input; before init() */
static unsigned compose(unsigned queue, u8 *buf); /* a request as drivers make them: up to COMPOSE_MAX bytes */
static void act(void);				     /* something happens on the device's other side */
static bool drain(void); /* all that is in flight comes back; false: nothing was */
#define COMPOSE_MAX 128u

/* ---- the input ---- */

static const u8 *src;
static size_t src_left;

static u64 take(unsigned n)
{
	u64 v = 0;

	n = (unsigned)MIN(n, src_left);
	memcpy(&v, src, n);
	src += n;
	src_left -= n;
	return v;
}

static u64 dirty[FAKE_RAM / PAGE_SIZE / 64 + 1];

static void touched(gpa_t gpa, u64 n, bool write)
{
	spend(64 + n);
	for (u64 p = gpa / PAGE_SIZE; write && p <= (gpa + n - 1) / PAGE_SIZE; p++)
		dirty[p / 64] |= BIT(p % 64);
	require(!write || foreign || may_write(gpa, n));
}

static void clear_ram(void)
{
	for (u64 p = 0; p < FAKE_RAM / PAGE_SIZE; p++)
		if (dirty[p / 64] >> p % 64 & 1)
			memset(fake_ram + p * PAGE_SIZE, 0, PAGE_SIZE);
	memset(dirty, 0, sizeof(dirty));
}

/* ---- after each call ---- */

static void check_queue(const struct virtq *q)
{
	unsigned on_way;

	settle(q);
	if (!q->enabled) {
		require(!q->in_flight && !held[queue_of(q)]);
		return;
	}
	on_way = q->packed ? q->next_avail - q->next_used + (q->avail_wrap == q->used_wrap ? 0u : q->size)
			   : (u16)(q->next_avail - q->next_used);
	require(q->in_flight <= q->size && q->in_flight == on_way && q->in_flight == held[queue_of(q)]);
}

/* A call into the device has come to its end. */
static void called(void)
{
	work = 0;
}

static unsigned nr_checks;

static void check(void)
{
	const struct virtio *v = virtio_of(&dev);

	require(!fake_mapped);
	if (foreign)
		return;
	require(!(v->isr & ~(VIRTIO_ISR_QUEUE | VIRTIO_ISR_CONFIG)));
	for (unsigned i = 0; i < virtio_nr_queues(&dev); i++)
		check_queue(&v->queue[i]);
	if (!(nr_checks++ % 4)) /* it takes its time; what has gone wrong stays wrong */
		require(vm.dma || dev.type->valid(state));
	require(v->resetting || v->legacy || !(v->status & VIRTIO_DRIVER_OK) || v->status & VIRTIO_FEATURES_OK);
}

/* ---- registers ---- */

enum { COMMON_STATUS = offsetof(struct virtio_pci_common, status) };
#define COMMON(field) offsetof(struct virtio_pci_common, field)

static void mem_w(u64 off, unsigned size, u64 val)
{
	virtio_pci_bars[4].mmio.write(&dev, off, size, val);
	called();
}
static u64 mem_r(u64 off, unsigned size)
{
	u64 val = virtio_pci_bars[4].mmio.read(&dev, off, size);

	called();
	return val;
}
static void io_w(u16 port, unsigned size, u32 val)
{
	virtio_pci_bars[0].pio.write(&dev, port, size, val);
	called();
}
static void kick(u16 queue)
{
	io_w(16, 2, queue);
}

/* ---- rings ---- */

#define BUFFERS	    0x10000ull /* the buffers lie from here to the hole, one behind the other, round and round */
#define BUFFERS_END 0x1e000ull

static u16 slot[VIRTIO_MAX_QUEUES]; /* of the next descriptor */
static bool wrap[VIRTIO_MAX_QUEUES];
static gpa_t buffer;

static void put(gpa_t gpa, const void *p, u64 n)
{
	if (!n || !gmem_is_ram(NULL, gpa, n))
		return;
	for (u64 page = gpa / PAGE_SIZE; page <= (gpa + n - 1) / PAGE_SIZE; page++)
		dirty[page / 64] |= BIT(page % 64);
	memcpy(fake_ram + gpa, p, n);
}

static gpa_t allocate(u64 n)
{
	gpa_t at = buffer;

	if (at + n > BUFFERS_END)
		at = BUFFERS;
	buffer = at + n > BUFFERS_END ? BUFFERS : at + n;
	return at;
}

/* A buffer: of a usual length in a usual place, or of any in any. */
static struct virtq_desc buffer_of(bool device_writes, u64 *content, const u8 *buf, unsigned n)
{
	static const u32 usual[16] = {16, 1, 8, 512, 12, 4, 2, 17, 10, 64, 20, 32, 100, 1526, 4096, 1024};
	struct virtq_desc d = {.flags = device_writes ? DESC_WRITE : 0};
	u8 how = (u8)take(1);

	if (how & 0x80) {
		d.addr = how & 0x40 ? take(8) : take(3);
		d.len = how & 0x20 ? (u32)take(4) : (u32)take(2);
	} else {
		d.len = usual[how & 15];
		if (how & 0x20) /* all that is to be said, in one piece */
			d.len = MAX(n, 1u);
		d.addr = allocate(d.len);
	}
	if (!device_writes && *content < n) {
		put(d.addr, buf + *content, MIN(d.len, n - *content));
		*content += d.len;
	}
	return d;
}

static void into_split(const struct virtq *q, unsigned k, struct virtq_desc *d, unsigned n)
{
	u16 idx, head = slot[k] % q->size;

	for (unsigned i = 0; i < n; i++) {
		gpa_t at = q->desc + 16ull * (slot[k] % q->size);

		slot[k]++;
		d[i].next = slot[k] % q->size;
		put(at, &d[i], 16);
	}
	if (!gmem_is_ram(NULL, q->driver, 4 + 2ull * q->size))
		return;
	memcpy(&idx, fake_ram + q->driver + 2, 2);
	put(q->driver + 4 + 2ull * (idx % q->size), &head, 2);
	idx++;
	put(q->driver + 2, &idx, 2);
}

static void into_packed(const struct virtq *q, unsigned k, const struct virtq_desc *d, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct packed_desc p = {.addr = d[i].addr, .len = d[i].len, .id = slot[k],
					.flags = (u16)(d[i].flags | (wrap[k] ? DESC_AVAIL : DESC_USED))};

		put(q->desc + 16ull * (slot[k] % q->size), &p, 16);
		if (++slot[k] >= q->size) {
			slot[k] = 0;
			wrap[k] = !wrap[k];
		}
	}
}

/* A chain, well-formed but for what the bytes say; and most of the time a kick. */
static void offer(void)
{
	unsigned k = (unsigned)(take(1) % virtio_nr_queues(&dev)), shape = (unsigned)take(1), n = 0, len;
	const struct virtq *q = &virtio_of(&dev)->queue[k];
	struct virtq_desc d[8];
	u8 buf[COMPOSE_MAX] = {0};
	u64 content = 0;

	len = compose(k, buf);
	require(len <= sizeof(buf));
	for (unsigned i = 0; i < (shape & 3); i++)
		d[n++] = buffer_of(false, &content, buf, len);
	for (unsigned i = 0; i < (shape >> 2 & 3); i++)
		d[n++] = buffer_of(true, &content, buf, len);
	if (!q->size || !n)
		return;
	for (unsigned i = 0; i < n; i++) {
		d[i].flags |= i + 1 < n ? DESC_NEXT : 0;
		d[i].next = (u16)(i + 1);
	}
	if (shape & 0x10) {
		struct virtq_desc table = {.addr = allocate(16 * n), .len = 16 * n, .flags = DESC_INDIRECT};

		for (unsigned i = 0; i < n; i++) {
			struct packed_desc p = {.addr = d[i].addr, .len = d[i].len, .flags = d[i].flags & DESC_WRITE};

			put(table.addr + 16 * i, q->packed ? (void *)&p : (void *)&d[i], 16);
		}
		d[0] = table;
		n = 1;
	}
	if (q->packed)
		into_packed(q, k, d, n);
	else
		into_split(q, k, d, n);
	if (!(shape & 0x20))
		kick((u16)k);
}

/* ---- a driver's beginning, of either age ---- */

/* Rings of up to 16 for a modern driver; an old one has them of the device's size, in one piece. */
static void place(unsigned i, bool legacy, unsigned size)
{
	gpa_t at = 0x1000 + i * 0x400ull;

	slot[i] = 0;
	wrap[i] = true;
	if (legacy) {
		io_w(14, 2, i);
		io_w(8, 4, 1 + 3 * i);
		return;
	}
	mem_w(COMMON(queue_select), 2, i);
	mem_w(COMMON(queue_size), 2, size);
	mem_w(COMMON(queue_vector), 2, i);
	mem_w(COMMON(desc), 8, at);
	mem_w(COMMON(driver), 4, at + 0x100);
	mem_w(COMMON(device), 8, at + 0x200);
	mem_w(COMMON(queue_enable), 2, 1);
}

static void start(void)
{
	u8 how = (u8)take(1);
	u64 not = take(4), features = virtio_offered(&dev);
	bool legacy = (how & 0xe0) == 0xe0;

	mem_w(COMMON_STATUS, 1, 0);
	/* Bits of what the driver does not take; VIRTIO_F_COMMON's stand in the last byte. */
	features &= ~(not & 0xffffff) & ~(not >> 24 << 28 & (VIRTIO_F_INDIRECT_DESC | VIRTIO_F_EVENT_IDX));
	if (!(not >> 26 & 1) || legacy)
		features &= ~VIRTIO_F_RING_PACKED;
	if (legacy) {
		io_w(18, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
		io_w(4, 4, (u32)features);
	} else {
		mem_w(COMMON_STATUS, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER);
		for (unsigned i = 0; i < 2; i++) {
			mem_w(COMMON(driver_feature_select), 4, i);
			mem_w(COMMON(driver_feature), 4, features >> 32 * i);
		}
		mem_w(COMMON_STATUS, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK);
		mem_w(COMMON(config_vector), 2, how >> 3 & 1);
	}
	for (unsigned i = 0; i < virtio_nr_queues(&dev); i++)
		place(i, legacy, 1u << (4 - MIN(how & 7u, 4u)));
	if (legacy)
		io_w(18, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_DRIVER_OK);
	else
		mem_w(COMMON_STATUS, 1, VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
}

/* ---- the acts ---- */

static bool fire(void)
{
	if (vm.timer == ~0ull)
		return false;
	vm.now = MAX(vm.now, vm.timer);
	vm.timer = ~0ull;
	dev.type->timer(&dev, 0);
	called();
	return true;
}

static void any_register(void)
{
	unsigned how = (unsigned)take(1), size = 1u << (how & 3), off = (unsigned)take(1);

	switch (how >> 2 & 7) {
	case 0: case 1: mem_w(off % 64, size, take(size)); break;
	case 2: mem_r(off % 64, size); break;
	case 3: mem_w(0x2000 + off % 72, size, take(size)); break;
	case 4: mem_r(off & 0x80 ? 0x1000 + off % 4 : 0x2000 + off % 72, size); break;
	case 5: case 6: io_w((u16)(off % 96), MIN(size, 4u), (u32)take(MIN(size, 4u))); break;
	case 7:
		virtio_pci_bars[0].pio.read(&dev, (u16)(off % 96), MIN(size, 4u));
		called();
		break;
	}
}

/* A saved state that somebody has had his hands on, where it is valid. */
static void edit_state(void)
{
	u64 at = take(2) % dev.type->state_size;
	u8 bits = (u8)take(1);

	if (vm.dma)
		return;
	state[at] ^= bits;
	if (!dev.type->valid(state))
		state[at] ^= bits;
	else
		foreign = vm.any_vector = true;
}

static void world(void)
{
	unsigned how = (unsigned)take(1);

	vm.busy = how & 1;
	vm.no_memory = (how & 6) == 6;
	vm.dense = how & 8;
	vm.msix = how & 16;
	adding = how >> 5 & 3;
	vm.ended = (how & 0x85) == 0x85;
}

static void poke(void)
{
	unsigned n = 1 + (unsigned)take(1) % 8;
	gpa_t at = take(3);
	u64 val = take(n);

	put(at, &val, n);
}

static void reset_queue(void)
{
	unsigned k = (unsigned)(take(1) % virtio_nr_queues(&dev));

	mem_w(COMMON(queue_select), 2, k);
	mem_w(COMMON(queue_reset), 2, 1);
	if (!virtio_of(&dev)->queue[k].enabled)
		place(k, virtio_of(&dev)->legacy, 8);
}

static void step(void)
{
	switch (take(1) % 16) {
	case 0: case 1: case 2: offer(); break;
	case 3: kick((u16)(take(1) % (VIRTIO_MAX_QUEUES + 2))); break;
	case 4: case 5: case 6: any_register(); break;
	case 7: fire(); break;
	case 8: world(); break;
	case 9: case 10: case 11:
		act();
		called();
		break;
	case 12: poke(); break;
	case 13: start(); break;
	case 14: reset_queue(); break;
	case 15:
		if (take(1) % 8)
			vm.now += take(4);
		else
			edit_state();
		break;
	}
	check();
}

/* The driver gives up: whatever was in flight, a reset comes to its end. */
static void stop(void)
{
	nr_checks = 0;
	check();
	mem_w(COMMON_STATUS, 1, 0);
	for (unsigned i = 0; vm.dma; i++)
		require((drain() || fire()) && i < 1000);
	check();
	require(mem_r(COMMON_STATUS, 1) == 0 && !virtio_of(&dev)->resetting && !nr_popped);
	for (unsigned i = 0; i < VIRTIO_MAX_QUEUES; i++)
		require(!virtio_of(&dev)->queue[i].enabled && !virtio_of(&dev)->queue[i].in_flight);
}

static void fuzz(const struct virtio_model *m, const u8 *data, size_t size)
{
	bool well;

	src = data;
	src_left = size;
	fake_touched = NULL;
	clear_ram();
	memset(state, 0, sizeof(state));
	nr_popped = nr_named = 0;
	memset(held, 0, sizeof(held));
	foreign = false;
	adding = 0;
	nr_checks = 0;
	buffer = BUFFERS;
	vm = (struct vm){.timer = ~0ull, .nr_ports = 1};
	dev = (struct vdev){.type = &m->vdev, .vm = &vm, .state = state};
	require(dev.type->state_size <= sizeof(state));
	choose();
	require(m->vdev.units(&vm));
	well = !dev.type->init(&dev);
	if (well) {
		fake_touched = touched;
		dev.type->reset(&dev);
		start();
		for (unsigned n = 0; src_left && n < 200; n++)
			step();
		if (!(size & 1)) /* else it is destroyed as it stands */
			stop();
	}
	dev.type->destroy(&dev);
	require(!vm.dma);
}
