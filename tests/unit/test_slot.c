/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/slot.c vmm/backing.c vmm/loader.c arch/x86_64/pt.c arch/x86_64/pt_format.c arch/x86_64/mtrr.c */
/* A VM's memory of many sizes: what its E820 calls RAM is mapped, once, with the right type, and
 * nothing else is but the ROM area; and all of it comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/frame.h"
#include "arch/x86_64/mtrr.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/loader_parts.h"
#include "vmm/vm.h"

static struct hv_ops ops;
const struct hv_ops *hv = &ops;
static u64 live, blocks, blocks_left, stride;
static unsigned warnings;

bool rdmsr_safe(u32 msr, u64 *v);
bool rdmsr_safe(u32 msr, u64 *v)
{
	(void)msr;
	(void)v;
	return false;
}
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	(void)type;
	(void)owner;
	assert_true(size <= KZALLOC_MAX);
	live++;
	return calloc(1, size);
}
void vcpu_request(struct vcpu *v, u32 req)
{
	assert_non_null(v);
	assert_true(req == REQ_FLUSH || req == (REQ_RELEASE | REQ_REFILL));
	v->requests |= req;
}
void kfree(void *p)
{
	live--;
	free(p);
}
hpa_t frame_alloc(unsigned order, enum frame_type type, u16 owner)
{
	void *p = aligned_alloc(PAGE_SIZE, PAGE_SIZE);

	(void)type;
	(void)owner;
	assert_int_equal(order, 0);
	assert_non_null(p);
	memset(p, 0, PAGE_SIZE);
	live++;
	return (hpa_t)p;
}
hpa_t frame_reserve_take(enum frame_type type, u16 owner)
{
	return frame_alloc(0, type, owner);
}
void frame_free(hpa_t pa, unsigned order)
{
	(void)order;
	live--;
	free((void *)pa);
}
void *frame_va(hpa_t pa)
{
	return (void *)pa;
}
void frame_get_stats(struct frame_stats *s)
{
	memset(s, 0, sizeof(*s));
}
/* Blocks of no memory at all: every second one, so that no two are neighbours. */
hpa_t gpool_alloc_block(u16 owner)
{
	(void)owner;
	if (!blocks_left)
		return HPA_NONE;
	blocks_left--;
	live++;
	return GIB(1) + PAGE_2M + stride * PAGE_2M * blocks++;
}
static u64 gibs_left;
hpa_t gpool_alloc_gib(u16 owner)
{
	(void)owner;
	if (!gibs_left)
		return HPA_NONE;
	live += 512;
	return GIB(4096) + GIB(gibs_left--);
}
void gpool_put_block(hpa_t block)
{
	(void)block;
	live--;
}
void log_line(enum log_level level, const char *fmt, ...)
{
	(void)fmt;
	warnings += level == LOG_WARN;
}
void panic(const char *fmt, ...)
{
	(void)fmt;
	abort();
}
int load_elf_open(struct load_ctx *c, struct load_elf *e) { (void)c; (void)e; return -1; }
int load_linux(struct load_ctx *c) { (void)c; return -1; }
int load_multiboot1(struct load_ctx *c) { (void)c; return -1; }
int load_pvh(struct load_ctx *c) { (void)c; return -1; }

static hpa_t zeroed;
bool gpool_zero_block(hpa_t block, u64 *pos)
{
	*pos += PAGE_2M / 16;
	if (*pos == PAGE_2M)
		zeroed = block;
	return *pos == PAGE_2M;
}
static unsigned parked;
void vcpu_park(struct vcpu *v, u64 ns)
{
	(void)v;
	assert_true(ns > 0);
	parked++;
}
struct vcpu *vcpu_current(void) { return NULL; }
static unsigned forgot;
void guest_code_forget(struct vcpu *v)
{
	(void)v;
	forgot++;
}

static struct cpuid_table cpuids;
static char why[256];

/* A step of a teardown gives back no more than this. */
static void destroy(struct vm *vm)
{
	bool done = false;

	while (!done) {
		u64 was = live;

		done = vm_memory_destroy(vm);
		assert_true(was - live <= 65);
	}
}

static int create(struct vm *vm, u64 mib, unsigned bits)
{
	memset(vm, 0, sizeof(*vm));
	strcpy(vm->name, "v");
	vm->cpuid = &cpuids;
	cpuids.ext[8].eax = 0x3000 | bits;
	vm->cfg.memory = vm->cfg.maxmem = mib;
	blocks = 0;
	blocks_left = ~0ull;
	warnings = 0;
	why[0] = 0;
	return vm_memory_create(vm, why, sizeof(why));
}

