/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest loader: what all boot protocols share, and the choice between them (vmm/loader.h). */
#include <stdarg.h>
#include "vmm/loader_parts.h"
#include "vmm/platform_map.h"
#include "lib/errno.h"
#include "lib/string.h"

unsigned guest_e820(u64 memory, struct e820_entry *e, unsigned max)
{
	u64 low = MIN(memory, GUEST_LOW_RAM_MAX), high = memory - low;
	const struct e820_entry map[] = {
		{0, MIN(low, (u64)LOW_RAM_END), E820_RAM},
		{LOW_RAM_END, 0xa0000 - LOW_RAM_END, E820_RESERVED},
		{0xe0000, 0x20000, E820_RESERVED}, /* ROM area: the ACPI and MP tables */
		{HIGH_RAM_START, low > HIGH_RAM_START ? low - HIGH_RAM_START : 0, E820_RAM},
		{PLAT_ECAM_BASE, PLAT_ECAM_SIZE, E820_RESERVED},
		{PLAT_IOAPIC_BASE, PLAT_IOAPIC_SIZE, E820_RESERVED},
		{PLAT_HPET_BASE, PLAT_HPET_SIZE, E820_RESERVED},
		{PLAT_LAPIC_BASE, PLAT_LAPIC_SIZE, E820_RESERVED},
		{GIB(4), high, E820_RAM},
	};
	unsigned n = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(map) && n < max; i++)
		if (map[i].size)
			e[n++] = map[i];
	return n;
}

int load_fail(struct load_ctx *c, int err, const char *what, const char *file, const char *fmt, ...)
{
	int n = snprintf(c->why, c->why_size, "%s \"%s\": ", what, file);
	va_list ap;

	va_start(ap, fmt);
	if (n >= 0 && (size_t)n < c->why_size)
		vsnprintf(c->why + n, c->why_size - (size_t)n, fmt, ap);
	va_end(ap);
	return -err;
}

bool load_read(const struct load_ctx *c, u64 off, void *buf, size_t n)
{
	const struct load_file *f = c->kernel;

	if (off > f->size || n > f->size - off)
		return false;
	f->read(f, off, buf, n);
	return true;
}

static int not_ram(struct load_ctx *c, gpa_t gpa)
{
	return load_fail_kernel(c, ENOSPC,
				"guest address 0x%llx is not RAM; give the VM more memory",
				(unsigned long long)gpa);
}

int load_put(struct load_ctx *c, gpa_t gpa, const void *buf, size_t n)
{
	return c->t->write(c->t, gpa, buf, n) ? not_ram(c, gpa) : 0;
}

int load_put_string(struct load_ctx *c, gpa_t gpa, const char *s)
{
	return load_put(c, gpa, s, strlen(s) + 1);
}

/* MiB that a VM needs for its low RAM to reach `end`. */
static unsigned long long mib_for(u64 end)
{
	return (end + MIB(1) - 1) >> 20;
}

int load_claim(struct load_ctx *c, u64 gpa, u64 size)
{
	u64 end = gpa + size;

	if (end < gpa || (gpa < HIGH_RAM_START && end > LOW_RAM_END) || gpa < LOAD_KERNEL_MIN)
		return load_fail_kernel(c, ENOSPC,
					"wants the addresses 0x%llx to 0x%llx; link it to 0x100000 "
					"or above (0x%x to 0x%x works too)",
					(unsigned long long)gpa, (unsigned long long)end,
					LOAD_KERNEL_MIN, LOW_RAM_END);
	if (end > c->t->ram_low && end > GUEST_LOW_RAM_MAX)
		return load_fail_kernel(c, ENOSPC,
					"wants memory up to 0x%llx; RAM below 4 GiB ends at 0x%llx "
					"at most, link it lower",
					(unsigned long long)end, GUEST_LOW_RAM_MAX);
	if (end > c->t->ram_low)
		return load_fail_kernel(c, ENOSPC,
					"needs %llu MiB of memory, the VM has %llu; write memory = "
					"%llu or more",
					mib_for(end), (unsigned long long)(c->t->ram_low >> 20),
					mib_for(end));
	c->kernel_end = MAX(c->kernel_end, end);
	return 0;
}

