/* SPDX-License-Identifier: BSD-2-Clause */
/* Files of the directory \dalang on the volume that the application was loaded from. */
#include "boot/uefi/uefi.h"
#include "lib/string.h"

#define DIRECTORY "\\dalang\\"

static EFI_FILE_PROTOCOL *root;

EFI_STATUS volume_open(EFI_HANDLE image)
{
	EFI_GUID loaded_image = LOADED_IMAGE_PROTOCOL, file_system = SIMPLE_FILE_SYSTEM_PROTOCOL;
	EFI_SIMPLE_FILE_SYSTEM_PROTOCOL *fs;
	EFI_LOADED_IMAGE *li;
	EFI_STATUS s = bs->HandleProtocol(image, &loaded_image, (void **)&li);

	if (!EFI_ERROR(s))
		s = bs->HandleProtocol(li->DeviceHandle, &file_system, (void **)&fs);
	if (!EFI_ERROR(s))
		s = fs->OpenVolume(fs, &root);
	if (EFI_ERROR(s))
		say("dalang: the volume that BOOTX64.EFI came from cannot be opened (%s); boot from a FAT "
		    "volume",
		    status_text(s));
	return s;
}

/* False: a character that the volume's names do not take this way, or too long. */
static bool make_path(CHAR16 *path, size_t max, const char *name)
{
	size_t n = 0;

	for (const char *d = DIRECTORY; *d; d++)
		path[n++] = (CHAR16)*d;
	while (*name == '/')
		name++;
	for (; *name; name++) {
		if ((u8)*name >= 0x80 || (u8)*name < 0x20 || n + 1 >= max)
			return false;
		path[n++] = *name == '/' ? L'\\' : (CHAR16)*name;
	}
	path[n] = 0;
	return true;
}

static EFI_STATUS file_size(EFI_FILE_PROTOCOL *f, u64 *size)
{
	EFI_GUID info_id = EFI_FILE_INFO_ID;
	/* The name follows the structure: at most 255 characters on FAT (and a path's 128 here). */
	static union {
		EFI_FILE_INFO info;
		u8 space[sizeof(EFI_FILE_INFO) + 2 * 512];
	} u;
	UINTN n = sizeof(u);
	EFI_STATUS s = f->GetInfo(f, &info_id, &n, &u);

	if (EFI_ERROR(s))
		return s;
	/* A directory opens like a file. */
	if (u.info.Attribute & EFI_FILE_DIRECTORY)
		return EFI_NOT_FOUND;
	*size = u.info.FileSize;
	return EFI_SUCCESS;
}

/* In pieces: there is firmware that fails on one very long read. */
static EFI_STATUS read_whole(EFI_FILE_PROTOCOL *f, u8 *to, u64 size)
{
	while (size) {
		UINTN n = MIN(size, MIB(4));
		EFI_STATUS s = f->Read(f, &n, to);

		if (EFI_ERROR(s))
			return s;
		if (!n)
			return EFI_END_OF_FILE;
		to += n;
		size -= n;
	}
	return EFI_SUCCESS;
}

static EFI_STATUS read_file(const char *name, hpa_t *addr, u64 *size)
{
	CHAR16 path[sizeof(DIRECTORY) + BOOT_NAME_MAX];
	EFI_FILE_PROTOCOL *f;
	EFI_STATUS s;

	*addr = 0;
	*size = 0;
	if (!make_path(path, ARRAY_SIZE(path), name))
		return EFI_INVALID_PARAMETER;
	s = root->Open(root, &f, path, EFI_FILE_MODE_READ, 0);
	if (EFI_ERROR(s))
		return s;
	s = file_size(f, size);
	if (!EFI_ERROR(s) && *size) {
		EFI_PHYSICAL_ADDRESS at = 0;
		UINTN pages = (*size + PAGE_SIZE - 1) / PAGE_SIZE;

		s = bs->AllocatePages(AllocateAnyPages, EfiLoaderData, pages, &at);
		if (!EFI_ERROR(s)) {
			s = read_whole(f, (u8 *)at, *size);
			if (EFI_ERROR(s))
				bs->FreePages(at, pages);
			else
				*addr = at;
		}
	}
	f->Close(f);
	return s;
}

EFI_STATUS volume_read(const char *name, hpa_t *addr, u64 *size)
{
	EFI_STATUS s = read_file(name, addr, size);

	if (EFI_ERROR(s))
		say("dalang: " DIRECTORY "%s: %s; it has to be on the volume of BOOTX64.EFI", name,
		    status_text(s));
	return s;
}

const struct boot_file *volume_load(struct boot_info *bi, const char *name, const char *named_in)
{
	const struct boot_file *have = boot_file_find(bi, name);
	EFI_STATUS s;
	hpa_t addr;
	u64 size;

	if (have)
		return have;
	s = read_file(name, &addr, &size);
	if (EFI_ERROR(s)) {
		say("dalang: %s names %s: " DIRECTORY "%s: %s", named_in, name, name,
		    status_text(s));
		return NULL;
	}
	boot_add_file(bi, name, strlen(name), addr, size);
	return boot_file_find(bi, name);
}
