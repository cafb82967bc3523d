/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's own page tables, walked as the CPU does: 32-bit, PAE, 4- and 5-level (SDM vol. 3,
 * 4.3 to 4.7; APM vol. 2, 5.2 to 5.7). Entries are compared and exchanged, since other vCPUs and
 * their hardware walkers set accessed and dirty bits at the same time.
 */
#include "vmm/gwalk.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "vmm/gmem.h"
#include "vmm/vm.h"

#define PTE_P    BIT(0)
#define PTE_W    BIT(1)
#define PTE_U    BIT(2)
#define PTE_A    BIT(5)
#define PTE_D    BIT(6)
#define PTE_PS   BIT(7)
#define PTE_NX   BIT(63)
#define PTE_ADDR 0x000ffffffffff000ull

static int fault_pf(const struct guest_walk *w, u32 bits, struct emul_fault *f)
{
	u32 err = bits | (w->access & (PFERR_W | PFERR_U));
	bool nx = w->p.efer & EFER_NXE && w->p.cr4 & CR4_PAE;

	/* The fetch bit is only reported where fetches can be refused (SDM vol. 3, 4.7). */
	if ((w->access & PFERR_I) && (nx || w->p.cr4 & CR4_SMEP))
		err |= PFERR_I;
	*f = (struct emul_fault){ .vector = EXC_PF, .has_error = true, .error = err, .cr2 = w->linear };
	return -EFAULT;
}

static int entry_read(struct guest_walk *w, gpa_t at)
{
	u64 *p = gmem_map(w->v->vm, at, w->entry_size, false);

	if (!p)
		return -EFAULT;
	w->entry = w->entry_size == 8 ? READ_ONCE(*p) : READ_ONCE(*(u32 *)p);
	gmem_unmap(w->v->vm, p);
	return 0;
}

