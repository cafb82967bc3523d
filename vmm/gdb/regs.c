/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registers by GDB's numbers, and the target description that gives them their names: "Debugging with GDB",
 * appendix G.5.4. What the CPU might refuse at entry cannot be set: a debugger's typing error does not end the VM.
 */
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/x86.h"
#include "lib/string.h"
#include "vmm/gdb/gdb_int.h"
#include "vmm/vm.h"

enum kind { GPR, RIP, FLAGS, SELECTOR, ST, FPU, XMM, MXCSR, BASE, SYSTEM };

struct reg {
	const char *name, *type;
	u8 size, kind, arg;
};
#define GENERAL(n, i)  {n, "int64", 8, GPR, i}
#define SEGMENT(n, s)  {n, "int32", 4, SELECTOR, s}
#define NUMBERED(m, b) m(b, 0), m(b, 1), m(b, 2), m(b, 3), m(b, 4), m(b, 5), m(b, 6), m(b, 7)
#define STACK(b, i)    {"st" #i, "i387_ext", 10, ST, i}
#define X87(n, i)      {n, "int", 4, FPU, i}
#define VECTOR(b, i)   {"xmm" b #i, "vec128", 16, XMM, b[0] ? 10 + i : i}

/* clang-format off */
static const struct reg regs[] = {
	GENERAL("rax", REG_RAX), GENERAL("rbx", REG_RBX), GENERAL("rcx", REG_RCX), GENERAL("rdx", REG_RDX),
	GENERAL("rsi", REG_RSI), GENERAL("rdi", REG_RDI), {"rbp", "data_ptr", 8, GPR, REG_RBP},
	{"rsp", "data_ptr", 8, GPR, REG_RSP}, GENERAL("r8", 8), GENERAL("r9", 9), GENERAL("r10", 10),
	GENERAL("r11", 11), GENERAL("r12", 12), GENERAL("r13", 13), GENERAL("r14", 14), GENERAL("r15", 15),
	{"rip", "code_ptr", 8, RIP, 0}, {"eflags", "i386_eflags", 4, FLAGS, 0},
	SEGMENT("cs", SEG_CS), SEGMENT("ss", SEG_SS), SEGMENT("ds", SEG_DS), SEGMENT("es", SEG_ES),
	SEGMENT("fs", SEG_FS), SEGMENT("gs", SEG_GS), NUMBERED(STACK, ""),
	X87("fctrl", 0), X87("fstat", 1), X87("ftag", 2), X87("fiseg", 3), X87("fioff", 4), X87("foseg", 5),
	X87("fooff", 6), X87("fop", 7),
#define FIRST_SSE 40
	NUMBERED(VECTOR, ""), {"xmm8", "vec128", 16, XMM, 8}, {"xmm9", "vec128", 16, XMM, 9},
	VECTOR("1", 0), VECTOR("1", 1), VECTOR("1", 2), VECTOR("1", 3), VECTOR("1", 4), VECTOR("1", 5),
	{"mxcsr", "int", 4, MXCSR, 0},
#define FIRST_BASE 57
	{"fs_base", "int64", 8, BASE, SEG_FS}, {"gs_base", "int64", 8, BASE, SEG_GS},
#define FIRST_SYSTEM 59
	{"k_gs_base", "int64", 8, SYSTEM, REG_KERNEL_GS_BASE}, {"cr0", "int64", 8, SYSTEM, REG_CR0},
	{"cr2", "int64", 8, SYSTEM, HV_NR_REGS}, {"cr3", "int64", 8, SYSTEM, REG_CR3},
	{"cr4", "int64", 8, SYSTEM, REG_CR4}, {"cr8", "int64", 8, SYSTEM, HV_NR_REGS + 1},
	{"efer", "int64", 8, SYSTEM, REG_EFER},
};
/* clang-format on */

/* The legacy region of the XSAVE area: SDM vol. 1, table 10-2. */
#define AREA_FTW   4
#define AREA_ST	   32
#define AREA_XMM   160
#define AREA_MXCSR 24
static const struct {
	u8 at, size;
} x87[] = {{0, 2}, {2, 2}, {AREA_FTW, 1}, {12, 4}, {8, 4}, {20, 4}, {16, 4}, {6, 2}};

