/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/sched.h"
#include "arch/x86_64/asm.h"
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"
#include "vmm/fetch.h"
#include "vmm/vm.h"

#define SLICE_NS      5000000ull /* felt only when two vCPUs want the same pCPU */
#define CAP_PERIOD_NS 10000000ull
#define BALANCE_NS    100000000ull
#define WORK_NS       100000ull /* a vCPU's turn between two steps of a work */
#define ASK_NS        1000000ull /* between two questions: what waits there may be pinned */

/* Of all pCPUs, a bit each: sleeps and would take work; has vCPUs that wait; is in the pool. */
static u64 idle_cpus[VM_CPUS_MAX / 64], crowded_cpus[VM_CPUS_MAX / 64], pool_cpus[VM_CPUS_MAX / 64];

static struct list places = {&places, &places}; /* every VM's vm_sched */
static struct spinlock places_lock = SPINLOCK(LOCK_SCHED);

static bool is_set(const u64 *mask, u32 i)
{
	return READ_ONCE(mask[i / 64]) & BIT(i % 64);
}

/* Each is a full barrier, and says whether the bit was set. */
static bool set(u64 *mask, u32 i)
{
	return __atomic_fetch_or(&mask[i / 64], BIT(i % 64), __ATOMIC_SEQ_CST) & BIT(i % 64);
}

static bool clear(u64 *mask, u32 i)
{
	return __atomic_fetch_and(&mask[i / 64], ~BIT(i % 64), __ATOMIC_SEQ_CST) & BIT(i % 64);
}

static struct vcpu *vcpu_of(struct sched_ent *e)
{
	return container_of(e, struct vcpu, sched.ent);
}

static struct sched_cpu *sched_of(u32 pcpu)
{
	return pcpus[pcpu]->sched;
}

static void slice_due(struct timer *t)
{
	container_of(t, struct sched_cpu, slice)->slice_over = true;
}

/* Another pCPU wants us to look around: out of the run loop, through sched_loop() once. */
static void kick_interrupt(void)
{
	this_sched()->slice_over = true;
}

static void kick(u32 pcpu)
{
	if (pcpu == this_cpu()->index)
		this_sched()->slice_over = true;
	else
		ipi_send(pcpu, VEC_KICK);
}

/* If it moves meanwhile, it has left by itself. */
void sched_look_around(const struct vcpu *v)
{
	u32 pcpu = READ_ONCE(v->pcpu);

	if (pcpu != SCHED_NOWHERE)
		kick(pcpu);
}

void sched_init_cpu(void)
{
	struct sched_cpu *sc = kzalloc(sizeof(*sc), FRAME_PCPU, OWNER_HOST);

	if (!sc)
		panic("no memory for the run queue of CPU %u", this_cpu()->index);
	sc->lock = (struct spinlock)SPINLOCK(LOCK_SCHED);
	sched_rq_init(&sc->rq, ns_to_tsc(SLICE_NS));
	list_init(&sc->vcpus);
	list_init(&sc->inbox);
	list_init(&sc->works);
	timer_init(&sc->slice, slice_due);
	this_cpu()->sched = sc;
	set(pool_cpus, this_cpu()->index);
	irq_set_handler(VEC_KICK, kick_interrupt);
	timers_init_cpu();
}

/* --- where a vCPU may be --- */

bool sched_can_run(u32 pcpu)
{
	return pcpu < nr_pcpus && pcpus[pcpu]->state == PCPU_ONLINE && pcpus[pcpu]->sched;
}

static bool may_run(const struct vcpu *v, u32 pcpu)
{
	if (!sched_can_run(pcpu) || !is_set(v->sched.cpus, pcpu))
		return false;
	return v->vm->cfg.dedicated ? sched_of(pcpu)->owner == v : is_set(pool_cpus, pcpu);
}

/* Where fewest live. */
static u32 best_for(const struct vcpu *v)
{
	u32 best = SCHED_NOWHERE;

	for (u32 i = 0; i < nr_pcpus; i++)
		if (may_run(v, i) &&
		    (best == SCHED_NOWHERE || sched_of(i)->nr_vcpus < sched_of(best)->nr_vcpus))
			best = i;
	return best;
}

/* An idle pCPU, which nobody else then chooses. */
static u32 take_idle(const struct vcpu *v)
{
	for (u32 w = 0; w * 64 < nr_pcpus; w++) {
		u64 m = READ_ONCE(idle_cpus[w]) & v->sched.cpus[w];

		for (; m; m &= m - 1) {
			u32 i = w * 64 + (u32)__builtin_ctzl(m);

			if (may_run(v, i) && clear(idle_cpus, i))
				return i;
		}
	}
	return SCHED_NOWHERE;
}

