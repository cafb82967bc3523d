/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/monitor/monitor.c vmm/monitor/out.c vmm/monitor/serial.c vmm/monitor/verbs.c vmm/monitor/verb_host.c vmm/monitor/verb_vm.c vmm/monitor/verb_sched.c vmm/monitor/verb_stat.c vmm/monitor/verb_trace.c vmm/trace.c vmm/config.c vmm/config_cpus.c vmm/config_disk.c drivers/virtio/config_vsock.c drivers/net/config_vif.c drivers/net/config_rule.c drivers/net/verb_net.c drivers/net/verb_plug.c drivers/virtio/verb_vsock.c drivers/hotplug.c drivers/verb_block.c drivers/verb_cd.c lib/cfg.c lib/string.c vmm/config_channel.c */
/* The monitor's lines: what each verb reaches, how its answer looks in text and in JSON, and what is said to those
 * that are wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>
#include "tests/unit/fake_monitor.h"
#include "tests/unit/json_check.h"

static char out[262144];
static struct sched_work *work;
static struct timer *waits;
static size_t space = 65536;

void console_write(u32 channel, const void *buf, size_t n)
{
	assert_int_equal(channel, CHANNEL_MONITOR);
	assert_true(strlen(out) + n < sizeof(out));
	strncat(out, buf, n);
}
size_t serial_space(void) { return space; }
void timer_init(struct timer *t, void (*fn)(struct timer *t)) { t->fn = fn; }
void timer_set(struct timer *t, u64 tsc)
{
	(void)tsc;
	waits = t;
}
void sched_do(struct sched_work *w) { work = w; }

static int setup(void **state)
{
	(void)state;
	fake_setup();
	monitor_init();
	space = 65536;
	return 0;
}

static void serve(void)
{
	while (work) {
		struct sched_work *w = work;

		work = NULL;
		if (!w->fn(w))
			work = w;
	}
}

/* Type a line; returns what is answered. */
static const char *line(const char *text)
{
	out[0] = did[0] = 0;
	for (const char *p = text; *p; p++)
		monitor_input((u8)*p);
	monitor_input('\r');
	serve();
	return out;
}

static const char *last_line(void)
{
	char *end = strstr(out, "\r\nok\r\n");

	assert_non_null(end);
	end[2] = 0;
	return out;
}

