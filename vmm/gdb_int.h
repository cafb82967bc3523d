/* SPDX-License-Identifier: BSD-2-Clause */
/* What gdb_regs.c and gdb_target.c share. */
#pragma once
#include "vmm/gdb.h"

/* A stopped VM's vCPU in this pCPU, for its registers; out of it again, for its FPU. */
struct vcpu *gdb_load(struct gdb *g, u32 cpu);
void gdb_unload(struct gdb *g);
/* Could addr be a linear address as v's mode is? v is loaded. */
bool gdb_is_linear(struct vcpu *v, u64 addr);
