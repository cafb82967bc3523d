/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM under a debugger: memory, breakpoints, steps, stops. While the VM runs, its vCPUs read what is here and write
 * only the first reason to stop; all else happens in gdb_serve(), when none of them is in the guest.
 */
#include "arch/x86_64/frame.h"
#include "arch/x86_64/machine.h"
#include "arch/x86_64/x86.h"
#include "lib/string.h"
#include "vmm/console.h"
#include "vmm/gdb/gdb_int.h"
#include "vmm/gmem.h"
#include "vmm/gwalk.h"
#include "vmm/vm.h"

#define INT3	0xcc
#define SIGTRAP 5
#define SIGINT	2

/* --- vCPUs --- */

u32 gdb_nr_cpus(struct gdb *g)
{
	return g->vm->nr_vcpus;
}

const char *gdb_cpu_state(struct gdb *g, u32 cpu)
{
	static const char *const names[] = {
		[VCPU_OFF] = "off", [VCPU_RUNNING] = "running", [VCPU_HALTED] = "halted",
		[VCPU_PARKED] = "running", [VCPU_WAIT_SIPI] = "waits for a SIPI",
	};

	return g->vm->vcpus[cpu]->absent ? "not plugged in" : names[g->vm->vcpus[cpu]->state];
}

void gdb_unload(struct gdb *g)
{
	if (g->loaded)
		hv->put(&g->loaded->hv);
	g->loaded = NULL;
}

struct vcpu *gdb_load(struct gdb *g, u32 cpu)
{
	struct vcpu *v = g->vm->vcpus[cpu];

	if (g->loaded == v)
		return v;
	gdb_unload(g);
	sched_unload();
	hv->load(&v->hv);
	g->loaded = v;
	return v;
}

/* --- memory --- */

bool gdb_is_linear(struct vcpu *v, u64 addr)
{
	struct hv_paging p;
	unsigned unused;

	hv->get_paging(&v->hv, &p);
	if (!(p.efer & EFER_LMA))
		return !(addr >> 32);
	unused = p.cr4 & CR4_LA57 ? 7 : 16;
	return (u64)((s64)(addr << unused) >> unused) == addr;
}

/* v is loaded. The guest notices nothing: no right is asked for, no accessed bit set. */
static bool linear_to_gpa(struct vcpu *v, u64 addr, gpa_t *gpa)
{
	struct guest_walk w = {.v = v, .linear = addr, .access = WALK_PEEK};
	struct emul_fault fault;

	hv->get_paging(&v->hv, &w.p);
	return gdb_is_linear(v, addr) && !guest_walk(&w, gpa, &fault);
}

static bool to_gpa(struct gdb *g, u64 addr, gpa_t *gpa)
{
	*gpa = addr;
	return g->phys || linear_to_gpa(gdb_load(g, g->cpu), addr, gpa);
}

/* The breakpoint in use at or behind gpa, before gpa + n, from the i-th on. */
static struct gdb_swbreak *next_in(struct gdb *g, unsigned *i, gpa_t gpa, u64 n)
{
	while (*i < GDB_SWBREAKS) {
		struct gdb_swbreak *b = &g->sw[(*i)++];

		if (b->used && b->gpa - gpa < n)
			return b;
	}
	return NULL;
}

size_t gdb_read(struct gdb *g, u64 addr, u8 *buf, size_t n)
{
	struct gdb_swbreak *b;
	size_t done = 0, part;
	gpa_t gpa;

	for (; done < n; done += part) {
		unsigned i = 0;

		part = MIN(n - done, PAGE_SIZE - ((addr + done) & (PAGE_SIZE - 1)));
		if (!to_gpa(g, addr + done, &gpa) || gmem_read(g->vm, gpa, buf + done, part))
			break;
		while ((b = next_in(g, &i, gpa, part)))
			buf[done + (b->gpa - gpa)] = b->was;
	}
	return done;
}

size_t gdb_write(struct gdb *g, u64 addr, const u8 *buf, size_t n)
{
	static const u8 int3 = INT3;
	struct gdb_swbreak *b;
	size_t done = 0, part;
	gpa_t gpa;

	for (; done < n; done += part) {
		unsigned i = 0;

		part = MIN(n - done, PAGE_SIZE - ((addr + done) & (PAGE_SIZE - 1)));
		if (!to_gpa(g, addr + done, &gpa) || gmem_write(g->vm, gpa, buf + done, part))
			break;
		while ((b = next_in(g, &i, gpa, part))) {
			b->was = buf[done + (b->gpa - gpa)];
			gmem_write(g->vm, b->gpa, &int3, 1);
		}
	}
	return done;
}

