/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one way to guest memory. Every function checks the whole range first: RAM of this VM or
 * nothing happens. Copy-on-write is resolved and dirty pages are marked here.
 */
#pragma once
#include "arch/x86_64/window.h"
#include "lib/types.h"

struct vm;

/* Copy. 0; -EFAULT: part of the range is not RAM (nothing was copied). Any length. */
int gmem_read(struct vm *vm, gpa_t gpa, void *buf, size_t n);
int gmem_write(struct vm *vm, gpa_t gpa, const void *buf, size_t n);
/* Copy from host-physical memory (a loaded file). */
int gmem_copy_from_phys(struct vm *vm, gpa_t gpa, hpa_t src, u64 n);
/* A short-lived pointer to n bytes inside one page; NULL as -EFAULT. Unmap in reverse order. */
void *gmem_map(struct vm *vm, gpa_t gpa, size_t n, bool write);
void gmem_unmap(struct vm *vm, void *p);
/*
 * For what is looked at again and again, as rings are: a pointer as that of gmem_map(), which costs
 * little when the same place was asked for last time. It is good until the same hold (< GMEM_HOLDS)
 * is used again, or until the handler returns, and is not unmapped. Who is not called by the VM's
 * own vCPU calls gmem_release() when he is done, so that no other guest runs while this one's
 * memory is mapped.
 */
#define GMEM_HOLDS	8u
#define GMEM_FIRST_HOLD (WINDOW_PINS - GMEM_HOLDS)
void *gmem_hold(struct vm *vm, unsigned hold, gpa_t gpa, size_t n); /* to read */
void *gmem_hold_write(struct vm *vm, unsigned hold, gpa_t gpa, size_t n);
/* The same for any page of a file or a frame, to its end. */
void *gmem_hold_phys(unsigned hold, hpa_t pa);
void gmem_release(void);
/* Where n bytes inside one page lie now; false: not RAM. For pinned windows (gwalk.c) only. */
bool gmem_to_phys(struct vm *vm, gpa_t gpa, size_t n, hpa_t *hpa);
/* Where the longest run of RAM begins and how long it is: for who has many ranges to check. */
gpa_t gmem_main_ram(struct vm *vm, u64 *size);
/* Is all of the range RAM? */
bool gmem_is_ram(struct vm *vm, gpa_t gpa, u64 n);
/*
 * Has this VM RAM that may have no memory behind it (backing.c)? All functions here give it some,
 * at once; a guest that asks for much at a time is served in turns: prepare() says 0: it is all
 * there; -EAGAIN: one block of 2 MiB more is there, come again; -ENOMEM: the host has none now,
 * come again later.
 */
bool gmem_sparse(const struct vm *vm);
/* Neither that, nor does anybody ask what is written: a pointer is good for more than one write. */
bool gmem_usual(const struct vm *vm);
int gmem_prepare(struct vm *vm, gpa_t gpa, u64 n);
/*
 * For DMA: where the first bytes of a range that is RAM lie, and how many of them one behind the
 * other (at least one, to the end of a block of 2 MiB at most). The block is not given to anybody
 * else until gmem_unpin(), be the guest gone or not. write: the device will write there: whoever
 * looks for what has changed takes a pinned block for changed. -EFAULT: no RAM.
 */
int gmem_pin(struct vm *vm, gpa_t gpa, u64 n, bool write, hpa_t *hpa, u64 *len);
void gmem_unpin(hpa_t hpa);
