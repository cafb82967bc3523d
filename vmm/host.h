/* SPDX-License-Identifier: BSD-2-Clause */
/* The host as a whole: what it was started with and when it ends. main.c */
#pragma once
#include "boot/boot_info.h"
#include "vmm/config.h"

struct vm;

/* What the host drives for itself (drivers/host/): started on the boot CPU when dalang.cfg is read, before any VM. */
typedef void (*host_driver_t)(void);
#define HOST_DRIVER(fn) static const host_driver_t fn##_entry __used __section(".host_drivers") = fn

#define DALANG_VERSION "0.1"

const struct boot_info *host_boot_info(void);
const struct host_config *host_config(void); /* dalang.cfg */
/* Where the host's i-th network card is plugged in; NULL: nowhere. */
const struct vm_vif *host_uplink(u32 i);
/* A guest is about to run its first instruction: logs how long that took, once. */
void host_note_first_entry(void);
/* A VM or the host cannot start: one line to the log and one event. */
void host_refuse(const char *line);
/* Create and start the VM of that name in the VM files that were read at start. 0 or -errno, `why` says it. The
 * boot CPU, in a work. */
int host_create_vm(const char *name, char *why, size_t n);
/* The name of the VM of the i-th of these files; NULL: there are no more. */
const char *host_vm_file_name(u32 i);
/* A VM has been created; one has ended: after the last one, do what dalang.cfg says. Any pCPU. */
void host_vm_started(void);
void host_vm_ended(void);
