/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's breakpoints on ports and data (SDM vol. 3, 17.2; APM vol. 2, 13.1.1) for accesses that
 * the hypervisor makes in its stead: the CPU compares only its own.
 */
#include "arch/x86_64/asm.h"
#include "arch/x86_64/x86.h"
#include "vmm/vm.h"

#define DR7_RW(dr7, n)  ((dr7) >> (16 + 4 * (n)) & 3)
#define DR7_LEN(dr7, n) ((dr7) >> (18 + 4 * (n)) & 3)

void debug_hit(struct vcpu *v, u64 addr, unsigned size, enum debug_access access)
{
	static const u8 lengths[4] = {1, 2, 8, 4};
	const u64 at[4] = {read_dr0(), read_dr1(), read_dr2(), read_dr3()}; /* live while loaded */
	bool ours = v->hv.debug.flags & HV_DEBUG_DR;
	u64 dr7 = ours ? v->hv.debug.dr7 : hv->get_reg(&v->hv, REG_DR7);

	for (unsigned n = 0; n < 4; n++) {
		u64 rw = DR7_RW(dr7, n), len = lengths[DR7_LEN(dr7, n)], first = at[n] & ~(len - 1);

		if (!(dr7 >> (2 * n) & 3))
			continue;
		/* 1: data writes; 2: ports, with CR4.DE; 3: data reads and writes */
		if (access == DEBUG_IO ? rw != 2 || !(hv->get_reg(&v->hv, REG_CR4) & CR4_DE)
				       : rw != 3 && !(rw == 1 && access == DEBUG_WRITE))
			continue;
		if (addr >= first + len || first >= addr + size)
			continue;
		if (ours)
			gdb_data_hit(v, n);
		else
			v->hv.pending_db |= BIT(n);
	}
}
