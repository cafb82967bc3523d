/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pair of 8259A interrupt controllers (Intel 8259A datasheet 231468; the ELCR: ICH9 datasheet
 * 13.4). Chip 0 is the master, chip 1 hangs on its IR2.
 */
#include "vmm/platform/isa.h"
#include "vmm/irq.h"
#include "vmm/platform_map.h"

#define CASCADE 2u

struct pic_chip {
	u8 irr, isr, imr;
	u8 lines;	/* levels of the inputs */
	u8 elcr;	/* bit set: that input is level-triggered */
	u8 base;	/* vector of IR0 (ICW2) */
	u8 top;		/* the input with the highest priority (rotation) */
	u8 init_step;	/* the ICW that port 1 takes next: 2, 3, 4; 0: initialised */
	u8 icw1;
	u8 aeoi, rotate_aeoi, sfnm, special_mask;
	u8 read_isr, poll;
	u8 pad;
};
struct pic {
	struct pic_chip chip[2];
	u16 isa, pirqs; /* who pulls a line, by bits: its ISA device, PCI's interrupts; the level is their OR */
	u8 out; /* INTR of the master */
	u8 pad[3];
};

#define ICW1_IC4   BIT(0)
#define ICW1_SNGL  BIT(1)
#define ICW1_INIT  BIT(4)
#define ICW4_AEOI  BIT(1)
#define ICW4_SFNM  BIT(4)
#define OCW3_READ  BIT(1)
#define OCW3_RIS   BIT(0)
#define OCW3_POLL  BIT(2)
#define OCW3_OCW3  BIT(3)
#define OCW3_SMM   BIT(5)
#define OCW3_ESMM  BIT(6)

/* IRQ 0, 1, 2, 8 and 13 are edges whatever the ELCR says (ICH9 13.4.8). */
static const u8 elcr_writable[2] = {0xf8, 0xde};

/* Rank of the strongest input in mask: 0 the highest, 8 none. */
static unsigned rank(const struct pic_chip *c, u8 mask)
{
	unsigned turned = (mask >> c->top | mask << (8 - c->top)) & 0xff;

	return turned ? (unsigned)__builtin_ctz(turned) : 8;
}

static unsigned input_of_rank(const struct pic_chip *c, unsigned r)
{
	return (r + c->top) & 7;
}

/* The input that the chip asks for with its INT pin, or -1. */
static int chip_request(const struct pic_chip *c)
{
	u8 serving = c->isr;
	unsigned r = rank(c, c->irr & ~c->imr);

	if (r == 8 || c->init_step)
		return -1;
	/* Special mask mode: a masked input in service no longer blocks the others. Special fully
	 * nested mode: further requests from the slave get past its own in-service bit. */
	if (c->special_mask)
		serving &= ~c->imr;
	if (c->sfnm)
		serving &= ~BIT(CASCADE);
	return r < rank(c, serving) ? (int)input_of_rank(c, r) : -1;
}

/* An edge request lasts while the line stays high: a line that falls before INTA gives the
 * default IR7 (datasheet, "edge and level triggered modes"). */
static void chip_set(struct pic_chip *c, unsigned input, bool level)
{
	u8 bit = (u8)(1u << input), rising = level && !(c->lines & bit);

	if (!level) {
		c->lines &= ~bit;
		c->irr &= ~bit;
		return;
	}
	c->lines |= bit;
	if (rising || (c->elcr & bit))
		c->irr |= bit;
}

static void drive_out(struct vdev *d, u8 out)
{
	struct pic *s = d->state;

	s->out = out;
	/* INTR is wired to I/O APIC pin 0 too, for ExtINT delivery (MP specification 3.6.2.2). */
	ioapic_set(d->vm, 0, out);
	vm_pic_changed(d->vm);
}

static void update(struct vdev *d)
{
	struct pic *s = d->state;
	u8 out;

	chip_set(&s->chip[0], CASCADE, chip_request(&s->chip[1]) >= 0);
	out = chip_request(&s->chip[0]) >= 0;
	if (out != s->out)
		drive_out(d, out);
}

static void set_input(struct vdev *d, unsigned irq)
{
	struct pic *s = d->state;
	bool level = (s->isa | s->pirqs) >> irq & 1;

	if (irq == CASCADE || !!(s->chip[irq / 8].lines & 1u << irq % 8) == level)
		return;
	chip_set(&s->chip[irq / 8], irq % 8, level);
	update(d);
}

