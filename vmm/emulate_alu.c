/* SPDX-License-Identifier: BSD-2-Clause */
/* Arithmetic and flags: SDM vol. 1, 3.4.3.1, and the instructions' pages in vol. 2. */
#include "vmm/emulate_int.h"

#define FL_ARITH (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)

static inline u64 msb(u64 v, unsigned size)
{
	return (v >> (8 * size - 1)) & 1;
}

static inline void set_flag(u64 *flags, u64 flag, bool on)
{
	*flags = on ? *flags | flag : *flags & ~flag;
}

static void set_szp(u64 *flags, u64 r, unsigned size)
{
	set_flag(flags, FL_SF, msb(r, size));
	set_flag(flags, FL_ZF, (r & em_mask(size)) == 0);
	set_flag(flags, FL_PF, !((0x6996u >> ((r ^ (r >> 4)) & 15)) & 1));
}

static u64 add(u64 a, u64 b, bool carry, unsigned size, u64 *flags)
{
	u64 r = (a + b + carry) & em_mask(size);

	set_szp(flags, r, size);
	set_flag(flags, FL_CF, msb((a & b) | ((a | b) & ~r), size));
	set_flag(flags, FL_OF, msb((a ^ r) & (b ^ r), size));
	set_flag(flags, FL_AF, (a ^ b ^ r) & 0x10);
	return r;
}

static u64 sub(u64 a, u64 b, bool borrow, unsigned size, u64 *flags)
{
	u64 r = (a - b - borrow) & em_mask(size);

	set_szp(flags, r, size);
	set_flag(flags, FL_CF, msb((~a & b) | ((~a | b) & r), size));
	set_flag(flags, FL_OF, msb((a ^ b) & (a ^ r), size));
	set_flag(flags, FL_AF, (a ^ b ^ r) & 0x10);
	return r;
}

static u64 logic(u64 r, unsigned size, u64 *flags)
{
	*flags &= ~FL_ARITH;
	set_szp(flags, r, size);
	return r;
}

static u64 inc_dec(u64 a, bool dec, unsigned size, u64 *flags)
{
	u64 cf = *flags & FL_CF;
	u64 r = dec ? sub(a, 1, false, size, flags) : add(a, 1, false, size, flags);

	*flags = (*flags & ~FL_CF) | cf;
	return r;
}

static u64 bit_op(enum alu_op op, u64 a, u64 b, unsigned size, u64 *flags)
{
	u64 bit = 1ull << (b & (8 * size - 1));

	set_flag(flags, FL_CF, a & bit);
	switch (op) {
	case ALU_BTS:
		return a | bit;
	case ALU_BTR:
		return a & ~bit;
	case ALU_BTC:
		return a ^ bit;
	default:
		return a;
	}
}

/* SHL, SHR, SAR. OF is defined for a count of 1 only; CF not for counts beyond the operand. */
static u64 shift(enum alu_op op, u64 a, unsigned n, unsigned size, u64 *flags)
{
	unsigned bits = 8 * size;
	u64 r;
	bool cf, of;

	if (op == ALU_SHR) {
		cf = (a >> (n - 1)) & 1;
		r = a >> n;
		of = msb(a, size);
	} else if (op == ALU_SAR) {
		s64 v = (s64)em_sext(a, size);

		cf = (v >> (n - 1)) & 1;
		r = (u64)(v >> n) & em_mask(size);
		of = false;
	} else {
		cf = n <= bits && ((a >> (bits - n)) & 1);
		r = (a << n) & em_mask(size);
		of = msb(r, size) ^ cf;
	}
	set_szp(flags, r, size);
	set_flag(flags, FL_CF, cf);
	set_flag(flags, FL_OF, of);
	set_flag(flags, FL_AF, false);
	return r;
}

/* ROL, ROR, RCL, RCR touch CF and OF only. */
static u64 rotate(enum alu_op op, u64 a, unsigned n, unsigned size, u64 *flags)
{
	bool cf = *flags & FL_CF, left = op == ALU_ROL || op == ALU_RCL;

	for (unsigned k = 0; k < n; k++) { /* at most 63 */
		bool out = left ? msb(a, size) : a & 1;
		u64 in = op == ALU_ROL || op == ALU_ROR ? out : cf;

		a = left ? ((a << 1) | in) & em_mask(size) : (a >> 1) | (in << (8 * size - 1));
		cf = out;
	}
	set_flag(flags, FL_CF, cf);
	set_flag(flags, FL_OF,
		 left ? msb(a, size) ^ cf : msb(a, size) ^ ((a >> (8 * size - 2)) & 1));
	return a;
}

