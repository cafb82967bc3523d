/* SPDX-License-Identifier: BSD-2-Clause */
/* The hostile guest's other CPU, which gets the first one out of where it is stuck; storms between the two. */
#include "hostile.h"
#include "noted.h"

#define TICK_MS 2
#define TIMER_PER_MS 1000000u /* ticks of the APIC's timer at divide by 1: Dalang's */

extern u8 ap_stack[4096];
u8 ap_stack[4096] __attribute__((aligned(16)));
static u8 warm_stack[8192] __attribute__((aligned(16)));

/* INIT of CPU 0 goes on at the warm-reset vector if the CMOS says so. */
void cpus_set_up(void)
{
	start_page(AP_PAGE, watchdog_entry, ap_stack + sizeof(ap_stack), gdt, sizeof(gdt) - 1, clean_cr3);
	start_page(WARM_PAGE, warm_entry, warm_stack + sizeof(warm_stack), gdt, sizeof(gdt) - 1, clean_cr3);
	/* Segment and offset; by way of a register, for the compiler knows no memory there. */
	__asm__ volatile("movl %0, (%1)" ::"r"((u32)(WARM_PAGE >> 4) << 16), "r"(0x467ull) : "memory");
	cmos_write(0xf, 0xa);
}

static void icr(u32 high, u32 low)
{
	mmio_write(LAPIC + 0x310, high << 24);
	mmio_write(LAPIC + 0x300, low);
}

void start_watchdog(void)
{
	icr(1, 0x4500);
	icr(1, 0x4600 | (u32)(AP_PAGE >> 12));
}

/* For what it does beside its watch: pci_moves(). */
void wake_watchdog(void)
{
	icr(1, 0x4000 | VEC_TICK);
}

/* xAPIC mode, enabled, all masked, nothing in service; HPET and PIT stand still. */
void calm_lapic(void)
{
	static const u32 masked[] = {0x320, 0x330, 0x340, 0x350, 0x360, 0x370};

	restore(DIRTY_BASE);
	mmio_write(LAPIC + 0xf0, 0x1ff);
	mmio_write(LAPIC + 0x80, 0);
	for (u32 i = 0; i < 6; i++)
		mmio_write(LAPIC + masked[i], 0x10000);
	mmio_write(LAPIC + 0x380, 0);
	for (u32 i = 0; i < 8; i++)
		for (u32 n = 0; n < 32 && mmio_read(LAPIC + 0x100 + 16 * i); n++)
			mmio_write(LAPIC + 0xb0, 0);
	mmio_write(HPET + 0x10, 0);
	outb(PIT_MODE, 0x30);
}

/* The machine's devices as quiet as after reset: now and then, since what is in disorder is worth something. */
void calm(void)
{
	calm_lapic();
	restore(DIRTY_EFER | DIRTY_PAT);
	for (u32 i = 0; i < 3; i++)
		mmio_write(HPET + 0x100 + 0x20 * i, 0);
	for (u32 pin = 0; pin < 24; pin++) {
		mmio_write(IOAPIC, 0x10 + 2 * pin);
		mmio_write(IOAPIC + 0x10, 0x10000);
	}
	pic_init();
	cmos_write(0xb, 2);
	cmos_write(0xa, 0x26);
	serial_init();
	cpus_set_up();
}

/*
 * CPU 1 from here on. A step of CPU 0 that takes long is ended by an NMI; if that does not help, by INIT; and
 * if even that does not, the machine starts anew.
 */
