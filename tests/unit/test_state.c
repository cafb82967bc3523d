/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/state.c vmm/state_vm.c vmm/guest_tsc.c vmm/platform/lapic.c vmm/platform/lapic_timer.c */
/*
 * A VM to bytes and back, over a fake backend; and what the parser must refuse. The fuzz corpus begins with a
 * stream of today's format: `build/unit/state --write` writes it anew.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "arch/x86_64/fpu.h"
#include "arch/x86_64/frame.h"
#include "lib/errno.h"
#include "tests/unit/fake_state.h"
#include "vmm/fetch.h"

/* --- a backend whose registers are arrays --- */
struct cpu {
	u64 reg[HV_NR_REGS], tsc_offset, tsc_ratio;
	struct hv_segment seg[SEG_IDTR + 1];
	struct hv_pending pending;
	bool loaded;
};
static struct cpu *cpu_of(struct hv_vcpu *h)
{
	struct cpu *c = h->priv;

	assert_true(c->loaded);
	return c;
}
static void f_load(struct hv_vcpu *h) { ((struct cpu *)h->priv)->loaded = true; }
static void f_put(struct hv_vcpu *h) { cpu_of(h)->loaded = false; }
static u64 f_get_reg(struct hv_vcpu *h, enum hv_reg r) { return cpu_of(h)->reg[r]; }
static void f_set_reg(struct hv_vcpu *h, enum hv_reg r, u64 v) { cpu_of(h)->reg[r] = v; }
static void f_get_seg(struct hv_vcpu *h, enum hv_seg s, struct hv_segment *o) { *o = cpu_of(h)->seg[s]; }
static void f_set_seg(struct hv_vcpu *h, enum hv_seg s, const struct hv_segment *i) { cpu_of(h)->seg[s] = *i; }
static void f_get_pending(struct hv_vcpu *h, struct hv_pending *o) { *o = cpu_of(h)->pending; }
static void f_set_pending(struct hv_vcpu *h, const struct hv_pending *i) { cpu_of(h)->pending = *i; }
static void f_tsc(struct hv_vcpu *h, u64 off, u64 ratio)
{
	cpu_of(h)->tsc_offset = off;
	cpu_of(h)->tsc_ratio = ratio;
}
static struct hv_ops ops = {
	.load = f_load, .put = f_put, .get_reg = f_get_reg, .set_reg = f_set_reg,
	.get_seg = f_get_seg, .set_seg = f_set_seg, .get_pending = f_get_pending,
	.set_pending = f_set_pending, .set_tsc = f_tsc,
};
const struct hv_ops *hv = &ops;
u64 tsc_khz = 2000000;

/* --- the core that state_vm.c and lapic.c stand on --- */
static unsigned restored;
void guest_code_forget(struct vcpu *v) { (void)v; }
void pci_restored(struct vm *vm) { (void)vm; }
u64 cr4_allowed(const struct vm *vm) { (void)vm; return fake_shape.cr4_allowed; }
u32 fpu_area_size(void) { return FAKE_XSAVE; }
bool fpu_area_valid(const void *a) { return fake_xsave_valid(a); }
bool fpu_xcr0_valid(u64 x) { return fake_xcr0_valid(x); }
void *kzalloc(size_t n, enum frame_type t, u16 o) { (void)t; (void)o; return calloc(1, n); }
void kfree(void *p) { free(p); }
static u64 clock_ns = 12345;
u64 vm_time_ns(struct vm *vm) { (void)vm; return clock_ns; }
void vdev_timer_set(struct vdev *d, unsigned i, u64 ns)
{
	struct dev_timer *t = &d->vm->dev_timers[(d - d->vm->devs) * VDEV_MAX_TIMERS + i];

	t->deadline_ns = ns;
	t->set = true;
}
/* Of a vCPU: to where it goes on. */
void timers_drop(struct list *l) { (void)l; }
void timer_detach(struct timer *t, struct list *l)
{
	assert_ptr_equal(l, &container_of(t, struct vcpu, lapic_timer)->moving);
}
static unsigned posted_taken;
void vcpu_take_posted(struct vcpu *v) { (void)v; posted_taken++; }
struct lapic *vcpu_lapic(struct vcpu *v) { return &v->lapic; }
struct vm *vcpu_vm(struct vcpu *v) { return v->vm; }
void timer_set(struct timer *t, u64 tsc) { t->tsc = tsc; }
void vcpu_timer_set(struct vcpu *v, u64 ns) { v->lapic_timer.tsc = ns; }
void vcpu_timer_stop(struct vcpu *v) { v->lapic_timer.tsc = 0; }
void vcpu_kick(struct vcpu *v) { (void)v; }
void vcpu_nmi(struct vcpu *v) { (void)v; }
void vm_eoi(struct vm *vm, u8 vector) { (void)vm; (void)vector; }
void vm_apic_msg(struct vm *vm, struct vcpu *f, const struct apic_msg *m) { (void)vm; (void)f; (void)m; }

