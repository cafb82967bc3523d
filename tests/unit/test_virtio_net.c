/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtq.c drivers/net/switch.c drivers/net/ports.c drivers/net/parse.c drivers/net/firewall.c drivers/net/offload.c drivers/net/mirror.c */
/* The guest's network card against a driver of our own, with the rest of a bridge behind it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "fake_gmem.h"
#include "fake_net.h"
#include "drivers/virtio/net.c"
#include "drivers/virtio/net_ctrl.c"
#include "lib/log.h"

static struct vm_config cfg;
static struct net state;
static struct vdev dev = {.type = &net_pci.vdev, .vm = (struct vm *)&cfg, .state = &state};
static int irqs[VIRTIO_MAX_QUEUES + 1], works, timers, warned;
static struct net_port *peer;

static void interrupt(struct vdev *d, u16 vector, u8 isr)
{
	(void)d, (void)isr;
	irqs[vector]++;
}
static void silence(struct vdev *d) { (void)d; }
static int no_registers(struct vdev *d) { return (void)d, 0; }
const struct virtio_transport virtio_pci_transport = {.init = no_registers, .interrupt = interrupt, .silence = silence}, virtio_mmio_transport;
const struct pci_bar virtio_pci_bars[PCI_BARS];
void virtio_pci_wanted(struct vdev *d, unsigned off, unsigned size) { (void)d, (void)off, (void)size; }
void virtio_pci_written(struct vdev *d, unsigned off, unsigned size) { (void)d, (void)off, (void)size; }
const struct vm_config *vm_config(const struct vm *vm) { return (void)vm, &cfg; }
u16 vm_id(const struct vm *vm) { return (void)vm, 1; }
void vdev_error(struct vdev *d) { (void)d; }
const char *vm_name(const struct vm *vm) { return (void)vm, "v"; }
bool vm_has_ended(const struct vm *vm) { return (void)vm, false; }
unsigned vm_vifs(const struct vm *vm) { return (void)vm, 1; }
struct vm_vif *vm_vif(struct vm *vm, u32 i) { return (void)vm, &cfg.vifs[i]; }
u64 vm_time_ns(struct vm *vm) { return (void)vm, clock_ns; }
void vdev_work(struct vdev *d) { works += d == &dev; }
void vdev_timer_stop(struct vdev *d, unsigned idx) { (void)d, (void)idx; }
void vdev_timer_set(struct vdev *d, unsigned idx, u64 at) { (void)d, (void)idx, (void)at, timers++; }
void vdev_timer_sooner(struct vdev *d, unsigned idx, u64 at) { vdev_timer_set(d, idx, at); }
void vdev_refuse(struct vdev *d, const char *fmt, ...) { (void)d, (void)fmt; }
void log_line(enum log_level level, const char *fmt, ...) { (void)level, (void)fmt, warned++; }

/* ---- a driver: split rings of 256, from 0x1000 on, its buffers behind; each part inside a page, or over two ---- */

static u64 stride = 0x3000, device_at = 0x2000;
static bool usual = true;
#define DESC(q)	  (0x1000ull + (q) * stride)
#define DRIVER(q) (DESC(q) + 0x1000)
#define DEVICE(q) (DESC(q) + device_at)
#define DATA	  0x21000ull
enum { NEXT = 1, WRITE = 2 };
static u16 next_desc[8];

bool gmem_sparse(const struct vm *v) { (void)v; return false; }
bool gmem_usual(const struct vm *v) { return (void)v, usual; }
int gmem_prepare(struct vm *v, gpa_t gpa, u64 n) { (void)v, (void)gpa, (void)n; return 0; }
static void store(gpa_t at, unsigned n, u64 v) { memcpy(fake_ram + at, &v, n); }
static u64 load(gpa_t at, unsigned n)
{
	u64 v = 0;

	memcpy(&v, fake_ram + at, n);
	return v;
}
static u16 used(unsigned q) { return (u16)load(DEVICE(q) + 2, 2); }
static u32 used_len(unsigned q, u16 i) { return (u32)load(DEVICE(q) + 4 + 8 * (i & 255) + 4, 4); }

