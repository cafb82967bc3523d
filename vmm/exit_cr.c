/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control registers, EFER and XCR0: check as the CPU would (SDM vol. 3, 2.5, 4.1; APM vol. 2, 3.1),
 * then let the backend keep its control block consistent.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/x86.h"
#include "lib/string.h"
#include "vmm/gmem.h"
#include "vmm/fetch.h"
#include "vmm/vm.h"

#define CR0_DEFINED                                                                                \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | \
	 CR0_PG)

/* PAE paging: the CPU loads four PDPTEs; false: a reserved bit is set, #GP (SDM vol. 3, 4.4.1). AMD's
 * reads them at each walk under nested paging, and finds fault with them only there (APM vol. 2,
 * 15.25.10): a walker that sets their accessed bit, as QEMU's does, must not cost the guest a #GP. */
static bool load_pdptes(struct vcpu *v)
{
	u64 cr0 = hv->get_reg(&v->hv, REG_CR0), cr4 = hv->get_reg(&v->hv, REG_CR4), e[4];
	gpa_t at = hv->get_reg(&v->hv, REG_CR3) & 0xffffffe0;

	if (!(cr0 & CR0_PG) || !(cr4 & CR4_PAE) || hv->get_reg(&v->hv, REG_EFER) & EFER_LMA ||
	    v->vm->cpuid->basic[0].ebx != CPUID_GENU)
		return true;
	if (gmem_read(v->vm, at, e, sizeof(e)))
		memset(e, 0xff, sizeof(e));
	for (int i = 0; i < 4; i++)
		if (e[i] & 1 && e[i] & (0xfff00000000001e6ull))
			return false;
	for (int i = 0; i < 4; i++)
		hv->set_reg(&v->hv, REG_PDPTE0 + i, e[i]);
	return true;
}

static bool cr0_write(struct vcpu *v, u64 val)
{
	u64 old = hv->get_reg(&v->hv, REG_CR0), efer = hv->get_reg(&v->hv, REG_EFER);
	u64 cr4 = hv->get_reg(&v->hv, REG_CR4);
	struct hv_segment cs;

	if (val >> 32)
		return false;
	val = (val & CR0_DEFINED) | CR0_ET;
	if ((val & CR0_PG && !(val & CR0_PE)) || (val & CR0_NW && !(val & CR0_CD)))
		return false;
	hv->get_seg(&v->hv, SEG_CS, &cs);
	if (val & ~old & CR0_PG && efer & EFER_LME && (!(cr4 & CR4_PAE) || cs.attr & SEG_ATTR_L))
		return false;
	if (old & ~val & CR0_PG && (cr4 & CR4_PCIDE || (efer & EFER_LMA && cs.attr & SEG_ATTR_L)))
		return false;
	hv->set_reg(&v->hv, REG_CR0, val);
	if ((old ^ val) & (CR0_PG | CR0_CD | CR0_NW) && !load_pdptes(v)) {
		hv->set_reg(&v->hv, REG_CR0, old);
		return false;
	}
	return true;
}

u64 cr4_allowed(const struct vm *vm)
{
	const struct cpuid_table *t = vm->cpuid;
	u64 m = CR4_TSD | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
		CR4_OSXMMEXCPT; /* every CPU with long mode */

	m |= cpuid_guest_has(t, 1, 'd', 1) ? CR4_VME | CR4_PVI : 0;
	m |= cpuid_guest_has(t, 1, 'd', 2) ? CR4_DE : 0;
	m |= cpuid_guest_has(t, 1, 'c', 17) ? CR4_PCIDE : 0;
	m |= cpuid_guest_has(t, 1, 'c', 26) ? CR4_OSXSAVE : 0;
	m |= cpuid_guest_has(t, 7, 'b', 0) ? CR4_FSGSBASE : 0;
	m |= cpuid_guest_has(t, 7, 'b', 7) ? CR4_SMEP : 0;
	m |= cpuid_guest_has(t, 7, 'b', 20) ? CR4_SMAP : 0;
	m |= cpuid_guest_has(t, 7, 'c', 2) ? CR4_UMIP : 0;
	m |= cpuid_guest_has(t, 7, 'c', 16) ? CR4_LA57 : 0;
	return m;
}

static bool cr4_write(struct vcpu *v, u64 val)
{
	u64 old = hv->get_reg(&v->hv, REG_CR4), efer = hv->get_reg(&v->hv, REG_EFER);

	if (val & ~cr4_allowed(v->vm))
		return false;
	if (efer & EFER_LMA && ((old & ~val & CR4_PAE) || ((old ^ val) & CR4_LA57)))
		return false;
	if (val & ~old & CR4_PCIDE && (!(efer & EFER_LMA) || hv->get_reg(&v->hv, REG_CR3) & 0xfff))
		return false;
	hv->set_reg(&v->hv, REG_CR4, val);
	if ((old ^ val) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) && !load_pdptes(v)) {
		hv->set_reg(&v->hv, REG_CR4, old);
		return false;
	}
	return true;
}

