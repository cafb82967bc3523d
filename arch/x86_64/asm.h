/* SPDX-License-Identifier: BSD-2-Clause */
/* One line of assembly each: instructions that C has no word for. */
#pragma once
#include "lib/types.h"

static inline void outb(u16 p, u8 v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(p) : "memory");
}
static inline void outw(u16 p, u16 v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(p) : "memory");
}
static inline void outl(u16 p, u32 v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(p) : "memory");
}
static inline u8 inb(u16 p)
{
	u8 v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(p) : "memory");
	return v;
}
static inline u16 inw(u16 p)
{
	u16 v;
	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(p) : "memory");
	return v;
}
static inline u32 inl(u16 p)
{
	u32 v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(p) : "memory");
	return v;
}

static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return lo | (u64)hi << 32;
}
static inline void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
/* As above, false if the CPU raised #GP (the MSR does not exist or refuses the value): idt.c. */
bool rdmsr_safe(u32 msr, u64 *v);
bool wrmsr_safe(u32 msr, u64 v);

struct cpuid {
	u32 eax, ebx, ecx, edx;
};
static inline struct cpuid cpuid(u32 leaf, u32 sub)
{
	struct cpuid r;
	__asm__ volatile("cpuid"
			 : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
			 : "a"(leaf), "c"(sub));
	return r;
}
/* Not serialising; rdtsc_ordered() waits for earlier instructions and loads. */
static inline u64 rdtsc(void)
{
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (u64)hi << 32;
}
static inline u64 rdtsc_ordered(void)
{
	__asm__ volatile("lfence" ::: "memory");
	return rdtsc();
}
#define DEFINE_CR(n)                                                        \
	static inline u64 read_cr##n(void)                                  \
	{                                                                   \
		u64 v;                                                      \
		__asm__ volatile("mov %%cr" #n ", %0" : "=r"(v)::"memory"); \
		return v;                                                   \
	}                                                                   \
	static inline void write_cr##n(u64 v)                               \
	{                                                                   \
		__asm__ volatile("mov %0, %%cr" #n ::"r"(v) : "memory");    \
	}
DEFINE_CR(0)
DEFINE_CR(2) DEFINE_CR(3) DEFINE_CR(4)
#undef DEFINE_CR
#define DEFINE_DR(n)                                              \
	static inline u64 read_dr##n(void)                        \
	{                                                         \
		u64 v;                                            \
		__asm__ volatile("mov %%db" #n ", %0" : "=r"(v)); \
		return v;                                         \
	}                                                         \
	static inline void write_dr##n(u64 v)                     \
	{                                                         \
		__asm__ volatile("mov %0, %%db" #n ::"r"(v));     \
	}
	DEFINE_DR(0) DEFINE_DR(1) DEFINE_DR(2) DEFINE_DR(3) DEFINE_DR(6) DEFINE_DR(7)
#undef DEFINE_DR
		static inline u64 xgetbv(u32 i)
{
	u32 lo, hi;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(i));
	return lo | (u64)hi << 32;
}
static inline void xsetbv(u32 i, u64 v)
{
	__asm__ volatile("xsetbv" ::"c"(i), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline void invlpg(const void *va)
{
	__asm__ volatile("invlpg (%0)" ::"r"(va) : "memory");
}
static inline void cpu_relax(void)
{
	__asm__ volatile("pause" ::: "memory");
}
static inline void irq_enable(void)
{
	__asm__ volatile("sti" ::: "memory");
}
static inline void irq_disable(void)
{
	__asm__ volatile("cli" ::: "memory");
}
static inline u64 irq_save(void)
{
	u64 f;
	__asm__ volatile("pushfq; popq %0; cli" : "=r"(f)::"memory");
	return f;
}
static inline void irq_restore(u64 f)
{
	if (f & 0x200)
		irq_enable();
}
/* Sleep until the next interrupt; the shadow of STI keeps one from slipping in between. */
static inline void irq_enable_halt(void)
{
	__asm__ volatile("sti; hlt; cli" ::: "memory");
}
/* LOCK CMPXCHG16B on an aligned address: *old becomes what was there. */
static inline void lock_cmpxchg16b(void *p, void *old, const void *new_)
{
	u64 *o = old;
	const u64 *n = new_;

	__asm__ volatile("lock cmpxchg16b %0"
			 : "+m"(*(u64(*)[2])p), "+a"(o[0]), "+d"(o[1])
			 : "b"(n[0]), "c"(n[1])
			 : "cc", "memory");
}
