/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hub of guests' sockets. Flow control is between the two ends of a connection (virtio 1.2, 5.10.6.3); the hub knows
 * connections only so far as to let nobody talk to who has not agreed to it, and to tell the other end when one is gone,
 * which would wait for ever else.
 */
#include "arch/x86_64/frame.h"
#include "drivers/virtio/vsock.h"
#include "lib/spinlock.h"
#include "lib/string.h"
#include "vmm/config.h"

static struct list ports = {&ports, &ports};
static struct spinlock lock = SPINLOCK(LOCK_SWITCH);
static u64 last_epoch;

void vsock_lock(void)
{
	spin_lock(&lock);
}

void vsock_unlock(void)
{
	spin_unlock(&lock);
}

/* ---- who is who. The lock is held ---- */

/* One that has ended, and is only there to be looked at, is not found. */
static struct vsock_port *find(u64 cid)
{
	list_for_each (n, &ports) {
		struct vsock_port *p = list_entry(n, struct vsock_port, node);

		if (p->cid == cid && !vm_has_ended(p->d->vm))
			return p;
	}
	return NULL;
}

static bool names(const struct vsock_port *p, const char *peer)
{
	const char *s = vm_config(p->d->vm)->vsock.peers;

	while (*s) {
		const char *e = strchr(s, ' ') ?: s + strlen(s);
		size_t n = (size_t)(e - s);

		if ((n == 1 && *s == '*') || (n && n == strlen(peer) && !memcmp(s, peer, n)))
			return true;
		s = e + (*e == ' ');
	}
	return false;
}

static bool agreed(const struct vsock_port *a, const struct vsock_port *b)
{
	return a != b && names(a, vm_name(b->d->vm)) && names(b, vm_name(a->d->vm));
}

/* ---- inboxes ---- */

static u32 room(const struct vsock_port *p)
{
	return VSOCK_INBOX - (p->tail - p->head);
}

static void put(struct vsock_port *p, const void *from, u32 n)
{
	u32 at = p->tail % VSOCK_INBOX, first = MIN(n, VSOCK_INBOX - at);

	memcpy(p->inbox + at, from, first);
	memcpy(p->inbox, (const u8 *)from + first, n - first);
	p->tail += n;
}

static void put_data(struct vsock_port *to, struct vm *vm, const struct virtq_chain *c, u32 n)
{
	u32 at = to->tail % VSOCK_INBOX, first = MIN(n, VSOCK_INBOX - at);

	/* All of it is RAM: the ring's checks have seen to that. */
	virtq_read(vm, c, sizeof(struct vsock_hdr), to->inbox + at, first);
	virtq_read(vm, c, sizeof(struct vsock_hdr) + first, to->inbox, n - first);
	to->tail += n;
}

/* 5.10.6.4: never to one that is one. */
static void refuse(struct vsock_port *p, const struct vsock_hdr *h)
{
	struct vsock_hdr r = {.src_cid = h->dst_cid, .dst_cid = p->cid, .src_port = h->dst_port, .dst_port = h->src_port,
			      .type = h->type, .op = VSOCK_RST};

	if (h->op == VSOCK_RST)
		return;
	p->count.refused++;
	put(p, &r, sizeof(r));
}

bool vsock_may_send(const struct vsock_port *p)
{
	return room(p) >= sizeof(struct vsock_hdr);
}

/* ---- connections ---- */

static struct vsock_conn *conn_of(struct vsock_port *p, u64 cid, u32 port, u32 peer_port)
{
	for (u32 i = 0; cid && i < VSOCK_CONNS; i++) {
		struct vsock_conn *c = &p->conns[i];

		if (c->cid == cid && c->port == port && c->peer_port == peer_port)
			return c;
	}
	return NULL;
}

static struct vsock_conn *free_conn(struct vsock_port *p, u32 cid)
{
	struct vsock_conn *found = NULL;
	u32 with = 0;

	for (u32 i = 0; i < VSOCK_CONNS; i++) {
		if (!p->conns[i].cid)
			found = found ?: &p->conns[i];
		with += p->conns[i].cid == cid;
	}
	return with < VSOCK_PER_PEER ? found : NULL;
}

/* The guest will be told, behind what is in its inbox already. */
static void kill_conn(struct vsock_port *p, struct vsock_conn *c)
{
	if (c->dying)
		return;
	c->dying = true;
	c->rst_at = p->tail;
	p->nr_dying++;
	p->count.resets++;
	vdev_work(p->d);
}

/* p's end of it is gone; the other is told. */
static void drop(struct vsock_port *p, struct vsock_conn *c)
{
	struct vsock_port *to = find(c->cid);
	struct vsock_conn *other = to ? conn_of(to, p->cid, c->peer_port, c->port) : NULL;

	*c = (struct vsock_conn){0};
	if (other)
		kill_conn(to, other);
}

