/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/insn.c lib/insn_tables.c libs: -lZydis */
/*
 * The decoder against Zydis: random byte strings rich in prefixes, and the code of real programs and
 * of Debian's kernel. Where both decode, length, ModRM, displacement, immediate and address size must
 * be equal. Zydis also refuses forms that the decoder takes (see lib/insn.h): the CPU has raised #UD for
 * them before any exit. Each is put into a class, below, and there is none without. It may never be the
 * other way round but for what known_ud() lists.
 */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>
#include "lib/insn.h"
#include "lib/string.h"

#define ROUNDS 3000000u

/*
 * Why Zydis refuses what we decode. It names the first four itself. For the others one field of the
 * encoding is changed until it decodes: that field's value selects nothing with this opcode.
 */
enum refused {
	R_LOCK,	    /* LOCK before what may not have it, or with a register operand */
	R_REGISTER, /* CR1, CR9, DR8.., MOV to CS, a segment register 6 or 7, a mask register 8.. */
	R_EVEX,	    /* reserved bits of EVEX */
	R_MASK,	    /* masking where there is none, or none where it must be */
	R_PREFIX,   /* 66, F2, F3 or pp, or their absence: PADDB with F3, ADDSUBPS without F2 */
	R_W,	    /* REX.W, VEX.W */
	R_LENGTH,   /* VEX.L, EVEX.L'L */
	R_VVVV,	    /* a second source where there is none */
	R_MOD,	    /* a register where memory must be, or the other way round: LEA, MOVNTI */
	R_REG,	    /* an empty place in a group: FF /7, 0F BA /0 */
	R_RM,	    /* likewise by rm: 0F 01 /1 with rm 3.., x87 */
	R_EVEX_ZB,  /* zeroing, broadcast or rounding where there is none */
	R_ADDRESS,  /* 16-bit addressing where a vector index must be */
	R_3DNOW,    /* a last byte that names no 3DNow! operation */
	R_NEWER,    /* newer than this Zydis: newer() */
	R_MODE,	    /* defined in 64-bit mode only */
	R_SEVERAL,  /* two or more of these at once */
	R_UNEXPLAINED,
	NR_REFUSED
};
static const char *const refused_names[NR_REFUSED] = {
	"LOCK", "register number", "EVEX reserved bits", "mask", "prefix", "W", "vector length", "vvvv",
	"mod", "reg field", "rm field", "z, b", "16-bit address",
	"3DNow! operation", "newer than Zydis", "64-bit mode only", "several fields", "UNEXPLAINED"};

struct both {
	ZydisDecoder z;
	enum insn_mode mode;
	u64 same, zydis_refuses, known, refused[NR_REFUSED];
};

static u64 seed = 0x9e3779b97f4a7c15;

static u32 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 11;
}