int load_segment(struct load_ctx *c, u64 gpa, u64 memsz, u64 off, u64 filesz)
{
	int err = load_claim(c, gpa, memsz);

	if (err)
		return err;
	if (off > c->kernel->size || filesz > c->kernel->size - off)
		return load_fail_kernel(c, ENOEXEC,
					"is truncated: bytes %llu to %llu are to be loaded, the "
					"file has %llu; copy it again",
					(unsigned long long)off, (unsigned long long)(off + filesz),
					(unsigned long long)c->kernel->size);
	if (filesz && c->t->copy(c->t, gpa, c->kernel, off, filesz))
		return not_ram(c, gpa);
	if (memsz > filesz && c->t->zero(c->t, gpa + filesz, memsz - filesz))
		return not_ram(c, gpa);
	return 0;
}

int load_ramdisk(struct load_ctx *c, enum load_where where, u64 last)
{
	u64 end, floor, gpa;

	if (!c->ramdisk)
		return 0;
	if (!c->ramdisk->size)
		return load_fail_ramdisk(c, EINVAL,
					 "is empty; give another file or leave the line "
					 "out");
	floor = ALIGN_UP(MAX(c->kernel_end, (u64)HIGH_RAM_START), PAGE_SIZE);
	end = MIN(c->t->ram_low, last == ~0ull ? last : last + 1);
	if (end < floor || c->ramdisk->size > end - floor)
		return load_fail_ramdisk(
			c, ENOSPC,
			"%llu bytes do not fit between the kernel's end 0x%llx and 0x%llx; give "
			"the VM more memory or shrink the file",
			(unsigned long long)c->ramdisk->size, (unsigned long long)floor,
			(unsigned long long)end);
	gpa = floor;
	if (where == LOAD_HIGHEST)
		gpa = ALIGN_DOWN(end - c->ramdisk->size, PAGE_SIZE);
	if (c->t->copy(c->t, gpa, c->ramdisk, 0, c->ramdisk->size))
		return not_ram(c, gpa);
	c->ramdisk_gpa = gpa;
	return 0;
}

/* Segments as every protocol here asks for: 0x10 flat code, 0x18 flat data (boot.rst "64-bit boot
 * protocol"; multiboot 0.6.96, 3.2), and a busy TSS with base 0 and limit 0x67 (PVH; VM entry
 * wants one: SDM vol. 3, 26.3.1.2). The 64-bit TSS descriptor has 16 bytes. */
static int enter(struct load_ctx *c, const char *protocol, enum load_mode mode, u64 entry)
{
	const u64 gdt[] = {
		0, 0, mode == LOAD_LONG64 ? 0x00af9b000000ffffull : 0x00cf9b000000ffffull,
		0x00cf93000000ffffull, 0x00008b0000000067ull, 0};

	*c->out = (struct load_state){
		.mode = mode, .protocol = protocol, .rip = entry, .rsp = LOAD_STACK_TOP,
		.gdt = LOAD_GDT, .gdt_limit = sizeof(gdt) - 1, .cs = SEL_CODE, .ds = SEL_DATA,
		.tr = SEL_TSS,
	};
	return load_put(c, LOAD_GDT, gdt, sizeof(gdt));
}

int load_enter32(struct load_ctx *c, const char *protocol, u64 entry, u64 eax, u64 ebx)
{
	int err = enter(c, protocol, LOAD_PROT32, entry);

	c->out->rax = eax;
	c->out->rbx = ebx;
	return err;
}

/* The first 4 GiB one to one in 2 MiB pages (SDM vol. 3, 4.5). */
int load_enter64(struct load_ctx *c, const char *protocol, u64 entry, u64 rsi)
{
	const u64 present_write = 3, large = 0x80;
	u64 table[64] = {LOAD_PDPT | present_write};
	int err = load_put(c, LOAD_PML4, table, 8);

	for (unsigned i = 0; i < 4; i++)
		table[i] = (LOAD_PD + i * PAGE_SIZE) | present_write;
	err = err ?: load_put(c, LOAD_PDPT, table, 32);
	for (u64 i = 0; !err && i < 4 * 512; i += ARRAY_SIZE(table)) {
		for (u64 j = 0; j < ARRAY_SIZE(table); j++)
			table[j] = (i + j) * PAGE_2M | present_write | large;
		err = load_put(c, LOAD_PD + i * 8, table, sizeof(table));
	}
	err = err ?: enter(c, protocol, LOAD_LONG64, entry);
	c->out->cr3 = LOAD_PML4;
	c->out->rsi = rsi;
	return err;
}

