/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's own paging: linear to guest-physical, as the CPU would walk (SDM vol. 3, chapter 4),
 * accessed and dirty bits included.
 */
#pragma once
#include "vmm/emulate.h"

struct vcpu;

#define WALK_PEEK BIT(31) /* in `access`: where does it lie? No right is asked for, no entry changed */

/* One walk: p, linear and access (page-fault error bits PFERR_W, PFERR_U, PFERR_I) go in. */
struct guest_walk {
	struct vcpu *v;
	struct hv_paging p;
	u64 linear;
	u32 access;
	unsigned levels, entry_size; /* levels 0: paging is off */
	u64 entry, reserved;
	u64 rights; /* W and U of all levels together, NX of any */
	gpa_t at[5]; /* where the entries were read, by level - 1 (HPA_NONE: no such level), */
	u64 seen[5]; /* and what they hold now */
};
/* 0 and *gpa; -EFAULT: `fault` is the #PF that the guest gets. */
int guest_walk(struct guest_walk *w, gpa_t *gpa, struct emul_fault *fault);

/*
 * access: page-fault error bits PFERR_W, PFERR_U, PFERR_I of x86.h. 0 and *gpa; -EFAULT: `fault` is
 * the #PF that the guest gets.
 */
int guest_translate(struct vcpu *v, u64 linear, u32 access, gpa_t *gpa, struct emul_fault *fault);
enum insn_mode guest_mode(struct vcpu *v);
u8 guest_cpl(struct vcpu *v);
