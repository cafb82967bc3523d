/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/insn.c lib/insn_tables.c vmm/emulate.c vmm/emulate_alu.c vmm/emulate_cmpxchg.c vmm/emulate_mem.c vmm/emulate_stack.c vmm/emulate_string.c */
/*
 * Any instruction on any state, with callbacks that fault, ask for a retry or lose races as the
 * input says. Whatever happens: a fault leaves rip alone, and a fault or retry of anything but a
 * string instruction leaves every register alone; callbacks are bounded.
 */
#include <stdlib.h>
#include "vmm/emulate.h"
#include "lib/errno.h"
#include "lib/string.h"

#define MEM_SIZE   256
#define REP_BUDGET 16
#define MAX_CALLS  (REP_BUDGET * 5 + 40)

/* The head of an input; the rest is the instruction. */
struct input {
	u8 mode, flags, cpl_iopl, plan[9];
	u32 rflags;
	u64 gpr[16];
	u8 seg_attr[8];
	u32 seg_limit[2];
	u64 base;
};

struct fuzz {
	const struct input *in;
	unsigned calls;
	u8 mem[MEM_SIZE];
};

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

static int outcome(struct emul *e)
{
	struct fuzz *f = e->arg;
	u8 p = f->in->plan[f->calls % sizeof(f->in->plan)];

	require(++f->calls <= MAX_CALLS);
	if (p > 0xf0) {
		e->fault = (struct emul_fault){ .vector = 14, .has_error = true };
		return -EFAULT;
	}
	return p > 0xe0 ? -EAGAIN : 0;
}

static int do_read(struct emul *e, u64 linear, void *buf, unsigned n)
{
	struct fuzz *f = e->arg;
	int r = outcome(e);

	require(n >= 1 && n <= 16);
	for (unsigned k = 0; !r && k < n; k++)
		((u8 *)buf)[k] = f->mem[(linear + k) % MEM_SIZE];
	return r;
}

static int do_write(struct emul *e, u64 linear, const void *buf, unsigned n)
{
	struct fuzz *f = e->arg;
	int r = outcome(e);

	require(n >= 1 && n <= 16);
	for (unsigned k = 0; !r && k < n; k++)
		f->mem[(linear + k) % MEM_SIZE] = ((const u8 *)buf)[k];
	return r;
}

static int do_cmpxchg(struct emul *e, u64 linear, void *old, const void *new_, unsigned n)
{
	struct fuzz *f = e->arg;
	u8 now[16];
	int r = do_read(e, linear, now, n);

	if (r)
		return r;
	if (f->in->flags & 2) /* somebody else was faster, always */
		now[0] = ++f->mem[linear % MEM_SIZE];
	if (memcmp(now, old, n)) {
		memcpy(old, now, n);
		return 0;
	}
	return do_write(e, linear, new_, n);
}

static int do_in(struct emul *e, u16 port, unsigned n, u32 *val)
{
	require(n == 1 || n == 2 || n == 4);
	*val = port * 0x01010101u;
	return outcome(e);
}

static int do_out(struct emul *e, u16 port, unsigned n, u32 val)
{
	(void)port;
	(void)val;
	require(n == 1 || n == 2 || n == 4);
	return outcome(e);
}

static void get_seg(struct emul *e, enum hv_seg s, struct hv_segment *out)
{
	const struct input *in = ((struct fuzz *)e->arg)->in;

	require(s < HV_NR_SEGS);
	*out = (struct hv_segment){
		.base = in->base * s,
		.limit = in->seg_limit[s & 1],
		.attr = in->seg_attr[s] | (in->flags & 4 ? SEG_ATTR_DB : 0),
	};
}

static int probe(struct emul *e, u64 linear, unsigned n)
{
	(void)linear;
	require(n >= 1 && n <= 16);
	return outcome(e);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const u8 modes[] = { INSN_16, INSN_32, INSN_64, INSN_64 | INSN_AMD_BRANCHES };
	static const struct emul_ops ops = { do_read, do_write, do_cmpxchg, do_in,
					     do_out,  get_seg,	probe };
	struct input in;
	struct fuzz f = { .in = &in };
	struct insn i;
	struct emul e;
	u64 gpr[16];
	enum emul_result r;
	bool string;

	if (size < sizeof(in) + 1)
		return 0;
	memcpy(&in, data, sizeof(in));
	memcpy(gpr, in.gpr, sizeof(gpr));
	if (insn_decode(&i, data + sizeof(in), size - sizeof(in), modes[in.mode & 3]) != INSN_OK)
		return 0;
	e = (struct emul){
		.ops = &ops, .arg = &f, .gpr = gpr, .rip = in.base, .rflags = in.rflags,
		.mode = i.mode, .protected_mode = in.flags & 1, .cpl = in.cpl_iopl & 3,
		.iopl = (in.cpl_iopl >> 2) & 3, .rep_budget = in.plan[0] % (REP_BUDGET + 1),
	};
	r = emulate(&e, &i);
	string = i.map == INSN_MAP_1 && ((i.opcode >= 0x6c && i.opcode <= 0x6f) ||
					 (i.opcode >= 0xa4 && i.opcode <= 0xaf));
	if (r != EMUL_OK) {
		require(e.rip == in.base);
		if (!string)
			require(!memcmp(gpr, in.gpr, sizeof(gpr)) && e.rflags == in.rflags);
	}
	require(r != EMUL_FAULT || e.fault.vector);
	return 0;
}
