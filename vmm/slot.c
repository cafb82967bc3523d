/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots, the memory objects behind them, and the nested tables that show them to the guest. RAM is
 * backed with large pages when the VM is created; its content is zeroed by the boot steps (boot.c)
 * before the guest can see it.
 *
 * A leaf has the memory type that the host's MTRRs give the memory behind it, write-back as a rule,
 * and leaves the guest's PAT in force: a page that the guest maps uncached or write-combining is.
 * The guest's MTRRs and its CR0.CD are kept and shown to it but change nothing: every device of a
 * guest snoops the caches, so there is nothing that a cached page could hide from it or from the
 * guest. Devices' registers are not mapped at all: each access exits.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/mtrr.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/vm.h"

#define GIB_BLOCKS  (PAGE_1G / PAGE_2M)
#define BLOCKS_STEP 64 /* of a teardown: some 200 instructions each */

static hpa_t nested_alloc(void *ctx)
{
	struct vm *vm = ctx;

	if (vm->in_exit)
		return frame_reserve_take(FRAME_NESTED_PT, vm->id);
	return frame_alloc(0, FRAME_NESTED_PT, vm->id);
}

static void nested_free(void *ctx, hpa_t table)
{
	(void)ctx;
	frame_free(table, 0);
}

static void *nested_access(void *ctx, hpa_t table)
{
	(void)ctx;
	return frame_va(table);
}

/* Give a reference back; with the last one its blocks, some a call. true: done. */
static bool memobj_put(struct memobj *o)
{
	if (o->refs > 1) {
		o->refs--;
		return true;
	}
	for (u32 n = BLOCKS_STEP; n && o->nr_blocks; n--)
		if (o->blocks[--o->nr_blocks] != HPA_NONE)
			gpool_put_block(o->blocks[o->nr_blocks]);
	if (o->nr_blocks)
		return false;
	kfree(o);
	return true;
}

/*
 * From the second GiB on in runs of a GiB, which leaves of 1 GiB can show, as far as there are any. (The first
 * has the VGA hole in it.) What lies beyond `backed` bytes has no memory yet.
 */
static struct memobj *memobj_create(u64 bytes, u64 backed, u16 owner)
{
	u32 n = ALIGN_UP(bytes, PAGE_2M) / PAGE_2M, all = n;
	struct memobj *o = kzalloc(sizeof(*o) + n * sizeof(o->blocks[0]), FRAME_VM, owner);

	if (!o)
		return NULL;
	o->refs = 1;
	n = MIN(n, ALIGN_UP(backed, PAGE_2M) / PAGE_2M);
	while (o->nr_blocks < n) {
		bool run = o->nr_blocks && IS_ALIGNED(o->nr_blocks, GIB_BLOCKS) && n - o->nr_blocks >= GIB_BLOCKS;
		hpa_t b = run ? gpool_alloc_gib(owner) : HPA_NONE;

		for (u32 i = 0; b != HPA_NONE && i < GIB_BLOCKS; i++)
			o->blocks[o->nr_blocks++] = b + i * PAGE_2M;
		if (b != HPA_NONE)
			continue;
		b = gpool_alloc_block(owner);
		if (b == HPA_NONE) {
			while (!memobj_put(o))
				;
			return NULL;
		}
		o->blocks[o->nr_blocks++] = b;
	}
	while (o->nr_blocks < all)
		o->blocks[o->nr_blocks++] = HPA_NONE;
	return o;
}

/*
 * Show [from, from + size) of a slot, whose frames lie together as far as its blocks happen to. *not_wb grows
 * by what cannot be cached.
 */
static int map_slot(struct pt *pt, const struct slot *s, gpa_t from, u64 size, u64 *not_wb)
{
	u64 done = 0;
	bool flush = false;

	while (done < size) {
		u64 at = from - s->gpa + s->off + done, in = at & (PAGE_2M - 1);
		u64 n = MIN(PAGE_2M - in, size - done);
		const hpa_t *b = &s->obj->blocks[at / PAGE_2M];
		hpa_t pa = *b + in;
		u32 type;
		int r;

		if (*b == HPA_NONE) { /* the guest's first touch shows it */
			done += n;
			continue;
		}
		for (; n < size - done && b[1] == b[0] + PAGE_2M; b++)
			n = MIN(n + PAGE_2M, size - done);
		type = mtrr_type(&host_mtrr, pa, n, &n);
		r = pt_map(pt, from + done, pa, n, PT_RWX | PT_U, type, &flush);
		*not_wb += type == PT_WB ? 0 : n;
		if (r)
			return r;
		done += n;
	}
	return 0;
}

static int slot_add(struct vm *vm, gpa_t gpa, u64 size, struct memobj *o, u64 off)
{
	struct slot *s = &vm->slots[vm->nr_slots];
	u64 not_wb = 0;
	int r;

	ASSERT(vm->nr_slots < VM_MAX_SLOTS && IS_ALIGNED(gpa - off, PAGE_2M));
	*s = (struct slot){.gpa = gpa, .size = size, .obj = o, .off = off};
	o->refs++;
	vm->nr_slots++;
	r = map_slot(&vm->nested, s, gpa, size, &not_wb);
	if (!r && not_wb)
		log_warn("%s: the firmware's MTRRs do not let %lu KiB of its memory be cached",
			 vm->name, (unsigned long)(not_wb >> 10));
	return r;
}