bool cr3_write(struct vcpu *v, u64 val)
{
	unsigned bits = v->vm->cpuid->ext[8].eax & 0xff;
	u64 old = hv->get_reg(&v->hv, REG_CR3);

	if (hv->get_reg(&v->hv, REG_CR4) & CR4_PCIDE)
		val &= ~CR3_NOFLUSH;
	if (hv->get_reg(&v->hv, REG_EFER) & EFER_LMA && val >> bits)
		return false;
	hv->set_reg(&v->hv, REG_CR3, val);
	if (!load_pdptes(v)) {
		hv->set_reg(&v->hv, REG_CR3, old);
		return false;
	}
	hv->flush_nested(&v->hv); /* a MOV to CR3 flushes; the CPU did not run this one */
	return true;
}

bool efer_write(struct vcpu *v, u64 val)
{
	u64 old = hv->get_reg(&v->hv, REG_EFER), allowed = EFER_SCE | EFER_LME | EFER_LMA;

	if (cpuid_guest_has(v->vm->cpuid, 0x80000001, 'd', 25))
		allowed |= EFER_FFXSR;
	if (cpuid_guest_has(v->vm->cpuid, 0x80000001, 'd', 20))
		allowed |= EFER_NXE;
	if (val & ~allowed)
		return false;
	if ((old ^ val) & EFER_LME && hv->get_reg(&v->hv, REG_CR0) & CR0_PG)
		return false;
	/* LMA is the CPU's: writes do not change it (SDM vol. 3, 2.2.1). */
	hv->set_reg(&v->hv, REG_EFER, (val & ~EFER_LMA) | (old & EFER_LMA));
	return true;
}

static bool cr_write(struct vcpu *v, unsigned cr, u64 val)
{
	switch (cr) {
	case 0:
		return cr0_write(v, val);
	case 2:
		v->hv.cr2 = val;
		return true;
	case 3:
		return cr3_write(v, val);
	case 4:
		return cr4_write(v, val);
	case 8:
		if (val >> 4)
			return false;
		v->lapic.tpr = val << 4;
		v->hv.tpr = val;
		return true;
	default:
		vcpu_raise_ud(v);
		return true;
	}
}

static u64 cr_read(struct vcpu *v, unsigned cr)
{
	switch (cr) {
	case 0:
		return hv->get_reg(&v->hv, REG_CR0);
	case 2:
		return v->hv.cr2;
	case 3:
		return hv->get_reg(&v->hv, REG_CR3);
	case 4:
		return hv->get_reg(&v->hv, REG_CR4);
	case 8:
		return v->lapic.tpr >> 4;
	default:
		return 0;
	}
}

/* LMSW sets MP, EM, TS and can set but not clear PE (SDM vol. 2). */
static u64 lmsw_value(struct vcpu *v, u16 src)
{
	u64 cr0 = hv->get_reg(&v->hv, REG_CR0);

	return (cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) | (src & 0xf);
}

struct cr_op {
	u8 kind; /* as in vm_exit: 0 MOV, 1 CLTS, 2 LMSW, 3 SMSW */
	u8 cr, gpr;
	bool write;
	u16 lmsw;
	unsigned len;
};

/*
 * SMSW exits where the guest's CR0 is not the real one (SVM, while the guest has CD set). A register takes as
 * much of CR0 as the operand size holds, memory 16 bits (SDM vol. 2). Returns false: nothing is left to do.
 */
static bool smsw(struct vcpu *v, const struct insn *i)
{
	u64 cr0 = hv->get_reg(&v->hv, REG_CR0);

	if (i->mod != 3) {
		if (!emulate_store16(v, i, cr0))
			return false;
	} else if (i->op_size == 2) {
		memcpy(&v->hv.gpr[i->rm], &cr0, 2);
	} else {
		v->hv.gpr[i->rm] = i->op_size == 8 ? cr0 : (u32)cr0;
	}
	hv->advance(&v->hv, i->len);
	return false;
}

/* What the CPU left out, from the code. false: a fault was raised, or it is another instruction by
 * now. */
