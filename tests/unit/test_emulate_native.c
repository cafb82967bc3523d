/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/insn.c lib/insn_tables.c vmm/emulate.c vmm/emulate_alu.c vmm/emulate_cmpxchg.c vmm/emulate_mem.c vmm/emulate_stack.c vmm/emulate_string.c */
/*
 * The emulator against the CPU of the build machine: each instruction form, with random operands,
 * addressing, prefixes, registers and flags, runs natively and in the emulator; registers, memory
 * and defined flags must agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <asm/prctl.h>
#include <cpuid.h>
#include <cmocka.h>
#include "vmm/emulate_int.h"
#include "lib/errno.h"
#include "lib/string.h"

#define CASES	   600000
#define DATA_SIZE  0x10000u
#define GS_OFFSET  0x800u
#define ARITH	   (FL_CF | FL_PF | FL_AF | FL_ZF | FL_SF | FL_OF)
#define FLAG_BITS  (ARITH | FL_DF)

/* Loads nat_regs and nat_flags, jumps to nat_code; the code ends with a jump to nat_done or
 * nat_done2, which store them again. */
u64 nat_regs[16], nat_flags, nat_rsp;
const void *nat_code;
u8 nat_branched;
void nat_run(void);
void nat_done(void);
void nat_done2(void);

__asm__(".text\n"
	"nat_run:\n"
	"	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
	"	mov %rsp, nat_rsp(%rip)\n"
	"	pushq nat_flags(%rip); popfq\n"
	"	mov nat_regs(%rip), %rax; mov nat_regs+8(%rip), %rcx\n"
	"	mov nat_regs+16(%rip), %rdx; mov nat_regs+24(%rip), %rbx\n"
	"	mov nat_regs+40(%rip), %rbp; mov nat_regs+48(%rip), %rsi\n"
	"	mov nat_regs+56(%rip), %rdi; mov nat_regs+64(%rip), %r8\n"
	"	mov nat_regs+72(%rip), %r9; mov nat_regs+80(%rip), %r10\n"
	"	mov nat_regs+88(%rip), %r11; mov nat_regs+96(%rip), %r12\n"
	"	mov nat_regs+104(%rip), %r13; mov nat_regs+112(%rip), %r14\n"
	"	mov nat_regs+120(%rip), %r15; mov nat_regs+32(%rip), %rsp\n"
	"	jmp *nat_code(%rip)\n"
	"nat_done2:\n"
	"	movb $1, nat_branched(%rip)\n"
	"nat_done:\n"
	"	mov %rsp, nat_regs+32(%rip); mov nat_rsp(%rip), %rsp\n"
	"	pushfq; popq nat_flags(%rip); cld\n"
	"	mov %rax, nat_regs(%rip); mov %rcx, nat_regs+8(%rip)\n"
	"	mov %rdx, nat_regs+16(%rip); mov %rbx, nat_regs+24(%rip)\n"
	"	mov %rbp, nat_regs+40(%rip); mov %rsi, nat_regs+48(%rip)\n"
	"	mov %rdi, nat_regs+56(%rip); mov %r8, nat_regs+64(%rip)\n"
	"	mov %r9, nat_regs+72(%rip); mov %r10, nat_regs+80(%rip)\n"
	"	mov %r11, nat_regs+88(%rip); mov %r12, nat_regs+96(%rip)\n"
	"	mov %r13, nat_regs+104(%rip); mov %r14, nat_regs+112(%rip)\n"
	"	mov %r15, nat_regs+120(%rip)\n"
	"	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
	"	ret\n");

#define T_LOCK	 BIT(0)
#define T_MEM	 BIT(1) /* memory operand only */
#define T_STACK	 BIT(2)
#define T_BIT	 BIT(3) /* reg is a bit offset */
#define T_BRANCH BIT(4)
#define T_BYTE	 BIT(5) /* operand size prefixes do not matter */
#define T_STRING BIT(6)
#define T_ACC	 BIT(7) /* often make memory equal rAX */
#define T_MOFFS	 BIT(8)
#define T_NO66	 BIT(9)

