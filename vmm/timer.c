/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/timer.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "vmm/sched.h"

static void arm_first(struct sched_cpu *sc, u64 earliest)
{
	if (list_empty(&sc->timers))
		host_timer_arm(~0ull);
	else
		host_timer_arm(MAX(list_entry(sc->timers.next, struct timer, node)->tsc, earliest));
}

/*
 * The first that was due when the interrupt began, off the list and noted as running; NULL: none is. What callbacks set
 * comes with a later interrupt, and not before others have had as long as this one took: a device that always has
 * more to do, because its driver sees to that, keeps no CPU to itself.
 */
static struct timer *take_due(struct sched_cpu *sc, u64 began)
{
	struct timer *t = NULL;
	u64 end;

	spin_lock(&sc->timer_lock);
	if (!list_empty(&sc->timers)) {
		t = list_entry(sc->timers.next, struct timer, node);
		if (t->tsc > began) {
			t = NULL;
		} else {
			/* In this order: who sees it off the list sees it running (timer_stop_sync()). */
			WRITE_ONCE(sc->timer_running, t);
			list_del(&t->node);
			__atomic_store_n(&t->on, NULL, __ATOMIC_RELEASE);
		}
	}
	if (!t) {
		WRITE_ONCE(sc->timer_running, NULL);
		end = rdtsc();
		arm_first(sc, end + (end - began));
	}
	spin_unlock(&sc->timer_lock);
	return t;
}

/* The interrupt: fire what is due. A callback may set timers, its own included. */
static void timer_interrupt(void)
{
	u64 began = rdtsc();
	struct timer *t;

	while ((t = take_due(this_sched(), began)))
		t->fn(t);
}

void timers_init_cpu(void)
{
	struct sched_cpu *sc = this_sched();

	list_init(&sc->timers);
	sc->timer_lock = (struct spinlock)SPINLOCK(LOCK_TIMER);
	irq_set_handler(VEC_TIMER, timer_interrupt);
}

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	list_init(&t->node);
	t->on = NULL;
	t->fn = fn;
}

/* Its pCPU may be taking it off at this moment: whether it is on the list is known under the lock. */
void timer_stop(struct timer *t)
{
	struct sched_cpu *sc = READ_ONCE(t->on);
	bool was_first;

	if (!sc)
		return;
	spin_lock(&sc->timer_lock);
	if (t->on == sc) {
		was_first = sc->timers.next == &t->node;
		list_del(&t->node);
		WRITE_ONCE(t->on, NULL);
		/* Another pCPU's hardware is left as it is: it finds nothing due and arms itself anew. */
		if (was_first && sc == this_sched())
			arm_first(sc, 0);
	}
	spin_unlock(&sc->timer_lock);
}

void timer_set(struct timer *t, u64 tsc)
{
	struct sched_cpu *sc = this_sched();
	struct list *pos;
	bool was_first;

	if (unlikely(t->on && t->on != sc))
		timer_stop(t);
	spin_lock(&sc->timer_lock);
	was_first = sc->timers.next == &t->node;
	list_del(&t->node);
	t->tsc = tsc;
	WRITE_ONCE(t->on, sc);
	for (pos = sc->timers.next; pos != &sc->timers; pos = pos->next)
		if (list_entry(pos, struct timer, node)->tsc > tsc)
			break;
	list_insert(pos, &t->node);
	if (was_first || sc->timers.next == &t->node)
		arm_first(sc, 0);
	spin_unlock(&sc->timer_lock);
}

void timer_stop_sync(struct timer *t)
{
	timer_stop(t);
	for (u32 i = 0; i < nr_pcpus; i++)
		while (sched_can_run(i) && pcpus[i] != this_cpu() &&
		       READ_ONCE(((struct sched_cpu *)pcpus[i]->sched)->timer_running) == t)
			cpu_relax();
}

void timer_detach(struct timer *t, struct list *list)
{
	if (!timer_armed(t))
		return;
	timer_stop(t);
	list_insert(list, &t->node);
}

void timers_drop(struct list *list)
{
	while (!list_empty(list))
		list_del(list->next);
}

void timers_attach(struct list *list)
{
	while (!list_empty(list)) {
		struct timer *t = list_entry(list->next, struct timer, node);

		timer_set(t, t->tsc);
	}
}
