/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/cfg.c vmm/config.c vmm/config_disk.c drivers/virtio/config_vsock.c drivers/net/config_vif.c drivers/net/config_rule.c vmm/config_cpus.c vmm/config_channel.c */
/* VM files and dalang.cfg: what is accepted keeps the promises of vmm/config.h. */
#include <stdlib.h>
#include <string.h>
#include "vmm/config.h"

static unsigned errors;

static void report(void *arg, enum cfg_level level, const char *line)
{
	(void)arg;
	(void)line;
	errors += level == CFG_ERROR;
}

static void check_vm(const struct vm_config *vm)
{
	uint64_t cpus = 0;

	if (!vm->name[0] || !vm->kernel[0] || vm->memory < 16 || vm->maxmem < vm->memory ||
	    vm->vcpus != 1 || vm->nr_disks > VM_MAX_DISKS || !vm->cpu_weight || vm->cpu_weight > 65535 ||
	    vm->cap > 6400 || (vm->cap && vm->dedicated))
		abort();
	for (u32 i = 0; i < VM_CPUS_MAX / 64; i++)
		cpus |= vm->cpus[i];
	if (!cpus)
		abort();
	for (u32 i = 0; i < vm->nr_disks; i++)
		if (!vm->disks[i].target[0] || !vm->disks[i].vdev[0])
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vm_config vm;
	static struct host_config host;
	const struct cfg_diag diag = {.report = report};
	int err;

	errors = 0;
	err = config_parse_vm("v", (const char *)data, size, &vm, &diag);
	if (!err != !errors)
		abort();
	if (!err)
		check_vm(&vm);
	errors = 0;
	err = config_parse_host("h", (const char *)data, size, &host, &diag);
	if (!err != !errors || host.nr_vms > HOST_MAX_VMS)
		abort();
	return 0;
}