/* --- breakpoints --- */

static bool sw_insert(struct gdb *g, u64 addr)
{
	static const u8 int3 = INT3;
	struct gdb_swbreak *free = NULL;
	unsigned i = 0;
	gpa_t gpa;
	u8 was;

	if (!to_gpa(g, addr, &gpa) || gmem_read(g->vm, gpa, &was, 1))
		return false;
	if (next_in(g, &i, gpa, 1))
		return true;
	for (i = 0; i < GDB_SWBREAKS && !free; i++)
		free = g->sw[i].used ? NULL : &g->sw[i];
	if (!free || gmem_write(g->vm, gpa, &int3, 1))
		return false;
	*free = (struct gdb_swbreak){.addr = addr, .gpa = gpa, .was = was, .used = true};
	return true;
}

/* What the guest has written over it since stays. */
static void sw_remove(struct gdb *g, struct gdb_swbreak *b)
{
	u8 now;

	if (b->used && !gmem_read(g->vm, b->gpa, &now, 1) && now == INT3)
		gmem_write(g->vm, b->gpa, &b->was, 1);
	b->used = false;
}

static void sw_remove_at(struct gdb *g, u64 addr)
{
	for (unsigned i = 0; i < GDB_SWBREAKS; i++)
		if (g->sw[i].used && g->sw[i].addr == addr)
			sw_remove(g, &g->sw[i]);
}

/* DR7's bits for breakpoint n (SDM vol. 3, 18.2.4): enabled; what access; how long. */
#define DR7_G(n)	   (2ul << 2 * (n))
#define DR7_BITS(n, rw, l) (((rw) | (l) << 2) << (16 + 4 * (n)))

static bool hw_change(struct gdb *g, unsigned kind, u64 addr, u64 len, bool insert)
{
	/* By length, and by Z1 to Z4: the CPU has none for reads alone. */
	static const u8 lengths[9] = {[1] = 0, [2] = 1, [4] = 3, [8] = 2}, access[] = {0, 0, 1, 3, 3};
	unsigned n = 0;

	if (kind == 1)
		len = 1;
	if (!len || len > 8 || len & (len - 1) || addr & (len - 1))
		return false;
	while (n < 4 && !(g->dr7 & DR7_G(n) && g->dr_kind[n] == kind && g->dr[n] == addr))
		n++;
	if (n < 4)
		g->dr7 &= insert ? ~0ul : ~(DR7_G(n) | DR7_BITS(n, 3ul, 3ul));
	if (n < 4 || !insert)
		return true;
	for (n = 0; n < 4 && g->dr7 & DR7_G(n);)
		n++;
	if (n == 4)
		return false;
	g->dr[n] = addr;
	g->dr_kind[n] = (u8)kind;
	g->dr7 |= DR7_G(n) | DR7_BITS(n, (u64)access[kind], (u64)lengths[len]);
	return true;
}

bool gdb_breakpoint(struct gdb *g, unsigned type, u64 addr, u64 len, bool insert)
{
	if (type)
		return hw_change(g, type, addr, len, insert);
	if (insert)
		return sw_insert(g, addr);
	sw_remove_at(g, addr);
	return true;
}

/* --- stops, by vCPUs that run --- */

static void stop(struct vcpu *v, const char *why, u64 addr, bool has_addr)
{
	struct gdb *g = v->vm->gdb;

	if (!__atomic_exchange_n(&g->stop_taken, 1, __ATOMIC_SEQ_CST)) {
		g->stop_cpu = v->id;
		g->signal = SIGTRAP;
		if (has_addr)
			snprintf(g->stop_why, sizeof(g->stop_why), "%s:%lx;", why, (unsigned long)addr);
		else
			str_copy(g->stop_why, why, sizeof(g->stop_why));
	}
	vm_stop(v->vm, STOP_GDB);
}

void gdb_data_hit(struct vcpu *v, unsigned n)
{
	static const char *const words[] = {"", "hwbreak:;", "watch", "rwatch", "awatch"};
	u8 kind = v->vm->gdb->dr_kind[n];

	stop(v, words[kind], v->hv.debug.dr[n], kind > 1);
}

