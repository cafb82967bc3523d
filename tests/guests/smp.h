/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the SMP guest share; smp.c says what the guest does. */
#pragma once
#include "acpi.h"

#define MAX_CPUS 64
#define ALL_CPUS (~0ull >> (64 - nr_cpus))
#define PAGE_A 0x8000u /* where APs start */
#define PAGE_B 0x9000u

enum {
	VEC_FENCE = 0x30, /* lower than all of VEC_TEST: it is served behind them */
	VEC_WAKE,
	VEC_ACK,
	VEC_TLB,
	VEC_TIMER,
	VEC_PIN,
	VEC_PING,
	VEC_PONG,
	VEC_TICK,
	VEC_TEST = 0x40,
	VEC_TEST_END = 0xf0,
	VEC_SPURIOUS = 0xff,
};

/* ap_code's records, at REC and PARAM of smp.asm */
struct start_record {
	u32 gpr[8]; /* EAX EBX ECX EDX ESI EDI EBP ESP */
	u32 cr0, cr2, cr3, cr4, dr0, dr6, dr7, efer, starts, eflags;
	u16 cs, ds_es_fs_gs_ss[5];
	u16 gdt_limit, gdt_base[2], idt_limit, idt_base[2];
};
_Static_assert(offsetof(struct start_record, cr0) == 32, "smp.asm");
_Static_assert(offsetof(struct start_record, starts) == 64, "smp.asm");
_Static_assert(offsetof(struct start_record, cs) == 72, "smp.asm");
_Static_assert(offsetof(struct start_record, idt_limit) == 90, "smp.asm");
struct start_param {
	u16 gdt_limit;
	u32 gdt_base;
	u16 pad;
	u32 cr3;
} __attribute__((packed));
_Static_assert(offsetof(struct start_param, cr3) == 8, "smp.asm");

struct cpu {
	struct cpu *self; /* GS:0 */
	u32 index, id;
	volatile u32 got[256], nmis; /* interrupts by vector */
	volatile u32 starts;
	volatile bool x2;         /* in x2APIC mode */
	volatile bool halting;    /* wants a wake-up when another CPU has done its job */
	volatile u32 asked, done; /* jobs */
	void (*volatile job)(struct cpu *c, u64 arg);
	volatile u64 arg;
	u32 seed;
	struct {
		u64 base, tsc, pat, xmm0;
		u32 id, svr, tpr, timer, count, lint0, ldr, dfr;
	} fresh; /* its APIC and what INIT must keep, as the last start found them */
};

extern struct cpu cpus[MAX_CPUS];
extern u32 apic_ids[MAX_CPUS], nr_cpus, lost_cpus;
extern volatile u64 parked_rsp; /* not 0: CPU 0 is in park() */
extern volatile u64 claimed;    /* by ap64 in smp.asm: whose stack is in use */
extern u8 ap_stacks[MAX_CPUS][16384];
extern char ap_code[], ap_code_end[];
extern char try_read_at[], try_write_at[], try_failed[];
extern bool quiet;         /* only failures are printed */
extern const char *prefix; /* of the names of checks */
extern u64 tsc_per_ms, apic_per_ms, patience;
extern u32 ioapic_addr, ioapic_pin; /* of the PIT */
extern bool started, cluster_model;
extern bool xapic_only; /* leave x2APIC mode alone */
extern bool one_way;    /* Bochs: an APIC that was disabled stays so, and x2APIC mode with it */

/* Called in the interrupt, before its EOI. */
extern void (*volatile on_vector[256])(struct cpu *c, u32 vector);

void park(void);
void resume(void);
bool try_read(u64 addr, u64 *value);
bool try_write(u64 addr, u64 value);

/* smp.c */
void *memcpy(void *d, const void *s, size_t n);
void *memset(void *d, int c, size_t n);
bool check(const char *name, bool ok, const char *why, u64 n);
void skip(const char *name, const char *why);
void __attribute__((noreturn)) give_up(const char *what, u64 n);
void job_start(struct cpu *c, void (*job)(struct cpu *, u64), u64 arg);
void job_wait(struct cpu *c);
void on_cpu(u32 i, void (*job)(struct cpu *, u64), u64 arg);
void on_all(void (*job)(struct cpu *, u64), u64 arg);
u32 random_below(u32 *seed, u32 n);
void note_own_apic_mode(struct cpu *c);
void load_idt(void);

