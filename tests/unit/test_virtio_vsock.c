/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtq.c drivers/virtio/vsock_hub.c drivers/virtio/vsock_monitor.c vmm/monitor/monitor.c vmm/monitor/out.c */
/* Socket devices of several VMs, each with a driver of ours; and the monitor, with verbs of ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#define FAKE_RAM      0x100000ull
#define FAKE_HOLE     0xff000ull
#define FAKE_HOLE_END 0x100000ull
#include "fake_gmem.h"
#include "drivers/virtio/vsock.c"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/log.h"
#include "vmm/host.h"
#include "vmm/monitor/monitor.h"
#include "vmm/monitor/verbs.h"
#include "vmm/sched.h"

#define VMS 4u
struct vm {
	struct vm_config cfg;
	u16 id;
	bool ended;
};
static struct vm vms[VMS];
static struct vsock state[VMS];
static struct vdev dev[VMS];
static bool works[VMS], timers[VMS];
static int irqs, fail_alloc = -1, refused;

static unsigned nr_of(const struct vdev *d) { return (unsigned)(d - dev); }
static void interrupt(struct vdev *d, u16 vector, u8 isr) { (void)d, (void)vector, (void)isr, irqs++; }
static void silence(struct vdev *d) { (void)d; }
static int no_registers(struct vdev *d) { return (void)d, 0; }
const struct virtio_transport virtio_pci_transport = {.init = no_registers, .interrupt = interrupt, .silence = silence}, virtio_mmio_transport;
const struct pci_bar virtio_pci_bars[PCI_BARS];
void virtio_pci_wanted(struct vdev *d, unsigned off, unsigned size) { (void)d, (void)off, (void)size; }
void virtio_pci_written(struct vdev *d, unsigned off, unsigned size) { (void)d, (void)off, (void)size; }
const struct vm_config *vm_config(const struct vm *vm) { return &vm->cfg; }
u16 vm_id(const struct vm *vm) { return vm->id; }
const char *vm_name(const struct vm *vm) { return vm->cfg.name; }
bool vm_has_ended(const struct vm *vm) { return vm->ended; }
void vdev_error(struct vdev *d) { (void)d; }
u64 vm_time_ns(struct vm *vm) { return (void)vm, 1; }
void vdev_work(struct vdev *d) { works[nr_of(d)] = true; }
void vdev_timer_stop(struct vdev *d, unsigned idx) { (void)idx, timers[nr_of(d)] = false; }
void vdev_timer_set(struct vdev *d, unsigned idx, u64 at) { (void)idx, (void)at, timers[nr_of(d)] = true; }
void vdev_timer_sooner(struct vdev *d, unsigned idx, u64 at) { vdev_timer_set(d, idx, at); }
void vdev_refuse(struct vdev *d, const char *fmt, ...) { (void)d, (void)fmt, refused++; }
void log_line(enum log_level level, const char *fmt, ...) { (void)level, (void)fmt; }
bool gmem_sparse(const struct vm *v) { return (void)v, false; }
int gmem_prepare(struct vm *v, gpa_t gpa, u64 n) { return (void)v, (void)gpa, (void)n, 0; }
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	(void)type, (void)owner;
	return fail_alloc >= 0 && !fail_alloc-- ? NULL : calloc(1, size);
}
void kfree(void *p) { free(p); }

/* ---- the boot CPU ---- */

struct list vm_list = {&vm_list, &vm_list};
struct spinlock vm_list_lock = SPINLOCK(LOCK_VM);
static struct sched_work *queued;
static struct timer *set;
static void (*handler)(void);
static bool interrupted;
void irq_set_handler(u8 vector, void (*fn)(void)) { assert_int_equal(vector, VEC_VSOCK), handler = fn; }
void ipi_send(u32 pcpu, u8 vector) { assert_true(!pcpu && vector == VEC_VSOCK), interrupted = true; }
void sched_do(struct sched_work *w) { assert_null(queued), queued = w; }
void timer_init(struct timer *t, void (*fn)(struct timer *t)) { t->fn = fn; }
void timer_set(struct timer *t, u64 tsc) { (void)tsc, set = t; }
u64 ns_to_tsc(u64 ns) { return ns; }
u64 tsc_to_ns(u64 ticks) { return ticks; }
const char *host_vm_file_name(u32 i) { return (void)i, NULL; }
bool str_copy(char *dst, const char *src, size_t size)
{
	snprintf(dst, size, "%s", src);
	return strlen(src) < size;
}