/* Ranges of one chain; then it is available. */
static void chain(unsigned q, const struct block_range *r, unsigned n, bool write)
{
	u16 idx = (u16)load(DRIVER(q) + 2, 2), head = next_desc[q];

	for (unsigned i = 0; i < n; i++) {
		u16 at = next_desc[q]++ & 255;

		store(DESC(q) + 16 * at, 8, r[i].gpa);
		store(DESC(q) + 16 * at + 8, 4, r[i].len);
		store(DESC(q) + 16 * at + 12, 2, (write ? WRITE : 0) | (i + 1 < n ? NEXT : 0));
		store(DESC(q) + 16 * at + 14, 2, (at + 1) & 255);
	}
	store(DRIVER(q) + 4 + 2 * (idx & 255), 2, head & 255);
	store(DRIVER(q) + 2, 2, (u16)(idx + 1));
}
static void one(unsigned q, gpa_t gpa, u32 len, bool write)
{
	chain(q, &(struct block_range){.gpa = gpa, .len = len}, 1, write);
}

static void start(u64 features)
{
	memset(fake_ram, 0, sizeof(fake_ram));
	memset(next_desc, 0, sizeof(next_desc));
	memset(irqs, 0, sizeof(irqs));
	virtio_set_status(&dev, 0);
	if (!(features & VIRTIO_F_VERSION_1))
		state.virtio.legacy = 1;
	virtio_accept(&dev, features);
	virtio_set_status(&dev, VIRTIO_FEATURES_OK);
	for (unsigned i = 0; i < net_queues(&dev); i++) {
		state.virtio.queue[i].desc = DESC(i);
		state.virtio.queue[i].driver = DRIVER(i);
		state.virtio.queue[i].device = DEVICE(i);
		state.virtio.queue_vector[i] = (u16)i;
		virtio_enable_queue(&dev, i);
	}
	state.virtio.config_vector = VIRTIO_MAX_QUEUES;
	virtio_set_status(&dev, VIRTIO_DRIVER_OK);
	assert_int_equal(state.virtio.status, VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK);
	works = timers = 0;
}
#define MODERN (VIRTIO_F_VERSION_1 | NET_F_MAC | NET_F_STATUS | NET_F_CTRL_VQ | NET_F_CTRL_RX)

static int plug(void **test)
{
	struct vm_vif v = fake_vif(NULL);
	char why[160];

	(void)test;
	cfg = (struct vm_config){.nr_vifs = 1, .vifs = {fake_vif(mac_a)}};
	memset(&state, 0, sizeof(state));
	warned = 0;
	memset(kicks, 0, sizeof(kicks));
	if (virtio_init(&dev))
		return 1;
	peer = net_open(&fake_ops, NULL, &v, OWNER_HOST, 1, why, sizeof(why));
	return !peer;
}
static int unplug(void **test)
{
	(void)test;
	net_close(peer);
	virtio_destroy(&dev);
	return 0;
}

static void from_peer(u32 n)
{
	eth(mac_a, mac_b, 0x88b5);
	bytes(n - 14);
	send_pkt(peer);
	net_flush(peer);
}

/* ---- tests ---- */

/* A husk: its link is down, what is sent goes nowhere, nothing comes; and it can be reset and started again. */
static void torn(void **test)
{
	struct net_port *again;
	char why[160];
	u16 status;

	(void)test;
	start(MODERN);
	from_peer(100);
	assert_true(net_tear(&dev));
	status = (u16)virtio_config_read(&dev, 6, 2);
	assert_int_equal(status & LINK_UP, 0);
	assert_int_equal(irqs[VIRTIO_MAX_QUEUES], 1);
	for (int i = 0; i < 2; i++) {
		eth(mac_b, mac_a, 0x88b5);
		bytes(100);
		memcpy(fake_ram + DATA + 12, pkt, pkt_len);
		one(1, DATA, 12 + pkt_len, false);
		virtio_kick(&dev, 1);
		assert_int_equal(used(1), 1);
		assert_null(net_peek(peer));
		one(0, DATA + 4096, 2000, true);
		virtio_kick(&dev, 0);
		net_timer(&dev, 0);
		net_work(&dev);
		assert_int_equal(used(0), 0);
		assert_true(net_tear(&dev));
		virtio_set_status(&dev, 0);
		start(MODERN);
	}
	/* Its MAC is free. */
	again = net_open(&fake_ops, NULL, &cfg.vifs[0], 9, 0, why, sizeof(why));
	assert_non_null(again);
	net_close(again);
	virtio_destroy(&dev);
	assert_int_equal(cfg.vifs[0].bridge[0], 0);
}

