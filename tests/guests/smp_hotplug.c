/* SPDX-License-Identifier: BSD-2-Clause */
/* A CPU that comes and goes, by QEMU's registers. "plug" and "unplug" ask whoever reads the console to have it done. */
#include "smp.h"

#define SELECT	0xcd8
#define FLAGS	0xcdc
#define COMMAND 0xcdd
#define DATA	0xce0
#define GPE0	0x620
enum { THERE = 1, COME = 2, TO_GO = 4, EJECT = 8 };
#define PAT_RESET 0x0007040600070406ull

static volatile u64 laps;

static u8 flags(u32 i)
{
	outl(SELECT, i);
	return inb(FLAGS);
}

/* At work, with a timer that ticks and something where a reset must find it. */
static void busy(struct cpu *c, u64 unused)
{
	(void)c, (void)unused;
	wrmsr(MSR_PAT, PAT_RESET - 1);
	__asm__ volatile("movq %0, %%xmm0" ::"r"(0x123456789abcull));
	apic_write(REG_TIMER, 0x20000 | VEC_TEST);
	apic_write(REG_INITIAL, 1000000);
	for (;;) {
		laps++;
		pause();
	}
}

static bool stands(void)
{
	for (u32 n = 0; n < 20; n++) {
		u64 was = laps;

		delay_us(50000);
		if (laps == was)
			return true;
	}
	return false;
}

/* Whatever it is sent, it is not there; and it takes from nobody what is for one of all. */
static void check_deaf(u32 i)
{
	static const u32 sent[] = {ICR_FIXED | VEC_TEST, ICR_NMI, ICR_INIT, ICR_SIPI | PAGE_A >> 12,
				   ICR_SIPI | PAGE_A >> 12};
	u32 starts = cpus[i].starts, got = cpus[0].got[VEC_TEST];
	u64 was = laps;

	__sync_fetch_and_and(&claimed, ~(1ull << i));
	for (u32 k = 0; k < sizeof(sent) / sizeof(*sent); k++) {
		icr(cpus[i].id, sent[k]);
		icr(0, ICR_OTHERS | sent[k]);
		delay_us(1000);
	}
	for (u32 k = 0; k < 10; k++) {
		icr(cpus[0].x2 ? 0xffff : 0xff, ICR_LOWEST | ICR_LOGICAL | VEC_TEST);
		delay_us(100);
	}
	check("hotplug-lowest", WAIT(cpus[0].got[VEC_TEST] == got + 10), "taken", cpus[0].got[VEC_TEST] - got);
	check("hotplug-deaf", cpus[i].starts == starts && laps == was && !lost_cpus && flags(i) == 0, "starts",
	      cpus[i].starts - starts);
}

static void comes(u32 i)
{
	struct cpu *c = &cpus[i];

	puts_("SMP: plug\n");
	check("hotplug-comes", WAIT(flags(i) == (THERE | COME)), "flags", flags(i));
	outb(COMMAND, 0);
	check("hotplug-event", (inb(GPE0) & 4) && inl(DATA) == i, "GPE 0", inb(GPE0));
	outb(FLAGS, COME);
	outb(GPE0, 4);
	check("hotplug-told", flags(i) == THERE && !(inb(GPE0) & 4), "flags", flags(i));
	nr_cpus = i + 1;
	if (!restart(i, PAGE_A))
		give_up("no start of CPU", i);
	check("hotplug-fresh", c->fresh.base == 0xfee00800 && c->fresh.pat == PAT_RESET && !c->fresh.xmm0, "PAT",
	      c->fresh.pat);
	check("hotplug-fresh-apic", c->fresh.svr == 0xff && !c->fresh.tpr && c->fresh.timer == 0x10000 &&
		      !c->fresh.count && c->fresh.lint0 == 0x10000, "SVR", c->fresh.svr);
}

/* Only what was asked to go goes: not this one yet, and never the first. */
static void stays(u32 i)
{
	u64 seen;

	job_start(&cpus[i], busy, 0);
	flags(0);
	outb(FLAGS, EJECT);
	flags(i);
	outb(FLAGS, EJECT);
	seen = laps;
	check("hotplug-stays", WAIT(laps > seen + 100) && flags(0) == THERE, "laps", laps);
	check("hotplug-comes-again", flags(i) == (THERE | COME), "flags", flags(i));
	outb(FLAGS, COME);
	restart(i, PAGE_A);
}

static void goes(u32 i)
{
	puts_("SMP: unplug\n");
	check("hotplug-asked", WAIT(flags(i) == (THERE | TO_GO)), "flags", flags(i));
	outb(FLAGS, TO_GO);
	laps = 0;
	job_start(&cpus[i], busy, 0);
	check("hotplug-asked-only", WAIT(laps > 100) && flags(i) == THERE, "flags", flags(i));
	outb(FLAGS, EJECT);
	check("hotplug-goes", flags(i) == 0, "flags", flags(i));
	nr_cpus = i;
	check("hotplug-stops", stands(), "laps", laps);
}

void hotplug(u64 rounds)
{
	u32 i = nr_cpus;

	if (i == MAX_CPUS || flags(i)) {
		check("hotplug", false, "not to come", i);
		return;
	}
	apic_ids[i] = cpus[i].id = i;
	for (u64 n = 0; n < rounds; n++) {
		check_deaf(i);
		comes(i);
		stays(i);
		all_to_mode((n & 1) && has_x2apic(), false);
		goes(i);
	}
	check_deaf(i);
	all_to_mode(false, false);
}
