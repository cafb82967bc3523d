/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's code at RIP. Pages that code ran in are kept from exit to exit: pinned windows onto
 * them and onto the table entries that led to them. One counts only while every entry still holds
 * what it held, which is what a new walk would read: so it is never older than the CPU's own TLB,
 * and needs no flush by the guest. And a decoded instruction counts only for the bytes it was
 * decoded from.
 */
#include "vmm/fetch.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/vm.h"

static inline bool entries_hold(const struct code_page *c)
{
	/* Written out: it runs at most exits of a CPU that does not tell instruction lengths. */
	u64 differs =
		(READ_ONCE(*c->entry[0]) ^ c->seen[0]) | (READ_ONCE(*c->entry[1]) ^ c->seen[1]) |
		(READ_ONCE(*c->entry[2]) ^ c->seen[2]) | (READ_ONCE(*c->entry[3]) ^ c->seen[3]);

	static_assert(CODE_LEVELS == 4, "all of them");
	return !differs;
}

/* Pin what walk w found. Tables of 4-byte entries are old systems': they walk each time. */
static void keep(struct code_page *c, const struct guest_walk *w, gpa_t gpa)
{
	struct code_place *was = &w->v->code.places[c - w->v->code.pages];
	unsigned pin = (c - w->v->code.pages) * (CODE_LEVELS + 1);
	struct vm *vm = w->v->vm;
	hpa_t hpa;

	c->page = was->page = ~0ull;
	if (w->levels && (w->entry_size == 4 || w->levels > CODE_LEVELS))
		return;
	for (unsigned l = 0; l < CODE_LEVELS; l++) {
		c->entry[l] = &c->seen[l]; /* no such level: equal to itself */
		was->at[l] = HPA_NONE;
		if (l >= w->levels || w->at[l] == HPA_NONE)
			continue;
		if (!gmem_to_phys(vm, w->at[l], 8, &hpa))
			return;
		c->entry[l] = window_pin(pin + l, was->at[l] = hpa);
		c->seen[l] = w->seen[l];
	}
	if (!gmem_to_phys(vm, gpa & ~(PAGE_SIZE - 1), PAGE_SIZE, &hpa))
		return;
	c->code = window_pin(pin + CODE_LEVELS, was->at[CODE_LEVELS] = hpa);
	c->page = w->linear & ~(PAGE_SIZE - 1);
}

static u64 code_linear(const struct vcpu *v, const struct hv_paging *p)
{
	return p->mode == INSN_64 ? v->hv.rip : (u32)(p->code_base + v->hv.rip);
}

/* Walk to the page of code and keep it. NULL: a page fault was raised (*fault), or it is not RAM,
 * or not of a kind that is kept. */
static const u8 *code_find(struct vcpu *v, struct code_page *c, u64 *linear, bool *fault)
{
	struct guest_walk w = { .v = v };
	struct emul_fault f;
	gpa_t gpa;

	hv->get_paging(&v->hv, &w.p);
	w.linear = *linear = code_linear(v, &w.p);
	w.access = PFERR_I | (w.p.cpl == 3 ? PFERR_U : 0);
	if (guest_walk(&w, &gpa, &f)) {
		vcpu_raise(v, f.vector, f.has_error, f.error, f.cr2);
		*fault = true;
		return NULL;
	}
	c->p = w.p;
	keep(c, &w, gpa);
	return c->page != ~0ull ? c->code + (*linear & (PAGE_SIZE - 1)) : NULL;
}

static inline struct code_page *page_for(struct vcpu *v)
{
	struct code_page *c = &v->code.pages[v->hv.rip >> PAGE_SHIFT & (CODE_PAGES - 1)];

	__asm__("" : "+r"(c)); /* one register for it, rather than the sum anew at each use */
	return c;
}

/* The same page as before the vCPU was unloaded, if all that led to it is the same. */
static __attribute__((noinline)) const u8 *code_again(struct vcpu *v, struct code_page *c,
						      u64 linear)
{
	struct code_place *was = &v->code.places[c - v->code.pages];
	unsigned pin = (c - v->code.pages) * (CODE_LEVELS + 1);

	if (was->page != (linear & ~(PAGE_SIZE - 1)) || !hv->same_code(&v->hv, &c->p))
		return NULL;
	for (unsigned l = 0; l < CODE_LEVELS; l++)
		if (was->at[l] != HPA_NONE)
			c->entry[l] = window_pin(pin + l, was->at[l]);
	c->code = window_pin(pin + CODE_LEVELS, was->at[CODE_LEVELS]);
	c->page = was->page;
	was->page = ~0ull;
	return entries_hold(c) ? c->code + (linear & (PAGE_SIZE - 1)) : NULL;
}

/* The code at RIP, up to its page's end, if that page is kept; linear is by c->p. */
static inline const u8 *code_kept(struct vcpu *v, const struct code_page *c, u64 linear)
{
	if (likely((linear & ~(PAGE_SIZE - 1)) == c->page && hv->same_code(&v->hv, &c->p) &&
		   entries_hold(c)))
		return c->code + (linear & (PAGE_SIZE - 1));
	return NULL;
}

void guest_code_init(struct vcpu *v)
{
	for (unsigned i = 0; i < CODE_PAGES; i++)
		v->code.pages[i].page = v->code.places[i].page = ~0ull;
}