/* Set accessed and dirty bits if the entry still is what we saw. -EAGAIN: it changed, walk again. */
static int entry_set(struct guest_walk *w, gpa_t at, u64 bits)
{
	u64 *p;
	bool same;

	if ((w->entry & bits) == bits)
		return 0;
	p = gmem_map(w->v->vm, at, w->entry_size, true);
	if (!p)
		return -EFAULT;
	if (w->entry_size == 8) {
		u64 old = w->entry;

		same = __atomic_compare_exchange_n(p, &old, old | bits, false, __ATOMIC_SEQ_CST,
						   __ATOMIC_SEQ_CST);
	} else {
		u32 old = w->entry;

		same = __atomic_compare_exchange_n((u32 *)p, &old, old | bits, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
	gmem_unmap(w->v->vm, p);
	w->entry |= bits;
	return same ? 0 : -EAGAIN;
}

/* Rights of the whole walk against the access (SDM vol. 3, 4.6.1). */
static bool allowed(const struct guest_walk *w)
{
	bool user_page = w->rights & PTE_U, user = w->access & PFERR_U;

	if (w->access & WALK_PEEK)
		return true;
	if (user && !user_page)
		return false;
	if (w->access & PFERR_I) {
		if (w->rights & PTE_NX)
			return false;
		return user || !user_page || !(w->p.cr4 & CR4_SMEP);
	}
	if (!user && user_page && (w->p.cr4 & CR4_SMAP) && !(w->v->hv.rflags & RFLAGS_AC))
		return false;
	if (w->access & PFERR_W && !(w->rights & PTE_W))
		return !user && !(w->p.cr0 & CR0_WP);
	return true;
}

static void walk_shape(struct guest_walk *w)
{
	w->reserved = 0;
	w->entry_size = 8;
	if (!(w->p.cr4 & CR4_PAE)) {
		w->levels = 2;
		w->entry_size = 4;
		return;
	}
	if (w->p.efer & EFER_LMA)
		w->levels = w->p.cr4 & CR4_LA57 ? 5 : 4;
	else
		w->levels = 3;
	/* Bits from MAXPHYADDR to 51 are reserved; NX too while EFER.NXE is off. */
	w->reserved = PTE_ADDR & ~(BIT(w->v->vm->cpuid->ext[8].eax & 0xff) - 1);
	if (!(w->p.efer & EFER_NXE))
		w->reserved |= PTE_NX;
}

static bool is_large(const struct guest_walk *w, unsigned level)
{
	if (!(w->entry & PTE_PS))
		return false;
	if (w->entry_size == 4)
		return level == 2 && (w->p.cr4 & CR4_PSE);
	return level == 2 || (level == 3 && w->levels >= 4);
}

/* Where the last entry points, large pages and PSE-36 included. */
static gpa_t leaf_gpa(const struct guest_walk *w, unsigned level)
{
	unsigned shift = w->entry_size == 4 ? (level == 2 ? 22 : 12) : 12 + 9 * (level - 1);
	u64 mask = BIT(shift) - 1;
	gpa_t base;

	if (w->entry_size == 4 && level == 2)
		base = (w->entry & 0xffc00000) | (w->entry >> 13 & 0xff) << 32;
	else
		base = w->entry & PTE_ADDR & ~mask;
	return base | (w->linear & mask);
}

static unsigned index_of(const struct guest_walk *w, unsigned level)
{
	if (w->entry_size == 4)
		return w->linear >> (level == 2 ? 22 : 12) & 0x3ff;
	if (w->levels == 3 && level == 3)
		return w->linear >> 30 & 3;
	return w->linear >> (12 + 9 * (level - 1)) & 0x1ff;
}

static gpa_t root_of(const struct guest_walk *w)
{
	if (w->entry_size == 4)
		return w->p.cr3 & 0xfffff000;
	return w->levels == 3 ? w->p.cr3 & 0xffffffe0 : w->p.cr3 & PTE_ADDR;
}

static int walk_once(struct guest_walk *w, gpa_t *gpa, struct emul_fault *f)
{
	gpa_t table = root_of(w), at;
	unsigned level = w->levels;

	w->rights = PTE_W | PTE_U;
	for (;; level--) {
		bool pdpte = w->levels == 3 && level == 3, leaf;
		int r;

		at = table + index_of(w, level) * w->entry_size;
		if (entry_read(w, at)) /* a table outside RAM reads as ones */
			return fault_pf(w, PFERR_P | PFERR_RSVD, f);
		if (!(w->entry & PTE_P))
			return fault_pf(w, 0, f);
		if (w->entry & w->reserved)
			return fault_pf(w, PFERR_P | PFERR_RSVD, f);
		if (!pdpte) { /* PAE's PDPTEs carry no rights and no accessed bit */
			w->rights &= w->entry | ~(PTE_W | PTE_U);
			w->rights |= w->entry_size == 8 ? w->entry & PTE_NX : 0;
		}
		leaf = level == 1 || is_large(w, level);
		if (leaf && !allowed(w))
			return fault_pf(w, PFERR_P, f);
		r = pdpte || w->access & WALK_PEEK ? 0 : entry_set(w, at, leaf && w->access & PFERR_W ? PTE_A | PTE_D : PTE_A);
		if (r)
			return r;
		w->at[level - 1] = at;
		w->seen[level - 1] = w->entry;
		if (leaf)
			break;
		w->at[level - 2] = HPA_NONE;
		table = w->entry & (w->entry_size == 4 ? 0xfffff000 : PTE_ADDR);
	}
	for (unsigned below = 0; below + 1 < level; below++)
		w->at[below] = HPA_NONE;
	*gpa = leaf_gpa(w, level);
	return 0;
}

int guest_walk(struct guest_walk *w, gpa_t *gpa, struct emul_fault *fault)
{
	int r;

	if (!(w->p.cr0 & CR0_PG)) {
		w->levels = 0;
		*gpa = w->linear & 0xffffffff;
		return 0;
	}
	walk_shape(w);
	/* An entry that changes under us a few times in a row is the guest's own race: let it fault. */
	for (int i = 0; i < 8; i++) {
		r = walk_once(w, gpa, fault);
		if (r != -EAGAIN)
			return r;
	}
	return fault_pf(w, 0, fault);
}

int guest_translate(struct vcpu *v, u64 linear, u32 access, gpa_t *gpa, struct emul_fault *fault)
{
	struct guest_walk w = { .v = v, .linear = linear, .access = access };

	hv->get_paging(&v->hv, &w.p);
	return guest_walk(&w, gpa, fault);
}

enum insn_mode guest_mode(struct vcpu *v)
{
	struct hv_paging p;

	hv->get_paging(&v->hv, &p);
	return p.mode;
}

u8 guest_cpl(struct vcpu *v)
{
	struct hv_paging p;

	hv->get_paging(&v->hv, &p);
	return p.cpl;
}
