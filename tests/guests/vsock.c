/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For Linux on amd64, without a C library: AF_VSOCK, for which busybox has no word.
 *   vsock serve PORT             for each connection: reads to its end what `send` sends, checks it, and sends as much back
 *   vsock send CID PORT BYTES    that much there and back; says what came
 *   vsock hold CID PORT          connects, and says how the connection ends
 *   vsock ask LINE...            lines to the monitor (CID 2, port 2), and what it answers
 * "FAILED: errno" and status 1 for what cannot be done.
 */
#include "nolibc.h"

enum { SYS_READ = 0, SYS_WRITE = 1, SYS_CLOSE = 3, SYS_SOCKET = 41, SYS_CONNECT = 42, SYS_ACCEPT = 43, SYS_SHUTDOWN = 48,
       SYS_BIND = 49, SYS_LISTEN = 50 };
enum { AF_VSOCK = 40, SOCK_STREAM = 1, SHUT_WR = 1 };
#define CID_ANY ~0u

struct sockaddr_vm {
	unsigned short family, reserved;
	unsigned port, cid;
	unsigned char zero[4];
};

static void say_both(const char *what, unsigned long v)
{
	say(what);
	say_number(v);
}

static long ok(long result)
{
	if (result >= 0)
		return result;
	say_both("FAILED: ", (unsigned long)-result);
	say("\n");
	end(1);
}

static long connect_to(unsigned cid, unsigned port)
{
	struct sockaddr_vm a = {.family = AF_VSOCK, .port = port, .cid = cid};
	long fd = ok(call(SYS_SOCKET, AF_VSOCK, SOCK_STREAM, 0));

	ok(call(SYS_CONNECT, fd, (long)&a, sizeof(a)));
	return fd;
}

/* A stream that shows what was lost, doubled or put in another order. */
static unsigned char buf[24000];

static unsigned char byte_at(unsigned long pos, unsigned seed)
{
	return (unsigned char)((pos ^ pos >> 8 ^ pos >> 16 ^ seed) * 167 >> 3);
}

static void send_stream(long fd, unsigned long n, unsigned seed)
{
	unsigned long pos = 0, part = 1;

	while (pos < n) {
		long done, todo = (long)(part < n - pos ? part : n - pos);

		for (long i = 0; i < todo; i++)
			buf[i] = byte_at(pos + (unsigned long)i, seed);
		for (done = 0; done < todo;)
			done += ok(call(SYS_WRITE, fd, (long)buf + done, todo - done));
		pos += (unsigned long)todo;
		part = (part * 7 + 3) % sizeof(buf) + 1; /* small writes and large ones */
	}
	ok(call(SYS_SHUTDOWN, fd, SHUT_WR, 0));
}

static unsigned long read_stream(long fd, unsigned seed)
{
	unsigned long pos = 0;
	long n;

	while ((n = ok(call(SYS_READ, fd, (long)buf, sizeof(buf)))))
		for (long i = 0; i < n; i++, pos++)
			if (buf[i] != byte_at(pos, seed)) {
				say_both("WRONG at ", pos);
				say("\n");
				end(1);
			}
	return pos;
}

static void serve(unsigned port)
{
	struct sockaddr_vm a = {.family = AF_VSOCK, .port = port, .cid = CID_ANY};
	long fd = ok(call(SYS_SOCKET, AF_VSOCK, SOCK_STREAM, 0));

	ok(call(SYS_BIND, fd, (long)&a, sizeof(a)));
	ok(call(SYS_LISTEN, fd, 8, 0));
	say("SERVES\n");
	for (;;) {
		long c = ok(call(SYS_ACCEPT, fd, 0, 0));

		send_stream(c, read_stream(c, 1), 2);
		call(SYS_CLOSE, c, 0, 0);
	}
}

static void send(unsigned cid, unsigned port, unsigned long n)
{
	long fd = connect_to(cid, port);

	send_stream(fd, n, 1);
	say_both("back: ", read_stream(fd, 2));
	say("\n");
}

static void hold(unsigned cid, unsigned port)
{
	long fd = connect_to(cid, port), n;

	say("HOLDS\n");
	n = call(SYS_READ, fd, (long)buf, sizeof(buf));
	say_both(n < 0 ? "ended: error " : "ended: ", (unsigned long)(n < 0 ? -n : n));
	say("\n");
}

static void ask(const char *const *lines)
{
	long fd = connect_to(2, 2), n;

	for (; *lines; lines++) {
		ok(call(SYS_WRITE, fd, (long)*lines, length(*lines)));
		ok(call(SYS_WRITE, fd, (long)"\n", 1));
	}
	ok(call(SYS_SHUTDOWN, fd, SHUT_WR, 0));
	while ((n = ok(call(SYS_READ, fd, (long)buf, sizeof(buf)))))
		call(SYS_WRITE, 1, (long)buf, n);
}

void begin(const long *stack)
{
	const char *const *argv = (const char *const *)(stack + 1);
	long argc = stack[0];

	if (argc == 3 && argv[1][2] == 'r')
		serve((unsigned)number(argv[2]));
	else if (argc == 5 && argv[1][0] == 's')
		send((unsigned)number(argv[2]), (unsigned)number(argv[3]), number(argv[4]));
	else if (argc == 4 && argv[1][0] == 'h')
		hold((unsigned)number(argv[2]), (unsigned)number(argv[3]));
	else if (argc > 2 && argv[1][0] == 'a')
		ask(argv + 2);
	else
		end(2);
	end(0);
}
