/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The host's log: "[SECONDS.MICROSECONDS] level text", a line at a time, whole. A line that does
 * not fit into the serial ring is dropped and counted, for a log must never make a pCPU wait.
 */
#include <stdarg.h>
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/pcpu_arch.h"
#include "lib/log.h"
#include "lib/spinlock.h"
#include "lib/string.h"

#define LINE_MAX 512
#define RING	 KIB(64) /* the newest lines, for log_read() */

static struct {
	struct spinlock lock;
	u64 start;
	u64 lost;
	int level;
	void (*sink)(int level, const char *line);
	char line[LINE_MAX + 2]; /* CR LF */
	u64 end;		 /* of all that was ever put into the ring */
	char ring[RING];	 /* lines, each with its newline */
} host_log = {.lock = SPINLOCK(LOCK_LOG), .level = LOG_INFO};

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_set_start(u64 tsc)
{
	host_log.start = tsc;
}

void log_set_level(int level)
{
	host_log.level = level;
}

void log_set_sink(void (*fn)(int level, const char *line))
{
	u64 flags = spin_lock_irq(&host_log.lock);

	host_log.sink = fn;
	spin_unlock_irq(&host_log.lock, flags);
}

/* The time is 0 until the clock is calibrated. */
size_t log_prefix(char *buf, size_t size)
{
	u64 us = tsc_khz ? tsc_to_ns(rdtsc() - host_log.start) / 1000 : 0;

	return snprintf(buf, size, "[%lu.%06lu] ", us / 1000000, us % 1000000);
}

static size_t format_line(char *buf, int level, const char *fmt, va_list ap)
{
	size_t n = log_prefix(buf, LINE_MAX);

	n += snprintf(buf + n, LINE_MAX - n, "%s ", level_names[level]);
	vsnprintf(buf + n, LINE_MAX - n, fmt, ap);
	return strnlen(buf, LINE_MAX);
}

static void keep_line(size_t n)
{
	size_t at = host_log.end % RING, first = MIN(n, RING - at);

	memcpy(host_log.ring + at, host_log.line, first);
	memcpy(host_log.ring, host_log.line + first, n - first);
	host_log.ring[(at + n) % RING] = '\n';
	host_log.end += n + 1;
}

static void put_line(int level, size_t n)
{
	keep_line(n);
	if (host_log.sink) {
		host_log.sink(level, host_log.line);
		return;
	}
	fbcon_line(host_log.line);
	host_log.line[n++] = '\r';
	host_log.line[n++] = '\n';
	if (serial_space() < n)
		host_log.lost++;
	else
		serial_write(host_log.line, n);
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;
	u64 flags;

	if ((int)level > host_log.level)
		return;
	flags = spin_lock_irq(&host_log.lock);
	va_start(ap, fmt);
	put_line(level, format_line(host_log.line, level, fmt, ap));
	va_end(ap);
	spin_unlock_irq(&host_log.lock, flags);
}

static char kept(u64 pos)
{
	return host_log.ring[pos % RING];
}

bool log_read(u64 *pos, char *line, size_t n)
{
	u64 flags = spin_lock_irq(&host_log.lock), at = *pos, end = host_log.end;
	size_t len = 0;

	if (end - at > RING) { /* it has been overwritten, and the line at the edge in part */
		at = end - RING;
		while (at < end && kept(at++) != '\n')
			;
	}
	for (; at < end && kept(at) != '\n'; at++)
		if (len < n - 1)
			line[len++] = kept(at);
	line[len] = 0;
	*pos = MIN(at + 1, end);
	spin_unlock_irq(&host_log.lock, flags);
	return at < end;
}

u64 log_lost(void)
{
	return READ_ONCE(host_log.lost);
}

void log_break_lock(void)
{
	host_log.lock = (struct spinlock)SPINLOCK(LOCK_LOG);
	host_log.sink = NULL;
	fbcon_later(false); /* what waits to be drawn is drawn now */
}
