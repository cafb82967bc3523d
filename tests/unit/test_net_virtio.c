/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/host/hvirtq.c */
/* The machine's network cards against a made-up card and switch, with the real rings: frames of any length both ways,
 * merged buffers, an area that wraps and fills, a card that lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#define FAKE_OWNER OWNER_HOST
#include "tests/unit/fake_hostdrv.h"
#include "drivers/host/net_virtio.c" /* its init() is known to the linker script alone */

static u64 offered = WANTED | WANTED_MERGING;
static struct hvq *rxq, *txq;
static irq_handler_t handler;
static struct sched_work *work;
static int ipis, kicks[2], flushes, stops;
static bool connected = true;

/* ---- the hypervisor ---- */

void irq_set_handler(u8 vector, irq_handler_t fn)
{
	assert_int_equal(vector, VEC_NIC);
	handler = fn;
}
void ipi_send(u32 pcpu, u8 vector)
{
	assert_true(pcpu == 0 && vector == VEC_NIC);
	ipis++;
}
void sched_do(struct sched_work *w)
{
	assert_null(work);
	work = w;
}
const struct vm_vif *host_uplink(u32 i)
{
	static const struct vm_vif vif = {.bridge = "lan0"};

	return connected && i == 0 ? &vif : NULL;
}

/* ---- the switch ---- */

static u8 got[NET_MAX_FRAME];
static struct net_hdr got_hdr;
static u32 got_len, nr_got, port_takes;
static struct net_rx *wait[2000];
static unsigned wait_first, wait_end;

struct net_port *net_open(const struct net_port_ops *ops, void *priv, const struct vm_vif *vif, u16 owner, u32 index,
			  char *why, size_t n)
{
	assert_true(ops == &nic_ops && owner == OWNER_HOST && index == 0 && vif);
	(void)why, (void)n;
	return priv;
}
void *net_priv(const struct net_port *p)
{
	return (void *)p;
}
void net_set_takes(struct net_port *p, u32 t)
{
	(void)p;
	port_takes = t;
}
u32 net_send(struct net_port *p, const struct net_frame *f)
{
	(void)p;
	assert_true(f->len <= sizeof(got) && f->head_len >= MIN(f->len, NET_HEAD));
	memcpy(got, f->head, MIN(f->head_len, f->len));
	for (u32 off = f->head_len; off < f->len;) { /* in odd pieces */
		u32 n = 1 + (u32)rand() % 7000;

		n = MIN(n, f->len - off);
		assert_int_equal(f->read(f, off, got + off, n), 0);
		off += n;
	}
	got_hdr = f->hdr;
	got_len = f->len;
	nr_got++;
	return 1;
}
void net_flush(struct net_port *p)
{
	(void)p;
	flushes++;
}
const struct net_rx *net_peek(struct net_port *p)
{
	(void)p;
	return wait_first < wait_end ? wait[wait_first] : NULL;
}
void net_next(struct net_port *p)
{
	(void)p;
	free(wait[wait_first++]);
}

/* ---- the card ---- */

static const struct pci_dev pci = {.device = 0x1041};
const struct pci_dev *hvirtio_find(u32 kind, u32 i)
{
	assert_int_equal(kind, VIRTIO_ID_NET);
	return i ? NULL : &pci;
}
const char *hvirtio_start(struct hvirtio *v, const struct pci_dev *p, u64 wanted)
{
	static u8 regs;

	*v = (struct hvirtio){.pci = *p, .features = wanted & offered, .common = &regs};
	return NULL;
}
const char *hvirtio_queue(struct hvirtio *v, struct hvq *q, u16 index, u16 max, u8 vector)
{
	(void)v;
	assert_int_equal(vector, VEC_NIC);
	*q = (struct hvq){.index = index};
	hvq_init(q, max, kzalloc(hvq_bytes(max), FRAME_DEVICE, OWNER_HOST), true);
	*(index ? &txq : &rxq) = q;
	return NULL;
}
void hvirtio_ready(struct hvirtio *v)
{
	(void)v;
}
void hvirtio_stop(struct hvirtio *v)
{
	(void)v;
	stops++;
}
void hvq_kick(const struct hvq *q)
{
	kicks[q->index]++;
}

