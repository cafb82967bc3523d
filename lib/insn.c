/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instruction decoder. One pass over at most 15 bytes: prefixes, opcode through the tables,
 * ModRM, immediate. It stands on the exit path, so the common instruction (no escape into a group)
 * meets three table look-ups and no call.
 */
#include "lib/insn.h"
#include "lib/insn_tables.h"

/* clear() zeroes mode to vex_l as four words. */
static_assert(offsetof(struct insn, mode) == 16 && offsetof(struct insn, disp) == 48, "moved");

struct cursor {
	const u8 *p, *end;
	bool full; /* end is the 15-byte limit, not the end of what the caller has */
};

#define OUT_OF_BYTES(c) ((c)->full ? INSN_TOO_LONG : INSN_MORE)

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

/* Everything behind `bytes`, in words: this is called at every exit that needs an instruction. */
static inline void clear(struct insn *i)
{
	const u64 zero[4] = { 0 };

	__builtin_memcpy((u8 *)i + 16, zero, sizeof(zero));
	i->disp = 0;
	i->imm = 0;
	i->imm2 = 0;
}

/* Segment override. In 64-bit mode ES, CS, SS and DS are ignored, and do not undo FS or GS. */
static inline void segment_prefix(struct insn *i, unsigned seg)
{
	if (i->mode == INSN_64 && seg < 4)
		return;
	i->prefixes |= INSN_PFX_SEG;
	i->seg = seg;
}

static void prefix(struct insn *i, u8 b)
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

/* SDM vol. 2, table 2-1. */
static void modrm16(struct insn *i)
{
	static const s8 base[8] = { 3, 3, 5, 5, 6, 7, 5, 3 };
	static const s8 index[8] = { 6, 7, 6, 7, -1, -1, -1, -1 };
	unsigned rm = i->modrm & 7;

	if (i->mod == 0 && rm == 6) {
		i->disp_len = 2;
		return;
	}
	i->base = base[rm];
	i->index = index[rm];
	i->disp_len = i->mod;
	default_segment(i, base[rm] == 5);
}

/* SDM vol. 2, tables 2-2 and 2-3. */
static inline bool modrm32(struct insn *i, struct cursor *c)
{
	unsigned rm = i->modrm & 7;

	if (rm == 4) {
		if (c->p == c->end)
			return false;
		i->sib = *c->p++;
		i->has_sib = 1;
		i->scale = 1u << (i->sib >> 6);
		i->index = ((i->sib >> 3) & 7) | ((i->rex & 2) << 2);
		if (i->index == 4) /* VSIB's register 4 too: vector operands are not ours */
			i->index = -1;
		rm = i->sib & 7;
		if (rm == 5 && i->mod == 0) {
			i->disp_len = 4;
			return true;
		}
	} else if (rm == 5 && i->mod == 0) {
		i->disp_len = 4;
		i->base = i->mode == INSN_64 ? 16 : -1;
		return true;
	}
	i->base = rm | ((i->rex & 1) << 3);
	i->disp_len = i->mod == 2 ? 4 : i->mod;
	default_segment(i, i->base == 4 || i->base == 5);
	return true;
}

/* ModRM, SIB and displacement; c stands on ModRM. `regs`: mod is ignored (MOV CR, MOV DR). */
static inline enum insn_status modrm(struct insn *i, struct cursor *c, bool regs)
{
	u8 b;

	if (c->p == c->end)
		return OUT_OF_BYTES(c);
	b = *c->p++;
	i->has_modrm = 1;
	i->modrm = b;
	i->mod = regs ? 3 : b >> 6;
	i->reg = ((b >> 3) & 7) | ((i->rex & 4) << 1);
	i->rm = (b & 7) | ((i->rex & 1) << 3);
	if (i->mod == 3)
		return INSN_OK;
	if (i->addr_size == 2)
		modrm16(i);
	else if (!modrm32(i, c))
		return OUT_OF_BYTES(c);
	if (i->disp_len) {
		if (c->end - c->p < i->disp_len)
			return OUT_OF_BYTES(c);
		i->disp = sign_extend(load(c->p, i->disp_len), i->disp_len);
		c->p += i->disp_len;
	}
	return INSN_OK;
}

static inline bool take(struct cursor *c, unsigned n, u64 *v)
{
	if (c->end - c->p < (ptrdiff_t)n)
		return false;
	*v = load(c->p, n);
	c->p += n;
	return true;
}

/* A second immediate after the first. */
static enum insn_status two_immediates(struct insn *i, struct cursor *c, unsigned n, unsigned n2)
{
	i->imm_len = n;
	i->imm2_len = n2;
	if (!take(c, n, &i->imm) || !take(c, n2, &i->imm2))
		return OUT_OF_BYTES(c);
	return INSN_OK;
}

static inline enum insn_status immediate(struct insn *i, struct cursor *c, unsigned kind)
{
	unsigned n = i->op_size;
	bool sign = false;

	switch (kind) {
	case IMM_NONE:
		return INSN_OK;
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
		i->has_moffs = 1;
		i->disp_len = i->addr_size;
		return take(c, i->disp_len, (u64 *)&i->disp) ? INSN_OK : OUT_OF_BYTES(c);
	case IMM_FAR:
		return two_immediates(i, c, n, 2);
	case IMM_WB:
		return two_immediates(i, c, 2, 1);
	case IMM_BB:
		return two_immediates(i, c, 1, 1);
	default:
		n = 4;
		break;
	}
	i->imm_len = n;
	if (!take(c, n, &i->imm))
		return OUT_OF_BYTES(c);
	if (sign)
		i->imm = sign_extend(i->imm, n);
	return INSN_OK;
}

