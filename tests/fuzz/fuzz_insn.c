/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/insn.c lib/insn_tables.c */
/* Any bytes, any length, any mode: the decoder reads nothing else and says something consistent. */
#include <stdlib.h>
#include "lib/insn.h"
#include "lib/string.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void require(bool ok)
{
	if (!ok)
		abort();
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static const int modes[] = { INSN_16, INSN_32, INSN_64, INSN_64 | INSN_AMD_BRANCHES };
	struct insn i, j;
	enum insn_status st;
	enum insn_mode mode;

	if (size < 1)
		return 0;
	mode = modes[data[0] & 3];
	st = insn_decode(&i, data + 1, size - 1, mode);
	require(st != INSN_MORE || size - 1 < INSN_MAX);
	require(st != INSN_TOO_LONG || size - 1 >= INSN_MAX);
	if (st != INSN_OK)
		return 0;
	require(i.len >= 1 && i.len <= INSN_MAX && i.len <= size - 1);
	require(i.reg < 16 && i.rm < 16 && i.seg < 6);
	require(i.base >= -1 && i.base <= 16 && i.index >= -1 && i.index < 16);
	require(memcmp(i.bytes, data + 1, i.len) == 0);
	/* Exactly len bytes are enough, one less is not, and the answer does not depend on more. */
	require(insn_decode(&j, data + 1, i.len, mode) == INSN_OK && j.len == i.len);
	require(insn_decode(&j, data + 1, i.len - 1, mode) == INSN_MORE);
	return 0;
}
