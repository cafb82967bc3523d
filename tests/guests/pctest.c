/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that looks at the old PC's devices: ports and memory where nobody is, the keyboard controller, port 61h, the
 * reset ports, the debug console, fw_cfg, the power button. Each check is a line "PC: NAME ok". Then its words, in order:
 *   keys        print scancodes until Esc is released     button   wait for the power button, and go off
 *   reset=HOW   by kbd, out (the 8042's output port), 92, cf9, cf9-full
 *   exit=N      by the debug exit port                    hlt      for ever
 */
#include "acpi.h"

static struct gate idt[64] __attribute__((aligned(16)));
static volatile u32 irqs[16];

enum { KBD_DATA = 0x60, KBD_CMD = 0x64, FW_SELECT = 0x510, FW_DATA = 0x511, FW_DMA = 0x514 };
#define PM1_STS 0x600
#define PM1_EN	0x602
#define PM1_CNT 0x604
#define PWRBTN	(1u << 8)

int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

static unsigned failures;
static void report(const char *what, bool ok)
{
	puts_("PC: ");
	puts_(what);
	puts_(ok ? " ok\n" : " FAILED\n");
	failures += !ok;
}

/* Scancodes are kept: the handler must take each byte, or there is no next edge. */
static volatile u8 codes[64];
static volatile u32 nr_codes, got_codes;

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	(void)f;
	if (vector < 0x20 || vector >= 0x30) {
		puts_("PC: exception ");
		putd(vector);
		puts_(" at ");
		putx(rip);
		puts_("\n");
		outb(DEBUG_EXIT, 30);
		for (;;)
			__asm__ volatile("cli; hlt");
	}
	irqs[vector - 0x20]++;
	if (vector == 0x21 || vector == 0x2c)
		codes[nr_codes++ % 64] = inb(KBD_DATA);
	if (vector == 0x29)
		outw(PM1_EN, 0); /* level: until somebody has looked */
	if (vector >= 0x28)
		outb(PIC2, 0x20);
	outb(PIC1, 0x20);
}

static void set_up(void)
{
	idt_init(idt, 64);
	serial_init();
	pic_init();
}

/* --- where nobody is --- */

static void check_ports(void)
{
	u8 buf[8] = {0};
	void *to = buf;
	u64 n = sizeof(buf);
	bool ok = inb(0x300) == 0xff && inw(0x300) == 0xffff && inl(0x300) == ~0u && inb(0xffff) == 0xff &&
		  inw(0xffff) == 0xffff && inl(0xffff) == ~0u && inl(0) == ~0u;

	__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(0x300) : "memory");
	for (unsigned i = 0; i < sizeof(buf); i++)
		ok = ok && buf[i] == 0xff;
	report("ports-nobody", ok);
	/* Over the edges of a region: 62h and 63h are free, 61h and 64h are not. */
	report("ports-edges", (inl(0x61) & 0x10ffff00) == 0x10ffff00 && (inl(0x5d) >> 24) != 0xff &&
				      (inl(0x5d) & 0xffffff) == 0xffffff && inw(0x91) >> 8 == 0x02 &&
				      (inw(0x91) & 0xff) == 0xff && inw(0x92) == 0xff02);
	outl(0x300, 0);
	outl(0x62, 0xffffffff & ~0xff0000u); /* 64h: a command that does nothing; 65h nobody */
	report("ports-writes", inw(0x300) == 0xffff);
}

static void check_memory(void)
{
	u64 addr = 0xc0000000 + 0x1000, q = 0, edge;
	u32 l = 0;
	u16 w = 0;
	u8 b = 0;

	__asm__ volatile("movb (%1), %0" : "=q"(b) : "r"(addr) : "memory");
	__asm__ volatile("movw (%1), %0" : "=r"(w) : "r"(addr) : "memory");
	__asm__ volatile("movl (%1), %0" : "=r"(l) : "r"(addr) : "memory");
	__asm__ volatile("movq (%1), %0" : "=r"(q) : "r"(addr) : "memory");
	__asm__ volatile("movq %0, (%1)" ::"r"(0ull), "r"(addr) : "memory");
	report("memory-nobody", b == 0xff && w == 0xffff && l == ~0u && q == ~0ull);
	/* The HPET ends at 400h and answers to no bytes; below the PCI configuration space nobody is, there the bridge. */
	__asm__ volatile("movq (%1), %0" : "=r"(q) : "r"(0xfed003fcull) : "memory");
	__asm__ volatile("movl (%1), %0" : "=r"(l) : "r"(0xfed003feull) : "memory");
	__asm__ volatile("movq (%1), %0" : "=r"(edge) : "r"(0xdffffffcull) : "memory");
	report("memory-edges", q == ~0ull && l == ~0u && edge == 0x29c08086ffffffff);
}