/* Both ends begin to know of it, or none does. */
static bool add(struct vsock_port *p, struct vsock_port *to, const struct vsock_hdr *h)
{
	struct vsock_conn *a = free_conn(p, to->cid), *b = free_conn(to, p->cid);

	if (!a || !b || conn_of(to, p->cid, h->dst_port, h->src_port))
		return false;
	*a = (struct vsock_conn){.cid = to->cid, .port = h->src_port, .peer_port = h->dst_port};
	*b = (struct vsock_conn){.cid = p->cid, .port = h->dst_port, .peer_port = h->src_port};
	return true;
}

/* ---- sending ---- */

static bool malformed(const struct vsock_hdr *h)
{
	return h->type != VSOCK_STREAM || h->op < VSOCK_REQUEST || h->op > VSOCK_CREDIT_REQUEST || h->len > VSOCK_MAX_DATA ||
	       (h->len && h->op != VSOCK_RW);
}

static enum vsock_sent to_peer(struct vsock_port *p, const struct vsock_hdr *h, const struct virtq_chain *c)
{
	struct vsock_port *to = find(h->dst_cid);
	struct vsock_conn *conn = conn_of(p, h->dst_cid, h->src_port, h->dst_port), *other;
	bool ok = to && to->up && !malformed(h);

	if (conn && (conn->dying || !ok)) { /* one that is dying has its RST on the way */
		if (!conn->dying)
			drop(p, conn);
		refuse(p, h);
		return VSOCK_SENT;
	}
	if (!ok || (!conn && (h->op != VSOCK_REQUEST || !agreed(p, to)))) {
		refuse(p, h);
		return VSOCK_SENT;
	}
	if (room(to) < VSOCK_REPLIES * sizeof(*h) + sizeof(*h) + h->len) {
		p->waits = to->wanted = true;
		return VSOCK_WAIT;
	}
	if (!conn && !add(p, to, h)) {
		refuse(p, h);
		return VSOCK_SENT;
	}
	put(to, h, sizeof(*h));
	put_data(to, p->d->vm, c, h->len);
	p->count.sent++;
	p->count.sent_bytes += h->len;
	if (h->op == VSOCK_RST) {
		other = conn_of(to, p->cid, h->dst_port, h->src_port);
		if (other)
			*other = (struct vsock_conn){0};
		*conn = (struct vsock_conn){0};
	}
	vdev_work(to->d);
	return VSOCK_SENT;
}

static enum vsock_sent to_host(struct vsock_port *p, const struct vsock_hdr *h, const struct virtq_chain *c)
{
	if (!vm_config(p->d->vm)->vsock.monitor || !vsock_monitor_send(p, h, c, malformed(h))) {
		refuse(p, h);
	} else {
		p->count.sent++;
		p->count.sent_bytes += h->len;
	}
	return VSOCK_SENT;
}

enum vsock_sent vsock_send(struct vsock_port *p, const struct vsock_hdr *h, const struct virtq_chain *c)
{
	enum vsock_sent r = VSOCK_SENT;

	spin_lock(&lock);
	if (h->src_cid != p->cid)
		p->count.dropped++;
	else
		r = h->dst_cid == VSOCK_HOST ? to_host(p, h, c) : to_peer(p, h, c);
	spin_unlock(&lock);
	return r;
}

void vsock_give_up(struct vsock_port *p, const struct vsock_hdr *h)
{
	struct vsock_conn *conn;

	spin_lock(&lock);
	conn = conn_of(p, h->dst_cid, h->src_port, h->dst_port);
	if (conn && !conn->dying) {
		p->count.resets++;
		drop(p, conn);
	}
	refuse(p, h);
	spin_unlock(&lock);
}

/* ---- receiving ---- */

static void get_hdr(const struct vsock_port *p, struct vsock_hdr *h)
{
	u32 at = p->head % VSOCK_INBOX, first = MIN((u32)sizeof(*h), VSOCK_INBOX - at);

	memcpy(h, p->inbox + at, first);
	memcpy((u8 *)h + first, p->inbox, sizeof(*h) - first);
}

static void from_inbox(struct vsock_port *p, struct vsock_packet *k)
{
	u32 at;

	if (!p->mid)
		get_hdr(p, &p->cur);
	k->from = NULL;
	k->hdr = p->cur;
	at = (p->head + (p->mid ? 0 : (u32)sizeof(k->hdr))) % VSOCK_INBOX;
	k->part[0] = p->inbox + at;
	k->part_len[0] = MIN(k->hdr.len, VSOCK_INBOX - at);
	k->part[1] = p->inbox;
	k->part_len[1] = k->hdr.len - k->part_len[0];
}

/* A connection whose other end is gone, and what that had sent before has been read. */
static struct vsock_conn *dead_conn(struct vsock_port *p)
{
	if (!p->nr_dying || p->mid)
		return NULL;
	for (u32 i = 0; i < VSOCK_CONNS; i++)
		if (p->conns[i].dying && (s32)(p->head - p->conns[i].rst_at) >= 0)
			return &p->conns[i];
	return NULL;
}

