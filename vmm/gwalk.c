/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's own page tables, walked as the CPU does: 32-bit, PAE, 4- and 5-level (SDM vol. 3,
 * 4.3 to 4.7; APM vol. 2, 5.2 to 5.7). Entries are compared and exchanged, since other vCPUs and
 * their hardware walkers set accessed and dirty bits at the same time.
 */
#include "vmm/gwalk.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"
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

struct walk {
	struct vcpu *v;
	u64 linear, cr0, cr3, cr4, efer;
	u32 access; /* PFERR_W, PFERR_U, PFERR_I */
	unsigned levels, entry_size;
	u64 entry, reserved;
	u64 rights; /* W and U of all levels together, NX of any */
};

static int fault_pf(const struct walk *w, u32 bits, struct emul_fault *f)
{
	u32 err = bits | (w->access & (PFERR_W | PFERR_U));

	/* The fetch bit is only reported where fetches can be refused (SDM vol. 3, 4.7). */
	if ((w->access & PFERR_I) &&
	    ((w->efer & EFER_NXE && w->cr4 & CR4_PAE) || w->cr4 & CR4_SMEP))
		err |= PFERR_I;
	*f = (struct emul_fault){
		.vector = EXC_PF, .has_error = true, .error = err, .cr2 = w->linear};
	return -EFAULT;
}

/* Read one entry, and set bits in it if it still is what we saw. -EAGAIN: it changed, walk again.
 */
static int entry_read(struct walk *w, gpa_t at)
{
	u64 *p = gmem_map(w->v->vm, at, w->entry_size, false);

	if (!p)
		return -EFAULT;
	w->entry = w->entry_size == 8 ? READ_ONCE(*p) : READ_ONCE(*(u32 *)p);
	gmem_unmap(w->v->vm, p);
	return 0;
}

static int entry_set(struct walk *w, gpa_t at, u64 bits)
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
	return same ? 0 : -EAGAIN;
}

/* Rights of the whole walk against the access (SDM vol. 3, 4.6.1). */
static bool allowed(const struct walk *w)
{
	bool user_page = w->rights & PTE_U, user = w->access & PFERR_U;

	if (user && !user_page)
		return false;
	if (w->access & PFERR_I) {
		if (w->rights & PTE_NX)
			return false;
		return user || !user_page || !(w->cr4 & CR4_SMEP);
	}
	if (!user && user_page && (w->cr4 & CR4_SMAP) && !(w->v->hv.rflags & RFLAGS_AC))
		return false;
	if (w->access & PFERR_W && !(w->rights & PTE_W))
		return !user && !(w->cr0 & CR0_WP);
	return true;
}

static void walk_shape(struct walk *w)
{
	w->reserved = 0;
	w->entry_size = 8;
	if (!(w->cr4 & CR4_PAE)) {
		w->levels = 2;
		w->entry_size = 4;
		return;
	}
	if (w->efer & EFER_LMA)
		w->levels = w->cr4 & CR4_LA57 ? 5 : 4;
	else
		w->levels = 3;
	/* Bits from MAXPHYADDR to 51 are reserved; NX too while EFER.NXE is off. */
	w->reserved = PTE_ADDR & ~(BIT(w->v->vm->cpuid->ext[8].eax & 0xff) - 1);
	if (!(w->efer & EFER_NXE))
		w->reserved |= PTE_NX;
}

static bool is_large(const struct walk *w, unsigned level)
{
	if (!(w->entry & PTE_PS))
		return false;
	if (w->entry_size == 4)
		return level == 2 && (w->cr4 & CR4_PSE);
	return level == 2 || (level == 3 && w->levels >= 4);
}

/* Where the last entry points, large pages and PSE-36 included. */
static gpa_t leaf_gpa(const struct walk *w, unsigned level)
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

static unsigned index_of(const struct walk *w, unsigned level)
{
	if (w->entry_size == 4)
		return w->linear >> (level == 2 ? 22 : 12) & 0x3ff;
	if (w->levels == 3 && level == 3)
		return w->linear >> 30 & 3;
	return w->linear >> (12 + 9 * (level - 1)) & 0x1ff;
}

static gpa_t root_of(const struct walk *w)
{
	if (w->entry_size == 4)
		return w->cr3 & 0xfffff000;
	return w->levels == 3 ? w->cr3 & 0xffffffe0 : w->cr3 & PTE_ADDR;
}

static int walk_once(struct walk *w, gpa_t *gpa, struct emul_fault *f)
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
		r = pdpte ? 0
			  : entry_set(w, at, leaf && w->access & PFERR_W ? PTE_A | PTE_D : PTE_A);
		if (r)
			return r;
		if (leaf)
			break;
		table = w->entry & (w->entry_size == 4 ? 0xfffff000 : PTE_ADDR);
	}
	*gpa = leaf_gpa(w, level);
	return 0;
}

