/* SPDX-License-Identifier: BSD-2-Clause */
/* A guest's memory for tests: an array with a hole in it, where there is no RAM, and a count of what is mapped. */
#pragma once
#include <stdlib.h>
#include <string.h>
#include "lib/errno.h"
#include "vmm/gmem.h"

#define FAKE_RAM      0x40000ull
#define FAKE_HOLE     0x20000ull
#define FAKE_HOLE_END 0x21000ull
static _Alignas(4096) u8 fake_ram[FAKE_RAM];
static int fake_mapped;

bool gmem_is_ram(struct vm *vm, gpa_t gpa, u64 n)
{
	(void)vm;
	if (n > FAKE_RAM || gpa > FAKE_RAM - n)
		return !n;
	return !n || gpa >= FAKE_HOLE_END || gpa + n <= FAKE_HOLE;
}

int gmem_read(struct vm *vm, gpa_t gpa, void *buf, size_t n)
{
	if (!gmem_is_ram(vm, gpa, n))
		return -EFAULT;
	memcpy(buf, fake_ram + gpa, n);
	return 0;
}

int gmem_write(struct vm *vm, gpa_t gpa, const void *buf, size_t n)
{
	if (!gmem_is_ram(vm, gpa, n))
		return -EFAULT;
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

/* Physical memory is the test's: fake_phys(). */
u8 *fake_phys(hpa_t pa);

__attribute__((unused)) static int fake_copy(gpa_t gpa, hpa_t pa, u64 n, bool out)
{
	if (!gmem_is_ram(NULL, gpa, n))
		return -EFAULT;
	memcpy(out ? fake_phys(pa) : fake_ram + gpa, out ? fake_ram + gpa : fake_phys(pa), n);
	return 0;
}
