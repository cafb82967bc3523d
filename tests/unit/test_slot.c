/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/slot.c vmm/loader.c arch/x86_64/pt.c arch/x86_64/pt_format.c arch/x86_64/mtrr.c */
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
	assert_int_equal(req, REQ_FLUSH);
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
	vm->cfg.memory = mib;
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
	vm.cfg.memory = 64;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizes), cmocka_unit_test(test_bits),
		cmocka_unit_test(test_none_left), cmocka_unit_test(test_types),
	};

	ops.nested_format = &pt_ept_format;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
