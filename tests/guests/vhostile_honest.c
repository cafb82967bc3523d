/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * After all that, a driver that means well: it resets the device, sets up one of its interfaces (split, packed, legacy),
 * and asks it for something, whose result it knows. Its rings and buffers are in the image, which no wrong request names.
 */
#include "vhostile.h"

#define PATIENCE_NS 60000000000ull
#define FRAMES	    8u

static struct vring rings[VDRV_QUEUES];
static u8 page[2][4096] __attribute__((aligned(4096)));
static u8 frames[FRAMES][2048];
static struct {
	u32 type, reserved;
	u64 sector;
} header;
static volatile u8 answer;

/* Queues from `first` on are those of rings. */
static void start_device(struct target *t, u64 want, u32 nr, u32 first, u8 vec)
{
	for (u32 i = 0; i < nr; i++)
		t->d.q[i].ring = &rings[first + i];
	if (!vdrv_start(&t->d, F_VERSION_1 | want, nr, (u16)MIN_OF(t->max_size, 1u << (3 + below(6))), vec))
		fail(t, "it cannot be set up, its status is", vdrv_status(&t->d), want);
}

static u64 either(void)
{
	return (below(2) ? F_PACKED : 0) | (below(2) ? F_EVENT_IDX : 0) | (below(2) ? F_INDIRECT : 0);
}

static void submit(struct target *t, u32 queue, const struct vbuf *b, u32 out, u32 in)
{
	struct vq *q = &t->d.q[queue];

	vq_add(q, b, out, in);
	vq_publish(q);
	vq_kick(&t->d, q);
}

/* Until it is back. */
static u32 wait_for(struct target *t, u32 queue)
{
	u64 since = now_ns();
	u32 len;
	u16 id;

	while (!vq_take(&t->d.q[queue], &id, &len)) {
		if (now_ns() - since > PATIENCE_NS)
			fail(t, "a good request is not done within a minute; queue and status", queue, vdrv_status(&t->d));
		__asm__ volatile("pause");
	}
	return len;
}

/* --- disk --- */

/* What the test's files hold: tests/system/hostile_virtio.py. */
static u64 word_of_file(u64 at)
{
	u64 z = at * 0xbf58476d1ce4e5b9ull;

	return z ^ z >> 29;
}

static void blk_do(struct target *t, u32 type, u64 sector, void *data, bool in)
{
	struct vbuf b[3] = {{&header, 16}, {data, 4096}, {(void *)&answer, 1}};
	u32 len;

	header.type = type;
	header.sector = sector;
	answer = 0xff;
	submit(t, 0, b, in ? 1 : 2, in ? 2 : 1);
	len = wait_for(t, 0);
	if (answer || (!(t->d.features & F_VERSION_1) ? 0 : len != (in ? 4097u : 1u)))
		fail(t, "a good request's answer and length", answer, len);
}

static void interrupted(struct target *t, u32 before)
{
	u64 since = now_ns();

	while (came == before) {
		__asm__ volatile("sti; nop; cli");
		if (now_ns() - since > PATIENCE_NS)
			fail(t, "no interrupt came", came, 0);
	}
}

static void blk(struct target *t)
{
	u64 sector = below((u32)t->sectors / 8) * 8, salt = random(), *w = (u64 *)page[0], *r = (u64 *)page[1];
	bool legacy = t->max_size == VQ_SIZE && !below(4), vector = !legacy && below(2);
	u32 before = came;

	if (legacy) {
		t->d.q[0].ring = &rings[0];
		if (!vdrv_start_legacy(&t->d, 0, 1))
			fail(t, "its legacy interface cannot be set up", 0, 0);
	} else {
		start_device(t, either(), 1, 0, vector ? VEC_QUEUE : 0);
	}
	if (!t->readonly) {
		for (u32 i = 0; i < 512; i++)
			w[i] = random();
		blk_do(t, 1, sector, w, false);
	}
	memset(r, (u8)salt, 4096);
	blk_do(t, 0, sector, r, true);
	for (u64 i = 0; i < 512; i++) {
		u64 want = t->readonly ? word_of_file(sector * 512 + i * 8) : w[i];

		if (r[i] != want)
			fail(t, "what is read is not what was written", want, r[i]);
	}
	if (vector) {
		interrupted(t, before);
		cfg_write(t->d.slot, t->msix + 2, 2, 0);
	}
}

/* --- network --- */

static void give_frames(struct target *t)
{
	for (u32 i = 0; i < FRAMES; i++) {
		struct vbuf b = {frames[i], sizeof(frames[i])};

		vq_add(&t->d.q[0], &b, 0, 1);
	}
	vq_publish(&t->d.q[0]);
	vq_kick(&t->d, &t->d.q[0]);
}