static bool pool_has(const u64 *cpus)
{
	for (u32 i = 0; i < nr_pcpus; i++)
		if (sched_can_run(i) && is_set(pool_cpus, i) && is_set(cpus, i))
			return true;
	return false;
}

static bool has_place(const struct vm *vm)
{
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		if (!pool_has(vm->vcpus[i]->sched.cpus))
			return false;
	return vm->nr_vcpus || pool_has(vm->sched.cpus);
}

/* Has each vCPU of the pool still somewhere to run? */
static bool pool_suffices(const struct vm_sched *also)
{
	for (struct list *n = places.next;; n = n->next) {
		const struct vm_sched *s =
			n == &places ? also : list_entry(n, struct vm_sched, node);
		const struct vm *vm = s ? container_of(s, struct vm, sched) : NULL;

		if (vm && !vm->cfg.dedicated && !has_place(vm))
			return false;
		if (n == &places)
			return true;
	}
}

/* From the last on: the boot CPU has the host's interrupts. */
static u32 take_dedicated(struct vm *vm)
{
	u32 n = 0;

	memset(vm->sched.cpus, 0, sizeof(vm->sched.cpus));
	for (u32 i = nr_pcpus; i-- && n < vm->cfg.maxvcpus;) {
		if (!sched_can_run(i) || !is_set(vm->cfg.cpus, i) || !clear(pool_cpus, i))
			continue;
		if (pool_suffices(NULL)) {
			set(vm->sched.cpus, i);
			n++;
		} else {
			set(pool_cpus, i);
		}
	}
	return n;
}

static void give_back(struct vm *vm)
{
	for (u32 i = 0; vm->cfg.dedicated && i < nr_pcpus; i++) {
		if (!clear(vm->sched.cpus, i))
			continue;
		sched_of(i)->owner = NULL;
		set(pool_cpus, i);
	}
}

void sched_vm_tune(struct vm *vm)
{
	sched_group_init(&vm->sched.group, (u32)vm->cfg.cpu_weight, (u32)vm->cfg.cap,
			 vm->cfg.maxvcpus, ns_to_tsc(CAP_PERIOD_NS));
}

int sched_vm_create(struct vm *vm, char *why, size_t n)
{
	const struct vm_config *cfg = &vm->cfg;
	u32 got = 0;
	bool ok;

	sched_vm_tune(vm);
	memcpy(vm->sched.cpus, cfg->cpus, sizeof(vm->sched.cpus));
	list_init(&vm->sched.node);
	spin_lock(&places_lock);
	if (cfg->dedicated)
		ok = (got = take_dedicated(vm)) == cfg->maxvcpus;
	else
		ok = pool_suffices(&vm->sched);
	if (ok)
		list_insert(&places, &vm->sched.node);
	else
		give_back(vm);
	spin_unlock(&places_lock);
	if (!ok && cfg->dedicated)
		snprintf(
			why, n,
			"%s: dedicated = 1 with %u vCPUs, but only %u of the CPUs 0 to %u can be spared; "
			"write dedicated = 0, or fewer vCPUs",
			vm->name, cfg->maxvcpus, got, nr_pcpus - 1);
	else if (!ok)
		snprintf(
			why, n,
			"%s: of the CPUs 0 to %u none is both in its cpus and not dedicated to another VM; "
			"mend cpus, or take a dedicated = 1 away",
			vm->name, nr_pcpus - 1);
	for (u32 i = 0; ok && cfg->dedicated && i < nr_pcpus; i++) {
		if (!is_set(vm->sched.cpus, i))
			continue;
		WRITE_ONCE(sched_of(i)->evict, true);
		kick(i);
	}
	return ok ? 0 : -ENOSPC;
}

void sched_vm_destroy(struct vm *vm)
{
	spin_lock(&places_lock);
	list_del(&vm->sched.node);
	give_back(vm);
	spin_unlock(&places_lock);
}

/* --- coming, going, waking --- */

static void send_to(struct vcpu *v, u32 target)
{
	struct sched_cpu *to = sched_of(target);

	spin_lock(&to->lock);
	WRITE_ONCE(v->pcpu, target);
	list_insert(&to->inbox, &v->sched.node);
	to->nr_vcpus++;
	spin_unlock(&to->lock);
	kick(target);
}

void sched_add(struct vcpu *v)
{
	u32 target = best_for(v);

	/* The next of those that its VM was given. */
	for (u32 i = 0; target == SCHED_NOWHERE && i < nr_pcpus; i++)
		if (is_set(v->vm->sched.cpus, i) && !sched_of(i)->owner) {
			sched_of(target = i)->owner = v;
			break;
		}
	ASSERT(target != SCHED_NOWHERE);
	send_to(v, target);
}

