/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor at CID 2, port 2, for VMs whose file says vsock = [ 'monitor=1' ]: a line is a verb, its answer one line of
 * JSON. Packets come and go on the VM's pCPUs, with the hub's lock held; verbs are done on the boot CPU by a work, which is
 * called by an interrupt. Two of a session's rings have one end here and one there.
 *
 * A session whose guest has gone goes on until its verb has come to its end, for nobody else can end that.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "drivers/virtio/vsock.h"
#include "lib/string.h"
#include "vmm/monitor/monitor.h"
#include "vmm/sched.h"
#include "vmm/timer.h"

#define SESSIONS 8u /* of the host */
#define A_VM	 2u /* of them a VM may have */
#define IN	 512u /* what the guest may have on its way to us */
#define OUT	 MON_STEP_BYTES
#define WAIT_NS	 5000000ull
static_assert(!(IN & (IN - 1)) && !(OUT & (OUT - 1)), "indices of rings run on");

struct session {
	struct vsock_port *p; /* NULL: nobody listens any more */
	u16 owner;	      /* the VM's id */
	u32 port;	      /* the guest's */
	bool respond, credit; /* is still to be said; */
	bool ending;	      /* the guest sends no more; when all is answered we say so, too, and have then `ended` */
	bool ended;
	bool busy;	      /* a verb is at work; the work's own, as is what follows */
	bool cut;	      /* the line at hand is too long: it is answered at its end */
	u32 peer_alloc, peer_fwd, told; /* 5.10.6.3; told: our fwd_cnt as the guest has it */
	u32 in_head, in_tail, out_head, out_tail;
	struct mon_call call;
	struct mon_out mon;
	u8 in[IN], out[OUT];
};

static struct session sessions[SESSIONS];
static struct sched_work work;
static struct timer wait;
static bool at_work; /* the boot CPU's own */

/* ---- the guest's side. The hub's lock is held ---- */

static bool is_free(const struct session *s)
{
	return !s->p && !READ_ONCE(s->busy);
}

static struct session *session_of(const struct vsock_port *p, u32 port)
{
	for (u32 i = 0; i < SESSIONS; i++)
		if (sessions[i].p == p && sessions[i].port == port)
			return &sessions[i];
	return NULL;
}

/* Its verb, if one is at work, need not wait for room any more. */
static void leave(struct session *s)
{
	s->p = NULL;
	ipi_send(0, VEC_VSOCK);
}

static bool begin(struct vsock_port *p, const struct vsock_hdr *h)
{
	struct session *s = NULL;
	u32 has = 0;

	for (u32 i = 0; i < SESSIONS; i++) {
		if (is_free(&sessions[i]))
			s = &sessions[i];
		else
			has += sessions[i].owner == vm_id(p->d->vm);
	}
	if (!s || has >= A_VM)
		return false;
	s->p = p;
	s->owner = vm_id(p->d->vm);
	s->port = h->src_port;
	s->respond = true;
	s->credit = s->ending = s->ended = s->cut = false;
	s->peer_alloc = s->peer_fwd = s->told = s->in_head = s->in_tail = s->out_head = s->out_tail = 0;
	return true;
}

static bool take_bytes(struct session *s, const struct vsock_hdr *h, const struct virtq_chain *c)
{
	u32 at = s->in_tail % IN, first = MIN(h->len, IN - at);

	if (h->len > IN - (s->in_tail - s->in_head) || s->ending)
		return false; /* more than it had credit for, or after its last word */
	virtq_read(s->p->d->vm, c, sizeof(*h), s->in + at, first);
	virtq_read(s->p->d->vm, c, sizeof(*h) + first, s->in, h->len - first);
	s->in_tail += h->len;
	return true;
}

static bool take_packet(struct session *s, const struct vsock_hdr *h, const struct virtq_chain *c)
{
	s->peer_alloc = h->buf_alloc;
	s->peer_fwd = h->fwd_cnt;
	vdev_work(s->p->d); /* there may be credit now */
	switch (h->op) {
	case VSOCK_RW: return take_bytes(s, h, c);
	case VSOCK_CREDIT_UPDATE: return true;
	case VSOCK_CREDIT_REQUEST: s->credit = true; return true;
	case VSOCK_SHUTDOWN:
		s->ending |= !!(h->flags & VSOCK_NO_SEND);
		return !(h->flags & VSOCK_NO_RECEIVE) && !s->ended;
	}
	return false;
}

