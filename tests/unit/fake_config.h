/* SPDX-License-Identifier: BSD-2-Clause */
/* What the configuration parsers report, kept line by line and counted. */
#pragma once
#include "vmm/config.h"
#include "lib/string.h"

static char diags[65536];
static int errors, warnings;
static struct vm_config vm;
static struct host_config host;

static void report(void *arg, enum cfg_level level, const char *line)
{
	size_t n = strlen(diags);

	(void)arg;
	*(level == CFG_ERROR ? &errors : &warnings) += 1;
	snprintf(diags + n, sizeof(diags) - n, "%s\n", line);
}

static const struct cfg_diag diag = {.report = report};

#define BASE "name='a'\nmemory=64\nkernel='k'\n"
