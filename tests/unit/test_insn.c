/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/insn.c lib/insn_tables.c */
/* The decoder by hand: one line an encoding rule. test_insn_zydis.c does the numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "lib/insn.h"
#include "lib/string.h"

#define AMD64 (INSN_64 | INSN_AMD_BRANCHES)

/* Bytes are given as a string literal; what follows them is filled with NOPs up to 15. */
static enum insn_status decode(struct insn *i, const char *s, size_t n, enum insn_mode mode)
{
	u8 b[INSN_MAX];

	memset(b, 0x90, sizeof(b));
	memcpy(b, s, MIN(n, sizeof(b)));
	return insn_decode(i, b, sizeof(b), mode);
}

#define LEN(mode, s, n)                                                         \
	do {                                                                    \
		struct insn i_;                                                 \
		assert_int_equal(decode(&i_, s, sizeof(s) - 1, mode), INSN_OK); \
		assert_int_equal(i_.len, n);                                    \
	} while (0)
#define STATUS(mode, s, st)                                                \
	do {                                                               \
		struct insn i_;                                            \
		assert_int_equal(decode(&i_, s, sizeof(s) - 1, mode), st); \
	} while (0)
#define DECODE(i, mode, s) assert_int_equal(decode(&i, s, sizeof(s) - 1, mode), INSN_OK)

static void lengths(void **state)
{
	(void)state;
	LEN(INSN_64, "\x90", 1);
	LEN(INSN_64, "\x89\x08", 2);
	LEN(INSN_64, "\x48\x8b\x84\x24\0\0\0\0", 8);
	LEN(INSN_64, "\x8b\x05\0\0\0\0", 6);
	LEN(INSN_64, "\x48\xb8\0\0\0\0\0\0\0\0", 10);
	LEN(INSN_64, "\x66\xb8\0\0", 4);
	LEN(INSN_64, "\xa1\0\0\0\0\0\0\0\0", 9);
	LEN(INSN_64, "\x67\xa1\0\0\0\0", 6);
	LEN(INSN_32, "\xa1\0\0\0\0", 5);
	LEN(INSN_32, "\x67\xa1\0\0", 4);
	LEN(INSN_16, "\xa1\0\0", 3);
	LEN(INSN_64, "\xc8\0\0\0", 4);
	LEN(INSN_32, "\x9a\0\0\0\0\0\0", 7);
	LEN(INSN_16, "\xea\0\0\0\0", 5);
	LEN(INSN_64, "\xf6\0\1", 3);
	LEN(INSN_64, "\xf6\x10", 2);
	LEN(INSN_64, "\xf7\0\0\0\0\0", 6);
	LEN(INSN_64, "\x66\xf7\0\0\0", 5);
	LEN(INSN_64, "\xc7\xf8\0\0\0\0", 6);	 /* XBEGIN */
	LEN(INSN_64, "\x66\xc7\xf8\0\0", 5);
	LEN(INSN_64, "\xc6\xf8\0", 3);		 /* XABORT */
	LEN(INSN_64, "\x0f\x0f\xc1\xb4", 4);	 /* 3DNow! PFMUL */
	LEN(INSN_64, "\x0f\x38\xf0\x03", 4);	 /* MOVBE */
	LEN(INSN_64, "\x0f\x3a\x0f\xc1\0", 5);	 /* PALIGNR */
	LEN(INSN_64, "\x66\x0f\x78\xc0\0\0", 6); /* EXTRQ */
	LEN(INSN_64, "\x0f\x0b", 2);		 /* UD2 */
	LEN(INSN_64, "\x0f\x01\xd9", 3);	 /* VMMCALL */
	LEN(INSN_64, "\x0f\xa2", 2);
}

static void vector_prefixes(void **state)
{
	(void)state;
	LEN(INSN_64, "\xc5\xf8\x77", 3); /* VZEROUPPER */
	LEN(INSN_64, "\xc5\xf9\x6f\x03", 4);
	LEN(INSN_64, "\xc4\xe3\x79\x0f\xc0\0", 6);
	LEN(INSN_64, "\x62\xf1\x7c\x48\x10\x43\1", 7);
	LEN(INSN_64, "\x8f\xe8\x78\xc0\xc0\0", 6);	   /* XOP VPROTB */
	LEN(INSN_64, "\x8f\xea\x78\x10\xc0\0\0\0\0", 9); /* XOP BEXTR imm32 */
	LEN(INSN_32, "\xc5\x03", 2);			   /* LDS */
	LEN(INSN_32, "\xc4\x03", 2);			   /* LES */
	LEN(INSN_32, "\x62\x03", 2);			   /* BOUND */
	LEN(INSN_32, "\xc5\xf8\x77", 3);
	LEN(INSN_64, "\x8f\xc0", 2); /* POP */
	STATUS(INSN_64, "\x66\xc5\xf8\x77", INSN_UD);
	STATUS(INSN_64, "\x48\xc5\xf8\x77", INSN_UD);
	STATUS(INSN_64, "\xf0\xc5\xf8\x77", INSN_UD);
	STATUS(INSN_64, "\x62\xf1\x78\x48\x10\x43", INSN_UD); /* bit 2 of the third byte is 0 */
}