void pic_set(struct vm *vm, unsigned irq, bool level)
{
	struct vdev *d = vm_irqchip(vm)->pic;
	struct pic *s;

	if (!d || irq > 15)
		return;
	s = d->state;
	s->isa = (u16)((s->isa & ~(1u << irq)) | (u32)level << irq);
	set_input(d, irq);
}

void pic_set_pirqs(struct vm *vm, u16 irqs)
{
	struct vdev *d = vm_irqchip(vm)->pic;
	struct pic *s;
	u32 changed;

	if (!d)
		return;
	s = d->state;
	changed = s->pirqs ^ irqs;
	s->pirqs = irqs;
	for (; changed; changed &= changed - 1)
		set_input(d, (unsigned)__builtin_ctz(changed));
}

bool pic_pending(struct vm *vm)
{
	const struct vdev *d = vm_irqchip(vm)->pic;

	return d && ((const struct pic *)d->state)->out;
}

/* INTA: the request becomes an interrupt in service. Returns the input; 7 if the request is gone,
 * which is then not in service. */
static unsigned chip_ack(struct pic_chip *c)
{
	int input = chip_request(c);
	u8 bit;

	if (input < 0)
		return 7;
	bit = (u8)(1u << input);
	if (!(c->elcr & bit))
		c->irr &= ~bit;
	if (!c->aeoi)
		c->isr |= bit;
	else if (c->rotate_aeoi)
		c->top = (u8)((input + 1) & 7);
	return (unsigned)input;
}

/* The slave's INT falls at its INTA and rises again for what is left, so that the master, whose
 * IR2 is an edge, sees the next one. */
static unsigned slave_ack(struct pic *s)
{
	unsigned input = chip_ack(&s->chip[1]);

	chip_set(&s->chip[0], CASCADE, false);
	return input;
}

int pic_ack(struct vm *vm)
{
	struct vdev *d = vm_irqchip(vm)->pic;
	struct pic *s;
	unsigned input;
	int vector;

	if (!d)
		return 0xff; /* an empty bus */
	s = d->state;
	input = chip_ack(&s->chip[0]);
	vector = s->chip[0].base + (int)input;
	if (input == CASCADE)
		vector = s->chip[1].base + (int)slave_ack(s);
	/* Likewise INTR: it falls at INTA, so an I/O APIC sees an edge for each request. */
	if (s->out)
		drive_out(d, 0);
	update(d);
	return vector;
}

/* ---- command words ---- */

static void icw1(struct pic_chip *c, u8 val)
{
	u8 lines = c->lines, elcr = c->elcr;

	/* Clears the edge sense: an input must rise anew. Level inputs go on asking. LTIM is
	 * ignored, the ELCR has taken its place. */
	*c = (struct pic_chip){.lines = lines, .elcr = elcr, .irr = lines & elcr,
			       .base = c->base, .icw1 = val, .init_step = 2};
}

static void icw_next(struct pic_chip *c, u8 val)
{
	switch (c->init_step) {
	case 2:
		c->base = val & 0xf8;
		c->init_step = c->icw1 & ICW1_SNGL ? 4 : 3;
		break;
	case 3:
		/* The wiring is fixed: IR2 and slave id 2. */
		c->init_step = 4;
		break;
	default:
		c->aeoi = !!(val & ICW4_AEOI);
		c->sfnm = !!(val & ICW4_SFNM);
		c->init_step = 0;
	}
	if (c->init_step == 4 && !(c->icw1 & ICW1_IC4))
		c->init_step = 0;
}

static void end_of_interrupt(struct pic_chip *c, unsigned input, bool rotate)
{
	c->isr &= ~(1u << input);
	if (rotate)
		c->top = (u8)((input + 1) & 7);
}

static void ocw2(struct pic_chip *c, u8 val)
{
	bool rotate = val & 0x80;
	unsigned r;

	switch (val >> 5) {
	case 0:
	case 4:
		c->rotate_aeoi = rotate;
		break;
	case 1:
	case 5: /* not specific: in special mask mode, masked inputs are passed over */
		r = rank(c, c->special_mask ? c->isr & ~c->imr : c->isr);
		if (r < 8)
			end_of_interrupt(c, input_of_rank(c, r), rotate);
		break;
	case 3:
	case 7:
		end_of_interrupt(c, val & 7, rotate);
		break;
	case 6:
		c->top = (val + 1) & 7;
		break;
	}
}

