/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/insn.c lib/insn_tables.c vmm/emulate.c vmm/emulate_alu.c vmm/emulate_cmpxchg.c vmm/emulate_mem.c vmm/emulate_stack.c vmm/emulate_string.c */
/*
 * The emulator by hand: what test_emulate_native.c cannot run on the build machine. 16- and 32-bit
 * addressing, segments, faults, LOCK and lost races, REP with a budget, port I/O.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "vmm/emulate_int.h"
#include "lib/errno.h"
#include "lib/string.h"

#define MEM_SIZE 0x20000u
#define DATA	 0x93 /* present, data, read and write, accessed */
#define DOWN	 0x97
#define CODE	 0x9b

static u8 mem[MEM_SIZE];
static struct hv_segment segs[HV_NR_SEGS];
static u64 gpr[16];
static struct emul e;
static struct insn insn;

/* What the callbacks do wrong. */
static u64 fault_write_at, fault_read_at;
static unsigned again_after, lose_races, calls, probes;
static u32 in_value, out_value;
static u16 last_port;
static unsigned last_width, ios;

static int page_fault(u64 linear, u32 error)
{
	e.fault = (struct emul_fault){ .vector = 14, .has_error = true, .error = error,
				       .cr2 = linear };
	return -EFAULT;
}

static int access_ok(u64 linear, unsigned n)
{
	if (again_after && ++calls > again_after)
		return -EAGAIN;
	return linear + n <= MEM_SIZE ? 0 : page_fault(linear, 0);
}

static int do_read(struct emul *em, u64 linear, void *buf, unsigned n)
{
	int r = access_ok(linear, n);

	(void)em;
	if (!r && fault_read_at && linear <= fault_read_at && fault_read_at < linear + n)
		r = page_fault(linear, 0);
	if (!r)
		memcpy(buf, mem + linear, n);
	return r;
}

static int do_write(struct emul *em, u64 linear, const void *buf, unsigned n)
{
	int r = access_ok(linear, n);

	(void)em;
	if (!r && fault_write_at && linear <= fault_write_at && fault_write_at < linear + n)
		r = page_fault(linear, 2);
	if (!r)
		memcpy(mem + linear, buf, n);
	return r;
}

static int do_cmpxchg(struct emul *em, u64 linear, void *old, const void *new_, unsigned n)
{
	(void)em;
	if (lose_races) {
		lose_races--;
		mem[linear]++;
	}
	if (memcmp(mem + linear, old, n))
		memcpy(old, mem + linear, n);
	else
		memcpy(mem + linear, new_, n);
	return 0;
}

static int do_in(struct emul *em, u16 port, unsigned n, u32 *val)
{
	(void)em;
	last_port = port;
	last_width = n;
	ios++;
	*val = in_value++;
	return 0;
}

static int do_out(struct emul *em, u16 port, unsigned n, u32 val)
{
	(void)em;
	last_port = port;
	last_width = n;
	ios++;
	out_value = val;
	return 0;
}

static void get_seg(struct emul *em, enum hv_seg s, struct hv_segment *out)
{
	(void)em;
	*out = segs[s];
}

static int probe_write(struct emul *em, u64 linear, unsigned n)
{
	(void)em;
	probes++;
	if (fault_write_at && linear <= fault_write_at && fault_write_at < linear + n)
		return page_fault(linear, 2);
	return 0;
}

static const struct emul_ops ops = { do_read, do_write, do_cmpxchg, do_in, do_out, get_seg, NULL };
static const struct emul_ops ops_probe = { do_read, do_write, do_cmpxchg, do_in,
					   do_out,  get_seg,  probe_write };

static void init(enum insn_mode mode)
{
	memset(mem, 0, sizeof(mem));
	memset(gpr, 0, sizeof(gpr));
	for (unsigned s = 0; s < HV_NR_SEGS; s++)
		segs[s] = (struct hv_segment){
			.limit = mode == INSN_16 ? 0xffff : 0xffffffff,
			.attr = s == SEG_CS ? CODE : DATA,
		};
	if (mode == INSN_32)
		segs[SEG_SS].attr |= SEG_ATTR_DB;
	segs[SEG_TR] = (struct hv_segment){ .base = 0x1000, .limit = 0x2068, .attr = 0x8b };
	e = (struct emul){ .ops = &ops, .gpr = gpr, .rip = 0x100, .rflags = 0x202, .mode = mode,
			   .protected_mode = mode != INSN_16, .rep_budget = 1000 };
	fault_write_at = fault_read_at = 0;
	again_after = lose_races = calls = probes = ios = 0;
	in_value = 0x41;
}

