/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's own virtio network cards (virtio 1.2, 5.1), each an uplink of a bridge: dalang.cfg's `uplink`, the n-th item
 * for the n-th card in order of PCI addresses. A card that no item names is left alone.
 *
 * What comes in lies in buffers of our own until the switch has copied it. What goes out is copied from the port's ring
 * into an area of ours, one frame behind the other, and leaves it in the same order.
 */
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "drivers/host/hvirtio.h"
#include "drivers/net/net.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "vmm/config.h"
#include "vmm/host.h"
#include "vmm/sched.h"

#define WANTED (NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_HOST_TSO4 | NET_F_HOST_TSO6 | NET_F_HOST_ECN | NET_F_MRG_RXBUF)
/* Only with buffers that merge: else each would have to hold the longest. */
#define WANTED_MERGING (NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_GUEST_ECN)

struct hdr { /* 5.1.6: this long with VERSION_1 */
	struct net_hdr h;
	u16 num_buffers;
};
static_assert(sizeof(struct hdr) == 12, "virtio 1.2, 5.1.6");

#define MAX_NICS  HOST_MAX_UPLINKS
#define RX_BUF	  4096u
#define RX_NR	  128u /* buffers */
#define RX_PARTS  (NET_MAX_FRAME / RX_BUF + 2) /* of a frame */
#define RX_BATCH  32u  /* frames in one interrupt */
#define TX_NR	  128u /* frames under way */
#define TX_AREA	  KIB(256)
#define TX_BATCH  32u  /* frames in one turn */

struct part {
	const u8 *data;
	u32 len;
};
struct nic {
	struct hvirtio v;
	struct net_port *port;
	u32 number;
	/* In. Only the interrupt, on the boot CPU, is here. */
	struct hvq rx;
	u8 *buffers;
	u32 nr_parts, want_parts; /* of a frame, of which so many have come */
	struct part part[RX_PARTS];
	u16 part_buffer[RX_PARTS];
	u64 dropped;
	/* Out. */
	struct spinlock lock;
	struct hvq tx;
	u8 *area;
	u64 head, tail; /* bytes of the area that were ever taken, and given back */
	u16 oldest, nr_under_way;
	u64 ends[TX_NR]; /* of each frame: what `tail` becomes */
	bool done[TX_NR], full; /* full: a frame waits for room */
};

static struct nic *nics[MAX_NICS];
static u32 nr_nics;

/* ---- out ---- */

static void reclaim(struct nic *n)
{
	u16 slot;
	u32 len;

	while (hvq_get(&n->tx, &slot, &len))
		n->done[slot] = true;
	for (; n->nr_under_way && n->done[n->oldest]; n->nr_under_way--) {
		n->tail = n->ends[n->oldest];
		n->oldest = (n->oldest + 1) % TX_NR;
	}
}

/* Room for so many bytes in one piece; NULL: none now. */
static u8 *take_room(struct nic *n, u32 len)
{
	u64 at = n->head % TX_AREA, start = at + len > TX_AREA ? n->head + TX_AREA - at : n->head;

	if (n->nr_under_way == TX_NR || start + len - n->tail > TX_AREA)
		return NULL;
	n->head = start + ALIGN_UP(len, 16u);
	return n->area + start % TX_AREA;
}

static bool put_out(struct nic *n, const struct net_rx *r)
{
	struct hdr h = {.h = r->hdr};
	u16 slot = (n->oldest + n->nr_under_way) % TX_NR;
	u64 before = n->head;
	u8 *room = take_room(n, sizeof(h) + r->len);
	struct hvq_seg seg = {.len = sizeof(h) + r->len};

	if (!room)
		return false;
	memcpy(room, &h, sizeof(h));
	memcpy(room + sizeof(h), r->data, r->len);
	seg.addr = frame_pa(room);
	if (hvq_add(&n->tx, &seg, 1, 1, slot)) {
		n->head = before;
		return false;
	}
	n->ends[slot] = n->head;
	n->done[slot] = false;
	n->nr_under_way++;
	return true;
}

