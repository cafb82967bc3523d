/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks and network cards that come and go, without an operating system: waits for ACPI's event, finds what has come, gives
 * it addresses, drives it, and lets go of what is to go. Says so, for whoever plugs, and never ends.
 * A card that comes sends a frame to the one that the guest began with.
 */
#include "cputest.h"
#include "vdrv.h"

const struct known known[] = {{NULL, NULL, NULL}};

#define GPE0	 0x620 /* status, enable: 8 bytes each */
#define GPE_PLUG 2
#define UP	 0xcc0
#define DOWN	 0xcc4
#define EJECT	 0xcc8
#define BLK	 0x10421af4u
#define NET	 0x10411af4u
enum { TYPE_NET = 1, TYPE_BLK = 2 };
#define FRAME 100u
#define HDR   12u

static struct gate idt[256] __attribute__((aligned(16)));
static struct vdrv blk, first, net;
static u8 data[65536] __attribute__((aligned(4096))), frame[HDR + FRAME], got[2048];
static struct {
	u32 type, reserved;
	u64 sector;
} header;
static volatile u8 status;
static unsigned disks; /* that it began with, and leaves alone */

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	broken(vector, f->error, rip);
}

static void slot_line(unsigned slot, const char *what)
{
	say("PLUG: slot ");
	putd(slot);
	say(what);
}

/* As an operating system does: far from what the firmware has given to others, each slot its own. */
static void place(unsigned slot)
{
	cfg_write(slot, 0x10, 4, 0xe000 + slot * 128);
	cfg_write(slot, 0x14, 4, 0xd0000000 + slot * 0x10000);
	cfg_write(slot, 0x20, 4, 0xd0000000 + slot * 0x10000 + 0x8000);
	cfg_write(slot, 0x24, 4, 0);
}

static void run(struct vdrv *d, unsigned q, const struct vbuf *b, unsigned out, unsigned in)
{
	vq_add(&d->q[q], b, out, in);
	vq_publish(&d->q[q]);
	vq_kick(d, &d->q[q]);
}

static u32 taken(struct vdrv *d, unsigned q)
{
	u32 len;
	u16 id;

	while (!vq_take(&d->q[q], &id, &len))
		__asm__ volatile("pause");
	return len;
}

static void disk_came(unsigned slot)
{
	const struct vbuf b[] = {{&header, sizeof(header)}, {data, sizeof(data)}, {(void *)&status, 1}};
	u64 sum = 0;

	blk = (struct vdrv){.q[0].ring = blk.q[0].ring};
	check2("disk", vdrv_find(&blk, TYPE_BLK, disks) && blk.slot == slot && vdrv_start(&blk, F_VERSION_1, 1, 8, 0), slot, blk.slot);
	status = 0xff;
	run(&blk, 0, b, 1, 2);
	taken(&blk, 0);
	check2("read", status == 0, status, 0);
	for (size_t i = 0; i < sizeof(data); i++)
		sum = sum * 31 + data[i];
	slot_line(slot, " disk ");
	putx(sum);
	say("\n");
}

static void card_came(unsigned slot)
{
	const struct vbuf in = {got, sizeof(got)}, out = {frame, sizeof(frame)};
	u64 mac = 0;

	check2("card", vdrv_find(&net, TYPE_NET, 1) && net.slot == slot && vdrv_start(&net, F_VERSION_1 | 1ull << 5, 2, 8, 0), slot,
	       net.slot);
	memset(frame, 0, sizeof(frame));
	memset(frame + HDR, 0xff, 6);
	for (unsigned i = 0; i < 6; i++)
		frame[HDR + 6 + i] = (u8)mmio_read(net.config + i, 1);
	frame[HDR + 12] = 0x88; /* IEEE's for experiments: 88b5 */
	frame[HDR + 13] = 0xb5;
	frame[HDR + FRAME - 1] = (u8)slot;
	run(&first, 0, &in, 0, 1);
	run(&net, 1, &out, 1, 0);
	taken(&net, 1);
	check2("frame", taken(&first, 0) == sizeof(frame) && !memcmp(frame + HDR, got + HDR, FRAME), got[HDR + 12], 0);
	slot_line(slot, " card ");
	for (unsigned i = 0; i < 6; i++)
		mac = mac << 8 | frame[HDR + 6 + i];
	putx(mac);
	say("\n");
}

static void came(unsigned slot)
{
	u32 id = cfg_read(slot, 0, 4);

	check2("empty-bars", cfg_read(slot, 4, 2) == 0 && cfg_read(slot, 0x10, 4) == 1 && !(cfg_read(slot, 0x20, 4) & ~15u), slot, id);
	place(slot);
	if (id == BLK)
		disk_came(slot);
	else if (id == NET)
		card_came(slot);
	else
		check2("device", false, slot, id);
}

static void goes(unsigned slot)
{
	struct vdrv *d = cfg_read(slot, 0, 4) == BLK ? &blk : &net;

	check2("known", d->slot == slot, slot, d->slot);
	vdrv_reset(d);
	outl(EJECT, 1u << slot);
	check2("gone", cfg_read(slot, 0, 4) == ~0u && !(inl(DOWN) >> slot & 1) && mmio_read(d->common, 4) == ~0u, slot, 0);
	slot_line(slot, " gone\n");
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	begin(magic == MB1_MAGIC ? (const char *)(u64)((struct mb1_info *)info)->cmdline : "");
	idt_init(idt, 256);
	if (vdrv_find(&first, TYPE_NET, 0))
		check("first", vdrv_start(&first, F_VERSION_1 | 1ull << 5, 2, 8, 0));
	while (vdrv_find(&blk, TYPE_BLK, disks))
		disks++;
	outb(GPE0 + 8, GPE_PLUG);
	say("PLUG: ready\n");
	for (;;) {
		u32 up, down;

		while (!(inb(GPE0) & GPE_PLUG))
			__asm__ volatile("pause");
		outb(GPE0, GPE_PLUG);
		up = inl(UP);
		down = inl(DOWN);
		for (unsigned slot = 0; slot < 32; slot++) {
			if (up >> slot & 1)
				came(slot);
			if (down >> slot & 1)
				goes(slot);
		}
	}
}