/* Long enough for the driver to be told what is sent. */
static void quiet(u64 ns)
{
	clock_ns += ns;
	net_timer(&dev, 0);
}

static void sends(void **test)
{
	const struct net_rx *r;

	(void)test;
	start(MODERN);
	eth(mac_b, mac_a, 0x88b5);
	bytes(1486);
	memcpy(fake_ram + DATA + 12, pkt, pkt_len);
	one(1, DATA, 12 + pkt_len, false);
	/* And in pieces, the header cut in two. */
	chain(1, (struct block_range[]){{.gpa = DATA, .len = 5}, {.gpa = DATA + 5, .len = 100}, {.gpa = DATA + 105, .len = pkt_len - 93}}, 3,
	      false);
	virtio_kick(&dev, 1);
	for (int i = 0; i < 2; i++, net_next(peer)) {
		r = net_peek(peer);
		assert_non_null(r);
		assert_int_equal(r->len, pkt_len);
		assert_memory_equal(r->data, pkt, pkt_len);
	}
	assert_int_equal(used(1), 2);
	assert_int_equal(kicks[1], 1);
	assert_int_equal(irqs[1], 0);
	quiet(QUIET_NS);
	assert_int_equal(irqs[1], 1);
	/* A checksum that it left to us. */
	eth(mac_b, mac_a, 0);
	udp(1, 2, 1000);
	ip4(17, 1, 2, 0);
	store(DATA, 8, NET_NEEDS_CSUM | 34ull << 48);
	store(DATA + 8, 2, 6);
	memcpy(fake_ram + DATA + 12, pkt, pkt_len);
	one(1, DATA, 12 + pkt_len, false);
	virtio_kick(&dev, 1);
	r = net_peek(peer);
	assert_int_equal(slow_fold(slow_sum(r->data + 34, r->len - 34, 0)), 0);
	quiet(QUIET_NS);
	/* Without an interrupt if it wants none. */
	store(DRIVER(1), 2, 1);
	one(1, DATA, 12 + pkt_len, false);
	virtio_kick(&dev, 1);
	assert_int_equal(irqs[1], 2);
	/* Over two pages. */
	memcpy(fake_ram + DATA + 3500 + 12, pkt, pkt_len);
	store(DATA + 3500, 8, 0);
	store(DATA + 3508, 4, 0);
	one(1, DATA + 3500, 12 + pkt_len, false);
	virtio_kick(&dev, 1);
	for (int i = 0; i < 2; i++)
		net_next(peer);
	r = net_peek(peer);
	assert_int_equal(r->len, pkt_len);
	assert_memory_equal(r->data, pkt, pkt_len);
	/* As much as a turn may do, and the rest in the next. */
	timers = 0;
	for (int i = 0; i < 200; i++)
		one(1, DATA, 12 + pkt_len, false);
	virtio_kick(&dev, 1);
	assert_in_range(used(1), 21, 101);
	assert_int_equal(timers, 1);
	for (int i = 0; i < 10; i++)
		net_timer(&dev, 0);
	assert_int_equal(used(1), 205);
}

static void is_told(void **test)
{
	(void)test;
	start(MODERN);
	eth(mac_b, mac_a, 0x88b5);
	bytes(50);
	memcpy(fake_ram + DATA + 12, pkt, pkt_len);
	/* Who goes on sending is not told. */
	for (int i = 0; i < 3; i++) {
		one(1, DATA, 12 + pkt_len, false);
		virtio_kick(&dev, 1);
		quiet(QUIET_NS - 1);
	}
	assert_int_equal(irqs[1], 0);
	quiet(1);
	assert_int_equal(irqs[1], 1);
	quiet(QUIET_NS);
	assert_int_equal(irqs[1], 1);
	/* But when a quarter of its ring is back, at once. */
	for (int i = 0; i < 64; i++) {
		one(1, DATA, 12 + pkt_len, false);
		virtio_kick(&dev, 1);
		net_next(peer);
	}
	assert_int_equal(irqs[1], 1);
	one(1, DATA, 12 + pkt_len, false);
	virtio_kick(&dev, 1);
	assert_int_equal(irqs[1], 2);
	/* And when it was much. */
	bytes(1486);
	memcpy(fake_ram + DATA + 12, pkt, pkt_len);
	for (int i = 0; i < 10; i++)
		one(1, DATA, 12 + pkt_len, false);
	virtio_kick(&dev, 1);
	assert_int_equal(irqs[1], 3);
	quiet(QUIET_NS);
	assert_int_equal(irqs[1], 3);
}

