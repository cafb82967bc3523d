/* SPDX-License-Identifier: BSD-2-Clause */
/* The framing of docs/console.md over the host's serial port. Any pCPU; short critical sections. */
#pragma once
#include "lib/types.h"

struct vm;

void console_init(void); /* takes over the log and the serial input */
void console_start(void); /* boot CPU, once it has timers: polls a port that has no interrupt */
#define CHANNEL_MONITOR 1
#define CHANNEL_GDB	100000 /* and the channel of its guest: gdb.h */
void console_write(u32 channel, const void *buf, size_t n);
void console_event(const char *fmt, ...) __format(1, 2);
/* Give the guest's UART the typed bytes that wait, as many as it takes (vCPU 0's pCPU). */
void console_feed(struct vm *vm);
/* The next channel number for a guest; the first guest is also the first input channel. */
u32 console_new_channel(void);