static enum emul_result run(const char *s)
{
	u8 b[INSN_MAX];

	memset(b, 0x90, sizeof(b));
	for (unsigned k = 0; k < INSN_MAX; k++)
		b[k] = s[k]; /* every literal below is padded to 16 bytes by X() */
	assert_int_equal(insn_decode(&insn, b, sizeof(b), e.mode), INSN_OK);
	return emulate(&e, &insn);
}
#define X(s) run(s "\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90")

static void poke32(u64 a, u32 v)
{
	memcpy(mem + a, &v, 4);
}

static u32 peek32(u64 a)
{
	u32 v;

	memcpy(&v, mem + a, 4);
	return v;
}

static void faulted(enum emul_result r, u8 vector, bool has_error)
{
	assert_int_equal(r, EMUL_FAULT);
	assert_int_equal(e.fault.vector, vector);
	assert_int_equal(e.fault.has_error, has_error);
	assert_int_equal(e.fault.error, 0);
	assert_int_equal(e.rip, 0x100);
}

static void addressing_16(void **state)
{
	(void)state;
	init(INSN_16);
	segs[SEG_DS].base = 0x10000;
	segs[SEG_SS].base = 0x4000;
	gpr[REG_RBX] = 0xdead8000; /* upper halves do not count, sums wrap at 64 KiB */
	gpr[REG_RSI] = 0x8010;
	gpr[REG_RAX] = 0xaabbccdd;
	assert_int_equal(X("\x89\x00"), EMUL_OK); /* mov [bx+si], ax */
	assert_int_equal(peek32(0x10010), 0xccdd);
	assert_int_equal(e.rip, 0x102);
	gpr[REG_RBP] = 0x20;
	assert_int_equal(X("\x66\x89\x46\xfc"), EMUL_OK); /* mov [bp-4], eax: SS */
	assert_int_equal(peek32(0x401c), 0xaabbccdd);
	assert_int_equal(X("\x3e\x88\x46\0"), EMUL_OK); /* mov ds:[bp], al */
	assert_int_equal(peek32(0x10020), 0xdd);
	gpr[REG_RBX] = 0x10000;
	e.rip = 0x100;
	faulted(X("\x67\x89\x03"), 13, false); /* [ebx]: beyond the limit; real mode: no error code */
	gpr[REG_RBX] = 0xffff;
	faulted(X("\x89\x07"), 13, false); /* a word at FFFF */
	gpr[REG_RBP] = 0xffff;
	faulted(X("\x89\x46\0"), 12, false);
	segs[SEG_DS].limit = 0xffffffff; /* "big real mode" */
	gpr[REG_RBX] = 0x10000;
	segs[SEG_DS].base = 0;
	assert_int_equal(X("\x67\x89\x03"), EMUL_OK);
	assert_int_equal(peek32(0x10000), 0xccdd);
}

static void segments(void **state)
{
	(void)state;
	init(INSN_32);
	gpr[REG_RBX] = 0x1000;
	segs[SEG_DS].limit = 0x1003;
	assert_int_equal(X("\x89\x03"), EMUL_OK);
	e.rip = 0x100;
	gpr[REG_RBX] = 0x1001;
	faulted(X("\x89\x03"), 13, true);
	segs[SEG_DS].attr = DOWN; /* expand-down: above the limit, up to 64 KiB */
	gpr[REG_RBX] = 0x1004;
	assert_int_equal(X("\x89\x03"), EMUL_OK);
	e.rip = 0x100;
	gpr[REG_RBX] = 0x1003;
	faulted(X("\x89\x03"), 13, true);
	gpr[REG_RBX] = 0xfffd;
	faulted(X("\x89\x03"), 13, true);
	segs[SEG_DS].attr = DOWN | SEG_ATTR_DB;
	assert_int_equal(X("\x89\x03"), EMUL_OK);
	e.rip = 0x100;
	segs[SEG_ES].attr = DATA & ~2; /* read-only */
	faulted(X("\x26\x89\x03"), 13, true);
	assert_int_equal(X("\x26\x8b\x03"), EMUL_OK);
	e.rip = 0x100;
	faulted(X("\x2e\x89\x03"), 13, true); /* code is never writable */
	assert_int_equal(X("\x2e\x8b\x03"), EMUL_OK);
	e.rip = 0x100;
	segs[SEG_CS].attr = CODE & ~2; /* execute only */
	faulted(X("\x2e\x8b\x03"), 13, true);
	segs[SEG_FS].attr = SEG_ATTR_UNUSABLE;
	faulted(X("\x64\x8b\x03"), 13, true);
	segs[SEG_SS].attr |= SEG_ATTR_UNUSABLE;
	faulted(X("\x36\x8b\x03"), 12, true);
	segs[SEG_GS].base = 0xfffffff0; /* linear addresses wrap at 4 GiB */
	gpr[REG_RBX] = 0x20;
	poke32(0x10, 0x1234);
	assert_int_equal(X("\x65\x8b\x0b"), EMUL_OK);
	assert_int_equal(gpr[REG_RCX], 0x1234);
}

