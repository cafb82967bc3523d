/* SPDX-License-Identifier: BSD-2-Clause */
/* The exit table, and the handlers that need no file of their own. */
#include "arch/x86_64/asm.h"
#include "vmm/fetch.h"
#include "vmm/sched.h"
#include "vmm/vm.h"

static void advance_over(struct vcpu *v, const struct vm_exit *e, const struct insn_id *id)
{
	unsigned len = guest_insn_len(v, e, id);

	if (len)
		hv->advance(&v->hv, len);
}

/* The backend, or the look at interrupts before the next entry, does all there is to do. */
static void exit_nothing(struct vcpu *v, const struct vm_exit *e)
{
	(void)v;
	(void)e;
}

/* It is asked for anew before the next entry if it is still wanted. */
static void exit_window(struct vcpu *v, const struct vm_exit *e)
{
	(void)e;
	v->windows = 0;
	hv->request_windows(&v->hv, 0);
}

static void exit_intr(struct vcpu *v, const struct vm_exit *e)
{
	(void)v;
	(void)e;
	sched_irq_window();
}

static void exit_hlt(struct vcpu *v, const struct vm_exit *e)
{
	static const struct insn_id id = {1, {0xf4}};
	unsigned len = guest_insn_len(v, e, &id);

	if (!len)
		return;
	hv->advance(&v->hv, len);
	v->state = VCPU_HALTED;
	v->nmi_wakes = hv->windows(&v->hv) & HV_WIN_NMI;
}

static void exit_pause(struct vcpu *v, const struct vm_exit *e)
{
	static const struct insn_id id = {1, {0x90}};

	advance_over(v, e, &id);
	sched_yield();
}

/* Memory is coherent and nothing is passed through: there is nothing to write back. INVD must not
 * throw our lines away, so it is the same. */
static void exit_wbinvd(struct vcpu *v, const struct vm_exit *e)
{
	static const struct insn_id wbinvd = {2, {0x0f, 0x09}}, invd = {2, {0x0f, 0x08}};
	const struct insn *i;

	if (e->insn_len) {
		hv->advance(&v->hv, e->insn_len);
		return;
	}
	i = guest_decode(v, NULL, 0);
	if (i)
		advance_over(v, e, i->opcode == 0x08 ? &invd : &wbinvd);
}

static void exit_ud(struct vcpu *v, const struct vm_exit *e)
{
	(void)e;
	vcpu_raise_ud(v);
}

/* No performance counters are offered: as on a CPU without them. */
static void exit_gp(struct vcpu *v, const struct vm_exit *e)
{
	(void)e;
	vcpu_raise_gp(v);
}

static void exit_exception(struct vcpu *v, const struct vm_exit *e)
{
	struct hv_event ev = e->exc.ev;
	u64 payload = e->exc.payload;

	if (unlikely(v->hv.debug.flags) && gdb_exception(v, &ev, &payload))
		return;
	vcpu_raise(v, ev.vector, ev.has_error, ev.error, payload);
	if (ev.type != HV_EV_EXC && v->exception.vector == ev.vector) {
		v->exception.type = ev.type; /* INT1, INT3: its handler returns behind it */
		v->exception.insn_len = ev.insn_len;
	}
}

static void exit_step(struct vcpu *v, const struct vm_exit *e)
{
	gdb_stepped(v, e->exc.payload);
}

static void exit_triple_fault(struct vcpu *v, const struct vm_exit *e)
{
	(void)e;
	vm_request_end(v->vm, VM_END_REBOOT, RESET_BY_TRIPLE_FAULT); /* shutdown: the board pulls reset */
}

static void exit_entry_failed(struct vcpu *v, const struct vm_exit *e)
{
	struct hv_segment cs;
	struct hv_paging p;

	hv->get_seg(&v->hv, SEG_CS, &cs);
	hv->get_paging(&v->hv, &p);
	vm_kill(v->vm, "the CPU refused to enter the guest (reason %#x, %#lx; CR0 %#lx, CS %#x)", e->hw_reason,
		(unsigned long)e->hw_info1, (unsigned long)p.cr0, cs.selector);
}

static void exit_unknown(struct vcpu *v, const struct vm_exit *e)
{
	vm_kill(v->vm, "exit %s, hardware reason %#x, that nobody asked for", hv_exit_name(e->code),
		e->hw_reason);
}

/* clang-format off */
const exit_fn exit_table[HV_NR_EXITS] = {
	[HV_EXIT_NONE] = exit_nothing, [HV_EXIT_INTR] = exit_intr, [HV_EXIT_NMI] = exit_nothing,
	[HV_EXIT_IRQ_WINDOW] = exit_window, [HV_EXIT_NMI_WINDOW] = exit_window,
	[HV_EXIT_TPR] = exit_nothing, [HV_EXIT_CPUID] = exit_cpuid, [HV_EXIT_HLT] = exit_hlt,
	[HV_EXIT_PAUSE] = exit_pause, [HV_EXIT_PIO] = exit_pio, [HV_EXIT_RDMSR] = exit_rdmsr,
	[HV_EXIT_WRMSR] = exit_wrmsr, [HV_EXIT_CR] = exit_cr, [HV_EXIT_DR] = exit_dr, [HV_EXIT_STEP] = exit_step,
	[HV_EXIT_NPF] = exit_npf, [HV_EXIT_EXCEPTION] = exit_exception,
	[HV_EXIT_HYPERCALL] = exit_hypercall, [HV_EXIT_WBINVD] = exit_wbinvd,
	[HV_EXIT_XSETBV] = exit_xsetbv, [HV_EXIT_MONITOR] = exit_ud, [HV_EXIT_RDPMC] = exit_gp,
	[HV_EXIT_RDTSC] = exit_unknown, [HV_EXIT_INVLPG] = exit_unknown,
	[HV_EXIT_TASK_SWITCH] = exit_task_switch, [HV_EXIT_DESC] = exit_unknown,
	[HV_EXIT_UD_INSN] = exit_ud, [HV_EXIT_TRIPLE_FAULT] = exit_triple_fault,
	[HV_EXIT_INIT] = exit_nothing, /* INIT is blocked in root mode; ours to ignore */
	[HV_EXIT_SIPI] = exit_nothing, [HV_EXIT_ENTRY_FAILED] = exit_entry_failed,
	[HV_EXIT_UNKNOWN] = exit_unknown,
};
/* clang-format on */
