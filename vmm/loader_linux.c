/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux bzImage (Linux Documentation/arch/x86/boot.rst, zero-page.rst): the protected-mode part is
 * loaded where it likes to be, and entered with RSI at boot_params: by the 64-bit boot protocol in
 * long mode at +0x200, or, a 32-bit kernel, by the 32-bit one in flat protected mode at its first
 * byte. The real-mode setup code is not run.
 */
#include "vmm/loader_parts.h"
#include "lib/errno.h"
#include "lib/string.h"

/* Offsets in the file's first sectors and, alike, in boot_params. */
enum { OFF_ACPI_RSDP = 0x070, OFF_EXT_RAMDISK = 0x0c0, OFF_E820_ENTRIES = 0x1e8,
       OFF_SETUP_HEADER = 0x1f1, OFF_SETUP_HEADER_END = 0x290, OFF_E820_TABLE = 0x2d0 };

struct setup_header { /* from OFF_SETUP_HEADER */
	u8 setup_sects;
	u16 root_flags;
	u32 syssize;
	u16 ram_size, vid_mode, root_dev, boot_flag;
	u8 jump, length;
	u32 magic;
	u16 version;
	u32 realmode_swtch;
	u16 start_sys_seg, kernel_version;
	u8 type_of_loader, loadflags;
	u16 setup_move_size;
	u32 code32_start, ramdisk_image, ramdisk_size, bootsect_kludge;
	u16 heap_end_ptr;
	u8 ext_loader_ver, ext_loader_type;
	u32 cmd_line_ptr, initrd_addr_max, kernel_alignment;
	u8 relocatable_kernel, min_alignment;
	u16 xloadflags;
	u32 cmdline_size, hardware_subarch;
	u64 hardware_subarch_data;
	u32 payload_offset, payload_length;
	u64 setup_data, pref_address;
	u32 init_size, handover_offset;
	u8 later[OFF_SETUP_HEADER_END - OFF_SETUP_HEADER - 0x77];
} __packed;
static_assert(offsetof(struct setup_header, magic) == 0x202 - 0x1f1, "boot.rst, header fields");
static_assert(offsetof(struct setup_header, kernel_alignment) == 0x230 - 0x1f1, "boot.rst");
static_assert(offsetof(struct setup_header, init_size) == 0x260 - 0x1f1, "boot.rst");
static_assert(sizeof(struct setup_header) == 0x290 - 0x1f1, "boot.rst");

#define HDRS_MAGIC        0x53726448u /* "HdrS" */
#define BOOT_FLAG         0xaa55u
#define LOADED_HIGH       0x01u
#define XLF_KERNEL_64     0x01u
#define VERSION_MIN       0x020cu /* xloadflags */
#define VERSION_ACPI_RSDP 0x020eu
#define LOADER_UNDEFINED  0xffu
#define VID_MODE_NORMAL   0xffffu
#define ENTRY64           0x200u

struct linux_image {
	struct setup_header h;
	u64 off, size; /* protected-mode part in the file */
	u64 room;      /* bytes it needs in memory */
	u64 load;
	u32 entry; /* from load */
};

/* The header up to its own stated end (boot.rst: 0x202 + the byte at 0x201). */
static int read_header(struct load_ctx *c, struct linux_image *im)
{
	struct setup_header *h = &im->h;
	size_t min = offsetof(struct setup_header, handover_offset), end;

	if (!load_read(c, OFF_SETUP_HEADER, h, offsetof(struct setup_header, realmode_swtch)) ||
	    h->boot_flag != BOOT_FLAG || h->magic != HDRS_MAGIC)
		return -ENOENT;
	if (h->version < VERSION_MIN)
		return load_fail_kernel(c, ENOEXEC,
					"Linux boot protocol %u.%u; 2.12 or later is "
					"needed (Linux 3.8)",
					h->version >> 8, h->version & 0xff);
	end = MIN(0x202u + h->length, (unsigned)OFF_SETUP_HEADER_END) - OFF_SETUP_HEADER;
	if (end < min)
		return load_fail_kernel(c, ENOEXEC,
					"bzImage header of %u bytes is too short for "
					"protocol %u.%u; build it anew",
					h->length, h->version >> 8, h->version & 0xff);
	if (!load_read(c, OFF_SETUP_HEADER, h, end))
		return load_fail_kernel(c, ENOEXEC,
					"is a truncated bzImage: %llu bytes, less than "
					"its header; copy it again",
					(unsigned long long)c->kernel->size);
	return 0;
}

