/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: lib/cfg.c vmm/config.c vmm/config_channel.c vmm/config_disk.c vmm/config_cpus.c drivers/virtio/config_vsock.c drivers/net/config_vif.c drivers/net/config_rule.c */
/* vif=, firewall= and uplink=. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "tests/unit/fake_config.h"

static int parse(const char *more)
{
	char text[8192];
	int n = snprintf(text, sizeof(text), BASE "%s", more);

	diags[0] = 0;
	errors = warnings = 0;
	return config_parse_vm("v.cfg", text, (size_t)n, &vm, &diag);
}

static const struct vm_vif *vif(const char *spec)
{
	char text[4096];

	snprintf(text, sizeof(text), "vif = [ '%s' ]", spec);
	parse(text);
	assert_string_equal(diags, "");
	assert_int_equal(vm.nr_vifs, 1);
	return &vm.vifs[0];
}

static void refused(const char *spec, const char *want)
{
	char text[4096];

	snprintf(text, sizeof(text), "vif = [ '%s' ]", spec);
	assert_int_not_equal(parse(text), 0);
	assert_int_equal(errors, 1);
	assert_non_null(strstr(diags, "v.cfg:4:9"));
	if (!strstr(diags, want))
		assert_string_equal(diags, want);
}

static bool tagged(const struct vm_vif *v, unsigned id)
{
	return v->vlans[id / 64] >> id % 64 & 1;
}

static unsigned nr_tagged(const struct vm_vif *v)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 64; i++)
		n += (unsigned)__builtin_popcountl(v->vlans[i]);
	return n;
}

static void defaults(void **state)
{
	const struct vm_vif *v = vif("");
	u8 mac[6];

	(void)state;
	assert_string_equal(v->bridge, "xenbr0");
	assert_true(v->untagged && v->antispoof && !v->isolated);
	assert_int_equal(v->pvid, 0);
	assert_int_equal(nr_tagged(v), 0);
	assert_int_equal(v->mtu, 1500);
	assert_int_equal(v->queues, 1);
	assert_int_equal(v->rate, 0);
	/* Locally administered, no group, the same each time, another for each card. */
	assert_int_equal(v->mac[0] & 3, 2);
	memcpy(mac, v->mac, 6);
	assert_memory_equal(vif("bridge=b")->mac, mac, 6);
	parse("vif = [ '', '', '' ]");
	assert_int_equal(vm.nr_vifs, 3);
	assert_memory_equal(vm.vifs[0].mac, mac, 6);
	assert_memory_not_equal(vm.vifs[1].mac, mac, 6);
	assert_memory_not_equal(vm.vifs[1].mac, vm.vifs[2].mac, 6);
}

static void all_keys(void **state)
{
	static const u8 mac[6] = {0, 0x16, 0x3e, 0xaa, 0xBB, 1};
	const struct vm_vif *v = vif("mac=00:16:3e:aa:BB:01, bridge=lan0 ,rate=10Mb/s@20ms,mtu=9000,queues=4,antispoof=0,"
				     "isolated=1,model=virtio,type=vif,ip=10.0.0.5 fd00::5/64");

	(void)state;
	assert_string_equal(v->bridge, "lan0");
	assert_memory_equal(v->mac, mac, 6);
	assert_int_equal(v->rate, 1250000);
	assert_int_equal(v->burst, 25000);
	assert_int_equal(v->mtu, 9000);
	assert_int_equal(v->queues, 4);
	assert_true(!v->antispoof && v->isolated);
	assert_int_equal(v->nr_ips, 2);
	assert_int_equal(v->ip[0].family, 4);
	assert_int_equal(v->ip[0].len, 32);
	assert_int_equal(v->ip[1].family, 6);
	assert_int_equal(v->ip[1].len, 64);
	assert_int_equal(v->ip[1].addr[15], 5);
	assert_int_equal(vif("rate=250KB/s")->burst, 12500); /* 50 ms are usual */
}

