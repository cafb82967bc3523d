/* SPDX-License-Identifier: BSD-2-Clause */
/* From boot/entry.asm, at the link address and on the boot stack, to hv_main(). */
#include "boot/boot.h"

/* As in entry.asm. */
enum { KIND_PVH = 1, KIND_MULTIBOOT2, KIND_UEFI, KIND_NOT_MULTIBOOT2 };

extern const char __image_start[], __image_end[];

/* In the image, so that it stays mapped whatever tables follow. */
static struct boot_info boot_info;

void boot_main(u32 kind, u64 info, u64 entry_tsc, hpa_t image) __noreturn;

void boot_main(u32 kind, u64 info, u64 entry_tsc, hpa_t image)
{
	struct boot_info *bi = &boot_info;

	switch (kind) {
	case KIND_PVH:
		pvh_fill(bi, info);
		break;
	case KIND_MULTIBOOT2:
		multiboot2_fill(bi, info);
		break;
	case KIND_UEFI:
		/* Already in our form; its memory goes back to the pool. */
		*bi = *(const struct boot_info *)info;
		break;
	default:
		boot_error(bi,
			   "entered at the multiboot2 address without its magic in EAX; the loader "
			   "must speak multiboot2 (GRUB: multiboot2, not multiboot)");
		break;
	}
	bi->magic = BOOT_INFO_MAGIC;
	bi->entry_tsc = entry_tsc;
	bi->image_phys = image;
	bi->image_size = (u64)(__image_end - __image_start);
	if (!IS_ALIGNED(image, PAGE_2M))
		boot_error(bi, "image loaded at %#llx, which is not on a 2 MiB boundary",
			   (unsigned long long)image);
	meminfo_add(bi, image, bi->image_size, BOOT_MEM_IMAGE);
	hv_main(bi);
}
