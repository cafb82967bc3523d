/* SPDX-License-Identifier: BSD-2-Clause */
/* The timers of two pCPUs: vmm/timer.c over a clock and a hardware that are variables. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/asm.h"
#include "arch/x86_64/percpu.h"
#include "lib/string.h"

static u64 now;
static __thread u32 here; /* the pCPU that executes */
static void relax(void);
#define rdtsc()	    now
#define this_cpu()  pcpus[here]
#define cpu_relax() relax()
#define sched_yield vmm_sched_yield /* not <pthread.h>'s */
#include "vmm/timer.c"
#undef sched_yield

#define NR_CPUS 2

static struct sched_cpu sched[NR_CPUS];
static struct pcpu cpu[NR_CPUS + 1]; /* the last runs no vCPUs, so it has no timers */
struct pcpu *pcpus[MAX_PCPUS];
u32 nr_pcpus = NR_CPUS + 1;
static u64 hw[NR_CPUS];
static irq_handler_t interrupt;
static unsigned relaxed;
static bool pretend;

void host_timer_arm(u64 tsc) { hw[here] = tsc; }
bool sched_can_run(u32 i) { return i < NR_CPUS; }
void irq_set_handler(u8 vector, irq_handler_t fn)
{
	assert_int_equal(vector, VEC_TIMER);
	interrupt = fn;
}

/* The other pCPU's callback ends while this one waits for the third time. */
static void relax(void)
{
	if (++relaxed == 3 && pretend)
		sched[!here].timer_running = NULL;
}

static struct fake {
	struct timer t;
	unsigned fired;
	u64 again; /* the callback sets its own timer to this; 0: not */
	struct timer *stops;
} f[64];
static struct timer *log[64];
static unsigned nr_log;

static void fire(struct timer *t)
{
	struct fake *me = container_of(t, struct fake, t);
	u64 again = me->again;

	assert_false(timer_armed(t));
	assert_true(t->tsc <= now && sched[here].timer_running == t);
	assert_int_equal(sched[here].timer_lock.owner, sched[here].timer_lock.next);
	log[nr_log++ % 64] = t;
	me->fired++;
	me->again = 0;
	if (again)
		timer_set(t, again);
	if (me->stops)
		timer_stop(me->stops);
}

static int start(void **state)
{
	(void)state;
	memset(f, 0, sizeof(f));
	for (here = NR_CPUS; here--;) {
		pcpus[here] = &cpu[here];
		cpu[here].sched = &sched[here];
		hw[here] = ~0ull;
		timers_init_cpu();
	}
	here = 0;
	pcpus[NR_CPUS] = &cpu[NR_CPUS];
	for (unsigned i = 0; i < ARRAY_SIZE(f); i++)
		timer_init(&f[i].t, fire);
	now = 1000;
	nr_log = relaxed = pretend = 0;
	return 0;
}

/* The hardware of this pCPU goes off at `at`. */
static void at(u64 t)
{
	now = t;
	interrupt();
	assert_null(sched[here].timer_running);
}

static void fired(unsigned n, ...)
{
	va_list ap;

	assert_int_equal(nr_log, n);
	va_start(ap, n);
	for (unsigned i = 0; i < n; i++)
		assert_ptr_equal(log[i], &f[va_arg(ap, int)].t);
	va_end(ap);
	nr_log = 0;
}

static void order(void **state)
{
	static const u64 tsc[] = {3000, 2000, 5000, 3000, 4000};
	static const u64 first[] = {3000, 2000, 2000, 2000, 2000};

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		timer_set(&f[i].t, tsc[i]);
		assert_int_equal(hw[0], first[i]);
		assert_true(timer_armed(&f[i].t));
	}
	at(1999); /* hardware may come early */
	fired(0);
	assert_int_equal(hw[0], 2000);
	at(2000);
	fired(1, 1);
	assert_int_equal(hw[0], 3000);
	at(4999); /* late, for three; those of one deadline in the order in which they were set */
	fired(3, 0, 3, 4);
	assert_int_equal(hw[0], 5000);
	at(5000);
	fired(1, 2);
	assert_int_equal(hw[0], ~0ull);
	at(9000);
	fired(0);
	assert_int_equal(hw[1], ~0ull);
}

