/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/monitor/lineedit.c lib/string.c */
/* The line editor: after any bytes the terminal shows the line that the editor has. */
#include <stdarg.h>
#include "tests/unit/line_screen.h"

static bool words(const char *line, u32 word, u32 i, char *buf, size_t size)
{
	static const char *const all[] = {"list", "pause", "pin", "a name longer than the completion has room for, by some bytes and more"};

	(void)line;
	(void)word;
	if (i >= ARRAY_SIZE(all))
		return false;
	snprintf(buf, size, "%.39s", all[i]);
	return true;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct lineedit ed;

	memset(&ed, 0x5a, sizeof(ed));
	ed.prompt = "dalang> ";
	ed.cols = SCREEN_COLS;
	ed.put = screen_put;
	ed.complete = words;
	lineedit_init(&ed);
	screen_clear();
	lineedit_show(&ed);
	for (size_t i = 0; i < size; i++) {
		if (lineedit_key(&ed, data[i]))
			lineedit_show(&ed);
		screen_check(&ed);
	}
	return 0;
}