/* Put out what waits, as far as there is room; true: more waits, but not for room. The lock is held. */
static bool drain(struct nic *n)
{
	const struct net_rx *r;
	u32 i = 0;

	reclaim(n);
	for (n->full = false; i < TX_BATCH && (r = net_peek(n->port)); i++) {
		if (!put_out(n, r)) {
			n->full = !n->tx.dead;
			break;
		}
		net_next(n->port);
	}
	if (hvq_publish(&n->tx))
		hvq_kick(&n->tx);
	/* Nobody wants to hear that a frame has left but one that waits for its room. */
	if (n->full && hvq_more(&n->tx)) {
		reclaim(n);
		return true;
	}
	return i == TX_BATCH;
}

static void nic_kick(struct net_port *p)
{
	struct nic *n = net_priv(p);
	bool more;

	spin_lock(&n->lock);
	more = drain(n);
	spin_unlock(&n->lock);
	if (more)
		ipi_send(0, VEC_NIC);
}

static const struct net_port_ops nic_ops = {.kind = "uplink", .kick = nic_kick};

/* ---- in ---- */

static void give_buffer(struct nic *n, u16 i)
{
	const struct hvq_seg seg = {.addr = frame_pa(n->buffers + (size_t)i * RX_BUF), .len = RX_BUF};

	hvq_add(&n->rx, &seg, 1, 0, i);
}

static int read_parts(const struct net_frame *f, u32 off, void *to, u32 len)
{
	const struct nic *n = f->arg;
	const struct part *p = n->part;

	for (; off >= p->len; p++)
		off -= p->len;
	for (u32 k; len; p++, off = 0, len -= k, to = (u8 *)to + k) {
		k = MIN(len, p->len - off);
		memcpy(to, p->data + off, k);
	}
	return 0;
}

/* All parts of a frame are there. */
static void deliver(struct nic *n)
{
	struct net_frame f = {.head = n->part[0].data, .head_len = n->part[0].len, .arg = n};

	for (u32 i = 0; i < n->nr_parts; i++)
		f.len += n->part[i].len;
	if (f.head_len < f.len)
		f.read = read_parts;
	memcpy(&f.hdr, f.head - sizeof(struct hdr), sizeof(f.hdr));
	if (f.len < NET_ETH_HDR || f.len > NET_MAX_FRAME || f.head_len < MIN(f.len, NET_HEAD))
		n->dropped++;
	else
		net_send(n->port, &f);
}

/* One more buffer has been filled; true: a frame is complete. What the card says of lengths is checked: false, too, for what
 * makes no frame, which is dropped. */
static bool take_part(struct nic *n, u16 i, u32 len)
{
	const u8 *b = n->buffers + (size_t)i * RX_BUF;
	struct part *p = &n->part[n->nr_parts];

	n->part_buffer[n->nr_parts++] = i;
	if (len > RX_BUF)
		len = 0;
	*p = (struct part){.data = b, .len = len};
	if (n->nr_parts > 1)
		return n->nr_parts == n->want_parts;
	n->want_parts = 1;
	if (len < sizeof(struct hdr)) {
		p->len = 0;
		p->data += sizeof(struct hdr);
		return true; /* too short: deliver() drops it */
	}
	p->data += sizeof(struct hdr);
	p->len -= (u32)sizeof(struct hdr);
	if (hvirtio_has(&n->v, NET_F_MRG_RXBUF))
		n->want_parts = ((const struct hdr *)b)->num_buffers;
	if (!n->want_parts || n->want_parts > RX_PARTS) {
		n->want_parts = 1;
		p->len = 0;
	}
	return n->want_parts == 1;
}

/* true: there is more. */
static bool receive(struct nic *n)
{
	u32 frames = 0, len;
	u16 i;

	while (frames < RX_BATCH && hvq_get(&n->rx, &i, &len)) {
		if (!take_part(n, i, len))
			continue;
		deliver(n);
		for (u32 k = 0; k < n->nr_parts; k++)
			give_buffer(n, n->part_buffer[k]);
		n->nr_parts = 0;
		frames++;
	}
	if (frames)
		net_flush(n->port);
	if (hvq_publish(&n->rx))
		hvq_kick(&n->rx);
	return frames == RX_BATCH || hvq_more(&n->rx);
}

/* The card broke a ring: reset, it touches no memory any more, and nothing comes or goes. */
static void bury(struct nic *n)
{
	log_err("nic%u: the device broke its ring: it is no longer used", n->number);
	hvirtio_stop(&n->v);
	n->rx.dead = n->tx.dead = true;
}