/* Where RAM ends: an access over it has the bytes of RAM, and ones. */
static void check_ram_end(u64 end)
{
	volatile u64 *across = (volatile u64 *)(end - 4);
	volatile u32 *last = (volatile u32 *)(end - 4), *beyond = (volatile u32 *)end;
	u64 q = 0, with_index = 0;
	u32 l = 0;
	u16 w = 0;

	*last = 0x44332211;
	__asm__ volatile("movq (%1), %0" : "=r"(q) : "r"(across) : "memory");
	__asm__ volatile("movq (%1,%2,8), %0" : "=r"(with_index) : "r"(end - 12), "r"(1ull) : "memory");
	__asm__ volatile("movl (%1), %0" : "=r"(l) : "r"(end - 3) : "memory");
	__asm__ volatile("movw (%1), %0" : "=r"(w) : "r"(end - 1) : "memory");
	report("ram-end-read", q == 0xffffffff44332211 && with_index == q && l == 0xff443322 && w == 0xff44 &&
				       *beyond == ~0u && *last == 0x44332211);
	__asm__ volatile("movq %0, (%1)" ::"r"(0x8877665555443322ull), "r"(across) : "memory");
	report("ram-end-write", *last == 0x55443322 && *beyond == ~0u);
}

/* --- single ports --- */

static void check_single(void)
{
	u32 spins = 0;

	outb(0x80, 0x5a);
	report("post", inb(0x80) == 0x5a);
	outb(0x92, 0);
	report("a20", (inb(0x92) & 3) == 2);
	outb(0xcf9, 2); /* the kind, without the edge */
	report("cf9", inb(0xcf9) == 2);
	/* Channel 2, mode 0: its output rises when the count is over, and only while the gate is open. */
	outb(0x61, 0);
	outb(PIT_MODE, 0xb0);
	outb(PIT_CH0 + 2, 0x10);
	outb(PIT_CH0 + 2, 0x10);
	for (unsigned i = 0; i < 1000; i++)
		inb(0x80);
	bool low = !(inb(0x61) & 0x20);
	outb(0x61, 3); /* with the speaker */
	while (!(inb(0x61) & 0x20) && spins < 100000000)
		spins++;
	report("port-61", low && spins < 100000000 && (inb(0x61) & 0x0f) == 3);
	outb(0x61, 0);
	if (inb(0xe9) == 0xe9)
		for (const char *s = "PC: debugcon ok\r\n"; *s; s++)
			outb(0xe9, (u8)*s);
}

/* --- the keyboard controller --- */

static u8 kbd_read(void)
{
	for (unsigned i = 0; i < 100000; i++)
		if (inb(KBD_CMD) & 1)
			return inb(KBD_DATA);
	return 0xee;
}
static bool kbd_says(const char *want, unsigned n)
{
	bool ok = true;

	for (unsigned i = 0; i < n; i++)
		ok = kbd_read() == (u8)want[i] && ok;
	return ok && !(inb(KBD_CMD) & 1);
}

static void check_i8042(void)
{
	outb(KBD_CMD, 0xaa);
	report("i8042-self-test", kbd_says("\x55", 1));
	outb(KBD_CMD, 0x60);
	outb(KBD_DATA, 0x44);
	outb(KBD_DATA, 0xf2);
	report("i8042-keyboard", kbd_says("\xfa\xab\x41", 3));
	outb(KBD_CMD, 0xd4);
	outb(KBD_DATA, 0xff);
	report("i8042-mouse", kbd_says("\xfa\xaa\x00", 3));
	/* By interrupts, an edge a byte. */
	outb(PIC1 + 1, 0xf9);
	outb(PIC2 + 1, 0xef);
	outb(KBD_CMD, 0x60);
	outb(KBD_DATA, 0x47);
	outb(KBD_DATA, 0xf2);
	while (irqs[1] < 3)
		sti_hlt_cli();
	outb(KBD_CMD, 0xd4);
	outb(KBD_DATA, 0xe9);
	while (irqs[12] < 4)
		sti_hlt_cli();
	report("i8042-interrupts", nr_codes == 7 && codes[1] == 0xab && codes[2] == 0x41 && codes[4] == 0 && codes[5] == 2 &&
					   codes[6] == 100);
	got_codes = nr_codes;
}

/* --- fw_cfg --- */

static struct {
	u32 control, length;
	u64 address;
} __attribute__((packed, aligned(16))) dma;

static u32 dma_do(u32 control, u32 length, u64 address)
{
	volatile u32 *c = &dma.control;

	dma.control = __builtin_bswap32(control);
	dma.length = __builtin_bswap32(length);
	dma.address = __builtin_bswap64(address);
	__asm__ volatile("" ::: "memory");
	outl(FW_DMA + 4, __builtin_bswap32((u32)(u64)&dma));
	while (*c & ~__builtin_bswap32(1))
		__asm__ volatile("pause");
	return __builtin_bswap32(*c);
}

static u16 find_file(const char *name, unsigned n)
{
	static u8 dir[64 * 20];
	u32 count;

	if (dma_do(0x19 << 16 | 8 | 2, sizeof(dir), (u64)dir))
		return 0;
	count = __builtin_bswap32(*(u32 *)dir);
	for (u32 i = 0; i < count && i < 19; i++)
		if (!memcmp(dir + 4 + 64 * i + 8, name, n + 1))
			return (u16)(dir[4 + 64 * i + 4] << 8 | dir[4 + 64 * i + 5]);
	return 0;
}

