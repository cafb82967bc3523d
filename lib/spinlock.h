/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ticket lock: fair, so that no pCPU starves. The _irq forms keep interrupts off while the lock is
 * held and are the ones to use unless interrupts are known to be off. Every lock has a class; a pCPU
 * takes locks in rising order of class only, which debug builds (-DDALANG_DEBUG) check.
 */
#pragma once
#include "lib/types.h"

/* The lock order: see docs/architecture.md. Locks of one class are never held together. */
enum lock_class {
	LOCK_VM = 10,	   /* the list of VMs */
	LOCK_DEVICES = 14, /* a VM's devices and interrupt controllers */
	LOCK_BRIDGES = 15, /* the list of bridges */
	LOCK_SWITCH = 16,  /* a bridge: its ports, tables and the rings' filling side; copies frames. The hub of sockets */
	LOCK_MIRROR = 17,  /* the network's mirror; copies frames */
	LOCK_NIC = 18,	   /* a network card of the host's: what it sends */
	LOCK_DISK = 19,	   /* a disk of the host's: its ring and who has it open */
	LOCK_NESTED = 20,  /* writer lock of a VM's nested tables */
	LOCK_RUN = 25,	   /* whether a VM runs: vm.c */
	LOCK_SCHED = 30,
	LOCK_TIMER = 35,
	LOCK_GPOOL = 60,
	LOCK_HEAP = 70,
	LOCK_FRAME = 80,
	LOCK_IO = 74,	   /* room for device registers */
	LOCK_PAGING = 75,  /* host tables */
	LOCK_LOG = 90,
	LOCK_CONSOLE = 100, /* the log's sink takes it */
	LOCK_SERIAL = 110
};

struct spinlock {
	u16 next, owner; /* ticket to draw, ticket being served */
	u32 class;
};
#define SPINLOCK(c) {.class = (c)}

#if defined(DALANG_DEBUG) && !__STDC_HOSTED__
void lock_order_push(u32 class); /* arch/x86_64/lockcheck.c: panics on a wrong order */
void lock_order_pop(u32 class);
#else
static inline void lock_order_push(u32 class) { (void)class; }
static inline void lock_order_pop(u32 class) { (void)class; }
#endif

static inline void spin_lock(struct spinlock *l)
{
	u16 mine = __atomic_fetch_add(&l->next, 1, __ATOMIC_RELAXED);

	while (__atomic_load_n(&l->owner, __ATOMIC_ACQUIRE) != mine)
		__asm__ volatile("pause" ::: "memory");
	lock_order_push(l->class);
}

/* Only the holder writes `owner`, so no locked instruction is needed. */
static inline void spin_unlock(struct spinlock *l)
{
	lock_order_pop(l->class);
	__atomic_store_n(&l->owner, (u16)(l->owner + 1), __ATOMIC_RELEASE);
}

/* Take the lock if it is free. */
static inline bool spin_trylock(struct spinlock *l)
{
	u16 t = __atomic_load_n(&l->owner, __ATOMIC_RELAXED);

	if (!__atomic_compare_exchange_n(&l->next, &t, (u16)(t + 1), false, __ATOMIC_ACQUIRE,
					 __ATOMIC_RELAXED))
		return false;
	lock_order_push(l->class);
	return true;
}

#if __STDC_HOSTED__ /* a program has no interrupts to keep off */
static inline u64 spin_cli(void) { return 0; }
static inline void spin_sti(u64 flags) { (void)flags; }
#else
static inline u64 spin_cli(void)
{
	u64 flags;

	__asm__ volatile("pushfq; popq %0; cli" : "=r"(flags)::"memory");
	return flags;
}
static inline void spin_sti(u64 flags)
{
	if (flags & 0x200)
		__asm__ volatile("sti" ::: "memory");
}
#endif

static inline u64 spin_lock_irq(struct spinlock *l)
{
	u64 flags = spin_cli();

	spin_lock(l);
	return flags;
}

static inline void spin_unlock_irq(struct spinlock *l, u64 flags)
{
	spin_unlock(l);
	spin_sti(flags);
}
