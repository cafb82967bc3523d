/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/insn.c lib/insn_tables.c libs: -lZydis */
/*
 * The decoder against Zydis: random byte strings rich in prefixes, and the code of real programs.
 * Where both decode, length, ModRM, displacement, immediate and address size must be equal. Zydis
 * also refuses forms (see lib/insn.h) that the decoder takes; it may never be the other way round
 * but for what known_ud() lists.
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

struct both {
	ZydisDecoder z;
	enum insn_mode mode;
	u64 same, zydis_refuses, known;
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
		b->zydis_refuses += st == INSN_OK;
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

	init(&b, mode);
	for (u32 r = 0; r < ROUNDS; r++) {
		random_bytes(p);
		check(&b, p, INSN_MAX);
		if ((r & 15) == 0)
			check(&b, p, rnd() % INSN_MAX);
	}
	print_message("mode %d: %llu equal, %llu only ours (forms the CPU refuses), %llu listed\n",
		      mode, (unsigned long long)b.same, (unsigned long long)b.zydis_refuses,
		      (unsigned long long)b.known);
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
	print_message("programs: %llu equal, %llu only ours, %llu listed\n",
		      (unsigned long long)b.same, (unsigned long long)b.zydis_refuses,
		      (unsigned long long)b.known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_16), cmocka_unit_test(random_32),
		cmocka_unit_test(random_64), cmocka_unit_test(random_64_amd),
		cmocka_unit_test(programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
