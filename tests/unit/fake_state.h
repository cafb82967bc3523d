/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's shape for state_parse() and a stream that fits it; for test_state.c and fuzz_state.c. */
#pragma once
#include <stdlib.h>
#include "arch/x86_64/x86.h"
#include "lib/string.h"
#include "vmm/platform/pci.h"
#include "vmm/state.h"

#define FAKE_XSAVE 832
#define FAKE_DEVS  3
#define FAKE_MAX   16384

/* None of these devices is a PCI function; what is would be asked by platform/pci_func.c, which has its own tests. */
bool pci_state_valid(const struct vdev *d, const void *state)
{
	(void)d, (void)state;
	abort();
}

static inline bool fake_xsave_valid(const void *area)
{
	return ((const u8 *)area)[512 + 8] == 0;
}
static inline bool fake_xcr0_valid(u64 x)
{
	return x & 1 && !(x & ~7ul);
}
static inline bool fake_valid(const void *state)
{
	return *(const u8 *)state < 16;
}
static const struct vdev_type fake_types[FAKE_DEVS] = {
	{.name = "alpha", .version = 1, .state_size = 13, .nr_timers = 2, .valid = fake_valid},
	{.name = "beta", .version = 7, .state_size = 0},
	{.name = "a-name-of-16-chs", .version = 2, .state_size = 64, .nr_timers = VDEV_MAX_TIMERS},
};
static const struct vdev fake_devs[FAKE_DEVS] = {
	{.type = &fake_types[0]}, {.type = &fake_types[1]}, {.type = &fake_types[2]}};
static const struct state_shape fake_shape = {
	.ram_bytes = MIB(256),
	.cr4_allowed = CR4_PAE | CR4_PGE | CR4_OSFXSR | CR4_PCIDE,
	.tsc_khz = 2000000,
	.nr_vcpus = 1,
	.nr_devs = FAKE_DEVS,
	.devs = fake_devs,
	.xsave_size = FAKE_XSAVE,
	.xsave_valid = fake_xsave_valid,
	.xcr0_valid = fake_xcr0_valid,
};

/* The sum at the end, for bytes changed on purpose: as state.c reckons it. */
static inline void fake_seal(u8 *buf, size_t n)
{
	u64 h = 0xcbf29ce484222325ull, w;

	if (n < 8 || n % 8)
		return;
	for (size_t i = 0; i + 8 < n; i += 8) {
		memcpy(&w, buf + i, 8);
		h = (h ^ w) * 0x100000001b3ull;
		h ^= h >> 32;
	}
	memcpy(buf + n - 8, &h, 8);
}

static inline void fake_vcpu(struct state_vcpu *s)
{
	s->rflags = RFLAGS_FIXED | RFLAGS_IF;
	s->reg[REG_CR0] = CR0_PE | CR0_PG;
	s->reg[REG_CR4] = CR4_PAE;
	s->reg[REG_EFER] = EFER_LME | EFER_LMA;
	s->xcr0 = 7;
	s->dr6 = 0xffff0ff0;
	s->state = VCPU_RUNNING;
	s->reinject = (struct hv_event){.valid = 1, .type = HV_EV_EXC, .vector = 14, .has_error = 1};
}

/* In the order in which vm_state_save() writes. */
static inline size_t fake_stream_of(void *buf, size_t size, u32 vcpus)
{
	struct state_writer w;
	struct state_vm *vm;
	struct state_vcpu *c;
	struct lapic *l;

	state_begin(&w, buf, size);
	vm = state_put(&w, STATE_VM, 1, 0, sizeof(*vm));
	if (vm)
		*vm = (struct state_vm){.clock_ns = 5, .ram_bytes = MIB(256), .tsc_khz = 2000000,
					.nr_vcpus = vcpus, .nr_devs = FAKE_DEVS};
	for (u32 i = 0; i < vcpus; i++) {
		c = state_put(&w, STATE_VCPU, 3, i, sizeof(*c));
		if (c)
			fake_vcpu(c);
		state_put(&w, STATE_XSAVE, 1, i, FAKE_XSAVE);
		l = state_put(&w, STATE_LAPIC, 1, i, sizeof(*l));
		if (l)
			l->highest_isr = -1;
		state_put(&w, STATE_MSRS, 1, i, sizeof(struct vcpu_msrs));
		state_put(&w, STATE_PV, 1, i, sizeof(struct vcpu_pv));
	}
	for (u32 i = 0; i < FAKE_DEVS; i++) {
		const struct vdev_type *t = &fake_types[i];
		struct state_device *d = state_put(&w, STATE_DEVICE, t->version, i,
						   sizeof(*d) + t->state_size);
		if (d)
			memcpy(d->name, t->name, strlen(t->name));
	}
	return state_finish(&w);
}

static inline size_t fake_stream(void *buf, size_t size)
{
	return fake_stream_of(buf, size, 1);
}

/* Every pointer of a view, read to its end: the sanitizers see what lies outside. */
static inline u64 fake_read_all(const struct state_view *v)
{
	const struct {
		const void *p;
		size_t n;
	} parts[] = {
		{v->vm, sizeof(*v->vm)},
		{v->vcpus[0].regs, sizeof(struct state_vcpu)},
		{v->vcpus[0].xsave, FAKE_XSAVE},
		{v->vcpus[0].lapic, sizeof(struct lapic)},
		{v->vcpus[0].msrs, sizeof(struct vcpu_msrs)},
		{v->vcpus[0].pv, sizeof(struct vcpu_pv)},
		{v->devs[0], sizeof(struct state_device) + 13},
		{v->devs[1], sizeof(struct state_device)},
		{v->devs[2], sizeof(struct state_device) + 64},
	};
	u64 s = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		for (size_t k = 0; k < parts[i].n; k++)
			s += ((const u8 *)parts[i].p)[k];
	return s;
}