static void waits_for_credit(void **test)
{
	(void)test;
	net_close(dev.priv);
	cfg.vifs[0].rate = 1000000;
	cfg.vifs[0].burst = 100;
	assert_int_equal(net_init(&dev), 0);
	start(MODERN);
	eth(mac_b, mac_a, 0x88b5);
	bytes(986);
	memcpy(fake_ram + DATA + 12, pkt, pkt_len);
	one(1, DATA, 12 + pkt_len, false);
	one(1, DATA, 12 + pkt_len, false);
	virtio_kick(&dev, 1);
	assert_int_equal(used(1), 1);
	assert_int_equal(timers, 2); /* for the second, and to say that the first is sent */
	clock_ns += 1000000;
	net_timer(&dev, 0);
	assert_int_equal(used(1), 2);
}

static void receives(void **test)
{
	(void)test;
	start(MODERN);
	from_peer(600);
	assert_int_equal(works, 1);
	net_work(&dev); /* no buffer yet */
	assert_int_equal(used(0), 0);
	one(0, DATA, 1526, true);
	virtio_kick(&dev, 0);
	assert_int_equal(used(0), 1);
	assert_int_equal(used_len(0, 0), 612);
	assert_int_equal(irqs[0], 1);
	assert_memory_equal(fake_ram + DATA + 12, pkt, 600);
	assert_int_equal(load(DATA + 10, 2), 1);
	/* One that is too large for the driver's buffers is lost, the buffer is not. */
	one(0, DATA, 100, true);
	from_peer(600);
	net_work(&dev);
	assert_int_equal(used(0), 1);
	assert_int_equal(port_of(&dev)->drops[DROP_REFUSED], 1);
	from_peer(60);
	net_work(&dev);
	assert_int_equal(used(0), 2);
	/* Over two pages, then inside one. */
	one(0, DATA + 3000, 1526, true);
	one(0, DATA, 1526, true);
	from_peer(1500);
	from_peer(1400);
	net_work(&dev);
	assert_int_equal(used(0), 4);
	assert_int_equal(used_len(0, 2), 1512);
	assert_int_equal(used_len(0, 3), 1412);
	assert_memory_equal(fake_ram + DATA + 12, pkt, 1400);
	/* The driver is gone: nothing waits for the next one. */
	virtio_set_status(&dev, 0);
	from_peer(60);
	net_work(&dev);
	assert_null(net_peek(port_of(&dev)));
}

static void merges(void **test)
{
	u8 got[3000];
	u32 n = 0;

	(void)test;
	start(MODERN | NET_F_MRG_RXBUF | NET_F_GUEST_CSUM | VIRTIO_F_EVENT_IDX);
	from_peer(1400);
	/* Too few: the driver is to say when there are more than these, and all are there then. */
	one(0, DATA, 600, true);
	one(0, DATA + 600, 400, true);
	net_work(&dev);
	assert_int_equal(used(0), 0);
	assert_int_equal(load(DEVICE(0) + 4 + 8 * 256, 2), 2); /* avail_event */
	chain(0, (struct block_range[]){{.gpa = DATA + 1000, .len = 7}, {.gpa = DATA + 2000, .len = 600}}, 2, true);
	virtio_kick(&dev, 0);
	assert_int_equal(used(0), 3);
	assert_int_equal(load(DATA + 10, 2), 3);
	assert_int_equal(used_len(0, 0), 600);
	assert_int_equal(used_len(0, 1), 400);
	assert_int_equal(used_len(0, 2), 412);
	memcpy(got, fake_ram + DATA + 12, 588 + 400 + 7);
	memcpy(got + 995, fake_ram + DATA + 2000, 405);
	assert_memory_equal(got, pkt, 1400);
	/* The header cut where it says how many. */
	chain(0, (struct block_range[]){{.gpa = DATA, .len = 11}, {.gpa = DATA + 100, .len = 31}}, 2, true);
	one(0, DATA + 200, 100, true);
	from_peer(60);
	net_work(&dev);
	assert_int_equal(used(0), 5);
	assert_int_equal(load(DATA + 10, 1) | load(DATA + 100, 1) << 8, 2);
	/* Crumbs: more than a frame may take. It is lost, and they are used for the next. */
	for (int i = 0; i < 100; i++)
		one(0, DATA + 1000 + 16ull * i, 16, true);
	from_peer(1400);
	net_work(&dev);
	assert_int_equal(used(0), 5);
	from_peer(60);
	net_work(&dev);
	n = used(0) - 5u;
	assert_int_equal(n, 5); /* 12 + 60 in sixteens */
}

