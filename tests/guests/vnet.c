/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a packet from guest to guest costs, by minimal drivers of two VMs on one bridge, where a TSC
 * tick is one instruction, all VMs' and the hypervisor's together. Both halt while they wait. The
 * one whose command line has the word `ask` measures, the other answers; their MACs differ in the
 * last bit. By the other words, which both are given:
 *   single   a packet there, one as long back when its interrupt has come: a row is half of that
 *   batch    32 packets there with one notification; one back when the other has all of them
 *   len=L    bytes of a packet, behind Ethernet's header
 *   n=N      so many packets are counted; packed: by packed queues
 * Before that each byte of some rounds is looked at; of what is counted, each packet's length and
 * place in the order. "VNET ROW TICKS" says what one packet took. Both then halt for ever, so that
 * the host can be asked for their exits.
 */
#include "cmdline.h"
#include "cputest.h"
#include "vdrv.h"

const struct known known[] = {{NULL, NULL, NULL}};

#define VEC	   0x50
#define BATCH	   32u
#define BUFS	   64u
#define THOROUGH   4u	       /* rounds */
#define HEADERS	   34u	       /* virtio's, Ethernet's, and the order */
#define HELLO	   (1ull << 32) /* orders from here on */
#define HELLO_WAIT 20000000ull /* ticks, for an answer */

/* virtio 1.2, 5.1.6; and the frame. */
struct packet {
	u8 virtio[12];
	u8 dst[6], src[6], type[2];
	u8 order[8]; /* it and the rest are what len= counts */
	u8 rest[2048 - HEADERS];
} __attribute__((packed));
_Static_assert(sizeof(struct packet) == 2048, "two a page");

static struct gate idt[256] __attribute__((aligned(16)));
static struct vdrv net;
static struct packet in[BUFS] __attribute__((aligned(4096)));
static struct packet out[BUFS] __attribute__((aligned(4096)));
static u32 bytes; /* of a packet with all headers */
static u64 taken;  /* so many have come */

static u32 no_eoi;

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	if (vector < 32)
		broken(vector, f->error, rip);
	/* KVM's paravirtual EOI, as Linux has it: no exit where nothing else waits. */
	if (!(__atomic_fetch_and(&no_eoi, ~1u, __ATOMIC_SEQ_CST) & 1))
		wrmsr(0x80b, 0);
}

static u64 *order(struct packet *p)
{
	return (u64 *)(void *)p->order;
}

static u8 pattern(u64 n, u32 at)
{
	return (u8)(n * 31 + at);
}

/* A buffer each for what comes: in descriptor order, which a queue of BUFS keeps for ever. */
static void set_up(void)
{
	idt_init(idt, 256);
	wrmsr(0x1b, rdmsr(0x1b) | 0xc00); /* x2APIC */
	wrmsr(0x80f, 0x1ff);
	wrmsr(0x4b564d04, (u64)&no_eoi | 1);
	for (u32 i = 0; i < BUFS; i++) {
		struct vbuf b = {&in[i], sizeof(in[i])};

		for (u32 k = 0; k < 6; k++)
			out[i].dst[k] = out[i].src[k] = (u8)mmio_read(net.config + k, 1);
		out[i].dst[5] ^= 1;
		out[i].type[0] = 0x88; /* for experiments */
		out[i].type[1] = 0xb5;
		vq_add(&net.q[0], &b, 0, 1);
	}
	vq_publish(&net.q[0]);
	vq_kick(&net, &net.q[0]);
	vq_interrupts(&net.q[1], false);
	__asm__ volatile("sti");
}

/* Halt until n packets are there. */
static void wait_for(u32 n)
{
	__asm__ volatile("cli");
	while (!vq_has(&net.q[0], n))
		sti_hlt_cli();
	__asm__ volatile("sti");
}

/* In a split ring descriptor, place in the available ring and buffer have one number. */
static inline void add(struct vq *q, struct packet *p, u32 len, bool write)
{
	u16 i = q->avail & (BUFS - 1);
	struct vbuf b = {p, len};

	if (q->packed) {
		vq_add(q, &b, !write, write);
		return;
	}
	q->ring->desc[i] = (struct vdesc){(u64)p, len, write ? VDESC_WRITE : 0, 0};
	q->ring->driver[2 + i] = i;
	q->avail++;
}

/* A chain that has come back: its length. */
static inline bool come_back(struct vq *q, u16 *id, u32 *len)
{
	const volatile struct vused *u = (void *)(q->ring->device + 2);

	if (q->packed)
		return vq_take(q, id, len);
	if (*(volatile u16 *)&q->ring->device[1] == q->used)
		return false;
	*id = (u16)u[q->used & (BUFS - 1)].id;
	*len = u[q->used++ & (BUFS - 1)].len;
	return true;
}