static void note_restored(struct vdev *d)
{
	(void)d;
	restored++;
}
static const struct vdev_type with_restored = {.name = "gamma", .version = 3, .state_size = 40,
					       .nr_timers = 1, .restored = note_restored};

static struct cpuid_table cpuid_table;

/* --- two machines of one shape --- */
struct machine {
	struct vm vm;
	struct vcpu v;
	struct cpu cpu;
	struct dev_timer timers[3 * VDEV_MAX_TIMERS];
	u8 xsave[FAKE_XSAVE], state[2][64];
};

static void machine_init(struct machine *m)
{
	memset(m, 0, sizeof(*m));
	m->vm.vcpus[0] = &m->v;
	m->vm.nr_vcpus = 1;
	m->vm.ram_bytes = MIB(256);
	m->vm.tsc_khz = tsc_khz;
	m->vm.tsc_ratio = TSC_RATIO_ONE;
	m->vm.cpuid = &cpuid_table;
	m->vm.nr_devs = 3; /* the second place is free: a device was there and has gone */
	m->vm.dev_timers = m->timers;
	m->vm.devs[0] = (struct vdev){.type = &fake_types[0], .vm = &m->vm, .state = m->state[0]};
	m->vm.devs[2] = (struct vdev){.type = &with_restored, .vm = &m->vm, .state = m->state[1]};
	for (size_t i = 0; i < ARRAY_SIZE(m->timers); i++)
		list_init(&m->timers[i].t.node);
	m->v.vm = &m->vm;
	m->v.hv.priv = &m->cpu;
	m->v.hv.xsave = m->xsave;
}

static void noise(void *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((u8 *)p)[i] = (u8)rand();
}

/* Everything random that may be; the rest legal. */
static void machine_fill(struct machine *m)
{
	struct vcpu *v = &m->v;

	noise(m->cpu.reg, sizeof(m->cpu.reg));
	memset(m->cpu.reg, 0, 16 * sizeof(u64)); /* general registers live in hv_vcpu */
	m->cpu.reg[REG_CR0] = CR0_PE | CR0_PG | CR0_WP;
	m->cpu.reg[REG_CR3] &= 0xffffff000;
	m->cpu.reg[REG_CR4] = CR4_PAE | CR4_PGE;
	m->cpu.reg[REG_SPEC_CTRL] = 0;
	m->cpu.reg[REG_EFER] = EFER_LME | EFER_LMA | EFER_NXE;
	noise(m->cpu.seg, sizeof(m->cpu.seg));
	m->cpu.pending = (struct hv_pending){.blocking = (u32)rand() & HV_BLOCK_ALL, .debug = (u64)rand()};
	noise(v->hv.gpr, sizeof(v->hv.gpr));
	noise(v->hv.dr, sizeof(v->hv.dr));
	noise(&v->hv.rip, 8);
	noise(&v->hv.cr2, 8);
	v->hv.rflags = RFLAGS_FIXED | ((u64)rand() & (RFLAGS_CF | RFLAGS_IF | RFLAGS_ZF));
	v->hv.dr6 = (u32)rand();
	v->hv.xcr0 = 3;
	v->hv.tpr = (u8)(rand() & 15);
	noise(m->xsave, 512);
	noise(&v->msrs, sizeof(v->msrs));
	v->pv = (struct vcpu_pv){.wall_clock = (u64)rand() << 2, .system_time = (u64)rand() << 2 | 1,
				 .steal_time = (u64)rand() << 6, .eoi = (u64)rand() << 2 | 1,
				 .poll_control = rand() & 1, .unhalted = rand() & 1, .eoi_lent = rand() & 1};
	v->lapic = (struct lapic){.base_msr = 0xfee00900, .tpr = v->hv.tpr << 4, .tmict = 7,
				  .timer_deadline_ns = 1 + (u64)rand(), .highest_isr = 0x41,
				  .isr[2] = 2, .isr_any = 4, .irr[3] = 8, .irr_any = 8};
	v->reinject = (struct hv_event){.valid = 1, .type = HV_EV_EXTINT, .vector = (u8)rand()};
	v->exception = (struct hv_event){.valid = 1, .type = HV_EV_EXC, .vector = 13, .has_error = 1,
					 .error = (u32)rand()};
	noise(&v->exception_payload, 8);
	noise(&v->tsc_offset, 8);
	v->nmi_pending = rand() & 1;
	v->nmi_wakes = rand() & 1;
	v->hv.pending_db = (u16)rand() & (DR6_B0_B3 | DR6_BS);
	v->state = rand() & 1 ? VCPU_RUNNING : rand() & 1 ? VCPU_HALTED : VCPU_WAIT_SIPI;
	v->requests = (u32)rand();
	v->sipi_vector = (u8)rand();
	noise(m->state[0], 13);
	m->state[0][0] &= 15;
	noise(m->state[1], 40);
	vdev_timer_set(&m->vm.devs[0], 1, (u64)rand());
	m->cpu.tsc_offset = v->tsc_offset;
}

