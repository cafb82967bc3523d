/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/loader.c vmm/loader_elf.c vmm/loader_linux.c vmm/loader_multiboot.c vmm/loader_pvh.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/loader_ram.h"
#include "lib/elf.h"

static struct vm_config cfg;
static struct load_state st;
static char why[256];
static u8 image[65536];
static size_t image_size;
static const char *rd_data; /* NULL: no ramdisk */

static int load_sized(size_t n, u64 low)
{
	/* Copies of the exact length, so that the sanitizer sees a read past the end. */
	u8 *copy = malloc(n ? n : 1);
	struct mem_file k = mem_file(copy, n, 0), r = mem_file(rd_data, 0, 1);
	struct load_target t = ram_new(low);
	int err;

	memcpy(copy, image, n);
	if (rd_data)
		r.f.size = strlen(rd_data);
	err = load_guest(&cfg, &k.f, rd_data ? &r.f : NULL, &t, 0xe1230, &st, why, sizeof(why));
	free(copy);
	assert_int_equal(!err, !why[0]);
	assert_null(strchr(why, '\n'));
	return err;
}

static int load(void)
{
	return load_sized(image_size, RAM_SIZE);
}

static void refused(int err, const char *want)
{
	assert_int_equal(load(), -err);
	if (!strstr(why, want))
		assert_string_equal(why, want);
}

static u32 get32(u64 gpa)
{
	u32 v;

	assert_in_range(gpa, 0, RAM_SIZE - 4);
	memcpy(&v, ram + gpa, 4);
	return v;
}

static u64 get64(u64 gpa)
{
	return get32(gpa) | (u64)get32(gpa + 4) << 32;
}

static void set16(size_t off, u32 v)
{
	memcpy(image + off, &v, 2);
}

static void set32(size_t off, u32 v)
{
	memcpy(image + off, &v, 4);
}

static int setup(void **state)
{
	(void)state;
	memset(&cfg, 0, sizeof(cfg));
	memset(image, 0, sizeof(image));
	strcpy(cfg.kernel, "vmlinuz");
	strcpy(cfg.ramdisk, "initrd");
	strcpy(cfg.cmdline, "console=ttyS0");
	rd_data = "a ramdisk";
	return 0;
}

/* A bzImage with one setup sector and 4000 bytes of payload, which need not fill its last
 * paragraph in the file. */
static void make_linux(void)
{
	image[0x1f1] = 1;
	set32(0x1f4, 4000 / 16);
	set16(0x1fe, 0xaa55);
	image[0x200] = 0xeb;
	image[0x201] = 0x6a;
	memcpy(image + 0x202, "HdrS", 4);
	set16(0x206, 0x20f);
	image[0x211] = 1;
	set32(0x22c, 0x7fffffff);
	set32(0x230, 0x200000);
	image[0x234] = 1;
	set16(0x236, 1);
	set32(0x238, 255);
	set32(0x258, 0x200000); /* pref_address */
	set32(0x25c, 0);
	set32(0x260, 0x100000); /* init_size */
	for (int i = 0; i < 4000; i++)
		image[1024 + i] = (u8)(i * 7 + 1);
	image_size = 1024 + 4000;
}

static void check_gdt(bool long_mode)
{
	assert_int_equal(st.cs, 0x10);
	assert_int_equal(st.ds, 0x18);
	assert_in_range(st.tr, 0x20, st.gdt_limit - 7);
	assert_int_equal(get32(st.gdt + 0x14), long_mode ? 0x00af9b00 : 0x00cf9b00);
	assert_int_equal(get32(st.gdt + 0x1c), 0x00cf9300);
	assert_int_equal(get64(st.gdt + st.tr), 0x00008b0000000067ull);
	assert_int_equal(get64(st.gdt), 0);
}

static void check_identity(u64 va)
{
	u64 e = get64(st.cr3 + (va >> 39 & 511) * 8);

	assert_int_equal(e & 0xfff, 3);
	e = get64((e & ~0xfffull) + (va >> 30 & 511) * 8);
	assert_int_equal(e & 0xfff, 3);
	e = get64((e & ~0xfffull) + (va >> 21 & 511) * 8);
	assert_int_equal(e, (va & ~0x1fffffull) | 0x83);
}

