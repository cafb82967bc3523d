/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For Linux on amd64, without a C library: what busybox has no word for and virtio's tests need.
 *   vtool zero DEVICE FROM BYTES        BLKZEROOUT
 *   vtool ring CARD RX TX               rings of that size: each queue is reset and set up anew; what they are then
 */
enum { SYS_WRITE = 1, SYS_OPEN = 2, SYS_IOCTL = 16, SYS_SOCKET = 41, SYS_EXIT = 60 };
enum { O_WRONLY = 1, AF_INET = 2, SOCK_DGRAM = 2, BLKZEROOUT = 0x127f, SIOCETHTOOL = 0x8946, GRINGPARAM = 0x10, SRINGPARAM = 0x11 };

struct ring {
	unsigned cmd, rx_max, mini_max, jumbo_max, tx_max, rx, mini, jumbo, tx;
};
struct ifreq {
	char name[16];
	struct ring *data;
	char pad[16];
};

static long call(long nr, long a, long b, long c)
{
	long r;

	__asm__ volatile("syscall" : "=a"(r) : "0"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return r;
}

static void say(const char *s)
{
	long n = 0;

	while (s[n])
		n++;
	call(SYS_WRITE, 1, (long)s, n);
}

static void say_number(unsigned long v)
{
	char text[24] = {0};
	int at = 22;

	do
		text[at--] = (char)('0' + v % 10);
	while (v /= 10);
	say(text + at + 1);
}

static void __attribute__((noreturn)) end(int status)
{
	for (;;)
		call(SYS_EXIT, status, 0, 0);
}

static long must(const char *what, long result)
{
	if (result >= 0)
		return result;
	say(what);
	say(" failed: ");
	say_number((unsigned long)-result);
	say("\n");
	end(1);
}

static unsigned long number(const char *s)
{
	unsigned long v = 0;

	while (*s)
		v = v * 10 + (unsigned long)(*s++ - '0');
	return v;
}

static void ring(const char *card, unsigned rx, unsigned tx)
{
	struct ring r = {.cmd = GRINGPARAM};
	struct ifreq q = {.data = &r};
	long fd = must("socket", call(SYS_SOCKET, AF_INET, SOCK_DGRAM, 0));

	for (int i = 0; i < 15 && card[i]; i++)
		q.name[i] = card[i];
	must("get rings", call(SYS_IOCTL, fd, SIOCETHTOOL, (long)&q));
	r.cmd = SRINGPARAM;
	r.rx = rx;
	r.tx = tx;
	must("set rings", call(SYS_IOCTL, fd, SIOCETHTOOL, (long)&q));
	r.cmd = GRINGPARAM;
	must("get rings", call(SYS_IOCTL, fd, SIOCETHTOOL, (long)&q));
	say_number(r.rx);
	say(" ");
	say_number(r.tx);
	say("\n");
}

void begin(const long *stack);
void begin(const long *stack)
{
	const char *const *argv = (const char *const *)(stack + 1);
	unsigned long range[2];

	if (stack[0] != 5)
		end(2);
	range[0] = number(argv[3]);
	range[1] = number(argv[4]);
	if (argv[1][0] == 'r')
		ring(argv[2], (unsigned)range[0], (unsigned)range[1]);
	else
		must("zero", call(SYS_IOCTL, must("open", call(SYS_OPEN, (long)argv[2], O_WRONLY, 0)), BLKZEROOUT, (long)range));
	end(0);
}

__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