struct form {
	u8 map, op;
	s8 ext;	/* fixed reg field or -1 */
	u8 imm;	/* bytes; 9: operand size, at most 4 */
	u32 flags;
};

static struct form forms[600];
static unsigned nr_forms;
static u8 *code, *data; /* in the low 2 GiB; data follows code */
static u8 start[DATA_SIZE], copy[DATA_SIZE];
static u64 seed = 0x2545f4914f6cdd1d;

static u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d;
}

static unsigned below(unsigned n)
{
	return (rnd() >> 33) % n;
}

static void form(u8 map, u8 op, s8 ext, u8 imm, u32 flags)
{
	assert_true(nr_forms < ARRAY_SIZE(forms));
	forms[nr_forms++] = (struct form){ map, op, ext, imm, flags };
}

static void pair(u8 map, u8 op, s8 ext, u8 imm, u32 flags)
{
	form(map, op, ext, imm ? 1 : 0, flags | T_BYTE);
	form(map, op | 1, ext, imm, flags);
}

static void forms_map1(void)
{
	for (unsigned k = 0; k < 8; k++) {
		u32 lock = k == 7 ? 0 : T_LOCK;

		pair(0, 8 * k, -1, 0, lock);
		pair(0, 8 * k + 2, -1, 0, 0);
		pair(0, 0x80, k, 9, lock);
		form(0, 0x83, k, 1, lock);
		pair(0, 0xc0, k, 1, 0);
		forms[nr_forms - 1].imm = 1;
		pair(0, 0xd0, k, 0, 0);
		pair(0, 0xd2, k, 0, 0);
	}
	pair(0, 0x84, -1, 0, 0);
	pair(0, 0x86, -1, 0, T_LOCK);
	pair(0, 0x88, -1, 0, 0);
	pair(0, 0x8a, -1, 0, 0);
	pair(0, 0xa0, -1, 0, T_MOFFS);
	pair(0, 0xa2, -1, 0, T_MOFFS);
	pair(0, 0xc6, 0, 9, 0);
	form(0, 0x63, -1, 0, 0);
	form(0, 0x69, -1, 9, 0);
	form(0, 0x6b, -1, 1, 0);
	pair(0, 0xf6, 0, 9, 0);
	pair(0, 0xf6, 1, 9, 0);
	pair(0, 0xf6, 2, 0, T_LOCK);
	pair(0, 0xf6, 3, 0, T_LOCK);
	pair(0, 0xf6, 4, 0, 0);
	pair(0, 0xf6, 5, 0, 0);
	pair(0, 0xfe, 0, 0, T_LOCK);
	pair(0, 0xfe, 1, 0, T_LOCK);
	form(0, 0xff, 6, 0, T_STACK);
	form(0, 0x8f, 0, 0, T_STACK);
	form(0, 0xff, 2, 0, T_STACK | T_BRANCH | T_MEM | T_NO66);
	form(0, 0xff, 4, 0, T_BRANCH | T_MEM | T_NO66);
	for (unsigned op = 0xa4; op <= 0xae; op += 2)
		if (op != 0xa8)
			for (unsigned k = 0; k < 3; k++)
				pair(0, op, -1, 0, T_STRING);
}