static void vlans(void **state)
{
	const struct vm_vif *v = vif("vlan=10");

	(void)state;
	assert_true(v->untagged && v->pvid == 10 && !nr_tagged(v));
	v = vif("vlan=10p/20/30-33/100+10x4");
	assert_true(v->untagged && v->pvid == 10);
	assert_int_equal(nr_tagged(v), 1 + 4 + 5);
	assert_true(tagged(v, 20) && tagged(v, 33) && tagged(v, 100) && tagged(v, 140) && !tagged(v, 34));
	v = vif("vlan=20/4094");
	assert_true(!v->untagged && nr_tagged(v) == 2 && tagged(v, 4094));
	v = vif("bridge=br0.10");
	assert_true(v->untagged && v->pvid == 10 && !nr_tagged(v));
	assert_string_equal(v->bridge, "br0");
	v = vif("bridge=br0.10:20:30");
	assert_true(v->untagged && v->pvid == 10 && nr_tagged(v) == 2 && tagged(v, 30));
	v = vif("bridge=br0:20");
	assert_true(!v->untagged && nr_tagged(v) == 1);
}

static void wrong(void **state)
{
	static const char *const specs[][2] = {
		{"mac=00:16:3e:aa:bb", "write six bytes"},	 {"mac=01:16:3e:aa:bb:01", "the first one even"},
		{"mac=00:00:00:00:00:00", "write six bytes"},	 {"mac=00:16:3e:aa:bb:0g", "write six bytes"},
		{"bridge=", "write a name"},			 {"bridge=abcdefghijklmnop", "up to 15"},
		{"bridge=a.0", "NAME.10"},			 {"bridge=a.10:", "NAME.10"},
		{"bridge=a.10,vlan=3", "one of the two"},	 {"vlan=3,bridge=a.10", "one of the two"},
		{"vlan=0", "vlan=0; write"},			 {"vlan=4095", "1 to 4094"},
		{"vlan=10p/20p", "10 without tag"},		 {"vlan=20-10", "10 without tag"},
		{"vlan=", "10 without tag"},			 {"vlan=10/", "10 without tag"},
		{"vlan=4000+100x4", "10 without tag"},		 {"vlan=10+0x4", "10 without tag"},
		{"rate=10", "write 10Mb/s"},			 {"rate=10Mb", "write 10Mb/s"},
		{"rate=7b/s", "1KB/s to"},			 {"rate=99999999999999999999GB/s", "write 10Mb/s"},
		{"rate=9999GB/s", "1KB/s to"},			 {"rate=1MB/s@0ms", "write 10Mb/s"},
		{"rate=1MB/s@11s", "write 10Mb/s"},		 {"rate=1MB/sx", "write 10Mb/s"},
		{"mtu=67", "write 68 to 9216"},			 {"mtu=9217", "write 68 to 9216"},
		{"queues=9", "write 1 to 8"},			 {"antispoof=yes", "write 0 to 1"},
		{"ip=10.0.0", "several with blanks"},		 {"ip=10.0.0.256", "several with blanks"},
		{"ip=1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 1.1.1.7 1.1.1.8 1.1.1.9", "more than 8"},
		{"mtu=1500,mtu=1500", "given twice"},		 {"colour=red", "known are bridge="},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(specs); i++)
		refused(specs[i][0], specs[i][1]);
	assert_int_not_equal(parse("vif = [ 'mac=00:16:3e:00:00:01', 'mac=00:16:3e:00:00:01' ]"), 0);
	assert_non_null(strstr(diags, "the same MAC"));
	assert_int_not_equal(parse("vif = [ '','','','','','','','','' ]"), 0);
	assert_non_null(strstr(diags, "at most 8"));
}

static void xl_only(void **state)
{
	(void)state;
	assert_int_equal(parse("vif = [ 'script=vif-bridge,vifname=x,model=e1000,trusted' ]"), 0);
	assert_int_equal(warnings, 4);
	assert_non_null(strstr(diags, "model=e1000 is not emulated"));
	assert_non_null(strstr(diags, "'script' is known to xl"));
}

