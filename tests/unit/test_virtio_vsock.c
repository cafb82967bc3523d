/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtq.c drivers/virtio/vsock_hub.c drivers/virtio/vsock_monitor.c vmm/monitor/monitor.c vmm/monitor/out.c */
/* Sockets between guests: vsock.c and vsock_hub.c behind the rings of drivers of ours. */
#include "fake_vsock.h"

static void test_stream(void **s)
{
	u8 bytes[2000];

	(void)s;
	for (u32 i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(i * 7);
	assert_true(cid(0) == 4 && cid(1) == 50 && virtio_config_read(&dev[1], 0, 8) == 50);
	connected();
	assert_int_equal(conns(0) + conns(1), 2);
	give(1, 8);
	say(0, 50, 1000, 80, VSOCK_RW, bytes, 1500);
	assert_true(got_op(1, VSOCK_RW) && last.len == 1500 && !memcmp(data, bytes, 1500));
	assert_true(last.src_cid == 4 && last.dst_cid == 50 && last.src_port == 1000 && last.dst_port == 80);
	assert_true(last.buf_alloc == 100000 && last.fwd_cnt == 7);
	say(1, 4, 80, 1000, VSOCK_RW, "back", 4);
	assert_true(got_op(0, VSOCK_RW) && last.len == 4 && !memcmp(data, "back", 4));
	for (u16 op = VSOCK_CREDIT_UPDATE; op <= VSOCK_CREDIT_REQUEST; op++) {
		say(0, 50, 1000, 80, op, "", 0);
		assert_true(got_op(1, op));
	}
	/* An end, as Linux makes it. */
	struct vsock_hdr h = hdr(0, 50, 1000, 80, VSOCK_SHUTDOWN, 0);

	h.flags = 3;
	send_hdr(0, &h, "", 0);
	settle();
	assert_true(got_op(1, VSOCK_SHUTDOWN) && last.flags == 3);
	say(1, 4, 80, 1000, VSOCK_RST, "", 0);
	assert_true(got_op(0, VSOCK_RST));
	assert_int_equal(conns(0) + conns(1), 0);
	assert_int_equal(count(0).sent_bytes, 1500);
	assert_true(count(0).received_bytes == 4 && count(1).received_bytes == 1500 && !count(0).refused && !count(0).resets);
	/* It is over: more is answered. */
	say(0, 50, 1000, 80, VSOCK_RW, bytes, 1);
	assert_true(got_op(0, VSOCK_RST) && last.src_cid == 50 && last.src_port == 80 && last.dst_port == 1000);
	assert_false(got(1));
	assert_int_equal(used(0, TX), 6);
}

/* A long packet into short buffers; and with the end of the inbox in the middle, again and again. */
static void test_split(void **s)
{
	static u8 bytes[VSOCK_MAX_DATA], all[VSOCK_MAX_DATA];

	(void)s;
	connected();
	for (u32 i = 0; i < sizeof(bytes); i++)
		bytes[i] = (u8)(i ^ i >> 8);
	for (unsigned round = 0; round < 9; round++) {
		u32 n = 0, len = sizeof(bytes) - round;

		say(0, 50, 1000, 80, VSOCK_RW, bytes, len);
		do {
			give_of(1, 4, round % 2 ? RX_SIZE : 2000);
			while (got(1)) {
				assert_true(last.op == VSOCK_RW && last.src_port == 1000 && n + last.len <= len);
				memcpy(all + n, data, last.len);
				n += last.len;
			}
		} while (n < len);
		assert_memory_equal(bytes, all, len);
	}
	assert_false(broken(0) || broken(1));
}

static void test_refused(void **s)
{
	struct vsock_hdr h;

	(void)s;
	for (unsigned k = 0; k < 3; k++)
		give(k, 8);
	refused_as(0, hdr(0, 99, 1, 1, VSOCK_REQUEST, 0), 0);			   /* nobody's */
	refused_as(0, hdr(0, 50ull | 1ull << 32, 1, 1, VSOCK_REQUEST, 0), 0);	   /* the upper half is reserved */
	refused_as(0, hdr(0, 0, 0, 0, VSOCK_RW, 0), 0);
	refused_as(0, hdr(0, cid(0), 1, 1, VSOCK_REQUEST, 0), 0);		   /* its own */
	refused_as(0, hdr(0, cid(2), 1, 1, VSOCK_REQUEST, 0), 0);		   /* c does not name a */
	refused_as(2, hdr(2, cid(0), 1, 1, VSOCK_REQUEST, 0), 0);		   /* though a names c */
	refused_as(0, hdr(0, 50, 1, 1, VSOCK_RW, 0), 0);			   /* no connection */
	refused_as(1, hdr(1, 2, 1, 2, VSOCK_REQUEST, 0), 0);			   /* b may not talk to the host */
	refused_as(0, hdr(0, 2, 1, 3, VSOCK_REQUEST, 0), 0);			   /* nor anybody at another port */
	refused_as(0, hdr(0, 2, 1, 2, VSOCK_RW, 0), 0);
	for (unsigned way = 0; way < 6; way++) {
		h = hdr(0, way & 1 ? 2 : 50, 1, 2, VSOCK_REQUEST, 0);
		h.op = way < 2 ? 0 : way < 4 ? VSOCK_CREDIT_REQUEST + 1 : VSOCK_REQUEST;
		h.type = way < 4 ? VSOCK_STREAM : 2;
		refused_as(0, h, 0);
	}
	refused_as(0, hdr(0, 50, 1, 2, VSOCK_REQUEST, 5), 5); /* data where there is none */
	assert_int_equal(count(0).sent, 0);
	/* To an RST there is no answer, and in another's name nobody speaks. */
	say(0, 50, 1, 2, VSOCK_RST, "", 0);
	h = hdr(0, 50, 1, 2, VSOCK_REQUEST, 0);
	h.src_cid = cid(2);
	send_hdr(0, &h, "", 0);
	settle();
	assert_false(got(0) || got(1) || got(2));
	assert_int_equal(count(0).dropped, 1);
	assert_int_equal(used(0, TX), 17);
	/* What is wrong on a connection ends it, for both. */
	for (unsigned way = 0; way < 3; way++) {
		connected();
		h = hdr(0, 50, 1000, 80, way ? VSOCK_RW : 77, 0);
		h.type = way == 1 ? 9 : VSOCK_STREAM;
		h.len = way == 2 ? VSOCK_MAX_DATA + 1 : 0;
		refused_as(0, h, h.len);
		assert_true(got_op(1, VSOCK_RST) && last.src_port == 1000);
		assert_int_equal(conns(0) + conns(1), 0);
	}
	assert_int_equal(count(1).resets, 3);
	/* No driver. */
	virtio_set_status(&dev[1], 0);
	refused_as(0, hdr(0, 50, 1, 1, VSOCK_REQUEST, 0), 0);
	start(1, FEATURES);
	vms[1].ended = true;
	refused_as(0, hdr(0, 50, 1, 1, VSOCK_REQUEST, 0), 0);
}

static void test_malformed(void **s)
{
	struct vsock_hdr h;

	(void)s;
	for (unsigned way = 0; way < 9; way++) {
		unsigned k = way < 4 || way > 6 ? 0 : 1, errors = state[k].virtio.errors;

		for (unsigned i = 0; i < 2; i++)
			start(i, FEATURES);
		connected();
		h = hdr(0, 50, 1000, 80, VSOCK_RW, way == 1 ? 11 : 10);
		memcpy(fake_ram + TX_BUFS(0), &h, sizeof(h));
		while (k == 1 && used(1, RX) < 8) /* they are all full */
			say(0, 50, 1000, 80, VSOCK_RW, "x", 1);
		switch (way) {
		case 0: offer(0, TX, TX_BUFS(0), 43, false); break;
		case 1: offer(0, TX, TX_BUFS(0), 54, false); break;
		case 2: offer(0, TX, TX_BUFS(0), 54, true); break;
		case 3: offer(0, TX, FAKE_HOLE, 54, false); break;
		case 4: give_of(1, 1, 43); break;
		case 5: offer(1, RX, RX_BUFS(1), 100, false); break;
		case 6: give_of(1, 1, 44); break; /* no room for data */
		case 7: offer(0, EVENT, RX_BUFS(0), 3, true); break;
		case 8: offer(0, EVENT, RX_BUFS(0), 4, false); break;
		}
		if (way >= 7)
			state[0].lost = 1;
		for (unsigned i = 0; i < QUEUES; i++)
			virtio_kick(&dev[k], i);
		virtio_kick(&dev[1], RX);
		settle();
		if (k == 1) /* another one comes only if it is looked for */
			say(0, 50, 1000, 80, VSOCK_RW, "yz", 2);
		assert_true(broken(k) && !broken(!k));
		assert_int_equal(state[k].virtio.errors, errors + 1);
	}
	for (unsigned i = 0; i < 2; i++)
		start(i, FEATURES);
	connected();
	assert_false(broken(0) || broken(1));
}

/* b takes nothing: what goes to it waits, what goes elsewhere does not, and neither does the driver's reset. */
static void test_stuck_peer(void **s)
{
	static u8 bytes[8000];
	u32 fill = (VSOCK_INBOX - (VSOCK_REPLIES + 1) * (u32)sizeof(struct vsock_hdr)) / (sizeof(bytes) + sizeof(struct vsock_hdr));
	u16 done, next = 0;

	(void)s;
	str_copy(vms[2].cfg.vsock.peers, "a b", 4);
	connected();
	give(2, 8);
	say(0, cid(2), 5, 6, VSOCK_REQUEST, "", 0);
	assert_true(got_op(2, VSOCK_REQUEST));
	while (used(1, RX) < 8)
		say(0, 50, 1000, 80, VSOCK_CREDIT_UPDATE, "", 0);
	for (u32 i = 0; i < fill + 1; i++) {
		memcpy(bytes, &i, 4);
		done = used(0, TX);
		say(0, 50, 1000, 80, VSOCK_RW, bytes, sizeof(bytes));
		assert_int_equal(used(0, TX) - done, i < fill);
	}
	assert_int_equal(state[0].nr_parked, 1);
	done = used(0, TX);
	say(0, 50, 1000, 80, VSOCK_RW, "last", 4); /* there would be room for it, but it is to be the last */
	assert_true(used(0, TX) == done && state[0].nr_parked == 2);
	say(0, cid(2), 5, 6, VSOCK_RW, "hello", 5);
	assert_true(got_op(2, VSOCK_RW) && used(0, TX) == done + 1);
	say(0, 2, 7, 2, VSOCK_REQUEST, "", 0);
	give(0, 4);
	assert_true(got_op(0, VSOCK_RESPONSE));
	assert_true(dev[0].type->valid(&state[0]));
	/* b takes all, in order. */
	while (got(1))
		;
	for (u32 i = 0, n = 0; i <= fill; i += n == sizeof(bytes), n %= sizeof(bytes)) {
		if (!got(1)) {
			give(1, 4);
			continue;
		}
		memcpy(bytes + n, data, last.len);
		n += last.len;
		if (n == sizeof(bytes)) {
			memcpy(&next, bytes, 2);
			assert_int_equal(next, i);
		}
	}
	give(1, 2);
	assert_true(got_op(1, VSOCK_RW) && !memcmp(data, "last", 4));
	assert_int_equal(state[0].nr_parked, 0);
	assert_int_equal(used(0, TX), done + 4);
	/* A reset takes what is parked along. */
	memset(bytes, 0, sizeof(bytes));
	for (u32 i = 0; i < 2 * fill && !state[0].nr_parked; i++)
		say(0, 50, 1000, 80, VSOCK_RW, bytes, sizeof(bytes));
	assert_true(state[0].nr_parked == 1 && state[0].virtio.queue[TX].in_flight == 1);
	virtio_set_status(&dev[0], 0);
	assert_int_equal(state[0].virtio.status, 0);
	start(0, FEATURES);
	assert_true(!state[0].nr_parked && !state[0].virtio.queue[TX].in_flight);
}

/* More waits than there are places for: that connection ends, and the guest has its buffers again. */
static void test_given_up(void **s)
{
	static u8 bytes[VSOCK_MAX_DATA];

	(void)s;
	str_copy(vms[2].cfg.vsock.peers, "a", 4);
	connected();
	while (used(1, RX) < 8)
		say(0, 50, 1000, 80, VSOCK_CREDIT_UPDATE, "", 0);
	while (got(1))
		;
	for (u32 i = 0; i < 8 && !state[0].nr_parked; i++)
		say(0, 50, 1000, 80, VSOCK_RW, bytes, sizeof(bytes) - 5);
	assert_int_equal(state[0].nr_parked, 1);
	for (u32 i = 1; i < PARKED; i++)
		say(0, 50, 1000, 80, VSOCK_RW, "x", 1);
	assert_true(state[0].nr_parked == PARKED && conns(0) == 1 && !count(0).resets);
	give(0, 8);
	say(0, 50, 1000, 80, VSOCK_RW, "x", 1);
	assert_true(got_op(0, VSOCK_RST) && last.src_port == 80);
	assert_int_equal(count(0).resets, 1);
	/* Others go their way. */
	give(2, 2);
	say(0, cid(2), 1, 1, VSOCK_REQUEST, "", 0);
	assert_true(got_op(2, VSOCK_REQUEST));
	assert_int_equal(conns(0), 1);
	assert_int_equal(state[0].nr_parked, 0); /* they belong to no connection now: each is answered */
	for (u32 i = 0; i < PARKED; i++) {
		give(0, 1);
		assert_true(got_op(0, VSOCK_RST));
	}
	for (u32 i = 0; i < 200 && !(got(1) && last.op == VSOCK_RST); i++)
		give(1, 1);
	assert_int_equal(last.op, VSOCK_RST);
	assert_int_equal(conns(1), 0);
	assert_false(broken(0) || broken(1));
}

/* A guest that takes no answers sends nothing more, and goes on when it does. */
static void test_answers(void **s)
{
	const u32 most = VSOCK_INBOX / sizeof(struct vsock_hdr);
	u32 sent = 0;

	(void)s;
	for (u16 before = 0; (u16)(used(0, TX) - before) == (sent ? 1 : 0) && sent < 2 * most; sent++) {
		before = used(0, TX);
		say(0, 99, sent, 1, VSOCK_REQUEST, "", 0);
	}
	assert_int_equal(sent, most + 1);
	assert_int_equal(count(0).refused, most);
	for (u32 i = 0; i <= most; i++) {
		while (!got(0))
			give(0, 4);
		assert_true(last.op == VSOCK_RST && last.dst_port == i);
	}
	assert_int_equal(count(0).refused, most + 1);
}

/* The other end goes: a reset of its driver's, or of the VM, or its end. What it said before comes first. */
static void test_peer_goes(void **s)
{
	(void)s;
	for (unsigned way = 0; way < 4; way++) {
		start(0, FEATURES);
		start(1, FEATURES);
		connected();
		say(1, cid(0), 90, 7, VSOCK_REQUEST, "", 0);
		assert_true(got_op(0, VSOCK_REQUEST));
		while (used(0, RX) < 8)
			say(1, cid(0), 80, 1000, VSOCK_CREDIT_UPDATE, "", 0);
		while (got(0))
			;
		say(1, cid(0), 80, 1000, VSOCK_RW, "bye", 3);
		if (way == 0)
			virtio_set_status(&dev[1], 0);
		else if (way == 1)
			dev[1].type->reset(&dev[1]);
		else if (way == 2)
			unplug(1);
		else
			vms[1].ended = true;
		settle();
		if (way == 0) { /* before it has been told it does not begin anew */
			start(1, FEATURES);
			give(1, 2);
			assert_false(got(1));
			say(1, cid(0), 80, 1000, VSOCK_REQUEST, "", 0);
			assert_true(got_op(1, VSOCK_RST));
		}
		give(0, 3);
		assert_true(got_op(0, VSOCK_RW) && !memcmp(data, "bye", 3));
		if (way == 3) { /* that one is only found when it is spoken to */
			say(0, 50, 1000, 80, VSOCK_RW, "?", 1);
			assert_true(got_op(0, VSOCK_RST));
			continue;
		}
		for (unsigned n = 0; n < 2; n++)
			assert_true(got_op(0, VSOCK_RST) && last.src_cid == 50 && last.dst_port == (last.src_port == 80 ? 1000 : 7));
		assert_int_equal(conns(0), 0);
		give(0, 1);
		assert_false(got(0));
		if (way == 2)
			plug(1, "b", 50, "*", false);
	}
}

static void test_bounds(void **s)
{
	(void)s;
	give(0, 15);
	for (u32 i = 0; i < VSOCK_PER_PEER; i++) {
		give(1, 1);
		say(0, 50, i, 80, VSOCK_REQUEST, "", 0);
		assert_true(got_op(1, VSOCK_REQUEST));
	}
	refused_as(0, hdr(0, 50, VSOCK_PER_PEER, 80, VSOCK_REQUEST, 0), 0);
	/* Others may, still. */
	give(2, 1);
	say(1, cid(2), 1, 1, VSOCK_REQUEST, "", 0);
	assert_true(got_op(2, VSOCK_REQUEST));
	assert_true(conns(0) == VSOCK_PER_PEER && conns(1) == VSOCK_PER_PEER + 1 && conns(2) == 1);
	/* Both ends at once: the second is told no. */
	say(0, 50, 0, 80, VSOCK_RST, "", 0);
	give(1, 2);
	assert_true(got_op(1, VSOCK_RST));
	say(1, cid(0), 80, 0, VSOCK_REQUEST, "", 0);
	assert_true(got_op(0, VSOCK_REQUEST));
}

static void test_cids(void **s)
{
	(void)s;
	assert_int_equal(plug(3, "d", 50, "", false), -1);
	assert_int_equal(refused, 1);
	dev[3] = (struct vdev){0};
	for (int n = 0; n < 2; n++) {
		fail_alloc = n;
		assert_int_equal(plug(3, "d", 51, "", false), -1);
		dev[3] = (struct vdev){0};
	}
	fail_alloc = -1;
	/* Of one that is only there to be looked at it may be had. */
	connected();
	vms[1].ended = true;
	assert_int_equal(plug(3, "b", 50, "a", false), 0);
	start(3, FEATURES);
	give(0, 2);
	assert_true(got_op(0, VSOCK_RST));
	say(0, 50, 1000, 80, VSOCK_REQUEST, "", 0);
	give(3, 1);
	assert_true(got_op(3, VSOCK_REQUEST));
	unplug(1);
	settle();
	assert_false(got(0));
	assert_int_equal(conns(0), 1);
	/* One that is chosen is nobody's. */
	plug(1, "b", cid(0) + 1, "", false);
	vms[2].id = vms[0].id;
	unplug(2);
	assert_int_equal(plug(2, "c", 0, "", false), 0);
	assert_true(cid(2) == 6 || cid(2) != cid(1));
}

/* A state from elsewhere: its connections are no more, which the driver hears. */
static void test_lost(void **s)
{
	static struct vsock saved;
	u32 event = 99;

	(void)s;
	connected();
	saved = state[0];
	assert_true(dev[0].type->valid(&saved));
	offer(0, EVENT, RX_BUFS(0) + 0x8000, 8, true);
	virtio_kick(&dev[0], EVENT);
	assert_int_equal(used(0, EVENT), 0);
	state[0].epoch += 1000;
	works[0] = true;
	settle();
	assert_int_equal(used(0, EVENT), 1);
	memcpy(&event, fake_ram + RX_BUFS(0) + 0x8000, 4);
	assert_int_equal(event, VSOCK_EVENT_RESET);
	assert_int_equal(conns(0), 0);
	assert_true(got_op(1, VSOCK_RST));
	saved.nr_parked = PARKED + 1;
	assert_false(dev[0].type->valid(&saved));
	saved.nr_parked = 0;
	saved.lost = 2;
	assert_false(dev[0].type->valid(&saved));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_stream), T(test_split), T(test_refused), T(test_malformed), T(test_stuck_peer),
		T(test_given_up), T(test_answers), T(test_peer_goes), T(test_bounds), T(test_cids), T(test_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