static void verbs(void **state)
{
	(void)state;
	assert_string_equal(line("pause b"), "ok\r\n");
	assert_string_equal(did, "stop b 2");
	assert_string_equal(line("  unpause\t a "), "ok\r\n");
	assert_string_equal(did, "unpause a");
	line("destroy 2");
	assert_string_equal(did, "end b 4 0");
	line("reset a");
	assert_string_equal(did, "end a 5 0");
	line("reboot b");
	assert_string_equal(did, "button b 1");
	line("shutdown b");
	assert_string_equal(did, "button b 0");
	assert_string_equal(line("trigger b nmi"), "ok\r\n");
	assert_string_equal(did, "nmi b");
	assert_string_equal(line("pci-attach a testdev"), "Slot\r\n   4\r\nok\r\n");
	assert_string_equal(did, "plug a 100");
	assert_string_equal(line("pci-detach b 12"), "ok\r\n");
	assert_string_equal(did, "unplug b 12");
	assert_string_equal(line("sendkey a ctrl-c"), "ok\r\n");
	assert_string_equal(did, "keys a ctrl-c");
	assert_non_null(strstr(line("sendkey a nokey"), "no such key"));
	assert_string_equal(line("sendmouse b 5,-3"), "ok\r\n");
	assert_string_equal(did, "mouse b 5,-3");
	assert_non_null(strstr(line("regions a"), "port               60-60 i8042"));
	assert_string_equal(line("create c"), "ok\r\n");
	assert_string_equal(did, "create c");
	assert_string_equal(line("rename a x.Y-1"), "ok\r\n");
	assert_string_equal(did, "vm-rename a x.Y-1");
	assert_string_equal(vms[0].name, "x.Y-1");
	assert_string_equal(vms[0].cfg.name, "x.Y-1");
	assert_string_equal(line("sched -d b -w 512 -c 50"), "ok\r\n");
	assert_string_equal(did, "stop b 8");
	assert_true(vms[1].cfg.cpu_weight == 512 && vms[1].cfg.cap == 50);
	assert_string_equal(line("torture b 77"), "ok\r\n");
	assert_int_equal(vms[1].cfg.torture, 77);
	assert_string_equal(line("torture b off"), "ok\r\n");
	assert_int_equal(vms[1].cfg.torture, 0);
	assert_string_equal(line("vcpu-pin b 1 1"), "ok\r\n");
	assert_true(vcpus[1][0].sched.cpus[0] == ~0ul && vcpus[1][1].sched.cpus[0] == 2);
	assert_string_equal(line("vcpu-pin b all 0,^1"), "ok\r\n");
	assert_true(vcpus[1][0].sched.cpus[0] == 1 && vcpus[1][1].sched.cpus[0] == 1);
	assert_string_equal(line("vcpu-set b 1"), "ok\r\n");
	assert_string_equal(did, "vcpus b 1");
	vcpus[1][1].absent = true;
	assert_non_null(strstr(line("list -l -j b"), "\"vcpus\":1,"));
	assert_non_null(strstr(out, "\"vcpus_wanted\":1,\"maxvcpus\":2,"));
	assert_non_null(strstr(line("stat -j b"), "\"vcpus\":1,\"maxvcpus\":2,"));
	assert_non_null(strstr(line("stat -j x.Y-1"), "\"vsock_cid\":77,\"vsock_connections\":3,\"vsock_sent_packets\":4,\"vsock_sent_bytes\":500,"));
	assert_null(strstr(line("stat b"), "vsock"));
	assert_non_null(strstr(line("vcpu-list -j b"), "\"vcpu\":1,\"cpu\":null,\"state\":\"absent\","));
	assert_string_equal(line("vcpu-set b 2"), "ok\r\n");
	assert_string_equal(line("mem-set b 64"), "ok\r\n");
	line("network-link b 1 down");
	assert_string_equal(did, "link 2.1 0");
	line("firewall b add vif 1 in allow tcp  port 22");
	assert_string_equal(did, "rules 2.1 1");
	line("firewall b add out default deny");
	assert_non_null(strstr(line("firewall b"), "  1          401 vif 1 in allow tcp port 22"));
	assert_non_null(strstr(line("firewall b"), "  2          421 out default deny"));
	line("firewall b del 1");
	assert_string_equal(did, "rules 2.1 1");
	assert_null(strstr(line("firewall b"), "allow"));
	line("firewall b flush");
	assert_string_equal(did, "rules 2.1 0");
	line("mirror on -s 100 b 1");
	assert_string_equal(did, "mirror 2.1 1");
	line("mirror off");
	assert_string_equal(did, "mirror -1.-1 0");
	assert_non_null(strstr(line("network-list"), "x.Y-1                   1   1 virtio-net lan0            00:00:00:00:00:00 7p/...   up"));
	assert_null(strstr(line("network-list x.Y-1"), "(host)"));
	assert_non_null(strstr(line("network-list -l 0"), "vlan_drop"));
	assert_string_equal(line("console-size b 133 37"), "ok\r\n");
	assert_string_equal(did, "resize 133 37");
	line("stat b on");
	assert_int_equal(vcpus[1][1].watch, WATCH_TIME);
	assert_non_null(vcpus[1][1].watching.time);
	line("stat b off");
	assert_int_equal(vcpus[1][1].watch, 0);
}

static void tables(void **state)
{
	(void)state;
	vms[0].run.state = VM_STOPPED;
	vms[0].run.why = STOP_PAUSE;
	vcpus[0][0].sched.ent.ran = 1250000000;
	vms[1].preserved = true;
	vcpus[2][1].state = VCPU_RUNNING;
	assert_string_equal(line("list"),
		"Name                                        ID   Mem VCPUs      State   Time(s)\r\n"
		"a                                            1    64     2     --p---       1.2\r\n"
		"b                                            2    64     2     ---s--       0.0\r\n"
		"\"},\\?????[2J???{                             3    64     2     r-----       0.0\r\nok\r\n");
	assert_string_equal(line("list -j b"), "{\"vms\":[{\"name\":\"b\",\"id\":2,\"memory\":64,\"vcpus\":2,"
		"\"state\":\"---s--\",\"time\":0.0}]}\r\nok\r\n");
	line("list -j 3");
	assert_non_null(strstr(out, "{\"name\":\"\\\"},\\\\\\n\\u000d\\u0009\\u0001\\u001b[2J\\u007f\\u00c3\\u00a9{\","));
	assert_string_equal(line("mem"),
		"Pool              KiB         Free\r\nours                8            4\r\nguests'             0            0\r\n"
		"\r\nOurs                    KiB\r\nboot                      0\r\npage-tables               0\r\n"
		"nested-tables             0\r\nVMs                       0\r\nvCPUs                     0\r\n"
		"CPUs                      0\r\ndevices                   0\r\nheap                      0\r\n"
		"\r\nName                           RAM    maxmem  nested    VM  vCPUs  devices  1 GiB   2 MiB    4 KiB\r\n"
		"a                             1024         0       0     0     16        0      0       0        0\r\n"
		"b                             2048         0       0     0     16        0      0       0        0\r\n"
		"\"},\\?????[2J???{              3072         0       0     0     16        0      0       0        0\r\nok\r\n");
	line("mem a");
	assert_true(strstr(out, "\r\na     ") && !strstr(out, "\r\nb     "));
	assert_non_null(strstr(line("stat b"), "\r\npages_4k               : 161\r\npages_2m               : 31\r\n"));
	assert_non_null(strstr(out, "\r\nport I/O                       14              0            -\r\nok\r\n"));
	assert_non_null(strstr(line("vcpu-list a"), "a                                    1     0     1     --p       1.2 all\r\n"));
	assert_non_null(strstr(out, "a                                    1     1     -     --p       0.0 all\r\n"));
	assert_string_equal(line("help pause"), "pause NAME\r\nstop its vCPUs\r\nok\r\n");
	assert_string_equal(line("dmesg"), "    0.000001 info    a \"line\" \\ of ?[1m text\r\n"
		"    1.000005 error   \r\n   99.123456 debug   x\r\nok\r\n");
}

