/* SPDX-License-Identifier: BSD-2-Clause */
/* The file table of boot_info, and its error line. */
#include "boot/boot.h"
#include "lib/string.h"

void boot_error(struct boot_info *bi, const char *fmt, ...)
{
	va_list ap;

	if (bi->error[0])
		return;
	va_start(ap, fmt);
	vsnprintf(bi->error, sizeof(bi->error), fmt, ap);
	va_end(ap);
	for (char *p = bi->error; *p; p++) /* it is one line, whatever names it quotes */
		if ((u8)*p < 0x20 || (u8)*p == 0x7f)
			*p = '?';
}

void boot_add_file(struct boot_info *bi, const char *name, size_t name_len, hpa_t addr, u64 size)
{
	struct boot_file *f;

	if (name_len >= BOOT_NAME_MAX) {
		boot_error(bi, "file name too long (%d characters, at most %d): %.64s...",
			   (int)MIN(name_len, 99999), BOOT_NAME_MAX - 1, name);
		return;
	}
	if (bi->nr_files >= BOOT_MAX_FILES) {
		boot_error(bi, "more than %d files; the first one too many is %.*s", BOOT_MAX_FILES,
			   (int)name_len, name);
		return;
	}
	f = &bi->files[bi->nr_files++];
	f->addr = addr;
	f->size = size;
	memcpy(f->name, name, name_len);
	f->name[name_len] = 0;
}