static void long_mode_addresses(void **state)
{
	u64 linear;

	(void)state;
	init(INSN_64);
	segs[SEG_DS].base = 0x5000; /* ignored */
	segs[SEG_DS].attr = SEG_ATTR_UNUSABLE;
	segs[SEG_FS].base = 0x2000;
	gpr[REG_RBX] = 0x10;
	poke32(0x10, 1);
	poke32(0x2010, 2);
	assert_int_equal(X("\x8b\x03"), EMUL_OK);
	assert_int_equal(gpr[REG_RAX], 1);
	assert_int_equal(X("\x64\x8b\x03"), EMUL_OK);
	assert_int_equal(gpr[REG_RAX], 2);
	e.rip = 0x100;
	gpr[REG_RBX] = 0x800000000000;
	faulted(X("\x8b\x03"), 13, true);
	gpr[REG_RBX] = 0x7ffffffffffd; /* the last byte is not canonical */
	faulted(X("\x8b\x03"), 13, true);
	gpr[REG_RBP] = 0x800000000000;
	faulted(X("\x8b\x45\0"), 12, true);
	e.va_bits = 57;
	assert_int_equal(emul_operand_address(&e, &insn, 4, false, &linear), 0);
	assert_true(linear == 0x800000000000);
	assert_int_equal(X("\x89\xc0"), EMUL_OK);
	assert_int_equal(emul_operand_address(&e, &insn, 4, false, &linear), -EFAULT);
	assert_int_equal(e.fault.vector, 6);
}

static void faults_change_nothing(void **state)
{
	static const char *const rmw[] = {
		"\x01\x03", "\xf0\x01\x03", "\xff\x03", "\xd1\x23", "\x87\x03", "\x0f\xc1\x03",
		"\x0f\xab\x03", "\xf7\x1b", "\x0f\xb1\x0b", "\x8f\x03", "\x89\x03", "\x0f\xc7\x0b",
	};
	u64 before[16];

	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(rmw); k++) {
		char b[32];

		init(INSN_64);
		e.ops = k & 1 ? &ops_probe : &ops;
		memset(b, 0x90, sizeof(b));
		memcpy(b, rmw[k], strlen(rmw[k]));
		gpr[REG_RBX] = 0x4000;
		gpr[REG_RSP] = 0x8000;
		e.rflags = 0xad7;
		memcpy(before, gpr, sizeof(gpr));
		if (b[0] == (char)0xf0) /* a locked write faults in cmpxchg, here in its read */
			fault_read_at = 0x4001;
		else if (b[0] == (char)0x87)
			fault_read_at = 0x4001;
		else
			fault_write_at = 0x4001;
		assert_int_equal(run(b), EMUL_FAULT);
		assert_int_equal(e.fault.vector, 14);
		assert_true(e.fault.cr2 == 0x4000);
		assert_memory_equal(before, gpr, sizeof(gpr));
		assert_int_equal(e.rflags, 0xad7);
		assert_int_equal(e.rip, 0x100);
		for (unsigned a = 0; a < 64; a++)
			assert_int_equal(mem[0x4000 + a], 0);
	}
	init(INSN_64);
	gpr[REG_RSP] = 0x8000;
	gpr[REG_RBX] = 0x4000;
	fault_write_at = 0x7ff8;
	assert_int_equal(X("\xff\x33"), EMUL_FAULT); /* push [rbx]: the stack faults */
	assert_int_equal(gpr[REG_RSP], 0x8000);
	init(INSN_64);
	again_after = 1;
	assert_int_equal(X("\x01\x03"), EMUL_RETRY);
	assert_int_equal(e.rip, 0x100);
	assert_int_equal(e.rflags, 0x202);
}

