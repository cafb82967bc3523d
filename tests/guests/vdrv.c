/* SPDX-License-Identifier: BSD-2-Clause */
#include "vdrv.h"

/* C_* of vdrv.h by MMIO, 4.2.2. */
enum { M_MAGIC = 0, M_ID = 8, M_DEVICE = 0x10, M_DEVICE_SELECT = 0x14, M_DRIVER = 0x20, M_DRIVER_SELECT = 0x24, M_SELECT = 0x30,
       M_SIZE = 0x38, M_ENABLE = 0x44, M_ISR = 0x60, M_ACK = 0x64, M_STATUS = 0x70, M_DESC = 0x80, M_AVAIL = 0x90, M_USED = 0xa0,
       M_RESET = 0xc0 };
#define WINDOW(n) (0xfeb00000ull + (n) * 0x200u)
#define PIN(n)	  (24 + (n))
#define WINDOWS	  24u
#define IOAPIC	  0xfec00000ull
enum { CAP_COMMON = 1, CAP_NOTIFY, CAP_ISR, CAP_DEVICE };

static struct vring rings[6];
static unsigned rings_used;

static u64 bar(unsigned slot, unsigned n)
{
	u32 lo = cfg_read(slot, 0x10 + 4 * n, 4);

	if (lo & 1)
		return lo & ~3u;
	return (lo & ~15u) | (lo & 4 ? (u64)cfg_read(slot, 0x14 + 4 * n, 4) << 32 : 0);
}

bool vdrv_find(struct vdrv *d, u16 type, unsigned nth)
{
	u32 at = 0;

	*d = (struct vdrv){0};
	for (d->slot = 1; d->slot < 32; d->slot++)
		if (cfg_read(d->slot, 0, 4) == ((0x1040u + type) << 16 | 0x1af4) && !nth--)
			break;
	if (d->slot == 32)
		return false;
	cfg_write(d->slot, 4, 2, 7); /* I/O, memory, bus master */
	while ((at = capability(d->slot, 9, at))) {
		u64 where = bar(d->slot, cfg_read(d->slot, at + 4, 1)) + cfg_read(d->slot, at + 8, 4);

		switch (cfg_read(d->slot, at + 3, 1)) {
		case CAP_COMMON: d->common = where; break;
		case CAP_NOTIFY: d->notify = (u16)where; break;
		case CAP_ISR: d->isr = where; break;
		case CAP_DEVICE: d->config = where; break;
		}
	}
	return d->common && d->notify;
}

bool vdrv_find_mmio(struct vdrv *d, u16 type, unsigned nth)
{
	*d = (struct vdrv){0};
	for (u32 n = 0; n < WINDOWS && mmio_read(WINDOW(n) + M_MAGIC, 4) == 0x74726976; n++)
		if (mmio_read(WINDOW(n) + M_ID, 4) == type && !nth--) {
			d->mmio = WINDOW(n);
			d->pin = (u8)PIN(n);
			return true;
		}
	return false;
}

/* A register, by its place behind either transport. MMIO's are of 32 bits. */
static void set(struct vdrv *d, unsigned pci, unsigned size, unsigned mmio, u64 val)
{
	if (!d->mmio) {
		mmio_write(d->common + pci, size, val);
		return;
	}
	for (unsigned i = 0; i < size; i += 4)
		mmio_write(d->mmio + mmio + i, 4, (u32)(val >> 8 * i));
}

void vdrv_ack(struct vdrv *d)
{
	if (d->mmio)
		mmio_write(d->mmio + M_ACK, 4, mmio_read(d->mmio + M_ISR, 4));
}

u8 vdrv_status(struct vdrv *d)
{
	if (d->mmio)
		return (u8)mmio_read(d->mmio + M_STATUS, 4);
	return (u8)mmio_read(d->common + C_STATUS, 1);
}

void vdrv_reset(struct vdrv *d)
{
	set(d, C_STATUS, 1, M_STATUS, 0);
	while (vdrv_status(d))
		;
}

/* MSI-X entry n: fixed, edge, to APIC 0. */
static void set_vector(struct vdrv *d, unsigned n, u8 vec)
{
	u32 at, where;
	u64 table;

	if (d->mmio) { /* level-triggered */
		mmio_write(IOAPIC, 4, 0x10 + 2 * d->pin);
		mmio_write(IOAPIC + 0x10, 4, 0x8000 | vec);
		return;
	}
	at = capability(d->slot, 0x11, 0);
	where = cfg_read(d->slot, at + 4, 4);
	table = bar(d->slot, where & 7) + (where & ~7u) + 16 * n;

	mmio_write(table, 4, 0xfee00000);
	mmio_write(table + 4, 4, 0);
	mmio_write(table + 8, 4, vec);
	mmio_write(table + 12, 4, 0);
	cfg_write(d->slot, at + 2, 2, 0x8000);
}

