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
	timer_init(&sc->slice, slice_due);
	this_cpu()->sched = sc;
	irq_set_handler(VEC_KICK, kick_interrupt);
	timers_init_cpu();
}

bool sched_can_run(u32 pcpu)
{
	return pcpu < nr_pcpus && pcpus[pcpu]->state == PCPU_ONLINE && pcpus[pcpu]->sched;
}

void sched_add(struct vcpu *v)
{
	struct sched_cpu *best = NULL;

	for (u32 i = 0; i < nr_pcpus; i++) {
		struct sched_cpu *sc = pcpus[i]->sched;

		if (!sched_can_run(i))
			continue;
		if (!best || sc->nr_vcpus < best->nr_vcpus) {
			best = sc;
			v->pcpu = i;
		}
	}
	ASSERT(best);
	spin_lock(&best->lock);
	list_insert(&best->inbox, &v->sched_node);
	best->nr_vcpus++;
	spin_unlock(&best->lock);
	if (v->pcpu != this_cpu()->index)
		ipi_send(v->pcpu, VEC_KICK);
}

static void unload(struct vcpu *v)
{
	if (this_cpu()->loaded != &v->hv)
		return;
	pv_put(v);
	guest_code_forget(v);
	hv->put(&v->hv);
	this_cpu()->loaded = NULL;
}

void sched_remove(struct vcpu *v)
{
	struct sched_cpu *sc = this_sched();

	ASSERT(v->pcpu == this_cpu()->index);
	unload(v);
	spin_lock(&sc->lock);
	list_del(&v->sched_node);
	sc->nr_vcpus--;
	spin_unlock(&sc->lock);
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
	struct sched_cpu *from = this_sched(), *to;
	u32 target;

	__atomic_fetch_and(&v->requests, ~(u32)REQ_MOVE, __ATOMIC_SEQ_CST);
	target = READ_ONCE(v->move_to);
	if (target == this_cpu()->index || !sched_can_run(target))
		return;
	unload(v);
	timer_detach(&v->lapic_timer, &v->moving);
	timer_detach(&v->park_timer, &v->moving);
	if (v->id == 0)
		vm_devices_detach_timers(v->vm, &v->moving);
	spin_lock(&from->lock);
	list_del(&v->sched_node);
	from->nr_vcpus--;
	spin_unlock(&from->lock);
	to = pcpus[target]->sched;
	spin_lock(&to->lock);
	WRITE_ONCE(v->pcpu, target);
	list_insert(&to->inbox, &v->sched_node);
	to->nr_vcpus++;
	spin_unlock(&to->lock);
	ipi_send(target, VEC_KICK);
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
	struct pcpu *cpu = this_cpu();

	if (cpu->loaded == &v->hv)
		return;
	if (cpu->loaded)
		unload(container_of(cpu->loaded, struct vcpu, hv));
	hv->load(&v->hv);
	cpu->loaded = &v->hv;
	pv_load(v);
}

void sched_loop(void)
{
	struct sched_cpu *sc = this_sched();

	for (;;) {
		struct vcpu *v;
		bool more;

		drain_inbox(sc);
		sc->slice_over = false;
		v = pick(sc, &more);
		if (!v) {
			irq_enable_halt();
			continue;
		}
		if (unlikely(v->requests & REQ_MOVE)) {
			hand_over(v);
			continue;
		}
		if (more)
			timer_set(&sc->slice, rdtsc() + ns_to_tsc(SLICE_NS));
		else if (timer_armed(&sc->slice))
			timer_stop(&sc->slice);
		switch_to(v);
		vcpu_run(v);
		if (v->state == VCPU_DEAD)
			vm_reap(v->vm);
		sched_irq_window();
	}
}