/* Each verb, in each of its forms: one line of JSON, whatever the VMs are called. */
/* A disk xvda of VM a, behind either transport. */
static void add_disk(const struct virtio_model *m)
{
	vms[0].devs[0] = (struct vdev){.type = &m->vdev, .vm = &vms[0], .unit = 2, .state = &plugged_state};
	vms[0].nr_devs = 1;
	strcpy(vms[0].cfg.disks[2].vdev, "xvda");
}

static void json(void **state)
{
	static const char *const good[] = {
		"block-resize a xvda 1M -j", "block-list -j",
		"block-attach -j a f.img,raw,xvdb,ro", "block-list -j", "block-detach -j a xvdb", "block-list a -j",
		"network-attach a -j mac=00:16:3e:00:00:09", "network-detach a 0 -j",
		"cd-insert -j b hdh x.iso", "cd-eject b hdh -j",
		"pci-attach -j a testdev", "pci-detach -j a 12",
		"help -j", "help -j help", "list -j", "list -l -j", "list -j a", "create -j c", "destroy a -j",
		"shutdown -j a", "reboot -j a", "reset -j a", "pause -j a", "unpause -j a", "rename -j a z",
		"trigger -j b nmi", "sendkey -j b a", "sendmouse -j b 1,2", "regions -j b", "info -j", "mem -j", "mem b -j", "dmesg -j", "uptime -j", "top -j", "top -d 1 -j b", "vcpu-list -j",
		"vcpu-pin -j b 0 1", "vcpu-set -j b 2", "mem-set -j b 64", "console-size -j b 80 25", "sched -j", "sched -j -d b", "sched -j -d b -w 9",
		"network-list -j", "network-list -l -j", "network-link -j b 0 up", "firewall -j b", "firewall b -j add in deny", "mirror -j on",
		"stat -j b", "stat b -j on", "stat b off -j", "trace -j on", "trace show -j", "trace -j off", "torture b -j 5"};
	bool met[64] = {false};

	(void)state;
	add_disk(&blk_pci);
	fake_drive(&vms[1]);
	for (u32 i = 0; i < ARRAY_SIZE(good); i++) {
		char verb[32];

		line(good[i]);
		if (!json_line(last_line()))
			fail_msg("%s: %s", good[i], out);
		assert_true(strncmp(out, "{\"error\"", 8));
		sscanf(good[i], "%31s", verb);
		for (u32 k = 0; k < monitor_nr_verbs; k++)
			met[k] |= !strcmp(monitor_verbs[k].name, verb);
	}
	for (u32 k = 0; k < monitor_nr_verbs; k++)
		if (!met[k] && strcmp(monitor_verbs[k].name, "console"))
			fail_msg("%s is not tested", monitor_verbs[k].name);
	assert_string_equal(line("console -j b"),
			    "{\"error\":\"not from here: this way to the monitor shows no consoles\"}\r\n"
			    "error: console: not from here: this way to the monitor shows no consoles\r\n");
	/* What fails after it began is one object, too. */
	line("top -j -d x");
	assert_true(!strncmp(out, "{\"error\":", 9));
	line("frob -j");
	assert_true(!strncmp(out, "{\"error\":\"no such verb", 22));
}