static u16 rx_seen, tx_seen;
static void used(struct hvq *q, u32 id, u32 len)
{
	u16 *idx = (u16 *)(q->used + 2);
	u32 *e = (u32 *)(q->used + 4) + *idx % q->size * 2;

	e[0] = id;
	e[1] = len;
	++*idx;
}

/* A buffer of the driver's that the card may fill. */
static struct virtq_desc *buffer(u16 *id)
{
	assert_true(rx_seen != rxq->avail[1]);
	*id = rxq->avail[2 + rx_seen++ % rxq->size];
	assert_true(rxq->desc[*id].len == RX_BUF && rxq->desc[*id].flags == 2);
	return &rxq->desc[*id];
}

static void put_in(const u8 *data, u32 len, u16 buffers, struct net_hdr h)
{
	struct hdr *first = NULL;
	u32 off = 0;
	u16 nr = 0;

	do {
		u16 id;
		u8 *b = (u8 *)buffer(&id)->addr;
		u32 at = nr ? 0 : sizeof(struct hdr), n = MIN(len - off, RX_BUF - at);

		if (!nr)
			first = (struct hdr *)b;
		memcpy(b + at, data + off, n);
		off += n;
		nr++;
		used(rxq, id, at + n);
	} while (off < len);
	*first = (struct hdr){.h = h, .num_buffers = buffers ?: nr};
}

static void run(void)
{
	handler();
	while (ipis) {
		ipis--;
		handler();
	}
	if (work)
		handler(); /* leaves to the work what is its */
	while (work)
		if (work->fn(work))
			work = NULL;
}

static void boot(void)
{
	srand(1);
	nr_nics = 0;
	rx_seen = tx_seen = 0;
	nr_got = 0;
	wait_first = wait_end = 0;
	ipis = stops = 0;
	init();
	assert_int_equal(nr_nics, 1);
}

static void shut_down(void)
{
	while (net_peek(NULL))
		net_next(NULL);
	free(nics[0]->buffers);
	free(nics[0]->area);
	free(rxq->desc);
	free(txq->desc);
	free(nics[0]);
	nr_nics = 0;
}

static u8 data[NET_MAX_FRAME + RX_BUF];
static void coming_in(void **state)
{
	(void)state;
	boot();
	assert_int_equal(port_takes, NET_TAKES_CSUM | NET_TAKES_TSO4 | NET_TAKES_TSO6 | NET_TAKES_ECN);
	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (u8)rand();
	for (unsigned i = 0; i < 3000; i++) {
		u32 len = i % 5 ? NET_ETH_HDR + (u32)rand() % 1500 : NET_ETH_HDR + (u32)rand() % (NET_MAX_FRAME - NET_ETH_HDR + 1);
		struct net_hdr h = {.flags = i & 1, .gso_type = len > 9000 ? 1 : 0, .gso_size = (u16)i};
		u32 from = (u32)rand() % 1000;

		len = MIN(len, (u32)sizeof(data) - from);
		put_in(data + from, len, 0, h);
		if (rand() % 3)
			run();
		if (nr_got) {
			run();
			assert_int_equal(got_len, len);
			assert_memory_equal(got, data + from, len);
			assert_memory_equal(&got_hdr, &h, sizeof(h));
		}
		run();
	}
	assert_int_equal(nr_got, 3000);
	for (unsigned i = 0; i < 100; i++) /* a batch */
		put_in(data, 60, 0, (struct net_hdr){0});
	run();
	assert_int_equal(nr_got, 3100);
	shut_down();
}