static void send(u64 first, u32 n, bool thorough)
{
	struct vq *q = &net.q[1];
	u32 len;
	u16 id;

	while (q->packed && vq_take(q, &id, &len))
		;
	if (!q->packed && (u16)(q->avail - *(volatile u16 *)&q->ring->device[1]) > BUFS - n)
		broken(0x104, first, n); /* it has not taken the last ones yet */
	for (u64 i = first; i < first + n; i++) {
		struct packet *p = &out[i % BUFS];

		*order(p) = i;
		for (u32 k = HEADERS; thorough && k < bytes; k++)
			((u8 *)p)[k] = pattern(i, k);
		add(q, p, bytes, false);
	}
	vq_publish(q);
	if (vq_should_kick(q))
		vq_kick(&net, q);
}

/* The one that is there: its buffer, as it may be read until it is given back. */
static struct packet *take(void)
{
	struct packet *p = &in[taken % BUFS];
	u32 len;
	u16 id;

	if (!come_back(&net.q[0], &id, &len) || id != taken % BUFS || len != bytes)
		broken(0x100, taken, len);
	taken++;
	return p;
}

/* The next n, which have to be there: their length, their order and, if thorough, all of them. */
static void receive(u64 first, u32 n, bool thorough)
{
	struct vq *q = &net.q[0];
	u16 before = q->avail;

	for (u64 i = first; i < first + n; i++) {
		struct packet *p = take();

		if (*order(p) != i)
			broken(0x101, i, *order(p));
		for (u32 k = HEADERS; thorough && k < bytes; k++)
			if (((u8 *)p)[k] != pattern(i, k))
				broken(0x102, i, k);
		add(q, p, sizeof(*p), true);
	}
	vq_publish(q);
	if (vq_wants_kick(q, before))
		vq_kick(&net, q);
}

/* Nobody knows who is up first: the answer to the last hello is the last that comes. */
static void say_hello(void)
{
	for (u64 i = HELLO;; i++) {
		u64 since = rdtsc(), answer = 0;

		send(i, 1, false);
		while (answer != i && rdtsc() - since < HELLO_WAIT) {
			if (!vq_has(&net.q[0], 1))
				continue;
			answer = *order(&in[taken % BUFS]);
			receive(answer, 1, false);
		}
		if (answer == i)
			return;
	}
}

static void ask(u64 rounds, u32 there, u32 back)
{
	u64 sent = 0, got = 0, begun = 0;

	say_hello();
	for (u64 i = 0; i < rounds + THOROUGH; i++, sent += there, got += back) {
		bool thorough = i < THOROUGH;

		if (i == THOROUGH)
			begun = rdtsc();
		vq_wake_after(&net.q[0], back);
		send(sent, there, thorough);
		wait_for(back);
		receive(got, back, thorough);
	}
	say("VNET ");
	say(there == 1 ? "single " : "batch ");
	putd((rdtsc() - begun) / (rounds * (there == 1 ? 2 : there)));
	say("\n");
}

static void answer(u64 rounds, u32 there, u32 back)
{
	u64 sent = 0, got = 0, hello;

	for (;;) {
		vq_wake_after(&net.q[0], 1);
		wait_for(1);
		hello = *order(&in[taken % BUFS]);
		if (hello < HELLO)
			break;
		receive(hello, 1, false);
		send(hello, 1, false);
	}
	for (u64 i = 0; i < rounds + THOROUGH; i++, sent += back, got += there) {
		vq_wake_after(&net.q[0], there);
		wait_for(there);
		receive(got, there, i < THOROUGH);
		send(sent, back, i < THOROUGH);
	}
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	const char *cmdline = magic == MB1_MAGIC
				      ? (const char *)(u64)((struct mb1_info *)info)->cmdline
				      : (const char *)((struct pvh_info *)info)->cmdline;
	u64 want = F_VERSION_1 | F_EVENT_IDX | (has_word(cmdline, "packed") ? F_PACKED : 0);
	u64 n = number(cmdline, " n=", 1024);
	u32 there = has_word(cmdline, "batch") ? BATCH : 1;
	u64 rounds = n / (there == 1 ? 2 : there);

	begin(cmdline);
	bytes = HEADERS - 8 + (u32)number(cmdline, " len=", 64);
	if (!vdrv_find(&net, 1, 0) || !vdrv_start(&net, want, 2, BUFS, VEC) ||
	    bytes > sizeof(struct packet))
		broken(0x103, 0, 0);
	set_up();
	if (has_word(cmdline, "ask"))
		ask(rounds, there, 1);
	else
		answer(rounds, there, 1);
	say(has_word(cmdline, "ask") ? "VNET done\n" : "VNET answered\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}
