/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that uses KVM's paravirtual interface as Linux does, and as Linux should not. Words of its command line:
 *   steal    another VM spins on the same CPU: its share must show as stolen
 *   absent   the VM file says paravirt = 0: there must be nothing
 * Ends by the debug exit port: 0 if nothing failed.
 */
#include "cputest.h"

const struct known known[] = {{NULL, NULL, NULL}};

#define USER_PAGE 0x800000ull /* a 2 MiB page that CPL 3 may use */
#define VEC_LOW	  0x31
#define VEC_HIGH  0x39 /* goes first, though of one class with VEC_LOW */
#define VEC_USER  0x38

#define WALL_NEW   0x4b564d00
#define SYSTEM_NEW 0x4b564d01
#define STEAL	   0x4b564d03
#define EOI_EN	   0x4b564d04
#define POLL	   0x4b564d05

extern char leave_user[], user_vmcall[], user_vmcall_end[];
extern u64 kernel_rsp;
void enter_user(u64 rip, u64 rsp, u64 rflags);

static struct gate idt[64] __attribute__((aligned(16)));
static u64 gdt[7] __attribute__((aligned(16)));
static u8 tss[104] __attribute__((aligned(16))), user_entry[4096] __attribute__((aligned(16)));
static volatile bool trying;
static volatile u64 fault; /* what TRYING met; ~0: nothing */
static volatile u64 user_rax;
static u64 khz;
static volatile u32 irqs[64], eoi_word, nr_lent, order;

static struct {
	u32 version, pad0;
	u64 tsc, ns;
	u32 mul;
	signed char shift;
	u8 flags, pad[2];
} clock __attribute__((aligned(64)));
static struct {
	u64 ns;
	u32 version, flags;
	u8 preempted, pad0[3];
	u32 pad[11];
} stolen __attribute__((aligned(64)));
static struct {
	u32 version, sec, nsec;
} wall __attribute__((aligned(4)));

/* As Linux: by the word if it holds the bit, else by the register. */
static void eoi(void)
{
	bool lent;

	__asm__ volatile("btrl $0, %0; setc %1" : "+m"(eoi_word), "=q"(lent)::"cc", "memory");
	if (lent)
		nr_lent++;
	else
		lapic_write(0xb0, 0);
}

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	if (vector == VEC_USER) {
		user_rax = f->rax;
		f->cs = 8;
		f->ss = 0x10;
		f->rip = (u64)leave_user;
		f->rsp = kernel_rsp;
		f->rflags = 2;
	} else if (vector >= 32) {
		irqs[vector & 63]++;
		order = order << 8 | (u32)vector;
		eoi();
	} else if (vector == 2) {
		irqs[2]++;
	} else if (trying) {
		fault = vector;
		f->rip += vector == 6 ? 3 : 2; /* VMCALL and VMMCALL; RDMSR and WRMSR */
	} else {
		say("CPUTEST: unexpected exception ");
		say_hex(vector);
		say(" at ");
		say_hex(rip);
		say("\n");
		failures++;
		finish("broken");
	}
}

#define TRYING(what)                     \
	({                               \
		trying = true;           \
		fault = ~0ull;           \
		what;                    \
		trying = false;          \
		fault;                   \
	})

static void set_gate(unsigned n, u64 a, u8 type)
{
	idt[n] = (struct gate){.off0 = (u16)a, .sel = 8, .type = type, .off1 = (u16)(a >> 16), .off2 = (u32)(a >> 32)};
}

static void set_up(void)
{
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) idtr = {sizeof(idt) - 1, (u64)idt}, gdtr = {sizeof(gdt) - 1, (u64)gdt};
	u64 t = (u64)tss, stack = (u64)user_entry + sizeof(user_entry), cr3, *pml4, *pdpt;

	for (unsigned i = 0; i < 64; i++)
		set_gate(i, (u64)isr_table + 16 * i, i == VEC_USER ? 0xee : 0x8e);
	memcpy(tss + 4, &stack, 8);
	gdt[1] = 0x00af9b000000ffff;
	gdt[2] = 0x00cf93000000ffff;
	gdt[3] = 0x00cff3000000ffff;
	gdt[4] = 0x00affb000000ffff;
	gdt[5] = (sizeof(tss) - 1) | (t & 0xffffff) << 16 | 0x89ull << 40 | (t >> 24 & 0xff) << 56;
	gdt[6] = t >> 32;
	__asm__ volatile("lgdt %0; lidt %1; ltr %w2" ::"m"(gdtr), "m"(idtr), "r"(0x28));
	__asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
	pml4 = (u64 *)cr3;
	pml4[0] |= 4;
	pdpt = (u64 *)(pml4[0] & ~0xfffull);
	pdpt[0] |= 4;
	((u64 *)(pdpt[0] & ~0xfffull))[USER_PAGE >> 21] |= 4;
	__asm__ volatile("mov %0, %%cr3" ::"r"(cr3) : "memory");
	lapic_write(0xf0, 0x1ff);
}

