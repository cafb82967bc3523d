/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/cfg.c vmm/config.c vmm/config_disk.c drivers/virtio/config_vsock.c drivers/net/config_vif.c drivers/net/config_rule.c vmm/config_cpus.c vmm/config_channel.c */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/fake_config.h"
#include "lib/errno.h"
#include "lib/log.h"

static int parse_vm(const char *text)
{
	int err;

	diags[0] = 0;
	errors = warnings = 0;
	memset(&vm, 0x5a, sizeof(vm));
	err = config_parse_vm("v.cfg", text, strlen(text), &vm, &diag);
	assert_int_equal(err, errors ? -EINVAL : 0);
	return err;
}

static void accepted(const char *more)
{
	char text[8192];

	snprintf(text, sizeof(text), BASE "%s", more);
	parse_vm(text);
	assert_string_equal(diags, "");
}

static void warned(const char *more, const char *want)
{
	char text[8192];

	snprintf(text, sizeof(text), BASE "%s", more);
	assert_int_equal(parse_vm(text), 0);
	assert_int_equal(warnings, 1);
	if (!strstr(diags, want))
		assert_string_equal(diags, want);
}

static void refused_text(const char *text, const char *want)
{
	assert_int_equal(parse_vm(text), -EINVAL);
	if (!strstr(diags, want))
		assert_string_equal(diags, want);
	assert_int_equal(errors, 1);
}

static void refused(const char *more, const char *want)
{
	char text[8192];

	snprintf(text, sizeof(text), BASE "%s", more);
	refused_text(text, want);
}

static void defaults(void **state)
{
	(void)state;
	accepted("");
	assert_string_equal(vm.file, "v.cfg");
	assert_string_equal(vm.name, "a");
	assert_string_equal(vm.kernel, "k");
	assert_string_equal(vm.ramdisk, "");
	assert_string_equal(vm.cmdline, "");
	assert_int_equal(vm.memory, 64);
	assert_int_equal(vm.maxmem, 64);
	assert_int_equal(vm.vcpus, 1);
	assert_int_equal(vm.type, VM_TYPE_AUTO);
	assert_int_equal(vm.nr_disks, 0);
	assert_int_equal(vm.on_poweroff, ACTION_DESTROY);
	assert_int_equal(vm.on_reboot, ACTION_RESTART);
	assert_int_equal(vm.on_crash, ACTION_DESTROY);
	assert_false(vm.debug_exit);
	assert_false(vm.debugcon);
	assert_string_equal(vm.fw_cfg, "");
	assert_true(vm.hpet);
	assert_int_equal(vm.testdev, 0);
	assert_int_equal(vm.virtio_transport, VIRTIO_ON_PCI);
	assert_true(vm.paravirt);
	assert_int_equal(vm.torture, 0);
	assert_int_equal(vm.tsc_khz, 0);
	assert_int_equal(vm.cpu_weight, 256);
	assert_int_equal(vm.cap, 0);
	assert_false(vm.dedicated);
	for (unsigned i = 0; i < ARRAY_SIZE(vm.cpus); i++)
		assert_int_equal(vm.cpus[i], ~0ull);
}

static void all_keys(void **state)
{
	(void)state;
	accepted("maxmem=64;vcpus=1;type='pvh';ramdisk='r';cmdline=\"a b\"\n"
		 "on_poweroff='restart'\non_reboot='rename-restart'\non_crash='preserve'\n"
		 "debug_exit=1\ndebugcon=1\nhpet=0\ntestdev=5\ntsc_khz=2400000\ntorture=9\nparavirt=0\ndisk=['a.img,raw,xvda,ro', 'b.img,,hdb']");
	assert_int_equal(vm.type, VM_TYPE_PVH);
	assert_string_equal(vm.ramdisk, "r");
	assert_string_equal(vm.cmdline, "a b");
	assert_int_equal(vm.on_poweroff, ACTION_RESTART);
	assert_int_equal(vm.on_reboot, ACTION_RENAME_RESTART);
	assert_int_equal(vm.on_crash, ACTION_PRESERVE);
	assert_true(vm.debug_exit);
	assert_true(vm.debugcon);
	assert_false(vm.hpet);
	assert_int_equal(vm.testdev, 5);
	assert_false(vm.paravirt);
	assert_int_equal(vm.torture, 9);
	assert_int_equal(vm.tsc_khz, 2400000);
	assert_int_equal(vm.nr_disks, 2);
	assert_true(vm.disks[0].readonly);
	assert_false(vm.disks[1].readonly);
	assert_string_equal(vm.disks[1].vdev, "hdb");
}