bool vsock_monitor_send(struct vsock_port *p, const struct vsock_hdr *h, const struct virtq_chain *c, bool bad)
{
	struct session *s = h->dst_port == VSOCK_MONITOR ? session_of(p, h->src_port) : NULL;

	if (!s && !bad && h->op == VSOCK_REQUEST && h->dst_port == VSOCK_MONITOR) {
		if (!begin(p, h))
			return false;
		s = session_of(p, h->src_port);
		s->peer_alloc = h->buf_alloc;
		s->peer_fwd = h->fwd_cnt;
		vdev_work(p->d);
		return true;
	}
	if (!s)
		return false;
	if (bad || !take_packet(s, h, c)) {
		leave(s);
		return false;
	}
	ipi_send(0, VEC_VSOCK);
	return true;
}

static u32 to_send(const struct session *s)
{
	u32 have = __atomic_load_n(&s->out_tail, __ATOMIC_ACQUIRE) - s->out_head, on_way = s->out_head - s->peer_fwd;

	return on_way < s->peer_alloc ? MIN(have, s->peer_alloc - on_way) : 0;
}

static bool all_said(const struct session *s)
{
	return s->ending && !s->ended && !s->cut && !READ_ONCE(s->busy) && s->in_head == s->in_tail &&
	       s->out_head == __atomic_load_n(&s->out_tail, __ATOMIC_ACQUIRE);
}

static u16 next_op(const struct session *s)
{
	if (s->respond)
		return VSOCK_RESPONSE;
	if (to_send(s))
		return VSOCK_RW;
	if (s->credit)
		return VSOCK_CREDIT_UPDATE;
	return all_said(s) ? VSOCK_SHUTDOWN : 0;
}

bool vsock_monitor_next(struct vsock_port *p, struct vsock_packet *k)
{
	for (u32 i = 0; i < SESSIONS; i++) {
		struct session *s = &sessions[i];
		u32 at = s->out_head % OUT, n;
		u16 op = s->p == p ? next_op(s) : 0;

		if (!op)
			continue;
		n = op == VSOCK_RW ? to_send(s) : 0;
		*k = (struct vsock_packet){.from = s, .part = {s->out + at, s->out}, .part_len = {MIN(n, OUT - at)}};
		k->part_len[1] = n - k->part_len[0];
		k->hdr = (struct vsock_hdr){.src_cid = VSOCK_HOST, .dst_cid = p->cid, .src_port = VSOCK_MONITOR,
					    .dst_port = s->port, .len = n, .type = VSOCK_STREAM, .op = op, .buf_alloc = IN,
					    .fwd_cnt = s->in_head,
					    .flags = op == VSOCK_SHUTDOWN ? VSOCK_NO_SEND | VSOCK_NO_RECEIVE : 0};
		return true;
	}
	return false;
}

void vsock_monitor_took(const struct vsock_packet *k, u32 n)
{
	struct session *s = k->from;

	s->told = k->hdr.fwd_cnt;
	s->respond &= k->hdr.op != VSOCK_RESPONSE;
	s->credit = false;
	s->ended |= k->hdr.op == VSOCK_SHUTDOWN;
	if (n)
		__atomic_store_n(&s->out_head, s->out_head + n, __ATOMIC_RELEASE);
	if (n && s->out_head == s->out_tail) /* a verb may wait for room, or the next line for this one's answer */
		ipi_send(0, VEC_VSOCK);
}

void vsock_monitor_hang_up(struct vsock_port *p)
{
	for (u32 i = 0; i < SESSIONS; i++)
		if (sessions[i].p == p)
			leave(&sessions[i]);
}

/* ---- the monitor's side: a work on the boot CPU ---- */

static u32 out_used(const struct session *s)
{
	return s->out_tail - __atomic_load_n(&s->out_head, __ATOMIC_ACQUIRE);
}