static enum mon_status verb_long(struct mon_call *c)
{
	if (!c->pos)
		mon_field(c->out, "long");
	for (u32 i = 0; !c->pos && i < 40; i++)
		mon_text(c->out, "x", "012345678901234567890123456789012345678901234567890123456789\n");
	return ++c->pos < 30 ? MON_MORE : MON_DONE;
}
static bool hold_verb; /* `wait` waits, until: */
static struct mon_call *held;
static void begin_wait(struct mon_call *c)
{
	held = hold_verb ? c : NULL;
	c->until = hold_verb ? ~0ull : 0;
}
static enum mon_status verb_wait(struct mon_call *c) { return (void)c, MON_DONE; }
static void let_go_on(void)
{
	hold_verb = false;
	if (held)
		held->until = 0;
	held = NULL;
	if (set)
		set->fn(set);
	set = NULL;
}
static enum mon_status verb_fill(struct mon_call *c)
{
	char text[4000];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	for (u32 i = 0; i < 3; i++)
		mon_text(c->out, "t", text);
	return ++c->pos < 4 ? MON_MORE : MON_DONE;
}
static enum mon_status verb_destroy_me(struct mon_call *c)
{
	(void)c;
	dev[0].type->destroy(&dev[0]);
	dev[0].priv = NULL;
	works[0] = timers[0] = false;
	return MON_DONE;
}
const struct verb monitor_verbs[] = {
	{.name = "long", .args = "", .takes = VERB_HOST, .run = verb_long},
	{.name = "wait", .args = "", .takes = VERB_HOST, .begin = begin_wait, .run = verb_wait},
	{.name = "fill", .args = "", .takes = VERB_HOST, .run = verb_fill},
	{.name = "kill", .args = "", .takes = VERB_HOST, .run = verb_destroy_me},
};
const u32 monitor_nr_verbs = ARRAY_SIZE(monitor_verbs);

/* ---- drivers: split rings of 64; up to 16 buffers to receive into ---- */

#define BASE(k)	     ((k) * 0x3f000ull)
#define RING(k, q)   (BASE(k) + (q) * 0x1000ull)
#define TX_BUFS(k)   (BASE(k) + 0x3000)
#define TX_END(k)    (BASE(k) + 0x32000)
#define RX_BUFS(k)   (BASE(k) + 0x32000)
#define RX_SIZE	     0xc00u
#define N	     64u
#define RX_N	     16u

static gpa_t tx_at[VMS];
static u16 seen[VMS][QUEUES], desc[VMS][QUEUES];
static u32 rx_given[VMS];

static u16 load16_at(gpa_t at) { u16 v; memcpy(&v, fake_ram + at, 2); return v; }
static void store_at(gpa_t at, u64 v, unsigned n) { memcpy(fake_ram + at, &v, n); }
static u16 used(unsigned k, unsigned q) { return load16_at(RING(k, q) + 0x602); }
static bool broken(unsigned k) { return state[k].virtio.status & VIRTIO_NEEDS_RESET; }

static void offer(unsigned k, unsigned q, gpa_t at, u32 len, bool write)
{
	gpa_t r = RING(k, q);
	u16 idx = load16_at(r + 0x402), d = desc[k][q]++ % N;

	store_at(r + 16 * d, at, 8);
	store_at(r + 16 * d + 8, len, 4);
	store_at(r + 16 * d + 12, write ? DESC_WRITE : 0, 4);
	store_at(r + 0x404 + 2 * (idx % N), d, 2);
	store_at(r + 0x402, (u16)(idx + 1), 2);
}

static void settle(void)
{
	for (unsigned n = 0; n < 100000; n++) {
		bool any = false;

		for (unsigned k = 0; k < VMS; k++) {
			if (works[k]) {
				works[k] = false;
				dev[k].type->work(&dev[k]);
				any = true;
			}
			if (timers[k]) {
				timers[k] = false;
				dev[k].type->timer(&dev[k], 0);
				any = true;
			}
		}
		if (interrupted) {
			interrupted = false;
			handler();
			any = true;
		}
		if (queued) {
			struct sched_work *w = queued;

			queued = NULL;
			if (!w->fn(w) && !queued)
				queued = w;
			any = true;
		}
		if (!any)
			return;
	}
	fail_msg("it does not come to rest");
}

/* rx buffers of `size` bytes. */
static void give_of(unsigned k, unsigned n, u32 size)
{
	for (; n && (u16)(load16_at(RING(k, RX) + 0x402) - used(k, RX)) < RX_N; n--)
		offer(k, RX, RX_BUFS(k) + rx_given[k]++ % RX_N * RX_SIZE, size, true);
	virtio_kick(&dev[k], RX);
	settle();
}
static void give(unsigned k, unsigned n) { give_of(k, n, RX_SIZE); }

/* The next packet that has come; its buffer is given anew. */
static u8 data[70000];
static struct vsock_hdr last;
static bool got(unsigned k)
{
	gpa_t r = RING(k, RX), at;
	u16 d;
	u32 len;

	if (used(k, RX) == seen[k][RX])
		return false;
	d = load16_at(r + 0x604 + 8 * (seen[k][RX] % N));
	memcpy(&len, fake_ram + r + 0x608 + 8 * (seen[k][RX]++ % N), 4);
	memcpy(&at, fake_ram + r + 16 * d, 8);
	memcpy(&last, fake_ram + at, sizeof(last));
	assert_int_equal(len, sizeof(last) + last.len);
	memcpy(data, fake_ram + at + sizeof(last), last.len);
	return true;
}
static bool got_op(unsigned k, u16 op) { return got(k) && last.op == op; }

static u32 cid(unsigned k) { return ((struct vsock_port *)dev[k].priv)->cid; }
static struct vsock_count count(unsigned k)
{
	struct vsock_stat st;

	assert_true(vsock_stat(vms[k].id, &st));
	return st.count;
}
static u32 conns(unsigned k)
{
	struct vsock_stat st;

	assert_true(vsock_stat(vms[k].id, &st));
	return st.conns;
}