void vq_reset(struct vdrv *d, unsigned i)
{
	set(d, C_SELECT, 2, M_SELECT, i);
	set(d, C_RESET, 2, M_RESET, 1);
	while (d->mmio ? mmio_read(d->mmio + M_RESET, 4) | mmio_read(d->mmio + M_ENABLE, 4) :
			 mmio_read(d->common + C_RESET, 2) | mmio_read(d->common + C_ENABLE, 2))
		;
}

static struct vq *new_queue(struct vdrv *d, unsigned i, u16 size)
{
	struct vq *q = &d->q[i];

	q->ring = q->ring ? q->ring : &rings[rings_used++];
	memset(q->ring, 0, sizeof(*q->ring));
	q->index = (u16)i;
	q->size = size;
	q->next = q->used = q->avail = 0;
	q->packed = d->features & F_PACKED;
	q->event_idx = d->features & F_EVENT_IDX;
	q->avail_wrap = q->used_wrap = true;
	return q;
}

void vq_setup(struct vdrv *d, unsigned i, u16 size, u8 vec)
{
	struct vq *q = new_queue(d, i, size);

	set(d, C_SELECT, 2, M_SELECT, i);
	set(d, C_SIZE, 2, M_SIZE, size);
	set(d, C_DESC, 8, M_DESC, (u64)q->ring->desc);
	set(d, C_AVAIL, 8, M_AVAIL, (u64)q->ring->driver);
	set(d, C_USED, 8, M_USED, (u64)q->ring->device);
	if (vec) {
		set_vector(d, i + 1, vec);
		if (!d->mmio)
			mmio_write(d->common + C_VECTOR, 2, i + 1);
	}
	set(d, C_ENABLE, 2, M_ENABLE, 1);
}

u64 vdrv_offered(struct vdrv *d)
{
	u64 offered = 0;

	for (unsigned i = 0; i < 2; i++) {
		set(d, C_DEVICE_SELECT, 4, M_DEVICE_SELECT, i);
		offered |= (u64)mmio_read(d->mmio ? d->mmio + M_DEVICE : d->common + C_DEVICE, 4) << 32 * i;
	}
	return offered;
}

/* 4.1.4.8: features at 0 and 4, a queue's page at 8, its number at 14, status at 18. */
bool vdrv_start_legacy(struct vdrv *d, u64 want, unsigned nr)
{
	u16 io = (u16)bar(d->slot, 0);

	outb((u16)(io + 18), 3);
	d->features = want & inl(io);
	outl((u16)(io + 4), (u32)d->features);
	for (unsigned i = 0; i < nr; i++) {
		outw((u16)(io + 14), (u16)i);
		if (inw((u16)(io + 12)) != VQ_SIZE)
			return false;
		outl((u16)(io + 8), (u32)((u64)new_queue(d, i, VQ_SIZE)->ring >> 12));
	}
	outb((u16)(io + 18), 7);
	return inb((u16)(io + 18)) == 7;
}

bool vdrv_start(struct vdrv *d, u64 want, unsigned nr, u16 size, u8 vec)
{
	vdrv_reset(d);
	set(d, C_STATUS, 1, M_STATUS, 1);
	set(d, C_STATUS, 1, M_STATUS, 3);
	d->features = want & vdrv_offered(d);
	for (unsigned i = 0; i < 2; i++) {
		set(d, C_DRIVER_SELECT, 4, M_DRIVER_SELECT, i);
		set(d, C_DRIVER, 4, M_DRIVER, (u32)(d->features >> 32 * i));
	}
	set(d, C_STATUS, 1, M_STATUS, 11);
	if (!(vdrv_status(d) & 8))
		return false;
	for (unsigned i = 0; i < nr; i++)
		vq_setup(d, i, size, vec);
	set(d, C_STATUS, 1, M_STATUS, 15);
	return vdrv_status(d) == 15;
}

static u16 add_split(struct vq *q, const struct vbuf *b, unsigned n, unsigned out)
{
	u16 head = q->next;

	for (unsigned i = 0; i < n; i++) {
		struct vdesc *e = &q->ring->desc[q->next];

		q->next = (u16)((q->next + 1) & (q->size - 1));
		e->addr = (u64)b[i].at;
		e->len = b[i].len;
		e->flags = (u16)((i >= out ? VDESC_WRITE : 0) | (i + 1 < n ? VDESC_NEXT : 0));
		e->next = q->next;
	}
	q->ring->driver[2 + (q->avail++ & (q->size - 1))] = head;
	return head;
}

