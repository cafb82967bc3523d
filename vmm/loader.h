/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Put a guest kernel into a VM's memory and say how to enter it: Linux bzImage (64-bit or 32-bit
 * boot protocol), multiboot1 ELF32 or a.out-kludge image, PVH (ELF32, ELF64). Pure code: source and
 * destination are behind callbacks, so it is tested and fuzzed on the build machine. Files are a
 * stranger's: nothing in them is trusted.
 */
#pragma once
#include "lib/types.h"
#include "vmm/config.h"

struct load_file {
	u64 size;
	/* Bytes [off, off+n) to buf; the caller has checked the range against size. */
	void (*read)(const struct load_file *f, u64 off, void *buf, size_t n);
	u64 arg;
};

struct load_target {
	u64 ram_low;  /* end of RAM below 4 GiB (from 0; 0xa0000..0xfffff is not for the loader) */
	u64 ram_high; /* end of RAM above 4 GiB, or 0 */
	u32 vcpus, vcpus_present; /* all of them; the first ones, which are plugged in */
	u32 cpu_signature, cpu_features; /* CPUID leaf 1, EAX and EDX */
	bool hpet;
	u32 nr_virtio; /* MMIO devices of virtio's */
	/* Each 0 or -EFAULT if the range is not RAM. RAM is zero before the load. */
	int (*write)(struct load_target *t, gpa_t gpa, const void *buf, size_t n);
	int (*copy)(struct load_target *t, gpa_t gpa, const struct load_file *f, u64 off, u64 n);
	int (*zero)(struct load_target *t, gpa_t gpa, u64 n);
	void *arg;
};

enum load_mode { LOAD_LONG64 /* paging on, CS 0x10 64-bit */, LOAD_PROT32 /* flat, paging off */ };
struct load_state {
	enum load_mode mode;
	const char *protocol; /* "linux64", "linux32", "multiboot1", "pvh", for the log */
	u64 rip, rsp, cr3;
	u64 rax, rbx, rsi;
	gpa_t gdt; /* of a GDT in guest memory with the segments the protocol asks for */
	u16 gdt_limit, cs, ds, tr;
};

#define LOAD_MAX_E820 16
enum { E820_RAM = 1, E820_RESERVED = 2, E820_ACPI = 3, E820_NVS = 4 };
struct e820_entry {
	u64 base, size;
	u32 type;
} __packed;
/* The guest's memory map for `memory` bytes of RAM; returns the number of entries. RAM below
 * GUEST_LOW_RAM_MAX, the rest from 4 GiB. */
#define GUEST_LOW_RAM_MAX 0xc0000000ull
/* What RAM a guest with this many physical address bits has room for. */
static inline u64 guest_memory_max(unsigned bits)
{
	return bits > 32 ? GUEST_LOW_RAM_MAX + (1ull << bits) - GIB(4) : GUEST_LOW_RAM_MAX;
}
unsigned guest_e820(u64 memory, struct e820_entry *e, unsigned max);

/* Write the guest's ACPI tables (RSDP, XSDT, RSDT, FADT, FACS, DSDT, SSDTs, MADT, MCFG, HPET) into
 * 0xe0000..0xeffff. Returns 0 and *rsdp, or -EFAULT, -ENOSPC. platform/acpi_tables.c */
int guest_acpi_tables(struct load_target *t, gpa_t *rsdp);
/* And its MP table into 0xf0000..0xfffff; likewise. platform/mp_table.c */
int guest_mp_table(struct load_target *t);

/*
 * Load by what the kernel file is and by cfg->type. ramdisk may be NULL. 0, or -ENOEXEC (not a
 * kernel we know; truncated; 32-bit only...), -ENOSPC (does not fit), -EINVAL; `why` then holds one
 * line that names the file, the value and the mend.
 */
int load_guest(const struct vm_config *cfg, const struct load_file *kernel,
	       const struct load_file *ramdisk, struct load_target *t, gpa_t rsdp,
	       struct load_state *out, char *why, size_t n);
