/* SPDX-License-Identifier: BSD-2-Clause */
/* The hypervisor's address space. Nothing is mapped below 0xffff800000000000 after bring-up. */
#pragma once
#include "lib/types.h"

#define DIRECT_BASE 0xffff800000000000ul /* + physical address: our own pool only */
#define IO_BASE	    0xffffc00000000000ul /* io_map(), growing */
#define IO_SIZE	    GIB(64)
#define WINDOW_BASE 0xffffd00000000000ul /* WINDOW_STRIDE a pCPU: 4 KiB slots, then one 2 MiB slot */
#define WINDOW_STRIDE (2 * PAGE_2M)
#define STACK_BASE  0xffffe00000000000ul /* STACK_STRIDE a pCPU, guard pages between stacks */
#define STACK_STRIDE KIB(64)
#define IMAGE_BASE  0xffffffff80000000ul

#define KSTACK_SIZE KIB(16)
#define IST_STACK_SIZE KIB(8)

/* linker.ld */
extern char __image_start[], __image_end[];
extern char __text_start[], __text_end[], __rodata_start[], __rodata_end[], __data_start[];
