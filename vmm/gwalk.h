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

/* The vCPU leaves this pCPU, or what backs its memory changes: drop the pinned windows onto its code. */
void guest_code_forget(struct vcpu *v);
/*
 * Fetch and decode the instruction at RIP; `bytes` (n of them) as the CPU supplied them, or NULL. Good until the
 * next call. NULL: an exception was raised in the guest (page fault on the fetch, #UD, #GP for more
 * than 15 bytes): re-enter it.
 */
const struct insn *guest_decode(struct vcpu *v, const u8 *bytes, size_t n);

/* An instruction that exits by itself, by its bytes without prefixes: F4, 0F A2, 0F 01 D9. */
struct insn_id {
	u8 len, bytes[3];
};
unsigned guest_insn_decode_len(struct vcpu *v, const struct insn_id *id);
/*
 * Length of the instruction that made exit e and is one of `id`; from the CPU if it says so, else
 * by our own decoder. 0: a fault was raised, or the code at RIP is no longer that instruction:
 * re-enter.
 */
static inline unsigned guest_insn_len(struct vcpu *v, const struct vm_exit *e,
				      const struct insn_id *id)
{
	return e->insn_len ? e->insn_len : guest_insn_decode_len(v, id);
}