/* The first of the breakpoints in `hits` that is on. false: none is. */
static bool hit(struct vcpu *v, u64 hits)
{
	for (unsigned n = 0; n < 4; n++)
		if (hits & BIT(n) && v->hv.debug.dr7 & DR7_G(n)) {
			gdb_data_hit(v, n);
			return true;
		}
	return false;
}

static bool code_at(struct vcpu *v, u64 rip, gpa_t *gpa)
{
	struct hv_paging p;

	hv->get_paging(&v->hv, &p);
	return linear_to_gpa(v, p.mode == INSN_64 ? rip : (u32)(p.code_base + rip), gpa);
}

static bool at_swbreak(struct vcpu *v)
{
	unsigned i = 0;
	gpa_t gpa;

	return code_at(v, v->hv.rip, &gpa) && next_in(v->vm->gdb, &i, gpa, 1);
}

/* INT n, INT3 and INTO that exited as one kind. false: nothing is left to do. */
static bool software_interrupt(struct vcpu *v, struct hv_event *ev)
{
	const struct insn *i = guest_decode(v, NULL, 0);

	if (!i || i->enc != INSN_LEGACY || i->map != INSN_MAP_1 || i->opcode < 0xcc || i->opcode > 0xce)
		return false; /* another by now: run it */
	*ev = (struct hv_event){.valid = 1, .insn_len = i->len, .type = HV_EV_SWEXC};
	ev->vector = i->opcode == 0xcc ? EXC_BP : i->opcode == 0xce ? EXC_OF : (u8)i->imm;
	if (i->opcode != 0xcd)
		return true;
	ev->type = HV_EV_SWINT;
	v->reinject = *ev;
	return false;
}

bool gdb_exception(struct vcpu *v, struct hv_event *ev, u64 *payload)
{
	if (ev->type == HV_EV_SWINT && !software_interrupt(v, ev))
		return true;
	if (ev->vector == EXC_BP && at_swbreak(v)) {
		stop(v, "swbreak:;", 0, false);
		return true;
	}
	if (ev->vector != EXC_DB || ev->type != HV_EV_EXC || !(v->hv.debug.flags & HV_DEBUG_DR))
		return false;
	if (!hit(v, *payload)) {
		*payload &= ~DR6_B0_B3;
		return false;
	}
	v->hv.pending_db |= *payload & (DR6_BS | DR6_BT); /* that was the guest's own */
	return true;
}

/* --- steps --- */

enum { REPAIR_PUSHF = 1, REPAIR_SYSCALL };

/* Backends step by RFLAGS.TF: which instruction shows it to the guest, or takes it from us? INT n would push and clear
 * it: it is put in as an event. v is loaded. */
static void begin_step(struct vcpu *v)
{
	struct vcpu_gdb *s = &v->gdb;
	struct insn i;
	u8 code[INSN_MAX] = {0};
	gpa_t gpa;
	u64 sfmask;

	s->rip = v->hv.rip;
	s->rflags = v->hv.rflags;
	s->repair = 0;
	v->hv.debug.flags = (v->hv.debug.flags & ~(u32)HV_DEBUG_LOADS_FLAGS) | HV_DEBUG_STEP;
	for (unsigned n = 0; n < INSN_MAX && code_at(v, s->rip + n, &gpa); n++)
		if (gmem_read(v->vm, gpa, &code[n], 1))
			break;
	if (insn_decode(&i, code, INSN_MAX, guest_mode(v)) != INSN_OK || i.enc != INSN_LEGACY)
		return;
	if (i.map == INSN_MAP_1 && i.opcode == 0x9c)
		s->repair = REPAIR_PUSHF;
	else if ((i.map == INSN_MAP_1 && (i.opcode == 0x9d || i.opcode == 0xcf)) ||
		 (i.map == INSN_MAP_0F && i.opcode == 0x07)) /* POPF, IRET, SYSRET */
		v->hv.debug.flags |= HV_DEBUG_LOADS_FLAGS;
	else if (i.map == INSN_MAP_0F && i.opcode == 0x05)
		s->repair = REPAIR_SYSCALL;
	else if (i.map == INSN_MAP_1 && i.opcode == 0xcd && !v->reinject.valid && !v->exception.valid && !v->hv.pending_db)
		v->reinject = (struct hv_event){.valid = 1, .type = HV_EV_SWINT, .vector = (u8)i.imm, .insn_len = i.len};
	if (s->repair != REPAIR_SYSCALL)
		return;
	sfmask = hv->get_reg(&v->hv, REG_SFMASK); /* TF must survive it */
	s->sfmask_tf = sfmask & RFLAGS_TF;
	hv->set_reg(&v->hv, REG_SFMASK, sfmask & ~RFLAGS_TF);
}