static void init(struct both *b, enum insn_mode mode)
{
	static const ZydisMachineMode mm[] = {[INSN_16] = ZYDIS_MACHINE_MODE_LEGACY_16,
					      [INSN_32] = ZYDIS_MACHINE_MODE_LEGACY_32,
					      [INSN_64] = ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth sw[] = {[INSN_16] = ZYDIS_STACK_WIDTH_16,
					     [INSN_32] = ZYDIS_STACK_WIDTH_32,
					     [INSN_64] = ZYDIS_STACK_WIDTH_64};
	unsigned m = mode & 15;

	memset(b, 0, sizeof(*b));
	b->mode = mode;
	assert_true(ZYAN_SUCCESS(ZydisDecoderInit(&b->z, mm[m], sw[m])));
	if (mode & INSN_AMD_BRANCHES)
		ZydisDecoderEnableMode(&b->z, ZYDIS_DECODER_MODE_AMD_BRANCHES, ZYAN_TRUE);
}

/* Zydis decodes, we do not: each is undefined on every CPU with VT-x (and EPT) or AMD-V. */
static bool known_ud(const ZydisDecodedInstruction *z)
{
	switch (z->meta.isa_ext) {
	case ZYDIS_ISA_EXT_KNCE: /* Knights Corner: MVEX, and VEX opcodes of its own */
	case ZYDIS_ISA_EXT_KNCV:
	case ZYDIS_ISA_EXT_KNC:
	case ZYDIS_ISA_EXT_PADLOCK: /* VIA's 0F A6, 0F A7 */
		return true;
	default:
		break;
	}
	return z->encoding == ZYDIS_INSTRUCTION_ENCODING_MVEX;
}

static void dump(const struct both *b, const u8 *p, const char *what, const struct insn *i,
		 const ZydisDecodedInstruction *z)
{
	char hex[3 * INSN_MAX + 1];

	for (unsigned k = 0; k < INSN_MAX; k++)
		snprintf(hex + 3 * k, 4, "%02x ", p[k]);
	print_error(
		"mode %d: %s: %sours len %d imm %llx disp %llx; Zydis len %d %s imm %llx disp %llx\n",
		b->mode, what, hex, i->len, (unsigned long long)i->imm, (unsigned long long)i->disp,
		z->length, ZydisMnemonicGetString(z->mnemonic),
		(unsigned long long)z->raw.imm[0].value.u, (unsigned long long)z->raw.disp.value);
}

static u64 cut(u64 v, unsigned bytes)
{
	return bytes == 8 ? v : v & (BIT(8 * bytes) - 1);
}

/* 67 is ignored (MPX in 64-bit mode, SGX): it changes no length, and no such operand is ours. */
static bool fixed_address_size(const ZydisDecodedInstruction *z)
{
	return z->meta.isa_ext == ZYDIS_ISA_EXT_MPX || z->meta.isa_ext == ZYDIS_ISA_EXT_SGX ||
	       z->meta.isa_ext == ZYDIS_ISA_EXT_SGX_ENCLV;
}

static const char *compare(const struct insn *i, const ZydisDecodedInstruction *z)
{
	bool modrm = z->attributes & ZYDIS_ATTRIB_HAS_MODRM;
	bool suffix = i->map == INSN_MAP_0F && i->opcode == 0x0f && i->enc == INSN_LEGACY;

	if (i->len != z->length)
		return "length";
	if (i->has_modrm != modrm)
		return "has ModRM";
	if (modrm &&
	    (i->modrm >> 6 != z->raw.modrm.mod || ((i->modrm >> 3) & 7) != z->raw.modrm.reg ||
	     (i->modrm & 7) != z->raw.modrm.rm))
		return "ModRM";
	if (8 * i->addr_size != z->address_width && !fixed_address_size(z))
		return "address size";
	if (8 * i->disp_len != z->raw.disp.size ||
	    cut(i->disp, i->disp_len) != cut(z->raw.disp.value, i->disp_len))
		return "displacement";
	if (suffix)
		return NULL; /* 3DNow!: the opcode's last byte, in imm */
	if (8 * i->imm_len != z->raw.imm[0].size ||
	    cut(i->imm, i->imm_len) != cut(z->raw.imm[0].value.u, i->imm_len))
		return "immediate";
	if (8 * i->imm2_len != z->raw.imm[1].size ||
	    cut(i->imm2, i->imm2_len) != cut(z->raw.imm[1].value.u, i->imm2_len))
		return "second immediate";
	if ((z->raw.rex.W || z->raw.rex.R || z->raw.rex.X || z->raw.rex.B) &&
	    i->enc == INSN_LEGACY && !(i->rex & 0x40))
		return "REX";
	return NULL;
}

/* The encoding taken apart, so that its fields can be changed. */
struct form {
	u8 head[4], nr_head; /* REX; or VEX, EVEX, XOP */
	u8 opcode[3], nr_opcode;
	u8 modrm;
	bool has_modrm;
	bool adsz;
	u8 prefix; /* of 66, F2, F3 the last; legacy only */
};

static void take_apart(const struct insn *i, struct form *f)
{
	unsigned k = 0, n;

	memset(f, 0, sizeof(*f));
	for (;; k++) {
		u8 c = i->bytes[k];

		if (c == 0x66 || c == 0xf2 || c == 0xf3)
			f->prefix = c;
		else if (c != 0x67 && c != 0xf0 && (c & 0xe7) != 0x26 && c != 0x64 && c != 0x65 &&
			 !(i->mode == INSN_64 && (c & 0xf0) == 0x40))
			break;
	}
	if (i->enc != INSN_LEGACY)
		f->nr_head = i->enc == INSN_EVEX ? 4 : i->bytes[k] == 0xc5 ? 2 : 3;
	else if (k && i->mode == INSN_64 && (i->bytes[k - 1] & 0xf0) == 0x40)
		f->head[f->nr_head++] = i->bytes[k - 1];
	if (i->enc != INSN_LEGACY)
		memcpy(f->head, i->bytes + k, f->nr_head), k += f->nr_head;
	n = i->enc != INSN_LEGACY || i->map == INSN_MAP_1 ? 1 : i->map == INSN_MAP_0F ? 2 : 3;
	memcpy(f->opcode, i->bytes + k, n);
	f->nr_opcode = n;
	f->has_modrm = i->has_modrm;
	f->modrm = i->modrm;
}

static const struct {
	u8 why, values;
} fields[] = {{R_PREFIX, 4}, {R_W, 2}, {R_LENGTH, 4}, {R_VVVV, 2}, {R_MOD, 2}, {R_REG, 8}, {R_RM, 8},
	      {R_EVEX_ZB, 4}, {R_ADDRESS, 2}};

/* Field k takes another of its values, v from 1 on. false: this form has no such field. */
static bool change(struct form *f, const struct insn *i, unsigned k, unsigned v)
{
	u8 *last = &f->head[f->nr_head ? f->nr_head - 1 : 0], *p = i->enc == INSN_EVEX ? &f->head[2] : last;
	static const u8 mandatory[] = {0, 0x66, 0xf3, 0xf2};
	unsigned at = 0;

	switch (fields[k].why) {
	case R_PREFIX:
		while (i->enc == INSN_LEGACY && mandatory[at] != f->prefix)
			at++;
		if (i->enc == INSN_LEGACY)
			f->prefix = mandatory[(at + v) & 3];
		else
			*p = (*p & ~3) | ((*p + v) & 3);
		return true;
	case R_W:
		if (i->enc == INSN_LEGACY && f->nr_head)
			f->head[0] ^= 8;
		else if (f->nr_head > 2)
			*p ^= 0x80;
		return f->nr_head && !(i->enc == INSN_VEX && f->nr_head == 2);
	case R_LENGTH:
		if (i->enc == INSN_EVEX)
			*last = (*last & ~0x60) | ((((*last >> 5 & 3) + v) & 3) << 5);
		else if (i->enc != INSN_LEGACY && v == 1)
			*last ^= 4;
		return i->enc == INSN_EVEX || (i->enc != INSN_LEGACY && v == 1);
	case R_VVVV:
		if (i->enc == INSN_LEGACY)
			return false;
		*p |= 0x78;
		if (i->enc == INSN_EVEX)
			*last |= 8;
		return true;
	case R_MOD:
		f->modrm = f->modrm >= 0xc0 ? f->modrm & 0x3f : f->modrm | 0xc0;
		return f->has_modrm;
	case R_REG:
		f->modrm = (f->modrm & ~0x38) | ((f->modrm + 8 * v) & 0x38);
		return f->has_modrm;
	case R_RM:
		f->modrm = (f->modrm & ~7) | ((f->modrm + v) & 7);
		return f->has_modrm;
	case R_ADDRESS:
		f->adsz = true;
		return i->mode == INSN_16 && i->enc != INSN_LEGACY;
	default:
		if (i->enc != INSN_EVEX)
			return false;
		*last &= v == 1 ? 0x7f : v == 2 ? 0xef : 0x6f;
		return true;
	}
}

/* Does Zydis take it now? What follows ModRM does not matter: it is given zeros. */
static bool taken(const struct both *b, const struct form *f)
{
	u8 p[INSN_MAX] = {0}, n = 0;
	ZydisDecodedInstruction z;

	if (f->adsz)
		p[n++] = 0x67;
	if (f->prefix)
		p[n++] = f->prefix;
	memcpy(p + n, f->head, f->nr_head), n += f->nr_head;
	memcpy(p + n, f->opcode, f->nr_opcode), n += f->nr_opcode;
	if (f->has_modrm)
		p[n++] = f->modrm;
	/* A register or mask that does not exist is another matter, and named by Zydis itself. */
	switch (ZydisDecoderDecodeInstruction(&b->z, ZYAN_NULL, p, sizeof(p), &z)) {
	case ZYDIS_STATUS_BAD_REGISTER:
	case ZYDIS_STATUS_INVALID_MASK:
	case ZYAN_STATUS_SUCCESS:
		return true;
	default:
		return false;
	}
}

/* Change n of field k and those behind it in every way. *why: the last one changed. */
static bool any_change(const struct both *b, const struct insn *i, const struct form *f, unsigned k,
		       unsigned n, enum refused *why)
{
	if (!n)
		return taken(b, f);
	for (; k < ARRAY_SIZE(fields); k++)
		for (unsigned v = 1; v < fields[k].values; v++) {
			struct form g = *f;

			*why = fields[k].why;
			if (change(&g, i, k, v) && any_change(b, i, &g, k + 1, n - 1, why))
				return true;
		}
	return false;
}

/* SHA512, SM3, SM4, AVX-IFMA, -NE-CONVERT, -VNNI-INT16, CMPccXADD, AMX-COMPLEX; RAO-INT's AADD and kin. */
static bool newer(const struct insn *i)
{
	u8 c = i->opcode;

	if (i->map == INSN_MAP_0F3A)
		return i->enc == INSN_VEX && c == 0xde;
	if (i->map != INSN_MAP_0F38)
		return false;
	if (i->enc == INSN_LEGACY)
		return c == 0xfc;
	return i->enc == INSN_VEX && (c == 0x6c || c == 0x72 || c == 0xb0 || c == 0xb1 || c == 0xb4 || c == 0xb5 ||
				      (c >= 0xcb && c <= 0xcd) || c == 0xd2 || c == 0xd3 || c == 0xda ||
				      (c >= 0xe0 && c <= 0xef));
}

/* AMX exists in 64-bit mode only. */
static bool only_64(const struct insn *i)
{
	u8 c = i->opcode;

	return i->mode != INSN_64 && i->enc == INSN_VEX && i->map == INSN_MAP_0F38 &&
	       (c == 0x49 || c == 0x4b || c == 0x5c || c == 0x5e);
}

static enum refused classify(const struct both *b, const struct insn *i, ZyanStatus zs)
{
	enum refused why;
	struct form f;

	switch (zs) {
	case ZYDIS_STATUS_ILLEGAL_LOCK:
		return R_LOCK;
	case ZYDIS_STATUS_BAD_REGISTER:
		return R_REGISTER;
	case ZYDIS_STATUS_MALFORMED_EVEX:
		return R_EVEX;
	case ZYDIS_STATUS_INVALID_MASK:
		return R_MASK;
	case ZYDIS_STATUS_DECODING_ERROR:
		break;
	default:
		return R_UNEXPLAINED;
	}
	if (i->enc == INSN_LEGACY && i->map == INSN_MAP_0F && i->opcode == 0x0f)
		return R_3DNOW;
	if (newer(i))
		return R_NEWER;
	if (only_64(i))
		return R_MODE;
	take_apart(i, &f);
	for (unsigned n = 1; n <= ARRAY_SIZE(fields); n++)
		if (any_change(b, i, &f, 0, n, &why))
			return n == 1 ? why : R_SEVERAL;
	return R_UNEXPLAINED;
}

/* Returns the length to step over. */
static unsigned check(struct both *b, const u8 *p, unsigned n)
{
	ZydisDecodedInstruction z;
	ZyanStatus zs = ZydisDecoderDecodeInstruction(&b->z, ZYAN_NULL, p, n, &z);
	struct insn i;
	enum insn_status st = insn_decode(&i, p, n, b->mode);
	const char *what;

	if (zs == ZYDIS_STATUS_NO_MORE_DATA && n < INSN_MAX) {
		if (st != INSN_MORE && st != INSN_UD)
			fail_msg("status %d where bytes are missing", st);
		return n;
	}
	if (zs == ZYDIS_STATUS_INSTRUCTION_TOO_LONG) {
		if (st != INSN_TOO_LONG && st != INSN_UD && !(st == INSN_MORE && n < INSN_MAX))
			fail_msg("status %d where 15 bytes are exceeded", st);
		return 1;
	}
	if (!ZYAN_SUCCESS(zs)) {
		if (st == INSN_OK) {
			enum refused why = classify(b, &i, zs);

			b->zydis_refuses++;
			b->refused[why]++;
			if (why == R_UNEXPLAINED && b->refused[why] <= 20) {
				memset(&z, 0, sizeof(z));
				dump(b, p, "refused, and no reason found", &i, &z);
			}
		}
		return 1;
	}
	if (st != INSN_OK) {
		if (known_ud(&z)) {
			b->known++;
			return z.length;
		}
		dump(b, p, "not decoded", &i, &z);
		fail();
	}
	if (known_ud(&z)) {
		b->known++;
		return z.length;
	}
	what = compare(&i, &z);
	if (what) {
		dump(b, p, what, &i, &z);
		fail();
	}
	b->same++;
	return i.len;
}

static void say(const char *what, const struct both *b)
{
	print_message("%s: %llu equal, %llu only ours, %llu listed\n", what, (unsigned long long)b->same,
		      (unsigned long long)b->zydis_refuses, (unsigned long long)b->known);
	for (unsigned k = 0; k < NR_REFUSED; k++)
		if (b->refused[k])
			print_message("    %s: %llu\n", refused_names[k], (unsigned long long)b->refused[k]);
	assert_int_equal(b->refused[R_UNEXPLAINED], 0);
}

static void random_bytes(u8 *p)
{
	static const u8 pfx[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x65,
				 0x36, 0x48, 0x41, 0x44, 0x4f, 0x40, 0x26, 0x3e};
	static const u8 esc[] = {0x0f, 0x0f, 0x0f, 0xc4, 0xc5, 0x62, 0x8f, 0xff, 0xf7, 0xf6};
	unsigned k = 0;
	u32 r = rnd();

	for (unsigned j = 0; j < INSN_MAX; j++)
		p[j] = rnd();
	if ((rnd() & 63) == 0)
		k = rnd() % 13;
	else
		k = r % 4;
	for (unsigned j = 0; j < k; j++)
		p[j] = pfx[rnd() % sizeof(pfx)];
	if (rnd() & 1) {
		p[k] = esc[rnd() % sizeof(esc)];
		if (p[k] == 0x0f && (rnd() & 1))
			p[k + 1] = rnd() & 1 ? 0x38 : 0x3a;
		if (p[k] == 0xc4 && (rnd() & 1))
			p[k + 1] = (p[k + 1] & 0xe0) | (1 + rnd() % 3);
		if (p[k] == 0x8f && (rnd() & 1))
			p[k + 1] = (p[k + 1] & 0xe0) | (8 + rnd() % 3);
		if (p[k] == 0x62 && (rnd() & 1)) {
			p[k + 1] = (p[k + 1] & 0xf0) | (1 + rnd() % 6);
			p[k + 2] |= 4;
			if (rnd() & 1)
				p[k + 2] |= 0x78;
		}
	}
}

static void random_mode(enum insn_mode mode)
{
	struct both b;
	u8 p[INSN_MAX];
	char what[16];

	init(&b, mode);
	for (u32 r = 0; r < ROUNDS; r++) {
		random_bytes(p);
		check(&b, p, INSN_MAX);
		if ((r & 15) == 0)
			check(&b, p, rnd() % INSN_MAX);
	}
	snprintf(what, sizeof(what), "mode %d", mode);
	say(what, &b);
	assert_true(b.same > ROUNDS / 3);
}

static void random_16(void **state)
{
	(void)state;
	random_mode(INSN_16);
}

static void random_32(void **state)
{
	(void)state;
	random_mode(INSN_32);
}

static void random_64(void **state)
{
	(void)state;
	random_mode(INSN_64);
}

static void random_64_amd(void **state)
{
	(void)state;
	random_mode(INSN_64 | INSN_AMD_BRANCHES);
}

static void text_of(struct both *b, const char *path)
{
	FILE *f = fopen(path, "rb");
	u8 *buf;
	long size;
	Elf64_Ehdr *eh;
	Elf64_Phdr *ph;

	if (!f)
		return;
	fseek(f, 0, SEEK_END);
	size = ftell(f);
	rewind(f);
	buf = malloc(size);
	if (fread(buf, 1, size, f) != (size_t)size || memcmp(buf, ELFMAG, 4))
		size = 0;
	fclose(f);
	eh = (Elf64_Ehdr *)buf;
	ph = (Elf64_Phdr *)(buf + (size ? eh->e_phoff : 0));
	for (unsigned k = 0; size && k < eh->e_phnum; k++) {
		if (ph[k].p_type != PT_LOAD || !(ph[k].p_flags & PF_X))
			continue;
		for (u64 off = 0; off < ph[k].p_filesz;)
			off += check(b, buf + ph[k].p_offset + off,
				     MIN(ph[k].p_filesz - off, (u64)INSN_MAX));
	}
	free(buf);
}

static void programs(void **state)
{
	static const char *const paths[] = {"/lib/x86_64-linux-gnu/libc.so.6",
					    "/bin/busybox",
					    "/usr/bin/gcc",
					    "/bin/bash",
					    "/lib/x86_64-linux-gnu/libcrypto.so.3",
					    "/usr/lib/x86_64-linux-gnu/libcrypto.so.3"};
	struct both b;

	(void)state;
	init(&b, INSN_64);
	for (unsigned k = 0; k < ARRAY_SIZE(paths); k++)
		text_of(&b, paths[k]);
	say("programs", &b);
	assert_true(b.same > 100000);
}

/* The kernel that the system tests boot, unpacked; it is there once one of them has fetched it. */
static void kernel(void **state)
{
	static const char path[] = "build/unit/vmlinux";
	struct both b;

	(void)state;
	init(&b, INSN_64);
	if (system("tools/vmlinux build/guest/vmlinuz build/unit/vmlinux")) {
		print_message("skipped: Debian's kernel was not unpacked, the line above says why\n");
		skip();
	}
	text_of(&b, path);
	say("Debian's kernel", &b);
	assert_true(b.same > 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_16), cmocka_unit_test(random_32),
		cmocka_unit_test(random_64), cmocka_unit_test(random_64_amd),
		cmocka_unit_test(programs),  cmocka_unit_test(kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