static void linux_good(void **state)
{
	u64 bp, rd;

	(void)state;
	make_linux();
	assert_int_equal(load(), 0);
	assert_string_equal(st.protocol, "linux64");
	assert_int_equal(st.mode, LOAD_LONG64);
	assert_int_equal(st.rip, 0x200200);
	check_gdt(true);
	check_identity(0);
	check_identity(0x200000);
	check_identity(0x9fe00000);
	check_identity(0xffe00000);
	assert_memory_equal(ram + 0x200000, image + 1024, 4000);
	bp = st.rsi;
	assert_memory_equal(ram + bp + 0x230, image + 0x230, 0x20);
	assert_int_equal(ram[bp + 0x1ef], 0); /* sentinel */
	assert_int_equal(ram[bp + 0x210], 0xff);
	assert_int_equal(get64(bp + 0x70), 0xe1230);
	assert_int_equal(get32(bp + 0x214), 0x200000);
	assert_string_equal((char *)ram + get32(bp + 0x228), "console=ttyS0");
	rd = get32(bp + 0x218);
	assert_int_equal(get32(bp + 0x21c), strlen(rd_data));
	assert_int_equal(rd, RAM_SIZE - 4096);
	assert_memory_equal(ram + rd, rd_data, strlen(rd_data));
	assert_int_equal(ram[bp + 0x1e8], 8);
	assert_int_equal(get64(bp + 0x2d0), 0);
	assert_int_equal(get64(bp + 0x2d8), 0x9fc00);
	assert_int_equal(get64(bp + 0x2d0 + 3 * 20), 0x100000);
	assert_int_equal(get64(bp + 0x2d8 + 3 * 20), RAM_SIZE - 0x100000);
	/* Without a ramdisk; protocol without acpi_rsdp_addr; a ramdisk limit. */
	rd_data = NULL;
	set16(0x206, 0x20c);
	assert_int_equal(load(), 0);
	assert_int_equal(get32(st.rsi + 0x218), 0);
	assert_int_equal(get64(st.rsi + 0x70), 0);
	rd_data = "x";
	set32(0x22c, 0x6fffff);
	assert_int_equal(load(), 0);
	assert_int_equal(get32(st.rsi + 0x218), 0x6ff000);
	/* No preference: 1 MiB, aligned. type = "pvh" takes a bzImage too. */
	set32(0x258, 0);
	set32(0x230, 0x400000);
	cfg.type = VM_TYPE_PVH;
	assert_int_equal(load(), 0);
	assert_int_equal(st.rip, 0x400200);
	/* The last paragraph may be short, but no more than that. */
	assert_int_equal(load_sized(image_size - 15, RAM_SIZE), 0);
	assert_int_equal(load_sized(image_size - 16, RAM_SIZE), -ENOEXEC);
}

/* Without XLF_KERNEL_64: flat protected mode, paging off, at the first byte. */
static void linux_32(void **state)
{
	(void)state;
	make_linux();
	set16(0x236, 0);
	set32(0x22c, 0x37ffff); /* initrd_addr_max: i386 kernels' low memory ends early */
	assert_int_equal(load(), 0);
	assert_string_equal(st.protocol, "linux32");
	assert_int_equal(st.mode, LOAD_PROT32);
	assert_int_equal(st.rip, 0x200000);
	assert_int_equal(st.rax | st.rbx | st.cr3, 0);
	check_gdt(false);
	assert_memory_equal(ram + st.rsi + 0x202, "HdrS", 4);
	assert_int_equal(get32(st.rsi + 0x214), 0x200000);
	assert_int_equal(get32(st.rsi + 0x218), 0x37f000);
	assert_memory_equal(ram + 0x200000, image + 1024, 4000);
}

