/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/timer.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/machine.h"
#include "vmm/sched.h"

static void arm_first(struct sched_cpu *sc)
{
	if (list_empty(&sc->timers))
		host_timer_arm(~0ull);
	else
		host_timer_arm(list_entry(sc->timers.next, struct timer, node)->tsc);
}

/* The interrupt: fire what is due. A callback may set timers, its own included. */
static void timer_interrupt(void)
{
	struct sched_cpu *sc = this_sched();

	while (!list_empty(&sc->timers)) {
		struct timer *t = list_entry(sc->timers.next, struct timer, node);

		if (t->tsc > rdtsc())
			break;
		list_del(&t->node);
		t->fn(t);
	}
	arm_first(sc);
}

void timers_init_cpu(void)
{
	list_init(&this_sched()->timers);
	irq_set_handler(VEC_TIMER, timer_interrupt);
}

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
	list_init(&t->node);
	t->fn = fn;
}

void timer_set(struct timer *t, u64 tsc)
{
	struct sched_cpu *sc = this_sched();
	struct list *pos;
	bool was_first = sc->timers.next == &t->node;

	list_del(&t->node);
	t->tsc = tsc;
	for (pos = sc->timers.next; pos != &sc->timers; pos = pos->next)
		if (list_entry(pos, struct timer, node)->tsc > tsc)
			break;
	list_insert(pos, &t->node);
	if (was_first || sc->timers.next == &t->node)
		arm_first(sc);
}

void timer_stop(struct timer *t)
{
	struct sched_cpu *sc = this_sched();
	bool was_first = sc->timers.next == &t->node;

	list_del(&t->node);
	if (was_first)
		arm_first(sc);
}

void timer_detach(struct timer *t, struct list *list)
{
	if (!timer_armed(t))
		return;
	timer_stop(t);
	list_insert(list, &t->node);
}

void timers_attach(struct list *list)
{
	while (!list_empty(list)) {
		struct timer *t = list_entry(list->next, struct timer, node);

		timer_set(t, t->tsc);
	}
}
