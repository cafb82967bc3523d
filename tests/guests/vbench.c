/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a request to a virtio device costs, by minimal drivers: on a machine where a TSC tick is one instruction, the guest's
 * and the hypervisor's together. By the words of its command line, each a row of `make bench`:
 *   doorbell   a notification for a queue in which nothing is new
 *   qd1        4 KiB read from a disk, one by one, each with its interrupt
 *   qd32       32 of them, one notification, one interrupt
 *   n=N        so many of them; packed: by packed queues; mmio: a device on MMIO
 *   check      for tests: its queue is reset and set up anew between two of 32 reads; "VBENCH sum N" is of all the words
 *              that the latter got
 * A line "VBENCH ROW TICKS" says what one took. Then it halts for ever, so that the host can be asked for its exits.
 */
#include "cputest.h"
#include "vdrv.h"

const struct known known[] = {{NULL, NULL, NULL}};

#define VEC 0x50

static struct gate idt[256] __attribute__((aligned(16)));
static volatile u32 came;
static struct vdrv blk;
static u8 data[32][4096] __attribute__((aligned(4096)));
static struct {
	u32 type, reserved;
	u64 sector;
} header[32];
static volatile u8 status[32];

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	if (vector < 32)
		broken(vector, f->error, rip);
	came++;
	vdrv_ack(&blk);
	wrmsr(0x80b, 0);
}

static void set_up(void)
{
	idt_init(idt, 256);
	wrmsr(0x1b, rdmsr(0x1b) | 0xc00); /* x2APIC */
	wrmsr(0x80f, 0x1ff);
}

static void row(const char *name, u64 ticks)
{
	say("VBENCH ");
	say(name);
	say(" ");
	putd(ticks);
	say("\n");
}

static u64 number(const char *cmdline, const char *word, u64 otherwise)
{
	size_t n = 0;

	while (word[n])
		n++;
	for (const char *p = cmdline; *p; p++) {
		u64 v = 0;

		if ((p != cmdline && p[-1] != ' ') || memcmp(p, word, n))
			continue;
		for (p += n; *p >= '0' && *p <= '9'; p++)
			v = v * 10 + (u64)(*p - '0');
		return v;
	}
	return otherwise;
}

/* Wait for the interrupt that was asked for with the last of n chains, and take them back. */
static void collect(struct vq *q, unsigned n, u32 before)
{
	u32 len;
	u16 id;

	__asm__ volatile("cli");
	while (came == before)
		__asm__ volatile("sti; hlt; cli" ::: "memory");
	__asm__ volatile("sti");
	while (n--)
		if (!vq_take(q, &id, &len))
			broken(0x102, id, n);
}

static u64 reads(u64 count, unsigned depth)
{
	struct vq *q = &blk.q[0];
	struct vbuf b[32][3];
	u64 begun = rdtsc();
	u32 before;

	for (unsigned k = 0; k < depth; k++) {
		b[k][0] = (struct vbuf){&header[k], 16};
		b[k][1] = (struct vbuf){data[k], 4096};
		b[k][2] = (struct vbuf){(void *)&status[k], 1};
	}

	for (u64 i = 0; i < count; i += depth) {
		if (q->event_idx && !q->packed)
			q->ring->driver[2 + q->size] = (u16)(q->used + depth - 1);
		for (unsigned k = 0; k < depth; k++) {
			header[k].sector = (i + k) % 64 * 8;
			status[k] = 0xff;
			vq_add(q, b[k], 1, 2);
		}
		vq_publish(q);
		before = came;
		if (vq_should_kick(q))
			vq_kick(&blk, q);
		collect(q, depth, before);
		for (unsigned k = 0; k < depth; k++)
			if (status[k])
				broken(0x100, status[k], k);
	}
	return (rdtsc() - begun) / count;
}

static void resets(void)
{
	u64 sum = 0;

	for (unsigned round = 0; round < 3; round++) {
		reads(32, 1);
		vq_reset(&blk, 0);
		vq_setup(&blk, 0, VQ_SIZE, VEC);
		memset(data, 0, sizeof(data));
		reads(32, 32);
	}
	for (unsigned i = 0; i < sizeof(data) / 8; i++)
		sum += ((u64 *)data)[i];
	row("sum", sum);
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	const char *cmdline = magic == MB1_MAGIC ? (const char *)(u64)((struct mb1_info *)info)->cmdline :
						   (const char *)((struct pvh_info *)info)->cmdline;
	u64 n = number(cmdline, "n=", 1024), begun;
	u64 want = F_VERSION_1 | F_EVENT_IDX | F_RESET | (has_word(cmdline, "packed") ? F_PACKED : 0);

	begin(cmdline);
	set_up();
	if (!(has_word(cmdline, "mmio") ? vdrv_find_mmio(&blk, 2, 0) : vdrv_find(&blk, 2, 0)) || !vdrv_start(&blk, want, 1, VQ_SIZE, VEC))
		broken(0x101, 0, 0);
	__asm__ volatile("sti");
	reads(64, 1);
	if (has_word(cmdline, "doorbell")) {
		begun = rdtsc();
		for (u64 i = 0; i < n; i++)
			vq_kick(&blk, &blk.q[0]);
		row("doorbell", (rdtsc() - begun) / n);
	}
	if (has_word(cmdline, "qd1"))
		row("qd1", reads(n, 1));
	if (has_word(cmdline, "qd32"))
		row("qd32", reads(n, 32));
	if (has_word(cmdline, "check"))
		resets();
	say("VBENCH done\n");
	if (has_word(cmdline, "check"))
		finish("vbench");
	for (;;)
		__asm__ volatile("cli; hlt");
}
