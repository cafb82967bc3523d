/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/cfg.c vmm/config.c vmm/config_channel.c vmm/config_disk.c */
/*
 * dalang-cfg vm|host FILE: check a configuration file on the build machine with the hypervisor's
 * own parser, and print what other tools need of it as NAME=VALUE lines (values hold no line
 * ends). Exit status 0, or 64 with the reasons on stderr.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "vmm/config.h"

#define EXIT_REFUSED  64
#define FILE_SIZE_MAX (1u << 20)

static void to_stderr(void *arg, enum cfg_level level, const char *line)
{
	(void)arg;
	(void)level;
	fprintf(stderr, "%s\n", line);
}

static int print_vm(const struct vm_config *vm)
{
	printf("name=%s\nmemory=%llu\nvcpus=%u\nkernel=%s\n", vm->name,
	       (unsigned long long)vm->memory, vm->vcpus, vm->kernel);
	if (vm->ramdisk[0])
		printf("ramdisk=%s\n", vm->ramdisk);
	for (u32 i = 0; i < vm->nr_disks; i++)
		printf("disk=%s\n", vm->disks[i].target);
	for (u32 i = 0; i < vm->nr_vifs; i++)
		if (vm->vifs[i].mirror)
			printf("mirror=%u\n", i);
	return 0;
}

static int print_host(const struct host_config *h)
{
	for (u32 i = 0; i < h->nr_vms; i++)
		printf("vm=%s\n", h->vms[i]);
	printf("exit_when_empty=%d\nloglevel=%d\n", h->exit_when_empty, h->loglevel);
	return 0;
}

/* The whole file, or NULL after a message. */
static char *read_file(const char *name, size_t *n)
{
	FILE *f = fopen(name, "rb");
	char *text = malloc(FILE_SIZE_MAX + 1);

	if (!f || !text) {
		perror(name);
	} else {
		*n = fread(text, 1, FILE_SIZE_MAX + 1, f);
		if (ferror(f))
			perror(name);
		else if (*n > FILE_SIZE_MAX)
			fprintf(stderr, "%s: larger than 1 MiB; is this a configuration file?\n",
				name);
		else
			goto out;
	}
	free(text);
	text = NULL;
out:
	if (f)
		fclose(f);
	return text;
}

int main(int argc, char **argv)
{
	static struct vm_config vm;
	static struct host_config host;
	const struct cfg_diag diag = {.report = to_stderr};
	bool is_vm = argc == 3 && !strcmp(argv[1], "vm");
	char *text;
	size_t n;
	int err;

	if (!is_vm && (argc != 3 || strcmp(argv[1], "host"))) {
		fprintf(stderr, "usage: dalang-cfg vm|host FILE\n");
		return EXIT_REFUSED;
	}
	text = read_file(argv[2], &n);
	if (!text)
		return EXIT_REFUSED;
	err = is_vm ? config_parse_vm(argv[2], text, n, &vm, &diag)
		    : config_parse_host(argv[2], text, n, &host, &diag);
	free(text);
	if (err)
		return EXIT_REFUSED;
	return is_vm ? print_vm(&vm) : print_host(&host);
}