static bool intel;
static u64 hypercall(bool foreign, u64 nr, u64 a, u64 b, u64 c, u64 d)
{
	if (intel != foreign)
		__asm__ volatile(".byte 0x0f, 0x01, 0xc1" : "+a"(nr) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	else
		__asm__ volatile(".byte 0x0f, 0x01, 0xd9" : "+a"(nr) : "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
	return nr;
}

static u64 clock_now(void)
{
	u32 version;
	u64 ns;

	do {
		u64 d;

		version = *(volatile u32 *)&clock.version;
		d = rdtsc() - clock.tsc;
		d = clock.shift < 0 ? d >> -clock.shift : d << clock.shift;
		ns = clock.ns + (u64)((unsigned __int128)d * clock.mul >> 32);
	} while (version & 1 || version != *(volatile u32 *)&clock.version);
	return ns;
}

static u32 find_leaf(void)
{
	for (u32 leaf = 0x40000000; leaf < 0x40010000; leaf += 0x100) {
		u32 r[4];

		cpuid(leaf, r);
		if (!memcmp(&r[1], "KVMKVMKVM\0\0", 12))
			return leaf;
	}
	return 0;
}

static void leaves(void)
{
	u32 r[4], base = find_leaf();

	check2("pv-leaf", base == 0x40000100, base, 0);
	cpuid(base, r);
	check2("pv-leaf-highest", r[0] == base + 1, r[0], 0);
	cpuid(base + 1, r);
	check2("pv-features", (r[0] & ~(1u << 24)) == 0x3aeb && !r[3], r[0], r[3]);
	cpuid(0x40000010, r);
	check2("pv-khz", r[0] > 1000 && r[1] == 1000000, r[0], r[1]);
	khz = r[0];
	/* At the first instruction it was 0: that cannot be ten minutes ago. */
	check2("pv-tsc-young", rdtsc() < 600000 * khz, rdtsc(), khz);
}
static void same_khz(void)
{
	u32 r[4];

	cpuid(0x40000010, r);
	check2("pv-khz-kept", r[0] == khz, r[0], khz);
}

/* ---- clocks ---- */

static void clocks(void)
{
	u64 last, from, t[4];
	bool ok = true;
	u32 r[4];

	cpuid(0x40000010, r);
	wrmsr(SYSTEM_NEW, (u64)&clock | 1);
	check2("clock-struct", !(clock.version & 1) && clock.mul && !(clock.flags & 2), clock.version, clock.flags);
	last = clock_now();
	for (unsigned i = 0; i < 100000; i++) {
		u64 now = clock_now();

		ok = ok && now >= last && now - last < 1000000000;
		last = now;
	}
	check("clock-monotonic", ok);
	/* Against the APIC's timer, whose rate CPUID tells; and between readings of the TSC. */
	lapic_write(0x3e0, 0xb);
	lapic_write(0x320, 0x10000);
	t[0] = rdtsc();
	from = clock_now();
	t[1] = rdtsc();
	lapic_write(0x380, ~0u);
	while (lapic_read(0x390) > ~0u - 20000000)
		;
	t[2] = rdtsc();
	last = clock_now() - from;
	t[3] = rdtsc();
	check2("clock-rate-apic", last > 19999000, last, 0);
	check2("clock-rate-tsc", last + 100 >= (t[2] - t[1]) * 1000000 / r[0] &&
	       last <= (t[3] - t[0]) * 1000000 / r[0] + 100, last, (t[2] - t[1]) * 1000000 / r[0]);
	/* The guest sets its TSC: the clock goes on. */
	from = clock_now();
	wrmsr(0x10, rdtsc() + (1ull << 40));
	last = clock_now();
	check2("clock-tsc-set", last >= from && last - from < 1000000000, from, last);
	wrmsr(0x10, 0);
	from = clock_now();
	check2("clock-tsc-0", from >= last && from - last < 1000000000, last, from);
	wrmsr(WALL_NEW, (u64)&wall);
	check2("clock-wall", !(wall.version & 1) && wall.sec > 1000000000 && wall.nsec < 1000000000, wall.sec, wall.nsec);
}

/* ---- steal time ---- */

static void steal(bool shared)
{
	u64 from = clock_now(), ns, end;

	/* It counts from here: what was stolen before is not in it. Another VM may well be next. */
	wrmsr(STEAL, (u64)&stolen | 1);
	ns = *(volatile u64 *)&stolen.ns;
	end = clock_now();
	check2("steal-struct", (shared ? ns <= end - from : !ns) && !(stolen.version & 1) && !stolen.preempted, ns,
	       stolen.preempted);
	if (!shared)
		return;
	from = clock_now();
	do { /* by PAUSE: some hypervisors let it pass */
		for (unsigned i = 0; i < 1000; i++)
			__asm__ volatile("pause");
		end = clock_now();
	} while (end - from < 500000000);
	ns = *(volatile u64 *)&stolen.ns;
	check2("steal-grows", ns > 100000000 && ns < end - from, ns, end - from);
	check2("steal-here", !(stolen.version & 1) && !stolen.preempted, stolen.version, stolen.preempted);
}

/* ---- EOI ---- */

static bool in_service(void)
{
	u32 any = 0;

	for (u32 i = 0; i < 8; i++)
		any |= lapic_read(0x100 + 16 * i);
	return any;
}
static void window(void)
{
	__asm__ volatile("sti; nop; nop; cli" ::: "memory");
}
static void self_ipi(u32 vector)
{
	lapic_write(0x300, 0x40000 | vector);
}

static void eois(void)
{
	wrmsr(EOI_EN, (u64)&eoi_word | 1);
	irqs[VEC_LOW] = 0;
	for (unsigned i = 0; i < 200; i++) {
		self_ipi(VEC_LOW);
		window();
	}
	check2("eoi-lent", irqs[VEC_LOW] == 200 && nr_lent == 200, irqs[VEC_LOW], nr_lent);
	check("eoi-not-in-service", !in_service() && !eoi_word);
	/* Two wait: the first one's EOI must be seen, or the second would wait for ever. */
	nr_lent = irqs[VEC_LOW] = irqs[VEC_HIGH] = order = 0;
	self_ipi(VEC_LOW);
	self_ipi(VEC_HIGH);
	window();
	check2("eoi-two", order == (VEC_HIGH << 8 | VEC_LOW) && nr_lent == 1, order, nr_lent);
	check("eoi-two-not-in-service", !in_service() && !eoi_word);
	/* What comes next without a word to the APIC, of no higher class, must get through: running and halted. */
	lapic_write(0x320, 0x20000 | VEC_LOW);
	lapic_write(0x380, 20000000);
	for (unsigned halted = 0; halted < 2; halted++) {
		u64 from = clock_now();

		self_ipi(VEC_HIGH);
		window();
		irqs[VEC_LOW] = 0;
		while (!irqs[VEC_LOW] && clock_now() - from < 2000000000)
			if (halted)
				__asm__ volatile("sti; hlt; cli" ::: "memory");
			else
				window();
		check2(halted ? "eoi-then-hlt" : "eoi-then-irq", irqs[VEC_LOW], clock_now() - from, 0);
	}
	lapic_write(0x320, 0x10000);
	wrmsr(EOI_EN, 0);
	nr_lent = 0;
	self_ipi(VEC_LOW);
	window();
	check2("eoi-off", !nr_lent && !in_service(), nr_lent, 0);
}

/* ---- hypercalls ---- */

static u64 user_hypercall(void)
{
	u8 *p = (u8 *)USER_PAGE;

	memcpy(p, user_vmcall, (size_t)(user_vmcall_end - user_vmcall));
	for (u64 i = 0; intel && i < 16; i++) /* the program says VMMCALL */
		if (p[i] == 0x0f && p[i + 1] == 0x01 && p[i + 2] == 0xd9) {
			p[i + 2] = 0xc1;
			break;
		}
	enter_user(USER_PAGE, USER_PAGE + 0x10000, 2);
	return user_rax;
}

static void answers(const char *name, u64 r, long want)
{
	check2(name, r == (u64)want, r, 0);
}

static void hypercalls(void)
{
	static volatile u64 pairing[8];
	u32 id = lapic_read(0x20) >> 24;
	u64 r, tsc;

	answers("hypercall-unknown", hypercall(false, 77, 0, 0, 0, 0), -1000);
	check2("hypercall-foreign-ud", TRYING(hypercall(true, 77, 0, 0, 0, 0)) == 6, fault, 0);
	answers("hypercall-user", user_hypercall(), -1);
	/* It was kicked: an HLT that nothing else would end does end, once. */
	answers("hypercall-kick", hypercall(false, 5, 0, id, 0, 0), 0);
	__asm__ volatile("cli; hlt" ::: "memory");
	check("hypercall-kick-halt", true);
	answers("hypercall-yield", hypercall(false, 11, id, 0, 0, 0), 0);
	irqs[VEC_LOW] = irqs[2] = 0;
	r = hypercall(false, 10, 1, 0, id, VEC_LOW);
	window();
	check2("hypercall-ipi", r == 1 && irqs[VEC_LOW] == 1, r, irqs[VEC_LOW]);
	r = hypercall(false, 10, 0, 2, id - 65, 0x400);
	check2("hypercall-ipi-nmi-none", r == 0 && !irqs[2], r, irqs[2]);
	r = hypercall(false, 10, 1, 0, id, 0x400);
	check2("hypercall-ipi-nmi", r == 1 && irqs[2] == 1, r, irqs[2]);
	answers("hypercall-ipi-bad", hypercall(false, 10, 1, 0, id, 0x500), -22);
	tsc = rdtsc();
	r = hypercall(false, 9, (u64)pairing, 0, 0, 0);
	check2("hypercall-clock", r ? r == (u64)-95 : pairing[0] > 1000000000 && pairing[2] >= tsc && pairing[2] <= rdtsc(),
	       r, pairing[2]);
	if (!r)
		answers("hypercall-clock-bad", hypercall(false, 9, 1ull << 40, 0, 0, 0), -14);
}

/* ---- MSRs ---- */

static void bad_msrs(void)
{
	static const struct {
		u32 msr;
		u64 bad;
	} bad[] = {
		{WALL_NEW, 1},	    {SYSTEM_NEW, 3}, {SYSTEM_NEW, 0xfffffffff001}, {STEAL, 0x100021},
		{STEAL, 0xfec00001}, {EOI_EN, 3},    {EOI_EN, 0xfee00001},	   {POLL, 2},
		{0x4b564d02, 0},    {0x4b564d08, 0}, {0x11, 0xc0000000},	   {0x12, 0xc0000001},
	};
	u64 was = rdmsr(SYSTEM_NEW);
	bool ok = true;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (TRYING(wrmsr(bad[i].msr, bad[i].bad)) != 13) {
			check2("pv-msr-gp", false, bad[i].msr, bad[i].bad);
			ok = false;
		}
	check2("pv-msr-kept", ok && rdmsr(SYSTEM_NEW) == was && rdmsr(0x12) == was, rdmsr(SYSTEM_NEW), was);
	check("pv-poll", rdmsr(POLL) == 1 && TRYING(wrmsr(POLL, 0)) == ~0ull && !rdmsr(POLL));
}

static void absent(void)
{
	static const u32 msrs[] = {0x11, 0x12, WALL_NEW, SYSTEM_NEW, STEAL, EOI_EN, POLL};
	u32 r[4];
	bool ok = true;

	check("absent-leaf", !find_leaf());
	cpuid(0x40000101, r);
	check("absent-features", !(r[0] | r[1] | r[2] | r[3]));
	for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++)
		ok = ok && TRYING(rdmsr(msrs[i])) == 13 && TRYING(wrmsr(msrs[i], 0)) == 13;
	check("absent-msrs", ok);
	check("absent-hypercall", hypercall(false, 11, 0, 0, 0, 0) == (u64)-1000);
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	const struct mb1_info *mb = (const struct mb1_info *)info;
	const char *words = magic == MB1_MAGIC && mb->flags & 4 ? (const char *)(u64)mb->cmdline : "";
	u32 r[4];

	begin(words);
	set_up();
	cpuid(0, r);
	intel = r[1] == 0x756e6547;
	if (has_word(words, "absent")) {
		absent();
	} else {
		leaves();
		clocks();
		steal(has_word(words, "steal"));
		eois();
		hypercalls();
		bad_msrs();
		same_khz();
	}
	finish("pvtest");
	for (;;)
		__asm__ volatile("cli; hlt");
}
