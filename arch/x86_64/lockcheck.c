/* SPDX-License-Identifier: BSD-2-Clause */
/* Debug builds: a pCPU takes locks in rising order of class and gives them back in reverse. */
#include "arch/x86_64/pcpu_arch.h"
#include "lib/log.h"
#include "lib/spinlock.h"

#ifdef DALANG_DEBUG
void lock_order_push(u32 class)
{
	struct pcpu_arch *a = this_arch();

	if (a->nr_locks && a->locks[a->nr_locks - 1] >= class)
		panic("lock order: class %u taken while class %u is held", class, a->locks[a->nr_locks - 1]);
	if (a->nr_locks == LOCK_DEPTH)
		panic("lock order: more than %u locks held", LOCK_DEPTH);
	a->locks[a->nr_locks++] = class;
}

void lock_order_pop(u32 class)
{
	struct pcpu_arch *a = this_arch();

	if (!a->nr_locks || a->locks[a->nr_locks - 1] != class)
		panic("lock order: class %u released out of order", class);
	a->nr_locks--;
}
#endif
