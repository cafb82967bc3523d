/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/sched.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/log.h"
#include "vmm/fetch.h"
#include "vmm/vm.h"

#define SLICE_NS 10000000ull /* 10 ms; felt only when two vCPUs want the same pCPU */

static void slice_due(struct timer *t)
{
	container_of(t, struct sched_cpu, slice)->slice_over = true;
}

/* Another pCPU wants us to look around: out of the run loop, through sched_loop() once. */
static void kick_interrupt(void)
{
	this_sched()->slice_over = true;
}

void sched_init_cpu(void)
{
	struct sched_cpu *sc = kzalloc(sizeof(*sc), FRAME_PCPU, OWNER_HOST);

	if (!sc)
		panic("no memory for the run queue of CPU %u", this_cpu()->index);
	sc->lock = (struct spinlock)SPINLOCK(LOCK_SCHED);
	list_init(&sc->vcpus);
	list_init(&sc->inbox);
	list_init(&sc->works);
	timer_init(&sc->slice, slice_due);
	this_cpu()->sched = sc;
	irq_set_handler(VEC_KICK, kick_interrupt);
	timers_init_cpu();
}

bool sched_can_run(u32 pcpu)
{
	return pcpu < nr_pcpus && pcpus[pcpu]->state == PCPU_ONLINE && pcpus[pcpu]->sched;
}

/* Once it is in the inbox it may run and be gone before we return: it is not touched again. */
static void put_in(struct vcpu *v, u32 target)
{
	struct sched_cpu *to = pcpus[target]->sched;

	spin_lock(&to->lock);
	WRITE_ONCE(v->pcpu, target);
	list_insert(&to->inbox, &v->sched_node);
	to->nr_vcpus++;
	spin_unlock(&to->lock);
	if (target == this_cpu()->index)
		sched_wake();
	else
		ipi_send(target, VEC_KICK);
}

void sched_add(struct vcpu *v)
{
	struct sched_cpu *best = NULL;
	u32 target = 0;

	for (u32 i = 0; i < nr_pcpus; i++) {
		struct sched_cpu *sc = pcpus[i]->sched;

		if (!sched_can_run(i))
			continue;
		if (!best || sc->nr_vcpus < best->nr_vcpus) {
			best = sc;
			target = i;
		}
	}
	ASSERT(best);
	put_in(v, target);
}

void sched_unload(void)
{
	struct pcpu *cpu = this_cpu();
	struct vcpu *v;

	if (!cpu->loaded)
		return;
	v = container_of(cpu->loaded, struct vcpu, hv);
	pv_put(v);
	guest_code_forget(v);
	hv->put(&v->hv);
	cpu->loaded = NULL;
}

void sched_remove(struct vcpu *v)
{
	struct sched_cpu *sc = this_sched();

	ASSERT(v->pcpu == this_cpu()->index);
	if (this_cpu()->loaded == &v->hv)
		sched_unload();
	timer_detach(&v->lapic_timer, &v->moving);
	timer_detach(&v->park_timer, &v->moving);
	spin_lock(&sc->lock);
	list_del(&v->sched_node);
	sc->nr_vcpus--;
	WRITE_ONCE(v->pcpu, SCHED_NOWHERE);
	spin_unlock(&sc->lock);
}

void sched_do(struct sched_work *w)
{
	struct sched_cpu *sc = this_sched();

	spin_lock(&sc->lock);
	list_insert(&sc->works, &w->node);
	spin_unlock(&sc->lock);
	sched_wake();
}

/* One step of one work. Is there more? */
static bool do_work(struct sched_cpu *sc)
{
	struct sched_work *w = NULL;

	spin_lock(&sc->lock);
	if (!list_empty(&sc->works)) {
		w = list_entry(sc->works.next, struct sched_work, node);
		list_del(&w->node);
	}
	spin_unlock(&sc->lock);
	if (w && !w->fn(w))
		sched_do(w);
	return !list_empty(&sc->works);
}

void sched_move(struct vcpu *v, u32 target)
{
	WRITE_ONCE(v->move_to, target);
	vcpu_request(v, REQ_MOVE);
}

/*
 * REQ_MOVE, outside the run loop. Somebody who meanwhile sets another request sets the bit first and
 * reads v->pcpu then (vcpu_request(), a locked instruction between the two). If the target, looking
 * at v after it took it from its inbox, does not see the bit, then the reader comes after our store to
 * v->pcpu, which comes before the inbox's lock: it kicks the target. So no request is slept over.
 */
static void hand_over(struct vcpu *v)
{
	u32 target;

	__atomic_fetch_and(&v->requests, ~(u32)REQ_MOVE, __ATOMIC_SEQ_CST);
	target = READ_ONCE(v->move_to);
	if (target == this_cpu()->index || !sched_can_run(target))
		return;
	sched_remove(v);
	put_in(v, target);
}

static void drain_inbox(struct sched_cpu *sc)
{
	spin_lock(&sc->lock);
	while (!list_empty(&sc->inbox)) {
		struct list *n = sc->inbox.next;

		list_del(n);
		list_insert(&sc->vcpus, n);
		timers_attach(&list_entry(n, struct vcpu, sched_node)->moving);
	}
	spin_unlock(&sc->lock);
}

u64 vcpu_waited_ticks(const struct vcpu *v)
{
	return v->waited;
}

/* The first that wants to run goes to the tail: round robin. *more: is there another? */
static struct vcpu *pick(struct sched_cpu *sc, bool *more)
{
	struct vcpu *chosen = NULL;

	*more = false;
	list_for_each (n, &sc->vcpus) {
		struct vcpu *v = list_entry(n, struct vcpu, sched_node);

		if (!vcpu_runnable(v))
			continue;
		if (!chosen) {
			chosen = v;
			continue;
		}
		*more = true;
		if (!v->waited_since)
			v->waited_since = rdtsc();
	}
	if (chosen) {
		if (chosen->waited_since)
			chosen->waited += rdtsc() - chosen->waited_since;
		chosen->waited_since = 0;
		list_del(&chosen->sched_node);
		list_insert(&sc->vcpus, &chosen->sched_node);
	}
	return chosen;
}

void sched_irq_window(void)
{
	/* STI's shadow lasts one instruction: the NOP is where waiting interrupts come in. */
	__asm__ volatile("sti; nop; cli" ::: "memory");
}

static void switch_to(struct vcpu *v)
{
	if (this_cpu()->loaded == &v->hv)
		return;
	sched_unload();
	hv->load(&v->hv);
	this_cpu()->loaded = &v->hv;
	pv_load(v);
}

void sched_loop(void)
{
	struct sched_cpu *sc = this_sched();

	for (;;) {
		struct vcpu *v;
		bool works, more;

		drain_inbox(sc);
		sc->slice_over = false;
		works = do_work(sc);
		v = pick(sc, &more);
		if (!v) {
			if (works || sched_pending()) {
				sched_irq_window();
				continue;
			}
			irq_recheck();
			irq_enable_halt();
			continue;
		}
		if (unlikely(v->requests & REQ_OUTSIDE)) {
			if (v->requests & REQ_STOP)
				vm_hold(v);
			else
				hand_over(v);
			continue;
		}
		if (works)
			sched_wake();
		if (more)
			timer_set(&sc->slice, rdtsc() + ns_to_tsc(SLICE_NS));
		else if (timer_armed(&sc->slice))
			timer_stop(&sc->slice);
		switch_to(v);
		vcpu_run(v);
		sched_irq_window();
	}
}
