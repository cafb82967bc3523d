/* SPDX-License-Identifier: BSD-2-Clause */
/* The parts of ELF (System V ABI, gABI 4.1; x86 supplements) that loading a kernel needs. */
#pragma once
#include "lib/types.h"

#define ELF_MAGIC     "\177ELF"
#define ELF_CLASS32   1
#define ELF_CLASS64   2
#define ELF_DATA_LSB  1
#define ELF_ET_EXEC   2
#define ELF_ET_DYN    3
#define ELF_EM_386    3
#define ELF_EM_X86_64 62
#define ELF_PT_LOAD   1
#define ELF_PT_NOTE   4

struct elf32_ehdr {
	u8 ident[16];
	u16 type, machine;
	u32 version, entry, phoff, shoff, flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
static_assert(sizeof(struct elf32_ehdr) == 52, "gABI 4.1, ELF header");

struct elf64_ehdr {
	u8 ident[16];
	u16 type, machine;
	u32 version;
	u64 entry, phoff, shoff;
	u32 flags;
	u16 ehsize, phentsize, phnum, shentsize, shnum, shstrndx;
};
static_assert(sizeof(struct elf64_ehdr) == 64, "gABI 4.1, ELF header");

struct elf32_phdr {
	u32 type, offset, vaddr, paddr, filesz, memsz, flags, align;
};
static_assert(sizeof(struct elf32_phdr) == 32, "gABI 4.1, program header");

struct elf64_phdr {
	u32 type, flags;
	u64 offset, vaddr, paddr, filesz, memsz, align;
};
static_assert(sizeof(struct elf64_phdr) == 56, "gABI 4.1, program header");

struct elf_nhdr {
	u32 namesz, descsz, type;
};
static_assert(sizeof(struct elf_nhdr) == 12, "gABI 4.1, note section");
