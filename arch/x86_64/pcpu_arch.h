/* SPDX-License-Identifier: BSD-2-Clause */
/* arch's own part of a pCPU, and what the files of this room call of each other at bring-up. */
#pragma once
#include "arch/x86_64/percpu.h"
#include "arch/x86_64/window.h"
#include "arch/x86_64/x86.h"

/* SDM vol. 3, figure 8-11 */
struct __packed tss64 {
	u32 reserved0;
	u64 rsp[3];
	u64 reserved1;
	u64 ist[7];
	u64 reserved2;
	u16 reserved3;
	u16 iomap_base;
};
static_assert(sizeof(struct tss64) == TSS_LIMIT + 1, "TSS");

/* Slots of the IST, from 1 on */
enum { IST_NMI = 1, IST_MC, IST_DF, IST_END };

#define RESERVE_FRAMES 64
#define LOCK_DEPTH 8

struct pcpu_arch {
	u64 gdt[GDT_ENTRIES + 3] __aligned(64);
	struct tss64 tss __aligned(128); /* inside one page (SDM vol. 3, 8.2.1) */
	/* window.c */
	char *window_base;
	u64 *window_pte;   /* entries of the 4 KiB slots */
	u64 *block_pde;	   /* entry of the 2 MiB slot */
	u32 window_depth;
	bool block_open;
	/* reserve.c */
	u32 nr_reserve;
	hpa_t reserve[RESERVE_FRAMES];
	/* lockcheck.c */
	u32 nr_locks, locks[LOCK_DEPTH];
	volatile bool stop; /* set by another pCPU before it sends the NMI that stops this one */
	u64 spurious;
};

static inline struct pcpu_arch *this_arch(void)
{
	return this_cpu()->arch;
}

/* percpu.c */
void percpu_init_boot(void); /* GS of the boot CPU: before anything that may look at this_cpu() */
struct pcpu *percpu_create(u32 apic_id, u32 acpi_uid); /* NULL: out of memory or of room */
void percpu_load(struct pcpu *p); /* GS of the running CPU */

/* gdt.c */
void gdt_load(struct pcpu_arch *a); /* fill and load GDT and TSS */

/* paging.c */
void paging_early_init(void); /* the direct map's address for the low 4 GiB, in the boot tables */
int paging_cpu_map(struct pcpu *p); /* windows and stacks; sets kstack_top. -ENOMEM */
void paging_cpu_enable(void); /* CR0, CR4, EFER, PAT, CR3, IST of the running CPU */
hpa_t paging_root(void);
extern struct pt_env paging_env; /* where the host's tables come from */
bool paging_live(void); /* our own tables are loaded */
bool paging_on_stack(u64 va); /* is the 8-byte word at va on a mapped stack of a pCPU (or the boot stack)? */
int paging_map_kernel(u64 va, hpa_t pa, u64 size, u32 prot, u32 memtype);
u64 *paging_entry(u64 va, unsigned level); /* address of the entry for va; NULL: no table there */

/* traps.c */
struct trap_regs {
	u64 r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	u64 vector, error;
	u64 rip, cs, rflags, rsp, ss;
};
static_assert(sizeof(struct trap_regs) == 22 * 8, "as traps.asm pushes it");

/* log.c, serial.c, panic.c */
void log_set_start(u64 tsc); /* the log's time 0 */
size_t log_prefix(char *buf, size_t size); /* "[SECONDS.MICROSECONDS] " */
void log_break_lock(void);   /* panic: whoever held it has been stopped */
void serial_break_lock(void);
void panic_trap(const struct trap_regs *r, const char *what) __noreturn;
void cpu_park(void) __noreturn; /* this pCPU sleeps for ever, interrupts off */
/* On a pCPU that is told to stop: backend off, then park. Runs in the NMI handler. */
void cpu_stop(void) __noreturn;

/* apic.c */
void apic_cpu_init(void); /* APs */
u32 apic_id(void);
void apic_eoi(void);
bool apic_in_service(u8 vector);
void apic_send_nmi(u32 dest);
void apic_send_init(u32 dest);
void apic_send_sipi(u32 dest, u8 page);
void apic_timer_free_run(void); /* count down from ~0 without an interrupt, for calibration */
u32 apic_timer_count(void);
void apic_timer_calibrated(u64 khz); /* takes it back into use */
bool apic_ready(void);

/* ioapic.c */
void pic_mask(void); /* both 8259 */
void ioapic_init(void); /* masks every pin */

/* tsc.c */
void udelay(u64 us);

/* iommu.c */
void iommu_quiesce(void); /* off: after pci_quiesce(), before a device's interrupt is expected */