static inline bool defined(unsigned map, u8 op)
{
	return (insn_defined[map][op >> 5] >> (op & 31)) & 1;
}

/*
 * VEX, EVEX, XOP. c stands behind the first byte (62, 8F, C4, C5), which the caller has found not to
 * be BOUND, POP, LES or LDS. On success *attr says what follows the opcode.
 */
static enum insn_status vector(struct insn *i, struct cursor *c, u8 first, unsigned *attr)
{
	unsigned n = first == 0xc5 ? 1 : first == 0x62 ? 3 : 2, map = 1, bm;
	u8 a, b;

	/* SDM vol. 2, 2.3.2 to 2.3.4, 2.7.11.2: 66, F2, F3, LOCK and REX before them are #UD. */
	if (i->rex || (i->prefixes & (INSN_PFX_LOCK | INSN_PFX_REP | INSN_PFX_REPNE | INSN_PFX_OPSZ)))
		return INSN_UD;
	if (c->end - c->p < (ptrdiff_t)n + 1)
		return OUT_OF_BYTES(c);
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
static enum insn_status escape(struct insn *i, struct cursor *c, unsigned *attr)
{
	u8 op = i->opcode;

	if (c->p == c->end)
		return OUT_OF_BYTES(c);
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
		return OUT_OF_BYTES(c);
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
	case 0x78: /* VMREAD; 66: EXTRQ /0, F2: INSERTQ (SSE4a), each with two bytes and registers */
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

static inline void operand_size(struct insn *i, unsigned attr, bool amd)
{
	bool opsz = i->prefixes & INSN_PFX_OPSZ;

	if (i->mode != INSN_64) {
		i->op_size = (i->mode == INSN_32) != opsz ? 4 : 2;
	} else if (unlikely(attr & INSN_A_NEAR)) {
		i->op_size = amd && opsz && !(i->rex & 8) ? 2 : 8;
	} else if (i->rex & 8) {
		i->op_size = 8;
	} else if (opsz) {
		i->op_size = 2;
	} else {
		i->op_size = attr & INSN_A_DEF64 ? 8 : 4;
	}
}

static inline void address_size(struct insn *i)
{
	if (!(i->prefixes & INSN_PFX_ADSZ))
		i->addr_size = i->mode;
	else
		i->addr_size = i->mode == INSN_32 ? 2 : 4;
}

/* Prefixes and the first opcode byte, with its table word. False: the bytes ran out. */
static inline bool prefixes(struct insn *i, struct cursor *c, unsigned *attr)
{
	u8 b;

	for (; c->p != c->end; i->rex = 0, prefix(i, b)) {
		b = *c->p++;
		*attr = insn_map1[b];
		if (unlikely(*attr & INSN_A_REX) && i->mode == INSN_64) {
			/* A REX counts only if the opcode follows it: a later prefix drops it. */
			do {
				i->rex = b;
				if (c->p == c->end)
					return false;
				b = *c->p++;
				*attr = insn_map1[b];
			} while (*attr & INSN_A_REX);
		}
		if (likely(!(*attr & INSN_A_PFX))) {
			i->opcode = b;
			return true;
		}
	}
	return false;
}

enum insn_status insn_decode(struct insn *i, const u8 *bytes, size_t n, enum insn_mode mode)
{
	struct cursor c = { .p = i->bytes, .full = n >= INSN_MAX };
	enum insn_status st;
	unsigned attr;

	if (likely(n >= INSN_MAX)) {
		__builtin_memcpy(i->bytes, bytes, INSN_MAX);
		n = INSN_MAX;
	} else {
		for (size_t k = 0; k < n; k++)
			i->bytes[k] = bytes[k];
	}
	c.end = i->bytes + n;
	clear(i);
	i->mode = mode & 15;
	i->base = i->index = -1;
	i->scale = 1;
	i->seg = 3;

	if (!prefixes(i, &c, &attr))
		return OUT_OF_BYTES(&c);
	if (unlikely(attr & INSN_A_ESC)) {
		st = escape(i, &c, &attr);
		if (st != INSN_OK)
			return st;
	}
	if (unlikely(attr & (INSN_A_UD | INSN_A_NO64)) &&
	    ((attr & INSN_A_UD) || i->mode == INSN_64))
		return INSN_UD;
	address_size(i);
	if (attr & INSN_A_MODRM) {
		bool group = attr & INSN_A_GROUP;

		st = modrm(i, &c, group && i->map == INSN_MAP_0F && i->opcode < 0x24);
		if (unlikely(st != INSN_OK))
			return st;
		operand_size(i, attr, mode & INSN_AMD_BRANCHES);
		if (unlikely(group)) {
			st = i->map == INSN_MAP_0F ? group_0f(i, &attr) : group_1(i, &attr);
			if (st != INSN_OK)
				return st;
			if (attr & (INSN_A_NEAR | INSN_A_DEF64))
				operand_size(i, attr, mode & INSN_AMD_BRANCHES);
		}
	} else {
		operand_size(i, attr, mode & INSN_AMD_BRANCHES);
	}
	if (attr & INSN_A_IMM) {
		st = immediate(i, &c, attr & INSN_A_IMM);
		if (unlikely(st != INSN_OK))
			return st;
	}
	i->len = c.p - i->bytes;
	return INSN_OK;
}
