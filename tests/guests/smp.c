/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest that tests what several CPUs are to each other: started, stopped, interrupted, and seeing
 * one memory and one time. Up to 64 CPUs, found by the MADT; runs on a bare machine as well
 * (multiboot1). It does what the words of its command line say, in order; each check prints
 * "SMP: NAME ok", "FAIL (why)", or "skip (why)" where the machine has not what it takes or, by name,
 * where the emulator's bare machine fails it (emulator=tcg, emulator=bochs).
 *   start       all CPUs up by INIT and SIPI; every other word does that first
 *   mptable=1   there must be an MP table (without the word, one that is there must fit)
 *   warm[=N]    APs restarted N times, and what INIT leaves in registers and APIC
 *   warm-bsp    CPU 0 by INIT and the warm-reset vector at 0x467
 *   ipi         every kind of IPI, exactly counted
 *   ipistorm=N  all to all at once, N from each
 *   tlb[=N]     shootdowns, and locked counters
 *   timers      each CPU's own            tsc         the same time on all
 *   ioapic      the PIT's interrupt to each
 *   rtt         IPI round trip between two
 *   spinners=N  all count for N million TSC ticks
 *   hotplug=N   one more CPU comes and goes, N times
 *   mixed=SEED  a random mix of these     steps=N     of so many steps (stands before it)
 *   xapic       the words behind it leave x2APIC mode alone
 *   aps=WHAT    from now on the APs spin, halt (for ever), or storm (send IPIs without end)
 *   from=I      CPU I, not 0, does what ends the machine (stands before aps=):
 *   reboot, poweroff, triple, exit=N (1 if a check failed)
 */
#include "smp.h"


struct cpu cpus[MAX_CPUS];
u32 apic_ids[MAX_CPUS], nr_cpus = 1, lost_cpus;
volatile u64 claimed;
u8 ap_stacks[MAX_CPUS][16384] __attribute__((aligned(16)));
bool quiet, started;
const char *prefix = "";
void (*volatile on_vector[256])(struct cpu *c, u32 vector);

static struct gate idt[256] __attribute__((aligned(16)));
static char emulator[16];
static u32 failures, steps = 30, from_cpu;

static const struct {
	const char *emulator, *name, *reason;
} known[] = {
	{"tcg", "mptable-all", "SeaBIOS: the first CPU of each package"},
	{"tcg", "warm-cr0-cd", "TCG: INIT sets CR0.CD and NW"},
	{"tcg", "ipi-flat-extint", "TCG: sent as a fixed interrupt"},
	{"tcg", "ipi-cluster-extint", "TCG: sent as a fixed interrupt"},
	{"bochs", "warm-edx", "Bochs: EDX is 0"},
	{"bochs", "warm-cr0-cd", "Bochs: INIT sets CR0.CD and NW"},
	{"bochs", "x2-warm-edx", "Bochs: EDX is 0"},
	{"bochs", "x2-warm-cr0-cd", "Bochs: INIT sets CR0.CD and NW"},
	{"bochs", "x2-warm-mode", "Bochs: INIT ends x2APIC mode"},
	{"bochs", "ipi-flat-extint", "Bochs: sent as a fixed interrupt"},
	{"bochs", "ipi-cluster-extint", "Bochs: sent as a fixed interrupt"},
	{"bochs", "ipi-x2-extint", "Bochs: sent as a fixed interrupt"},
	{"bochs", "ipi-x2-nobody", "Bochs: 0xff is broadcast"},
	{"bochs", "timer-deadline-reads-0", "Bochs: the MSR keeps the deadline"},
	{NULL, NULL, NULL},
};

/* The compiler may call these by name. */
int memcmp(const void *a, const void *b, size_t n)
{
	const u8 *p = a, *q = b;

	for (; n; n--, p++, q++)
		if (*p != *q)
			return *p - *q;
	return 0;
}
void *memcpy(void *d, const void *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = ((const u8 *)s)[i];
	return d;
}
void *memset(void *d, int c, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile u8 *)d)[i] = (u8)c;
	return d;
}

