/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Torture mode (`torture = SEED` in a VM file): at random exits of its vCPUs the VM is stopped, saved to
 * bytes, thrown away and rebuilt from them; subtrees of its nested tables are write-protected or dropped, large
 * leaves split and merged, while its other vCPUs run; the vCPU changes pCPU. The guest must not notice. All
 * randomness comes from the seed and all timing from the number of exits, so a failure on a
 * deterministic machine comes again.
 *
 * A step is long (it maps the guest's whole memory anew): a test mode, not something to run beside
 * other people's VMs.
 */
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/percpu.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/platform/pci.h"
#include "vmm/sched.h"
#include "vmm/state.h"

#define DENSE_STEPS  64   /* the first steps come closer together */
#define DENSE_MEAN   50   /* exits between two steps, on average */
#define SPARSE_MEAN  1000
#define SPLITS_KEPT  8
#define POISON	     0xa5

/* All of a VM that a rebuild replaces. The new parts are there before the old ones go. */
struct parts {
	struct hv_vcpu hv[VM_MAX_VCPUS];
	struct pt nested;
	void *dev[VM_MAX_DEVS];
	void *saved; /* the saved VM */
	size_t size;
};

/* Guarded by nested_lock, but for what a rebuild needs. */
struct torture {
	u64 seed, random;
	u32 steps, rebuilds, protects, drops, splits, merges, moves, skipped;
	u32 splits_1g, merges_1g; /* of those */
	struct {
		gpa_t gpa; /* HPA_NONE: none */
		u64 size;
	} split[SPLITS_KEPT]; /* large leaves that were split, to be merged again */
	struct parts parts;
};

/* splitmix64 */
static u64 next(struct torture *t)
{
	u64 z = t->random += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static u64 below(struct torture *t, u64 n)
{
	return (next(t) >> 11) % n;
}

static u32 interval(struct torture *t)
{
	return 1 + (u32)below(t, 2 * (t->steps < DENSE_STEPS ? DENSE_MEAN : SPARSE_MEAN));
}

int torture_create(struct vm *vm)
{
	struct torture *t;

	if (!vm->cfg.torture)
		return 0;
	t = kzalloc(sizeof(*t), FRAME_VM, vm->id);
	if (!t)
		return -ENOMEM;
	t->seed = t->random = vm->cfg.torture;
	for (unsigned i = 0; i < SPLITS_KEPT; i++)
		t->split[i].gpa = HPA_NONE;
	vm->torture = t;
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		vm->vcpus[i]->watching.torture_in = interval(t);
	watch_vm(vm, WATCH_TORTURE, true);
	return 0;
}

void torture_destroy(struct vm *vm)
{
	watch_vm(vm, WATCH_TORTURE, false);
	if (vm->torture)
		kfree(vm->torture);
	vm->torture = NULL;
}

void torture_report(const struct vm *vm)
{
	const struct torture *t = vm->torture;

	log_info("%s: torture: %u rebuilds, %u protects, %u moves, %u drops, %u splits, %u merges "
		 "(%u and %u of 1 GiB), %u skipped; seed %lu",
		 vm->name, t->rebuilds, t->protects, t->moves, t->drops, t->splits, t->merges,
		 t->splits_1g, t->merges_1g, t->skipped, (unsigned long)t->seed);
}

void torture_tune(struct vm *vm)
{
	if (vm->torture && vm->torture->seed == vm->cfg.torture)
		return;
	if (vm->torture)
		torture_report(vm);
	torture_destroy(vm);
	if (!torture_create(vm))
		return;
	vm->cfg.torture = 0;
	log_err("%s: no memory of our own is left for torture mode", vm->name);
}

/* --- creating --- */

/* Make the VM with the nth allocation failing, of our pool or the guests'. false: it takes fewer than n. */
static bool fail_nth(const struct vm_config *cfg, bool alone, u32 n, bool (*fail_at)(u32 n))
{
	struct frame_stats before, after;
	char why[256] = "";
	struct vm *vm;
	bool failed;

	frame_get_stats(&before);
	fail_at(n);
	vm = vm_build(cfg, why, sizeof(why));
	failed = fail_at(0);
	if (vm)
		vm_unbuild(vm);
	else if (strncmp(why, cfg->name, strlen(cfg->name)))
		panic("%s: not built, and no word why: %s", cfg->name, why);
	if (alone && vm && failed)
		panic("%s: built, though its allocation %u failed", cfg->name, n);
	frame_get_stats(&after);
	if (alone && memcmp(&before, &after, sizeof(after)))
		panic("%s: its allocation %u failed and left something behind", cfg->name, n);
	return failed;
}

/* The guests' blocks are all taken in one place: some will do. */
void torture_creation(const struct vm_config *cfg, bool alone)
{
	u32 n = 1, blocks = 0;

	while (fail_nth(cfg, alone, n, frame_fail_at))
		n++;
	for (u32 k = 1; fail_nth(cfg, alone, k, gpool_fail_at); k *= 2)
		blocks++;
	log_info("%s: torture: %u failed allocations left nothing behind", cfg->name, n - 1 + blocks);
}

/* --- rebuilding --- */

static void parts_free(struct vm *vm, struct parts *p)
{
	for (u32 i = 0; i < vm->nr_devs; i++) {
		if (!p->dev[i])
			continue;
		if (vm->devs[i].type) /* else it went while we gave up */
			memset(p->dev[i], POISON, vdev_state_size(vm->devs[i].type));
		kfree(p->dev[i]);
	}
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (p->hv[i].priv)
			vcpu_hv_destroy(&p->hv[i]);
	if (p->nested.env)
		pt_destroy(&p->nested);
	if (p->saved)
		kfree(p->saved);
}

static bool parts_make(struct vm *vm, struct parts *p)
{
	memset(p, 0, sizeof(*p));
	/* A device's timer may have begun something since vm_stopped() looked. */
	if (READ_ONCE(vm->dma) || vm_nested_build(vm, &p->nested)) {
		p->nested.env = NULL;
		return false;
	}
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		p->hv[i].id = vm->id;
		p->hv[i].own_cpu = vm->cfg.dedicated;
		p->hv[i].nested_root = p->nested.root;
		if (vcpu_hv_create(&p->hv[i])) {
			p->hv[i].priv = NULL;
			return false;
		}
	}
	for (u32 i = 0; i < vm->nr_devs; i++) {
		u32 n = vm->devs[i].type ? MAX(vdev_state_size(vm->devs[i].type), 1u) : 0;

		if (!n)
			continue;
		p->dev[i] = kzalloc(n, FRAME_DEVICE, vm->id);
		if (!p->dev[i])
			return false;
		memset(p->dev[i], POISON, n);
	}
	p->size = vm_state_size(vm);
	p->saved = kzalloc(p->size, FRAME_VM, vm->id);
	return p->saved;
}

#define SWAP(a, b)                         \
	do {                               \
		__typeof__(a) was_ = (a);  \
		(a) = (b);                 \
		(b) = was_;                \
	} while (0)

static void parts_swap(struct vm *vm, struct parts *p)
{
	SWAP(vm->nested, p->nested);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		SWAP(vm->vcpus[i]->hv, p->hv[i]);
	for (u32 i = 0; i < vm->nr_devs; i++)
		SWAP(vm->devs[i].state, p->dev[i]);
}

/* What lives in struct vcpu itself: others point to it, so it stays where it is. */
static void poison_vcpu(struct vcpu *v)
{
	memset(&v->lapic, POISON, sizeof(v->lapic));
	memset(&v->msrs, POISON, sizeof(v->msrs));
	memset(&v->pv, POISON, sizeof(v->pv));
	memset(&v->reinject, POISON, sizeof(v->reinject));
	memset(&v->exception, POISON, sizeof(v->exception));
	memset(&v->exception_payload, POISON, sizeof(v->exception_payload));
	v->tsc_offset = POISON;
	v->windows = POISON;
	v->sipi_vector = POISON;
	v->nmi_pending = v->nmi_wakes = true;
	v->absent = !v->absent;
}

/* What follows must not find poison. */
static void give_up(struct vm *vm, const char *why)
{
	vm->pic_intr = false;
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		lapic_reset(&v->lapic, i, i == 0);
		v->reinject.valid = v->exception.valid = v->nmi_pending = 0;
	}
	vm_devices_reset(vm);
	vm_set_tsc_khz(vm, vm->cfg.tsc_khz ?: tsc_khz);
	vm_kill(vm, "torture: %s", why);
}