static void set_stop(void **state)
{
	(void)state;
	timer_stop(&f[0].t); /* never set */
	timer_set(&f[0].t, 2000);
	timer_set(&f[1].t, 3000);
	timer_set(&f[0].t, 4000); /* later: the other is first now */
	assert_int_equal(hw[0], 3000);
	timer_set(&f[0].t, 2500); /* earlier */
	assert_int_equal(hw[0], 2500);
	timer_set(&f[0].t, 2400); /* first before and after */
	assert_int_equal(hw[0], 2400);
	timer_stop(&f[0].t);
	assert_false(timer_armed(&f[0].t));
	assert_int_equal(hw[0], 3000);
	timer_stop(&f[0].t);
	at(2999);
	fired(0);
	timer_set(&f[2].t, 3500);
	timer_stop(&f[2].t); /* not the first */
	assert_int_equal(hw[0], 3000);
	timer_stop(&f[1].t);
	assert_int_equal(hw[0], ~0ull);
	at(9000);
	fired(0);
}

static void moving(void **state)
{
	struct list list;

	(void)state;
	list_init(&list);
	timer_set(&f[0].t, 2000);
	timer_set(&f[1].t, 3000);
	timer_set(&f[2].t, 4000);
	timer_detach(&f[0].t, &list);
	timer_detach(&f[1].t, &list);
	timer_detach(&f[3].t, &list); /* not armed: it stays so */
	assert_false(timer_armed(&f[0].t) || timer_armed(&f[1].t));
	assert_int_equal(hw[0], 4000);
	at(3500);
	fired(0);
	here = 1;
	timers_attach(&list);
	assert_true(list_empty(&list));
	assert_true(f[0].t.on == &sched[1] && f[1].t.on == &sched[1] && !timer_armed(&f[3].t));
	assert_int_equal(hw[1], 2000); /* due already: at once */
	at(3500);
	fired(2, 0, 1);
	assert_int_equal(hw[0], 4000);

	/* Forgotten, or set anew, while they are on no pCPU's list. */
	timer_set(&f[0].t, 5000);
	timer_set(&f[1].t, 5001);
	timer_detach(&f[0].t, &list);
	timer_detach(&f[1].t, &list);
	timer_set(&f[1].t, 6000);
	timers_drop(&list);
	assert_true(list_empty(&list) && list_empty(&f[0].t.node));
	at(9000);
	fired(1, 1);
	timer_set(&f[0].t, 9500);
	at(9500);
	fired(1, 0);
}

static void elsewhere(void **state)
{
	u16 ticket;

	(void)state;
	timer_set(&f[0].t, 2000);
	timer_set(&f[1].t, 3000);
	here = 1;
	timer_stop(&f[0].t);
	assert_false(timer_armed(&f[0].t));
	assert_true(hw[0] == 2000 && hw[1] == ~0ull); /* none reaches the other's hardware */
	here = 0;
	at(2000);
	fired(0);
	assert_int_equal(hw[0], 3000);
	here = 1;
	ticket = sched[0].timer_lock.next;
	timer_set(&f[1].t, 2500); /* it comes along, and leaves the other's list under its lock */
	assert_int_not_equal(sched[0].timer_lock.next, ticket);
	assert_true(hw[0] == 3000 && hw[1] == 2500 && f[1].t.on == &sched[1]);
	here = 0;
	at(3000);
	fired(0);
	assert_int_equal(hw[0], ~0ull);
	here = 1;
	at(3000);
	fired(1, 1);
}

static void callbacks(void **state)
{
	(void)state;
	f[0].again = 2500; /* later */
	timer_set(&f[0].t, 2000);
	at(2000);
	fired(1, 0);
	assert_int_equal(hw[0], 2500);
	f[0].again = 2400; /* past: once more in the same interrupt, after what was due before it */
	timer_set(&f[1].t, 2300);
	timer_set(&f[2].t, 2600);
	at(2500);
	fired(3, 1, 0, 0);
	assert_int_equal(hw[0], 2600);
	f[2].stops = &f[3].t; /* due at the same moment */
	timer_set(&f[3].t, 2600);
	at(2600);
	fired(1, 2);
	assert_int_equal(hw[0], ~0ull);
}

