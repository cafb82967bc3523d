/* SPDX-License-Identifier: BSD-2-Clause */
/* unit: drivers/virtio/virtio.c drivers/virtio/virtq.c drivers/virtio/vsock_hub.c drivers/virtio/vsock_monitor.c vmm/monitor/monitor.c vmm/monitor/out.c */
/* Sockets to the monitor: lines, answers, credit, who may, and who goes. */
#include "fake_vsock.h"

static char answer[100000];
static u32 answered;
static void gather(unsigned k)
{
	for (unsigned idle = 0; idle < 3; idle++) {
		while (got(k)) {
			if (last.op == VSOCK_RW) {
				memcpy(answer + answered, data, last.len);
				answered += last.len;
			}
			idle = 0;
		}
		give(k, 1);
	}
	answer[answered] = 0;
}
static void ask(u32 port, const char *text)
{
	answered = 0;
	say(0, 2, port, 2, VSOCK_RW, text, (u32)strlen(text));
}
static void dial(u32 port)
{
	give(0, 2);
	say(0, 2, port, 2, VSOCK_REQUEST, "", 0);
	assert_true(got_op(0, VSOCK_RESPONSE) && last.src_cid == 2 && last.src_port == 2 && last.dst_port == port);
	assert_int_equal(last.buf_alloc, 512);
}
static void half_close(u32 port, u32 flags)
{
	struct vsock_hdr h = hdr(0, 2, port, 2, VSOCK_SHUTDOWN, 0);

	h.flags = flags;
	send_hdr(0, &h, "", 0);
	settle();
}

static void test_verbs(void **s)
{
	char line[300];

	(void)s;
	dial(9);
	ask(9, "wai");
	gather(0);
	assert_int_equal(answered, 0);
	ask(9, "t\n\r\n \nnonsense\r\nwait -j");
	gather(0);
	assert_string_equal(answer, "{}\n{\"error\":\"no such verb; `help` lists them\"}\n");
	say(0, 2, 9, 2, VSOCK_CREDIT_REQUEST, "", 0);
	gather(0);
	assert_int_equal(last.op, VSOCK_CREDIT_UPDATE);
	memset(line, 'x', sizeof(line));
	line[299] = 0;
	ask(9, line); /* the line `wait -jxxx...` */
	gather(0);
	ask(9, "yy\n");
	gather(0);
	assert_string_equal(answer, "{\"error\":\"the line is too long\"}\n");
	memset(line, 'x', 254);
	strcpy(line + 253, "\n");
	ask(9, line);
	gather(0);
	assert_string_equal(answer, "{\"error\":\"the line is too long\"}\n");
	/* The last line needs no end; then the host says its own. */
	ask(9, "fill");
	half_close(9, VSOCK_NO_SEND);
	gather(0);
	assert_true(last.op == VSOCK_SHUTDOWN && last.flags == 3);
	assert_true(answered > 48000 && !strchr(answer, '\r') && strchr(answer, '\n') == answer + answered - 1);
	half_close(9, VSOCK_NO_SEND | VSOCK_NO_RECEIVE);
	gather(0);
	assert_int_equal(last.op, VSOCK_RST);
	/* Nothing asked at all. */
	dial(9);
	half_close(9, VSOCK_NO_SEND);
	gather(0);
	assert_int_equal(last.op, VSOCK_SHUTDOWN);
	ask(9, "wait\n"); /* behind its last word */
	gather(0);
	assert_int_equal(last.op, VSOCK_RST);
}

/* An answer waits for the guest's credit; and a guest that has none of ours left has broken the rules. */
static void test_credit(void **s)
{
	struct vsock_hdr h;
	char line[513] = "";

	(void)s;
	give(0, 2);
	h = hdr(0, 2, 9, 2, VSOCK_REQUEST, 0);
	h.buf_alloc = 1000;
	h.fwd_cnt = 0;
	send_hdr(0, &h, "", 0);
	settle();
	assert_true(got_op(0, VSOCK_RESPONSE));
	h.op = VSOCK_RW;
	h.len = 5;
	send_hdr(0, &h, "long\n", 5);
	settle();
	answered = 0;
	gather(0);
	assert_int_equal(answered, 1000);
	h.op = VSOCK_CREDIT_UPDATE;
	h.len = 0;
	for (u32 n = 0; n < 10 && last.op; n++) {
		h.fwd_cnt = answered;
		send_hdr(0, &h, "", 0);
		settle();
		gather(0);
	}
	assert_int_equal(answer[answered - 1], '\n');
	assert_true(answered > 2000);
	memset(line, 'w', 512);
	hold_verb = true;
	ask(9, "wait\n");
	ask(9, line);
	gather(0);
	assert_int_equal(last.op, VSOCK_RW);
	ask(9, "w");
	gather(0);
	assert_int_equal(last.op, VSOCK_RST);
}

static void test_sessions(void **s)
{
	u32 before;

	(void)s;
	dial(1);
	dial(2);
	give(0, 8);
	refused_as(0, hdr(0, 2, 3, 2, VSOCK_REQUEST, 0), 0);
	refused_as(0, hdr(0, 2, 2, 2, VSOCK_REQUEST, 0), 0); /* one that is there; so it ends */
	dial(2);
	/* A verb at work keeps its place, though nobody listens. */
	hold_verb = true;
	ask(2, "wait\n");
	say(0, 2, 2, 2, VSOCK_RST, "", 0);
	refused_as(0, hdr(0, 2, 3, 2, VSOCK_REQUEST, 0), 0);
	assert_non_null(set);
	let_go_on();
	settle();
	dial(3);
	before = answered;
	gather(0);
	assert_int_equal(answered, before);
	/* All of the host's. */
	for (unsigned k = 1; k < 4; k++) {
		unplug(k);
		plug(k, "m", 0, "", true);
		start(k, FEATURES);
		give(k, 8);
		say(k, 2, 1, 2, VSOCK_REQUEST, "", 0);
		say(k, 2, 2, 2, VSOCK_REQUEST, "", 0);
		assert_true(got_op(k, VSOCK_RESPONSE) && got_op(k, VSOCK_RESPONSE));
	}
	say(0, 2, 3, 2, VSOCK_RST, "", 0);
	dial(5);
	/* A reset of the driver's ends them. */
	start(0, FEATURES);
	dial(1);
	dial(2);
}

/* A VM ends by its own word. */
static void test_kills_itself(void **s)
{
	(void)s;
	dial(1);
	ask(1, "kill\n");
	assert_null(dev[0].priv);
	dev[0] = (struct vdev){0};
	plug(0, "a", 0, "b", true);
	start(0, FEATURES);
	dial(1);
	ask(1, "wait\n");
	gather(0);
	assert_string_equal(answer, "{}\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_verbs), T(test_credit), T(test_sessions), T(test_kills_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