static void forms_0f(void)
{
	unsigned a, b, c, d;

	for (unsigned k = 0; k < 16; k++) {
		form(1, 0x40 + k, -1, 0, 0);
		form(1, 0x90 + k, -1, 0, T_BYTE);
	}
	for (unsigned k = 0; k < 4; k++) {
		form(1, 0xa3 + 8 * k, -1, 0, T_BIT | (k ? T_LOCK : 0));
		form(1, 0xba, 4 + k, 1, k ? T_LOCK : 0);
	}
	form(1, 0xa4, -1, 1, 0);
	form(1, 0xa5, -1, 0, 0);
	form(1, 0xac, -1, 1, 0);
	form(1, 0xad, -1, 0, 0);
	form(1, 0xaf, -1, 0, 0);
	pair(1, 0xb0, -1, 0, T_LOCK | T_ACC);
	pair(1, 0xb6, -1, 0, 0);
	pair(1, 0xbe, -1, 0, 0);
	forms[nr_forms - 4].flags = forms[nr_forms - 2].flags = 0;
	pair(1, 0xc0, -1, 0, T_LOCK);
	form(1, 0xc3, -1, 0, T_MEM | T_NO66);
	form(1, 0xc7, 1, 0, T_LOCK | T_MEM | T_ACC);
	__cpuid(1, a, b, c, d);
	if (c & bit_MOVBE) {
		form(2, 0xf0, -1, 0, T_MEM);
		form(2, 0xf1, -1, 0, T_MEM);
	}
}

/* One generated case. */
struct test {
	const struct form *f;
	u8 bytes[32];
	unsigned n, target; /* target: offset in data */
	u64 regs[16], flags;
	bool gs, adsz;
};

static void put(struct test *t, u64 v, unsigned n)
{
	memcpy(t->bytes + t->n, &v, n);
	t->n += n;
}

/* Legacy prefixes in some order, with some that 64-bit mode ignores, then REX. Returns REX. */
static u8 put_prefixes(struct test *t, bool lock)
{
	u32 fl = t->f->flags;
	u8 list[8], rex = below(3) ? 0x40 | below(16) : 0;
	unsigned n = 0;

	t->gs = below(8) == 0 && !(fl & T_MOFFS);
	t->adsz = below(4) == 0;
	if (t->gs)
		list[n++] = 0x65;
	if (t->adsz)
		list[n++] = 0x67;
	if (below(4) == 0 && !(fl & T_NO66))
		list[n++] = 0x66;
	if (lock)
		list[n++] = 0xf0;
	if (below(8) == 0)
		list[n++] = 0x26 + 8 * below(4);
	if ((fl & T_STRING) && below(3))
		list[n++] = below(2) ? 0xf2 : 0xf3;
	while (n) {
		unsigned k = below(n);

		put(t, list[k], 1);
		list[k] = list[--n];
	}
	if (rex)
		put(t, rex, 1);
	return rex;
}

/* ModRM, SIB and displacement such that the operand lies at data + target. */
static void put_memory(struct test *t, unsigned reg, u8 rex, unsigned imm)
{
	u64 ea = (u64)(data - (t->gs ? code + GS_OFFSET : 0)) + t->target;
	unsigned mod = below(3), rm = below(8), base = rm | (rex & 1) << 3, idx, scale;
	s64 disp = mod == 1 ? (s8)rnd() : mod == 2 ? (s16)rnd() : 0;
	unsigned dn = mod == 1 ? 1 : mod == 2 ? 4 : 0;

	if (!t->gs)
		ea = (u64)data + t->target;
	put(t, mod << 6 | (reg & 7) << 3 | rm, 1);
	if (rm == 5 && mod == 0) { /* RIP */
		u64 next = (u64)code + t->n + 4 + imm;

		put(t, ea - next, 4);
		return;
	}
	if (rm == 4) {
		base = below(8);
		idx = below(8) | (rex & 2) << 2;
		scale = below(4);
		put(t, scale << 6 | (idx & 7) << 3 | base, 1);
		if (base == 5 && mod == 0) {
			if (idx != 4)
				disp = -(s64)((t->regs[idx] = below(256)) << scale);
			put(t, ea + disp, 4);
			return;
		}
		base |= (rex & 1) << 3;
		if (idx == base && idx != 4) { /* one register twice: (scale + 1) * r + disp */
			t->regs[idx] = below(256);
			t->target = ~0u; /* does not fit: drop the case */
			return;
		}
		if (idx != 4)
			ea -= (t->regs[idx] = (u64)(s64)(s8)rnd()) << scale;
	}
	t->regs[base] = ea - disp;
	put(t, disp, dn);
	if (t->adsz && below(2))
		t->regs[base] ^= rnd() << 32;
}

