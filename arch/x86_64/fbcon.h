/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The framebuffer that firmware or GRUB left, as a text screen: the host's log, and the monitor beside it. The
 * log's lock guards all of it; from log_set_sink() on, the sink's owner does. Where there is no screen all of
 * this does nothing.
 */
#pragma once
#include "boot/boot_info.h"

void fbcon_init(const struct boot_fb *fb); /* under the boot mappings */
void fbcon_attach(void *mem);		   /* the framebuffer is there from now on; NULL: nowhere */
void fbcon_map(void);			   /* under our own mappings, write-combining */
void fbcon_line(const char *s);		   /* a line without newline, on a row of its own; nothing in it is a control */
void fbcon_write(const void *buf, size_t n); /* a terminal's bytes (vt.h) */
u32 fbcon_cols(void);			   /* letters in a row; 0: no screen */
/* true: changes are not drawn at once; after each call above let fbcon_draw() draw a bounded piece, again and
 * again, until it says true. And the cursor is shown. */
void fbcon_later(bool later);
bool fbcon_draw(void);