/* What makes no frame is dropped, and its buffers come back; a broken ring ends the card. */
static void lies(void **state)
{
	u16 id;

	(void)state;
	boot();
	for (unsigned i = 0; i < 300; i++) {
		struct hdr *h = (struct hdr *)buffer(&id)->addr;

		*h = (struct hdr){.num_buffers = 1};
		switch (i % 6) {
		case 0: used(rxq, id, 0); break;
		case 1: used(rxq, id, 11); break;
		case 2: used(rxq, id, RX_BUF + 1); break;
		case 3:
			h->num_buffers = 0;
			used(rxq, id, 100);
			break;
		case 4:
			h->num_buffers = 0xffff;
			used(rxq, id, 100);
			break;
		default:
			used(rxq, id, 25); /* 13 bytes */
		}
		run();
	}
	assert_int_equal(nr_got, 0);
	assert_int_equal(nics[0]->dropped, 300);
	put_in(data, 9000, 0, (struct net_hdr){0});
	run();
	assert_int_equal(nr_got, 1);
	((struct hdr *)buffer(&id)->addr)->num_buffers = 2; /* the head shorter than what anybody looks at, and more behind it */
	used(rxq, id, 100);
	run();
	buffer(&id);
	used(rxq, id, 4000);
	run();
	assert_int_equal(nics[0]->dropped, 301);
	used(rxq, 7777, 1);
	run();
	assert_int_equal(stops, 1);
	run();
	assert_int_equal(stops, 1);
	shut_down();
}

static void queue_out(u32 len)
{
	struct net_rx *r = malloc(sizeof(*r) + len);

	*r = (struct net_rx){.len = len, .hdr = {.flags = 1, .gso_size = (u16)wait_end}};
	for (u32 i = 0; i < len; i++)
		r->data[i] = (u8)(len + i * 7 + wait_end);
	wait[wait_end++] = r;
}

/* Frames go out as they are, in order, however the card answers; nothing under way is overwritten. */
static void going_out(void **state)
{
	u16 heads[TX_NR], nr = 0;
	unsigned seen = 0;

	(void)state;
	boot();
	while (seen < 1900) {
		if (wait_end < 1900 && rand() % 2) {
			queue_out(NET_ETH_HDR + (u32)rand() % (rand() % 4 ? 1500 : NET_MAX_FRAME - NET_ETH_HDR));
			if (rand() % 2)
				nic_kick(nics[0]->port);
		}
		while (tx_seen != txq->avail[1]) {
			heads[nr] = txq->avail[2 + tx_seen % txq->size];
			assert_int_equal(((struct hdr *)txq->desc[heads[nr++]].addr)->h.gso_size, tx_seen++); /* in order */
		}
		if (nr && rand() % 2) { /* looked at only now; the oldest first, or another */
			unsigned i = rand() % 4 ? 0 : (unsigned)rand() % nr;
			const struct virtq_desc *d = &txq->desc[heads[i]];
			const struct hdr *h = (const struct hdr *)d->addr;
			const u8 *b = (const u8 *)(h + 1);
			u32 len = d->len - (u32)sizeof(*h), n = h->h.gso_size;

			assert_true(h->h.flags == 1 && h->num_buffers == 0);
			for (u32 k = 0; k < len; k++)
				if (b[k] != (u8)(len + k * 7 + n))
					fail();
			used(txq, heads[i], 0);
			memmove(heads + i, heads + i + 1, (nr - i - 1u) * sizeof(*heads));
			nr--;
			seen++;
		}
		if (nr == 0 || rand() % 8 == 0)
			run();
	}
	run();
	assert_int_equal(wait_first, 1900);
	assert_int_equal(nics[0]->nr_under_way, 0);
	assert_true(nics[0]->head == nics[0]->tail || !nics[0]->nr_under_way);
	shut_down();
}

static void plain(void **state)
{
	(void)state;
	offered = 0;
	boot();
	assert_int_equal(port_takes, 0);
	put_in(data, 1514, 77, (struct net_hdr){0}); /* without the feature the count means nothing */
	run();
	assert_int_equal(nr_got, 1);
	shut_down();
	offered = WANTED | WANTED_MERGING;
	connected = false;
	init();
	assert_int_equal(nr_nics, 0);
	connected = true;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(coming_in), cmocka_unit_test(lies), cmocka_unit_test(going_out), cmocka_unit_test(plain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