void sched_unload(void)
{
	struct vcpu *v = vcpu_current();

	if (!v)
		return;
	/* pv_put() writes to the guest: vm_nested_flush() waits for it. */
	__atomic_store_n(&v->in_run, true, __ATOMIC_SEQ_CST);
	pv_put(v);
	__atomic_store_n(&v->in_run, false, __ATOMIC_RELEASE);
	guest_code_put(v);
	hv->put(&v->hv);
	this_cpu()->loaded = NULL;
}

/* v no longer lives here; its timers go with it. */
static void take_out(struct vcpu *v)
{
	struct sched_cpu *sc = this_sched();

	if (vcpu_current() == v)
		sched_unload();
	guest_code_init(v); /* its memory may be another's before it is loaded again */
	timer_detach(&v->lapic_timer, &v->moving);
	timer_detach(&v->park_timer, &v->moving);
	sched_ent_detach(&sc->rq, &v->sched.ent, rdtsc());
	spin_lock(&sc->lock);
	list_del(&v->sched.node);
	sc->nr_vcpus--;
	WRITE_ONCE(v->pcpu, SCHED_NOWHERE);
	spin_unlock(&sc->lock);
}

void sched_wake(struct vcpu *v)
{
	u32 pcpu = READ_ONCE(v->pcpu);

	if (READ_ONCE(v->sched.asleep) &&
	    __atomic_exchange_n(&v->sched.asleep, 0, __ATOMIC_SEQ_CST)) {
		struct sched_cpu *sc = sched_of(pcpu = READ_ONCE(v->pcpu));

		v->sched.next_woken = READ_ONCE(sc->woken);
		while (!__atomic_compare_exchange_n(&sc->woken, &v->sched.next_woken, v, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			;
		kick(pcpu);
	} else if (pcpu != this_cpu()->index && pcpu != SCHED_NOWHERE) {
		ipi_send(pcpu, VEC_KICK); /* here it looks at its requests before it next enters */
	}
}

/* v is asleep in the run queue. Who sets a request sets it first and looks at asleep then, we the
 * other way round: one of us sees the other. */
static void settle(struct vcpu *v)
{
	__atomic_exchange_n(&v->sched.asleep, 1, __ATOMIC_SEQ_CST);
	if (vcpu_runnable(v))
		sched_wake(v);
}

/*
 * Somebody who meanwhile sets a request sets the bit first and reads v->pcpu then (vcpu_request(),
 * a locked instruction between the two). If the target, in settle(), does not see the bit, then the
 * reader comes after our store to v->pcpu, which comes before the inbox's lock: it kicks the
 * target, or finds v asleep there. So no request is slept over.
 */
static void move(struct vcpu *v, u32 target)
{
	v->sched.moves++;
	take_out(v);
	send_to(v, target);
}

void sched_move(struct vcpu *v, u32 target)
{
	WRITE_ONCE(v->move_to, target);
	vcpu_request(v, REQ_MOVE);
}

/* REQ_MOVE, outside the run loop. */
static void hand_over(struct vcpu *v)
{
	u32 target;

	__atomic_fetch_and(&v->requests, ~(u32)REQ_MOVE, __ATOMIC_SEQ_CST);
	target = READ_ONCE(v->move_to);
	if (!may_run(v, target))
		target = may_run(v, v->pcpu) ? v->pcpu : best_for(v);
	if (target != v->pcpu && target != SCHED_NOWHERE)
		move(v, target);
}

/* It is its own pCPU that moves it, always: that sees the new list when it finds the request. */
int sched_pin(struct vcpu *v, const u64 *cpus, char *why, size_t n)
{
	bool ok;

	if (v->vm->cfg.dedicated) {
		snprintf(why, n, "dedicated = 1 gave each of its vCPUs a CPU of its own");
		return -EPERM;
	}
	spin_lock(&places_lock);
	ok = pool_has(cpus);
	if (ok)
		memcpy(v->sched.cpus, cpus, sizeof(v->sched.cpus));
	spin_unlock(&places_lock);
	if (!ok) {
		snprintf(why, n,
			 "of the CPUs 0 to %u none of these is there and not dedicated to a VM",
			 nr_pcpus - 1);
		return -ENOSPC;
	}
	sched_move(v, SCHED_NOWHERE);
	return 0;
}

static void take_in(struct sched_cpu *sc)
{
	if (likely(READ_ONCE(sc->inbox.next) == &sc->inbox))
		return; /* who puts one in kicks us after it */
	spin_lock(&sc->lock);
	while (!list_empty(&sc->inbox)) {
		struct vcpu *v = list_entry(sc->inbox.next, struct vcpu, sched.node);

		list_del(&v->sched.node);
		list_insert(&sc->vcpus, &v->sched.node);
		timers_attach(&v->moving);
		sched_ent_attach(&sc->rq, &v->sched.ent, rdtsc());
		settle(v);
	}
	spin_unlock(&sc->lock);
	sc->balance_at = 0;
}

/* Who wakes where others run goes to an idle pCPU. */
static void take_woken(struct sched_cpu *sc)
{
	struct vcpu *v = READ_ONCE(sc->woken), *next;

	if (!v)
		return;
	for (v = __atomic_exchange_n(&sc->woken, NULL, __ATOMIC_SEQ_CST); v; v = next) {
		u32 target = SCHED_NOWHERE;

		next = v->sched.next_woken;
		if (unlikely(!may_run(v, v->pcpu)))
			target = best_for(v);
		else if (sc->rq.cur || sc->rq.nr_ready)
			target = take_idle(v);
		if (target == SCHED_NOWHERE)
			sched_ent_wake(&sc->rq, &v->sched.ent, rdtsc());
		else
			move(v, target);
	}
}

void sched_remove(struct vcpu *v)
{
	ASSERT(v->pcpu == this_cpu()->index && v->sched.ent.state == SCHED_RUNNING);
	log_debug("%s: vCPU %u leaves CPU %u: %lu us run, %lu waited, %u moves", v->vm->name, v->id,
		  v->pcpu, tsc_to_ns(v->sched.ent.ran) / 1000,
		  tsc_to_ns(v->sched.ent.waited) / 1000, v->sched.moves);
	take_out(v);
}

/* Its pCPU may be charging it: `ran` grows before `since` does, so of what is seen the least is
 * true. */
u64 vcpu_ran_ticks(const struct vcpu *v)
{
	const struct sched_ent *e = &v->sched.ent;
	u64 least = ~0ull;

	for (u32 i = 0; i < 3; i++) {
		u64 since = READ_ONCE(e->since), ran = READ_ONCE(e->ran), now = rdtsc();

		if (READ_ONCE(e->state) == SCHED_RUNNING && now > since)
			ran += now - since;
		least = MIN(least, ran);
	}
	return least;
}

u64 vcpu_waited_ticks(const struct vcpu *v)
{
	return v->sched.ent.waited;
}

/* This pCPU is dedicated now. */
static void evict(struct sched_cpu *sc)
{
	sc->evict = false;
	for (struct list *n = sc->vcpus.next, *next; n != &sc->vcpus; n = next) {
		struct vcpu *v = list_entry(n, struct vcpu, sched.node);

		next = n->next;
		if (may_run(v, v->pcpu) || best_for(v) == SCHED_NOWHERE)
			continue;
		/* One that is being woken is moved then. */
		if (v->sched.ent.state != SCHED_ASLEEP ||
		    __atomic_exchange_n(&v->sched.asleep, 0, __ATOMIC_SEQ_CST))
			move(v, best_for(v));
	}
}

/* --- sharing work --- */

static bool spread(struct sched_cpu *sc)
{
	bool any = false;
	u64 idle = 0;

	for (u32 w = 0; w * 64 < nr_pcpus; w++)
		idle |= READ_ONCE(idle_cpus[w]);
	if (likely(!idle))
		return false;
	for (struct list *n = sc->rq.ready.next, *next; n != &sc->rq.ready; n = next) {
		struct vcpu *v = vcpu_of(list_entry(n, struct sched_ent, node));
		u32 target = take_idle(v);

		next = n->next;
		if (target != SCHED_NOWHERE) {
			move(v, target);
			any = true;
		}
	}
	return any;
}

static bool may_go(struct sched_ent *e, void *arg)
{
	return may_run(vcpu_of(e), *(u32 *)arg);
}

/* To whichever pCPU is least busy of those that may take one. */
static bool balance(struct sched_cpu *sc)
{
	u32 me = this_cpu()->index, target = me;
	struct sched_ent *best = NULL;
	u64 least = sc->rq.load;

	for (u32 k = 1; k < nr_pcpus; k++) {
		u32 i = (me + k) % nr_pcpus;
		u64 load = sched_can_run(i) ? READ_ONCE(sched_of(i)->rq.load) : ~0ull;
		struct sched_ent *e;

		if (load >= least)
			continue;
		e = sched_surplus(&sc->rq, sc->rq.load - load, may_go, &i);
		if (e) {
			best = e;
			least = load;
			target = i;
		}
	}
	if (best)
		move(vcpu_of(best), target);
	return best;
}

/* Some wait here, or no longer do. true: one has gone, choose again. */
static bool share(struct sched_cpu *sc, u64 now)
{
	u32 me = this_cpu()->index;

	if (sc->crowded != !!sc->rq.nr_ready) {
		sc->crowded = !sc->crowded;
		sc->balance_at = now + ns_to_tsc(BALANCE_NS);
		(sc->crowded ? set : clear)(crowded_cpus, me);
	}
	if (likely(!sc->crowded))
		return false;
	/* After the bit is set: who became idle before has seen it, who does so now is seen. */
	if (spread(sc))
		return true;
	if (now < sc->balance_at)
		return false;
	sc->balance_at = now + ns_to_tsc(BALANCE_NS);
	return balance(sc);
}

/* Ask one that is crowded to share; then sleep until an interrupt. Nothing polls. */
static void idle(struct sched_cpu *sc, u64 now)
{
	u32 me = this_cpu()->index;
	bool ask = now >= sc->ask_at;

	set(idle_cpus, me);
	for (u32 w = 0; ask && w * 64 < nr_pcpus; w++) {
		u64 m = READ_ONCE(crowded_cpus[w]);

		if (!m)
			continue;
		kick(w * 64 + (u32)__builtin_ctzl(m));
		sc->ask_at = now + ns_to_tsc(ASK_NS);
		ask = false;
	}
	irq_recheck();
	irq_enable_halt();
	clear(idle_cpus, me);
}

/* --- running --- */

void sched_irq_window(void)
{
	/* STI's shadow lasts one instruction: the NOP is where waiting interrupts come in. */
	__asm__ volatile("sti; nop; cli" ::: "memory");
}

static void switch_to(struct vcpu *v)
{
	if (vcpu_current() == v)
		return;
	sched_unload();
	hv->load(&v->hv);
	this_cpu()->loaded = &v->hv;
	__atomic_store_n(&v->in_run, true, __ATOMIC_SEQ_CST);
	pv_load(v);
	__atomic_store_n(&v->in_run, false, __ATOMIC_RELEASE);
}

static void arm(struct sched_cpu *sc, u64 until)
{
	if (until != SCHED_NEVER) {
		if (!timer_armed(&sc->slice) || sc->slice.tsc != until)
			timer_set(&sc->slice, until);
	} else if (timer_armed(&sc->slice)) {
		timer_stop(&sc->slice);
	}
}

static void run(struct sched_cpu *sc, struct vcpu *v)
{
	switch_to(v);
	vcpu_run(v);
	if (!vcpu_runnable(v)) {
		sched_ent_sleep(&sc->rq, &v->sched.ent, rdtsc());
		settle(v);
	}
	sched_irq_window();
}

bool sched_ready(void)
{
	return this_sched();
}

void sched_do(struct sched_work *w)
{
	struct sched_cpu *sc = this_sched();

	list_insert(&sc->works, &w->node);
	sc->slice_over = true;
}

/* A step of one work. */
static void do_work(struct sched_cpu *sc)
{
	struct sched_work *w = list_entry(sc->works.next, struct sched_work, node);

	list_del(&w->node);
	if (!w->fn(w))
		sched_do(w);
}

static void serve_outside(struct vcpu *v)
{
	if (v->requests & REQ_STOP)
		vm_hold(v);
	else
		hand_over(v);
}

void sched_loop(void)
{
	struct sched_cpu *sc = this_sched();

	for (;;) {
		struct sched_ent *e;
		u64 now, until;

		sc->slice_over = false;
		if (unlikely(!list_empty(&sc->works)))
			do_work(sc);
		take_in(sc);
		take_woken(sc);
		if (unlikely(READ_ONCE(sc->evict)))
			evict(sc);
		now = rdtsc();
		e = sched_pick(&sc->rq, now, &until);
		if (unlikely(share(sc, now)))
			continue;
		if (unlikely(!list_empty(&sc->works))) {
			/* After the next exit, and not never: a guest that spins may make none. */
			until = MIN(until, now + ns_to_tsc(WORK_NS));
			sc->slice_over = true;
		}
		arm(sc, until);
		if (e && likely(!(vcpu_of(e)->requests & REQ_OUTSIDE)))
			run(sc, vcpu_of(e));
		else if (e)
			serve_outside(vcpu_of(e));
		else if (sc->slice_over)
			sched_irq_window();
		else
			idle(sc, now);
	}
}