/* The tag word has two bits a register, of which FXSAVE keeps "not empty" (SDM vol. 1, 10.5.1.1). */
static u32 whole_tags(u8 used)
{
	u32 tags = 0;

	for (unsigned i = 0; i < 8; i++)
		tags |= used >> i & 1 ? 0 : 3u << 2 * i;
	return tags;
}

static u8 short_tags(u32 tags)
{
	u8 used = 0;

	for (unsigned i = 0; i < 8; i++)
		used |= (tags >> 2 * i & 3) == 3 ? 0 : (u8)(1u << i);
	return used;
}

/* Where it lies in the area, which is current while the vCPU is not loaded; NULL: not there. */
static u8 *in_area(struct gdb *g, const struct reg *r)
{
	u8 *area = g->vm->vcpus[g->cpu]->hv.xsave;

	switch (r->kind) {
	case ST:
		return area + AREA_ST + 16 * r->arg;
	case FPU:
		return area + x87[r->arg].at;
	case XMM:
		return area + AREA_XMM + 16 * r->arg;
	case MXCSR:
		return area + AREA_MXCSR;
	default:
		return NULL;
	}
}

static unsigned area_size(const struct reg *r)
{
	return r->kind == FPU ? x87[r->arg].size : r->size;
}

unsigned gdb_reg_size(unsigned reg)
{
	static_assert(ARRAY_SIZE(regs) == FIRST_SYSTEM + 7, "GDB's numbers are places in the table");
	return reg < ARRAY_SIZE(regs) ? regs[reg].size : 0;
}

static u64 system_get(struct vcpu *v, u8 which)
{
	if (which < HV_NR_REGS)
		return hv->get_reg(&v->hv, which);
	return which == HV_NR_REGS ? v->hv.cr2 : v->lapic.tpr >> 4;
}

static u64 number_get(struct vcpu *v, const struct reg *r)
{
	struct hv_segment seg;

	switch (r->kind) {
	case GPR:
		return v->hv.gpr[r->arg];
	case RIP:
		return v->hv.rip;
	case FLAGS:
		return v->hv.rflags;
	case SYSTEM:
		return system_get(v, r->arg);
	default:
		hv->get_seg(&v->hv, r->arg, &seg);
		return r->kind == BASE ? seg.base : seg.selector;
	}
}

void gdb_reg_get(struct gdb *g, unsigned reg, u8 *buf)
{
	const struct reg *r = &regs[reg];
	const u8 *area = in_area(g, r);
	u64 val;

	memset(buf, 0, r->size);
	if (!area) {
		val = number_get(gdb_load(g, g->cpu), r);
		memcpy(buf, &val, r->size);
		return;
	}
	gdb_unload(g);
	memcpy(buf, area, area_size(r));
	if (r->kind == FPU && x87[r->arg].at == AREA_FTW) {
		val = whole_tags(area[0]);
		memcpy(buf, &val, r->size);
	}
}

/* --- setting --- */

/* TF is the step's; IOPL, VM and the rest belong to the modes. */
#define FLAGS_SETTABLE                                                                              \
	(RFLAGS_CF | BIT(2) | BIT(4) | RFLAGS_ZF | BIT(7) | RFLAGS_IF | BIT(10) | BIT(11) | RFLAGS_NT | \
	 RFLAGS_AC | BIT(21))

static bool flags_set(struct vcpu *v, u64 val)
{
	u64 change = val ^ v->hv.rflags;
	struct hv_pending p;

	if (change & ~FLAGS_SETTABLE)
		return false;
	hv->get_pending(&v->hv, &p);
	if (change & RFLAGS_IF && p.blocking & HV_BLOCK_STI)
		return false; /* a shadow of STI with IF clear: no such state */
	v->hv.rflags = val;
	return true;
}

static bool rip_set(struct vcpu *v, u64 val)
{
	if (!gdb_is_linear(v, val))
		return false;
	/* What was about to be delivered belongs to the instruction that is left. */
	if (v->hv.rip != val)
		v->exception.valid = v->hv.pending_db = v->reinject.valid = 0;
	v->hv.rip = val;
	return true;
}