static void fw_cfg(void **state)
{
	char text[8192], *p = text;

	(void)state;
	accepted("fw_cfg=['opt/a/b=hello=x', 'opt/c=']");
	assert_memory_equal(vm.fw_cfg, "opt/a/b=hello=x\0opt/c=\0", 24); /* all of the literal */
	refused("fw_cfg='opt/a=b'", "fw_cfg is a list, this is a string");
	refused("fw_cfg=['etc/a=b']", "v.cfg:4:9: error: fw_cfg \"etc/a=b\": no name of opt/ and up to 51 characters");
	refused("fw_cfg=['opt/a']", "write \"opt/org.example/name=text\"");
	refused("fw_cfg=['opt/=a']", "no name of opt/");
	refused("fw_cfg=['opt/a=b', 'opt/b=c', 'opt/a=c']", "v.cfg:4:31: error: fw_cfg opt/a stands twice");
	accepted("fw_cfg=['opt/ab=b', 'opt/a=c']");
	accepted("fw_cfg=['opt/a23456789012345678901234567890123456789012345678901=']");
	refused("fw_cfg=['opt/a234567890123456789012345678901234567890123456789012=']", "up to 51 characters");
	for (int last = 1021; last <= 1022; last++) { /* with two ends 1,024, and one more */
		p = text + snprintf(text, sizeof(text), "fw_cfg=['opt/a=");
		memset(p, 'x', (size_t)last - 6 + 1);
		p[last - 6 + 1] = 0;
		strcat(p, "']");
		if (last == 1021)
			accepted(text);
		else
			refused(text, "more than 1022 bytes in all");
	}
	p = text + snprintf(text, sizeof(text), "fw_cfg=[");
	for (int i = 0; i < 17; i++)
		p += snprintf(p, 40, "'opt/%c=',", 'a' + i);
	strcat(p, "]");
	refused(text, "17 items in fw_cfg; at most 16");
}

static void missing(void **state)
{
	(void)state;
	assert_int_equal(parse_vm(""), -EINVAL);
	assert_string_equal(diags, "v.cfg:1:1: error: no name; add a line name = \"NAME\"\n"
				   "v.cfg:1:1: error: no kernel; add a line kernel = \"FILE\"\n"
				   "v.cfg:1:1: error: no memory; add a line memory = 256 (MiB)\n");
	refused_text("name='a'\nmemory=64\n", "no kernel; add a line");
	/* A line that could not be read is not also missing. */
	refused_text("name='a'\nmemory=64\nkernel=k\n", "v.cfg:3:8: error: 'k' stands without");
	refused_text("name='a'\nmemory=64\nkernel=5\n",
		     "v.cfg:3:8: error: kernel is a string, this "
		     "is a number");
	parse_vm("name='a'\nkernel='k'\nmaxmem=64");
	assert_int_equal(vm.memory, 64);
}

