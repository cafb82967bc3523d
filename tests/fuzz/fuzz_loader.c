/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/loader.c vmm/loader_elf.c vmm/loader_linux.c vmm/loader_multiboot.c vmm/loader_pvh.c */
/*
 * A stranger's kernel: loaded or refused with one line. loader_ram.h aborts on a write outside of
 * RAM, to page 0 or the ROM area, and on parts that overlap. The first byte of the input picks
 * the type and whether there is a ramdisk; the rest is the kernel.
 */
#include "tests/unit/loader_ram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm_config cfg;
	struct load_target t = ram_new(RAM_SIZE);
	struct load_state st;
	struct mem_file k, r = mem_file("ramdisk", 7, 1);
	char why[256];
	int err;

	if (!size)
		return 0;
	strcpy(cfg.kernel, "k");
	strcpy(cfg.ramdisk, "r");
	strcpy(cfg.cmdline, "c");
	cfg.type = data[0] % 3;
	k = mem_file(data + 1, size - 1, 0);
	err = load_guest(&cfg, &k.f, data[0] & 0x80 ? &r.f : NULL, &t, 0xe0000, &st, why,
			 sizeof(why));
	if (!err != !why[0] || strchr(why, '\n'))
		abort();
	if (!err && (st.rip < 0x10000 || st.rip >= RAM_SIZE || !ram_owner[st.rip / 4096]))
		abort();
	return 0;
}