static void same(const struct machine *a, const struct machine *b)
{
	assert_memory_equal(a->cpu.reg, b->cpu.reg, sizeof(a->cpu.reg));
	assert_memory_equal(a->cpu.seg, b->cpu.seg, sizeof(a->cpu.seg));
	assert_memory_equal(&a->cpu.pending, &b->cpu.pending, sizeof(a->cpu.pending));
	assert_int_equal(a->cpu.tsc_offset, b->cpu.tsc_offset);
	assert_memory_equal(a->v.hv.gpr, b->v.hv.gpr, offsetof(struct hv_vcpu, tpr_threshold));
	assert_memory_equal(a->xsave, b->xsave, sizeof(a->xsave));
	assert_memory_equal(a->state, b->state, sizeof(a->state));
	assert_memory_equal(&a->v.lapic, &b->v.lapic, sizeof(a->v.lapic));
	assert_memory_equal(&a->v.msrs, &b->v.msrs, sizeof(a->v.msrs));
	assert_memory_equal(&a->v.pv, &b->v.pv, sizeof(a->v.pv));
	assert_memory_equal(&a->v.reinject, &b->v.reinject, sizeof(a->v.reinject));
	assert_memory_equal(&a->v.exception, &b->v.exception, sizeof(a->v.exception));
	assert_int_equal(a->v.exception_payload, b->v.exception_payload);
	assert_int_equal(a->v.tsc_offset, b->v.tsc_offset);
	assert_int_equal(a->v.nmi_pending, b->v.nmi_pending);
	assert_int_equal(a->v.nmi_wakes, b->v.nmi_wakes);
	assert_int_equal(a->v.hv.pending_db, b->v.hv.pending_db);
	assert_int_equal(a->v.state, b->v.state);
	assert_int_equal(a->v.requests & REQ_SIGNALS, b->v.requests & REQ_SIGNALS);
	assert_int_equal(a->v.sipi_vector, b->v.sipi_vector);
	assert_int_equal(a->v.absent, b->v.absent);
	for (size_t i = 0; i < ARRAY_SIZE(a->timers); i++) {
		assert_int_equal(a->timers[i].set, b->timers[i].set);
		assert_int_equal(a->timers[i].deadline_ns, b->timers[i].deadline_ns);
	}
}

static void round_trip(void **arg)
{
	static struct machine a, b;
	static u64 buf[FAKE_MAX / 8];
	char why[128];

	(void)arg;
	for (int i = 0; i < 2000; i++) {
		size_t n;

		machine_init(&a);
		machine_init(&b);
		machine_fill(&a);
		n = vm_state_save(&a.vm, buf, vm_state_size(&a.vm));
		assert_true(n && n <= sizeof(buf));
		assert_false(a.cpu.loaded);
		assert_int_equal(posted_taken, i + 1);
		restored = 0;
		assert_int_equal(vm_state_restore(&b.vm, buf, n, why, sizeof(why)), 0);
		assert_int_equal(restored, 1);
		assert_false(b.cpu.loaded);
		assert_int_equal(b.v.lapic_timer.tsc, a.v.lapic.timer_deadline_ns);
		same(&a, &b);
	}
}

