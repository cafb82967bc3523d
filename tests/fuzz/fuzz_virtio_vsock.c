/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/vsock.c drivers/virtio/vsock_hub.c drivers/virtio/vsock_monitor.c */
/* The socket device, with the hub, a peer that says anything and takes what it likes, and a monitor whose verbs take their time. */
#define WORK_MAX KIB(512) /* the budgets of both ways, a packet of 64 KiB beyond each, and a look at all that is parked */
#include "tests/fuzz/virtio_driver.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "drivers/virtio/vsock.h"
#include "vmm/config.h"
#include "vmm/monitor/monitor.h"
#include "vmm/sched.h"
#include "vmm/timer.h"

extern const struct virtio_model vsock_pci;

/* ---- the host ---- */

static struct vm other_vm;
static struct vdev other = {.vm = &other_vm};
static struct vsock_port *peer;
static bool no_memory, works;

/* Two ports and two inboxes, which nobody reads before he has written. */
static _Alignas(8) u8 small[2][sizeof(struct vsock_port)], large[2][VSOCK_INBOX];
static bool taken[2][2];
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	bool is_large = size == VSOCK_INBOX;
	unsigned i = taken[is_large][0];

	(void)type, (void)owner;
	if (no_memory)
		return NULL;
	require(!taken[is_large][i] && (is_large || size == sizeof(small[0])));
	taken[is_large][i] = true;
	return is_large ? large[i] : memset(small[i], 0, size);
}
void kfree(void *p)
{
	for (unsigned i = 0; i < 2; i++) {
		taken[0][i] &= p != small[i];
		taken[1][i] &= p != large[i];
	}
}
void vdev_work(struct vdev *d) { works |= d == &dev; }

static struct sched_work *queued;
static struct timer *set;
static void (*handler)(void);
void irq_set_handler(u8 vector, void (*fn)(void)) { (void)vector, handler = fn; }
void ipi_send(u32 pcpu, u8 vector)
{
	require(!pcpu && vector == VEC_VSOCK && handler);
	handler();
}
void sched_do(struct sched_work *w) { require(!queued), queued = w; }
void timer_init(struct timer *t, void (*fn)(struct timer *t)) { t->fn = fn; }
void timer_set(struct timer *t, u64 tsc) { (void)tsc, set = t; }
u64 ns_to_tsc(u64 ns) { return ns; }

static bool step_work(void)
{
	struct sched_work *w = queued;

	queued = NULL;
	if (!w && set) {
		struct timer *t = set;

		set = NULL;
		t->fn(t);
		return true;
	}
	if (w && !w->fn(w))
		queued = w;
	return w;
}

/* ---- a monitor: what the line's first letter says, a verb takes so many steps, and says so much ---- */

void mon_begin(struct mon_out *o, bool json) { require(json), o->used = 0; }
void mon_end(struct mon_out *o, const char *error) { (void)error, o->write(o, "{}\r\n", 4); }
enum mon_status monitor_start(struct mon_call *c, const char *line, struct mon_out *o)
{
	size_t n = strlen(line);

	require(n > 3 && n < MON_LINE_MAX && !strcmp(line + n - 3, " -j"));
	c->out = o;
	c->pos = (u8)line[0];
	mon_begin(o, true);
	if (line[0] & 1)
		return MON_MORE;
	mon_end(o, "");
	return MON_FAILED;
}
enum mon_status monitor_step(struct mon_call *c)
{
	static const char much[MON_STEP_BYTES];

	if (c->out->room(c->out) < MON_STEP_BYTES)
		return MON_WAIT;
	if (c->pos-- & 7) {
		c->out->write(c->out, much, c->pos * 64);
		return c->pos & 1 ? MON_MORE : MON_WAIT;
	}
	mon_end(c->out, NULL);
	return MON_DONE;
}

/* ---- packets ---- */

