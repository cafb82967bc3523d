/* SPDX-License-Identifier: BSD-2-Clause */
/* The three formats as data. */
#include "arch/x86_64/pt_format.h"

/* Bits 52..56 are ignored by the CPU in leaves of all three formats (SDM vol. 3, tables 4-20 and
 * 29-7; APM vol. 2, 5.4). 52 is ours. */
#define SW_COW BIT(52)
#define ADDR 0x000ffffffffff000ul

/*
 * Ordinary long-mode tables (SDM vol. 3, 4.5). Memory types are indices into PAT_HOST (x86.h):
 * WB 0, WT 1, UC 3, WC 4, WP 5. An index is PAT:PCD:PWT; PAT is bit 7 in a 4 KiB leaf, 12 in others.
 */
#define PWT BIT(3)
#define PCD BIT(4)
#define PAT_4K BIT(7)
#define PAT_LARGE BIT(12)
#define LONG_MODE_TYPES                                                                            \
	.mt_small = {[PT_UC] = PCD | PWT, [PT_WC] = PAT_4K, [PT_WT] = PWT, [PT_WP] = PAT_4K | PWT, \
		     [PT_WB] = 0},                                                                 \
	.mt_large = {[PT_UC] = PCD | PWT, [PT_WC] = PAT_LARGE, [PT_WT] = PWT,                      \
		     [PT_WP] = PAT_LARGE | PWT, [PT_WB] = 0},                                      \
	.mt_small_mask = PAT_4K | PCD | PWT, .mt_large_mask = PAT_LARGE | PCD | PWT

/* Rights are the AND over all levels; ours are decided in the leaves alone (table, r, w, u). */
/* clang-format off */
const struct pt_format pt_host_format = {
	.name = "host", .present = BIT(0), .addr_mask = ADDR, .table = BIT(0) | BIT(1) | BIT(2),
	.r = BIT(0), .w = BIT(1), .u = BIT(2), .g = BIT(8), .nx = BIT(63),
	.cow = SW_COW, .large = BIT(7), .a = BIT(5), .d = BIT(6), .canonical = true,
	LONG_MODE_TYPES,
};
/* clang-format on */

/* Nested tables of SVM: long-mode format; every access of a guest counts as a user access, so U
 * is always set (APM vol. 2, 15.25.5). Types index the host's PAT (15.25.8). */
/* clang-format off */
const struct pt_format pt_npt_format = {
	.name = "npt", .present = BIT(0), .addr_mask = ADDR, .table = BIT(0) | BIT(1) | BIT(2),
	.r = BIT(0), .w = BIT(1), .nx = BIT(63), .always = BIT(2),
	.cow = SW_COW, .large = BIT(7), .a = BIT(5), .d = BIT(6),
	LONG_MODE_TYPES,
};
/* clang-format on */

/* EPT (SDM vol. 3, 29.3.2): R, W, X in bits 0..2, memory type in 5:3, ignore-PAT 6, A 8, D 9. */
#define EPT_MT(t) ((u64)(t) << 3)
#define EPT_TYPES                                                                                  \
	{[PT_UC] = EPT_MT(PT_UC), [PT_WC] = EPT_MT(PT_WC), [PT_WT] = EPT_MT(PT_WT),                \
	 [PT_WP] = EPT_MT(PT_WP), [PT_WB] = EPT_MT(PT_WB)}
/* clang-format off */
const struct pt_format pt_ept_format = {
	.name = "ept", .present = BIT(0) | BIT(1) | BIT(2), .addr_mask = ADDR,
	.table = BIT(0) | BIT(1) | BIT(2),
	.r = BIT(0), .w = BIT(1), .x = BIT(2),
	.ipat = BIT(6), .cow = SW_COW, .large = BIT(7), .a = BIT(8), .d = BIT(9),
	.mt_small = EPT_TYPES, .mt_large = EPT_TYPES,
	.mt_small_mask = EPT_MT(7), .mt_large_mask = EPT_MT(7),
};
/* clang-format on */
