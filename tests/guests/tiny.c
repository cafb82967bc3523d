/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that looks at its machine and says so on COM1, line by line, each beginning "TINY: ". Then
 * it does what the words of its command line say, in order:
 *   exit=N     write N to the debug exit port      poweroff  by ACPI, as the FADT says
 *   exitb=N, exitw=N  the same, 8 and 16 bits wide
 *   reboot     by port 0xcf9                       triple    by a triple fault
 *   kill       by an instruction nobody emulates   hang      halt with interrupts off
 *   spin       for ever, without halting          shut      read a port for ever, with interrupts off
 *   hlt        halt with interrupts on             echo      repeat COM1's lines until "quit"
 *   memtest    RAM at every edge of the map        msrs      MSRs refuse bad bits; caches, CR0.CD
 *   ticks=N    N timer interrupts: is none lost?   scan       is all RAM zero, but for what the loader put there?
 *   fill       write a pattern to all RAM but itself
 */
#include "acpi.h"

static struct gate idt[64] __attribute__((aligned(16)));
static volatile u32 ticks[64];

#define VEC_PIT 0x20
#define VEC_LAPIC 0x30
#define VEC_SELF 0x31
#define VEC_SPURIOUS 0x3f
#define MSR_APIC_BASE 0x1b

/* The compiler may call these by name. */
int memcmp(const void *a, const void *b, size_t n);
int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}

static void report(const char *what, bool ok)
{
	puts_("TINY: ");
	puts_(what);
	puts_(ok ? " ok\n" : " FAILED\n");
}

/* Not a volatile pointer: GCC warns when one with a low constant address is followed. */
static u32 lapic_read(u32 reg)
{
	u32 v;
	u64 a = (rdmsr(MSR_APIC_BASE) & ~0xfffull) + reg;

	__asm__ volatile("movl (%1), %0" : "=r"(v) : "r"(a) : "memory");
	return v;
}
static void lapic_write(u32 reg, u32 v)
{
	u64 a = (rdmsr(MSR_APIC_BASE) & ~0xfffull) + reg;

	__asm__ volatile("movl %0, (%1)" ::"r"(v), "r"(a) : "memory");
}

/* Called by the stubs. An exception is the end: there is nobody to repair it. */
static volatile bool trying, faulted; /* an instruction of two bytes that may raise #GP */

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	if (vector == 13 && trying) {
		faulted = true;
		f->rip += 2;
		return;
	}
	if (vector < 32 && vector != VEC_PIT) {
		puts_("TINY: exception ");
		putd(vector);
		puts_(" at ");
		putx(rip);
		puts_("\n");
		outb(DEBUG_EXIT, 30);
		for (;;)
			__asm__ volatile("cli; hlt");
	}
	ticks[vector & 63]++;
	if (vector == VEC_PIT)
		outb(PIC1, 0x20);
	else if (vector != VEC_SPURIOUS)
		lapic_write(0xb0, 0);
}

static void set_up(void)
{
	idt_init(idt, 64);
	serial_init();
	pic_init();
	outb(PIC1 + 1, 0xfe); /* only IRQ 0 open */
}

static void say_cpu(void)
{
	u32 r[4], v[3];
	char name[13] = "", hv[13] = "";

	cpuid(0, r);
	v[0] = r[1], v[1] = r[3], v[2] = r[2];
	__builtin_memcpy(name, v, 12);
	cpuid(1, r);
	puts_("TINY: hello cpu=");
	puts_(name);
	puts_(" hypervisor=");
	putd(r[2] >> 31);
	if (r[2] >> 31) {
		cpuid(0x40000000, r);
		__builtin_memcpy(hv, &r[1], 12);
		puts_(" by=");
		puts_(hv);
	}
	puts_("\n");
}

static void ioapic_write(u32 reg, u32 val)
{
	*(volatile u32 *)0xfec00000ull = reg;
	*(volatile u32 *)0xfec00010ull = val;
}

/* The PIC's INTR as an ExtINT message through I/O APIC pin 0, LINT0 shut: Linux's last resort for
 * its timer. The PIC is masked meanwhile, so that its line rises while somebody looks. */
