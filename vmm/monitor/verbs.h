/* SPDX-License-Identifier: BSD-2-Clause */
/* The verbs' functions, for the table in verbs.c, and what they share; private to vmm/monitor/. */
#pragma once
#include "vmm/monitor/monitor.h"

/* Returns MON_FAILED; fmt says why, without the verb's name. */
enum mon_status mon_fail(struct mon_call *c, const char *fmt, ...) __format(2, 3);
static inline const char *mon_opt(const struct mon_call *c, char letter)
{
	return c->opt[letter - 'a'];
}
/* A decimal number, at most max. */
bool mon_number(const char *s, u64 max, u64 *out);
/* vm_list_lock is held. By name or id; NULL: there is none. */
struct vm *mon_vm(const char *name);
/* The one whose id follows; NULL: there is none. */
struct vm *mon_vm_after(u32 id);
/* xl's six letters. */
const char *mon_state(const struct vm *vm);
u64 mon_vm_memory(struct vm *vm); /* bytes that its balloon leaves it */
u64 mon_vm_ran(const struct vm *vm); /* ticks that its vCPUs have run */

#define MON_TABLE(o, key, cols, style) mon_table(o, key, cols, ARRAY_SIZE(cols), style)

/* verb_vm.c */
void list_begin(struct mon_call *c);
enum mon_status verb_list(struct mon_call *c);
enum mon_status verb_create(struct mon_call *c);
enum mon_status verb_destroy(struct mon_call *c);
enum mon_status verb_shutdown(struct mon_call *c);
enum mon_status verb_reboot(struct mon_call *c);
enum mon_status verb_reset(struct mon_call *c);
enum mon_status verb_pause(struct mon_call *c);
enum mon_status verb_unpause(struct mon_call *c);
enum mon_status verb_rename(struct mon_call *c);
enum mon_status verb_trigger(struct mon_call *c);
enum mon_status verb_sendkey(struct mon_call *c);
enum mon_status verb_pci_attach(struct mon_call *c);
enum mon_status verb_pci_detach(struct mon_call *c);
enum mon_status verb_sendmouse(struct mon_call *c);
enum mon_status verb_regions(struct mon_call *c);
enum mon_status verb_console(struct mon_call *c);
enum mon_status verb_console_size(struct mon_call *c);
enum mon_status verb_mem_set(struct mon_call *c);
enum mon_status verb_torture(struct mon_call *c);
/* verb_host.c */
enum mon_status verb_help(struct mon_call *c);
void mem_begin(struct mon_call *c);
enum mon_status verb_mem(struct mon_call *c);
enum mon_status verb_info(struct mon_call *c);
void dmesg_begin(struct mon_call *c);
enum mon_status verb_dmesg(struct mon_call *c);
/* verb_sched.c */
void uptime_begin(struct mon_call *c);
enum mon_status verb_uptime(struct mon_call *c);
void top_begin(struct mon_call *c);
enum mon_status verb_top(struct mon_call *c);
void vcpu_list_begin(struct mon_call *c);
enum mon_status verb_vcpu_list(struct mon_call *c);
enum mon_status verb_vcpu_pin(struct mon_call *c);
enum mon_status verb_vcpu_set(struct mon_call *c);
void sched_begin(struct mon_call *c);
enum mon_status verb_sched(struct mon_call *c);
/* verb_stat.c */
enum mon_status verb_stat(struct mon_call *c);
void vsock_fields(struct mon_call *c); /* drivers/virtio/verb_vsock.c */
/* drivers/hotplug.c */
enum mon_status verb_block_attach(struct mon_call *c);
enum mon_status verb_block_detach(struct mon_call *c);
void block_list_begin(struct mon_call *c);
enum mon_status verb_block_list(struct mon_call *c);
/* drivers/net/verb_plug.c */
enum mon_status verb_network_attach(struct mon_call *c);
enum mon_status verb_network_detach(struct mon_call *c);
/* drivers/verb_block.c */
enum mon_status verb_block_resize(struct mon_call *c);
/* drivers/verb_cd.c */
enum mon_status verb_cd_insert(struct mon_call *c);
enum mon_status verb_cd_eject(struct mon_call *c);
/* drivers/net/verb_net.c */
void network_list_begin(struct mon_call *c);
enum mon_status verb_network_list(struct mon_call *c);
enum mon_status verb_network_link(struct mon_call *c);
enum mon_status verb_firewall(struct mon_call *c);
enum mon_status verb_mirror(struct mon_call *c);
/* verb_trace.c */
enum mon_status verb_trace(struct mon_call *c);
