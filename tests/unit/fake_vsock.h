/* SPDX-License-Identifier: BSD-2-Clause */
/* Socket devices of several VMs, each with a driver of ours; and the monitor, with verbs of ours: for the two tests of them. */
#pragma once
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

static inline unsigned nr_of(const struct vdev *d) { return (unsigned)(d - dev); }
static inline void interrupt(struct vdev *d, u16 vector, u8 isr) { (void)d, (void)vector, (void)isr, irqs++; }
static inline void silence(struct vdev *d) { (void)d; }
static inline int no_registers(struct vdev *d) { return (void)d, 0; }
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

static inline enum mon_status verb_long(struct mon_call *c)
{
	if (!c->pos)
		mon_field(c->out, "long");
	for (u32 i = 0; !c->pos && i < 40; i++)
		mon_text(c->out, "x", "012345678901234567890123456789012345678901234567890123456789\n");
	return ++c->pos < 30 ? MON_MORE : MON_DONE;
}
static bool hold_verb; /* `wait` waits, until: */
static struct mon_call *held;
static inline void begin_wait(struct mon_call *c)
{
	held = hold_verb ? c : NULL;
	c->until = hold_verb ? ~0ull : 0;
}
static inline enum mon_status verb_wait(struct mon_call *c) { return (void)c, MON_DONE; }
static inline void let_go_on(void)
{
	hold_verb = false;
	if (held)
		held->until = 0;
	held = NULL;
	if (set)
		set->fn(set);
	set = NULL;
}
static inline enum mon_status verb_fill(struct mon_call *c)
{
	char text[4000];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	for (u32 i = 0; i < 3; i++)
		mon_text(c->out, "t", text);
	return ++c->pos < 4 ? MON_MORE : MON_DONE;
}
static inline enum mon_status verb_destroy_me(struct mon_call *c)
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

static inline u16 load16_at(gpa_t at) { u16 v; memcpy(&v, fake_ram + at, 2); return v; }
static inline void store_at(gpa_t at, u64 v, unsigned n) { memcpy(fake_ram + at, &v, n); }
static inline u16 used(unsigned k, unsigned q) { return load16_at(RING(k, q) + 0x602); }
static inline bool broken(unsigned k) { return state[k].virtio.status & VIRTIO_NEEDS_RESET; }

static inline void offer(unsigned k, unsigned q, gpa_t at, u32 len, bool write)
{
	gpa_t r = RING(k, q);
	u16 idx = load16_at(r + 0x402), d = desc[k][q]++ % N;

	store_at(r + 16 * d, at, 8);
	store_at(r + 16 * d + 8, len, 4);
	store_at(r + 16 * d + 12, write ? DESC_WRITE : 0, 4);
	store_at(r + 0x404 + 2 * (idx % N), d, 2);
	store_at(r + 0x402, (u16)(idx + 1), 2);
}

static inline void settle(void)
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
static inline void give_of(unsigned k, unsigned n, u32 size)
{
	for (; n && (u16)(load16_at(RING(k, RX) + 0x402) - used(k, RX)) < RX_N; n--)
		offer(k, RX, RX_BUFS(k) + rx_given[k]++ % RX_N * RX_SIZE, size, true);
	virtio_kick(&dev[k], RX);
	settle();
}
static inline void give(unsigned k, unsigned n) { give_of(k, n, RX_SIZE); }

/* The next packet that has come; its buffer is given anew. */
static u8 data[70000];
static struct vsock_hdr last;
static inline bool got(unsigned k)
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
static inline bool got_op(unsigned k, u16 op) { return got(k) && last.op == op; }

static inline u32 cid(unsigned k) { return ((struct vsock_port *)dev[k].priv)->cid; }
static inline struct vsock_count count(unsigned k)
{
	struct vsock_stat st;

	assert_true(vsock_stat(vms[k].id, &st));
	return st.count;
}
static inline u32 conns(unsigned k)
{
	struct vsock_stat st;

	assert_true(vsock_stat(vms[k].id, &st));
	return st.conns;
}

static inline struct vsock_hdr hdr(unsigned k, u64 to, u32 from_port, u32 to_port, u16 op, u32 len)
{
	return (struct vsock_hdr){.src_cid = cid(k), .dst_cid = to, .src_port = from_port, .dst_port = to_port, .len = len,
				  .type = VSOCK_STREAM, .op = op, .buf_alloc = 100000, .fwd_cnt = to == 2 ? 0 : 7};
}
static inline void send_hdr(unsigned k, const struct vsock_hdr *h, const void *bytes, u32 n)
{
	if (tx_at[k] + sizeof(*h) + n > TX_END(k))
		tx_at[k] = TX_BUFS(k);
	memcpy(fake_ram + tx_at[k], h, sizeof(*h));
	memcpy(fake_ram + tx_at[k] + sizeof(*h), bytes, n);
	offer(k, TX, tx_at[k], (u32)sizeof(*h) + n, false);
	tx_at[k] += sizeof(*h) + n;
	virtio_kick(&dev[k], TX);
}
static inline void say(unsigned k, u64 to, u32 from_port, u32 to_port, u16 op, const void *bytes, u32 n)
{
	struct vsock_hdr h = hdr(k, to, from_port, to_port, op, n);

	send_hdr(k, &h, bytes, n);
	settle();
}

static inline void start(unsigned k, u64 features)
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

static inline int plug(unsigned k, const char *name, u32 wanted, const char *peers, bool monitor)
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
static inline void unplug(unsigned k)
{
	if (dev[k].type)
		dev[k].type->destroy(&dev[k]);
	dev[k] = (struct vdev){0};
	works[k] = timers[k] = false;
}

/* a and b name each other, c is named by all but names b alone. */
static inline int setup(void **s)
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
static inline int teardown(void **s)
{
	(void)s;
	for (unsigned k = 0; k < VMS; k++)
		unplug(k);
	let_go_on();
	settle();
	return 0;
}

/* A connection of a's port 1000 with b's port 80; both have eight buffers then. */
static inline void connected(void)
{
	give(0, 8);
	give(1, 8);
	say(0, 50, 1000, 80, VSOCK_REQUEST, "", 0);
	assert_true(got_op(1, VSOCK_REQUEST));
	say(1, cid(0), 80, 1000, VSOCK_RESPONSE, "", 0);
	assert_true(got_op(0, VSOCK_RESPONSE));
}

static inline void refused_as(unsigned k, struct vsock_hdr h, u32 n)
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