/*
 * A VM goes to a host of another frequency: there its TSC goes on from where it was, at the pace it had. (from, to: the
 * hosts'; khz: the guest's; runs: what it has there)
 */
static void other_frequency(void **arg)
{
	static const struct {
		u64 from, khz, to, runs;
		bool scaling;
	} t[] = {
		{2000000, 2000000, 3000000, 2000000, true},  {2000000, 2600000, 2600000, 2600000, true},
		{3000000, 2600000, 1000000, 2600000, true},  {2000000, 2000000, 2000100, 2000100, false},
		{2000000, 2000000, 1999900, 1999900, false}, {2000000, 2000000, 3000000, 0, false},
		{1000000, 100000000, 400000, 100000000, true},   {1000000, 100000000, 390000, 0, true},
	};
	static struct machine a, b;
	static u64 buf[FAKE_MAX / 8];
	char why[128];

	(void)arg;
	for (unsigned i = 0; i < ARRAY_SIZE(t); i++) {
		u64 host = 1ull << 45, was, now;
		size_t n;

		clock_ns = 86400ull * 1000000000;
		ops.tsc_scaling = true;
		tsc_khz = t[i].from;
		machine_init(&a);
		machine_fill(&a);
		assert_true(vm_set_tsc_khz(&a.vm, t[i].khz));
		a.vm.t0_tsc = host - clock_ns / 1000 * t[i].from / 1000;
		n = vm_state_save(&a.vm, buf, vm_state_size(&a.vm));
		was = tsc_scale(host, a.vm.tsc_ratio) + a.v.tsc_offset;

		ops.tsc_scaling = t[i].scaling;
		tsc_khz = t[i].to;
		machine_init(&b);
		host = 777777; /* younger than the guest */
		b.vm.t0_tsc = host - clock_ns / 1000 * t[i].to / 1000;
		assert_int_equal(vm_state_restore(&b.vm, buf, n, why, sizeof(why)), t[i].runs ? 0 : -EINVAL);
		if (!t[i].runs)
			continue;
		assert_int_equal(b.vm.tsc_khz, t[i].runs);
		assert_int_equal(cpuid_table.hv[2].eax, t[i].runs);
		assert_int_equal(b.cpu.tsc_ratio, b.vm.tsc_ratio);
		assert_int_equal(b.cpu.tsc_ratio, ((t[i].runs << 32) + t[i].to / 2) / t[i].to);
		now = tsc_scale(host, b.vm.tsc_ratio) + b.v.tsc_offset;
		/* To what the multiplications lose in a day. */
		assert_true(now - was + t[i].runs <= 2 * t[i].runs);
	}
	tsc_khz = 2000000;
	ops.tsc_scaling = false;
	clock_ns = 12345;
}

/* Too small a buffer is an error, never a write behind it. */
static void no_room(void **arg)
{
	static struct machine a;
	size_t whole;

	(void)arg;
	machine_init(&a);
	machine_fill(&a);
	whole = vm_state_size(&a.vm);
	for (size_t n = 0; n < whole; n += 40) {
		void *buf = malloc(n ? n : 1);
		size_t used;

		used = vm_state_save(&a.vm, buf, n);
		assert_true(used <= n);
		free(buf);
	}
}

static u64 stream[FAKE_MAX / 8];
static size_t stream_n;
static struct state_view view;

static int parse(size_t n)
{
	char why[128] = "";
	int err = state_parse(stream, n, &fake_shape, &view, why, sizeof(why));

	assert_true(!err || (err == -EINVAL && why[0]));
	return err;
}

static int fresh_stream(void **arg)
{
	(void)arg;
	stream_n = fake_stream(stream, sizeof(stream));
	assert_true(stream_n);
	assert_int_equal(parse(stream_n), 0);
	return 0;
}