static void values(void **state)
{
	(void)state;
	accepted("vcpus='1'");
	accepted("vcpus=64;maxvcpus=64");
	assert_int_equal(vm.vcpus, 64);
	refused("vcpus=65", "v.cfg:4:7: error: vcpus = 65 is out of range; 1 to 64");
	refused("vcpus=0", "vcpus = 0 is out of range; 1 to");
	refused("vcpus=2;maxvcpus=1", "v.cfg:4:9: error: maxvcpus = 1 is less than vcpus = 2");
	refused("maxvcpus=65", "maxvcpus = 65 is out of range; 1 to 64");
	accepted("vcpus=2\nmaxvcpus=4");
	assert_true(vm.vcpus == 2 && vm.maxvcpus == 4);
	accepted("maxvcpus=4");
	assert_true(vm.vcpus == 1 && vm.maxvcpus == 4);
	accepted("vcpus=3");
	assert_int_equal(vm.maxvcpus, 3);
	refused("vcpus='x'", "vcpus is a number, this is the string \"x\"; write vcpus = 1, say");
	refused("vcpus=[1]", "vcpus is a number, this is a list");
	refused("maxmem=32", "v.cfg:4:1: error: maxmem = 32 is less");
	refused("tsc_khz=999", "tsc_khz = 999 is out of range; 1000 to 100000000 kHz");
	refused("torture=[]", "torture is a number, this is a list; write torture = 0");
	refused("testdev=9", "testdev = 9 is out of range; 0 to 8");
	refused("debug_exit=2", "debug_exit = 2 is out of range; 0 to 1");
	refused("memory=64", "v.cfg:4:1: error: 'memory' is already set in line 2; remove one");
	refused("type='pv'", "type \"pv\": paravirtual guests are Xen's own; write \"hvm\" or");
	accepted("virtio_transport='pci'");
	assert_int_equal(vm.virtio_transport, VIRTIO_ON_PCI);
	accepted("virtio_transport='pci-transitional'");
	assert_int_equal(vm.virtio_transport, VIRTIO_ON_PCI_TRANSITIONAL);
	accepted("virtio_transport='mmio'");
	assert_int_equal(vm.virtio_transport, VIRTIO_ON_MMIO);
	refused("virtio_transport='ccw'", "virtio_transport \"ccw\"; write \"pci\", \"pci-transitional\" or \"mmio\"");
	refused("type='x'", "type \"x\"; write \"hvm\" or \"pvh\"");
	refused("ramdisk=''", "ramdisk is empty; write ramdisk = \"FILE\" or leave");
	refused("cmdline='a\\nb'", "cmdline holds the control character 0x0a");
	refused("on_crash='coredump-restart'",
		"is known to xl but not supported; write \"destroy\"");
	refused("on_crash='x'", "on_crash = \"x\" is no action of xl; write");
	refused_text("name='a'\nkernel='k'\nmemory=15",
		     "memory = 15 is out of range; 16 to 4194304 MiB");
	refused_text("name='a b'\nkernel='k'\nmemory=16", "name \"a b\" holds ' '; write letters");
	refused_text("name=''\nkernel='k'\nmemory=16", "name is empty");
	refused_text("name='1234567890123456789012345678901234567890123456789012345678901234'\n"
		     "kernel='k'\nmemory=16",
		     "name of 64 bytes; at most 63");
}

static void keys(void **state)
{
	(void)state;
	warned("vnc=1", "v.cfg:4:1: warning: 'vnc' is known to xl, not used by Dalang");
	warned("vfb=['vnc=1']", "'vfb' is known to xl");
	warned("on_soft_reset='destroy'", "'on_soft_reset' is known to xl");
	accepted("pv_console=1\nchannel=['name=org.a,connection=pty', 'connection=socket,name=b']");
	assert_int_equal(vm.nr_channels, 2);
	assert_string_equal(vm.channels[0], "org.a");
	assert_string_equal(vm.channels[1], "b");
	refused("channel=['name=b','name=b']", "channel b stands twice");
	refused("channel=['connection=pty']", "channel name \"\": write letters");
	refused("channel=['name=pv']", "and not pv or serial");
	refused("channel=['nam=x']", "channel \"nam=x\": write 'name=NAME,connection=pty'");
	accepted("vsock=['']");
	assert_true(vm.vsock.wanted && !vm.vsock.monitor && !vm.vsock.cid && !vm.vsock.peers[0]);
	accepted("vsock=[' cid=4294967294 , peers=web.1  db ,monitor=1,']");
	assert_true(vm.vsock.monitor && vm.vsock.cid == 4294967294u);
	assert_string_equal(vm.vsock.peers, "web.1  db");
	accepted("vsock=['peers=*,monitor=0']");
	assert_string_equal(vm.vsock.peers, "*");
	refused("vsock=['cid=2']", "vsock: cid=2; write 3 to 4294967294");
	refused("vsock=['cid=4294967295']", "vsock: cid=4294967295; write 3 to");
	refused("vsock=['cid=']", "vsock: cid=; write 3 to");
	refused("vsock=['cid=5x']", "vsock: cid=5x; write 3 to");
	refused("vsock=['monitor=2']", "vsock: monitor=2; write 0 or 1");
	refused("vsock=['monitor']", "vsock: monitor=; write 0 or 1");
	refused("vsock=['peers=a/b c']", "vsock: peers: \"a/b\" is no VM's name");
	refused("vsock=['peers=a ****']", "vsock: peers: \"****\" is no VM's name");
	refused("vsock=['peers=1234567890123456789012345678901234567890123456789012345678901234']", "is no VM's name");
	refused("vsock=['peers=1234567890123456789012345678901234567890 1234567890123456789012345678901234567890 "
		"1234567890123456789012345678901234567890 1234567890123456789012345678901234567890 123456789012345678901234567890']",
		"vsock: peers= of 194 bytes; at most 191, or write peers=*");
	refused("vsock=['cid=3,cid=4']", "vsock: cid is given twice");
	refused("vsock=['port=4']", "vsock: unknown parameter 'port'; known are cid=, peers=, monitor=");
	refused("vsock=['','']", "2 items in vsock; at most 1");
	refused("vsock=1", "vsock is a list");
	refused("maxmem=128\nballoon=0", "v.cfg:4:1: error: maxmem = 128 beside balloon = 0");
	parse_vm("name='a'\nkernel='k'\nmemory=64\nmaxmem=128");
	assert_true(vm.balloon);
	parse_vm("name='a'\nkernel='k'\nmemory=64");
	assert_false(vm.balloon);
	refused("kernal='x'", "v.cfg:4:1: error: unknown key 'kernal'; did you mean 'kernel'?");
	refused("Memory=3", "did you mean 'memory'?");
	refused("nestedhvn=3", "did you mean 'nestedhvm'?");
	refused("qwertyuiop=3", "unknown key 'qwertyuiop'; remove the line");
}

