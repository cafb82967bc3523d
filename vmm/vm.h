/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtual machine and its vCPUs, as vmm/ sees them. Private to vmm/: devices use vdev.h. */
#pragma once
#include "lib/list.h"
#include "lib/spinlock.h"
#include "arch/x86_64/hv.h"
#include "arch/x86_64/pt.h"
#include "arch/x86_64/timeconv.h"
#include "vmm/config.h"
#include "vmm/cpuid.h"
#include "vmm/fetch.h"
#include "vmm/gdb/gdb.h"
#include "vmm/irq.h"
#include "vmm/lapic.h"
#include "vmm/loader.h"
#include "vmm/pv.h"
#include "vmm/regions.h"
#include "vmm/sched.h"
#include "vmm/timer.h"
#include "vmm/vdev.h"
#include "vmm/watch.h"

#define VM_MAX_SLOTS   8
#define VM_MAX_DEVS    40

/* A reference-counted set of 2 MiB blocks of the guests' pool: it may outlive a VM and be shared.
 */
struct memobj {
	u32 refs;
	u32 nr_blocks;
	hpa_t blocks[];
};

/* A range of guest-physical addresses with one backing. gpa and off agree below 2 MiB, so that
 * large leaves fit. */
struct slot {
	gpa_t gpa;
	u64 size;
	struct memobj *obj;
	u64 off;
};

/* Requests: bits that ask a vCPU to do something before it next enters the guest. */
#define REQ_BOOT    BIT(0) /* bring the VM to its first instruction, a step at a time */
#define REQ_DEVICE  BIT(1) /* vm->dev_work is not 0 */
#define REQ_CONSOLE BIT(2) /* typed bytes wait */
#define REQ_EVENT   BIT(3) /* an interrupt source changed: leave HLT and look */
#define REQ_UNPARK  BIT(4) /* what a parked vCPU waited for may be there */
#define REQ_REFILL  BIT(5) /* the exit path is out of frames: take more */
#define REQ_FLUSH   BIT(7) /* nested translations have lost rights: vm_nested_flush() */
#define REQ_RELEASE BIT(15) /* blocks wait to go back: vcpu_release() */
/* What other CPUs of the guest, or its board, do to this one. Together they are part of its state. */
#define REQ_RESET   BIT(8) /* power-on */
#define REQ_INIT    BIT(9)
#define REQ_SIPI    BIT(10) /* at vcpu.sipi_vector */
#define REQ_NMI	    BIT(11)
#define REQ_EXTINT  BIT(12)
#define REQ_UNHALT  BIT(14) /* another vCPU says KICK_CPU (pv.c) */
#define REQ_SIGNALS (REQ_RESET | REQ_INIT | REQ_SIPI | REQ_NMI | REQ_EXTINT | REQ_UNHALT)
/* Served by the scheduler, outside the run loop. */
#define REQ_MOVE    BIT(6)  /* go to pCPU move_to */
#define REQ_STOP    BIT(13) /* leave the run queue: the VM stops */
#define REQ_OUTSIDE (REQ_MOVE | REQ_STOP)

enum vcpu_state { VCPU_OFF, VCPU_RUNNING, VCPU_HALTED, VCPU_PARKED, VCPU_WAIT_SIPI };

/* MSRs that read back what was written and live in no control block (msr.c). */
struct vcpu_msrs {
	u64 mtrr_def, mtrr_fixed[11], mtrr_var[16];
	u64 misc_enable, mcg_status, bios_sign, hwcr, tsc_adjust, debugctl;
};

/* A block that is being zeroed for the guest (backing.c). */
struct vcpu_backing {
	hpa_t *place, block; /* where it will stand; NULL: none */
	u64 pos;
};

