/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A VM as bytes: torture mode now, snapshot and migration later. Memory is not in it.
 *
 * A header, then records, each a struct state_record and its payload, padded to 8 bytes; the last one
 * holds a sum over all before it. All is little-endian, as the structs lie in memory. Host time and
 * host addresses are not in it: times are nanoseconds of the guest's clock. A record's version is
 * that of its payload's layout; a device's is its vdev_type's. Reading gives an error for whatever
 * this hypervisor would not have written for the VM at hand; it never repairs.
 *
 * This half knows bytes and what may be in them, and runs on the build machine as well; state_vm.c
 * brings a VM into it and out of it.
 */
#pragma once
#include "vmm/vm.h"

#define STATE_MAGIC   0x0045544154534c44ull /* "DLSTATE" */
#define STATE_VERSION 2

struct state_header {
	u64 magic;
	u32 version;
	u32 size; /* of everything, this included */
};

enum state_tag { STATE_VM = 1, STATE_VCPU, STATE_XSAVE, STATE_LAPIC, STATE_MSRS, STATE_PV, STATE_DEVICE, STATE_END };

struct state_record {
	u16 tag, version;
	u32 index; /* of the vCPU or device */
	u32 size;  /* of the payload without its padding */
	u32 zero;
};

struct state_vm {
	u64 clock_ns, ram_bytes, tsc_khz; /* the guest's TSC; it runs on at this frequency */
	u32 nr_vcpus, nr_devs;
};

/* Registers in neutral words. reg[] is indexed by enum hv_reg; its first 16 are 0, they are in gpr. */
struct state_vcpu {
	u64 gpr[16], rip, rflags, cr2, dr[4], dr6, xcr0;
	u64 reg[HV_NR_REGS];
	struct hv_segment seg[SEG_IDTR + 1];
	struct hv_pending pending;
	struct hv_event reinject, exception;
	u64 exception_payload;
	u64 tsc_ahead; /* guest TSC less the ticks of the guest's clock */
	u32 state;     /* VCPU_RUNNING, VCPU_HALTED or VCPU_WAIT_SIPI */
	u8 tpr, nmi_pending, nmi_wakes, sipi_vector;
	u16 pending_db; /* hv_vcpu.pending_db */
	u8 absent, pad;
	u32 signals;	     /* REQ_SIGNALS that wait */
};

struct state_timer {
	u64 deadline_ns, armed;
};
struct state_device {
	char name[16];
	struct state_timer timers[VDEV_MAX_TIMERS];
	u8 state[]; /* vdev_state_size() of them */
};

/* Whoever changes one of these layouts raises the record's version in state.c. */
static_assert(sizeof(struct state_vm) == 32 && sizeof(struct state_record) == 16 &&
		      sizeof(struct state_device) == 80,
	      "layout");
static_assert(HV_NR_REGS == 37 && sizeof(struct state_vcpu) == 816, "layout of STATE_VCPU");
static_assert(sizeof(struct lapic) == 216, "layout of STATE_LAPIC");
static_assert(sizeof(struct vcpu_msrs) == 272, "layout of STATE_MSRS");
static_assert(sizeof(struct vcpu_pv) == 48, "layout of STATE_PV");

/* --- writing --- */

struct state_writer {
	u8 *buf; /* 8-byte aligned */
	size_t size, used;
	bool full; /* something did not fit */
};
void state_begin(struct state_writer *w, void *buf, size_t size);
/* Room for a payload of n bytes, zeroed; NULL: it does not fit. */
void *state_put(struct state_writer *w, enum state_tag tag, u16 version, u32 index, u32 n);
size_t state_finish(struct state_writer *w); /* bytes in all; 0: did not fit */
u16 state_version(enum state_tag tag);	     /* of the tags that are not devices */

/* --- reading --- */

/* What the bytes must fit: the VM that is to take them. */
struct state_shape {
	u64 ram_bytes, cr4_allowed, spec_ctrl_allowed, tsc_khz; /* the host's TSC */
	bool tsc_scaling;
	u32 nr_vcpus, nr_devs;
	const struct vdev *devs;
	u32 xsave_size;
	bool (*xsave_valid)(const void *area);
	bool (*xcr0_valid)(u64 xcr0);
};

/* Pointers into the bytes, all of them there and checked. */
struct state_view {
	const struct state_vm *vm;
	struct state_vcpu_view {
		const struct state_vcpu *regs;
		const void *xsave;
		const struct lapic *lapic;
		const struct vcpu_msrs *msrs;
		const struct vcpu_pv *pv;
	} vcpus[VM_MAX_VCPUS];
	const struct state_device *devs[VM_MAX_DEVS];
};

/* 0; -EINVAL: truncated, corrupt, of another version or of another VM; `why` is one line about it. */
int state_parse(const void *buf, size_t n, const struct state_shape *shape, struct state_view *out,
		char *why, size_t why_n);

/* --- state_vm.c --- */

size_t vm_state_size(const struct vm *vm); /* what vm_state_save() will need */
/* The VM is stopped, the device lock held, no vCPU loaded on this pCPU. 0: does not fit. */
size_t vm_state_save(struct vm *vm, void *buf, size_t size);
/*
 * Into a VM of the same shape whose vCPUs are fresh from hv->vcpu_create, timers stopped, under the same
 * conditions. All or nothing: on an error (as state_parse()) nothing has changed.
 */
int vm_state_restore(struct vm *vm, const void *buf, size_t n, char *why, size_t why_n);