/* The first one's flags go last, so that the device never sees half a chain; it may begin before vq_publish(). */
static u16 add_packed(struct vq *q, const struct vbuf *b, unsigned n, unsigned out)
{
	u16 first = q->next, first_flags = 0;

	for (unsigned i = 0; i < n; i++) {
		struct vdesc *e = &q->ring->desc[q->next];
		u16 flags = (u16)((i >= out ? VDESC_WRITE : 0) | (i + 1 < n ? VDESC_NEXT : 0) |
				  (q->avail_wrap ? VDESC_AVAIL : VDESC_USED));

		e->addr = (u64)b[i].at;
		e->len = b[i].len;
		e->flags = first; /* the id */
		if (i)
			*(volatile u16 *)&e->next = flags;
		else
			first_flags = flags;
		if (++q->next == q->size) {
			q->next = 0;
			q->avail_wrap = !q->avail_wrap;
		}
	}
	q->taken[first] = (u16)n;
	__asm__ volatile("" ::: "memory");
	*(volatile u16 *)&q->ring->desc[first].next = first_flags;
	return first;
}

u16 vq_add(struct vq *q, const struct vbuf *b, unsigned out, unsigned in)
{
	return q->packed ? add_packed(q, b, out + in, out) : add_split(q, b, out + in, out);
}

void vq_publish(struct vq *q)
{
	__asm__ volatile("" ::: "memory");
	if (!q->packed)
		*(volatile u16 *)&q->ring->driver[1] = q->avail;
	__asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");
}

bool vq_should_kick(const struct vq *q)
{
	const volatile u16 *device = q->ring->device;

	if (q->packed)
		return (device[1] & 3) != 1;
	return q->event_idx || !(device[0] & 1);
}

bool vq_take(struct vq *q, u16 *id, u32 *len)
{
	if (q->packed) {
		volatile struct vdesc *e = &q->ring->desc[q->used];
		u16 flags = e->next;

		if (!(flags & VDESC_USED) == q->used_wrap || !(flags & VDESC_AVAIL) == q->used_wrap)
			return false;
		*id = e->flags;
		*len = e->len;
		q->used = (u16)(q->used + q->taken[*id]);
		if (q->used >= q->size) {
			q->used = (u16)(q->used - q->size);
			q->used_wrap = !q->used_wrap;
		}
		return true;
	}
	if (*(volatile u16 *)&q->ring->device[1] == q->used)
		return false;
	*id = (u16)((volatile struct vused *)(q->ring->device + 2))[q->used & (q->size - 1)].id;
	*len = ((volatile struct vused *)(q->ring->device + 2))[q->used & (q->size - 1)].len;
	q->used++;
	return true;
}

void vq_interrupts(struct vq *q, bool on)
{
	volatile u16 *driver = q->ring->driver;

	if (q->packed)
		driver[1] = on ? 0 : 1;
	else if (q->event_idx)
		driver[2 + q->size] = (u16)(on ? q->used : q->used - 1);
	else
		driver[0] = !on;
	__asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");
}

void vq_wake_after(struct vq *q, u32 n)
{
	volatile u16 *driver = q->ring->driver;
	u32 at = q->used + n - 1;

	if (!q->event_idx) {
		driver[q->packed] = 0;
	} else if (!q->packed) {
		driver[2 + q->size] = (u16)at;
	} else { /* 2.8.14 */
		bool wrap = at < q->size ? q->used_wrap : !q->used_wrap;

		driver[0] = (u16)(at % q->size | wrap << 15);
		driver[1] = 2;
	}
	__asm__ volatile("lock orl $0, (%%rsp)" ::: "memory", "cc");
}

bool vq_has(const struct vq *q, u32 n)
{
	u32 at = q->used + n - 1;
	bool wrap = q->used_wrap;
	u16 flags;

	if (!q->packed)
		return (u16)(*(volatile u16 *)&q->ring->device[1] - q->used) >= n;
	if (at >= q->size) {
		at -= q->size;
		wrap = !wrap;
	}
	flags = *(volatile u16 *)&q->ring->desc[at].next;
	return !!(flags & VDESC_USED) == wrap && !!(flags & VDESC_AVAIL) == wrap;
}

bool vq_wants_kick(const struct vq *q, u16 before)
{
	u16 event = *(volatile u16 *)&q->ring->device[2 + 4 * q->size];

	if (q->packed || !q->event_idx)
		return vq_should_kick(q);
	return (u16)(q->avail - event - 1) < (u16)(q->avail - before);
}
