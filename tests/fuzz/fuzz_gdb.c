/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/gdb/gdb.c vmm/gdb/link.c lib/string.c */
/*
 * Whatever a debugger sends: answers stay within a packet, the vCPU in use is one of those there are, and a byte never
 * leaves the VM both held and owed. Each line of the input is made a packet, with its frame; one that begins with '\' is
 * fed as it stands.
 */
#include <stdlib.h>
#include "tests/unit/gdb_fake.h"

static void require(bool ok)
{
	if (!ok)
		abort();
}

static void feed(u8 b)
{
	gdb_byte(&g, b);
	require(g.cpu < NR_CPUS && g.out_len <= GDB_PACKET + 4 && g.in_len <= GDB_PACKET && !(g.held && g.owed));
	sent_n = 0;
}

static void framed(const u8 *line, size_t n)
{
	static const char hex[] = "0123456789abcdef";
	u8 sum = 0;

	feed('$');
	for (size_t i = 0; i < n; i++) {
		sum += line[i];
		feed(line[i]);
	}
	feed('#');
	feed((u8)hex[sum >> 4]);
	feed((u8)hex[sum & 15]);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	memset(&g, 0, sizeof(g));
	while (size) {
		const u8 *end = memchr(data, '\n', size);
		size_t n = end ? (size_t)(end - data) : size;

		if (n && data[0] == '\\')
			for (size_t i = 1; i < n; i++)
				feed(data[i]);
		else
			framed(data, n);
		n += end ? 1 : 0;
		data += n;
		size -= n;
	}
	return 0;
}