static void linux_bad(void **state)
{
	(void)state;
	make_linux();
	set16(0x206, 0x20a);
	refused(ENOEXEC, "kernel \"vmlinuz\": Linux boot protocol 2.10; 2.12 or later");
	make_linux();
	image[0x211] = 0;
	refused(ENOEXEC, "is a zImage");
	make_linux();
	image[0x201] = 0x10;
	refused(ENOEXEC, "bzImage header of 16 bytes is too short");
	make_linux();
	image_size = 3000;
	refused(ENOEXEC, "is truncated: the setup header says 5024 bytes, the file has 3000");
	make_linux();
	set32(0x1f4, 32);
	refused(ENOEXEC, "has a protected-mode part of 512 bytes");
	make_linux();
	set32(0x258, 0);
	set32(0x230, 0x300000);
	refused(ENOEXEC, "kernel_alignment 0x300000 is no power of two");
	make_linux();
	set32(0x260, 0x2000000);
	refused(ENOSPC, "needs 34 MiB of memory, the VM has 16; write memory = 34 or more");
	make_linux();
	set32(0x25c, 1);
	refused(ENOSPC, "RAM below 4 GiB ends at 0xc0000000 at most");
	make_linux();
	set32(0x258, 0xffffffff);
	set32(0x25c, 0xffffffff);
	refused(ENOSPC, "wants the addresses 0xffffffffffffffff to");
	make_linux();
	set32(0x238, 12);
	refused(EINVAL, "the command line has 13 bytes, this kernel takes 12; shorten it");
	make_linux();
	set32(0x22c, 0x2fffff);
	refused(ENOSPC, "ramdisk \"initrd\": 9 bytes do not fit between the kernel's end 0x300000");
	make_linux();
	rd_data = "";
	refused(EINVAL, "ramdisk \"initrd\": is empty");
}

#define ELF_CODE 0x1000
#define ELF_SIZE 0x200

/* ELF of either class: one segment, paddr 1 MiB, vaddr 0xc0100000 (a kernel linked high), and a
 * PVH note if asked for. */
static void make_elf(bool is64, bool note)
{
	const u32 note_data[] = {4, 4, 18, 0x6e6558, 0x100010};

	memcpy(image, ELF_MAGIC, 4);
	image[4] = is64 ? 2 : 1;
	image[5] = image[6] = 1;
	set16(16, ELF_ET_EXEC);
	set16(18, is64 ? ELF_EM_X86_64 : ELF_EM_386);
	memcpy(image + ELF_CODE + 0x1c0, note_data, sizeof(note_data));
	if (is64) {
		struct elf64_ehdr *h = (void *)image;
		struct elf64_phdr *p = (void *)(image + 64);

		h->entry = 0xc0100020;
		h->phoff = 64;
		h->phentsize = sizeof(*p);
		h->phnum = note ? 2 : 1;
		p[0] = (struct elf64_phdr){ELF_PT_LOAD, 7,        ELF_CODE, 0xc0100000,
					   0x100000,    ELF_SIZE, 0x3000,   4096};
		p[1] = (struct elf64_phdr){ELF_PT_NOTE, 4, ELF_CODE + 0x1c0, 0, 0, 20, 20, 4};
	} else {
		struct elf32_ehdr *h = (void *)image;
		struct elf32_phdr *p = (void *)(image + 52);

		h->entry = 0xc0100020;
		h->phoff = 52;
		h->phentsize = sizeof(*p);
		h->phnum = note ? 2 : 1;
		p[0] = (struct elf32_phdr){ELF_PT_LOAD, ELF_CODE, 0xc0100000, 0x100000,
					   ELF_SIZE,    0x3000,   7,          4096};
		p[1] = (struct elf32_phdr){ELF_PT_NOTE, ELF_CODE + 0x1c0, 0, 0, 20, 20, 4, 4};
	}
	image_size = ELF_CODE + ELF_SIZE;
}

static void add_multiboot(size_t off, u32 flags)
{
	set32(off, 0x1badb002);
	set32(off + 4, flags);
	set32(off + 8, 0u - 0x1badb002 - flags);
}

/* header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr */
static void add_addresses(size_t off, u32 h, u32 l, u32 le, u32 be, u32 e)
{
	set32(off + 12, h);
	set32(off + 16, l);
	set32(off + 20, le);
	set32(off + 24, be);
	set32(off + 28, e);
}

