/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: arch/x86_64/vt.c lib/string.c */
/* A guest's bytes on the screen: on a screen of any size they move nothing but letters of that size. */
#include <stdarg.h>
#include <stdlib.h>
#include "arch/x86_64/vt.h"
#include "lib/string.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	static struct vt vt;

	if (size < 3)
		return 0;
	memset(&vt, 1, sizeof(vt));
	vt_init(&vt, 2 + data[0] % (VT_ROWS - 1), 2 + data[1] % (VT_COLS - 1));
	vt.jump = 1 + data[2] % 9;
	for (u32 r = 0; r < VT_ROWS; r++)
		for (u32 c = 0; c < VT_COLS; c++)
			if (r >= vt.rows || c >= vt.cols)
				vt.text[r][c] = 1;
	for (size_t i = 3; i < size; i++) {
		vt_write(&vt, data + i, 1);
		if (vt.row >= vt.rows || vt.col > vt.cols || vt.top >= vt.bottom || vt.bottom >= vt.rows)
			abort();
	}
	for (u32 r = 0; r < VT_ROWS; r++)
		for (u32 c = 0; c < VT_COLS; c++)
			if ((r >= vt.rows || c >= vt.cols) != (vt.text[r][c] < ' '))
				abort();
	return 0;
}