int guest_translate(struct vcpu *v, u64 linear, u32 access, gpa_t *gpa, struct emul_fault *fault)
{
	struct walk w = {.v = v, .linear = linear, .access = access};
	int r;

	w.cr0 = hv->get_reg(&v->hv, REG_CR0);
	if (!(w.cr0 & CR0_PG)) {
		*gpa = linear & 0xffffffff;
		return 0;
	}
	w.cr3 = hv->get_reg(&v->hv, REG_CR3);
	w.cr4 = hv->get_reg(&v->hv, REG_CR4);
	w.efer = hv->get_reg(&v->hv, REG_EFER);
	walk_shape(&w);
	/* An entry that changes under us a few times in a row is the guest's own race: let it
	 * fault. */
	for (int i = 0; i < 8; i++) {
		r = walk_once(&w, gpa, fault);
		if (r != -EAGAIN)
			return r;
	}
	return fault_pf(&w, 0, fault);
}

enum insn_mode guest_mode(struct vcpu *v)
{
	struct hv_segment cs;

	if (!(hv->get_reg(&v->hv, REG_CR0) & CR0_PE) || v->hv.rflags & RFLAGS_VM)
		return INSN_16;
	hv->get_seg(&v->hv, SEG_CS, &cs);
	if (cs.attr & SEG_ATTR_L && hv->get_reg(&v->hv, REG_EFER) & EFER_LMA)
		return INSN_64;
	return cs.attr & SEG_ATTR_DB ? INSN_32 : INSN_16;
}

/* SS.DPL is the CPL on both vendors; V86 is 3 and real mode 0 (SDM vol. 3, 25.4.1, 27.3.1.2). */
u8 guest_cpl(struct vcpu *v)
{
	struct hv_segment ss;

	if (!(hv->get_reg(&v->hv, REG_CR0) & CR0_PE))
		return 0;
	if (v->hv.rflags & RFLAGS_VM)
		return 3;
	hv->get_seg(&v->hv, SEG_SS, &ss);
	return SEG_ATTR_DPL(ss.attr);
}

static u64 code_linear(struct vcpu *v, enum insn_mode mode)
{
	struct hv_segment cs;

	if (mode == INSN_64)
		return v->hv.rip;
	hv->get_seg(&v->hv, SEG_CS, &cs);
	return (cs.base + v->hv.rip) & 0xffffffff;
}

int guest_fetch(struct vcpu *v, u64 linear, u8 *buf, unsigned n)
{
	u32 access = PFERR_I | (guest_cpl(v) == 3 ? PFERR_U : 0);
	struct emul_fault f;
	gpa_t gpa;

	if (guest_translate(v, linear, access, &gpa, &f)) {
		vcpu_raise(v, f.vector, f.has_error, f.error, f.cr2);
		return -EFAULT;
	}
	if (gmem_read(v->vm, gpa, buf, n))
		memset(buf, 0xff, n); /* no RAM there: the bus reads as ones */
	return 0;
}

int guest_decode(struct vcpu *v, struct insn *i, const u8 *bytes, size_t n)
{
	enum insn_mode mode = guest_mode(v);
	u64 linear = code_linear(v, mode);
	u8 buf[INSN_MAX];
	enum insn_status st;
	unsigned have;

	if (bytes && n) {
		st = insn_decode(i, bytes, n, mode);
		if (st == INSN_OK)
			return 0;
	}
	/* First what lies in RIP's page: the next one may not be mapped, nor needed. */
	have = MIN((u64)INSN_MAX, PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
	if (guest_fetch(v, linear, buf, have))
		return -EFAULT;
	st = insn_decode(i, buf, have, mode);
	if (st == INSN_MORE && have < INSN_MAX) {
		if (guest_fetch(v, linear + have, buf + have, INSN_MAX - have))
			return -EFAULT;
		st = insn_decode(i, buf, INSN_MAX, mode);
	}
	if (st == INSN_OK)
		return 0;
	if (st == INSN_UD)
		vcpu_raise_ud(v);
	else
		vcpu_raise_gp(v);
	return -EFAULT;
}

unsigned guest_insn_len(struct vcpu *v, const struct vm_exit *e, const struct insn_id *id)
{
	enum insn_mode mode;
	struct insn i;
	u64 linear;
	u8 b[3];

	if (e->insn_len)
		return e->insn_len;
	mode = guest_mode(v);
	linear = code_linear(v, mode);
	if (likely((linear & (PAGE_SIZE - 1)) <= PAGE_SIZE - sizeof(b))) {
		/* Nearly always without prefixes: then the bytes themselves are the proof. */
		if (guest_fetch(v, linear, b, id->len))
			return 0;
		if (likely(!memcmp(b, id->bytes, id->len)))
			return id->len;
	}
	if (guest_decode(v, &i, NULL, 0))
		return 0;
	/* Not what the CPU stopped at: somebody rewrote the page since. Run what stands there now.
	 */
	if (i.enc != INSN_LEGACY || i.opcode != id->bytes[id->len == 1 ? 0 : 1] ||
	    i.map != (id->len == 1 ? INSN_MAP_1 : INSN_MAP_0F) ||
	    (id->len == 3 && i.modrm != id->bytes[2]))
		return 0;
	return i.len;
}
