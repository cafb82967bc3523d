/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * COM1, a 16550A (National PC16550D datasheet). What the guest sends leaves at once, so the
 * transmitter is always empty; what is typed waits in the core until the guest can take it.
 */
#include "vmm/platform/isa.h"
#include "vmm/irq.h"
#include "vmm/platform_map.h"

#define FIFO_SIZE 16u
/* Four characters of ten bits at 115200 baud: the receiver's timeout. Rates are not emulated. */
#define TIMEOUT_NS 347222u

enum { REG_DATA, REG_IER, REG_IIR, REG_LCR, REG_MCR, REG_LSR, REG_MSR, REG_SCR };

#define IER_RX	   BIT(0)
#define IER_TX	   BIT(1)
#define IER_LINE   BIT(2)
#define IER_MODEM  BIT(3)
#define IIR_NONE   0x01u
#define IIR_MODEM  0x00u
#define IIR_TX	   0x02u
#define IIR_RX	   0x04u
#define IIR_LINE   0x06u
#define IIR_TIMEOUT 0x0cu
#define IIR_FIFO   0xc0u
#define FCR_ENABLE BIT(0)
#define FCR_CLEAR_RX BIT(1)
#define LCR_DLAB   BIT(7)
#define MCR_DTR	   BIT(0)
#define MCR_RTS	   BIT(1)
#define MCR_OUT1   BIT(2)
#define MCR_OUT2   BIT(3)
#define MCR_LOOP   BIT(4)
#define LSR_DR	   BIT(0)
#define LSR_OE	   BIT(1)
#define LSR_EMPTY  0x60u /* THRE, TEMT */
#define MSR_CTS	   BIT(4)
#define MSR_DSR	   BIT(5)
#define MSR_RI	   BIT(6)
#define MSR_DCD	   BIT(7)

struct uart {
	u8 ier, fcr, lcr, mcr, msr, scr, dll, dlm;
	u8 fifo[FIFO_SIZE];
	u8 head, count;
	u8 overrun;    /* LSR.OE */
	u8 tx_pending; /* the THRE interrupt has not been seen yet */
	u8 timed_out;  /* bytes have lain in the FIFO for four character times */
	u8 line;       /* level of our interrupt line */
	u8 refused;    /* the core holds bytes for us */
	u8 mcr_written, polled; /* see listening() */
	u8 pad;
};

static unsigned capacity(const struct uart *s)
{
	return s->fcr & FCR_ENABLE ? FIFO_SIZE : 1;
}

static unsigned trigger_level(const struct uart *s)
{
	static const u8 level[4] = {1, 4, 8, 14};

	return s->fcr & FCR_ENABLE ? level[s->fcr >> 6] : 1;
}

/* ---- interrupts, in the order of the datasheet's table IV ---- */

static u8 identify(const struct uart *s)
{
	if ((s->ier & IER_LINE) && s->overrun)
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->count >= trigger_level(s))
		return IIR_RX;
	if ((s->ier & IER_RX) && s->timed_out)
		return IIR_TIMEOUT;
	if ((s->ier & IER_TX) && s->tx_pending)
		return IIR_TX;
	if ((s->ier & IER_MODEM) && (s->msr & 0x0f))
		return IIR_MODEM;
	return IIR_NONE;
}

