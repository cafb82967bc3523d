/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end. panic() stops the machine, because an invariant of our own is broken and nothing that any
 * pCPU does may be trusted; cpu_park() puts one pCPU to sleep and leaves the others alone. In an
 * emulator the machine then goes off, so that whoever started it gets an answer; a real one
 * keeps its last words on the screen and on the line.
 */
#include <stdarg.h>
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pci.h"
#include "arch/x86_64/pcpu_arch.h"
#include "lib/log.h"
#include "lib/string.h"
#include "lib/symbols.h"

#define MAX_FRAMES 32

static void (*stop_hook)(void);
static u32 panicking; /* index + 1 of the pCPU */

void machine_on_stop(void (*fn)(void))
{
	stop_hook = fn;
}

void cpu_park(void)
{
	for (;;)
		__asm__ volatile("cli; hlt" ::: "memory");
}

void cpu_stop(void)
{
	if (stop_hook)
		stop_hook();
	this_cpu()->state = PCPU_DEAD;
	cpu_park();
}

void machine_stop_others(void)
{
	struct pcpu *me = this_cpu();

	for (u32 i = 0; apic_ready() && i < nr_pcpus; i++) {
		struct pcpu *p = pcpus[i];
		u32 state = p->state;

		if (p == me || (state != PCPU_ONLINE && state != PCPU_OUT))
			continue;
		((struct pcpu_arch *)p->arch)->stop = true;
		apic_send_nmi(p->apic_id);
		/* Up to about 0.1 s: it may be in SMM, or in a guest on a slow emulator. */
		for (unsigned n = 0; n < 1000000 && p->state != PCPU_DEAD; n++)
			cpu_relax();
	}
	/* The NMI may have stopped one while it held a lock that the last words need. */
	serial_break_lock();
	log_break_lock();
}

static void out(const char *s)
{
	size_t n = strlen(s);

	while (n) {
		size_t k = serial_write(s, n);

		if (!k)
			serial_drain();
		if (!k && !serial_space())
			return; /* the line is dead */
		s += k;
		n -= k;
	}
}

static void say(const char *fmt, ...) __format(1, 2);
static void say(const char *fmt, ...)
{
	char buf[256];
	size_t n = log_prefix(buf, sizeof(buf));
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf + n, sizeof(buf) - n, fmt, ap);
	va_end(ap);
	out(buf);
	out("\r\n");
	fbcon_line(buf);
}

/* The log's form, so that readers of channel 0 need no second one. */
static void say_address(const char *what, u64 at)
{
	u64 off = 0;
	const char *name = symbol_lookup(at, &off);

	if (name)
		say("panic: %s 0x%016lx %s+0x%lx", what, at, name, off);
	else
		say("panic: %s 0x%016lx", what, at);
}

/* Frames go up one stack; each pointer is checked before it is followed. */
static void backtrace(u64 rbp)
{
	for (unsigned n = 0; n < MAX_FRAMES; n++) {
		const u64 *f = (const u64 *)rbp;

		if (!IS_ALIGNED(rbp, 8) || !paging_on_stack(rbp) || !paging_on_stack(rbp + 8) || !f[1])
			return;
		say_address("  called from", f[1]);
		if (f[0] <= rbp)
			return;
		rbp = f[0];
	}
}

/* Only the first pCPU to come here speaks; and if speaking itself fails, once is enough. */
static void begin(void)
{
	u32 none = 0, me = this_cpu()->index + 1;

	irq_disable();
	if (!__atomic_compare_exchange_n(&panicking, &none, me, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		if (none == me)
			out("\r\npanic: once more while printing\r\n");
		if (none != me)
			cpu_stop();
		serial_drain();
		power_off_emulator();
		cpu_park();
	}
	machine_stop_others();
	this_arch()->nr_locks = 0;
	/* To channel 0, out of whatever line a guest had begun (docs/console.md). */
	out("\033_d0\033\\\r\n");
}

static void end(void) __noreturn;
static void end(void)
{
	say("panic: pCPU %u of %u; the hypervisor stops here", this_cpu()->index, nr_pcpus);
	serial_drain();
	pci_stop_dma();
	if (stop_hook)
		stop_hook();
	power_off_emulator();
	cpu_park();
}

static void announce(const char *text)
{
	out("\033_d!panic ");
	out(text);
	out("\033\\");
	say("panic: %s", text);
}

void panic(const char *fmt, ...)
{
	char text[160];
	va_list ap;

	begin();
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	announce(text);
	backtrace((u64)__builtin_frame_address(0));
	end();
}

void panic_trap(const struct trap_regs *r, const char *what)
{
	char text[160];

	begin();
	snprintf(text, sizeof(text), "%s, error 0x%lx, at 0x%lx, cr2 0x%lx", what, r->error, r->rip, read_cr2());
	announce(text);
	say("panic: rax %016lx rbx %016lx rcx %016lx rdx %016lx", r->rax, r->rbx, r->rcx, r->rdx);
	say("panic: rsi %016lx rdi %016lx rbp %016lx rsp %016lx", r->rsi, r->rdi, r->rbp, r->rsp);
	say("panic: r8  %016lx r9  %016lx r10 %016lx r11 %016lx", r->r8, r->r9, r->r10, r->r11);
	say("panic: r12 %016lx r13 %016lx r14 %016lx r15 %016lx", r->r12, r->r13, r->r14, r->r15);
	say("panic: cs:rip %lx:%016lx rflags %lx cr0 %lx cr3 %lx cr4 %lx", r->cs, r->rip, r->rflags,
	    read_cr0(), read_cr3(), read_cr4());
	say_address("at", r->rip);
	/* A jump to nowhere: the return address is still on top of the stack. */
	if (!symbol_lookup(r->rip, &(u64){0}) && paging_on_stack(r->rsp))
		say_address("  called from", *(const u64 *)r->rsp);
	backtrace(r->rbp);
	end();
}
