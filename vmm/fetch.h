/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's code at RIP: fetched through its own page tables, decoded, its length. */
#pragma once
#include "vmm/gwalk.h"
#include "vmm/gmem.h"
#include "arch/x86_64/window.h"

#define CODE_PAGES  4 /* pages kept a vCPU */
#define CODE_LEVELS 4 /* of page tables; code behind five levels is looked up each time */
#define CODE_INSNS  8 /* decoded instructions kept a vCPU */
static_assert(CODE_PAGES * (CODE_LEVELS + 1) <= GMEM_FIRST_HOLD, "pins for the code pages");

/* A page that code was read from, and the table entries that led to it, behind pinned windows. */
struct code_page {
	u64 page; /* linear; ~0: none */
	struct hv_paging p;
	const u8 *code;
	const u64 *entry[CODE_LEVELS];
	u64 seen[CODE_LEVELS];
};
/* Where it was, for when nothing is pinned. Apart, since the other is looked at in most exits. */
struct code_place {
	u64 page; /* its linear address, if the vCPU was unloaded since; else ~0 */
	hpa_t at[CODE_LEVELS + 1]; /* entries and code; HPA_NONE: no such level */
};
/* A decoded instruction: good for the same 16 bytes in the same mode, wherever they stand. */
struct code_insn {
	u64 raw[2];
	struct insn insn;
	u8 mode; /* 0: none */
};
struct code_cache {
	struct code_page pages[CODE_PAGES];
	struct code_place places[CODE_PAGES];
	struct code_insn insns[CODE_INSNS];
};

/* It is unloaded, and may be loaded again here with its memory as it is: nothing stays pinned. */
void guest_code_put(struct vcpu *v);
/* It leaves this pCPU, or what backs its memory changes: drop the pinned windows onto its code. */
void guest_code_forget(struct vcpu *v);
void guest_code_init(struct vcpu *v); /* nothing kept */
/*
 * Fetch and decode the instruction at RIP; `bytes` (n of them) as the CPU supplied them, or NULL.
 * Good until the next call. NULL: an exception was raised in the guest (page fault on the fetch,
 * #UD, #GP for more than 15 bytes): re-enter it.
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