static void truncated(void **arg)
{
	(void)arg;
	for (size_t n = 0; n < stream_n; n++)
		assert_int_equal(parse(n), -EINVAL);
	/* Even with a sum that fits. */
	for (size_t n = 16; n < stream_n; n += 8) {
		fresh_stream(NULL);
		((struct state_header *)stream)->size = (u32)n;
		fake_seal((u8 *)stream, n);
		assert_int_equal(parse(n), -EINVAL);
	}
}

static void any_bit(void **arg)
{
	(void)arg;
	for (size_t i = 0; i < stream_n * 8; i++) {
		((u8 *)stream)[i / 8] ^= (u8)(1u << i % 8);
		assert_int_equal(parse(stream_n), -EINVAL);
		((u8 *)stream)[i / 8] ^= (u8)(1u << i % 8);
	}
	assert_int_equal(parse(stream_n), 0);
}

/* A seed of an older format is refused at its head, and the fuzzer would find no way behind it. */
#define SEED "tests/fuzz/corpus/state/whole"

static void seed(void **arg)
{
	static u8 bytes[FAKE_MAX];
	FILE *f = fopen(SEED, "rb");
	size_t n;

	(void)arg;
	assert_non_null(f);
	n = fread(bytes, 1, sizeof(bytes), f);
	fclose(f);
	if (n != stream_n || memcmp(bytes, stream, n))
		fail_msg(SEED " is out of date: run build/unit/state --write");
}

static int write_seed(void)
{
	FILE *f = fopen(SEED, "wb");
	size_t n = fake_stream(stream, sizeof(stream));
	bool ok = f && fwrite(stream, 1, n, f) == n;

	return f && !fclose(f) && ok ? 0 : 1;
}

static struct state_record *record(enum state_tag tag, u32 index)
{
	u8 *p = (u8 *)stream + sizeof(struct state_header);

	for (;;) {
		struct state_record *r = (void *)p;

		if (r->tag == tag && r->index == index)
			return r;
		assert_int_not_equal(r->tag, STATE_END);
		p += sizeof(*r) + ALIGN_UP(r->size, 8u);
	}
}

#define REFUSED(change)                                  \
	do {                                             \
		fresh_stream(NULL);                      \
		struct state_vcpu *c = (void *)(record(STATE_VCPU, 0) + 1); \
		struct lapic *l = (void *)(record(STATE_LAPIC, 0) + 1);     \
		struct vcpu_pv *p = (void *)(record(STATE_PV, 0) + 1);      \
		struct state_device *d = (void *)(record(STATE_DEVICE, 0) + 1); \
		struct state_vm *vm = (void *)(record(STATE_VM, 0) + 1);    \
		(void)c, (void)l, (void)p, (void)d, (void)vm; \
		change;                                  \
		fake_seal((u8 *)stream, stream_n);       \
		assert_int_equal(parse(stream_n), -EINVAL); \
	} while (0)

