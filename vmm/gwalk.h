/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's own paging: linear to guest-physical, as the CPU would walk (SDM vol. 3, chapter 4),
 * accessed and dirty bits included. And the guest's code at RIP.
 */
#pragma once
#include "vmm/emulate.h"

struct vcpu;

/*
 * access: page-fault error bits PFERR_W, PFERR_U, PFERR_I of x86.h. 0 and *gpa; -EFAULT: `fault` is
 * the #PF that the guest gets.
 */
int guest_translate(struct vcpu *v, u64 linear, u32 access, gpa_t *gpa, struct emul_fault *fault);
enum insn_mode guest_mode(struct vcpu *v);
u8 guest_cpl(struct vcpu *v);

/* n code bytes inside one page. 0; -EFAULT: a page fault was raised in the guest. */
int guest_fetch(struct vcpu *v, u64 linear, u8 *buf, unsigned n);
/*
 * Fetch and decode the instruction at RIP; `bytes` (n of them) as the CPU supplied them, or NULL.
 * 0; -EFAULT: an exception was raised in the guest (page fault on the fetch, #UD, #GP for more than
 * 15 bytes): re-enter it.
 */
int guest_decode(struct vcpu *v, struct insn *i, const u8 *bytes, size_t n);

/* An instruction that exits by itself, by its bytes without prefixes: F4, 0F A2, 0F 01 D9. */
struct insn_id {
	u8 len, bytes[3];
};
/*
 * Length of the instruction that made exit e and is one of `id`; from the CPU if it says so, else
 * by our own decoder. 0: a fault was raised, or the code at RIP is no longer that instruction:
 * re-enter.
 */
unsigned guest_insn_len(struct vcpu *v, const struct vm_exit *e, const struct insn_id *id);