/* One line is to be one: no carriage returns. To whom nobody listens says nothing. */
static void write_out(struct mon_out *o, const char *buf, size_t n)
{
	struct session *s = container_of(o, struct session, mon);
	u32 tail = s->out_tail, left = OUT - out_used(s);

	for (; n && left && READ_ONCE(s->p); n--, buf++)
		if (*buf != '\r') {
			s->out[tail++ % OUT] = (u8)*buf;
			left--;
		}
	__atomic_store_n(&s->out_tail, tail, __ATOMIC_RELEASE);
}

static size_t room(struct mon_out *o)
{
	const struct session *s = container_of(o, struct session, mon);

	return READ_ONCE(s->p) ? OUT - out_used(s) : OUT;
}

enum line { LINE_NONE, LINE, LINE_EMPTY, LINE_TOO_LONG };

/* The next line into `line`, without its end; the last one needs none. */
static enum line take_line(struct session *s, char line[MON_LINE_MAX])
{
	u32 end = s->in_head, n;
	bool whole = false, any = false;

	while (end != s->in_tail && !whole)
		whole = s->in[end++ % IN] == '\n';
	n = end - s->in_head;
	if (!whole && !(s->ending && (n || s->cut))) {
		if (n < MON_LINE_MAX)
			return LINE_NONE;
		s->cut = true; /* make room for what is still to come of it */
	}
	for (u32 i = 0; i < n; i++) {
		u8 b = s->in[s->in_head++ % IN];

		if (i < MON_LINE_MAX - 1)
			line[i] = b == '\n' || b == '\r' || !b ? ' ' : (char)b;
		any |= b > ' ';
	}
	line[MIN(n, MON_LINE_MAX - 1u)] = 0;
	s->credit |= s->in_head - s->told >= IN / 2;
	if (!whole && !s->ending)
		return LINE_EMPTY;
	if (s->cut || n > MON_LINE_MAX - 4) {
		s->cut = false;
		return LINE_TOO_LONG;
	}
	return any ? LINE : LINE_EMPTY;
}

static enum mon_status start_line(struct session *s, enum line what, const char *line)
{
	char json[MON_LINE_MAX + 4];

	s->mon = (struct mon_out){.write = write_out, .room = room};
	if (what == LINE) {
		snprintf(json, sizeof(json), "%s -j", line);
		return monitor_start(&s->call, json, &s->mon);
	}
	if (what == LINE_TOO_LONG) {
		mon_begin(&s->mon, true);
		mon_end(&s->mon, "the line is too long");
	}
	return MON_DONE;
}

enum step { STEP_IDLE, STEP_DONE, STEP_WAITS };

static enum step step(struct session *s)
{
	enum line what = LINE_NONE;
	char line[MON_LINE_MAX];
	enum mon_status st;

	if (!s->busy) {
		vsock_lock();
		if (s->p && !out_used(s)) {
			what = take_line(s, line);
			s->busy = what != LINE_NONE; /* now the place stays ours */
		}
		vsock_unlock();
		if (what == LINE_NONE)
			return STEP_IDLE;
	}
	st = what == LINE_NONE ? monitor_step(&s->call) : start_line(s, what, line);
	vsock_lock();
	s->busy = st == MON_MORE || st == MON_WAIT;
	if (s->p)
		vdev_work(s->p->d);
	vsock_unlock();
	if (st != MON_WAIT)
		return STEP_DONE;
	return room(&s->mon) < MON_STEP_BYTES ? STEP_IDLE : STEP_WAITS; /* for room: the guest's taking calls us */
}

/* A step of one of them; they take turns. */
static bool serve(struct sched_work *w)
{
	static u32 next;
	bool waits = false;

	(void)w;
	for (u32 n = 0; n < SESSIONS; n++) {
		enum step did = step(&sessions[next++ % SESSIONS]);

		if (did == STEP_DONE)
			return false;
		waits |= did == STEP_WAITS;
	}
	at_work = false;
	if (waits)
		timer_set(&wait, rdtsc() + ns_to_tsc(WAIT_NS));
	return true;
}

static void interrupt(void)
{
	if (!at_work)
		sched_do(&work);
	at_work = true;
}

static void waited(struct timer *t)
{
	(void)t;
	interrupt();
}

void vsock_monitor_open(void)
{
	if (work.fn)
		return;
	work.fn = serve;
	timer_init(&wait, waited);
	irq_set_handler(VEC_VSOCK, interrupt);
}
