/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is there, by the tables; and CPUs started, started again, and what they look like then. */
#include "smp.h"

u32 ioapic_addr, ioapic_pin;

static const char *madt;
static u32 ids[MAX_CPUS][4]; /* as each CPU says: CPUID 1, CPUID 0BH, APIC's register; their number
				of leaf 0BH */

static u8 sum_of(const char *p, u32 len)
{
	u8 sum = 0;

	while (len--)
		sum = (u8)(sum + *p++);
	return sum;
}
static u32 get16(const char *p)
{
	return (u8)p[0] | (u32)(u8)p[1] << 8;
}

static void add_cpu(u32 id)
{
	if (id == cpus[0].id)
		return;
	for (u32 i = 1; i < nr_cpus; i++)
		if (apic_ids[i] == id)
			give_up("the MADT has twice the APIC id", id);
	if (nr_cpus == MAX_CPUS)
		give_up("the MADT has more CPUs than", MAX_CPUS);
	apic_ids[nr_cpus] = cpus[nr_cpus].id = id;
	nr_cpus++;
}

/* ACPI 6.4, 5.2.12 */
static void read_madt(void)
{
	u32 own = 0, end;

	madt = find_table("APIC");
	if (!madt)
		give_up("no MADT, RSDP", (u64)find_rsdp());
	end = get32(madt + 4);
	if (sum_of(find_rsdp(), 20) || sum_of(madt, end) || get32(madt + 36) != 0xfee00000)
		give_up("RSDP's or MADT's sum, or APIC's address", get32(madt + 36));
	ioapic_pin = 0;
	for (u32 i = 44; i < end; i += (u8)madt[i + 1]) {
		const char *e = madt + i;

		if ((u8)e[1] < 2 || i + (u8)e[1] > end)
			give_up("MADT entry's length at", i);
		if ((e[0] == 0 && (get32(e + 4) & 1)) || (e[0] == 9 && (get32(e + 8) & 1))) {
			u32 id = e[0] ? get32(e + 4) : (u8)e[3];

			own += id == cpus[0].id;
			add_cpu(id);
		} else if (e[0] == 1 && get32(e + 8) == 0) {
			ioapic_addr = get32(e + 4);
		} else if (e[0] == 2 && e[3] == 0) {
			ioapic_pin = get32(e + 4);
		}
	}
	check("madt", own == 1 && ioapic_addr, "entries of CPU 0", own);
}

static const char *find_mp(u32 from, u32 len)
{
	for (u32 a = from; a < from + len; a += 16)
		if (!memcmp((const char *)(u64)a, "_MP_", 4) && !sum_of((const char *)(u64)a, 16))
			return (const char *)(u64)a;
	return NULL;
}

/* MultiProcessor Specification 1.4, chapter 4: does it name the CPUs that the MADT names? */
void mp_table(u64 demanded)
{
	const char *bda = (const char *)0x400, *mp, *t, *e;
	u32 found = 0, wrong = 0, boot = 0, io = 0;

	__asm__("" : "+r"(bda)); /* no object of C's lies there */
	mp = find_mp(get16(bda + 0x0e) << 4, 1024);
	mp = mp ? mp : find_mp((get16(bda + 0x13) << 10) - 1024, 1024);
	mp = mp ? mp : find_mp(0xf0000, 0x10000);
	if (!mp) {
		if (demanded)
			check("mptable", false, "none", 0);
		else
			skip("mptable", "there is none");
		return;
	}
	t = (const char *)(u64)get32(mp + 4);
	e = t + 44;
	for (u32 n = get16(t + 34); n--; e += *e ? 8 : 20) {
		if (*e == 2 && get32(e + 4) == ioapic_addr)
			io++;
		if (*e || !(e[3] & 1))
			continue;
		found++;
		boot += (e[3] & 2) && (u8)e[1] == cpus[0].id;
		wrong++;
		for (u32 i = 0; i < nr_cpus; i++)
			wrong -= apic_ids[i] == (u8)e[1];
	}
	check("mptable",
	      !memcmp(t, "PCMP", 4) && !sum_of(t, get16(t + 4)) && !wrong && boot == 1 && io == 1,
	      "CPUs not in the MADT", wrong);
	check("mptable-all", found == nr_cpus, "it has", found);
}

