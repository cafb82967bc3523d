/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hypervisor's own tables: the image by section, our pool in the direct map, and for each
 * pCPU its windows and stacks. Nothing is both writable and executable, and nothing of the guests'
 * pool is mapped outside an open window; paging_check() proves both.
 *
 * Memory types: PAT entries 0 to 3 stay as at reset (WB, WT, UC-, UC), 4 becomes WC and 5 WP, so the
 * meaning of no entry in use changes when PAT_HOST is written (SDM vol. 3, 12.12.4).
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/layout.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pcpu_arch.h"
#include "arch/x86_64/pt.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/spinlock.h"

extern char __symbols_start[], __boot_stack_guard[], __boot_stack[], __boot_stack_top[];

static hpa_t table_alloc(void *ctx)
{
	(void)ctx;
	return frame_alloc(0, FRAME_PT, OWNER_HOST);
}

static void table_free(void *ctx, hpa_t table)
{
	(void)ctx;
	frame_free(table, 0);
}

static void *table_access(void *ctx, hpa_t table)
{
	(void)ctx;
	return frame_va(table);
}

struct pt_env paging_env = {.alloc = table_alloc, .free = table_free, .access = table_access};
static struct pt host;
static struct spinlock lock = SPINLOCK(LOCK_PAGING);
static bool live;

void paging_early_init(void)
{
	u64 *pml4 = (u64 *)(read_cr3() & ~(PAGE_SIZE - 1)); /* one to one still */

	pml4[DIRECT_BASE >> 39 & 511] = pml4[0];
}

hpa_t paging_root(void)
{
	return host.root;
}

bool paging_live(void)
{
	return live;
}

/* New mappings only, in places that were never mapped: nothing to flush. */
int paging_map_kernel(u64 va, hpa_t pa, u64 size, u32 prot, u32 memtype)
{
	bool flush = false;
	u64 flags = spin_lock_irq(&lock);
	int err = pt_map(&host, va, pa, size, prot | PT_G, memtype, &flush);

	spin_unlock_irq(&lock, flags);
	return err;
}

u64 *paging_entry(u64 va, unsigned level)
{
	u64 *t = frame_va(host.root);

	for (unsigned l = 4;; l--) {
		u64 *e = &t[va >> (PAGE_SHIFT + 9 * (l - 1)) & 511];

		if (l == level)
			return e;
		if (!(*e & BIT(0)) || (*e & BIT(7)))
			return NULL;
		t = frame_va(*e & 0x000ffffffffff000);
	}
}

static void map_or_panic(u64 va, hpa_t pa, u64 size, u32 prot)
{
	if (size && paging_map_kernel(va, pa, size, prot, PT_WB))
		panic("no memory for the hypervisor's page tables");
}

static void map_section(const char *from, const char *to, u32 prot)
{
	map_or_panic((u64)from, frame_pa(from), (u64)to - (u64)from, prot);
}

static void map_pool_range(void *arg, hpa_t base, u64 size)
{
	(void)arg;
	map_or_panic(DIRECT_BASE + base, base, size, PT_RW);
}

void paging_init(const struct boot_info *bi)
{
	ASSERT(bi->image_phys == frame_pa(__image_start));
	paging_env.leaf_1g = cpuid(0x80000001, 0).edx & BIT(26);
	if (pt_init(&host, &pt_host_format, &paging_env, 4))
		panic("no memory for the hypervisor's page tables");
	map_section(__text_start, __text_end, PT_RX);
	map_section(__rodata_start, __rodata_end, PT_R);
	/* .boot_bss ends the data: the tables we are leaving, the boot stack and its guard page. */
	map_section(__data_start, __boot_stack_guard, PT_RW);
	map_section(__boot_stack, __boot_stack_top, PT_RW);
	map_section(__symbols_start, __image_end, PT_R);
	frame_for_each_range(map_pool_range, NULL);
	if (paging_cpu_map(this_cpu()))
		panic("no memory for the boot CPU's stacks");
	paging_cpu_enable();
	live = true;
}

static int map_stack(u64 top, u64 size)
{
	for (u64 va = top - size; va < top; va += PAGE_SIZE) {
		hpa_t pa = frame_alloc(0, FRAME_PCPU, OWNER_HOST);

		if (pa == HPA_NONE || paging_map_kernel(va, pa, PAGE_SIZE, PT_RW, PT_WB))
			return -ENOMEM;
	}
	return 0;
}

