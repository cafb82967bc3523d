/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BOOTX64.EFI: reads \dalang\dalang.cfg and all that it names, leaves firmware, enters dalang.elf.
 * What concerns one VM alone never stops the start: the hypervisor finds the file missing and
 * refuses that VM by name.
 */
#include "boot/uefi/uefi.h"
#include "boot/uefi/names.h"
#include "lib/string.h"

#define MAX_VMS 64

EFI_SYSTEM_TABLE *st;
EFI_BOOT_SERVICES *bs;

static struct cfg_space space;
static char vm_files[MAX_VMS][BOOT_NAME_MAX];
static u32 nr_vm_files;

struct vm_load {
	struct boot_info *bi;
	const char *file;
};

static void note_vm(void *arg, const char *name)
{
	(void)arg;
	if (nr_vm_files < MAX_VMS)
		str_copy(vm_files[nr_vm_files++], name, BOOT_NAME_MAX);
}

static void load_for_vm(void *arg, const char *name)
{
	const struct vm_load *v = arg;

	volume_load(v->bi, name, v->file);
}

static EFI_STATUS load_files(struct boot_info *bi)
{
	EFI_STATUS s;
	hpa_t text;
	u64 size;

	s = volume_read("dalang.cfg", &text, &size);
	if (EFI_ERROR(s))
		return s;
	boot_add_file(bi, "dalang.cfg", strlen("dalang.cfg"), text, size);
	names_of_host((const char *)text, size, &space, note_vm, NULL);
	for (u32 i = 0; i < nr_vm_files; i++) {
		const struct boot_file *f = volume_load(bi, vm_files[i], "dalang.cfg");
		struct vm_load v = {bi, vm_files[i]};

		if (f)
			names_of_vm((const char *)f->addr, f->size, &space, load_for_vm, &v);
	}
	names_of_files((const char *)text, size, &space, load_for_vm, &(struct vm_load){bi, "dalang.cfg"});
	return EFI_SUCCESS;
}

/* Below 4 GiB, as the 64-bit door wants it; copied into the image there. */
static struct boot_info *new_boot_info(void)
{
	EFI_PHYSICAL_ADDRESS at = GIB(4) - 1;
	EFI_STATUS s =
		bs->AllocatePages(AllocateMaxAddress, EfiLoaderData,
				  (sizeof(struct boot_info) + PAGE_SIZE - 1) / PAGE_SIZE, &at);

	if (EFI_ERROR(s)) {
		say("dalang: no memory below 4 GiB for the boot information: %s", status_text(s));
		return NULL;
	}
	memset((void *)at, 0, sizeof(struct boot_info));
	return (struct boot_info *)at;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table);

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
	struct boot_info *bi;
	struct image img;
	EFI_STATUS s;

	st = system_table;
	bs = st->BootServices;
	/* Firmware resets the machine five minutes after it started us, however slow the volume is.
	 */
	bs->SetWatchdogTimer(0, 0, 0, NULL);

	bi = new_boot_info();
	if (!bi)
		return EFI_OUT_OF_RESOURCES;
	str_copy(bi->loader, "uefi", sizeof(bi->loader));
	s = volume_open(image);
	if (!EFI_ERROR(s))
		s = image_load(&img);
	if (!EFI_ERROR(s))
		s = load_files(bi);
	if (!EFI_ERROR(s))
		s = map_prepare();
	if (EFI_ERROR(s))
		return s;
	find_rsdp(bi);
	find_framebuffer(bi, st->ConsoleOutHandle);
	bi->magic = BOOT_INFO_MAGIC;

	leave_firmware(image, bi);
	quiesce_dma();
	((void (*)(struct boot_info *))img.entry)(bi);
	__builtin_unreachable();
}