void torture_rebuild(struct vm *vm)
{
	struct torture *t = vm->torture;
	struct parts *p = &t->parts;
	char why[128];
	size_t n;

	if (vm->ending || vm->vcpus[0]->state == VCPU_OFF)
		return;
	sched_unload();
	spin_lock(&vm->dev_lock); /* devices come and go under it */
	if (!parts_make(vm, p)) {
		parts_free(vm, p);
		spin_unlock(&vm->dev_lock);
		t->skipped++;
		return;
	}
	n = vm_state_save(vm, p->saved, p->size);
	vm_devices_stop(vm);
	spin_lock(&vm->nested_lock); /* the monitor may be looking at the tables */
	parts_swap(vm, p);
	regions_drop_bars(&vm->pio);
	regions_drop_bars(vm->mmio);
	spin_unlock(&vm->nested_lock);
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		vm->vcpus[i]->hv.debug = p->hv[i].debug;
		msrs_pass(vm->vcpus[i]);
		poison_vcpu(vm->vcpus[i]);
	}
	vm->pic_intr = !vm->pic_intr;
	vm->tsc_khz = vm->tsc_ratio = POISON;
	vm->write_protected = false;
	if (vm_state_restore(vm, p->saved, n, why, sizeof(why)))
		give_up(vm, why);
	parts_free(vm, p);
	spin_unlock(&vm->dev_lock);
	t->rebuilds++;
}