/* Each lie alone, with a sum that fits. */
static void lies(void **arg)
{
	(void)arg;
	REFUSED(((struct state_header *)stream)->version++);
	REFUSED(((struct state_header *)stream)->magic++);
	REFUSED(record(STATE_VCPU, 0)->version++);
	REFUSED(record(STATE_DEVICE, 1)->version--);
	REFUSED(record(STATE_DEVICE, 2)->index = 1);
	REFUSED(record(STATE_DEVICE, 2)->index = FAKE_DEVS);
	REFUSED(record(STATE_MSRS, 0)->index = 64);
	REFUSED(record(STATE_MSRS, 0)->index = ~0u);
	REFUSED(record(STATE_MSRS, 0)->size -= 8);
	REFUSED(record(STATE_XSAVE, 0)->size = ~0u);
	REFUSED(record(STATE_XSAVE, 0)->tag = 0);
	REFUSED(record(STATE_XSAVE, 0)->tag = STATE_END);
	REFUSED(record(STATE_XSAVE, 0)->tag = 99);
	REFUSED(record(STATE_VM, 0)->zero = 1);
	REFUSED(vm->ram_bytes++);
	REFUSED(vm->tsc_khz -= 501);
	REFUSED(vm->tsc_khz = 0);
	REFUSED(vm->tsc_khz = ~0ull);
	REFUSED(vm->nr_devs++);
	REFUSED(c->reg[REG_CR0] |= 1ull << 32);
	REFUSED(c->reg[REG_CR0] &= ~CR0_PE);
	REFUSED(c->reg[REG_CR0] |= CR0_NW);
	REFUSED(c->reg[REG_CR4] |= CR4_VMXE);
	REFUSED(c->reg[REG_CR4] &= ~CR4_PAE);
	REFUSED(c->reg[REG_EFER] &= ~EFER_LMA);
	REFUSED(c->reg[REG_EFER] |= EFER_SVME);
	REFUSED(c->reg[REG_CR3] = ~0ull);
	REFUSED(c->rflags |= RFLAGS_VM);
	REFUSED(c->rflags = 0);
	REFUSED(c->rflags |= 1ull << 63);
	REFUSED(c->dr6 = 1ull << 32);
	REFUSED(c->xcr0 = 6);
	REFUSED(c->reg[REG_SPEC_CTRL] = 1);
	REFUSED(c->reinject.vector = 32);
	REFUSED(c->exception.valid = 2);
	REFUSED(c->exception = ((struct hv_event){.valid = 1, .type = 1}));
	REFUSED(c->pending.blocking = 1u << 31);
	REFUSED(c->state = VCPU_PARKED);
	REFUSED(c->signals = REQ_EVENT);
	REFUSED(c->tpr = 16);
	REFUSED(c->pending_db = 0x10);
	REFUSED(c->nmi_wakes = 2);
	REFUSED(((u8 *)(record(STATE_XSAVE, 0) + 1))[520] = 1);
	REFUSED(l->highest_isr = 300);
	REFUSED(l->irr_any = 1);
	REFUSED(l->tpr = 256);
	REFUSED(l->timer_deadline_ns = 1); /* a period of 0: the host would divide by it */
	REFUSED(l->tsc_deadline = 1);
	REFUSED(p->wall_clock = 1);
	REFUSED(p->system_time = 2);
	REFUSED(p->steal_time = 0x1021);
	REFUSED(p->eoi = 3);
	REFUSED(p->poll_control = 2);
	REFUSED(p->unhalted = 2);
	REFUSED(p->eoi_lent = 1); /* of a word that there is not */
	REFUSED(d->name[0]++);
	REFUSED(d->state[0] = 16);
	REFUSED(d->timers[2].armed = 1);
	REFUSED(d->timers[0].armed = 2);
}

/* The first vCPU cannot be absent; another that is waits, or will when its reset has been served. */
static void absent(void **arg)
{
	static const struct {
		u32 index, state, signals;
		u8 absent;
		bool good;
	} t[] = {{0, VCPU_WAIT_SIPI, 0, 1, false}, {0, VCPU_WAIT_SIPI, 0, 0, true}, {1, VCPU_WAIT_SIPI, 0, 1, true},
		 {1, VCPU_WAIT_SIPI, REQ_SIPI, 1, true}, {1, VCPU_RUNNING, REQ_SIPI, 1, false},
		 {1, VCPU_HALTED, 0, 1, false}, {1, VCPU_RUNNING, REQ_RESET, 1, true},
		 {1, VCPU_WAIT_SIPI, 0, 2, false}};
	struct state_shape shape = fake_shape;

	(void)arg;
	shape.nr_vcpus = 2;
	for (u32 i = 0; i < ARRAY_SIZE(t); i++) {
		char why[128];
		struct state_vcpu *c;

		stream_n = fake_stream_of(stream, sizeof(stream), 2);
		c = (void *)(record(STATE_VCPU, t[i].index) + 1);
		c->absent = t[i].absent;
		c->state = t[i].state;
		c->signals = t[i].signals;
		fake_seal((u8 *)stream, stream_n);
		assert_int_equal(state_parse(stream, stream_n, &shape, &view, why, sizeof(why)), t[i].good ? 0 : -EINVAL);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip),
		cmocka_unit_test(other_frequency),
		cmocka_unit_test(no_room),
		cmocka_unit_test_setup(truncated, fresh_stream),
		cmocka_unit_test_setup(any_bit, fresh_stream),
		cmocka_unit_test_setup(seed, fresh_stream),
		cmocka_unit_test(lies),
		cmocka_unit_test(absent),
	};

	if (argc > 1 && !strcmp(argv[1], "--write"))
		return write_seed();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
