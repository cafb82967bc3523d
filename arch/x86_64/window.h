/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Host mappings. The direct map holds our pool only. Anything else - guests' frames, loaded files,
 * ACPI tables - is reached through short-lived per-pCPU windows; device registers through io_map().
 */
#pragma once
#include "lib/types.h"

/*
 * Map the 4 KiB page that holds pa in a window of this pCPU and return a pointer to pa itself; valid
 * to the end of the page until window_close(). Windows nest like a stack, at most WINDOW_MAX deep;
 * they are per-pCPU, so never kept over sched_check() or with interrupts on.
 */
#define WINDOW_MAX 8
void *window_open(hpa_t pa);
void window_close(void *va);
/*
 * Pinned windows of the vCPU that is loaded: onto its own guest's memory alone, and closed when it
 * leaves the pCPU, so that no guest runs while another's memory is mapped. n < WINDOW_PINS; a pin
 * replaces what its place held. Returns a pointer to pa itself, valid to the end of its page.
 */
#define WINDOW_PINS 32
void *window_pin(unsigned n, hpa_t pa);
void window_unpin(unsigned first); /* this one and all behind it */
/* The same for one whole 2 MiB block (2 MiB aligned); one at a time per pCPU. */
void *window_open_block(hpa_t block);
void window_close_block(void *va);

/* Copy to/from any physical memory through windows. Any length. */
void phys_read(void *dst, hpa_t src, size_t n);
void phys_copy(hpa_t dst, hpa_t src, size_t n);
void phys_clear(hpa_t dst, size_t n);

/* Map device registers, uncached, for ever. NULL: address space or memory used up. */
volatile void *io_map(hpa_t pa, size_t size);
/* Framebuffers: write-combining (PAT entry of our own). */
void *io_map_wc(hpa_t pa, size_t size);
