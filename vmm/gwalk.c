/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's own page tables, walked as the CPU does: 32-bit, PAE, 4- and 5-level (SDM vol. 3,
 * 4.3 to 4.7; APM vol. 2, 5.2 to 5.7). Entries are compared and exchanged, since other vCPUs and
 * their hardware walkers set accessed and dirty bits at the same time.
 */
#include "vmm/gwalk.h"
#include "arch/x86_64/window.h"
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

#define CODE_LEVELS (WINDOW_PINS - 1) /* pins for the entries of a walk, and one for the code */

struct walk {
	struct vcpu *v;
	struct hv_paging p;
	u64 linear;
	u32 access; /* PFERR_W, PFERR_U, PFERR_I */
	unsigned levels, entry_size;
	u64 entry, reserved;
	u64 rights; /* W and U of all levels together, NX of any */
	gpa_t at[5]; /* where the entries were read, by level - 1, and what they hold now */
	u64 seen[5];
};

static int fault_pf(const struct walk *w, u32 bits, struct emul_fault *f)
{
	u32 err = bits | (w->access & (PFERR_W | PFERR_U));
	bool nx = w->p.efer & EFER_NXE && w->p.cr4 & CR4_PAE;

	/* The fetch bit is only reported where fetches can be refused (SDM vol. 3, 4.7). */
	if ((w->access & PFERR_I) && (nx || w->p.cr4 & CR4_SMEP))
		err |= PFERR_I;
	*f = (struct emul_fault){ .vector = EXC_PF, .has_error = true, .error = err, .cr2 = w->linear };
	return -EFAULT;
}

static int entry_read(struct walk *w, gpa_t at)
{
	u64 *p = gmem_map(w->v->vm, at, w->entry_size, false);

	if (!p)
		return -EFAULT;
	w->entry = w->entry_size == 8 ? READ_ONCE(*p) : READ_ONCE(*(u32 *)p);
	gmem_unmap(w->v->vm, p);
	return 0;
}

/* Set accessed and dirty bits if the entry still is what we saw. -EAGAIN: it changed, walk again. */
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
	w->entry |= bits;
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
		return user || !user_page || !(w->p.cr4 & CR4_SMEP);
	}
	if (!user && user_page && (w->p.cr4 & CR4_SMAP) && !(w->v->hv.rflags & RFLAGS_AC))
		return false;
	if (w->access & PFERR_W && !(w->rights & PTE_W))
		return !user && !(w->p.cr0 & CR0_WP);
	return true;
}

static void walk_shape(struct walk *w)
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