/* Plugged in, listed, and out again in each way that there is. */
static void disks(void **state)
{
	char spec[64];

	(void)state;
	assert_string_equal(line("block-attach b f.img raw xvda ro serial=s"), "Device            Slot\r\nxvda                 4\r\nok\r\n");
	assert_string_equal(vms[1].cfg.disks[0].serial, "s");
	assert_string_equal(line("block-attach b cow:f.img,,vdb"), "Device            Slot\r\nvdb                  5\r\nok\r\n");
	assert_string_equal(line("block-attach b g.img,,vdb"), "error: block-attach: disk: device name vdb is taken by \"cow:f.img\"; write another\r\n");
	assert_non_null(strstr(line("block-list b"), "b                       2 xvda     4 used    ro       3072         5         0      0 f.img"));
	assert_non_null(strstr(out, "vdb      5 used    ro       3072         5         0      0 cow:f.img"));
	/* The guest of b does not let go, that of a does; who has no ACPI cannot be asked. */
	assert_string_equal(line("block-detach b vdb"), "error: block-detach: the guest has not let go of it within 10 s; it goes when the guest "
			    "does so, or when the VM restarts; -f takes it out at once\r\n");
	assert_string_equal(did, "unplug b 5");
	assert_non_null(strstr(line("block-list b"), "vdb      5 leaving ro"));
	assert_string_equal(line("block-detach -f b vdb"), "ok\r\n");
	assert_string_equal(did, "tear 1");
	in_flight = true;
	assert_non_null(strstr(line("block-detach b vdb --force"), "what it has in flight has not ended within 10 s; it goes then"));
	no_acpi = true;
	assert_non_null(strstr(line("block-detach b xvda"), "its guest does not listen to ACPI's events, or not yet; it goes when"));
	in_flight = false;
	assert_string_equal(line("block-detach -f b xvda"), "ok\r\n");
	no_acpi = false;
	line("block-attach a f.img,,xvda");
	assert_string_equal(line("block-detach a xvda"), "ok\r\n");
	assert_null(strstr(line("block-list a"), "xvda"));
	vms[0].preserved = true;
	assert_non_null(strstr(line("block-attach a f.img,,xvda"), "it has ended"));
	vms[0].preserved = false;
	/* The first empty place is taken, and there are only so many. */
	memset(&vms[1].cfg.disks[0], 0, sizeof(vms[1].cfg.disks[0]));
	assert_non_null(strstr(line("block-attach b f.img,,hda"), "hda                  4"));
	for (unsigned i = 2; i < VM_MAX_DISKS; i++) {
		snprintf(spec, sizeof(spec), "block-attach b f.img,,sd%c", 'a' + i);
		assert_non_null(strstr(line(spec), "ok\r\n"));
	}
	assert_string_equal(line("block-attach b f.img,,sdz"), "error: block-attach: disk: it has 8 disks, and may have no more\r\n");
}

/* A medium goes in, in another's place, and out, unless its guest or what is being read holds it. */
static void cds(void **state)
{
	(void)state;
	fake_drive(&vms[1]);
	assert_non_null(strstr(line("block-list b"), "hdh      4 used    ro          0         0         0      0 -"));
	assert_string_equal(line("cd-eject b hdh"), "error: cd-eject: hdh is empty\r\n");
	assert_string_equal(line("cd-insert b hdh bad.iso"), "error: cd-insert: bad.iso: no such file\r\n");
	fake_block.sector = 4096;
	assert_string_equal(line("cd-insert b hdh a.iso"), "error: cd-insert: a.iso: its sectors are larger than a CD's, which have 2048 bytes\r\n");
	fake_block.sector = 512;
	assert_string_equal(line("cd-insert b hdh odd.iso"), "error: cd-insert: odd.iso: its sectors\r\n");
	assert_string_equal(vms[1].cfg.disks[7].target, "");
	assert_string_equal(line("cd-insert b hdh a.iso"), "ok\r\n");
	assert_non_null(strstr(line("block-list b"), "hdh      4 used    ro       3072         5         0      0 a.iso"));
	assert_string_equal(line("cd-insert b hdh bad.iso"), "error: cd-insert: bad.iso: no such file\r\n");
	assert_string_equal(line("cd-insert b hdh cow:b.iso"), "ok\r\n");
	assert_string_equal(vms[1].cfg.disks[7].target, "cow:b.iso");
	fake_cd.locked = 1;
	assert_non_null(strstr(line("cd-insert b hdh a.iso"), "its guest holds the drive locked"));
	assert_non_null(strstr(line("cd-eject b hdh"), "its guest holds the drive locked"));
	assert_string_equal(did, "button b 7");
	fake_cd_busy = true;
	assert_string_equal(line("cd-eject --force b hdh"), "error: cd-eject: what is being read of it has not ended within 10 s\r\n");
	assert_string_equal(did, "keep b 7");
	assert_string_equal(vms[1].cfg.disks[7].target, "cow:b.iso");
	fake_cd_busy = false;
	assert_string_equal(line("cd-eject -f b hdh"), "ok\r\n");
	assert_string_equal(vms[1].cfg.disks[7].target, "");
	assert_string_equal(line("block-attach b x.iso,,hda,cdrom"), "error: block-attach: CD-ROM drives come with the VM's file, empty "
			    "if need be: 'vdev=hdc,devtype=cdrom,target='; `cd-insert` fills them\r\n");
	assert_string_equal(vms[1].cfg.disks[0].vdev, "");
	assert_non_null(strstr(line("block-detach b hdh"), "hdh is a CD-ROM drive, which stays"));
	vms[1].preserved = true;
	assert_non_null(strstr(line("cd-eject b hdh"), "it has ended"));
	assert_non_null(strstr(line("cd-insert b hdh a.iso"), "it has ended"));
	vms[1].preserved = false;
}