/* SHLD, SHRD. With 16 bits and a count above 16 result and flags are undefined; here zeros, or
 * bits of b, come in behind b. */
static u64 double_shift(enum alu_op op, u64 a, u64 b, unsigned n, unsigned size, u64 *flags)
{
	unsigned bits = 8 * size;
	unsigned __int128 v;
	bool cf;
	u64 r;

	if (op == ALU_SHLD) {
		v = (((unsigned __int128)a << bits) | b) << n;
		cf = n <= bits && ((a >> (bits - n)) & 1);
		r = (u64)(v >> bits) & em_mask(size);
	} else {
		v = ((unsigned __int128)b << bits) | a;
		cf = (u64)(v >> (n - 1)) & 1;
		r = (u64)(v >> n) & em_mask(size);
	}
	set_szp(flags, r, size);
	set_flag(flags, FL_CF, cf);
	set_flag(flags, FL_OF, msb(a ^ r, size));
	set_flag(flags, FL_AF, false);
	return r;
}

u64 em_alu(enum alu_op op, u64 a, u64 b, u8 count, unsigned size, u64 *flags)
{
	unsigned n = count & (size == 8 ? 63 : 31);

	a &= em_mask(size);
	b &= em_mask(size);
	switch (op) {
	case ALU_ADD:
		return add(a, b, false, size, flags);
	case ALU_ADC:
		return add(a, b, *flags & FL_CF, size, flags);
	case ALU_SUB:
	case ALU_CMP:
		return sub(a, b, false, size, flags);
	case ALU_SBB:
		return sub(a, b, *flags & FL_CF, size, flags);
	case ALU_OR:
		return logic(a | b, size, flags);
	case ALU_AND:
		return logic(a & b, size, flags);
	case ALU_XOR:
		return logic(a ^ b, size, flags);
	case ALU_ROL:
	case ALU_ROR:
	case ALU_RCL:
	case ALU_RCR:
		return n ? rotate(op, a, n, size, flags) : a;
	case ALU_SHL:
	case ALU_SHR:
	case ALU_SAL:
	case ALU_SAR:
		return n ? shift(op, a, n, size, flags) : a;
	case ALU_SHLD:
	case ALU_SHRD:
		return n ? double_shift(op, a, b, n, size, flags) : a;
	case ALU_INC:
	case ALU_DEC:
		return inc_dec(a, op == ALU_DEC, size, flags);
	case ALU_NOT:
		return ~a & em_mask(size);
	case ALU_NEG:
		return sub(0, a, false, size, flags);
	case ALU_MOV:
		return b;
	default:
		return bit_op(op, a, b, size, flags);
	}
}

void em_mul(bool is_signed, u64 a, u64 b, unsigned size, u64 *lo, u64 *hi, u64 *flags)
{
	unsigned __int128 p;
	bool big;

	if (is_signed)
		p = (unsigned __int128)((__int128)(s64)em_sext(a, size) * (s64)em_sext(b, size));
	else
		p = (unsigned __int128)(a & em_mask(size)) * (b & em_mask(size));
	*lo = (u64)p & em_mask(size);
	*hi = (u64)(p >> (8 * size)) & em_mask(size);
	big = *hi != (is_signed && msb(*lo, size) ? em_mask(size) : 0);
	set_flag(flags, FL_CF, big);
	set_flag(flags, FL_OF, big);
}

bool em_condition(unsigned cc, u64 flags)
{
	bool sf = flags & FL_SF, of = flags & FL_OF, r;

	switch ((cc >> 1) & 7) {
	case 0:
		r = of;
		break;
	case 1:
		r = flags & FL_CF;
		break;
	case 2:
		r = flags & FL_ZF;
		break;
	case 3:
		r = flags & (FL_CF | FL_ZF);
		break;
	case 4:
		r = sf;
		break;
	case 5:
		r = flags & FL_PF;
		break;
	case 6:
		r = sf != of;
		break;
	default:
		r = sf != of || (flags & FL_ZF);
		break;
	}
	return r != (cc & 1);
}