/* A command: class, number, and n bytes of data; what is answered. */
static u8 command_is(u16 what, const void *data, u32 n)
{
	u16 before = used(2);

	store(DATA, 1, what >> 8);
	store(DATA + 1, 1, what);
	memcpy(fake_ram + DATA + 2, data, n);
	store(DATA + 5000, 1, 0x55);
	{
		u16 idx = (u16)load(DRIVER(2) + 2, 2), head = next_desc[2];

		store(DESC(2) + 16 * (head & 255), 8, DATA);
		store(DESC(2) + 16 * (head & 255) + 8, 4, 2 + n);
		store(DESC(2) + 16 * (head & 255) + 12, 2, NEXT);
		store(DESC(2) + 16 * (head & 255) + 14, 2, (head + 1) & 255);
		store(DESC(2) + 16 * ((head + 1) & 255), 8, DATA + 5000);
		store(DESC(2) + 16 * ((head + 1) & 255) + 8, 4, 1);
		store(DESC(2) + 16 * ((head + 1) & 255) + 12, 2, WRITE);
		store(DRIVER(2) + 4 + 2 * (idx & 255), 2, head & 255);
		store(DRIVER(2) + 2, 2, (u16)(idx + 1));
		next_desc[2] = (u16)(head + 2);
	}
	virtio_kick(&dev, 2);
	assert_int_equal(used(2), (u16)(before + 1));
	return fake_ram[DATA + 5000];
}

static bool gets(const u8 *dst, u16 vlan)
{
	u16 before = used(0);

	one(0, DATA + 8000, 1600, true);
	eth(dst, mac_b, 0x88b5);
	bytes(60);
	if (vlan) {
		memmove(pkt + 16, pkt + 12, pkt_len - 12);
		put16(pkt + 12, 0x8100);
		put16(pkt + 14, vlan);
		pkt_len += 4;
	}
	send_pkt(peer);
	net_work(&dev);
	return used(0) != before;
}