static void lock(void **state)
{
	static const char *const bad[] = { "\xf0\x89\x03", "\xf0\x8b\x03", "\xf0\x01\xc0",
					   "\xf0\x03\x03", "\xf0\x39\x03", "\xf0\x83\x3b\0",
					   "\xf0\x0f\xa3\x03", "\xf0\xa4", "\xf0\x0f\xba\x23\1",
					   "\xf0\xd1\x23", "\xf0\xff\x33", "\xf0\x84\x03" };
	char b[32];

	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(bad); k++) {
		init(INSN_64);
		memset(b, 0x90, sizeof(b));
		memcpy(b, bad[k], strlen(bad[k]));
		faulted(run(b), 6, false);
	}
	init(INSN_64);
	assert_int_equal(X("\xf0\x0f\x20\xc0"), EMUL_UNHANDLED); /* AMD: MOV from CR8 */
	gpr[REG_RBX] = 0x4000;
	gpr[REG_RAX] = 0x100;
	lose_races = 3;
	assert_int_equal(X("\xf0\x01\x03"), EMUL_OK);
	assert_int_equal(peek32(0x4000), 0x103); /* added to what the others wrote */
	e.rip = 0x100;
	lose_races = 1000;
	assert_int_equal(X("\xf0\x01\x03"), EMUL_RETRY);
	assert_int_equal(e.rip, 0x100);
	assert_true(lose_races > 900);
	lose_races = 1;
	poke32(0x4000, 7);
	assert_int_equal(X("\x87\x03"), EMUL_OK); /* XCHG is locked by itself */
	assert_int_equal(gpr[REG_RAX], 8);
	assert_int_equal(peek32(0x4000), 0x100);
	poke32(0x4000, 5);
	gpr[REG_RAX] = 5;
	gpr[REG_RCX] = 9;
	lose_races = 1;
	assert_int_equal(X("\xf0\x0f\xb1\x0b"), EMUL_OK); /* a CMPXCHG that loses is not repeated */
	assert_int_equal(gpr[REG_RAX], 6);
	assert_false(e.rflags & FL_ZF);
	e.rip = 0x100;
	gpr[REG_RBX] = 0x4008;
	faulted(X("\x48\x0f\xc7\x0b"), 13, true); /* CMPXCHG16B: alignment */
}

static void rep_budget(void **state)
{
	(void)state;
	init(INSN_64);
	for (unsigned k = 0; k < 100; k++)
		mem[0x3000 + k] = k + 1;
	gpr[REG_RSI] = 0x3000;
	gpr[REG_RDI] = 0x4000;
	gpr[REG_RCX] = 100;
	e.rep_budget = 40;
	assert_int_equal(X("\xf3\xa4"), EMUL_RETRY);
	assert_int_equal(gpr[REG_RCX], 60);
	assert_int_equal(gpr[REG_RSI], 0x3028);
	assert_int_equal(e.rip, 0x100);
	assert_true(e.rflags & FL_RF);
	assert_int_equal(X("\xf3\xa4"), EMUL_RETRY);
	assert_int_equal(X("\xf3\xa4"), EMUL_OK);
	assert_int_equal(e.rip, 0x102);
	assert_int_equal(gpr[REG_RCX], 0);
	assert_false(e.rflags & FL_RF);
	assert_memory_equal(mem + 0x3000, mem + 0x4000, 100);

	e.rip = 0x100;
	assert_int_equal(X("\xf3\xa4"), EMUL_OK); /* count 0 */
	assert_int_equal(gpr[REG_RDI], 0x4064);

	e.rip = 0x100;
	gpr[REG_RCX] = 4;
	gpr[REG_RDI] = 0x5000;
	e.rflags |= FL_TF;
	assert_int_equal(X("\xf3\xaa"), EMUL_RETRY); /* one iteration a trap */
	assert_int_equal(gpr[REG_RCX], 3);
	e.rflags &= ~FL_TF;
	e.rep_budget = 0;
	assert_int_equal(X("\xf3\xaa"), EMUL_RETRY); /* and never none */
	assert_int_equal(gpr[REG_RCX], 2);
}