static void check_extint_message(u8 pic_mask)
{
	u32 seen = ticks[VEC_PIT];

	outb(PIC1 + 1, 0xff);
	lapic_write(0x350, 0x10700);
	ioapic_write(0x11, lapic_read(0x20));
	ioapic_write(0x10, 0x700);
	outb(PIC1 + 1, pic_mask);
	for (int i = 0; i < 3; i++)
		sti_hlt_cli();
	report("extint-message", ticks[VEC_PIT] >= seen + 3);
	outb(PIC1 + 1, 0xff);
	ioapic_write(0x10, 0x10000);
	lapic_write(0x350, 0x700);
}

static void check_interrupts(void)
{
	/* PIT, mode 2, 1 kHz, through the PIC. The BIOS or the loader left LINT0 as ExtINT. */
	outb(PIT_MODE, 0x34);
	outb(PIT_CH0, 1193 & 0xff);
	outb(PIT_CH0, 1193 >> 8);
	for (int i = 0; i < 3; i++)
		sti_hlt_cli();
	report("pit-interrupt", ticks[VEC_PIT] >= 3);
	check_extint_message(inb(PIC1 + 1));
	outb(PIC1 + 1, 0xff);
	outb(PIT_MODE, 0x30); /* one-shot that nobody starts: quiet */

	lapic_write(0xf0, 0x100 | VEC_SPURIOUS);
	lapic_write(0x3e0, 0xb); /* divide by 1 */
	lapic_write(0x320, VEC_LAPIC);
	lapic_write(0x380, 1000000);
	while (!ticks[VEC_LAPIC])
		sti_hlt_cli();
	report("lapic-timer", ticks[VEC_LAPIC] == 1 && lapic_read(0x390) == 0);
}

/*
 * N times: a one-shot of the APIC timer comes due while the guest makes exits with interrupts off and another
 * interrupt waits; then it halts, or spins without an exit. An interrupt that is lost stalls here.
 */
static void check_ticks(u32 n)
{
	u32 seen = ticks[VEC_LAPIC];

	for (u32 i = 0; i < n; i++) {
		lapic_write(0x300, 0x40000 | VEC_SELF); /* to ourselves */
		lapic_write(0x380, 20000 + i % 64 * 1000);
		while (lapic_read(0x390))
			;
		if (i & 1)
			__asm__ volatile("sti");
		while (ticks[VEC_LAPIC] != seen + i + 1)
			if (!(i & 1))
				sti_hlt_cli();
		__asm__ volatile("cli");
	}
	report("ticks", ticks[VEC_SELF] == n);
}

static void check_mmio(void)
{
	u64 base = rdmsr(MSR_APIC_BASE) & ~0xfffull;
	u32 a = 0, b = 0x50, zero_extended;
	u64 wide = ~0ull;

	/* One register by several instructions: what a decoder must tell apart. TPR is at 0x80. */
	__asm__ volatile("movl %2, 0x80(%1)\n\t"
			 "orl $0x03, 0x80(%1)\n\t"
			 "movl 0x80(%1,%3,1), %0"
			 : "=&r"(a)
			 : "r"(base), "r"(b), "r"(0ull)
			 : "memory", "cc");
	__asm__ volatile("movl 0x80(%1), %k0" : "+r"(wide) : "r"(base) : "memory");
	__asm__ volatile("movl $0, 0x80(%1); movl 0x30(%1), %0" : "=&r"(zero_extended) : "r"(base) : "memory");
	report("mmio", a == 0x53 && wide == 0x53 && (zero_extended & 0xff) >= 0x10);
}

static void check_ram(void)
{
	volatile u64 *p = (volatile u64 *)(8ull << 20);
	bool ok = true;

	for (unsigned i = 0; i < 512; i++)
		p[i * 512] = ~(u64)i;
	for (unsigned i = 0; i < 512; i++)
		ok = ok && p[i * 512] == ~(u64)i;
	for (unsigned i = 0; i < 512; i++) /* the word `scan` finds all as it was */
		p[i * 512] = 0;
	report("ram", ok);
}