static void undefined(void **state)
{
	(void)state;
	STATUS(INSN_64, "\x06", INSN_UD);
	STATUS(INSN_64, "\x9a", INSN_UD);
	STATUS(INSN_64, "\xd5", INSN_UD);
	STATUS(INSN_64, "\x82\0\0", INSN_UD);
	STATUS(INSN_64, "\x0f\x04", INSN_UD);
	STATUS(INSN_64, "\x0f\x24\xc0", INSN_UD);
	STATUS(INSN_64, "\xff\xf8", INSN_UD);
	STATUS(INSN_64, "\xff\xd8", INSN_UD);
	STATUS(INSN_64, "\x8f\xc8", INSN_UD);
	STATUS(INSN_64, "\x8e\xc8", INSN_UD);
	STATUS(INSN_64, "\x0f\xba\xc0", INSN_UD);
	STATUS(INSN_64, "\x0f\x20\xc8", INSN_UD); /* CR1 */
	LEN(INSN_32, "\x06", 1);
	LEN(INSN_32, "\x82\0\0", 3);
}

static void prefixes(void **state)
{
	struct insn i;

	(void)state;
	DECODE(i, INSN_64, "\x65\x2e\x8b\x03"); /* CS is ignored, GS stays */
	assert_int_equal(i.seg, 5);
	DECODE(i, INSN_32, "\x65\x2e\x8b\x03");
	assert_int_equal(i.seg, 1);
	DECODE(i, INSN_64, "\x64\x65\x8b\x03");
	assert_int_equal(i.seg, 5);
	DECODE(i, INSN_64, "\x3e\x8b\x45\0"); /* DS ignored: the default of RBP is SS */
	assert_int_equal(i.seg, 2);
	assert_int_equal(i.prefixes, 0);
	DECODE(i, INSN_64, "\x48\x66\x89\x03"); /* a REX not next to the opcode is none */
	assert_int_equal(i.rex, 0);
	assert_int_equal(i.op_size, 2);
	DECODE(i, INSN_64, "\x66\x48\x89\x03");
	assert_int_equal(i.op_size, 8);
	DECODE(i, INSN_64, "\x40\x4c\x89\x03"); /* the last REX */
	assert_int_equal(i.rex, 0x4c);
	DECODE(i, INSN_64, "\xf3\xf2\xa4");
	assert_int_equal(i.last_rep, 0xf2);
	assert_int_equal(i.prefixes, INSN_PFX_REP | INSN_PFX_REPNE);
	DECODE(i, INSN_16, "\x66\x67\x66\x89\x03"); /* repeated ones count once */
	assert_int_equal(i.op_size, 4);
	assert_int_equal(i.addr_size, 4);
	DECODE(i, INSN_32, "\x48"); /* DEC EAX */
	assert_int_equal(i.len, 1);
	assert_int_equal(i.rex, 0);
}

static void near_branches(void **state)
{
	struct insn i;

	(void)state;
	LEN(INSN_64, "\x66\xe9\0\0\0\0", 6);
	LEN(AMD64, "\x66\xe9\0\0", 4);
	LEN(AMD64, "\x66\x48\xe9\0\0\0\0", 7);
	LEN(INSN_32, "\x66\xe9\0\0", 4);
	LEN(INSN_64, "\x66\x0f\x84\0\0\0\0", 7);
	LEN(AMD64, "\x66\x0f\x84\0\0", 5);
	DECODE(i, INSN_64, "\x66\xff\x13");
	assert_int_equal(i.op_size, 8);
	DECODE(i, AMD64, "\x66\xff\x13");
	assert_int_equal(i.op_size, 2);
	assert_int_equal(i.mode, INSN_64);
	DECODE(i, AMD64, "\x66\x68\0\0"); /* PUSH is no branch: 16 bits for both */
	assert_int_equal(i.len, 4);
	DECODE(i, INSN_64, "\xff\x33");
	assert_int_equal(i.op_size, 8);
}

