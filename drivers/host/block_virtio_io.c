/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests to the machine's virtio disks. Each has a slot: header, status, the table of its segments, and the blocks of guest
 * memory that it pins. When the disk has answered, the interrupt takes the lock of the VM's devices and tells whoever asked. A
 * slot whose asker has closed the disk meanwhile just lets go of the memory.
 */
#include "drivers/host/block_virtio.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/vdev.h"

#define MAX_ZEROES MIB(256)
#define BATCH	   16u /* requests told about in one interrupt */

static const u8 zeroes[PAGE_SIZE] __aligned(PAGE_SIZE);

/* ---- a request ---- */

struct builder {
	struct slot *s;
	struct hvq_seg seg[MAX_SEGS + 2];
	u32 nr, nr_out, max, size_max;
	u64 len;
};

/* n bytes at pa more, in pieces as the disk takes them. How many found room. */
static u64 add_bytes(struct builder *b, hpa_t pa, u64 n)
{
	u64 left = n;

	while (left) {
		struct hvq_seg *last = &b->seg[b->nr - 1];
		u32 part;

		if (b->nr > 1 && last->addr + last->len == pa && last->len < b->size_max) {
			part = (u32)MIN(left, b->size_max - last->len);
			last->len += part;
		} else if (b->nr <= b->max) {
			part = (u32)MIN(left, b->size_max);
			b->seg[b->nr++] = (struct hvq_seg){.addr = pa, .len = part};
		} else {
			break;
		}
		pa += part;
		left -= part;
	}
	b->len += n - left;
	return n - left;
}

static bool pin_known(struct slot *s, hpa_t pa)
{
	return s->nr_pins && s->pins[s->nr_pins - 1] == ALIGN_DOWN(pa, PAGE_2M);
}

static void keep_pin(struct slot *s, hpa_t pa)
{
	s->pins[s->nr_pins++] = ALIGN_DOWN(pa, PAGE_2M);
}

/* The guest's memory, as far as there is room. 0 or -EIO: not RAM. */
static int add_guest(struct builder *b, struct vm *vm, const struct block_req *r)
{
	const struct block_range *g = r->range;
	u64 off = r->skip, want = MIN(r->len, MAX_BYTES);

	for (; off >= g->len; g++)
		off -= g->len;
	while (b->len < want) {
		u64 n = MIN(want - b->len, g->len - off), part, got;
		hpa_t pa;

		if (n && b->s->nr_pins == MAX_SEGS)
			return 0;
		if (n && gmem_pin(vm, g->gpa + off, n, r->op == BLOCK_READ, &pa, &part))
			return -EIO;
		if (n) {
			if (pin_known(b->s, pa))
				gmem_unpin(pa); /* one is enough */
			else
				keep_pin(b->s, pa);
			got = add_bytes(b, pa, part);
			if (got < part)
				return 0;
			off += part;
		}
		if (off == g->len) {
			g++;
			off = 0;
		}
	}
	return 0;
}

static int add_data(struct builder *b, struct vm *vm, const struct block_req *r)
{
	if (r->op == BLOCK_ZERO) {
		while (b->len < MIN(r->len, MAX_BYTES) &&
		       add_bytes(b, frame_pa(zeroes), MIN(PAGE_SIZE, r->len - b->len)))
			;
		return 0;
	}
	if (r->range)
		return add_guest(b, vm, r);
	gpool_pin(ALIGN_DOWN(r->phys, PAGE_2M));
	keep_pin(b->s, r->phys);
	add_bytes(b, r->phys, r->len);
	return 0;
}

/* Whole sectors only. */
static void trim(struct builder *b, u32 sector)
{
	u64 over = b->len % sector;

	b->len -= over;
	while (over) {
		struct hvq_seg *last = &b->seg[b->nr - 1];
		u32 part = (u32)MIN(over, last->len);

		last->len -= part;
		b->nr -= !last->len;
		over -= part;
	}
}