static bool number_set(struct vcpu *v, const struct reg *r, u64 val)
{
	struct hv_segment seg;

	if (val == number_get(v, r))
		return true;
	switch (r->kind) {
	case GPR:
		v->hv.gpr[r->arg] = val;
		return true;
	case RIP:
		return rip_set(v, val);
	case FLAGS:
		return flags_set(v, val);
	case BASE:
		if (!gdb_is_linear(v, val))
			return false;
		hv->get_seg(&v->hv, r->arg, &seg);
		seg.base = val;
		hv->set_seg(&v->hv, r->arg, &seg);
		return true;
	case SYSTEM:
		if (r->arg != REG_KERNEL_GS_BASE || !gdb_is_linear(v, val))
			return false;
		hv->set_reg(&v->hv, REG_KERNEL_GS_BASE, val);
		return true;
	default:
		return false;
	}
}

bool gdb_reg_set(struct gdb *g, unsigned reg, const u8 *buf)
{
	const struct reg *r = &regs[reg];
	u8 *area = in_area(g, r), was[GDB_REG_MAX];
	u64 val = 0;

	if (!area) {
		memcpy(&val, buf, r->size);
		return number_set(gdb_load(g, g->cpu), r, val);
	}
	gdb_unload(g);
	memcpy(was, area, area_size(r));
	memcpy(area, buf, area_size(r));
	if (r->kind == FPU && x87[r->arg].at == AREA_FTW) {
		memcpy(&val, buf, r->size);
		area[0] = short_tags((u32)val);
	}
	if (!fpu_area_valid(g->vm->vcpus[g->cpu]->hv.xsave)) {
		memcpy(area, was, area_size(r));
		return false;
	}
	fpu_area_changed(g->vm->vcpus[g->cpu]->hv.xsave);
	return true;
}

/* --- the description --- */

static const char types[] =
	"<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\">"
	"<target version=\"1.0\"><architecture>i386:x86-64</architecture>";
static const char core[] =
	"<feature name=\"org.gnu.gdb.i386.core\"><flags id=\"i386_eflags\" size=\"4\">"
	"<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"PF\" start=\"2\" end=\"2\"/>"
	"<field name=\"AF\" start=\"4\" end=\"4\"/><field name=\"ZF\" start=\"6\" end=\"6\"/>"
	"<field name=\"SF\" start=\"7\" end=\"7\"/><field name=\"TF\" start=\"8\" end=\"8\"/>"
	"<field name=\"IF\" start=\"9\" end=\"9\"/><field name=\"DF\" start=\"10\" end=\"10\"/>"
	"<field name=\"OF\" start=\"11\" end=\"11\"/><field name=\"NT\" start=\"14\" end=\"14\"/>"
	"<field name=\"RF\" start=\"16\" end=\"16\"/><field name=\"AC\" start=\"18\" end=\"18\"/></flags>";
static const char sse[] =
	"</feature><feature name=\"org.gnu.gdb.i386.sse\">"
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
	"<vector id=\"v2i64\" type=\"int64\" count=\"2\"/><union id=\"vec128\">"
	"<field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
	"<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
	"<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/></union>";
static const char bases[] = "</feature><feature name=\"org.gnu.gdb.i386.segments\">";
static const char system[] = "</feature><feature name=\"dalang.system\">";
static const char last[] = "</feature></target>";

/* A part of a text that is made anew each time. */
struct part {
	char *buf;
	size_t skip, room, n;
};

static void add(struct part *p, const char *s)
{
	for (; *s; s++) {
		if (p->skip) {
			p->skip--;
		} else if (p->n < p->room) {
			p->buf[p->n++] = *s;
		}
	}
}

size_t gdb_description(char *buf, size_t off, size_t n)
{
	struct part p = {buf, off, n, 0};
	char line[96];

	add(&p, types);
	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		add(&p, i == 0		    ? core
			: i == FIRST_SSE    ? sse
			: i == FIRST_BASE   ? bases
			: i == FIRST_SYSTEM ? system
					    : "");
		snprintf(line, sizeof(line), "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", regs[i].name,
			 8 * regs[i].size, regs[i].type);
		add(&p, line);
	}
	add(&p, last);
	return p.n;
}