struct vcpu {
	struct hv_vcpu hv; /* first: the backends know no more of us than this */
	struct vm *vm;
	u32 id;
	u32 state;
	u32 pcpu; /* index of the pCPU it lives on; nobody else touches what is below, but for `posted` */
	u32 move_to;	    /* REQ_MOVE: where to */
	struct list moving; /* armed timers, between two pCPUs */
	volatile u32 requests;
	bool in_run; /* in vcpu_run(): it looks at requests before it enters the guest */
	bool absent; /* not plugged in: waits for a SIPI that it would not hear. Written under the device lock */
	u8 sipi_vector;
	/* Interrupts from other pCPUs, by words of 32 vectors: edges, then level-triggered ones. Bit w of posted_any:
	 * word w may hold some. */
	u32 posted_any, posted[16];
	struct lapic lapic;
	struct timer lapic_timer, park_timer;
	struct vcpu_sched sched;
	struct hv_event reinject;  /* cut short by an exit: before anything else */
	struct hv_event exception; /* raised by us, for the instruction at RIP */
	u64 exception_payload;     /* #PF: CR2; #DB: DR6 bits */
	bool nmi_pending, nmi_wakes; /* wakes: NMIs were not blocked at HLT */
	u32 windows; /* what request_windows() was last asked for */
	u64 tsc_offset; /* its TSC is vm_scale_tsc() of the host's plus this */
	struct vcpu_msrs msrs;
	struct vcpu_pv pv;
	u64 waited_since, waited; /* sched.c: TSC while it is kept waiting (else 0), and ticks of that */
	u64 waited_seen;	  /* of them the guest was told (pv.c) */
	struct code_cache code;
	u32 watch; /* WATCH_* bits, set and cleared by anybody: watch.h */
	struct vcpu_watch watching;
	struct vcpu_gdb gdb;
	u32 same_faults; /* fault.c: nested faults in a row with nothing to mend */
	gpa_t fault_gpa;
	struct vcpu_backing backing;
	const struct msr_desc *last_msr; /* msr.c: found last */
	u64 exits[HV_NR_EXITS];
	u64 injected[HV_EV_SWEXC + 1]; /* by enum hv_event_type; not those that an exit had cut short */
};

struct dev_timer {
	struct timer t;
	struct vdev *d;
	u64 deadline_ns;
	bool set; /* as the device sees it; guarded by the device lock */
};

/* The steps of bringing a VM from nothing to its first instruction (boot.c). */
enum boot_stage { BOOT_ZERO, BOOT_LOAD, BOOT_COPY, BOOT_READY };
#define BOOT_MAX_COPIES 64
struct boot_copy {
	gpa_t gpa;
	hpa_t src;
	u64 n;
};
struct vm_boot {
	enum boot_stage stage;
	u32 block; /* BOOT_ZERO: at this block, */
	u64 pos;   /* at this offset */
	u32 nr_copies, copy;
	struct boot_copy copies[BOOT_MAX_COPIES];
	struct load_state entry;
};

/*
 * Whether a VM runs. A stop takes every vCPU out of its run queue, with its timers; when the last one is
 * out, vm_stopped() does what was asked for, on that one's pCPU, and starts the VM again unless it is
 * paused or has ended. So whatever concerns a VM as a whole finds nobody inside it.
 */
enum vm_run_state { VM_STOPPED, VM_RUNS, VM_STOPPING };
#define STOP_END     BIT(0) /* vm->end says how */
#define STOP_PAUSE   BIT(1) /* until vm_unpause() */
#define STOP_TORTURE BIT(2) /* to be rebuilt */
#define STOP_TUNE    BIT(3) /* cfg's cpu_weight, cap or torture has changed */
#define STOP_GDB     BIT(4) /* the debugger is to be told or heard */
#define STOP_DEBUG   BIT(5) /* gdb_serve() said so, until it says otherwise */
#define STOP_STAYS   (STOP_PAUSE | STOP_DEBUG)
struct vm_run {
	struct spinlock lock;
	u32 state;   /* enum vm_run_state */
	u32 why;     /* STOP_* not done yet; STOP_STAYS as long as they last */
	u32 to_stop; /* VM_STOPPING: vCPUs still in a run queue */
	bool queued; /* VM_STOPPED: `work` is on its way */
	bool paused; /* it has been since it last ran */
	u64 stopped_at; /* VM_STOPPED: since this host TSC */
	struct sched_work work;
};

/* Blocks that are out of the guest's sight and not yet out of all TLBs. Guarded by the device lock. */
struct vm_release {
	u32 nr, asked; /* asked: by how many vm_release_flush() */
	hpa_t block[32];
};

#define CONSOLE_IN_SIZE 4096
struct vm_console {
	u32 channel;
	volatile u32 in_head, in_tail; /* single producer (serial), single consumer (vCPU 0) */
	u8 in[CONSOLE_IN_SIZE];
	u64 written; /* bytes of output so far */
	u8 *ring;    /* the last CONSOLE_RING of them */
};

struct vm {
	u16 id; /* frame owner; from 1 */
	char name[VM_NAME_MAX];
	struct vm_config cfg;
	struct list node;
	struct vcpu *vcpus[VM_MAX_VCPUS];
	u32 nr_vcpus;
	struct vm_sched sched;