static bool decode_op(struct vcpu *v, struct cr_op *op)
{
	const struct insn *i = guest_decode(v, NULL, 0);

	if (!i || i->enc != INSN_LEGACY || i->map != INSN_MAP_0F)
		return false;
	op->len = i->len;
	switch (i->opcode) {
	case 0x06:
		op->kind = 1;
		return true;
	case 0x20:
	case 0x22:
		op->kind = 0;
		op->write = i->opcode == 0x22;
		op->cr = i->prefixes & INSN_PFX_LOCK ? i->reg | 8
						    : i->reg; /* APM vol. 3: LOCK names CR8 */
		op->gpr = i->rm;
		return true;
	case 0x01:
		if ((i->reg & 7) == 4)
			return smsw(v, i); /* complete in itself */
		op->kind = 2;
		return (i->reg & 7) == 6 && emulate_operand16(v, i, &op->lmsw);
	default:
		return false;
	}
}

void exit_cr(struct vcpu *v, const struct vm_exit *e)
{
	struct cr_op op = {.kind = e->cr.kind, .cr = e->cr.cr, .gpr = e->cr.gpr,
			   .write = e->cr.write, .lmsw = e->cr.lmsw, .len = e->insn_len};
	bool ok = true;

	if ((op.gpr == 0xff || !op.len) && !decode_op(v, &op))
		return;
	if (op.kind == 1)
		ok = cr0_write(v, hv->get_reg(&v->hv, REG_CR0) & ~CR0_TS);
	else if (op.kind == 2)
		ok = cr0_write(v, lmsw_value(v, op.lmsw));
	else if (op.write)
		ok = cr_write(v, op.cr,
			      guest_mode(v) == INSN_64 ? v->hv.gpr[op.gpr]
						       : (u32)v->hv.gpr[op.gpr]);
	else
		v->hv.gpr[op.gpr] = cr_read(v, op.cr);
	if (!ok)
		vcpu_raise_gp(v);
	if (!v->exception.valid)
		hv->advance(&v->hv, op.len);
}

static u64 dr_read(struct vcpu *v, unsigned dr)
{
	if (dr < 4)
		return v->hv.dr[dr];
	return dr == 6 ? v->hv.dr6 : hv->get_reg(&v->hv, REG_DR7);
}

static bool dr_write(struct vcpu *v, unsigned dr, u64 val)
{
	if (dr < 4)
		v->hv.dr[dr] = val;
	else if (val >> 32)
		return false;
	else if (dr == 6)
		v->hv.dr6 = (val & (DR6_B0_B3 | BIT(13) | DR6_BS | DR6_BT)) | DR6_FIXED;
	else
		hv->set_reg(&v->hv, REG_DR7, val);
	return true;
}

/* A debugger has the CPU's own (HV_DEBUG_DR), and the guest's are but numbers (SDM vol. 3, 18.2; APM vol. 2, 13.1.1). */
void exit_dr(struct vcpu *v, const struct vm_exit *e)
{
	u8 dr = e->dr.dr, gpr = e->dr.gpr, len = e->insn_len;
	bool ok = true;

	if (gpr == 0xff || !len) {
		const struct insn *i = guest_decode(v, NULL, 0);

		if (!i || i->enc != INSN_LEGACY || i->map != INSN_MAP_0F || (i->opcode & ~2) != 0x21)
			return;
		len = i->len;
		gpr = i->rm;
	}
	if (dr == 4 || dr == 5) {
		if (hv->get_reg(&v->hv, REG_CR4) & CR4_DE) {
			vcpu_raise_ud(v);
			return;
		}
		dr += 2;
	}
	if (guest_cpl(v)) {
		ok = false;
	} else if (hv->get_reg(&v->hv, REG_DR7) & DR7_GD) {
		vcpu_raise(v, EXC_DB, false, 0, BIT(13)); /* BD */
		return;
	} else if (e->dr.write) {
		ok = dr_write(v, dr, guest_mode(v) == INSN_64 ? v->hv.gpr[gpr] : (u32)v->hv.gpr[gpr]);
	} else {
		v->hv.gpr[gpr] = dr_read(v, dr);
	}
	if (ok)
		hv->advance(&v->hv, len);
	else
		vcpu_raise_gp(v);
}

void exit_xsetbv(struct vcpu *v, const struct vm_exit *e)
{
	static const struct insn_id id = {3, {0x0f, 0x01, 0xd1}};
	u64 val = (u32)v->hv.gpr[REG_RAX] | v->hv.gpr[REG_RDX] << 32;
	unsigned len = guest_insn_len(v, e, &id);

	if (!len)
		return;
	if (guest_cpl(v) || (u32)v->hv.gpr[REG_RCX] || !fpu_xcr0_valid(val)) {
		vcpu_raise_gp(v);
		return;
	}
	v->hv.xcr0 = val;
	xsetbv(0, val); /* the guest's is live while it is loaded */
	hv->advance(&v->hv, len);
}
