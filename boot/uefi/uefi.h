/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside the UEFI application. It runs under firmware until leave_firmware(); nothing after that
 * may call a boot service. References are to the UEFI specification 2.10.
 */
#pragma once
#include <efi.h>
#include "boot/boot.h"

extern EFI_SYSTEM_TABLE *st;
extern EFI_BOOT_SERVICES *bs;

static inline void outb(u16 port, u8 v)
{
	__asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline u8 inb(u16 port)
{
	u8 v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}
static inline void outl(u16 port, u32 v)
{
	__asm__ volatile("outl %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline u32 inl(u16 port)
{
	u32 v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

/* --- console.c --- */
/* One line on COM1 and, while firmware is there, on its console. */
void say(const char *fmt, ...) __format(1, 2);
void console_firmware_gone(void);
/* A status in words. */
const char *status_text(EFI_STATUS s);

/* --- volume.c: the volume that the application came from --- */
EFI_STATUS volume_open(EFI_HANDLE image);
/* Read \dalang\NAME ('/' between parts) into pages of its own. On failure says so in one line. */
EFI_STATUS volume_read(const char *name, hpa_t *addr, u64 *size);
/* The same into bi's file table, once a name; `named_in` is for the message. NULL if it failed. */
const struct boot_file *volume_load(struct boot_info *bi, const char *name, const char *named_in);

/* --- image.c --- */
struct image {
	hpa_t base;  /* 2 MiB aligned, below 4 GiB */
	hpa_t entry; /* 64-bit, physical */
};
/* Read \dalang\dalang.elf and lay its segments out in free memory. */
EFI_STATUS image_load(struct image *img);

/* --- machine.c --- */
void find_rsdp(struct boot_info *bi);
void find_framebuffer(struct boot_info *bi, EFI_HANDLE console);
/* Memory for the final map, taken before it. */
EFI_STATUS map_prepare(void);
/* ExitBootServices, then the memory map into bi. Does not return if firmware will not let go. */
void leave_firmware(EFI_HANDLE image, struct boot_info *bi);
/* After leave_firmware: no PCI device may write to memory any more. */
void quiesce_dma(void);
