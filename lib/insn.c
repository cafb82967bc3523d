/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instruction decoder. One pass over at most 15 bytes: prefixes, opcode through the tables,
 * ModRM, immediate. It stands on the exit path, so the common instruction (no escape into a group)
 * meets three table look-ups and no call.
 */
#include "lib/insn.h"
#include "lib/insn_tables.h"

typedef u64 __attribute__((may_alias)) word_t;
/* clear() zeroes mode to vex_l as four words. */
static_assert(offsetof(struct insn, mode) == 16 && offsetof(struct insn, disp) == 48, "moved");

/* Out of line, so that the common instruction does not save registers for the rare one. */
#define rare   __attribute__((noinline))
#define common inline __attribute__((always_inline))

/* Where the cold paths stand. They say INSN_MORE for missing bytes, whatever the reason. */
struct cursor {
	const u8 *p, *end;
};

static inline u64 load(const u8 *p, unsigned n)
{
	u64 v = 0;

	switch (n) {
	case 1:
		return *p;
	case 2:
		__builtin_memcpy(&v, p, 2);
		return v;
	case 4:
		__builtin_memcpy(&v, p, 4);
		return v;
	default:
		__builtin_memcpy(&v, p, 8);
		return v;
	}
}

static inline u64 sign_extend(u64 v, unsigned n)
{
	unsigned shift = 64 - 8 * n;

	return (u64)((s64)(v << shift) >> shift);
}

/*
 * Everything behind `bytes`, in words: this is called at every exit that needs an instruction. The
 * address size is that without a 67 prefix.
 */
static inline void clear(struct insn *i, unsigned mode)
{
	word_t *w = (word_t *)(void *)i;

	w[2] = w[3] = w[4] = w[5] = 0;
	i->disp = 0;
	i->imm = 0;
	i->imm2 = 0;
	i->mode = mode;
	i->addr_size = mode;
	i->base = i->index = -1;
	i->scale = 1;
	i->seg = 3;
}

/* Segment override. In 64-bit mode ES, CS, SS and DS are ignored, and do not undo FS or GS. */
static inline void segment_prefix(struct insn *i, unsigned seg)
{
	if (i->mode == INSN_64 && seg < 4)
		return;
	i->prefixes |= INSN_PFX_SEG;
	i->seg = seg;
}

static rare void prefix(struct insn *i, u8 b)
{
	switch (b) {
	case 0x26:
	case 0x2e:
	case 0x36:
	case 0x3e:
		segment_prefix(i, (b >> 3) & 3);
		break;
	case 0x64:
	case 0x65:
		segment_prefix(i, b & 7);
		break;
	case 0x66:
		i->prefixes |= INSN_PFX_OPSZ;
		break;
	case 0x67:
		i->prefixes |= INSN_PFX_ADSZ;
		i->addr_size = i->mode == INSN_32 ? 2 : 4;
		break;
	case 0xf0:
		i->prefixes |= INSN_PFX_LOCK;
		break;
	case 0xf2:
		i->prefixes |= INSN_PFX_REPNE;
		i->last_rep = b;
		break;
	default:
		i->prefixes |= INSN_PFX_REP;
		i->last_rep = b;
		break;
	}
}

static inline void default_segment(struct insn *i, bool stack)
{
	if (!(i->prefixes & INSN_PFX_SEG))
		i->seg = stack ? 2 : 3;
}

/* SDM vol. 2, table 2-1. Returns the length of the displacement. */
static rare unsigned modrm16(struct insn *i, unsigned mod, unsigned rm)
{
	static const s8 base[8] = {3, 3, 5, 5, 6, 7, 5, 3};
	static const s8 index[8] = {6, 7, 6, 7, -1, -1, -1, -1};

	if (mod == 0 && rm == 6)
		return 2;
	i->base = base[rm];
	i->index = index[rm];
	default_segment(i, base[rm] == 5);
	return mod;
}

