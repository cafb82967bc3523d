/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's keyboard behind an i8042 (IBM PC/AT technical reference, keyboard controller): the keys of the
 * terminal on the screen. By interrupt alone: where there is none there is no keyboard.
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/machine.h"
#include "drivers/host/scancode.h"
#include "lib/log.h"
#include "vmm/host.h"
#include "vmm/monitor/term.h"

#define DATA   0x60
#define STATUS 0x64 /* commands, when written */
#define OUTPUT_FULL 0x01
#define INPUT_FULL  0x02
#define FROM_MOUSE  0x20
#define READ_CONFIG  0x20
#define WRITE_CONFIG 0x60
#define MOUSE_OFF    0xa7
#define KEYBOARD_OFF 0xad
#define KEYBOARD_ON  0xae
#define CONFIG_IRQ	 0x01 /* the keyboard's */
#define CONFIG_MOUSE_IRQ 0x02
#define CONFIG_KEYBOARD_OFF 0x10
#define CONFIG_MOUSE_OFF    0x20
#define CONFIG_SET_1	    0x40 /* scancodes are translated */
#define SET_DEFAULTS 0xf6
#define ENABLE	     0xf4
#define ACK	     0xfa
#define IRQ	     1
#define BUFFER	     16u /* bytes that may wait in it and in the keyboard */
#define CONTROLLER_NS 50000000ull  /* it answers within microseconds */
#define KEYBOARD_NS   250000000ull /* 20 ms by the book; slower through firmware's emulation of USB */

static struct scancode keys;

/* Wait until these status bits are as wanted. */
static bool wait_status(u8 bits, u8 want, u64 ns)
{
	u64 end = rdtsc() + ns_to_tsc(ns);

	do {
		if ((inb(STATUS) & bits) == want)
			return true;
		cpu_relax();
	} while (rdtsc() < end);
	return false;
}

static bool command(u8 c)
{
	if (!wait_status(INPUT_FULL, 0, CONTROLLER_NS))
		return false;
	outb(STATUS, c);
	return true;
}

static bool write_data(u8 v)
{
	if (!wait_status(INPUT_FULL, 0, CONTROLLER_NS))
		return false;
	outb(DATA, v);
	return true;
}

static void drain(void)
{
	for (u32 n = 0; n < BUFFER && inb(STATUS) & OUTPUT_FULL; n++)
		inb(DATA);
}

static bool read_config(u8 *v)
{
	if (!command(READ_CONFIG) || !wait_status(OUTPUT_FULL, OUTPUT_FULL, CONTROLLER_NS))
		return false;
	*v = inb(DATA);
	return true;
}

static bool write_config(u8 v)
{
	return command(WRITE_CONFIG) && write_data(v);
}

/* To the keyboard itself. What was typed before the answer is lost. */
static bool ask_keyboard(u8 c)
{
	if (!write_data(c))
		return false;
	for (u32 n = 0; n < BUFFER && wait_status(OUTPUT_FULL, OUTPUT_FULL, KEYBOARD_NS); n++)
		if (inb(DATA) == ACK)
			return true;
	return false;
}

/* The line is an edge: look until nothing is left. Bounded, for a broken controller. */
static void interrupt(void)
{
	char out[SCANCODE_MAX];

	for (u32 n = 0; n < BUFFER; n++) {
		u8 status = inb(STATUS);
		u8 data;
		size_t k;

		if (!(status & OUTPUT_FULL))
			return;
		data = inb(DATA);
		k = status & FROM_MOUSE ? 0 : scancode_byte(&keys, data, out);
		for (size_t i = 0; i < k; i++)
			term_input(TERM_SCREEN, (u8)out[i]);
	}
}

/* NULL, or why there is no keyboard. */
static const char *start(void)
{
	u8 config, again;

	if (acpi.no_i8042)
		return "the ACPI tables say that there is no i8042";
	if (inb(STATUS) == 0xff)
		return "no i8042 at port 0x64";
	if (!command(KEYBOARD_OFF) || !command(MOUSE_OFF))
		return "the i8042 takes no commands";
	drain();
	if (!read_config(&config))
		return "the i8042 does not answer";
	config &= ~(CONFIG_IRQ | CONFIG_MOUSE_IRQ | CONFIG_KEYBOARD_OFF);
	config |= CONFIG_MOUSE_OFF | CONFIG_SET_1;
	if (!write_config(config) || !read_config(&again) || again != config)
		return "the i8042 does not keep its configuration";
	if (!command(KEYBOARD_ON) || !ask_keyboard(SET_DEFAULTS) || !ask_keyboard(ENABLE))
		return "no keyboard answers the i8042";
	irq_set_handler(VEC_KEYBOARD, interrupt);
	if (ioapic_route_isa(IRQ, VEC_KEYBOARD, pcpus[0]->apic_id))
		return "the keyboard has no interrupt (no I/O APIC known)";
	drain();
	return write_config(config | CONFIG_IRQ) ? NULL : "the i8042 takes no commands";
}

static void init(void)
{
	const char *why;

	if (!fbcon_cols())
		return; /* nobody would see what is typed */
	why = start();
	if (why) {
		log_info("no keyboard: %s", why);
		return;
	}
	log_info("keyboard: the monitor is on the screen");
	term_input(TERM_SCREEN, TERM_RESET);
}
HOST_DRIVER(init);