/* Which of the frames this chain was: with one descriptor each, its address says. */
static u8 *frame_of(struct vq *q, u16 id)
{
	return q->packed ? frames[id % q->size % FRAMES] : (u8 *)q->ring->desc[id].addr;
}

/* The frame came in at t: true. Others are given back. */
static bool received(struct target *t, const u8 *frame, u32 len)
{
	struct vq *q = &t->d.q[0];
	u32 got;
	u16 id;

	while (vq_take(q, &id, &got)) {
		u8 *f = frame_of(q, id);
		struct vbuf b = {f, sizeof(frames[0])};
		bool same = got == len && !memcmp(f + 12, frame + 12, len - 12);

		vq_add(q, &b, 0, 1);
		vq_publish(q);
		vq_kick(&t->d, q);
		if (same)
			return true;
	}
	return false;
}

/* A wire may lose one, when others flood it: it is sent again. */
static void net(struct target *t, struct target *to)
{
	u8 *frame = page[0];
	u32 len = 12 + 60 + below(1400);
	struct vbuf b = {frame, len};

	start_device(t, either(), 2, 0, 0);
	if (to)
		start_device(to, either() & ~F_PACKED, 2, 2, 0);
	for (u32 i = 0; i < len; i++)
		frame[i] = i < 12 ? 0 : (u8)random();
	for (u32 i = 0; i < 6; i++) {
		frame[12 + i] = to ? (u8)mmio_read(to->d.config + i, 1) : 0xff;
		frame[18 + i] = (u8)mmio_read(t->d.config + i, 1);
	}
	frame[24] = 0x88;
	frame[25] = 0xb5; /* for experiments */
	if (to)
		give_frames(to);
	for (u32 n = 0; n < 100; n++) {
		u64 since = now_ns();

		submit(t, 1, &b, 1, 0);
		wait_for(t, 1);
		if (!to)
			return;
		while (now_ns() - since < 200000000)
			if (received(to, frame, len))
				return;
	}
	fail(to, "a frame to it does not come, its length is", len, vdrv_status(&to->d));
}

/* --- the others --- */

static void rng(struct target *t)
{
	struct vbuf b[2] = {{page[0], 64}, {page[1], 64}};
	u32 len[2];

	start_device(t, either(), 1, 0, 0);
	for (u32 i = 0; i < 2; i++) {
		memset(page[i], 0, 64);
		submit(t, 0, &b[i], 0, 1);
		len[i] = wait_for(t, 0);
	}
	if (len[0] != 64 || len[1] != 64 || !memcmp(page[0], page[1], 64))
		fail(t, "its bytes are not random, or too few", len[0], len[1]);
}

/* Says that it is ready, hears which ports there are, says something. */
static void console(struct target *t)
{
	static const struct {
		u32 id;
		u16 event, value;
	} ready = {0, 0, 1};
	struct vbuf in = {page[0], 64}, out = {(void *)(u64)&ready, 8}, text = {"\n", 1};
	u32 multi = t->nr_queues > 2 ? 2 : 0, len;

	start_device(t, either() | multi, t->nr_queues < 4 ? 2 : 4, 0, 0);
	if (multi) {
		memset(page[0], 0xff, 64);
		submit(t, 2, &in, 0, 1);
		submit(t, 3, &out, 1, 0);
		wait_for(t, 3);
		len = wait_for(t, 2);
		if (len != 8 || page[0][4] != 1) /* DEVICE_ADD */
			fail(t, "it does not say which ports it has", len, page[0][4]);
	}
	submit(t, 1, &text, 1, 0);
	wait_for(t, 1);
}

static void balloon(struct target *t)
{
	u32 *pfn = (u32 *)page[0], n = 1 + below(256);
	struct vbuf b = {pfn, 4 * n};

	for (u32 i = 0; i < n; i++)
		pfn[i] = (u32)(DATA >> 12) + (below(2) ? i : below((u32)((RAM_TOP - DATA) >> 12)));
	start_device(t, either(), 2, 0, 0);
	for (u32 queue = 0; queue < 2; queue++) {
		submit(t, queue, &b, 1, 0);
		wait_for(t, queue);
	}
}

void honest(struct target *t, struct target *peer)
{
	switch (t->type) {
	case NET: net(t, peer); break;
	case BLK: blk(t); break;
	case CONSOLE: console(t); break;
	case RNG: rng(t); break;
	case BALLOON: balloon(t); break;
	}
}
