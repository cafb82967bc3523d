/* SPDX-License-Identifier: BSD-2-Clause */
/* ELF files for the multiboot1 and PVH loaders. ELF32 headers are widened to ELF64's. */
#include "vmm/loader_parts.h"
#include "lib/errno.h"
#include "lib/string.h"

#define MAX_PHDRS 64

static void widen_header(struct load_elf *e, const struct elf64_ehdr *h)
{
	const struct elf32_ehdr *h32 = (const void *)h;

	e->is64 = h->ident[4] == ELF_CLASS64;
	e->entry = e->is64 ? h->entry : h32->entry;
	e->phoff = e->is64 ? h->phoff : h32->phoff;
	e->phnum = e->is64 ? h->phnum : h32->phnum;
	e->phentsize = e->is64 ? h->phentsize : h32->phentsize;
}

int load_elf_open(struct load_ctx *c, struct load_elf *e)
{
	struct elf64_ehdr h = {0};
	u64 want;

	if (!load_read(c, 0, h.ident, 4) || memcmp(h.ident, ELF_MAGIC, 4))
		return -ENOENT;
	if (!load_read(c, 0, &h, sizeof(struct elf32_ehdr)) ||
	    (h.ident[4] == ELF_CLASS64 && !load_read(c, 0, &h, sizeof(h))))
		return load_fail_kernel(c, ENOEXEC,
					"is an ELF file of %llu bytes, less than its "
					"header; copy it again",
					(unsigned long long)c->kernel->size);
	if ((h.ident[4] != ELF_CLASS32 && h.ident[4] != ELF_CLASS64) ||
	    h.ident[5] != ELF_DATA_LSB || (h.machine != ELF_EM_386 && h.machine != ELF_EM_X86_64))
		return load_fail_kernel(c, ENOEXEC,
					"is an ELF file for another machine (class %u, "
					"data %u, machine %u); give an x86 kernel",
					h.ident[4], h.ident[5], h.machine);
	if (h.type != ELF_ET_EXEC && h.type != ELF_ET_DYN)
		return load_fail_kernel(c, ENOEXEC,
					"is an ELF file of type %u (object or core); "
					"give a linked kernel",
					h.type);
	widen_header(e, &h);
	want = e->is64 ? sizeof(struct elf64_phdr) : sizeof(struct elf32_phdr);
	if (!e->phnum || e->phnum > MAX_PHDRS || e->phentsize < want)
		return load_fail_kernel(c, ENOEXEC,
					"has %u program headers of %u bytes; 1 to %u "
					"of %llu are read, link it anew",
					e->phnum, e->phentsize, MAX_PHDRS,
					(unsigned long long)want);
	want = (u64)e->phnum * e->phentsize;
	if (e->phoff > c->kernel->size || want > c->kernel->size - e->phoff)
		return load_fail_kernel(c, ENOEXEC,
					"is truncated: program headers at %llu, the "
					"file has %llu bytes; copy it again",
					(unsigned long long)e->phoff,
					(unsigned long long)c->kernel->size);
	return 0;
}

int load_elf_phdr(struct load_ctx *c, const struct load_elf *e, unsigned i, struct elf64_phdr *p)
{
	u64 off = e->phoff + (u64)i * e->phentsize;
	struct elf32_phdr p32;

	if (e->is64)
		return load_read(c, off, p, sizeof(*p)) ? 0 : -ENOEXEC;
	if (!load_read(c, off, &p32, sizeof(p32)))
		return -ENOEXEC;
	*p = (struct elf64_phdr){
		.type = p32.type, .flags = p32.flags, .offset = p32.offset, .vaddr = p32.vaddr,
		.paddr = p32.paddr, .filesz = p32.filesz, .memsz = p32.memsz, .align = p32.align,
	};
	return 0;
}

static bool within(u64 x, u64 base, u64 size)
{
	return x >= base && x - base < size;
}

int load_elf_segments(struct load_ctx *c, const struct load_elf *e, bool virt, u64 *entry)
{
	u64 physical = 0;
	bool found = false;

	for (unsigned i = 0; i < e->phnum; i++) {
		struct elf64_phdr p;
		int err = load_elf_phdr(c, e, i, &p);

		if (err)
			return load_fail_kernel(c, ENOEXEC, "is truncated; copy it again");
		if (p.type != ELF_PT_LOAD || !p.memsz)
			continue;
		if (p.filesz > p.memsz)
			return load_fail_kernel(c, ENOEXEC,
						"segment %u has %llu bytes in the file but %llu in "
						"memory; link it anew",
						i, (unsigned long long)p.filesz,
						(unsigned long long)p.memsz);
		err = load_segment(c, p.paddr, p.memsz, p.offset, p.filesz);
		if (err)
			return err;
		if (!found && within(*entry, virt ? p.vaddr : p.paddr, p.memsz)) {
			physical = *entry - (virt ? p.vaddr : p.paddr) + p.paddr;
			found = true;
		}
	}
	if (!found)
		return load_fail_kernel(c, ENOEXEC,
					"entry 0x%llx lies in none of its segments; "
					"link it anew",
					(unsigned long long)*entry);
	*entry = physical;
	return 0;
}
