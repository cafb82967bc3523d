/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM for vmm/gdb/gdb.c: NR_CPUS vCPUs, memory that is a buffer at MEM_AT, four registers. What was sent is in `sent`. */
#pragma once
#include "lib/string.h"
#include "vmm/gdb/gdb.h"

#define NR_CPUS 3
#define MEM_AT	0x1000
#define MEM_N	0x2000

static struct gdb g;
static u8 memory[MEM_N];
static u8 registers[NR_CPUS][4][8];
static char sent[3 * GDB_PACKET];
static size_t sent_n;
static u32 resumed, detached, killed;
static char monitored[256];

u32 gdb_nr_cpus(struct gdb *x)
{
	(void)x;
	return NR_CPUS;
}
const char *gdb_cpu_state(struct gdb *x, u32 cpu)
{
	(void)x;
	return cpu ? "halted" : "running";
}
void gdb_send(struct gdb *x, const char *buf, size_t n)
{
	(void)x;
	if (n > sizeof(sent) - sent_n)
		__builtin_trap();
	memcpy(sent + sent_n, buf, n);
	sent_n += n;
}
static size_t there(u64 addr, size_t n)
{
	return addr < MEM_AT || addr >= MEM_AT + MEM_N ? 0 : MIN(n, MEM_AT + MEM_N - addr);
}
size_t gdb_read(struct gdb *x, u64 addr, u8 *buf, size_t n)
{
	(void)x;
	n = there(addr, n);
	if (n)
		memcpy(buf, memory + (addr - MEM_AT), n);
	return n;
}
size_t gdb_write(struct gdb *x, u64 addr, const u8 *buf, size_t n)
{
	(void)x;
	n = there(addr, n);
	if (n)
		memcpy(memory + (addr - MEM_AT), buf, n);
	return n;
}
static u32 breakpoints[5];
bool gdb_breakpoint(struct gdb *x, unsigned type, u64 addr, u64 len, bool insert)
{
	(void)x;
	(void)len;
	breakpoints[type] += insert ? 1 : -1u;
	return addr != 0xbad;
}
void gdb_hold(struct gdb *x)
{
	x->held = true;
}
void gdb_resume(struct gdb *x)
{
	(void)x;
	resumed++;
}
void gdb_detach(struct gdb *x)
{
	(void)x;
	detached++;
}
void gdb_kill(struct gdb *x)
{
	(void)x;
	killed++;
}
void gdb_monitor(struct gdb *x, const char *line, char *out, size_t n)
{
	(void)x;
	str_copy(monitored, line, sizeof(monitored));
	if (!strcmp(line, "talk"))
		snprintf(out, n, "hello\n");
}
unsigned gdb_reg_size(unsigned reg)
{
	return reg < 4 ? (reg == 3 ? 4 : 8) : 0;
}
void gdb_reg_get(struct gdb *x, unsigned reg, u8 *buf)
{
	memcpy(buf, registers[x->cpu][reg], gdb_reg_size(reg));
}
bool gdb_reg_set(struct gdb *x, unsigned reg, const u8 *buf)
{
	if (reg == 2)
		return false;
	memcpy(registers[x->cpu][reg], buf, gdb_reg_size(reg));
	return true;
}
size_t gdb_description(char *buf, size_t off, size_t n)
{
	static const char text[] = "<a>#$}*</a>";

	if (off >= sizeof(text) - 1)
		return 0;
	n = MIN(n, sizeof(text) - 1 - off);
	memcpy(buf, text + off, n);
	return n;
}