/* --- memtest: a pattern at the edges of each range of RAM that the loader told of --- */

#define MAX_PLACES 128
static struct {
	u64 addr, was;
} places[MAX_PLACES];
static unsigned nr_places;

/* Any physical address, through 1 GiB of addresses behind those that start.asm mapped. */
static volatile u64 *at(u64 addr)
{
	static u64 pd[512] __attribute__((aligned(4096)));
	u64 cr3, base = addr & ~((1ull << 30) - 1), *pml4;

	if (addr >> 32 == 0)
		return (volatile u64 *)addr;
	__asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
	pml4 = (u64 *)cr3;
	if ((pd[0] & ~0xfffull) != base) {
		for (unsigned i = 0; i < 512; i++)
			pd[i] = (base + i * 0x200000ull) | 0x83;
		((u64 *)(pml4[0] & ~0xfffull))[4] = (u64)pd | 3;
		__asm__ volatile("movq %0, %%cr3" ::"r"(cr3) : "memory");
	}
	return (volatile u64 *)(4ull << 30 | (addr & ((1ull << 30) - 1)));
}

static void place(u64 addr)
{
	if (nr_places < MAX_PLACES)
		places[nr_places++].addr = addr;
}

static void memtest(u32 magic, u64 info)
{
	const struct mb1_info *mb = (const struct mb1_info *)info;
	u64 top = 0;
	bool ok = true;

	if (magic != MB1_MAGIC || !(mb->flags & 0x40)) {
		report("memtest", false);
		return;
	}
	for (u32 o = 0; o < mb->mmap_length;) {
		const struct mb1_mmap *m = (const struct mb1_mmap *)(u64)(mb->mmap_addr + o);
		u64 end = m->base + m->len;

		o += m->size + 4;
		if (m->type != 1)
			continue;
		place(m->base + 0xff8); /* page 0 begins with what a BIOS would use */
		place(end - 8);
		for (u64 a = (m->base | ((1ull << 30) - 1)) + 1; a < end; a += 1ull << 30) {
			place(a - 8);
			place(a);
		}
		top = end;
	}
	/* All are written before any is read: an alias would show. */
	for (unsigned i = 0; i < nr_places; i++) {
		places[i].was = *at(places[i].addr);
		*at(places[i].addr) = ~places[i].addr;
	}
	for (unsigned i = 0; i < nr_places; i++)
		ok = ok && *at(places[i].addr) == ~places[i].addr;
	for (unsigned i = nr_places; i--;)
		*at(places[i].addr) = places[i].was;
	ok = ok && *at(top) == ~0ull; /* behind the end nothing answers */
	puts_("TINY: memtest of ");
	putd(nr_places);
	puts_(" places up to ");
	putd(top >> 20);
	puts_(" MiB\n");
	report("memtest", ok && nr_places >= 4);
}

/* --- fill, scan --- */

#define PATTERN 0xdead5ec4e7da7a00ull
extern char image_end[];

/* RAM in which nothing is but what we write: not the loader's lists, the ROM area's tables, this program. */
static void each_word(u64 info, void (*fn)(u64 *word))
{
	u64 top = 0x100000 + ((const struct mb1_info *)info)->mem_upper * 1024ull;
	u64 ranges[][2] = {{0x10000, 0x9fc00}, {0xc0000, 0xe0000}, {((u64)image_end + 7) & ~7ull, top}};

	for (unsigned i = 0; i < 3; i++)
		for (u64 a = ranges[i][0]; a < ranges[i][1]; a += 8)
			fn((u64 *)a);
}

static u64 words, not_zero, first_not_zero;

static void fill_word(u64 *word)
{
	*word = PATTERN;
}

static void scan_word(u64 *word)
{
	words++;
	if (*word && !not_zero++)
		first_not_zero = (u64)word;
}

static void scan(u64 info)
{
	words = not_zero = 0;
	each_word(info, scan_word);
	puts_("TINY: scan of ");
	putd(words >> 17);
	puts_(" MiB, words not zero: ");
	putd(not_zero);
	puts_(", first at ");
	putx(not_zero ? first_not_zero : 0);
	puts_("\n");
	report("scan", !not_zero);
}

