/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's own virtio disks (virtio 1.2, 5.2): "host:" and the disk's serial number, or vbd0, vbd1... in order of PCI
 * addresses. One that a VM writes to is nobody else's; VMs that only read may share one.
 */
#include "drivers/host/block_virtio.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/config.h"
#include "vmm/host.h"
#include "vmm/sched.h"
#include "vmm/vdev.h"

#define WANTED (BLK_F_SIZE_MAX | BLK_F_SEG_MAX | BLK_F_RO | BLK_F_BLK_SIZE | BLK_F_FLUSH | BLK_F_DISCARD | BLK_F_WRITE_ZEROES | VIRTIO_F_INDIRECT_DESC)

#define CFG(field) (u32) offsetof(struct virtio_blk_config, field)

#define MAX_DISKS  16u
#define ID_NS	   2000000000ull

static struct disk *disks[MAX_DISKS];
static u32 nr_disks;

/* On the boot CPU alone: by interrupt, in a window of the run loop's or of the idle loop's; what is too much for one turn
 * comes when others have had theirs. */
static bool rest_waits;
static bool serve_rest(struct sched_work *w)
{
	(void)w;
	rest_waits = false;
	for (u32 i = 0; i < nr_disks; i++)
		rest_waits |= disk_serve(disks[i]);
	return !rest_waits;
}
static struct sched_work rest = {.fn = serve_rest};

static void interrupt(void)
{
	if (!rest_waits && !serve_rest(&rest))
		sched_do(&rest);
}

/* ---- opening ---- */

static void disk_close(struct block *blk)
{
	struct opened *o = opened_of(blk);
	struct disk *d = o->disk;

	spin_lock(&d->lock);
	for (u32 i = 0; i < MAX_SLOTS; i++)
		if (d->slots[i].by == o)
			d->slots[i].by = NULL;
	list_del(&o->node);
	d->writer &= blk->readonly;
	spin_unlock(&d->lock);
	kfree(o);
}

static const struct block_ops disk_ops = {
	.name = "host", .submit = disk_submit, .commit = disk_commit, .close = disk_close,
};

static struct disk *find(const char *name)
{
	char number[16];

	for (u32 i = 0; i < nr_disks; i++) {
		snprintf(number, sizeof(number), "vbd%u", i);
		if (!strcmp(name, number) || (disks[i]->id[0] && !strcmp(name, disks[i]->id)))
			return disks[i];
	}
	return NULL;
}

/* NULL, or why not. The lock is held. */
static const char *may_open(const struct disk *d, bool readonly)
{
	if (d->q.dead)
		return "the device has failed";
	if (d->writer)
		return "another VM writes to it";
	if (readonly)
		return NULL;
	if (hvirtio_has(&d->v, BLK_F_RO))
		return "the machine gives it read-only; write ro as its access, or cow: before its name";
	return list_empty(&d->opens) ? NULL : "another VM reads it; write ro as its access, or cow: before its name, in all of them";
}

static struct block *disk_open(const char *target, const struct vm_disk *cfg, struct vm *vm, char *why, size_t n)
{
	struct disk *d = find(target);
	struct opened *o;
	const char *wrong;

	if (!d) {
		snprintf(why, n, "host:%s: the machine has %u virtio disks, and none has that serial number; the log names them",
			 target, nr_disks);
		return NULL;
	}
	o = kzalloc(sizeof(*o), FRAME_DEVICE, vm_id(vm));
	if (!o) {
		snprintf(why, n, "host:%s: out of memory of our own", target);
		return NULL;
	}
	o->disk = d;
	o->block = (struct block){.ops = &disk_ops, .vm = vm, .size = d->size, .sector = d->sector,
				  .req_size = sizeof(struct block_req), .readonly = cfg->readonly};
	spin_lock(&d->lock);
	wrong = may_open(d, cfg->readonly);
	if (!wrong) {
		d->writer = !cfg->readonly;
		list_insert(&d->opens, &o->node);
	}
	spin_unlock(&d->lock);
	if (!wrong)
		return &o->block;
	snprintf(why, n, "host:%s: %s", target, wrong);
	kfree(o);
	return NULL;
}

static const struct block_kind host_kind = {.prefix = "host:", .open = disk_open};
BLOCK_REGISTER(host_kind);

/* ---- at boot ---- */