/* smp_cpus.c: who is there, and starting them */
void find_cpus(void);
void mp_table(u64 demanded);
void start_all(u64 unused);
void warm(u64 times);
void warm_bsp(u64 unused);
bool restart(u32 i, u32 page);
bool restart_some(u32 *seed, u32 times);
bool restart_all(void);

/* smp_hotplug.c */
void hotplug(u64 rounds);

/* smp_apic.c */
u32 apic_read(u32 reg);
void apic_write(u32 reg, u32 v);
void icr(u32 dest, u32 low);
void apic_setup(struct cpu *c);
void apic_tick(bool on);
bool has_x2apic(void);
u32 logical_id(u32 i);
void to_mode(struct cpu *c, u64 x2);
void all_to_mode(bool x2, bool cluster);
void fence(void);

/* smp_ipi.c, smp_storm.c */
void ipi(u64 unused);
bool ipi_some(u32 *seed, u32 times);
void ipi_storm(u64 times);
bool storm(u32 times);
void storm_for_ever(struct cpu *c, u64 unused);
void round_trip(u64 unused);

/* smp_mem.c */
void tlb(u64 rounds);
bool tlb_some(u32 *seed, u32 rounds);
bool locks(u32 rounds);

/* smp_time.c */
void calibrate(void);
void delay_us(u64 us);
void timers(u64 unused);
bool timers_some(void);
void tsc(u64 unused);
void tsc_khz(u64 want);
void tsc_set(u64 unused);
bool tsc_some(u32 hops);
void ioapic(u64 unused);
bool ioapic_some(void);
void spinners(u64 million_ticks);

#define REG_ID      0x20
#define REG_TPR     0x80
#define REG_EOI     0xb0
#define REG_LDR     0xd0
#define REG_DFR     0xe0
#define REG_SVR     0xf0
#define REG_TIMER   0x320
#define REG_LINT0   0x350
#define REG_LINT1   0x360
#define REG_INITIAL 0x380
#define REG_CURRENT 0x390
#define REG_DIVIDE  0x3e0

#define ICR_FIXED   0x4000 /* asserted, edge */
#define ICR_LOWEST  0x4100
#define ICR_NMI     0x4400
#define ICR_INIT    0x4500
#define ICR_SIPI    0x4600
#define ICR_EXTINT  0x4700
#define ICR_LOGICAL 0x800
#define ICR_SELF    0x40000
#define ICR_ALL     0x80000
#define ICR_OTHERS  0xc0000

#define MSR_APIC_BASE 0x1b
#define MSR_PAT       0x277

static inline struct cpu *this_cpu(void)
{
	struct cpu *c;

	__asm__ volatile("movq %%gs:0, %0" : "=r"(c));
	return c;
}
static inline void pause(void)
{
	__asm__ volatile("pause" ::: "memory");
}
static inline void cli(void)
{
	__asm__ volatile("cli" ::: "memory");
}
static inline void sti(void)
{
	__asm__ volatile("sti" ::: "memory");
}
static inline u64 rdtsc_ordered(void)
{
	__asm__ volatile("lfence" ::: "memory");
	return rdtsc();
}

/*
 * Until cond holds, on CPU 0: spinning a little, then in HLT, so that as many CPUs as there may be
 * leave the host's to those that work. Who ends a job wakes it, and so does its tick. False when
 * patience is at its end.
 */
#define WAIT(cond)                                                          \
	({                                                                  \
		u64 end_ = rdtsc() + patience;                              \
		bool ok_;                                                   \
		for (u32 n_ = 0; !(ok_ = (cond)) && rdtsc() < end_; n_++) { \
			if (n_ < 50) {                                      \
				pause();                                    \
				continue;                                   \
			}                                                   \
			cpus[0].halting = true;                             \
			cli();                                              \
			__sync_synchronize();                               \
			if (!(cond))                                        \
				sti_hlt_cli();                              \
			sti();                                              \
			cpus[0].halting = false;                            \
		}                                                           \
		ok_;                                                        \
	})