/* --- msrs --- */

static bool write_faults(u32 msr, u64 v)
{
	trying = true, faulted = false;
	wrmsr(msr, v);
	trying = false;
	return faulted;
}
static bool read_faults(u32 msr)
{
	trying = true, faulted = false;
	(void)rdmsr(msr);
	trying = false;
	return faulted;
}
static bool reads_back(u32 msr, u64 v)
{
	return !write_faults(msr, v) && rdmsr(msr) == v;
}

static void check_msrs(void)
{
	static const struct {
		u32 msr;
		u64 bad;
	} bad[] = {
		{0x277, 0x0007040600070402},	 /* PAT: type 2 */
		{0x277, 0x0807040600070406},	 /* and 8 */
		{0x2ff, 0xc0e},			 /* MTRR_DEF_TYPE: bit 3 */
		{0x2ff, 0xc07},			 /* type 7 */
		{0x200, 0xc0000002},		 /* PHYSBASE0: type 2 */
		{0x201, 0xc0000801},		 /* PHYSMASK0: bit 0 */
		{0x20e, 1ull << 60},		 /* PHYSBASE7: no such address */
		{0x26f, 0x0606060606060603},	 /* FIX4K_F8000: type 3 */
		{0xfe, 0x508},			 /* MTRRCAP is read-only */
		{0xc0000080, 0x502},		 /* EFER: bit 1 */
		{0xc0000080, 1ull << 40 | 0x500},
		{0x1b, 0xfee00b00},		 /* APIC_BASE: bit 9 */
		{0x1d9, 1},			 /* DEBUGCTL: not offered */
		{0x12345, 0},
		{0xc0001234, 0},
		{0x40000000, 0},		 /* no hypervisor MSRs */
	};
	u32 r[4];
	bool ok = true;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (write_faults(bad[i].msr, bad[i].bad))
			continue;
		puts_("TINY: no #GP, MSR ");
		putx(bad[i].msr);
		puts_("\n");
		ok = false;
	}
	ok = ok && read_faults(0x12345) && read_faults(0xc0001234) && read_faults(0x49);
	cpuid(7, r);
	ok = ok && read_faults(0x10a) == !(r[3] >> 29 & 1);
	report("msr-faults", ok);
	ok = reads_back(0x277, 0x0007050100070406) && reads_back(0x277, 0x0007040600070406) &&
	     reads_back(0x2ff, 0x806) && reads_back(0x2ff, 0xc06) && reads_back(0x20e, 0x80000001) &&
	     reads_back(0x20f, 0xfff00800) && reads_back(0x20f, 0) && reads_back(0x268, 0x0505050505050505);
	report("msr-values", ok);
}

static void check_caches(void)
{
	static volatile u64 word;
	u64 cr0, with_cd;

	__asm__ volatile("movq %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("movq %1, %%cr0; wbinvd; movq %%cr0, %0"
			 : "=&r"(with_cd)
			 : "r"(cr0 | 1ull << 30)
			 : "memory");
	word = 0x1234;
	__asm__ volatile("movq %0, %%cr0" ::"r"(cr0) : "memory");
	/* INVD must not throw a hypervisor's data away, so it keeps ours, too. */
	__asm__ volatile("clflush %0; invd" : "+m"(word));
	report("caches", with_cd == (cr0 | 1ull << 30) && word == 0x1234);
}

/* A packed-decimal load from a device register: legal, and nothing that a hypervisor emulates. */
static void load_decimal(void)
{
	__asm__ volatile("fninit; fbld (%0)" ::"r"(rdmsr(MSR_APIC_BASE) & ~0xfffull) : "memory");
	report("kill", false);
}

static char getc_(void)
{
	/* Bochs 2.7 holds the host's interrupts back as long as its guest has IF = 0, whatever exits it makes. */
	while (!(inb(COM1 + 5) & 1))
		__asm__ volatile("sti; nop; cli");
	return (char)inb(COM1);
}
static void echo(void)
{
	char line[128];

	puts_("TINY: type\n");
	for (;;) {
		unsigned n = 0;

		for (;;) {
			char c = getc_();

			if (c == '\n' || c == '\r')
				break;
			if (n < sizeof(line) - 1)
				line[n++] = c;
		}
		line[n] = 0;
		puts_("TINY: echo ");
		puts_(line);
		puts_("\n");
		if (!memcmp(line, "quit", 5))
			return;
	}
}