static void cards(void **state)
{
	(void)state;
	assert_string_equal(line("network-attach b bridge=lan1 mac=00:16:3E:00:00:0a"),
			    "Device            Slot\r\n00:16:3e:00:00:0a    4\r\nok\r\n");
	assert_string_equal(vms[1].cfg.vifs[0].bridge, "lan1");
	assert_string_equal(line("network-attach b mac=00:16:3e:00:00:0a"), "error: network-attach: vif: its vif 0 has this MAC; write another mac=\r\n");
	/* One is made of its name and place, as for a file's. */
	assert_non_null(strstr(line("network-attach b"), "    5\r\nok\r\n"));
	assert_string_equal(vms[1].cfg.vifs[1].bridge, "xenbr0");
	assert_int_equal(vms[1].cfg.vifs[1].mac[0], 2);
	assert_non_null(strstr(line("network-detach b 00:16:3e:00:00:0a1"), "it has no card"));
	assert_non_null(strstr(line("network-detach b 00:16:3E:00:00:0A"), "the guest has not let go of it within 10 s"));
	assert_string_equal(did, "unplug b 4");
	assert_string_equal(line("network-detach b 1 --force"), "ok\r\n");
	assert_string_equal(did, "tear 1");
	line("network-attach a");
	assert_string_equal(line("network-detach a 0"), "ok\r\n");
	assert_non_null(strstr(line("network-detach a 0"), "it has no card 0"));
	for (unsigned i = 2; i < VM_MAX_VIFS; i++)
		assert_non_null(strstr(line("network-attach b"), "ok\r\n"));
	assert_string_equal(line("network-attach b"), "error: network-attach: vif: it has 8 cards, and may have no more\r\n");
}

static void resize(void **state)
{
	static const char *const sizes[][2] = {{"1", "1"}, {"3K", "3072"}, {"20M", "20971520"}, {"104857600", "104857600"}};
	char text[64];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		add_disk(i % 2 ? &blk_mmio : &blk_pci);
		snprintf(text, sizeof(text), "block-resize a xvda %s", sizes[i][0]);
		assert_string_equal(line(text), "ok\r\n");
		snprintf(text, sizeof(text), "resize 2 %s", sizes[i][1]);
		assert_string_equal(did, text);
	}
	vms[0].preserved = true;
	assert_string_equal(line("block-resize a xvda 1M"), "error: block-resize: it has ended\r\n");
	vms[0].preserved = false;
}