/* --- memory --- */

/* An address in RAM, and how much follows it in its slot. */
static gpa_t somewhere(struct vm *vm, struct torture *t, u64 *left)
{
	const struct slot *s = &vm->slots[below(t, vm->nr_slots)];
	u64 off = ALIGN_DOWN(below(t, s->size), PAGE_SIZE);

	*left = s->size - off;
	return s->gpa + off;
}

static void protect(struct vm *vm, struct torture *t)
{
	static const u64 sizes[] = {PAGE_SIZE, PAGE_2M, 16 * PAGE_2M, GIB(1)};
	u64 left, size = sizes[below(t, ARRAY_SIZE(sizes))];
	gpa_t gpa = somewhere(vm, t, &left);
	bool flush = false;

	/* Subtrees begin where they begin: a whole one has no edges that must be split. */
	if (left > size && gpa - ALIGN_DOWN(gpa, size) <= gpa - vm_slot(vm, gpa)->gpa) {
		left += gpa - ALIGN_DOWN(gpa, size);
		gpa = ALIGN_DOWN(gpa, size);
	}
	vm->write_protected = true;
	if (pt_write_protect(&vm->nested, gpa, MIN(left, size), &flush))
		t->skipped++;
	else
		t->protects++;
}

static void drop(struct vm *vm, struct torture *t)
{
	u64 left;
	gpa_t gpa = somewhere(vm, t, &left);
	bool flush = false;

	if (pt_unmap(&vm->nested, gpa, MIN(left, PAGE_2M), &flush))
		t->skipped++;
	else
		t->drops++;
}

/* Make the leaf at gpa whole again; its parts may have gone different ways since. */
static bool merge(struct vm *vm, gpa_t gpa, u64 size)
{
	bool flush = false;

	/* What was dropped meanwhile comes back; shown anew it has all rights. */
	for (gpa_t at = gpa; at < gpa + size; at += PAGE_2M) {
		struct pt_leaf l;

		if ((pt_query(&vm->nested, at, &l) || l.size == PAGE_SIZE) && vm_nested_populate(vm, at))
			return false;
	}
	return !pt_protect(&vm->nested, gpa, size, PT_RWX | PT_U, &flush) &&
	       !pt_merge(&vm->nested, gpa, size, &flush);
}

/* Split a large leaf; the one split SPLITS_KEPT times ago is made whole. */
static void split(struct vm *vm, struct torture *t)
{
	u64 left;
	gpa_t gpa = ALIGN_DOWN(somewhere(vm, t, &left), PAGE_2M), was;
	u32 i = t->splits % SPLITS_KEPT;
	struct pt_leaf l;

	if (pt_query(&vm->nested, gpa, &l) || l.size == PAGE_SIZE)
		return;
	if (pt_split(&vm->nested, gpa, PAGE_SIZE)) {
		t->skipped++;
		return;
	}
	t->splits++;
	t->splits_1g += l.size == PAGE_1G;
	was = t->split[i].gpa;
	if (was != HPA_NONE && merge(vm, was, t->split[i].size)) {
		t->merges++;
		t->merges_1g += t->split[i].size == PAGE_1G;
	}
	t->split[i].gpa = l.va;
	t->split[i].size = l.size;
}

static void move(struct vcpu *v, struct torture *t)
{
	u32 target = (v->pcpu + 1 + (u32)below(t, nr_pcpus)) % nr_pcpus;

	if (target == v->pcpu || !sched_can_run(target))
		return;
	sched_move(v, target);
	t->moves++;
}

void torture_step(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct torture *t = vm->torture;
	u64 dice;

	spin_lock(&vm->nested_lock);
	dice = next(t);
	v->watching.torture_in = interval(t);
	t->steps++;
	vm->in_exit = true;
	if (dice & 2)
		protect(vm, t);
	if (dice & 4)
		split(vm, t);
	if ((dice & 0x18) == 0)
		drop(vm, t);
	vm->in_exit = false;
	if ((dice & 0x60) == 0)
		move(v, t);
	spin_unlock(&vm->nested_lock);
	vm_nested_flush(v);
	vcpu_request(v, REQ_REFILL);
	if (dice & 1)
		vm_stop(vm, STOP_TORTURE);
}