/* SDM vol. 2, table 2-3. Returns false if [base] is a bare disp32. */
static rare bool sib(struct insn *i, u8 b, unsigned mod, unsigned rex)
{
	unsigned index = ((b >> 3) & 7) | ((rex & 2) << 2);

	i->sib = b;
	i->has_sib = 1;
	i->scale = 1u << (b >> 6);
	if (index != 4) /* VSIB has a register 4, but vector operands are not ours */
		i->index = index;
	return mod != 0 || (b & 7) != 5;
}

/*
 * ModRM, SIB and displacement; p stands on ModRM. Returns what follows, or NULL if bytes
 * are missing. `regs`: mod is ignored (MOV CR, MOV DR).
 *
 * Locals rather than fields: a store through u8 would make the compiler read all of them again.
 */
static common const u8 *modrm(struct insn *i, const u8 *p, const u8 *end, bool regs)
{
	unsigned rex = i->rex, b, mod, rm, n;

	if (unlikely(p == end))
		return NULL;
	b = *p++;
	mod = regs ? 3 : b >> 6;
	rm = b & 7;
	i->has_modrm = 1;
	i->modrm = b;
	i->mod = mod;
	i->reg = ((b >> 3) & 7) | ((rex & 4) << 1);
	i->rm = rm | ((rex & 1) << 3);
	if (mod == 3)
		return p;
	if (unlikely(i->addr_size == 2)) {
		n = modrm16(i, mod, rm);
	} else if (mod == 0 && rm == 5) { /* SDM vol. 2, table 2-2 */
		n = 4;
		i->base = i->mode == INSN_64 ? 16 : -1;
	} else {
		bool has_base = true;

		n = mod == 2 ? 4 : mod;
		if (rm == 4) {
			if (p == end)
				return NULL;
			rm = *p++;
			has_base = sib(i, rm, mod, rex);
			rm &= 7;
		}
		if (has_base) {
			rm |= (rex & 1) << 3;
			i->base = rm;
			if (rm == 4 || rm == 5)
				default_segment(i, true);
		} else {
			n = 4;
		}
	}
	if (n) {
		if (unlikely(end - p < (ptrdiff_t)n))
			return NULL;
		i->disp_len = n;
		i->disp = sign_extend(load(p, n), n);
		p += n;
	}
	return p;
}

static const u8 *two_immediates(struct insn *i, const u8 *p, const u8 *end, unsigned n, unsigned n2)
{
	i->imm_len = n;
	i->imm2_len = n2;
	if (end - p < (ptrdiff_t)(n + n2))
		return NULL;
	i->imm = load(p, n);
	i->imm2 = load(p + n, n2);
	return p + n + n2;
}

/* The immediate, or the address of a moffs. Returns as modrm() does. */
static rare const u8 *immediate(struct insn *i, const u8 *p, const u8 *end, unsigned kind)
{
	unsigned n = i->op_size;
	bool sign = false;

	switch (kind) {
	case IMM_B:
		sign = true;
		n = 1;
		break;
	case IMM_UB:
		n = 1;
		break;
	case IMM_W:
		n = 2;
		break;
	case IMM_Z:
		sign = true;
		n = MIN(n, 4u);
		break;
	case IMM_V:
		break;
	case IMM_MOFFS:
		n = i->addr_size;
		i->has_moffs = 1;
		i->disp_len = n;
		if (end - p < (ptrdiff_t)n)
			return NULL;
		i->disp = (s64)load(p, n);
		return p + n;
	case IMM_FAR:
		return two_immediates(i, p, end, n, 2);
	case IMM_WB:
		return two_immediates(i, p, end, 2, 1);
	case IMM_BB:
		return two_immediates(i, p, end, 1, 1);
	default:
		n = 4;
		break;
	}
	if (end - p < (ptrdiff_t)n)
		return NULL;
	i->imm_len = n;
	i->imm = load(p, n);
	if (sign)
		i->imm = sign_extend(i->imm, n);
	return p + n;
}