/* Fill the slot for as much of r as it takes: r->len. */
static int build(struct disk *d, struct builder *b, struct vm *vm, struct block_req *r)
{
	struct slot *s = b->s;
	bool native = r->op == BLOCK_DISCARD || (r->op == BLOCK_ZERO && d->max_zeroes);
	u32 type = r->op == BLOCK_READ ? BLK_IN : r->op == BLOCK_FLUSH ? BLK_FLUSH : r->op == BLOCK_DISCARD ? BLK_DISCARD
		 : native ? BLK_WRITE_ZEROES : BLK_OUT;
	int err;

	b->nr = 1;
	b->max = d->seg_max;
	b->size_max = d->size_max;
	s->nr_pins = 0;
	s->status = 0xff;
	s->header = (struct virtio_blk_header){.type = type, .sector = native ? 0 : r->pos / BLOCK_SECTOR};
	b->seg[0] = (struct hvq_seg){.addr = frame_pa(&s->header), .len = sizeof(s->header)};
	if (native) {
		b->len = MIN(MIN(r->len, MAX_ZEROES), (u64)(r->op == BLOCK_ZERO ? d->max_zeroes : d->max_discard) * BLOCK_SECTOR);
		b->len = ALIGN_DOWN(b->len, (u64)d->sector);
		s->range = (struct virtio_blk_range){.sector = r->pos / BLOCK_SECTOR, .sectors = (u32)(b->len / BLOCK_SECTOR)};
		b->seg[b->nr++] = (struct hvq_seg){.addr = frame_pa(&s->range), .len = sizeof(s->range)};
	} else if (r->op != BLOCK_FLUSH) {
		err = add_data(b, vm, r);
		if (err)
			return err;
		trim(b, d->sector);
	}
	if (!b->len && r->op != BLOCK_FLUSH)
		return -EIO; /* one sector in more pieces than the disk takes */
	b->nr_out = type == BLK_IN ? 1 : b->nr;
	b->seg[b->nr++] = (struct hvq_seg){.addr = frame_pa(&s->status), .len = 1};
	r->len = b->len;
	if (hvirtio_has(&d->v, VIRTIO_F_INDIRECT_DESC))
		hvq_fill(s->table, b->seg, b->nr, b->nr_out);
	return 0;
}

static void unpin(struct slot *s)
{
	while (s->nr_pins)
		gmem_unpin(s->pins[--s->nr_pins]);
}

struct slot *slot_take(struct disk *d, u16 *n)
{
	*n = d->free;
	if (*n == NO_SLOT)
		return NULL;
	d->free = d->slots[*n].next;
	return &d->slots[*n];
}

void slot_give(struct disk *d, struct slot *s)
{
	s->by = NULL;
	s->req = NULL;
	s->vm = NULL;
	s->next = d->free;
	d->free = (u16)(s - d->slots);
}

/* Into the ring; the disk's lock is held. */
static int enqueue(struct disk *d, struct builder *b, u16 n)
{
	if (hvirtio_has(&d->v, VIRTIO_F_INDIRECT_DESC))
		return hvq_add_table(&d->q, frame_pa(b->s->table), b->nr, n);
	return hvq_add(&d->q, b->seg, b->nr, b->nr_out, n);
}

static int refusal(const struct disk *d, const struct block *b, const struct block_req *r)
{
	if (d->q.dead)
		return -EIO;
	if (r->op != BLOCK_READ && r->op != BLOCK_FLUSH && b->readonly)
		return -EROFS;
	return 0;
}

int disk_submit(struct block *blk, struct block_req *r)
{
	struct opened *o = opened_of(blk);
	struct disk *d = o->disk;
	struct builder b;
	u64 asked = r->len;
	u16 n;
	int err = refusal(d, blk, r);

	if (err)
		return err;
	if ((r->op == BLOCK_FLUSH && !hvirtio_has(&d->v, BLK_F_FLUSH)) || (r->op == BLOCK_DISCARD && !d->max_discard))
		return 0;
	spin_lock(&d->lock);
	b.s = slot_take(d, &n);
	o->waiting |= !b.s;
	spin_unlock(&d->lock);
	if (!b.s)
		return -EAGAIN;
	b.len = 0;
	err = build(d, &b, blk->vm, r);
	spin_lock(&d->lock);
	if (!err)
		err = enqueue(d, &b, n);
	if (!err) {
		b.s->by = o;
		b.s->req = r;
		b.s->vm = blk->vm;
		vm_dma_begin(blk->vm);
	}
	spin_unlock(&d->lock);
	if (!err)
		return -EINPROGRESS;
	unpin(b.s);
	spin_lock(&d->lock);
	slot_give(d, b.s);
	o->waiting |= err == -ENOSPC;
	spin_unlock(&d->lock);
	r->len = asked;
	return err == -ENOSPC ? -EAGAIN : err;
}