static void put_string(struct test *t)
{
	u64 upper = t->adsz && below(2) ? rnd() << 32 : 0;

	t->regs[REG_RSI] = ((u64)data + 0x4000 + below(64)) ^ upper;
	t->regs[REG_RDI] = ((u64)data + 0x4000 + below(64)) ^ upper;
	if (t->gs)
		t->regs[REG_RSI] -= (u64)code + GS_OFFSET;
	t->regs[REG_RCX] = (1 + below(20)) ^ upper;
	if (!upper && below(8) == 0)
		t->regs[REG_RCX] = 0;
}

static bool make(struct test *t)
{
	const struct form *f = &forms[below(nr_forms)];
	bool mem, lock;
	unsigned reg = f->ext >= 0 ? (unsigned)f->ext : below(8), size, imm;
	u8 rex;

	t->f = f;
	t->n = 0;
	t->target = 0x4000 + (below(0x2000) & (f->op == 0xc7 && f->map ? ~15u : ~0u));
	for (unsigned k = 0; k < 16; k++)
		t->regs[k] = below(4) ? rnd() : below(3) - 1ull;
	t->regs[REG_RSP] = (u64)data + 0x8000 + 8 * below(64);
	t->flags = (rnd() & FLAG_BITS) | 0x202;
	mem = (f->flags & (T_MEM | T_STRING | T_MOFFS)) || below(6);
	lock = (f->flags & T_LOCK) && mem && below(3) == 0;
	rex = put_prefixes(t, lock);
	if (f->map)
		put(t, 0x0f, 1);
	if (f->map == 2)
		put(t, 0x38, 1);
	put(t, f->op, 1);
	size = f->flags & T_BYTE ? 1 : rex & 8 ? 8 : memchr(t->bytes, 0x66, t->n) ? 2 : 4;
	imm = f->imm == 9 ? MIN(size, 4u) : f->imm;
	if (f->flags & T_STRING) {
		put_string(t);
		return true;
	}
	if (f->flags & T_MOFFS) {
		put(t, (u64)data + t->target, t->adsz ? 4 : 8);
		return true;
	}
	if (f->flags & T_BIT) {
		t->regs[reg | (rex & 4) << 1] = (u64)(s64)(s16)rnd() >> 2;
		if (below(2))
			t->regs[reg | (rex & 4) << 1] = -(u64)below(4096);
	}
	if (mem)
		put_memory(t, reg, rex, imm);
	else
		put(t, 0xc0 | (reg & 7) << 3 | below(8), 1);
	if ((f->flags & T_BIT) && mem) { /* the offset must have survived the choice of address */
		u64 v = t->regs[reg | (rex & 4) << 1];

		if (size == 2 ? false : em_sext(v, size) + 65536 > 131072)
			return false;
	}
	put(t, rnd(), imm);
	/* PUSH and POP of RSP itself and pushes through a wild RSP are fine only on our stack. */
	if ((f->flags & T_STACK) && t->regs[REG_RSP] - (u64)data - 0x3000 > 0x8000)
		return false;
	return t->target != ~0u && t->n <= INSN_MAX;
}

static int mem_at(u64 linear, unsigned n, u8 **p)
{
	if (linear < (u64)data || linear + n > (u64)data + DATA_SIZE)
		return -EFAULT;
	*p = copy + (linear - (u64)data);
	return 0;
}

static int do_read(struct emul *e, u64 linear, void *buf, unsigned n)
{
	u8 *p;

	(void)e;
	if (mem_at(linear, n, &p))
		return -EFAULT;
	memcpy(buf, p, n);
	return 0;
}