void guest_code_put(struct vcpu *v)
{
	for (unsigned i = 0; i < CODE_PAGES; i++) {
		if (v->code.pages[i].page == ~0ull)
			continue;
		v->code.places[i].page = v->code.pages[i].page;
		v->code.pages[i].page = ~0ull;
	}
	window_unpin(0);
}

void guest_code_forget(struct vcpu *v)
{
	guest_code_init(v);
	window_unpin(0);
}

/* n bytes inside one page to buf. 0; -EFAULT: a page fault was raised. */
static int fetch(struct vcpu *v, const struct hv_paging *p, u64 linear, u8 *buf, unsigned n)
{
	u32 access = PFERR_I | (p->cpl == 3 ? PFERR_U : 0);
	struct guest_walk w = { .v = v, .linear = linear, .access = access, .p = *p };
	struct emul_fault f;
	gpa_t gpa;

	if (guest_walk(&w, &gpa, &f)) {
		vcpu_raise(v, f.vector, f.has_error, f.error, f.cr2);
		return -EFAULT;
	}
	if (gmem_read(v->vm, gpa, buf, n))
		memset(buf, 0xff, n); /* no RAM there: the bus reads as ones */
	return 0;
}

static const struct insn *decoded(struct vcpu *v, struct code_insn *d, enum insn_status st)
{
	if (likely(st == INSN_OK))
		return &d->insn;
	d->mode = 0;
	if (st == INSN_UD)
		vcpu_raise_ud(v);
	else
		vcpu_raise_gp(v);
	return NULL;
}

/* Where an instruction may reach into the next page, which may not be mapped nor needed. */
static const struct insn *decode_at_page_end(struct vcpu *v, struct code_insn *d,
					     const struct hv_paging *p, u64 linear,
					     enum insn_mode mode)
{
	unsigned have = MIN((u64)INSN_MAX, PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
	u8 buf[INSN_MAX];

	d->mode = 0;
	if (fetch(v, p, linear, buf, have))
		return NULL;
	if (have < INSN_MAX && insn_decode(&d->insn, buf, have, mode) == INSN_MORE &&
	    fetch(v, p, linear + have, buf + have, INSN_MAX - have))
		return NULL;
	return decoded(v, d, insn_decode(&d->insn, buf, INSN_MAX, mode));
}

/* Bytes that the CPU fetched itself: no walk. It may have given up early, at a page's end. */
static bool decode_given(struct vcpu *v, struct code_insn *d, const u8 *bytes, size_t n)
{
	struct hv_paging p;

	hv->get_paging(&v->hv, &p);
	d->mode = 0;
	return insn_decode(&d->insn, bytes, n, p.mode | v->vm->insn_flags) == INSN_OK;
}

const struct insn *guest_decode(struct vcpu *v, const u8 *bytes, size_t n)
{
	struct code_insn *d = &v->code.insns[(v->hv.rip ^ v->hv.rip >> 3) & (CODE_INSNS - 1)];
	struct code_page *c = page_for(v);
	u64 linear = code_linear(v, &c->p), raw[2];
	bool fault = false;
	enum insn_mode mode;
	const u8 *code;

	if (n && decode_given(v, d, bytes, n))
		return &d->insn;
	code = code_kept(v, c, linear) ?: code_again(v, c, linear);
	if (unlikely(!code)) {
		code = code_find(v, c, &linear, &fault);
		if (fault)
			return NULL;
	}
	mode = c->p.mode | v->vm->insn_flags;
	if (unlikely(!code || (linear & (PAGE_SIZE - 1)) > PAGE_SIZE - sizeof(raw)))
		return decode_at_page_end(v, d, &c->p, linear, mode);
	memcpy(raw, code, sizeof(raw)); /* once: another vCPU may be writing there */
	if (likely(raw[0] == d->raw[0] && raw[1] == d->raw[1] && mode == d->mode))
		return &d->insn;
	d->raw[0] = raw[0];
	d->raw[1] = raw[1];
	d->mode = mode;
	return decoded(v, d, insn_decode(&d->insn, (u8 *)raw, INSN_MAX, mode));
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

/* Nearly always without prefixes: then the bytes themselves are the proof. */
static inline bool stands_at(const u8 *code, const struct insn_id *id)
{
	return likely(code && ((u64)code & (PAGE_SIZE - 1)) <= PAGE_SIZE - sizeof(id->bytes) &&
		      code[0] == id->bytes[0] && (id->len < 2 || code[1] == id->bytes[1]) &&
		      (id->len < 3 || code[2] == id->bytes[2]));
}

static __attribute__((noinline)) unsigned decode_len(struct vcpu *v, const struct insn_id *id)
{
	struct code_page *c = page_for(v);
	const struct insn *i;

	if (stands_at(code_again(v, c, code_linear(v, &c->p)), id))
		return id->len;
	i = guest_decode(v, NULL, 0);
	/* Not what the CPU stopped at, somebody rewrote the page since: run what stands there. */
	return i && is_insn(i, id) ? i->len : 0;
}

unsigned guest_insn_decode_len(struct vcpu *v, const struct insn_id *id)
{
	const struct code_page *c = page_for(v);

	if (stands_at(code_kept(v, c, code_linear(v, &c->p)), id))
		return id->len;
	return decode_len(v, id);
}
