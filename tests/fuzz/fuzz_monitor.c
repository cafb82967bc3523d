/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: vmm/monitor/monitor.c vmm/monitor/out.c vmm/monitor/verbs.c vmm/monitor/verb_host.c vmm/monitor/verb_vm.c vmm/monitor/verb_sched.c vmm/monitor/verb_stat.c vmm/monitor/verb_trace.c vmm/trace.c vmm/config.c vmm/config_cpus.c vmm/config_disk.c drivers/virtio/config_vsock.c drivers/net/config_vif.c drivers/net/config_rule.c drivers/net/verb_net.c drivers/net/verb_plug.c drivers/virtio/verb_vsock.c drivers/hotplug.c drivers/verb_block.c drivers/verb_cd.c lib/cfg.c lib/string.c vmm/config_channel.c */
/*
 * Lines for the monitor, one after the other. Each ends in a bounded number of steps, fails with a reason or does not, and
 * answers either in printable text or, with -j, in one line of JSON.
 */
#undef NDEBUG
#include <assert.h>
#include <stdarg.h>
#include "tests/unit/fake_monitor.h"
#include "tests/unit/json_check.h"

static char answer[1 << 20];
static size_t len;

static void take(struct mon_out *o, const char *buf, size_t n)
{
	(void)o;
	assert(len + n < sizeof(answer));
	memcpy(answer + len, buf, n);
	len += n;
}

static void one_line(const char *text)
{
	static struct mon_out out = {.write = take};
	static struct mon_call call;
	enum mon_status st = monitor_start(&call, text, &out);

	for (u32 steps = 0; st == MON_MORE || st == MON_WAIT; steps++) {
		size_t before = len;

		assert(steps < 10000);
		st = monitor_step(&call);
		assert(len - before < MON_STEP_BYTES);
	}
	answer[len] = 0;
	assert(st == MON_DONE || (call.why[0] && strlen(call.why) < sizeof(call.why)));
	if (!call.word)
		assert(!len);
	else if (out.json)
		assert(json_line(answer));
	for (size_t i = 0; i < len; i++)
		assert((answer[i] >= 0x20 && answer[i] < 0x7f) || answer[i] == '\r' || answer[i] == '\n');
	len = 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	char line[2 * MON_LINE_MAX];
	size_t n = 0;

	fake_setup();
	fake_drive(&vms[0]);
	for (size_t i = 0; i <= size; i++) {
		if (i < size && data[i] != '\n' && data[i]) {
			if (n < sizeof(line) - 1)
				line[n++] = (char)data[i];
			continue;
		}
		line[n] = 0;
		n = 0;
		one_line(line);
	}
	return 0;
}