static void ocw3(struct pic_chip *c, u8 val)
{
	if (val & OCW3_ESMM)
		c->special_mask = !!(val & OCW3_SMM);
	if (val & OCW3_POLL)
		c->poll = 1;
	else if (val & OCW3_READ)
		c->read_isr = val & OCW3_RIS;
}

static void port_write(struct vdev *d, u16 port, u8 val)
{
	struct pic *s = d->state;
	struct pic_chip *c = &s->chip[port >= PLAT_PIC2_PORT];

	if (port & 1) {
		if (c->init_step)
			icw_next(c, val);
		else
			c->imr = val;
	} else if (val & ICW1_INIT) {
		icw1(c, val);
	} else if (val & OCW3_OCW3) {
		ocw3(c, val);
	} else {
		ocw2(c, val);
	}
	update(d);
}

/* The read after a poll command is an INTA: bit 7 says whether there was a request. */
static u8 poll(struct vdev *d, struct pic_chip *c)
{
	struct pic *s = d->state;
	u8 val = 0;

	c->poll = 0;
	if (chip_request(c) >= 0)
		val = (u8)(0x80 | (c == &s->chip[1] ? slave_ack(s) : chip_ack(c)));
	update(d);
	return val;
}

static u8 port_read(struct vdev *d, u16 port)
{
	struct pic *s = d->state;
	struct pic_chip *c = &s->chip[port >= PLAT_PIC2_PORT];

	if (unlikely(c->poll))
		return poll(d, c);
	if (port & 1)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

static u8 elcr_read(struct vdev *d, u16 port)
{
	return ((struct pic *)d->state)->chip[port & 1].elcr;
}

static void elcr_write(struct vdev *d, u16 port, u8 val)
{
	struct pic_chip *c = &((struct pic *)d->state)->chip[port & 1];

	c->elcr = val & elcr_writable[port & 1];
	c->irr = (c->irr & ~c->elcr) | (c->lines & c->elcr);
	update(d);
}

static u32 pic_in(struct vdev *d, u16 port, unsigned size)
{
	return isa_read_bytes(d, port, size, port_read);
}

static void pic_out(struct vdev *d, u16 port, unsigned size, u32 val)
{
	isa_write_bytes(d, port, size, val, port_write);
}

static u32 elcr_in(struct vdev *d, u16 port, unsigned size)
{
	return isa_read_bytes(d, port, size, elcr_read);
}

static void elcr_out(struct vdev *d, u16 port, unsigned size, u32 val)
{
	isa_write_bytes(d, port, size, val, elcr_write);
}

static int pic_init(struct vdev *d)
{
	vm_irqchip(d->vm)->pic = d;
	return 0;
}

/* As a PC's firmware hands the pair over: initialised at the BIOS vectors; all inputs masked,
 * since no firmware is there to answer them. The SCI is level-triggered, as the MADT says, and what
 * PCI's interrupts are routed to. */
static void pic_reset(struct vdev *d)
{
	struct pic *s = d->state;

	*s = (struct pic){.chip = {{.base = 0x08, .imr = 0xff}, {.base = 0x70, .imr = 0xff}}};
	for (unsigned i = 0; i < 2; i++)
		s->chip[i].elcr = (u8)((PLAT_PIRQ_IRQS | 1u << PLAT_GSI_SCI) >> 8 * i);
	drive_out(d, 0);
}

static bool pic_valid(const void *state)
{
	const struct pic *s = state;

	for (unsigned i = 0; i < 2; i++)
		if (s->chip[i].top > 7 || s->chip[i].base & 7 || s->chip[i].init_step > 4)
			return false;
	return s->out <= 1;
}

/* The core keeps a copy of INTR, which the restored bytes may contradict. */
static void pic_restored(struct vdev *d)
{
	vm_pic_changed(d->vm);
}

static const struct vdev_pio pic_pio[] = {
	{PLAT_PIC1_PORT, 2, pic_in, pic_out},
	{PLAT_PIC2_PORT, 2, pic_in, pic_out},
	{PLAT_ELCR_PORT, 2, elcr_in, elcr_out},
};

/* clang-format off */
const struct vdev_type pic_vdev = {
	.name = "pic", .version = 2, .state_size = sizeof(struct pic),
	.nr_pio = ARRAY_SIZE(pic_pio), .pio = pic_pio,
	.init = pic_init, .reset = pic_reset, .valid = pic_valid, .restored = pic_restored,
};
/* clang-format on */
VDEV_REGISTER(pic_vdev);
