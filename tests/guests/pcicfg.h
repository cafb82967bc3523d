/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI configuration space by its ports, and memory by width, for guests that look at PCI devices. */
#pragma once
#include "pc.h"

static inline u32 port_read(u16 port, unsigned size)
{
	return size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
}

static inline void port_write(u16 port, unsigned size, u32 v)
{
	if (size == 1)
		outb(port, (u8)v);
	else if (size == 2)
		outw(port, (u16)v);
	else
		outl(port, v);
}

static inline u32 mmio_read(u64 at, unsigned size)
{
	if (size == 1)
		return *(volatile u8 *)at;
	if (size == 2)
		return *(volatile u16 *)at;
	return *(volatile u32 *)at;
}

static inline void mmio_write(u64 at, unsigned size, u64 v)
{
	if (size == 1)
		*(volatile u8 *)at = (u8)v;
	else if (size == 2)
		*(volatile u16 *)at = (u16)v;
	else if (size == 4)
		*(volatile u32 *)at = (u32)v;
	else
		*(volatile u64 *)at = v;
}

static inline u32 cfg_read(unsigned slot, unsigned off, unsigned size)
{
	outl(0xcf8, 0x80000000u | slot << 11 | (off & 0xfc));
	return port_read((u16)(0xcfc + (off & 3)), size);
}

static inline void cfg_write(unsigned slot, unsigned off, unsigned size, u32 v)
{
	outl(0xcf8, 0x80000000u | slot << 11 | (off & 0xfc));
	port_write((u16)(0xcfc + (off & 3)), size, v);
}

/* The next capability `id` behind `at` (0: the first one); 0: there is none. */
static inline u32 capability(unsigned slot, u32 id, u32 at)
{
	at = cfg_read(slot, at ? at + 1 : 0x34, 1);
	for (unsigned i = 0; at && i < 32; i++, at = cfg_read(slot, at + 1, 1))
		if (cfg_read(slot, at, 1) == id)
			return at;
	return 0;
}