void disk_commit(struct block *blk)
{
	struct disk *d = opened_of(blk)->disk;

	spin_lock(&d->lock);
	if (hvq_publish(&d->q))
		hvq_kick(&d->q);
	spin_unlock(&d->lock);
}

/* ---- answers ---- */

/* A request has been answered, or never will be (err). No locks are held. */
static void finish(struct disk *d, struct slot *s, int err)
{
	struct vm *vm = s->vm;
	struct block_req *r;

	vm_devices_lock(vm);
	unpin(s);
	if (!err && s->status != BLK_OK)
		err = -EIO;
	spin_lock(&d->lock);
	r = s->by ? s->req : NULL;
	if (err && !d->told_error) {
		d->told_error = true;
		log_warn("disk vbd%u: an error at sector %lu (request %u, status %u); more are counted, not logged", d->number,
			 (unsigned long)s->header.sector, s->header.type, s->status);
	}
	slot_give(d, s);
	spin_unlock(&d->lock);
	if (r)
		r->done(r, err);
	vm_devices_unlock(vm);
	vm_dma_end(vm);
}

static struct slot *next_answer(struct disk *d)
{
	struct slot *s = NULL;
	u32 len;
	u16 n;

	spin_lock(&d->lock);
	if (hvq_get(&d->q, &n, &len))
		s = &d->slots[n];
	spin_unlock(&d->lock);
	return s;
}

/* One that waits, and its VM, which cannot go before it has closed the disk, for that takes our lock: vm_dma_end(). */
static struct opened *first_waiting(struct disk *d, struct vm **vm)
{
	struct opened *o = NULL;

	spin_lock(&d->lock);
	list_for_each(l, &d->opens)
		if (!o && list_entry(l, struct opened, node)->waiting)
			o = list_entry(l, struct opened, node);
	if (o) {
		*vm = o->block.vm;
		vm_dma_begin(*vm);
	}
	spin_unlock(&d->lock);
	return o;
}

/* With the lock of that VM's devices: it may have closed the disk since, and another may have opened it. true: it is still
 * there; it goes to the end, so that who waits again waits behind the others. */
static bool claim_waiting(struct disk *d, struct opened *o, const struct vm *vm)
{
	bool found = false;

	spin_lock(&d->lock);
	list_for_each(l, &d->opens)
		found |= list_entry(l, struct opened, node) == o && o->waiting && o->block.vm == vm;
	if (found) {
		o->waiting = false;
		list_del(&o->node);
		list_insert(&d->opens, &o->node);
	}
	spin_unlock(&d->lock);
	return found;
}

/* Whoever was told to wait may try again, as long as there is room. */
static void wake_waiting(struct disk *d)
{
	struct opened *o;
	struct vm *vm;

	for (u32 i = 0; i < MAX_SLOTS && (d->q.dead || READ_ONCE(d->free) != NO_SLOT) && (o = first_waiting(d, &vm)); i++) {
		vm_devices_lock(vm);
		if (claim_waiting(d, o, vm))
			o->block.again(&o->block);
		vm_devices_unlock(vm);
		vm_dma_end(vm);
	}
}

/* The device broke its ring: reset, it touches nothing any more; what was under way has failed. */
static void bury(struct disk *d)
{
	log_err("disk vbd%u: the device broke its ring: it is no longer used", d->number);
	hvirtio_stop(&d->v);
	for (u32 i = 0; i < MAX_SLOTS; i++)
		if (d->slots[i].vm)
			finish(d, &d->slots[i], -EIO);
}

bool disk_serve(struct disk *d)
{
	struct slot *s = NULL;
	bool was_dead = d->q.dead;
	u32 n;

	for (n = 0; n < BATCH && (s = next_answer(d)); n++)
		finish(d, s, 0);
	if (d->q.dead && !was_dead)
		bury(d);
	wake_waiting(d);
	return n == BATCH || hvq_more(&d->q);
}