struct seen {
	u64 next, ram, not_wb;
	const struct vm *vm;
	struct e820_entry e[LOAD_MAX_E820];
	unsigned n;
};

/* Each leaf continues in RAM of the E820 or the ROM area, where the slots say it is backed. */
static bool leaf(void *arg, const struct pt_leaf *l)
{
	struct seen *s = arg;
	const struct slot *sl = s->vm->slots;
	u64 off;

	assert_true(l->va >= s->next);
	s->next = l->va + l->size;
	assert_int_equal(l->prot & PT_RWX, PT_RWX);
	assert_false(l->prot & PT_IGNORE_PAT);
	while (l->va - sl->gpa >= sl->size)
		assert_true(++sl < s->vm->slots + s->vm->nr_slots);
	assert_true(l->va + l->size <= sl->gpa + sl->size);
	off = l->va - sl->gpa + sl->off;
	assert_int_equal(l->pa, sl->obj->blocks[off / PAGE_2M] + off % PAGE_2M);
	assert_true(off % PAGE_2M + l->size <= PAGE_2M || off % l->size == 0);
	for (u64 o = 0; o < l->size; o += PAGE_2M)
		assert_int_equal(sl->obj->blocks[(off + o) / PAGE_2M] + off % PAGE_2M, l->pa + o);
	s->not_wb += l->memtype == PT_WB ? 0 : l->size;
	for (u64 a = l->va, end = l->va + l->size; a < end;) {
		unsigned i = 0;

		while (i < s->n && a - s->e[i].base >= s->e[i].size)
			i++;
		if (i == s->n) { /* 0xc0000..0xdffff is in no entry */
			assert_true(a >= 0xc0000 && a < 0xe0000);
			a += PAGE_SIZE;
			continue;
		}
		if (s->e[i].type != E820_RAM) {
			assert_true((a >= 0xe0000 && a < MIB(1)) || (a >= LOW_RAM_END && a < 0xa0000));
			a += PAGE_SIZE;
			continue;
		}
		off = MIN(end, s->e[i].base + s->e[i].size) - a;
		s->ram += off;
		a += off;
	}
	return true;
}

static void one(u64 mib)
{
	static struct vm vm;
	struct seen s = {.vm = &vm};
	u64 ram = 0, before = live, runs = gibs_left, n;

	assert_int_equal(create(&vm, mib, 48), 0);
	assert_int_equal(vm.ram_bytes, MIB(mib));
	s.n = guest_e820(vm.ram_bytes, s.e, LOAD_MAX_E820);
	for (unsigned i = 0; i < s.n; i++) {
		assert_true(s.e[i].size && (!i || s.e[i - 1].base + s.e[i - 1].size <= s.e[i].base));
		ram += s.e[i].type == E820_RAM ? s.e[i].size : 0;
	}
	/* All but the page-aligned holes below 1 MiB. */
	assert_int_equal(ram, MIB(mib) - MIB(1) + LOW_RAM_END);
	assert_int_equal(vm.ram_low, MIN(MIB(mib), GIB(3)));
	/* Every whole GiB but the first, when there are runs for them. */
	n = mib / 1024 - (mib >= 1024);
	assert_int_equal(vm.nested.nr_leaves[2], ops.nested_1g ? MIN(n, runs) : 0);
	assert_int_equal(vm.ram_high, mib > 3072 ? MIB(mib) + GIB(1) : 0);
	pt_walk(&vm.nested, leaf, &s);
	assert_int_equal(s.ram, ram);
	assert_int_equal(s.not_wb, 0);
	destroy(&vm);
	assert_int_equal(live, before);
}

static void test_sizes(void **state)
{
	static const u32 sizes[] = {16, 17, 31, 63, 64, 65, 255, 257, 1023, 2047, 3071, 3072, 3073,
				    3074, 4095, 4096, 4097, 5119, 5120, 65537, 1048576};

	(void)state;
	for (unsigned way = 0; way < 8; way++) {
		stride = 2 - way % 2; /* with 1, single blocks may make up a GiB, too, but not aligned */
		ops.nested_1g = way & 4;
		for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
			gibs_left = way & 2 ? 3 + i % 2 * 1000 : 0;
			one(sizes[i]);
		}
	}
	gibs_left = 0;
}

