/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: boot/uefi/names.c lib/cfg.c lib/string.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "boot/uefi/names.h"
#include "lib/string.h"

static struct cfg_space space;
static char seen[1024];

static void note(void *arg, const char *name)
{
	(void)arg;
	strcat(seen, name);
	strcat(seen, "|");
}

static void check(void (*names)(const char *, size_t, struct cfg_space *, name_fn, void *),
		  const char *text, const char *want)
{
	seen[0] = 0;
	names(text, strlen(text), &space, note, NULL);
	assert_string_equal(seen, want);
}

static void host(void **state)
{
	(void)state;
	check(names_of_host, "vms = [ 'a.cfg', \"b/c.cfg\" ]\nkernel='no'\n", "a.cfg|b/c.cfg|");
	check(names_of_host, "vms = []", "");
	check(names_of_files, "vms = [ 'a.cfg' ]\nfiles = [ 'spare.img', 'b.iso' ]\n", "spare.img|b.iso|");
	check(names_of_host, "vms = [ 'a.cfg' ]\nfiles = [ 'spare.img', 'b.iso' ]\n", "a.cfg|");
	check(names_of_host, "vms = [ '' ]", "");
}

static void vm(void **state)
{
	(void)state;
	check(names_of_vm, "name='x'\nkernel = 'k'\nramdisk='r'\nmemory=5\n", "k|r|");
	check(names_of_vm, "disk = [ 'd.img,raw,xvda,rw', ' sp.img , raw', 'alone' ]",
	      "d.img|sp.img|alone|");
	check(names_of_vm, "disk = [ 'vdev=xvda,target=a,b=c.img' ]", "a,b=c.img|");
	check(names_of_vm, "disk = [ 'ram:a.img', 'cow:ram:b.img,,xvdb', 'vdev=xvdc,target=cow:c.img' ]", "a.img|b.img|c.img|");
	check(names_of_vm, "disk = [ 'host:vbd0,,xvda', 'vdev=xvdb,target=cow:host:data' ]", "");
	check(names_of_vm, "disk = [ 'vdev=xvda,access=rw,late.img', 'format=raw' ]", "late.img|");
	check(names_of_vm, "disk = [ '', ',', 'vdev=x,', ',raw', 'cdrom,vdev=hdc,target=cd.iso', 'vdev=hdd,devtype=cdrom,target=' ]",
	      "cd.iso|");
	/* Mistakes elsewhere in the file hide nothing. */
	check(names_of_vm, "bad line here\nkernel = 'k'\n", "k|");
}

static void long_names_are_cut(void **state)
{
	char text[400] = "kernel='", want[200];

	(void)state;
	memset(text + 8, 'k', 300);
	strcpy(text + 308, "'\n");
	memset(want, 'k', NAME_MAX_LEN);
	strcpy(want + NAME_MAX_LEN, "|");
	check(names_of_vm, text, want);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(host),
		cmocka_unit_test(vm),
		cmocka_unit_test(long_names_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
