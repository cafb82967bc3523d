/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor: lines of xl's verbs on the host's serial port (channel 1 of docs/console.md). Each answer ends
 * with a line "ok" or "error: ...".
 */
#pragma once
#include "lib/types.h"

void monitor_init(void);
void monitor_input(u8 byte); /* from the serial interrupt, boot CPU */