static struct vsock_hdr hdr(unsigned k, u64 to, u32 from_port, u32 to_port, u16 op, u32 len)
{
	return (struct vsock_hdr){.src_cid = cid(k), .dst_cid = to, .src_port = from_port, .dst_port = to_port, .len = len,
				  .type = VSOCK_STREAM, .op = op, .buf_alloc = 100000, .fwd_cnt = to == 2 ? 0 : 7};
}
static void send_hdr(unsigned k, const struct vsock_hdr *h, const void *bytes, u32 n)
{
	if (tx_at[k] + sizeof(*h) + n > TX_END(k))
		tx_at[k] = TX_BUFS(k);
	memcpy(fake_ram + tx_at[k], h, sizeof(*h));
	memcpy(fake_ram + tx_at[k] + sizeof(*h), bytes, n);
	offer(k, TX, tx_at[k], (u32)sizeof(*h) + n, false);
	tx_at[k] += sizeof(*h) + n;
	virtio_kick(&dev[k], TX);
}
static void say(unsigned k, u64 to, u32 from_port, u32 to_port, u16 op, const void *bytes, u32 n)
{
	struct vsock_hdr h = hdr(k, to, from_port, to_port, op, n);

	send_hdr(k, &h, bytes, n);
	settle();
}

static void start(unsigned k, u64 features)
{
	virtio_set_status(&dev[k], 0);
	memset(fake_ram + RING(k, 0), 0, 0x3000);
	memset(seen[k], 0, sizeof(seen[k]));
	memset(desc[k], 0, sizeof(desc[k]));
	rx_given[k] = 0;
	tx_at[k] = TX_BUFS(k);
	virtio_accept(&dev[k], features);
	virtio_set_status(&dev[k], VIRTIO_FEATURES_OK);
	for (unsigned i = 0; i < QUEUES; i++) {
		struct virtq *q = &state[k].virtio.queue[i];

		q->size = N;
		q->desc = RING(k, i);
		q->driver = RING(k, i) + 0x400;
		q->device = RING(k, i) + 0x600;
		virtio_enable_queue(&dev[k], i);
	}
	virtio_set_status(&dev[k], VIRTIO_DRIVER_OK);
	settle();
}
#define FEATURES (VIRTIO_F_VERSION_1 | VSOCK_F_STREAM)

static int plug(unsigned k, const char *name, u32 wanted, const char *peers, bool monitor)
{
	vms[k] = (struct vm){.id = (u16)(k + 1), .cfg.vsock = {.wanted = true, .monitor = monitor, .cid = wanted}};
	str_copy(vms[k].cfg.name, name, sizeof(vms[k].cfg.name));
	str_copy(vms[k].cfg.vsock.peers, peers, sizeof(vms[k].cfg.vsock.peers));
	memset(&state[k], 0, sizeof(state[k]));
	dev[k] = (struct vdev){.type = &vsock_pci.vdev, .vm = &vms[k], .state = &state[k]};
	assert_int_equal(dev[k].type->units(&vms[k]), 1);
	if (dev[k].type->init(&dev[k]))
		return -1;
	dev[k].type->reset(&dev[k]);
	return 0;
}
static void unplug(unsigned k)
{
	if (dev[k].type)
		dev[k].type->destroy(&dev[k]);
	dev[k] = (struct vdev){0};
	works[k] = timers[k] = false;
}

/* a and b name each other, c is named by all but names b alone. */
static int setup(void **s)
{
	(void)s;
	memset(fake_ram, 0, sizeof(fake_ram));
	fail_alloc = -1;
	hold_verb = false;
	plug(0, "a", 0, "b c", true);
	plug(1, "b", 50, "*", false);
	plug(2, "c", 0, "b", false);
	for (unsigned k = 0; k < 3; k++)
		start(k, FEATURES);
	return 0;
}
static int teardown(void **s)
{
	(void)s;
	for (unsigned k = 0; k < VMS; k++)
		unplug(k);
	let_go_on();
	settle();
	return 0;
}

/* A connection of a's port 1000 with b's port 80; both have eight buffers then. */
static void connected(void)
{
	give(0, 8);
	give(1, 8);
	say(0, 50, 1000, 80, VSOCK_REQUEST, "", 0);
	assert_true(got_op(1, VSOCK_REQUEST));
	say(1, cid(0), 80, 1000, VSOCK_RESPONSE, "", 0);
	assert_true(got_op(0, VSOCK_RESPONSE));
}