static void filters(void **test)
{
	static const u8 on = 1, off = 0, group[6] = {1, 0, 0x5e, 0, 0, 1};
	u8 table[4 + 6 + 4 + 6] = {1, 0, 0, 0, 2, 9, 9, 9, 9, 9, 1, 0, 0, 0, 1, 0, 0x5e, 0, 0, 1};
	static const u8 other[6] = {2, 9, 9, 9, 9, 9};
	u16 vlan = 5;

	(void)test;
	start(MODERN | NET_F_CTRL_RX_EXTRA);
	assert_true(gets(other, 0)); /* nothing is set */
	assert_int_equal(command_is(CTRL_PROMISC, &off, 1), CTRL_OK);
	assert_true(gets(mac_a, 0) && gets(broadcast, 0) && !gets(other, 0) && !gets(group, 0));
	assert_int_equal(command_is(CTRL_MAC_TABLE, table, sizeof(table)), CTRL_OK);
	assert_true(gets(other, 0) && gets(group, 0));
	table[0] = table[10] = 0;
	assert_int_equal(command_is(CTRL_MAC_TABLE, table, 3), CTRL_ERR);
	table[0] = 5;
	assert_int_equal(command_is(CTRL_MAC_TABLE, table, 20), CTRL_ERR);
	command_is(CTRL_NOBCAST, &on, 1);
	assert_false(gets(broadcast, 0));
	command_is(CTRL_ALLMULTI, &on, 1);
	assert_true(gets(group, 0));
	command_is(CTRL_NOMULTI, &on, 1);
	assert_false(gets(group, 0));
	command_is(CTRL_NOUNI, &on, 1);
	assert_false(gets(mac_a, 0));
	assert_int_equal(command_is(CTRL_NOBCAST + 1, &on, 1), CTRL_ERR);
	assert_int_equal(command_is(CTRL_PROMISC, &on, 0), CTRL_ERR);
	assert_int_equal(command_is(CTRL_MAC_ADDR, other, 6), CTRL_ERR);
	assert_int_equal(command_is(CTRL_MQ_PAIRS, &vlan, 2), CTRL_ERR);
	/* VLANs that it wants. */
	cfg.vifs[0].vlans[0] = BIT(5) | BIT(6);
	peer->vif.vlans[0] = BIT(5) | BIT(6);
	port_of(&dev)->vif.vlans[0] = BIT(5) | BIT(6);
	start(MODERN | NET_F_CTRL_VLAN);
	assert_int_equal(command_is(CTRL_VLAN_ADD, &vlan, 2), CTRL_OK);
	assert_true(gets(broadcast, 5) && !gets(broadcast, 6) && gets(broadcast, 0));
	assert_int_equal(command_is(CTRL_VLAN_DEL, &vlan, 2), CTRL_OK);
	assert_false(gets(broadcast, 5));
	vlan = 4096;
	assert_int_equal(command_is(CTRL_VLAN_ADD, &vlan, 2), CTRL_ERR);
}

static void offloads(void **test)
{
	u64 o = NET_F_GUEST_CSUM;

	(void)test;
	start(MODERN | NET_F_GUEST_CSUM | NET_F_GUEST_TSO4 | NET_F_GUEST_OFFLOADS);
	assert_int_equal(net_takes(port_of(&dev)), NET_TAKES_CSUM | NET_TAKES_TSO4);
	assert_int_equal(command_is(CTRL_OFFLOADS, &o, 8), CTRL_OK);
	assert_int_equal(net_takes(port_of(&dev)), NET_TAKES_CSUM);
	o = NET_F_GUEST_TSO6;
	assert_int_equal(command_is(CTRL_OFFLOADS, &o, 8), CTRL_ERR);
	/* A state from elsewhere. */
	state.offloads = NET_F_GUEST_CSUM | NET_F_GUEST_TSO4;
	net_work(&dev);
	assert_int_equal(net_takes(port_of(&dev)), NET_TAKES_CSUM | NET_TAKES_TSO4);
	virtio_set_status(&dev, 0);
	assert_int_equal(net_takes(port_of(&dev)), 0);
	/* Segments without checksums: no driver may, and none is given any. */
	start(MODERN | NET_F_GUEST_TSO4);
	assert_int_equal(net_takes(port_of(&dev)), 0);
}

static void link(void **test)
{
	u8 c[12];

	(void)test;
	start(MODERN | NET_F_ANNOUNCE);
	assert_int_equal(net_set_link(1, 0, false), 0);
	assert_int_equal(works, 1);
	net_work(&dev);
	assert_int_equal(irqs[VIRTIO_MAX_QUEUES], 1);
	net_config(&dev, c);
	assert_int_equal(c[6], 0);
	assert_memory_equal(c, mac_a, 6);
	net_set_link(1, 0, true);
	net_work(&dev);
	net_config(&dev, c);
	assert_int_equal(c[6], LINK_UP | ANNOUNCE);
	assert_int_equal(c[8] | c[10] << 8 | c[11] << 16, 1 | 1500 << 8);
	assert_int_equal(command_is(CTRL_ANNOUNCE_ACK, "", 0), CTRL_OK);
	net_config(&dev, c);
	assert_int_equal(c[6], LINK_UP);
}

