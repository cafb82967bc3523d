/* SPDX-License-Identifier: BSD-2-Clause */
/* The choice between the two backends, and what is common to both. */
#include "arch/x86_64/hv.h"
#include "lib/errno.h"
#include "lib/log.h"
#include "lib/string.h"

const struct hv_ops *hv;

int hv_select(char *why, size_t n)
{
	static const struct hv_ops *const backends[] = {&svm_ops, &vmx_ops};
	char reason[2][160] = {"", ""};

	for (unsigned i = 0; i < ARRAY_SIZE(backends); i++) {
		int err = backends[i]->probe(reason[i], sizeof(reason[i]));

		if (!err) {
			hv = backends[i];
			return 0;
		}
		if (err != -ENODEV) { /* this vendor's CPU, but not usable: the other cannot be */
			snprintf(why, n, "%s", reason[i]);
			return err;
		}
	}
	snprintf(why, n, "this CPU has neither AMD-V nor Intel VT-x: %s; %s", reason[0], reason[1]);
	return -ENODEV;
}

const char *hv_exit_name(u32 code)
{
	/* clang-format off */
	static const char *const names[HV_NR_EXITS] = {
		[HV_EXIT_NONE] = "none", [HV_EXIT_INTR] = "interrupt", [HV_EXIT_NMI] = "NMI",
		[HV_EXIT_IRQ_WINDOW] = "interrupt window", [HV_EXIT_NMI_WINDOW] = "NMI window",
		[HV_EXIT_TPR] = "TPR below threshold", [HV_EXIT_CPUID] = "CPUID",
		[HV_EXIT_HLT] = "HLT", [HV_EXIT_PAUSE] = "PAUSE", [HV_EXIT_PIO] = "port I/O",
		[HV_EXIT_RDMSR] = "RDMSR", [HV_EXIT_WRMSR] = "WRMSR",
		[HV_EXIT_CR] = "control register", [HV_EXIT_DR] = "debug register", [HV_EXIT_STEP] = "step",
		[HV_EXIT_NPF] = "nested page fault", [HV_EXIT_EXCEPTION] = "exception",
		[HV_EXIT_HYPERCALL] = "hypercall", [HV_EXIT_WBINVD] = "WBINVD",
		[HV_EXIT_XSETBV] = "XSETBV", [HV_EXIT_MONITOR] = "MONITOR/MWAIT",
		[HV_EXIT_RDPMC] = "RDPMC", [HV_EXIT_RDTSC] = "RDTSC", [HV_EXIT_INVLPG] = "INVLPG",
		[HV_EXIT_TASK_SWITCH] = "task switch", [HV_EXIT_DESC] = "descriptor table access",
		[HV_EXIT_UD_INSN] = "undefined instruction",
		[HV_EXIT_TRIPLE_FAULT] = "triple fault", [HV_EXIT_INIT] = "INIT",
		[HV_EXIT_SIPI] = "SIPI", [HV_EXIT_ENTRY_FAILED] = "entry failed",
		[HV_EXIT_UNKNOWN] = "unknown",
	};
	/* clang-format on */

	return code < HV_NR_EXITS && names[code] ? names[code] : "?";
}

static void dump_segments(struct hv_vcpu *v)
{
	static const char *const names[] = {"ES",   "CS", "SS",	  "DS",	 "FS",
					    "GS",   "LDT", "TR", "GDT", "IDT"};

	for (int i = SEG_ES; i <= SEG_IDTR; i++) {
		struct hv_segment seg;

		hv->get_seg(v, (enum hv_seg)i, &seg);
		if (i >= SEG_GDTR)
			log_err("  %-3s           base %016lx limit %08x", names[i], seg.base,
				seg.limit);
		else
			log_err("  %-3s %04x      base %016lx limit %08x attributes %05x%s", names[i],
				seg.selector, seg.base, seg.limit, seg.attr,
				seg.attr & SEG_ATTR_UNUSABLE ? " (unusable)" : "");
	}
}

static void dump_exit(const struct vm_exit *e)
{
	log_err("  exit: %s (reason %#x, information %#lx %#lx), instruction length %u",
		hv_exit_name(e->code), e->hw_reason, e->hw_info1, e->hw_info2, e->insn_len);
	if (e->interrupted.valid)
		log_err("  during delivery of event type %u, vector %u, error code %#x",
			e->interrupted.type, e->interrupted.vector, e->interrupted.error);
	if (e->code == HV_EXIT_NPF)
		log_err("  guest-physical address %#lx: %s%s%s", e->npf.gpa,
			e->npf.write ? "write" : (e->npf.fetch ? "fetch" : "read"),
			e->npf.present ? ", right missing" : ", not mapped",
			e->npf.during_walk ? ", for the guest's page tables" : "");
}

void hv_dump(struct hv_vcpu *v, const struct vm_exit *exit)
{
	const u64 *g = v->gpr;

	log_err("vCPU %u (%s):", v->id, hv->name);
	if (exit)
		dump_exit(exit);
	log_err("  RIP %016lx RFLAGS %08lx CR2 %016lx CR8 %x", v->rip, v->rflags, v->cr2, v->tpr);
	log_err("  RAX %016lx RBX %016lx RCX %016lx RDX %016lx", g[REG_RAX], g[REG_RBX], g[REG_RCX],
		g[REG_RDX]);
	log_err("  RSI %016lx RDI %016lx RBP %016lx RSP %016lx", g[REG_RSI], g[REG_RDI], g[REG_RBP],
		g[REG_RSP]);
	for (int i = REG_R8; i <= REG_R15; i += 4)
		log_err("  R%-2d %016lx R%-2d %016lx R%-2d %016lx R%-2d %016lx", i, g[i], i + 1,
			g[i + 1], i + 2, g[i + 2], i + 3, g[i + 3]);
	log_err("  CR0 %08lx CR3 %016lx CR4 %08lx EFER %04lx", hv->get_reg(v, REG_CR0),
		hv->get_reg(v, REG_CR3), hv->get_reg(v, REG_CR4), hv->get_reg(v, REG_EFER));
	log_err("  DR6 %08lx DR7 %08lx XCR0 %lx PAT %016lx", v->dr6, hv->get_reg(v, REG_DR7),
		v->xcr0, hv->get_reg(v, REG_PAT));
	dump_segments(v);
}
