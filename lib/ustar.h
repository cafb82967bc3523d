/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading a tar archive (POSIX.1-2017, pax, "ustar Interchange Format") in place. Pure. */
#pragma once
#include "lib/types.h"

#define USTAR_NAME_MAX 256

struct ustar_entry {
	char name[USTAR_NAME_MAX + 1]; /* prefix and name joined; a leading "./" is dropped */
	const u8 *data;                /* inside the archive */
	u64 size;
};

/*
 * The regular file at or after *pos; *pos moves behind it. Directories, links and extension headers
 * are passed over (GNU's long names are refused, since the short one that follows would be wrong).
 * 1: found; 0: end of the archive; -EINVAL: not a tar archive, cut off, or a bad checksum;
 * -ENOSYS: an extension that changes names or sizes.
 */
int ustar_next(const u8 *archive, u64 size, u64 *pos, struct ustar_entry *e);