static inline bool defined(unsigned map, u8 op)
{
	return (insn_defined[map][op >> 5] >> (op & 31)) & 1;
}

/*
 * VEX, EVEX, XOP. c stands behind the first byte (62, 8F, C4, C5), which the caller has found not
 * to be BOUND, POP, LES or LDS. On success *attr says what follows the opcode.
 */
static enum insn_status vector(struct insn *i, struct cursor *c, u8 first, unsigned *attr)
{
	unsigned n = first == 0xc5 ? 1 : first == 0x62 ? 3 : 2, map = 1, bm;
	u8 a, b;

	/* SDM vol. 2, 2.3.2 to 2.3.4, 2.7.11.2: 66, F2, F3, LOCK and REX before them are #UD. */
	if (i->rex ||
	    (i->prefixes & (INSN_PFX_LOCK | INSN_PFX_REP | INSN_PFX_REPNE | INSN_PFX_OPSZ)))
		return INSN_UD;
	if (c->end - c->p < (ptrdiff_t)n + 1)
		return INSN_MORE;
	a = c->p[0];
	b = n > 1 ? c->p[1] : a & 0x7f;
	i->vex_pp = b & 3;
	i->vex_v = (~b >> 3) & 15;
	i->vex_l = (b >> 2) & 1;
	i->map = INSN_MAP_OTHER;
	if (i->mode == INSN_64) {
		i->rex = 0x40 | ((~a >> 5) & 4) | ((b >> 4) & 8);
		if (n > 1)
			i->rex |= (~a >> 5) & 3;
	}
	if (n > 1)
		map = a & 31;
	if (first == 0x62) {
		i->enc = INSN_EVEX;
		i->vex_l = (c->p[2] >> 5) & 3;
		map = a & 7;
		if ((a & 8) || !(b & 4) || map == 0 || map == 4 || map == 7)
			return INSN_UD;
		bm = map > 4 ? BM_EVEX5 + map - 5 : BM_EVEX1 + map - 1;
	} else if (first == 0x8f) {
		i->enc = INSN_XOP;
		if (map > 10)
			return INSN_UD;
		bm = BM_XOP8 + map - 8;
	} else {
		i->enc = INSN_VEX;
		if (map == 0 || map > 3)
			return INSN_UD;
		bm = BM_VEX1 + map - 1;
	}
	c->p += n;
	i->opcode = *c->p++;
	if (!defined(bm, i->opcode))
		return INSN_UD;
	*attr = INSN_A_MODRM;
	if (map == 1) {
		i->map = INSN_MAP_0F;
		*attr = i->opcode == 0x77 ? 0 : INSN_A_MODRM | (insn_map0f[i->opcode] & INSN_A_IMM);
	} else if (map == 2) {
		i->map = INSN_MAP_0F38;
	} else if (map == 3) {
		i->map = INSN_MAP_0F3A;
		*attr |= IMM_UB;
	} else if (map == 8) {
		*attr |= IMM_UB;
	} else if (map == 10) {
		*attr |= IMM_D;
	}
	return INSN_OK;
}

/* 0F, and what looks like a vector prefix. *attr: in, the table's word; out, the opcode's. */
static rare enum insn_status escape(struct insn *i, struct cursor *c, unsigned *attr)
{
	u8 op = i->opcode;

	if (c->p == c->end)
		return INSN_MORE;
	if (op == 0x8f && (*c->p & 31) >= 8)
		return vector(i, c, op, attr);
	if (op != 0x0f && op != 0x8f && (i->mode == INSN_64 || *c->p >= 0xc0))
		return vector(i, c, op, attr);
	if (op != 0x0f)
		return INSN_OK;
	op = *c->p++;
	i->map = INSN_MAP_0F;
	*attr = insn_map0f[op];
	i->opcode = op;
	if (!(*attr & INSN_A_ESC))
		return INSN_OK;
	if (c->p == c->end)
		return INSN_MORE;
	i->map = op == 0x38 ? INSN_MAP_0F38 : INSN_MAP_0F3A;
	i->opcode = *c->p++;
	*attr = op == 0x38 ? INSN_A_MODRM : INSN_A_MODRM | IMM_UB;
	return defined(op == 0x38 ? BM_0F38 : BM_0F3A, i->opcode) ? INSN_OK : INSN_UD;
}