/* The guest's physical address bits bound its memory: RAM starts again at 4 GiB. */
static void test_bits(void **state)
{
	static struct vm vm;

	(void)state;
	stride = 1;
	assert_int_equal(create(&vm, 65536 - 1024, 36), 0);
	destroy(&vm);
	assert_int_equal(create(&vm, 65536 - 1023, 36), -EINVAL);
	assert_non_null(strstr(why, "36 address bits; at most 64512 MiB"));
	assert_int_equal(create(&vm, 3072, 32), 0);
	destroy(&vm);
	assert_int_equal(create(&vm, 3073, 32), -EINVAL);
	assert_int_equal(live, 0);
}

static void test_none_left(void **state)
{
	static struct vm vm;

	(void)state;
	memset(&vm, 0, sizeof(vm));
	vm.cpuid = &cpuids;
	cpuids.ext[8].eax = 0x3030;
	vm.cfg.memory = vm.cfg.maxmem = 64;
	blocks_left = 31;
	assert_int_equal(vm_memory_create(&vm, why, sizeof(why)), -ENOMEM);
	destroy(&vm);
	assert_int_equal(live, 0);
}

/* Memory that the firmware's MTRRs leave uncached: the leaf says so, and the log. */
static void test_types(void **state)
{
	static struct vm vm;
	struct seen s = {.vm = &vm};

	(void)state;
	stride = 1;
	/* Of the first block, at 1 GiB + 2 MiB, the second MiB write-through, and one page of the next. */
	host_mtrr = (struct mtrr){.present = true, .def = BIT(11) | PT_WB, .nr_var = 2};
	host_mtrr.var[0].base = GIB(1) + MIB(3) + PT_WT;
	host_mtrr.var[0].mask = 0xfffff00000 | BIT(11);
	host_mtrr.var[1].base = GIB(1) + MIB(4) + 0x5000 + PT_UC;
	host_mtrr.var[1].mask = 0xfffffff000 | BIT(11);
	for (unsigned i = 0; i < 2; i++) {
		ops.nested_format = i ? &pt_npt_format : &pt_ept_format;
		assert_int_equal(create(&vm, 64, 48), 0);
		assert_int_equal(warnings, 1);
		s.next = s.not_wb = 0;
		s.n = guest_e820(vm.ram_bytes, s.e, LOAD_MAX_E820);
		pt_walk(&vm.nested, leaf, &s);
		assert_int_equal(s.not_wb, MIB(1) + PAGE_SIZE);
		destroy(&vm);
	}
	host_mtrr.present = false;
	assert_int_equal(live, 0);
}

/* --- the balloon's side: backing.c --- */

static u32 told;
static void released(struct vdev *d, u32 ticket)
{
	(void)d;
	told = ticket;
}
static const struct balloon_ops balloon_ops = {.released = released};
static void flush_nested(struct hv_vcpu *h) { (void)h; }

static struct vm *sparse(u64 memory, u64 maxmem)
{
	static struct vm vm;
	static struct vcpu vcpu;

	memset(&vm, 0, sizeof(vm));
	vcpu = (struct vcpu){.vm = &vm};
	ops.flush_nested = flush_nested;
	vm.cpuid = &cpuids;
	cpuids.ext[8].eax = 0x3030;
	vm.cfg.memory = memory;
	vm.cfg.maxmem = maxmem;
	vm.cfg.balloon = true;
	vm.balloon.ops = &balloon_ops;
	vm.vcpus[0] = &vcpu;
	vm.nr_vcpus = 1;
	blocks = 0;
	stride = 1;
	blocks_left = ~0ull;
	assert_int_equal(vm_memory_create(&vm, why, sizeof(why)), 0);
	return &vm;
}

static bool shown(struct vm *vm, gpa_t gpa)
{
	struct pt_leaf l;

	return !pt_query(&vm->nested, gpa, &l);
}

