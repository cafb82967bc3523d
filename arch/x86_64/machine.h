/* SPDX-License-Identifier: BSD-2-Clause */
/* The machine around the CPU: tables, interrupts, time, power. What the vmm may call of arch/. */
#pragma once
#include "lib/types.h"
#include "boot/boot_info.h"

/* --- bring-up, in the order hv_main() calls them (arch/x86_64/main.c) --- */
void serial_init(void);		/* first of all: COM1 at 0x3f8, polled; 115200 8n1 */
void serial_irq_init(void);	/* later: RX and TX by interrupt */
void traps_init(void);		/* GDT, TSS with IST stacks, IDT: boot CPU */
void traps_init_ap(void);
void machine_check_init(void); /* each CPU: let errors be signalled */
void paging_init(const struct boot_info *bi); /* our own tables: W^X, NX, SMEP, SMAP, guard pages */
void paging_check(void);	/* walk the live tables: panics on a page both writable and executable, or
				 * of the guests' pool; while no VM lives, for one's open window is such a page */
int acpi_init(hpa_t rsdp);	/* RSDP/XSDT, MADT, MCFG, FADT, HPET; -ENOENT: none */
void apic_init(void);		/* xAPIC or x2APIC, as found */
void clock_init(void);		/* calibrates the TSC */
void smp_start(void (*entry)(void)); /* every CPU of the MADT; entry() runs on each and never returns */

/* --- time: host TSC ticks; all pCPUs are assumed in step once smp_start() has checked them --- */
extern u64 tsc_khz;
extern bool tsc_in_step; /* smp_start() saw no difference between any two pCPUs' */
extern bool tsc_deadline_ok; /* APIC timer has TSC-deadline mode */
u64 tsc_to_ns(u64 ticks);
u64 ns_to_tsc(u64 ns);
/* Arm this pCPU's one-shot timer: IRQ at or soon after `tsc` (may come early for far deadlines); ~0: disarm. */
void host_timer_arm(u64 tsc);
/* Wall clock, ns since 1970, right to the second that the CMOS RTC told at boot; without an RTC it began at 0. */
u64 wallclock_ns(void);

/* --- interrupts --- */
enum host_vector {
	VEC_TIMER = 0xf0,    /* host_timer_arm */
	VEC_KICK = 0xf1,     /* make the vCPU leave the guest / the idle loop look again */
	VEC_STOP = 0xf2,     /* panic and power-off stop the others (NMI is used where it must) */
	VEC_SERIAL = 0xe0,
	VEC_KEYBOARD = 0xe1,
	VEC_DISK = 0xe2,     /* all the disks that the host drives */
	VEC_NIC = 0xe3,	     /* all its network cards */
	VEC_VSOCK = 0xe4,    /* the boot CPU's part of the guests' sockets */
	VEC_SPURIOUS = 0xff,
};
typedef void (*irq_handler_t)(void);
/* Handlers run with interrupts off on the pCPU that took the interrupt; EOI is done for them. */
void irq_set_handler(u8 vector, irq_handler_t fn);
int ioapic_route_isa(u8 irq, u8 vector, u32 apic_id); /* -ENODEV: no I/O APIC has that pin */
void ipi_send(u32 pcpu_index, u8 vector);
void irq_recheck(void); /* this CPU's waiting interrupts are signalled to it again, should one have been lost */

/* --- the serial port under the console --- */
/* Queue bytes; returns how many fitted (the ring is 64 KiB). Sends at once what the UART takes. */
size_t serial_write(const void *buf, size_t n);
void serial_drain(void);	/* wait until all is sent (bounded): panic, power-off */
size_t serial_space(void);
void serial_set_rx(void (*fn)(u8 byte)); /* called from the RX interrupt, boot CPU */
void serial_poll_rx(void); /* take what waits, where there is no interrupt; sends what it can, too */
bool serial_must_poll(void); /* no interrupt: call serial_poll_rx() every 10 ms or so, idle or not */
bool serial_idle(void);	/* nothing waits to be sent */

/* --- log sink and end of the machine --- */
/* The console (vmm/console.c) takes over the log from the bare serial port. NULL: back to bare. */
/* fn gets each line complete ("[SECONDS.MICROSECONDS] level text") without CR LF, in order, with interrupts
 * off and the log's lock held: it must not log. */
void log_set_sink(void (*fn)(int level, const char *line));
void log_set_level(int level);	   /* enum log_level; LOG_INFO at start */
/* The first whole line at *pos or behind it that is still kept (the newest 64 KiB are), cut to n bytes; *pos becomes
 * where the next one is. Begin with 0. false: there is none yet. Any pCPU. */
bool log_read(u64 *pos, char *line, size_t n);
u64 log_lost(void);		   /* lines that found no room in the serial ring */
void power_off(void) __noreturn;   /* ACPI S5, then the emulators' ports, then halt */
void power_reset(void) __noreturn; /* FADT reset register, 0xcf9, 0x64, triple fault */
/* Other pCPUs: backend off, halted; bounded wait. By NMI, so that it works from panic(). */
void machine_stop_others(void);
/* fn is called on every pCPU that machine_stop_others() or panic() stops, in an NMI handler: hv->cpu_disable. */
void machine_on_stop(void (*fn)(void));
/* The emulators' own ports, nothing else; returns where there is no emulator. */
void power_off_emulator(void);
/* Nothing can be started: an emulator goes off, a real machine keeps its last words on the screen. */
void machine_give_up(void) __noreturn;
/* Before anything was started: event `refused`, the line, the end. */
void boot_refuse(const char *fmt, ...) __noreturn __format(1, 2);

/* --- what hv_main() ends in; the vmm defines them --- */
void vmm_start(const struct boot_info *bi) __noreturn; /* boot CPU */
void vmm_ap_start(void) __noreturn;		       /* each other CPU */