static void check_multiboot(u64 entry, u64 rd)
{
	u64 i = st.rbx, m = get32(i + 48);

	assert_string_equal(st.protocol, "multiboot1");
	assert_int_equal(st.mode, LOAD_PROT32);
	assert_int_equal(st.rip, entry);
	assert_int_equal(st.rax, 0x2badb002);
	check_gdt(false);
	assert_int_equal(get32(i), 1 | 4 | 8 | 64 | 512);
	assert_int_equal(get32(i + 4), 639);
	assert_int_equal(get32(i + 8), 15 * 1024);
	assert_string_equal((char *)ram + get32(i + 16), "vmlinuz console=ttyS0");
	assert_string_equal((char *)ram + get32(i + 64), "Dalang");
	assert_int_equal(get32(i + 44), 8 * 24);
	assert_int_equal(get32(m), 20);
	assert_int_equal(get64(m + 4), 0);
	assert_int_equal(get64(m + 12), 0x9fc00);
	assert_int_equal(get32(m + 20), E820_RAM);
	assert_int_equal(get32(i + 20), 1);
	m = get32(i + 24);
	assert_int_equal(get32(m), rd);
	assert_int_equal(get32(m + 4), rd + strlen(rd_data));
	assert_memory_equal(ram + rd, rd_data, strlen(rd_data));
	assert_string_equal((char *)ram + get32(m + 8), "initrd");
}

static void multiboot(void **state)
{
	(void)state;
	make_elf(false, true);
	add_multiboot(ELF_CODE, 3);
	assert_int_equal(load(), 0); /* before the PVH note; entry moved from virtual */
	check_multiboot(0x100020, 0x103000);
	assert_memory_equal(ram + 0x100000, image + ELF_CODE, ELF_SIZE);
	cfg.type = VM_TYPE_HVM;
	assert_int_equal(load(), 0);
	assert_string_equal(st.protocol, "multiboot1");
	cfg.type = VM_TYPE_PVH;
	assert_int_equal(load(), 0);
	assert_string_equal(st.protocol, "pvh");
	cfg.type = VM_TYPE_AUTO;
	cfg.cmdline[0] = 0;
	rd_data = NULL;
	assert_int_equal(load(), 0);
	assert_string_equal((char *)ram + get32(st.rbx + 16), "vmlinuz");
	assert_int_equal(get32(st.rbx + 20), 0);
}

static void multiboot_addresses(void **state)
{
	(void)state;
	/* An ELF64 file, header in the middle of what is loaded. */
	make_elf(true, false);
	add_multiboot(ELF_CODE + 16, 0x10003);
	add_addresses(ELF_CODE + 16, 0x200010, 0x200000, 0x200100, 0x204000, 0x200040);
	assert_int_equal(load(), 0);
	check_multiboot(0x200040, 0x204000);
	assert_memory_equal(ram + 0x200000, image + ELF_CODE, 0x100);
	assert_int_equal(ram[0x200100], 0);
	/* No end: to the end of the file. No ELF at all. */
	memset(image, 0x90, 4096);
	add_addresses(ELF_CODE + 16, 0x200010, 0x200000, 0, 0, 0x200000);
	assert_int_equal(load(), 0);
	assert_memory_equal(ram + 0x200000, image + ELF_CODE, ELF_SIZE);
	add_addresses(ELF_CODE + 16, 0x200010, 0x200020, 0, 0, 0x200000);
	refused(ENOEXEC, "header_addr 0x200010, load_addr 0x200020; link it anew");
	add_addresses(ELF_CODE + 16, 0x200010, 0x100000, 0, 0, 0x200000);
	refused(ENOEXEC, "header_addr 0x200010, load_addr 0x100000");
	add_addresses(ELF_CODE + 16, 0x200010, 0x200000, 0x200010, 0, 0x200000);
	refused(ENOEXEC, "which do not follow each other");
	add_addresses(ELF_CODE + 16, 0x200010, 0x200000, 0x200100, 0x2000ff, 0x200000);
	refused(ENOEXEC, "which do not follow each other");
	add_addresses(ELF_CODE + 16, 0x200010, 0x200000, 0x200100, 0x200100, 0x200100);
	refused(ENOEXEC, "entry 0x200100 lies outside");
	add_addresses(ELF_CODE + 16, 0x200010, 0x200000, 0x201000, 0, 0x200000);
	refused(ENOEXEC, "is truncated: bytes 4096 to 8192 are to be loaded, the file has 4608");
	add_addresses(ELF_CODE + 16, 0x10, 0, 0, 0, 0);
	refused(ENOSPC, "link it to 0x100000 or above");
	add_addresses(ELF_CODE + 16, 0x9fc10, 0x9fc00, 0, 0, 0x9fc00);
	refused(ENOSPC, "link it to 0x100000 or above");
	add_addresses(ELF_CODE + 16, 0x10010, 0x10000, 0, 0, 0x10000);
	assert_int_equal(load(), 0);
}

