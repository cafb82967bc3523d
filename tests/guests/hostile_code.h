/* SPDX-License-Identifier: BSD-2-Clause */
/* A step's code, byte by byte: for hostile_code.c and hostile_insns.c. */
#pragma once
#include "hostile.h"

#define B(v) put_code(v, 1)
#define W(v) put_code(v, 2)
#define T(v) put_code(v, 3)
#define D(v) put_code(v, 4)

extern bool legacy;  /* the code is not for 64-bit mode: leave ESP alone */
u8 spared(u8 byte); /* or a NOP, where the emulator breaks down under it */
u8 no_out(u8 byte); /* OUT has acts of its own, which spare the next life */
void prefixes(void);
void modrm(u32 reg); /* [RDI] in one of its forms */

/* hostile_insns.c: each puts one act and returns what it may leave in disorder */
u32 msr(void);
u32 x2apic(void);
u32 cpuid_(void);
u32 hypercall(void);
u32 control_registers(void);
u32 debug_registers(void);
u32 extended_state(void);
u32 privileged(void);
u32 segments(void);
u32 software_interrupts(void);
u32 self_modified(void);
u32 any_bytes(void);
u32 code_elsewhere(void);