static bool same(const char *a, const char *b)
{
	for (; *a && *a == *b; a++, b++)
		;
	return *a == *b;
}

u32 random_below(u32 *seed, u32 n)
{
	*seed = *seed * 1664525 + 1013904223;
	return (u32)((u64)(*seed >> 8) * n >> 24);
}

/* --- what it says --- */

static void say(const char *name, const char *verdict)
{
	puts_("SMP: ");
	puts_(prefix);
	puts_(name);
	puts_(verdict);
}

void skip(const char *name, const char *why)
{
	if (quiet)
		return;
	say(name, " skip (");
	puts_(why);
	puts_(")\n");
}

static const char *forgiven(const char *name)
{
	char full[48] = "";
	size_t n = 0;

	for (const char *p = prefix; *p && n < 24; p++)
		full[n++] = *p;
	for (const char *p = name; *p && n < 47; p++)
		full[n++] = *p;
	for (u32 i = 0; known[i].name; i++)
		if (same(known[i].emulator, emulator) && same(known[i].name, full))
			return known[i].reason;
	return NULL;
}

/* why, n: what was seen instead; printed if it is not ok. */
bool check(const char *name, bool ok, const char *why, u64 n)
{
	const char *reason = ok ? NULL : forgiven(name);

	if (reason) {
		skip(name, reason);
		return true;
	}
	if (!ok) {
		failures++;
		say(name, " FAIL (");
		puts_(why);
		puts_(" ");
		putx(n);
		puts_(")\n");
	} else if (!quiet) {
		say(name, " ok\n");
	}
	return ok;
}

static void __attribute__((noreturn)) end_by_exit(u32 value)
{
	outl(DEBUG_EXIT, value);
	for (const char *p = "Shutdown"; *p; p++) /* Bochs has no such port, but this one */
		outb(0x8900, (u8)*p);
	for (;;)
		cli(), pause();
}

/* Nothing can be relied on any more. */
void give_up(const char *what, u64 n)
{
	check("run", false, what, n);
	end_by_exit(1);
}

/* --- interrupts --- */

void interrupt(u64 vector, u64 rip, struct frame *f);
void interrupt(u64 vector, u64 rip, struct frame *f)
{
	struct cpu *c = this_cpu();
	void (*hook)(struct cpu *, u32);

	if (vector == 2) {
		c->nmis++;
		return;
	}
	if (vector == 14 && (rip == (u64)try_read_at || rip == (u64)try_write_at)) {
		f->rip = (u64)try_failed;
		return;
	}
	if (vector < 32) {
		puts_("SMP: exception ");
		putd(vector);
		puts_(" on CPU ");
		putd(c->index);
		give_up(" at", rip);
	}
	c->got[vector]++;
	if (vector == VEC_SPURIOUS || vector < VEC_FENCE) /* the PIC's, and masked there: no EOI */
		return;
	hook = on_vector[vector];
	if (hook)
		hook(c, (u32)vector);
	apic_write(REG_EOI, 0);
}

void load_idt(void)
{
	idt_load(idt, 256);
}

void note_own_apic_mode(struct cpu *c)
{
	wrmsr(0xc0000101, (u64)c); /* GS.base */
	c->x2 = rdmsr(MSR_APIC_BASE) >> 10 & 1;
}

static void set_up(void)
{
	idt_init(idt, 256);
	serial_init();
	pic_init();
	for (u32 i = 0; i < MAX_CPUS; i++)
		cpus[i].self = &cpus[i], cpus[i].index = i, cpus[i].seed = i;
	note_own_apic_mode(&cpus[0]);
}

/* --- jobs for other CPUs --- */