static void operands(void **state)
{
	struct insn i;

	(void)state;
	DECODE(i, INSN_64, "\x4a\x8b\x44\xa3\xf0"); /* mov rax, [rbx + r12*4 - 16] */
	assert_int_equal(i.base, 3);
	assert_int_equal(i.index, 12);
	assert_int_equal(i.scale, 4);
	assert_int_equal(i.disp, -16);
	assert_int_equal(i.disp_len, 1);
	DECODE(i, INSN_64, "\x8b\x05\xfc\xff\xff\xff");
	assert_int_equal(i.base, 16);
	assert_int_equal(i.disp, -4);
	DECODE(i, INSN_32, "\x8b\x05\0\0\0\x80");
	assert_int_equal(i.base, -1);
	DECODE(i, INSN_64, "\x8b\x04\x25\0\0\0\x80"); /* disp32 alone is sign-extended */
	assert_int_equal(i.base, -1);
	assert_int_equal(i.index, -1);
	assert_true(i.disp == (s32)0x80000000);
	DECODE(i, INSN_64, "\x41\x8b\x45\0"); /* r13: not SS */
	assert_int_equal(i.seg, 3);
	assert_int_equal(i.base, 13);
	DECODE(i, INSN_16, "\x8b\x42\x10"); /* [bp + si + 16] */
	assert_int_equal(i.base, 5);
	assert_int_equal(i.index, 6);
	assert_int_equal(i.seg, 2);
	DECODE(i, INSN_16, "\x8b\x06\x34\x12");
	assert_int_equal(i.base, -1);
	assert_int_equal(i.disp, 0x1234);
	assert_int_equal(i.seg, 3);
	DECODE(i, INSN_64, "\xa1\xf0\xde\xbc\x9a\x78\x56\x34\x12");
	assert_true(i.has_moffs && i.disp == 0x123456789abcdef0);
	DECODE(i, INSN_64, "\x83\0\xff");
	assert_true(i.imm == ~0ull);
	DECODE(i, INSN_64, "\x80\0\xff");
	assert_true(i.imm == 0xff);
	DECODE(i, INSN_64, "\x48\xc7\0\0\0\0\x80");
	assert_true(i.imm == 0xffffffff80000000);
	DECODE(i, INSN_32, "\xea\x78\x56\x34\x12\x08\0");
	assert_true(i.imm == 0x12345678 && i.imm2 == 8);
}

static void control_registers(void **state)
{
	struct insn i;

	(void)state;
	DECODE(i, INSN_64, "\x0f\x22\xd8"); /* mov cr3, rax */
	assert_int_equal(i.reg, 3);
	assert_int_equal(i.rm, 0);
	assert_int_equal(i.op_size, 8);
	DECODE(i, INSN_64, "\x45\x0f\x20\xc1"); /* mov r9, cr8 */
	assert_int_equal(i.reg, 8);
	assert_int_equal(i.rm, 9);
	DECODE(i, INSN_32, "\xf0\x0f\x20\xc1"); /* AMD: mov ecx, cr8 */
	assert_int_equal(i.reg, 8);
	DECODE(i, INSN_32, "\x0f\x20\x04"); /* mod is ignored: no SIB */
	assert_int_equal(i.len, 3);
	assert_int_equal(i.mod, 3);
	assert_int_equal(i.rm, 4);
	DECODE(i, INSN_64, "\x0f\x23\xf8"); /* mov dr7, rax */
	assert_int_equal(i.reg, 7);
}

static void limits(void **state)
{
	u8 b[INSN_MAX + 1];
	struct insn i;

	(void)state;
	memset(b, 0x66, sizeof(b));
	assert_int_equal(insn_decode(&i, b, INSN_MAX, INSN_64), INSN_TOO_LONG);
	assert_int_equal(insn_decode(&i, b, INSN_MAX - 1, INSN_64), INSN_MORE);
	assert_int_equal(insn_decode(&i, b, 0, INSN_64), INSN_MORE);
	b[14] = 0x90;
	assert_int_equal(insn_decode(&i, b, INSN_MAX, INSN_64), INSN_OK);
	assert_int_equal(i.len, INSN_MAX);
	b[14] = 0x89;
	b[15] = 0x03;
	assert_int_equal(insn_decode(&i, b, sizeof(b), INSN_64), INSN_TOO_LONG);
	memcpy(b, "\x48\x8b\x84\x24\0\0\0\0", 8);
	for (unsigned n = 0; n < 8; n++)
		assert_int_equal(insn_decode(&i, b, n, INSN_64), INSN_MORE);
	assert_int_equal(insn_decode(&i, b, 8, INSN_64), INSN_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lengths),	 cmocka_unit_test(vector_prefixes),
		cmocka_unit_test(undefined),	 cmocka_unit_test(prefixes),
		cmocka_unit_test(near_branches), cmocka_unit_test(operands),
		cmocka_unit_test(control_registers), cmocka_unit_test(limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
