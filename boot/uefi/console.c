/* SPDX-License-Identifier: BSD-2-Clause */
#include "boot/uefi/uefi.h"
#include "lib/string.h"

#define COM1 0x3f8

static bool firmware_gone;

void console_firmware_gone(void)
{
	firmware_gone = true;
}

/*
 * Firmware may route its own console to COM1 or not; a line that matters goes there in any case.
 * The port is used as firmware left it (a divisor changed under firmware's driver would garble its
 * lines).
 */
static void com1_putc(char c)
{
	/* No UART reads as 0xff, and a wedged one never gets ready: both are left after a bounded
	 * wait. */
	for (u32 i = 0; i < 100000; i++) {
		u8 lsr = inb(COM1 + 5);

		if (lsr == 0xff)
			return;
		if (lsr & 0x20) {
			outb(COM1, (u8)c);
			return;
		}
	}
}

void say(const char *fmt, ...)
{
	char line[384];
	CHAR16 wide[sizeof(line) + 3];
	size_t n = 0;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	for (; line[n]; n++) {
		com1_putc(line[n]);
		wide[n] = (u8)line[n] < 0x80 ? (CHAR16)line[n] : L'?';
	}
	com1_putc('\r');
	com1_putc('\n');
	if (firmware_gone || !st->ConOut)
		return;
	wide[n] = L'\r';
	wide[n + 1] = L'\n';
	wide[n + 2] = 0;
	st->ConOut->OutputString(st->ConOut, wide);
}

const char *status_text(EFI_STATUS s)
{
	static char other[32];

	switch (s) {
	case EFI_NOT_FOUND:
		return "not found";
	case EFI_DEVICE_ERROR:
	case EFI_VOLUME_CORRUPTED:
	case EFI_CRC_ERROR:
		return "the volume cannot be read";
	case EFI_OUT_OF_RESOURCES:
		return "not enough memory";
	case EFI_ACCESS_DENIED:
	case EFI_SECURITY_VIOLATION:
		return "access denied by firmware";
	case EFI_END_OF_FILE:
		return "ends too early";
	case EFI_INVALID_PARAMETER:
		return "not a name that firmware takes";
	default:
		snprintf(other, sizeof(other), "EFI status %#llx", (unsigned long long)s);
		return other;
	}
}