static void check_fw_cfg(void)
{
	static u8 buf[64];
	u8 *far = (u8 *)(16ull << 20);
	u64 n = 6;
	void *to = buf;
	u16 key;
	bool ok;

	outw(FW_SELECT, 0);
	__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(FW_DATA) : "memory");
	report("fw-cfg-signature", !memcmp(buf, "QEMU\0\0", 6) && inl(FW_DMA) == 0x554d4551);
	key = find_file("opt/test/a", 10);
	ok = key && !dma_do((u32)key << 16 | 8 | 2, 10, (u64)buf);
	report("fw-cfg-string", ok && !memcmp(buf, "hello\0\0\0\0\0", 10));
	key = find_file("etc/e820", 8);
	ok = key && !dma_do((u32)key << 16 | 8 | 2, 20, (u64)buf);
	report("fw-cfg-e820", ok && *(u64 *)buf == 0 && *(u32 *)(buf + 16) == 1);
	/* More than a step of it, behind the end: zeros. And 4 GiB, which end where RAM does. */
	far[0] = far[(1u << 20) - 1] = 0xcc;
	far[1u << 20] = 0xcc;
	ok = !dma_do(2, 1u << 20, (u64)far);
	report("fw-cfg-long", ok && !far[0] && !far[(1u << 20) - 1] && far[1u << 20] == 0xcc);
	ok = dma_do(2, ~0u, (u64)(48ull << 20)) == 1 && dma_do(2, 4, ~0ull << 32) == 1 && dma_do(16, 4, (u64)buf) == 1;
	outl(FW_DMA, ~0u); /* a request where there is nothing at all */
	outl(FW_DMA + 4, ~0u);
	report("fw-cfg-errors", ok);
}

/* --- words --- */

static void reset_by(const char *w)
{
	if (!memcmp(w, "kbd", 3)) {
		outb(KBD_CMD, 0xfe);
	} else if (!memcmp(w, "out", 3)) {
		outb(KBD_CMD, 0xd1);
		outb(KBD_DATA, 0xfe);
	} else if (!memcmp(w, "92", 2)) {
		outb(0x92, 3);
	} else if (!memcmp(w, "cf9-full", 8)) {
		outb(0xcf9, 0x0e);
	} else {
		outb(0xcf9, 6);
	}
	report("reset", false);
}

static void keys(void)
{
	u8 c = 0;

	puts_("PC: keys\n");
	while (c != 0x81) {
		while (got_codes == nr_codes)
			sti_hlt_cli();
		c = codes[got_codes++ % 64];
		puts_("PC: code ");
		putx(c);
		puts_("\n");
	}
}

static void button(void)
{
	report("acpi-mode", (inw(PM1_CNT) & 1) == 1);
	outb(PIC1 + 1, 0xfb);
	outb(PIC2 + 1, 0xfd);
	outw(PM1_EN, PWRBTN);
	puts_("PC: press the button\n");
	while (!irqs[9])
		sti_hlt_cli();
	report("button", inw(PM1_STS) & PWRBTN);
	outw(PM1_STS, PWRBTN);
	outw(PM1_EN, PWRBTN);
	for (unsigned i = 0; i < 100; i++) { /* no more of it */
		__asm__ volatile("sti");
		inb(0x80);
		__asm__ volatile("cli");
	}
	report("button-cleared", irqs[9] == 1 && !(inw(PM1_STS) & PWRBTN));
	outw(PM1_CNT, 1 << 13 | 1 << 10 | 1); /* S1, S3: not offered */
	outw(PM1_CNT, 1 << 13 | 3 << 10 | 1);
	report("no-sleep", (inw(PM1_CNT) & 1) == 1);
	acpi_power_off();
	report("poweroff", false);
}

static void do_word(const char *w)
{
	if (!memcmp(w, "keys", 4))
		keys();
	else if (!memcmp(w, "button", 6))
		button();
	else if (!memcmp(w, "reset=", 6))
		reset_by(w + 6);
	else if (!memcmp(w, "exit", 4))
		outl(DEBUG_EXIT, failures);
	else if (!memcmp(w, "hlt", 3))
		for (;;)
			sti_hlt_cli();
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	const struct mb1_info *mb = (const struct mb1_info *)info;
	const char *w = magic == MB1_MAGIC && mb->flags & 4 ? (const char *)(u64)mb->cmdline : "";

	set_up();
	check_ports();
	check_memory();
	if (magic == MB1_MAGIC && mb->flags & 1)
		check_ram_end((1ull << 20) + ((u64)mb->mem_upper << 10));
	check_single();
	check_i8042();
	check_fw_cfg();
	puts_("PC: ready\n");
	while (*w) {
		do_word(w);
		while (*w && *w != ' ')
			w++;
		while (*w == ' ')
			w++;
	}
	puts_("PC: done\n");
}
