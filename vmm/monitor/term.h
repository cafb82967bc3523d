/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A person's way to the monitor: a terminal that either has the monitor's prompt or shows a guest's console. One
 * is on the serial port, the other is keyboard and screen. Ctrl-] leaves a console; a second one takes it
 * back and goes to the guest.
 */
#pragma once
#include "vmm/console.h"

/* Bytes that nobody types. */
#define TERM_RESET 0xff /* somebody new is here: the prompt, and an empty line */
#define TERM_UNDO  0xfe /* the Ctrl-] before was none: it left a console that the port shows anyway */

void terms_init(void);
void term_input(enum console_term t, u8 byte); /* from an interrupt, boot CPU */