static bool serve(struct nic *n)
{
	bool dead = n->rx.dead && n->tx.dead, more = receive(n);

	spin_lock(&n->lock);
	more |= drain(n);
	if (!dead && (n->rx.dead || n->tx.dead))
		bury(n);
	spin_unlock(&n->lock);
	return more;
}

/* On the boot CPU alone: by interrupt; what is too much for one turn comes when others have had theirs. */
static bool rest_waits;
static bool serve_rest(struct sched_work *w)
{
	(void)w;
	rest_waits = false;
	for (u32 i = 0; i < nr_nics; i++)
		rest_waits |= serve(nics[i]);
	return !rest_waits;
}
static struct sched_work rest = {.fn = serve_rest};

static void interrupt(void)
{
	if (!rest_waits && !serve_rest(&rest))
		sched_do(&rest);
}

/* ---- at boot ---- */

/* What it takes over from the switch's work on frames that go out. */
static u32 takes(const struct hvirtio *v)
{
	if (!hvirtio_has(v, NET_F_CSUM))
		return 0;
	return NET_TAKES_CSUM | (hvirtio_has(v, NET_F_HOST_TSO4) ? NET_TAKES_TSO4 : 0) |
	       (hvirtio_has(v, NET_F_HOST_TSO6) ? NET_TAKES_TSO6 : 0) | (hvirtio_has(v, NET_F_HOST_ECN) ? NET_TAKES_ECN : 0);
}

static const char *start(struct nic *n, const struct pci_dev *pci)
{
	const char *why = hvirtio_start(&n->v, pci, WANTED | WANTED_MERGING);

	if (!why && !hvirtio_has(&n->v, NET_F_MRG_RXBUF))
		why = hvirtio_start(&n->v, pci, WANTED);
	if (!why)
		why = hvirtio_queue(&n->v, &n->rx, 0, RX_NR, VEC_NIC);
	if (!why)
		why = hvirtio_queue(&n->v, &n->tx, 1, TX_NR, VEC_NIC);
	if (why)
		return why;
	n->lock = (struct spinlock)SPINLOCK(LOCK_NIC);
	n->buffers = kzalloc((size_t)n->rx.size * RX_BUF, FRAME_DEVICE, OWNER_HOST);
	n->area = kzalloc(TX_AREA, FRAME_DEVICE, OWNER_HOST);
	return n->buffers && n->area ? NULL : "there is no memory for its frames";
}

/* From here on it interrupts. */
static void go(struct nic *n)
{
	net_set_takes(n->port, takes(&n->v));
	hvirtio_ready(&n->v);
	for (u16 i = 0; i < n->rx.size; i++)
		give_buffer(n, i);
	if (hvq_publish(&n->rx))
		hvq_kick(&n->rx);
}

static const char *connect(struct nic *n, const struct pci_dev *pci, const struct vm_vif *vif, char *why, size_t size)
{
	const char *wrong = start(n, pci);

	if (wrong)
		return wrong;
	n->port = net_open(&nic_ops, n, vif, OWNER_HOST, n->number, why, size);
	return n->port ? NULL : why;
}

static void init(void)
{
	const struct pci_dev *pci;
	const struct vm_vif *vif;
	char text[160];
	u32 i;

	for (i = 0; nr_nics < MAX_NICS && (pci = hvirtio_find(VIRTIO_ID_NET, i)) && (vif = host_uplink(i)); i++) {
		struct nic *n = kzalloc(sizeof(*n), FRAME_DEVICE, OWNER_HOST);
		const char *why;

		if (!n)
			return;
		if (!nr_nics)
			irq_set_handler(VEC_NIC, interrupt);
		n->number = i;
		why = connect(n, pci, vif, text, sizeof(text));
		if (why) { /* its memory is left to it: it is not known to have let go */
			log_warn("nic%u at %04x:%02x:%02x.%u: not used: %s", i, pci->segment, pci->bus, pci->devfn >> 3,
				 pci->devfn & 7, why);
			if (n->v.common)
				hvirtio_stop(&n->v);
			continue;
		}
		nics[nr_nics++] = n;
		log_info("nic%u: uplink of %s, features 0x%lx", i, vif->bridge, (unsigned long)n->v.features);
		go(n);
	}
	for (; host_uplink(i); i++)
		log_warn("dalang.cfg: uplink: item %u, counted from 0, has no virtio network card: the machine has %u", i, i);
}
HOST_DRIVER(init);
