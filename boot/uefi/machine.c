/* SPDX-License-Identifier: BSD-2-Clause */
/* What firmware knows of the machine, and how we leave it. */
#include "boot/uefi/uefi.h"
#include "lib/string.h"

#define EXIT_TRIES 8
/* Firmware's own work during the retries may lengthen the map: room for many more entries. */
#define MAP_SLACK KIB(64)

static u8 *map;
static UINTN map_space;

static bool same_guid(const EFI_GUID *a, const EFI_GUID *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* ACPI 6.4, 5.2.5.2: the 2.0 table's pointer is preferred, where both are there. */
void find_rsdp(struct boot_info *bi)
{
	static const EFI_GUID acpi1 = ACPI_TABLE_GUID, acpi2 = ACPI_20_TABLE_GUID;
	bool have2 = false;

	for (UINTN i = 0; i < st->NumberOfTableEntries; i++) {
		const EFI_CONFIGURATION_TABLE *t = &st->ConfigurationTable[i];

		if (same_guid(&t->VendorGuid, &acpi2) ||
		    (!have2 && same_guid(&t->VendorGuid, &acpi1)))
			bi->rsdp = (hpa_t)t->VendorTable;
		have2 |= same_guid(&t->VendorGuid, &acpi2);
	}
}

static u8 shift_of(u32 mask)
{
	return mask ? (u8)__builtin_ctz(mask) : 0;
}

/* The framebuffer as it is: the mode is never set and nothing is disconnected, so the screen keeps
 * what firmware showed. */
void find_framebuffer(struct boot_info *bi, EFI_HANDLE console)
{
	EFI_GUID id = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
	EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;
	const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *m;
	struct boot_fb fb = {.bpp = 32};

	if ((!console || EFI_ERROR(bs->HandleProtocol(console, &id, (void **)&gop))) &&
	    EFI_ERROR(bs->LocateProtocol(&id, NULL, (void **)&gop)))
		return;
	if (!gop->Mode || !gop->Mode->Info || !gop->Mode->FrameBufferBase)
		return;
	m = gop->Mode->Info;
	switch (m->PixelFormat) {
	case PixelRedGreenBlueReserved8BitPerColor:
		fb.green_shift = 8;
		fb.blue_shift = 16;
		break;
	case PixelBlueGreenRedReserved8BitPerColor:
		fb.red_shift = 16;
		fb.green_shift = 8;
		break;
	case PixelBitMask:
		/* Only 32-bit pixels: a mask in the highest byte says so (12.9.2). */
		if (!((m->PixelInformation.RedMask | m->PixelInformation.GreenMask |
		       m->PixelInformation.BlueMask | m->PixelInformation.ReservedMask) >>
		      24))
			return;
		fb.red_shift = shift_of(m->PixelInformation.RedMask);
		fb.green_shift = shift_of(m->PixelInformation.GreenMask);
		fb.blue_shift = shift_of(m->PixelInformation.BlueMask);
		break;
	default: /* no linear framebuffer */
		return;
	}
	fb.addr = gop->Mode->FrameBufferBase;
	fb.width = m->HorizontalResolution;
	fb.height = m->VerticalResolution;
	fb.pitch = m->PixelsPerScanLine * 4;
	bi->fb = fb;
}

EFI_STATUS map_prepare(void)
{
	UINTN size = 0, key, entry;
	UINT32 version;
	EFI_PHYSICAL_ADDRESS at = 0;
	EFI_STATUS s;

	bs->GetMemoryMap(&size, NULL, &key, &entry, &version);
	map_space = ALIGN_UP(size + MAP_SLACK, PAGE_SIZE);
	s = bs->AllocatePages(AllocateAnyPages, EfiLoaderData, map_space / PAGE_SIZE, &at);
	map = (u8 *)at;
	if (EFI_ERROR(s))
		say("dalang: no memory for firmware's memory map: %s", status_text(s));
	return s;
}

static enum boot_mem_type mem_type(u32 efi_type)
{
	switch (efi_type) {
	case EfiLoaderCode:
	case EfiLoaderData:
	case EfiBootServicesCode:
	case EfiBootServicesData:
	case EfiConventionalMemory:
		return BOOT_MEM_USABLE;
	case EfiACPIReclaimMemory:
		return BOOT_MEM_ACPI;
	case EfiACPIMemoryNVS:
	case EfiRuntimeServicesCode:
	case EfiRuntimeServicesData:
		return BOOT_MEM_NVS;
	case EfiUnusableMemory:
		return BOOT_MEM_BAD;
	default: /* MMIO, PAL, persistent, and types that came after this was written */
		return BOOT_MEM_RESERVED;
	}
}

static void convert_map(struct boot_info *bi, UINTN size, UINTN entry)
{
	for (UINTN off = 0; off + entry <= size; off += entry) {
		const EFI_MEMORY_DESCRIPTOR *d = (const void *)(map + off);

		meminfo_add(bi, d->PhysicalStart, d->NumberOfPages << EFI_PAGE_SHIFT,
			    mem_type(d->Type));
	}
	for (u32 i = 0; i < bi->nr_files; i++)
		meminfo_add(bi, bi->files[i].addr, bi->files[i].size, BOOT_MEM_FILES);
}

void leave_firmware(EFI_HANDLE image, struct boot_info *bi)
{
	EFI_STATUS s = EFI_SUCCESS;
	UINTN size = 0, key, entry = 0;
	UINT32 version;

	/*
	 * ExitBootServices refuses a stale key: an event between the two calls may have allocated
	 * memory. After the first refusal only these two services may be called (7.4.6), and
	 * nothing else is.
	 */
	for (int try = 0; try < EXIT_TRIES; try++) {
		size = map_space;
		s = bs->GetMemoryMap(&size, (void *)map, &key, &entry, &version);
		if (!EFI_ERROR(s))
			s = bs->ExitBootServices(image, key);
		if (!EFI_ERROR(s)) {
			__asm__ volatile("cli");
			console_firmware_gone();
			convert_map(bi, size, entry);
			return;
		}
	}
	console_firmware_gone();
	say("dalang: firmware did not let go in %d tries: %s; reset the machine", EXIT_TRIES,
	    status_text(s));
	for (;;)
		__asm__ volatile("cli; hlt");
}

static u32 pci_read(u32 bdf, u32 reg)
{
	outl(0xcf8, 0x80000000u | bdf << 8 | reg);
	return inl(0xcfc);
}

/* Returns the device's id register: all ones means that there is no such function. */
static u32 quiet_function(u32 bdf)
{
	u32 id = pci_read(bdf, 0x00), command, class;

	if ((id & 0xffff) == 0xffff)
		return id;
	class = pci_read(bdf, 0x08) >> 24;
	if (class == 0x03 || class == 0x06 || class == 0x08)
		return id;
	command = pci_read(bdf, 0x04);
	/* The status half is write-1-to-clear: zeros leave it alone. */
	if (command & 4)
		outl(0xcfc, command & 0xfffb);
	return id;
}

/*
 * Firmware's drivers stop their devices when boot services end; a network card or USB controller
 * whose driver does not goes on writing to memory that is now ours. So Bus Master Enable is taken
 * from every function - after ExitBootServices, because a driver that finds its device deaf before
 * then may wait for it for ever. Left alone: bridges (the devices behind them are treated one by
 * one, and a bridge carries MSIs of later users), the display (it may fetch its picture through the
 * same bit), and system peripherals (an I/O APIC on PCI delivers interrupts as bus master). Through
 * ports, so segment 0 alone: the only one without a firmware table to find others.
 */
void quiesce_dma(void)
{
	for (u32 device = 0; device < 256 * 32; device++) {
		u32 bdf = device << 3;

		if ((quiet_function(bdf) & 0xffff) == 0xffff)
			continue;
		if (!(pci_read(bdf, 0x0c) >> 16 & 0x80))
			continue;
		for (u32 f = 1; f < 8; f++)
			quiet_function(bdf | f);
	}
}