/* The stacks of a pCPU, from the bottom: guard, kernel stack, then guard and stack for each IST slot. */
static u64 stack_top(u32 cpu, unsigned ist)
{
	u64 base = STACK_BASE + (u64)cpu * STACK_STRIDE + PAGE_SIZE + KSTACK_SIZE;

	return base + ist * (PAGE_SIZE + IST_STACK_SIZE);
}
static_assert(PAGE_SIZE + KSTACK_SIZE + (IST_END - 1) * (PAGE_SIZE + IST_STACK_SIZE) + PAGE_SIZE <=
	      STACK_STRIDE, "stacks of a pCPU");

static int map_windows(struct pcpu *p)
{
	struct pcpu_arch *a = p->arch;
	u64 base = WINDOW_BASE + (u64)p->index * WINDOW_STRIDE;

	/* Any frame will do to make the walker build the tables; then the slots are empty again. */
	if (paging_map_kernel(base, frame_pa(a) & ~(PAGE_SIZE - 1), PAGE_SIZE, PT_R, PT_WB))
		return -ENOMEM;
	a->window_base = (char *)base;
	a->window_pte = paging_entry(base, 1);
	a->block_pde = paging_entry(base + PAGE_2M, 2);
	*a->window_pte = 0;
	return 0;
}

int paging_cpu_map(struct pcpu *p)
{
	if (map_windows(p) || map_stack(stack_top(p->index, 0), KSTACK_SIZE))
		return -ENOMEM;
	p->kstack_top = (void *)stack_top(p->index, 0);
	for (unsigned i = IST_NMI; i < IST_END; i++)
		if (map_stack(stack_top(p->index, i), IST_STACK_SIZE))
			return -ENOMEM;
	return 0;
}

bool paging_on_stack(u64 va)
{
	u64 off = (va - STACK_BASE) % STACK_STRIDE, cpu = (va - STACK_BASE) / STACK_STRIDE;

	if (va >= (u64)__boot_stack && va <= (u64)__boot_stack_top - 8)
		return true;
	if (!live || va < STACK_BASE || cpu >= nr_pcpus)
		return false;
	for (unsigned i = 0; i < IST_END; i++) {
		u64 top = stack_top(0, i) - STACK_BASE;

		if (off <= top - 8 && off >= top - (i ? IST_STACK_SIZE : KSTACK_SIZE))
			return true;
	}
	return false;
}

void paging_cpu_enable(void)
{
	struct cpuid f7 = cpuid(0, 0).eax >= 7 ? cpuid(7, 0) : (struct cpuid){0};
	struct cpuid f1 = cpuid(1, 0);
	u64 cr4 = CR4_PAE | CR4_DE;

	cr4 |= f1.edx & BIT(7) ? CR4_MCE : 0;
	cr4 |= f7.ebx & BIT(7) ? CR4_SMEP : 0;
	cr4 |= f7.ebx & BIT(20) ? CR4_SMAP : 0;
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
	wrmsr(MSR_PAT, PAT_HOST);
	write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
	write_cr3(host.root);
	/* PGE comes last: setting it flushes what the boot tables left, global or not. */
	write_cr4(cr4);
	write_cr4(cr4 | CR4_PGE);
	/* Not earlier: an NMI before CR3 was loaded would not have found these stacks. */
	for (unsigned i = IST_NMI; i < IST_END; i++)
		this_arch()->tss.ist[i - 1] = stack_top(this_cpu()->index, i);
}

static bool check_leaf(void *arg, const struct pt_leaf *l)
{
	u64 *n = arg;

	++*n;
	if ((l->prot & PT_W) && (l->prot & PT_X))
		panic("0x%lx (0x%lx bytes) is mapped writable and executable", l->va, l->size);
	if (l->prot & PT_U)
		panic("0x%lx is mapped for ring 3", l->va);
	if (l->va < DIRECT_BASE)
		panic("0x%lx is mapped in the lower half", l->va);
	if (gpool_overlaps(l->pa, l->size))
		panic("0x%lx maps 0x%lx, which is the guests'", l->va, l->pa);
	return true;
}

void paging_check(void)
{
	u64 n = 0;

	ASSERT((read_cr3() & ~(PAGE_SIZE - 1)) == host.root);
	pt_walk(&host, check_leaf, &n);
	log_info("paging: checked, %lu leaves, none writable and executable, none of the guests' pool", n);
}
