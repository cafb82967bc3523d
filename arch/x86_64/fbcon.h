/* SPDX-License-Identifier: BSD-2-Clause */
/* The framebuffer that firmware or GRUB left, as a second place for the log. The log's lock guards all of it. */
#pragma once
#include "boot/boot_info.h"

void fbcon_init(const struct boot_fb *fb); /* under the boot mappings */
void fbcon_attach(void *mem);		   /* the framebuffer is there from now on; NULL: nowhere */
void fbcon_map(void);			   /* under our own mappings, write-combining */
void fbcon_line(const char *s);		   /* a line without newline */