static void repair(struct vcpu *v)
{
	struct vcpu_gdb *s = &v->gdb;
	struct hv_segment ss;
	gpa_t gpa;
	u8 b;

	if (s->sfmask_tf)
		hv->set_reg(&v->hv, REG_SFMASK, hv->get_reg(&v->hv, REG_SFMASK) | RFLAGS_TF);
	s->sfmask_tf = false;
	if (!s->repair || s->rflags & RFLAGS_TF || v->hv.rip == s->rip)
		return;
	if (s->repair == REPAIR_SYSCALL) {
		v->hv.gpr[REG_R11] &= ~RFLAGS_TF;
		return;
	}
	hv->get_seg(&v->hv, SEG_SS, &ss);
	if (guest_mode(v) == INSN_64)
		ss.base = 0;
	if (!linear_to_gpa(v, ss.base + v->hv.gpr[REG_RSP] + 1, &gpa) || gmem_read(v->vm, gpa, &b, 1))
		return;
	b &= ~(u8)(RFLAGS_TF >> 8);
	gmem_write(v->vm, gpa, &b, 1);
}

/* v is loaded. */
static void end_step(struct vcpu *v)
{
	repair(v);
	v->gdb.repair = 0;
	v->hv.debug.flags &= ~(u32)(HV_DEBUG_STEP | HV_DEBUG_LOADS_FLAGS);
	__atomic_fetch_and(&v->watch, ~(u32)WATCH_STEP, __ATOMIC_SEQ_CST);
}

void gdb_stepped(struct vcpu *v, u64 hits)
{
	struct vcpu_gdb *s = &v->gdb;
	bool dr = v->hv.debug.flags & HV_DEBUG_DR;

	v->hv.pending_db |= dr ? hits & DR6_BS : hits;
	if (dr && hit(v, hits)) {
		end_step(v);
	} else if (v->hv.rip >= s->from && v->hv.rip < s->to) {
		repair(v);
		begin_step(v);
	} else {
		end_step(v);
		stop(v, "", 0, false);
	}
}

void gdb_after_exit(struct vcpu *v)
{
	/* What was emulated is done when it has moved on; an event has been delivered when its handler stands there. */
	if (v->hv.rip != v->gdb.rip)
		gdb_stepped(v, 0);
}

static void start_step(struct gdb *g, u32 cpu, const struct gdb_action *a)
{
	struct vcpu *v = gdb_load(g, cpu);

	v->gdb.from = a->from;
	v->gdb.to = a->to;
	v->gdb.hold_irqs = v->state == VCPU_RUNNING; /* what else would wake it from HLT */
	__atomic_fetch_or(&v->watch, WATCH_STEP, __ATOMIC_SEQ_CST);
	begin_step(v);
}

/* --- the session --- */

void gdb_hold(struct gdb *g)
{
	g->held = true;
	g->wait = false;
	for (u32 i = 0; i < g->vm->nr_vcpus; i++)
		if (g->vm->vcpus[i]->hv.debug.flags & HV_DEBUG_STEP)
			end_step(gdb_load(g, i));
}

void gdb_resume(struct gdb *g)
{
	u32 flags = g->dr7 & DR7_ENABLES ? HV_DEBUG_DR : 0;

	for (unsigned i = 0; i < GDB_SWBREAKS; i++)
		flags |= g->sw[i].used ? HV_DEBUG_BP : 0;
	gdb_unload(g);
	g->stop_taken = 0;
	g->stop_cpu = g->cpu;
	g->signal = SIGINT;
	g->stop_why[0] = 0;
	for (u32 i = 0; i < g->vm->nr_vcpus; i++) {
		struct vcpu *v = g->vm->vcpus[i];

		v->gdb.held = g->act[i].what == GDB_HOLD;
		v->hv.debug.flags = flags;
		v->hv.debug.dr7 = g->dr7 | DR7_FIXED;
		memcpy(v->hv.debug.dr, g->dr, sizeof(g->dr));
		if (g->act[i].what == GDB_STEP)
			start_step(g, i, &g->act[i]);
	}
}

