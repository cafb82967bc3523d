/* SPDX-License-Identifier: BSD-2-Clause */
/* dalang.elf (System V ABI, ELF64) from the volume to a place of its own. */
#include "boot/uefi/uefi.h"
#include "lib/elf.h"
#include "lib/string.h"

#define FOUR_GIB GIB(4)

struct elf {
	const u8 *file;
	u64 size;
	const struct elf64_ehdr *h;
	u64 low, high; /* virtual addresses that the segments span */
};

static const struct elf64_phdr *segment(const struct elf *e, u32 i)
{
	return (const struct elf64_phdr *)(e->file + e->h->phoff) + i;
}

/* NULL: well-formed. Otherwise what is wrong. */
static const char *check(struct elf *e)
{
	const struct elf64_ehdr *h = e->h = (const struct elf64_ehdr *)e->file;

	if (e->size < sizeof(*h) || memcmp(h->ident, "\177ELF\2\1", 6) ||
	    h->machine != ELF_EM_X86_64)
		return "not an ELF64 file for x86-64";
	if (h->phentsize != sizeof(struct elf64_phdr) || h->phoff > e->size || h->phoff % 8 ||
	    h->phnum > (e->size - h->phoff) / sizeof(struct elf64_phdr))
		return "bad program headers";
	e->low = ~0ull;
	e->high = 0;
	for (u32 i = 0; i < h->phnum; i++) {
		const struct elf64_phdr *p = segment(e, i);

		if (p->type != ELF_PT_LOAD)
			continue;
		if (p->offset > e->size || p->filesz > e->size - p->offset ||
		    p->filesz > p->memsz || p->vaddr + p->memsz < p->vaddr)
			return "cut off";
		e->low = MIN(e->low, p->vaddr);
		e->high = MAX(e->high, p->vaddr + p->memsz);
	}
	if (e->low >= e->high || e->low % PAGE_2M || e->high - e->low > GIB(1) ||
	    h->entry < e->low || h->entry >= e->high)
		return "not Dalang's image";
	return NULL;
}

EFI_STATUS image_load(struct image *img)
{
	EFI_PHYSICAL_ADDRESS at = FOUR_GIB - 1;
	struct elf e;
	const char *wrong;
	EFI_STATUS s;
	hpa_t file;

	s = volume_read("dalang.elf", &file, &e.size);
	if (EFI_ERROR(s))
		return s;
	e.file = (const u8 *)file;
	wrong = check(&e);
	if (wrong) {
		say("dalang: \\dalang\\dalang.elf: %s; copy build/dalang.elf there", wrong);
		return EFI_LOAD_ERROR;
	}
	/*
	 * 2 MiB more than needed gives a 2 MiB boundary; the rest is plain memory again later.
	 * Loader *code*, because firmware may map loader data without the right to execute.
	 */
	s = bs->AllocatePages(AllocateMaxAddress, EfiLoaderCode,
			      (e.high - e.low + PAGE_2M + PAGE_SIZE - 1) / PAGE_SIZE, &at);
	if (EFI_ERROR(s)) {
		say("dalang: no %llu KiB of memory below 4 GiB for dalang.elf: %s",
		    (unsigned long long)((e.high - e.low + PAGE_2M) >> 10), status_text(s));
		return s;
	}
	img->base = ALIGN_UP((hpa_t)at, PAGE_2M);
	img->entry = img->base + (e.h->entry - e.low);
	memset((void *)img->base, 0, e.high - e.low);
	for (u32 i = 0; i < e.h->phnum; i++) {
		const struct elf64_phdr *p = segment(&e, i);

		if (p->type == ELF_PT_LOAD)
			memcpy((void *)(img->base + (p->vaddr - e.low)), e.file + p->offset,
			       p->filesz);
	}
	bs->FreePages(file, (e.size + PAGE_SIZE - 1) / PAGE_SIZE);
	return EFI_SUCCESS;
}