	struct slot slots[VM_MAX_SLOTS]; /* sorted by gpa */
	u32 nr_slots;
	struct spinlock nested_lock; /* writers of the nested tables; guards in_exit, too */
	struct pt nested;
	struct pt_env nested_env;
	bool write_protected; /* some leaves of RAM are: writes of ours must ask first */
	bool in_exit;	      /* nested tables come from the exit path's reserve */
	u64 ram_low, ram_high, ram_bytes;
	u16 *given; /* pages in the balloon, of each block; NULL: all of RAM is always backed */
	struct vm_release release;
	struct vm_balloon balloon;
	bool lacked_memory; /* said once */

	struct spinlock dev_lock; /* held while any device or interrupt controller is touched */
	bool between_lives; /* its devices are still those of the life before: boot.c */
	u32 device_errors; /* what drivers did that no driver may, since it was created */
	u32 dma; /* vm_dma_begin() without its end. What touches devices meanwhile has dev_lock */
	struct vdev devs[VM_MAX_DEVS];
	char dev_refused[160]; /* vdev_refuse() */
	struct dev_timer *dev_timers; /* VDEV_MAX_TIMERS a device */
	u64 dev_work; /* bit n: devs[n].type->work() is to be called */
	u32 nr_devs; /* places in use; some may be free again */
	struct region_table pio, *mmio; /* mmio apart: struct vm is to fit into 32 KiB */
	struct vdev *pci_slots[32]; /* function 0 of each device on bus 0 (platform/pci*.c) */
	struct vm_irqchip irqchip;
	bool pic_intr; /* the PIC's INTR output, kept by vm_pic_changed() */
	u32 lowest_next; /* where the search for the lowest priority begins */

	struct torture *torture; /* NULL: off */
	struct gdb *gdb; /* NULL: nobody has ever asked */
	struct cpuid_table *cpuid;
	u8 insn_flags; /* INSN_AMD_BRANCHES on AMD's CPUs */
	u64 t0_tsc; /* host TSC at which the guest's clock reads 0 */
	u64 tsc_khz, tsc_ratio; /* of the guest's TSC; to the host's */
	struct vm_run run;
	bool ending, refused;
	u64 lives_paid_ns; /* vm.c: how often it may restart */
	bool reboot_asked; /* its next power-off is one */
	struct {
		u64 at, ran; /* host TSC, and ticks that its vCPUs had run then: `top` shows what came since */
	} top;
	bool preserved; /* it has ended, and stays to be looked at until it is destroyed */
	enum vm_end end;
	u32 end_value;
	char end_reason[160];
	struct vm_boot boot;
	struct vm_console console;
	struct vm_console *port[VM_MAX_PORTS]; /* of virtio's console; NULL: no such */
	struct port_device port_device;
};

/* --- vm.c: life and death --- */
/* Build a VM: memory, vCPUs, devices; stopped, REQ_BOOT set. channel: its console's, 0 for a new
 * one. 0 or -errno, `why` says it. */
int vm_create(const struct vm_config *cfg, u32 channel, struct vm **out, char *why, size_t n);
/* The first half of it, that needs memory, and its undoing: nobody has seen the VM. */
struct vm *vm_build(const struct vm_config *cfg, char *why, size_t n); /* NULL: `why` says it */
void vm_unbuild(struct vm *vm);
void vm_start(struct vm *vm); /* a created one; it may have ended before this returns */
/* Ask for a stop (STOP_*). Any pCPU, interrupts off, no lock of class LOCK_RUN or later held. */
void vm_stop(struct vm *vm, u32 why);
void vm_unpause(struct vm *vm);
void vm_hold(struct vcpu *v); /* REQ_STOP, for the scheduler */
extern struct list vm_list;        /* guarded by vm_list_lock */
extern struct spinlock vm_list_lock;
struct vm *vm_by_channel(u32 channel); /* vm_list_lock held */
/* Its console of that channel; NULL: it has none. */
struct vm_console *vm_console_by_channel(struct vm *vm, u32 channel);

/* Not started after all: its file or its kernel is no good. One line says why. */
void vm_refuse(struct vm *vm, const char *why);

/* --- guest_tsc.c --- */
/* khz for its TSC, within timeconv.h's bounds; its vCPUs learn of it by what follows. false: the CPU cannot, and
 * nothing has changed. */