/* Nothing took the file: name what it is, as far as its first bytes tell. */
static int foreign(struct load_ctx *c)
{
	static const struct {
		const char *magic;
		u8 len, off;
		const char *what;
	} known[] = {
		{"\x1f\x8b", 2, 0, "a gzip file; unpack it with gunzip"},
		{"\xfd"
		 "7zXZ",
		 5, 0, "an xz file; unpack it with unxz"},
		{"\x28\xb5\x2f\xfd", 4, 0, "a zstd file; unpack it with unzstd"},
		{"BZh", 3, 0, "a bzip2 file; unpack it with bunzip2"},
		{"\x04\x22\x4d\x18", 4, 0, "an lz4 file; unpack it with unlz4"},
		{"\x02\x21\x4c\x18", 4, 0, "an lz4 file; unpack it with unlz4"},
		{"070701", 6, 0, "a cpio archive; it belongs on the ramdisk line"},
		{"QFI\xfb", 4, 0, "a qcow2 disk image; it belongs on the disk line, as raw"},
		{"!<arch>", 7, 0, "an ar archive or Debian package; unpack it"},
		{"MZ", 2, 0, "an EFI or DOS program"},
		{"\x55\xaa", 2, 0xfe, "a boot sector or disk image"},
		{"#!", 2, 0, "a script"},
	};
	u8 head[512] = {0};
	u32 mb2;

	if (!c->kernel->size)
		return load_fail_kernel(c, ENOEXEC, "is empty; give a kernel");
	load_read(c, 0, head, MIN(c->kernel->size, sizeof(head)));
	for (u64 i = 0; i + 4 <= MIN(c->kernel->size, 32768ull); i += 8) {
		load_read(c, i, &mb2, 4);
		if (mb2 == 0xe85250d6)
			return load_fail_kernel(c, ENOEXEC,
						"is a multiboot2 kernel; Dalang takes "
						"multiboot1, bzImage or PVH");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(known); i++) {
		unsigned off = known[i].off == 0xfe ? 510 : known[i].off;

		if (!memcmp(head + off, known[i].magic, known[i].len))
			return load_fail_kernel(
				c, ENOEXEC, "is %s%s", known[i].what,
				strchr(known[i].what, ';')
					? ""
					: "; give a bzImage, multiboot1 or PVH kernel");
	}
	return load_fail_kernel(c, ENOEXEC,
				"is no kernel (%llu bytes, beginning %02x %02x %02x %02x); give a "
				"bzImage, multiboot1 or PVH kernel",
				(unsigned long long)c->kernel->size, head[0], head[1], head[2],
				head[3]);
}

int load_guest(const struct vm_config *cfg, const struct load_file *kernel,
	       const struct load_file *ramdisk, struct load_target *t, gpa_t rsdp,
	       struct load_state *out, char *why, size_t n)
{
	struct load_ctx c = {.cfg = cfg, .kernel = kernel, .ramdisk = ramdisk, .t = t,
			     .rsdp = rsdp, .out = out, .why = why, .why_size = n};
	struct load_elf elf;
	int err;

	why[0] = '\0';
	c.nr_e820 = guest_e820(t->ram_low + (t->ram_high > GIB(4) ? t->ram_high - GIB(4) : 0),
			       c.e820, LOAD_MAX_E820);
	/* A bzImage hides its PVH note in the compressed part; its own protocol leads to the same.
	 */
	err = load_linux(&c);
	if (err == -ENOENT && cfg->type != VM_TYPE_PVH)
		err = load_multiboot1(&c);
	if (err == -ENOENT)
		err = load_pvh(&c);
	if (err != -ENOENT)
		return err;
	if (load_elf_open(&c, &elf))
		return foreign(&c);
	if (cfg->type == VM_TYPE_PVH)
		return load_fail_kernel(&c, ENOEXEC,
					"is an ELF file without a PVH note "
					"(XEN_ELFNOTE_PHYS32_ENTRY) but type is "
					"\"pvh\"; give another kernel or leave type "
					"out");
	return load_fail_kernel(&c, ENOEXEC,
				"is an ELF file without a multiboot1 header or a PVH "
				"note (XEN_ELFNOTE_PHYS32_ENTRY); give a kernel");
}
