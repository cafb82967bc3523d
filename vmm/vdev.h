/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a device meets its VM. A device is one file that registers one const struct vdev_type; the
 * core keeps no list. Its state is one plain struct without pointers, which the core copies to
 * save and restore it; timers belong to the core, so that their deadlines are saved too.
 *
 * Callbacks run on any pCPU, one at a time (the VM's device lock is held), with interrupts off, and never
 * block; init() runs when nobody else knows of the VM yet.
 */
#pragma once
#include "lib/types.h"

struct vm;
struct vcpu;
struct vdev;
struct pci_ident;
struct pci_func;
struct region_table;

#define VDEV_MAX_TIMERS 4

/* Accesses come with size 1, 2 or 4, possibly unaligned but wholly inside the region. Reads return the
 * value in the low bytes. A device returns all ones for what it does not decode. */
struct vdev_pio {
	u16 first, count;
	u32 (*read)(struct vdev *d, u16 port, unsigned size);
	void (*write)(struct vdev *d, u16 port, unsigned size, u32 val);
};
/* Size 1, 2, 4 or 8; off is from the start of the region. */
struct vdev_mmio {
	gpa_t base;
	u64 size;
	u64 (*read)(struct vdev *d, u64 off, unsigned size);
	void (*write)(struct vdev *d, u64 off, unsigned size, u64 val);
};

struct vdev_type {
	const char *name;
	u16 version;	/* of the state's layout */
	u16 nr_timers;
	u32 state_size;
	u8 nr_pio, nr_mmio;
	const struct vdev_pio *pio; /* fixed regions; more by vdev_add_pio() from init() */
	const struct vdev_mmio *mmio;
	const struct pci_ident *pci; /* it is a PCI function (platform/pci.h), and its regions are BARs; NULL: it is none */
	/* Optional: is the device part of this VM (debug exit port...)? NULL: always. */
	bool (*wanted)(const struct vm *vm);
	/* Optional: which of it are, told apart by vdev.unit: bit n for unit n. NULL: unit 0. */
	unsigned (*units)(const struct vm *vm);
	/* init, reset, restored and timer may be NULL: nothing to do. state_size may be 0. */
	/* Once per device, state zeroed. 0 or -errno, which fails the VM's creation, or the hotplug. */
	int (*init)(struct vdev *d);
	/* Give back what init() took besides its state; also after an init() that failed. Optional. */
	void (*destroy)(struct vdev *d);
	/* Power-on state; also on every reset of the VM. Timers are stopped already. */
	void (*reset)(struct vdev *d);
	/* May these state_size bytes become the state? Whatever the device divides by, shifts by or
	 * indexes with must be in range, for a saved state may come from anywhere. NULL: any may. */
	bool (*valid)(const void *state);
	/* The state has just been replaced by saved bytes: drive lines again. Optional. */
	void (*restored)(struct vdev *d);
	/* vdev_work() was called, perhaps several times, and perhaps for nothing. */
	void (*work)(struct vdev *d);
	/* Timer idx has come due (and is no longer armed). */
	void (*timer)(struct vdev *d, unsigned idx);
};

struct vdev {
	const struct vdev_type *type; /* NULL: the place is free (after a hot removal) */
	struct vm *vm;
	void *state;
	struct pci_func *pci; /* of a PCI function */
	void *priv; /* what init() found that is no state: a backend */
	u32 unit;
	u32 place; /* virtio's transports: which window and line; where in configuration space VIRTIO_CAP_PCI_CFG is */
};

#define VDEV_REGISTER(t)                                                                           \
	static const struct vdev_type *const t##_entry __used __section(".vdevs") = &(t)

/* Fixed regions, from init(). -EEXIST: overlaps, -ENOSPC: table full. */
int vdev_add_pio(struct vdev *d, const struct vdev_pio *r);
int vdev_add_mmio(struct vdev *d, const struct vdev_mmio *r);
/* The guest's driver did what no driver may: one more in `stat`. */
void vdev_error(struct vdev *d);
/* Have type->work(d) called soon where the VM's vCPU 0 lives, as long as the VM runs. From any pCPU with any lock held,
 * other VMs' device locks among them: the one way to another VM's device. d is known to be there. */
void vdev_work(struct vdev *d);
/* From init(), before it fails: why the VM cannot be made, and the mend. */
void vdev_refuse(struct vdev *d, const char *fmt, ...) __format(2, 3);
/* Make one more device at run time, and take it away again: for PCI's hotplug, with the device lock held. -ENOSPC: the
 * VM has all that it may have; -ENOMEM; or what init() says. */
int vdev_create(struct vm *vm, const struct vdev_type *type, u32 unit, struct vdev **out);
void vdev_destroy(struct vdev *d);
/* The VM's regions and the functions on its PCI bus 0, for platform/pci*.c and virtio_mmio.c alone. */
struct region_table *vm_pio_regions(struct vm *vm);
struct region_table *vm_mmio_regions(struct vm *vm);
struct vdev **vm_pci_slots(struct vm *vm);
/* Fire type->timer(d, idx) when vm_time_ns() reaches deadline_ns; replaces an earlier deadline. */
void vdev_timer_set(struct vdev *d, unsigned idx, u64 deadline_ns);
/* The same, unless it is set for an earlier moment. */
void vdev_timer_sooner(struct vdev *d, unsigned idx, u64 deadline_ns);
void vdev_timer_stop(struct vdev *d, unsigned idx);

/* The guest's clock: nanoseconds since the VM was created; monotonic, stands still while it is paused. */
u64 vm_time_ns(struct vm *vm);
/* Wall clock in nanoseconds since 1970, for the RTC. */
u64 vm_wallclock_ns(struct vm *vm);

/* What a device may do to its machine. */
enum vm_end { VM_END_POWEROFF, VM_END_REBOOT, VM_END_DEBUG_EXIT, VM_END_KILLED,
	      /* By the monitor's words: gone, or started anew, whatever its file says. */
	      VM_END_DESTROY, VM_END_RESET };
/* The value of VM_END_REBOOT: who pulled the reset line, for the log. */
enum vm_reset_by { RESET_BY_CF9, RESET_BY_I8042, RESET_BY_PORT92, RESET_BY_TRIPLE_FAULT, RESET_BY_INIT };
/* End the guest's run at the next chance: on_poweroff / on_reboot decide what follows. value: of the debug
 * exit, or enum vm_reset_by. */
void vm_request_end(struct vm *vm, enum vm_end how, u32 value);
/* End this VM alone: reason and registers go to the log. */
void vm_kill(struct vm *vm, const char *fmt, ...) __format(2, 3);
/* The VM's RAM in bytes, for the CMOS. */
u64 vm_memory_bytes(const struct vm *vm);
u32 vm_vcpu_count(const struct vm *vm); /* all of them, plugged in or not: its maxvcpus */
/* vCPUs that come and go, for platform/cpu_hotplug.c: how many there are to be; whether one is there (any context); plug
 * it in, or take it out at once. */
u32 vm_vcpus_wanted(const struct vm *vm);
bool vm_vcpu_present(const struct vm *vm, u32 i);
void vm_vcpu_plug(struct vm *vm, u32 i, bool in);
u32 vm_vcpus_present(const struct vm *vm); /* how many are there */
/* debug_exit = 1, debugcon = 1, hpet = 1, rng = 1, disk = [...], vif = [...], testdev = N in the VM file. */
unsigned vm_testdevs(const struct vm *vm); /* bit n: unit n, as below */
bool vm_debug_exit_wanted(const struct vm *vm);
bool vm_debugcon_wanted(const struct vm *vm);
bool vm_hpet_wanted(const struct vm *vm);
bool vm_rng_wanted(const struct vm *vm);
/* Its disks and network cards: bit n for the n-th; of those that were taken out the place is empty. */
unsigned vm_disks(const struct vm *vm);
unsigned vm_cdroms(const struct vm *vm); /* CD-ROM drives, which vm_disks() leaves out */
unsigned vm_vifs(const struct vm *vm);
struct vm_disk *vm_disk(struct vm *vm, u32 i);
struct vm_vif *vm_vif(struct vm *vm, u32 i);
const struct vm_config *vm_config(const struct vm *vm);
bool vm_has_ended(const struct vm *vm); /* it is gone, or only there to be looked at */
const char *vm_name(const struct vm *vm);
u16 vm_id(const struct vm *vm); /* owner of its frames */
/* Its fw_cfg: strings "NAME=CONTENT" one behind the other; an empty one ends them. */
const char *vm_fw_cfg(const struct vm *vm);
/* balloon = 1, or maxmem above memory: */
bool vm_balloon_wanted(const struct vm *vm);
u64 vm_balloon_start(const struct vm *vm); /* pages that are to be in it at first: all above `memory` */
/*
 * For the balloon (backing.c), which gives blocks of 2 MiB back to the guests' pool: a page, of a block that goes with the last one;
 * or a block at once. 0; -EFAULT: not RAM; -EAGAIN: not before vm_release_flush() has been
 * answered. claim: the guest takes a page back. forget: the balloon is empty. Device lock held.
 */
int vm_release_page(struct vm *vm, gpa_t gpa);
int vm_claim_page(struct vm *vm, gpa_t gpa);
int vm_release_block(struct vm *vm, gpa_t gpa);
bool vm_release_waits(const struct vm *vm); /* for a flush */
void vm_release_forget(struct vm *vm);
/* A ticket: ops->released() will be called with this one or a later one when what was released so far has left all TLBs.
 * The driver must not be told before that it may use the pages again. */
u32 vm_release_flush(struct vm *vm);
/* The monitor's way to the balloon, and our own. Device lock held. */
#define BALLOON_STATS 10u
struct balloon_info {
	u32 target, actual; /* pages */
	bool driver;	    /* there is one in the guest */
	u16 known;	    /* bit n: stat[n] is */
	u64 stat[BALLOON_STATS]; /* virtio 1.2, 5.5.6.3 */
};
struct vm_balloon {
	struct vdev *d; /* NULL: there is none */
	const struct balloon_ops {
		void (*set)(struct vdev *d, u32 pages);
		void (*info)(struct vdev *d, struct balloon_info *i);
		void (*ask)(struct vdev *d); /* the guest for new statistics */
		void (*released)(struct vdev *d, u32 ticket);
	} *ops;
};
struct vm_balloon *vm_balloon(struct vm *vm);
/*
 * Ports of virtio's console: pv_console = 1 gives the VM port 0, a console like COM1; each `channel` is one more. Written
 * bytes go out as the console's (how many were taken: all, or none, as long as the host's port is busy); typed ones are
 * taken, up to n, or with n = 0 it is only said whether there are some. Device lock held.
 */
#define VM_MAX_PORTS 8u
unsigned vm_nr_ports(const struct vm *vm); /* 0: there is no such device */
const char *vm_port_name(const struct vm *vm, unsigned port); /* of port 0: "pv" */
u64 vm_port_write(struct vm *vm, unsigned port, const void *buf, u64 n);
size_t vm_port_typed(struct vm *vm, unsigned port, u8 *buf, size_t n);
struct port_device {
	struct vdev *d; /* NULL: there is none */
	const struct port_ops {
		void (*feed)(struct vdev *d, unsigned port); /* bytes have been typed */
		void (*resize)(struct vdev *d, u16 cols, u16 rows); /* of port 0 */
	} *ops;
};
struct port_device *vm_port_device(struct vm *vm);
/*
 * For what the host drives (drivers/host/). Between begin and end something of the host's is at work on this VM's memory or
 * devices: the DMA of a disk, or the interrupt that brings its end. So long the VM is not freed, started anew or rebuilt
 * from its bytes. Begin while the VM is known to be there: its device lock is held, or a lock that its device's end takes.
 */
void vm_dma_begin(struct vm *vm);
void vm_dma_end(struct vm *vm);
/* The lock that device callbacks run under; interrupts off, between begin and end. */
void vm_devices_lock(struct vm *vm);
void vm_devices_unlock(struct vm *vm);
/* This VM's instance of a device; NULL: the VM has none. Valid from the first init() on. */
struct vdev *vm_vdev(struct vm *vm, const struct vdev_type *type);

/* Console of the VM (COM1): bytes out; bytes in arrive through the uart's vm_console_input(). */
void vm_console_write(struct vm *vm, const void *buf, size_t n);
/* In rtc.c: CMOS byte 0Fh, which tells a BIOS after a reset of the CPU where to go on. */
u8 rtc_shutdown_code(struct vm *vm);
/* In uart.c: bytes typed; returns how many were taken (RX FIFO). Pull model: the core calls it again when vm_console_want_input() was called. */
size_t uart_input(struct vm *vm, const u8 *buf, size_t n);
void vm_console_want_input(struct vm *vm); /* uart.c calls it when its FIFO has room again */

/*
 * In i8042.c: what a person does, device lock held. key: its make code in scancode set 1, bit 7 for a prefix of E0;
 * a chord is pressed from its first key on and released from its last. dy grows upwards, dz downwards (towards the
 * person), as in PS/2 packets; buttons: left, right, middle, 4th, 5th from bit 0. false: the guest does not listen,
 * or its queue is full; then nothing was taken (of the mouse's motion, beyond 4,096 in one direction is lost).
 */
bool i8042_key(struct vm *vm, u8 key, bool down);
bool i8042_chord(struct vm *vm, const u8 *keys, unsigned n);
bool i8042_mouse(struct vm *vm, int dx, int dy, int dz, u8 buttons);
/* In input.c, the same by words: "ctrl-alt-delete"; "DX,DY[,DZ[,BUTTONS]]". NULL, or what is wrong. */
const char *i8042_sendkey(struct vm *vm, const char *chord);
const char *i8042_sendmouse(struct vm *vm, const char *how);

/* In cpu_hotplug.c, device lock held: vm_vcpus_wanted() has changed; a life of the VM begins. */
void cpu_hotplug_update(struct vm *vm);
void cpu_hotplug_begin(struct vm *vm);

/* In acpi_pm.c: somebody pressed the power button (the guest's ACPI driver shuts down). */
void acpi_power_button(struct vm *vm);
