/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instruction emulator: runs one decoded instruction on state and memory that its caller
 * provides through struct emul_ops. For MMIO operands, string I/O, and instructions whose operands
 * the CPU does not report. Pure C: unit tests compare it with the build machine's own CPU.
 */
#pragma once
#include "lib/types.h"
#include "lib/insn.h"
#include "arch/x86_64/hv.h"

enum emul_result {
	EMUL_OK,	/* done: gpr, rip and rflags are the new ones */
	EMUL_FAULT,	/* deliver `fault`; state is as the architecture says for it (rip unchanged) */
	EMUL_RETRY,	/* a callback asked to stop (-EAGAIN): enter the guest again at rip; for a REP string what was done is kept */
	EMUL_UNHANDLED, /* a legal instruction that we do not emulate: bytes in insn */
};

struct emul_fault {
	u8 vector;
	bool has_error;
	u32 error;
	u64 cr2; /* #PF */
};

struct emul;
/* All return 0, -EFAULT (e->fault filled: deliver it) or -EAGAIN. Linear addresses. */
struct emul_ops {
	int (*read)(struct emul *e, u64 linear, void *buf, unsigned n);
	int (*write)(struct emul *e, u64 linear, const void *buf, unsigned n);
	/* Atomic compare and exchange (LOCK): if *linear == *old write new, else *old = current. */
	int (*cmpxchg)(struct emul *e, u64 linear, void *old, const void *new_, unsigned n);
	int (*pio_in)(struct emul *e, u16 port, unsigned n, u32 *val);
	int (*pio_out)(struct emul *e, u16 port, unsigned n, u32 val);
	void (*get_seg)(struct emul *e, enum hv_seg s, struct hv_segment *out);
};

struct emul {
	const struct emul_ops *ops;
	void *arg;
	u64 *gpr;	/* 16, encoding order; changed in place */
	u64 rip, rflags;
	enum insn_mode mode; /* 16, 32, 64: from CS and EFER.LMA */
	bool protected_mode; /* CR0.PE and not V86: segment limits and rights are checked */
	u8 cpl, iopl;
	u32 rep_budget;	/* at most so many iterations of a REP string a call (then EMUL_RETRY) */
	struct emul_fault fault;
};

/* Run the decoded instruction i, which stands at e->rip. */
enum emul_result emulate(struct emul *e, const struct insn *i);
/* Linear address of i's memory operand (segment base added, address size applied, canonical and
 * limit checks of `size` bytes; write says which right). 0 or -EFAULT. */
int emul_operand_address(struct emul *e, const struct insn *i, unsigned size, bool write, u64 *linear);