static void multiboot_bad(void **state)
{
	(void)state;
	make_elf(false, false);
	add_multiboot(ELF_CODE, 7);
	refused(ENOEXEC, "multiboot1 header demands 0x4 (a video mode)");
	add_multiboot(ELF_CODE, 0x8003);
	refused(ENOEXEC, "demands 0x8000, which is not offered");
	add_multiboot(ELF_CODE, 3);
	set32(ELF_CODE + 8, 0);
	refused(ENOEXEC, "is an ELF file without a multiboot1 header or a PVH note");
	add_multiboot(ELF_CODE, 3);
	((struct elf32_ehdr *)image)->entry = 0x1000;
	refused(ENOEXEC, "entry 0x1000 lies in none of its segments");
	make_elf(true, false);
	add_multiboot(ELF_CODE, 3);
	refused(ENOEXEC, "is an ELF64 file with a multiboot1 header without addresses");
	image[0] = 0;
	refused(ENOEXEC, "and is no ELF file; link it as ELF32");
}

static void pvh(void **state)
{
	(void)state;
	for (int is64 = 0; is64 < 2; is64++) {
		u64 i, m;

		make_elf(is64, true);
		assert_int_equal(load(), 0);
		assert_string_equal(st.protocol, "pvh");
		assert_int_equal(st.mode, LOAD_PROT32);
		assert_int_equal(st.rip, 0x100010);
		check_gdt(false);
		i = st.rbx;
		assert_int_equal(get32(i), 0x336ec578);
		assert_int_equal(get32(i + 4), 1);
		assert_int_equal(get32(i + 12), 1);
		assert_string_equal((char *)ram + get64(i + 24), "console=ttyS0");
		assert_int_equal(get64(i + 32), 0xe1230);
		assert_int_equal(get32(i + 48), 8);
		assert_int_equal(get64(get64(i + 40) + 8), 0x9fc00);
		m = get64(i + 16);
		assert_int_equal(get64(m), RAM_SIZE - 4096);
		assert_int_equal(get64(m + 8), strlen(rd_data));
	}
	set32(ELF_CODE + 0x1c0 + 16, 0x200000);
	refused(ENOEXEC, "entry 0x200000 lies in none of its segments");
	set32(ELF_CODE + 0x1c0 + 8, 17);
	refused(ENOEXEC, "is an ELF file without a multiboot1 header or a PVH note");
	cfg.type = VM_TYPE_PVH;
	refused(ENOEXEC, "without a PVH note (XEN_ELFNOTE_PHYS32_ENTRY) but type is \"pvh\"");
}

static void elf_bad(void **state)
{
	struct elf64_ehdr *h = (void *)image;
	struct elf64_phdr *p = (void *)(image + 64);

	(void)state;
	make_elf(true, true);
	h->machine = 183;
	refused(ENOEXEC, "for another machine (class 2, data 1, machine 183)");
	make_elf(true, true);
	h->type = 1;
	refused(ENOEXEC, "of type 1 (object or core)");
	make_elf(true, true);
	h->phnum = 65;
	refused(ENOEXEC, "has 65 program headers");
	make_elf(true, true);
	h->phoff = ~0ull;
	refused(ENOEXEC, "is truncated: program headers at 18446744073709551615");
	make_elf(true, true);
	p[0].offset = ~0ull - 8;
	refused(ENOEXEC, "is truncated: bytes");
	make_elf(true, true);
	p[0].filesz = 0x4000;
	refused(ENOEXEC, "segment 0 has 16384 bytes in the file but 12288 in memory");
	make_elf(true, true);
	p[0].memsz = ~0ull;
	refused(ENOSPC, "wants the addresses");
	make_elf(true, true);
	p[0].paddr = GIB(4);
	refused(ENOSPC, "RAM below 4 GiB ends at 0xc0000000");
	make_elf(true, true);
	p[1].filesz = ~0ull;
	refused(ENOEXEC, "is truncated: its notes are at");
	make_elf(true, true);
	p[1].filesz = 16;
	assert_int_equal(load(), 0); /* the descriptor is still in the file */
	make_elf(true, true);
	image_size = 60;
	refused(ENOEXEC, "is an ELF file of 60 bytes, less than its header");
}

