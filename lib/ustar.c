/* SPDX-License-Identifier: BSD-2-Clause */
#include "lib/ustar.h"
#include "lib/errno.h"
#include "lib/string.h"

#define BLOCK 512u

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], typeflag;
	char linkname[100], magic[6], version[2], uname[32], gname[32], devmajor[8], devminor[8];
	char prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "ustar header block");

/* An octal field, padded by spaces before and space or NUL after. False: something else in it. */
static bool octal(const char *field, size_t n, u64 *value)
{
	u64 v = 0;
	size_t i = 0;

	while (i < n && field[i] == ' ')
		i++;
	for (; i < n && field[i] >= '0' && field[i] <= '7'; i++) {
		if (v >> 60)
			return false;
		v = v << 3 | (u64)(field[i] - '0');
	}
	*value = v;
	return i == n || field[i] == ' ' || field[i] == 0;
}

/* The checksum field itself counts as spaces. */
static bool checksum_ok(const struct header *h)
{
	const u8 *b = (const u8 *)h;
	u64 want, sum = 0;

	for (size_t i = 0; i < BLOCK; i++) {
		bool own = i - offsetof(struct header, chksum) < sizeof(h->chksum);

		sum += own ? ' ' : b[i];
	}
	return octal(h->chksum, sizeof(h->chksum), &want) && want == sum;
}

static bool all_zero(const u8 *block)
{
	for (size_t i = 0; i < BLOCK; i++) {
		if (block[i])
			return false;
	}
	return true;
}

static void join_name(struct ustar_entry *e, const struct header *h)
{
	size_t n = strnlen(h->prefix, sizeof(h->prefix));
	size_t len = strnlen(h->name, sizeof(h->name)), skip = 0;

	memcpy(e->name, h->prefix, n);
	if (n)
		e->name[n++] = '/';
	memcpy(e->name + n, h->name, len);
	n += len;
	e->name[n] = 0;
	while (e->name[skip] == '.' && e->name[skip + 1] == '/')
		skip += 2;
	memmove(e->name, e->name + skip, n - skip + 1);
}

int ustar_next(const u8 *archive, u64 size, u64 *pos, struct ustar_entry *e)
{
	while (*pos < size && size - *pos >= BLOCK) {
		const struct header *h = (const struct header *)(archive + *pos);
		u64 left = size - *pos - BLOCK, length, padded;

		if (all_zero((const u8 *)h))
			return 0;
		if (memcmp(h->magic, "ustar", 5) || !checksum_ok(h) ||
		    !octal(h->size, sizeof(h->size), &length) || length > left)
			return -EINVAL;
		/* The last file's padding may be missing; what comes then is the end. */
		padded = MIN(ALIGN_UP(length, (u64)BLOCK), left);
		*pos += BLOCK + padded;
		switch (h->typeflag) {
		case '0':
		case 0:
			join_name(e, h);
			e->data = (const u8 *)(h + 1);
			e->size = length;
			return 1;
		case 'x':
		case 'g':
		case 'L':
			return -ENOSYS;
		default:
			break;
		}
	}
	/* tar ends with two zero blocks, but an archive cut there has lost nothing. */
	return *pos == size ? 0 : -EINVAL;
}