static int do_write(struct emul *e, u64 linear, const void *buf, unsigned n)
{
	u8 *p;

	(void)e;
	if (mem_at(linear, n, &p))
		return -EFAULT;
	memcpy(p, buf, n);
	return 0;
}

static int do_cmpxchg(struct emul *e, u64 linear, void *old, const void *new_, unsigned n)
{
	u8 *p;

	(void)e;
	if (mem_at(linear, n, &p))
		return -EFAULT;
	if (memcmp(p, old, n))
		memcpy(old, p, n);
	else
		memcpy(p, new_, n);
	return 0;
}

static void do_get_seg(struct emul *e, enum hv_seg s, struct hv_segment *out)
{
	(void)e;
	memset(out, 0, sizeof(*out));
	if (s == SEG_GS)
		out->base = (u64)code + GS_OFFSET;
}

static const struct emul_ops ops = {
	.read = do_read, .write = do_write, .cmpxchg = do_cmpxchg, .get_seg = do_get_seg,
};

/* Flags that the manual leaves undefined for this instruction; ~0: the result too. */
static u64 undefined(const struct insn *i, const u64 *regs)
{
	unsigned size = i->opcode & 1 ? i->op_size : 1, op = i->opcode, ext = (i->modrm >> 3) & 7, n;
	bool shift = false;
	u64 u;

	if (i->map == INSN_MAP_0F) {
		switch (op) {
		case 0xa4:
		case 0xa5:
		case 0xac:
		case 0xad:
			size = i->op_size;
			shift = true;
			break;
		case 0xa3:
		case 0xab:
		case 0xb3:
		case 0xbb:
		case 0xba:
			return FL_OF | FL_SF | FL_AF | FL_PF;
		case 0xaf:
			return FL_SF | FL_ZF | FL_AF | FL_PF;
		default:
			return 0;
		}
		n = op & 1 ? regs[REG_RCX] : i->imm;
	} else {
		if (op == 0x69 || op == 0x6b || ((op & 0xfe) == 0xf6 && (ext == 4 || ext == 5)))
			return FL_SF | FL_ZF | FL_AF | FL_PF;
		if ((op & 0xfe) == 0xc0 || (op & 0xfc) == 0xd0)
			shift = true;
		n = op < 0xd0 ? i->imm : op & 2 ? regs[REG_RCX] : 1;
	}
	if (!shift) {
		bool logic = (op & 0xfe) == 0x84 || ((op & 0xfe) == 0xf6 && ext < 2) ||
			     (op >= 0x80 && op <= 0x83 && (ext == 1 || ext == 4 || ext == 6)) ||
			     (op < 0x40 && ((op >> 3) == 1 || (op >> 3) == 4 || (op >> 3) == 6));

		return logic ? FL_AF : 0;
	}
	n &= size == 8 ? 63 : 31;
	if (n == 0)
		return 0;
	u = n == 1 ? 0 : FL_OF;
	if (i->map == INSN_MAP_0F)
		return n > 8 * size ? ~0ull : u | FL_AF;
	if (ext < 4)
		return u;
	return u | FL_AF | (n >= 8 * size ? FL_CF : 0);
}

static void fail_case(const struct test *t, const char *what, u64 ours, u64 cpu)
{
	char hex[64] = "";

	for (unsigned k = 0; k < t->n; k++)
		snprintf(hex + 3 * k, 4, "%02x ", t->bytes[k]);
	fail_msg("%s: %s: emulator %llx, CPU %llx (rax %llx rcx %llx flags %llx)", hex, what,
		 (unsigned long long)ours, (unsigned long long)cpu,
		 (unsigned long long)t->regs[0], (unsigned long long)t->regs[1],
		 (unsigned long long)t->flags);
}

