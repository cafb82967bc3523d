/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a created VM to its first instruction: zero the memory, load the kernel, copy what the
 * loader asked for, set the registers. Long, so it goes in steps of bounded length on the VM's own
 * pCPU, between which other vCPUs run. A restart takes the same way: as with xl the guest finds a
 * new machine.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/window.h"
#include "arch/x86_64/x86.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/gmem.h"
#include "vmm/host.h"
#include "vmm/vm.h"

#define COPY_STEP KIB(64)

void vm_boot_restart(struct vm *vm, u64 delay_ns)
{
	struct vcpu *v = vm->vcpus[0];

	vm->boot = (struct vm_boot){.stage = BOOT_ZERO};
	if (vm->gdb)
		gdb_restarts(vm);
	spin_lock(&vm->dev_lock);
	vm->between_lives = true;
	cpu_hotplug_begin(vm);
	spin_unlock(&vm->dev_lock);
	for (u32 i = 0; i < vm->nr_vcpus; i++) {
		struct vcpu *each = vm->vcpus[i];

		timers_drop(&each->moving);
		each->posted_any = 0;
		pv_reset(each); /* its memory is its next life's */
		each->state = i ? VCPU_WAIT_SIPI : VCPU_OFF;
		/* What memory waits for stays: no CPU may keep the old translations (SDM vol. 3, 29.4.3). */
		__atomic_fetch_and(&each->requests, REQ_FLUSH | REQ_RELEASE, __ATOMIC_SEQ_CST);
	}
	if (delay_ns)
		timer_set(&v->park_timer, rdtsc() + ns_to_tsc(delay_ns));
	else
		vcpu_request(v, REQ_BOOT);
}

/* --- the loader's view of files and of the guest's memory --- */

static void file_read(const struct load_file *f, u64 off, void *buf, size_t n)
{
	phys_read(buf, f->arg + off, n);
}

static int target_write(struct load_target *t, gpa_t gpa, const void *buf, size_t n)
{
	return gmem_write(t->arg, gpa, buf, n);
}

static int target_zero(struct load_target *t, gpa_t gpa, u64 n)
{
	return gmem_is_ram(t->arg, gpa, n) ? 0 : -EFAULT; /* RAM is zero already */
}

static int target_copy(struct load_target *t, gpa_t gpa, const struct load_file *f, u64 off, u64 n)
{
	struct vm *vm = t->arg;
	struct vm_boot *b = &vm->boot;

	if (!gmem_is_ram(vm, gpa, n))
		return -EFAULT;
	if (b->nr_copies == BOOT_MAX_COPIES)
		return -E2BIG;
	b->copies[b->nr_copies++] = (struct boot_copy){gpa, f->arg + off, n};
	return 0;
}

static bool open_file(const char *name, struct load_file *f, char *why, size_t n)
{
	const struct boot_file *bf = boot_file_find(host_boot_info(), name);

	if (!bf) {
		snprintf(why, n, "file \"%s\" was not loaded", name);
		return false;
	}
	*f = (struct load_file){.size = bf->size, .read = file_read, .arg = bf->addr};
	return true;
}

static bool load(struct vm *vm)
{
	struct load_target t = {
		.ram_low = vm->ram_low, .ram_high = vm->ram_high, .vcpus = vm->nr_vcpus, .vcpus_present = vm_vcpus_present(vm),
		.cpu_signature = vm->cpuid->basic[1].eax, .cpu_features = vm->cpuid->basic[1].edx,
		.hpet = vm->cfg.hpet, .nr_virtio = vm->irqchip.nr_virtio, .write = target_write, .copy = target_copy,
		.zero = target_zero, .arg = vm,
	};
	struct load_file kernel, ramdisk;
	char why[256];
	gpa_t rsdp;

	snprintf(why, sizeof(why), "its ACPI tables do not fit; give it more memory");
	if (guest_acpi_tables(&t, &rsdp) || guest_mp_table(&t) ||
	    !open_file(vm->cfg.kernel, &kernel, why, sizeof(why)) ||
	    (vm->cfg.ramdisk[0] && !open_file(vm->cfg.ramdisk, &ramdisk, why, sizeof(why))) ||
	    load_guest(&vm->cfg, &kernel, vm->cfg.ramdisk[0] ? &ramdisk : NULL, &t, rsdp,
		       &vm->boot.entry, why, sizeof(why))) {
		vm_refuse(vm, why);
		return false;
	}
	log_info("%s: %s kernel %s, %lu KiB, %u MiB of memory", vm->name, vm->boot.entry.protocol,
		 vm->cfg.kernel, (unsigned long)(kernel.size >> 10), (unsigned)vm->cfg.memory);
	return true;
}

/* --- registers at the first instruction --- */