static void cmdline(void **state)
{
	(void)state;
	accepted("root='/dev/vda'\nextra='ro quiet'");
	assert_string_equal(vm.cmdline, "root=/dev/vda ro quiet");
	accepted("root='/dev/vda'");
	assert_string_equal(vm.cmdline, "root=/dev/vda");
	accepted("extra='ro'");
	assert_string_equal(vm.cmdline, "ro");
	accepted(""); /* nothing is left of the file before */
	assert_string_equal(vm.cmdline, "");
	warned("extra='ro'\ncmdline='x'", "v.cfg:4:1: warning: root and extra are ignored");
	assert_string_equal(vm.cmdline, "x");
}

static void disks(void **state)
{
	(void)state;
	accepted("disk=['format=raw, vdev=xvdc, access=r, devtype=cdrom, target=a,b=c.iso']");
	assert_string_equal(vm.disks[0].target, "a,b=c.iso");
	assert_string_equal(vm.disks[0].vdev, "xvdc");
	assert_true(vm.disks[0].cdrom && vm.disks[0].readonly);
	accepted("disk=[' a b.img , raw , xvda , w ']");
	assert_string_equal(vm.disks[0].target, "a b.img");
	assert_false(vm.disks[0].readonly);
	accepted("disk=['a.iso,,hdc:cdrom']");
	assert_true(vm.disks[0].cdrom && vm.disks[0].sector == 2048);
	accepted("disk=['vdev=hdc,devtype=cdrom,target=',',,hdd,cdrom','a,raw,xvda']");
	assert_true(vm.disks[0].cdrom && vm.disks[1].cdrom && !vm.disks[0].target[0] && !vm.disks[1].target[0]);
	assert_string_equal(vm.disks[2].target, "a");
	refused("disk=['a.iso,,hdc,cdrom,iops=5']", "a CD-ROM has neither iops, bps nor sector; leave them out");
	refused("disk=['vdev=hdc,target=']", "disk without a file");
	refused("disk=[',,hdd,cdrom','a,raw,hdd']", "device name hdd is taken by \"\"; write another");
	warned("disk=['a,raw,xvda,rw,discard']", "disk parameter 'discard' is known to xl");
	refused("disk='a'", "disk is a list, this is a string; write disk = [ \"...\" ]");
	refused("disk=[3]", "disk is a string, this is a number");
	refused("disk=['a,qcow2,xvda']",
		"format qcow2; Dalang reads raw images: qemu-img convert -O raw a NEW");
	refused("disk=['a,xyz,xvda']", "unknown format 'xyz'; write raw");
	refused("disk=['a']", "disk without a device name; write vdev=xvda");
	refused("disk=[',raw,xvda']", "disk without a file");
	refused("disk=['a,raw,xvda1']", "device name 'xvda1'");
	refused("disk=['a,raw,xvda,x']", "access 'x'; write rw or ro");
	refused("disk=['a,raw,xvda,rw,x']", "'x' is one too many");
	refused("disk=['a,raw,xvda,vdev=xvdb']", "vdev is given twice");
	refused("disk=['a,foo=1,raw,xvda']", "unknown parameter 'foo'; known are target=");
	refused("disk=['file:a,raw,xvda']", "old prefix 'file:'; write the file's name alone");
	refused("disk=['a,,xvda','b,,xvda']",
		"v.cfg:4:17: error: disk: device name xvda is taken by \"a\"");
	refused("disk=['a,,xvda','a,,xvdb','a,,xvdc','a,,xvdd','a,,xvde','a,,xvdf','a,,xvdg',"
		"'a,,xvdh','a,,xvdi']",
		"9 items in disk; at most 8");
}