void find_cpus(void)
{
	u32 r[4];

	cpuid(0, r);
	cpus[0].id = apic_read(REG_ID) >> (cpus[0].x2 ? 0 : 24);
	apic_ids[0] = cpus[0].id;
	claimed = 1;
	read_madt();
	mp_table(0);
}

/* --- starting --- */

static volatile struct start_record *record(u32 page)
{
	__asm__("" : "+r"(page));
	return (struct start_record *)(u64)(page + 0x800);
}

static void lay_out(u32 page)
{
	extern struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) gdtr;
	struct start_param *param = (struct start_param *)(u64)(page + 0x900);
	u64 cr3;

	__asm__ volatile("movq %%cr3, %0" : "=r"(cr3));
	memset((void *)(u64)page, 0, 4096);
	memcpy((void *)(u64)page, ap_code, (size_t)(ap_code_end - ap_code));
	*param = (struct start_param){
		.gdt_limit = gdtr.limit, .gdt_base = gdtr.base, .cr3 = (u32)cr3};
}

static void init(u32 i)
{
	__sync_fetch_and_and(&claimed, ~(1ull << i));
	icr(cpus[i].id, ICR_INIT);
}
static void sipi(u32 i, u32 page)
{
	icr(cpus[i].id, ICR_SIPI | page >> 12);
}

/* INIT and SIPI, and until it is there again. */
bool restart(u32 i, u32 page)
{
	u32 before = cpus[i].starts;

	init(i);
	delay_us(200);
	sipi(i, page);
	return WAIT(cpus[i].starts == before + 1);
}

static void say_ids(struct cpu *c, u64 unused)
{
	u32 r[4], max;

	(void)unused;
	cpuid(0, r);
	max = r[0];
	cpuid(1, r);
	ids[c->index][0] = r[1] >> 24;
	ids[c->index][3] = 0;
	if (max >= 11) {
		cpuid(11, r);
		ids[c->index][1] = r[3];
		ids[c->index][3] = r[1];
	}
	ids[c->index][2] = apic_read(REG_ID) >> (c->x2 ? 0 : 24);
}
static void check_ids(void)
{
	u32 wrong = 0;

	on_all(say_ids, 0);
	for (u32 i = 0; i < nr_cpus; i++)
		wrong += ids[i][0] != (u8)apic_ids[i] || ids[i][2] != apic_ids[i] ||
			 (ids[i][3] && ids[i][1] != apic_ids[i]);
	check("ids", !wrong, "CPUs with an id that differs", wrong);
}

/* As Linux does it: INIT asserted and released, 10 ms, SIPI twice. */
void start_all(u64 unused)
{
	u32 missing = 0;

	(void)unused;
	lay_out(PAGE_A);
	lay_out(PAGE_B);
	for (u32 i = 1; i < nr_cpus; i++) {
		icr(cpus[i].id, 0xc500);
		icr(cpus[i].id, 0x8500);
	}
	delay_us(10000);
	for (u32 twice = 0; twice < 2; twice++) {
		for (u32 i = 1; i < nr_cpus; i++)
			sipi(i, PAGE_A);
		delay_us(200);
	}
	for (u32 i = 1; i < nr_cpus; i++)
		missing += !WAIT(cpus[i].starts == 1);
	puts_("SMP: ");
	putd(nr_cpus - missing);
	puts_(" CPUs\n");
	if (missing || lost_cpus)
		give_up("not started, or not at home in the MADT", (u64)missing << 32 | lost_cpus);
	started = true;
	check("start", true, "", 0);
	check_ids();
}

/* --- starting again --- */