static void foreign(void **state)
{
	static const struct {
		const char *head, *want;
	} t[] = {
		{"\x1f\x8b\x08", "is a gzip file; unpack it with gunzip"},
		{"MZ..", "is an EFI or DOS program; give a bzImage, multiboot1 or PVH kernel"},
		{"#!/bin/sh", "is a script; give a bzImage"},
		{"\xd6\x50\x52\xe8", "is a multiboot2 kernel; Dalang takes multiboot1"},
		{"hello", "is no kernel (600 bytes, beginning 68 65 6c 6c)"},
	};

	(void)state;
	image_size = 600;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		memset(image, 0, 600);
		memcpy(image, t[i].head, strlen(t[i].head));
		refused(ENOEXEC, t[i].want);
	}
	memset(image, 0, 600);
	set16(510, 0xaa55);
	refused(ENOEXEC, "is a boot sector or disk image");
	image_size = 0;
	refused(ENOEXEC, "kernel \"vmlinuz\": is empty; give a kernel");
}

/* Cut at every byte: refused or loaded, never a read past the end (loader_ram.h aborts). */
static void truncated(void **state)
{
	(void)state;
	make_linux();
	for (size_t n = 0; n < image_size; n++)
		assert_int_equal(load_sized(n, RAM_SIZE), n >= image_size - 15 ? 0 : -ENOEXEC);
	for (int is64 = 0; is64 < 2; is64++) {
		setup(NULL);
		make_elf(is64, true);
		for (size_t n = 0; n < image_size; n++)
			assert_int_equal(load_sized(n, RAM_SIZE), -ENOEXEC);
		if (!is64)
			add_multiboot(ELF_CODE, 3);
		for (size_t n = 0; n < image_size; n++)
			assert_int_equal(load_sized(n, RAM_SIZE), -ENOEXEC);
	}
}

static void e820(void **state)
{
	struct e820_entry e[LOAD_MAX_E820];
	unsigned n = guest_e820(GIB(4), e, LOAD_MAX_E820);
	u64 ram_bytes = 0;

	(void)state;
	assert_int_equal(n, 9);
	for (unsigned i = 0; i < n; i++) {
		assert_true(!i || e[i].base >= e[i - 1].base + e[i - 1].size);
		ram_bytes += e[i].type == E820_RAM ? e[i].size : 0;
	}
	assert_int_equal(ram_bytes, GIB(4) - (0x100000 - 0x9fc00));
	assert_int_equal(e[n - 1].base, GIB(4));
	assert_int_equal(e[n - 1].size, GIB(1));
	assert_int_equal(guest_e820(MIB(16), e, LOAD_MAX_E820), 8);
	assert_int_equal(guest_e820(GIB(4), e, 3), 3);
}

/* The real thing, where it is at hand. */
static void exitbench(void **state)
{
	static const char *const files[] = {"exitbench.bz", "exitbench.elf", "exitbench.elf"};
	static const char *const protocols[] = {"linux64", "multiboot1", "pvh"};
	const char *dir = getenv("DALANG_EXITBENCH");

	(void)state;
	if (!dir) {
		print_message("skipped: DALANG_EXITBENCH does not name exitbench's directory\n");
		skip();
	}
	for (int i = 0; i < 3; i++) {
		char name[512];
		FILE *f;

		snprintf(name, sizeof(name), "%s/%s", dir, files[i]);
		f = fopen(name, "rb");
		assert_non_null(f);
		image_size = fread(image, 1, sizeof(image), f);
		fclose(f);
		cfg.type = i == 2 ? VM_TYPE_PVH : VM_TYPE_AUTO;
		load();
		assert_string_equal(why, "");
		assert_string_equal(st.protocol, protocols[i]);
		assert_int_equal(st.rip, i == 0   ? 0x100200
					 : i == 1 ? get32(0x100004 + 28)
						  : 0x100000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(linux_good, setup),
		cmocka_unit_test_setup(linux_32, setup),
		cmocka_unit_test_setup(linux_bad, setup),
		cmocka_unit_test_setup(multiboot, setup),
		cmocka_unit_test_setup(multiboot_addresses, setup),
		cmocka_unit_test_setup(multiboot_bad, setup),
		cmocka_unit_test_setup(pvh, setup),
		cmocka_unit_test_setup(elf_bad, setup),
		cmocka_unit_test_setup(foreign, setup),
		cmocka_unit_test_setup(truncated, setup),
		cmocka_unit_test_setup(e820, setup),
		cmocka_unit_test_setup(exitbench, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