#define ATTR_CODE64 0xa09b
#define ATTR_CODE32 0xc09b
#define ATTR_DATA   0xc093
#define ATTR_TSS    0x008b /* busy: SDM vol. 3, 27.3.1.2 */
#define ATTR_LDT    (0x0082 | SEG_ATTR_UNUSABLE)

static void set_segments(struct vcpu *v, const struct load_state *st)
{
	struct hv_segment code = {.limit = ~0u, .selector = st->cs};
	struct hv_segment data = {.limit = ~0u, .attr = ATTR_DATA, .selector = st->ds};
	struct hv_segment tss = {.limit = 0x67, .attr = ATTR_TSS, .selector = st->tr};
	struct hv_segment ldt = {.attr = ATTR_LDT};
	struct hv_segment gdt = {.base = st->gdt, .limit = st->gdt_limit};
	struct hv_segment idt = {0};

	code.attr = st->mode == LOAD_LONG64 ? ATTR_CODE64 : ATTR_CODE32;
	hv->set_seg(&v->hv, SEG_CS, &code);
	hv->set_seg(&v->hv, SEG_DS, &data);
	hv->set_seg(&v->hv, SEG_ES, &data);
	hv->set_seg(&v->hv, SEG_SS, &data);
	hv->set_seg(&v->hv, SEG_FS, &data);
	hv->set_seg(&v->hv, SEG_GS, &data);
	hv->set_seg(&v->hv, SEG_TR, &tss);
	hv->set_seg(&v->hv, SEG_LDTR, &ldt);
	hv->set_seg(&v->hv, SEG_GDTR, &gdt);
	hv->set_seg(&v->hv, SEG_IDTR, &idt);
}

static void set_entry(struct vcpu *v, const struct load_state *st)
{
	set_segments(v, st);
	if (st->mode == LOAD_LONG64) {
		hv->set_reg(&v->hv, REG_CR3, st->cr3);
		hv->set_reg(&v->hv, REG_CR4, CR4_PAE);
		hv->set_reg(&v->hv, REG_EFER, EFER_LME | EFER_NXE);
		hv->set_reg(&v->hv, REG_CR0, CR0_PE | CR0_PG | CR0_ET | CR0_NE | CR0_WP);
	} else {
		hv->set_reg(&v->hv, REG_CR0, CR0_PE | CR0_ET | CR0_NE);
	}
	memset(v->hv.gpr, 0, sizeof(v->hv.gpr));
	v->hv.gpr[REG_RSP] = st->rsp;
	v->hv.gpr[REG_RAX] = st->rax;
	v->hv.gpr[REG_RBX] = st->rbx;
	v->hv.gpr[REG_RSI] = st->rsi;
	v->hv.rip = st->rip;
	v->hv.rflags = RFLAGS_FIXED;
}

static void ready(struct vm *vm)
{
	struct vcpu *v = vm->vcpus[0];

	vm->t0_tsc = rdtsc();
	spin_lock(&vm->dev_lock);
	vm_devices_reset(vm);
	vm->between_lives = vm->pic_intr = false;
	spin_unlock(&vm->dev_lock);
	for (u32 i = 1; i < vm->nr_vcpus; i++)
		vcpu_request(vm->vcpus[i], REQ_RESET);
	vcpu_reset(v);
	lapic_virtual_wire(&v->lapic);
	set_entry(v, &vm->boot.entry);
	vcpu_request(v, REQ_DEVICE | REQ_CONSOLE);
	host_note_first_entry();
	if (vm->gdb)
		gdb_booted(vm);
}

static bool step_zero(struct vm *vm)
{
	struct vm_boot *b = &vm->boot;
	struct memobj *o = vm->slots[0].obj;

	if (o->blocks[b->block] == HPA_NONE || gpool_zero_block(o->blocks[b->block], &b->pos)) {
		b->pos = 0;
		b->block++;
	}
	return b->block == o->nr_blocks;
}

static bool step_copy(struct vm *vm)
{
	struct vm_boot *b = &vm->boot;
	struct boot_copy *c = &b->copies[b->copy];
	u64 n;

	if (b->copy == b->nr_copies)
		return true;
	n = MIN(c->n, COPY_STEP);
	gmem_copy_from_phys(vm, c->gpa, c->src, n);
	c->gpa += n;
	c->src += n;
	c->n -= n;
	if (!c->n)
		b->copy++;
	return b->copy == b->nr_copies;
}

bool vm_boot_step(struct vm *vm)
{
	struct vm_boot *b = &vm->boot;

	switch (b->stage) {
	case BOOT_ZERO:
		if (step_zero(vm))
			b->stage = BOOT_LOAD;
		return false;
	case BOOT_LOAD:
		if (load(vm))
			b->stage = BOOT_COPY;
		return false;
	case BOOT_COPY:
		if (step_copy(vm))
			b->stage = BOOT_READY;
		return false;
	default:
		ready(vm);
		return true;
	}
}