static void string_faults(void **state)
{
	(void)state;
	init(INSN_32);
	gpr[REG_RSI] = 0x3000;
	gpr[REG_RDI] = 0x4000;
	gpr[REG_RCX] = 10;
	fault_write_at = 0x400c;
	assert_int_equal(X("\xf3\xa5"), EMUL_FAULT);
	assert_int_equal(e.fault.cr2, 0x400c);
	assert_int_equal(gpr[REG_RCX], 7); /* three were done */
	assert_int_equal(gpr[REG_RDI], 0x400c);
	assert_int_equal(gpr[REG_RSI], 0x300c);
	assert_int_equal(e.rip, 0x100);

	init(INSN_16); /* 16-bit registers wrap, upper halves stay; ES has no override */
	segs[SEG_ES].base = 0x10000;
	segs[SEG_DS].limit = 0;
	gpr[REG_RDI] = 0xabcd0001;
	gpr[REG_RCX] = 0xabcd0002;
	gpr[REG_RAX] = 0x55;
	e.rflags |= FL_DF;
	assert_int_equal(X("\x3e\xf3\xaa"), EMUL_OK);
	assert_int_equal(gpr[REG_RDI], 0xabcdffff);
	assert_int_equal(gpr[REG_RCX], 0xabcd0000);
	assert_int_equal(mem[0x10000], 0x55);
	assert_int_equal(mem[0x10001], 0x55);

	init(INSN_16); /* LODS obeys an override */
	segs[SEG_ES].base = 0x10000;
	gpr[REG_RSI] = 4;
	poke32(0x10004, 0x77);
	assert_int_equal(X("\x26\xac"), EMUL_OK);
	assert_int_equal(gpr[REG_RAX], 0x77);

	init(INSN_32);
	memset(mem + 0x4000, 'a', 8);
	mem[0x4005] = 0;
	gpr[REG_RDI] = 0x4000;
	gpr[REG_RCX] = 0xffffffff;
	assert_int_equal(X("\xf2\xae"), EMUL_OK); /* strlen */
	assert_int_equal(gpr[REG_RDI], 0x4006);
	assert_true(e.rflags & FL_ZF);
}

static void port_io(void **state)
{
	(void)state;
	init(INSN_64);
	gpr[REG_RAX] = ~0ull;
	assert_int_equal(X("\xe4\x60"), EMUL_OK);
	assert_true(gpr[REG_RAX] == 0xffffffffffffff41);
	assert_int_equal(last_port, 0x60);
	gpr[REG_RDX] = 0x12340cf8;
	assert_int_equal(X("\x48\xed"), EMUL_OK); /* 32 bits, whatever REX.W says */
	assert_int_equal(last_port, 0xcf8);
	assert_int_equal(last_width, 4);
	assert_true(gpr[REG_RAX] == 0x42);
	gpr[REG_RAX] = 0x11223344;
	assert_int_equal(X("\x66\xef"), EMUL_OK);
	assert_int_equal(out_value, 0x3344);
	assert_int_equal(last_width, 2);
	gpr[REG_RDI] = 0x4000;
	gpr[REG_RCX] = 3;
	assert_int_equal(X("\xf3\x6c"), EMUL_OK);
	assert_int_equal(peek32(0x4000), 0x454443);
	assert_int_equal(gpr[REG_RDI], 0x4003);
	gpr[REG_RSI] = 0x4000;
	assert_int_equal(X("\x6e"), EMUL_OK);
	assert_int_equal(out_value, 0x43);
	/* A destination that cannot be written is found before the device is read. */
	e.ops = &ops_probe;
	fault_write_at = 0x4003;
	ios = 0;
	gpr[REG_RCX] = 1;
	assert_int_equal(X("\xf3\x6c"), EMUL_FAULT);
	assert_int_equal(ios, 0);
}

