/* SPDX-License-Identifier: BSD-2-Clause */
/* The few words of PC that tiny guests need. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

static inline void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port));
}
static inline void outw(u16 port, u16 v)
{
	__asm__ volatile("outw %0, %1" ::"a"(v), "Nd"(port));
}
static inline void outl(u16 port, u32 v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port));
}
static inline u8 inb(u16 port)
{
	u8 v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u16 inw(u16 port)
{
	u16 v;
	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline u32 inl(u16 port)
{
	u32 v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void cpuid(u32 leaf, u32 r[4])
{
	__asm__ volatile("cpuid"
			 : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(0));
}
static inline u64 rdmsr(u32 msr)
{
	u32 lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (u64)hi << 32 | lo;
}
static inline void wrmsr(u32 msr, u64 v)
{
	__asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32)) : "memory");
}
static inline u64 rdtsc(void)
{
	u32 lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}
static inline void sti_hlt_cli(void)
{
	__asm__ volatile("sti; hlt; cli" ::: "memory");
}

#define COM1 0x3f8
#define PIC1 0x20
#define PIC2 0xa0
#define PIT_CH0 0x40
#define PIT_MODE 0x43
#define DEBUG_EXIT 0xf4

static inline void serial_init(void)
{
	outb(COM1 + 3, 0x83); /* 115200 8n1, FIFO */
	outb(COM1, 1);
	outb(COM1 + 1, 0);
	outb(COM1 + 3, 3);
	outb(COM1 + 2, 7);
	outb(COM1 + 4, 3);
}

static inline void pic_init(void)
{
	outb(PIC1, 0x11); /* vectors 0x20 and 0x28, all masked */
	outb(PIC1 + 1, 0x20);
	outb(PIC1 + 1, 4);
	outb(PIC1 + 1, 1);
	outb(PIC2, 0x11);
	outb(PIC2 + 1, 0x28);
	outb(PIC2 + 1, 2);
	outb(PIC2 + 1, 1);
	outb(PIC1 + 1, 0xff);
	outb(PIC2 + 1, 0xff);
}

static inline void triple_fault(void)
{
	struct {
		u16 limit;
		size_t base;
	} __attribute__((packed)) none = {0, 0};

	__asm__ volatile("lidt %0; int3" ::"m"(none));
}

/* Text on COM1. */
static inline void put(char c)
{
	while (!(inb(COM1 + 5) & 0x20))
		;
	outb(COM1, (u8)c);
}

static inline void puts_(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			put('\r');
		put(*s);
	}
}

static inline void putd(u64 v)
{
	char buf[20];
	int n = 0;

	do {
		buf[n++] = (char)('0' + v % 10);
	} while (v /= 10);
	while (n)
		put(buf[--n]);
}

static inline void putx(u64 v)
{
	int shift = 60;

	while (shift && !(v >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[(v >> shift) & 15]);
}

/* What start.asm's stubs leave on the stack for interrupt(). */
struct frame {
	u64 r11, r10, r9, r8, rdi, rsi, rdx, rcx, rax, vector, error, rip, cs, rflags, rsp, ss;
};

#ifdef __x86_64__
struct gate {
	u16 off0, sel;
	u8 ist, type;
	u16 off1;
	u32 off2, zero;
} __attribute__((packed));
_Static_assert(sizeof(struct gate) == 16, "SDM vol. 3, figure 6-8");

/* start.asm's stubs, 16 bytes apart, which call interrupt(vector, rip, frame). */
extern char isr_table[];

static inline void idt_load(const struct gate *idt, unsigned n)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = {(u16)(n * sizeof(*idt) - 1), (u64)idt};

	__asm__ volatile("lidt %0" ::"m"(idtr));
}

/* All n vectors to the stubs, in the code segment 8; loaded. */
static inline void idt_init(struct gate *idt, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		u64 a = (u64)isr_table + 16 * i;

		idt[i] = (struct gate){.off0 = (u16)a, .sel = 8, .type = 0x8e, .off1 = (u16)(a >> 16), .off2 = (u32)(a >> 32)};
	}
	idt_load(idt, n);
}
#endif

/* multiboot1, 3.3 */
#define MB1_MAGIC 0x2badb002u
struct mb1_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	u32 mmap_length, mmap_addr;
};
struct mb1_mmap {
	u32 size; /* of what follows */
	u64 base, len;
	u32 type; /* 1: RAM */
} __attribute__((packed));
struct mb1_module {
	u32 start, end, cmdline, pad;
};
/* Xen's public/arch-x86/hvm/start_info.h */
#define PVH_MAGIC 0x336ec578u
struct pvh_info {
	u32 magic, version, flags, nr_modules;
	u64 modules, cmdline, rsdp;
};
