/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Log and panic. In the image arch/x86_64/log.c implements them (the host's log is channel 0 of
 * docs/console.md); unit tests link tests/unit/fakes.c instead.
 */
#pragma once
#include "lib/types.h"

enum log_level { LOG_ERR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* One line to the host's log, without a trailing newline. Any context, any pCPU; never blocks. */
void log_line(enum log_level level, const char *fmt, ...) __format(2, 3);
#define log_err(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/*
 * Our own invariant is broken: print the message and a symbolised backtrace, stop every pCPU.
 * Never reachable from a guest's act.
 */
void panic(const char *fmt, ...) __noreturn __format(1, 2);
#define ASSERT(c)                                                                                  \
	do {                                                                                       \
		if (unlikely(!(c)))                                                                \
			panic("%s:%d: assertion failed: %s", __FILE__, __LINE__, #c);              \
	} while (0)