/* On a PC, OUT2 gates the interrupt; in loop mode it is held inactive (datasheet 8.6.6). */
static void update(struct vdev *d)
{
	struct uart *s = d->state;
	bool gate = (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
	u8 line = gate && identify(s) != IIR_NONE;

	if (line == s->line)
		return;
	s->line = line;
	vm_irq_set(d->vm, PLAT_GSI_COM1, line);
}

/* The timeout runs while bytes below the trigger level lie in the FIFO; each arrival and each read
 * starts it anew. Without somebody to interrupt it need not run. */
static void restart_timeout(struct vdev *d)
{
	struct uart *s = d->state;

	s->timed_out = 0;
	if (s->count && (s->fcr & FCR_ENABLE) && (s->ier & IER_RX))
		vdev_timer_set(d, 0, vm_time_ns(d->vm) + TIMEOUT_NS);
	else
		vdev_timer_stop(d, 0);
}

static void uart_timer(struct vdev *d, unsigned idx)
{
	struct uart *s = d->state;

	(void)idx;
	s->timed_out = s->count && (s->fcr & FCR_ENABLE);
	update(d);
}

/* ---- receiving ---- */

/*
 * Bytes typed ahead must not fall victim to a driver that clears its FIFO while it starts. So we
 * do what a terminal with RTS/CTS does: send when the guest has raised RTS, or wants interrupts. A
 * guest that never touches the modem control register and only polls is heard as well.
 */
static bool listening(const struct uart *s)
{
	if (s->mcr & MCR_LOOP)
		return false;
	return (s->mcr & MCR_RTS) || (s->ier & IER_RX) || (!s->mcr_written && s->polled);
}

static void want_input(struct vdev *d)
{
	struct uart *s = d->state;

	if (!s->refused || s->count || !listening(s))
		return;
	s->refused = 0;
	vm_console_want_input(d->vm);
}

static void push(struct uart *s, u8 byte)
{
	s->fifo[(s->head + s->count) % FIFO_SIZE] = byte;
	s->count++;
}

size_t uart_input(struct vm *vm, const u8 *buf, size_t n)
{
	struct vdev *d = vm_vdev(vm, &uart_vdev);
	struct uart *s;
	size_t taken = 0;

	if (!d)
		return n; /* nobody will ever read them */
	s = d->state;
	if (listening(s))
		while (taken < n && s->count < capacity(s))
			push(s, buf[taken++]);
	s->refused |= taken < n;
	if (taken) {
		restart_timeout(d);
		update(d);
	}
	return taken;
}

static void clear_fifo(struct vdev *d)
{
	struct uart *s = d->state;

	s->count = s->head = 0;
	restart_timeout(d);
}

static u8 read_data(struct vdev *d)
{
	struct uart *s = d->state;
	u8 byte = s->fifo[s->head];

	if (!s->count)
		return 0;
	s->head = (s->head + 1) % FIFO_SIZE;
	s->count--;
	restart_timeout(d);
	update(d);
	if (!s->count)
		want_input(d);
	return byte;
}

/* ---- sending ---- */

static void write_data(struct vdev *d, u8 byte)
{
	struct uart *s = d->state;

	if (likely(!(s->mcr & MCR_LOOP))) {
		vm_console_write(d->vm, &byte, 1);
	} else if (s->count < capacity(s)) {
		push(s, byte);
		restart_timeout(d);
	} else {
		s->overrun = 1;
	}
	/* Writing ends the THRE interrupt, the byte's departure raises it again: a new edge. */
	if (s->ier & IER_TX) {
		s->tx_pending = 0;
		update(d);
	}
	s->tx_pending = 1;
	if (s->ier)
		update(d);
}

/* ---- the other registers ---- */

static void write_ier(struct vdev *d, u8 val)
{
	struct uart *s = d->state;
	u8 risen = val & ~s->ier & 0x0f;

	s->ier = val & 0x0f;
	/* Enabling the THRE interrupt while the transmitter is empty raises it, again each time
	 * (datasheet 8.6.4; Linux's 8250 driver tests for it). */
	if (risen & IER_TX)
		s->tx_pending = 1;
	if (risen & IER_RX) {
		restart_timeout(d);
		want_input(d);
	}
	update(d);
}

static void write_fcr(struct vdev *d, u8 val)
{
	struct uart *s = d->state;
	bool toggled = (val ^ s->fcr) & FCR_ENABLE;

	/* The other bits count only together with bit 0. */
	s->fcr = val & FCR_ENABLE ? val & 0xc1 : 0;
	if (toggled || (val & (FCR_ENABLE | FCR_CLEAR_RX)) == (FCR_ENABLE | FCR_CLEAR_RX))
		clear_fifo(d);
	update(d);
	want_input(d);
}

/* The modem's lines: connected and ready; in loop mode our own outputs. */
static u8 modem_inputs(const struct uart *s)
{
	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	return (u8)((s->mcr & MCR_RTS ? MSR_CTS : 0) | (s->mcr & MCR_DTR ? MSR_DSR : 0) |
		    (s->mcr & MCR_OUT1 ? MSR_RI : 0) | (s->mcr & MCR_OUT2 ? MSR_DCD : 0));
}

static void write_mcr(struct vdev *d, u8 val)
{
	struct uart *s = d->state;
	u8 old = s->msr & 0xf0, now, delta;

	s->mcr = val & 0x1f;
	s->mcr_written = 1;
	now = modem_inputs(s);
	/* Deltas of CTS, DSR and DCD; RI counts when it falls (TERI). */
	delta = ((old ^ now) & ~MSR_RI) | (old & ~now & MSR_RI);
	s->msr = (u8)((s->msr & 0x0f) | now | delta >> 4);
	update(d);
	want_input(d);
}

static u8 read_iir(struct vdev *d)
{
	struct uart *s = d->state;
	u8 iir = identify(s);

	/* Reading the THRE interrupt's identification ends it. */
	if (iir == IIR_TX) {
		s->tx_pending = 0;
		update(d);
	}
	return iir | (s->fcr & FCR_ENABLE ? IIR_FIFO : 0);
}

static u8 read_lsr(struct vdev *d)
{
	struct uart *s = d->state;
	u8 lsr = LSR_EMPTY | (s->count ? LSR_DR : 0) | (s->overrun ? LSR_OE : 0);

	if (unlikely(s->overrun)) {
		s->overrun = 0;
		update(d);
	}
	if (unlikely(!s->polled)) {
		s->polled = 1;
		want_input(d);
	}
	return lsr;
}

static u8 read_msr(struct vdev *d)
{
	struct uart *s = d->state;
	u8 msr = s->msr;

	s->msr &= 0xf0;
	update(d);
	return msr;
}

static u8 read_byte(struct vdev *d, u16 port)
{
	struct uart *s = d->state;
	bool dlab = s->lcr & LCR_DLAB;

	switch (port & 7) {
	case REG_DATA: return dlab ? s->dll : read_data(d);
	case REG_IER: return dlab ? s->dlm : s->ier;
	case REG_IIR: return read_iir(d);
	case REG_LCR: return s->lcr;
	case REG_MCR: return s->mcr;
	case REG_LSR: return read_lsr(d);
	case REG_MSR: return read_msr(d);
	default: return s->scr;
	}
}

static void write_byte(struct vdev *d, u16 port, u8 val)
{
	struct uart *s = d->state;
	bool dlab = s->lcr & LCR_DLAB;

	switch (port & 7) {
	case REG_DATA:
		if (dlab)
			s->dll = val;
		else
			write_data(d, val);
		break;
	case REG_IER:
		if (dlab)
			s->dlm = val;
		else
			write_ier(d, val);
		break;
	case REG_IIR: write_fcr(d, val); break;
	case REG_LCR: s->lcr = val; break;
	case REG_MCR: write_mcr(d, val); break;
	case REG_SCR: s->scr = val; break;
	}
}

static u32 uart_in(struct vdev *d, u16 port, unsigned size)
{
	return isa_read_bytes(d, port, size, read_byte);
}

static void uart_out(struct vdev *d, u16 port, unsigned size, u32 val)
{
	isa_write_bytes(d, port, size, val, write_byte);
}

static void uart_reset(struct vdev *d)
{
	struct uart *s = d->state;
	u8 refused = s->refused;

	*s = (struct uart){.dll = 1, .lcr = 0x03, .refused = refused};
	s->msr = modem_inputs(s);
	vm_irq_set(d->vm, PLAT_GSI_COM1, false);
}

static bool uart_valid(const void *state)
{
	const struct uart *s = state;

	return s->head < FIFO_SIZE && s->count <= FIFO_SIZE;
}

static const struct vdev_pio uart_pio[] = {{PLAT_COM1_PORT, 8, uart_in, uart_out}};

/* clang-format off */
const struct vdev_type uart_vdev = {
	.name = "uart", .version = 1, .nr_timers = 1, .state_size = sizeof(struct uart),
	.nr_pio = ARRAY_SIZE(uart_pio), .pio = uart_pio,
	.reset = uart_reset, .valid = uart_valid, .timer = uart_timer,
};
/* clang-format on */
VDEV_REGISTER(uart_vdev);