static void fill(const struct test *t)
{
	u64 v;

	static unsigned calls;

	for (unsigned k = 0; k < DATA_SIZE / 8; k += calls & 255 ? 61 : 1)
		memcpy(start + 8 * k, &(u64){ rnd() }, 8);
	calls++;
	memcpy(start + t->target, &(u64[2]){ rnd(), rnd() }, 16);
	if ((t->f->flags & T_STRING) && below(2))
		for (unsigned k = 0x3f00; k < 0x4200; k++)
			start[k] = below(12) == 0;
	if (t->f->flags & T_BRANCH) {
		v = (u64)code + 0x100;
		memcpy(start + t->target, &v, 8);
	}
	if ((t->f->flags & T_ACC) && below(2)) {
		memcpy(start + t->target, &t->regs[REG_RAX], 8);
		memcpy(start + t->target + (memchr(t->bytes, 0xc7, t->n) ? 8 : 0),
		       memchr(t->bytes, 0xc7, t->n) ? &t->regs[REG_RDX] : &t->regs[REG_RAX], 8);
		if (below(2))
			memcpy(start + t->target + 4, &t->regs[REG_RDX], 4);
	}
}

/* jmp *[rip + 0] and its target */
static void put_exit(u8 *p, void (*to)(void))
{
	memcpy(p, "\xff\x25\0\0\0\0", 6);
	memcpy(p + 6, &to, 8);
}

static void run_case(const struct test *t)
{
	u64 regs[16], ignore, next;
	struct emul e = { .ops = &ops, .gpr = regs, .rip = (u64)code, .rflags = t->flags,
			  .mode = INSN_64, .protected_mode = true, .cpl = 3,
			  .rep_budget = 1 + below(8) };
	enum emul_result r;
	struct insn i;

	fill(t);
	memcpy(copy, start, DATA_SIZE);
	memcpy(data, start, DATA_SIZE);
	memcpy(regs, t->regs, sizeof(regs));
	memcpy(nat_regs, t->regs, sizeof(regs));
	nat_flags = t->flags;
	nat_branched = 0;

	if (insn_decode(&i, t->bytes, INSN_MAX, INSN_64) != INSN_OK || i.len != t->n)
		fail_case(t, "length", i.len, t->n);
	ignore = undefined(&i, t->regs);
	if (ignore == ~0ull)
		return;
	do {
		r = emulate(&e, &i);
	} while (r == EMUL_RETRY);
	if (r != EMUL_OK)
		fail_case(t, "result", r, EMUL_OK);

	memcpy(code, t->bytes, t->n);
	put_exit(code + t->n, nat_done);
	nat_code = code;
	nat_run();

	next = nat_branched ? (u64)code + 0x100 : (u64)code + t->n;
	if (e.rip != next)
		fail_case(t, "rip", e.rip, next);
	for (unsigned k = 0; k < 16; k++)
		if (regs[k] != nat_regs[k])
			fail_case(t, (char[]){ 'r', k >= 10 ? '1' : '0', '0' + k % 10, 0 }, regs[k],
				  nat_regs[k]);
	if ((e.rflags ^ nat_flags) & FLAG_BITS & ~ignore)
		fail_case(t, "flags", e.rflags & FLAG_BITS, nat_flags & FLAG_BITS);
	for (unsigned k = 0; k < DATA_SIZE && memcmp(copy, data, DATA_SIZE); k++)
		if (copy[k] != data[k])
			fail_case(t, "memory", copy[k], data[k]);
}

static void against_cpu(void **state)
{
	unsigned done = 0;
	struct test t;

	(void)state;
	code = mmap(NULL, PAGE_SIZE + DATA_SIZE, PROT_READ | PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	assert_true(code != MAP_FAILED);
	data = code + PAGE_SIZE;
	put_exit(code + 0x100, nat_done2);
	syscall(SYS_arch_prctl, ARCH_SET_GS, code + GS_OFFSET);
	forms_map1();
	forms_0f();
	while (done < CASES) {
		if (!make(&t))
			continue;
		run_case(&t);
		done++;
	}
	print_message("%u forms, %u cases\n", nr_forms, done);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(against_cpu) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