static void port_permission(void **state)
{
	(void)state;
	init(INSN_64);
	e.cpl = 3;
	mem[0x1066] = 0x68; /* the bitmap stands behind the TSS */
	memset(mem + 0x1068, 0xff, 0x2001);
	gpr[REG_RDX] = 0x3f8;
	faulted(X("\xec"), 13, true);
	assert_int_equal(e.cpl, 3);
	mem[0x1068 + 0x3f8 / 8] = 0xfe;
	assert_int_equal(X("\xec"), EMUL_OK);
	e.rip = 0x100;
	faulted(X("\xed"), 13, true); /* 3F9 to 3FB are not ours */
	assert_int_equal(ios, 1);
	gpr[REG_RDX] = 0xffff;
	segs[SEG_TR].limit = 0x2067; /* the byte after the bitmap is cut off */
	mem[0x1068 + 0x1fff] = 0;
	faulted(X("\xec"), 13, true);
	e.iopl = 3;
	assert_int_equal(X("\xec"), EMUL_OK);
	e.rip = 0x100;
	e.iopl = 0;
	segs[SEG_TR].attr = 0x83; /* a 16-bit TSS has no bitmap */
	faulted(X("\xec"), 13, true);
	faulted(X("\x6e"), 13, true);

	init(INSN_16);
	e.rflags |= FL_VM; /* V86: the bitmap decides even with IOPL 3 */
	e.cpl = 3;
	e.iopl = 3;
	mem[0x1066] = 0x68;
	memset(mem + 0x1068, 0xff, 0x2001);
	faulted(X("\xec"), 13, true);
}

static void stack_and_branches(void **state)
{
	(void)state;
	init(INSN_32);
	gpr[REG_RSP] = 0x8000;
	gpr[REG_RBX] = 0x4000;
	poke32(0x4000, 0x12345678);
	segs[SEG_CS].limit = 0x1000;
	faulted(X("\xff\x13"), 13, true); /* target beyond CS */
	assert_int_equal(gpr[REG_RSP], 0x8000);
	poke32(0x4000, 0x800);
	assert_int_equal(X("\xff\x13"), EMUL_OK);
	assert_int_equal(e.rip, 0x800);
	assert_int_equal(peek32(0x7ffc), 0x102);
	assert_int_equal(X("\xff\x23"), EMUL_OK);
	assert_int_equal(gpr[REG_RSP], 0x7ffc);
	assert_int_equal(X("\x66\xff\x33"), EMUL_OK);
	assert_int_equal(gpr[REG_RSP], 0x7ffa);
	segs[SEG_SS].attr &= ~SEG_ATTR_DB; /* 16-bit stack: the upper half of ESP stays */
	gpr[REG_RSP] = 0xffff0000;
	assert_int_equal(X("\xff\x33"), EMUL_OK);
	assert_int_equal(gpr[REG_RSP], 0xfffffffc);
	assert_int_equal(peek32(0xfffc), 0x800);
	e.rip = 0x100;
	segs[SEG_SS].limit = 0xfff;
	faulted(X("\xff\x33"), 12, true);
	init(INSN_64);
	gpr[REG_RBX] = 0x4000;
	mem[0x4006] = 0x80;
	faulted(X("\xff\x23"), 13, true); /* not canonical */
}

static void unhandled(void **state)
{
	static const char *const list[] = {
		"\x0f\x11\x03", "\xc5\xf9\x7f\x03", "\xdd\x03", "\xf7\x33", "\xff\x1b", "\x0f\xae\x03",
		"\x0f\x38\xf0\xc3", "\xf2\x0f\x38\xf1\x03", "\x0f\xa2", "\xc7\xf8\1\1\1\1", "\x90",
	};

	(void)state;
	for (unsigned k = 0; k < ARRAY_SIZE(list); k++) {
		char b[32];

		init(INSN_64);
		memset(b, 0x90, sizeof(b));
		memcpy(b, list[k], strlen(list[k]));
		assert_int_equal(run(b), EMUL_UNHANDLED);
		assert_int_equal(e.rip, 0x100);
	}
	init(INSN_64);
	assert_int_equal(X("\x0f\xae\x3b"), EMUL_OK); /* CLFLUSH touches nothing */
	faulted((e.rip = 0x100, X("\x66\x0f\xc3\x03")), 6, false); /* MOVNTI has no 66 form */
	segs[SEG_DS].selector = 0x1234;
	poke32(0, ~0u);
	assert_int_equal(X("\x8c\x1b"), EMUL_OK); /* MOV [rbx], DS */
	assert_int_equal(peek32(0), 0xffff1234);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addressing_16),	 cmocka_unit_test(segments),
		cmocka_unit_test(long_mode_addresses),	 cmocka_unit_test(faults_change_nothing),
		cmocka_unit_test(lock),			 cmocka_unit_test(rep_budget),
		cmocka_unit_test(string_faults),	 cmocka_unit_test(port_io),
		cmocka_unit_test(port_permission),	 cmocka_unit_test(stack_and_branches),
		cmocka_unit_test(unhandled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