static bool is_large(const struct walk *w, unsigned level)
{
	if (!(w->entry & PTE_PS))
		return false;
	if (w->entry_size == 4)
		return level == 2 && (w->p.cr4 & CR4_PSE);
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
		return w->p.cr3 & 0xfffff000;
	return w->levels == 3 ? w->p.cr3 & 0xffffffe0 : w->p.cr3 & PTE_ADDR;
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
		r = pdpte ? 0 : entry_set(w, at, leaf && w->access & PFERR_W ? PTE_A | PTE_D : PTE_A);
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

/* w->p, linear and access are set. */
static int walk(struct walk *w, gpa_t *gpa, struct emul_fault *fault)
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
	struct walk w = { .v = v, .linear = linear, .access = access };

	hv->get_paging(&v->hv, &w.p);
	return walk(&w, gpa, fault);
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

/*
 * The page that code runs in, kept from exit to exit: pinned windows onto it and onto the table entries that
 * led to it. It counts only while every entry still holds what it held, which is what a new walk would
 * read: so it is never older than the CPU's own TLB, and needs no flush by the guest.
 */
static inline bool entries_hold(const struct code_cache *c)
{
	/* Written out: it runs at most exits of a CPU that does not tell instruction lengths. */
	u64 differs = (READ_ONCE(*c->entry[0]) ^ c->seen[0]) | (READ_ONCE(*c->entry[1]) ^ c->seen[1]) |
		      (READ_ONCE(*c->entry[2]) ^ c->seen[2]) | (READ_ONCE(*c->entry[3]) ^ c->seen[3]) |
		      (READ_ONCE(*c->entry[4]) ^ c->seen[4]);

	static_assert(CODE_LEVELS == 5, "all of them");
	return !differs;
}

/* Pin what walk w found. Tables of 4-byte entries are old systems': they walk each time. */
static void cache_fill(struct code_cache *c, const struct walk *w, gpa_t gpa)
{
	struct vm *vm = w->v->vm;
	hpa_t hpa;

	c->page = ~0ull;
	if (w->levels && w->entry_size == 4)
		return;
	for (unsigned l = 0; l < CODE_LEVELS; l++) {
		c->entry[l] = &c->seen[l]; /* no such level: equal to itself */
		if (l >= w->levels || w->at[l] == HPA_NONE)
			continue;
		if (!gmem_to_phys(vm, w->at[l], 8, &hpa))
			return;
		c->entry[l] = window_pin(l, hpa);
		c->seen[l] = w->seen[l];
	}
	if (!gmem_to_phys(vm, gpa & ~(PAGE_SIZE - 1), PAGE_SIZE, &hpa))
		return;
	c->code = window_pin(CODE_LEVELS, hpa);
	c->page = w->linear & ~(PAGE_SIZE - 1);
}

static u64 code_linear(const struct vcpu *v, const struct hv_paging *p)
{
	return p->mode == INSN_64 ? v->hv.rip : (u32)(p->code_base + v->hv.rip);
}

/* Walk to the page of code and pin it. */
static const u8 *code_find(struct vcpu *v, u64 *linear, bool *fault)
{
	struct code_cache *c = &v->code;
	struct walk w = { .v = v };
	struct emul_fault f;
	gpa_t gpa;

	hv->get_paging(&v->hv, &w.p);
	w.linear = *linear = code_linear(v, &w.p);
	w.access = PFERR_I | (w.p.cpl == 3 ? PFERR_U : 0);
	if (walk(&w, &gpa, &f)) {
		vcpu_raise(v, f.vector, f.has_error, f.error, f.cr2);
		*fault = true;
		return NULL;
	}
	c->p = w.p;
	cache_fill(c, &w, gpa);
	return c->page != ~0ull ? c->code + (*linear & (PAGE_SIZE - 1)) : NULL;
}

/*
 * The code at RIP, up to its page's end, with *linear, and v->code.p the state it was fetched in. NULL: a page
 * fault was raised (*fault), or it is not RAM, or not of a kind that is kept.
 */
static inline const u8 *code_at_rip(struct vcpu *v, u64 *linear, bool *fault)
{
	struct code_cache *c = &v->code;

	*fault = false;
	*linear = code_linear(v, &c->p);
	if (likely((*linear & ~(PAGE_SIZE - 1)) == c->page && hv->same_code(&v->hv, &c->p) &&
		   entries_hold(c)))
		return c->code + (*linear & (PAGE_SIZE - 1));
	return code_find(v, linear, fault);
}

void guest_code_forget(struct vcpu *v)
{
	v->code.page = ~0ull;
	window_unpin_all();
}

/* n bytes inside one page to buf. 0; -EFAULT: a page fault was raised. */
static int fetch(struct vcpu *v, const struct hv_paging *p, u64 linear, u8 *buf, unsigned n)
{
	u32 access = PFERR_I | (p->cpl == 3 ? PFERR_U : 0);
	struct walk w = { .v = v, .linear = linear, .access = access, .p = *p };
	struct emul_fault f;
	gpa_t gpa;

	if (walk(&w, &gpa, &f)) {
		vcpu_raise(v, f.vector, f.has_error, f.error, f.cr2);
		return -EFAULT;
	}
	if (gmem_read(v->vm, gpa, buf, n))
		memset(buf, 0xff, n); /* no RAM there: the bus reads as ones */
	return 0;
}

static const struct insn *decoded(struct vcpu *v, enum insn_status st)
{
	if (likely(st == INSN_OK))
		return &v->code.insn;
	v->code.mode = 0;
	if (st == INSN_UD)
		vcpu_raise_ud(v);
	else
		vcpu_raise_gp(v);
	return NULL;
}

/* Where an instruction may reach into the next page, which may not be mapped nor needed. */
static const struct insn *decode_at_page_end(struct vcpu *v, const struct hv_paging *p, u64 linear,
					     enum insn_mode mode)
{
	unsigned have = MIN((u64)INSN_MAX, PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
	u8 buf[INSN_MAX];

	v->code.mode = 0;
	if (fetch(v, p, linear, buf, have))
		return NULL;
	if (have < INSN_MAX && insn_decode(&v->code.insn, buf, have, mode) == INSN_MORE &&
	    fetch(v, p, linear + have, buf + have, INSN_MAX - have))
		return NULL;
	return decoded(v, insn_decode(&v->code.insn, buf, INSN_MAX, mode));
}

/* Bytes that the CPU fetched itself: no walk. It may have given up early, at a page's end. */
static bool decode_given(struct vcpu *v, const u8 *bytes, size_t n)
{
	struct hv_paging p;

	hv->get_paging(&v->hv, &p);
	v->code.mode = 0;
	return insn_decode(&v->code.insn, bytes, n, p.mode | v->vm->insn_flags) == INSN_OK;
}

const struct insn *guest_decode(struct vcpu *v, const u8 *bytes, size_t n)
{
	struct code_cache *c = &v->code;
	enum insn_mode mode;
	u64 linear, raw[2];
	const u8 *code;
	bool fault;

	if (n && decode_given(v, bytes, n))
		return &c->insn;
	code = code_at_rip(v, &linear, &fault);
	if (unlikely(fault))
		return NULL;
	mode = c->p.mode | v->vm->insn_flags;
	if (unlikely(!code || (linear & (PAGE_SIZE - 1)) > PAGE_SIZE - sizeof(raw)))
		return decode_at_page_end(v, &c->p, linear, mode);
	memcpy(raw, code, sizeof(raw)); /* once: another vCPU may be writing there */
	if (likely(raw[0] == c->raw[0] && raw[1] == c->raw[1] && mode == c->mode))
		return &c->insn;
	c->raw[0] = raw[0];
	c->raw[1] = raw[1];
	c->mode = mode;
	return decoded(v, insn_decode(&c->insn, (u8 *)raw, INSN_MAX, mode));
}

static bool is_insn(const struct insn *i, const struct insn_id *id)
{
	if (i->enc != INSN_LEGACY)
		return false;
	if (id->len == 1)
		return i->map == INSN_MAP_1 && i->opcode == id->bytes[0];
	return i->map == INSN_MAP_0F && i->opcode == id->bytes[1] &&
	       (id->len == 2 || i->modrm == id->bytes[2]);
}

unsigned guest_insn_decode_len(struct vcpu *v, const struct insn_id *id)
{
	const struct insn *i;
	const u8 *code;
	u64 linear;
	bool fault;

	code = code_at_rip(v, &linear, &fault);
	if (unlikely(fault))
		return 0;
	/* Nearly always without prefixes: then the bytes themselves are the proof. */
	if (likely(code && (linear & (PAGE_SIZE - 1)) <= PAGE_SIZE - sizeof(id->bytes) &&
		   code[0] == id->bytes[0] && (id->len < 2 || code[1] == id->bytes[1]) &&
		   (id->len < 3 || code[2] == id->bytes[2])))
		return id->len;
	i = guest_decode(v, NULL, 0);
	/* Not what the CPU stopped at: somebody rewrote the page since. Run what stands there now. */
	return i && is_insn(i, id) ? i->len : 0;
}