static u32 number(const char *s, unsigned n)
{
	u32 v = 0;

	for (unsigned i = 0; i < n; i++)
		v = v * 10 + (u32)(s[i] - '0');
	return v;
}

static void do_word(const char *w, unsigned n, u32 magic, u64 info)
{
#define IS(s) (n == sizeof(s) - 1 && !memcmp(w, s, sizeof(s) - 1))
	if (n > 5 && !memcmp(w, "exit=", 5)) {
		outl(DEBUG_EXIT, number(w + 5, n - 5));
		report("debug-exit", false);
	} else if (n > 6 && !memcmp(w, "exitw=", 6)) {
		outw(DEBUG_EXIT, (u16)number(w + 6, n - 6));
		report("debug-exit", false);
	} else if (n > 6 && !memcmp(w, "exitb=", 6)) {
		outb(DEBUG_EXIT, (u8)number(w + 6, n - 6));
		report("debug-exit", false);
	} else if (n > 6 && !memcmp(w, "ticks=", 6)) {
		check_ticks(number(w + 6, n - 6));
	} else if (IS("poweroff")) {
		acpi_power_off();
		report("poweroff", false);
	} else if (IS("reboot")) {
		outb(0xcf9, 6);
	} else if (IS("triple")) {
		triple_fault();
	} else if (IS("kill")) {
		load_decimal();
	} else if (IS("spin")) {
		for (;;)
			__asm__ volatile("pause");
	} else if (IS("shut")) {
		puts_("TINY: shut\n");
		for (;;)
			__asm__ volatile("cli; in $0x80, %%al" ::: "eax");
	} else if (IS("hang")) {
		for (;;)
			__asm__ volatile("cli; hlt");
	} else if (IS("hlt")) {
		for (;;)
			sti_hlt_cli();
	} else if (IS("echo")) {
		echo();
	} else if (IS("scan")) {
		scan(info);
	} else if (IS("fill")) {
		each_word(info, fill_word);
		puts_("TINY: filled\n");
	} else if (IS("memtest")) {
		memtest(magic, info);
	} else if (IS("msrs")) {
		check_msrs();
		check_caches();
	}
#undef IS
}

static const char *boot_words(u32 magic, u64 info)
{
	if (magic == MB1_MAGIC) {
		const struct mb1_info *mb = (const struct mb1_info *)info;
		const struct mb1_module *mod = (const struct mb1_module *)(u64)mb->mods_addr;

		puts_("TINY: by multiboot1, memory above 1 MiB ");
		putd(mb->flags & 1 ? mb->mem_upper / 1024 + 1 : 0);
		puts_(" MiB, modules ");
		putd(mb->flags & 8 ? mb->mods_count : 0);
		if (mb->flags & 8 && mb->mods_count) {
			puts_(", first has bytes ");
			putd(mod->end - mod->start);
		}
		puts_("\n");
		return mb->flags & 4 ? (const char *)(u64)mb->cmdline : "";
	}
	if (magic == PVH_MAGIC) {
		const struct pvh_info *si = (const struct pvh_info *)info;

		puts_("TINY: by PVH, modules ");
		putd(si->nr_modules);
		puts_("\n");
		return si->cmdline ? (const char *)si->cmdline : "";
	}
	report("boot-protocol", false);
	return "";
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	const char *w;

	set_up();
	say_cpu();
	w = boot_words(magic, info);
	puts_("TINY: cmdline ");
	puts_(w);
	puts_("\n");
	check_ram();
	check_mmio();
	check_interrupts();
	puts_("TINY: ready\n");
	while (*w) {
		unsigned n = 0;

		while (w[n] && w[n] != ' ')
			n++;
		do_word(w, n, magic, info);
		w += n;
		while (*w == ' ')
			w++;
	}
	puts_("TINY: done\n");
}
