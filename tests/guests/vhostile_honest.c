/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * After all that, a driver that means well: it resets the device, sets up one of its interfaces (split, packed, legacy),
 * and asks it for something, whose result it knows. Its rings and buffers are in the image, which no wrong request names.
 */
#include "vhostile.h"

static struct vring rings[VDRV_QUEUES];
static u8 page[2][4096] __attribute__((aligned(4096)));

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

/* Its length when it is back. */
static u32 ask(struct target *t, u32 queue, const struct vbuf *b, u32 out, u32 in)
{
	u32 len;

	if (!vio_ask(&t->d, queue, b, out, in, &len))
		fail(t, "a good request is not done within a minute; queue and status", queue, vdrv_status(&t->d));
	return len;
}

/* --- disk --- */

static void blk_do(struct target *t, u32 type, u64 sector, void *data)
{
	u8 answer = vio_block(&t->d, type, sector, data);

	if (answer)
		fail(t, "a good request's answer, and the device's status", answer, vdrv_status(&t->d));
}

static void interrupted(struct target *t, u32 before)
{
	u64 since = vio_now_ns();

	while (came == before) {
		__asm__ volatile("sti; nop; cli");
		if (vio_now_ns() - since > VIO_PATIENCE_NS)
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
		blk_do(t, 1, sector, w);
	}
	memset(r, (u8)salt, 4096);
	blk_do(t, 0, sector, r);
	for (u64 i = 0; i < 512; i++) {
		u64 want = t->readonly ? vio_file_word(sector * 512 + i * 8) : w[i];

		if (r[i] != want)
			fail(t, "what is read is not what was written", want, r[i]);
	}
	if (vector) {
		interrupted(t, before);
		cfg_write(t->d.slot, t->msix + 2, 2, 0);
	}
}

/* --- network --- */

static void net(struct target *t, struct target *to)
{
	u8 *frame = page[0];
	u32 len = 12 + 60 + below(1400);
	struct vbuf b = {frame, len};

	start_device(t, either(), 2, 0, 0);
	if (to)
		start_device(to, either() & ~F_PACKED, 2, 2, 0);
	for (u32 i = 26; i < len; i++)
		frame[i] = (u8)random();
	vio_address(&t->d, to ? &to->d : NULL, frame);
	if (!to) {
		ask(t, 1, &b, 1, 0);
		return;
	}
	vio_listen(&to->d);
	if (!vio_frame(&t->d, &to->d, frame, len))
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
		len[i] = ask(t, 0, &b[i], 0, 1);
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
		ask(t, 3, &out, 1, 0);
		len = ask(t, 2, &in, 0, 1);
		if (len != 8 || page[0][4] != 1) /* DEVICE_ADD */
			fail(t, "it does not say which ports it has", len, page[0][4]);
	}
	ask(t, 1, &text, 1, 0);
}

static void balloon(struct target *t)
{
	u32 *pfn = (u32 *)page[0], n = 1 + below(256);
	struct vbuf b = {pfn, 4 * n};

	for (u32 i = 0; i < n; i++)
		pfn[i] = (u32)(DATA >> 12) + (below(2) ? i : below((u32)((RAM_TOP - DATA) >> 12)));
	start_device(t, either(), 2, 0, 0);
	for (u32 queue = 0; queue < 2; queue++)
		ask(t, queue, &b, 1, 0);
}

/* A connection to a port of the host's that nobody has: it says so. */
static void vsock(struct target *t)
{
	u64 me = mmio_read(t->d.config, 4), since = vio_now_ns();
	u32 port = (u32)random(), *h = (u32 *)page[0], *r = (u32 *)page[1], len;
	struct vbuf out = {h, 44}, in = {r, 64};
	u16 id;

	start_device(t, either(), 3, 0, 0);
	memset(h, 0, 44);
	h[0] = (u32)me;
	h[2] = 2;
	h[4] = port;
	h[5] = 3;
	h[7] = 1 | 1 << 16; /* a stream, REQUEST */
	vq_add(&t->d.q[0], &in, 0, 1);
	vq_publish(&t->d.q[0]);
	vq_kick(&t->d, &t->d.q[0]);
	ask(t, 1, &out, 1, 0);
	while (!vq_take(&t->d.q[0], &id, &len))
		if (vio_now_ns() - since > VIO_PATIENCE_NS)
			fail(t, "no answer comes within a minute, its status is", vdrv_status(&t->d), 0);
	if (len != 44 || r[0] != 2 || r[2] != (u32)me || r[4] != 3 || r[5] != port || r[7] != (1 | 3 << 16))
		fail(t, "the answer is another one; its length, type and operation", len, r[7]);
}

/* A command to the CD-ROM: response and status. */
static u32 cd(struct target *t, u8 code, u8 block, u8 last)
{
	u8 *out = page[0], *in = page[0] + 512;
	struct vbuf b[3] = {{out, 51}, {in, 108}, {page[1], 2048}};

	memset(out, 0, 51);
	out[0] = 1;
	out[1] = CD_TARGET;
	out[19] = code;
	out[24] = block;
	out[code == 0x28 ? 27 : 23] = last;
	memset(in, 0xff, 108);
	ask(t, 2, b, 1, 2);
	return (u32)in[11] << 8 | in[10];
}

/* What a reset leaves to be told, then the tray goes in, and a block is read. */
static void scsi(struct target *t)
{
	u64 *r = (u64 *)page[1];
	u8 block = (u8)below(200);
	u32 answer;

	start_device(t, either(), 3, 0, 0);
	answer = cd(t, 0x00, 0, 0);
	if (answer != 2 || page[0][512 + 12 + 12] != 0x29)
		fail(t, "it does not say that it was reset, but", answer, page[0][512 + 12 + 12]);
	if (cd(t, 0x1b, 0, 3) || (answer = cd(t, 0x28, block, 1)))
		fail(t, "a good command's answer", answer, 0);
	for (u64 i = 0; i < 256; i++)
		if (r[i] != vio_file_word(block * 2048ull + i * 8))
			fail(t, "what is read is not what is on it", block, r[i]);
}

void honest(struct target *t, struct target *peer)
{
	switch (t->type) {
	case NET: net(t, peer); break;
	case BLK: blk(t); break;
	case CONSOLE: console(t); break;
	case RNG: rng(t); break;
	case BALLOON: balloon(t); break;
	case VSOCK: vsock(t); break;
	case SCSI: scsi(t); break;
	}
}
