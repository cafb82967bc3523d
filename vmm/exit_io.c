/* SPDX-License-Identifier: BSD-2-Clause */
/* Port I/O and MMIO: straight to the device where the CPU said enough, through the emulator else.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/fetch.h"
#include "vmm/vm.h"

#define REP_BUDGET 1024 /* iterations of a REP string before other work gets a chance */

struct emul_run {
	struct emul e;
	struct vcpu *v;
	const struct vm_exit *npf; /* the fault that brought us here, or NULL */
	bool one_operand;          /* the instruction touches one memory operand only */
	u64 rcx;                   /* before it */
};

static struct emul_run *run_of(struct emul *e)
{
	return container_of(e, struct emul_run, e);
}

/*
 * Linear to guest-physical. The exit told us where the operand lies; where it cannot be
 * another one that is right by construction, and it spares the walk.
 */
static int translate(struct emul_run *r, u64 linear, bool write, gpa_t *gpa)
{
	const struct vm_exit *x = r->npf;
	u32 access = (write ? PFERR_W : 0) | (r->e.cpl == 3 ? PFERR_U : 0);

	if (x && !x->npf.during_walk && (!write || x->npf.write)) {
		if (x->npf.gva_valid ? linear == x->npf.gva
				     : r->one_operand && ((linear ^ x->npf.gpa) & 0xfff) == 0) {
			*gpa = x->npf.gpa;
			return 0;
		}
	}
	return guest_translate(r->v, linear, access, gpa, &r->e.fault);
}