static volatile u64 rounds;
static void count_rounds(struct cpu *c, u64 unused)
{
	(void)c, (void)unused;
	for (;;) {
		rounds++;
		pause();
	}
}
static void halt_deaf(struct cpu *c, u64 unused)
{
	(void)c, (void)unused;
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* CMOS shutdown code and warm-reset vector, as for a CPU without a SIPI of its own (MP
 * Specification, B.4). */
static void warm_vector(bool on, u32 page)
{
	volatile u16 *vector = (u16 *)0x467;

	__asm__("" : "+r"(vector));
	vector[0] = 0;
	vector[1] = (u16)(page >> 4);
	outb(0x70, 0x0f);
	outb(0x71, on ? 0x0a : 0);
}

static volatile bool dirty;

/* Something in each register, an interrupt that waits and a timer that will come, when INIT
 * strikes. */
static void make_dirty(struct cpu *c, u64 vector)
{
	cli();
	apic_write(REG_TPR, 0x20);
	apic_write(REG_TIMER, 0x20000 | (u32)vector);
	apic_write(REG_INITIAL, 1000000);
	icr(c->id, ICR_FIXED | (u32)vector);
	wrmsr(MSR_PAT, 0x0007040600070405);
	__asm__ volatile(
		"movq %0, %%cr2; movq %0, %%dr0; movq %1, %%dr7; movq %0, %%xmm0; std" ::"r"(
			0x123456789abcull),
		"r"(0x700ull)
		: "memory");
	dirty = true;
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void set_pat(struct cpu *c, u64 pat)
{
	(void)c;
	wrmsr(MSR_PAT, pat);
}

static void check_registers(u32 i)
{
	volatile struct start_record *r = record(PAGE_B);
	struct cpu *c = &cpus[i];
	u64 before = rdtsc_ordered(), pat = rdmsr(MSR_PAT), base = c->fresh.base;
	u32 got = c->got[VEC_TEST], starts = r->starts, leaf1[4], sum = 0, ds = 0;
	bool x2;

	dirty = false;
	job_start(c, make_dirty, VEC_TEST);
	if (!WAIT(dirty) || !restart(i, PAGE_B))
		give_up("no restart of CPU", i);
	x2 = c->fresh.base >> 10 & 1;
	fence();
	cpuid(1, leaf1);
	check("warm-at-vector", r->starts == starts + 1 && r->cs == PAGE_B >> 4, "CS", r->cs);
	for (u32 k = 0; k < 8; k++)
		sum += k != 3 && r->gpr[k] ? 1u << k : 0;
	for (u32 k = 0; k < 5; k++)
		ds |= r->ds_es_fs_gs_ss[k];
	check("warm-general-registers", !sum && r->eflags == 2 && !ds, "not 0", sum);
	check("warm-edx", r->gpr[3] == leaf1[0], "EDX", r->gpr[3]); /* family, model, stepping */
	check("warm-cr", (r->cr0 & ~0x60000000u) == 0x10 && !r->cr2 && !r->cr3 && !r->cr4, "CR0",
	      r->cr0);
	check("warm-cr0-cd", !(r->cr0 & 0x60000000), "CR0", r->cr0);
	check("warm-efer", !r->efer, "EFER", r->efer);
	check("warm-dr", !r->dr0 && r->dr6 == 0xffff0ff0 && r->dr7 == 0x400, "DR7", r->dr7);
	check("warm-tables",
	      r->gdt_limit == 0xffff && r->idt_limit == 0xffff && !r->gdt_base[0] &&
		      !r->gdt_base[1] && !r->idt_base[0] && !r->idt_base[1],
	      "GDT's limit", r->gdt_limit);
	check("warm-xmm", c->fresh.xmm0 == 0x123456789abc, "XMM0", c->fresh.xmm0);
	check("warm-pat", c->fresh.pat == 0x0007040600070405, "PAT", c->fresh.pat);
	check("warm-tsc", c->fresh.tsc > before, "TSC", c->fresh.tsc);
	check("warm-apic-base",
	      (c->fresh.base & ~0x400ull) == (base & ~0x400ull) && !(base & 0x100), "APIC base",
	      c->fresh.base);
	check("warm-apic-id", c->fresh.id >> (x2 ? 0 : 24) == c->id, "id", c->fresh.id);
	check("warm-apic",
	      c->fresh.svr == 0xff && !c->fresh.tpr && c->fresh.timer == 0x10000 &&
		      !c->fresh.count && c->fresh.lint0 == 0x10000,
	      "SVR and TPR", (u64)c->fresh.svr << 32 | c->fresh.tpr);
	check("warm-apic-logical", c->fresh.ldr == (x2 ? logical_id(i) : 0) && c->fresh.dfr == ~0u,
	      "LDR", c->fresh.ldr);
	delay_us(5000);
	fence();
	check("warm-nothing-pending", c->got[VEC_TEST] == got, "interrupts",
	      c->got[VEC_TEST] - got);
	on_cpu(i, set_pat, pat);
}

/* An AP waits for its SIPI, whatever the warm-reset vector says; one that runs does not hear
 * another. */
static void check_waiting(u32 i)
{
	volatile struct start_record *r = record(PAGE_B);
	u32 starts = cpus[i].starts, in_page = r->starts;
	u64 seen;

	warm_vector(true, PAGE_B);
	init(i);
	delay_us(20000);
	check("warm-waits-for-sipi", cpus[i].starts == starts && r->starts == in_page, "starts",
	      cpus[i].starts - starts);
	sipi(i, PAGE_A);
	check("warm-sipi", WAIT(cpus[i].starts == starts + 1) && r->starts == in_page,
	      "starts at the other page", r->starts - in_page);
	warm_vector(false, 0);

	rounds = 0;
	job_start(&cpus[i], count_rounds, 0);
	WAIT(rounds > 100);
	sipi(i, PAGE_B);
	sipi(i, PAGE_B);
	delay_us(5000);
	seen = rounds;
	check("warm-sipi-ignored",
	      WAIT(rounds > seen + 100) && cpus[i].starts == starts + 1 && r->starts == in_page,
	      "starts", cpus[i].starts - starts);
	restart(i, PAGE_A);
}

/* Restarts from HLT with interrupts on and off, from a loop, and amid interrupts. */
bool restart_some(u32 *seed, u32 times)
{
	for (u32 n = 0; n < times && nr_cpus > 1; n++) {
		u32 i = 1 + random_below(seed, nr_cpus - 1), how = random_below(seed, 4);

		if (how == 1)
			job_start(&cpus[i], halt_deaf, 0);
		if (how == 2)
			job_start(&cpus[i], count_rounds, 0);
		for (u32 k = 0; how == 3 && k < 20; k++)
			icr(cpus[i].id, ICR_FIXED | (VEC_TEST + k));
		if (how != 3)
			delay_us(random_below(seed, 500));
		if (!restart(i, random_below(seed, 2) ? PAGE_A : PAGE_B))
			return check("warm-restart", false, "CPU, how", i << 8 | how);
		on_cpu(i, say_ids, 0);
		if (ids[i][2] != apic_ids[i])
			return check("warm-restart", false, "its id is now", ids[i][2]);
	}
	return true;
}

/* By the shorthand to all others, as firmware does it. */
bool restart_all(void)
{
	u32 missing = 0, start_of[MAX_CPUS];

	for (u32 i = 1; i < nr_cpus; i++)
		start_of[i] = cpus[i].starts;
	claimed = 1;
	icr(0, ICR_OTHERS | ICR_INIT);
	delay_us(1000);
	icr(0, ICR_OTHERS | ICR_SIPI | PAGE_A >> 12);
	for (u32 i = 1; i < nr_cpus; i++)
		missing += !WAIT(cpus[i].starts == start_of[i] + 1);
	return !missing || check("warm-all", false, "not started", missing);
}

void warm(u64 times)
{
	u32 seed = 1;
	bool ok;

	if (nr_cpus == 1) {
		skip("warm", "one CPU");
		return;
	}
	check_waiting(1);
	check_registers(nr_cpus - 1);
	if (restart_some(&seed, times ? (u32)times : 200))
		check("warm-restart", true, "", 0);
	for (u32 i = 0; (ok = restart_all()) && i < 5; i++)
		;
	if (ok)
		check("warm-all", true, "", 0);
	if (!has_x2apic()) {
		skip("warm-x2", "no x2APIC");
		return;
	}
	all_to_mode(true, false);
	prefix = "x2-"; /* the mode stays, SDM vol. 3, 10.12.5.1 */
	check_registers(nr_cpus - 1);
	check("warm-mode", cpus[nr_cpus - 1].fresh.base & 0x400, "APIC base",
	      cpus[nr_cpus - 1].fresh.base);
	prefix = "";
	all_to_mode(false, false);
}

static void init_cpu0(struct cpu *c, u64 unused)
{
	(void)c, (void)unused;
	while (!parked_rsp)
		pause();
	init(0);
}

/* CPU 0 does not wait for a SIPI: it goes to the reset vector, and what is there to 0x467. */
void warm_bsp(u64 unused)
{
	volatile struct start_record *r = record(PAGE_B);
	u32 in_page = r->starts;

	(void)unused;
	if (nr_cpus == 1) {
		skip("warm-bsp", "one CPU");
		return;
	}
	warm_vector(true, PAGE_B);
	cli();
	job_start(&cpus[1], init_cpu0, 0);
	park();
	sti();
	job_wait(&cpus[1]);
	warm_vector(false, 0);
	pic_init();
	check("warm-bsp", r->starts == in_page + 1 && (cpus[0].fresh.base & 0x100), "APIC base",
	      cpus[0].fresh.base);
}