static void test_pages(void **state)
{
	struct vm *vm = sparse(32, 65);
	struct vcpu *v = vm->vcpus[0];

	(void)state;
	assert_int_equal(blocks, 16);
	assert_true(vm_backed(vm, MIB(31)) && !vm_backed(vm, MIB(32)) && !shown(vm, MIB(32)) && vm_backed(vm, MIB(65)));
	/* 511 pages go and the block stays; one that comes back counts; the last takes the block with it. */
	for (u64 i = 0; i < 511; i++)
		assert_int_equal(vm_release_page(vm, MIB(4) + i * PAGE_SIZE), 0);
	assert_int_equal(vm_claim_page(vm, MIB(4)), 0);
	assert_int_equal(vm_release_page(vm, MIB(6) - PAGE_SIZE), 0);
	assert_true(shown(vm, MIB(4)) && vm_backed(vm, MIB(4)));
	assert_int_equal(vm_release_page(vm, MIB(4)), 0);
	assert_false(shown(vm, MIB(4)) || vm_backed(vm, MIB(4)));
	assert_true(shown(vm, MIB(6)) && shown(vm, MIB(4) - PAGE_SIZE));
	/* It is nobody's else before the flush. */
	u64 before = live;
	assert_true(vm_release_waits(vm));
	u32 ticket = vm_release_flush(vm);
	assert_int_equal(v->requests, REQ_RELEASE | REQ_REFILL);
	forgot = 0;
	vcpu_release(v);
	assert_int_equal(told, ticket);
	assert_int_equal(forgot, 1);
	assert_true(live < before && !vm_release_waits(vm));
	/* A fault gives a zeroed one, by sixteen steps. */
	for (unsigned i = 0; i < 15; i++)
		vcpu_back(v, MIB(5));
	assert_false(vm_backed(vm, MIB(5)));
	zeroed = 0;
	vcpu_back(v, MIB(5));
	assert_true(vm_backed(vm, MIB(5)) && zeroed == vm_slot(vm, MIB(5))->obj->blocks[2]);
	/* What is ended before another begins. */
	vcpu_back(v, MIB(40));
	for (unsigned i = 0; i < 15; i++)
		vcpu_back(v, MIB(50));
	assert_true(vm_backed(vm, MIB(40)) && !vm_backed(vm, MIB(50)));
	/* None left: it waits. */
	blocks_left = 0;
	vcpu_back(v, MIB(50));
	assert_int_equal(parked, 1);
	assert_int_equal(gmem_prepare(vm, MIB(50), 1), -ENOMEM);
	blocks_left = 2;
	assert_int_equal(gmem_prepare(vm, MIB(50), MIB(4)), -EAGAIN);
	assert_int_equal(gmem_prepare(vm, MIB(50), MIB(4)), -EAGAIN);
	assert_int_equal(gmem_prepare(vm, MIB(50), MIB(4)), 0);
	vcpu_back_drop(v);
	/* The first block stays, and nothing that is not RAM goes; a page given twice counts once too often at most. */
	assert_int_equal(vm_release_block(vm, MIB(1)), 0);
	assert_true(vm_backed(vm, MIB(1)));
	assert_int_equal(vm_release_block(vm, MIB(66)), -EFAULT);
	assert_int_equal(vm_release_page(vm, MIB(66)), -EFAULT);
	assert_int_equal(vm_claim_page(vm, GIB(5)), -EFAULT);
	for (unsigned i = 0; i < 2000; i++)
		assert_int_equal(vm_release_page(vm, MIB(8)), 0);
	assert_int_equal(vm->given[4], 512);
	vm_release_forget(vm);
	assert_int_equal(vm->given[4], 0);
	/* The last one has 256 pages. */
	blocks_left = 1;
	vm_back_block(vm, &vm->slots[1].obj->blocks[32]);
	for (u64 i = 0; i < 256; i++) {
		assert_true(vm_backed(vm, MIB(64)));
		assert_int_equal(vm_release_page(vm, MIB(64) + i * PAGE_SIZE), 0);
	}
	assert_false(vm_backed(vm, MIB(64)));
	destroy(vm);
	assert_int_equal(live, 0);
}

/* The list of those that wait for a flush is full. */
static void test_full(void **state)
{
	struct vm *vm = sparse(128, 128);
	u64 n = 1;

	(void)state;
	while (!vm_release_block(vm, n * PAGE_2M))
		n++;
	assert_int_equal(n, 33);
	assert_true(vm_backed(vm, n * PAGE_2M));
	vcpu_release(vm->vcpus[0]);
	assert_int_equal(vm_release_block(vm, n * PAGE_2M), 0);
	destroy(vm);
	assert_int_equal(live, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes), cmocka_unit_test(test_bits),
		cmocka_unit_test(test_none_left), cmocka_unit_test(test_types), cmocka_unit_test(test_pages), cmocka_unit_test(test_full),
	};

	ops.nested_format = &pt_ept_format;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