void ap_main(u32 index);
void ap_main(u32 index)
{
	struct cpu *c = &cpus[index];

	note_own_apic_mode(c);
	load_idt();
	c->fresh.base = rdmsr(MSR_APIC_BASE);
	c->fresh.pat = rdmsr(MSR_PAT);
	c->fresh.tsc = rdtsc();
	__asm__ volatile("movq %%xmm0, %0" : "=r"(c->fresh.xmm0));
	c->fresh.id = apic_read(REG_ID);
	c->fresh.svr = apic_read(REG_SVR);
	c->fresh.tpr = apic_read(REG_TPR);
	c->fresh.timer = apic_read(REG_TIMER);
	c->fresh.count = apic_read(REG_INITIAL);
	c->fresh.lint0 = apic_read(REG_LINT0);
	c->fresh.ldr = apic_read(REG_LDR);
	c->fresh.dfr = c->x2 ? ~0u : apic_read(REG_DFR);
	to_mode(c, cpus[0].x2);
	c->starts++;
	if (!index)
		resume();
	c->done = c->asked;
	for (;;) {
		cli();
		if (c->done == c->asked) {
			sti_hlt_cli();
			continue;
		}
		sti();
		c->job(c, c->arg);
		c->done++;
		__sync_synchronize();
		if (cpus[0].halting)
			icr(cpus[0].id, ICR_FIXED | VEC_WAKE);
	}
}

void job_start(struct cpu *c, void (*job)(struct cpu *, u64), u64 arg)
{
	c->job = job;
	c->arg = arg;
	c->asked++;
	icr(c->id, ICR_FIXED | VEC_WAKE);
}
void job_wait(struct cpu *c)
{
	if (!WAIT(c->done == c->asked))
		give_up("a job did not end on CPU", c->index);
}
void on_cpu(u32 i, void (*job)(struct cpu *, u64), u64 arg)
{
	if (i == 0) {
		job(&cpus[0], arg);
		return;
	}
	job_start(&cpus[i], job, arg);
	job_wait(&cpus[i]);
}
void on_all(void (*job)(struct cpu *, u64), u64 arg)
{
	for (u32 i = 1; i < nr_cpus; i++)
		job_start(&cpus[i], job, arg);
	job(&cpus[0], arg);
	for (u32 i = 1; i < nr_cpus; i++)
		job_wait(&cpus[i]);
}

/* --- words --- */

static void mixed(u64 seed_)
{
	u32 seed = (u32)seed_, i;
	bool x2 = false, ok = true;

	quiet = true;
	for (i = 0; ok && i < steps; i++) {
		switch (random_below(&seed, 10)) {
		case 0:
			ok = restart_some(&seed, 4);
			break;
		case 1:
			ok = restart_all();
			break;
		case 2:
			x2 = has_x2apic() && !x2;
			all_to_mode(x2, random_below(&seed, 2));
			break;
		case 3:
			ok = ipi_some(&seed, 20);
			break;
		case 4:
			ok = storm(20);
			break;
		case 5:
			ok = tlb_some(&seed, 8);
			break;
		case 6:
			ok = locks(200);
			break;
		case 7:
			ok = timers_some();
			break;
		case 8:
			ok = tsc_some(4 * nr_cpus);
			break;
		default:
			ok = ioapic_some();
		}
	}
	quiet = false;
	all_to_mode(false, false);
	check("mixed", ok, "step", i);
}

static void spin(struct cpu *c, u64 unused)
{
	(void)c, (void)unused;
	for (;;)
		pause();
}
static void halt(struct cpu *c, u64 unused)
{
	(void)c, (void)unused;
	for (;;)
		__asm__ volatile("cli; hlt");
}

enum { REBOOT, POWER_OFF, TRIPLE, EXIT };
static void end_now(struct cpu *c, u64 how)
{
	(void)c;
	if ((u8)how == REBOOT)
		outb(0xcf9, 6);
	else if ((u8)how == POWER_OFF)
		acpi_power_off();
	else if ((u8)how == TRIPLE)
		triple_fault();
	else
		end_by_exit((u32)(how >> 8));
	delay_us(1000000);
	give_up("still there after the end", how);
}
static void end(u64 how)
{
	puts_("SMP: ending\n");
	if (from_cpu)
		job_start(&cpus[from_cpu], end_now, how);
	else
		end_now(&cpus[0], how);
	halt(NULL, 0);
}

