/* SPDX-License-Identifier: BSD-2-Clause */
/* The bring-up of the machine, from the loader's hands to the vmm's. */
#include <stdarg.h>
#include "arch/x86_64/asm.h"
#include "arch/x86_64/fbcon.h"
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/mtrr.h"
#include "arch/x86_64/pci.h"
#include "arch/x86_64/pcpu_arch.h"
#include "lib/log.h"
#include "lib/string.h"

void boot_refuse(const char *fmt, ...)
{
	char text[224], line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* The event for programs, then the line for people (docs/console.md). */
	snprintf(line, sizeof(line), "\033_d!refused %s\033\\", text);
	serial_write(line, strlen(line));
	log_err("%s", text);
	machine_give_up();
}

static void check_boot_info(const struct boot_info *bi)
{
	u64 have = frame_usable_bytes(bi);

	if (bi->error[0])
		boot_refuse("%s", bi->error);
	if (bi->magic != BOOT_INFO_MAGIC)
		boot_refuse("boot information is damaged: magic 0x%lx; loader and hypervisor do not match", bi->magic);
	if (have < FRAME_MIN_MEMORY)
		boot_refuse("%lu MiB of usable memory are too little: give the machine %lu MiB or more",
			    have >> 20, FRAME_MIN_MEMORY >> 20);
	if (!(cpuid(0x80000001, 0).edx & BIT(20)))
		boot_refuse("the CPU has no NX bit, or firmware disabled it: enable \"execute disable\" in its setup");
}

static void log_memory(void)
{
	struct frame_stats st;

	frame_get_stats(&st);
	log_info("memory: %lu MiB ours, %lu MiB for guests, %lu KiB in neither", st.own_total >> 20,
		 st.guest_total >> 20, st.lost >> 10);
}

/* On the boot CPU's own stack, with a guard page, under our own tables. */
static void bring_up(const struct boot_info *bi) __noreturn;
static void bring_up(const struct boot_info *bi)
{
	fbcon_map();
	acpi_init(bi->rsdp);
	apic_init();
	ioapic_init();
	clock_init();
	mtrr_init();
	log_memory();
	log_info("DMA: bus mastering taken from %u devices", pci_quiesce());
	iommu_quiesce();
	serial_irq_init();
	machine_check_init();
	fpu_cpu_init(); /* on the boot CPU it sets the measure and cannot fail */
	frame_reserve_refill();
	paging_check();
	vmm_start(bi);
}

/* A null return address ends backtraces. */
static void run_on_stack(void *top, const struct boot_info *bi) __noreturn;
static void run_on_stack(void *top, const struct boot_info *bi)
{
	__asm__ volatile("movq %0, %%rsp\n\t"
			 "xorl %%ebp, %%ebp\n\t"
			 "pushq $0\n\t"
			 "jmpq *%1" ::"r"(top), "r"(bring_up), "D"(bi) : "memory");
	__builtin_unreachable();
}

void hv_main(struct boot_info *bi)
{
	serial_init();
	percpu_init_boot();
	log_set_start(bi->entry_tsc);
	traps_init();
	pic_mask();
	fbcon_init(&bi->fb);
	log_info("Dalang, loaded by %s at 0x%lx", bi->loader, bi->image_phys);
	check_boot_info(bi);
	paging_early_init();
	frame_init(bi);
	fbcon_attach(NULL); /* the boot mappings go */
	paging_init(bi);
	run_on_stack(this_cpu()->kstack_top, bi);
}