static int check_header(struct load_ctx *c, struct linux_image *im)
{
	const struct setup_header *h = &im->h;
	u64 have, size = (u64)h->syssize * 16;

	if (!(h->loadflags & LOADED_HIGH))
		return load_fail_kernel(c, ENOEXEC, "is a zImage (loaded low); give a bzImage");
	im->off = ((h->setup_sects ? h->setup_sects : 4u) + 1) * 512;
	have = c->kernel->size > im->off ? c->kernel->size - im->off : 0;
	/* syssize counts paragraphs: the last one may be short in the file. */
	if (size > have + 15 || !have)
		return load_fail_kernel(c, ENOEXEC,
					"is truncated: the setup header says %llu "
					"bytes, the file has %llu; copy it again",
					(unsigned long long)(im->off + size),
					(unsigned long long)c->kernel->size);
	im->size = MIN(size, have);
	im->entry = h->xloadflags & XLF_KERNEL_64 ? ENTRY64 : 0;
	if (im->size <= im->entry)
		return load_fail_kernel(c, ENOEXEC,
					"has a protected-mode part of %llu bytes, its "
					"entry is at %u; build it anew",
					(unsigned long long)im->size, im->entry);
	im->room = MAX(im->size, (u64)h->init_size);
	return 0;
}

/* Where it wants to run. Below that address even a relocatable kernel moves itself up to it
 * (boot.rst, pref_address), so the room must be there in any case. */
static int place(struct load_ctx *c, struct linux_image *im)
{
	u64 align = im->h.kernel_alignment;

	im->load = im->h.pref_address;
	if (im->load < HIGH_RAM_START) {
		if (!align || (align & (align - 1)))
			return load_fail_kernel(c, ENOEXEC,
						"kernel_alignment 0x%llx is no power of two; build "
						"it anew",
						(unsigned long long)align);
		im->load = ALIGN_UP((u64)HIGH_RAM_START, align);
	}
	return load_segment(c, im->load, im->room, im->off, im->size);
}

static int put_cmdline(struct load_ctx *c, const struct linux_image *im)
{
	size_t len = strlen(c->cfg->cmdline), max = im->h.cmdline_size ? im->h.cmdline_size : 255;

	if (len > max)
		return load_fail_kernel(c, EINVAL,
					"the command line has %zu bytes, this kernel "
					"takes %zu; shorten it",
					len, max);
	return load_put_string(c, LOAD_CMDLINE, c->cfg->cmdline);
}

/* The zero page. RAM is zero before the load, so only what is not zero is written: screen_info
 * stays zero, which says that there is no display. */
static int put_boot_params(struct load_ctx *c, struct linux_image *im)
{
	struct setup_header *h = &im->h;
	u64 rd = c->ramdisk_gpa, rd_size = c->ramdisk ? c->ramdisk->size : 0;
	u32 ext[2] = {(u32)(rd >> 32), (u32)(rd_size >> 32)};
	u8 nr = (u8)c->nr_e820;
	u64 rsdp = c->rsdp;
	int err;

	h->vid_mode = VID_MODE_NORMAL;
	h->type_of_loader = LOADER_UNDEFINED;
	h->code32_start = (u32)im->load;
	h->ramdisk_image = (u32)rd;
	h->ramdisk_size = (u32)rd_size;
	h->cmd_line_ptr = LOAD_CMDLINE;
	h->setup_data = 0;
	err = load_put(c, LOAD_INFO + OFF_SETUP_HEADER, h, sizeof(*h));
	err = err ?: load_put(c, LOAD_INFO + OFF_EXT_RAMDISK, ext, sizeof(ext));
	if (h->version >= VERSION_ACPI_RSDP)
		err = err ?: load_put(c, LOAD_INFO + OFF_ACPI_RSDP, &rsdp, sizeof(rsdp));
	err = err ?: load_put(c, LOAD_INFO + OFF_E820_ENTRIES, &nr, 1);
	return err ?: load_put(c, LOAD_INFO + OFF_E820_TABLE, c->e820, nr * sizeof(c->e820[0]));
}

int load_linux(struct load_ctx *c)
{
	struct linux_image im = {0};
	int err = read_header(c, &im);

	err = err ?: check_header(c, &im);
	err = err ?: put_cmdline(c, &im);
	err = err ?: place(c, &im);
	err = err ?: load_ramdisk(c, LOAD_HIGHEST, im.h.initrd_addr_max);
	err = err ?: put_boot_params(c, &im);
	if (err)
		return err;
	if (im.entry)
		return load_enter64(c, "linux64", im.load + im.entry, LOAD_INFO);
	err = load_enter32(c, "linux32", im.load, 0, 0);
	c->out->rsi = LOAD_INFO;
	return err;
}