void watchdog(void)
{
	u32 seen = step, same = 0;
	u64 apic = LAPIC;

	__asm__ volatile("ltr %w0" ::"r"(SEL_TSS_AP));
	wrmsr(0x1b, apic | 0x800);
	mmio_write(LAPIC + 0xf0, 0x1ff);
	mmio_write(LAPIC + 0x80, 0);
	mmio_write(LAPIC + 0x3e0, 0xb);
	mmio_write(LAPIC + 0x320, VEC_TICK);
	for (;;) {
		mmio_write(LAPIC + 0x380, (trace ? 100 : 1) * TICK_MS * TIMER_PER_MS);
		sti_hlt_cli();
		if (pci_moves())
			continue;
		beat++;
		while (finished)
			__asm__ volatile("cli; hlt");
		same = step == seen ? same + 1 : 0;
		seen = step;
		/* Patience, for the host may be slow: what takes long outside of run_code() is only slow. */
		if (same >= 2 && same < 50 && running)
			icr(0, 0x4400), stuck++;
		else if (same % 250 == 50)
			icr(0, 0x4500);
		else if (same >= 2500)
			cmos_write(0x4b, 1), outb(0xcf9, 6);
	}
}

/* INIT, SIPI, NMI and whatever else an ICR can say, to either CPU, both, and nobody. */
u32 cpu_storm(void)
{
	static const u32 modes[] = {0x4500, 0x4600, 0x4600, 0x4400, 0x4000, 0x4100, 0x4200, 0x4300, 0x4700, 0x8500, 0xc500};

	for (u32 n = 1 + below(8); n; n--) {
		u32 low = ONE_OF(modes) | below(4) << 18 | (below(4) ? 0 : 0x800);
		u32 mode = low >> 8 & 7;

		low |= mode == 6 ? (u32)(AP_PAGE >> 12) : mode < 2 ? below(256) : 0;
		if (mode == 6 && !below(4))
			low = (low & ~0xffu) | below(256);
		icr(below(4) ? below(3) : below(256), low);
		for (u32 k = below(200); k; k--)
			__asm__ volatile("pause");
	}
	start_watchdog();
	return DIRTY_APIC;
}

/* Timers as fast as they can be asked for, with interrupts open for a while. */
u32 timers_and_irqs(void)
{
	static const u32 counts[] = {1, 2, 10, 100, 1000, 10000, 100000, ~0u};
	u32 vector = below(8) ? 0x60 + below(0x80) : below(256);

	mmio_write(LAPIC + 0xf0, 0x1ff);
	if (below(2)) {
		mmio_write(LAPIC + 0x3e0, below(16));
		mmio_write(LAPIC + 0x320, vector | below(4) << 17);
		mmio_write(LAPIC + 0x380, ONE_OF(counts));
		if (below(4) == 0)
			mmio_write(LAPIC + 0x3e0, below(16));
	}
	if (!below(3)) {
		u32 pin = below(3) ? 2 : below(24);

		mmio_write(IOAPIC, 0x11 + 2 * pin);
		mmio_write(IOAPIC + 0x10, below(4) << 24);
		mmio_write(IOAPIC, 0x10 + 2 * pin);
		mmio_write(IOAPIC + 0x10, (vector | (below(4) ? 0 : below(8) << 8) | below(4) << 13 | below(8) / 7 << 11));
	}
	if (!below(3)) {
		u64 timer = HPET + 0x100 + 0x20 * below(3);

		mmio_write(timer, ((u32)random() & 0x7f4e) | 4);
		mmio_write(timer + 0x14, 0xfee00000 | below(4) << 12);
		mmio_write(timer + 0x10, vector | (below(4) ? 0 : below(8) << 8));
		mmio_write(timer + 8, ONE_OF(counts));
		mmio_write(HPET + 0x10, below(4));
	}
	if (!below(3)) {
		outb(PIC1 + 1, (u8)random());
		outb(PIT_MODE, 0x30 | below(8) << 1);
		outb(PIT_CH0, below(4) ? below(8) : (u8)random());
		outb(PIT_CH0, below(4) ? 0 : (u8)random());
		mmio_write(LAPIC + 0x350, below(2) ? 0x700 : below(8) << 8);
	}
	prepare();
	run.rflags |= 0x200;
	for (u32 n = below(30); n; n--)
		put_code(0x90f3, 2);
	if (!below(16))
		put_code(0xf4, 1); /* HLT */
	put_device_insn(false);
	put_end();
	run_code(&run);
	return DIRTY_APIC | DIRTY_CPUS;
}
