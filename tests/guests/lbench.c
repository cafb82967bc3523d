/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For Linux on amd64, without a C library: what a request costs a program, by the TSC. Each line's number is a mean of N, behind
 * as many that are not counted.
 *   lbench read DEVICE DEPTH N    reads of 4 KiB with O_DIRECT; DEPTH 1: pread(2), one by one; more: so many in flight, by io_submit(2)
 *   lbench serve                  sends each UDP packet at port 7 back
 *   lbench echo A.B.C.D N         64 bytes to port 7 there by UDP and back; what comes back is compared
 *   lbench ping A.B.C.D N         the same by an ICMP echo request of 64 bytes, which the kernel there answers
 */
#include "nolibc.h"

enum {
	SYS_OPEN = 2,
	SYS_PREAD64 = 17,
	SYS_SOCKET = 41,
	SYS_CONNECT = 42,
	SYS_SENDTO = 44,
	SYS_RECVFROM = 45,
	SYS_BIND = 49,
	SYS_IO_SETUP = 206,
	SYS_IO_GETEVENTS = 208,
	SYS_IO_SUBMIT = 209,
};
enum { O_DIRECT = 0x4000, AF_INET = 2, SOCK_DGRAM = 2, ECHO_PORT = 7, BLOCK = 4096, DEPTH_MAX = 32, ECHO = 64, IOCB_CMD_PREAD = 0 };
enum { SOCK_RAW = 3, IPPROTO_ICMP = 1, ICMP_ECHO = 8, ICMP_ECHOREPLY = 0, IP_HEADER = 20, LOOPS = 8 };

typedef unsigned long u64;

struct sockaddr_in {
	unsigned short family, port;
	unsigned addr;
	char zero[8];
};

struct iocb { /* linux/aio_abi.h, little-endian */
	u64 data;
	unsigned key, rw_flags;
	unsigned short opcode;
	short prio;
	unsigned fd;
	u64 buf, nbytes, offset, reserved;
	unsigned flags, resfd;
};

struct io_event {
	u64 data, obj;
	long res, res2;
};

_Static_assert(sizeof(struct iocb) == 64 && sizeof(struct io_event) == 32 && sizeof(struct sockaddr_in) == 16, "the kernel's");

static char block[DEPTH_MAX][BLOCK] __attribute__((aligned(BLOCK)));

/* Of decimal digits; *s: behind them. */
static u64 digits(const char **s)
{
	u64 v = 0;

	for (; **s >= '0' && **s <= '9'; ++*s)
		v = v * 10 + (u64)(**s - '0');
	return v;
}

static u64 rdtsc(void)
{
	unsigned lo, hi;

	__asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
	return (u64)hi << 32 | lo;
}

static void result(const char *what, u64 ticks, u64 n)
{
	say("LBENCH ");
	say(what);
	say(" ");
	say_number(ticks / n);
	say("\n");
}

/* The i-th read's place: each block of the first MiB in turn. */
static u64 place(u64 i)
{
	return i % 256 * BLOCK;
}

static void read_one(long fd, u64 i)
{
	if (must("pread", call(SYS_PREAD64, fd, (long)block[0], BLOCK, (long)place(i), 0, 0)) != BLOCK)
		must("a whole pread", -1);
}

/* `n` reads, of which `depth` are in flight until the last ones. */
static void read_many(long fd, long ring, unsigned depth, u64 n)
{
	static struct iocb cb[DEPTH_MAX];
	struct iocb *go[DEPTH_MAX];
	struct io_event done[DEPTH_MAX];
	u64 sent = 0, ended = 0;
	long ready = depth;

	for (unsigned i = 0; i < depth; i++) {
		cb[i] = (struct iocb){.data = i, .opcode = IOCB_CMD_PREAD, .fd = (unsigned)fd, .buf = (u64)block[i], .nbytes = BLOCK};
		go[i] = &cb[i];
	}
	for (;;) {
		long k = 0;

		for (; k < ready && sent < n; k++)
			go[k]->offset = place(sent++);
		if (k && must("io_submit", call(SYS_IO_SUBMIT, ring, k, (long)go, 0, 0, 0)) != k)
			must("a whole io_submit", -1);
		if (ended == n)
			return;
		ready = must("io_getevents", call(SYS_IO_GETEVENTS, ring, 1, DEPTH_MAX, (long)done, 0, 0));
		for (long i = 0; i < ready; i++) {
			if (done[i].res != BLOCK)
				must("a read", done[i].res < 0 ? done[i].res : -1);
			go[i] = &cb[done[i].data];
		}
		ended += (u64)ready;
	}
}