/* Groups of the 0F map, after ModRM. */
static enum insn_status group_0f(struct insn *i, unsigned *attr)
{
	switch (i->opcode) {
	case 0x20: /* MOV CR */
	case 0x22:
		i->op_size = i->mode == INSN_64 ? 8 : 4;
		if (i->reg == 0 && (i->prefixes & INSN_PFX_LOCK))
			i->reg = 8; /* APM vol. 3, MOV CRn: AltMovCr8 */
		return (0x11d >> i->reg) & 1 ? INSN_OK : INSN_UD;
	case 0x21: /* MOV DR */
	case 0x23:
		i->op_size = i->mode == INSN_64 ? 8 : 4;
		return i->reg < 8 ? INSN_OK : INSN_UD;
	case 0x78: /* VMREAD; 66: EXTRQ /0, F2: INSERTQ (SSE4a), each with two bytes and registers
		    */
		if (i->last_rep == 0xf3)
			return INSN_UD;
		if (i->last_rep == 0 && !(i->prefixes & INSN_PFX_OPSZ))
			return INSN_OK;
		*attr |= IMM_BB;
		if (i->mod != 3 || (i->last_rep == 0 && (i->modrm & 0x38)))
			return INSN_UD;
		return INSN_OK;
	case 0xb8: /* POPCNT; without F3 an Itanium's JMPE */
		return i->last_rep == 0xf3 ? INSN_OK : INSN_UD;
	default: /* BA: BT and friends by immediate */
		return i->modrm & 0x20 ? INSN_OK : INSN_UD;
	}
}

/* Groups of map 1, after ModRM. */
static enum insn_status group_1(struct insn *i, unsigned *attr)
{
	unsigned reg = (i->modrm >> 3) & 7;

	switch (i->opcode) {
	case 0x8c: /* MOV from and to segment registers; REX.R is ignored */
		i->reg = reg;
		return reg < 6 ? INSN_OK : INSN_UD;
	case 0x8e:
		i->reg = reg;
		return reg < 6 && reg != 1 ? INSN_OK : INSN_UD;
	case 0x8f:
		*attr |= INSN_A_DEF64;
		return reg == 0 ? INSN_OK : INSN_UD;
	case 0xc6: /* MOV, XABORT */
	case 0xc7: /* MOV, XBEGIN: its displacement obeys 66 in every mode */
		return reg == 0 || i->modrm == 0xf8 ? INSN_OK : INSN_UD;
	case 0xf6: /* TEST is /0 and, on every CPU, /1 */
		*attr |= reg < 2 ? IMM_UB : 0;
		return INSN_OK;
	case 0xf7:
		*attr |= reg < 2 ? IMM_Z : 0;
		return INSN_OK;
	case 0xfe:
		return reg < 2 ? INSN_OK : INSN_UD;
	default: /* FF: INC DEC CALL CALLF JMP JMPF PUSH */
		if (reg == 2 || reg == 4)
			*attr |= INSN_A_NEAR;
		else if (reg == 6)
			*attr |= INSN_A_DEF64;
		else if ((reg == 3 || reg == 5) && i->mod == 3)
			return INSN_UD;
		return reg < 7 ? INSN_OK : INSN_UD;
	}
}

static rare void odd_operand_size(struct insn *i, unsigned attr, bool amd)
{
	unsigned opsz = i->prefixes & INSN_PFX_OPSZ, w = i->rex & 8, size;

	if (i->mode != INSN_64)
		size = (i->mode == INSN_32) != !!opsz ? 4 : 2;
	else if (unlikely(attr & INSN_A_NEAR))
		size = amd && opsz && !w ? 2 : 8;
	else if (w)
		size = 8;
	else if (opsz)
		size = 2;
	else
		size = attr & INSN_A_DEF64 ? 8 : 4;
	i->op_size = size;
}

