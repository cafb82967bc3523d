/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtio_pci.c drivers/virtio/net_ctrl.c */
/* The network card on a made-up port: frames of any length go either way, the link comes and goes, sending has to wait. */
#define WORK_MAX KIB(512) /* the budgets of two pairs and of both directions, and a frame of 64 KiB beyond each */
#include "tests/fuzz/virtio_driver.h"
#define put put_frame /* virtio_driver.h has one */
#include "drivers/virtio/net.c"
#undef put

/* ---- the VM and its port ---- */

#define MAX_QUEUED 8u

static u32 queued[MAX_QUEUED], nr_queued; /* lengths of the frames that wait, and how they begin in the top bits */
static u32 port_takes, peeked;
static u64 wait_ns;
static bool link_up, no_port;
static _Alignas(8) u8 frame[sizeof(struct net_rx) + NET_MAX_FRAME];

unsigned vm_vifs(const struct vm *v) { (void)v; return 1; }
struct vm_vif *vm_vif(struct vm *v, u32 i) { (void)v; return &cfg.vifs[i]; }
void vdev_work(struct vdev *d) { require(d == &dev); }

static const struct net_port_ops *plugged;
struct net_port *net_open(const struct net_port_ops *ops, void *priv, const struct vm_vif *vif, u16 owner, u32 index,
			  char *why, size_t n)
{
	(void)vif, (void)owner, (void)index, (void)why, (void)n;
	require(priv == &dev);
	plugged = ops;
	return no_port ? NULL : priv;
}
void net_close(struct net_port *p) { require(!p || (void *)p == &dev); }
void *net_priv(const struct net_port *p) { return (void *)p; }
void net_set_takes(struct net_port *p, u32 t)
{
	(void)p;
	require(t < 16 && (!t || t & NET_TAKES_CSUM));
	nr_queued = t == port_takes ? nr_queued : 0;
	port_takes = t;
}
u32 net_takes(const struct net_port *p) { (void)p; return port_takes; }
void net_refused(struct net_port *p) { (void)p; }
bool net_link(const struct net_port *p) { (void)p; return link_up; }
int net_set_rules(u16 owner, u32 index, const struct net_rule *rules, u32 nr)
{
	(void)owner, (void)index, (void)rules;
	return nr ? -ENOMEM : 0;
}
/* As the switch does: nothing of one that is too long, else all of it, in two pieces. */
u32 net_send(struct net_port *p, const struct net_frame *f)
{
	u8 sum = 0, buf[256];

	(void)p;
	require(f->head_len >= MIN(f->len, NET_HEAD) && f->head_len <= f->len && !(f->hdr.flags & ~NET_NEEDS_CSUM));
	for (u32 i = 0; i < f->head_len; i++)
		sum ^= f->head[i];
	buf[0] = sum;
	for (u32 off = f->head_len; f->len <= NET_MAX_FRAME && off < f->len; off += sizeof(buf))
		require(!f->read(f, off, buf, MIN(sizeof(buf), f->len - off)));
	return f->len <= NET_MAX_FRAME;
}
void net_flush(struct net_port *p) { (void)p; }
u64 net_send_wait(struct net_port *p) { (void)p; return wait_ns; }
const struct net_rx *net_peek(struct net_port *p)
{
	static const u8 first[4][6] = {{2, 0, 0, 0, 0, 10}, {255, 255, 255, 255, 255, 255}, {1, 0, 94, 0, 0, 1}, {2, 9}};
	struct net_rx *r = (void *)frame;

	(void)p;
	if (!nr_queued)
		return NULL;
	r->len = queued[0] & 0xffffff;
	r->hash = queued[0] >> 28;
	r->hdr = (struct net_hdr){.gso_type = port_takes & NET_TAKES_TSO4};
	memcpy(r->data, first[queued[0] >> 24 & 3], 6);
	memcpy(r->data + 12, (u8[4]){0x81, 0, 0, (u8)(queued[0] >> 28)}, 4);
	if (queued[0] >> 26 & 1)
		r->data[12] = 8;
	peeked = r->len;
	return r;
}
void net_next(struct net_port *p)
{
	(void)p;
	require(nr_queued);
	memmove(queued, queued + 1, --nr_queued * sizeof(queued[0]));
}

/* ---- the target ---- */

static void choose(void)
{
	u8 kind = (u8)take(1);

	cfg.vifs[0] = (struct vm_vif){.mac = {2, 0, 0, 0, 0, 10}, .antispoof = kind & 1, .queues = kind & 2 ? 2 : 1, .mtu = 1500};
	cfg.nr_rules = kind == 0xff;
	no_port = kind == 0xfe;
	nr_queued = port_takes = 0;
	wait_ns = 0;
	link_up = true;
}

/* A frame behind its header; or a command. */
static unsigned compose(unsigned queue, u8 *buf)
{
	static const u16 commands[16] = {0x000, 0x001, 0x002, 0x003, 0x004, 0x005, 0x100, 0x100, 0x101, 0x200, 0x201, 0x300, 0x400,
					 0x500, 0x500, 0x600};
	unsigned what = (unsigned)take(1), n;

	if (queue % 2 || queue + 1 < virtio_nr_queues(&dev)) {
		memset(buf, what, COMPOSE_MAX);
		return COMPOSE_MAX;
	}
	buf[0] = (u8)(commands[what & 15] >> 8);
	buf[1] = (u8)commands[what & 15];
	n = what >> 4;
	for (unsigned i = 0; i < n; i++)
		buf[2 + i] = (u8)take(1);
	return 2 + n + (commands[what & 15] == 0x100 ? 12 : 0);
}

static void act(void)
{
	static const u32 lengths[8] = {60, 14, 300, 1514, 42, 100, 9018, NET_MAX_FRAME};
	unsigned what = (unsigned)take(1);

	switch (what & 3) {
	case 0: case 1:
		if (nr_queued < MAX_QUEUED)
			queued[nr_queued++] = lengths[what >> 2 & 7] | what >> 5 << 24 | (u32)take(1) << 28;
		break;
	case 2: wait_ns = what & 4 ? 1000 : 0; break;
	case 3: link_up = what & 4; break;
	}
	if (what & 0x80)
		return;
	plugged->kick((void *)&dev);
	plugged->ended((void *)&dev);
	dev.type->work(&dev);
}

static bool drain(void) { return false; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz(&net_pci, data, size);
	return 0;
}
