/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * COM1, a 16550 behind a 64 KiB ring. Bytes leave whenever the transmitter is empty: at each write,
 * at its interrupt, at serial_poll_rx(). Nobody waits for it but serial_drain().
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pcpu_arch.h"
#include "lib/log.h"
#include "lib/spinlock.h"

#define COM1 0x3f8
#define THR  (COM1 + 0)
#define IER  (COM1 + 1)
#define FCR  (COM1 + 2) /* write; IIR on reading */
#define LCR  (COM1 + 3)
#define MCR  (COM1 + 4)
#define LSR  (COM1 + 5)
#define SCR  (COM1 + 7)
#define IER_RX	 0x01
#define IER_TX	 0x02
#define LSR_DR	 0x01
#define LSR_THRE 0x20
#define LSR_TEMT 0x40
#define MCR_DTR_RTS_OUT2 0x0b /* OUT2 gates the interrupt on a PC */
#define RING	 65536u
#define FIFO	 16u

static struct {
	struct spinlock lock;
	u32 head, tail; /* counters: head - tail bytes wait */
	bool present, irq;
	u8 ier, burst;
	void (*rx)(u8 byte);
	u8 ring[RING];
} com = {.lock = SPINLOCK(LOCK_SERIAL)};

void serial_init(void)
{
	outb(IER, 0);
	/* A bus that nothing drives reads as ones: no scratch register, no UART. */
	outb(SCR, 0x5a);
	com.present = inb(SCR) == 0x5a;
	if (!com.present)
		return;
	outb(LCR, 0x80);
	outb(THR, 1); /* divisor 1: 115200 */
	outb(IER, 0);
	outb(LCR, 0x03); /* 8n1 */
	outb(FCR, 0x07); /* FIFOs on and cleared, trigger at one byte */
	com.burst = (inb(FCR) & 0xc0) == 0xc0 ? FIFO : 1;
	outb(MCR, MCR_DTR_RTS_OUT2);
}

static void set_ier(u8 v)
{
	if (com.irq && com.ier != v) {
		com.ier = v;
		outb(IER, v);
	}
}

static void pump(void)
{
	while (com.head != com.tail && (inb(LSR) & LSR_THRE))
		for (unsigned n = 0; n < com.burst && com.head != com.tail; n++)
			outb(THR, com.ring[com.tail++ % RING]);
	set_ier(com.head != com.tail ? IER_RX | IER_TX : IER_RX);
}

size_t serial_space(void)
{
	return RING - (READ_ONCE(com.head) - READ_ONCE(com.tail));
}

size_t serial_write(const void *buf, size_t n)
{
	const u8 *p = buf;
	u64 flags = spin_lock_irq(&com.lock);

	n = MIN(n, serial_space());
	for (size_t i = 0; i < n; i++)
		com.ring[com.head++ % RING] = p[i];
	if (com.present)
		pump();
	else
		com.tail = com.head;
	spin_unlock_irq(&com.lock, flags);
	return n;
}

/*
 * A byte takes 87 us on a wire; what stands behind an emulated port may take its time. Give up when nothing
 * moved for a second, by the TSC once it is calibrated, by polls before.
 */
#define STALL_NS    1000000000ull
#define STALL_POLLS 1000000u

void serial_drain(void)
{
	u64 since = rdtsc();
	u32 polls = 0;

	while (com.present && polls++ < STALL_POLLS && (!tsc_khz || rdtsc() - since < ns_to_tsc(STALL_NS))) {
		u64 flags = spin_lock_irq(&com.lock);
		u32 tail = com.tail;
		bool done;

		pump();
		done = com.head == com.tail && (inb(LSR) & LSR_TEMT);
		if (com.tail != tail) {
			polls = 0;
			since = rdtsc();
		}
		spin_unlock_irq(&com.lock, flags);
		if (done)
			return;
	}
}

/* The handler runs without the lock: what it does may write. */
void serial_poll_rx(void)
{
	u8 buf[64];
	unsigned n = 0;
	u64 flags;

	if (!com.present)
		return;
	flags = spin_lock_irq(&com.lock);
	while (n < sizeof(buf) && (inb(LSR) & LSR_DR))
		buf[n++] = inb(THR);
	pump();
	spin_unlock_irq(&com.lock, flags);
	for (unsigned i = 0; i < n && com.rx; i++)
		com.rx(buf[i]);
}

void serial_set_rx(void (*fn)(u8 byte))
{
	com.rx = fn;
}

/*
 * The line is an edge: look again until the UART has no cause left. One that is written to slowly finds a new one
 * each time: after a while others have their turn, and what is left makes another edge.
 */
static void serial_irq(void)
{
	u64 flags;

	for (unsigned n = 0; n < 16; n++) {
		if (inb(FCR) & 1)
			return;
		serial_poll_rx();
	}
	flags = spin_lock_irq(&com.lock);
	outb(IER, 0);
	outb(IER, com.ier);
	spin_unlock_irq(&com.lock, flags);
}

void serial_irq_init(void)
{
	u64 flags;

	if (!com.present) {
		log_info("no UART at 0x3f8: the host's log goes to the screen alone");
		return;
	}
	irq_set_handler(VEC_SERIAL, serial_irq);
	if (ioapic_route_isa(4, VEC_SERIAL, pcpus[0]->apic_id)) {
		log_info("COM1 has no interrupt (no I/O APIC known): input is polled by the timer");
		return;
	}
	flags = spin_lock_irq(&com.lock);
	com.irq = true;
	pump();
	spin_unlock_irq(&com.lock, flags);
}

bool serial_must_poll(void)
{
	return com.present && !com.irq;
}

bool serial_idle(void)
{
	return READ_ONCE(com.head) == READ_ONCE(com.tail);
}

void serial_break_lock(void)
{
	com.lock = (struct spinlock)SPINLOCK(LOCK_SERIAL);
}