bool vsock_next(struct vsock_port *p, struct vsock_packet *k)
{
	struct vsock_conn *c;
	bool any = true;

	spin_lock(&lock);
	c = dead_conn(p);
	if (c)
		*k = (struct vsock_packet){
			.hdr = {.src_cid = c->cid, .dst_cid = p->cid, .src_port = c->peer_port, .dst_port = c->port,
				.type = VSOCK_STREAM, .op = VSOCK_RST},
			.from = p};
	else if (p->mid || !vsock_monitor_next(p, k)) {
		any = p->head != p->tail;
		if (any)
			from_inbox(p, k);
	}
	spin_unlock(&lock);
	return any;
}

/* There is room for the longest packet again: who waits may come. */
static void let_in(struct vsock_port *p)
{
	if (!p->wanted || room(p) < VSOCK_INBOX / 2)
		return;
	p->wanted = false;
	list_for_each (n, &ports) {
		struct vsock_port *q = list_entry(n, struct vsock_port, node);

		if (q->waits)
			vdev_work(q->d);
	}
}

static void took_inbox(struct vsock_port *p, u32 n)
{
	p->head += n + (p->mid ? 0 : (u32)sizeof(p->cur));
	p->cur.len -= n;
	p->mid = p->cur.len;
	let_in(p);
}

void vsock_took(struct vsock_port *p, const struct vsock_packet *k, u32 n)
{
	const struct vsock_hdr *h = &k->hdr;
	struct vsock_conn *c;

	spin_lock(&lock);
	p->count.received++;
	p->count.received_bytes += n;
	if (!k->from) {
		took_inbox(p, n);
	} else if (k->from != p) {
		vsock_monitor_took(k, n);
	} else {
		c = conn_of(p, h->src_cid, h->dst_port, h->src_port);
		if (c) {
			*c = (struct vsock_conn){0};
			p->nr_dying--;
		}
	}
	spin_unlock(&lock);
}

/* ---- ports come and go ---- */

static void hang_up(struct vsock_port *p)
{
	memset(p->conns, 0, sizeof(p->conns));
	p->nr_dying = 0;
	p->head = p->tail;
	p->mid = p->waits = false;
	let_in(p);
	list_for_each (n, &ports) {
		struct vsock_port *q = list_entry(n, struct vsock_port, node);

		for (u32 i = 0; p->cid && q != p && i < VSOCK_CONNS; i++)
			if (q->conns[i].cid == p->cid)
				kill_conn(q, &q->conns[i]);
	}
	vsock_monitor_hang_up(p);
}

void vsock_hang_up(struct vsock_port *p, bool up)
{
	spin_lock(&lock);
	hang_up(p);
	p->up = up;
	spin_unlock(&lock);
}

/* From one who has ended it may be taken over. The lock is held. */
static bool take_cid(struct vsock_port *p, u32 wanted)
{
	u32 cid = wanted ?: VSOCK_HOST + 1u + vm_id(p->d->vm);

	while (!wanted && find(cid))
		cid++;
	if (find(cid))
		return false;
	list_for_each (n, &ports) {
		struct vsock_port *q = list_entry(n, struct vsock_port, node);

		if (q->cid == cid) {
			hang_up(q);
			q->cid = 0;
		}
	}
	p->cid = cid;
	return true;
}

struct vsock_port *vsock_open(struct vdev *d, const struct vm_vsock *cfg, char *why, size_t n)
{
	struct vsock_port *p = kzalloc(sizeof(*p), FRAME_DEVICE, vm_id(d->vm));
	bool ok = false;

	if (p)
		p->inbox = kzalloc(VSOCK_INBOX, FRAME_DEVICE, vm_id(d->vm));
	snprintf(why, n, "needs more memory of our own than there is");
	if (p && p->inbox) {
		spin_lock(&lock);
		p->d = d;
		p->epoch = ++last_epoch;
		ok = take_cid(p, cfg->cid);
		if (ok)
			list_insert(&ports, &p->node);
		else
			snprintf(why, n, "cid=%u is another VM's; write another, or none", cfg->cid);
		if (ok && cfg->monitor)
			vsock_monitor_open();
		spin_unlock(&lock);
	}
	if (ok)
		return p;
	if (p && p->inbox)
		kfree(p->inbox);
	if (p)
		kfree(p);
	return NULL;
}

void vsock_close(struct vsock_port *p)
{
	if (!p)
		return;
	spin_lock(&lock);
	hang_up(p);
	list_del(&p->node);
	spin_unlock(&lock);
	kfree(p->inbox);
	kfree(p);
}

bool vsock_stat(u16 owner, struct vsock_stat *st)
{
	bool found = false;

	spin_lock(&lock);
	list_for_each (n, &ports) {
		const struct vsock_port *p = list_entry(n, struct vsock_port, node);

		if (vm_id(p->d->vm) != owner)
			continue;
		found = true;
		*st = (struct vsock_stat){.cid = p->cid, .count = p->count};
		for (u32 i = 0; i < VSOCK_CONNS; i++)
			st->conns += p->conns[i].cid != 0;
	}
	spin_unlock(&lock);
	return found;
}