bool vm_set_tsc_khz(struct vm *vm, u64 khz);
void vcpu_set_tsc_offset(struct vcpu *v, u64 offset); /* v is loaded */
/* The host's TSC at the guest's pace. */
static inline u64 vm_scale_tsc(const struct vm *vm, u64 host)
{
	return likely(vm->tsc_ratio == TSC_RATIO_ONE) ? host : tsc_scale(host, vm->tsc_ratio);
}

/* --- vdev.c --- */
void vm_devices_work(struct vm *vm); /* REQ_DEVICE */

/* --- irq.c --- */
int vm_pic_ack(struct vm *vm);	       /* INTA cycle: the vector */

/* --- boot.c --- */
bool vm_boot_step(struct vm *vm); /* true: vCPU 0 stands at the first instruction */
void vm_boot_restart(struct vm *vm, u64 delay_ns);

/* --- slot.c --- */
/* 0 or -errno, `why` says it; what was there by then is vm_memory_destroy()'s. */
int vm_memory_create(struct vm *vm, char *why, size_t n);
bool vm_memory_destroy(struct vm *vm); /* a step of at most some 20,000 instructions; true: all is given back */
/* Nested tables of their own for all that the slots hold. 0 or -ENOMEM (nothing is left behind). */
int vm_nested_build(struct vm *vm, struct pt *pt);
/* Show the guest what lies at gpa again, as far as the block of 2 MiB goes. */
int vm_nested_populate(struct vm *vm, gpa_t gpa);
/* Rights were taken away, or tables left the tree, by this vCPU, which is out of the guest: return when no vCPU
 * can use what was there. No lock is held. */
void vm_nested_flush(struct vcpu *self);
/* The slot that holds gpa; NULL: no RAM there. */
static inline const struct slot *vm_slot(const struct vm *vm, gpa_t gpa)
{
	/* The low RAM above 1 MiB, by far the usual one, is slot 1. */
	if (likely(gpa - vm->slots[1].gpa < vm->slots[1].size))
		return &vm->slots[1];
	for (u32 i = 0; i < vm->nr_slots; i++)
		if (gpa - vm->slots[i].gpa < vm->slots[i].size)
			return &vm->slots[i];
	return NULL;
}

/* Which of its object's blocks holds gpa. */
static inline u64 slot_block(const struct slot *s, gpa_t gpa)
{
	return (gpa - s->gpa + s->off) / PAGE_2M;
}

/* --- backing.c --- */
bool vm_backed(const struct vm *vm, gpa_t gpa); /* is there memory behind it, if it is RAM */
/* Memory, zeroed, for a block that has none: all at once; HPA_NONE: the host has none. */
hpa_t vm_back_block(struct vm *vm, hpa_t *place);
void vcpu_back(struct vcpu *v, gpa_t gpa); /* the same in steps, for a fault of v's there */
void vcpu_back_drop(struct vcpu *v);
void vcpu_release(struct vcpu *v); /* REQ_RELEASE */

/* --- fault.c --- */
/* A nested fault on RAM: mend it and re-enter. */
void fault_ram(struct vcpu *v, const struct vm_exit *e);
/* We are about to write n bytes at gpa, which are RAM: what write-protection waits for happens now. */
void fault_before_write(struct vm *vm, gpa_t gpa, u64 n);

/* --- torture.c --- */
int torture_create(struct vm *vm); /* vm->cfg.torture is the seed, 0: none */
void torture_tune(struct vm *vm);  /* it may have changed; the VM is stopped */
/* Before such a VM is created: each allocation that this takes fails once, and if no VM is there (alone), so that
 * nobody else takes or gives memory, nothing may stay behind. */
void torture_creation(const struct vm_config *cfg, bool alone);
void torture_destroy(struct vm *vm);
void torture_step(struct vcpu *v); /* between an exit's handler and the next entry */
void torture_rebuild(struct vm *vm); /* STOP_TORTURE */
void torture_report(const struct vm *vm);

/* --- vcpu.c --- */
int vcpu_create(struct vm *vm, u32 id);
void vcpu_destroy(struct vcpu *v);
/* The CPU side alone, in its reset state: id and nested_root are set. 0 or -ENOMEM. */
int vcpu_hv_create(struct hv_vcpu *h);
void vcpu_hv_destroy(struct hv_vcpu *h);
void vcpu_reset(struct vcpu *v);            /* architectural reset, APIC included; v is loaded */
void vcpu_request(struct vcpu *v, u32 req); /* any pCPU: set the bit and kick */
void vcpu_irq(struct vcpu *v, u8 vector, bool level_trig); /* any pCPU: into its APIC */
void vcpu_take_posted(struct vcpu *v); /* posted interrupts into its APIC; its own pCPU, or stopped */
struct vcpu *vcpu_current(void); /* whose state is in this pCPU; NULL: nobody's */
bool vcpu_runnable(struct vcpu *v);
void vcpu_run(struct vcpu *v);          /* until it must leave the pCPU */
void vcpu_park(struct vcpu *v, u64 ns); /* off the pCPU for a while */
void vcpu_inject_slow(struct vcpu *v); /* inject.c: the only place that injects */
/* Nothing to deliver, which is nearly always: no call. (A window that is asked for still and no longer needed
 * costs one exit, which withdraws it.) */