/* Nearly all: 32 bits, or 64 by REX.W. */
static common void operand_size(struct insn *i, unsigned attr, bool amd)
{
	if (likely(i->mode != INSN_16 && !(i->prefixes & INSN_PFX_OPSZ) &&
		   !(attr & (INSN_A_NEAR | INSN_A_DEF64))))
		i->op_size = i->rex & 8 ? 8 : 4;
	else
		odd_operand_size(i, attr, amd);
}

/* Prefixes and the first opcode byte, with its table word. Returns as modrm() does. */
static common const u8 *prefixes(struct insn *i, const u8 *p, const u8 *end, unsigned *attr)
{
	bool long_mode = i->mode == INSN_64;
	unsigned b, a, rex;

	for (; p != end; prefix(i, b)) {
		b = *p++;
		a = insn_map1[b];
		rex = 0;
		/* A REX counts only if the opcode follows it: a later prefix drops it. */
		while (unlikely(a & INSN_A_REX) && long_mode) {
			rex = b;
			if (p == end)
				return NULL;
			b = *p++;
			a = insn_map1[b];
		}
		if (likely(!(a & INSN_A_PFX))) {
			i->opcode = b;
			i->rex = rex;
			*attr = a;
			return p;
		}
	}
	return NULL;
}

/* ModRM and, in groups, what it changes in *attr. Advances *p. */
static rare enum insn_status operands(struct insn *i, const u8 **p, const u8 *end, unsigned *attr,
				      bool amd)
{
	enum insn_status st = INSN_OK;

	*p = modrm(i, *p, end, i->map == INSN_MAP_0F && i->opcode < 0x24);
	operand_size(i, *attr, amd);
	if (*p)
		st = i->map == INSN_MAP_0F ? group_0f(i, attr) : group_1(i, attr);
	if (*attr & (INSN_A_NEAR | INSN_A_DEF64))
		operand_size(i, *attr, amd);
	return st;
}

enum insn_status insn_decode(struct insn *i, const u8 *bytes, size_t n, enum insn_mode mode)
{
	bool amd = mode & INSN_AMD_BRANCHES;
	const u8 *p, *end;
	unsigned attr;

	if (likely(n >= INSN_MAX)) {
		__builtin_memcpy(i->bytes, bytes, INSN_MAX);
		n = INSN_MAX;
	} else {
		for (size_t k = 0; k < n; k++)
			i->bytes[k] = bytes[k];
	}
	clear(i, mode & 15);
	end = i->bytes + n;
	p = prefixes(i, i->bytes, end, &attr);
	if (p && unlikely(attr & (INSN_A_ESC | INSN_A_UD | INSN_A_NO64))) {
		struct cursor c = {p, end};
		unsigned a = attr;
		enum insn_status st = a & INSN_A_ESC ? escape(i, &c, &a) : INSN_OK;

		if (st != INSN_OK)
			return st == INSN_MORE && n == INSN_MAX ? INSN_TOO_LONG : st;
		if ((a & INSN_A_UD) || ((a & INSN_A_NO64) && i->mode == INSN_64))
			return INSN_UD;
		p = c.p;
		attr = a;
	}
	if (p && unlikely(attr & INSN_A_GROUP)) {
		const u8 *q = p;
		unsigned a = attr;

		if (operands(i, &q, end, &a, amd) != INSN_OK)
			return INSN_UD;
		p = q;
		attr = a;
	} else if (p) {
		if (attr & INSN_A_MODRM)
			p = modrm(i, p, end, false);
		operand_size(i, attr, amd);
	}
	if (p && (attr & INSN_A_IMM))
		p = immediate(i, p, end, attr & INSN_A_IMM);
	if (unlikely(!p))
		return n == INSN_MAX ? INSN_TOO_LONG : INSN_MORE;
	i->len = p - i->bytes;
	return INSN_OK;
}