static void errors(void **state)
{
	static const char *const wrong[][2] = {
		{"frob a", "frob: no such verb; `help` lists them"},
		{"help frob", "help: no such verb; `help` lists them"},
		{"pause", "pause: name a VM"},
		{"pause zz", "pause: no such VM; `list` shows them"},
		{"pause 4", "pause: no such VM; `list` shows them"},
		{"pause a b", "pause: one word too many"},
		{"list a b", "list: one word too many"},
		{"list -x", "list: no such option: -x; `help list` lists them"},
		{"list -ll", "list: no such option: -ll; `help list` lists them"},
		{"sched -d", "sched: -d needs a word behind it"},
		{"sched -w 5", "sched: whose? -d NAME"},
		{"sched -d a -w 0", "sched: 0 is no weight from 1 to 65535"},
		{"sched -d a -c 201", "sched: 201 is no cap: per cent of one CPU, up to 200 for its vCPUs; 0 for none"},
		{"trigger a", "trigger: a word is missing: trigger NAME nmi"},
		{"trigger a smi", "trigger: what to trigger: nmi"},
		{"pci-attach a disk", "pci-attach: what to plug in: testdev"},
		{"pci-detach a 4294967308", "pci-detach: nothing in slot 4294967308 that could be taken out"},
		{"block-attach a", "block-attach: a word is missing: block-attach NAME DISK"},
		{"block-attach a f.img", "block-attach: disk without a device name; write vdev=xvda, say"},
		{"block-attach a f.img,vhd,xvda", "block-attach: disk: format vhd; Dalang reads raw images: qemu-img convert -O raw f.img NEW"},
		{"block-attach a f.img raw xvda rw color=red", "block-attach: disk: unknown parameter 'color'; known are target=, "
		 "format=, vdev=, access=, devtype=, serial=, sector=, iops=, bps="},
		{"block-attach a bad.img raw xvdd", "block-attach: bad.img: no such file"},
		{"block-attach a big.img raw xvdd", "block-attach: no memory of our own is left for it"},
		{"block-detach a xvdq", "block-detach: it has no disk xvdq; `block-list` shows them"},
		{"network-attach a mac=1", "network-attach: vif: mac=1; write six bytes as in 00:16:3e:12:34:56, the first one even"},
		{"network-attach a colour=red", "network-attach: vif: unknown parameter 'colour'; known are bridge=, vlan=, mtu=, "
		 "isolated=, mirror=, rate=, mac=, ip=, antispoof=, queues=, model="},
		{"network-attach a bridge=full", "network-attach: no PCI slot is free; a detach frees one"},
		{"network-detach a 0", "network-detach: it has no card 0; `network-list` shows them"},
		{"network-detach a 00:16:3e:00:00:01", "network-detach: it has no card 00:16:3e:00:00:01; `network-list` shows them"},
		{"cd-eject a hdh", "cd-eject: it has no CD-ROM drive hdh; `block-list` shows them"},
		{"cd-insert a hdh x.iso", "cd-insert: it has no CD-ROM drive hdh; `block-list` shows them"},
		{"block-resize a xvdb 1M", "block-resize: it has no disk xvdb"},
		{"block-resize a xvda 1T", "block-resize: 1T is no size: bytes, or a number with K, M or G behind it"},
		{"block-resize a xvda M", "block-resize: M is no size: bytes, or a number with K, M or G behind it"},
		{"block-resize a xvda 9007199254740993", "block-resize: 9007199254740993 is no size: bytes, or a number with K, M or G behind it"},
		{"block-resize a xvda 8388609G", "block-resize: 8388609G is no size: bytes, or a number with K, M or G behind it"},
		{"block-resize a xvda 99999999999999999999999M", "block-resize: 99999999999999999999999M is no size: bytes, or a number with K, M or G behind it"},
		{"block-resize a xvda 101M", "block-resize: xvda: too large"},
		{"create a", "create: there is a VM of that name"},
		{"create z", "create: no file has it"},
		{"rename a b", "rename: there is a VM of that name"},
		{"rename a x/y", "rename: write up to 63 letters, digits, '.', '_' and '-'"},
		{"vcpu-pin a 2 0", "vcpu-pin: 2 is none of its vCPUs: a number from 0 to 1, or all"},
		{"vcpu-pin a 0 x", "vcpu-pin: x: a CPU's number, a range or \"all\" is missing; write 2-3 or 0-7,^5, say"},
		{"vcpu-pin a 0 9", "vcpu-pin: no such CPU"},
		{"torture a 0", "torture: 0 is no seed: a number from 1, or off"},
		{"torture a 99999999999999999999", "torture: 99999999999999999999 is no seed: a number from 1, or off"},
		{"network-link b 2 up", "network-link: it has no card 2; `network-list` shows them"},
		{"network-link b 0 maybe", "network-link: maybe is neither up nor down"},
		{"firewall b add in", "firewall: it ends too early; write allow or deny"},
		{"firewall b add vif 3 in deny", "firewall: it has no vif 3"},
		{"firewall b del 9", "firewall: say which rule: 1 to 0"},
		{"firewall b show", "firewall: show is none of add, del and flush"},
		{"mirror maybe", "mirror: maybe is neither on nor off"},
		{"mirror on -s 13", "mirror: 13 is no number of bytes from 14 to 65535"},
		{"mirror on -s 77", "mirror: no memory of our own is left"},
		{"mirror on zz", "mirror: no such VM; `list` shows them"},
		{"mirror on b 8", "mirror: 8 is no card's index"},
		{"top -d 0", "top: 0 is no number of seconds from 1 to 3600"},
		{"stat a maybe", "stat: maybe is neither on nor off"},
		{"trace maybe", "trace: maybe is none of on, off and show"},
		{"trace on zz", "trace: no such VM; `list` shows them"},
		{"trace show zz", "trace: no such VM; `list` shows them"},
		{"trace show -n 0", "trace: 0 is no number of records from 1"},
		{"mem-set a lots", "mem-set: lots is no number of MiB"},
		{"1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7", "1: no such verb; `help` lists them"},
		{"pause 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7", "pause: more than 16 words"},
	};
	char text[600];

	(void)state;
	add_disk(&blk_pci);
	for (u32 i = 0; i < ARRAY_SIZE(wrong); i++) {
		snprintf(text, sizeof(text), "error: %s\r\n", wrong[i][1]);
		assert_string_equal(line(wrong[i][0]), text);
	}
	assert_non_null(strstr(line("mem z"), "\r\nerror: mem: no such VM; `list` shows them\r\n"));
	assert_non_null(strstr(line("pci-attach b testdev"), "no slot is free; pci-detach frees one"));
	assert_non_null(strstr(line("pci-detach a 13"), "nothing in slot 13 that could be taken out"));
	did[0] = 0;
	assert_non_null(strstr(line("vcpu-set a 3"), "3 is no number from 1 to 2, the maxvcpus of its file"));
	assert_non_null(strstr(line("vcpu-set a 0"), "0 is no number from 1 to 2"));
	assert_non_null(strstr(line("vcpu-set a x"), "x is no number"));
	vms[0].preserved = true;
	assert_non_null(strstr(line("vcpu-set a 1"), "it has ended"));
	vms[0].preserved = false;
	assert_non_null(strstr(line("console-size a 80 25"), "it has no paravirtual console; write pv_console = 1"));
	assert_non_null(strstr(line("console -t x b"), "it has no console x; pv_console = 1 or channel"));
	assert_non_null(strstr(line("mem-set a 32"), "it has no balloon device; write balloon = 1 in its file"));
	assert_string_equal(line(""), "");
	assert_string_equal(line("   "), "");
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = 0;
	assert_non_null(strstr(line(text), "no such verb"));
	assert_string_equal(did, "");
	/* More than the ring holds: cut, answered, and the next line is itself again. */
	for (int i = 0; i < 3000; i++)
		monitor_input('y');
	line("");
	assert_string_equal(line("pause a"), "ok\r\n");
}

