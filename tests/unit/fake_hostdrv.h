/* SPDX-License-Identifier: BSD-2-Clause */
/* What the host's drivers reach beside their device: memory, whose physical address is its own, and a log. */
#pragma once
#include <stdlib.h>
#include "arch/x86_64/frame.h"
#include "lib/log.h"
#include "lib/string.h"

void log_line(enum log_level level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}
hpa_t frame_pa(const void *va)
{
	return (hpa_t)va;
}
void *kzalloc(size_t size, enum frame_type type, u16 owner)
{
	void *p = aligned_alloc(4096, ALIGN_UP(size, 4096ul));

	(void)type, (void)owner;
#ifdef FAKE_OWNER /* whose memory all of it must be */
	assert_int_equal(owner, FAKE_OWNER);
#endif
	return memset(p, 0, size);
}
void kfree(void *p)
{
	free(p);
}
