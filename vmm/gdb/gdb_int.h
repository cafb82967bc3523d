/* SPDX-License-Identifier: BSD-2-Clause */
/* What the gdb*.c files share. */
#pragma once
#include "vmm/gdb/gdb.h"

/* A stopped VM's vCPU in this pCPU, for its registers; out of it again, for its FPU. */
struct vcpu *gdb_load(struct gdb *g, u32 cpu);
void gdb_unload(struct gdb *g);
/* Could addr be a linear address as v's mode is? v is loaded. */
bool gdb_is_linear(struct vcpu *v, u64 addr);

/* link.c: an answer, piece by piece. What does not fit is left out. */
int gdb_digit(char c); /* -1: it is none */
void gdb_begin(struct gdb *g);
void gdb_raw(struct gdb *g, char c);
void gdb_put(struct gdb *g, const char *s);
void gdb_put_hex(struct gdb *g, const void *buf, size_t n);
void gdb_put_number(struct gdb *g, u32 n);
void gdb_end(struct gdb *g);
void gdb_reply(struct gdb *g, const char *text); /* all in one */

/* gdb.c */
void gdb_packet(struct gdb *g); /* a whole one is in g->in, terminated */
void gdb_leave(struct gdb *g);	/* the session is over: no breakpoints, and go on */