static void mmio_read(struct vcpu *v, gpa_t gpa, u8 *buf, unsigned n)
{
	if (n == 1 || n == 2 || n == 4 || n == 8) {
		u64 val = vm_mmio_read(v, gpa, n);

		memcpy(buf, &val, n);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		buf[i] = vm_mmio_read(v, gpa + i, 1);
}

static void mmio_write(struct vcpu *v, gpa_t gpa, const u8 *buf, unsigned n)
{
	if (n == 1 || n == 2 || n == 4 || n == 8) {
		u64 val = 0;

		memcpy(&val, buf, n);
		vm_mmio_write(v, gpa, n, val);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		vm_mmio_write(v, gpa + i, 1, buf[i]);
}

/* Both pages of a crossing access are translated before either is touched, so a fault leaves no
 * trace. */
static int access_memory(struct emul *e, u64 linear, u8 *buf, unsigned n, bool write)
{
	struct emul_run *r = run_of(e);
	struct vm *vm = r->v->vm;
	unsigned first = MIN((u64)n, PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
	gpa_t gpa[2];

	if (translate(r, linear, write, &gpa[0]) ||
	    (first < n && translate(r, linear + first, write, &gpa[1])))
		return -EFAULT;
	for (unsigned i = 0; i < 2; i++) {
		unsigned part = i ? n - first : first;
		u8 *b = i ? buf + first : buf;

		if (!part)
			break;
		if (write) {
			if (gmem_write(vm, gpa[i], b, part))
				mmio_write(r->v, gpa[i], b, part);
		} else if (gmem_read(vm, gpa[i], b, part)) {
			mmio_read(r->v, gpa[i], b, part);
		}
	}
	return 0;
}

static int emul_read(struct emul *e, u64 linear, void *buf, unsigned n)
{
	int r = access_memory(e, linear, buf, n, false);

	if (unlikely(run_of(e)->v->hv.dr7_armed) && !r)
		debug_hit(run_of(e)->v, linear, n, DEBUG_READ);
	return r;
}

static int emul_write(struct emul *e, u64 linear, const void *buf, unsigned n)
{
	int r = access_memory(e, linear, (void *)buf, n, true);

	if (unlikely(run_of(e)->v->hv.dr7_armed) && !r)
		debug_hit(run_of(e)->v, linear, n, DEBUG_WRITE);
	return r;
}

/* In RAM with the CPU's own LOCK; on a device the access is ours alone anyway. */
static int ram_cmpxchg(struct vm *vm, gpa_t gpa, void *old, const void *new_, unsigned n)
{
	void *p = gmem_map(vm, gpa, n, true);

	if (!p)
		return -EFAULT;
#define CASE(type)                                                                          \
	case sizeof(type): {                                                                \
		type want, val;                                                             \
		memcpy(&want, old, n);                                                      \
		memcpy(&val, new_, n);                                                      \
		__atomic_compare_exchange_n((type *)p, &want, val, false, __ATOMIC_SEQ_CST, \
					    __ATOMIC_SEQ_CST);                              \
		memcpy(old, &want, n);                                                      \
		break;                                                                      \
	}
	switch (n) {
		CASE(u8)
		CASE(u16)
		CASE(u32)
		CASE(u64)
	default: /* CMPXCHG16B: aligned, or the emulator has raised #GP */
		lock_cmpxchg16b(p, old, new_);
	}
#undef CASE
	gmem_unmap(vm, p);
	return 0;
}

static int emul_cmpxchg(struct emul *e, u64 linear, void *old, const void *new_, unsigned n)
{
	struct emul_run *r = run_of(e);
	u8 now[16];
	gpa_t gpa;

	if (unlikely(r->v->hv.dr7_armed)) /* forgotten again if the instruction faults */
		debug_hit(r->v, linear, n, DEBUG_WRITE);
	if ((linear & (PAGE_SIZE - 1)) + n <= PAGE_SIZE) {
		if (translate(r, linear, true, &gpa))
			return -EFAULT;
		if (!ram_cmpxchg(r->v->vm, gpa, old, new_, n))
			return 0;
	}
	if (access_memory(e, linear, now, n, false))
		return -EFAULT;
	if (!memcmp(now, old, n))
		return access_memory(e, linear, (u8 *)new_, n, true);
	memcpy(old, now, n);
	return 0;
}

/* Would a write fault? Asked before a device is read for a read-modify-write or an INS. */
static int emul_probe_write(struct emul *e, u64 linear, unsigned n)
{
	struct emul_run *r = run_of(e);
	unsigned first = MIN((u64)n, PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
	gpa_t gpa;

	if (translate(r, linear, true, &gpa))
		return -EFAULT;
	return first < n && translate(r, linear + first, true, &gpa) ? -EFAULT : 0;
}

static int emul_pio_in(struct emul *e, u16 port, unsigned n, u32 *val)
{
	*val = vm_pio_read(run_of(e)->v->vm, port, n);
	if (unlikely(run_of(e)->v->hv.dr7_armed))
		debug_hit(run_of(e)->v, port, n, DEBUG_IO);
	return 0;
}

static int emul_pio_out(struct emul *e, u16 port, unsigned n, u32 val)
{
	vm_pio_write(run_of(e)->v->vm, port, n, val);
	if (unlikely(run_of(e)->v->hv.dr7_armed))
		debug_hit(run_of(e)->v, port, n, DEBUG_IO);
	return 0;
}

static void emul_get_seg(struct emul *e, enum hv_seg s, struct hv_segment *out)
{
	hv->get_seg(&run_of(e)->v->hv, s, out);
}

static const struct emul_ops emul_ops = {
	.read = emul_read, .write = emul_write, .cmpxchg = emul_cmpxchg,
	.probe_write = emul_probe_write, .pio_in = emul_pio_in, .pio_out = emul_pio_out,
	.get_seg = emul_get_seg,
};

/* String and stack instructions touch more than their MODRM operand. */
static bool has_one_operand(const struct insn *i)
{
	if (i->map != INSN_MAP_1)
		return i->map == INSN_MAP_0F;
	switch (i->opcode) {
	case 0x8f:
	case 0xff:
	case 0xa4 ... 0xa7:
		return false;
	default:
		return true;
	}
}

static void finish(struct vcpu *v, struct emul_run *r, const struct insn *i, enum emul_result res)
{
	switch (res) {
	case EMUL_OK:
		v->hv.rflags = r->e.rflags;
		hv->advance(&v->hv, i->len);
		v->hv.rip = r->e.rip;
		break;
	case EMUL_RETRY:
		v->hv.rip = r->e.rip;
		v->hv.rflags = r->e.rflags;
		/* Traps come after each iteration of a REP string (SDM vol. 3, 17.3.1.4). */
		if (r->rcx == v->hv.gpr[REG_RCX])
			v->hv.pending_db = 0;
		else if (r->e.rflags & RFLAGS_TF)
			v->hv.pending_db |= DR6_BS;
		break;
	case EMUL_FAULT:
		v->hv.pending_db = 0;
		vcpu_raise(v, r->e.fault.vector, r->e.fault.has_error, r->e.fault.error,
			   r->e.fault.cr2);
		break;
	case EMUL_UNHANDLED:
		if (r->e.cpl == 3) { /* a program must not be able to end its machine */
			vcpu_raise_ud(v);
			break;
		}
		vm_kill(v->vm, "instruction %02x %02x %02x %02x %02x %02x at %#lx is not emulated",
			i->bytes[0], i->bytes[1], i->bytes[2], i->bytes[3], i->bytes[4],
			i->bytes[5], (unsigned long)v->hv.rip);
		break;
	}
}

static void run_init(struct emul_run *r, struct vcpu *v, const struct insn *i)
{
	struct hv_paging p;

	*r = (struct emul_run){
		.e = {.ops = &emul_ops, .gpr = v->hv.gpr, .rip = v->hv.rip,
		      .rflags = v->hv.rflags, .mode = i->mode, .iopl = v->hv.rflags >> 12 & 3,
		      .rep_budget = REP_BUDGET},
		.v = v,
		.one_operand = has_one_operand(i),
		.rcx = v->hv.gpr[REG_RCX],
	};
	hv->get_paging(&v->hv, &p);
	r->e.cpl = p.cpl;
	r->e.va_bits = p.cr4 & CR4_LA57 ? 57 : 48;
	r->e.protected_mode = p.cr0 & CR0_PE && !(v->hv.rflags & RFLAGS_VM);
}

static void emulate_insn(struct vcpu *v, const struct insn *i, const struct vm_exit *npf)
{
	struct emul_run r;

	run_init(&r, v, i);
	r.npf = npf;
	finish(v, &r, i, emulate(&r.e, i));
}

static void raise_fault(struct vcpu *v, const struct emul_fault *f)
{
	vcpu_raise(v, f->vector, f->has_error, f->error, f->cr2);
}

bool emulate_operand16(struct vcpu *v, const struct insn *i, u16 *val)
{
	struct emul_run r;
	u64 linear;

	if (i->mod == 3) {
		*val = v->hv.gpr[i->rm];
		return true;
	}
	run_init(&r, v, i);
	if (!emul_operand_address(&r.e, i, 2, false, &linear) && !emul_read(&r.e, linear, val, 2))
		return true;
	raise_fault(v, &r.e.fault);
	return false;
}

bool emulate_store16(struct vcpu *v, const struct insn *i, u16 val)
{
	struct emul_run r;
	u64 linear;

	run_init(&r, v, i);
	if (!emul_operand_address(&r.e, i, 2, true, &linear) && !emul_write(&r.e, linear, &val, 2))
		return true;
	raise_fault(v, &r.e.fault);
	return false;
}

static bool is_string_io(const struct insn *i)
{
	return i->map == INSN_MAP_1 && i->opcode >= 0x6c && i->opcode <= 0x6f;
}

void exit_pio(struct vcpu *v, const struct vm_exit *e)
{
	u64 *rax = &v->hv.gpr[REG_RAX];
	unsigned size = e->pio.size;

	if (unlikely(e->pio.string || !e->insn_len)) {
		/* The CPU has checked IOPL and the TSS's bitmap before it exited. */
		const struct insn *i = guest_decode(v, NULL, 0);

		if (i && (is_string_io(i) || !e->pio.string))
			emulate_insn(v, i, NULL);
		return;
	}
	if (e->pio.in) {
		u32 val = vm_pio_read(v->vm, e->pio.port, size);

		if (size == 4)
			*rax = val;
		else
			memcpy(rax, &val, size);
	} else {
		vm_pio_write(v->vm, e->pio.port, size, *rax);
	}
	if (unlikely(v->hv.dr7_armed))
		debug_hit(v, e->pio.port, size, DEBUG_IO);
	hv->advance(&v->hv, e->insn_len);
}

/* The low byte of a general register as byte instructions name it: without REX 4..7 are AH..BH. */
static u8 *byte_reg(struct vcpu *v, const struct insn *i)
{
	if (!i->rex && i->reg >= 4 && i->reg < 8)
		return (u8 *)&v->hv.gpr[i->reg - 4] + 1;
	return (u8 *)&v->hv.gpr[i->reg];
}

/*
 * The CPU names the first byte of a page: is it the operand's first byte, or does the operand begin in the page
 * before, which is RAM? true only where that is plain to see.
 */
static bool begins_page(const struct vcpu *v, const struct insn *i)
{
	u64 ea = (u64)i->disp;

	if (i->mode != INSN_64 || i->base > REG_R15 || i->prefixes & INSN_PFX_SEG)
		return false;
	if (i->base >= 0)
		ea += v->hv.gpr[i->base];
	if (i->index >= 0)
		ea += v->hv.gpr[i->index] * i->scale;
	return !(ea & (PAGE_SIZE - 1));
}

/*
 * Plain MOV between a register (or an immediate) and a device: nearly every MMIO access. The CPU has checked
 * segment, paging and direction and named the address before it exited, so nothing is left to
 * compute. false: not one of these, it crosses the page, or a breakpoint may be on it.
 */
static bool mov_mmio(struct vcpu *v, const struct insn *i, const struct vm_exit *e)
{
	unsigned size = i->opcode & 1 ? i->op_size : 1;
	gpa_t gpa = e->npf.gpa;
	u64 *reg = &v->hv.gpr[i->reg], val;

	if (i->map != INSN_MAP_1 || i->enc != INSN_LEGACY || i->prefixes & INSN_PFX_LOCK ||
	    e->npf.during_walk || v->hv.dr7_armed)
		return false;
	/* Over the end of the page, or at its beginning. */
	if (((gpa - 1) & (PAGE_SIZE - 1)) + size >= PAGE_SIZE &&
	    (gpa & (PAGE_SIZE - 1) || (size > 1 && !begins_page(v, i))))
		return false;
	switch (i->opcode) {
	case 0x88:
	case 0x89:
		if (!e->npf.write)
			return false;
		vm_mmio_write(v, gpa, size, size == 1 ? *byte_reg(v, i) : *reg);
		break;
	case 0x8a:
	case 0x8b:
		if (e->npf.write)
			return false;
		val = vm_mmio_read(v, gpa, size);
		if (size == 1)
			*byte_reg(v, i) = val;
		else if (size == 2)
			memcpy(reg, &val, 2);
		else
			*reg = size == 4 ? (u32)val : val;
		break;
	case 0xc6:
	case 0xc7:
		if (!e->npf.write || (i->reg & 7))
			return false;
		vm_mmio_write(v, gpa, size, i->imm);
		break;
	default:
		return false;
	}
	hv->advance(&v->hv, i->len);
	return true;
}

void exit_npf(struct vcpu *v, const struct vm_exit *e)
{
	const bool in_delivery = v->reinject.valid;
	const struct insn *i;

	if (unlikely(e->npf.misconfig)) {
		vm_kill(v->vm, "nested page tables misread at %#lx", (unsigned long)e->npf.gpa);
		return;
	}
	if (unlikely(vm_slot(v->vm, e->npf.gpa))) {
		fault_ram(v, e);
		return;
	}
	if (unlikely(in_delivery)) {
		/*
		 * The IDT, the TSS or the stack of the guest's handler is no memory. At CPL 3 that can
		 * be a program's own choice: INT n in V86 mode with CR4.VME, a gate to a conforming
		 * segment. It gets what a table that reads as ones gives it.
		 */
		if (guest_cpl(v) == 3) {
			vcpu_raise_gp(v);
			return;
		}
		vm_kill(v->vm, "delivering vector %u touches %#lx, where there is no RAM",
			v->reinject.vector, (unsigned long)e->npf.gpa);
		return;
	}
	if (unlikely(e->npf.fetch && !e->npf.during_walk)) {
		vcpu_raise_ud(v); /* nothing answers the fetch: ones, FF FF is #UD */
		return;
	}
	i = guest_decode(v, e->npf.nr_bytes ? e->npf.bytes : NULL, e->npf.nr_bytes);
	if (i && !mov_mmio(v, i, e))
		emulate_insn(v, i, e);
}