/* Its serial number, by a request that is waited for: nothing else runs yet. It may have none. */
static void ask_id(struct disk *d)
{
	struct hvq_seg seg[3];
	struct slot *s;
	u64 end = rdtsc() + ns_to_tsc(ID_NS);
	u16 n, got;
	u32 len;

	s = slot_take(d, &n);
	s->status = 0xff;
	s->header = (struct virtio_blk_header){.type = BLK_GET_ID};
	/* The answer goes where the table would be. */
	seg[0] = (struct hvq_seg){.addr = frame_pa(&s->header), .len = sizeof(s->header)};
	seg[1] = (struct hvq_seg){.addr = frame_pa(s->table), .len = BLK_ID_SIZE};
	seg[2] = (struct hvq_seg){.addr = frame_pa(&s->status), .len = 1};
	if (hvq_add(&d->q, seg, 3, 1, n))
		return;
	if (hvq_publish(&d->q))
		hvq_kick(&d->q);
	while (!hvq_get(&d->q, &got, &len)) {
		if (d->q.dead || rdtsc() > end) { /* the slot stays its */
			log_warn("disk vbd%u does not answer", d->number);
			d->q.dead = true;
			hvirtio_stop(&d->v);
			return;
		}
		cpu_relax();
	}
	if (s->status == BLK_OK)
		memcpy(d->id, s->table, BLK_ID_SIZE);
	for (u32 i = 0; i < BLK_ID_SIZE && d->id[i]; i++)
		if (d->id[i] <= ' ' || d->id[i] > '~')
			d->id[i] = d->id[i] == ' ' ? '_' : '?';
	slot_give(d, s);
	hvq_more(&d->q);
}

/* NULL, or what is wrong with what it says of itself. */
static const char *measure(struct disk *d)
{
	u64 sectors = hvirtio_config(&d->v, CFG(capacity), 8);

	d->sector = hvirtio_has(&d->v, BLK_F_BLK_SIZE) ? (u32)hvirtio_config(&d->v, CFG(blk_size), 4) : BLOCK_SECTOR;
	d->size_max = hvirtio_has(&d->v, BLK_F_SIZE_MAX) ? (u32)hvirtio_config(&d->v, CFG(size_max), 4) : 0;
	d->seg_max = hvirtio_has(&d->v, BLK_F_SEG_MAX) ? (u32)hvirtio_config(&d->v, CFG(seg_max), 4) : 0;
	d->max_discard = hvirtio_has(&d->v, BLK_F_DISCARD) ? (u32)hvirtio_config(&d->v, CFG(max_discard_sectors), 4) : 0;
	d->max_zeroes = hvirtio_has(&d->v, BLK_F_WRITE_ZEROES) ? (u32)hvirtio_config(&d->v, CFG(max_zeroes_sectors), 4) : 0;
	if (d->sector != 512 && d->sector != 4096)
		return "its sectors are neither of 512 nor of 4096 bytes";
	if (sectors > (1ull << 54) || sectors * BLOCK_SECTOR < d->sector)
		return "it has no size";
	/* Without the features no bound is told; 0 is none, either. */
	if (!d->size_max)
		d->size_max = MAX_BYTES;
	if (!d->seg_max)
		d->seg_max = 1;
	d->seg_max = MIN(d->seg_max, MIN(MAX_SEGS, d->q.size - 2u));
	if (d->size_max < PAGE_SIZE)
		return "it takes less than 4 KiB in one piece";
	if (d->max_discard < d->sector / BLOCK_SECTOR)
		d->max_discard = 0;
	if (d->max_zeroes < d->sector / BLOCK_SECTOR)
		d->max_zeroes = 0;
	d->size = ALIGN_DOWN(sectors * BLOCK_SECTOR, (u64)d->sector);
	return NULL;
}

static const char *start(struct disk *d, const struct pci_dev *pci)
{
	const char *why = hvirtio_start(&d->v, pci, WANTED);

	if (!why)
		why = hvirtio_queue(&d->v, &d->q, 0, HVQ_MAX_SIZE, VEC_DISK);
	if (!why && d->q.size < 4)
		why = "its queue is too short";
	if (!why)
		why = measure(d);
	if (why)
		return why;
	d->slots = kzalloc(MAX_SLOTS * sizeof(struct slot), FRAME_DEVICE, OWNER_HOST);
	if (!d->slots)
		return "there is no memory for its requests";
	d->lock = (struct spinlock)SPINLOCK(LOCK_DISK);
	list_init(&d->opens);
	d->free = NO_SLOT;
	for (u32 i = MAX_SLOTS; i--;)
		slot_give(d, &d->slots[i]);
	hvirtio_ready(&d->v);
	ask_id(d);
	return d->q.dead ? "it does not answer" : NULL;
}

static void init(void)
{
	const struct pci_dev *pci;

	for (u32 i = 0; nr_disks < MAX_DISKS && (pci = hvirtio_find(VIRTIO_ID_BLK, i)); i++) {
		struct disk *d = kzalloc(sizeof(*d), FRAME_DEVICE, OWNER_HOST);
		const char *why;

		if (!d)
			return;
		if (!nr_disks)
			irq_set_handler(VEC_DISK, interrupt);
		d->number = nr_disks;
		why = start(d, pci);
		if (why) { /* its memory is left to it: it is not known to have let go */
			log_warn("virtio disk at %04x:%02x:%02x.%u: not used: %s", pci->segment, pci->bus, pci->devfn >> 3,
				 pci->devfn & 7, why);
			if (d->v.common)
				hvirtio_stop(&d->v);
			continue;
		}
		disks[nr_disks++] = d;
		log_info("disk host:vbd%u: %lu MiB, serial \"%s\"%s", d->number, (unsigned long)(d->size >> 20), d->id,
			 hvirtio_has(&d->v, BLK_F_RO) ? ", read-only" : "");
	}
}
HOST_DRIVER(init);