static void bench_read(const char *device, unsigned depth, u64 n)
{
	long fd = must("open", call(SYS_OPEN, (long)device, O_DIRECT, 0, 0, 0, 0));
	long ring = 0;
	u64 t = 0;

	if (depth > 1)
		must("io_setup", call(SYS_IO_SETUP, DEPTH_MAX, (long)&ring, 0, 0, 0, 0));
	for (int counted = 0; counted < 2; counted++) {
		t = rdtsc();
		if (depth > 1)
			read_many(fd, ring, depth, n);
		else
			for (u64 i = 0; i < n; i++)
				read_one(fd, i);
	}
	result("read", rdtsc() - t, n);
}

static long udp(void)
{
	return must("socket", call(SYS_SOCKET, AF_INET, SOCK_DGRAM, 0, 0, 0, 0));
}

static void serve(void)
{
	struct sockaddr_in me = {.family = AF_INET, .port = ECHO_PORT << 8}, from;
	long fd = udp();

	must("bind", call(SYS_BIND, fd, (long)&me, sizeof(me), 0, 0, 0));
	say("LBENCH serves\n");
	for (;;) {
		unsigned size = sizeof(from);
		long n = must("recvfrom", call(SYS_RECVFROM, fd, (long)block[0], BLOCK, 0, (long)&from, (long)&size));

		must("sendto", call(SYS_SENDTO, fd, (long)block[0], n, 0, (long)&from, sizeof(from)));
	}
}

static void udp_echo(long fd, u64 i)
{
	*(u64 *)block[0] = i;
	must("sendto", call(SYS_SENDTO, fd, (long)block[0], ECHO, 0, 0, 0));
	if (must("recvfrom", call(SYS_RECVFROM, fd, (long)block[1], BLOCK, 0, 0, 0)) != ECHO || *(u64 *)block[1] != i)
		must("what came back is what was sent", -1);
}

static void bench_echo(const char *what, long fd, void (*once)(long fd, u64 i), const char *to, u64 n)
{
	struct sockaddr_in a = {.family = AF_INET, .port = ECHO_PORT << 8};
	u64 t = 0;

	for (int i = 0; i < 4; i++, to++)
		a.addr |= (unsigned)digits(&to) << (i * 8);
	must("connect", call(SYS_CONNECT, fd, (long)&a, sizeof(a), 0, 0, 0));
	for (int counted = 0; counted < 2; counted++) {
		t = rdtsc();
		for (u64 i = 0; i < n; i++)
			once(fd, i);
	}
	result(what, rdtsc() - t, n);
}

/* RFC 792's header, and a number; together 64 bytes. */
struct icmp {
	unsigned char type, code;
	unsigned short sum, id, seq;
	u64 i, rest[6];
};

_Static_assert(sizeof(struct icmp) == ECHO, "64 bytes");

static unsigned short icmp_sum(const void *p)
{
	const unsigned short *w = p;
	unsigned sum = 0;

	for (int i = 0; i < ECHO / 2; i++)
		sum += w[i];
	sum = (sum & 0xffff) + (sum >> 16);
	return (unsigned short)~(sum + (sum >> 16));
}

/* A raw socket also gets others' packets and, within one machine, our own requests. */
static void ping(long fd, u64 i)
{
	struct icmp out = {.type = ICMP_ECHO, .id = 1, .i = i};
	const struct icmp *in = (const void *)(block[1] + IP_HEADER);

	out.sum = icmp_sum(&out);
	must("sendto", call(SYS_SENDTO, fd, (long)&out, ECHO, 0, 0, 0));
	for (int tries = 0; tries < LOOPS; tries++)
		if (must("recvfrom", call(SYS_RECVFROM, fd, (long)block[1], BLOCK, 0, 0, 0)) == IP_HEADER + ECHO &&
		    in->type == ICMP_ECHOREPLY && in->i == i)
			return;
	must("an answer", -1);
}

void begin(const long *stack)
{
	const char *const *argv = (const char *const *)(stack + 1);
	long argc = stack[0];

	if (argc == 5 && argv[1][0] == 'r') {
		unsigned depth = (unsigned)digits(&(const char *){argv[3]});

		if (depth && depth <= DEPTH_MAX)
			bench_read(argv[2], depth, digits(&(const char *){argv[4]}));
	} else if (argc == 4 && argv[1][0] == 'e') {
		bench_echo("echo", udp(), udp_echo, argv[2], digits(&(const char *){argv[3]}));
	} else if (argc == 4 && argv[1][0] == 'p') {
		bench_echo("ping", must("socket", call(SYS_SOCKET, AF_INET, SOCK_RAW, IPPROTO_ICMP, 0, 0, 0)), ping, argv[2],
			   digits(&(const char *){argv[3]}));
	} else if (argc == 2 && argv[1][0] == 's') {
		serve();
	} else {
		end(2);
	}
	end(0);
}