static inline void vcpu_inject(struct vcpu *v)
{
	if (unlikely(v->reinject.valid | v->exception.valid | v->nmi_pending | v->hv.pending_db |
		     v->lapic.irr_any | v->vm->pic_intr | v->lapic.extint)) {
		vcpu_inject_slow(v);
		return;
	}
	v->hv.tpr_threshold = 0;
	v->hv.tpr = v->lapic.tpr >> 4;
}
bool vcpu_has_event(struct vcpu *v);    /* inject.c: would something wake it from HLT */
/* Raise an exception for the guest's current instruction; merges into #DF and triple fault. */
void vcpu_raise(struct vcpu *v, u8 vector, bool has_error, u32 error, u64 payload);
static inline void vcpu_raise_gp(struct vcpu *v)
{
	vcpu_raise(v, 13, true, 0, 0);
}
static inline void vcpu_raise_ud(struct vcpu *v)
{
	vcpu_raise(v, 6, false, 0, 0);
}

/* --- exit*.c --- */
typedef void (*exit_fn)(struct vcpu *v, const struct vm_exit *e);
extern const exit_fn exit_table[HV_NR_EXITS];
void msrs_reset(struct vcpu *v); /* as a BIOS leaves them */
void msrs_pass(struct vcpu *v);  /* which of them need no exit */
void exit_pio(struct vcpu *v, const struct vm_exit *e);
void exit_npf(struct vcpu *v, const struct vm_exit *e);
void exit_cpuid(struct vcpu *v, const struct vm_exit *e);
void exit_rdmsr(struct vcpu *v, const struct vm_exit *e);
void exit_wrmsr(struct vcpu *v, const struct vm_exit *e);
void exit_cr(struct vcpu *v, const struct vm_exit *e);
void exit_dr(struct vcpu *v, const struct vm_exit *e);
void exit_xsetbv(struct vcpu *v, const struct vm_exit *e);
void exit_task_switch(struct vcpu *v, const struct vm_exit *e);
bool cr3_write(struct vcpu *v, u64 val); /* as MOV to CR3; false: #GP */
/* debug.c: breakpoints on what is done in the guest's stead; only if v->hv.dr7_armed */
enum debug_access { DEBUG_WRITE = 1, DEBUG_IO = 2, DEBUG_READ = 3 };
void debug_hit(struct vcpu *v, u64 addr, unsigned size, enum debug_access access);
/* A 16-bit register or memory operand of i; false: a fault was raised. */
bool emulate_operand16(struct vcpu *v, const struct insn *i, u16 *val);
/* Store to i's 16-bit memory operand; false as above. */
bool emulate_store16(struct vcpu *v, const struct insn *i, u16 val);
bool efer_write(struct vcpu *v, u64 val); /* false: #GP */
/* The CR4 bits of the features that this guest was told of. */
u64 cr4_allowed(const struct vm *vm);

/* --- vdev.c --- */
int vm_devices_create(struct vm *vm, char *why, size_t n);
void vm_devices_destroy(struct vm *vm);
void vm_devices_reset(struct vm *vm); /* device lock held */
void vm_devices_stop(struct vm *vm);  /* their timers; device lock held */
/* Each region of the VM, sorted, ports first: space is "port" or "memory". Device lock held. */
typedef void (*vm_region_fn)(void *arg, const char *space, u64 first, u64 last, const char *device);
void vm_regions(struct vm *vm, vm_region_fn fn, void *arg);
/* By any width; where nobody answers, reads give ones. */
u32 vm_pio_read(struct vm *vm, u16 port, unsigned size);
void vm_pio_write(struct vm *vm, u16 port, unsigned size, u32 val);
u64 vm_mmio_read(struct vcpu *v, gpa_t gpa, unsigned size);
void vm_mmio_write(struct vcpu *v, gpa_t gpa, unsigned size, u64 val);