static void queues(void **test)
{
	u16 pairs = 2;
	unsigned n = 0;

	(void)test;
	cfg.vifs[0].queues = 3;
	cfg.vifs[0].antispoof = false;
	port_of(&dev)->vif.queues = 3;
	assert_int_equal(net_queues(&dev), 7);
	assert_true(net_features(&dev) & NET_F_MQ && net_features(&dev) & NET_F_CTRL_MAC);
	/* A driver of one pair has its control queue behind that. */
	start(MODERN);
	assert_int_equal(ctrl_queue(&dev), 2);
	assert_int_equal(command_is(CTRL_MAC_ADDR, mac_c, 6), CTRL_ERR);
	start(MODERN | NET_F_MQ);
	assert_int_equal(ctrl_queue(&dev), 6);
	state.pairs = pairs;
	for (unsigned i = 0; i < 40; i++) {
		one(0, DATA, 1526, true);
		one(2, DATA, 1526, true);
	}
	for (u16 i = 0; i < 30; i++) {
		eth(mac_a, mac_b, 0);
		udp(i, 7, 20);
		ip4(17, 1, 2, 0);
		send_pkt(peer);
	}
	net_work(&dev);
	n = used(0) + used(2);
	assert_int_equal(n, 30);
	assert_in_range(used(0), 5, 25);
	state.pairs = 9;
	assert_false(net_valid(&state));
	state.pairs = 0;
	assert_false(net_valid(&state));
}

/* Each makes the device wait for a reset, and costs nothing else. */
static void broken_by(bool legacy, unsigned q, gpa_t at, u32 len, bool write)
{
	start(legacy ? NET_F_MAC : MODERN | NET_F_MRG_RXBUF);
	from_peer(100);
	one(q, at, len, write);
	virtio_kick(&dev, q);
	assert_true(state.virtio.status & VIRTIO_NEEDS_RESET);
	virtio_kick(&dev, q);
	net_work(&dev);
	net_timer(&dev, 0);
}

static void hostile(void **test)
{
	(void)test;
	broken_by(false, 1, DATA, 11, false);	     /* no room for a header */
	broken_by(true, 1, DATA, 9, false);
	broken_by(false, 1, DATA, 100, true);	     /* to be written */
	broken_by(false, 1, FAKE_HOLE, 100, false);  /* no RAM */
	broken_by(false, 0, DATA, 11, true);
	broken_by(false, 0, DATA, 100, false);
	broken_by(false, 0, FAKE_RAM - 50, 100, true);
	broken_by(false, 2, DATA, 20, false);	     /* nowhere to answer */
	assert_int_equal(state.virtio.errors, 8);
	assert_int_equal(warned, 4); /* the 1st, 2nd, 4th, 8th */
	/* Frames that are none are dropped. */
	start(MODERN);
	one(1, DATA, 12, false);
	one(1, DATA, 25, false);
	one(1, DATA, 0x1f000 - 0x1000, false);
	virtio_kick(&dev, 1);
	assert_int_equal(used(1), 3);
	assert_int_equal(port_of(&dev)->drops[DROP_MALFORMED], 2);
	assert_int_equal(port_of(&dev)->drops[DROP_SIZE], 1);
	assert_null(net_peek(peer));
}

static void legacy(void **test)
{
	(void)test;
	start(NET_F_MAC);
	assert_int_equal(hdr_size(&dev), 10);
	one(0, DATA, 1524, true);
	from_peer(60);
	net_work(&dev);
	assert_int_equal(used_len(0, 0), 70);
	assert_memory_equal(fake_ram + DATA + 10, pkt, 60);
	net_config_write(&dev, 0, 4, 0x04030202);
	assert_memory_equal(state.mac, mac_a, 6); /* it may not send from that one */
	cfg.vifs[0].antispoof = false;
	net_config_write(&dev, 0, 4, 0x04030202);
	assert_int_equal(state.mac[3], 4);
	net_config_write(&dev, 4, 4, ~0u);
	assert_int_equal(state.mac[5], 0xa);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, plug, unplug)
int main(void)
{
	const struct CMUnitTest tests[] = {
		T(torn), T(sends), T(is_told), T(waits_for_credit), T(receives), T(merges), T(filters), T(offloads), T(link), T(queues), T(hostile), T(legacy),
	};

	int r = cmocka_run_group_tests(tests, NULL, NULL);

	usual = false;
	r |= cmocka_run_group_tests(tests, NULL, NULL);
	usual = true;
	stride = 0x2400;
	device_at = 0x1800;
	return r | cmocka_run_group_tests(tests, NULL, NULL);
}
