/* SPDX-License-Identifier: BSD-2-Clause */
/* Which files does a configuration name? Pure. */
#pragma once
#include "lib/cfg.h"

/*
 * Call fn with each file name in a text of xl.cfg's syntax: of dalang.cfg its `vms`, or its `files`, of a VM file
 * its `kernel`, `ramdisk` and the targets of `disk`. Only names are looked for; what is wrong with
 * the file the hypervisor tells, which reads it again.
 */
typedef void (*name_fn)(void *arg, const char *name);
void names_of_host(const char *text, size_t n, struct cfg_space *sp, name_fn fn, void *arg);
void names_of_files(const char *text, size_t n, struct cfg_space *sp, name_fn fn, void *arg);
void names_of_vm(const char *text, size_t n, struct cfg_space *sp, name_fn fn, void *arg);

#define NAME_MAX_LEN 127 /* longer names are passed on cut, which no file's name will match */