/* Several lines at once are served one a step, in order; an answer waits for room on the port. */
static void several(void **state)
{
	(void)state;
	assert_string_equal(line("pause a\nunpause zz\nunpause b"),
			    "ok\r\nerror: unpause: no such VM; `list` shows them\r\nok\r\n");
	assert_string_equal(did, "unpause b");
	space = 100;
	assert_string_equal(line("list\npause b"), "");
	assert_string_equal(did, "");
	waits->fn(waits);
	serve();
	assert_string_equal(out, "");
	space = 65536;
	waits->fn(waits);
	serve();
	assert_non_null(strstr(out, "ok\r\nok\r\n"));
	assert_string_equal(did, "stop b 2");
}

static u32 count(const char *what)
{
	u32 n = 0;

	for (const char *p = out; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static void put(u32 pcpu, u64 tsc, u16 vm)
{
	struct trace_rec r = {.tsc = tsc, .info = tsc, .vm = vm, .code = HV_EXIT_PIO};

	trace_put(pcpu, &r);
}

/* The order of time over two rings, with equal times, of one VM or all, the last few or all that are kept. */
static void trace(void **state)
{
	(void)state;
	put(0, 1, 1); /* there is no ring yet */
	assert_string_equal(line("trace show"), "      Time(s)  CPU VM               VCPU Event              Info               "
						"RIP                     Ticks\r\nok\r\n");
	line("trace on b");
	assert_int_equal(vcpus[0][0].watch, 0);
	assert_int_equal(vcpus[1][1].watch, WATCH_TRACE);
	line("trace on");
	assert_int_equal(vcpus[0][1].watch, WATCH_TRACE);
	assert_int_equal(vcpus[2][0].watch, WATCH_TRACE);
	line("trace off b");
	assert_int_equal(vcpus[0][0].watch, WATCH_TRACE);
	assert_int_equal(vcpus[1][1].watch, 0);
	for (u64 i = 1; i <= 50; i++) {
		put(0, 16 * i, 1);
		put(1, 16 * i, 2);
		put(1, 16 * i + 8, 9);
	}
	line("trace show -j -n 1000");
	assert_int_equal(count("{\"time\""), 150);
	/* At equal times CPU 0 comes first. */
	assert_non_null(strstr(out, "\"cpu\":0,\"vm\":\"a\",\"vcpu\":0,\"event\":\"port I/O\",\"info\":\"0x320\",\"rip\":\"0x0\",\"ticks\":0},"
				    "{\"time\":0.000000,\"cpu\":1,\"vm\":\"b\",\"vcpu\":0,\"event\":\"port I/O\",\"info\":\"0x320\""));
	assert_true(strstr(out, "\"info\":\"0x10\"") < strstr(out, "\"info\":\"0x18\""));
	assert_true(strstr(out, "\"info\":\"0x318\"") < strstr(out, "\"info\":\"0x320\""));
	assert_int_equal(count("\"vm\":\"9\""), 50); /* has gone */
	line("trace show -j");
	assert_int_equal(count("{\"time\""), 64);
	line("trace show -n 3 -j a");
	assert_int_equal(count("{\"time\""), 3);
	assert_int_equal(count("\"vm\":\"a\""), 3);
	assert_non_null(strstr(out, "\"info\":\"0x320\""));
	/* Full: the oldest are gone, the order holds. */
	for (u64 i = 1; i <= 5000; i++)
		put(0, 10000 + i, 1);
	line("trace show a -j -n 100000");
	assert_int_equal(count("{\"time\""), 1023);
	assert_non_null(strstr(out, "\"info\":\"0x3a98\"")); /* 15000 */
	line("trace off");
	assert_int_equal(vcpus[0][0].watch | vcpus[2][1].watch, 0);
	/* On anew: empty. */
	line("trace on a");
	line("trace show -j");
	assert_string_equal(out, "{\"records\":[]}\r\nok\r\n");
}

static void names(void **state)
{
	char name[VM_NAME_MAX];

	(void)state;
	assert_true(monitor_name(VERB_VM, 1, name, sizeof(name)));
	assert_string_equal(name, "b");
	assert_false(monitor_name(VERB_EACH, 3, name, sizeof(name)));
	assert_true(monitor_name(VERB_VERB, 0, name, sizeof(name)));
	assert_string_equal(name, "help");
	assert_false(monitor_name(VERB_VERB, monitor_nr_verbs, name, sizeof(name)));
	assert_true(monitor_name(VERB_FILE, 0, name, sizeof(name)));
	assert_false(monitor_name(VERB_FILE, 1, name, sizeof(name)));
	assert_false(monitor_name(VERB_HOST, 0, name, sizeof(name)));
}

/* docs/monitor.md is what the table says. `make monitor-doc` has it written anew. */
static void document(void **state)
{
	static char want[32768], have[32768];
	size_t n = 0;
	FILE *f;

	(void)state;
	n += (size_t)snprintf(want + n, sizeof(want) - n,
			      "# The monitor's verbs\n\nMade from `vmm/monitor/verbs.c` by `make monitor-doc`. A line is a verb, options and "
			      "words, separated by blanks;\n`tools/dalang ctl -- VERB...` sends one to the host that runs. Where xl has a "
			      "verb, its name, arguments and columns are xl's.\nOver channel 1 (docs/console.md) an answer ends with a line "
			      "`ok` or `error: VERB: why`, with `-j`, too.\n");
	for (u32 i = 0; i < monitor_nr_verbs; i++) {
		const struct verb *v = &monitor_verbs[i];

		n += (size_t)snprintf(want + n, sizeof(want) - n, "\n## %s%s%s\n\n%s%s%s\n", v->name, *v->args ? " " : "", v->args,
				      v->help, v->more ? ".\n" : "", v->more ?: "");
	}
	assert_true(n < sizeof(want));
	if (getenv("MONITOR_DOC")) {
		f = fopen("docs/monitor.md", "w");
		assert_non_null(f);
		fputs(want, f);
		fclose(f);
	}
	f = fopen("docs/monitor.md", "r");
	assert_non_null(f);
	have[fread(have, 1, sizeof(have) - 1, f)] = 0;
	fclose(f);
	if (strcmp(want, have))
		fail_msg("docs/monitor.md is out of date; make monitor-doc writes it");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(verbs, setup),
		cmocka_unit_test_setup(tables, setup),
		cmocka_unit_test_setup(json, setup),
		cmocka_unit_test_setup(disks, setup),
		cmocka_unit_test_setup(cds, setup),
		cmocka_unit_test_setup(cards, setup),
		cmocka_unit_test_setup(resize, setup),
		cmocka_unit_test_setup(errors, setup),
		cmocka_unit_test_setup(several, setup),
		cmocka_unit_test_setup(trace, setup),
		cmocka_unit_test_setup(names, setup),
		cmocka_unit_test(document),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