/* Waits for its own callback alone, and for that on another pCPU alone. */
static void stop_sync(void **state)
{
	(void)state;
	timer_set(&f[0].t, 2000);
	timer_stop_sync(&f[0].t);
	assert_true(!timer_armed(&f[0].t) && !relaxed);
	sched[0].timer_running = &f[0].t;
	timer_stop_sync(&f[0].t);
	here = 1;
	timer_stop_sync(&f[1].t);
	assert_int_equal(relaxed, 0);
	pretend = true;
	timer_stop_sync(&f[0].t);
	assert_int_equal(relaxed, 3);
}

/* Two pCPUs do anything, one thing after the other, against a table of deadlines. */
static void noise(void **state)
{
	u64 when[ARRAY_SIZE(f)] = {0}; /* 0: not armed */
	u32 on[ARRAY_SIZE(f)] = {0};

	(void)state;
	srandom(1);
	for (unsigned n = 0; n < 200000; n++) {
		unsigned i = (unsigned)random() % ARRAY_SIZE(f), due = 0;

		here = (u32)random() % NR_CPUS;
		switch (random() % 4) {
		case 0:
		case 1:
			on[i] = here;
			timer_set(&f[i].t, when[i] = now + (u64)random() % 1000 - 20);
			break;
		case 2:
			timer_stop(&f[i].t);
			when[i] = 0;
			break;
		case 3:
			nr_log = 0;
			at(now + (u64)random() % 50);
			for (i = 0; i < nr_log; i++)
				assert_true(!i || log[i - 1]->tsc <= log[i]->tsc);
			for (i = 0; i < ARRAY_SIZE(f); i++)
				if (when[i] && on[i] == here && when[i] <= now) {
					when[i] = 0;
					due++;
				}
			assert_int_equal(nr_log, due);
			break;
		}
		for (i = 0; i < ARRAY_SIZE(f); i++) {
			assert_ptr_equal(f[i].t.on, when[i] ? &sched[on[i]] : NULL);
			assert_true(!when[i] || hw[on[i]] <= when[i]);
		}
	}
}

/* --- two real threads: a timer fires on one while the other stops and frees it --- */

static struct timer *handed;
static unsigned turns;

static void linger(struct timer *t)
{
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(READ_ONCE(t->tsc), now); /* the sanitizer sees it freed */
	turns++;
}

static void *stopper(void *arg)
{
	here = 1;
	for (unsigned n = 0; n < 5000; n++) {
		struct timer *t;

		while (!(t = __atomic_load_n(&handed, __ATOMIC_ACQUIRE)))
			sched_yield();
		timer_stop_sync(t);
		assert_false(timer_armed(t));
		free(t);
		__atomic_store_n(&handed, NULL, __ATOMIC_RELEASE);
	}
	return arg;
}

static void freed(void **state)
{
	pthread_t other;

	(void)state;
	assert_int_equal(pthread_create(&other, NULL, stopper, NULL), 0);
	for (unsigned n = 0; n < 5000; n++) {
		struct timer *t = malloc(sizeof(*t));

		timer_init(t, linger);
		timer_set(t, now);
		__atomic_store_n(&handed, t, __ATOMIC_RELEASE);
		for (unsigned i = n % 64; i; i--)
			__asm__ volatile("pause");
		while (interrupt(), __atomic_load_n(&handed, __ATOMIC_ACQUIRE))
			;
	}
	pthread_join(other, NULL);
	assert_true(turns); /* some were caught while they ran, or after */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(order, start),	  cmocka_unit_test_setup(set_stop, start),
		cmocka_unit_test_setup(moving, start),	  cmocka_unit_test_setup(elsewhere, start),
		cmocka_unit_test_setup(callbacks, start), cmocka_unit_test_setup(stop_sync, start),
		cmocka_unit_test_setup(noise, start),	  cmocka_unit_test_setup(freed, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
