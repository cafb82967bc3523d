/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Debugging a guest from outside: GDB's remote protocol ("Debugging with GDB", appendix E), all-stop, the vCPUs
 * as threads from 1 on. link.c and gdb.c are the protocol, pure; regs.c the registers; target.c the VM: breakpoints,
 * steps, stops. Packets are served while the VM is stopped, by the work that found it so (vm_stopped()): nobody else
 * is in it then. A debugger may come and go at any time, on channel CHANNEL_GDB + its guest's (docs/console.md).
 */
#pragma once
#include "lib/types.h"
#include "vmm/config.h"

struct vm;
struct vcpu;
struct vm_exit;
struct hv_event;

#define GDB_PACKET   2048 /* payload of a packet, either way */
#define GDB_RING     4096 /* bytes that came and were not looked at */
#define GDB_SWBREAKS 64
#define GDB_BREAK    0x03 /* a byte outside of packets: stop */
#define GDB_GONE     0x04 /* ours: the debugger went without a word (tools/dalang.d/gdb.py) */

/* What a vCPU is to do when the VM goes on. */
enum gdb_what { GDB_HOLD, GDB_CONTINUE, GDB_STEP };
struct gdb_action {
	u8 what;
	u64 from, to; /* GDB_STEP: go on stepping while from <= RIP < to */
};

struct gdb_swbreak {
	u64 addr;
	gpa_t gpa;
	u8 was; /* the byte under ours */
	bool used;
};

struct gdb {
	struct vm *vm;
	/* Single producer (serial), single consumer (the VM's work). */
	u32 head, tail;
	u8 hash; /* the producer's: so many bytes end a packet */
	u8 ring[GDB_RING];

	/* The link. */
	u8 rx, sum, got;
	bool no_ack, too_long;
	u32 in_len, out_len;
	char in[GDB_PACKET + 1];
	char out[GDB_PACKET + 8];

	/* The session. */
	bool held; /* the VM stays stopped */
	bool owed; /* it runs, and the debugger waits for a stop reply */
	bool phys; /* addresses of memory are guest-physical */
	bool wait; /* the VM is to be held at its first instruction */
	u32 cpu;   /* for registers and memory: index of the vCPU */
	struct gdb_action act[VM_MAX_VCPUS];

	/* Why it stopped: the first reason counts. */
	u32 stop_taken;
	u32 stop_cpu;
	u8 signal;
	char stop_why[40];

	struct gdb_swbreak sw[GDB_SWBREAKS];
	u64 dr[4], dr7;
	u8 dr_kind[4]; /* Z1..Z4 */
	struct vcpu *loaded; /* while packets are served */
};

/* Of a vCPU. */
struct vcpu_gdb {
	bool held;	/* the VM runs without it */
	bool hold_irqs; /* its step is of one instruction, not of a handler's */
	u8 repair;	/* what a TF that nobody is to see has left: target.c */
	bool sfmask_tf; /* it was taken out of SFMASK */
	u64 rip, rflags; /* before the step */
	u64 from, to;
};

/* --- link.c: one byte in. The VM is stopped. true: it ended a packet, which has been answered. --- */
bool gdb_byte(struct gdb *g, u8 b);
/* gdb.c. The VM has stopped while a debugger waits for that: tell. */
void gdb_tell_stop(struct gdb *g);
/* The VM is gone: how is 'W' (ended) or 'X' (killed). */
void gdb_tell_end(struct gdb *g, char how);

/* --- what the protocol needs of the VM: target.c, regs.c --- */
u32 gdb_nr_cpus(struct gdb *g);
const char *gdb_cpu_state(struct gdb *g, u32 cpu);
void gdb_send(struct gdb *g, const char *buf, size_t n);
/* How many of the n bytes at addr there are. */
size_t gdb_read(struct gdb *g, u64 addr, u8 *buf, size_t n);
size_t gdb_write(struct gdb *g, u64 addr, const u8 *buf, size_t n);
/* type: Z0 software, Z1 execution, Z2 write, Z3 read, Z4 access. false: not possible. */
bool gdb_breakpoint(struct gdb *g, unsigned type, u64 addr, u64 len, bool insert);
void gdb_hold(struct gdb *g); /* the VM is to stay stopped; unfinished steps are over */
void gdb_resume(struct gdb *g); /* by g->act */
void gdb_detach(struct gdb *g); /* no breakpoints, and go on */
void gdb_kill(struct gdb *g);
/* A line for the host, its answer in out (n bytes, terminated). */
void gdb_monitor(struct gdb *g, const char *line, char *out, size_t n);
/* Registers by GDB's numbers: size in bytes, 0: no such one. */
#define GDB_REG_MAX 16
unsigned gdb_reg_size(unsigned reg);
void gdb_reg_get(struct gdb *g, unsigned reg, u8 *buf);
bool gdb_reg_set(struct gdb *g, unsigned reg, const u8 *buf); /* false: it may not be set, or not to that */
/* n bytes from `off` of the target description; how many there are. */
size_t gdb_description(char *buf, size_t off, size_t n);

/* --- what the rest of vmm/ calls: target.c --- */
/* A VM that is to wait for its debugger has one from the start. false: no memory. */
bool gdb_create(struct vm *vm);
/* From the serial interrupt, the list of VMs locked. */
void gdb_input(struct vm *vm, u8 byte);
/* The VM is stopped and the debugger has something to say or to hear. true: it stays so. */
bool gdb_serve(struct vm *vm);
/* vCPU 0 stands at its first instruction. With `gdb = 1` the VM stays there the first time, unless a debugger has come. */
void gdb_booted(struct vm *vm);
/* The VM begins anew: its memory with our breakpoints is gone. */
void gdb_restarts(struct vm *vm);
/* Is it the debugger's? Else ev and payload are what the guest gets. Only if v->hv.debug.flags. */
bool gdb_exception(struct vcpu *v, struct hv_event *ev, u64 *payload);
void gdb_data_hit(struct vcpu *v, unsigned n); /* breakpoint n, by what was done in the guest's stead */
void gdb_stepped(struct vcpu *v, u64 hits);
void gdb_after_exit(struct vcpu *v); /* of one that steps: is its instruction done? */