void gdb_detach(struct gdb *g)
{
	gdb_hold(g);
	for (unsigned i = 0; i < GDB_SWBREAKS; i++)
		sw_remove(g, &g->sw[i]);
	g->dr7 = 0;
	for (u32 i = 0; i < g->vm->nr_vcpus; i++)
		g->act[i] = (struct gdb_action){.what = GDB_CONTINUE};
	gdb_resume(g);
}

void gdb_kill(struct gdb *g)
{
	g->held = g->owed = false;
	vm_request_end(g->vm, VM_END_DESTROY, 0);
}

void gdb_send(struct gdb *g, const char *buf, size_t n)
{
	console_write(CHANNEL_GDB + g->vm->console.channel, buf, n);
}

void gdb_monitor(struct gdb *g, const char *line, char *out, size_t n)
{
	if (!strcmp(line, "phys on") || !strcmp(line, "phys off")) {
		g->phys = line[6] == 'n';
	} else if (!strcmp(line, "reset")) {
		vm_request_end(g->vm, VM_END_RESET, 0);
	} else if (!strcmp(line, "nmi")) {
		vm_nmi_pin(g->vm);
	} else if (!strcmp(line, "info")) {
		snprintf(out, n, "%s: %u vCPUs, %lu MiB; addresses are %s\n", g->vm->name, g->vm->nr_vcpus,
			 (unsigned long)(g->vm->ram_bytes >> 20), g->phys ? "guest-physical" : "linear");
	} else {
		snprintf(out, n, "%sinfo           the VM\nphys on | off  addresses of memory are guest-physical | linear\n"
				 "nmi            press its NMI button\nreset          start it anew\n",
			 strcmp(line, "help") ? "no such command; there are:\n" : "");
	}
}

static struct gdb *of(struct vm *vm)
{
	struct gdb *g = vm->gdb;

	if (g)
		return g;
	g = kzalloc(sizeof(*g), FRAME_VM, vm->id);
	if (!g)
		return NULL;
	g->vm = vm;
	g->signal = SIGTRAP;
	__atomic_store_n(&vm->gdb, g, __ATOMIC_RELEASE);
	return g;
}

bool gdb_create(struct vm *vm)
{
	if (!vm->cfg.gdb)
		return true;
	if (!of(vm))
		return false;
	vm->gdb->wait = true;
	return true;
}

void gdb_input(struct vm *vm, u8 byte)
{
	struct gdb *g = byte == GDB_GONE ? vm->gdb : of(vm);
	bool whole;

	if (!g || vm->ending)
		return;
	if (g->head - READ_ONCE(g->tail) < GDB_RING) {
		g->ring[g->head % GDB_RING] = byte;
		__atomic_store_n(&g->head, g->head + 1, __ATOMIC_RELEASE);
	}
	whole = byte == GDB_BREAK || byte == GDB_GONE || (g->hash && !--g->hash);
	if (byte == '#')
		g->hash = 2;
	if (whole)
		vm_stop(vm, STOP_GDB);
}

/* A step: at most one packet, and only while its answer finds room. */
static void take_bytes(struct gdb *g)
{
	while (g->tail != __atomic_load_n(&g->head, __ATOMIC_ACQUIRE)) {
		u8 b = g->ring[g->tail % GDB_RING];

		if (serial_space() < 4 * GDB_PACKET) {
			vm_stop(g->vm, STOP_GDB);
			return;
		}
		__atomic_store_n(&g->tail, g->tail + 1, __ATOMIC_RELEASE);
		if (gdb_byte(g, b)) {
			if (g->tail != __atomic_load_n(&g->head, __ATOMIC_ACQUIRE))
				vm_stop(g->vm, STOP_GDB);
			return;
		}
	}
}

bool gdb_serve(struct vm *vm)
{
	struct gdb *g = vm->gdb;

	if (g->stop_taken && g->owed) {
		gdb_hold(g);
		gdb_tell_stop(g);
	}
	take_bytes(g);
	gdb_unload(g);
	return g->held;
}

void gdb_booted(struct vm *vm)
{
	struct gdb *g = vm->gdb;

	if (!g->wait)
		return;
	g->wait = false;
	g->held = true;
	console_event("vm-waits %s", vm->name);
	vm_stop(vm, STOP_GDB);
}

void gdb_restarts(struct vm *vm)
{
	memset(vm->gdb->sw, 0, sizeof(vm->gdb->sw));
	for (u32 i = 0; i < vm->nr_vcpus; i++)
		vm->vcpus[i]->gdb.held = false;
}