/* Said again, each rule is as short as it can be, and means the same. */
static void rules(void **state)
{
	static const char *const same[] = {
		"in allow tcp port 22",
		"out deny udp to 10.0.0.0/8 port 53",
		"vif 1 in allow icmp",
		"in deny 47 from fd00:0:0:0:0:0:0:0/8",
		"out allow tcp from 10.0.0.1 to 10.0.0.2 sport 1-1023 port 80-90",
		"in default deny",
		"vif 7 out default allow",
		"out deny",
	};
	static const char *const bad[][2] = {
		{"", "write in (to the guest)"},	     {"in", "write allow or deny"},
		{"inn allow", "'inn'; write in"},	     {"vif 8 in allow", "the card's index"},
		{"vif in allow", "the card's index"},	     {"in allow port 22", "tcp's and udp's"},
		{"in allow tcp port", "it ends too early"},  {"in allow tcp port 65536", "write a port"},
		{"in allow tcp port 9-8", "write a port"},   {"in allow tcp port 8-", "write a port"},
		{"in allow sctp", "'sctp'; write a proto"},  {"in allow 255", "'255'; write"},
		{"in allow 0", "'0'; write"},		     {"in allow from 1.2.3.4/33", "write an address"},
		{"in allow from 1.2.3.4 to ::1", "two kinds"}, {"in default", "write allow or deny"},
		{"in default deny tcp", "nothing stands"},   {"in allow tcp from", "it ends too early"},
	};
	struct net_rule r;
	char why[120], text[200];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(same); i++) {
		assert_true(net_rule_parse(same[i], &r, why, sizeof(why)));
		net_rule_format(&r, text, sizeof(text));
		assert_string_equal(text, same[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_false(net_rule_parse(bad[i][0], &r, why, sizeof(why)));
		if (!strstr(why, bad[i][1]))
			assert_string_equal(why, bad[i][1]);
	}
	assert_int_equal(parse("vif = [ '' ]\nfirewall = [ 'in default deny', 'vif 0 in allow tcp port 22' ]"), 0);
	assert_int_equal(vm.nr_rules, 2);
	assert_int_not_equal(parse("vif = [ '' ]\nfirewall = [ 'vif 1 in allow' ]"), 0);
	assert_non_null(strstr(diags, "there is no vif 1"));
	assert_int_not_equal(parse("vif = [ '' ]\nfirewall = [ 'in alow' ]"), 0);
	assert_non_null(strstr(diags, "v.cfg:5:14"));
}

static void addresses(void **state)
{
	static const char *const v6[][2] = {
		{"::", "0:0:0:0:0:0:0:0"},	  {"::1", "0:0:0:0:0:0:0:1"}, {"1::", "1:0:0:0:0:0:0:0"},
		{"fe80::a:B", "fe80:0:0:0:0:0:a:b"}, {"1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"},
		{"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"}, {"::2:3:4:5:6:7:8/127", "0:2:3:4:5:6:7:8/127"},
	};
	static const char *const bad[] = {":", "1", "1:2", "1:2:3:4:5:6:7:8:9", ":::", "1::2::3", "12345::", "1:2:3:4:5:6:7:",
					  "::/129", "::/", "1::g", "1.2.3.4.5", "1.2.3", "1.2.3.4/", "", "1..2.3"};
	struct net_prefix p;
	char text[80];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(v6); i++) {
		assert_true(net_prefix_parse(v6[i][0], strlen(v6[i][0]), &p));
		net_prefix_format(&p, text, sizeof(text));
		assert_string_equal(text, v6[i][1]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_false(net_prefix_parse(bad[i], strlen(bad[i]), &p));
}

static void uplinks(void **state)
{
	static const char text[] = "vms = [ 'a' ]\nuplink = [ 'bridge=lan0.1:20,mtu=9000' ]", bad[] = "uplink = [ 'mac=00:16:3e:00:00:01' ]";

	(void)state;
	diags[0] = 0;
	assert_int_equal(config_parse_host("dalang.cfg", text, sizeof(text) - 1, &host, &diag), 0);
	assert_int_equal(host.nr_uplinks, 1);
	assert_string_equal(host.uplinks[0].bridge, "lan0");
	assert_true(!host.uplinks[0].antispoof && host.uplinks[0].pvid == 1);
	assert_int_not_equal(config_parse_host("dalang.cfg", bad, sizeof(bad) - 1, &host, &diag), 0);
	assert_non_null(strstr(diags, "uplink: unknown parameter 'mac'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults), cmocka_unit_test(all_keys), cmocka_unit_test(vlans),     cmocka_unit_test(wrong),
		cmocka_unit_test(xl_only),  cmocka_unit_test(rules),	cmocka_unit_test(addresses), cmocka_unit_test(uplinks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
