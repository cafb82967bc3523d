/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who writes where: the framing of docs/console.md over the host's serial port, two terminals (the port's, when a
 * person sits at it, and the screen's), and each guest's last output. Any pCPU; short critical sections.
 */
#pragma once
#include "lib/types.h"

struct vm;

void console_init(void); /* takes over the log and the serial input */
/* Boot CPU, once it has timers and works: the screen is drawn by works; a port without interrupt is polled. */
void console_start(void);
#define CHANNEL_MONITOR	 1
#define CHANNEL_TERMINAL 65535
#define CHANNEL_MIRROR	 65534 /* the network's, a pcap file: drivers/net/mirror.c */
#define CHANNEL_GDB	 100000 /* and the channel of its guest: gdb.h */
#define CONSOLE_RING 16384 /* a guest's last output that is kept */
#define CONSOLE_NOW  (~0ull) /* a place in it: what is there has been shown */
void console_write(u32 channel, const void *buf, size_t n);
/* What there is room for beside what the log and the guests may need; how much that was. Where a person sits at the
 * port there is nobody for it, and it is dropped. Not lines of text: nothing is put right behind it. */
size_t console_send(u32 channel, const void *buf, size_t n);
void console_event(const char *fmt, ...) __format(1, 2);
/* Give the guest's UART the typed bytes that wait, as many as it takes (vCPU 0's pCPU). */
void console_feed(struct vm *vm);
/* The next channel number for a guest; the first guest is also the first input channel. */
u32 console_new_channel(void);
/* Type to the guest of that channel; what it has no room for is lost. false: there is none. Boot CPU. */
bool console_type(u32 channel, const u8 *b, size_t n);
/* A VM leaves the list: terminals that show its console go back to the monitor. */
void console_vm_gone(struct vm *vm);

/* --- for vmm/monitor/term.c --- */
enum console_term { TERM_SERIAL, TERM_SCREEN, NR_TERMS };
#define CONSOLE_PROMPT "dalang> "
#define CONSOLE_ROW    "\r" CONSOLE_PROMPT "\x1b[K" /* with an empty line */
/* Write, and then the last row is this, wherever the log has its lines; row_n 0: it is nobody's. */
void console_term_write(enum console_term t, const void *buf, size_t n, const char *row, size_t row_n);
u32 console_attached(enum console_term t); /* channel of the console that it shows; 0: the monitor */
/* Show that channel's console, from `pos` of its ring on (0: from the oldest byte): call console_replay() until it
 * says true, each a bounded step. console_detach() returns how far it came. */
void console_attach(enum console_term t, u32 channel, u64 pos);
u64 console_detach(enum console_term t);
void console_aside(enum console_term t, u32 channel); /* typed to, and the port shows it with all the others */
bool console_replay(enum console_term t, struct vm *vm); /* vm_list_lock held */
