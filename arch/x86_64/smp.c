/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every enabled CPU of the MADT, one after the other: INIT, SIPI, SIPI (SDM vol. 3, 9.4.4), then it
 * loads our tables and reports. A CPU that does not answer is left out.
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pcpu_arch.h"
#include "arch/x86_64/pt.h"
#include "lib/log.h"
#include "lib/string.h"

extern const char trampoline_start[], trampoline_end[], trampoline_fields[];

struct __packed fields {
	u64 cr3, stack, cpu, entry;
	u32 far_offset, far_selector;
	u16 gdt_limit;
	u32 gdt_base;
};

bool tsc_in_step = true;
static void (*ap_main)(void);
/* The handshake by which the TSCs are compared: the number of the step, and the AP's reading. */
static volatile u32 sync_step;
static volatile u64 sync_tsc;
#define SYNC_ROUNDS 8

static void wait_step(u32 step)
{
	while (sync_step != step)
		cpu_relax();
}

/* Answers each odd step with a reading and an even one. */
static void sync_answer(void)
{
	for (u32 n = 0; n < SYNC_ROUNDS; n++) {
		wait_step(2 * n + 1);
		sync_tsc = rdtsc_ordered();
		__atomic_store_n(&sync_step, 2 * n + 2, __ATOMIC_RELEASE);
	}
}

/* Either it says that it is there or the boot CPU gives it up; never both. */
static bool leave_starting(struct pcpu *p, u32 state)
{
	u32 old = PCPU_STARTING;

	return __atomic_compare_exchange_n(&p->state, &old, state, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_SEQ_CST);
}

static void ap_start(struct pcpu *p) __noreturn;
static void ap_start(struct pcpu *p)
{
	percpu_load(p);
	paging_cpu_enable();
	traps_init_ap();
	machine_check_init();
	apic_cpu_init();
	if (fpu_cpu_init()) {
		log_err("CPU %u (APIC id %u) lacks extended states that the boot CPU has: it stays out",
			p->index, p->apic_id);
		p->state = PCPU_OUT;
		for (;;)
			__asm__ volatile("hlt" ::: "memory"); /* an NMI may stop it for good */
	}
	frame_reserve_refill();
	if (!leave_starting(p, PCPU_ONLINE))
		cpu_park(); /* too late */
	sync_answer();
	ap_main();
	panic("CPU %u came back from its main function", p->index);
}

/* The AP's reading must lie between two of ours; by how much it does not is the difference. */
static void check_tsc(const struct pcpu *p)
{
	u64 off = 0, worst = 0;

	for (u32 n = 0; n < SYNC_ROUNDS; n++) {
		u64 before = rdtsc_ordered(), after;

		__atomic_store_n(&sync_step, 2 * n + 1, __ATOMIC_RELEASE);
		wait_step(2 * n + 2);
		after = rdtsc_ordered();
		off = sync_tsc < before ? before - sync_tsc : sync_tsc > after ? sync_tsc - after : 0;
		worst = MAX(worst, off);
	}
	sync_step = 0;
	if (!worst)
		return;
	tsc_in_step = false;
	log_warn("CPU %u: its TSC is %lu ns or more apart from the boot CPU's; guests' clocks may jump",
		 p->index, tsc_to_ns(worst));
}

static void set_fields(char *page, hpa_t low, hpa_t cr3, struct pcpu *p)
{
	struct fields *f = (void *)(page + (trampoline_fields - trampoline_start));

	memcpy(page, trampoline_start, trampoline_end - trampoline_start);
	f->cr3 = cr3;
	f->stack = (u64)p->kstack_top;
	f->cpu = (u64)p;
	f->entry = (u64)ap_start;
	f->far_offset += low;
	f->gdt_base += low;
}

static bool wait_online(struct pcpu *p, u64 us)
{
	u64 end = rdtsc() + ns_to_tsc(us * 1000);

	while (p->state == PCPU_STARTING && rdtsc() < end)
		cpu_relax();
	return p->state != PCPU_STARTING;
}

/*
 * 10 ms after INIT, which the manuals ask for, and 200 us between the two SIPIs. It has 2 s to
 * come, for an emulator on a busy machine; one that is given up gets INIT, lest it wakes in the
 * next one's trampoline.
 */
static void start(struct pcpu *p, hpa_t low, hpa_t cr3)
{
	char *page = window_open(low);

	set_fields(page, low, cr3, p);
	window_close(page);
	apic_send_init(p->apic_id);
	udelay(10000);
	for (unsigned n = 0; n < 2; n++) {
		apic_send_sipi(p->apic_id, low >> PAGE_SHIFT);
		if (wait_online(p, n ? 2000000 : 200))
			break;
	}
	if (leave_starting(p, PCPU_DEAD)) {
		apic_send_init(p->apic_id);
		log_err("CPU with APIC id %u does not answer INIT and SIPI: it stays out", p->apic_id);
	} else if (p->state == PCPU_ONLINE) {
		check_tsc(p);
	}
}

/*
 * Tables for the moment between real mode and our own: the upper half is ours, the lower half holds
 * the trampoline's page alone. All of them lie below 4 GiB, for CR3 is loaded with 32 bits.
 */
static bool build_tables(struct pt *pt, hpa_t low)
{
	bool flush = false;
	u64 *to, *from = frame_va(paging_root());

	if (pt_init(pt, &pt_host_format, &paging_env, 4) ||
	    pt_map(pt, low, low, PAGE_SIZE, PT_RX, PT_WB, &flush))
		return false;
	to = frame_va(pt->root);
	memcpy(to + 256, from + 256, 256 * sizeof(*to));
	return true;
}

static void drop_tables(struct pt *pt)
{
	memset((u64 *)frame_va(pt->root) + 256, 0, 256 * sizeof(u64));
	pt_destroy(pt);
}

static void start_cpu(u32 id, u32 uid, hpa_t low)
{
	struct pcpu *p = percpu_create(id, uid);
	struct pt pt;

	/* Its windows and stacks go into our tables first: the copy must have them. */
	if (!p || paging_cpu_map(p) || !build_tables(&pt, low)) {
		log_err("no memory for the CPU with APIC id %u: it stays out", id);
		if (p)
			p->state = PCPU_DEAD;
		return;
	}
	start(p, low, pt.root);
	/* One that may still wake up late keeps its tables. */
	if (p->state != PCPU_DEAD)
		drop_tables(&pt);
}

void smp_start(void (*entry)(void))
{
	hpa_t low = frame_low_page();
	u32 others = 0, online = 0;

	ap_main = entry;
	for (u32 i = 0; i < acpi.nr_cpus; i++) {
		if (acpi.cpu[i].apic_id == this_cpu()->apic_id) {
			this_cpu()->acpi_uid = acpi.cpu[i].uid;
			continue;
		}
		others++;
		if (low != HPA_NONE)
			start_cpu(acpi.cpu[i].apic_id, acpi.cpu[i].uid, low);
	}
	if (others && low == HPA_NONE)
		log_warn("no free page below 1 MiB to start CPUs from: the boot CPU runs alone");
	for (u32 i = 0; i < nr_pcpus; i++)
		online += pcpus[i]->state == PCPU_ONLINE;
	log_info("%u of %u CPUs online", online, others + 1);
}
