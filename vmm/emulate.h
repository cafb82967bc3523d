/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instruction emulator: runs one decoded instruction on state and memory that its caller
 * provides through struct emul_ops. For MMIO operands, string I/O, and instructions whose operands
 * the CPU does not report. Pure C: unit tests compare it with the build machine's own CPU.
 */
#pragma once
#include "lib/types.h"
#include "lib/insn.h"
#include "lib/errno.h"
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
	/* What of the instruction goes through `read` and `write` is at most 16 bytes. A range may
	 * cross a page: check all of it before touching any. In 32-bit modes it may wrap at 4 GiB. */
	int (*read)(struct emul *e, u64 linear, void *buf, unsigned n);
	int (*write)(struct emul *e, u64 linear, const void *buf, unsigned n);
	/* Atomic compare and exchange (LOCK): if *linear == *old write new, else *old = current. */
	int (*cmpxchg)(struct emul *e, u64 linear, void *old, const void *new_, unsigned n);
	int (*pio_in)(struct emul *e, u16 port, unsigned n, u32 *val);
	int (*pio_out)(struct emul *e, u16 port, unsigned n, u32 val);
	void (*get_seg)(struct emul *e, enum hv_seg s, struct hv_segment *out);
	/* May be NULL. Could the range be written? Called before the read of a read-modify-write and
	 * before the port is read for INS, so that a write fault comes before any side effect. */
	int (*probe_write)(struct emul *e, u64 linear, unsigned n);
};

struct emul {
	const struct emul_ops *ops;
	void *arg;
	u64 *gpr;	/* 16, encoding order; changed in place */
	u64 rip, rflags;
	enum insn_mode mode; /* 16, 32, 64: from CS and EFER.LMA */
	bool protected_mode; /* CR0.PE and not V86: segment limits and rights are checked */
	u8 cpl; /* callbacks check paging rights by it; it is 0 while the TSS is read (I/O bitmap) */
	u8 iopl;
	u8 va_bits; /* 48; 57 with CR4.LA57; 0 means 48 */
	/* At most so many iterations of a REP string a call (then EMUL_RETRY); 0 counts as 1, and
	 * with RFLAGS.TF it is 1: a single-step trap is due after each iteration. */
	u32 rep_budget;
	struct emul_fault fault;
};

/*
 * Run the decoded instruction i, which stands at e->rip. e->mode and i->mode are the same.
 *
 * EMUL_OK clears RFLAGS.RF (SDM vol. 3, 18.3.1.1); EMUL_RETRY in the middle of a REP string sets it,
 * as an interrupt there would save it, so that an instruction breakpoint does not fire twice. The
 * single-step trap and the end of an STI shadow are the caller's. IN, OUT, INS and OUTS check IOPL
 * and the TSS's bitmap again: the bytes may not be those that made the CPU exit.
 *
 * Not emulated (EMUL_UNHANDLED): SSE, AVX and x87 moves, which need the FPU registers; DIV, far
 * branches, and what has no memory operand and no port.
 */
enum emul_result emulate(struct emul *e, const struct insn *i);
/* Linear address of i's memory operand (segment base added, address size applied, canonical and
 * limit checks of `size` bytes; write says which right). 0 or -EFAULT. */
int emul_operand_address(struct emul *e, const struct insn *i, unsigned size, bool write, u64 *linear);