/* Few ports and CIDs, so that connections come about. */
static struct vsock_hdr header(u32 from, u32 to, u32 room)
{
	static const u16 types[4] = {VSOCK_STREAM, VSOCK_STREAM, VSOCK_STREAM, 2};
	u8 what = (u8)take(1), where = (u8)take(1), len = (u8)take(1);
	struct vsock_hdr h = {.src_cid = from, .dst_cid = to, .src_port = where & 3, .dst_port = where >> 2 & 3, .op = what & 7,
			      .type = types[what >> 3 & 3], .flags = what >> 5 & 3, .buf_alloc = (u32)len << 6, .fwd_cnt = where >> 6};

	h.len = h.op == VSOCK_RW ? len & 0x80 ? (len & 0x7fu) << 10 : len : 0;
	if (where == 0xff)
		h.src_cid = len;
	if (where == 0xfe)
		h.len = (u32)take(3);
	h.len = MIN(h.len, room);
	return h;
}

static void choose(void)
{
	u8 kind = (u8)take(1);

	while (step_work())
		;
	if (peer)
		vsock_close(peer);
	no_memory = kind == 0xfe;
	cfg.vsock = (struct vm_vsock){.wanted = true, .monitor = kind & 1, .peers = "*", .cid = kind == 0xfd ? 9 : 0};
	if (kind & 2)
		memcpy(cfg.vsock.peers, "w v", 4);
	peer = vsock_open(&other, &cfg.vsock, (char[100]){0}, 100);
	if (peer)
		vsock_hang_up(peer, true);
	works = false;
}

static unsigned compose(unsigned queue, u8 *buf)
{
	u8 to = (u8)take(1);
	struct vsock_hdr h;

	memset(buf, 0, COMPOSE_MAX);
	if (queue != 1)
		return 64;
	h = header(((struct vsock_port *)dev.priv)->cid, to & 1 ? 2 : to & 2 ? to : peer->cid, to & 0x80 ? ~0u : 60);
	if (to & 1 && to & 4)
		h.dst_port = VSOCK_MONITOR;
	memcpy(buf, &h, sizeof(h));
	for (unsigned i = sizeof(h); i < COMPOSE_MAX; i++)
		buf[i] = i % 7 == to >> 4 ? '\n' : (u8)(to + i);
	return (unsigned)sizeof(h) + MIN(h.len, 60u);
}

static void peer_sends(void)
{
	struct vsock_hdr h = header(peer->cid, ((struct vsock_port *)dev.priv)->cid, ~0u);
	struct virtq_chain c = {.nr_out = 2, .range = {{.gpa = 0x10000, .len = sizeof(h)}, {.gpa = 0x10000, .len = 0x8000}}};
	u64 was = work;

	c.range[1].len = (u32)MIN(h.len, 0x8000);
	h.len = c.range[1].len;
	c.out_len = sizeof(h) + h.len;
	if (vsock_may_send(peer) && vsock_send(peer, &h, &c) == VSOCK_WAIT && h.fwd_cnt)
		vsock_give_up(peer, &h);
	work = was;
}

static void peer_takes(unsigned n)
{
	struct vsock_packet k;

	for (; n && vsock_next(peer, &k); n--) {
		u32 len = MIN(k.hdr.len, 4096u + n);

		require(k.part_len[0] + k.part_len[1] == k.hdr.len && k.hdr.dst_cid == peer->cid);
		vsock_took(peer, &k, len);
	}
}

static void act(void)
{
	u8 what = (u8)take(1);
	struct vsock_stat st;

	switch (what & 7) {
	case 0: case 1: peer_sends(); break;
	case 2: peer_takes(what >> 3); break;
	case 3: vsock_hang_up(peer, what & 8); break;
	case 4: case 5:
		for (unsigned n = 0; n < what >> 3; n++)
			step_work();
		break;
	case 6: require(vsock_stat(1, &st)); break;
	case 7: other_vm.ended = what & 8; break;
	}
	if (works && !(what & 0x80)) {
		works = false;
		dev.type->work(&dev);
	}
}

static bool drain(void) { return false; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz(&vsock_pci, data, size);
	return 0;
}
