/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one way to guest memory. Every function checks the whole range first: RAM of this VM or
 * nothing happens. Copy-on-write is resolved and dirty pages are marked here.
 */
#pragma once
#include "lib/types.h"

struct vm;

/* Copy. 0; -EFAULT: part of the range is not RAM (nothing was copied). Any length. */
int gmem_read(struct vm *vm, gpa_t gpa, void *buf, size_t n);
int gmem_write(struct vm *vm, gpa_t gpa, const void *buf, size_t n);
/* Copy from host-physical memory (a loaded file). */
int gmem_copy_from_phys(struct vm *vm, gpa_t gpa, hpa_t src, u64 n);
/* And to it. */
int gmem_copy_to_phys(struct vm *vm, hpa_t dst, gpa_t gpa, u64 n);
/* A short-lived pointer to n bytes inside one 4 KiB page; NULL as -EFAULT. Unmap in reverse order. */
void *gmem_map(struct vm *vm, gpa_t gpa, size_t n, bool write);
void gmem_unmap(struct vm *vm, void *p);
/* Where n bytes inside one 4 KiB page lie now; false: not RAM. For pinned windows (gwalk.c) only. */
bool gmem_to_phys(struct vm *vm, gpa_t gpa, size_t n, hpa_t *hpa);
/* Is all of the range RAM? */
bool gmem_is_ram(struct vm *vm, gpa_t gpa, u64 n);
/*
 * Has this VM RAM that may have no memory behind it (backing.c)? All functions here give it some, at once; a guest that
 * asks for much at a time is served in turns: prepare() says 0: it is all there; -EAGAIN: one block of 2 MiB more is there, come
 * again; -ENOMEM: the host has none now, come again later.
 */
bool gmem_sparse(const struct vm *vm);
int gmem_prepare(struct vm *vm, gpa_t gpa, u64 n);
/*
 * For DMA: where the first bytes of a range that is RAM lie, and how many of them one behind the other (at least one, to the
 * end of a block of 2 MiB at most). The block is not given to anybody else until gmem_unpin(), be the guest gone or not.
 * write: the device will write there: whoever looks for what has changed takes a pinned block for changed. -EFAULT: no RAM.
 */
int gmem_pin(struct vm *vm, gpa_t gpa, u64 n, bool write, hpa_t *hpa, u64 *len);
void gmem_unpin(hpa_t hpa);