int vm_nested_build(struct vm *vm, struct pt *pt)
{
	u64 not_wb = 0;
	int r = pt_init(pt, hv->nested_format, &vm->nested_env, 4);

	for (u32 i = 0; !r && i < vm->nr_slots; i++)
		r = map_slot(pt, &vm->slots[i], vm->slots[i].gpa, vm->slots[i].size,
			     &not_wb);
	if (r && pt->env)
		pt_destroy(pt);
	return r;
}

int vm_nested_populate(struct vm *vm, gpa_t gpa)
{
	const struct slot *s = vm_slot(vm, gpa);
	gpa_t from = MAX(ALIGN_DOWN(gpa, PAGE_2M), s->gpa);
	gpa_t to = MIN(ALIGN_DOWN(gpa, PAGE_2M) + PAGE_2M, s->gpa + s->size);
	u64 not_wb = 0;

	return map_slot(&vm->nested, s, from, to - from, &not_wb);
}

/*
 * Every vCPU flushes before it enters again (REQ_FLUSH). One that is in its run loop may be in the guest: wait
 * until it has served the request. One that is not looks at its requests first (vcpu_run()). Then no walk
 * can reach a retired table any more (SDM vol. 3, 29.4.3; APM vol. 2, 15.16). Two that wait for each other
 * serve each other's request.
 */
void vm_nested_flush(struct vcpu *self)
{
	struct vm *vm = self->vm;
	struct pt_retired old;

	spin_lock(&vm->nested_lock);
	old = pt_take_retired(&vm->nested);
	spin_unlock(&vm->nested_lock);
	hv->flush_nested(&self->hv);
	guest_code_forget(self);
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpus[i] != self)
			vcpu_request(vm->vcpus[i], REQ_FLUSH);
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *v = vm->vcpus[i];

		while (v != self && READ_ONCE(v->in_run) && READ_ONCE(v->requests) & REQ_FLUSH) {
			if (self->requests & REQ_FLUSH) {
				__atomic_fetch_and(&self->requests, ~(u32)REQ_FLUSH, __ATOMIC_SEQ_CST);
				hv->flush_nested(&self->hv);
				guest_code_forget(self);
			}
			cpu_relax();
		}
	}
	pt_free_retired(&vm->nested, old);
}

/*
 * RAM as on a PC: from 0 with the VGA hole left out, up to GUEST_LOW_RAM_MAX, the rest from 4 GiB.
 * One object; the hole's frames stay unused so that everything else maps with large leaves.
 */
static int map_ram(struct vm *vm, struct memobj *o)
{
	u64 low = MIN(vm->ram_bytes, GUEST_LOW_RAM_MAX), high = vm->ram_bytes - low;
	int r;

	vm->ram_low = low;
	vm->ram_high = high ? GIB(4) + high : 0;
	r = slot_add(vm, 0, 0xa0000, o, 0);
	if (!r)
		r = slot_add(vm, 0xc0000, low - 0xc0000, o, 0xc0000);
	if (!r && high)
		r = slot_add(vm, GIB(4), high, o, low);
	return r;
}

int vm_memory_create(struct vm *vm, char *why, size_t n)
{
	struct memobj *o;
	u64 most;
	int r;

	vm->nested_env = (struct pt_env){
		.alloc = nested_alloc, .free = nested_free, .access = nested_access, .ctx = vm,
		.leaf_1g = hv->nested_1g,
	};
	vm->ram_bytes = MIB(vm->cfg.maxmem);
	most = guest_memory_max(vm->cpuid->ext[8].eax & 0xff);
	if (vm->ram_bytes > most) {
		snprintf(why, n,
			 "%s: memory = %lu MiB, but this CPU gives a guest %u address bits; at most "
			 "%lu MiB fit",
			 vm->name, (unsigned long)vm->cfg.maxmem, vm->cpuid->ext[8].eax & 0xff,
			 (unsigned long)(most >> 20));
		return -EINVAL;
	}
	r = pt_init(&vm->nested, hv->nested_format, &vm->nested_env, 4);
	if (r) {
		snprintf(why, n, "%s: no memory of our own is left for nested page tables",
			 vm->name);
		return r;
	}
	if (vm->cfg.balloon) {
		vm->given = kzalloc(ALIGN_UP(vm->ram_bytes, PAGE_2M) / PAGE_2M * sizeof(u16), FRAME_VM, vm->id);
		if (!vm->given) {
			snprintf(why, n, "%s: no memory of our own is left for its balloon", vm->name);
			return -ENOMEM;
		}
	}
	o = memobj_create(vm->ram_bytes, MIB(vm->cfg.memory), vm->id);
	if (!o) {
		struct frame_stats st;

		frame_get_stats(&st);
		snprintf(why, n,
			 "%s: memory = %lu MiB, but the host has %lu MiB left for guests; "
			 "lower it or end another VM",
			 vm->name, (unsigned long)vm->cfg.memory,
			 (unsigned long)(st.guest_free >> 20));
		return -ENOMEM;
	}
	r = map_ram(vm, o);
	memobj_put(o); /* the slots hold it now */
	if (r)
		snprintf(why, n, "%s: no memory of our own is left for nested page tables",
			 vm->name);
	return r;
}

bool vm_memory_destroy(struct vm *vm)
{
	if (vm->nested.env && !pt_destroy_step(&vm->nested))
		return false;
	if (vm->nr_slots && memobj_put(vm->slots[vm->nr_slots - 1].obj))
		vm->nr_slots--;
	if (vm->nr_slots)
		return false;
	while (vm->release.nr)
		gpool_put_block(vm->release.block[--vm->release.nr]);
	if (vm->given)
		kfree(vm->given);
	vm->given = NULL;
	return true;
}
