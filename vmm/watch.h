/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Looking at a vCPU exit by exit: torture's steps, the time that exits take, the trace. A vCPU that is watched runs in
 * a run loop of its own (vcpu.c), so that nobody else pays for it.
 */
#pragma once
#include "lib/types.h"

struct hv_event;
struct vcpu;
struct vm;
struct vm_exit;

/* vcpu.watch */
#define WATCH_TORTURE BIT(0)
#define WATCH_TIME    BIT(1) /* `stat NAME on` */
#define WATCH_TRACE   BIT(2)
#define WATCH_STEP    BIT(3) /* a debugger steps it: gdb/target.c */

struct exit_time {
	u64 n, ticks; /* while WATCH_TIME was on: exits, and the TSC's ticks spent in their handlers */
};

/* Of a vCPU. */
struct vcpu_watch {
	u64 at, rip, detail;   /* the last exit: when, where, about what */
	u32 torture_in;	       /* exits until torture's next step */
	struct exit_time *time; /* by exit code; NULL: it never was on */
};

/* Set bits in, or clear them from, all vCPUs of a VM; it holds when this returns, or soon after. Any pCPU;
 * the VM cannot go away meanwhile. */
void watch_vm(struct vm *vm, u32 bits, bool on);

/* The watched run loop's: between entry and handler, after the handler; when v comes and goes. */
void watch_exit(struct vcpu *v, const struct vm_exit *e);
void watch_handled(struct vcpu *v, const struct vm_exit *e);
void watch_run(struct vcpu *v);
void watch_leave(struct vcpu *v);
void watch_inject(struct vcpu *v, const struct hv_event *ev);

/* --- the trace: a ring a pCPU, which only that pCPU writes --- */

enum trace_event { TRACE_RUN = 0xf0, TRACE_LEAVE, TRACE_INJECT }; /* below: exit codes */

struct trace_rec {
	u64 tsc; /* rises within a ring */
	u64 rip;
	u64 info; /* exit: port, address, MSR or leaf, else the hardware's word; inject: type and vector; leave: state */
	u32 ticks; /* exit: spent in its handler */
	u16 vm;
	u8 vcpu;
	u8 code; /* enum hv_exit_code or enum trace_event */
};
static_assert(sizeof(struct trace_rec) == 32, "a ring of 32 KiB holds 1,024");

/* A record's place in the order of all pCPUs' records. */
struct trace_pos {
	u64 tsc;
	u32 pcpu;
};

/* Make pCPU i's ring, or empty it; it stays until the host ends. 0 or -ENOMEM. The boot CPU. */
int trace_make(u32 pcpu);
/* The record right behind *at (newer) or before it, which becomes *at; there need not be one at *at. false: there is
 * none. The boot CPU. */
bool trace_next(struct trace_pos *at, bool newer, struct trace_rec *out);
/* Into the ring of this pCPU; does nothing where there is none. */
void trace_put(u32 pcpu, struct trace_rec *r);
