/* SPDX-License-Identifier: BSD-2-Clause */
/* The image's own symbol table, for backtraces: filled in by the second link. */
#pragma once
#include "lib/types.h"

/* The function that holds addr and the distance into it; NULL (offset untouched) outside the text.
 */
const char *symbol_lookup(u64 addr, u64 *offset);