static void cpus_are(const char *more, u64 low, u64 second)
{
	accepted(more);
	assert_int_equal(vm.cpus[0], low);
	assert_int_equal(vm.cpus[1], second);
}

static void scheduling(void **state)
{
	(void)state;
	accepted("cpu_weight=65535;cap=6400");
	assert_int_equal(vm.cpu_weight, 65535);
	assert_int_equal(vm.cap, 6400);
	accepted("dedicated=1;cap=0;cpus='1-2'");
	assert_true(vm.dedicated);
	refused("cpu_weight=0", "cpu_weight = 0 is out of range; 1 to 65535");
	refused("cpu_weight=65536", "cpu_weight = 65536 is out of range");
	refused("cap=6401", "cap = 6401 is out of range; 0 to 6400 per cent of one CPU, 0 for none");
	refused("dedicated=1\ncap=50", "v.cfg:5:1: error: cap = 50 beside dedicated = 1");
	cpus_are("cpus='2-3'", 0xc, 0);
	cpus_are("cpus='0-3,5,^1'", 0x2d, 0);
	cpus_are("cpus=' 1 , 3-3 '", 0xa, 0);
	cpus_are("cpus='63-64'", 1ull << 63, 1);
	cpus_are("cpus='all,^0-62'", 1ull << 63, ~0ull);
	cpus_are("cpus='all,^all,1023'", 0, 0);
	assert_int_equal(vm.cpus[15], 1ull << 63);
	cpus_are("cpus='^1,1'", 2, 0);
	refused("cpus='1,^1'", "v.cfg:4:6: error: cpus \"1,^1\": no CPU is left; write \"2-3\"");
	refused("cpus=''", "cpus \"\": a CPU's number, a range or \"all\" is missing; write");
	refused("cpus='1,'", "is missing");
	refused("cpus='1-'", "a range has no end");
	refused("cpus='3-2'", "a range runs backwards");
	refused("cpus='1024'", "the number is too large");
	refused("cpus='0-99999999999999999999'", "the number is too large");
	refused("cpus='1 2'", "separated by commas");
	refused("cpus='alls'", "separated by commas");
	refused("cpus='nodes:1'", "nodes are not known here, name their CPUs");
	refused("cpus=['2','3']", "v.cfg:4:6: error: cpus as a list: vCPUs are not pinned one by one");
	refused("cpus=2", "cpus is a string, this is a number");
}

static int parse_host(const char *text)
{
	diags[0] = 0;
	errors = warnings = 0;
	return config_parse_host("d.cfg", text, strlen(text), &host, &diag);
}

static void hosts(void **state)
{
	(void)state;
	assert_int_equal(parse_host("vms=['a.cfg','b.cfg']\nfiles=['x.img']\nexit_when_empty=1\nloglevel='debug'"),
			 0);
	assert_string_equal(diags, "");
	assert_int_equal(host.nr_vms, 2);
	assert_string_equal(host.vms[1], "b.cfg");
	assert_true(host.exit_when_empty);
	assert_int_equal(host.loglevel, LOG_DEBUG);
	assert_int_equal(parse_host(""), 0);
	assert_int_equal(warnings, 1);
	assert_int_equal(host.loglevel, LOG_INFO);
	assert_int_equal(parse_host("vms=['a','a']"), -EINVAL);
	assert_non_null(strstr(diags, "d.cfg:1:10: error: VM file \"a\" stands twice"));
	assert_int_equal(parse_host("vms=['a']\nvnc=1"), -EINVAL); /* no xl key here */
	assert_non_null(strstr(diags, "unknown key 'vnc'"));
	assert_int_equal(parse_host("vms='a'\nloglevel='loud'"), -EINVAL);
	assert_int_equal(errors, 2);
	assert_int_equal(parse_host("vms=['']"), -EINVAL);
	assert_int_equal(parse_host("vms=['a']\nfiles=['']"), -EINVAL);
	assert_non_null(strstr(diags, "files: an empty name"));
	assert_int_equal(parse_host("vms=['a']\nfiles='x'"), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults), cmocka_unit_test(all_keys), cmocka_unit_test(missing), cmocka_unit_test(fw_cfg),
		cmocka_unit_test(values),   cmocka_unit_test(keys),     cmocka_unit_test(cmdline),
		cmocka_unit_test(disks),    cmocka_unit_test(hosts),    cmocka_unit_test(scheduling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
