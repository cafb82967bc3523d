/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's memory for tests: an array with a hole in it, where there is no RAM, and a count of what is mapped. */
#pragma once
#include <stdlib.h>
#include <string.h>
#include "lib/errno.h"
#include "vmm/gmem.h"

#ifndef FAKE_RAM
#define FAKE_RAM      0x40000ull
#define FAKE_HOLE     0x20000ull
#define FAKE_HOLE_END 0x21000ull
#endif
static _Alignas(4096) u8 fake_ram[FAKE_RAM];
static int fake_mapped;
static void (*fake_touched)(gpa_t gpa, u64 n, bool write); /* hears of each access that may be made */

bool gmem_is_ram(struct vm *vm, gpa_t gpa, u64 n)
{
	(void)vm;
	if (n > FAKE_RAM || gpa > FAKE_RAM - n)
		return !n;
	return !n || gpa >= FAKE_HOLE_END || gpa + n <= FAKE_HOLE;
}

gpa_t gmem_main_ram(struct vm *vm, u64 *size)
{
	(void)vm;
	*size = FAKE_HOLE;
	return 0;
}

int gmem_read(struct vm *vm, gpa_t gpa, void *buf, size_t n)
{
	if (!gmem_is_ram(vm, gpa, n))
		return -EFAULT;
	if (fake_touched)
		fake_touched(gpa, n, false);
	memcpy(buf, fake_ram + gpa, n);
	return 0;
}

int gmem_write(struct vm *vm, gpa_t gpa, const void *buf, size_t n)
{
	if (!gmem_is_ram(vm, gpa, n))
		return -EFAULT;
	if (fake_touched)
		fake_touched(gpa, n, true);
	memcpy(fake_ram + gpa, buf, n);
	return 0;
}

void *gmem_map(struct vm *vm, gpa_t gpa, size_t n, bool write)
{
	(void)write;
	if (n > 4096 - (gpa & 4095) || !gmem_is_ram(vm, gpa, n))
		return NULL;
	fake_mapped++;
	return fake_ram + gpa;
}

void gmem_unmap(struct vm *vm, void *p)
{
	(void)vm, (void)p;
	if (--fake_mapped < 0)
		abort();
}

static void *fake_hold(unsigned idx, gpa_t gpa, size_t n, bool write)
{
	if (idx >= GMEM_HOLDS)
		abort();
	if (n > 4096 - (gpa & 4095) || !gmem_is_ram(NULL, gpa, n))
		return NULL;
	if (fake_touched)
		fake_touched(gpa, n, write);
	return fake_ram + gpa;
}

void *gmem_hold(struct vm *vm, unsigned idx, gpa_t gpa, size_t n)
{
	(void)vm;
	return fake_hold(idx, gpa, n, false);
}

void *gmem_hold_write(struct vm *vm, unsigned idx, gpa_t gpa, size_t n)
{
	(void)vm;
	return fake_hold(idx, gpa, n, true);
}

/* Physical memory, and gmem_hold_phys(), are the test's: fake_phys(). */
u8 *fake_phys(hpa_t pa);
