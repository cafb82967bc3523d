/* SPDX-License-Identifier: BSD-2-Clause */
/* A VM's sockets in `stat NAME`. */
#include "drivers/virtio/vsock.h"
#include "vmm/monitor/verbs.h"
#include "vmm/vm.h"

void vsock_fields(struct mon_call *c)
{
	struct vsock_stat st;

	if (!vsock_stat(c->vm->id, &st))
		return;
	const struct {
		const char *key;
		u64 val;
	} fields[] = {
		{"vsock_cid", st.cid},
		{"vsock_connections", st.conns},
		{"vsock_sent_packets", st.count.sent},
		{"vsock_sent_bytes", st.count.sent_bytes},
		{"vsock_received_packets", st.count.received},
		{"vsock_received_bytes", st.count.received_bytes},
		{"vsock_refused", st.count.refused},
		{"vsock_spoofed", st.count.dropped},
		{"vsock_resets", st.count.resets},
	};

	for (u32 i = 0; i < ARRAY_SIZE(fields); i++) {
		mon_field(c->out, fields[i].key);
		mon_u64(c->out, fields[i].val);
	}
}
