/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IOMMUs that firmware left on (Intel VT-d specification 4.0, chapter 11; AMD I/O Virtualization
 * specification 3.07, 3.4): their tables lie in memory that is now ours and describe what firmware's
 * drivers wanted. By the time this runs no device may write to memory any more (pci_quiesce), so
 * translation, interrupt remapping and protected ranges are turned off one after the other; interrupts
 * then arrive as I/O APIC and MSI send them.
 */
#include "arch/x86_64/acpi.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/pcpu_arch.h"
#include "lib/log.h"

#define VTD_CAP	   0x08
#define VTD_GCMD   0x18
#define VTD_GSTS   0x1c
#define VTD_FECTL  0x38
#define VTD_PMEN   0x64
#define VTD_IECTL  0xa0
#define VTD_SIZE   PAGE_SIZE
#define CAP_PROTECTED (BIT(5) | BIT(6)) /* PLMR, PHMR */
#define G_TE	   BIT(31) /* the same places in GCMD and GSTS */
#define G_QIE	   BIT(26)
#define G_IRE	   BIT(25)
#define G_LASTING  0x96ffffffu /* the rest of GSTS are one-shot commands in GCMD (11.4.4) */
#define EVENT_MASK BIT(31)
#define PMEN_EPM   BIT(31)
#define PMEN_PRS   BIT(0)

#define AMD_CONTROL 0x18
#define AMD_STATUS  0x2020
#define AMD_SIZE    0x4000
#define AMD_ENABLE  BIT(0)
/* Event log and interrupt, completion wait interrupt, command buffer, PPR log, interrupt and requests,
 * guest vAPIC log and interrupt. */
#define AMD_WORKERS (BIT(2) | BIT(3) | BIT(4) | BIT(12) | BIT(13) | BIT(14) | BIT(15) | BIT(28) | BIT(29))
#define AMD_RUNNING (BIT(3) | BIT(4)) /* status: event log, command processing */

#define PATIENCE_US 50000

static u32 rd(volatile u8 *regs, u32 reg)
{
	return *(volatile u32 *)(regs + reg);
}

static void wr(volatile u8 *regs, u32 reg, u32 v)
{
	*(volatile u32 *)(regs + reg) = v;
}

static bool wait_clear(volatile u8 *regs, u32 reg, u32 bits)
{
	for (unsigned us = 0; rd(regs, reg) & bits; us += 10) {
		if (us >= PATIENCE_US)
			return false;
		udelay(10);
	}
	return true;
}

/* One bit a command, and the next only when GSTS shows it done (11.4.4). */
static bool vtd_clear(volatile u8 *regs, u32 bit)
{
	u32 status = rd(regs, VTD_GSTS);

	if (!(status & bit))
		return true;
	wr(regs, VTD_GCMD, status & G_LASTING & ~bit);
	return wait_clear(regs, VTD_GSTS, bit);
}

static bool vtd_off(volatile u8 *regs)
{
	bool ok;

	wr(regs, VTD_FECTL, EVENT_MASK);
	ok = vtd_clear(regs, G_TE);
	ok &= vtd_clear(regs, G_IRE);
	/* The queue of invalidations may stay, if the unit finds that it cannot stop it now: nothing enters it
	 * any more, and it writes to memory only what an entry asks for. */
	if (rd(regs, VTD_GSTS) & G_QIE)
		wr(regs, VTD_IECTL, EVENT_MASK);
	vtd_clear(regs, G_QIE);
	if ((rd(regs, VTD_CAP) & CAP_PROTECTED) && (rd(regs, VTD_PMEN) & (PMEN_EPM | PMEN_PRS))) {
		wr(regs, VTD_PMEN, 0);
		ok &= wait_clear(regs, VTD_PMEN, PMEN_PRS);
	}
	return ok;
}

static u32 vtd_on(volatile u8 *regs)
{
	u32 on = rd(regs, VTD_GSTS) & (G_TE | G_IRE | G_QIE);

	return on | (rd(regs, VTD_CAP) & CAP_PROTECTED ? rd(regs, VTD_PMEN) & PMEN_EPM : 0);
}

/* The buffers' users first, translation last. The upper half of the register is kept. */
static bool amd_off(volatile u8 *regs)
{
	u32 control = rd(regs, AMD_CONTROL) & ~AMD_WORKERS;
	bool ok;

	wr(regs, AMD_CONTROL, control);
	ok = wait_clear(regs, AMD_STATUS, AMD_RUNNING);
	wr(regs, AMD_CONTROL, control & ~AMD_ENABLE);
	return ok & !(rd(regs, AMD_CONTROL) & AMD_ENABLE);
}

static u32 amd_on(volatile u8 *regs)
{
	return rd(regs, AMD_CONTROL) & (AMD_ENABLE | AMD_WORKERS);
}

static void quiesce_one(u32 i)
{
	bool amd = acpi.iommu[i].amd;
	const char *name = amd ? "AMD-Vi" : "VT-d";
	hpa_t at = acpi.iommu[i].base;
	volatile u8 *regs = io_map(at, amd ? AMD_SIZE : VTD_SIZE);

	if (!regs) {
		log_warn("IOMMU at 0x%lx: no address space for its registers: left as firmware had it", at);
	} else if (rd(regs, 0) == ~0u) {
		log_info("IOMMU at 0x%lx (%s): does not answer, so it is off", at, name);
	} else if (!(amd ? amd_on(regs) : vtd_on(regs))) {
		log_info("IOMMU at 0x%lx (%s): off, as firmware left it", at, name);
	} else if (amd ? amd_off(regs) : vtd_off(regs)) {
		log_info("IOMMU at 0x%lx (%s): firmware left it on; turned off", at, name);
	} else {
		log_warn("IOMMU at 0x%lx (%s): does not turn off; switch it off in the firmware's setup if "
			 "devices fail", at, name);
	}
}

void iommu_quiesce(void)
{
	for (u32 i = 0; i < acpi.nr_iommus; i++)
		quiesce_one(i);
}