static void reboot(u64 unused)
{
	(void)unused;
	end(REBOOT);
}
static void power_off(u64 unused)
{
	(void)unused;
	end(POWER_OFF);
}
static void triple(u64 unused)
{
	(void)unused;
	end(TRIPLE);
}
static void exit_with(u64 value)
{
	end(EXIT | (failures ? 1 : value) << 8);
}
static void set_steps(u64 n)
{
	steps = (u32)n;
}
static void set_xapic(u64 unused)
{
	(void)unused;
	xapic_only = true;
}
static void set_from(u64 n)
{
	from_cpu = n < nr_cpus ? (u32)n : 0;
}

static void set_aps(const char *what)
{
	void (*job)(struct cpu *, u64) = same(what, "spin")   ? spin
					 : same(what, "halt") ? halt
							      : storm_for_ever;

	for (u32 i = 1; i < nr_cpus; i++)
		if (i != from_cpu)
			job_start(&cpus[i], job, 0);
	delay_us(20000);
}

static const struct {
	const char *name;
	void (*run)(u64 arg);
} words[] = {
	{"start", start_all}, {"mptable", mp_table},   {"warm", warm},       {"warm-bsp", warm_bsp},
	{"ipi", ipi},         {"ipistorm", ipi_storm}, {"tlb", tlb},         {"timers", timers},
	{"tsc", tsc},         {"khz", tsc_khz},        {"tscset", tsc_set}, {"ioapic", ioapic},      {"rtt", round_trip},  {"spinners", spinners},
	{"hotplug", hotplug},
	{"mixed", mixed},     {"steps", set_steps},    {"xapic", set_xapic}, {"from", set_from},
	{"reboot", reboot},   {"poweroff", power_off}, {"triple", triple},   {"exit", exit_with},
	{NULL, NULL},
};

/* A loader puts the kernel's name first. */
static bool is_file(const char *s)
{
	for (; *s; s++)
		if (*s == '/' || *s == '.')
			return true;
	return false;
}

static void do_word(const char *name, const char *value)
{
	u64 n = 0;

	if (same(name, "emulator") || is_file(name))
		return;
	if (!started && !same(name, "start"))
		start_all(0);
	if (same(name, "aps")) {
		set_aps(value);
		return;
	}
	for (const char *p = value; *p; p++)
		n = n * 10 + (u64)(*p - '0');
	for (u32 i = 0; words[i].name; i++) {
		if (!same(words[i].name, name))
			continue;
		words[i].run(n);
		return;
	}
	check(name, false, "no such word", 0);
}

/* A word of the line, cut into name and value; returns what follows it. */
static const char *take_word(const char *p, char name[16], char value[16])
{
	char *to = name;
	u32 n = 0;

	name[0] = value[0] = 0;
	for (; *p && *p != ' '; p++) {
		if (*p == '=' && to == name) {
			to = value, n = 0;
		} else if (n < 15) {
			to[n++] = *p;
			to[n] = 0;
		}
	}
	while (*p == ' ')
		p++;
	return p;
}

void main(u32 magic, u64 info);
void main(u32 magic, u64 info)
{
	static char line[256];
	const struct mb1_info *mb = (const struct mb1_info *)info;
	char name[16], value[16];

	set_up();
	if (magic != MB1_MAGIC)
		give_up("not by multiboot1, magic", magic);
	/* Copied first: the loader may have put it where CPUs will start. */
	for (u32 i = 0; mb->flags & 4 && i < sizeof(line) - 1; i++)
		if (!(line[i] = ((const char *)(u64)mb->cmdline)[i]))
			break;
	puts_("SMP: cmdline ");
	puts_(line);
	puts_("\n");
	for (const char *p = line; *p;) {
		p = take_word(p, name, value);
		if (same(name, "emulator"))
			memcpy(emulator, value, sizeof(emulator));
	}
	one_way = same(emulator, "bochs");
	calibrate();
	apic_setup(&cpus[0]);
	sti();
	find_cpus();
	for (const char *p = line; *p;) {
		p = take_word(p, name, value);
		do_word(name, value);
	}
	puts_("SMP: done\n");
	halt(NULL, 0);
}