static void test_stream(void **s)
{
	u8 bytes[2000];

	(void)s;
	for (u32 i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(i * 7);
	assert_true(cid(0) == 4 && cid(1) == 50 && virtio_config_read(&dev[1], 0, 8) == 50);
	connected();
	assert_int_equal(conns(0) + conns(1), 2);
	give(1, 8);
	say(0, 50, 1000, 80, VSOCK_RW, bytes, 1500);
	assert_true(got_op(1, VSOCK_RW) && last.len == 1500 && !memcmp(data, bytes, 1500));
	assert_true(last.src_cid == 4 && last.dst_cid == 50 && last.src_port == 1000 && last.dst_port == 80);
	assert_true(last.buf_alloc == 100000 && last.fwd_cnt == 7);
	say(1, 4, 80, 1000, VSOCK_RW, "back", 4);
	assert_true(got_op(0, VSOCK_RW) && last.len == 4 && !memcmp(data, "back", 4));
	for (u16 op = VSOCK_CREDIT_UPDATE; op <= VSOCK_CREDIT_REQUEST; op++) {
		say(0, 50, 1000, 80, op, "", 0);
		assert_true(got_op(1, op));
	}
	/* An end, as Linux makes it. */
	struct vsock_hdr h = hdr(0, 50, 1000, 80, VSOCK_SHUTDOWN, 0);

	h.flags = 3;
	send_hdr(0, &h, "", 0);
	settle();
	assert_true(got_op(1, VSOCK_SHUTDOWN) && last.flags == 3);
	say(1, 4, 80, 1000, VSOCK_RST, "", 0);
	assert_true(got_op(0, VSOCK_RST));
	assert_int_equal(conns(0) + conns(1), 0);
	assert_int_equal(count(0).sent_bytes, 1500);
	assert_true(count(0).received_bytes == 4 && count(1).received_bytes == 1500 && !count(0).refused && !count(0).resets);
	/* It is over: more is answered. */
	say(0, 50, 1000, 80, VSOCK_RW, bytes, 1);
	assert_true(got_op(0, VSOCK_RST) && last.src_cid == 50 && last.src_port == 80 && last.dst_port == 1000);
	assert_false(got(1));
	assert_int_equal(used(0, TX), 6);
}

/* A long packet into short buffers; and with the end of the inbox in the middle, again and again. */
static void test_split(void **s)
{
	static u8 bytes[VSOCK_MAX_DATA], all[VSOCK_MAX_DATA];

	(void)s;
	connected();
	for (u32 i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(i ^ i >> 8);
	for (unsigned round = 0; round < 9; round++) {
		u32 n = 0, len = sizeof(bytes) - round;

		say(0, 50, 1000, 80, VSOCK_RW, bytes, len);
		do {
			give_of(1, 4, round % 2 ? RX_SIZE : 2000);
			while (got(1)) {
				assert_true(last.op == VSOCK_RW && last.src_port == 1000 && n + last.len <= len);
				memcpy(all + n, data, last.len);
				n += last.len;
			}
		} while (n < len);
		assert_memory_equal(bytes, all, len);
	}
	assert_false(broken(0) || broken(1));
}

static void refused_as(unsigned k, struct vsock_hdr h, u32 n)
{
	u64 before = count(k).refused;

	send_hdr(k, &h, data, n);
	settle();
	assert_true(got_op(k, VSOCK_RST));
	assert_true(last.src_cid == h.dst_cid && last.dst_cid == cid(k) && last.src_port == h.dst_port &&
		    last.dst_port == h.src_port && last.type == h.type && !last.len);
	assert_int_equal(count(k).refused, before + 1);
	give(k, 1);
}

static void test_refused(void **s)
{
	struct vsock_hdr h;

	(void)s;
	for (unsigned k = 0; k < 3; k++)
		give(k, 8);
	refused_as(0, hdr(0, 99, 1, 1, VSOCK_REQUEST, 0), 0);			   /* nobody's */
	refused_as(0, hdr(0, 50ull | 1ull << 32, 1, 1, VSOCK_REQUEST, 0), 0);	   /* the upper half is reserved */
	refused_as(0, hdr(0, 0, 0, 0, VSOCK_RW, 0), 0);
	refused_as(0, hdr(0, cid(0), 1, 1, VSOCK_REQUEST, 0), 0);		   /* its own */
	refused_as(0, hdr(0, cid(2), 1, 1, VSOCK_REQUEST, 0), 0);		   /* c does not name a */
	refused_as(2, hdr(2, cid(0), 1, 1, VSOCK_REQUEST, 0), 0);		   /* though a names c */
	refused_as(0, hdr(0, 50, 1, 1, VSOCK_RW, 0), 0);			   /* no connection */
	refused_as(1, hdr(1, 2, 1, 2, VSOCK_REQUEST, 0), 0);			   /* b may not talk to the host */
	refused_as(0, hdr(0, 2, 1, 3, VSOCK_REQUEST, 0), 0);			   /* nor anybody at another port */
	refused_as(0, hdr(0, 2, 1, 2, VSOCK_RW, 0), 0);
	for (unsigned way = 0; way < 6; way++) {
		h = hdr(0, way & 1 ? 2 : 50, 1, 2, VSOCK_REQUEST, 0);
		h.op = way < 2 ? 0 : way < 4 ? VSOCK_CREDIT_REQUEST + 1 : VSOCK_REQUEST;
		h.type = way < 4 ? VSOCK_STREAM : 2;
		refused_as(0, h, 0);
	}
	refused_as(0, hdr(0, 50, 1, 2, VSOCK_REQUEST, 5), 5); /* data where there is none */
	assert_int_equal(count(0).sent, 0);
	/* To an RST there is no answer, and in another's name nobody speaks. */
	say(0, 50, 1, 2, VSOCK_RST, "", 0);
	h = hdr(0, 50, 1, 2, VSOCK_REQUEST, 0);
	h.src_cid = cid(2);
	send_hdr(0, &h, "", 0);
	settle();
	assert_false(got(0) || got(1) || got(2));
	assert_int_equal(count(0).dropped, 1);
	assert_int_equal(used(0, TX), 17);
	/* What is wrong on a connection ends it, for both. */
	for (unsigned way = 0; way < 3; way++) {
		connected();
		h = hdr(0, 50, 1000, 80, way ? VSOCK_RW : 77, 0);
		h.type = way == 1 ? 9 : VSOCK_STREAM;
		h.len = way == 2 ? VSOCK_MAX_DATA + 1 : 0;
		refused_as(0, h, h.len);
		assert_true(got_op(1, VSOCK_RST) && last.src_port == 1000);
		assert_int_equal(conns(0) + conns(1), 0);
	}
	assert_int_equal(count(1).resets, 3);
	/* No driver. */
	virtio_set_status(&dev[1], 0);
	refused_as(0, hdr(0, 50, 1, 1, VSOCK_REQUEST, 0), 0);
	start(1, FEATURES);
	vms[1].ended = true;
	refused_as(0, hdr(0, 50, 1, 1, VSOCK_REQUEST, 0), 0);
}

static void test_malformed(void **s)
{
	struct vsock_hdr h;

	(void)s;
	for (unsigned way = 0; way < 9; way++) {
		unsigned k = way < 4 || way > 6 ? 0 : 1, errors = state[k].virtio.errors;

		for (unsigned i = 0; i < 2; i++)
			start(i, FEATURES);
		connected();
		h = hdr(0, 50, 1000, 80, VSOCK_RW, way == 1 ? 11 : 10);
		memcpy(fake_ram + TX_BUFS(0), &h, sizeof(h));
		while (k == 1 && used(1, RX) < 8) /* they are all full */
			say(0, 50, 1000, 80, VSOCK_RW, "x", 1);
		switch (way) {
		case 0: offer(0, TX, TX_BUFS(0), 43, false); break;
		case 1: offer(0, TX, TX_BUFS(0), 54, false); break;
		case 2: offer(0, TX, TX_BUFS(0), 54, true); break;
		case 3: offer(0, TX, FAKE_HOLE, 54, false); break;
		case 4: give_of(1, 1, 43); break;
		case 5: offer(1, RX, RX_BUFS(1), 100, false); break;
		case 6: give_of(1, 1, 44); break; /* no room for data */
		case 7: offer(0, EVENT, RX_BUFS(0), 3, true); break;
		case 8: offer(0, EVENT, RX_BUFS(0), 4, false); break;
		}
		if (way >= 7)
			state[0].lost = 1;
		for (unsigned i = 0; i < QUEUES; i++)
			virtio_kick(&dev[k], i);
		virtio_kick(&dev[1], RX);
		settle();
		if (k == 1) /* another one comes only if it is looked for */
			say(0, 50, 1000, 80, VSOCK_RW, "yz", 2);
		assert_true(broken(k) && !broken(!k));
		assert_int_equal(state[k].virtio.errors, errors + 1);
	}
	for (unsigned i = 0; i < 2; i++)
		start(i, FEATURES);
	connected();
	assert_false(broken(0) || broken(1));
}

/* b takes nothing: what goes to it waits, what goes elsewhere does not, and neither does the driver's reset. */
static void test_stuck_peer(void **s)
{
	static u8 bytes[8000];
	u32 fill = (VSOCK_INBOX - (VSOCK_REPLIES + 1) * (u32)sizeof(struct vsock_hdr)) / (sizeof(bytes) + sizeof(struct vsock_hdr));
	u16 done, next = 0;

	(void)s;
	str_copy(vms[2].cfg.vsock.peers, "a b", 4);
	connected();
	give(2, 8);
	say(0, cid(2), 5, 6, VSOCK_REQUEST, "", 0);
	assert_true(got_op(2, VSOCK_REQUEST));
	while (used(1, RX) < 8)
		say(0, 50, 1000, 80, VSOCK_CREDIT_UPDATE, "", 0);
	for (u32 i = 0; i < fill + 1; i++) {
		memcpy(bytes, &i, 4);
		done = used(0, TX);
		say(0, 50, 1000, 80, VSOCK_RW, bytes, sizeof(bytes));
		assert_int_equal(used(0, TX) - done, i < fill);
	}
	assert_int_equal(state[0].nr_parked, 1);
	done = used(0, TX);
	say(0, 50, 1000, 80, VSOCK_RW, "last", 4); /* there would be room for it, but it is to be the last */
	assert_true(used(0, TX) == done && state[0].nr_parked == 2);
	say(0, cid(2), 5, 6, VSOCK_RW, "hello", 5);
	assert_true(got_op(2, VSOCK_RW) && used(0, TX) == done + 1);
	say(0, 2, 7, 2, VSOCK_REQUEST, "", 0);
	give(0, 4);
	assert_true(got_op(0, VSOCK_RESPONSE));
	assert_true(dev[0].type->valid(&state[0]));
	/* b takes all, in order. */
	while (got(1))
		;
	for (u32 i = 0, n = 0; i <= fill; i += n == sizeof(bytes), n %= sizeof(bytes)) {
		if (!got(1)) {
			give(1, 4);
			continue;
		}
		memcpy(bytes + n, data, last.len);
		n += last.len;
		if (n == sizeof(bytes)) {
			memcpy(&next, bytes, 2);
			assert_int_equal(next, i);
		}
	}
	give(1, 2);
	assert_true(got_op(1, VSOCK_RW) && !memcmp(data, "last", 4));
	assert_int_equal(state[0].nr_parked, 0);
	assert_int_equal(used(0, TX), done + 4);
	/* A reset takes what is parked along. */
	memset(bytes, 0, sizeof(bytes));
	for (u32 i = 0; i < 2 * fill && !state[0].nr_parked; i++)
		say(0, 50, 1000, 80, VSOCK_RW, bytes, sizeof(bytes));
	assert_true(state[0].nr_parked == 1 && state[0].virtio.queue[TX].in_flight == 1);
	virtio_set_status(&dev[0], 0);
	assert_int_equal(state[0].virtio.status, 0);
	start(0, FEATURES);
	assert_true(!state[0].nr_parked && !state[0].virtio.queue[TX].in_flight);
}

/* More waits than there are places for: that connection ends, and the guest has its buffers again. */
static void test_given_up(void **s)
{
	static u8 bytes[VSOCK_MAX_DATA];

	(void)s;
	str_copy(vms[2].cfg.vsock.peers, "a", 4);
	connected();
	while (used(1, RX) < 8)
		say(0, 50, 1000, 80, VSOCK_CREDIT_UPDATE, "", 0);
	while (got(1))
		;
	for (u32 i = 0; i < 8 && !state[0].nr_parked; i++)
		say(0, 50, 1000, 80, VSOCK_RW, bytes, sizeof(bytes) - 5);
	assert_int_equal(state[0].nr_parked, 1);
	for (u32 i = 1; i < PARKED; i++)
		say(0, 50, 1000, 80, VSOCK_RW, "x", 1);
	assert_true(state[0].nr_parked == PARKED && conns(0) == 1 && !count(0).resets);
	give(0, 8);
	say(0, 50, 1000, 80, VSOCK_RW, "x", 1);
	assert_true(got_op(0, VSOCK_RST) && last.src_port == 80);
	assert_int_equal(count(0).resets, 1);
	/* Others go their way. */
	give(2, 2);
	say(0, cid(2), 1, 1, VSOCK_REQUEST, "", 0);
	assert_true(got_op(2, VSOCK_REQUEST));
	assert_int_equal(conns(0), 1);
	assert_int_equal(state[0].nr_parked, 0); /* they belong to no connection now: each is answered */
	for (u32 i = 0; i < PARKED; i++) {
		give(0, 1);
		assert_true(got_op(0, VSOCK_RST));
	}
	for (u32 i = 0; i < 200 && !(got(1) && last.op == VSOCK_RST); i++)
		give(1, 1);
	assert_int_equal(last.op, VSOCK_RST);
	assert_int_equal(conns(1), 0);
	assert_false(broken(0) || broken(1));
}

/* A guest that takes no answers sends nothing more, and goes on when it does. */
static void test_answers(void **s)
{
	const u32 most = VSOCK_INBOX / sizeof(struct vsock_hdr);
	u32 sent = 0;

	(void)s;
	for (u16 before = 0; (u16)(used(0, TX) - before) == (sent ? 1 : 0) && sent < 2 * most; sent++) {
		before = used(0, TX);
		say(0, 99, sent, 1, VSOCK_REQUEST, "", 0);
	}
	assert_int_equal(sent, most + 1);
	assert_int_equal(count(0).refused, most);
	for (u32 i = 0; i <= most; i++) {
		while (!got(0))
			give(0, 4);
		assert_true(last.op == VSOCK_RST && last.dst_port == i);
	}
	assert_int_equal(count(0).refused, most + 1);
}

/* The other end goes: a reset of its driver's, or of the VM, or its end. What it said before comes first. */
static void test_peer_goes(void **s)
{
	(void)s;
	for (unsigned way = 0; way < 4; way++) {
		start(0, FEATURES);
		start(1, FEATURES);
		connected();
		say(1, cid(0), 90, 7, VSOCK_REQUEST, "", 0);
		assert_true(got_op(0, VSOCK_REQUEST));
		while (used(0, RX) < 8)
			say(1, cid(0), 80, 1000, VSOCK_CREDIT_UPDATE, "", 0);
		while (got(0))
			;
		say(1, cid(0), 80, 1000, VSOCK_RW, "bye", 3);
		if (way == 0)
			virtio_set_status(&dev[1], 0);
		else if (way == 1)
			dev[1].type->reset(&dev[1]);
		else if (way == 2)
			unplug(1);
		else
			vms[1].ended = true;
		settle();
		if (way == 0) { /* before it has been told it does not begin anew */
			start(1, FEATURES);
			give(1, 2);
			assert_false(got(1));
			say(1, cid(0), 80, 1000, VSOCK_REQUEST, "", 0);
			assert_true(got_op(1, VSOCK_RST));
		}
		give(0, 3);
		assert_true(got_op(0, VSOCK_RW) && !memcmp(data, "bye", 3));
		if (way == 3) { /* that one is only found when it is spoken to */
			say(0, 50, 1000, 80, VSOCK_RW, "?", 1);
			assert_true(got_op(0, VSOCK_RST));
			continue;
		}
		for (unsigned n = 0; n < 2; n++)
			assert_true(got_op(0, VSOCK_RST) && last.src_cid == 50 && last.dst_port == (last.src_port == 80 ? 1000 : 7));
		assert_int_equal(conns(0), 0);
		give(0, 1);
		assert_false(got(0));
		if (way == 2)
			plug(1, "b", 50, "*", false);
	}
}

static void test_bounds(void **s)
{
	(void)s;
	give(0, 15);
	for (u32 i = 0; i < VSOCK_PER_PEER; i++) {
		give(1, 1);
		say(0, 50, i, 80, VSOCK_REQUEST, "", 0);
		assert_true(got_op(1, VSOCK_REQUEST));
	}
	refused_as(0, hdr(0, 50, VSOCK_PER_PEER, 80, VSOCK_REQUEST, 0), 0);
	/* Others may, still. */
	give(2, 1);
	say(1, cid(2), 1, 1, VSOCK_REQUEST, "", 0);
	assert_true(got_op(2, VSOCK_REQUEST));
	assert_true(conns(0) == VSOCK_PER_PEER && conns(1) == VSOCK_PER_PEER + 1 && conns(2) == 1);
	/* Both ends at once: the second is told no. */
	say(0, 50, 0, 80, VSOCK_RST, "", 0);
	give(1, 2);
	assert_true(got_op(1, VSOCK_RST));
	say(1, cid(0), 80, 0, VSOCK_REQUEST, "", 0);
	assert_true(got_op(0, VSOCK_REQUEST));
}

static void test_cids(void **s)
{
	(void)s;
	assert_int_equal(plug(3, "d", 50, "", false), -1);
	assert_int_equal(refused, 1);
	dev[3] = (struct vdev){0};
	for (int n = 0; n < 2; n++) {
		fail_alloc = n;
		assert_int_equal(plug(3, "d", 51, "", false), -1);
		dev[3] = (struct vdev){0};
	}
	fail_alloc = -1;
	/* Of one that is only there to be looked at it may be had. */
	connected();
	vms[1].ended = true;
	assert_int_equal(plug(3, "b", 50, "a", false), 0);
	start(3, FEATURES);
	give(0, 2);
	assert_true(got_op(0, VSOCK_RST));
	say(0, 50, 1000, 80, VSOCK_REQUEST, "", 0);
	give(3, 1);
	assert_true(got_op(3, VSOCK_REQUEST));
	unplug(1);
	settle();
	assert_false(got(0));
	assert_int_equal(conns(0), 1);
	/* One that is chosen is nobody's. */
	plug(1, "b", cid(0) + 1, "", false);
	vms[2].id = vms[0].id;
	unplug(2);
	assert_int_equal(plug(2, "c", 0, "", false), 0);
	assert_true(cid(2) == 6 || cid(2) != cid(1));
}

/* A state from elsewhere: its connections are no more, which the driver hears. */
static void test_lost(void **s)
{
	static struct vsock saved;
	u32 event = 99;

	(void)s;
	connected();
	saved = state[0];
	assert_true(dev[0].type->valid(&saved));
	offer(0, EVENT, RX_BUFS(0) + 0x8000, 8, true);
	virtio_kick(&dev[0], EVENT);
	assert_int_equal(used(0, EVENT), 0);
	state[0].epoch += 1000;
	works[0] = true;
	settle();
	assert_int_equal(used(0, EVENT), 1);
	memcpy(&event, fake_ram + RX_BUFS(0) + 0x8000, 4);
	assert_int_equal(event, VSOCK_EVENT_RESET);
	assert_int_equal(conns(0), 0);
	assert_true(got_op(1, VSOCK_RST));
	saved.nr_parked = PARKED + 1;
	assert_false(dev[0].type->valid(&saved));
	saved.nr_parked = 0;
	saved.lost = 2;
	assert_false(dev[0].type->valid(&saved));
}

/* ---- the monitor ---- */

static char answer[100000];
static u32 answered;
static void gather(unsigned k)
{
	for (unsigned idle = 0; idle < 3; idle++) {
		while (got(k)) {
			if (last.op == VSOCK_RW) {
				memcpy(answer + answered, data, last.len);
				answered += last.len;
			}
			idle = 0;
		}
		give(k, 1);
	}
	answer[answered] = 0;
}
static void ask(u32 port, const char *text)
{
	answered = 0;
	say(0, 2, port, 2, VSOCK_RW, text, (u32)strlen(text));
}
static void dial(u32 port)
{
	give(0, 2);
	say(0, 2, port, 2, VSOCK_REQUEST, "", 0);
	assert_true(got_op(0, VSOCK_RESPONSE) && last.src_cid == 2 && last.src_port == 2 && last.dst_port == port);
	assert_int_equal(last.buf_alloc, 512);
}
static void half_close(u32 port, u32 flags)
{
	struct vsock_hdr h = hdr(0, 2, port, 2, VSOCK_SHUTDOWN, 0);

	h.flags = flags;
	send_hdr(0, &h, "", 0);
	settle();
}

static void test_verbs(void **s)
{
	char line[300];

	(void)s;
	dial(9);
	ask(9, "wai");
	gather(0);
	assert_int_equal(answered, 0);
	ask(9, "t\n\r\n \nnonsense\r\nwait -j");
	gather(0);
	assert_string_equal(answer, "{}\n{\"error\":\"no such verb; `help` lists them\"}\n");
	say(0, 2, 9, 2, VSOCK_CREDIT_REQUEST, "", 0);
	gather(0);
	assert_int_equal(last.op, VSOCK_CREDIT_UPDATE);
	memset(line, 'x', sizeof(line));
	line[299] = 0;
	ask(9, line); /* the line `wait -jxxx...` */
	gather(0);
	ask(9, "yy\n");
	gather(0);
	assert_string_equal(answer, "{\"error\":\"the line is too long\"}\n");
	memset(line, 'x', 254);
	strcpy(line + 253, "\n");
	ask(9, line);
	gather(0);
	assert_string_equal(answer, "{\"error\":\"the line is too long\"}\n");
	/* The last line needs no end; then the host says its own. */
	ask(9, "fill");
	half_close(9, VSOCK_NO_SEND);
	gather(0);
	assert_true(last.op == VSOCK_SHUTDOWN && last.flags == 3);
	assert_true(answered > 48000 && !strchr(answer, '\r') && strchr(answer, '\n') == answer + answered - 1);
	half_close(9, VSOCK_NO_SEND | VSOCK_NO_RECEIVE);
	gather(0);
	assert_int_equal(last.op, VSOCK_RST);
	/* Nothing asked at all. */
	dial(9);
	half_close(9, VSOCK_NO_SEND);
	gather(0);
	assert_int_equal(last.op, VSOCK_SHUTDOWN);
	ask(9, "wait\n"); /* behind its last word */
	gather(0);
	assert_int_equal(last.op, VSOCK_RST);
}

/* An answer waits for the guest's credit; and a guest that has none of ours left has broken the rules. */
static void test_credit(void **s)
{
	struct vsock_hdr h;
	char line[513] = "";

	(void)s;
	give(0, 2);
	h = hdr(0, 2, 9, 2, VSOCK_REQUEST, 0);
	h.buf_alloc = 1000;
	h.fwd_cnt = 0;
	send_hdr(0, &h, "", 0);
	settle();
	assert_true(got_op(0, VSOCK_RESPONSE));
	h.op = VSOCK_RW;
	h.len = 5;
	send_hdr(0, &h, "long\n", 5);
	settle();
	answered = 0;
	gather(0);
	assert_int_equal(answered, 1000);
	h.op = VSOCK_CREDIT_UPDATE;
	h.len = 0;
	for (u32 n = 0; n < 10 && last.op; n++) {
		h.fwd_cnt = answered;
		send_hdr(0, &h, "", 0);
		settle();
		gather(0);
	}
	assert_int_equal(answer[answered - 1], '\n');
	assert_true(answered > 2000);
	memset(line, 'w', 512);
	hold_verb = true;
	ask(9, "wait\n");
	ask(9, line);
	gather(0);
	assert_int_equal(last.op, VSOCK_RW);
	ask(9, "w");
	gather(0);
	assert_int_equal(last.op, VSOCK_RST);
}

static void test_sessions(void **s)
{
	u32 before;

	(void)s;
	dial(1);
	dial(2);
	give(0, 8);
	refused_as(0, hdr(0, 2, 3, 2, VSOCK_REQUEST, 0), 0);
	refused_as(0, hdr(0, 2, 2, 2, VSOCK_REQUEST, 0), 0); /* one that is there; so it ends */
	dial(2);
	/* A verb at work keeps its place, though nobody listens. */
	hold_verb = true;
	ask(2, "wait\n");
	say(0, 2, 2, 2, VSOCK_RST, "", 0);
	refused_as(0, hdr(0, 2, 3, 2, VSOCK_REQUEST, 0), 0);
	assert_non_null(set);
	let_go_on();
	settle();
	dial(3);
	before = answered;
	gather(0);
	assert_int_equal(answered, before);
	/* All of the host's. */
	for (unsigned k = 1; k < 4; k++) {
		unplug(k);
		plug(k, "m", 0, "", true);
		start(k, FEATURES);
		give(k, 8);
		say(k, 2, 1, 2, VSOCK_REQUEST, "", 0);
		say(k, 2, 2, 2, VSOCK_REQUEST, "", 0);
		assert_true(got_op(k, VSOCK_RESPONSE) && got_op(k, VSOCK_RESPONSE));
	}
	say(0, 2, 3, 2, VSOCK_RST, "", 0);
	dial(5);
	/* A reset of the driver's ends them. */
	start(0, FEATURES);
	dial(1);
	dial(2);
}

/* A VM ends by its own word. */
static void test_kills_itself(void **s)
{
	(void)s;
	dial(1);
	ask(1, "kill\n");
	assert_null(dev[0].priv);
	dev[0] = (struct vdev){0};
	plug(0, "a", 0, "b", true);
	start(0, FEATURES);
	dial(1);
	ask(1, "wait\n");
	gather(0);
	assert_string_equal(answer, "{}\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_stream), T(test_split), T(test_refused), T(test_malformed), T(test_stuck_peer), T(test_given_up),
		T(test_answers), T(test_peer_goes), T(test_bounds), T(test_cids), T(test_lost),
		T(test_verbs), T(test_credit), T(test_sessions), T(test_kills_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
